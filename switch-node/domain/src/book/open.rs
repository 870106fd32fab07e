//! Opening an operation that asks a network, and opening the next attempt of one.

use super::{Dispatch, Reply, Work};
use crate::{
    entry::{Failover, FailoverCause, NewTransaction, Open, Plan, Subject},
    id::{AttemptRef, TransactionId},
    limits,
    money::{Amount, Currency},
    outcome::{AnswerText, CodeMeaning, DeclineReason, NotSent, Told},
    refusal::Refusal,
    table::{Key, OwedKind, RequestRow, Row, TableFault, TombstoneVoid},
    time::LogTime,
    transaction::{Attempt, AttemptState, CaptureMode, Fingerprint, Method, Operation, Transaction, WireIdentity},
};

impl Work<'_> {
    pub(super) fn open(&mut self, open: &Open) -> Result<Reply, TableFault> {
        let original = match &open.subject {
            Subject::New(_) => None,
            Subject::Increment(id) | Subject::Refund(id) => Some(*id),
        };
        let tombstone = match self.request(&open.gateway, original, &open.request_id)? {
            Some(RequestRow::Operation { transaction, operation }) => {
                return self.known(&open.gateway, transaction, operation, open.fingerprint);
            }
            Some(RequestRow::Tombstone { voids }) => Some(voids),
            None => None,
        };
        if let Some(first) = open.first_sent
            && self.is_too_old(first, open.retention_days)?
        {
            return Ok(Reply::Refused(Refusal::KeyTooOld));
        }
        match &open.subject {
            Subject::New(new) => {
                let new = new.clone();
                self.open_new(open, *new, tombstone)
            }
            Subject::Increment(id) => {
                let id = *id;
                self.open_follow_up(open, id, Method::Increment)
            }
            Subject::Refund(id) => {
                let id = *id;
                self.open_follow_up(open, id, Method::Refund)
            }
        }
    }

    fn open_new(
        &mut self,
        open: &Open,
        new: NewTransaction,
        tombstone: Option<Vec<TombstoneVoid>>,
    ) -> Result<Reply, TableFault> {
        if !new.verification && open.amount.is_zero() {
            return Ok(Reply::Refused(Refusal::AmountZero));
        }
        let method = if new.verification { Method::Verify } else { Method::Authorize };
        let mut transaction = Transaction {
            id: new.id,
            gateway: open.gateway.clone(),
            revision: 0,
            created: self.now(),
            changed: self.now(),
            currency: open.currency,
            capture_mode: if new.verification { CaptureMode::Manual } else { new.capture_mode },
            entry_mode: new.entry_mode,
            merchant: new.merchant,
            card: new.card,
            credentials: new.credentials,
            merchant_reference: new.merchant_reference,
            network_transaction_id: AnswerText::default(),
            directory_version: open.directory_version,
            valid_until: LogTime(0),
            expired: false,
            operations: vec![self.operation(open, method, new.partial_supported)],
        };
        if let Some(voids) = tombstone {
            return Ok(self.declare_voided(transaction, voids));
        }
        if let Err(refusal) = self.admit(open)? {
            return Ok(Reply::Refused(refusal));
        }
        let (attempt, stan) = match self.attempt(&open.plan)? {
            Ok(attempt) => attempt,
            Err(refusal) => return Ok(Reply::Refused(refusal)),
        };
        self.reserve_day(open, &mut transaction.operations[0])?;
        self.remember(&open.gateway, None, &open.request_id, new.id, 0);
        Ok(self.dispatch(transaction, 0, attempt, stan))
    }

    fn open_follow_up(&mut self, open: &Open, id: TransactionId, method: Method) -> Result<Reply, TableFault> {
        let Some(transaction) = self.transaction(&open.gateway, id)? else {
            return Ok(Reply::Refused(Refusal::NotFound));
        };
        let checked = match method {
            Method::Increment => self.check_increment(&transaction, open),
            _ => self.check_refund(&transaction, open),
        };
        if let Err(refusal) = checked {
            return Ok(Reply::Refused(refusal));
        }
        // A refund uses nothing of the day, yet it may end in doubt like every request (R23).
        let admitted = match method {
            Method::Increment => self.admit(open)?,
            _ if self.has_room(&open.plan, open.currency)? => Ok(()),
            _ => Err(Refusal::Declined(DeclineReason::NetworkInDoubt, self.mark.position)),
        };
        if let Err(refusal) = admitted {
            return Ok(Reply::Refused(refusal));
        }
        let (attempt, stan) = match self.attempt(&open.plan)? {
            Ok(attempt) => attempt,
            Err(refusal) => return Ok(Reply::Refused(refusal)),
        };
        let mut transaction = transaction;
        let mut operation = self.operation(open, method, false);
        if method == Method::Increment {
            self.reserve_day(open, &mut operation)?;
        }
        let index = transaction.operations.len();
        transaction.operations.push(operation);
        self.remember(&open.gateway, Some(id), &open.request_id, id, index);
        Ok(self.dispatch(transaction, index, attempt, stan))
    }

    fn operation(&self, open: &Open, method: Method, partial_supported: bool) -> Operation {
        new_operation(open.request_id.clone(), method, open.amount, open.fingerprint, self.now(), partial_supported)
    }

    /// Limits and doubt of the switch: told as its decline, not stored (R17, R23, R24).
    fn admit(&self, open: &Open) -> Result<Result<(), Refusal>, TableFault> {
        let declined = |reason| Err(Refusal::Declined(reason, self.mark.position));
        if !open.day_limit.is_zero() {
            let used = self.day_use(&open.gateway, open.currency, self.now().day())?;
            if used.plus(open.amount).is_none_or(|sum| sum > open.day_limit) {
                return Ok(declined(DeclineReason::SwitchLimit));
            }
        }
        if !self.has_room(&open.plan, open.currency)? {
            return Ok(declined(DeclineReason::NetworkInDoubt));
        }
        Ok(Ok(()))
    }

    /// True where the network's open doubt is below its bounds (R23).
    fn has_room(&self, plan: &Plan, currency: Currency) -> Result<bool, TableFault> {
        let doubt = self.doubt(&plan.network)?;
        let terms = &plan.terms;
        let count_max = if terms.doubt_count_max == 0 { limits::DOUBT_COUNT_DEFAULT } else { terms.doubt_count_max };
        let money = doubt.amounts.get(&currency).copied().unwrap_or(0);
        Ok(doubt.count < count_max
            && (terms.doubt_amount_max.is_zero() || money < terms.doubt_amount_max.minor_units()))
    }

    fn reserve_day(&mut self, open: &Open, operation: &mut Operation) -> Result<(), TableFault> {
        if open.day_limit.is_zero() {
            return Ok(());
        }
        let day = self.now().day();
        let sum = self.day_use(&open.gateway, open.currency, day)?;
        let sum = sum.plus(open.amount).unwrap_or(sum);
        operation.day_reserved = open.amount;
        operation.day_limited = true;
        self.table.put(Key::DayUse(open.gateway.clone(), open.currency, day), Row::Sum(sum));
        Ok(())
    }

    /// An attempt with its numbers, or a refusal where no trace number is free.
    fn attempt(&mut self, plan: &Plan) -> Result<Result<(Attempt, crate::id::Stan), Refusal>, TableFault> {
        let Some(stan) = self.allocate_stan(&plan.link)? else {
            return Ok(Err(Refusal::TraceNumbersExhausted));
        };
        let identity = WireIdentity { stan, rrn: self.allocate_rrn()?, transmission: self.now().transmission() };
        let attempt = Attempt {
            network: plan.network.clone(),
            link: plan.link.clone(),
            route: plan.route.clone(),
            identity,
            terms: plan.terms,
            deadline: self.now().after_ms(u64::from(plan.terms.attempt_timeout_ms)),
            owner: plan.owner,
            state: AttemptState::Open,
            response_code: None,
            approvals: Vec::new(),
            late_approval: false,
            conflicting_answer: false,
            reversal: None,
            opened: self.mark.position,
        };
        Ok(Ok((attempt, stan)))
    }

    /// Stores the attempt and gives the permission to send it.
    fn dispatch(
        &mut self,
        mut transaction: Transaction,
        index: usize,
        attempt: Attempt,
        stan: crate::id::Stan,
    ) -> Reply {
        let original = (index > 0).then(|| {
            let standing = transaction.first().standing_attempt().map_or(0, |(number, _)| number);
            AttemptRef { gateway: transaction.gateway.clone(), id: transaction.attempt_id(0, standing) }
        });
        transaction.operations[index].attempts.push(attempt);
        let number = transaction.operations[index].last_number();
        let reference = AttemptRef { gateway: transaction.gateway.clone(), id: transaction.attempt_id(index, number) };
        let attempt = &transaction.operations[index].attempts[usize::from(number) - 1];
        let dispatch = Dispatch {
            attempt: reference.clone(),
            network: attempt.network.clone(),
            link: attempt.link.clone(),
            identity: attempt.identity,
            owner: attempt.owner,
            deadline: attempt.deadline,
            attempt_timeout_ms: attempt.terms.attempt_timeout_ms,
            original,
            original_network_transaction_id: transaction.network_transaction_id.clone(),
        };
        let (link, deadline) = (attempt.link.clone(), attempt.deadline);
        self.owe(&link, stan, &reference, OwedKind::Attempt, deadline);
        self.save(transaction, &[]);
        Reply::Dispatch(Box::new(dispatch))
    }

    /// The key was voided before it arrived: decided here and now, and nothing is sent (R12).
    fn declare_voided(&mut self, mut transaction: Transaction, voids: Vec<TombstoneVoid>) -> Reply {
        let gateway = transaction.gateway.clone();
        transaction.operations[0].told = Some(Told::declined_by_switch(DeclineReason::Voided, self.mark.position));
        self.remember(&gateway, None, &transaction.operations[0].request_id.clone(), transaction.id, 0);
        for void in voids {
            let mut operation =
                new_operation(void.request_id, Method::Void, Amount::ZERO, void.fingerprint, void.accepted, false);
            operation.told =
                Some(Told::by_switch(crate::outcome::Decision::Approved, crate::outcome::Sent::NotSent, void.position));
            let index = transaction.operations.len();
            self.remember(&gateway, Some(transaction.id), &operation.request_id.clone(), transaction.id, index);
            transaction.operations.push(operation);
        }
        let reply = self.told(&transaction, 0);
        self.save(transaction, &[0]);
        reply
    }

    pub(super) fn failover(&mut self, failover: Failover) -> Result<Reply, TableFault> {
        let Some(located) = self.located(&failover.attempt)? else { return Ok(Reply::Ignored) };
        let operation = &located.transaction.operations[located.operation];
        let is_last = located.attempt + 1 == operation.attempts.len();
        let ending = &operation.attempts[located.attempt];
        let is_no = match &failover.because {
            FailoverCause::NotSent(_) => true,
            FailoverCause::PermittedNo(answer) => {
                matches!(answer.response_code.meaning(), CodeMeaning::Declined(..))
            }
        };
        // Only the process that holds the card data opens the next attempt: never a new leader (R17).
        let may_go_on = ending.state == AttemptState::Open
            && is_last
            && is_no
            && ending.owner == failover.plan.owner
            && !operation.void_requested
            && operation.attempts.len() < limits::ATTEMPTS_MAX
            && self.has_room(&failover.plan, located.transaction.currency)?;
        if !may_go_on {
            return self.close(failover);
        }
        let Ok((attempt, stan)) = self.attempt(&failover.plan)? else { return self.close(failover) };
        let mut located = located;
        let ending = &mut located.transaction.operations[located.operation].attempts[located.attempt];
        let (link, ended) = (ending.link.clone(), ending.identity.stan);
        match failover.because {
            FailoverCause::NotSent(why) => ending.state = AttemptState::NotSent(why),
            FailoverCause::PermittedNo(answer) => {
                ending.state = AttemptState::Declined;
                ending.response_code = Some(answer.response_code);
            }
        }
        self.free_stan(&link, ended, &failover.attempt)?;
        Ok(self.dispatch(located.transaction, located.operation, attempt, stan))
    }

    /// The next attempt may not be opened: the evidence counts by itself.
    fn close(&mut self, failover: Failover) -> Result<Reply, TableFault> {
        match failover.because {
            FailoverCause::NotSent(why) => self.not_sent(&failover.attempt, why),
            FailoverCause::PermittedNo(answer) => self.answer(&failover.attempt, &answer),
        }
    }

    pub(super) fn not_sent(&mut self, reference: &AttemptRef, why: NotSent) -> Result<Reply, TableFault> {
        let Some(mut located) = self.located(reference)? else { return Ok(Reply::Ignored) };
        let (gateway, currency) = (located.transaction.gateway.clone(), located.transaction.currency);
        let operation = &mut located.transaction.operations[located.operation];
        if operation.attempts[located.attempt].state != AttemptState::Open {
            return Ok(self.told(&located.transaction, located.operation));
        }
        let why = if operation.void_requested { NotSent::Voided } else { why };
        let attempt = &mut operation.attempts[located.attempt];
        attempt.state = AttemptState::NotSent(why);
        let (link, stan) = (attempt.link.clone(), attempt.identity.stan);
        operation.told = Some(Told::declined_by_switch(why.decline_reason(), self.mark.position));
        self.release_day(&gateway, currency, operation, Amount::ZERO)?;
        self.free_stan(&link, stan, reference)?;
        let reply = self.told(&located.transaction, located.operation);
        self.save(located.transaction, &[located.operation]);
        Ok(reply)
    }
}

/// An operation that nothing has been done about yet.
pub(super) fn new_operation(
    request_id: crate::id::RequestId,
    method: Method,
    amount: Amount,
    fingerprint: Fingerprint,
    accepted: LogTime,
    partial_supported: bool,
) -> Operation {
    Operation {
        request_id,
        method,
        amount,
        fingerprint,
        accepted,
        final_capture: false,
        partial_supported,
        void_requested: false,
        day_reserved: Amount::ZERO,
        day_limited: false,
        attempts: Vec::new(),
        advice: None,
        told: None,
    }
}
