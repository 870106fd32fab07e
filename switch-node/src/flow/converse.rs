//! One operation's conversation with networks: send once, judge what came back, commit it, and go to the next network where
//! that is allowed (R17).

use std::sync::Arc;

use switch_domain::{
    authorization::Asked,
    book::{Dispatch, Reply, Settled},
    card::Card,
    entry::{AnswerEvidence, Command, Failover, FailoverCause, NotSentEvidence, TimedOut},
    id::AttemptRef,
    outcome::{Answer, NetworkAnswer, NotSent},
};
use tokio::time::{Duration, Instant};
use tracing::Instrument as _;

use super::{Flow, FlowError, limits};
use crate::{
    outcome::{self, Opening},
    router::Itinerary,
    telemetry::{self, RequestKind},
};

/// A conversation in the task that owns it.
pub(super) struct Conversation {
    pub(super) flow: Arc<Flow>,
    pub(super) asked: Asked,
    pub(super) itinerary: Itinerary,
    /// When the caller stops waiting: no further network is asked that could not answer by then.
    pub(super) until: Instant,
}

impl Conversation {
    /// Holds it to its end. Whatever happens to the caller, this goes on (R2).
    pub(super) async fn hold(
        mut self,
        mut dispatch: Dispatch,
        card: Card,
        opening: Opening,
    ) -> Result<Settled, FlowError> {
        let mut opening = Some(opening);
        loop {
            let attempt = dispatch.attempt().clone();
            let held = self.flow.conversations.hold(&attempt);
            // The timer runs from the apply of the entry, which is now (R8).
            let timer = Instant::now() + Duration::from_millis(u64::from(dispatch.attempt_timeout_ms()));
            let answer = self.send(dispatch, &card, timer, opening.take()).await;
            let (command, fallback) = self.judge(&attempt, answer);
            match self.commit(&attempt, command, fallback).await? {
                Next::Settled(settled) => {
                    let network = settled.last_attempt().map(|(network, ..)| network);
                    telemetry::decided(settled.method(), settled.told(), network);
                    return Ok(settled);
                }
                Next::Dispatch(next) => dispatch = next,
            }
            drop(held);
        }
    }

    async fn send(&mut self, dispatch: Dispatch, card: &Card, timer: Instant, opening: Option<Opening>) -> Answer {
        if let Err(why) = self.still_wanted(&dispatch) {
            return Answer::NotSent(why);
        }
        match self.flow.links.get(dispatch.link()) {
            Some(link) => {
                let attempt = dispatch.attempt().clone();
                self.flow.conversations.given(&attempt);
                drop(opening); // from here on it counts as given, until the gate sees it written
                let (network, began) = (dispatch.network().clone(), Instant::now());
                let room = self.itinerary.take_room();
                let span = tracing::info_span!("network", otel.kind = "client", %network, link = %link.id());
                let answer = link.send(dispatch, &self.asked, card, room, timer).instrument(span).await;
                let took = began.elapsed();
                telemetry::network_request(&network, RequestKind::Payment, (&answer).into(), took);
                if matches!(answer, Answer::Answered(_)) {
                    self.flow.stopwatch.answered(&network, took);
                }
                self.flow.conversations.written(&attempt);
                answer
            }
            None => Answer::NotSent(NotSent::OutOfService),
        }
    }

    /// The last look at the directory that needs what only the flow knows (R24); the gate makes the others.
    fn still_wanted(&self, dispatch: &Dispatch) -> Result<(), NotSent> {
        let standing = self.flow.journal.standing();
        let merchant = standing
            .directory
            .gateways
            .get(&dispatch.attempt().gateway)
            .and_then(|gateway| gateway.merchants.get(&self.asked.merchant.id));
        if merchant.is_some_and(|merchant| merchant.enabled) { Ok(()) } else { Err(NotSent::Disabled) }
    }

    /// What the answer is proposed as, and what it is carried to another leader as.
    fn judge(&mut self, attempt: &AttemptRef, answer: Answer) -> (Command, Command) {
        match answer {
            Answer::Answered(answer) => {
                let plain =
                    Command::Answer(Box::new(AnswerEvidence { attempt: attempt.clone(), answer: answer.clone() }));
                let permitted = self.itinerary.permits(&answer.response_code);
                match self.failover(attempt, permitted, || permitted_no(answer)) {
                    Some(failover) => (failover, plain),
                    None => (plain.clone(), plain),
                }
            }
            Answer::NotSent(why) => {
                let plain = Command::NotSent(NotSentEvidence { attempt: attempt.clone(), why });
                let elsewhere = matches!(
                    why,
                    NotSent::OutOfService
                        | NotSent::InFlightFull
                        | NotSent::CircuitOpen
                        | NotSent::NotEncodable
                        | NotSent::Disabled
                );
                match self.failover(attempt, elsewhere, || FailoverCause::NotSent(why)) {
                    Some(failover) => (failover, plain),
                    None => (plain.clone(), plain),
                }
            }
            Answer::Unknown(doubt) => {
                let plain = Command::TimedOut(TimedOut { attempt: attempt.clone(), doubt });
                (plain.clone(), plain)
            }
        }
    }

    /// The entry that closes this attempt and opens the next, if there is a next and time for it (R17).
    fn failover(
        &mut self,
        attempt: &AttemptRef,
        allowed: bool,
        because: impl FnOnce() -> FailoverCause,
    ) -> Option<Command> {
        if !allowed || !self.itinerary.has_next() {
            return None;
        }
        let stop = self.itinerary.next(&self.flow.links).ok()?;
        let timer = Duration::from_millis(u64::from(stop.terms.attempt_timeout_ms));
        if Instant::now() + timer > self.until {
            return None;
        }
        let plan = self.flow.plan(&stop).ok()?;
        Some(Command::Failover(Box::new(Failover { attempt: attempt.clone(), because: because(), plan })))
    }

    async fn commit(&self, attempt: &AttemptRef, command: Command, fallback: Command) -> Result<Next, FlowError> {
        let flow = &self.flow;
        match flow.journal.propose(command).await {
            Ok(Reply::Settled(settled)) => return Ok(Next::Settled(*settled)),
            Ok(Reply::Dispatch(dispatch)) => return Ok(Next::Dispatch(*dispatch)),
            Ok(_) | Err(_) => {}
        }
        // This node leads no more, or cannot tell: the evidence goes to whoever leads, and what was decided shows here (R4).
        outcome::carry(&flow.journal, flow.courier.as_ref(), attempt, &fallback).await;
        let until = Instant::now() + limits::APPLY_MAX;
        let decided =
            flow.journal.decided(&attempt.gateway, attempt.id.transaction, attempt.id.operation, false, until).await?;
        decided.map(Next::Settled).ok_or(FlowError::OutcomeUnknown)
    }
}

enum Next {
    Settled(Settled),
    Dispatch(Dispatch),
}

fn permitted_no(answer: NetworkAnswer) -> FailoverCause {
    FailoverCause::PermittedNo(Box::new(answer))
}
