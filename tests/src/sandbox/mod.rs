//! THE card-network simulator: networks with books of their own, which behave or misbehave as test cards and the
//! control service say.
//!
//! [`run`] takes addresses and key material from its caller and gives back a [`Running`]. A request passes `listen`
//! (connection) → `grpc` (stream) → [`Conversation`] (sign-on, treatment, timing) → `parse` → [`Books`] (money and
//! violations), and the answer comes back through the conversation. Conversations and books know no wire: a simulation
//! may drive them directly. The books are the ground truth of rule R21; the switch shares nothing with them but the
//! contract.

pub mod books;
pub mod cards;
mod cli;
pub mod conduct;
mod control;
mod conversation;
mod dump;
#[cfg(test)]
mod fixture;
mod grpc;
pub mod limits;
mod listen;
mod network;
mod parse;
#[cfg(test)]
mod tests;

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::Server;

pub use self::{
    books::{Books, Policy, Sums},
    cli::{Args, main},
    conduct::{ConductError, Standing},
    conversation::{Conversation, Frame},
    listen::{Tls, TlsError},
    network::Network,
};
use self::{
    control::Control,
    grpc::CardNetwork,
    limits::{ACCEPTED_MAX, STOP_GRACE},
    listen::{Door, stopped},
    proto::sandbox_control_service_server::SandboxControlServiceServer,
};

/// The control contract, `payswitch.sandbox.v1`.
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)] // generated code
pub mod proto {
    tonic::include_proto!("payswitch.sandbox.v1");
}

/// What a sandbox serves.
#[derive(Debug, Clone, Default)]
pub struct SandboxOptions {
    /// The networks. Names must differ.
    pub networks: Vec<NetworkOptions>,
    /// Where the control service listens, on loopback; `None` for not at all.
    pub control: Option<SocketAddr>,
    /// Where the books are written when the sandbox stops, and on request.
    pub books: Option<PathBuf>,
}

/// One network of a sandbox.
#[derive(Debug, Clone)]
pub struct NetworkOptions {
    /// Its name.
    pub name: String,
    /// Where it listens; port 0 for any.
    pub address: SocketAddr,
    /// How its connections are protected.
    pub tls: Tls,
    /// What is fixed about its books.
    pub policy: Policy,
    /// Seed of its chance and of its card tokens.
    pub seed: u64,
    /// How it behaves by chance from the start.
    pub conduct: proto::Conduct,
}

impl NetworkOptions {
    /// A network without TLS on any port of loopback, that behaves.
    pub fn insecure(name: &str) -> Self {
        Self {
            name: name.into(),
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: Tls::Insecure,
            policy: Policy::default(),
            seed: 0,
            conduct: proto::Conduct::default(),
        }
    }
}

/// Why a sandbox does not start or does not end well.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Nothing to serve.
    #[error("no network given")]
    NoNetwork,
    /// Two networks of one name.
    #[error("two networks are called {0:?}")]
    NameTwice(String),
    /// The control service has no guard, so it stays on this machine.
    #[error("control address {0} is not on loopback")]
    ControlNotLoopback(SocketAddr),
    /// An address that cannot be had.
    #[error("{address}: {cause}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        cause: io::Error,
    },
    /// Unusable key material.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A conduct that cannot be had.
    #[error(transparent)]
    Conduct(#[from] ConductError),
    /// Books that cannot be written.
    #[error("books {path}: {cause}")]
    Books {
        /// Where.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

/// A running sandbox. Dropping it ends it without a dump.
#[derive(Debug)]
pub struct Running {
    networks: Vec<(Arc<Network>, SocketAddr)>,
    control: Option<SocketAddr>,
    books: Option<PathBuf>,
    stopping: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Running {
    /// A network by name, for looking at its books and setting its standing from within the process.
    pub fn network(&self, name: &str) -> Option<&Arc<Network>> {
        self.networks.iter().map(|(network, _)| network).find(|network| network.name == name)
    }

    /// Every network and where it listens.
    pub fn networks(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        self.networks.iter().map(|(network, address)| (network.name.as_str(), *address))
    }

    /// Where a network listens.
    pub fn address(&self, name: &str) -> Option<SocketAddr> {
        self.networks().find(|(network, _)| *network == name).map(|(_, address)| address)
    }

    /// Where the control service listens.
    pub fn control(&self) -> Option<SocketAddr> {
        self.control
    }

    /// Writes the books now, where a file was given; says how many lines.
    pub async fn dump(&self) -> Result<u64, SandboxError> {
        let Some(path) = self.books.clone() else {
            return Ok(0);
        };
        let networks: Vec<_> = self.networks.iter().map(|(network, _)| network.clone()).collect();
        let written = {
            let path = path.clone();
            tokio::task::spawn_blocking(move || dump::write(&networks, &path)).await
        };
        written
            .unwrap_or_else(|panic| Err(io::Error::other(panic)))
            .map_err(|cause| SandboxError::Books { path, cause })
    }

    /// Ends every conversation, closes every listener, and writes the books.
    pub async fn stop(mut self) -> Result<u64, SandboxError> {
        self.stopping.send_replace(true);
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(STOP_GRACE, ended).await.is_err() {
            self.tasks.shutdown().await;
        }
        self.dump().await
    }
}

/// Binds every address, then serves.
pub async fn run(options: SandboxOptions) -> Result<Running, SandboxError> {
    if options.networks.is_empty() {
        return Err(SandboxError::NoNetwork);
    }
    if let Some(address) = options.control.filter(|address| !address.ip().is_loopback()) {
        return Err(SandboxError::ControlNotLoopback(address));
    }
    let (stopping, stop) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let mut networks: Vec<(Arc<Network>, SocketAddr)> = Vec::new();
    for network in &options.networks {
        if networks.iter().any(|(other, _)| other.name == network.name) {
            return Err(SandboxError::NameTwice(network.name.clone()));
        }
        conduct::check(&network.conduct)?;
        let tls = network.tls.acceptor()?;
        let (listener, address) = bind(network.address).await?;
        let served = Arc::new(Network::new(&network.name, network.policy, network.seed, SystemTime::now()));
        served.standing.send_modify(|standing| standing.conduct = network.conduct);

        let (accepted, incoming) = mpsc::channel(ACCEPTED_MAX);
        let door = Door { address, tls, standing: served.standing.subscribe(), stopping: stop.clone(), accepted };
        tasks.spawn(door.run(listener));
        let server = Server::builder()
            // A link keeps hundreds of requests in flight; windows must not be what bounds them.
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .http2_keepalive_interval(Some(Duration::from_secs(30)))
            .add_service(CardNetwork::new(served.clone(), stop.clone()))
            .serve_with_incoming_shutdown(ReceiverStream::new(incoming), told(stop.clone()));
        tasks.spawn(serve(server, network.name.clone()));
        networks.push((served, address));
    }

    let mut control = None;
    if let Some(address) = options.control {
        let (listener, address) = bind(address).await?;
        let service = Control { networks: networks.clone(), dump_to: options.books.clone() };
        let server = Server::builder()
            .add_service(SandboxControlServiceServer::new(service))
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), told(stop));
        tasks.spawn(serve(server, "control".into()));
        control = Some(address);
    }
    Ok(Running { networks, control, books: options.books, stopping, tasks })
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), SandboxError> {
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        let bound = listener.local_addr()?;
        Ok((listener, bound))
    };
    bound.await.map_err(|cause| SandboxError::Bind { address, cause })
}

async fn told(mut stop: watch::Receiver<bool>) {
    stopped(&mut stop).await;
}

async fn serve(server: impl Future<Output = Result<(), tonic::transport::Error>>, name: String) {
    if let Err(error) = server.await {
        tracing::error!(%error, name, "serving ended");
    }
}
