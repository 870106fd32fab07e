//! `cluster bootstrap`.

use serde_json::json;
use switch_proto::operator::v1::{BootstrapRequest, cluster_service_client::ClusterServiceClient};

use crate::{
    cli::Global,
    commands::confirm,
    failure::Failure,
    output::{Sheet, hex},
    session::Session,
};

pub(super) async fn bootstrap(global: &Global) -> Result<Sheet, Failure> {
    confirm(global, "a new cluster is formed: only right where none of the nodes ever belonged to one")?;
    let session = Session::new(global)?;
    let ask = async |channel, request| ClusterServiceClient::new(channel).bootstrap(request).await;
    let cluster = hex(session.change(BootstrapRequest {}, ask).await?.cluster_id);
    Ok(Sheet::of("Bootstrap", [json!({ "cluster_id": cluster })]).with(&["CLUSTER"], vec![vec![cluster]]))
}
