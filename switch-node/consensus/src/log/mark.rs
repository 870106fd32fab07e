//! The durable mark: what this node has acknowledged, kept beside the log.
//!
//! A damaged tail of the log looks like a crash and is cut off when it is opened; a flipped bit can make a log look empty. The mark
//! tells the difference: after every flush it takes the last entry and vote that are on disk. It is written without fsync, so after
//! a power loss it may be old, and a missing or damaged mark is only the weakest lower bound. It is never *ahead* of what was
//! acknowledged: before entries are cut off on purpose it is lowered, with fsync.
//!
//! ```text
//!  slot 0 at 0, slot 1 at 4096:  magic 8 │ sequence 8 │ flags 1 │ last 24 │ vote 17 │ crc 4      (big-endian)
//! ```

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

use super::{Ballot, LogId};
use crate::LeaderId;

/// A lower bound of what the log must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The last entry.
    pub last: Option<LogId>,
    /// The vote.
    pub ballot: Option<Ballot>,
}

/// The file, and what it says.
pub(super) struct MarkFile {
    file: File,
    sequence: u64,
    mark: Mark,
}

impl MarkFile {
    /// Opens the file or makes a new one.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let newest =
            [0, SLOT_OFFSET].into_iter().filter_map(|offset| read(&file, offset)).max_by_key(|(sequence, _)| *sequence);
        let (sequence, mark) = newest.unwrap_or_default();
        Ok(Self { file, sequence, mark })
    }

    /// What it says.
    pub(super) fn mark(&self) -> Mark {
        self.mark
    }

    /// Takes what a flush has made durable. Not synced.
    pub(super) fn raise(&mut self, last: Option<LogId>, ballot: Option<Ballot>) -> io::Result<()> {
        let mark = Mark { last: last.max(self.mark.last), ballot: ballot.max(self.mark.ballot) };
        if mark == self.mark { Ok(()) } else { self.write(mark) }
    }

    /// Gives up what is about to be cut off. Synced: on disk before the log is.
    pub(super) fn lower(&mut self, last: Option<LogId>) -> io::Result<()> {
        if last >= self.mark.last {
            return Ok(());
        }
        self.write(Mark { last, ..self.mark })?;
        // Both slots: a torn newest slot must not bring the higher mark back.
        self.write(self.mark)?;
        self.file.sync_data()
    }

    fn write(&mut self, mark: Mark) -> io::Result<()> {
        let sequence = self.sequence + 1;
        self.file.write_all_at(&encode(sequence, mark), (sequence % 2) * SLOT_OFFSET)?;
        self.sequence = sequence;
        self.mark = mark;
        Ok(())
    }
}

fn encode(sequence: u64, mark: Mark) -> [u8; SLOT_BYTES] {
    let last = mark.last.unwrap_or_default();
    let ballot = mark.ballot.unwrap_or_default();
    let flags = u8::from(mark.last.is_some()) | u8::from(mark.ballot.is_some()) << 1;
    let mut slot = Vec::with_capacity(SLOT_BYTES);
    slot.extend_from_slice(MAGIC);
    slot.extend_from_slice(&sequence.to_be_bytes());
    slot.push(flags);
    for number in [last.leader.term, last.leader.node, last.index, ballot.leader.term, ballot.leader.node] {
        slot.extend_from_slice(&number.to_be_bytes());
    }
    slot.push(u8::from(ballot.committed));
    slot.extend_from_slice(&crc32fast::hash(&slot).to_be_bytes());
    slot.try_into().expect("a slot has a fixed size")
}

fn read(file: &File, offset: u64) -> Option<(u64, Mark)> {
    let mut slot = [0; SLOT_BYTES];
    file.read_exact_at(&mut slot, offset).ok()?;
    let (body, crc) = slot.split_at(SLOT_BYTES - 4);
    if !body.starts_with(MAGIC) || crc32fast::hash(body).to_be_bytes() != crc {
        return None;
    }
    let number = |at: usize| u64::from_be_bytes(body[at..at + 8].try_into().expect("eight bytes"));
    let flags = body[16];
    let last = LogId { leader: LeaderId { term: number(17), node: number(25) }, index: number(33) };
    let ballot = Ballot { leader: LeaderId { term: number(41), node: number(49) }, committed: body[57] == 1 };
    Some((number(8), Mark { last: (flags & 1 != 0).then_some(last), ballot: (flags & 2 != 0).then_some(ballot) }))
}

const MAGIC: &[u8] = b"pswmark1";
const SLOT_BYTES: usize = 62;
/// One page each: a torn write damages one slot only.
const SLOT_OFFSET: u64 = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    fn ballot(term: u64) -> Option<Ballot> {
        Some(Ballot { leader: LeaderId { term, node: 7 }, committed: true })
    }

    #[test]
    fn the_newest_whole_slot_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        let mut file = MarkFile::open(&path).unwrap();
        assert_eq!(file.mark(), Mark::default());
        file.raise(Some(LogId::new(1, 7, 3)), ballot(1)).unwrap();
        file.raise(Some(LogId::new(1, 7, 4)), ballot(1)).unwrap();
        assert_eq!(MarkFile::open(&path).unwrap().mark().last, Some(LogId::new(1, 7, 4)));

        let bytes = std::fs::read(&path).unwrap();
        for damaged in 0..SLOT_BYTES {
            let mut bytes = bytes.clone();
            bytes[damaged] ^= 1; // slot 0 holds the second write
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(MarkFile::open(&path).unwrap().mark().last, Some(LogId::new(1, 7, 3)));
        }
    }

    #[test]
    fn a_lowered_mark_does_not_come_back_with_a_damaged_slot() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        let mut file = MarkFile::open(&path).unwrap();
        file.raise(Some(LogId::new(1, 7, 9)), ballot(1)).unwrap();
        file.lower(Some(LogId::new(1, 7, 5))).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for slot in [0, SLOT_OFFSET as usize] {
            let mut bytes = bytes.clone();
            bytes[slot] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            let mark = MarkFile::open(&path).unwrap().mark();
            assert_eq!(mark, Mark { last: Some(LogId::new(1, 7, 5)), ballot: ballot(1) });
        }
    }
}
