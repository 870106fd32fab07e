//! One node's time as leader: from the apply of the blank entry of its leader id to the moment it no longer leads. Log time
//! and the permission to perform effects belong to it.

use switch_domain::{id::LeaderId, limits::CLOCK_STEP_MS, table::ClockRow, time::LogTime};
use tokio::time::Instant;

/// A reign of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reign {
    /// Its leader id: what `Dispatch`es and effects of this reign carry.
    pub leader: LeaderId,
    /// Log time when it began.
    base: LogTime,
    /// Log time when the one before it was last heard of.
    last: LogTime,
    /// When it began on this node's monotonic clock.
    since: Instant,
}

impl Reign {
    /// Begins one. Between terms log time moves to the wall clock, but never back, and never by more than an hour unless an
    /// operator has found that very distance right (R8).
    pub fn begin(leader: LeaderId, last: LogTime, wall: LogTime, clock: &ClockRow, since: Instant) -> Self {
        let base = if last == LogTime(0) || clock.accepts(wall, last) {
            wall.max(last)
        } else {
            LogTime(wall.0.clamp(last.0, last.0.saturating_add(CLOCK_STEP_MS)))
        };
        Self { leader, base, last, since }
    }

    /// Log time now: it advances with the leader's monotonic clock only (R8).
    pub fn now(&self) -> LogTime {
        self.base.after_ms(self.elapsed_ms())
    }

    /// Log time now without the step at the reign's beginning, for what has stood since `since`: a step is no time in which
    /// anything travelled (R13). Never later than [`Reign::now`].
    pub fn travelled(&self, since: LogTime) -> LogTime {
        self.now().min(since.max(self.last).after_ms(self.elapsed_ms()))
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use switch_domain::table::AcceptedClock;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn r8_log_time_steps_by_an_hour_at_most_and_never_back() {
        let begin = |last, wall| {
            Reign::begin(LeaderId::default(), LogTime(last), LogTime(wall), &ClockRow::default(), Instant::now())
        };
        assert_eq!(begin(0, 5_000).now(), LogTime(5_000));
        assert_eq!(begin(9_000, 5_000).now(), LogTime(9_000));
        assert_eq!(begin(9_000, 90_000_000).now(), LogTime(9_000 + 3_600_000));
        let reign = begin(9_000, 10_000);
        tokio::time::advance(Duration::from_millis(250)).await;
        assert_eq!(reign.now(), LogTime(10_250));
        // R13: what was sent before the step has travelled for a quarter of a second, what was made after it no longer than that.
        assert_eq!(reign.travelled(LogTime(8_000)), LogTime(9_250));
        assert_eq!(reign.travelled(LogTime(10_100)), LogTime(10_250));
    }

    #[tokio::test(start_paused = true)]
    async fn r8_a_term_begins_at_the_wall_clock_that_an_operator_accepted_and_at_no_other() {
        const DAY: u64 = 86_400_000;
        let log = 1_772_352_000_000;
        let accepted = |wall| AcceptedClock {
            wall: LogTime(wall),
            log: LogTime(log),
            author: "spiffe://example/operator/anna".to_owned(),
            reason: "the hall was dark".to_owned(),
        };
        let begin = |clock: Option<AcceptedClock>, wall| {
            let clock = ClockRow { disagreement: None, accepted: clock };
            Reign::begin(LeaderId::default(), LogTime(log + 500), LogTime(wall), &clock, Instant::now()).now().0
        };
        assert_eq!(begin(Some(accepted(log + 2 * DAY)), log + 2 * DAY + 900), log + 2 * DAY + 900);
        assert_eq!(begin(Some(accepted(log + 2 * DAY)), log + 3 * DAY), log + 500 + CLOCK_STEP_MS);
        assert_eq!(begin(Some(accepted(log - 2 * DAY)), log - 2 * DAY), log + 500, "never back");
        assert_eq!(begin(None, log + 2 * DAY), log + 500 + CLOCK_STEP_MS);
    }
}
