//! The store on fjall: one database with one keyspace.
//!
//! One keyspace, because then the order of commits is the order in which they reach the disk, and a crash leaves a prefix of
//! them; also because idle keyspaces keep journals from being freed. No key-value separation, no `clear`, no FIFO: each has
//! lost or kept data that it should not have.
//!
//! ```text
//! <directory>/CURRENT        names the table in use; replaced by an atomic rename
//! <directory>/table-<n>/     that table
//! <directory>/table-<n+1>/   a replacement on its way; whatever CURRENT does not name is removed at a start
//! ```

pub(super) mod install;

use std::{
    fs::{self, File},
    io::{self, Write as _},
    ops::Bound,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use fjall::{
    Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot, compaction::Leveled,
    config::PartitioningPolicy,
};
use tokio::time::Instant;

use self::install::Replacement;
use super::{Reader, Store, StoreFault, StoreReader, StoreReplacement, StoreView, Stored, Write, is_backwards, limits};
use crate::telemetry;

/// The table on disk.
pub struct FjallStore {
    place: Arc<Place>,
}

impl FjallStore {
    /// Opens the table in a directory of its own, or makes one.
    ///
    /// # Errors
    /// [`StoreFault`]; [`StoreFault::Current`] where tables are there and none is in use.
    pub fn open(directory: &Path) -> Result<Self, StoreFault> {
        fs::create_dir_all(directory).map_err(at(directory))?;
        let number = match read_current(directory)? {
            Some(number) => number,
            // CURRENT is written before the first table is made: a table without it is no crash of ours.
            None if !tables(directory)?.is_empty() => {
                return Err(StoreFault::Current { path: directory.join(CURRENT) });
            }
            None => {
                write_current(directory, 0)?;
                0
            }
        };
        for other in tables(directory)?.into_iter().filter(|other| *other != number) {
            let path = table_path(directory, other);
            tracing::info!(path = %path.display(), "removing a table that is not in use");
            fs::remove_dir_all(&path).map_err(at(&path))?;
        }
        if number != 0 && !table_path(directory, number).exists() {
            return Err(StoreFault::Current { path: directory.join(CURRENT) });
        }
        let table = Arc::new(Table::open(directory, number)?);
        table.keep();
        Ok(Self { place: Arc::new(Place { directory: directory.to_owned(), table: ArcSwap::new(table) }) })
    }
}

#[cfg(test)]
impl FjallStore {
    pub(super) fn place(&self) -> Arc<Place> {
        self.place.clone()
    }
}

impl StoreReader for FjallStore {
    fn get(&self, key: &[u8]) -> Result<Option<Stored>, StoreFault> {
        Ok(self.place.table.load().keyspace.get(key)?)
    }

    fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>, limit: usize) -> Result<Vec<(Stored, Stored)>, StoreFault> {
        self.place.range(from, to, limit)
    }

    fn range_back(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Stored, Stored)>, StoreFault> {
        self.place.range_back(from, to, limit)
    }
}

impl Store for FjallStore {
    fn commit(&mut self, batch: Vec<Write>) -> Result<(), StoreFault> {
        let began = Instant::now();
        self.place.table.load().commit(batch)?;
        telemetry::table_committed(began.elapsed());
        Ok(())
    }

    fn persist(&mut self) -> Result<(), StoreFault> {
        let began = Instant::now();
        self.place.table.load().database.persist(PersistMode::SyncAll)?;
        telemetry::table_synced(began.elapsed());
        Ok(())
    }

    fn view(&self) -> Result<Box<dyn StoreView>, StoreFault> {
        let table = self.place.table.load_full();
        Ok(Box::new(FjallView { snapshot: table.database.snapshot(), table }))
    }

    fn replace(&mut self) -> Result<Box<dyn StoreReplacement>, StoreFault> {
        Ok(Box::new(Replacement::begin(self.place.clone())?))
    }

    fn reader(&self) -> Reader {
        Reader::new(self.place.clone())
    }
}

/// Where the table in use is found. A reader holds on to the table that it reads, so a replacement does not wait for it.
pub(super) struct Place {
    directory: PathBuf,
    table: ArcSwap<Table>,
}

/// Reads of other threads go through a snapshot: they see a batch whole or not at all.
impl StoreReader for Place {
    fn get(&self, key: &[u8]) -> Result<Option<Stored>, StoreFault> {
        let table = self.table.load();
        Ok(table.database.snapshot().get(&table.keyspace, key)?)
    }

    fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>, limit: usize) -> Result<Vec<(Stored, Stored)>, StoreFault> {
        if is_backwards(from, to) {
            return Ok(Vec::new());
        }
        let table = self.table.load();
        let rows = table.database.snapshot().range::<&[u8], _>(&table.keyspace, (from, to));
        rows.take(limit).map(|row| Ok(row.into_inner()?)).collect()
    }

    fn range_back(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Stored, Stored)>, StoreFault> {
        if is_backwards(from, to) {
            return Ok(Vec::new());
        }
        let table = self.table.load();
        let rows = table.database.snapshot().range::<&[u8], _>(&table.keyspace, (from, to));
        rows.rev().take(limit).map(|row| Ok(row.into_inner()?)).collect()
    }
}

/// One database. The fields are dropped in this order: the directory goes when nothing is open in it any more.
struct Table {
    keyspace: Keyspace,
    database: Database,
    directory: TableDirectory,
}

impl Table {
    /// Opens or makes a table. It is removed with its last user unless [`Self::keep`] says otherwise.
    fn open(directory: &Path, number: u64) -> Result<Self, StoreFault> {
        let directory = TableDirectory { number, path: table_path(directory, number), kept: AtomicBool::new(false) };
        let opened = Database::builder(&directory.path)
            .cache_size(limits::BLOCK_CACHE_BYTES)
            .max_journaling_size(limits::JOURNAL_BYTES_MAX)
            .worker_threads(limits::WORKERS)
            .open()
            .and_then(|database| Ok((database.keyspace("rows", options)?, database)));
        match opened {
            Ok((keyspace, database)) => Ok(Self { keyspace, database, directory }),
            Err(error) => {
                directory.kept.store(true, Ordering::Release); // evidence
                Err(error.into())
            }
        }
    }

    fn commit(&self, batch: Vec<Write>) -> Result<(), StoreFault> {
        let mut writes = self.database.batch().durability(Some(PersistMode::Buffer));
        for (key, value) in batch {
            match value {
                Some(value) => writes.insert(&self.keyspace, key, value),
                None => writes.remove(&self.keyspace, key),
            }
        }
        Ok(writes.commit()?)
    }

    fn keep(&self) {
        self.directory.kept.store(true, Ordering::Release);
    }

    fn give_up(&self) {
        self.directory.kept.store(false, Ordering::Release);
    }
}

/// Indexes and filters of the younger files stay in memory; there are never more than 30 of those. From the next level on files
/// are as many as the data needs, so theirs are cut into blocks of 4 KiB, which share the block cache with the rows: what grows
/// with the table is a file's list of such blocks, some hundred bytes for a megabyte of rows.
fn options() -> KeyspaceCreateOptions {
    let in_blocks = || PartitioningPolicy::new([false, true]);
    KeyspaceCreateOptions::default()
        .max_memtable_size(limits::MEMTABLE_BYTES)
        .compaction_strategy(Arc::new(Leveled::default().with_table_target_size(limits::TABLE_FILE_BYTES)))
        .index_block_partitioning_policy(in_blocks())
        .filter_block_partitioning_policy(in_blocks())
}

struct TableDirectory {
    number: u64,
    path: PathBuf,
    kept: AtomicBool,
}

impl Drop for TableDirectory {
    fn drop(&mut self) {
        if !self.kept.load(Ordering::Acquire)
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "a table that is not in use could not be removed");
        }
    }
}

struct FjallView {
    snapshot: Snapshot,
    table: Arc<Table>,
}

impl StoreView for FjallView {
    fn rows(&self) -> Box<dyn Iterator<Item = Result<(Stored, Stored), StoreFault>> + Send> {
        let table = self.table.clone();
        let rows = self.snapshot.iter(&table.keyspace);
        Box::new(rows.map(move |row| {
            let _open = &table; // as long as rows are read
            Ok(row.into_inner()?)
        }))
    }
}

const CURRENT: &str = "CURRENT";

fn table_path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("table-{number}"))
}

fn table_number(name: &str) -> Option<u64> {
    name.strip_prefix("table-")?.parse().ok()
}

/// Numbers of the tables that are there.
fn tables(directory: &Path) -> Result<Vec<u64>, StoreFault> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(directory).map_err(at(directory))? {
        let name = entry.map_err(at(directory))?.file_name();
        numbers.extend(name.to_str().and_then(table_number));
    }
    Ok(numbers)
}

fn read_current(directory: &Path) -> Result<Option<u64>, StoreFault> {
    let path = directory.join(CURRENT);
    match fs::read_to_string(&path) {
        Ok(text) => match text.strip_suffix('\n').and_then(table_number) {
            Some(number) => Ok(Some(number)),
            None => Err(StoreFault::Current { path }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreFault::File { path, error }),
    }
}

/// Names the table in use: the file is whole or the old one, and it is on the disk when this returns.
fn write_current(directory: &Path, number: u64) -> Result<(), StoreFault> {
    let (path, beside) = (directory.join(CURRENT), directory.join("CURRENT.tmp"));
    let write = || {
        let mut file = File::create(&beside)?;
        file.write_all(format!("table-{number}\n").as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, &path)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(at(&path))
}

fn at(path: &Path) -> impl Fn(io::Error) -> StoreFault {
    let path = path.to_owned();
    move |error| StoreFault::File { path: path.clone(), error }
}
