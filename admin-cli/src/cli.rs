//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Command, CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::{
    commands::{
        apply, audit, check, clock, cluster, context, directory, key, leader, limit, member, node, pki, reversal,
        route, shell, snapshot, transaction,
    },
    exit::Exit,
    talk::Talk,
};

/// Operates a payment switch.
#[derive(Debug, Parser)]
#[command(name = "admin-cli", version, propagate_version = true, after_help = format!("{SAMPLE}\n\n{}", Exit::help()))]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) noun: Noun,
}

/// The whole tree of commands. A noun shows the sample of its first verb, so that every `--help` shows what comes out.
#[must_use]
pub fn command() -> Command {
    Cli::command().mut_subcommands(|noun| {
        let noun = directory::sampled(noun);
        let sample = noun.get_subcommands().next().and_then(Command::get_after_help).cloned();
        match sample {
            Some(sample) => noun.after_help(sample),
            None => noun,
        }
    })
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Connection and output")]
pub(crate) struct Global {
    /// Context to use instead of the current one
    #[arg(long, global = true, env = "PAYSWITCH_CONTEXT", value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// File that holds contexts, instead of payswitch/contexts.toml in $XDG_CONFIG_HOME
    #[arg(long, global = true, env = "PAYSWITCH_CONTEXTS", value_name = "FILE")]
    pub(crate) contexts: Option<PathBuf>,
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
    /// Longest that the command may take, for example 500ms, 10s, 2m; with --watch one round of it
    #[arg(long, global = true, env = "PAYSWITCH_TIMEOUT", default_value = "10s", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// Do what cannot be taken back without asking for its name
    #[arg(long, global = true)]
    pub(crate) yes: bool,
    /// Only show what would be changed
    #[arg(long, global = true)]
    pub(crate) dry_run: bool,
    /// Key of the change; repeating a change of the directory under its key changes nothing more
    #[arg(long, global = true, value_name = "KEY", value_parser = key)]
    pub(crate) request_id: Option<String>,
    /// Show it again and again, with this pause; for commands that change nothing
    #[arg(long, global = true, value_name = "PAUSE", num_args = 0..=1, default_missing_value = "2s", value_parser = duration)]
    pub(crate) watch: Option<Duration>,
    /// End --watch after so many rounds
    #[arg(long, global = true, requires = "watch", value_name = "COUNT")]
    pub(crate) rounds: Option<u64>,
    /// Say nothing on stderr but failures, and what must be asked
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say on stderr whom every call goes to, what came of it and how long it took
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    /// Write no colours, as where NO_COLOR is set or nobody reads in a terminal
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
}

impl Global {
    /// How much is said on stderr.
    pub(crate) fn talk(&self) -> Talk {
        match (self.quiet, self.verbose) {
            (true, _) => Talk::Quiet,
            (false, true) => Talk::Verbose,
            (false, false) => Talk::Normal,
        }
    }
}

/// How data is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// For people with room.
    Wide,
    /// One document for programs: apiVersion, kind, items.
    Json,
    /// The same document as YAML.
    Yaml,
    /// One document a line: apiVersion, kind, item.
    Jsonl,
    /// One name a line, such as gateway/shop.
    Name,
}

impl Output {
    /// True where failures are read by programs too.
    pub(crate) fn is_for_programs(self) -> bool {
        match self {
            Self::Json | Self::Jsonl | Self::Yaml => true,
            Self::Table | Self::Wide | Self::Name => false,
        }
    }
}

/// Nouns.
#[derive(Debug, Subcommand)]
pub(crate) enum Noun {
    /// Clusters by name: where they are and which certificate they are shown
    #[command(subcommand)]
    Context(context::Verb),
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
    /// One node
    #[command(subcommand)]
    Node(node::Verb),
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
    Route(route::Verb),
    /// Limits on the money of gateways; those on their calls are set with `gateway set`
    #[command(subcommand)]
    Limit(limit::Verb),
    /// Changes the directory as a file says: all of its changes or none
    #[command(after_help = apply::APPLY_HELP)]
    Apply(apply::Args),
    /// Shows what `apply` would change, field by field
    #[command(after_help = apply::DIFF_HELP)]
    Diff(apply::Args),
    /// Transactions of a gateway, without card data
    #[command(subcommand)]
    Transaction(transaction::Verb),
    /// Reversals and advices that networks have not acknowledged
    #[command(subcommand)]
    Reversal(reversal::Verb),
    /// Data keys of the cluster
    #[command(subcommand)]
    Key(key::Verb),
    /// Certificates for development
    #[command(subcommand)]
    Pki(pki::Verb),
    /// Snapshots of a node
    #[command(subcommand)]
    Snapshot(snapshot::Verb),
    /// The trail of what operators did
    #[command(subcommand)]
    Audit(audit::Verb),
    /// One line for a monitor, with a monitor's exit codes
    #[command(after_help = check::HELP)]
    Check(check::Args),
    /// A script that completes commands in a shell
    #[command(after_help = shell::COMPLETION_HELP)]
    Completion(shell::CompletionArgs),
    /// Manual pages
    #[command(after_help = shell::MAN_HELP)]
    Man(shell::ManArgs),
    /// The version of this program
    #[command(
        after_help = "Example:\n  $ admin-cli version\n  PROGRAM    VERSION  CONTRACT\n  admin-cli  0.1.0    payswitch.operator.v1"
    )]
    Version,
}

impl Noun {
    /// True where nothing is changed, so that it may be asked again and again.
    pub(crate) fn only_reads(&self) -> bool {
        match self {
            Self::Cluster(verb) => matches!(verb, cluster::Verb::Status | cluster::Verb::Health { .. }),
            Self::Clock(verb) => matches!(verb, clock::Verb::Show),
            Self::Member(verb) => matches!(verb, member::Verb::List),
            Self::Gateway(verb) | Self::Network(verb) | Self::Link(verb) => verb.only_reads(),
            Self::Route(route::Verb::Record(verb)) => verb.only_reads(),
            Self::Limit(verb) => matches!(verb, limit::Verb::List { .. } | limit::Verb::Get { .. }),
            Self::Key(verb) => !matches!(verb, key::Verb::Rotate { .. }),
            Self::Context(verb) => {
                matches!(verb, context::Verb::List | context::Verb::Show { .. } | context::Verb::Test { .. })
            }
            Self::Reversal(verb) => matches!(verb, reversal::Verb::List { .. }),
            Self::Audit(verb) => matches!(verb, audit::Verb::List { .. }),
            Self::Transaction(verb) => !matches!(verb, transaction::Verb::Tail { .. }),
            Self::Route(route::Verb::Explain(_)) | Self::Diff(_) => true,
            Self::Leader(_)
            | Self::Node(_)
            // It is asked once, by a monitor that asks again.
            | Self::Check(_)
            | Self::Apply(_)
            | Self::Pki(_)
            | Self::Snapshot(_)
            | Self::Completion(_)
            | Self::Man(_)
            | Self::Version => false,
        }
    }

    /// True where a cluster is asked, so that it must be known which.
    pub(crate) fn asks_a_cluster(&self) -> bool {
        match self {
            // What a context's test asks, the context itself says.
            Self::Context(_) | Self::Pki(_) | Self::Completion(_) | Self::Man(_) | Self::Version => false,
            Self::Snapshot(verb) => !matches!(verb, snapshot::Verb::Verify { .. }),
            Self::Audit(verb) => !matches!(verb, audit::Verb::Verify { .. }),
            _ => true,
        }
    }
}

/// A node id as it is written everywhere: 16 hexadecimal digits.
pub(crate) fn node_id(text: &str) -> Result<u64, String> {
    let id = (text.len() <= 16).then(|| u64::from_str_radix(text, 16).ok()).flatten().filter(|id| *id != 0);
    id.ok_or_else(|| "a node id is up to 16 hexadecimal digits, and not 0".to_owned())
}

/// A key of a change. One that the node could not take would stand in the trail under another name.
fn key(text: &str) -> Result<String, String> {
    let may_stand = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    let is_key = (1..=64).contains(&text.len()) && text.bytes().all(may_stand);
    is_key.then(|| text.to_owned()).ok_or_else(|| "a key is 1 to 64 letters, digits, -, _, . and :".to_owned())
}

/// A number with its unit.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| DURATION.to_owned())?;
    let duration = match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.saturating_mul(60)),
        "h" => Duration::from_secs(number.saturating_mul(3_600)),
        _ => return Err(DURATION.to_owned()),
    };
    if duration.is_zero() || duration > DURATION_MAX {
        return Err("a duration is longer than nothing and at most a hundred days".to_owned());
    }
    Ok(duration)
}

/// What the program looks like.
const SAMPLE: &str = "\
Example:
  $ admin-cli context set staging --endpoint node-1.switch:7003 --certificate ann.pem --key ann-key.pem --roots roots.pem
  $ admin-cli context use staging
  $ admin-cli member list
  NODE              ROLE    PEER                OPERATOR            MATCHED
  00000000000000ff  leader  node-1.switch:7002  node-1.switch:7003  1207";
const DURATION: &str = "a duration is a number and ms, s, m or h";
const DURATION_MAX: Duration = Duration::from_secs(100 * 24 * 3_600);

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
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

    /// Every noun and every verb shows what it looks like.
    #[test]
    fn every_help_has_a_sample() {
        fn walk(command: &Command, path: &str, lacking: &mut Vec<String>) {
            let path = format!("{path} {}", command.get_name());
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            if !help.contains("$ admin-cli") {
                lacking.push(path.clone());
            }
            for below in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
                walk(below, &path, lacking);
            }
        }
        let mut lacking = Vec::new();
        walk(&command(), "", &mut lacking);
        assert!(lacking.is_empty(), "without a sample: {lacking:?}");
    }

    #[test]
    fn every_command_of_the_tree_parses() {
        let mut leaves = leaves();
        for line in [
            "context list",
            "context show",
            "context show staging",
            "context test staging",
            "context use staging",
            "context set staging --endpoint a:1 --certificate c --key k --roots r",
            "context remove staging",
            "cluster status --watch --rounds 2",
            "cluster health --wait",
            "cluster bootstrap",
            "clock show",
            "clock accept --seen 1772352000000 --reason restarted",
            "member list",
            "member add node-4.switch:7002",
            "member promote 00000000000000ff --wait",
            "member remove ff --dry-run",
            "member replace ff --with fe",
            "leader transfer",
            "leader transfer --to 00000000000000ff",
            "node drain",
            "node drain ff",
            "gateway list",
            "gateway set shop enabled=false",
            "gateway disable shop",
            "gateway enable shop",
            "gateway remove shop --yes",
            "gateway get shop",
            "network list",
            "network get visa",
            "network set visa attempt_timeout_ms=8000",
            "network disable visa",
            "network enable visa",
            "network remove visa",
            "link list",
            "link get visa-1",
            "link set visa-1 exclusive=true",
            "link disable visa-1",
            "link enable visa-1",
            "link remove visa-1",
            "route list",
            "route get visa-4",
            "route set visa-4 priority=2",
            "route disable visa-4",
            "route enable visa-4",
            "route remove visa-4",
            "route explain 400000 --currency EUR --amount 100",
            "limit list --gateway shop",
            "limit get shop EUR",
            "limit remove shop EUR",
            "limit set shop EUR --per-day 100",
            "limit disable shop EUR",
            "key list",
            "key rotate sealing --overlap 24h --wrapping 2",
            "key publish",
            "pki init pki --trust-domain switch.test --cluster dev",
            "pki issue node node-1 --folder pki --host node-1 --host 127.0.0.1",
            "snapshot save node-1.snapshot",
            "snapshot save backups/today.snapshot --keep 30",
            "snapshot verify node-1.snapshot --checksum 9c1e",
            "apply -f directory.json",
            "apply -f directory.toml --expected-version 4 --request-id change-17 --dry-run",
            "diff -f directory.yaml --prune",
            "transaction get shop 01ABC",
            "transaction get shop --asked-with order-1",
            "transaction list shop --since 1h",
            "transaction tail shop --count 3",
            "reversal list --parked",
            "reversal resend shop:x",
            "reversal resolve shop:x --as stands --evidence ticket-9",
            "reversal confirm shop:x --proposal 812.0",
            "reversal withdraw shop:x --proposal 812.0",
            "snapshot trigger",
            "audit list --limit 5",
            "audit export",
            "audit verify trail.jsonl",
            "check --format nagios",
            "completion bash",
            "man",
            "version",
        ] {
            parse(&format!("admin-cli {line}")).unwrap_or_else(|error| panic!("{line}: {error}"));
            leaves.retain(|leaf| line != leaf && !line.starts_with(&format!("{leaf} ")));
        }
        assert!(leaves.is_empty(), "without a line above: {leaves:?}");
    }

    /// Commands that have none below them.
    fn leaves() -> Vec<String> {
        fn walk(command: &Command, path: &str, found: &mut Vec<String>) {
            let mut below = command.get_subcommands().peekable();
            if below.peek().is_none() {
                found.push(path.to_owned());
            }
            for one in below {
                walk(one, format!("{path} {}", one.get_name()).trim(), found);
            }
        }
        let mut found = Vec::new();
        walk(&command(), "", &mut found);
        found
    }

    #[test]
    fn what_is_no_command_is_a_usage_error() {
        for line in [
            "cluster",
            "cluster destroy",
            "clock accept --seen 1772352000000",
            "key rotate",
            "key rotate wrapping",
            "key rotate card --wrapping 0",
            "pki init pki",
            "pki issue ann",
            "snapshot save",
            "snapshot save node-1.snapshot --keep 0",
            "limit disable shop",
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
            "cluster status --rounds 2",
            "transaction get shop",
        ] {
            let error = parse(&format!("admin-cli {line}")).expect_err(line);
            assert!(error.use_stderr() && error.exit_code() == 2, "{line}: {error}");
        }
        assert!(!parse("admin-cli --help").expect_err("help").use_stderr());
    }
}
