//! Reading one field of an operator's request, with the path to it.

use std::fmt;

use switch_domain::{
    id::IdFault,
    money::{Amount, Currency},
    outcome::AnswerText,
};
use thiserror::Error;
use tonic::Code;

use crate::door::refusal::{Refused, refused};

/// A field of an operator's request that is wrong. The caller must act.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field} {fault}")]
pub struct FieldFault {
    /// Path from the request, such as `changes[3].put_route.range_low`.
    pub field: String,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// Not given.
    #[error("is missing")]
    Missing,
    /// Longer than it may be.
    #[error("is longer than {0} characters")]
    TooLong(usize),
    /// Not what it must look like.
    #[error("is not {0}")]
    Malformed(&'static str),
    /// Outside its range.
    #[error("is {value}, allowed is {least} to {greatest}")]
    OutOfRange {
        /// Value.
        value: i64,
        /// Least.
        least: i64,
        /// Greatest.
        greatest: i64,
    },
    /// Not an ISO 4217 code in use.
    #[error("is not an ISO 4217 code in use")]
    UnknownCurrency,
    /// Stands there twice.
    #[error("stands there twice")]
    Repeated,
    /// Too many entries.
    #[error("has {count} entries, at most {count_max} are allowed")]
    TooMany {
        /// Entries.
        count: usize,
        /// Most.
        count_max: usize,
    },
}

impl Fault {
    /// As it stands on the wire.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "FIELD_MISSING",
            Self::TooLong(_) => "FIELD_TOO_LONG",
            Self::Malformed(_) => "FIELD_MALFORMED",
            Self::OutOfRange { .. } => "FIELD_OUT_OF_RANGE",
            Self::UnknownCurrency => "UNKNOWN_CURRENCY",
            Self::Repeated => "FIELD_REPEATED",
            Self::TooMany { .. } => "FIELD_TOO_MANY",
        }
    }
}

impl FieldFault {
    /// What the operator is told.
    pub fn refused(&self) -> Refused {
        let told = refused(Code::InvalidArgument, self.fault.reason(), self.to_string())
            .with("field", &self.field)
            .field(&self.field, self.fault.to_string());
        match &self.fault {
            Fault::Missing | Fault::Malformed(_) | Fault::UnknownCurrency | Fault::Repeated => told,
            Fault::TooLong(length_max) => told.with("length_max", length_max),
            Fault::OutOfRange { value, least, greatest } => {
                told.with("value", value).with("least", least).with("greatest", greatest)
            }
            Fault::TooMany { count, count_max } => told.with("count", count).with("count_max", count_max),
        }
    }
}

impl From<FieldFault> for tonic::Status {
    fn from(fault: FieldFault) -> Self {
        fault.refused().status()
    }
}

/// Where a field stands. Written out only where a fault names it.
pub(super) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step,
}

enum Step {
    Field(&'static str),
    Item(usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Field(name) if self.parent.is_some() => write!(f, ".{name}"),
            Step::Field(name) => f.write_str(name),
            Step::Item(index) => write!(f, "[{index}]"),
        }
    }
}

impl Path<'_> {
    pub(super) fn root(name: &'static str) -> Path<'static> {
        Path { parent: None, step: Step::Field(name) }
    }

    pub(super) fn field(&self, name: &'static str) -> Path<'_> {
        Path { parent: Some(self), step: Step::Field(name) }
    }

    pub(super) fn item(&self, index: usize) -> Path<'_> {
        Path { parent: Some(self), step: Step::Item(index) }
    }

    pub(super) fn wrong<T>(&self, fault: Fault) -> Result<T, FieldFault> {
        Err(FieldFault { field: self.to_string(), fault })
    }

    pub(super) fn id<T>(&self, parsed: Result<T, IdFault>) -> Result<T, FieldFault> {
        let fault = match parsed {
            Ok(id) => return Ok(id),
            Err(IdFault::Missing) => Fault::Missing,
            Err(IdFault::TooLong(length_max)) => Fault::TooLong(length_max),
            Err(IdFault::Character) => Fault::Malformed("free of characters that are not allowed"),
            Err(IdFault::Form) => Fault::Malformed("an id of its kind"),
        };
        self.wrong(fault)
    }

    pub(super) fn at_most(&self, count: usize, count_max: usize) -> Result<(), FieldFault> {
        if count > count_max { self.wrong(Fault::TooMany { count, count_max }) } else { Ok(()) }
    }

    pub(super) fn within(&self, value: u32, least: u32, greatest: u32) -> Result<u32, FieldFault> {
        if (least..=greatest).contains(&value) {
            return Ok(value);
        }
        self.wrong(Fault::OutOfRange { value: value.into(), least: least.into(), greatest: greatest.into() })
    }

    pub(super) fn amount(&self, minor_units: i64) -> Result<Amount, FieldFault> {
        let greatest = i64::try_from(switch_domain::money::AMOUNT_MAX).unwrap_or(i64::MAX);
        let out = Fault::OutOfRange { value: minor_units, least: 0, greatest };
        Amount::parse(minor_units).or_else(|_| self.wrong(out))
    }

    pub(super) fn currency(&self, code: &str) -> Result<Currency, FieldFault> {
        if code.is_empty() {
            return self.wrong(Fault::Missing);
        }
        Currency::parse(code).or_else(|_| self.wrong(Fault::UnknownCurrency))
    }

    /// Up to 11 digits, or none.
    pub(super) fn institution(&self, digits: &str) -> Result<AnswerText, FieldFault> {
        if digits.len() > INSTITUTION_LENGTH_MAX {
            return self.wrong(Fault::TooLong(INSTITUTION_LENGTH_MAX));
        }
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return self.wrong(Fault::Malformed("digits"));
        }
        Ok(AnswerText::of(digits, INSTITUTION_LENGTH_MAX))
    }

    pub(super) fn host_text(&self, text: String) -> Result<String, FieldFault> {
        if text.is_empty() {
            return self.wrong(Fault::Missing);
        }
        if text.len() > HOST_LENGTH_MAX {
            return self.wrong(Fault::TooLong(HOST_LENGTH_MAX));
        }
        if !text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']'))
        {
            return self.wrong(Fault::Malformed("a host name or address"));
        }
        Ok(text)
    }

    pub(super) fn range_bound(&self, digits: &str, fill: impl Fn(&str) -> Option<u64>) -> Result<u64, FieldFault> {
        if digits.is_empty() {
            return self.wrong(Fault::Missing);
        }
        fill(digits).map_or_else(|| self.wrong(Fault::Malformed("1 to 19 digits")), Ok)
    }
}

/// Acquiring institution id, ISO 8583 field 32.
const INSTITUTION_LENGTH_MAX: usize = 11;
/// A DNS name of 253 characters and a port.
const HOST_LENGTH_MAX: usize = 260;
