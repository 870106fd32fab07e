//! Why the book refuses a command. A refusal stores nothing: the key may be used again (R17). The order of the variants is
//! the order of precedence.

use thiserror::Error;

use crate::{id::Position, money::Amount, outcome::DeclineReason};

/// Why a command was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The key is known under a fingerprint of another key version: compute it under this one and ask again (R16).
    #[error("the request_id is stored under fingerprint key version {0}")]
    FingerprintVersion(u32),
    /// The key was used for something else (R16).
    #[error("the request_id was used for another request")]
    KeyReused,
    /// The gateway first sent this key before the switch's memory begins (R9).
    #[error("the request_id is older than the switch remembers")]
    KeyTooOld,
    /// No such transaction of this gateway (R10).
    #[error("no such transaction")]
    NotFound,
    /// The original has no terminal answer yet; retry (R12).
    #[error("the original is still in doubt; try again")]
    InDoubt,
    /// A row may hold only so many operations.
    #[error("the transaction has {0} operations, which is the most it may have")]
    TooManyOperations(usize),
    /// It was voided.
    #[error("the transaction is voided")]
    AlreadyVoided,
    /// Money was captured: refund it (R12).
    #[error("the transaction is captured; refund it")]
    UseRefund,
    /// The original is not approved, or is no payment.
    #[error("the original is not an approved authorization")]
    NotAuthorized,
    /// The network takes no reversals.
    #[error("the network takes no reversals")]
    NotReversible,
    /// Its validity has ended (R9).
    #[error("the authorization is no longer valid")]
    Expired,
    /// The final capture was made.
    #[error("the final capture was made")]
    FinallyCaptured,
    /// Another currency than the original's (R11).
    #[error("the currency is not the original's")]
    CurrencyMismatch,
    /// Zero (R11).
    #[error("the amount must be greater than zero")]
    AmountZero,
    /// More than is left (R11).
    #[error("amount {asked} is more than the {left} that are left")]
    AmountExceeds {
        /// Asked.
        asked: Amount,
        /// Left.
        left: Amount,
    },
    /// The sum would pass the greatest amount (R11).
    #[error("the sum would be greater than an amount may be")]
    SumTooGreat,
    /// The card data was shredded, so that nothing can be sent for this transaction.
    #[error("the card data of this transaction is no longer kept")]
    CardGone,
    /// Told as a decline of the switch, and not stored (R17).
    #[error("declined by the switch: {0:?}")]
    Declined(DeclineReason, Position),
    /// No trace number is free on the link.
    #[error("no trace number is free on the link")]
    TraceNumbersExhausted,
}

impl Refusal {
    /// A number that never changes: replicas of different releases hash it (S17).
    #[must_use]
    pub const fn number(&self) -> u8 {
        match self {
            Self::FingerprintVersion(_) => 1,
            Self::KeyReused => 2,
            Self::KeyTooOld => 3,
            Self::NotFound => 4,
            Self::InDoubt => 5,
            Self::TooManyOperations(_) => 6,
            Self::AlreadyVoided => 7,
            Self::UseRefund => 8,
            Self::NotAuthorized => 9,
            Self::NotReversible => 10,
            Self::Expired => 11,
            Self::FinallyCaptured => 12,
            Self::CurrencyMismatch => 13,
            Self::AmountZero => 14,
            Self::AmountExceeds { .. } => 15,
            Self::SumTooGreat => 16,
            Self::CardGone => 17,
            Self::Declined(..) => 18,
            Self::TraceNumbersExhausted => 19,
        }
    }
}

/// Why an operator's word about a parked lane is not taken (R25).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ResolutionRefusal {
    /// There is nothing to close.
    #[error("nothing is parked for this attempt")]
    NotParked,
    /// Another proposal is open.
    #[error("another resolution is proposed already: confirm or withdraw that one first")]
    AlreadyProposed,
    /// No such proposal is open.
    #[error("this resolution is not proposed, or no longer: it was withdrawn, confirmed or has expired")]
    NotProposed,
    /// It takes two.
    #[error("who proposed a resolution cannot confirm it: another person must")]
    SamePerson,
}

impl ResolutionRefusal {
    /// A number that never changes: replicas of different releases hash it (S17).
    #[must_use]
    pub const fn number(&self) -> u8 {
        match self {
            Self::NotParked => 1,
            Self::AlreadyProposed => 2,
            Self::NotProposed => 3,
            Self::SamePerson => 4,
        }
    }
}
