//! Work that only a leader does, for as long as it leads.

use crate::journal::{Journal, reign::Reign};

/// Runs `work` during each reign of this node, and drops it where the reign ends. Returns when the journal is gone.
pub(super) async fn while_reigning<W: Future<Output = ()>>(journal: &Journal, work: impl Fn(Reign) -> W) {
    let mut reigns = journal.watch_reign();
    loop {
        let reign = *reigns.borrow_and_update();
        let Some(reign) = reign else {
            if reigns.changed().await.is_err() {
                return;
            }
            continue;
        };
        tokio::select! {
            biased;
            changed = reigns.changed() => if changed.is_err() { return },
            () = work(reign) => {}
        }
    }
}
