//! Where a link stands, as a function of what is heard on it and of time. No I/O: acts come out, the link's task does them.
//!
//! ```text
//!             opened            00                       overdue echo
//!   Down ───► SigningOn ──────► On (in service) ◄──────────────────► On (echo missed)
//!               ▲   │ refused    │ signed off, turned away
//!               │   ▼            ▼
//!               └── Off ◄────────┘        retried by time, or when the network signs on
//! ```

use tokio::time::Instant;

use super::{LinkState, settings::Settings};

/// What the link's task must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Send a sign-on.
    SignOn,
    /// Send an echo.
    Echo,
    /// Give the connection up.
    Drop(Silence),
}

/// What was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Silence {
    /// A sign-on.
    #[error("the sign-on was not answered")]
    SignOn,
    /// Echoes.
    #[error("{0} echoes in a row were not answered")]
    Echo(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Down,
    SigningOn { due: Instant },
    Off { retry: Instant },
    On,
}

/// The state of one link.
#[derive(Debug)]
pub(super) struct Health {
    settings: Settings,
    phase: Phase,
    heard: Instant,
    /// When the echo that is out must have been answered.
    echo_due: Option<Instant>,
    misses: u32,
    refusals: u32,
    draining: bool,
}

impl Health {
    pub(super) fn new(settings: Settings, now: Instant) -> Self {
        let (echo_due, misses, refusals) = (None, 0, 0);
        Self { settings, phase: Phase::Down, heard: now, echo_due, misses, refusals, draining: false }
    }

    pub(super) fn state(&self) -> LinkState {
        match self.phase {
            Phase::Down => LinkState::Down,
            Phase::SigningOn { .. } | Phase::Off { .. } => LinkState::Connected,
            Phase::On if self.draining || self.misses > 0 => LinkState::SignedOn,
            Phase::On => LinkState::InService,
        }
    }

    // ## Down => SigningOn
    /// The connection stands and the sign-on, its first message, is on its way.
    pub(super) fn opened(&mut self, now: Instant) {
        self.heard = now;
        self.phase = Phase::SigningOn { due: now + self.settings.sign_on_timeout };
    }

    // ## SigningOn => (On | Off)
    /// A sign-on was answered. An answer to one that is no longer waited for says nothing.
    pub(super) fn sign_on_answered(&mut self, agreed: bool, now: Instant) {
        if !matches!(self.phase, Phase::SigningOn { .. }) {
            return;
        }
        if agreed {
            (self.phase, self.refusals) = (Phase::On, 0);
            return;
        }
        let pause = self.settings.sign_on_retry * 2_u32.saturating_pow(self.refusals.min(16));
        self.refusals += 1;
        self.phase = Phase::Off { retry: now + pause.min(self.settings.sign_on_retry_max) };
    }

    // ## (SigningOn | On) => Off
    /// The network wants no more payments.
    pub(super) fn network_signed_off(&mut self, now: Instant) {
        if self.phase != Phase::Down {
            self.phase = Phase::Off { retry: now + self.settings.sign_on_retry_max };
        }
    }

    // ## Off => SigningOn
    /// The network wants payments again. This side signs on anew: whether the network still counts it as signed on is not
    /// known.
    pub(super) fn network_signed_on(&mut self, now: Instant) -> Option<Act> {
        match self.phase {
            Phase::Off { .. } => self.sign_on(now),
            Phase::Down | Phase::SigningOn { .. } | Phase::On => None,
        }
    }

    // ## On => SigningOn
    /// The network turned a payment away because, to it, nobody has signed on.
    pub(super) fn sign_on_missing(&mut self, now: Instant) -> Option<Act> {
        if self.phase == Phase::On { self.sign_on(now) } else { None }
    }

    /// Anything came: the network lives, whatever it says.
    pub(super) fn heard(&mut self, now: Instant) {
        (self.heard, self.echo_due, self.misses) = (now, None, 0);
    }

    /// An echo out of turn, for the circuit.
    pub(super) fn echo_sent(&mut self, now: Instant) {
        self.echo_due.get_or_insert(now + self.settings.echo_timeout);
    }

    /// This side signs off: no more money, and no new sign-on.
    pub(super) fn drain(&mut self) {
        self.draining = true;
    }

    /// What is due at `now`. `owed` says whether a request waits for its answer: then one silence is enough.
    pub(super) fn tick(&mut self, now: Instant, owed: bool) -> Option<Act> {
        match self.phase {
            Phase::Down => return None,
            Phase::SigningOn { due } => return (now >= due).then_some(Act::Drop(Silence::SignOn)),
            Phase::Off { retry } if now >= retry && !self.draining => return self.sign_on(now),
            Phase::Off { .. } | Phase::On => {}
        }
        match self.echo_due {
            Some(due) if now >= due => {
                self.misses += 1;
                if owed || self.misses >= self.settings.echo_misses_max {
                    return Some(Act::Drop(Silence::Echo(self.misses)));
                }
            }
            Some(_) => return None,
            None if now < self.heard + self.settings.echo_idle => return None,
            None => {}
        }
        self.echo_due = Some(now + self.settings.echo_timeout);
        Some(Act::Echo)
    }

    /// When [`Self::tick`] has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        let echo = self.echo_due.unwrap_or(self.heard + self.settings.echo_idle);
        match self.phase {
            Phase::Down => None,
            Phase::SigningOn { due } => Some(due),
            Phase::Off { retry } if !self.draining => Some(retry.min(echo)),
            Phase::Off { .. } | Phase::On => Some(echo),
        }
    }

    fn sign_on(&mut self, now: Instant) -> Option<Act> {
        if self.draining {
            return None;
        }
        self.phase = Phase::SigningOn { due: now + self.settings.sign_on_timeout };
        Some(Act::SignOn)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn signed_on() -> (Health, Instant) {
        let now = Instant::now();
        let mut health = Health::new(Settings::default(), now);
        assert_eq!(health.state(), LinkState::Down);
        health.opened(now);
        assert_eq!(health.state(), LinkState::Connected);
        health.sign_on_answered(true, now);
        assert_eq!(health.state(), LinkState::InService);
        (health, now)
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn an_unanswered_sign_on_gives_the_connection_up() {
        let now = Instant::now();
        let mut health = Health::new(Settings::default(), now);
        health.opened(now);
        assert_eq!(health.due(), Some(now + seconds(5)));
        assert_eq!(health.tick(now + seconds(4), false), None);
        assert_eq!(health.tick(now + seconds(5), false), Some(Act::Drop(Silence::SignOn)));
    }

    #[test]
    fn a_refused_sign_on_is_tried_again_ever_later() {
        let mut now = Instant::now();
        let mut health = Health::new(Settings::default(), now);
        health.opened(now);
        for pause in [1, 2, 4, 8, 16, 30, 30] {
            health.sign_on_answered(false, now);
            assert_eq!(health.state(), LinkState::Connected);
            assert_eq!(health.tick(now + seconds(pause) - Duration::from_millis(1), false), None);
            now += seconds(pause);
            health.heard(now);
            assert_eq!(health.tick(now, false), Some(Act::SignOn));
        }
    }

    #[test]
    fn three_silences_give_the_connection_up_and_the_first_takes_it_out_of_service() {
        let (mut health, now) = signed_on();
        assert_eq!(health.tick(now + seconds(29), false), None);
        assert_eq!(health.tick(now + seconds(30), false), Some(Act::Echo));
        assert_eq!((health.due(), health.state()), (Some(now + seconds(35)), LinkState::InService));
        assert_eq!(health.tick(now + seconds(35), false), Some(Act::Echo));
        assert_eq!(health.state(), LinkState::SignedOn);
        assert_eq!(health.tick(now + seconds(40), false), Some(Act::Echo));
        assert_eq!(health.tick(now + seconds(45), false), Some(Act::Drop(Silence::Echo(3))));
    }

    #[test]
    fn one_silence_is_enough_while_a_request_waits() {
        let (mut health, now) = signed_on();
        assert_eq!(health.tick(now + seconds(30), true), Some(Act::Echo));
        assert_eq!(health.tick(now + seconds(35), true), Some(Act::Drop(Silence::Echo(1))));
    }

    #[test]
    fn whatever_is_heard_brings_a_link_back() {
        let (mut health, now) = signed_on();
        assert_eq!(health.tick(now + seconds(30), false), Some(Act::Echo));
        assert_eq!(health.tick(now + seconds(35), false), Some(Act::Echo));
        health.heard(now + seconds(36));
        assert_eq!((health.state(), health.due()), (LinkState::InService, Some(now + seconds(66))));
    }

    #[test]
    fn a_network_that_signs_off_is_out_of_service_until_it_signs_on() {
        let (mut health, now) = signed_on();
        health.network_signed_off(now);
        assert_eq!(health.state(), LinkState::Connected);
        assert_eq!(health.network_signed_on(now + seconds(3)), Some(Act::SignOn));
        health.sign_on_answered(true, now + seconds(3));
        assert_eq!(health.state(), LinkState::InService);
        // In service already: nothing to do.
        assert_eq!(health.network_signed_on(now + seconds(4)), None);
    }

    #[test]
    fn a_network_that_forgets_to_sign_on_is_asked() {
        let (mut health, now) = signed_on();
        health.network_signed_off(now);
        health.heard(now + seconds(10));
        assert_eq!(health.tick(now + seconds(30), false), Some(Act::SignOn));
    }

    #[test]
    fn a_link_that_drains_takes_nothing_and_signs_on_no_more() {
        let (mut health, now) = signed_on();
        health.drain();
        assert_eq!(health.state(), LinkState::SignedOn);
        health.network_signed_off(now);
        assert_eq!(health.network_signed_on(now), None);
        assert_eq!(health.tick(now + seconds(30), false), Some(Act::Echo));
    }
}
