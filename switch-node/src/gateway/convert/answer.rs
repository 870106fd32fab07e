//! What was decided, in the contract's words.

use switch_domain::{
    book::{Book, Settled},
    id::{Position, RequestId},
    money::{Amount, Currency},
    outcome::{AnswerText, Decision, DeclineAdvice, DeclineReason, Sent, Source, Told, ToldReason},
    table::EventRow,
    time::LogTime,
    transaction::{Attempt, AttemptState, LaneState, Merchant, Method, Operation, Status, Transaction},
};
use switch_proto::gateway::v1 as pb;

use super::resume_token;
use crate::{flow::Seen, gateway::status::GatewayError};

/// What a call that moves money returns.
///
/// # Errors
/// [`GatewayError::Unresolved`] where nobody knows what came of it: that is no decision (R3, R22).
pub fn operation_result(settled: &Settled) -> Result<pb::OperationResult, GatewayError> {
    match settled.told().decision {
        Decision::Unresolved => Err(GatewayError::Unresolved(settled.told().sent)),
        Decision::Approved
        | Decision::PartiallyApproved
        | Decision::Declined
        | Decision::TimedOut
        | Decision::Voided => Ok(result(settled)),
    }
}

/// A decline of the switch that is not stored: nothing left the cluster, and there is no transaction (R17).
#[must_use]
pub fn declined_by_switch(request_id: &RequestId, reason: DeclineReason, position: Position) -> pb::OperationResult {
    let mut told = Told::declined_by_switch(reason, position);
    told.decline = Some((reason, advice_of_switch(reason)));
    pb::OperationResult {
        request_id: request_id.to_string(),
        outcome: Some(outcome(&told, Method::Authorize, None)),
        reversal_state: pb::ReversalState::None.into(),
        journal_index: position.index,
        journal_position: position.place,
        ..pb::OperationResult::default()
    }
}

/// A transaction as the gateway may read it: everything that was asked, decided or not.
#[must_use]
pub fn transaction(transaction: &Transaction) -> pb::Transaction {
    let totals = transaction.totals();
    let operations = transaction.operations.iter().enumerate();
    pb::Transaction {
        transaction_id: transaction.id.to_string(),
        request_id: transaction.first().request_id.to_string(),
        revision: transaction.revision,
        status: status(transaction.status()).into(),
        currency_code: transaction.currency.code().to_owned(),
        totals: Some(pb::Totals {
            authorized_minor_units: totals.authorized.to_wire(),
            captured_minor_units: totals.captured.to_wire(),
            refunded_minor_units: totals.refunded.to_wire(),
            held_minor_units: totals.held.to_wire(),
        }),
        card_bin: transaction.card.bin.as_str().to_owned(),
        card_last4: transaction.card.last4.as_str().to_owned(),
        card_token: transaction.card.token.to_string(),
        merchant: Some(merchant(&transaction.merchant)),
        merchant_reference: transaction.merchant_reference.as_str().to_owned(),
        network_transaction_id: transaction.network_transaction_id.as_str().to_owned(),
        valid_until_unix_ms: unix_ms(transaction.valid_until),
        operations: operations.map(|(index, asked)| operation(transaction, index, asked)).collect(),
        created_unix_ms: unix_ms(transaction.created),
        changed_unix_ms: unix_ms(transaction.changed),
    }
}

/// A change of a transaction; `seen` is what a watch has seen with it.
#[must_use]
pub fn event(seen: Seen, event: &EventRow) -> pb::WatchTransactionsResponse {
    pb::WatchTransactionsResponse {
        resume_token: resume_token(seen),
        transaction_id: event.transaction.to_string(),
        revision: event.revision,
        status: status(event.status).into(),
        request_id: event.request_id.to_string(),
        method: method(event.method).into(),
        decision: event.decision.map_or(pb::Decision::Unspecified, decision).into(),
        reversal_state: reversal_state(event.reversal).into(),
        network_state: network_state(event.advice).into(),
        changed_unix_ms: unix_ms(event.time),
    }
}

fn operation(transaction: &Transaction, index: usize, asked: &Operation) -> pb::Operation {
    let settled = u16::try_from(index).ok().and_then(|index| Book::settled(transaction, index, false));
    let moves_money = match asked.method {
        Method::Authorize | Method::Increment | Method::Capture | Method::Refund => true,
        Method::Void | Method::Verify => false,
    };
    pb::Operation {
        method: method(asked.method).into(),
        amount: moves_money.then(|| money(asked.amount, transaction.currency)),
        result: Some(settled.map_or_else(|| open(transaction, asked), |settled| result(&settled))),
        accepted_unix_ms: unix_ms(asked.accepted),
        attempts: asked.attempts.iter().zip(1..).map(|(held, number)| attempt(number, held)).collect(),
    }
}

/// An operation without a decision: what is known of it so far.
fn open(transaction: &Transaction, asked: &Operation) -> pb::OperationResult {
    let last = asked.last_attempt();
    pb::OperationResult {
        transaction_id: transaction.id.to_string(),
        request_id: asked.request_id.to_string(),
        outcome: Some(pb::Outcome::default()),
        reversal_state: reversal_state(asked.reversal_state()).into(),
        network_state: network_state(asked.advice.as_ref().map(|advice| advice.lane.state)).into(),
        network: last.map(|attempt| attempt.network.to_string()).unwrap_or_default(),
        retrieval_reference_number: last.map(|attempt| attempt.identity.rrn.as_str().to_owned()).unwrap_or_default(),
        system_trace_audit_number: last.map_or(0, |attempt| attempt.identity.stan.number()),
        ..pb::OperationResult::default()
    }
}

fn result(settled: &Settled) -> pb::OperationResult {
    let told = settled.told();
    let last = settled.last_attempt();
    pb::OperationResult {
        transaction_id: settled.transaction().map(|id| id.to_string()).unwrap_or_default(),
        request_id: settled.request_id().to_string(),
        outcome: Some(outcome(told, settled.method(), settled.currency())),
        reversal_state: reversal_state(settled.reversal()).into(),
        network_state: network_state(settled.advice()).into(),
        network: last.map(|(network, _, _)| network.to_string()).unwrap_or_default(),
        retrieval_reference_number: last.map(|(_, _, rrn)| rrn.as_str().to_owned()).unwrap_or_default(),
        system_trace_audit_number: last.map_or(0, |(_, stan, _)| stan.number()),
        network_transaction_id: settled.network_transaction_id().as_str().to_owned(),
        replayed: settled.replayed(),
        journal_index: told.position.index,
        journal_position: told.position.place,
    }
}

fn outcome(told: &Told, asked: Method, currency: Option<Currency>) -> pb::Outcome {
    let grants = matches!(told.decision, Decision::Approved | Decision::PartiallyApproved) && asked != Method::Void;
    pb::Outcome {
        decision: decision(told.decision).into(),
        sent: sent(told.sent).into(),
        source: source(told.source).into(),
        approved_amount: currency.filter(|_| grants).map(|currency| money(told.approved, currency)),
        approval_code: told.approval_code.as_str().to_owned(),
        response_code: told.response_code.map(|code| code.as_str().to_owned()).unwrap_or_default(),
        decline: told.decline.map(|(reason, advice)| pb::Decline {
            reason: decline_reason(reason).into(),
            advice: decline_advice(advice).into(),
        }),
        verification: verification(&told.address_result, &told.verification_result),
        reason: match (told.decision, told.reason) {
            // Only reads get here: a call is told an error instead.
            (Decision::Unresolved, _) => "OUTCOME_UNKNOWN".to_owned(),
            (_, Some(reason)) => told_reason(reason).to_owned(),
            (_, None) => String::new(),
        },
        network_advice_code: told.advice_code.as_str().to_owned(),
    }
}

fn attempt(number: u32, attempt: &Attempt) -> pb::Attempt {
    let sent = match &attempt.state {
        AttemptState::Open => pb::Sent::Unspecified,
        AttemptState::Approved(_) | AttemptState::Declined | AttemptState::Invalid => pb::Sent::Sent,
        AttemptState::TimedOut if attempt.late_approval => pb::Sent::Sent,
        AttemptState::TimedOut => pb::Sent::Unknown,
        AttemptState::NotSent(_) => pb::Sent::NotSent,
    };
    pb::Attempt {
        number,
        network: attempt.network.to_string(),
        link: attempt.link.to_string(),
        system_trace_audit_number: attempt.identity.stan.number(),
        retrieval_reference_number: attempt.identity.rrn.as_str().to_owned(),
        sent: sent.into(),
        response_code: attempt.response_code.map(|code| code.as_str().to_owned()).unwrap_or_default(),
        reversal_state: reversal_state(attempt.reversal.as_ref().map(|reversal| reversal.lane.state)).into(),
        late_approval: attempt.late_approval,
    }
}

fn merchant(merchant: &Merchant) -> pb::Merchant {
    pb::Merchant {
        merchant_id: merchant.id.to_string(),
        category_code: merchant.category.as_str().to_owned(),
        name: merchant.name.as_str().to_owned(),
        city: merchant.city.as_str().to_owned(),
        country_code: merchant.country.as_str().to_owned(),
        terminal_id: merchant.terminal.to_string(),
    }
}

fn money(amount: Amount, currency: Currency) -> pb::Money {
    pb::Money { minor_units: amount.to_wire(), currency_code: currency.code().to_owned() }
}

fn unix_ms(time: LogTime) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

/// `Unresolved` is no decision: reads show it by the transaction's status and the outcome's reason.
fn decision(decision: Decision) -> pb::Decision {
    match decision {
        Decision::Approved => pb::Decision::Approved,
        Decision::PartiallyApproved => pb::Decision::PartiallyApproved,
        Decision::Declined => pb::Decision::Declined,
        Decision::TimedOut => pb::Decision::TimedOut,
        Decision::Voided => pb::Decision::Voided,
        Decision::Unresolved => pb::Decision::Unspecified,
    }
}

fn sent(sent: Sent) -> pb::Sent {
    match sent {
        Sent::Sent => pb::Sent::Sent,
        Sent::NotSent => pb::Sent::NotSent,
        Sent::Unknown => pb::Sent::Unknown,
    }
}

fn source(source: Source) -> pb::DecisionSource {
    match source {
        Source::Issuer => pb::DecisionSource::Issuer,
        Source::Network => pb::DecisionSource::Network,
        Source::Switch => pb::DecisionSource::Switch,
    }
}

fn method(method: Method) -> pb::Method {
    match method {
        Method::Authorize => pb::Method::Authorize,
        Method::Increment => pb::Method::Increment,
        Method::Capture => pb::Method::Capture,
        Method::Void => pb::Method::Void,
        Method::Refund => pb::Method::Refund,
        Method::Verify => pb::Method::Verify,
    }
}

fn status(status: Status) -> pb::TransactionStatus {
    match status {
        Status::Open => pb::TransactionStatus::Open,
        Status::Authorized => pb::TransactionStatus::Authorized,
        Status::PartiallyCaptured => pb::TransactionStatus::PartiallyCaptured,
        Status::Captured => pb::TransactionStatus::Captured,
        Status::Refunded => pb::TransactionStatus::Refunded,
        Status::Declined => pb::TransactionStatus::Declined,
        Status::TimedOut => pb::TransactionStatus::TimedOut,
        Status::Voided => pb::TransactionStatus::Voided,
        Status::Expired => pb::TransactionStatus::Expired,
        Status::Verified => pb::TransactionStatus::Verified,
        Status::Unresolved => pb::TransactionStatus::Unresolved,
    }
}

fn reversal_state(state: Option<LaneState>) -> pb::ReversalState {
    match state {
        None => pb::ReversalState::None,
        Some(LaneState::Pending) => pb::ReversalState::Pending,
        Some(LaneState::Acknowledged) => pb::ReversalState::Acknowledged,
        Some(LaneState::NotFound) => pb::ReversalState::NotFound,
        Some(LaneState::Parked { .. }) => pb::ReversalState::Parked,
        Some(LaneState::Resolved(_)) => pb::ReversalState::Resolved,
    }
}

fn network_state(state: Option<LaneState>) -> pb::NetworkState {
    match state {
        None => pb::NetworkState::Unspecified,
        Some(LaneState::Pending) => pb::NetworkState::Pending,
        Some(LaneState::Acknowledged) => pb::NetworkState::Acknowledged,
        Some(LaneState::Resolved(_)) => pb::NetworkState::Resolved,
        // The book parks an advice whose original the network does not know.
        Some(LaneState::Parked { .. } | LaneState::NotFound) => pb::NetworkState::Parked,
    }
}

fn told_reason(reason: ToldReason) -> &'static str {
    match reason {
        ToldReason::InvalidNetworkAnswer => "INVALID_NETWORK_ANSWER",
        ToldReason::NoAnswer => "NO_ANSWER",
        ToldReason::ConnectionLost => "CONNECTION_LOST",
        ToldReason::OwnerGone => "OWNER_GONE",
    }
}

/// What the merchant should do about a decline that is not stored.
fn advice_of_switch(reason: DeclineReason) -> DeclineAdvice {
    if matches!(reason, DeclineReason::ExpiredCard | DeclineReason::InvalidCardNumber) {
        DeclineAdvice::ConfirmCardData
    } else if reason == DeclineReason::Voided {
        DeclineAdvice::DoNotTryAgain
    } else {
        DeclineAdvice::TryAgainLater
    }
}

fn decline_reason(reason: DeclineReason) -> pb::DeclineReason {
    match reason {
        DeclineReason::DoNotHonor => pb::DeclineReason::DoNotHonor,
        DeclineReason::ReferToIssuer => pb::DeclineReason::ReferToIssuer,
        DeclineReason::InvalidMerchant => pb::DeclineReason::InvalidMerchant,
        DeclineReason::PickUpCard => pb::DeclineReason::PickUpCard,
        DeclineReason::InvalidTransaction => pb::DeclineReason::InvalidTransaction,
        DeclineReason::InvalidAmount => pb::DeclineReason::InvalidAmount,
        DeclineReason::InvalidCardNumber => pb::DeclineReason::InvalidCardNumber,
        DeclineReason::NoSuchIssuer => pb::DeclineReason::NoSuchIssuer,
        DeclineReason::LostCard => pb::DeclineReason::LostCard,
        DeclineReason::StolenCard => pb::DeclineReason::StolenCard,
        DeclineReason::InsufficientFunds => pb::DeclineReason::InsufficientFunds,
        DeclineReason::ExpiredCard => pb::DeclineReason::ExpiredCard,
        DeclineReason::IncorrectPin => pb::DeclineReason::IncorrectPin,
        DeclineReason::NotPermittedToCardholder => pb::DeclineReason::NotPermittedToCardholder,
        DeclineReason::NotPermittedToTerminal => pb::DeclineReason::NotPermittedToTerminal,
        DeclineReason::SuspectedFraud => pb::DeclineReason::SuspectedFraud,
        DeclineReason::AmountLimitExceeded => pb::DeclineReason::AmountLimitExceeded,
        DeclineReason::RestrictedCard => pb::DeclineReason::RestrictedCard,
        DeclineReason::CountLimitExceeded => pb::DeclineReason::CountLimitExceeded,
        DeclineReason::PinTriesExceeded => pb::DeclineReason::PinTriesExceeded,
        DeclineReason::CardVerificationFailed => pb::DeclineReason::CardVerificationFailed,
        DeclineReason::IssuerUnavailable => pb::DeclineReason::IssuerUnavailable,
        DeclineReason::NoRoute => pb::DeclineReason::NoRoute,
        DeclineReason::Duplicate => pb::DeclineReason::Duplicate,
        DeclineReason::SystemMalfunction => pb::DeclineReason::SystemMalfunction,
        DeclineReason::AuthenticationRequired => pb::DeclineReason::AuthenticationRequired,
        DeclineReason::StopPayment => pb::DeclineReason::StopPayment,
        DeclineReason::Voided => pb::DeclineReason::Voided,
        DeclineReason::SwitchLimit => pb::DeclineReason::SwitchLimit,
        DeclineReason::PartialNotSupported => pb::DeclineReason::PartialNotSupported,
        DeclineReason::NetworkInDoubt => pb::DeclineReason::NetworkInDoubt,
        DeclineReason::Disabled => pb::DeclineReason::Disabled,
        DeclineReason::Other => pb::DeclineReason::Other,
    }
}

fn decline_advice(advice: DeclineAdvice) -> pb::DeclineAdvice {
    match advice {
        DeclineAdvice::None => pb::DeclineAdvice::Unspecified,
        DeclineAdvice::DoNotTryAgain => pb::DeclineAdvice::DoNotTryAgain,
        DeclineAdvice::TryAgainLater => pb::DeclineAdvice::TryAgainLater,
        DeclineAdvice::ConfirmCardData => pb::DeclineAdvice::ConfirmCardData,
        DeclineAdvice::Authenticate => pb::DeclineAdvice::Authenticate,
    }
}

fn verification(address: &AnswerText, value: &AnswerText) -> Option<pb::Verification> {
    if address.is_empty() && value.is_empty() {
        return None;
    }
    let (street, postal_code) = address_results(address.as_str());
    Some(pb::Verification {
        street: street.into(),
        postal_code: postal_code.into(),
        card_verification_value: value_result(value.as_str()).into(),
        address_raw: address.as_str().to_owned(),
        card_verification_value_raw: value.as_str().to_owned(),
    })
}

/// Street and postal code out of the one-letter codes that Visa, Mastercard and their regions share. A code that is not
/// among them says nothing; the gateway has it raw.
fn address_results(code: &str) -> (pb::VerificationResult, pb::VerificationResult) {
    use pb::VerificationResult::{Match, Mismatch, NotVerified, Unavailable, Unspecified};
    match code {
        "Y" | "X" | "D" | "M" | "F" => (Match, Match),
        "A" => (Match, Mismatch),
        "B" => (Match, NotVerified),
        "Z" | "W" => (Mismatch, Match),
        "P" => (NotVerified, Match),
        "N" => (Mismatch, Mismatch),
        "C" | "E" | "G" | "I" | "S" => (NotVerified, NotVerified),
        "R" | "U" => (Unavailable, Unavailable),
        _ => (Unspecified, Unspecified),
    }
}

/// Card verification value out of the codes of field 44.10 and its like.
fn value_result(code: &str) -> pb::VerificationResult {
    match code {
        "M" => pb::VerificationResult::Match,
        "N" => pb::VerificationResult::Mismatch,
        "P" => pb::VerificationResult::NotVerified,
        "S" => pb::VerificationResult::NotProvided,
        "U" | "X" => pb::VerificationResult::Unavailable,
        _ => pb::VerificationResult::Unspecified,
    }
}
