//! A network that swallows everything for a while, and reversals that a network never answers: others do not notice.

use std::time::{Duration, Instant};

use futures::future::try_join_all;
use switch_proto::{
    gateway::v1::{Decision, ReversalState},
    operator::v1::Resolution,
};
use switch_tests::{
    auditor::report::Verdict,
    eventually::eventually,
    harness::{NETWORKS, OperatorClient},
    history::Ask,
    load::{Pace, Payments},
    sandbox::{cards, proto::Mode},
    stage::{self, Load, SOON},
    workload::Story,
};

/// Seconds of silence; the whole check of the project sets 60.
const SILENCE: &str = "PAYSWITCH_SILENCE_S";

#[tokio::test(flavor = "multi_thread")]
async fn what_a_silent_network_left_unanswered_is_reversed_and_the_other_networks_traffic_goes_on() -> anyhow::Result<()>
{
    let _turn = stage::turn().await;
    let silence = Duration::from_secs(std::env::var(SILENCE).ok().and_then(|text| text.parse().ok()).unwrap_or(10));
    let cluster = stage::three().start().await?;
    let gateway = cluster.gateway("shop");
    let pace = Pace::Open { per_second: 30.0, in_flight_max: 5000 };
    let list = |prefix: &str, card: &str| {
        let count = 30 * (silence.as_secs() + 60);
        let stories: Vec<Story> = (0..count).map(|n| plain(&format!("{prefix}-{n}"), card)).collect();
        Payments::Listed(stories.into_iter())
    };
    let hurt = Load::begin(&gateway, list("hurt", cards::APPROVED_VISA), pace);
    let other = Load::begin(&gateway, list("other", cards::APPROVED_MASTERCARD), pace);
    hurt.approves(30).await?;
    other.approves(30).await?;

    let (before, began) = (other.figures.counts().approved, Instant::now());
    other.figures.recent();
    cluster.networks().mode(Some(NETWORKS[0]), Mode::Swallow).await?;
    eventually(silence + SOON, "the silence is over", || async { began.elapsed() >= silence }).await?;
    let (latencies, rate) = other.figures.recent();
    let meanwhile = other.figures.counts();
    cluster.networks().mode(Some(NETWORKS[0]), Mode::Normal).await?;
    let back = Instant::now();
    println!(
        "{silence:?} of silence: the other network approved {} meanwhile, {rate:.0}/s, p50 {} us, p99 {} us",
        meanwhile.approved - before,
        latencies.p50_us,
        latencies.p99_us
    );
    assert!(meanwhile.approved - before > 10 * silence.as_secs(), "the other network's traffic stood: {meanwhile:?}");
    assert_eq!(meanwhile.timed_out, 0, "the other network was asked and not heard");

    hurt.flows(back).await?;
    eventually(SOON, "the network that was silent approves again", || async {
        let approved =
            |figures: &switch_tests::load::Figures| figures.networks().get(NETWORKS[0]).map(|own| own.approved);
        approved(&hurt.figures) > Some(30)
    })
    .await?;
    let (hurt, other) = (hurt.end().await?.counts(), other.end().await?.counts());
    println!("the network that was silent: {hurt:?}\nthe other: {other:?}");
    assert!(hurt.timed_out > 0, "the silence hit nobody");
    assert_eq!((hurt.outcome_unknown, other.outcome_unknown), (0, 0));
    cluster.rest().await?;
    println!("everything was reversed and acknowledged {:?} after the network came back", back.elapsed());
    assert_eq!(stage::owed(&cluster).await?.len(), 0);
    cluster.judge().await.map(drop)
}

/// Nothing can make the poison reversals end but two operators, so the first verdict is `unknown`, and says how much is at
/// stake.
#[tokio::test(flavor = "multi_thread")]
async fn no_reversal_waits_behind_one_that_is_never_answered() -> anyhow::Result<()> {
    /// More than any window of copies in flight that a link may have.
    const POISON: usize = 300;
    const GOOD: usize = 20;
    /// A silent copy keeps its place for 250 ms, and 256 places are one link's: 300 first copies have all been silent after two
    /// rounds, 500 ms. From then on only repeats are in flight, 128 at most, so that a good one finds a place at once. The other
    /// half second is the void's commit, the network's answer, its commit, and the looks of this test.
    const GOOD_WITHIN: Duration = Duration::from_secs(1);
    let _turn = stage::turn().await;
    let parks_after_ms = 20_000;
    let cluster = stage::three().networks(move |network| network.repeat_budget_ms = parks_after_ms).start().await?;
    let gateway = cluster.gateway("shop");
    let poisonous = (0..POISON).map(|n| {
        let gateway = gateway.clone();
        async move {
            let request = stage::payment(&format!("poison-{n}"), cards::REVERSAL_NEVER_ANSWERED, 1000);
            let paid = gateway.authorize(request).await?;
            gateway.void(stage::void(&format!("poison-{n}-void"), &paid.transaction_id)).await?;
            anyhow::Ok(paid.transaction_id)
        }
    });
    let mut good = Vec::new();
    for n in 0..GOOD {
        good.push(
            gateway.authorize(stage::payment(&format!("good-{n}"), cards::APPROVED_VISA, 2000)).await?.transaction_id,
        );
    }
    let poison = try_join_all(poisonous).await?;
    let mut slowest = Duration::ZERO;
    for (n, id) in good.iter().enumerate() {
        let began = Instant::now();
        let voided = gateway.void(stage::void(&format!("good-{n}-void"), id)).await?;
        assert_eq!(stage::decision(&voided), Decision::Approved);
        eventually(SOON, "a good reversal is acknowledged", || async {
            let states = stage::reversals(&stage::read(&gateway, id).await?);
            anyhow::ensure!(states == [ReversalState::Acknowledged], "{id}: {states:?}");
            Ok(())
        })
        .await?;
        slowest = slowest.max(began.elapsed());
    }
    println!("the slowest of {GOOD} good reversals took {slowest:?}, beside {POISON} that nobody answers");
    assert!(slowest < GOOD_WITHIN, "a good reversal waited {slowest:?} behind those of others");

    eventually(Duration::from_secs(60), "the poison is parked", || async {
        let states: Vec<String> = stage::owed(&cluster).await?.into_iter().map(|owed| owed.state).collect();
        anyhow::ensure!(states.len() == POISON && states.iter().all(|state| state == "PARKED"), "{states:?}");
        Ok(())
    })
    .await?;
    let report = cluster.audit().await?;
    assert_eq!(report.verdict, Verdict::Unknown, "{}", report.in_words());
    assert_eq!(report.unknown_counts.get("S8"), Some(&(POISON as u64)), "{}", report.in_words());
    assert_eq!(report.unknown_minor_units.get("EUR"), Some(&(POISON as i64 * 1000)), "{}", report.in_words());

    // The network booked every one of them; it only never said so. That is what the operator finds out and writes down.
    let second = cluster.another_operator("second")?;
    for owed in stage::owed(&cluster).await? {
        eventually(SOON, "two operators resolve", || async {
            let node = cluster.node(cluster.wait_leader(SOON).await?.node);
            let confirming = OperatorClient::new(node.operator_address(), &second)?;
            let evidence = "the network's books show it reversed";
            anyhow::Ok(stage::resolve(node.operator(), &confirming, &owed, Resolution::Reversed, evidence).await?)
        })
        .await?;
    }
    for id in &poison {
        let states = stage::reversals(&stage::read(&gateway, id).await?);
        assert_eq!(states, [ReversalState::Resolved], "{id}");
    }
    cluster.judge().await.map(drop)
}

fn plain(key: &str, card: &str) -> Story {
    let first = Ask::Authorize(stage::payment(key, card, 1000));
    Story { key: key.to_owned(), first, copies: 1, overtaken: None, steps: Vec::new() }
}
