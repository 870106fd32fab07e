//! What is told, when and how often: R1, R3, R4, R6, R9, R10, R16, R17, R18, R20, R22.

use super::fixture::{
    Books, OWNER, Pay, START, TIMEOUT_MS, amount, another_yes, currency, dispatched, gateway, ignored, key, not_taken,
    print_of, recorded, refused, says, settled, told, yes, yes_for,
};
use crate::{
    book::{Book, Reply},
    effect::Effect,
    entry::{Command, FailoverCause, LaneKind, Subject},
    id::{Owner, Slot},
    outcome::{
        AnswerText, Decision, DeclineAdvice, DeclineReason, Doubt, LaneVerdict, NetworkAnswer, NotSent, Sent, Source,
        ToldReason,
    },
    refusal::{Refusal, ResolutionRefusal},
    table::OwedKind,
    time::{DAY_MS, LogTime},
    transaction::{AttemptState, CaptureMode, LaneState, Method, ReversalPolicy, ReversalReason, Status},
};

#[test]
fn r1_one_open_makes_one_dispatch_and_only_for_its_owner() {
    let mut books = Books::new();
    let dispatch = dispatched(books.try_authorize("k1", 1000));
    assert_eq!(books.effects, [], "sending is not derivable from the book");
    assert_eq!(dispatch.owner(), OWNER);
    assert_eq!((dispatch.attempt().id.operation, dispatch.attempt().id.number), (0, 1));
    assert_eq!(dispatch.deadline(), START.after_ms(TIMEOUT_MS));
    assert_eq!(dispatch.attempt_timeout_ms(), 10_000);
    assert_eq!((dispatch.network().as_str(), dispatch.link().as_str()), ("visa", "visa-1"));
    assert!(dispatch.original().is_none());
    let transaction = dispatch.attempt().id.transaction;
    // The same key again, by whatever process: it is open, nothing is sent.
    let mut again = books.open_new("k1", 1000);
    again.plan.owner = Owner { node: 2, boot: 22, term: 4 };
    let reply = books.apply(Command::Open(Box::new(again)));
    assert!(matches!(reply, Reply::InFlight { transaction: t, operation: 0 } if t == transaction), "{reply:?}");
    assert_eq!(books.attempt(Pay(transaction)).owner, OWNER);
}

#[test]
fn r3_the_told_decision_is_stored_and_replayed_unchanged() {
    let mut books = Books::new();
    let pay = books.authorize("k1", 1000);
    let first = settled(books.answer(pay, yes()));
    assert_eq!(
        (first.told().decision, first.told().source, first.told().sent),
        (Decision::Approved, Source::Issuer, Sent::Sent)
    );
    assert_eq!((first.told().approval_code.as_str(), first.replayed()), ("A1", false));
    assert_eq!(first.network_transaction_id().as_str(), "N-7");
    let again = settled(books.try_authorize("k1", 1000));
    assert_eq!((again.told(), again.replayed()), (first.told(), true));
    assert_eq!(again.last_attempt(), first.last_attempt());
    let read = Book::settled(&books.transaction(pay), 0, true).expect("decided");
    assert_eq!(read, again);
    assert_eq!(Book::settled(&books.transaction(pay), 1, true), None);
}

#[test]
fn r3_a_time_out_and_its_reversal_are_one_entry_and_final_for_the_key() {
    let mut books = Books::new();
    let pay = books.authorize("k1", 1000);
    books.after(TIMEOUT_MS);
    let first = settled(books.time_out(pay));
    assert_eq!((first.told().decision, first.told().sent), (Decision::TimedOut, Sent::Unknown));
    assert_eq!((first.told().reason, first.reversal()), (Some(ToldReason::NoAnswer), Some(LaneState::Pending)));
    assert_eq!(books.effects.first(), Some(&Effect::LaneDue { link: books.plan().link, attempt: books.name(pay) }));
    let reversal = books.reversal_of(pay);
    assert_eq!(
        (reversal.reason, reversal.approved, reversal.lane.amount),
        (ReversalReason::Timeout, None, amount(1000))
    );
    assert_eq!(books.owed(), [(1, OwedKind::Reversal)]);
    recorded(books.answer(pay, yes()));
    let again = settled(books.try_authorize("k1", 1000));
    assert_eq!(again.told(), first.told(), "never becomes approved");
    assert_eq!(books.sums(pay), [0; 5]);
    recorded(books.reversal(pay, LaneVerdict::Acknowledged));
    let again = settled(books.try_authorize("k1", 1000));
    assert_eq!((again.told(), again.reversal()), (first.told(), Some(LaneState::Acknowledged)));
}

#[test]
fn r3_nothing_left_the_cluster_is_a_decline_of_the_switch() {
    let mut books = Books::new();
    let whys = [
        (NotSent::OutOfService, DeclineReason::IssuerUnavailable),
        (NotSent::InFlightFull, DeclineReason::IssuerUnavailable),
        (NotSent::CircuitOpen, DeclineReason::IssuerUnavailable),
        (NotSent::NotEncodable, DeclineReason::InvalidTransaction),
        (NotSent::HandOver, DeclineReason::IssuerUnavailable),
        (NotSent::TooLate, DeclineReason::IssuerUnavailable),
        (NotSent::Disabled, DeclineReason::Disabled),
        (NotSent::NoRoute, DeclineReason::NoRoute),
    ];
    for (n, (why, reason)) in whys.into_iter().enumerate() {
        let pay = books.authorize(&format!("k{n}"), 1000);
        let settled = settled(books.not_sent(pay, why));
        let told = settled.told();
        assert_eq!((told.decision, told.sent, told.source), (Decision::Declined, Sent::NotSent, Source::Switch));
        assert_eq!(told.decline, Some((reason, DeclineAdvice::TryAgainLater)));
        assert_eq!((settled.reversal(), books.owed()), (None, vec![]), "nothing is owed");
    }
}

#[test]
fn r4_the_first_entry_wins_whoever_brings_it() {
    // The deposed owner's answer comes before the new leader's time-out ...
    let mut books = Books::new();
    let pay = books.authorize("k1", 1000);
    assert_eq!(told(books.answer(pay, yes())), (Decision::Approved, 1000));
    let late = settled(books.doubt(pay, Doubt::OwnerGone));
    assert_eq!((late.told().decision, late.replayed()), (Decision::Approved, false), "what was decided is told again");
    assert_eq!(told(books.not_sent(pay, NotSent::HandOver)), (Decision::Approved, 1000));
    assert_eq!(books.sums(pay), [1000, 0, 0, 0, 1000]);
    // ... or after it.
    let pay = books.authorize("k2", 1000);
    assert_eq!(settled(books.doubt(pay, Doubt::OwnerGone)).told().reason, Some(ToldReason::OwnerGone));
    recorded(books.answer(pay, yes()));
    assert!(books.attempt(pay).late_approval);
    assert_eq!(told(books.try_authorize("k2", 1000)), (Decision::TimedOut, 0));
    // Opens that were not written become not sent; a later time-out changes nothing.
    let pay = books.authorize("k3", 1000);
    assert_eq!(told(books.not_sent(pay, NotSent::HandOver)), (Decision::Declined, 0));
    assert_eq!(told(books.time_out(pay)), (Decision::Declined, 0));
    assert!(books.attempt(pay).reversal.is_none());
}

#[test]
fn r5_a_follow_up_is_keyed_by_its_original_and_lives_in_its_slot() {
    let mut books = Books::new();
    let (one, two) = (books.approved("k1", 1000), books.approved("k2", 1000));
    assert_eq!(one.0.slot(), Slot::of(&books.gateway, &key("k1")));
    settled(books.capture(one, "same", 100, false));
    let other = settled(books.capture(two, "same", 200, false));
    assert_eq!((other.transaction(), other.replayed()), (Some(two.0), false), "the key belongs to its original");
    let own = settled(books.capture(one, "k1", 50, false));
    assert!(!own.replayed(), "and not to the authorizations");
    let replay = settled(books.capture(one, "same", 100, false));
    assert_eq!((replay.operation(), replay.replayed(), replay.told().approved), (1, true, amount(100)));
}

#[test]
fn r6_authorize_and_increment_are_requests_that_may_be_refused() {
    let mut books = Books::new();
    let pay = books.approved("k1", 1000);
    let dispatch = dispatched(books.increment(pay, "f1", 500));
    assert_eq!(dispatch.original(), Some(&books.name(pay)));
    assert_eq!(dispatch.original_network_transaction_id().as_str(), "N-7");
    assert_eq!(books.sums(pay), [1000, 0, 0, 0, 1000], "an open increment does not count");
    let told = settled(books.answer((pay, 1), says("51")));
    assert_eq!(told.told().decline, Some((DeclineReason::InsufficientFunds, DeclineAdvice::TryAgainLater)));
    assert_eq!(books.sums(pay), [1000, 0, 0, 0, 1000], "a refused increment leaves the original");
    books.increment(pay, "f2", 500);
    settled(books.answer((pay, 2), yes()));
    assert_eq!(books.sums(pay), [1500, 0, 0, 0, 1500]);
}

#[test]
fn r6_an_unanswered_increment_is_reversed_alone() {
    let mut books = Books::new();
    let pay = books.approved("k1", 1000);
    books.increment(pay, "f1", 500);
    assert_eq!(told(books.time_out((pay, 1))), (Decision::TimedOut, 0));
    assert_eq!(books.reversal_of((pay, 1)).lane.amount, amount(500));
    assert!(books.attempt(pay).reversal.is_none());
    assert_eq!(books.sums(pay), [1000, 0, 0, 0, 1000]);
}

#[test]
fn r6_an_approved_sale_is_captured_in_the_same_entry() {
    let mut books = Books::new();
    let pay = books.authorize_with("k1", 1000, |new| new.capture_mode = CaptureMode::Automatic);
    assert_eq!(books.sums(pay), [0; 5]);
    assert_eq!(told(books.answer(pay, yes())), (Decision::Approved, 1000));
    assert_eq!((books.sums(pay), books.transaction(pay).status()), ([1000, 1000, 0, 0, 0], Status::Captured));
    assert_eq!(books.owed(), [], "no advice: it was a financial message");
}

#[test]
fn r6_a_capture_is_an_advice_told_with_its_entry_and_repeated() {
    let mut books = Books::new();
    let pay = books.approved("k1", 1000);
    let settled = settled(books.capture(pay, "f1", 400, false));
    assert_eq!((settled.told().decision, settled.told().approved), (Decision::Approved, amount(400)));
    assert_eq!((settled.advice(), settled.reversal()), (Some(LaneState::Pending), None));
    let name = books.name((pay, 1));
    assert_eq!(books.effects[0], Effect::LaneDue { link: books.plan().link, attempt: name });
    assert_eq!((books.owed(), books.doubt_row("visa")), (vec![(2, OwedKind::Advice)], (1, 0, 400)));
    recorded(books.lane(LaneKind::Advice, (pay, 1), LaneVerdict::TryAgain));
    assert_eq!(books.advice_of((pay, 1)).state, LaneState::Pending);
    recorded(books.lane(LaneKind::Advice, (pay, 1), LaneVerdict::Duplicate));
    assert_eq!((books.owed(), books.doubt_row("visa")), (vec![], (0, 0, 0)));
    assert_eq!(Book::settled(&books.transaction(pay), 1, true).and_then(|s| s.advice()), Some(LaneState::Acknowledged));
    assert_eq!(books.sums(pay), [1000, 400, 0, 0, 600]);
}

#[test]
fn r6_an_unanswered_refund_is_reversed_and_a_refused_one_gives_back() {
    let mut books = Books::new();
    let pay = books.captured("k1", 1000);
    let dispatch = dispatched(books.refund(pay, "f1", 700));
    assert_eq!(dispatch.original(), Some(&books.name(pay)));
    assert_ne!(dispatch.identity().rrn, books.attempt(pay).identity.rrn, "an RRN of its own");
    settled(books.answer((pay, 2), says("05")));
    assert_eq!(books.sums(pay), [1000, 1000, 0, 0, 0]);
    books.refund(pay, "f2", 700);
    assert_eq!(books.sums(pay), [1000, 1000, 0, 700, 0]);
    assert_eq!(told(books.time_out((pay, 3))), (Decision::TimedOut, 0));
    assert_eq!(books.sums(pay), [1000, 1000, 0, 700, 0]);
    recorded(books.reversal((pay, 3), LaneVerdict::Acknowledged));
    books.refund(pay, "f3", 1000);
    assert_eq!(told(books.answer((pay, 4), yes())), (Decision::Approved, 1000));
    assert_eq!((books.sums(pay), books.transaction(pay).status()), ([1000, 1000, 1000, 0, 0], Status::Refunded));
}

#[test]
fn r9_a_key_first_sent_before_the_switchs_memory_is_refused() {
    let mut books = Books::new();
    let mut open = books.open_new("k1", 10);
    open.first_sent = Some(LogTime(START.0 - 400 * DAY_MS - 1));
    assert_eq!(refused(books.apply(Command::Open(Box::new(open.clone())))), Refusal::KeyTooOld);
    open.first_sent = Some(LogTime(START.0 - 400 * DAY_MS));
    dispatched(books.apply(Command::Open(Box::new(open))));
}

#[test]
fn r9_an_expired_authorization_releases_its_hold_where_asked() {
    let mut books = Books::new();
    let (held, released) = (books.approved("k1", 1000), books.approved("k2", 1000));
    settled(books.capture(released, "f1", 300, false));
    books.after(7 * DAY_MS);
    ignored(books.expire(held, true));
    books.after(1);
    recorded(books.expire(held, false));
    assert_eq!((books.transaction(held).status(), books.sums(held)), (Status::Expired, [1000, 0, 0, 0, 1000]));
    ignored(books.expire(held, true));
    recorded(books.expire(released, true));
    let reversal = books.reversal_of(released);
    assert_eq!((reversal.reason, reversal.lane.amount), (ReversalReason::Remainder, amount(700)));
    assert_eq!(books.sums(released), [1000, 300, 0, 0, 0]);
}

#[test]
fn r9_nothing_open_expires_and_nothing_that_holds_no_money() {
    let mut books = Books::new();
    let open = books.authorize("k1", 1000);
    let (growing, done, sale) = (books.approved("k2", 1000), books.captured("k3", 1000), books.sale("k4", 1000));
    let silent = books.unanswered("k5", 1000);
    books.increment(growing, "f1", 10);
    books.after(8 * DAY_MS);
    for pay in [open, growing, done, sale, silent] {
        ignored(books.expire(pay, true));
    }
}

/// A fault there was: the status REFUNDED hid the hold that was left.
#[test]
fn r9_a_refunded_part_does_not_keep_the_rest_from_expiring() {
    let mut books = Books::new();
    let pay = books.approved("k1", 1000);
    settled(books.capture(pay, "f1", 400, false));
    books.refund(pay, "f2", 400);
    settled(books.answer((pay, 2), yes()));
    assert_eq!(books.transaction(pay).status(), Status::Refunded);
    books.after(8 * DAY_MS);
    recorded(books.expire(pay, true));
    assert_eq!((books.reversal_of(pay).lane.amount, books.sums(pay)), (amount(600), [1000, 400, 400, 0, 0]));
}

#[test]
fn r10_a_foreign_transaction_is_a_missing_one() {
    let mut books = Books::new();
    let pay = books.captured("k1", 1000);
    books.gateway = gateway("other");
    assert_eq!(refused(books.capture(pay, "f1", 1, false)), Refusal::NotFound);
    assert_eq!(refused(books.increment(pay, "f1", 1)), Refusal::NotFound);
    assert_eq!(refused(books.refund(pay, "f1", 1)), Refusal::NotFound);
    assert_eq!(refused(books.void(pay, "f1")), Refusal::NotFound);
    assert_eq!(refused(books.capture(pay, "capture", 1000, true)), Refusal::NotFound, "a known key tells nothing");
    ignored(books.expire(pay, true));
    ignored(books.answer(pay, yes()));
    ignored(books.late_send(pay));
    assert_eq!(not_taken(books.resolve(pay, crate::transaction::Resolution::Stands)), ResolutionRefusal::NotParked);
    // Its key is free for another tenant, and a void of it finds nothing.
    let void = settled(books.void_key("k1", "v1"));
    assert_eq!(void.transaction(), None);
    let own = settled(books.try_authorize("k1", 5));
    assert_eq!((own.told().decision, own.transaction() == Some(pay.0)), (Decision::Declined, false));
    books.gateway = gateway("shop");
    assert_eq!(books.sums(pay), [1000, 1000, 0, 0, 0]);
}

#[test]
fn r16_a_row_is_compared_under_the_key_version_it_was_stored_with() {
    let mut books = Books::new();
    let pay = books.approved("k1", 1000);
    settled(books.void(pay, "v1"));
    let mut open = books.open_new("k1", 1000);
    open.fingerprint.key_version = 2;
    let newer = Command::Open(Box::new(open));
    assert_eq!(refused(books.apply(newer)), Refusal::FingerprintVersion(1));
    assert!(settled(books.try_authorize("k1", 1000)).replayed(), "computed under the row's version it is the same");
    let mut capture = books.capture_of(pay, "v1", 5, false);
    capture.fingerprint = print_of("anything else");
    assert_eq!(refused(books.apply(Command::Capture(Box::new(capture)))), Refusal::KeyReused);
}

#[test]
fn r16_a_key_in_flight_is_waited_for() {
    let mut books = Books::new();
    let pay = books.captured("k1", 1000);
    dispatched(books.refund(pay, "f1", 10));
    let reply = books.refund(pay, "f1", 10);
    assert!(matches!(reply, Reply::InFlight { transaction, operation: 2 } if transaction == pay.0), "{reply:?}");
    assert_eq!(refused(books.refund(pay, "f1", 11)), Refusal::KeyReused);
}

#[test]
fn r17_a_refusal_leaves_the_key_free_and_a_stored_open_never_does() {
    let mut books = Books::new().with_day_limit(1000);
    let declined = refused(books.try_authorize("k1", 1001));
    assert!(matches!(declined, Refusal::Declined(DeclineReason::SwitchLimit, _)));
    assert!(books.table.rows.is_empty());
    let pay = books.authorize("k1", 999);
    settled(books.not_sent(pay, NotSent::OutOfService));
    assert!(settled(books.try_authorize("k1", 999)).replayed(), "a decline that was stored is final for the key");
    assert_eq!(refused(books.try_authorize("k1", 998)), Refusal::KeyReused);
}

#[test]
fn r17_failover_closes_one_attempt_and_opens_the_next_in_one_entry() {
    let mut books = Books::new();
    let pay = books.authorize("k1", 1000);
    books.after(500);
    let next = dispatched(books.fail_over(pay, FailoverCause::NotSent(NotSent::CircuitOpen), "amex"));
    assert_eq!((next.attempt().id.number, next.network().as_str()), (2, "amex"));
    assert_eq!(next.deadline(), START.after_ms(500 + TIMEOUT_MS));
    assert_eq!(books.attempt(pay).state, AttemptState::NotSent(NotSent::CircuitOpen));
    assert_eq!(books.owed().len(), 1, "the first trace number is free");
    let third = dispatched(books.fail_over((pay, 0, 2), FailoverCause::PermittedNo(Box::new(says("91"))), "visa"));
    assert_eq!(books.attempt((pay, 0, 2)).state, AttemptState::Declined);
    let told = settled(books.answer((pay, 0, 3), yes()));
    assert_eq!(told.last_attempt().map(|(_, _, rrn)| *rrn), Some(third.identity().rrn), "the last attempt's RRN");
    assert_eq!(books.transaction(pay).first().attempts.len(), 3);
    assert_eq!(books.transaction(pay).revision, 1, "nothing was told in between");
}

#[test]
fn r17_a_failover_that_may_not_go_on_is_the_evidence_alone() {
    let not_sent = || FailoverCause::NotSent(NotSent::CircuitOpen);
    // Voided in between.
    let mut books = Books::new();
    let pay = books.authorize("k1", 1000);
    settled(books.void(pay, "v1"));
    let told_voided = settled(books.fail_over(pay, not_sent(), "amex"));
    assert_eq!(told_voided.told().decline.map(|(reason, _)| reason), Some(DeclineReason::Voided));
    // Another process, so without the card data: a new leader never opens the next attempt.
    let pay = books.authorize("k2", 1000);
    let mut plan = books.plan_to("amex");
    plan.owner = Owner { term: 4, ..OWNER };
    assert_eq!(told(books.fail_over_with(pay, not_sent(), plan)), (Decision::Declined, 0));
    assert_eq!(books.transaction(pay).first().attempts.len(), 1);
    // An approval is no permitted no.
    let pay = books.authorize("k3", 1000);
    assert_eq!(
        told(books.fail_over(pay, FailoverCause::PermittedNo(Box::new(yes())), "amex")),
        (Decision::Approved, 1000)
    );
    // Decided already: a no after that is a late answer, nothing more.
    recorded(books.fail_over(pay, FailoverCause::PermittedNo(Box::new(says("91"))), "amex"));
    assert_eq!(books.sums(pay), [1000, 0, 0, 0, 1000]);
    assert!(books.attempt(pay).conflicting_answer);
    // Evidence about an attempt that is not the last.
    let pay = books.authorize("k4", 1000);
    dispatched(books.fail_over(pay, not_sent(), "amex"));
    ignored(books.fail_over(pay, not_sent(), "amex"));
    ignored(books.not_sent(pay, NotSent::TooLate));
    // As many attempts as there may be.
    for number in 2..8 {
        dispatched(books.fail_over((pay, 0, number), not_sent(), "amex"));
    }
    assert_eq!(told(books.fail_over((pay, 0, 8), not_sent(), "amex")), (Decision::Declined, 0));
}

#[test]
fn r23_a_failover_does_not_pass_the_next_networks_bounds() {
    for by_money in [false, true] {
        let mut books = Books::new();
        books.unanswered("k0", 1000); // the doubt of visa
        let pay = books.authorize_with("k1", 1000, |_| ());
        let mut plan = books.plan_to("visa");
        plan.terms.doubt_count_max = if by_money { 0 } else { 1 };
        plan.terms.doubt_amount_max = if by_money { amount(1000) } else { amount(0) };
        let reply = books.fail_over_with(pay, FailoverCause::NotSent(NotSent::CircuitOpen), plan);
        assert_eq!(told(reply), (Decision::Declined, 0), "by money: {by_money}");
    }
}

#[test]
fn r18_what_is_neither_yes_nor_no_is_reversed_and_told_timed_out() {
    let euros = |minor: u64, code: &str| NetworkAnswer { currency: Some(currency(code)), ..yes_for(minor) };
    let invalid = [
        (says("ZZ"), None, 1000),
        (yes_for(1001), Some(1001), 1001),
        (euros(900, "USD"), None, 1000),
        (euros(90_000, "JPY"), None, 1000),
        (NetworkAnswer { currency: Some(currency("USD")), ..yes() }, None, 1000),
    ];
    for (n, (answer, approved, reversed)) in invalid.into_iter().enumerate() {
        let mut books = Books::new();
        let pay = books.authorize(&format!("k{n}"), 1000);
        let settled = settled(books.answer(pay, answer));
        let told = settled.told();
        assert_eq!((told.decision, told.reason), (Decision::TimedOut, Some(ToldReason::InvalidNetworkAnswer)));
        assert_eq!((books.attempt(pay).state, settled.reversal()), (AttemptState::Invalid, Some(LaneState::Pending)));
        let reversal = books.reversal_of(pay);
        assert_eq!(reversal.reason, ReversalReason::InvalidResponse);
        assert_eq!((reversal.approved, reversal.lane.amount), (approved.map(amount), amount(reversed)), "case {n}");
    }
    let mut books = Books::new();
    let pay = books.authorize("k", 1000);
    assert_eq!(settled(books.doubt(pay, Doubt::Garbled)).told().reason, Some(ToldReason::InvalidNetworkAnswer));
    // The same currency, said aloud, is no other one.
    let pay = books.authorize("k2", 1000);
    assert_eq!(told(books.answer(pay, euros(1000, "EUR"))), (Decision::Approved, 1000));
}

#[test]
fn r18_a_smaller_amount_is_a_partial_approval_whatever_the_code() {
    for code in ["00", "10"] {
        let mut books = Books::new().with_day_limit(5000);
        let pay = books.authorize_with("k1", 1000, |new| new.partial_supported = true);
        let answer = NetworkAnswer { approved: Some(amount(400)), ..says(code) };
        assert_eq!(told(books.answer(pay, answer)), (Decision::PartiallyApproved, 400));
        assert_eq!((books.sums(pay), books.day_use()), ([400, 0, 0, 0, 400], 400));
        assert!(books.attempt(pay).reversal.is_none());
    }
    // The code says that it is a part; the amount says that it is not.
    let mut books = Books::new();
    let pay = books.authorize("k1", 1000);
    let answer = NetworkAnswer { approved: Some(amount(1000)), ..says("10") };
    assert_eq!(told(books.answer(pay, answer)), (Decision::Approved, 1000));
}

/// A fault there was: a partial approval of nothing counted as one of everything.
#[test]
fn r18_an_approval_that_does_not_say_for_how_much_is_neither_yes_nor_no() {
    for partial_supported in [false, true] {
        for answer in [yes_for(0), says("10"), NetworkAnswer { approved: Some(amount(0)), ..says("10") }] {
            let mut books = Books::new().with_day_limit(5000);
            let pay = books.authorize_with("k1", 1000, |new| new.partial_supported = partial_supported);
            let settled = settled(books.answer(pay, answer.clone()));
            let told = settled.told();
            assert_eq!((told.decision, told.reason), (Decision::TimedOut, Some(ToldReason::InvalidNetworkAnswer)));
            let reversal = books.reversal_of(pay);
            assert_eq!((reversal.approved, reversal.lane.amount), (None, amount(1000)), "what was asked is undone");
            assert_eq!((books.sums(pay), books.day_use()), ([0; 5], 1000));
            // It is an approval all the same: that the network does not know it is not believed (R13).
            assert_eq!(books.attempt(pay).approvals.len(), 1);
            recorded(books.answer(pay, answer));
            assert_eq!(books.reversal_of(pay), reversal, "a copy");
        }
    }
    // A verification is for nothing; what a code for a part means there nobody knows.
    let mut books = Books::new();
    let pay = books.authorize_with("k1", 0, |new| new.verification = true);
    assert_eq!(told(books.answer(pay, yes_for(0))), (Decision::Approved, 0));
    let pay = books.authorize_with("k2", 0, |new| new.verification = true);
    assert_eq!(told(books.answer(pay, says("10"))), (Decision::Unresolved, 0));
}

#[test]
fn r18_a_partial_that_nobody_declared_is_reversed_and_told_declined() {
    let mut books = Books::new().with_day_limit(5000);
    let pay = books.authorize("k1", 1000);
    let settled = settled(books.answer(pay, yes_for(400)));
    assert_eq!((settled.told().decision, settled.told().source), (Decision::Declined, Source::Switch));
    assert_eq!(settled.told().decline, Some((DeclineReason::PartialNotSupported, DeclineAdvice::None)));
    let reversal = books.reversal_of(pay);
    assert_eq!((reversal.reason, reversal.approved), (ReversalReason::UnsupportedPartial, Some(amount(400))));
    assert_eq!((books.sums(pay), books.day_use()), ([0; 5], 1000), "the day counts until the reversal is final");
    recorded(books.reversal(pay, LaneVerdict::Acknowledged));
    assert_eq!(books.day_use(), 0);
}

#[test]
fn r18_a_referral_is_a_decline() {
    let mut books = Books::new();
    let pay = books.authorize("k1", 1000);
    let settled = settled(books.answer(pay, says("01")));
    assert_eq!(settled.told().decline, Some((DeclineReason::ReferToIssuer, DeclineAdvice::None)));
    assert_eq!((settled.reversal(), books.owed()), (None, vec![]));
}

#[test]
fn r20_every_change_of_what_is_told_is_an_event_and_nothing_else() {
    let mut books = Books::new();
    let pay = books.authorize("k1", 1000);
    assert_eq!(books.history(), [], "an open attempt is told to nobody");
    settled(books.time_out(pay));
    recorded(books.reversal(pay, LaneVerdict::TryAgain));
    recorded(books.park(LaneKind::Reversal, pay));
    recorded(books.reversal(pay, LaneVerdict::Acknowledged));
    recorded(books.answer(pay, yes()));
    recorded(books.answer(pay, yes())); // a second copy
    recorded(books.reversal(pay, LaneVerdict::Acknowledged));
    let timed_out = Some(Decision::TimedOut);
    assert_eq!(
        books.history(),
        [
            (Method::Authorize, timed_out, Some(LaneState::Pending)),
            (Method::Authorize, timed_out, Some(LaneState::Parked { refused: false })),
            (Method::Authorize, timed_out, Some(LaneState::Acknowledged)),
            (Method::Authorize, timed_out, Some(LaneState::Pending)),
            (Method::Authorize, timed_out, Some(LaneState::Acknowledged)),
        ]
    );
    let revisions: Vec<u32> = books.events().iter().map(|event| event.revision).collect();
    assert_eq!(revisions, [1, 2, 3, 4, 5]);
}

#[test]
fn r20_one_command_that_changes_several_operations_leaves_several_events() {
    let mut books = Books::new();
    let pay = books.approved("k1", 1000);
    settled(books.capture(pay, "f1", 400, true));
    let pending = Some(LaneState::Pending);
    assert_eq!(
        books.history(),
        [
            (Method::Authorize, Some(Decision::Approved), None),
            (Method::Capture, Some(Decision::Approved), None),
            (Method::Authorize, Some(Decision::Approved), pending),
        ]
    );
    assert_eq!(books.effects.iter().filter(|effect| matches!(effect, Effect::Event { .. })).count(), 1);
    // A second answer that changes nothing told leaves none.
    recorded(books.answer(pay, another_yes("B2")));
    recorded(books.answer(pay, says("05")));
    assert_eq!(books.events().len(), 3);
}

#[test]
fn r22_verifications_end_unresolved() {
    let mut books = Books::new();
    let pay = books.authorize_with("k1", 0, |new| new.verification = true);
    let settled_once = settled(books.time_out(pay));
    assert_eq!((settled_once.told().decision, settled_once.reversal()), (Decision::Unresolved, None));
    assert_eq!((books.owed(), books.transaction(pay).status()), (vec![], Status::Unresolved));
    recorded(books.answer(pay, yes()));
    recorded(books.late_send(pay));
    assert_eq!(books.owed(), []);
    let pay = books.authorize_with("k2", 0, |new| new.verification = true);
    assert_eq!(told(books.answer(pay, yes())), (Decision::Approved, 0));
    assert_eq!(books.transaction(pay).status(), Status::Verified);
    let pay = books.authorize_with("k3", 0, |new| new.verification = true);
    assert_eq!(told(books.answer(pay, yes_for(5))), (Decision::Unresolved, 0));
}

#[test]
fn r22_a_network_that_takes_no_reversals_leaves_them_unresolved() {
    let mut books = Books::new().with(|terms| terms.reversal_policy = ReversalPolicy::Never).with_day_limit(10_000);
    let pay = books.authorize("k1", 1000);
    assert_eq!(told(books.time_out(pay)), (Decision::Unresolved, 0));
    recorded(books.answer(pay, yes()));
    recorded(books.late_send(pay));
    assert_eq!((books.owed(), books.day_use()), (vec![], 1000), "in doubt counts for good");
    assert!(books.attempt(pay).late_approval);
    let pay = books.authorize("k2", 1000);
    assert_eq!(told(books.answer(pay, says("ZZ"))), (Decision::Unresolved, 0));
    // A fault there was: a partial that nobody asked for cannot be given back, so it cannot be told as a no.
    let pay = books.authorize("k3", 1000);
    let settled = settled(books.answer(pay, yes_for(400)));
    assert_eq!(
        (settled.told().decision, settled.told().reason),
        (Decision::Unresolved, Some(ToldReason::InvalidNetworkAnswer))
    );
    assert_eq!(books.owed(), []);
}

#[test]
fn r24_an_open_is_decided_under_the_terms_it_carries() {
    let mut books = Books::new().with(|terms| terms.capture_tolerance_basis_points = 1_000);
    let pay = books.approved("k1", 1000);
    books.terms.capture_tolerance_basis_points = 0;
    books.terms.valid_ms = 1;
    books.after(DAY_MS);
    assert_eq!(told(books.capture(pay, "f1", 1100, true)), (Decision::Approved, 1100));
    assert_eq!(books.transaction(pay).directory_version, 4);
    assert_eq!(books.attempt(pay).terms.valid_ms, 7 * DAY_MS);
}

#[test]
fn the_advice_of_the_scheme_is_told_and_wins_over_that_of_the_code() {
    for (advice_code, advice) in [
        ("", DeclineAdvice::TryAgainLater),
        ("03", DeclineAdvice::DoNotTryAgain),
        ("01", DeclineAdvice::ConfirmCardData),
        ("99", DeclineAdvice::TryAgainLater),
    ] {
        let mut books = Books::new();
        let pay = books.authorize("k1", 10);
        let answer = NetworkAnswer { advice_code: AnswerText::of(advice_code, 4), ..says("51") };
        let settled = settled(books.answer(pay, answer));
        assert_eq!(settled.told().decline, Some((DeclineReason::InsufficientFunds, advice)), "{advice_code:?}");
        assert_eq!(settled.told().advice_code.as_str(), advice_code);
    }
}

#[test]
fn who_decided_is_told() {
    let mut books = Books::new();
    let pay = books.authorize("k1", 10);
    let answer = NetworkAnswer {
        decided_by_network: true,
        address_result: AnswerText::of("Y", 2),
        verification_result: AnswerText::of("M", 1),
        ..yes()
    };
    let settled = settled(books.answer(pay, answer));
    assert_eq!(settled.told().source, Source::Network);
    assert_eq!((settled.told().address_result.as_str(), settled.told().verification_result.as_str()), ("Y", "M"));
    let subject = Subject::Refund(pay.0);
    let open = books.opening("f1", 1, "refund", subject);
    assert_eq!(
        refused(books.apply(Command::Open(Box::new(open)))),
        Refusal::AmountExceeds { asked: amount(1), left: amount(0) }
    );
}
