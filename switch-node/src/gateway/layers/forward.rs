//! Hands a call to the leader, as the gateway sent it, where this node does not lead (R15). One hop. Once the first byte may
//! have reached another node, the message is dropped and only its key is asked after.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use async_trait::async_trait;
use switch_domain::{
    authorization::FollowUp,
    directory::Gateway,
    entry::VoidTarget,
    transaction::{Fingerprint, Method},
};
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    gateway::{
        call::{Ask, GatewayCall, Told},
        convert,
        status::GatewayError,
    },
    outcome::Opening,
    security::vault::{FingerprintParts, Vault},
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
    /// Counts a call in while this node leads and has applied everything before its term; a hand-over waits for it (R4).
    fn enter(&self) -> Option<Opening>;

    /// Waits until this node leads or knows another leader, at most until then.
    async fn settle(&self, until: Instant);

    /// Hands a call to the leader.
    async fn forward(&self, call: &GatewayCall, until: Instant) -> Forwarded;

    /// Drops the message of a call that may have been taken, and gives what can be asked after.
    fn asked_key(&self, call: GatewayCall) -> Option<AskedKey>;

    /// Asks the leader what became of a key.
    async fn inquire(&self, principal: &str, asked: &AskedKey, until: Instant) -> Forwarded;
}

/// What is left of a call once its message is dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedKey {
    /// Method.
    pub method: Method,
    /// The key.
    pub request_id: String,
    /// Original of a follow-up, or empty.
    pub original: String,
    /// Digest of what was asked, made here of the clear message so that no card number travels (R16).
    pub fingerprint: Fingerprint,
}

impl AskedKey {
    /// What can be asked after a call of `gateway`. `None` where no answer could be told from one to another request with the same
    /// key: the message cannot be read here, because its card data is sealed to the leader for example, or a key of the cluster is
    /// missing. And for a void by key, which may have no transaction yet that it could be looked up in.
    pub fn of(gateway: &Gateway, ask: Ask, vault: &Vault) -> Option<Self> {
        let (method, request_id) = (ask.method(), ask.request_id().to_owned());
        let follow_up = |asked: FollowUp, is_final| {
            let FollowUp { transaction, amount, currency, .. } = asked;
            let parts = FingerprintParts::follow_up(method, amount, currency, transaction);
            Some((transaction.to_string(), vault.fingerprint(None, &FingerprintParts { is_final, ..parts }).ok()?))
        };
        let payment = |(authorization, card): (_, switch_domain::card::Card)| {
            let parts = FingerprintParts::payment(&authorization, &card.pan);
            Some((String::new(), vault.fingerprint(None, &parts).ok()?))
        };
        let (original, fingerprint) = match ask {
            Ask::Authorize(request) => payment(convert::authorize(gateway, *request).ok()?)?,
            Ask::Verify(request) => payment(convert::verify(gateway, *request).ok()?)?,
            Ask::Increment(request) => follow_up(convert::increment(&gateway.id, request).ok()?, false)?,
            Ask::Refund(request) => follow_up(convert::refund(&gateway.id, request).ok()?, false)?,
            Ask::Capture(request) => {
                let capture = convert::capture(&gateway.id, request).ok()?;
                follow_up(capture.asked, capture.is_final)?
            }
            Ask::Void(request) => match convert::void(&gateway.id, request).ok()?.target {
                VoidTarget::Transaction(id) => {
                    (id.to_string(), vault.fingerprint(None, &FingerprintParts::void(Some(id), None)).ok()?)
                }
                VoidTarget::Request(_) => return None,
            },
        };
        Some(Self { method, request_id, original, fingerprint })
    }
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

    fn call(&mut self, mut call: GatewayCall) -> Self::Future {
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        let way = self.way.clone();
        Box::pin(async move {
            let Some(until) = call.deadline else { return Err(GatewayError::DeadlineMissing) };
            let began = Instant::now();
            loop {
                if let Some(entered) = way.enter() {
                    // Given away, not copied: card data stands in one place. A hand-over waits for what has entered. Where
                    // leadership is lost before the proposal, the gateway is told that nothing happened and that it may ask again.
                    call.entered = Some(entered);
                    return inner.call(call).await;
                }
                match way.forward(&call, until).await {
                    Forwarded::Answered(Ok(told)) => return Ok(told),
                    Forwarded::Answered(Err(error)) => return Err(GatewayError::OfLeader(error.0)),
                    Forwarded::NotTheLeader | Forwarded::NotSent => {}
                    Forwarded::Unknown => {
                        let principal = call.principal.clone();
                        // From here on no card data is held.
                        let Some(key) = way.asked_key(call) else { return Err(GatewayError::OutcomeUnknown) };
                        return ask_after(way, &principal, key, until).await;
                    }
                }
                if Instant::now() + PAUSE >= until || began.elapsed() > LEADERLESS_MAX {
                    return Err(GatewayError::NotLeader);
                }
                tokio::time::sleep(PAUSE).await;
                way.settle(until).await;
            }
        })
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

#[cfg(test)]
mod tests;
