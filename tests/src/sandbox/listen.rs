//! The listener of a network: accepts, shakes hands over mutual TLS, refuses or cuts where the network's mode says so.

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use futures::task::AtomicWaker;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    server::{VerifierBuilderError, WebPkiClientVerifier},
    version::TLS13,
};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, watch},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tonic::transport::server::Connected;

use super::{
    conduct::Standing,
    limits::{HANDSHAKE_TIMEOUT, HANDSHAKES_MAX, REBIND_EVERY},
    proto::Mode,
};

/// How connections are protected.
#[derive(Debug, Clone)]
pub enum Tls {
    /// TLS 1.3, and the switch must show a certificate.
    Mutual {
        /// The network's certificate chain, PEM.
        certificate: PathBuf,
        /// Its key, PEM.
        key: PathBuf,
        /// The authorities that issue the switch's certificates, PEM.
        authorities: PathBuf,
    },
    /// Not at all: for tests within one process.
    Insecure,
}

/// Key material that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that is missing or no PEM.
    #[error("{path}: {cause}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: pem::Error,
    },
    /// Certificate and key that do not fit.
    #[error("TLS: {0}")]
    Config(#[from] rustls::Error),
    /// Authorities that vouch for nobody.
    #[error("client authorities: {0}")]
    Authorities(#[from] VerifierBuilderError),
}

impl Tls {
    /// What accepts handshakes; `None` without TLS.
    pub(super) fn acceptor(&self) -> Result<Option<TlsAcceptor>, TlsError> {
        let Self::Mutual { certificate, key, authorities } = self else {
            return Ok(None);
        };
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        for authority in certificates(authorities)? {
            roots.add(authority)?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(|cause| TlsError::File { path: key.clone(), cause })?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(certificates(certificate)?, key)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Some(TlsAcceptor::from(Arc::new(config))))
    }
}

fn certificates(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let file = |cause| TlsError::File { path: path.clone(), cause };
    CertificateDer::pem_file_iter(path).map_err(file)?.collect::<Result<_, _>>().map_err(file)
}

/// Accepts for one network until it is told to stop or nobody takes the connections any more.
pub(super) struct Door {
    pub(super) address: SocketAddr,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) standing: watch::Receiver<Standing>,
    pub(super) stopping: watch::Receiver<bool>,
    pub(super) accepted: mpsc::Sender<io::Result<Wire>>,
}

impl Door {
    /// Refusing connections means that nobody listens, so the listener is dropped and bound again.
    pub(super) async fn run(mut self, listener: TcpListener) {
        let mut listener = Some(listener);
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        loop {
            let refuses = self.standing.borrow_and_update().mode == Mode::RefuseConnections;
            if refuses {
                listener = None;
            } else if listener.is_none() {
                listener = TcpListener::bind(self.address).await.ok();
            }
            tokio::select! {
                biased;
                () = stopped(&mut self.stopping) => return,
                () = self.accepted.closed() => return,
                changed = self.standing.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                // The address may still be held by what was just cut.
                () = sleep(REBIND_EVERY), if listener.is_none() && !refuses => {}
                stream = accept(listener.as_ref()), if listener.is_some() => match stream {
                    Ok(stream) => self.shake_hands(stream, &handshakes).await,
                    // Out of descriptors, or a peer that is gone again: neither passes faster by trying.
                    Err(error) => {
                        tracing::warn!(%error, address = %self.address, "accept");
                        sleep(REBIND_EVERY).await;
                    }
                },
            }
        }
    }

    /// In a task of its own, so that a peer that dawdles holds up nobody.
    async fn shake_hands(&self, stream: TcpStream, handshakes: &Arc<Semaphore>) {
        let permit = handshakes.clone().acquire_owned().await.expect("never closed");
        let (tls, accepted) = (self.tls.clone(), self.accepted.clone());
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true); // slower without, but right
            let io: Box<dyn Stream> = match tls {
                None => Box::new(stream),
                Some(tls) => match timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
                    Ok(Ok(stream)) => Box::new(stream),
                    Ok(Err(error)) => return tracing::debug!(%error, "handshake"),
                    Err(_) => return tracing::debug!("handshake took too long"),
                },
            };
            drop(permit);
            // Fails only where the server has stopped.
            let _ = accepted.send(Ok(Wire { io, cutter: Cutter::default() })).await;
        });
    }
}

/// Returns once it is time to stop; a sandbox that was dropped has stopped as well.
pub(super) async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection that can be cut from within a conversation on it.
pub(super) struct Wire {
    io: Box<dyn Stream>,
    cutter: Cutter,
}

/// Cuts a connection: whatever is read or written afterwards fails.
#[derive(Debug, Clone, Default)]
pub(super) struct Cutter(Arc<Cutting>);

#[derive(Debug, Default)]
struct Cutting {
    cut: AtomicBool,
    reader: AtomicWaker,
}

impl Cutter {
    pub(super) fn cut(&self) {
        self.0.cut.store(true, Ordering::Release);
        self.0.reader.wake();
    }

    fn check(&self) -> io::Result<()> {
        if self.0.cut.load(Ordering::Acquire) { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

impl Connected for Wire {
    type ConnectInfo = Cutter;

    fn connect_info(&self) -> Cutter {
        self.cutter.clone()
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.cutter.0.reader.register(context.waker());
        self.cutter.check()?;
        Pin::new(&mut self.io).poll_read(context, into)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        self.cutter.check()?;
        Pin::new(&mut self.io).poll_write(context, from)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.cutter.check()?;
        Pin::new(&mut self.io).poll_write_vectored(context, from)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.cutter.check()?;
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.cutter.check()?;
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
