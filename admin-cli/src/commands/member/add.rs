//! `member add`.

use switch_proto::operator::v1::{AddMemberRequest, cluster_service_client::ClusterServiceClient};

use super::done;
use crate::{cli::Global, failure::Failure, output::Sheet, session::Session};

pub(super) async fn add(global: &Global, peer_address: String) -> Result<Sheet, Failure> {
    let session = Session::new(global)?;
    let ask = async |channel, request| ClusterServiceClient::new(channel).add_member(request).await;
    let added = session.change(AddMemberRequest { peer_address }, ask).await?;
    Ok(done("MemberAdded", added.node_id))
}
