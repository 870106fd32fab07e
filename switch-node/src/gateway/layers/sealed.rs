//! Opens card data that the gateway sealed to the switch's key, and refuses card data in the clear where the directory requires
//! seals. Last before the handler, on the leader only (R15): behind it a sealed call looks like any other, its clear text
//! lives in this call's message alone, and whoever forwards a call has no way to read it.
//!
//! A seal is bound to gateway, method and request_id. A payment over a stream and a unary one are the same method, so that a
//! gateway may repeat one as the other with the bytes it has.

use std::{
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::Either;
use prost::Message as _;
use switch_domain::id::GatewayId;
use switch_proto::gateway::v1::{self as pb, card::Source};
use tower_layer::Layer;
use tower_service::Service;
use zeroize::Zeroizing;

use crate::{
    flow::Flow,
    gateway::{
        call::{Ask, GatewayCall, Told},
        status::{GatewayError, Unavailable},
    },
    security::{
        data_keys::DataKeys,
        sealing::{self, SealingFault},
    },
};

/// What the layer needs of the node.
pub trait Unseal: Send + Sync {
    /// The gateway that a principal acts for, and whether it must seal.
    fn rule(&self, principal: &str) -> Option<(GatewayId, bool)>;

    /// Opens a sealed card that is bound to `associated`.
    ///
    /// # Errors
    /// [`SealingFault`].
    fn open(&self, sealed: &pb::SealedCard, associated: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealingFault>;
}

/// With the directory and the keyring of this node.
pub struct Keyholder {
    flow: Arc<Flow>,
    keys: Arc<DataKeys>,
}

impl Keyholder {
    /// Of a node.
    #[must_use]
    pub fn new(flow: Arc<Flow>, keys: Arc<DataKeys>) -> Arc<Self> {
        Arc::new(Self { flow, keys })
    }
}

impl Unseal for Keyholder {
    fn rule(&self, principal: &str) -> Option<(GatewayId, bool)> {
        let standing = self.flow.journal().standing();
        standing.directory.gateway_of(principal).map(|gateway| (gateway.id.clone(), gateway.require_sealed))
    }

    fn open(&self, sealed: &pb::SealedCard, associated: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealingFault> {
        let version = sealing::version_of(&sealed.key_id).ok_or(SealingFault::KeyUnknown)?;
        let (keyring, now) = (self.keys.keyring(), self.flow.journal().log_time());
        if !keyring.published(now).any(|key| key.version == version) {
            return Err(SealingFault::KeyUnknown);
        }
        self.keys.sealing(version)?.open(&sealed.encapsulated_key, &sealed.ciphertext, associated)
    }
}

/// Puts [`Sealed`] around a service.
#[derive(Clone)]
pub struct SealedLayer {
    unseal: Arc<dyn Unseal>,
}

impl SealedLayer {
    /// With what opens.
    pub fn new(unseal: Arc<dyn Unseal>) -> Self {
        Self { unseal }
    }
}

impl<S> Layer<S> for SealedLayer {
    type Service = Sealed<S>;

    fn layer(&self, inner: S) -> Sealed<S> {
        Sealed { inner, unseal: self.unseal.clone() }
    }
}

/// Opens what is sealed.
#[derive(Clone)]
pub struct Sealed<S> {
    inner: S,
    unseal: Arc<dyn Unseal>,
}

impl<S> Service<GatewayCall> for Sealed<S>
where
    S: Service<GatewayCall, Response = Told, Error = GatewayError>,
{
    type Response = Told;
    type Error = GatewayError;
    type Future = Either<Ready<Result<Told, GatewayError>>, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), GatewayError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut call: GatewayCall) -> Self::Future {
        match open(self.unseal.as_ref(), &mut call) {
            Ok(()) => Either::Right(self.inner.call(call)),
            Err(error) => Either::Left(ready(Err(error))),
        }
    }
}

/// Puts the clear card in the place of the sealed one. A call without card data is left alone.
fn open(unseal: &dyn Unseal, call: &mut GatewayCall) -> Result<(), GatewayError> {
    let (card, request_id, method) = match &mut call.ask {
        Ask::Authorize(request) => (&mut request.card, &request.request_id, "Authorize"),
        Ask::Verify(request) => (&mut request.card, &request.request_id, "VerifyCard"),
        Ask::Increment(_) | Ask::Capture(_) | Ask::Void(_) | Ask::Refund(_) => return Ok(()),
    };
    let Some(card) = card else { return Ok(()) };
    let Some(source) = &card.source else { return Ok(()) };
    let (gateway, required) = unseal.rule(&call.principal).ok_or(GatewayError::UnknownPrincipal)?;
    let Source::Sealed(sealed) = source else {
        return if required { Err(GatewayError::SealedRequired) } else { Ok(()) };
    };
    let associated = sealing::associated(gateway.as_str(), method, request_id);
    let clear = unseal.open(sealed, &associated).map_err(|fault| match fault {
        SealingFault::KeyUnknown => GatewayError::SealingKeyUnknown,
        SealingFault::Forged => GatewayError::SealedCardForged,
        SealingFault::Key(error) => {
            tracing::error!(%error, "a sealing key cannot be used");
            GatewayError::Unavailable(Unavailable::KeyMissing)
        }
    })?;
    // Read from a slice: what is decoded is a copy of its own, which the card's parser wipes.
    *card = pb::Card::decode(&clear[..]).map_err(|_| GatewayError::SealedCardForged)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;
    use tower::{ServiceExt as _, service_fn};

    use super::*;
    use crate::{
        gateway::layers::forward::{AskedKey, ForwardLayer, Forwarded, LeaderWay},
        outcome::Opening,
    };

    const SHOP: &str = "spiffe://test/gateway/shop";

    /// Opens what is the associated data itself, followed by the card: enough to see what the layer binds.
    struct Pretend {
        required: bool,
    }

    impl Unseal for Pretend {
        fn rule(&self, principal: &str) -> Option<(GatewayId, bool)> {
            (principal == SHOP).then(|| (GatewayId::parse("shop").expect("an id"), self.required))
        }

        fn open(&self, sealed: &pb::SealedCard, associated: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealingFault> {
            if sealed.key_id != "sealing-1" {
                return Err(SealingFault::KeyUnknown);
            }
            let card = sealed.ciphertext.strip_prefix(associated).ok_or(SealingFault::Forged)?;
            Ok(Zeroizing::new(card.to_vec()))
        }
    }

    fn keyed() -> pb::Card {
        let keyed = pb::KeyedCard { card_verification_value: "123".into(), ..pb::KeyedCard::default() };
        pb::Card { source: Some(Source::Keyed(keyed)) }
    }

    fn sealed_for(card: &pb::Card, method: &str, request_id: &str) -> pb::Card {
        let ciphertext = [sealing::associated("shop", method, request_id), card.encode_to_vec()].concat();
        let sealed = pb::SealedCard { key_id: "sealing-1".into(), ciphertext: ciphertext.into(), ..Default::default() };
        pb::Card { source: Some(Source::Sealed(sealed)) }
    }

    fn authorize(card: Option<pb::Card>) -> Ask {
        let request = pb::AuthorizeRequest { request_id: "order-1".into(), card, ..Default::default() };
        Ask::Authorize(Box::new(request))
    }

    /// What comes of a call: the card that the handler sees, or the error.
    async fn passed(required: bool, principal: &str, ask: Ask) -> Result<Option<pb::Card>, GatewayError> {
        let (seen, mut cards) = tokio::sync::mpsc::channel(1);
        let handler = service_fn(move |call: GatewayCall| {
            let seen = seen.clone();
            async move {
                let card = match call.ask {
                    Ask::Authorize(request) => request.card,
                    Ask::Verify(request) => request.card,
                    _ => None,
                };
                seen.try_send(card).expect("one call");
                Ok(Told::Void(pb::VoidResponse::default()))
            }
        });
        let call = GatewayCall {
            principal: principal.into(),
            ask,
            deadline: None,
            given: Duration::ZERO,
            traceparent: String::new(),
            entered: None,
        };
        SealedLayer::new(Arc::new(Pretend { required })).layer(handler).oneshot(call).await?;
        Ok(cards.recv().await.expect("the handler was called"))
    }

    #[tokio::test(start_paused = true)]
    async fn the_handler_sees_the_card_that_was_sealed() {
        for required in [false, true] {
            let card = passed(required, SHOP, authorize(Some(sealed_for(&keyed(), "Authorize", "order-1")))).await;
            assert_eq!(card.ok().flatten(), Some(keyed()));
            let card = Some(sealed_for(&keyed(), "VerifyCard", "check-1"));
            let request = pb::VerifyCardRequest { request_id: "check-1".into(), card, ..Default::default() };
            let card = passed(required, SHOP, Ask::Verify(Box::new(request))).await;
            assert_eq!(card.ok().flatten(), Some(keyed()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_seal_of_another_request_or_method_is_refused() {
        for (method, request_id) in [("Authorize", "order-2"), ("VerifyCard", "order-1"), ("authorize", "order-1")] {
            let card = sealed_for(&keyed(), method, request_id);
            let refused = passed(false, SHOP, authorize(Some(card))).await;
            assert!(matches!(refused, Err(GatewayError::SealedCardForged)), "{method} {request_id}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn card_data_in_the_clear_is_refused_where_seals_are_required() {
        let refused = passed(true, SHOP, authorize(Some(keyed()))).await;
        assert!(matches!(refused, Err(GatewayError::SealedRequired)));
        assert_eq!(passed(false, SHOP, authorize(Some(keyed()))).await.ok().flatten(), Some(keyed()));
    }

    #[tokio::test(start_paused = true)]
    async fn calls_without_card_data_pass_untouched() {
        for ask in [
            Ask::Capture(pb::CaptureRequest::default()),
            Ask::Void(pb::VoidRequest::default()),
            Ask::Refund(pb::RefundRequest::default()),
            Ask::Increment(pb::IncrementAuthorizationRequest::default()),
            authorize(None),
            authorize(Some(pb::Card::default())),
        ] {
            assert!(passed(true, SHOP, ask).await.is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_key_a_stranger_and_garbage_are_told_apart() {
        let Some(Source::Sealed(sealed)) = sealed_for(&keyed(), "Authorize", "order-1").source else {
            panic!("sealed")
        };
        let of = |sealed| authorize(Some(pb::Card { source: Some(Source::Sealed(sealed)) }));
        let other = pb::SealedCard { key_id: "sealing-2".into(), ..sealed.clone() };
        assert!(matches!(passed(false, SHOP, of(other)).await, Err(GatewayError::SealingKeyUnknown)));
        let stranger = passed(false, "spiffe://test/gateway/nobody", of(sealed.clone())).await;
        assert!(matches!(stranger, Err(GatewayError::UnknownPrincipal)));
        let garbage = [sealing::associated("shop", "Authorize", "order-1"), vec![0xff; 9]].concat();
        let garbage = pb::SealedCard { ciphertext: garbage.into(), ..sealed };
        assert!(matches!(passed(false, SHOP, of(garbage)).await, Err(GatewayError::SealedCardForged)));
    }

    /// A follower's way to the leader: keeps what it was given.
    #[derive(Default)]
    struct ToTheLeader(parking_lot::Mutex<Option<Ask>>);

    #[async_trait::async_trait]
    impl LeaderWay for ToTheLeader {
        fn enter(&self) -> Option<Opening> {
            None
        }

        async fn settle(&self, _: Instant) {}

        async fn forward(&self, call: &GatewayCall, _: Instant) -> Forwarded {
            *self.0.lock() = Ask::decode(call.ask.method(), call.ask.encode());
            Forwarded::Answered(Ok(Told::Authorize(pb::AuthorizeResponse::default())))
        }

        fn asked_key(&self, _: GatewayCall) -> Option<AskedKey> {
            None
        }

        async fn inquire(&self, _: &str, _: &AskedKey, _: Instant) -> Forwarded {
            Forwarded::NotSent
        }
    }

    #[tokio::test(start_paused = true)]
    async fn r15_a_follower_hands_a_sealed_card_on_as_it_came() {
        let way = Arc::new(ToTheLeader::default());
        let handler = service_fn(|_: GatewayCall| async { panic!("a follower handles nothing") });
        let stack = tower::ServiceBuilder::new()
            .layer(ForwardLayer::new(way.clone()))
            .layer(SealedLayer::new(Arc::new(Pretend { required: true })))
            .service(handler);
        let card = sealed_for(&keyed(), "Authorize", "order-1");
        let call = GatewayCall {
            principal: SHOP.into(),
            ask: authorize(Some(card.clone())),
            deadline: Some(Instant::now() + Duration::from_secs(5)),
            given: Duration::from_secs(5),
            traceparent: String::new(),
            entered: None,
        };
        let answer: Result<Told, GatewayError> = stack.oneshot(call).await;
        assert!(answer.is_ok());
        let Some(Ask::Authorize(forwarded)) = way.0.lock().take() else { panic!("it was forwarded") };
        assert_eq!(forwarded.card, Some(card));
    }
}
