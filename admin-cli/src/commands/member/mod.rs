//! `member …`.

mod add;
mod list;
mod promote;
mod remove;

use clap::Subcommand;
use serde_json::{Value, json};
use switch_proto::operator::v1::Member;

use crate::{
    cli::{Global, node_id},
    failure::Failure,
    output::{Sheet, hex},
};

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Lists the members as the called node knows them
    List,
    /// Lets a node in as a learner
    Add {
        /// Its peer listener
        #[arg(value_name = "HOST:PORT")]
        peer_address: String,
    },
    /// Makes a learner a voter, once it has nearly caught up
    Promote {
        /// The learner
        #[arg(value_name = "NODE", value_parser = node_id)]
        node: u64,
    },
    /// Removes a member for good; refused where what stays has no quorum
    Remove {
        /// The member
        #[arg(value_name = "NODE", value_parser = node_id)]
        node: u64,
    },
}

pub(super) async fn carry_out(global: &Global, verb: Verb) -> Result<Sheet, Failure> {
    match verb {
        Verb::List => list::list(global).await,
        Verb::Add { peer_address } => add::add(global, peer_address).await,
        Verb::Promote { node } => promote::promote(global, node).await,
        Verb::Remove { node } => remove::remove(global, node).await,
    }
}

pub(super) const COLUMNS: &[&str] = &["NODE", "ROLE", "PEER", "GATEWAY", "OPERATOR", "MATCHED"];

pub(super) fn row(member: &Member) -> Vec<String> {
    let role = match (member.leader, member.voter) {
        (true, _) => "leader",
        (false, true) => "voter",
        (false, false) => "learner",
    };
    vec![
        hex(member.node_id),
        role.to_owned(),
        member.peer_address.clone(),
        member.gateway_address.clone(),
        member.operator_address.clone(),
        member.matched_index.map_or_else(|| "-".to_owned(), |index| index.to_string()),
    ]
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

/// One node, and what became of it.
fn done(kind: &'static str, node: u64) -> Sheet {
    Sheet::of(kind, [json!({ "node_id": hex(node) })]).with(&["NODE"], vec![vec![hex(node)]])
}
