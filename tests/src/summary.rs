//! The object that `dev` and `load` print at their end.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;
use switch_proto::gateway::v1::ReversalState;

use crate::{
    auditor::{
        evidence::Evidence,
        report::{Report, Verdict},
    },
    load::{ByNetwork, Counts, Quantiles},
};

/// Figures and judgement of one run. Names and units are an interface: fields are added, never renamed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Authorizations with a decision, by second of load.
    pub authorizations_per_second: f64,
    /// Latency of authorizations from their (intended) beginning to their answer, repetitions included, microseconds.
    pub p50_us: u64,
    /// 99 of 100 were faster.
    pub p99_us: u64,
    /// 999 of 1000 were faster.
    pub p999_us: u64,
    /// The slowest.
    pub max_us: u64,
    /// Authorizations approved, in full or in part.
    pub approved: u64,
    /// Declined.
    pub declined: u64,
    /// Not answered by the network in time; reversed.
    pub timed_out: u64,
    /// Voided before their answer.
    pub voided: u64,
    /// Never told to the gateway.
    pub outcome_unknown: u64,
    /// Refused with no effect.
    pub refused: u64,
    /// Zero-amount checks.
    pub verified: u64,
    /// Captures, voids, refunds, increments and repeats answered.
    pub followed: u64,
    /// Those never told.
    pub followed_unknown: u64,
    /// Reversals that the networks have acknowledged, or found nothing for.
    pub reversals_acknowledged: u64,
    /// Reversals still owed at the end.
    pub reversals_open: u64,
    /// How often another node, or the same in another term, took the lead.
    pub leader_changes: u64,
    /// From each kill -9 of the leader to the first answer approving a payment begun after it, milliseconds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failover_gaps_ms: Vec<u64>,
    /// Decisions by network.
    pub networks: BTreeMap<String, ByNetwork>,
    /// Seconds of load.
    pub seconds: f64,
    /// `valid`, `invalid` or `unknown`.
    pub auditor: Verdict,
    /// Calls judged.
    pub audited_calls: usize,
    /// Transactions judged.
    pub audited_transactions: usize,
}

/// Reversals acknowledged and still open.
pub fn reversals(evidence: &Evidence) -> (u64, u64) {
    let (mut acknowledged, mut open) = (0, 0);
    let operations = evidence.records.iter().flat_map(|record| &record.operations);
    for attempt in operations.flat_map(|operation| &operation.attempts) {
        match attempt.reversal {
            ReversalState::Acknowledged | ReversalState::NotFound => acknowledged += 1,
            ReversalState::Pending | ReversalState::Parked => open += 1,
            ReversalState::Resolved | ReversalState::None | ReversalState::Unspecified => {}
        }
    }
    (acknowledged, open)
}

impl Summary {
    /// Puts a run together.
    pub fn new(
        counts: Counts,
        latencies: Quantiles,
        load: Duration,
        networks: BTreeMap<String, ByNetwork>,
        (reversals_acknowledged, reversals_open): (u64, u64),
        report: &Report,
    ) -> Self {
        let seconds = load.as_secs_f64().max(1e-3);
        Self {
            authorizations_per_second: (counts.decided() as f64 / seconds * 10.0).round() / 10.0,
            p50_us: latencies.p50_us,
            p99_us: latencies.p99_us,
            p999_us: latencies.p999_us,
            max_us: latencies.max_us,
            approved: counts.approved,
            declined: counts.declined,
            timed_out: counts.timed_out,
            voided: counts.voided,
            outcome_unknown: counts.outcome_unknown,
            refused: counts.refused,
            verified: counts.verified,
            followed: counts.followed,
            followed_unknown: counts.followed_unknown,
            reversals_acknowledged,
            reversals_open,
            leader_changes: 0,
            failover_gaps_ms: Vec::new(),
            networks,
            seconds: (seconds * 1000.0).round() / 1000.0,
            auditor: report.verdict,
            audited_calls: report.calls,
            audited_transactions: report.transactions,
        }
    }
}

/// Prints the summary on stdout: one JSON object in one line, or words.
pub fn print(summary: &Summary, json: bool) -> anyhow::Result<()> {
    use std::io::Write;
    let value = serde_json::to_value(summary)?;
    let mut stdout = std::io::stdout().lock();
    if json {
        writeln!(stdout, "{value}")?;
    } else if let serde_json::Value::Object(fields) = value {
        for (name, value) in fields {
            writeln!(stdout, "{name:<28} {value}")?;
        }
    }
    Ok(stdout.flush()?)
}
