//! Getting evidence committed.

use std::collections::HashSet;

use async_trait::async_trait;
use switch_consensus::Leadership;
use switch_domain::{
    entry::Command,
    id::{AttemptRef, Owner},
};
use tokio::{
    sync::watch,
    time::{Duration, timeout},
};

use super::limits;
use crate::{
    journal::{Journal, Lost},
    telemetry,
};

/// Pause between two tries: a fail-over takes about a second.
const PAUSE: Duration = Duration::from_millis(100);

/// The way to the other nodes.
#[async_trait]
pub trait Courier: Send + Sync {
    /// Hands evidence to the leader. Ends within seconds.
    async fn carry(&self, command: &Command) -> Carried;

    /// Asks an owner which of these conversations it still holds, [`super::limits::HOLDS_ASKED_MAX`] at most; `None` where it
    /// cannot be reached. Ends within seconds.
    async fn holds(&self, owner: Owner, attempts: &[AttemptRef]) -> Option<HashSet<AttemptRef>>;
}

/// What became of handing evidence to the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// The leader has committed it.
    Committed,
    /// The leader cannot read it, and will not be able to: it runs an older version.
    NotUnderstood,
    /// Nobody leads, or it is not known what became of it.
    NotNow,
}

/// Commits evidence here or through the leader, however long nobody leads or understands it: evidence that is dropped may be
/// money that nobody gives back (R4, R13). Who calls bounds how much of it waits. Evidence may be committed twice: the book takes
/// the first and ignores the second.
pub async fn carry(journal: &Journal, courier: &dyn Courier, attempt: &AttemptRef, command: &Command) {
    let mut patience = Patience::new(attempt, journal.group().leadership());
    while !offer(journal, courier, command).await {
        patience.wait().await;
    }
}

/// Offers evidence until it is committed, which is true, or until a leader does not understand it.
pub(crate) async fn offer(journal: &Journal, courier: &dyn Courier, command: &Command) -> bool {
    until_read(|| async {
        match journal.propose(command.clone()).await {
            Ok(_) => Carried::Committed,
            Err(Lost::NotTaken) => courier.carry(command).await,
            Err(Lost::TooLarge { .. } | Lost::Unknown) => Carried::NotNow,
        }
    })
    .await
}

async fn until_read<Offered: Future<Output = Carried>>(mut offer: impl FnMut() -> Offered) -> bool {
    loop {
        match offer().await {
            Carried::Committed => return true,
            Carried::NotUnderstood => return false,
            Carried::NotNow => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Patience with leaders that do not understand a piece of evidence: it is kept, and offered to the next leader at once, to the
/// same one after pauses that grow. Operators see how much is kept, and which: only they can bring a leader of this version.
pub(super) struct Patience<'a, Led = Leadership> {
    attempt: &'a AttemptRef,
    leadership: watch::Receiver<Led>,
    /// The next pause, and the evidence's place among what is kept; `None` while no leader has failed to understand it.
    kept: Option<(Duration, telemetry::NotUnderstood)>,
}

impl<'a, Led> Patience<'a, Led> {
    pub(super) fn new(attempt: &'a AttemptRef, leadership: watch::Receiver<Led>) -> Self {
        Self { attempt, leadership, kept: None }
    }

    /// Waits until the evidence should be offered again.
    pub(super) async fn wait(&mut self) {
        let (pause, _) = self.kept.get_or_insert_with(|| {
            tracing::error!(
                attempt = %self.attempt,
                "the leader does not understand what this node knows of an attempt: an operator must upgrade the leader, or \
                 hand leadership to a node of this version, before this node stops"
            );
            (limits::NOT_UNDERSTOOD_PAUSE, telemetry::NotUnderstood::kept())
        });
        let changed = async {
            if self.leadership.changed().await.is_err() {
                std::future::pending::<()>().await; // this node is stopping
            }
        };
        *pause = match timeout(*pause, changed).await {
            Ok(()) => limits::NOT_UNDERSTOOD_PAUSE,
            Err(_) => (*pause * 2).min(limits::NOT_UNDERSTOOD_PAUSE_MAX),
        };
    }
}

#[cfg(test)]
mod tests {
    use switch_domain::id::{AttemptId, GatewayId, TransactionId};
    use tokio::time::Instant;

    use super::*;

    fn attempt() -> AttemptRef {
        let id = AttemptId { transaction: TransactionId::from_number(7), operation: 0, number: 1 };
        AttemptRef { gateway: GatewayId::parse("shop").expect("an id"), id }
    }

    #[tokio::test(start_paused = true)]
    async fn r4_r13_evidence_waits_for_a_leader_however_long_that_takes() {
        let (began, hour) = (Instant::now(), Duration::from_secs(3600));
        let led = || if began.elapsed() >= hour { Carried::Committed } else { Carried::NotNow };
        assert!(until_read(|| std::future::ready(led())).await);
        assert!(began.elapsed() < hour + 2 * PAUSE, "and no longer: {:?}", began.elapsed());
    }

    /// A fault there was: a leader of an older version was offered the same evidence ten times a second for ever.
    #[tokio::test(start_paused = true)]
    async fn r4_r13_evidence_that_a_leader_does_not_understand_is_kept_and_offered_ever_more_rarely() {
        assert!(!until_read(|| std::future::ready(Carried::NotUnderstood)).await, "not over and over");
        let (attempt, began) = (attempt(), Instant::now());
        let (leads, leadership) = watch::channel(1);
        let mut patience = Patience::new(&attempt, leadership);
        let mut pauses = vec![];
        for _ in 0..9 {
            let before = Instant::now();
            patience.wait().await;
            pauses.push(before.elapsed().as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);

        // The next leader is offered it at once, and may understand it no better.
        leads.send_replace(2);
        let before = Instant::now();
        patience.wait().await;
        assert_eq!(before.elapsed(), Duration::ZERO);
        patience.wait().await;
        assert_eq!(before.elapsed(), limits::NOT_UNDERSTOOD_PAUSE);
        // Nobody leads any more, because this node stops: that is no reason to offer without a pause.
        drop(leads);
        let before = Instant::now();
        patience.wait().await;
        assert_eq!(before.elapsed(), 2 * limits::NOT_UNDERSTOOD_PAUSE);
        assert!(began.elapsed() < Duration::from_secs(300));
    }
}
