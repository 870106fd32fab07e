//! What a node may set about its links; the defaults and their reasons stand in `limits`.

use std::time::Duration;

use super::limits;

/// Times and bounds of every link of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// For one attempt to connect.
    pub connect_timeout: Duration,
    /// From a sign-on to its answer.
    pub sign_on_timeout: Duration,
    /// First pause after a refused sign-on.
    pub sign_on_retry: Duration,
    /// Longest pause between sign-ons.
    pub sign_on_retry_max: Duration,
    /// Silence after which an echo is sent.
    pub echo_idle: Duration,
    /// From an echo to its answer.
    pub echo_timeout: Duration,
    /// Unanswered echoes before the connection is given up.
    pub echo_misses_max: u32,
    /// First pause before a connection is tried again.
    pub reconnect_first: Duration,
    /// Longest pause before a connection is tried again.
    pub reconnect_max: Duration,
    /// How long a link that is replaced or removed lets its requests end.
    pub retire_wait: Duration,
    /// The same for an exclusive link of a node that no longer leads.
    pub hand_over_wait: Duration,
    /// Reversals and advices in flight on one link.
    pub lanes_in_flight_max: u32,
    /// When a network counts as failing.
    pub circuit: CircuitSettings,
    /// Spreads the pauses of different nodes; the same seed makes the same pauses.
    pub jitter_seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect_timeout: limits::CONNECT_TIMEOUT,
            sign_on_timeout: limits::SIGN_ON_TIMEOUT,
            sign_on_retry: limits::SIGN_ON_RETRY,
            sign_on_retry_max: limits::SIGN_ON_RETRY_MAX,
            echo_idle: limits::ECHO_IDLE,
            echo_timeout: limits::ECHO_TIMEOUT,
            echo_misses_max: limits::ECHO_MISSES_MAX,
            reconnect_first: limits::RECONNECT_FIRST,
            reconnect_max: limits::RECONNECT_MAX,
            retire_wait: limits::RETIRE_WAIT,
            hand_over_wait: limits::HAND_OVER_WAIT,
            lanes_in_flight_max: limits::LANES_IN_FLIGHT_MAX,
            circuit: CircuitSettings::default(),
            jitter_seed: 0,
        }
    }
}

/// When a network counts as failing, and when it is asked again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CircuitSettings {
    /// Failures in a row that open the circuit.
    pub run_max: u32,
    /// Calls before their share of failures counts.
    pub samples_min: u32,
    /// Share of failures that opens the circuit, per cent.
    pub failures_percent: u32,
    /// How long a call counts.
    pub window: Duration,
    /// From the opening to the first echo.
    pub open: Duration,
    /// Longest time between two echoes.
    pub open_max: Duration,
    /// From that echo to its answer.
    pub probe_timeout: Duration,
}

impl Default for CircuitSettings {
    fn default() -> Self {
        Self {
            run_max: limits::CIRCUIT_RUN_MAX,
            samples_min: limits::CIRCUIT_SAMPLES_MIN,
            failures_percent: limits::CIRCUIT_FAILURES_PERCENT,
            window: limits::CIRCUIT_WINDOW,
            open: limits::CIRCUIT_OPEN,
            open_max: limits::CIRCUIT_OPEN_MAX,
            probe_timeout: limits::ECHO_TIMEOUT,
        }
    }
}
