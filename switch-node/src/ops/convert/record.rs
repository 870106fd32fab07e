//! What operators and auditors read: the directory, transactions without card data, what is owed.

use switch_domain::{
    directory::{Change, Directory, Gateway, Link, Network, Route},
    id::{AttemptRef, LinkId},
    money::Amount,
    outcome::Decision,
    table::{OwedKind, OwedRow},
    time::LogTime,
    transaction::{
        Attempt, AttemptState, LaneState, Method, Operation, ProposedResolution, Resolution, ReversalPolicy,
        ReversalReason, Status, Transaction,
    },
};
use switch_proto::operator::v1 as pb;

use super::proposal_id;

/// The directory as operators read it.
#[must_use]
pub fn directory(directory: &Directory) -> pb::Directory {
    pb::Directory {
        version: directory.version,
        gateways: directory.gateways.values().map(gateway_record).collect(),
        networks: directory.networks.values().map(network_record).collect(),
        links: directory.links.values().map(link_record).collect(),
        routes: directory.routes.values().map(route_record).collect(),
        retention_days: directory.retention_days,
    }
}

/// A change as operators read it, for the audit trail.
#[must_use]
pub fn change_record(change: &Change) -> pb::DirectoryChange {
    use pb::directory_change::Change as Wire;
    let change = match change {
        Change::PutGateway(gateway) => Wire::PutGateway(gateway_record(gateway)),
        Change::PutNetwork(network) => Wire::PutNetwork(network_record(network)),
        Change::PutLink(link) => Wire::PutLink(link_record(link)),
        Change::PutRoute(route) => Wire::PutRoute(route_record(route)),
        Change::RemoveGateway(id) => Wire::RemoveGateway(id.to_string()),
        Change::RemoveNetwork(id) => Wire::RemoveNetwork(id.to_string()),
        Change::RemoveLink(id) => Wire::RemoveLink(id.to_string()),
        Change::RemoveRoute(id) => Wire::RemoveRoute(id.to_string()),
        Change::SetRetentionDays(days) => Wire::SetRetentionDays(*days),
    };
    pb::DirectoryChange { change: Some(change) }
}

/// A transaction for auditors: what was asked, told, sent and undone, and no card data.
#[must_use]
pub fn transaction_record(transaction: &Transaction) -> pb::TransactionRecord {
    let totals = transaction.totals();
    let operations = transaction.operations.iter().enumerate();
    pb::TransactionRecord {
        gateway_id: transaction.gateway.to_string(),
        transaction_id: transaction.id.to_string(),
        currency_code: transaction.currency.code().to_owned(),
        operations: operations.map(|(index, asked)| operation_record(transaction, index, asked)).collect(),
        authorized_minor_units: totals.authorized.to_wire(),
        captured_minor_units: totals.captured.to_wire(),
        refunded_minor_units: totals.refunded.to_wire(),
        held_minor_units: totals.held.to_wire(),
        revision: transaction.revision,
        status: status(transaction.status()).to_owned(),
        created_unix_ms: i64::try_from(transaction.created.0).unwrap_or(i64::MAX),
        merchant_id: transaction.merchant.id.to_string(),
    }
}

/// Something owed to a network; `None` where the row is neither a reversal nor an advice, or the transaction has no such
/// lane any more.
#[must_use]
pub fn owed_message(link: &LinkId, row: &OwedRow, transaction: &Transaction, now: LogTime) -> Option<pb::OwedMessage> {
    let operation = transaction.operations.get(usize::from(row.attempt.id.operation))?;
    let (kind, lane) = match row.kind {
        OwedKind::Reversal => {
            let attempt = operation.attempts.get(usize::from(row.attempt.id.number).checked_sub(1)?)?;
            ("reversal", &attempt.reversal.as_ref()?.lane)
        }
        OwedKind::Advice => ("advice", &operation.advice.as_ref()?.lane),
        OwedKind::Attempt | OwedKind::Held => return None,
    };
    Some(pb::OwedMessage {
        gateway_id: row.attempt.gateway.to_string(),
        transaction_id: row.attempt.id.transaction.to_string(),
        attempt_id: row.attempt.to_string(),
        link_id: link.to_string(),
        kind: kind.to_owned(),
        state: if row.parked { "PARKED" } else { "PENDING" }.to_owned(),
        amount_minor_units: lane.amount.to_wire(),
        currency_code: transaction.currency.code().to_owned(),
        since_unix_ms: unix_ms(row.time),
        proposed: lane.resolution.as_deref().filter(|proposed| proposed.is_open(now)).map(proposed_message),
    })
}

fn proposed_message(proposed: &ProposedResolution) -> pb::ProposedResolution {
    let resolution = match proposed.resolution {
        Resolution::Reversed => pb::Resolution::Reversed,
        Resolution::Stands => pb::Resolution::Stands,
    };
    pb::ProposedResolution {
        proposal_id: proposal_id(proposed.position),
        resolution: resolution.into(),
        author: proposed.author.clone(),
        evidence: proposed.evidence.clone(),
        since_unix_ms: unix_ms(proposed.since),
        expires_unix_ms: unix_ms(proposed.expires()),
    }
}

fn unix_ms(time: LogTime) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

fn gateway_record(gateway: &Gateway) -> pb::Gateway {
    let merchants = gateway.merchants.iter().map(|(id, grant)| pb::MerchantGrant {
        merchant_id: id.to_string(),
        terminal_ids: grant.terminals.iter().map(ToString::to_string).collect(),
        acquirer_id: grant.acquirer.as_str().to_owned(),
        enabled: grant.enabled,
    });
    let limits = gateway.limits.iter().map(|(currency, limit)| pb::Limit {
        currency_code: currency.code().to_owned(),
        per_operation_minor_units: limit.per_operation.to_wire(),
        per_day_minor_units: limit.per_day.to_wire(),
    });
    pb::Gateway {
        gateway_id: gateway.id.to_string(),
        principals: gateway.principals.clone(),
        enabled: gateway.enabled,
        merchants: merchants.collect(),
        limits: limits.collect(),
        requests_per_second: gateway.requests_per_second,
        burst: gateway.burst,
        concurrent: gateway.concurrent,
        require_sealed: gateway.require_sealed,
    }
}

fn network_record(network: &Network) -> pb::Network {
    let policy = match network.reversal_policy {
        ReversalPolicy::Always => pb::ReversalPolicy::Always,
        ReversalPolicy::Never => pb::ReversalPolicy::Never,
    };
    pb::Network {
        network_id: network.id.to_string(),
        enabled: network.enabled,
        attempt_timeout_ms: network.attempt_timeout_ms,
        in_flight_max_ms: network.in_flight_max_ms,
        reversal_policy: policy.into(),
        repeat_after_ms: network.repeat_after_ms,
        repeat_budget_ms: network.repeat_budget_ms,
        doubt_count_max: network.doubt_count_max,
        doubt_minor_units_max: network.doubt_amount_max.to_wire(),
        acknowledgement_proves_match: network.acknowledgement_proves_match,
        failover_codes: network.failover_codes.iter().map(|code| code.as_str().to_owned()).collect(),
        valid_days: network.valid_days,
        capture_tolerance_basis_points: network.capture_tolerance.clone().into_iter().collect(),
        release_expired: network.release_expired,
        reversal_has_own_trace_number: network.reversal_has_own_stan,
        refund_days: network.refund_days,
    }
}

fn link_record(link: &Link) -> pb::Link {
    pb::Link {
        link_id: link.id.to_string(),
        network_id: link.network.to_string(),
        address: link.address.clone(),
        server_name: link.server_name.clone(),
        enabled: link.enabled,
        in_flight_max: link.in_flight_max,
        exclusive: link.exclusive,
        institution_id: link.institution.as_str().to_owned(),
    }
}

fn route_record(route: &Route) -> pb::Route {
    pb::Route {
        route_id: route.id.to_string(),
        range_low: bound_digits(route.low, '0'),
        range_high: bound_digits(route.high, '9'),
        currency_codes: route.currencies.iter().map(|currency| currency.code().to_owned()).collect(),
        amount_min_minor_units: route.amount_min.to_wire(),
        amount_max_minor_units: route.amount_max.map_or(0, Amount::to_wire),
        priority: route.priority,
        network_id: route.network.to_string(),
        enabled: route.enabled,
        luhn: route.luhn,
    }
}

/// The shortest digits that are filled up to this bound: a range reads as an operator would write it.
fn bound_digits(bound: u64, fill: char) -> String {
    let digits = format!("{bound:019}");
    let kept = digits.trim_end_matches(fill);
    if kept.is_empty() { fill.to_string() } else { kept.to_owned() }
}

fn operation_record(transaction: &Transaction, index: usize, asked: &Operation) -> pb::OperationRecord {
    let told = asked.told.as_ref();
    let attempts = asked.attempts.iter().zip(1_u16..);
    pb::OperationRecord {
        request_id: asked.request_id.to_string(),
        method: method(asked.method).to_owned(),
        amount_minor_units: asked.amount.to_wire(),
        decision: told.map_or("", |told| decision(told.decision)).to_owned(),
        approved_minor_units: told.map_or(0, |told| told.approved.to_wire()),
        approval_code: told.map(|told| told.approval_code.as_str().to_owned()).unwrap_or_default(),
        journal_index: told.map_or(0, |told| told.position.index),
        journal_position: told.map_or(0, |told| told.position.place),
        attempts: attempts.map(|(held, number)| attempt_record(transaction, index, number, held)).collect(),
        network_state: asked.advice.as_ref().map_or("", |advice| advice_state(advice.lane.state)).to_owned(),
    }
}

fn attempt_record(transaction: &Transaction, operation: usize, number: u16, attempt: &Attempt) -> pb::AttemptRecord {
    let reference = AttemptRef { gateway: transaction.gateway.clone(), id: transaction.attempt_id(operation, number) };
    let reversal = attempt.reversal.as_ref();
    let (state, approved) = match &attempt.state {
        AttemptState::Open => ("OPEN", None),
        AttemptState::Approved(amount) => ("APPROVED", Some(*amount)),
        AttemptState::Declined => ("DECLINED", None),
        AttemptState::NotSent(_) => ("NOT_SENT", None),
        AttemptState::TimedOut => ("TIMED_OUT", None),
        AttemptState::Invalid => ("INVALID", None),
    };
    // What came too late, or could not be used, is known from the reversal it made.
    let approved = approved.or_else(|| reversal.and_then(|reversal| reversal.approved)).unwrap_or(Amount::ZERO);
    pb::AttemptRecord {
        attempt_id: reference.to_string(),
        network_id: attempt.network.to_string(),
        state: state.to_owned(),
        response_code: attempt.response_code.map(|code| code.as_str().to_owned()).unwrap_or_default(),
        approved_minor_units: approved.to_wire(),
        reversal_state: reversal.map_or("NONE", |reversal| reversal_state(reversal.lane.state)).to_owned(),
        reversed_minor_units: reversal.map_or(0, |reversal| match reversal.reason {
            ReversalReason::Remainder => reversal.lane.amount.to_wire(),
            ReversalReason::Timeout
            | ReversalReason::Cancelled
            | ReversalReason::InvalidResponse
            | ReversalReason::UnsupportedPartial => reversal.approved.unwrap_or(reversal.lane.amount).to_wire(),
        }),
        system_trace_audit_number: attempt.identity.stan.number(),
        late_approval: attempt.late_approval,
        opened_index: attempt.opened.index,
    }
}

/// What was asked, as the gateways' contract names it.
#[must_use]
pub fn method(method: Method) -> &'static str {
    match method {
        Method::Authorize => "AUTHORIZE",
        Method::Increment => "INCREMENT",
        Method::Capture => "CAPTURE",
        Method::Void => "VOID",
        Method::Refund => "REFUND",
        Method::Verify => "VERIFY",
    }
}

/// Where a transaction stands, as the gateways' contract names it.
#[must_use]
pub fn status(status: Status) -> &'static str {
    match status {
        Status::Open => "OPEN",
        Status::Authorized => "AUTHORIZED",
        Status::PartiallyCaptured => "PARTIALLY_CAPTURED",
        Status::Captured => "CAPTURED",
        Status::Refunded => "REFUNDED",
        Status::Declined => "DECLINED",
        Status::TimedOut => "TIMED_OUT",
        Status::Voided => "VOIDED",
        Status::Expired => "EXPIRED",
        Status::Verified => "VERIFIED",
        Status::Unresolved => "UNRESOLVED",
    }
}

/// As the gateways' contract names it; what nobody knows was never told, and stays empty.
#[must_use]
pub fn decision(decision: Decision) -> &'static str {
    match decision {
        Decision::Approved => "APPROVED",
        Decision::PartiallyApproved => "PARTIALLY_APPROVED",
        Decision::Declined => "DECLINED",
        Decision::TimedOut => "TIMED_OUT",
        Decision::Voided => "VOIDED",
        Decision::Unresolved => "",
    }
}

/// Where a reversal stands.
#[must_use]
pub fn reversal_state(state: LaneState) -> &'static str {
    match state {
        LaneState::Pending => "PENDING",
        LaneState::Acknowledged => "ACKNOWLEDGED",
        LaneState::NotFound => "NOT_FOUND",
        LaneState::Parked { .. } => "PARKED",
        LaneState::Resolved(_) => "RESOLVED",
    }
}

/// Where an advice stands.
#[must_use]
pub fn advice_state(state: LaneState) -> &'static str {
    match state {
        LaneState::Pending => "PENDING",
        LaneState::Acknowledged => "ACKNOWLEDGED",
        LaneState::Resolved(_) => "RESOLVED",
        LaneState::Parked { .. } | LaneState::NotFound => "PARKED",
    }
}
