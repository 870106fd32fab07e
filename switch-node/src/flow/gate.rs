//! The last look before the first byte: deadline, lease, owner, directory (R1, R24). A leader writes only while its lease
//! holds. And the report of a write that ended too late (R13).

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use switch_domain::{book::Dispatch, entry::Command, id::AttemptRef, outcome::NotSent};

use crate::{
    journal::Journal,
    link::SendGate,
    outcome::{Conversations, Courier, carry},
};

/// The gate of a node.
pub struct Gate {
    /// How long a lease lasts at most.
    lease: Duration,
    journal: OnceLock<(Journal, Arc<dyn Courier>, Arc<Conversations>)>,
    /// Set for good in a term that is being handed over (R4).
    stopped: AtomicBool,
}

impl Gate {
    /// For a group whose leases last this long.
    pub fn new(lease: Duration) -> Self {
        Self { lease, journal: OnceLock::new(), stopped: AtomicBool::new(false) }
    }

    /// Links and journal need each other: the journal comes second.
    pub fn attach(&self, journal: Journal, courier: Arc<dyn Courier>, conversations: Arc<Conversations>) {
        let _ = self.journal.set((journal, courier, conversations));
    }

    /// Stops dispatching, before leadership is handed over; or goes on, once the hand-over has failed or a new reign began.
    pub fn stop(&self, stopped: bool) {
        self.stopped.store(stopped, Ordering::Release);
    }
}

impl SendGate for Gate {
    fn admit(&self, dispatch: &Dispatch) -> Result<Duration, NotSent> {
        let Some((journal, _, conversations)) = self.journal.get() else { return Err(NotSent::OutOfService) };
        conversations.written(dispatch.attempt());
        if self.stopped.load(Ordering::Acquire) {
            return Err(NotSent::HandOver);
        }
        let Some(reign) = journal.reign() else { return Err(NotSent::HandOver) };
        let (owner, shared) = (dispatch.owner(), journal.shared());
        if (owner.node, owner.boot, owner.term) != (shared.node, shared.boot, reign.leader.term) {
            return Err(NotSent::HandOver);
        }
        let left = Duration::from_millis(dispatch.deadline().ms_since(reign.now()));
        if !journal.group().holds_lease() || left.is_zero() {
            return Err(NotSent::TooLate);
        }
        let standing = journal.standing();
        let directory = &standing.directory;
        let enabled = directory.gateways.get(&dispatch.attempt().gateway).is_some_and(|gateway| gateway.enabled)
            && directory.networks.get(dispatch.network()).is_some_and(|network| network.enabled)
            && directory.links.get(dispatch.link()).is_some_and(|link| link.enabled);
        if enabled { Ok(left.min(self.lease)) } else { Err(NotSent::Disabled) }
    }

    fn admit_lane(&self) -> bool {
        self.journal.get().is_some_and(|(journal, ..)| journal.reign().is_some() && journal.group().holds_lease())
    }

    fn late(&self, attempt: &AttemptRef) {
        let Some((journal, courier, _)) = self.journal.get().cloned() else { return };
        let command = Command::LateSend(attempt.clone());
        tracing::warn!(%attempt, "a request left after its deadline or lease; it will be reversed once more");
        tokio::spawn(async move {
            let until = tokio::time::Instant::now() + super::limits::CARRY_MAX;
            carry(&journal, courier.as_ref(), &command, until).await;
        });
    }
}
