//! `leader transfer`.

use serde_json::json;
use switch_proto::operator::v1::{TransferLeaderRequest, cluster_service_client::ClusterServiceClient};

use crate::{
    cli::Global,
    failure::Failure,
    output::{Sheet, hex},
    session::Session,
};

pub(super) async fn transfer(global: &Global, to: Option<u64>) -> Result<Sheet, Failure> {
    let session = Session::new(global)?;
    let ask = async |channel, request| ClusterServiceClient::new(channel).transfer_leader(request).await;
    let leader = hex(session.change(TransferLeaderRequest { node_id: to.unwrap_or(0) }, ask).await?.leader_id);
    Ok(Sheet::of("LeaderTransferred", [json!({ "leader_id": leader })]).with(&["LEADER"], vec![vec![leader]]))
}
