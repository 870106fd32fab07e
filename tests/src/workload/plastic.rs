//! Card data in every form that a gateway may hold it in.

use rand::{Rng, rngs::StdRng};
use switch_proto::gateway::v1::{self as pb, card::Source};

/// A number typed into a page.
pub fn keyed(number: &str) -> pb::Card {
    // American Express prints four digits on the front.
    let digits = if number.len() == 15 { "1234" } else { "123" };
    card(Source::Keyed(pb::KeyedCard {
        primary_account_number: number.to_owned(),
        expiry: Some(EXPIRY),
        card_verification_value: digits.to_owned(),
    }))
}

/// A swiped card.
pub fn swiped(number: &str) -> pb::Card {
    let track2 = format!("{number}={:02}{:02}201{:08}", EXPIRY.year % 100, EXPIRY.month, DISCRETIONARY);
    card(Source::MagneticStripe(pb::MagneticStripe { track2, fallback: false, pin_block: bytes::Bytes::new() }))
}

/// A chip, inserted or tapped.
pub fn chip(number: &str, contactless: bool) -> pb::Card {
    card(Source::Chip(pb::Chip {
        primary_account_number: number.to_owned(),
        expiry: Some(EXPIRY),
        icc_data: bytes::Bytes::from_static(&ICC_DATA),
        card_sequence_number: 1,
        contactless,
        track2_equivalent: String::new(),
        pin_block: bytes::Bytes::new(),
    }))
}

/// A wallet on a phone.
pub fn wallet(number: &str) -> pb::Card {
    card(Source::NetworkToken(pb::NetworkToken {
        token: number.to_owned(),
        expiry: Some(EXPIRY),
        cryptogram: bytes::Bytes::from_static(&[0xA5; 20]),
        electronic_commerce_indicator: "05".to_owned(),
        wallet: "google_pay".to_owned(),
    }))
}

/// A card that the merchant keeps on file for a subscription.
pub fn on_file(number: &str) -> pb::Card {
    card(Source::StoredCredential(pb::StoredCredential {
        primary_account_number: number.to_owned(),
        expiry: Some(EXPIRY),
        initiator: pb::CredentialInitiator::Merchant.into(),
        reason: pb::CredentialReason::Recurring.into(),
        original_network_transaction_id: "first-of-the-series".to_owned(),
    }))
}

/// Any of these.
pub(super) fn any(number: &str, random: &mut StdRng) -> pb::Card {
    match random.random_range(0..10) {
        0..4 => keyed(number),
        4 => swiped(number),
        5 => chip(number, false),
        6 => chip(number, true),
        7 => wallet(number),
        _ => on_file(number),
    }
}

fn card(source: Source) -> pb::Card {
    pb::Card { source: Some(source) }
}

/// What the issuer wrote behind the service code.
const DISCRETIONARY: u32 = 123;

/// Far away, so that no suite ages.
const EXPIRY: pb::CardExpiry = pb::CardExpiry { month: 11, year: 2039 };

/// Application cryptogram, its information, transaction counter, verification results, date, type, amount, currency,
/// interchange profile, country and unpredictable number, as BER-TLV.
const ICC_DATA: [u8; 65] = [
    0x9F, 0x26, 0x08, 0xC1, 0xC2, 0xC3, 0xC4, 0xC5, 0xC6, 0xC7, 0xC8, // application cryptogram
    0x9F, 0x27, 0x01, 0x80, // cryptogram information
    0x9F, 0x36, 0x02, 0x00, 0x2A, // transaction counter
    0x95, 0x05, 0x00, 0x00, 0x00, 0x80, 0x00, // verification results
    0x9A, 0x03, 0x26, 0x01, 0x31, // date
    0x9C, 0x01, 0x00, // type
    0x9F, 0x02, 0x06, 0x00, 0x00, 0x00, 0x00, 0x10, 0x00, // amount
    0x5F, 0x2A, 0x02, 0x09, 0x78, // currency
    0x82, 0x02, 0x39, 0x00, // interchange profile
    0x9F, 0x1A, 0x02, 0x04, 0x28, // country
    0x9F, 0x37, 0x04, 0xD1, 0xD2, 0xD3, 0xD4, // unpredictable number
];
