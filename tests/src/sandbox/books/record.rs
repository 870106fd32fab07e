//! The books as records, page by page, and what is judged only when they are read.

use super::{
    Books, Kind,
    entry::{AdviceEntry, AttemptEntry, Fact, ReversalEntry, Stamp, text},
};
use crate::sandbox::{
    limits::PAGE_RECORDS,
    proto::{self, ViolationKind, record::Entry},
};

/// Something a switch must never do.
#[derive(Debug)]
pub(super) struct Violation {
    pub(super) kind: ViolationKind,
    pub(super) about: Box<str>,
    pub(super) detail: String,
    pub(super) time_us: i64,
}

/// Where reading has come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cursor {
    section: Section,
    next: usize,
    summary: bool,
}

impl Cursor {
    /// From the start; a summary leaves out what follows the rules.
    pub fn new(summary: bool) -> Self {
        Self { summary, ..Self::default() }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Section {
    #[default]
    Attempts,
    Reversals,
    Advices,
    Violations,
    Totals,
}

/// Whose books are read: what records say that the books do not know.
#[derive(Clone, Copy)]
pub struct Whose<'a> {
    /// Name of the network.
    pub network: &'a str,
    /// Makes the network's transaction id of a sequence number.
    pub transaction_id: &'a dyn Fn(u64) -> String,
}

impl Books {
    /// One page, and where the next begins. Short, since the network waits meanwhile.
    pub fn page(&self, cursor: Cursor, whose: Whose<'_>) -> (Vec<proto::Record>, Option<Cursor>) {
        let Cursor { section, next, summary } = cursor;
        let mut entries = Vec::new();
        let (length, after) = match section {
            Section::Attempts => (self.attempts.len(), Some(Section::Reversals)),
            Section::Reversals => (self.reversals.len(), Some(Section::Advices)),
            Section::Advices => (self.advices.len(), Some(Section::Violations)),
            Section::Violations => (self.violations.len(), Some(Section::Totals)),
            Section::Totals => (self.totals.len(), None),
        };
        let end = length.min(next + PAGE_RECORDS);
        match section {
            Section::Attempts => {
                for (attempt, place) in self.attempts[next.min(end)..end].iter().zip(next..) {
                    if !summary {
                        let id = (whose.transaction_id)(self.forgotten + place as u64);
                        entries.push(Entry::Attempt(self.attempt_record(attempt, place, id)));
                    }
                    entries.extend(self.standing_violation(attempt, place).map(Entry::Violation));
                }
            }
            Section::Reversals if !summary => {
                let page = &self.reversals[next.min(end)..end];
                entries.extend(page.iter().map(|reversal| Entry::Reversal(self.reversal_record(reversal))));
            }
            Section::Advices if !summary => {
                let page = &self.advices[next.min(end)..end];
                entries.extend(page.iter().map(|advice| Entry::Advice(self.advice_record(advice))));
            }
            Section::Reversals | Section::Advices => {}
            Section::Violations => {
                entries.extend(self.violations[next.min(end)..end].iter().map(|violation| {
                    Entry::Violation(proto::Violation {
                        kind: violation.kind.into(),
                        attempt_id: violation.about.to_string(),
                        detail: violation.detail.clone(),
                        time_us: violation.time_us,
                    })
                }));
                if end == length && self.violations_dropped > 0 {
                    entries.push(Entry::Violation(proto::Violation {
                        kind: ViolationKind::BooksFull.into(),
                        detail: format!("{} more violations", self.violations_dropped),
                        ..Default::default()
                    }));
                }
            }
            Section::Totals => {
                entries.extend(self.totals.iter().skip(next).take(end - next).map(|(currency, sums)| {
                    Entry::Total(proto::Total { currency_code: text(currency).into(), sums: Some(sums.into()) })
                }));
            }
        }
        let network = whose.network;
        let records =
            entries.into_iter().map(|entry| proto::Record { network: network.into(), entry: Some(entry) }).collect();
        let next = if end < length {
            Some(Cursor { section, next: end, summary })
        } else {
            after.map(|section| Cursor { section, next: 0, summary })
        };
        (records, next)
    }

    /// What the sums of a transaction must never come to. Judged on reading and not on receipt: a refund may rightly
    /// overtake the advice of its capture.
    fn standing_violation(&self, attempt: &AttemptEntry, place: usize) -> Option<proto::Violation> {
        if attempt.root as usize != place {
            return None;
        }
        let sums = &attempt.sums;
        let stands = sums.approved - sums.reversed;
        let tolerance = i128::from(stands) * i128::from(self.policy.capture_tolerance_basis_points) / 10_000;
        let (kind, detail) = if i128::from(sums.captured) > i128::from(stands) + tolerance {
            let detail = format!("captured {}, {stands} stands, tolerance {tolerance}", sums.captured);
            (ViolationKind::CaptureBeyondApproval, detail)
        } else if sums.released > 0 && i128::from(sums.held()) < -tolerance.max(0) {
            let detail = format!("released {} of {}", sums.released, stands - sums.captured);
            (ViolationKind::ReleaseBeyondHold, detail)
        } else if sums.refunded > sums.captured {
            let detail = format!("refunded {}, captured {}", sums.refunded, sums.captured);
            (ViolationKind::RefundBeyondCapture, detail)
        } else {
            return None;
        };
        Some(proto::Violation { kind: kind.into(), attempt_id: attempt.attempt_id.to_string(), detail, time_us: 0 })
    }

    fn attempt_record(&self, attempt: &AttemptEntry, place: usize, transaction_id: String) -> proto::Attempt {
        let is_root = attempt.root as usize == place;
        let original = &self.attempts[attempt.root as usize];
        proto::Attempt {
            identity: Some(self.identity(&attempt.attempt_id, &attempt.stamp)),
            message_class: if attempt.single_message {
                proto::MessageClass::Financial.into()
            } else {
                proto::MessageClass::Authorization.into()
            },
            purpose: match attempt.kind {
                Kind::Hold | Kind::Sale => proto::Purpose::Purchase.into(),
                Kind::Increment => proto::Purpose::Increment.into(),
                Kind::Refund => proto::Purpose::Refund.into(),
                Kind::Verification => proto::Purpose::Verification.into(),
            },
            amount_minor_units: attempt.amount,
            currency_code: text(&attempt.currency).into(),
            card_token: format!("{:016x}", attempt.card.token),
            card_last4: text(&attempt.card.last4).into(),
            merchant_id: self.names.name(attempt.merchant).into(),
            original_attempt_id: if is_root { String::new() } else { original.attempt_id.to_string() },
            response_code: attempt.code.as_str().into(),
            approval_code: text(&attempt.approval_code).trim().into(),
            approved_minor_units: attempt.approved,
            reversed_minor_units: attempt.reversed,
            network_transaction_id: transaction_id,
            received_time_us: attempt.received_us,
            copy: attempt.copy.into(),
            delivery: attempt.delivery.into(),
            killed: attempt.killed,
            sums: is_root.then(|| (&attempt.sums).into()),
            credentials: attempt.credentials.as_deref().cloned(),
        }
    }

    fn reversal_record(&self, reversal: &ReversalEntry) -> proto::Reversal {
        let Fact { copies, repeats, unequal, answered, first_us, last_us, .. } = reversal.fact;
        proto::Reversal {
            identity: Some(self.identity(&reversal.fact.message_id, &reversal.fact.stamp)),
            original_attempt_id: reversal.fact.original_id.to_string(),
            requested_minor_units: reversal.requested,
            approved_minor_units: reversal.approved,
            reversed_minor_units: reversal.reversed,
            currency_code: text(&reversal.fact.currency).into(),
            reason: reversal.reason.into(),
            undone_minor_units: reversal.undone,
            response_code: reversal.fact.code.as_str().into(),
            copies,
            repeats,
            unequal,
            answered,
            first_time_us: first_us,
            last_time_us: last_us,
            came_first: reversal.came_first,
        }
    }

    fn advice_record(&self, advice: &AdviceEntry) -> proto::Advice {
        let Fact { copies, repeats, unequal, answered, first_us, last_us, settled, .. } = advice.fact;
        proto::Advice {
            identity: Some(self.identity(&advice.fact.message_id, &advice.fact.stamp)),
            original_attempt_id: advice.fact.original_id.to_string(),
            amount_minor_units: advice.amount,
            currency_code: text(&advice.fact.currency).into(),
            r#final: advice.last,
            response_code: advice.fact.code.as_str().into(),
            booked: settled,
            copies,
            repeats,
            unequal,
            answered,
            first_time_us: first_us,
            last_time_us: last_us,
        }
    }

    fn identity(&self, id: &str, stamp: &Stamp) -> proto::Identity {
        let Stamp { acquirer, trace, reference, time } = stamp;
        proto::Identity {
            attempt_id: id.into(),
            system_trace_audit_number: *trace,
            retrieval_reference_number: text(reference).into(),
            transmission_time: text(time).into(),
            acquirer_id: self.names.name(*acquirer).into(),
        }
    }
}
