//! S4 and R16: one key has one answer; another request under it never gets one.

use std::collections::HashSet;

use crate::auditor::{joined::Joined, report::Findings};

pub(in crate::auditor) fn check(joined: &Joined<'_>, findings: &mut Findings) {
    for key in joined.keys() {
        let answers: Vec<_> =
            key.calls.iter().filter_map(|call| joined.stored(call).map(|told| (call, told))).collect();
        let Some((first_call, first)) = answers.first() else { continue };
        let subject = format!("{} {}", key.gateway, key.request_id);
        let requests: HashSet<_> = answers.iter().map(|(call, _)| call.digest).collect();
        if requests.len() > 1 {
            findings.broken(
                "S4",
                &subject,
                format!("{} different requests under one key were answered", requests.len()),
            );
        }
        if let Some((_, other)) = answers.iter().find(|(_, told)| !told.agrees(first)) {
            findings.broken("S4", &subject, format!("told {first:?} and then {other:?}"));
        }
        // A stored answer cannot be older than the key's first call; a second fresh one means a second decision.
        let fresh = |call: &crate::history::Invocation| {
            matches!(call.outcome, crate::history::Outcome::Ok { replayed: false, .. })
        };
        let late_fresh = answers.iter().find(|(call, _)| fresh(call) && call.invoked_us > first_call.returned_us);
        if let Some((call, _)) = late_fresh {
            let text =
                format!("told at {} µs, and fresh again to a call of {} µs", first_call.returned_us, call.invoked_us);
            findings.broken("S4", &subject, text);
        }
        if let Some((record, operation)) = joined.operation_of(first_call)
            && first_call.amount_minor_units != 0
            && operation.amount != first_call.amount_minor_units
        {
            let text = format!("asked for {}, the journal has {}", first_call.amount_minor_units, operation.amount);
            findings.broken("S4", &record.id, text);
        }
    }
}
