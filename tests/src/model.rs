//! A second opinion about the book: what gateways must be told, what stands in the sums and what networks are owed, written
//! from the rules of money with plain numbers and naive scans. It shares nothing with the book but the shape of its input.
//!
//! [`step`] is the language of random histories, [`pair`] plays one to book and model alike and compares them after every
//! step. A difference is an error in one of the two: the rules decide in which.

pub mod act;
mod age;
pub mod pair;
pub mod payment;
pub mod reference;
pub mod step;
