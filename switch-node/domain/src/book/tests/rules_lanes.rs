//! Lanes: when a reversal is final (R13), how much doubt a network may have (R23), what is parked and how it is closed (R25).

use super::fixture::{
    ANNA, BRUNO, Books, CLARA, IN_FLIGHT_MS, START, TIMEOUT_MS, amount, another_yes, ignored, not_taken, recorded,
    refused, says, settled, taken, told, yes, yes_for,
};
use crate::{
    entry::{Command, LaneAnswer, LaneKind, LaneRef},
    id::Stan,
    limits,
    outcome::{AnswerText, Decision, DeclineReason, LaneVerdict, NetworkAnswer, NotSent},
    refusal::{Refusal, ResolutionRefusal},
    table::{Key, Row, Table},
    transaction::{Confirmation, LaneState, PassedOver, Resolution, ReversalReason, Status},
};

const UNTIL_SETTLED_MS: u64 = IN_FLIGHT_MS;

#[test]
fn r13_an_acknowledgement_that_proves_a_match_is_final_at_once() {
    for verdict in [LaneVerdict::Acknowledged, LaneVerdict::Duplicate] {
        let mut books = Books::new();
        let pay = books.unanswered("k1", 1000);
        recorded(books.reversal(pay, verdict));
        assert_eq!((books.lane_state(pay), books.owed()), (LaneState::Acknowledged, vec![]));
        ignored(books.reversal(pay, LaneVerdict::Refused));
    }
}

#[test]
fn r13_one_that_proves_nothing_must_be_repeated_after_the_in_flight_time() {
    // A duplicate says no more than the acknowledgement of its first copy.
    for verdict in [LaneVerdict::Acknowledged, LaneVerdict::Duplicate] {
        let mut books = Books::new().with(|terms| terms.acknowledgement_proves_match = false);
        let pay = books.unanswered("k1", 1000);
        recorded(books.reversal(pay, verdict));
        recorded(books.reversal(pay, verdict));
        assert_eq!(books.lane_state(pay), LaneState::Pending, "both before the in-flight time was over");
        assert!(books.reversal_of(pay).lane.doubted_once);
        books.after(UNTIL_SETTLED_MS - 1);
        recorded(books.reversal(pay, verdict));
        assert_eq!(books.lane_state(pay), LaneState::Pending);
        books.after(1);
        recorded(books.reversal(pay, verdict));
        assert_eq!(books.lane_state(pay), LaneState::Acknowledged);
    }
}

#[test]
fn r13_one_for_a_known_approval_is_final_whatever_the_profile() {
    let mut books = Books::new().with(|terms| terms.acknowledgement_proves_match = false);
    let pay = books.approved("k1", 1000);
    settled(books.void(pay, "v1"));
    recorded(books.reversal(pay, LaneVerdict::Acknowledged));
    assert_eq!(books.lane_state(pay), LaneState::Acknowledged);
    let pay = books.unanswered("k2", 1000);
    recorded(books.answer(pay, yes()));
    recorded(books.reversal(pay, LaneVerdict::Acknowledged));
    assert_eq!(books.lane_state(pay), LaneState::Acknowledged);
}

#[test]
fn r13_not_found_is_final_only_twice_and_after_the_in_flight_time() {
    let mut books = Books::new();
    let pay = books.unanswered("k1", 1000);
    recorded(books.reversal(pay, LaneVerdict::NotFound));
    assert_eq!(books.lane_state(pay), LaneState::Pending);
    books.after(UNTIL_SETTLED_MS - 1);
    recorded(books.reversal(pay, LaneVerdict::NotFound));
    assert_eq!(books.lane_state(pay), LaneState::Pending, "a millisecond too early");
    books.after(1);
    recorded(books.reversal(pay, LaneVerdict::NotFound));
    assert_eq!((books.lane_state(pay), books.owed()), (LaneState::NotFound, vec![]));
    assert_eq!(told(books.try_authorize("k1", 1000)), (Decision::TimedOut, 0));
}

#[test]
fn r13_the_first_not_found_is_repeated_however_late_it_comes() {
    let mut books = Books::new();
    let pay = books.unanswered("k1", 1000);
    books.after(10 * UNTIL_SETTLED_MS);
    recorded(books.reversal(pay, LaneVerdict::NotFound));
    assert_eq!(books.lane_state(pay), LaneState::Pending);
    // What counts is when the copy that was answered was sent, not when its answer came.
    let (lane, sent) = (books.lane_ref(LaneKind::Reversal, pay), START.after_ms(TIMEOUT_MS));
    recorded(books.apply(Command::LaneAnswer(LaneAnswer { lane, verdict: LaneVerdict::NotFound, sent })));
    assert_eq!(books.lane_state(pay), LaneState::Pending);
    recorded(books.reversal(pay, LaneVerdict::NotFound));
    assert_eq!(books.lane_state(pay), LaneState::NotFound);
}

#[test]
fn r13_the_time_runs_from_the_deadline_even_after_an_early_end() {
    let mut books = Books::new();
    let pay = books.authorize("k1", 1000);
    settled(books.doubt(pay, crate::outcome::Doubt::ConnectionLost)); // at once: ten seconds before its deadline
    recorded(books.reversal(pay, LaneVerdict::NotFound));
    books.after(UNTIL_SETTLED_MS);
    recorded(books.reversal(pay, LaneVerdict::NotFound));
    assert_eq!(books.lane_state(pay), LaneState::Pending);
    books.after(TIMEOUT_MS);
    recorded(books.reversal(pay, LaneVerdict::NotFound));
    assert_eq!(books.lane_state(pay), LaneState::NotFound);
}

#[test]
fn r13_not_found_is_never_final_once_an_approval_was_seen() {
    let mut books = Books::new();
    let pay = books.unanswered("k1", 1000);
    recorded(books.answer(pay, yes()));
    books.after(10 * UNTIL_SETTLED_MS);
    for _ in 0..3 {
        recorded(books.reversal(pay, LaneVerdict::NotFound));
        assert_eq!(books.lane_state(pay), LaneState::Pending);
    }
}

#[test]
fn r13_a_late_approval_makes_every_earlier_acknowledgement_worthless() {
    let mut books = Books::new();
    let pay = books.unanswered("k1", 1000);
    let first = books.reversal_of(pay).lane;
    let old = books.lane_ref(LaneKind::Reversal, pay);
    recorded(books.answer(pay, yes()));
    let second = books.reversal_of(pay).lane;
    assert_eq!((second.generation, second.state), (1, LaneState::Pending));
    assert_ne!(first.identity.stan, second.identity.stan);
    assert_eq!(first.identity.rrn, second.identity.rrn);
    // An answer to the earlier generation, still on its way, proves nothing.
    let now = books.now;
    ignored(books.apply(Command::LaneAnswer(LaneAnswer {
        lane: old.clone(),
        verdict: LaneVerdict::Acknowledged,
        sent: now,
    })));
    ignored(books.apply(Command::Park(old)));
    recorded(books.reversal(pay, LaneVerdict::Acknowledged));
    // Also after REVERSED: one more for each distinct approval, none for a second copy.
    recorded(books.answer(pay, yes()));
    assert_eq!(books.lane_state(pay), LaneState::Acknowledged);
    recorded(books.answer(pay, another_yes("B2")));
    assert_eq!((books.lane_state(pay), books.reversal_of(pay).lane.generation), (LaneState::Pending, 2));
    recorded(books.answer(pay, says("05")));
    assert_eq!(books.reversal_of(pay).lane.generation, 2, "a late no changes nothing");
    assert_eq!(told(books.try_authorize("k1", 1000)), (Decision::TimedOut, 0));
}

#[test]
fn r13_a_greater_late_approval_is_reversed_whole() {
    let mut books = Books::new();
    let pay = books.unanswered("k1", 1000);
    recorded(books.answer(pay, yes_for(1500)));
    let reversal = books.reversal_of(pay);
    assert_eq!((reversal.approved, reversal.lane.amount), (Some(amount(1500)), amount(1500)));
    assert_eq!(books.doubt_row("visa"), (1, 0, 1500));
    let foreign = NetworkAnswer { currency: Some(super::fixture::currency("JPY")), ..yes_for(90_000) };
    recorded(books.answer(pay, foreign));
    let reversal = books.reversal_of(pay);
    assert_eq!((reversal.approved, reversal.lane.amount), (Some(amount(1500)), amount(1500)));
    // The yen have a reversal of their own, which undoes what was asked: they are no cents.
    recorded(books.reversal(pay, LaneVerdict::Acknowledged));
    let reversal = books.reversal_of(pay);
    assert_eq!((reversal.approved, reversal.lane.amount), (None, amount(1000)));
    assert_eq!((reversal.lane.generation, books.doubt_row("visa")), (2, (1, 0, 1000)));
}

#[test]
fn r13_each_distinct_approval_within_one_generation_is_reversed_and_acknowledged_by_itself() {
    let mut books = Books::new().with_day_limit(5_000);
    let pay = books.unanswered("k1", 1000);
    let late =
        |code: &str, id: &str| NetworkAnswer { network_transaction_id: AnswerText::of(id, 15), ..another_yes(code) };
    recorded(books.answer(pay, late("A1", "N-1")));
    let events = books.events().len();
    // Another code, another id of the network's: two more charges. A copy of each, and of the first: none.
    for _ in 0..2 {
        recorded(books.answer(pay, late("B2", "N-1")));
        recorded(books.answer(pay, late("B2", "N-2")));
        recorded(books.answer(pay, late("A1", "N-1")));
    }
    assert_eq!(books.attempt(pay).approvals.len(), 3);
    assert_eq!((books.lane_state(pay), books.reversal_of(pay).lane.generation), (LaneState::Pending, 1));
    let mut numbers = vec![];
    for generation in 1..=3 {
        let lane = books.reversal_of(pay).lane;
        assert_eq!((lane.state, lane.generation), (LaneState::Pending, generation));
        assert_eq!((books.doubt_row("visa"), books.day_use()), ((1, 0, 1000), 1000), "in doubt until the last");
        numbers.push(lane.identity.stan);
        assert_eq!(books.events().len(), events, "pending stays pending (R20)");
        recorded(books.reversal(pay, LaneVerdict::Acknowledged));
        let answered = LaneRef { generation, ..books.lane_ref(LaneKind::Reversal, pay) };
        let sent = books.now;
        let again = LaneAnswer { lane: answered, verdict: LaneVerdict::Acknowledged, sent };
        ignored(books.apply(Command::LaneAnswer(again)));
    }
    assert_eq!((books.lane_state(pay), books.reversal_of(pay).lane.generation), (LaneState::Acknowledged, 3));
    numbers.dedup();
    assert_eq!((numbers.len(), books.owed(), books.day_use()), (3, vec![], 0));
    assert_eq!((books.events().len(), books.doubt_row("visa")), (events + 1, (0, 0, 0)));
    // Also after REVERSED.
    recorded(books.answer(pay, late("C3", "N-3")));
    assert_eq!((books.lane_state(pay), books.reversal_of(pay).lane.generation), (LaneState::Pending, 4));
}

#[test]
fn r13_an_approval_wakes_a_parked_reversal_and_both_are_owed() {
    let mut books = Books::new();
    let pay = books.unanswered("k1", 1000);
    recorded(books.answer(pay, yes()));
    recorded(books.reversal(pay, LaneVerdict::Refused));
    recorded(books.answer(pay, another_yes("B2")));
    assert_eq!((books.lane_state(pay), books.reversal_of(pay).approvals_reversed), (LaneState::Pending, 1));
    recorded(books.reversal(pay, LaneVerdict::Acknowledged));
    assert_eq!((books.lane_state(pay), books.reversal_of(pay).approvals_reversed), (LaneState::Pending, 2));
    recorded(books.reversal(pay, LaneVerdict::Acknowledged));
    assert_eq!((books.lane_state(pay), books.owed()), (LaneState::Acknowledged, vec![]));
}

/// A fault there was: the second approval waited until the first one's reversal, which the network would never find, was parked
/// and closed by operators.
#[test]
fn r13_an_approval_does_not_wait_for_one_whose_reversal_is_only_not_found() {
    let mut books = Books::new().with_day_limit(5_000);
    let pay = books.unanswered("k1", 1000);
    recorded(books.answer(pay, yes_for(1500)));
    recorded(books.answer(pay, another_yes("B2")));
    let events = books.events().len();
    books.after(UNTIL_SETTLED_MS);
    recorded(books.reversal(pay, LaneVerdict::NotFound));
    assert_eq!(books.reversal_of(pay).lane.generation, 1, "once is not enough, however late");
    let (lane, sent) = (books.lane_ref(LaneKind::Reversal, pay), START.after_ms(TIMEOUT_MS + UNTIL_SETTLED_MS - 1));
    recorded(books.apply(Command::LaneAnswer(LaneAnswer { lane, verdict: LaneVerdict::NotFound, sent })));
    assert_eq!(books.reversal_of(pay).lane.generation, 1, "nor is a copy that left too early");
    assert_eq!(books.doubt_row("visa"), (1, 0, 1500));

    recorded(books.reversal(pay, LaneVerdict::NotFound));
    let second = books.reversal_of(pay);
    assert_eq!((second.lane.generation, second.approved, second.lane.amount), (2, Some(amount(1000)), amount(1000)));
    assert_eq!(second.passed_over, [PassedOver { approved: Some(amount(1500)) }]);
    assert_eq!((books.lane_state(pay), books.doubt_row("visa")), (LaneState::Pending, (1, 0, 1000)));
    recorded(books.reversal(pay, LaneVerdict::Acknowledged));

    // The first one's money may be there all the same: it is not over.
    let again = books.reversal_of(pay);
    assert_eq!((again.lane.generation, again.approved, again.lane.amount), (3, Some(amount(1500)), amount(1500)));
    assert_eq!((again.passed_over, books.doubt_row("visa"), books.day_use()), (vec![], (1, 0, 1500), 1000));
    for _ in 0..3 {
        books.after(UNTIL_SETTLED_MS);
        recorded(books.reversal(pay, LaneVerdict::NotFound));
        assert_eq!((books.lane_state(pay), books.reversal_of(pay).lane.generation), (LaneState::Pending, 3));
    }
    assert_eq!(books.events().len(), events, "pending stays pending (R20)");
    // The budget parks it, and an operator has the last word (R25).
    recorded(books.park(LaneKind::Reversal, pay));
    taken(books.resolve(pay, Resolution::Reversed));
    assert_eq!((books.lane_state(pay), books.owed()), (LaneState::Resolved(Resolution::Reversed), vec![]));
    assert_eq!((books.doubt_row("visa"), books.day_use()), ((0, 0, 0), 0));
}

#[test]
fn r13_what_was_passed_over_ends_by_its_own_acknowledgement() {
    let mut books = Books::new();
    let pay = books.unanswered("k1", 1000);
    let not_found_again = |books: &mut Books| {
        recorded(books.reversal(pay, LaneVerdict::NotFound));
        books.after(UNTIL_SETTLED_MS);
        recorded(books.reversal(pay, LaneVerdict::NotFound));
    };
    for (n, code) in ["A1", "B2", "C3"].into_iter().enumerate() {
        let money = 1001 + u64::try_from(n).expect("few");
        recorded(books.answer(pay, NetworkAnswer { approved: Some(amount(money)), ..another_yes(code) }));
    }
    let about = |books: &Books| books.reversal_of(pay).lane.amount.minor_units();
    not_found_again(&mut books);
    not_found_again(&mut books);
    assert_eq!((about(&books), books.reversal_of(pay).passed_over.len()), (1003, 2));
    not_found_again(&mut books);
    assert_eq!((about(&books), books.reversal_of(pay).lane.generation), (1003, 3), "nothing waits behind the last one");
    recorded(books.reversal(pay, LaneVerdict::Acknowledged));
    // One that comes meanwhile goes before what is asked for again, and not for ever after it.
    assert_eq!(about(&books), 1001);
    recorded(books.answer(pay, NetworkAnswer { approved: Some(amount(1004)), ..another_yes("D4") }));
    not_found_again(&mut books);
    for money in [1004, 1002, 1001] {
        assert_eq!((about(&books), books.lane_state(pay)), (money, LaneState::Pending));
        recorded(books.reversal(pay, LaneVerdict::Acknowledged));
    }
    assert_eq!((books.lane_state(pay), books.owed()), (LaneState::Acknowledged, vec![]));
}

#[test]
fn r25_the_slow_copies_of_a_parked_reversal_let_the_next_approval_go_too() {
    let mut books = Books::new();
    let pay = books.unanswered("k1", 1000);
    recorded(books.answer(pay, yes()));
    recorded(books.answer(pay, another_yes("B2")));
    recorded(books.park(LaneKind::Reversal, pay));
    books.after(UNTIL_SETTLED_MS);
    recorded(books.reversal(pay, LaneVerdict::NotFound));
    assert_eq!((books.lane_state(pay), books.doubt_row("visa")), (LaneState::Parked { refused: false }, (1, 1, 1000)));
    recorded(books.reversal(pay, LaneVerdict::NotFound));
    assert_eq!((books.lane_state(pay), books.doubt_row("visa")), (LaneState::Pending, (1, 0, 1000)));
    assert_eq!(books.events().last().and_then(|event| event.reversal), Some(LaneState::Pending));
}

#[test]
fn r13_a_void_undoes_each_approval_that_came_while_the_first_one_stood() {
    let mut books = Books::new();
    let pay = books.approved("k1", 1000);
    recorded(books.answer(pay, another_yes("B2")));
    settled(books.void(pay, "v1"));
    recorded(books.reversal(pay, LaneVerdict::Acknowledged));
    assert_eq!((books.lane_state(pay), books.reversal_of(pay).lane.generation), (LaneState::Pending, 1));
    recorded(books.reversal(pay, LaneVerdict::Acknowledged));
    assert_eq!((books.lane_state(pay), books.owed()), (LaneState::Acknowledged, vec![]));
}

#[test]
fn r25_an_operators_word_is_about_every_approval() {
    let mut books = Books::new();
    let pay = books.unanswered("k1", 1000);
    recorded(books.answer(pay, yes()));
    recorded(books.answer(pay, another_yes("B2")));
    recorded(books.reversal(pay, LaneVerdict::Refused));
    taken(books.resolve(pay, Resolution::Reversed));
    assert_eq!((books.lane_state(pay), books.owed()), (LaneState::Resolved(Resolution::Reversed), vec![]));
}

/// A fault there was: only the approval that the lane was about was taken back by the void, not those that waited behind it or
/// had been passed over.
#[test]
fn r13_a_void_takes_back_each_approval_of_money_that_was_found_standing() {
    let mut books = Books::new();
    let pay = books.unanswered("k1", 1000);
    for (code, money) in [("A1", 1001), ("B2", 1002), ("C3", 1003)] {
        recorded(books.answer(pay, NetworkAnswer { approved: Some(amount(money)), ..another_yes(code) }));
    }
    recorded(books.reversal(pay, LaneVerdict::NotFound));
    books.after(UNTIL_SETTLED_MS);
    recorded(books.reversal(pay, LaneVerdict::NotFound));
    let about = |books: &Books| (books.lane_state(pay), books.reversal_of(pay).lane.amount.minor_units());
    recorded(books.park(LaneKind::Reversal, pay));
    assert_eq!(about(&books), (LaneState::Parked { refused: false }, 1002));
    taken(books.resolve(pay, Resolution::Stands));
    assert_eq!((about(&books), books.owed()), ((LaneState::Resolved(Resolution::Stands), 1002), vec![]));

    settled(books.void(pay, "v1"));
    for money in [1002, 1003, 1001] {
        assert_eq!(about(&books), (LaneState::Pending, money));
        recorded(books.reversal(pay, LaneVerdict::Acknowledged));
    }
    assert_eq!((books.lane_state(pay), books.owed(), books.sums(pay)), (LaneState::Acknowledged, vec![], [0; 5]));
}

/// A fault there was: a number was free as soon as a late send or a late approval made another generation.
#[test]
fn r14_the_numbers_of_unacknowledged_generations_are_held_until_the_lane_ends() {
    for own_number in [false, true] {
        let mut books = Books::new().with(|terms| terms.reversal_has_own_stan = own_number);
        let pay = books.unanswered("k1", 1000);
        let mut carried = vec![books.reversal_of(pay).lane.identity.stan];
        for _ in 0..3 {
            recorded(books.late_send(pay));
            carried.push(books.reversal_of(pay).lane.identity.stan);
        }
        carried.dedup();
        assert_eq!((carried.len(), &carried[..3]), (4, &books.reversal_of(pay).superseded[..]));
        let owed = |books: &Books| books.owed().into_iter().map(|(number, _)| number).collect::<Vec<_>>();
        assert!(carried.iter().all(|stan| owed(&books).contains(&stan.number())), "{:?}", books.owed());
        // The counter comes round: what is carried is passed over.
        books.table.put(Key::NextStan(books.plan().link), Row::Counter(u64::from(Stan::MAX)));
        let other = books.authorize("k2", 10);
        assert!(!carried.contains(&books.attempt(other).identity.stan));
        settled(books.answer(other, yes()));
        recorded(books.reversal(pay, LaneVerdict::Acknowledged));
        assert_eq!((books.owed(), books.reversal_of(pay).superseded), (vec![], vec![]));
    }
}

#[test]
fn r14_a_reversal_holds_only_so_many_numbers() {
    let mut books = Books::new();
    let pay = books.unanswered("k1", 1000);
    for _ in 0..limits::SUPERSEDED_MAX + 3 {
        books.after(1_000);
        let before = books.reversal_of(pay).lane.identity;
        recorded(books.late_send(pay));
        assert_ne!(before, books.reversal_of(pay).lane.identity, "another transmission time at least");
    }
    assert_eq!(books.owed().len(), limits::SUPERSEDED_MAX + 1);
    recorded(books.reversal(pay, LaneVerdict::Acknowledged));
    assert_eq!(books.owed(), []);
}

#[test]
fn r13_an_approval_after_a_no_is_reversed_and_an_alarm() {
    let mut books = Books::new().with_day_limit(5000);
    let pay = books.authorize("k1", 1000);
    settled(books.answer(pay, says("05")));
    recorded(books.answer(pay, yes()));
    assert!(books.attempt(pay).conflicting_answer);
    assert_eq!(books.lane_state(pay), LaneState::Pending);
    let pay = books.authorize("k2", 1000);
    settled(books.not_sent(pay, NotSent::TooLate));
    recorded(books.answer(pay, yes()));
    assert!(books.attempt(pay).late_approval);
    assert_eq!((books.lane_state(pay), books.sums(pay)), (LaneState::Pending, [0; 5]));
    assert_eq!(told(books.try_authorize("k2", 1000)), (Decision::Declined, 0));
}

#[test]
fn r13_a_second_approval_of_what_stands_is_an_alarm_and_no_reversal() {
    let mut books = Books::new();
    let pay = books.approved("k1", 1000);
    recorded(books.answer(pay, another_yes("B2")));
    recorded(books.answer(pay, says("05")));
    assert!(books.attempt(pay).conflicting_answer && books.attempt(pay).reversal.is_none());
    assert_eq!(books.sums(pay), [1000, 0, 0, 0, 1000]);
}

/// A fault there was: a second approval turned the release of a remainder into the reversal of all that was captured.
#[test]
fn r13_a_second_approval_after_the_final_capture_leaves_what_was_captured() {
    let mut books = Books::new();
    let pay = books.approved("k1", 1000);
    settled(books.capture(pay, "f1", 600, true));
    recorded(books.answer(pay, another_yes("B2")));
    let reversal = books.reversal_of(pay);
    assert_eq!(
        (reversal.reason, reversal.lane.amount, reversal.lane.generation),
        (ReversalReason::Remainder, amount(400), 0)
    );
    assert_eq!(books.sums(pay), [1000, 600, 0, 0, 0]);
}

#[test]
fn r13_a_late_send_makes_one_more_reversal() {
    let mut books = Books::new();
    let pay = books.unanswered("k1", 1000);
    recorded(books.reversal(pay, LaneVerdict::Acknowledged));
    recorded(books.late_send(pay));
    assert_eq!((books.lane_state(pay), books.reversal_of(pay).lane.generation), (LaneState::Pending, 1));
    // Nothing left, it was said; something did.
    let pay = books.authorize("k2", 1000);
    settled(books.not_sent(pay, NotSent::TooLate));
    recorded(books.late_send(pay));
    assert_eq!((books.lane_state(pay), books.reversal_of(pay).lane.generation), (LaneState::Pending, 0));
    // While it is open its time-out will do that; after an answer it did no harm.
    let pay = books.authorize("k3", 1000);
    recorded(books.late_send(pay));
    settled(books.answer(pay, yes()));
    recorded(books.late_send(pay));
    assert!(books.attempt(pay).reversal.is_none());
}

/// A fault there was: the in-flight time was counted from the deadline although the request had left after it.
#[test]
fn r13_after_a_late_send_the_in_flight_time_runs_anew() {
    let mut books = Books::new();
    let pay = books.unanswered("k1", 1000);
    books.after(2 * IN_FLIGHT_MS);
    recorded(books.late_send(pay));
    recorded(books.reversal(pay, LaneVerdict::NotFound));
    recorded(books.reversal(pay, LaneVerdict::NotFound));
    assert_eq!(books.lane_state(pay), LaneState::Pending);
    books.after(IN_FLIGHT_MS);
    recorded(books.reversal(pay, LaneVerdict::NotFound));
    assert_eq!(books.lane_state(pay), LaneState::NotFound);
}

#[test]
fn r13_more_approvals_than_are_remembered_are_reversed_all_the_same() {
    let mut books = Books::new();
    let pay = books.unanswered("k1", 1000);
    let more = u16::try_from(limits::APPROVALS_MAX).expect("few") + 3;
    for n in 0..more {
        recorded(books.answer(pay, another_yes(&format!("C{n}"))));
    }
    assert_eq!(books.attempt(pay).approvals.len(), limits::APPROVALS_MAX);
    // Those that are remembered wait for their turn; the others renew the reversal that is under way.
    for _ in 0..limits::APPROVALS_MAX {
        assert_eq!(books.lane_state(pay), LaneState::Pending);
        recorded(books.reversal(pay, LaneVerdict::Acknowledged));
    }
    assert_eq!((books.lane_state(pay), books.reversal_of(pay).lane.generation), (LaneState::Acknowledged, more));
    recorded(books.answer(pay, another_yes("D1")));
    assert_eq!((books.lane_state(pay), books.reversal_of(pay).lane.generation), (LaneState::Pending, more + 1));
}

#[test]
fn r23_doubt_is_bounded_by_count() {
    let mut books = Books::new().with(|terms| terms.doubt_count_max = 2);
    let first = books.unanswered("k1", 10);
    let pay = books.approved("k2", 10);
    assert!(matches!(books.increment(pay, "f0", 1), crate::book::Reply::Dispatch(_)));
    settled(books.answer((pay, 1), says("05")));
    settled(books.capture(pay, "f1", 10, true)); // an advice is doubt as well
    for reply in [books.try_authorize("k3", 1), books.try_authorize("k3", 1)] {
        assert!(matches!(refused(reply), Refusal::Declined(DeclineReason::NetworkInDoubt, _)));
    }
    // What the cluster owes or was told is never refused: captures, voids, answers and time-outs commit.
    settled(books.capture_of_another());
    recorded(books.reversal(first, LaneVerdict::Acknowledged));
    recorded(books.lane(LaneKind::Advice, (pay, 2), LaneVerdict::Acknowledged));
    books.authorize("k3", 1);
}

impl Books {
    /// A capture while the network is at its bound.
    fn capture_of_another(&mut self) -> crate::book::Reply {
        let bound = std::mem::take(&mut self.terms.doubt_count_max);
        let pay = self.approved("another", 10);
        self.terms.doubt_count_max = bound;
        settled(self.capture(pay, "f1", 5, false));
        recorded(self.lane(LaneKind::Advice, (pay, 1), LaneVerdict::Acknowledged));
        self.capture(pay, "f1", 5, false)
    }
}

#[test]
fn r23_doubt_is_bounded_by_money() {
    let mut books = Books::new().with(|terms| terms.doubt_amount_max = amount(1000));
    books.unanswered("k1", 999);
    let second = books.unanswered("k2", 1);
    assert!(matches!(refused(books.try_authorize("k3", 1)), Refusal::Declined(DeclineReason::NetworkInDoubt, _)));
    recorded(books.reversal(second, LaneVerdict::Acknowledged));
    books.authorize("k3", 1);
}

#[test]
fn r25_only_a_refusal_or_the_budget_parks_and_it_stays_owed() {
    let mut books = Books::new();
    let (slow, refused_lane) = (books.unanswered("k1", 1000), books.unanswered("k2", 500));
    recorded(books.reversal(slow, LaneVerdict::TryAgain));
    recorded(books.park(LaneKind::Reversal, slow));
    ignored(books.park(LaneKind::Reversal, slow));
    recorded(books.reversal(refused_lane, LaneVerdict::Refused));
    assert_eq!(books.lane_state(slow), LaneState::Parked { refused: false });
    assert_eq!(books.lane_state(refused_lane), LaneState::Parked { refused: true });
    assert_eq!((books.doubt_row("visa"), books.owed().len()), ((2, 2, 1500), 2));
    // Still tried at a slow rate: an answer counts.
    recorded(books.reversal(slow, LaneVerdict::TryAgain));
    recorded(books.reversal(slow, LaneVerdict::Refused));
    assert_eq!(books.lane_state(slow), LaneState::Parked { refused: true });
    recorded(books.reversal(slow, LaneVerdict::Acknowledged));
    assert_eq!((books.lane_state(slow), books.doubt_row("visa")), (LaneState::Acknowledged, (1, 1, 500)));
    // A late approval wakes a parked lane.
    recorded(books.answer(refused_lane, yes()));
    assert_eq!((books.lane_state(refused_lane), books.doubt_row("visa")), (LaneState::Pending, (1, 0, 500)));
}

#[test]
fn r25_an_operator_resolves_a_reversal_both_ways() {
    let mut books = Books::new().with_day_limit(10_000);
    let (gone, stands) = (books.unanswered("k1", 1000), books.unanswered("k2", 500));
    assert_eq!(not_taken(books.resolve(gone, Resolution::Reversed)), ResolutionRefusal::NotParked);
    for pay in [gone, stands] {
        recorded(books.park(LaneKind::Reversal, pay));
    }
    assert_eq!(books.day_use(), 1500, "parked counts until resolved");
    taken(books.resolve(gone, Resolution::Reversed));
    taken(books.resolve(stands, Resolution::Stands));
    assert_eq!((books.sums(gone), books.sums(stands)), ([0; 5], [500, 0, 0, 0, 500]), "the ledger is corrected");
    assert_eq!((books.day_use(), books.doubt_row("visa"), books.owed()), (500, (0, 0, 0), vec![]));
    for (pay, resolution) in [(gone, Resolution::Reversed), (stands, Resolution::Stands)] {
        assert_eq!(books.lane_state(pay), LaneState::Resolved(resolution));
        assert_eq!(books.transaction(pay).status(), Status::TimedOut);
        assert_eq!(not_taken(books.resolve(pay, Resolution::Reversed)), ResolutionRefusal::NotParked);
    }
    let replay = settled(books.try_authorize("k2", 500));
    assert_eq!(
        (replay.told().decision, replay.reversal()),
        (Decision::TimedOut, Some(LaneState::Resolved(Resolution::Stands)))
    );
    assert_eq!(books.events().last().and_then(|event| event.reversal), Some(LaneState::Resolved(Resolution::Stands)));
}

/// A fault there was: money that two persons found standing, and that may have been refunded since, was reversed all the same.
#[test]
fn r25_evidence_that_comes_after_money_was_found_standing_reverses_nothing() {
    let mut books = Books::new();
    let pay = books.unanswered("k1", 500);
    recorded(books.park(LaneKind::Reversal, pay));
    taken(books.resolve(pay, Resolution::Stands));
    recorded(books.late_send(pay));
    recorded(books.answer(pay, yes()));
    assert_eq!((books.lane_state(pay), books.owed()), (LaneState::Resolved(Resolution::Stands), vec![]));
    assert!(books.attempt(pay).conflicting_answer, "somebody must look into it");
    assert_eq!(books.sums(pay), [500, 0, 0, 0, 500]);
}

#[test]
fn r25_an_operator_resolves_an_advice_both_ways() {
    let mut books = Books::new();
    let pay = books.approved("k1", 1000);
    settled(books.capture(pay, "f1", 400, false));
    settled(books.capture(pay, "f2", 100, false));
    recorded(books.lane(LaneKind::Advice, (pay, 1), LaneVerdict::Refused));
    recorded(books.lane(LaneKind::Advice, (pay, 2), LaneVerdict::NotFound));
    assert_eq!(books.advice_of((pay, 2)).state, LaneState::Parked { refused: true });
    taken(books.resolve((pay, 1), Resolution::Reversed));
    taken(books.resolve((pay, 2), Resolution::Stands));
    // A fault there was: a capture that the network never took was still counted, and could be refunded.
    assert_eq!(books.sums(pay), [1000, 100, 0, 0, 900]);
    assert_eq!(refused(books.refund(pay, "f3", 101)), Refusal::AmountExceeds { asked: amount(101), left: amount(100) });
    assert_eq!(told(books.capture(pay, "f1", 400, false)), (Decision::Approved, 400), "what was told stays told");
}

#[test]
fn r25_resolving_an_unused_reversal_of_a_refund_frees_what_it_took() {
    let mut books = Books::new();
    let pay = books.captured("k1", 1000);
    books.refund(pay, "f1", 1000);
    settled(books.time_out((pay, 2)));
    recorded(books.reversal((pay, 2), LaneVerdict::Refused));
    assert_eq!(books.sums(pay), [1000, 1000, 0, 1000, 0]);
    taken(books.resolve((pay, 2), Resolution::Stands));
    assert_eq!(books.sums(pay), [1000, 1000, 1000, 0, 0]);
    assert_eq!(refused(books.refund(pay, "f2", 1)), Refusal::AmountExceeds { asked: amount(1), left: amount(0) });
}

#[test]
fn r25_one_person_alone_closes_nothing() {
    let mut books = Books::new().with_day_limit(10_000);
    let pay = books.unanswered("k1", 1000);
    recorded(books.park(LaneKind::Reversal, pay));
    let (before, events) = (books.transaction(pay), books.events().len());
    let proposal = taken(books.propose(pay, Resolution::Stands, ANNA));
    let proposed = *books.reversal_of(pay).lane.resolution.expect("a proposal");
    assert_eq!((proposed.position, proposed.since, &*proposed.author), (proposal, books.now, ANNA));
    assert_eq!((proposed.resolution, &*proposed.evidence), (Resolution::Stands, "statement of 2 March"));
    // Nothing is corrected, and nobody is told.
    assert_eq!(books.lane_state(pay), LaneState::Parked { refused: false });
    assert_eq!((books.sums(pay), books.day_use(), books.events().len()), ([0; 5], 1000, events));
    assert_eq!(books.transaction(pay).revision, before.revision);
    assert_eq!(not_taken(books.confirm(pay, proposal, ANNA)), ResolutionRefusal::SamePerson);
    assert_eq!(taken(books.propose(pay, Resolution::Stands, ANNA)), proposal, "a repeated call finds its proposal");
    assert_eq!(not_taken(books.propose(pay, Resolution::Reversed, ANNA)), ResolutionRefusal::AlreadyProposed);
    assert_eq!(not_taken(books.propose(pay, Resolution::Stands, BRUNO)), ResolutionRefusal::AlreadyProposed);

    books.after(5);
    assert_eq!(taken(books.confirm(pay, proposal, BRUNO)), proposal);
    let closed = *books.reversal_of(pay).lane.resolution.expect("who closed it is kept");
    assert_eq!(closed.confirmed, Some(Confirmation { author: BRUNO.to_owned(), time: books.now }));
    assert_eq!((books.lane_state(pay), books.events().len()), (LaneState::Resolved(Resolution::Stands), events + 1));
    assert_eq!(books.sums(pay), [1000, 0, 0, 0, 1000]);
    assert_eq!(told(books.try_authorize("k1", 1000)), (Decision::TimedOut, 0), "what was told stays told");
    assert_eq!(taken(books.confirm(pay, proposal, BRUNO)), proposal, "a repeated call finds what it did");
    assert_eq!(books.events().len(), events + 1);
    assert_eq!(not_taken(books.confirm(pay, proposal, CLARA)), ResolutionRefusal::NotProposed);
    assert_eq!(not_taken(books.withdraw(pay, proposal, CLARA)), ResolutionRefusal::NotProposed);
}

#[test]
fn r25_a_proposal_can_be_withdrawn_and_nobody_confirms_another_than_they_have_seen() {
    let mut books = Books::new();
    let pay = books.unanswered("k1", 1000);
    recorded(books.park(LaneKind::Reversal, pay));
    let first = taken(books.propose(pay, Resolution::Reversed, ANNA));
    assert_eq!(taken(books.withdraw(pay, first, ANNA)), first);
    assert_eq!(not_taken(books.withdraw(pay, first, ANNA)), ResolutionRefusal::NotProposed);
    assert_eq!(not_taken(books.confirm(pay, first, BRUNO)), ResolutionRefusal::NotProposed);
    let second = taken(books.propose(pay, Resolution::Stands, ANNA));
    assert_eq!(not_taken(books.confirm(pay, first, BRUNO)), ResolutionRefusal::NotProposed);
    // Who does not believe it may withdraw it too.
    assert_eq!(taken(books.withdraw(pay, second, BRUNO)), second);
    assert_eq!(books.lane_state(pay), LaneState::Parked { refused: false });
    taken(books.resolve(pay, Resolution::Reversed));
}

#[test]
fn r25_a_proposal_expires_in_log_time() {
    let mut books = Books::new();
    let pay = books.unanswered("k1", 1000);
    recorded(books.park(LaneKind::Reversal, pay));
    let first = taken(books.propose(pay, Resolution::Reversed, ANNA));
    books.after(limits::RESOLUTION_OPEN_MS);
    assert_eq!(not_taken(books.confirm(pay, first, BRUNO)), ResolutionRefusal::NotProposed);
    let second = taken(books.propose(pay, Resolution::Stands, BRUNO));
    books.after(limits::RESOLUTION_OPEN_MS - 1);
    assert_eq!(taken(books.confirm(pay, second, ANNA)), second);
    assert_eq!(books.lane_state(pay), LaneState::Resolved(Resolution::Stands));
}

#[test]
fn r25_the_networks_answer_ends_a_proposal() {
    let mut books = Books::new();
    let pay = books.unanswered("k1", 1000);
    recorded(books.park(LaneKind::Reversal, pay));
    let proposal = taken(books.propose(pay, Resolution::Stands, ANNA));
    recorded(books.reversal(pay, LaneVerdict::Acknowledged));
    assert_eq!(not_taken(books.confirm(pay, proposal, BRUNO)), ResolutionRefusal::NotProposed);
    assert_eq!(books.lane_state(pay), LaneState::Acknowledged);
    // A late approval makes a new lane, about which nobody has proposed anything (R13).
    let pay = books.unanswered("k2", 1000);
    recorded(books.park(LaneKind::Reversal, pay));
    let proposal = taken(books.propose(pay, Resolution::Reversed, ANNA));
    recorded(books.answer(pay, yes()));
    assert_eq!(not_taken(books.confirm(pay, proposal, BRUNO)), ResolutionRefusal::NotProposed);
    assert_eq!(books.lane_state(pay), LaneState::Pending);
}
