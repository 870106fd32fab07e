//! Answers of `reversal`.

use switch_proto::operator::v1::{OwedMessage, ProposedResolution, Resolution};

use super::{done, list, resolve};
use crate::commands::samples::{ATTEMPT, REQUEST_ID, Sample, TIME_UNIX_MS, TRANSACTION};

pub(in crate::commands) fn all() -> Vec<Sample> {
    let parked = OwedMessage {
        gateway_id: "shop".into(),
        transaction_id: TRANSACTION.into(),
        attempt_id: ATTEMPT.into(),
        link_id: "visa-1".into(),
        kind: "reversal".into(),
        state: "PARKED".into(),
        amount_minor_units: 1_999,
        currency_code: "EUR".into(),
        since_unix_ms: TIME_UNIX_MS,
        proposed: None,
    };
    let proposed = ProposedResolution {
        proposal_id: "812.0".into(),
        resolution: Resolution::Reversed.into(),
        author: "spiffe://switch.example/operator/ann".into(),
        evidence: "ticket 17".into(),
        since_unix_ms: TIME_UNIX_MS + 60_000,
        expires_unix_ms: TIME_UNIX_MS + 86_400_000,
    };
    let two = [OwedMessage { proposed: Some(proposed), ..parked.clone() }, parked.clone()];
    vec![
        Sample::of("reversal list", list::sheet(&[parked])),
        Sample::of("reversal list", list::sheet(&two)).case("proposed"),
        Sample::of("reversal resend", done("ReversalResent", REQUEST_ID, ATTEMPT)),
        Sample::of("reversal resolve", resolve::sheet(ATTEMPT, "812.0", REQUEST_ID)),
        Sample::of("reversal confirm", done("ReversalResolved", REQUEST_ID, ATTEMPT)),
        Sample::of("reversal withdraw", done("ResolutionWithdrawn", REQUEST_ID, ATTEMPT)),
    ]
}
