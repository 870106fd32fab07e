//! The layers of the message stack, one a file.

pub mod admission;
pub mod deadline;
pub mod forward;
pub mod rate;
pub mod sealed;
