//! `reversal resend`.

use switch_proto::operator::v1::{ResendReversalRequest, reversal_service_client::ReversalServiceClient};

use super::{done, gateway_of};
use crate::{cli::Global, failure::Failure, output::Sheet, session::Session};

pub(super) async fn resend(global: &Global, attempt_id: String) -> Result<Sheet, Failure> {
    let request = ResendReversalRequest { gateway_id: gateway_of(&attempt_id)?, attempt_id: attempt_id.clone() };
    let session = Session::new(global)?;
    let ask = async |channel, request| ReversalServiceClient::new(channel).resend_reversal(request).await;
    session.change(request, ask).await?;
    Ok(done("ReversalResent", attempt_id))
}
