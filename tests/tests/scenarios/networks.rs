//! Networks that are away: what may go to another one does, and what may not is told as not sent.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use prost::Message as _;
use switch_proto::{
    gateway::v1::{AuthorizeRequest, Decision, DecisionSource, OperationResult, Sent},
    operator::v1::{DirectoryChange, Link, directory_change::Change},
    peer::v1::{Caller, ForwardRequest, forward_response::Answer, forward_service_client::ForwardServiceClient},
};
use switch_tests::{
    channel,
    eventually::eventually,
    gateway_client::GatewayClient,
    harness::NETWORKS,
    pki::{Pki, Plane},
    sandbox::{cards, proto::Mode},
    stage::{self, SOON},
};
use tonic::{Code, Status};

/// Longest until every node has noticed what a network does: a link looks at a network that is away ever less often.
const NOTICED: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn r17_what_did_not_leave_goes_to_the_other_network_and_with_both_away_nothing_is_sent() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    let gateway = cluster.gateway("shop");
    let (preferred, other) = (NETWORKS[0], NETWORKS[1]);
    by(&gateway, "before", preferred).await?;

    for mode in [Mode::SignedOff, Mode::RefuseConnections] {
        cluster.networks().mode(Some(preferred), mode).await?;
        by(&gateway, &format!("{mode:?}-one"), other).await?;
        cluster.networks().mode(Some(other), mode).await?;
        let declined =
            paid(&gateway, &format!("{mode:?}-both"), |result| stage::decision(result) == Decision::Declined).await?;
        let outcome = stage::outcome(&declined);
        assert_eq!((outcome.sent(), outcome.source()), (Sent::NotSent, DecisionSource::Switch), "{declined:?}");
        assert_eq!(declined.network, "", "{declined:?}");
        cluster.networks().mode(None, Mode::Normal).await?;
        by(&gateway, &format!("{mode:?}-after"), preferred).await?;
    }
    cluster.judge().await.map(drop)
}

/// A fault there was: a node that did not lead, or not yet, judged what another node forwarded to it by its own links. It has none
/// where a link is open on the leader only, and told DECLINED for a key that was approved.
#[tokio::test(flavor = "multi_thread")]
async fn r3_what_is_forwarded_to_a_node_that_does_not_lead_is_decided_by_nobody() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    // Slow elections: who leads stays the leader.
    let cluster = stage::three().election_ms(250, 3000, 5000).start().await?;
    let paid = stage::payment("order-1", cards::APPROVED_VISA, 500);
    let told = cluster.gateway("shop").authorize(paid.clone()).await?;
    ensure!(stage::decision(&told) == Decision::Approved, "{told:?}");
    let links = |exclusive: bool| {
        let put = |link: &Link| DirectoryChange { change: Some(Change::PutLink(Link { exclusive, ..link.clone() })) };
        cluster.directory().links.iter().map(put).collect()
    };
    cluster.change_directory("one-line-each", links(true)).await?;
    let leader = cluster.wait_leader(SOON).await?.node;
    for follower in (1..=3).filter(|number| *number != leader) {
        eventually(SOON, "a node that does not lead has no link", || async {
            let links = stage::status(cluster.node(follower)).await?.links;
            ensure!(links.iter().all(|link| link.state != "IN_SERVICE"), "{links:?}");
            Ok(())
        })
        .await?;
        let address = cluster.node(follower).peer_address();
        for asked in [&paid, &stage::payment("order-2", cards::APPROVED_VISA, 500)] {
            let status = forwarded(cluster.pki(), address, asked).await?;
            assert_eq!(stage::reason(&status), (Code::Unavailable, "NO_LEADER".to_owned()), "{}", asked.request_id);
        }
    }
    cluster.change_directory("lines-for-all", links(false)).await?;
    cluster.judge().await.map(drop)
}

/// Hands a payment of the shop to a node, as another node does, and gives its refusal.
async fn forwarded(pki: &Pki, address: &str, asked: &AuthorizeRequest) -> anyhow::Result<Status> {
    let peer = pki.peer("visitor", &["127.0.0.1"])?;
    let tls = pki.files(Plane::Peers, &peer);
    let time_ms = u32::try_from(SOON.as_millis())?;
    let request = ForwardRequest {
        caller: Some(Caller { principal: pki.gateway_uri("shop") }),
        method: "/payswitch.gateway.v1.AuthorizationService/Authorize".to_owned(),
        message: asked.encode_to_vec().into(),
        remaining_ms: time_ms,
        given_ms: time_ms,
        ..ForwardRequest::default()
    };
    let mut node = ForwardServiceClient::new(channel::lazy(address, tls.client()?)?);
    match node.forward(stage::timed(request)).await?.into_inner().answer.context("an answer")? {
        Answer::Message(_) => bail!("a node that does not lead has decided {}", asked.request_id),
        Answer::Status(status) => {
            let plain = tonic_types::pb::Status::decode(status.clone())?;
            Ok(Status::with_details(Code::from_i32(plain.code), plain.message, status))
        }
    }
}

/// Pays until a payment is approved by that network.
async fn by(gateway: &GatewayClient, key: &str, network: &str) -> anyhow::Result<()> {
    paid(gateway, key, |result| stage::decision(result) == Decision::Approved && result.network == network)
        .await
        .map(drop)
}

/// Pays, each time under another key, until a payment ends so. A link that has not noticed yet loses a payment or two.
async fn paid(
    gateway: &GatewayClient,
    key: &str,
    so: impl Fn(&OperationResult) -> bool,
) -> anyhow::Result<OperationResult> {
    let count = std::sync::atomic::AtomicU32::new(0);
    eventually(NOTICED, "a payment ends as it should", || async {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let result = gateway.authorize(stage::payment(&format!("{key}-{number}"), cards::APPROVED_VISA, 500)).await?;
        anyhow::ensure!(so(&result), "{result:?}");
        Ok(result)
    })
    .await
}
