//! The ordered table that book and directory live in: typed keys and rows behind an object-safe trait. How rows become
//! bytes, and on which disk, is the node's affair.

use std::{collections::BTreeMap, ops::Bound};

use thiserror::Error;

use crate::{
    audit::{AuditHead, AuditRecord},
    directory::Directory,
    id::{AttemptRef, GatewayId, LinkId, NetworkId, Position, RequestId, Stan, TransactionId},
    keyring::{KeyPurpose, Keyring},
    limits,
    money::{Amount, Currency},
    outcome::Decision,
    time::LogTime,
    transaction::{LaneState, Method, Status, Transaction},
};

/// Where a row stands. The order of keys is the order of the table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// A transaction of a tenant; a foreign id is a missing one (R10).
    Transaction(GatewayId, TransactionId),
    /// A key of a tenant: of an authorization or verification, or of a follow-up with its original (R5).
    Request(GatewayId, Option<TransactionId>, RequestId),
    /// A void of a key that had not been seen, by the entry that accepted it: keys say nothing of their age (R9).
    Tombstone(GatewayId, Position),
    /// What a link owes, by trace number: open attempts, reversals, advices. Also what keeps a trace number from being
    /// reused (R14).
    Owed(LinkId, Stan),
    /// An event of a tenant (R20).
    Event(GatewayId, Position),
    /// The last event of a tenant that is kept no more (R20).
    EventsForgotten(GatewayId),
    /// Next trace number of a link.
    NextStan(LinkId),
    /// Next reference number of the cluster.
    NextRrn,
    /// Unresolved items of a network (R23).
    Doubt(NetworkId),
    /// What a gateway authorized in one currency on one UTC day of log time (R24).
    DayUse(GatewayId, Currency, u32),
    /// The log's clock: the greatest time an entry carried (R8).
    Clock,
    /// Whether wall clocks agree with it (R8).
    ClockAgreement,
    /// The latest last event of all transactions that are kept no more: a key as old may be one of theirs (R9).
    Forgotten,
    /// The directory.
    Directory,
    /// An operator's key, so that a repeated call changes nothing more.
    OperatorRequest(RequestId),
    /// The data keys of the cluster.
    Keyring,
    /// One record of the audit trail, by its number.
    AuditRecord(u64),
    /// The end of the audit trail.
    AuditHead,
}

/// What stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// A transaction.
    Transaction(Box<Transaction>),
    /// What a key names.
    Request(RequestRow),
    /// Something owed.
    Owed(OwedRow),
    /// An event.
    Event(EventRow),
    /// A counter.
    Counter(u64),
    /// Unresolved items.
    Doubt(DoubtRow),
    /// A sum.
    Sum(Amount),
    /// A time.
    Time(LogTime),
    /// The directory.
    Directory(Box<Directory>),
    /// What an operator's call made.
    Made(Made),
    /// The key of an authorization.
    RequestId(RequestId),
    /// A place in the journal.
    Position(Position),
    /// How log time and wall clocks stand to each other.
    Clock(ClockRow),
    /// The data keys of the cluster.
    Keyring(Box<Keyring>),
    /// A record of the audit trail.
    AuditRecord(Box<AuditRecord>),
    /// Its end.
    AuditHead(AuditHead),
}

/// What an operator's call made: a call of another kind under the same key is not a repeated one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// This version of the directory.
    Directory(u64),
    /// A data key.
    Key(MadeKey),
}

/// The data key that an operator's call made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MadeKey {
    /// What it is for.
    pub purpose: KeyPurpose,
    /// Its version.
    pub version: u32,
}

/// What a key names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestRow {
    /// An operation of a transaction.
    Operation {
        /// The transaction.
        transaction: TransactionId,
        /// Index of the operation.
        operation: u16,
    },
    /// The key was voided before it was seen: its authorization will be declined (R12).
    Tombstone {
        /// The voids, with the entries that accepted them.
        voids: Vec<TombstoneVoid>,
    },
}

/// A void of a key that has not been seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TombstoneVoid {
    /// The void's own key.
    pub request_id: RequestId,
    /// Digest of what was asked.
    pub fingerprint: crate::transaction::Fingerprint,
    /// Entry that accepted it.
    pub position: Position,
    /// When.
    pub accepted: LogTime,
}

/// What kind of thing is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwedKind {
    /// An answer, or a time-out.
    Attempt,
    /// A reversal.
    Reversal,
    /// An advice.
    Advice,
    /// Nothing by itself: the trace number of an original whose reversal carries another.
    Held,
}

/// Something owed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwedRow {
    /// Which attempt; for advices the capture's own id.
    pub attempt: AttemptRef,
    /// What.
    pub kind: OwedKind,
    /// True where it is parked.
    pub parked: bool,
    /// Attempt: when its timer ends. Lane: when it was made.
    pub time: LogTime,
}

/// One change that a gateway may watch (R20).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    /// Transaction that changed.
    pub transaction: TransactionId,
    /// Its revision after the change.
    pub revision: u32,
    /// Where it stood then.
    pub status: Status,
    /// Key of the operation that changed.
    pub request_id: RequestId,
    /// What was asked.
    pub method: Method,
    /// Its decision, `None` while it is open.
    pub decision: Option<Decision>,
    /// Where its reversal stood.
    pub reversal: Option<LaneState>,
    /// Where its advice stood.
    pub advice: Option<LaneState>,
    /// When.
    pub time: LogTime,
}

/// Unresolved items of a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DoubtRow {
    /// Lanes that are not final.
    pub count: u32,
    /// Parked ones among them.
    pub parked: u32,
    /// Money in them, by currency.
    pub amounts: BTreeMap<Currency, u64>,
}

/// How log time and the wall clocks of leaders stand to each other (R8).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClockRow {
    /// A disagreement that waits for an operator. Nothing expires and nothing is forgotten while it stands.
    pub disagreement: Option<Disagreement>,
    /// The disagreement that an operator last closed, until the clocks agree again: the next term may begin at that clock.
    pub accepted: Option<AcceptedClock>,
}

/// A wall clock that was more than [`limits::CLOCK_STEP_MS`] away from log time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// The leader whose clock it was.
    pub node: u64,
    /// What it showed.
    pub wall: LogTime,
    /// Log time then.
    pub log: LogTime,
}

/// A wall clock that an operator found right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedClock {
    /// What it showed.
    pub wall: LogTime,
    /// Log time then.
    pub log: LogTime,
    /// SPIFFE id of the operator.
    pub author: String,
    /// Why it is right.
    pub reason: String,
}

impl ClockRow {
    /// True where a wall clock and log time are so close that nobody need look.
    #[must_use]
    pub fn is_close(wall: LogTime, log: LogTime) -> bool {
        wall.0.abs_diff(log.0) <= limits::CLOCK_STEP_MS
    }

    /// True where a wall clock is as far from log time as an operator found right, give or take as much as needs nobody.
    #[must_use]
    pub fn accepts(&self, wall: LogTime, log: LogTime) -> bool {
        self.accepted.as_ref().is_some_and(|accepted| {
            let (now, then) = (wall.0.saturating_add(accepted.log.0), accepted.wall.0.saturating_add(log.0));
            now.abs_diff(then) <= limits::CLOCK_STEP_MS
        })
    }
}

/// The table cannot be read or written. Stops the node; never a refusal.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("table: {0}; the node must stop and an operator must look at its disk")]
pub struct TableFault(pub String);

/// Typed, ordered rows.
pub trait Table {
    /// Reads a row.
    ///
    /// # Errors
    /// [`TableFault`] where the disk or the row is damaged.
    fn get(&self, key: &Key) -> Result<Option<Row>, TableFault>;

    /// Writes a row.
    fn put(&mut self, key: Key, row: Row);

    /// Removes a row.
    fn delete(&mut self, key: Key);

    /// The first rows from `from` to before `to`, in order.
    ///
    /// # Errors
    /// [`TableFault`] where the disk or a row is damaged.
    fn range(&self, from: Bound<&Key>, to: Bound<&Key>, limit: usize) -> Result<Vec<(Key, Row)>, TableFault>;
}

/// A table in memory, for tests and models.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryTable {
    /// The rows.
    pub rows: BTreeMap<Key, Row>,
}

impl Table for MemoryTable {
    fn get(&self, key: &Key) -> Result<Option<Row>, TableFault> {
        Ok(self.rows.get(key).cloned())
    }

    fn put(&mut self, key: Key, row: Row) {
        self.rows.insert(key, row);
    }

    fn delete(&mut self, key: Key) {
        self.rows.remove(&key);
    }

    fn range(&self, from: Bound<&Key>, to: Bound<&Key>, limit: usize) -> Result<Vec<(Key, Row)>, TableFault> {
        Ok(self.rows.range((from, to)).take(limit).map(|(key, row)| (key.clone(), row.clone())).collect())
    }
}
