//! `clock …`.

mod accept;
mod show;

use clap::Subcommand;

use crate::{cli::Global, failure::Failure, output::Sheet};

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Shows log time, the leader's wall clock, and whether their disagreement waits for an operator
    Show,
    /// Ends a disagreement: the leader's wall clock is right
    Accept {
        /// The leader's wall clock as `clock show` gave it, milliseconds since 1970
        #[arg(long, value_name = "UNIX_MS")]
        seen: i64,
        /// Why it is right, for auditors; no card numbers
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

pub(super) async fn carry_out(global: &Global, verb: Verb) -> Result<Sheet, Failure> {
    match verb {
        Verb::Show => show::show(global).await,
        Verb::Accept { seen, reason } => accept::accept(global, seen, reason).await,
    }
}
