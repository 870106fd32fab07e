//! Voids in all orders (R12): before, during and after the answer, of a key that was never seen, twice, after a capture, of a
//! sale.

use super::fixture::{
    Books, START, TIMEOUT_MS, amount, another_yes, dispatched, recorded, refused, says, settled, taken, told, yes,
    yes_for,
};
use crate::{
    entry::{FailoverCause, LaneKind},
    outcome::{Decision, DeclineReason, LaneVerdict, NotSent, Sent},
    refusal::Refusal,
    table::OwedKind,
    time::{DAY_MS, LogTime},
    transaction::{CaptureMode, LaneState, Method, Resolution, ReversalReason, Status},
};

#[test]
fn r12_an_approval_after_the_void_is_reversed_in_its_entry_and_told_voided() {
    let mut books = Books::new().with_day_limit(5000);
    let pay = books.authorize("k1", 1000);
    let void = settled(books.void(pay, "v1"));
    assert_eq!(
        (void.told().decision, void.method(), void.reversal()),
        (Decision::Approved, Method::Void, Some(LaneState::Pending))
    );
    assert!(books.transaction(pay).first().void_requested);
    let approved = settled(books.answer(pay, yes()));
    assert_eq!((approved.told().decision, approved.told().sent), (Decision::Voided, Sent::Sent));
    assert_eq!(approved.told().approved, amount(0));
    let reversal = books.reversal_of(pay);
    assert_eq!(
        (reversal.reason, reversal.approved, reversal.lane.amount),
        (ReversalReason::Cancelled, Some(amount(1000)), amount(1000))
    );
    assert_eq!(told(books.try_authorize("k1", 1000)), (Decision::Voided, 0), "every replay too");
    assert_eq!((books.sums(pay), books.day_use()), ([0; 5], 1000));
    recorded(books.reversal(pay, LaneVerdict::Acknowledged));
    let again = settled(books.void(pay, "v1"));
    assert_eq!((again.reversal(), again.replayed(), books.day_use()), (Some(LaneState::Acknowledged), true, 0));
    assert_eq!(books.transaction(pay).status(), Status::Voided);
}

#[test]
fn r12_a_partial_approval_after_the_void_is_an_approval_too() {
    let mut books = Books::new();
    let pay = books.authorize("k1", 1000);
    settled(books.void(pay, "v1"));
    assert_eq!(told(books.answer(pay, yes_for(400))), (Decision::Voided, 0));
    let reversal = books.reversal_of(pay);
    assert_eq!((reversal.reason, reversal.approved), (ReversalReason::Cancelled, Some(amount(400))));
}

#[test]
fn r12_a_no_after_the_void_is_told_as_it_came() {
    let mut books = Books::new();
    let pay = books.authorize("k1", 1000);
    settled(books.void(pay, "v1"));
    assert_eq!(told(books.answer(pay, says("05"))), (Decision::Declined, 0));
    assert_eq!((books.owed(), books.attempt(pay).reversal), (vec![], None));
    let pay = books.authorize("k2", 1000);
    settled(books.void(pay, "v1"));
    let settled = settled(books.not_sent(pay, NotSent::OutOfService));
    assert_eq!(settled.told().decline.map(|(reason, _)| reason), Some(DeclineReason::Voided));
}

#[test]
fn r12_silence_after_the_void_joins_the_one_lane() {
    let mut books = Books::new();
    let pay = books.authorize("k1", 1000);
    settled(books.void(pay, "v1"));
    books.after(TIMEOUT_MS);
    assert_eq!(told(books.time_out(pay)), (Decision::TimedOut, 0));
    assert_eq!((books.owed().len(), books.reversal_of(pay).reason), (1, ReversalReason::Timeout));
    recorded(books.answer(pay, yes()));
    assert_eq!(books.owed(), [(1, OwedKind::Held), (2, OwedKind::Reversal)], "the first was not acknowledged");
    assert_eq!(books.reversal_of(pay).lane.generation, 1);
}

#[test]
fn r12_an_approval_before_the_void_stays_told_and_is_reversed() {
    let mut books = Books::new();
    let pay = books.approved("k1", 1000);
    let void = settled(books.void(pay, "v1"));
    assert_eq!((void.told().decision, void.reversal()), (Decision::Approved, Some(LaneState::Pending)));
    assert_eq!(books.reversal_of(pay).reason, ReversalReason::Cancelled);
    assert_eq!(told(books.try_authorize("k1", 1000)), (Decision::Approved, 1000));
    assert_eq!((books.sums(pay), books.transaction(pay).status()), ([0; 5], Status::Voided));
    assert_eq!(books.doubt_row("visa"), (1, 0, 1000));
    recorded(books.reversal(pay, LaneVerdict::Acknowledged));
    assert_eq!((books.owed(), books.doubt_row("visa")), (vec![], (0, 0, 0)));
}

#[test]
fn r12_a_void_after_the_time_out_goes_on_in_its_lane() {
    let mut books = Books::new();
    let pay = books.unanswered("k1", 1000);
    let before = books.reversal_of(pay);
    let void = settled(books.void(pay, "v1"));
    assert_eq!((void.told().decision, void.reversal()), (Decision::Approved, Some(LaneState::Pending)));
    assert_eq!((books.reversal_of(pay), books.owed().len()), (before, 1));
    assert_eq!(told(books.try_authorize("k1", 1000)), (Decision::TimedOut, 0));
}

#[test]
fn r12_a_void_undoes_every_increment_with_the_authorization() {
    let mut books = Books::new();
    let pay = books.approved("k1", 1000);
    for (n, key) in ["f1", "f2", "f3"].into_iter().enumerate() {
        let n = u16::try_from(n).expect("few") + 1;
        dispatched(books.increment(pay, key, 100));
        match n {
            1 => assert_eq!(told(books.answer((pay, n), yes())), (Decision::Approved, 100)),
            2 => assert_eq!(told(books.time_out((pay, n))), (Decision::TimedOut, 0)),
            _ => {}
        }
    }
    settled(books.void(pay, "v1"));
    assert_eq!(books.lane_state(pay), LaneState::Pending);
    assert_eq!(books.lane_state((pay, 1)), LaneState::Pending);
    assert_eq!(books.reversal_of((pay, 2)).reason, ReversalReason::Timeout);
    assert!(books.attempt((pay, 3)).reversal.is_none(), "still open");
    assert_eq!(told(books.answer((pay, 3), yes())), (Decision::Voided, 0));
    assert_eq!((books.lane_state((pay, 3)), books.sums(pay)), (LaneState::Pending, [0; 5]));
    assert_eq!(refused(books.increment(pay, "f4", 1)), Refusal::AlreadyVoided);
}

#[test]
fn r12_the_same_void_is_replayed_and_another_one_refused() {
    let mut books = Books::new();
    let pay = books.approved("k1", 1000);
    let first = settled(books.void(pay, "v1"));
    let again = settled(books.void_key("k1", "v1"));
    assert_eq!((again.told(), again.replayed()), (first.told(), true), "by key or by id");
    assert_eq!(refused(books.void(pay, "v2")), Refusal::AlreadyVoided);
    let open = books.authorize("k2", 1000);
    settled(books.void(open, "v1"));
    assert_eq!(refused(books.void_key("k2", "v2")), Refusal::AlreadyVoided);
}

#[test]
fn r12_after_a_capture_it_is_a_refund() {
    let mut books = Books::new();
    let pay = books.approved("k1", 1000);
    settled(books.capture(pay, "f1", 1, false));
    assert_eq!(refused(books.void(pay, "v1")), Refusal::UseRefund);
}

#[test]
fn r6_a_sale_may_be_voided_until_the_day_ends() {
    let mut books = Books::new();
    let (today, late, refused_refund) = (books.sale("k1", 1000), books.sale("k2", 1000), books.sale("k3", 1000));
    settled(books.void(today, "v1"));
    assert_eq!(books.sums(today), [0; 5]);
    // A fault there was: a refund that moved nothing is no reason.
    books.refund(refused_refund, "f1", 10);
    assert_eq!(refused(books.void(refused_refund, "v1")), Refusal::UseRefund);
    settled(books.answer((refused_refund, 1), says("05")));
    settled(books.void(refused_refund, "v1"));
    books.now = LogTime((START.0 / DAY_MS + 1) * DAY_MS - 1);
    let last = books.sale("k4", 1000);
    settled(books.void(last, "v1"));
    books.after(1);
    assert_eq!(refused(books.void(late, "v1")), Refusal::UseRefund);
}

#[test]
fn r12_a_void_before_its_original_leaves_a_tombstone() {
    let mut books = Books::new().with_day_limit(10);
    let first = settled(books.void_key("k1", "v1"));
    assert_eq!(
        (first.told().decision, first.transaction(), first.currency(), first.reversal()),
        (Decision::Approved, None, None, None)
    );
    let again = settled(books.void_key("k1", "v1"));
    assert_eq!((again.told(), again.replayed()), (first.told(), true));
    assert!(!settled(books.void_key("k1", "v2")).replayed(), "another void of it");
    books.after(5_000);
    // Beyond the day's limit even: nothing is asked, nothing is used.
    let told_once = settled(books.try_authorize("k1", 1000));
    assert_eq!((told_once.told().decision, told_once.told().sent), (Decision::Declined, Sent::NotSent));
    assert_eq!(told_once.told().decline.map(|(reason, _)| reason), Some(DeclineReason::Voided));
    assert_eq!((books.owed(), books.day_use(), told_once.last_attempt()), (vec![], 0, None));
    let replay = settled(books.try_authorize("k1", 1000));
    assert_eq!((replay.told(), replay.replayed()), (told_once.told(), true));
    let void = settled(books.void_key("k1", "v1"));
    assert_eq!((void.told(), void.replayed(), void.transaction()), (first.told(), true, told_once.transaction()));
    assert_eq!(refused(books.void_key("k1", "v3")), Refusal::AlreadyVoided);
}

#[test]
fn r12_a_second_approval_after_the_void_is_reversed_too() {
    let mut books = Books::new();
    let pay = books.approved("k1", 1000);
    settled(books.void(pay, "v1"));
    recorded(books.reversal(pay, LaneVerdict::Acknowledged));
    recorded(books.answer(pay, another_yes("B2")));
    assert_eq!((books.lane_state(pay), books.reversal_of(pay).lane.generation), (LaneState::Pending, 1));
    assert!(books.attempt(pay).conflicting_answer);
}

#[test]
fn r9_an_expired_authorization_may_be_voided_while_its_hold_stands() {
    let mut books = Books::new();
    let (held, released, partly) = (books.approved("k1", 1000), books.approved("k2", 1000), books.approved("k3", 1000));
    settled(books.capture(partly, "f1", 300, false));
    books.after(8 * DAY_MS);
    recorded(books.expire(held, false));
    recorded(books.expire(released, true));
    recorded(books.expire(partly, false));
    assert_eq!(refused(books.capture(held, "f1", 1, false)), Refusal::Expired);
    assert_eq!(refused(books.increment(held, "f1", 1)), Refusal::Expired);
    let void = settled(books.void(held, "v1"));
    assert_eq!((void.told().decision, void.reversal()), (Decision::Approved, Some(LaneState::Pending)));
    assert_eq!((books.reversal_of(held).reason, books.sums(held)), (ReversalReason::Cancelled, [0; 5]));
    assert_eq!(books.transaction(held).status(), Status::Voided);
    assert_eq!(refused(books.void(released, "v1")), Refusal::Expired, "the expiry released it");
    assert_eq!(refused(books.void(partly, "v1")), Refusal::UseRefund);
}

/// A fault there was: money that an operator found standing could neither be refunded nor, on another day, be voided.
#[test]
fn r25_a_timed_out_sale_that_stands_can_be_given_back() {
    let mut books = Books::new();
    let pay = books.authorize_with("k1", 1000, |new| new.capture_mode = CaptureMode::Automatic);
    settled(books.time_out(pay));
    assert_eq!(refused(books.refund(pay, "f1", 10)), Refusal::NotAuthorized, "nothing is known to be captured");
    recorded(books.park(LaneKind::Reversal, pay));
    taken(books.resolve(pay, Resolution::Stands));
    assert_eq!(books.sums(pay), [1000, 1000, 0, 0, 0]);
    let refund = dispatched(books.refund(pay, "f1", 400));
    assert_eq!(refund.original(), Some(&books.name(pay)));
    assert_eq!(told(books.answer((pay, 1), yes())), (Decision::Approved, 400));
    assert_eq!(refused(books.refund(pay, "f2", 601)), Refusal::AmountExceeds { asked: amount(601), left: amount(600) });
    assert_eq!(told(books.try_authorize("k1", 1000)), (Decision::TimedOut, 0), "what was told stays told");
    // On its own day a void gives it back whole.
    let pay = books.authorize_with("k2", 1000, |new| new.capture_mode = CaptureMode::Automatic);
    settled(books.time_out(pay));
    recorded(books.park(LaneKind::Reversal, pay));
    taken(books.resolve(pay, Resolution::Stands));
    settled(books.void(pay, "v1"));
    assert_eq!((books.lane_state(pay), books.sums(pay)), (LaneState::Pending, [0; 5]));
    // A void that the network never took leaves money that only a refund gives back.
    recorded(books.reversal(pay, LaneVerdict::Refused));
    taken(books.resolve(pay, Resolution::Stands));
    books.after(DAY_MS);
    assert_eq!(refused(books.void(pay, "v2")), Refusal::AlreadyVoided);
    dispatched(books.refund(pay, "f1", 1000));
}

#[test]
fn r25_a_refund_goes_back_to_the_attempt_that_stands() {
    let mut books = Books::new();
    let pay = books.authorize_with("k1", 1000, |new| new.capture_mode = CaptureMode::Automatic);
    dispatched(books.fail_over(pay, FailoverCause::NotSent(NotSent::CircuitOpen), "amex"));
    settled(books.answer((pay, 0, 2), says("05")));
    recorded(books.late_send(pay));
    recorded(books.park(LaneKind::Reversal, pay));
    taken(books.resolve(pay, Resolution::Stands));
    assert_eq!(books.sums(pay), [1000, 1000, 0, 0, 0]);
    assert_eq!(dispatched(books.refund(pay, "f1", 1000)).original(), Some(&books.name(pay)));
}

/// A fault there was: an operator's word that money stands was left standing by a void that promised to undo it.
#[test]
fn r12_a_void_asks_back_what_an_operator_found_standing() {
    let mut books = Books::new();
    let pay = books.unanswered("k1", 1000);
    recorded(books.park(LaneKind::Reversal, pay));
    taken(books.resolve(pay, Resolution::Stands));
    assert_eq!(books.sums(pay), [1000, 0, 0, 0, 1000]);
    let void = settled(books.void(pay, "v1"));
    assert_eq!((void.told().decision, void.reversal()), (Decision::Approved, Some(LaneState::Pending)));
    assert_eq!((books.reversal_of(pay).lane.generation, books.sums(pay)), (1, [0; 5]));
}

/// A fault there was: the approval of money that had been found standing was reversed beside that money, a second time.
#[test]
fn r13_a_void_takes_an_approval_that_came_after_the_word_for_the_money_that_stands() {
    let mut books = Books::new();
    let pay = books.unanswered("k1", 1000);
    recorded(books.park(LaneKind::Reversal, pay));
    taken(books.resolve(pay, Resolution::Stands));
    recorded(books.answer(pay, yes()));
    settled(books.void(pay, "v1"));
    let reversal = books.reversal_of(pay);
    assert_eq!((reversal.lane.generation, reversal.approvals_reversed), (1, 1));
    assert_eq!((reversal.approved, reversal.lane.amount), (Some(amount(1000)), amount(1000)));
    recorded(books.reversal(pay, LaneVerdict::Acknowledged));
    assert_eq!((books.lane_state(pay), books.reversal_of(pay).lane.generation), (LaneState::Acknowledged, 1));
    assert_eq!(books.owed(), []);
}

/// A fault there was: the release of an expired hold takes increments along, and a void that asked for it once more reversed
/// them a second time by themselves.
#[test]
fn r12_a_void_asks_back_once_what_an_expiry_released_with_its_increments() {
    let mut books = Books::new().with_day_limit(10_000);
    let pay = books.approved("k1", 1000);
    for key in ["f1", "f2", "f3"] {
        dispatched(books.increment(pay, key, 100));
    }
    assert_eq!(told(books.answer((pay, 1), yes())), (Decision::Approved, 100));
    for increment in [(pay, 2), (pay, 3)] {
        assert_eq!(told(books.time_out(increment)), (Decision::TimedOut, 0));
        recorded(books.park(LaneKind::Reversal, increment));
    }
    taken(books.resolve((pay, 2), Resolution::Stands));
    books.after(8 * DAY_MS);
    recorded(books.expire(pay, true));
    assert_eq!(
        (books.reversal_of(pay).reason, books.reversal_of(pay).lane.amount),
        (ReversalReason::Remainder, amount(1200))
    );
    // Two persons find that the release changed nothing, and that the third increment, which it did not include, is there too.
    recorded(books.park(LaneKind::Reversal, pay));
    taken(books.resolve(pay, Resolution::Stands));
    books.after(1);
    taken(books.resolve((pay, 3), Resolution::Stands));
    assert_eq!(books.sums(pay), [1300, 0, 0, 0, 1300]);

    settled(books.void(pay, "v1"));
    assert_eq!((books.lane_state(pay), books.reversal_of(pay).lane.amount), (LaneState::Pending, amount(1200)));
    assert!(books.attempt((pay, 1)).reversal.is_none(), "its money is in the release");
    assert_eq!(books.lane_state((pay, 2)), LaneState::Resolved(Resolution::Stands), "and this one's");
    assert_eq!(books.lane_state((pay, 3)), LaneState::Pending);
    assert_eq!((books.doubt_row("visa"), books.sums(pay)[4]), ((2, 0, 1300), 0));
    recorded(books.reversal(pay, LaneVerdict::Acknowledged));
    recorded(books.reversal((pay, 3), LaneVerdict::Acknowledged));
    assert_eq!((books.owed(), books.doubt_row("visa"), books.sums(pay)[4]), (vec![], (0, 0, 0), 0));
    assert_eq!(books.transaction(pay).status(), Status::Voided);
}
