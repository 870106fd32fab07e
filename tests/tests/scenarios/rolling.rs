//! Every node leaves and is started again, one after another, while payments come: no call fails.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use switch_tests::{
    eventually::eventually,
    harness::{Cluster, Node},
    history::Outcome,
    load::Pace,
    multicall,
    stage::{self, Load, SOON},
    workload::Mix,
};
use tonic::Code;

const PACE: Pace = Pace::Open { per_second: 60.0, in_flight_max: 2000 };

/// How a node is told to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    /// By an operator's `node drain`, and then stopped.
    Drained,
    /// By SIGTERM alone, which is what a pod gets after its preStop: all the rest is the node's own affair.
    Terminated,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_with_node_drain_fails_no_call() -> anyhow::Result<()> {
    roll(Leaving::Drained).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_by_sigterm_alone_fails_no_call() -> anyhow::Result<()> {
    roll(Leaving::Terminated).await
}

async fn roll(leaving: Leaving) -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    let gateway = cluster.gateway("shop");
    let load = Load::of(&gateway, 14, Mix::everyday(), PACE);
    load.approves(40).await?;
    let mut hand_overs = Vec::new();
    // The leader first: each of the others may lead by the time it is its turn.
    let first = cluster.wait_leader(SOON).await?.node;
    for number in (0..3).map(|turn| (first - 1 + turn) % 3 + 1) {
        let node = cluster.node(number);
        let led = cluster.wait_leader(SOON).await?.node == number;
        let (began, began_us) = (Instant::now(), cluster.history().now_us());
        match leaving {
            Leaving::Drained => drain(&cluster, node).await?,
            Leaving::Terminated => end(node).await?,
        }
        let left = began.elapsed();
        let flows = load.flows(Instant::now()).await?;
        if led {
            ensure!(cluster.wait_leader(SOON).await?.node != number, "a node that left leads");
            hand_overs.push((number, left, longest_silence(&cluster, began_us)));
        }
        if leaving == Leaving::Drained {
            let (status, words) = node.page("/readyz").await?;
            ensure!(status == 503, "a node that was drained says {status} {words}");
        }
        println!("node {number} (leader: {led}, {leaving:?}) left in {left:?}; a payment is approved {flows:?} later");
        if leaving == Leaving::Drained {
            end(node).await?;
        }
        cluster.restart(number)?;
        cluster.ready().await?;
        load.flows(Instant::now()).await?;
    }
    let counts = load.end().await?.counts();
    println!("{counts:?}");
    for (number, left, silence) in &hand_overs {
        println!("hand-over of node {number}: left in {left:?}, longest time without an answer {silence:?}");
    }
    assert!(!hand_overs.is_empty(), "nobody led");
    assert!(counts.approved > 100, "the load was none: {counts:?}");
    // A gateway may ask again where the switch says UNAVAILABLE; nothing else may be said.
    let failed: Vec<_> = cluster.history().calls().into_iter().filter(|call| is_failure(&call.outcome)).collect();
    assert!(failed.is_empty(), "{} calls failed, the first: {:?}", failed.len(), failed.first());
    // Of what follows a payment some is to be refused, and a connection that ended under its first call leaves it in doubt here:
    // that is judged call by call, above.
    assert_eq!((counts.refused, counts.outcome_unknown), (0, 0), "{counts:?}");
    stage::read_again(&cluster).await?;
    cluster.judge().await.map(drop)
}

/// True for what a gateway need not put up with: anything but an answer and UNAVAILABLE. What a rule of money refuses is an
/// answer; that nobody knows what happened is none, and neither is ABORTED: the networks answer at once, and a node that leaves
/// ends its conversations first, so that no key is still in progress when its caller's time ends and no original is in doubt.
fn is_failure(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Ok { .. } => false,
        Outcome::Fail { code, reason } | Outcome::Info { code, reason } => {
            let answers = [Code::Unavailable, Code::FailedPrecondition, Code::AlreadyExists];
            &**reason == "OUTCOME_UNKNOWN" || !answers.contains(&Code::from_i32(*code))
        }
    }
}

/// Stops it, and waits until it has ended by itself.
async fn end(node: &Node) -> anyhow::Result<()> {
    node.terminate()?;
    eventually(SOON, "a node that was asked to stop ends", || async { !node.runs() }).await
}

/// `admin-cli node drain`, asked of the node itself.
async fn drain(cluster: &Cluster, node: &Node) -> anyhow::Result<()> {
    let tls = cluster.operator_tls();
    let mut command = tokio::process::Command::new(multicall::program()?);
    command
        .args(["admin", "node", "drain", "--timeout", "30s", "--endpoint", node.operator_address()])
        .arg("--certificate")
        .arg(&tls.certificate)
        .arg("--key")
        .arg(&tls.key)
        .arg("--roots")
        .arg(&tls.roots)
        .stdin(Stdio::null());
    let output = tokio::time::timeout(SOON * 3, command.output()).await.context("the drain does not end")??;
    ensure!(output.status.success(), "node drain: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The longest time since `from_us` in which no call was answered with a decision.
fn longest_silence(cluster: &Cluster, from_us: u64) -> Duration {
    let calls = cluster.history().calls();
    let answered = calls.iter().filter(|call| matches!(call.outcome, Outcome::Ok { .. }));
    let mut times: Vec<u64> = answered.map(|call| call.returned_us).filter(|time| *time > from_us).collect();
    times.push(from_us);
    times.sort_unstable();
    let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
    Duration::from_micros(gaps.max().unwrap_or_default())
}
