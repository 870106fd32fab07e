//! What the switch promises, shown on real clusters: three nodes and two card networks as processes, real TLS, real disk.
//! One file for each promise. At most one cluster runs at a time, so that each has the machine to itself.

mod bad_input;
mod failover;
mod follow_ups;
mod keys;
mod membership;
mod misbehaviour;
mod networks;
mod programs;
mod replicas;
mod secrets;
mod silence;
mod streams;
