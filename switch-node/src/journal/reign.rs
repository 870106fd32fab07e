//! One node's time as leader: from the apply of the blank entry of its leader id to the moment it no longer leads. Log time
//! and the permission to perform effects belong to it.

use switch_domain::{id::LeaderId, time::LogTime};
use tokio::time::Instant;

use super::limits;

/// A reign of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reign {
    /// Its leader id: what `Dispatch`es and effects of this reign carry.
    pub leader: LeaderId,
    /// Log time when it began.
    base: LogTime,
    /// When it began on this node's monotonic clock.
    since: Instant,
}

impl Reign {
    /// Begins one. Between terms log time moves to the wall clock, but never back and never by more than an hour (R8).
    pub fn begin(leader: LeaderId, last: LogTime, wall: LogTime, since: Instant) -> Self {
        let base = if last == LogTime(0) {
            wall
        } else {
            LogTime(wall.0.clamp(last.0, last.0.saturating_add(limits::TIME_STEP_MS)))
        };
        Self { leader, base, since }
    }

    /// Log time now: it advances with the leader's monotonic clock only (R8).
    pub fn now(&self) -> LogTime {
        let elapsed = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.base.after_ms(elapsed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn r8_log_time_steps_by_an_hour_at_most_and_never_back() {
        let begin = |last, wall| Reign::begin(LeaderId::default(), LogTime(last), LogTime(wall), Instant::now());
        assert_eq!(begin(0, 5_000).now(), LogTime(5_000));
        assert_eq!(begin(9_000, 5_000).now(), LogTime(9_000));
        assert_eq!(begin(9_000, 90_000_000).now(), LogTime(9_000 + 3_600_000));
        let reign = begin(9_000, 10_000);
        tokio::time::advance(Duration::from_millis(250)).await;
        assert_eq!(reign.now(), LogTime(10_250));
    }
}
