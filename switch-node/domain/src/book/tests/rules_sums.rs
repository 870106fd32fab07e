//! Sums (R11) and the limits of a day (R24).

use super::fixture::{Books, amount, dispatched, recorded, refused, says, settled, told, yes, yes_for};
use crate::{
    entry::{FailoverCause, LaneKind},
    money::AMOUNT_MAX,
    outcome::{Decision, DeclineReason, LaneVerdict, NotSent},
    refusal::Refusal,
    time::DAY_MS,
    transaction::{LaneState, ReversalPolicy, ReversalReason, Status},
};

fn exceeds(asked: u64, left: u64) -> Refusal {
    Refusal::AmountExceeds { asked: amount(asked), left: amount(left) }
}

#[test]
fn r11_pending_refunds_count_in_full() {
    let mut books = Books::new();
    let pay = books.captured("k1", 1000);
    dispatched(books.refund(pay, "f1", 600));
    assert_eq!(refused(books.refund(pay, "f2", 600)), exceeds(600, 400));
    settled(books.time_out((pay, 2)));
    assert_eq!(refused(books.refund(pay, "f2", 600)), exceeds(600, 400), "in doubt");
    recorded(books.park(LaneKind::Reversal, (pay, 2)));
    assert_eq!(refused(books.refund(pay, "f2", 600)), exceeds(600, 400), "parked");
    recorded(books.reversal((pay, 2), LaneVerdict::Acknowledged));
    dispatched(books.refund(pay, "f2", 600));
    settled(books.answer((pay, 3), yes()));
    assert_eq!(refused(books.refund(pay, "f3", 401)), exceeds(401, 400));
}

/// A fault there was: three ways in which a refund that may have happened did not count.
#[test]
fn r11_a_refund_that_the_network_may_hold_counts_whatever_was_told() {
    // An unwanted partial, being reversed.
    let mut books = Books::new();
    let pay = books.captured("k1", 1000);
    books.refund(pay, "f1", 1000);
    assert_eq!(told(books.answer((pay, 2), yes_for(900))), (Decision::Declined, 0));
    assert_eq!(refused(books.refund(pay, "f2", 1)), exceeds(1, 0));
    recorded(books.reversal((pay, 2), LaneVerdict::Acknowledged));
    // An approval after a decline, and one after it was said that nothing left.
    for n in [3, 4] {
        books.refund(pay, &format!("f{n}"), 1000);
        if n == 3 {
            settled(books.answer((pay, n), says("05")))
        } else {
            settled(books.not_sent((pay, n), NotSent::TooLate))
        };
        recorded(books.answer((pay, n), yes()));
        assert_eq!((books.sums(pay)[3], refused(books.refund(pay, "f9", 1))), (1000, exceeds(1, 0)));
        recorded(books.reversal((pay, n), LaneVerdict::Acknowledged));
    }
    dispatched(books.refund(pay, "f9", 1000));
    // At a network that takes no reversals such an approval counts for good.
    let mut books = Books::new().with(|terms| terms.reversal_policy = ReversalPolicy::Never);
    let pay = books.captured("k1", 1000);
    books.refund(pay, "f1", 1000);
    settled(books.answer((pay, 2), says("05")));
    recorded(books.answer((pay, 2), yes()));
    assert_eq!(refused(books.refund(pay, "f2", 1)), exceeds(1, 0));
}

#[test]
fn r11_captures_are_bounded_by_what_is_authorized_with_tolerance_rounded_down() {
    let mut books = Books::new().with(|terms| terms.capture_tolerance_basis_points = 1_500);
    let pay = books.approved("k1", 999);
    assert_eq!(refused(books.capture(pay, "f1", 1149, true)), exceeds(1149, 1148));
    assert_eq!(told(books.capture(pay, "f1", 1148, true)), (Decision::Approved, 1148));
    assert_eq!(books.sums(pay), [999, 1148, 0, 0, 0]);
    assert!(books.attempt(pay).reversal.is_none(), "no remainder");
    // What is captured above is refundable.
    dispatched(books.refund(pay, "f2", 1148));
}

#[test]
fn r11_increments_raise_what_may_be_captured_and_in_doubt_ones_do_not() {
    let mut books = Books::new();
    let pay = books.approved("k1", 1000);
    for (n, key) in [(1, "f1"), (2, "f2"), (3, "f3")] {
        books.increment(pay, key, 100);
        if n == 1 {
            settled(books.answer((pay, n), yes()));
        } else if n == 2 {
            settled(books.time_out((pay, n)));
        }
    }
    assert_eq!(books.sums(pay), [1100, 0, 0, 0, 1100]);
    assert_eq!(refused(books.capture(pay, "c1", 1101, false)), exceeds(1101, 1100));
    settled(books.capture(pay, "c1", 1100, false));
    settled(books.answer((pay, 3), yes()));
    settled(books.capture(pay, "c2", 100, true));
    assert_eq!((books.sums(pay), books.transaction(pay).status()), ([1200, 1200, 0, 0, 0], Status::Captured));
}

#[test]
fn r11_the_final_capture_releases_the_remainder_in_its_entry() {
    let mut books = Books::new().with_day_limit(10_000);
    let pay = books.approved("k1", 1000);
    settled(books.capture(pay, "f1", 300, false));
    assert_eq!((books.sums(pay), books.transaction(pay).status()), ([1000, 300, 0, 0, 700], Status::PartiallyCaptured));
    settled(books.capture(pay, "f2", 100, true));
    let reversal = books.reversal_of(pay);
    assert_eq!(
        (reversal.reason, reversal.approved, reversal.lane.amount),
        (ReversalReason::Remainder, Some(amount(1000)), amount(600))
    );
    assert_eq!((books.sums(pay), books.day_use()), ([1000, 400, 0, 0, 0], 1000));
    recorded(books.reversal(pay, LaneVerdict::Acknowledged));
    assert_eq!((books.lane_state(pay), books.day_use()), (LaneState::Acknowledged, 400));
    assert_eq!(told(books.try_authorize("k1", 1000)), (Decision::Approved, 1000));
}

#[test]
fn r11_a_remainder_of_increments_gives_their_part_of_the_day_back() {
    let mut books = Books::new().with_day_limit(10_000);
    let pay = books.approved("k1", 100);
    books.increment(pay, "f1", 50);
    settled(books.answer((pay, 1), yes()));
    settled(books.capture(pay, "f2", 30, true));
    assert_eq!((books.reversal_of(pay).lane.amount, books.day_use()), (amount(120), 150));
    recorded(books.reversal(pay, LaneVerdict::Acknowledged));
    assert_eq!(books.day_use(), 30);
}

#[test]
fn r11_a_network_that_takes_no_reversals_keeps_the_remainder() {
    let mut books = Books::new().with(|terms| terms.reversal_policy = ReversalPolicy::Never);
    let pay = books.approved("k1", 1000);
    settled(books.capture(pay, "f1", 300, true));
    assert_eq!((books.sums(pay), books.transaction(pay).status()), ([1000, 300, 0, 0, 700], Status::Captured));
}

#[test]
fn r11_sums_end_where_amounts_end() {
    let mut books = Books::new();
    let pay = books.approved("k1", AMOUNT_MAX - 5);
    dispatched(books.increment(pay, "f1", 5));
    assert_eq!(refused(books.increment(pay, "f2", 1)), Refusal::SumTooGreat);
    settled(books.answer((pay, 1), says("05")));
    dispatched(books.increment(pay, "f2", 1));
}

#[test]
fn r24_a_days_limit_is_reserved_and_released() {
    let mut books = Books::new().with_day_limit(1000);
    let pay = books.authorize("k1", 600);
    assert_eq!(books.day_use(), 600, "from Open on");
    let over = |reply| matches!(refused(reply), Refusal::Declined(DeclineReason::SwitchLimit, _));
    assert!(over(books.try_authorize("k2", 401)));
    let second = books.authorize("k2", 400);
    settled(books.answer(second, says("51")));
    assert_eq!(books.day_use(), 600, "a decline gives back");
    let third = books.authorize("k3", 400);
    settled(books.not_sent(third, NotSent::OutOfService));
    assert_eq!(books.day_use(), 600, "so does what was not sent");
    let fourth = books.authorize_with("k4", 400, |new| new.partial_supported = true);
    settled(books.answer(fourth, yes_for(100)));
    assert_eq!(books.day_use(), 700, "a partial approval gives back the rest");
    settled(books.time_out(pay));
    assert_eq!(books.day_use(), 700, "doubt counts in full");
    recorded(books.park(LaneKind::Reversal, pay));
    assert_eq!(books.day_use(), 700, "parked too");
    recorded(books.reversal(pay, LaneVerdict::Acknowledged));
    assert_eq!(books.day_use(), 100, "a final reversal gives back");
    settled(books.void(fourth, "v1"));
    assert_eq!(books.day_use(), 100);
    recorded(books.reversal(fourth, LaneVerdict::Acknowledged));
    assert_eq!(books.day_use(), 0);
}

#[test]
fn r24_a_day_is_utc_log_time_and_gives_back_to_the_day_it_took_from() {
    let mut books = Books::new().with_day_limit(1000);
    let old = books.approved("k1", 1000);
    books.after(DAY_MS);
    assert_eq!(books.day_use(), 0);
    let pay = books.authorize("k2", 800);
    settled(books.answer(pay, yes()));
    settled(books.void(old, "v1"));
    recorded(books.reversal(old, LaneVerdict::Acknowledged));
    assert_eq!(books.day_use(), 800);
    books.now = crate::time::LogTime(books.now.0 - DAY_MS);
    assert_eq!(books.day_use(), 0);
}

#[test]
fn r24_increments_use_the_day_and_refunds_do_not() {
    let mut books = Books::new().with_day_limit(1000);
    let pay = books.approved("k1", 900);
    assert!(matches!(refused(books.increment(pay, "f1", 101)), Refusal::Declined(DeclineReason::SwitchLimit, _)));
    dispatched(books.increment(pay, "f1", 100));
    settled(books.answer((pay, 1), yes()));
    settled(books.capture(pay, "f2", 1000, true));
    assert_eq!(books.day_use(), 1000);
    dispatched(books.refund(pay, "f3", 1000));
    assert_eq!(books.day_use(), 1000);
}

/// A fault there was: what a late approval brought back into doubt used nothing of the day.
#[test]
fn r24_a_late_approval_reserves_the_day_again() {
    let mut books = Books::new().with_day_limit(2000);
    let declined = books.authorize("k1", 600);
    settled(books.answer(declined, says("05")));
    let reversed = books.authorize("k2", 400);
    settled(books.time_out(reversed));
    recorded(books.reversal(reversed, LaneVerdict::Acknowledged));
    let unsent = books.authorize("k3", 300);
    settled(books.not_sent(unsent, NotSent::TooLate));
    assert_eq!(books.day_use(), 0);
    recorded(books.answer(declined, yes()));
    assert_eq!(books.day_use(), 600);
    recorded(books.answer(reversed, yes()));
    recorded(books.answer(reversed, yes()));
    assert_eq!(books.day_use(), 1000, "once, however often it comes");
    recorded(books.late_send(unsent));
    assert_eq!(books.day_use(), 1300);
    assert!(matches!(refused(books.try_authorize("k4", 701)), Refusal::Declined(DeclineReason::SwitchLimit, _)));
    for pay in [declined, reversed, unsent] {
        recorded(books.reversal(pay, LaneVerdict::Acknowledged));
    }
    assert_eq!(books.day_use(), 0);
    // Without a limit nothing was reserved, and nothing is.
    books.day_limit = 0;
    let free = books.authorize("k5", 50);
    settled(books.answer(free, says("05")));
    recorded(books.answer(free, yes()));
    assert_eq!(books.day_use(), 0);
    // Where nothing is reversed it stays in doubt, and counts.
    books.day_limit = 2000;
    books.terms.reversal_policy = ReversalPolicy::Never;
    let stuck = books.authorize("k6", 70);
    settled(books.answer(stuck, says("05")));
    recorded(books.answer(stuck, yes()));
    assert_eq!(books.day_use(), 70);
}

#[test]
fn r24_the_reversal_of_one_attempt_keeps_what_was_captured_on_the_other() {
    let mut books = Books::new().with_day_limit(2000);
    let pay = books.authorize("k1", 1000);
    dispatched(books.fail_over(pay, FailoverCause::NotSent(NotSent::CircuitOpen), "amex"));
    settled(books.answer((pay, 0, 2), yes()));
    settled(books.capture(pay, "f1", 400, true));
    recorded(books.reversal((pay, 0, 2), LaneVerdict::Acknowledged));
    assert_eq!(books.day_use(), 400);
    recorded(books.answer(pay, yes()));
    assert_eq!(books.day_use(), 1000);
    recorded(books.reversal(pay, LaneVerdict::Acknowledged));
    assert_eq!((books.day_use(), books.sums(pay)), (400, [1000, 400, 0, 0, 0]));
}

/// A fault there was: the reversal of an attempt that failed over gave back what the next attempt had been approved for.
#[test]
fn r24_the_reversal_of_one_attempt_leaves_the_others_reservation() {
    let mut books = Books::new().with_day_limit(1000);
    let pay = books.authorize("k1", 600);
    dispatched(books.fail_over(pay, FailoverCause::NotSent(NotSent::CircuitOpen), "amex"));
    recorded(books.late_send(pay));
    recorded(books.reversal(pay, LaneVerdict::Acknowledged));
    assert_eq!(books.day_use(), 600, "the second is still open");
    recorded(books.answer(pay, yes()));
    settled(books.answer((pay, 0, 2), yes()));
    recorded(books.reversal(pay, LaneVerdict::Acknowledged));
    assert_eq!((books.day_use(), books.sums(pay)), (600, [600, 0, 0, 0, 600]));
}
