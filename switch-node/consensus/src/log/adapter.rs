//! The log as openraft wants it.

use std::{
    fmt::Debug,
    io,
    ops::{Bound, RangeBounds},
    sync::Arc,
};

use openraft::{
    OptionalSend,
    storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage},
};
use tokio::sync::oneshot;

use super::{WriteAheadLog, next_index};
use crate::{
    limits,
    raft::{Config, RaftEntry, RaftLogId, RaftVote, ballot, log_entry, log_id, raft_entry, raft_log_id, vote},
};

/// Called when the log failed for good.
pub(crate) type Failed = Arc<dyn Fn(&str) + Send + Sync>;

/// openraft's handle; cheap to clone.
#[derive(Clone)]
pub(crate) struct Storage {
    log: Arc<dyn WriteAheadLog>,
    failed: Failed,
}

impl Storage {
    pub(crate) fn new(log: Arc<dyn WriteAheadLog>, failed: Failed) -> Self {
        Self { log, failed }
    }

    fn read(&self, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<RaftEntry>> {
        if start >= end {
            return Ok(Vec::new());
        }
        self.log.read(start..end, bytes_max)?.into_iter().map(|entry| Ok(raft_entry(entry)?)).collect()
    }

    fn checked<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|error| (self.failed)(&format!("the log failed: {error}")))
    }
}

impl RaftLogReader<Config> for Storage {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> io::Result<Vec<RaftEntry>> {
        let start = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(index) => index + 1,
            Bound::Excluded(index) => *index,
            Bound::Unbounded => next_index(self.log.state().last),
        };
        self.read(start, end, usize::MAX)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<RaftEntry>> {
        self.read(start, end, limits::APPEND_BYTES_MAX)
    }

    async fn read_vote(&mut self) -> io::Result<Option<RaftVote>> {
        Ok(self.log.state().ballot.map(vote))
    }
}

impl RaftLogStorage<Config> for Storage {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Config>> {
        let state = self.log.state();
        Ok(LogState { last_purged_log_id: state.purged.map(raft_log_id), last_log_id: state.last.map(raft_log_id) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &RaftVote) -> io::Result<()> {
        let (durable, saved) = oneshot::channel();
        let written = self.log.save_ballot(ballot(*vote), Box::new(|result| drop(durable.send(result))));
        self.checked(written)?;
        let saved = saved.await.unwrap_or_else(|_| Err(io::Error::other("its writer is gone")));
        self.checked(saved)
    }

    async fn save_committed(&mut self, committed: Option<RaftLogId>) -> io::Result<()> {
        let Some(committed) = committed else { return Ok(()) };
        self.checked(self.log.save_committed(log_id(committed)))
    }

    async fn read_committed(&mut self) -> io::Result<Option<RaftLogId>> {
        Ok(self.log.state().committed.map(raft_log_id))
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<Config>) -> io::Result<()>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries.into_iter().map(log_entry).collect();
        let failed = self.failed.clone();
        let durable = Box::new(move |result: io::Result<()>| {
            if let Err(error) = &result {
                failed(&format!("the log could not be flushed: {error}"));
            }
            flushed.io_completed(result);
        });
        self.checked(self.log.append(entries, durable))
    }

    async fn truncate_after(&mut self, last: Option<RaftLogId>) -> io::Result<()> {
        self.checked(self.log.truncate_after(last.map(log_id)))
    }

    async fn purge(&mut self, upto: RaftLogId) -> io::Result<()> {
        self.checked(self.log.purge(log_id(upto)))
    }
}
