//! `reversal confirm`.

use switch_proto::operator::v1::{ConfirmResolutionRequest, reversal_service_client::ReversalServiceClient};

use super::{done, gateway_of};
use crate::{cli::Global, commands, failure::Failure, output::Sheet, session::Session};

pub(super) async fn confirm(global: &Global, attempt_id: String, proposal_id: String) -> Result<Sheet, Failure> {
    commands::confirm(global, &format!("{attempt_id} is closed for good as proposal {proposal_id} says"))?;
    let gateway_id = gateway_of(&attempt_id)?;
    let request = ConfirmResolutionRequest { gateway_id, attempt_id: attempt_id.clone(), proposal_id };
    let session = Session::new(global)?;
    let ask = async |channel, request| ReversalServiceClient::new(channel).confirm_resolution(request).await;
    session.change(request, ask).await?;
    Ok(done("ReversalResolved", attempt_id))
}
