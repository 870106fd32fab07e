//! Card data that gateways seal to the switch's key: it pays like any other, over every way in and on every node, for its own
//! request alone, and where it is required nothing else pays.

use switch_proto::{
    gateway::v1::{self as pb, Decision},
    operator::v1::{self as operator, directory_change::Change},
};
use switch_tests::{
    gateway_client::{Aim, sealed},
    history::Told,
    sandbox::cards,
    stage::{self, SOON},
    workload::plastic,
};
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_card_pays_on_every_node_and_over_a_stream_and_its_key_has_one_answer() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    let clear = cluster.gateway("shop");
    let sealing = clear.sealing(1).await?;
    for node in 1..=3 {
        let request = stage::payment(&format!("unary-{node}"), cards::APPROVED_VISA, 1_000);
        let told = sealing.with_aim(Aim::Node(node)).authorize(request.clone()).await?;
        assert_eq!(stage::decision(&told), Decision::Approved, "node {node}");
        // Sealed anew, and in the clear: the same request (R16).
        let other = node % 3 + 1;
        for again in [sealing.with_aim(Aim::Node(other)), clear.with_aim(Aim::Node(other))] {
            let again = again.authorize(request.clone()).await?;
            assert!(again.replayed && Told::new(&again) == Told::new(&told), "node {node}");
        }
        let checked = sealing.with_aim(Aim::Node(node));
        let checked = checked.verify(stage::verification(&format!("check-{node}"), cards::APPROVED_VISA)).await?;
        assert_eq!(stage::decision(&checked), Decision::Approved, "node {node}");
    }
    let streaming = sealing.streaming(1);
    let told = streaming.authorize(stage::payment("streamed", cards::APPROVED_MASTERCARD, 1_000)).await?;
    assert_eq!(stage::decision(&told), Decision::Approved);
    let captured = clear.capture(stage::capture("capture", &told.transaction_id, 1_000, true)).await?;
    assert_eq!(stage::decision(&captured), Decision::Approved);
    let back = clear.refund(stage::refund("refund", &told.transaction_id, 400)).await?;
    assert_eq!(stage::decision(&back), Decision::Approved, "the card comes out of the vault");
    cluster.judge().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seal_is_good_for_one_request_of_one_gateway_and_a_key_until_its_overlap_ends() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    let (shop, market) = (cluster.gateway("shop"), cluster.gateway("market"));
    let published = shop.sealing_keys().await?;
    assert_eq!((published.gateway_id.as_str(), published.required, published.keys.len()), ("shop", false, 1));
    let key = published.keys[0].clone();
    let clear = plastic::keyed(cards::APPROVED_VISA);
    let payment = |request_id: &str, card: pb::Card| pb::AuthorizeRequest {
        card: Some(card),
        ..stage::payment(request_id, cards::APPROVED_VISA, 1_000)
    };
    let own = sealed(&clear, &key, "shop", "Authorize", "own")?;
    let forged = (Code::InvalidArgument, "SEALED_CARD_INVALID".to_owned());
    for node in 1..=3 {
        let shop = stage::impatient(&stage::shop_at(&cluster, node));
        // Moved to another request_id, to another method, to another gateway.
        assert_eq!(stage::refusal(shop.authorize(payment("other", own.clone())).await), forged, "node {node}");
        let check =
            pb::VerifyCardRequest { card: Some(own.clone()), ..stage::verification("own", cards::APPROVED_VISA) };
        assert_eq!(stage::refusal(shop.verify(check).await), forged, "node {node}");
        let market = stage::impatient(&market.with_aim(Aim::Node(node)));
        let theirs = pb::AuthorizeRequest { merchant: Some(stage::merchant("market")), ..payment("own", own.clone()) };
        assert_eq!(stage::refusal(market.authorize(theirs).await), forged, "node {node}");
    }
    assert_eq!(stage::decision(&shop.authorize(payment("own", own)).await?), Decision::Approved);

    // A new key at once, and the old one for a second more.
    let leader = cluster.wait_leader(SOON).await?;
    let rotate = operator::RotateKeyRequest {
        request_id: "rotate-1".to_owned(),
        purpose: operator::KeyPurpose::Sealing.into(),
        wrapping_version: 0,
        overlap_s: 1,
    };
    let mut keys = cluster.node(leader.node).operator().keys();
    assert_eq!(keys.rotate_key(rotate.clone()).await?.into_inner().version, 2);
    assert_eq!(keys.rotate_key(rotate).await?.into_inner().version, 2, "the same call makes one key");
    let next = shop.sealing_keys().await?.keys[0].clone();
    assert_eq!((next.key_id.as_str(), next.not_after_unix_ms), ("sealing-2", 0));
    let new = sealed(&clear, &next, "shop", "Authorize", "new")?;
    assert_eq!(stage::decision(&shop.authorize(payment("new", new)).await?), Decision::Approved);
    let only_the_new = || async { shop.sealing_keys().await.is_ok_and(|list| list.keys.len() == 1) };
    switch_tests::eventually::eventually(SOON, "the old key is published no more", only_the_new).await?;
    let late = sealed(&clear, &key, "shop", "Authorize", "late")?;
    let refused = stage::refusal(shop.authorize(payment("late", late)).await);
    assert_eq!(refused, (Code::FailedPrecondition, "SEALING_KEY_UNKNOWN".to_owned()));

    let listed = keys.list_keys(operator::ListKeysRequest {}).await?.into_inner();
    let sealing = listed.keys.iter().filter(|key| key.purpose() == operator::KeyPurpose::Sealing);
    assert_eq!(sealing.map(|key| (key.version, key.current)).collect::<Vec<_>>(), [(1, false), (2, true)]);
    cluster.judge().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_must_seal_pays_sealed_only() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    let shop = cluster.directory().gateways.iter().find(|gateway| gateway.gateway_id == "shop").cloned();
    let shop = operator::Gateway { require_sealed: true, ..shop.expect("the default directory has a shop") };
    let change = operator::DirectoryChange { change: Some(Change::PutGateway(shop)) };
    cluster.change_directory("require-sealed", vec![change]).await?;
    let gateway = cluster.gateway("shop");
    assert!(gateway.sealing_keys().await?.required);
    let refused = (Code::FailedPrecondition, "SEALED_CARD_REQUIRED".to_owned());
    for (nth, card) in [
        plastic::keyed(cards::APPROVED_VISA),
        plastic::swiped(cards::APPROVED_VISA),
        plastic::chip(cards::APPROVED_VISA, true),
        plastic::wallet(cards::APPROVED_VISA),
        plastic::on_file(cards::APPROVED_VISA),
    ]
    .into_iter()
    .enumerate()
    {
        let clear = stage::payment(&format!("clear-{nth}"), cards::APPROVED_VISA, 1_000);
        let clear = pb::AuthorizeRequest { card: Some(card), ..clear };
        assert_eq!(stage::refusal(gateway.authorize(clear.clone()).await), refused, "card {nth}");
        assert_eq!(stage::refusal(gateway.streaming(1).authorize(clear).await), refused, "card {nth}, over a stream");
    }
    let told = gateway.sealing(1).await?.authorize(stage::payment("sealed", cards::APPROVED_VISA, 1_000)).await?;
    assert_eq!(stage::decision(&told), Decision::Approved);
    // What names no card needs no seal.
    let captured = gateway.capture(stage::capture("capture", &told.transaction_id, 1_000, true)).await?;
    assert_eq!(stage::decision(&captured), Decision::Approved);
    let market = pb::AuthorizeRequest {
        merchant: Some(stage::merchant("market")),
        ..stage::payment("other", cards::APPROVED_VISA, 1_000)
    };
    let others = cluster.gateway("market").authorize(market).await?;
    assert_eq!(stage::decision(&others), Decision::Approved, "another gateway is free to choose");
    cluster.judge().await.map(drop)
}
