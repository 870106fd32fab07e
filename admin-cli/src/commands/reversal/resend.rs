//! `reversal resend`.

use switch_proto::operator::v1::{ResendReversalRequest, reversal_service_client::ReversalServiceClient};

use super::{done, gateway_of};
use crate::{cli::Global, commands::plan, failure::Failure, output::Sheet, session::Session};

pub(super) async fn resend(global: &Global, attempt_id: &str) -> Result<Sheet, Failure> {
    let request = ResendReversalRequest { gateway_id: gateway_of(attempt_id)?, attempt_id: attempt_id.to_owned() };
    if let Some(plan) = plan(global, &format!("{attempt_id} is sent again at once")) {
        return Ok(plan);
    }
    let session = Session::new(global)?;
    let ask = async |channel, request| ReversalServiceClient::new(channel).resend_reversal(request).await;
    session.change(request, ask).await?;
    Ok(done("ReversalResent", session.request_id(), attempt_id))
}
