//! The write-ahead log: votes and entries, on disk before anybody is told.
//!
//! openraft talks to an adapter, the adapter to a [`WriteAheadLog`]: [`DiskLog`] in a node, [`memory::MemoryLog`] in a simulation.

pub(crate) mod adapter;
mod disk;
mod mark;
pub mod memory;

use std::{fmt, io, ops::Range};

use bytes::Bytes;

pub use disk::DiskLog;
pub use mark::Mark;

use crate::{LeaderId, NodeId};

/// An entry's place: who wrote it, and its index. Ordered by leader first, as the log is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    /// Who wrote it.
    pub leader: LeaderId,
    /// Counts from 0, without gaps.
    pub index: u64,
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.leader, self.index)
    }
}

/// A vote. Only ever grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ballot {
    /// The candidate.
    pub leader: LeaderId,
    /// Whether a quorum voted for it: then it leads.
    pub committed: bool,
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.leader, if self.committed { " (won)" } else { "" })
    }
}

/// What an entry holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Nothing.
    Blank,
    /// A pack.
    Pack(Bytes),
    /// A serialized `payswitch.peer.v1.Membership`.
    Membership(Bytes),
}

impl Body {
    /// Bytes it holds.
    pub fn size(&self) -> usize {
        match self {
            Self::Blank => 0,
            Self::Pack(bytes) | Self::Membership(bytes) => bytes.len(),
        }
    }
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Its place.
    pub id: LogId,
    /// What it holds.
    pub body: Body,
}

/// What a log holds: entries in `(purged, last]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogState {
    /// The last vote saved.
    pub ballot: Option<Ballot>,
    /// The last entry, or `purged` if there is none.
    pub last: Option<LogId>,
    /// The last entry known to be committed; may be older than the truth.
    pub committed: Option<LogId>,
    /// The last entry that was deleted because a snapshot has it.
    pub purged: Option<LogId>,
    /// Bytes the log takes on disk.
    pub bytes: u64,
}

/// Called once what was written is on disk, or with the error that stops the node.
pub type Durable = Box<dyn FnOnce(io::Result<()>) + Send>;

/// A log that survives a crash. Writes reach the disk in the order of the calls.
///
/// An error is final: after it every later write fails too. What was not yet acknowledged may or may not be there after a restart.
pub trait WriteAheadLog: Send + Sync + 'static {
    /// What it holds.
    fn state(&self) -> LogState;

    /// Entries in `range`, in order, without gaps: as many as fit into `bytes_max`, at least one if the first is there. Entries
    /// are readable as soon as `append` returned.
    fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<LogEntry>>;

    /// Adds entries after the last. `durable` is called when they, and all that was written before, are on disk.
    fn append(&self, entries: Vec<LogEntry>, durable: Durable) -> io::Result<()>;

    /// Saves a vote. `durable` is called when it is on disk.
    fn save_ballot(&self, ballot: Ballot, durable: Durable) -> io::Result<()>;

    /// Notes what is committed. Not made durable by itself.
    fn save_committed(&self, committed: LogId) -> io::Result<()>;

    /// Deletes what comes after `last`; all if `None`.
    fn truncate_after(&self, last: Option<LogId>) -> io::Result<()>;

    /// Deletes up to `upto`, which may lie beyond the last entry: then the log is empty and goes on after it.
    fn purge(&self, upto: LogId) -> io::Result<()>;
}

/// A log that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk does not hold what this node once acknowledged. The node must not vote or lead with it: bring it back as a new
    /// node, with an empty data directory, and remove the old one from the cluster.
    #[error(
        "the log in {dir} ends at {last}, but this node has acknowledged {marked}: \
         it must not rejoin with this disk, bring it back as a new node with an empty data directory",
        last = shown(.last), marked = shown(.marked)
    )]
    EntriesLost {
        /// The log's directory.
        dir: String,
        /// What is there.
        last: Option<LogId>,
        /// What was there.
        marked: Option<LogId>,
    },
    /// As [`OpenError::EntriesLost`], for the vote: it could vote twice in one term.
    #[error(
        "the log in {dir} has the vote {ballot}, but this node has given {marked}: \
         it must not rejoin with this disk, bring it back as a new node with an empty data directory",
        ballot = shown(.ballot), marked = shown(.marked)
    )]
    BallotLost {
        /// The log's directory.
        dir: String,
        /// What is there.
        ballot: Option<Ballot>,
        /// What was there.
        marked: Option<Ballot>,
    },
    /// The log cannot be read at all: a closed file of it is damaged, it is locked by another process, or the disk fails.
    #[error("the log in {dir} cannot be opened: {source}")]
    Unreadable {
        /// The log's directory.
        dir: String,
        /// Why.
        source: io::Error,
    },
}

/// Which node a log id or a vote belongs to decides nothing here; shown for people.
fn shown<T: fmt::Display>(value: &Option<T>) -> String {
    value.as_ref().map_or_else(|| "nothing".to_owned(), T::to_string)
}

impl LogId {
    /// Puts one together.
    pub fn new(term: u64, node: NodeId, index: u64) -> Self {
        Self { leader: LeaderId { term, node }, index }
    }
}

/// The index after `id`: 0 if there is none.
pub(crate) fn next_index(id: Option<LogId>) -> u64 {
    id.map_or(0, |id| id.index + 1)
}
