//! `transaction …`: transactions of a gateway, without card data.

mod get;
mod list;
#[cfg(test)]
pub(super) mod samples;
mod tail;

use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};
use switch_proto::operator::v1::{AttemptRecord, OperationRecord, TransactionRecord};

use crate::{
    cli::{Global, duration},
    failure::Failure,
    output::{Sheet, time},
};

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Shows one with its operations and attempts
    #[command(
        after_help = "Example:\n  $ admin-cli transaction get shop --asked-with order-1\n  TRANSACTION                 STATUS    CURRENCY  AUTHORIZED  CAPTURED  REFUNDED  HELD  CREATED\n  01KPD2Z6X0Q9V3M8T5R7W1A4BC  CAPTURED  EUR       1999        1999      0         0     2026-09-21T14:13:20.123Z\n\n  KEY              METHOD     ASKED  DECISION  APPROVED  CODE    ADVICE\n  order-1          AUTHORIZE  1999   APPROVED  1999      A1B2C3  -\n  order-1-capture  CAPTURE    1999   APPROVED  1999      -       ACKNOWLEDGED\n\n  ATTEMPT                              NETWORK  STATE     CODE  APPROVED  REVERSAL  STAN\n  shop:01KPD2Z6X0Q9V3M8T5R7W1A4BC-0-1  visa     APPROVED  00    1999      NONE      17"
    )]
    Get {
        /// The gateway it belongs to
        #[arg(value_name = "GATEWAY")]
        gateway: String,
        /// Its id
        #[arg(value_name = "TRANSACTION", required_unless_present = "asked_with", conflicts_with = "asked_with")]
        transaction: Option<String>,
        /// The key that its authorization was asked with
        #[arg(id = "asked_with", long = "asked-with", value_name = "KEY")]
        key: Option<String>,
    },
    /// Lists those of a gateway, newest first
    #[command(
        after_help = "Example:\n  $ admin-cli transaction list shop --since 1h --limit 2\n  TRANSACTION                 STATUS     CURRENCY  AUTHORIZED  CAPTURED  REFUNDED  HELD  CREATED\n  01KPD2Z6X0Q9V3M8T5R7W1A4BC  CAPTURED   EUR       1999        1999      0         0     2026-09-21T14:13:20.123Z\n  01KPD2Z5M8Q9V3M8T5R7W1A4BB  TIMED_OUT  EUR       0           0         0         0     2026-09-21T14:13:19.123Z"
    )]
    List {
        /// The gateway
        #[arg(value_name = "GATEWAY")]
        gateway: String,
        /// Only those made in the last so much time, by this machine's clock
        #[arg(long, value_name = "TIME", value_parser = duration)]
        since: Option<Duration>,
        /// Stop after this many
        #[arg(long, default_value_t = 100, value_name = "COUNT")]
        limit: usize,
    },
    /// Shows what changes, as it changes
    #[command(
        after_help = "Example:\n  $ admin-cli transaction tail shop\n  2026-09-21T14:13:20.123Z  01KPD2Z6X0Q9V3M8T5R7W1A4BC  AUTHORIZED          AUTHORIZE  APPROVED            order-1"
    )]
    Tail {
        /// The gateway
        #[arg(value_name = "GATEWAY")]
        gateway: String,
        /// End after so many changes
        #[arg(long, value_name = "COUNT")]
        count: Option<u64>,
    },
}

pub(super) async fn carry_out(global: &Global, verb: &Verb) -> Result<Sheet, Failure> {
    match verb {
        Verb::Get { gateway, transaction, key } => {
            get::get(global, gateway, transaction.as_deref(), key.as_deref()).await
        }
        Verb::List { gateway, since, limit } => list::list(global, gateway, *since, *limit).await,
        Verb::Tail { gateway, count } => tail::tail(global, gateway, *count).await,
    }
}

const COLUMNS: &[&str] =
    &["TRANSACTION", "STATUS", "CURRENCY", "AUTHORIZED", "CAPTURED", "REFUNDED", "HELD", "CREATED"];

fn row(transaction: &TransactionRecord) -> Vec<String> {
    vec![
        transaction.transaction_id.clone(),
        transaction.status.clone(),
        transaction.currency_code.clone(),
        transaction.authorized_minor_units.to_string(),
        transaction.captured_minor_units.to_string(),
        transaction.refunded_minor_units.to_string(),
        transaction.held_minor_units.to_string(),
        time(transaction.created_unix_ms),
    ]
}

fn item(transaction: &TransactionRecord) -> Value {
    let TransactionRecord {
        gateway_id,
        transaction_id,
        currency_code,
        operations,
        authorized_minor_units,
        captured_minor_units,
        refunded_minor_units,
        held_minor_units,
        revision,
        status,
        created_unix_ms,
        merchant_id,
    } = transaction;
    json!({
        "gateway_id": gateway_id,
        "transaction_id": transaction_id,
        "status": status,
        "currency_code": currency_code,
        "authorized_minor_units": authorized_minor_units,
        "captured_minor_units": captured_minor_units,
        "refunded_minor_units": refunded_minor_units,
        "held_minor_units": held_minor_units,
        "revision": revision,
        "created_unix_ms": created_unix_ms,
        "merchant_id": merchant_id,
        "operations": operations.iter().map(operation).collect::<Vec<_>>(),
    })
}

fn operation(asked: &OperationRecord) -> Value {
    let OperationRecord {
        request_id,
        method,
        amount_minor_units,
        decision,
        approved_minor_units,
        approval_code,
        journal_index,
        journal_position,
        attempts,
        network_state,
    } = asked;
    json!({
        "request_id": request_id,
        "method": method,
        "amount_minor_units": amount_minor_units,
        "decision": decision,
        "approved_minor_units": approved_minor_units,
        "approval_code": approval_code,
        "journal_index": journal_index,
        "journal_position": journal_position,
        "network_state": network_state,
        "attempts": attempts.iter().map(attempt).collect::<Vec<_>>(),
    })
}

fn attempt(attempt: &AttemptRecord) -> Value {
    let AttemptRecord {
        attempt_id,
        network_id,
        state,
        response_code,
        approved_minor_units,
        reversal_state,
        reversed_minor_units,
        system_trace_audit_number,
        late_approval,
        opened_index,
    } = attempt;
    json!({
        "attempt_id": attempt_id,
        "network_id": network_id,
        "state": state,
        "response_code": response_code,
        "approved_minor_units": approved_minor_units,
        "reversal_state": reversal_state,
        "reversed_minor_units": reversed_minor_units,
        "system_trace_audit_number": system_trace_audit_number,
        "late_approval": late_approval,
        "opened_index": opened_index,
    })
}
