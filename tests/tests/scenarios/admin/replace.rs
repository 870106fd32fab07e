//! A node whose disk is gone, replaced by somebody who knows nothing but what `--help` says.

use anyhow::{Context, ensure};
use switch_tests::{
    load::Pace,
    stage::{self, Load, SOON},
    workload::Mix,
};

use super::operator::Operator;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_disk_is_gone_is_replaced_under_load_as_the_help_says() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    let operator = Operator::of(&cluster).await?;
    let load = Load::of(&cluster.gateway("shop"), 17, Mix::mixed(), PACE);
    load.approves(20).await?;
    let lost = cluster.wait_leader(SOON).await?.node % 3 + 1;
    cluster.wipe(lost)?;
    let begun = std::time::Instant::now();

    // Which one it was, the others know: it is the member at its address.
    let members = operator.document(&["member", "list"]).await?;
    let address = cluster.node(lost).peer_address();
    let old = members["items"].as_array().context("members")?.iter().find(|member| member["peer_address"] == address);
    let old = old.and_then(|member| member["node_id"].as_str()).context("the lost one")?;

    // The help says what comes first, and its sample is the command.
    let help = operator.ends(0, &["member", "replace", "--help"]).await?.out;
    ensure!(help.contains("Start the node with an empty disk first."), "{help}");
    cluster.node(lost).start()?;
    let sample = help.lines().find_map(|line| line.trim().strip_prefix("$ admin-cli ")).context("no sample")?;
    let is_node = |word: &str| word.len() == 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let line: Vec<&str> = sample.split_whitespace().map(|word| if is_node(word) { old } else { word }).collect();
    ensure!(line.contains(&old) && line.contains(&"--yes"), "{line:?}");
    let replaced = operator.item(&line).await?;
    ensure!(replaced["removed"] == old && replaced["promoted"] != old, "{replaced}");

    // Done again, as after it broke off, it is done already.
    let new = replaced["promoted"].as_str().context("the new one")?;
    let again = operator.item(&["member", "replace", old, "--with", new, "--yes"]).await?;
    ensure!(again["promoted"] == new, "{again}");
    operator.refused(4, "NOT_A_MEMBER", &["member", "replace", old, "--yes"]).await?;

    // It votes in the place of the old one, and everybody is well.
    let voters = operator.document(&["member", "list"]).await?;
    let voters = voters["items"].as_array().context("members")?;
    ensure!(voters.len() == 3 && voters.iter().all(|member| member["voter"] == true), "{voters:?}");
    operator.ends(0, &["cluster", "health", "--wait", "--timeout", "60s"]).await?;
    load.flows(begun).await?;
    let counts = load.end().await?.counts();
    ensure!(counts.outcome_unknown == 0, "{counts:?}");
    cluster.judge().await.map(drop)
}

const PACE: Pace = Pace::Open { per_second: 40.0, in_flight_max: 2000 };
