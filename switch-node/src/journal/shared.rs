//! What apply tells the rest of the node, and what everybody may ask without waiting.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use switch_domain::{
    directory::Directory,
    id::{AttemptRef, LeaderId, LinkId},
    keyring::Keyring,
    route::RouteTable,
    time::LogTime,
};
use tokio::sync::{Notify, watch};

use super::{
    limits,
    reign::Reign,
    waiters::{Decisions, Events, Tickets},
};
use crate::codec::Mark;

/// The directory as it is applied here, with its routes indexed.
#[derive(Debug, Default)]
pub struct Standing {
    /// The directory.
    pub directory: Directory,
    /// Its routes.
    pub routes: RouteTable,
}

impl Standing {
    /// Indexes a directory.
    pub fn of(directory: Directory) -> Self {
        Self { routes: RouteTable::of(&directory), directory }
    }
}

/// A reversal or an advice that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wake {
    /// Link it goes to.
    pub link: LinkId,
    /// Which.
    pub attempt: AttemptRef,
    /// True where an operator asks for it: also a lane that the network refused is then tried once more (R25).
    pub forced: bool,
}

/// Wake-ups of the store-and-forward. Bounded: what does not fit is found by a scan.
#[derive(Default)]
pub struct Wakes {
    queue: Mutex<(VecDeque<Wake>, bool)>,
    bell: Notify,
}

impl Wakes {
    /// Adds one; past the bound only the fact remains that there was more.
    pub fn push(&self, wake: Wake) {
        let mut queue = self.queue.lock();
        if queue.0.len() < limits::WAKES_MAX {
            queue.0.push_back(wake);
        } else {
            queue.1 = true;
        }
        drop(queue);
        self.bell.notify_one();
    }

    /// Takes all, and whether some did not fit.
    pub fn take(&self) -> (VecDeque<Wake>, bool) {
        std::mem::take(&mut *self.queue.lock())
    }

    /// Waits for the next.
    pub async fn wait(&self) {
        self.bell.notified().await;
    }
}

/// Shared by apply, which writes it, and the rest of the node.
pub struct Shared {
    /// This node.
    pub node: u64,
    /// Random id of this start (R1): tickets and dispatches of another start are never ours.
    pub boot: u64,
    /// Waiters of this process's proposals.
    pub tickets: Tickets,
    /// Callers that wait for a decision.
    pub decisions: Decisions,
    /// Watches.
    pub events: Events,
    /// Reversals and advices to send.
    pub wakes: Wakes,
    /// The directory.
    pub standing: ArcSwap<Standing>,
    /// Version of the directory, for those who follow it.
    pub directory_version: watch::Sender<u64>,
    /// The data keys, for those who use and follow them.
    pub keyring: watch::Sender<Arc<Keyring>>,
    /// The reign that the last own blank entry began.
    pub crowned: watch::Sender<Option<Reign>>,
    applied: AtomicU64,
    log_time: AtomicU64,
    mark: Mutex<Mark>,
}

impl Shared {
    /// Of a node that has applied nothing yet.
    pub fn new(node: u64, boot: u64) -> Arc<Self> {
        Arc::new(Self {
            node,
            boot,
            tickets: Tickets::default(),
            decisions: Decisions::default(),
            events: Events::default(),
            wakes: Wakes::default(),
            standing: ArcSwap::default(),
            directory_version: watch::Sender::new(0),
            keyring: watch::Sender::new(Arc::default()),
            crowned: watch::Sender::new(None),
            applied: AtomicU64::new(0),
            log_time: AtomicU64::new(0),
            mark: Mutex::default(),
        })
    }

    /// Installs a directory.
    pub fn stand(&self, directory: Directory) {
        let version = directory.version;
        self.standing.store(Arc::new(Standing::of(directory)));
        self.directory_version.send_replace(version);
    }

    /// Log index up to which the table goes.
    pub fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// The greatest log time applied.
    pub fn log_time(&self) -> LogTime {
        LogTime(self.log_time.load(Ordering::Acquire))
    }

    /// Index and hash that belong together.
    pub fn mark(&self) -> Mark {
        *self.mark.lock()
    }

    /// After a commit of the table.
    pub fn advance(&self, mark: Mark, log_time: LogTime) {
        self.log_time.store(log_time.0, Ordering::Release);
        *self.mark.lock() = mark;
        self.applied.store(mark.applied, Ordering::Release);
    }

    /// True where the leader id is the one this node reigns, or last reigned, under.
    pub fn is_own(&self, leader: LeaderId) -> bool {
        self.crowned.borrow().is_some_and(|reign| reign.leader == leader)
    }
}
