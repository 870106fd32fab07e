//! `snapshot …`.

mod trigger;

use clap::Subcommand;

use crate::{cli::Global, failure::Failure, output::Sheet};

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Makes the called node take a snapshot now
    Trigger,
}

pub(super) async fn carry_out(global: &Global, verb: Verb) -> Result<Sheet, Failure> {
    match verb {
        Verb::Trigger => trigger::trigger(global).await,
    }
}
