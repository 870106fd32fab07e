//! Which conversations with networks this process holds: what a new leader asks an old one about, and what a hand-over waits
//! for (R4).

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use switch_domain::id::AttemptRef;

/// The attempts whose conversation this process holds (R4).
#[derive(Default)]
pub struct Conversations {
    held: Mutex<HashSet<AttemptRef>>,
    /// Dispatches that a link has and that have not been written yet.
    unwritten: Mutex<HashSet<AttemptRef>>,
    /// Opens that are proposed and not yet handed to a link: a hand-over waits for them.
    opening: AtomicUsize,
}

impl Conversations {
    /// True while the conversation is open here.
    pub fn holds(&self, attempt: &AttemptRef) -> bool {
        self.held.lock().contains(attempt)
    }

    /// Conversations under way.
    pub fn count(&self) -> usize {
        self.held.lock().len()
    }

    /// Opens between proposal and write.
    pub fn opening(&self) -> usize {
        self.opening.load(Ordering::Acquire) + self.unwritten.lock().len()
    }

    /// A link is given a dispatch.
    pub fn given(&self, attempt: &AttemptRef) {
        self.unwritten.lock().insert(attempt.clone());
    }

    /// It is being written, or never will be.
    pub fn written(&self, attempt: &AttemptRef) {
        self.unwritten.lock().remove(attempt);
    }

    /// Holds one until the guard is dropped.
    pub fn hold(self: &Arc<Self>, attempt: &AttemptRef) -> Held {
        self.held.lock().insert(attempt.clone());
        Held { conversations: self.clone(), attempt: attempt.clone() }
    }

    /// Counts one open until the guard is dropped.
    pub fn open(self: &Arc<Self>) -> Opening {
        self.opening.fetch_add(1, Ordering::AcqRel);
        Opening { conversations: self.clone() }
    }
}

/// One open conversation.
pub struct Held {
    conversations: Arc<Conversations>,
    attempt: AttemptRef,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.conversations.held.lock().remove(&self.attempt);
    }
}

/// One open between its proposal and its write.
pub struct Opening {
    conversations: Arc<Conversations>,
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.conversations.opening.fetch_sub(1, Ordering::AcqRel);
    }
}
