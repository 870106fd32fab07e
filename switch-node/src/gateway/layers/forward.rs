//! Hands a call to the leader, as the gateway sent it, where this node does not lead (R15). One hop. Once the first byte may
//! have reached another node, the message is dropped and only its key is asked after.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use async_trait::async_trait;
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

use crate::gateway::{
    call::{Ask, GatewayCall, Told},
    status::GatewayError,
};

/// What a forward came to.
#[expect(clippy::large_enum_variant, reason = "one value a call, moved once")]
#[derive(Debug)]
pub enum Forwarded {
    /// The leader answered, with a decision or an error of its own.
    Answered(Result<Told, GatewayAnswerError>),
    /// The other node does not lead; nothing was proposed.
    NotTheLeader,
    /// Nothing reached the other node.
    NotSent,
    /// It may have been taken.
    Unknown,
}

/// An error of the leader, as it is handed on.
#[derive(Clone, Debug)]
pub struct GatewayAnswerError(pub tonic::Status);

/// The way to the leader.
#[async_trait]
pub trait LeaderWay: Send + Sync {
    /// True while this node leads and has applied everything before its term.
    fn leads(&self) -> bool;

    /// Waits until this node leads or knows another leader, at most until then.
    async fn settle(&self, until: Instant);

    /// Hands a call to the leader.
    async fn forward(&self, call: &GatewayCall, until: Instant) -> Forwarded;

    /// Asks the leader what became of a key.
    async fn inquire(&self, principal: &str, ask: &AskedKey, until: Instant) -> Forwarded;
}

/// What is left of a call once its message is dropped.
#[derive(Clone, Debug)]
pub struct AskedKey {
    /// Method path.
    pub path: &'static str,
    /// The key.
    pub request_id: String,
    /// Original of a follow-up, or empty.
    pub original: String,
    /// Amount in minor units, 0 without one.
    pub amount_minor_units: i64,
    /// Currency, or empty.
    pub currency_code: String,
}

/// Puts [`Forward`] around a service.
#[derive(Clone)]
pub struct ForwardLayer {
    way: Arc<dyn LeaderWay>,
}

impl ForwardLayer {
    /// With a way to the leader.
    pub fn new(way: Arc<dyn LeaderWay>) -> Self {
        Self { way }
    }
}

impl<S> Layer<S> for ForwardLayer {
    type Service = Forward<S>;

    fn layer(&self, inner: S) -> Forward<S> {
        Forward { inner, way: self.way.clone() }
    }
}

/// Serves calls here while this node leads, and elsewhere otherwise.
#[derive(Clone)]
pub struct Forward<S> {
    inner: S,
    way: Arc<dyn LeaderWay>,
}

/// Pause between two looks for a leader: a tenth of an election.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// How long a call waits for somebody to lead: two elections. A node that is cut off sends its callers to another one then.
const LEADERLESS_MAX: std::time::Duration = std::time::Duration::from_secs(3);

impl<S> Service<GatewayCall> for Forward<S>
where
    S: Service<GatewayCall, Response = Told, Error = GatewayError> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Told;
    type Error = GatewayError;
    type Future = Pin<Box<dyn Future<Output = Result<Told, GatewayError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), GatewayError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, call: GatewayCall) -> Self::Future {
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        let way = self.way.clone();
        Box::pin(async move {
            let Some(until) = call.deadline else { return Err(GatewayError::DeadlineMissing) };
            let began = Instant::now();
            loop {
                if way.leads() {
                    match inner.call(call.clone()).await {
                        // Leadership went between the look and the proposal, and nothing was proposed: look again.
                        Err(GatewayError::NotLeader { .. }) => {}
                        answer => return answer,
                    }
                } else {
                    match way.forward(&call, until).await {
                        Forwarded::Answered(Ok(told)) => return Ok(told),
                        Forwarded::Answered(Err(error)) => return Err(GatewayError::OfLeader(error.0)),
                        Forwarded::NotTheLeader | Forwarded::NotSent => {}
                        Forwarded::Unknown if !call.ask.can_be_inquired() => return Err(GatewayError::OutcomeUnknown),
                        Forwarded::Unknown => {
                            let key = key_of(&call.ask);
                            let principal = call.principal.clone();
                            drop(call); // from here on no card data is held
                            return ask_after(way, &principal, key, until).await;
                        }
                    }
                }
                if Instant::now() + PAUSE >= until || began.elapsed() > LEADERLESS_MAX {
                    return Err(GatewayError::NotLeader { leader: None });
                }
                tokio::time::sleep(PAUSE).await;
                way.settle(until).await;
            }
        })
    }
}

fn key_of(ask: &Ask) -> AskedKey {
    let (amount_minor_units, currency_code) = ask.money();
    AskedKey {
        path: ask.path(),
        request_id: ask.request_id().to_owned(),
        original: ask.original().to_owned(),
        amount_minor_units,
        currency_code: currency_code.to_owned(),
    }
}

/// Asks whoever leads after the key, until the deadline.
async fn ask_after(
    way: Arc<dyn LeaderWay>,
    principal: &str,
    key: AskedKey,
    until: Instant,
) -> Result<Told, GatewayError> {
    loop {
        if Instant::now() + PAUSE >= until {
            return Err(GatewayError::OutcomeUnknown);
        }
        tokio::time::sleep(PAUSE).await;
        way.settle(until).await;
        match way.inquire(principal, &key, until).await {
            Forwarded::Answered(Ok(told)) => return Ok(told),
            Forwarded::Answered(Err(_)) | Forwarded::NotTheLeader | Forwarded::NotSent | Forwarded::Unknown => {}
        }
    }
}
