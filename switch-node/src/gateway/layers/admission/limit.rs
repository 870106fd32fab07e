//! How much may be under way: a gradient, after Netflix's concurrency limits and TCP Vegas.
//!
//! The best duration of a station, slowly forgotten, is what it takes without a queue. While the present mean is within
//! [`TOLERANCE`] of it, a limit that is in use grows; beyond that, what was under way is multiplied with `good / mean`, and
//! the queue drains. Two stations are looked at: the journal, by its commits, and the networks, by their answers.
//!
//! Of the networks the *least* slowed one counts. One that slows down alone has a queue of its own, and the windows of its
//! links bound what it may hold; if it counted, it would take the places of payments to all others. What slows every network
//! alike is ours: the processors, or the path to all of them.
//!
//! ```text
//!   limit ▲      ╱╲  good / mean × under way
//!         │    ╱╱  ╲      ╱╱
//!         │  ╱╱     ╲__ ╱╱  × 1.1 a look, only while in use
//!         └──────────────────▶
//! ```
//!
//! Pure: what was measured and what was under way are arguments, so the same measurements give the same limits.

use std::{collections::BTreeMap, time::Duration};

use switch_domain::id::NetworkId;

use super::limits::{
    ANSWER_GOOD, COMMIT_GOOD, FALL_MIN, FORGET, GROWTH, MOMENTS_MAX, MOMENTS_MIN, PAYMENTS_MAX, PAYMENTS_MIN,
    SAMPLES_MIN, TOLERANCE,
};
use crate::flow::{Pace, Took};

/// The limits of now.
#[derive(Debug)]
pub(super) struct Limits {
    commit: Best,
    /// One for each network that ever answered here.
    networks: BTreeMap<NetworkId, Best>,
    payments: f64,
    moments: f64,
}

/// Most that was under way at once since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Peak {
    pub(super) payments: u32,
    pub(super) moments: u32,
}

impl Default for Limits {
    /// Wide open: a new leader knows nothing yet, and what is too much shows within a look.
    fn default() -> Self {
        Self { commit: Best::default(), networks: BTreeMap::new(), payments: PAYMENTS_MAX, moments: MOMENTS_MAX }
    }
}

impl Limits {
    /// Limits that have come to this, for tests of what holds under them.
    #[cfg(test)]
    pub(super) fn of(payments: u32, moments: u32) -> Self {
        Self { payments: payments.into(), moments: moments.into(), ..Self::default() }
    }

    /// Payments that may be under way.
    pub(super) fn payments(&self) -> u32 {
        self.payments as u32
    }

    /// Calls of a moment that may be under way.
    pub(super) fn moments(&self) -> u32 {
        self.moments as u32
    }

    /// Adapts to what was measured since the last look.
    pub(super) fn adapt(&mut self, pace: &Pace, peak: Peak) {
        let commit = self.commit.slope(&pace.commit, COMMIT_GOOD);
        let mut networks: f64 = if pace.networks.is_empty() { 1.0 } else { 0.0 };
        for (network, took) in &pace.networks {
            let best = self.networks.entry(network.clone()).or_default();
            networks = networks.max(best.slope(took, ANSWER_GOOD));
        }
        self.payments = adapted(self.payments, commit.min(networks), peak.payments, PAYMENTS_MIN..PAYMENTS_MAX);
        self.moments = adapted(self.moments, commit, peak.moments, MOMENTS_MIN..MOMENTS_MAX);
    }
}

fn adapted(limit: f64, slope: f64, peak: u32, bounds: std::ops::Range<f64>) -> f64 {
    let peak = f64::from(peak);
    let next = if slope < 1.0 {
        // From what was under way: a limit that nobody reached says nothing about how much is too much.
        limit.min(peak) * slope.max(FALL_MIN)
    } else if peak * 2.0 >= limit {
        limit * GROWTH
    } else {
        limit
    };
    next.clamp(bounds.start, bounds.end)
}

/// The best mean of a station, in seconds; zero before the first.
#[derive(Debug, Default)]
struct Best(f64);

impl Best {
    /// 1 while the station is as fast as it should be, less the more it is slowed.
    fn slope(&mut self, took: &Took, good: Duration) -> f64 {
        let Some(mean) = took.mean().filter(|_| took.count >= SAMPLES_MIN).map(|mean| mean.as_secs_f64()) else {
            return 1.0;
        };
        self.0 = if self.0 == 0.0 { mean } else { mean.min(self.0 * FORGET) };
        let good = good.as_secs_f64().max(self.0 * TOLERANCE);
        if mean <= good { 1.0 } else { good / mean }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn took(ms: u64) -> Took {
        Took { count: 100, sum: Duration::from_millis(ms) * 100 }
    }

    fn pace(commit_ms: u64, networks_ms: &[u64]) -> Pace {
        let name = |number| NetworkId::parse(&format!("net-{number}")).expect("an id");
        let networks = networks_ms.iter().enumerate().map(|(number, ms)| (name(number), took(*ms)));
        Pace { commit: took(commit_ms), networks: networks.collect() }
    }

    const PEAK: Peak = Peak { payments: 1_000, moments: 500 };

    #[test]
    fn a_slow_journal_lowers_both_limits_from_what_was_under_way() {
        let mut limits = Limits::default();
        limits.adapt(&pace(5, &[50]), PEAK);
        assert_eq!((limits.payments(), limits.moments()), (16_384, 4_096), "nothing is slow, nothing is in use");
        limits.adapt(&pace(125, &[50]), PEAK);
        assert_eq!((limits.payments(), limits.moments()), (800, 400), "four fifths: 100 ms would be good");
        limits.adapt(&pace(1_000, &[50]), Peak { payments: 800, moments: 400 });
        assert_eq!((limits.payments(), limits.moments()), (400, 200), "one look takes half at most");
    }

    #[test]
    fn a_network_that_slows_alone_costs_the_others_no_place() {
        let mut limits = Limits::default();
        limits.adapt(&pace(5, &[50, 200]), PEAK);
        limits.adapt(&pace(5, &[50, 20_000]), PEAK);
        assert_eq!(limits.payments(), 16_384);
        limits.adapt(&pace(5, &[500, 20_000]), PEAK);
        assert_eq!(limits.payments(), 500, "all are slow: ours");
        assert_eq!(limits.moments(), 4_096, "what asks no network is not held back for it");
    }

    #[test]
    fn a_limit_grows_back_within_five_seconds_but_only_while_it_is_in_use() {
        let mut limits = Limits::of(64, 64);
        limits.adapt(&pace(5, &[50]), Peak { payments: 31, moments: 31 });
        assert_eq!((limits.payments(), limits.moments()), (64, 64), "nobody wants more");
        for _ in 0..50 {
            limits.adapt(&pace(5, &[50]), Peak { payments: limits.payments(), moments: 0 });
        }
        assert!(limits.payments() > 4_096, "{}", limits.payments());
        assert_eq!(limits.moments(), 64);
    }

    #[test]
    fn what_stays_slow_becomes_the_new_best_and_the_limits_never_fall_below_their_least() {
        let mut limits = Limits::default();
        limits.adapt(&pace(200, &[]), PEAK);
        for _ in 0..15 {
            limits.adapt(&pace(2_000, &[]), Peak { payments: limits.payments(), moments: limits.moments() });
        }
        assert_eq!((limits.payments(), limits.moments()), (64, 64));
        for _ in 0..200 {
            limits.adapt(&pace(2_000, &[]), Peak { payments: limits.payments(), moments: limits.moments() });
        }
        assert!(limits.payments() > 64, "forgotten that it was ever faster");
    }

    #[test]
    fn a_few_samples_say_nothing() {
        let mut limits = Limits::default();
        limits.adapt(&pace(5, &[]), PEAK);
        let few = Took { count: SAMPLES_MIN - 1, sum: Duration::from_secs(9) };
        limits.adapt(&Pace { commit: few, networks: BTreeMap::new() }, PEAK);
        assert_eq!(limits.payments(), 16_384);
    }
}
