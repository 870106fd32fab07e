//! `member promote`.

use switch_proto::operator::v1::{PromoteMemberRequest, cluster_service_client::ClusterServiceClient};

use super::done;
use crate::{cli::Global, failure::Failure, output::Sheet, session::Session};

pub(super) async fn promote(global: &Global, node_id: u64) -> Result<Sheet, Failure> {
    let session = Session::new(global)?;
    let ask = async |channel, request| ClusterServiceClient::new(channel).promote_member(request).await;
    session.change(PromoteMemberRequest { node_id }, ask).await?;
    Ok(done("MemberPromoted", node_id))
}
