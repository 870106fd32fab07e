//! The benchmark: closed loops against a cluster of real processes, beside what the machine can do at best (an echo that
//! does nothing) and what a replicated durable write costs elsewhere (etcd). Program: `bench`.
//!
//! Only figures of one run on one machine are comparable, so the three are measured in turns, and what counts is the
//! ratio. Everything that is measured runs on the same cores: who uses how much of them is part of every figure.

pub mod drive;
pub mod echo;
pub mod etcd;
pub mod flood;
pub mod machine;
pub mod report;
pub mod till;
