//! A payment gateway as it should be: one identity, every node, the leader first, and the same key until there is an
//! answer.
//!
//! A call is repeated only under its own request_id, only where the contract says that repeating is the way to learn
//! what happened (UNAVAILABLE, OUTCOME_UNKNOWN, REQUEST_IN_PROGRESS), with a growing pause and a bound. Every call on the
//! wire is recorded in the [`History`].

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use rand::Rng;
use switch_proto::gateway::v1::{
    self as pb, authorization_service_client::AuthorizationServiceClient, get_transaction_request::By,
    key_service_client::KeyServiceClient,
};
use tonic::{Code, Request, Response, Status, metadata::MetadataMap, transport::Channel};

pub use self::seal::sealed;
use self::{seal::Sealer, stream::Lane};
use crate::{
    channel::{self, TlsFiles},
    history::{self, Ask, History, Outcome},
};

mod seal;
mod stream;
#[cfg(test)]
mod tests;

/// How long one call may take, and how long its key is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// grpc-timeout of one call: at least the network's timer and two seconds.
    pub call: Duration,
    /// First pause before a repetition; doubles up to sixteen times itself.
    pub pause: Duration,
    /// No repetition starts after this time.
    pub in_all: Duration,
    /// Calls in all; 1 never repeats.
    pub calls_max: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            call: Duration::from_secs(6),
            pause: Duration::from_millis(15),
            in_all: Duration::from_secs(60),
            calls_max: 400,
        }
    }
}

impl Patience {
    /// One call and no second.
    pub fn once() -> Self {
        Self { calls_max: 1, ..Self::default() }
    }
}

/// Where a call goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aim {
    /// To the leader as far as it is known.
    Leader,
    /// To every node in turn.
    Everywhere,
    /// To one node only, numbered from 1.
    Node(usize),
}

/// A gateway that can pay. Clones share connections and history.
#[derive(Clone)]
pub struct GatewayClient {
    shared: Arc<Shared>,
    patience: Patience,
    aim: Aim,
    lanes: Option<Arc<Vec<Lane>>>,
    sealer: Option<Arc<Sealer>>,
}

struct Shared {
    name: Box<str>,
    nodes: Vec<Endpoint>,
    /// The node that led when we last heard of it.
    leader: AtomicUsize,
    /// Counts calls, to spread them.
    turn: AtomicUsize,
    /// Times the leader hint changed to another node.
    leader_changes: AtomicU64,
    history: History,
}

/// One node with its connections.
struct Endpoint {
    address: String,
    channels: Vec<Channel>,
}

/// A call that ended without a decision.
#[derive(Debug, thiserror::Error)]
#[error("{method:?} {request_id}: {code:?} {reason} after {calls} calls: {message}", code = .status.code(), message = .status.message())]
pub struct NotTold {
    /// What was asked.
    pub method: history::Method,
    /// Under which key.
    pub request_id: String,
    /// The last error.
    pub status: Status,
    /// Its reason, empty without one.
    pub reason: Box<str>,
    /// True where no call can have had an effect.
    pub definite: bool,
    /// Calls made.
    pub calls: u32,
}

impl GatewayClient {
    /// A client of the nodes at `addresses` (gateway listeners, host:port) with `connections` connections to each. It
    /// connects when it first calls.
    pub fn new(
        name: &str,
        addresses: &[String],
        tls: &TlsFiles,
        connections: usize,
        history: History,
    ) -> anyhow::Result<Self> {
        anyhow::ensure!(!addresses.is_empty(), "no node to call");
        let tls = tls.client().with_context(|| format!("certificate of gateway {name}"))?;
        let nodes = addresses.iter().map(|address| {
            let channels = (0..connections.max(1)).map(|_| channel::lazy(address, tls.clone()));
            Ok(Endpoint { address: address.clone(), channels: channels.collect::<anyhow::Result<_>>()? })
        });
        let shared = Shared {
            name: name.into(),
            nodes: nodes.collect::<anyhow::Result<_>>()?,
            leader: AtomicUsize::new(0),
            turn: AtomicUsize::new(0),
            leader_changes: AtomicU64::new(0),
            history,
        };
        Ok(Self {
            shared: Arc::new(shared),
            patience: Patience::default(),
            aim: Aim::Leader,
            lanes: None,
            sealer: None,
        })
    }

    /// The same gateway with other patience.
    pub fn with_patience(&self, patience: Patience) -> Self {
        Self { patience, ..self.clone() }
    }

    /// The same gateway with another aim.
    pub fn with_aim(&self, aim: Aim) -> Self {
        Self { aim, ..self.clone() }
    }

    /// The same gateway, sending authorizations over `lanes` AuthorizeStreams.
    pub fn streaming(&self, lanes: usize) -> Self {
        let lanes = (0..lanes.max(1)).map(|number| Lane::open(self.shared.clone(), number));
        Self { lanes: Some(Arc::new(lanes.collect())), ..self.clone() }
    }

    /// The same gateway, sealing the card data of one payment in `one_in` to the key that the switch publishes now.
    pub async fn sealing(&self, one_in: u64) -> anyhow::Result<Self> {
        let sealer = Sealer::new(self.sealing_keys().await?, one_in)?;
        Ok(Self { sealer: Some(Arc::new(sealer)), ..self.clone() })
    }

    /// The keys that the switch publishes.
    pub async fn sealing_keys(&self) -> Result<pb::ListSealingKeysResponse, Status> {
        let node = &self.shared.nodes[self.pick()];
        let mut client = KeyServiceClient::new(node.channels[0].clone());
        let request = RequestOf { timeout: self.patience.call };
        let sent = request.send(&pb::ListSealingKeysRequest {}, |r| client.list_sealing_keys(r)).await;
        sent.map(Response::into_inner)
    }

    /// Its name in the directory.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// What it recorded.
    pub fn history(&self) -> &History {
        &self.shared.history
    }

    /// How long it waits.
    pub fn patience(&self) -> Patience {
        self.patience
    }

    /// How often it was pointed to another leader.
    pub fn leader_changes(&self) -> u64 {
        self.shared.leader_changes.load(Ordering::Relaxed)
    }

    /// Address of the node that led when this client last heard of it.
    pub fn leader_address(&self) -> &str {
        &self.shared.nodes[self.shared.leader.load(Ordering::Relaxed)].address
    }

    /// May this card pay?
    pub async fn authorize(&self, request: pb::AuthorizeRequest) -> Result<pb::OperationResult, NotTold> {
        self.ask(&Ask::Authorize(request)).await
    }

    /// Raises an authorization.
    pub async fn increment(&self, request: pb::IncrementAuthorizationRequest) -> Result<pb::OperationResult, NotTold> {
        self.ask(&Ask::Increment(request)).await
    }

    /// Takes authorized money.
    pub async fn capture(&self, request: pb::CaptureRequest) -> Result<pb::OperationResult, NotTold> {
        self.ask(&Ask::Capture(request)).await
    }

    /// Cancels an authorization.
    pub async fn void(&self, request: pb::VoidRequest) -> Result<pb::OperationResult, NotTold> {
        self.ask(&Ask::Void(request)).await
    }

    /// Gives captured money back.
    pub async fn refund(&self, request: pb::RefundRequest) -> Result<pb::OperationResult, NotTold> {
        self.ask(&Ask::Refund(request)).await
    }

    /// Is this card good?
    pub async fn verify(&self, request: pb::VerifyCardRequest) -> Result<pb::OperationResult, NotTold> {
        self.ask(&Ask::Verify(request)).await
    }

    /// Asks until there is a decision or a definite refusal, or patience ends.
    pub async fn ask(&self, ask: &Ask) -> Result<pb::OperationResult, NotTold> {
        let until = Instant::now() + self.patience.in_all;
        let mut pause = self.patience.pause;
        let mut calls = 0;
        let mut definite = true;
        loop {
            calls += 1;
            let node = self.pick();
            let status = match self.call(node, ask).await {
                Ok(result) => return Ok(result),
                Err(status) => status,
            };
            definite &= matches!(Outcome::of_error(&status), Outcome::Fail { .. });
            let reason = history::reason(&status);
            let worn_out = calls >= self.patience.calls_max || Instant::now() + pause >= until;
            if worn_out || !repeatable(&status) {
                return Err(NotTold {
                    method: ask.method(),
                    request_id: ask.request_id().to_owned(),
                    status,
                    reason,
                    definite,
                    calls,
                });
            }
            // Whoever names a leader was heard; whoever names none may never know one again.
            if status.code() == Code::Unavailable && !self.shared.follow_error(&status) {
                self.shared.look_elsewhere(node);
            }
            let share = rand::rng().random_range(0.5..1.0);
            tokio::time::sleep(pause.mul_f64(share)).await;
            pause = (pause * 2).min(self.patience.pause * 16);
        }
    }

    /// One call to `node` (from 0), recorded, without a repetition.
    async fn call(&self, node: usize, ask: &Ask) -> Result<pb::OperationResult, Status> {
        let mut abandoned =
            Abandoned { shared: &self.shared, ask, node, invoked_us: self.shared.now_us(), armed: true };
        // What is recorded is what was meant; what is sent may be sealed.
        let sealed = self.sealer.as_ref().map(|sealer| sealer.seal(ask)).transpose();
        let sealed = sealed.map_err(|error| Status::internal(error.to_string()))?;
        let sent = sealed.as_ref().unwrap_or(ask);
        let result = match (&self.lanes, sent) {
            (Some(lanes), Ask::Authorize(request)) => {
                let lane = &lanes[self.shared.turn.fetch_add(1, Ordering::Relaxed) % lanes.len()];
                lane.authorize(request, self.patience.call).await
            }
            _ => self.unary(node, sent).await,
        };
        abandoned.armed = false;
        self.shared.history.record(&self.shared.name, ask, node, abandoned.invoked_us, result.as_ref());
        result
    }

    async fn unary(&self, node: usize, ask: &Ask) -> Result<pb::OperationResult, Status> {
        let mut client = self.shared.client(node);
        let none = || Status::internal("an answer without a result");
        let request = RequestOf { timeout: self.patience.call };
        match ask {
            Ask::Authorize(r) => {
                let answer = self.shared.heard(request.send(r, |r| client.authorize(r)).await)?;
                answer.result.ok_or_else(none)
            }
            Ask::Increment(r) => {
                let answer = self.shared.heard(request.send(r, |r| client.increment_authorization(r)).await)?;
                answer.result.ok_or_else(none)
            }
            Ask::Capture(r) => {
                let answer = self.shared.heard(request.send(r, |r| client.capture(r)).await)?;
                answer.result.ok_or_else(none)
            }
            Ask::Void(r) => {
                let answer = self.shared.heard(request.send(r, |r| client.void(r)).await)?;
                answer.result.ok_or_else(none)
            }
            Ask::Refund(r) => {
                let answer = self.shared.heard(request.send(r, |r| client.refund(r)).await)?;
                answer.result.ok_or_else(none)
            }
            Ask::Verify(r) => {
                let answer = self.shared.heard(request.send(r, |r| client.verify_card(r)).await)?;
                answer.result.ok_or_else(none)
            }
        }
    }

    /// Reads a transaction, with repetitions: a read changes nothing.
    pub async fn read(&self, by: By) -> Result<pb::Transaction, Status> {
        let until = Instant::now() + self.patience.in_all;
        let mut calls = 0;
        loop {
            calls += 1;
            let node = self.pick();
            let invoked_us = self.shared.now_us();
            let mut client = self.shared.client(node);
            let request = pb::GetTransactionRequest { by: Some(by.clone()) };
            let sent = RequestOf { timeout: self.patience.call }.send(&request, |r| client.get_transaction(r)).await;
            match self.shared.heard(sent) {
                Ok(answer) => {
                    let transaction = answer.transaction.ok_or_else(|| Status::internal("an answer without one"))?;
                    self.shared.history.record_read(&self.shared.name, node, invoked_us, &transaction);
                    return Ok(transaction);
                }
                Err(status) => {
                    self.shared.history.hear(&status);
                    let last = calls >= self.patience.calls_max || Instant::now() + self.patience.pause >= until;
                    if last || !repeatable(&status) {
                        return Err(status);
                    }
                    self.shared.look_elsewhere(node);
                    tokio::time::sleep(self.patience.pause).await;
                }
            }
        }
    }

    /// A bare client of node `number` (from 1), for calls that no history should know. Whoever uses it searches the
    /// errors for card data itself, or lets [`History::hear`] do so.
    pub fn raw(&self, number: usize) -> AuthorizationServiceClient<Channel> {
        self.shared.client(number - 1)
    }

    fn pick(&self) -> usize {
        match self.aim {
            Aim::Leader => self.shared.leader.load(Ordering::Relaxed),
            Aim::Everywhere => self.shared.turn.fetch_add(1, Ordering::Relaxed) % self.shared.nodes.len(),
            Aim::Node(number) => number - 1,
        }
    }
}

impl Shared {
    fn now_us(&self) -> u64 {
        self.history.now_us()
    }

    fn client(&self, node: usize) -> AuthorizationServiceClient<Channel> {
        let channels = &self.nodes[node].channels;
        AuthorizationServiceClient::new(channels[self.turn.fetch_add(1, Ordering::Relaxed) % channels.len()].clone())
    }

    /// Takes the leader hint out of an answer or an error.
    fn heard<T>(&self, answer: Result<Response<T>, Status>) -> Result<T, Status> {
        match answer {
            Ok(answer) => {
                self.follow(answer.metadata());
                Ok(answer.into_inner())
            }
            Err(status) => {
                self.follow_error(&status);
                Err(status)
            }
        }
    }

    /// An error names the leader in its metadata, or among its values. True where it does.
    fn follow_error(&self, status: &Status) -> bool {
        if status.metadata().contains_key(LEADER_HINT) {
            self.follow(status.metadata());
            return true;
        }
        let named = history::explanation(status).and_then(|mut info| info.metadata.remove("leader_address"));
        if let Some(address) = &named {
            self.follow_address(address);
        }
        named.is_some()
    }

    fn follow(&self, metadata: &MetadataMap) {
        if let Some(hint) = metadata.get(LEADER_HINT).and_then(|hint| hint.to_str().ok()) {
            self.follow_address(hint);
        }
    }

    fn follow_address(&self, hint: &str) {
        let Some(node) = self.nodes.iter().position(|node| node.address == hint) else { return };
        if self.leader.swap(node, Ordering::Relaxed) != node {
            self.leader_changes.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// `node` does not answer: whoever still believes in it tries the next.
    fn look_elsewhere(&self, node: usize) {
        let next = (node + 1) % self.nodes.len();
        let _ = self.leader.compare_exchange(node, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Records a call whose future was dropped before it ended: its effect is unknown, not absent.
struct Abandoned<'a> {
    shared: &'a Shared,
    ask: &'a Ask,
    node: usize,
    invoked_us: u64,
    armed: bool,
}

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.shared.history.record_abandoned(&self.shared.name, self.ask, self.node, self.invoked_us);
        }
    }
}

/// Sends one message with its deadline.
struct RequestOf {
    timeout: Duration,
}

impl RequestOf {
    async fn send<R: Clone, T, Fut>(
        &self,
        message: &R,
        call: impl FnOnce(Request<R>) -> Fut,
    ) -> Result<Response<T>, Status>
    where
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let mut request = Request::new(message.clone());
        request.set_timeout(self.timeout);
        // The channel keeps the deadline too; this bound is for a channel that hangs while it connects.
        match tokio::time::timeout(self.timeout + Duration::from_millis(500), call(request)).await {
            Ok(answer) => answer.map_err(|status| if never_left(&status) { unavailable(&status) } else { status }),
            Err(_) => Err(Status::deadline_exceeded("no answer from the switch")),
        }
    }
}

/// True where the connection was closed before the call went out on it. Other clients of gRPC call that UNAVAILABLE; tonic's
/// says CANCELLED, as if the caller had.
fn never_left(status: &Status) -> bool {
    let sources = std::iter::successors(std::error::Error::source(status), |error| error.source());
    sources.filter_map(|error| error.downcast_ref::<hyper::Error>()).any(hyper::Error::is_canceled)
}

fn unavailable(status: &Status) -> Status {
    Status::unavailable(status.message())
}

/// True where repeating the key is the way to learn more.
fn repeatable(status: &Status) -> bool {
    let Some(info) = history::explanation(status) else {
        // Not from the switch's own table: the connection, the deadline, or the process died under the call.
        return matches!(
            status.code(),
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown | Code::Internal
        );
    };
    match info.reason.as_str() {
        // A doubt that is final is never resolved (R22).
        "OUTCOME_UNKNOWN" => info.metadata.get("final").is_none_or(|is_final| is_final != "true"),
        "DEADLINE_EXCEEDED" => true,
        _ => matches!(status.code(), Code::Unavailable | Code::Aborted),
    }
}

/// Response metadata that names the gateway address of the leader.
const LEADER_HINT: &str = "payswitch-leader";
