use std::{convert::Infallible, future::Future, path::Path, time::SystemTime};

use futures::{StreamExt as _, future::BoxFuture};
use http::{Request, Response};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use switch_proto::{
    gateway::v1::{GetTransactionRequest, authorization_service_client::AuthorizationServiceClient},
    operator::v1::{GetStatusRequest, cluster_service_client::ClusterServiceClient},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc::UnboundedReceiver,
};
use tonic::{
    Code, Status,
    body::Body,
    server::NamedService,
    transport::{Channel, server::Connected as _},
};

use super::*;
use crate::{
    door::{Http2Limits, access::AccessLayer, server_builder, trace::TraceLayer},
    security::{
        pki::{Flaw, Issued, Pki, Plane},
        tls::{
            TlsFiles,
            connector::{ChannelOptions, ClientStream, Spoken, TlsConnector, channel},
        },
    },
};

/// A gateways' door on a free port, and what it reports.
struct Open {
    pki: Pki,
    tls: Arc<TlsMaterial>,
    address: SocketAddr,
    incoming: Incoming,
    events: UnboundedReceiver<Seen>,
    shutdown: CancellationToken,
    _folder: TempDir,
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Opened(String),
    Closed(String),
    Refused(String),
    AcceptFailed(Option<i32>),
}

impl Open {
    async fn with(caps: Caps) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.expect("a port"), caps, |_| {})
    }

    /// A door whose callers may do something before the loop starts.
    fn on(listener: TcpListener, caps: Caps, before: impl FnOnce(&Pki)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let pki = Pki::create(folder.path(), "switch.test", "blue").expect("a PKI");
        let list = pki.revocation_list(Plane::Gateways).expect("a list");
        let issued = pki.gateway_door("node", &["localhost"]).expect("a certificate");
        let files = TlsFiles { revocation_lists: vec![list], ..files(&issued, pki.root(Plane::Gateways)) };
        let tls = TlsMaterial::load("gateways", files).expect("good files");
        let (seen, events) = mpsc::unbounded_channel();
        let observer: DoorObserver = Arc::new(move |_, event| {
            let _ = seen.send(match event {
                DoorEvent::Opened(peer) => Seen::Opened(peer.principal().to_string()),
                DoorEvent::Closed(peer) => Seen::Closed(peer.principal().to_string()),
                DoorEvent::Refused(_, turned) => Seen::Refused(name(turned)),
                DoorEvent::AcceptFailed(error) => Seen::AcceptFailed(error.raw_os_error()),
            });
        });
        let address = listener.local_addr().expect("bound");
        let door = Door::new(Role::Gateway, realm()).with_caps(caps).observed_by(observer);
        let shutdown = CancellationToken::new();
        before(&pki);
        let incoming = incoming(listener, Arc::clone(&tls), door, shutdown.clone());
        Self { pki, tls, address, incoming, events, shutdown, _folder: folder }
    }

    async fn seen(&mut self) -> Seen {
        within(self.events.recv()).await.expect("the door reports")
    }

    async fn next(&mut self) -> Connection {
        within(self.incoming.next()).await.expect("the door is open").expect("never an error")
    }

    fn connector(&self, issued: &Issued) -> TlsConnector {
        let files = files(issued, self.pki.root(Plane::Gateways));
        TlsConnector::new(TlsMaterial::load("client", files).expect("good files"))
    }

    async fn connect(&self, issued: &Issued) -> ClientStream {
        let (address, name) = (self.address.to_string(), ServerName::try_from("localhost").expect("a name"));
        within(self.connector(issued).connect(&address, &name, Spoken::Http2)).await.expect("a connection")
    }
}

fn realm() -> Realm {
    Realm { trust_domain: "switch.test".to_owned(), cluster: "blue".to_owned() }
}

fn files(issued: &Issued, roots: &Path) -> TlsFiles {
    TlsFiles {
        certificates: issued.certificate.clone(),
        key: issued.key.clone(),
        roots: roots.to_path_buf(),
        revocation_lists: Vec::new(),
    }
}

/// The refusal without what differs from run to run.
fn name(turned: &Turned) -> String {
    match turned {
        Turned::Handshake(error) => match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(error) => format!("{error:?}").split(" {").next().unwrap_or_default().to_owned(),
            None => format!("{:?}", error.kind()),
        },
        other => other.to_string(),
    }
}

async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("done in time")
}

/// Connects without asking the client's own material whether its certificate is any good.
async fn knock(address: SocketAddr, roots: &Path, issued: Option<&Issued>) -> io::Result<usize> {
    let mut store = rustls::RootCertStore::empty();
    store.add(CertificateDer::from_pem_file(roots).expect("a root")).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(store);
    let mut config = match issued {
        Some(issued) => {
            let chain = vec![CertificateDer::from_pem_file(&issued.certificate).expect("a certificate")];
            let key = PrivateKeyDer::from_pem_file(&issued.key).expect("a key");
            builder.with_client_auth_cert(chain, key).expect("a pair")
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    within(async {
        let tcp = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost").expect("a name");
        let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
        // In TLS 1.3 the client is done before the server has looked: the refusal is what it reads first.
        stream.read(&mut [0; 1]).await
    })
    .await
}

#[tokio::test]
async fn a_good_certificate_is_recognized_once() {
    let mut open = Open::with(Caps::default()).await;
    let acme = open.pki.gateway("acme").expect("a certificate");
    let mut client = open.connect(&acme).await;
    let mut connection = open.next().await;
    let peer = connection.connect_info();
    assert_eq!(peer.principal().as_str(), "spiffe://switch.test/gateway/acme");
    assert_eq!((peer.role(), peer.address().ip()), (Role::Gateway, open.address.ip()));
    assert!(peer.not_after() > SystemTime::now() && !peer.serial().is_empty());
    client.write_all(b"hello").await.expect("sent");
    let mut hello = [0; 5];
    within(connection.read_exact(&mut hello)).await.expect("received");
    assert_eq!(&hello, b"hello");
    assert_eq!(open.seen().await, Seen::Opened("spiffe://switch.test/gateway/acme".to_owned()));
    drop(connection);
    assert_eq!(open.seen().await, Seen::Closed("spiffe://switch.test/gateway/acme".to_owned()));
    assert_eq!(open.tls.connections(), 0);
}

#[tokio::test]
async fn whoever_must_not_come_in_does_not() {
    let mut open = Open::with(Caps::default()).await;
    let roots = open.pki.root(Plane::Gateways).to_path_buf();
    let flawed = |flaw| open.pki.flawed(Plane::Gateways, "acme", flaw).expect("a certificate");
    let revoked = open.pki.gateway("revoked").expect("a certificate");
    open.pki.revoke(Plane::Gateways, &revoked).expect("a list");
    assert!(open.tls.reload().changed);
    let under =
        |stem: &str, uri: &str| open.pki.client_with(Plane::Gateways, stem, &[uri.to_owned()]).expect("a certificate");
    let cases = [
        (None, "NoCertificatesPresented"),
        (Some(flawed(Flaw::Expired)), "InvalidCertificate(ExpiredContext"),
        (Some(flawed(Flaw::NotYetValid)), "InvalidCertificate(NotValidYetContext"),
        (Some(flawed(Flaw::SelfSigned)), "InvalidCertificate(UnknownIssuer)"),
        (Some(flawed(Flaw::OtherRoot)), "InvalidCertificate(BadSignature)"),
        (Some(revoked), "InvalidCertificate(Revoked)"),
        (Some(open.pki.operator("ada").expect("a certificate")), "InvalidCertificate(UnknownIssuer)"),
        (Some(open.pki.peer("node", &["localhost"]).expect("a certificate")), "InvalidCertificate(UnknownIssuer)"),
        // A server's certificate, as a thief of it would use it.
        (
            Some(open.pki.gateway_door("thief", &["localhost"]).expect("a certificate")),
            "InvalidCertificate(InvalidPurposeContext",
        ),
        (Some(flawed(Flaw::TwoUriNames)), "the certificate has 2 URI names, not one"),
        (Some(flawed(Flaw::NoUriName)), "the certificate has 0 URI names, not one"),
        // The gateways' root signed these: the role must stop them.
        (
            Some(under("as-peer", "spiffe://switch.test/cluster/blue/node")),
            "spiffe://switch.test/cluster/blue/node is peer and this is the door for gateway",
        ),
        (
            Some(under("as-operator", "spiffe://switch.test/operator/ada")),
            "spiffe://switch.test/operator/ada is operator and this is the door for gateway",
        ),
        (
            Some(under("foreign", "spiffe://other.test/gateway/acme")),
            "spiffe://other.test/gateway/acme is of another trust domain",
        ),
        (
            Some(under("web", "https://switch.test/gateway/acme")),
            "\"https://switch.test/gateway/acme\" is no SPIFFE id of a workload",
        ),
    ];
    for (issued, refusal) in &cases {
        let answer = knock(open.address, &roots, issued.as_ref()).await;
        assert!(!matches!(answer, Ok(1..)), "{refusal}: {answer:?}");
        assert_eq!(open.seen().await, Seen::Refused((*refusal).to_owned()));
    }
    open.shutdown.cancel();
    assert!(within(open.incoming.next()).await.is_none(), "nobody came in");
}

#[tokio::test]
async fn tls_1_2_is_refused_with_its_alert() {
    let mut open = Open::with(Caps::default()).await;
    let mut tcp = TcpStream::connect(open.address).await.expect("connected");
    tcp.write_all(&client_hello_of_tls_1_2()).await.expect("sent");
    let mut answer = Vec::new();
    within(tcp.read_to_end(&mut answer)).await.expect("closed");
    // alert(21), its length, fatal(2), protocol_version(70)
    assert_eq!((answer[0], &answer[3..]), (21, [0, 2, 2, 70].as_slice()));
    assert_eq!(open.seen().await, Seen::Refused("PeerIncompatible(SupportedVersionsExtensionRequired)".to_owned()));
}

/// A ClientHello as a TLS 1.2 client sends it: three ECDHE suites and no supported_versions.
fn client_hello_of_tls_1_2() -> Vec<u8> {
    let extensions: &[u8] = &[
        0x00, 0x0a, 0x00, 0x04, 0x00, 0x02, 0x00, 0x17, // supported_groups: secp256r1
        0x00, 0x0b, 0x00, 0x02, 0x01, 0x00, // ec_point_formats: uncompressed
        0x00, 0x0d, 0x00, 0x06, 0x00, 0x04, 0x04, 0x03, 0x08, 0x04, // signature_algorithms
    ];
    let mut body = vec![0x03, 0x03];
    body.extend([0x5a; 32]);
    body.extend([0x00, 0x00, 0x06, 0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x2c, 0x01, 0x00]);
    body.extend(u16::try_from(extensions.len()).expect("short").to_be_bytes());
    body.extend(extensions);
    let length = u8::try_from(body.len()).expect("short");
    let mut hello = vec![0x16, 0x03, 0x01, 0x00, length + 4, 0x01, 0x00, 0x00, length];
    hello.extend(body);
    hello
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_does_not_come_is_ended() {
    let mut open = Open::with(Caps::default()).await;
    let began = Instant::now();
    let mut silent = TcpStream::connect(open.address).await.expect("connected");
    assert_eq!(open.seen().await, Seen::Refused("no handshake within 2s".to_owned()));
    assert_eq!(began.elapsed().as_secs(), 2);
    assert_eq!(within(silent.read(&mut [0; 1])).await.expect("closed, not reset"), 0);
}

#[tokio::test]
async fn silent_hosts_do_not_keep_others_out() {
    let caps = Caps { handshakes_max: 4, handshakes_per_address_max: 2, ..Caps::default() };
    let mut open = Open::with(caps).await;
    let silent = [TcpStream::connect(open.address).await, TcpStream::connect(open.address).await];
    assert!(silent.iter().all(Result::is_ok));
    let third = TcpStream::connect(open.address).await.expect("the kernel accepts");
    assert_eq!(open.seen().await, Seen::Refused("2 handshakes from one address, its bound".to_owned()));
    drop((silent, third));
    let acme = open.pki.gateway("acme").expect("a certificate");
    // The two that left are noticed as failed handshakes; their places are free then.
    for _ in 0..2 {
        assert_eq!(open.seen().await, Seen::Refused("UnexpectedEof".to_owned()));
    }
    let _client = open.connect(&acme).await;
    assert_eq!(open.next().await.identity().role(), Role::Gateway);
}

#[tokio::test]
async fn each_cap_refuses_and_a_closed_connection_makes_room() {
    let all = Caps::default();
    for (caps, refusal) in [
        (Caps { connections_max: 1, ..all }, "1 connections, the door's bound"),
        (Caps { per_address_max: 1, ..all }, "1 connections from one address, its bound"),
        (Caps { per_principal_max: 1, ..all }, "1 connections of one principal, its bound"),
    ] {
        let mut open = Open::with(caps).await;
        let acme = open.pki.gateway("acme").expect("a certificate");
        let who = "spiffe://switch.test/gateway/acme".to_owned();
        let roots = open.pki.root(Plane::Gateways).to_path_buf();
        let _first = open.connect(&acme).await;
        let connection = open.next().await;
        assert_eq!(open.seen().await, Seen::Opened(who.clone()));
        let answer = knock(open.address, &roots, Some(&acme)).await;
        assert!(!matches!(answer, Ok(1..)), "{refusal}: {answer:?}");
        assert_eq!(open.seen().await, Seen::Refused(refusal.to_owned()));
        drop(connection);
        assert_eq!(open.seen().await, Seen::Closed(who.clone()));
        let _again = open.connect(&acme).await;
        assert_eq!(open.next().await.identity().principal().as_str(), who);
    }
}

/// Reads what never comes, on a clock that stands still but for timers; how it ends, and after how many seconds.
async fn ended(mut connection: Connection) -> (io::ErrorKind, u64) {
    let (began, a_day) = (Instant::now(), Duration::from_secs(24 * 3_600));
    let error = tokio::time::timeout(a_day, connection.read(&mut [0; 1])).await.expect("it ends");
    (error.expect_err("nothing comes").kind(), began.elapsed().as_secs())
}

#[tokio::test]
async fn a_connection_that_never_speaks_is_ended() {
    let Caps { first_byte_timeout, .. } = Caps::default();
    let mut open = Open::with(Caps::default()).await;
    let acme = open.pki.gateway("acme").expect("a certificate");
    let (_silent, of_silent) = (open.connect(&acme).await, open.next().await);
    let (mut speaking, mut of_speaking) = (open.connect(&acme).await, open.next().await);
    speaking.write_all(b"12").await.expect("sent");
    within(of_speaking.read_exact(&mut [0; 2])).await.expect("received");
    tokio::time::pause();
    let (how, after_s) = ended(of_silent).await;
    assert!(how == io::ErrorKind::TimedOut && after_s <= first_byte_timeout.as_secs(), "{how:?} after {after_s} s");
    let more = tokio::time::timeout(10 * first_byte_timeout, of_speaking.read(&mut [0; 1])).await;
    assert!(more.is_err(), "only the first byte has a time: {more:?}");
}

#[tokio::test]
async fn a_connection_past_age_and_grace_is_ended() {
    let Http2Limits { age, grace, .. } = Http2Limits::of(Role::Gateway);
    let mut open = Open::with(Caps::default()).await;
    let acme = open.pki.gateway("acme").expect("a certificate");
    let (mut client, mut connection) = (open.connect(&acme).await, open.next().await);
    client.write_all(b"1").await.expect("sent");
    within(connection.read_exact(&mut [0; 1])).await.expect("received");
    let ends_at = connection.identity().retires_at().expect("it ages") + grace;
    tokio::time::pause();
    let (how, after_s) = ended(connection).await;
    let most = age.expect("gateways' connections age") + grace;
    assert!(how == io::ErrorKind::TimedOut && after_s <= most.as_secs(), "{how:?} after {after_s} s");
    assert!(Instant::now() >= ends_at, "before its time");
}

#[tokio::test]
async fn a_closed_door_ends_the_stream_and_the_port_but_no_connection() {
    let mut open = Open::with(Caps::default()).await;
    let acme = open.pki.gateway("acme").expect("a certificate");
    let (mut client, mut connection) = (open.connect(&acme).await, open.next().await);
    open.shutdown.cancel();
    assert!(within(open.incoming.next()).await.is_none());
    let refused = TcpStream::connect(open.address).await.expect_err("closed");
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    client.write_all(b"1").await.expect("sent");
    within(connection.read_exact(&mut [0; 1])).await.expect("received");
}

/// Stands for a service of the gateways: answers every call with the caller's name.
#[derive(Clone)]
struct WhoAmI;

impl NamedService for WhoAmI {
    const NAME: &'static str = "payswitch.gateway.v1.AuthorizationService";
}

impl tower_service::Service<Request<Body>> for WhoAmI {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let peer = request.extensions().get::<PeerIdentity>().expect("the door names the caller").clone();
        Box::pin(async move { Ok(Status::already_exists(peer.principal().as_str()).into_http()) })
    }
}

#[tokio::test]
async fn a_call_passes_the_door_as_its_caller_and_revocation_ends_it() {
    let open = Open::with(Caps::default()).await;
    let acme = open.pki.gateway("acme").expect("a certificate");
    let server = server_builder(Role::Gateway).layer(AccessLayer).layer(TraceLayer).add_service(WhoAmI);
    let drained = open.shutdown.clone().cancelled_owned();
    let served = tokio::spawn(server.serve_with_incoming_shutdown(open.incoming, drained));
    let channel = channel_of(&open.pki, open.address, &acme);

    let mut gateway = AuthorizationServiceClient::new(channel.clone());
    let mut ask = async || within(gateway.get_transaction(GetTransactionRequest::default())).await;
    let answer = ask().await.expect_err("a name");
    assert_eq!((answer.code(), answer.message()), (Code::AlreadyExists, "spiffe://switch.test/gateway/acme"));

    let mut operator = ClusterServiceClient::new(channel);
    let refusal = within(operator.get_status(GetStatusRequest::default())).await.expect_err("not a gateway's");
    assert_eq!((refusal.code(), refusal.message()), (Code::PermissionDenied, "gateway may not call this method"));

    open.pki.revoke(Plane::Gateways, &acme).expect("a list");
    assert!(open.tls.reload().changed);
    let code = ask().await.expect_err("revoked").code();
    assert!(matches!(code, Code::Unavailable | Code::Unknown), "{code:?}");

    open.shutdown.cancel();
    within(served).await.expect("no panic").expect("drained");
}

fn channel_of(pki: &Pki, address: SocketAddr, issued: &Issued) -> Channel {
    let material = TlsMaterial::load("client", files(issued, pki.root(Plane::Gateways))).expect("good files");
    let options = ChannelOptions::default();
    channel(&address.to_string(), "localhost", TlsConnector::new(material), &options).expect("an address")
}

/// What [`WhoAmI`] says to a gateway that asks with so many bytes of headers beside the usual ones.
async fn told(gateway: &mut AuthorizationServiceClient<Channel>, bytes: usize) -> Code {
    let mut request = tonic::Request::new(GetTransactionRequest::default());
    request.metadata_mut().insert("padding", "x".repeat(bytes).parse().expect("ASCII"));
    within(gateway.get_transaction(request)).await.expect_err("never an answer").code()
}

#[tokio::test]
async fn headers_past_their_bound_reach_no_service_and_everybody_else_is_served() {
    let open = Open::with(Caps::default()).await;
    let rude = open.pki.gateway("rude").expect("a certificate");
    let acme = open.pki.gateway("acme").expect("a certificate");
    let mut rude = AuthorizationServiceClient::new(channel_of(&open.pki, open.address, &rude));
    let mut acme = AuthorizationServiceClient::new(channel_of(&open.pki, open.address, &acme));
    let server = server_builder(Role::Gateway).layer(AccessLayer).layer(TraceLayer).add_service(WhoAmI);
    let served =
        tokio::spawn(server.serve_with_incoming_shutdown(open.incoming, open.shutdown.clone().cancelled_owned()));

    assert_eq!((told(&mut acme, 0).await, told(&mut rude, 7 << 10).await), (Code::AlreadyExists, Code::AlreadyExists));
    let refused = told(&mut rude, 8 << 10).await;
    assert!(matches!(refused, Code::Unknown | Code::Internal), "HTTP/2's own refusal, 431, and not {refused:?}");
    assert_eq!((told(&mut acme, 0).await, told(&mut rude, 0).await), (Code::AlreadyExists, Code::AlreadyExists));

    open.shutdown.cancel();
    drop((rude, acme));
    within(served).await.expect("no panic").expect("drained");
}

/// CVE-2023-44487: calls that are begun and reset at once, so that none counts as in flight.
#[tokio::test]
async fn a_connection_that_resets_what_it_begins_is_ended_and_everybody_else_is_served() {
    let open = Open::with(Caps::default()).await;
    let rude = open.pki.gateway("rude").expect("a certificate");
    let acme = open.pki.gateway("acme").expect("a certificate");
    let mut stream = open.connect(&rude).await;
    let mut acme = AuthorizationServiceClient::new(channel_of(&open.pki, open.address, &acme));
    let server = server_builder(Role::Gateway).layer(AccessLayer).layer(TraceLayer).add_service(WhoAmI);
    let served =
        tokio::spawn(server.serve_with_incoming_shutdown(open.incoming, open.shutdown.clone().cancelled_owned()));

    let flood = async {
        stream.write_all(&begun_and_reset()).await.expect("sent");
        let mut heard = Vec::new();
        while let Ok(1..) = stream.read_buf(&mut heard).await {}
        last_frame(&heard)
    };
    let beside = async {
        for _ in 0..20 {
            assert_eq!(told(&mut acme, 0).await, Code::AlreadyExists);
        }
    };
    let (last, ()) = within(async { tokio::join!(flood, beside) }).await;
    assert_eq!(last, (GO_AWAY, Some(ENHANCE_YOUR_CALM)));
    assert_eq!(told(&mut acme, 0).await, Code::AlreadyExists);

    open.shutdown.cancel();
    drop(acme);
    within(served).await.expect("no panic").expect("drained");
}

/// A client's first bytes and then more calls, each reset at once, than may be, all within one TLS record: the door sees them at
/// once and not as its service takes them.
fn begun_and_reset() -> Vec<u8> {
    let frame = |kind: u8, flags: u8, call: u32, payload: &[u8]| {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        [&length[1..], &[kind, flags], &call.to_be_bytes(), payload].concat()
    };
    let (headers, reset, settings) = (0x1, 0x3, 0x4);
    let (end_of_stream, end_of_headers) = (0x1, 0x4);
    let mut bytes = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(settings, 0, 0, &[])].concat();
    let path = b"/payswitch.gateway.v1.AuthorizationService/GetTransaction";
    // HPACK: POST, https, and path and authority put into the table by the first call, where every other one finds them.
    let put = |name: u8, value: &[u8]| [&[0x40 | name, u8::try_from(value.len()).expect("short")], value].concat();
    let first = [vec![0x83, 0x87], put(4, path), put(1, b"localhost")].concat();
    let found = [0x83, 0x87, 0xbf, 0xbe];
    let pairs = Http2Limits::of(Role::Gateway).resets_pending_max + 20;
    for number in 0..u32::try_from(pairs).expect("few") {
        let call = 2 * number + 1;
        let block: &[u8] = if number == 0 { &first } else { &found };
        bytes.extend(frame(headers, end_of_stream | end_of_headers, call, block));
        bytes.extend(frame(reset, 0, call, &CANCEL.to_be_bytes()));
    }
    assert!(bytes.len() <= 16 << 10, "one TLS record and not {} bytes", bytes.len());
    bytes
}

/// Kind of the last whole HTTP/2 frame, and its error code where it says goodbye.
fn last_frame(mut bytes: &[u8]) -> (u8, Option<u32>) {
    let mut last = (0, None);
    while let [a, b, c, kind, rest @ ..] = bytes {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let Some((payload, after)) = rest.get(5..).and_then(|rest| rest.split_at_checked(length)) else { break };
        let code = payload.get(4..8).and_then(|code| code.try_into().ok()).map(u32::from_be_bytes);
        last = (*kind, code.filter(|_| *kind == GO_AWAY));
        bytes = after;
    }
    last
}

/// HTTP/2's number of the frame that ends a connection.
const GO_AWAY: u8 = 0x7;
/// HTTP/2's code for a caller who lost interest.
const CANCEL: u32 = 0x8;
/// HTTP/2's code for a caller who asks too much.
const ENHANCE_YOUR_CALM: u32 = 0xb;

/// Lowers this process's bound on descriptors: runs in a process of its own, started by the test below.
#[tokio::test]
#[ignore = "started by running_out_of_descriptors_does_not_close_the_door"]
async fn in_a_process_of_few_descriptors() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    // The kernel completes the connection; only `accept` lacks a descriptor.
    let waiting = std::net::TcpStream::connect(address).expect("connected");
    let mut hoard = Vec::new();
    let mut open = Open::on(listener, Caps::default(), |_| {
        let few = rustix::process::Rlimit { current: Some(64), maximum: Some(64) };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, few).expect("lowered");
        while let Ok(file) = std::fs::File::open("/dev/null") {
            hoard.push(file);
        }
    });
    let no_descriptor = Some(rustix::io::Errno::MFILE.raw_os_error());
    for _ in 0..3 {
        assert_eq!(open.seen().await, Seen::AcceptFailed(no_descriptor));
    }
    drop(hoard);
    drop(waiting);
    let acme = open.pki.gateway("acme").expect("a certificate");
    let _client = open.connect(&acme).await;
    assert_eq!(open.next().await.identity().role(), Role::Gateway);
}

#[test]
fn running_out_of_descriptors_does_not_close_the_door() {
    let output = std::process::Command::new(std::env::current_exe().expect("this program"))
        .args([
            "--ignored",
            "--exact",
            &format!("{}::in_a_process_of_few_descriptors", module_path!().split_once("::").expect("a module").1),
        ])
        .output()
        .expect("started");
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && report.contains("1 passed"), "{report}");
}
