//! S10: of two decisions, one told before the other was asked for, the first stands first in the journal.

use crate::{
    auditor::{joined::Joined, report::Findings},
    history::{Invocation, Outcome, Told},
};

pub(in crate::auditor) fn check(joined: &Joined<'_>, findings: &mut Findings) {
    let mut told: Vec<(&Invocation, &Told)> = joined
        .calls()
        .iter()
        .filter_map(|call| call.outcome.told().map(|told| (call, told)))
        // A refusal before the journal stands nowhere in it.
        .filter(|(_, told)| told.journal_index != 0)
        .collect();
    let mut begun = told.clone();
    told.sort_by_key(|(call, _)| call.returned_us);
    begun.sort_by_key(|(call, _)| call.invoked_us);
    // A sweep over beginnings: what had been told by then, and the furthest of it in the journal.
    let mut ended = told.into_iter().peekable();
    let mut furthest: Option<(&Invocation, &Told)> = None;
    for (call, answer) in begun {
        while let Some(earlier) = ended.next_if(|(earlier, _)| earlier.returned_us < call.invoked_us) {
            if furthest.is_none_or(|(_, known)| known.witness() < earlier.1.witness()) {
                furthest = Some(earlier);
            }
        }
        let Some((earlier, known)) = furthest else { continue };
        // A stored answer was decided whenever it was decided.
        let fresh = matches!(call.outcome, Outcome::Ok { replayed: false, .. });
        if fresh && answer.witness() <= known.witness() {
            let text = format!(
                "asked at {} µs and decided at {:?}; {} had been told by {} µs and stands at {:?}",
                call.invoked_us,
                answer.witness(),
                earlier.request_id,
                earlier.returned_us,
                known.witness()
            );
            findings.broken("S10", &call.request_id, text);
        }
    }
}
