//! The one table from everything that can go wrong towards an operator to what is told.

use std::time::Duration;

use switch_consensus::{MembershipError, TransferError, limits::PACK_BYTES_MAX, snapshot::SnapshotError};
use switch_domain::{directory::DirectoryRefusal, refusal::ResolutionRefusal, table::TableFault};
use tonic::{Code, Status};

use crate::{
    door::refusal::refused,
    journal::{Lost, ReadFault},
    ops::drain::TransferFault,
};

/// Another node leads: the caller may follow to its operator listener.
pub(super) fn not_leader(node: u64, address: &str) -> Status {
    refused(Code::Unavailable, "NOT_LEADER", format!("node {node:016x} at {address} leads"))
        .with("leader_id", node)
        .with("leader_address", address)
        .retry_after(Duration::ZERO)
        .status()
}

/// Nobody leads, or this node has only just begun to.
pub(super) fn no_leader() -> Status {
    refused(Code::Unavailable, "NO_LEADER", "the cluster has no leader yet").retry_after(SOON).status()
}

/// The caller's time ended.
pub(super) fn late() -> Status {
    let words = "the time ended before the answer; a change may still be made";
    refused(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", words).status()
}

/// The table is damaged; the node is stopping.
pub(super) fn of_table(fault: TableFault) -> Status {
    tracing::error!(%fault, "an operator's call found the table damaged");
    refused(Code::Internal, "TABLE_FAULT", "the node's table cannot be read").status()
}

/// A page token that no answer of this switch holds.
pub(super) fn page_token_malformed() -> Status {
    refused(Code::InvalidArgument, "PAGE_TOKEN_MALFORMED", "the page_token is not one of this switch").status()
}

/// A read that could not be confirmed.
pub(super) fn of_read(fault: ReadFault) -> Status {
    match fault {
        ReadFault::Barrier(error) => refused(Code::Unavailable, "BEHIND", error.to_string()).retry_after(SOON).status(),
        ReadFault::Table(fault) => of_table(fault),
    }
}

/// A change that has no outcome, or none that is known; `None` where it was not taken, and the leader should be asked.
pub(super) fn of_lost(lost: Lost) -> Option<Status> {
    match lost {
        Lost::NotTaken => None,
        Lost::TooLarge { bytes } => {
            let words = format!(
                "the change is {bytes} bytes in the journal, where an entry holds {PACK_BYTES_MAX}: split it over several calls"
            );
            let told = refused(Code::InvalidArgument, "CHANGE_TOO_LARGE", words);
            Some(told.with("bytes", bytes).with("bytes_max", PACK_BYTES_MAX).status())
        }
        Lost::Unknown => {
            let words = "it is not known whether the change was made: repeat the call with the same request_id";
            Some(refused(Code::Unknown, "OUTCOME_UNKNOWN", words).status())
        }
    }
}

/// A change of the directory that was refused.
pub(super) fn of_directory(refusal: DirectoryRefusal) -> Status {
    let told = |code| refused(code, refusal.name(), refusal.to_string());
    let refused = match &refusal {
        DirectoryRefusal::VersionMismatch { is, expected } => {
            told(Code::FailedPrecondition).with("version", is).with("expected_version", expected)
        }
        DirectoryRefusal::ChangeCount(changes) => told(Code::InvalidArgument).with("changes", changes),
        DirectoryRefusal::TooMany(kind) => told(Code::FailedPrecondition).with("kind", kind),
        DirectoryRefusal::Missing { kind, name } => told(Code::NotFound).with("kind", kind).with("name", name),
        DirectoryRefusal::InUse { kind, name, user } => {
            told(Code::FailedPrecondition).with("kind", kind).with("name", name).with("user", user)
        }
        DirectoryRefusal::PrincipalTaken { principal, gateway } => {
            told(Code::FailedPrecondition).with("principal", principal).with("gateway_id", gateway)
        }
        DirectoryRefusal::MerchantTaken { merchant, gateway } => {
            told(Code::FailedPrecondition).with("merchant_id", merchant).with("gateway_id", gateway)
        }
        DirectoryRefusal::RangeBackwards(route) => told(Code::InvalidArgument).with("route_id", route),
        DirectoryRefusal::OutOfRange { field, name, value, allowed } => told(Code::InvalidArgument)
            .with("field", field)
            .with("name", name)
            .with("value", value)
            .with("allowed", allowed),
        DirectoryRefusal::RequestIdReused => told(Code::FailedPrecondition),
    };
    refused.status()
}

/// An operator's word about a parked item that was not taken (R25).
pub(super) fn of_resolution(refusal: ResolutionRefusal) -> Status {
    let reason = match refusal {
        ResolutionRefusal::NotParked => "NOT_PARKED",
        ResolutionRefusal::AlreadyProposed => "ALREADY_PROPOSED",
        ResolutionRefusal::NotProposed => "NOT_PROPOSED",
        ResolutionRefusal::SamePerson => "SAME_PERSON",
    };
    refused(Code::FailedPrecondition, reason, refusal.to_string()).status()
}

/// A change of members that was refused; `None` where the leader should be asked.
pub(super) fn of_membership(error: &MembershipError) -> Option<Status> {
    let words = error.to_string();
    let told = |code, reason| refused(code, reason, words.clone());
    let refused = match error {
        MembershipError::NotLeader { .. } => return None,
        MembershipError::InProgress => told(Code::Unavailable, "MEMBERSHIP_CHANGE_IN_PROGRESS").retry_after(SOON),
        MembershipError::NotMember { node } => told(Code::NotFound, "NOT_A_MEMBER").with("node_id", node),
        MembershipError::OtherStore { node, .. } => told(Code::FailedPrecondition, "OTHER_STORE").with("node_id", node),
        MembershipError::Behind { node, behind, max } => told(Code::FailedPrecondition, "MEMBER_BEHIND")
            .with("node_id", node)
            .with("behind", behind)
            .with("behind_max", max),
        MembershipError::Leads { node } => told(Code::FailedPrecondition, "MEMBER_LEADS").with("node_id", node),
        MembershipError::LastVoter { node } => told(Code::FailedPrecondition, "LAST_VOTER").with("node_id", node),
        MembershipError::TooMany => told(Code::FailedPrecondition, "TOO_MANY_MEMBERS"),
        MembershipError::Malformed(_) => told(Code::InvalidArgument, "MEMBER_MALFORMED"),
        MembershipError::NotEmpty => told(Code::FailedPrecondition, "ALREADY_IN_A_CLUSTER"),
        MembershipError::Unknown(_) => told(Code::Unknown, "OUTCOME_UNKNOWN"),
        MembershipError::Identity(_) => told(Code::Internal, "IDENTITY_NOT_KEPT"),
        MembershipError::Stopped => told(Code::Unavailable, "STOPPING").retry_after(SOON),
    };
    Some(refused.status())
}

/// A hand-over that was not made; `None` where the leader should be asked.
pub(super) fn of_transfer(fault: &TransferFault) -> Option<Status> {
    let words = fault.to_string();
    let told = |code, reason| refused(code, reason, words.clone());
    let refused = match fault {
        TransferFault::NotLeading | TransferFault::Refused(TransferError::NotLeader { .. }) => return None,
        TransferFault::UnderWay => told(Code::FailedPrecondition, "HAND_OVER_UNDER_WAY").retry_after(SOON),
        TransferFault::Refused(TransferError::NotVoter { node }) => {
            told(Code::FailedPrecondition, "NOT_A_VOTER").with("node_id", node)
        }
        TransferFault::Refused(TransferError::NobodyThere) => told(Code::FailedPrecondition, "NOBODY_TO_LEAD"),
        TransferFault::Refused(TransferError::Late { .. }) => told(Code::Unknown, "OUTCOME_UNKNOWN"),
        TransferFault::Refused(TransferError::Stopped) => told(Code::Unavailable, "STOPPING").retry_after(SOON),
    };
    Some(refused.status())
}

/// A snapshot that was not taken.
pub(super) fn of_snapshot(error: &SnapshotError) -> Status {
    let words = error.to_string();
    match error {
        SnapshotError::Nothing => refused(Code::FailedPrecondition, "NOTHING_TO_SNAPSHOT", words).status(),
        SnapshotError::Late { .. } => refused(Code::Unknown, "OUTCOME_UNKNOWN", words).status(),
        SnapshotError::Stopped => refused(Code::Unavailable, "STOPPING", words).retry_after(SOON).status(),
        SnapshotError::Machine(_) => {
            tracing::error!(%error, "an operator's call found the table damaged");
            refused(Code::Internal, "TABLE_FAULT", "the node's table cannot be read").status()
        }
    }
}

/// An election, with room.
const SOON: Duration = Duration::from_millis(500);
