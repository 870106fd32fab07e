//! Every bound of a link, with its reason.

use std::time::Duration;

/// Name, TCP, TLS and the start of the stream: a payment waits for another link rather than for this one.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// From the sign-on to its answer: a network that takes longer is not able to answer payments either.
pub const SIGN_ON_TIMEOUT: Duration = Duration::from_secs(5);

/// First pause after a refused sign-on; it doubles up to [`SIGN_ON_RETRY_MAX`].
pub const SIGN_ON_RETRY: Duration = Duration::from_secs(1);

/// Longest pause between sign-ons, and the pause after the network has signed off: it should sign on by itself.
pub const SIGN_ON_RETRY_MAX: Duration = Duration::from_secs(30);

/// Silence after which the network is asked whether it is there.
pub const ECHO_IDLE: Duration = Duration::from_secs(30);

/// From an echo to its answer.
pub const ECHO_TIMEOUT: Duration = Duration::from_secs(5);

/// Echoes in a row without an answer before the connection is given up; one is enough while a request waits.
pub const ECHO_MISSES_MAX: u32 = 3;

/// First pause before a connection is tried again: a network that restarts is back in service at once.
pub const RECONNECT_FIRST: Duration = Duration::from_millis(10);

/// Longest pause: at most this much of a network's return is missed, and its door is not battered.
pub const RECONNECT_MAX: Duration = Duration::from_secs(10);

/// A conversation that was in service for this long makes the next pause the first one again.
pub const STEADY_AFTER: Duration = Duration::from_secs(1);

/// Reversals and advices in flight on one link. A window of its own: a flood of reversals after an outage cannot fill the
/// window of requests, nor the other way round. 256 at 40 ms are 6,400 a second, sixty thousand reversals in ten seconds.
pub const LANES_IN_FLIGHT_MAX: u32 = 256;

/// How long an unanswered reversal or advice keeps its place in that window. Longer than a network that is well takes (40 to
/// 200 ms); after it the copy counts as silent, gives its place to the next one, and its answer is still waited for.
pub const LANE_SILENCE: Duration = Duration::from_millis(250);

/// Numbers that wait to be written, of each of requests and of lanes. Twice the greatest in-flight bound: numbers of
/// withdrawn messages stay in the queue until the transport comes to them, a transport that never comes must not fill memory.
pub const QUEUE_MAX: usize = 20_000;

/// Link control that waits to be written: more than the two sides ever have open, so that a flood of echoes ends here.
pub const CONTROL_QUEUE_MAX: usize = 64;

/// Writes whose end is not known yet, before the stream pauses once to learn it.
pub const WRITES_UNCONFIRMED_MAX: usize = 256;

/// Largest message of a network. Answers are below 1 KiB; what is larger is an error or an attack.
pub const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// How long a link that was changed, disabled or removed lets its requests end: longer than the longest attempt timer, so
/// that none of them is cut off.
pub const RETIRE_WAIT: Duration = Duration::from_secs(65);

/// How long an exclusive link lets its requests end when this node no longer leads: the new leader cannot connect before.
pub const HAND_OVER_WAIT: Duration = Duration::from_secs(5);

/// Failures in a row that open the circuit.
pub const CIRCUIT_RUN_MAX: u32 = 10;

/// Calls within [`CIRCUIT_WINDOW`] before their share of failures says anything.
pub const CIRCUIT_SAMPLES_MIN: u32 = 20;

/// Share of failures that opens the circuit, per cent.
pub const CIRCUIT_FAILURES_PERCENT: u32 = 50;

/// How long a call counts; between one and two of these.
pub const CIRCUIT_WINDOW: Duration = Duration::from_secs(10);

/// From the opening of the circuit to the first echo that may close it; doubles with every opening that soon follows.
pub const CIRCUIT_OPEN: Duration = Duration::from_secs(1);

/// Longest time between two such echoes.
pub const CIRCUIT_OPEN_MAX: Duration = Duration::from_secs(30);
