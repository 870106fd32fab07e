//! Commands, rows and keys as bytes: the format of the log and of the table, as `payswitch.journal.v1` writes it down.
//!
//! Old bytes must still read. Bytes of a newer version must not: an unknown field, command or value is a [`CodecFault`], and
//! the node stops rather than leave out a part of the books (S17). Every value has one encoding.

mod audit;
mod directory;
mod entry;
mod key;
mod keyring;
mod parts;
mod row;
#[cfg(test)]
pub(crate) mod tests;
mod wire;

use thiserror::Error;

pub use self::{
    audit::{audit_digest, encode_audit_record, refused_changes},
    entry::{Mark, Pack, PackBody, decode_command, decode_pack, encode_command, encode_pack},
    key::{OWN, decode_key, encode_key},
    row::{decode_row, encode_row},
};

/// Bytes that cannot be read. Never holds a value that they carry.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CodecFault {
    /// They end too early.
    #[error("{message} ends too early")]
    Truncated {
        /// Message that was read.
        message: &'static str,
    },
    /// A field that is not known, or not in its place: written by a newer version, or damaged.
    #[error("{message} has a field {field} that this version does not know; upgrade this node, or replace its disk")]
    Unexpected {
        /// Message that was read.
        message: &'static str,
        /// Number of the field.
        field: u64,
    },
    /// A value of an enum that is not known: written by a newer version, or damaged.
    #[error("{enumeration} has no value {value} in this version; upgrade this node, or replace its disk")]
    UnknownValue {
        /// Enum that was read.
        enumeration: &'static str,
        /// Its value.
        value: u64,
    },
    /// A field that must be there is not.
    #[error("{message} has no field {field}")]
    Missing {
        /// Message that was read.
        message: &'static str,
        /// Number of the field; zero for one of several.
        field: u32,
    },
    /// A value that its type does not allow.
    #[error("{message} has a malformed {kind}")]
    Invalid {
        /// Message that was read.
        message: &'static str,
        /// Type of the value.
        kind: &'static str,
    },
    /// Not the one encoding of what it says.
    #[error("{message} is not in canonical form")]
    NotCanonical {
        /// Message that was read.
        message: &'static str,
    },
    /// A key that cannot be read.
    #[error("malformed key")]
    Key,
    /// A table that is not known.
    #[error("no table {0:#04x} in this version; upgrade this node, or replace its disk")]
    UnknownTable(u8),
    /// A row of another kind, or of another transaction, than its key says.
    #[error("the row does not belong under its key")]
    Misplaced,
}
