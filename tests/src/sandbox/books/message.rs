//! What goes into the books and what comes out, parsed.

use switch_proto::network::v1 as wire;

use super::entry::{Code, Currency, Index, Kind};
use crate::sandbox::{cards::CardMark, proto::Credentials};

/// A request, parsed.
#[derive(Debug)]
pub struct Request<'a> {
    /// Its identity.
    pub identity: &'a wire::MessageIdentity,
    /// What it does to money.
    pub kind: Kind,
    /// True for a financial request.
    pub single_message: bool,
    /// Minor units, above zero except for a verification.
    pub amount: i64,
    /// Currency.
    pub currency: Currency,
    /// Card.
    pub card: CardMark,
    /// How card and cardholder were vouched for, if the request said so.
    pub credentials: Option<Box<Credentials>>,
    /// Merchant.
    pub merchant: &'a str,
    /// First authorization, for increments and refunds; else empty.
    pub original_id: &'a str,
    /// Microseconds since 1970.
    pub now_us: i64,
}

/// What reversals and advices have in common, parsed.
#[derive(Debug)]
pub struct Fact<'a> {
    /// Identity of the reversal or advice.
    pub identity: &'a wire::MessageIdentity,
    /// Attempt id it is about.
    pub original_id: &'a str,
    /// True where it is marked as a repeat.
    pub repeat: bool,
    /// Of all its bytes but the mark.
    pub digest: u64,
    /// Currency.
    pub currency: Currency,
    /// What it carries that may not be kept.
    pub keeps: Option<&'static str>,
    /// Microseconds since 1970.
    pub now_us: i64,
}

/// A reversal, parsed.
#[derive(Debug)]
pub struct ReversalNote<'a> {
    /// The common part.
    pub fact: Fact<'a>,
    /// Identity of the original, where stated.
    pub original: Option<&'a wire::MessageIdentity>,
    /// Minor units that were asked.
    pub requested: i64,
    /// Minor units that were approved, 0 where not known.
    pub approved: i64,
    /// Minor units to undo.
    pub reversed: i64,
    /// Why.
    pub reason: wire::ReversalReason,
}

/// An advice, parsed.
#[derive(Debug)]
pub struct AdviceNote<'a> {
    /// The common part.
    pub fact: Fact<'a>,
    /// Minor units captured.
    pub amount: i64,
    /// True where no further capture follows.
    pub last: bool,
}

/// What the network makes of a request, before the books have their say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Approve,
    /// Yes, to half of it; to all of it where half is nothing.
    Partial,
    /// Yes, to one minor unit more.
    Greater,
    /// Yes, in a code that no table knows.
    Unmapped,
    /// No.
    Decline(Code),
}

/// What the network makes of a reversal or an advice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handling {
    /// Takes it.
    Take,
    /// Leaves the books as they are and answers this.
    Refuse(Code),
}

/// A request, booked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Booked {
    /// The answer.
    pub code: Code,
    /// Minor units approved.
    pub approved: i64,
    /// True for yes, though it be for zero.
    pub yes: bool,
    /// Approval code where the answer is yes.
    pub approval_code: [u8; 6],
    /// Number of the request in these books, for the network's transaction id.
    pub sequence: u64,
}

/// A reversal or advice, booked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noted {
    /// The answer.
    pub code: Code,
    /// Copies received so far, this one included.
    pub copies: u32,
    pub(super) entry: Option<Index>,
}
