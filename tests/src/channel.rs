//! gRPC over mutual TLS 1.3, from the PEM files of one certificate.

use std::{
    future::Future,
    io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use anyhow::Context as _;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, client::danger::ServerCertVerifier, version::TLS13};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{
    codegen::{Service, http::Uri},
    transport::{Channel, Endpoint},
};

use crate::pki::{Issued, Pki, Plane};

/// Longest that TCP and TLS together may take on one machine, also under load.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A certificate with its key, and the roots it trusts, as files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsFiles {
    /// PEM chain, leaf first.
    pub certificate: PathBuf,
    /// PEM key.
    pub key: PathBuf,
    /// PEM roots of the other side.
    pub roots: PathBuf,
}

impl TlsFiles {
    /// A client configuration that offers HTTP/2 only.
    pub fn client(&self) -> anyhow::Result<Arc<ClientConfig>> {
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&TLS13])
            .context("the ring provider speaks TLS 1.3")?
            .with_root_certificates(roots(&self.roots)?);
        let mut config = builder.with_client_auth_cert(chain(&self.certificate)?, key(&self.key)?)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }
}

impl Pki {
    /// A certificate with its key, to be shown at the doors of `plane`.
    pub fn files(&self, plane: Plane, issued: &Issued) -> TlsFiles {
        let Issued { certificate, key, .. } = issued.clone();
        TlsFiles { certificate, key, roots: self.root(plane).to_owned() }
    }
}

/// A client configuration for tests of the door itself: any verifier, any or no certificate.
pub fn client_with(verifier: Arc<dyn ServerCertVerifier>, own: Option<&TlsFiles>) -> anyhow::Result<Arc<ClientConfig>> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .context("the ring provider speaks TLS 1.3")?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match own {
        Some(own) => builder.with_client_auth_cert(chain(&own.certificate)?, key(&own.key)?)?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

fn roots(path: &Path) -> anyhow::Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    for root in chain(path)? {
        store.add(root).with_context(|| format!("{} holds a root that is none", path.display()))?;
    }
    Ok(store)
}

fn chain(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .with_context(|| format!("{} holds no certificates", path.display()))
}

fn key(path: &Path) -> anyhow::Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(path).with_context(|| format!("{} holds no key", path.display()))
}

/// A channel to `address` (host:port) that connects when it is first used, and again whenever it was cut.
pub fn lazy(address: &str, tls: Arc<ClientConfig>) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .with_context(|| format!("{address} is no address"))?
        .origin(format!("https://{address}").parse::<Uri>()?)
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(4 * 1024 * 1024)
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true);
    Ok(endpoint.connect_with_connector_lazy(Tls { tls }))
}

/// Opens the TCP connection of a channel and the TLS session on it.
#[derive(Clone)]
struct Tls {
    tls: Arc<ClientConfig>,
}

impl Service<Uri> for Tls {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let connector = TlsConnector::from(self.tls.clone());
        Box::pin(async move {
            let host = to.host().ok_or_else(|| io::Error::other("an address without a host"))?.to_owned();
            let stream = TcpStream::connect((host.as_str(), to.port_u16().unwrap_or(443))).await?;
            stream.set_nodelay(true)?;
            let name = ServerName::try_from(host).map_err(io::Error::other)?;
            Ok(TokioIo::new(connector.connect(name, stream).await?))
        })
    }
}
