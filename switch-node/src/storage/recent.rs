//! Transactions that were written a moment ago, decoded: the answer that follows a request, and whatever follows soon, need
//! not be read from the disk and parsed. Holds what is committed, nothing else; the oldest writes go first.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use switch_domain::transaction::Transaction;

use super::limits;

/// Transactions by encoded key.
#[derive(Default)]
pub(super) struct Recent {
    entries: HashMap<Arc<[u8]>, Entry>,
    /// Writes, the oldest first; only the one with an entry's own number stands for it.
    written: VecDeque<(Arc<[u8]>, u64)>,
    number: u64,
    bytes: usize,
}

struct Entry {
    transaction: Box<Transaction>,
    number: u64,
    bytes: usize,
}

impl Recent {
    pub(super) fn get(&self, key: &[u8]) -> Option<&Transaction> {
        self.entries.get(key).map(|entry| &*entry.transaction)
    }

    /// Keeps what was committed; `encoded` is the length of the row's bytes.
    pub(super) fn insert(&mut self, key: &[u8], transaction: Box<Transaction>, encoded: usize) {
        let key: Arc<[u8]> = key.into();
        let bytes = ENTRY_BYTES + encoded * 3;
        self.number += 1;
        self.bytes += bytes;
        let entry = Entry { transaction, number: self.number, bytes };
        if let Some(before) = self.entries.insert(key.clone(), entry) {
            self.bytes -= before.bytes;
        }
        self.written.push_back((key, self.number));
        while self.entries.len() > limits::RECENT_MAX
            || self.bytes > limits::RECENT_BYTES_MAX
            || self.written.len() > 2 * limits::RECENT_MAX
        {
            let Some((oldest, number)) = self.written.pop_front() else { break };
            if self.entries.get(&oldest).is_some_and(|entry| entry.number == number) {
                self.remove(&oldest);
            }
        }
    }

    pub(super) fn remove(&mut self, key: &[u8]) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes -= entry.bytes;
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Memory of an entry beside what grows with its row: the structs, the key and its place in the maps. The row itself takes about
/// three times its encoded length, in many small pieces.
const ENTRY_BYTES: usize = 512;

#[cfg(test)]
mod tests {
    use switch_domain::table::Row;

    use super::*;
    use crate::codec::tests::a_transaction;

    #[test]
    fn the_oldest_writes_go_first_and_a_rewrite_is_young() {
        let Row::Transaction(transaction) = a_transaction().1 else { panic!("a transaction") };
        let encoded = limits::RECENT_BYTES_MAX / 4 / 3;
        let mut recent = Recent::default();
        for key in [b"a", b"b", b"c", b"a", b"d"] {
            recent.insert(key, transaction.clone(), encoded);
        }
        let held: Vec<bool> = [b"a", b"b", b"c", b"d"].iter().map(|key| recent.get(*key).is_some()).collect();
        assert_eq!(held, [true, false, true, true]);
        assert!(recent.bytes <= limits::RECENT_BYTES_MAX);
        recent.remove(b"a");
        recent.remove(b"c");
        recent.remove(b"d");
        assert_eq!(recent.bytes, 0);
    }

    #[test]
    fn one_row_that_is_rewritten_for_ever_takes_no_more_memory() {
        let Row::Transaction(transaction) = a_transaction().1 else { panic!("a transaction") };
        let mut recent = Recent::default();
        for _ in 0..3 * limits::RECENT_MAX {
            recent.insert(b"a", transaction.clone(), 100);
        }
        assert!(recent.get(b"a").is_some());
        assert!(recent.written.len() <= 2 * limits::RECENT_MAX);
    }
}
