//! `member …`.

mod add;
mod list;
mod promote;
mod remove;
mod replace;
#[cfg(test)]
pub(super) mod samples;

use clap::Subcommand;
use serde_json::{Value, json};
use switch_proto::operator::v1::Member;

use crate::{
    cli::{Global, node_id},
    failure::Failure,
    output::{Sheet, hex, or_dash},
};

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Lists the members as the called node knows them
    #[command(
        after_help = "Example:\n  $ admin-cli member list\n  NODE              ROLE    PEER                OPERATOR            MATCHED\n  00000000000000ff  leader  node-1.switch:7002  node-1.switch:7003  1207\n  00000000000000fe  voter   node-2.switch:7002  node-2.switch:7003  1207\n  00000000000000fd  voter   node-3.switch:7002  node-3.switch:7003  1205"
    )]
    List,
    /// Lets a node in as a learner
    #[command(
        after_help = "A node that names a member among its peers joins by itself; this is for one that cannot.\n\nExample:\n  $ admin-cli member add node-4.switch:7002\n  NODE              REQUEST ID\n  00000000000000fe  3f0c…"
    )]
    Add {
        /// Its peer listener
        #[arg(value_name = "HOST:PORT")]
        peer_address: String,
    },
    /// Makes a learner a voter, once it has nearly caught up
    #[command(
        after_help = "Example:\n  $ admin-cli member promote 00000000000000fe --wait --timeout 5m\n  NODE              REQUEST ID\n  00000000000000fe  3f0c…"
    )]
    Promote {
        /// The learner
        #[arg(value_name = "NODE", value_parser = node_id)]
        node: u64,
        /// Wait until it has caught up, or the time is over
        #[arg(long)]
        wait: bool,
    },
    /// Removes a member for good; refused where what stays has no quorum
    #[command(
        after_help = "Example:\n  $ admin-cli member remove 00000000000000fe --dry-run\n  WOULD BE DONE\n  member 00000000000000fe is removed, and its id never comes back: voters are then 00000000000000fd,00000000000000ff\n  $ admin-cli member remove 00000000000000fe --yes\n  NODE              REQUEST ID\n  00000000000000fe  3f0c…"
    )]
    Remove {
        /// The member
        #[arg(value_name = "NODE", value_parser = node_id)]
        node: u64,
    },
    /// Puts a new node into the place of one whose disk is gone: waits until it has caught up, removes the old, promotes the new
    #[command(
        after_help = "Start the node with an empty disk first. It comes back as another node with the same peer address, and is found by that.\n\nExample:\n  $ admin-cli member replace 00000000000000fe --yes --timeout 5m\n  REMOVED           PROMOTED          REQUEST ID\n  00000000000000fe  00000000000000fc  3f0c…"
    )]
    Replace {
        /// The member that will not come back
        #[arg(value_name = "NODE", value_parser = node_id)]
        node: u64,
        /// The learner that takes its place, where it has another peer address
        #[arg(long, value_name = "NODE", value_parser = node_id)]
        with: Option<u64>,
    },
}

pub(super) async fn carry_out(global: &Global, verb: &Verb) -> Result<Sheet, Failure> {
    match verb {
        Verb::List => list::list(global).await,
        Verb::Add { peer_address } => add::add(global, peer_address).await,
        Verb::Promote { node, wait } => promote::promote(global, *node, *wait).await,
        Verb::Remove { node } => remove::remove(global, *node).await,
        Verb::Replace { node, with } => replace::replace(global, *node, *with).await,
    }
}

pub(super) const COLUMNS: &[&str] = &["NODE", "ROLE", "PEER", "OPERATOR", "MATCHED"];

pub(super) fn row(member: &Member) -> Vec<String> {
    vec![
        hex(member.node_id),
        role(member).to_owned(),
        member.peer_address.clone(),
        or_dash(&member.operator_address),
        member.matched_index.map_or_else(|| "-".to_owned(), |index| index.to_string()),
    ]
}

fn role(member: &Member) -> &'static str {
    match (member.leader, member.voter) {
        (true, _) => "leader",
        (false, true) => "voter",
        (false, false) => "learner",
    }
}

pub(super) fn item(member: &Member) -> Value {
    let Member { node_id, peer_address, gateway_address, operator_address, voter, leader, matched_index } = member;
    json!({
        "node_id": hex(*node_id),
        "peer_address": peer_address,
        "gateway_address": gateway_address,
        "operator_address": operator_address,
        "voter": voter,
        "leader": leader,
        "matched_index": matched_index,
    })
}

/// Who would vote.
fn voters(members: &[Member], keeps: impl Fn(&Member) -> bool) -> String {
    let voters: Vec<String> = members.iter().filter(|member| keeps(member)).map(|member| hex(member.node_id)).collect();
    crate::output::listed(&voters)
}

/// One node, and what became of it.
fn done(kind: &'static str, request_id: &str, node: u64) -> Sheet {
    Sheet::of(kind, [json!({ "node_id": hex(node), "request_id": request_id })])
        .with(&["NODE", "REQUEST ID"], vec![vec![hex(node), request_id.to_owned()]])
        .named("member", [hex(node)])
}
