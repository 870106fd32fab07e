//! Every metric: name, unit, meaning, in this one file. Labels are of low cardinality; none ever holds a card number, a
//! merchant or a request id.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use switch_domain::id::{LinkId, NetworkId};
use tonic::Code;

/// One metric.
pub struct Metric {
    /// Name as it is scraped.
    pub name: &'static str,
    /// Kind.
    pub kind: Kind,
    /// Unit.
    pub unit: Unit,
    /// What it says.
    pub meaning: &'static str,
}

/// Kind of a metric.
#[allow(missing_docs)] // Prometheus's own words
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

const RPC_REQUESTS: &str = "payswitch_rpc_requests_total";
const RPC_DURATION: &str = "payswitch_rpc_duration_seconds";
const PACK_COMMANDS: &str = "payswitch_journal_pack_commands";
const APPLIED_INDEX: &str = "payswitch_raft_applied_index";
const LOG_TIME_SKEW: &str = "payswitch_log_time_skew_seconds";
const CLOCK_DISAGREEMENT: &str = "payswitch_clock_disagreement";
const IS_LEADER: &str = "payswitch_raft_is_leader";
const HAS_LEADER: &str = "payswitch_raft_has_leader";
const LEADER_CHANGES: &str = "payswitch_raft_leader_changes_total";
const CONVERSATIONS: &str = "payswitch_conversations_open";
const LINK_IN_SERVICE: &str = "payswitch_link_in_service";
const LINK_IN_FLIGHT: &str = "payswitch_link_in_flight";
const STRAY_ANSWERS: &str = "payswitch_link_stray_answers_total";
const STRAY_DROPPED: &str = "payswitch_link_stray_answers_dropped_total";
const NOT_UNDERSTOOD: &str = "payswitch_evidence_not_understood_items";
const UNMATCHED: &str = "payswitch_link_unmatched_answers_total";
const DOUBT_ITEMS: &str = "payswitch_doubt_items";
const DOUBT_PARKED: &str = "payswitch_doubt_parked_items";
const DOUBT_MONEY: &str = "payswitch_doubt_minor_units";

/// All of them.
#[rustfmt::skip]
pub const METRICS: &[Metric] = &[
    Metric { name: RPC_REQUESTS, kind: Kind::Counter, unit: Unit::Count, meaning: "Calls of gateways, by method and gRPC code; a decline is OK" },
    Metric { name: RPC_DURATION, kind: Kind::Histogram, unit: Unit::Seconds, meaning: "Time from the receipt of a gateway's call to its answer, by method" },
    Metric { name: PACK_COMMANDS, kind: Kind::Histogram, unit: Unit::Count, meaning: "Commands in one proposed pack" },
    Metric { name: APPLIED_INDEX, kind: Kind::Gauge, unit: Unit::Count, meaning: "Last log index applied to the table" },
    Metric { name: LOG_TIME_SKEW, kind: Kind::Gauge, unit: Unit::Seconds, meaning: "Wall clock minus log time on the leader; far from zero an operator must look at the clocks" },
    Metric { name: CLOCK_DISAGREEMENT, kind: Kind::Gauge, unit: Unit::Count, meaning: "1 while a wall clock that was over an hour away from log time waits for an operator; nothing old is deleted meanwhile" },
    Metric { name: IS_LEADER, kind: Kind::Gauge, unit: Unit::Count, meaning: "1 while this node leads and has applied everything before its term" },
    Metric { name: HAS_LEADER, kind: Kind::Gauge, unit: Unit::Count, meaning: "1 while this node knows a leader" },
    Metric { name: LEADER_CHANGES, kind: Kind::Counter, unit: Unit::Count, meaning: "Changes of the leader seen by this node" },
    Metric { name: CONVERSATIONS, kind: Kind::Gauge, unit: Unit::Count, meaning: "Conversations with networks that this process holds" },
    Metric { name: LINK_IN_SERVICE, kind: Kind::Gauge, unit: Unit::Count, meaning: "1 while the link takes payments, by link" },
    Metric { name: LINK_IN_FLIGHT, kind: Kind::Gauge, unit: Unit::Count, meaning: "Requests in flight, by link" },
    Metric { name: STRAY_ANSWERS, kind: Kind::Counter, unit: Unit::Count, meaning: "Answers that nobody waited for: late or duplicate, by link" },
    Metric { name: STRAY_DROPPED, kind: Kind::Counter, unit: Unit::Count, meaning: "Stray answers that could not be queued, by link; must stay 0" },
    Metric { name: NOT_UNDERSTOOD, kind: Kind::Gauge, unit: Unit::Count, meaning: "Pieces of evidence that the leader does not understand, kept in this process: above 0 an operator must upgrade the leader, or hand leadership to a node of this version" },
    Metric { name: UNMATCHED, kind: Kind::Counter, unit: Unit::Count, meaning: "Answers that belong to no attempt of this switch, by link" },
    Metric { name: DOUBT_ITEMS, kind: Kind::Gauge, unit: Unit::Count, meaning: "Reversals and advices that are not acknowledged, by network" },
    Metric { name: DOUBT_PARKED, kind: Kind::Gauge, unit: Unit::Count, meaning: "Parked ones among them: an operator must act, by network" },
    Metric { name: DOUBT_MONEY, kind: Kind::Gauge, unit: Unit::Count, meaning: "Money in them in minor units, by network and currency" },
];

/// Describes every metric to the recorder.
pub fn describe() {
    for metric in METRICS {
        match metric.kind {
            Kind::Counter => describe_counter!(metric.name, metric.unit, metric.meaning),
            Kind::Gauge => describe_gauge!(metric.name, metric.unit, metric.meaning),
            Kind::Histogram => describe_histogram!(metric.name, metric.unit, metric.meaning),
        }
    }
}

/// A gateway's call was answered; `None` is OK.
pub fn rpc(method: &'static str, code: Option<Code>, took: Duration) {
    let code = code.map_or("OK", code_name);
    counter!(RPC_REQUESTS, "method" => method, "code" => code).increment(1);
    histogram!(RPC_DURATION, "method" => method).record(took.as_secs_f64());
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// A pack was proposed.
pub fn pack(commands: usize) {
    histogram!(PACK_COMMANDS).record(commands as f64);
}

/// What a look at the node gives, once a second.
pub fn node(applied: u64, leads: bool, has_leader: bool, conversations: usize, skew_seconds: Option<f64>) {
    gauge!(APPLIED_INDEX).set(applied as f64);
    gauge!(IS_LEADER).set(f64::from(u8::from(leads)));
    gauge!(HAS_LEADER).set(f64::from(u8::from(has_leader)));
    gauge!(CONVERSATIONS).set(conversations as f64);
    gauge!(LOG_TIME_SKEW).set(skew_seconds.unwrap_or(0.0));
}

/// Whether a disagreement of clocks waits for an operator (R8).
pub fn clock(disagrees: bool) {
    gauge!(CLOCK_DISAGREEMENT).set(f64::from(u8::from(disagrees)));
}

/// The leader changed.
pub fn leader_changed() {
    counter!(LEADER_CHANGES).increment(1);
}

/// An answer came that nobody waited for.
pub fn stray_answer(link: &LinkId) {
    counter!(STRAY_ANSWERS, "link" => link.to_string()).increment(1);
}

/// A stray answer could not be queued.
pub fn stray_dropped(link: &LinkId) {
    counter!(STRAY_DROPPED, "link" => link.to_string()).increment(1);
}

/// A piece of evidence that the leader does not understand, counted for as long as it is kept.
pub struct NotUnderstood(());

impl NotUnderstood {
    /// One more.
    pub fn kept() -> Self {
        gauge!(NOT_UNDERSTOOD).increment(1.0);
        Self(())
    }
}

impl Drop for NotUnderstood {
    fn drop(&mut self) {
        gauge!(NOT_UNDERSTOOD).decrement(1.0);
    }
}

/// An answer belongs to no attempt.
pub fn unmatched_answer(link: &LinkId) {
    counter!(UNMATCHED, "link" => link.to_string()).increment(1);
}

/// A link changed its state.
pub fn link_state(link: &LinkId, in_service: bool) {
    gauge!(LINK_IN_SERVICE, "link" => link.to_string()).set(f64::from(u8::from(in_service)));
}

/// Requests in flight on a link.
pub fn link_in_flight(link: &LinkId, in_flight: u32) {
    gauge!(LINK_IN_FLIGHT, "link" => link.to_string()).set(f64::from(in_flight));
}

/// What is unresolved with a network.
pub fn doubt(network: &NetworkId, items: u32, parked: u32) {
    gauge!(DOUBT_ITEMS, "network" => network.to_string()).set(f64::from(items));
    gauge!(DOUBT_PARKED, "network" => network.to_string()).set(f64::from(parked));
}

/// Money that is unresolved with a network in a currency.
pub fn doubt_money(network: &NetworkId, currency: &'static str, minor_units: u64) {
    gauge!(DOUBT_MONEY, "network" => network.to_string(), "currency" => currency).set(minor_units as f64);
}
