//! `audit …`: the trail of what operators did.

mod export;
mod list;
#[cfg(test)]
pub(super) mod samples;
mod verify;

use std::path::PathBuf;

use clap::Subcommand;

use crate::{cli::Global, failure::Failure, output::Sheet};

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Lists the last records, the last one first
    #[command(
        after_help = "Example:\n  $ admin-cli audit list --limit 2\n  NUMBER  TIME                      AUTHOR                                ACT             STAGE  REASON  REQUEST ID\n  17      2026-09-21T14:13:20.123Z  spiffe://switch.example/operator/ann  promote_member  DONE   -       3f0c…\n  16      2026-09-21T14:13:20.123Z  spiffe://switch.example/operator/ann  add_member      DONE   -       3f0c…"
    )]
    List {
        /// Stop after this many
        #[arg(long, default_value_t = 50, value_name = "COUNT")]
        limit: usize,
    },
    /// Writes the whole trail to standard output, one record a line, for `audit verify`
    #[command(
        after_help = "The hash of the last record goes to standard error: who notes it can tell later that nothing was cut off.\n\nExample:\n  $ admin-cli audit export > trail.jsonl\n  17 records, the last has hash 9c1e…"
    )]
    Export,
    /// Recomputes the chain of an export, without a cluster, and names the first record that is not what it was
    #[command(after_help = "Example:\n  $ admin-cli audit verify trail.jsonl\n  RECORDS  LAST HASH\n  17       9c1e…")]
    Verify {
        /// The export; - is standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Hash that the last record must have
        #[arg(long, value_name = "HASH")]
        last_hash: Option<String>,
    },
}

pub(super) async fn carry_out(global: &Global, verb: &Verb) -> Result<Sheet, Failure> {
    match verb {
        Verb::List { limit } => list::list(global, *limit).await,
        Verb::Export => export::export(global).await,
        Verb::Verify { file, last_hash } => verify::verify(file, last_hash.as_deref()),
    }
}
