//! The book: transactions, one pure function. It takes a table and a committed command and gives a reply and effects; the
//! same commands give the same table on every node. Checks stand in the order of [`Refusal`]'s variants.
//!
//! `Dispatch` and `Settled` are made here and nowhere else: nobody can send what is not committed, or tell what is not
//! decided.

mod answer;
mod clock;
mod follow_up;
mod lane;
mod open;
mod retention;
#[cfg(test)]
mod tests;

use crate::{
    effect::Effect,
    entry::{Command, EntryMark},
    id::{AttemptRef, GatewayId, LinkId, NetworkId, Owner, Position, RequestId, Rrn, Stan, TransactionId},
    limits,
    money::{Amount, Currency},
    outcome::{AnswerText, Decision, NetworkAnswer, Told},
    refusal::{Refusal, ResolutionRefusal},
    table::{DoubtRow, EventRow, Key, OwedKind, OwedRow, RequestRow, Row, Table, TableFault},
    time::LogTime,
    transaction::{Attempt, Fingerprint, LaneState, Method, Operation, Transaction, WireIdentity},
};

/// The permission to send one request once, made by applying its `Open` or `Failover`. A dispatch of another owner is never
/// sent (R1).
#[derive(Debug)]
pub struct Dispatch {
    attempt: AttemptRef,
    network: NetworkId,
    link: LinkId,
    identity: WireIdentity,
    owner: Owner,
    deadline: LogTime,
    attempt_timeout_ms: u32,
    original: Option<AttemptRef>,
    original_network_transaction_id: AnswerText,
}

impl Dispatch {
    /// The attempt.
    #[must_use]
    pub fn attempt(&self) -> &AttemptRef {
        &self.attempt
    }

    /// Network that is asked.
    #[must_use]
    pub fn network(&self) -> &NetworkId {
        &self.network
    }

    /// Link to use.
    #[must_use]
    pub fn link(&self) -> &LinkId {
        &self.link
    }

    /// Identity on the wire.
    #[must_use]
    pub fn identity(&self) -> WireIdentity {
        self.identity
    }

    /// The process that may send it.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// When its timer ends, in log time.
    #[must_use]
    pub fn deadline(&self) -> LogTime {
        self.deadline
    }

    /// Its timer, milliseconds from the apply of its entry (R8).
    #[must_use]
    pub fn attempt_timeout_ms(&self) -> u32 {
        self.attempt_timeout_ms
    }

    /// For increments and refunds: the attempt that was approved first.
    #[must_use]
    pub fn original(&self) -> Option<&AttemptRef> {
        self.original.as_ref()
    }

    /// For increments and refunds: the network's own id of the original.
    #[must_use]
    pub fn original_network_transaction_id(&self) -> &AnswerText {
        &self.original_network_transaction_id
    }
}

/// A decided operation as the gateway is told it: only the book makes one (R3, S6). A void of a key that was never seen has
/// neither transaction nor currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    told: Told,
    transaction: Option<TransactionId>,
    operation: u16,
    request_id: RequestId,
    method: Method,
    currency: Option<Currency>,
    reversal: Option<LaneState>,
    advice: Option<LaneState>,
    last_attempt: Option<(NetworkId, Stan, Rrn)>,
    network_transaction_id: AnswerText,
    replayed: bool,
}

#[allow(missing_docs)] // each names the field it gives
impl Settled {
    #[must_use]
    pub fn told(&self) -> &Told {
        &self.told
    }
    #[must_use]
    pub fn transaction(&self) -> Option<TransactionId> {
        self.transaction
    }
    #[must_use]
    pub fn operation(&self) -> u16 {
        self.operation
    }
    #[must_use]
    pub fn request_id(&self) -> &RequestId {
        &self.request_id
    }
    #[must_use]
    pub fn method(&self) -> Method {
        self.method
    }
    #[must_use]
    pub fn currency(&self) -> Option<Currency> {
        self.currency
    }
    #[must_use]
    pub fn reversal(&self) -> Option<LaneState> {
        self.reversal
    }
    #[must_use]
    pub fn advice(&self) -> Option<LaneState> {
        self.advice
    }
    #[must_use]
    pub fn last_attempt(&self) -> Option<&(NetworkId, Stan, Rrn)> {
        self.last_attempt.as_ref()
    }
    #[must_use]
    pub fn network_transaction_id(&self) -> &AnswerText {
        &self.network_transaction_id
    }
    #[must_use]
    pub fn replayed(&self) -> bool {
        self.replayed
    }
}

/// What a command came to.
#[derive(Debug)]
pub enum Reply {
    /// Opened: the process that proposed it may send it.
    Dispatch(Box<Dispatch>),
    /// Decided.
    Settled(Box<Settled>),
    /// The key is known and its operation is still open: wait for it (R16).
    InFlight {
        /// Its transaction.
        transaction: TransactionId,
        /// Its operation.
        operation: u16,
    },
    /// Not accepted, nothing stored.
    Refused(Refusal),
    /// An operator's word about a parked lane was taken, and names this proposal; or was not (R25).
    Resolution(Result<Position, ResolutionRefusal>),
    /// Evidence was recorded; nobody is told anything new.
    Recorded,
    /// Evidence about something that is not in the book, or no longer in that state.
    Ignored,
}

/// The book.
#[derive(Debug)]
pub struct Book;

impl Book {
    /// Applies one command.
    ///
    /// # Errors
    /// [`TableFault`]: the node must stop.
    pub fn apply(
        table: &mut dyn Table,
        mark: EntryMark,
        command: Command,
        effects: &mut Vec<Effect>,
    ) -> Result<Reply, TableFault> {
        let mut work = Work { table, mark, effects };
        match command {
            Command::Open(open) => work.open(&open),
            Command::Failover(failover) => work.failover(*failover),
            Command::Answer(evidence) => work.answer(&evidence.attempt, &evidence.answer),
            Command::NotSent(evidence) => work.not_sent(&evidence.attempt, evidence.why),
            Command::TimedOut(timed_out) => work.timed_out(&timed_out.attempt, timed_out.doubt),
            Command::LateSend(attempt) => work.late_send(&attempt),
            Command::Capture(capture) => work.capture(&capture),
            Command::Void(void) => work.void(&void),
            Command::LaneAnswer(answer) => work.lane_answer(&answer),
            Command::Park(lane) => work.park(&lane),
            Command::ProposeResolution(proposed) => work.propose_resolution(*proposed),
            Command::ConfirmResolution(word) => work.confirm_resolution(*word),
            Command::WithdrawResolution(word) => work.withdraw_resolution(&word),
            Command::Expire(expire) => work.expire(&expire),
            Command::Forget(forget) => work.forget(&forget),
            Command::ForgetTombstone(forget) => work.forget_tombstone(&forget),
            Command::ForgetEvents(forget) => work.forget_events(&forget),
            Command::ReadClock(reading) => work.read_clock(reading),
            Command::AcceptClock(acceptance) => work.accept_clock(&acceptance),
            // No money in it: the journal hashes it into the audit trail instead.
            Command::Audit(_) => Ok(Reply::Ignored),
        }
    }

    /// Reads a decided operation as it would be told again, by its transaction.
    #[must_use]
    pub fn settled(transaction: &Transaction, operation: u16, replayed: bool) -> Option<Settled> {
        settled_of(transaction, usize::from(operation), replayed)
    }
}

/// One command being applied.
struct Work<'a> {
    table: &'a mut dyn Table,
    mark: EntryMark,
    effects: &'a mut Vec<Effect>,
}

fn settled_of(transaction: &Transaction, index: usize, replayed: bool) -> Option<Settled> {
    let operation = transaction.operations.get(index)?;
    let told = operation.told.clone()?;
    let reversal = match operation.method {
        // A void has no conversation of its own: what it tells about is the reversal of what it undoes.
        Method::Void => {
            transaction.first().reversal_state().or_else(|| transaction.first().is_open().then_some(LaneState::Pending))
        }
        _ => operation.reversal_state(),
    };
    Some(Settled {
        told,
        transaction: Some(transaction.id),
        operation: u16::try_from(index).ok()?,
        request_id: operation.request_id.clone(),
        method: operation.method,
        currency: Some(transaction.currency),
        reversal,
        advice: operation.advice.as_ref().map(|advice| advice.lane.state),
        last_attempt: operation
            .last_attempt()
            .map(|attempt| (attempt.network.clone(), attempt.identity.stan, attempt.identity.rrn)),
        // A void may be told before the network has given its id, and what was told never changes (R3).
        network_transaction_id: match operation.method {
            Method::Void => AnswerText::default(),
            _ => transaction.network_transaction_id.clone(),
        },
        replayed,
    })
}

impl Work<'_> {
    fn now(&self) -> LogTime {
        self.mark.now
    }

    fn transaction(&self, gateway: &GatewayId, id: TransactionId) -> Result<Option<Transaction>, TableFault> {
        match self.table.get(&Key::Transaction(gateway.clone(), id))? {
            Some(Row::Transaction(transaction)) => Ok(Some(*transaction)),
            Some(_) => Err(TableFault("another row stands in a transaction's place".into())),
            None => Ok(None),
        }
    }

    /// Writes a transaction and an event for each operation whose told state or reversal state changed (R20).
    fn save(&mut self, mut transaction: Transaction, changed: &[usize]) {
        transaction.changed = self.now();
        for (nth, index) in changed.iter().enumerate() {
            transaction.revision += 1;
            let operation = &transaction.operations[*index];
            let event = EventRow {
                transaction: transaction.id,
                revision: transaction.revision,
                status: transaction.status(),
                request_id: operation.request_id.clone(),
                method: operation.method,
                decision: operation.told.as_ref().map(|told| told.decision),
                reversal: operation.reversal_state(),
                advice: operation.advice.as_ref().map(|advice| advice.lane.state),
                time: self.now(),
            };
            // A command that changes several operations leaves several events at one position: the place is spread so that
            // each has a key of its own and their order stays that of the revisions.
            let mut position = self.mark.position;
            position.place = position.place * (limits::OPERATIONS_MAX as u32 + 1) + nth as u32;
            self.table.put(Key::Event(transaction.gateway.clone(), position), Row::Event(event));
            if operation.told.is_some() {
                self.effects.push(Effect::Settled {
                    gateway: transaction.gateway.clone(),
                    transaction: transaction.id,
                    operation: u16::try_from(*index).unwrap_or(u16::MAX),
                });
            }
        }
        if !changed.is_empty() {
            self.effects.push(Effect::Event { gateway: transaction.gateway.clone() });
        }
        let key = Key::Transaction(transaction.gateway.clone(), transaction.id);
        self.table.put(key, Row::Transaction(Box::new(transaction)));
    }

    /// The reply to a decided operation, told for the first time.
    fn told(&self, transaction: &Transaction, index: usize) -> Reply {
        settled_of(transaction, index, false).map_or(Reply::Ignored, |settled| Reply::Settled(Box::new(settled)))
    }

    /// A key that is known: the stored answer, the open operation, or a refusal where it was used for something else (R16).
    fn known(
        &self,
        gateway: &GatewayId,
        transaction: TransactionId,
        operation: u16,
        asked: Fingerprint,
    ) -> Result<Reply, TableFault> {
        let Some(transaction) = self.transaction(gateway, transaction)? else {
            return Err(TableFault("a key names a transaction that is not there".into()));
        };
        let index = usize::from(operation);
        let Some(stored) = transaction.operations.get(index) else {
            return Err(TableFault("a key names an operation that is not there".into()));
        };
        if stored.fingerprint.key_version != asked.key_version {
            return Ok(Reply::Refused(Refusal::FingerprintVersion(stored.fingerprint.key_version)));
        }
        if stored.fingerprint != asked {
            return Ok(Reply::Refused(Refusal::KeyReused));
        }
        Ok(match settled_of(&transaction, index, true) {
            Some(settled) => Reply::Settled(Box::new(settled)),
            None => Reply::InFlight { transaction: transaction.id, operation },
        })
    }

    /// Looks a key up.
    fn request(
        &self,
        gateway: &GatewayId,
        original: Option<TransactionId>,
        request_id: &RequestId,
    ) -> Result<Option<RequestRow>, TableFault> {
        match self.table.get(&Key::Request(gateway.clone(), original, request_id.clone()))? {
            Some(Row::Request(row)) => Ok(Some(row)),
            Some(_) => Err(TableFault("another row stands in a key's place".into())),
            None => Ok(None),
        }
    }

    fn remember(
        &mut self,
        gateway: &GatewayId,
        original: Option<TransactionId>,
        request_id: &RequestId,
        transaction: TransactionId,
        operation: usize,
    ) {
        let operation = u16::try_from(operation).unwrap_or(u16::MAX);
        self.table.put(
            Key::Request(gateway.clone(), original, request_id.clone()),
            Row::Request(RequestRow::Operation { transaction, operation }),
        );
    }

    fn counter(&self, key: &Key) -> Result<u64, TableFault> {
        match self.table.get(key)? {
            Some(Row::Counter(value)) => Ok(value),
            Some(_) => Err(TableFault("another row stands in a counter's place".into())),
            None => Ok(0),
        }
    }

    /// A trace number of a link that nothing open or owed carries (R14), or `None` where all are taken.
    fn allocate_stan(&mut self, link: &LinkId) -> Result<Option<Stan>, TableFault> {
        let key = Key::NextStan(link.clone());
        let last = u32::try_from(self.counter(&key)?).unwrap_or(0);
        let mut stan = Stan::parse(last).map_or_else(|_| Stan::parse(1), |last| Ok(last.next())).map_err(fault)?;
        for _ in 0..limits::TRACE_NUMBERS_PROBED_MAX {
            if self.table.get(&Key::Owed(link.clone(), stan))?.is_none() {
                self.table.put(key, Row::Counter(u64::from(stan.number())));
                return Ok(Some(stan));
            }
            stan = stan.next();
        }
        Ok(None)
    }

    fn allocate_rrn(&mut self) -> Result<Rrn, TableFault> {
        let next = self.counter(&Key::NextRrn)? + 1;
        self.table.put(Key::NextRrn, Row::Counter(next));
        Ok(Rrn::of(next))
    }

    fn owe(&mut self, link: &LinkId, stan: Stan, attempt: &AttemptRef, kind: OwedKind, time: LogTime) {
        let row = OwedRow { attempt: attempt.clone(), kind, parked: false, time };
        self.table.put(Key::Owed(link.clone(), stan), Row::Owed(row));
    }

    /// True where the trace number is held for this attempt.
    fn holds_stan(&self, link: &LinkId, stan: Stan, attempt: &AttemptRef) -> Result<bool, TableFault> {
        Ok(match self.table.get(&Key::Owed(link.clone(), stan))? {
            Some(Row::Owed(row)) => row.attempt == *attempt,
            _ => false,
        })
    }

    /// Frees a trace number if this attempt holds it.
    fn free_stan(&mut self, link: &LinkId, stan: Stan, attempt: &AttemptRef) -> Result<(), TableFault> {
        if self.holds_stan(link, stan, attempt)? {
            self.table.delete(Key::Owed(link.clone(), stan));
        }
        Ok(())
    }

    fn doubt(&self, network: &NetworkId) -> Result<DoubtRow, TableFault> {
        match self.table.get(&Key::Doubt(network.clone()))? {
            Some(Row::Doubt(row)) => Ok(row),
            Some(_) => Err(TableFault("another row stands in a doubt's place".into())),
            None => Ok(DoubtRow::default()),
        }
    }

    fn change_doubt(&mut self, network: &NetworkId, change: impl FnOnce(&mut DoubtRow)) -> Result<(), TableFault> {
        let mut row = self.doubt(network)?;
        change(&mut row);
        self.table.put(Key::Doubt(network.clone()), Row::Doubt(row));
        Ok(())
    }

    /// Sum of a gateway's day in a currency.
    fn day_use(&self, gateway: &GatewayId, currency: Currency, day: u32) -> Result<Amount, TableFault> {
        match self.table.get(&Key::DayUse(gateway.clone(), currency, day))? {
            Some(Row::Sum(sum)) => Ok(sum),
            Some(_) => Err(TableFault("another row stands in a sum's place".into())),
            None => Ok(Amount::ZERO),
        }
    }

    /// Gives back what an operation reserved of its gateway's day: a decline, a `not_sent`, a final reversal (R11).
    fn release_day(
        &mut self,
        gateway: &GatewayId,
        currency: Currency,
        operation: &mut Operation,
        keep: Amount,
    ) -> Result<(), TableFault> {
        let released = operation.day_reserved.saturating_minus(keep);
        if released.is_zero() {
            return Ok(());
        }
        operation.day_reserved = keep;
        let day = operation.accepted.day();
        let sum = self.day_use(gateway, currency, day)?.saturating_minus(released);
        self.table.put(Key::DayUse(gateway.clone(), currency, day), Row::Sum(sum));
        Ok(())
    }

    /// Reserves again what an operation asked for, once money that it gave back may be at a network after all: sums never
    /// count less than networks may hold (R11, R24).
    fn reserve_day_again(
        &mut self,
        gateway: &GatewayId,
        currency: Currency,
        operation: &mut Operation,
    ) -> Result<(), TableFault> {
        let missing = operation.amount.saturating_minus(operation.day_reserved);
        if !operation.day_limited || missing.is_zero() || !operation.attempts.iter().any(Attempt::in_doubt) {
            return Ok(());
        }
        operation.day_reserved = operation.amount;
        let day = operation.accepted.day();
        let sum = self.day_use(gateway, currency, day)?;
        let sum = sum.plus(missing).unwrap_or(sum);
        self.table.put(Key::DayUse(gateway.clone(), currency, day), Row::Sum(sum));
        Ok(())
    }

    /// Loads what a piece of evidence is about: its transaction, operation and attempt. A name that leads nowhere is no
    /// fault: networks may answer to nobody.
    fn located(&self, attempt: &AttemptRef) -> Result<Option<Located>, TableFault> {
        let Some(transaction) = self.transaction(&attempt.gateway, attempt.id.transaction)? else { return Ok(None) };
        let operation = usize::from(attempt.id.operation);
        let Some(index) = usize::from(attempt.id.number).checked_sub(1) else { return Ok(None) };
        if transaction.operations.get(operation).is_none_or(|found| index >= found.attempts.len()) {
            return Ok(None);
        }
        Ok(Some(Located { transaction, operation, attempt: index }))
    }
}

/// Where evidence belongs.
struct Located {
    transaction: Transaction,
    operation: usize,
    attempt: usize,
}

/// A value that the table's own writer could not have produced.
fn fault(error: impl std::fmt::Display) -> TableFault {
    TableFault(error.to_string())
}

/// What a told answer of the network looks like.
fn told_of(answer: &NetworkAnswer, decision: Decision, approved: Amount, mark: &EntryMark) -> Told {
    Told {
        source: if answer.decided_by_network {
            crate::outcome::Source::Network
        } else {
            crate::outcome::Source::Issuer
        },
        approved,
        approval_code: answer.approval_code.clone(),
        response_code: Some(answer.response_code),
        address_result: answer.address_result.clone(),
        verification_result: answer.verification_result.clone(),
        advice_code: answer.advice_code.clone(),
        ..Told::by_switch(decision, crate::outcome::Sent::Sent, mark.position)
    }
}
