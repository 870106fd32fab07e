//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    commands::{apply, clock, cluster, directory, leader, member, reversal, snapshot},
    exit::Exit,
};

/// Operates a payment switch.
#[derive(Debug, Parser)]
#[command(name = "admin-cli", version, propagate_version = true, after_help = Exit::help())]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) noun: Noun,
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// Operator listener of a node, host:port. May be given more than once: the next one is asked where one is away
    #[arg(long, global = true, env = "PAYSWITCH_ENDPOINT", value_delimiter = ',', value_name = "HOST:PORT")]
    pub(crate) endpoint: Vec<String>,
    /// PEM chain of the operator's certificate, leaf first
    #[arg(long, global = true, env = "PAYSWITCH_CERTIFICATE", value_name = "FILE")]
    pub(crate) certificate: Option<PathBuf>,
    /// PEM key of that certificate
    #[arg(long, global = true, env = "PAYSWITCH_KEY", hide_env_values = true, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// PEM roots that nodes' certificates must lead to
    #[arg(long, global = true, env = "PAYSWITCH_ROOTS", value_name = "FILE")]
    pub(crate) roots: Option<PathBuf>,
    /// Name that a node's certificate must carry, where that is not the endpoint's host
    #[arg(long, global = true, env = "PAYSWITCH_SERVER_NAME", value_name = "NAME")]
    pub(crate) server_name: Option<String>,
    /// How to write data to stdout
    #[arg(short, long, global = true, env = "PAYSWITCH_OUTPUT", value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
    /// Longest that the command may take, for example 500ms, 10s, 2m
    #[arg(long, global = true, env = "PAYSWITCH_TIMEOUT", default_value = "10s", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// Do what cannot be undone without asking
    #[arg(long, global = true)]
    pub(crate) yes: bool,
}

/// How data is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// For programs: apiVersion, kind, items.
    Json,
}

/// Nouns.
#[derive(Debug, Subcommand)]
pub(crate) enum Noun {
    /// The cluster as a node sees it, and its start
    #[command(subcommand)]
    Cluster(cluster::Verb),
    /// Log time and the leader's wall clock
    #[command(subcommand)]
    Clock(clock::Verb),
    /// The nodes of the cluster
    #[command(subcommand)]
    Member(member::Verb),
    /// The leader
    #[command(subcommand)]
    Leader(leader::Verb),
    /// Payment gateways, the tenants of the switch
    #[command(subcommand)]
    Gateway(directory::Verb),
    /// Card networks
    #[command(subcommand)]
    Network(directory::Verb),
    /// Connections to card networks
    #[command(subcommand)]
    Link(directory::Verb),
    /// Which card goes to which network
    #[command(subcommand)]
    Route(directory::Verb),
    /// Changes the directory as a file says: all of its changes or none
    Apply(apply::Args),
    /// Reversals and advices that networks have not acknowledged
    #[command(subcommand)]
    Reversal(reversal::Verb),
    /// Snapshots of a node
    #[command(subcommand)]
    Snapshot(snapshot::Verb),
    /// The version of this program
    Version,
}

/// A node id as it is written everywhere: 16 hexadecimal digits.
pub(crate) fn node_id(text: &str) -> Result<u64, String> {
    let id = (text.len() <= 16).then(|| u64::from_str_radix(text, 16).ok()).flatten().filter(|id| *id != 0);
    id.ok_or_else(|| "a node id is up to 16 hexadecimal digits, and not 0".to_owned())
}

/// A number with its unit.
fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| "a duration is a number and ms, s or m".to_owned())?;
    let duration = match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.saturating_mul(60)),
        _ => return Err("a duration is a number and ms, s or m".to_owned()),
    };
    if duration.is_zero() || duration > TIMEOUT_MAX {
        return Err("a duration is longer than nothing and at most an hour".to_owned());
    }
    Ok(duration)
}

const TIMEOUT_MAX: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_stand_before_or_after_the_command() {
        for line in [
            "admin-cli --endpoint a:1 --endpoint b:2 -o json --timeout 500ms --yes cluster status",
            "admin-cli cluster status --endpoint a:1,b:2 -o json --timeout 500ms --yes",
        ] {
            let cli = parse(line).expect(line);
            assert_eq!(cli.global.endpoint, ["a:1", "b:2"], "{line}");
            assert_eq!((cli.global.output, cli.global.timeout), (Output::Json, Duration::from_millis(500)));
            assert!(cli.global.yes && matches!(cli.noun, Noun::Cluster(cluster::Verb::Status)));
        }
    }

    #[test]
    fn every_command_of_the_tree_parses() {
        for line in [
            "cluster status",
            "cluster bootstrap",
            "clock show",
            "clock accept --seen 1772352000000 --reason restarted",
            "member list",
            "member add node-4.switch:7002",
            "member promote 00000000000000ff",
            "member remove ff",
            "leader transfer",
            "leader transfer --to 00000000000000ff",
            "gateway list",
            "network get visa",
            "link get visa-1",
            "route list",
            "apply -f directory.json",
            "apply -f directory.toml --expected-version 4 --request-id change-17 --dry-run",
            "reversal list --parked",
            "reversal resend shop:x",
            "reversal resolve shop:x --as stands --evidence ticket-9",
            "reversal confirm shop:x --proposal 812.0",
            "reversal withdraw shop:x --proposal 812.0",
            "snapshot trigger",
            "version",
        ] {
            parse(&format!("admin-cli {line}")).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn what_is_no_command_is_a_usage_error() {
        for line in [
            "cluster",
            "cluster destroy",
            "clock accept --seen 1772352000000",
            "member promote 0",
            "member promote 11112222333344445",
            "member remove node-1",
            "reversal resolve shop:x --as stands",
            "reversal resolve shop:x --as maybe --evidence x",
            "reversal confirm shop:x",
            "reversal withdraw --proposal 812.0",
            "apply",
            "cluster status --timeout 10",
            "cluster status --timeout 0s",
            "cluster status --output xml",
        ] {
            let error = parse(&format!("admin-cli {line}")).expect_err(line);
            assert!(error.use_stderr() && error.exit_code() == 2, "{line}: {error}");
        }
        assert!(!parse("admin-cli --help").expect_err("help").use_stderr());
    }
}
