//! Clocks that are wrong: log time moves by an hour at most and never back (R8), and money does not notice.

use std::{
    fs,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use serde_json::Value;
use switch_tests::{
    eventually::eventually,
    harness::{Builder, Cluster},
    multicall,
    stage::{self, Load, SOON},
    workload::Mix,
};
use tempfile::TempDir;

use crate::{PACE, goes_on, judge};

#[tokio::test(flavor = "multi_thread")]
async fn r8_a_leader_with_a_wrong_clock_moves_log_time_by_an_hour_at_most_and_never_back() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let clock = Clock::right()?;
    let cluster = clock.worn_by(stage::three())?.start().await?;
    let load = Load::of(&cluster.gateway("shop"), 19, Mix::mixed(), PACE);
    load.approves(20).await?;
    // The certificates began an hour ago: a clock further behind is the next test's.
    for (wrong, step, ahead_s) in [("-50m", Duration::ZERO, -3_000), ("+1d", HOUR, 86_400 - 3_600)] {
        let node = cluster.wait_leader(SOON).await?.node % 3 + 1;
        clock.start(&cluster, node, wrong).await?;
        let (began, before) = (Instant::now(), log_time_ms(&cluster).await?);
        cluster.transfer(node).await?;
        load.flows(Instant::now()).await?;
        goes_on(&load, 20).await?;
        moved(&cluster, wrong, before, began, step).await?;
        eventually(SOON, "the leader says how far its clock is off", || async {
            let seen_s = wall_ahead_s(&cluster, node).await?;
            anyhow::ensure!((seen_s - ahead_s).abs() < 60, "{wrong}: it is {seen_s} s ahead of log time");
            Ok(())
        })
        .await?;

        // And from a wrong clock to a right one: it waits for the right one to come by, or it goes on.
        let (began, before) = (Instant::now(), log_time_ms(&cluster).await?);
        cluster.transfer(node % 3 + 1).await?;
        goes_on(&load, 20).await?;
        moved(&cluster, "right again", before, began, Duration::ZERO).await?;
        clock.start(&cluster, node, RIGHT).await?;
    }
    judge(cluster, load).await
}

#[tokio::test(flavor = "multi_thread")]
async fn r8_an_operator_says_that_a_clock_a_day_ahead_is_right_and_nothing_waits_any_more() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let clock = Clock::right()?;
    let cluster = clock.worn_by(stage::three())?.start().await?;
    let load = Load::of(&cluster.gateway("shop"), 21, Mix::mixed(), PACE);
    load.approves(20).await?;
    let node = cluster.wait_leader(SOON).await?.node % 3 + 1;
    clock.start(&cluster, node, "+1d").await?;
    cluster.transfer(node).await?;
    let wall = eventually(SOON, "the disagreement waits for an operator", || async {
        let clocks = admin(&cluster, &["clock", "show"]).await?;
        anyhow::ensure!(clocks["disagreement"].is_object(), "{clocks}");
        Ok(clocks["wall_unix_ms"].to_string())
    })
    .await?;
    let reason = "the fleet's clocks were checked against another source";
    admin(&cluster, &["clock", "accept", "--seen", &wall, "--reason", reason, "--yes"]).await?;
    let clocks = admin(&cluster, &["clock", "show"]).await?;
    let accepted = &clocks["accepted"];
    anyhow::ensure!(clocks["disagreement"].is_null() && accepted["reason"] == reason, "{clocks}");
    anyhow::ensure!(accepted["author"].as_str().is_some_and(|author| author.ends_with("/operator/ops")), "{clocks}");
    judge(cluster, load).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_clock_is_a_day_behind_does_not_start_and_disturbs_nobody() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let clock = Clock::right()?;
    let cluster = clock.worn_by(stage::three())?.start().await?;
    let load = Load::of(&cluster.gateway("shop"), 20, Mix::mixed(), PACE);
    load.approves(20).await?;
    let leader = cluster.wait_leader(SOON).await?;
    let node = leader.node % 3 + 1;
    clock.set("-1d")?;
    cluster.restart(node)?;
    // To its clock, its own certificate is not valid yet.
    stage::ends(&cluster, node, stage::CANNOT_START, "is not valid now").await?;
    goes_on(&load, 40).await?;
    assert_eq!(cluster.wait_leader(SOON).await?, leader, "the node unseated the leader");
    clock.start(&cluster, node, RIGHT).await?;
    judge(cluster, load).await
}

/// Runs a command of the operator's program; gives the first thing that it shows.
async fn admin(cluster: &Cluster, line: &[&str]) -> anyhow::Result<Value> {
    let tls = cluster.operator_tls();
    let mut command = tokio::process::Command::new(multicall::program()?);
    command.arg("admin").args(line).args(["-o", "json"]).stdin(Stdio::null());
    for node in cluster.nodes() {
        command.args(["--endpoint", node.operator_address()]);
    }
    command.arg("--certificate").arg(&tls.certificate).arg("--key").arg(&tls.key).arg("--roots").arg(&tls.roots);
    let output = tokio::time::timeout(SOON, command.output()).await.context("it does not end")??;
    let talk = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{line:?} ends {}: {talk}", output.status);
    let document: Value = serde_json::from_slice(&output.stdout)?;
    Ok(document["items"][0].clone())
}

/// Log time moved from `before` by the time since `began` and at most `step`, and not back.
async fn moved(cluster: &Cluster, what: &str, before: i64, began: Instant, step: Duration) -> anyhow::Result<()> {
    let by_ms = log_time_ms(cluster).await? - before;
    let passed = began.elapsed();
    println!("{what}: log time moved by {by_ms} ms in {passed:?}");
    let most_ms = i64::try_from((passed + step + SLACK).as_millis())?;
    let least_ms = i64::try_from(step.as_millis())?;
    assert!((least_ms..=most_ms).contains(&by_ms), "{what}: log time moved by {by_ms} ms in {passed:?}");
    Ok(())
}

/// Log time as the leader has it.
async fn log_time_ms(cluster: &Cluster) -> anyhow::Result<i64> {
    let leader = cluster.wait_leader(SOON).await?.node;
    Ok(stage::status(cluster.node(leader)).await?.log_time_unix_ms)
}

/// How far a leader's wall clock is ahead of log time, by its own metrics.
async fn wall_ahead_s(cluster: &Cluster, node: usize) -> anyhow::Result<i64> {
    let (_, metrics) = cluster.node(node).page("/metrics").await?;
    let line = metrics.lines().find_map(|line| line.strip_prefix("payswitch_log_time_skew_seconds "));
    Ok(line.context("no metric payswitch_log_time_skew_seconds")?.parse::<f64>()? as i64)
}

/// The wall clock of nodes that start from now on. Monotonic clocks stay as they are.
struct Clock {
    library: PathBuf,
    folder: TempDir,
}

impl Clock {
    fn right() -> anyhow::Result<Self> {
        let folders = fs::read_dir("/usr/lib")?.filter_map(|entry| Some(entry.ok()?.path()));
        let mut libraries = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
        let library = libraries.find(|library| library.exists());
        let library = library.context("libfaketime is not there; install it: apt-get install faketime")?;
        let clock = Self { library, folder: TempDir::new()? };
        clock.set(RIGHT)?;
        Ok(clock)
    }

    /// Makes every node read its offset when it starts, and never again.
    fn worn_by(&self, builder: Builder) -> anyhow::Result<Builder> {
        let library = self.library.to_str().context("a path in UTF-8")?;
        let file = self.file().display().to_string();
        Ok(builder
            .environment("LD_PRELOAD", library)
            .environment("FAKETIME_TIMESTAMP_FILE", &file)
            .environment("FAKETIME_CACHE_DURATION", "1000000")
            .environment("FAKETIME_DISABLE_SHM", "1")
            .environment("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .environment("DONT_FAKE_MONOTONIC", "1"))
    }

    /// The offset of nodes that start from now on, in libfaketime's words.
    fn set(&self, offset: &str) -> anyhow::Result<()> {
        Ok(fs::write(self.file(), format!("{offset}\n"))?)
    }

    /// Starts node `number` again with its clock off by `offset`, and waits until the cluster is ready.
    async fn start(&self, cluster: &Cluster, number: usize, offset: &str) -> anyhow::Result<()> {
        self.set(offset)?;
        cluster.restart(number)?;
        cluster.ready().await?;
        self.set(RIGHT)
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("offset")
    }
}

const RIGHT: &str = "+0";
const HOUR: Duration = Duration::from_secs(3600);

/// Between a look at log time and the look at our own clock beside it.
const SLACK: Duration = Duration::from_secs(2);
