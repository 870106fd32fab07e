//! Why a link has no connection, for the log: it is tried many times a second, and what keeps it away seldom changes.

use parking_lot::Mutex;
use switch_domain::id::LinkId;

use crate::telemetry::seldom::Seldom;

/// What the log was told last of one link, until it connects.
#[derive(Debug, Default)]
pub(super) struct Unconnected {
    told: Mutex<Option<String>>,
    lines: Seldom,
}

impl Unconnected {
    /// Warns of the first failure, and of each that has another reason than the one before; at most once a second, so that reasons
    /// that take turns do not fill the disk.
    pub(super) fn failed(&self, link: &LinkId, reason: String) {
        let mut told = self.told.lock();
        if told.as_ref() == Some(&reason) || !self.lines.is_due() {
            tracing::debug!(%link, reason, "no connection");
            return;
        }
        tracing::warn!(%link, reason, "no connection");
        *told = Some(reason);
    }

    /// It connected: the next failure is a first one.
    pub(super) fn connected(&self) {
        *self.told.lock() = None;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::seldom::tests::Lines;

    #[tokio::test(start_paused = true)]
    async fn a_reason_is_told_when_it_is_new() {
        let (unconnected, lines) = (Unconnected::default(), Lines::default());
        let _guard = lines.of_this_thread();
        let link = LinkId::parse("visa-1").expect("an id");
        let told = async |reason: &str| {
            unconnected.failed(&link, reason.to_owned());
            tokio::time::advance(Duration::from_millis(600)).await;
            let told = lines.take();
            assert!(
                told.is_empty() || told.contains(reason) && told.contains("WARN") && told.contains("visa-1"),
                "{told}"
            );
            !told.is_empty()
        };
        assert!(told("refused").await);
        for _ in 0..10 {
            assert!(!told("refused").await, "it is the same");
        }
        assert!(told("no answer").await);
        assert!(!told("refused").await, "within a second of the line before");
        assert!(told("refused").await);

        tokio::time::advance(Duration::from_secs(1)).await;
        unconnected.connected();
        assert!(told("refused").await, "it was connected meanwhile");
    }
}
