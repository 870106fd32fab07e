//! `leader …`.

#[cfg(test)]
pub(super) mod samples;
mod transfer;

use clap::Subcommand;

use crate::{
    cli::{Global, node_id},
    failure::Failure,
    output::Sheet,
};

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Hands leadership to another voter after what is under way was written
    #[command(
        after_help = "Example:\n  $ admin-cli leader transfer --to 00000000000000fe\n  LEADER            REQUEST ID\n  00000000000000fe  3f0c…"
    )]
    Transfer {
        /// The voter to lead; without it the leader chooses
        #[arg(long, value_name = "NODE", value_parser = node_id)]
        to: Option<u64>,
    },
}

pub(super) async fn carry_out(global: &Global, verb: &Verb) -> Result<Sheet, Failure> {
    match verb {
        Verb::Transfer { to } => transfer::transfer(global, *to).await,
    }
}
