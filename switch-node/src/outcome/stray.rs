//! Evidence that no flow waits for: answers that are late, duplicate, or of an attempt that another process opened, and requests
//! that left too late. The term alone never rejects it (R4), and it waits for a leader as long as this process lives; what
//! bounds it is the count.

use std::sync::Arc;

use futures::StreamExt as _;
use switch_domain::{
    entry::{AnswerEvidence, Command},
    id::{AttemptRef, LinkId},
    outcome::NetworkAnswer,
};
use tokio::{
    sync::{Semaphore, mpsc},
    time::{Duration, Instant},
};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    Conversations, Courier, limits,
    settle::{Patience, offer},
};
use crate::{
    journal::Journal,
    link::{LinkEvents, LinkState},
    telemetry,
};

/// A piece of evidence and the attempt that it is about.
type Stray = (AttemptRef, Command);

/// Takes what links and the gate tell on their own.
pub struct Strays {
    queue: mpsc::Sender<Stray>,
}

impl Strays {
    /// The taker, and the queue that [`record`] works off.
    pub fn new() -> (Arc<Self>, mpsc::Receiver<Stray>) {
        let (queue, strays) = mpsc::channel(limits::STRAYS_MAX);
        (Arc::new(Self { queue }), strays)
    }

    /// A request left after its deadline or lease: whatever acknowledged its reversal before proves nothing (R13).
    pub fn late_send(&self, attempt: &AttemptRef) {
        tracing::warn!(%attempt, "a request left after its deadline or lease; it will be reversed once more");
        if self.queue.try_send((attempt.clone(), Command::LateSend(attempt.clone()))).is_err() {
            tracing::error!(%attempt, "too much evidence waits for a leader: a late request is not recorded");
        }
    }
}

impl LinkEvents for Strays {
    fn stray_answer(&self, link: &LinkId, attempt: AttemptRef, answer: NetworkAnswer) {
        telemetry::stray_answer(link);
        let command = Command::Answer(Box::new(AnswerEvidence { attempt: attempt.clone(), answer }));
        if self.queue.try_send((attempt, command)).is_err() {
            telemetry::stray_dropped(link);
        }
    }

    fn unmatched(&self, link: &LinkId) {
        telemetry::unmatched_answer(link);
    }

    fn state_changed(&self, link: &LinkId, state: LinkState) {
        tracing::info!(%link, ?state, "link");
        telemetry::link_state(link, state == LinkState::InService);
    }
}

/// Of two answers the one that came first counts: while a flow of this process is committing that, the other one waits.
async fn after_the_first(conversations: &Conversations, attempt: &AttemptRef) {
    let until = Instant::now() + FIRST_COMMITS_WITHIN;
    while conversations.holds(attempt) && Instant::now() < until {
        tokio::time::sleep(LOOK).await;
    }
}

/// How long a second answer waits for the first one's commit at most.
const FIRST_COMMITS_WITHIN: Duration = Duration::from_secs(1);

/// Pause between two looks: about as long as a commit takes.
const LOOK: Duration = Duration::from_millis(2);

/// Commits evidence, much of it at once, so that it shares packs. What a leader does not understand is kept, and holds up nothing
/// else.
pub async fn record(
    journal: Journal,
    courier: Arc<dyn Courier>,
    conversations: Arc<Conversations>,
    strays: mpsc::Receiver<Stray>,
) {
    let (journal, courier, conversations) = (&journal, courier.as_ref(), &conversations);
    let room = &Semaphore::new(limits::STRAYS_AT_ONCE);
    let each = |(attempt, command)| async move {
        let mut patience = Patience::new(&attempt, journal.group().leadership());
        loop {
            let place = room.acquire().await;
            after_the_first(conversations, &attempt).await;
            if offer(journal, courier, &command).await {
                return;
            }
            drop(place);
            patience.wait().await;
        }
    };
    ReceiverStream::new(strays).for_each_concurrent(limits::STRAYS_KEPT_MAX, each).await;
}

#[cfg(test)]
mod tests {
    use switch_domain::id::{AttemptId, GatewayId, TransactionId};

    use super::*;

    #[test]
    fn r13_what_waits_is_bounded_by_its_count_and_the_first_are_kept() {
        let (strays, mut queue) = Strays::new();
        let gateway = GatewayId::parse("shop").expect("an id");
        let attempt = |number: usize| {
            let transaction = TransactionId::from_number(number as u128);
            AttemptRef { gateway: gateway.clone(), id: AttemptId { transaction, operation: 0, number: 1 } }
        };
        for number in 0..limits::STRAYS_MAX {
            strays.late_send(&attempt(number));
        }
        strays.late_send(&attempt(limits::STRAYS_MAX));
        for number in 0..limits::STRAYS_MAX {
            let (kept, command) = queue.try_recv().expect("it is kept");
            assert_eq!((&kept, command), (&attempt(number), Command::LateSend(attempt(number))));
        }
        assert!(queue.try_recv().is_err(), "one too many");
    }
}
