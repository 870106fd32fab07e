//! Keys, certificates and what is sealed with them.

pub mod certificate;
pub mod data_keys;
pub mod keys;
pub mod sealing;
pub mod tls;
pub mod vault;

/// The throw-away certificates of the whole-system tests, used by the unit tests too.
#[cfg(test)]
#[allow(dead_code, unreachable_pub)] // the other crate uses the rest, and from outside
#[path = "../../../tests/src/pki.rs"]
pub(crate) mod pki;
