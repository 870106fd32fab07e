//! Connections that are alive, and the cut.
//!
//! A [`Guarded`] stream is registered for as long as it lives. Severing its [`Connection`] makes the next poll of the stream
//! an error, at once even if it sleeps: HTTP/2 then ends the connection and every call on it, streams included (R19).

use std::{
    collections::HashMap,
    error::Error,
    fmt, io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::SystemTime,
};

use futures::task::AtomicWaker;
use parking_lot::Mutex;
use rustls::CertificateError;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::security::certificate::Leaf;

/// Why a live connection was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severed {
    /// The other side's certificate is on a revocation list.
    Revoked,
    /// The other side's certificate ended.
    Expired,
    /// The other side's chain no longer ends in one of our roots, or is not accepted for another reason.
    NoLongerTrusted,
}

impl Severed {
    /// What a verification that fails means for a connection that is alive; a stale list ends none.
    pub(super) fn of(error: rustls::Error) -> Option<Self> {
        let rustls::Error::InvalidCertificate(error) = error else { return Some(Self::NoLongerTrusted) };
        match error {
            CertificateError::ExpiredRevocationList | CertificateError::ExpiredRevocationListContext { .. } => None,
            CertificateError::Revoked => Some(Self::Revoked),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Some(Self::Expired),
            _ => Some(Self::NoLongerTrusted),
        }
    }
}

impl fmt::Display for Severed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Revoked => "the other side's certificate was revoked",
            Self::Expired => "the other side's certificate expired",
            Self::NoLongerTrusted => "the other side's certificate is no longer trusted",
        })
    }
}

impl Error for Severed {}

/// Which side the other one is; a server was verified under a name.
#[derive(Debug, Clone)]
pub enum Side {
    /// It connected to us.
    Client,
    /// We connected to it, by this name.
    Server(ServerName<'static>),
}

/// The facts of one live connection and its cut.
#[derive(Debug)]
pub struct Connection {
    chain: Vec<CertificateDer<'static>>,
    leaf: Leaf,
    side: Side,
    /// [`ALIVE`], or why it was cut.
    state: AtomicU8,
    reader: AtomicWaker,
}

impl Connection {
    /// The other side's certificates, its own first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The other side's own certificate.
    pub fn leaf(&self) -> &Leaf {
        &self.leaf
    }

    /// Its serial number.
    pub fn serial(&self) -> &str {
        &self.leaf.serial
    }

    /// Its end.
    pub fn not_after(&self) -> SystemTime {
        self.leaf.not_after
    }

    /// Which side the other one is.
    pub fn side(&self) -> &Side {
        &self.side
    }

    /// Cuts the connection; false if it was cut before.
    pub fn sever(&self, severed: Severed) -> bool {
        let state = match severed {
            Severed::Revoked => REVOKED,
            Severed::Expired => EXPIRED,
            Severed::NoLongerTrusted => NO_LONGER_TRUSTED,
        };
        let first = self.state.compare_exchange(ALIVE, state, Ordering::AcqRel, Ordering::Acquire).is_ok();
        self.reader.wake();
        first
    }

    /// Why it was cut, if it was.
    pub fn severed(&self) -> Option<Severed> {
        match self.state.load(Ordering::Acquire) {
            REVOKED => Some(Severed::Revoked),
            EXPIRED => Some(Severed::Expired),
            NO_LONGER_TRUSTED => Some(Severed::NoLongerTrusted),
            _ => None,
        }
    }

    fn check(&self) -> io::Result<()> {
        match self.severed() {
            None => Ok(()),
            Some(severed) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, severed)),
        }
    }
}

/// Every live connection of one material.
#[derive(Debug, Default)]
pub(super) struct Registry {
    entries: Arc<Mutex<HashMap<u64, Arc<Connection>>>>,
    next: AtomicU64,
}

impl Registry {
    /// Registers a stream. A chain that is empty or unreadable is refused: it could never be cut.
    pub(super) fn guard<S>(
        &self,
        stream: S,
        chain: Vec<CertificateDer<'static>>,
        side: Side,
    ) -> io::Result<Guarded<S>> {
        let first = chain.first().ok_or_else(|| invalid("the other side sent no certificate".to_owned()))?;
        let leaf = Leaf::parse(first).map_err(|e| invalid(e.to_string()))?;
        let connection =
            Arc::new(Connection { chain, leaf, side, state: AtomicU8::new(ALIVE), reader: AtomicWaker::new() });
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.entries.lock().insert(number, Arc::clone(&connection));
        let entry = Entry { entries: Arc::clone(&self.entries), number };
        Ok(Guarded { stream, connection, _entry: entry })
    }

    pub(super) fn all(&self) -> Vec<Arc<Connection>> {
        self.entries.lock().values().cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.lock().len()
    }
}

/// A stream that ends when its connection is severed.
#[derive(Debug)]
pub struct Guarded<S> {
    stream: S,
    connection: Arc<Connection>,
    _entry: Entry,
}

impl<S> Guarded<S> {
    /// What is known of the other side.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// The stream inside.
    pub fn stream(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.connection.check()?;
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if polled.is_pending() {
            self.connection.reader.register(cx.waker());
            // A cut between the check and the registration woke nobody.
            self.connection.check()?;
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.connection.check()?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.connection.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.check()?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A place in the registry; leaves it on drop.
#[derive(Debug)]
struct Entry {
    entries: Arc<Mutex<HashMap<u64, Arc<Connection>>>>,
    number: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.entries.lock().remove(&self.number);
    }
}

fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

const ALIVE: u8 = 0;
const REVOKED: u8 = 1;
const EXPIRED: u8 = 2;
const NO_LONGER_TRUSTED: u8 = 3;
