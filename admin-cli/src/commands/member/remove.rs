//! `member remove`.

use switch_proto::operator::v1::{RemoveMemberRequest, cluster_service_client::ClusterServiceClient};

use super::{done, voters};
use crate::{
    cli::Global,
    commands::plan,
    confirmation::confirm,
    failure::Failure,
    output::{Sheet, hex},
    session::Session,
};

pub(super) async fn remove(global: &Global, node: u64) -> Result<Sheet, Failure> {
    let members = Session::new(global)?.status().await?.members;
    let then = voters(&members, |member| member.voter && member.node_id != node);
    let words = format!("member {} is removed, and its id never comes back: voters are then {then}", hex(node));
    if let Some(plan) = plan(global, &words) {
        return Ok(plan);
    }
    confirm(global, &words, &hex(node)).await?;
    let session = Session::new(global)?;
    leave(&session, node).await?;
    Ok(done("MemberRemoved", session.request_id(), node))
}

pub(super) async fn leave(session: &Session, node_id: u64) -> Result<(), Failure> {
    let ask = async |channel, request| ClusterServiceClient::new(channel).remove_member(request).await;
    session.change(RemoveMemberRequest { node_id }, ask).await.map(drop)
}
