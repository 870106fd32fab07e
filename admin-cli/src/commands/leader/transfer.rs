//! `leader transfer`.

use serde_json::json;
use switch_proto::operator::v1::{TransferLeaderRequest, cluster_service_client::ClusterServiceClient};

use crate::{
    cli::Global,
    commands::plan,
    failure::Failure,
    output::{Sheet, hex},
    session::Session,
};

pub(super) async fn transfer(global: &Global, to: Option<u64>) -> Result<Sheet, Failure> {
    let to_whom = to.map_or_else(|| "the voter that is furthest".to_owned(), hex);
    if let Some(plan) = plan(global, &format!("leadership is handed to {to_whom}")) {
        return Ok(plan);
    }
    let session = Session::new(global)?;
    let ask = async |channel, request| ClusterServiceClient::new(channel).transfer_leader(request).await;
    let leader = session.change(TransferLeaderRequest { node_id: to.unwrap_or(0) }, ask).await?.leader_id;
    Ok(sheet(leader, session.request_id()))
}

pub(super) fn sheet(leader: u64, request_id: &str) -> Sheet {
    let leader = hex(leader);
    let item = json!({ "leader_id": leader, "request_id": request_id });
    let row = vec![leader.clone(), request_id.to_owned()];
    Sheet::of("LeaderTransferred", [item]).with(&["LEADER", "REQUEST ID"], vec![row]).named("member", [leader])
}
