//! The log: openraft's own suite, restarts, and the durable mark.

use std::{fs, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use openraft::{
    StorageError,
    testing::log::{StoreBuilder, Suite},
};
use parking_lot::Mutex;

use super::machines::Keeper;
use crate::{
    Ballot, Body, DiskLog, LeaderId, LogEntry, LogId, OpenError, WriteAheadLog,
    log::{adapter::Storage, memory::MemoryLog},
    machine::{host::Host, replica::Replica},
    raft::{Config, Runtime},
};

struct OnDisk;
struct InMemory;

impl StoreBuilder<Config, Storage, Replica, tempfile::TempDir> for OnDisk {
    async fn build(&self) -> Result<(tempfile::TempDir, Storage, Replica), StorageError<Config>> {
        let dir = tempfile::tempdir().unwrap();
        let log = Storage::new(Arc::new(DiskLog::open(dir.path()).unwrap()), Arc::new(|reason| panic!("{reason}")));
        let replica = Replica::open(Host::thread(Box::new(Keeper(Arc::default()))).unwrap()).await.unwrap();
        Ok((dir, log, replica))
    }
}

impl StoreBuilder<Config, Storage, Replica> for InMemory {
    async fn build(&self) -> Result<((), Storage, Replica), StorageError<Config>> {
        let log = MemoryLog::new(Arc::new(|| Duration::from_micros(10)));
        let log = Storage::new(Arc::new(log), Arc::new(|reason| panic!("{reason}")));
        let replica = Replica::open(Host::inline(Box::new(Keeper(Arc::default())))).await.unwrap();
        Ok(((), log, replica))
    }
}

#[tokio::test]
async fn the_log_on_disk_passes_openrafts_suite() {
    Runtime::scope(1, Suite::test_all(OnDisk)).await.unwrap();
}

#[tokio::test]
async fn the_log_in_memory_passes_openrafts_suite() {
    Runtime::scope(1, Suite::test_all(InMemory)).await.unwrap();
}

fn entries(term: u64, indexes: std::ops::Range<u64>) -> Vec<LogEntry> {
    indexes
        .map(|index| LogEntry {
            id: LogId::new(term, 1, index),
            body: Body::Pack(Bytes::from(format!("pack {term}.{index}"))),
        })
        .collect()
}

fn append(log: &dyn WriteAheadLog, entries: Vec<LogEntry>) {
    let (durable, done) = std::sync::mpsc::channel();
    log.append(entries, Box::new(move |result| durable.send(result).unwrap())).unwrap();
    done.recv().unwrap().unwrap();
}

fn save(log: &dyn WriteAheadLog, ballot: Ballot) {
    let (durable, done) = std::sync::mpsc::channel();
    log.save_ballot(ballot, Box::new(move |result| durable.send(result).unwrap())).unwrap();
    done.recv().unwrap().unwrap();
}

fn ballot(term: u64) -> Ballot {
    Ballot { leader: LeaderId { term, node: 1 }, committed: true }
}

/// A log with a vote and ten entries.
fn filled(dir: &Path) {
    let log = DiskLog::open(dir).unwrap();
    save(&log, ballot(1));
    append(&log, entries(1, 0..10));
}

fn wal(dir: &Path) -> std::path::PathBuf {
    let mut files: Vec<_> = fs::read_dir(dir.join("wal"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wal"))
        .collect();
    files.sort();
    files.pop().unwrap()
}

#[test]
fn what_was_acknowledged_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let log = DiskLog::open(dir.path()).unwrap();
    assert_eq!(log.state().ballot, Some(ballot(1)));
    assert_eq!(log.state().last, Some(LogId::new(1, 1, 9)));
    assert_eq!(log.read(0..100, usize::MAX).unwrap(), entries(1, 0..10));
    assert_eq!(log.read(3..9, 18).unwrap(), entries(1, 3..5));
    assert_eq!(log.read(3..9, 1).unwrap(), entries(1, 3..4));
}

#[test]
fn the_log_keeps_an_entry_and_not_the_buffer_that_it_came_in() {
    let dir = tempfile::tempdir().unwrap();
    let log = DiskLog::open(dir.path()).unwrap();
    let received = Bytes::from(vec![7; 4096]);
    append(&log, vec![LogEntry { id: LogId::new(1, 1, 0), body: Body::Pack(received.slice(..10)) }]);
    assert!(received.is_unique());
    let read = log.read(0..1, usize::MAX).unwrap();
    assert_eq!(read[0].body, Body::Pack(received.slice(..10)));
}

#[test]
fn a_flipped_bit_anywhere_is_refused_or_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let file = wal(dir.path());
    let bytes = fs::read(&file).unwrap();
    let mark = fs::read(dir.path().join("mark")).unwrap();
    let (mut refused, mut whole) = (0, 0);
    for bit in (0..bytes.len() * 8).step_by(3) {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        fs::write(&file, damaged).unwrap();
        match DiskLog::open(dir.path()) {
            Err(_) => refused += 1,
            Ok(log) => {
                assert_eq!(log.state().last, Some(LogId::new(1, 1, 9)), "bit {bit}");
                assert_eq!(log.state().ballot, Some(ballot(1)), "bit {bit}");
                assert_eq!(log.read(0..100, usize::MAX).unwrap(), entries(1, 0..10), "bit {bit}");
                whole += 1;
            }
        }
        assert_eq!(fs::read(dir.path().join("mark")).unwrap(), mark, "a refused log leaves its mark alone");
    }
    assert!(refused > 100 && whole < refused / 10, "{refused} refused, {whole} whole");
}

#[test]
fn every_truncation_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let file = wal(dir.path());
    let bytes = fs::read(&file).unwrap();
    for length in 0..bytes.len() {
        fs::write(&file, &bytes[..length]).unwrap();
        let error = DiskLog::open(dir.path()).err().unwrap_or_else(|| panic!("{length} of {}", bytes.len()));
        assert!(
            matches!(
                error,
                OpenError::EntriesLost { .. } | OpenError::BallotLost { .. } | OpenError::Unreadable { .. }
            ),
            "{error}"
        );
    }
    fs::remove_dir_all(dir.path().join("wal")).unwrap();
    let error = DiskLog::open(dir.path()).err().unwrap();
    assert!(matches!(error, OpenError::EntriesLost { last: None, marked: Some(_), .. }), "{error}");
}

#[test]
fn without_its_mark_a_torn_log_opens_as_after_a_power_loss() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let file = wal(dir.path());
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    fs::remove_file(dir.path().join("mark")).unwrap();
    assert_eq!(DiskLog::open(dir.path()).unwrap().state().last, Some(LogId::new(1, 1, 8)));
}

#[test]
fn cutting_and_purging_on_purpose_do_not_trip_the_mark() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    {
        let log = DiskLog::open(dir.path()).unwrap();
        log.truncate_after(Some(LogId::new(1, 1, 4))).unwrap();
        save(&log, ballot(2)); // flushes the cut
    }
    {
        let log = DiskLog::open(dir.path()).unwrap();
        assert_eq!(log.state().last, Some(LogId::new(1, 1, 4)));
        append(&log, entries(2, 5..7));
        log.purge(LogId::new(2, 1, 5)).unwrap();
        append(&log, entries(2, 7..8));
    }
    {
        let log = DiskLog::open(dir.path()).unwrap();
        assert_eq!(log.state().purged, Some(LogId::new(2, 1, 5)));
        log.purge(LogId::new(3, 1, 20)).unwrap(); // a snapshot was installed
        save(&log, ballot(3));
    }
    let log = DiskLog::open(dir.path()).unwrap();
    assert_eq!(log.state().last, Some(LogId::new(3, 1, 20)));
    assert_eq!(log.state().last, log.state().purged);
}

#[test]
fn a_vote_that_is_gone_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    {
        let log = DiskLog::open(dir.path()).unwrap();
        append(&log, entries(1, 0..1));
        save(&log, ballot(7));
    }
    let file = wal(dir.path());
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    let error = DiskLog::open(dir.path()).err().unwrap();
    assert!(matches!(error, OpenError::BallotLost { ballot: None, .. }), "{error}");
}

#[tokio::test]
async fn a_crash_of_the_memory_log_loses_what_was_not_synced() {
    let first = Mutex::new(Some(Duration::from_millis(1)));
    let log = MemoryLog::new(Arc::new(move || first.lock().take().unwrap_or(Duration::MAX)));
    let (durable, synced) = tokio::sync::oneshot::channel();
    log.append(entries(1, 0..3), Box::new(|result| durable.send(result).unwrap())).unwrap();
    synced.await.unwrap().unwrap();
    log.append(entries(1, 3..5), Box::new(|_| panic!("not synced"))).unwrap();
    log.append(entries(1, 5..6), Box::new(|_| panic!("not synced"))).unwrap();
    assert_eq!(log.state().last, Some(LogId::new(1, 1, 5)));

    let after = log.crash(1);
    assert_eq!(after.state().last, Some(LogId::new(1, 1, 4)));
    log.append(entries(1, 6..7), Box::new(|_| ())).unwrap_err();
}
