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
    /// The directory is not as the file says.
    Differs = 8,
    /// The cluster is not healthy.
    Unhealthy = 10,
    /// Interrupted.
    Interrupted = 130,
}

impl Exit {
    /// All of them, in order, as `--help` lists them.
    pub(crate) const ALL: [(Self, &'static str); 11] = [
        (Self::Ok, "done"),
        (Self::Failure, "failed"),
        (Self::Usage, "wrong command line or file"),
        (Self::Connect, "no node reached, or TLS refused"),
        (Self::NotFound, "not found"),
        (Self::Precondition, "refused in the present state; nothing was changed"),
        (Self::Permission, "not permitted"),
        (Self::Timeout, "timed out or answer lost: a change may have been made"),
        (Self::Differs, "diff: the directory is not as the file says"),
        (Self::Unhealthy, "cluster health: the cluster is not healthy"),
        (Self::Interrupted, "interrupted"),
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
        let lines = Self::ALL.map(|(exit, meaning)| format!("  {:>3}  {meaning}", exit as u8));
        format!(
            "Exit codes:\n{}\nOnly `check` has those of a monitor: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.",
            lines.join("\n")
        )
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
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 130]);
        assert!(Exit::help().contains("    5  refused in the present state"));
    }

    #[test]
    fn every_answer_of_a_node_has_a_code() {
        let table = [
            (Code::Ok, 0),
            (Code::Cancelled, 7),
            (Code::Unknown, 7),
            (Code::InvalidArgument, 2),
            (Code::DeadlineExceeded, 7),
            (Code::NotFound, 4),
            (Code::AlreadyExists, 5),
            (Code::PermissionDenied, 6),
            (Code::ResourceExhausted, 1),
            (Code::FailedPrecondition, 5),
            (Code::Aborted, 5),
            (Code::OutOfRange, 2),
            (Code::Unimplemented, 1),
            (Code::Internal, 1),
            (Code::Unavailable, 3),
            (Code::DataLoss, 1),
            (Code::Unauthenticated, 6),
        ];
        for (code, exit) in table {
            assert_eq!(Exit::of(code) as u8, exit, "{code:?}");
        }
    }
}
