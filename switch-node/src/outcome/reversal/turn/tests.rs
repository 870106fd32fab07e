use switch_domain::{
    authorization::Credentials,
    card::{CardReference, CardToken, Truncated},
    id::{
        GatewayId, LeaderId, MerchantId, NetworkId, Owner, Position, RequestId, Rrn, Stan, TerminalId, TransactionId,
    },
    money::{Amount, Currency},
    outcome::AnswerText,
    time::LogTime,
    transaction::{
        Advice, Attempt, AttemptState, CaptureMode, EntryMode, Fingerprint, Merchant, Method, Operation, Reversal,
        ReversalPolicy, ReversalReason, Terms, WireIdentity,
    },
};

use super::*;

const PENDING: LaneState = LaneState::Pending;
const PARKED: LaneState = LaneState::Parked { refused: false };
const REFUSED: LaneState = LaneState::Parked { refused: true };

fn amount() -> Amount {
    Amount::parse(100).expect("an amount")
}

fn identity(stan: u32) -> WireIdentity {
    let stan = Stan::parse(stan).expect("a number");
    WireIdentity { stan, rrn: Rrn::of(7), transmission: LogTime(0).transmission() }
}

fn lane(since: u64, state: LaneState, doubted_once: bool) -> Lane {
    let (identity, maker) = (identity(2), LeaderId::default());
    Lane {
        identity,
        generation: 0,
        state,
        since: LogTime(since),
        maker,
        doubted_once,
        amount: amount(),
        resolution: None,
    }
}

fn link() -> LinkId {
    LinkId::parse("first-1").expect("an id")
}

fn network() -> NetworkId {
    NetworkId::parse("first").expect("an id")
}

fn attempt(state: AttemptState, lane: Option<Lane>) -> Attempt {
    Attempt {
        network: network(),
        link: link(),
        route: None,
        identity: identity(1),
        terms: Terms {
            attempt_timeout_ms: 1000,
            in_flight_max_ms: 1000,
            repeat_budget_ms: 0,
            reversal_policy: ReversalPolicy::Always,
            acknowledgement_proves_match: true,
            reversal_has_own_stan: false,
            valid_ms: 1,
            capture_tolerance_basis_points: 0,
            doubt_count_max: 1,
            doubt_amount_max: Amount::ZERO,
        },
        deadline: LogTime(1),
        owner: Owner { node: 1, boot: 1, term: 1 },
        state,
        response_code: None,
        approvals: vec![],
        late_approval: false,
        conflicting_answer: false,
        reversal: lane.map(|lane| Reversal {
            reason: ReversalReason::Timeout,
            approved: None,
            lane,
            approvals_reversed: 0,
            superseded: vec![],
            passed_over: vec![],
        }),
        opened: Position::default(),
    }
}

fn operation(method: Method, attempts: Vec<Attempt>, advice: Option<Lane>) -> Operation {
    Operation {
        request_id: RequestId::parse("order-1").expect("a key"),
        method,
        amount: amount(),
        fingerprint: Fingerprint { key_version: 1, digest: [0; 16] },
        accepted: LogTime(0),
        final_capture: false,
        partial_supported: false,
        void_requested: false,
        day_reserved: Amount::ZERO,
        day_limited: false,
        attempts,
        advice: advice.map(|lane| Advice { link: link(), network: network(), lane }),
        told: None,
    }
}

/// An authorization, an increment whose reversal stands so, and a capture after it.
fn captured_after(increment: Lane) -> Transaction {
    Transaction {
        id: TransactionId::from_number(77),
        gateway: GatewayId::parse("shop").expect("an id"),
        revision: 4,
        created: LogTime(0),
        changed: LogTime(0),
        currency: Currency::parse("EUR").expect("euro"),
        capture_mode: CaptureMode::Manual,
        entry_mode: EntryMode::Manual,
        merchant: Merchant {
            id: MerchantId::parse("SHOP-1").expect("an id"),
            terminal: TerminalId::parse("T1").expect("an id"),
            category: AnswerText::of("5942", 4),
            name: AnswerText::default(),
            city: AnswerText::default(),
            country: AnswerText::of("LV", 2),
            acquirer: AnswerText::default(),
        },
        card: CardReference {
            bin: Truncated::parse("990000").expect("digits"),
            last4: Truncated::parse("0000").expect("digits"),
            token: CardToken([0xab; 16]),
            sealed: None,
        },
        credentials: Credentials::default(),
        merchant_reference: AnswerText::default(),
        network_transaction_id: AnswerText::default(),
        directory_version: 1,
        valid_until: LogTime(9),
        expired: false,
        operations: vec![
            operation(Method::Authorize, vec![attempt(AttemptState::Approved(amount()), None)], None),
            operation(Method::Increment, vec![attempt(AttemptState::TimedOut, Some(increment))], None),
            operation(Method::Capture, vec![], Some(lane(2, PENDING, false))),
        ],
    }
}

/// Operations whose lanes may be sent, in their order.
fn ready(transaction: &Transaction) -> Vec<u16> {
    sendable(owed(transaction, &link())).iter().map(|turn| turn.reference.attempt.id.operation).collect()
}

const INCREMENT: u16 = 1;
const CAPTURE: u16 = 2;

#[test]
fn r6_what_was_never_answered_goes_first_and_alone() {
    assert_eq!(ready(&captured_after(lane(1, PENDING, false))), [INCREMENT]);
    let other = LinkId::parse("first-2").expect("an id");
    assert!(owed(&captured_after(lane(1, PENDING, false)), &other).is_empty(), "each link has its own");
}

#[test]
fn r13_a_capture_does_not_wait_for_what_the_network_will_never_find() {
    assert_eq!(ready(&captured_after(lane(1, PENDING, true))), [INCREMENT, CAPTURE]);
}

/// A fault there was: both are made by one entry, and the release of what a final capture leaves went out before it.
#[test]
fn r6_a_final_capture_goes_before_the_release_of_what_it_leaves() {
    let mut transaction = captured_after(lane(1, LaneState::Acknowledged, false));
    let mut released = attempt(AttemptState::Approved(amount()), Some(lane(2, PENDING, false)));
    if let Some(release) = &mut released.reversal {
        release.reason = ReversalReason::Remainder;
    }
    transaction.operations[0].attempts = vec![released];
    assert_eq!(ready(&transaction), [CAPTURE]);
}

#[test]
fn r25_what_is_parked_holds_nobody_up_and_is_sent_after_what_is_not() {
    assert_eq!(ready(&captured_after(lane(1, PARKED, false))), [CAPTURE, INCREMENT]);
    assert_eq!(ready(&captured_after(lane(1, REFUSED, false))), [CAPTURE]);
    assert_eq!(ready(&captured_after(lane(1, LaneState::NotFound, true))), [CAPTURE]);
}

fn sent(next: Next<'_>) -> (u16, bool) {
    match next {
        Next::Send(turn, only) => (turn.reference.attempt.id.operation, only),
        Next::Wait(_) => panic!("it waits"),
        Next::Nothing => panic!("nothing is owed"),
    }
}

fn reference(transaction: &Transaction, operation: u16) -> LaneRef {
    let turns = owed(transaction, &link());
    let turn = turns.into_iter().find(|turn| turn.reference.attempt.id.operation == operation);
    turn.expect("it is owed").reference
}

/// A fault there was: the reversal of an increment that the network answered "not found" for ever held its capture back as long.
#[tokio::test(start_paused = true)]
async fn r13_a_not_found_for_ever_and_the_capture_behind_it_are_both_sent() {
    let transaction = captured_after(lane(1, PENDING, true));
    let (now, mut tries) = (Instant::now(), Tries::default());
    let at = |tries: &Tries, now| sent(next(&transaction, &link(), tries, None, now));
    assert_eq!(at(&tries, now), (INCREMENT, false));
    let second = Duration::from_secs(1);
    let due = tries.note(reference(&transaction, INCREMENT), Pace::Backoff(second), now, 0);
    assert_eq!(at(&tries, now), (CAPTURE, false), "while the increment's reversal pauses");
    let later = tries.note(reference(&transaction, CAPTURE), Pace::Backoff(second * 10), now, 0);
    let Next::Wait(until) = next(&transaction, &link(), &tries, None, now) else { panic!("both pause") };
    assert_eq!(until, due.min(later));
    assert_eq!(at(&tries, due), (INCREMENT, false), "it is repeated all the same");
    assert!(tries.has_sent(&reference(&transaction, INCREMENT)), "and marked as a repeat (R14)");
    // Its own copies, and nobody else's, spend its budget (R25).
    assert_eq!(tries.spent(&reference(&transaction, INCREMENT)), due - now);
}

#[tokio::test(start_paused = true)]
async fn r25_an_operator_forces_what_was_refused() {
    let transaction = captured_after(lane(1, REFUSED, false));
    let (now, tries) = (Instant::now(), Tries::default());
    let refused = reference(&transaction, INCREMENT).attempt;
    assert_eq!(sent(next(&transaction, &link(), &tries, Some(&refused), now)).0, INCREMENT);
    assert_eq!(sent(next(&transaction, &link(), &tries, None, now)), (CAPTURE, true));
}

#[tokio::test(start_paused = true)]
async fn r13_a_new_generation_is_due_at_once_and_forgets_the_earlier_ones_copies() {
    let (now, mut tries) = (Instant::now(), Tries::default());
    let first = reference(&captured_after(lane(1, PENDING, false)), INCREMENT);
    tries.note(first.clone(), Pace::Backoff(Duration::from_secs(1)), now, 0);
    let renewed = captured_after(Lane { generation: 1, ..lane(1, PENDING, false) });
    assert_eq!(sent(next(&renewed, &link(), &tries, None, now)), (INCREMENT, true));
    tries.note(reference(&renewed, INCREMENT), Pace::Backoff(Duration::from_secs(1)), now, 0);
    assert!(!tries.has_sent(&first));
}
