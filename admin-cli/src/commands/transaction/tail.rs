//! `transaction tail`: changes in the order of the journal, none left out, until somebody has seen enough.

use std::time::Duration;

use serde_json::{Value, json};
use switch_proto::operator::v1::{
    ListTransactionEventsRequest, TransactionEvent, transaction_service_client::TransactionServiceClient,
};

use crate::{
    cli::{Global, Output},
    failure::Failure,
    output::{Sheet, line, or_dash, time, yaml},
    print,
    session::Session,
};

pub(super) async fn tail(global: &Global, gateway: &str, count: Option<u64>) -> Result<Sheet, Failure> {
    let mut page_token = String::new();
    let mut shown = 0;
    loop {
        // Each look has the command's time.
        let session = Session::new(global)?;
        let ask =
            async |channel, request| TransactionServiceClient::new(channel).list_transaction_events(request).await;
        let request = ListTransactionEventsRequest { gateway_id: gateway.to_owned(), page_token };
        let page = session.read(request, ask).await?;
        page_token = page.next_page_token;
        if page.events.is_empty() {
            tokio::time::sleep(LOOK).await;
        }
        for event in &page.events {
            print(&text(event, global.output)?)?;
            shown += 1;
            if count.is_some_and(|count| shown >= count) {
                return Ok(Sheet::text(String::new()));
            }
        }
    }
}

/// One change as a line, or as a document of its own.
pub(super) fn text(event: &TransactionEvent, output: Output) -> Result<String, Failure> {
    Ok(match output {
        Output::Table | Output::Wide => {
            let TransactionEvent { transaction_id, status, method, request_id, .. } = event;
            let (at, decision) = (time(event.time_unix_ms), or_dash(&event.decision));
            let mut line = format!("{at}  {transaction_id}  {status:<18}  {method:<9}  {decision:<18}  {request_id}");
            for (what, state) in [("reversal", &event.reversal_state), ("advice", &event.network_state)] {
                if !state.is_empty() {
                    line.push_str(&format!("  {what} {state}"));
                }
            }
            line + "\n"
        }
        Output::Json | Output::Jsonl => format!("{}\n", line("TransactionEvent", &item(event))),
        Output::Yaml => format!("---\n{}", yaml(&line("TransactionEvent", &item(event)))?),
        Output::Name => format!("transaction/{}\n", event.transaction_id),
    })
}

fn item(event: &TransactionEvent) -> Value {
    let TransactionEvent {
        transaction_id,
        revision,
        status,
        request_id,
        method,
        decision,
        reversal_state,
        network_state,
        time_unix_ms,
    } = event;
    json!({
        "transaction_id": transaction_id,
        "revision": revision,
        "status": status,
        "request_id": request_id,
        "method": method,
        "decision": decision,
        "reversal_state": reversal_state,
        "network_state": network_state,
        "time_unix_ms": time_unix_ms,
    })
}

/// Between two looks where nothing changes.
const LOOK: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_of_a_change_is_a_line_or_a_document() {
        let event = TransactionEvent {
            transaction_id: "T".into(),
            status: "TIMED_OUT".into(),
            request_id: "order-1".into(),
            method: "AUTHORIZE".into(),
            decision: "TIMED_OUT".into(),
            reversal_state: "PENDING".into(),
            time_unix_ms: 1_790_000_000_123,
            ..TransactionEvent::default()
        };
        let shown = |output| text(&event, output).expect("a text");
        let expected = "2026-09-21T14:13:20.123Z  T  TIMED_OUT           AUTHORIZE  TIMED_OUT           order-1  reversal PENDING\n";
        assert_eq!(shown(Output::Table), expected);
        assert!(
            shown(Output::Jsonl).starts_with(r#"{"apiVersion":"admin.payswitch.io/v1","item":{"decision":"TIMED_OUT""#)
        );
        assert!(shown(Output::Yaml).starts_with("---\napiVersion: admin.payswitch.io/v1\n"));
        assert_eq!(shown(Output::Name), "transaction/T\n");
    }
}
