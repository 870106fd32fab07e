//! `node …`.

mod drain;
#[cfg(test)]
pub(super) mod samples;

use clap::Subcommand;

use crate::{
    cli::{Global, node_id},
    failure::Failure,
    output::Sheet,
};

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Makes a node hand leadership over, end its conversations with networks and lead no more until it is started anew
    #[command(
        after_help = "Example:\n  $ admin-cli node drain 00000000000000ff --timeout 45s\n  NODE              CONVERSATIONS LEFT  REQUEST ID\n  00000000000000ff  0                   3f0c…"
    )]
    Drain {
        /// The node; without it the one at the first endpoint
        #[arg(value_name = "NODE", value_parser = node_id)]
        node: Option<u64>,
    },
}

pub(super) async fn carry_out(global: &Global, verb: &Verb) -> Result<Sheet, Failure> {
    match verb {
        Verb::Drain { node } => drain::drain(global, *node).await,
    }
}
