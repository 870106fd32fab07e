//! `reversal resolve`.

use switch_proto::operator::v1::{self as pb, reversal_service_client::ReversalServiceClient};

use super::{Resolution, done, gateway_of};
use crate::{cli::Global, commands::confirm, failure::Failure, output::Sheet, session::Session};

pub(super) async fn resolve(
    global: &Global,
    attempt_id: String,
    resolution: Resolution,
    evidence: String,
) -> Result<Sheet, Failure> {
    let (resolution, words) = match resolution {
        Resolution::Reversed => (pb::Resolution::Reversed, "reversed: the network holds no money for it"),
        Resolution::Stands => (pb::Resolution::Stands, "standing: the network holds the money"),
    };
    let request = pb::ResolveReversalRequest {
        gateway_id: gateway_of(&attempt_id)?,
        attempt_id: attempt_id.clone(),
        resolution: resolution.into(),
        evidence,
    };
    confirm(global, &format!("{attempt_id} is closed for good as {words}"))?;
    let session = Session::new(global)?;
    let ask = async |channel, request| ReversalServiceClient::new(channel).resolve_reversal(request).await;
    session.change(request, ask).await?;
    Ok(done("ReversalResolved", attempt_id))
}
