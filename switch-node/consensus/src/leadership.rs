//! Who leads, whether the lease holds, and handing leadership over.
//!
//! **Invariant:** the lease is for the last check before something irrevocable is sent. It is never a reason to answer a read, and
//! it does not survive the wish to hand over: from that moment the followers may elect somebody else at once.

use std::{sync::Arc, time::Duration};

use openraft::{Instant as _, RaftMetrics, async_runtime::WatchReceiver};
use tokio::sync::watch;

use crate::{
    Group, LeaderId, MemberRecord, NodeId,
    group::Inner,
    raft::{self, Config},
};

/// Who leads, as this node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The leader a quorum voted for, or `None` while there is none to be seen.
    pub leader: Option<LeaderId>,
    /// True if that is this node. It leads, but what earlier leaders left behind may not be applied yet: wait for the
    /// [`Blank`](crate::Committed::Blank) entry of `leader`.
    pub is_self: bool,
    /// The leader's record: where to reach it. `None` if this node's membership does not have it yet.
    pub record: Option<MemberRecord>,
}

/// Why leadership was not handed over.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// This node does not lead: ask the leader.
    #[error("this node does not lead, ask the leader at {address:?}")]
    NotLeader {
        /// Where peers reach the leader, if it is known.
        address: Option<String>,
    },
    /// The node is not a voter, or is this node itself.
    #[error("{node:016x} cannot lead: it is not another voter")]
    NotVoter {
        /// The node.
        node: NodeId,
    },
    /// No other voter has answered lately: wait for one to come back.
    #[error("no other voter is there to lead")]
    NobodyThere,
    /// Nobody else leads yet. An election may still be under way: this node proposes nothing more under its present term.
    #[error("no other leader within {within:?}")]
    Late {
        /// The time it had.
        within: Duration,
    },
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopped,
}

impl Group {
    /// Who leads; changes when that changes.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.subscribe()
    }

    /// True if this node leads and a quorum has confirmed it so lately that no other can have been elected, clocks running evenly.
    /// Cheap. Says nothing about the next microsecond.
    pub fn holds_lease(&self) -> bool {
        self.lease_left().is_some()
    }

    /// How much longer the lease holds if no quorum confirms it again; `None` where [`Group::holds_lease`] is false. Never zero.
    pub fn lease_left(&self) -> Option<Duration> {
        let inner = &*self.inner;
        let metrics = inner.metrics.borrow_watched();
        let leader = own_leader_id(&metrics)?;
        if *inner.handing_over.lock() == Some(leader) {
            return None;
        }
        let left = inner.timing.lease().checked_sub(followed(&metrics)?)?;
        (!left.is_zero()).then_some(left)
    }

    /// Hands leadership to `to`, or to the voter that is furthest if `None`, and waits for the new leader. Proposals under way may
    /// come back as unknown.
    pub async fn transfer_leader(&self, to: Option<NodeId>) -> Result<LeaderId, TransferError> {
        let inner = &*self.inner;
        let mut leadership = self.leadership();
        let (leader, to) = {
            let metrics = inner.metrics.borrow_watched();
            let Some(leader) = own_leader_id(&metrics) else {
                let address = leadership.borrow().record.as_ref().map(|record| record.peer_address.clone());
                return Err(TransferError::NotLeader { address });
            };
            (leader, successor(&metrics, to, inner.timing.election_max)?)
        };
        // Before anybody hears of it: followers drop their leases when they do.
        *inner.handing_over.lock() = Some(leader);
        tracing::info!(%leader, to = format_args!("{to:016x}"), "handing over leadership");
        inner.raft.trigger().transfer_leader(to).await.map_err(|_| TransferError::Stopped)?;

        let within = inner.timing.election_max * 4;
        let other = leadership.wait_for(|leadership| leadership.leader.is_some_and(|new| new > leader));
        match tokio::time::timeout(within, other).await {
            Ok(Ok(leadership)) => leadership.leader.ok_or(TransferError::Stopped),
            Ok(Err(_)) => Err(TransferError::Stopped),
            Err(_) => Err(TransferError::Late { within }),
        }
    }
}

/// Who shall lead: the one that was asked for, or the one that has the most of the log.
fn successor(
    metrics: &RaftMetrics<Config>,
    wanted: Option<NodeId>,
    answered_within: Duration,
) -> Result<NodeId, TransferError> {
    let voters: Vec<NodeId> = metrics.membership_config.voter_ids().filter(|voter| *voter != metrics.id).collect();
    let there = |voter: &NodeId| {
        let answered = metrics.heartbeat.as_ref().and_then(|answers| answers.get(voter)?.as_ref());
        answered.is_some_and(|at| at.elapsed() < answered_within)
    };
    let matched = |voter: &NodeId| metrics.replication.as_ref().and_then(|matched| *matched.get(voter)?);
    let chosen = match wanted {
        Some(node) if !voters.contains(&node) => return Err(TransferError::NotVoter { node }),
        Some(node) => Some(node).filter(there),
        None => voters.into_iter().filter(there).max_by_key(matched),
    };
    chosen.ok_or(TransferError::NobodyThere)
}

/// On a leader: how long ago a quorum, of which it is part, followed it.
pub(crate) fn followed(metrics: &RaftMetrics<Config>) -> Option<Duration> {
    let own = metrics.id;
    if !metrics.membership_config.voter_ids().any(|voter| voter == own) {
        return None;
    }
    if metrics.membership_config.voter_ids().all(|voter| voter == own) {
        return Some(Duration::ZERO); // the quorum is this node
    }
    metrics.last_quorum_acked.as_ref().map(|acked| acked.elapsed())
}

/// This node's leader id, if it leads.
pub(crate) fn own_leader_id(metrics: &RaftMetrics<Config>) -> Option<LeaderId> {
    let leads = metrics.state.is_leader() && metrics.vote.committed && metrics.vote.leader_id.node_id == metrics.id;
    leads.then(|| metrics.vote.leader_id.into())
}

/// Tells who leads and where the members are, and ends the process when the core has ended without being asked to.
pub(crate) async fn watch_core(inner: Arc<Inner>) {
    // These change with leaders and members only; the full metrics change with every entry.
    let mut metrics = inner.raft.server_metrics();
    loop {
        let seen = {
            let metrics = metrics.borrow_and_update();
            *inner.peers.records.write() =
                metrics.membership_config.nodes().map(|(node, record)| (*node, record.clone())).collect();
            match metrics.current_leader.filter(|_| metrics.vote.committed) {
                None => Leadership::default(),
                Some(node) => Leadership {
                    leader: Some(metrics.vote.leader_id.into()),
                    is_self: node == metrics.id && metrics.state.is_leader(),
                    record: metrics.membership_config.get_node(&node).cloned(),
                },
            }
        };
        inner.leadership.send_if_modified(|known| {
            let changed = *known != seen;
            *known = seen;
            changed
        });
        if metrics.changed().await.is_err() {
            let running = inner.metrics.borrow_watched().running_state.clone();
            let reason = running.map_or_else(|fatal| raft::fatal(&fatal), |()| "the consensus core is gone".into());
            return inner.fail(&reason);
        }
    }
}
