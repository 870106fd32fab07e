//! Getting evidence committed.

use std::collections::HashSet;

use async_trait::async_trait;
use switch_domain::{
    entry::Command,
    id::{AttemptRef, Owner},
};
use tokio::time::Duration;

use crate::journal::{Journal, Lost};

/// Pause between two tries: a fail-over takes about a second.
const PAUSE: Duration = Duration::from_millis(100);

/// The way to the other nodes.
#[async_trait]
pub trait Courier: Send + Sync {
    /// Hands evidence to the leader; true once the leader has committed it. Ends within seconds.
    async fn carry(&self, command: &Command) -> bool;

    /// Asks an owner which of these conversations it still holds, [`super::limits::HOLDS_ASKED_MAX`] at most; `None` where it
    /// cannot be reached. Ends within seconds.
    async fn holds(&self, owner: Owner, attempts: &[AttemptRef]) -> Option<HashSet<AttemptRef>>;
}

/// Commits evidence here or through the leader, however long nobody leads: evidence that is dropped may be money that nobody
/// gives back (R4, R13). Who calls bounds how much of it waits. Evidence may be committed twice: the book takes the first and
/// ignores the second.
pub async fn carry(journal: &Journal, courier: &dyn Courier, command: &Command) {
    until_taken(|| offer(journal, courier, command)).await;
}

async fn offer(journal: &Journal, courier: &dyn Courier, command: &Command) -> bool {
    match journal.propose(command.clone()).await {
        Ok(_) => true,
        Err(Lost::NotTaken) => courier.carry(command).await,
        Err(Lost::Unknown) => false,
    }
}

async fn until_taken<Offered: Future<Output = bool>>(mut offer: impl FnMut() -> Offered) {
    while !offer().await {
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn r4_r13_evidence_waits_for_a_leader_however_long_that_takes() {
        let (began, hour) = (Instant::now(), Duration::from_secs(3600));
        until_taken(|| std::future::ready(began.elapsed() >= hour)).await;
        assert!(began.elapsed() < hour + 2 * PAUSE, "and no longer: {:?}", began.elapsed());
    }
}
