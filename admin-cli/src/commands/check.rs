//! `check`: one line for a monitor, with a monitor's exit codes.

use clap::ValueEnum;
use switch_proto::operator::v1::GetStatusResponse;

use super::cluster::health::{Health, wanted};
use crate::{cli::Global, context, failure::Failure, output::hex, session::Session};

/// How to check.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// For whom
    #[arg(long, value_enum, default_value_t = Format::Nagios)]
    format: Format,
    /// Parked reversals and advices from which it is a warning: an operator must act
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    parked_warning: u64,
    /// Unacknowledged reversals and advices from which it is a warning
    #[arg(long, default_value_t = 1_000, value_name = "COUNT")]
    owed_warning: u64,
}

/// For whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One line, and 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.
    Nagios,
    /// Text for a textfile collector; the same codes.
    Prometheus,
}

/// A sample.
pub(crate) const HELP: &str = "\
Exit codes are those of a monitor: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.

Example:
  $ admin-cli check --format nagios
  PAYSWITCH OK - 3 of 3 nodes, 00000000000000ff leads, 2 of 2 links in service | nodes=3;;;0;3 links=2;;;0;2 owed=4;1000 parked=0;1";

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Level {
    /// All is well.
    Ok = 0,
    /// Somebody should look.
    Warning = 1,
    /// No payment is taken safely.
    Critical = 2,
    /// Nobody knows.
    Unknown = 3,
}

/// What a monitor is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) level: Level,
    pub(crate) text: String,
}

/// Checks. Never fails: what could not be learned is UNKNOWN.
pub(crate) async fn carry_out(mut global: Global, args: &Args) -> Verdict {
    let session = context::fill(&mut global).and_then(|()| Session::new(&global));
    match session {
        Ok(session) => judge(&Health::ask(&session).await, args),
        Err(failure) => unknown(args, &failure),
    }
}

/// Nothing could be learned.
pub(crate) fn unknown(args: &Args, failure: &Failure) -> Verdict {
    let text = match args.format {
        Format::Nagios => format!("PAYSWITCH UNKNOWN - {failure}\n"),
        Format::Prometheus => gauge("payswitch_check_level", "0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN", 3),
    };
    Verdict { level: Level::Unknown, text }
}

/// The command line cannot be read: nobody knows for whom the answer is, so it is the line that people read.
pub(crate) fn misused() -> Verdict {
    Verdict { level: Level::Unknown, text: "PAYSWITCH UNKNOWN - the command line is wrong\n".to_owned() }
}

/// What is counted.
struct Counts {
    nodes: u64,
    nodes_of: u64,
    links: u64,
    links_of: u64,
    owed: u64,
    parked: u64,
}

impl Counts {
    fn of(health: &Health) -> Self {
        let nodes = health.answered().count() as u64;
        let links = health.leader().map(|leader| leader.links.as_slice()).unwrap_or_default();
        let wanted = || health.leader().into_iter().flat_map(wanted);
        // What is owed belongs to a network: each of its links says the same.
        let mut networks: Vec<(&str, u64, u64)> = Vec::new();
        for link in links {
            if !networks.iter().any(|(network, ..)| *network == link.network_id) {
                networks.push((&link.network_id, link.owed_count, link.parked_count));
            }
        }
        Self {
            nodes,
            nodes_of: nodes + health.away() as u64,
            links: wanted().filter(|link| link.state == "IN_SERVICE").count() as u64,
            links_of: wanted().count() as u64,
            owed: networks.iter().map(|(_, owed, _)| owed).sum(),
            parked: networks.iter().map(|(_, _, parked)| parked).sum(),
        }
    }
}

fn judge(health: &Health, args: &Args) -> Verdict {
    let counts = Counts::of(health);
    let faults = health.faults();
    let leader: Option<&GetStatusResponse> = health.leader();
    let level = if counts.nodes == 0 {
        Level::Unknown
    } else if leader.is_none() || (counts.links == 0 && counts.links_of > 0) {
        Level::Critical
    } else if !faults.is_empty() || counts.parked >= args.parked_warning || counts.owed >= args.owed_warning {
        Level::Warning
    } else {
        Level::Ok
    };
    let text = match args.format {
        Format::Nagios => nagios(level, &counts, leader, &faults, args),
        Format::Prometheus => prometheus(level, &counts, leader.is_some()),
    };
    Verdict { level, text }
}

fn nagios(level: Level, counts: &Counts, leader: Option<&GetStatusResponse>, faults: &[String], args: &Args) -> String {
    let Counts { nodes, nodes_of, links, links_of, owed, parked } = counts;
    let word = match level {
        Level::Ok => "OK",
        Level::Warning => "WARNING",
        Level::Critical => "CRITICAL",
        Level::Unknown => "UNKNOWN",
    };
    let leads = leader.map_or_else(|| "nobody leads".to_owned(), |leader| format!("{} leads", hex(leader.node_id)));
    // A bar would begin the figures.
    let faults: String = faults.iter().map(|fault| format!("; {}", fault.replace('|', "/"))).collect();
    let Args { parked_warning, owed_warning, .. } = args;
    format!(
        "PAYSWITCH {word} - {nodes} of {nodes_of} nodes, {leads}, {links} of {links_of} links in service{faults} \
         | nodes={nodes};;;0;{nodes_of} links={links};;;0;{links_of} owed={owed};{owed_warning} parked={parked};{parked_warning}\n"
    )
}

fn prometheus(level: Level, counts: &Counts, has_leader: bool) -> String {
    let Counts { nodes, nodes_of, links, links_of, owed, parked } = *counts;
    [
        gauge("payswitch_check_level", "0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN", u64::from(level as u8)),
        gauge("payswitch_check_has_leader", "1 where a node leads", u64::from(has_leader)),
        gauge("payswitch_check_nodes_reached", "Nodes that answered", nodes),
        gauge("payswitch_check_nodes_known", "Nodes that were asked", nodes_of),
        gauge("payswitch_check_links_in_service", "Links in service on the leader", links),
        gauge("payswitch_check_links_known", "Links of the leader", links_of),
        gauge("payswitch_check_owed", "Reversals and advices without acknowledgement", owed),
        gauge("payswitch_check_parked", "Parked among them", parked),
    ]
    .concat()
}

fn gauge(name: &str, help: &str, value: u64) -> String {
    format!("# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n")
}

#[cfg(test)]
pub(super) mod samples;

#[cfg(test)]
mod tests {
    use switch_proto::operator::v1::LinkStatus;

    use super::*;
    use crate::exit::Exit;

    const NAGIOS: Args = Args { format: Format::Nagios, parked_warning: 1, owed_warning: 1_000 };

    fn node(parked: u64) -> GetStatusResponse {
        let link = |id: &str| LinkStatus {
            link_id: id.into(),
            network_id: "visa".into(),
            state: "IN_SERVICE".into(),
            owed_count: 5,
            parked_count: parked,
            ..LinkStatus::default()
        };
        GetStatusResponse {
            node_id: 1,
            leader_id: 1,
            links: vec![link("visa-1"), link("visa-2")],
            ..GetStatusResponse::default()
        }
    }

    fn away() -> Failure {
        Failure::local(Exit::Connect, "NOT_REACHED", "refused")
    }

    fn checked(nodes: Vec<Result<GetStatusResponse, Failure>>, args: &Args) -> Verdict {
        judge(&Health::of(nodes.into_iter().zip(1..).map(|(node, at)| (format!("node-{at}:1"), node)).collect()), args)
    }

    #[test]
    fn each_level_has_its_code_and_its_line() {
        let ok = checked(vec![Ok(node(0))], &NAGIOS);
        let line = "PAYSWITCH OK - 1 of 1 nodes, 0000000000000001 leads, 2 of 2 links in service | nodes=1;;;0;1 \
                    links=2;;;0;2 owed=5;1000 parked=0;1\n";
        assert_eq!((ok.level as u8, ok.text.as_str()), (0, line));
        let parked = checked(vec![Ok(node(1))], &NAGIOS);
        assert_eq!(parked.level as u8, 1);
        assert!(parked.text.starts_with("PAYSWITCH WARNING - "), "{}", parked.text);
        let lonely = GetStatusResponse { leader_id: 0, ..node(0) };
        let critical = checked(vec![Ok(lonely), Err(away())], &NAGIOS);
        assert_eq!(critical.level as u8, 2);
        assert!(critical.text.contains("1 of 2 nodes, nobody leads"), "{}", critical.text);
        let unknown = checked(vec![Err(away())], &NAGIOS);
        assert_eq!(unknown.level as u8, 3);
    }

    #[test]
    fn a_link_that_is_switched_off_wakes_nobody_and_what_it_owes_still_counts() {
        let mut off = node(0);
        (off.links[1].state, off.links[1].disabled) = ("DOWN".into(), true);
        let verdict = checked(vec![Ok(off.clone())], &NAGIOS);
        assert_eq!(verdict.level, Level::Ok);
        assert!(verdict.text.contains("1 of 1 links in service"), "{}", verdict.text);
        (off.links[0].state, off.links[0].disabled) = ("DOWN".into(), true);
        let verdict = checked(vec![Ok(off)], &NAGIOS);
        assert_eq!(verdict.level, Level::Ok, "all of them are");
        assert!(verdict.text.contains("owed=5;"), "{}", verdict.text);
    }

    #[test]
    fn a_collector_reads_gauges() {
        let args = Args { format: Format::Prometheus, ..NAGIOS };
        let text = checked(vec![Ok(node(2))], &args).text;
        for line in [
            "payswitch_check_level 1",
            "payswitch_check_has_leader 1",
            "payswitch_check_parked 2",
            "payswitch_check_owed 5",
        ] {
            assert!(text.lines().any(|written| written == line), "{line} in\n{text}");
        }
    }
}
