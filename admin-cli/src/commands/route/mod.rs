//! `route …`.

mod explain;
#[cfg(test)]
pub(super) mod samples;

use clap::Subcommand;

use super::directory;
use crate::{cli::Global, failure::Failure, output::Sheet};

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    #[command(flatten)]
    Record(directory::Verb),
    /// Says where a card would go now, and why not elsewhere
    #[command(
        after_help = "Example:\n  $ admin-cli route explain 400000 --currency EUR --amount 1999\n  ROUTE   NETWORK     LINK    ANSWER\n  visa-4  visa        visa-1  asked first\n  backup  mastercard  -       passed over: NETWORK_DISABLED"
    )]
    Explain(explain::Args),
}

pub(super) async fn carry_out(global: &Global, verb: &Verb) -> Result<Sheet, Failure> {
    match verb {
        Verb::Record(verb) => directory::carry_out(&directory::ROUTE, global, verb).await,
        Verb::Explain(args) => explain::explain(global, args).await,
    }
}
