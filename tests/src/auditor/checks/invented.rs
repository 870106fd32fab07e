//! S7: an approval that was told was given by the network, for that amount and with that code; behind anything else no
//! approval stands.

use switch_proto::gateway::v1::{Decision, ReversalState};

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
                match attempt.state {
                    AttemptState::Approved => given(joined, record, operation, attempt, findings),
                    AttemptState::Declined => declined(joined, attempt, findings),
                    AttemptState::Open | AttemptState::NotSent | AttemptState::TimedOut | AttemptState::Invalid => {}
                }
            }
            let asks = matches!(operation.method, Method::Authorize | Method::Increment | Method::Refund);
            let approved = operation.attempts.iter().any(|attempt| attempt.state == AttemptState::Approved);
            if asks && operation.granted() && !approved {
                let text = format!("{:?} {} is approved by no attempt", operation.method, operation.request_id);
                findings.broken("S7", &record.id, text);
            }
            if asks && !operation.granted() && operation.decision != Decision::Unspecified {
                nothing_stands(joined, record, operation, findings);
            }
        }
    }
}

/// What we hold for an approval is what the network gave.
fn given(joined: &Joined<'_>, record: &Record, operation: &Operation, attempt: &Attempt, findings: &mut Findings) {
    let Some((books, booked)) = joined.booked(&attempt.id).first() else {
        let text = format!("approved by {}, which never received attempt {}", attempt.network, attempt.id);
        findings.broken("S7", &record.id, text);
        return;
    };
    if booked.approved == 0 && operation.method != Method::Verify {
        let text = format!("{} answered {} and approved nothing", books.network, booked.response_code);
        findings.broken("S7", &record.id, text);
    } else if booked.approved != attempt.approved && operation.method != Method::Verify {
        let text = format!("{} approved {}, the journal has {}", books.network, booked.approved, attempt.approved);
        findings.broken("S7", &record.id, text);
    }
    if operation.granted() && booked.approval_code != operation.approval_code {
        let text = format!(
            "{} gave code {:?}, the journal has {:?}",
            books.network, booked.approval_code, operation.approval_code
        );
        findings.broken("S7", &record.id, text);
    }
}

/// A network's no was a no there too.
fn declined(joined: &Joined<'_>, attempt: &Attempt, findings: &mut Findings) {
    for (books, booked) in joined.booked(&attempt.id) {
        if booked.standing() > 0 {
            let text = format!(
                "declined with {} in the journal, answered {} and standing at {}",
                attempt.response_code, booked.response_code, books.network
            );
            findings.broken("S7", &attempt.id, text);
        }
    }
}

/// Behind a told decline, void or time-out no approval stands at rest.
fn nothing_stands(joined: &Joined<'_>, record: &Record, operation: &Operation, findings: &mut Findings) {
    for attempt in &operation.attempts {
        let settled =
            matches!(attempt.reversal, ReversalState::Pending | ReversalState::Parked | ReversalState::Resolved);
        for (books, booked) in joined.booked(&attempt.id) {
            if !settled && booked.standing() > 0 {
                let text = format!(
                    "{:?} {} was told {:?}, and {} {} stand at {}",
                    operation.method,
                    operation.request_id,
                    operation.decision,
                    booked.standing(),
                    booked.currency,
                    books.network
                );
                findings.broken("S7", &record.id, text);
            }
        }
    }
}
