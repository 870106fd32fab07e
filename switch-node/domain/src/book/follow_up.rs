//! What is asked about a transaction that exists: increment, capture, void, refund, expiry. Captures and voids are decided
//! by their own entry; what the network must hear of them is repeated until acknowledged (R6).

use super::{Reply, Work, lane::Renewal, open::new_operation};
use crate::{
    entry::{Capture, Expire, Open, Void, VoidTarget},
    id::AttemptRef,
    limits,
    money::{Amount, Currency},
    outcome::{Decision, Sent, Told},
    refusal::Refusal,
    table::{Key, RequestRow, Row, TableFault, TombstoneVoid},
    time::LogTime,
    transaction::{
        Advice, Attempt, AttemptState, CaptureMode, LaneState, Method, Operation, Resolution, ReversalPolicy,
        ReversalReason, Transaction,
    },
};

impl Work<'_> {
    /// What every follow-up that moves money asks of its original, in the order of [`Refusal`]. Settled must be the
    /// original, and for a final capture also what may still add to it.
    fn check_original(transaction: &Transaction, is_settled: bool) -> Result<(), Refusal> {
        if !is_settled {
            return Err(Refusal::InDoubt);
        }
        if transaction.operations.len() >= limits::OPERATIONS_MAX {
            return Err(Refusal::TooManyOperations(transaction.operations.len()));
        }
        if transaction.is_voided() {
            return Err(Refusal::AlreadyVoided);
        }
        if !is_authorized(transaction) {
            return Err(Refusal::NotAuthorized);
        }
        Ok(())
    }

    fn check_money(transaction: &Transaction, amount: Amount, currency: Currency) -> Result<(), Refusal> {
        if transaction.currency != currency {
            return Err(Refusal::CurrencyMismatch);
        }
        if amount.is_zero() {
            return Err(Refusal::AmountZero);
        }
        Ok(())
    }

    fn check_valid(&self, transaction: &Transaction) -> Result<(), Refusal> {
        if transaction.expired || self.now() > transaction.valid_until {
            return Err(Refusal::Expired);
        }
        if transaction.is_finally_captured() || transaction.capture_mode == CaptureMode::Automatic {
            return Err(Refusal::FinallyCaptured);
        }
        Ok(())
    }

    pub(super) fn check_increment(&self, transaction: &Transaction, open: &Open) -> Result<(), Refusal> {
        Self::check_original(transaction, !transaction.first().is_open())?;
        self.check_valid(transaction)?;
        let totals = transaction.totals();
        if !totals.captured.is_zero() {
            return Err(Refusal::FinallyCaptured);
        }
        Self::check_money(transaction, open.amount, open.currency)?;
        let open_increments = transaction
            .operations
            .iter()
            .filter(|operation| operation.method == Method::Increment && operation.is_open())
            .try_fold(totals.authorized, |sum, operation| sum.plus(operation.amount));
        if open_increments.and_then(|sum| sum.plus(open.amount)).is_none() {
            return Err(Refusal::SumTooGreat);
        }
        if transaction.card.sealed.is_none() {
            return Err(Refusal::CardGone);
        }
        Ok(())
    }

    /// Σ refunds, pending and in doubt included, never passes what was captured (R11). What counts is captured money,
    /// whatever was told of it: a sale that an operator found standing after its time-out or its void is given back like any
    /// other (R25).
    pub(super) fn check_refund(&self, transaction: &Transaction, open: &Open) -> Result<(), Refusal> {
        let totals = transaction.totals();
        match Self::check_original(transaction, !transaction.first().is_open()) {
            Err(Refusal::AlreadyVoided | Refusal::NotAuthorized) if !totals.captured.is_zero() => {}
            checked => checked?,
        }
        Self::check_money(transaction, open.amount, open.currency)?;
        let taken = totals.refunded.plus(totals.refunds_in_doubt).unwrap_or(totals.captured);
        let left = totals.captured.saturating_minus(taken);
        if open.amount > left {
            return Err(Refusal::AmountExceeds { asked: open.amount, left });
        }
        if transaction.card.sealed.is_none() {
            return Err(Refusal::CardGone);
        }
        Ok(())
    }

    pub(super) fn capture(&mut self, capture: &Capture) -> Result<Reply, TableFault> {
        let original = Some(capture.transaction);
        if let Some(RequestRow::Operation { transaction, operation }) =
            self.request(&capture.gateway, original, &capture.request_id)?
        {
            return self.known(&capture.gateway, transaction, operation, capture.fingerprint);
        }
        let Some(mut transaction) = self.transaction(&capture.gateway, capture.transaction)? else {
            return Ok(Reply::Refused(Refusal::NotFound));
        };
        if let Err(refusal) = self.check_capture(&transaction, capture) {
            return Ok(Reply::Refused(refusal));
        }
        let first = transaction.first();
        let (number, attempt) = (first.last_number(), first.last_attempt());
        let Some(attempt) = attempt else { return Ok(Reply::Refused(Refusal::NotAuthorized)) };
        let (link, network) = (attempt.link.clone(), attempt.network.clone());

        let index = transaction.operations.len();
        let reference = AttemptRef { gateway: transaction.gateway.clone(), id: transaction.attempt_id(index, 1) };
        let Some(lane) = self.advise(&link, &network, &reference, transaction.currency, capture.amount)? else {
            return Ok(Reply::Refused(Refusal::TraceNumbersExhausted));
        };
        let mut operation = new_operation(
            capture.request_id.clone(),
            Method::Capture,
            capture.amount,
            capture.fingerprint,
            self.now(),
            false,
        );
        operation.final_capture = capture.is_final;
        operation.advice = Some(Advice { link, network, lane });
        operation.told = Some(Told {
            approved: capture.amount,
            ..Told::by_switch(Decision::Approved, Sent::NotSent, self.mark.position)
        });
        transaction.operations.push(operation);
        self.remember(&capture.gateway, original, &capture.request_id, transaction.id, index);
        let mut changed = vec![index];
        if capture.is_final && self.release_remainder(&mut transaction, usize::from(number) - 1)? {
            changed.push(0);
        }
        let reply = self.told(&transaction, index);
        self.save(transaction, &changed);
        Ok(reply)
    }

    fn check_capture(&self, transaction: &Transaction, capture: &Capture) -> Result<(), Refusal> {
        // What an open increment adds could be neither captured nor released after the final capture.
        let adds = |operation: &Operation| operation.method == Method::Increment && operation.is_open();
        let may_grow = capture.is_final && transaction.operations.iter().any(adds);
        Self::check_original(transaction, !transaction.first().is_open() && !may_grow)?;
        self.check_valid(transaction)?;
        Self::check_money(transaction, capture.amount, capture.currency)?;
        let totals = transaction.totals();
        let tolerance =
            transaction.first().last_attempt().map_or(0, |attempt| attempt.terms.capture_tolerance_basis_points);
        let left = totals.authorized.raised_by_basis_points(tolerance).saturating_minus(totals.captured);
        if capture.amount > left {
            return Err(Refusal::AmountExceeds { asked: capture.amount, left });
        }
        Ok(())
    }

    /// Releases what is still held, by a partial reversal of the first authorization. True where there was something.
    fn release_remainder(&mut self, transaction: &mut Transaction, number: usize) -> Result<bool, TableFault> {
        let held = transaction.totals().held;
        let attempt = &transaction.operations[0].attempts[number];
        if held.is_zero() || attempt.reversal.is_some() || attempt.terms.reversal_policy == ReversalPolicy::Never {
            return Ok(false);
        }
        let approved = match attempt.state {
            AttemptState::Approved(amount) => Some(amount),
            _ => None,
        };
        self.reverse(transaction, 0, number, ReversalReason::Remainder, approved, held)?;
        Ok(true)
    }

    pub(super) fn void(&mut self, void: &Void) -> Result<Reply, TableFault> {
        let id = match &void.target {
            VoidTarget::Transaction(id) => *id,
            VoidTarget::Request(request_id) => match self.request(&void.gateway, None, request_id)? {
                Some(RequestRow::Operation { transaction, .. }) => transaction,
                Some(RequestRow::Tombstone { voids }) => {
                    let request_id = request_id.clone();
                    return Ok(self.void_unseen(void, request_id, voids));
                }
                None => {
                    let request_id = request_id.clone();
                    return Ok(self.void_unseen(void, request_id, Vec::new()));
                }
            },
        };
        if let Some(RequestRow::Operation { transaction, operation }) =
            self.request(&void.gateway, Some(id), &void.request_id)?
        {
            return self.known(&void.gateway, transaction, operation, void.fingerprint);
        }
        let Some(mut transaction) = self.transaction(&void.gateway, id)? else {
            return Ok(Reply::Refused(Refusal::NotFound));
        };
        if let Err(refusal) = self.check_void(&transaction) {
            return Ok(Reply::Refused(refusal));
        }
        let mut changed = Vec::new();
        let released = released_since(&transaction);
        for operation in 0..transaction.operations.len() {
            if self.undo(&mut transaction, operation, released)? {
                changed.push(operation);
            }
        }
        let index = transaction.operations.len();
        let mut operation =
            new_operation(void.request_id.clone(), Method::Void, Amount::ZERO, void.fingerprint, self.now(), false);
        operation.told = Some(Told::by_switch(Decision::Approved, Sent::NotSent, self.mark.position));
        transaction.operations.push(operation);
        changed.push(index);
        self.remember(&void.gateway, Some(id), &void.request_id, id, index);
        let reply = self.told(&transaction, index);
        self.save(transaction, &changed);
        Ok(reply)
    }

    fn check_void(&self, transaction: &Transaction) -> Result<(), Refusal> {
        if transaction.operations.len() >= limits::OPERATIONS_MAX {
            return Err(Refusal::TooManyOperations(transaction.operations.len()));
        }
        if transaction.is_voided() {
            return Err(Refusal::AlreadyVoided);
        }
        let sale_of_today =
            transaction.capture_mode == CaptureMode::Automatic && transaction.created.day() == self.now().day();
        let totals = transaction.totals();
        // A refund that was declined or never sent has moved nothing.
        let moved_on = transaction.operations.iter().any(|operation| operation.method == Method::Capture)
            || !totals.refunded.is_zero()
            || !totals.refunds_in_doubt.is_zero();
        if moved_on || (!totals.captured.is_zero() && !sale_of_today) {
            return Err(Refusal::UseRefund);
        }
        let first = transaction.first();
        if first.method != Method::Authorize {
            return Err(Refusal::NotAuthorized);
        }
        // To tell that it is voided would be a lie where money may stay at a network that takes no reversals (R22).
        let never = |attempt: &Attempt| {
            attempt.terms.reversal_policy == ReversalPolicy::Never
                && (matches!(attempt.state, AttemptState::Approved(_)) || attempt.in_doubt())
        };
        if transaction.operations.iter().flat_map(|operation| &operation.attempts).any(never) {
            return Err(Refusal::NotReversible);
        }
        // Where the expiry released the hold nothing is left to undo; one that still stands at the network may be voided (R9).
        if transaction.expired && totals.held.is_zero() {
            return Err(Refusal::Expired);
        }
        Ok(())
    }

    /// Undoes one authorization or increment: an open one is marked, an approved one is reversed, one that is being
    /// reversed already goes on in its one lane (R12). What was `released` is in that release's amount, and asked back by it
    /// alone. True where something that is told has changed.
    fn undo(
        &mut self,
        transaction: &mut Transaction,
        operation: usize,
        released: Option<LogTime>,
    ) -> Result<bool, TableFault> {
        if !matches!(transaction.operations[operation].method, Method::Authorize | Method::Increment) {
            return Ok(false);
        }
        if transaction.operations[operation].is_open() {
            transaction.operations[operation].void_requested = true;
            return Ok(false);
        }
        let mut changed = false;
        for number in 0..transaction.operations[operation].attempts.len() {
            let attempt = &transaction.operations[operation].attempts[number];
            if released.is_some_and(|since| is_released_with(attempt, since)) {
                continue;
            }
            match (&attempt.reversal, attempt.state.clone()) {
                (None, AttemptState::Approved(amount)) => {
                    self.reverse(transaction, operation, number, ReversalReason::Cancelled, Some(amount), amount)?;
                    changed = true;
                }
                // Two persons found that the money is there after all: it is asked back once more. An approval since then
                // is of that money.
                (Some(reversal), _) if reversal.lane.state == LaneState::Resolved(Resolution::Stands) => {
                    let is_known = reversal.approvals_reversed > 0 || attempt.approvals.is_empty();
                    let subject = if is_known { Renewal::Same } else { Renewal::NextApproval };
                    self.renew_reversal(transaction, operation, number, subject)?;
                    changed = true;
                }
                (None | Some(_), _) => {}
            }
        }
        Ok(changed)
    }

    /// A void of a key that has not been seen: remembered, so that its authorization is declined when it comes (R12).
    fn void_unseen(&mut self, void: &Void, original: crate::id::RequestId, mut voids: Vec<TombstoneVoid>) -> Reply {
        let stored = voids.iter().find(|known| known.request_id == void.request_id).cloned();
        let (row, replayed) = match stored {
            Some(stored) if stored.fingerprint.key_version != void.fingerprint.key_version => {
                return Reply::Refused(Refusal::FingerprintVersion(stored.fingerprint.key_version));
            }
            Some(stored) if stored.fingerprint != void.fingerprint => return Reply::Refused(Refusal::KeyReused),
            Some(stored) => (stored, true),
            None if voids.len() >= limits::TOMBSTONE_VOIDS_MAX => {
                return Reply::Refused(Refusal::TooManyOperations(voids.len()));
            }
            None => {
                let row = TombstoneVoid {
                    request_id: void.request_id.clone(),
                    fingerprint: void.fingerprint,
                    position: self.mark.position,
                    accepted: self.now(),
                };
                voids.push(row.clone());
                let index = Key::Tombstone(void.gateway.clone(), self.mark.position);
                self.table.put(index, Row::RequestId(original.clone()));
                let key = Key::Request(void.gateway.clone(), None, original);
                self.table.put(key, Row::Request(RequestRow::Tombstone { voids }));
                (row, false)
            }
        };
        Reply::Settled(Box::new(super::Settled {
            told: Told::by_switch(Decision::Approved, Sent::NotSent, row.position),
            transaction: None,
            operation: 0,
            request_id: row.request_id,
            method: Method::Void,
            currency: None,
            reversal: None,
            advice: None,
            last_attempt: None,
            network_transaction_id: crate::outcome::AnswerText::default(),
            replayed,
        }))
    }

    /// The validity has ended: no more captures, and the hold is released where the profile asks for it (R9).
    pub(super) fn expire(&mut self, expire: &Expire) -> Result<Reply, TableFault> {
        let Some(mut transaction) = self.transaction(&expire.gateway, expire.transaction)? else {
            return Ok(Reply::Ignored);
        };
        let still_open = transaction.operations.iter().any(Operation::is_open);
        // Judged by what is held, not by the status: an authorization whose captures were all refunded may still hold money.
        let holds = is_authorized(&transaction)
            && !transaction.is_voided()
            && !transaction.is_finally_captured()
            && !transaction.totals().held.is_zero();
        // By which clock it would have expired, an operator must say first (R8).
        let undated = self.clock_row()?.disagreement.is_some();
        if undated || still_open || !holds || transaction.expired || self.now() <= transaction.valid_until {
            return Ok(Reply::Ignored);
        }
        if expire.release {
            let number = usize::from(transaction.first().last_number()) - 1;
            self.release_remainder(&mut transaction, number)?;
        }
        transaction.expired = true;
        self.save(transaction, &[0]);
        Ok(Reply::Recorded)
    }
}

/// When the expiry released all that was held, increments included, by one reversal of the first authorization (R9).
fn released_since(transaction: &Transaction) -> Option<LogTime> {
    let reversals = transaction.first().attempts.iter().filter_map(|attempt| attempt.reversal.as_ref());
    reversals.filter(|reversal| reversal.reason == ReversalReason::Remainder).map(|reversal| reversal.lane.since).next()
}

/// True where an attempt's money was held when another one's reversal released all that was: it was approved and nothing undid
/// it, or two persons had found it standing (R25). What they found later was not released.
fn is_released_with(attempt: &Attempt, since: LogTime) -> bool {
    let Some(reversal) = &attempt.reversal else { return true };
    let confirmed = reversal.lane.resolution.as_ref().and_then(|proposed| proposed.confirmed.as_ref());
    reversal.reason != ReversalReason::Remainder && confirmed.is_some_and(|confirmed| confirmed.time <= since)
}

/// True for a payment that was told as approved, in full or in part.
fn is_authorized(transaction: &Transaction) -> bool {
    let first = transaction.first();
    let told = first.told.as_ref().map(|told| told.decision);
    first.method == Method::Authorize && matches!(told, Some(Decision::Approved | Decision::PartiallyApproved))
}
