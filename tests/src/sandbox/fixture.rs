//! Messages of a switch that keeps the rules, for the tests of the sandbox.

use switch_proto::network::v1 as wire;
use wire::{exchange_request::Body as Asked, exchange_response::Body as Told};

use super::{Policy, cards, proto, proto::record::Entry};

pub(super) const KILLS: Policy = Policy { reversal_first_kills_original: true, capture_tolerance_basis_points: 0 };
pub(super) const KEEPS: Policy = Policy { reversal_first_kills_original: false, capture_tolerance_basis_points: 0 };

/// Identity number `n`; its attempt id starts with a letter that says what it is.
pub(super) fn identity(letter: char, n: u32) -> wire::MessageIdentity {
    wire::MessageIdentity {
        attempt_id: format!("{letter}-{n}"),
        system_trace_audit_number: n,
        retrieval_reference_number: format!("RRN{n:0>9}"),
        transmission_time: "1122101500".into(),
        acquirer_id: "4711".into(),
    }
}

pub(super) fn purchase(n: u32, number: &str, amount: i64) -> wire::RequestFields {
    wire::RequestFields {
        identity: Some(identity('a', n)),
        purpose: wire::Purpose::Purchase.into(),
        amount_minor_units: amount,
        currency_code: "EUR".into(),
        card: Some(wire::CardData {
            primary_account_number: number.into(),
            expiry: "3012".into(),
            ..Default::default()
        }),
        merchant_id: "MERCHANT".into(),
        ..Default::default()
    }
}

pub(super) fn follow_up(n: u32, purpose: wire::Purpose, of: &wire::RequestFields, amount: i64) -> wire::RequestFields {
    wire::RequestFields {
        purpose: purpose.into(),
        original_attempt_id: attempt_id(of).into(),
        ..purchase(n, &of.card.as_ref().expect("card").primary_account_number, amount)
    }
}

pub(super) fn verification(n: u32, number: &str) -> wire::RequestFields {
    wire::RequestFields { purpose: wire::Purpose::Verification.into(), ..purchase(n, number, 0) }
}

/// A full reversal after a time-out.
pub(super) fn reversal(n: u32, of: &wire::RequestFields) -> wire::Reversal {
    wire::Reversal {
        identity: Some(identity('r', n)),
        repeat: false,
        original_attempt_id: attempt_id(of).into(),
        original: of.identity.clone(),
        requested_minor_units: of.amount_minor_units,
        approved_minor_units: 0,
        reversed_minor_units: of.amount_minor_units,
        currency_code: of.currency_code.clone(),
        reason: wire::ReversalReason::Timeout.into(),
        card: None,
        merchant_id: "MERCHANT".into(),
        terminal_id: String::new(),
    }
}

pub(super) fn remainder(n: u32, of: &wire::RequestFields, amount: i64) -> wire::Reversal {
    wire::Reversal { reversed_minor_units: amount, reason: wire::ReversalReason::Remainder.into(), ..reversal(n, of) }
}

pub(super) fn capture(n: u32, of: &wire::RequestFields, amount: i64) -> wire::Advice {
    wire::Advice {
        identity: Some(identity('c', n)),
        original_attempt_id: attempt_id(of).into(),
        amount_minor_units: amount,
        currency_code: of.currency_code.clone(),
        r#final: true,
        ..Default::default()
    }
}

pub(super) fn attempt_id(of: &wire::RequestFields) -> &str {
    &of.identity.as_ref().expect("identity").attempt_id
}

pub(super) fn authorization(fields: wire::RequestFields) -> Asked {
    Asked::Authorization(wire::AuthorizationRequest { request: Some(fields) })
}

pub(super) fn financial(fields: wire::RequestFields) -> Asked {
    Asked::Financial(wire::FinancialRequest { request: Some(fields) })
}

pub(super) fn management(kind: wire::ManagementKind) -> Asked {
    Asked::Management(wire::NetworkManagement {
        kind: kind.into(),
        institution_id: "SWITCH".into(),
        ..Default::default()
    })
}

/// The code of any answer; a management answer's code is marked.
pub(super) fn code(told: &Told) -> String {
    match told {
        Told::Response(answer) => answer.response_code.clone(),
        Told::Reversal(answer) => answer.response_code.clone(),
        Told::Advice(answer) => answer.response_code.clone(),
        Told::Management(answer) => format!("{:?} {}", answer.kind(), answer.response_code),
    }
}

pub(super) fn violations(records: &[proto::Record]) -> Vec<proto::ViolationKind> {
    let violation = |record: &proto::Record| match &record.entry {
        Some(Entry::Violation(violation)) => Some(violation.kind()),
        _ => None,
    };
    records.iter().filter_map(violation).collect()
}

/// A card that does nothing special.
pub(super) const PLAIN: &str = cards::APPROVED_VISA;
