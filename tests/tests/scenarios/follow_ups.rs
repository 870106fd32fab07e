//! Everything that follows a payment, asked of whichever node: captures, refunds, voids, checks, lists and watches.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, ensure};
use futures::future::join_all;
use switch_proto::gateway::v1::{
    self as pb, Decision, DecisionSource, DeclineAdvice, DeclineReason, NetworkState, ReversalState, Sent,
    TransactionStatus, get_transaction_request::By,
};
use switch_tests::{
    eventually::eventually,
    harness::Cluster,
    sandbox::cards,
    stage::{self, SOON},
};
use tonic::{Code, Request};

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_raised_captured_twice_and_refunded_each_time_at_another_node() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    let at = |node| stage::shop_at(&cluster, node);
    let approved = |told: &pb::OperationResult| {
        let outcome = stage::outcome(told);
        (outcome.decision(), outcome.approved_amount.as_ref().map_or(0, |amount| amount.minor_units))
    };
    let paid = at(1).authorize(stage::payment("pay", cards::APPROVED_VISA, 10_000)).await?;
    let id = paid.transaction_id.as_str();
    assert_eq!(approved(&paid), (Decision::Approved, 10_000));
    assert_eq!(approved(&at(2).increment(stage::increment("raise", id, 2_000)).await?), (Decision::Approved, 2_000));
    let first = at(3).capture(stage::capture("part", id, 5_000, false)).await?;
    assert_eq!(stage::decision(&first), Decision::Approved);
    assert_eq!(stage::read(&at(1), id).await?.status(), TransactionStatus::PartiallyCaptured);
    let last = at(1).capture(stage::capture("rest", id, 6_000, true)).await?;
    assert_eq!(stage::decision(&last), Decision::Approved);
    assert_eq!(approved(&at(2).refund(stage::refund("back", id, 4_000)).await?), (Decision::Approved, 4_000));
    cluster.rest().await?;
    for node in 1..=3 {
        let by = By::TransactionId(id.to_owned());
        let seen = at(node).read(by).await?;
        let totals = seen.totals.unwrap_or_default();
        assert_eq!((totals.captured_minor_units, totals.refunded_minor_units), (11_000, 4_000), "node {node}");
        // A thousand was left, and the last capture has released it: approved and not reversed, and held no more (R21).
        assert_eq!((totals.authorized_minor_units, totals.held_minor_units), (12_000, 0), "node {node}");
        let results = seen.operations.iter().filter_map(|operation| operation.result.as_ref());
        let states: Vec<_> = results.map(|result| (result.request_id.as_str(), result.network_state())).collect();
        let (none, sent) = (NetworkState::Unspecified, NetworkState::Acknowledged);
        assert_eq!(states, [("pay", none), ("raise", none), ("part", sent), ("rest", sent), ("back", none)]);
    }
    cluster.judge().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_concurrent_refunds_that_are_too_much_together_exactly_one_is_made() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    for round in 0..6 {
        let paid =
            cluster.gateway("shop").authorize(stage::sale(&format!("sale-{round}"), cards::APPROVED_VISA, 100)).await?;
        let both = (1..=2).map(|n| {
            let gateway = stage::shop_at(&cluster, (round + n) % 3 + 1);
            let refund = stage::refund(&format!("back-{round}-{n}"), &paid.transaction_id, 60);
            async move { gateway.refund(refund).await }
        });
        let (made, refused): (Vec<_>, Vec<_>) = join_all(both).await.into_iter().partition(Result::is_ok);
        assert_eq!((made.len(), refused.len()), (1, 1), "{made:?} {refused:?}");
        let too_much = (Code::FailedPrecondition, "AMOUNT_EXCEEDS".to_owned());
        assert_eq!(refused.into_iter().map(stage::refusal).collect::<Vec<_>>(), [too_much]);
        let rest =
            cluster.gateway("shop").refund(stage::refund(&format!("rest-{round}"), &paid.transaction_id, 40)).await?;
        assert_eq!(stage::decision(&rest), Decision::Approved);
        let seen = stage::read(&cluster.gateway("shop"), &paid.transaction_id).await?;
        assert_eq!(seen.status(), TransactionStatus::Refunded);
    }
    cluster.judge().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_money_does_not_allow_is_refused_by_name() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    let gateway = cluster.gateway("shop");
    let card = cards::APPROVED_VISA;
    let held = gateway.authorize(stage::payment("held", card, 1000)).await?.transaction_id;
    let captured = gateway.authorize(stage::payment("captured", card, 1000)).await?.transaction_id;
    gateway.capture(stage::capture("captured-1", &captured, 600, true)).await?;
    let voided = gateway.authorize(stage::payment("voided", card, 1000)).await?.transaction_id;
    gateway.void(stage::void("voided-1", &voided)).await?;
    let declined = gateway.authorize(stage::payment("declined", cards::DECLINED, 1000)).await?.transaction_id;
    let sold = gateway.authorize(stage::sale("sold", card, 1000)).await?.transaction_id;
    let verified = gateway.verify(stage::verification("verified", card)).await?.transaction_id;
    let dollars = Some(pb::Money { minor_units: 1, currency_code: "USD".to_owned() });

    let no = Code::FailedPrecondition;
    let captures = [
        ("a capture of more than is held", stage::capture("c-1", &held, 1001, false), "AMOUNT_EXCEEDS"),
        ("a capture after the final one", stage::capture("c-2", &captured, 1, false), "FINALLY_CAPTURED"),
        ("a capture of what is voided", stage::capture("c-3", &voided, 1, false), "ALREADY_VOIDED"),
        ("a capture of a decline", stage::capture("c-4", &declined, 1, false), "NOT_AUTHORIZED"),
        ("a capture of a verification", stage::capture("c-5", &verified, 1, false), "NOT_AUTHORIZED"),
        (
            "a capture in another currency",
            pb::CaptureRequest { amount: dollars.clone(), ..stage::capture("c-6", &held, 1, false) },
            "CURRENCY_MISMATCH",
        ),
    ];
    for (what, request, reason) in captures {
        assert_eq!(stage::refusal(gateway.capture(request).await), (no, reason.to_owned()), "{what}");
    }
    let voids = [
        ("a void of captured money", stage::void("v-1", &captured), "USE_REFUND"),
        ("a second void", stage::void("v-2", &voided), "ALREADY_VOIDED"),
        ("a void of a verification", stage::void("v-3", &verified), "NOT_AUTHORIZED"),
        ("a void by key of captured money", stage::void_by_key("v-4", "captured"), "USE_REFUND"),
    ];
    for (what, request, reason) in voids {
        assert_eq!(stage::refusal(gateway.void(request).await), (no, reason.to_owned()), "{what}");
    }
    let refunds = [
        ("a refund of more than was captured", stage::refund("r-1", &captured, 601), "AMOUNT_EXCEEDS"),
        ("a refund before the capture", stage::refund("r-2", &held, 1), "AMOUNT_EXCEEDS"),
        ("a refund of a decline", stage::refund("r-3", &declined, 1), "NOT_AUTHORIZED"),
    ];
    for (what, request, reason) in refunds {
        assert_eq!(stage::refusal(gateway.refund(request).await), (no, reason.to_owned()), "{what}");
    }
    let increments = [
        ("an increment after the final capture", stage::increment("i-1", &captured, 1), "FINALLY_CAPTURED"),
        ("an increment of what is voided", stage::increment("i-2", &voided, 1), "ALREADY_VOIDED"),
        ("an increment of a sale", stage::increment("i-3", &sold, 1), "FINALLY_CAPTURED"),
    ];
    for (what, request, reason) in increments {
        assert_eq!(stage::refusal(gateway.increment(request).await), (no, reason.to_owned()), "{what}");
    }
    // Whatever is refused leaves its key free (R17).
    let retried = gateway.capture(stage::capture("c-1", &held, 1000, true)).await?;
    assert_eq!(stage::decision(&retried), Decision::Approved);
    // A void of what holds nothing says what the gateway wants to hear: nothing stands.
    assert_eq!(stage::decision(&gateway.void(stage::void("v-6", &declined)).await?), Decision::Approved);
    // R6's exception: a sale may be voided until the cut-over.
    assert_eq!(stage::decision(&gateway.void(stage::void("v-5", &sold)).await?), Decision::Approved);
    cluster.judge().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partial_approval_is_given_to_whoever_declared_it_and_reversed_for_whoever_did_not() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    let gateway = cluster.gateway("shop");
    let request = stage::payment("welcome", cards::PARTIAL, 1000);
    let told = gateway.authorize(pb::AuthorizeRequest { partial_approval_supported: true, ..request }).await?;
    let outcome = stage::outcome(&told);
    assert_eq!(outcome.decision(), Decision::PartiallyApproved);
    assert_eq!((outcome.approved_amount.clone(), &*outcome.response_code), (Some(stage::euros(500)), "10"));
    let too_much = stage::refusal(gateway.capture(stage::capture("over", &told.transaction_id, 501, true)).await);
    assert_eq!(too_much, (Code::FailedPrecondition, "AMOUNT_EXCEEDS".to_owned()));
    gateway.capture(stage::capture("exactly", &told.transaction_id, 500, true)).await?;

    let told = gateway.authorize(stage::payment("unwelcome", cards::PARTIAL, 1000)).await?;
    let outcome = stage::outcome(&told);
    let decline = outcome.decline.expect("a decline says why");
    assert_eq!((outcome.decision(), decline.reason()), (Decision::Declined, DeclineReason::PartialNotSupported));
    assert_eq!((outcome.sent(), outcome.source()), (Sent::Sent, DecisionSource::Switch));
    cluster.rest().await?;
    let states = stage::reversals(&stage::read(&gateway, &told.transaction_id).await?);
    assert_eq!(states, [ReversalState::Acknowledged]);
    cluster.judge().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verification_says_whether_a_card_is_good_and_moves_no_money() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    let gateway = cluster.gateway("shop");
    let good = gateway.verify(stage::verification("good", cards::APPROVED_VISA)).await?;
    assert_eq!(stage::decision(&good), Decision::Approved);
    assert_eq!(stage::read(&gateway, &good.transaction_id).await?.status(), TransactionStatus::Verified);
    let again = gateway.verify(stage::verification("good", cards::APPROVED_VISA)).await?;
    assert!(again.replayed);
    let lost = gateway.verify(stage::verification("lost", cards::LOST_CARD)).await?;
    let decline = stage::outcome(&lost).decline.expect("a decline says why");
    assert_eq!((stage::decision(&lost), decline.reason()), (Decision::Declined, DeclineReason::LostCard));
    // Nothing will ever tell (R22).
    let silent = gateway.verify(stage::verification("silent", cards::NO_ANSWER)).await;
    let error = silent.expect_err("nobody knows");
    assert_eq!(stage::reason(&error.status), (Code::Unknown, "OUTCOME_UNKNOWN".to_owned()));
    assert_eq!(error.calls, 1, "a final doubt is not repeated");
    let held: i64 =
        stage::received(&cluster).await?.iter().filter_map(|booked| booked.sums).map(|sums| sums.held).sum();
    assert_eq!(held, 0);
    cluster.judge().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_has_every_transaction_once_newest_first_and_of_its_gateway_only() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    let shop = cluster.gateway("shop");
    let mut paid = Vec::new();
    for n in 0..7 {
        paid.push(shop.authorize(stage::payment(&format!("pay-{n}"), cards::APPROVED_VISA, 100)).await?.transaction_id);
    }
    let foreign = pb::AuthorizeRequest {
        merchant: Some(stage::merchant("market")),
        ..stage::payment("pay-0", cards::APPROVED_VISA, 100)
    };
    let theirs = cluster.gateway("market").authorize(foreign).await?.transaction_id;
    paid.reverse();
    let (mut listed, mut token, mut sizes) = (Vec::new(), String::new(), Vec::new());
    loop {
        let node = sizes.len() % 3 + 1;
        let request = pb::ListTransactionsRequest { page_size: 3, page_token: token };
        let page = shop.raw(node).list_transactions(timed(request)).await?.into_inner();
        sizes.push(page.transactions.len());
        listed.extend(page.transactions.into_iter().map(|transaction| transaction.transaction_id));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!((listed, sizes), (paid, vec![3, 3, 1]));
    let request = pb::ListTransactionsRequest::default();
    let page = cluster.gateway("market").raw(2).list_transactions(timed(request)).await?.into_inner();
    let ids: Vec<_> = page.transactions.into_iter().map(|transaction| transaction.transaction_id).collect();
    assert_eq!(ids, [theirs]);
    cluster.judge().await.map(drop)
}

/// R3: in the words of the table, and not by the CANCELLED with which the transport ends a call whose time is over.
#[tokio::test(flavor = "multi_thread")]
async fn r3_a_read_that_no_quorum_confirms_is_told_so_before_its_deadline() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    // Slow elections: the leader goes on for longer than the reads wait.
    let cluster = stage::three().election_ms(250, 3000, 5000).start().await?;
    let leader = cluster.wait_leader(SOON).await?.node;
    let mut shop = cluster.gateway("shop").raw(leader);
    let get = || pb::GetTransactionRequest { by: Some(By::RequestId("order-1".to_owned())) };
    let missing = shop.get_transaction(timed(get())).await.expect_err("there is none");
    assert_eq!(missing.code(), Code::NotFound, "the connection is open: {missing}");

    let followers: Vec<usize> = (1..=3).filter(|number| *number != leader).collect();
    followers.iter().try_for_each(|number| cluster.stop(*number))?;
    // Ours comes twenty milliseconds before the transport's: a machine that stands still for that long is asked again.
    let told = eventually(Duration::from_secs(3), "each read is told in the words of the table", || async {
        let (mut gets, mut lists, mut watches) = (shop.clone(), shop.clone(), shop.clone());
        let told = tokio::join!(
            async { gets.get_transaction(hurried(get())).await.map(drop) },
            async { lists.list_transactions(hurried(pb::ListTransactionsRequest::default())).await.map(drop) },
            async { watches.watch_transactions(hurried(pb::WatchTransactionsRequest::default())).await.map(drop) },
        );
        for told in [told.0, told.1, told.2] {
            let told = told.err().context("nobody confirmed it")?;
            ensure!(stage::reason(&told) == (Code::Unavailable, "BEHIND".to_owned()), "{told}");
        }
        Ok(())
    })
    .await;
    followers.iter().try_for_each(|number| cluster.cont(*number))?;
    told?;
    cluster.ready().await?;
    let paid = cluster.gateway("shop").authorize(stage::payment("order-1", cards::APPROVED_VISA, 100)).await?;
    assert_eq!(stage::decision(&paid), Decision::Approved);
    cluster.judge().await.map(drop)
}

/// With a deadline that is over before anything else in the cluster is.
fn hurried<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(Duration::from_millis(500));
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_resumed_at_any_node_sees_every_revision_without_a_gap() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    let shop = cluster.gateway("shop");
    let mut watch = shop.raw(1).watch_transactions(pb::WatchTransactionsRequest::default()).await?.into_inner();
    let first = shop.authorize(stage::payment("first", cards::APPROVED_VISA, 1000)).await?.transaction_id;
    let event = tokio::time::timeout(SOON, watch.message()).await??.expect("a watch goes on");
    assert_eq!((event.transaction_id.as_str(), event.revision), (first.as_str(), 1));
    drop(watch);
    let token = event.resume_token;

    shop.capture(stage::capture("first-1", &first, 400, false)).await?;
    shop.capture(stage::capture("first-2", &first, 600, true)).await?;
    shop.refund(stage::refund("first-3", &first, 100)).await?;
    for n in 0..10 {
        let card = [cards::APPROVED_VISA, cards::NO_ANSWER, cards::DECLINED, cards::GARBLED, cards::PARTIAL][n % 5];
        let paid = shop.authorize(stage::payment(&format!("pay-{n}"), card, 1000)).await?;
        if stage::decision(&paid) == Decision::Approved {
            shop.void(stage::void(&format!("pay-{n}-void"), &paid.transaction_id)).await?;
        }
    }
    // Nobody else's events are among them.
    let foreign = pb::AuthorizeRequest {
        merchant: Some(stage::merchant("market")),
        ..stage::payment("foreign", cards::APPROVED_VISA, 100)
    };
    cluster.gateway("market").authorize(foreign).await?;
    cluster.rest().await?;
    let request = pb::ListTransactionsRequest { page_size: 1000, page_token: String::new() };
    let list = shop.raw(1).list_transactions(timed(request)).await?.into_inner().transactions;
    let last: BTreeMap<String, u32> = list.into_iter().map(|known| (known.transaction_id, known.revision)).collect();
    assert_eq!(last.len(), 11);
    for node in 1..=3 {
        let seen = watched(&cluster, node, &token, &first, &last).await?;
        assert_eq!(seen, last, "node {node}");
    }
    cluster.judge().await.map(drop)
}

/// Reads a watch until every transaction has come to its last revision, and gives those. A gap ends it.
async fn watched(
    cluster: &Cluster,
    node: usize,
    token: &str,
    first: &str,
    last: &BTreeMap<String, u32>,
) -> anyhow::Result<BTreeMap<String, u32>> {
    let request = pb::WatchTransactionsRequest { resume_token: token.to_owned() };
    let mut watch = cluster.gateway("shop").raw(node).watch_transactions(request).await?.into_inner();
    // The event of the token itself was seen.
    let mut seen = BTreeMap::from([(first.to_owned(), 1)]);
    let reading = async {
        while seen != *last {
            let event = watch.message().await?.expect("a watch goes on");
            let before = seen.get(&event.transaction_id).copied().unwrap_or(0);
            // At least once: what was seen may come again.
            let next = event.revision <= before + 1;
            anyhow::ensure!(next, "{} went from revision {before} to {}", event.transaction_id, event.revision);
            seen.insert(event.transaction_id, before.max(event.revision));
        }
        anyhow::Ok(())
    };
    match tokio::time::timeout(SOON, reading).await {
        Ok(read) => read?,
        Err(_) => anyhow::bail!("node {node} shows {seen:?} of {last:?}"),
    }
    Ok(seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_card_that_people_know_gets_the_answer_that_they_know() -> anyhow::Result<()> {
    use DeclineAdvice as Advice;
    use DeclineReason as Reason;
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    let declines = [
        (cards::DECLINED, "05", Reason::DoNotHonor, Advice::Unspecified),
        (cards::INSUFFICIENT_FUNDS, "51", Reason::InsufficientFunds, Advice::TryAgainLater),
        (cards::LOST_CARD, "41", Reason::LostCard, Advice::DoNotTryAgain),
        (cards::STOLEN_CARD, "43", Reason::StolenCard, Advice::DoNotTryAgain),
        (cards::EXPIRED_CARD, "54", Reason::ExpiredCard, Advice::ConfirmCardData),
        (cards::INCORRECT_CVV, "N7", Reason::CardVerificationFailed, Advice::ConfirmCardData),
        (cards::PROCESSING_ERROR, "96", Reason::SystemMalfunction, Advice::TryAgainLater),
        (cards::VELOCITY_EXCEEDED, "65", Reason::CountLimitExceeded, Advice::TryAgainLater),
        (cards::ISSUER_UNAVAILABLE, "91", Reason::IssuerUnavailable, Advice::TryAgainLater),
        (cards::REFERRAL, "01", Reason::ReferToIssuer, Advice::Unspecified),
        // The scheme's own advice wins over what the code suggests.
        (cards::NEVER_TRY_AGAIN, "51", Reason::InsufficientFunds, Advice::DoNotTryAgain),
    ];
    for (n, (card, code, reason, advice)) in declines.into_iter().enumerate() {
        let told =
            stage::shop_at(&cluster, n % 3 + 1).authorize(stage::payment(&format!("no-{n}"), card, 1000)).await?;
        let outcome = stage::outcome(&told);
        let decline = outcome.decline.expect("a decline says why");
        assert_eq!((outcome.decision(), outcome.sent()), (Decision::Declined, Sent::Sent), "{code}");
        assert_eq!((&*outcome.response_code, decline.reason(), decline.advice()), (code, reason, advice));
        assert_eq!(outcome.network_advice_code, if card == cards::NEVER_TRY_AGAIN { "03" } else { "" }, "{code}");
        assert_ne!(outcome.source(), DecisionSource::Switch, "{code}");
        assert_eq!(outcome.approved_amount, None, "{code}");
    }
    // 91 and 96 let the switch ask the other network, which says the same (R17).
    for card in ["no-6", "no-8"] {
        let by = By::RequestId(card.to_owned());
        let seen = cluster.gateway("shop").read(by).await?;
        let asked: Vec<_> = seen.operations[0].attempts.iter().map(|attempt| attempt.network.as_str()).collect();
        assert_eq!(asked, switch_tests::harness::NETWORKS);
    }
    use pb::VerificationResult::{Match, Mismatch};
    let approvals = [
        (cards::APPROVED_VISA, Match, Match, Match),
        (cards::APPROVED_MASTERCARD, Match, Match, Match),
        (cards::APPROVED_MASTERCARD_2_SERIES, Match, Match, Match),
        (cards::APPROVED_AMEX, Match, Match, Match),
        (cards::APPROVED_DISCOVER, Match, Match, Match),
        (cards::CVV_MISMATCH, Match, Match, Mismatch),
        (cards::ADDRESS_MISMATCH, Mismatch, Mismatch, Match),
        (cards::STREET_MISMATCH, Mismatch, Match, Match),
        (cards::POSTAL_CODE_MISMATCH, Match, Mismatch, Match),
    ];
    for (n, (card, street, postal_code, value)) in approvals.into_iter().enumerate() {
        let address = pb::AddressVerification { street: "Brivibas 1".to_owned(), postal_code: "LV-1010".to_owned() };
        let request = stage::payment(&format!("yes-{n}"), card, 1000);
        let told =
            cluster.gateway("shop").authorize(pb::AuthorizeRequest { address: Some(address), ..request }).await?;
        let outcome = stage::outcome(&told);
        assert_eq!((outcome.decision(), &*outcome.response_code), (Decision::Approved, "00"), "{n}");
        assert_eq!(outcome.approval_code.len(), 6, "{n}");
        let checked = outcome.verification.clone().unwrap_or_default();
        assert_eq!((checked.street(), checked.postal_code()), (street, postal_code), "{n}");
        assert_eq!(checked.card_verification_value(), value, "{n}");
    }
    cluster.judge().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_and_a_kill_switch_changed_at_run_time_hold_from_the_next_payment_on() -> anyhow::Result<()> {
    use switch_proto::operator::v1::{DirectoryChange, directory_change::Change};
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    let gateway = cluster.gateway("shop");
    let first = gateway.authorize(stage::payment("before", cards::APPROVED_VISA, 100)).await?;
    let mut route =
        cluster.directory().routes.iter().find(|route| route.route_id == "cards-4").cloned().expect("a route");
    route.network_id = switch_tests::harness::NETWORKS[1].to_owned();
    let change = |change| vec![DirectoryChange { change: Some(change) }];
    cluster.change_directory("other-network", change(Change::PutRoute(route))).await?;
    let second = gateway.authorize(stage::payment("after", cards::APPROVED_VISA, 100)).await?;
    assert_eq!([first.network.as_str(), second.network.as_str()], switch_tests::harness::NETWORKS);
    let mut shop =
        cluster.directory().gateways.iter().find(|known| known.gateway_id == "shop").cloned().expect("the shop");
    shop.enabled = false;
    cluster.change_directory("off", change(Change::PutGateway(shop.clone()))).await?;
    // What it was told it may still read; what is new is not sent.
    let replay = gateway.authorize(stage::payment("after", cards::APPROVED_VISA, 100)).await?;
    assert!(replay.replayed);
    let refused = gateway.authorize(stage::payment("disabled", cards::APPROVED_VISA, 100)).await;
    let declined = refused.is_ok_and(|told| {
        let outcome = stage::outcome(&told);
        let reason = outcome.decline.map(|decline| decline.reason());
        (outcome.sent(), reason) == (Sent::NotSent, Some(DeclineReason::Disabled))
    });
    assert!(declined, "a disabled gateway pays nothing");
    shop.enabled = true;
    cluster.change_directory("on", change(Change::PutGateway(shop))).await?;
    eventually(SOON, "it pays again", || async {
        let told = gateway.authorize(stage::payment("disabled", cards::APPROVED_VISA, 100)).await;
        told.is_ok_and(|told| stage::decision(&told) == Decision::Approved)
    })
    .await?;
    cluster.judge().await.map(drop)
}

fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(SOON);
    request
}
