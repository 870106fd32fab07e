//! The conversation with a card network: takes a [`Dispatch`] and the card, gives an [`Answer`]. Silence counts: what was
//! written and not answered is unknown, never declined and never absent.
//!
//! ```text
//!   send ─ in-flight window ─ circuit ─ deadline ─ exchange        stack: one call
//!                                                     │
//!          queue ─ gate ─ outbound stream ────────────┤            session: one connection
//!                         inbound stream ─ pending ───┘
//!          connect ─ sign on ─ echo ─ sign off ─ reconnect         grpc: one task a link, driven by health
//!   follow ─ start, replace, sign off                              set: all links, as the directory has them
//! ```
//!
//! | what happened | told |
//! |---|---|
//! | not in service, circuit open, no room, gate refused, time up before the write | `NotSent` |
//! | connection lost after the write | `Unknown(ConnectionLost)` |
//! | no answer within the time | `Unknown(NoAnswer)` |
//! | an answer that cannot be read, or is not to this request | `Unknown(Garbled)` |
//!
//! The border is one place, `session::Outbound::poll_next`: what was given to the transport there may have reached the
//! network, what was not never does. A request is given to it once and never again (R1).

mod breaker;
mod connect;
mod grpc;
mod health;
pub mod limits;
mod message;
mod session;
mod set;
mod settings;
mod stack;
#[cfg(test)]
mod tests;
mod unconnected;

use std::time::Duration;

use async_trait::async_trait;
use rustix::time::{ClockId, clock_gettime};
use switch_domain::{
    authorization::Asked,
    book::Dispatch,
    card::Card,
    id::{AttemptRef, LinkId, MerchantId, TerminalId},
    money::{Amount, Currency},
    outcome::{Answer, AnswerText, LaneVerdict, NetworkAnswer, NotSent},
    transaction::{ReversalReason, WireIdentity},
};
use tokio::time::Instant;

pub use self::{
    breaker::CircuitState,
    connect::{ChannelFactory, ConnectFault, GrpcConnector, Inbound, LinkConnector, Received},
    message::Outgoing,
    session::Outbound,
    set::{LinkStatus, Links, Reserved},
    settings::{CircuitSettings, Settings},
};

/// How the node looks at a request right before its first byte leaves, and hears of a write that ended late (R13).
///
/// Called from the transport's own task: it must not wait.
pub trait SendGate: Send + Sync {
    /// Called at the very moment of writing: deadline, lease, owner and directory once more (R4, R24). Gives how long the
    /// permission lasts, the smaller of what is left of the deadline and of the lease.
    ///
    /// # Errors
    /// Why nothing may be written; then nothing is.
    fn admit(&self, dispatch: &Dispatch) -> Result<Duration, NotSent>;

    /// The write began before and ended after the permission's end: earlier acknowledgements of its reversal prove nothing.
    fn late(&self, attempt: &AttemptRef);

    /// Called at the moment of writing a reversal or an advice: only a leader may, for its marks of repeats are worth nothing
    /// once another one sends too (R14).
    fn admit_lane(&self) -> bool {
        true
    }

    /// A clock that goes on while the machine sleeps. A simulation gives its own.
    fn boot_time(&self) -> Duration {
        boot_time()
    }
}

/// Time since the machine started, sleep included (`CLOCK_BOOTTIME`).
#[must_use]
pub fn boot_time() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// What links tell the node on their own. Must not wait.
pub trait LinkEvents: Send + Sync {
    /// An answer that nobody waits for any more: late, a duplicate, or to a request of another process. It is evidence all
    /// the same.
    fn stray_answer(&self, link: &LinkId, attempt: AttemptRef, answer: NetworkAnswer);

    /// A message that belongs to nothing: to be counted and alarmed.
    fn unmatched(&self, link: &LinkId);

    /// The link stands somewhere else now.
    fn state_changed(&self, link: &LinkId, state: LinkState);
}

/// Where a link stands. Only [`LinkState::InService`] takes money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkState {
    /// No connection.
    Down,
    /// Connected, and not signed on: not yet, refused, or signed off by the network.
    Connected,
    /// Signed on, and taking no money: an echo is overdue, or this node is signing off.
    SignedOn,
    /// Signed on and heard of.
    InService,
}

/// A conversation with a card network.
#[async_trait]
pub trait NetworkLink: Send + Sync {
    /// Its id.
    fn id(&self) -> &LinkId;

    /// Sends a request once; never repeated (R1). Returns at `deadline` at the latest. It takes the room that was reserved for it;
    /// without any it is not sent where the link is full.
    ///
    /// The future may be dropped: the caller then counts the attempt as sent, and an answer becomes a stray.
    async fn send(
        &self,
        dispatch: Dispatch,
        asked: &Asked,
        card: &Card,
        room: Option<Reserved>,
        deadline: Instant,
    ) -> Answer;

    /// Sends one copy of a reversal or an advice and waits for its answer.
    async fn deliver(&self, message: LaneMessage, wait: LaneWait) -> Delivery;

    /// Where it stands.
    fn state(&self) -> LinkState;

    /// True where the circuit is closed: the network is not known to fail.
    fn is_circuit_closed(&self) -> bool;

    /// Requests that wait for an answer.
    fn in_flight(&self) -> u32;

    /// Takes no more, lets what is in flight end until `deadline`, signs off and closes. Never connects again.
    async fn sign_off(&self, deadline: Instant);
}

/// How one copy of a reversal or an advice is waited for.
#[derive(Clone, Copy, Debug)]
pub struct LaneWait {
    /// From then on it is silent: it gives its place in the window back and is still waited for.
    pub silent_at: Instant,
    /// When the waiting ends.
    pub until: Instant,
}

impl LaneWait {
    /// Until then, silent after [`limits::LANE_SILENCE`].
    #[must_use]
    pub fn until(until: Instant) -> Self {
        Self { silent_at: until.min(Instant::now() + limits::LANE_SILENCE), until }
    }
}

/// How one copy of a reversal or an advice went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The network answered.
    Answered(LaneVerdict),
    /// Nothing left the cluster: the next copy is no repeat because of this one.
    NotSent,
    /// It may have reached the network.
    Unanswered,
}

/// One copy of a reversal or an advice. Every field but `repeat` was fixed by the entry that made its lane (R14).
pub struct LaneMessage {
    /// The attempt that is reversed; for an advice the capture's own id.
    pub attempt: AttemptRef,
    /// Its identity on the wire.
    pub identity: WireIdentity,
    /// True where an earlier copy may have reached the network.
    pub repeat: bool,
    /// What it says.
    pub kind: LaneKind,
    /// Currency of its amounts.
    pub currency: Currency,
    /// Card acceptor id.
    pub merchant: MerchantId,
    /// Terminal id.
    pub terminal: TerminalId,
    /// Acquiring institution id.
    pub acquirer: AnswerText,
    /// The card; only number, expiry, sequence number and chip data are sent (R7).
    pub card: Card,
}

/// What a reversal or an advice says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LaneKind {
    /// Undoes an attempt.
    Reversal {
        /// Identity of the original on the wire.
        original: WireIdentity,
        /// Amount that was asked.
        requested: Amount,
        /// Amount that was approved, where it is known.
        approved: Option<Amount>,
        /// Amount that is undone.
        reversed: Amount,
        /// Why.
        reason: ReversalReason,
    },
    /// Tells of a capture.
    Advice {
        /// The authorization.
        original: AttemptRef,
        /// Amount captured.
        amount: Amount,
        /// True where no further capture follows.
        is_final: bool,
    },
}
