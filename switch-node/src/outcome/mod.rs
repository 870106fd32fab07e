//! Station ⑤: what was answered is journalled, and what was not answered is reversed until acknowledged.
//!
//! | file | what it does |
//! |---|---|
//! | [`settle`] | gets evidence committed, by this node or by whoever leads |
//! | [`Conversations`] | what this process holds |
//! | [`in_doubt`] | attempts inherited from an earlier leader: waits for their deadline or asks their owner (R4) |
//! | [`reversal`] | store-and-forward: repeats reversals and advices until acknowledged (R13, R14, R25) |
//! | [`expiry`] | ends the validity of what nobody captured (R9) |
//! | [`retention`] | forgets what is older than anybody needs (R9, R20) |
//! | [`stray`] | evidence that nobody waits for |

mod conversations;
pub mod expiry;
pub mod in_doubt;
pub mod limits;
mod reigning;
pub mod retention;
pub mod reversal;
mod settle;
pub mod stray;

pub use conversations::{Conversations, Held, Opening};
pub(crate) use settle::offer;
pub use settle::{Carried, Courier, carry};
