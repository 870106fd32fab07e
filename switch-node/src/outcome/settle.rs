//! Getting evidence committed.

use async_trait::async_trait;
use switch_domain::{
    entry::Command,
    id::{AttemptRef, Owner},
};
use tokio::time::{Duration, Instant};

use crate::journal::{Journal, Lost};

/// Pause between two tries: a fail-over takes about a second.
const PAUSE: Duration = Duration::from_millis(100);

/// The way to the other nodes.
#[async_trait]
pub trait Courier: Send + Sync {
    /// Hands evidence to the leader; true once the leader has committed it.
    async fn carry(&self, command: &Command, deadline: Instant) -> bool;

    /// Asks an attempt's owner whether it still holds the conversation; `None` where it cannot be reached.
    async fn holds(&self, owner: Owner, attempt: &AttemptRef) -> Option<bool>;
}

/// Commits evidence here or through the leader, until it is committed or the time is over; true once it is. Evidence may be
/// committed twice: the book takes the first and ignores the second.
pub async fn carry(journal: &Journal, courier: &dyn Courier, command: &Command, until: Instant) -> bool {
    loop {
        match journal.propose(command.clone()).await {
            Ok(_) => return true,
            Err(Lost::NotTaken) => {
                if courier.carry(command, until).await {
                    return true;
                }
            }
            Err(Lost::Unknown) => {}
        }
        if Instant::now() + PAUSE > until {
            return false;
        }
        tokio::time::sleep(PAUSE).await;
    }
}
