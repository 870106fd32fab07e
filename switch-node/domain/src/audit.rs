//! The trail of what operators did: numbered records without a gap, each with the hash of the one before. Pure: how a record
//! becomes bytes, and by what it is hashed, is the journal's affair.
//!
//! What takes several steps leaves two records, one before it is begun and one with what came of it, under one request_id: an
//! act that was cut short is then still in the trail. What one entry decides leaves one.

use std::{fmt, net::Ipv4Addr};

use crate::{
    directory::Change,
    id::{AttemptRef, Position, RequestId},
    keyring::KeyPurpose,
    table::{Key, Row, Table, TableFault},
    time::LogTime,
    transaction::{LaneState, Resolution},
};

/// SHA-256 of a record's canonical bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest(pub [u8; 32]);

/// Text that an operator or a fault wrote. It cannot hold a card number: more than eleven digits, with nothing but blanks,
/// dashes, dots and slashes between them, are put out of it when it is made (R7). Addresses of nodes stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remark(Box<str>);

impl Remark {
    /// Keeps at most [`Remark::LENGTH_MAX`] characters, without control characters and long rows of digits.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let kept: Vec<char> = text.chars().filter(|c| !c.is_control()).take(Self::LENGTH_MAX).collect();
        let mut out = String::with_capacity(kept.len());
        let mut at = 0;
        while at < kept.len() {
            let row = kept[at..].iter().take_while(|c| c.is_ascii_digit() || is_between_digits(**c)).count();
            let digits = kept[at..at + row].iter().filter(|c| c.is_ascii_digit()).count();
            if digits > Self::DIGITS_MAX && !is_address(&kept[at..at + row]) {
                out.push_str("(digits)");
                at += row;
            } else {
                out.extend(&kept[at..at + row.max(1)]);
                at += row.max(1);
            }
        }
        Self(out.into_boxed_str())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Characters that are kept.
    pub const LENGTH_MAX: usize = 1_000;

    /// Digits in a row that are kept: one fewer than the shortest card number has.
    pub const DIGITS_MAX: usize = 11;
}

/// What people write between the digits of a number, no-break spaces and dashes of every length among it.
fn is_between_digits(c: char) -> bool {
    c.is_whitespace() || matches!(c, '-' | '\u{2010}'..='\u{2015}' | '.' | '/')
}

/// Four numbers of three digits each are twelve digits, and an address.
fn is_address(row: &[char]) -> bool {
    let text: String = row.iter().collect();
    text.trim_matches(is_between_digits).parse::<Ipv4Addr>().is_ok()
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Changes the directory.
    ChangeDirectory(Box<DirectoryAct>),
    /// Forms a cluster from this node.
    Bootstrap(u64),
    /// Lets the node behind this peer address in.
    AddMember(Remark),
    /// Makes a learner a voter.
    PromoteMember(u64),
    /// Removes a member.
    RemoveMember(u64),
    /// Hands leadership to this node, 0 for any voter.
    TransferLeader(u64),
    /// Makes this node hand over and take no more calls.
    DrainNode(u64),
    /// Makes this node take a snapshot.
    TakeSnapshot(u64),
    /// Sends a reversal or an advice at once.
    ResendReversal(AttemptRef),
    /// Proposes how a parked reversal or advice is closed (R25).
    ProposeResolution(Box<ProposeAct>),
    /// Makes a new data key.
    RotateKey(KeyPurpose),
    /// Confirms what another operator proposed, which closes it (R25).
    ConfirmResolution(Box<ProposalAct>),
    /// Withdraws a proposal that nobody has confirmed (R25).
    WithdrawResolution(Box<ProposalAct>),
    /// Says that the leader's wall clock is right (R8).
    AcceptClock(Box<ClockAct>),
    /// Reads the whole state of this node, with card data sealed.
    SaveSnapshot(u64),
    /// Reads every tenant's transactions from this node, without card data.
    ExportTransactions(u64),
}

/// A change of the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryAct {
    /// Version that was read; zero for any.
    pub expected_version: u64,
    /// What was made; empty where it was refused.
    pub changes: Vec<Change>,
    /// What each change replaced, in the order of the changes: a change that would bring it back, `None` where nothing was.
    pub replaced: Vec<Option<Change>>,
    /// What was refused.
    pub refused: Option<RefusedChanges>,
}

/// Changes of the directory that were refused. They may be many and are nowhere else, so that the trail does not keep them
/// but what tells them from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedChanges {
    /// How many there were.
    pub count: u64,
    /// SHA-256 over the canonical bytes of a [`DirectoryAct`] that holds them and nothing else.
    pub digest: Digest,
}

/// How a parked item should be closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProposeAct {
    /// The attempt; for advices the capture's own id.
    pub attempt: AttemptRef,
    /// How.
    pub resolution: Resolution,
    /// What shows it.
    pub evidence: Remark,
}

/// What an operator says of a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProposalAct {
    /// The attempt; for advices the capture's own id.
    pub attempt: AttemptRef,
    /// The entry that made the proposal.
    pub proposal: Position,
}

/// Which clock is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClockAct {
    /// What the leader's wall clock showed.
    pub wall: LogTime,
    /// Why it is right.
    pub reason: Remark,
}

/// How far an act came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It was asked for and is about to be done.
    Asked,
    /// It was done.
    Done,
    /// It was refused; nothing was done.
    Refused,
    /// It is not known whether it was done.
    Unknown,
}

/// What an act changes, before it or after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum View {
    /// Who leads.
    Leader(u64),
    /// Who belongs to the cluster, in the order of ids.
    Members(Vec<MemberView>),
    /// Version of the directory.
    Version(u64),
    /// Where a reversal or an advice stands.
    Lane(LaneState),
    /// Version of the current data key.
    KeyVersion(u32),
    /// A proposal, by the entry that made it.
    Proposal(Position),
    /// A wall clock beside log time.
    Clock(ClockView),
}

/// How far a leader's wall clock was from log time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockView {
    /// What the wall clock showed.
    pub wall: LogTime,
    /// Log time then.
    pub log: LogTime,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// Its id.
    pub node: u64,
    /// True for voters, false for learners.
    pub voter: bool,
}

/// A call of an operator. The node that takes it numbers it, so that two calls are never one in the trail, whatever else is
/// equal in them, and a record that is carried twice is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperatorCall {
    /// The process that took it.
    pub boot: u64,
    /// Counts the calls of that process.
    pub number: u64,
}

/// What is written of an act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// The operator's key.
    pub request_id: RequestId,
    /// SPIFFE id of the operator.
    pub author: String,
    /// What was asked.
    pub act: Act,
    /// How far it came.
    pub stage: Stage,
    /// Why it was refused, or why nobody knows.
    pub reason: Remark,
    /// What was before.
    pub before: Option<View>,
    /// What is now.
    pub after: Option<View>,
    /// The call.
    pub call: OperatorCall,
}

/// One link of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// Counts from 1, without a gap.
    pub number: u64,
    /// Hash of the record before; zeros for the first.
    pub previous: Digest,
    /// Log time.
    pub time: LogTime,
    /// What is written.
    pub entry: AuditEntry,
}

/// How far a call had come when it was written of: no two records are of the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The call.
    pub call: OperatorCall,
    /// How far it had come.
    pub stage: Stage,
}

/// Where the chain ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditHead {
    /// Number of the last record, 0 for none.
    pub number: u64,
    /// Its hash.
    pub hash: Digest,
    /// What the last records are of, oldest first: a record may be as large as what it says was changed, so that none is read
    /// again to know whether it is written.
    pub recent: Vec<Written>,
}

/// Puts an entry at the end of the chain and returns the end. One that stands among the last records is the same one carried
/// twice, and is left out.
///
/// # Errors
/// [`TableFault`].
pub fn append(
    table: &mut dyn Table,
    entry: AuditEntry,
    now: LogTime,
    digest: impl FnOnce(&AuditRecord) -> Digest,
) -> Result<AuditHead, TableFault> {
    let mut head = head(table)?;
    let written = Written { call: entry.call, stage: entry.stage };
    if head.recent.contains(&written) {
        return Ok(head);
    }
    let record = AuditRecord { number: head.number + 1, previous: head.hash, time: now, entry };
    head.number = record.number;
    head.hash = digest(&record);
    if head.recent.len() >= REPEATS_WITHIN {
        head.recent.remove(0);
    }
    head.recent.push(written);
    table.put(Key::AuditRecord(record.number), Row::AuditRecord(Box::new(record)));
    table.put(Key::AuditHead, Row::AuditHead(head.clone()));
    Ok(head)
}

/// Where the chain ends.
///
/// # Errors
/// [`TableFault`].
pub fn head(table: &dyn Table) -> Result<AuditHead, TableFault> {
    match table.get(&Key::AuditHead)? {
        Some(Row::AuditHead(head)) => Ok(head),
        Some(_) => Err(TableFault("another row stands in the place of the audit trail's end".into())),
        None => Ok(AuditHead::default()),
    }
}

/// Records among which a repeated one is looked for: operators work by hand, and a repeat comes within seconds.
const REPEATS_WITHIN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::MemoryTable;

    fn entry(key: &str, stage: Stage) -> AuditEntry {
        of_call(1, key, stage)
    }

    fn of_call(number: u64, key: &str, stage: Stage) -> AuditEntry {
        AuditEntry {
            request_id: RequestId::parse(key).expect("a key"),
            author: "spiffe://switch.test/operator/ann".into(),
            act: Act::PromoteMember(7),
            stage,
            reason: Remark::default(),
            before: None,
            after: None,
            call: OperatorCall { boot: 7, number },
        }
    }

    /// Stands in for SHA-256: what is hashed is the journal's affair.
    fn number_of(record: &AuditRecord) -> Digest {
        Digest([record.number as u8; 32])
    }

    #[test]
    fn each_record_carries_the_hash_of_the_one_before() {
        let mut table = MemoryTable::default();
        for (key, number) in [("a", 1), ("b", 2), ("c", 3)] {
            let head =
                append(&mut table, of_call(number, key, Stage::Done), LogTime(number), number_of).expect("a table");
            assert_eq!((head.number, head.hash), (number, Digest([number as u8; 32])));
            let Some(Row::AuditRecord(record)) = table.rows.get(&Key::AuditRecord(number)) else { panic!("no record") };
            assert_eq!((record.number, record.previous), (number, Digest([number as u8 - 1; 32])));
        }
    }

    #[test]
    fn what_is_carried_twice_stands_there_once_and_what_came_of_it_beside_it() {
        let mut table = MemoryTable::default();
        for stage in [Stage::Asked, Stage::Asked, Stage::Done, Stage::Asked, Stage::Done] {
            append(&mut table, entry("a", stage), LogTime(1), number_of).expect("a table");
        }
        assert_eq!(head(&table).expect("a table").number, 2);
    }

    /// A record may be as large as a pack, and apply is where every answer waits.
    #[test]
    fn to_write_reads_no_record_and_the_end_stays_small() {
        let mut table = MemoryTable::default();
        for number in 1..200 {
            append(&mut table, of_call(number, "a", Stage::Done), LogTime(1), number_of).expect("a table");
            table.rows.retain(|key, _| *key == Key::AuditHead);
        }
        let head = head(&table).expect("a table");
        assert_eq!((head.number, head.recent.len()), (199, REPEATS_WITHIN));
        append(&mut table, of_call(199 - REPEATS_WITHIN as u64 + 1, "a", Stage::Done), LogTime(1), number_of)
            .expect("a table");
        assert_eq!(super::head(&table), Ok(head), "the oldest of them is still known");
    }

    /// A fault there was: who repeated an act under its key within 64 records left no record of the second time.
    #[test]
    fn an_act_that_is_done_twice_stands_there_twice_under_one_key_too() {
        let mut table = MemoryTable::default();
        for number in [1, 2] {
            for stage in [Stage::Asked, Stage::Done, Stage::Done] {
                append(&mut table, of_call(number, "a", stage), LogTime(1), number_of).expect("a table");
            }
        }
        let written = table.rows.values().filter_map(|row| match row {
            Row::AuditRecord(record) => Some((record.entry.call.number, record.entry.stage)),
            _ => None,
        });
        let pairs = [(1, Stage::Asked), (1, Stage::Done), (2, Stage::Asked), (2, Stage::Done)];
        assert_eq!(written.collect::<Vec<_>>(), pairs);
    }

    #[test]
    fn a_remark_holds_no_card_number_however_it_is_written_r7() {
        let digits = "9".repeat(16);
        let apart: Vec<String> = digits.as_bytes().chunks(4).map(|four| String::from_utf8_lossy(four).into()).collect();
        let between = [" ", "-", ".", "/", " / ", "\u{a0}", "\u{202f}", "\u{2013}"];
        for written in between.map(|between| apart.join(between)).into_iter().chain([digits]) {
            assert_eq!(Remark::of(&format!("card {written}, see 17")).as_str(), "card(digits), see 17");
        }
        assert_eq!(Remark::of("ticket 2026-11-22\n17").as_str(), "ticket 2026-11-2217");
        assert_eq!(Remark::of("192.168.100.123:7000").as_str(), "192.168.100.123:7000");
        assert_eq!(Remark::of("192.168.100.123.7").as_str(), "(digits)");
        assert_eq!(Remark::of(&"x".repeat(2_000)).as_str().len(), Remark::LENGTH_MAX);
    }
}
