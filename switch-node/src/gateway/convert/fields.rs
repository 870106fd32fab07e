//! Reading one field at a time: every fault of a request is found in one pass, with its path and never with its text.

use std::borrow::Cow;

use switch_domain::{
    card::{CardFault, Pan},
    id::IdFault,
    money::{Amount, AmountFault, Currency},
    outcome::AnswerText,
};
use switch_proto::gateway::v1 as pb;
use thiserror::Error;

/// Why a request cannot be read. Field paths and fixed words only: nothing that could hold a digit of a card.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadRequest {
    /// Fields that are wrong, at least one.
    #[error("{} of the request's fields cannot be used", .0.len())]
    Fields(Vec<Violation>),
    /// A merchant or terminal that is not the gateway's (R10).
    #[error("{0} is not assigned to this gateway")]
    NotAssigned(&'static str),
}

/// One field that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Path from the request, such as `card.keyed.expiry`.
    pub field: &'static str,
    /// What is wrong, for programs.
    pub reason: Reason,
    /// What is wrong, for people.
    pub description: Cow<'static, str>,
}

/// What is wrong with a field.
#[allow(missing_docs)] // the names are the documentation
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    FieldMissing,
    FieldTooLong,
    FieldMalformed,
    /// It contradicts another field.
    FieldConflict,
    UnknownCurrency,
    AmountNegative,
    AmountTooGreat,
    AmountZero,
    CardNumberInvalid,
    CardExpiryInvalid,
    CardVerificationValueInvalid,
    CardSequenceNumberInvalid,
    Track2Invalid,
    ChipDataInvalid,
    PinBlockInvalid,
    CryptogramInvalid,
    EntryModeConflict,
    /// Free text contains the request's own card number (R7).
    FreeTextHoldsCardNumber,
}

impl Reason {
    /// As it stands on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FieldMissing => "FIELD_MISSING",
            Self::FieldTooLong => "FIELD_TOO_LONG",
            Self::FieldMalformed => "FIELD_MALFORMED",
            Self::FieldConflict => "FIELD_CONFLICT",
            Self::UnknownCurrency => "UNKNOWN_CURRENCY",
            Self::AmountNegative => "AMOUNT_NEGATIVE",
            Self::AmountTooGreat => "AMOUNT_TOO_GREAT",
            Self::AmountZero => "AMOUNT_ZERO",
            Self::CardNumberInvalid => "CARD_NUMBER_INVALID",
            Self::CardExpiryInvalid => "CARD_EXPIRY_INVALID",
            Self::CardVerificationValueInvalid => "CARD_VERIFICATION_VALUE_INVALID",
            Self::CardSequenceNumberInvalid => "CARD_SEQUENCE_NUMBER_INVALID",
            Self::Track2Invalid => "TRACK2_INVALID",
            Self::ChipDataInvalid => "CHIP_DATA_INVALID",
            Self::PinBlockInvalid => "PIN_BLOCK_INVALID",
            Self::CryptogramInvalid => "CRYPTOGRAM_INVALID",
            Self::EntryModeConflict => "ENTRY_MODE_CONFLICT",
            Self::FreeTextHoldsCardNumber => "FREE_TEXT_HOLDS_CARD_NUMBER",
        }
    }

    fn of_card(fault: CardFault) -> Self {
        match fault {
            CardFault::NumberMissing => Self::FieldMissing,
            CardFault::NumberForm | CardFault::CheckDigit => Self::CardNumberInvalid,
            CardFault::Expiry => Self::CardExpiryInvalid,
            CardFault::VerificationValue => Self::CardVerificationValueInvalid,
            CardFault::Track2 => Self::Track2Invalid,
            CardFault::IccData => Self::ChipDataInvalid,
            CardFault::PinBlock => Self::PinBlockInvalid,
            CardFault::Cryptogram => Self::CryptogramInvalid,
            CardFault::SequenceNumber => Self::CardSequenceNumberInvalid,
        }
    }
}

/// The faults of one request as they are found. A reader returns `None` where it has left one.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<Violation>);

impl Fields {
    /// Leaves a fault.
    pub(super) fn wrong(&mut self, field: &'static str, reason: Reason, description: impl Into<Cow<'static, str>>) {
        self.0.push(Violation { field, reason, description: description.into() });
    }

    pub(super) fn missing(&mut self, field: &'static str) {
        self.wrong(field, Reason::FieldMissing, "is missing");
    }

    /// The refusal that the faults make.
    pub(super) fn refused(self) -> BadRequest {
        debug_assert!(!self.0.is_empty(), "a request was refused and no field was wrong");
        BadRequest::Fields(self.0)
    }

    /// Nothing was wrong.
    pub(super) fn finish(self) -> Result<(), BadRequest> {
        if self.0.is_empty() { Ok(()) } else { Err(self.refused()) }
    }

    pub(super) fn id<T>(&mut self, field: &'static str, parsed: Result<T, IdFault>) -> Option<T> {
        let fault = match parsed {
            Ok(id) => return Some(id),
            Err(fault) => fault,
        };
        let reason = match fault {
            IdFault::Missing => Reason::FieldMissing,
            IdFault::TooLong(_) => Reason::FieldTooLong,
            IdFault::Character | IdFault::Form => Reason::FieldMalformed,
        };
        self.wrong(field, reason, fault.to_string());
        None
    }

    pub(super) fn card<T>(&mut self, field: &'static str, parsed: Result<T, CardFault>) -> Option<T> {
        parsed.map_err(|fault| self.wrong(field, Reason::of_card(fault), fault.to_string())).ok()
    }

    /// A value of an enum of the contract: this switch must know it.
    pub(super) fn known<T: TryFrom<i32>>(&mut self, field: &'static str, number: i32) -> Option<T> {
        let known = T::try_from(number).ok();
        if known.is_none() {
            self.wrong(field, Reason::FieldMalformed, "is a value that this switch does not know");
        }
        known
    }

    /// Free text, possibly empty: printable ASCII, which is what networks carry. It is refused rather than mended.
    pub(super) fn text(&mut self, field: &'static str, text: &str, length_max: usize) -> Option<AnswerText> {
        if text.chars().count() > length_max {
            self.wrong(field, Reason::FieldTooLong, format!("is longer than {length_max} characters"));
            return None;
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
            self.wrong(field, Reason::FieldMalformed, "has a character that is not printable ASCII");
            return None;
        }
        Some(AnswerText::of(text, length_max))
    }

    /// Exactly so many digits.
    pub(super) fn digits(&mut self, field: &'static str, text: &str, length: usize) -> Option<AnswerText> {
        if text.is_empty() {
            self.missing(field);
            return None;
        }
        if text.len() != length || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            self.wrong(field, Reason::FieldMalformed, format!("is not {length} digits"));
            return None;
        }
        Some(AnswerText::of(text, length))
    }

    pub(super) fn currency(&mut self, field: &'static str, code: &str) -> Option<Currency> {
        if code.is_empty() {
            self.missing(field);
            return None;
        }
        let currency = Currency::parse(code).ok();
        if currency.is_none() {
            self.wrong(field, Reason::UnknownCurrency, "is not an ISO 4217 code in use");
        }
        currency
    }

    /// An amount above zero and its currency.
    pub(super) fn money(&mut self, money: Option<pb::Money>) -> Option<(Amount, Currency)> {
        let Some(pb::Money { minor_units, currency_code }) = money else {
            self.missing("amount");
            return None;
        };
        const UNITS: &str = "amount.minor_units";
        let amount = match Amount::parse(minor_units) {
            Ok(Amount::ZERO) => {
                self.wrong(UNITS, Reason::AmountZero, "must be greater than zero");
                None
            }
            Ok(amount) => Some(amount),
            Err(AmountFault::Negative(_)) => {
                self.wrong(UNITS, Reason::AmountNegative, "is negative");
                None
            }
            Err(AmountFault::TooGreat(_)) => {
                self.wrong(UNITS, Reason::AmountTooGreat, "has more than 12 digits");
                None
            }
        };
        let currency = self.currency("amount.currency_code", &currency_code);
        amount.zip(currency)
    }

    /// R7: what is kept and shown must not carry the number that is sealed.
    pub(super) fn without_number(&mut self, pan: &Pan, texts: &[(&'static str, &str)]) {
        for (field, _) in texts.iter().filter(|(_, text)| pan.stands_in(text)) {
            self.wrong(field, Reason::FreeTextHoldsCardNumber, "contains the card number");
        }
    }
}
