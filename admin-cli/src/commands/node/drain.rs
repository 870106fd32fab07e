//! `node drain`.

use serde_json::json;
use switch_proto::operator::v1::{DrainNodeRequest, DrainNodeResponse, cluster_service_client::ClusterServiceClient};

use crate::{
    cli::Global,
    commands::plan,
    exit::Exit,
    failure::Failure,
    output::{Sheet, hex},
    progress::Progress,
    session::Session,
};

pub(super) async fn drain(global: &Global, node: Option<u64>) -> Result<Sheet, Failure> {
    let session = Session::new(global)?;
    let session = match node {
        Some(node) => {
            let members = session.status().await?.members;
            let member = members.iter().find(|member| member.node_id == node);
            let member = member
                .ok_or_else(|| Failure::local(Exit::NotFound, "NOT_A_MEMBER", format!("{} is no member", hex(node))))?;
            session.at(&member.operator_address)
        }
        None => session.at_the_first(),
    };
    let which = node.map_or_else(|| "the node at the first endpoint".to_owned(), hex);
    if let Some(plan) =
        plan(global, &format!("{which} hands leadership over and leads no more until it is started anew"))
    {
        return Ok(plan);
    }
    let progress = Progress::of("draining", global.talk());
    progress.phase(&format!("{which} hands over and ends its conversations"));
    let ask = async |channel, request| ClusterServiceClient::new(channel).drain_node(request).await;
    let drained = session.change(DrainNodeRequest {}, ask).await?;
    Ok(sheet(&drained, session.request_id()))
}

pub(super) fn sheet(drained: &DrainNodeResponse, request_id: &str) -> Sheet {
    let DrainNodeResponse { node_id, conversations_left } = drained;
    let node = hex(*node_id);
    let item = json!({ "node_id": node, "conversations_left": conversations_left, "request_id": request_id });
    let row = vec![node.clone(), conversations_left.to_string(), request_id.to_owned()];
    let sheet = Sheet::of("NodeDrained", [item])
        .with(&["NODE", "CONVERSATIONS LEFT", "REQUEST ID"], vec![row])
        .named("member", [node]);
    if *conversations_left == 0 { sheet } else { sheet.ending(Exit::Timeout) }
}
