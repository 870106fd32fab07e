//! Identity on the wire (R14): fixed by the entry that made it, and a trace number taken while anything carries it.

use super::fixture::{Books, IN_FLIGHT_MS, OWNER, TIMEOUT_MS, dispatched, recorded, settled, stan, yes};
use crate::{
    entry::LaneKind,
    id::{LeaderId, Rrn, Stan},
    outcome::LaneVerdict,
    table::{Key, OwedKind, Row},
    transaction::LaneState,
};

#[test]
fn r14_a_reversal_carries_its_originals_numbers_and_a_time_of_its_own() {
    let mut books = Books::new();
    let pay = books.unanswered("k1", 1000);
    let (attempt, lane) = (books.attempt(pay), books.reversal_of(pay).lane);
    assert_eq!((lane.identity.stan, lane.identity.rrn), (attempt.identity.stan, attempt.identity.rrn));
    assert_eq!(attempt.identity.transmission.as_str(), "0301080000");
    assert_eq!(lane.identity.transmission.as_str(), "0301080010");
    assert_eq!(lane.maker, LeaderId { term: 3, node: 1 });
    assert_eq!((attempt.identity.rrn, attempt.owner), (Rrn::of(1), OWNER));
    books.after(TIMEOUT_MS);
    recorded(books.reversal(pay, LaneVerdict::TryAgain));
    recorded(books.park(LaneKind::Reversal, pay));
    assert_eq!(books.reversal_of(pay).lane.identity, lane.identity, "repeats are byte-equal");
}

#[test]
fn r14_a_profile_may_ask_for_a_trace_number_of_its_own() {
    let mut books = Books::new().with(|terms| terms.reversal_has_own_stan = true);
    let pay = books.unanswered("k1", 1000);
    assert_eq!(books.owed(), [(1, OwedKind::Held), (2, OwedKind::Reversal)]);
    recorded(books.answer(pay, yes()));
    assert_eq!(books.owed(), [(1, OwedKind::Held), (2, OwedKind::Held), (3, OwedKind::Reversal)]);
    recorded(books.reversal(pay, LaneVerdict::Acknowledged));
    assert_eq!(books.owed(), []);
    // After the answer the original's number is free: the reversal takes a new one.
    let pay = books.approved("k2", 1000);
    settled(books.void(pay, "v1"));
    assert_eq!(books.owed(), [(5, OwedKind::Reversal)]);
}

#[test]
fn r14_the_number_of_an_unacknowledged_reversal_stays_taken() {
    let mut books = Books::new();
    let pay = books.unanswered("k1", 1000);
    recorded(books.late_send(pay));
    assert_eq!(books.owed(), [(1, OwedKind::Held), (2, OwedKind::Reversal)], "nobody acknowledged the first");
    recorded(books.reversal(pay, LaneVerdict::Acknowledged));
    assert_eq!(books.owed(), []);
    recorded(books.late_send(pay));
    assert_eq!(books.owed(), [(3, OwedKind::Reversal)], "the second was acknowledged");
}

#[test]
fn r14_numbers_wrap_around_and_pass_over_what_is_taken() {
    let mut books = Books::new();
    let kept = books.authorize("k1", 1000); // 1
    let silent = books.unanswered("k2", 1000); // 2
    let link = books.plan().link;
    books.table.rows.insert(Key::NextStan(link), Row::Counter(u64::from(Stan::MAX) - 1));
    assert_eq!(dispatched(books.try_authorize("k3", 1)).identity().stan, stan(999_999));
    assert_eq!(dispatched(books.try_authorize("k4", 1)).identity().stan, stan(3), "1 and 2 are taken");
    settled(books.answer(kept, yes()));
    recorded(books.reversal(silent, LaneVerdict::Acknowledged));
    let link = books.plan().link;
    books.table.rows.insert(Key::NextStan(link), Row::Counter(0));
    assert_eq!(dispatched(books.try_authorize("k5", 1)).identity().stan, stan(1));
    assert_eq!(dispatched(books.try_authorize("k6", 1)).identity().stan, stan(2));
    assert_eq!(dispatched(books.try_authorize("k7", 1)).identity().stan, stan(4));
}

#[test]
fn r14_links_count_for_themselves_and_reference_numbers_for_the_cluster() {
    let mut books = Books::new();
    let first = dispatched(books.try_authorize("k1", 1)).identity();
    let mut open = books.open_new("k2", 1);
    open.plan = books.plan_to("amex");
    let second = dispatched(books.apply(crate::entry::Command::Open(Box::new(open)))).identity();
    assert_eq!((first.stan, second.stan), (stan(1), stan(1)));
    assert_eq!((first.rrn, second.rrn), (Rrn::of(1), Rrn::of(2)));
}

#[test]
fn r14_nothing_is_left_taken_when_all_is_acknowledged() {
    let mut books = Books::new();
    let pay = books.unanswered("k1", 1000);
    recorded(books.answer(pay, yes()));
    recorded(books.late_send(pay));
    recorded(books.late_send(pay));
    books.after(IN_FLIGHT_MS);
    recorded(books.reversal(pay, LaneVerdict::Acknowledged));
    assert_eq!((books.lane_state(pay), books.owed()), (LaneState::Acknowledged, vec![]));
}
