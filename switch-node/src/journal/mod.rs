//! Station ③: the only way to the disks. It takes commands, packs what has queued into one entry while others are in flight,
//! and returns what each command came to once a quorum has it and this node has applied it.
//!
//! ```text
//! propose ─► queue ─► pack (≤ 512) ─► Group ─► quorum ─► apply ─► table commit ─► ticket ─► propose returns
//! ```
//!
//! A proposal is refused with [`Lost::NotTaken`] or [`Lost::TooLarge`] only where it is certain that it will never be applied;
//! everything else is [`Lost::Unknown`].

mod apply;
mod chain;
pub mod clock;
pub mod limits;
pub mod reign;
pub mod shared;
mod waiters;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

pub use apply::{BookMachine, WallClock};
use switch_consensus::{Group, ProposeError, ReadError, limits::PACK_BYTES_MAX};
use switch_domain::{
    book::{Book, Reply, Settled},
    directory::{DirectoryCommand, DirectoryRefusal},
    entry::Command,
    id::{GatewayId, Position, RequestId, TransactionId},
    keyring::{KeyringCommand, KeyringRefusal, KeyringReply},
    table::{Key, RequestRow, Row, TableFault},
    time::LogTime,
    transaction::Transaction,
};
use thiserror::Error;
use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    time::Instant,
};

use self::{
    reign::Reign,
    shared::{Shared, Standing},
    waiters::{Outcome, Waiter},
};
use crate::{
    codec::{self, Pack, PackBody},
    storage::Reader,
    telemetry::{self, PackResult},
};

/// Why there is no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Lost {
    /// It was not taken and never will be: this node does not lead, or is full, or stops.
    #[error("not taken: this node does not lead")]
    NotTaken,
    /// It was not taken and never will be, by any leader: it is larger than an entry may be. Only a change of the directory can
    /// come to that; the largest pack of the book's commands stays below.
    #[error("not taken: {bytes} bytes, an entry holds {max}", max = PACK_BYTES_MAX)]
    TooLarge {
        /// Bytes it would be.
        bytes: usize,
    },
    /// It may have been taken.
    #[error("it is not known whether it was taken")]
    Unknown,
}

/// A read that cannot be answered.
#[derive(Debug, Error)]
pub enum ReadFault {
    /// Not now; another node, or a later try, may.
    #[error(transparent)]
    Barrier(#[from] ReadError),
    /// The table is damaged.
    #[error(transparent)]
    Table(#[from] TableFault),
}

struct Proposal {
    command: Command,
    waiter: Waiter,
}

/// The journal. Cheap to clone.
#[derive(Clone)]
pub struct Journal {
    inner: Arc<Inner>,
}

struct Inner {
    group: Group,
    shared: Arc<Shared>,
    reader: Reader,
    queue: mpsc::Sender<Proposal>,
    next_ticket: AtomicU64,
    reign: watch::Receiver<Option<Reign>>,
    exit: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Journal {
    /// Starts packing for a group whose machine shares `shared`.
    pub fn start(
        group: Group,
        shared: Arc<Shared>,
        reader: Reader,
        exit: Arc<dyn Fn(&str) + Send + Sync>,
        tasks: &tokio_util::task::TaskTracker,
    ) -> Self {
        let (queue, proposals) = mpsc::channel(limits::QUEUE_MAX);
        let (reign_sender, reign) = watch::channel(None);
        let journal = Self {
            inner: Arc::new(Inner {
                group: group.clone(),
                shared: shared.clone(),
                reader,
                queue,
                next_ticket: AtomicU64::new(1),
                reign,
                exit,
            }),
        };
        tasks.spawn(follow_leadership(group, shared.clone(), reign_sender));
        tasks.spawn(journal.clone().pack(proposals));
        tasks.spawn(sweep(shared));
        journal
    }

    /// Commits one command and returns what it came to.
    ///
    /// # Errors
    /// [`Lost`].
    pub async fn propose(&self, command: Command) -> Result<Reply, Lost> {
        if self.reign().is_none() {
            return Err(Lost::NotTaken);
        }
        let (waiter, outcome) = oneshot::channel();
        self.inner.queue.try_send(Proposal { command, waiter }).map_err(|_| Lost::NotTaken)?;
        match outcome.await {
            Ok(Outcome::Book(reply)) => Ok(reply),
            Ok(Outcome::Refused(lost)) => Err(lost),
            Ok(Outcome::Directory(_) | Outcome::Keyring(_)) | Err(_) => Err(Lost::Unknown),
        }
    }

    /// Commits one change of the directory.
    ///
    /// # Errors
    /// Outer: [`Lost`]. Inner: the directory's refusal.
    pub async fn propose_directory(&self, command: DirectoryCommand) -> Result<Result<u64, DirectoryRefusal>, Lost> {
        let Some(reign) = self.reign() else { return Err(Lost::NotTaken) };
        let (waiter, outcome) = oneshot::channel();
        self.commit(reign, PackBody::Directory(Box::new(command)), vec![waiter]).await;
        match outcome.await {
            Ok(Outcome::Directory(result)) => Ok(result),
            Ok(Outcome::Refused(lost)) => Err(lost),
            Ok(Outcome::Book(_) | Outcome::Keyring(_)) | Err(_) => Err(Lost::Unknown),
        }
    }

    /// Commits one command of the keyring.
    ///
    /// # Errors
    /// Outer: [`Lost`]. Inner: the keyring's refusal.
    pub async fn propose_keyring(&self, command: KeyringCommand) -> Result<Result<KeyringReply, KeyringRefusal>, Lost> {
        let Some(reign) = self.reign() else { return Err(Lost::NotTaken) };
        let (waiter, outcome) = oneshot::channel();
        self.commit(reign, PackBody::Keyring(Box::new(command)), vec![waiter]).await;
        match outcome.await {
            Ok(Outcome::Keyring(result)) => Ok(result),
            Ok(Outcome::Refused(lost)) => Err(lost),
            Ok(Outcome::Book(_) | Outcome::Directory(_)) | Err(_) => Err(Lost::Unknown),
        }
    }

    /// The reign of this node, while it leads and has applied everything of earlier leaders.
    pub fn reign(&self) -> Option<Reign> {
        *self.inner.reign.borrow()
    }

    /// Follows the reign.
    pub fn watch_reign(&self) -> watch::Receiver<Option<Reign>> {
        self.inner.reign.clone()
    }

    /// Log time as this node knows it: exact on the leader, that of the last entry elsewhere.
    pub fn log_time(&self) -> LogTime {
        self.reign().map_or_else(|| self.inner.shared.log_time(), |reign| reign.now())
    }

    /// The directory as applied here.
    pub fn standing(&self) -> Arc<Standing> {
        self.inner.shared.standing.load_full()
    }

    /// What apply shares.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    /// How many commands of this node are not applied yet: those that wait for a pack, and those in packs.
    pub fn pending(&self) -> (usize, usize) {
        let queue = &self.inner.queue;
        (queue.max_capacity() - queue.capacity(), self.inner.shared.tickets.count())
    }

    /// The committed table.
    pub fn reader(&self) -> &Reader {
        &self.inner.reader
    }

    /// The consensus group.
    pub fn group(&self) -> &Group {
        &self.inner.group
    }

    /// Waits until everything acknowledged before this call, on whatever node, is applied here.
    ///
    /// # Errors
    /// [`ReadFault::Barrier`].
    pub async fn read_barrier(&self, deadline: Instant) -> Result<(), ReadFault> {
        let within = deadline.saturating_duration_since(Instant::now()).min(limits::READ_BARRIER_MAX);
        self.inner.group.read_barrier(within).await?;
        Ok(())
    }

    /// Reads a transaction of a tenant as applied here.
    ///
    /// # Errors
    /// [`TableFault`].
    pub fn transaction(&self, gateway: &GatewayId, id: TransactionId) -> Result<Option<Transaction>, TableFault> {
        match self.stop_on_fault(self.inner.reader.get(&Key::Transaction(gateway.clone(), id)))? {
            Some(Row::Transaction(transaction)) => Ok(Some(*transaction)),
            _ => Ok(None),
        }
    }

    /// Looks a key of a tenant up, as applied here.
    ///
    /// # Errors
    /// [`TableFault`].
    pub fn request(
        &self,
        gateway: &GatewayId,
        original: Option<TransactionId>,
        request_id: &RequestId,
    ) -> Result<Option<RequestRow>, TableFault> {
        let key = Key::Request(gateway.clone(), original, request_id.clone());
        match self.stop_on_fault(self.inner.reader.get(&key))? {
            Some(Row::Request(row)) => Ok(Some(row)),
            _ => Ok(None),
        }
    }

    /// The last event of a tenant that is kept no more, as applied here (R20).
    ///
    /// # Errors
    /// [`TableFault`].
    pub fn events_forgotten(&self, gateway: &GatewayId) -> Result<Option<Position>, TableFault> {
        match self.stop_on_fault(self.inner.reader.get(&Key::EventsForgotten(gateway.clone())))? {
            Some(Row::Position(position)) => Ok(Some(position)),
            _ => Ok(None),
        }
    }

    /// Waits until an operation is decided, by whoever decides it, and returns it as it is told; `None` where it is not decided at
    /// the deadline either.
    ///
    /// # Errors
    /// [`TableFault`].
    pub async fn decided(
        &self,
        gateway: &GatewayId,
        transaction: TransactionId,
        operation: u16,
        replayed: bool,
        deadline: Instant,
    ) -> Result<Option<Settled>, TableFault> {
        let look = || {
            let found = self.transaction(gateway, transaction)?;
            Ok(found.and_then(|found| Book::settled(&found, operation, replayed)))
        };
        let register = || self.inner.shared.decisions.register(transaction, operation);
        look_until(deadline, register, look).await
    }

    /// A table that cannot be read ends the process: its answers would be guesses.
    fn stop_on_fault<T>(&self, result: Result<T, TableFault>) -> Result<T, TableFault> {
        if let Err(fault) = &result {
            (self.inner.exit)(&fault.to_string());
        }
        result
    }

    /// Packs what has queued while other packs are in flight.
    async fn pack(self, mut proposals: mpsc::Receiver<Proposal>) {
        let in_flight = Arc::new(Semaphore::new(limits::PACKS_IN_FLIGHT));
        let mut waiting = Vec::with_capacity(limits::PACK_COMMANDS_MAX);
        loop {
            if proposals.recv_many(&mut waiting, 1).await == 0 {
                return;
            }
            let Ok(permit) = in_flight.clone().acquire_owned().await else { return };
            // What came while the permit was awaited goes along.
            while waiting.len() < limits::PACK_COMMANDS_MAX
                && let Ok(proposal) = proposals.try_recv()
            {
                waiting.push(proposal);
            }
            let Some(reign) = self.reign() else {
                for proposal in waiting.drain(..) {
                    let _ = proposal.waiter.send(Outcome::Refused(Lost::NotTaken));
                }
                continue;
            };
            let (commands, waiters) = waiting.drain(..).map(|proposal| (proposal.command, proposal.waiter)).unzip();
            let journal = self.clone();
            tokio::spawn(async move {
                journal.commit(reign, PackBody::Book(commands), waiters).await;
                drop(permit);
            });
        }
    }

    async fn commit(&self, reign: Reign, body: PackBody, waiters: Vec<Waiter>) {
        let inner = &self.inner;
        let commands = waiters.len();
        let first_ticket = inner.next_ticket.fetch_add(commands as u64, Ordering::Relaxed);
        let pack = Pack {
            incarnation: inner.shared.boot,
            first_ticket,
            log_time: reign.now(),
            body,
            // What this leader made of the entries so far, for every node to compare with (S11).
            applied: Some(inner.shared.mark()).filter(|mark| mark.applied > 0),
        };
        let bytes = codec::encode_pack(&pack);
        telemetry::pack(commands);
        inner.shared.tickets.register(first_ticket, waiters);
        // A leader that is cut off hears nothing until it is back: it must not hold its packs' places until then.
        match tokio::time::timeout(limits::PACK_MAX, inner.group.propose(bytes)).await {
            // apply has resolved the tickets before this returns
            Ok(Ok(_)) => telemetry::pack_ended(PackResult::Applied),
            Err(_) => {
                telemetry::pack_ended(PackResult::Unknown);
                tracing::warn!(commands, "a pack is not committed in time: what became of it is not known");
                drop(inner.shared.tickets.take(first_ticket));
            }
            Ok(Err(error)) => {
                let waiters = inner.shared.tickets.take(first_ticket);
                let lost = match error {
                    ProposeError::TooLarge { bytes } => Lost::TooLarge { bytes },
                    ProposeError::NotLeader { .. } | ProposeError::Stopped => Lost::NotTaken,
                    // Dropping the waiters tells each of them that its outcome is unknown.
                    ProposeError::Unknown(_) => {
                        telemetry::pack_ended(PackResult::Unknown);
                        tracing::debug!(%error, "a pack was lost");
                        return;
                    }
                };
                telemetry::pack_ended(PackResult::NotTaken);
                tracing::debug!(%error, "a pack was not taken");
                for waiter in waiters {
                    let _ = waiter.send(Outcome::Refused(lost));
                }
            }
        }
    }
}

/// Looks until there is something to see, once more whenever it is told to, and a last time at the deadline: what came here
/// unheard is not called unknown.
async fn look_until<T, E>(
    deadline: Instant,
    register: impl Fn() -> oneshot::Receiver<()>,
    look: impl Fn() -> Result<Option<T>, E>,
) -> Result<Option<T>, E> {
    loop {
        let woken = register(); // before the look, so that nothing in between is missed
        if let Some(seen) = look()? {
            return Ok(Some(seen));
        }
        if tokio::time::timeout_at(deadline, woken).await.is_err() {
            return look();
        }
    }
}

/// Keeps the reign: this node leads, and has applied the blank entry of that very leader id.
async fn follow_leadership(group: Group, shared: Arc<Shared>, reign: watch::Sender<Option<Reign>>) {
    let mut leadership = group.leadership();
    let mut crowned = shared.crowned.subscribe();
    loop {
        let leads = {
            let seen = leadership.borrow_and_update();
            seen.leader.filter(|_| seen.is_self)
        };
        let began = *crowned.borrow_and_update();
        let now = began.filter(|reign| {
            leads.is_some_and(|leader| (leader.term, leader.node) == (reign.leader.term, reign.leader.node))
        });
        reign.send_if_modified(|known| {
            let changed = *known != now;
            *known = now;
            changed
        });
        tokio::select! {
            biased;
            changed = leadership.changed() => if changed.is_err() { return },
            changed = crowned.changed() => if changed.is_err() { return },
        }
    }
}

/// Forgets callers that went away without an answer.
async fn sweep(shared: Arc<Shared>) {
    let mut tick = tokio::time::interval(Duration::from_secs(10));
    loop {
        tick.tick().await;
        shared.decisions.sweep();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// R3: what a snapshot brought is decided, although no entry was applied that could have woken anybody.
    #[tokio::test(start_paused = true)]
    async fn r3_a_decision_that_came_unheard_is_found_at_the_deadline() {
        let (began, looks) = (Instant::now(), Cell::new(0));
        let silent = || oneshot::channel::<()>();
        let kept = Cell::new(None);
        let register = || {
            let (sender, receiver) = silent();
            kept.set(Some(sender));
            receiver
        };
        let look = || {
            looks.set(looks.get() + 1);
            Ok::<_, TableFault>((began.elapsed() >= Duration::from_secs(3)).then_some("decided"))
        };
        assert_eq!(look_until(began + Duration::from_secs(3), register, look).await, Ok(Some("decided")));
        assert_eq!(looks.get(), 2, "at first and at the deadline");
    }

    #[tokio::test(start_paused = true)]
    async fn r3_whoever_waits_is_woken_when_a_snapshot_is_installed() {
        let (began, decisions) = (Instant::now(), waiters::Decisions::default());
        let (of, installed) = (TransactionId::from_number(7), Cell::new(false));
        let look = || Ok::<_, TableFault>(installed.get().then_some("decided"));
        let waiting = look_until(began + Duration::from_secs(3), || decisions.register(of, 0), look);
        let installing = async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            installed.set(true);
            decisions.wake_all();
        };
        let (seen, ()) = tokio::join!(waiting, installing);
        assert_eq!((seen, began.elapsed()), (Ok(Some("decided")), Duration::from_millis(5)));
    }
}
