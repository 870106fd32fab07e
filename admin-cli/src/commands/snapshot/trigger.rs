//! `snapshot trigger`.

use serde_json::json;
use switch_proto::operator::v1::{TriggerSnapshotRequest, cluster_service_client::ClusterServiceClient};

use crate::{cli::Global, commands::plan, failure::Failure, output::Sheet, session::Session};

pub(super) async fn trigger(global: &Global) -> Result<Sheet, Failure> {
    if let Some(plan) = plan(global, "the called node takes a snapshot") {
        return Ok(plan);
    }
    let session = Session::new(global)?;
    let ask = async |channel, request| ClusterServiceClient::new(channel).trigger_snapshot(request).await;
    session.change(TriggerSnapshotRequest {}, ask).await?;
    Ok(sheet(session.request_id()))
}

pub(super) fn sheet(request_id: &str) -> Sheet {
    let item = json!({ "state": "started", "request_id": request_id });
    let row = vec!["started".to_owned(), request_id.to_owned()];
    Sheet::of("SnapshotTriggered", [item]).with(&["SNAPSHOT", "REQUEST ID"], vec![row]).named("snapshot", ["started"])
}
