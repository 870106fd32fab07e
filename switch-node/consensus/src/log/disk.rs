//! The log of a node: raft-log, and the durable mark beside it.
//!
//! ```text
//!  <dir>/wal/r-….wal   raft-log's files: records with CRC, a new file every 32 MiB, whole files are freed
//!  <dir>/mark          what was acknowledged
//! ```
//!
//! **Invariant:** nothing is acknowledged before fdatasync returned, and a failed fdatasync is never tried again: raft-log stops, the
//! acknowledgement carries the error, openraft stops, the exit hook ends the process.

use std::{
    io::{self, Read, Write},
    ops::Range,
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::Mutex;
use raft_log::{RaftLog, api::raft_log_writer::RaftLogWriter};

use super::{Ballot, Body, Durable, LogEntry, LogId, LogState, OpenError, WriteAheadLog, mark::MarkFile, next_index};
use crate::{LeaderId, limits};

/// A [`WriteAheadLog`] in a directory of its own.
pub struct DiskLog {
    log: Mutex<RaftLog<Records>>,
    mark: Arc<Mutex<Marked>>,
}

impl DiskLog {
    /// Opens the log in `dir`, or makes a new one. Refuses a log that holds less than its mark says.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        let shown = dir.display().to_string();
        let unreadable = |source| OpenError::Unreadable { dir: shown.clone(), source };
        let wal = dir.join("wal");
        std::fs::create_dir_all(&wal).map_err(unreadable)?;
        let file = MarkFile::open(&dir.join("mark")).map_err(unreadable)?;
        let marked = file.mark();

        let mut config = raft_log::Config::new(wal.display());
        config.wal.chunk_max_size = Some(limits::LOG_CHUNK_BYTES);
        config.wal.read_buffer_size = Some(limits::LOG_READ_BUFFER_BYTES);
        config.wal.flush_batch_wait = Some(limits::LOG_FLUSH_WAIT);
        config.wal.flush_queue_max_bytes = Some(limits::LOG_FLUSH_QUEUE_BYTES);
        config.log_cache_capacity = Some(limits::LOG_CACHE_BYTES);
        config.log_cache_max_items = Some(limits::LOG_CACHE_ENTRIES);
        let log = RaftLog::<Records>::open(Arc::new(config)).map_err(unreadable)?;

        let last = log.log_state().last().map(|id| id.0);
        if last < marked.last {
            return Err(OpenError::EntriesLost { dir: shown, last, marked: marked.last });
        }
        let ballot = log.log_state().vote().map(|ballot| ballot.0);
        if ballot < marked.ballot {
            return Err(OpenError::BallotLost { dir: shown, ballot, marked: marked.ballot });
        }
        Ok(Self { log: Mutex::new(log), mark: Arc::new(Mutex::new(Marked { file, cuts: 0 })) })
    }

    /// An acknowledgement that raises the mark first.
    fn acknowledge(&self, log: &RaftLog<Records>, durable: Durable) -> Acknowledge {
        let state = log.log_state();
        Acknowledge {
            last: state.last().map(|id| id.0),
            ballot: state.vote().map(|ballot| ballot.0),
            cuts: self.mark.lock().cuts,
            mark: self.mark.clone(),
            durable,
        }
    }
}

impl WriteAheadLog for DiskLog {
    fn state(&self) -> LogState {
        let log = self.log.lock();
        let state = log.log_state();
        LogState {
            ballot: state.vote().map(|ballot| ballot.0),
            last: state.last().map(|id| id.0),
            committed: state.committed().map(|id| id.0),
            purged: state.purged().map(|id| id.0),
            bytes: log.on_disk_size(),
        }
    }

    fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<LogEntry>> {
        let log = self.log.lock();
        let mut entries = Vec::new();
        let mut bytes = 0;
        for record in log.read(range.start, range.end) {
            let (id, body) = record?;
            bytes += body.0.size();
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(LogEntry { id: id.0, body: body.0 });
        }
        Ok(entries)
    }

    fn append(&self, entries: Vec<LogEntry>, durable: Durable) -> io::Result<()> {
        let mut log = self.log.lock();
        log.append(entries.into_iter().map(|entry| (Id(entry.id), Stored::own(&entry.body))))?;
        let acknowledge = self.acknowledge(&log, durable);
        log.flush(true, Some(acknowledge))
    }

    fn save_ballot(&self, ballot: Ballot, durable: Durable) -> io::Result<()> {
        let mut log = self.log.lock();
        log.save_vote(Vote(ballot))?;
        let acknowledge = self.acknowledge(&log, durable);
        log.flush(true, Some(acknowledge))
    }

    fn save_committed(&self, committed: LogId) -> io::Result<()> {
        let mut log = self.log.lock();
        let state = log.log_state();
        // After a snapshot was installed, what is committed may not be in the log yet; the machine knows it then.
        if state.last().map(|id| id.0) < Some(committed) || state.committed().map(|id| id.0) >= Some(committed) {
            return Ok(());
        }
        log.commit(Id(committed))?;
        log.flush(false, None)
    }

    fn truncate_after(&self, last: Option<LogId>) -> io::Result<()> {
        let mut log = self.log.lock();
        if last >= log.log_state().last().map(|id| id.0) {
            return Ok(()); // nothing comes after it
        }
        {
            let mut mark = self.mark.lock();
            mark.cuts += 1;
            mark.file.lower(last)?;
        }
        log.truncate(next_index(last))?;
        log.flush(false, None)
    }

    fn purge(&self, upto: LogId) -> io::Result<()> {
        let mut log = self.log.lock();
        log.purge(Id(upto))?;
        // Synced, though nobody waits for it: only a synced purge frees files, and an idle node would keep them.
        let acknowledge = self.acknowledge(&log, Box::new(|_| ()));
        log.flush(true, Some(acknowledge))
    }
}

struct Marked {
    file: MarkFile,
    /// How often the log was cut. An acknowledgement from before a cut must not raise the mark above it again.
    cuts: u64,
}

/// What raft-log calls from its writer's thread, once a flush is on disk.
struct Acknowledge {
    last: Option<LogId>,
    ballot: Option<Ballot>,
    cuts: u64,
    mark: Arc<Mutex<Marked>>,
    durable: Durable,
}

impl raft_log::Callback for Acknowledge {
    fn send(self, flushed: io::Result<()>) {
        let marked = flushed.and_then(|()| {
            let mut mark = self.mark.lock();
            let last = if mark.cuts == self.cuts { self.last } else { None };
            mark.file.raise(last, self.ballot)
        });
        (self.durable)(marked);
    }
}

// What follows is the format of a record's parts on disk, big-endian. raft-log frames records and adds their CRC.

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Records;

impl raft_log::Types for Records {
    type LogId = Id;
    type LogPayload = Stored;
    type Vote = Vote;
    type Callback = Acknowledge;
    type UserData = Unused;

    fn log_index(id: &Id) -> u64 {
        id.0.index
    }

    fn payload_size(stored: &Stored) -> u64 {
        // The entry's own place in the cache's map counts too: blank and tiny entries are not free.
        stored.0.size() as u64 + 64
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Id(LogId);

impl codeq::Encode for Id {
    fn encode<W: Write>(&self, mut w: W) -> io::Result<usize> {
        Ok(write_leader(&mut w, self.0.leader)? + write_number(&mut w, self.0.index)?)
    }
}

impl codeq::Decode for Id {
    fn decode<R: Read>(mut r: R) -> io::Result<Self> {
        Ok(Self(LogId { leader: read_leader(&mut r)?, index: read_number(&mut r)? }))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Vote(Ballot);

impl codeq::Encode for Vote {
    fn encode<W: Write>(&self, mut w: W) -> io::Result<usize> {
        let written = write_leader(&mut w, self.0.leader)?;
        w.write_all(&[u8::from(self.0.committed)])?;
        Ok(written + 1)
    }
}

impl codeq::Decode for Vote {
    fn decode<R: Read>(mut r: R) -> io::Result<Self> {
        let leader = read_leader(&mut r)?;
        let committed = match read_byte(&mut r)? {
            0 => false,
            1 => true,
            other => return Err(invalid(format!("{other} is not a vote"))),
        };
        Ok(Self(Ballot { leader, committed }))
    }
}

#[derive(Clone, Debug)]
struct Stored(Body);

impl Stored {
    /// A copy that holds the body's bytes and nothing else. raft-log keeps it in memory and counts its length: bytes from a peer
    /// are a slice of all that came with them, and those of a new pack have room to spare, two or three times what is counted.
    fn own(body: &Body) -> Self {
        Self(match body {
            Body::Blank => Body::Blank,
            Body::Pack(bytes) => Body::Pack(Bytes::copy_from_slice(bytes)),
            Body::Membership(bytes) => Body::Membership(Bytes::copy_from_slice(bytes)),
        })
    }
}

impl codeq::Encode for Stored {
    fn encode<W: Write>(&self, mut w: W) -> io::Result<usize> {
        let (kind, bytes): (u8, &[u8]) = match &self.0 {
            Body::Blank => (0, &[]),
            Body::Pack(bytes) => (1, bytes),
            Body::Membership(bytes) => (2, bytes),
        };
        let length = u32::try_from(bytes.len()).map_err(|_| invalid("an entry of 4 GiB".into()))?;
        w.write_all(&[kind])?;
        w.write_all(&length.to_be_bytes())?;
        w.write_all(bytes)?;
        Ok(5 + bytes.len())
    }
}

impl codeq::Decode for Stored {
    fn decode<R: Read>(mut r: R) -> io::Result<Self> {
        let kind = read_byte(&mut r)?;
        let mut length = [0; 4];
        r.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        // The record's CRC is checked after this: a damaged length must not make us reserve 4 GiB.
        if length > limits::PEER_MESSAGE_BYTES_MAX {
            return Err(invalid(format!("an entry of {length} bytes")));
        }
        let mut bytes = vec![0; length];
        r.read_exact(&mut bytes)?;
        match kind {
            0 if length == 0 => Ok(Self(Body::Blank)),
            1 => Ok(Self(Body::Pack(Bytes::from(bytes)))),
            2 => Ok(Self(Body::Membership(Bytes::from(bytes)))),
            other => Err(invalid(format!("{other} is not a kind of entry"))),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unused;

impl codeq::Encode for Unused {
    fn encode<W: Write>(&self, _: W) -> io::Result<usize> {
        Ok(0)
    }
}

impl codeq::Decode for Unused {
    fn decode<R: Read>(_: R) -> io::Result<Self> {
        Ok(Self)
    }
}

fn write_number(w: &mut impl Write, number: u64) -> io::Result<usize> {
    w.write_all(&number.to_be_bytes())?;
    Ok(8)
}

fn write_leader(w: &mut impl Write, leader: LeaderId) -> io::Result<usize> {
    Ok(write_number(w, leader.term)? + write_number(w, leader.node)?)
}

fn read_byte(r: &mut impl Read) -> io::Result<u8> {
    let mut byte = [0];
    r.read_exact(&mut byte)?;
    Ok(byte[0])
}

fn read_number(r: &mut impl Read) -> io::Result<u64> {
    let mut number = [0; 8];
    r.read_exact(&mut number)?;
    Ok(u64::from_be_bytes(number))
}

fn read_leader(r: &mut impl Read) -> io::Result<LeaderId> {
    Ok(LeaderId { term: read_number(r)?, node: read_number(r)? })
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
