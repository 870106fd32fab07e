//! One peer as openraft wants it.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{
    Stream, StreamExt,
    future::{BoxFuture, Either},
    stream::{self, BoxStream},
};
use openraft::{
    RaftNetworkFactory,
    errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable},
    network::{Backoff, NetBackoff, NetSnapshot, NetStreamAppend, NetTransferLeader, NetVote, RPCOption, RPCTypes},
    raft::{
        AppendEntriesRequest, SnapshotResponse, StreamAppendError, StreamAppendResult, TransferLeaderError,
        TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};
use parking_lot::{Mutex, RwLock};
use switch_proto::peer::v1 as wire;

use super::{PeerError, PeerWire, Refusal};
use crate::{
    Identity, NodeId, limits,
    machine::replica::{RaftSnapshot, SnapshotData},
    membership::MemberRecord,
    raft::{
        Config, Malformed, RaftLogId, RaftVote, from_wire_ballot, from_wire_log_id, wire_ballot, wire_entry,
        wire_log_id,
    },
    snapshot,
    standing::Standing,
};

type Rpc<T> = Result<T, RPCError<Config>>;

/// Makes peers; knows who we are.
#[derive(Clone)]
pub(crate) struct Peers {
    pub(crate) wire: Arc<dyn PeerWire>,
    pub(crate) identity: Arc<RwLock<Identity>>,
    /// This process.
    pub(crate) boot: u64,
    /// Told when a peer will not have this process for its node.
    pub(crate) standing: Arc<Standing>,
    /// The members' records as of the newest membership. openraft keeps a peer as it made it, also when its node moves.
    pub(crate) records: Arc<RwLock<BTreeMap<NodeId, MemberRecord>>>,
    /// Up to where each peer has acknowledged the log to this node, and under which of its votes.
    pub(crate) acknowledged: Arc<Mutex<BTreeMap<NodeId, Acknowledged>>>,
    /// How long an append stream may owe an answer.
    pub(crate) stream_idle: Duration,
    /// Snapshots are read on the caller's task.
    pub(crate) inline: bool,
}

/// What a peer has acknowledged.
#[derive(Clone, Copy)]
pub(crate) struct Acknowledged {
    /// The vote this node led under.
    under: RaftVote,
    /// The last entry.
    matched: RaftLogId,
    /// It lacks that entry now.
    reverted: bool,
}

impl Peers {
    /// Of a call to a member.
    pub(crate) fn envelope(&self, to_node: NodeId, record: &MemberRecord) -> wire::Envelope {
        wire::Envelope { to_node, to_store: record.store_id, ..self.to_anybody() }
    }

    /// Of a call to whoever answers at an address.
    pub(crate) fn to_anybody(&self) -> wire::Envelope {
        let identity = *self.identity.read();
        wire::Envelope {
            cluster_id: identity.cluster_id,
            from_node: identity.node_id,
            to_node: 0,
            store_id: identity.store_id,
            to_store: 0,
            boot_id: self.boot,
        }
    }

    /// Where it is wrong to ask again at once, openraft backs off.
    fn rpc_error(&self, error: PeerError) -> RPCError<Config> {
        self.standing.noted(&error);
        match error {
            PeerError::Unreachable(_) | PeerError::Busy(_) | PeerError::Refused { .. } => {
                if let PeerError::Refused { .. } = &error {
                    tracing::warn!(%error, "a peer refuses us");
                }
                RPCError::Unreachable(Unreachable::new(&error))
            }
            PeerError::Failed(_) => RPCError::Network(NetworkError::new(&error)),
        }
    }

    /// Keeps what a peer has acknowledged.
    fn acknowledges(&self, target: NodeId, vote: RaftVote, matched: RaftLogId) {
        let mut acknowledged = self.acknowledged.lock();
        let new = Acknowledged { under: vote, matched, reverted: false };
        let known = acknowledged.entry(target).or_insert(new);
        if known.under != vote || known.matched < matched {
            *known = new;
        }
    }

    /// Refuses a peer that lacks what it acknowledged: it may have been part of the quorum that committed it. openraft would take
    /// it for a bug of its own.
    fn reverted(&self, target: NodeId, vote: RaftVote, lacks: RaftLogId) -> Option<PeerError> {
        let mut acknowledged = self.acknowledged.lock();
        let known = acknowledged.get_mut(&target);
        let known = known.filter(|known| known.under == vote && lacks.index <= known.matched.index)?;
        known.reverted = true;
        let message = format!(
            "node {target:016x} acknowledged entry {} and lacks entry {}: its disk was put back to an older state, stop it and \
             bring it back as a new node with an empty data directory",
            known.matched.index, lacks.index
        );
        Some(PeerError::refused(Refusal::LogReverted, message))
    }

    /// Whether a peer lacks what it acknowledged under this vote.
    pub(crate) fn has_reverted(&self, target: NodeId, vote: RaftVote) -> bool {
        self.acknowledged.lock().get(&target).is_some_and(|known| known.under == vote && known.reverted)
    }
}

impl RaftNetworkFactory<Config> for Peers {
    type Network = Peer;

    async fn new_client(&mut self, target: NodeId, record: &MemberRecord) -> Peer {
        Peer { peers: self.clone(), target, record: record.clone() }
    }
}

/// One peer.
pub(crate) struct Peer {
    peers: Peers,
    target: NodeId,
    /// What openraft knew when it made this.
    record: MemberRecord,
}

impl Peer {
    /// What the membership says of it now.
    fn record(&self) -> MemberRecord {
        self.peers.records.read().get(&self.target).unwrap_or(&self.record).clone()
    }

    async fn within<T>(
        &self,
        action: RPCTypes,
        limit: Duration,
        call: impl Future<Output = Result<T, PeerError>>,
    ) -> Rpc<T> {
        match tokio::time::timeout(limit, call).await {
            Ok(answer) => answer.map_err(|error| self.peers.rpc_error(error)),
            Err(_) => Err(self.late(action, limit)),
        }
    }

    fn late(&self, action: RPCTypes, timeout: Duration) -> RPCError<Config> {
        let id = self.peers.identity.read().node_id;
        RPCError::Timeout(Timeout { action, id, target: self.target, timeout })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn malformed(error: Malformed) -> RPCError<Config> {
    RPCError::Network(NetworkError::new(&error))
}

impl NetBackoff<Config> for Peer {
    fn backoff(&self) -> Option<Backoff> {
        let pauses =
            std::iter::successors(Some(limits::BACKOFF_MIN), |pause| Some((*pause * 2).min(limits::BACKOFF_MAX)));
        Some(Backoff::new(pauses))
    }
}

impl NetVote<Config> for Peer {
    async fn vote(&mut self, request: VoteRequest<Config>, option: RPCOption) -> Rpc<VoteResponse<Config>> {
        let record = self.record();
        let request = wire::VoteRequest {
            envelope: Some(self.peers.envelope(self.target, &record)),
            ballot: Some(wire_ballot(request.vote)),
            last: request.last_log_id.map(wire_log_id),
            leadership_transfer: request.leadership_transfer,
        };
        let call = self.peers.wire.vote(&record.peer_address, request);
        let response = self.within(RPCTypes::Vote, option.soft_ttl(), call).await?;
        let vote = from_wire_ballot(response.ballot).map_err(malformed)?;
        Ok(VoteResponse::new(vote, response.last.map(from_wire_log_id), response.granted))
    }

    async fn pre_vote(&mut self, request: VoteRequest<Config>, option: RPCOption) -> Rpc<VoteResponse<Config>> {
        let record = self.record();
        let request = wire::PreVoteRequest {
            envelope: Some(self.peers.envelope(self.target, &record)),
            ballot: Some(wire_ballot(request.vote)),
            last: request.last_log_id.map(wire_log_id),
            leadership_transfer: request.leadership_transfer,
        };
        let call = self.peers.wire.pre_vote(&record.peer_address, request);
        let response = self.within(RPCTypes::Vote, option.soft_ttl(), call).await?;
        let vote = from_wire_ballot(response.ballot).map_err(malformed)?;
        Ok(VoteResponse::new(vote, response.last.map(from_wire_log_id), response.granted))
    }
}

impl NetStreamAppend<Config> for Peer {
    fn stream_append<'s, S>(
        &'s mut self,
        requests: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Rpc<BoxStream<'s, Rpc<StreamAppendResult<Config>>>>>
    where
        S: Stream<Item = AppendEntriesRequest<Config>> + Send + Unpin + 'static,
    {
        Box::pin(async move {
            let sent = Arc::new(AtomicU64::new(0));
            let record = self.record();
            let envelope = self.peers.envelope(self.target, &record);
            let count = sent.clone();
            let mut requests = requests.map(move |request| {
                count.fetch_add(1, Ordering::Relaxed);
                (request.vote, append_request(envelope, request))
            });
            // openraft waits out its backoff inside the request stream. A peer that cannot be reached would fail before anybody
            // looks into that stream, and be tried again at once, for ever: so look into it first.
            let Some((vote, first)) = requests.next().await else { return Ok(stream::empty().boxed()) };
            let requests = requests.map(|(_, request)| request);
            let requests = stream::iter([first]).chain(requests);
            // openraft's limit is one heartbeat; the first stream after a restart has to connect and shake hands as well.
            let open = option.soft_ttl().max(self.peers.stream_idle);
            let call = self.peers.wire.stream_append(&record.peer_address, requests.boxed());
            let responses = self.within(RPCTypes::AppendEntries, open, call).await?;
            let answers = Answers { peer: self, vote, responses, sent, received: 0, ended: false };
            Ok(stream::unfold(answers, Answers::next).boxed())
        })
    }
}

fn append_request(envelope: wire::Envelope, request: AppendEntriesRequest<Config>) -> wire::StreamAppendRequest {
    wire::StreamAppendRequest {
        envelope: Some(envelope),
        ballot: Some(wire_ballot(request.vote)),
        previous: request.prev_log_id.map(wire_log_id),
        entries: request.entries.into_iter().map(wire_entry).collect(),
        committed: request.leader_commit.map(wire_log_id),
    }
}

/// The answers of an append stream, and who watches that they come.
///
/// A stream may be silent for hours while nothing is written. It may not owe an answer for long: a half-open connection looks
/// exactly like that, and nothing else would find it.
struct Answers<'s> {
    peer: &'s Peer,
    /// Under which this node sends.
    vote: RaftVote,
    responses: super::Appended,
    sent: Arc<AtomicU64>,
    received: u64,
    ended: bool,
}

impl Answers<'_> {
    async fn next(mut self) -> Option<(Rpc<StreamAppendResult<Config>>, Self)> {
        if self.ended {
            return None;
        }
        let response = loop {
            let owed = self.sent.load(Ordering::Relaxed) > self.received;
            match tokio::time::timeout(self.peer.peers.stream_idle, self.responses.next()).await {
                Ok(response) => break response?,
                Err(_) if owed => {
                    self.ended = true;
                    let late = self.peer.late(RPCTypes::AppendEntries, self.peer.peers.stream_idle);
                    return Some((Err(late), self));
                }
                Err(_) => {}
            }
        };
        self.received += 1;
        let result = response
            .map_err(|error| self.peer.peers.rpc_error(error))
            .and_then(|response| append_result(response).map_err(malformed))
            .and_then(|result| self.checked(result));
        self.ended = !matches!(result, Ok(Ok(_)));
        Some((result, self))
    }

    fn checked(&self, result: StreamAppendResult<Config>) -> Rpc<StreamAppendResult<Config>> {
        let Peer { peers, target, .. } = self.peer;
        match &result {
            Ok(Some(matched)) => peers.acknowledges(*target, self.vote, *matched),
            Err(StreamAppendError::Conflict(lacks)) => {
                if let Some(error) = peers.reverted(*target, self.vote, *lacks) {
                    tracing::error!(%error, "a peer has lost what it acknowledged");
                    return Err(RPCError::Unreachable(Unreachable::new(&error)));
                }
            }
            Ok(None) | Err(StreamAppendError::HigherVote(_)) => {}
        }
        Ok(result)
    }
}

fn append_result(response: wire::StreamAppendResponse) -> Result<StreamAppendResult<Config>, Malformed> {
    use wire::stream_append_response::Outcome;
    match response.outcome.ok_or_else(|| Malformed("an answer without an outcome".into()))? {
        Outcome::Accepted(accepted) => Ok(Ok(accepted.matched.map(from_wire_log_id))),
        Outcome::Conflict(id) => Ok(Err(StreamAppendError::Conflict(from_wire_log_id(id)))),
        Outcome::Higher(ballot) => Ok(Err(StreamAppendError::HigherVote(from_wire_ballot(Some(ballot))?))),
    }
}

impl NetSnapshot<Config> for Peer {
    type SnapshotData = SnapshotData;

    async fn full_snapshot(
        &mut self,
        vote: RaftVote,
        snapshot: RaftSnapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Config>, StreamingError<Config>> {
        let SnapshotData::View(view) = snapshot.snapshot else {
            return Err(StreamingError::Network(NetworkError::from_string("only a view can be sent")));
        };
        let record = self.record();
        tracing::info!(target = %record.peer_address, upto = ?snapshot.meta.last_log_id, "sending a snapshot");
        let head = wire::SnapshotHead {
            envelope: Some(self.peers.envelope(self.target, &record)),
            ballot: Some(wire_ballot(vote)),
            progress: view.progress().0,
        };
        let parts = snapshot::parts(head, view, self.peers.inline);
        let call = self.peers.wire.install_snapshot(&record.peer_address, parts);
        // A receiver that installs is silent; it must not be asked twice (openraft #2116), so the limit is in minutes.
        let call = self.within(RPCTypes::InstallSnapshot, limits::SNAPSHOT_INSTALL_MAX, call);
        match futures::future::select(Box::pin(cancel), Box::pin(call)).await {
            Either::Left((closed, _)) => Err(StreamingError::Closed(closed)),
            Either::Right((response, _)) => {
                let response = response?;
                let vote = from_wire_ballot(response.ballot).map_err(malformed)?;
                Ok(SnapshotResponse::new(vote))
            }
        }
    }
}

impl NetTransferLeader<Config> for Peer {
    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Config>,
        option: RPCOption,
    ) -> Rpc<TransferLeaderResponse<Config>> {
        use wire::transfer_leader_response::Outcome;
        let expected_vote = *request.from_leader();
        let expected_log = request.last_log_id().copied();
        let record = self.record();
        let message = wire::TransferLeaderRequest {
            envelope: Some(self.peers.envelope(self.target, &record)),
            from_leader: Some(wire_ballot(expected_vote)),
            to_leader: *request.to_node_id(),
            last: expected_log.map(wire_log_id),
        };
        let call = self.peers.wire.transfer_leader(&record.peer_address, message);
        let response = self.within(RPCTypes::TransferLeader, option.soft_ttl(), call).await?;
        match response.outcome() {
            Outcome::Accepted => Ok(Ok(())),
            Outcome::BallotChanged => {
                let actual = from_wire_ballot(response.ballot).map_err(malformed)?;
                Ok(Err(TransferLeaderError::VoteChanged { expected: expected_vote, actual }))
            }
            Outcome::LogNotFlushed => {
                let actual = response.flushed.map(from_wire_log_id);
                Ok(Err(TransferLeaderError::LogNotFlushed { expected: expected_log, actual }))
            }
            Outcome::Unspecified => Err(malformed(Malformed("an answer without an outcome".into()))),
        }
    }
}
