//! The services of `payswitch.operator.v1`. Reads of the cluster and of this node's own records need no leader; reads of the
//! directory and of what is owed are linearizable; changes are made by the leader only, and others say where it is.
//!
//! Every change is written to the log with its author, before anything is done.

mod clock;
mod cluster;
mod directory;
mod record;
mod refusals;
mod reversal;

use std::{sync::Arc, time::Duration};

use switch_consensus::{Formation, PeerWire};
use tokio::{sync::watch, time::Instant};
use tokio_util::task::TaskTracker;
use tonic::{Code, Request, Status};

use super::drain::{HandOver, Intake};
use crate::{
    door::{deadline::time_left, peer::PeerIdentity, refusal::refused},
    flow::Gate,
    journal::{Journal, WallClock, reign::Reign},
    link::Links,
    outcome::Conversations,
};

/// What the services work with.
pub struct Parts {
    /// The journal.
    pub journal: Journal,
    /// The links of this node.
    pub links: Arc<Links>,
    /// Stops requests at the last moment, while leadership is handed over.
    pub gate: Arc<Gate>,
    /// Conversations with networks.
    pub conversations: Arc<Conversations>,
    /// Says whether this node takes new calls while it leads; nobody else writes to it.
    pub intake: Arc<watch::Sender<bool>>,
    /// The way to nodes that are no members yet.
    pub wire: Arc<dyn PeerWire>,
    /// How this node would form a cluster.
    pub formation: Formation,
    /// Tasks that outlive a call; joined by the node.
    pub tasks: TaskTracker,
    /// Wall clock of this node.
    pub wall: Arc<dyn WallClock>,
}

/// The four services. Cheap to clone.
#[derive(Clone)]
pub struct Operators {
    shared: Arc<Shared>,
}

struct Shared {
    journal: Journal,
    links: Arc<Links>,
    wire: Arc<dyn PeerWire>,
    formation: Formation,
    tasks: TaskTracker,
    wall: Arc<dyn WallClock>,
    hand_over: Arc<HandOver>,
}

impl Operators {
    /// Puts them together.
    pub fn new(parts: Parts) -> Self {
        let Parts { journal, links, gate, conversations, intake, wire, formation, tasks, wall } = parts;
        let hand_over = HandOver::new(journal.clone(), gate, conversations, Intake::new(intake), tasks.clone());
        Self { shared: Arc::new(Shared { journal, links, wire, formation, tasks, wall, hand_over }) }
    }

    /// Before the process ends: hands leadership over and waits for conversations with networks, until `until`. Returns how
    /// many conversations were left.
    pub async fn drain(&self, until: Instant) -> usize {
        self.shared.hand_over.drain(until).await
    }

    /// The reign of this node, or where the leader is.
    fn reign(&self) -> Result<Reign, Status> {
        self.shared.journal.reign().ok_or_else(|| self.not_leader())
    }

    /// Where the leader is, for a caller that may follow.
    fn not_leader(&self) -> Status {
        let leadership = self.shared.journal.group().leadership().borrow().clone();
        match (leadership.leader, leadership.record) {
            (Some(leader), Some(record)) if !leadership.is_self => {
                refusals::not_leader(leader.node, &record.operator_address)
            }
            _ => refusals::no_leader(),
        }
    }

    /// Waits until everything acknowledged before this call is applied here.
    async fn current(&self, until: Instant) -> Result<(), Status> {
        self.shared.journal.read_barrier(until).await.map_err(refusals::of_read)
    }
}

/// Who calls.
fn author<T>(request: &Request<T>) -> Result<String, Status> {
    let peer = request.extensions().get::<PeerIdentity>();
    let peer = peer.ok_or_else(|| refused(Code::Unauthenticated, "NO_IDENTITY", "the connection has no identity"))?;
    Ok(peer.principal().to_string())
}

/// Until when the caller waits, a little earlier than tonic gives up, and within this door's own bound.
fn until<T>(request: &Request<T>) -> Result<Instant, Status> {
    let left = time_left(request.metadata().as_ref())
        .map_err(|fault| refused(Code::InvalidArgument, "DEADLINE_MALFORMED", fault.to_string()))?;
    let left = left.map_or(CALL_MAX, |left| left.saturating_sub(MARGIN.min(left / 10)).min(CALL_MAX));
    Ok(Instant::now() + left)
}

/// Runs what belongs to one call until the caller's deadline.
async fn within<T>(until: Instant, work: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    tokio::time::timeout_at(until, work).await.unwrap_or_else(|_| Err(refusals::late()))
}

/// A call of an operator: an election, a membership change and a hand-over fit.
const CALL_MAX: Duration = Duration::from_secs(60);
/// How much earlier than the caller we give up, so that it hears why.
const MARGIN: Duration = Duration::from_millis(50);
