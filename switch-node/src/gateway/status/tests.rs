use switch_domain::{id::Position, money::Amount, outcome::DeclineReason};

use super::*;
use crate::gateway::convert::Reason;

fn gateway() -> GatewayId {
    GatewayId::parse("shop").expect("an id")
}

fn amount(minor_units: i64) -> Amount {
    Amount::parse(minor_units).expect("an amount")
}

/// A row of the table: the error, and what it must be told as.
struct Told {
    error: GatewayError,
    code: Code,
    reason: &'static str,
    retry: bool,
    sent: Option<&'static str>,
}

/// An error of a call of which nothing left the switch, as most are.
fn told(error: GatewayError, code: Code, reason: &'static str, retry: bool) -> Told {
    Told { error, code, reason, retry, sent: Some("not_sent") }
}

impl Told {
    fn sent(self, sent: &'static str) -> Self {
        Self { sent: Some(sent), ..self }
    }

    /// Of a call that moves no money.
    fn reading(self) -> Self {
        Self { sent: None, ..self }
    }
}

/// Every variant. A new one does not compile until it has a number here, and then fails until the table below has it.
fn number(error: &GatewayError) -> usize {
    match error {
        GatewayError::BadRequest(BadRequest::Fields(_)) => 0,
        GatewayError::BadRequest(BadRequest::NotAssigned(_)) => 1,
        GatewayError::SealedRequired => 2,
        GatewayError::OutcomeUnknown => 3,
        GatewayError::Unresolved(_) => 4,
        GatewayError::RequestInProgress => 5,
        GatewayError::DeadlineMissing => 6,
        GatewayError::DeadlineMalformed => 7,
        GatewayError::DeadlineTooShort { .. } => 8,
        GatewayError::DeadlineExceeded => 9,
        GatewayError::NotLeader => 10,
        GatewayError::Unavailable(Unavailable::Starting) => 11,
        GatewayError::Unavailable(Unavailable::Behind) => 12,
        GatewayError::Unavailable(Unavailable::DiskReserve) => 13,
        GatewayError::Unavailable(Unavailable::KeyMissing) => 14,
        GatewayError::Overloaded { .. } => 15,
        GatewayError::RateExceeded { .. } => 16,
        GatewayError::Draining => 17,
        GatewayError::UnknownPrincipal => 18,
        GatewayError::TooLarge { .. } => 19,
        GatewayError::MessageMalformed => 20,
        GatewayError::CursorExpired { .. } => 21,
        GatewayError::WatcherTooSlow => 22,
        GatewayError::OfLeader(_) => 23,
        GatewayError::Fault => 24,
        GatewayError::TooManyUnderWay { .. } => 25,
        GatewayError::SealingKeyUnknown => 26,
        GatewayError::SealedCardForged => 27,
        GatewayError::Unsupported => 28,
        GatewayError::Refused(refusal) => {
            29 + match refusal {
                Refusal::FingerprintVersion(_) => 0,
                Refusal::KeyReused => 1,
                Refusal::KeyTooOld => 2,
                Refusal::NotFound => 3,
                Refusal::InDoubt => 4,
                Refusal::TooManyOperations(_) => 5,
                Refusal::AlreadyVoided => 6,
                Refusal::UseRefund => 7,
                Refusal::NotAuthorized => 8,
                Refusal::NotReversible => 9,
                Refusal::Expired => 10,
                Refusal::FinallyCaptured => 11,
                Refusal::CurrencyMismatch => 12,
                Refusal::AmountZero => 13,
                Refusal::AmountExceeds { .. } => 14,
                Refusal::SumTooGreat => 15,
                Refusal::CardGone => 16,
                Refusal::Declined(..) => 17,
                Refusal::TraceNumbersExhausted => 18,
            }
        }
    }
}

fn table() -> Vec<Told> {
    use GatewayError as Error;
    let violation = Violation { field: "amount", reason: Reason::FieldMissing, description: "is missing".into() };
    let retry_after = Duration::from_millis(40);
    let by_leader = Error::Refused(Refusal::KeyReused).status();
    let refused = Error::Refused;
    vec![
        told(Error::BadRequest(BadRequest::Fields(vec![violation])), Code::InvalidArgument, "FIELD_MISSING", false),
        told(
            Error::BadRequest(BadRequest::NotAssigned("merchant.merchant_id")),
            Code::PermissionDenied,
            "MERCHANT_NOT_ASSIGNED",
            false,
        ),
        told(Error::SealedRequired, Code::FailedPrecondition, "SEALED_CARD_REQUIRED", false),
        told(Error::OutcomeUnknown, Code::Unknown, "OUTCOME_UNKNOWN", true).sent("unknown"),
        told(Error::Unresolved(Sent::Sent), Code::Unknown, "OUTCOME_UNKNOWN", false).sent("sent"),
        told(Error::RequestInProgress, Code::Aborted, "REQUEST_IN_PROGRESS", true).sent("unknown"),
        told(Error::DeadlineMissing, Code::InvalidArgument, "DEADLINE_MISSING", false),
        told(Error::DeadlineMalformed, Code::InvalidArgument, "DEADLINE_MALFORMED", false),
        told(
            Error::DeadlineTooShort { left_ms: 900, needed_ms: 3000 },
            Code::InvalidArgument,
            "DEADLINE_TOO_SHORT",
            false,
        ),
        told(Error::DeadlineExceeded, Code::DeadlineExceeded, "DEADLINE_EXCEEDED", false),
        told(Error::NotLeader, Code::Unavailable, "NO_LEADER", true),
        told(Error::Unavailable(Unavailable::Starting), Code::Unavailable, "STARTING", true),
        told(Error::Unavailable(Unavailable::Behind), Code::Unavailable, "BEHIND", true),
        told(Error::Unavailable(Unavailable::DiskReserve), Code::Unavailable, "DISK_RESERVE", true),
        told(Error::Unavailable(Unavailable::KeyMissing), Code::Unavailable, "KEY_MISSING", true).sent("unknown"),
        told(Error::Overloaded { retry_after, sent: Sent::NotSent }, Code::Unavailable, "OVERLOADED", true),
        told(
            Error::RateExceeded { gateway: gateway(), calls_per_second_max: 50, retry_after, sent: Sent::NotSent },
            Code::ResourceExhausted,
            "GATEWAY_RATE",
            true,
        ),
        told(Error::Draining, Code::Unavailable, "DRAINING", true),
        told(Error::UnknownPrincipal, Code::PermissionDenied, "UNKNOWN_PRINCIPAL", false),
        told(Error::TooLarge { bytes_max: 4096 }, Code::ResourceExhausted, "MESSAGE_TOO_LARGE", false),
        told(Error::MessageMalformed, Code::InvalidArgument, "MESSAGE_MALFORMED", false),
        told(Error::CursorExpired { list_from: LogTime(77_000) }, Code::OutOfRange, "RESUME_TOKEN_EXPIRED", false)
            .reading(),
        told(Error::WatcherTooSlow, Code::Aborted, "WATCHER_TOO_SLOW", true).reading(),
        told(Error::OfLeader(by_leader), Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED", false),
        told(Error::Fault, Code::Internal, "INTERNAL", false),
        told(
            Error::TooManyUnderWay { gateway: gateway(), payments_max: 500, retry_after },
            Code::ResourceExhausted,
            "GATEWAY_CONCURRENCY",
            true,
        ),
        told(Error::SealingKeyUnknown, Code::FailedPrecondition, "SEALING_KEY_UNKNOWN", false),
        told(Error::SealedCardForged, Code::InvalidArgument, "SEALED_CARD_INVALID", false),
        told(Error::Unsupported, Code::Unimplemented, "NOT_SUPPORTED", false),
        told(refused(Refusal::FingerprintVersion(3)), Code::Aborted, "FINGERPRINT_KEY_CHANGED", true).sent("unknown"),
        told(refused(Refusal::KeyReused), Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED", false),
        told(refused(Refusal::KeyTooOld), Code::FailedPrecondition, "KEY_TOO_OLD", false).sent("unknown"),
        told(refused(Refusal::NotFound), Code::NotFound, "TRANSACTION_NOT_FOUND", false),
        told(refused(Refusal::InDoubt), Code::Aborted, "ORIGINAL_IN_DOUBT", true),
        told(refused(Refusal::TooManyOperations(100)), Code::FailedPrecondition, "TOO_MANY_OPERATIONS", false),
        told(refused(Refusal::AlreadyVoided), Code::FailedPrecondition, "ALREADY_VOIDED", false),
        told(refused(Refusal::UseRefund), Code::FailedPrecondition, "USE_REFUND", false),
        told(refused(Refusal::NotAuthorized), Code::FailedPrecondition, "NOT_AUTHORIZED", false),
        told(refused(Refusal::NotReversible), Code::FailedPrecondition, "NOT_REVERSIBLE", false),
        told(refused(Refusal::Expired), Code::FailedPrecondition, "AUTHORIZATION_EXPIRED", false),
        told(refused(Refusal::FinallyCaptured), Code::FailedPrecondition, "FINALLY_CAPTURED", false),
        told(refused(Refusal::CurrencyMismatch), Code::FailedPrecondition, "CURRENCY_MISMATCH", false),
        told(refused(Refusal::AmountZero), Code::InvalidArgument, "AMOUNT_ZERO", false),
        told(
            refused(Refusal::AmountExceeds { asked: amount(700), left: amount(500) }),
            Code::FailedPrecondition,
            "AMOUNT_EXCEEDS",
            false,
        ),
        told(refused(Refusal::SumTooGreat), Code::FailedPrecondition, "SUM_TOO_GREAT", false),
        told(refused(Refusal::CardGone), Code::FailedPrecondition, "CARD_GONE", false),
        told(
            refused(Refusal::Declined(DeclineReason::SwitchLimit, Position::default())),
            Code::FailedPrecondition,
            "DECLINED_BY_SWITCH",
            false,
        ),
        told(refused(Refusal::TraceNumbersExhausted), Code::ResourceExhausted, "TRACE_NUMBERS_EXHAUSTED", true),
    ]
}

#[test]
fn every_error_has_its_code_its_reason_and_says_whether_it_was_sent_and_whether_to_retry() {
    let table = table();
    for (nth, Told { error, code, reason, retry, sent }) in table.iter().enumerate() {
        assert_eq!(number(error), nth, "the table has every variant once: {error:?}");
        let status = error.status();
        let details = status.get_error_details();
        let info = details.error_info().unwrap_or_else(|| panic!("{error:?} has no ErrorInfo"));
        assert_eq!((status.code(), info.reason.as_str(), info.domain.as_str()), (*code, *reason, DOMAIN), "{error:?}");
        assert_eq!((error.code(), details.retry_info().is_some()), (*code, *retry), "{error:?}");
        assert_eq!(info.metadata.get("sent").map(String::as_str), *sent, "{error:?}");
    }
    assert_eq!(table.len(), 48);
}

#[test]
fn what_the_message_says_in_numbers_the_metadata_says_too() {
    for Told { error, .. } in table() {
        let status = error.status();
        let details = status.get_error_details();
        let metadata = &details.error_info().expect("always there").metadata;
        for word in status.message().split(|c: char| !c.is_ascii_digit()).filter(|word| !word.is_empty()) {
            assert!(metadata.values().any(|value| value.contains(word)), "{word} of {error:?} is in no value");
        }
    }
}

#[test]
fn a_refusal_of_a_key_that_is_known_does_not_say_that_nothing_was_sent() {
    let (retry_after, sent) = (Duration::from_millis(40), Sent::Unknown);
    for error in [
        GatewayError::Overloaded { retry_after, sent },
        GatewayError::RateExceeded { gateway: gateway(), calls_per_second_max: 50, retry_after, sent },
    ] {
        let status = error.status();
        let details = status.get_error_details();
        let metadata = &details.error_info().expect("always there").metadata;
        assert_eq!(metadata.get("sent").map(String::as_str), Some("unknown"), "{error:?}");
    }
}

#[test]
fn r3_clients_repeat_by_themselves_only_what_was_not_proposed() {
    for error in
        [GatewayError::OutcomeUnknown, GatewayError::Unresolved(Sent::Unknown), GatewayError::RequestInProgress]
    {
        assert_ne!(error.status().code(), Code::Unavailable);
    }
}

#[test]
fn every_wrong_field_has_a_reason_of_its_own() {
    let violation =
        |field, reason, description: &'static str| Violation { field, reason, description: description.into() };
    let error = GatewayError::from(BadRequest::Fields(vec![
        violation("request_id", Reason::FieldTooLong, "is longer than 64 characters"),
        violation("amount.currency_code", Reason::UnknownCurrency, "is not an ISO 4217 code in use"),
    ]));
    let status = Status::from(error);
    assert_eq!(status.message(), "request_id is longer than 64 characters");
    let details = status.get_error_details();
    let info = details.error_info().expect("always there");
    assert_eq!(info.metadata.get("field").map(String::as_str), Some("request_id"));
    let listed: Vec<(&str, &str)> = details
        .bad_request()
        .expect("fields")
        .field_violations
        .iter()
        .map(|wrong| (wrong.field.as_str(), wrong.reason.as_str()))
        .collect();
    assert_eq!(listed, [("request_id", "FIELD_TOO_LONG"), ("amount.currency_code", "UNKNOWN_CURRENCY")]);
}

#[test]
fn a_decline_of_the_switch_is_an_answer() {
    let key = RequestId::parse("order-1").expect("a key");
    let position = Position { index: 3, place: 1 };
    let declined = told_of_refusal(&key, Refusal::Declined(DeclineReason::NoRoute, position)).expect("an answer");
    assert_eq!((declined.request_id.as_str(), declined.journal_index), ("order-1", 3));
    let refused = told_of_refusal(&key, Refusal::KeyReused);
    assert!(matches!(refused, Err(GatewayError::Refused(Refusal::KeyReused))));
}

#[test]
fn r19_an_item_of_a_stream_fails_by_a_status_message() {
    for error in [GatewayError::Draining, GatewayError::OfLeader(Status::new(Code::Unavailable, "without details"))] {
        let status = error.status();
        let read = tonic_types::Status::decode(error.to_bytes()).expect("a google.rpc.Status");
        assert_eq!((read.code, read.message.as_str()), (status.code() as i32, status.message()));
    }
}
