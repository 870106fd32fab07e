//! Card data of one request: from a message of plain strings to a [`Card`] that wipes itself. Every string and every
//! buffer that is not shared is wiped on the way, whether the request is taken or refused.

use bytes::Bytes;
use switch_domain::{
    authorization::{
        AuthenticationStatus, CredentialInitiator, CredentialReason, Credentials, StoredCredential, ThreeDSecure,
    },
    card::{Card, CardFault, Expiry, Pan, Sensitive, filter_icc_data, parse_track2},
    outcome::AnswerText,
    transaction::EntryMode,
};
use switch_proto::gateway::v1::{self as pb, card::Source};
use zeroize::{Zeroize as _, Zeroizing};

use super::fields::{Fields, Reason};

/// The card of a request with what its kind says about the payment.
pub(super) struct Presented {
    pub(super) card: Card,
    pub(super) entry_mode: EntryMode,
    /// A payment that the cardholder starts now: no stored credential, no token without a cryptogram (R22).
    pub(super) cardholder_initiated: bool,
    pub(super) electronic_commerce_indicator: AnswerText,
    pub(super) credentials: Credentials,
    pub(super) original_network_transaction_id: AnswerText,
}

/// Reads the card, the entry mode that goes with it and the result of 3-D Secure.
///
/// `None`: faults were left in `fields`.
pub(super) fn presented(
    fields: &mut Fields,
    card: Option<pb::Card>,
    entry_mode: i32,
    three_d_secure: Option<pb::ThreeDSecure>,
) -> Option<Presented> {
    let Some(source) = card.and_then(|card| card.source) else {
        fields.missing("card");
        return None;
    };
    let kind = match source {
        Source::Keyed(keyed) => read_keyed(fields, keyed),
        Source::MagneticStripe(stripe) => read_stripe(fields, stripe),
        Source::Chip(chip) => read_chip(fields, chip),
        Source::NetworkToken(token) => read_token(fields, token),
        Source::StoredCredential(stored) => read_stored(fields, stored),
        // The layer before this one has opened what was sealed, once.
        Source::Sealed(_) => {
            fields.wrong("card.sealed", Reason::FieldConflict, "holds another sealed card");
            None
        }
    };
    let secured = three_d_secure.map(|result| read_three_d_secure(fields, result));
    let given = fields.known::<pb::EntryMode>(ENTRY_MODE, entry_mode);
    joined(fields, kind?, given?, secured)
}

/// What one kind of card data gives.
struct Kind {
    card: Card,
    /// Ways in which it can have entered; the first is meant where the request says nothing.
    entry_modes: &'static [EntryMode],
    /// False where a terminal read the card itself.
    remote: bool,
    cardholder_initiated: bool,
    electronic_commerce_indicator: AnswerText,
    wallet: AnswerText,
    stored: Option<StoredCredential>,
    original_network_transaction_id: AnswerText,
}

impl Kind {
    fn of(card: Card, entry_modes: &'static [EntryMode]) -> Self {
        Self {
            card,
            entry_modes,
            remote: false,
            cardholder_initiated: true,
            electronic_commerce_indicator: AnswerText::default(),
            wallet: AnswerText::default(),
            stored: None,
            original_network_transaction_id: AnswerText::default(),
        }
    }
}

/// Card data, entry mode and 3-D Secure must tell one story.
fn joined(fields: &mut Fields, kind: Kind, given: pb::EntryMode, secured: Option<Secured>) -> Option<Presented> {
    let Kind {
        mut card,
        entry_modes,
        remote,
        cardholder_initiated,
        mut electronic_commerce_indicator,
        wallet,
        stored,
        original_network_transaction_id,
    } = kind;
    let is_secured = secured.is_some();
    let entry_mode = match entry_mode_of(given) {
        // A number typed in with 3-D Secure was typed into a page.
        None if is_secured && entry_modes.contains(&EntryMode::Ecommerce) && cardholder_initiated => {
            EntryMode::Ecommerce
        }
        None => entry_modes[0],
        Some(mode) if entry_modes.contains(&mode) => mode,
        Some(_) => {
            fields.wrong(ENTRY_MODE, Reason::EntryModeConflict, "does not fit the kind of card data");
            return None;
        }
    };
    let mut three_d_secure = None;
    if let Some(secured) = secured {
        if !remote || matches!(entry_mode, EntryMode::Manual | EntryMode::MailOrTelephone) {
            fields.wrong("three_d_secure", Reason::FieldConflict, "goes with payments on a page or in an app only");
            return None;
        }
        let Secured { electronic_commerce_indicator: indicator, authentication_value, result } = secured;
        if !electronic_commerce_indicator.is_empty() && indicator.as_ref() != Some(&electronic_commerce_indicator) {
            let differs = "differs from that of the network token";
            fields.wrong("three_d_secure.electronic_commerce_indicator", Reason::FieldConflict, differs);
            return None;
        }
        if !authentication_value.is_empty() && !card.cryptogram.is_empty() {
            let both = "is given beside the network token's cryptogram; only one can be sent";
            fields.wrong(AUTHENTICATION_VALUE, Reason::FieldConflict, both);
            return None;
        }
        if !authentication_value.is_empty() {
            card.cryptogram = authentication_value;
        }
        electronic_commerce_indicator = indicator?;
        three_d_secure = Some(result?);
    }
    Some(Presented {
        card,
        entry_mode,
        cardholder_initiated,
        electronic_commerce_indicator,
        credentials: Credentials { three_d_secure, wallet, stored },
        original_network_transaction_id,
    })
}

fn read_keyed(fields: &mut Fields, keyed: pb::KeyedCard) -> Option<Kind> {
    let pb::KeyedCard { primary_account_number, expiry, card_verification_value } = keyed;
    let pan = number(fields, "card.keyed.primary_account_number", primary_account_number);
    let expiry = month(fields, "card.keyed.expiry", expiry);
    let value = Sensitive::new(card_verification_value.into_bytes());
    let is_value = matches!(value.expose().len(), 0 | 3 | 4) && value.expose().iter().all(u8::is_ascii_digit);
    let checked = if is_value { Ok(value) } else { Err(CardFault::VerificationValue) };
    let value = fields.card("card.keyed.card_verification_value", checked);
    let (pan, expiry, value) = (pan?, expiry?, value?);
    let card = Card { verification_value: value, ..Card::of_number(pan, Some(expiry), 0) };
    Some(Kind {
        remote: true,
        ..Kind::of(card, &[EntryMode::Manual, EntryMode::Ecommerce, EntryMode::MailOrTelephone])
    })
}

fn read_stripe(fields: &mut Fields, stripe: pb::MagneticStripe) -> Option<Kind> {
    let pb::MagneticStripe { track2, fallback, pin_block } = stripe;
    let read = track(fields, "card.magnetic_stripe.track2", track2);
    let pin_block = pin(fields, "card.magnetic_stripe.pin_block", pin_block);
    let Some(Track { pan, expiry, track2 }) = read? else {
        fields.missing("card.magnetic_stripe.track2");
        return None;
    };
    let card = Card { track2, pin_block: pin_block?, ..Card::of_number(pan, Some(expiry), 0) };
    let entry_modes: &[EntryMode] =
        if fallback { &[EntryMode::Fallback] } else { &[EntryMode::MagneticStripe, EntryMode::ContactlessStripe] };
    Some(Kind::of(card, entry_modes))
}

fn read_chip(fields: &mut Fields, chip: pb::Chip) -> Option<Kind> {
    let pb::Chip {
        primary_account_number,
        expiry,
        icc_data,
        card_sequence_number,
        contactless,
        track2_equivalent,
        pin_block,
    } = chip;
    let pan = number(fields, "card.chip.primary_account_number", primary_account_number);
    let expiry = month(fields, "card.chip.expiry", expiry);
    let icc_data = sensitive(icc_data);
    let well_formed = fields.card("card.chip.icc_data", filter_icc_data(icc_data.expose()).map(|_| ()));
    let sequence_number = u16::try_from(card_sequence_number).ok().filter(|number| *number <= 999);
    let sequence_number =
        fields.card("card.chip.card_sequence_number", sequence_number.ok_or(CardFault::SequenceNumber));
    let read = track(fields, "card.chip.track2_equivalent", track2_equivalent);
    let pin_block = pin(fields, "card.chip.pin_block", pin_block);
    let (pan, expiry, sequence_number, read, pin_block) = (pan?, expiry?, sequence_number?, read?, pin_block?);
    well_formed?;
    let track2 = match read {
        Some(read) if read.pan.expose() == pan.expose() && read.expiry == expiry => read.track2,
        Some(_) => {
            fields.wrong("card.chip.track2_equivalent", Reason::FieldConflict, "is of another number or expiry");
            return None;
        }
        None => Sensitive::default(),
    };
    // A terminal without EMV taps in stripe mode: a track, and no chip data.
    let entry_modes: &[EntryMode] = match (contactless, icc_data.is_empty()) {
        (true, false) => &[EntryMode::ContactlessChip, EntryMode::ContactlessStripe],
        (true, true) if !track2.is_empty() => &[EntryMode::ContactlessStripe],
        (false, false) => &[EntryMode::Chip],
        (true | false, true) => {
            fields.missing("card.chip.icc_data");
            return None;
        }
    };
    let card = Card { icc_data, track2, pin_block, ..Card::of_number(pan, Some(expiry), sequence_number) };
    Some(Kind::of(card, entry_modes))
}

fn read_token(fields: &mut Fields, token: pb::NetworkToken) -> Option<Kind> {
    let pb::NetworkToken { token, expiry, cryptogram, electronic_commerce_indicator, wallet } = token;
    let pan = number(fields, "card.network_token.token", token);
    let expiry = month(fields, "card.network_token.expiry", expiry);
    let cryptogram = sensitive(cryptogram);
    let is_cryptogram = matches!(cryptogram.expose().len(), 0 | 8..=64);
    let checked = if is_cryptogram { Ok(cryptogram) } else { Err(CardFault::Cryptogram) };
    let cryptogram = fields.card("card.network_token.cryptogram", checked);
    let indicator = if electronic_commerce_indicator.is_empty() {
        Some(AnswerText::default())
    } else {
        fields.digits("card.network_token.electronic_commerce_indicator", &electronic_commerce_indicator, 2)
    };
    let wallet = fields.text("card.network_token.wallet", &wallet, 32);
    let (pan, expiry, cryptogram, indicator, wallet) = (pan?, expiry?, cryptogram?, indicator?, wallet?);
    let by_merchant = cryptogram.is_empty();
    let entry_modes: &[EntryMode] = if by_merchant {
        &[EntryMode::CredentialOnFile, EntryMode::Ecommerce]
    } else {
        &[EntryMode::Ecommerce, EntryMode::CredentialOnFile]
    };
    let card = Card { cryptogram, ..Card::of_number(pan, Some(expiry), 0) };
    Some(Kind {
        remote: true,
        cardholder_initiated: !by_merchant,
        electronic_commerce_indicator: indicator,
        wallet,
        ..Kind::of(card, entry_modes)
    })
}

fn read_stored(fields: &mut Fields, stored: pb::StoredCredential) -> Option<Kind> {
    let pb::StoredCredential { primary_account_number, expiry, initiator, reason, original_network_transaction_id } =
        stored;
    let pan = number(fields, "card.stored_credential.primary_account_number", primary_account_number);
    // A card on file may have outlived its expiry: the only kind that may come without one.
    let expiry = match expiry {
        Some(expiry) => month(fields, "card.stored_credential.expiry", Some(expiry)).map(Some),
        None => Some(None),
    };
    const INITIATOR: &str = "card.stored_credential.initiator";
    const REASON: &str = "card.stored_credential.reason";
    let initiator = fields.known::<pb::CredentialInitiator>(INITIATOR, initiator);
    let initiator = match initiator {
        None => None,
        Some(pb::CredentialInitiator::Unspecified) => {
            fields.missing(INITIATOR);
            None
        }
        Some(pb::CredentialInitiator::Cardholder) => Some(CredentialInitiator::Cardholder),
        Some(pb::CredentialInitiator::Merchant) => Some(CredentialInitiator::Merchant),
    };
    let reason = match fields.known::<pb::CredentialReason>(REASON, reason) {
        None => None,
        Some(pb::CredentialReason::Unspecified) => {
            fields.missing(REASON);
            None
        }
        Some(pb::CredentialReason::Recurring) => Some(CredentialReason::Recurring),
        Some(pb::CredentialReason::Installment) => Some(CredentialReason::Installment),
        Some(pb::CredentialReason::Unscheduled) => Some(CredentialReason::Unscheduled),
        Some(pb::CredentialReason::CardOnFile) => Some(CredentialReason::CardOnFile),
    };
    const ORIGINAL: &str = "card.stored_credential.original_network_transaction_id";
    let original = fields.text(ORIGINAL, &original_network_transaction_id, 64);
    let (pan, expiry, initiator, reason, original) = (pan?, expiry?, initiator?, reason?, original?);
    let entry_modes: &[EntryMode] = match (initiator, reason) {
        (CredentialInitiator::Merchant, CredentialReason::CardOnFile) => {
            fields.wrong(REASON, Reason::FieldConflict, "is chosen by the cardholder, and the merchant initiated");
            return None;
        }
        (CredentialInitiator::Merchant, _) => &[EntryMode::CredentialOnFile],
        (CredentialInitiator::Cardholder, _) => {
            &[EntryMode::CredentialOnFile, EntryMode::Ecommerce, EntryMode::MailOrTelephone]
        }
    };
    Some(Kind {
        remote: true,
        // Never, whoever started it: R22 excepts stored credentials as such.
        cardholder_initiated: false,
        stored: Some(StoredCredential { initiator, reason }),
        original_network_transaction_id: original,
        ..Kind::of(Card::of_number(pan, expiry, 0), entry_modes)
    })
}

/// A result of 3-D Secure, as far as networks are told it.
struct Secured {
    /// `None` where it was wrong.
    electronic_commerce_indicator: Option<AnswerText>,
    authentication_value: Sensitive,
    /// `None` where a part of it was wrong.
    result: Option<ThreeDSecure>,
}

fn read_three_d_secure(fields: &mut Fields, result: pb::ThreeDSecure) -> Secured {
    let pb::ThreeDSecure {
        electronic_commerce_indicator,
        authentication_value,
        directory_server_transaction_id,
        version,
        transaction_status,
    } = result;
    let indicator = fields.digits("three_d_secure.electronic_commerce_indicator", &electronic_commerce_indicator, 2);
    const STATUS: &str = "three_d_secure.transaction_status";
    let status = AuthenticationStatus::parse(&transaction_status);
    match (transaction_status.as_str(), status) {
        ("", _) => fields.missing(STATUS),
        (_, None) => fields.wrong(STATUS, Reason::FieldMalformed, "is not one of Y, N, U, A, R, C, D, I"),
        (_, Some(_)) => {}
    }
    let value = sensitive(authentication_value);
    let is_proof_due = matches!(status, Some(AuthenticationStatus::Authenticated | AuthenticationStatus::Attempted));
    match value.expose().len() {
        0 if is_proof_due => fields.missing(AUTHENTICATION_VALUE),
        0 | 20..=32 => {}
        _ => fields.wrong(AUTHENTICATION_VALUE, Reason::CryptogramInvalid, "is not 20 to 32 bytes"),
    }
    const DIRECTORY: &str = "three_d_secure.directory_server_transaction_id";
    match directory_server_transaction_id.as_str() {
        "" => fields.missing(DIRECTORY),
        id if is_uuid(id) => {}
        _ => fields.wrong(DIRECTORY, Reason::FieldMalformed, "is not a UUID"),
    }
    const VERSION: &str = "three_d_secure.version";
    match version.as_str() {
        "" => fields.missing(VERSION),
        version if is_version(version) => {}
        _ => fields.wrong(VERSION, Reason::FieldMalformed, "is not a version such as 2.2.0"),
    }
    let result = status.map(|status| ThreeDSecure {
        version: AnswerText::of(&version, VERSION_LENGTH_MAX),
        directory_server_transaction_id: AnswerText::of(&directory_server_transaction_id, UUID_LENGTH),
        status,
    });
    Secured { electronic_commerce_indicator: indicator, authentication_value: value, result }
}

fn entry_mode_of(given: pb::EntryMode) -> Option<EntryMode> {
    Some(match given {
        pb::EntryMode::Unspecified => return None,
        pb::EntryMode::Manual => EntryMode::Manual,
        pb::EntryMode::MagneticStripe => EntryMode::MagneticStripe,
        pb::EntryMode::Chip => EntryMode::Chip,
        pb::EntryMode::ContactlessChip => EntryMode::ContactlessChip,
        pb::EntryMode::ContactlessStripe => EntryMode::ContactlessStripe,
        pb::EntryMode::Fallback => EntryMode::Fallback,
        pb::EntryMode::Ecommerce => EntryMode::Ecommerce,
        pb::EntryMode::CredentialOnFile => EntryMode::CredentialOnFile,
        pb::EntryMode::MailOrTelephone => EntryMode::MailOrTelephone,
    })
}

fn number(fields: &mut Fields, field: &'static str, text: String) -> Option<Pan> {
    let text = Zeroizing::new(text);
    fields.card(field, Pan::parse(&text))
}

fn month(fields: &mut Fields, field: &'static str, expiry: Option<pb::CardExpiry>) -> Option<Expiry> {
    let Some(pb::CardExpiry { month, year }) = expiry else {
        fields.missing(field);
        return None;
    };
    fields.card(field, Expiry::parse(year, month))
}

/// A track 2 with what stands in it.
struct Track {
    pan: Pan,
    expiry: Expiry,
    track2: Sensitive,
}

/// `Some(None)` where there is none.
fn track(fields: &mut Fields, field: &'static str, text: String) -> Option<Option<Track>> {
    let mut text = Zeroizing::new(text);
    if text.is_empty() {
        return Some(None);
    }
    let (pan, expiry) = fields.card(field, parse_track2(&text))?;
    let track2 = Sensitive::new(std::mem::take(&mut *text).into_bytes());
    Some(Some(Track { pan, expiry, track2 }))
}

fn pin(fields: &mut Fields, field: &'static str, bytes: Bytes) -> Option<Sensitive> {
    let block = sensitive(bytes);
    let is_block = matches!(block.expose().len(), 0 | 8 | 16);
    fields.card(field, if is_block { Ok(block) } else { Err(CardFault::PinBlock) })
}

/// Takes bytes over. The buffer is wiped where this message alone held it; what prost still shares is out of reach.
fn sensitive(bytes: Bytes) -> Sensitive {
    match bytes.try_into_mut() {
        Ok(mut unshared) => {
            let taken = Sensitive::new(unshared.to_vec());
            unshared.as_mut().zeroize();
            taken
        }
        Err(shared) => Sensitive::new(shared.to_vec()),
    }
}

fn is_uuid(text: &str) -> bool {
    text.len() == UUID_LENGTH
        && text.bytes().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn is_version(text: &str) -> bool {
    let mut parts = text.split('.');
    let numbers = parts
        .by_ref()
        .take(3)
        .filter(|part| (1..=2).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit()));
    numbers.count() == 3 && parts.next().is_none()
}

const ENTRY_MODE: &str = "entry_mode";
/// Of a UUID with its hyphens.
const UUID_LENGTH: usize = 36;
/// Three numbers of two digits with their dots.
const VERSION_LENGTH_MAX: usize = 8;
const AUTHENTICATION_VALUE: &str = "three_d_secure.authentication_value";
