//! `transaction get`.

use switch_proto::operator::v1::{
    GetTransactionRequest, TransactionRecord, get_transaction_request::By,
    transaction_service_client::TransactionServiceClient,
};

use super::{COLUMNS, item, row};
use crate::{
    cli::Global,
    failure::Failure,
    output::{Sheet, or_dash},
    session::Session,
};

pub(super) async fn get(
    global: &Global,
    gateway: &str,
    transaction: Option<&str>,
    key: Option<&str>,
) -> Result<Sheet, Failure> {
    let by = match (transaction, key) {
        (_, Some(key)) => By::RequestId(key.to_owned()),
        (Some(id), None) => By::TransactionId(id.to_owned()),
        (None, None) => return Err(Failure::usage("give a transaction's id, or --asked-with")),
    };
    let session = Session::new(global)?;
    let ask = async |channel, request| TransactionServiceClient::new(channel).get_transaction(request).await;
    let request = GetTransactionRequest { gateway_id: gateway.to_owned(), by: Some(by) };
    Ok(sheet(&session.read(request, ask).await?.transaction.unwrap_or_default()))
}

pub(super) fn sheet(transaction: &TransactionRecord) -> Sheet {
    let operations = transaction.operations.iter().map(|asked| {
        vec![
            asked.request_id.clone(),
            asked.method.clone(),
            asked.amount_minor_units.to_string(),
            or_dash(&asked.decision),
            asked.approved_minor_units.to_string(),
            or_dash(&asked.approval_code),
            or_dash(&asked.network_state),
        ]
    });
    let attempts = transaction.operations.iter().flat_map(|asked| &asked.attempts).map(|attempt| {
        vec![
            attempt.attempt_id.clone(),
            attempt.network_id.clone(),
            attempt.state.clone(),
            or_dash(&attempt.response_code),
            attempt.approved_minor_units.to_string(),
            attempt.reversal_state.clone(),
            attempt.system_trace_audit_number.to_string(),
        ]
    });
    Sheet::of("TransactionList", [item(transaction)])
        .with(COLUMNS, vec![row(transaction)])
        .with(&["KEY", "METHOD", "ASKED", "DECISION", "APPROVED", "CODE", "ADVICE"], operations.collect())
        .with(&["ATTEMPT", "NETWORK", "STATE", "CODE", "APPROVED", "REVERSAL", "STAN"], attempts.collect())
        .named("transaction", [&transaction.transaction_id])
}

#[cfg(test)]
mod tests {
    use switch_proto::operator::v1::{AttemptRecord, OperationRecord};

    use super::*;

    #[test]
    fn a_transaction_shows_what_was_asked_and_what_came_of_it() {
        let attempt = AttemptRecord {
            attempt_id: "shop:T-0-1".into(),
            network_id: "visa".into(),
            state: "TIMED_OUT".into(),
            reversal_state: "PENDING".into(),
            system_trace_audit_number: 17,
            ..AttemptRecord::default()
        };
        let asked = OperationRecord {
            request_id: "order-1".into(),
            method: "AUTHORIZE".into(),
            amount_minor_units: 1_999,
            decision: "TIMED_OUT".into(),
            attempts: vec![attempt],
            ..OperationRecord::default()
        };
        let transaction = TransactionRecord {
            transaction_id: "T".into(),
            status: "TIMED_OUT".into(),
            currency_code: "EUR".into(),
            created_unix_ms: 1_790_000_000_123,
            operations: vec![asked],
            ..TransactionRecord::default()
        };
        let expected = "\
TRANSACTION  STATUS     CURRENCY  AUTHORIZED  CAPTURED  REFUNDED  HELD  CREATED
T            TIMED_OUT  EUR       0           0         0         0     2026-09-21T14:13:20.123Z

KEY      METHOD     ASKED  DECISION   APPROVED  CODE  ADVICE
order-1  AUTHORIZE  1999   TIMED_OUT  0         -     -

ATTEMPT     NETWORK  STATE      CODE  APPROVED  REVERSAL  STAN
shop:T-0-1  visa     TIMED_OUT  -     0         PENDING   17
";
        assert_eq!(sheet(&transaction).table(), expected);
    }
}
