//! The operator's command line against three real nodes, and by itself: every command, and every way to end.

mod alone;
mod commands;
mod operator;
mod replace;

use std::{collections::BTreeSet, process::Stdio};

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use switch_proto::gateway::v1::ReversalState;
use switch_tests::{
    eventually::eventually,
    sandbox::cards,
    stage::{self, SOON},
};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use operator::{Operator, text};

#[tokio::test(flavor = "multi_thread")]
async fn the_directory_is_read_changed_compared_and_every_change_is_in_the_trail() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    let operator = Operator::of(&cluster).await?;

    for line in [
        &["context", "list"][..],
        &["cluster", "status", "--watch", "100ms", "--rounds", "2"],
        &["member", "list", "-o", "wide"],
        &["clock", "show"],
        &["gateway", "list"],
        &["network", "list", "-o", "jsonl"],
        &["link", "list", "-o", "name"],
        &["route", "list", "-o", "yaml"],
        &["limit", "list"],
        &["reversal", "list"],
        &["version"],
        &["man"],
        &["completion", "bash"],
    ] {
        ensure!(!operator.ends(0, line).await?.out.is_empty(), "{line:?} shows nothing");
    }
    for (noun, kind) in [("gateway", "gateways"), ("network", "networks"), ("link", "links"), ("route", "routes")] {
        let names = operator.ends(0, &[noun, "list", "-o", "name"]).await?.out;
        let name = names.lines().next().with_context(|| format!("no {kind}"))?;
        let id = name.split_once('/').context("a name")?.1;
        operator.item(&[noun, "get", id]).await?;
        let plan = operator.item(&[noun, "disable", id, "--dry-run"]).await?;
        ensure!(plan["plan"].is_string(), "{plan}");
    }

    // One key, one change, one record.
    let line = ["gateway", "set", "shop", "enabled=false", "--request-id", "change-17"];
    let first = operator.item(&line).await?;
    ensure!(first["request_id"] == "change-17", "{first}");
    ensure!(operator.item(&["gateway", "get", "shop"]).await?["enabled"] == false);
    operator.item(&["gateway", "enable", "shop"]).await?;
    operator.item(&["limit", "set", "shop", "EUR", "--per-day", "100000000"]).await?;
    ensure!(operator.item(&["limit", "get", "shop", "EUR"]).await?["limit"]["per_day_minor_units"] == 100_000_000);
    operator.item(&["limit", "remove", "shop", "EUR", "--yes"]).await?;

    // A file that says what is, then one that says something else.
    let file = operator.folder.join("directory.yaml");
    let shop = operator.item(&["gateway", "get", "shop"]).await?;
    std::fs::write(&file, serde_json::json!({ "gateways": [shop.clone()] }).to_string())?;
    operator.ends(0, &["diff", "-f", &text(&file)]).await?;
    let mut closed = shop;
    closed["enabled"] = false.into();
    std::fs::write(&file, serde_json::json!({ "gateways": [closed] }).to_string())?;
    let differs = operator.ends(8, &["diff", "-f", &text(&file)]).await?;
    ensure!(differs.out.contains("enabled"), "{differs:?}");
    operator.item(&["apply", "-f", &text(&file)]).await?;
    operator.ends(0, &["diff", "-f", &text(&file)]).await?;
    operator.item(&["gateway", "enable", "shop"]).await?;

    // Each route in its turn: the first that takes the payment is the one that is not passed over.
    let explained = operator
        .ends(0, &["route", "explain", "400000", "--currency", "EUR", "--amount", "100", "-o", "jsonl"])
        .await?
        .out;
    let steps: Vec<Value> = explained.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let answers: Vec<_> = steps.iter().map(|step| (&step["item"]["route_id"], &step["item"]["passed_over"])).collect();
    ensure!(answers.iter().any(|(_, passed_over)| *passed_over == ""), "{answers:?}");
    ensure!(answers.contains(&(&"cards-4-dollar".into(), &"CURRENCY".into())), "{answers:?}");

    // A payment is seen without its card.
    let paid = stage::shop_at(&cluster, 1).authorize(stage::payment("order-1", cards::APPROVED_VISA, 1_999)).await?;
    let seen = operator.item(&["transaction", "get", "shop", "--asked-with", "order-1"]).await?;
    ensure!(seen["transaction_id"] == paid.transaction_id.as_str() && seen["held_minor_units"] == 1_999, "{seen}");
    operator.item(&["transaction", "get", "shop", &paid.transaction_id]).await?;
    let listed = operator.ends(0, &["transaction", "list", "shop", "--since", "1h", "-o", "name"]).await?.out;
    ensure!(listed.contains(&paid.transaction_id), "{listed}");

    // The trail holds it all, in an order that cannot be changed unnoticed.
    let export = operator.ends(0, &["audit", "export"]).await?;
    ensure!(export.out.contains("change-17") && !export.out.contains(cards::APPROVED_VISA));
    let trail = operator.folder.join("trail.jsonl");
    std::fs::write(&trail, &export.out)?;
    let verified = operator.item(&["audit", "verify", &text(&trail)]).await?;
    ensure!(export.talk.contains(verified["last_hash"].as_str().context("a hash")?), "{export:?}");
    ensure!(operator.ends(0, &["audit", "list", "--limit", "3", "-o", "jsonl"]).await?.out.lines().count() == 3);
    std::fs::write(&trail, export.out.replacen("change-17", "change-18", 1))?;
    let broken = operator.ends(1, &["audit", "verify", &text(&trail)]).await?;
    ensure!(broken.talk.contains("CHAIN_BROKEN"), "{broken:?}");

    operator.ends(0, &["context", "remove", "here", "--yes"]).await?;
    cluster.judge().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn members_come_and_go_leadership_moves_and_a_lost_disk_is_replaced() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let mut cluster = stage::three().start().await?;
    let operator = Operator::of(&cluster).await?;
    operator.ends(0, &["cluster", "health", "--wait", "--timeout", "60s"]).await?;
    operator.ends(0, &["check"]).await?;

    let leader = cluster.wait_leader(SOON).await?.node;
    let next = stage::status(cluster.node(leader % 3 + 1)).await?.node_id;
    let moved = operator.item(&["leader", "transfer", "--to", &format!("{next:016x}")]).await?;
    ensure!(moved["leader_id"] == format!("{next:016x}"), "{moved}");
    operator.item(&["snapshot", "trigger"]).await?;

    // A fourth node comes, votes and goes again.
    let fourth = cluster.add_node()?;
    let address = cluster.node(fourth).peer_address().to_owned();
    let id = eventually(SOON, "the fourth node is let in", || async {
        let added = operator.item(&["member", "add", &address]).await?;
        Ok::<_, anyhow::Error>(added["node_id"].as_str().context("an id")?.to_owned())
    })
    .await?;
    operator.item(&["member", "promote", &id, "--wait", "--timeout", "60s"]).await?;
    operator.item(&["member", "remove", &id, "--yes"]).await?;
    cluster.kill9(fourth);

    // A disk is lost; the node comes back as another one.
    let lost = cluster.wait_leader(SOON).await?.node % 3 + 1;
    let old = format!("{:016x}", stage::status(cluster.node(lost)).await?.node_id);
    cluster.wipe(lost)?;
    cluster.node(lost).start()?;
    let replaced = operator.item(&["member", "replace", &old, "--yes", "--timeout", "90s"]).await?;
    ensure!(replaced["removed"] == old.as_str() && replaced["promoted"] != old.as_str(), "{replaced}");

    // A node drains, leads no more, and takes part again once it is started anew.
    let leaves = cluster.wait_leader(SOON).await?.node;
    let id = format!("{:016x}", stage::status(cluster.node(leaves)).await?.node_id);
    let drained = operator.item(&["node", "drain", &id, "--timeout", "30s"]).await?;
    ensure!(drained["node_id"] == id.as_str(), "{drained}");
    ensure!(cluster.wait_leader(SOON).await?.node != leaves, "a drained node leads");
    operator.ends(10, &["cluster", "health"]).await?;
    operator.ends(1, &["check", "--format", "prometheus"]).await?;
    cluster.restart(leaves)?;
    cluster.ready().await?;

    let trail = operator.ends(0, &["audit", "list", "--limit", "100", "-o", "jsonl"]).await?.out;
    for act in ["transfer_leader", "take_snapshot", "add_member", "promote_member", "remove_member", "drain_node"] {
        ensure!(trail.contains(act), "{act} is not in the trail:\n{trail}");
    }
    cluster.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn r25_two_operators_close_what_is_parked_and_either_may_withdraw_a_proposal() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    let (anna, bruno) = (Operator::of(&cluster).await?, Operator::another(&cluster, "bruno").await?);
    let gateway = cluster.gateway("shop");
    let paid = gateway.authorize(stage::payment("reversal", cards::REVERSAL_REFUSED, 1_000)).await?;
    gateway.void(stage::void("reversal-1", &paid.transaction_id)).await?;
    let attempt = eventually(SOON, "it is parked", || async {
        let parked = anna.item(&["reversal", "list", "--parked"]).await?;
        Ok::<_, anyhow::Error>(parked["attempt_id"].as_str().context("nothing is parked")?.to_owned())
    })
    .await?;
    let propose = ["reversal", "resolve", &attempt, "--evidence", "settlement file, line 17", "--as"];
    anna.item(&["reversal", "resend", &attempt]).await?;

    // A plan proposes nothing; nobody can confirm what is not there.
    let plan = anna.item(&[&propose[..], &["stands", "--dry-run"]].concat()).await?;
    ensure!(plan["plan"].is_string(), "{plan}");
    bruno.refused(5, "NOT_PROPOSED", &["reversal", "confirm", &attempt, "--proposal", "1.0", "--yes"]).await?;

    // One alone closes nothing, and what was a mistake is taken back.
    let wrong = proposed(&anna.item(&[&propose[..], &["reversed"]].concat()).await?)?;
    let listed = &anna.item(&["reversal", "list"]).await?["proposed"];
    ensure!(listed["proposal_id"] == wrong.as_str() && listed["resolution"] == "reversed", "{listed}");
    ensure!(listed["evidence"] == "settlement file, line 17", "{listed}");
    let confirm = ["reversal", "confirm", &attempt, "--yes", "--proposal"];
    anna.refused(5, "SAME_PERSON", &[&confirm[..], &[wrong.as_str()]].concat()).await?;
    bruno.refused(2, "--yes", &["reversal", "confirm", &attempt, "--proposal", &wrong]).await?;
    bruno.item(&["reversal", "withdraw", &attempt, "--proposal", &wrong]).await?;
    bruno.refused(5, "NOT_PROPOSED", &[&confirm[..], &[wrong.as_str()]].concat()).await?;

    // The second person's word corrects the ledger, and what was told stays told.
    let right = proposed(&anna.item(&[&propose[..], &["stands"]].concat()).await?)?;
    bruno.item(&[&confirm[..], &[right.as_str()]].concat()).await?;
    ensure!(anna.ends(0, &["reversal", "list", "-o", "name"]).await?.out.is_empty(), "nothing is owed any more");
    let seen = stage::read(&gateway, &paid.transaction_id).await?;
    ensure!(stage::reversals(&seen) == [ReversalState::Resolved], "{seen:?}");

    let trail = anna.ends(0, &["audit", "list", "--limit", "100", "-o", "jsonl"]).await?.out;
    for word in ["propose_resolution", "withdraw_resolution", "confirm_resolution", "operator/ops", "operator/bruno"] {
        ensure!(trail.contains(word), "{word} is not in the trail:\n{trail}");
    }
    cluster.close().await
}

/// The id of a proposal that was just made.
fn proposed(made: &Value) -> anyhow::Result<String> {
    Ok(made["proposal_id"].as_str().with_context(|| format!("no proposal in {made}"))?.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_end_has_its_code() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    let operator = Operator::of(&cluster).await?;

    operator.ends(0, &["version"]).await?;
    operator.ends(2, &["cluster", "destroy"]).await?;
    operator.ends(0, &["cluster", "health", "--wait", "--timeout", "60s"]).await?;
    operator.ends(0, &["check"]).await?;
    operator.ends(3, &["cluster", "status", "--endpoint", "127.0.0.1:1"]).await?;
    operator.ends(4, &["gateway", "get", "nowhere"]).await?;
    operator.ends(4, &["reversal", "resend", "shop:00000000000000000000000001-0-1"]).await?;
    operator.ends(5, &["cluster", "bootstrap", "--yes"]).await?;
    // Clocks that agree are no operator's affair, and a clock that nobody has seen is not accepted (R8).
    let wall = operator.item(&["clock", "show"]).await?["wall_unix_ms"].to_string();
    let accept = |seen| ["clock", "accept", "--seen", seen, "--reason", "restarted", "--yes"];
    operator.refused(5, "CLOCKS_AGREE", &accept(&wall)).await?;
    operator.refused(2, "seen_wall_unix_ms", &accept("1")).await?;
    let file = operator.folder.join("stale.yaml");
    std::fs::write(&file, "expected_version: 99999\nchanges: [{ remove_route: none }]\n")?;
    operator.ends(5, &["apply", "-f", &text(&file), "--yes"]).await?;

    // Without a terminal nobody can type a name, and nothing is taken away.
    let node = format!("{:016x}", stage::status(cluster.node(1)).await?.node_id);
    for line in [
        &["apply", "-f", &text(&file)][..],
        &["gateway", "remove", "shop"],
        &["member", "remove", &node],
        &["member", "replace", &node],
    ] {
        operator.refused(2, "NOT_CONFIRMED", line).await?;
    }
    operator.item(&["gateway", "get", "shop"]).await?;
    ensure!(operator.document(&["member", "list"]).await?["items"].as_array().is_some_and(|all| all.len() == 3));

    // What was exported and is not what it was.
    let trail = operator.folder.join("trail.jsonl");
    std::fs::write(&trail, "{}\n")?;
    operator.refused(1, "CHAIN_BROKEN", &["audit", "verify", &text(&trail)]).await?;
    std::fs::write(&file, "gateways: [{ gateway_id: shop, enabled: false }]\n")?;
    operator.ends(8, &["diff", "-f", &text(&file)]).await?;

    // A gateway's certificate opens a gateway's door, and there no operator's command.
    let door = cluster.node(1).gateway_address();
    let shop = cluster.gateway_tls("shop").context("the shop")?;
    let (certificate, key, roots) = (text(&shop.certificate), text(&shop.key), text(&shop.roots));
    let files = ["--certificate", &certificate, "--key", &key, "--roots", &roots];
    operator.refused(6, "METHOD_NOT_ALLOWED", &[&["member", "list", "--endpoint", door][..], &files].concat()).await?;

    // What programs read is a document too where it fails.
    let failed = operator.ends(4, &["gateway", "get", "nowhere", "-o", "json"]).await?;
    let document: Value = serde_json::from_str(&failed.talk)?;
    ensure!(document["error"]["reason"] == "RECORD_NOT_FOUND" && failed.out.is_empty(), "{failed:?}");

    // The next node is asked where one is away, and that is said.
    let leader = cluster.wait_leader(SOON).await?.node;
    let away = cluster.node(leader % 3 + 1).operator_address().to_owned();
    cluster.kill9(leader % 3 + 1);
    let there = cluster.node(leader).operator_address();
    let asked = operator.ends(0, &["gateway", "list", "--endpoint", &format!("{away},{there}")]).await?;
    ensure!(asked.talk.contains(&away), "{asked:?}");
    let endpoints = format!("{away},{there}");
    let quiet = operator.ends(0, &["gateway", "list", "--endpoint", &endpoints, "--quiet"]).await?;
    ensure!(quiet.talk.is_empty() && quiet.out == asked.out, "{quiet:?}");
    let wordy = operator.ends(0, &["gateway", "list", "--endpoint", &endpoints, "--verbose"]).await?;
    ensure!(wordy.talk.contains(&format!("{there} answered in ")) && wordy.out == asked.out, "{wordy:?}");
    let unwell = operator.ends(10, &["cluster", "health"]).await?;
    ensure!(unwell.out.contains("away"), "{unwell:?}");
    operator.refused(7, "NOT_IN_TIME", &["cluster", "health", "--wait", "--timeout", "2s"]).await?;

    // Somebody has seen enough.
    let mut watching = operator.command(&["cluster", "status", "--watch", "1s"]).stdout(Stdio::piped()).spawn()?;
    let out = watching.stdout.take().context("it has an output")?;
    let line = tokio::time::timeout(SOON, BufReader::new(out).lines().next_line()).await??;
    ensure!(line.is_some(), "it shows something first");
    let id = watching.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)).context("it runs")?;
    kill_process(id, Signal::INT)?;
    let ended = tokio::time::timeout(SOON, watching.wait()).await??;
    ensure!(ended.code() == Some(130), "{ended}");
    operator.note(130, &[]);

    // A monitor's codes: one node is away, then nobody leads, then nobody is there.
    let warning = operator.ends(1, &["check"]).await?;
    ensure!(warning.out.starts_with("PAYSWITCH WARNING - 2 of 3 nodes, "), "{warning:?}");
    cluster.kill9(leader);
    let critical = eventually(SOON, "nobody leads", || operator.ends(2, &["check"])).await?;
    ensure!(critical.out.starts_with("PAYSWITCH CRITICAL - 1 of 3 nodes, nobody leads"), "{critical:?}");
    let gauges = operator.ends(2, &["check", "--format", "prometheus"]).await?.out;
    ensure!(
        gauges.contains("\npayswitch_check_level 2\n") && gauges.contains("\npayswitch_check_has_leader 0\n"),
        "{gauges}"
    );
    cluster.kill_all();
    let unknown = operator.ends(3, &["check"]).await?;
    ensure!(unknown.out.starts_with("PAYSWITCH UNKNOWN - 0 of 3 nodes, nobody leads"), "{unknown:?}");

    // `--help` lists every code, and each of them was met.
    let help = operator.ends(0, &["--help"]).await?.out;
    let listed = help.lines().skip_while(|line| *line != "Exit codes:").skip(1);
    let listed: BTreeSet<i32> = listed.map_while(|line| line.split_whitespace().next()?.parse().ok()).collect();
    ensure!(listed.len() > 5 && listed == operator.exits(), "listed are {listed:?}, met {:?}", operator.exits());
    cluster.close().await
}
