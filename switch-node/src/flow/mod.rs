//! The path, one file for each thing a gateway may ask. [`authorize`] is the whole of it in a straight line.
//!
//! From the proposal of an `Open` on, the path runs in a task that the node owns; callers only wait for it, and their
//! cancelling ends the waiting, never the attempt (R2).

mod authorize;
mod change;
mod converse;
mod gate;
mod inquire;
pub mod limits;
mod pace;
mod watch;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

pub use change::CaptureAsked;
pub use gate::Gate;
pub use inquire::{Inquiry, Named};
pub use pace::{Pace, Took};
use switch_domain::{
    directory::Gateway,
    entry::{Command, Plan},
    id::{GatewayId, Owner, RequestId, Slot, TransactionId},
    refusal::Refusal,
    table::{RequestRow, TableFault},
    time::LogTime,
};
use thiserror::Error;
use tokio::{
    sync::{Semaphore, watch::Receiver},
    time::{Duration, Instant},
};
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;
pub use watch::{EVENTS_AT_ONCE, Seen, WatchedEvent};

use crate::{
    journal::{Journal, Lost, ReadFault},
    link::Links,
    outcome::{Conversations, Courier},
    router::Stop,
    security::vault::{Vault, VaultFault},
    telemetry,
};

/// Why a gateway gets no decision.
#[derive(Debug, Error)]
pub enum FlowError {
    /// The book refuses; nothing is stored.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Nothing was proposed: this node does not lead.
    #[error("this node does not lead")]
    NotLeader,
    /// Nothing terminal is known to be committed (R3).
    #[error("it is not known what came of the request")]
    OutcomeUnknown,
    /// The key's first request is still under way and the caller's time is over (R16).
    #[error("the request is still in progress")]
    InProgress,
    /// The caller's deadline is shorter than the attempt timer and its margin (R3).
    #[error("the deadline leaves {left_ms} ms, this request needs {needed_ms} ms")]
    DeadlineTooShort {
        /// Left.
        left_ms: u64,
        /// Needed.
        needed_ms: u64,
    },
    /// The deadline was long enough, and what is left of it is not: the switch has used it up before anything was begun.
    #[error("the time ended before anything was begun")]
    TimeUsedUp,
    /// Every link that could take it is full, and nothing was begun: a network is slower than its payments come.
    #[error("every link to the card's networks is full")]
    NoRoom,
    /// Too many flows are under way.
    #[error("{0} requests are under way, which is the bound")]
    Overloaded(usize),
    /// The disk's reserve is touched: new payments are refused so that what is under way can commit (R23).
    #[error("the disk is nearly full; an operator must free space")]
    DiskReserve,
    /// The read could not be confirmed.
    #[error(transparent)]
    Read(#[from] ReadFault),
    /// The table is damaged; the node is stopping.
    #[error(transparent)]
    Table(#[from] TableFault),
    /// The vault cannot seal or open.
    #[error(transparent)]
    Vault(#[from] VaultFault),
    /// A watch token that has expired (R20).
    #[error("the events after this token are no longer kept")]
    TokenExpired {
        /// When the last event was made that the token has seen: what changed since must be listed.
        list_from: LogTime,
    },
    /// A token this switch did not make.
    #[error("the token is malformed")]
    TokenMalformed,
}

/// What the path works with. One for each node.
pub struct Flow {
    journal: Journal,
    links: Arc<Links>,
    vault: Arc<Vault>,
    courier: Arc<dyn Courier>,
    conversations: Arc<Conversations>,
    tasks: TaskTracker,
    room: Arc<Semaphore>,
    next_id: AtomicU64,
    /// Set while the disk's reserve is touched: nothing new is opened (R23).
    disk_low: AtomicBool,
    /// Whether new calls are taken; closed during a hand-over (R4).
    intake: Receiver<bool>,
    stopwatch: pace::Stopwatch,
}

/// How long a caller waits.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Until when.
    pub until: Instant,
    /// How long when its call came in.
    pub given: Duration,
}

impl Flow {
    /// Puts the path together.
    pub fn new(
        journal: Journal,
        links: Arc<Links>,
        vault: Arc<Vault>,
        courier: Arc<dyn Courier>,
        conversations: Arc<Conversations>,
        tasks: TaskTracker,
        intake: Receiver<bool>,
    ) -> Arc<Self> {
        Arc::new(Self {
            journal,
            links,
            vault,
            courier,
            conversations,
            tasks,
            room: Arc::new(Semaphore::new(limits::FLOWS_MAX)),
            next_id: AtomicU64::new(0),
            disk_low: AtomicBool::new(false),
            intake,
            stopwatch: pace::Stopwatch::default(),
        })
    }

    /// Says whether the disk's reserve is touched.
    pub fn set_disk_low(&self, low: bool) {
        if self.disk_low.swap(low, Ordering::Relaxed) != low {
            tracing::warn!(low, "the disk's reserve");
        }
    }

    /// The journal.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The tenant that a principal acts for, and whether it may do so now (R10).
    pub fn tenant(&self, principal: &str) -> Option<Gateway> {
        self.journal.standing().directory.gateway_of(principal).cloned()
    }

    /// Tasks of the node.
    pub fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// What the stations took since this was last asked.
    pub fn pace(&self) -> Pace {
        self.stopwatch.look()
    }

    /// Requests that the links in service can have in flight together.
    pub fn room(&self) -> u32 {
        self.links.room()
    }

    /// What a new payment must have left of its time at least: the shortest attempt timer there is, and half of the margin
    /// (R3).
    pub fn payment_needs(&self) -> Duration {
        let standing = self.journal.standing();
        let enabled = standing.directory.networks.values().filter(|network| network.enabled);
        let timer_ms = enabled.map(|network| network.attempt_timeout_ms).min().unwrap_or_default();
        Duration::from_millis(u64::from(timer_ms) + switch_domain::limits::DEADLINE_MARGIN_MS / 2)
    }

    /// True where a key belongs to an operation in this node's table, decided or not. No barrier.
    pub fn knows(&self, gateway: &GatewayId, original: Option<TransactionId>, request_id: &RequestId) -> bool {
        matches!(self.journal.request(gateway, original, request_id), Ok(Some(RequestRow::Operation { .. })))
    }

    /// Attempts that are under way here.
    pub fn conversations(&self) -> &Arc<Conversations> {
        &self.conversations
    }

    /// An id that no other process and no other call of this one makes: boot id and a counter.
    fn transaction_id(&self, gateway: &GatewayId, request_id: &RequestId) -> TransactionId {
        let count = self.next_id.fetch_add(1, Ordering::Relaxed);
        let unique = (u128::from(self.journal.shared().boot) << 32) | u128::from(count & 0xffff_ffff);
        TransactionId::new(self.journal.log_time().0, Slot::of(gateway, request_id), unique)
    }

    /// How a stop is asked by this process in its present reign.
    fn plan(&self, stop: &Stop) -> Result<Plan, FlowError> {
        let reign = self.journal.reign().ok_or(FlowError::NotLeader)?;
        let shared = self.journal.shared();
        Ok(Plan {
            route: stop.route.clone(),
            network: stop.network.clone(),
            link: stop.link.clone(),
            terms: stop.terms,
            owner: Owner { node: shared.node, boot: shared.boot, term: reign.leader.term },
        })
    }

    /// Runs a piece of the path in a task of the node and waits for it until the deadline (R2).
    async fn owned<T: Send + 'static>(
        &self,
        deadline: Instant,
        work: impl Future<Output = Result<T, FlowError>> + Send + 'static,
    ) -> Result<T, FlowError> {
        let room = self.room.clone().try_acquire_owned().map_err(|_| FlowError::Overloaded(limits::FLOWS_MAX))?;
        let owned = async move {
            let done = work.await;
            drop(room);
            done
        };
        let task = self.tasks.spawn(owned.in_current_span());
        match tokio::time::timeout_at(deadline, task).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) | Err(_) => Err(FlowError::OutcomeUnknown),
        }
    }

    async fn propose(&self, command: Command) -> Result<switch_domain::book::Reply, FlowError> {
        let began = Instant::now();
        let reply = self.journal.propose(command).await.map_err(|lost| match lost {
            Lost::NotTaken | Lost::TooLarge { .. } => FlowError::NotLeader,
            Lost::Unknown => FlowError::OutcomeUnknown,
        })?;
        let took = began.elapsed();
        self.stopwatch.committed(took);
        telemetry::committed(took);
        Ok(reply)
    }
}
