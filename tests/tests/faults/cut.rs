//! Cuts between nodes, whole and one-way. Gateways and networks reach every node all the while: only the quorum keeps a
//! leader that is cut off from paying.

use std::time::{Duration, Instant};

use futures::future::join_all;
use switch_proto::gateway::v1::Decision;
use switch_tests::{
    sandbox::cards,
    stage::{self, Load, SOON},
    workload::Mix,
};

use crate::{
    PACE, goes_on, judge, lasts,
    nft::{Cells, Lost},
};

/// Longer than a few elections.
const A_WHILE: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_cut_off_from_both_followers_tells_and_sends_nothing_and_another_one_leads() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cells = Cells::new()?;
    let cluster = stage::three().start().await?;
    cells.house(&cluster).await?;
    let load = Load::of(&cluster.gateway("shop"), 16, Mix::mixed(), PACE);
    load.approves(20).await?;
    let leader = cluster.wait_leader(SOON).await?.node;
    let cut = cells.cut(cluster.node(leader), Lost::Both)?;
    let cut_off = Instant::now();
    let new = cluster.wait_other_leader(leader, SOON).await?.node;
    let led = cut_off.elapsed();
    println!(
        "node {leader} led and is cut off; node {new} leads after {led:?}, payments flow after {:?}",
        load.flows(cut_off).await?
    );

    let booked = stage::received(&cluster).await?.len();
    assert!(booked > 0, "the networks' books can be read");
    let alone = stage::impatient(&stage::shop_at(&cluster, leader));
    let asked = (0..8).map(|n| {
        let alone = alone.clone();
        async move { alone.authorize(stage::payment(&format!("alone-{n}"), SENT_ALONE, 4321)).await }
    });
    for answer in join_all(asked).await {
        let (code, reason) = stage::refusal(answer);
        println!("the one that is alone answers {code:?} {reason}");
    }
    let sent = stage::received(&cluster).await?.into_iter().filter(|booked| booked.amount == 4321).count();
    assert_eq!(sent, 0, "a leader without a quorum sent a payment");
    goes_on(&load, 40).await?;

    println!("{} packets were dropped", cut.heal()?);
    cluster.ready().await?;
    for n in 0..8 {
        let paid = cluster.gateway("shop").authorize(stage::payment(&format!("alone-{n}"), SENT_ALONE, 4321)).await?;
        assert_eq!(stage::decision(&paid), Decision::Approved);
    }
    judge(cluster, load).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_cut_off_in_either_direction_unseats_nobody_and_catches_up() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cells = Cells::new()?;
    let cluster = stage::three().start().await?;
    cells.house(&cluster).await?;
    let load = Load::of(&cluster.gateway("shop"), 17, Mix::mixed(), PACE);
    load.approves(20).await?;
    for lost in [Lost::Both, Lost::Hearing, Lost::Speech] {
        let leader = cluster.wait_leader(SOON).await?;
        let follower = leader.node % 3 + 1;
        let cut = cells.cut(cluster.node(follower), lost)?;
        lasts(A_WHILE).await?;
        load.flows(Instant::now()).await?;
        let meanwhile = cluster.wait_leader(SOON).await?;
        println!("node {follower} lost {lost:?}, {} packets were dropped", cut.heal()?);
        cluster.ready().await?;
        let afterwards = cluster.wait_leader(SOON).await?;
        assert_eq!((meanwhile, afterwards), (leader, leader), "{lost:?} of one follower unseated the leader");
    }
    judge(cluster, load).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_only_heard_or_only_hears_is_replaced() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cells = Cells::new()?;
    let cluster = stage::three().start().await?;
    cells.house(&cluster).await?;
    let load = Load::of(&cluster.gateway("shop"), 18, Mix::mixed(), PACE);
    load.approves(20).await?;
    for lost in [Lost::Speech, Lost::Hearing] {
        let leader = cluster.wait_leader(SOON).await?.node;
        let cut = cells.cut(cluster.node(leader), lost)?;
        let cut_off = Instant::now();
        let new = cluster.wait_other_leader(leader, SOON).await?.node;
        let led = cut_off.elapsed();
        let gap = load.flows(cut_off).await?;
        goes_on(&load, 20).await?;
        let dropped = cut.heal()?;
        println!(
            "node {leader} led and lost {lost:?} ({dropped} packets): node {new} leads after {led:?}, payments flow after {gap:?}"
        );
        cluster.ready().await?;
    }
    judge(cluster, load).await
}

/// Of the network whose line no payment of the load cuts.
const SENT_ALONE: &str = cards::APPROVED_MASTERCARD;
