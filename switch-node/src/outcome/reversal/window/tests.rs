use std::collections::{BTreeMap, BTreeSet};

use switch_domain::{
    entry::{LaneKind, LaneRef},
    id::{AttemptId, GatewayId, LinkId, TransactionId},
    table::OwedRow,
    time::LogTime,
};
use tokio::time::Duration;

use super::{super::turn::Pace, *};

/// More than the window holds.
const MANY: u32 = 30_000;
const SLOW: Duration = Duration::from_secs(2_400);

fn attempt(number: u32) -> AttemptRef {
    let transaction = TransactionId::from_number(u128::from(number));
    let id = AttemptId { transaction, operation: 0, number: 1 };
    AttemptRef { gateway: GatewayId::parse("shop").expect("an id"), id }
}

fn number(subject: &Subject) -> u32 {
    u32::try_from(subject.1.number()).expect("a small number")
}

fn row(number: u32, parked: bool) -> (Key, Row) {
    let link = LinkId::parse("first-1").expect("an id");
    let owed = OwedRow { attempt: attempt(number), kind: OwedKind::Reversal, parked, time: LogTime(0) };
    (Key::Owed(link, Stan::parse(number).expect("a trace number")), Row::Owed(owed))
}

/// What is read of a table in which reversals 1 to [`MANY`] are owed.
fn read(window: &mut Window, parked: bool, now: Instant) {
    let behind = window.cursor().map_or(0, Stan::number);
    let last = MANY.min(behind + u32::try_from(limits::SCAN_PAGE).expect("a page"));
    let rows: Vec<_> = (behind + 1..=last).map(|number| row(number, parked)).collect();
    let ended = rows.len() < limits::SCAN_PAGE;
    window.take_page(rows, ended, now);
}

/// Reads until there is no room for more.
fn read_all(window: &mut Window, parked: bool, now: Instant) {
    read(window, parked, now);
    while window.wants_page(now) {
        read(window, parked, now);
    }
}

/// A copy went out, to no effect.
fn copied(subject: &Subject, is_parked: bool) -> Looked {
    let lane = LaneRef { attempt: attempt(number(subject)), kind: LaneKind::Reversal, generation: 0 };
    let pace = if is_parked { Pace::Slow(SLOW) } else { Pace::Backoff(Duration::from_secs(10)) };
    Looked::Copied { lane, pace, only: true, is_parked }
}

/// A fault there was: as many parked transactions as the window holds kept every new doubt out of it.
#[test]
fn r23_r25_a_new_reversal_goes_out_at_once_however_many_are_parked() {
    let now = Instant::now();
    let mut window = Window::new(now);
    read_all(&mut window, true, now);
    assert_eq!(window.known.len(), limits::PARKED_KNOWN_MAX);
    let mut under_way = Vec::new();
    while let Some(begun) = window.begin(now) {
        under_way.push(begun);
    }
    assert_eq!(
        under_way.len(),
        limits::REPEATS_IN_FLIGHT,
        "what is parked was sent before: it takes no place of first copies"
    );

    assert!(window.wake(attempt(MANY + 1), false, now), "there is room for it");
    let begun = window.begin(now).expect("and a place");
    assert_eq!((number(&begun.subject), begun.tries.is_empty()), (MANY + 1, true));
}

#[test]
fn r25_what_is_parked_during_a_reign_gives_its_place_to_what_is_not() {
    let now = Instant::now();
    let mut window = Window::new(now);
    read_all(&mut window, false, now);
    assert!(window.is_full() && !window.wake(attempt(MANY + 1), false, now), "the rest must be found in the table");
    for number in 1..=u32::try_from(limits::LANES_KNOWN_MAX).expect("a small number") {
        let subject = (attempt(number).gateway, attempt(number).id.transaction);
        window.looked(subject.clone(), copied(&subject, true), now);
    }
    assert_eq!((window.known.len(), window.parked), (limits::PARKED_KNOWN_MAX, limits::PARKED_KNOWN_MAX));
    assert!(window.wake(attempt(MANY + 1), false, now));
    // Once something happens to a parked one it is parked no more, as far as is known.
    let parked = window.parked;
    assert!(window.wake(attempt(1), false, now));
    assert_eq!(window.parked, parked - 1);
}

/// A fault there was: with an advice beside the reversal, neither of the two looks that parked them gave the place up.
#[test]
fn r25_a_transaction_of_which_all_lanes_were_parked_gives_its_place_up_with_the_last() {
    let now = Instant::now();
    let mut window = Window::new(now);
    read_all(&mut window, false, now);
    for number in 1..=u32::try_from(limits::LANES_KNOWN_MAX).expect("a small number") {
        let subject = (attempt(number).gateway, attempt(number).id.transaction);
        let Looked::Copied { lane, pace, is_parked, .. } = copied(&subject, true) else { unreachable!("a copy") };
        window.looked(subject.clone(), Looked::Copied { lane, pace, only: false, is_parked }, now);
        window.looked(subject, Looked::Wait(now + SLOW), now);
    }
    assert_eq!((window.known.len(), window.parked), (limits::PARKED_KNOWN_MAX, limits::PARKED_KNOWN_MAX));
    assert!(window.wake(attempt(MANY + 1), false, now));
}

#[test]
fn r13_what_was_parked_and_is_owed_anew_is_due_when_the_table_says_so() {
    let now = Instant::now();
    let mut window = Window::new(now);
    window.take_page(vec![row(1, true)], true, now);
    let Begun { subject, place, .. } = window.begin(now).expect("a look");
    window.looked(subject.clone(), copied(&subject, true), now);
    drop(place);
    assert!(window.begin(now).is_none());
    window.take_page(vec![row(1, false)], true, now);
    assert_eq!((number(&window.begin(now).expect("a look").subject), window.parked), (1, 0));
}

#[test]
fn a_table_that_cannot_be_read_is_not_asked_again_at_once() {
    let now = Instant::now();
    let mut window = Window::new(now);
    read_all(&mut window, true, now);
    let Begun { subject, .. } = window.begin(now).expect("a look");
    window.looked(subject, Looked::Done, now);
    let later = now + limits::PARKED_ROUND;
    assert!(window.wants_page(later));
    window.break_off(later);
    assert!(!window.wants_page(later) && window.wants_page(later + limits::PARKED_ROUND));
}

#[test]
fn r25_parked_transactions_beyond_the_window_take_turns_at_the_slow_rate() {
    let began = Instant::now();
    let (mut now, mut window) = (began, Window::new(began));
    let mut tried: BTreeMap<u32, Vec<Duration>> = BTreeMap::new();
    read(&mut window, true, now);
    while tried.len() < MANY as usize {
        assert!(now < began + 5 * SLOW, "only {} had a turn", tried.len());
        while window.wants_page(now) {
            read(&mut window, true, now);
        }
        assert!(window.known.len() <= limits::PARKED_KNOWN_MAX);
        while let Some(Begun { subject, place, .. }) = window.begin(now) {
            tried.entry(number(&subject)).or_default().push(now - began);
            window.looked(subject.clone(), copied(&subject, true), now);
            drop(place);
        }
        now = window.next(now).expect("something is always due");
    }
    let pauses: BTreeSet<Duration> =
        tried.values().flat_map(|times| times.windows(2).map(|pair| pair[1] - pair[0])).collect();
    assert!(pauses.first().is_none_or(|shortest| *shortest >= SLOW / 2), "none is tried in haste: {pauses:?}");
}

#[test]
fn r25_a_parked_transaction_that_gave_its_place_behind_a_rounds_back_has_its_turn_in_the_next() {
    let now = Instant::now();
    let mut window = Window::new(now);
    let beyond = u32::try_from(limits::PARKED_KNOWN_MAX).expect("a small number") + 1;
    while window.cursor().is_none_or(|cursor| cursor.number() < beyond) {
        read(&mut window, false, now);
    }
    let subjects: Vec<Subject> = window.known.keys().cloned().collect();
    for subject in &subjects {
        window.looked(subject.clone(), copied(subject, true), now);
    }
    assert_eq!(window.known.len(), limits::PARKED_KNOWN_MAX);
    window.take_page(vec![], true, now);
    window.looked(subjects[0].clone(), Looked::Done, now);
    assert!(!window.wants_page(now) && window.wants_page(now + limits::PARKED_ROUND));
}

#[test]
fn r23_a_page_that_finds_no_room_is_taken_up_again_where_it_stopped() {
    let now = Instant::now();
    let mut window = Window::new(now);
    read_all(&mut window, false, now);
    let stopped = window.cursor().expect("a round under way");
    assert_eq!(stopped.number() as usize, limits::LANES_KNOWN_MAX);
    let Begun { subject, .. } = window.begin(now).expect("a look");
    window.looked(subject, Looked::Done, now);
    read_all(&mut window, false, now);
    assert_eq!(window.cursor(), Some(stopped.next()), "one more");
}
