//! Card data in every form that a gateway may hold it in. What nobody may keep has values that nothing else in these suites
//! has, so that [`crate::needles`] can look for it everywhere.

use bytes::Bytes;
use rand::{Rng, rngs::StdRng};
use switch_proto::gateway::v1::{self as pb, card::Source};

/// A number typed into a page.
pub fn keyed(number: &str) -> pb::Card {
    // American Express prints four digits on the front.
    let value = if number.len() == 15 { VERIFICATION_VALUES[1] } else { VERIFICATION_VALUES[0] };
    card(Source::Keyed(pb::KeyedCard {
        primary_account_number: number.to_owned(),
        expiry: Some(EXPIRY),
        card_verification_value: value.to_owned(),
    }))
}

/// A swiped card, with its PIN.
pub fn swiped(number: &str) -> pb::Card {
    let (track2, pin_block) = (track2(number, '='), Bytes::from_static(&PIN_BLOCK));
    card(Source::MagneticStripe(pb::MagneticStripe { track2, fallback: false, pin_block }))
}

/// A chip, inserted or tapped, with its PIN. The terminal sends everything it has read, track 2 and number too.
pub fn chip(number: &str, contactless: bool) -> pb::Card {
    card(Source::Chip(pb::Chip {
        primary_account_number: number.to_owned(),
        expiry: Some(EXPIRY),
        icc_data: icc_data(number).into(),
        card_sequence_number: 1,
        contactless,
        track2_equivalent: track2(number, 'D'),
        pin_block: Bytes::from_static(&PIN_BLOCK),
    }))
}

/// A wallet on a phone.
pub fn wallet(number: &str) -> pb::Card {
    card(Source::NetworkToken(pb::NetworkToken {
        token: number.to_owned(),
        expiry: Some(EXPIRY),
        cryptogram: Bytes::from_static(&CRYPTOGRAM),
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

/// The result of an authentication on a page.
pub fn three_d_secure() -> pb::ThreeDSecure {
    pb::ThreeDSecure {
        electronic_commerce_indicator: "05".to_owned(),
        authentication_value: Bytes::from_static(&AUTHENTICATION_VALUE),
        directory_server_transaction_id: "8a880dc0-d2d2-4067-bcb1-b08d1690b26e".to_owned(),
        version: "2.2.0".to_owned(),
        transaction_status: "Y".to_owned(),
    }
}

/// Track 2 of a card (ISO/IEC 7813), 37 characters where the number has 19 digits.
pub fn track2(number: &str, separator: char) -> String {
    format!("{number}{separator}{:02}{:02}{TRACK_END}", EXPIRY.year % 100, EXPIRY.month)
}

/// Digits as EMV packs them, two a byte; `D` separates the fields of a track, and an odd number ends with `F`. So does what is
/// no digit: a number from a file may be anything, and it is the switch that must refuse it.
pub fn packed(digits: &str) -> Vec<u8> {
    let nibble = |digit: u8| char::from(digit).to_digit(16).map_or(0xF, |nibble| nibble as u8);
    digits.as_bytes().chunks(2).map(|pair| nibble(pair[0]) << 4 | pair.get(1).map_or(0xF, |low| nibble(*low))).collect()
}

/// Field 55: what the network decides by, and behind it what no book may keep of a chip (R7).
fn icc_data(number: &str) -> Vec<u8> {
    let mut data = ICC_DATA.to_vec();
    let unkept =
        [(&[0x57][..], track2(number, 'D')), (&[0x5A], number.to_owned()), (&[0x9F, 0x20], TRACK_END.to_owned())];
    for (tag, digits) in unkept {
        let value = packed(&digits);
        data.extend_from_slice(tag);
        data.push(value.len() as u8); // 19 at most, of a number of 19 digits
        data.extend_from_slice(&value);
    }
    data
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

/// Card verification values: of most cards, and of American Express.
pub const VERIFICATION_VALUES: [&str; 2] = ["739", "7391"];

/// End of every track 2: service code and discretionary data.
pub const TRACK_END: &str = "2018273645546";

/// An encrypted PIN block.
pub const PIN_BLOCK: [u8; 8] = [0xE1, 0x3C, 0x97, 0x5A, 0xD2, 0x4B, 0x86, 0xF7];

/// Cryptogram of a network token.
pub const CRYPTOGRAM: [u8; 20] = *b"\xB7\x1D\x93\x5E\xC2\x08\x6F\xA4\x39\xE8\x52\xCD\x11\x76\x9B\xF0\x24\x8A\x3D\xE6";

/// Authentication value of 3-D Secure.
pub const AUTHENTICATION_VALUE: [u8; 20] =
    *b"\x9E\x47\xD8\x02\x6B\xF5\x31\xAC\x70\x1F\xC9\x54\x8D\x26\xEB\x93\x0A\x65\xBE\x3F";

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
