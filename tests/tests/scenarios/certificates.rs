//! Certificates that are replaced while payments come, and some that are revoked: nobody loses a call but who must.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use switch_proto::gateway::v1 as pb;
use switch_tests::{
    channel::{self, TlsFiles},
    eventually::eventually,
    gateway_client::{Aim, GatewayClient},
    harness::{Builder, Cluster, Node, OperatorClient},
    history::Outcome,
    load::Pace,
    pki::{Issued, Plane},
    sandbox::cards,
    stage::{self, Load, SOON},
    workload::Mix,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    bad_input::{knock, verifier},
    scrape::Scrape,
};

/// Between two replacements.
const EVERY: Duration = Duration::from_secs(5);

/// Seconds that certificates are replaced for; the whole check of the project sets 60.
const ROTATION: &str = "PAYSWITCH_ROTATION_S";

/// The longest that the open connections of a revoked certificate may live.
const CUT_WITHIN: Duration = Duration::from_secs(60);

const PACE: Pace = Pace::Open { per_second: 40.0, in_flight_max: 2000 };

#[tokio::test(flavor = "multi_thread")]
async fn certificates_replaced_every_five_seconds_under_load_fail_no_call() -> anyhow::Result<()> {
    replaced_under_load(stage::three()).await
}

/// Seen by the watch on the folder: the looks now and then come too late.
#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_kubernetes_swaps_by_their_folder_under_load_fail_no_call() -> anyhow::Result<()> {
    replaced_under_load(stage::three().mounted().config("[tls]\npoll_ms = 30000")).await
}

async fn replaced_under_load(cluster: Builder) -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let in_all = Duration::from_secs(std::env::var(ROTATION).ok().and_then(|text| text.parse().ok()).unwrap_or(15));
    // A machine with too much to do must not look like a certificate that nobody takes.
    let cluster = cluster.election_ms(250, 3000, 5000).start().await?;
    // Nothing is asked twice: a call that fails is seen.
    let gateway = stage::impatient(&cluster.gateway("shop").with_aim(Aim::Everywhere));
    let load = Load::of(&gateway, 12, Mix::approvals(), PACE);
    load.approves(20).await?;

    let begun = Instant::now();
    let mut tick = tokio::time::interval(EVERY);
    let mut rounds = 0;
    while begun.elapsed() < in_all {
        tick.tick().await;
        rounds += 1;
        for node in cluster.nodes() {
            cluster.reissue(node.number())?;
        }
        for node in cluster.nodes() {
            let what = format!("node {} shows its new certificates", node.number());
            eventually(EVERY, &what, || shows_its_files(&cluster, node)).await?;
        }
        // Connections of this round, to doors of this round, with a certificate of this round.
        let fresh = stage::impatient(&renewed(&cluster)?);
        for node in cluster.nodes() {
            let one = fresh.with_aim(Aim::Node(node.number()));
            let key = format!("fresh-{rounds}-{}", node.number());
            one.authorize(stage::payment(&key, cards::APPROVED_VISA, 1_000)).await?;
        }
    }
    for node in cluster.nodes() {
        let scrape = Scrape::of(node).await?;
        let reloads = scrape.series("payswitch_tls_reloads_total")?;
        let used = reloads.iter().filter(|(labels, _)| labels.contains("\"used\"")).map(|(_, count)| *count);
        let least = used.clone().fold(f64::MAX, f64::min);
        assert!(used.count() == 4 && least >= f64::from(rounds), "{reloads:?} after {rounds} rounds");
    }
    let counts = load.end().await?.counts();
    println!("{rounds} replacements of every certificate in {:?}: {counts:?}", begun.elapsed());
    assert_eq!(counts.approved, counts.begun, "every payment is approved: {counts:?}");
    let failed: Vec<_> =
        cluster.history().calls().into_iter().filter(|call| !matches!(call.outcome, Outcome::Ok { .. })).collect();
    assert!(failed.is_empty(), "{} calls failed, the first: {:?}", failed.len(), failed.first());

    // A node that is started anew meets the others with the certificates of the last round, and they it.
    cluster.restart(1)?;
    cluster.ready().await?;
    cluster.judge().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_gateway_loses_its_connections_and_streams_and_nobody_else_does() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster =
        stage::three().revocable().election_ms(250, 3000, 5000).config("[tls]\npoll_ms = 500").start().await?;
    let shop = stage::impatient(&cluster.gateway("shop").with_aim(Aim::Everywhere));
    let load = Load::of(&shop, 13, Mix::approvals(), PACE);
    load.approves(20).await?;

    // A certificate that is revoked later, with a stream that is open on each node.
    let issued = cluster.pki().gateway("market")?;
    let tls = cluster.pki().files(Plane::Gateways, &issued);
    let market = stage::impatient(&cluster.gateway_with("market", &tls)?);
    let mut watches = Vec::new();
    for node in cluster.nodes() {
        let request = tonic::Request::new(pb::WatchTransactionsRequest::default());
        watches.push(market.raw(node.number()).watch_transactions(request).await?.into_inner());
    }
    let before = cluster.history().len();

    let revoked = Instant::now();
    cluster.pki().revoke(Plane::Gateways, &issued)?;
    for (watch, number) in watches.iter_mut().zip(1..) {
        let ended = async { while let Ok(Some(_)) = watch.message().await {} };
        tokio::time::timeout(CUT_WITHIN, ended).await.with_context(|| format!("the stream on node {number} lives"))?;
    }
    println!("every stream of the revoked gateway was cut {:?} after the revocation", revoked.elapsed());
    for node in cluster.nodes() {
        has_cut(node, "gateway", 1).await?;
        let one = market.with_aim(Aim::Node(node.number()));
        let said = one.authorize(stage::payment("too-late", cards::APPROVED_VISA, 1_000)).await;
        let said = said.expect_err("a revoked certificate pays nothing");
        ensure!(said.reason.is_empty(), "the connection fails, and nobody explains: {said}");
    }
    load.flows(Instant::now()).await?;
    let counts = load.end().await?.counts();
    assert_eq!(counts.approved, counts.begun, "every payment of the other gateway is approved: {counts:?}");
    let failed = cluster.history().calls().into_iter().skip(before).filter(|call| &*call.gateway == "shop");
    let failed: Vec<_> = failed.filter(|call| !matches!(call.outcome, Outcome::Ok { .. })).collect();
    assert!(failed.is_empty(), "{} calls of the other gateway failed: {:?}", failed.len(), failed.first());
    cluster.judge().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_operator_loses_its_connections_and_no_other_operator_does() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().revocable().config("[tls]\npoll_ms = 500").start().await?;
    let issued = cluster.pki().operator("leaver")?;
    let tls = cluster.pki().files(Plane::Operators, &issued);
    let (mut clients, mut held) = (Vec::new(), Vec::new());
    for node in cluster.nodes() {
        let client = OperatorClient::new(node.operator_address(), &tls)?;
        client.status().await.with_context(|| format!("node {} does not serve it yet", node.number()))?;
        clients.push(client);
        held.push(opened(node.operator_address(), &tls).await?);
    }

    let revoked = Instant::now();
    cluster.pki().revoke(Plane::Operators, &issued)?;
    for connection in held {
        ended(connection).await?;
    }
    println!("every connection of the revoked operator was cut {:?} after the revocation", revoked.elapsed());
    for (node, client) in cluster.nodes().iter().zip(clients) {
        // The one that was held, and the client's own.
        has_cut(node, "operator", 2).await?;
        let said = client.status().await.expect_err("a revoked certificate is told nothing");
        ensure!(stage::reason(&said).1.is_empty(), "the connection fails, and nobody explains: {said}");
        refused_as_revoked(&cluster, node.operator_address(), Plane::Operators, &issued).await?;
        node.operator().status().await.context("the other operator is served")?;
    }
    cluster.close().await
}

/// Both ends look: the others neither let it in nor go to it.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_node_is_cut_off_by_the_others_until_it_has_another_certificate() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster =
        stage::three().revocable().election_ms(250, 3000, 5000).config("[tls]\npoll_ms = 500").start().await?;
    let leader = cluster.wait_leader(SOON).await?.node;
    let odd = leader % 3 + 1;
    // Under a certificate of which we know the number.
    let host = cluster.node(odd).peer_address().split(':').next().unwrap_or_default().to_owned();
    let issued = cluster.pki().peer(&format!("node-{odd}"), &[&host])?;
    cluster.restart(odd)?;
    cluster.ready().await?;
    let shop = stage::impatient(&stage::shop_at(&cluster, leader));
    let load = Load::of(&shop, 14, Mix::approvals(), PACE);
    load.approves(20).await?;

    // Shown by somebody else too: the files of the node are about to be replaced.
    let stolen = cluster.folder().join("stolen");
    std::fs::create_dir(&stolen)?;
    let stolen = Issued { certificate: stolen.join("crt"), key: stolen.join("key"), ..issued.clone() };
    std::fs::copy(&issued.certificate, &stolen.certificate)?;
    std::fs::copy(&issued.key, &stolen.key)?;
    let others: Vec<&Node> = cluster.nodes().iter().filter(|node| node.number() != odd).collect();
    let tls = cluster.pki().files(Plane::Peers, &stolen);
    let mut held = Vec::new();
    for node in &others {
        held.push(opened(node.peer_address(), &tls).await?);
    }

    let revoked = Instant::now();
    cluster.pki().revoke(Plane::Peers, &issued)?;
    for connection in held {
        ended(connection).await?;
    }
    for node in &others {
        // The one that was held, and on the leader one of the node's own: followers need none to each other.
        has_cut(node, "peer", if node.number() == leader { 2 } else { 1 }).await?;
        refused_as_revoked(&cluster, node.peer_address(), Plane::Peers, &stolen).await?;
    }
    println!("every connection of the revoked node was cut {:?} after the revocation", revoked.elapsed());
    eventually(CUT_WITHIN, "the revoked node is not ready", || async {
        let (status, words) = cluster.node(odd).page("/readyz").await?;
        ensure!(status == 503, "it says {status} {words}");
        Ok(())
    })
    .await?;
    // It has nobody to ask, and promises nothing.
    let alone = stage::payment("alone", cards::APPROVED_VISA, 1_000);
    let told = stage::impatient(&stage::shop_at(&cluster, odd)).authorize(alone.clone()).await;
    ensure!(told.is_err(), "a node that was cut off tells {told:?}");
    load.flows(Instant::now()).await?;

    cluster.reissue(odd)?;
    cluster.ready().await?;
    let told = stage::shop_at(&cluster, odd).authorize(alone).await?;
    assert_eq!(stage::decision(&told), pb::Decision::Approved);
    let counts = load.end().await?.counts();
    assert_eq!(counts.approved, counts.begun, "every payment at the leader is approved: {counts:?}");
    cluster.judge().await.map(drop)
}

/// A connection that begins to speak HTTP/2 and then says nothing more.
async fn opened(address: &str, tls: &TlsFiles) -> anyhow::Result<TlsStream<TcpStream>> {
    const PREFACE_AND_EMPTY_SETTINGS: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let host = ServerName::try_from(address.split(':').next().unwrap_or_default().to_owned())?;
    let opening = async {
        let tcp = TcpStream::connect(address).await?;
        let mut stream = TlsConnector::from(tls.client()?).connect(host, tcp).await?;
        stream.write_all(PREFACE_AND_EMPTY_SETTINGS).await?;
        ensure!(stream.read(&mut [0; 64]).await? > 0, "{address} does not let it in");
        Ok(stream)
    };
    tokio::time::timeout(SOON, opening).await.context("the door says nothing")?
}

/// Waits until the other side has ended a connection.
async fn ended(mut connection: TlsStream<TcpStream>) -> anyhow::Result<()> {
    let ended = async { while matches!(connection.read(&mut [0; 1024]).await, Ok(1..)) {} };
    tokio::time::timeout(CUT_WITHIN, ended).await.context("a connection outlives its certificate")
}

/// Waits until a node has counted so many connections of a plane that it cut because their certificates were revoked.
async fn has_cut(node: &Node, plane: &str, least: u32) -> anyhow::Result<()> {
    let what = format!("node {} has cut {least} connections at the door for {plane}", node.number());
    eventually(SOON, &what, || async {
        let scrape = Scrape::of(node).await?;
        let cut = scrape.series("payswitch_tls_connections_cut_total")?;
        let of_plane = |labels: &str| labels.contains(&format!("\"{plane}\"")) && labels.contains("revoked");
        let revoked = cut.iter().find(|(labels, _)| of_plane(labels)).map_or(0.0, |(_, count)| *count);
        ensure!(revoked >= f64::from(least), "{revoked} are cut: {cut:?}");
        Ok(())
    })
    .await
}

/// An error unless a door says to a new connection that its certificate is revoked.
async fn refused_as_revoked(cluster: &Cluster, address: &str, plane: Plane, issued: &Issued) -> anyhow::Result<()> {
    let tls = channel::client_with(verifier(cluster.pki().root(plane))?, Some(&cluster.pki().files(plane, issued)))?;
    let heard = knock(address, tls).await?;
    ensure!(heard == "CertificateRevoked", "{address} says {heard}");
    Ok(())
}

/// An error unless each door shows the certificate that was issued last.
async fn shows_its_files(cluster: &Cluster, node: &Node) -> anyhow::Result<()> {
    let (pki, name) = (cluster.pki(), format!("node-{}", node.number()));
    let doors = [
        (Plane::Gateways, node.gateway_address(), "gateway-door"),
        (Plane::Peers, node.peer_address(), "peer"),
        (Plane::Operators, node.operator_address(), "operator-door"),
    ];
    for (plane, address, stem) in doors {
        let file = cluster.folder().join("pki").join(format!("{name}-{stem}.crt"));
        let expected = CertificateDer::from_pem_file(&file)?;
        let tls = channel::client_with(verifier(pki.root(plane))?, None)?;
        let tcp = TcpStream::connect(address).await?;
        let host = address.split(':').next().unwrap_or_default().to_owned();
        let stream = TlsConnector::from(tls).connect(ServerName::try_from(host)?, tcp).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).context("no certificate")?;
        ensure!(*shown == expected, "the {stem} shows another certificate than its file");
    }
    Ok(())
}

/// The shop with a new certificate and no connection yet.
fn renewed(cluster: &Cluster) -> anyhow::Result<GatewayClient> {
    cluster.gateway_with("shop", &cluster.pki().files(Plane::Gateways, &cluster.pki().gateway("shop")?))
}
