//! S6 and R3: what was told stands in the journal at its index, with the same fields. What was refused stands nowhere.
//! What nobody was told is looked up there.

use switch_proto::gateway::v1::Decision;

use crate::{
    auditor::{joined::Joined, report::Findings},
    history::{Invocation, Method, Outcome, Told},
};

pub(in crate::auditor) fn check(joined: &Joined<'_>, findings: &mut Findings) {
    for call in joined.calls() {
        if let Some(told) = call.outcome.told() {
            in_the_journal(joined, call, told, findings);
        }
    }
    for key in joined.keys() {
        let subject = format!("{} {}", key.gateway, key.request_id);
        let refused_only = key.calls.iter().all(|call| matches!(call.outcome, Outcome::Fail { .. }));
        let untold = key.calls.iter().all(|call| call.outcome.told().is_none());
        let Some(first) = key.calls.first().filter(|_| untold) else { continue };
        let Some((record, operation)) = joined.operation_of(first) else { continue };
        if refused_only {
            let text = format!("every call was refused, and the journal has {:?} {}", operation.method, record.id);
            findings.broken("S6", &subject, text);
        } else if operation.decision == Decision::Unspecified && operation.method != Method::Verify {
            let text = format!("nobody was told, and {:?} of {} is not decided", operation.method, record.id);
            findings.unknown("S6", &subject, text, Some((operation.amount, record.currency)));
        }
    }
}

fn in_the_journal(joined: &Joined<'_>, call: &Invocation, told: &Told, findings: &mut Findings) {
    let subject = format!("{} {}", call.gateway, call.request_id);
    let Some((record, operation)) = joined.operation_of(call) else {
        // A void that overtook its authorization leaves a tombstone, which is no transaction until that one arrives.
        let unseen = call.method == Method::Void && joined.original_of(call).is_none();
        let tombstone = unseen && call.original.starts_with("key:");
        if !tombstone && !told.is_refusal() {
            let text = format!("{:?} was told, and the journal does not have it: {told:?}", call.method);
            findings.broken("S6", &subject, text);
        }
        return;
    };
    if told.is_refusal() && told.witness() != operation.witness {
        // Refused once, with nothing stored, and accepted later under the same key (R17).
        return;
    }
    let unnamed = call.method == Method::Void && told.transaction_id.is_empty();
    if !unnamed && *told.transaction_id != *record.id {
        let text = format!("told of transaction {}, the journal has {}", told.transaction_id, record.id);
        findings.broken("S6", &subject, text);
    }
    if told.witness() != operation.witness {
        let text = format!("told at {:?}, the journal decided at {:?}", told.witness(), operation.witness);
        findings.broken("S6", &subject, text);
    }
    if told.decision == Decision::Unspecified {
        findings.broken("S6", &subject, "an answer without a decision".to_owned());
    }
    if told.decision != operation.decision {
        let text = format!("told {:?}, the journal has {:?}", told.decision, operation.decision);
        findings.broken("S6", &subject, text);
    }
    let grants = matches!(call.method, Method::Authorize | Method::Increment) && told.approved();
    if grants && told.approved_minor_units != operation.approved {
        let text = format!("told {} approved, the journal has {}", told.approved_minor_units, operation.approved);
        findings.broken("S6", &subject, text);
    }
    if grants && told.approved_currency != record.currency {
        let text = format!("told {} for a transaction in {}", told.approved_currency, record.currency);
        findings.broken("S6", &subject, text);
    }
    if told.approved() && told.approval_code != operation.approval_code {
        let text = format!("told code {:?}, the journal has {:?}", told.approval_code, operation.approval_code);
        findings.broken("S6", &subject, text);
    }
}
