//! The ordered table on disk and its snapshots.
//!
//! The log is what makes an entry durable; the table may lose its tail in a crash, never a part from the middle. So a batch is
//! committed atomically and not synced; [`Store::persist`] syncs before a snapshot is reported. There is one writer, on the
//! thread that applies, and it works on [`Rows`]; everybody else reads what is committed through a [`Reader`].

mod disk;
mod frames;
pub mod limits;
mod memory;
mod reader;
mod recent;
mod rows;
#[cfg(test)]
mod tests;

use std::{any::Any, io, ops::Bound, path::PathBuf};

use switch_domain::table::TableFault;
use thiserror::Error;

use crate::codec::CodecFault;

pub use self::{
    disk::FjallStore,
    frames::{Frames, frames},
    memory::MemoryStore,
    reader::Reader,
    rows::Rows,
};

/// Bytes as the store holds them; a copy costs nothing.
pub type Stored = fjall::Slice;

/// One write: a value, or `None` where the key is removed.
pub type Write = (Vec<u8>, Option<Vec<u8>>);

/// The store cannot be read or written. Stops the node; never a refusal.
#[derive(Debug, Error)]
pub enum StoreFault {
    /// The engine failed.
    #[error("the table's engine failed: {0}")]
    Engine(#[from] fjall::Error),
    /// A file or a directory of the store.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What happened.
        error: io::Error,
    },
    /// The file that names the table in use is missing or unreadable.
    #[error("{} does not name a table that exists: this disk is damaged, replace the node", path.display())]
    Current {
        /// The file.
        path: PathBuf,
    },
    /// A key or a row that cannot be read.
    #[error("table: {0}")]
    Codec(#[from] CodecFault),
    /// Frames that do not make up a table.
    #[error("snapshot: {0}")]
    Snapshot(&'static str),
}

impl From<StoreFault> for TableFault {
    fn from(fault: StoreFault) -> Self {
        Self(fault.to_string())
    }
}

/// What is committed, for any thread.
pub trait StoreReader: Send + Sync {
    /// Reads a value.
    ///
    /// # Errors
    /// [`StoreFault`].
    fn get(&self, key: &[u8]) -> Result<Option<Stored>, StoreFault>;

    /// The first values from `from` to `to`, in order of their keys.
    ///
    /// # Errors
    /// [`StoreFault`].
    fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>, limit: usize) -> Result<Vec<(Stored, Stored)>, StoreFault>;

    /// The last values from `from` to `to`, the last one first.
    ///
    /// # Errors
    /// [`StoreFault`].
    fn range_back(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Stored, Stored)>, StoreFault>;
}

/// The store as its one writer has it.
pub trait Store: StoreReader {
    /// Makes all writes or none. Later commits are never kept without it; it is durable after the next [`Self::persist`].
    ///
    /// # Errors
    /// [`StoreFault`]; the node must stop.
    fn commit(&mut self, batch: Vec<Write>) -> Result<(), StoreFault>;

    /// Makes everything committed durable.
    ///
    /// # Errors
    /// [`StoreFault`]; the node must stop.
    fn persist(&mut self) -> Result<(), StoreFault>;

    /// A consistent view of what is committed now.
    ///
    /// # Errors
    /// [`StoreFault`].
    fn view(&self) -> Result<Box<dyn StoreView>, StoreFault>;

    /// Prepares a place beside the table for another one. What an earlier attempt left is removed.
    ///
    /// # Errors
    /// [`StoreFault`].
    fn replace(&mut self) -> Result<Box<dyn StoreReplacement>, StoreFault>;

    /// Reads for other threads. Follows a replacement.
    fn reader(&self) -> Reader;
}

/// A table as it was at one moment.
pub trait StoreView: Send + Sync {
    /// Every key with its value, in order.
    fn rows(&self) -> Box<dyn Iterator<Item = Result<(Stored, Stored), StoreFault>> + Send>;
}

/// A table that is to take the place of another. Dropped before [`Self::adopt`] it leaves nothing behind.
pub trait StoreReplacement: Any + Send {
    /// Takes the next frame of a snapshot.
    ///
    /// # Errors
    /// [`StoreFault`].
    fn frame(&mut self, frame: &[u8]) -> Result<(), StoreFault>;

    /// Takes the place: durable, with these values written over it. Whatever happens on the way, the disk holds either the old
    /// table or the new one.
    ///
    /// # Errors
    /// [`StoreFault`]; the node must stop.
    fn adopt(self: Box<Self>, last: Vec<(Vec<u8>, Vec<u8>)>) -> Result<(), StoreFault>;
}

/// True where a range holds nothing because it ends before it begins: maps and engines panic at such a one.
fn is_backwards(from: Bound<&[u8]>, to: Bound<&[u8]>) -> bool {
    match (from, to) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Excluded(from), Bound::Excluded(to)) => from >= to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => from > to,
    }
}
