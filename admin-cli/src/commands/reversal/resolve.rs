//! `reversal resolve`.

use serde_json::json;
use switch_proto::operator::v1::{self as pb, reversal_service_client::ReversalServiceClient};

use super::{Resolution, gateway_of};
use crate::{cli::Global, commands::plan, failure::Failure, output::Sheet, session::Session};

pub(super) async fn resolve(
    global: &Global,
    attempt_id: &str,
    resolution: Resolution,
    evidence: &str,
) -> Result<Sheet, Failure> {
    let (resolution, words) = match resolution {
        Resolution::Reversed => (pb::Resolution::Reversed, "reversed: the network holds no money for it"),
        Resolution::Stands => (pb::Resolution::Stands, "standing: the network holds the money"),
    };
    let request = pb::ResolveReversalRequest {
        gateway_id: gateway_of(attempt_id)?,
        attempt_id: attempt_id.to_owned(),
        resolution: resolution.into(),
        evidence: evidence.to_owned(),
    };
    if let Some(plan) = plan(global, &format!("{attempt_id} is proposed to be closed for good as {words}")) {
        return Ok(plan);
    }
    let session = Session::new(global)?;
    let ask = async |channel, request| ReversalServiceClient::new(channel).resolve_reversal(request).await;
    let proposal = session.change(request, ask).await?.proposal_id;
    Ok(sheet(attempt_id, &proposal, session.request_id()))
}

pub(super) fn sheet(attempt_id: &str, proposal_id: &str, request_id: &str) -> Sheet {
    let item = json!({ "attempt_id": attempt_id, "proposal_id": proposal_id, "request_id": request_id });
    let row = [attempt_id, proposal_id, request_id].map(str::to_owned).to_vec();
    Sheet::of("ResolutionProposed", [item])
        .with(&["ATTEMPT", "PROPOSAL", "REQUEST ID"], vec![row])
        .named("reversal", [attempt_id])
}
