//! What every listener shares: who may come in, what they may call, how much they may hold.
//!
//! ```text
//!   TCP ── acceptor: caps, handshake, time-outs ── peer: certificate → PeerIdentity
//!    └── HTTP/2 (limits below) ── count: rate, errors, duration ── access: role × method ── trace: span, context ── service
//! ```
//!
//! The services' own stacks begin behind this; nothing here knows a message.

pub mod acceptor;
pub mod access;
pub mod count;
pub mod deadline;
pub mod peer;
pub mod refusal;
pub mod trace;

use std::time::Duration;

use tonic::transport::Server;

use peer::Role;

/// An HTTP/2 server with the limits of the door for `role`. Layers and services are the caller's to add.
///
/// tonic's own answer to a call past its `grpc-timeout` is CANCELLED; services must answer a little earlier themselves.
pub fn server_builder(role: Role) -> Server {
    let limits = Http2Limits::of(role);
    let server = match limits.age {
        // GOAWAY only: tonic's grace replaces the GOAWAY instead of following it. The acceptor ends what stays too long.
        Some(age) => Server::builder().max_connection_age(age),
        None => Server::builder(),
    };
    server
        .max_concurrent_streams(limits.calls_max)
        .initial_stream_window_size(limits.stream_window)
        .initial_connection_window_size(limits.connection_window)
        .max_frame_size(limits.frame_max)
        .http2_max_header_list_size(HEADER_LIST_MAX)
        .http2_keepalive_interval(Some(limits.ping_interval))
        .http2_keepalive_timeout(Some(limits.ping_timeout))
        .http2_max_pending_accept_reset_streams(Some(limits.resets_pending_max))
        .http2_max_local_error_reset_streams(Some(LOCAL_RESETS_MAX))
}

/// What one HTTP/2 connection may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http2Limits {
    /// Calls in flight.
    pub calls_max: u32,
    /// Unread bytes of one call.
    pub stream_window: u32,
    /// Unread bytes of all calls.
    pub connection_window: u32,
    /// Bytes of one frame.
    pub frame_max: u32,
    /// Between pings.
    pub ping_interval: Duration,
    /// From a ping to the end of the connection.
    pub ping_timeout: Duration,
    /// Calls reset by the caller before we looked at them; more is an attack (rapid reset) and ends the connection.
    pub resets_pending_max: usize,
    /// Age at which the caller is asked to connect anew; calls in flight go on for [`Self::grace`].
    pub age: Option<Duration>,
    /// From the asking to the end of the connection.
    pub grace: Duration,
}

impl Http2Limits {
    /// The limits of the door for `role`.
    pub const fn of(role: Role) -> Self {
        match role {
            // 512 calls in flight fit even into one connection. Requests are a few hundred bytes: nobody stalls on these
            // windows, and a caller that fills them on purpose holds 1 MiB a connection.
            Role::Gateway => Self {
                calls_max: 512,
                stream_window: 256 << 10,
                connection_window: 1 << 20,
                frame_max: 16 << 10,
                ping_interval: Duration::from_secs(10),
                ping_timeout: Duration::from_secs(5),
                // Callers whose deadlines pass while we are paused reset honestly, at most all they have in flight.
                resets_pending_max: 512,
                age: Some(Duration::from_secs(15 * 60)),
                grace: Duration::from_secs(30),
            },
            // Everything a follower forwards shares its connections, and snapshots travel here.
            Role::Peer => Self {
                calls_max: 8192,
                stream_window: 2 << 20,
                connection_window: 16 << 20,
                frame_max: 64 << 10,
                ping_interval: Duration::from_secs(2),
                ping_timeout: Duration::from_secs(2),
                resets_pending_max: 8192,
                // The journal's streams live as long as the certificate: there is no balancer to spread nodes over.
                age: None,
                grace: Duration::ZERO,
            },
            Role::Operator => Self {
                calls_max: 64,
                stream_window: 256 << 10,
                connection_window: 1 << 20,
                frame_max: 16 << 10,
                ping_interval: Duration::from_secs(10),
                ping_timeout: Duration::from_secs(5),
                resets_pending_max: 64,
                age: Some(Duration::from_secs(15 * 60)),
                // An export may still be running.
                grace: Duration::from_secs(10 * 60),
            },
        }
    }
}

/// Method, authority, deadline, trace context, user agent: under 1 KiB. The rest is room for a caller's own headers.
const HEADER_LIST_MAX: u32 = 8 << 10;
/// Calls that we reset for the caller's protocol errors before we end the connection.
const LOCAL_RESETS_MAX: usize = 256;
