//! `cluster status`.

use serde_json::{Value, json};
use switch_proto::operator::v1::{GetStatusResponse, LinkStatus};

use crate::{
    cli::Global,
    commands::member,
    failure::Failure,
    output::{Sheet, hex},
    session::Session,
};

pub(super) async fn status(global: &Global) -> Result<Sheet, Failure> {
    Ok(sheet(&Session::new(global)?.status().await?))
}

pub(super) fn sheet(status: &GetStatusResponse) -> Sheet {
    let state_hash: String = status.state_hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let item = json!({
        "cluster_id": hex(status.cluster_id),
        "node_id": hex(status.node_id),
        "leader_id": hex(status.leader_id),
        "term": status.term,
        "last_index": status.last_index,
        "committed_index": status.committed_index,
        "applied_index": status.applied_index,
        "first_index": status.first_index,
        "snapshot_index": status.snapshot_index,
        "state_hash": state_hash,
        "members": status.members.iter().map(member::item).collect::<Vec<_>>(),
        "links": status.links.iter().map(link_item).collect::<Vec<_>>(),
        "log_time_unix_ms": status.log_time_unix_ms,
        "directory_version": status.directory_version,
        "draining": status.draining,
        "open_attempts": status.open_attempts,
    });
    let facts = [
        ("cluster", hex(status.cluster_id)),
        ("node", hex(status.node_id)),
        ("leader", hex(status.leader_id)),
        ("term", status.term.to_string()),
        ("log", format!("{} to {}", status.first_index, status.last_index)),
        ("committed", status.committed_index.to_string()),
        ("applied", status.applied_index.to_string()),
        ("snapshot", status.snapshot_index.to_string()),
        ("state hash", state_hash.chars().take(16).collect()),
        ("directory", format!("version {}", status.directory_version)),
        ("open attempts", status.open_attempts.to_string()),
        ("draining", if status.draining { "yes" } else { "no" }.to_owned()),
    ];
    let facts = facts.map(|(name, value)| vec![name.to_owned(), value]).to_vec();
    Sheet::of("ClusterStatus", [item])
        .with(&["FACT", "VALUE"], facts)
        .with(member::COLUMNS, status.members.iter().map(member::row).collect())
        .with(&["LINK", "NETWORK", "STATE", "IN FLIGHT", "OWED", "PARKED"], status.links.iter().map(link_row).collect())
        .named("node", [hex(status.node_id)])
}

fn link_item(link: &LinkStatus) -> Value {
    let LinkStatus { link_id, network_id, state: _, in_flight, owed_count, parked_count, disabled: _ } = link;
    json!({
        "link_id": link_id,
        "network_id": network_id,
        "state": link_state(link),
        "in_flight": in_flight,
        "owed_count": owed_count,
        "parked_count": parked_count,
    })
}

/// Where it stands; one that is switched off has no other state, even while it still signs off.
fn link_state(link: &LinkStatus) -> &str {
    if link.disabled { "DISABLED" } else { &link.state }
}

fn link_row(link: &LinkStatus) -> Vec<String> {
    let LinkStatus { link_id, network_id, state: _, in_flight, owed_count, parked_count, disabled: _ } = link;
    vec![
        link_id.clone(),
        network_id.clone(),
        link_state(link).to_owned(),
        in_flight.to_string(),
        owed_count.to_string(),
        parked_count.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use switch_proto::operator::v1::Member;

    use super::*;
    use crate::cli::Output;

    #[test]
    fn a_status_shows_the_cluster_its_members_and_its_links() {
        let status = GetStatusResponse {
            cluster_id: 1,
            node_id: 2,
            leader_id: 3,
            state_hash: vec![0xab; 32].into(),
            members: vec![Member {
                node_id: 3,
                voter: true,
                leader: true,
                matched_index: Some(9),
                ..Member::default()
            }],
            links: vec![
                LinkStatus { link_id: "visa-1".to_owned(), state: "DOWN".to_owned(), ..LinkStatus::default() },
                LinkStatus { state: "DOWN".to_owned(), disabled: true, ..LinkStatus::default() },
            ],
            ..GetStatusResponse::default()
        };
        let sheet = sheet(&status);
        let table = sheet.table();
        for line in ["leader         0000000000000003", "state hash     abababababababab", "0000000000000003  leader"] {
            assert!(table.contains(line), "{line} in\n{table}");
        }
        let read: Value = serde_json::from_str(&sheet.show(Output::Json).expect("a document")).expect("JSON");
        assert_eq!(read["items"][0]["members"][0]["matched_index"], 9);
        assert_eq!(read["items"][0]["links"][0]["state"], "DOWN");
        assert_eq!(read["items"][0]["links"][1]["state"], "DISABLED");
        assert_eq!(read["items"][0]["state_hash"], "ab".repeat(32));
    }
}
