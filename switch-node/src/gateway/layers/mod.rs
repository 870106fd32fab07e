//! The layers of the message stack, one a file.

pub mod deadline;
pub mod forward;
