//! What the book forgets, and when (R9, R20). The leader looks for what is old and names it; each command is judged here again
//! by the time of its own entry, so that every node forgets the same, and nothing that somebody may still need.
//!
//! ```text
//! transaction  last event ── 400 days, 180 at least ──► gone, with its keys; KEY_TOO_OLD remembers up to when
//! tombstone    last void ─── the same ────────────────► gone
//! event        made ──────── 30 days ─────────────────► gone; watches before it are told where to list from
//! ```
//!
//! While a clock disagreement stands, nothing is forgotten (R8).

use super::{Book, Reply, Work};
use crate::{
    entry::{Forget, ForgetEvents, ForgetTombstone, Keep},
    limits,
    money::Amount,
    outcome::Decision,
    table::{EventRow, Key, RequestRow, Row, TableFault},
    time::{DAY_MS, LogTime},
    transaction::{Attempt, CaptureMode, Method, Operation, Transaction},
};

impl Book {
    /// True where nothing and nobody needs a transaction any more: its last event is older than the retention, and nothing of
    /// it is open, owed, parked, in doubt, capturable, or refundable within its network's window (R9). A payment at a network
    /// that takes no reversals stays in doubt for ever, and is kept for ever.
    #[must_use]
    pub fn may_forget(transaction: &Transaction, now: LogTime, keep: Keep) -> bool {
        now.ms_since(transaction.changed) > Self::retention_ms(keep.retention_days)
            && !is_owed_or_in_doubt(transaction)
            && now > transaction.valid_until
            && !is_refundable(transaction, now, keep.refund_days)
    }

    /// Retention in milliseconds; zero days is the default, and nothing makes it shorter than the least (R9).
    #[must_use]
    pub fn retention_ms(days: u32) -> u64 {
        let days = if days == 0 { limits::RETENTION_DAYS_DEFAULT } else { days };
        u64::from(days.max(limits::RETENTION_DAYS_MIN)) * DAY_MS
    }

    /// True where an event is older than watches may ask for (R20).
    #[must_use]
    pub fn is_old(event: &EventRow, now: LogTime) -> bool {
        now.ms_since(event.time) > limits::EVENTS_KEPT_MS
    }
}

impl Work<'_> {
    /// Forgets a transaction with its keys and with what it used of its gateway's days.
    pub(super) fn forget(&mut self, forget: &Forget) -> Result<Reply, TableFault> {
        let Some(mut transaction) = self.transaction(&forget.gateway, forget.transaction)? else {
            return Ok(Reply::Ignored);
        };
        if self.clock_row()?.disagreement.is_some() || !Book::may_forget(&transaction, self.now(), forget.keep) {
            return Ok(Reply::Ignored);
        }
        let (gateway, currency) = (&forget.gateway, transaction.currency);
        for (index, operation) in transaction.operations.iter_mut().enumerate() {
            let original = (index > 0).then_some(transaction.id);
            self.table.delete(Key::Request(gateway.clone(), original, operation.request_id.clone()));
            let day = operation.accepted.day();
            self.release_day(gateway, currency, operation, Amount::ZERO)?;
            if self.day_use(gateway, currency, day)?.is_zero() {
                self.table.delete(Key::DayUse(gateway.clone(), currency, day));
            }
        }
        self.table.delete(Key::Transaction(gateway.clone(), transaction.id));
        self.forgot(transaction.changed)?;
        Ok(Reply::Recorded)
    }

    /// Forgets that a key was voided before it was seen (R12).
    pub(super) fn forget_tombstone(&mut self, forget: &ForgetTombstone) -> Result<Reply, TableFault> {
        let index = Key::Tombstone(forget.gateway.clone(), forget.position);
        let request_id = match self.table.get(&index)? {
            Some(Row::RequestId(request_id)) => request_id,
            Some(_) => return Err(TableFault("another row stands in a tombstone's place".into())),
            None => return Ok(Reply::Ignored),
        };
        if self.clock_row()?.disagreement.is_some() {
            return Ok(Reply::Ignored);
        }
        if let Some(RequestRow::Tombstone { voids }) = self.request(&forget.gateway, None, &request_id)? {
            let last = voids.iter().map(|void| void.accepted).max().unwrap_or_default();
            if self.now().ms_since(last) <= Book::retention_ms(forget.retention_days) {
                return Ok(Reply::Ignored);
            }
            self.table.delete(Key::Request(forget.gateway.clone(), None, request_id));
            self.forgot(last)?;
        }
        self.table.delete(index);
        Ok(Reply::Recorded)
    }

    /// Forgets events, and remembers up to where.
    pub(super) fn forget_events(&mut self, forget: &ForgetEvents) -> Result<Reply, TableFault> {
        if self.clock_row()?.disagreement.is_some() {
            return Ok(Reply::Ignored);
        }
        let mut last = None;
        for position in forget.positions.iter().take(limits::EVENTS_FORGOTTEN_MAX) {
            let key = Key::Event(forget.gateway.clone(), *position);
            let Some(Row::Event(event)) = self.table.get(&key)? else { continue };
            if Book::is_old(&event, self.now()) {
                self.table.delete(key);
                last = last.max(Some(*position));
            }
        }
        let Some(last) = last else { return Ok(Reply::Ignored) };
        let key = Key::EventsForgotten(forget.gateway.clone());
        let last = match self.table.get(&key)? {
            Some(Row::Position(before)) => last.max(before),
            Some(_) => return Err(TableFault("another row stands in a position's place".into())),
            None => last,
        };
        self.table.put(key, Row::Position(last));
        Ok(Reply::Recorded)
    }

    /// True where a key that was first sent then may have been forgotten: by the retention of now, or by a shorter one of
    /// before (R9).
    pub(super) fn is_too_old(&self, first_sent: LogTime, retention_days: u32) -> Result<bool, TableFault> {
        let beyond = self.now().ms_since(first_sent) > Book::retention_ms(retention_days);
        Ok(beyond || self.forgotten()?.is_some_and(|forgotten| first_sent <= forgotten))
    }

    /// The latest event of anything that was forgotten.
    fn forgotten(&self) -> Result<Option<LogTime>, TableFault> {
        match self.table.get(&Key::Forgotten)? {
            Some(Row::Time(time)) => Ok(Some(time)),
            Some(_) => Err(TableFault("another row stands in a time's place".into())),
            None => Ok(None),
        }
    }

    fn forgot(&mut self, last_event: LogTime) -> Result<(), TableFault> {
        if self.forgotten()?.is_none_or(|forgotten| forgotten < last_event) {
            self.table.put(Key::Forgotten, Row::Time(last_event));
        }
        Ok(())
    }
}

/// True while somebody waits for an answer, a network is owed something, or nobody knows where money is.
fn is_owed_or_in_doubt(transaction: &Transaction) -> bool {
    transaction.operations.iter().any(|operation| {
        let attempts = operation.attempts.iter();
        operation.is_open()
            || operation.advice.as_ref().is_some_and(|advice| !advice.lane.state.is_final())
            || attempts.clone().any(|one| one.reversal.as_ref().is_some_and(|reversal| !reversal.lane.state.is_final()))
            // A verification moves no money that could be in doubt.
            || (operation.method != Method::Verify && attempts.clone().any(Attempt::in_doubt))
    })
}

/// True while captured money that was not given back may still be, by the window of its network.
fn is_refundable(transaction: &Transaction, now: LogTime, refund_days: u32) -> bool {
    let totals = transaction.totals();
    if totals.captured <= totals.refunded {
        return false;
    }
    let takes = |operation: &&Operation| match operation.method {
        Method::Capture => operation.told.as_ref().is_some_and(|told| told.decision == Decision::Approved),
        Method::Authorize | Method::Increment => transaction.capture_mode == CaptureMode::Automatic,
        Method::Void | Method::Refund | Method::Verify => false,
    };
    let last = transaction.operations.iter().filter(takes).map(|operation| operation.accepted).max();
    last.is_some_and(|last| now.ms_since(last) <= refund_ms(refund_days))
}

fn refund_ms(days: u32) -> u64 {
    u64::from(if days == 0 { limits::REFUND_DAYS_DEFAULT } else { days }) * DAY_MS
}
