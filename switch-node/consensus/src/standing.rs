//! Whether the cluster takes a process for the node it says it is.
//!
//! A node is a process, not only ids on a disk: a disk can be copied while its node runs, and then two processes bear one name. The
//! one that answers at the address the membership records is the node; any other one is refused by every peer that is called.

use std::{collections::BTreeMap, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{NodeId, PeerError, Refusal};

/// What this process has been told of itself.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    refused: Mutex<Option<(Instant, String)>>,
    heard: Mutex<Option<Instant>>,
}

impl Standing {
    /// This node has taken what the leader sent.
    pub(crate) fn heard(&self) {
        *self.heard.lock() = Some(Instant::now());
    }

    /// Time since the leader last did, if it ever has.
    pub(crate) fn silence(&self) -> Option<Duration> {
        self.heard.lock().map(|at| at.elapsed())
    }

    /// A peer will not have this process, or this process has found out by itself.
    pub(crate) fn refuse(&self, why: impl Into<String>) {
        *self.refused.lock() = Some((Instant::now(), why.into()));
    }

    /// Keeps a peer's answer if it says that this process is not who it says it is.
    pub(crate) fn noted(&self, error: &PeerError) {
        if let PeerError::Refused { refusal: Refusal::OtherStore | Refusal::OtherProcess, .. } = error {
            self.refuse(error.to_string());
        }
    }

    /// Why this process is not taken for its node, unless it has been since: `confirmed` is the time since it took what a leader
    /// sent, or since a quorum followed it.
    pub(crate) fn refusal(&self, confirmed: Option<Duration>) -> Option<String> {
        let refused = self.refused.lock();
        let (at, why) = refused.as_ref()?;
        confirmed.is_none_or(|confirmed| at.elapsed() < confirmed).then(|| why.clone())
    }
}

/// Which process each member is, as far as this node has found out.
#[derive(Debug, Default)]
pub(crate) struct Processes(Mutex<BTreeMap<NodeId, u64>>);

impl Processes {
    pub(crate) fn is(&self, node: NodeId, boot: u64) -> bool {
        self.0.lock().get(&node) == Some(&boot)
    }

    /// Keeps a finding; those of nodes that `is_member` says are none are dropped.
    pub(crate) fn found(&self, node: NodeId, boot: u64, is_member: impl Fn(NodeId) -> bool) {
        let mut known = self.0.lock();
        known.retain(|node, _| is_member(*node));
        known.insert(node, boot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_refusal_stands_until_the_cluster_has_use_for_the_process_again() {
        let standing = Standing::default();
        assert_eq!((standing.refusal(None), standing.silence()), (None, None));
        standing.noted(&PeerError::refused(Refusal::NotLeader, "ask again"));
        assert_eq!(standing.refusal(None), None, "not about this process");
        standing.heard();
        tokio::time::advance(Duration::from_secs(1)).await;
        standing.noted(&PeerError::refused(Refusal::OtherProcess, "two of them"));
        assert!(standing.refusal(standing.silence()).unwrap().contains("OTHER_PROCESS"));
        tokio::time::advance(Duration::from_secs(1)).await;
        standing.heard();
        assert_eq!(standing.refusal(standing.silence()), None);
    }
}
