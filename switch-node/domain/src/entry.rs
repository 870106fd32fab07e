//! Everything that may be committed about transactions: the commands of the book. A pack of the journal holds several of
//! them and one log time.

use crate::{
    audit::AuditEntry,
    authorization::Credentials,
    card::CardReference,
    id::{AttemptRef, GatewayId, LeaderId, LinkId, NetworkId, Owner, Position, RequestId, RouteId, TransactionId},
    money::{Amount, Currency},
    outcome::{AnswerText, Doubt, NetworkAnswer, NotSent},
    time::LogTime,
    transaction::{CaptureMode, EntryMode, Fingerprint, Merchant, Resolution, Terms},
};

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Opens an operation that asks a network.
    Open(Box<Open>),
    /// Closes an attempt that may go elsewhere and opens the next one (R17).
    Failover(Box<Failover>),
    /// A network's answer to a request.
    Answer(Box<AnswerEvidence>),
    /// Nothing left the cluster.
    NotSent(NotSentEvidence),
    /// No answer; makes the reversal in the same entry.
    TimedOut(TimedOut),
    /// The bytes of a request left after its deadline or lease (R13).
    LateSend(AttemptRef),
    /// Captures.
    Capture(Box<Capture>),
    /// Voids.
    Void(Box<Void>),
    /// A network's answer to a reversal or an advice.
    LaneAnswer(LaneAnswer),
    /// The retry budget of a lane is used up (R25).
    Park(LaneRef),
    /// An operator proposes how a parked lane ends (R25).
    ProposeResolution(Box<ProposeResolution>),
    /// Another operator confirms it: only this closes the lane (R25).
    ConfirmResolution(Box<ResolutionWord>),
    /// An operator withdraws a proposal that nobody has confirmed (R25).
    WithdrawResolution(Box<ResolutionWord>),
    /// The validity of an authorization has ended (R9).
    Expire(Expire),
    /// A transaction is older than anybody needs it (R9).
    Forget(Forget),
    /// So is a void of a key that never came (R9).
    ForgetTombstone(ForgetTombstone),
    /// Events are older than watches may ask for (R20).
    ForgetEvents(ForgetEvents),
    /// What a leader's wall clock shows (R8).
    ReadClock(ClockReading),
    /// An operator says that the leader's wall clock is right (R8).
    AcceptClock(Box<ClockAcceptance>),
    /// What an operator did. No transaction changes by it: the journal puts it into the audit trail.
    Audit(Box<AuditEntry>),
}

/// How a network is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Route that chose it; `None` for follow-ups, which go where their original went.
    pub route: Option<RouteId>,
    /// Network.
    pub network: NetworkId,
    /// Link.
    pub link: LinkId,
    /// Terms.
    pub terms: Terms,
    /// The process that will hold the conversation.
    pub owner: Owner,
}

/// Opens an operation that asks a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// Tenant.
    pub gateway: GatewayId,
    /// Its key.
    pub request_id: RequestId,
    /// Digest of what is asked.
    pub fingerprint: Fingerprint,
    /// Amount; zero for a verification.
    pub amount: Amount,
    /// Currency.
    pub currency: Currency,
    /// Version of the directory it was decided under.
    pub directory_version: u64,
    /// When the gateway first sent this key, if it says.
    pub first_sent: Option<LogTime>,
    /// How the network is asked.
    pub plan: Plan,
    /// What is opened.
    pub subject: Subject,
    /// Greatest sum of the gateway's day in this currency, zero for none (R24).
    pub day_limit: Amount,
    /// Days that transactions and their keys are kept after their last event, zero for the default (R9).
    pub retention_days: u32,
}

/// What is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A new transaction.
    New(Box<NewTransaction>),
    /// Raises an authorization.
    Increment(TransactionId),
    /// Returns captured money.
    Refund(TransactionId),
}

/// A new transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTransaction {
    /// Its id, made by the leader.
    pub id: TransactionId,
    /// True for a verification.
    pub verification: bool,
    /// When money is captured.
    pub capture_mode: CaptureMode,
    /// How the card entered.
    pub entry_mode: EntryMode,
    /// Who sells.
    pub merchant: Merchant,
    /// The card as far as it may be kept.
    pub card: CardReference,
    /// How card and cardholder were vouched for.
    pub credentials: Credentials,
    /// The merchant's own reference.
    pub merchant_reference: AnswerText,
    /// True where an approval for less is welcome.
    pub partial_supported: bool,
}

/// Closes an attempt and opens the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failover {
    /// The attempt that ends.
    pub attempt: AttemptRef,
    /// Why it may go elsewhere.
    pub because: FailoverCause,
    /// How the next network is asked.
    pub plan: Plan,
}

/// Why an attempt may go elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailoverCause {
    /// Nothing left the cluster.
    NotSent(NotSent),
    /// A no that the network's profile permits.
    PermittedNo(Box<NetworkAnswer>),
}

/// A network's answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerEvidence {
    /// The attempt.
    pub attempt: AttemptRef,
    /// The answer.
    pub answer: NetworkAnswer,
}

/// Nothing left the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotSentEvidence {
    /// The attempt.
    pub attempt: AttemptRef,
    /// Why.
    pub why: NotSent,
}

/// No answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimedOut {
    /// The attempt.
    pub attempt: AttemptRef,
    /// Why there is none.
    pub doubt: Doubt,
}

/// Captures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// Tenant.
    pub gateway: GatewayId,
    /// Its key.
    pub request_id: RequestId,
    /// The authorization.
    pub transaction: TransactionId,
    /// Digest of what is asked.
    pub fingerprint: Fingerprint,
    /// How much.
    pub amount: Amount,
    /// Currency.
    pub currency: Currency,
    /// True for the last.
    pub is_final: bool,
}

/// What a void names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VoidTarget {
    /// A transaction.
    Transaction(TransactionId),
    /// The key of an authorization, known or not.
    Request(RequestId),
}

/// Voids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Void {
    /// Tenant.
    pub gateway: GatewayId,
    /// Its key.
    pub request_id: RequestId,
    /// What.
    pub target: VoidTarget,
    /// Digest of what is asked.
    pub fingerprint: Fingerprint,
}

/// Which lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LaneKind {
    /// The reversal of an attempt.
    Reversal,
    /// The advice of a capture.
    Advice,
}

/// Names one generation of a lane.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneRef {
    /// The attempt; for advices the capture's own id.
    pub attempt: AttemptRef,
    /// Which of its lanes.
    pub kind: LaneKind,
    /// Generation that is meant.
    pub generation: u16,
}

/// A network's answer to a reversal or an advice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneAnswer {
    /// The lane.
    pub lane: LaneRef,
    /// The answer.
    pub verdict: crate::outcome::LaneVerdict,
    /// When the copy that was answered was sent, in log time.
    pub sent: LogTime,
}

/// An operator proposes how a parked lane ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProposeResolution {
    /// The attempt; for advices the capture's own id.
    pub attempt: AttemptRef,
    /// How.
    pub resolution: Resolution,
    /// SPIFFE id of the operator.
    pub author: String,
    /// What shows it.
    pub evidence: String,
}

/// An operator's word about a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolutionWord {
    /// The attempt; for advices the capture's own id.
    pub attempt: AttemptRef,
    /// The entry that made the proposal.
    pub proposal: Position,
    /// SPIFFE id of the operator.
    pub author: String,
}

/// The validity of an authorization has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expire {
    /// Tenant.
    pub gateway: GatewayId,
    /// The authorization.
    pub transaction: TransactionId,
    /// True where the profile asks to release the hold.
    pub release: bool,
}

/// How long a transaction is kept; zero is the default of each (R9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Days after its last event; fewer than [`crate::limits::RETENTION_DAYS_MIN`] count as so many.
    pub retention_days: u32,
    /// Days after its last capture in which money may still be given back: its network's window.
    pub refund_days: u32,
}

/// A transaction is older than anybody needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forget {
    /// Tenant.
    pub gateway: GatewayId,
    /// The transaction.
    pub transaction: TransactionId,
    /// How long it is kept.
    pub keep: Keep,
}

/// A void of a key that never came is older than anybody needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForgetTombstone {
    /// Tenant.
    pub gateway: GatewayId,
    /// Entry that accepted the void.
    pub position: Position,
    /// Days that keys are kept, zero for the default.
    pub retention_days: u32,
}

/// Events are older than watches may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForgetEvents {
    /// Tenant.
    pub gateway: GatewayId,
    /// Where they stand; at most [`crate::limits::EVENTS_FORGOTTEN_MAX`] are looked at.
    pub positions: Vec<Position>,
}

/// What a leader's wall clock shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReading {
    /// The leader.
    pub node: u64,
    /// Its wall clock.
    pub wall: LogTime,
}

/// An operator says that the leader's wall clock is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClockAcceptance {
    /// The leader's wall clock when it was accepted.
    pub wall: LogTime,
    /// SPIFFE id of the operator.
    pub author: String,
    /// Why it is right.
    pub reason: String,
}

/// Where a command stands in the journal and under whose leadership.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryMark {
    /// Log index and place in the pack.
    pub position: Position,
    /// Committed leader id of the entry.
    pub leader: LeaderId,
    /// Log time of the pack.
    pub now: LogTime,
}
