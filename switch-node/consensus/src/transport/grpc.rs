//! The peer wire over gRPC.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use async_trait::async_trait;
use futures::{Stream, StreamExt, stream::BoxStream};
use parking_lot::Mutex;
use switch_proto::peer::v1::{
    InstallSnapshotRequest, InstallSnapshotResponse, JoinRequest, JoinResponse, PreVoteRequest, PreVoteResponse,
    ProbeRequest, ProbeResponse, ReadIndexRequest, ReadIndexResponse, SnapshotTurnRequest, SnapshotTurnResponse,
    StreamAppendRequest, StreamAppendResponse, TransferLeaderRequest, TransferLeaderResponse, VoteRequest,
    VoteResponse, raft_service_client::RaftServiceClient,
};
use tonic::transport::{Channel, Endpoint};

use super::{Appended, PeerError, PeerWire};
use crate::limits;

/// Makes a lazily connecting channel to an address, with TLS and the node's certificate.
pub type Connect = Arc<dyn Fn(&str) -> Channel + Send + Sync>;

/// A [`PeerWire`] of tonic channels: three per address, connected when first used and kept.
pub struct GrpcWire {
    connect: Connect,
    channels: Mutex<BTreeMap<(Lane, String), Channel>>,
}

/// What must not wait for each other: votes and probes, entries, and a whole state.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Control,
    Entries,
    Snapshot,
}

/// Sets what a peer channel needs: found dead in seconds, no delay, windows for entries. No `timeout`: streams live for days.
pub fn tune(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(limits::CONNECT_MAX)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(limits::KEEP_ALIVE)
        .keep_alive_timeout(limits::KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(2 << 20)
        .initial_connection_window_size(16 << 20)
}

impl GrpcWire {
    /// A wire whose channels `connect` makes; see [`tune`].
    pub fn new(connect: Connect) -> Self {
        Self { connect, channels: Mutex::default() }
    }

    fn client(&self, lane: Lane, address: &str) -> RaftServiceClient<Channel> {
        let mut channels = self.channels.lock();
        // A client is made per call, and a connection per (lane, address): clones of a channel share it.
        let channel = channels.entry((lane, address.to_owned())).or_insert_with(|| (self.connect)(address)).clone();
        RaftServiceClient::new(channel)
            .max_decoding_message_size(limits::PEER_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::PEER_MESSAGE_BYTES_MAX)
    }
}

/// A stream with a name: the compiler cannot prove a boxed one `Send` inside tonic's futures.
struct Outgoing<T>(BoxStream<'static, T>);

impl<T> Stream for Outgoing<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.as_mut().poll_next(cx)
    }
}

#[async_trait]
impl PeerWire for GrpcWire {
    async fn vote(&self, address: &str, request: VoteRequest) -> Result<VoteResponse, PeerError> {
        Ok(self.client(Lane::Control, address).vote(request).await?.into_inner())
    }

    async fn pre_vote(&self, address: &str, request: PreVoteRequest) -> Result<PreVoteResponse, PeerError> {
        Ok(self.client(Lane::Control, address).pre_vote(request).await?.into_inner())
    }

    async fn stream_append(
        &self,
        address: &str,
        requests: BoxStream<'static, StreamAppendRequest>,
    ) -> Result<Appended, PeerError> {
        let responses = self.client(Lane::Entries, address).stream_append(Outgoing(requests)).await?.into_inner();
        Ok(responses.map(|response: Result<StreamAppendResponse, _>| response.map_err(PeerError::from)).boxed())
    }

    async fn install_snapshot(
        &self,
        address: &str,
        parts: BoxStream<'static, InstallSnapshotRequest>,
    ) -> Result<InstallSnapshotResponse, PeerError> {
        Ok(self.client(Lane::Snapshot, address).install_snapshot(Outgoing(parts)).await?.into_inner())
    }

    async fn transfer_leader(
        &self,
        address: &str,
        request: TransferLeaderRequest,
    ) -> Result<TransferLeaderResponse, PeerError> {
        Ok(self.client(Lane::Control, address).transfer_leader(request).await?.into_inner())
    }

    async fn probe(&self, address: &str, request: ProbeRequest) -> Result<ProbeResponse, PeerError> {
        Ok(self.client(Lane::Control, address).probe(request).await?.into_inner())
    }

    async fn join(&self, address: &str, request: JoinRequest) -> Result<JoinResponse, PeerError> {
        Ok(self.client(Lane::Control, address).join(request).await?.into_inner())
    }

    async fn read_index(&self, address: &str, request: ReadIndexRequest) -> Result<ReadIndexResponse, PeerError> {
        Ok(self.client(Lane::Control, address).read_index(request).await?.into_inner())
    }

    async fn snapshot_turn(
        &self,
        address: &str,
        request: SnapshotTurnRequest,
    ) -> Result<SnapshotTurnResponse, PeerError> {
        Ok(self.client(Lane::Control, address).snapshot_turn(request).await?.into_inner())
    }
}
