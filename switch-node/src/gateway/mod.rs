//! Station ①: the door for gateways. Requests in, decisions out.
//!
//! ```text
//! service ─► stack: deadline ─► forward ─► admission ─► rate ─► sealed ─► handler ─► flow
//! peers   ─► the same stack without the forward, for calls of other nodes
//! ```

pub mod call;
pub mod convert;
pub mod keys;
pub mod layers;
pub mod outlook;
pub mod peers;
pub mod service;
pub mod stack;
pub mod status;
