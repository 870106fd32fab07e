//! How a door says no: a gRPC status with a reason that programs can read.
//!
//! Every status carries exactly one `google.rpc.ErrorInfo`; what its message says in words, the metadata says in values
//! (AIP-193). The reasons themselves belong to the doors' own tables.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The domain of every reason.
pub const DOMAIN: &str = "payswitch";

/// A status in the making.
#[derive(Debug, Clone)]
#[must_use]
pub struct Refused {
    code: Code,
    reason: &'static str,
    message: String,
    metadata: HashMap<String, String>,
    details: ErrorDetails,
}

/// Begins a status: `reason` in UPPER_SNAKE_CASE of at most 63 characters, `message` without any card data.
pub fn refused(code: Code, reason: &'static str, message: impl Into<String>) -> Refused {
    debug_assert!(is_reason(reason), "{reason:?} is no reason in the sense of AIP-193");
    Refused { code, reason, message: message.into(), metadata: HashMap::new(), details: ErrorDetails::new() }
}

impl Refused {
    /// A value that the message speaks of.
    #[allow(clippy::needless_pass_by_value)] // numbers and names, as they stand at the call site
    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.metadata.insert(key.to_owned(), value.to_string());
        self
    }

    /// When the same request may be sent again.
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.details.set_retry_info(Some(delay));
        self
    }

    /// A field of the request that is wrong, and how.
    pub fn field(mut self, field: &str, description: impl Into<String>) -> Self {
        self.details.add_bad_request_violation(field, description);
        self
    }

    /// A limit that is used up: whose, and which.
    pub fn quota(mut self, subject: &str, description: impl Into<String>) -> Self {
        self.details.add_quota_failure_violation(subject, description);
        self
    }

    /// The status.
    pub fn status(mut self) -> Status {
        self.details.set_error_info(self.reason, DOMAIN, self.metadata);
        Status::with_error_details(self.code, self.message, self.details)
    }

    /// A serialized `google.rpc.Status`, for an item of a stream that fails by itself (R19).
    pub fn to_bytes(self) -> bytes::Bytes {
        // tonic keeps exactly this message as the status's details.
        bytes::Bytes::copy_from_slice(self.status().details())
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        refused.status()
    }
}

const fn is_reason(reason: &str) -> bool {
    let bytes = reason.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !(bytes[at].is_ascii_uppercase() || bytes[at].is_ascii_digit() || bytes[at] == b'_') {
            return false;
        }
        at += 1;
    }
    !bytes.is_empty() && bytes.len() <= 63 && bytes[0].is_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn a_refusal_carries_its_reason_and_its_values() {
        let status = refused(Code::ResourceExhausted, "GATEWAY_RATE", "more than 50 calls a second")
            .with("calls_per_second_max", 50)
            .retry_after(Duration::from_millis(20))
            .quota("gateway:acme", "calls a second")
            .field("amount", "is zero")
            .status();
        assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, "more than 50 calls a second"));
        let details = status.get_error_details();
        let info = details.error_info().expect("always there");
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("GATEWAY_RATE", DOMAIN));
        assert_eq!(info.metadata.get("calls_per_second_max").map(String::as_str), Some("50"));
        assert_eq!(details.retry_info().and_then(|retry| retry.retry_delay), Some(Duration::from_millis(20)));
        assert_eq!(details.quota_failure().map(|quota| quota.violations.len()), Some(1));
        assert_eq!(details.bad_request().map(|bad| bad.field_violations[0].field.clone()), Some("amount".to_owned()));
    }

    #[test]
    fn the_bytes_of_a_refusal_are_a_status_message() {
        let bytes = refused(Code::Aborted, "REQUEST_IN_PROGRESS", "still in flight").to_bytes();
        let status = tonic_types::Status::decode(bytes).expect("a google.rpc.Status");
        assert_eq!((status.code, status.message.as_str()), (Code::Aborted as i32, "still in flight"));
        assert_eq!(status.details.len(), 1);
    }
}
