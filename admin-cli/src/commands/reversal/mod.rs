//! `reversal …`.

mod confirm;
mod list;
mod resend;
mod resolve;
#[cfg(test)]
pub(super) mod samples;
mod withdraw;

use clap::{Subcommand, ValueEnum};
use serde_json::json;

use crate::{cli::Global, failure::Failure, output::Sheet};

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Lists what networks have not acknowledged
    #[command(
        after_help = "Example:\n  $ admin-cli reversal list --parked\n  ATTEMPT                              LINK    KIND      STATE   MINOR UNITS  CURRENCY  SINCE                     PROPOSED  AS  BY  EVIDENCE\n  shop:01KPD2Z6X0Q9V3M8T5R7W1A4BC-0-1  visa-1  reversal  PARKED  1999         EUR       2026-09-21T14:13:20.123Z  -         -   -   -"
    )]
    List {
        /// Only what is parked: an operator must act
        #[arg(long)]
        parked: bool,
        /// Stop after this many
        #[arg(long, default_value_t = 1_000, value_name = "COUNT")]
        limit: usize,
    },
    /// Sends one at once
    #[command(
        after_help = "Example:\n  $ admin-cli reversal resend shop:01KPD2Z6X0Q9V3M8T5R7W1A4BC-0-1\n  ATTEMPT                              REQUEST ID\n  shop:01KPD2Z6X0Q9V3M8T5R7W1A4BC-0-1  3f0c…"
    )]
    Resend {
        /// Its attempt, as the list shows it
        #[arg(value_name = "GATEWAY:ATTEMPT")]
        attempt: String,
    },
    /// Proposes how a parked one ends, with evidence; another operator must confirm it
    #[command(
        after_help = "Example:\n  $ admin-cli reversal resolve shop:01KPD2Z6X0Q9V3M8T5R7W1A4BC-0-1 --as reversed --evidence 'ticket 17'\n  ATTEMPT                              PROPOSAL  REQUEST ID\n  shop:01KPD2Z6X0Q9V3M8T5R7W1A4BC-0-1  812.0     3f0c…"
    )]
    Resolve {
        /// Its attempt, as the list shows it
        #[arg(value_name = "GATEWAY:ATTEMPT")]
        attempt: String,
        /// What the network's books hold
        #[arg(long = "as", value_enum, value_name = "HOW")]
        resolution: Resolution,
        /// What shows it: a ticket, a line of a settlement file
        #[arg(long, value_name = "TEXT")]
        evidence: String,
    },
    /// Confirms what another operator proposed: corrects the ledger, never changes what was told
    #[command(
        after_help = "Example:\n  $ admin-cli reversal confirm shop:01KPD2Z6X0Q9V3M8T5R7W1A4BC-0-1 --proposal 812.0 --yes\n  ATTEMPT                              REQUEST ID\n  shop:01KPD2Z6X0Q9V3M8T5R7W1A4BC-0-1  3f0c…"
    )]
    Confirm {
        /// Its attempt, as the list shows it
        #[arg(value_name = "GATEWAY:ATTEMPT")]
        attempt: String,
        /// The proposal, as the list shows it
        #[arg(long, value_name = "PROPOSAL")]
        proposal: String,
    },
    /// Withdraws a proposal that nobody has confirmed
    #[command(
        after_help = "Example:\n  $ admin-cli reversal withdraw shop:01KPD2Z6X0Q9V3M8T5R7W1A4BC-0-1 --proposal 812.0\n  ATTEMPT                              REQUEST ID\n  shop:01KPD2Z6X0Q9V3M8T5R7W1A4BC-0-1  3f0c…"
    )]
    Withdraw {
        /// Its attempt, as the list shows it
        #[arg(value_name = "GATEWAY:ATTEMPT")]
        attempt: String,
        /// The proposal, as the list shows it
        #[arg(long, value_name = "PROPOSAL")]
        proposal: String,
    },
}

/// How a parked item ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Resolution {
    /// The network's books hold no money for it.
    Reversed,
    /// The network's books hold the money.
    Stands,
}

pub(super) async fn carry_out(global: &Global, verb: &Verb) -> Result<Sheet, Failure> {
    match verb {
        Verb::List { parked, limit } => list::list(global, *parked, *limit).await,
        Verb::Resend { attempt } => resend::resend(global, attempt).await,
        Verb::Resolve { attempt, resolution, evidence } => {
            resolve::resolve(global, attempt, *resolution, evidence).await
        }
        Verb::Confirm { attempt, proposal } => confirm::confirm(global, attempt, proposal).await,
        Verb::Withdraw { attempt, proposal } => withdraw::withdraw(global, attempt, proposal).await,
    }
}

/// The tenant in an attempt's id.
fn gateway_of(attempt: &str) -> Result<String, Failure> {
    let gateway = attempt.split_once(':').map(|(gateway, _)| gateway).filter(|gateway| !gateway.is_empty());
    gateway.map(str::to_owned).ok_or_else(|| Failure::usage(format!("{attempt} is no GATEWAY:ATTEMPT")))
}

/// One attempt, and what became of it.
fn done(kind: &'static str, request_id: &str, attempt: &str) -> Sheet {
    Sheet::of(kind, [json!({ "attempt_id": attempt, "request_id": request_id })])
        .with(&["ATTEMPT", "REQUEST ID"], vec![vec![attempt.to_owned(), request_id.to_owned()]])
        .named("reversal", [attempt])
}
