//! Every metric: name, unit, meaning, in this one file. Labels are of low cardinality; none ever holds a card number, a
//! merchant or a request id.
//!
//! What can be counted is shown from the start, as zero: an alarm sees the first increase of a series only where it has seen
//! the series before.

mod log;
pub mod seldom;
mod traces;
mod wire;

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use switch_domain::{
    id::{LinkId, NetworkId},
    outcome::{Answer, Decision, DeclineReason, Source, Told},
    transaction::Method,
};
use tokio::time::Instant;
use tonic::Code;

pub use self::{
    log::TimedLog,
    traces::{TraceOptions, TracePlace, Traces},
    wire::ObservedWire,
};

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
    Histogram(Scale),
}

/// What the buckets of a histogram reach over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// From a commit to the longest attempt timer.
    Seconds,
    /// From a write to a cache, or a call to the next machine, to a disk that is about to fail.
    FineSeconds,
    /// From a small state to the longest that the transfer of one may take.
    TransferSeconds,
    /// Up to a full pack.
    Commands,
}

const RPC_REQUESTS: &str = "payswitch_rpc_requests_total";
const RPC_DURATION: &str = "payswitch_rpc_duration_seconds";
const ADMITTED: &str = "payswitch_admission_admitted_total";
const SHED: &str = "payswitch_admission_shed_total";
const QUEUED: &str = "payswitch_admission_queued";
const ADMISSION_LIMIT: &str = "payswitch_admission_limit";
const CALLS_REFUSED: &str = "payswitch_rate_refused_total";
const DOOR_CONNECTIONS: &str = "payswitch_door_connections";
const DOOR_REFUSED: &str = "payswitch_door_refused_total";
const CERTIFICATE_EXPIRES: &str = "payswitch_certificate_expires_seconds";
const TLS_RELOADS: &str = "payswitch_tls_reloads_total";
const TLS_CUT: &str = "payswitch_tls_connections_cut_total";
const OPERATIONS: &str = "payswitch_operations_total";
const COMMIT: &str = "payswitch_journal_commit_seconds";
const PACK_COMMANDS: &str = "payswitch_journal_pack_commands";
const PACKS: &str = "payswitch_journal_packs_total";
const PENDING: &str = "payswitch_journal_pending_commands";
const LOG_SYNC: &str = "payswitch_log_sync_seconds";
const LOG_SIZE: &str = "payswitch_log_size_bytes";
const TABLE_COMMIT: &str = "payswitch_table_commit_seconds";
const TABLE_SYNC: &str = "payswitch_table_sync_seconds";
const DISK_FREE: &str = "payswitch_disk_free_bytes";
const TERM: &str = "payswitch_raft_term";
const COMMITTED_INDEX: &str = "payswitch_raft_committed_index";
const SNAPSHOT_INDEX: &str = "payswitch_raft_snapshot_index";
const MEMBERS: &str = "payswitch_raft_members";
const PEER_SILENCE: &str = "payswitch_raft_peer_silence_seconds";
const PEER_ROUND_TRIP: &str = "payswitch_raft_peer_round_trip_seconds";
const PEER_FAILURES: &str = "payswitch_raft_peer_failures_total";
const TRANSFERS: &str = "payswitch_snapshot_transfers_total";
const TRANSFER_BYTES: &str = "payswitch_snapshot_transfer_bytes_total";
const TRANSFER_DURATION: &str = "payswitch_snapshot_transfer_seconds";
const APPLIED_INDEX: &str = "payswitch_raft_applied_index";
const LOG_TIME_SKEW: &str = "payswitch_log_time_skew_seconds";
const CLOCK_DISAGREEMENT: &str = "payswitch_clock_disagreement";
const IS_LEADER: &str = "payswitch_raft_is_leader";
const HAS_LEADER: &str = "payswitch_raft_has_leader";
const LEADER_CHANGES: &str = "payswitch_raft_leader_changes_total";
const CONVERSATIONS: &str = "payswitch_conversations_open";
const LINK_IN_SERVICE: &str = "payswitch_link_in_service";
const LINK_WANTED: &str = "payswitch_link_wanted";
const LINK_IN_FLIGHT: &str = "payswitch_link_in_flight";
const LINK_CIRCUIT: &str = "payswitch_link_circuit_open";
const NETWORK_REQUESTS: &str = "payswitch_network_requests_total";
const NETWORK_DURATION: &str = "payswitch_network_request_duration_seconds";
const STRAY_ANSWERS: &str = "payswitch_link_stray_answers_total";
const STRAY_DROPPED: &str = "payswitch_link_stray_answers_dropped_total";
const NOT_UNDERSTOOD: &str = "payswitch_evidence_not_understood_items";
const UNMATCHED: &str = "payswitch_link_unmatched_answers_total";
const DOUBT_ITEMS: &str = "payswitch_doubt_items";
const DOUBT_AGE: &str = "payswitch_doubt_age_seconds";
const DOUBT_MONEY: &str = "payswitch_doubt_minor_units";
const DOUBT_PARKED: &str = "payswitch_doubt_parked_items";
const PROCESS_CPU: &str = "payswitch_process_cpu_seconds_total";
const PROCESS_MEMORY: &str = "payswitch_process_resident_memory_bytes";
const PROCESS_FILES: &str = "payswitch_process_open_files";
const PROCESS_FILES_MAX: &str = "payswitch_process_open_files_limit";
const RUNTIME_TASKS: &str = "payswitch_runtime_tasks";
const RUNTIME_QUEUE: &str = "payswitch_runtime_queue_tasks";

/// All of them.
#[rustfmt::skip]
pub const METRICS: &[Metric] = &[
    Metric { name: RPC_REQUESTS, kind: Kind::Counter, unit: Unit::Count, meaning: "Calls that ended, by plane (gateway, peer or operator), method (other for what is none) and gRPC code; a decline is OK, CANCELLED has nobody who waits for it; each item of a stream counts too, as AuthorizeStream" },
    Metric { name: RPC_DURATION, kind: Kind::Histogram(Scale::Seconds), unit: Unit::Seconds, meaning: "Time from the receipt of a call to the beginning of its answer, or to its end without one, by plane and method" },
    Metric { name: ADMITTED, kind: Kind::Counter, unit: Unit::Count, meaning: "Calls that were given a place, by priority" },
    Metric { name: SHED, kind: Kind::Counter, unit: Unit::Count, meaning: "Calls that were refused for lack of a place, by priority and why: full line, or late; nothing was begun" },
    Metric { name: QUEUED, kind: Kind::Gauge, unit: Unit::Count, meaning: "Calls that wait for a place, by priority" },
    Metric { name: ADMISSION_LIMIT, kind: Kind::Gauge, unit: Unit::Count, meaning: "Places there are now, by kind: payments, or moments for everything that asks no network" },
    Metric { name: CALLS_REFUSED, kind: Kind::Counter, unit: Unit::Count, meaning: "Calls above what their gateway may make, by limit: payments or follow_ups a second, or under_way" },
    Metric { name: DOOR_CONNECTIONS, kind: Kind::Gauge, unit: Unit::Count, meaning: "Connections whose other side is known, by door" },
    Metric { name: DOOR_REFUSED, kind: Kind::Counter, unit: Unit::Count, meaning: "Connections that were refused, by door and why: no room, late, handshake, stranger, or socket" },
    Metric { name: CERTIFICATE_EXPIRES, kind: Kind::Gauge, unit: Unit::Seconds, meaning: "Seconds until what a file holds ends, by plane and file: this node's certificate, the first of the roots, the first of the revocation lists; below 0 once it has" },
    Metric { name: TLS_RELOADS, kind: Kind::Counter, unit: Unit::Count, meaning: "Changes of TLS files that were noticed, by plane and result: used, or refused, where at least one file is not taken and what it was to replace is kept" },
    Metric { name: TLS_CUT, kind: Kind::Counter, unit: Unit::Count, meaning: "Open connections that were cut, by plane and why: revoked, expired, or untrusted" },
    Metric { name: OPERATIONS, kind: Kind::Counter, unit: Unit::Count, meaning: "Operations that a conversation with networks decided, by method, outcome, who decided, and the network asked last; a repeated key is not counted again" },
    Metric { name: COMMIT, kind: Kind::Histogram(Scale::FineSeconds), unit: Unit::Seconds, meaning: "Time from a proposal to its apply on the leader" },
    Metric { name: PACK_COMMANDS, kind: Kind::Histogram(Scale::Commands), unit: Unit::Count, meaning: "Commands in one proposed pack" },
    Metric { name: PACKS, kind: Kind::Counter, unit: Unit::Count, meaning: "Packs proposed, by result: applied, not_taken (nothing happened), or unknown" },
    Metric { name: PENDING, kind: Kind::Gauge, unit: Unit::Count, meaning: "Commands of this node that are not applied yet, by stage: queued for a pack, or packed and on their way to the disks" },
    Metric { name: LOG_SYNC, kind: Kind::Histogram(Scale::FineSeconds), unit: Unit::Seconds, meaning: "Time from the write of entries or a vote to the end of the fsync that made them durable; no commit is faster" },
    Metric { name: LOG_SIZE, kind: Kind::Gauge, unit: Unit::Bytes, meaning: "Bytes of the log on disk" },
    Metric { name: TABLE_COMMIT, kind: Kind::Histogram(Scale::FineSeconds), unit: Unit::Seconds, meaning: "Time of one commit of the table, which is not synced" },
    Metric { name: TABLE_SYNC, kind: Kind::Histogram(Scale::FineSeconds), unit: Unit::Seconds, meaning: "Time of one fsync of the table, before a snapshot counts" },
    Metric { name: DISK_FREE, kind: Kind::Gauge, unit: Unit::Bytes, meaning: "Free bytes of the data folder's disk" },
    Metric { name: TERM, kind: Kind::Gauge, unit: Unit::Count, meaning: "Term of the consensus group, as this node knows it" },
    Metric { name: COMMITTED_INDEX, kind: Kind::Gauge, unit: Unit::Count, meaning: "Last log index that this node knows to be committed" },
    Metric { name: SNAPSHOT_INDEX, kind: Kind::Gauge, unit: Unit::Count, meaning: "Last log index in this node's newest snapshot, 0 without one" },
    Metric { name: MEMBERS, kind: Kind::Gauge, unit: Unit::Count, meaning: "Members of the cluster, by role: voter or learner" },
    Metric { name: PEER_SILENCE, kind: Kind::Gauge, unit: Unit::Seconds, meaning: "On the leader, time since a member last answered, by member; 0 elsewhere" },
    Metric { name: PEER_ROUND_TRIP, kind: Kind::Histogram(Scale::FineSeconds), unit: Unit::Seconds, meaning: "On the leader, time from an append to its answer, by member and kind: heartbeat, or entries, whose fsync is part of it; of appends under way at the same time one is timed" },
    Metric { name: PEER_FAILURES, kind: Kind::Counter, unit: Unit::Count, meaning: "Calls of the leader to a member that ended before they were answered, by member and kind: heartbeat, or entries" },
    Metric { name: TRANSFERS, kind: Kind::Counter, unit: Unit::Count, meaning: "Snapshots that moved between nodes, by direction, sent or received, and result: installed, or failed" },
    Metric { name: TRANSFER_BYTES, kind: Kind::Counter, unit: Unit::Bytes, meaning: "Bytes of snapshots that moved between nodes, by direction" },
    Metric { name: TRANSFER_DURATION, kind: Kind::Histogram(Scale::TransferSeconds), unit: Unit::Seconds, meaning: "Time until a snapshot from or for another node was installed, by direction" },
    Metric { name: APPLIED_INDEX, kind: Kind::Gauge, unit: Unit::Count, meaning: "Last log index applied to the table" },
    Metric { name: LOG_TIME_SKEW, kind: Kind::Gauge, unit: Unit::Seconds, meaning: "Wall clock minus log time on the leader; far from zero an operator must look at the clocks" },
    Metric { name: CLOCK_DISAGREEMENT, kind: Kind::Gauge, unit: Unit::Count, meaning: "1 while a wall clock that was over an hour away from log time waits for an operator; nothing old is deleted meanwhile" },
    Metric { name: IS_LEADER, kind: Kind::Gauge, unit: Unit::Count, meaning: "1 while this node leads and has applied everything before its term" },
    Metric { name: HAS_LEADER, kind: Kind::Gauge, unit: Unit::Count, meaning: "1 while this node knows a leader" },
    Metric { name: LEADER_CHANGES, kind: Kind::Counter, unit: Unit::Count, meaning: "Changes of the leader seen by this node" },
    Metric { name: CONVERSATIONS, kind: Kind::Gauge, unit: Unit::Count, meaning: "Conversations with networks that this process holds" },
    Metric { name: LINK_IN_SERVICE, kind: Kind::Gauge, unit: Unit::Count, meaning: "1 while the link takes payments, by link" },
    Metric { name: LINK_WANTED, kind: Kind::Gauge, unit: Unit::Count, meaning: "1 while this node should have the link in service, by link; 0 for one that is disabled or removed, and away from the leader for one that is exclusive" },
    Metric { name: LINK_IN_FLIGHT, kind: Kind::Gauge, unit: Unit::Count, meaning: "Requests in flight, by link" },
    Metric { name: LINK_CIRCUIT, kind: Kind::Gauge, unit: Unit::Count, meaning: "1 while the circuit keeps payments from the link because the network fails, by link" },
    Metric { name: NETWORK_REQUESTS, kind: Kind::Counter, unit: Unit::Count, meaning: "Requests to networks, by network, kind (payment, reversal or advice, each copy of the last two) and result: answered, not_sent, or unknown" },
    Metric { name: NETWORK_DURATION, kind: Kind::Histogram(Scale::Seconds), unit: Unit::Seconds, meaning: "Time from the queue of a link to the network's answer, by network and kind; silence is no sample" },
    Metric { name: STRAY_ANSWERS, kind: Kind::Counter, unit: Unit::Count, meaning: "Answers that nobody waited for: late or duplicate, by link" },
    Metric { name: STRAY_DROPPED, kind: Kind::Counter, unit: Unit::Count, meaning: "Stray answers that could not be queued, by link; must stay 0" },
    Metric { name: NOT_UNDERSTOOD, kind: Kind::Gauge, unit: Unit::Count, meaning: "Pieces of evidence that the leader does not understand, kept in this process: above 0 an operator must upgrade the leader, or hand leadership to a node of this version" },
    Metric { name: UNMATCHED, kind: Kind::Counter, unit: Unit::Count, meaning: "Answers that belong to no attempt of this switch, by link" },
    Metric { name: DOUBT_ITEMS, kind: Kind::Gauge, unit: Unit::Count, meaning: "What is unresolved with a network, by network and kind: attempt (sent, or about to be, and not answered), reversal, or advice (not acknowledged)" },
    Metric { name: DOUBT_AGE, kind: Kind::Gauge, unit: Unit::Seconds, meaning: "Age of the oldest of them in log time, by network and kind" },
    Metric { name: DOUBT_MONEY, kind: Kind::Gauge, unit: Unit::Count, meaning: "Money in them in minor units, by network, kind and currency" },
    Metric { name: DOUBT_PARKED, kind: Kind::Gauge, unit: Unit::Count, meaning: "Parked reversals and advices among them: an operator must act, by network" },
    Metric { name: PROCESS_CPU, kind: Kind::Counter, unit: Unit::Seconds, meaning: "Processor time of this process, in whole seconds" },
    Metric { name: PROCESS_MEMORY, kind: Kind::Gauge, unit: Unit::Bytes, meaning: "Resident memory of this process" },
    Metric { name: PROCESS_FILES, kind: Kind::Gauge, unit: Unit::Count, meaning: "Open descriptors of this process" },
    Metric { name: PROCESS_FILES_MAX, kind: Kind::Gauge, unit: Unit::Count, meaning: "Descriptors that this process may have open" },
    Metric { name: RUNTIME_TASKS, kind: Kind::Gauge, unit: Unit::Count, meaning: "Tasks that live in this process" },
    Metric { name: RUNTIME_QUEUE, kind: Kind::Gauge, unit: Unit::Count, meaning: "Tasks that wait for a thread" },
];

/// Describes every metric to the recorder, and shows as zero what counts without a label that only the running node knows.
pub fn describe() {
    for limit in ["payments", "follow_ups", "under_way"] {
        counter!(CALLS_REFUSED, "limit" => limit).increment(0);
    }
    for result in ["applied", "not_taken", "unknown"] {
        counter!(PACKS, "result" => result).increment(0);
    }
    counter!(LEADER_CHANGES).increment(0);
    for direction in Direction::ALL {
        for result in ["installed", "failed"] {
            counter!(TRANSFERS, "direction" => direction.name(), "result" => result).increment(0);
        }
        counter!(TRANSFER_BYTES, "direction" => direction.name()).increment(0);
        drop(histogram!(TRANSFER_DURATION, "direction" => direction.name()));
    }
    gauge!(NOT_UNDERSTOOD).set(0.0);
    for metric in METRICS {
        match metric.kind {
            Kind::Counter => describe_counter!(metric.name, metric.unit, metric.meaning),
            Kind::Gauge => describe_gauge!(metric.name, metric.unit, metric.meaning),
            Kind::Histogram(_) => describe_histogram!(metric.name, metric.unit, metric.meaning),
        }
    }
}

/// A method that may be called through a door, and a code that may end it: counted from zero.
pub fn rpc_known(plane: &'static str, method: &'static str, code: Code) {
    counter!(RPC_REQUESTS, "plane" => plane, "method" => method, "code" => code_name(code)).increment(0);
}

/// A call through a door. Dropped before it [ended](Self::ended) it counts as CANCELLED: nobody waits for it any more.
pub struct Rpc {
    plane: &'static str,
    method: &'static str,
    began: Instant,
    answered: Option<Duration>,
    code: Code,
}

impl Rpc {
    /// It was received. `plane` and `method` are names that we have given, never the caller's words.
    #[must_use]
    pub fn begin(plane: &'static str, method: &'static str) -> Self {
        Self { plane, method, began: Instant::now(), answered: None, code: Code::Cancelled }
    }

    /// Its answer begins: as long as this it took, however long a stream goes on.
    pub fn answered(&mut self) {
        self.answered = Some(self.began.elapsed());
    }

    /// It ended; a decline is OK.
    pub fn ended(mut self, code: Code) {
        self.code = code;
    }
}

impl Drop for Rpc {
    fn drop(&mut self) {
        let Self { plane, method, began, answered, code } = *self;
        counter!(RPC_REQUESTS, "plane" => plane, "method" => method, "code" => code_name(code)).increment(1);
        let took = answered.unwrap_or_else(|| began.elapsed());
        histogram!(RPC_DURATION, "plane" => plane, "method" => method).record(took.as_secs_f64());
    }
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

/// Why a call found no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shed {
    /// Its line was full.
    Full,
    /// It waited too long, or its deadline could not be met any more.
    Late,
}

/// A priority that calls may have: its counts begin at zero.
pub fn priority_known(priority: &'static str) {
    counter!(ADMITTED, "priority" => priority).increment(0);
    for why in ["full", "late"] {
        counter!(SHED, "priority" => priority, "why" => why).increment(0);
    }
    queued(priority, 0);
}

/// A call was given a place.
pub fn admitted(priority: &'static str) {
    counter!(ADMITTED, "priority" => priority).increment(1);
}

/// A call found no place.
pub fn shed(priority: &'static str, why: Shed) {
    let why = match why {
        Shed::Full => "full",
        Shed::Late => "late",
    };
    counter!(SHED, "priority" => priority, "why" => why).increment(1);
}

/// How many calls wait for a place.
pub fn queued(priority: &'static str, calls: usize) {
    gauge!(QUEUED, "priority" => priority).set(calls as f64);
}

/// How many places there are.
pub fn admission_limits(payments: u32, moments: u32) {
    gauge!(ADMISSION_LIMIT, "places" => "payments").set(f64::from(payments));
    gauge!(ADMISSION_LIMIT, "places" => "moments").set(f64::from(moments));
}

/// A limit on a gateway's calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallLimit {
    /// New payments a second.
    Payments,
    /// Captures, voids and repeats a second.
    FollowUps,
    /// Payments under way.
    UnderWay,
}

/// A call was above a limit of its gateway.
pub fn call_refused(limit: CallLimit) {
    let limit = match limit {
        CallLimit::Payments => "payments",
        CallLimit::FollowUps => "follow_ups",
        CallLimit::UnderWay => "under_way",
    };
    counter!(CALLS_REFUSED, "limit" => limit).increment(1);
}

/// Why a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A bound of the door, of an address or of a principal.
    NoRoom,
    /// No handshake in time.
    Late,
    /// No handshake: no good certificate, no TLS 1.3, no TLS at all.
    Handshake,
    /// A good certificate of somebody who is nobody at this door.
    Stranger,
    /// The socket broke.
    Socket,
}

impl Refused {
    const ALL: [Self; 5] = [Self::NoRoom, Self::Late, Self::Handshake, Self::Stranger, Self::Socket];

    fn name(self) -> &'static str {
        match self {
            Self::NoRoom => "no_room",
            Self::Late => "late",
            Self::Handshake => "handshake",
            Self::Stranger => "stranger",
            Self::Socket => "socket",
        }
    }
}

/// A door was opened: its counts begin at zero.
pub fn door_known(door: &'static str) {
    gauge!(DOOR_CONNECTIONS, "door" => door).set(0.0);
    for why in Refused::ALL {
        counter!(DOOR_REFUSED, "door" => door, "why" => why.name()).increment(0);
    }
}

/// A connection came in at a door.
pub fn door_entered(door: &'static str) {
    gauge!(DOOR_CONNECTIONS, "door" => door).increment(1.0);
}

/// A connection of a door ended.
pub fn door_left(door: &'static str) {
    gauge!(DOOR_CONNECTIONS, "door" => door).decrement(1.0);
}

/// A connection was refused at a door.
pub fn door_refused(door: &'static str, why: Refused) {
    counter!(DOOR_REFUSED, "door" => door, "why" => why.name()).increment(1);
}

/// Why an open connection was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Its certificate was revoked.
    Revoked,
    /// Its certificate ended.
    Expired,
    /// Its chain is no longer accepted.
    Untrusted,
}

impl Cut {
    const ALL: [Self; 3] = [Self::Revoked, Self::Expired, Self::Untrusted];

    fn name(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Untrusted => "untrusted",
        }
    }
}

/// A plane's TLS files are in use: its counts begin at zero.
pub fn tls_known(plane: &'static str) {
    for result in ["used", "refused"] {
        counter!(TLS_RELOADS, "plane" => plane, "result" => result).increment(0);
    }
    for why in Cut::ALL {
        counter!(TLS_CUT, "plane" => plane, "why" => why.name()).increment(0);
    }
}

/// TLS files of a plane changed, and are `used` or not.
pub fn tls_reloaded(plane: &'static str, used: bool) {
    counter!(TLS_RELOADS, "plane" => plane, "result" => if used { "used" } else { "refused" }).increment(1);
}

/// An open connection of a plane was cut.
pub fn tls_cut(plane: &'static str, why: Cut) {
    counter!(TLS_CUT, "plane" => plane, "why" => why.name()).increment(1);
}

/// How long what a TLS file holds is good; `file` is the option that names it.
pub fn certificate_expires(plane: &'static str, file: &'static str, in_seconds: f64) {
    gauge!(CERTIFICATE_EXPIRES, "plane" => plane, "file" => file).set(in_seconds);
}

/// A conversation with networks decided an operation.
pub fn decided(method: Method, told: &Told, network: Option<&NetworkId>) {
    let method = match method {
        Method::Authorize => "authorize",
        Method::Increment => "increment",
        Method::Capture => "capture",
        Method::Void => "void",
        Method::Refund => "refund",
        Method::Verify => "verify",
    };
    let source = match told.source {
        Source::Issuer => "issuer",
        Source::Network => "network",
        Source::Switch => "switch",
    };
    let network = network.map_or_else(String::new, ToString::to_string);
    counter!(OPERATIONS, "method" => method, "outcome" => outcome(told), "source" => source, "network" => network)
        .increment(1);
}

/// A decision in one word. A decline for want of an issuer is a word of its own: it is the network's illness, not the card's.
fn outcome(told: &Told) -> &'static str {
    let unavailable = [DeclineReason::IssuerUnavailable, DeclineReason::SystemMalfunction];
    match told.decision {
        Decision::Approved => "approved",
        Decision::PartiallyApproved => "partially_approved",
        Decision::Declined if told.decline.is_some_and(|(reason, _)| unavailable.contains(&reason)) => {
            "issuer_unavailable"
        }
        Decision::Declined => "declined",
        Decision::TimedOut => "timed_out",
        Decision::Voided => "voided",
        Decision::Unresolved => "unresolved",
    }
}

/// Something was committed.
pub fn committed(took: Duration) {
    histogram!(COMMIT).record(took.as_secs_f64());
}

/// A pack was proposed.
pub fn pack(commands: usize) {
    histogram!(PACK_COMMANDS).record(commands as f64);
}

/// What became of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackResult {
    /// It is applied here.
    Applied,
    /// It was not taken, and never will be.
    NotTaken,
    /// Nobody knows.
    Unknown,
}

/// What became of a pack is known, or known to be unknown.
pub fn pack_ended(result: PackResult) {
    let result = match result {
        PackResult::Applied => "applied",
        PackResult::NotTaken => "not_taken",
        PackResult::Unknown => "unknown",
    };
    counter!(PACKS, "result" => result).increment(1);
}

/// How many commands of this node are not applied yet: those that wait for a pack, and those in packs.
pub fn pending(queued: usize, packed: usize) {
    gauge!(PENDING, "stage" => "queued").set(queued as f64);
    gauge!(PENDING, "stage" => "packed").set(packed as f64);
}

/// The table committed a batch.
pub fn table_committed(took: Duration) {
    histogram!(TABLE_COMMIT).record(took.as_secs_f64());
}

/// The table was synced.
pub fn table_synced(took: Duration) {
    histogram!(TABLE_SYNC).record(took.as_secs_f64());
}

/// Free bytes of the data folder's disk.
pub fn disk_free(bytes: u64) {
    gauge!(DISK_FREE).set(bytes as f64);
}

/// How the consensus group stands, as this node sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Consensus {
    /// Its term.
    pub term: u64,
    /// Last committed index.
    pub committed: u64,
    /// Last index in a snapshot.
    pub snapshot: u64,
    /// Bytes of the log.
    pub log_bytes: u64,
    /// Members that vote.
    pub voters: usize,
    /// Members that do not.
    pub learners: usize,
}

/// A look at the consensus group.
pub fn consensus(seen: Consensus) {
    gauge!(TERM).set(seen.term as f64);
    gauge!(COMMITTED_INDEX).set(seen.committed as f64);
    gauge!(SNAPSHOT_INDEX).set(seen.snapshot as f64);
    gauge!(LOG_SIZE).set(seen.log_bytes as f64);
    gauge!(MEMBERS, "role" => "voter").set(seen.voters as f64);
    gauge!(MEMBERS, "role" => "learner").set(seen.learners as f64);
}

/// What the leader sends to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Append {
    /// No entries: it says who leads, and what is committed.
    Heartbeat,
    /// Entries, to be made durable before the answer.
    Entries,
}

impl Append {
    const ALL: [Self; 2] = [Self::Heartbeat, Self::Entries];

    fn name(self) -> &'static str {
        match self {
            Self::Heartbeat => "heartbeat",
            Self::Entries => "entries",
        }
    }
}

/// A member as labels name it.
fn member_name(member: u64) -> String {
    format!("{member:016x}")
}

/// A member other than this node is there: its counts begin at zero.
pub fn peer_known(member: u64) {
    for append in Append::ALL {
        counter!(PEER_FAILURES, "member" => member_name(member), "kind" => append.name()).increment(0);
        drop(histogram!(PEER_ROUND_TRIP, "member" => member_name(member), "kind" => append.name()));
    }
}

/// How long a member has been silent to the leader; zero where this node does not lead.
pub fn peer_silence(member: u64, silence: Duration) {
    gauge!(PEER_SILENCE, "member" => member_name(member)).set(silence.as_secs_f64());
}

/// A member answered an append.
fn peer_answered(member: u64, append: Append, took: Duration) {
    histogram!(PEER_ROUND_TRIP, "member" => member_name(member), "kind" => append.name()).record(took.as_secs_f64());
}

/// A call to a member ended before it was answered.
fn peer_failed(member: u64, append: Append) {
    counter!(PEER_FAILURES, "member" => member_name(member), "kind" => append.name()).increment(1);
}

/// Which way a snapshot moves, as this node sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To another node.
    Sent,
    /// From the leader.
    Received,
}

impl Direction {
    const ALL: [Self; 2] = [Self::Sent, Self::Received];

    fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Received => "received",
        }
    }
}

/// A frame of a snapshot moved.
pub fn snapshot_moved(direction: Direction, bytes: usize) {
    counter!(TRANSFER_BYTES, "direction" => direction.name()).increment(bytes as u64);
}

/// A snapshot on its way between two nodes. Dropped before it was [installed](Self::installed) it counts as failed, whoever gave
/// it up.
pub struct SnapshotTransfer {
    direction: Direction,
    began: Instant,
    installed: bool,
}

impl SnapshotTransfer {
    /// It begins.
    #[must_use]
    pub fn begin(direction: Direction) -> Self {
        Self { direction, began: Instant::now(), installed: false }
    }

    /// It is the state of the node that received it.
    pub fn installed(mut self) {
        self.installed = true;
        histogram!(TRANSFER_DURATION, "direction" => self.direction.name()).record(self.began.elapsed().as_secs_f64());
    }
}

impl Drop for SnapshotTransfer {
    fn drop(&mut self) {
        let result = if self.installed { "installed" } else { "failed" };
        counter!(TRANSFERS, "direction" => self.direction.name(), "result" => result).increment(1);
    }
}

/// A look at the process.
pub fn process(cpu_seconds: u64, resident_bytes: u64, open_files: usize, open_files_max: u64) {
    counter!(PROCESS_CPU).absolute(cpu_seconds);
    gauge!(PROCESS_MEMORY).set(resident_bytes as f64);
    gauge!(PROCESS_FILES).set(open_files as f64);
    gauge!(PROCESS_FILES_MAX).set(open_files_max as f64);
}

/// A look at the runtime.
pub fn runtime(tasks: usize, queued: usize) {
    gauge!(RUNTIME_TASKS).set(tasks as f64);
    gauge!(RUNTIME_QUEUE).set(queued as f64);
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

/// What a network is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// For money, or about a card.
    Payment,
    /// To undo an attempt.
    Reversal,
    /// To take note of a capture.
    Advice,
}

impl RequestKind {
    const ALL: [Self; 3] = [Self::Payment, Self::Reversal, Self::Advice];

    fn name(self) -> &'static str {
        match self {
            Self::Payment => "payment",
            Self::Reversal => "reversal",
            Self::Advice => "advice",
        }
    }
}

/// What came of a request to a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestResult {
    /// The network answered, whatever it said.
    Answered,
    /// Nothing left the switch.
    NotSent,
    /// Nobody knows.
    Unknown,
}

impl RequestResult {
    const ALL: [Self; 3] = [Self::Answered, Self::NotSent, Self::Unknown];

    fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::NotSent => "not_sent",
            Self::Unknown => "unknown",
        }
    }
}

impl From<&Answer> for RequestResult {
    fn from(answer: &Answer) -> Self {
        match answer {
            Answer::Answered(_) => Self::Answered,
            Answer::NotSent(_) => Self::NotSent,
            Answer::Unknown(_) => Self::Unknown,
        }
    }
}

/// A network is there: its counts begin at zero.
pub fn network_known(network: &NetworkId) {
    for kind in RequestKind::ALL {
        for result in RequestResult::ALL {
            counter!(
                NETWORK_REQUESTS,
                "network" => network.to_string(), "kind" => kind.name(), "result" => result.name()
            )
            .increment(0);
        }
    }
}

/// A network was asked, and this came of it.
pub fn network_request(network: &NetworkId, kind: RequestKind, result: RequestResult, took: Duration) {
    counter!(NETWORK_REQUESTS, "network" => network.to_string(), "kind" => kind.name(), "result" => result.name())
        .increment(1);
    if result == RequestResult::Answered {
        histogram!(NETWORK_DURATION, "network" => network.to_string(), "kind" => kind.name())
            .record(took.as_secs_f64());
    }
}

/// A link is there: its counts begin at zero.
pub fn link_known(link: &LinkId) {
    for count in [STRAY_ANSWERS, STRAY_DROPPED, UNMATCHED] {
        counter!(count, "link" => link.to_string()).increment(0);
    }
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

/// Whether this node should have a link in service.
pub fn link_wanted(link: &LinkId, wanted: bool) {
    gauge!(LINK_WANTED, "link" => link.to_string()).set(f64::from(u8::from(wanted)));
}

/// Requests in flight on a link.
pub fn link_in_flight(link: &LinkId, in_flight: u32) {
    gauge!(LINK_IN_FLIGHT, "link" => link.to_string()).set(f64::from(in_flight));
}

/// Whether a link's circuit keeps payments from it.
pub fn link_circuit(link: &LinkId, open: bool) {
    gauge!(LINK_CIRCUIT, "link" => link.to_string()).set(f64::from(u8::from(open)));
}

/// What may be unresolved with a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DoubtKind {
    /// A request without an answer.
    Attempt,
    /// A reversal without an acknowledgement.
    Reversal,
    /// An advice without one.
    Advice,
}

impl DoubtKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Attempt, Self::Reversal, Self::Advice];

    fn name(self) -> &'static str {
        match self {
            Self::Attempt => "attempt",
            Self::Reversal => "reversal",
            Self::Advice => "advice",
        }
    }
}

/// What is unresolved with a network, of one kind.
pub fn doubt(network: &NetworkId, kind: DoubtKind, items: u64, oldest: Duration) {
    gauge!(DOUBT_ITEMS, "network" => network.to_string(), "kind" => kind.name()).set(items as f64);
    gauge!(DOUBT_AGE, "network" => network.to_string(), "kind" => kind.name()).set(oldest.as_secs_f64());
}

/// Money that is unresolved with a network, of one kind and currency.
pub fn doubt_money(network: &NetworkId, kind: DoubtKind, currency: &'static str, minor_units: u64) {
    gauge!(DOUBT_MONEY, "network" => network.to_string(), "kind" => kind.name(), "currency" => currency)
        .set(minor_units as f64);
}

/// What of it is parked.
pub fn parked(network: &NetworkId, items: u32) {
    gauge!(DOUBT_PARKED, "network" => network.to_string()).set(f64::from(items));
}
