//! The services of `payswitch.operator.v1`. Reads of the cluster and of this node's own records need no leader; reads of the
//! directory and of what is owed are linearizable; changes are made by the leader only, and others say where it is.
//!
//! Every act stands in the audit trail with its author before it is done, and what came of it after.

mod audit;
mod clock;
mod cluster;
mod directory;
mod key;
mod outlet;
mod record;
mod refusals;
pub(super) mod reversal;
mod snapshot;
mod transaction;

use std::{sync::Arc, time::Duration};

use switch_consensus::{Formation, PeerWire};
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};
use tokio_util::task::TaskTracker;
use tonic::{Code, Request, Status};

use super::drain::{HandOver, Intake};
use crate::{
    door::{deadline::time_left, peer::PeerIdentity, refusal::refused},
    flow::Gate,
    journal::{Journal, WallClock, reign::Reign},
    keyring::Keeper,
    link::Links,
    outcome::{Conversations, Courier},
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
    /// The way to the leader.
    pub courier: Arc<dyn Courier>,
    /// Keeps the data keys.
    pub keeper: Arc<Keeper>,
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

/// The services. Cheap to clone.
#[derive(Clone)]
pub struct Operators {
    shared: Arc<Shared>,
}

struct Shared {
    journal: Journal,
    links: Arc<Links>,
    courier: Arc<dyn Courier>,
    keeper: Arc<Keeper>,
    wire: Arc<dyn PeerWire>,
    formation: Formation,
    tasks: TaskTracker,
    wall: Arc<dyn WallClock>,
    hand_over: Arc<HandOver>,
    /// One operator reads the whole state at a time: each view keeps what is replaced meanwhile on the disk.
    saving: Arc<Semaphore>,
}

impl Operators {
    /// Puts them together.
    pub fn new(parts: Parts) -> Self {
        let Parts { journal, links, gate, conversations, courier, keeper, intake, wire, formation, tasks, wall } =
            parts;
        let hand_over = HandOver::new(journal.clone(), gate, conversations, Intake::new(intake), tasks.clone());
        let saving = Arc::new(Semaphore::new(1));
        let shared = Shared { journal, links, courier, keeper, wire, formation, tasks, wall, hand_over, saving };
        Self { shared: Arc::new(shared) }
    }

    /// Before the process ends: hands leadership over and waits for conversations with networks, until `until`. Returns how
    /// many conversations were left.
    pub async fn drain(&self, until: Instant) -> usize {
        self.shared.hand_over.drain(until).await
    }

    /// Whether this node takes calls, or is leaving.
    #[must_use]
    pub fn intake(&self) -> Arc<Intake> {
        self.shared.hand_over.intake().clone()
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

/// How many items a page may hold.
fn page_size_of(asked: i32) -> Result<usize, Status> {
    match asked {
        0 => Ok(PAGE_DEFAULT),
        1..=PAGE_MAX => Ok(usize::try_from(asked).unwrap_or(PAGE_DEFAULT)),
        _ => {
            let words = format!("page_size is {asked}, allowed is 0 to {PAGE_MAX}");
            Err(refused(Code::InvalidArgument, "FIELD_OUT_OF_RANGE", words).with("field", "page_size").status())
        }
    }
}

const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: i32 = 1_000;
/// A call of an operator: an election, a membership change and a hand-over fit.
const CALL_MAX: Duration = Duration::from_secs(60);
/// How much earlier than the caller we give up, so that it hears why.
const MARGIN: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_one_to_a_thousand_items() {
        assert_eq!((page_size_of(0).expect("default"), page_size_of(1_000).expect("most")), (100, 1_000));
        for size in [-1, 1_001, i32::MIN] {
            assert_eq!(page_size_of(size).expect_err("refused").code(), Code::InvalidArgument);
        }
    }
}
