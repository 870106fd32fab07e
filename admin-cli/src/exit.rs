//! How a command ends: the code says who must act.

use std::process::ExitCode;

use tonic::Code;

/// Every exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done.
    Ok = 0,
    /// Failed.
    Failure = 1,
    /// The command line or a file is wrong.
    Usage = 2,
    /// No node could be reached, or TLS refused.
    Connect = 3,
    /// What is named does not exist.
    NotFound = 4,
    /// Refused in the present state.
    Precondition = 5,
    /// The certificate may not do this.
    Permission = 6,
    /// The time is over, or the answer was lost.
    Timeout = 7,
}

impl Exit {
    /// All of them, in order, as `--help` lists them.
    pub(crate) const ALL: [(Self, &'static str); 8] = [
        (Self::Ok, "done"),
        (Self::Failure, "failed"),
        (Self::Usage, "wrong command line or file"),
        (Self::Connect, "no node reached, or TLS refused"),
        (Self::NotFound, "not found"),
        (Self::Precondition, "refused in the present state; nothing was changed"),
        (Self::Permission, "not permitted"),
        (Self::Timeout, "timed out or answer lost: a change may have been made"),
    ];

    /// For an answer of a node.
    pub(crate) fn of(code: Code) -> Self {
        match code {
            Code::Ok => Self::Ok,
            Code::InvalidArgument | Code::OutOfRange => Self::Usage,
            Code::Unavailable => Self::Connect,
            Code::NotFound => Self::NotFound,
            Code::FailedPrecondition | Code::AlreadyExists | Code::Aborted => Self::Precondition,
            Code::PermissionDenied | Code::Unauthenticated => Self::Permission,
            Code::DeadlineExceeded | Code::Cancelled | Code::Unknown => Self::Timeout,
            Code::ResourceExhausted | Code::Unimplemented | Code::Internal | Code::DataLoss => Self::Failure,
        }
    }

    /// The paragraph of `--help`.
    pub(crate) fn help() -> String {
        let lines = Self::ALL.map(|(exit, meaning)| format!("  {}  {meaning}", exit as u8));
        format!("Exit codes:\n{}", lines.join("\n"))
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_what_scripts_know() {
        let codes = Exit::ALL.map(|(exit, _)| exit as u8);
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7]);
        assert!(Exit::help().contains("  5  refused in the present state"));
    }
}
