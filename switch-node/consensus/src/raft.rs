//! openraft with our types, and the way between its types, the log's and the wire's.
//!
//! openraft's own serde is not a stable format; nothing of it is written or sent.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    sync::Arc,
};

use bytes::Bytes;
use openraft::{
    EntryPayload, OptionalSend, RaftTypeConfig,
    errors::Fatal,
    impls::{self, leader_id_adv},
    rt::deterministic_rng::DeterministicRng,
};
use prost::Message;
use switch_proto::peer::v1 as wire;

use crate::{
    LeaderId, NodeId,
    log::{Ballot, Body, LogEntry, LogId},
    machine::replica::Replica,
    membership::MemberRecord,
};

/// One entry's payload as openraft carries it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Pack(pub(crate) Bytes);

impl fmt::Debug for Pack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Pack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Our choice of types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Config;

impl RaftTypeConfig for Config {
    type D = Pack;
    type R = ();
    type NodeId = NodeId;
    type Node = MemberRecord;
    type Term = u64;
    type LeaderId = RaftLeaderId;
    type Vote = RaftVote;
    type Payload = RaftPayload;
    type Entry = RaftEntry;
    type AsyncRuntime = Runtime;
    type Responder<T>
        = impls::OneshotResponder<Self, T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = impls::InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = impls::BoxedErrorSource;
}

/// Tokio, but election timeouts come from a seed, so that a simulation can be replayed. Everything that spawns openraft's tasks
/// must run inside `Runtime::scope`.
pub(crate) type Runtime = DeterministicRng<openraft_rt_tokio::TokioRuntime>;
pub(crate) type Raft = openraft::Raft<Config, Replica>;
pub(crate) type RaftLeaderId = leader_id_adv::LeaderId<u64, NodeId>;
pub(crate) type RaftVote = openraft::Vote<RaftLeaderId>;
pub(crate) type RaftLogId = openraft::LogId<RaftLeaderId>;
pub(crate) type RaftPayload = EntryPayload<Pack, NodeId, MemberRecord>;
pub(crate) type RaftEntry = openraft::Entry<RaftLeaderId, RaftPayload>;
pub(crate) type Membership = openraft::Membership<NodeId, MemberRecord>;
pub(crate) type StoredMembership = openraft::StoredMembership<RaftLeaderId, NodeId, MemberRecord>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<RaftLeaderId, NodeId, MemberRecord>;

/// Bytes that a peer or a disk gave us and that do not mean anything.
#[derive(Debug, thiserror::Error)]
#[error("not understood: {0}")]
pub(crate) struct Malformed(pub(crate) String);

impl From<Malformed> for io::Error {
    fn from(malformed: Malformed) -> Self {
        Self::new(io::ErrorKind::InvalidData, malformed)
    }
}

// ## Ids and votes

impl From<RaftLeaderId> for LeaderId {
    fn from(id: RaftLeaderId) -> Self {
        Self { term: id.term, node: id.node_id }
    }
}

impl From<LeaderId> for RaftLeaderId {
    fn from(id: LeaderId) -> Self {
        Self { term: id.term, node_id: id.node }
    }
}

pub(crate) fn log_id(id: RaftLogId) -> LogId {
    LogId { leader: id.leader_id.into(), index: id.index }
}

pub(crate) fn raft_log_id(id: LogId) -> RaftLogId {
    RaftLogId { leader_id: id.leader.into(), index: id.index }
}

pub(crate) fn ballot(vote: RaftVote) -> Ballot {
    Ballot { leader: vote.leader_id.into(), committed: vote.committed }
}

pub(crate) fn vote(ballot: Ballot) -> RaftVote {
    RaftVote { leader_id: ballot.leader.into(), committed: ballot.committed }
}

pub(crate) fn wire_log_id(id: RaftLogId) -> wire::LogId {
    wire::LogId { term: id.leader_id.term, node: id.leader_id.node_id, index: id.index }
}

pub(crate) fn from_wire_log_id(id: wire::LogId) -> RaftLogId {
    RaftLogId { leader_id: RaftLeaderId { term: id.term, node_id: id.node }, index: id.index }
}

pub(crate) fn wire_ballot(vote: RaftVote) -> wire::Ballot {
    wire::Ballot { term: vote.leader_id.term, node: vote.leader_id.node_id, committed: vote.committed }
}

pub(crate) fn from_wire_ballot(ballot: Option<wire::Ballot>) -> Result<RaftVote, Malformed> {
    let ballot = ballot.ok_or_else(|| Malformed("no ballot".into()))?;
    let leader_id = RaftLeaderId { term: ballot.term, node_id: ballot.node };
    Ok(RaftVote { leader_id, committed: ballot.committed })
}

// ## Entries

pub(crate) fn log_entry(entry: RaftEntry) -> LogEntry {
    let body = match entry.payload {
        EntryPayload::Blank => Body::Blank,
        EntryPayload::Normal(Pack(bytes)) => Body::Pack(bytes),
        EntryPayload::Membership(membership) => Body::Membership(encode_membership(&membership)),
    };
    LogEntry { id: log_id(entry.log_id), body }
}

pub(crate) fn raft_entry(entry: LogEntry) -> Result<RaftEntry, Malformed> {
    let payload = match entry.body {
        Body::Blank => EntryPayload::Blank,
        Body::Pack(bytes) => EntryPayload::Normal(Pack(bytes)),
        Body::Membership(bytes) => EntryPayload::Membership(decode_membership(bytes)?),
    };
    Ok(RaftEntry { log_id: raft_log_id(entry.id), payload })
}

pub(crate) fn wire_entry(entry: RaftEntry) -> wire::Entry {
    let body = match entry.payload {
        EntryPayload::Blank => wire::entry::Body::Blank(wire::Blank {}),
        EntryPayload::Normal(Pack(bytes)) => wire::entry::Body::Pack(bytes),
        EntryPayload::Membership(membership) => wire::entry::Body::Membership(wire_membership(&membership)),
    };
    wire::Entry { id: Some(wire_log_id(entry.log_id)), body: Some(body) }
}

pub(crate) fn from_wire_entry(entry: wire::Entry) -> Result<RaftEntry, Malformed> {
    let id = entry.id.ok_or_else(|| Malformed("an entry without a place".into()))?;
    let payload = match entry.body.ok_or_else(|| Malformed("an entry without a body".into()))? {
        wire::entry::Body::Blank(_) => EntryPayload::Blank,
        wire::entry::Body::Pack(bytes) => EntryPayload::Normal(Pack(bytes)),
        wire::entry::Body::Membership(membership) => EntryPayload::Membership(from_wire_membership(membership)?),
    };
    Ok(RaftEntry { log_id: from_wire_log_id(id), payload })
}

// ## Members

pub(crate) fn wire_membership(membership: &Membership) -> wire::Membership {
    let voter_sets =
        membership.get_joint_config().iter().map(|set| wire::VoterSet { node_ids: set.iter().copied().collect() });
    let members =
        membership.nodes().map(|(id, record)| wire::Member { node_id: *id, record: Some(record.clone().into()) });
    wire::Membership { voter_sets: voter_sets.collect(), members: members.collect() }
}

pub(crate) fn from_wire_membership(membership: wire::Membership) -> Result<Membership, Malformed> {
    let sets: Vec<BTreeSet<NodeId>> =
        membership.voter_sets.into_iter().map(|set| set.node_ids.into_iter().collect()).collect();
    let mut nodes = BTreeMap::new();
    for member in membership.members {
        let record = member.record.ok_or_else(|| Malformed("a member without a record".into()))?;
        nodes.insert(member.node_id, record.into());
    }
    if sets.is_empty() && nodes.is_empty() {
        return Ok(Membership::default());
    }
    Membership::new(sets, nodes).map_err(|error| Malformed(error.to_string()))
}

pub(crate) fn encode_membership(membership: &Membership) -> Bytes {
    wire_membership(membership).encode_to_vec().into()
}

pub(crate) fn decode_membership(bytes: Bytes) -> Result<Membership, Malformed> {
    let membership = wire::Membership::decode(bytes).map_err(|error| Malformed(error.to_string()))?;
    from_wire_membership(membership)
}

// ## Progress

/// What a [`Progress`](crate::Progress) says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) applied: Option<RaftLogId>,
    pub(crate) membership: Arc<StoredMembership>,
    /// The most voters that ever were at once, over the whole life of the cluster: once it reached the initial number, the leader
    /// promotes nobody by itself. Replicated because every node derives it from the same entries.
    pub(crate) voters_most: u32,
}

impl Position {
    pub(crate) fn encode(&self) -> crate::Progress {
        let progress = wire::Progress {
            applied: self.applied.map(wire_log_id),
            membership_at: self.membership.log_id().map(wire_log_id),
            membership: Some(wire_membership(self.membership.membership())),
            voters_most: self.voters_most,
        };
        crate::Progress(progress.encode_to_vec().into())
    }

    pub(crate) fn decode(progress: crate::Progress) -> Result<Self, Malformed> {
        let progress = wire::Progress::decode(progress.0).map_err(|error| Malformed(error.to_string()))?;
        let membership = from_wire_membership(progress.membership.unwrap_or_default())?;
        Ok(Self {
            applied: progress.applied.map(from_wire_log_id),
            membership: Arc::new(StoredMembership::new(progress.membership_at.map(from_wire_log_id), membership)),
            voters_most: progress.voters_most,
        })
    }

    pub(crate) fn meta(&self) -> SnapshotMeta {
        SnapshotMeta { last_log_id: self.applied, last_membership: (*self.membership).clone() }
    }
}

/// The reason a core gives for having stopped.
pub(crate) fn fatal(fatal: &Fatal<Config>) -> String {
    match fatal {
        Fatal::StorageError(error) => error.to_string(),
        Fatal::Panicked => "the consensus core panicked".into(),
        Fatal::Stopped => "the consensus core has stopped".into(),
    }
}
