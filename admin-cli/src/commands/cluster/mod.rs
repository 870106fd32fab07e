//! `cluster …`.

mod bootstrap;
pub(in crate::commands) mod status;

use clap::Subcommand;

use crate::{cli::Global, failure::Failure, output::Sheet};

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// What the called node knows of the cluster; needs no leader
    Status,
    /// Forms a new cluster from the called node's configured peers
    Bootstrap,
}

pub(super) async fn carry_out(global: &Global, verb: Verb) -> Result<Sheet, Failure> {
    match verb {
        Verb::Status => status::status(global).await,
        Verb::Bootstrap => bootstrap::bootstrap(global).await,
    }
}
