//! Nodes in one process.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, future, stream::BoxStream};
use parking_lot::Mutex;
use switch_proto::peer::v1 as wire;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::machines::{Disk, Keeper};
use crate::{
    DiskLog, Formation, Group, GroupOptions, Identity, MemberRecord, NodeId, OpenError, Parts, PeerError, PeerHandler,
    PeerWire, ProposeError, Proposed, StartError, form_or_join, snapshot::SnapshotPolicy, transport::Appended,
};

/// Direct calls between nodes, which can be cut.
#[derive(Clone, Default)]
pub(super) struct Net {
    handlers: Arc<Mutex<BTreeMap<String, PeerHandler>>>,
    cut: Arc<Mutex<BTreeSet<String>>>,
    /// Calls that did not get through.
    pub(super) lost: Arc<AtomicU64>,
    /// Answers that nodes gave to who they are.
    pub(super) probed: Arc<AtomicU64>,
}

impl Net {
    /// Cuts a node off from all others.
    pub(super) fn cut(&self, address: &str) {
        self.cut.lock().insert(address.to_owned());
    }

    pub(super) fn heal(&self) {
        self.cut.lock().clear();
    }

    pub(super) fn join(&self, address: &str, group: &Group) {
        self.handlers.lock().insert(address.to_owned(), group.handle());
    }

    pub(super) fn handler(&self, address: &str) -> PeerHandler {
        self.handlers.lock().get(address).cloned().unwrap()
    }

    pub(super) fn wire(&self, from: &str) -> Arc<dyn PeerWire> {
        Arc::new(Direct { net: self.clone(), from: from.to_owned() })
    }

    fn is_cut(&self, from: &str, to: &str) -> bool {
        let cut = self.cut.lock();
        cut.contains(from) || cut.contains(to) || !self.handlers.lock().contains_key(to)
    }
}

struct Direct {
    net: Net,
    from: String,
}

impl Direct {
    fn to(&self, address: &str) -> Result<PeerHandler, PeerError> {
        if self.net.is_cut(&self.from, address) {
            self.net.lost.fetch_add(1, Ordering::Relaxed);
            return Err(PeerError::Unreachable(format!("{address} is cut off")));
        }
        Ok(self.net.handler(address))
    }
}

#[async_trait]
impl PeerWire for Direct {
    async fn vote(&self, address: &str, request: wire::VoteRequest) -> Result<wire::VoteResponse, PeerError> {
        self.to(address)?.vote(request).await
    }

    async fn pre_vote(&self, address: &str, request: wire::PreVoteRequest) -> Result<wire::PreVoteResponse, PeerError> {
        self.to(address)?.pre_vote(request).await
    }

    async fn stream_append(
        &self,
        address: &str,
        requests: BoxStream<'static, wire::StreamAppendRequest>,
    ) -> Result<Appended, PeerError> {
        let handler = self.to(address)?;
        let cut = {
            let (net, from, to) = (self.net.clone(), self.from.clone(), address.to_owned());
            move || net.is_cut(&from, &to)
        };
        let lost = cut.clone();
        let requests = requests.take_while(move |_| future::ready(!lost())).boxed();
        let answers = handler
            .stream_append(requests)
            .map(move |answer| if cut() { Err(PeerError::Unreachable("cut off".into())) } else { answer });
        Ok(answers.boxed())
    }

    async fn install_snapshot(
        &self,
        address: &str,
        parts: BoxStream<'static, wire::InstallSnapshotRequest>,
    ) -> Result<wire::InstallSnapshotResponse, PeerError> {
        self.to(address)?.install_snapshot(parts.map(Ok).boxed()).await
    }

    async fn transfer_leader(
        &self,
        address: &str,
        request: wire::TransferLeaderRequest,
    ) -> Result<wire::TransferLeaderResponse, PeerError> {
        self.to(address)?.transfer_leader(request).await
    }

    async fn probe(&self, address: &str, request: wire::ProbeRequest) -> Result<wire::ProbeResponse, PeerError> {
        let answer = self.to(address)?.probe(request).await;
        self.net.probed.fetch_add(1, Ordering::Relaxed);
        answer
    }

    async fn join(&self, address: &str, request: wire::JoinRequest) -> Result<wire::JoinResponse, PeerError> {
        self.to(address)?.join(request).await
    }

    async fn read_index(
        &self,
        address: &str,
        request: wire::ReadIndexRequest,
    ) -> Result<wire::ReadIndexResponse, PeerError> {
        self.to(address)?.read_index(request).await
    }

    async fn snapshot_turn(
        &self,
        address: &str,
        request: wire::SnapshotTurnRequest,
    ) -> Result<wire::SnapshotTurnResponse, PeerError> {
        self.to(address)?.snapshot_turn(request).await
    }
}

/// A node, its disks, and whether it runs.
pub(super) struct Node {
    pub(super) address: String,
    pub(super) dir: TempDir,
    pub(super) disk: Disk,
    pub(super) exits: Arc<Mutex<Vec<String>>>,
    pub(super) policy: SnapshotPolicy,
    net: Net,
    running: Option<(Group, JoinHandle<()>)>,
}

impl Node {
    pub(super) fn new(net: &Net, address: &str) -> Self {
        Self {
            address: address.to_owned(),
            dir: tempfile::tempdir().unwrap(),
            disk: Disk::default(),
            exits: Arc::default(),
            policy: SnapshotPolicy { keep_entries: 5, ..SnapshotPolicy::default() },
            net: net.clone(),
            running: None,
        }
    }

    pub(super) async fn try_start(&mut self, peers: &[&str], bootstrap: bool) -> Result<(), StartError> {
        let data = self.dir.path().join("data");
        let identity = Identity::load_or_create(&data, rand::random).unwrap();
        let log = open(&data.join("log")).await;
        let exits = self.exits.clone();
        let keep = data.clone();
        let options =
            GroupOptions { snapshots: self.policy, ..GroupOptions::new(identity, rand::random(), rand::random()) };
        let parts = Parts {
            log: Arc::new(log),
            machine: Box::new(Keeper(self.disk.clone())),
            wire: self.net.wire(&self.address),
            keep_identity: Arc::new(move |identity| identity.save(&keep)),
            exit: Arc::new(move |reason| exits.lock().push(reason.to_owned())),
        };
        let group = Group::start(options, parts).await?;
        self.net.join(&self.address, &group);
        let formation = Formation {
            bootstrap,
            peers: peers.iter().map(|&peer| peer.to_owned()).collect(),
            initial_voters: 3,
            record: MemberRecord { peer_address: self.address.clone(), ..MemberRecord::default() },
            cluster_id: rand::random(),
        };
        let forming = form_or_join(group.clone(), formation);
        let forming = tokio::spawn(async move {
            if let Err(error) = forming.await {
                tracing::error!(%error, "formation ended");
            }
        });
        self.running = Some((group, forming));
        Ok(())
    }

    pub(super) async fn start(&mut self, peers: &[&str], bootstrap: bool) {
        self.try_start(peers, bootstrap).await.unwrap();
    }

    pub(super) async fn kill(&mut self) {
        self.net.handlers.lock().remove(&self.address);
        if let Some((group, forming)) = self.running.take() {
            forming.abort();
            group.shutdown().await;
            let _ = forming.await;
            let inner = Arc::downgrade(&group.inner);
            drop(group);
            until("nothing of the node is left", || inner.strong_count() == 0).await;
        }
    }

    pub(super) fn group(&self) -> &Group {
        &self.running.as_ref().unwrap().0
    }

    pub(super) fn id(&self) -> NodeId {
        self.group().status().identity.node_id
    }

    /// Copies the disks to a node that does not run.
    pub(super) fn copy_to(&self, other: &mut Self) {
        let copied = Command::new("cp").arg("-a").arg(self.dir.path().join("data")).arg(other.dir.path()).status();
        assert!(copied.unwrap().success());
        *other.disk.lock() = self.disk.lock().clone();
    }

    /// As this node's calls to the other one carry it.
    pub(super) fn envelope_to(&self, other: &Self) -> wire::Envelope {
        let theirs = other.group().status().identity;
        wire::Envelope { to_node: theirs.node_id, to_store: theirs.store_id, ..self.group().envelope() }
    }

    pub(super) fn packs(&self) -> Vec<Bytes> {
        self.disk.lock().packs.values().cloned().collect()
    }
}

/// The log's lock goes with the last of the core's tasks, a moment after the core.
pub(super) async fn open(dir: &Path) -> DiskLog {
    let mut opened = None;
    until("the log is let go", || {
        opened = match DiskLog::open(dir) {
            Err(OpenError::Unreadable { source, .. }) if source.kind() == io::ErrorKind::WouldBlock => None,
            other => Some(other),
        };
        opened.is_some()
    })
    .await;
    opened.unwrap().unwrap()
}

/// Proposes on whoever leads, and says who that was.
pub(super) async fn propose(nodes: &[Node], among: &[usize], pack: Bytes) -> (usize, Proposed) {
    loop {
        let leads = leader(nodes, among).await;
        match nodes[leads].group().propose(pack.clone()).await {
            Ok(proposed) => return (leads, proposed),
            // A leader of this moment may not have heard from a quorum yet; on a busy machine it may not hear in time.
            Err(ProposeError::NotLeader { .. }) => tokio::task::yield_now().await,
            Err(other) => panic!("{other}"),
        }
    }
}

pub(super) const THREE: [&str; 3] = ["a:1", "b:1", "c:1"];

/// Three nodes that have formed a cluster of three voters.
pub(super) async fn three(net: &Net) -> Vec<Node> {
    let mut nodes: Vec<Node> = THREE.iter().map(|address| Node::new(net, address)).collect();
    for node in &mut nodes {
        node.start(&THREE, true).await;
    }
    until("three voters", || nodes.iter().all(|node| complete(node.group()))).await;
    nodes
}

/// Whether there are three voters, and the change to them is over: before that two of them may not be a quorum.
pub(super) fn complete(group: &Group) -> bool {
    group.status().voters_most == 3 && !group.changes_members()
}

pub(super) fn voters(node: &Node) -> usize {
    node.group().status().members.iter().filter(|member| member.voter).count()
}

/// Which of the running nodes leads, once all of `among` agree.
pub(super) async fn leader(nodes: &[Node], among: &[usize]) -> usize {
    let mut found = None;
    let what = || among.iter().map(|&node| format!("{:#?}", nodes[node].group().status())).collect::<String>();
    until_or("a leader", what, || {
        let seen: Vec<_> = among.iter().map(|&node| nodes[node].group().status().leader).collect();
        let agreed = seen[0].filter(|_| seen.iter().all(|leader| *leader == seen[0]));
        found = agreed.and_then(|leader| among.iter().copied().find(|&node| nodes[node].id() == leader.node));
        found.is_some_and(|node| nodes[node].group().status().is_leader)
    })
    .await;
    found.unwrap()
}

/// Waits until `condition` holds; 20 s is far more than anything takes.
pub(super) async fn until(what: &str, condition: impl FnMut() -> bool) {
    until_or(what, String::new, condition).await;
}

pub(super) async fn until_or(what: &str, instead: impl Fn() -> String, mut condition: impl FnMut() -> bool) {
    let holds = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), holds)
        .await
        .unwrap_or_else(|_| panic!("{what}: not within 20 s {}", instead()));
}

pub(super) fn pack(text: impl Into<String>) -> Bytes {
    Bytes::from(text.into())
}
