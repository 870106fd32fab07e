//! Disks that fail, crawl and fill up: a node that cannot keep what it promises ends itself, and the others go on.

use std::{fs, io::Write as _, time::Instant};

use switch_proto::gateway::v1::Decision;
use switch_tests::{
    sandbox::cards,
    stage::{self, Load, SOON},
    workload::Mix,
};
use tonic::Code;

use crate::{PACE, goes_on, judge, mount::Disk, set_option, strace::Tampered};

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_disk_fails_to_sync_ends_itself_and_the_others_go_on() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    let load = Load::of(&cluster.gateway("shop"), 11, Mix::mixed(), PACE);
    load.approves(20).await?;
    let leader = cluster.wait_leader(SOON).await?.node;
    let failing = Tampered::sync(&cluster, leader, "error=EIO").await?;
    stage::ends(&cluster, leader, stage::CANNOT_GO_ON, "Input/output error").await?;
    let ended = Instant::now();
    assert!(failing.end()? > 0, "no sync failed");
    println!("node {leader} led and ended; payments flow again after {:?}", load.flows(ended).await?);
    goes_on(&load, 40).await?;
    // Only the calls failed: what they should have synced is still in the kernel's memory, so nothing is missing.
    cluster.restart(leader)?;
    cluster.ready().await?;
    goes_on(&load, 20).await?;
    judge(cluster, load).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_takes_a_fifth_of_a_second_to_sync_stops_no_payments() -> anyhow::Result<()> {
    const SLOW: &str = "delay_enter=200000";
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    let load = Load::of(&cluster.gateway("shop"), 12, Mix::mixed(), PACE);
    load.approves(20).await?;
    let leader = cluster.wait_leader(SOON).await?.node;
    for (who, slow) in [("a follower", leader % 3 + 1), ("the leader", leader)] {
        let crawling = Tampered::sync(&cluster, slow, SLOW).await?;
        load.figures.recent();
        load.flows(Instant::now()).await?;
        goes_on(&load, 100).await?;
        let (seen, rate) = load.figures.recent();
        let syncs = crawling.end()?;
        assert!(syncs > 0, "no sync was slow");
        let leads = cluster.wait_leader(SOON).await?.node;
        println!(
            "{who} (node {slow}) synced slowly {syncs} times: {rate:.0} answers/s, p50 {} us, p99 {} us; node {leads} leads then",
            seen.p50_us, seen.p99_us
        );
        cluster.ready().await?;
    }
    judge(cluster, load).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_whose_disk_is_full_ends_itself_and_comes_back_when_there_is_room() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let disk = Disk::small(384 << 20)?;
    let cluster = stage::three().start().await?;
    let full = cluster.wait_leader(SOON).await?.node % 3 + 1;
    disk.house(&cluster, full)?;
    // The whole disk is smaller than the usual reserve; should this node come to lead, it is to serve.
    set_option(&cluster, full, "disk_reserve_bytes = 0")?;
    cluster.restart(full)?;
    cluster.ready().await?;
    let load = Load::of(&cluster.gateway("shop"), 13, Mix::mixed(), PACE);
    load.approves(20).await?;

    let ballast = disk.root().join("ballast");
    let mut file = fs::File::create(&ballast)?;
    while file.write_all(&[0; 4096]).is_ok() {}
    stage::ends(&cluster, full, stage::CANNOT_GO_ON, "No space left on device").await?;
    load.flows(Instant::now()).await?;
    goes_on(&load, 40).await?;

    fs::remove_file(&ballast)?;
    drop(file);
    cluster.restart(full)?;
    cluster.ready().await?;
    goes_on(&load, 20).await?;
    judge(cluster, load).await
}

#[tokio::test(flavor = "multi_thread")]
async fn r23_a_leader_below_its_disk_reserve_opens_no_payment_and_still_captures_and_voids() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    let shop = cluster.gateway("shop");
    let held = shop.authorize(stage::payment("held", UNCUT, 1000)).await?.transaction_id;
    let unwanted = shop.authorize(stage::payment("unwanted", UNCUT, 2000)).await?.transaction_id;
    let low = cluster.wait_leader(SOON).await?.node % 3 + 1;
    set_option(&cluster, low, "disk_reserve_bytes = 1_000_000_000_000_000")?;
    cluster.restart(low)?;
    cluster.ready().await?;
    let load = Load::of(&shop, 14, Mix::mixed(), PACE);
    load.approves(20).await?;

    cluster.transfer(low).await?;
    for node in 1..=3 {
        let once = stage::impatient(&stage::shop_at(&cluster, node));
        let refused = once.authorize(stage::payment("refused", UNCUT, 3000)).await;
        assert_eq!(stage::refusal(refused), (Code::Unavailable, "DISK_RESERVE".to_owned()), "asked at node {node}");
    }
    let here = stage::impatient(&stage::shop_at(&cluster, low));
    let captured = here.capture(stage::capture("capture", &held, 1000, true)).await?;
    assert_eq!(stage::decision(&captured), Decision::Approved);
    let voided = here.void(stage::void("void", &unwanted)).await?;
    assert_eq!(stage::decision(&voided), Decision::Approved);

    let moved = Instant::now();
    cluster.transfer(low % 3 + 1).await?;
    println!("payments flow {:?} after another node leads", load.flows(moved).await?);
    let paid = shop.authorize(stage::payment("refused", UNCUT, 3000)).await?;
    assert_eq!(stage::decision(&paid), Decision::Approved, "the key that was refused is free");
    judge(cluster, load).await
}

/// Of the network whose line no payment of the load cuts.
const UNCUT: &str = cards::APPROVED_MASTERCARD;
