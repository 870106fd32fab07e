//! Whom the client asks again, under which key, and what it believes afterwards; against doors that follow a script.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use parking_lot::Mutex;
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use switch_proto::gateway::v1::{
    self as pb, authorization_service_server::AuthorizationService,
    authorization_service_server::AuthorizationServiceServer, authorize_stream_response::Answer,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::{Code, Request, Response, Status, Streaming, transport::server::Connected};
use tonic_types::{ErrorDetails, StatusExt};

use super::{Aim, GatewayClient, Patience};
use crate::{
    history::{Ask, History, Outcome},
    pki::{Issued, Pki, Plane},
};

/// What a door does with its next call.
#[derive(Debug, Clone, Copy)]
enum Next {
    Approve,
    Refuse(Code, &'static str),
    /// The connection ends under the call.
    Bare(Code),
    Hang,
}

#[derive(Clone)]
struct Door {
    script: Arc<Mutex<VecDeque<Next>>>,
    /// Keys in the order of arrival.
    asked: Arc<Mutex<Vec<String>>>,
    /// What it says of the leader.
    hint: Arc<Mutex<Option<String>>>,
}

impl Door {
    async fn answer(&self, request: pb::AuthorizeRequest) -> Result<pb::OperationResult, Status> {
        self.asked.lock().push(request.request_id.clone());
        let next = self.script.lock().pop_front().unwrap_or(Next::Approve);
        match next {
            Next::Approve => Ok(pb::OperationResult {
                transaction_id: format!("tx-{}", request.request_id),
                request_id: request.request_id,
                outcome: Some(pb::Outcome { decision: pb::Decision::Approved.into(), ..pb::Outcome::default() }),
                ..pb::OperationResult::default()
            }),
            Next::Refuse(code, reason) => {
                let details = ErrorDetails::with_error_info(reason, "payswitch", []);
                Err(Status::with_error_details(code, "as the script says", details))
            }
            Next::Bare(code) => Err(Status::new(code, "as the script says")),
            Next::Hang => std::future::pending().await,
        }
    }

    fn hinted<T>(&self, message: T) -> Response<T> {
        let mut response = Response::new(message);
        if let Some(hint) = &*self.hint.lock() {
            response.metadata_mut().insert(super::LEADER_HINT, hint.parse().expect("an address"));
        }
        response
    }
}

/// What these plays never ask for.
fn unplayed<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not in this play"))
}

#[tonic::async_trait]
impl AuthorizationService for Door {
    type AuthorizeStreamStream = ReceiverStream<Result<pb::AuthorizeStreamResponse, Status>>;
    type WatchTransactionsStream = ReceiverStream<Result<pb::WatchTransactionsResponse, Status>>;

    async fn authorize(
        &self,
        request: Request<pb::AuthorizeRequest>,
    ) -> Result<Response<pb::AuthorizeResponse>, Status> {
        let result = self.answer(request.into_inner()).await?;
        Ok(self.hinted(pb::AuthorizeResponse { result: Some(result) }))
    }

    async fn authorize_stream(
        &self,
        request: Request<Streaming<pb::AuthorizeStreamRequest>>,
    ) -> Result<Response<Self::AuthorizeStreamStream>, Status> {
        let (mut items, door) = (request.into_inner(), self.clone());
        let (out, answers) = mpsc::channel(16);
        tokio::spawn(async move {
            while let Some(Ok(item)) = items.next().await {
                let request = item.request.unwrap_or_default();
                let request_id = request.request_id.clone();
                let answer = match door.answer(request).await {
                    Ok(result) => Answer::Response(pb::AuthorizeResponse { result: Some(result) }),
                    // A status without details ends the stream; one with them is the item's.
                    Err(status) if status.details().is_empty() => {
                        let _ = out.send(Err(status)).await;
                        return;
                    }
                    Err(status) => Answer::Status(bytes::Bytes::copy_from_slice(status.details())),
                };
                if out.send(Ok(pb::AuthorizeStreamResponse { request_id, answer: Some(answer) })).await.is_err() {
                    return;
                }
            }
        });
        Ok(self.hinted(ReceiverStream::new(answers)))
    }

    async fn watch_transactions(
        &self,
        _: Request<pb::WatchTransactionsRequest>,
    ) -> Result<Response<Self::WatchTransactionsStream>, Status> {
        unplayed()
    }

    async fn increment_authorization(
        &self,
        _: Request<pb::IncrementAuthorizationRequest>,
    ) -> Result<Response<pb::IncrementAuthorizationResponse>, Status> {
        unplayed()
    }

    async fn capture(&self, _: Request<pb::CaptureRequest>) -> Result<Response<pb::CaptureResponse>, Status> {
        unplayed()
    }

    async fn void(&self, _: Request<pb::VoidRequest>) -> Result<Response<pb::VoidResponse>, Status> {
        unplayed()
    }

    async fn refund(&self, _: Request<pb::RefundRequest>) -> Result<Response<pb::RefundResponse>, Status> {
        unplayed()
    }

    async fn verify_card(&self, _: Request<pb::VerifyCardRequest>) -> Result<Response<pb::VerifyCardResponse>, Status> {
        unplayed()
    }

    async fn get_transaction(
        &self,
        _: Request<pb::GetTransactionRequest>,
    ) -> Result<Response<pb::GetTransactionResponse>, Status> {
        unplayed()
    }

    async fn list_transactions(
        &self,
        _: Request<pb::ListTransactionsRequest>,
    ) -> Result<Response<pb::ListTransactionsResponse>, Status> {
        unplayed()
    }
}

/// Two doors and a gateway that knows both.
struct Play {
    doors: Vec<Door>,
    addresses: Vec<String>,
    gateway: GatewayClient,
    _folder: tempfile::TempDir,
}

impl Play {
    async fn begin() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let pki = Pki::create(folder.path(), "payswitch.test", "dev").expect("a PKI");
        let server = pki.gateway_door("door", &["127.0.0.1"]).expect("a certificate");
        let acceptor = acceptor(&server, pki.root(Plane::Gateways).to_owned());
        let (mut doors, mut addresses) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            addresses.push(listener.local_addr().expect("bound").to_string());
            let door = Door { script: Arc::default(), asked: Arc::default(), hint: Arc::default() };
            doors.push(door.clone());
            tokio::spawn(serve(listener, acceptor.clone(), door));
        }
        let own = pki.gateway("shop").expect("a certificate");
        let tls = pki.files(Plane::Gateways, &own);
        let gateway = GatewayClient::new("shop", &addresses, &tls, 1, History::default()).expect("a client");
        let patience =
            Patience { call: Duration::from_secs(2), pause: Duration::from_millis(1), ..Patience::default() };
        Self { doors, addresses, gateway: gateway.with_patience(patience), _folder: folder }
    }

    fn script(&self, door: usize, next: &[Next]) {
        self.doors[door].script.lock().extend(next);
    }

    fn asked(&self, door: usize) -> Vec<String> {
        self.doors[door].asked.lock().clone()
    }

    /// How each call ended, in order: ok, fail or info.
    fn history(&self) -> Vec<&'static str> {
        let name = |outcome: &Outcome| match outcome {
            Outcome::Ok { .. } => "ok",
            Outcome::Fail { .. } => "fail",
            Outcome::Info { .. } => "info",
        };
        self.gateway.history().calls().iter().map(|call| name(&call.outcome)).collect()
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, door: Door) {
    let (accepted, incoming) = mpsc::channel::<io::Result<Wire>>(4);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(tls) = acceptor.accept(stream).await
                && accepted.send(Ok(Wire(tls))).await.is_err()
            {
                return;
            }
        }
    });
    let service = AuthorizationServiceServer::new(door);
    let served = tonic::transport::Server::builder().add_service(service);
    let _ = served.serve_with_incoming(ReceiverStream::new(incoming)).await;
}

fn acceptor(own: &Issued, roots: std::path::PathBuf) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut store = RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(roots).expect("roots") {
        store.add(root.expect("PEM")).expect("a root");
    }
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider.clone()).build();
    let chain = CertificateDer::pem_file_iter(&own.certificate).expect("a chain").map(|one| one.expect("PEM"));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_client_cert_verifier(clients.expect("a verifier"))
        .with_single_cert(chain.collect(), PrivateKeyDer::from_pem_file(&own.key).expect("a key"))
        .expect("a pair");
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

struct Wire(TlsStream<TcpStream>);

impl Connected for Wire {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

fn payment(key: &str) -> Ask {
    Ask::Authorize(pb::AuthorizeRequest { request_id: key.to_owned(), ..pb::AuthorizeRequest::default() })
}

#[tokio::test]
async fn an_unknown_outcome_is_asked_for_again_under_the_same_key() {
    let play = Play::begin().await;
    play.script(
        0,
        &[Next::Refuse(Code::Unknown, "OUTCOME_UNKNOWN"), Next::Refuse(Code::Aborted, "REQUEST_IN_PROGRESS")],
    );
    let told = play.gateway.ask(&payment("a")).await.expect("the third call is answered");
    assert_eq!(told.transaction_id, "tx-a");
    assert_eq!(play.asked(0), ["a", "a", "a"]);
    assert_eq!(play.history(), ["info", "info", "ok"]);
}

#[tokio::test]
async fn what_the_switch_did_not_begin_is_a_failure_and_asked_for_again() {
    let play = Play::begin().await;
    play.script(0, &[Next::Refuse(Code::Unavailable, "NO_LEADER")]);
    play.gateway.ask(&payment("a")).await.expect("the other node answers");
    assert_eq!(play.history(), ["fail", "ok"]);
}

#[tokio::test]
async fn a_refusal_after_a_doubt_does_not_end_the_doubt() {
    let play = Play::begin().await;
    play.script(
        0,
        &[Next::Refuse(Code::Unknown, "OUTCOME_UNKNOWN"), Next::Refuse(Code::PermissionDenied, "UNKNOWN_PRINCIPAL")],
    );
    let error = play.gateway.ask(&payment("a")).await.expect_err("refused");
    assert_eq!((&*error.reason, error.definite, error.calls), ("UNKNOWN_PRINCIPAL", false, 2));
}

#[tokio::test]
async fn a_definite_refusal_is_final_and_a_failure() {
    let play = Play::begin().await;
    play.script(0, &[Next::Refuse(Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED")]);
    let error = play.gateway.ask(&payment("a")).await.expect_err("refused");
    assert!(error.definite);
    assert_eq!((&*error.reason, error.calls), ("IDEMPOTENCY_KEY_REUSED", 1));
    assert_eq!(play.history(), ["fail"]);
}

#[tokio::test]
async fn an_error_that_the_switch_does_not_explain_is_never_a_failure() {
    let play = Play::begin().await;
    play.script(0, &[Next::Bare(Code::ResourceExhausted)]);
    let error = play.gateway.ask(&payment("a")).await.expect_err("nothing says that it may be repeated");
    assert!(!error.definite);
    assert_eq!(play.history(), ["info"]);
}

#[tokio::test]
async fn a_node_that_is_gone_is_left_for_the_next() {
    let play = Play::begin().await;
    play.script(0, &[Next::Bare(Code::Unavailable)]);
    play.gateway.ask(&payment("a")).await.expect("the other node answers");
    play.gateway.ask(&payment("b")).await.expect("it is asked first now");
    assert_eq!(play.asked(0), ["a"]);
    assert_eq!(play.asked(1), ["a", "b"]);
}

#[tokio::test]
async fn the_leader_is_asked_once_it_is_known() {
    let play = Play::begin().await;
    *play.doors[0].hint.lock() = Some(play.addresses[1].clone());
    play.gateway.ask(&payment("a")).await.expect("answered");
    play.gateway.ask(&payment("b")).await.expect("answered");
    assert_eq!((play.asked(0), play.asked(1)), (vec!["a".to_owned()], vec!["b".to_owned()]));
    assert_eq!(play.gateway.leader_changes(), 1);
}

#[tokio::test]
async fn a_client_aimed_everywhere_asks_everyone() {
    let play = Play::begin().await;
    let gateway = play.gateway.with_aim(Aim::Everywhere);
    for key in ["a", "b", "c", "d"] {
        gateway.ask(&payment(key)).await.expect("answered");
    }
    assert_eq!((play.asked(0).len() + play.asked(1).len(), play.asked(0).is_empty()), (4, false));
}

#[tokio::test]
async fn a_call_past_its_deadline_is_unknown() {
    let play = Play::begin().await;
    play.script(0, &[Next::Hang]);
    let patience = Patience { call: Duration::from_millis(100), ..Patience::once() };
    let error = play.gateway.with_patience(patience).ask(&payment("a")).await.expect_err("nobody answers");
    assert!(!error.definite);
    assert_eq!(play.history(), ["info"]);
}

#[tokio::test]
async fn a_call_that_is_dropped_is_unknown() {
    let play = Play::begin().await;
    play.script(0, &[Next::Hang]);
    let payment = payment("a");
    let cut = tokio::time::timeout(Duration::from_millis(50), play.gateway.ask(&payment)).await;
    assert!(cut.is_err());
    assert_eq!(play.history(), ["info"]);
}

#[tokio::test]
async fn a_stream_carries_answers_and_errors_of_single_items() {
    let play = Play::begin().await;
    play.script(0, &[Next::Refuse(Code::ResourceExhausted, "RATE_LIMITED"), Next::Approve]);
    let gateway = play.gateway.streaming(1);
    let error = gateway.ask(&payment("a")).await.expect_err("refused");
    assert_eq!((&*error.reason, error.definite), ("RATE_LIMITED", true));
    gateway.ask(&payment("b")).await.expect("the stream goes on");
    assert_eq!(play.history(), ["fail", "ok"]);
}

#[tokio::test]
async fn what_was_on_a_stream_that_is_cut_is_unknown_and_asked_for_again() {
    let play = Play::begin().await;
    play.script(0, &[Next::Bare(Code::Unavailable)]);
    let gateway = play.gateway.streaming(1);
    gateway.ask(&payment("a")).await.expect("answered by the other node");
    assert_eq!((play.asked(0), play.asked(1)), (vec!["a".to_owned()], vec!["a".to_owned()]));
    assert_eq!(play.history(), ["info", "ok"]);
}
