//! Who waits for what: tickets of this process's own proposals, and callers that wait for an operation to be decided,
//! whoever proposes that. Both are filled by apply; nothing typed passes through consensus.

use std::collections::HashMap;

use parking_lot::Mutex;
use switch_domain::{
    book::Reply,
    directory::DirectoryRefusal,
    id::{GatewayId, TransactionId},
    keyring::{KeyringRefusal, KeyringReply},
};
use tokio::sync::{Notify, oneshot};

use super::Lost;

/// What a proposal came to.
#[derive(Debug)]
pub enum Outcome {
    /// Of a command of the book.
    Book(Reply),
    /// Of a change of the directory: the version that holds it.
    Directory(Result<u64, DirectoryRefusal>),
    /// Of a command of the keyring.
    Keyring(Result<KeyringReply, KeyringRefusal>),
    /// It never reached the log, and why.
    Refused(Lost),
}

/// Waits for the outcome of one proposal. Dropped unresolved: it is not known what became of it.
pub(super) type Waiter = oneshot::Sender<Outcome>;

/// Tickets of this process's packs, by the first ticket of each.
#[derive(Default)]
pub struct Tickets {
    packs: Mutex<HashMap<u64, Vec<Waiter>>>,
}

impl Tickets {
    /// Registers a pack before it is proposed.
    pub fn register(&self, first: u64, waiters: Vec<Waiter>) {
        self.packs.lock().insert(first, waiters);
    }

    /// Takes the waiters of a pack: at its apply, or when its proposal failed.
    pub fn take(&self, first: u64) -> Vec<Waiter> {
        self.packs.lock().remove(&first).unwrap_or_default()
    }

    /// How many wait.
    pub fn count(&self) -> usize {
        self.packs.lock().values().map(Vec::len).sum()
    }
}

/// A transaction and the index of one of its operations.
type Operation = (TransactionId, u16);

/// Callers that wait for an operation to be decided.
#[derive(Default)]
pub struct Decisions {
    waiting: Mutex<HashMap<Operation, Vec<oneshot::Sender<()>>>>,
}

impl Decisions {
    /// Registers a caller; it must look at the table after this, so that a decision in between is not missed.
    pub fn register(&self, transaction: TransactionId, operation: u16) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        let waiters = waiting.entry((transaction, operation)).or_default();
        waiters.retain(|waiter| !waiter.is_closed());
        waiters.push(sender);
        receiver
    }

    /// Wakes those who wait for it.
    pub fn wake(&self, transaction: TransactionId, operation: u16) {
        let woken = self.waiting.lock().remove(&(transaction, operation));
        for waiter in woken.into_iter().flatten() {
            let _ = waiter.send(());
        }
    }

    /// Wakes everybody: a snapshot was installed, and says nothing of what it decides.
    pub fn wake_all(&self) {
        let woken = std::mem::take(&mut *self.waiting.lock());
        for waiter in woken.into_values().flatten() {
            let _ = waiter.send(());
        }
    }

    /// Forgets callers that went away.
    pub fn sweep(&self) {
        self.waiting.lock().retain(|_, waiters| {
            waiters.retain(|waiter| !waiter.is_closed());
            !waiters.is_empty()
        });
    }

    /// True where nobody waits: then apply need not look.
    pub fn is_empty(&self) -> bool {
        self.waiting.lock().is_empty()
    }
}

/// Watches of gateways' events.
#[derive(Default)]
pub struct Events {
    watched: Mutex<HashMap<GatewayId, std::sync::Arc<Notify>>>,
}

impl Events {
    /// The bell of a gateway.
    pub fn of(&self, gateway: &GatewayId) -> std::sync::Arc<Notify> {
        self.watched.lock().entry(gateway.clone()).or_default().clone()
    }

    /// Rings every bell: a snapshot may have brought events of any gateway.
    pub fn ring_all(&self) {
        self.watched.lock().values().for_each(|bell| bell.notify_waiters());
    }

    /// Rings it, if somebody listens.
    pub fn ring(&self, gateway: &GatewayId) {
        if let Some(bell) = self.watched.lock().get(gateway) {
            bell.notify_waiters();
        }
    }
}
