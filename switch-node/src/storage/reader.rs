//! The committed table, typed, for every thread but the one that writes.

use std::{ops::Bound, sync::Arc};

use switch_domain::table::{Key, Row, TableFault};

use super::{StoreFault, StoreReader, Stored};
use crate::codec::{OWN, decode_key, decode_row, encode_key};

/// Reads rows as committed. Cheap to clone; follows a replacement of the table.
#[derive(Clone)]
pub struct Reader {
    store: Arc<dyn StoreReader>,
}

impl Reader {
    /// Reads from a store.
    #[must_use]
    pub fn new(store: Arc<dyn StoreReader>) -> Self {
        Self { store }
    }

    /// Reads a row.
    ///
    /// # Errors
    /// [`TableFault`] where the disk or the row is damaged.
    pub fn get(&self, key: &Key) -> Result<Option<Row>, TableFault> {
        match self.store.get(&encode_key(key))? {
            Some(bytes) => Ok(Some(decode_row(key, &bytes).map_err(StoreFault::from)?)),
            None => Ok(None),
        }
    }

    /// The first rows from `from` to `to`, in order.
    ///
    /// # Errors
    /// [`TableFault`] where the disk or a row is damaged.
    pub fn range(&self, from: Bound<&Key>, to: Bound<&Key>, limit: usize) -> Result<Vec<(Key, Row)>, TableFault> {
        let (from, to) = encode_bounds(from, to);
        decode_rows(&self.store.range(as_slice(&from), as_slice(&to), limit)?)
    }

    /// The last rows from `from` to `to`, the last one first.
    ///
    /// # Errors
    /// [`TableFault`] where the disk or a row is damaged.
    pub fn range_back(&self, from: Bound<&Key>, to: Bound<&Key>, limit: usize) -> Result<Vec<(Key, Row)>, TableFault> {
        let (from, to) = encode_bounds(from, to);
        decode_rows(&self.store.range_back(as_slice(&from), as_slice(&to), limit)?)
    }
}

/// Bounds of rows as bounds of bytes; what the journal itself keeps lies behind every row.
pub(super) fn encode_bounds(from: Bound<&Key>, to: Bound<&Key>) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let to = match to.map(encode_key) {
        Bound::Unbounded => Bound::Excluded(vec![OWN]),
        bound => bound,
    };
    (from.map(encode_key), to)
}

pub(super) fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}

pub(super) fn decode_pair(key: &[u8], value: &[u8]) -> Result<(Key, Row), StoreFault> {
    let key = decode_key(key)?;
    let row = decode_row(&key, value)?;
    Ok((key, row))
}

fn decode_rows(stored: &[(Stored, Stored)]) -> Result<Vec<(Key, Row)>, TableFault> {
    stored.iter().map(|(key, value)| Ok(decode_pair(key, value)?)).collect()
}
