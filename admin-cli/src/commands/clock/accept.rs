//! `clock accept`.

use serde_json::json;
use switch_proto::operator::v1::{AcceptClockRequest, cluster_service_client::ClusterServiceClient};

use crate::{
    cli::Global,
    commands::plan,
    confirmation::{cluster_name, confirm},
    failure::Failure,
    output::Sheet,
    session::Session,
};

pub(super) async fn accept(global: &Global, seen_wall_unix_ms: i64, reason: &str) -> Result<Sheet, Failure> {
    if let Some(plan) = plan(global, WORDS) {
        return Ok(plan);
    }
    confirm(global, WORDS, cluster_name(global)).await?;
    let session = Session::new(global)?;
    let ask = async |channel, request| ClusterServiceClient::new(channel).accept_clock(request).await;
    session.change(AcceptClockRequest { seen_wall_unix_ms, reason: reason.to_owned() }, ask).await?;
    Ok(sheet(seen_wall_unix_ms, session.request_id()))
}

pub(super) fn sheet(seen_wall_unix_ms: i64, request_id: &str) -> Sheet {
    let item = json!({ "seen_wall_unix_ms": seen_wall_unix_ms, "request_id": request_id });
    let rows = vec![vec![seen_wall_unix_ms.to_string(), request_id.to_owned()]];
    Sheet::of("ClockAccepted", [item])
        .with(&["ACCEPTED", "REQUEST ID"], rows)
        .named("clock", [seen_wall_unix_ms.to_string()])
}

const WORDS: &str = "the leader's wall clock is taken for right: deletion by age goes on, and where it is ahead log time moves to it \
     when the next term begins, and never back";
