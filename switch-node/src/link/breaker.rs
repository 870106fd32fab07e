//! The circuit: refuses payments to a network that is known to fail, so that they go elsewhere at once instead of ending in
//! doubt. An echo closes it again, never a payment (R23).
//!
//! ```text
//!   Closed ── run or share of failures ──► Open ── time ──► HalfOpen ── echo answered ──► Closed
//!                                           ▲                  │ not answered
//!                                           └── twice as long ─┘
//! ```

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::{BoxFuture, FutureExt};
use parking_lot::Mutex;
use switch_domain::outcome::{Answer, Doubt, NotSent};
use tokio::{sync::Notify, time::Instant};
use tower_layer::Layer;
use tower_service::Service;

use super::{settings::CircuitSettings, stack::Call};

/// Where a circuit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitState {
    /// Payments pass.
    Closed,
    /// None passes.
    Open,
    /// None passes, and an echo is out.
    HalfOpen,
}

/// The state machine. `now` is an argument everywhere.
#[derive(Debug)]
pub(super) struct Breaker {
    settings: CircuitSettings,
    state: State,
    run: u32,
    /// This half of the window and the one before.
    halves: [Tally; 2],
    half_since: Option<Instant>,
    /// How often it opened without a quiet time between.
    openings: u32,
    closed_since: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Instant },
    HalfOpen { due: Instant },
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    calls: u32,
    failures: u32,
}

impl Breaker {
    pub(super) fn new(settings: CircuitSettings) -> Self {
        let (halves, half_since, closed_since) = ([Tally::default(); 2], None, None);
        Self { settings, state: State::Closed, run: 0, halves, half_since, openings: 0, closed_since }
    }

    pub(super) fn state(&self) -> CircuitState {
        match self.state {
            State::Closed => CircuitState::Closed,
            State::Open { .. } => CircuitState::Open,
            State::HalfOpen { .. } => CircuitState::HalfOpen,
        }
    }

    // ## Closed => (Closed | Open)
    /// A call ended. What ends while the circuit is not closed began before and says nothing new. True where it opened.
    pub(super) fn record(&mut self, failed: bool, now: Instant) -> bool {
        if self.state != State::Closed {
            return false;
        }
        self.roll(now);
        self.halves[0].calls += 1;
        self.halves[0].failures += u32::from(failed);
        self.run = if failed { self.run + 1 } else { 0 };
        let (calls, failures) = self.halves.iter().fold((0, 0), |(calls, failures), half| {
            (calls + u64::from(half.calls), failures + u64::from(half.failures))
        });
        let shared = calls >= u64::from(self.settings.samples_min)
            && failures * 100 >= calls * u64::from(self.settings.failures_percent);
        let opens = failed && (shared || self.run >= self.settings.run_max);
        if opens {
            self.open(now);
        }
        opens
    }

    // ## Open => HalfOpen, HalfOpen => Open
    /// What time brings. True where an echo must be sent now.
    pub(super) fn tick(&mut self, now: Instant) -> bool {
        match self.state {
            State::Open { until } if now >= until => {
                self.state = State::HalfOpen { due: now + self.settings.probe_timeout };
                true
            }
            State::HalfOpen { due } if now >= due => {
                self.open(now);
                false
            }
            State::Closed | State::Open { .. } | State::HalfOpen { .. } => false,
        }
    }

    // ## (Open | HalfOpen) => Closed
    /// The network answered an echo or a sign-on. An open circuit waits for the echo of its own, `signed_on` for none.
    pub(super) fn answered(&mut self, signed_on: bool, now: Instant) {
        let closes = match self.state {
            State::Closed => false,
            State::Open { .. } => signed_on,
            State::HalfOpen { .. } => true,
        };
        if closes {
            self.state = State::Closed;
            self.closed_since = Some(now);
            (self.run, self.halves, self.half_since) = (0, [Tally::default(); 2], None);
        }
    }

    /// When [`Self::tick`] has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.state {
            State::Closed => None,
            State::Open { until } => Some(until),
            State::HalfOpen { due } => Some(due),
        }
    }

    fn open(&mut self, now: Instant) {
        let quiet = self.closed_since.is_none_or(|since| now.duration_since(since) >= self.settings.open_max);
        if quiet && self.state == State::Closed {
            self.openings = 0;
        }
        let pause = self.settings.open.saturating_mul(2_u32.saturating_pow(self.openings.min(16)));
        self.openings = self.openings.saturating_add(1);
        self.state = State::Open { until: now + pause.min(self.settings.open_max) };
    }

    fn roll(&mut self, now: Instant) {
        let since = *self.half_since.get_or_insert(now);
        let age = now.duration_since(since);
        if age >= self.settings.window * 2 {
            self.halves = [Tally::default(); 2];
        } else if age >= self.settings.window {
            self.halves = [Tally::default(), self.halves[0]];
        } else {
            return;
        }
        self.half_since = Some(now);
    }
}

/// A circuit that a link's calls and its task share.
#[derive(Debug)]
pub(super) struct Circuit {
    breaker: Mutex<Breaker>,
    /// Wakes the task, which sends the echo when it is time.
    pub(super) opened: Notify,
}

impl Circuit {
    pub(super) fn new(settings: CircuitSettings) -> Self {
        Self { breaker: Mutex::new(Breaker::new(settings)), opened: Notify::new() }
    }

    pub(super) fn state(&self) -> CircuitState {
        self.breaker.lock().state()
    }

    pub(super) fn tick(&self, now: Instant) -> bool {
        self.breaker.lock().tick(now)
    }

    pub(super) fn answered(&self, signed_on: bool, now: Instant) {
        self.breaker.lock().answered(signed_on, now);
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.breaker.lock().due()
    }

    fn record(&self, answer: &Answer) {
        let failed = match answer {
            Answer::Answered(answer) => matches!(answer.response_code.as_str(), "91" | "96"),
            Answer::Unknown(Doubt::NoAnswer | Doubt::Garbled) => true,
            // A lost connection is the health's affair: it fails many calls at once and is repaired by a sign-on.
            Answer::Unknown(Doubt::ConnectionLost | Doubt::OwnerGone) | Answer::NotSent(_) => return,
        };
        let opened = self.breaker.lock().record(failed, Instant::now());
        if opened {
            self.opened.notify_one();
        }
    }
}

/// Puts the circuit around a service.
#[derive(Clone, Debug)]
pub(super) struct CircuitLayer(pub(super) Arc<Circuit>);

impl<S> Layer<S> for CircuitLayer {
    type Service = CircuitService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CircuitService { inner, circuit: Arc::clone(&self.0) }
    }
}

/// A service behind a circuit. A call that is dropped is not counted: nobody waited to see how it ended.
#[derive(Clone, Debug)]
pub(super) struct CircuitService<S> {
    inner: S,
    circuit: Arc<Circuit>,
}

impl<S> Service<Call> for CircuitService<S>
where
    S: Service<Call, Response = Answer, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Answer, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, call: Call) -> Self::Future {
        match self.circuit.state() {
            CircuitState::Closed => {}
            CircuitState::Open | CircuitState::HalfOpen => {
                return std::future::ready(Ok(Answer::NotSent(NotSent::CircuitOpen))).boxed();
            }
        }
        let (circuit, answering) = (Arc::clone(&self.circuit), self.inner.call(call));
        async move {
            let answer = answering.await?;
            circuit.record(&answer);
            Ok(answer)
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn breaker() -> (Breaker, Instant) {
        (Breaker::new(CircuitSettings::default()), Instant::now())
    }

    fn failed(breaker: &mut Breaker, times: u32, now: Instant) {
        for _ in 0..times {
            breaker.record(true, now);
        }
    }

    #[test]
    fn a_run_of_failures_opens_it_and_one_success_breaks_the_run() {
        let (mut breaker, now) = breaker();
        failed(&mut breaker, 9, now);
        assert!(!breaker.record(false, now));
        failed(&mut breaker, 9, now);
        assert_eq!(breaker.state(), CircuitState::Closed);
        assert!(breaker.record(true, now));
        assert_eq!(breaker.state(), CircuitState::Open);
    }

    #[test]
    fn half_of_twenty_calls_opens_it_without_a_run() {
        let (mut breaker, now) = breaker();
        for call in 0..19 {
            assert!(!breaker.record(call % 2 == 0, now));
        }
        assert!(breaker.record(true, now));
    }

    #[test]
    fn calls_are_forgotten_after_two_windows() {
        let (mut breaker, now) = breaker();
        for call in 0..18 {
            breaker.record(call % 2 == 0, now);
        }
        breaker.record(false, now + Duration::from_secs(20));
        for _ in 0..9 {
            assert!(!breaker.record(true, now + Duration::from_secs(20)));
        }
    }

    #[test]
    fn r23_an_echo_closes_it_and_silence_opens_it_for_longer() {
        let (mut breaker, now) = breaker();
        failed(&mut breaker, 10, now);
        assert_eq!(breaker.due(), Some(now + Duration::from_secs(1)));
        assert!(!breaker.tick(now + Duration::from_secs(1) - MS));
        assert!(breaker.tick(now + Duration::from_secs(1)));
        assert_eq!(breaker.state(), CircuitState::HalfOpen);
        // Not answered: twice as long.
        let late = now + Duration::from_secs(6);
        assert!(!breaker.tick(late));
        assert_eq!(breaker.due(), Some(late + Duration::from_secs(2)));
        assert!(breaker.tick(late + Duration::from_secs(2)));
        breaker.answered(false, late + Duration::from_secs(3));
        assert_eq!((breaker.state(), breaker.due()), (CircuitState::Closed, None));
    }

    #[test]
    fn an_opening_soon_after_the_last_lasts_longer_and_a_quiet_time_forgives() {
        let (mut breaker, now) = breaker();
        failed(&mut breaker, 10, now);
        assert!(breaker.tick(now + Duration::from_secs(1)));
        let closed = now + Duration::from_secs(1);
        breaker.answered(false, closed);
        failed(&mut breaker, 10, closed);
        assert_eq!(breaker.due(), Some(closed + Duration::from_secs(2)));
        assert!(breaker.tick(closed + Duration::from_secs(2)));
        breaker.answered(false, closed + Duration::from_secs(2));
        let quiet = closed + Duration::from_secs(40);
        failed(&mut breaker, 10, quiet);
        assert_eq!(breaker.due(), Some(quiet + Duration::from_secs(1)));
    }

    #[test]
    fn only_a_sign_on_closes_an_open_one_early() {
        let (mut breaker, now) = breaker();
        failed(&mut breaker, 10, now);
        breaker.answered(false, now);
        assert_eq!(breaker.state(), CircuitState::Open);
        breaker.answered(true, now);
        assert_eq!(breaker.state(), CircuitState::Closed);
    }

    #[test]
    fn what_began_before_it_opened_counts_no_more() {
        let (mut breaker, now) = breaker();
        failed(&mut breaker, 10, now);
        let due = breaker.due();
        assert!(!breaker.record(true, now + MS));
        assert_eq!(breaker.due(), due);
    }
}
