//! The accept loop: from a listener to connections whose other side is known.
//!
//! Takes a bound listener and one plane's material; gives a stream of [`Connection`]s for tonic. Refuses without a word, by
//! closing: too many connections, from one address or of one principal; a handshake that fails or takes too long; a
//! certificate that is nobody's at this door. No error of `accept` ends the loop, running out of descriptors included.
//!
//! ```text
//! // ## listening => handshaking      a place among the handshakes, of the address, of the door
//! // ## handshaking => recognized     TLS within its time, one URI name, this door's role
//! // ## recognized => serving         a place of the principal; first byte within its time
//! // ## serving => closed             by either side · age + grace · severed (revoked, expired)
//! ```

mod census;
mod connection;
#[cfg(test)]
mod tests;

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::Stream;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    Http2Limits,
    peer::{PeerIdentity, Principal, Realm, Role, Unrecognized},
};
use crate::{
    security::tls::{TlsMaterial, connector::Wire, live::Guarded},
    telemetry::{self, Refused, seldom::Seldom},
};
use census::{Census, Seat, host};
pub use connection::Connection;

/// How many may come in, and how long they may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Connections of this door, those in their handshake included.
    pub connections_max: usize,
    /// Handshakes in progress; above, the kernel's queue waits.
    pub handshakes_max: usize,
    /// Connections from one address; behind address translation many gateways share one.
    pub per_address_max: usize,
    /// Handshakes in progress from one address, so that one silent host cannot take all places for them.
    pub handshakes_per_address_max: usize,
    /// Connections of one principal, whatever their addresses.
    pub per_principal_max: usize,
    /// For a handshake.
    pub handshake_timeout: Duration,
    /// From the handshake to the first byte of HTTP/2.
    pub first_byte_timeout: Duration,
}

impl Default for Caps {
    /// Far above what gateways need, and below a node's descriptors; per address generous, since translation hides many.
    fn default() -> Self {
        Self {
            connections_max: 4096,
            handshakes_max: 256,
            per_address_max: 1024,
            handshakes_per_address_max: 64,
            per_principal_max: 512,
            handshake_timeout: Duration::from_secs(2),
            first_byte_timeout: Duration::from_secs(5),
        }
    }
}

/// Whose door it is.
#[derive(Clone)]
pub struct Door {
    role: Role,
    realm: Realm,
    caps: Caps,
    age_max: Option<Duration>,
    grace: Duration,
    observer: DoorObserver,
}

impl Door {
    /// The door for `role`, with that role's [`Http2Limits`] for the age of connections.
    pub fn new(role: Role, realm: Realm) -> Self {
        let Http2Limits { age, grace, .. } = Http2Limits::of(role);
        Self { role, realm, caps: Caps::default(), age_max: age, grace, observer: Arc::new(|_, _| {}) }
    }

    /// Other caps than the defaults.
    pub fn with_caps(self, caps: Caps) -> Self {
        Self { caps, ..self }
    }

    /// Tells `observer` of every connection.
    pub fn observed_by(self, observer: DoorObserver) -> Self {
        Self { observer, ..self }
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("role", &self.role).field("caps", &self.caps).finish_non_exhaustive()
    }
}

/// What happened at a door; for counters.
#[derive(Debug)]
pub enum DoorEvent<'a> {
    /// A connection is handed to HTTP/2.
    Opened(&'a PeerIdentity),
    /// A connection ended, by whichever side.
    Closed(&'a PeerIdentity),
    /// A connection from this address was refused.
    Refused(SocketAddr, &'a Turned),
    /// `accept` failed; the loop goes on.
    AcceptFailed(&'a io::Error),
}

/// Sees every event, on the thread where it happens; must not block.
pub type DoorObserver = Arc<dyn Fn(Role, &DoorEvent<'_>) + Send + Sync>;

/// Counts what happens at the door for `role`.
pub fn counted(role: Role) -> DoorObserver {
    telemetry::door_known(role.name());
    Arc::new(|role, event| match event {
        DoorEvent::Opened(_) => telemetry::door_entered(role.name()),
        DoorEvent::Closed(_) => telemetry::door_left(role.name()),
        DoorEvent::Refused(_, turned) => telemetry::door_refused(role.name(), turned.kind()),
        DoorEvent::AcceptFailed(_) => telemetry::door_refused(role.name(), Refused::Socket),
    })
}

/// Why a connection was refused.
#[derive(Debug, thiserror::Error)]
pub enum Turned {
    /// The door is full.
    #[error("{0} connections, the door's bound")]
    Full(usize),
    /// The address has too many connections.
    #[error("{0} connections from one address, its bound")]
    AddressFull(usize),
    /// The address has too many handshakes in progress.
    #[error("{0} handshakes from one address, its bound")]
    AddressHandshaking(usize),
    /// The principal has too many connections.
    #[error("{0} connections of one principal, its bound")]
    PrincipalFull(usize),
    /// No handshake in time.
    #[error("no handshake within {0:?}")]
    HandshakeTimedOut(Duration),
    /// No handshake: no certificate, or one that we do not accept; no TLS 1.3; no TLS at all.
    #[error("handshake failed: {0}")]
    Handshake(io::Error),
    /// A certificate that we trust, of somebody who is nobody here.
    #[error(transparent)]
    Unrecognized(#[from] Unrecognized),
    /// The socket broke before anything was said.
    #[error("socket failed: {0}")]
    Socket(io::Error),
}

impl Turned {
    /// What it counts as.
    fn kind(&self) -> Refused {
        match self {
            Self::Full(_) | Self::AddressFull(_) | Self::AddressHandshaking(_) | Self::PrincipalFull(_) => {
                Refused::NoRoom
            }
            Self::HandshakeTimedOut(_) => Refused::Late,
            Self::Handshake(_) => Refused::Handshake,
            Self::Unrecognized(_) => Refused::Stranger,
            Self::Socket(_) => Refused::Socket,
        }
    }
}

/// Accepts until `shutdown`; then the listener is closed, handshakes in progress are dropped and the stream ends.
/// Connections that were handed over live on: the server drains them.
pub fn incoming(listener: TcpListener, tls: Arc<TlsMaterial>, door: Door, shutdown: CancellationToken) -> Incoming {
    let (ready, connections) = mpsc::channel(READY_MAX);
    let acceptor = Acceptor::new(tls, door, ready);
    let task = tokio::spawn(async move { shutdown.run_until_cancelled(acceptor.run(listener)).await });
    Incoming { connections, _task: AbortOnDropHandle::new(task) }
}

/// The connections of a door, as they come. Dropping it closes the door.
#[derive(Debug)]
pub struct Incoming {
    connections: mpsc::Receiver<Connection>,
    _task: AbortOnDropHandle<Option<()>>,
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.connections.poll_recv(cx).map(|connection| connection.map(Ok))
    }
}

/// What the loop and its handshakes share.
struct Acceptor {
    shared: Arc<Shared>,
    handshakes: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    addresses: Arc<Census<IpAddr>>,
    handshaking: Arc<Census<IpAddr>>,
}

struct Shared {
    tls: Arc<TlsMaterial>,
    door: Door,
    principals: Arc<Census<Principal>>,
    ready: mpsc::Sender<Connection>,
    refusals: Seldom,
    failures: Seldom,
}

impl Acceptor {
    fn new(tls: Arc<TlsMaterial>, door: Door, ready: mpsc::Sender<Connection>) -> Self {
        let caps = door.caps;
        let shared = Shared {
            tls,
            door,
            principals: Arc::default(),
            ready,
            refusals: Seldom::default(),
            failures: Seldom::default(),
        };
        Self {
            shared: Arc::new(shared),
            handshakes: Arc::new(Semaphore::new(caps.handshakes_max)),
            connections: Arc::new(Semaphore::new(caps.connections_max)),
            addresses: Arc::default(),
            handshaking: Arc::default(),
        }
    }

    async fn run(self, listener: TcpListener) {
        let mut tasks = JoinSet::new();
        loop {
            // The place comes first: while there is none, callers wait in the kernel's queue, for at most a time-out.
            let Ok(handshake) = Arc::clone(&self.handshakes).acquire_owned().await else { return };
            let accepted = tokio::select! {
                biased;
                Some(_) = tasks.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((tcp, address)) => match self.place(address) {
                    Ok(place) => drop(tasks.spawn(Arc::clone(&self.shared).receive(tcp, address, place, handshake))),
                    Err(turned) => self.shared.refuse(address, &turned),
                },
                Err(error) => {
                    self.shared.tell(&DoorEvent::AcceptFailed(&error));
                    if self.shared.failures.is_due() {
                        tracing::warn!(door = %self.shared.door.role, %error, "accept failed, the door stays open");
                    }
                    tokio::time::sleep(pause_after(&error)).await;
                }
            }
        }
    }

    /// A place for one more connection from `address`, or why there is none.
    fn place(&self, address: SocketAddr) -> Result<(Place, Seat<IpAddr>), Turned> {
        let caps = &self.shared.door.caps;
        let host = host(address.ip());
        let permit =
            Arc::clone(&self.connections).try_acquire_owned().map_err(|_| Turned::Full(caps.connections_max))?;
        let from_address = Census::enter(&self.addresses, host, caps.per_address_max)
            .ok_or(Turned::AddressFull(caps.per_address_max))?;
        let handshaking = Census::enter(&self.handshaking, host, caps.handshakes_per_address_max)
            .ok_or(Turned::AddressHandshaking(caps.handshakes_per_address_max))?;
        Ok((Place { _door: permit, _address: from_address }, handshaking))
    }
}

impl Shared {
    /// One connection up to the hand-over; its places among the handshakes are free again when this ends.
    async fn receive(
        self: Arc<Self>,
        tcp: TcpStream,
        address: SocketAddr,
        (place, handshaking): (Place, Seat<IpAddr>),
        handshake: OwnedSemaphorePermit,
    ) {
        let recognized = self.recognize(tcp, address).await;
        drop((handshaking, handshake));
        match recognized {
            Ok((stream, identity, of_principal)) => {
                self.tell(&DoorEvent::Opened(&identity));
                let connection = Connection::new(&self.door, stream, identity, place, of_principal);
                // Fails only when the door closed meanwhile.
                let _ = self.ready.send(connection).await;
            }
            Err(turned) => self.refuse(address, &turned),
        }
    }

    async fn recognize(&self, tcp: TcpStream, address: SocketAddr) -> Result<Recognized, Turned> {
        let Door { role, realm, caps, age_max, .. } = &self.door;
        Wire::default().apply(&tcp).map_err(Turned::Socket)?;
        let stream = tokio::time::timeout(caps.handshake_timeout, self.tls.accept(tcp))
            .await
            .map_err(|_| Turned::HandshakeTimedOut(caps.handshake_timeout))?
            .map_err(Turned::Handshake)?;
        let retires_at = age_max.map(|age| Instant::now() + age);
        let identity = PeerIdentity::recognize(stream.connection().leaf(), realm, *role, address, retires_at)?;
        let of_principal = Census::enter(&self.principals, identity.principal().clone(), caps.per_principal_max)
            .ok_or(Turned::PrincipalFull(caps.per_principal_max))?;
        Ok((stream, identity, of_principal))
    }

    fn refuse(&self, address: SocketAddr, turned: &Turned) {
        self.tell(&DoorEvent::Refused(address, turned));
        if self.refusals.is_due() {
            tracing::warn!(door = %self.door.role, %address, reason = %turned, "connection refused");
        }
    }

    fn tell(&self, event: &DoorEvent<'_>) {
        (self.door.observer)(self.door.role, event);
    }
}

type ServerStream = Guarded<tokio_rustls::server::TlsStream<TcpStream>>;
type Recognized = (ServerStream, PeerIdentity, Seat<Principal>);

/// A connection's places, free again on drop.
struct Place {
    _door: OwnedSemaphorePermit,
    _address: Seat<IpAddr>,
}

/// Out of descriptors or memory, the same error comes back at once until somebody closes something. Every other error
/// belongs to the one connection that is gone.
fn pause_after(error: &io::Error) -> Duration {
    use rustix::io::Errno;
    match Errno::from_io_error(error) {
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => Duration::from_millis(100),
        _ => Duration::from_millis(1),
    }
}

/// Connections that wait for the server's task to take them.
const READY_MAX: usize = 64;
