//! What the auditor found, and what follows from it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::joined::Joined;
use crate::history::Currency;

/// Findings kept in full for each invariant; all are counted.
const SHOWN_MAX: usize = 20;

/// The judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every invariant holds.
    Valid,
    /// At least one does not.
    Invalid,
    /// None is broken, and something is still open, parked or unresolved.
    Unknown,
}

/// One thing that is wrong, or not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Invariant or rule, for example `S1`.
    pub invariant: &'static str,
    /// Transaction, attempt or key that it is about.
    pub subject: String,
    /// What does not fit, with the values.
    pub text: String,
}

/// The judgement with its reasons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The judgement.
    pub verdict: Verdict,
    /// What is wrong, at most 20 for each invariant.
    pub findings: Vec<Finding>,
    /// How much is wrong in all, by invariant.
    pub counts: BTreeMap<&'static str, u64>,
    /// What is not known, at most 20 for each invariant.
    pub unknown: Vec<Finding>,
    /// How much is not known in all, by invariant.
    pub unknown_counts: BTreeMap<&'static str, u64>,
    /// Money that nobody can vouch for, in minor units by currency.
    pub unknown_minor_units: BTreeMap<String, i64>,
    /// Calls judged.
    pub calls: usize,
    /// Transactions judged.
    pub transactions: usize,
    /// Attempts judged in the networks' books.
    pub attempts: usize,
}

impl Report {
    /// True for a valid run.
    pub fn is_valid(&self) -> bool {
        self.verdict == Verdict::Valid
    }

    /// The report in words, for a person.
    pub fn in_words(&self) -> String {
        let mut words = format!(
            "auditor: {:?} ({} calls, {} transactions, {} attempts)",
            self.verdict, self.calls, self.transactions, self.attempts
        );
        for (what, findings, counts) in
            [("broken", &self.findings, &self.counts), ("unknown", &self.unknown, &self.unknown_counts)]
        {
            for (invariant, count) in counts {
                words.push_str(&format!("\n  {invariant} {what} {count} times"));
                for finding in findings.iter().filter(|finding| finding.invariant == *invariant) {
                    words.push_str(&format!("\n    {}: {}", finding.subject, finding.text));
                }
            }
        }
        for (currency, amount) in &self.unknown_minor_units {
            words.push_str(&format!("\n  not known: {amount} {currency} minor units"));
        }
        words
    }
}

/// Collects findings while the checks run.
#[derive(Debug, Default)]
pub(super) struct Findings {
    broken: Vec<Finding>,
    broken_counts: BTreeMap<&'static str, u64>,
    unknown: Vec<Finding>,
    unknown_counts: BTreeMap<&'static str, u64>,
    unknown_minor_units: BTreeMap<String, i64>,
}

impl Findings {
    /// An invariant does not hold.
    pub(super) fn broken(&mut self, invariant: &'static str, subject: &str, text: String) {
        add(&mut self.broken, &mut self.broken_counts, invariant, subject, text);
    }

    /// An invariant cannot be judged; `money` is what is at stake.
    pub(super) fn unknown(
        &mut self,
        invariant: &'static str,
        subject: &str,
        text: String,
        money: Option<(i64, Currency)>,
    ) {
        add(&mut self.unknown, &mut self.unknown_counts, invariant, subject, text);
        if let Some((amount, currency)) = money {
            *self.unknown_minor_units.entry(currency.to_string()).or_default() += amount;
        }
    }

    pub(super) fn into_report(self, joined: &Joined<'_>) -> Report {
        let verdict = match (self.broken.is_empty(), self.unknown.is_empty()) {
            (false, _) => Verdict::Invalid,
            (true, false) => Verdict::Unknown,
            (true, true) => Verdict::Valid,
        };
        Report {
            verdict,
            findings: self.broken,
            counts: self.broken_counts,
            unknown: self.unknown,
            unknown_counts: self.unknown_counts,
            unknown_minor_units: self.unknown_minor_units,
            calls: joined.calls().len(),
            transactions: joined.records().len(),
            attempts: joined.attempts_len(),
        }
    }
}

fn add(
    to: &mut Vec<Finding>,
    counts: &mut BTreeMap<&'static str, u64>,
    invariant: &'static str,
    subject: &str,
    text: String,
) {
    let count = counts.entry(invariant).or_default();
    *count += 1;
    if usize::try_from(*count).is_ok_and(|count| count <= SHOWN_MAX) {
        to.push(Finding { invariant, subject: subject.to_owned(), text });
    }
}
