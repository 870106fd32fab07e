//! Every command does its work on three real nodes, and a command that none of these does fails the test.

use anyhow::{Context, ensure};
use serde_json::Value;
use switch_tests::{
    channel::TlsFiles,
    eventually::eventually,
    harness::Cluster,
    load::Pace,
    pki::Plane,
    sandbox::cards,
    stage::{self, Load, SOON},
    workload::Mix,
};

use super::operator::{Operator, commands, text};

#[tokio::test(flavor = "multi_thread")]
async fn every_command_does_its_work_on_three_real_nodes() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let mut cluster = stage::three().config("bootstrap = false").start_nodes().await?;
    let operator = Operator::of(&cluster).await?;
    contexts_and_the_start(&cluster, &operator).await?;
    plans_change_nothing(&cluster, &operator).await?;
    every_format_of_every_read(&operator).await?;
    records(&operator).await?;
    files(&operator).await?;
    transactions(&cluster, &operator).await?;
    reversals(&cluster, &operator).await?;
    keys(&operator).await?;
    snapshots(&cluster, &operator).await?;
    certificates(&cluster, &operator).await?;
    the_trail(&operator).await?;
    members(&mut cluster, &operator).await?;

    let ran = operator.ran();
    let not_run: Vec<String> = commands().into_iter().filter(|command| !ran.contains(command)).collect();
    ensure!(not_run == [ENDS_ELSEWHERE], "no test runs {not_run:?} to a good end");
    cluster.close().await
}

/// Only a clock that is an hour off can be accepted: the suite `faults` gives a node one, and accepts it.
const ENDS_ELSEWHERE: &str = "clock accept";

/// Makes a change, which must be made under the key that it was given.
async fn changed(operator: &Operator, line: &[&str]) -> anyhow::Result<Value> {
    // Without digits: a row of them could look like a card number.
    let letters = line.join("-").replace(|c: char| !c.is_ascii_alphabetic(), "-");
    let key: String = format!("key-{letters}").chars().take(60).collect();
    let item = operator.item(&[line, &["--request-id", &key]].concat()).await?;
    ensure!(item["request_id"] == key.as_str(), "{line:?} was not made under {key}: {item}");
    Ok(item)
}

async fn contexts_and_the_start(cluster: &Cluster, operator: &Operator) -> anyhow::Result<()> {
    eventually(SOON, "every node answers", || operator.ends(0, &["context", "test", "here"])).await?;
    changed(operator, &["cluster", "bootstrap", "--yes"]).await?;
    cluster.ready().await?;
    cluster.apply_directory().await?;
    cluster.ready().await?;
    operator.ends(0, &["cluster", "health", "--wait", "--timeout", "60s"]).await?;
    operator.ends(0, &["check"]).await?;

    let shown = operator.item(&["context", "show"]).await?;
    ensure!(shown["name"] == "here" && shown["current"] == true, "{shown}");
    operator
        .ends(
            0,
            &[
                "context",
                "set",
                "there",
                "--endpoint",
                "127.0.0.1:1",
                "--certificate",
                "c",
                "--key",
                "k",
                "--roots",
                "r",
            ],
        )
        .await?;
    operator.ends(4, &["context", "use", "nowhere"]).await?;
    let kept = operator.ends(0, &["context", "remove", "there", "--yes", "-o", "name"]).await?;
    ensure!(kept.out == "context/here\n", "{kept:?}");

    operator.ends(0, &["version"]).await?;
    operator.ends(0, &["completion", "zsh"]).await?;
    let pages = operator.item(&["man", "--folder", &text(&operator.folder.join("man"))]).await?;
    ensure!(pages["pages"].as_u64() >= Some(commands().len() as u64), "{pages}");
    Ok(())
}

/// `--dry-run` says what would be done, and nothing is.
async fn plans_change_nothing(cluster: &Cluster, operator: &Operator) -> anyhow::Result<()> {
    let version = |status: Value| status["directory_version"].clone();
    let before = version(operator.item(&["cluster", "status"]).await?);
    let trail = operator.item(&["audit", "list", "--limit", "1"]).await?;
    let node = format!("{:016x}", stage::status(cluster.node(1)).await?.node_id);
    let attempt = "shop:00000000000000000000000001-0-1";
    let file = text(&operator.folder.join("never.snapshot"));
    for line in [
        &["cluster", "bootstrap"][..],
        &["clock", "accept", "--seen", "1", "--reason", "none"],
        &["member", "add", "127.0.0.1:1"],
        &["member", "promote", &node],
        &["member", "remove", &node],
        &["member", "replace", &node],
        &["leader", "transfer"],
        &["node", "drain", &node],
        &["gateway", "set", "shop", "enabled=false"],
        &["gateway", "disable", "shop"],
        &["gateway", "remove", "shop"],
        &["limit", "set", "shop", "EUR", "--per-day", "1"],
        &["reversal", "resend", attempt],
        &["reversal", "resolve", attempt, "--as", "stands", "--evidence", "none"],
        &["reversal", "confirm", attempt, "--proposal", "1.0"],
        &["reversal", "withdraw", attempt, "--proposal", "1.0"],
        &["key", "rotate", "card"],
        &["snapshot", "trigger"],
        &["snapshot", "save", &file],
        &["pki", "init", &file, "--trust-domain", "switch.test", "--cluster", "dev"],
        &["context", "remove", "here"],
    ] {
        let plan = operator.item(&[line, &["--dry-run"]].concat()).await?;
        ensure!(plan["plan"].as_str().is_some_and(|plan| !plan.is_empty()), "{line:?}: {plan}");
    }
    ensure!(version(operator.item(&["cluster", "status"]).await?) == before, "a plan changed the directory");
    ensure!(operator.item(&["audit", "list", "--limit", "1"]).await? == trail, "a plan stands in the trail");
    ensure!(!std::path::Path::new(&file).exists(), "a plan wrote a file");
    Ok(())
}

async fn every_format_of_every_read(operator: &Operator) -> anyhow::Result<()> {
    for line in [
        &["context", "list"][..],
        &["cluster", "status"],
        &["cluster", "health"],
        &["clock", "show"],
        &["member", "list"],
        &["gateway", "list"],
        &["network", "list"],
        &["link", "list"],
        &["route", "list"],
        &["route", "explain", "400000", "--currency", "EUR"],
        &["key", "list"],
        &["key", "publish"],
        &["audit", "list", "--limit", "2"],
    ] {
        for format in ["table", "wide", "json", "yaml", "jsonl", "name"] {
            let out = operator.ends(0, &[line, &["-o", format]].concat()).await?.out;
            let first = out.lines().next().unwrap_or_default();
            let is_so = match format {
                "table" | "wide" => first.len() > 3 && first == first.to_uppercase(),
                "json" => first == "{" && out.contains("\"apiVersion\": \"admin.payswitch.io/v1\""),
                "yaml" => first == "apiVersion: admin.payswitch.io/v1",
                "jsonl" => first.starts_with("{\"apiVersion\":\"admin.payswitch.io/v1\",\"item\":{"),
                _ => first.split_once('/').is_some_and(|(noun, name)| !noun.is_empty() && !name.is_empty()),
            };
            ensure!(is_so, "{line:?} -o {format} shows\n{out}");
        }
    }
    Ok(())
}

/// A record of each kind comes, is switched off and on, and goes.
async fn records(operator: &Operator) -> anyhow::Result<()> {
    let times = ["attempt_timeout_ms=1000", "in_flight_max_ms=1000", "repeat_after_ms=1000", "repeat_budget_ms=60000"];
    let network = [&["enabled=true"][..], &times].concat();
    let link = [
        "network_id=another",
        "address=127.0.0.1:1",
        "server_name=127.0.0.1",
        "enabled=false",
        "in_flight_max=10",
        "institution_id=\"17\"",
    ];
    let route = ["range_low=\"21\"", "range_high=\"21\"", "network_id=another", "enabled=true", "priority=1"];
    let gateway = [
        "enabled=true",
        "principals=[\"spiffe://payswitch.test/gateway/another\"]",
        "requests_per_second=200",
        "require_sealed=true",
    ];
    let kinds: [(&str, &[&str]); 4] =
        [("network", &network), ("link", &link), ("route", &route), ("gateway", &gateway)];
    for (noun, fields) in kinds {
        changed(operator, &[&[noun, "set", "another"][..], fields].concat()).await?;
        changed(operator, &[noun, "disable", "another"]).await?;
        ensure!(operator.item(&[noun, "get", "another"]).await?["enabled"] == false, "{noun}");
        changed(operator, &[noun, "enable", "another"]).await?;
        ensure!(operator.item(&[noun, "get", "another"]).await?["enabled"] == true, "{noun}");
        let listed = operator.ends(0, &[noun, "list", "-o", "name"]).await?.out;
        ensure!(listed.lines().any(|line| line == format!("{noun}/another")), "{listed}");
    }
    let wide = operator.ends(0, &["gateway", "get", "another", "-o", "wide"]).await?.out;
    ensure!(wide.contains("required") && wide.contains("200"), "{wide}");

    changed(operator, &["limit", "set", "another", "EUR", "--per-operation", "500", "--per-day", "9000"]).await?;
    operator.refused(2, "--yes", &["limit", "disable", "another", "EUR"]).await?;
    let amounts = |limit: &Value| {
        (limit["limit"]["per_operation_minor_units"].as_i64(), limit["limit"]["per_day_minor_units"].as_i64())
    };
    ensure!(amounts(&operator.item(&["limit", "get", "another", "EUR"]).await?) == (Some(500), Some(9_000)));
    changed(operator, &["limit", "disable", "another", "EUR", "--yes"]).await?;
    ensure!(amounts(&operator.item(&["limit", "list", "--gateway", "another"]).await?) == (Some(0), Some(0)));
    changed(operator, &["limit", "remove", "another", "EUR", "--yes"]).await?;
    operator.ends(4, &["limit", "get", "another", "EUR"]).await?;

    for (noun, _) in kinds.iter().rev() {
        changed(operator, &[noun, "remove", "another", "--yes"]).await?;
        operator.ends(4, &[noun, "get", "another"]).await?;
    }
    operator.item(&["route", "explain", "400000", "--currency", "EUR"]).await?;
    Ok(())
}

async fn files(operator: &Operator) -> anyhow::Result<()> {
    let file = text(&operator.folder.join("commands.yaml"));
    std::fs::write(&file, "changes: [{ set_retention_days: 500 }]\n")?;
    operator.ends(8, &["diff", "-f", &file]).await?;
    changed(operator, &["apply", "-f", &file]).await?;
    let shop = operator.item(&["gateway", "get", "shop"]).await?;
    std::fs::write(&file, serde_json::json!({ "gateways": [shop] }).to_string())?;
    operator.ends(0, &["diff", "-f", &file]).await?;
    Ok(())
}

async fn transactions(cluster: &Cluster, operator: &Operator) -> anyhow::Result<()> {
    let paid = stage::shop_at(cluster, 1).authorize(stage::payment("order-1", cards::APPROVED_VISA, 1_999)).await?;
    let seen = operator.item(&["transaction", "get", "shop", "--asked-with", "order-1"]).await?;
    ensure!(seen["transaction_id"] == paid.transaction_id.as_str(), "{seen}");
    let listed = operator.ends(0, &["transaction", "list", "shop", "-o", "name"]).await?.out;
    ensure!(listed.contains(&paid.transaction_id), "{listed}");
    let load = Load::of(&cluster.gateway("shop"), 5, Mix::everyday(), PACE);
    let told = operator.ends(0, &["transaction", "tail", "shop", "--count", "3", "-o", "jsonl"]).await?.out;
    ensure!(told.lines().count() == 3, "{told}");
    load.end().await?;
    Ok(())
}

async fn reversals(cluster: &Cluster, anna: &Operator) -> anyhow::Result<()> {
    let bruno = Operator::another(cluster, "bruno").await?;
    let gateway = cluster.gateway("shop");
    let mut attempts = Vec::new();
    for key in ["parked-1", "parked-2"] {
        let paid = gateway.authorize(stage::payment(key, cards::REVERSAL_REFUSED, 1_000)).await?;
        gateway.void(stage::void(&format!("{key}-void"), &paid.transaction_id)).await?;
        attempts.push(paid.transaction_id);
    }
    let parked = eventually(SOON, "both are parked", || async {
        let names = anna.ends(0, &["reversal", "list", "--parked", "-o", "name"]).await?.out;
        let parked: Vec<String> =
            names.lines().filter_map(|line| line.strip_prefix("reversal/")).map(str::to_owned).collect();
        ensure!(attempts.iter().all(|id| parked.iter().any(|attempt| attempt.contains(id))), "{parked:?}");
        Ok::<_, anyhow::Error>(parked)
    })
    .await?;
    let [first, second, ..] = parked.as_slice() else { anyhow::bail!("{parked:?}") };
    changed(anna, &["reversal", "resend", first]).await?;
    // Each of them does each part once: two persons.
    for (attempt, proposes, confirms) in [(second, anna, &bruno), (first, &bruno, anna)] {
        eventually(SOON, "it is parked, or parked again", || async {
            let parked = anna.ends(0, &["reversal", "list", "--parked"]).await?.out;
            ensure!(parked.contains(attempt.as_str()), "{parked}");
            Ok(())
        })
        .await?;
        let line = ["reversal", "resolve", attempt, "--as", "stands", "--evidence", "settlement file"];
        let mistake = changed(proposes, &line).await?["proposal_id"].as_str().context("a proposal")?.to_owned();
        let again = ["--request-id", "another-key"];
        changed(confirms, &["reversal", "withdraw", attempt, "--proposal", &mistake]).await?;
        let right = proposes.item(&[&line[..], &again].concat()).await?;
        let right = right["proposal_id"].as_str().context("a proposal")?;
        changed(confirms, &["reversal", "confirm", attempt, "--proposal", right, "--yes"]).await?;
    }
    ensure!(anna.ends(0, &["reversal", "list", "--parked", "-o", "name"]).await?.out.is_empty(), "all of it is closed");
    Ok(())
}

/// New keys are used, and those before them are still told to gateways for a while.
async fn keys(operator: &Operator) -> anyhow::Result<()> {
    for purpose in ["card", "sealing"] {
        let made = changed(operator, &["key", "rotate", purpose, "--overlap", "1h"]).await?;
        let again = changed(operator, &["key", "rotate", purpose, "--overlap", "1h"]).await?;
        ensure!(made["version"] == again["version"], "one key made two: {made} {again}");
        let known = operator.document(&["key", "list"]).await?;
        let known = known["items"].as_array().context("keys")?;
        let current = known.iter().find(|key| key["purpose"] == purpose && key["current"] == true);
        ensure!(current.is_some_and(|key| key["version"] == made["version"]), "{known:?}");
    }
    let published = operator.document(&["key", "publish"]).await?;
    let published = published["items"].as_array().context("keys")?;
    ensure!(published.len() >= 2 && published[0]["not_after_unix_ms"] == 0, "{published:?}");
    ensure!(published.iter().all(|key| key["public_key"].as_str().is_some_and(|key| key.len() == 64)), "{published:?}");
    Ok(())
}

/// A snapshot is taken under load, checked far from any node, and holds no card number.
async fn snapshots(cluster: &Cluster, operator: &Operator) -> anyhow::Result<()> {
    changed(operator, &["snapshot", "trigger"]).await?;
    let load = Load::of(&cluster.gateway("shop"), 6, Mix::everyday(), PACE);
    load.approves(20).await?;
    for number in 1..=3 {
        let file = operator.folder.join(format!("node-{number}.snapshot"));
        let (path, node) = (text(&file), cluster.node(number));
        let saved = changed(operator, &["snapshot", "save", &path, "--endpoint", node.operator_address()]).await?;
        let status = stage::status(node).await?;
        ensure!(saved["cluster_id"] == format!("{:016x}", status.cluster_id), "{saved}");
        ensure!(saved["node_id"] == format!("{:016x}", status.node_id), "{saved}");
        ensure!(
            saved["applied_index"].as_u64().is_some_and(|index| index > 0 && index <= status.applied_index),
            "{saved}"
        );
        let checksum = saved["checksum"].as_str().context("a checksum")?;
        let verified = operator.item(&["snapshot", "verify", &path, "--checksum", checksum]).await?;
        ensure!(
            verified["state_hash"] == saved["state_hash"]
                && saved["state_hash"].as_str().is_some_and(|hash| hash.len() == 64),
            "{saved}"
        );
        operator.refused(5, "FILE_EXISTS", &["snapshot", "save", &path]).await?;

        let mut bytes = std::fs::read(&file)?;
        let card = cards::APPROVED_VISA.as_bytes();
        ensure!(!bytes.windows(card.len()).any(|window| window == card), "a card number is in {path}");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&file, &bytes)?;
        operator.refused(1, "SNAPSHOT_DAMAGED", &["snapshot", "verify", &path]).await?;
    }
    load.end().await?;
    Ok(())
}

/// What `pki` issues opens the doors of a real node that trusts its roots.
async fn certificates(cluster: &Cluster, operator: &Operator) -> anyhow::Result<()> {
    let pki = operator.folder.join("own-pki");
    let folder = text(&pki);
    let (domain, name) = (cluster.pki().trust_domain(), cluster.pki().cluster());
    operator.ends(0, &["pki", "init", &folder, "--trust-domain", domain, "--cluster", name]).await?;
    operator.ends(5, &["pki", "init", &folder, "--trust-domain", domain, "--cluster", name]).await?;
    let carla = operator.item(&["pki", "issue", "operator", "carla", "--folder", &folder]).await?;
    let path = |field: &str| carla[field].as_str().map(str::to_owned).context("a path");
    let roots = cluster.pki().root(Plane::Operators);
    let both = [std::fs::read(roots)?, std::fs::read(path("roots")?)?].concat();
    let beside = roots.with_extension("both");
    std::fs::write(&beside, both)?;
    std::fs::rename(&beside, roots)?;
    let TlsFiles { roots, .. } = cluster.operator_tls();
    let (certificate, key, roots) = (path("certificate")?, path("key")?, text(roots));
    let line = ["member", "list", "--certificate", &certificate, "--key", &key, "--roots", &roots];
    eventually(SOON, "the nodes trust the new root", || operator.ends(0, &line)).await.map(drop)
}

async fn the_trail(operator: &Operator) -> anyhow::Result<()> {
    let trail = operator.ends(0, &["audit", "export"]).await?;
    for act in ["save_snapshot", "take_snapshot", "rotate_key", "confirm_resolution", "change_directory", "bootstrap"] {
        ensure!(trail.out.contains(act), "{act} is not in the trail:\n{}", trail.out);
    }
    let file = operator.folder.join("commands.jsonl");
    std::fs::write(&file, &trail.out)?;
    let verified = operator.item(&["audit", "verify", &text(&file)]).await?;
    ensure!(trail.talk.contains(verified["last_hash"].as_str().context("a hash")?), "{verified}");
    Ok(())
}

/// A fourth node comes, votes, loses its disk, is replaced, and goes; leadership moves, and a node drains.
async fn members(cluster: &mut Cluster, operator: &Operator) -> anyhow::Result<()> {
    let fourth = cluster.add_node()?;
    let address = cluster.node(fourth).peer_address().to_owned();
    let old = eventually(SOON, "the fourth node is let in", || async {
        let added = operator.item(&["member", "add", &address]).await?;
        Ok::<_, anyhow::Error>(added["node_id"].as_str().context("an id")?.to_owned())
    })
    .await?;
    changed(operator, &["member", "promote", &old, "--wait", "--timeout", "60s"]).await?;
    cluster.wipe(fourth)?;
    cluster.node(fourth).start()?;
    let replaced = changed(operator, &["member", "replace", &old, "--yes", "--timeout", "60s"]).await?;
    let new = replaced["promoted"].as_str().context("the new one")?;
    changed(operator, &["member", "remove", new, "--yes"]).await?;
    cluster.retire(fourth);

    let moved = changed(operator, &["leader", "transfer"]).await?;
    let leader = moved["leader_id"].as_str().context("a leader")?;
    let drained = changed(operator, &["node", "drain", leader, "--timeout", "30s"]).await?;
    ensure!(drained["node_id"] == leader && drained["conversations_left"] == 0, "{drained}");
    operator.ends(10, &["cluster", "health"]).await?;
    Ok(())
}

const PACE: Pace = Pace::Open { per_second: 40.0, in_flight_max: 2000 };
