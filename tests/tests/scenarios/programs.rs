//! The programs that try the switch, as people and scripts start them: what they print and exit with is an interface.

use std::{ffi::OsStr, path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use switch_tests::{multicall, stage};
use tokio::{process::Command, time::timeout};

/// Longest for one run: a start, some seconds of load, every doubt resolved, and the judgement. More than what the programs
/// give these, so that one that is late says itself what it waits for.
const RUN_WITHIN: Duration = Duration::from_secs(300);

/// Where `load` is: cargo builds it for this suite.
const LOAD: &str = env!("CARGO_BIN_EXE_load");

/// Whole numbers that the object at the end of a run always holds.
const COUNTS: [&str; 10] = [
    "p50_us",
    "p99_us",
    "p999_us",
    "approved",
    "declined",
    "timed_out",
    "outcome_unknown",
    "reversals_acknowledged",
    "reversals_open",
    "leader_changes",
];

#[tokio::test(flavor = "multi_thread")]
async fn dev_kills_its_leader_and_tells_every_figure_and_a_valid_verdict() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let folder = tempfile::tempdir()?;
    let data = folder.path().to_str().context("a path that is text")?;
    let program = multicall::program()?;
    let told = run(&program, &["--for", "5s", "--kill-leader-every", "3s", "--json", "--data", data]).await?;
    ensure!(count(&told, "approved")? > 0, "nothing was approved: {told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn load_with_a_cluster_of_its_own_tells_every_figure_and_a_valid_verdict() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let told = run(LOAD.as_ref(), &["--own-cluster", "--conc", "8", "--for", "3s", "--json"]).await?;
    ensure!(count(&told, "approved")? > 0, "nothing was approved: {told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn load_sends_each_payment_of_a_file_once() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("payments.jsonl");
    let lines = [
        r#"{"amount": 1250, "currency": "EUR", "card": "approved_visa"}"#,
        "",
        r#"{"amount": 700, "currency": "EUR", "card": "DECLINED", "source": "chip", "request_id": "second"}"#,
        r#"{"amount": 900, "currency": "EUR", "card": "approved_visa", "capture": true, "category": "5411"}"#,
    ];
    std::fs::write(&file, lines.join("\n"))?;
    let file = file.to_str().context("a path that is text")?;
    let told = run(LOAD.as_ref(), &["--own-cluster", "--conc", "8", "--input", file, "--json"]).await?;
    assert_eq!((count(&told, "approved")?, count(&told, "declined")?), (2, 1), "{told}");
    Ok(())
}

/// Runs a program to its end. Gives the object that it prints, with every promised field and a `valid` verdict.
async fn run(program: &Path, args: &[&str]) -> anyhow::Result<Value> {
    let name = program.file_name().unwrap_or(OsStr::new("program")).display();
    let mut command = Command::new(program);
    // A run that is late is killed, and the parts of its cluster die with it.
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(RUN_WITHIN, command.output()).await.with_context(|| format!("{name} does not end"))??;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name} ended with {}:\n{said}", output.status);
    let told: Value = serde_json::from_slice(&output.stdout).with_context(|| format!("no JSON object:\n{said}"))?;
    ensure!(told["authorizations_per_second"].is_f64(), "authorizations_per_second is no number: {told}");
    for field in COUNTS {
        count(&told, field)?;
    }
    ensure!(told["auditor"] == "valid", "{told}\n{said}");
    Ok(told)
}

fn count(told: &Value, field: &str) -> anyhow::Result<u64> {
    told[field].as_u64().with_context(|| format!("{field} is no whole number: {told}"))
}
