//! Answers of `clock`.

use switch_proto::operator::v1::{ClockAcceptance, ClockDisagreement, GetClockResponse};

use super::{accept, show};
use crate::commands::samples::{NODES, REQUEST_ID, Sample, TIME_UNIX_MS};

pub(in crate::commands) fn all() -> Vec<Sample> {
    let agree = GetClockResponse {
        node_id: NODES[0],
        wall_unix_ms: TIME_UNIX_MS,
        log_unix_ms: TIME_UNIX_MS - 10,
        ..GetClockResponse::default()
    };
    let apart =
        ClockDisagreement { node_id: NODES[1], wall_unix_ms: TIME_UNIX_MS, log_unix_ms: TIME_UNIX_MS + 7_200_000 };
    let accepted = ClockAcceptance {
        wall_unix_ms: TIME_UNIX_MS - 86_400_000,
        log_unix_ms: TIME_UNIX_MS - 2 * 86_400_000,
        author: "spiffe://switch.example/operator/ann".into(),
        reason: "the old leader ran a day behind".into(),
    };
    let disagree = GetClockResponse { disagreement: Some(apart), accepted: Some(accepted), ..agree };
    vec![
        Sample::of("clock show", show::sheet(&agree)),
        Sample::of("clock show", show::sheet(&disagree)).case("apart"),
        Sample::of("clock accept", accept::sheet(TIME_UNIX_MS, REQUEST_ID)),
    ]
}
