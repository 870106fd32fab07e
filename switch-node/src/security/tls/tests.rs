use std::{fs, future::Future};

use rustls_pki_types::ServerName;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::{
    connector::{ConnectFault, Spoken, TlsConnector},
    files::{FILE_MAX, H2},
    *,
};
use crate::security::pki::{Flaw, Issued, Pki, Plane};

/// A server's material and a client's, of one plane.
struct Pair {
    pki: Pki,
    server: Arc<TlsMaterial>,
    client: Arc<TlsMaterial>,
    /// What the server is made of; each may be replaced under way.
    files: TlsFiles,
    client_files: Issued,
    _folder: TempDir,
}

impl Pair {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let pki = Pki::create(folder.path(), "switch.test", "blue").expect("a PKI");
        let list = pki.revocation_list(Plane::Gateways).expect("a list");
        let door = pki.gateway_door("node", &["localhost", "127.0.0.1"]).expect("a certificate");
        let client_files = pki.gateway("acme").expect("a certificate");
        let client = files(&client_files, pki.root(Plane::Gateways));
        let client = TlsMaterial::load("gateways", client).expect("good files");
        let files = TlsFiles { revocation_lists: vec![list], ..files(&door, pki.root(Plane::Gateways)) };
        let server = TlsMaterial::load("gateways", files.clone()).expect("good files");
        Self { server, client, files, client_files, pki, _folder: folder }
    }

    async fn connect(&self) -> (ServerStream, connector::ClientStream) {
        let (server, client) = self.try_connect(TlsConnector::new(Arc::clone(&self.client)), "localhost").await;
        (server.expect("the server accepts"), client.expect("the client accepts"))
    }

    async fn try_connect(
        &self,
        connector: TlsConnector,
        name: &'static str,
    ) -> (io::Result<ServerStream>, Result<connector::ClientStream, ConnectFault>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let name = ServerName::try_from(name).expect("a name");
        let accept = async {
            let (tcp, _) = listener.accept().await?;
            self.server.accept(tcp).await
        };
        within(async { tokio::join!(accept, connector.connect(&address, &name, Spoken::Http2)) }).await
    }
}

type ServerStream = Guarded<tokio_rustls::server::TlsStream<TcpStream>>;

fn files(issued: &Issued, roots: &Path) -> TlsFiles {
    TlsFiles {
        certificates: issued.certificate.clone(),
        key: issued.key.clone(),
        roots: roots.to_path_buf(),
        revocation_lists: Vec::new(),
    }
}

/// True where new files are in use; none may be refused.
fn took_all(material: &TlsMaterial) -> bool {
    let Reload { changed, fault } = material.reload();
    assert!(fault.is_none(), "{fault:?}");
    changed
}

async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("done in time")
}

/// Whether bytes still go through, both ways.
async fn is_alive(server: &mut ServerStream, client: &mut connector::ClientStream) -> bool {
    let mut byte = [0];
    let there =
        within(async { client.write_all(b"?").await.is_ok() && server.read_exact(&mut byte).await.is_ok() }).await;
    there && within(async { server.write_all(b"!").await.is_ok() && client.read_exact(&mut byte).await.is_ok() }).await
}

fn cut(result: io::Result<usize>) -> Severed {
    let error = result.expect_err("a cut connection reads an error");
    *error.get_ref().and_then(|inner| inner.downcast_ref()).expect("the error says why")
}

#[tokio::test]
async fn both_sides_show_certificates_over_tls_1_3_and_h2_without_tickets() {
    let pair = Pair::new();
    let (server, client) = pair.connect().await;
    assert_eq!(server.connection().leaf().only_uri(), Some("spiffe://switch.test/gateway/acme"));
    assert_eq!(client.connection().leaf().only_uri(), Some("spiffe://switch.test/cluster/blue/node"));
    let (_, session) = client.stream().get_ref();
    assert_eq!(session.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    assert_eq!(session.alpn_protocol(), Some(H2));
    assert_eq!(session.tls13_tickets_received(), 0);
    assert_eq!((pair.server.connections(), pair.client.connections()), (1, 1));
    drop((server, client));
    assert_eq!((pair.server.connections(), pair.client.connections()), (0, 0));
}

#[tokio::test]
async fn a_server_under_another_name_or_identity_is_not_believed() {
    let pair = Pair::new();
    let connector = TlsConnector::new(Arc::clone(&pair.client));
    let (_, client) = pair.try_connect(connector.clone(), "elsewhere").await;
    let Err(ConnectFault::Handshake { source, .. }) = client else { panic!("{client:?}") };
    assert!(source.to_string().contains("not valid for name"), "{source}");

    for name in ["localhost", "127.0.0.1"] {
        let (_, client) = pair.try_connect(connector.clone().expecting(&pair.pki.node_uri()), name).await;
        assert!(client.is_ok(), "{client:?}");
    }

    let green = "spiffe://switch.test/cluster/green/node";
    let (_, client) = pair.try_connect(connector.expecting(green), "localhost").await;
    let Err(ConnectFault::AnotherIdentity { expected, found, .. }) = client else { panic!("{client:?}") };
    assert_eq!((expected.as_str(), found), (green, pair.pki.node_uri()));
}

#[tokio::test]
async fn a_client_certificate_does_not_make_a_server() {
    let pair = Pair::new();
    let impostor = files(&pair.client_files, pair.pki.root(Plane::Gateways));
    let impostor = TlsMaterial::load("gateways", impostor).expect("good files");
    let pair = Pair { server: impostor, ..pair };
    let (_, client) = pair.try_connect(TlsConnector::new(Arc::clone(&pair.client)), "localhost").await;
    assert!(matches!(client, Err(ConnectFault::Handshake { .. })), "{client:?}");
}

#[tokio::test]
async fn a_server_that_says_nothing_costs_the_connect_timeout() {
    let pair = Pair::new();
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = silent.local_addr().expect("bound").to_string();
    let name = ServerName::try_from("localhost").expect("a name");
    let wire = connector::Wire { connect_timeout: Duration::from_millis(50), ..connector::Wire::default() };
    let connector = TlsConnector::new(Arc::clone(&pair.client)).with_wire(wire);
    let fault = within(connector.connect(&address, &name, Spoken::Http2)).await;
    assert!(matches!(fault, Err(ConnectFault::TimedOut { after_ms: 50, .. })), "{fault:?}");
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_to_new_connections_and_costs_no_old_one() {
    let pair = Pair::new();
    let (mut server, mut client) = pair.connect().await;
    let old = client.connection().serial().to_owned();
    pair.pki.gateway_door("node", &["localhost"]).expect("renewed in place");
    assert!(took_all(&pair.server));
    assert!(!took_all(&pair.server), "nothing changed since");
    let (_, renewed) = pair.connect().await;
    assert_ne!(renewed.connection().serial(), old);
    assert!(is_alive(&mut server, &mut client).await);
}

#[tokio::test]
async fn a_revoked_certificate_loses_the_connections_it_has() {
    let pair = Pair::new();
    let (mut server, client) = pair.connect().await;
    let bystander = pair.pki.gateway("bystander").expect("a certificate");
    let bystander = files(&bystander, pair.pki.root(Plane::Gateways));
    let bystander = TlsMaterial::load("gateways", bystander).expect("good files");
    let (other_server, other_client) = pair.try_connect(TlsConnector::new(bystander), "localhost").await;
    let (mut other_server, mut other_client) = (other_server.expect("accepted"), other_client.expect("accepted"));

    // The reader sleeps when the list changes: it must be woken, not asked.
    let reader = tokio::spawn(async move { server.read(&mut [0; 1]).await });
    pair.pki.revoke(Plane::Gateways, &pair.client_files).expect("a list");
    assert!(took_all(&pair.server));
    assert_eq!(cut(within(reader).await.expect("no panic")), Severed::Revoked);
    assert!(is_alive(&mut other_server, &mut other_client).await);

    let (server, _) = pair.try_connect(TlsConnector::new(Arc::clone(&pair.client)), "localhost").await;
    let error = server.expect_err("revoked");
    assert!(error.to_string().contains("Revoked"), "{error}");
    drop(client);
}

#[tokio::test]
async fn a_client_cuts_its_connection_to_a_revoked_server() {
    let pair = Pair::new();
    let door = pair.pki.gateway_door("other", &["localhost"]).expect("a certificate");
    let server = TlsMaterial::load("gateways", files(&door, pair.pki.root(Plane::Gateways))).expect("good files");
    let list = pair.pki.revocation_list(Plane::Gateways).expect("a list");
    let client = TlsFiles { revocation_lists: vec![list], ..files(&pair.client_files, pair.pki.root(Plane::Gateways)) };
    let client = TlsMaterial::load("gateways", client).expect("good files");
    let pair = Pair { server, client, ..pair };
    let (_server, mut client) = pair.connect().await;
    pair.pki.revoke(Plane::Gateways, &door).expect("a list");
    pair.client.refresh();
    assert_eq!(cut(within(client.read(&mut [0; 1])).await), Severed::Revoked);
}

#[tokio::test]
async fn an_expired_certificate_loses_the_connections_it_has() {
    let pair = Pair::new();
    let (mut server, _client) = pair.connect().await;
    let end = server.connection().not_after();
    pair.server.cut_expired(end);
    assert_eq!(server.connection().severed(), None);
    pair.server.cut_expired(end + Duration::from_secs(1));
    assert_eq!(cut(within(server.read(&mut [0; 1])).await), Severed::Expired);
}

#[tokio::test]
async fn a_root_that_is_gone_takes_its_connections_with_it() {
    let pair = Pair::new();
    let (mut server, _client) = pair.connect().await;
    let elsewhere = tempfile::tempdir().expect("a folder");
    let other = Pki::create(elsewhere.path(), "switch.test", "blue").expect("a PKI");
    fs::copy(other.root(Plane::Gateways), &pair.files.roots).expect("replaced");
    assert!(took_all(&pair.server));
    assert_eq!(cut(within(server.read(&mut [0; 1])).await), Severed::NoLongerTrusted);
}

#[tokio::test]
async fn a_connection_made_with_the_material_of_before_is_verified_with_that_of_now() {
    let pair = Pair::new();
    let before = pair.server.current.load_full();
    let (server, _client) = pair.connect().await;
    let chain = server.connection().chain().to_vec();
    pair.pki.revoke(Plane::Gateways, &pair.client_files).expect("a list");
    assert!(took_all(&pair.server));
    let late = pair.server.guard(tokio::io::empty(), chain, Side::Client, &before);
    assert_eq!(late.expect_err("revoked meanwhile").to_string(), Severed::Revoked.to_string());
}

#[test]
fn files_that_cannot_be_used_say_which_and_keep_the_old_configuration() {
    let pair = Pair::new();
    let serial = pair.server.serial();
    let good = |path: &Path| fs::read(path).expect("readable");
    let keep = [&pair.files.certificates, &pair.files.key, &pair.files.roots, &pair.files.revocation_lists[0]]
        .map(|path| (path.clone(), good(path)));
    let restore = || keep.iter().for_each(|(path, bytes)| fs::write(path, bytes).expect("writable"));
    let refused = |expected: &str| {
        let fault = pair.server.reload().fault.expect(expected);
        assert!(fault.to_string().contains(expected), "{fault}");
        pair.server.refresh();
        let reported = pair.server.reloads_refused();
        pair.server.refresh();
        assert_eq!(pair.server.reloads_refused(), reported, "reported once, not at every look");
        assert_eq!(pair.server.serial(), serial);
        restore();
        assert!(!took_all(&pair.server), "as before");
        reported
    };

    let other = pair.pki.gateway("other").expect("a certificate");
    fs::copy(&other.key, &pair.files.key).expect("replaced");
    assert_eq!(refused("does not belong to certificate"), 1);

    fs::write(&pair.files.certificates, b"-----BEGIN CERTIFICATE-----\nnot base64!\n").expect("writable");
    assert_eq!(refused("node-gateway-door.crt is not usable"), 2);

    fs::write(&pair.files.key, b"").expect("writable");
    assert_eq!(refused("node-gateway-door.key is not usable (no items found)"), 3);

    fs::remove_file(&pair.files.roots).expect("removable");
    assert_eq!(refused("gateway-ca.crt cannot be read"), 4);

    pair.pki.stale_revocation_list(Plane::Gateways).expect("a list");
    assert_eq!(refused("gateway-ca.crl is stale since"), 5);

    let expired = pair.pki.flawed(Plane::Gateways, "node", Flaw::Expired).expect("a certificate");
    fs::copy(&expired.certificate, &pair.files.certificates).expect("replaced");
    fs::copy(&expired.key, &pair.files.key).expect("replaced");
    assert_eq!(refused("its issuer must renew it"), 6);
}

#[tokio::test]
async fn a_revocation_is_enforced_beside_any_other_file_that_cannot_be_used() {
    type Spoil = fn(&Pair);
    let flaws: [(&str, Spoil); 4] = [
        ("peer-ca.crl is stale since", |pair| drop(pair.pki.stale_revocation_list(Plane::Peers).expect("a list"))),
        ("peer-ca.crl is not usable", |pair| {
            fs::write(&pair.files.revocation_lists[1], b"-----BEGIN X509 CRL-----\nhalf of").expect("writable");
        }),
        ("its issuer must renew it", |pair| {
            let expired = pair.pki.flawed(Plane::Gateways, "node", Flaw::Expired).expect("a certificate");
            fs::copy(&expired.certificate, &pair.files.certificates).expect("replaced");
            fs::copy(&expired.key, &pair.files.key).expect("replaced");
        }),
        ("gateway-ca.crt cannot be read", |pair| fs::remove_file(&pair.files.roots).expect("removable")),
    ];
    for (fault, spoil) in flaws {
        let mut pair = Pair::new();
        let second = pair.pki.revocation_list(Plane::Peers).expect("a list");
        pair.files.revocation_lists.push(second);
        pair.server = TlsMaterial::load("gateways", pair.files.clone()).expect("good files");
        let serial = pair.server.serial();
        let (mut server, _client) = pair.connect().await;
        spoil(&pair);
        pair.server.refresh();
        assert_eq!((pair.server.reloads_refused(), server.connection().severed()), (1, None), "{fault}");

        pair.pki.revoke(Plane::Gateways, &pair.client_files).expect("a list");
        let refused = pair.server.reload().fault.expect(fault);
        assert!(refused.to_string().contains(fault), "{refused}");
        assert_eq!(cut(within(server.read(&mut [0; 1])).await), Severed::Revoked, "{fault}");
        let (again, _) = pair.try_connect(TlsConnector::new(Arc::clone(&pair.client)), "localhost").await;
        let error = again.expect_err("revoked");
        assert!(error.to_string().contains("Revoked"), "{fault}: {error}");
        assert_eq!(pair.server.serial(), serial, "what is shown stays what it was");
    }
}

#[test]
fn a_look_that_takes_one_file_and_refuses_another_is_told_as_both() {
    let mut pair = Pair::new();
    let (told, events) = std::sync::mpsc::channel();
    let observer: TlsObserver = Arc::new(move |_, event| {
        let _ = told.send(match event {
            TlsEvent::Reloaded => "used",
            TlsEvent::ReloadRefused(_) => "refused",
            TlsEvent::Severed(_) => "cut",
        });
    });
    pair.server = TlsMaterial::load_observed("gateways", pair.files.clone(), observer).expect("good files");
    let heard = || {
        pair.server.refresh();
        events.try_iter().collect::<Vec<_>>()
    };
    fs::remove_file(&pair.files.roots).expect("removable");
    assert_eq!(heard(), ["refused"]);
    pair.pki.gateway_door("node", &["localhost"]).expect("renewed in place");
    assert_eq!(heard(), ["used", "refused"]);
    assert_eq!(heard(), [""; 0], "each content is told once");
    fs::copy(pair.pki.root(Plane::Operators), &pair.files.roots).expect("replaced");
    assert_eq!(heard(), ["used"]);
}

#[tokio::test]
async fn a_revocation_is_enforced_where_a_stale_list_stands_in_the_same_file() {
    let mut pair = Pair::new();
    let bundle = pair.files.certificates.with_extension("crls");
    let fill = |pair: &Pair, peers: &Path| {
        let lists = [fs::read(pair.pki.revocation_list(Plane::Gateways).expect("a list")), fs::read(peers)];
        fs::write(&bundle, lists.map(|list| list.expect("readable")).concat()).expect("writable");
    };
    fill(&pair, &pair.pki.revocation_list(Plane::Peers).expect("a list"));
    pair.files.revocation_lists = vec![bundle.clone()];
    pair.server = TlsMaterial::load("gateways", pair.files.clone()).expect("good files");
    let stale_at = pair.server.revocation_stale_at().expect("there are lists");
    let (mut server, _client) = pair.connect().await;

    pair.pki.revoke(Plane::Gateways, &pair.client_files).expect("a list");
    fill(&pair, &pair.pki.stale_revocation_list(Plane::Peers).expect("a list"));
    let refused = pair.server.reload().fault.expect("stale");
    assert!(refused.to_string().contains("is stale since"), "{refused}");
    assert_eq!(cut(within(server.read(&mut [0; 1])).await), Severed::Revoked);
    assert!(pair.server.revocation_stale_at() >= Some(stale_at), "the list in use stays in the place of the stale one");

    fill(&pair, &pair.pki.revocation_list(Plane::Peers).expect("a list"));
    assert!(took_all(&pair.server));
    assert!(!took_all(&pair.server), "nothing changed since");
}

#[tokio::test]
async fn under_a_stale_list_nobody_is_accepted_and_nobody_is_cut() {
    let pair = Pair::new();
    let (mut server, mut client) = pair.connect().await;
    let chain = server.connection().chain().to_vec();
    let parts = pair.server.current.load().parts.clone();
    let after = parts.revocation_stale_at().expect("there is a list") + Duration::from_secs(1);
    // The node's own list has gone stale, and the file holds nothing better.
    let (parts, fault) =
        Content::read(&pair.files).parts(&pair.files, Some(&parts), after).expect("something is in use");
    assert!(matches!(fault, Some(TlsFault::StaleRevocationList { .. })), "{fault:?}");
    let configuration = parts.configure(&pair.files, 1, None).expect("a configuration");
    assert_eq!(configuration.verify(server.connection(), after), None);
    let unix_after = after.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let unix_after = rustls_pki_types::UnixTime::since_unix_epoch(unix_after);
    let refused = configuration.verify_client.verify_client_cert(&chain[0], &chain[1..], unix_after);
    let refused = refused.expect_err("stale").to_string();
    assert!(refused.contains("ExpiredRevocationList") || refused.contains("revocation list"), "{refused}");
    assert!(is_alive(&mut server, &mut client).await);
}

#[test]
fn a_file_of_any_size_is_read_within_bounds() {
    let pair = Pair::new();
    let huge = fs::File::create(&pair.files.roots).expect("writable");
    huge.set_len(FILE_MAX + 1).expect("sparse");
    let fault = pair.server.reload().fault.expect("too long");
    assert!(fault.to_string().contains("longer than"), "{fault}");
}

#[tokio::test]
async fn the_watch_sees_a_swapped_symlink_as_kubernetes_makes_it() {
    let pair = Pair::new();
    let mount = tempfile::tempdir().expect("a folder");
    let fill = |name: &str| {
        let issued = pair.pki.gateway_door("node", &["localhost"]).expect("a certificate");
        let folder = mount.path().join(name);
        fs::create_dir(&folder).expect("a folder");
        fs::copy(issued.certificate, folder.join("tls.crt")).expect("copied");
        fs::copy(issued.key, folder.join("tls.key")).expect("copied");
        fs::copy(pair.pki.root(Plane::Gateways), folder.join("ca.crt")).expect("copied");
    };
    let swap = |name: &str| {
        std::os::unix::fs::symlink(name, mount.path().join("..fresh")).expect("a link");
        fs::rename(mount.path().join("..fresh"), mount.path().join("..data")).expect("swapped");
    };
    fill("..1");
    swap("..1");
    for file in ["tls.crt", "tls.key", "ca.crt"] {
        std::os::unix::fs::symlink(format!("..data/{file}"), mount.path().join(file)).expect("a link");
    }
    let mounted = |file: &str| mount.path().join(file);
    let files = TlsFiles {
        certificates: mounted("tls.crt"),
        key: mounted("tls.key"),
        roots: mounted("ca.crt"),
        revocation_lists: Vec::new(),
    };
    let (reloaded, mut reloads) = mpsc::unbounded_channel();
    let observer: TlsObserver = Arc::new(move |plane, event| {
        let _ = reloaded.send(format!("{plane}: {event:?}"));
    });
    let material = TlsMaterial::load_observed("gateways", files, observer).expect("good files");
    let shutdown = CancellationToken::new();
    let mut serial = material.serial();
    fill("..2");
    swap("..2");
    let watch = tokio::spawn(Arc::clone(&material).watch(POLL, shutdown.clone()));
    // The second volume was there before the watch began, the third comes under its eyes: sooner than the next poll.
    for next in ["..3", "..4"] {
        let reload = tokio::time::timeout(POLL - Duration::from_secs(1), reloads.recv()).await;
        assert_eq!(reload.expect("before the poll").as_deref(), Some("gateways: Reloaded"));
        assert_ne!(std::mem::replace(&mut serial, material.serial()), material.serial());
        fill(next);
        swap(next);
    }
    shutdown.cancel();
    within(watch).await.expect("ends when told");
}
