//! Bad requests and strangers at the doors: each gets the exact error of a table, and none costs the journal an entry.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use bytes::Bytes;
use rustls::{ClientConfig, RootCertStore, client::WebPkiServerVerifier};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use switch_consensus::limits::PACK_BYTES_MAX;
use switch_proto::{
    gateway::v1::{
        self as pb, Decision, DecisionSource, DeclineReason, Sent,
        authorization_service_client::AuthorizationServiceClient, card::Source, get_transaction_request::By,
        void_request::Original,
    },
    operator::v1::{self as operator, directory_change::Change},
};
use switch_tests::{
    channel,
    eventually::eventually,
    harness::Cluster,
    history::{self, explanation},
    needles::Searched,
    pki::{Flaw, Issued, Plane},
    sandbox::cards,
    stage::{self, SOON},
    workload::plastic,
};
use tokio::{io::AsyncReadExt, net::TcpStream};
use tokio_rustls::TlsConnector;
use tonic::{Code, Request, Status};

/// A good payment made bad in one place.
type Spoil = fn(&mut pb::AuthorizeRequest);

/// What is wrong, how, the reason, and the field that is named.
const PAYMENTS: &[(&str, Spoil, &str, &str)] = &[
    ("no key", |r| r.request_id.clear(), "FIELD_MISSING", "request_id"),
    ("a long key", |r| r.request_id = "k".repeat(65), "FIELD_TOO_LONG", "request_id"),
    ("a key with a space", |r| r.request_id = "order 1".into(), "FIELD_MALFORMED", "request_id"),
    ("no amount", |r| r.amount = None, "FIELD_MISSING", "amount"),
    ("zero", |r| r.amount = Some(stage::euros(0)), "AMOUNT_ZERO", "amount.minor_units"),
    ("a negative amount", |r| r.amount = Some(stage::euros(-1)), "AMOUNT_NEGATIVE", "amount.minor_units"),
    ("the least amount", |r| r.amount = Some(stage::euros(i64::MIN)), "AMOUNT_NEGATIVE", "amount.minor_units"),
    ("13 digits", |r| r.amount = Some(stage::euros(1_000_000_000_000)), "AMOUNT_TOO_GREAT", "amount.minor_units"),
    ("an overflow", |r| r.amount = Some(stage::euros(i64::MAX)), "AMOUNT_TOO_GREAT", "amount.minor_units"),
    ("no currency", |r| money(r).currency_code.clear(), "FIELD_MISSING", "amount.currency_code"),
    ("a currency of nobody", |r| money(r).currency_code = "XQX".into(), "UNKNOWN_CURRENCY", "amount.currency_code"),
    (
        "a currency in small letters",
        |r| money(r).currency_code = "eur".into(),
        "UNKNOWN_CURRENCY",
        "amount.currency_code",
    ),
    (
        "a currency that is a number",
        |r| money(r).currency_code = "978".into(),
        "UNKNOWN_CURRENCY",
        "amount.currency_code",
    ),
    ("no card", |r| r.card = None, "FIELD_MISSING", "card"),
    ("a card of no kind", |r| r.card = Some(pb::Card { source: None }), "FIELD_MISSING", "card"),
    ("no number", |r| keyed(r).primary_account_number.clear(), "FIELD_MISSING", KEYED_NUMBER),
    ("11 digits", |r| keyed(r).primary_account_number = "4".repeat(11), "CARD_NUMBER_INVALID", KEYED_NUMBER),
    ("20 digits", |r| keyed(r).primary_account_number = "4".repeat(20), "CARD_NUMBER_INVALID", KEYED_NUMBER),
    ("letters", |r| keyed(r).primary_account_number = "x".repeat(16), "CARD_NUMBER_INVALID", KEYED_NUMBER),
    ("no expiry", |r| keyed(r).expiry = None, "FIELD_MISSING", "card.keyed.expiry"),
    ("month 13", |r| expiry(r).month = 13, "CARD_EXPIRY_INVALID", "card.keyed.expiry"),
    ("month 0", |r| expiry(r).month = 0, "CARD_EXPIRY_INVALID", "card.keyed.expiry"),
    ("a year of two digits", |r| expiry(r).year = 39, "CARD_EXPIRY_INVALID", "card.keyed.expiry"),
    ("a value of 2 digits", |r| value(r, "12"), "CARD_VERIFICATION_VALUE_INVALID", KEYED_VALUE),
    ("a value of 5 digits", |r| value(r, "12345"), "CARD_VERIFICATION_VALUE_INVALID", KEYED_VALUE),
    ("a value with a letter", |r| value(r, "12a"), "CARD_VERIFICATION_VALUE_INVALID", KEYED_VALUE),
    ("no merchant", |r| r.merchant = None, "FIELD_MISSING", "merchant"),
    ("no merchant id", |r| merchant(r).merchant_id.clear(), "FIELD_MISSING", "merchant.merchant_id"),
    ("a long merchant id", |r| merchant(r).merchant_id = "M".repeat(16), "FIELD_TOO_LONG", "merchant.merchant_id"),
    (
        "a merchant id with a slash",
        |r| merchant(r).merchant_id = "A/B".into(),
        "FIELD_MALFORMED",
        "merchant.merchant_id",
    ),
    ("no category", |r| merchant(r).category_code.clear(), "FIELD_MISSING", "merchant.category_code"),
    (
        "a category of 3 digits",
        |r| merchant(r).category_code = "594".into(),
        "FIELD_MALFORMED",
        "merchant.category_code",
    ),
    (
        "a category of letters",
        |r| merchant(r).category_code = "book".into(),
        "FIELD_MALFORMED",
        "merchant.category_code",
    ),
    ("a long name", |r| merchant(r).name = "n".repeat(26), "FIELD_TOO_LONG", "merchant.name"),
    ("a name beyond ASCII", |r| merchant(r).name = "Gr\u{101}matas".into(), "FIELD_MALFORMED", "merchant.name"),
    ("a long city", |r| merchant(r).city = "c".repeat(14), "FIELD_TOO_LONG", "merchant.city"),
    ("no country", |r| merchant(r).country_code.clear(), "FIELD_MISSING", "merchant.country_code"),
    ("a country of 3 letters", |r| merchant(r).country_code = "LVA".into(), "FIELD_MALFORMED", "merchant.country_code"),
    ("no terminal", |r| merchant(r).terminal_id.clear(), "FIELD_MISSING", "merchant.terminal_id"),
    ("a long terminal", |r| merchant(r).terminal_id = "T".repeat(9), "FIELD_TOO_LONG", "merchant.terminal_id"),
    ("a capture mode of tomorrow", |r| r.capture_mode = 99, "FIELD_MALFORMED", "capture_mode"),
    ("an entry mode of tomorrow", |r| r.entry_mode = 99, "FIELD_MALFORMED", "entry_mode"),
    ("a chip that was typed", |r| r.entry_mode = pb::EntryMode::Chip.into(), "ENTRY_MODE_CONFLICT", "entry_mode"),
    ("a long reference", |r| r.merchant_reference = "r".repeat(65), "FIELD_TOO_LONG", "merchant_reference"),
    ("a reference that rings", |r| r.merchant_reference = "\u{7}".into(), "FIELD_MALFORMED", "merchant_reference"),
    (
        "the number in the reference",
        |r| r.merchant_reference = format!("card {}", cards::APPROVED_VISA),
        "FREE_TEXT_HOLDS_CARD_NUMBER",
        "merchant_reference",
    ),
    (
        "the number in the key",
        |r| r.request_id = format!("k-{}", cards::APPROVED_VISA),
        "FREE_TEXT_HOLDS_CARD_NUMBER",
        "request_id",
    ),
    (
        "the number as the merchant's name",
        |r| merchant(r).name = cards::APPROVED_VISA.into(),
        "FREE_TEXT_HOLDS_CARD_NUMBER",
        "merchant.name",
    ),
    ("a time before 1970", |r| r.first_sent_unix_ms = -1, "FIELD_MALFORMED", "first_sent_unix_ms"),
    (
        "a long street",
        |r| r.address = Some(pb::AddressVerification { street: "s".repeat(41), postal_code: String::new() }),
        "FIELD_TOO_LONG",
        "address.street",
    ),
    (
        "a long postal code",
        |r| r.address = Some(pb::AddressVerification { street: String::new(), postal_code: "1".repeat(11) }),
        "FIELD_TOO_LONG",
        "address.postal_code",
    ),
    (
        "an empty result of 3-D Secure",
        |r| r.three_d_secure = Some(pb::ThreeDSecure::default()),
        "FIELD_MISSING",
        "three_d_secure.electronic_commerce_indicator",
    ),
    ("a track that is none", |r| track(r, "no track"), "TRACK2_INVALID", "card.magnetic_stripe.track2"),
    ("no track", |r| track(r, ""), "FIELD_MISSING", "card.magnetic_stripe.track2"),
    ("a PIN block of 7 bytes", pin_block_of_7_bytes, "PIN_BLOCK_INVALID", "card.magnetic_stripe.pin_block"),
    ("no chip data", |r| chip(r, |c| c.icc_data = Bytes::new()), "FIELD_MISSING", "card.chip.icc_data"),
    (
        "chip data that ends early",
        |r| chip(r, |c| c.icc_data = Bytes::from_static(&[0x9F, 0x26, 0x08, 1])),
        "CHIP_DATA_INVALID",
        "card.chip.icc_data",
    ),
    (
        "a sequence number of 4 digits",
        |r| chip(r, |c| c.card_sequence_number = 1000),
        "CARD_SEQUENCE_NUMBER_INVALID",
        "card.chip.card_sequence_number",
    ),
    (
        "a track of another card",
        |r| chip(r, |c| c.track2_equivalent = format!("{}=3911201000001", cards::APPROVED_MASTERCARD)),
        "FIELD_CONFLICT",
        "card.chip.track2_equivalent",
    ),
    ("a cryptogram of 3 bytes", cryptogram_of_3_bytes, "CRYPTOGRAM_INVALID", "card.network_token.cryptogram"),
    ("a stored card of nobody", stored_by_nobody, "FIELD_MISSING", "card.stored_credential.initiator"),
];

const KEYED_NUMBER: &str = "card.keyed.primary_account_number";
const KEYED_VALUE: &str = "card.keyed.card_verification_value";

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_field_gets_its_error_and_costs_the_journal_nothing() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    let before = last_index(&cluster).await?;
    let mut wrong = Vec::new();
    for (n, (what, spoil, reason, field)) in PAYMENTS.iter().enumerate() {
        let mut request = stage::payment(&format!("bad-{n}"), cards::APPROVED_VISA, 1000);
        spoil(&mut request);
        let mut client = cluster.gateway("shop").raw(n % 3 + 1);
        let answer = client.authorize(timed(request, GOOD_DEADLINE)).await;
        let expected = format!("{:?} {reason} {field}", Code::InvalidArgument);
        wrong.extend(differs(what, &expected, answer.map(tonic::Response::into_inner)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(last_index(&cluster).await?, before, "the journal has grown");
    assert_eq!(stage::received(&cluster).await?, []);
    // The auditor has nothing to judge but that nothing came of it.
    paid_once(&cluster).await?;
    cluster.judge().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_gateways_or_comes_without_time_is_refused_before_the_journal() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    let paid = cluster.gateway("shop").authorize(stage::sale("theirs", cards::APPROVED_VISA, 1000)).await?;
    cluster.rest().await?;
    let before = last_index(&cluster).await?;
    let (shop, market) = (cluster.gateway("shop"), cluster.gateway("market"));
    let mut wrong = Vec::new();
    for node in 1..=3 {
        let mut client = shop.raw(node);
        let payment = |key: &str| stage::payment(&format!("{key}-{node}"), cards::APPROVED_VISA, 1000);
        let of_merchant = |merchant_id: &str| {
            let mut request = payment("merchant");
            merchant(&mut request).merchant_id = merchant_id.to_owned();
            request
        };
        for merchant_id in ["MARKET-1", "NOBODY"] {
            let answer = client.authorize(timed(of_merchant(merchant_id), GOOD_DEADLINE)).await;
            let expected = "PermissionDenied MERCHANT_NOT_ASSIGNED merchant.merchant_id";
            wrong.extend(differs(merchant_id, expected, answer));
        }
        let no_deadline = client.authorize(Request::new(payment("timeless"))).await;
        wrong.extend(differs("no deadline", "InvalidArgument DEADLINE_MISSING ", no_deadline));
        // Half a second less than the network's timer and the switch's two seconds.
        let short = cluster.timing().attempt_timeout + Duration::from_millis(1500);
        let too_short = client.authorize(timed(payment("short"), short)).await;
        wrong.extend(differs("too short a deadline", "InvalidArgument DEADLINE_TOO_SHORT ", too_short));
        let mut strange = Request::new(payment("strange"));
        strange.metadata_mut().insert("grpc-timeout", "soon".parse()?);
        let malformed = client.authorize(strange).await;
        wrong.extend(differs("a deadline that is none", "InvalidArgument DEADLINE_MALFORMED ", malformed));
        let oversize = pb::AuthorizeRequest { merchant_reference: "r".repeat(20_000), ..payment("oversize") };
        let too_large = client.authorize(timed(oversize, GOOD_DEADLINE)).await;
        wrong.extend(differs("an oversize message", "ResourceExhausted MESSAGE_TOO_LARGE ", too_large));
        let sealed = pb::Card { source: Some(Source::Sealed(pb::SealedCard::default())) };
        let sealed =
            client.authorize(timed(pb::AuthorizeRequest { card: Some(sealed), ..payment("sealed") }, GOOD_DEADLINE));
        wrong.extend(differs(
            "a sealed card",
            "FailedPrecondition SEALING_KEY_UNKNOWN card.sealed.key_id",
            sealed.await,
        ));

        // R10: what belongs to somebody else answers exactly as what is not there.
        let mut other = market.raw(node);
        let nobodys = swapped(&paid.transaction_id);
        for id in [&paid.transaction_id, &nobodys] {
            let key = |what: &str| format!("{what}-{node}");
            let by = |by| timed(pb::GetTransactionRequest { by: Some(by) }, GOOD_DEADLINE);
            let expected = "NotFound TRANSACTION_NOT_FOUND ";
            let read = other.get_transaction(by(By::TransactionId(id.clone()))).await;
            wrong.extend(differs("a foreign read", expected, read));
            let taken = other.capture(timed(stage::capture(&key("c"), id, 1, false), GOOD_DEADLINE)).await;
            wrong.extend(differs("a foreign capture", expected, taken));
            let back = other.refund(timed(stage::refund(&key("r"), id, 1), GOOD_DEADLINE)).await;
            wrong.extend(differs("a foreign refund", expected, back));
            let raised = other.increment_authorization(timed(stage::increment(&key("i"), id, 1), GOOD_DEADLINE)).await;
            wrong.extend(differs("a foreign increment", expected, raised));
            let voided = other.void(timed(stage::void(&key("v"), id), GOOD_DEADLINE)).await;
            wrong.extend(differs("a foreign void", expected, voided));
        }
        let by_key = timed(pb::GetTransactionRequest { by: Some(By::RequestId("theirs".into())) }, GOOD_DEADLINE);
        wrong.extend(differs("a foreign key", "NotFound TRANSACTION_NOT_FOUND ", other.get_transaction(by_key).await));
    }
    let grown = last_index(&cluster).await? - before;
    if grown > 0 {
        wrong.push(format!("the journal has grown by {grown} entries"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    cluster.judge().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_follow_ups_and_reads_get_their_errors_and_cost_the_journal_nothing() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    let id = paid_once(&cluster).await?;
    cluster.rest().await?;
    let before = last_index(&cluster).await?;
    let mut client = cluster.gateway("shop").raw(2);
    let mut wrong = Vec::new();
    let mut expect = |what: &str, expected: &str, answer: Result<(), Status>| {
        wrong.extend(differs(what, expected, answer));
    };
    let captures = [
        ("a capture without a key", stage::capture("", &id, 1, true), "FIELD_MISSING request_id"),
        ("a capture of nothing", stage::capture("c", "", 1, true), "FIELD_MISSING transaction_id"),
        ("a capture of no id", stage::capture("c", "order-1", 1, true), "FIELD_MALFORMED transaction_id"),
        ("a capture of zero", stage::capture("c", &id, 0, true), "AMOUNT_ZERO amount.minor_units"),
        ("a negative capture", stage::capture("c", &id, -5, true), "AMOUNT_NEGATIVE amount.minor_units"),
        ("an overflowing capture", stage::capture("c", &id, i64::MAX, true), "AMOUNT_TOO_GREAT amount.minor_units"),
    ];
    for (what, request, expected) in captures {
        let answer = client.capture(timed(request, GOOD_DEADLINE)).await.map(drop);
        expect(what, &format!("InvalidArgument {expected}"), answer);
    }
    let no_amount = pb::RefundRequest { amount: None, ..stage::refund("r", &id, 1) };
    let answer = client.refund(timed(no_amount, GOOD_DEADLINE)).await.map(drop);
    expect("a refund of no amount", "InvalidArgument FIELD_MISSING amount", answer);
    let answer = client.increment_authorization(timed(stage::increment("i", &id, 0), GOOD_DEADLINE)).await.map(drop);
    expect("an increment of zero", "InvalidArgument AMOUNT_ZERO amount.minor_units", answer);
    let voids = [
        ("a void of nothing", None, "FIELD_MISSING original"),
        ("a void of no key", Some(Original::OriginalRequestId(String::new())), "FIELD_MISSING original_request_id"),
        ("a void of no id", Some(Original::TransactionId("x".into())), "FIELD_MALFORMED transaction_id"),
    ];
    for (what, original, expected) in voids {
        let request = pb::VoidRequest { request_id: "v".into(), original };
        let answer = client.void(timed(request, GOOD_DEADLINE)).await.map(drop);
        expect(what, &format!("InvalidArgument {expected}"), answer);
    }
    let verify =
        pb::VerifyCardRequest { currency_code: "EURO".into(), ..stage::verification("y", cards::APPROVED_VISA) };
    let answer = client.verify_card(timed(verify, GOOD_DEADLINE)).await.map(drop);
    expect("a check in no currency", "InvalidArgument UNKNOWN_CURRENCY currency_code", answer);
    let answer = client.get_transaction(timed(pb::GetTransactionRequest { by: None }, GOOD_DEADLINE)).await.map(drop);
    expect("a read of nothing", "InvalidArgument FIELD_MISSING by", answer);
    let page = pb::ListTransactionsRequest { page_size: -1, page_token: String::new() };
    let answer = client.list_transactions(timed(page, GOOD_DEADLINE)).await.map(drop);
    expect("a page of less than nothing", "InvalidArgument FIELD_MALFORMED page_size", answer);
    let page = pb::ListTransactionsRequest { page_size: 1, page_token: "page-2".into() };
    let answer = client.list_transactions(timed(page, GOOD_DEADLINE)).await.map(drop);
    expect("a token of nobody", "InvalidArgument FIELD_MALFORMED page_token", answer);
    let watch = pb::WatchTransactionsRequest { resume_token: "yesterday".into() };
    let answer = client.watch_transactions(timed(watch, GOOD_DEADLINE)).await.map(drop);
    expect("a watch from nowhere", "InvalidArgument FIELD_MALFORMED resume_token", answer);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // Digits that fail the check are no bad request: the range says whether they must pass (R22), and nothing is stored.
    let mut unlucky = cards::APPROVED_VISA.to_owned();
    unlucky.pop();
    unlucky.push('1');
    let told = cluster.gateway("shop").authorize(stage::payment("luhn", &unlucky, 100)).await?;
    let outcome = stage::outcome(&told);
    let reason = outcome.decline.map(|decline| decline.reason());
    assert_eq!((outcome.decision(), reason), (Decision::Declined, Some(DeclineReason::InvalidCardNumber)));
    assert_eq!((outcome.source(), outcome.sent()), (DecisionSource::Switch, Sent::NotSent));
    assert_eq!(last_index(&cluster).await?, before, "the journal has grown");
    cluster.judge().await.map(drop)
}

/// The most merchants that a gateway may have, each with some terminals: no leader could put that into one entry.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_directory_that_no_entry_holds_is_refused_in_bytes_and_costs_the_journal_nothing()
-> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    let before = last_index(&cluster).await?;
    let mut shop = cluster.directory().gateways[0].clone();
    let terminal_ids: Vec<String> = (0..4).map(|number| format!("TERM-{number:03}")).collect();
    let grant = operator::MerchantGrant { terminal_ids, ..shop.merchants[0].clone() };
    let merchant_ids = (0..20_000).map(|number| format!("MERCHANT-{number:05}"));
    shop.merchants = merchant_ids.map(|merchant_id| operator::MerchantGrant { merchant_id, ..grant.clone() }).collect();
    let change = operator::DirectoryChange { change: Some(Change::PutGateway(shop)) };

    let leader = cluster.wait_leader(SOON).await?.node;
    let refused = cluster.node(leader).operator().apply("too-large", vec![change]).await;
    let refused = refused.expect_err("larger than an entry");
    let told = explanation(&refused).context("without an ErrorInfo")?;
    assert_eq!((refused.code(), told.reason.as_str()), (Code::InvalidArgument, "CHANGE_TOO_LARGE"));
    let bytes = |name: &str| anyhow::Ok(told.metadata.get(name).context("no number")?.parse::<usize>()?);
    assert_eq!(bytes("bytes_max")?, PACK_BYTES_MAX);
    assert!(bytes("bytes")? > PACK_BYTES_MAX, "{told:?}");
    assert_eq!(last_index(&cluster).await?, before, "the journal has grown");
    paid_once(&cluster).await?;
    cluster.judge().await.map(drop)
}

/// TLS 1.3 lets a client finish first: what the door thinks of its certificate is the first thing it reads.
#[tokio::test(flavor = "multi_thread")]
async fn each_stranger_is_turned_away_at_the_door_with_its_own_alert() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    let before = last_index(&cluster).await?;
    let pki = cluster.pki();
    let node = cluster.node(2);
    let door = |issued: Issued| Some(pki.files(Plane::Gateways, &issued));
    let named = |stem: &str, uri: String| pki.client_with(Plane::Gateways, stem, &[uri]);
    let strangers = [
        ("nobody", None, "CertificateRequired"),
        ("a peer", door(pki.peer("stranger", &["127.0.0.1"])?), "UnknownCA"),
        ("an operator", door(pki.operator("stranger")?), "UnknownCA"),
        ("a link's", door(pki.link_client("stranger")?), "UnknownCA"),
        ("another root", door(pki.flawed(Plane::Gateways, "shop", Flaw::OtherRoot)?), "DecryptError"),
        ("its own root", door(pki.flawed(Plane::Gateways, "shop", Flaw::SelfSigned)?), "UnknownCA"),
        ("yesterday's", door(pki.flawed(Plane::Gateways, "shop", Flaw::Expired)?), "CertificateExpired"),
        ("tomorrow's", door(pki.flawed(Plane::Gateways, "shop", Flaw::NotYetValid)?), "CertificateExpired"),
        ("two names", door(pki.flawed(Plane::Gateways, "shop", Flaw::TwoUriNames)?), "closed"),
        ("no name", door(pki.flawed(Plane::Gateways, "shop", Flaw::NoUriName)?), "closed"),
        ("a node by our own root", door(named("as-node", pki.node_uri())?), "closed"),
        ("an operator by our own root", door(named("as-operator", pki.operator_uri("ops"))?), "closed"),
        ("another domain", door(named("as-other", "spiffe://elsewhere.test/gateway/shop".to_owned())?), "closed"),
    ];
    let roots = pki.root(Plane::Gateways).to_owned();
    let mut wrong = Vec::new();
    for (who, own, expected) in &strangers {
        let tls = channel::client_with(verifier(&roots)?, own.as_ref())?;
        let heard = knock(node.gateway_address(), tls.clone()).await?;
        if heard != *expected {
            wrong.push(format!("{who}: {heard} instead of {expected}"));
        }
        // And over gRPC: an error of the connection, never one of the switch's own.
        let mut client = AuthorizationServiceClient::new(channel::lazy(node.gateway_address(), tls)?);
        let answer = client.authorize(timed(stage::payment("stranger", cards::APPROVED_VISA, 1), GOOD_DEADLINE)).await;
        let status = answer.expect_err("a stranger is not served");
        // Which of these depends on how far the client came before the door closed.
        let cut = matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::Unknown);
        if !cut || explanation(&status).is_some() {
            wrong.push(format!("{who}: {status:?} instead of a connection that fails"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // A gateway's certificate at the other doors.
    let shop = cluster.gateway_tls("shop").expect("the shop has one").clone();
    for (address, plane) in [(node.operator_address(), Plane::Operators), (node.peer_address(), Plane::Peers)] {
        let tls = channel::client_with(verifier(pki.root(plane))?, Some(&shop))?;
        assert_eq!(knock(address, tls).await?, "UnknownCA", "{plane:?}");
    }
    // A certificate of the right root whose gateway nobody has written down may knock, and no more.
    let nobody = pki.files(Plane::Gateways, &pki.gateway("nobody")?);
    let mut client = AuthorizationServiceClient::new(channel::lazy(node.gateway_address(), nobody.client()?)?);
    let answer = client.authorize(timed(stage::payment("nobody", cards::APPROVED_VISA, 1), GOOD_DEADLINE)).await;
    let said = differs("an unknown gateway", "PermissionDenied UNKNOWN_PRINCIPAL ", answer);
    assert!(said.is_none(), "{said:?}");
    // A method of somebody else, at the gateways' door.
    let operator = switch_proto::operator::v1::cluster_service_client::ClusterServiceClient::new;
    let mut client = operator(channel::lazy(node.gateway_address(), shop.client()?)?);
    let answer = client.get_status(timed(switch_proto::operator::v1::GetStatusRequest {}, GOOD_DEADLINE)).await;
    let code = answer.expect_err("a gateway is no operator").code();
    assert!(matches!(code, Code::PermissionDenied | Code::Unimplemented), "{code:?}");

    assert_eq!(last_index(&cluster).await?, before, "the journal has grown");
    paid_once(&cluster).await?;
    cluster.judge().await.map(drop)
}

/// Long enough for a network's timer and the switch.
const GOOD_DEADLINE: Duration = Duration::from_secs(6);

fn timed<T>(message: T, within: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(within);
    request
}

/// What differs from `code reason field`, if anything does.
fn differs<T: std::fmt::Debug>(what: &str, expected: &str, answer: Result<T, Status>) -> Option<String> {
    let said = match answer {
        Ok(answer) => format!("answered {answer:?}"),
        Err(status) => {
            let mut searched = Searched::default();
            searched.status(what, &status);
            if let Err(found) = searched.clean() {
                return Some(format!("{found:#}"));
            }
            let field = explanation(&status).and_then(|mut info| info.metadata.remove("field")).unwrap_or_default();
            format!("{:?} {} {field}", status.code(), history::reason(&status))
        }
    };
    (said != expected).then(|| format!("{what}: {said:?} instead of {expected:?}"))
}

/// Last index of the leader's log, once every node has all of it.
async fn last_index(cluster: &Cluster) -> anyhow::Result<u64> {
    eventually(SOON, "every node has the same log", || async {
        let mut lasts = Vec::new();
        for node in cluster.nodes() {
            lasts.push(stage::status(node).await?.last_index);
        }
        anyhow::ensure!(lasts.windows(2).all(|pair| pair[0] == pair[1]), "{lasts:?}");
        Ok(lasts[0])
    })
    .await
}

/// A good payment, so that the auditor has something to judge.
async fn paid_once(cluster: &Cluster) -> anyhow::Result<String> {
    let told = cluster.gateway("shop").authorize(stage::payment("good", cards::APPROVED_VISA, 1000)).await?;
    assert_eq!(stage::decision(&told), Decision::Approved);
    Ok(told.transaction_id)
}

/// The same id with its last two characters changed: well formed, and nobody's.
fn swapped(id: &str) -> String {
    let end = if id.ends_with("00") { "11" } else { "00" };
    format!("{}{end}", &id[..id.len() - 2])
}

/// Opens a TLS session and gives what the door says to it: its alert, or `closed`.
pub(super) async fn knock(address: &str, tls: Arc<ClientConfig>) -> anyhow::Result<String> {
    let knocking = async {
        let stream = TcpStream::connect(address).await?;
        let host = address.split(':').next().unwrap_or_default().to_owned();
        let mut stream = match TlsConnector::from(tls).connect(ServerName::try_from(host)?, stream).await {
            Ok(stream) => stream,
            Err(error) => return Ok(alert(&error)),
        };
        let mut byte = [0; 64];
        match stream.read(&mut byte).await {
            Ok(0) => anyhow::Ok("closed".to_owned()),
            // Settings of HTTP/2: whoever is served hears them first.
            Ok(_) => Ok("served".to_owned()),
            Err(error) => Ok(alert(&error)),
        }
    };
    tokio::time::timeout(SOON, knocking).await.context("the door says nothing")?
}

fn alert(error: &std::io::Error) -> String {
    let words = error.to_string();
    match words.rsplit_once("fatal alert: ") {
        Some((_, name)) => name.trim().to_owned(),
        None if matches!(
            error.kind(),
            std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe
        ) =>
        {
            "closed".to_owned()
        }
        None => words,
    }
}

pub(super) fn verifier(roots: &std::path::Path) -> anyhow::Result<Arc<WebPkiServerVerifier>> {
    let mut store = RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(roots)? {
        store.add(root?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider).build()?)
}

fn money(request: &mut pb::AuthorizeRequest) -> &mut pb::Money {
    request.amount.as_mut().expect("a good payment has an amount")
}

fn merchant(request: &mut pb::AuthorizeRequest) -> &mut pb::Merchant {
    request.merchant.as_mut().expect("a good payment has a merchant")
}

fn source(request: &mut pb::AuthorizeRequest) -> &mut Source {
    request.card.as_mut().and_then(|card| card.source.as_mut()).expect("a good payment has a card")
}

fn keyed(request: &mut pb::AuthorizeRequest) -> &mut pb::KeyedCard {
    match source(request) {
        Source::Keyed(keyed) => keyed,
        _ => panic!("a good payment's card is typed in"),
    }
}

fn expiry(request: &mut pb::AuthorizeRequest) -> &mut pb::CardExpiry {
    keyed(request).expiry.as_mut().expect("a good card has an expiry")
}

fn value(request: &mut pb::AuthorizeRequest, digits: &str) {
    keyed(request).card_verification_value = digits.to_owned();
}

fn track(request: &mut pb::AuthorizeRequest, track2: &str) {
    let stripe = pb::MagneticStripe { track2: track2.to_owned(), fallback: false, pin_block: Bytes::new() };
    *source(request) = Source::MagneticStripe(stripe);
}

fn pin_block_of_7_bytes(request: &mut pb::AuthorizeRequest) {
    request.card = Some(plastic::swiped(cards::APPROVED_VISA));
    if let Source::MagneticStripe(stripe) = source(request) {
        stripe.pin_block = Bytes::from_static(&[7; 7]);
    }
}

fn chip(request: &mut pb::AuthorizeRequest, spoil: impl Fn(&mut pb::Chip)) {
    request.card = Some(plastic::chip(cards::APPROVED_VISA, false));
    if let Source::Chip(chip) = source(request) {
        spoil(chip);
    }
}

fn cryptogram_of_3_bytes(request: &mut pb::AuthorizeRequest) {
    request.card = Some(plastic::wallet(cards::APPROVED_VISA));
    if let Source::NetworkToken(token) = source(request) {
        token.cryptogram = Bytes::from_static(&[1, 2, 3]);
    }
}

fn stored_by_nobody(request: &mut pb::AuthorizeRequest) {
    request.card = Some(plastic::on_file(cards::APPROVED_VISA));
    if let Source::StoredCredential(stored) = source(request) {
        stored.initiator = pb::CredentialInitiator::Unspecified.into();
    }
}
