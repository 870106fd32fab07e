//! `member remove`.

use switch_proto::operator::v1::{RemoveMemberRequest, cluster_service_client::ClusterServiceClient};

use super::done;
use crate::{
    cli::Global,
    commands::confirm,
    failure::Failure,
    output::{Sheet, hex},
    session::Session,
};

pub(super) async fn remove(global: &Global, node_id: u64) -> Result<Sheet, Failure> {
    confirm(global, &format!("member {} is removed, and its id never comes back", hex(node_id)))?;
    let session = Session::new(global)?;
    let ask = async |channel, request| ClusterServiceClient::new(channel).remove_member(request).await;
    session.change(RemoveMemberRequest { node_id }, ask).await?;
    Ok(done("MemberRemoved", node_id))
}
