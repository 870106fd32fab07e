//! Real faults on real processes: disks that fail, crawl, fill up and lose power, networks that are cut, clocks that are
//! wrong. Three nodes under load each time, and the auditor judges. Runs with `--features faults`, as root; a tool that is
//! missing is an error that says what to install. At most one cluster runs at a time.
#![cfg(feature = "faults")]
// The figures of a run; helpers print them too.
#![allow(clippy::print_stdout)]

mod clock;
mod cut;
mod disk;
mod mount;
mod nft;
mod power;
mod strace;
mod tool;

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::Context as _;
use switch_tests::{
    eventually::eventually,
    harness::Cluster,
    history::Outcome,
    load::Pace,
    stage::{self, Load, SOON},
};
use tonic::Code;

/// Few enough that two processors keep up with three nodes, one of which is traced at every system call.
const PACE: Pace = Pace::Open { per_second: 40.0, in_flight_max: 3000 };

/// Lets the load go on until `count` further payments are approved.
async fn goes_on(load: &Load, count: u64) -> anyhow::Result<()> {
    load.approves(load.figures.counts().approved + count).await
}

/// Ends the load, reads what was told once more on every node, and judges: the books first, then what the gateway had to
/// hear. No fault here is the gateway's, so it may be told to try again and nothing else.
async fn judge(cluster: Cluster, load: Load) -> anyhow::Result<()> {
    let counts = load.end().await?.counts();
    let outcomes = outcomes(&cluster);
    println!("{counts:?}");
    stage::read_again(&cluster).await?;
    println!("{}", cluster.judge().await?.in_words());
    assert_eq!(
        (counts.outcome_unknown, counts.refused),
        (0, 0),
        "unknown and refused; calls by outcome: {outcomes:#?}"
    );
    Ok(())
}

/// How many calls ended without an answer, by the node that was called and what it said.
fn outcomes(cluster: &Cluster) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for call in cluster.history().calls() {
        if let Outcome::Fail { code, reason } | Outcome::Info { code, reason } = call.outcome {
            let took_ms = call.returned_us.saturating_sub(call.invoked_us) / 1_000_000 * 1000;
            let said = format!("node {} {:?} {reason} after {took_ms}+ ms", call.node + 1, Code::from(code));
            *counts.entry(said).or_default() += 1;
        }
    }
    counts
}

/// Sets an option of the first table of node `number`'s configuration; it counts from the next start.
fn set_option(cluster: &Cluster, number: usize, line: &str) -> anyhow::Result<()> {
    let path: &Path = cluster.node(number).config_path();
    let config = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(std::fs::write(path, format!("{line}\n{config}"))?)
}

/// Lets `time` pass, for what must not happen.
async fn lasts(time: Duration) -> anyhow::Result<()> {
    let began = std::time::Instant::now();
    eventually(time + SOON, "the time is over", || async { began.elapsed() >= time }).await
}
