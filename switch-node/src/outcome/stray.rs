//! Answers that nobody waits for: late, duplicate, or of an attempt that another process opened. Evidence all the same: the
//! term alone never rejects it (R4).

use std::sync::Arc;

use switch_domain::{
    entry::{AnswerEvidence, Command},
    id::{AttemptRef, LinkId},
    outcome::NetworkAnswer,
};
use tokio::{
    sync::mpsc,
    time::{Duration, Instant},
};

use super::{Conversations, Courier, carry, limits};
use crate::{
    journal::Journal,
    link::{LinkEvents, LinkState},
    telemetry,
};

/// How long a stray answer is carried to a leader.
const CARRY: Duration = Duration::from_secs(60);

/// Takes what links tell on their own.
pub struct Strays {
    queue: mpsc::Sender<(AttemptRef, NetworkAnswer)>,
}

impl Strays {
    /// The taker, and the queue that [`record`] works off.
    pub fn new() -> (Arc<Self>, mpsc::Receiver<(AttemptRef, NetworkAnswer)>) {
        let (queue, strays) = mpsc::channel(limits::STRAYS_MAX);
        (Arc::new(Self { queue }), strays)
    }
}

impl LinkEvents for Strays {
    fn stray_answer(&self, link: &LinkId, attempt: AttemptRef, answer: NetworkAnswer) {
        telemetry::stray_answer(link);
        if self.queue.try_send((attempt, answer)).is_err() {
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

/// Commits stray answers, one after another.
pub async fn record(
    journal: Journal,
    courier: Arc<dyn Courier>,
    conversations: Arc<Conversations>,
    mut strays: mpsc::Receiver<(AttemptRef, NetworkAnswer)>,
) {
    while let Some((attempt, answer)) = strays.recv().await {
        after_the_first(&conversations, &attempt).await;
        let command = Command::Answer(Box::new(AnswerEvidence { attempt: attempt.clone(), answer }));
        if !carry(&journal, courier.as_ref(), &command, Instant::now() + CARRY).await {
            tracing::warn!(%attempt, "a stray answer could not be recorded");
        }
    }
}
