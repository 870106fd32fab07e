//! A store in memory for simulations: it holds the encoded bytes, and a crash takes any number of the last commits that were
//! not persisted.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use parking_lot::Mutex;

use super::{
    Reader, Store, StoreFault, StoreReader, StoreReplacement, StoreView, Stored, Write, frames::FrameParser,
    is_backwards,
};

type Map = BTreeMap<Stored, Stored>;

/// A store in memory. A clone is another handle on the same one: the simulation keeps one while a node has the other.
#[derive(Clone, Default)]
pub struct MemoryStore {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Default)]
struct Disk {
    live: Arc<Map>,
    persisted: Arc<Map>,
    /// Commits since.
    since: Vec<Vec<Write>>,
}

impl MemoryStore {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Commits that a crash could take.
    #[must_use]
    pub fn unpersisted(&self) -> usize {
        self.disk.lock().since.len()
    }

    /// Keeps the first `keep` of the commits since the last persist and loses the others, as a crash may.
    pub fn crash(&mut self, keep: usize) {
        let disk = &mut *self.disk.lock();
        let mut survived = disk.persisted.clone();
        for batch in disk.since.drain(..).take(keep) {
            write(Arc::make_mut(&mut survived), batch);
        }
        disk.live = survived.clone();
        disk.persisted = survived;
    }

    fn live(&self) -> Arc<Map> {
        self.disk.lock().live.clone()
    }
}

impl StoreReader for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Stored>, StoreFault> {
        Ok(self.disk.lock().live.get(key).cloned())
    }

    fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>, limit: usize) -> Result<Vec<(Stored, Stored)>, StoreFault> {
        if is_backwards(from, to) {
            return Ok(Vec::new());
        }
        let disk = self.disk.lock();
        let rows = disk.live.range::<[u8], _>((from, to)).take(limit);
        Ok(rows.map(|(key, value)| (key.clone(), value.clone())).collect())
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
        let disk = self.disk.lock();
        let rows = disk.live.range::<[u8], _>((from, to)).rev().take(limit);
        Ok(rows.map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

impl Store for MemoryStore {
    fn commit(&mut self, batch: Vec<Write>) -> Result<(), StoreFault> {
        let disk = &mut *self.disk.lock();
        write(Arc::make_mut(&mut disk.live), batch.clone());
        disk.since.push(batch);
        Ok(())
    }

    fn persist(&mut self) -> Result<(), StoreFault> {
        let disk = &mut *self.disk.lock();
        disk.persisted = disk.live.clone();
        disk.since.clear();
        Ok(())
    }

    fn view(&self) -> Result<Box<dyn StoreView>, StoreFault> {
        Ok(Box::new(MemoryView { rows: self.live() }))
    }

    fn replace(&mut self) -> Result<Box<dyn StoreReplacement>, StoreFault> {
        Ok(Box::new(MemoryReplacement { store: self.clone(), parser: FrameParser::default(), rows: Map::new() }))
    }

    fn reader(&self) -> Reader {
        Reader::new(Arc::new(self.clone()))
    }
}

fn write(rows: &mut Map, batch: Vec<Write>) {
    for (key, value) in batch {
        match value {
            Some(value) => {
                rows.insert(key.into(), value.into());
            }
            None => {
                rows.remove(key.as_slice());
            }
        }
    }
}

struct MemoryView {
    rows: Arc<Map>,
}

impl StoreView for MemoryView {
    fn rows(&self) -> Box<dyn Iterator<Item = Result<(Stored, Stored), StoreFault>> + Send> {
        let rows = self.rows.clone();
        let mut last: Option<Stored> = None;
        Box::new(std::iter::from_fn(move || {
            let from = last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let (key, value) = rows.range::<[u8], _>((from, Bound::Unbounded)).next()?;
            last = Some(key.clone());
            Some(Ok((key.clone(), value.clone())))
        }))
    }
}

struct MemoryReplacement {
    store: MemoryStore,
    parser: FrameParser,
    rows: Map,
}

impl StoreReplacement for MemoryReplacement {
    fn frame(&mut self, frame: &[u8]) -> Result<(), StoreFault> {
        self.rows.extend(self.parser.push(frame)?);
        Ok(())
    }

    fn adopt(self: Box<Self>, last: Vec<(Vec<u8>, Vec<u8>)>) -> Result<(), StoreFault> {
        self.parser.finish()?;
        let mut rows = self.rows;
        write(&mut rows, last.into_iter().map(|(key, value)| (key, Some(value))).collect());
        let rows = Arc::new(rows);
        let disk = &mut *self.store.disk.lock();
        *disk = Disk { live: rows.clone(), persisted: rows, since: Vec::new() };
        Ok(())
    }
}
