//! The client's side: dial, handshake, and make sure of who answered.
//!
//! Every connection is made with the material of now, so that a [`Channel`] that reconnects after a renewal shows the new
//! certificate. The server's name is verified, and towards peers its identity too: a peer root signs every node of every
//! cluster of the trust domain, a name alone would not tell them apart.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};
use tower_service::Service;

use super::{
    TlsMaterial,
    files::H2,
    live::{Guarded, Side},
    owned,
};

/// What a connection to a server is once it stands.
pub type ClientStream = Guarded<tokio_rustls::client::TlsStream<TcpStream>>;

/// What is spoken inside TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoken {
    /// gRPC; the server must agree on `h2`.
    Http2,
    /// Bytes of a protocol that TLS has no name for, as ISO 8583.
    Bare,
}

/// Makes connections with one plane's material. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TlsConnector {
    material: Arc<TlsMaterial>,
    /// The one URI name that the server's certificate must carry.
    identity: Option<Arc<str>>,
    wire: Wire,
}

impl TlsConnector {
    /// A connector that verifies the server's chain and name.
    pub fn new(material: Arc<TlsMaterial>) -> Self {
        Self { material, identity: None, wire: Wire::default() }
    }

    /// Requires this URI, and no other, in the server's certificate: `spiffe://<domain>/cluster/<name>/node` for peers.
    pub fn expecting(self, identity: &str) -> Self {
        Self { identity: Some(identity.into()), ..self }
    }

    /// Other times than the defaults.
    pub fn with_wire(self, wire: Wire) -> Self {
        Self { wire, ..self }
    }

    /// Dials `address` (`host:port`), shakes hands under `server_name`; all of it within [`Wire::connect_timeout`].
    pub async fn connect(
        &self,
        address: &str,
        server_name: &ServerName<'static>,
        spoken: Spoken,
    ) -> Result<ClientStream, ConnectFault> {
        tokio::time::timeout(self.wire.connect_timeout, self.connect_unbounded(address, server_name, spoken))
            .await
            .unwrap_or_else(|_| {
                let after_ms = self.wire.connect_timeout.as_millis();
                Err(ConnectFault::TimedOut { address: address.to_owned(), after_ms })
            })
    }

    async fn connect_unbounded(
        &self,
        address: &str,
        server_name: &ServerName<'static>,
        spoken: Spoken,
    ) -> Result<ClientStream, ConnectFault> {
        let dialing = |source| ConnectFault::Dial { address: address.to_owned(), source };
        let handshaking = |source| ConnectFault::Handshake { address: address.to_owned(), source };
        // Tries every address of the name in turn.
        let tcp = TcpStream::connect(address).await.map_err(dialing)?;
        self.wire.apply(&tcp).map_err(dialing)?;
        let configuration = self.material.current.load_full();
        let client = match spoken {
            Spoken::Http2 => &configuration.client_h2,
            Spoken::Bare => &configuration.client_bare,
        };
        let stream = tokio_rustls::TlsConnector::from(Arc::clone(client))
            .connect(server_name.clone(), tcp)
            .await
            .map_err(handshaking)?;
        if spoken == Spoken::Http2 && stream.get_ref().1.alpn_protocol() != Some(H2) {
            return Err(ConnectFault::NotHttp2 { address: address.to_owned() });
        }
        let chain = stream.get_ref().1.peer_certificates().map(owned).unwrap_or_default();
        let side = Side::Server(server_name.clone());
        let guarded = self.material.guard(stream, chain, side, &configuration).map_err(handshaking)?;
        self.recognize(address, &guarded)?;
        Ok(guarded)
    }

    /// Nothing was sent yet but the handshake: a server with another identity learns nothing.
    fn recognize(&self, address: &str, stream: &ClientStream) -> Result<(), ConnectFault> {
        let Some(expected) = &self.identity else { return Ok(()) };
        let leaf = stream.connection().leaf();
        if leaf.only_uri() == Some(expected) && !leaf.is_authority {
            return Ok(());
        }
        Err(ConnectFault::AnotherIdentity {
            address: address.to_owned(),
            expected: expected.to_string(),
            found: leaf.uris.join(", "),
        })
    }
}

/// The times and sizes of the TCP connection under TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wire {
    /// For name, TCP and TLS together.
    pub connect_timeout: Duration,
    /// Idle time before the kernel asks whether the other side is there, and between its questions.
    pub keepalive: Duration,
    /// How long sent bytes may stay unacknowledged before the kernel gives the connection up.
    pub user_timeout: Duration,
}

impl Wire {
    /// Sets the options on a connected socket.
    pub(crate) fn apply(&self, tcp: &TcpStream) -> io::Result<()> {
        tcp.set_nodelay(true)?;
        let socket = SockRef::from(tcp);
        socket.set_tcp_keepalive(
            &TcpKeepalive::new()
                .with_time(self.keepalive)
                .with_interval(self.keepalive)
                .with_retries(KEEPALIVE_RETRIES),
        )?;
        socket.set_tcp_user_timeout(Some(self.user_timeout))
    }
}

impl Default for Wire {
    /// A second to connect, since an election waits for it; five until a silent cut is noticed by the kernel alone.
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(1),
            keepalive: Duration::from_secs(5),
            user_timeout: Duration::from_secs(5),
        }
    }
}

/// The HTTP/2 side of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelOptions {
    /// Between pings, also while no call is in flight: a dead connection must be known before a payment needs it.
    pub ping_interval: Duration,
    /// From a ping to giving the connection up.
    pub ping_timeout: Duration,
    /// Bytes one call may have unread; a snapshot frame fits.
    pub stream_window: u32,
    /// Bytes all calls together may have unread.
    pub connection_window: u32,
}

impl Default for ChannelOptions {
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_secs(2),
            ping_timeout: Duration::from_secs(2),
            stream_window: 2 << 20,
            connection_window: 16 << 20,
        }
    }
}

/// A lazy gRPC channel to `address` (`host:port`): connects with the first call, and again whenever it must.
pub fn channel(
    address: &str,
    server_name: &str,
    connector: TlsConnector,
    options: &ChannelOptions,
) -> Result<Channel, ConnectFault> {
    let unusable = |reason: String| ConnectFault::Unusable { address: address.to_owned(), reason };
    let name = ServerName::try_from(server_name.to_owned()).map_err(|e| unusable(e.to_string()))?;
    // The address says where to dial, the origin what requests name; they differ behind a load balancer.
    let authority = if server_name.contains(':') { format!("[{server_name}]") } else { server_name.to_owned() };
    let origin: Uri =
        format!("https://{authority}").parse().map_err(|e: http::uri::InvalidUri| unusable(e.to_string()))?;
    let endpoint = Endpoint::from_shared(format!("https://{address}"))
        .map_err(|e| unusable(e.to_string()))?
        .origin(origin)
        .http2_keep_alive_interval(options.ping_interval)
        .keep_alive_timeout(options.ping_timeout)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(options.stream_window)
        .initial_connection_window_size(options.connection_window);
    Ok(endpoint.connect_with_connector_lazy(Dialer { connector, name }))
}

/// What tonic asks for a connection whenever it has none.
struct Dialer {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Service<Uri> for Dialer {
    type Response = TokioIo<ClientStream>;
    type Error = ConnectFault;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.connector.clone();
        let name = self.name.clone();
        Box::pin(async move {
            let address = uri.authority().map(ToString::to_string).unwrap_or_default();
            connector.connect(&address, &name, Spoken::Http2).await.map(TokioIo::new)
        })
    }
}

/// Why there is no connection. Apart from `Unusable`, whoever runs the other side must act, or nobody: trying again may do.
#[derive(Debug, thiserror::Error)]
pub enum ConnectFault {
    /// The address or the name is not one; the configuration must change.
    #[error("{address} cannot be dialed: {reason}")]
    Unusable {
        /// Where to.
        address: String,
        /// What is wrong.
        reason: String,
    },
    /// No TCP connection.
    #[error("no connection to {address}: {source}")]
    Dial {
        /// Where to.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// No TLS connection: a side does not accept the other's certificate, or it is no TLS server.
    #[error("no TLS with {address}: {source}")]
    Handshake {
        /// Where to.
        address: String,
        /// What rustls said.
        source: io::Error,
    },
    /// The server does not speak HTTP/2.
    #[error("{address} did not agree on h2")]
    NotHttp2 {
        /// Where to.
        address: String,
    },
    /// The server is well certified and somebody else.
    #[error("{address} is not {expected}; its certificate names: {found}")]
    AnotherIdentity {
        /// Where to.
        address: String,
        /// Who should be there.
        expected: String,
        /// Who is.
        found: String,
    },
    /// Not all done in time.
    #[error("no TLS with {address} within {after_ms} ms")]
    TimedOut {
        /// Where to.
        address: String,
        /// The bound.
        after_ms: u128,
    },
}

/// Unanswered questions of the kernel until it gives a connection up.
const KEEPALIVE_RETRIES: u32 = 3;
