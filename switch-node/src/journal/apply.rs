//! The Machine: applies committed packs to the table and tells those who wait. Runs on one thread, in log order.
//!
//! A whole batch of entries goes into one overlay and one atomic commit, together with the progress and the rolling hash.
//! Tickets are resolved after the commit, so that nobody is told what is not in the table.

use std::sync::Arc;

use ring::digest;
use switch_consensus::{Committed, Machine, MachineFault, Progress, SnapshotSink, SnapshotView};
use switch_domain::{
    audit::{self, Act, AuditEntry, DirectoryAct, OperatorCall, Remark, Stage, View},
    book::{Book, Reply},
    directory::{Applied, Directory, DirectoryCommand, DirectoryRefusal},
    effect::Effect,
    entry::{Command, EntryMark},
    id::{LeaderId, Position},
    keyring::{Keyring, KeyringReply},
    table::{Key, Row, Table},
    time::LogTime,
};
use tokio::time::Instant;

use super::{
    chain::{Chain, Difference},
    reign::Reign,
    shared::{Shared, Wake},
    waiters::{Outcome, Waiter},
};
use crate::{
    codec::{self, Mark, Pack, PackBody},
    storage::{Rows, Store, frames},
    telemetry::{self, Direction, SnapshotTransfer},
};

/// Wall clock of the world: only a new leader looks at it (R8).
pub trait WallClock: Send + Sync {
    /// Milliseconds since 1970.
    fn now(&self) -> LogTime;
}

/// Key of the progress beside the rows.
const PROGRESS: &[u8] = &[codec::OWN, 1];

/// Key of the rolling hash, with the log index that it stands for.
const HASH: &[u8] = &[codec::OWN, 2];

/// Key of the [`Difference`] that stopped this replica; empty once an operator has decided that the leader was wrong.
const DIFFERENCE: &[u8] = &[codec::OWN, 3];

/// Key of the terms whose leaders an operator found to be wrong: what they say of their state is not compared.
const DISTRUSTED: &[u8] = &[codec::OWN, 4];

/// Book and directory of one node.
pub struct BookMachine {
    rows: Rows,
    shared: Arc<Shared>,
    wall: Arc<dyn WallClock>,
    chain: Chain,
    distrusted: Vec<u64>,
    clock: LogTime,
    directory_changed: bool,
    keyring_changed: bool,
}

/// What becomes of a pack's waiters after the commit.
struct Resolved {
    waiters: Vec<Waiter>,
    outcomes: Vec<Outcome>,
}

impl BookMachine {
    /// Takes a store over where it stands. `distrusted_term` is the operator's word that it was the leader of that term, and
    /// not this replica, that was wrong when the two differed.
    ///
    /// # Errors
    /// [`MachineFault`] where it is damaged, or differs from a leader and an operator has not decided which of the two is
    /// wrong (S11).
    pub fn open(
        store: Box<dyn Store>,
        shared: Arc<Shared>,
        wall: Arc<dyn WallClock>,
        distrusted_term: Option<u64>,
    ) -> Result<Self, MachineFault> {
        let mut machine = Self {
            rows: Rows::new(store),
            shared,
            wall,
            chain: Chain::from(Mark::default()),
            distrusted: Vec::new(),
            clock: LogTime(0),
            directory_changed: false,
            keyring_changed: false,
        };
        machine.settle_difference(distrusted_term)?;
        machine.reload()?;
        Ok(machine)
    }

    /// A replica that once differed does not come back by itself: it could be elected, and then the others would stop.
    fn settle_difference(&mut self, distrusted_term: Option<u64>) -> Result<(), MachineFault> {
        let kept = self.rows.raw(DIFFERENCE).map_err(MachineFault::new)?.filter(|bytes| !bytes.is_empty());
        let Some(kept) = kept else { return Ok(()) };
        let difference =
            Difference::from_bytes(&kept).ok_or_else(|| MachineFault::new("the kept difference is damaged"))?;
        if distrusted_term != Some(difference.term) {
            return Err(MachineFault::new(difference));
        }
        let mut distrusted = self.rows.raw(DISTRUSTED).map_err(MachineFault::new)?.unwrap_or_default().to_vec();
        distrusted.extend_from_slice(&difference.term.to_be_bytes());
        self.rows.put_raw(DISTRUSTED, distrusted);
        self.rows.put_raw(DIFFERENCE, Vec::new());
        self.rows.commit().map_err(MachineFault::new)?;
        self.rows.persist().map_err(MachineFault::new)
    }

    /// Reads what is kept in memory from the table, at the start and after an install.
    fn reload(&mut self) -> Result<(), MachineFault> {
        let hash = self.rows.raw(HASH).map_err(MachineFault::new)?;
        let mark = match &hash {
            Some(bytes) => {
                let damaged = || MachineFault::new("the rolling hash is damaged");
                let (index, hash) = bytes.split_first_chunk::<8>().ok_or_else(damaged)?;
                Mark { applied: u64::from_be_bytes(*index), hash: hash.try_into().map_err(|_| damaged())? }
            }
            None => Mark::default(),
        };
        self.chain = Chain::from(mark);
        let distrusted = self.rows.raw(DISTRUSTED).map_err(MachineFault::new)?.unwrap_or_default();
        let (terms, _) = distrusted.as_chunks::<8>();
        self.distrusted = terms.iter().map(|term| u64::from_be_bytes(*term)).collect();
        self.clock = match self.rows.get(&Key::Clock).map_err(MachineFault::new)? {
            Some(Row::Time(time)) => time,
            Some(_) => return Err(MachineFault::new("another row stands in the clock's place")),
            None => LogTime(0),
        };
        let directory = Directory::load(&self.rows).map_err(MachineFault::new)?;
        self.shared.stand(directory);
        let keyring = Keyring::load(&self.rows).map_err(MachineFault::new)?;
        self.shared.keyring.send_replace(Arc::new(keyring));
        self.shared.advance(mark, self.clock);
        Ok(())
    }

    /// Applies one pack to the overlay.
    fn apply_pack(
        &mut self,
        index: u64,
        leader: LeaderId,
        payload: &[u8],
        effects: &mut Vec<Effect>,
    ) -> Result<Option<Resolved>, MachineFault> {
        let Pack { incarnation, first_ticket, log_time, body, applied } =
            codec::decode_pack(payload).map_err(|fault| MachineFault::new(format!("entry {index}: {fault}")))?;
        if let Some(applied) = applied {
            self.compare(applied, leader)?;
        }
        self.clock = self.clock.max(log_time);
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(&self.chain.newest());
        hash.update(&index.to_be_bytes());
        hash.update(payload);
        let mut outcomes = Vec::new();
        match body {
            PackBody::Book(commands) => {
                for (place, command) in commands.into_iter().enumerate() {
                    let place = u32::try_from(place).unwrap_or(u32::MAX);
                    let mark = EntryMark { position: Position { index, place }, leader, now: self.clock };
                    let reply = match command {
                        Command::Audit(entry) => {
                            self.audit(*entry, &mut hash)?;
                            Reply::Recorded
                        }
                        command => Book::apply(&mut self.rows, mark, command, effects).map_err(MachineFault::new)?,
                    };
                    hash_reply(&mut hash, &reply);
                    outcomes.push(Outcome::Book(reply));
                }
            }
            PackBody::Directory(command) => {
                let before = Directory::load(&self.rows).map_err(MachineFault::new)?.version;
                let result = Directory::apply(&mut self.rows, (*command).clone()).map_err(MachineFault::new)?;
                hash.update(&result.as_ref().map_or(0, Applied::version).to_be_bytes());
                self.directory_changed |= result.is_ok();
                let call = OperatorCall { boot: incarnation, number: first_ticket };
                if let Some(entry) = directory_entry(*command, call, before, &result) {
                    self.audit(entry, &mut hash)?;
                }
                outcomes.push(Outcome::Directory(result.map(|applied| applied.version())));
            }
            PackBody::Keyring(command) => {
                let result = Keyring::apply(&mut self.rows, *command, self.clock).map_err(MachineFault::new)?;
                let (kind, number) = match result {
                    Ok(KeyringReply::Incarnation(number)) => (9, number),
                    Ok(KeyringReply::Added(version)) => (10, u64::from(version)),
                    Err(_) => (11, 0),
                };
                hash.update(&[kind]);
                hash.update(&number.to_be_bytes());
                self.keyring_changed |= result.is_ok();
                outcomes.push(Outcome::Keyring(result));
            }
        }
        self.rows.put(Key::Clock, Row::Time(self.clock));
        let mut newest = [0; 32];
        newest.copy_from_slice(hash.finish().as_ref());
        self.chain.add(Mark { applied: index, hash: newest });
        // A pack of this very process: its waiters are here. Everybody else only applies.
        let ours = incarnation == self.shared.boot;
        Ok(ours.then(|| Resolved { waiters: self.shared.tickets.take(first_ticket), outcomes }))
    }

    /// Puts what an operator did into the audit trail; the trail's end goes into the rolling hash.
    fn audit(&mut self, entry: AuditEntry, hash: &mut digest::Context) -> Result<(), MachineFault> {
        let head = audit::append(&mut self.rows, entry, self.clock, codec::audit_digest).map_err(MachineFault::new)?;
        hash.update(&head.hash.0);
        Ok(())
    }

    /// Compares with what the leader had made of the same entries. A replica that differs stops, for good: whatever it would go on
    /// to tell is a guess (S11). What it no longer has, or never had because it installed a snapshot, it cannot compare.
    fn compare(&mut self, theirs: Mark, leader: LeaderId) -> Result<(), MachineFault> {
        let differs = self.chain.at(theirs.applied).is_some_and(|ours| ours != theirs.hash);
        if !differs || self.distrusted.contains(&leader.term) {
            return Ok(());
        }
        let difference = Difference { index: theirs.applied, term: leader.term, node: leader.node };
        self.rows.forget();
        self.rows.put_raw(DIFFERENCE, difference.to_bytes());
        self.rows.commit().map_err(MachineFault::new)?;
        self.rows.persist().map_err(MachineFault::new)?;
        Err(MachineFault::new(difference))
    }

    fn perform(&self, effects: Vec<(LeaderId, Effect)>) {
        let nobody_waits = self.shared.decisions.is_empty();
        for (leader, effect) in effects {
            match effect {
                // Only the leader performs; what earlier leaders owed is found by the scan at its start.
                Effect::LaneDue { link, attempt } => {
                    if self.shared.is_own(leader) {
                        self.shared.wakes.push(Wake { link, attempt, forced: false });
                    }
                }
                Effect::Settled { transaction, operation, .. } => {
                    if !nobody_waits {
                        self.shared.decisions.wake(transaction, operation);
                    }
                }
                Effect::Event { gateway } => self.shared.events.ring(&gateway),
            }
        }
    }
}

/// What the audit trail keeps of a change of the directory; a repeated call is in it already.
fn directory_entry(
    command: DirectoryCommand,
    call: OperatorCall,
    before: u64,
    result: &Result<Applied, DirectoryRefusal>,
) -> Option<AuditEntry> {
    let DirectoryCommand { request_id, author, expected_version, changes } = command;
    let (stage, reason, after, act) = match result {
        Ok(Applied::Repeated(_)) => return None,
        Ok(Applied::Changed { version, replaced }) => {
            let act = DirectoryAct { expected_version, changes, replaced: replaced.clone(), refused: None };
            (Stage::Done, Remark::default(), *version, act)
        }
        Err(refusal) => {
            let refused = Some(codec::refused_changes(changes));
            let act = DirectoryAct { expected_version, changes: Vec::new(), replaced: Vec::new(), refused };
            (Stage::Refused, Remark::of(refusal.name()), before, act)
        }
    };
    Some(AuditEntry {
        request_id,
        author,
        act: Act::ChangeDirectory(Box::new(act)),
        stage,
        reason,
        before: Some(View::Version(before)),
        after: Some(View::Version(after)),
        call,
    })
}

/// What an outcome adds to the rolling hash: everything that could differ between two replicas of one version.
fn hash_reply(hash: &mut digest::Context, reply: &Reply) {
    match reply {
        Reply::Dispatch(dispatch) => {
            hash.update(&[1]);
            hash.update(&dispatch.identity().stan.number().to_be_bytes());
            hash.update(dispatch.identity().rrn.as_str().as_bytes());
            hash.update(&dispatch.deadline().0.to_be_bytes());
        }
        Reply::Settled(settled) => {
            hash.update(&[2, settled.told().decision as u8, u8::from(settled.replayed())]);
            hash.update(&settled.told().approved.minor_units().to_be_bytes());
            hash.update(&settled.told().position.index.to_be_bytes());
        }
        Reply::InFlight { transaction, operation } => {
            hash.update(&[3]);
            hash.update(&transaction.number().to_be_bytes());
            hash.update(&operation.to_be_bytes());
        }
        Reply::Refused(refusal) => {
            hash.update(&[4, refusal.number()]);
        }
        Reply::Resolution(Ok(proposal)) => {
            hash.update(&[7]);
            hash.update(&proposal.index.to_be_bytes());
            hash.update(&proposal.place.to_be_bytes());
        }
        Reply::Resolution(Err(refusal)) => {
            hash.update(&[8, refusal.number()]);
        }
        Reply::Recorded => hash.update(&[5]),
        Reply::Ignored => hash.update(&[6]),
    }
}

impl Machine for BookMachine {
    fn apply(&mut self, entries: Vec<Committed>, progress: Progress) -> Result<(), MachineFault> {
        let mut resolved = Vec::new();
        let mut effects = Vec::new();
        let mut crowned = None;
        let mut last = 0;
        let mut directory = None;
        for entry in entries {
            last = entry.index();
            match entry {
                Committed::Blank { leader, .. } => {
                    if leader.node == self.shared.node {
                        crowned = Some(LeaderId { term: leader.term, node: leader.node });
                    }
                }
                Committed::Pack { index, leader, payload } => {
                    let leader = LeaderId { term: leader.term, node: leader.node };
                    let mut of_pack = Vec::new();
                    resolved.extend(self.apply_pack(index, leader, &payload, &mut of_pack)?);
                    effects.extend(of_pack.into_iter().map(|effect| (leader, effect)));
                }
                Committed::Membership { .. } => {}
            }
        }
        if self.directory_changed {
            self.directory_changed = false;
            directory = Some(Directory::load(&self.rows).map_err(MachineFault::new)?);
        }
        let mut keyring = None;
        if self.keyring_changed {
            self.keyring_changed = false;
            keyring = Some(Keyring::load(&self.rows).map_err(MachineFault::new)?);
        }
        self.rows.put_raw(PROGRESS, progress.0.to_vec());
        let mark = Mark { applied: last, hash: self.chain.newest() };
        self.rows.put_raw(HASH, [&mark.applied.to_be_bytes()[..], &mark.hash].concat());
        self.rows.commit().map_err(MachineFault::new)?;

        if let Some(directory) = directory {
            self.shared.stand(directory);
        }
        if let Some(keyring) = keyring {
            self.shared.keyring.send_replace(Arc::new(keyring));
        }
        self.shared.advance(mark, self.clock);
        if let Some(leader) = crowned {
            // The reign begins here: everything of earlier leaders is applied.
            let clock = Book::clock(&self.rows).map_err(MachineFault::new)?;
            let reign = Reign::begin(leader, self.clock, self.wall.now(), &clock, Instant::now());
            self.shared.crowned.send_replace(Some(reign));
        }
        for Resolved { waiters, outcomes } in resolved {
            for (waiter, outcome) in waiters.into_iter().zip(outcomes) {
                let _ = waiter.send(outcome);
            }
        }
        self.perform(effects);
        Ok(())
    }

    fn progress(&self) -> Result<Option<Progress>, MachineFault> {
        Ok(self.rows.raw(PROGRESS).map_err(MachineFault::new)?.map(|bytes| Progress(bytes.to_vec().into())))
    }

    fn snapshot(&mut self) -> Result<Box<dyn SnapshotView>, MachineFault> {
        self.rows.persist().map_err(MachineFault::new)?;
        let progress = self.progress()?.ok_or_else(|| MachineFault::new("a snapshot of nothing"))?;
        let mark = self.rows.raw(HASH).map_err(MachineFault::new)?;
        let hash = mark.as_deref().and_then(|mark| mark.get(8..)).unwrap_or_default().to_vec().into();
        Ok(Box::new(TableView { progress, hash, view: self.rows.view().map_err(MachineFault::new)? }))
    }

    fn install(&mut self) -> Result<Box<dyn SnapshotSink>, MachineFault> {
        let transfer = SnapshotTransfer::begin(Direction::Received);
        Ok(Box::new(TableSink { replacement: self.rows.replace().map_err(MachineFault::new)?, transfer }))
    }

    fn adopt(&mut self, sink: Box<dyn SnapshotSink>, progress: Progress) -> Result<(), MachineFault> {
        let sink: Box<dyn std::any::Any> = sink;
        let sink: Box<TableSink> = sink.downcast().map_err(|_| MachineFault::new("a snapshot of another machine"))?;
        let TableSink { replacement, transfer } = *sink;
        self.rows.adopt(replacement, vec![(PROGRESS.to_vec(), progress.0.to_vec())]).map_err(MachineFault::new)?;
        self.reload()?;
        transfer.installed();
        // What the snapshot decides was applied by no entry here: whoever waits for it must look again.
        self.shared.decisions.wake_all();
        self.shared.events.ring_all();
        Ok(())
    }
}

struct TableView {
    progress: Progress,
    hash: bytes::Bytes,
    view: Box<dyn crate::storage::StoreView>,
}

impl SnapshotView for TableView {
    fn progress(&self) -> Progress {
        self.progress.clone()
    }

    fn fingerprint(&self) -> bytes::Bytes {
        self.hash.clone()
    }

    fn frames(&self) -> Box<dyn Iterator<Item = Result<bytes::Bytes, MachineFault>> + Send> {
        Box::new(frames(self.view.as_ref()).map(|frame| frame.map_err(MachineFault::new)))
    }
}

struct TableSink {
    replacement: Box<dyn crate::storage::StoreReplacement>,
    transfer: SnapshotTransfer,
}

impl SnapshotSink for TableSink {
    fn frame(&mut self, frame: bytes::Bytes) -> Result<(), MachineFault> {
        self.replacement.frame(&frame).map_err(MachineFault::new)?;
        telemetry::snapshot_moved(Direction::Received, frame.len());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
