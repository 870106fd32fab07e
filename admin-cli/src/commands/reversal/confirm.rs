//! `reversal confirm`.

use switch_proto::operator::v1::{ConfirmResolutionRequest, reversal_service_client::ReversalServiceClient};

use super::{done, gateway_of};
use crate::{cli::Global, commands::plan, confirmation, failure::Failure, output::Sheet, session::Session};

pub(super) async fn confirm(global: &Global, attempt_id: &str, proposal_id: &str) -> Result<Sheet, Failure> {
    let request = ConfirmResolutionRequest {
        gateway_id: gateway_of(attempt_id)?,
        attempt_id: attempt_id.to_owned(),
        proposal_id: proposal_id.to_owned(),
    };
    let words = format!("{attempt_id} is closed for good as proposal {proposal_id} says");
    if let Some(plan) = plan(global, &words) {
        return Ok(plan);
    }
    confirmation::confirm(global, &words, attempt_id).await?;
    let session = Session::new(global)?;
    let ask = async |channel, request| ReversalServiceClient::new(channel).confirm_resolution(request).await;
    session.change(request, ask).await?;
    Ok(done("ReversalResolved", session.request_id(), attempt_id))
}
