//! Who belongs to the cluster, and how a cluster forms without hooks.
//!
//! ```text
//!  empty disk ──(every configured peer is empty and has what this node has, own address is the smallest)──▶ a cluster of one voter
//!      │
//!      └──(a peer has a cluster)──▶ Join ──▶ learner ──(while the cluster never had `initial_voters`, and it has what the
//!                                                  │      leader has)──▶ voter
//!                                                  └──(after that: an operator)──▶ voter
//! ```
//!
//! **Invariant:** a node that lost its disk comes back with new ids, as a learner, and never becomes a voter by itself once the
//! cluster was complete: the most voters it ever had are part of the replicated state.

use std::collections::BTreeSet;

use futures::future::join_all;
use openraft::{
    ChangeMembers,
    async_runtime::WatchReceiver,
    errors::{ChangeMembershipError, ClientWriteError, InitializeError, RaftError},
};
use switch_proto::peer::v1 as wire;

use crate::{
    Group, IdentityError, NodeId, PeerError, Refusal,
    leadership::own_leader_id,
    limits,
    raft::{self, Config, Malformed},
    service,
};

/// One node as the membership records it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberRecord {
    /// Where peers reach it, host:port. A name that stays with the node, not an IP that changes.
    pub peer_address: String,
    /// Where gateways reach it, host:port.
    pub gateway_address: String,
    /// Where operators reach it, host:port.
    pub operator_address: String,
    /// Its disk.
    pub store_id: u64,
}

/// A node and its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The node.
    pub node_id: NodeId,
    /// Its record.
    pub record: MemberRecord,
}

/// Why the members did not change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// This node does not lead: ask the leader.
    #[error("this node does not lead, ask the leader at {address:?}")]
    NotLeader {
        /// Where peers reach the leader, if it is known.
        address: Option<String>,
    },
    /// Another change is under way: wait for it.
    #[error("another change of members is under way")]
    InProgress,
    /// There is no such member.
    #[error("{node:016x} is not a member")]
    NotMember {
        /// The node.
        node: NodeId,
    },
    /// The node id is known with another disk: a node id is never used again.
    #[error("{node:016x} is known with disk {known:016x}, not {other:016x}")]
    OtherStore {
        /// The node.
        node: NodeId,
        /// Its disk.
        known: u64,
        /// The other one.
        other: u64,
    },
    /// The learner has not caught up: a voter that lags makes commits wait. Try again later.
    #[error("{node:016x} is {behind} entries behind, at most {max} are allowed")]
    Behind {
        /// The node.
        node: NodeId,
        /// How many entries it lacks, as far as is known.
        behind: u64,
        /// How many it may lack.
        max: u64,
    },
    /// The leader cannot remove itself: hand over leadership first.
    #[error("{node:016x} leads: hand over leadership, then remove it")]
    Leads {
        /// The node.
        node: NodeId,
    },
    /// The last voter cannot be removed.
    #[error("{node:016x} is the last voter")]
    LastVoter {
        /// The node.
        node: NodeId,
    },
    /// The cluster has as many nodes as it may have.
    #[error("there are {} nodes already", limits::MEMBERS_MAX)]
    TooMany,
    /// The record is not one.
    #[error("not a record of a member: {0}")]
    Malformed(&'static str),
    /// The node was in a cluster already.
    #[error("this disk belongs to a cluster already")]
    NotEmpty,
    /// The change was proposed, and it is not known what became of it: look at the members.
    #[error("it is not known whether the members changed: {0}")]
    Unknown(String),
    /// The new identity could not be kept.
    #[error("{0}")]
    Identity(String),
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopped,
}

/// Entries a learner may lack when it becomes a voter: less than a second of traffic.
const BEHIND_MAX: u64 = 1_000;

impl Group {
    /// Makes a new cluster `cluster_id` (random, not 0) of the given voters, this node among them. Only on empty disks, and only on
    /// one of the nodes; the others must have entered the same cluster. Alone is usual: others join, see [`form_or_join`].
    pub async fn bootstrap(&self, cluster_id: u64, members: Vec<Member>) -> Result<(), MembershipError> {
        let inner = &*self.inner;
        if !inner.is_empty() {
            return Err(MembershipError::NotEmpty);
        }
        if cluster_id == 0 || members.is_empty() {
            return Err(MembershipError::Malformed("no cluster id, or no members"));
        }
        for member in &members {
            member.check()?;
        }
        inner.enter_cluster(cluster_id).map_err(identity)?;
        let nodes: std::collections::BTreeMap<_, _> =
            members.into_iter().map(|member| (member.node_id, member.record)).collect();
        match inner.raft.initialize(nodes).await {
            Ok(()) => Ok(()),
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Err(MembershipError::NotEmpty),
            Err(RaftError::APIError(InitializeError::NotInMembers(_))) => {
                Err(MembershipError::NotMember { node: inner.identity().node_id })
            }
            Err(RaftError::Fatal(_)) => Err(MembershipError::Stopped),
        }
    }

    /// Takes a node in as a learner: it gets the log and does not vote. Does nothing if it is a member with that record already.
    pub async fn add_learner(&self, member: Member) -> Result<(), MembershipError> {
        member.check()?;
        let (node, record) = (member.node_id, member.record);
        let known = self.record(node)?;
        match known {
            Some(known) if known == record => return Ok(()),
            Some(known) if known.store_id != record.store_id => {
                return Err(MembershipError::OtherStore { node, known: known.store_id, other: record.store_id });
            }
            // The same disk at another address, and nobody is at the old one any more (`only_one`).
            Some(_) => return self.change(ChangeMembers::SetNodes([(node, record)].into()), true).await,
            None if self.inner.metrics.borrow_watched().membership_config.nodes().count() >= limits::MEMBERS_MAX => {
                return Err(MembershipError::TooMany);
            }
            None => {}
        }
        self.change(ChangeMembers::AddNodes([(node, record)].into()), true).await
    }

    /// Makes a learner a voter, once it has nearly caught up. Does nothing if it is one.
    pub async fn promote(&self, node: NodeId) -> Result<(), MembershipError> {
        self.record(node)?.ok_or(MembershipError::NotMember { node })?;
        let behind = {
            let metrics = self.inner.metrics.borrow_watched();
            if metrics.membership_config.voter_ids().any(|voter| voter == node) {
                return Ok(());
            }
            let next = |index: Option<u64>| index.map_or(0, |index| index + 1);
            let matched = metrics.replication.as_ref().and_then(|matched| *matched.get(&node)?).map(|id| id.index);
            next(metrics.last_log_index).saturating_sub(next(matched))
        };
        if behind > BEHIND_MAX {
            return Err(MembershipError::Behind { node, behind, max: BEHIND_MAX });
        }
        self.change(ChangeMembers::AddVoterIds([node].into()), true).await
    }

    /// Removes a node, voter or learner. Its id never comes back.
    pub async fn remove(&self, node: NodeId) -> Result<(), MembershipError> {
        self.record(node)?.ok_or(MembershipError::NotMember { node })?;
        let voters: BTreeSet<NodeId> = self.inner.metrics.borrow_watched().membership_config.voter_ids().collect();
        if voters.len() == 1 && voters.contains(&node) {
            return Err(MembershipError::LastVoter { node });
        }
        if node == self.inner.identity().node_id {
            return Err(MembershipError::Leads { node });
        }
        let change = if voters.contains(&node) {
            ChangeMembers::RemoveVoters([node].into())
        } else {
            ChangeMembers::RemoveNodes([node].into())
        };
        self.change(change, false).await
    }

    /// On the leader: refuses a member's second process. One that moved has left its old address; one that runs on a copy of a
    /// living node's disk finds that node there.
    pub(crate) async fn only_one(&self, member: &Member, boot: u64) -> Result<(), PeerError> {
        let inner = &*self.inner;
        let recorded = inner.metrics.borrow_watched().membership_config.get_node(&member.node_id).cloned();
        let Some(recorded) = recorded.filter(|recorded| recorded.peer_address != member.record.peer_address) else {
            return Ok(());
        };
        let there = if member.node_id == inner.identity().node_id {
            Some((member.node_id, inner.peers.boot))
        } else {
            inner.probe(&recorded.peer_address).await.map(|answer| (answer.node_id, answer.boot_id))
        };
        match there {
            Some((node, there)) if node == member.node_id && there != boot => {
                Err(service::other_process(node, &recorded.peer_address))
            }
            _ => Ok(()),
        }
    }

    /// On the leader: a node that asked to join, or that moved.
    pub(crate) async fn take_in(&self, member: Member) -> Result<(), PeerError> {
        match self.add_learner(member).await {
            Ok(()) => Ok(()),
            Err(error @ MembershipError::OtherStore { .. }) => {
                Err(PeerError::refused(Refusal::OtherStore, error.to_string()))
            }
            Err(error @ MembershipError::TooMany) => {
                Err(PeerError::refused(Refusal::TooManyMembers, error.to_string()))
            }
            Err(error @ MembershipError::Malformed(_)) => {
                Err(PeerError::refused(Refusal::Malformed, error.to_string()))
            }
            Err(error) => Err(PeerError::Busy(error.to_string())),
        }
    }

    /// A member's record, if this node leads.
    fn record(&self, node: NodeId) -> Result<Option<MemberRecord>, MembershipError> {
        let metrics = self.inner.metrics.borrow_watched();
        if own_leader_id(&metrics).is_none() {
            let address = self.inner.leadership.borrow().record.as_ref().map(|record| record.peer_address.clone());
            return Err(MembershipError::NotLeader { address });
        }
        Ok(metrics.membership_config.get_node(&node).cloned())
    }

    async fn change(
        &self,
        change: ChangeMembers<NodeId, MemberRecord>,
        keep_removed: bool,
    ) -> Result<(), MembershipError> {
        tracing::info!(?change, "changing the members");
        let changed = self.inner.raft.change_membership(change, keep_removed);
        match tokio::time::timeout(limits::MEMBERSHIP_CHANGE_MAX, changed).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::APIError(error))) => Err(refused(error)),
            Ok(Err(RaftError::Fatal(fatal))) => Err(MembershipError::Unknown(raft::fatal(&fatal))),
            Err(_) => Err(MembershipError::Unknown(format!("no answer within {:?}", limits::MEMBERSHIP_CHANGE_MAX))),
        }
    }
}

fn refused(error: ClientWriteError<Config>) -> MembershipError {
    match error {
        ClientWriteError::ForwardToLeader(leader) => {
            MembershipError::NotLeader { address: leader.leader_node.map(|record| record.peer_address) }
        }
        ClientWriteError::ChangeMembershipError(ChangeMembershipError::LearnerNotFound(missing)) => {
            MembershipError::NotMember { node: missing.node_id }
        }
        // A leader commits an entry of its own term before it changes members: the same answer, try again.
        ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_) => {
            MembershipError::InProgress
        }
        ClientWriteError::LogEntryDiscarded(_) => MembershipError::Unknown(error.to_string()),
    }
}

fn identity(error: IdentityError) -> MembershipError {
    MembershipError::Identity(error.to_string())
}

impl Member {
    fn check(&self) -> Result<(), MembershipError> {
        let MemberRecord { peer_address, gateway_address, operator_address, store_id } = &self.record;
        if self.node_id == 0 || *store_id == 0 {
            return Err(MembershipError::Malformed("an id is 0"));
        }
        if peer_address.is_empty() {
            return Err(MembershipError::Malformed("no peer address"));
        }
        if [peer_address, gateway_address, operator_address].iter().any(|it| it.len() > limits::ADDRESS_BYTES_MAX) {
            return Err(MembershipError::Malformed("an address is too long"));
        }
        Ok(())
    }
}

impl From<MemberRecord> for wire::MemberRecord {
    fn from(record: MemberRecord) -> Self {
        let MemberRecord { peer_address, gateway_address, operator_address, store_id } = record;
        Self { peer_address, gateway_address, operator_address, store_id }
    }
}

impl From<wire::MemberRecord> for MemberRecord {
    fn from(record: wire::MemberRecord) -> Self {
        let wire::MemberRecord { peer_address, gateway_address, operator_address, store_id } = record;
        Self { peer_address, gateway_address, operator_address, store_id }
    }
}

impl Member {
    pub(crate) fn from_wire(member: Option<wire::Member>) -> Result<Self, Malformed> {
        let member = member.ok_or_else(|| Malformed("no member".into()))?;
        let record = member.record.ok_or_else(|| Malformed("a member without a record".into()))?;
        Ok(Self { node_id: member.node_id, record: record.into() })
    }
}

// ## Forming

/// How a node finds its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Formation {
    /// Whether this node may make a new cluster if all peers are empty.
    pub bootstrap: bool,
    /// The peer addresses of the configured nodes, with or without this one's own.
    pub peers: Vec<String>,
    /// How many voters the cluster shall have before operators take over.
    pub initial_voters: u32,
    /// This node's record; `peer_address` as the others have it in `peers`.
    pub record: MemberRecord,
    /// 64 random bits, the id of the cluster if this node makes it.
    pub cluster_id: u64,
}

/// Forms or joins a cluster, and from then on keeps this node's record and the initial promotions up to date, for as long as the
/// group runs. Ends with an error only if an operator must act.
pub async fn form_or_join(group: Group, formation: Formation) -> Result<(), FormationError> {
    let inner = group.inner.clone();
    let mut told = Told::default();
    loop {
        let step = if is_member(&group) { attend(&group, &formation).await } else { enter(&group, &formation).await };
        let step = match step {
            Ok(state) => Ok(state),
            Err(Attempt::Later(hindrance)) => Err(hindrance),
            Err(Attempt::Final(error)) => return Err(error),
        };
        if told.is_news(&step) {
            match step {
                Ok(state) => tracing::info!(%state, "cluster formation"),
                Err(hindrance) => {
                    tracing::warn!(%hindrance, "cluster formation is held up, and is tried again and again");
                }
            }
        }
        if inner.metrics.borrow_watched().running_state.is_err() {
            return Ok(()); // the group has ended
        }
        tokio::time::sleep(limits::FORM_PAUSE).await;
    }
}

/// What the log was told last of a formation that is looked at twice a second: how far it is, or what holds it up.
#[derive(Default)]
pub(crate) struct Told(Option<Result<&'static str, String>>);

impl Told {
    /// True where it is not what was told last.
    pub(crate) fn is_news(&mut self, step: &Result<&'static str, String>) -> bool {
        let is_news = self.0.as_ref() != Some(step);
        if is_news {
            self.0 = Some(step.clone());
        }
        is_news
    }
}

/// Why a node finds no cluster, and will not.
#[derive(Debug, thiserror::Error)]
pub enum FormationError {
    /// A peer belongs to another cluster than this node: a wrong address, or a disk from elsewhere.
    #[error(
        "{address} belongs to cluster {theirs:016x}, this node to {ours:016x}: check the peers and the data directory"
    )]
    OtherCluster {
        /// The peer.
        address: String,
        /// Its cluster.
        theirs: u64,
        /// This node's.
        ours: u64,
    },
    /// The cluster will not have this node.
    #[error("{address} refuses this node: {error}")]
    Refused {
        /// The peer.
        address: String,
        /// Why.
        error: PeerError,
    },
    /// The new identity could not be kept.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

enum Attempt {
    Later(String),
    Final(FormationError),
}

impl From<IdentityError> for Attempt {
    fn from(error: IdentityError) -> Self {
        Self::Final(error.into())
    }
}

fn is_member(group: &Group) -> bool {
    let own = group.inner.identity();
    own.cluster_id != 0 && group.inner.metrics.borrow_watched().membership_config.get_node(&own.node_id).is_some()
}

/// One attempt to come into a cluster.
async fn enter(group: &Group, formation: &Formation) -> Result<&'static str, Attempt> {
    let inner = &*group.inner;
    let own = inner.identity();
    let others: BTreeSet<&String> =
        formation.peers.iter().filter(|address| **address != formation.record.peer_address).collect();
    let answers = join_all(others.iter().map(|address| inner.probe(address))).await;
    let known: Vec<(&String, wire::ProbeResponse)> =
        others.iter().copied().zip(answers).filter_map(|(address, answer)| Some((address, answer?))).collect();
    // This node under another name is not a peer.
    let alias = |answer: &wire::ProbeResponse| answer.node_id == own.node_id && answer.store_id == own.store_id;

    let mut unborn = false;
    for (address, answer) in known.iter().filter(|(_, answer)| answer.cluster_id != 0 && !alias(answer)) {
        if own.cluster_id != 0 && answer.cluster_id != own.cluster_id {
            let (address, theirs, ours) = ((*address).clone(), answer.cluster_id, own.cluster_id);
            return Err(Attempt::Final(FormationError::OtherCluster { address, theirs, ours }));
        }
        if !answer.empty {
            let at = if answer.leader_address.is_empty() { address } else { &answer.leader_address };
            return join(group, formation, at).await;
        }
        // It joined, or was about to make a cluster, and has no log yet: somebody else may have one.
        unborn |= answer.cluster_id != own.cluster_id;
    }
    if unborn {
        return Ok("waiting for a peer that is in a cluster and has no log yet");
    }

    if !formation.bootstrap {
        return Ok("waiting for a cluster to join");
    }
    if known.len() < others.len() {
        return Ok("waiting for all peers to answer");
    }
    let peers = known.iter().filter(|(_, answer)| !alias(answer));
    if peers.map(|(address, _)| *address).any(|address| *address < formation.record.peer_address) {
        return Ok("waiting for the peer with the smallest address to make the cluster");
    }
    if !inner.is_empty() {
        return Ok("waiting to be a member");
    }
    // What its first leader relies on, every node must have: any of them may lead next.
    let held = BTreeSet::from_iter(inner.holdings.read().clone());
    for (address, answer) in known.into_iter().filter(|(_, answer)| !alias(answer)) {
        let theirs = BTreeSet::from_iter(answer.holdings);
        if theirs != held {
            return Err(Attempt::Later(format!(
                "{address} has {theirs:?} and this node {held:?}: bring both the same"
            )));
        }
    }
    let cluster_id = if own.cluster_id == 0 { formation.cluster_id } else { own.cluster_id };
    let member = Member { node_id: own.node_id, record: own_record(group, formation) };
    match group.bootstrap(cluster_id, vec![member]).await {
        Ok(()) => Ok("made a new cluster"),
        Err(error) => Err(Attempt::Later(error.to_string())),
    }
}

async fn join(group: &Group, formation: &Formation, address: &str) -> Result<&'static str, Attempt> {
    let inner = &*group.inner;
    let member = wire::Member { node_id: inner.identity().node_id, record: Some(own_record(group, formation).into()) };
    let request = wire::JoinRequest {
        envelope: Some(inner.peers.to_anybody()),
        member: Some(member),
        forwarded: false,
        boot_id: inner.peers.boot,
    };
    let asked = inner.peers.wire.join(address, request);
    match tokio::time::timeout(limits::JOIN_MAX, asked).await {
        Ok(Ok(joined)) => {
            inner.enter_cluster(joined.cluster_id)?;
            Ok("joined, waiting for the log")
        }
        Ok(Err(PeerError::Refused { refusal: Refusal::NotLeader, message })) => Err(Attempt::Later(message)),
        Ok(Err(error @ PeerError::Refused { .. })) => {
            inner.peers.standing.noted(&error);
            Err(Attempt::Final(FormationError::Refused { address: address.to_owned(), error }))
        }
        Ok(Err(error)) => Err(Attempt::Later(error.to_string())),
        Err(_) => Err(Attempt::Later(format!("{address} does not answer"))),
    }
}

/// What a member sees to: its record, and on the leader the voters the cluster was to begin with.
async fn attend(group: &Group, formation: &Formation) -> Result<&'static str, Attempt> {
    let inner = &*group.inner;
    let own = inner.identity();
    let record = own_record(group, formation);
    let recorded = inner.metrics.borrow_watched().membership_config.get_node(&own.node_id).cloned();
    let leadership = inner.leadership.borrow().clone();
    if recorded != Some(record.clone()) {
        if leadership.is_self {
            let member = Member { node_id: own.node_id, record };
            group.add_learner(member).await.map_err(|error| Attempt::Later(error.to_string()))?;
        } else if let Some(leader) = leadership.record {
            return join(group, formation, &leader.peer_address).await;
        } else {
            // The leader calls the recorded address and not this one: nothing is heard before it knows better.
            return ask_anybody(group, formation).await;
        }
        return Ok("keeping the record");
    }
    let mut lacking = Ok(());
    for learner in if leadership.is_self { next_voters(group, formation.initial_voters) } else { Vec::new() } {
        match has_what_this_node_has(group, &learner).await {
            Ok(()) => {
                let node = learner.node_id;
                group.promote(node).await.map_err(|error| Attempt::Later(error.to_string()))?;
                tracing::info!(node = format_args!("{node:016x}"), "a learner became one of the first voters");
                return Ok("a member");
            }
            Err(words) => lacking = Err(Attempt::Later(words)),
        }
    }
    lacking.map(|()| "a member")
}

/// Whether a learner says that it has what this node, which leads, relies on: a voter may be the next to lead.
async fn has_what_this_node_has(group: &Group, learner: &Member) -> Result<(), String> {
    let (node, address) = (learner.node_id, &learner.record.peer_address);
    let answer = group.inner.probe(address).await.filter(|answer| answer.node_id == node);
    let answer = answer.ok_or_else(|| format!("{node:016x} at {address} does not say what it has"))?;
    let held = BTreeSet::from_iter(group.inner.holdings.read().clone());
    let theirs = BTreeSet::from_iter(answer.holdings);
    if held.is_subset(&theirs) {
        return Ok(());
    }
    Err(format!("{node:016x} has {theirs:?} and this node {held:?}: it may vote once it has as much"))
}

/// Asks the other members, one after the other, to keep this node's new record.
async fn ask_anybody(group: &Group, formation: &Formation) -> Result<&'static str, Attempt> {
    let own = group.inner.identity().node_id;
    let members = group.inner.metrics.borrow_watched().membership_config.clone();
    let mut failed = Attempt::Later("there is no other member to ask".into());
    for (_, record) in members.nodes().filter(|(node, _)| **node != own) {
        match join(group, formation, &record.peer_address).await {
            Ok(_) => return Ok("the record is kept, waiting for the leader"),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// The learners the leader may promote by itself, one at a time.
fn next_voters(group: &Group, initial_voters: u32) -> Vec<Member> {
    let inner = &*group.inner;
    let metrics = inner.metrics.borrow_watched();
    let position = inner.applied.position.borrow();
    let (Some(leader), Some(applied), Some(last)) = (own_leader_id(&metrics), position.applied, metrics.last_log_index)
    else {
        return Vec::new();
    };
    // Before an entry of its own term is applied, a leader may not know how many voters there have been.
    if applied.leader_id != leader.into() || position.voters_most >= initial_voters {
        return Vec::new();
    }
    let is_ready = |learner: &NodeId| {
        let matched = metrics.replication.as_ref().and_then(|matched| *matched.get(learner)?);
        let answered = metrics.heartbeat.as_ref().and_then(|answers| answers.get(learner)?.as_ref());
        matched.is_some_and(|matched| matched.index + BEHIND_MAX >= last)
            && answered.is_some_and(|at| openraft::Instant::elapsed(&**at) < inner.timing.election_max)
    };
    let members = &metrics.membership_config;
    let ready = members.membership().learner_ids().filter(is_ready);
    ready.filter_map(|node_id| Some(Member { node_id, record: members.get_node(&node_id)?.clone() })).collect()
}

fn own_record(group: &Group, formation: &Formation) -> MemberRecord {
    MemberRecord { store_id: group.inner.identity().store_id, ..formation.record.clone() }
}
