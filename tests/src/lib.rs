//! How the switch is tried: clusters of real processes, simulated card networks, payments, and a judge of all three.
//!
//! `tests/README.md` says what each suite shows and how to run it.

pub mod auditor;
pub mod bench;
pub mod channel;
pub mod duration;
pub mod eventually;
pub mod gateway_client;
pub mod harness;
pub mod history;
pub mod load;
pub mod model;
pub mod multicall;
pub mod needles;
pub mod pay_twice;
pub mod pki;
pub mod sandbox;
pub mod stage;
pub mod summary;
pub mod workload;
