//! `member list`.

use switch_proto::operator::v1::Member;

use super::{COLUMNS, item, role, row};
use crate::{
    cli::Global,
    failure::Failure,
    output::{Sheet, hex, or_dash},
    session::Session,
};

pub(super) async fn list(global: &Global) -> Result<Sheet, Failure> {
    Ok(sheet(&Session::new(global)?.status().await?.members))
}

pub(super) fn sheet(members: &[Member]) -> Sheet {
    let wide = members.iter().map(|member| {
        vec![
            hex(member.node_id),
            role(member).to_owned(),
            member.peer_address.clone(),
            or_dash(&member.gateway_address),
            or_dash(&member.operator_address),
            member.matched_index.map_or_else(|| "-".to_owned(), |index| index.to_string()),
        ]
    });
    Sheet::of("MemberList", members.iter().map(item))
        .with(COLUMNS, members.iter().map(row).collect())
        .wide(&["NODE", "ROLE", "PEER", "GATEWAY", "OPERATOR", "MATCHED"], wide.collect())
        .named("member", members.iter().map(|member| hex(member.node_id)))
}
