//! The payment switch's server: gateways on one side, card networks on the other, a quorum of disks between them.
//!
//! `ARCHITECTURE.md` beside this crate draws the whole. A row uses the rows below it:
//!
//! ```text
//! main · node · config, world · gateway, ops · flow · router, outcome, keyring · journal, link, door · storage, security · telemetry, codec
//! ```

pub mod codec;
pub mod config;
pub mod door;
pub mod flow;
pub mod gateway;
pub mod journal;
pub mod keyring;
pub mod link;
pub mod node;
pub mod ops;
pub mod outcome;
pub mod router;
pub mod security;
pub mod storage;
pub mod telemetry;
pub mod world;

pub use node::run;
