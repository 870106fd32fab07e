//! Replicates opaque packs to a [`Machine`]: a quorum of disks has a pack before anybody is told that it is taken.
//!
//! Everything of openraft is in here, with concrete types; nothing of payments is.
//!
//! ```text
//!  Group::propose ─▶ openraft core ─▶ WriteAheadLog ── fsync ──▶ quorum ─▶ Machine::apply (own thread) ─▶ propose returns
//!                         │                 └── durable mark beside it
//!                         └─▶ PeerWire ─▶ PeerHandler of the other nodes
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | [`group`] | [`Group`]: start, propose, read, status, shut down |
//! | [`machine`] | what is replicated to, its thread, its place between openraft and the table |
//! | [`log`] | the write-ahead log on disk and its durable mark |
//! | [`identity`] | which cluster, node and disk this is |
//! | [`membership`] | who belongs to the cluster, and how a cluster forms without hooks |
//! | [`leadership`] | who leads, whether the lease holds, handing over |
//! | [`transport`] | the wire to the peers, real or simulated |
//! | [`service`] | the called side of that wire |
//! | [`snapshot`] | moving a whole state, and when to take one |
//! | [`limits`] | every bound, with its reason |

pub mod group;
pub mod identity;
pub mod leadership;
pub mod limits;
pub mod log;
pub mod machine;
pub mod membership;
mod raft;
pub mod service;
pub mod snapshot;
mod standing;
pub mod transport;

pub use group::{
    Group, GroupOptions, GroupStatus, KeepIdentity, MemberStatus, Parts, ProposeError, Proposed, ReadError, StartError,
    Timing,
};
pub use identity::{Identity, IdentityError};
pub use leadership::{Leadership, TransferError};
pub use log::{Ballot, Body, DiskLog, LogEntry, LogId, LogState, OpenError, WriteAheadLog};
pub use machine::{Committed, Machine, MachineFault, Progress, SnapshotSink, SnapshotView};
pub use membership::{Formation, Member, MemberRecord, MembershipError, form_or_join};
pub use service::{PeerHandler, service};
pub use transport::{GrpcWire, PeerError, PeerWire, Refusal};

/// A node's random id. It is bound to one disk and never used again.
pub type NodeId = u64;

/// The leader under which an entry was written: unique for all time, and ordered like the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaderId {
    /// Election term; counts up.
    pub term: u64,
    /// The node that won it.
    pub node: NodeId,
}

impl std::fmt::Display for LeaderId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{:016x}", self.term, self.node)
    }
}

#[cfg(test)]
mod tests;
