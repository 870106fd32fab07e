//! The wire to the peers with a clock at its side: how long members take to answer the leader, what they leave unanswered, and
//! what becomes of snapshots on their way.

use std::sync::Arc;

use async_trait::async_trait;
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use parking_lot::Mutex;
use switch_consensus::{PeerError, PeerWire, transport::Appended};
use switch_proto::peer::v1::{
    Ballot, Envelope, InstallSnapshotRequest, InstallSnapshotResponse, JoinRequest, JoinResponse, PreVoteRequest,
    PreVoteResponse, ProbeRequest, ProbeResponse, ReadIndexRequest, ReadIndexResponse, SnapshotTurnRequest,
    SnapshotTurnResponse, StreamAppendRequest, StreamAppendResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse, install_snapshot_request::Part, stream_append_response::Outcome,
};
use tokio::time::Instant;

use super::{Append, Direction, SnapshotTransfer, peer_answered, peer_failed, snapshot_moved};

/// A wire whose appends and snapshots are counted and timed. Consensus knows no metrics, so this stands around the wire that it
/// is given.
pub struct ObservedWire {
    wire: Arc<dyn PeerWire>,
}

impl ObservedWire {
    /// Watches a wire.
    pub fn new(wire: Arc<dyn PeerWire>) -> Self {
        Self { wire }
    }
}

/// One call with its requests and answers. A call that ends while it is owed an answer has failed, whoever gave it up: where a
/// heartbeat is not answered in time, the caller just drops it.
struct Exchange {
    member: u64,
    state: Arc<Mutex<State>>,
}

struct State {
    sent: u64,
    answered: u64,
    /// Kind of the request that was sent last.
    last: Append,
    /// The request that is being timed, by its number from 1. Answers keep the order of their requests, so one at a time gives
    /// samples enough, and nothing has to be kept for each request that is under way.
    timed: Option<(u64, Append, Instant)>,
    /// Nothing is owed any more: the member refused, or the failure is counted.
    over: bool,
}

impl State {
    fn sends(&mut self, request: &StreamAppendRequest) {
        self.sent += 1;
        self.last = if request.entries.is_empty() { Append::Heartbeat } else { Append::Entries };
        if self.timed.is_none() {
            self.timed = Some((self.sent, self.last, Instant::now()));
        }
    }

    /// Counts one failure, once.
    fn fail(&mut self, member: u64) {
        if !std::mem::replace(&mut self.over, true) {
            peer_failed(member, self.last);
        }
    }
}

impl Exchange {
    /// With the first request, which is about to be sent.
    fn begin(first: &StreamAppendRequest) -> Self {
        let mut state = State { sent: 0, answered: 0, last: Append::Heartbeat, timed: None, over: false };
        state.sends(first);
        Self { member: called(first.envelope.as_ref()), state: Arc::new(Mutex::new(state)) }
    }

    fn answered(&self, answer: &Result<StreamAppendResponse, PeerError>) {
        let mut state = self.state.lock();
        let Ok(answer) = answer else { return state.fail(self.member) };
        state.answered += 1;
        let answered = state.answered;
        if let Some((_, append, began)) = state.timed.take_if(|(number, ..)| *number <= answered) {
            peer_answered(self.member, append, began.elapsed());
        }
        // After an answer that is not an acceptance no other comes, whatever is under way.
        state.over |= !matches!(answer.outcome, Some(Outcome::Accepted(_)));
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        if state.sent > state.answered {
            state.fail(self.member);
        }
    }
}

/// The node that a message is for.
fn called(envelope: Option<&Envelope>) -> u64 {
    envelope.map_or(0, |envelope| envelope.to_node)
}

/// The leader that a snapshot's first part names.
fn ballot(part: Option<&Part>) -> Option<Ballot> {
    match part {
        Some(Part::Head(head)) => head.ballot,
        Some(Part::Frame(_) | Part::End(_)) | None => None,
    }
}

#[async_trait]
impl PeerWire for ObservedWire {
    async fn vote(&self, address: &str, request: VoteRequest) -> Result<VoteResponse, PeerError> {
        self.wire.vote(address, request).await
    }

    async fn pre_vote(&self, address: &str, request: PreVoteRequest) -> Result<PreVoteResponse, PeerError> {
        self.wire.pre_vote(address, request).await
    }

    async fn stream_append(
        &self,
        address: &str,
        mut requests: BoxStream<'static, StreamAppendRequest>,
    ) -> Result<Appended, PeerError> {
        // Whom this is for stands in the requests, and a call that is never put through takes none of them.
        let Some(first) = requests.next().await else { return self.wire.stream_append(address, requests).await };
        let exchange = Exchange::begin(&first);
        let state = exchange.state.clone();
        let requests = requests.inspect(move |request| state.lock().sends(request));
        let requests = stream::iter([first]).chain(requests).boxed();
        let answers = self.wire.stream_append(address, requests).await?;
        Ok(answers.inspect(move |answer| exchange.answered(answer)).boxed())
    }

    async fn install_snapshot(
        &self,
        address: &str,
        mut parts: BoxStream<'static, InstallSnapshotRequest>,
    ) -> Result<InstallSnapshotResponse, PeerError> {
        let transfer = SnapshotTransfer::begin(Direction::Sent);
        let head = parts.next().await;
        let leader = ballot(head.as_ref().and_then(|head| head.part.as_ref()));
        let parts = parts.inspect(|request| {
            if let Some(Part::Frame(frame)) = &request.part {
                snapshot_moved(Direction::Sent, frame.data.len());
            }
        });
        let response = self.wire.install_snapshot(address, stream::iter(head).chain(parts).boxed()).await?;
        // A receiver that knows a later leader says so and installs nothing.
        if response.ballot == leader {
            transfer.installed();
        }
        Ok(response)
    }

    async fn transfer_leader(
        &self,
        address: &str,
        request: TransferLeaderRequest,
    ) -> Result<TransferLeaderResponse, PeerError> {
        self.wire.transfer_leader(address, request).await
    }

    async fn probe(&self, address: &str, request: ProbeRequest) -> Result<ProbeResponse, PeerError> {
        self.wire.probe(address, request).await
    }

    async fn join(&self, address: &str, request: JoinRequest) -> Result<JoinResponse, PeerError> {
        self.wire.join(address, request).await
    }

    async fn read_index(&self, address: &str, request: ReadIndexRequest) -> Result<ReadIndexResponse, PeerError> {
        self.wire.read_index(address, request).await
    }

    async fn snapshot_turn(
        &self,
        address: &str,
        request: SnapshotTurnRequest,
    ) -> Result<SnapshotTurnResponse, PeerError> {
        self.wire.snapshot_turn(address, request).await
    }
}

#[cfg(test)]
mod tests;
