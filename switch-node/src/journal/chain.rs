//! The rolling hash of what was applied, and the comparison with what another node made of the same entries (S11).
//!
//! ```text
//! h(i) = SHA-256( h(i-1) ‖ index ‖ entry ‖ replies )
//! ```
//!
//! Replies go in because entries alone would not show that two nodes computed different things from them. A pack carries the
//! hash of a state that its proposer had applied, and so goes into the next hash itself; nothing that is hashed depends on
//! when it was computed, so a replay makes the same chain.

use std::{collections::VecDeque, fmt};

use super::limits;
use crate::codec::Mark;

/// The newest link of the chain and those before it that somebody may still ask for.
pub(super) struct Chain {
    /// Oldest first, never empty.
    recent: VecDeque<Mark>,
}

impl Chain {
    /// Goes on from where a table stands. What lies before is not known: it was applied by an earlier process, or elsewhere.
    pub(super) fn from(mark: Mark) -> Self {
        Self { recent: VecDeque::from([mark]) }
    }

    /// The newest hash.
    pub(super) fn newest(&self) -> [u8; 32] {
        self.recent.back().map_or([0; 32], |mark| mark.hash)
    }

    /// Adds the link of a pack.
    pub(super) fn add(&mut self, mark: Mark) {
        if self.recent.len() == limits::HASHES_KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back(mark);
    }

    /// The hash as of an index, where it is still known. Entries that are no packs leave it as it was.
    pub(super) fn at(&self, index: u64) -> Option<[u8; 32]> {
        let newer = self.recent.partition_point(|mark| mark.applied <= index);
        Some(self.recent.get(newer.checked_sub(1)?)?.hash)
    }
}

/// This replica and the leader of a term computed different things from the same entries.
pub(super) struct Difference {
    /// Index that the hashes stand for.
    pub(super) index: u64,
    /// Term whose leader proposed the pack that shows it.
    pub(super) term: u64,
    /// That leader.
    pub(super) node: u64,
}

impl Difference {
    /// As it is kept beside the rows.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        [self.index, self.term, self.node].iter().flat_map(|number| number.to_be_bytes()).collect()
    }

    /// `None` for damaged bytes.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (numbers, rest) = bytes.as_chunks::<8>();
        match (numbers, rest) {
            ([index, term, node], []) => {
                let [index, term, node] = [index, term, node].map(|number| u64::from_be_bytes(*number));
                Some(Self { index, term, node })
            }
            _ => None,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { index, term, node } = self;
        write!(
            f,
            "this replica differs from node {node:016x}, the leader of term {term}, at entry {index}: one of the two \
             applied an entry wrongly. An operator must act: if the other replicas agree with the leader, remove this \
             node's disk and let it join as a new node; if they agree with this one, remove the leader's and start this \
             one with --distrust-term {term}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(applied: u64) -> Mark {
        Mark { applied, hash: [applied as u8; 32] }
    }

    #[test]
    fn a_hash_stands_from_its_pack_to_the_next() {
        let mut chain = Chain::from(mark(10));
        chain.add(mark(12));
        assert_eq!(chain.at(9), None, "applied before this process began");
        assert_eq!((chain.at(10), chain.at(11)), (Some([10; 32]), Some([10; 32])));
        assert_eq!((chain.at(12), chain.at(99)), (Some([12; 32]), Some([12; 32])));
        assert_eq!(chain.newest(), [12; 32]);
    }

    #[test]
    fn old_hashes_are_forgotten() {
        let mut chain = Chain::from(mark(0));
        let last = limits::HASHES_KEPT as u64;
        (1..=last).for_each(|index| chain.add(mark(index)));
        assert_eq!((chain.recent.len(), chain.at(0)), (limits::HASHES_KEPT, None));
        assert_eq!(chain.at(1), Some([1; 32]));
    }

    #[test]
    fn a_difference_is_read_back_as_it_was_kept() {
        let kept = Difference { index: 7, term: 3, node: 42 }.to_bytes();
        let read = Difference::from_bytes(&kept).expect("as it was written");
        assert_eq!((read.index, read.term, read.node), (7, 3, 42));
        assert!(Difference::from_bytes(&kept[1..]).is_none());
    }
}
