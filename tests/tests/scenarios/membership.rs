//! Nodes that come and go: a fourth one, an empty disk, a disk from elsewhere.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context;
use switch_proto::operator::v1 as pb;
use switch_tests::{
    eventually::eventually,
    harness::Cluster,
    load::Pace,
    stage::{self, Load, SOON},
    workload::Mix,
};
use tonic::{Code, Request};

const PACE: Pace = Pace::Open { per_second: 40.0, in_flight_max: 2000 };

#[tokio::test(flavor = "multi_thread")]
async fn a_fourth_node_joins_is_promoted_and_an_old_one_leaves_under_load() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let mut cluster = stage::three().start().await?;
    let load = Load::of(&cluster.gateway("shop"), 7, Mix::mixed(), PACE);
    load.approves(20).await?;
    let fourth = cluster.add_node()?;
    let id = joined(&cluster, fourth).await?;
    let members = members(&cluster).await?;
    assert_eq!(members.iter().filter(|member| member.voter).count(), 3, "a new node does not vote: {members:?}");
    promote(&cluster, id).await?;

    let leader = cluster.wait_leader(SOON).await?.node;
    let leaves = leader % 3 + 1;
    let old = stage::status(cluster.node(leaves)).await?.node_id;
    let begun = Instant::now();
    remove(&cluster, old).await?;
    // It holds from now on what it held when it left.
    cluster.retire(leaves);
    load.flows(begun).await?;
    let ids: Vec<u64> = self::members(&cluster).await?.into_iter().map(|member| member.node_id).collect();
    assert!(ids.len() == 3 && !ids.contains(&old) && ids.contains(&id), "{ids:?}");

    // The new one leads and serves as the others do.
    cluster.transfer(fourth).await?;
    let served = stage::shop_at(&cluster, fourth).authorize(stage::payment("new", CARD, 100)).await?;
    assert_eq!(stage::decision(&served), switch_proto::gateway::v1::Decision::Approved);
    load.flows(Instant::now()).await?;
    let counts = load.end().await?.counts();
    assert_eq!(counts.outcome_unknown, 0, "{counts:?}");
    cluster.judge().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_an_empty_disk_joins_by_snapshot_after_the_log_is_purged() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let small = "[consensus]\nsnapshot_log_bytes = 100000\nkeep_entries = 20\nkeep_bytes = 1000";
    let mut cluster = stage::three().config(small).start().await?;
    let load = Load::of(&cluster.gateway("shop"), 8, Mix::everyday(), PACE);
    eventually(Duration::from_secs(60), "every node has purged its log", || async {
        for node in cluster.nodes() {
            let status = stage::status(node).await?;
            let (first, snapshot) = (status.first_index, status.snapshot_index);
            anyhow::ensure!(snapshot > 0 && first > 50, "node {}: first {first}, snapshot {snapshot}", node.number());
        }
        Ok(())
    })
    .await?;

    let purged = stage::status(cluster.node(1)).await?.first_index;
    let fourth = cluster.add_node()?;
    let id = joined(&cluster, fourth).await?;
    let status = stage::status(cluster.node(fourth)).await?;
    assert!(status.snapshot_index > 0, "it came by log, though entries below {purged} are gone: {status:?}");

    // A replaced disk is another node: the old id never comes back, and the new one is promoted in its place.
    let leader = cluster.wait_leader(SOON).await?.node;
    let replaced = leader % 3 + 1;
    let old = stage::status(cluster.node(replaced)).await?.node_id;
    promote(&cluster, id).await?;
    cluster.wipe(replaced)?;
    cluster.node(replaced).start()?;
    let new = joined(&cluster, replaced).await?;
    assert_ne!(new, old);
    remove(&cluster, old).await?;
    promote(&cluster, new).await?;
    load.flows(Instant::now()).await?;
    load.end().await?;
    let voters: Vec<u64> = members(&cluster).await?.iter().filter(|m| m.voter).map(|m| m.node_id).collect();
    assert!(voters.len() == 4 && voters.contains(&new) && !voters.contains(&old), "{voters:?}");
    cluster.judge().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_not_the_nodes_own_is_refused_with_its_reason_and_harms_nobody() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let mut cluster = stage::three().start().await?;
    let load = Load::of(&cluster.gateway("shop"), 9, Mix::everyday(), PACE);
    load.approves(20).await?;
    let leader = cluster.wait_leader(SOON).await?.node;
    let victim = leader % 3 + 1;
    let aside = cluster.folder().join("aside");
    let own = cluster.node(victim).data_dir().to_owned();
    cluster.kill9(victim);
    copy(&own, &aside)?;

    // Its own log under another store: a disk that was replaced and filled from a backup of the identity's neighbour.
    rewrite_identity(&own, Field::Store, 0x5707_e0f5_0bad_c0de)?;
    refused(&cluster, victim, &["OTHER_STORE"]).await.context("its own log under another store")?;
    cluster.kill9(victim);

    // A cluster that is not this one.
    put(&aside, &own)?;
    rewrite_identity(&own, Field::Cluster, 0x0c1_0577_e70b_adc0)?;
    refused(&cluster, victim, &["OTHER_CLUSTER", "belongs to cluster"]).await.context("the disk of another cluster")?;
    cluster.kill9(victim);

    // Neither took anything: what was put aside is still the node's own.
    put(&aside, &own)?;
    cluster.node(victim).start()?;
    takes_part(&cluster, victim).await?;

    // A copy of its disk, at an address of its own, while it lives.
    let copied = cluster.add_node()?;
    cluster.wipe(copied)?;
    copy(&aside, cluster.node(copied).data_dir())?;
    refused(&cluster, copied, &["OTHER_PROCESS"]).await.context("a copy of a living node's disk")?;
    cluster.retire(copied);
    takes_part(&cluster, victim).await?;

    // An older state of its disk: it lacks what it has acknowledged.
    cluster.kill9(victim);
    put(&aside, &own)?;
    cluster.node(victim).start()?;
    let leader = cluster.wait_leader(SOON).await?.node;
    says(&cluster, leader, 0, &["LOG_REVERTED"]).await.context("an older state of its own disk")?;
    unready(&cluster, victim).await?;

    // It comes back as a new node.
    let old = stage::status(cluster.node(victim)).await?.node_id;
    cluster.wipe(victim)?;
    cluster.node(victim).start()?;
    let new = joined(&cluster, victim).await?;
    remove(&cluster, old).await?;
    promote(&cluster, new).await?;
    takes_part(&cluster, victim).await?;
    load.flows(Instant::now()).await?;
    load.end().await?;
    cluster.judge().await.map(drop)
}

/// A card of everybody's.
/// Of the network whose line no payment of the load cuts.
const CARD: &str = switch_tests::sandbox::cards::APPROVED_MASTERCARD;

/// Starts the node, and waits until it says that it is refused for one of these reasons, and sends calls elsewhere.
async fn refused(cluster: &Cluster, number: usize, reasons: &[&str]) -> anyhow::Result<()> {
    let node = cluster.node(number);
    let before = fs::metadata(node.log()).map_or(0, |known| known.len());
    node.start()?;
    says(cluster, number, usize::try_from(before)?, reasons).await?;
    unready(cluster, number).await
}

/// Waits until what a node logs, from a place on, holds one of these words.
async fn says(cluster: &Cluster, number: usize, from: usize, words: &[&str]) -> anyhow::Result<()> {
    eventually(SOON, "it is said by name", || async {
        let said = fs::read(cluster.node(number).log()).unwrap_or_default();
        let said = String::from_utf8_lossy(&said[from.min(said.len())..]).into_owned();
        let told = said.lines().any(|line| words.iter().any(|word| line.contains(word)));
        anyhow::ensure!(told, "{}", said.lines().last().unwrap_or("it says nothing"));
        Ok(())
    })
    .await
}

/// Waits until a node says that calls should go elsewhere.
async fn unready(cluster: &Cluster, number: usize) -> anyhow::Result<()> {
    eventually(SOON, "calls go elsewhere", || async {
        let (status, words) = cluster.node(number).page("/readyz").await?;
        anyhow::ensure!(status == 503 && !words.contains("committed before the start"), "{status} {words}");
        Ok(())
    })
    .await
}

/// Waits until a node is ready and applies what the leader commits.
async fn takes_part(cluster: &Cluster, number: usize) -> anyhow::Result<()> {
    let begun = stage::status(cluster.node(cluster.wait_leader(SOON).await?.node)).await?.applied_index;
    eventually(Duration::from_secs(30), "it takes part", || async {
        let (status, words) = cluster.node(number).page("/readyz").await?;
        anyhow::ensure!(status == 200, "{status} {words}");
        let applied = stage::status(cluster.node(number)).await?.applied_index;
        anyhow::ensure!(applied > begun, "it has applied {applied}, and {begun} is not enough");
        Ok(())
    })
    .await
}

/// Puts a copy of `from` in the place of what `to` holds.
fn put(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::remove_dir_all(to)?;
    copy(from, to)
}

/// Waits until a node is a member that has nearly everything; gives its id.
async fn joined(cluster: &Cluster, number: usize) -> anyhow::Result<u64> {
    eventually(Duration::from_secs(60), "the node has joined and caught up", || async {
        let own = stage::status(cluster.node(number)).await?;
        let leader = cluster.leader().await.context("nobody leads")?;
        let led = stage::status(cluster.node(leader.node)).await?;
        anyhow::ensure!(led.members.iter().any(|member| member.node_id == own.node_id), "it is no member");
        let behind = led.applied_index.saturating_sub(own.applied_index);
        anyhow::ensure!(behind < 100, "it is {behind} entries behind");
        Ok(own.node_id)
    })
    .await
}

async fn members(cluster: &Cluster) -> anyhow::Result<Vec<pb::Member>> {
    let leader = cluster.wait_leader(SOON).await?;
    Ok(stage::status(cluster.node(leader.node)).await?.members)
}

async fn promote(cluster: &Cluster, node_id: u64) -> anyhow::Result<()> {
    eventually(SOON, "it is promoted", || async {
        let leader = cluster.leader().await.context("nobody leads")?;
        let request = timed(pb::PromoteMemberRequest { node_id });
        cluster.node(leader.node).operator().cluster().promote_member(request).await?;
        let voters = members(cluster).await?;
        anyhow::ensure!(voters.iter().any(|member| member.node_id == node_id && member.voter), "{voters:?}");
        Ok(())
    })
    .await
}

async fn remove(cluster: &Cluster, node_id: u64) -> anyhow::Result<()> {
    eventually(SOON, "it is removed", || async {
        let leader = cluster.leader().await.context("nobody leads")?;
        let request = timed(pb::RemoveMemberRequest { node_id });
        match cluster.node(leader.node).operator().cluster().remove_member(request).await {
            Ok(_) => Ok(()),
            // A repetition after an answer that was lost.
            Err(status) if status.code() == Code::NotFound => Ok(()),
            Err(status) => Err(anyhow::anyhow!("{:?} {}", status.code(), status.message())),
        }
    })
    .await
}

fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(SOON);
    request
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}

/// Which number of a node's identity file: eight bytes each, behind a head and before a CRC-32.
#[derive(Clone, Copy)]
enum Field {
    Cluster = 0,
    Store = 2,
}

fn rewrite_identity(data_dir: &Path, field: Field, number: u64) -> anyhow::Result<()> {
    let path = data_dir.join("identity");
    let bytes = fs::read(&path).with_context(|| format!("{} is not there", path.display()))?;
    let (body, sum) = bytes.split_last_chunk::<4>().context("too short for a sum")?;
    anyhow::ensure!(crc32(body).to_be_bytes() == *sum, "the identity has another form than this test knows");
    let mut body = body.to_vec();
    let at = body.len() - 24 + 8 * field as usize;
    body[at..at + 8].copy_from_slice(&number.to_be_bytes());
    let sum = crc32(&body);
    body.extend_from_slice(&sum.to_be_bytes());
    Ok(fs::write(&path, body)?)
}

/// CRC-32 as of IEEE 802.3.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 })
    })
}
