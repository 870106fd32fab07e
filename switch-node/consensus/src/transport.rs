//! The calling side of the peer wire.
//!
//! openraft calls [`Peer`], which puts the caller's ids on every message and calls a [`PeerWire`]: [`GrpcWire`] in a node, direct
//! calls in a simulation. Every call has a time limit here, whatever the wire does.

mod grpc;
pub(crate) mod peer;

use std::{collections::HashMap, fmt};

use async_trait::async_trait;
use futures::stream::BoxStream;
use switch_proto::peer::v1::{
    InstallSnapshotRequest, InstallSnapshotResponse, JoinRequest, JoinResponse, PreVoteRequest, PreVoteResponse,
    ProbeRequest, ProbeResponse, ReadIndexRequest, ReadIndexResponse, SnapshotTurnRequest, SnapshotTurnResponse,
    StreamAppendRequest, StreamAppendResponse, TransferLeaderRequest, TransferLeaderResponse, VoteRequest,
    VoteResponse,
};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

pub use grpc::{Connect, GrpcWire, tune};

/// The answers to a stream of append requests, in the order of the requests.
pub type Appended = BoxStream<'static, Result<StreamAppendResponse, PeerError>>;

/// Calls peers. `address` is the `peer_address` of a member's record, or a configured peer's while a cluster forms.
///
/// An implementation need not bound time; it must not deliver a message twice.
#[async_trait]
pub trait PeerWire: Send + Sync + 'static {
    /// See `RaftService.Vote`.
    async fn vote(&self, address: &str, request: VoteRequest) -> Result<VoteResponse, PeerError>;
    /// See `RaftService.PreVote`.
    async fn pre_vote(&self, address: &str, request: PreVoteRequest) -> Result<PreVoteResponse, PeerError>;
    /// See `RaftService.StreamAppend`. Requests must arrive in order, and the answers keep it.
    async fn stream_append(
        &self,
        address: &str,
        requests: BoxStream<'static, StreamAppendRequest>,
    ) -> Result<Appended, PeerError>;
    /// See `RaftService.InstallSnapshot`.
    async fn install_snapshot(
        &self,
        address: &str,
        parts: BoxStream<'static, InstallSnapshotRequest>,
    ) -> Result<InstallSnapshotResponse, PeerError>;
    /// See `RaftService.TransferLeader`.
    async fn transfer_leader(
        &self,
        address: &str,
        request: TransferLeaderRequest,
    ) -> Result<TransferLeaderResponse, PeerError>;
    /// See `RaftService.Probe`.
    async fn probe(&self, address: &str, request: ProbeRequest) -> Result<ProbeResponse, PeerError>;
    /// See `RaftService.Join`.
    async fn join(&self, address: &str, request: JoinRequest) -> Result<JoinResponse, PeerError>;
    /// See `RaftService.ReadIndex`.
    async fn read_index(&self, address: &str, request: ReadIndexRequest) -> Result<ReadIndexResponse, PeerError>;
    /// See `RaftService.SnapshotTurn`.
    async fn snapshot_turn(
        &self,
        address: &str,
        request: SnapshotTurnRequest,
    ) -> Result<SnapshotTurnResponse, PeerError>;
}

/// Why a peer did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// It was not reached, or its answer was lost. Try again later.
    #[error("the peer was not reached: {0}")]
    Unreachable(String),
    /// It is there and cannot do it now. Try again later.
    #[error("the peer is busy: {0}")]
    Busy(String),
    /// It will not do it, however often it is asked: an operator must look.
    #[error("the peer refuses: {message} ({refusal})")]
    Refused {
        /// Why, for programs.
        refusal: Refusal,
        /// Why, for people.
        message: String,
    },
    /// It failed, and is probably stopping.
    #[error("the peer failed: {0}")]
    Failed(String),
}

/// Why a peer refuses a call; `ErrorInfo.reason` on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// The call comes from another cluster, or one of the two is in none.
    OtherCluster,
    /// The call was meant for another node, or for another disk of this one: an address leads to the wrong place, or a disk was
    /// replaced.
    OtherNode,
    /// The caller's node id is known with another disk.
    OtherStore,
    /// The caller's node id and disk are those of another process: one of the two runs on a copy of the other's disk.
    OtherProcess,
    /// The called lacks entries that it acknowledged to this leader: its disk was put back to an older state.
    LogReverted,
    /// The cluster has as many nodes as it may have.
    TooManyMembers,
    /// The message means nothing.
    Malformed,
    /// The called does not lead, and was told not to ask further.
    NotLeader,
}

impl Refusal {
    const ALL: [Self; 8] = [
        Self::OtherCluster,
        Self::OtherNode,
        Self::OtherStore,
        Self::OtherProcess,
        Self::LogReverted,
        Self::TooManyMembers,
        Self::Malformed,
        Self::NotLeader,
    ];

    /// The name on the wire; never changes.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::OtherCluster => "OTHER_CLUSTER",
            Self::OtherNode => "OTHER_NODE",
            Self::OtherStore => "OTHER_STORE",
            Self::OtherProcess => "OTHER_PROCESS",
            Self::LogReverted => "LOG_REVERTED",
            Self::TooManyMembers => "TOO_MANY_MEMBERS",
            Self::Malformed => "MALFORMED",
            Self::NotLeader => "NOT_LEADER",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl PeerError {
    pub(crate) fn refused(refusal: Refusal, message: impl Into<String>) -> Self {
        Self::Refused { refusal, message: message.into() }
    }
}

impl From<PeerError> for Status {
    fn from(error: PeerError) -> Self {
        match error {
            PeerError::Unreachable(message) => Self::unavailable(message),
            PeerError::Busy(message) => Self::resource_exhausted(message),
            PeerError::Failed(message) => Self::internal(message),
            PeerError::Refused { refusal, message } => {
                let details = ErrorDetails::with_error_info(refusal.reason(), DOMAIN, HashMap::<String, String>::new());
                Self::with_error_details(Code::FailedPrecondition, message, details)
            }
        }
    }
}

impl From<Status> for PeerError {
    fn from(status: Status) -> Self {
        let message = status.message().to_owned();
        match status.code() {
            Code::ResourceExhausted => Self::Busy(message),
            Code::FailedPrecondition => {
                let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
                match Refusal::ALL.into_iter().find(|refusal| refusal.reason() == reason) {
                    Some(refusal) => Self::Refused { refusal, message },
                    None => Self::Failed(format!("{message} ({reason})")),
                }
            }
            Code::Internal | Code::DataLoss | Code::Unimplemented | Code::PermissionDenied | Code::Unauthenticated => {
                Self::Failed(format!("{}: {message}", status.code()))
            }
            // What else a broken connection, a proxy or a time-out may say.
            code => Self::Unreachable(format!("{code}: {message}")),
        }
    }
}

const DOMAIN: &str = "consensus.payswitch";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_the_same_on_both_sides_of_grpc() {
        let mut errors: Vec<PeerError> =
            Refusal::ALL.into_iter().map(|refusal| PeerError::refused(refusal, "because")).collect();
        errors.push(PeerError::Busy("installing".into()));
        for error in errors {
            assert_eq!(PeerError::from(Status::from(error.clone())), error);
        }
    }
}
