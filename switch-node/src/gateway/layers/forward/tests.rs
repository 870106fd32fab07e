use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use parking_lot::Mutex;
use switch_domain::{
    directory::MerchantGrant,
    id::{GatewayId, MerchantId},
    outcome::AnswerText,
};
use switch_proto::gateway::v1 as pb;
use tower::{ServiceExt as _, service_fn};

use super::*;
use crate::{outcome::Conversations, security::data_keys::tests::Ring};

/// A way on which everything goes as it is written down beforehand; nothing more is foreseen.
#[derive(Default)]
struct Script {
    leads: bool,
    conversations: Arc<Conversations>,
    forwards: Mutex<VecDeque<Forwarded>>,
    /// What is left of the lost call.
    left: Option<AskedKey>,
    inquiries: Mutex<VecDeque<Forwarded>>,
    inquired: Mutex<Vec<AskedKey>>,
}

#[async_trait]
impl LeaderWay for Script {
    fn enter(&self) -> Option<Opening> {
        self.leads.then(|| self.conversations.open())
    }

    async fn settle(&self, _: Instant) {}

    async fn forward(&self, _: &GatewayCall, _: Instant) -> Forwarded {
        self.forwards.lock().pop_front().expect("a forward that is foreseen")
    }

    fn asked_key(&self, _: GatewayCall) -> Option<AskedKey> {
        self.left.clone()
    }

    async fn inquire(&self, _: &str, asked: &AskedKey, _: Instant) -> Forwarded {
        self.inquired.lock().push(asked.clone());
        self.inquiries.lock().pop_front().expect("an inquiry that is foreseen")
    }
}

fn call() -> GatewayCall {
    let given = Duration::from_secs(10);
    GatewayCall {
        principal: "spiffe://test/gateway/shop".into(),
        ask: Ask::Authorize(Box::new(payment(0))),
        deadline: Some(Instant::now() + given),
        given,
        traceparent: String::new(),
        entered: None,
    }
}

fn told() -> Told {
    Told::of(Method::Authorize, pb::OperationResult { request_id: "order-1".into(), ..Default::default() })
}

/// Over a service that must not be reached.
async fn elsewhere(way: &Arc<Script>) -> Result<Told, GatewayError> {
    let never = service_fn(|_: GatewayCall| async { panic!("served here") });
    ForwardLayer::new(way.clone()).layer(never).oneshot(call()).await
}

fn left() -> AskedKey {
    AskedKey {
        method: Method::Authorize,
        request_id: "order-1".into(),
        original: String::new(),
        fingerprint: Fingerprint { key_version: 1, digest: [7; 16] },
    }
}

#[tokio::test(start_paused = true)]
async fn the_leader_serves_a_call_once_whatever_comes_of_it() {
    let way = Arc::new(Script { leads: true, ..Script::default() });
    let served = Arc::new(Mutex::new(0));
    let (count, conversations) = (served.clone(), way.conversations.clone());
    let deposed = service_fn(move |call: GatewayCall| {
        *count.lock() += 1;
        assert_eq!((call.entered.is_some(), conversations.opening()), (true, 1), "a hand-over waits for it (R4)");
        async { Err::<Told, _>(GatewayError::NotLeader) }
    });
    let answer = ForwardLayer::new(way.clone()).layer(deposed).oneshot(call()).await;
    assert!(matches!(answer, Err(GatewayError::NotLeader)), "{answer:?}");
    assert_eq!((*served.lock(), way.conversations.opening()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_was_not_taken_is_handed_on_again() {
    let forwards = [Forwarded::NotSent, Forwarded::NotTheLeader, Forwarded::Answered(Ok(told()))];
    let way = Arc::new(Script { forwards: Mutex::new(forwards.into()), ..Script::default() });
    let answer = elsewhere(&way).await;
    assert!(matches!(answer, Ok(Told::Authorize(_))), "{answer:?}");
    assert!(way.inquired.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn r15_what_may_have_been_taken_is_asked_after_by_key_until_somebody_knows() {
    let answers = [Forwarded::NotTheLeader, Forwarded::Unknown, Forwarded::Answered(Ok(told()))];
    let way = Arc::new(Script {
        forwards: Mutex::new([Forwarded::Unknown].into()),
        left: Some(left()),
        inquiries: Mutex::new(answers.into()),
        ..Script::default()
    });
    let answer = elsewhere(&way).await;
    assert!(matches!(answer, Ok(Told::Authorize(_))), "{answer:?}");
    assert_eq!(*way.inquired.lock(), [left(), left(), left()]);
}

#[tokio::test(start_paused = true)]
async fn r15_what_cannot_be_compared_is_not_asked_after() {
    let way = Arc::new(Script { forwards: Mutex::new([Forwarded::Unknown].into()), ..Script::default() });
    let begun = Instant::now();
    let answer = elsewhere(&way).await;
    assert!(matches!(answer, Err(GatewayError::OutcomeUnknown)), "{answer:?}");
    assert!(begun.elapsed() < Duration::from_secs(1), "the gateway may repeat its key at once");
}

fn gateway() -> Gateway {
    let grant = MerchantGrant { terminals: Default::default(), acquirer: AnswerText::default(), enabled: true };
    Gateway {
        id: GatewayId::parse("shop").expect("an id"),
        principals: vec![],
        enabled: true,
        merchants: BTreeMap::from([(MerchantId::parse("SHOP-1").expect("an id"), grant)]),
        limits: BTreeMap::new(),
        requests_per_second: 0,
        burst: 0,
        concurrent: 0,
        require_sealed: false,
    }
}

/// A payment with a card whose number, made at run time, ends in `last`.
fn payment(last: u8) -> pb::AuthorizeRequest {
    let keyed = pb::KeyedCard {
        primary_account_number: format!("99{}{last}", "0".repeat(13)),
        expiry: Some(pb::CardExpiry { month: 11, year: 2031 }),
        card_verification_value: "123".into(),
    };
    pb::AuthorizeRequest {
        request_id: "order-1".into(),
        amount: Some(pb::Money { minor_units: 1000, currency_code: "EUR".into() }),
        card: Some(pb::Card { source: Some(pb::card::Source::Keyed(keyed)) }),
        merchant: Some(pb::Merchant {
            merchant_id: "SHOP-1".into(),
            category_code: "5942".into(),
            name: "Book shop".into(),
            city: "Riga".into(),
            country_code: "LV".into(),
            terminal_id: "T1".into(),
        }),
        ..pb::AuthorizeRequest::default()
    }
}

#[test]
fn r15_what_is_left_of_a_call_tells_one_card_from_another_and_carries_none() {
    let ring = Ring::new();
    let vault = Vault::new(ring.process());
    let left = |ask| AskedKey::of(&gateway(), ask, &vault);
    let paid = |last| left(Ask::Authorize(Box::new(payment(last)))).expect("a payment that can be read");
    assert_eq!(paid(1), paid(1));
    assert_ne!(paid(1).fingerprint, paid(2).fingerprint, "another card");
    let dearer = pb::AuthorizeRequest {
        amount: Some(pb::Money { minor_units: 1001, currency_code: "EUR".into() }),
        ..payment(1)
    };
    assert_ne!(left(Ask::Authorize(Box::new(dearer))).expect("readable").fingerprint, paid(1).fingerprint);

    // The leader keeps the same digest of the same request.
    let (authorization, card) = convert::authorize(&gateway(), payment(1)).expect("a payment");
    let kept = vault.fingerprint(None, &FingerprintParts::payment(&authorization, &card.pan));
    assert_eq!(kept.expect("keys"), paid(1).fingerprint);
}

#[test]
fn r15_a_void_by_key_and_what_cannot_be_read_leave_nothing_to_ask_after() {
    let ring = Ring::new();
    let vault = Vault::new(ring.process());
    let by = pb::void_request::Original::OriginalRequestId("order-1".into());
    let void = pb::VoidRequest { request_id: "void-1".into(), original: Some(by) };
    assert_eq!(AskedKey::of(&gateway(), Ask::Void(void), &vault), None);
    let unreadable = pb::AuthorizeRequest { card: None, ..payment(1) };
    assert_eq!(AskedKey::of(&gateway(), Ask::Authorize(Box::new(unreadable)), &vault), None);
}
