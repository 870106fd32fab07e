//! S8, S9 and R13: what was sent and not answered, and what came late, is reversed, and the network has acknowledged it.
//! What is still owed is listed with its amount.

use switch_proto::gateway::v1::{Decision, NetworkState, ReversalState};

use crate::{
    auditor::{
        evidence::{Attempt, AttemptState, Operation, Record},
        joined::Joined,
        report::Findings,
    },
    history::Method,
};

pub(in crate::auditor) fn check(joined: &Joined<'_>, findings: &mut Findings) {
    for record in joined.records() {
        for operation in &record.operations {
            for attempt in &operation.attempts {
                attempt_ended(joined, record, operation, attempt, findings);
            }
            let money = Some((operation.amount, record.currency));
            match operation.advice {
                NetworkState::Pending | NetworkState::Parked => {
                    let text =
                        format!("advice of {:?} {} is {:?}", operation.method, operation.request_id, operation.advice);
                    findings.unknown("S8", &record.id, text, money);
                }
                NetworkState::Acknowledged if operation.method == Method::Capture => {
                    let first = record.operations.iter().flat_map(|operation| &operation.attempts);
                    let advised = first.flat_map(|attempt| joined.advised(&attempt.id));
                    if !advised.into_iter().any(|advice| advice.booked && advice.amount == operation.amount) {
                        let text =
                            format!("capture {} is acknowledged, and no network booked it", operation.request_id);
                        findings.broken("S8", &record.id, text);
                    }
                }
                NetworkState::Acknowledged | NetworkState::Resolved | NetworkState::Unspecified => {}
            }
            let waits = operation.decision == Decision::Unspecified && operation.method != Method::Verify;
            if waits && operation.attempts.iter().all(|attempt| attempt.state != AttemptState::Open) {
                let text = format!("{:?} {} is not decided", operation.method, operation.request_id);
                findings.unknown("S8", &record.id, text, money);
            }
        }
    }
}

fn attempt_ended(
    joined: &Joined<'_>,
    record: &Record,
    operation: &Operation,
    attempt: &Attempt,
    findings: &mut Findings,
) {
    let money = Some((operation.amount, record.currency));
    let reversed = joined.undone(&attempt.id);
    match attempt.reversal {
        ReversalState::Pending | ReversalState::Parked => {
            let text = format!("reversal of attempt {} is {:?}", attempt.id, attempt.reversal);
            findings.unknown("S8", &record.id, text, money);
        }
        ReversalState::Acknowledged if !reversed.iter().any(|reversal| reversal.acknowledged) => {
            let text = format!("reversal of attempt {} is acknowledged, and {} never did", attempt.id, attempt.network);
            findings.broken("S8", &record.id, text);
        }
        ReversalState::NotFound if !reversed.iter().any(|reversal| reversal.not_found || reversal.acknowledged) => {
            let text =
                format!("reversal of attempt {} found nothing, and {} was not asked", attempt.id, attempt.network);
            findings.broken("R13", &record.id, text);
        }
        ReversalState::Acknowledged
        | ReversalState::NotFound
        | ReversalState::Resolved
        | ReversalState::None
        | ReversalState::Unspecified => {}
    }
    let none = matches!(attempt.reversal, ReversalState::None | ReversalState::Unspecified);
    let exempt = operation.method == Method::Verify || joined.is_never_reversed(&attempt.network);
    match attempt.state {
        AttemptState::Open => {
            let text = format!("attempt {} is open", attempt.id);
            findings.unknown("S8", &record.id, text, money);
        }
        AttemptState::TimedOut | AttemptState::Invalid if none && !exempt => {
            let text = format!("attempt {} ended {:?} and nothing reverses it", attempt.id, attempt.state);
            findings.broken("S8", &record.id, text);
        }
        AttemptState::TimedOut | AttemptState::Invalid if none && operation.method != Method::Verify => {
            let text = format!("attempt {} ended {:?} at a network without reversals", attempt.id, attempt.state);
            findings.unknown("R22", &record.id, text, money);
        }
        AttemptState::TimedOut
        | AttemptState::Invalid
        | AttemptState::Approved
        | AttemptState::Declined
        | AttemptState::NotSent => {}
    }
    let final_state = matches!(attempt.reversal, ReversalState::Acknowledged | ReversalState::NotFound);
    let released = operation.granted();
    if attempt.late_approval && none && !exempt {
        let text = format!("attempt {} was approved late and nothing reverses it", attempt.id);
        findings.broken("S9", &record.id, text);
    }
    for (books, booked) in joined.booked(&attempt.id) {
        if final_state && !released && booked.standing() > 0 {
            let text = format!(
                "reversal of attempt {} is {:?}, and {} {} stand at {}",
                attempt.id,
                attempt.reversal,
                booked.standing(),
                booked.currency,
                books.network
            );
            findings.broken("S9", &record.id, text);
        }
    }
}
