//! `reversal withdraw`.

use switch_proto::operator::v1::{WithdrawResolutionRequest, reversal_service_client::ReversalServiceClient};

use super::{done, gateway_of};
use crate::{cli::Global, commands::plan, failure::Failure, output::Sheet, session::Session};

pub(super) async fn withdraw(global: &Global, attempt_id: &str, proposal_id: &str) -> Result<Sheet, Failure> {
    let request = WithdrawResolutionRequest {
        gateway_id: gateway_of(attempt_id)?,
        attempt_id: attempt_id.to_owned(),
        proposal_id: proposal_id.to_owned(),
    };
    if let Some(plan) = plan(global, &format!("proposal {proposal_id} for {attempt_id} is withdrawn")) {
        return Ok(plan);
    }
    let session = Session::new(global)?;
    let ask = async |channel, request| ReversalServiceClient::new(channel).withdraw_resolution(request).await;
    session.change(request, ask).await?;
    Ok(done("ResolutionWithdrawn", session.request_id(), attempt_id))
}
