//! Messages of a switch, checked once at the door of the books.

use ring::hmac;
use switch_proto::network::v1 as wire;

use super::{
    books::{AdviceNote, Code, Currency, Fact, Kind, Request, ReversalNote, digest_of},
    cards::CardMark,
    proto::Credentials,
};

/// Largest amount of a message, twelve digits.
pub(super) const AMOUNT_MAX: i64 = 999_999_999_999;

/// A message that no books can take.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    /// What it is answered with.
    pub code: Code,
    /// Which field has which value.
    pub detail: String,
}

impl Malformed {
    fn format(detail: String) -> Self {
        Self { code: Code::FORMAT_ERROR, detail }
    }
}

/// A request; `single_message` tells a financial request from an authorization.
pub(super) fn request<'a>(
    fields: &'a wire::RequestFields,
    single_message: bool,
    key: &hmac::Key,
    now_us: i64,
) -> Result<Request<'a>, Malformed> {
    let identity = identity(fields.identity.as_ref(), "identity")?;
    let kind = match (fields.purpose(), single_message) {
        (wire::Purpose::Purchase, false) => Kind::Hold,
        (wire::Purpose::Purchase, true) => Kind::Sale,
        (wire::Purpose::Increment, false) => Kind::Increment,
        (wire::Purpose::Refund, true) => Kind::Refund,
        (wire::Purpose::Verification, _) => Kind::Verification,
        (purpose, _) => {
            let detail = format!("{purpose:?} in a request with single_message = {single_message}");
            return Err(Malformed { code: Code::INVALID_TRANSACTION, detail });
        }
    };
    let amount = fields.amount_minor_units;
    let fits = if kind == Kind::Verification { amount == 0 } else { (1..=AMOUNT_MAX).contains(&amount) };
    if !fits {
        return Err(Malformed { code: Code::INVALID_AMOUNT, detail: format!("{kind:?} of {amount} minor units") });
    }
    let follows = matches!(kind, Kind::Increment | Kind::Refund);
    if follows == fields.original_attempt_id.is_empty() {
        return Err(Malformed::format(format!("{kind:?} with original {:?}", fields.original_attempt_id)));
    }
    let card = fields.card.as_ref().ok_or_else(|| Malformed::format("no card".into()))?;
    // Nobody can decide about a chip without what it says.
    let pays_by_chip = matches!(kind, Kind::Hold | Kind::Sale) && matches!(&*fields.entry_mode, "05" | "07");
    if pays_by_chip && card.icc_data.is_empty() {
        return Err(Malformed::format(format!("entry mode {} without chip data", fields.entry_mode)));
    }
    Ok(Request {
        identity,
        kind,
        single_message,
        amount,
        currency: currency(&fields.currency_code)?,
        card: CardMark::of(&card.primary_account_number, key),
        credentials: credentials(fields),
        merchant: &fields.merchant_id,
        original_id: &fields.original_attempt_id,
        now_us,
    })
}

/// How card and cardholder were vouched for.
fn credentials(fields: &wire::RequestFields) -> Option<Box<Credentials>> {
    let mut told = Credentials { wallet: fields.wallet.clone(), ..Credentials::default() };
    if let Some(result) = &fields.three_d_secure {
        told.three_d_secure_version.clone_from(&result.version);
        told.directory_server_transaction_id.clone_from(&result.directory_server_transaction_id);
        told.transaction_status.clone_from(&result.transaction_status);
    }
    if let Some(stored) = &fields.stored_credential {
        told.credential_initiator = stored.initiator().as_str_name().into();
        told.credential_reason = stored.reason().as_str_name().into();
    }
    (told != Credentials::default()).then(|| Box::new(told))
}

/// A reversal. The mark that tells a repeat is taken off, so that the digests of equal copies are equal.
pub(super) fn reversal(message: &mut wire::Reversal, now_us: i64) -> Result<ReversalNote<'_>, Malformed> {
    let repeat = std::mem::take(&mut message.repeat);
    let digest = digest_of(message);
    let amounts = [message.requested_minor_units, message.approved_minor_units, message.reversed_minor_units];
    if amounts.iter().any(|amount| !(0..=AMOUNT_MAX).contains(amount)) {
        return Err(Malformed::format(format!("reversal with amounts {amounts:?}")));
    }
    if message.reason() == wire::ReversalReason::Unspecified {
        return Err(Malformed::format(format!("reversal reason {}", message.reason)));
    }
    Ok(ReversalNote {
        fact: Fact {
            identity: identity(message.identity.as_ref(), "identity")?,
            original_id: original(&message.original_attempt_id)?,
            repeat,
            digest,
            currency: currency(&message.currency_code)?,
            keeps: kept(message.card.as_ref()),
            now_us,
        },
        original: message.original.as_ref(),
        requested: message.requested_minor_units,
        approved: message.approved_minor_units,
        reversed: message.reversed_minor_units,
        reason: message.reason(),
    })
}

/// An advice; as for reversals.
pub(super) fn advice(message: &mut wire::Advice, now_us: i64) -> Result<AdviceNote<'_>, Malformed> {
    let repeat = std::mem::take(&mut message.repeat);
    let digest = digest_of(message);
    if !(1..=AMOUNT_MAX).contains(&message.amount_minor_units) {
        return Err(Malformed::format(format!("advice of {} minor units", message.amount_minor_units)));
    }
    Ok(AdviceNote {
        fact: Fact {
            identity: identity(message.identity.as_ref(), "identity")?,
            original_id: original(&message.original_attempt_id)?,
            repeat,
            digest,
            currency: currency(&message.currency_code)?,
            keeps: kept(message.card.as_ref()),
            now_us,
        },
        amount: message.amount_minor_units,
        last: message.r#final,
    })
}

fn identity<'a>(
    identity: Option<&'a wire::MessageIdentity>,
    field: &str,
) -> Result<&'a wire::MessageIdentity, Malformed> {
    let identity = identity.ok_or_else(|| Malformed::format(format!("no {field}")))?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (reference, time) = (&identity.retrieval_reference_number, &identity.transmission_time);
    let sound = (1..=128).contains(&identity.attempt_id.len())
        && (1..=999_999).contains(&identity.system_trace_audit_number)
        && reference.len() == 12
        && reference.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && time.len() == 10
        && digits(time)
        && identity.acquirer_id.len() <= 11
        && digits(&identity.acquirer_id);
    if sound { Ok(identity) } else { Err(Malformed::format(format!("{field} {identity:?}"))) }
}

fn original(id: &str) -> Result<&str, Malformed> {
    if id.is_empty() { Err(Malformed::format("no original_attempt_id".into())) } else { Ok(id) }
}

fn currency(code: &str) -> Result<Currency, Malformed> {
    match <Currency>::try_from(code.as_bytes()) {
        Ok(currency) if currency.iter().all(u8::is_ascii_uppercase) => Ok(currency),
        _ => Err(Malformed::format(format!("currency {code:?}"))),
    }
}

/// True where chip data holds the card's number or anything of a track, or cannot be read to its end: R7's tags. Written
/// without a look at the switch's own filter.
fn tells_track(mut data: &[u8]) -> bool {
    const TAGS: [&[u8]; 6] = [&[0x56], &[0x57], &[0x5A], &[0x9F, 0x1F], &[0x9F, 0x20], &[0x9F, 0x6B]];
    while let Some(first) = data.first() {
        let goes_on = |byte: &u8| byte & 0x80 != 0;
        let tag_len = match first & 0x1F {
            0x1F => 2 + data[1..].iter().take_while(|byte| goes_on(byte)).count(),
            _ => 1,
        };
        let Some((tag, rest)) = data.split_at_checked(tag_len) else { return true };
        let (length, rest) = match rest {
            [0x81, length, rest @ ..] => (length, rest),
            [length, rest @ ..] if !goes_on(length) => (length, rest),
            _ => return true,
        };
        if TAGS.contains(&tag) || rest.len() < usize::from(*length) {
            return true;
        }
        data = &rest[usize::from(*length)..];
    }
    false
}

/// What a message carries that nobody may keep after the answer, by the name of its first field.
fn kept(card: Option<&wire::CardData>) -> Option<&'static str> {
    let card = card?;
    [
        ("card verification value", card.card_verification_value.is_empty()),
        ("track 2", card.track2.is_empty()),
        ("PIN block", card.pin_block.is_empty()),
        ("cryptogram", card.cryptogram.is_empty()),
        ("card or track in chip data", !tells_track(&card.icc_data)),
    ]
    .into_iter()
    .find(|(_, absent)| !absent)
    .map(|(name, _)| name)
}
