//! The table as apply has it: what is stored, under the writes of the batch that is being applied.
//!
//! ```text
//! get:  writes of this batch  →  recently committed transactions  →  store
//! ```
//!
//! Writes stay decoded until the commit, so that a row that ten commands of a batch touch is encoded once and never decoded.

use std::{collections::BTreeMap, ops::Bound};

use switch_domain::table::{Key, Row, Table, TableFault};

use super::{
    Reader, Store, StoreFault, StoreReplacement, StoreView, Stored, is_backwards,
    reader::{as_slice, decode_pair, encode_bounds},
    recent::Recent,
};
use crate::codec::{decode_row, encode_key, encode_row};

/// The table with the writes of one batch.
pub struct Rows {
    store: Box<dyn Store>,
    /// By encoded key: its order is the order of the keys. `None` is a removal.
    pending: BTreeMap<Vec<u8>, (Key, Option<Row>)>,
    /// Beside the rows.
    raw: Vec<(Vec<u8>, Vec<u8>)>,
    recent: Recent,
}

impl Rows {
    /// Takes over a store. No other writer may have it.
    #[must_use]
    pub fn new(store: Box<dyn Store>) -> Self {
        Self { store, pending: BTreeMap::new(), raw: Vec::new(), recent: Recent::default() }
    }

    /// Reads what the journal itself keeps beside the rows, as committed.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub fn raw(&self, key: &[u8]) -> Result<Option<Stored>, StoreFault> {
        self.store.get(key)
    }

    /// Writes beside the rows, in the same commit. The key must begin with [`crate::codec::OWN`] or a greater byte.
    pub fn put_raw(&mut self, key: &[u8], value: Vec<u8>) {
        self.raw.push((key.to_vec(), value));
    }

    /// Forgets what was written since the last commit.
    pub fn forget(&mut self) {
        self.pending.clear();
        self.raw.clear();
    }

    /// Commits what was written since the last commit, all of it or nothing.
    ///
    /// # Errors
    /// [`StoreFault`]; the node must stop.
    pub fn commit(&mut self) -> Result<(), StoreFault> {
        let mut batch = Vec::with_capacity(self.pending.len() + self.raw.len());
        for (key, (_, row)) in std::mem::take(&mut self.pending) {
            let value = row.as_ref().map(encode_row);
            match row {
                Some(Row::Transaction(transaction)) => {
                    self.recent.insert(&key, transaction, value.as_ref().map_or(0, Vec::len));
                }
                Some(_) => {}
                None => self.recent.remove(&key),
            }
            batch.push((key, value));
        }
        batch.extend(self.raw.drain(..).map(|(key, value)| (key, Some(value))));
        self.store.commit(batch)
    }

    /// Makes everything committed durable.
    ///
    /// # Errors
    /// [`StoreFault`]; the node must stop.
    pub fn persist(&mut self) -> Result<(), StoreFault> {
        self.store.persist()
    }

    /// A consistent view of what is committed now.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub fn view(&self) -> Result<Box<dyn StoreView>, StoreFault> {
        self.store.view()
    }

    /// Prepares a place for another table.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub fn replace(&mut self) -> Result<Box<dyn StoreReplacement>, StoreFault> {
        self.store.replace()
    }

    /// Puts another table, made by this store, in the place of this one, with these values written over it. What was not
    /// committed is forgotten.
    ///
    /// # Errors
    /// [`StoreFault`]; the node must stop.
    pub fn adopt(
        &mut self,
        replacement: Box<dyn StoreReplacement>,
        last: Vec<(Vec<u8>, Vec<u8>)>,
    ) -> Result<(), StoreFault> {
        self.forget();
        self.recent.clear();
        replacement.adopt(last)
    }

    /// Reads for other threads.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.store.reader()
    }
}

impl Table for Rows {
    fn get(&self, key: &Key) -> Result<Option<Row>, TableFault> {
        let encoded = encode_key(key);
        if let Some((_, row)) = self.pending.get(&encoded) {
            return Ok(row.clone());
        }
        if let Some(transaction) = self.recent.get(&encoded) {
            return Ok(Some(Row::Transaction(Box::new(transaction.clone()))));
        }
        match self.store.get(&encoded)? {
            Some(bytes) => Ok(Some(decode_row(key, &bytes).map_err(StoreFault::from)?)),
            None => Ok(None),
        }
    }

    fn put(&mut self, key: Key, row: Row) {
        self.pending.insert(encode_key(&key), (key, Some(row)));
    }

    fn delete(&mut self, key: Key) {
        self.pending.insert(encode_key(&key), (key, None));
    }

    fn range(&self, from: Bound<&Key>, to: Bound<&Key>, limit: usize) -> Result<Vec<(Key, Row)>, TableFault> {
        let (from, to) = encode_bounds(from, to);
        let (from, to) = (as_slice(&from), as_slice(&to));
        if is_backwards(from, to) {
            return Ok(Vec::new());
        }
        let pending = || self.pending.range::<[u8], _>((from, to));
        // Each removal hides one stored row at most, so that many more make up for it.
        let removals = pending().filter(|(_, (_, row))| row.is_none()).count();
        let stored = self.store.range(from, to, limit.saturating_add(removals))?;
        let mut stored = stored.into_iter().peekable();
        let mut written = pending().peekable();
        let mut rows = Vec::new();
        while rows.len() < limit {
            let stored_first = match (stored.peek(), written.peek()) {
                (None, None) => break,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (Some((old, _)), Some((new, _))) if old.as_ref() == new.as_slice() => {
                    stored.next(); // overwritten
                    continue;
                }
                (Some((old, _)), Some((new, _))) => old.as_ref() < new.as_slice(),
            };
            if stored_first {
                if let Some((key, value)) = stored.next() {
                    rows.push(decode_pair(&key, &value)?);
                }
            } else if let Some((_, (key, Some(row)))) = written.next() {
                rows.push((key.clone(), row.clone()));
            }
        }
        Ok(rows)
    }
}
