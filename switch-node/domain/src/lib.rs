//! The pure core of the payment switch. No clock, no randomness, no hash order, no floats, no I/O: the same commands give the
//! same state on every node.
//!
//! [`book`] keeps transactions, [`directory`] what operators decide, [`audit`] what they did, [`route`] chooses networks. State lives in a
//! [`table::Table`]. The rules of money that the code names (R1 to R25) stand in [`rules`].

pub mod audit;
pub mod authorization;
pub mod book;
pub mod card;
pub mod directory;
pub mod effect;
pub mod entry;
pub mod id;
pub mod keyring;
pub mod limits;
pub mod money;
pub mod outcome;
pub mod refusal;
pub mod route;
pub mod rules;
pub mod table;
pub mod time;
pub mod transaction;
