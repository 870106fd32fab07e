//! WatchTransactions: events are rows of the state; a watch reads on from a token and waits for the bell (R20).

use std::ops::Bound;

use switch_domain::{
    id::{GatewayId, Position},
    table::{EventRow, Key, Row},
    time::LogTime,
};
use tokio::time::Instant;

use super::{Flow, FlowError};

/// Events read at once: a slow reader holds no more than this.
pub const EVENTS_AT_ONCE: usize = 256;

/// What a watch has seen: opaque to gateways, who keep it as a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Where the last event stands.
    pub position: Position,
    /// When it was made: from there on a gateway must list, once the events that follow are kept no more (R20).
    pub time: LogTime,
}

/// An event with the place that resumes after it.
#[derive(Clone, Debug)]
pub struct WatchedEvent {
    /// Where it stands.
    pub position: Position,
    /// What changed.
    pub event: EventRow,
}

impl WatchedEvent {
    /// What a watch has seen that has seen this.
    #[must_use]
    pub fn seen(&self) -> Seen {
        Seen { position: self.position, time: self.event.time }
    }
}

impl Flow {
    /// Where a watch that starts now begins: after everything acknowledged so far.
    ///
    /// # Errors
    /// [`FlowError::Read`].
    pub async fn watch_start(&self, deadline: Instant) -> Result<Seen, FlowError> {
        self.journal.read_barrier(deadline).await?;
        let position = Position { index: self.journal.shared().applied(), place: u32::MAX };
        Ok(Seen { position, time: self.journal.log_time() })
    }

    /// Waits until this node has applied what a token has seen: a node behind the token must not start over (R20).
    ///
    /// # Errors
    /// [`FlowError::Read`]; [`FlowError::TokenExpired`] where events that follow it are kept no more;
    /// [`FlowError::TokenMalformed`] where nothing so late was ever committed.
    pub async fn watch_resume(&self, token: Seen, gateway: &GatewayId, deadline: Instant) -> Result<(), FlowError> {
        self.journal.read_barrier(deadline).await?;
        if self.journal.shared().applied() < token.position.index {
            return Err(FlowError::TokenMalformed);
        }
        still_follows(self.journal.events_forgotten(gateway)?, token)
    }

    /// The next events of a tenant after a place; waits for one where there is none yet.
    ///
    /// # Errors
    /// [`FlowError::Table`]; [`FlowError::TokenExpired`] where some were forgotten while nobody asked.
    pub async fn next_events(&self, gateway: &GatewayId, after: Seen) -> Result<Vec<WatchedEvent>, FlowError> {
        let bell = self.journal.shared().events.of(gateway);
        loop {
            let rung = bell.notified();
            tokio::pin!(rung);
            rung.as_mut().enable(); // before the look, so that no ring is missed
            let first = Key::Event(gateway.clone(), after.position);
            let last = Key::Event(gateway.clone(), Position { index: u64::MAX, place: u32::MAX });
            let rows = self.journal.reader().range(Bound::Excluded(&first), Bound::Included(&last), EVENTS_AT_ONCE)?;
            let events: Vec<WatchedEvent> = rows
                .into_iter()
                .filter_map(|(key, row)| match (key, row) {
                    (Key::Event(_, position), Row::Event(event)) => Some(WatchedEvent { position, event }),
                    _ => None,
                })
                .collect();
            // After the read: what is forgotten from here on was read before.
            still_follows(self.journal.events_forgotten(gateway)?, after)?;
            if !events.is_empty() {
                return Ok(events);
            }
            rung.await;
        }
    }
}

/// Refuses to go on where an event behind `seen` may be gone.
fn still_follows(forgotten: Option<Position>, seen: Seen) -> Result<(), FlowError> {
    if forgotten.is_some_and(|forgotten| seen.position < forgotten) {
        return Err(FlowError::TokenExpired { list_from: seen.time });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r20_a_token_before_the_last_forgotten_event_has_expired_and_says_where_to_list_from() {
        let at = |index, place| Position { index, place };
        let seen = |index, place| Seen { position: at(index, place), time: LogTime(77_000) };
        assert!(still_follows(None, seen(0, 0)).is_ok());
        assert!(still_follows(Some(at(9, 3)), seen(9, 3)).is_ok(), "the last one that is gone was seen");
        assert!(still_follows(Some(at(9, 3)), seen(10, 0)).is_ok());
        for missed in [seen(9, 2), seen(8, u32::MAX)] {
            let refused = still_follows(Some(at(9, 3)), missed).expect_err("something was missed");
            assert!(matches!(refused, FlowError::TokenExpired { list_from: LogTime(77_000) }), "{refused}");
        }
    }
}
