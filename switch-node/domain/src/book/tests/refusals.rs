//! Goal: every refusal, in the order in which they are defined, for easier auditing of coverage. Each case breaks as many
//! later conditions as it can, so that it also shows the precedence. The fixture sees to it that nothing is stored.

use super::{
    super::{Book, Reply},
    fixture::{Books, START, amount, currency, key, print_of, refused, says, settled, yes},
};
use crate::{
    entry::{Command, EntryMark, Subject, VoidTarget},
    id::{Position, TransactionId},
    limits,
    outcome::{DeclineReason, NotSent},
    refusal::Refusal,
    table::{Key, MemoryTable, OwedKind, OwedRow, Row, Table, TableFault},
    time::{DAY_MS, LogTime},
    transaction::{CaptureMode, Fingerprint, ReversalPolicy},
};

type Case = (&'static str, fn() -> (Refusal, Refusal));

#[rustfmt::skip]
const CASES: &[Case] = &[
    ("another key version before another digest", another_key_version),
    ("a key used for something else, before its age", key_reused),
    ("a follow-up's key used for another follow-up", follow_up_key_reused),
    ("a void's key used for another void of an unseen key", tombstone_key_reused),
    ("too old a key before a missing original", key_too_old),
    ("no such transaction", missing),
    ("a capture of an open authorization, voided, in another currency", open_original),
    ("a final capture while an increment is open", open_increment),
    ("as many operations as there may be, before the void among them", too_many_operations),
    ("as many voids as a tombstone holds", too_many_tombstones),
    ("voided, before another currency", voided),
    ("voided twice, before the sale's day is over", voided_twice),
    ("captured, before a network that takes no reversals", captured),
    ("a sale of yesterday", sale_of_yesterday),
    ("a refund of a sale of today", refunded_sale),
    ("not answered, before its validity", not_authorized),
    ("a verification, before a network that takes no reversals", verification),
    ("a network that takes no reversals, before its validity", not_reversible),
    ("not answered by a network that takes no reversals", unresolved),
    ("no longer valid, before the final capture", expired),
    ("expired and not released", expired_for_voids),
    ("finally captured, before another currency", finally_captured),
    ("an increment after a capture", increment_after_capture),
    ("a capture of a sale", capture_of_a_sale),
    ("another currency before zero", another_currency),
    ("zero before more than is left", zero),
    ("an authorization of zero", zero_authorization),
    ("more than is left, before the card", too_much),
    ("a capture of more than was authorized", too_much_captured),
    ("a sum too great, before the card", sum_too_great),
    ("an increment without a card, before the day's limit", card_gone),
    ("a refund without a card", card_gone_for_refunds),
    ("the day's limit before the network's doubt", day_limit),
    ("the network's doubt before its numbers", network_in_doubt),
    ("a refund at the bound of doubt", network_in_doubt_for_refunds),
    ("no trace number", no_trace_number),
];

#[test]
fn every_refusal_comes_in_its_order_and_stores_nothing() {
    let mut ranks = Vec::new();
    for (name, case) in CASES {
        let (is, expected) = case();
        assert_eq!(is, expected, "{name}");
        ranks.push(rank(&is));
    }
    assert!(ranks.is_sorted(), "the cases stand in the order of the variants: {ranks:?}");
    ranks.dedup();
    assert_eq!(ranks, (0..19).collect::<Vec<_>>(), "every variant has its case");
}

/// Place of a variant: exhaustive, so that a new one without a case does not compile.
fn rank(refusal: &Refusal) -> usize {
    match refusal {
        Refusal::FingerprintVersion(_) => 0,
        Refusal::KeyReused => 1,
        Refusal::KeyTooOld => 2,
        Refusal::NotFound => 3,
        Refusal::InDoubt => 4,
        Refusal::TooManyOperations(_) => 5,
        Refusal::AlreadyVoided => 6,
        Refusal::UseRefund => 7,
        Refusal::NotAuthorized => 8,
        Refusal::NotReversible => 9,
        Refusal::Expired => 10,
        Refusal::FinallyCaptured => 11,
        Refusal::CurrencyMismatch => 12,
        Refusal::AmountZero => 13,
        Refusal::AmountExceeds { .. } => 14,
        Refusal::SumTooGreat => 15,
        Refusal::CardGone => 16,
        Refusal::Declined(..) => 17,
        Refusal::TraceNumbersExhausted => 18,
    }
}

fn another_key_version() -> (Refusal, Refusal) {
    let mut books = Books::new();
    books.approved("k1", 1000);
    let mut open = books.open_new("k1", 5);
    open.fingerprint = Fingerprint { key_version: 2, digest: [9; 16] };
    (refused(books.apply(Command::Open(Box::new(open)))), Refusal::FingerprintVersion(1))
}

fn key_reused() -> (Refusal, Refusal) {
    let mut books = Books::new();
    books.approved("k1", 1000);
    let mut open = books.open_new("k1", 1001);
    open.first_sent = Some(LogTime(0));
    (refused(books.apply(Command::Open(Box::new(open)))), Refusal::KeyReused)
}

fn follow_up_key_reused() -> (Refusal, Refusal) {
    let mut books = Books::new();
    let pay = books.approved("k1", 1000);
    settled(books.capture(pay, "f1", 400, false));
    (refused(books.refund(pay, "f1", 400)), Refusal::KeyReused)
}

fn tombstone_key_reused() -> (Refusal, Refusal) {
    let mut books = Books::new();
    settled(books.void_key("later", "v1"));
    let void = crate::entry::Void {
        gateway: books.gateway.clone(),
        request_id: key("v1"),
        target: VoidTarget::Request(key("later")),
        fingerprint: print_of("something else"),
    };
    (refused(books.apply(Command::Void(Box::new(void)))), Refusal::KeyReused)
}

fn key_too_old() -> (Refusal, Refusal) {
    let mut books = Books::new();
    let mut open = books.opening("f1", 5, "refund", Subject::Refund(TransactionId::from_number(77)));
    open.first_sent = Some(LogTime(START.0 - 400 * DAY_MS - 1));
    (refused(books.apply(Command::Open(Box::new(open)))), Refusal::KeyTooOld)
}

fn missing() -> (Refusal, Refusal) {
    let mut books = Books::new();
    let nowhere = super::fixture::Pay(TransactionId::from_number(77));
    assert_eq!(refused(books.capture(nowhere, "f1", 0, true)), Refusal::NotFound);
    assert_eq!(refused(books.increment(nowhere, "f1", 0)), Refusal::NotFound);
    assert_eq!(refused(books.refund(nowhere, "f1", 0)), Refusal::NotFound);
    (refused(books.void(nowhere, "f1")), Refusal::NotFound)
}

fn open_original() -> (Refusal, Refusal) {
    let mut books = Books::new();
    let pay = books.authorize("k1", 1000);
    settled(books.void(pay, "v1"));
    assert_eq!(refused(books.increment(pay, "f1", 0)), Refusal::InDoubt);
    assert_eq!(refused(books.refund(pay, "f1", 0)), Refusal::InDoubt);
    let mut capture = books.capture_of(pay, "f1", 0, true);
    capture.currency = currency("USD");
    (refused(books.apply(Command::Capture(Box::new(capture)))), Refusal::InDoubt)
}

fn open_increment() -> (Refusal, Refusal) {
    let mut books = Books::new();
    let pay = books.approved("k1", 1000);
    books.increment(pay, "f1", 500);
    settled(books.capture(pay, "f2", 100, false));
    books.after(8 * DAY_MS);
    (refused(books.capture(pay, "f3", 100, true)), Refusal::InDoubt)
}

fn too_many_operations() -> (Refusal, Refusal) {
    let mut books = Books::new();
    let pay = books.approved("k1", 1000);
    for n in 1..=98 {
        books.increment(pay, &format!("f{n}"), 1);
        settled(books.not_sent((pay, n), NotSent::OutOfService));
    }
    settled(books.void(pay, "v1"));
    assert_eq!(refused(books.void(pay, "v2")), Refusal::TooManyOperations(100));
    (refused(books.increment(pay, "f99", 1)), Refusal::TooManyOperations(limits::OPERATIONS_MAX))
}

fn too_many_tombstones() -> (Refusal, Refusal) {
    let mut books = Books::new();
    for n in 0..limits::TOMBSTONE_VOIDS_MAX {
        settled(books.void_key("later", &format!("v{n}")));
    }
    (refused(books.void_key("later", "v-more")), Refusal::TooManyOperations(limits::TOMBSTONE_VOIDS_MAX))
}

fn voided() -> (Refusal, Refusal) {
    let mut books = Books::new();
    let pay = books.approved("k1", 1000);
    settled(books.void(pay, "v1"));
    assert_eq!(refused(books.capture(pay, "f1", 5000, true)), Refusal::AlreadyVoided);
    assert_eq!(refused(books.refund(pay, "f1", 5000)), Refusal::AlreadyVoided);
    let mut open = books.opening("f1", 0, "increment", Subject::Increment(pay.0));
    open.currency = currency("USD");
    (refused(books.apply(Command::Open(Box::new(open)))), Refusal::AlreadyVoided)
}

fn voided_twice() -> (Refusal, Refusal) {
    let mut books = Books::new();
    let pay = books.sale("k1", 1000);
    settled(books.void(pay, "v1"));
    books.after(DAY_MS);
    (refused(books.void(pay, "v2")), Refusal::AlreadyVoided)
}

fn captured() -> (Refusal, Refusal) {
    let mut books = Books::new().with(|terms| terms.reversal_policy = ReversalPolicy::Never);
    let pay = books.approved("k1", 1000);
    settled(books.capture(pay, "f1", 1, false));
    (refused(books.void(pay, "v1")), Refusal::UseRefund)
}

fn sale_of_yesterday() -> (Refusal, Refusal) {
    let mut books = Books::new();
    let pay = books.sale("k1", 1000);
    books.after(DAY_MS);
    (refused(books.void(pay, "v1")), Refusal::UseRefund)
}

fn refunded_sale() -> (Refusal, Refusal) {
    let mut books = Books::new();
    let pay = books.sale("k1", 1000);
    books.refund(pay, "f1", 10);
    (refused(books.void(pay, "v1")), Refusal::UseRefund)
}

fn not_authorized() -> (Refusal, Refusal) {
    let mut books = Books::new();
    let pay = books.unanswered("k1", 1000);
    assert_eq!(refused(books.increment(pay, "f1", 0)), Refusal::NotAuthorized);
    assert_eq!(refused(books.refund(pay, "f1", 0)), Refusal::NotAuthorized);
    (refused(books.capture(pay, "f1", 0, true)), Refusal::NotAuthorized)
}

fn verification() -> (Refusal, Refusal) {
    let mut books = Books::new().with(|terms| terms.reversal_policy = ReversalPolicy::Never);
    let pay = books.authorize_with("k1", 0, |new| new.verification = true);
    settled(books.answer(pay, yes()));
    assert_eq!(refused(books.capture(pay, "f1", 1, true)), Refusal::NotAuthorized);
    (refused(books.void(pay, "v1")), Refusal::NotAuthorized)
}

fn not_reversible() -> (Refusal, Refusal) {
    let mut books = Books::new().with(|terms| terms.reversal_policy = ReversalPolicy::Never);
    let pay = books.approved("k1", 1000);
    books.after(8 * DAY_MS);
    books.expire(pay, false);
    (refused(books.void(pay, "v1")), Refusal::NotReversible)
}

fn unresolved() -> (Refusal, Refusal) {
    let mut books = Books::new().with(|terms| terms.reversal_policy = ReversalPolicy::Never);
    let open = books.authorize("k1", 1000);
    assert_eq!(refused(books.void(open, "v1")), Refusal::NotReversible);
    settled(books.time_out(open));
    (refused(books.void(open, "v1")), Refusal::NotReversible)
}

fn expired() -> (Refusal, Refusal) {
    let mut books = Books::new();
    let pay = books.approved("k1", 1000);
    settled(books.capture(pay, "f1", 1000, true));
    books.after(7 * DAY_MS);
    assert_eq!(refused(books.capture(pay, "f2", 5, false)), Refusal::FinallyCaptured, "the last moment is valid");
    books.after(1);
    assert_eq!(refused(books.increment(pay, "f2", 0)), Refusal::Expired);
    (refused(books.capture(pay, "f2", 5, false)), Refusal::Expired)
}

fn expired_for_voids() -> (Refusal, Refusal) {
    let mut books = Books::new();
    let pay = books.approved("k1", 1000);
    books.after(8 * DAY_MS);
    books.expire(pay, true);
    (refused(books.void(pay, "v1")), Refusal::Expired)
}

fn finally_captured() -> (Refusal, Refusal) {
    let mut books = Books::new();
    let pay = books.approved("k1", 1000);
    settled(books.capture(pay, "f1", 10, true));
    let mut capture = books.capture_of(pay, "f2", 0, false);
    capture.currency = currency("USD");
    (refused(books.apply(Command::Capture(Box::new(capture)))), Refusal::FinallyCaptured)
}

fn increment_after_capture() -> (Refusal, Refusal) {
    let mut books = Books::new();
    let pay = books.approved("k1", 1000);
    settled(books.capture(pay, "f1", 10, false));
    (refused(books.increment(pay, "f2", 0)), Refusal::FinallyCaptured)
}

fn capture_of_a_sale() -> (Refusal, Refusal) {
    let mut books = Books::new();
    let pay = books.sale("k1", 1000);
    (refused(books.capture(pay, "f1", 10, false)), Refusal::FinallyCaptured)
}

fn another_currency() -> (Refusal, Refusal) {
    let mut books = Books::new();
    let pay = books.approved("k1", 1000);
    let mut capture = books.capture_of(pay, "f1", 0, false);
    capture.currency = currency("USD");
    assert_eq!(refused(books.apply(Command::Capture(Box::new(capture)))), Refusal::CurrencyMismatch);
    let mut open = books.opening("f1", 0, "refund", Subject::Refund(pay.0));
    open.currency = currency("USD");
    (refused(books.apply(Command::Open(Box::new(open)))), Refusal::CurrencyMismatch)
}

fn zero() -> (Refusal, Refusal) {
    let mut books = Books::new();
    let pay = books.approved("k1", 1000);
    assert_eq!(refused(books.capture(pay, "f1", 0, false)), Refusal::AmountZero);
    assert_eq!(refused(books.increment(pay, "f1", 0)), Refusal::AmountZero);
    (refused(books.refund(pay, "f1", 0)), Refusal::AmountZero)
}

fn zero_authorization() -> (Refusal, Refusal) {
    let mut books = Books::new().with(|terms| terms.doubt_count_max = 1);
    books.unanswered("k1", 1000);
    (refused(books.try_authorize("k2", 0)), Refusal::AmountZero)
}

fn too_much() -> (Refusal, Refusal) {
    let mut books = Books::new();
    let pay = books.captured("k1", 1000);
    books.refund(pay, "f1", 600);
    books.change_transaction(pay, |transaction| transaction.card.sealed = None);
    (refused(books.refund(pay, "f2", 401)), Refusal::AmountExceeds { asked: amount(401), left: amount(400) })
}

fn too_much_captured() -> (Refusal, Refusal) {
    let mut books = Books::new().with(|terms| terms.capture_tolerance_basis_points = 1_500);
    let pay = books.approved("k1", 999);
    settled(books.capture(pay, "f1", 1_000, false));
    let left = Refusal::AmountExceeds { asked: amount(149), left: amount(148) };
    (refused(books.capture(pay, "f2", 149, false)), left)
}

fn sum_too_great() -> (Refusal, Refusal) {
    let mut books = Books::new();
    let pay = books.approved("k1", 1);
    books.increment(pay, "f1", crate::money::AMOUNT_MAX - 1);
    books.change_transaction(pay, |transaction| transaction.card.sealed = None);
    (refused(books.increment(pay, "f2", 1)), Refusal::SumTooGreat)
}

fn card_gone() -> (Refusal, Refusal) {
    let mut books = Books::new().with_day_limit(1000);
    let pay = books.approved("k1", 1000);
    books.change_transaction(pay, |transaction| transaction.card.sealed = None);
    (refused(books.increment(pay, "f1", 1)), Refusal::CardGone)
}

fn card_gone_for_refunds() -> (Refusal, Refusal) {
    let mut books = Books::new();
    let pay = books.captured("k1", 1000);
    books.change_transaction(pay, |transaction| transaction.card.sealed = None);
    (refused(books.refund(pay, "f1", 1)), Refusal::CardGone)
}

fn declined(books: &Books, reason: DeclineReason) -> Refusal {
    Refusal::Declined(reason, Position { index: books.index, place: 0 })
}

fn day_limit() -> (Refusal, Refusal) {
    let mut books = Books::new().with(|terms| terms.doubt_count_max = 1).with_day_limit(1500);
    books.unanswered("k1", 1000);
    let is = refused(books.try_authorize("k2", 501));
    (is, declined(&books, DeclineReason::SwitchLimit))
}

fn network_in_doubt() -> (Refusal, Refusal) {
    let mut books = Books::new().with(|terms| terms.doubt_count_max = 1);
    books.unanswered("k1", 1000);
    let open = books.open_new("k2", 1);
    let mut full = FullLink(books.table.clone());
    let mark = EntryMark { position: Position { index: 99, place: 3 }, now: books.now, ..EntryMark::default() };
    let reply = Book::apply(&mut full, mark, Command::Open(Box::new(open)), &mut vec![]).expect("a sound table");
    assert!(full.0 == books.table);
    (refused(reply), Refusal::Declined(DeclineReason::NetworkInDoubt, mark.position))
}

fn network_in_doubt_for_refunds() -> (Refusal, Refusal) {
    let mut books = Books::new().with(|terms| terms.doubt_count_max = 1);
    let pay = books.captured("k1", 1000);
    books.unanswered("k2", 1000);
    let is = refused(books.refund(pay, "f1", 1));
    (is, declined(&books, DeclineReason::NetworkInDoubt))
}

fn no_trace_number() -> (Refusal, Refusal) {
    let mut books = Books::new();
    let pay = books.approved("k1", 1000);
    let commands = [
        Command::Open(Box::new(books.open_new("k2", 1))),
        Command::Open(Box::new(books.opening("f1", 1, "increment", Subject::Increment(pay.0)))),
        Command::Capture(Box::new(books.capture_of(pay, "f1", 1, true))),
    ];
    for command in commands {
        let mut full = FullLink(books.table.clone());
        let mark = EntryMark { now: books.now, ..EntryMark::default() };
        let reply = Book::apply(&mut full, mark, command, &mut vec![]).expect("a sound table");
        assert!(matches!(reply, Reply::Refused(Refusal::TraceNumbersExhausted)), "{reply:?}");
        assert!(full.0 == books.table, "nothing is stored");
    }
    (Refusal::TraceNumbersExhausted, Refusal::TraceNumbersExhausted)
}

/// A table whose links have all trace numbers taken.
struct FullLink(MemoryTable);

impl Table for FullLink {
    fn get(&self, key: &Key) -> Result<Option<Row>, TableFault> {
        let found = self.0.get(key)?;
        let Key::Owed(_, _) = key else { return Ok(found) };
        let attempt = Books::new().name(super::fixture::Pay(TransactionId::from_number(1)));
        let row = OwedRow { attempt, kind: OwedKind::Attempt, parked: false, time: START };
        Ok(found.or(Some(Row::Owed(row))))
    }

    fn put(&mut self, key: Key, row: Row) {
        self.0.put(key, row);
    }

    fn delete(&mut self, key: Key) {
        self.0.delete(key);
    }

    fn range(
        &self,
        from: std::ops::Bound<&Key>,
        to: std::ops::Bound<&Key>,
        limit: usize,
    ) -> Result<Vec<(Key, Row)>, TableFault> {
        self.0.range(from, to, limit)
    }
}

/// Replays come before every refusal but those of the key itself (R16).
#[test]
fn r16_a_known_key_is_answered_before_anything_is_judged() {
    let mut books = Books::new().with(|terms| terms.doubt_count_max = 1).with_day_limit(1000);
    let pay = books.approved("k1", 1000);
    books.day_limit = 1;
    let mut again = books.open_new("k1", 1000);
    again.first_sent = Some(LogTime(0));
    assert!(settled(books.apply(Command::Open(Box::new(again)))).replayed());
    settled(books.capture(pay, "f1", 1000, true));
    books.after(30 * DAY_MS);
    assert!(settled(books.capture(pay, "f1", 1000, true)).replayed(), "after its validity, and finally captured");
    let declined = books.sale_declined();
    assert!(settled(declined).replayed());
}

impl Books {
    /// A declined sale, asked again.
    fn sale_declined(&mut self) -> Reply {
        (self.day_limit, self.terms.doubt_count_max) = (0, 0);
        let pay = self.authorize_with("declined", 10, |new| new.capture_mode = CaptureMode::Automatic);
        settled(self.answer(pay, says("51")));
        self.try_authorize("declined", 10)
    }
}
