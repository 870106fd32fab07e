use std::collections::BTreeMap;

use bytes::Bytes;
use switch_domain::{
    authorization::{
        AuthenticationStatus, CredentialInitiator, CredentialReason, Credentials, StoredCredential, ThreeDSecure,
    },
    book::{Book, Settled},
    card::{CardReference, CardToken, Expiry, Truncated},
    directory::MerchantGrant,
    id::{LeaderId, LinkId, NetworkId, Owner, Rrn, Stan},
    limits,
    money::Currency,
    outcome::{Decision, DeclineAdvice, DeclineReason, ResponseCode, Sent, Source, Told, ToldReason},
    table::EventRow,
    transaction::{
        Advice, Attempt, AttemptState, EntryMode, Fingerprint, Lane, LaneState, Method, Operation, Resolution,
        ReversalPolicy, Status, Terms, Transaction, WireIdentity,
    },
};
use switch_proto::gateway::v1::{card::Source as CardSource, get_transaction_request::By, void_request::Original};

use super::*;
use crate::gateway::status::GatewayError;

// Numbers of these tests are made at run time: no card-number-like digits stand in the source.
fn number() -> String {
    format!("99{}", "0".repeat(14))
}

fn track() -> String {
    format!("{}=3111201{}", number(), "0".repeat(10))
}

fn gateway() -> Gateway {
    let grant = |terminals: &[&str]| MerchantGrant {
        terminals: terminals.iter().map(|id| TerminalId::parse(id).expect("an id")).collect(),
        acquirer: AnswerText::of("400100", 11),
        enabled: true,
    };
    let merchants = [("SHOP-1", grant(&[])), ("SHOP-2", grant(&["T1"]))];
    Gateway {
        id: GatewayId::parse("shop").expect("an id"),
        principals: vec![],
        enabled: true,
        merchants: merchants.map(|(id, grant)| (MerchantId::parse(id).expect("an id"), grant)).into(),
        limits: BTreeMap::new(),
        requests_per_second: 0,
        burst: 0,
        concurrent: 0,
        require_sealed: false,
    }
}

fn expiry() -> Option<pb::CardExpiry> {
    Some(pb::CardExpiry { month: 11, year: 2031 })
}

fn keyed() -> pb::KeyedCard {
    pb::KeyedCard { primary_account_number: number(), expiry: expiry(), card_verification_value: "123".into() }
}

fn stripe() -> pb::MagneticStripe {
    pb::MagneticStripe { track2: track(), fallback: false, pin_block: Bytes::new() }
}

fn chip() -> pb::Chip {
    pb::Chip {
        primary_account_number: number(),
        expiry: expiry(),
        icc_data: Bytes::from_static(&[0x9f, 0x36, 2, 0, 42]),
        card_sequence_number: 1,
        contactless: false,
        track2_equivalent: String::new(),
        pin_block: Bytes::new(),
    }
}

fn token() -> pb::NetworkToken {
    pb::NetworkToken {
        token: number(),
        expiry: expiry(),
        cryptogram: Bytes::from_static(&[7; 20]),
        electronic_commerce_indicator: "05".into(),
        wallet: "google_pay".into(),
    }
}

fn stored() -> pb::StoredCredential {
    pb::StoredCredential {
        primary_account_number: number(),
        expiry: expiry(),
        initiator: pb::CredentialInitiator::Merchant.into(),
        reason: pb::CredentialReason::Recurring.into(),
        original_network_transaction_id: "first".into(),
    }
}

fn secured() -> pb::ThreeDSecure {
    pb::ThreeDSecure {
        electronic_commerce_indicator: "05".into(),
        authentication_value: Bytes::from_static(&[9; 20]),
        directory_server_transaction_id: "f2b1c0de-0000-4abc-8def-a1b2c3d4e5f6".into(),
        version: "2.2.0".into(),
        transaction_status: "Y".into(),
    }
}

fn payment() -> pb::AuthorizeRequest {
    pb::AuthorizeRequest {
        request_id: "order-1".into(),
        amount: Some(pb::Money { minor_units: 1999, currency_code: "EUR".into() }),
        card: Some(pb::Card { source: Some(CardSource::Keyed(keyed())) }),
        merchant: Some(pb::Merchant {
            merchant_id: "SHOP-1".into(),
            category_code: "5999".into(),
            name: "Corner shop".into(),
            city: "Riga".into(),
            country_code: "LV".into(),
            terminal_id: "T0000001".into(),
        }),
        merchant_reference: "order 4711".into(),
        first_sent_unix_ms: 1_700_000_000,
        ..pb::AuthorizeRequest::default()
    }
}

fn with_card(source: CardSource) -> pb::AuthorizeRequest {
    pb::AuthorizeRequest { card: Some(pb::Card { source: Some(source) }), ..payment() }
}

fn read(request: pb::AuthorizeRequest) -> (Authorization, Card) {
    authorize(&gateway(), request).unwrap_or_else(|bad| panic!("refused: {bad:?}"))
}

/// Field and reason of every fault.
fn faults(bad: BadRequest) -> Vec<(&'static str, Reason)> {
    match bad {
        BadRequest::Fields(violations) => violations.iter().map(|wrong| (wrong.field, wrong.reason)).collect(),
        other => panic!("not about fields: {other:?}"),
    }
}

fn wrong(request: pb::AuthorizeRequest) -> Vec<(&'static str, Reason)> {
    faults(authorize(&gateway(), request).err().expect("a fault"))
}

/// A change of a payment, and the fault that it makes.
type Case = (fn(&mut pb::AuthorizeRequest), &'static str, Reason);

#[test]
fn a_payment_is_read_whole() {
    let mut request = payment();
    request.capture_mode = pb::CaptureMode::Automatic.into();
    request.partial_approval_supported = true;
    request.address = Some(pb::AddressVerification { street: "1 High Street".into(), postal_code: "LV-1010".into() });
    let (authorization, card) = read(request);
    let text = AnswerText::of;
    let expected = Authorization {
        gateway: gateway().id,
        request_id: RequestId::parse("order-1").expect("a key"),
        amount: Amount::parse(1999).expect("an amount"),
        currency: Currency::parse("EUR").expect("euro"),
        verification: false,
        capture_mode: CaptureMode::Automatic,
        entry_mode: EntryMode::Manual,
        cardholder_initiated: true,
        credentials: Credentials::default(),
        merchant: Merchant {
            id: MerchantId::parse("SHOP-1").expect("an id"),
            terminal: TerminalId::parse("T0000001").expect("an id"),
            category: text("5999", 4),
            name: text("Corner shop", 25),
            city: text("Riga", 13),
            country: text("LV", 2),
            acquirer: text("400100", 11),
        },
        merchant_reference: text("order 4711", 64),
        partial_supported: true,
        first_sent: Some(LogTime(1_700_000_000)),
        electronic_commerce_indicator: text("", 2),
        street: text("1 High Street", 40),
        postal_code: text("LV-1010", 10),
        original_network_transaction_id: text("", 64),
    };
    assert_eq!(authorization, expected);
    assert_eq!((card.pan.expose(), card.verification_value.expose()), (number().as_str(), &b"123"[..]));
    assert!(card.expiry == Expiry::parse(2031, 11).ok());
}

#[test]
fn every_field_of_a_payment_is_checked() {
    fn merchant(request: &mut pb::AuthorizeRequest) -> &mut pb::Merchant {
        request.merchant.as_mut().expect("a merchant")
    }
    fn amount(request: &mut pb::AuthorizeRequest) -> &mut pb::Money {
        request.amount.as_mut().expect("an amount")
    }
    fn address(street: usize, postal_code: usize) -> Option<pb::AddressVerification> {
        Some(pb::AddressVerification { street: "s".repeat(street), postal_code: "p".repeat(postal_code) })
    }
    let cases: &[Case] = &[
        (|r| r.request_id.clear(), "request_id", Reason::FieldMissing),
        (|r| r.request_id = "x".repeat(65), "request_id", Reason::FieldTooLong),
        (|r| r.request_id = "a b".into(), "request_id", Reason::FieldMalformed),
        (|r| r.amount = None, "amount", Reason::FieldMissing),
        (|r| amount(r).minor_units = 0, "amount.minor_units", Reason::AmountZero),
        (|r| amount(r).minor_units = -1, "amount.minor_units", Reason::AmountNegative),
        (|r| amount(r).minor_units = i64::MIN, "amount.minor_units", Reason::AmountNegative),
        (|r| amount(r).minor_units = 10_i64.pow(12), "amount.minor_units", Reason::AmountTooGreat),
        (|r| amount(r).minor_units = i64::MAX, "amount.minor_units", Reason::AmountTooGreat),
        (|r| amount(r).currency_code.clear(), "amount.currency_code", Reason::FieldMissing),
        (|r| amount(r).currency_code = "eur".into(), "amount.currency_code", Reason::UnknownCurrency),
        (|r| amount(r).currency_code = "XXX".into(), "amount.currency_code", Reason::UnknownCurrency),
        (|r| r.card = None, "card", Reason::FieldMissing),
        (|r| r.card = Some(pb::Card { source: None }), "card", Reason::FieldMissing),
        (|r| r.merchant = None, "merchant", Reason::FieldMissing),
        (|r| merchant(r).merchant_id.clear(), "merchant.merchant_id", Reason::FieldMissing),
        (|r| merchant(r).merchant_id = "x".repeat(16), "merchant.merchant_id", Reason::FieldTooLong),
        (|r| merchant(r).merchant_id = "a/b".into(), "merchant.merchant_id", Reason::FieldMalformed),
        (|r| merchant(r).category_code.clear(), "merchant.category_code", Reason::FieldMissing),
        (|r| merchant(r).category_code = "599".into(), "merchant.category_code", Reason::FieldMalformed),
        (|r| merchant(r).category_code = "59999".into(), "merchant.category_code", Reason::FieldMalformed),
        (|r| merchant(r).category_code = "59a9".into(), "merchant.category_code", Reason::FieldMalformed),
        (|r| merchant(r).name = "n".repeat(26), "merchant.name", Reason::FieldTooLong),
        (|r| merchant(r).name = "Caf\u{e9}".into(), "merchant.name", Reason::FieldMalformed),
        (|r| merchant(r).name = "two\nlines".into(), "merchant.name", Reason::FieldMalformed),
        (|r| merchant(r).city = "c".repeat(14), "merchant.city", Reason::FieldTooLong),
        (|r| merchant(r).country_code.clear(), "merchant.country_code", Reason::FieldMissing),
        (|r| merchant(r).country_code = "lv".into(), "merchant.country_code", Reason::FieldMalformed),
        (|r| merchant(r).country_code = "LVA".into(), "merchant.country_code", Reason::FieldMalformed),
        (|r| merchant(r).terminal_id.clear(), "merchant.terminal_id", Reason::FieldMissing),
        (|r| merchant(r).terminal_id = "x".repeat(9), "merchant.terminal_id", Reason::FieldTooLong),
        (|r| r.capture_mode = 9, "capture_mode", Reason::FieldMalformed),
        (|r| r.entry_mode = 99, "entry_mode", Reason::FieldMalformed),
        (|r| r.address = address(41, 1), "address.street", Reason::FieldTooLong),
        (|r| r.address = address(1, 11), "address.postal_code", Reason::FieldTooLong),
        (|r| r.merchant_reference = "r".repeat(65), "merchant_reference", Reason::FieldTooLong),
        (|r| r.merchant_reference = "\u{202e}".into(), "merchant_reference", Reason::FieldMalformed),
        (|r| r.first_sent_unix_ms = -1, "first_sent_unix_ms", Reason::FieldMalformed),
    ];
    for (nth, (change, field, reason)) in cases.iter().enumerate() {
        let mut request = payment();
        change(&mut request);
        assert_eq!(wrong(request), [(*field, *reason)], "case {nth}");
    }
}

#[test]
fn fields_at_their_bounds_are_taken() {
    let mut request = payment();
    request.request_id = "x".repeat(64);
    request.merchant_reference = "r".repeat(64);
    request.amount = Some(pb::Money { minor_units: 10_i64.pow(12) - 1, currency_code: "CLF".into() });
    request.address = Some(pb::AddressVerification { street: "s".repeat(40), postal_code: "p".repeat(10) });
    request.first_sent_unix_ms = 0;
    let merchant = request.merchant.as_mut().expect("a merchant");
    (merchant.name, merchant.city) = ("n".repeat(25), "c".repeat(13));
    let (authorization, _) = read(request);
    assert_eq!((authorization.first_sent, authorization.street.as_str().len()), (None, 40));
}

#[test]
fn every_fault_of_a_request_is_told_at_once() {
    let request = pb::AuthorizeRequest { request_id: "a b".into(), ..pb::AuthorizeRequest::default() };
    let all = [
        ("card", Reason::FieldMissing),
        ("request_id", Reason::FieldMalformed),
        ("amount", Reason::FieldMissing),
        ("merchant", Reason::FieldMissing),
    ];
    assert_eq!(wrong(request), all);
}

#[test]
fn every_field_of_every_kind_of_card_is_checked() {
    use CardSource::{Chip, Keyed, MagneticStripe, NetworkToken, StoredCredential};
    let month = |month, year| Some(pb::CardExpiry { month, year });
    let zeros = |length: usize| Bytes::from(vec![0; length]);
    let cases: Vec<(CardSource, &str, Reason)> = vec![
        (
            Keyed(pb::KeyedCard { primary_account_number: String::new(), ..keyed() }),
            "card.keyed.primary_account_number",
            Reason::FieldMissing,
        ),
        (
            Keyed(pb::KeyedCard { primary_account_number: "9".repeat(11), ..keyed() }),
            "card.keyed.primary_account_number",
            Reason::CardNumberInvalid,
        ),
        (
            Keyed(pb::KeyedCard { primary_account_number: "9".repeat(20), ..keyed() }),
            "card.keyed.primary_account_number",
            Reason::CardNumberInvalid,
        ),
        (
            Keyed(pb::KeyedCard { primary_account_number: format!(" {}", number()), ..keyed() }),
            "card.keyed.primary_account_number",
            Reason::CardNumberInvalid,
        ),
        (Keyed(pb::KeyedCard { expiry: None, ..keyed() }), "card.keyed.expiry", Reason::FieldMissing),
        (Keyed(pb::KeyedCard { expiry: month(0, 2031), ..keyed() }), "card.keyed.expiry", Reason::CardExpiryInvalid),
        (Keyed(pb::KeyedCard { expiry: month(13, 2031), ..keyed() }), "card.keyed.expiry", Reason::CardExpiryInvalid),
        (Keyed(pb::KeyedCard { expiry: month(1, 31), ..keyed() }), "card.keyed.expiry", Reason::CardExpiryInvalid),
        (
            Keyed(pb::KeyedCard { card_verification_value: "12".into(), ..keyed() }),
            "card.keyed.card_verification_value",
            Reason::CardVerificationValueInvalid,
        ),
        (
            Keyed(pb::KeyedCard { card_verification_value: "12345".into(), ..keyed() }),
            "card.keyed.card_verification_value",
            Reason::CardVerificationValueInvalid,
        ),
        (
            Keyed(pb::KeyedCard { card_verification_value: "12a".into(), ..keyed() }),
            "card.keyed.card_verification_value",
            Reason::CardVerificationValueInvalid,
        ),
        (
            MagneticStripe(pb::MagneticStripe { track2: String::new(), ..stripe() }),
            "card.magnetic_stripe.track2",
            Reason::FieldMissing,
        ),
        (
            MagneticStripe(pb::MagneticStripe { track2: number(), ..stripe() }),
            "card.magnetic_stripe.track2",
            Reason::Track2Invalid,
        ),
        (
            MagneticStripe(pb::MagneticStripe { track2: format!("{}0000", track()), ..stripe() }),
            "card.magnetic_stripe.track2",
            Reason::Track2Invalid,
        ),
        (
            MagneticStripe(pb::MagneticStripe { pin_block: zeros(7), ..stripe() }),
            "card.magnetic_stripe.pin_block",
            Reason::PinBlockInvalid,
        ),
        (Chip(pb::Chip { icc_data: Bytes::new(), ..chip() }), "card.chip.icc_data", Reason::FieldMissing),
        (Chip(pb::Chip { icc_data: zeros(256), ..chip() }), "card.chip.icc_data", Reason::ChipDataInvalid),
        (
            Chip(pb::Chip { icc_data: Bytes::from_static(&[0x9f]), ..chip() }),
            "card.chip.icc_data",
            Reason::ChipDataInvalid,
        ),
        (
            Chip(pb::Chip { card_sequence_number: 1000, ..chip() }),
            "card.chip.card_sequence_number",
            Reason::CardSequenceNumberInvalid,
        ),
        (
            Chip(pb::Chip { card_sequence_number: 1 << 16, ..chip() }),
            "card.chip.card_sequence_number",
            Reason::CardSequenceNumberInvalid,
        ),
        (
            Chip(pb::Chip { track2_equivalent: "x".into(), ..chip() }),
            "card.chip.track2_equivalent",
            Reason::Track2Invalid,
        ),
        (
            Chip(pb::Chip { track2_equivalent: track().replacen('9', "8", 1), ..chip() }),
            "card.chip.track2_equivalent",
            Reason::FieldConflict,
        ),
        (Chip(pb::Chip { pin_block: zeros(9), ..chip() }), "card.chip.pin_block", Reason::PinBlockInvalid),
        (Chip(pb::Chip { expiry: None, ..chip() }), "card.chip.expiry", Reason::FieldMissing),
        (
            NetworkToken(pb::NetworkToken { token: String::new(), ..token() }),
            "card.network_token.token",
            Reason::FieldMissing,
        ),
        (
            NetworkToken(pb::NetworkToken { cryptogram: zeros(7), ..token() }),
            "card.network_token.cryptogram",
            Reason::CryptogramInvalid,
        ),
        (
            NetworkToken(pb::NetworkToken { cryptogram: zeros(65), ..token() }),
            "card.network_token.cryptogram",
            Reason::CryptogramInvalid,
        ),
        (
            NetworkToken(pb::NetworkToken { electronic_commerce_indicator: "5".into(), ..token() }),
            "card.network_token.electronic_commerce_indicator",
            Reason::FieldMalformed,
        ),
        (
            NetworkToken(pb::NetworkToken { wallet: "w".repeat(33), ..token() }),
            "card.network_token.wallet",
            Reason::FieldTooLong,
        ),
        (
            StoredCredential(pb::StoredCredential { initiator: 0, ..stored() }),
            "card.stored_credential.initiator",
            Reason::FieldMissing,
        ),
        (
            StoredCredential(pb::StoredCredential { initiator: 9, ..stored() }),
            "card.stored_credential.initiator",
            Reason::FieldMalformed,
        ),
        (
            StoredCredential(pb::StoredCredential { reason: 0, ..stored() }),
            "card.stored_credential.reason",
            Reason::FieldMissing,
        ),
        (
            StoredCredential(pb::StoredCredential { reason: pb::CredentialReason::CardOnFile.into(), ..stored() }),
            "card.stored_credential.reason",
            Reason::FieldConflict,
        ),
        (
            StoredCredential(pb::StoredCredential { original_network_transaction_id: "x".repeat(65), ..stored() }),
            "card.stored_credential.original_network_transaction_id",
            Reason::FieldTooLong,
        ),
        (
            StoredCredential(pb::StoredCredential { expiry: month(13, 2031), ..stored() }),
            "card.stored_credential.expiry",
            Reason::CardExpiryInvalid,
        ),
    ];
    for (source, field, reason) in cases {
        assert_eq!(wrong(with_card(source)), [(field, reason)]);
    }
}

#[test]
fn r22_the_check_digit_is_not_judged_here() {
    assert!(!read(payment()).1.pan.has_check_digit());
}

#[test]
fn the_entry_mode_follows_the_card_and_must_fit_it() {
    use pb::EntryMode as Given;
    let keyed = || CardSource::Keyed(keyed());
    let stripe = |fallback| CardSource::MagneticStripe(pb::MagneticStripe { fallback, ..stripe() });
    let chip = |contactless| CardSource::Chip(pb::Chip { contactless, ..chip() });
    let tapped_stripe = || {
        CardSource::Chip(pb::Chip {
            contactless: true,
            icc_data: Bytes::new(),
            track2_equivalent: track(),
            ..self::chip()
        })
    };
    let token = |cryptogram: &'static [u8]| {
        CardSource::NetworkToken(pb::NetworkToken { cryptogram: Bytes::from_static(cryptogram), ..token() })
    };
    let stored = |initiator: pb::CredentialInitiator| {
        CardSource::StoredCredential(pb::StoredCredential { initiator: initiator.into(), ..stored() })
    };
    let (merchant, cardholder) = (pb::CredentialInitiator::Merchant, pb::CredentialInitiator::Cardholder);
    // Card, entry mode given, entry mode read, and whether the cardholder starts the payment.
    let cases = [
        (keyed(), Given::Unspecified, Some((EntryMode::Manual, true))),
        (keyed(), Given::Ecommerce, Some((EntryMode::Ecommerce, true))),
        (keyed(), Given::MailOrTelephone, Some((EntryMode::MailOrTelephone, true))),
        (keyed(), Given::Chip, None),
        (keyed(), Given::CredentialOnFile, None),
        (stripe(false), Given::Unspecified, Some((EntryMode::MagneticStripe, true))),
        (stripe(false), Given::ContactlessStripe, Some((EntryMode::ContactlessStripe, true))),
        (stripe(false), Given::Fallback, None),
        (stripe(true), Given::Unspecified, Some((EntryMode::Fallback, true))),
        (stripe(true), Given::MagneticStripe, None),
        (chip(false), Given::Unspecified, Some((EntryMode::Chip, true))),
        (chip(false), Given::Ecommerce, None),
        (chip(false), Given::ContactlessChip, None),
        (chip(true), Given::Unspecified, Some((EntryMode::ContactlessChip, true))),
        (chip(true), Given::Chip, None),
        (tapped_stripe(), Given::Unspecified, Some((EntryMode::ContactlessStripe, true))),
        (tapped_stripe(), Given::ContactlessChip, None),
        (token(&[7; 20]), Given::Unspecified, Some((EntryMode::Ecommerce, true))),
        (token(&[]), Given::Unspecified, Some((EntryMode::CredentialOnFile, false))),
        (token(&[7; 20]), Given::Manual, None),
        (stored(merchant), Given::Unspecified, Some((EntryMode::CredentialOnFile, false))),
        (stored(merchant), Given::Ecommerce, None),
        (stored(cardholder), Given::Ecommerce, Some((EntryMode::Ecommerce, false))),
        (stored(cardholder), Given::Chip, None),
    ];
    for (nth, (source, given, expected)) in cases.into_iter().enumerate() {
        let request = pb::AuthorizeRequest { entry_mode: given.into(), ..with_card(source) };
        match expected {
            Some(expected) => {
                let (authorization, _) = read(request);
                assert_eq!((authorization.entry_mode, authorization.cardholder_initiated), expected, "case {nth}");
            }
            None => assert_eq!(wrong(request), [("entry_mode", Reason::EntryModeConflict)], "case {nth}"),
        }
    }
}

#[test]
fn each_kind_of_card_data_reaches_its_place() {
    let block = Bytes::from_static(&[3; 8]);
    let (_, card) = read(with_card(CardSource::MagneticStripe(pb::MagneticStripe { pin_block: block, ..stripe() })));
    assert_eq!((card.pan.expose(), card.track2.expose()), (number().as_str(), track().as_bytes()));
    assert_eq!(card.pin_block.expose(), [3; 8]);
    assert!(card.expiry == Expiry::parse(2031, 11).ok());

    let (_, card) = read(with_card(CardSource::Chip(pb::Chip { track2_equivalent: track(), ..chip() })));
    assert_eq!(card.icc_data.expose(), [0x9f, 0x36, 2, 0, 42]);
    assert_eq!((card.sequence_number, card.track2.expose()), (1, track().as_bytes()));

    let (authorization, card) = read(with_card(CardSource::NetworkToken(token())));
    assert_eq!(card.cryptogram.expose(), [7; 20]);
    assert_eq!(authorization.electronic_commerce_indicator.as_str(), "05");
    let wallet = AnswerText::of("google_pay", 32);
    assert_eq!(authorization.credentials, Credentials { wallet, ..Credentials::default() });

    let (authorization, card) =
        read(with_card(CardSource::StoredCredential(pb::StoredCredential { expiry: None, ..stored() })));
    assert!(card.expiry.is_none());
    assert_eq!(authorization.original_network_transaction_id.as_str(), "first");
    let used = StoredCredential { initiator: CredentialInitiator::Merchant, reason: CredentialReason::Recurring };
    assert_eq!(authorization.credentials, Credentials { stored: Some(used), ..Credentials::default() });
}

#[test]
fn three_d_secure_is_checked_and_goes_with_remote_payments_only() {
    let with = |secured: pb::ThreeDSecure| pb::AuthorizeRequest { three_d_secure: Some(secured), ..payment() };
    let (authorization, card) = read(with(secured()));
    assert_eq!(authorization.entry_mode, EntryMode::Ecommerce);
    assert_eq!(authorization.electronic_commerce_indicator.as_str(), "05");
    assert_eq!(card.cryptogram.expose(), [9; 20]);
    let result = ThreeDSecure {
        version: AnswerText::of("2.2.0", 8),
        directory_server_transaction_id: AnswerText::of("f2b1c0de-0000-4abc-8def-a1b2c3d4e5f6", 36),
        status: AuthenticationStatus::Authenticated,
    };
    assert_eq!(authorization.credentials, Credentials { three_d_secure: Some(result), ..Credentials::default() });
    let unproven = pb::ThreeDSecure { authentication_value: Bytes::new(), transaction_status: "N".into(), ..secured() };
    assert!(read(with(unproven)).1.cryptogram.is_empty());

    const AT: [&str; 5] = [
        "three_d_secure.electronic_commerce_indicator",
        "three_d_secure.authentication_value",
        "three_d_secure.directory_server_transaction_id",
        "three_d_secure.version",
        "three_d_secure.transaction_status",
    ];
    let indicator = |text: &str| pb::ThreeDSecure { electronic_commerce_indicator: text.into(), ..secured() };
    let value = |length| pb::ThreeDSecure { authentication_value: vec![1; length].into(), ..secured() };
    let directory = |text: &str| pb::ThreeDSecure { directory_server_transaction_id: text.into(), ..secured() };
    let version = |text: &str| pb::ThreeDSecure { version: text.into(), ..secured() };
    let status = |text: &str| pb::ThreeDSecure { transaction_status: text.into(), ..secured() };
    let cases = [
        (indicator(""), AT[0], Reason::FieldMissing),
        (indicator("5"), AT[0], Reason::FieldMalformed),
        (value(0), AT[1], Reason::FieldMissing),
        (value(19), AT[1], Reason::CryptogramInvalid),
        (value(33), AT[1], Reason::CryptogramInvalid),
        (directory(""), AT[2], Reason::FieldMissing),
        (directory("f2b1c0de"), AT[2], Reason::FieldMalformed),
        (version(""), AT[3], Reason::FieldMissing),
        (version("2.2"), AT[3], Reason::FieldMalformed),
        (version("2.2.0.1"), AT[3], Reason::FieldMalformed),
        (status(""), AT[4], Reason::FieldMissing),
        (status("Z"), AT[4], Reason::FieldMalformed),
    ];
    for (secured, field, reason) in cases {
        assert_eq!(wrong(with(secured)), [(field, reason)]);
    }

    let conflict = |source, secured| wrong(pb::AuthorizeRequest { three_d_secure: Some(secured), ..with_card(source) });
    let whole = [("three_d_secure", Reason::FieldConflict)];
    assert_eq!(conflict(CardSource::Chip(chip()), secured()), whole);
    assert_eq!(conflict(CardSource::MagneticStripe(stripe()), secured()), whole);
    let by_hand = pb::AuthorizeRequest { entry_mode: pb::EntryMode::Manual.into(), ..with(secured()) };
    assert_eq!(wrong(by_hand), whole);
    // A token brings a cryptogram and an indicator of its own.
    assert_eq!(conflict(CardSource::NetworkToken(token()), secured()), [(AT[1], Reason::FieldConflict)]);
    assert_eq!(conflict(CardSource::NetworkToken(token()), indicator("07")), [(AT[0], Reason::FieldConflict)]);
}

#[test]
fn r7_free_text_with_the_card_number_is_refused() {
    fn merchant(request: &mut pb::AuthorizeRequest) -> &mut pb::Merchant {
        request.merchant.as_mut().expect("a merchant")
    }
    let address = |street: String, postal_code: String| Some(pb::AddressVerification { street, postal_code });
    let mut requests: Vec<(pb::AuthorizeRequest, &str)> = Vec::new();
    let mut with = |field, change: &dyn Fn(&mut pb::AuthorizeRequest)| {
        let mut request = payment();
        change(&mut request);
        requests.push((request, field));
    };
    with("request_id", &|r| r.request_id = format!("order-{}", number()));
    with("merchant_reference", &|r| r.merchant_reference = format!("{} {}", &number()[..4], &number()[4..]));
    with("merchant.name", &|r| merchant(r).name = number());
    with("address.street", &|r| r.address = address(format!("1-{}", number()), String::new()));
    for (request, field) in requests {
        assert_eq!(wrong(request), [(field, Reason::FreeTextHoldsCardNumber)]);
    }
    let original = pb::StoredCredential { original_network_transaction_id: number(), ..stored() };
    let field = "card.stored_credential.original_network_transaction_id";
    assert_eq!(wrong(with_card(CardSource::StoredCredential(original))), [(field, Reason::FreeTextHoldsCardNumber)]);
    let wallet = pb::NetworkToken { wallet: number(), ..token() };
    let field = "card.network_token.wallet";
    assert_eq!(wrong(with_card(CardSource::NetworkToken(wallet))), [(field, Reason::FreeTextHoldsCardNumber)]);
    // A UUID in form, and the number all the same.
    let (number, letters) = (number(), "abcdefabcdefabcd");
    let id = format!("{}-{}-{}-{}-{}", &number[..8], &number[8..12], &number[12..16], &letters[..4], &letters[..12]);
    let result = pb::ThreeDSecure { directory_server_transaction_id: id, ..secured() };
    let request = pb::AuthorizeRequest { three_d_secure: Some(result), ..payment() };
    let field = "three_d_secure.directory_server_transaction_id";
    assert_eq!(wrong(request), [(field, Reason::FreeTextHoldsCardNumber)]);
    // A short number fits even where twelve or thirteen characters do.
    let short = "9".repeat(12);
    let mut request = with_card(CardSource::Keyed(pb::KeyedCard { primary_account_number: short.clone(), ..keyed() }));
    merchant(&mut request).city.clone_from(&short);
    merchant(&mut request).merchant_id = short;
    let both =
        [("merchant.merchant_id", Reason::FreeTextHoldsCardNumber), ("merchant.city", Reason::FreeTextHoldsCardNumber)];
    assert_eq!(wrong(request), both);
}

#[test]
fn r7_no_refusal_quotes_the_request() {
    let mut request = payment();
    request.request_id = format!(" {}", number());
    request.merchant_reference = format!("{}\u{1}", number());
    request.card = Some(pb::Card {
        source: Some(CardSource::Keyed(pb::KeyedCard {
            primary_account_number: format!("{}0000", number()),
            expiry: Some(pb::CardExpiry { month: 99, year: 9999 }),
            card_verification_value: "77777".into(),
        })),
    });
    let bad = authorize(&gateway(), request).err().expect("a fault");
    let status = GatewayError::from(bad.clone()).status();
    let shown = format!("{bad:?} {bad} {status:?} {}", String::from_utf8_lossy(status.details()));
    for quoted in [number().as_str(), "77777", "9999"] {
        assert!(!shown.contains(quoted), "{shown}");
    }
}

#[test]
fn r10_merchants_and_terminals_of_others_are_denied() {
    let denied = |merchant: &str, terminal: &str| {
        let mut request = payment();
        let named = request.merchant.as_mut().expect("a merchant");
        (named.merchant_id, named.terminal_id) = (merchant.into(), terminal.into());
        authorize(&gateway(), request).err()
    };
    assert_eq!(denied("SHOP-1", "ANY"), None);
    assert_eq!(denied("SHOP-2", "T1"), None);
    assert_eq!(denied("SHOP-2", "T2"), Some(BadRequest::NotAssigned("merchant.terminal_id")));
    assert_eq!(denied("MARKET-1", "T1"), Some(BadRequest::NotAssigned("merchant.merchant_id")));
}

#[test]
fn a_sealed_card_inside_a_sealed_card_is_refused() {
    let sealed = CardSource::Sealed(pb::SealedCard::default());
    let Err(BadRequest::Fields(violations)) = authorize(&gateway(), with_card(sealed)) else { panic!("refused") };
    let told: Vec<_> = violations.iter().map(|wrong| (wrong.field, wrong.reason)).collect();
    assert_eq!(told, [("card.sealed", Reason::FieldConflict)]);
}

#[test]
fn a_verification_is_a_payment_of_nothing() {
    let request = || pb::VerifyCardRequest {
        request_id: "check-1".into(),
        currency_code: "JPY".into(),
        card: payment().card,
        merchant: payment().merchant,
        entry_mode: pb::EntryMode::Ecommerce.into(),
        address: None,
    };
    let (authorization, card) = verify(&gateway(), request()).unwrap_or_else(|bad| panic!("refused: {bad:?}"));
    assert!(authorization.verification && authorization.amount.is_zero() && !authorization.partial_supported);
    assert_eq!((authorization.entry_mode, card.pan.expose()), (EntryMode::Ecommerce, number().as_str()));

    let refused = |request| faults(verify(&gateway(), request).err().expect("a fault"));
    let empty = pb::VerifyCardRequest::default();
    let missing = ["card", "request_id", "currency_code", "merchant"].map(|field| (field, Reason::FieldMissing));
    assert_eq!(refused(empty), missing);
    let unknown = pb::VerifyCardRequest { currency_code: "ABC".into(), ..request() };
    assert_eq!(refused(unknown), [("currency_code", Reason::UnknownCurrency)]);
    let number_in_key = pb::VerifyCardRequest { request_id: number(), ..request() };
    assert_eq!(refused(number_in_key), [("request_id", Reason::FreeTextHoldsCardNumber)]);
}

#[test]
fn follow_ups_are_read_and_checked() {
    let id = TransactionId::from_number(77);
    let money = |minor_units| Some(pb::Money { minor_units, currency_code: "EUR".into() });
    let expected = FollowUp {
        gateway: gateway().id,
        request_id: RequestId::parse("f-1").expect("a key"),
        transaction: id,
        amount: Amount::parse(5).expect("an amount"),
        currency: Currency::parse("EUR").expect("euro"),
    };
    let (request_id, transaction_id) = ("f-1".to_owned(), id.to_string());
    let raise = pb::IncrementAuthorizationRequest {
        request_id: request_id.clone(),
        transaction_id: transaction_id.clone(),
        amount: money(5),
    };
    assert_eq!(increment(&gateway().id, raise), Ok(expected.clone()));
    let back =
        pb::RefundRequest { request_id: request_id.clone(), transaction_id: transaction_id.clone(), amount: money(5) };
    assert_eq!(refund(&gateway().id, back), Ok(expected.clone()));
    let take = |amount| pb::CaptureRequest {
        request_id: request_id.clone(),
        transaction_id: transaction_id.clone(),
        amount,
        r#final: true,
    };
    assert_eq!(capture(&gateway().id, take(money(5))), Ok(Capture { asked: expected, is_final: true }));

    let refused = |request| faults(capture(&gateway().id, request).expect_err("a fault"));
    assert_eq!(refused(take(money(0))), [("amount.minor_units", Reason::AmountZero)]);
    assert_eq!(refused(take(None)), [("amount", Reason::FieldMissing)]);
    let nothing = ["request_id", "transaction_id", "amount"].map(|field| (field, Reason::FieldMissing));
    assert_eq!(refused(pb::CaptureRequest::default()), nothing);
    let foreign = pb::CaptureRequest { transaction_id: "O".repeat(26), ..take(money(5)) };
    assert_eq!(refused(foreign), [("transaction_id", Reason::FieldMalformed)]);
}

#[test]
fn a_void_names_a_transaction_or_a_key() {
    let id = TransactionId::from_number(77);
    let key = RequestId::parse("order-1").expect("a key");
    let request = |original| pb::VoidRequest { request_id: "v-1".into(), original };
    let target = |original| void(&gateway().id, request(Some(original))).map(|void| void.target);
    assert_eq!(target(Original::TransactionId(id.to_string())), Ok(VoidTarget::Transaction(id)));
    assert_eq!(target(Original::OriginalRequestId("order-1".into())), Ok(VoidTarget::Request(key)));
    let refused = |request| faults(void(&gateway().id, request).expect_err("a fault"));
    assert_eq!(refused(request(None)), [("original", Reason::FieldMissing)]);
    let empty = Original::OriginalRequestId(String::new());
    assert_eq!(refused(request(Some(empty))), [("original_request_id", Reason::FieldMissing)]);
    let keyless = pb::VoidRequest { request_id: String::new(), original: Some(Original::TransactionId("x".into())) };
    let both = [("request_id", Reason::FieldMissing), ("transaction_id", Reason::FieldMalformed)];
    assert_eq!(refused(keyless), both);
}

#[test]
fn reads_name_one_thing_and_pages_have_bounds() {
    let id = TransactionId::from_number(77);
    let key = RequestId::parse("order-1").expect("a key");
    let by = |by| get(pb::GetTransactionRequest { by });
    assert_eq!(by(Some(By::TransactionId(id.to_string()))), Ok(Named::Transaction(id)));
    assert_eq!(by(Some(By::RequestId("order-1".into()))), Ok(Named::Request(key.clone())));
    let follow_up = pb::FollowUp { transaction_id: id.to_string(), request_id: "order-1".into() };
    assert_eq!(by(Some(By::FollowUp(follow_up))), Ok(Named::FollowUp(id, key)));
    assert_eq!(by(None).map_err(faults), Err(vec![("by", Reason::FieldMissing)]));
    let both = ["follow_up.transaction_id", "follow_up.request_id"].map(|field| (field, Reason::FieldMissing));
    assert_eq!(by(Some(By::FollowUp(pb::FollowUp::default()))).map_err(faults), Err(both.to_vec()));

    let page = |page_size, page_token: &str| {
        list(pb::ListTransactionsRequest { page_size, page_token: page_token.into() }).map_err(faults)
    };
    assert_eq!(page(0, ""), Ok(Page { size: 100, before: None }));
    assert_eq!(page(1000, &page_token(id)), Ok(Page { size: 1000, before: Some(id) }));
    assert_eq!(page(1001, ""), Ok(Page { size: 1000, before: None }));
    for size in [-1, i32::MIN] {
        assert_eq!(page(size, ""), Err(vec![("page_size", Reason::FieldMalformed)]));
    }
    for token in ["p", "x", &id.to_string()] {
        assert_eq!(page(1, token), Err(vec![("page_token", Reason::FieldMalformed)]), "{token}");
    }
}

#[test]
fn r20_a_watch_resumes_after_the_event_of_its_token() {
    let from = |token: String| watch(&pb::WatchTransactionsRequest { resume_token: token }).map_err(faults);
    let at = Seen { position: Position { index: u64::MAX - 1, place: 515 }, time: LogTime(u64::MAX - 2) };
    assert_eq!(from(String::new()), Ok(None));
    assert_eq!(from(resume_token(at)), Ok(Some(at)));
    let longer = format!("{}0", resume_token(at));
    let signed = format!("e+{}", "0".repeat(39));
    for token in ["e", "x", "+", longer.as_str(), &resume_token(at).to_uppercase(), &signed] {
        assert_eq!(from(token.to_owned()), Err(vec![("resume_token", Reason::FieldMalformed)]), "{token}");
    }
}

fn told(decision: Decision) -> Told {
    Told::by_switch(decision, Sent::Sent, Position { index: 9, place: 2 })
}

fn lane(state: LaneState) -> Lane {
    Lane {
        identity: identity(2),
        generation: 0,
        state,
        since: LogTime(5),
        maker: LeaderId::default(),
        doubted_once: false,
        resolution: None,
        amount: Amount::parse(100).expect("an amount"),
    }
}

fn identity(stan: u32) -> WireIdentity {
    WireIdentity {
        stan: Stan::parse(stan).expect("a number"),
        rrn: Rrn::of(7),
        transmission: LogTime(0).transmission(),
    }
}

fn attempt(state: AttemptState) -> Attempt {
    Attempt {
        network: NetworkId::parse("first").expect("an id"),
        link: LinkId::parse("first-1").expect("an id"),
        route: None,
        identity: identity(1),
        terms: Terms {
            attempt_timeout_ms: 1000,
            in_flight_max_ms: 1000,
            repeat_budget_ms: 1000,
            reversal_policy: ReversalPolicy::Always,
            acknowledgement_proves_match: true,
            reversal_has_own_stan: false,
            valid_ms: 1,
            capture_tolerance_basis_points: 0,
            doubt_count_max: 1,
            doubt_amount_max: Amount::ZERO,
        },
        deadline: LogTime(1),
        owner: Owner { node: 1, boot: 1, term: 1 },
        state,
        response_code: ResponseCode::parse("00"),
        approvals: vec![],
        late_approval: false,
        conflicting_answer: false,
        reversal: None,
        opened: Position::default(),
    }
}

fn operation(method: Method, told: Option<Told>, attempts: Vec<Attempt>) -> Operation {
    Operation {
        request_id: RequestId::parse("order-1").expect("a key"),
        method,
        amount: Amount::parse(100).expect("an amount"),
        fingerprint: Fingerprint { key_version: 1, digest: [0; 16] },
        accepted: LogTime(3),
        final_capture: false,
        partial_supported: false,
        void_requested: false,
        day_reserved: Amount::ZERO,
        day_limited: false,
        attempts,
        advice: None,
        told,
    }
}

fn record(operations: Vec<Operation>) -> Transaction {
    Transaction {
        id: TransactionId::from_number(77),
        gateway: gateway().id,
        revision: 4,
        created: LogTime(1),
        changed: LogTime(2),
        currency: Currency::parse("EUR").expect("euro"),
        capture_mode: CaptureMode::Manual,
        entry_mode: EntryMode::Manual,
        merchant: read(payment()).0.merchant,
        card: CardReference {
            bin: Truncated::parse("990000").expect("digits"),
            last4: Truncated::parse("0000").expect("digits"),
            token: CardToken([0xab; 16]),
            sealed: None,
        },
        credentials: Credentials::default(),
        merchant_reference: AnswerText::of("order 4711", 64),
        network_transaction_id: AnswerText::of("nt-1", 64),
        directory_version: 1,
        valid_until: LogTime(6),
        expired: false,
        operations,
    }
}

#[test]
fn a_page_ends_where_it_is_as_long_as_asked_for_or_as_large_as_a_client_takes() {
    let older = |count: u128, operations: &[Operation]| -> Vec<Transaction> {
        let numbered = |number| Transaction { id: TransactionId::from_number(number), ..record(operations.to_vec()) };
        (1..=count).rev().map(numbered).collect()
    };
    let page = |size, records: &[Transaction]| {
        let mut listed = Listed::new(size);
        let taken = records.iter().take_while(|record| listed.take(record)).count();
        (taken, listed.page())
    };
    let small = older(3, &[operation(Method::Authorize, None, vec![])]);
    assert_eq!((page(3, &small).0, page(3, &small).1.next_page_token.as_str()), (3, ""), "nothing follows");
    assert_eq!((page(2, &small).0, page(2, &small).1.next_page_token), (2, page_token(small[1].id)));
    assert_eq!(page(3, &[]).1, pb::ListTransactionsResponse::default());

    // The largest there are: a thousand of them would be many times what a client takes.
    let refund = operation(Method::Refund, None, vec![attempt(AttemptState::Open)]);
    let large = older(200, &vec![refund; limits::OPERATIONS_MAX]);
    let (taken, first) = page(1_000, &large);
    assert!(taken > 1 && (PAGE_BYTES..4 << 20).contains(&first.encoded_len()), "{taken}, {} B", first.encoded_len());
    assert_eq!(first.transactions.len(), taken);
    assert_eq!(first.next_page_token, page_token(large[taken - 1].id), "the next page begins behind what was told");
}

fn settled(record: &Transaction) -> Settled {
    Book::settled(record, 0, true).expect("decided")
}

#[test]
fn an_approval_is_told_with_everything_that_came_with_it() {
    let told = Told {
        source: Source::Issuer,
        approved: Amount::parse(100).expect("an amount"),
        approval_code: AnswerText::of("A1B2C3", 6),
        response_code: ResponseCode::parse("00"),
        address_result: AnswerText::of("Z", 2),
        verification_result: AnswerText::of("M", 2),
        ..told(Decision::Approved)
    };
    let approved = attempt(AttemptState::Approved(told.approved));
    let record = record(vec![operation(Method::Authorize, Some(told), vec![approved])]);
    let result = operation_result(&settled(&record)).expect("an answer");
    let expected = pb::OperationResult {
        transaction_id: record.id.to_string(),
        request_id: "order-1".into(),
        outcome: Some(pb::Outcome {
            decision: pb::Decision::Approved.into(),
            sent: pb::Sent::Sent.into(),
            source: pb::DecisionSource::Issuer.into(),
            approved_amount: Some(pb::Money { minor_units: 100, currency_code: "EUR".into() }),
            approval_code: "A1B2C3".into(),
            response_code: "00".into(),
            decline: None,
            verification: Some(pb::Verification {
                street: pb::VerificationResult::Mismatch.into(),
                postal_code: pb::VerificationResult::Match.into(),
                card_verification_value: pb::VerificationResult::Match.into(),
                address_raw: "Z".into(),
                card_verification_value_raw: "M".into(),
            }),
            reason: String::new(),
            network_advice_code: String::new(),
        }),
        reversal_state: pb::ReversalState::None.into(),
        network_state: pb::NetworkState::Unspecified.into(),
        network: "first".into(),
        retrieval_reference_number: Rrn::of(7).as_str().into(),
        system_trace_audit_number: 1,
        network_transaction_id: "nt-1".into(),
        replayed: true,
        journal_index: 9,
        journal_position: 2,
    };
    assert_eq!(result, expected);
    let shown = transaction(&record);
    assert_eq!(shown.operations[0].result, Some(pb::OperationResult { replayed: false, ..expected }));
    assert_eq!((shown.status(), shown.card_token.as_str()), (pb::TransactionStatus::Authorized, &*"ab".repeat(16)));
    assert_eq!(shown.totals.map(|totals| (totals.authorized_minor_units, totals.held_minor_units)), Some((100, 100)));
    assert_eq!((shown.card_bin.as_str(), shown.card_last4.as_str(), shown.revision), ("990000", "0000", 4));
    assert_eq!(shown.operations[0].attempts[0].sent(), pb::Sent::Sent);
}

#[test]
fn r3_r22_what_nobody_knows_is_no_answer() {
    let unresolved = Told { sent: Sent::Unknown, reason: Some(ToldReason::NoAnswer), ..told(Decision::Unresolved) };
    let record = record(vec![operation(Method::Verify, Some(unresolved), vec![attempt(AttemptState::TimedOut)])]);
    assert!(matches!(operation_result(&settled(&record)), Err(GatewayError::Unresolved(Sent::Unknown))));
    let shown = transaction(&record);
    let outcome = shown.operations[0].result.as_ref().and_then(|result| result.outcome.as_ref()).expect("an outcome");
    assert_eq!((outcome.decision(), outcome.reason.as_str()), (pb::Decision::Unspecified, "OUTCOME_UNKNOWN"));
    assert_eq!(shown.status(), pb::TransactionStatus::Unresolved);
}

#[test]
fn an_open_operation_reads_without_a_decision() {
    let record = record(vec![operation(Method::Authorize, None, vec![attempt(AttemptState::Open)])]);
    let shown = transaction(&record);
    let result = shown.operations[0].result.as_ref().expect("a result");
    assert_eq!(result.outcome, Some(pb::Outcome::default()));
    assert_eq!((result.network.as_str(), result.system_trace_audit_number), ("first", 1));
    assert_eq!(shown.status(), pb::TransactionStatus::Open);
    assert_eq!(shown.operations[0].attempts[0].sent(), pb::Sent::Unspecified);
}

#[test]
fn r3_a_time_out_is_told_as_one_with_its_reason() {
    let timed_out = Told { sent: Sent::Unknown, reason: Some(ToldReason::NoAnswer), ..told(Decision::TimedOut) };
    let record = record(vec![operation(Method::Authorize, Some(timed_out), vec![attempt(AttemptState::TimedOut)])]);
    let result = operation_result(&settled(&record)).expect("an answer");
    let outcome = result.outcome.expect("an outcome");
    assert_eq!((outcome.decision(), outcome.sent()), (pb::Decision::TimedOut, pb::Sent::Unknown));
    assert_eq!((outcome.reason.as_str(), outcome.approved_amount), ("NO_ANSWER", None));
}

#[test]
fn r17_a_decline_that_is_not_stored_names_no_transaction() {
    let key = RequestId::parse("order-1").expect("a key");
    let result = declined_by_switch(&key, DeclineReason::SwitchLimit, Position { index: 3, place: 1 });
    assert_eq!((result.transaction_id.as_str(), result.request_id.as_str()), ("", "order-1"));
    assert_eq!((result.journal_index, result.journal_position, result.replayed), (3, 1, false));
    let outcome = result.outcome.expect("an outcome");
    assert_eq!((outcome.decision(), outcome.sent()), (pb::Decision::Declined, pb::Sent::NotSent));
    assert_eq!(outcome.source(), pb::DecisionSource::Switch);
    let decline = outcome.decline.expect("a decline");
    assert_eq!(decline.reason(), pb::DeclineReason::SwitchLimit);
    assert_eq!(decline.advice(), pb::DeclineAdvice::TryAgainLater);
}

#[test]
fn a_stored_decline_keeps_reason_and_advice() {
    let told = Told {
        decline: Some((DeclineReason::StolenCard, DeclineAdvice::DoNotTryAgain)),
        response_code: ResponseCode::parse("43"),
        advice_code: AnswerText::of("03", 4),
        ..told(Decision::Declined)
    };
    let record = record(vec![operation(Method::Authorize, Some(told), vec![attempt(AttemptState::Declined)])]);
    let outcome = operation_result(&settled(&record)).expect("an answer").outcome.expect("an outcome");
    let decline = outcome.decline.expect("a decline");
    assert_eq!(decline.reason(), pb::DeclineReason::StolenCard);
    assert_eq!((decline.advice(), outcome.response_code.as_str()), (pb::DeclineAdvice::DoNotTryAgain, "43"));
    assert_eq!(outcome.network_advice_code, "03");
}

#[test]
fn advices_and_events_are_told_with_their_states() {
    let mut capture = operation(Method::Capture, Some(told(Decision::Approved)), vec![]);
    capture.advice = Some(Advice {
        link: LinkId::parse("first-1").expect("an id"),
        network: NetworkId::parse("first").expect("an id"),
        lane: lane(LaneState::Parked { refused: true }),
    });
    let record = record(vec![capture]);
    let result = operation_result(&settled(&record)).expect("an answer");
    assert_eq!(result.network_state(), pb::NetworkState::Parked);

    let mut closed = operation(Method::Capture, Some(told(Decision::Approved)), vec![]);
    closed.advice = Some(Advice {
        link: LinkId::parse("first-1").expect("an id"),
        network: NetworkId::parse("first").expect("an id"),
        lane: lane(LaneState::Resolved(Resolution::Stands)),
    });
    let result = operation_result(&settled(&self::record(vec![closed]))).expect("an answer");
    assert_eq!(result.network_state(), pb::NetworkState::Resolved, "an operator's word is not the network's");

    let row = EventRow {
        transaction: record.id,
        revision: 3,
        status: Status::TimedOut,
        request_id: RequestId::parse("order-1").expect("a key"),
        method: Method::Refund,
        decision: None,
        reversal: Some(LaneState::NotFound),
        advice: Some(LaneState::Pending),
        time: LogTime(8),
    };
    let at = Seen { position: Position { index: 1, place: 2 }, time: LogTime(8) };
    let expected = pb::WatchTransactionsResponse {
        resume_token: resume_token(at),
        transaction_id: record.id.to_string(),
        revision: 3,
        status: pb::TransactionStatus::TimedOut.into(),
        request_id: "order-1".into(),
        method: pb::Method::Refund.into(),
        decision: pb::Decision::Unspecified.into(),
        reversal_state: pb::ReversalState::NotFound.into(),
        network_state: pb::NetworkState::Pending.into(),
        changed_unix_ms: 8,
    };
    assert_eq!(event(at, &row), expected);
}
