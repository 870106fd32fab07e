//! The lines of the books: small and flat, since a long run holds millions of them.

use std::{
    collections::HashMap,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
};

use switch_proto::network::v1::{MessageIdentity, ReversalReason};

use crate::sandbox::{
    cards::CardMark,
    limits::NAMES_MAX,
    proto::{Credentials, Delivery},
};

use super::Sums;

/// A response code as in ISO 8583 field 39.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code([u8; 2]);

impl Code {
    /// Yes, or done.
    pub const APPROVED: Self = Self(*b"00");
    /// Ask the issuer.
    pub const REFERRAL: Self = Self(*b"01");
    /// No, without a reason.
    pub const DO_NOT_HONOR: Self = Self(*b"05");
    /// Yes, to a part of it.
    pub const PARTIAL: Self = Self(*b"10");
    /// This cannot be done to that.
    pub const INVALID_TRANSACTION: Self = Self(*b"12");
    /// This amount cannot be asked for.
    pub const INVALID_AMOUNT: Self = Self(*b"13");
    /// No such card.
    pub const INVALID_CARD: Self = Self(*b"14");
    /// The original is not in the books.
    pub const NOT_FOUND: Self = Self(*b"25");
    /// A field outside its range.
    pub const FORMAT_ERROR: Self = Self(*b"30");
    /// Lost.
    pub const LOST_CARD: Self = Self(*b"41");
    /// Stolen.
    pub const STOLEN_CARD: Self = Self(*b"43");
    /// Not enough money.
    pub const INSUFFICIENT_FUNDS: Self = Self(*b"51");
    /// Too old.
    pub const EXPIRED_CARD: Self = Self(*b"54");
    /// Sign on first.
    pub const NOT_SIGNED_ON: Self = Self(*b"58");
    /// Too often.
    pub const COUNT_LIMIT: Self = Self(*b"65");
    /// Issuer or network does not take part now.
    pub const UNAVAILABLE: Self = Self(*b"91");
    /// Had it already.
    pub const DUPLICATE: Self = Self(*b"94");
    /// The network is broken.
    pub const MALFUNCTION: Self = Self(*b"96");
    /// Wrong verification value.
    pub const WRONG_CVV: Self = Self(*b"N7");
    /// A code that no table knows.
    pub const UNMAPPED: Self = Self(*b"ZZ");

    /// The two characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("codes are written above, in ASCII")
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A currency, three capital letters.
pub type Currency = [u8; 3];

/// An index into the books; [`NONE`] for none.
pub(super) type Index = u32;
pub(super) const NONE: Index = u32::MAX;

/// What a request does to money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An approval holds.
    Hold,
    /// An approval raises a hold.
    Increment,
    /// An approval captures.
    Sale,
    /// An approval returns.
    Refund,
    /// Nothing.
    Verification,
}

/// The wire identity of rule R14, apart from the attempt id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Stamp {
    pub(super) acquirer: Symbol,
    pub(super) trace: u32,
    pub(super) reference: [u8; 12],
    pub(super) time: [u8; 10],
}

impl Stamp {
    /// Of an identity whose lengths `parse` has checked; what is longer is cut.
    pub(super) fn of(identity: &MessageIdentity, names: &mut Names) -> Self {
        Self {
            acquirer: names.symbol(&identity.acquirer_id),
            trace: identity.system_trace_audit_number,
            reference: fixed(&identity.retrieval_reference_number),
            time: fixed(&identity.transmission_time),
        }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "time {}, STAN {}, RRN {}", text(&self.time), self.trace, text(&self.reference))
    }
}

/// One request, as received. A second copy of an attempt id is a second entry: it is a second charge.
#[derive(Debug)]
pub(super) struct AttemptEntry {
    pub(super) attempt_id: Box<str>,
    pub(super) stamp: Stamp,
    pub(super) kind: Kind,
    pub(super) single_message: bool,
    pub(super) amount: i64,
    pub(super) currency: Currency,
    pub(super) card: CardMark,
    pub(super) credentials: Option<Box<Credentials>>,
    pub(super) merchant: Symbol,
    pub(super) code: Code,
    pub(super) approval_code: [u8; 6],
    pub(super) approved: i64,
    pub(super) reversed: i64,
    pub(super) received_us: i64,
    pub(super) copy: u16,
    pub(super) delivery: Delivery,
    pub(super) killed: bool,
    /// The entry before this one whose attempt id has the same hash.
    pub(super) older: Index,
    /// The first authorization; the entry itself where it is one.
    pub(super) root: Index,
    /// On a first authorization its newest increment, on an increment the one before it.
    pub(super) increment: Index,
    /// On a first authorization, what all that belongs to it has come to; else zero.
    pub(super) sums: Sums,
}

impl AttemptEntry {
    /// What reversals have left of the approval.
    pub(super) fn outstanding(&self) -> i64 {
        self.approved - self.reversed
    }
}

/// What reversals and advices have in common: they are facts, repeated until acknowledged.
#[derive(Debug)]
pub(super) struct Fact {
    pub(super) message_id: Box<str>,
    pub(super) original_id: Box<str>,
    pub(super) stamp: Stamp,
    pub(super) digest: u64,
    pub(super) currency: Currency,
    pub(super) code: Code,
    /// True once the fact is in the sums: every later copy is a duplicate.
    pub(super) settled: bool,
    pub(super) copies: u32,
    pub(super) repeats: u32,
    pub(super) unequal: u32,
    pub(super) answered: u32,
    pub(super) first_us: i64,
    pub(super) last_us: i64,
    /// The entry before this one whose stamp has the same hash.
    pub(super) older: Index,
}

/// One reversal, repeats folded in.
#[derive(Debug)]
pub(super) struct ReversalEntry {
    pub(super) fact: Fact,
    pub(super) requested: i64,
    pub(super) approved: i64,
    pub(super) reversed: i64,
    pub(super) reason: ReversalReason,
    pub(super) undone: i64,
    pub(super) came_first: bool,
}

/// One advice, repeats folded in.
#[derive(Debug)]
pub(super) struct AdviceEntry {
    pub(super) fact: Fact,
    pub(super) amount: i64,
    pub(super) last: bool,
}

/// A name by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Symbol(u32);

/// Names that repeat in most entries, held once.
#[derive(Debug, Default)]
pub(super) struct Names {
    numbers: HashMap<Box<str>, u32>,
    names: Vec<Box<str>>,
}

impl Names {
    /// Number 0 is the empty name, and every name beyond the bound.
    pub(super) fn symbol(&mut self, name: &str) -> Symbol {
        if name.is_empty() {
            return Symbol(0);
        }
        if let Some(number) = self.numbers.get(name) {
            return Symbol(*number);
        }
        if self.names.len() >= NAMES_MAX {
            return Symbol(0);
        }
        self.names.push(name.into());
        let number = self.names.len() as u32;
        self.numbers.insert(name.into(), number);
        Symbol(number)
    }

    pub(super) fn name(&self, symbol: Symbol) -> &str {
        symbol.0.checked_sub(1).map_or("", |place| &self.names[place as usize])
    }
}

/// A hash for the indices of the books, the same in every run.
pub(super) fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Characters of a fixed field. Longer values were refused by `parse`.
fn fixed<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [b' '; N];
    let length = text.len().min(N);
    bytes[..length].copy_from_slice(&text.as_bytes()[..length]);
    bytes
}

pub(super) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or("?")
}
