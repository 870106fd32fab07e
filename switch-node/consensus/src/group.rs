//! The group: what a node holds of the cluster.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::FutureExt as _;
use openraft::{
    LinearizerOption, SnapshotPolicy as RaftSnapshotPolicy,
    async_runtime::WatchReceiver,
    errors::{ClientWriteError, LinearizableReadError, RaftError},
    type_config::alias::WatchReceiverOf,
};
use parking_lot::{Mutex, RwLock};
use switch_proto::peer::v1 as wire;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::Instant,
};

use crate::{
    Identity, IdentityError, LeaderId, Leadership, Machine, MachineFault, MemberRecord, NodeId, PeerError, PeerHandler,
    PeerWire, WriteAheadLog, leadership, limits,
    log::adapter::Storage,
    machine::{
        host::Host,
        replica::{Applied, Replica},
    },
    raft::{self, Config, Pack, Raft, Runtime},
    snapshot::{self, SnapshotPolicy, Turn},
    standing::Processes,
    transport::peer::Peers,
};

/// One replicated group. Cheap to clone; [`Group::shutdown`] ends it for all clones.
#[derive(Clone)]
pub struct Group {
    pub(crate) inner: Arc<Inner>,
}

/// How long things may take. All in real or paused tokio time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between two heartbeats of an idle leader.
    pub heartbeat: Duration,
    /// Shortest silence after which a follower stands for election; also how long a lease lasts, so that clocks may differ by the
    /// distance to `election_max`.
    pub election_min: Duration,
    /// Longest.
    pub election_max: Duration,
    /// How long a peer may owe an answer on an append stream before the stream is given up.
    pub stream_idle: Duration,
}

impl Default for Timing {
    /// Fail-over in 1.3 to 1.6 s; shorter ones elect for nothing when a shared CPU or an fsync stalls.
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            election_min: Duration::from_millis(500),
            election_max: Duration::from_millis(800),
            stream_idle: Duration::from_secs(3),
        }
    }
}

impl Timing {
    /// For tests on one machine: fail-over in about half a second.
    pub fn fast() -> Self {
        Self {
            heartbeat: Duration::from_millis(40),
            election_min: Duration::from_millis(150),
            election_max: Duration::from_millis(300),
            stream_idle: Duration::from_secs(1),
        }
    }

    pub(crate) fn lease(&self) -> Duration {
        self.election_min
    }
}

/// What a group is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupOptions {
    /// Who this node is.
    pub identity: Identity,
    /// Which process this is: 64 random bits, new with every start.
    pub boot: u64,
    /// Seed of the election timeouts: 64 random bits, or a fixed number in a simulation.
    pub seed: u64,
    /// How long things may take.
    pub timing: Timing,
    /// When to take snapshots, and how much log to keep.
    pub snapshots: SnapshotPolicy,
    /// Runs the machine on the caller's task instead of a thread: only for simulations.
    pub apply_inline: bool,
}

impl GroupOptions {
    /// The defaults of a node.
    pub fn new(identity: Identity, boot: u64, seed: u64) -> Self {
        Self {
            identity,
            boot,
            seed,
            timing: Timing::default(),
            snapshots: SnapshotPolicy::default(),
            apply_inline: false,
        }
    }
}

/// Writes an identity to where the node keeps it, durably.
pub type KeepIdentity = Arc<dyn Fn(&Identity) -> Result<(), IdentityError> + Send + Sync>;

/// What a group is made of; real or simulated.
pub struct Parts {
    /// The log.
    pub log: Arc<dyn WriteAheadLog>,
    /// What is replicated to.
    pub machine: Box<dyn Machine>,
    /// The way to the peers.
    pub wire: Arc<dyn PeerWire>,
    /// Called once, when the node forms or joins a cluster; see [`Identity::save`].
    pub keep_identity: KeepIdentity,
    /// Ends the process. Called with the reason when the node cannot go on: a failed fsync, a failed machine, a core that ended.
    /// May be called more than once.
    pub exit: Arc<dyn Fn(&str) + Send + Sync>,
}

/// Why a group did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The timings do not fit together.
    #[error("the timing is impossible: {0}")]
    Timing(String),
    /// The machine cannot say where it stands.
    #[error(transparent)]
    Machine(#[from] MachineFault),
    /// The machine lacks entries that the log no longer has: its disk was lost or replaced. Bring the node back as a new node, with
    /// an empty data directory.
    #[error(
        "the state ends at {applied:?}, but the log begins after {purged}: \
         the state was lost, bring this node back as a new node with an empty data directory"
    )]
    StateLost {
        /// Up to where the state goes.
        applied: Option<u64>,
        /// Up to where the log was dropped.
        purged: u64,
    },
    /// The state is there, but the log is empty: a vote may be lost with it. Bring the node back as a new node, with an empty data
    /// directory.
    #[error(
        "there is state but no log: the log was lost, bring this node back as a new node with an empty data directory"
    )]
    LogLost,
    /// The log is there, but not the identity it belongs to, or the other way round.
    #[error("the disk holds a log, but the node belongs to no cluster: check the data directory")]
    NoCluster,
    /// openraft found the log or the state damaged.
    #[error("the consensus core did not start: {0}")]
    Core(String),
    /// The machine's thread could not be made.
    #[error("no thread for the machine: {0}")]
    Thread(std::io::Error),
}

/// Where a proposal went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// Its place in the log.
    pub index: u64,
    /// The leadership it was made under: this node's.
    pub leader: LeaderId,
}

/// Why a proposal has no place in the log, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// It was not taken and never will be: ask the leader.
    #[error("this node does not lead, ask {leader:016x?} at {address:?}")]
    NotLeader {
        /// The leader, if it is known.
        leader: Option<NodeId>,
        /// Where peers reach it, if that is known.
        address: Option<String>,
    },
    /// It was not taken: it is larger than [`limits::PACK_BYTES_MAX`].
    #[error("a pack of {bytes} bytes, the bound is {max}", max = limits::PACK_BYTES_MAX)]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// It may have been taken, and may still be. Only the log can tell.
    #[error("it is not known what became of the proposal: {0}")]
    Unknown(String),
    /// It was not taken: the node is stopping.
    #[error("the node is stopping")]
    Stopped,
}

/// Why a read cannot be answered now. Retry, or ask another node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Nobody is known to lead.
    #[error("no leader is known")]
    NoLeader,
    /// The leader did not confirm itself, or this node did not catch up, in time.
    #[error("not confirmed within {within:?}")]
    Late {
        /// The time it had.
        within: Duration,
    },
    /// The leader did not answer.
    #[error("the leader did not answer: {0}")]
    Leader(PeerError),
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopped,
}

/// One member, as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// The node.
    pub node_id: NodeId,
    /// Its record.
    pub record: MemberRecord,
    /// Whether it votes; a learner otherwise.
    pub voter: bool,
    /// The last entry it is known to have; only on the leader.
    pub matched: Option<u64>,
    /// Time since it last answered; only on the leader.
    pub answered: Option<Duration>,
    /// It lacks entries that it acknowledged to this leader: its disk was put back to an older state. It is sent nothing more, and
    /// must come back as a new node, with an empty data directory. Only on the leader.
    pub reverted: bool,
}

/// A group at a glance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStatus {
    /// Who this node is.
    pub identity: Identity,
    /// Present term.
    pub term: u64,
    /// The leader, if there is one to be seen.
    pub leader: Option<LeaderId>,
    /// Whether it is this node.
    pub is_leader: bool,
    /// Last entry in the log.
    pub last: Option<u64>,
    /// Last entry this node knows to be committed.
    pub committed: Option<u64>,
    /// Last entry in the machine.
    pub applied: Option<u64>,
    /// First entry that is still in the log.
    pub first: u64,
    /// Last entry in the newest snapshot.
    pub snapshot: Option<u64>,
    /// Bytes of the log on disk.
    pub log_bytes: u64,
    /// The members, ascending by id.
    pub members: Vec<MemberStatus>,
    /// The most voters that ever were at once.
    pub voters_most: u32,
    /// Time since this node took what a leader sent, or, if it leads, since a quorum followed it. `None` before the first.
    pub confirmed: Option<Duration>,
    /// Why the cluster does not take this process for the node it says it is; an operator must look.
    pub refused: Option<String>,
}

/// What all clones of a group share.
pub(crate) struct Inner {
    pub(crate) raft: Raft,
    pub(crate) metrics: WatchReceiverOf<Config, openraft::RaftMetrics<Config>>,
    pub(crate) log: Arc<dyn WriteAheadLog>,
    pub(crate) host: Host,
    pub(crate) applied: Applied,
    pub(crate) peers: Peers,
    /// Which process each member is.
    pub(crate) processes: Processes,
    pub(crate) leadership: watch::Sender<Leadership>,
    /// The leadership this node is giving away: it has no lease any more.
    pub(crate) handing_over: Mutex<Option<LeaderId>>,
    pub(crate) turn: Mutex<Turn>,
    /// What this process has, by name; no affair of consensus.
    pub(crate) holdings: RwLock<Vec<String>>,
    /// One snapshot is received at a time.
    pub(crate) receiving: Arc<Semaphore>,
    pub(crate) timing: Timing,
    pub(crate) policy: SnapshotPolicy,
    pub(crate) seed: u64,
    keep_identity: KeepIdentity,
    exit: Arc<dyn Fn(&str) + Send + Sync>,
    pub(crate) stopping: watch::Sender<bool>,
    tasks: Mutex<JoinSet<()>>,
}

impl Group {
    /// Starts the node's part in the cluster: reads the log, brings the machine up to what is committed, and takes part. A node
    /// without a cluster waits until it is told to form or join one: see [`form_or_join`](crate::form_or_join).
    pub async fn start(options: GroupOptions, parts: Parts) -> Result<Self, StartError> {
        let config = core_config(&options.timing)?;
        let state = parts.log.state();
        if options.identity.cluster_id == 0 && state.last.is_some() {
            return Err(StartError::NoCluster);
        }
        let host = if options.apply_inline {
            Host::inline(parts.machine)
        } else {
            Host::thread(parts.machine).map_err(StartError::Thread)?
        };
        let replica = Replica::open(host.clone()).await?;
        let applied = replica.applied();
        let position = applied.position.borrow().applied;
        if let Some(purged) = state.purged.filter(|purged| position.is_none_or(|applied| applied.index < purged.index))
        {
            return Err(StartError::StateLost { applied: position.map(|id| id.index), purged: purged.index });
        }

        if position.is_some() && state.ballot.is_none() {
            return Err(StartError::LogLost);
        }

        let peers = Peers {
            wire: parts.wire,
            identity: Arc::new(RwLock::new(options.identity)),
            boot: options.boot,
            standing: Arc::default(),
            records: Arc::default(),
            acknowledged: Arc::default(),
            stream_idle: options.timing.stream_idle,
            inline: options.apply_inline,
        };
        let exit = parts.exit;
        let storage = Storage::new(parts.log.clone(), exit.clone());
        let started = Raft::new(options.identity.node_id, Arc::new(config), peers.clone(), storage, replica);
        // The seed reaches every task that the core spawns.
        let raft = Runtime::scope(options.seed, started.boxed())
            .await
            .map_err(|fatal| StartError::Core(raft::fatal(&fatal)))?;

        let inner = Arc::new(Inner {
            metrics: raft.metrics(),
            raft,
            log: parts.log,
            host,
            applied,
            peers,
            processes: Processes::default(),
            leadership: watch::Sender::default(),
            handing_over: Mutex::default(),
            turn: Mutex::default(),
            holdings: RwLock::default(),
            receiving: Arc::new(Semaphore::new(1)),
            timing: options.timing,
            policy: options.snapshots,
            seed: options.seed,
            keep_identity: parts.keep_identity,
            exit,
            stopping: watch::Sender::new(false),
            tasks: Mutex::default(),
        });
        let group = Self { inner };
        group.own(leadership::watch_core(group.inner.clone()));
        group.own(snapshot::schedule(group.clone()));
        Ok(group)
    }

    /// Puts a pack into the log and returns once it is committed and this node's machine has applied it.
    ///
    /// Has no time limit of its own: a leader that was cut off knows nothing until it is back. To give up, drop the future; the
    /// outcome is then unknown.
    pub async fn propose(&self, pack: Bytes) -> Result<Proposed, ProposeError> {
        if pack.len() > limits::PACK_BYTES_MAX {
            return Err(ProposeError::TooLarge { bytes: pack.len() });
        }
        if *self.inner.stopping.borrow() {
            return Err(ProposeError::Stopped);
        }
        match self.inner.raft.client_write(Pack(pack)).await {
            Ok(written) => Ok(Proposed { index: written.log_id.index, leader: written.log_id.leader_id.into() }),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(leader))) => Err(ProposeError::NotLeader {
                leader: leader.leader_id,
                address: leader.leader_node.map(|record| record.peer_address),
            }),
            // Everything else may have happened after the entry was written.
            Err(RaftError::APIError(error)) => Err(ProposeError::Unknown(error.to_string())),
            Err(RaftError::Fatal(fatal)) => Err(ProposeError::Unknown(raft::fatal(&fatal))),
        }
    }

    /// Waits until this node's machine has applied everything that was acknowledged before the call, on whatever node, and returns
    /// the index up to which that is. On a follower the leader is asked.
    pub async fn read_barrier(&self, within: Duration) -> Result<u64, ReadError> {
        let deadline = Instant::now() + within;
        let late = || ReadError::Late { within };
        let leadership = self.inner.leadership.borrow().clone();
        let index = match leadership {
            Leadership { is_self: true, .. } => self.inner.read_index(within).await?,
            Leadership { leader: Some(leader), record: Some(record), .. } => {
                let request = wire::ReadIndexRequest {
                    envelope: Some(self.inner.peers.envelope(leader.node, &record)),
                    remaining_ms: u32::try_from(within.as_millis()).unwrap_or(u32::MAX),
                };
                let asked = self.inner.peers.wire.read_index(&record.peer_address, request);
                let answer = tokio::time::timeout_at(deadline, asked).await.map_err(|_| late())?;
                answer.map_err(ReadError::Leader)?.index
            }
            Leadership { .. } => return Err(ReadError::NoLeader),
        };
        let mut position = self.inner.applied.position.subscribe();
        let applied = position.wait_for(|position| position.applied.is_some_and(|id| id.index >= index));
        match tokio::time::timeout_at(deadline, applied).await {
            Ok(Ok(_)) => Ok(index),
            Ok(Err(_)) => Err(ReadError::Stopped),
            Err(_) => Err(late()),
        }
    }

    /// The group at a glance.
    pub fn status(&self) -> GroupStatus {
        let inner = &*self.inner;
        let leadership = inner.leadership.borrow().clone();
        let log = inner.log.state();
        let (applied, voters_most) = {
            let position = inner.applied.position.borrow();
            (position.applied.map(|id| id.index), position.voters_most)
        };
        let metrics = inner.metrics.borrow_watched();
        let membership = &metrics.membership_config;
        let voters: Vec<NodeId> = membership.voter_ids().collect();
        let members = membership.nodes().map(|(id, record)| {
            let matched = metrics.replication.as_ref().and_then(|matched| matched.get(id).copied().flatten());
            let answered = metrics.heartbeat.as_ref().and_then(|answers| answers.get(id).copied().flatten());
            MemberStatus {
                node_id: *id,
                record: record.clone(),
                voter: voters.contains(id),
                matched: matched.map(|id| id.index),
                answered: answered.map(|at| openraft::Instant::elapsed(&*at)),
                reverted: inner.peers.has_reverted(*id, metrics.vote),
            }
        });
        let confirmed =
            if leadership.is_self { leadership::followed(&metrics) } else { inner.peers.standing.silence() };
        GroupStatus {
            identity: inner.identity(),
            term: metrics.current_term,
            leader: leadership.leader,
            is_leader: leadership.is_self,
            last: log.last.map(|id| id.index),
            committed: metrics.local_committed.map(|id| id.index),
            applied,
            first: log.purged.map_or(0, |id| id.index + 1),
            snapshot: metrics.snapshot.map(|id| id.index),
            log_bytes: log.bytes,
            members: members.collect(),
            voters_most,
            confirmed,
            refused: inner.peers.standing.refusal(confirmed),
        }
    }

    /// Whether a change of members is under way: until it is over, it may take a quorum of the old voters and one of the new.
    pub fn changes_members(&self) -> bool {
        let metrics = self.inner.metrics.borrow_watched();
        let effective = &metrics.membership_config;
        effective.get_joint_config().len() > 1 || effective.log_id() != metrics.committed_membership_config.log_id()
    }

    /// This node's ids, as a call to whoever answers at an address carries them.
    pub fn envelope(&self) -> wire::Envelope {
        self.inner.peers.to_anybody()
    }

    /// Says that the cluster does not take this process for the node it says it is; see [`GroupStatus::refused`].
    pub fn refuse(&self, why: &str) {
        self.inner.peers.standing.refuse(why);
    }

    /// Says what this process has, by name, to every node that asks who it is.
    pub fn declare(&self, holdings: Vec<String>) {
        *self.inner.holdings.write() = holdings;
    }

    /// The called side of the peer wire, for a simulated wire; [`service`](crate::service) serves the same over gRPC.
    pub fn handle(&self) -> PeerHandler {
        PeerHandler::new(self.inner.clone())
    }

    /// Ends this node's part. What is under way may come back as unknown. The exit hook is not called.
    pub async fn shutdown(&self) {
        let inner = &*self.inner;
        inner.stopping.send_replace(true);
        inner.tasks.lock().abort_all();
        if tokio::time::timeout(limits::SHUTDOWN_MAX, inner.raft.shutdown()).await.is_err() {
            tracing::warn!("the consensus core did not end in time");
        }
    }

    /// Runs a task until the group is shut down.
    pub(crate) fn own(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.inner.tasks.lock().spawn(task);
    }
}

impl Inner {
    pub(crate) fn identity(&self) -> Identity {
        *self.peers.identity.read()
    }

    /// Makes this node a member of `cluster_id`, on disk first.
    pub(crate) fn enter_cluster(&self, cluster_id: u64) -> Result<(), IdentityError> {
        let identity = self.identity().in_cluster(cluster_id)?;
        if identity != self.identity() {
            (self.keep_identity)(&identity)?;
            *self.peers.identity.write() = identity;
            tracing::info!(cluster = format_args!("{cluster_id:016x}"), "this node is in a cluster now");
        }
        Ok(())
    }

    /// Asks who answers at an address; `None` if nobody does in time.
    pub(crate) async fn probe(&self, address: &str) -> Option<wire::ProbeResponse> {
        let request = wire::ProbeRequest { envelope: Some(self.peers.to_anybody()) };
        let asked = self.peers.wire.probe(address, request);
        tokio::time::timeout(limits::PROBE_MAX, asked).await.ok()?.ok()
    }

    /// On the leader: the index a reader must have applied, once a quorum has confirmed that nobody else leads.
    pub(crate) async fn read_index(&self, within: Duration) -> Result<u64, ReadError> {
        let confirm = LinearizerOption::new(Some(Duration::ZERO), true).with_wait_timeout(within);
        let confirmed = self.raft.get_read_linearizer(confirm);
        match tokio::time::timeout(within, confirmed).await {
            Ok(Ok(reader)) => Ok(reader.read_log_id().index()),
            Ok(Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(_)))) => Err(ReadError::NoLeader),
            Ok(Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)))) | Err(_) => {
                Err(ReadError::Late { within })
            }
            Ok(Err(RaftError::Fatal(_))) => Err(ReadError::Stopped),
        }
    }

    /// The node cannot go on, unless it is ending anyway.
    pub(crate) fn fail(&self, reason: &str) {
        if !*self.stopping.borrow() {
            tracing::error!(reason, "the node cannot go on");
            (self.exit)(reason);
        }
    }

    /// Whether this disk holds nothing of any cluster.
    pub(crate) fn is_empty(&self) -> bool {
        self.log.state().last.is_none() && self.applied.position.borrow().applied.is_none()
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("identity", &self.inner.identity()).finish_non_exhaustive()
    }
}

fn core_config(timing: &Timing) -> Result<openraft::Config, StartError> {
    let millis = |time: Duration| time.as_millis() as u64;
    let config = openraft::Config {
        cluster_name: "payswitch".into(),
        heartbeat_interval: millis(timing.heartbeat),
        heartbeat_min_interval: Some(millis(timing.heartbeat)),
        election_timeout_min: millis(timing.election_min),
        election_timeout_max: millis(timing.election_max),
        // A follower that cannot win must not depose a leader that can.
        enable_pre_vote: Some(true),
        // Without this a leader without a quorum may keep others from electing one (openraft #2080).
        quorum_loss_probe_interval: Some(millis(timing.election_max) * 5 / 2),
        max_payload_entries: limits::APPEND_ENTRIES_MAX,
        replication_lag_threshold: limits::REPLICATION_LAG_MAX,
        api_channel_size: Some(limits::CORE_QUEUE_MAX),
        api_batch_linger_ms: 0,
        // Ours: see `snapshot`.
        snapshot_policy: RaftSnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        install_snapshot_timeout: millis(limits::SNAPSHOT_INSTALL_MAX),
        // A voter whose log got shorter has lost what it acknowledged; the leader must not go on as if it had not.
        allow_log_reversion: Some(false),
        // A restarted leader's machine may be behind what it once answered.
        enable_leader_restore: Some(false),
        ..Default::default()
    };
    config.validate().map_err(|error| StartError::Timing(error.to_string()))
}
