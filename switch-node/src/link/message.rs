//! Between the domain's words and the network's: pure functions. Digits of cards stand in [`Outgoing`] only, which cannot be
//! printed and is wiped when dropped; what tonic and h2 copied of it cannot be reached.

use bytes::Bytes;
use switch_domain::{
    authorization::{self, Asked},
    book::Dispatch,
    card::{Card, Sensitive},
    id::AttemptRef,
    money::{Amount, Currency},
    outcome::{AnswerText, NetworkAnswer, ResponseCode},
    transaction::{CaptureMode, Method, ReversalReason, WireIdentity},
};
use switch_proto::network::v1::{
    Advice, AuthorizationRequest, CardData, CredentialInitiator, CredentialReason, ExchangeRequest, FinancialRequest,
    ManagementKind, MessageIdentity, NetworkManagement, Purpose, RequestFields, RequestResponse, Reversal,
    ReversalReason as WireReason, StoredCredential, ThreeDSecure, exchange_request::Body,
};
use zeroize::{Zeroize, Zeroizing};

use super::{LaneKind, LaneMessage};

/// A message of the switch on its way out. Not `Debug`, not `Clone`.
pub struct Outgoing(Box<ExchangeRequest>);

impl Outgoing {
    pub(super) fn new(body: Body) -> Self {
        Self(Box::new(ExchangeRequest { correlation_id: 0, body: Some(body) }))
    }

    /// Gives it its number on the stream.
    pub(super) fn numbered(mut self, correlation_id: u64) -> Self {
        self.0.correlation_id = correlation_id;
        self
    }

    /// The message, for encoding it.
    #[must_use]
    pub fn message(&self) -> &ExchangeRequest {
        &self.0
    }

    /// Hands the message over to a simulated network, which takes over the duty to wipe it.
    #[must_use]
    pub fn into_message(mut self) -> ExchangeRequest {
        std::mem::take(&mut *self.0)
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        let card = match &mut self.0.body {
            Some(Body::Authorization(asked)) => asked.request.as_mut().and_then(|request| request.card.as_mut()),
            Some(Body::Financial(asked)) => asked.request.as_mut().and_then(|request| request.card.as_mut()),
            Some(Body::Advice(advice)) => advice.card.as_mut(),
            Some(Body::Reversal(reversal)) => reversal.card.as_mut(),
            Some(Body::Management(_)) | None => None,
        };
        if let Some(card) = card {
            wipe(card);
        }
    }
}

fn wipe(card: &mut CardData) {
    card.primary_account_number.zeroize();
    card.expiry.zeroize();
    card.card_verification_value.zeroize();
    card.track2.zeroize();
    for bytes in [&mut card.icc_data, &mut card.pin_block, &mut card.cryptogram] {
        // Nobody else holds them before they are encoded, and encoding copies.
        if let Ok(mut unshared) = std::mem::take(bytes).try_into_mut() {
            unshared.as_mut().zeroize();
        }
    }
}

/// A text that the network's format cannot carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotEncodable;

/// A request as the network is asked it.
pub(super) fn request(dispatch: &Dispatch, asked: &Asked, card: &Card) -> Result<Outgoing, NotEncodable> {
    let purpose = match asked.method {
        Method::Authorize => Purpose::Purchase,
        Method::Increment => Purpose::Increment,
        Method::Refund => Purpose::Refund,
        Method::Verify => Purpose::Verification,
        Method::Capture | Method::Void => return Err(NotEncodable), // facts, not requests (R6)
    };
    // Before anything is copied: what is given up half made would not be wiped.
    let (verification_value, track2) = (text(&card.verification_value)?, text(&card.track2)?);
    let data = CardData {
        card_verification_value: verification_value.into(),
        track2: track2.into(),
        icc_data: Bytes::copy_from_slice(card.icc_data.expose()),
        pin_block: Bytes::copy_from_slice(card.pin_block.expose()),
        cryptogram: Bytes::copy_from_slice(card.cryptogram.expose()),
        ..stored_card(card)
    };
    let merchant = &asked.merchant;
    // An increment or a refund names what the book found; a stored credential what the gateway told.
    let original_network_transaction_id = if dispatch.original_network_transaction_id().is_empty() {
        &asked.original_network_transaction_id
    } else {
        dispatch.original_network_transaction_id()
    };
    let fields = RequestFields {
        identity: Some(identity(dispatch.attempt(), dispatch.identity(), &merchant.acquirer)),
        purpose: purpose.into(),
        amount_minor_units: asked.amount.to_wire(),
        currency_code: asked.currency.code().into(),
        card: Some(data),
        entry_mode: asked.entry_mode.code().into(),
        merchant_id: merchant.id.as_str().into(),
        category_code: merchant.category.as_str().into(),
        terminal_id: merchant.terminal.as_str().into(),
        merchant_name: printed(&[&merchant.name, &merchant.city, &merchant.country]),
        electronic_commerce_indicator: asked.electronic_commerce_indicator.as_str().into(),
        street: asked.street.as_str().into(),
        postal_code: asked.postal_code.as_str().into(),
        partial_approval_supported: asked.partial_supported,
        original_attempt_id: dispatch.original().map(ToString::to_string).unwrap_or_default(),
        original_network_transaction_id: original_network_transaction_id.as_str().into(),
        three_d_secure: asked.credentials.three_d_secure.as_ref().map(three_d_secure),
        wallet: asked.credentials.wallet.as_str().into(),
        stored_credential: asked.credentials.stored.map(stored_credential),
    };
    let posts = match (asked.method, asked.capture_mode) {
        (Method::Refund, _) | (Method::Authorize, CaptureMode::Automatic) => true,
        (Method::Authorize, CaptureMode::Manual) => false,
        (Method::Increment | Method::Verify | Method::Capture | Method::Void, _) => false,
    };
    let request = Some(fields);
    Ok(Outgoing::new(if posts {
        Body::Financial(FinancialRequest { request })
    } else {
        Body::Authorization(AuthorizationRequest { request })
    }))
}

/// A reversal or an advice. Copies are equal but for the mark of a repeat (R14).
pub(super) fn lane(message: &LaneMessage) -> Outgoing {
    let LaneMessage { attempt, identity: wire, repeat, kind, currency, merchant, terminal, acquirer, card } = message;
    let own = Some(identity(attempt, *wire, acquirer));
    let (currency_code, repeat) = (currency.code().into(), *repeat);
    let (merchant_id, terminal_id) = (merchant.as_str().into(), terminal.as_str().into());
    let mut data = stored_card(card);
    Outgoing::new(match kind {
        LaneKind::Reversal { original, requested, approved, reversed, reason } => {
            data.icc_data = Bytes::copy_from_slice(card.icc_data.expose());
            Body::Reversal(Reversal {
                identity: own,
                repeat,
                original_attempt_id: attempt.to_string(),
                original: Some(identity(attempt, *original, acquirer)),
                requested_minor_units: requested.to_wire(),
                approved_minor_units: approved.unwrap_or(Amount::ZERO).to_wire(),
                reversed_minor_units: reversed.to_wire(),
                currency_code,
                reason: wire_reason(*reason).into(),
                card: Some(data),
                merchant_id,
                terminal_id,
            })
        }
        LaneKind::Advice { original, amount, is_final } => Body::Advice(Advice {
            identity: own,
            repeat,
            original_attempt_id: original.to_string(),
            amount_minor_units: amount.to_wire(),
            currency_code,
            r#final: *is_final,
            card: Some(data),
            merchant_id,
            terminal_id,
        }),
    })
}

/// Link control that this side starts.
pub(super) fn management(kind: ManagementKind, institution: &AnswerText) -> Outgoing {
    let (response_code, institution_id) = (String::new(), institution.as_str().into());
    Outgoing::new(Body::Management(NetworkManagement { kind: kind.into(), response_code, institution_id }))
}

/// The answer to link control that the network started.
pub(super) fn management_answer(asked: &NetworkManagement, institution: &AnswerText) -> Outgoing {
    let institution_id = institution.as_str().into();
    Outgoing::new(Body::Management(NetworkManagement { kind: asked.kind, response_code: "00".into(), institution_id }))
}

/// An answer that cannot be read, or belongs to something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Garbled;

/// Whether an answer names the message it came for: the attempt, and both numbers (R14).
pub(super) fn names(told: Option<&MessageIdentity>, attempt: &AttemptRef, wire: WireIdentity) -> bool {
    told.is_some_and(|told| {
        told.system_trace_audit_number == wire.stan.number()
            && told.retrieval_reference_number == wire.rrn.as_str()
            && told.attempt_id == attempt.to_string()
    })
}

/// The attempt that an answer names, where it names one.
pub(super) fn attempt_of(told: Option<&MessageIdentity>) -> Option<AttemptRef> {
    told?.attempt_id.parse().ok()
}

/// What a network answered to a request. Nothing is judged but the form: what a code means is the book's affair (R18).
pub(super) fn answer(told: &RequestResponse) -> Result<NetworkAnswer, Garbled> {
    let approved = told.approved_minor_units.map(Amount::parse).transpose().map_err(|_| Garbled)?;
    let currency = match told.currency_code.as_str() {
        "" => None,
        code => Some(Currency::parse(code).map_err(|_| Garbled)?),
    };
    Ok(NetworkAnswer {
        response_code: ResponseCode::parse(&told.response_code).ok_or(Garbled)?,
        approval_code: AnswerText::of(&told.approval_code, 6),
        approved,
        currency,
        network_transaction_id: AnswerText::of(&told.network_transaction_id, 64),
        address_result: AnswerText::of(&told.address_result, 2),
        verification_result: AnswerText::of(&told.card_verification_result, 2),
        advice_code: AnswerText::of(&told.advice_code, 4),
        decided_by_network: told.decided_by_network,
    })
}

fn identity(attempt: &AttemptRef, wire: WireIdentity, acquirer: &AnswerText) -> MessageIdentity {
    MessageIdentity {
        attempt_id: attempt.to_string(),
        system_trace_audit_number: wire.stan.number(),
        retrieval_reference_number: wire.rrn.as_str().into(),
        transmission_time: wire.transmission.as_str().into(),
        acquirer_id: acquirer.as_str().into(),
    }
}

/// What may be kept of a card, in clear: no verification value, track, PIN block or cryptogram (R7).
fn stored_card(card: &Card) -> CardData {
    let expiry = card.expiry.map(|expiry| Zeroizing::new(expiry.yymm()));
    CardData {
        primary_account_number: card.pan.expose().into(),
        expiry: expiry.and_then(|digits| std::str::from_utf8(&*digits).map(Into::into).ok()).unwrap_or_default(),
        sequence_number: card.sequence_number.into(),
        ..CardData::default()
    }
}

/// Its proof travels with the card data.
fn three_d_secure(result: &authorization::ThreeDSecure) -> ThreeDSecure {
    ThreeDSecure {
        version: result.version.as_str().into(),
        directory_server_transaction_id: result.directory_server_transaction_id.as_str().into(),
        transaction_status: result.status.letter().into(),
    }
}

fn stored_credential(used: authorization::StoredCredential) -> StoredCredential {
    let initiator = match used.initiator {
        authorization::CredentialInitiator::Cardholder => CredentialInitiator::Cardholder,
        authorization::CredentialInitiator::Merchant => CredentialInitiator::Merchant,
    };
    let reason = match used.reason {
        authorization::CredentialReason::Recurring => CredentialReason::Recurring,
        authorization::CredentialReason::Installment => CredentialReason::Installment,
        authorization::CredentialReason::Unscheduled => CredentialReason::Unscheduled,
        authorization::CredentialReason::CardOnFile => CredentialReason::CardOnFile,
    };
    StoredCredential { initiator: initiator.into(), reason: reason.into() }
}

fn text(bytes: &Sensitive) -> Result<&str, NotEncodable> {
    std::str::from_utf8(bytes.expose()).map_err(|_| NotEncodable)
}

fn printed(parts: &[&AnswerText]) -> String {
    let parts: Vec<&str> = parts.iter().map(|part| part.as_str()).filter(|part| !part.is_empty()).collect();
    parts.join(" ")
}

fn wire_reason(reason: ReversalReason) -> WireReason {
    match reason {
        ReversalReason::Timeout => WireReason::Timeout,
        ReversalReason::Cancelled => WireReason::Cancelled,
        ReversalReason::InvalidResponse => WireReason::InvalidResponse,
        ReversalReason::Remainder => WireReason::Remainder,
        ReversalReason::UnsupportedPartial => WireReason::UnsupportedPartial,
    }
}
