//! A small language for stories about the book. Every command checks the invariants of the whole table, and that a refusal, a
//! replay and worthless evidence leave it as it was, byte for byte.

#![allow(clippy::needless_pass_by_value)] // a story reads better without references

use super::{
    super::{Book, Dispatch, Reply, Settled},
    invariants::{check_invariants, check_transition},
};
use crate::{
    authorization::Credentials,
    card::{CardReference, CardToken, Sealed, Truncated},
    effect::Effect,
    entry::{
        AnswerEvidence, Capture, Command, EntryMark, Expire, Failover, FailoverCause, LaneAnswer, LaneKind, LaneRef,
        NewTransaction, NotSentEvidence, Open, Plan, ProposeResolution, ResolutionWord, Subject, TimedOut, Void,
        VoidTarget,
    },
    id::{
        AttemptId, AttemptRef, GatewayId, LeaderId, LinkId, MerchantId, NetworkId, Owner, Position, RequestId, RouteId,
        Slot, Stan, TerminalId, TransactionId,
    },
    money::{Amount, Currency},
    outcome::{AnswerText, Decision, Doubt, LaneVerdict, NetworkAnswer, NotSent, ResponseCode},
    refusal::{Refusal, ResolutionRefusal},
    table::{DoubtRow, EventRow, Key, MemoryTable, OwedKind, Row},
    time::{DAY_MS, LogTime},
    transaction::{
        Attempt, CaptureMode, EntryMode, Fingerprint, Lane, LaneState, Merchant, Method, Resolution, Reversal,
        ReversalPolicy, Terms, Totals, Transaction,
    },
};

/// Start of every story: 2026-03-01T08:00:00Z.
pub(super) const START: LogTime = LogTime(1_772_352_000_000);
pub(super) const TIMEOUT_MS: u64 = 10_000;
pub(super) const IN_FLIGHT_MS: u64 = 30_000;
/// Operators.
pub(super) const ANNA: &str = "spiffe://example/operator/anna";
pub(super) const BRUNO: &str = "spiffe://example/operator/bruno";
pub(super) const CLARA: &str = "spiffe://example/operator/clara";
pub(super) const OWNER: Owner = Owner { node: 1, boot: 11, term: 3 };

pub(super) fn amount(minor_units: u64) -> Amount {
    Amount::parse(i64::try_from(minor_units).expect("a test's amount")).expect("a test's amount")
}

pub(super) fn currency(code: &str) -> Currency {
    Currency::parse(code).expect("a currency")
}

pub(super) fn key(text: &str) -> RequestId {
    RequestId::parse(text).expect("a key")
}

pub(super) fn gateway(text: &str) -> GatewayId {
    GatewayId::parse(text).expect("a gateway")
}

pub(super) fn stan(number: u32) -> Stan {
    Stan::parse(number).expect("a trace number")
}

/// Digest of a text that says what is asked.
pub(super) fn print_of(what: &str) -> Fingerprint {
    let mut digest = [0_u8; 16];
    for (place, byte) in what.bytes().enumerate() {
        digest[place % 16] = digest[place % 16].rotate_left(3).wrapping_add(byte);
    }
    Fingerprint { key_version: 1, digest }
}

/// A payment of a story.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pay(pub(super) TransactionId);

/// The first attempt of a payment's n-th operation; `Pay` alone is the first attempt of the authorization.
pub(super) trait At {
    fn at(&self) -> (TransactionId, u16, u16);
}

impl At for Pay {
    fn at(&self) -> (TransactionId, u16, u16) {
        (self.0, 0, 1)
    }
}

impl At for (Pay, u16) {
    fn at(&self) -> (TransactionId, u16, u16) {
        (self.0.0, self.1, 1)
    }
}

impl At for (Pay, u16, u16) {
    fn at(&self) -> (TransactionId, u16, u16) {
        (self.0.0, self.1, self.2)
    }
}

/// What a network says.
pub(super) fn yes() -> NetworkAnswer {
    says("00")
}

pub(super) fn yes_for(approved: u64) -> NetworkAnswer {
    NetworkAnswer { approved: Some(amount(approved)), ..says("00") }
}

/// A second approval of the same request: another code.
pub(super) fn another_yes(code: &str) -> NetworkAnswer {
    NetworkAnswer { approval_code: AnswerText::of(code, 6), ..yes() }
}

pub(super) fn says(code: &str) -> NetworkAnswer {
    NetworkAnswer {
        response_code: ResponseCode::parse(code).expect("a response code"),
        approval_code: AnswerText::of(if code == "00" { "A1" } else { "" }, 6),
        approved: None,
        currency: None,
        network_transaction_id: AnswerText::of("N-7", 15),
        address_result: AnswerText::default(),
        verification_result: AnswerText::default(),
        advice_code: AnswerText::default(),
        decided_by_network: false,
    }
}

pub(super) fn settled(reply: Reply) -> Settled {
    match reply {
        Reply::Settled(settled) => *settled,
        other => panic!("not settled: {other:?}"),
    }
}

pub(super) fn dispatched(reply: Reply) -> Dispatch {
    match reply {
        Reply::Dispatch(dispatch) => *dispatch,
        other => panic!("not dispatched: {other:?}"),
    }
}

pub(super) fn refused(reply: Reply) -> Refusal {
    match reply {
        Reply::Refused(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

/// The proposal that an operator's word is about.
pub(super) fn taken(reply: Reply) -> Position {
    match reply {
        Reply::Resolution(Ok(proposal)) => proposal,
        other => panic!("not taken: {other:?}"),
    }
}

pub(super) fn not_taken(reply: Reply) -> ResolutionRefusal {
    match reply {
        Reply::Resolution(Err(refusal)) => refusal,
        other => panic!("taken: {other:?}"),
    }
}

pub(super) fn recorded(reply: Reply) {
    assert!(matches!(reply, Reply::Recorded), "not recorded: {reply:?}");
}

pub(super) fn ignored(reply: Reply) {
    assert!(matches!(reply, Reply::Ignored), "not ignored: {reply:?}");
}

/// What was told, in short.
pub(super) fn told(reply: Reply) -> (Decision, u64) {
    let settled = settled(reply);
    (settled.told().decision, settled.told().approved.minor_units())
}

/// The book of a story.
pub(super) struct Books {
    pub(super) table: MemoryTable,
    pub(super) now: LogTime,
    pub(super) index: u64,
    /// Effects of the last command.
    pub(super) effects: Vec<Effect>,
    pub(super) terms: Terms,
    pub(super) day_limit: u64,
    pub(super) gateway: GatewayId,
}

impl Books {
    pub(super) fn new() -> Self {
        Self {
            table: MemoryTable::default(),
            now: START,
            index: 0,
            effects: Vec::new(),
            terms: Terms {
                attempt_timeout_ms: 10_000,
                in_flight_max_ms: 30_000,
                repeat_budget_ms: 3_600_000,
                reversal_policy: ReversalPolicy::Always,
                acknowledgement_proves_match: true,
                reversal_has_own_stan: false,
                valid_ms: 7 * DAY_MS,
                capture_tolerance_basis_points: 0,
                doubt_count_max: 0,
                doubt_amount_max: Amount::ZERO,
            },
            day_limit: 0,
            gateway: gateway("shop"),
        }
    }

    pub(super) fn with(mut self, change: impl FnOnce(&mut Terms)) -> Self {
        change(&mut self.terms);
        self
    }

    pub(super) fn with_day_limit(mut self, limit: u64) -> Self {
        self.day_limit = limit;
        self
    }

    pub(super) fn after(&mut self, milliseconds: u64) -> &mut Self {
        self.now = self.now.after_ms(milliseconds);
        self
    }

    pub(super) fn apply(&mut self, command: Command) -> Reply {
        self.index += 1;
        let mark = EntryMark {
            position: Position { index: self.index, place: 0 },
            leader: LeaderId { term: 3, node: 1 },
            now: self.now,
        };
        let before = self.table.clone();
        self.effects.clear();
        let reply = Book::apply(&mut self.table, mark, command, &mut self.effects).expect("a sound table");
        check_invariants(&self.table);
        for (key, row) in &before.rows {
            if let (Row::Transaction(old), Some(Row::Transaction(new))) = (row, self.table.rows.get(key)) {
                check_transition(old, new);
            }
        }
        let changes_nothing = match &reply {
            Reply::Refused(_) | Reply::InFlight { .. } | Reply::Ignored | Reply::Resolution(Err(_)) => true,
            Reply::Settled(settled) => settled.replayed(),
            Reply::Dispatch(_) | Reply::Recorded | Reply::Resolution(Ok(_)) => false,
        };
        if changes_nothing {
            assert!(self.table == before, "stores nothing (R17): {reply:?}");
            assert_eq!(self.effects, [], "and wakes nobody: {reply:?}");
        }
        reply
    }

    // ## What is asked

    pub(super) fn plan(&self) -> Plan {
        self.plan_to("visa")
    }

    pub(super) fn plan_to(&self, network: &str) -> Plan {
        Plan {
            route: Some(RouteId::parse("r1").expect("a route")),
            network: NetworkId::parse(network).expect("a network"),
            link: LinkId::parse(&format!("{network}-1")).expect("a link"),
            terms: self.terms,
            owner: OWNER,
        }
    }

    pub(super) fn id_of(&self, request: &str) -> TransactionId {
        let slot = Slot::of(&self.gateway, &key(request));
        TransactionId::new(self.now.0, slot, u128::from(self.index) + 1)
    }

    pub(super) fn open_new(&self, request: &str, money: u64) -> Open {
        self.opening(request, money, "authorize", Subject::New(Box::new(self.new_transaction(request))))
    }

    pub(super) fn new_transaction(&self, request: &str) -> NewTransaction {
        NewTransaction {
            id: self.id_of(request),
            verification: false,
            capture_mode: CaptureMode::Manual,
            entry_mode: EntryMode::Chip,
            merchant: Merchant {
                id: MerchantId::parse("M1").expect("a merchant"),
                terminal: TerminalId::parse("T1").expect("a terminal"),
                category: AnswerText::of("5411", 4),
                name: AnswerText::of("Corner shop", 25),
                city: AnswerText::of("Bern", 13),
                country: AnswerText::of("CH", 2),
                acquirer: AnswerText::of("123456", 11),
            },
            card: CardReference {
                bin: Truncated::parse("990000").expect("digits"),
                last4: Truncated::parse("0001").expect("digits"),
                token: CardToken([7; 16]),
                sealed: Some(Sealed { key_version: 1, bytes: Box::new([1, 2, 3]) }),
            },
            credentials: Credentials::default(),
            merchant_reference: AnswerText::default(),
            partial_supported: false,
        }
    }

    pub(super) fn opening(&self, request: &str, money: u64, method: &str, subject: Subject) -> Open {
        Open {
            gateway: self.gateway.clone(),
            request_id: key(request),
            fingerprint: print_of(&format!("{method} {money}")),
            amount: amount(money),
            currency: currency("EUR"),
            directory_version: 4,
            first_sent: None,
            plan: self.plan(),
            subject,
            day_limit: amount(self.day_limit),
            retention_days: 0,
        }
    }

    pub(super) fn try_authorize(&mut self, request: &str, money: u64) -> Reply {
        self.apply(Command::Open(Box::new(self.open_new(request, money))))
    }

    /// An authorization that was sent.
    pub(super) fn authorize(&mut self, request: &str, money: u64) -> Pay {
        Pay(dispatched(self.try_authorize(request, money)).attempt().id.transaction)
    }

    /// One that changes what is opened.
    pub(super) fn authorize_with(
        &mut self,
        request: &str,
        money: u64,
        change: impl FnOnce(&mut NewTransaction),
    ) -> Pay {
        let mut new = self.new_transaction(request);
        change(&mut new);
        let method = if new.verification { "verify" } else { "authorize" };
        let open = self.opening(request, money, method, Subject::New(Box::new(new)));
        Pay(dispatched(self.apply(Command::Open(Box::new(open)))).attempt().id.transaction)
    }

    pub(super) fn sale(&mut self, request: &str, money: u64) -> Pay {
        let pay = self.authorize_with(request, money, |new| new.capture_mode = CaptureMode::Automatic);
        self.answer(pay, yes());
        pay
    }

    /// An authorization that was approved in full.
    pub(super) fn approved(&mut self, request: &str, money: u64) -> Pay {
        let pay = self.authorize(request, money);
        assert_eq!(told(self.answer(pay, yes())), (Decision::Approved, money));
        pay
    }

    /// An authorization that was not answered.
    pub(super) fn unanswered(&mut self, request: &str, money: u64) -> Pay {
        let pay = self.authorize(request, money);
        self.after(TIMEOUT_MS);
        assert_eq!(told(self.time_out(pay)), (Decision::TimedOut, 0));
        pay
    }

    /// An authorization that was approved and captured, and the capture acknowledged.
    pub(super) fn captured(&mut self, request: &str, money: u64) -> Pay {
        let pay = self.approved(request, money);
        settled(self.capture(pay, "capture", money, true));
        recorded(self.lane(LaneKind::Advice, (pay, 1), LaneVerdict::Acknowledged));
        pay
    }

    pub(super) fn capture(&mut self, pay: Pay, request: &str, money: u64, is_final: bool) -> Reply {
        self.apply(Command::Capture(Box::new(self.capture_of(pay, request, money, is_final))))
    }

    pub(super) fn capture_of(&self, pay: Pay, request: &str, money: u64, is_final: bool) -> Capture {
        Capture {
            gateway: self.gateway.clone(),
            request_id: key(request),
            transaction: pay.0,
            fingerprint: print_of(&format!("capture {money} {is_final}")),
            amount: amount(money),
            currency: currency("EUR"),
            is_final,
        }
    }

    pub(super) fn increment(&mut self, pay: Pay, request: &str, money: u64) -> Reply {
        self.apply(Command::Open(Box::new(self.opening(request, money, "increment", Subject::Increment(pay.0)))))
    }

    pub(super) fn refund(&mut self, pay: Pay, request: &str, money: u64) -> Reply {
        self.apply(Command::Open(Box::new(self.opening(request, money, "refund", Subject::Refund(pay.0)))))
    }

    pub(super) fn void(&mut self, pay: Pay, request: &str) -> Reply {
        self.void_of(request, VoidTarget::Transaction(pay.0))
    }

    pub(super) fn void_key(&mut self, original: &str, request: &str) -> Reply {
        self.void_of(request, VoidTarget::Request(key(original)))
    }

    pub(super) fn void_of(&mut self, request: &str, target: VoidTarget) -> Reply {
        self.apply(Command::Void(Box::new(Void {
            gateway: self.gateway.clone(),
            request_id: key(request),
            target,
            fingerprint: print_of("void"),
        })))
    }

    pub(super) fn expire(&mut self, pay: Pay, release: bool) -> Reply {
        self.apply(Command::Expire(Expire { gateway: self.gateway.clone(), transaction: pay.0, release }))
    }

    // ## What the networks and the operators say

    pub(super) fn name(&self, at: impl At) -> AttemptRef {
        let (transaction, operation, number) = at.at();
        AttemptRef { gateway: self.gateway.clone(), id: AttemptId { transaction, operation, number } }
    }

    pub(super) fn answer(&mut self, at: impl At, answer: NetworkAnswer) -> Reply {
        let attempt = self.name(at);
        self.apply(Command::Answer(Box::new(AnswerEvidence { attempt, answer })))
    }

    pub(super) fn not_sent(&mut self, at: impl At, why: NotSent) -> Reply {
        let attempt = self.name(at);
        self.apply(Command::NotSent(NotSentEvidence { attempt, why }))
    }

    pub(super) fn time_out(&mut self, at: impl At) -> Reply {
        self.doubt(at, Doubt::NoAnswer)
    }

    pub(super) fn doubt(&mut self, at: impl At, doubt: Doubt) -> Reply {
        let attempt = self.name(at);
        self.apply(Command::TimedOut(TimedOut { attempt, doubt }))
    }

    pub(super) fn late_send(&mut self, at: impl At) -> Reply {
        let attempt = self.name(at);
        self.apply(Command::LateSend(attempt))
    }

    pub(super) fn fail_over(&mut self, at: impl At, because: FailoverCause, network: &str) -> Reply {
        let plan = self.plan_to(network);
        self.fail_over_with(at, because, plan)
    }

    pub(super) fn fail_over_with(&mut self, at: impl At, because: FailoverCause, plan: Plan) -> Reply {
        let attempt = self.name(at);
        self.apply(Command::Failover(Box::new(Failover { attempt, because, plan })))
    }

    /// The newest generation of a lane.
    pub(super) fn lane_ref(&self, kind: LaneKind, at: impl At) -> LaneRef {
        let (id, operation, number) = at.at();
        let transaction = self.transaction(Pay(id));
        let operation = &transaction.operations[usize::from(operation)];
        let generation = match kind {
            LaneKind::Reversal => {
                let attempt = &operation.attempts[usize::from(number) - 1];
                attempt.reversal.as_ref().map_or(0, |reversal| reversal.lane.generation)
            }
            LaneKind::Advice => 0,
        };
        LaneRef { attempt: self.name(at), kind, generation }
    }

    pub(super) fn lane(&mut self, kind: LaneKind, at: impl At, verdict: LaneVerdict) -> Reply {
        let lane = self.lane_ref(kind, at);
        let sent = self.now;
        self.apply(Command::LaneAnswer(LaneAnswer { lane, verdict, sent }))
    }

    /// An answer to the newest generation of a reversal, sent just now.
    pub(super) fn reversal(&mut self, at: impl At, verdict: LaneVerdict) -> Reply {
        self.lane(LaneKind::Reversal, at, verdict)
    }

    pub(super) fn park(&mut self, kind: LaneKind, at: impl At) -> Reply {
        let lane = self.lane_ref(kind, at);
        self.apply(Command::Park(lane))
    }

    /// One operator proposes how a parked lane ends, another confirms it (R25).
    pub(super) fn resolve(&mut self, at: impl At + Copy, resolution: Resolution) -> Reply {
        match self.propose(at, resolution, ANNA) {
            Reply::Resolution(Ok(proposal)) => self.confirm(at, proposal, BRUNO),
            refused => refused,
        }
    }

    pub(super) fn propose(&mut self, at: impl At, resolution: Resolution, author: &str) -> Reply {
        let attempt = self.name(at);
        let (author, evidence) = (author.to_owned(), "statement of 2 March".to_owned());
        self.apply(Command::ProposeResolution(Box::new(ProposeResolution { attempt, resolution, author, evidence })))
    }

    pub(super) fn confirm(&mut self, at: impl At, proposal: Position, author: &str) -> Reply {
        let word = ResolutionWord { attempt: self.name(at), proposal, author: author.to_owned() };
        self.apply(Command::ConfirmResolution(Box::new(word)))
    }

    pub(super) fn withdraw(&mut self, at: impl At, proposal: Position, author: &str) -> Reply {
        let word = ResolutionWord { attempt: self.name(at), proposal, author: author.to_owned() };
        self.apply(Command::WithdrawResolution(Box::new(word)))
    }

    // ## What stands in the table

    pub(super) fn transaction(&self, pay: Pay) -> Transaction {
        match self.table.rows.get(&Key::Transaction(self.gateway.clone(), pay.0)) {
            Some(Row::Transaction(transaction)) => (**transaction).clone(),
            other => panic!("no transaction: {other:?}"),
        }
    }

    pub(super) fn change_transaction(&mut self, pay: Pay, change: impl FnOnce(&mut Transaction)) {
        match self.table.rows.get_mut(&Key::Transaction(self.gateway.clone(), pay.0)) {
            Some(Row::Transaction(transaction)) => change(transaction),
            other => panic!("no transaction: {other:?}"),
        }
    }

    pub(super) fn attempt(&self, at: impl At) -> Attempt {
        let (id, operation, number) = at.at();
        self.transaction(Pay(id)).operations[usize::from(operation)].attempts[usize::from(number) - 1].clone()
    }

    pub(super) fn reversal_of(&self, at: impl At) -> Reversal {
        self.attempt(at).reversal.expect("a reversal")
    }

    pub(super) fn lane_state(&self, at: impl At) -> LaneState {
        self.reversal_of(at).lane.state
    }

    pub(super) fn advice_of(&self, at: impl At) -> Lane {
        let (id, operation, _) = at.at();
        self.transaction(Pay(id)).operations[usize::from(operation)].advice.clone().expect("an advice").lane
    }

    pub(super) fn totals(&self, pay: Pay) -> Totals {
        self.transaction(pay).totals()
    }

    /// Authorized, captured, refunded, refunds in doubt, held.
    pub(super) fn sums(&self, pay: Pay) -> [u64; 5] {
        let totals = self.totals(pay);
        [totals.authorized, totals.captured, totals.refunded, totals.refunds_in_doubt, totals.held]
            .map(Amount::minor_units)
    }

    pub(super) fn day_use(&self) -> u64 {
        match self.table.rows.get(&Key::DayUse(self.gateway.clone(), currency("EUR"), self.now.day())) {
            Some(Row::Sum(sum)) => sum.minor_units(),
            _ => 0,
        }
    }

    /// Count, parked, money in EUR.
    pub(super) fn doubt_row(&self, network: &str) -> (u32, u32, u64) {
        let network = NetworkId::parse(network).expect("a network");
        let row = match self.table.rows.get(&Key::Doubt(network)) {
            Some(Row::Doubt(row)) => row.clone(),
            _ => DoubtRow::default(),
        };
        (row.count, row.parked, row.amounts.get(&currency("EUR")).copied().unwrap_or(0))
    }

    /// Trace numbers taken on the links, with what takes them.
    pub(super) fn owed(&self) -> Vec<(u32, OwedKind)> {
        let owed = |(key, row): (&Key, &Row)| match (key, row) {
            (Key::Owed(_, stan), Row::Owed(row)) => Some((stan.number(), row.kind)),
            _ => None,
        };
        self.table.rows.iter().filter_map(owed).collect()
    }

    pub(super) fn events(&self) -> Vec<EventRow> {
        let event = |row: &Row| match row {
            Row::Event(event) => Some(event.clone()),
            _ => None,
        };
        self.table.rows.values().filter_map(event).collect()
    }

    /// Methods and decisions of the events, with the reversal's state.
    pub(super) fn history(&self) -> Vec<(Method, Option<Decision>, Option<LaneState>)> {
        self.events().into_iter().map(|event| (event.method, event.decision, event.reversal)).collect()
    }
}
