//! Histories that an auditor must reject, and for the right reason. Each begins with a world in which everything is as it
//! should be, and breaks one thing.

use std::collections::BTreeSet;

use switch_proto::gateway::v1::{
    Decision, DecisionSource, NetworkState, OperationResult, Outcome as PbOutcome, ReversalState, Sent,
};

use super::{
    Scope, audit,
    evidence::{
        Advised, Attempt, AttemptState, Booked, Books, Evidence, Export, Operation, Purpose, Record, Sums, Undone,
    },
    report::{Report, Verdict},
};
use crate::history::{Currency, Invocation, Method, Outcome, Read, Told};

const EUR: &str = "EUR";
const AMOUNT: i64 = 1000;

/// Transactions of the world, by place in every list.
const APPROVED: usize = 0;
const DECLINED: usize = 1;
const TIMED_OUT: usize = 2;
const CAPTURED: usize = 3;
const VOIDED: usize = 4;
const SALE: usize = 5;

/// A world of six transactions, each done by the book.
struct World {
    evidence: Evidence,
    clock_us: u64,
    index: u64,
}

impl World {
    fn new() -> Self {
        let network = Books { network: "aurora".into(), ..Books::default() };
        let evidence = Evidence { networks: vec![network], ..Evidence::default() };
        let mut world = Self { evidence, clock_us: 0, index: 0 };
        for (number, (decision, state)) in [
            (Decision::Approved, AttemptState::Approved),
            (Decision::Declined, AttemptState::Declined),
            (Decision::TimedOut, AttemptState::TimedOut),
            (Decision::Approved, AttemptState::Approved),
            (Decision::Approved, AttemptState::Approved),
            (Decision::Approved, AttemptState::Approved),
        ]
        .into_iter()
        .enumerate()
        {
            world.authorize(number, decision, state);
        }
        world.capture(CAPTURED);
        world.refund(CAPTURED);
        world.void(VOIDED);
        world.evidence.calls[SALE].settling = true;
        world.books().attempts[SALE].financial = true;
        world.settle(SALE, Sums { held: 0, captured: AMOUNT, refunded: 0 });
        world.read(APPROVED);
        let rows: Vec<u64> = (0..6).collect();
        for node in ["one", "two", "three"] {
            let (state_hash, rows) = (vec![7], rows.clone());
            world.evidence.exports.push(Export { node: node.into(), applied_index: world.index, state_hash, rows });
        }
        world
    }

    fn books(&mut self) -> &mut Books {
        &mut self.evidence.networks[0]
    }

    fn next_index(&mut self) -> u64 {
        self.index += 1;
        self.index
    }

    /// A call that took ten microseconds.
    fn call(&mut self, request_id: &str, method: Method, original: &str, amount: i64, outcome: Outcome) {
        self.clock_us += 20;
        self.evidence.calls.push(Invocation {
            invoked_us: self.clock_us,
            returned_us: self.clock_us + 10,
            gateway: "shop".into(),
            request_id: request_id.into(),
            method,
            original: original.into(),
            digest: 1,
            amount_minor_units: amount,
            currency: Currency::new(EUR),
            settling: false,
            node: 0,
            outcome,
        });
    }

    fn authorize(&mut self, number: usize, decision: Decision, state: AttemptState) {
        let approved = if decision == Decision::Approved { AMOUNT } else { 0 };
        let (key, id) = (format!("key-{number}"), format!("tx-{number}"));
        let (opened_index, decided) = (self.next_index(), self.next_index());
        let told = told(&id, decision, approved, decided);
        self.call(&key, Method::Authorize, "", AMOUNT, ok(told.clone()));
        let reversed = state == AttemptState::TimedOut;
        let attempt = Attempt {
            id: format!("attempt-{number}").into(),
            network: "aurora".into(),
            state,
            response_code: told.response_code.clone(),
            approved,
            reversal: if reversed { ReversalState::Acknowledged } else { ReversalState::None },
            system_trace_audit_number: 100 + u32::try_from(number).expect("six"),
            late_approval: false,
            opened_index,
        };
        self.evidence.records.push(Record {
            gateway: "shop".into(),
            id: id.into(),
            currency: Currency::new(EUR),
            captured: 0,
            refunded: 0,
            held: approved,
            operations: Box::new([operation(&key, Method::Authorize, &told, vec![attempt.clone()])]),
        });
        // The network approved what it did not answer, and undid it when it was told to.
        let given = if reversed { AMOUNT } else { approved };
        self.books().attempts.push(Booked {
            id: attempt.id.clone(),
            purpose: Purpose::Purchase,
            financial: false,
            amount: AMOUNT,
            currency: Currency::new(EUR),
            system_trace_audit_number: attempt.system_trace_audit_number,
            response_code: if given > 0 { "00" } else { "05" }.into(),
            approval_code: if given > 0 { "A1" } else { "" }.into(),
            approved: given,
            reversed: if reversed { AMOUNT } else { 0 },
            copy: 1,
            sums: Some(Sums { held: approved, captured: 0, refunded: 0 }),
        });
        if reversed {
            self.books().reversals.push(Undone { original: attempt.id, acknowledged: true, not_found: false });
        }
    }

    fn follow(&mut self, number: usize, key: &str, method: Method, amount: i64) -> Operation {
        let id = format!("tx-{number}");
        let decided = self.next_index();
        let told = told(&id, Decision::Approved, amount, decided);
        self.call(key, method, &id, amount, ok(told.clone()));
        operation(key, method, &told, Vec::new())
    }

    fn add(&mut self, number: usize, operation: Operation) {
        let record = &mut self.evidence.records[number];
        let mut operations = std::mem::take(&mut record.operations).into_vec();
        operations.push(operation);
        record.operations = operations.into();
    }

    /// Takes 600 of 1000, the rest is released.
    fn capture(&mut self, number: usize) {
        let mut capture = self.follow(number, "capture", Method::Capture, 600);
        capture.advice = NetworkState::Acknowledged;
        self.evidence.calls.last_mut().expect("just added").settling = true;
        self.add(number, capture);
        let original = format!("attempt-{number}").into();
        self.books().advices.push(Advised { original, amount: 600, booked: true });
    }

    /// Gives 100 back.
    fn refund(&mut self, number: usize) {
        let opened_index = self.next_index();
        let mut refund = self.follow(number, "refund", Method::Refund, 100);
        refund.attempts = Box::new([Attempt {
            id: "refund-attempt".into(),
            network: "aurora".into(),
            state: AttemptState::Approved,
            response_code: "00".into(),
            approved: 100,
            reversal: ReversalState::None,
            system_trace_audit_number: 200,
            late_approval: false,
            opened_index,
        }]);
        self.add(number, refund);
        self.books().attempts.push(Booked {
            id: "refund-attempt".into(),
            purpose: Purpose::Refund,
            financial: true,
            amount: 100,
            currency: Currency::new(EUR),
            system_trace_audit_number: 200,
            response_code: "00".into(),
            approval_code: "A1".into(),
            approved: 100,
            reversed: 0,
            copy: 1,
            sums: None,
        });
        self.settle(number, Sums { held: 0, captured: 600, refunded: 100 });
    }

    fn void(&mut self, number: usize) {
        let void = self.follow(number, "void", Method::Void, 0);
        self.add(number, void);
        self.evidence.records[number].operations[0].attempts[0].reversal = ReversalState::Acknowledged;
        self.books().attempts[number].reversed = AMOUNT;
        let original = format!("attempt-{number}").into();
        self.books().reversals.push(Undone { original, acknowledged: true, not_found: false });
        self.settle(number, Sums::default());
    }

    fn settle(&mut self, number: usize, sums: Sums) {
        let record = &mut self.evidence.records[number];
        (record.held, record.captured, record.refunded) = (sums.held, sums.captured, sums.refunded);
        self.books().attempts[number].sums = Some(sums);
    }

    fn read(&mut self, number: usize) {
        self.clock_us += 20;
        let operations = self.evidence.calls.iter().filter_map(|call| {
            let told = call.outcome.told().filter(|told| *told.transaction_id == *format!("tx-{number}"))?;
            Some((call.request_id.clone(), call.method, told.clone()))
        });
        let read = Read {
            invoked_us: self.clock_us,
            returned_us: self.clock_us + 10,
            gateway: "shop".into(),
            transaction_id: format!("tx-{number}").into(),
            node: 1,
            operations: operations.collect(),
        };
        self.evidence.reads.push(read);
    }

    fn judge(&self) -> Report {
        audit(&self.evidence, Scope::Everything)
    }
}

fn told(id: &str, decision: Decision, approved: i64, index: u64) -> Told {
    let mut told = Told::new(&OperationResult {
        transaction_id: id.to_owned(),
        outcome: Some(PbOutcome { decision: decision.into(), sent: Sent::Sent.into(), ..PbOutcome::default() }),
        network: "aurora".to_owned(),
        journal_index: index,
        ..OperationResult::default()
    });
    if approved > 0 {
        told.approved_minor_units = approved;
        told.approved_currency = Currency::new(EUR);
        told.approval_code = "A1".into();
    }
    told.response_code = if decision == Decision::Declined { "05" } else { "00" }.into();
    told
}

fn ok(told: Told) -> Outcome {
    Outcome::Ok { told, reversal_state: ReversalState::None, network_state: NetworkState::Unspecified, replayed: false }
}

fn refused() -> Outcome {
    Outcome::Fail { code: 6, reason: "IDEMPOTENCY_KEY_REUSED".into() }
}

fn unknown() -> Outcome {
    Outcome::Info { code: 14, reason: "".into() }
}

fn operation(key: &str, method: Method, told: &Told, attempts: Vec<Attempt>) -> Operation {
    Operation {
        request_id: key.into(),
        method,
        amount: match method {
            Method::Capture | Method::Refund => told.approved_minor_units,
            Method::Void => 0,
            _ => AMOUNT,
        },
        decision: told.decision,
        approved: told.approved_minor_units,
        approval_code: told.approval_code.clone(),
        witness: told.witness(),
        advice: NetworkState::Unspecified,
        attempts: attempts.into(),
    }
}

/// The invariants that a world breaks after `edit`.
fn broken_by(edit: impl FnOnce(&mut World)) -> BTreeSet<&'static str> {
    let mut world = World::new();
    edit(&mut world);
    let report = world.judge();
    assert_eq!(report.verdict, Verdict::Invalid, "{}", report.in_words());
    report.counts.into_keys().collect()
}

/// What is not known after `edit`.
fn unknown_by(edit: impl FnOnce(&mut World)) -> Report {
    let mut world = World::new();
    edit(&mut world);
    let report = world.judge();
    assert_eq!(report.verdict, Verdict::Unknown, "{}", report.in_words());
    report
}

fn set<const N: usize>(invariants: [&'static str; N]) -> BTreeSet<&'static str> {
    invariants.into()
}

#[test]
fn a_world_by_the_book_is_valid() {
    let report = World::new().judge();
    assert_eq!(report.verdict, Verdict::Valid, "{}", report.in_words());
    assert_eq!((report.calls, report.transactions, report.attempts), (9, 6, 7));
}

#[test]
fn an_empty_world_shows_nothing() {
    let report = audit(&Evidence::default(), Scope::Everything);
    assert_eq!(report.verdict, Verdict::Unknown);
}

#[test]
fn a_request_received_twice_is_a_double_charge() {
    let broken = broken_by(|world| {
        let mut again = world.books().attempts[DECLINED].clone();
        again.copy = 2;
        world.books().attempts.push(again);
    });
    assert_eq!(broken, set(["S1"]));
}

#[test]
fn two_standing_approvals_of_one_key_are_a_double_charge() {
    let broken = broken_by(|world| {
        let first = world.evidence.records[APPROVED].operations[0].attempts[0].clone();
        let second = Attempt { id: "second".into(), ..first.clone() };
        let booked = Booked { id: "second".into(), ..world.books().attempts[APPROVED].clone() };
        world.evidence.records[APPROVED].operations[0].attempts = Box::new([first, second]);
        world.books().attempts.push(booked);
    });
    // The second charge is also money that the journal does not hold.
    assert_eq!(broken, set(["S1", "R21", "S2"]));
}

#[test]
fn a_cent_that_the_network_holds_and_we_do_not() {
    let broken = broken_by(|world| {
        world.books().attempts[APPROVED].sums = Some(Sums { held: AMOUNT + 1, captured: 0, refunded: 0 });
    });
    assert_eq!(broken, set(["R21", "S2"]));
}

#[test]
fn a_capture_that_the_gateway_was_told_of_and_the_books_are_not() {
    let broken = broken_by(|world| world.settle(CAPTURED, Sums { held: AMOUNT, captured: 0, refunded: 100 }));
    assert_eq!(broken, set(["R21"]));
}

#[test]
fn a_refund_that_only_the_journal_knows() {
    let broken = broken_by(|world| world.evidence.records[CAPTURED].refunded = 200);
    assert_eq!(broken, set(["R21", "S2"]));
}

#[test]
fn a_read_that_shows_another_decision() {
    let broken = broken_by(|world| world.evidence.reads[0].operations[0].2.decision = Decision::Declined);
    assert_eq!(broken, set(["S3"]));
}

#[test]
fn a_read_that_has_forgotten_what_was_told() {
    let broken = broken_by(|world| world.evidence.reads[0].operations.clear());
    assert_eq!(broken, set(["S3"]));
}

#[test]
fn a_repeat_that_is_told_another_approval_code() {
    let broken = broken_by(|world| {
        let mut other = told("tx-0", Decision::Approved, AMOUNT, 2);
        other.approval_code = "B2".into();
        let outcome = Outcome::Ok {
            told: other,
            reversal_state: ReversalState::None,
            network_state: NetworkState::Unspecified,
            replayed: true,
        };
        world.call("key-0", Method::Authorize, "", AMOUNT, outcome);
    });
    assert_eq!(broken, set(["S4", "S6"]));
}

#[test]
fn a_repeat_that_is_decided_afresh() {
    let broken = broken_by(|world| {
        let again = ok(told("tx-0", Decision::Approved, AMOUNT, 2));
        world.call("key-0", Method::Authorize, "", AMOUNT, again);
    });
    // Fresh, and yet older than answers told before it was asked.
    assert_eq!(broken, set(["S4", "S10"]));
}

#[test]
fn another_request_under_a_used_key_that_is_answered() {
    let broken = broken_by(|world| {
        let stored = Outcome::Ok {
            told: told("tx-0", Decision::Approved, AMOUNT, 2),
            reversal_state: ReversalState::None,
            network_state: NetworkState::Unspecified,
            replayed: true,
        };
        world.call("key-0", Method::Authorize, "", AMOUNT, stored);
        world.evidence.calls.last_mut().expect("just added").digest = 2;
    });
    assert_eq!(broken, set(["S4"]));
}

#[test]
fn another_request_under_a_used_key_that_is_refused_is_as_it_should_be() {
    let mut world = World::new();
    world.call("key-0", Method::Authorize, "", AMOUNT + 1, refused());
    assert_eq!(world.judge().verdict, Verdict::Valid);
}

#[test]
fn an_amount_that_changed_on_its_way_into_the_journal() {
    let broken = broken_by(|world| world.evidence.records[DECLINED].operations[0].amount = AMOUNT + 1);
    assert_eq!(broken, set(["S4", "S5"]));
}

#[test]
fn a_frame_without_an_intent() {
    let broken = broken_by(|world| {
        let stray = Booked { id: "stray".into(), ..world.books().attempts[DECLINED].clone() };
        world.books().attempts.push(stray);
    });
    assert_eq!(broken, set(["S5"]));
}

#[test]
fn a_standing_charge_without_an_intent_is_also_lost_money() {
    let broken = broken_by(|world| {
        let stray = Booked { id: "stray".into(), ..world.books().attempts[APPROVED].clone() };
        world.books().attempts.push(stray);
    });
    assert_eq!(broken, set(["S2", "S5"]));
}

#[test]
fn a_reversal_without_an_intent() {
    let broken = broken_by(|world| {
        world.books().reversals.push(Undone { original: "stray".into(), acknowledged: true, not_found: false });
    });
    assert_eq!(broken, set(["S5"]));
}

#[test]
fn an_amount_that_changed_on_its_way_to_the_network() {
    let broken = broken_by(|world| world.books().attempts[DECLINED].amount = AMOUNT * 100);
    assert_eq!(broken, set(["S5"]));
}

#[test]
fn a_request_that_was_said_not_to_be_sent() {
    let broken = broken_by(|world| {
        world.evidence.records[DECLINED].operations[0].attempts[0].state = AttemptState::NotSent;
    });
    assert_eq!(broken, set(["S5"]));
}

#[test]
fn an_attempt_opened_by_the_entry_that_decided_it() {
    let broken = broken_by(|world| {
        let operation = &mut world.evidence.records[DECLINED].operations[0];
        operation.attempts[0].opened_index = operation.witness.0;
    });
    assert_eq!(broken, set(["S5"]));
}

#[test]
fn an_answer_that_no_journal_holds() {
    let broken = broken_by(|world| {
        let index = world.next_index();
        let lost = ok(told("tx-lost", Decision::Declined, 0, index));
        world.call("key-lost", Method::Authorize, "", AMOUNT, lost);
    });
    assert_eq!(broken, set(["S6"]));
}

#[test]
fn a_decision_that_the_journal_has_otherwise() {
    let broken = broken_by(|world| {
        if let Outcome::Ok { told, .. } = &mut world.evidence.calls[DECLINED].outcome {
            told.decision = Decision::TimedOut;
        }
    });
    assert_eq!(broken, set(["S6"]));
}

#[test]
fn a_decision_told_at_another_index_than_it_stands() {
    let broken = broken_by(|world| {
        let operation = &mut world.evidence.records[DECLINED].operations[0];
        operation.witness.1 += 1;
    });
    assert_eq!(broken, set(["S6"]));
}

#[test]
fn a_refused_request_that_the_journal_holds_all_the_same() {
    let broken = broken_by(|world| world.evidence.calls[DECLINED].outcome = refused());
    assert_eq!(broken, set(["S6"]));
}

#[test]
fn an_unknown_outcome_is_looked_up_in_the_journal() {
    let mut world = World::new();
    world.evidence.calls[DECLINED].outcome = unknown();
    assert_eq!(world.judge().verdict, Verdict::Valid);
    // Whether it is there or not.
    world.call("never-arrived", Method::Authorize, "", AMOUNT, unknown());
    assert_eq!(world.judge().verdict, Verdict::Valid);
}

#[test]
fn an_approval_that_no_network_gave() {
    let broken = broken_by(|world| {
        let booked = &mut world.books().attempts[APPROVED];
        booked.approved = 0;
        booked.response_code = "05".into();
        booked.approval_code = "".into();
        booked.sums = Some(Sums::default());
    });
    assert_eq!(broken, set(["R21", "S2", "S7"]));
}

#[test]
fn an_approval_with_a_code_that_no_issuer_gave() {
    let broken = broken_by(|world| world.books().attempts[APPROVED].approval_code = "Z9".into());
    assert_eq!(broken, set(["S7"]));
}

#[test]
fn an_approval_that_stands_behind_a_told_decline() {
    let broken = broken_by(|world| {
        let booked = &mut world.books().attempts[DECLINED];
        booked.approved = AMOUNT;
        booked.sums = Some(Sums { held: AMOUNT, captured: 0, refunded: 0 });
    });
    assert_eq!(broken, set(["R21", "S2", "S7"]));
}

#[test]
fn an_unanswered_attempt_that_nothing_reverses() {
    let broken = broken_by(|world| {
        world.evidence.records[TIMED_OUT].operations[0].attempts[0].reversal = ReversalState::None;
    });
    assert_eq!(broken, set(["S8"]));
}

#[test]
fn an_acknowledgement_that_no_network_gave() {
    let broken = broken_by(|world| world.books().reversals[0].acknowledged = false);
    assert_eq!(broken, set(["S8"]));
}

#[test]
fn nothing_found_by_a_network_that_was_never_asked() {
    let broken = broken_by(|world| {
        world.evidence.records[TIMED_OUT].operations[0].attempts[0].reversal = ReversalState::NotFound;
        world.books().reversals.remove(0);
    });
    assert_eq!(broken, set(["R13"]));
}

#[test]
fn a_capture_acknowledged_by_nobody() {
    let broken = broken_by(|world| world.books().advices.clear());
    assert_eq!(broken, set(["S8"]));
}

#[test]
fn a_late_approval_that_nothing_reverses() {
    let broken = broken_by(|world| {
        let attempt = &mut world.evidence.records[TIMED_OUT].operations[0].attempts[0];
        attempt.late_approval = true;
        attempt.reversal = ReversalState::None;
    });
    assert_eq!(broken, set(["S8", "S9"]));
}

#[test]
fn an_approval_that_came_after_its_reversal_and_stands() {
    let broken = broken_by(|world| {
        let booked = &mut world.books().attempts[TIMED_OUT];
        booked.reversed = 0;
        booked.sums = Some(Sums { held: AMOUNT, captured: 0, refunded: 0 });
    });
    assert_eq!(broken, set(["R21", "S2", "S7", "S9"]));
}

#[test]
fn a_later_decision_that_stands_earlier() {
    let broken = broken_by(|world| {
        // Swap the entries of the first two decisions everywhere but in time.
        for (number, index) in [(APPROVED, 4), (DECLINED, 2)] {
            let operation = &mut world.evidence.records[number].operations[0];
            operation.witness.0 = index;
            operation.attempts[0].opened_index = 1;
            if let Outcome::Ok { told, .. } = &mut world.evidence.calls[number].outcome {
                told.journal_index = index;
            }
        }
        world.evidence.reads.clear();
    });
    assert_eq!(broken, set(["S10"]));
}

#[test]
fn decisions_of_calls_that_overlapped_may_stand_in_any_order() {
    let mut world = World::new();
    for (number, index) in [(APPROVED, 4), (DECLINED, 2)] {
        let operation = &mut world.evidence.records[number].operations[0];
        operation.witness.0 = index;
        operation.attempts[0].opened_index = 1;
        if let Outcome::Ok { told, .. } = &mut world.evidence.calls[number].outcome {
            told.journal_index = index;
        }
    }
    world.evidence.calls[DECLINED].invoked_us = world.evidence.calls[APPROVED].invoked_us;
    world.evidence.reads.clear();
    assert_eq!(world.judge().verdict, Verdict::Valid);
}

#[test]
fn a_void_that_overtook_its_authorization_names_no_transaction() {
    let mut world = World::new();
    let void = operation("early", Method::Void, &told("", Decision::Approved, 0, 1), Vec::new());
    world.add(DECLINED, void);
    world.call("early", Method::Void, "key:key-1", 0, ok(told("", Decision::Approved, 0, 1)));
    // It was told before anything else.
    let early = world.evidence.calls.last_mut().expect("just added");
    (early.invoked_us, early.returned_us) = (1, 2);
    assert_eq!(world.judge().verdict, Verdict::Valid, "{}", world.judge().in_words());
    // One that no authorization followed is nowhere in the journal.
    world.call("for-nothing", Method::Void, "key:never-came", 0, ok(told("", Decision::Approved, 0, 90)));
    assert_eq!(world.judge().verdict, Verdict::Valid);
}

#[test]
fn a_refusal_that_stored_nothing_leaves_the_key_free() {
    let mut world = World::new();
    let mut refusal = told("", Decision::Declined, 0, 0);
    (refusal.source, refusal.sent) = (DecisionSource::Switch, Sent::NotSent);
    world.call("key-9", Method::Authorize, "", AMOUNT, ok(refusal.clone()));
    world.call("key-0", Method::Authorize, "", AMOUNT, ok(refusal.clone()));
    let early = world.evidence.calls.last_mut().expect("just added");
    (early.invoked_us, early.returned_us) = (1, 2);
    assert_eq!(world.judge().verdict, Verdict::Valid, "{}", world.judge().in_words());
    // An issuer's decline, by contrast, is final.
    refusal.source = DecisionSource::Issuer;
    world.call("key-10", Method::Authorize, "", AMOUNT, ok(refusal));
    assert_eq!(world.judge().counts.into_keys().collect::<BTreeSet<_>>(), set(["S6"]));
}

#[test]
fn a_request_that_left_late_and_is_reversed_was_not_hidden() {
    let mut world = World::new();
    world.evidence.records[TIMED_OUT].operations[0].attempts[0].state = AttemptState::NotSent;
    assert_eq!(world.judge().verdict, Verdict::Valid, "{}", world.judge().in_words());
}

#[test]
fn nodes_that_hold_different_states() {
    let broken = broken_by(|world| world.evidence.exports[2].state_hash = vec![8]);
    assert_eq!(broken, set(["S11"]));
    let broken = broken_by(|world| world.evidence.exports[1].rows[3] = 99);
    assert_eq!(broken, set(["S11"]));
    let broken = broken_by(|world| world.evidence.exports[1].rows.truncate(5));
    assert_eq!(broken, set(["S11"]));
}

#[test]
fn answers_alone_show_what_contradicts_itself_and_vouch_for_nothing() {
    let mut world = World::new();
    world.evidence.records.clear();
    world.evidence.networks.clear();
    world.evidence.exports.clear();
    let report = audit(&world.evidence, Scope::Answers);
    assert_eq!(report.verdict, Verdict::Unknown, "{}", report.in_words());
    assert_eq!(report.unknown[0].invariant, "S2");

    // Another answer to the same key is wrong, whatever the books say.
    let mut again = world.evidence.calls[0].clone();
    let Outcome::Ok { told, .. } = &mut again.outcome else { panic!("the first call is answered") };
    told.decision = Decision::Declined;
    world.evidence.calls.push(again);
    let report = audit(&world.evidence, Scope::Answers);
    assert_eq!((report.verdict, report.counts.contains_key("S4")), (Verdict::Invalid, true), "{}", report.in_words());
}

#[test]
fn what_a_network_complains_about() {
    let broken = broken_by(|world| {
        world.books().complaints.push(("REQUEST_TWICE".into(), "attempt-0".into(), "two copies".into()));
    });
    assert_eq!(broken, set(["N"]));
}

#[test]
fn a_parked_reversal_leaves_the_verdict_open_and_names_the_money() {
    let report = unknown_by(|world| {
        world.evidence.records[TIMED_OUT].operations[0].attempts[0].reversal = ReversalState::Parked;
    });
    assert_eq!(report.unknown_minor_units.get(EUR), Some(&AMOUNT));
    assert_eq!(report.unknown[0].invariant, "S8");
}

#[test]
fn an_open_attempt_leaves_the_verdict_open() {
    let report = unknown_by(|world| {
        let operation = &mut world.evidence.records[DECLINED].operations[0];
        operation.decision = Decision::Unspecified;
        operation.witness = (0, 0);
        operation.attempts[0].state = AttemptState::Open;
        world.evidence.calls[DECLINED].outcome = unknown();
    });
    assert_eq!(report.unknown_minor_units.get(EUR), Some(&(AMOUNT * 2)));
}

#[test]
fn an_advice_that_is_still_owed_leaves_the_verdict_open() {
    let report = unknown_by(|world| world.evidence.records[CAPTURED].operations[1].advice = NetworkState::Pending);
    assert_eq!(report.unknown_minor_units.get(EUR), Some(&600));
}

#[test]
fn an_advice_that_an_operator_closed_is_owed_no_more() {
    let mut world = World::new();
    world.evidence.records[CAPTURED].operations[1].advice = NetworkState::Resolved;
    assert_eq!(world.judge().verdict, Verdict::Valid, "{}", world.judge().in_words());
}

#[test]
fn a_network_without_reversals_leaves_the_verdict_open() {
    let report = unknown_by(|world| {
        world.evidence.records[TIMED_OUT].operations[0].attempts[0].reversal = ReversalState::None;
        world.evidence.never_reversed.push("aurora".into());
    });
    assert_eq!(report.unknown[0].invariant, "R22");
}

#[test]
fn nodes_that_were_not_at_rest_cannot_be_compared() {
    let report = unknown_by(|world| world.evidence.exports[1].applied_index += 1);
    assert_eq!(report.unknown[0].invariant, "S11");
}

#[test]
fn transactions_of_others_are_not_judged_by_what_this_gateway_was_told() {
    let mut world = World::new();
    world.evidence.calls.retain(|call| &*call.request_id == "key-0");
    world.evidence.records[TIMED_OUT].operations[0].attempts[0].reversal = ReversalState::Pending;
    assert_eq!(audit(&world.evidence, Scope::Told).verdict, Verdict::Valid);
    assert_eq!(audit(&world.evidence, Scope::Everything).verdict, Verdict::Unknown);
}
