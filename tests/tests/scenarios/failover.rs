//! Leaders that are killed, stopped or relieved while payments come: nothing told changes, nothing is charged twice, and
//! payments flow again.

use std::time::{Duration, Instant};

use switch_tests::{
    eventually::eventually,
    history::Outcome,
    load::Pace,
    stage::{self, Load, SOON},
    workload::{Kind, Mix},
};

/// How often the leader is killed.
const KILLS: usize = 20;

/// Few enough that two processors keep up with three nodes, two networks and the gateways.
const PACE: Pace = Pace::Open { per_second: 60.0, in_flight_max: 3000 };

#[tokio::test(flavor = "multi_thread")]
async fn twenty_kills_of_the_leader_change_no_answer_and_payments_flow_again_after_each() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    let load = Load::of(&cluster.gateway("shop"), 3, Mix::mixed(), PACE);
    load.approves(20).await?;
    let mut gaps = Vec::new();
    for _ in 0..KILLS {
        let leader = cluster.wait_leader(SOON).await?;
        let killed = Instant::now();
        cluster.kill9(leader.node);
        gaps.push(load.flows(killed).await?);
        cluster.restart(leader.node)?;
        cluster.ready().await?;
    }
    println!("{}", histogram(&gaps));
    let counts = load.end().await?.counts();
    println!("{counts:?}");
    assert_eq!(counts.outcome_unknown, 0, "every key has an answer at last");
    assert!(counts.approved > 500, "the load was none: {counts:?}");
    stage::read_again(&cluster).await?;
    cluster.judge().await.map(|report| println!("{}", report.in_words()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_of_all_three_nodes_at_once_loses_and_doubles_nothing() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    let load = Load::of(&cluster.gateway("shop"), 4, Mix::mixed(), PACE);
    let mut gaps = Vec::new();
    for round in 1..=3 {
        load.approves(round * 40).await?;
        let killed = Instant::now();
        cluster.kill_all();
        cluster.start_all()?;
        gaps.push(load.flows(killed).await?);
        cluster.ready().await?;
    }
    println!("{}", histogram(&gaps));
    let counts = load.end().await?.counts();
    assert_eq!(counts.outcome_unknown, 0, "every key has an answer at last: {counts:?}");
    stage::read_again(&cluster).await?;
    cluster.judge().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stops_for_three_seconds_and_wakes_up_harms_nobody() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    let load = Load::of(&cluster.gateway("shop"), 5, Mix::mixed(), PACE);
    for round in 1..=2 {
        load.approves(round * 40).await?;
        let leader = cluster.wait_leader(SOON).await?;
        let stopped = Instant::now();
        cluster.stop(leader.node)?;
        let gap = load.flows(stopped).await?;
        println!("node {} led and was stopped; payments flow again after {gap:?}", leader.node);
        eventually(SOON, "the stop is over", || async { stopped.elapsed() >= Duration::from_secs(3) }).await?;
        cluster.cont(leader.node)?;
        load.flows(Instant::now()).await?;
        cluster.ready().await?;
    }
    let counts = load.end().await?.counts();
    assert_eq!(counts.outcome_unknown, 0, "every key has an answer at last: {counts:?}");
    stage::read_again(&cluster).await?;
    cluster.judge().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn five_transfers_of_leadership_under_load_leave_no_failed_call() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    // Nobody asks twice: the first error is one too many.
    let gateway = stage::impatient(&cluster.gateway("shop"));
    let mix = Mix::new(&[
        (Kind::Approved, 5),
        (Kind::Sale, 2),
        (Kind::Captured, 2),
        (Kind::Refunded, 1),
        (Kind::Voided, 1),
        (Kind::Repeated, 1),
    ])?;
    let load = Load::of(&gateway, 6, mix, PACE);
    load.approves(20).await?;
    for _ in 0..5 {
        let leader = cluster.wait_leader(SOON).await?;
        let begun = Instant::now();
        let led = cluster.transfer(leader.node % 3 + 1).await?;
        let gap = load.flows(begun).await?;
        println!(
            "node {} hands over to node {}; a payment begun since is approved after {gap:?}",
            leader.node, led.node
        );
        load.approves(load.figures.counts().approved + 30).await?;
    }
    load.end().await?;
    let unhappy: Vec<_> = cluster
        .history()
        .calls()
        .into_iter()
        .filter(|call| !matches!(&call.outcome, Outcome::Ok { told, .. } if told.approved()))
        .map(|call| format!("{:?} {} at node {}: {:?}", call.method, call.request_id, call.node + 1, call.outcome))
        .collect();
    assert!(unhappy.is_empty(), "{} calls failed:\n{}", unhappy.len(), unhappy.join("\n"));
    cluster.judge().await.map(drop)
}

/// How many gaps fell into each half second.
fn histogram(gaps: &[Duration]) -> String {
    let mut lines = vec![format!("{} gaps, from the fault to the answer to a payment begun after it:", gaps.len())];
    let mut sorted = gaps.to_vec();
    sorted.sort_unstable();
    let bucket = |gap: &Duration| gap.as_millis() / 500;
    for chunk in sorted.chunk_by(|one, other| bucket(one) == bucket(other)) {
        let from_ms = bucket(&chunk[0]) * 500;
        lines.push(format!("  {from_ms:>5} to {:>5} ms  {}", from_ms + 500, "#".repeat(chunk.len())));
    }
    if let (Some(first), Some(last)) = (sorted.first(), sorted.last()) {
        lines.push(format!("  least {first:?}, middle {:?}, greatest {last:?}", sorted[sorted.len() / 2]));
    }
    lines.join("\n")
}
