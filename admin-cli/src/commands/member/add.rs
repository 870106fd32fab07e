//! `member add`.

use switch_proto::operator::v1::{AddMemberRequest, cluster_service_client::ClusterServiceClient};

use super::done;
use crate::{cli::Global, commands::plan, failure::Failure, output::Sheet, session::Session};

pub(super) async fn add(global: &Global, peer_address: &str) -> Result<Sheet, Failure> {
    if let Some(plan) = plan(global, &format!("the node at {peer_address} is let in as a learner")) {
        return Ok(plan);
    }
    let session = Session::new(global)?;
    let ask = async |channel, request| ClusterServiceClient::new(channel).add_member(request).await;
    let added = session.change(AddMemberRequest { peer_address: peer_address.to_owned() }, ask).await?;
    Ok(done("MemberAdded", session.request_id(), added.node_id))
}
