//! S2 and R21: per transaction and currency, what is held, captured and refunded agrees in the networks' books, in ours
//! and with what was told, to the minor unit.

use std::collections::HashMap;

use switch_proto::gateway::v1::{Decision, NetworkState, ReversalState};

use crate::{
    auditor::{
        evidence::{Operation, Purpose, Record, Sums},
        joined::Joined,
        report::Findings,
    },
    history::{Invocation, Method},
};

pub(in crate::auditor) fn check(joined: &Joined<'_>, findings: &mut Findings) {
    let told = told_by_transaction(joined);
    for record in joined.records() {
        if still_moving(record) {
            // Listed with its amount by the check of reversals; its sums may differ for as long as it moves.
            continue;
        }
        let ours = Sums { held: record.held, captured: record.captured, refunded: record.refunded };
        let theirs = network_sums(joined, record);
        if ours != theirs {
            findings.broken("R21", &record.id, differ("the journal", ours, "the networks", theirs, record));
        }
        if let Some(told) = told_sums(record, told.get(&*record.id).map_or(&[], Vec::as_slice))
            && told != ours
        {
            findings.broken("R21", &record.id, differ("the journal", ours, "what was told", told, record));
        }
    }
    if joined.everything() {
        totals(joined, findings);
    }
}

/// True while a reversal, an advice or an answer may still change the sums, and where an operator closed the books by
/// hand.
fn still_moving(record: &Record) -> bool {
    record.operations.iter().any(|operation| {
        operation.decision == Decision::Unspecified && operation.method != Method::Verify
            || matches!(operation.advice, NetworkState::Pending | NetworkState::Parked | NetworkState::Resolved)
            || operation.attempts.iter().any(|attempt| {
                matches!(attempt.reversal, ReversalState::Pending | ReversalState::Parked | ReversalState::Resolved)
            })
    })
}

/// What the networks hold for a transaction: the sums of every first authorization that belongs to it.
fn network_sums(joined: &Joined<'_>, record: &Record) -> Sums {
    let mut sums = Sums::default();
    let attempts = record.operations.iter().flat_map(|operation| &operation.attempts);
    for (_, booked) in attempts.flat_map(|attempt| joined.booked(&attempt.id)) {
        if let Some(own) = booked.sums.filter(|_| booked.purpose == Purpose::Purchase) {
            sums.held += own.held;
            sums.captured += own.captured;
            sums.refunded += own.refunded;
        }
    }
    sums
}

/// Each currency as a whole: catches money of attempts that belong to no transaction.
fn totals(joined: &Joined<'_>, findings: &mut Findings) {
    let mut difference: HashMap<_, (i64, i64, i64)> = HashMap::new();
    for record in joined.records().iter().filter(|record| !still_moving(record)) {
        let sum = difference.entry(record.currency).or_default();
        *sum = (sum.0 + record.held, sum.1 + record.captured, sum.2 + record.refunded);
    }
    for booked in joined.networks().iter().flat_map(|books| &books.attempts) {
        let moving = joined.intent(&booked.id).is_some_and(|intent| still_moving(intent.record));
        if let Some(own) = booked.sums.filter(|_| booked.purpose == Purpose::Purchase && !moving) {
            let sum = difference.entry(booked.currency).or_default();
            *sum = (sum.0 - own.held, sum.1 - own.captured, sum.2 - own.refunded);
        }
    }
    for (currency, difference) in difference {
        if difference != (0, 0, 0) {
            let (held, captured, refunded) = difference;
            let text = format!("ours minus theirs: held {held}, captured {captured}, refunded {refunded}");
            findings.broken("S2", currency.as_str(), text);
        }
    }
}

/// The first decision told for each operation, by transaction.
fn told_by_transaction<'a>(joined: &Joined<'a>) -> HashMap<&'a str, Vec<&'a Invocation>> {
    let mut told: HashMap<&str, Vec<&Invocation>> = HashMap::new();
    for key in joined.keys() {
        let first = key.calls.iter().find_map(|call| joined.stored(call).map(|told| (told, *call)));
        if let Some((answer, call)) = first {
            told.entry(joined.transaction_of(call, answer)).or_default().push(call);
        }
    }
    told
}

/// What a gateway that kept its own ledger would believe. Nothing where it was not told of every operation.
fn told_sums(record: &Record, calls: &[&Invocation]) -> Option<Sums> {
    let told_of = |operation: &Operation| {
        calls.iter().find(|call| call.method == operation.method && call.request_id == operation.request_id)
    };
    let (mut authorized, mut captured, mut refunded) = (0, 0, 0);
    let (mut voided, mut settled) = (false, false);
    for operation in &record.operations {
        let call = told_of(operation)?;
        let told = call.outcome.told()?;
        match call.method {
            Method::Authorize if told.approved() => {
                authorized += told.approved_minor_units;
                if call.settling {
                    captured += told.approved_minor_units;
                }
            }
            Method::Increment if told.approved() => authorized += told.approved_minor_units,
            Method::Capture if told.approved() => {
                captured += call.amount_minor_units;
                settled |= call.settling;
            }
            Method::Refund if told.approved() => refunded += call.amount_minor_units,
            Method::Void if matches!(told.decision, Decision::Approved | Decision::Voided) => voided = true,
            _ => {}
        }
    }
    Some(match (voided, settled) {
        (true, _) => Sums { held: 0, captured: 0, refunded },
        (false, true) => Sums { held: 0, captured, refunded },
        (false, false) => Sums { held: authorized - captured, captured, refunded },
    })
}

fn differ(one: &str, a: Sums, other: &str, b: Sums, record: &Record) -> String {
    format!(
        "{one}: held {}, captured {}, refunded {}; {other}: held {}, captured {}, refunded {} {} minor units",
        a.held, a.captured, a.refunded, b.held, b.captured, b.refunded, record.currency
    )
}
