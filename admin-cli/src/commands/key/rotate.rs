//! `key rotate`.

use std::time::Duration;

use serde_json::json;
use switch_proto::operator::v1::{KeyPurpose, RotateKeyRequest, key_service_client::KeyServiceClient};

use super::Purpose;
use crate::{cli::Global, commands::plan, failure::Failure, output::Sheet, session::Session};

pub(super) async fn rotate(
    global: &Global,
    purpose: Purpose,
    wrapping: Option<u32>,
    overlap: Option<Duration>,
) -> Result<Sheet, Failure> {
    let overlap_s = overlap.map(whole_seconds).transpose()?;
    if let Some(plan) = plan(global, &format!("a new {} key is made and used for what is new", purpose.name())) {
        return Ok(plan);
    }
    let session = Session::new(global)?;
    let request = RotateKeyRequest {
        request_id: session.request_id().to_owned(),
        purpose: KeyPurpose::from(purpose).into(),
        wrapping_version: wrapping.unwrap_or(0),
        overlap_s: overlap_s.unwrap_or(0),
    };
    let ask = async |channel, request| KeyServiceClient::new(channel).rotate_key(request).await;
    let version = session.change(request, ask).await?.version;
    Ok(sheet(purpose, version, session.request_id()))
}

pub(super) fn sheet(purpose: Purpose, version: u32, request_id: &str) -> Sheet {
    let name = purpose.name();
    let item = json!({ "purpose": name, "version": version, "request_id": request_id });
    let row = vec![name.to_owned(), version.to_string(), request_id.to_owned()];
    Sheet::of("KeyRotated", [item])
        .with(&["PURPOSE", "VERSION", "REQUEST ID"], vec![row])
        .named("key", [format!("{name}-{version}")])
}

fn whole_seconds(overlap: Duration) -> Result<u32, Failure> {
    let seconds = u32::try_from(overlap.as_secs()).ok().filter(|_| overlap.subsec_nanos() == 0);
    seconds.ok_or_else(|| Failure::usage("--overlap is a whole number of seconds"))
}
