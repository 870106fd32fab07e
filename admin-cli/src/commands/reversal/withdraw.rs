//! `reversal withdraw`.

use switch_proto::operator::v1::{WithdrawResolutionRequest, reversal_service_client::ReversalServiceClient};

use super::{done, gateway_of};
use crate::{cli::Global, failure::Failure, output::Sheet, session::Session};

pub(super) async fn withdraw(global: &Global, attempt_id: String, proposal_id: String) -> Result<Sheet, Failure> {
    let gateway_id = gateway_of(&attempt_id)?;
    let request = WithdrawResolutionRequest { gateway_id, attempt_id: attempt_id.clone(), proposal_id };
    let session = Session::new(global)?;
    let ask = async |channel, request| ReversalServiceClient::new(channel).withdraw_resolution(request).await;
    session.change(request, ask).await?;
    Ok(done("ResolutionWithdrawn", attempt_id))
}
