//! `clock …`.

mod accept;
#[cfg(test)]
pub(super) mod samples;
mod show;

use clap::Subcommand;

use crate::{cli::Global, failure::Failure, output::Sheet};

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Shows log time, the leader's wall clock, and whether their disagreement waits for an operator
    #[command(
        after_help = "Example:\n  $ admin-cli clock show\n  FACT                   VALUE\n  leader                 00000000000000ff\n  wall clock             1790000000123\n  log time               1790000000113\n  wall clock ahead       0 s\n  waits for an operator  no"
    )]
    Show,
    /// Ends a disagreement: the leader's wall clock is right
    #[command(
        after_help = "Example:\n  $ admin-cli clock accept --seen 1790000000123 --reason 'the old leader ran a day behind' --yes\n  ACCEPTED       REQUEST ID\n  1790000000123  3f0c…"
    )]
    Accept {
        /// The leader's wall clock as `clock show` gave it, milliseconds since 1970
        #[arg(long, value_name = "UNIX_MS")]
        seen: i64,
        /// Why it is right, for auditors; no card numbers
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

pub(super) async fn carry_out(global: &Global, verb: &Verb) -> Result<Sheet, Failure> {
    match verb {
        Verb::Show => show::show(global).await,
        Verb::Accept { seen, reason } => accept::accept(global, *seen, reason).await,
    }
}
