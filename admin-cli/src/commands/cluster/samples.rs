//! Answers of `cluster`.

use switch_proto::operator::v1::{GetStatusResponse, LinkStatus};

use super::{bootstrap, health::Health, status};
use crate::{
    commands::{
        member::samples::members,
        samples::{CLUSTER, NODES, REQUEST_ID, Sample, TIME_UNIX_MS, hash},
    },
    exit::Exit,
    failure::Failure,
};

/// What a node says of the cluster.
pub(in crate::commands) fn status_of(node_id: u64) -> GetStatusResponse {
    let link = |link_id: &str, network_id: &str, in_flight| LinkStatus {
        link_id: link_id.into(),
        network_id: network_id.into(),
        state: "IN_SERVICE".into(),
        in_flight,
        owed_count: 2,
        ..LinkStatus::default()
    };
    GetStatusResponse {
        cluster_id: CLUSTER,
        node_id,
        leader_id: NODES[0],
        term: 4,
        last_index: 1_207,
        committed_index: 1_207,
        applied_index: 1_207,
        first_index: 1_001,
        snapshot_index: 1_000,
        state_hash: hash().into(),
        members: members(),
        links: vec![link("visa-1", "visa", 3), link("mastercard-1", "mastercard", 0)],
        log_time_unix_ms: TIME_UNIX_MS,
        directory_version: 12,
        draining: false,
        open_attempts: 3,
    }
}

/// What each endpoint answered, the second one nothing.
pub(in crate::commands) fn answers() -> Vec<(String, Result<GetStatusResponse, Failure>)> {
    let refused = Failure::local(Exit::Connect, "NOT_REACHED", "node-2.switch:7003: connection refused");
    vec![
        ("node-1.switch:7003".to_owned(), Ok(status_of(NODES[0]))),
        ("node-2.switch:7003".to_owned(), Err(refused)),
        ("node-3.switch:7003".to_owned(), Ok(status_of(NODES[2]))),
    ]
}

pub(in crate::commands) fn all() -> Vec<Sample> {
    let mut well = answers();
    well[1].1 = Ok(status_of(NODES[1]));
    vec![
        Sample::of("cluster status", status::sheet(&status_of(NODES[0]))),
        Sample::of("cluster health", Health::of(answers()).sheet()),
        Sample::of("cluster health", Health::of(well).sheet()).case("well"),
        Sample::of("cluster bootstrap", bootstrap::sheet(CLUSTER, REQUEST_ID)),
    ]
}
