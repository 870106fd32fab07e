//! Between the contract and the domain: requests are parsed here and never checked again; what was decided is put into
//! the contract's words here and nowhere else.
//!
//! A request gives a domain value or a [`BadRequest`], which names fields and never quotes them. It is not judged here
//! what needs more than the request and the gateway's own record: routes and check digits (R22), expiry against log time
//! (R22), the age of a key (R9, a known key is answered first), and whether gateway or merchant are enabled (R24).

mod answer;
mod card;
mod fields;
#[cfg(test)]
mod tests;

use prost::Message as _;
use switch_domain::{
    authorization::{Authorization, FollowUp},
    card::Card,
    directory::Gateway,
    entry::VoidTarget,
    id::{GatewayId, IdFault, MerchantId, Position, RequestId, TerminalId, TransactionId},
    money::Amount,
    outcome::AnswerText,
    time::LogTime,
    transaction::{CaptureMode, Merchant, Transaction},
};
use switch_proto::gateway::v1 as pb;

pub use self::{
    answer::{declined_by_switch, event, operation_result, transaction},
    fields::{BadRequest, Reason, Violation},
};
use self::{
    card::{Presented, presented},
    fields::Fields,
};
use crate::flow::Seen;

/// A payment. The card is returned apart: it goes where it is sent and sealed, and nowhere else.
///
/// # Errors
/// [`BadRequest`].
pub fn authorize(gateway: &Gateway, request: pb::AuthorizeRequest) -> Result<(Authorization, Card), BadRequest> {
    let pb::AuthorizeRequest {
        request_id,
        amount,
        card,
        merchant,
        capture_mode,
        entry_mode,
        three_d_secure,
        address,
        merchant_reference,
        partial_approval_supported,
        first_sent_unix_ms,
    } = request;
    let mut fields = Fields::default();
    let presented = presented(&mut fields, card, entry_mode, three_d_secure);
    let key = fields.id("request_id", RequestId::parse(&request_id));
    let money = fields.money(amount);
    let seller = read_merchant(&mut fields, merchant.as_ref());
    let capture_mode = read_capture_mode(&mut fields, capture_mode);
    let billing = read_address(&mut fields, address.as_ref());
    let reference = fields.text("merchant_reference", &merchant_reference, 64);
    let first_sent = read_first_sent(&mut fields, first_sent_unix_ms);
    if let Some(presented) = &presented {
        let texts = [("request_id", request_id.as_str()), ("merchant_reference", merchant_reference.as_str())];
        fields.without_number(&presented.card.pan, &texts);
        free_of_number(&mut fields, presented, merchant.as_ref(), address.as_ref());
    }
    let parsed = (presented, key, money, seller, capture_mode, billing, reference, first_sent);
    let (
        Some(presented),
        Some(request_id),
        Some((amount, currency)),
        Some(seller),
        Some(capture_mode),
        Some(billing),
        Some(merchant_reference),
        Some(first_sent),
    ) = parsed
    else {
        return Err(fields.refused());
    };
    fields.finish()?;
    let authorization = Authorization {
        gateway: gateway.id.clone(),
        request_id,
        amount,
        currency,
        verification: false,
        capture_mode,
        entry_mode: presented.entry_mode,
        cardholder_initiated: presented.cardholder_initiated,
        credentials: presented.credentials,
        merchant: assigned(gateway, seller)?,
        merchant_reference,
        partial_supported: partial_approval_supported,
        first_sent,
        electronic_commerce_indicator: presented.electronic_commerce_indicator,
        street: billing.street,
        postal_code: billing.postal_code,
        original_network_transaction_id: presented.original_network_transaction_id,
    };
    Ok((authorization, presented.card))
}

/// A verification of a card: a payment of nothing.
///
/// # Errors
/// [`BadRequest`].
pub fn verify(gateway: &Gateway, request: pb::VerifyCardRequest) -> Result<(Authorization, Card), BadRequest> {
    let pb::VerifyCardRequest { request_id, currency_code, card, merchant, entry_mode, address } = request;
    let mut fields = Fields::default();
    let presented = presented(&mut fields, card, entry_mode, None);
    let key = fields.id("request_id", RequestId::parse(&request_id));
    let currency = fields.currency("currency_code", &currency_code);
    let seller = read_merchant(&mut fields, merchant.as_ref());
    let billing = read_address(&mut fields, address.as_ref());
    if let Some(presented) = &presented {
        fields.without_number(&presented.card.pan, &[("request_id", request_id.as_str())]);
        free_of_number(&mut fields, presented, merchant.as_ref(), address.as_ref());
    }
    let parsed = (presented, key, currency, seller, billing);
    let (Some(presented), Some(request_id), Some(currency), Some(seller), Some(billing)) = parsed else {
        return Err(fields.refused());
    };
    fields.finish()?;
    let authorization = Authorization {
        gateway: gateway.id.clone(),
        request_id,
        amount: Amount::ZERO,
        currency,
        verification: true,
        capture_mode: CaptureMode::Manual,
        entry_mode: presented.entry_mode,
        cardholder_initiated: presented.cardholder_initiated,
        credentials: presented.credentials,
        merchant: assigned(gateway, seller)?,
        merchant_reference: AnswerText::default(),
        partial_supported: false,
        first_sent: None,
        electronic_commerce_indicator: presented.electronic_commerce_indicator,
        street: billing.street,
        postal_code: billing.postal_code,
        original_network_transaction_id: presented.original_network_transaction_id,
    };
    Ok((authorization, presented.card))
}

/// An increment.
///
/// # Errors
/// [`BadRequest`].
pub fn increment(gateway: &GatewayId, request: pb::IncrementAuthorizationRequest) -> Result<FollowUp, BadRequest> {
    let pb::IncrementAuthorizationRequest { request_id, transaction_id, amount } = request;
    follow_up(gateway, &request_id, &transaction_id, amount)
}

/// A refund.
///
/// # Errors
/// [`BadRequest`].
pub fn refund(gateway: &GatewayId, request: pb::RefundRequest) -> Result<FollowUp, BadRequest> {
    let pb::RefundRequest { request_id, transaction_id, amount } = request;
    follow_up(gateway, &request_id, &transaction_id, amount)
}

/// A capture that a gateway asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// How much of what.
    pub asked: FollowUp,
    /// True where no further capture follows.
    pub is_final: bool,
}

/// A capture.
///
/// # Errors
/// [`BadRequest`].
pub fn capture(gateway: &GatewayId, request: pb::CaptureRequest) -> Result<Capture, BadRequest> {
    let pb::CaptureRequest { request_id, transaction_id, amount, r#final } = request;
    Ok(Capture { asked: follow_up(gateway, &request_id, &transaction_id, amount)?, is_final: r#final })
}

/// A void that a gateway asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Void {
    /// Tenant.
    pub gateway: GatewayId,
    /// Its key.
    pub request_id: RequestId,
    /// What to cancel.
    pub target: VoidTarget,
}

/// A void.
///
/// # Errors
/// [`BadRequest`].
pub fn void(gateway: &GatewayId, request: pb::VoidRequest) -> Result<Void, BadRequest> {
    use pb::void_request::Original;
    let pb::VoidRequest { request_id, original } = request;
    let mut fields = Fields::default();
    let key = fields.id("request_id", RequestId::parse(&request_id));
    let target = match original {
        Some(Original::TransactionId(id)) => fields.id("transaction_id", id.parse()).map(VoidTarget::Transaction),
        Some(Original::OriginalRequestId(id)) => {
            fields.id("original_request_id", RequestId::parse(&id)).map(VoidTarget::Request)
        }
        None => {
            fields.missing("original");
            None
        }
    };
    let (Some(request_id), Some(target)) = (key, target) else { return Err(fields.refused()) };
    Ok(Void { gateway: gateway.clone(), request_id, target })
}

/// What a read names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// A transaction.
    Transaction(TransactionId),
    /// The key of an authorization or verification.
    Request(RequestId),
    /// The key of a follow-up, with its original (R5).
    FollowUp(TransactionId, RequestId),
}

/// A read of one transaction.
///
/// # Errors
/// [`BadRequest`].
pub fn get(request: pb::GetTransactionRequest) -> Result<Named, BadRequest> {
    use pb::get_transaction_request::By;
    let mut fields = Fields::default();
    let named = match request.by {
        Some(By::TransactionId(id)) => fields.id("transaction_id", id.parse()).map(Named::Transaction),
        Some(By::RequestId(id)) => fields.id("request_id", RequestId::parse(&id)).map(Named::Request),
        Some(By::FollowUp(pb::FollowUp { transaction_id, request_id })) => {
            let original = fields.id("follow_up.transaction_id", transaction_id.parse());
            let key = fields.id("follow_up.request_id", RequestId::parse(&request_id));
            original.zip(key).map(|(original, key)| Named::FollowUp(original, key))
        }
        None => {
            fields.missing("by");
            None
        }
    };
    named.ok_or_else(|| fields.refused())
}

/// Which page of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// At most this many, 1 to 1000.
    pub size: usize,
    /// Only transactions older than this one.
    pub before: Option<TransactionId>,
}

/// A page of a list.
///
/// # Errors
/// [`BadRequest`].
pub fn list(request: pb::ListTransactionsRequest) -> Result<Page, BadRequest> {
    let pb::ListTransactionsRequest { page_size, page_token } = request;
    let mut fields = Fields::default();
    let size = match usize::try_from(page_size) {
        Ok(0) => Some(PAGE_SIZE_DEFAULT),
        // A longer page is cut, not refused (AIP-158).
        Ok(size) => Some(size.min(PAGE_SIZE_MAX)),
        Err(_) => {
            fields.wrong("page_size", Reason::FieldMalformed, "is negative");
            None
        }
    };
    let before = match page_token.as_str() {
        "" => Some(None),
        token => {
            let id = token.strip_prefix(PAGE_TOKEN).and_then(|id| id.parse().ok());
            fields.id("page_token", id.ok_or(IdFault::Form)).map(Some)
        }
    };
    let (Some(size), Some(before)) = (size, before) else { return Err(fields.refused()) };
    Ok(Page { size, before })
}

/// The answer to a list while it is filled: as many transactions as were asked for, and as a gateway's client takes.
pub struct Listed {
    size: usize,
    bytes: usize,
    last: Option<TransactionId>,
    is_followed: bool,
    transactions: Vec<pb::Transaction>,
}

impl Listed {
    /// Nothing yet, and at most `size`.
    #[must_use]
    pub fn new(size: usize) -> Self {
        Self { size, bytes: 0, last: None, is_followed: false, transactions: Vec::new() }
    }

    /// Takes the next older one; false where the page is full, so that another page follows.
    pub fn take(&mut self, next: &Transaction) -> bool {
        if self.transactions.len() >= self.size || self.bytes >= PAGE_BYTES {
            self.is_followed = true;
            return false;
        }
        let told = transaction(next);
        self.bytes += told.encoded_len();
        self.transactions.push(told);
        self.last = Some(next.id);
        true
    }

    /// What is told.
    #[must_use]
    pub fn page(self) -> pb::ListTransactionsResponse {
        let next_page_token = self.last.filter(|_| self.is_followed).map_or_else(String::new, page_token);
        pb::ListTransactionsResponse { transactions: self.transactions, next_page_token }
    }
}

/// The token of the page that follows `last`.
fn page_token(last: TransactionId) -> String {
    format!("{PAGE_TOKEN}{last}")
}

/// Where a watch begins: after this event, or now.
///
/// # Errors
/// [`BadRequest`].
pub fn watch(request: &pb::WatchTransactionsRequest) -> Result<Option<Seen>, BadRequest> {
    if request.resume_token.is_empty() {
        return Ok(None);
    }
    let mut fields = Fields::default();
    let seen = fields.id("resume_token", read_resume_token(&request.resume_token).ok_or(IdFault::Form));
    seen.map(Some).ok_or_else(|| fields.refused())
}

/// The token that resumes after an event. Opaque to gateways; the key of the event's row and its time to us.
#[must_use]
pub fn resume_token(seen: Seen) -> String {
    format!("{RESUME_TOKEN}{:016x}{:08x}{:016x}", seen.position.index, seen.position.place, seen.time.0)
}

fn read_resume_token(token: &str) -> Option<Seen> {
    let digits = token.strip_prefix(RESUME_TOKEN)?;
    if digits.len() != 40 || !digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let index = u64::from_str_radix(&digits[..16], 16).ok()?;
    let place = u32::from_str_radix(&digits[16..24], 16).ok()?;
    let time = LogTime(u64::from_str_radix(&digits[24..], 16).ok()?);
    Some(Seen { position: Position { index, place }, time })
}

fn follow_up(
    gateway: &GatewayId,
    request_id: &str,
    transaction_id: &str,
    amount: Option<pb::Money>,
) -> Result<FollowUp, BadRequest> {
    let mut fields = Fields::default();
    let key = fields.id("request_id", RequestId::parse(request_id));
    let transaction = fields.id("transaction_id", transaction_id.parse());
    let money = fields.money(amount);
    let (Some(request_id), Some(transaction), Some((amount, currency))) = (key, transaction, money) else {
        return Err(fields.refused());
    };
    Ok(FollowUp { gateway: gateway.clone(), request_id, transaction, amount, currency })
}

fn read_merchant(fields: &mut Fields, merchant: Option<&pb::Merchant>) -> Option<Merchant> {
    let Some(merchant) = merchant else {
        fields.missing("merchant");
        return None;
    };
    let pb::Merchant { merchant_id, category_code, name, city, country_code, terminal_id } = merchant;
    let id = fields.id("merchant.merchant_id", MerchantId::parse(merchant_id));
    let category = fields.digits("merchant.category_code", category_code, 4);
    let name = fields.text("merchant.name", name, 25);
    let city = fields.text("merchant.city", city, 13);
    let country = read_country(fields, country_code);
    let terminal = fields.id("merchant.terminal_id", TerminalId::parse(terminal_id));
    Some(Merchant {
        id: id?,
        terminal: terminal?,
        category: category?,
        name: name?,
        city: city?,
        country: country?,
        acquirer: AnswerText::default(),
    })
}

fn read_country(fields: &mut Fields, code: &str) -> Option<AnswerText> {
    const COUNTRY: &str = "merchant.country_code";
    if code.is_empty() {
        fields.missing(COUNTRY);
        return None;
    }
    if code.len() != 2 || !code.bytes().all(|byte| byte.is_ascii_uppercase()) {
        fields.wrong(COUNTRY, Reason::FieldMalformed, "is not two capital letters");
        return None;
    }
    Some(AnswerText::of(code, 2))
}

/// R10: the merchant as the directory assigned it, with its acquirer. Another gateway's is told like one that is not there.
fn assigned(gateway: &Gateway, merchant: Merchant) -> Result<Merchant, BadRequest> {
    let grant = gateway.merchants.get(&merchant.id).ok_or(BadRequest::NotAssigned("merchant.merchant_id"))?;
    if !grant.terminals.is_empty() && !grant.terminals.contains(&merchant.terminal) {
        return Err(BadRequest::NotAssigned("merchant.terminal_id"));
    }
    Ok(Merchant { acquirer: grant.acquirer.clone(), ..merchant })
}

fn read_capture_mode(fields: &mut Fields, mode: i32) -> Option<CaptureMode> {
    Some(match fields.known::<pb::CaptureMode>("capture_mode", mode)? {
        pb::CaptureMode::Unspecified | pb::CaptureMode::Manual => CaptureMode::Manual,
        pb::CaptureMode::Automatic => CaptureMode::Automatic,
    })
}

/// A billing address; both empty where nothing is to be verified.
struct Billing {
    street: AnswerText,
    postal_code: AnswerText,
}

fn read_address(fields: &mut Fields, address: Option<&pb::AddressVerification>) -> Option<Billing> {
    let Some(pb::AddressVerification { street, postal_code }) = address else {
        return Some(Billing { street: AnswerText::default(), postal_code: AnswerText::default() });
    };
    let street = fields.text("address.street", street, 40);
    let postal_code = fields.text("address.postal_code", postal_code, 10);
    Some(Billing { street: street?, postal_code: postal_code? })
}

/// `Some(None)` where the gateway does not say.
fn read_first_sent(fields: &mut Fields, unix_ms: i64) -> Option<Option<LogTime>> {
    match u64::try_from(unix_ms) {
        Ok(0) => Some(None),
        Ok(unix_ms) => Some(Some(LogTime(unix_ms))),
        Err(_) => {
            fields.wrong("first_sent_unix_ms", Reason::FieldMalformed, "is before 1970");
            None
        }
    }
}

/// R7: none of the texts that are kept or shown may hold the number that is sealed.
fn free_of_number(
    fields: &mut Fields,
    presented: &Presented,
    merchant: Option<&pb::Merchant>,
    address: Option<&pb::AddressVerification>,
) {
    let pan = &presented.card.pan;
    if let Some(merchant) = merchant {
        let texts = [
            ("merchant.merchant_id", merchant.merchant_id.as_str()),
            ("merchant.name", merchant.name.as_str()),
            ("merchant.city", merchant.city.as_str()),
        ];
        fields.without_number(pan, &texts);
    }
    if let Some(address) = address {
        let texts =
            [("address.street", address.street.as_str()), ("address.postal_code", address.postal_code.as_str())];
        fields.without_number(pan, &texts);
    }
    const ORIGINAL: &str = "card.stored_credential.original_network_transaction_id";
    fields.without_number(pan, &[(ORIGINAL, presented.original_network_transaction_id.as_str())]);
    fields.without_number(pan, &[("card.network_token.wallet", presented.credentials.wallet.as_str())]);
    if let Some(result) = &presented.credentials.three_d_secure {
        const DIRECTORY: &str = "three_d_secure.directory_server_transaction_id";
        fields.without_number(pan, &[(DIRECTORY, result.directory_server_transaction_id.as_str())]);
    }
}

/// A page where the request names no size.
const PAGE_SIZE_DEFAULT: usize = 100;
/// The contract's bound.
const PAGE_SIZE_MAX: usize = 1000;
/// Bytes after which a page ends: with one transaction more, below the 4 MiB that gRPC clients take by default.
const PAGE_BYTES: usize = 1 << 20;
/// First character of a page token: what follows is the id of the last transaction of the page.
const PAGE_TOKEN: &str = "p";
/// First character of a resume token: what follows is a position and a time in hexadecimal.
const RESUME_TOKEN: &str = "e";
