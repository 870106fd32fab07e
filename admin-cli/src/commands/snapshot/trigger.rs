//! `snapshot trigger`.

use serde_json::json;
use switch_proto::operator::v1::{TriggerSnapshotRequest, cluster_service_client::ClusterServiceClient};

use crate::{cli::Global, failure::Failure, output::Sheet, session::Session};

pub(super) async fn trigger(global: &Global) -> Result<Sheet, Failure> {
    let session = Session::new(global)?;
    let ask = async |channel, request| ClusterServiceClient::new(channel).trigger_snapshot(request).await;
    session.change(TriggerSnapshotRequest {}, ask).await?;
    let started = vec![vec!["started".to_owned()]];
    Ok(Sheet::of("SnapshotTriggered", [json!({ "state": "started" })]).with(&["SNAPSHOT"], started))
}
