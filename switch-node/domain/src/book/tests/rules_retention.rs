//! What is forgotten and what is not (R9, R20), and the clocks that say when (R8).

use super::{
    super::{Book, Reply},
    fixture::*,
};
use crate::{
    directory::{Applied, Change, Directory, DirectoryCommand, DirectoryRefusal},
    entry::{ClockAcceptance, ClockReading, Command, Forget, ForgetEvents, ForgetTombstone, Keep, LaneKind},
    id::Position,
    limits,
    outcome::LaneVerdict,
    refusal::Refusal,
    table::{ClockRow, Disagreement, Key, MemoryTable, Row},
    time::{DAY_MS, LogTime},
    transaction::{Resolution, ReversalPolicy},
};

const KEEP: Keep = Keep { retention_days: 400, refund_days: 0 };
const HOUR_MS: u64 = 3_600_000;

impl Books {
    fn declined(&mut self, request: &str, money: u64) -> Pay {
        let pay = self.authorize(request, money);
        settled(self.answer(pay, says("05")));
        pay
    }

    fn advice(&mut self, at: impl At, verdict: LaneVerdict) -> Reply {
        self.lane(LaneKind::Advice, at, verdict)
    }

    fn forget(&mut self, pay: Pay, keep: Keep) -> Reply {
        self.apply(Command::Forget(Forget { gateway: self.gateway.clone(), transaction: pay.0, keep }))
    }

    fn forget_tombstone(&mut self, position: Position) -> Reply {
        let gateway = self.gateway.clone();
        self.apply(Command::ForgetTombstone(ForgetTombstone { gateway, position, retention_days: 0 }))
    }

    fn forget_events(&mut self, positions: Vec<Position>) -> Reply {
        self.apply(Command::ForgetEvents(ForgetEvents { gateway: self.gateway.clone(), positions }))
    }

    fn event_positions(&self) -> Vec<Position> {
        let of = |key: &Key| if let Key::Event(_, position) = key { Some(*position) } else { None };
        self.table.rows.keys().filter_map(of).collect()
    }

    fn reads_wall(&mut self, wall: LogTime) -> Reply {
        self.apply(Command::ReadClock(ClockReading { node: 7, wall }))
    }

    fn accepts(&mut self, wall: LogTime) -> Reply {
        let (author, reason) = ("spiffe://example/operator/anna".to_owned(), "the hall was dark".to_owned());
        self.apply(Command::AcceptClock(Box::new(ClockAcceptance { wall, author, reason })))
    }

    fn clock(&self) -> ClockRow {
        Book::clock(&self.table).expect("a sound table")
    }

    fn first_sent(&mut self, request: &str, first: LogTime, retention_days: u32) -> Reply {
        let mut open = self.open_new(request, 10);
        (open.first_sent, open.retention_days) = (Some(first), retention_days);
        self.apply(Command::Open(Box::new(open)))
    }
}

/// Rows of a table that grow with payments.
fn rows(books: &Books) -> usize {
    let grows = |key: &&Key| matches!(key, Key::Transaction(..) | Key::Request(..) | Key::Owed(..) | Key::DayUse(..));
    books.table.rows.keys().filter(grows).count()
}

#[test]
fn r9_a_transaction_goes_with_its_keys_once_its_last_event_is_older_than_the_retention() {
    let mut books = Books::new().with_day_limit(100_000);
    let pay = books.approved("k1", 1000);
    books.after(DAY_MS);
    settled(books.capture(pay, "f1", 1000, true));
    recorded(books.advice((pay, 1), LaneVerdict::Acknowledged));
    let last = books.now;
    books.after(400 * DAY_MS);
    ignored(books.forget(pay, KEEP));
    books.after(1);
    let index = books.index;
    recorded(books.forget(pay, KEEP));
    assert_eq!(books.index, index + 1);
    assert_eq!(rows(&books), 0, "keys, sums of days and the transaction itself: {:?}", books.table.rows.keys());
    ignored(books.forget(pay, KEEP));
    // Its key is free; whoever says that it is older is told so.
    assert_eq!(refused(books.first_sent("k1", last, 0)), Refusal::KeyTooOld);
    assert_eq!(refused(books.capture(pay, "f2", 1, true)), Refusal::NotFound);
    dispatched(books.try_authorize("k1", 1000));
}

#[test]
fn r9_no_directory_makes_the_retention_shorter_than_180_days() {
    let mut books = Books::new();
    let pay = books.declined("k1", 1000);
    books.after(180 * DAY_MS);
    ignored(books.forget(pay, Keep { retention_days: 1, refund_days: 0 }));
    books.after(1);
    ignored(books.forget(pay, Keep { retention_days: 0, refund_days: 0 }));
    ignored(books.forget(pay, Keep { retention_days: 181, refund_days: 0 }));
    recorded(books.forget(pay, Keep { retention_days: 180, refund_days: 0 }));
}

#[test]
fn r9_a_directory_that_forgets_sooner_is_refused() {
    let mut table = MemoryTable::default();
    let mut set = |days| {
        let command = DirectoryCommand {
            request_id: key(&format!("change-{days}")),
            author: "spiffe://example/operator/anna".to_owned(),
            expected_version: 0,
            changes: vec![Change::SetRetentionDays(days)],
        };
        Directory::apply(&mut table, command).expect("a sound table")
    };
    for days in [1, 179, 3_651] {
        let refused = set(days).expect_err("refused");
        let expected = DirectoryRefusal::OutOfRange {
            field: "retention_days",
            name: "the cluster".to_owned(),
            value: u64::from(days),
            allowed: "180 to 3650",
        };
        assert_eq!(refused, expected);
    }
    for (days, version, before) in [(180, 1, 0), (3_650, 2, 180), (0, 3, 3_650)] {
        let replaced = vec![Some(Change::SetRetentionDays(before))];
        assert_eq!(set(days), Ok(Applied::Changed { version, replaced }));
    }
}

#[test]
fn r9_nothing_open_owed_parked_or_in_doubt_is_forgotten() {
    let mut books = Books::new();
    let open = books.authorize("open", 10);
    let owed = books.authorize("owed", 10);
    settled(books.time_out(owed));
    let parked = books.authorize("parked", 10);
    settled(books.time_out(parked));
    recorded(books.reversal(parked, LaneVerdict::Refused));
    let advised = books.approved("advised", 10);
    settled(books.capture(advised, "f1", 10, true));
    books.terms.reversal_policy = ReversalPolicy::Never;
    let doubted = books.authorize("doubted", 10);
    settled(books.time_out(doubted));
    books.after(5_000 * DAY_MS);
    for pay in [open, owed, parked, advised, doubted] {
        ignored(books.forget(pay, KEEP));
    }
    // Each is kept from the last event on: what ends it begins the retention anew.
    recorded(books.reversal(owed, LaneVerdict::Acknowledged));
    recorded(books.advice((advised, 1), LaneVerdict::Acknowledged));
    ignored(books.forget(owed, KEEP));
    books.after(400 * DAY_MS + 1);
    recorded(books.forget(owed, KEEP));
    recorded(books.forget(advised, KEEP));
    ignored(books.forget(parked, KEEP));
}

#[test]
fn r9_a_verification_without_an_answer_holds_no_money_and_goes() {
    let mut books = Books::new();
    let check = books.authorize_with("k1", 0, |new| new.verification = true);
    settled(books.time_out(check));
    books.after(400 * DAY_MS + 1);
    recorded(books.forget(check, KEEP));
}

#[test]
fn r9_captured_money_is_kept_for_the_refund_window_of_its_network() {
    let window = Keep { retention_days: 180, refund_days: 540 };
    let mut books = Books::new();
    let (kept, returned) = (books.sale("k1", 1000), books.sale("k2", 1000));
    books.refund(returned, "f1", 1000);
    settled(books.answer((returned, 1), yes()));
    books.after(540 * DAY_MS);
    ignored(books.forget(kept, window));
    dispatched(books.refund(kept, "late", 1));
    recorded(books.forget(returned, window));
    settled(books.answer((kept, 1), says("05")));
    books.after(180 * DAY_MS);
    ignored(books.forget(kept, window));
    books.after(1);
    recorded(books.forget(kept, window));
}

#[test]
fn r9_a_longer_retention_does_not_bring_back_what_a_shorter_one_forgot() {
    let mut books = Books::new();
    let pay = books.declined("k1", 1000);
    let sent = books.now;
    books.after(180 * DAY_MS + 1);
    dispatched(books.first_sent("k2", sent, 400));
    assert_eq!(refused(books.first_sent("k3", sent, 180)), Refusal::KeyTooOld);
    recorded(books.forget(pay, Keep { retention_days: 180, refund_days: 0 }));
    assert_eq!(refused(books.first_sent("k1", sent, 400)), Refusal::KeyTooOld);
    dispatched(books.first_sent("k1", sent.after_ms(1), 400));
}

#[test]
fn r9_a_void_of_a_key_that_never_came_lives_as_long_as_keys() {
    let mut books = Books::new();
    settled(books.void_key("never", "v1"));
    let first = Position { index: books.index, place: 0 };
    books.after(DAY_MS);
    settled(books.void_key("never", "v2"));
    let second = Position { index: books.index, place: 0 };
    books.after(400 * DAY_MS);
    ignored(books.forget_tombstone(first));
    books.after(1);
    recorded(books.forget_tombstone(first));
    recorded(books.forget_tombstone(second));
    ignored(books.forget_tombstone(second));
    assert_eq!(rows(&books), 0);
}

#[test]
fn r12_a_void_that_its_authorization_met_goes_with_the_authorization() {
    let mut books = Books::new();
    settled(books.void_key("k1", "v1"));
    let position = Position { index: books.index, place: 0 };
    let pay = Pay(settled(books.try_authorize("k1", 10)).transaction().expect("a transaction"));
    recorded(books.forget_tombstone(position));
    assert!(settled(books.try_authorize("k1", 10)).replayed());
    books.after(400 * DAY_MS + 1);
    recorded(books.forget(pay, KEEP));
    assert_eq!(rows(&books), 0);
}

#[test]
fn r20_events_are_kept_for_thirty_days_and_the_table_knows_the_last_that_is_gone() {
    let mut books = Books::new();
    let gone = || Position::default();
    let forgotten = |books: &Books| books.table.rows.get(&Key::EventsForgotten(books.gateway.clone())).cloned();
    books.approved("k1", 1000);
    let old = books.event_positions();
    books.after(limits::EVENTS_KEPT_MS);
    books.approved("k2", 1000);
    ignored(books.forget_events(books.event_positions()));
    assert_eq!(forgotten(&books), None);
    books.after(1);
    let all = books.event_positions();
    recorded(books.forget_events([all.clone(), vec![gone()]].concat()));
    assert_eq!(books.event_positions(), all[old.len()..]);
    assert_eq!(forgotten(&books), old.last().copied().map(Row::Position));
    ignored(books.forget_events(old));
}

#[test]
fn r8_an_hour_is_no_disagreement_and_more_waits_for_an_operator() {
    let mut books = Books::new();
    ignored(books.reads_wall(books.now.after_ms(HOUR_MS)));
    ignored(books.reads_wall(LogTime(books.now.0 - HOUR_MS)));
    ignored(books.accepts(books.now));
    let (wall, log) = (LogTime(books.now.0 - HOUR_MS - 1), books.now);
    recorded(books.reads_wall(wall));
    assert_eq!(books.clock().disagreement, Some(Disagreement { node: 7, wall, log }));
    // Neither another clock nor the same one, right again, ends it.
    ignored(books.reads_wall(books.now));
    recorded(books.accepts(wall));
    let accepted = books.clock().accepted.expect("an acceptance");
    assert_eq!((accepted.wall, accepted.log, accepted.reason.as_str()), (wall, log, "the hall was dark"));
    assert_eq!(books.clock().disagreement, None);
    // The accepted distance is no disagreement, another one is.
    books.after(DAY_MS);
    ignored(books.reads_wall(wall.after_ms(DAY_MS)));
    recorded(books.reads_wall(books.now.after_ms(2 * HOUR_MS)));
    assert!(books.clock().accepted.is_none() && books.clock().disagreement.is_some());
}

#[test]
fn r8_an_accepted_distance_is_used_up_once_the_clocks_agree() {
    let mut books = Books::new();
    let ahead = 48 * HOUR_MS;
    recorded(books.reads_wall(books.now.after_ms(ahead)));
    recorded(books.accepts(books.now.after_ms(ahead)));
    books.after(ahead);
    recorded(books.reads_wall(books.now));
    assert_eq!(books.clock(), ClockRow::default());
    recorded(books.reads_wall(books.now.after_ms(ahead)));
    assert!(books.clock().disagreement.is_some(), "as far ahead again is a new disagreement");
}

#[test]
fn r8_while_clocks_disagree_nothing_expires_and_nothing_is_forgotten() {
    let mut books = Books::new();
    let (old, held) = (books.declined("k1", 1000), books.approved("k2", 1000));
    settled(books.void_key("never", "v1"));
    let tombstone = Position { index: books.index, place: 0 };
    books.after(500 * DAY_MS);
    let wall = LogTime(START.0 + DAY_MS);
    recorded(books.reads_wall(wall));
    let events = books.event_positions();
    ignored(books.expire(held, true));
    ignored(books.forget(old, KEEP));
    ignored(books.forget_tombstone(tombstone));
    ignored(books.forget_events(events.clone()));
    recorded(books.accepts(wall));
    recorded(books.expire(held, false));
    recorded(books.forget(old, KEEP));
    recorded(books.forget_tombstone(tombstone));
    recorded(books.forget_events(events));
}

#[test]
fn r25_what_an_operator_resolved_goes_when_its_time_has_come() {
    let mut books = Books::new();
    let pay = books.authorize("k1", 10);
    settled(books.time_out(pay));
    recorded(books.reversal(pay, LaneVerdict::Refused));
    books.resolve(pay, Resolution::Reversed);
    books.after(400 * DAY_MS + 1);
    recorded(books.forget(pay, KEEP));
    assert!(!books.table.rows.values().any(|row| matches!(row, Row::Transaction(_))));
}
