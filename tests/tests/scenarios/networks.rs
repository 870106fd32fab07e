//! Networks that are away: what may go to another one does, and what may not is told as not sent.

use std::time::Duration;

use switch_proto::gateway::v1::{Decision, DecisionSource, OperationResult, Sent};
use switch_tests::{
    eventually::eventually,
    gateway_client::GatewayClient,
    harness::NETWORKS,
    sandbox::{cards, proto::Mode},
    stage,
};

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
