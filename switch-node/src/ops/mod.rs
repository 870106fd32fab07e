//! The door for operators: what they may ask, how a node hands over and leaves, and what it shows of itself.
//!
//! | file | what it holds |
//! |---|---|
//! | [`service`] | the four services of `payswitch.operator.v1` |
//! | [`convert`] | between that contract and the domain |
//! | [`drain`] | handing leadership over, leaving (R4) |
//! | [`health`] | whether this node lives, is ready, has started |
//! | [`plain`] | the plain HTTP listener: those three, and the metrics |
//! | [`observe`] | what is measured once a second |

pub mod convert;
mod drain;
mod health;
mod observe;
mod plain;
mod service;

pub use drain::{HandOver, Intake, TransferFault};
pub use health::{Health, Unwell};
pub use observe::observe;
pub use plain::{recorder, serve_plain};
pub use service::{Operators, Parts};
