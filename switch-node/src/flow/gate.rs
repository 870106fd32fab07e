//! The last look before the first byte: deadline, lease, owner, directory (R1, R24). A leader writes only while its lease
//! holds. And the report of a write that ended too late (R13).

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use switch_domain::{book::Dispatch, id::AttemptRef, outcome::NotSent};

use crate::{
    journal::Journal,
    link::SendGate,
    outcome::{Conversations, stray::Strays},
};

/// The gate of a node.
#[derive(Default)]
pub struct Gate {
    journal: OnceLock<(Journal, Arc<Strays>, Arc<Conversations>)>,
    /// Set for good in a term that is being handed over (R4).
    stopped: AtomicBool,
}

impl Gate {
    /// Links and journal need each other: the journal comes second.
    pub fn attach(&self, journal: Journal, strays: Arc<Strays>, conversations: Arc<Conversations>) {
        let _ = self.journal.set((journal, strays, conversations));
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
        let lasts = permission(dispatch.deadline().ms_since(reign.now()), journal.group().lease_left())?;
        let standing = journal.standing();
        let directory = &standing.directory;
        let enabled = directory.gateways.get(&dispatch.attempt().gateway).is_some_and(|gateway| gateway.enabled)
            && directory.networks.get(dispatch.network()).is_some_and(|network| network.enabled)
            && directory.links.get(dispatch.link()).is_some_and(|link| link.enabled);
        if enabled { Ok(lasts) } else { Err(NotSent::Disabled) }
    }

    fn admit_lane(&self) -> bool {
        self.journal.get().is_some_and(|(journal, ..)| journal.reign().is_some() && journal.group().holds_lease())
    }

    fn late(&self, attempt: &AttemptRef) {
        if let Some((_, strays, _)) = self.journal.get() {
            strays.late_send(attempt);
        }
    }
}

/// How long a write may last: the smaller of what is left of the deadline and of the lease, not the whole of either. A write that
/// ends later may have been overtaken by another leader's reversal (R13).
fn permission(deadline_left_ms: u64, lease_left: Option<Duration>) -> Result<Duration, NotSent> {
    let lasts = lease_left.unwrap_or_default().min(Duration::from_millis(deadline_left_ms));
    if lasts.is_zero() { Err(NotSent::TooLate) } else { Ok(lasts) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r13_a_write_may_last_as_long_as_what_is_left_of_deadline_and_lease() {
        let ms = Duration::from_millis;
        assert_eq!(permission(10_000, Some(ms(70))), Ok(ms(70)), "the rest of a lease, not a whole one");
        assert_eq!(permission(30, Some(ms(70))), Ok(ms(30)));
        assert_eq!(permission(0, Some(ms(70))), Err(NotSent::TooLate));
        assert_eq!(permission(30, Some(Duration::ZERO)), Err(NotSent::TooLate));
        assert_eq!(permission(30, None), Err(NotSent::TooLate), "no lease");
    }
}
