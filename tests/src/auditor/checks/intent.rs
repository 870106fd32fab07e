//! S5 and R1: everything a network received stands in the journal, as it was sent, and in that order.

use switch_proto::gateway::v1::ReversalState;

use crate::{
    auditor::{
        evidence::{AttemptState, Booked, Books, Purpose},
        joined::{Intent, Joined},
        report::Findings,
    },
    history::Method,
};

pub(in crate::auditor) fn check(joined: &Joined<'_>, findings: &mut Findings) {
    for books in joined.networks() {
        for booked in &books.attempts {
            match joined.intent(&booked.id) {
                Some(intent) => same(books, booked, intent, findings),
                None => {
                    let text = format!("{} received a request that no journal knows", books.network);
                    findings.broken("S5", &booked.id, text);
                }
            }
        }
        let reversals = books.reversals.iter().map(|reversal| ("a reversal", &reversal.original));
        let advices = books.advices.iter().map(|advice| ("an advice", &advice.original));
        for (what, original) in reversals.chain(advices) {
            if joined.intent(original).is_none() {
                let text = format!("{} received {what} of an attempt that no journal knows", books.network);
                findings.broken("S5", original, text);
            }
        }
    }
    for record in joined.records() {
        for operation in &record.operations {
            for attempt in &operation.attempts {
                if attempt.opened_index == 0 {
                    findings.broken("S5", &attempt.id, "no entry opened this attempt".to_owned());
                }
                if operation.witness.0 != 0 && attempt.opened_index >= operation.witness.0 {
                    let text =
                        format!("opened by entry {}, decided by entry {}", attempt.opened_index, operation.witness.0);
                    findings.broken("S5", &attempt.id, text);
                }
            }
        }
    }
}

/// The frame says what the journal says.
fn same(books: &Books, booked: &Booked, intent: Intent<'_>, findings: &mut Findings) {
    let Intent { record, operation, attempt } = intent;
    let mut differs = |what: &str, journal: String, network: String| {
        let text = format!("{what}: the journal has {journal}, {} received {network}", books.network);
        findings.broken("S5", &booked.id, text);
    };
    if *attempt.network != *books.network {
        differs("network", attempt.network.to_string(), books.network.to_string());
    }
    // One that left after all, because the sender was held up, is reported and reversed (R13).
    let reversed = !matches!(attempt.reversal, ReversalState::None | ReversalState::Unspecified);
    if attempt.state == AttemptState::NotSent && !reversed {
        differs("sent", "NOT_SENT".to_owned(), "it".to_owned());
    }
    if booked.system_trace_audit_number != attempt.system_trace_audit_number {
        let ours = attempt.system_trace_audit_number.to_string();
        differs("trace number", ours, booked.system_trace_audit_number.to_string());
    }
    let purpose = match operation.method {
        Method::Authorize => Purpose::Purchase,
        Method::Increment => Purpose::Increment,
        Method::Refund => Purpose::Refund,
        Method::Verify => Purpose::Verification,
        Method::Capture | Method::Void => {
            differs("method", format!("{:?}", operation.method), format!("a {:?} request", booked.purpose));
            return;
        }
    };
    if booked.purpose != purpose {
        differs("purpose", format!("{purpose:?}"), format!("{:?}", booked.purpose));
    }
    if purpose != Purpose::Verification && (booked.amount, booked.currency) != (operation.amount, record.currency) {
        let ours = format!("{} {}", operation.amount, record.currency);
        differs("amount", ours, format!("{} {}", booked.amount, booked.currency));
    }
}
