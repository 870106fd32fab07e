//! The sandbox over its wires: gRPC, mutual TLS, the control service.

use std::{future::Future, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use futures::StreamExt;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use switch_proto::network::v1 as wire;
use tokio::{net::TcpStream, sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, Status, Streaming,
    transport::{Channel, Endpoint},
};
use tower::service_fn;
use wire::{
    ExchangeRequest, ExchangeResponse, ManagementKind, card_network_service_client::CardNetworkServiceClient,
    exchange_request::Body as Asked,
};

use super::{
    fixture::{PLAIN, authorization, code, management, purchase, reversal},
    proto::{
        Conduct, DumpBooksRequest, GetBooksRequest, GetStatusRequest, Mode, ResetBooksRequest, SetModeRequest,
        record::Entry, sandbox_control_service_client::SandboxControlServiceClient,
    },
    *,
};

const PATIENCE: Duration = Duration::from_secs(10);

/// A node of a switch, as the network sees it.
struct Switch {
    to: mpsc::Sender<ExchangeRequest>,
    from: Streaming<ExchangeResponse>,
    last: u64,
}

impl Switch {
    async fn over(channel: Channel) -> Result<Self, Status> {
        let (to, outgoing) = mpsc::channel(1_024);
        let from = CardNetworkServiceClient::new(channel).exchange(ReceiverStream::new(outgoing)).await?.into_inner();
        Ok(Self { to, from, last: 0 })
    }

    async fn signed_on(address: SocketAddr) -> Self {
        let channel = plain(address).connect().await.expect("connect");
        let mut switch = Self::over(channel).await.expect("exchange");
        assert_eq!(switch.ask(management(ManagementKind::SignOn)).await, "1 SignOn 00");
        switch
    }

    async fn tell(&mut self, body: Asked) {
        self.last += 1;
        let request = ExchangeRequest { correlation_id: self.last, body: Some(body) };
        self.to.send(request).await.expect("the stream is open");
    }

    async fn hear(&mut self) -> Result<Option<String>, Status> {
        let message = soon(self.from.message()).await?;
        Ok(message.map(|message| {
            format!("{} {}", message.correlation_id, message.body.as_ref().map_or("nothing".into(), code))
        }))
    }

    async fn ask(&mut self, body: Asked) -> String {
        self.tell(body).await;
        self.hear().await.expect("an answer").expect("an open stream")
    }
}

fn plain(address: SocketAddr) -> Endpoint {
    Endpoint::from_shared(format!("http://{address}")).expect("an address is a URI")
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("within the test's patience")
}

/// One network called aurora, and a control service.
async fn aurora() -> (Running, SocketAddr, SandboxControlServiceClient<Channel>) {
    let options = SandboxOptions {
        networks: vec![NetworkOptions::insecure("aurora")],
        control: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        books: None,
    };
    started(options).await
}

async fn started(options: SandboxOptions) -> (Running, SocketAddr, SandboxControlServiceClient<Channel>) {
    let running = run(options).await.expect("the sandbox starts");
    let address = running.address("aurora").expect("aurora");
    let control = plain(running.control().expect("control")).connect().await.expect("control");
    (running, address, SandboxControlServiceClient::new(control))
}

fn mode(mode: Mode) -> SetModeRequest {
    SetModeRequest { network: "aurora".into(), mode: mode.into(), conduct: None }
}

#[tokio::test]
async fn several_nodes_talk_at_once_and_a_reconnect_finds_the_same_books() {
    let (running, address, _) = aurora().await;
    let (mut one, mut two) = (Switch::signed_on(address).await, Switch::signed_on(address).await);
    let sale = purchase(1, PLAIN, 1_000);
    assert_eq!(one.ask(authorization(sale.clone())).await, "2 00");
    assert_eq!(two.ask(authorization(purchase(2, PLAIN, 500))).await, "2 00");
    drop(one);
    let mut again = Switch::signed_on(address).await;
    assert_eq!(again.ask(Asked::Reversal(reversal(3, &sale))).await, "2 00");
    let sums = running.network("aurora").expect("aurora").read(|books| books.total(*b"EUR"));
    assert_eq!((sums.approved, sums.held()), (1_500, 500));
    running.stop().await.expect("a clean stop");
    assert_eq!(two.hear().await.expect("a clean end"), None);
}

#[tokio::test]
async fn what_cannot_be_decoded_ends_the_stream() {
    let (running, address, _) = aurora().await;
    let mut switch = Switch::signed_on(address).await;
    switch.tell(authorization(purchase(1, cards::UNDECODABLE, 1_000))).await;
    let status = switch.hear().await.expect_err("no message");
    assert_eq!(status.code(), Code::Internal, "{status}");
    assert_eq!(running.network("aurora").expect("aurora").read(|books| books.total(*b"EUR").held()), 1_000);
}

#[tokio::test]
async fn the_cut_card_tears_the_connection_down_with_all_that_is_on_it() {
    let (running, address, _) = aurora().await;
    let channel = plain(address).connect().await.expect("connect");
    let mut one = Switch::over(channel.clone()).await.expect("exchange");
    let mut two = Switch::over(channel).await.expect("exchange");
    assert_eq!(one.ask(management(ManagementKind::SignOn)).await, "1 SignOn 00");
    assert_eq!(two.ask(management(ManagementKind::SignOn)).await, "1 SignOn 00");
    one.tell(authorization(purchase(1, cards::CUT, 1_000))).await;
    let status = two.hear().await.expect_err("the other stream of the connection is gone as well");
    assert_ne!(status.code(), Code::Ok);
    assert_eq!(running.network("aurora").expect("aurora").read(|books| books.total(*b"EUR").held()), 1_000);
    assert_eq!(Switch::signed_on(address).await.ask(authorization(purchase(2, PLAIN, 1))).await, "2 00");
}

#[tokio::test]
async fn a_network_that_refuses_connections_can_be_reached_again_at_the_same_address() {
    let (_running, address, mut control) = aurora().await;
    let mut switch = Switch::signed_on(address).await;
    control.set_mode(mode(Mode::RefuseConnections)).await.expect("set mode");
    switch.hear().await.expect_err("the stream is cut");
    let refused = async { while TcpStream::connect(address).await.is_ok() {} };
    soon(refused).await;
    control.set_mode(mode(Mode::Normal)).await.expect("set mode");
    let reached = async {
        while TcpStream::connect(address).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    soon(reached).await;
    Switch::signed_on(address).await;
}

#[tokio::test]
async fn modes_and_conduct_reach_open_conversations() {
    let (_running, address, mut control) = aurora().await;
    let mut switch = Switch::signed_on(address).await;
    control.set_mode(mode(Mode::SignedOff)).await.expect("set mode");
    assert_eq!(switch.hear().await.expect("told"), Some("0 SignOff ".into()));
    control.set_mode(mode(Mode::Normal)).await.expect("set mode");
    assert_eq!(switch.hear().await.expect("told"), Some("0 SignOn ".into()));
    control.set_mode(mode(Mode::Silent)).await.expect("set mode");
    switch.tell(authorization(purchase(1, PLAIN, 100))).await;
    assert_eq!(switch.ask(management(ManagementKind::Echo)).await, "3 Echo 00");
    let conduct = Conduct { decline_ppm: 1_000_000, ..Default::default() };
    let declining = SetModeRequest { conduct: Some(conduct), ..mode(Mode::Normal) };
    control.set_mode(declining).await.expect("set mode");
    assert_eq!(switch.ask(authorization(purchase(2, PLAIN, 100))).await, "4 05");

    let status = control.get_status(GetStatusRequest {}).await.expect("status").into_inner();
    let aurora = &status.networks[0];
    assert_eq!((aurora.network.as_str(), aurora.address.clone()), ("aurora", address.to_string()));
    assert_eq!((aurora.mode(), aurora.conduct), (Mode::Normal, Some(conduct)));
    assert_eq!((aurora.conversations, aurora.signed_on), (1, 1));

    let late = Conduct { late_ppm: 1_000_001, ..Default::default() };
    let beyond = SetModeRequest { conduct: Some(late), ..mode(Mode::Normal) };
    assert_eq!(control.set_mode(beyond).await.expect_err("refused").code(), Code::InvalidArgument);
    let nobody = SetModeRequest { network: "nobody".into(), ..mode(Mode::Normal) };
    assert_eq!(control.set_mode(nobody).await.expect_err("refused").code(), Code::NotFound);
}

#[tokio::test]
async fn late_answers_come_in_their_time_over_the_wire() {
    let (running, address, _) = aurora().await;
    let network = running.network("aurora").expect("aurora");
    network.standing.send_modify(|standing| standing.conduct.late_ms = 30);
    let mut switch = Switch::signed_on(address).await;
    switch.tell(authorization(purchase(1, cards::LATE, 100))).await;
    switch.tell(authorization(purchase(2, cards::LATE_ARRIVAL, 100))).await;
    switch.tell(authorization(purchase(3, PLAIN, 100))).await;
    let mut heard = Vec::new();
    for _ in 0..3 {
        heard.push(switch.hear().await.expect("an answer").expect("an open stream"));
    }
    assert_eq!(heard, ["4 00", "2 00", "3 00"]);
}

#[tokio::test]
async fn books_are_read_dumped_and_reset() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("books.jsonl");
    let networks = vec![NetworkOptions::insecure("aurora"), NetworkOptions::insecure("borealis")];
    let control = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let (running, address, mut control) =
        started(SandboxOptions { networks, control, books: Some(path.clone()) }).await;
    let mut switch = Switch::signed_on(address).await;
    for n in 1..=1_100 {
        switch.tell(authorization(purchase(n, PLAIN, 1))).await;
    }
    for _ in 1..=1_100 {
        switch.hear().await.expect("an answer").expect("an open stream");
    }
    let mut other = Switch::signed_on(running.address("borealis").expect("borealis")).await;
    assert_eq!(other.ask(authorization(purchase(1, PLAIN, 5))).await, "2 00");

    let books = |network: &str, summary| GetBooksRequest { network: network.into(), summary };
    let mut pages = control.get_books(books("", false)).await.expect("books").into_inner();
    let (mut attempts, mut held) = (0, Vec::new());
    while let Some(page) = pages.next().await {
        for record in page.expect("a page").records {
            match record.entry {
                Some(Entry::Attempt(_)) => attempts += 1,
                Some(Entry::Total(total)) => held.push((record.network, total.sums.expect("sums").held_minor_units)),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!((attempts, held), (1_101, vec![("aurora".into(), 1_100), ("borealis".into(), 5)]));
    let summary = control.get_books(books("aurora", true)).await.expect("books").into_inner();
    assert_eq!(summary.collect::<Vec<_>>().await.len(), 1);

    let dumped = control.dump_books(DumpBooksRequest {}).await.expect("dump").into_inner();
    assert_eq!((dumped.lines, Path::new(&dumped.path)), (1_103, path.as_path()));
    let lines = std::fs::read_to_string(&path).expect("the dump");
    let first: serde_json::Value = serde_json::from_str(lines.lines().next().expect("a line")).expect("JSON");
    assert_eq!(first["network"], "aurora");
    assert_eq!(first["attempt"]["purpose"], "purchase");
    assert_eq!(first["attempt"]["delivery"], "answered");
    assert_eq!(first["attempt"]["sums"]["held_minor_units"], 1);
    assert!(!lines.contains(PLAIN));

    control.reset_books(ResetBooksRequest { network: "aurora".into() }).await.expect("reset");
    assert_eq!(running.stop().await.expect("a clean stop"), 2);
}

#[tokio::test]
async fn a_sandbox_that_cannot_be_is_refused() {
    let refused = async |options| run(options).await.expect_err("refused");
    assert!(matches!(refused(SandboxOptions::default()).await, SandboxError::NoNetwork));
    let twice = vec![NetworkOptions::insecure("aurora"), NetworkOptions::insecure("aurora")];
    let options = SandboxOptions { networks: twice, ..Default::default() };
    assert!(matches!(refused(options).await, SandboxError::NameTwice(name) if name == "aurora"));
    let options = SandboxOptions {
        networks: vec![NetworkOptions::insecure("aurora")],
        control: Some(SocketAddr::from(([0, 0, 0, 0], 0))),
        books: None,
    };
    assert!(matches!(refused(options).await, SandboxError::ControlNotLoopback(_)));
}

/// An authority, a network and a switch, as PEM files.
fn credentials(folder: &Path) -> (Tls, Arc<ClientConfig>, Arc<ClientConfig>) {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().expect("a key");
    let authority_pem = authority.self_signed(&authority_key).expect("an authority").pem();
    let issuer = Issuer::new(authority, authority_key);
    let issue = |usage| {
        let mut leaf = CertificateParams::new(vec!["aurora".to_owned()]).expect("a name");
        leaf.extended_key_usages = vec![usage];
        let key = KeyPair::generate().expect("a key");
        (leaf.signed_by(&key, &issuer).expect("a leaf").pem(), key.serialize_pem())
    };
    let write = |name: &str, pem: &str| {
        let path = folder.join(name);
        std::fs::write(&path, pem).expect("a file");
        path
    };
    let (certificate, key) = issue(ExtendedKeyUsagePurpose::ServerAuth);
    let tls = Tls::Mutual {
        certificate: write("aurora.crt", &certificate),
        key: write("aurora.key", &key),
        authorities: write("ca.crt", &authority_pem),
    };

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority_pem.as_bytes()).expect("PEM")).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = || {
        let builder = ClientConfig::builder_with_provider(provider.clone());
        let builder = builder.with_safe_default_protocol_versions().expect("protocols");
        builder.with_root_certificates(roots.clone())
    };
    let (certificate, key) = issue(ExtendedKeyUsagePurpose::ClientAuth);
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM")];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
    let mut known = client().with_client_auth_cert(chain, key).expect("a client");
    let mut stranger = client().with_no_client_auth();
    known.alpn_protocols = vec![b"h2".to_vec()];
    stranger.alpn_protocols = vec![b"h2".to_vec()];
    (tls, Arc::new(known), Arc::new(stranger))
}

async fn secured(address: SocketAddr, config: Arc<ClientConfig>) -> Result<Switch, Status> {
    let connector = service_fn(move |_| {
        let connector = tokio_rustls::TlsConnector::from(config.clone());
        async move {
            let stream = TcpStream::connect(address).await?;
            let name = ServerName::try_from("aurora").expect("a name");
            Ok::<_, io::Error>(TokioIo::new(connector.connect(name, stream).await?))
        }
    });
    let channel = plain(address).connect_with_connector(connector).await;
    Switch::over(channel.map_err(|error| Status::unavailable(error.to_string()))?).await
}

#[tokio::test]
async fn only_a_switch_with_a_certificate_is_served() {
    let folder = tempfile::tempdir().expect("a folder");
    let (tls, known, stranger) = credentials(folder.path());
    let network = NetworkOptions { tls, ..NetworkOptions::insecure("aurora") };
    let running =
        run(SandboxOptions { networks: vec![network], ..Default::default() }).await.expect("the sandbox starts");
    let address = running.address("aurora").expect("aurora");
    let mut switch = secured(address, known).await.expect("served");
    assert_eq!(switch.ask(management(ManagementKind::SignOn)).await, "1 SignOn 00");
    assert_eq!(switch.ask(authorization(purchase(1, PLAIN, 100))).await, "2 00");
    assert!(soon(secured(address, stranger)).await.is_err());
    let plainly = plain(address).connect().await.expect("TCP connects");
    assert!(soon(Switch::over(plainly)).await.is_err());
}
