//! One key, one charge, one answer: whoever asks, wherever, and however often.

use std::time::Duration;

use futures::future::{join_all, try_join_all};
use switch_proto::gateway::v1::{self as pb, Decision, DecisionSource, DeclineReason, Sent};
use switch_tests::{
    gateway_client::Aim,
    history::Told,
    sandbox::cards,
    stage::{self, SOON},
    workload::plastic,
};
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn ten_concurrent_calls_with_one_key_make_one_charge_and_get_one_answer() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    for (round, card) in [cards::SLOW, cards::APPROVED_VISA, cards::DECLINED, cards::NO_ANSWER].into_iter().enumerate()
    {
        let key = format!("key-{round}");
        let callers = (0..10).map(|caller| {
            let gateway = stage::shop_at(&cluster, caller % 3 + 1);
            let request = stage::payment(&key, card, 1000);
            async move { gateway.authorize(request).await }
        });
        let answers = try_join_all(callers).await?;
        let told: Vec<Told> = answers.iter().map(Told::new).collect();
        assert!(told.iter().all(|told| *told == told_first(&answers)), "{told:#?}");
        let id = &answers[0].transaction_id;
        let charges = stage::received(&cluster).await?.into_iter().filter(|booked| booked.id.contains(id.as_str()));
        assert_eq!(charges.count(), 1, "{card}: requests at the networks");
    }
    cluster.judge().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_good_for_one_request_and_its_replay_says_so() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    let request = stage::payment("key", cards::APPROVED_VISA, 1000);
    let first = stage::shop_at(&cluster, 1).authorize(request.clone()).await?;
    assert_eq!((stage::decision(&first), first.replayed), (Decision::Approved, false));
    for node in 1..=3 {
        let again = stage::shop_at(&cluster, node).authorize(request.clone()).await?;
        assert!(again.replayed, "node {node}");
        assert_eq!(Told::new(&again), Told::new(&first), "node {node}");
        let mut others: Vec<(&str, pb::AuthorizeRequest)> = vec![
            ("amount", pb::AuthorizeRequest { amount: Some(stage::euros(1001)), ..request.clone() }),
            ("card", stage::payment("key", cards::APPROVED_MASTERCARD, 1000)),
            ("capture mode", stage::sale("key", cards::APPROVED_VISA, 1000)),
        ];
        let currency_code = "USD".to_owned();
        let dollars = pb::Money { minor_units: 1000, currency_code };
        others.push(("currency", pb::AuthorizeRequest { amount: Some(dollars), ..request.clone() }));
        let mut elsewhere = request.clone();
        elsewhere.merchant.as_mut().expect("it has one").merchant_id = "SHOP-2".to_owned();
        others.push(("merchant", elsewhere));
        for (what, other) in others {
            let refused = stage::refusal(stage::shop_at(&cluster, node).authorize(other).await);
            assert_eq!(refused, (Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED".to_owned()), "{what} at node {node}");
        }
    }
    // The same key of another gateway is another key (R10).
    let foreign = pb::AuthorizeRequest { merchant: Some(stage::merchant("market")), ..request };
    let theirs = cluster.gateway("market").authorize(foreign).await?;
    assert!(!theirs.replayed && theirs.transaction_id != first.transaction_id);
    assert_eq!(stage::received(&cluster).await?.len(), 2);
    cluster.judge().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_void_that_overtakes_its_authorization_stops_it_and_no_frame_leaves() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    for node in 1..=3 {
        let key = format!("overtaken-{node}");
        let voided = stage::shop_at(&cluster, node).void(stage::void_by_key(&format!("{key}-void"), &key)).await?;
        assert_eq!(stage::decision(&voided), Decision::Approved, "{voided:?}");
        let request = stage::payment(&key, cards::APPROVED_VISA, 1000);
        let stopped = stage::shop_at(&cluster, node % 3 + 1).authorize(request.clone()).await?;
        let outcome = stage::outcome(&stopped);
        let decline = outcome.decline.expect("a decline says why");
        assert_eq!((outcome.decision(), decline.reason()), (Decision::Declined, DeclineReason::Voided));
        assert_eq!((outcome.sent(), outcome.source()), (Sent::NotSent, DecisionSource::Switch));
        let again = cluster.gateway("shop").authorize(request).await?;
        assert_eq!(Told::new(&again), Told::new(&stopped));
    }
    assert_eq!(stage::received(&cluster).await?, []);
    cluster.judge().await.map(drop)
}

/// The network has it already, and has not answered: what it approves is reversed, and everyone is told VOIDED (R12).
#[tokio::test(flavor = "multi_thread")]
async fn a_void_beside_its_open_authorization_reverses_what_the_network_then_approves() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    let gateway = cluster.gateway("shop");
    let request = stage::payment("open", cards::SLOW, 1000);
    let paying = tokio::spawn({
        let (gateway, request) = (gateway.clone(), request.clone());
        async move { gateway.authorize(request).await }
    });
    opened(&cluster, 0).await?;
    gateway.void(stage::void_by_key("open-void", "open")).await?;
    let told = paying.await??;
    assert_eq!(stage::decision(&told), Decision::Voided, "{told:?}");
    let again = gateway.authorize(request).await?;
    assert_eq!(Told::new(&again), Told::new(&told));
    cluster.rest().await?;
    let states = stage::reversals(&stage::read(&gateway, &told.transaction_id).await?);
    assert_eq!(states, [pb::ReversalState::Acknowledged]);
    cluster.judge().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_cancelled_after_its_open_gets_the_networks_answer_on_repeating_the_key() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    for round in 0..6 {
        let node = round % 3 + 1;
        let request = stage::payment(&format!("cancelled-{round}"), cards::SLOW, 1000);
        let (gateway, asked) = (stage::shop_at(&cluster, node), request.clone());
        let call = tokio::spawn(async move { gateway.authorize(asked).await.is_ok() });
        opened(&cluster, round).await?;
        call.abort();
        assert!(call.await.is_err_and(|ended| ended.is_cancelled()), "the answer was faster than the cancellation");
        let told = stage::shop_at(&cluster, node % 3 + 1).authorize(request).await?;
        let outcome = stage::outcome(&told);
        assert_eq!((outcome.decision(), outcome.source()), (Decision::Approved, DecisionSource::Issuer), "{told:?}");
        assert_eq!(outcome.response_code, "00");
    }
    assert_eq!(stage::received(&cluster).await?.len(), 6);
    cluster.judge().await.map(drop)
}

/// Before the open, beside it, behind it: whenever the caller goes, the key knows one answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_cancelled_at_any_moment_charges_once_at_most() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    // Connections are there before anything is cut short.
    for node in 1..=3 {
        stage::shop_at(&cluster, node)
            .authorize(stage::payment(&format!("warm-{node}"), cards::APPROVED_VISA, 100))
            .await?;
    }
    let gateway = cluster.gateway("shop");
    let calls = (0..60_u64).map(|n| {
        let request = stage::payment(&format!("short-{n}"), cards::SLOW, 1000);
        let impatient = gateway.with_aim(Aim::Node(n as usize % 3 + 1));
        let patient = gateway.with_aim(Aim::Everywhere);
        async move {
            let wait = Duration::from_micros(500 * n);
            let cut_short = tokio::time::timeout(wait, impatient.authorize(request.clone())).await;
            assert!(cut_short.is_err(), "the slow card answers within {wait:?}");
            patient.authorize(request).await
        }
    });
    for told in join_all(calls).await {
        assert_eq!(stage::decision(&told?), Decision::Approved);
    }
    assert_eq!(stage::received(&cluster).await?.len(), 63);
    cluster.judge().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_card_data_in_another_form_is_the_same_request() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    let gateway = cluster.gateway("shop");
    let typed = stage::payment("form", cards::APPROVED_VISA, 1000);
    let first = gateway.authorize(typed.clone()).await?;
    // Sensitive data is no part of the fingerprint (R16): neither its value nor its absence may refuse the repetition.
    let swiped = pb::AuthorizeRequest { card: Some(plastic::swiped(cards::APPROVED_VISA)), ..typed };
    let again = gateway.authorize(swiped).await?;
    assert_eq!(Told::new(&again), Told::new(&first));
    assert!(again.replayed);
    cluster.judge().await.map(drop)
}

/// Waits until the networks have received one request more than `before`: its `Open` is committed, and the card is slow.
async fn opened(cluster: &switch_tests::harness::Cluster, before: usize) -> anyhow::Result<()> {
    let networks = cluster.networks();
    let looked = tokio::time::timeout(SOON, async {
        loop {
            let statuses = networks.status().await?;
            let requests: u64 = statuses.iter().filter_map(|status| status.counters.as_ref()).map(|c| c.requests).sum();
            if requests > before as u64 {
                return anyhow::Ok(());
            }
        }
    });
    looked.await?
}

fn told_first(answers: &[pb::OperationResult]) -> Told {
    Told::new(&answers[0])
}
