//! What is replicated to.
//!
//! A [`Machine`] takes committed entries in log order and stores them with the [`Progress`] they end at, in one atomic commit. It
//! may lose its tail in a crash, never a part from the middle: the log replays what is missing. It lives on a thread of its own, so
//! that a commit that waits for the disk does not hold up the runtime.

pub(crate) mod host;
pub(crate) mod replica;

use std::{any::Any, fmt};

use bytes::Bytes;

use crate::LeaderId;

/// One committed entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Committed {
    /// Nothing. The first entry of every leader: once it is applied, everything of earlier leaders is.
    Blank {
        /// Its place in the log.
        index: u64,
        /// Who wrote it.
        leader: LeaderId,
    },
    /// What somebody proposed.
    Pack {
        /// Its place in the log.
        index: u64,
        /// Who wrote it; the proposal was made on that node, under that leadership.
        leader: LeaderId,
        /// As it was proposed.
        payload: Bytes,
    },
    /// A change of members. The machine need not look at it: [`Progress`] carries the membership.
    Membership {
        /// Its place in the log.
        index: u64,
        /// Who wrote it.
        leader: LeaderId,
        /// A serialized `payswitch.peer.v1.Membership`.
        members: Bytes,
    },
}

impl Committed {
    /// Its place in the log.
    pub fn index(&self) -> u64 {
        match self {
            Self::Blank { index, .. } | Self::Pack { index, .. } | Self::Membership { index, .. } => *index,
        }
    }

    /// Who wrote it.
    pub fn leader(&self) -> LeaderId {
        match self {
            Self::Blank { leader, .. } | Self::Pack { leader, .. } | Self::Membership { leader, .. } => *leader,
        }
    }
}

/// Up to where a machine has applied, and with which members. Opaque to the machine, stored in the same commit as what was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress(pub Bytes);

/// The machine cannot go on. Whatever the cause, the node stops: a replica that skips an entry is not a replica.
#[derive(Debug, thiserror::Error)]
#[error("the state machine failed, the node must stop: {0}")]
pub struct MachineFault(String);

impl MachineFault {
    /// Says what failed.
    pub fn new(what: impl fmt::Display) -> Self {
        Self(what.to_string())
    }
}

/// What is replicated to. Called by one thread only, in log order.
pub trait Machine: Send + 'static {
    /// Applies `entries` and stores `progress`, all in one atomic commit. Need not fsync. An error stops the node.
    fn apply(&mut self, entries: Vec<Committed>, progress: Progress) -> Result<(), MachineFault>;

    /// What the last `apply` or `adopt` that survived has stored; `None` on an empty disk.
    fn progress(&self) -> Result<Option<Progress>, MachineFault>;

    /// Makes all that was applied durable and gives a consistent view of it, which later entries do not change. Called only after
    /// something was applied. Must not take long: apply waits.
    fn snapshot(&mut self) -> Result<Box<dyn SnapshotView>, MachineFault>;

    /// Prepares a place beside the state for a snapshot to come. Left-overs of an earlier attempt are discarded.
    fn install(&mut self) -> Result<Box<dyn SnapshotSink>, MachineFault>;

    /// Replaces the whole state by what `sink` took, atomically and durably, and stores `progress` with it. The sink comes from
    /// this machine's [`Machine::install`]: downcast it (`let sink: Box<dyn Any> = sink;`). After a failure or a crash either the
    /// old state or the new one is there.
    fn adopt(&mut self, sink: Box<dyn SnapshotSink>, progress: Progress) -> Result<(), MachineFault>;
}

/// A consistent view of a machine's state.
pub trait SnapshotView: Send + Sync {
    /// Up to where it goes.
    fn progress(&self) -> Progress;

    /// What the machine says of the state in a few bytes: equal on every replica that has applied the same entries.
    fn fingerprint(&self) -> Bytes;

    /// The state in frames of at most [`SNAPSHOT_FRAME_BYTES_MAX`](crate::limits::SNAPSHOT_FRAME_BYTES_MAX), from the start. May
    /// be called more than once; each iterator is read on a thread that may block, off the machine's.
    fn frames(&self) -> Box<dyn Iterator<Item = Result<Bytes, MachineFault>> + Send>;
}

/// Takes a snapshot's frames to disk. Dropped without [`Machine::adopt`] it leaves nothing behind that matters.
pub trait SnapshotSink: Any + Send {
    /// Takes the next frame, in order. Runs on a thread that may block, off the machine's.
    fn frame(&mut self, frame: Bytes) -> Result<(), MachineFault>;
}
