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
//! | [`resources`] | what this process uses of its machine |
//! | [`doubt`] | what is unresolved with networks, counted |

pub mod convert;
mod doubt;
mod drain;
mod health;
mod observe;
mod plain;
mod resources;
mod service;

pub use doubt::watch_doubt;
pub use drain::{HandOver, Intake, TransferFault};
pub use health::{Health, Unwell};
pub use observe::{Observed, observe};
pub use plain::{recorder, serve_plain};
pub use service::{Operators, Parts};
