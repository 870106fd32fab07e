//! A whole cluster in one paused runtime: the same seed gives the same history.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{runtime::RngSeed, task::JoinHandle, time::Instant};

use super::{
    cluster::{Net, THREE, complete, pack, until},
    machines::{Disk, Keeper},
};
use crate::{
    Formation, Group, GroupOptions, Identity, MemberRecord, Parts, ProposeError, form_or_join, log::memory::MemoryLog,
    membership::FormationError, snapshot::SnapshotPolicy,
};

type Simulated = (Group, Disk, JoinHandle<Result<(), FormationError>>);

/// Three nodes that are about to form a cluster.
async fn begin(seed: u64, net: &Net, random: &Arc<Mutex<Random>>, snapshots: SnapshotPolicy) -> Vec<Simulated> {
    let mut nodes = Vec::new();
    for address in THREE {
        let (random, disk) = (random.clone(), Disk::default());
        let identity = Identity::new(|| random.lock()());
        let [boot, elections] = [(); 2].map(|()| random.lock()());
        let options = GroupOptions { apply_inline: true, snapshots, ..GroupOptions::new(identity, boot, elections) };
        let parts = Parts {
            log: Arc::new(MemoryLog::new(Arc::new(move || Duration::from_micros(200 + random.lock()() % 2_000)))),
            machine: Box::new(Keeper(disk.clone())),
            wire: net.wire(address),
            keep_identity: Arc::new(|_| Ok(())),
            exit: Arc::new(|reason| panic!("{reason}")),
        };
        let group = Group::start(options, parts).await.unwrap();
        net.join(address, &group);
        let formation = Formation {
            bootstrap: true,
            peers: THREE.iter().map(|&peer| peer.to_owned()).collect(),
            initial_voters: 3,
            record: MemberRecord { peer_address: address.into(), ..MemberRecord::default() },
            cluster_id: seed,
        };
        let forming = tokio::spawn(form_or_join(group.clone(), formation));
        nodes.push((group, disk, forming));
    }
    until("three voters", || nodes.iter().all(|(group, ..)| complete(group))).await;
    nodes
}

async fn end(nodes: Vec<Simulated>) {
    for (group, _, forming) in nodes {
        forming.abort();
        group.shutdown().await;
    }
}

/// Forms a cluster, cuts off three leaders in turn, and tells what happened when.
async fn history(seed: u64) -> Vec<String> {
    let began = Instant::now();
    let mut history = Vec::new();
    let mut note = |what: String| history.push(format!("{:?} {what}", began.elapsed()));
    let random: Arc<Mutex<Random>> = Arc::new(Mutex::new(Box::new(numbers(seed))));
    let net = Net::default();
    let nodes = begin(seed, &net, &random, SnapshotPolicy::default()).await;
    note("three voters".into());

    let mut terms = BTreeSet::new();
    for round in 0..3 {
        let mut leads = 0;
        until("a new leader", || {
            let found = nodes.iter().position(|(group, ..)| {
                group.holds_lease() && group.status().leader.is_some_and(|leader| !terms.contains(&leader))
            });
            leads = found.unwrap_or_default();
            found.is_some()
        })
        .await;
        let group = &nodes[leads].0;
        let leader = group.status().leader.unwrap();
        terms.insert(leader);
        note(format!("{leader} leads"));
        for number in 0..10 {
            let proposed = group.propose(pack(format!("{round} {number}"))).await.unwrap();
            note(format!("{} is at {}", number, proposed.index));
        }
        net.cut(THREE[leads]);
        until("the lease ends", || !group.holds_lease()).await;
        note("the lease has ended".into());
        let before = net.lost.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(10)).await;
        let lost = net.lost.load(Ordering::Relaxed) - before;
        assert!(lost < 1_000, "{lost} calls in 10 s to peers that are not there");
        let others = nodes.iter().enumerate().filter(|(node, _)| *node != leads);
        let others: Vec<_> = others.map(|(_, (group, ..))| group).collect();
        until("somebody else leads", || others.iter().any(|group| group.status().is_leader)).await;
        let lost = tokio::time::timeout(Duration::from_secs(1), group.propose(pack("lost"))).await;
        assert!(matches!(lost, Err(_) | Ok(Err(ProposeError::NotLeader { .. }))), "{lost:?}");
        net.heal();
        until("it follows", || !group.status().is_leader).await;
        note("it follows".into());
    }
    let packs = |disk: &Disk| disk.lock().packs.clone();
    until("all agree", || nodes.iter().all(|(_, disk, _)| packs(disk) == packs(&nodes[0].1))).await;
    note(format!("{:?}", packs(&nodes[0].1)));
    end(nodes).await;
    history
}

type Random = Box<dyn FnMut() -> u64 + Send>;

fn numbers(mut state: u64) -> impl FnMut() -> u64 + Send {
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 27)
    }
}

fn simulate<T>(seed: u64, run: impl Future<Output = T>) -> T {
    // tokio wakes the receivers of a watch in an order drawn from its own seed.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).rng_seed(RngSeed::from_bytes(&seed.to_be_bytes()));
    runtime.build().unwrap().block_on(run)
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in 1..=5 {
        let once = simulate(seed, history(seed));
        assert_eq!(once, simulate(seed, history(seed)), "seed {seed}");
        assert_ne!(once, simulate(seed + 100, history(seed + 100)));
    }
}

/// Followers fall behind at any moment and get snapshots while packs go on: openraft #2116 would end a node here.
async fn lagging(seed: u64) {
    let random: Arc<Mutex<Random>> = Arc::new(Mutex::new(Box::new(numbers(seed))));
    let draw = |below: u64| random.lock()() % below;
    let net = Net::default();
    let keep = SnapshotPolicy { keep_entries: 1, ..SnapshotPolicy::default() };
    let nodes = begin(seed, &net, &random, keep).await;
    for round in 0..6 {
        let mut leads = 0;
        until("a leader", || {
            let found = nodes.iter().position(|(group, ..)| group.holds_lease());
            leads = found.unwrap_or_default();
            found.is_some()
        })
        .await;
        let group = nodes[leads].0.clone();
        let packs = 20 + draw(20);
        let proposing = tokio::spawn(async move {
            futures::future::join_all((0..packs).map(|number| group.propose(pack(format!("{round} {number}"))))).await
        });
        tokio::time::sleep(Duration::from_micros(draw(4_000))).await;
        net.cut(THREE[(leads + 1 + draw(2) as usize) % 3]);
        let proposed = async {
            for answer in proposing.await.unwrap() {
                answer.unwrap();
            }
            for number in 0..5 {
                nodes[leads].0.propose(pack(format!("{round} more {number}"))).await.unwrap();
            }
        };
        if tokio::time::timeout(Duration::from_secs(20), proposed).await.is_err() {
            let nodes: Vec<_> = nodes.iter().map(|(group, ..)| group.status()).collect();
            panic!("seed {seed}, round {round}: nothing is committed: {nodes:#?}");
        }
        nodes[leads].0.trigger_snapshot().await.unwrap();
        tokio::time::sleep(Duration::from_millis(draw(3_000))).await;
        net.heal();
        tokio::time::sleep(Duration::from_micros(draw(400_000))).await;
    }
    let kept = |disk: &Disk| disk.lock().packs.clone();
    until("all agree", || nodes.iter().all(|(_, disk, _)| kept(disk).len() >= 150 && kept(disk) == kept(&nodes[0].1)))
        .await;
    assert!(nodes.iter().any(|(_, disk, _)| disk.lock().installed > 0), "no snapshot was needed");
    end(nodes).await;
}

#[test]
fn a_snapshot_at_any_moment_ends_no_node() {
    for seed in 1..=SEEDS {
        simulate(seed, lagging(seed));
    }
}

const SEEDS: u64 = 100;
