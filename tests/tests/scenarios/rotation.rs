//! Data keys are replaced while payments come, and whoever dies in the middle: everything that was sealed opens afterwards, and
//! over all disks no pair of key and nonce has two ciphertexts.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use bytes::Bytes;
use switch_domain::{
    card::Sealed,
    entry::{Command, Subject},
    id::{GatewayId, TransactionId},
    keyring::{DataKey, KeyPurpose, Keyring, KeyringCommand},
    table::{Key, Row},
};
use switch_node::{
    codec::PackBody,
    security::{
        data_keys::DataKeys,
        keys::{FileKeys, Purpose, generate_version},
        vault::Vault,
    },
};
use switch_proto::{
    gateway::v1::Decision,
    operator::v1::{self as operator, save_snapshot_response::Part},
};
use switch_tests::{
    eventually::eventually,
    harness::{Cluster, Node},
    load::Pace,
    sandbox::cards,
    stage::{self, Load, SOON},
    workload::Mix,
};
use tokio::sync::watch;
use tonic::Code;

use super::{disks, scrape::Scrape};

/// Between two rotations.
const EVERY: Duration = Duration::from_secs(2);

/// Seconds that keys are rotated for; the whole check of the project sets 60.
const ROTATION: &str = "PAYSWITCH_ROTATION_S";

const PACE: Pace = Pace::Open { per_second: 40.0, in_flight_max: 2000 };

#[tokio::test(flavor = "multi_thread")]
async fn keys_rotated_under_load_with_a_kill_in_the_middle_open_everything_and_repeat_no_nonce() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let in_all = Duration::from_secs(std::env::var(ROTATION).ok().and_then(|text| text.parse().ok()).unwrap_or(10));
    let cluster = stage::three().start().await?;
    let gateway = cluster.gateway("shop");
    // Captured under the first key, refunded under the last one.
    let first = gateway.authorize(stage::sale("first", cards::APPROVED_VISA, 1_000)).await?;
    assert_eq!(stage::decision(&first), Decision::Approved);
    let load = Load::of(&gateway.sealing(2).await?, 8, Mix::mixed(), PACE);
    load.approves(20).await?;

    let begun = Instant::now();
    let mut versions = BTreeSet::new();
    let mut tick = tokio::time::interval(EVERY);
    let mut killed = None;
    while begun.elapsed() < in_all {
        tick.tick().await;
        for purpose in [operator::KeyPurpose::Card, operator::KeyPurpose::Sealing] {
            let version = rotate(&cluster, &format!("rotate-{}-{purpose:?}", versions.len()), purpose).await?;
            if purpose == operator::KeyPurpose::Card {
                assert!(versions.insert(version), "version {version} came twice");
            }
        }
        if killed.is_none() && begun.elapsed() > in_all / 2 {
            let leader = cluster.wait_leader(SOON).await?;
            // The next rotation meets an election.
            cluster.kill9(leader.node);
            killed = Some(leader.node);
        }
    }
    let killed = killed.context("nobody was killed")?;
    cluster.restart(killed)?;
    cluster.ready().await?;
    load.flows(Instant::now()).await?;
    let counts = load.end().await?.counts();
    assert!(counts.approved > 100, "the load was none: {counts:?}");
    let back = gateway.refund(stage::refund("first-back", &first.transaction_id, 1_000)).await?;
    assert_eq!(stage::decision(&back), Decision::Approved, "what the first key sealed is refunded under the last");
    let report = cluster.audit().await?;
    anyhow::ensure!(report.is_valid(), "{}\nevidence in {}", report.in_words(), cluster.folder().display());

    let mut snapshots = Vec::new();
    for node in cluster.nodes() {
        snapshots.push(saved(node).await?);
    }
    cluster.kill_all();
    let mut found = Found::default();
    for (node, frames) in cluster.nodes().iter().zip(&snapshots) {
        let keys = cluster.folder().join("keys");
        found.add_table(&keys, &disks::table(node)?).with_context(|| format!("table of node {}", node.number()))?;
        found.add_table(&keys, &disks::snapshot(frames)?).with_context(|| format!("snapshot of {}", node.number()))?;
        found.add_log(&keys, node).with_context(|| format!("log of node {}", node.number()))?;
    }
    println!("{} rotations, {found:?}", versions.len());
    assert!(found.keys.len() >= versions.len(), "payments were sealed under {:?} of {versions:?}", found.keys);
    // In a table, in its snapshot and in a log, on each of three disks, and of each purpose as many.
    assert!(
        found.wrapped >= 2 * 3 * 3 * versions.len() && found.sealed > 3 * 3 * 100,
        "too little was found: {found:?}"
    );
    cluster.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn r7_a_node_with_another_wrapping_key_does_not_start_and_says_why() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    let gateway = cluster.gateway("shop");
    let told = gateway.authorize(stage::payment("before", cards::APPROVED_VISA, 1_000)).await?;
    assert_eq!(stage::decision(&told), Decision::Approved);
    let (node, file) = (cluster.node(3), cluster.folder().join("keys/wrapping-1.key"));
    let has_the_keys = || async {
        let has = node.operator().keys().list_keys(operator::ListKeysRequest {}).await;
        has.is_ok_and(|list| list.into_inner().keys.len() >= 2)
    };
    eventually(SOON, "the keys are on node 3", has_the_keys).await?;

    cluster.kill9(3);
    let right = std::fs::read(&file)?;
    std::fs::write(&file, other_digits(&right))?;
    node.start()?;
    eventually(SOON, "node 3 has ended", || async { !node.runs() }).await?;
    let said = std::fs::read_to_string(node.log())?;
    assert!(said.contains("a data key of this cluster does not open"), "{said}");

    std::fs::write(&file, right)?;
    cluster.restart(3)?;
    cluster.ready().await?;
    cluster.transfer(3).await?;
    let told = gateway.authorize(stage::payment("after", cards::APPROVED_VISA, 1_000)).await?;
    assert_eq!(stage::decision(&told), Decision::Approved);
    cluster.judge().await.map(drop)
}

/// What is wrapped under a key that a voter lacks would not open there, and that voter could not lead.
#[tokio::test(flavor = "multi_thread")]
async fn r7_a_wrapping_key_is_used_once_every_voter_has_it() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    // Nodes read their keys when they start: the file is there for all, and only the one that starts again has it.
    generate_version(&cluster.folder().join("keys"), Purpose::Wrapping, 2)?;
    let leads = cluster.wait_leader(SOON).await?.node;
    let [has, lacks] = [leads % 3 + 1, (leads + 1) % 3 + 1];
    cluster.restart(has)?;
    cluster.ready().await?;
    cluster.transfer(has).await?;

    let rotate = operator::RotateKeyRequest {
        request_id: "rotate-to-2".to_owned(),
        purpose: operator::KeyPurpose::Card.into(),
        wrapping_version: 2,
        overlap_s: 0,
    };
    let mut keys = cluster.node(has).operator().keys();
    for behind in [leads, lacks] {
        let refused = keys.rotate_key(rotate.clone()).await.expect_err("a voter lacks it");
        assert_eq!(stage::reason(&refused), (Code::FailedPrecondition, "WRAPPING_KEY_MISSING".to_owned()));
        assert!(refused.message().contains("does not have wrapping-2"), "{}", refused.message());
        cluster.restart(behind)?;
        cluster.ready().await?;
    }

    // A file of the right name with another key in it is not it.
    let file = cluster.folder().join("keys/wrapping-2.key");
    let right = std::fs::read(&file)?;
    std::fs::write(&file, other_digits(&right))?;
    cluster.restart(lacks)?;
    cluster.ready().await?;
    let refused = keys.rotate_key(rotate.clone()).await.expect_err("a voter has another");
    assert_eq!(stage::reason(&refused), (Code::FailedPrecondition, "WRAPPING_KEY_MISSING".to_owned()));
    let odd = cluster.node(lacks).operator().status().await?.node_id;
    let named = format!("node {odd:016x} has wrapping-2:");
    assert!(refused.message().contains(&named), "{}", refused.message());
    std::fs::write(&file, right)?;
    cluster.restart(lacks)?;
    cluster.ready().await?;

    assert_eq!(keys.rotate_key(rotate.clone()).await?.into_inner().version, 2);
    cluster.kill9(lacks);
    assert_eq!(keys.rotate_key(rotate).await?.into_inner().version, 2, "the same call asks nobody again");
    cluster.restart(lacks)?;
    cluster.ready().await?;
    cluster.transfer(lacks).await?;
    let told = cluster.gateway("shop").authorize(stage::payment("after", cards::APPROVED_VISA, 1_000)).await?;
    assert_eq!(stage::decision(&told), Decision::Approved);
    cluster.judge().await.map(drop)
}

/// A voter that has the wrapping key when it is asked for, and another one under its name when the data key comes.
#[tokio::test(flavor = "multi_thread")]
async fn r7_a_node_on_which_a_data_key_does_not_open_is_not_ready_and_gives_leadership_away() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    // Nobody stands for election while one node stands still and another is away.
    let cluster = stage::three().election_ms(250, 6000, 9000).start().await?;
    let [good, other, odd] = [1, 2, 3];
    let file = cluster.folder().join("keys/wrapping-2.key");
    generate_version(&cluster.folder().join("keys"), Purpose::Wrapping, 2)?;
    let right = std::fs::read(&file)?;
    for node in cluster.nodes() {
        cluster.restart(node.number())?;
        cluster.ready().await?;
    }
    if cluster.wait_leader(SOON).await?.node != good {
        cluster.transfer(good).await?;
    }
    let rotate = operator::RotateKeyRequest {
        request_id: "rotate-to-2".to_owned(),
        purpose: operator::KeyPurpose::Card.into(),
        wrapping_version: 2,
        overlap_s: 0,
    };
    let said = probes(cluster.node(odd)).await?;
    cluster.stop(other)?;
    let mut keys = cluster.node(good).operator().keys();
    let rotating = tokio::spawn(async move { keys.rotate_key(rotate).await });
    // Before the other one has answered too, nothing is made.
    eventually(SOON, "node 3 says what it has", || async {
        let now = probes(cluster.node(odd)).await?;
        anyhow::ensure!(now > said, "it said so {now} times");
        Ok(())
    })
    .await?;
    cluster.kill9(odd);
    cluster.cont(other)?;
    assert_eq!(rotating.await??.into_inner().version, 2);

    std::fs::write(&file, other_digits(&right))?;
    cluster.restart(odd)?;
    let says_why = || async {
        let page = cluster.node(odd).page("/readyz").await;
        page.is_ok_and(|(status, words)| {
            status == 503 && words.contains("a data key of the cluster does not open here")
        })
    };
    eventually(SOON, "node 3 is not ready and says why", says_why).await?;

    let to = cluster.node(odd).operator().status().await?.node_id;
    assert_eq!(cluster.node(good).operator().transfer(to).await?, to);
    cluster.wait_other_leader(odd, SOON).await?;
    let told = cluster.gateway("shop").authorize(stage::payment("meanwhile", cards::APPROVED_VISA, 1_000)).await?;
    assert_eq!(stage::decision(&told), Decision::Approved);

    std::fs::write(&file, right)?;
    cluster.restart(odd)?;
    let is_ready = || async { cluster.node(odd).page("/readyz").await.is_ok_and(|(status, _)| status == 200) };
    eventually(SOON, "node 3 is ready", is_ready).await?;
    cluster.judge().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn r7_a_learner_with_another_wrapping_key_does_not_become_a_voter() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let mut cluster = stage::three().start().await?;
    let file = cluster.folder().join("keys/wrapping-1.key");
    let right = std::fs::read(&file)?;
    std::fs::write(&file, other_digits(&right))?;
    let fourth = cluster.add_node()?;
    let (cluster, node) = (&cluster, cluster.node(fourth));
    let promote = || async {
        let node_id = node.operator().status().await?.node_id;
        let leader = cluster.leader().await.context("nobody leads")?;
        let request = stage::timed(operator::PromoteMemberRequest { node_id });
        anyhow::Ok(cluster.node(leader.node).operator().cluster().promote_member(request).await)
    };
    eventually(SOON, "it is refused for its key", || async {
        let refused = promote().await?.expect_err("it has another key");
        let (reason, words) = (stage::reason(&refused), refused.message());
        anyhow::ensure!(reason == (Code::FailedPrecondition, "WRAPPING_KEY_MISSING".to_owned()), "{reason:?} {words}");
        let named = format!("node {:016x} has wrapping-1:", node.operator().status().await?.node_id);
        anyhow::ensure!(words.contains(&named), "{words}");
        Ok(())
    })
    .await?;

    cluster.kill9(fourth);
    std::fs::write(&file, right)?;
    cluster.restart(fourth)?;
    eventually(SOON, "it becomes a voter", || async { anyhow::Ok(promote().await??) }).await?;
    cluster.ready().await
}

/// The first data keys are wrapped before there is a voter to ask.
#[tokio::test(flavor = "multi_thread")]
async fn r7_no_cluster_begins_while_its_nodes_have_different_wrapping_keys() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().config("bootstrap = false").start_nodes().await?;
    let [first, others @ ..] = [1, 2, 3];
    for node in cluster.nodes() {
        eventually(SOON, "every node has read its keys", || node.operator().status()).await?;
    }
    generate_version(&cluster.folder().join("keys"), Purpose::Wrapping, 2)?;
    cluster.restart(first)?;
    let bootstrap = || async {
        let mut operator = cluster.node(first).operator().cluster();
        operator.bootstrap(stage::timed(operator::BootstrapRequest {})).await.map(drop)
    };
    eventually(SOON, "a cluster of unequal nodes is refused", || async {
        let said = bootstrap().await.expect_err("two nodes lack a key");
        let refused = stage::reason(&said) == (Code::FailedPrecondition, "WRAPPING_KEY_MISSING".to_owned());
        let names = others.iter().any(|other| said.message().contains(cluster.node(*other).peer_address()));
        if refused && names { Ok(()) } else { Err(said) }
    })
    .await?;

    // As many, and under one name not the same.
    let file = cluster.folder().join("keys/wrapping-2.key");
    let right = std::fs::read(&file)?;
    std::fs::write(&file, other_digits(&right))?;
    for other in others {
        cluster.restart(other)?;
    }
    eventually(SOON, "a cluster of nodes with different keys under one name is refused", || async {
        let said = bootstrap().await.expect_err("two nodes have another key");
        let refused = stage::reason(&said) == (Code::FailedPrecondition, "WRAPPING_KEY_MISSING".to_owned());
        if refused && said.message().matches("wrapping-2:").count() == 2 { Ok(()) } else { Err(said) }
    })
    .await?;

    std::fs::write(&file, right)?;
    for other in others {
        cluster.restart(other)?;
    }
    eventually(SOON, "a cluster of equal nodes begins", bootstrap).await?;
    cluster.ready().await?;
    cluster.apply_directory().await?;
    cluster.ready().await?;
    let told = cluster.gateway("shop").authorize(stage::payment("first", cards::APPROVED_VISA, 1_000)).await?;
    assert_eq!(stage::decision(&told), Decision::Approved);
    let listed = cluster.node(first).operator().keys().list_keys(operator::ListKeysRequest {}).await?.into_inner();
    assert!(listed.keys.len() == 2 && listed.keys.iter().all(|key| key.wrapping_version == 2), "{listed:?}");
    cluster.judge().await.map(drop)
}

/// A key file with another key in it.
fn other_digits(file: &[u8]) -> Vec<u8> {
    let other = |digit: &u8| match digit {
        b'\n' => b'\n',
        b'0' => b'1',
        _ => b'0',
    };
    file.iter().map(other).collect()
}

/// How often a node has said to another one who it is and what it has.
async fn probes(node: &Node) -> anyhow::Result<f64> {
    let scrape = Scrape::of(node).await?;
    let calls = scrape.series("payswitch_rpc_requests_total")?.into_iter();
    Ok(calls.filter(|(labels, _)| labels.contains("RaftService/Probe\"")).map(|(_, count)| count).sum())
}

/// Makes a new key at whoever leads.
async fn rotate(cluster: &Cluster, request_id: &str, purpose: operator::KeyPurpose) -> anyhow::Result<u32> {
    eventually(SOON, "a key is rotated", || async {
        let mut said = "no node runs".to_owned();
        for node in cluster.nodes().iter().filter(|node| node.runs()) {
            match node.operator().rotate_key(request_id, purpose).await {
                Ok(version) => return Ok(version),
                Err(status) => said = format!("node {}: {:?} {}", node.number(), status.code(), status.message()),
            }
        }
        Err(said)
    })
    .await
}

/// The state of a node as an operator saves it, in frames.
async fn saved(node: &Node) -> anyhow::Result<Vec<Bytes>> {
    let mut cluster = node.operator().cluster();
    let mut parts = cluster.save_snapshot(stage::timed(operator::SaveSnapshotRequest {})).await?.into_inner();
    let (mut frames, mut ended) = (Vec::new(), false);
    while let Some(part) = parts.message().await? {
        match part.part.context("an empty part")? {
            Part::Head(_) => {}
            Part::Frame(frame) => frames.push(frame),
            Part::End(end) => ended = end.frames == frames.len() as u64,
        }
    }
    anyhow::ensure!(ended, "the snapshot of node {} breaks off", node.number());
    Ok(frames)
}

/// What encrypts: the data keys of cards, and the wrapping keys that encrypt data keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Under {
    Card(u32),
    Wrapping(u32),
}

/// What the disks of a cluster hold.
#[derive(Default)]
struct Found {
    sealed: usize,
    wrapped: usize,
    /// Versions of the card keys that cards are sealed under.
    keys: BTreeSet<u32>,
    /// The one ciphertext of each pair of key and nonce.
    ciphertexts: HashMap<(Under, Vec<u8>), Vec<u8>>,
}

impl Found {
    /// Every sealed card and every wrapped key of a table, each of which must open with the keyring beside it.
    fn add_table(&mut self, keys: &Path, rows: &BTreeMap<Key, Row>) -> anyhow::Result<()> {
        let keyring = keyring(rows)?;
        let data_keys = data_keys(keys, keyring)?;
        data_keys.open_all().context("a data key does not open")?;
        keyring.keys.values().try_for_each(|key| self.add_wrapped(key))?;
        let vault = Vault::new(data_keys);
        for (key, row) in rows {
            if let (Key::Transaction(gateway, id), Row::Transaction(transaction)) = (key, row)
                && let Some(sealed) = &transaction.card.sealed
            {
                self.add_sealed(&vault, sealed, gateway, *id)?;
            }
        }
        Ok(())
    }

    /// The same of a log, committed or not, with the keyring of the table of the same disk.
    fn add_log(&mut self, keys: &Path, node: &Node) -> anyhow::Result<()> {
        let vault = Vault::new(data_keys(keys, keyring(&disks::table(node)?)?)?);
        for pack in disks::packs(node)? {
            let commands = match pack {
                PackBody::Book(commands) => commands,
                PackBody::Keyring(command) => {
                    if let KeyringCommand::Add(add) = *command {
                        self.add_wrapped(&add.key)?;
                    }
                    continue;
                }
                PackBody::Directory(_) => continue,
            };
            for command in commands {
                if let Command::Open(open) = command
                    && let Subject::New(new) = open.subject
                    && let Some(sealed) = &new.card.sealed
                {
                    self.add_sealed(&vault, sealed, &open.gateway, new.id)?;
                }
            }
        }
        Ok(())
    }

    fn add_sealed(
        &mut self,
        vault: &Vault,
        sealed: &Sealed,
        gateway: &GatewayId,
        id: TransactionId,
    ) -> anyhow::Result<()> {
        self.add_ciphertext(Under::Card(sealed.key_version), &sealed.bytes).with_context(|| id.to_string())?;
        vault.unseal(sealed, gateway, id).map(drop).with_context(|| format!("{id} does not open"))?;
        self.sealed += 1;
        self.keys.insert(sealed.key_version);
        Ok(())
    }

    fn add_wrapped(&mut self, key: &DataKey) -> anyhow::Result<()> {
        let added = self.add_ciphertext(Under::Wrapping(key.wrapping_version), &key.wrapped.0);
        added.with_context(|| format!("{} key {}", key.purpose, key.version))?;
        self.wrapped += 1;
        Ok(())
    }

    fn add_ciphertext(&mut self, under: Under, bytes: &[u8]) -> anyhow::Result<()> {
        let (nonce, ciphertext) = bytes.split_at_checked(NONCE_LEN).context("shorter than a nonce")?;
        let known = self.ciphertexts.entry((under, nonce.to_vec())).or_insert_with(|| ciphertext.to_vec());
        anyhow::ensure!(known == ciphertext, "its nonce has another ciphertext under {under:?}");
        Ok(())
    }
}

impl std::fmt::Debug for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { sealed, wrapped, keys, ciphertexts } = self;
        let (keys, ciphertexts) = (keys.len(), ciphertexts.len());
        write!(
            f,
            "{sealed} sealed cards under {keys} keys and {wrapped} wrapped keys, {ciphertexts} ciphertexts in all"
        )
    }
}

fn keyring(rows: &BTreeMap<Key, Row>) -> anyhow::Result<&Keyring> {
    let Some(Row::Keyring(keyring)) = rows.get(&Key::Keyring) else { anyhow::bail!("a disk without a keyring") };
    anyhow::ensure!(keyring.current(KeyPurpose::Card).is_some(), "a keyring without a card key");
    Ok(keyring)
}

fn data_keys(keys: &Path, keyring: &Keyring) -> anyhow::Result<Arc<DataKeys>> {
    let (_, keyring) = watch::channel(Arc::new(keyring.clone()));
    Ok(Arc::new(DataKeys::new(Arc::new(FileKeys::open(keys)?), keyring)))
}

/// Bytes of the nonce that stands before each ciphertext (AES-256-GCM).
const NONCE_LEN: usize = 12;

#[test]
fn one_nonce_with_two_ciphertexts_under_one_key_is_found() {
    let with = |nonce: u8, text: u8| [vec![nonce; NONCE_LEN], vec![text; 16]].concat();
    let mut found = Found::default();
    for (under, bytes) in [
        (Under::Card(1), with(1, 1)),
        (Under::Card(1), with(1, 1)),
        (Under::Card(1), with(2, 2)),
        (Under::Card(2), with(1, 3)),
        (Under::Wrapping(1), with(1, 4)),
    ] {
        found.add_ciphertext(under, &bytes).expect("no pair of key and nonce has two");
    }
    for (under, bytes) in [(Under::Card(2), with(1, 1)), (Under::Wrapping(1), with(1, 1))] {
        let found = found.add_ciphertext(under, &bytes).expect_err("the pair has another ciphertext");
        assert!(found.to_string().contains("another ciphertext"), "{found}");
    }
}
