//! The judge. It joins three accounts of what happened and shares no code with the product but the contracts:
//!
//! * **H** what gateways were told ([`crate::history`]),
//! * **N** what the card networks booked ([`evidence::Books`]),
//! * **R** what the journal of every node holds ([`evidence::Export`]).
//!
//! The invariants are numbered as in `tests/README.md`; each has a file of its own:
//!
//! | | says | file |
//! |---|---|---|
//! | S1 | one key, one charge | `checks/single_charge.rs` |
//! | S2, R21 | N, R and H agree on held, captured and refunded, to the minor unit | `checks/money.rs` |
//! | S3 | what was told once is read for ever | `checks/reads.rs` |
//! | S4, R16 | one key, one answer; another request under it is refused | `checks/same_answer.rs` |
//! | S5, R1 | what the network received stands in the journal, as it was sent | `checks/intent.rs` |
//! | S6, R3 | what was told stands in the journal; what was refused does not | `checks/told.rs` |
//! | S7 | no invented approval, no approval behind a told decline | `checks/invented.rs` |
//! | S8, S9, R13 | what was not answered, or came late, is reversed and acknowledged | `checks/reversals.rs` |
//! | S10 | what was decided later stands later in the journal | `checks/order.rs` |
//! | S11 | every node holds the same | `checks/replicas.rs` |
//! | — | what the networks complain about | `checks/complaints.rs` |
//!
//! Three verdicts: `unknown` is not a weaker `valid`. Something that is still open, parked or unresolved when everything
//! should be at rest is listed with its amount, and the run has failed.

use self::{
    evidence::Evidence,
    joined::Joined,
    report::{Findings, Report},
};

mod checks;
pub mod collect;
pub mod evidence;
mod joined;
pub mod report;
#[cfg(test)]
mod tests;

/// What is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Every transaction of the cluster and every entry of the networks: nothing else has used them.
    Everything,
    /// Transactions that this history names: the cluster serves others meanwhile.
    Told,
    /// What gateways were told, and nothing else: the journal or the networks' books are not at hand. Never `valid`.
    Answers,
}

/// Judges what happened. The order of the checks is the order of the report.
pub fn audit(evidence: &Evidence, scope: Scope) -> Report {
    let mut findings = Findings::default();
    let joined = Joined::new(evidence, scope);
    if joined.calls().is_empty() && joined.records().is_empty() {
        findings.unknown("H", "the history is empty", "nothing was asked, so nothing was shown".to_owned(), None);
    }
    if scope == Scope::Answers {
        let missing = "neither the journal nor the networks' books are at hand to compare with".to_owned();
        findings.unknown("S2", "what was told", missing, None);
        checks::reads::check(&joined, &mut findings);
        checks::same_answer::check(&joined, &mut findings);
        checks::order::check(&joined, &mut findings);
        return findings.into_report(&joined);
    }
    checks::replicas::check(evidence, &mut findings);
    checks::single_charge::check(&joined, &mut findings);
    checks::money::check(&joined, &mut findings);
    checks::reads::check(&joined, &mut findings);
    checks::same_answer::check(&joined, &mut findings);
    checks::intent::check(&joined, &mut findings);
    checks::told::check(&joined, &mut findings);
    checks::invented::check(&joined, &mut findings);
    checks::reversals::check(&joined, &mut findings);
    checks::order::check(&joined, &mut findings);
    checks::complaints::check(&joined, &mut findings);
    findings.into_report(&joined)
}
