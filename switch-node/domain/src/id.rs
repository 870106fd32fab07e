//! Identities: a newtype for each, parsed once. Texts hold the characters they may hold and nothing else, so that none of
//! them can carry a card number's spaces or a control character into a log.

use std::{fmt, str::FromStr, sync::Arc};

use thiserror::Error;

/// Why a text is not an identity of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IdFault {
    /// Empty.
    #[error("is missing")]
    Missing,
    /// Longer than it may be.
    #[error("is longer than {0} characters")]
    TooLong(usize),
    /// A character that may not stand there.
    #[error("has a character that is not allowed")]
    Character,
    /// Not of the form this identity has.
    #[error("is malformed")]
    Form,
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $max:literal, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses it.
            ///
            /// # Errors
            /// [`IdFault`] where it is empty, too long or has another character.
            pub fn parse(text: &str) -> Result<Self, IdFault> {
                let allowed: fn(u8) -> bool = $allowed;
                if text.is_empty() {
                    return Err(IdFault::Missing);
                }
                if text.len() > $max {
                    return Err(IdFault::TooLong($max));
                }
                if !text.bytes().all(allowed) {
                    return Err(IdFault::Character);
                }
                Ok(Self(Arc::from(text)))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

const LOWER: fn(u8) -> bool = |b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.');
const KEY: fn(u8) -> bool = |b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
const ACCEPTOR: fn(u8) -> bool = |b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');

text_id!(
    /// A tenant: 1 to 64 characters of `a-z 0-9 - _ .` (R10).
    GatewayId, 64, LOWER);
text_id!(
    /// A card network: 1 to 32 characters of `a-z 0-9 - _ .`.
    NetworkId, 32, LOWER);
text_id!(
    /// A connection to a card network: 1 to 32 characters of `a-z 0-9 - _ .`.
    LinkId, 32, LOWER);
text_id!(
    /// A route: 1 to 64 characters of `a-z 0-9 - _ .`.
    RouteId, 64, LOWER);
text_id!(
    /// A gateway's own key of one request: 1 to 64 characters of `A-Z a-z 0-9 - _ . :`.
    RequestId, 64, KEY);
text_id!(
    /// Card acceptor id, ISO 8583 field 42: 1 to 15 characters.
    MerchantId, 15, ACCEPTOR);
text_id!(
    /// Card acceptor terminal id, ISO 8583 field 41: 1 to 8 characters.
    TerminalId, 8, ACCEPTOR);

/// Part of the key space that a transaction lives in, 0 to 4095 (R5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// The first one.
    pub const FIRST: Self = Self(0);

    /// The slot of a key: a fixed, unkeyed function (64-bit FNV-1a of gateway, a zero byte and request id, folded to 12
    /// bits), so that every node of every version finds the same one (R5).
    #[must_use]
    pub fn of(gateway: &GatewayId, request_id: &RequestId) -> Self {
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for byte in gateway.as_str().bytes().chain([0]).chain(request_id.as_str().bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        let folded = hash ^ (hash >> 12) ^ (hash >> 24) ^ (hash >> 36) ^ (hash >> 48);
        Self((folded & 0xfff) as u16)
    }

    /// 0 to 4095.
    #[must_use]
    pub fn number(self) -> u16 {
        self.0
    }
}

/// A transaction: 48 bits of milliseconds since 1970, 12 bits of slot, 68 bits that make it unique. Ids of one gateway
/// sort by time. The text is 26 characters of Crockford's base 32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId(u128);

const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl TransactionId {
    /// Puts one together; only the low 68 bits of `unique` are used.
    #[must_use]
    pub fn new(unix_ms: u64, slot: Slot, unique: u128) -> Self {
        let time = u128::from(unix_ms & 0xffff_ffff_ffff) << 80;
        Self(time | (u128::from(slot.0) << 68) | (unique & ((1 << 68) - 1)))
    }

    /// From the number that [`Self::number`] gave.
    #[must_use]
    pub const fn from_number(number: u128) -> Self {
        Self(number)
    }

    /// As a number.
    #[must_use]
    pub const fn number(self) -> u128 {
        self.0
    }

    /// The slot it lives in.
    #[must_use]
    pub fn slot(self) -> Slot {
        Slot(((self.0 >> 68) & 0xfff) as u16)
    }

    /// Milliseconds since 1970 when it was made.
    #[must_use]
    pub fn unix_ms(self) -> u64 {
        (self.0 >> 80) as u64
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 26];
        for (place, digit) in text.iter_mut().enumerate() {
            *digit = CROCKFORD[((self.0 >> (125 - place * 5)) & 31) as usize];
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TransactionId {
    type Err = IdFault;

    fn from_str(text: &str) -> Result<Self, IdFault> {
        if text.is_empty() {
            return Err(IdFault::Missing);
        }
        if text.len() != 26 {
            return Err(IdFault::Form);
        }
        let mut number: u128 = 0;
        for (place, byte) in text.bytes().enumerate() {
            let digit = CROCKFORD.iter().position(|known| *known == byte).ok_or(IdFault::Character)?;
            if place == 0 && digit > 7 {
                return Err(IdFault::Form); // 26 digits hold 130 bits; the first may use only three of its five
            }
            number = (number << 5) | digit as u128;
        }
        Ok(Self(number))
    }
}

/// One conversation with a network: transaction, operation (0 is the authorization) and attempt (1 is the first).
/// The text is what networks match on: unique for ever (R14).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId {
    /// The transaction.
    pub transaction: TransactionId,
    /// Index of the operation.
    pub operation: u16,
    /// Number of the attempt, from 1.
    pub number: u16,
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.transaction, self.operation, self.number)
    }
}

impl FromStr for AttemptId {
    type Err = IdFault;

    fn from_str(text: &str) -> Result<Self, IdFault> {
        let mut parts = text.split('-');
        let mut next = || parts.next().ok_or(IdFault::Form);
        let (transaction, operation, number) = (next()?, next()?, next()?);
        if parts.next().is_some() {
            return Err(IdFault::Form);
        }
        Ok(Self {
            transaction: transaction.parse()?,
            operation: operation.parse().map_err(|_| IdFault::Form)?,
            number: number.parse().map_err(|_| IdFault::Form)?,
        })
    }
}

/// An attempt with the tenant it belongs to: what every command that names one carries (R10).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptRef {
    /// The tenant.
    pub gateway: GatewayId,
    /// The attempt.
    pub id: AttemptId,
}

impl fmt::Display for AttemptRef {
    /// The text that stands on the wire: with the tenant in it an answer that comes late, to another node or after a restart
    /// still finds its transaction. A gateway id has no colon.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.gateway, self.id)
    }
}

impl FromStr for AttemptRef {
    type Err = IdFault;

    fn from_str(text: &str) -> Result<Self, IdFault> {
        let (gateway, id) = text.split_once(':').ok_or(IdFault::Form)?;
        Ok(Self { gateway: GatewayId::parse(gateway)?, id: id.parse()? })
    }
}

/// Systems trace audit number, ISO 8583 field 11: 1 to 999999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stan(u32);

impl Stan {
    /// The greatest.
    pub const MAX: u32 = 999_999;

    /// 1.
    pub const FIRST: Self = Self(1);

    /// 999999.
    pub const LAST: Self = Self(Self::MAX);

    /// Parses it.
    ///
    /// # Errors
    /// [`IdFault::Form`] outside 1 to 999999.
    pub fn parse(number: u32) -> Result<Self, IdFault> {
        if (1..=Self::MAX).contains(&number) { Ok(Self(number)) } else { Err(IdFault::Form) }
    }

    /// 1 to 999999.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The one after it; 1 follows 999999.
    #[must_use]
    pub const fn next(self) -> Self {
        if self.0 >= Self::MAX { Self(1) } else { Self(self.0 + 1) }
    }
}

/// Retrieval reference number, ISO 8583 field 37: 12 characters, here base 36 of a cluster-wide counter (R14).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rrn([u8; 12]);

impl Rrn {
    /// The n-th number. 36^12 is 4.7 × 10^18: the counter does not wrap in the life of a cluster.
    #[must_use]
    pub fn of(counter: u64) -> Self {
        const DIGITS: &[u8; 36] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
        let mut text = [b'0'; 12];
        let mut left = counter;
        for digit in text.iter_mut().rev() {
            *digit = DIGITS[(left % 36) as usize];
            left /= 36;
        }
        Self(text)
    }

    /// From its twelve characters.
    ///
    /// # Errors
    /// [`IdFault::Form`] where they are not twelve of `0-9 A-Z`.
    pub fn parse(text: &str) -> Result<Self, IdFault> {
        let bytes: [u8; 12] = text.as_bytes().try_into().map_err(|_| IdFault::Form)?;
        if bytes.iter().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase()) {
            Ok(Self(bytes))
        } else {
            Err(IdFault::Form)
        }
    }

    /// The twelve characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Rrn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The leader whose entry was committed: its term and its node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaderId {
    /// Term of the log.
    pub term: u64,
    /// Node id.
    pub node: u64,
}

/// The process that holds an attempt's conversation (R1, R4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// Node id.
    pub node: u64,
    /// Random id of the process's start.
    pub boot: u64,
    /// Term in which it proposed the attempt.
    pub term: u64,
}

/// Where a decision stands in the journal: the witness that it was committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Log index of the entry.
    pub index: u64,
    /// Position of the command inside the entry.
    pub place: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r5_a_transaction_carries_the_slot_of_its_key() {
        let gateway = GatewayId::parse("shop").expect("a gateway");
        let request = RequestId::parse("order-1").expect("a key");
        let slot = Slot::of(&gateway, &request);
        let id = TransactionId::new(1_700_000_000_123, slot, u128::MAX);
        assert_eq!((id.slot(), id.unix_ms()), (slot, 1_700_000_000_123));
        assert_eq!(id.to_string().parse(), Ok(id));
        // Pinned: a slot that moved between versions would hide stored keys.
        assert_eq!(slot.number(), 1_917);
    }

    #[test]
    fn attempt_ids_read_back() {
        let id = AttemptId { transaction: TransactionId::from_number(77), operation: 3, number: 2 };
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("x".parse::<AttemptId>(), Err(IdFault::Form));
    }

    #[test]
    fn r14_reference_numbers_are_base_36_and_distinct() {
        assert_eq!(Rrn::of(0).as_str(), "000000000000");
        assert_eq!(Rrn::of(35).as_str(), "00000000000Z");
        assert_eq!(Rrn::of(36).as_str(), "000000000010");
        assert_eq!(Rrn::parse(Rrn::of(123_456_789).as_str()), Ok(Rrn::of(123_456_789)));
    }

    #[test]
    fn trace_numbers_wrap_to_one() {
        let last = Stan::parse(999_999).expect("the last");
        assert_eq!(last.next().number(), 1);
        assert_eq!(Stan::parse(0), Err(IdFault::Form));
        assert_eq!(Stan::parse(1_000_000), Err(IdFault::Form));
    }

    #[test]
    fn texts_refuse_what_they_may_not_hold() {
        assert_eq!(RequestId::parse(""), Err(IdFault::Missing));
        assert_eq!(RequestId::parse(&"x".repeat(65)), Err(IdFault::TooLong(64)));
        assert_eq!(RequestId::parse("a b"), Err(IdFault::Character));
        assert_eq!(GatewayId::parse("Shop"), Err(IdFault::Character));
        assert_eq!(TerminalId::parse("123456789"), Err(IdFault::TooLong(8)));
    }
}
