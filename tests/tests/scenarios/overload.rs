//! More is asked than there is room for: of one gateway, and of the whole cluster. What is refused has no effect (S16), what can be
//! cancelled is cancelled, and gateways that ask for little notice nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use futures::future::join_all;
use switch_domain::entry::Command;
use switch_node::codec::PackBody;
use switch_proto::{
    gateway::v1::{self as pb, Decision, get_transaction_request::By},
    operator::v1::{self as operator, directory_change::Change},
};
use switch_tests::{
    eventually::eventually,
    gateway_client::{Aim, GatewayClient, NotTold},
    harness::{Cluster, Timing},
    load::Pace,
    sandbox::{cards, proto::Conduct},
    stage::{self, Load, SOON},
    workload::Mix,
};
use tokio::task::{JoinHandle, JoinSet};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::disks;

/// New payments a second that the shop may make.
const RATE: u32 = 40;

/// How long each flood is.
const FLOOD: Duration = Duration::from_secs(5);

/// What the modest gateway pays a second, beside every flood.
const MODEST: Pace = Pace::Open { per_second: 10.0, in_flight_max: 500 };

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_at_ten_times_its_rate_is_held_to_it_and_nobody_else_notices() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().directory(|directory| limit_calls(directory, RATE)).start().await?;
    let before = cluster.leader().await.context("nobody leads")?;
    let market = Load::of(&cluster.gateway("market"), 3, Mix::everyday(), MODEST);
    market.approves(5).await?;

    // At every node: calls that are forwarded count together with the leader's own.
    let shop = stage::impatient(&cluster.gateway("shop")).with_aim(Aim::Everywhere);
    let flood = Flood::of(&shop, 10 * RATE).await;
    println!("the shop: {flood}");
    // Each leader begins with one second's worth (R12 has voids in a bucket of their own).
    let leaders = 1 + cluster.leader().await.context("nobody leads")?.term - before.term;
    let allowed = f64::from(RATE) * (leaders as f64 + flood.lasted.as_secs_f64());
    assert!(flood.approved.len() as f64 <= allowed, "{} of at most {allowed}", flood.approved.len());
    assert!(flood.approved.len() as f64 >= allowed / 5.0, "{} of {allowed}", flood.approved.len());
    assert_eq!(flood.refused.keys().collect::<Vec<_>>(), ["ResourceExhausted GATEWAY_RATE"]);
    flood.left_nothing(&cluster).await?;
    println!("the market: {}", unharmed(market).await?);

    let report = cluster.audit().await?;
    ensure!(report.is_valid(), "{}\nevidence in {}", report.in_words(), cluster.folder().display());
    cluster.kill_all();
    flood.cost_only_what_was_approved(&cluster)?;
    cluster.close().await
}

/// What each node lets through is counted with what the others do, and a refusal says on every way what the limit is and when to
/// come back. Limits hold from the moment in which the directory has them.
#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_across_the_cluster_change_while_it_runs_and_are_told_with_when_to_come_back() -> anyhow::Result<()>
{
    const PER_SECOND: u32 = 10;
    const UNDER_WAY: u32 = 5;
    let _turn = stage::turn().await;
    let timing = Timing { attempt_timeout: Duration::from_secs(10), ..Timing::default() };
    let cluster = stage::three()
        .timing(timing)
        .election_ms(250, 3000, 5000)
        .directory(|directory| limit_calls(directory, PER_SECOND))
        .start()
        .await?;
    let conduct = Conduct { slow_ms: 8_000, ..Conduct::default() };
    cluster.networks().conduct(None, conduct).await?;
    let before = (cluster.leader().await, processes(&cluster));

    let began = Instant::now();
    let paid = burst(&cluster, "rate", cards::APPROVED_VISA).await;
    // One second's worth at the start, and what came in since.
    let most = f64::from(PER_SECOND) * (1.0 + began.elapsed().as_secs_f64());
    let approved = paid.iter().filter(|(_, paid)| paid.is_ok()).count();
    println!("{approved} of at most {most:.1} were let through on three nodes together");
    assert!((PER_SECOND as usize..=most as usize).contains(&approved), "{approved} approved, {most} at most");
    let told = Limit { reason: "GATEWAY_RATE", value: ("calls_per_second_max", PER_SECOND), back_within_ms: 100 };
    let refused = paid.iter().filter_map(|(node, paid)| Some((*node, paid.as_ref().err()?)));
    let nodes = refused.map(|(node, refused)| told.explains(&refused.status).map(|()| node));
    assert_eq!(nodes.collect::<anyhow::Result<BTreeSet<usize>>>()?.len(), 3, "each node refused somebody");
    let shop = stage::impatient(&cluster.gateway("shop")).streaming(1);
    let streamed = join_all((0..2 * PER_SECOND).map(|number| pay(shop.clone(), format!("streamed-{number}")))).await;
    let refused: Vec<_> = streamed.iter().filter_map(|(_, paid)| paid.as_ref().err()).collect();
    ensure!(!refused.is_empty(), "a stream has no limit");
    refused.iter().try_for_each(|refused| told.explains(&refused.status))?;

    // Payments under way instead: what was saved up does not matter, and the count is exact.
    change_limits(&cluster, "under-way", 0, UNDER_WAY).await?;
    let paid = burst(&cluster, "under-way", cards::SLOW).await;
    let approved = paid.iter().filter(|(_, paid)| paid.is_ok()).count();
    assert_eq!(approved, UNDER_WAY as usize, "payments under way on three nodes together");
    let told = Limit { reason: "GATEWAY_CONCURRENCY", value: ("payments_max", UNDER_WAY), back_within_ms: 250 };
    let refused = paid.iter().filter_map(|(_, paid)| paid.as_ref().err());
    refused.clone().try_for_each(|refused| told.explains(&refused.status))?;
    assert_eq!(refused.count(), paid.len() - approved);

    change_limits(&cluster, "no-limit", 0, 0).await?;
    let paid = burst(&cluster, "free", cards::APPROVED_VISA).await;
    assert_eq!(paid.iter().filter(|(_, paid)| paid.is_err()).count(), 0, "no limit is left");
    assert_eq!((cluster.leader().await, processes(&cluster)), before, "one leader, and nobody was started anew");
    cluster.judge().await.map(drop)
}

/// Measured while nothing else is going on, in entries, in bytes and by the hash over all that was applied: on the leader, and on
/// the followers that carried the calls to it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_or_shed_costs_no_journal_a_byte() -> anyhow::Result<()> {
    const MARKETS: usize = 30;
    let _turn = stage::turn().await;
    let timing = Timing { attempt_timeout: Duration::from_secs(30), ..Timing::default() };
    let cluster = stage::three()
        .timing(timing)
        .election_ms(250, 3000, 5000)
        .directory(|directory| {
            directory.gateways[0].concurrent = 1;
            directory.links.iter_mut().for_each(|link| link.in_flight_max = 4);
        })
        .start()
        .await?;
    cluster.networks().conduct(None, Conduct { slow_ms: 28_000, ..Conduct::default() }).await?;
    let before = cluster.leader().await.context("nobody leads")?;

    // The shop has its one payment under way, and is refused more.
    let held = hold(&cluster, "shop", 1);
    under_way(&cluster, &held, 0).await?;
    let journals = at_rest(&cluster).await?;
    let paid = burst(&cluster, "refused", cards::APPROVED_VISA).await;
    all_told(&paid, (Code::ResourceExhausted, "GATEWAY_CONCURRENCY"))?;
    assert_eq!(at_rest(&cluster).await?, journals, "{} refused payments", paid.len());

    // The market has taken every place, and the shop may call again: nobody is let in.
    let places = hold(&cluster, "market", MARKETS);
    under_way(&cluster, &places, 1).await?;
    change_limits(&cluster, "no-limit", 0, 0).await?;
    let journals = at_rest(&cluster).await?;
    let paid = burst(&cluster, "shed", cards::APPROVED_VISA).await;
    all_told(&paid, (Code::Unavailable, "OVERLOADED"))?;
    assert_eq!(at_rest(&cluster).await?, journals, "{} payments that were shed", paid.len());

    // What is let in does cost: the measure measures.
    for call in held.into_iter().chain(places) {
        if let (key, Err(refused)) = call.await? {
            assert_eq!(stage::reason(&refused.status).1, "OVERLOADED", "{key}");
        }
    }
    for (after, before) in at_rest(&cluster).await?.iter().zip(&journals) {
        assert!(after.last_index > before.last_index && after.bytes > before.bytes, "{before:?} {after:?}");
        assert_ne!(after.state_hash, before.state_hash);
    }
    assert_eq!(cluster.leader().await, Some(before), "an election costs entries too");
    cluster.judge().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_at_many_times_its_capacity_sheds_new_payments_of_the_loudest_and_no_reversal() -> anyhow::Result<()>
{
    let _turn = stage::turn().await;
    // Ten payments in flight at a tenth of a second each: a hundred a second.
    let cluster = stage::three()
        .directory(|directory| directory.links.iter_mut().for_each(|link| link.in_flight_max = 5))
        .start()
        .await?;
    let conduct = Conduct { latency_ms: 100, ..Conduct::default() };
    cluster.networks().conduct(None, conduct).await?;
    let market = Load::of(&cluster.gateway("market"), 4, Mix::everyday(), MODEST);
    market.approves(5).await?;

    // In streams: each item is admitted or shed by itself (R19).
    let shop = stage::impatient(&cluster.gateway("shop")).streaming(2);
    let flood = Flood::of(&shop, 500).await;
    println!("the shop: {flood}");
    assert_eq!(flood.refused.keys().collect::<Vec<_>>(), ["Unavailable OVERLOADED"]);
    assert!(flood.approved.len() >= 100, "a fifth of what there is room for");
    flood.left_nothing(&cluster).await?;
    println!("the market: {}", unharmed(market).await?);

    // Nothing of it lasts.
    let shop = stage::impatient(&cluster.gateway("shop"));
    let (key, paid) = pay(shop, "afterwards".to_owned()).await;
    anyhow::ensure!(paid.is_ok(), "{key} is refused after the flood: {paid:?}");
    cluster.judge().await.map(drop)
}

/// Limits the first gateway of the default directory, which is the shop.
fn limit_calls(directory: &mut operator::Directory, requests_per_second: u32) {
    directory.gateways[0].requests_per_second = requests_per_second;
}

/// Gives the shop other limits of calls, 0 for none.
async fn change_limits(
    cluster: &Cluster,
    request_id: &str,
    requests_per_second: u32,
    concurrent: u32,
) -> anyhow::Result<()> {
    let shop = operator::Gateway { requests_per_second, concurrent, ..cluster.directory().gateways[0].clone() };
    let change = operator::DirectoryChange { change: Some(Change::PutGateway(shop)) };
    cluster.change_directory(request_id, vec![change]).await.map(drop)
}

/// Forty payments of the shop at every node, all at once, each called once: the node that was called, and its answer.
async fn burst(cluster: &Cluster, keys: &str, card: &'static str) -> Vec<(usize, Result<String, NotTold>)> {
    let calls = (0..120).map(|number| async move {
        let node = number % cluster.nodes().len() + 1;
        let shop = stage::impatient(&stage::shop_at(cluster, node));
        (node, pay_with(&shop, &format!("{keys}-{number}"), card, "shop").await)
    });
    join_all(calls).await
}

/// Every call was refused, and each for this.
fn all_told(paid: &[(usize, Result<String, NotTold>)], expected: (Code, &str)) -> anyhow::Result<()> {
    for (node, paid) in paid {
        let refused = paid.as_ref().err().with_context(|| format!("node {node} lets a payment through"))?;
        let (code, reason) = stage::reason(&refused.status);
        ensure!((code, reason.as_str()) == expected, "node {node}: {refused}");
    }
    Ok(())
}

/// The processes of the nodes.
fn processes(cluster: &Cluster) -> Vec<Option<u32>> {
    cluster.nodes().iter().map(|node| node.process_id()).collect()
}

/// How a limit is told.
struct Limit {
    reason: &'static str,
    /// The limit, by its name among the values of the reason.
    value: (&'static str, u32),
    back_within_ms: u64,
}

impl Limit {
    /// An error unless the status says who has reached which limit, that nothing was sent, and when to come back.
    fn explains(&self, status: &Status) -> anyhow::Result<()> {
        ensure!(status.code() == Code::ResourceExhausted, "{status:?}");
        let details = status.get_error_details();
        let info = details.error_info().context("no ErrorInfo")?;
        let (name, value) = (self.value.0, self.value.1.to_string());
        ensure!((info.reason.as_str(), info.domain.as_str()) == (self.reason, "payswitch"), "{info:?}");
        for (key, expected) in [(name, value.as_str()), ("gateway_id", "shop"), ("sent", "not_sent")] {
            ensure!(info.metadata.get(key).is_some_and(|said| said == expected), "{key}: {info:?}");
        }
        let quota = details.quota_failure().context("no QuotaFailure")?;
        let subjects: Vec<_> = quota.violations.iter().map(|violation| violation.subject.as_str()).collect();
        ensure!(subjects == ["gateway:shop"], "{quota:?}");
        let back = details.retry_info().and_then(|retry| retry.retry_delay).context("no RetryInfo")?;
        let most = Duration::from_millis(self.back_within_ms);
        ensure!(!back.is_zero() && back <= most, "come back after {back:?}, and not within {most:?}");
        Ok(())
    }
}

/// Payments that begin, and wait for a slow network or are refused.
type Held = Vec<JoinHandle<(String, Result<String, NotTold>)>>;

fn hold(cluster: &Cluster, gateway: &'static str, count: usize) -> Held {
    let client = stage::impatient(&cluster.gateway(gateway));
    let begin = |number: usize| {
        let (client, key) = (client.clone(), format!("held-{gateway}-{number}"));
        tokio::spawn(async move {
            let paid = pay_with(&client, &key, cards::SLOW, gateway).await;
            (key, paid)
        })
    };
    (0..count).map(begin).collect()
}

/// Waits until each of them either was refused or is open in the journal, where `others` were open before.
async fn under_way(cluster: &Cluster, held: &Held, others: u64) -> anyhow::Result<()> {
    let leader = cluster.wait_leader(SOON).await?.node;
    eventually(SOON, "every payment is refused or under way", || async {
        let ended = held.iter().filter(|call| call.is_finished()).count() as u64;
        let open = stage::status(cluster.node(leader)).await?.open_attempts.saturating_sub(others);
        ensure!(open > 0 && ended + open == held.len() as u64, "{ended} have ended, {open} are under way");
        Ok(())
    })
    .await
}

/// What a node's journal holds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct JournalSize {
    last_index: u64,
    applied_index: u64,
    /// Of all its files.
    bytes: u64,
    /// Over everything that was applied.
    state_hash: bytes::Bytes,
}

impl JournalSize {
    async fn of(cluster: &Cluster) -> anyhow::Result<Vec<Self>> {
        let mut sizes = Vec::new();
        for node in cluster.nodes() {
            let status = stage::status(node).await?;
            let (last_index, applied_index, state_hash) = (status.last_index, status.applied_index, status.state_hash);
            let bytes = bytes_below(&node.data_dir().join("log"))?;
            sizes.push(Self { last_index, applied_index, bytes, state_hash });
        }
        let [first, others @ ..] = sizes.as_slice() else { anyhow::bail!("no nodes") };
        let equal = |other: &Self| (other.last_index, other.applied_index) == (first.last_index, first.last_index);
        ensure!(equal(first) && others.iter().all(equal), "not every node has applied everything: {sizes:?}");
        Ok(sizes)
    }
}

/// The journals of all nodes, once nothing has been written to any for some heartbeats: what is committed is noted with them.
async fn at_rest(cluster: &Cluster) -> anyhow::Result<Vec<JournalSize>> {
    const HEARTBEATS: Duration = Duration::from_secs(1);
    let seen = parking_lot::Mutex::new((Vec::new(), Instant::now()));
    eventually(SOON, "the journals are at rest", || async {
        let sizes = JournalSize::of(cluster).await?;
        let mut seen = seen.lock();
        if seen.0 != sizes {
            *seen = (sizes.clone(), Instant::now());
        }
        ensure!(seen.1.elapsed() >= HEARTBEATS, "a moment ago something was written: {sizes:?}");
        Ok(sizes)
    })
    .await
}

/// Bytes of all files in a folder and below.
fn bytes_below(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { bytes_below(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}

/// What came of payments that the shop began at a rate, each called once, each approved one voided at once.
struct Flood {
    lasted: Duration,
    /// Keys with their transactions.
    approved: Vec<(String, String)>,
    /// Keys by code and reason of their refusal.
    refused: BTreeMap<String, Vec<String>>,
}

impl Flood {
    async fn of(shop: &GatewayClient, per_second: u32) -> Self {
        let began = Instant::now();
        let mut calls = JoinSet::new();
        for number in 0..per_second * u32::try_from(FLOOD.as_secs()).expect("a few seconds") {
            tokio::time::sleep_until((began + Duration::from_secs(1) / per_second * number).into()).await;
            let shop = shop.clone();
            calls.spawn(async move {
                let (key, paid) = pay(shop.clone(), format!("flood-{number}")).await;
                if let Ok(transaction_id) = &paid {
                    let void = shop.void(stage::void(&format!("{key}-void"), transaction_id)).await;
                    assert!(void.is_ok(), "a void was not taken at the first call: {void:?}");
                }
                (key, paid)
            });
        }
        let mut flood = Self { lasted: Duration::ZERO, approved: Vec::new(), refused: BTreeMap::new() };
        for (key, paid) in calls.join_all().await {
            match paid {
                Ok(transaction_id) => flood.approved.push((key, transaction_id)),
                Err(error) => {
                    let (code, reason) = stage::reason(&error.status);
                    flood.refused.entry(format!("{code:?} {reason}")).or_default().push(key);
                }
            }
        }
        flood.lasted = began.elapsed();
        flood
    }

    /// S16: the shop has exactly the transactions that it was told of, and no node knows a key that was refused.
    async fn left_nothing(&self, cluster: &Cluster) -> anyhow::Result<()> {
        let shop = cluster.gateway("shop");
        for key in self.refused.values().flat_map(|keys| keys.iter().step_by(50)) {
            let read = shop.read(By::RequestId(key.clone())).await;
            anyhow::ensure!(read.as_ref().is_err_and(|status| status.code() == Code::NotFound), "{key}: {read:?}");
        }
        let mut stored = transactions_of(&shop).await?;
        let mut told: Vec<String> = self.approved.iter().map(|(_, transaction_id)| transaction_id.clone()).collect();
        stored.sort();
        told.sort();
        anyhow::ensure!(stored == told, "{} transactions are stored, {} were told", stored.len(), told.len());
        Ok(())
    }
}

impl Flood {
    /// S16: no node's log, committed or not, opens anything for the shop but what was approved. The nodes have ended.
    fn cost_only_what_was_approved(&self, cluster: &Cluster) -> anyhow::Result<()> {
        let approved: BTreeSet<&str> = self.approved.iter().map(|(key, _)| key.as_str()).collect();
        for node in cluster.nodes() {
            let mut opened = BTreeSet::new();
            for pack in disks::packs(node)? {
                let PackBody::Book(commands) = pack else { continue };
                for command in commands {
                    if let Command::Open(open) = command
                        && open.gateway.as_str() == "shop"
                    {
                        opened.insert(open.request_id.as_str().to_owned());
                    }
                }
            }
            let opened: BTreeSet<&str> = opened.iter().map(String::as_str).collect();
            ensure!(opened == approved, "node {}: {opened:?}, approved were {approved:?}", node.number());
        }
        Ok(())
    }
}

impl std::fmt::Display for Flood {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let refused: Vec<_> = self.refused.iter().map(|(why, keys)| (why, keys.len())).collect();
        write!(f, "{} approved and voided, refused {refused:?}, in {:?}", self.approved.len(), self.lasted)
    }
}

/// Every transaction of a gateway.
async fn transactions_of(gateway: &GatewayClient) -> anyhow::Result<Vec<String>> {
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = pb::ListTransactionsRequest { page_size: 1_000, page_token };
        let page = gateway.raw(1).list_transactions(request).await?.into_inner();
        all.extend(page.transactions.into_iter().map(|transaction| transaction.transaction_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(all);
        }
    }
}

/// One payment, called once; its transaction.
async fn pay(shop: GatewayClient, key: String) -> (String, Result<String, NotTold>) {
    let paid = pay_with(&shop, &key, cards::APPROVED_VISA, "shop").await;
    (key, paid)
}

/// The same with any card, for the first merchant of a gateway.
async fn pay_with(client: &GatewayClient, key: &str, card: &str, gateway: &str) -> Result<String, NotTold> {
    let merchant = Some(stage::merchant(gateway));
    let request = pb::AuthorizeRequest { merchant, ..stage::payment(key, card, 1_000) };
    let result = client.authorize(request).await?;
    assert_eq!(stage::decision(&result), Decision::Approved, "{result:?}");
    Ok(result.transaction_id)
}

/// The modest gateway was told everything, and in time: five times what a payment takes in a crowd.
async fn unharmed(market: Load) -> anyhow::Result<String> {
    let figures = market.end().await?;
    let (counts, latencies) = (figures.counts(), figures.latencies());
    assert_eq!((counts.refused, counts.outcome_unknown, counts.timed_out), (0, 0, 0));
    assert!(latencies.p99_us < 2_500_000, "{latencies:?}");
    Ok(format!("{counts:?}, p50 {} us, p99 {} us", latencies.p50_us, latencies.p99_us))
}
