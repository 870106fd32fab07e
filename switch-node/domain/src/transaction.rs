//! A transaction and what belongs to it: operations, attempts at networks, and the lanes on which reversals and advices
//! are repeated until a network acknowledges them.
//!
//! ```text
//! attempt   Open ─┬─ Approved ── (void, release) ──► reversal lane
//!                 ├─ Declined
//!                 ├─ NotSent
//!                 └─ TimedOut / Invalid ───────────► reversal lane
//! lane      Pending ─┬─ Acknowledged ─┐ a late approval or a late send
//!                    ├─ NotFound ─────┤ makes it Pending again, as a new
//!                    └─ Parked ─── Resolved         generation (R13)
//! ```
//!
//! One more generation follows an acknowledgement at once while another approval of the attempt waits for its reversal, and a
//! "not found" that can never be final passes its approval over for the next one.

use crate::{
    authorization::Credentials,
    card::CardReference,
    id::{
        AttemptId, GatewayId, LeaderId, LinkId, MerchantId, NetworkId, Owner, Position, RequestId, RouteId, Rrn, Stan,
        TerminalId, TransactionId,
    },
    limits,
    money::{Amount, Currency},
    outcome::{AnswerText, Decision, NotSent, ResponseCode, Told},
    time::{LogTime, TransmissionTime},
};

/// What a gateway may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// An authorization to be captured later, or a sale where `automatic` capture was asked.
    Authorize,
    /// Raises an authorization.
    Increment,
    /// Takes authorized money.
    Capture,
    /// Cancels.
    Void,
    /// Gives captured money back.
    Refund,
    /// Checks a card.
    Verify,
}

/// When money is captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureMode {
    /// By a later capture.
    Manual,
    /// With the authorization: one financial message.
    Automatic,
}

/// How the card entered (ISO 8583 field 22, first two digits).
#[allow(missing_docs)] // the names are the trade's own
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryMode {
    Manual,
    MagneticStripe,
    Chip,
    ContactlessChip,
    ContactlessStripe,
    Fallback,
    Ecommerce,
    CredentialOnFile,
    MailOrTelephone,
}

impl EntryMode {
    /// Two digits of field 22.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Manual | Self::MailOrTelephone => "01",
            Self::MagneticStripe => "90",
            Self::Chip => "05",
            Self::ContactlessChip => "07",
            Self::ContactlessStripe => "91",
            Self::Fallback => "80",
            Self::Ecommerce => "81",
            Self::CredentialOnFile => "10",
        }
    }
}

/// Who sells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merchant {
    /// Card acceptor id.
    pub id: MerchantId,
    /// Terminal id.
    pub terminal: TerminalId,
    /// Merchant category code, four digits.
    pub category: AnswerText,
    /// Name, 25 characters at most.
    pub name: AnswerText,
    /// City, 13 characters at most.
    pub city: AnswerText,
    /// ISO 3166-1 alpha-2 country.
    pub country: AnswerText,
    /// Acquiring institution id from the directory, up to 11 digits.
    pub acquirer: AnswerText,
}

/// Whether unanswered requests of a network are reversed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReversalPolicy {
    /// Every one.
    Always,
    /// None: they end unresolved (R22).
    Never,
}

/// The part of a network's profile that an attempt was decided under: kept with it, so that apply is pure (R24).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How long the switch waits for an answer, milliseconds.
    pub attempt_timeout_ms: u32,
    /// Longest time a message may travel after the deadline, milliseconds (R13).
    pub in_flight_max_ms: u32,
    /// How long lanes repeat at full rate before they are parked, milliseconds (R25).
    pub repeat_budget_ms: u32,
    /// Whether unanswered requests are reversed.
    pub reversal_policy: ReversalPolicy,
    /// True where 00 to a reversal proves that the original was found (R13).
    pub acknowledgement_proves_match: bool,
    /// True where a reversal carries a trace number of its own.
    pub reversal_has_own_stan: bool,
    /// How long an approval is valid, milliseconds (R9).
    pub valid_ms: u64,
    /// How much more than authorized may be captured, basis points (R11).
    pub capture_tolerance_basis_points: u32,
    /// Bound of unresolved items (R23).
    pub doubt_count_max: u32,
    /// Bound of unresolved money in this currency, zero for none (R23).
    pub doubt_amount_max: Amount,
}

/// What identifies one message in a network's books; repeats carry the same (R14).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireIdentity {
    /// Systems trace audit number.
    pub stan: Stan,
    /// Retrieval reference number.
    pub rrn: Rrn,
    /// Transmission time.
    pub transmission: TransmissionTime,
}

/// Where an attempt stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptState {
    /// Committed; may have been sent, not answered.
    Open,
    /// Approved for this amount.
    Approved(Amount),
    /// A no.
    Declined,
    /// Nothing left the cluster.
    NotSent(NotSent),
    /// No answer in time.
    TimedOut,
    /// The answer was neither a yes nor a no.
    Invalid,
}

/// An approval that a network gave for an attempt, as far as two can be told apart: equal ones are copies of one approval,
/// and each distinct one is reversed by itself (R13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenApproval {
    /// Approval code.
    pub approval_code: AnswerText,
    /// The network's own id of the transaction.
    pub network_transaction_id: AnswerText,
    /// Approved amount; `None` where the answer does not say how much of the transaction's currency (R18).
    pub amount: Option<Amount>,
}

/// Why something is reversed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReversalReason {
    /// No answer in time.
    Timeout,
    /// The gateway voided it.
    Cancelled,
    /// The answer could not be used.
    InvalidResponse,
    /// What was not captured is released.
    Remainder,
    /// A partial approval that nobody asked for.
    UnsupportedPartial,
}

/// How an operator closed a parked item (R25).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// The network's books hold no money for it.
    Reversed,
    /// The network's books hold the money.
    Stands,
}

/// Where a lane stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneState {
    /// Repeated until acknowledged.
    Pending,
    /// Acknowledged.
    Acknowledged,
    /// The network never had the original.
    NotFound,
    /// The network refuses it, or the retry budget is used up; still tried at a slow rate unless it was refused.
    Parked {
        /// True where the network refused it: repeating cannot help.
        refused: bool,
    },
    /// Closed by an operator.
    Resolved(Resolution),
}

impl LaneState {
    /// True where nothing is owed any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        match self {
            Self::Pending | Self::Parked { .. } => false,
            Self::Acknowledged | Self::NotFound | Self::Resolved(_) => true,
        }
    }
}

/// A message that is repeated until the network acknowledges it. All of it is fixed by the entry that made it (R14).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// Identity on the wire.
    pub identity: WireIdentity,
    /// Grows when a late approval or a late send makes earlier acknowledgements worthless (R13); answers to an earlier
    /// generation are ignored.
    pub generation: u16,
    /// Where it stands.
    pub state: LaneState,
    /// When it was made.
    pub since: LogTime,
    /// The leader that made it: a first send by any other is marked as a repeat (R14).
    pub maker: LeaderId,
    /// True once the network said that it does not know the original, or acknowledged without proof (R13).
    pub doubted_once: bool,
    /// Amount it undoes or captures.
    pub amount: Amount,
    /// How an operator proposes to close it while it is parked; how it was closed, and by whom, once it is resolved (R25).
    pub resolution: Option<Box<ProposedResolution>>,
}

/// An operator's proposal of how a parked lane ends. It corrects nothing: only another operator's confirmation does (R25).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProposedResolution {
    /// The entry that proposed it; it is named by this, so that nobody confirms what they have not seen.
    pub position: Position,
    /// When, in log time.
    pub since: LogTime,
    /// How the lane shall end.
    pub resolution: Resolution,
    /// SPIFFE id of the operator.
    pub author: String,
    /// What shows it.
    pub evidence: String,
    /// Who confirmed it, `None` while nobody has.
    pub confirmed: Option<Confirmation>,
}

/// The second operator's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirmation {
    /// SPIFFE id; never that of the author.
    pub author: String,
    /// When, in log time.
    pub time: LogTime,
}

impl ProposedResolution {
    /// True while it may be confirmed.
    #[must_use]
    pub fn is_open(&self, now: LogTime) -> bool {
        self.confirmed.is_none() && now < self.expires()
    }

    /// When it expires unless it is confirmed, in log time.
    #[must_use]
    pub fn expires(&self) -> LogTime {
        self.since.after_ms(limits::RESOLUTION_OPEN_MS)
    }
}

/// The reversal of an attempt. Time-out, void, release and late approval join the one lane (R12).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reversal {
    /// Why it was first made.
    pub reason: ReversalReason,
    /// Approved amount where it is known.
    pub approved: Option<Amount>,
    /// The lane.
    pub lane: Lane,
    /// How many of the attempt's approvals, first to last, have been given a reversal of their own. While the lane is open all
    /// of those are acknowledged but the one that it is about and those that were passed over; the approvals behind them wait
    /// for their turn (R13).
    pub approvals_reversed: u16,
    /// Trace numbers of earlier generations that nobody acknowledged: not given out again before the lane ends (R14).
    pub superseded: Vec<Stan>,
    /// Approvals whose reversal was only ever answered with "not found", in the order in which they are asked for again once
    /// nothing else waits. The lane is not over before each is acknowledged, or closed by two persons (R13, R25); where those find
    /// that the money stands, a void asks for each of them too.
    pub passed_over: Vec<PassedOver>,
}

/// An approval that others went before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    /// Approved amount where it is known.
    pub approved: Option<Amount>,
}

impl Reversal {
    /// True where two persons found that the money is at the network after all (R25).
    #[must_use]
    pub fn stands(&self) -> bool {
        self.lane.state == LaneState::Resolved(Resolution::Stands)
    }
}

/// One conversation with a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Network asked.
    pub network: NetworkId,
    /// Link used.
    pub link: LinkId,
    /// Route that chose it.
    pub route: Option<RouteId>,
    /// Identity on the wire.
    pub identity: WireIdentity,
    /// Terms it was decided under.
    pub terms: Terms,
    /// When the attempt timer ends, in log time.
    pub deadline: LogTime,
    /// Process that holds the conversation.
    pub owner: Owner,
    /// Where it stands.
    pub state: AttemptState,
    /// Response code as received.
    pub response_code: Option<ResponseCode>,
    /// Approvals seen.
    pub approvals: Vec<SeenApproval>,
    /// True where an approval came after the decision.
    pub late_approval: bool,
    /// True where a second, different answer came: an alarm, never a change.
    pub conflicting_answer: bool,
    /// Its reversal.
    pub reversal: Option<Reversal>,
    /// Entry that opened it.
    pub opened: Position,
}

/// The advice of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// Link it goes to: that of the authorization.
    pub link: LinkId,
    /// Network it goes to.
    pub network: NetworkId,
    /// The lane.
    pub lane: Lane,
}

/// Keyed digest of what an operation asks, from opened data (R16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Version of the key.
    pub key_version: u32,
    /// First 16 bytes of the HMAC.
    pub digest: [u8; 16],
}

/// One thing that was asked about a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The gateway's key.
    pub request_id: RequestId,
    /// What.
    pub method: Method,
    /// Amount asked; zero for void and verify.
    pub amount: Amount,
    /// Digest of what was asked.
    pub fingerprint: Fingerprint,
    /// When it was accepted.
    pub accepted: LogTime,
    /// True where a capture was the last.
    pub final_capture: bool,
    /// True where a partial approval is welcome.
    pub partial_supported: bool,
    /// True once a void asked for an open attempt to be undone (R12).
    pub void_requested: bool,
    /// What it reserves of its gateway's day, zero without a limit (R24).
    pub day_reserved: Amount,
    /// True where its gateway's day had a limit: what a late approval brings back into doubt is then reserved again (R24).
    pub day_limited: bool,
    /// Conversations, first to last.
    pub attempts: Vec<Attempt>,
    /// Advice of a capture.
    pub advice: Option<Advice>,
    /// What was told; `None` while it is open.
    pub told: Option<Told>,
}

/// A transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Id.
    pub id: TransactionId,
    /// Tenant.
    pub gateway: GatewayId,
    /// Grows by one with every change that is told, without gaps (R20).
    pub revision: u32,
    /// When it was accepted.
    pub created: LogTime,
    /// When it last changed.
    pub changed: LogTime,
    /// Currency of every amount.
    pub currency: Currency,
    /// When money is captured.
    pub capture_mode: CaptureMode,
    /// How the card entered.
    pub entry_mode: EntryMode,
    /// Who sells.
    pub merchant: Merchant,
    /// The card.
    pub card: CardReference,
    /// How card and cardholder were vouched for.
    pub credentials: Credentials,
    /// The merchant's own reference.
    pub merchant_reference: AnswerText,
    /// The network's own id.
    pub network_transaction_id: AnswerText,
    /// Version of the directory it was decided under (R24).
    pub directory_version: u64,
    /// Captures and increments are refused after this time; zero until approved.
    pub valid_until: LogTime,
    /// True once an EXPIRED entry released the hold (R9).
    pub expired: bool,
    /// Operations; the first is the authorization or the verification.
    pub operations: Vec<Operation>,
}

/// Sums of a transaction (R11, R21).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Approved and not being reversed as a whole.
    pub authorized: Amount,
    /// Captured.
    pub captured: Amount,
    /// Refunded: approved refunds that stand.
    pub refunded: Amount,
    /// Refunds that are open or in doubt: they count against what may be refunded.
    pub refunds_in_doubt: Amount,
    /// Authorized, not captured, not released.
    pub held: Amount,
}

impl Attempt {
    /// What the network approved and no reversal undoes: the operator's word counts where there is one (R25).
    #[must_use]
    pub fn standing(&self) -> Amount {
        let AttemptState::Approved(approved) = self.state else {
            return match self.reversal.as_ref().map(|reversal| (reversal.lane.state, reversal)) {
                Some((LaneState::Resolved(Resolution::Stands), reversal)) => {
                    reversal.approved.unwrap_or(reversal.lane.amount)
                }
                _ => Amount::ZERO,
            };
        };
        match &self.reversal {
            None => approved,
            Some(reversal) if reversal.lane.state == LaneState::Resolved(Resolution::Stands) => approved,
            Some(reversal) if reversal.reason == ReversalReason::Remainder => approved,
            Some(_) => Amount::ZERO,
        }
    }

    /// Part of the approval that was released after a final capture or at expiry.
    #[must_use]
    pub fn released(&self) -> Amount {
        match &self.reversal {
            Some(reversal)
                if reversal.reason == ReversalReason::Remainder
                    && reversal.lane.state != LaneState::Resolved(Resolution::Stands) =>
            {
                reversal.lane.amount
            }
            _ => Amount::ZERO,
        }
    }

    /// True where it is not known whether the network holds money for it: open, closed without an answer, or with a
    /// reversal of the whole that is not final (R11).
    #[must_use]
    pub fn in_doubt(&self) -> bool {
        let Some(reversal) = &self.reversal else {
            return match self.state {
                AttemptState::Open | AttemptState::TimedOut | AttemptState::Invalid => true,
                // A yes after the no, at a network that takes no reversals: the money may be there.
                AttemptState::Declined | AttemptState::NotSent(_) => !self.approvals.is_empty(),
                AttemptState::Approved(_) => false,
            };
        };
        reversal.reason != ReversalReason::Remainder && !reversal.lane.state.is_final()
    }

    /// True where an approval waits for a reversal of its own behind the one that is under way (R13). What stands beside a
    /// released remainder waits for nothing.
    #[must_use]
    pub fn has_waiting_approval(&self) -> bool {
        self.reversal.as_ref().is_some_and(|reversal| {
            reversal.reason != ReversalReason::Remainder
                && usize::from(reversal.approvals_reversed) < self.approvals.len()
        })
    }
}

impl Operation {
    /// The last attempt.
    #[must_use]
    pub fn last_attempt(&self) -> Option<&Attempt> {
        self.attempts.last()
    }

    /// The attempt whose money stands, with its number: what a refund goes back to. The last one where none stands.
    #[must_use]
    pub fn standing_attempt(&self) -> Option<(u16, &Attempt)> {
        let numbered = || (1..).zip(&self.attempts);
        let standing = numbered().filter(|(_, attempt)| !attempt.standing().is_zero()).last();
        standing.or_else(|| numbered().last())
    }

    /// Number of the last attempt, zero for none.
    #[must_use]
    pub fn last_number(&self) -> u16 {
        u16::try_from(self.attempts.len()).unwrap_or(u16::MAX)
    }

    /// True while nothing terminal is committed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.told.is_none()
    }

    /// Where its reversal stands: that of the last attempt that has one.
    #[must_use]
    pub fn reversal_state(&self) -> Option<LaneState> {
        self.attempts.iter().rev().find_map(|attempt| attempt.reversal.as_ref().map(|reversal| reversal.lane.state))
    }
}

impl Transaction {
    /// The authorization or the verification.
    ///
    /// # Panics
    /// Never: a transaction is made with its first operation.
    #[must_use]
    pub fn first(&self) -> &Operation {
        self.operations.first().expect("a transaction is made with its first operation")
    }

    /// The sums, derived from what was committed (R11).
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        let add = |sum: &mut Amount, amount: Amount| *sum = sum.plus(amount).unwrap_or(*sum);
        let mut released = Amount::ZERO;
        for operation in &self.operations {
            let decided = operation.told.as_ref().map(|told| told.decision);
            match operation.method {
                Method::Authorize | Method::Increment => {
                    for attempt in &operation.attempts {
                        add(&mut totals.authorized, attempt.standing());
                        add(&mut released, attempt.released());
                        if self.capture_mode == CaptureMode::Automatic {
                            add(&mut totals.captured, attempt.standing());
                        }
                    }
                }
                // An operator's word that the network never took the capture corrects the sum (R25).
                Method::Capture
                    if decided == Some(Decision::Approved)
                        && operation.advice.as_ref().map(|advice| advice.lane.state)
                            != Some(LaneState::Resolved(Resolution::Reversed)) =>
                {
                    add(&mut totals.captured, operation.amount);
                }
                Method::Refund => {
                    for attempt in &operation.attempts {
                        add(&mut totals.refunded, attempt.standing());
                        if attempt.in_doubt() {
                            add(&mut totals.refunds_in_doubt, operation.amount);
                        }
                    }
                }
                Method::Capture | Method::Void | Method::Verify => {}
            }
        }
        totals.held = totals.authorized.saturating_minus(totals.captured).saturating_minus(released);
        totals
    }

    /// True once a gateway voided it.
    #[must_use]
    pub fn is_voided(&self) -> bool {
        self.operations.iter().any(|operation| operation.method == Method::Void && operation.told.is_some())
    }

    /// The final capture, if there was one.
    #[must_use]
    pub fn is_finally_captured(&self) -> bool {
        self.operations.iter().any(|operation| operation.method == Method::Capture && operation.final_capture)
    }

    /// Id of an attempt of one of its operations.
    #[must_use]
    pub fn attempt_id(&self, operation: usize, number: u16) -> AttemptId {
        AttemptId { transaction: self.id, operation: u16::try_from(operation).unwrap_or(u16::MAX), number }
    }

    /// Where the transaction as a whole stands.
    #[must_use]
    pub fn status(&self) -> Status {
        let first = self.first();
        let Some(told) = &first.told else { return Status::Open };
        let totals = self.totals();
        match (first.method, told.decision) {
            (_, Decision::Unresolved) => Status::Unresolved,
            (_, Decision::TimedOut) => Status::TimedOut,
            (_, Decision::Voided) => Status::Voided,
            (_, Decision::Declined) => Status::Declined,
            (Method::Verify, Decision::Approved | Decision::PartiallyApproved) => Status::Verified,
            (_, Decision::Approved | Decision::PartiallyApproved) => {
                if self.is_voided() {
                    Status::Voided
                } else if !totals.captured.is_zero() && totals.refunded == totals.captured {
                    Status::Refunded
                } else if !totals.captured.is_zero() && (totals.held.is_zero() || self.is_finally_captured()) {
                    Status::Captured
                } else if !totals.captured.is_zero() {
                    Status::PartiallyCaptured
                } else if self.expired {
                    Status::Expired
                } else {
                    Status::Authorized
                }
            }
        }
    }
}

/// Life of a transaction as a whole.
#[allow(missing_docs)] // the contract explains each
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Open,
    Authorized,
    PartiallyCaptured,
    Captured,
    Refunded,
    Declined,
    TimedOut,
    Voided,
    Expired,
    Verified,
    Unresolved,
}
