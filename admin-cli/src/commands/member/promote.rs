//! `member promote`.

use switch_proto::operator::v1::{PromoteMemberRequest, cluster_service_client::ClusterServiceClient};

use super::{done, voters};
use crate::{
    cli::Global,
    commands::{planned, retry},
    failure::Failure,
    output::{Sheet, hex},
    session::Session,
};

pub(super) async fn promote(global: &Global, node: u64, wait: bool) -> Result<Sheet, Failure> {
    let session = Session::new(global)?;
    if global.dry_run {
        let members = session.status().await?.members;
        let then = voters(&members, |member| member.voter || member.node_id == node);
        return Ok(planned(&format!("member {} votes: voters are then {then}", hex(node))));
    }
    let passes = |failure: &Failure| wait && failure.is_any_of(&["MEMBER_BEHIND", "MEMBERSHIP_CHANGE_IN_PROGRESS"]);
    retry(&session, passes, async || vote(&session, node).await).await?;
    Ok(done("MemberPromoted", session.request_id(), node))
}

pub(super) async fn vote(session: &Session, node_id: u64) -> Result<(), Failure> {
    let ask = async |channel, request| ClusterServiceClient::new(channel).promote_member(request).await;
    session.change(PromoteMemberRequest { node_id }, ask).await.map(drop)
}
