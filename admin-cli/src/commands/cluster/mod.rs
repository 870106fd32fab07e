//! `cluster …`.

mod bootstrap;
pub(in crate::commands) mod health;
#[cfg(test)]
pub(super) mod samples;
mod status;

use clap::Subcommand;

use crate::{cli::Global, failure::Failure, output::Sheet};

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// What the called node knows of the cluster; needs no leader
    #[command(
        after_help = "Example:\n  $ admin-cli cluster status\n  FACT           VALUE\n  cluster        5d1f0c7a99b3e210\n  node           00000000000000ff\n  leader         00000000000000ff\n  term           4\n  log            1001 to 1207\n  committed      1207\n  applied        1207\n  snapshot       1000\n  state hash     9c1e4b7ad05f3ce8\n  directory      version 12\n  open attempts  3\n  draining       no\n\n  NODE              ROLE    PEER                OPERATOR            MATCHED\n  00000000000000ff  leader  node-1.switch:7002  node-1.switch:7003  1207\n  00000000000000fe  voter   node-2.switch:7002  node-2.switch:7003  1207\n  00000000000000fd  voter   node-3.switch:7002  node-3.switch:7003  1205\n\n  LINK          NETWORK     STATE       IN FLIGHT  OWED  PARKED\n  visa-1        visa        IN_SERVICE  3          2     0\n  mastercard-1  mastercard  IN_SERVICE  0          2     0"
    )]
    Status,
    /// What every node says, and whether that is well: exit code 10 where it is not
    #[command(
        after_help = "Example:\n  $ admin-cli cluster health\n  NODE              ENDPOINT            STATE   TERM  APPLIED  LINKS IN SERVICE\n  00000000000000ff  node-1.switch:7003  leader  4     1207     2 of 2\n  -                 node-2.switch:7003  away    -     -        -\n  00000000000000fd  node-3.switch:7003  voter   4     1207     2 of 2\n\n  NOT WELL\n  node-2.switch:7003 is away: error: node-2.switch:7003: connection refused (NOT_REACHED)"
    )]
    Health {
        /// Ask until it is healthy, or the time is over
        #[arg(long)]
        wait: bool,
    },
    /// Forms a new cluster from the called node's configured peers
    #[command(
        after_help = "Example:\n  $ admin-cli cluster bootstrap --yes\n  CLUSTER           REQUEST ID\n  5d1f0c7a99b3e210  3f0c…"
    )]
    Bootstrap,
}

pub(super) async fn carry_out(global: &Global, verb: &Verb) -> Result<Sheet, Failure> {
    match verb {
        Verb::Status => status::status(global).await,
        Verb::Health { wait } => health::health(global, *wait).await,
        Verb::Bootstrap => bootstrap::bootstrap(global).await,
    }
}
