//! What must hold in the table after every command: what is owed, in doubt and used of a day is recomputed from the
//! transactions and compared with the rows that say so. The suite that drives the book against its model includes this file
//! too, so it names the domain through its parent.

use std::collections::{BTreeMap, BTreeSet};

use super::domain::{
    id::{AttemptRef, GatewayId, LinkId, NetworkId, RequestId, Rrn, Stan, TransactionId},
    limits,
    money::{Amount, Currency},
    outcome::Decision,
    table::{DoubtRow, EventRow, Key, MemoryTable, OwedKind, OwedRow, RequestRow, Row},
    transaction::{
        Attempt, AttemptState, Lane, LaneState, Method, Operation, Resolution, ReversalPolicy, ReversalReason,
        Transaction,
    },
};

/// Panics where the rows of a table contradict each other.
pub(super) fn check_invariants(table: &MemoryTable) {
    let mut expected = Expected::default();
    for (key, row) in &table.rows {
        if let (Key::Transaction(gateway, id), Row::Transaction(transaction)) = (key, row) {
            assert_eq!((gateway, id), (&transaction.gateway, &transaction.id), "a transaction stands at its own key");
            expected.add(transaction);
            check_shape(transaction);
            check_sums(transaction);
        }
    }
    let mut events: BTreeMap<(GatewayId, TransactionId), Vec<&EventRow>> = BTreeMap::new();
    let mut keys = 0;
    // Rows that nobody may need any more are dropped: their events go before, and on their own (R9, R20).
    let forgets = table.rows.keys().any(|key| matches!(key, Key::EventsForgotten(_) | Key::Forgotten));
    for (key, row) in &table.rows {
        match (key, row) {
            (Key::Owed(link, stan), Row::Owed(row)) => expected.check_owed(link, *stan, row),
            (Key::Doubt(network), Row::Doubt(row)) => {
                let doubt = expected.doubt.remove(network).unwrap_or_default();
                assert_eq!(row, &doubt, "doubt of {network} is the sum of its lanes that are not final (R23)");
            }
            (Key::DayUse(gateway, currency, day), Row::Sum(sum)) => {
                let used = expected.days.remove(&(gateway.clone(), *currency, *day)).unwrap_or_default();
                assert_eq!(sum.minor_units(), used, "use of day {day} is the sum of what is reserved (R24)");
            }
            (Key::Request(gateway, original, request_id), Row::Request(row)) => match row {
                RequestRow::Operation { transaction, operation } => {
                    let known = expected.keys.get(&(gateway.clone(), *original, request_id.clone()));
                    assert_eq!(known, Some(&(*transaction, *operation)), "key {request_id} names its operation (R5)");
                    keys += 1;
                }
                RequestRow::Tombstone { voids } => {
                    assert!((1..=limits::TOMBSTONE_VOIDS_MAX).contains(&voids.len()) && original.is_none());
                    for void in voids {
                        let named = table.rows.get(&Key::Tombstone(gateway.clone(), void.position));
                        let last = voids.last().is_some_and(|last| last.position == void.position);
                        assert!(!last || named == Some(&Row::RequestId(request_id.clone())), "found by its age (R9)");
                    }
                }
            },
            (Key::Event(gateway, _), Row::Event(event)) => {
                events.entry((gateway.clone(), event.transaction)).or_default().push(event);
            }
            (Key::EventsForgotten(_), Row::Position(_))
            | (Key::Forgotten, Row::Time(_))
            | (Key::ClockAgreement, Row::Clock(_))
            | (Key::Tombstone(..), Row::RequestId(_)) => {}
            (Key::Transaction(..), Row::Transaction(_)) | (Key::NextStan(_) | Key::NextRrn, Row::Counter(_)) => {}
            (key, row) => panic!("{row:?} stands at {key:?}"),
        }
    }
    assert!(expected.owed.is_empty(), "owed, and in no row: {:?}", expected.owed);
    let freed: Vec<_> = expected.held.iter().filter(|(_, (_, must))| *must).collect();
    assert!(freed.is_empty(), "carried by what nobody acknowledged, and free (R14): {freed:?}");
    assert!(expected.doubt.is_empty(), "in doubt, and in no row: {:?}", expected.doubt);
    assert!(expected.days.values().all(|used| *used == 0), "reserved, and in no row: {:?}", expected.days);
    assert_eq!(keys, expected.keys.len(), "every operation has its key");
    for (key, row) in &table.rows {
        if let (Key::Transaction(gateway, id), Row::Transaction(transaction)) = (key, row) {
            check_events(transaction, events.remove(&(gateway.clone(), *id)).unwrap_or_default().as_slice(), forgets);
        }
    }
    assert!(events.is_empty() || forgets, "events of nothing: {events:?}");
}

/// Panics where a command changed what is fixed for ever.
pub(super) fn check_transition(before: &Transaction, after: &Transaction) {
    assert!(after.revision >= before.revision && after.operations.len() >= before.operations.len());
    assert_eq!((before.id, before.currency, before.created), (after.id, after.currency, after.created));
    assert!(after.expired || !before.expired);
    for (old, new) in before.operations.iter().zip(&after.operations) {
        assert_eq!((&old.request_id, old.method, old.amount), (&new.request_id, new.method, new.amount));
        assert_eq!((old.fingerprint, old.accepted), (new.fingerprint, new.accepted));
        assert!(old.told.is_none() || old.told == new.told, "what was told never changes (R3): {old:?} {new:?}");
        assert!(new.attempts.len() >= old.attempts.len());
        assert!(
            new.day_reserved <= old.day_reserved
                || (new.day_reserved == new.amount && new.attempts.iter().any(Attempt::in_doubt)),
            "a reservation is given back, and taken again for what is in doubt again (R11, R24)"
        );
        for (old, new) in old.attempts.iter().zip(&new.attempts) {
            assert_eq!(
                (old.identity, old.terms, old.owner),
                (new.identity, new.terms, new.owner),
                "fixed at Open (R14)"
            );
            assert_eq!((old.deadline, old.opened), (new.deadline, new.opened));
            assert!(old.state == AttemptState::Open || old.state == new.state, "a closed attempt stays closed");
            assert!(new.approvals.len() >= old.approvals.len());
            if let Some(old) = &old.reversal {
                let new = new.reversal.as_ref().expect("a reversal is never forgotten");
                assert_eq!(old.reason, new.reason);
                assert!(old.approvals_reversed <= new.approvals_reversed, "a reversed approval stays so (R13)");
                check_lane(&old.lane, &new.lane);
                if old.lane.generation != new.lane.generation {
                    let renumbered = old.lane.identity.stan != new.lane.identity.stan;
                    assert!(renumbered || old.superseded.len() == limits::SUPERSEDED_MAX, "its own number (R14)");
                    let same = (old.approvals_reversed, &old.passed_over) == (new.approvals_reversed, &new.passed_over);
                    assert!(
                        !same || new.lane.amount == old.lane.amount,
                        "the same is asked for again: {old:?} {new:?}"
                    );
                }
            }
        }
        if let Some(old) = &old.advice {
            check_lane(&old.lane, &new.advice.as_ref().expect("an advice is never forgotten").lane);
        }
    }
}

fn check_lane(old: &Lane, new: &Lane) {
    if old.generation == new.generation {
        assert_eq!(
            (old.identity, old.amount, old.since),
            (new.identity, new.amount, new.since),
            "repeats are equal (R14)"
        );
        assert!(!old.state.is_final() || old.state == new.state, "what is final stays so in its generation (R13)");
    } else {
        assert_eq!(new.generation, old.generation + 1);
        assert_eq!((old.identity.rrn, new.state), (new.identity.rrn, LaneState::Pending));
    }
}

/// What the transactions say that the other rows must hold.
#[derive(Default)]
struct Expected {
    owed: BTreeMap<(LinkId, Stan), OwedRow>,
    /// Numbers that may be held beside: originals whose reversal carries another; true where they must be.
    held: BTreeMap<(LinkId, Stan), (AttemptRef, bool)>,
    doubt: BTreeMap<NetworkId, DoubtRow>,
    days: BTreeMap<(GatewayId, Currency, u32), u64>,
    keys: BTreeMap<(GatewayId, Option<TransactionId>, RequestId), (TransactionId, u16)>,
    rrns: BTreeSet<Rrn>,
}

impl Expected {
    fn add(&mut self, transaction: &Transaction) {
        for (index, operation) in transaction.operations.iter().enumerate() {
            let day = (transaction.gateway.clone(), transaction.currency, operation.accepted.day());
            *self.days.entry(day).or_default() += operation.day_reserved.minor_units();
            let original = (index > 0).then_some(transaction.id);
            let key = (transaction.gateway.clone(), original, operation.request_id.clone());
            let named = (transaction.id, u16::try_from(index).expect("few operations"));
            assert_eq!(self.keys.insert(key, named), None, "a key has one operation");
            for (number, attempt) in operation.attempts.iter().enumerate() {
                let number = u16::try_from(number + 1).expect("few attempts");
                let name =
                    AttemptRef { gateway: transaction.gateway.clone(), id: transaction.attempt_id(index, number) };
                assert!(self.rrns.insert(attempt.identity.rrn), "an RRN is unique in the cluster (R14)");
                if attempt.state == AttemptState::Open {
                    let row = OwedRow {
                        attempt: name.clone(),
                        kind: OwedKind::Attempt,
                        parked: false,
                        time: attempt.deadline,
                    };
                    self.owe(&attempt.link, attempt.identity.stan, row);
                }
                let Some(reversal) = &attempt.reversal else { continue };
                assert_eq!(reversal.lane.identity.rrn, attempt.identity.rrn, "a reversal carries its original's RRN");
                self.lane(transaction, &attempt.link, &attempt.network, &name, OwedKind::Reversal, &reversal.lane);
                if !reversal.lane.state.is_final() && reversal.lane.identity.stan != attempt.identity.stan {
                    let must = attempt.terms.reversal_has_own_stan
                        && reversal.lane.generation == 0
                        && matches!(reversal.reason, ReversalReason::Timeout);
                    self.held.insert((attempt.link.clone(), attempt.identity.stan), (name.clone(), must));
                }
                for stan in &reversal.superseded {
                    assert!(!reversal.lane.state.is_final(), "what is over holds no trace number");
                    self.held.insert((attempt.link.clone(), *stan), (name.clone(), true));
                }
            }
            if let Some(advice) = &operation.advice {
                let name = AttemptRef { gateway: transaction.gateway.clone(), id: transaction.attempt_id(index, 1) };
                assert!(self.rrns.insert(advice.lane.identity.rrn), "an RRN is unique in the cluster (R14)");
                self.lane(transaction, &advice.link, &advice.network, &name, OwedKind::Advice, &advice.lane);
            }
        }
    }

    fn lane(
        &mut self,
        transaction: &Transaction,
        link: &LinkId,
        network: &NetworkId,
        name: &AttemptRef,
        kind: OwedKind,
        lane: &Lane,
    ) {
        if lane.state.is_final() {
            return;
        }
        let parked = matches!(lane.state, LaneState::Parked { .. });
        self.owe(link, lane.identity.stan, OwedRow { attempt: name.clone(), kind, parked, time: lane.since });
        let doubt = self.doubt.entry(network.clone()).or_default();
        doubt.count += 1;
        doubt.parked += u32::from(parked);
        if !lane.amount.is_zero() {
            *doubt.amounts.entry(transaction.currency).or_default() += lane.amount.minor_units();
        }
    }

    fn owe(&mut self, link: &LinkId, stan: Stan, row: OwedRow) {
        let other = self.owed.insert((link.clone(), stan), row);
        assert_eq!(other, None, "trace number {stan:?} of {link} is carried twice (R14)");
    }

    fn check_owed(&mut self, link: &LinkId, stan: Stan, row: &OwedRow) {
        let place = (link.clone(), stan);
        if row.kind == OwedKind::Held {
            let held = self.held.remove(&place).map(|(name, _)| name);
            assert_eq!(held.as_ref(), Some(&row.attempt), "a held number belongs to a reversal that is not final");
        } else {
            assert_eq!(self.owed.remove(&place).as_ref(), Some(row), "a row says what is owed, and no more");
            assert!(!matches!(self.held.get(&place), Some((_, true))), "the original's number is still out (R14)");
        }
    }
}

fn check_shape(transaction: &Transaction) {
    assert!(transaction.operations.len() <= limits::OPERATIONS_MAX);
    for (index, operation) in transaction.operations.iter().enumerate() {
        assert_eq!(index == 0, matches!(operation.method, Method::Authorize | Method::Verify));
        assert!(operation.attempts.len() <= limits::ATTEMPTS_MAX);
        let open = operation.attempts.iter().filter(|attempt| attempt.state == AttemptState::Open).count();
        assert_eq!(
            open,
            usize::from(operation.told.is_none()),
            "one attempt is open until the decision: {operation:?}"
        );
        assert!(open == 0 || operation.last_attempt().is_some_and(|last| last.state == AttemptState::Open));
        assert!(operation.day_reserved <= operation.amount);
        for attempt in &operation.attempts {
            assert!(attempt.approvals.len() <= limits::APPROVALS_MAX);
            if let Some(reversal) = &attempt.reversal {
                let reversed = usize::from(reversal.approvals_reversed);
                assert!(reversed <= attempt.approvals.len() && reversal.superseded.len() <= limits::SUPERSEDED_MAX);
                // What comes after two persons found that the money stands is theirs to look into (R25).
                let pending = reversal.lane.state == LaneState::Pending || reversal.stands();
                assert!(
                    pending || reversed > 0 || attempt.approvals.is_empty(),
                    "an approval wakes its reversal (R13)"
                );
                let over = !pending && reversal.lane.state.is_final() && reversal.reason != ReversalReason::Remainder;
                assert!(!over || reversed == attempt.approvals.len(), "each approval is reversed by itself (R13)");
                let passed_over = reversal.passed_over.len();
                assert!(passed_over == 0 || passed_over < reversed, "the lane is about another one (R13)");
                assert!(
                    passed_over == 0 || !reversal.lane.state.is_final() || reversal.stands(),
                    "not found, and yet over (R13)"
                );
            }
            let reversible =
                operation.method != Method::Verify && attempt.terms.reversal_policy == ReversalPolicy::Always;
            assert!(reversible || attempt.reversal.is_none(), "what takes no reversals gets none (R22)");
            if matches!(attempt.state, AttemptState::TimedOut | AttemptState::Invalid) && reversible {
                assert!(attempt.reversal.is_some(), "sent and not answered is reversed (R3)");
            }
            if let Some(reversal) = &attempt.reversal
                && reversal.lane.state == LaneState::NotFound
            {
                assert!(attempt.approvals.is_empty(), "known to be approved and yet not found (R13)");
            }
        }
        check_told(transaction, operation);
    }
}

fn check_told(transaction: &Transaction, operation: &Operation) {
    let Some(told) = &operation.told else { return };
    let approved = matches!(told.decision, Decision::Approved | Decision::PartiallyApproved);
    assert!(approved || told.approved.is_zero(), "only an approval has an amount");
    let Some(last) = operation.last_attempt() else { return };
    if approved {
        assert!(matches!(last.state, AttemptState::Approved(_)), "an approval was committed (R3)");
        if !transaction.is_voided() {
            assert_eq!(last.standing(), told.approved, "an approval that was told stands (R21)");
        }
    } else if operation.method != Method::Verify {
        for attempt in &operation.attempts {
            let operators_word = attempt.reversal.as_ref().map(|reversal| reversal.lane.state)
                == Some(LaneState::Resolved(Resolution::Stands));
            assert!(operators_word || attempt.standing().is_zero(), "money stands and was not told (R21)");
        }
    }
}

fn check_sums(transaction: &Transaction) {
    let totals = transaction.totals();
    let attempts = || transaction.operations.iter().flat_map(|operation| &operation.attempts);
    // A second answer of the network, bytes that left after all, or an operator's word, may show more than the book allowed.
    let surprised = attempts().any(|attempt| {
        let surprise = attempt.reversal.as_ref().is_some_and(|found| {
            found.lane.generation > 0
                || matches!(found.lane.state, LaneState::Resolved(_))
                || matches!(attempt.state, AttemptState::NotSent(_))
        });
        attempt.late_approval || attempt.conflicting_answer || surprise
    }) || transaction.operations.iter().any(|operation| {
        operation.advice.as_ref().is_some_and(|advice| matches!(advice.lane.state, LaneState::Resolved(_)))
    });
    if surprised {
        return;
    }
    let taken = totals.refunded.minor_units() + totals.refunds_in_doubt.minor_units();
    assert!(taken <= totals.captured.minor_units(), "more is refunded than was captured (R11): {totals:?}");
    let tolerance = transaction.first().last_attempt().map_or(0, |last| last.terms.capture_tolerance_basis_points);
    assert!(totals.captured <= totals.authorized.raised_by_basis_points(tolerance), "captured too much: {totals:?}");
    let released = attempts().fold(Amount::ZERO, |sum, attempt| sum.plus(attempt.released()).expect("a small sum"));
    let held = totals.authorized.saturating_minus(totals.captured).saturating_minus(released);
    assert_eq!(totals.held, held, "hold = approved - reversed - released - captured (R21)");
}

/// Revisions have no gaps and every change of what is told is an event (R20).
fn check_events(transaction: &Transaction, events: &[&EventRow], forgets: bool) {
    let revisions: Vec<u32> = events.iter().map(|event| event.revision).collect();
    let first = if forgets { transaction.revision + 1 - u32::try_from(events.len()).expect("few events") } else { 1 };
    let expected: Vec<u32> = (first..=transaction.revision).collect();
    assert_eq!(revisions, expected, "events in order and without gaps (R20)");
    if let Some(last) = events.last() {
        assert_eq!(last.status, transaction.status(), "the last event shows where it stands (R20)");
    }
    let was_tombstone = transaction.first().attempts.is_empty();
    for (index, operation) in transaction.operations.iter().enumerate() {
        let last = events
            .iter()
            .rev()
            .find(|event| event.request_id == operation.request_id && event.method == operation.method);
        let now = (
            operation.told.as_ref().map(|told| told.decision),
            operation.reversal_state(),
            operation.advice.as_ref().map(|advice| advice.lane.state),
        );
        match last {
            Some(last) => assert_eq!((last.decision, last.reversal, last.advice), now, "each change is an event (R20)"),
            // A void of a key that was not seen was told before there was a transaction to watch.
            None => assert!(
                forgets || now == (None, None, None) || (was_tombstone && index > 0),
                "{now:?} without an event"
            ),
        }
    }
}
