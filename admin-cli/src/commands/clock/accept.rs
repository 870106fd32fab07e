//! `clock accept`.

use serde_json::json;
use switch_proto::operator::v1::{AcceptClockRequest, cluster_service_client::ClusterServiceClient};

use crate::{cli::Global, commands::confirm, failure::Failure, output::Sheet, session::Session};

pub(super) async fn accept(global: &Global, seen_wall_unix_ms: i64, reason: String) -> Result<Sheet, Failure> {
    confirm(
        global,
        "the leader's wall clock is taken for right: deletion by age goes on, and where it is ahead log time moves to it when the \
         next term begins, and never back",
    )?;
    let session = Session::new(global)?;
    let ask = async |channel, request| ClusterServiceClient::new(channel).accept_clock(request).await;
    session.change(AcceptClockRequest { seen_wall_unix_ms, reason }, ask).await?;
    let rows = vec![vec![seen_wall_unix_ms.to_string()]];
    Ok(Sheet::of("ClockAccepted", [json!({ "seen_wall_unix_ms": seen_wall_unix_ms })]).with(&["ACCEPTED"], rows))
}
