//! The one table from everything that can go wrong towards a gateway to what it is told (AIP-193, R3, R16).
//!
//! A decline is not here: it is an answer, also where operators disabled the gateway, the merchant or what would be asked
//! (R24). Two promises hold for every row. UNAVAILABLE, the only code that clients repeat by themselves, means that nothing
//! was proposed. UNKNOWN with OUTCOME_UNKNOWN promises nothing: the gateway repeats its key, or voids by key.
//!
//! The metadata of every error of a call that moves money says in `sent` whether anything may have left the switch for a
//! network, so that a program need not know every reason. It speaks of this call: `not_sent` says nothing about an earlier
//! one with the same key. Where a refusal was made knowing of an earlier one, it is `unknown`.

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use switch_domain::{
    id::{GatewayId, RequestId},
    outcome::Sent,
    refusal::Refusal,
    time::LogTime,
};
use switch_proto::gateway::v1 as pb;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use super::convert::{BadRequest, Violation, declined_by_switch};
use crate::door::refusal::{DOMAIN, Refused, refused};

/// Why a gateway gets no answer.
#[derive(Clone, Debug)]
pub enum GatewayError {
    /// The request cannot be read, or names a merchant that is not the gateway's. The caller must act.
    BadRequest(BadRequest),
    /// Card data in the clear, of a gateway that must seal.
    SealedRequired,
    /// A sealed card under a key that there is not, or not any more.
    SealingKeyUnknown,
    /// A sealed card of another request, or damaged.
    SealedCardForged,
    /// The book did not accept it and stored nothing.
    Refused(Refusal),
    /// It may have been proposed and nothing terminal is known to be committed (R3).
    OutcomeUnknown,
    /// Decided that nobody knows: a verification without an answer, or a link that never reverses (R22). Final. Whether it
    /// left the switch may be known all the same.
    Unresolved(Sent),
    /// The key is in flight and the caller's time ended (R16).
    RequestInProgress,
    /// The call has no deadline (R3).
    DeadlineMissing,
    /// The deadline cannot be read.
    DeadlineMalformed,
    /// Less time than the network's timer and the switch need (R3).
    DeadlineTooShort {
        /// Time the caller gives.
        left_ms: u64,
        /// Least time it must give.
        needed_ms: u64,
    },
    /// The time ended before anything was proposed.
    DeadlineExceeded,
    /// Nobody leads that this node could reach.
    NotLeader,
    /// This node cannot serve now.
    Unavailable(Unavailable),
    /// Too much is in flight; shed before the journal.
    Overloaded {
        /// When to come back.
        retry_after: Duration,
        /// Whether anything may have left the switch under the call's key: unknown where the key is known.
        sent: Sent,
    },
    /// More calls than the gateway may make.
    RateExceeded {
        /// The gateway.
        gateway: GatewayId,
        /// Its rate.
        calls_per_second_max: u32,
        /// When the next call has room.
        retry_after: Duration,
        /// Whether anything may have left the switch under the call's key: unknown where the key is known.
        sent: Sent,
    },
    /// More payments of the gateway are under way than may be.
    TooManyUnderWay {
        /// The gateway.
        gateway: GatewayId,
        /// Its bound.
        payments_max: u32,
        /// When to come back.
        retry_after: Duration,
    },
    /// This node is leaving.
    Draining,
    /// The certificate names no principal of a gateway (R10).
    UnknownPrincipal,
    /// A message above the bound.
    TooLarge {
        /// The bound, in bytes.
        bytes_max: usize,
    },
    /// Bytes that are no message of the method.
    MessageMalformed,
    /// A method that the contract does not have, or a message in a compression that this node does not take.
    Unsupported,
    /// The resume token is older than the events that are kept (R20).
    CursorExpired {
        /// What changed since this time must be listed.
        list_from: LogTime,
    },
    /// The watcher reads too slowly; it may resume (R20).
    WatcherTooSlow,
    /// What the leader said to a call that this node forwarded: handed on as it is (R15).
    OfLeader(Status),
    /// A fault of ours before anything was proposed. After that it is [`Self::OutcomeUnknown`].
    Fault,
}

/// Why a node cannot serve now. Nothing was proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// It has just begun to lead, and waits for its number and its first key.
    Starting,
    /// It could not confirm that what it would read is current.
    Behind,
    /// The disk's reserve is reached: no new payments, while answers still commit (R23).
    DiskReserve,
    /// It lacks a version of a key; an operator must bring it.
    KeyMissing,
}

impl Unavailable {
    fn reason(self) -> (&'static str, &'static str) {
        match self {
            Self::Starting => ("STARTING", "the node is starting"),
            Self::Behind => ("BEHIND", "the node could not confirm that it is current"),
            Self::DiskReserve => ("DISK_RESERVE", "the cluster takes no new payments until disk space is freed"),
            Self::KeyMissing => ("KEY_MISSING", "the node lacks a version of a cluster key"),
        }
    }
}

impl From<BadRequest> for GatewayError {
    fn from(bad: BadRequest) -> Self {
        Self::BadRequest(bad)
    }
}

impl From<GatewayError> for Status {
    fn from(error: GatewayError) -> Self {
        error.status()
    }
}

/// What a refusal of the book is told as: the switch's own decline is an answer, everything else an error.
///
/// # Errors
/// [`GatewayError::Refused`].
pub fn told_of_refusal(request_id: &RequestId, refusal: Refusal) -> Result<pb::OperationResult, GatewayError> {
    match refusal {
        Refusal::Declined(reason, position) => Ok(declined_by_switch(request_id, reason, position)),
        refusal => Err(GatewayError::Refused(refusal)),
    }
}

impl GatewayError {
    /// The status of a call.
    #[must_use]
    pub fn status(&self) -> Status {
        match self {
            // Several reasons, or somebody else's: complete as they are.
            Self::BadRequest(BadRequest::Fields(violations)) => fields(violations),
            Self::OfLeader(status) => status.clone(),
            other => {
                let row = other.row();
                match other.sent() {
                    Some(sent) => row.with(SENT, sent_word(sent)).status(),
                    None => row.status(),
                }
            }
        }
    }

    /// Whether anything of the call may have left the switch for a network. `None` where the row speaks of no call that
    /// moves money, or where it is the leader's, which says so itself.
    fn sent(&self) -> Option<Sent> {
        match self {
            Self::OutcomeUnknown | Self::RequestInProgress => Some(Sent::Unknown),
            // The key that is missing may be what a known request would have been compared with.
            Self::Unavailable(Unavailable::KeyMissing) => Some(Sent::Unknown),
            Self::Unresolved(sent) | Self::Overloaded { sent, .. } | Self::RateExceeded { sent, .. } => Some(*sent),
            Self::Refused(refusal) => Some(sent_of_refused(refusal)),
            Self::BadRequest(_)
            | Self::DeadlineMissing
            | Self::DeadlineMalformed
            | Self::DeadlineTooShort { .. }
            | Self::DeadlineExceeded
            | Self::NotLeader
            | Self::Unavailable(Unavailable::Starting | Unavailable::Behind | Unavailable::DiskReserve)
            | Self::Draining
            | Self::UnknownPrincipal
            | Self::TooLarge { .. }
            | Self::MessageMalformed
            | Self::Unsupported
            | Self::SealedRequired
            | Self::SealingKeyUnknown
            | Self::SealedCardForged
            | Self::TooManyUnderWay { .. }
            | Self::Fault => Some(Sent::NotSent),
            Self::CursorExpired { .. } | Self::WatcherTooSlow | Self::OfLeader(_) => None,
        }
    }

    /// Its code, for the metrics.
    #[must_use]
    pub fn code(&self) -> Code {
        self.status().code()
    }

    /// A serialized `google.rpc.Status`, for an item of a stream (R19).
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let status = self.status();
        if status.details().is_empty() {
            let plain =
                tonic_types::Status { code: status.code().into(), message: status.message().into(), details: vec![] };
            return plain.encode_to_vec().into();
        }
        // tonic keeps exactly this message as the status's details.
        Bytes::copy_from_slice(status.details())
    }

    /// One reason with its values.
    fn row(&self) -> Refused {
        match self {
            Self::BadRequest(BadRequest::Fields(_)) => {
                refused(Code::InvalidArgument, "BAD_REQUEST", "fields are wrong")
            }
            Self::OfLeader(status) => refused(status.code(), "OF_LEADER", status.message()),
            Self::BadRequest(BadRequest::NotAssigned(field)) => {
                let words = format!("{field} is not assigned to this gateway");
                refused(Code::PermissionDenied, "MERCHANT_NOT_ASSIGNED", words).with("field", field)
            }
            Self::SealedRequired => {
                let words = "card data of this gateway must be sealed to one of the switch's public keys";
                refused(Code::FailedPrecondition, "SEALED_CARD_REQUIRED", words).with("field", "card")
            }
            Self::SealingKeyUnknown => {
                let words = "the key is not one that the switch publishes now: list its keys and seal again";
                refused(Code::FailedPrecondition, "SEALING_KEY_UNKNOWN", words).with("field", "card.sealed.key_id")
            }
            Self::SealedCardForged => {
                let words = "the card does not open for this gateway, method and request_id";
                refused(Code::InvalidArgument, "SEALED_CARD_INVALID", words)
                    .with("field", "card.sealed")
                    .field("card.sealed", words)
            }
            Self::Refused(refusal) => by_book(refusal),
            Self::OutcomeUnknown => {
                let words = "the outcome is not known yet: repeat the request_id, or void it";
                refused(Code::Unknown, "OUTCOME_UNKNOWN", words).with("final", false).retry_after(SOON)
            }
            Self::Unresolved(_) => {
                let words = "the network gave no usable answer, and nothing will tell what it did";
                refused(Code::Unknown, "OUTCOME_UNKNOWN", words).with("final", true)
            }
            Self::RequestInProgress => {
                let words = "the request_id is in progress: repeat it to wait for its answer";
                refused(Code::Aborted, "REQUEST_IN_PROGRESS", words).retry_after(SOON)
            }
            Self::DeadlineMissing => refused(Code::InvalidArgument, "DEADLINE_MISSING", "the call has no grpc-timeout"),
            Self::DeadlineMalformed => {
                refused(Code::InvalidArgument, "DEADLINE_MALFORMED", "the grpc-timeout cannot be read")
            }
            Self::DeadlineTooShort { left_ms, needed_ms } => {
                let words = format!("the call leaves {left_ms} ms, and the switch needs {needed_ms} ms");
                refused(Code::InvalidArgument, "DEADLINE_TOO_SHORT", words)
                    .with("left_ms", left_ms)
                    .with("needed_ms", needed_ms)
            }
            Self::DeadlineExceeded => {
                refused(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", "the time ended before anything was begun")
            }
            Self::NotLeader => {
                refused(Code::Unavailable, "NO_LEADER", "the cluster has no leader").retry_after(ELECTION)
            }
            Self::Unavailable(why) => {
                let (reason, words) = why.reason();
                refused(Code::Unavailable, reason, words).retry_after(LATER)
            }
            Self::Overloaded { retry_after, .. } => {
                refused(Code::Unavailable, "OVERLOADED", "too many calls are in flight").retry_after(*retry_after)
            }
            Self::RateExceeded { gateway, calls_per_second_max, retry_after, .. } => {
                let words = format!("gateway {gateway} makes more than {calls_per_second_max} calls a second");
                refused(Code::ResourceExhausted, "GATEWAY_RATE", words)
                    .with("gateway_id", gateway)
                    .with("calls_per_second_max", calls_per_second_max)
                    .quota(&format!("gateway:{gateway}"), "calls a second")
                    .retry_after(*retry_after)
            }
            Self::TooManyUnderWay { gateway, payments_max, retry_after } => {
                let words = format!("gateway {gateway} has {payments_max} payments under way, which is its bound");
                refused(Code::ResourceExhausted, "GATEWAY_CONCURRENCY", words)
                    .with("gateway_id", gateway)
                    .with("payments_max", payments_max)
                    .quota(&format!("gateway:{gateway}"), "payments under way")
                    .retry_after(*retry_after)
            }
            Self::Draining => {
                refused(Code::Unavailable, "DRAINING", "the node is leaving: call another").retry_after(Duration::ZERO)
            }
            Self::UnknownPrincipal => {
                refused(Code::PermissionDenied, "UNKNOWN_PRINCIPAL", "the certificate acts for no gateway")
            }
            Self::TooLarge { bytes_max } => {
                let words = format!("a message is greater than {bytes_max} bytes");
                refused(Code::ResourceExhausted, "MESSAGE_TOO_LARGE", words).with("bytes_max", bytes_max)
            }
            Self::MessageMalformed => {
                refused(Code::InvalidArgument, "MESSAGE_MALFORMED", "the bytes are no message of this method")
            }
            Self::Unsupported => refused(
                Code::Unimplemented,
                "NOT_SUPPORTED",
                "the method or the message's compression is not supported",
            ),
            Self::CursorExpired { list_from } => {
                let words = format!("the resume_token has expired: list what changed since {}", list_from.0);
                refused(Code::OutOfRange, "RESUME_TOKEN_EXPIRED", words).with("list_from_unix_ms", list_from.0)
            }
            Self::WatcherTooSlow => {
                let words = "events were not read fast enough: resume after the last one";
                refused(Code::Aborted, "WATCHER_TOO_SLOW", words).retry_after(SOON)
            }
            Self::Fault => refused(Code::Internal, "INTERNAL", "the switch has a fault; nothing was begun"),
        }
    }
}

/// Every wrong field with a reason of its own; the first one's is that of the whole.
fn fields(violations: &[Violation]) -> Status {
    let Some(first) = violations.first() else {
        return refused(Code::InvalidArgument, "BAD_REQUEST", "the request cannot be used").status();
    };
    let listed = violations.iter().map(|violation| FieldViolation {
        field: violation.field.to_owned(),
        description: violation.description.clone().into_owned(),
        reason: violation.reason.as_str().to_owned(),
        localized_message: None,
    });
    let mut details = ErrorDetails::new();
    let metadata = [("field", first.field), (SENT, sent_word(Sent::NotSent))];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned()));
    details.set_error_info(first.reason.as_str(), DOMAIN, metadata);
    details.set_bad_request(listed.collect::<Vec<_>>());
    Status::with_error_details(Code::InvalidArgument, format!("{} {}", first.field, first.description), details)
}

/// Whether anything may have been sent where the book accepted nothing. It refuses before it opens an attempt, but two of
/// its refusals exist because of an earlier request under this very key, which may have been sent.
fn sent_of_refused(refusal: &Refusal) -> Sent {
    match refusal {
        Refusal::KeyTooOld | Refusal::FingerprintVersion(_) => Sent::Unknown,
        Refusal::KeyReused
        | Refusal::NotFound
        | Refusal::InDoubt
        | Refusal::TooManyOperations(_)
        | Refusal::AlreadyVoided
        | Refusal::UseRefund
        | Refusal::NotAuthorized
        | Refusal::NotReversible
        | Refusal::Expired
        | Refusal::FinallyCaptured
        | Refusal::CurrencyMismatch
        | Refusal::AmountZero
        | Refusal::AmountExceeds { .. }
        | Refusal::SumTooGreat
        | Refusal::CardGone
        | Refusal::Declined(..)
        | Refusal::TraceNumbersExhausted => Sent::NotSent,
    }
}

fn sent_word(sent: Sent) -> &'static str {
    match sent {
        Sent::Sent => "sent",
        Sent::NotSent => "not_sent",
        Sent::Unknown => "unknown",
    }
}

fn by_book(refusal: &Refusal) -> Refused {
    let words = refusal.to_string();
    let precondition = |reason| refused(Code::FailedPrecondition, reason, words.clone());
    match refusal {
        // The flow computes the fingerprint anew and asks again; a gateway sees this only if keys change meanwhile.
        Refusal::FingerprintVersion(version) => refused(Code::Aborted, "FINGERPRINT_KEY_CHANGED", words)
            .with("fingerprint_key_version", version)
            .retry_after(SOON),
        Refusal::KeyReused => refused(Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED", words),
        Refusal::KeyTooOld => precondition("KEY_TOO_OLD"),
        Refusal::NotFound => refused(Code::NotFound, "TRANSACTION_NOT_FOUND", words),
        Refusal::InDoubt => refused(Code::Aborted, "ORIGINAL_IN_DOUBT", words).retry_after(LATER),
        Refusal::TooManyOperations(operations) => precondition("TOO_MANY_OPERATIONS").with("operations", operations),
        Refusal::AlreadyVoided => precondition("ALREADY_VOIDED"),
        Refusal::UseRefund => precondition("USE_REFUND"),
        Refusal::NotAuthorized => precondition("NOT_AUTHORIZED"),
        Refusal::NotReversible => precondition("NOT_REVERSIBLE"),
        Refusal::Expired => precondition("AUTHORIZATION_EXPIRED"),
        Refusal::FinallyCaptured => precondition("FINALLY_CAPTURED"),
        Refusal::CurrencyMismatch => precondition("CURRENCY_MISMATCH"),
        Refusal::AmountZero => refused(Code::InvalidArgument, "AMOUNT_ZERO", words)
            .with("field", "amount.minor_units")
            .field("amount.minor_units", "must be greater than zero"),
        Refusal::AmountExceeds { asked, left } => {
            precondition("AMOUNT_EXCEEDS").with("asked_minor_units", asked).with("left_minor_units", left)
        }
        Refusal::SumTooGreat => precondition("SUM_TOO_GREAT"),
        Refusal::CardGone => precondition("CARD_GONE"),
        // `told_of_refusal` makes an answer of it. Should it ever come here, this says as much: nothing was sent.
        Refusal::Declined(reason, _) => {
            precondition("DECLINED_BY_SWITCH").with("decline_reason", format_args!("{reason:?}"))
        }
        Refusal::TraceNumbersExhausted => refused(Code::ResourceExhausted, "TRACE_NUMBERS_EXHAUSTED", words)
            .quota("link", "trace numbers")
            .retry_after(LATER),
    }
}

/// Key of the metadata that says whether anything left the switch.
const SENT: &str = "sent";

/// Most attempts at a network end within this.
const SOON: Duration = Duration::from_millis(250);
/// What an operator, a network or a snapshot must end first.
const LATER: Duration = Duration::from_secs(1);
/// An election, with room.
const ELECTION: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
