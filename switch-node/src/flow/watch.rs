//! WatchTransactions: events are rows of the state; a watch reads on from a token and waits for the bell (R20).

use std::ops::Bound;

use switch_domain::{
    id::{GatewayId, Position},
    table::{EventRow, Key, Row},
};
use tokio::time::Instant;

use super::{Flow, FlowError};

/// Events read at once: a slow reader holds no more than this.
pub const EVENTS_AT_ONCE: usize = 256;

/// An event with the place that resumes after it.
#[derive(Clone, Debug)]
pub struct WatchedEvent {
    /// Where it stands.
    pub position: Position,
    /// What changed.
    pub event: EventRow,
}

impl Flow {
    /// Where a watch that starts now begins: after everything acknowledged so far.
    ///
    /// # Errors
    /// [`FlowError::Read`].
    pub async fn watch_start(&self, deadline: Instant) -> Result<Position, FlowError> {
        self.journal.read_barrier(deadline).await?;
        Ok(Position { index: self.journal.shared().applied(), place: u32::MAX })
    }

    /// Waits until this node has applied what a token has seen: a node behind the token must not start over (R20).
    ///
    /// # Errors
    /// [`FlowError::Read`].
    pub async fn watch_resume(&self, token: Position, deadline: Instant) -> Result<(), FlowError> {
        self.journal.read_barrier(deadline).await?;
        if self.journal.shared().applied() < token.index { Err(FlowError::TokenMalformed) } else { Ok(()) }
    }

    /// The next events of a tenant after a place; waits for one where there is none yet.
    ///
    /// # Errors
    /// [`FlowError::Table`].
    pub async fn next_events(&self, gateway: &GatewayId, after: Position) -> Result<Vec<WatchedEvent>, FlowError> {
        let bell = self.journal.shared().events.of(gateway);
        loop {
            let rung = bell.notified();
            tokio::pin!(rung);
            rung.as_mut().enable(); // before the look, so that no ring is missed
            let first = Key::Event(gateway.clone(), after);
            let last = Key::Event(gateway.clone(), Position { index: u64::MAX, place: u32::MAX });
            let rows = self.journal.reader().range(Bound::Excluded(&first), Bound::Included(&last), EVENTS_AT_ONCE)?;
            let events: Vec<WatchedEvent> = rows
                .into_iter()
                .filter_map(|(key, row)| match (key, row) {
                    (Key::Event(_, position), Row::Event(event)) => Some(WatchedEvent { position, event }),
                    _ => None,
                })
                .collect();
            if !events.is_empty() {
                return Ok(events);
            }
            rung.await;
        }
    }
}
