//! A gRPC service over mutual TLS that answers every Authorize with the same approval: what this machine can do at best
//! with the contract, the certificates and the client of the real thing. A process of its own, like a node.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use anyhow::Context as _;
use clap::Parser;
use rustls::{RootCertStore, ServerConfig, crypto::ring, server::WebPkiClientVerifier, version::TLS13};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use switch_proto::gateway::v1 as pb;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::{BoxFuture, Service, http},
    server::{Grpc, NamedService, UnaryService},
    transport::{Server, server::Connected},
};

use crate::{
    harness::Process,
    pki::{Pki, Plane},
};

/// The part of `bench` that serves.
#[derive(Debug, Parser)]
#[command(name = "bench echo")]
pub struct Args {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// Own chain, PEM.
    #[arg(long)]
    certificate: PathBuf,
    /// Own key, PEM.
    #[arg(long)]
    key: PathBuf,
    /// Roots of clients, PEM.
    #[arg(long)]
    roots: PathBuf,
}

/// Starts the process; gives its address. The certificate is one for a node's door to gateways.
pub fn start(folder: &Path, pki: &Pki) -> anyhow::Result<(Process, String)> {
    let issued = pki.gateway_door("echo", &["127.0.0.1"])?;
    let free = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
    let address = free.to_string();
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let args = [
        "echo".to_owned(),
        format!("--listen={address}"),
        format!("--certificate={}", path(&issued.certificate)),
        format!("--key={}", path(&issued.key)),
        format!("--roots={}", path(pki.root(Plane::Gateways))),
    ];
    Ok((Process::start("echo", args, &folder.join("echo.log"), &[])?, address))
}

/// Serves until standard input ends: with the process that started it.
pub async fn serve(args: Args) -> anyhow::Result<()> {
    let acceptor = TlsAcceptor::from(Arc::new(tls(&args)?));
    let listener = TcpListener::bind(args.listen).await?;
    let (accepted, wires) = mpsc::channel::<io::Result<Wire>>(64);
    let accepting = async move {
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let (acceptor, accepted) = (acceptor.clone(), accepted.clone());
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    // Fails only where the server has ended.
                    let _ = accepted.send(Ok(Wire(stream))).await;
                }
            });
        }
    };
    let serving = Server::builder()
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(4 * 1024 * 1024)
        .max_concurrent_streams(4096)
        .add_service(Echo)
        .serve_with_incoming(ReceiverStream::new(wires));
    let (gone, mut orphaned) = mpsc::channel::<()>(1);
    std::thread::spawn(move || {
        let mut byte = [0];
        while matches!(io::Read::read(&mut io::stdin(), &mut byte), Ok(1)) {}
        drop(gone);
    });
    tokio::select! {
        ended = accepting => ended,
        served = serving => Ok(served?),
        _ = orphaned.recv() => Ok(()),
    }
}

fn tls(args: &Args) -> anyhow::Result<ServerConfig> {
    let chain = |path: &Path| -> anyhow::Result<Vec<CertificateDer<'static>>> {
        let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
        read.with_context(|| format!("{} holds no certificates", path.display()))
    };
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    for root in chain(&args.roots)? {
        roots.add(root)?;
    }
    let key = PrivateKeyDer::from_pem_file(&args.key).context("no key")?;
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?)
        .with_single_cert(chain(&args.certificate)?, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// Answers `Authorize`, and nothing else.
#[derive(Clone)]
struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "payswitch.gateway.v1.AuthorizationService";
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let codec = tonic_prost::ProstCodec::<pb::AuthorizeResponse, pb::AuthorizeRequest>::default();
            Ok(Grpc::new(codec).unary(Self, request).await)
        })
    }
}

impl UnaryService<pb::AuthorizeRequest> for Echo {
    type Response = pb::AuthorizeResponse;
    type Future = std::future::Ready<Result<Response<pb::AuthorizeResponse>, Status>>;

    fn call(&mut self, request: Request<pb::AuthorizeRequest>) -> Self::Future {
        let asked = request.into_inner();
        let result = pb::OperationResult {
            transaction_id: asked.request_id.clone(),
            request_id: asked.request_id,
            outcome: Some(pb::Outcome {
                decision: pb::Decision::Approved.into(),
                approved_amount: asked.amount,
                approval_code: "123456".to_owned(),
                response_code: "00".to_owned(),
                ..pb::Outcome::default()
            }),
            network: "aurora".to_owned(),
            retrieval_reference_number: "0".repeat(12),
            network_transaction_id: "MCC000000001".to_owned(),
            ..pb::OperationResult::default()
        };
        std::future::ready(Ok(Response::new(pb::AuthorizeResponse { result: Some(result) })))
    }
}

/// A TLS session that tonic can serve.
struct Wire(TlsStream<TcpStream>);

impl Connected for Wire {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, from)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, from)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
