//! What the switch promises, shown on real clusters: three nodes and two card networks as processes, real TLS, real disk.
//! One file for each promise. At most one cluster runs at a time, so that each has the machine to itself.

// The figures of a run; helpers print them too.
#![allow(clippy::print_stdout)]

mod admin;
mod audit;
mod bad_input;
mod certificates;
mod contracts;
mod disks;
mod doors;
mod failover;
mod follow_ups;
mod keys;
mod membership;
mod metrics;
mod misbehaviour;
mod networks;
mod overload;
mod pay_twice;
mod programs;
mod replicas;
mod rolling;
mod rotation;
mod scrape;
mod sealed;
mod secrets;
mod silence;
mod streams;
mod traces;
