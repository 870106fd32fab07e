//! What a running cluster shows of itself: every node exactly the metrics of the list, doubt as large, as old and as dear as it
//! is, and nothing of a card.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use ::metrics::Unit;
use anyhow::{Context as _, ensure};
use switch_node::telemetry::{Kind, METRICS};
use switch_proto::{
    gateway::v1::Decision,
    operator::v1::{self as operator, directory_change::Change},
};
use switch_tests::{
    eventually::eventually,
    harness::{NETWORKS, directory::Timing},
    sandbox::{cards, proto::Mode},
    stage::{self, SOON},
};

use super::scrape::Scrape;

#[tokio::test(flavor = "multi_thread")]
async fn every_node_shows_exactly_the_metrics_of_the_list_and_no_card() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    // Long enough to be looked at while it is open.
    let timing = Timing { attempt_timeout: Duration::from_secs(4), ..Timing::default() };
    let cluster = stage::three().timing(timing).start().await?;
    // Each node leads once, is called once, and syncs its table once: what only a leader measures is measured everywhere.
    for node in cluster.nodes() {
        let number = node.number();
        if cluster.wait_leader(SOON).await?.node != number {
            cluster.transfer(number).await?;
        }
        let shop = stage::shop_at(&cluster, number);
        let told = shop.authorize(stage::payment(&format!("paid-{number}"), cards::APPROVED_VISA, 1_000)).await?;
        assert_eq!(stage::decision(&told), Decision::Approved);
        node.operator().cluster().trigger_snapshot(stage::timed(operator::TriggerSnapshotRequest {})).await?;
    }

    // What is sent and not answered, and then the reversal of it that is not acknowledged.
    cluster.networks().mode(Some(NETWORKS[0]), Mode::Silent).await?;
    let gateway = cluster.gateway("shop");
    let request = stage::payment("unanswered", cards::APPROVED_VISA, UNANSWERED);
    let silent = tokio::spawn(async move { gateway.authorize(request).await });
    for kind in ["attempt", "reversal"] {
        for node in cluster.nodes() {
            let of = format!("network=\"{}\",kind=\"{kind}\"", NETWORKS[0]);
            eventually(SOON, &format!("node {} shows the {kind}", node.number()), || async {
                let scrape = Scrape::of(node).await?;
                let items = scrape.value("payswitch_doubt_items", &of)?;
                let money = scrape.value("payswitch_doubt_minor_units", &format!("{of},currency=\"EUR\""))?;
                ensure!((items, money) == (1.0, UNANSWERED as f64), "{items} items, {money} minor units");
                Ok(())
            })
            .await?;
        }
    }
    assert_eq!(stage::decision(&silent.await??), Decision::TimedOut);
    let leader = cluster.wait_leader(SOON).await?.node;
    let reversal = format!("network=\"{}\",kind=\"reversal\"", NETWORKS[0]);
    eventually(SOON, "the reversal ages", || async {
        let age = Scrape::of(cluster.node(leader)).await?.value("payswitch_doubt_age_seconds", &reversal)?;
        ensure!(age >= 1.0, "it is {age} s old");
        Ok(())
    })
    .await?;
    cluster.networks().mode(Some(NETWORKS[0]), Mode::Normal).await?;
    cluster.rest().await?;

    let mut members = BTreeSet::new();
    for node in cluster.nodes() {
        members.insert(stage::status(node).await?.node_id);
    }
    for node in cluster.nodes() {
        let own = stage::status(node).await?.node_id;
        let scrape = eventually(SOON, &format!("node {} shows the list", node.number()), || async {
            let scrape = Scrape::of(node).await?;
            compare(&scrape)?;
            let owed = scrape.value("payswitch_doubt_items", &reversal)?;
            ensure!(owed == 0.0, "{owed} reversals are shown, and nothing is owed any more");
            anyhow::Ok(scrape)
        })
        .await?;
        for plane in ["gateway", "peer", "operator", "link"] {
            for file in ["certificate", "roots"] {
                let of = format!("plane=\"{plane}\",file=\"{file}\"");
                let left = scrape.value("payswitch_certificate_expires_seconds", &of)?;
                assert!((A_DAY..400.0 * A_DAY).contains(&left), "{plane} {file}: {left} s");
            }
        }
        // It led once: each of the others answered it, and it does not call itself.
        let trip = |member: u64, kind: &str| {
            let of = format!("member=\"{member:016x}\",kind=\"{kind}\"");
            scrape.value("payswitch_raft_peer_round_trip_seconds_count", &of)
        };
        for member in members.iter().copied().filter(|member| *member != own) {
            for kind in ["heartbeat", "entries"] {
                let answers = trip(member, kind)?;
                assert!(answers > 0.0, "node {}: no {kind} to {member:016x} was answered", node.number());
            }
        }
        assert!(trip(own, "heartbeat").is_err());
        for card in cards::ALL {
            assert!(!scrape.text.contains(card.number), "{}", card.name);
            assert!(!scrape.text.contains(&card.number[6..]), "the end of {}", card.name);
        }
    }
    cluster.judge().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_moves_is_counted_where_it_leaves_and_where_it_arrives() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let mut cluster = stage::three().config("[consensus]\nkeep_entries = 1").start().await?;
    let shop = cluster.gateway("shop");
    for number in 0..10 {
        shop.authorize(stage::payment(&format!("paid-{number}"), cards::APPROVED_VISA, 1_000)).await?;
    }
    for node in cluster.nodes() {
        node.operator().cluster().trigger_snapshot(stage::timed(operator::TriggerSnapshotRequest {})).await?;
    }
    // The entries that it would begin with are gone: it needs the whole state.
    let fourth = cluster.add_node()?;
    let moved = |scrape: &Scrape, direction: &str| -> anyhow::Result<[f64; 3]> {
        let of = format!("direction=\"{direction}\"");
        Ok([
            scrape.value("payswitch_snapshot_transfers_total", &format!("{of},result=\"installed\""))?,
            scrape.value("payswitch_snapshot_transfer_seconds_count", &of)?,
            scrape.value("payswitch_snapshot_transfer_bytes_total", &of)?,
        ])
    };
    let received = eventually(Duration::from_secs(60), "the new node has the state", || async {
        let [installed, timed, bytes] = moved(&Scrape::of(cluster.node(fourth)).await?, "received")?;
        ensure!((installed, timed) == (1.0, 1.0), "{installed} are installed, {timed} timed");
        Ok(bytes)
    })
    .await?;
    assert!(received > 1_000.0, "{received} bytes");
    eventually(SOON, "its sender has counted it", || async {
        let mut sent = 0.0;
        for node in cluster.nodes().iter().filter(|node| node.number() != fourth) {
            let [installed, timed, bytes] = moved(&Scrape::of(node).await?, "sent")?;
            ensure!(installed == timed, "{installed} are sent, {timed} timed");
            sent += if installed > 0.0 { bytes } else { 0.0 };
        }
        ensure!(sent >= received, "{sent} bytes are sent, {received} have arrived");
        Ok(())
    })
    .await?;
    cluster.judge().await.map(drop)
}

/// It was a fault for as long as the process lived.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_switched_off_or_removed_is_not_waited_for() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    let link = cluster.directory().links.first().cloned().context("a link")?;
    let of = format!("link=\"{}\"", link.link_id);
    let shown = async |what: &str, expected: [f64; 2]| {
        for node in cluster.nodes() {
            eventually(SOON, &format!("node {} shows a link that is {what}", node.number()), || async {
                let scrape = Scrape::of(node).await?;
                let in_service = scrape.value("payswitch_link_in_service", &of)?;
                let wanted = scrape.value("payswitch_link_wanted", &of)?;
                ensure!([in_service, wanted] == expected, "in service {in_service}, wanted {wanted}");
                Ok(())
            })
            .await?;
        }
        anyhow::Ok(())
    };
    let change = async |key: &str, change: Change| {
        cluster.change_directory(key, vec![operator::DirectoryChange { change: Some(change) }]).await
    };
    shown("in use", [1.0, 1.0]).await?;
    change("off", Change::PutLink(operator::Link { enabled: false, ..link.clone() })).await?;
    shown("switched off", [0.0, 0.0]).await?;
    for node in cluster.nodes() {
        let status = stage::status(node).await?;
        let off: Vec<_> = status.links.iter().filter(|shown| shown.disabled).map(|shown| &shown.link_id).collect();
        assert_eq!(off, [&link.link_id], "node {}", node.number());
    }
    change("on", Change::PutLink(link.clone())).await?;
    shown("switched on again", [1.0, 1.0]).await?;
    change("removed", Change::RemoveLink(link.link_id.clone())).await?;
    shown("removed", [0.0, 0.0]).await?;
    cluster.close().await
}

#[test]
fn every_name_says_its_kind_and_its_unit() {
    for metric in METRICS {
        let name = metric.name;
        assert!(name.starts_with("payswitch_") && !metric.meaning.is_empty(), "{name}");
        assert!(name.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase()), "{name}");
        let (bare, is_total) = name.strip_suffix("_total").map_or((name, false), |bare| (bare, true));
        assert_eq!(is_total, metric.kind == Kind::Counter, "{name} is a {:?}", metric.kind);
        assert_eq!(bare.ends_with("_seconds"), metric.unit == Unit::Seconds, "{name} in {:?}", metric.unit);
        assert_eq!(bare.ends_with("_bytes"), metric.unit == Unit::Bytes, "{name} in {:?}", metric.unit);
    }
}

/// Minor units that nothing else in this scenario is about.
const UNANSWERED: i64 = 7_319;
/// Seconds.
const A_DAY: f64 = 86_400.0;

/// An error unless this is the list: no metric more, none less, each of its kind and with its meaning.
fn compare(scrape: &Scrape) -> anyhow::Result<()> {
    let listed = METRICS.iter().map(|metric| {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        (metric.name.to_owned(), (kind.to_owned(), metric.meaning.to_owned()))
    });
    let listed: BTreeMap<_, _> = listed.collect();
    ensure!(listed.len() == METRICS.len(), "a name stands in the list twice");
    let missing: Vec<_> = listed.keys().filter(|name| !scrape.metrics.contains_key(*name)).collect();
    let unlisted: Vec<_> = scrape.metrics.keys().filter(|name| !listed.contains_key(*name)).collect();
    ensure!(missing.is_empty() && unlisted.is_empty(), "missing {missing:?}, not in the list {unlisted:?}");
    for (name, said) in &scrape.metrics {
        ensure!(listed[name] == *said, "{name} is {said:?} instead of {:?}", listed[name]);
    }
    // A sample without a kind would belong to no metric of the page.
    for line in scrape.text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        let of = ["", "_bucket", "_sum", "_count"].iter().filter_map(|end| name.strip_suffix(end));
        ensure!(of.into_iter().any(|name| listed.contains_key(name)), "{line} belongs to nothing");
    }
    Ok(())
}
