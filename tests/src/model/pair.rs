//! Book and reference side by side: every step goes to both, and they must agree about the reply, the sums, the reversals and
//! what is owed, in doubt and used of the day.

use std::{collections::BTreeMap, ops::Bound};

use switch_domain::{
    authorization::Credentials,
    book::{Book, Reply},
    card::{CardReference, CardToken, Sealed, Truncated},
    entry::{
        AnswerEvidence, Capture, ClockAcceptance, ClockReading, Command, EntryMark, Expire, Failover, FailoverCause,
        Forget, Keep, LaneAnswer, LaneKind, LaneRef, NewTransaction, NotSentEvidence, Open, Plan, ProposeResolution,
        ResolutionWord, Subject, TimedOut, Void, VoidTarget,
    },
    id::{
        AttemptId, AttemptRef, GatewayId, LeaderId, LinkId, MerchantId, NetworkId, Owner, Position, RequestId,
        TerminalId, TransactionId,
    },
    money::{Amount, Currency},
    outcome::{AnswerText, Decision, Doubt, LaneVerdict, NetworkAnswer, NotSent, ResponseCode},
    refusal::Refusal,
    table::{Key, MemoryTable, OwedKind, Row, Table, TableFault},
    time::{DAY_MS, LogTime},
    transaction::{
        CaptureMode, EntryMode, Fingerprint, LaneState, Merchant, Resolution, ReversalPolicy, Terms, Transaction,
    },
};

use super::{
    act::{Act, At, Elsewhere, Expected, Print, Purpose, Route, Says, Verdict, Word},
    payment::{self, DebtState, Outcome, Payment},
    reference::Reference,
    step::{Answer, Kind, Money, Step, Twist},
};

const NETWORKS: u8 = 4;
const START: u64 = 1_772_352_000_000;
/// Limits of the day of the two gateways.
const DAY_LIMITS: [u64; 2] = [2_500, 0];
/// Steps after which the window of keys moves on by one.
const STEPS_PER_KEY: u32 = 8;

/// Checks of a whole table and of one transaction before and after a command, as the domain's own tests have them.
#[derive(Clone, Copy)]
#[allow(missing_debug_implementations)] // two functions
pub struct Checks {
    /// Of the table.
    pub table: fn(&MemoryTable),
    /// Of what may not change.
    pub transition: fn(&Transaction, &Transaction),
}

/// Book and reference.
#[allow(missing_debug_implementations)] // a table prints by the thousand lines
pub struct Pair {
    table: MemoryTable,
    reference: Reference,
    checks: Checks,
    now: u64,
    steps: u32,
    /// How often each kind of reply came, so that a generator that makes nothing interesting is found out.
    pub replies: BTreeMap<&'static str, u64>,
}

impl Pair {
    /// An empty pair. Trace numbers start close to their end, so that every history sees them wrap.
    #[must_use]
    pub fn new(checks: Checks) -> Self {
        let mut table = MemoryTable::default();
        for network in 0..NETWORKS {
            table.put(Key::NextStan(link(network)), Row::Counter(999_980));
        }
        Self { table, reference: Reference::default(), checks, now: START, steps: 0, replies: BTreeMap::new() }
    }

    /// Plays one step.
    ///
    /// # Panics
    /// Where book and reference differ, or an invariant of the table is broken.
    pub fn play(&mut self, step: Step) {
        self.steps += 1;
        self.now += 1;
        if let Step::Wait { milliseconds } = step {
            self.now += milliseconds;
            return;
        }
        let Some(act) = self.act_of(step) else { return };
        let before_owed = touched(&act).and_then(|(gateway, id)| self.transaction(gateway, id).cloned());
        let proposal = Position { index: u64::from(self.steps), place: u32::MAX };
        if let Act::Resolve(at, stands) = act {
            self.propose(at, stands, proposal);
        }
        let command = command_of(&act, self.now, proposal);
        let mark = EntryMark {
            position: Position { index: u64::from(self.steps), place: self.steps % 3 },
            leader: LeaderId { term: 1, node: 1 },
            now: LogTime(self.now),
        };
        let mut overlay = Overlay { base: &self.table, writes: BTreeMap::new() };
        let mut effects = Vec::new();
        let reply = Book::apply(&mut overlay, mark, command, &mut effects).expect("a sound table");
        let writes = overlay.writes;
        let expected = self.reference.apply(self.now, &act);
        let got = seen(&reply);
        assert_eq!(got, expected, "{act:?}");
        let silent = match &expected {
            Expected::No(_) | Expected::Wait(..) | Expected::Ignored => true,
            Expected::Told { replayed, .. } => *replayed,
            Expected::Send(_) | Expected::Noted => false,
        };
        assert!(!silent || (writes.is_empty() && effects.is_empty()), "{act:?} stores nothing: {writes:?} {effects:?}");
        for (key, row) in writes {
            match row {
                Some(row) => self.table.put(key, row),
                None => self.table.delete(key),
            }
        }
        let name = match (&act, &expected) {
            (Act::Forget { .. }, Expected::Noted) => "Forgotten",
            _ => name_of(&expected),
        };
        *self.replies.entry(name).or_default() += 1;
        if let Some((gateway, id)) = touched(&act)
            && let Some(after) = self.transaction(gateway, id)
        {
            if let Some(before) = &before_owed {
                (self.checks.transition)(before, after);
            }
            self.compare(gateway, id, &act);
        }
        self.compare_rows(&act);
        (self.checks.table)(&self.table);
    }

    /// Compares every payment: what is told of it, its sums and its reversals.
    ///
    /// # Panics
    /// Where book and reference differ.
    pub fn compare_all(&self) {
        let act = Act::LateSend(At { gateway: 0, payment: 0, ask: 0, number: 0 });
        for payment in &self.reference.payments {
            self.compare(payment.gateway, payment.id, &act);
        }
        let stored = self.table.rows.values().filter(|row| matches!(row, Row::Transaction(_))).count();
        assert_eq!(stored, self.reference.payments.len(), "the same payments");
    }

    fn transaction(&self, gateway: u8, id: u128) -> Option<&Transaction> {
        let key = Key::Transaction(gateway_id(gateway), TransactionId::from_number(id));
        match self.table.rows.get(&key) {
            Some(Row::Transaction(transaction)) => Some(transaction),
            Some(_) | None => None,
        }
    }

    fn compare(&self, gateway: u8, id: u128, act: &Act) {
        let transaction = self.transaction(gateway, id).expect("a transaction in the book");
        let own = |payment: &&Payment| payment.gateway == gateway && payment.id == id;
        let payment = self.reference.payments.iter().find(own).expect("a payment in the reference");
        let (totals, sums) = (transaction.totals(), payment.sums());
        let book = [totals.authorized, totals.captured, totals.refunded, totals.refunds_in_doubt, totals.held];
        let model = [sums.authorized, sums.captured, sums.refunded, sums.refunding, sums.held];
        assert_eq!(book.map(Amount::minor_units), model, "sums after {act:?}");
        assert_eq!(transaction.operations.len(), payment.asks.len(), "operations after {act:?}");
        for (operation, ask) in transaction.operations.iter().zip(&payment.asks) {
            let told = operation.told.as_ref().map(|told| (word_of(told.decision), told.approved.minor_units()));
            assert_eq!(told, ask.told, "told after {act:?}");
            assert_eq!(operation.reversal_state().map(state_of), ask.reversal(), "reversal after {act:?}");
            let advice = operation.advice.as_ref().map(|advice| state_of(advice.lane.state));
            assert_eq!(advice, ask.advice.as_ref().map(|(_, debt)| debt.state), "advice after {act:?}");
            for (attempt, one) in operation.attempts.iter().zip(&ask.tries) {
                let debt = attempt.reversal.as_ref().map(|reversal| {
                    (state_of(reversal.lane.state), reversal.lane.generation, reversal.lane.amount.minor_units())
                });
                let expected = one.debt.as_ref().map(|debt| (debt.state, debt.generation, debt.amount));
                assert_eq!(debt, expected, "reversal after {act:?}");
                // A release asks for what is held: no approval says how much that is.
                let is_of_one = one.debt.as_ref().filter(|debt| !debt.is_remainder);
                let approved =
                    attempt.reversal.as_ref().and_then(|reversal| reversal.approved).map(Amount::minor_units);
                assert_eq!(
                    approved.filter(|_| is_of_one.is_some()),
                    is_of_one.and_then(|debt| debt.known),
                    "which one {act:?}"
                );
            }
        }
    }

    fn compare_rows(&self, act: &Act) {
        let mut owed = Vec::new();
        for (key, row) in &self.table.rows {
            match (key, row) {
                (Key::Owed(..), Row::Owed(row)) => {
                    let kind = match row.kind {
                        OwedKind::Attempt => "attempt",
                        OwedKind::Reversal => "reversal",
                        OwedKind::Advice => "advice",
                        OwedKind::Held => continue,
                    };
                    owed.push((at_of(&row.attempt), kind, row.parked));
                }
                (Key::DayUse(gateway, _, day), Row::Sum(sum)) => {
                    let used = self.reference.day_use(gateway_number(gateway), u64::from(*day));
                    assert_eq!(sum.minor_units(), used, "use of the day after {act:?}");
                }
                _ => {}
            }
        }
        owed.sort_unstable();
        assert_eq!(owed, self.reference.owed(), "owed after {act:?}");
        for network in 0..NETWORKS {
            let doubt = match self.table.rows.get(&Key::Doubt(network_id(network))) {
                Some(Row::Doubt(row)) => {
                    (row.count as usize, row.parked as usize, row.amounts.values().copied().sum::<u64>())
                }
                Some(_) | None => (0, 0, 0),
            };
            assert_eq!(doubt, self.reference.doubt(network), "doubt of {network} after {act:?}");
        }
    }

    // ## Steps become acts

    fn act_of(&self, step: Step) -> Option<Act> {
        Some(match step {
            Step::New { key, gateway, kind, money, network, twist } => {
                let gateway = gateway % 2;
                let key = self.window() + u32::from(key);
                let check = kind == Kind::Check;
                let amount = if check { 0 } else { amount_of(money, 1_000) };
                let id = (u128::from(self.now) << 80) | u128::from(self.steps);
                let (sale, partial) = (kind == Kind::Sale, kind == Kind::Partial);
                Act::Open {
                    gateway,
                    key,
                    print: print_of(twist, &[1, amount, u64::from(sale), u64::from(check)]),
                    amount,
                    foreign: false,
                    age_ms: if twist == Twist::Odd { 400 * DAY_MS + 1 } else { u64::from(key) },
                    route: route_to(network),
                    purpose: Purpose::New { id, check, sale, partial },
                    day_limit: DAY_LIMITS[usize::from(gateway)],
                }
            }
            Step::Raise { back, key, money, twist } => {
                let payment = self.payment(back)?;
                let amount = amount_of(money, 500);
                self.follow_up(payment, key, amount, twist, Purpose::Raise(payment.id), 2)
            }
            Step::Return { back, key, money, twist } => {
                let payment = self.payment(back)?;
                let sums = payment.sums();
                let left = sums.captured.saturating_sub(sums.refunded + sums.refunding);
                self.follow_up(payment, key, amount_of(money, left), twist, Purpose::Return(payment.id), 3)
            }
            Step::Capture { back, key, money, last, twist } => {
                let payment = self.payment(back)?;
                let sums = payment.sums();
                let tolerance = payment.asks[0].tries.last().map_or(0, |one| one.terms.tolerance);
                let left = (sums.authorized + sums.authorized * tolerance / 10_000).saturating_sub(sums.captured);
                let amount = amount_of(money, left);
                Act::Capture {
                    gateway: tenant(payment, twist),
                    key: u32::from(key),
                    print: print_of(twist, &[4, amount, u64::from(last)]),
                    payment: payment.id,
                    amount,
                    foreign: twist == Twist::Odd,
                    last,
                }
            }
            Step::Void { back, key, by_key, twist } => {
                let payment = self.payment(back)?;
                let target = if by_key { Err(payment.asks[0].key) } else { Ok(payment.id) };
                // A stranger's void of a key is a void of a key of his own.
                let gateway = if by_key { payment.gateway } else { tenant(payment, twist) };
                Act::Void { gateway, key: u32::from(key), print: print_of(twist, &[5]), target }
            }
            Step::VoidUnseen { key, gateway, void_key, twist } => Act::Void {
                gateway: gateway % 2,
                key: u32::from(void_key),
                print: print_of(twist, &[5]),
                target: Err(self.window() + u32::from(key)),
            },
            Step::Failover { back, answer, network, stranger } => {
                let (at, one) = self.attempt(back, false)?;
                let mut route = route_to(if at.ask == 0 { network } else { one.network });
                route.owner += u64::from(stranger);
                let because = match answer {
                    None => Elsewhere::Unsent,
                    Some(answer) => Elsewhere::Answered(self.says(at, answer, 0)),
                };
                Act::Failover { at, because, route }
            }
            Step::Answer { back, late, answer, code } => {
                let (at, _) = self.attempt(back, late)?;
                Act::Answer(at, self.says(at, answer, code))
            }
            Step::Unsent { back, late } => Act::Unsent(self.attempt(back, late)?.0),
            Step::Silent { back, late, garbled } => Act::Silent(self.attempt(back, late)?.0, garbled),
            Step::LateSend { back, late } => Act::LateSend(self.attempt(back, late)?.0),
            Step::Debt { back, over, verdict, stale, early } => {
                let (at, advice, generation) = self.debt(back, over)?;
                let generation = if stale { generation.wrapping_sub(1) } else { generation };
                let sent = if early { self.now.saturating_sub(25_000) } else { self.now };
                Act::DebtAnswer { at, advice, generation, verdict, sent }
            }
            Step::Park { back, stale } => {
                let (at, advice, generation) = self.debt(back, false)?;
                Act::Park { at, advice, generation: if stale { generation.wrapping_sub(1) } else { generation } }
            }
            Step::Resolve { back, stands } => Act::Resolve(self.debt(back, false)?.0, stands),
            Step::Expire { back, release } => {
                let payment = self.payment(back)?;
                Act::Expire(payment.gateway, payment.id, release)
            }
            Step::Forget { back, days, window_days } => {
                let (gateway, payment) = self.payment(back).map(|payment| (payment.gateway, payment.id))?;
                let last_event = self.transaction(gateway, payment)?.changed.0;
                Act::Forget { gateway, payment, last_event, days, window_days }
            }
            Step::ReadClock { hours } => Act::ReadClock(self.wall(hours)),
            Step::AcceptClock { hours } => Act::AcceptClock(self.wall(hours)),
            Step::Wait { .. } => return None,
        })
    }

    /// The first of the two persons that it takes to close something (R25): it changes nothing that the reference knows.
    fn propose(&mut self, at: At, stands: bool, position: Position) {
        let mark = EntryMark { position, leader: LeaderId { term: 1, node: 1 }, now: LogTime(self.now) };
        let command = Command::ProposeResolution(Box::new(ProposeResolution {
            attempt: attempt(at),
            resolution: if stands { Resolution::Stands } else { Resolution::Reversed },
            author: "spiffe://example/operator/anna".into(),
            evidence: "statement".into(),
        }));
        let mut effects = Vec::new();
        Book::apply(&mut self.table, mark, command, &mut effects).expect("a sound table");
        assert!(effects.is_empty(), "a proposal wakes nobody: {effects:?}");
    }

    fn wall(&self, hours_ahead: i8) -> u64 {
        self.now.saturating_add_signed(i64::from(hours_ahead) * 3_600_000)
    }

    fn window(&self) -> u32 {
        100 + self.steps / STEPS_PER_KEY
    }

    fn payment(&self, back: u8) -> Option<&Payment> {
        let payments = &self.reference.payments;
        payments.len().checked_sub(1 + usize::from(back)).map(|place| &payments[place])
    }

    fn follow_up(&self, payment: &Payment, key: u8, amount: u64, twist: Twist, purpose: Purpose, kind: u64) -> Act {
        let network = payment.asks[0].tries.last().map_or(0, |one| one.network);
        let gateway = tenant(payment, twist);
        Act::Open {
            gateway,
            key: u32::from(key),
            print: print_of(twist, &[kind, amount]),
            amount,
            foreign: twist == Twist::Odd,
            age_ms: 0,
            route: route_to(network),
            purpose,
            day_limit: DAY_LIMITS[usize::from(gateway)],
        }
    }

    /// The newest attempts that wait, or any.
    fn attempt(&self, back: u8, any: bool) -> Option<(At, &payment::Try)> {
        let mut left = usize::from(back);
        for payment in self.reference.payments.iter().rev().take(12) {
            for (ask, asked) in payment.asks.iter().enumerate().rev() {
                for (index, one) in asked.tries.iter().enumerate().rev() {
                    if any || one.outcome == Outcome::Waiting {
                        if left == 0 {
                            let at = At { gateway: payment.gateway, payment: payment.id, ask, number: index + 1 };
                            return Some((at, one));
                        }
                        left -= 1;
                    }
                }
            }
        }
        None
    }

    /// The newest reversals and advices that are owed, or any.
    fn debt(&self, back: u8, any: bool) -> Option<(At, bool, u16)> {
        let mut left = usize::from(back);
        for payment in self.reference.payments.iter().rev().take(12) {
            for (ask, asked) in payment.asks.iter().enumerate().rev() {
                let at = |number| At { gateway: payment.gateway, payment: payment.id, ask, number };
                let reversals = asked.tries.iter().enumerate().filter_map(|(n, one)| Some((n + 1, one.debt.as_ref()?)));
                let reversals = reversals.map(|(number, debt)| (at(number), false, debt));
                let advice = asked.advice.as_ref().map(|(_, debt)| (at(1), true, debt));
                for (at, is_advice, debt) in reversals.chain(advice) {
                    if any || !debt.state.is_over() {
                        if left == 0 {
                            return Some((at, is_advice, debt.generation));
                        }
                        left -= 1;
                    }
                }
            }
        }
        None
    }

    fn says(&self, at: At, answer: Answer, code: u8) -> Says {
        let own = |payment: &&Payment| payment.gateway == at.gateway && payment.id == at.payment;
        let asked = self.reference.payments.iter().find(own).map_or(0, |payment| payment.asks[at.ask].amount);
        let yes = |amount, foreign| Says::Yes { amount, foreign, code };
        match answer {
            Answer::Yes if code == 1 => yes(Some(asked), false),
            Answer::Yes => yes(None, false),
            Answer::Part => yes(Some(asked / 3), false),
            Answer::Nothing => yes(Some(0), false),
            Answer::Vague => Says::Vague { code },
            Answer::More => yes(Some(asked + 7), false),
            Answer::Foreign => yes(Some(asked / 2), true),
            Answer::No => Says::No,
            Answer::Nonsense => Says::Nonsense,
        }
    }
}

/// Writes beside a table that is only read.
struct Overlay<'a> {
    base: &'a MemoryTable,
    writes: BTreeMap<Key, Option<Row>>,
}

impl Table for Overlay<'_> {
    fn get(&self, key: &Key) -> Result<Option<Row>, TableFault> {
        match self.writes.get(key) {
            Some(row) => Ok(row.clone()),
            None => self.base.get(key),
        }
    }

    fn put(&mut self, key: Key, row: Row) {
        self.writes.insert(key, Some(row));
    }

    fn delete(&mut self, key: Key) {
        self.writes.insert(key, None);
    }

    fn range(&self, _: Bound<&Key>, _: Bound<&Key>, _: usize) -> Result<Vec<(Key, Row)>, TableFault> {
        Err(TableFault("the book reads no ranges".into()))
    }
}

fn amount_of(money: Money, left: u64) -> u64 {
    match money {
        Money::Zero => 0,
        Money::Just(amount) => u64::from(amount),
        Money::Left => left,
        Money::Beyond => left + 1,
    }
}

fn tenant(payment: &Payment, twist: Twist) -> u8 {
    if twist == Twist::Stranger { 1 - payment.gateway } else { payment.gateway }
}

fn print_of(twist: Twist, content: &[u64]) -> Print {
    let digest = content.iter().fold(17_u64, |sum, part| sum.wrapping_mul(1_000_003).wrapping_add(*part));
    match twist {
        Twist::None | Twist::Odd | Twist::Stranger => (1, digest),
        Twist::OtherPrint => (1, digest ^ 1),
        Twist::OtherVersion => (2, digest),
    }
}

fn route_to(network: u8) -> Route {
    let network = network % NETWORKS;
    let usual = payment::Terms {
        timeout_ms: 10_000,
        in_flight_ms: 30_000,
        never: false,
        proves: true,
        valid_ms: 7 * DAY_MS,
        tolerance: 0,
        doubt_count: 100_000,
        doubt_money: 0,
    };
    let terms = match network {
        0 => usual,
        1 => payment::Terms { proves: false, tolerance: 1_000, ..usual },
        2 => payment::Terms { never: true, ..usual },
        _ => payment::Terms { proves: false, doubt_count: 3, doubt_money: 1_400, ..usual },
    };
    Route { network, terms, owner: 1 }
}

fn touched(act: &Act) -> Option<(u8, u128)> {
    match act {
        Act::Open { gateway, purpose, .. } => match purpose {
            Purpose::New { id, .. } | Purpose::Raise(id) | Purpose::Return(id) => Some((*gateway, *id)),
        },
        Act::Failover { at, .. } | Act::DebtAnswer { at, .. } | Act::Park { at, .. } => Some((at.gateway, at.payment)),
        Act::Answer(at, _) | Act::Unsent(at) | Act::Silent(at, _) | Act::LateSend(at) | Act::Resolve(at, _) => {
            Some((at.gateway, at.payment))
        }
        Act::Capture { gateway, payment, .. } => Some((*gateway, *payment)),
        Act::Void { gateway, target, .. } => target.ok().map(|id| (*gateway, id)),
        Act::Expire(gateway, payment, _) | Act::Forget { gateway, payment, .. } => Some((*gateway, *payment)),
        Act::ReadClock(_) | Act::AcceptClock(_) => None,
    }
}

// ## Acts become commands

fn command_of(act: &Act, now: u64, proposal: Position) -> Command {
    match act {
        Act::Open { gateway, key, print, amount, foreign, age_ms, route, purpose, day_limit } => {
            let subject = match *purpose {
                Purpose::New { id, check, sale, partial } => {
                    Subject::New(Box::new(new_transaction(id, check, sale, partial)))
                }
                Purpose::Raise(id) => Subject::Increment(TransactionId::from_number(id)),
                Purpose::Return(id) => Subject::Refund(TransactionId::from_number(id)),
            };
            Command::Open(Box::new(Open {
                gateway: gateway_id(*gateway),
                request_id: request_id(*key),
                fingerprint: fingerprint(*print),
                amount: money(*amount),
                currency: currency(*foreign),
                directory_version: 1,
                first_sent: (*age_ms > 0).then(|| LogTime(now - age_ms)),
                plan: plan(*route),
                subject,
                day_limit: money(*day_limit),
                retention_days: 0,
            }))
        }
        Act::Failover { at, because, route } => {
            let because = match because {
                Elsewhere::Unsent => FailoverCause::NotSent(NotSent::CircuitOpen),
                Elsewhere::Answered(says) => FailoverCause::PermittedNo(Box::new(answer(*says))),
            };
            Command::Failover(Box::new(Failover { attempt: attempt(*at), because, plan: plan(*route) }))
        }
        Act::Answer(at, says) => {
            Command::Answer(Box::new(AnswerEvidence { attempt: attempt(*at), answer: answer(*says) }))
        }
        Act::Unsent(at) => Command::NotSent(NotSentEvidence { attempt: attempt(*at), why: NotSent::OutOfService }),
        Act::Silent(at, garbled) => {
            let doubt = if *garbled { Doubt::Garbled } else { Doubt::NoAnswer };
            Command::TimedOut(TimedOut { attempt: attempt(*at), doubt })
        }
        Act::LateSend(at) => Command::LateSend(attempt(*at)),
        Act::Capture { gateway, key, print, payment, amount, foreign, last } => Command::Capture(Box::new(Capture {
            gateway: gateway_id(*gateway),
            request_id: request_id(*key),
            transaction: TransactionId::from_number(*payment),
            fingerprint: fingerprint(*print),
            amount: money(*amount),
            currency: currency(*foreign),
            is_final: *last,
        })),
        Act::Void { gateway, key, print, target } => Command::Void(Box::new(Void {
            gateway: gateway_id(*gateway),
            request_id: request_id(*key),
            target: match target {
                Ok(id) => VoidTarget::Transaction(TransactionId::from_number(*id)),
                Err(key) => VoidTarget::Request(request_id(*key)),
            },
            fingerprint: fingerprint(*print),
        })),
        Act::DebtAnswer { at, advice, generation, verdict, sent } => {
            let verdict = match verdict {
                Verdict::Done => LaneVerdict::Acknowledged,
                Verdict::Duplicate => LaneVerdict::Duplicate,
                Verdict::NotFound => LaneVerdict::NotFound,
                Verdict::Refused => LaneVerdict::Refused,
                Verdict::Later => LaneVerdict::TryAgain,
            };
            let lane = lane(*at, *advice, *generation);
            Command::LaneAnswer(LaneAnswer { lane, verdict, sent: LogTime(*sent) })
        }
        Act::Park { at, advice, generation } => Command::Park(lane(*at, *advice, *generation)),
        Act::Resolve(at, _) => Command::ConfirmResolution(Box::new(ResolutionWord {
            attempt: attempt(*at),
            proposal,
            author: "spiffe://example/operator/bruno".into(),
        })),
        Act::Expire(gateway, payment, release) => Command::Expire(Expire {
            gateway: gateway_id(*gateway),
            transaction: TransactionId::from_number(*payment),
            release: *release,
        }),
        Act::Forget { gateway, payment, days, window_days, .. } => Command::Forget(Forget {
            gateway: gateway_id(*gateway),
            transaction: TransactionId::from_number(*payment),
            keep: Keep { retention_days: *days, refund_days: *window_days },
        }),
        Act::ReadClock(wall) => Command::ReadClock(ClockReading { node: 1, wall: LogTime(*wall) }),
        Act::AcceptClock(wall) => Command::AcceptClock(Box::new(ClockAcceptance {
            wall: LogTime(*wall),
            author: "spiffe://example/operator/anna".into(),
            reason: "looked".into(),
        })),
    }
}

fn new_transaction(id: u128, check: bool, sale: bool, partial: bool) -> NewTransaction {
    NewTransaction {
        id: TransactionId::from_number(id),
        verification: check,
        capture_mode: if sale { CaptureMode::Automatic } else { CaptureMode::Manual },
        entry_mode: EntryMode::Chip,
        merchant: Merchant {
            id: MerchantId::parse("M1").expect("an id"),
            terminal: TerminalId::parse("T1").expect("an id"),
            category: AnswerText::default(),
            name: AnswerText::default(),
            city: AnswerText::default(),
            country: AnswerText::default(),
            acquirer: AnswerText::default(),
        },
        card: CardReference {
            bin: Truncated::default(),
            last4: Truncated::default(),
            token: CardToken([1; 16]),
            sealed: Some(Sealed { key_version: 1, bytes: Box::new([]) }),
        },
        credentials: Credentials::default(),
        merchant_reference: AnswerText::default(),
        partial_supported: partial,
    }
}

fn plan(route: Route) -> Plan {
    let terms = route.terms;
    let small = |value: u64| u32::try_from(value).expect("a small number");
    Plan {
        route: None,
        network: network_id(route.network),
        link: link(route.network),
        terms: Terms {
            attempt_timeout_ms: small(terms.timeout_ms),
            in_flight_max_ms: small(terms.in_flight_ms),
            repeat_budget_ms: 0,
            reversal_policy: if terms.never { ReversalPolicy::Never } else { ReversalPolicy::Always },
            acknowledgement_proves_match: terms.proves,
            reversal_has_own_stan: route.network == 1,
            valid_ms: terms.valid_ms,
            capture_tolerance_basis_points: small(terms.tolerance),
            doubt_count_max: u32::try_from(terms.doubt_count).expect("a small number"),
            doubt_amount_max: money(terms.doubt_money),
        },
        owner: Owner { node: 1, boot: 1, term: route.owner },
    }
}

fn answer(says: Says) -> NetworkAnswer {
    let (code, approval, approved, foreign) = match says {
        Says::Yes { amount, foreign, code } => ("00", format!("C{code}"), amount, foreign),
        Says::Vague { code } => ("10", format!("C{code}"), None, false),
        Says::No => ("05", String::new(), None, false),
        Says::Nonsense => ("ZZ", String::new(), None, false),
    };
    NetworkAnswer {
        response_code: ResponseCode::parse(code).expect("a code"),
        approval_code: AnswerText::of(&approval, 6),
        approved: approved.map(money),
        currency: foreign.then(|| currency(true)),
        network_transaction_id: AnswerText::default(),
        address_result: AnswerText::default(),
        verification_result: AnswerText::default(),
        advice_code: AnswerText::default(),
        decided_by_network: false,
    }
}

fn lane(at: At, advice: bool, generation: u16) -> LaneRef {
    let kind = if advice { LaneKind::Advice } else { LaneKind::Reversal };
    LaneRef { attempt: attempt(at), kind, generation }
}

fn attempt(at: At) -> AttemptRef {
    let short = |number: usize| u16::try_from(number).expect("a small number");
    let (operation, number) = (short(at.ask), short(at.number));
    let id = AttemptId { transaction: TransactionId::from_number(at.payment), operation, number };
    AttemptRef { gateway: gateway_id(at.gateway), id }
}

fn at_of(reference: &AttemptRef) -> At {
    At {
        gateway: gateway_number(&reference.gateway),
        payment: reference.id.transaction.number(),
        ask: usize::from(reference.id.operation),
        number: usize::from(reference.id.number),
    }
}

fn money(amount: u64) -> Amount {
    Amount::parse(i64::try_from(amount).expect("a small amount")).expect("a small amount")
}

fn currency(foreign: bool) -> Currency {
    Currency::parse(if foreign { "USD" } else { "EUR" }).expect("a currency")
}

fn fingerprint((key_version, number): Print) -> Fingerprint {
    let mut digest = [0; 16];
    digest[..8].copy_from_slice(&number.to_be_bytes());
    Fingerprint { key_version, digest }
}

fn gateway_id(number: u8) -> GatewayId {
    GatewayId::parse(if number == 0 { "g0" } else { "g1" }).expect("an id")
}

fn gateway_number(id: &GatewayId) -> u8 {
    u8::from(id.as_str() != "g0")
}

fn network_id(number: u8) -> NetworkId {
    NetworkId::parse(&format!("n{number}")).expect("an id")
}

fn link(network: u8) -> LinkId {
    LinkId::parse(&format!("l{network}")).expect("an id")
}

fn request_id(key: u32) -> RequestId {
    RequestId::parse(&format!("k{key}")).expect("a key")
}

// ## Replies become what is expected

fn seen(reply: &Reply) -> Expected {
    match reply {
        Reply::Dispatch(dispatch) => Expected::Send(at_of(dispatch.attempt())),
        Reply::Settled(settled) => Expected::Told {
            word: word_of(settled.told().decision),
            approved: settled.told().approved.minor_units(),
            replayed: settled.replayed(),
            reversal: settled.reversal().map(state_of),
            advice: settled.advice().map(state_of),
        },
        Reply::InFlight { transaction, operation } => Expected::Wait(transaction.number(), usize::from(*operation)),
        Reply::Refused(refusal) => Expected::No(name_of_refusal(refusal)),
        Reply::Recorded | Reply::Resolution(Ok(_)) => Expected::Noted,
        Reply::Ignored | Reply::Resolution(Err(_)) => Expected::Ignored,
    }
}

fn word_of(decision: Decision) -> Word {
    match decision {
        Decision::Approved => Word::Approved,
        Decision::PartiallyApproved => Word::Partial,
        Decision::Declined => Word::Declined,
        Decision::TimedOut => Word::TimedOut,
        Decision::Voided => Word::Voided,
        Decision::Unresolved => Word::Unresolved,
    }
}

fn state_of(state: LaneState) -> DebtState {
    match state {
        LaneState::Pending => DebtState::Due,
        LaneState::Acknowledged => DebtState::Done,
        LaneState::NotFound => DebtState::NotFound,
        LaneState::Parked { refused } => DebtState::Parked(refused),
        LaneState::Resolved(Resolution::Reversed) => DebtState::Gone,
        LaneState::Resolved(Resolution::Stands) => DebtState::Stands,
    }
}

fn name_of_refusal(refusal: &Refusal) -> &'static str {
    use switch_domain::outcome::DeclineReason as Reason;
    match refusal {
        Refusal::FingerprintVersion(_) => "FingerprintVersion",
        Refusal::KeyReused => "KeyReused",
        Refusal::KeyTooOld => "KeyTooOld",
        Refusal::NotFound => "NotFound",
        Refusal::InDoubt => "InDoubt",
        Refusal::TooManyOperations(_) => "TooManyOperations",
        Refusal::AlreadyVoided => "AlreadyVoided",
        Refusal::UseRefund => "UseRefund",
        Refusal::NotAuthorized => "NotAuthorized",
        Refusal::NotReversible => "NotReversible",
        Refusal::Expired => "Expired",
        Refusal::FinallyCaptured => "FinallyCaptured",
        Refusal::CurrencyMismatch => "CurrencyMismatch",
        Refusal::AmountZero => "AmountZero",
        Refusal::AmountExceeds { .. } => "AmountExceeds",
        Refusal::SumTooGreat => "SumTooGreat",
        Refusal::CardGone => "CardGone",
        Refusal::Declined(Reason::SwitchLimit, _) => "Declined(SwitchLimit)",
        Refusal::Declined(Reason::NetworkInDoubt, _) => "Declined(NetworkInDoubt)",
        Refusal::Declined(..) => "Declined",
        Refusal::TraceNumbersExhausted => "TraceNumbersExhausted",
    }
}

fn name_of(expected: &Expected) -> &'static str {
    match expected {
        Expected::Send(_) => "Send",
        Expected::Told { replayed: true, .. } => "Replayed",
        Expected::Told { word, .. } => match word {
            Word::Approved => "Approved",
            Word::Partial => "Partial",
            Word::Declined => "Declined",
            Word::TimedOut => "TimedOut",
            Word::Voided => "Voided",
            Word::Unresolved => "Unresolved",
        },
        Expected::Wait(..) => "Wait",
        Expected::No(name) => name,
        Expected::Noted => "Noted",
        Expected::Ignored => "Ignored",
    }
}
