//! Why a command did not do what it was asked.

use std::{collections::BTreeMap, error::Error, fmt, io};

use clap::builder::styling::{AnsiColor, Style};
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{cli::Output, exit::Exit};

/// A failure, as people and programs read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// gRPC code, or `LOCAL`.
    code: String,
    reason: String,
    domain: String,
    message: String,
    retryable: bool,
    details: BTreeMap<String, String>,
}

impl Failure {
    /// One that no node told.
    pub(crate) fn local(exit: Exit, reason: &str, message: impl Into<String>) -> Self {
        Self {
            exit,
            code: "LOCAL".to_owned(),
            reason: reason.to_owned(),
            domain: "admin-cli".to_owned(),
            message: message.into(),
            retryable: exit == Exit::Connect,
            details: BTreeMap::new(),
        }
    }

    /// The command line does not go together.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::local(Exit::Usage, "USAGE", message)
    }

    /// What a node answered.
    pub(crate) fn told(status: &Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info();
        let violations = details.bad_request().map(|bad| bad.field_violations.as_slice()).unwrap_or_default();
        let mut named: BTreeMap<String, String> =
            info.map(|info| info.metadata.clone().into_iter().collect()).unwrap_or_default();
        for violation in violations {
            named.insert(violation.field.clone(), violation.description.clone());
        }
        Self {
            exit: Exit::of(status.code()),
            code: code_name(status.code()).to_owned(),
            reason: info.map(|info| info.reason.clone()).unwrap_or_default(),
            domain: info.map(|info| info.domain.clone()).unwrap_or_default(),
            message: status.message().to_owned(),
            retryable: status.code() == Code::Unavailable || details.retry_info().is_some(),
            details: named,
        }
    }

    /// True where it has one of these reasons.
    /// The same, with what it leaves to do.
    pub(crate) fn and(mut self, words: &str) -> Self {
        self.message = format!("{}; {words}", self.message);
        self
    }

    pub(crate) fn is_any_of(&self, reasons: &[&str]) -> bool {
        reasons.contains(&self.reason.as_str())
    }

    /// As stderr has it: a document where programs read, else a line, whose first word may be marked as clap marks it.
    pub(crate) fn shown(&self, output: Output, is_coloured: bool) -> String {
        if output.is_for_programs() {
            return self.json().to_string();
        }
        let line = self.to_string();
        match line.strip_prefix(MARKED) {
            Some(rest) if is_coloured => format!("{MARK}{MARKED}{MARK:#}{rest}"),
            _ => line,
        }
    }

    /// As `-o json` writes it to stderr.
    fn json(&self) -> Value {
        json!({ "error": {
            "code": self.code,
            "reason": self.reason,
            "domain": self.domain,
            "message": self.message,
            "retryable": self.retryable,
            "details": self.details,
        }})
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MARKED} {}", self.message)?;
        if !self.reason.is_empty() { write!(f, " ({})", self.reason) } else { Ok(()) }
    }
}

/// What a line begins with.
const MARKED: &str = "error:";
/// Bold and red.
const MARK: Style = AnsiColor::Red.on_default().bold();

/// The reason of a status, and the values with it.
pub(crate) fn reason(status: &Status) -> Option<(String, std::collections::HashMap<String, String>)> {
    status.get_details_error_info().map(|info| (info.reason, info.metadata))
}

/// The TLS alert by which the other side ended the connection, if that is what happened: nothing was read then.
pub(crate) fn tls_refusal(status: &Status) -> Option<String> {
    let mut source = status.source();
    while let Some(error) = source {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(tls) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return Some(tls.to_string());
        }
        source = error.source();
    }
    None
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn a_nodes_answer_keeps_its_reason_and_its_values() {
        let values = HashMap::from([("version".to_owned(), "7".to_owned())]);
        let details = ErrorDetails::with_error_info("VERSION_MISMATCH", "payswitch", values);
        let failure = Failure::told(&Status::with_error_details(Code::FailedPrecondition, "read it again", details));
        assert_eq!(failure.exit, Exit::Precondition);
        assert_eq!(failure.to_string(), "error: read it again (VERSION_MISMATCH)");
        let expected = json!({ "error": {
            "code": "FAILED_PRECONDITION", "reason": "VERSION_MISMATCH", "domain": "payswitch",
            "message": "read it again", "retryable": false, "details": { "version": "7" },
        }});
        assert_eq!(failure.json(), expected);
    }

    #[test]
    fn only_the_first_word_of_a_line_is_coloured_and_no_document() {
        let failure = Failure::usage("no context is in use");
        assert_eq!(failure.shown(Output::Table, false), "error: no context is in use (USAGE)");
        let coloured = failure.shown(Output::Wide, true);
        assert_eq!(coloured, "\u{1b}[1m\u{1b}[31merror:\u{1b}[0m no context is in use (USAGE)");
        assert!(!failure.shown(Output::Json, true).contains('\u{1b}'));
    }
}
