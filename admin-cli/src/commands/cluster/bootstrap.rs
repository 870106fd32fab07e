//! `cluster bootstrap`.

use serde_json::json;
use switch_proto::operator::v1::{BootstrapRequest, cluster_service_client::ClusterServiceClient};

use crate::{
    cli::Global,
    commands::plan,
    confirmation::{cluster_name, confirm},
    failure::Failure,
    output::{Sheet, hex},
    session::Session,
};

pub(super) async fn bootstrap(global: &Global) -> Result<Sheet, Failure> {
    let words = "a new cluster is formed: only right where none of the nodes ever belonged to one";
    if let Some(plan) = plan(global, words) {
        return Ok(plan);
    }
    confirm(global, words, cluster_name(global)).await?;
    let session = Session::new(global)?;
    let ask = async |channel, request| ClusterServiceClient::new(channel).bootstrap(request).await;
    let cluster = session.change(BootstrapRequest {}, ask).await?.cluster_id;
    Ok(sheet(cluster, session.request_id()))
}

pub(super) fn sheet(cluster: u64, request_id: &str) -> Sheet {
    let cluster = hex(cluster);
    let item = json!({ "cluster_id": cluster, "request_id": request_id });
    let row = vec![cluster.clone(), request_id.to_owned()];
    Sheet::of("Bootstrap", [item]).with(&["CLUSTER", "REQUEST ID"], vec![row]).named("cluster", [cluster])
}
