//! Between nodes: calls that are forwarded to the leader, keys that are asked after, evidence that a deposed owner hands on
//! (R4, R15). Both sides of `payswitch.peer.v1.ForwardService`.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use prost::Message as _;
use switch_consensus::Group;
use switch_domain::{
    entry::Command,
    id::{AttemptRef, GatewayId, Owner, RequestId, TransactionId},
    transaction::Fingerprint,
};
use switch_proto::peer::v1::{
    self as wire, forward_response::Answer, forward_service_client::ForwardServiceClient,
    forward_service_server::ForwardService,
};
use tokio::{
    sync::watch,
    time::{Duration, Instant},
};
use tonic::{Code, Request, Response, Status, transport::Channel};
use tonic_types::StatusExt as _;
use tower::ServiceExt as _;
use tracing::Instrument as _;

use super::{
    call::{self, Ask, GatewayCall, Told},
    convert,
    layers::forward::{AskedKey, Forwarded, GatewayAnswerError, LeaderWay},
    stack::{Stack, of_flow},
    status::GatewayError,
};
use crate::{
    codec,
    door::trace::TraceContext,
    flow::{Flow, Inquiry},
    journal::{Journal, reign::Reign},
    outcome::{Carried, Conversations, Courier, Opening, limits::HOLDS_ASKED_MAX},
    security::{tls::connector::ConnectFault, vault::Vault},
};

/// Why a call to a peer has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireLost {
    /// Its first byte never left.
    NotSent,
    /// It may have arrived.
    Unknown,
}

/// Calls to a peer's `ForwardService`; real or simulated. Every call ends at its deadline.
#[async_trait]
pub trait ForwardWire: Send + Sync {
    /// Hands one gateway's call on.
    async fn forward(
        &self,
        address: &str,
        request: wire::ForwardRequest,
        until: Instant,
    ) -> Result<wire::ForwardResponse, WireLost>;

    /// Asks after a key.
    async fn inquire(
        &self,
        address: &str,
        request: wire::InquireRequest,
        until: Instant,
    ) -> Result<wire::ForwardResponse, WireLost>;

    /// Hands evidence on.
    async fn evidence(&self, address: &str, request: wire::EvidenceRequest, until: Instant) -> Carried;

    /// Asks an owner about its attempts.
    async fn holds(
        &self,
        address: &str,
        request: wire::HoldsRequest,
        until: Instant,
    ) -> Result<wire::HoldsResponse, WireLost>;
}

/// Opens a channel to a peer's address.
pub type PeerChannel = Arc<dyn Fn(&str) -> Channel + Send + Sync>;

/// The real wire: gRPC, one channel an address.
pub struct GrpcForwardWire {
    open: PeerChannel,
    channels: Mutex<HashMap<String, ForwardServiceClient<Channel>>>,
}

impl GrpcForwardWire {
    /// With channels that `open` makes.
    pub fn new(open: PeerChannel) -> Self {
        Self { open, channels: Mutex::default() }
    }

    fn client(&self, address: &str) -> ForwardServiceClient<Channel> {
        let mut channels = self.channels.lock();
        let client = channels.entry(address.to_owned()).or_insert_with(|| {
            ForwardServiceClient::new((self.open)(address))
                .max_decoding_message_size(PEER_MESSAGE_MAX)
                .max_encoding_message_size(PEER_MESSAGE_MAX)
        });
        client.clone()
    }
}

/// What became of a call over gRPC.
async fn ended<T>(until: Instant, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, WireLost> {
    match tokio::time::timeout_at(until, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) if was_not_sent(&status) => Err(WireLost::NotSent),
        Ok(Err(_)) | Err(_) => Err(WireLost::Unknown),
    }
}

#[async_trait]
impl ForwardWire for GrpcForwardWire {
    async fn forward(
        &self,
        address: &str,
        request: wire::ForwardRequest,
        until: Instant,
    ) -> Result<wire::ForwardResponse, WireLost> {
        ended(until, self.client(address).forward(request)).await
    }

    async fn inquire(
        &self,
        address: &str,
        request: wire::InquireRequest,
        until: Instant,
    ) -> Result<wire::ForwardResponse, WireLost> {
        ended(until, self.client(address).inquire(request)).await
    }

    async fn evidence(&self, address: &str, request: wire::EvidenceRequest, until: Instant) -> Carried {
        match tokio::time::timeout_at(until, self.client(address).evidence(request)).await {
            Ok(Ok(_)) => Carried::Committed,
            // What this node could write and the leader cannot read is of a newer version than the leader.
            Ok(Err(status)) if matches!(status.code(), Code::InvalidArgument | Code::Unimplemented) => {
                Carried::NotUnderstood
            }
            Ok(Err(_)) | Err(_) => Carried::NotNow,
        }
    }

    async fn holds(
        &self,
        address: &str,
        request: wire::HoldsRequest,
        until: Instant,
    ) -> Result<wire::HoldsResponse, WireLost> {
        ended(until, self.client(address).holds(request)).await
    }
}

/// The way to the other nodes.
pub struct Peers {
    journal: Journal,
    group: Group,
    reign: watch::Receiver<Option<Reign>>,
    wire: Arc<dyn ForwardWire>,
    vault: Arc<Vault>,
    conversations: Arc<Conversations>,
    intake: watch::Receiver<bool>,
}

/// How long a node waits for a peer's word about its attempts.
const HOLDS_WITHIN: Duration = Duration::from_secs(1);

/// How long one try to hand evidence over may take.
const EVIDENCE_WITHIN: Duration = Duration::from_secs(2);

impl Peers {
    /// Over a wire. While `intake` says no, this node does not count as the leader: new calls wait for the next one (R4).
    pub fn new(
        journal: &Journal,
        wire: Arc<dyn ForwardWire>,
        vault: Arc<Vault>,
        conversations: Arc<Conversations>,
        intake: watch::Receiver<bool>,
    ) -> Arc<Self> {
        Arc::new(Self {
            journal: journal.clone(),
            group: journal.group().clone(),
            reign: journal.watch_reign(),
            wire,
            vault,
            conversations,
            intake,
        })
    }

    /// The leader's peer address, if another node leads.
    fn leader(&self) -> Option<String> {
        let leadership = self.group.leadership();
        let leadership = leadership.borrow();
        if leadership.is_self {
            return None;
        }
        leadership.record.as_ref().map(|record| record.peer_address.clone())
    }
}

/// Largest message of this service: a gateway's request with its envelope.
const PEER_MESSAGE_MAX: usize = 64 << 10;

#[async_trait]
impl LeaderWay for Peers {
    fn enter(&self) -> Option<Opening> {
        // Counted first, then the intake is looked at: a hand-over that closes it waits for whatever was counted (R4).
        let entered = self.conversations.open();
        (*self.intake.borrow() && self.reign.borrow().is_some() && self.group.holds_lease()).then_some(entered)
    }

    async fn settle(&self, until: Instant) {
        let mut reign = self.reign.clone();
        let mut leadership = self.group.leadership();
        let mut intake = self.intake.clone();
        let known = async {
            loop {
                if reign.borrow_and_update().is_some() && *intake.borrow_and_update() {
                    return;
                }
                {
                    let seen = leadership.borrow_and_update();
                    if seen.leader.is_some() && !seen.is_self && seen.record.is_some() {
                        return;
                    }
                }
                tokio::select! {
                    biased;
                    changed = reign.changed() => if changed.is_err() { return },
                    changed = leadership.changed() => if changed.is_err() { return },
                    changed = intake.changed() => if changed.is_err() { return },
                }
            }
        };
        let _ = tokio::time::timeout_at(until, known).await;
    }

    async fn forward(&self, call: &GatewayCall, until: Instant) -> Forwarded {
        let Some(leader) = self.leader() else { return Forwarded::NotSent };
        let request = wire::ForwardRequest {
            caller: Some(wire::Caller { principal: call.principal.to_string() }),
            method: call::path(call.ask.method()).to_owned(),
            message: call.ask.encode(),
            remaining_ms: remaining_ms(until),
            traceparent: call.traceparent.clone(),
            given_ms: u32::try_from(call.given.as_millis()).unwrap_or(u32::MAX),
        };
        forwarded(self.wire.forward(&leader, request, until).await, |message| Told::decode(call.ask.method(), message))
    }

    fn asked_key(&self, call: GatewayCall) -> Option<AskedKey> {
        let standing = self.journal.standing();
        AskedKey::of(standing.directory.gateway_of(&call.principal)?, call.ask, &self.vault)
    }

    async fn inquire(&self, principal: &str, asked: &AskedKey, until: Instant) -> Forwarded {
        let Some(leader) = self.leader() else { return Forwarded::NotSent };
        let request = wire::InquireRequest {
            caller: Some(wire::Caller { principal: principal.to_owned() }),
            method: call::path(asked.method).to_owned(),
            request_id: asked.request_id.clone(),
            transaction_id: asked.original.clone(),
            remaining_ms: remaining_ms(until),
            fingerprint: Some(wire::Fingerprint {
                key_version: asked.fingerprint.key_version,
                digest: asked.fingerprint.digest.to_vec().into(),
            }),
        };
        forwarded(self.wire.inquire(&leader, request, until).await, |message| Told::decode(asked.method, message))
    }
}

fn remaining_ms(until: Instant) -> u32 {
    u32::try_from(until.saturating_duration_since(Instant::now()).as_millis()).unwrap_or(u32::MAX)
}

/// Reads what came back. A status of the transport is no answer of the leader.
fn forwarded(
    answer: Result<wire::ForwardResponse, WireLost>,
    read: impl FnOnce(bytes::Bytes) -> Option<Told>,
) -> Forwarded {
    match answer {
        Ok(response) => match response.answer {
            Some(Answer::Message(message)) => match read(message) {
                Some(told) => Forwarded::Answered(Ok(told)),
                None => Forwarded::Unknown,
            },
            Some(Answer::Status(bytes)) => {
                let status = status_of(bytes);
                match status.get_details_error_info() {
                    Some(info) if info.reason == "NO_LEADER" => Forwarded::NotTheLeader,
                    Some(_) => Forwarded::Answered(Err(GatewayAnswerError(status))),
                    // Every answer of a leader says its reason: this one is of something in between.
                    None => Forwarded::Unknown,
                }
            }
            None => Forwarded::Unknown,
        },
        Err(WireLost::NotSent) => Forwarded::NotSent,
        Err(WireLost::Unknown) => Forwarded::Unknown,
    }
}

/// True where the call failed before its first byte: no connection could be made, or it was closed meanwhile, or the other side's
/// door refused the call.
fn was_not_sent(status: &Status) -> bool {
    if matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated | Code::Unimplemented) {
        return true;
    }
    let mut sources = std::iter::successors(std::error::Error::source(status), |error| error.source());
    sources.any(|error| {
        error.downcast_ref::<ConnectFault>().is_some()
            // The connection was closed with the call still in its queue.
            || error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled)
    })
}

fn status_of(bytes: bytes::Bytes) -> Status {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Plain {
        #[prost(int32, tag = "1")]
        code: i32,
        #[prost(string, tag = "2")]
        message: String,
    }
    let plain = Plain::decode(bytes.clone()).unwrap_or_default();
    Status::with_details(Code::from_i32(plain.code), plain.message, bytes)
}

#[async_trait]
impl Courier for Peers {
    async fn carry(&self, command: &Command) -> Carried {
        let Some(leader) = self.leader() else { return Carried::NotNow };
        let request = wire::EvidenceRequest { command: codec::encode_command(command) };
        self.wire.evidence(&leader, request, Instant::now() + EVIDENCE_WITHIN).await
    }

    async fn holds(&self, owner: Owner, attempts: &[AttemptRef]) -> Option<HashSet<AttemptRef>> {
        let shared = self.journal.shared();
        if owner.node == shared.node {
            let held = attempts.iter().filter(|attempt| owner.boot == shared.boot && self.conversations.holds(attempt));
            return Some(held.cloned().collect());
        }
        let address = {
            let status = self.group.status();
            let member = status.members.into_iter().find(|member| member.node_id == owner.node)?;
            member.record.peer_address
        };
        let attempt_ids = attempts.iter().map(ToString::to_string).collect();
        let request = wire::HoldsRequest { attempt_ids, boot_id: owner.boot };
        let answer = self.wire.holds(&address, request, Instant::now() + HOLDS_WITHIN).await.ok()?;
        // What cannot be read is no answer: the owner may hold it.
        answer.held_attempt_ids.iter().map(|id| id.parse().ok()).collect()
    }
}

/// The called side.
pub struct ForwardedCalls {
    flow: Arc<Flow>,
    stack: Stack,
    way: Arc<dyn LeaderWay>,
}

impl ForwardedCalls {
    /// Serves calls that other nodes forward with the stack for them, while `way` lets them enter.
    pub fn new(flow: Arc<Flow>, stack: Stack, way: Arc<dyn LeaderWay>) -> Self {
        Self { flow, stack, way }
    }

    async fn inquired(&self, request: &wire::InquireRequest, until: Instant) -> Result<Told, GatewayError> {
        let principal = request.caller.as_ref().map(|caller| caller.principal.as_str()).unwrap_or_default();
        let gateway: GatewayId = self.flow.tenant(principal).ok_or(GatewayError::UnknownPrincipal)?.id;
        let method = call::method(&request.method).ok_or(GatewayError::Fault)?;
        let request_id = RequestId::parse(&request.request_id).map_err(|_| GatewayError::OutcomeUnknown)?;
        let original: Option<TransactionId> = match request.transaction_id.as_str() {
            "" => None,
            id => Some(id.parse().map_err(|_| GatewayError::OutcomeUnknown)?),
        };
        let fingerprint = request.fingerprint.as_ref().and_then(|wire::Fingerprint { key_version, digest }| {
            Some(Fingerprint { key_version: *key_version, digest: digest.as_ref().try_into().ok()? })
        });
        let asked = Inquiry { original, request_id, fingerprint: fingerprint.ok_or(GatewayError::OutcomeUnknown)? };
        let settled = self.flow.outcome_of(&gateway, &asked, until).await.map_err(of_flow)?;
        Ok(Told::of(method, convert::operation_result(&settled)?))
    }
}

fn response(told: Result<Told, GatewayError>) -> Response<wire::ForwardResponse> {
    let answer = match told {
        Ok(told) => Answer::Message(told.encode()),
        Err(error) => Answer::Status(error.to_bytes()),
    };
    Response::new(wire::ForwardResponse { answer: Some(answer) })
}

#[tonic::async_trait]
impl ForwardService for ForwardedCalls {
    async fn forward(&self, request: Request<wire::ForwardRequest>) -> Result<Response<wire::ForwardResponse>, Status> {
        let wire::ForwardRequest { caller, method, message, remaining_ms, traceparent, given_ms } =
            request.into_inner();
        let Some(ask) = call::method(&method).and_then(|method| Ask::decode(method, message)) else {
            return Ok(response(Err(GatewayError::Fault)));
        };
        // As at this node's own door. A leader that has not applied everything before its term does not know every key yet, nor
        // which links are its own: what it said would be told as a decision (R3).
        let Some(entered) = self.way.enter() else { return Ok(response(Err(GatewayError::NotLeader))) };
        let span = tracing::info_span!("forwarded", otel.kind = "server", method = method.as_str());
        let traceparent = TraceContext::under(&span, TraceContext::parse(&traceparent)).to_string();
        let call = GatewayCall {
            principal: caller.map(|caller| caller.principal).unwrap_or_default().into(),
            ask,
            deadline: Some(Instant::now() + Duration::from_millis(u64::from(remaining_ms))),
            given: Duration::from_millis(u64::from(given_ms)),
            traceparent,
            entered: Some(entered),
        };
        Ok(response(self.stack.clone().oneshot(call).instrument(span).await))
    }

    async fn inquire(&self, request: Request<wire::InquireRequest>) -> Result<Response<wire::ForwardResponse>, Status> {
        let request = request.into_inner();
        let until = Instant::now() + Duration::from_millis(u64::from(request.remaining_ms));
        Ok(response(self.inquired(&request, until).await))
    }

    async fn evidence(
        &self,
        request: Request<wire::EvidenceRequest>,
    ) -> Result<Response<wire::EvidenceResponse>, Status> {
        let command = codec::decode_command(&request.into_inner().command)
            .map_err(|fault| Status::invalid_argument(fault.to_string()))?;
        // Only what is evidence: another node may not decide anything new here.
        let is_evidence = matches!(
            command,
            Command::Answer(_)
                | Command::NotSent(_)
                | Command::TimedOut(_)
                | Command::LateSend(_)
                | Command::LaneAnswer(_)
                | Command::Audit(_)
        );
        if !is_evidence {
            return Err(Status::invalid_argument("not a piece of evidence"));
        }
        match self.flow.journal().propose(command).await {
            Ok(_) => Ok(Response::new(wire::EvidenceResponse {})),
            Err(lost) => Err(Status::unavailable(lost.to_string())),
        }
    }

    async fn holds(&self, request: Request<wire::HoldsRequest>) -> Result<Response<wire::HoldsResponse>, Status> {
        let wire::HoldsRequest { attempt_ids, boot_id } = request.into_inner();
        if attempt_ids.len() > HOLDS_ASKED_MAX {
            return Err(Status::invalid_argument("too many attempt_ids"));
        }
        let mut held_attempt_ids = Vec::new();
        for id in attempt_ids {
            let attempt: AttemptRef = id.parse().map_err(|_| Status::invalid_argument("an attempt_id is malformed"))?;
            if boot_id == self.flow.journal().shared().boot && self.flow.conversations().holds(&attempt) {
                held_attempt_ids.push(id);
            }
        }
        Ok(Response::new(wire::HoldsResponse { held_attempt_ids }))
    }
}
