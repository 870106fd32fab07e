//! `reversal resolve`.

use serde_json::json;
use switch_proto::operator::v1::{self as pb, reversal_service_client::ReversalServiceClient};

use super::{Resolution, gateway_of};
use crate::{cli::Global, failure::Failure, output::Sheet, session::Session};

pub(super) async fn resolve(
    global: &Global,
    attempt_id: String,
    resolution: Resolution,
    evidence: String,
) -> Result<Sheet, Failure> {
    let resolution = match resolution {
        Resolution::Reversed => pb::Resolution::Reversed,
        Resolution::Stands => pb::Resolution::Stands,
    };
    let request = pb::ResolveReversalRequest {
        gateway_id: gateway_of(&attempt_id)?,
        attempt_id: attempt_id.clone(),
        resolution: resolution.into(),
        evidence,
    };
    let session = Session::new(global)?;
    let ask = async |channel, request| ReversalServiceClient::new(channel).resolve_reversal(request).await;
    let proposal = session.change(request, ask).await?.proposal_id;
    let item = json!({ "attempt_id": attempt_id, "proposal_id": proposal });
    Ok(Sheet::of("ResolutionProposed", [item]).with(&["ATTEMPT", "PROPOSAL"], vec![vec![attempt_id, proposal]]))
}
