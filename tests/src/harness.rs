//! A cluster of real processes for suites and programs: `Cluster::three().with_sandbox().start().await`.
//!
//! Nodes and card networks are children of this process, each cluster in a 127.x.y.0/24 of its own, so that suites run
//! beside each other. Nothing here sleeps: everything waits for a condition within a bound ([`crate::eventually`]).

pub use self::{
    cluster::{Builder, Cluster, Leader},
    context::Context,
    directory::Timing,
    node::Node,
    operator::OperatorClient,
    process::Process,
    sandbox::{NETWORKS, Sandbox, SandboxControl},
};

mod addresses;
mod cluster;
mod config;
mod context;
pub mod directory;
mod folder;
mod mount;
mod node;
mod operator;
mod process;
mod sandbox;
