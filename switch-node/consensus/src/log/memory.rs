//! A log in memory that behaves like a disk: what is not synced yet is lost in a crash, what is synced is not.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    ops::Range,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;

use super::{Ballot, Durable, LogEntry, LogId, LogState, WriteAheadLog, next_index};

/// A [`WriteAheadLog`] for simulations: pending until synced. Must be used inside a tokio runtime; paused time is fine.
#[derive(Clone)]
pub struct MemoryLog {
    inner: Arc<Mutex<Inner>>,
    sync_takes: Arc<dyn Fn() -> Duration + Send + Sync>,
}

struct Inner {
    /// What readers see.
    seen: Image,
    /// What a crash leaves.
    disk: Image,
    /// What lies between, oldest first.
    pending: VecDeque<(Write, Option<Durable>)>,
    /// Writes ever made; `pending` ends with the newest.
    writes: u64,
    fault: Option<&'static str>,
}

#[derive(Clone, Default)]
struct Image {
    entries: BTreeMap<u64, LogEntry>,
    ballot: Option<Ballot>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    bytes: u64,
}

#[derive(Clone)]
enum Write {
    Append(Vec<LogEntry>),
    Ballot(Ballot),
    Committed(LogId),
    Truncate(Option<LogId>),
    Purge(LogId),
}

impl MemoryLog {
    /// An empty log; every sync takes as long as `sync_takes` says.
    pub fn new(sync_takes: Arc<dyn Fn() -> Duration + Send + Sync>) -> Self {
        Self::holding(Image::default(), sync_takes)
    }

    /// Kills this log, and gives the one that is found after the crash: what was synced, and the first `torn` of the writes that
    /// were not.
    pub fn crash(&self, torn: usize) -> Self {
        let mut inner = self.inner.lock();
        inner.fault = Some("the process is gone");
        let mut disk = inner.disk.clone();
        for (write, _) in inner.pending.drain(..).take(torn) {
            disk.apply(write);
        }
        Self::holding(disk, self.sync_takes.clone())
    }

    /// From now on every write fails, as after a failed fsync.
    pub fn fail(&self) {
        let mut inner = self.inner.lock();
        inner.fault = Some("the disk failed");
        let stranded: Vec<_> = inner.pending.drain(..).collect();
        drop(inner);
        for (_, durable) in stranded {
            if let Some(durable) = durable {
                durable(Err(io::Error::other("the disk failed")));
            }
        }
    }

    fn holding(image: Image, sync_takes: Arc<dyn Fn() -> Duration + Send + Sync>) -> Self {
        let inner = Inner { seen: image.clone(), disk: image, pending: VecDeque::new(), writes: 0, fault: None };
        Self { inner: Arc::new(Mutex::new(inner)), sync_takes }
    }

    fn write(&self, write: Write, durable: Option<Durable>) -> io::Result<()> {
        let synced = durable.is_some();
        let upto = {
            let mut inner = self.inner.lock();
            if let Some(fault) = inner.fault {
                return Err(io::Error::other(fault));
            }
            inner.seen.apply(write.clone());
            inner.pending.push_back((write, durable));
            inner.writes += 1;
            inner.writes
        };
        if synced {
            let log = self.clone();
            let takes = (self.sync_takes)();
            tokio::spawn(async move {
                tokio::time::sleep(takes).await;
                log.sync(upto);
            });
        }
        Ok(())
    }

    /// Brings everything up to the write `upto` to the disk.
    fn sync(&self, upto: u64) {
        let mut told = Vec::new();
        {
            let mut inner = self.inner.lock();
            while inner.writes - (inner.pending.len() as u64) < upto {
                let Some((write, durable)) = inner.pending.pop_front() else { break };
                inner.disk.apply(write);
                told.extend(durable);
            }
        }
        for durable in told {
            durable(Ok(()));
        }
    }
}

impl WriteAheadLog for MemoryLog {
    fn state(&self) -> LogState {
        let seen = &self.inner.lock().seen;
        LogState {
            ballot: seen.ballot,
            last: seen.last(),
            committed: seen.committed,
            purged: seen.purged,
            bytes: seen.bytes,
        }
    }

    fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<LogEntry>> {
        let inner = self.inner.lock();
        let mut bytes = 0;
        let mut entries = Vec::new();
        if range.start >= range.end {
            return Ok(entries);
        }
        for entry in inner.seen.entries.range(range).map(|(_, entry)| entry) {
            bytes += entry.body.size();
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        Ok(entries)
    }

    fn append(&self, entries: Vec<LogEntry>, durable: Durable) -> io::Result<()> {
        self.write(Write::Append(entries), Some(durable))
    }

    fn save_ballot(&self, ballot: Ballot, durable: Durable) -> io::Result<()> {
        self.write(Write::Ballot(ballot), Some(durable))
    }

    fn save_committed(&self, committed: LogId) -> io::Result<()> {
        self.write(Write::Committed(committed), None)
    }

    fn truncate_after(&self, last: Option<LogId>) -> io::Result<()> {
        self.write(Write::Truncate(last), None)
    }

    fn purge(&self, upto: LogId) -> io::Result<()> {
        self.write(Write::Purge(upto), None)
    }
}

impl Image {
    fn last(&self) -> Option<LogId> {
        self.entries.values().next_back().map(|entry| entry.id).max(self.purged)
    }

    fn apply(&mut self, write: Write) {
        match write {
            Write::Append(entries) => {
                for entry in entries {
                    debug_assert!(self.last().is_none() || next_index(self.last()) == entry.id.index, "a gap");
                    self.bytes += entry.body.size() as u64;
                    self.entries.insert(entry.id.index, entry);
                }
            }
            Write::Ballot(ballot) => self.ballot = Some(ballot),
            Write::Committed(committed) => self.committed = self.committed.max(Some(committed)),
            Write::Truncate(last) => drop(self.entries.split_off(&next_index(last))),
            Write::Purge(upto) => {
                self.purged = self.purged.max(Some(upto));
                self.entries = self.entries.split_off(&next_index(self.purged));
                self.bytes = self.entries.values().map(|entry| entry.body.size() as u64).sum();
            }
        }
    }
}
