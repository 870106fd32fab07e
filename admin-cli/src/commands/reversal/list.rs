//! `reversal list`.

use serde_json::{Value, json};
use switch_proto::operator::v1::{
    ListReversalsRequest, OwedMessage, ProposedResolution, Resolution, reversal_service_client::ReversalServiceClient,
};

use crate::{
    cli::Global,
    commands::pages,
    failure::Failure,
    output::{Sheet, time},
    session::Session,
};

pub(super) async fn list(global: &Global, parked_only: bool, limit: usize) -> Result<Sheet, Failure> {
    let session = Session::new(global)?;
    let ask = async |channel, request| ReversalServiceClient::new(channel).list_reversals(request).await;
    let (owed, is_cut) = pages(limit, async |page_size, page_token| {
        let page = session.read(ListReversalsRequest { page_size, page_token, parked_only }, ask).await?;
        Ok((page.owed, page.next_page_token))
    })
    .await?;
    if is_cut {
        global.talk().say(format_args!("there are more: these are the first {}", owed.len()));
    }
    Ok(sheet(&owed))
}

pub(super) fn sheet(owed: &[OwedMessage]) -> Sheet {
    Sheet::of("ReversalList", owed.iter().map(item))
        .with(
            &[
                "ATTEMPT",
                "LINK",
                "KIND",
                "STATE",
                "MINOR UNITS",
                "CURRENCY",
                "SINCE",
                "PROPOSED",
                "AS",
                "BY",
                "EVIDENCE",
            ],
            owed.iter().map(row).collect(),
        )
        .named("reversal", owed.iter().map(|owed| &owed.attempt_id))
}

fn row(owed: &OwedMessage) -> Vec<String> {
    let mut row = vec![
        owed.attempt_id.clone(),
        owed.link_id.clone(),
        owed.kind.clone(),
        owed.state.clone(),
        owed.amount_minor_units.to_string(),
        owed.currency_code.clone(),
        time(owed.since_unix_ms),
    ];
    row.extend(match &owed.proposed {
        Some(proposed) => {
            [proposed.proposal_id.clone(), how(proposed).to_owned(), proposed.author.clone(), proposed.evidence.clone()]
        }
        None => ["-"; 4].map(str::to_owned),
    });
    row
}

/// As `reversal resolve --as` takes it.
fn how(proposed: &ProposedResolution) -> &'static str {
    match proposed.resolution() {
        Resolution::Reversed => "reversed",
        Resolution::Stands => "stands",
        Resolution::Unspecified => "",
    }
}

fn item(owed: &OwedMessage) -> Value {
    let OwedMessage {
        gateway_id,
        transaction_id,
        attempt_id,
        link_id,
        kind,
        state,
        amount_minor_units,
        currency_code,
        since_unix_ms,
        proposed,
    } = owed;
    let proposed = proposed.as_ref().map(|proposed| {
        json!({
            "proposal_id": proposed.proposal_id,
            "resolution": how(proposed),
            "author": proposed.author,
            "evidence": proposed.evidence,
            "since_unix_ms": proposed.since_unix_ms,
            "expires_unix_ms": proposed.expires_unix_ms,
        })
    });
    json!({
        "gateway_id": gateway_id,
        "transaction_id": transaction_id,
        "attempt_id": attempt_id,
        "link_id": link_id,
        "kind": kind,
        "state": state,
        "amount_minor_units": amount_minor_units,
        "currency_code": currency_code,
        "since_unix_ms": since_unix_ms,
        "proposed": proposed,
    })
}
