//! Answers of `transaction`.

use switch_proto::operator::v1::{AttemptRecord, OperationRecord, TransactionEvent, TransactionRecord};

use super::{get, list, tail};
use crate::commands::samples::{ATTEMPT, Sample, TIME_UNIX_MS, TRANSACTION, each_format};

fn transaction() -> TransactionRecord {
    let attempt = AttemptRecord {
        attempt_id: ATTEMPT.into(),
        network_id: "visa".into(),
        state: "APPROVED".into(),
        response_code: "00".into(),
        approved_minor_units: 1_999,
        reversal_state: "NONE".into(),
        reversed_minor_units: 0,
        system_trace_audit_number: 17,
        late_approval: false,
        opened_index: 1_201,
    };
    let authorized = OperationRecord {
        request_id: "order-1".into(),
        method: "AUTHORIZE".into(),
        amount_minor_units: 1_999,
        decision: "APPROVED".into(),
        approved_minor_units: 1_999,
        approval_code: "A1B2C3".into(),
        journal_index: 1_203,
        journal_position: 2,
        attempts: vec![attempt],
        network_state: String::new(),
    };
    let captured = OperationRecord {
        request_id: "order-1-capture".into(),
        method: "CAPTURE".into(),
        amount_minor_units: 1_999,
        decision: "APPROVED".into(),
        approved_minor_units: 1_999,
        approval_code: String::new(),
        journal_index: 1_206,
        journal_position: 0,
        attempts: vec![],
        network_state: "ACKNOWLEDGED".into(),
    };
    TransactionRecord {
        gateway_id: "shop".into(),
        transaction_id: TRANSACTION.into(),
        currency_code: "EUR".into(),
        operations: vec![authorized, captured],
        authorized_minor_units: 1_999,
        captured_minor_units: 1_999,
        refunded_minor_units: 0,
        held_minor_units: 0,
        revision: 3,
        status: "CAPTURED".into(),
        created_unix_ms: TIME_UNIX_MS,
        merchant_id: "BOOKS".into(),
    }
}

pub(in crate::commands) fn all() -> Vec<Sample> {
    let timed_out = TransactionRecord {
        transaction_id: "01KPD2Z5M8Q9V3M8T5R7W1A4BB".into(),
        operations: vec![],
        authorized_minor_units: 0,
        captured_minor_units: 0,
        status: "TIMED_OUT".into(),
        created_unix_ms: TIME_UNIX_MS - 1_000,
        ..transaction()
    };
    let event = TransactionEvent {
        transaction_id: TRANSACTION.into(),
        revision: 2,
        status: "AUTHORIZED".into(),
        request_id: "order-1".into(),
        method: "AUTHORIZE".into(),
        decision: "APPROVED".into(),
        reversal_state: String::new(),
        network_state: String::new(),
        time_unix_ms: TIME_UNIX_MS,
    };
    vec![
        Sample::of("transaction get", get::sheet(&transaction())),
        Sample::of("transaction list", list::sheet(&[transaction(), timed_out])),
        Sample::text("transaction tail", each_format(|output| tail::text(&event, output).expect("a text"))),
    ]
}
