//! The called side of the peer wire.
//!
//! Who may call at all is decided at the peer door, by certificate. Here the ids in the messages are checked: a call from another
//! cluster, for another node or disk, from another disk or from a second process is refused before it reaches the core.

use std::{
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use futures::{FutureExt as _, Stream, StreamExt, future, stream, stream::BoxStream};
use openraft::{
    async_runtime::WatchReceiver,
    raft::{AppendEntriesRequest, StreamAppendError, TransferLeaderError, TransferLeaderRequest, VoteRequest},
};
use parking_lot::Mutex;
use switch_proto::peer::v1::{
    self as wire,
    raft_service_server::{RaftService, RaftServiceServer},
};
use tokio::{sync::oneshot, time::Instant};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    Group, Member, MemberRecord, NodeId, PeerError, ReadError, Refusal,
    group::Inner,
    limits,
    machine::replica::{RaftSnapshot, SnapshotData},
    raft::{
        Config, Malformed, Position, Raft, Runtime, from_wire_ballot, from_wire_entry, from_wire_log_id, wire_ballot,
        wire_log_id,
    },
    snapshot,
    transport::Appended,
};

/// The gRPC service of a group; to be served behind the peer door only.
pub fn service(group: &Group) -> RaftServiceServer<PeerHandler> {
    RaftServiceServer::new(group.handle())
        .max_decoding_message_size(limits::PEER_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(limits::PEER_MESSAGE_BYTES_MAX)
}

/// Answers peers. Cheap to clone.
#[derive(Clone)]
pub struct PeerHandler {
    inner: Arc<Inner>,
}

impl PeerHandler {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    /// See `RaftService.Vote`.
    pub async fn vote(&self, request: wire::VoteRequest) -> Result<wire::VoteResponse, PeerError> {
        self.known(request.envelope).await?;
        let request = VoteRequest {
            vote: from_wire_ballot(request.ballot)?,
            last_log_id: request.last.map(from_wire_log_id),
            leadership_transfer: request.leadership_transfer,
        };
        let response = self.raft().vote(request).await.map_err(failed)?;
        Ok(wire::VoteResponse {
            ballot: Some(wire_ballot(response.vote)),
            granted: response.vote_granted,
            last: response.last_log_id.map(wire_log_id),
        })
    }

    /// See `RaftService.PreVote`.
    pub async fn pre_vote(&self, request: wire::PreVoteRequest) -> Result<wire::PreVoteResponse, PeerError> {
        self.known(request.envelope).await?;
        let request = VoteRequest {
            vote: from_wire_ballot(request.ballot)?,
            last_log_id: request.last.map(from_wire_log_id),
            leadership_transfer: request.leadership_transfer,
        };
        let response = self.raft().pre_vote(request).await.map_err(failed)?;
        Ok(wire::PreVoteResponse {
            ballot: Some(wire_ballot(response.vote)),
            granted: response.vote_granted,
            last: response.last_log_id.map(wire_log_id),
        })
    }

    /// See `RaftService.StreamAppend`. Ends after the first answer that is not an acceptance, and with `requests`.
    pub fn stream_append(&self, requests: BoxStream<'static, wire::StreamAppendRequest>) -> Appended {
        let refused: Arc<Mutex<Option<PeerError>>> = Arc::default();
        let handler = self.clone();
        let note = refused.clone();
        // openraft reads ahead in a task that would wait for the next request for ever: it must end when nobody wants the answers
        // any more, and when this node ends.
        let (wanted, unwanted) = oneshot::channel::<()>();
        let mut stopping = self.inner.stopping.subscribe();
        let over = async move {
            let stopped = pin!(stopping.wait_for(|stopping| *stopping));
            future::select(unwanted, stopped).await;
        };
        let requests = requests.take_until(Box::pin(over)).boxed();
        let requests = requests.then(move |request| {
            let handler = handler.clone();
            async move { handler.append_request(request).await }
        });
        let requests = while_ok(requests, note).boxed();
        let raft = self.raft().clone();
        // openraft reads ahead in a task of its own: the seed must reach it.
        let answers = Runtime::scope(self.inner.seed, future::lazy(|_| raft.stream_append(requests)))
            .now_or_never()
            .expect("lazy is ready at once");
        let standing = self.inner.peers.standing.clone();
        let answers = answers.map(move |answer| match answer {
            Ok(result) => {
                let _wanted = &wanted;
                if result.is_ok() {
                    standing.heard();
                }
                Ok(wire::StreamAppendResponse { outcome: Some(outcome(result)) })
            }
            Err(fatal) => Err(PeerError::Failed(crate::raft::fatal(&fatal))),
        });
        let refusal =
            stream::once(async move { refused.lock().take() }).filter_map(|error| future::ready(error.map(Err)));
        answers.chain(refusal).boxed()
    }

    async fn append_request(
        &self,
        request: wire::StreamAppendRequest,
    ) -> Result<AppendEntriesRequest<Config>, PeerError> {
        self.known(request.envelope).await?;
        let entries: Result<Vec<_>, Malformed> = request.entries.into_iter().map(from_wire_entry).collect();
        Ok(AppendEntriesRequest {
            vote: from_wire_ballot(request.ballot)?,
            prev_log_id: request.previous.map(from_wire_log_id),
            entries: entries?,
            leader_commit: request.committed.map(from_wire_log_id),
        })
    }

    /// See `RaftService.InstallSnapshot`.
    pub async fn install_snapshot(
        &self,
        mut parts: BoxStream<'static, Result<wire::InstallSnapshotRequest, PeerError>>,
    ) -> Result<wire::InstallSnapshotResponse, PeerError> {
        let first = tokio::time::timeout(limits::SNAPSHOT_FRAME_IDLE, parts.next()).await;
        let Ok(Some(first)) = first else { return Err(PeerError::Unreachable("the snapshot broke off".into())) };
        let Some(wire::install_snapshot_request::Part::Head(head)) = first?.part else {
            return Err(PeerError::refused(Refusal::Malformed, "a snapshot without a head"));
        };
        self.known(head.envelope).await?;
        let leader = from_wire_ballot(head.ballot)?;
        let own = self.inner.metrics.borrow_watched().vote;
        if leader < own {
            return Ok(wire::InstallSnapshotResponse { ballot: Some(wire_ballot(own)) });
        }
        let progress = crate::Progress(head.progress);
        let position = Position::decode(progress.clone())?;

        let one = self.inner.receiving.clone().try_acquire_owned();
        let one = Arc::new(one.map_err(|_| PeerError::Busy("another snapshot is being installed".into()))?);
        tracing::info!(upto = ?position.applied, "receiving a snapshot");
        let sink = snapshot::receive(&self.inner.host, &mut parts, one.clone()).await?;
        let snapshot = RaftSnapshot {
            meta: position.meta(),
            snapshot: SnapshotData::Received { sink: Mutex::new(sink), progress },
        };
        let raft = self.raft().clone();
        // In a task: the caller may hang up, the installation goes on, and no second one may begin before it ends.
        let installed = tokio::spawn(async move {
            let _one = one;
            raft.install_full_snapshot(leader, snapshot).await
        });
        let response = installed.await.map_err(|_| PeerError::Failed("the installation panicked".into()))?;
        let response = response.map_err(|fatal| PeerError::Failed(crate::raft::fatal(&fatal)))?;
        Ok(wire::InstallSnapshotResponse { ballot: Some(wire_ballot(response.vote)) })
    }

    /// See `RaftService.TransferLeader`.
    pub async fn transfer_leader(
        &self,
        request: wire::TransferLeaderRequest,
    ) -> Result<wire::TransferLeaderResponse, PeerError> {
        use wire::transfer_leader_response::Outcome;
        self.known(request.envelope).await?;
        let from = from_wire_ballot(request.from_leader)?;
        let request = TransferLeaderRequest::new(from, request.to_leader, request.last.map(from_wire_log_id));
        let answer = self.raft().handle_transfer_leader(request).await;
        let (outcome, ballot, flushed) = match answer.map_err(|fatal| PeerError::Failed(crate::raft::fatal(&fatal)))? {
            Ok(()) => (Outcome::Accepted, None, None),
            Err(TransferLeaderError::VoteChanged { actual, .. }) => (Outcome::BallotChanged, Some(actual), None),
            Err(TransferLeaderError::LogNotFlushed { actual, .. }) => (Outcome::LogNotFlushed, None, actual),
        };
        Ok(wire::TransferLeaderResponse {
            outcome: outcome.into(),
            ballot: ballot.map(wire_ballot),
            flushed: flushed.map(wire_log_id),
        })
    }

    /// See `RaftService.Probe`.
    pub async fn probe(&self, _: wire::ProbeRequest) -> Result<wire::ProbeResponse, PeerError> {
        let identity = self.inner.identity();
        let leadership = self.inner.leadership.borrow().clone();
        Ok(wire::ProbeResponse {
            cluster_id: identity.cluster_id,
            node_id: identity.node_id,
            store_id: identity.store_id,
            boot_id: self.inner.peers.boot,
            empty: self.inner.is_empty(),
            leader_address: leadership.record.map(|record| record.peer_address).unwrap_or_default(),
            holdings: self.inner.holdings.read().clone(),
        })
    }

    /// See `RaftService.Join`.
    pub async fn join(&self, request: wire::JoinRequest) -> Result<wire::JoinResponse, PeerError> {
        let envelope = request.envelope.ok_or_else(|| Malformed("no envelope".into()))?;
        let own = self.inner.identity();
        if own.cluster_id == 0 || (envelope.cluster_id != 0 && envelope.cluster_id != own.cluster_id) {
            return Err(other_cluster(envelope.cluster_id, own.cluster_id));
        }
        let group = Group { inner: self.inner.clone() };
        let leadership = self.inner.leadership.borrow().clone();
        if leadership.is_self {
            let member = Member::from_wire(request.member)?;
            group.only_one(&member, request.boot_id).await?;
            group.take_in(member).await?;
            return Ok(wire::JoinResponse { cluster_id: own.cluster_id });
        }
        if request.forwarded {
            return Err(PeerError::refused(Refusal::NotLeader, "leadership has moved on, ask again"));
        }
        let (Some(leader), Some(record)) = (leadership.leader, leadership.record) else {
            return Err(PeerError::Busy("no leader is known".into()));
        };
        let envelope = self.inner.peers.envelope(leader.node, &record);
        let forwarded = wire::JoinRequest { envelope: Some(envelope), forwarded: true, ..request };
        let asked = self.inner.peers.wire.join(&record.peer_address, forwarded);
        tokio::time::timeout(limits::JOIN_MAX, asked)
            .await
            .unwrap_or_else(|_| Err(PeerError::Unreachable("the leader does not answer".into())))
    }

    /// See `RaftService.ReadIndex`.
    pub async fn read_index(&self, request: wire::ReadIndexRequest) -> Result<wire::ReadIndexResponse, PeerError> {
        self.known(request.envelope).await?;
        let within = Duration::from_millis(request.remaining_ms.into()).min(limits::MEMBERSHIP_CHANGE_MAX);
        match self.inner.read_index(within).await {
            Ok(index) => Ok(wire::ReadIndexResponse { index }),
            Err(ReadError::NoLeader) => {
                Err(PeerError::refused(Refusal::NotLeader, "leadership has moved on, ask again"))
            }
            Err(error) => Err(PeerError::Busy(error.to_string())),
        }
    }

    /// See `RaftService.SnapshotTurn`.
    pub async fn snapshot_turn(
        &self,
        request: wire::SnapshotTurnRequest,
    ) -> Result<wire::SnapshotTurnResponse, PeerError> {
        let from = self.known(request.envelope).await?.from_node;
        if !self.inner.leadership.borrow().is_self {
            return Err(PeerError::refused(Refusal::NotLeader, "leadership has moved on, ask again"));
        }
        let granted = self.inner.turn.lock().ask(from, request.done, Instant::now());
        Ok(wire::SnapshotTurnResponse { granted })
    }

    fn raft(&self) -> &Raft {
        &self.inner.raft
    }

    /// Refuses a call that is not meant for this node, in this cluster, or comes from a disk that is not its node's.
    async fn known(&self, envelope: Option<wire::Envelope>) -> Result<wire::Envelope, PeerError> {
        let envelope = envelope.ok_or_else(|| Malformed("no envelope".into()))?;
        let own = self.inner.identity();
        if own.cluster_id == 0 || envelope.cluster_id != own.cluster_id {
            return Err(other_cluster(envelope.cluster_id, own.cluster_id));
        }
        if envelope.to_node != own.node_id {
            let message = format!("this is node {:016x}, not {:016x}", own.node_id, envelope.to_node);
            return Err(PeerError::refused(Refusal::OtherNode, message));
        }
        if envelope.to_store != 0 && envelope.to_store != own.store_id {
            let message = format!(
                "node {:016x} is known with disk {:016x}, this is disk {:016x}",
                own.node_id, envelope.to_store, own.store_id
            );
            tracing::error!(reason = %Refusal::OtherStore, "{message}: this process takes no part");
            self.inner.peers.standing.refuse(message.clone());
            return Err(PeerError::refused(Refusal::OtherNode, message));
        }
        if self.inner.processes.is(envelope.from_node, envelope.boot_id) {
            return Ok(envelope);
        }
        // A node that is in no membership yet, as this node knows it, is the leader's to judge.
        let record = self.inner.metrics.borrow_watched().membership_config.get_node(&envelope.from_node).cloned();
        if let Some(record) = record {
            self.is_the_node(&envelope, &record).await?;
        }
        Ok(envelope)
    }

    /// Refuses a caller that is not the node it says it is: another disk than recorded, or another process than the one that
    /// answers at the recorded address.
    async fn is_the_node(&self, envelope: &wire::Envelope, record: &MemberRecord) -> Result<(), PeerError> {
        let wire::Envelope { from_node, store_id, boot_id, .. } = *envelope;
        if record.store_id != store_id {
            let message = format!("node {from_node:016x} has disk {:016x}, not {store_id:016x}", record.store_id);
            return Err(PeerError::refused(Refusal::OtherStore, message));
        }
        let inner = &*self.inner;
        let Some(answer) = inner.probe(&record.peer_address).await else {
            let message = format!("node {from_node:016x} does not answer at {} yet", record.peer_address);
            return Err(PeerError::Busy(message));
        };
        if (answer.node_id, answer.store_id, answer.boot_id) != (from_node, store_id, boot_id) {
            return Err(other_process(from_node, &record.peer_address));
        }
        let members = inner.metrics.borrow_watched().membership_config.clone();
        inner.processes.found(from_node, boot_id, |node| members.get_node(&node).is_some());
        Ok(())
    }
}

fn other_cluster(theirs: u64, ours: u64) -> PeerError {
    PeerError::refused(Refusal::OtherCluster, format!("this is cluster {ours:016x}, not {theirs:016x}"))
}

/// Says that `node` is the process at `address`, and not the one that says so.
pub(crate) fn other_process(node: NodeId, address: &str) -> PeerError {
    let message = format!(
        "node {node:016x} is the process that answers at {address}, and this is another: one of the two runs on a copy of the \
         other's disk"
    );
    PeerError::refused(Refusal::OtherProcess, message)
}

fn failed(error: impl std::fmt::Display) -> PeerError {
    PeerError::Failed(error.to_string())
}

fn outcome(result: openraft::raft::StreamAppendResult<Config>) -> wire::stream_append_response::Outcome {
    use wire::stream_append_response::Outcome;
    match result {
        Ok(matched) => Outcome::Accepted(wire::Accepted { matched: matched.map(wire_log_id) }),
        Err(StreamAppendError::Conflict(id)) => Outcome::Conflict(wire_log_id(id)),
        Err(StreamAppendError::HigherVote(vote)) => Outcome::Higher(wire_ballot(vote)),
    }
}

impl From<Malformed> for PeerError {
    fn from(malformed: Malformed) -> Self {
        Self::refused(Refusal::Malformed, malformed.to_string())
    }
}

/// Ends a stream at the first error, which is put aside.
fn while_ok<T, E>(
    results: impl Stream<Item = Result<T, E>> + Send + 'static,
    error: Arc<Mutex<Option<E>>>,
) -> impl Stream<Item = T> + Send + 'static
where
    T: Send + 'static,
    E: Send + 'static,
{
    results.scan((), move |(), next| future::ready(next.map_err(|refused| *error.lock() = Some(refused)).ok()))
}

#[async_trait]
impl RaftService for PeerHandler {
    async fn vote(&self, request: Request<wire::VoteRequest>) -> Result<Response<wire::VoteResponse>, Status> {
        Ok(Response::new(Self::vote(self, request.into_inner()).await?))
    }

    async fn pre_vote(
        &self,
        request: Request<wire::PreVoteRequest>,
    ) -> Result<Response<wire::PreVoteResponse>, Status> {
        Ok(Response::new(Self::pre_vote(self, request.into_inner()).await?))
    }

    type StreamAppendStream = Pin<Box<dyn Stream<Item = Result<wire::StreamAppendResponse, Status>> + Send>>;

    async fn stream_append(
        &self,
        request: Request<Streaming<wire::StreamAppendRequest>>,
    ) -> Result<Response<Self::StreamAppendStream>, Status> {
        // A broken stream ends here; the caller finds out by itself.
        let requests = request.into_inner().scan((), |(), request| future::ready(request.ok())).boxed();
        let answers = Self::stream_append(self, requests).map(|answer| answer.map_err(Status::from));
        Ok(Response::new(Box::pin(answers)))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<wire::InstallSnapshotRequest>>,
    ) -> Result<Response<wire::InstallSnapshotResponse>, Status> {
        let parts = request.into_inner().map(|part| part.map_err(PeerError::from)).boxed();
        Ok(Response::new(Self::install_snapshot(self, parts).await?))
    }

    async fn transfer_leader(
        &self,
        request: Request<wire::TransferLeaderRequest>,
    ) -> Result<Response<wire::TransferLeaderResponse>, Status> {
        Ok(Response::new(Self::transfer_leader(self, request.into_inner()).await?))
    }

    async fn probe(&self, request: Request<wire::ProbeRequest>) -> Result<Response<wire::ProbeResponse>, Status> {
        Ok(Response::new(Self::probe(self, request.into_inner()).await?))
    }

    async fn join(&self, request: Request<wire::JoinRequest>) -> Result<Response<wire::JoinResponse>, Status> {
        Ok(Response::new(Self::join(self, request.into_inner()).await?))
    }

    async fn read_index(
        &self,
        request: Request<wire::ReadIndexRequest>,
    ) -> Result<Response<wire::ReadIndexResponse>, Status> {
        Ok(Response::new(Self::read_index(self, request.into_inner()).await?))
    }

    async fn snapshot_turn(
        &self,
        request: Request<wire::SnapshotTurnRequest>,
    ) -> Result<Response<wire::SnapshotTurnResponse>, Status> {
        Ok(Response::new(Self::snapshot_turn(self, request.into_inner()).await?))
    }
}
