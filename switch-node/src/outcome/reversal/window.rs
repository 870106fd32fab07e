//! The part of what one link owes that is in memory: which transactions, and when each is looked at next (R23).
//!
//! The rest is in the table, and is read in pages as room comes. What is parked takes half of the room at most, however much of
//! it there is: an outage that parked more than the window holds must not keep out what is new (R25). Parked transactions beyond
//! that half take turns: each that was tried gives its place, once its pause is over, to one that was left out, in the order of
//! trace numbers.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    sync::Arc,
};

use switch_domain::{
    id::{AttemptRef, Stan},
    table::{Key, OwedKind, Row},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::{Looked, Subject, turn::Tries};
use crate::outcome::limits;

/// What a link's task knows of what is owed.
pub(super) struct Window {
    known: HashMap<Subject, Known>,
    /// When each known transaction is next looked at.
    due: BinaryHeap<Reverse<(Instant, u64, Subject)>>,
    turn: u64,
    /// Known transactions that owe nothing but what is parked.
    parked: usize,
    rest: Rest,
    /// Room for copies that the network is not silent about.
    room: Arc<Semaphore>,
    /// Room among it for those that repeat an earlier copy.
    repeats: Arc<Semaphore>,
}

/// Where the reading of the table stands.
struct Rest {
    /// Last trace number of a round that is not finished.
    cursor: Option<Stan>,
    /// The first parked row whose turn it is; those before it had theirs in an earlier round.
    parked_from: Stan,
    /// The first parked row of this round that found no room.
    parked_next: Option<Stan>,
    /// True where this round has left parked rows out.
    leaves_out: bool,
    /// True where parked transactions wait in the table for their turn.
    others_wait: bool,
    /// When the next round may begin that only they ask for.
    next_round: Instant,
}

/// A transaction that something may be owed for.
#[derive(Default)]
struct Known {
    tries: Tries,
    in_flight: bool,
    /// Until the next look: an operator asked for a copy of this one's lane, whatever its state.
    forced: Option<AttemptRef>,
    /// Until the next look: something happened, so that there may be a lane of which nobody has sent a copy.
    is_new: bool,
    /// True where something happened to the transaction during a look: look again.
    woken: bool,
    /// True where nothing is owed but what is parked.
    is_parked: bool,
    /// True where the looks since it was learnt have come to the end of what could be tried.
    had_turn: bool,
    /// The one entry of the due times that counts; earlier ones are stale.
    turn: u64,
}

/// A look that may begin.
pub(super) struct Begun {
    pub(super) subject: Subject,
    pub(super) tries: Tries,
    pub(super) forced: Option<AttemptRef>,
    pub(super) place: Place,
}

/// A copy's place among those in flight on its link: given back once the network has been silent for a moment, so that no other
/// transaction's reversal waits behind it.
pub(super) struct Place {
    _room: OwnedSemaphorePermit,
    _repeat: Option<OwnedSemaphorePermit>,
}

impl Window {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            known: HashMap::new(),
            due: BinaryHeap::new(),
            turn: 0,
            parked: 0,
            rest: Rest {
                cursor: None,
                parked_from: Stan::FIRST,
                parked_next: None,
                leaves_out: false,
                others_wait: false,
                next_round: now,
            },
            room: Arc::new(Semaphore::new(limits::LANES_IN_FLIGHT)),
            repeats: Arc::new(Semaphore::new(limits::REPEATS_IN_FLIGHT)),
        }
    }

    /// What to wait for where [`begin`](Self::begin) has no place left.
    pub(super) fn room(&self) -> Arc<Semaphore> {
        self.room.clone()
    }

    /// When something is next to be done: a look, or a page to be read.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        if self.wants_page(now) {
            return Some(now);
        }
        let asks = self.rest.others_wait && self.has_parked_room() && !self.is_full();
        let round = asks.then_some(self.rest.next_round);
        self.due.peek().map(|Reverse((at, _, _))| *at).into_iter().chain(round).min()
    }

    /// True where a look is due.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due.peek().is_some_and(|Reverse((at, _, _))| *at <= now)
    }

    /// The next look that is due and has a place.
    pub(super) fn begin(&mut self, now: Instant) -> Option<Begun> {
        while self.is_due(now) {
            let room = self.room.clone().try_acquire_owned().ok()?;
            let Reverse((_, turn, subject)) = self.due.pop()?;
            let Some(known) = self.known.get_mut(&subject).filter(|known| known.turn == turn) else { continue };
            if known.is_parked && known.had_turn && !known.is_new && self.rest.others_wait {
                self.leave_out(&subject);
                continue;
            }
            let repeat = if !known.is_parked && (known.is_new || known.tries.is_empty()) {
                None
            } else if let Ok(repeat) = self.repeats.clone().try_acquire_owned() {
                Some(repeat)
            } else {
                // First copies keep room of their own: what a network never answers must not hold up the rest.
                self.schedule(subject, now + limits::OUT_OF_SERVICE_LOOK);
                continue;
            };
            known.in_flight = true;
            known.is_new = false;
            let (tries, forced) = (known.tries.clone(), known.forced.take());
            return Some(Begun { subject, tries, forced, place: Place { _room: room, _repeat: repeat } });
        }
        None
    }

    /// Something happened to a transaction. False where there is no room for it: it must be found in the table.
    pub(super) fn wake(&mut self, attempt: AttemptRef, forced: bool, now: Instant) -> bool {
        let subject = (attempt.gateway.clone(), attempt.id.transaction);
        if self.is_full() && !self.known.contains_key(&subject) {
            return false;
        }
        self.learn(subject.clone(), false, now);
        if let Some(known) = self.known.get_mut(&subject) {
            known.is_new = true;
            if forced {
                known.forced = Some(attempt);
            }
        }
        true
    }

    /// What a look came to.
    pub(super) fn looked(&mut self, subject: Subject, looked: Looked, now: Instant) {
        let Some(known) = self.known.get_mut(&subject) else { return };
        known.in_flight = false;
        let woken = std::mem::take(&mut known.woken);
        known.had_turn = !matches!(looked, Looked::Done | Looked::Again | Looked::Copied { only: false, .. });
        let ended = known.had_turn && !woken;
        let at = match looked {
            Looked::Done if !woken => return self.forget(&subject),
            Looked::Done | Looked::Again => now,
            Looked::Wait(at) => at,
            Looked::Later(pause) => now + pause,
            Looked::Copied { lane, pace, only, is_parked } => {
                let due = known.tries.note(lane, pace, now, self.turn);
                self.mark_parked(&subject, is_parked && !woken);
                if only { due } else { now }
            }
        };
        let is_parked = self.known.get(&subject).is_some_and(|known| known.is_parked);
        if ended && is_parked && self.parked > limits::PARKED_KNOWN_MAX {
            return self.leave_out(&subject);
        }
        self.schedule(subject, if woken { now } else { at });
    }

    /// True where a page should be read now: a round is under way, or parked transactions wait for one and have room.
    pub(super) fn wants_page(&self, now: Instant) -> bool {
        let round = self.rest.others_wait && self.has_parked_room() && self.rest.next_round <= now;
        !self.is_full() && (self.rest.cursor.is_some() || round)
    }

    pub(super) fn is_full(&self) -> bool {
        self.known.len() >= limits::LANES_KNOWN_MAX
    }

    /// The trace number that the next page begins behind; `None` at the beginning of a round.
    pub(super) fn cursor(&self) -> Option<Stan> {
        self.rest.cursor
    }

    /// Takes up a page of the table, as far as there is room; `ended` where the round ends with it.
    pub(super) fn take_page(&mut self, rows: Vec<(Key, Row)>, ended: bool, now: Instant) {
        for (key, row) in rows {
            if self.is_full() {
                return; // the round goes on from here
            }
            let Key::Owed(_, stan) = key else { continue };
            self.rest.cursor = Some(stan);
            let Row::Owed(owed) = row else { continue };
            if !matches!(owed.kind, OwedKind::Reversal | OwedKind::Advice) {
                continue;
            }
            let subject = (owed.attempt.gateway, owed.attempt.id.transaction);
            let is_learnt = match self.known.get(&subject) {
                // Its next copy is as far away as that of a parked one, and it is none any more.
                Some(known) => known.is_parked && !owed.parked,
                None => !owed.parked || self.has_turn(stan),
            };
            if is_learnt {
                self.learn(subject, owed.parked, now);
            }
        }
        if ended {
            self.rest.cursor = None;
            self.rest.parked_from = self.rest.parked_next.take().unwrap_or(Stan::FIRST);
            self.rest.others_wait = std::mem::take(&mut self.rest.leaves_out);
            self.rest.next_round = now + limits::PARKED_ROUND;
        }
    }

    /// The table could not be read: a round begins anew when it is asked for, but not at once.
    pub(super) fn break_off(&mut self, now: Instant) {
        self.rest.cursor = None;
        self.rest.next_round = now + limits::PARKED_ROUND;
    }

    /// True where a parked row is taken up in this round.
    fn has_turn(&mut self, stan: Stan) -> bool {
        let has_room = self.has_parked_room();
        if stan >= self.rest.parked_from && has_room {
            return true;
        }
        if stan >= self.rest.parked_from {
            self.rest.parked_next.get_or_insert(stan);
        }
        self.rest.leaves_out = true;
        false
    }

    fn has_parked_room(&self) -> bool {
        self.parked < limits::PARKED_KNOWN_MAX
    }

    fn learn(&mut self, subject: Subject, is_parked: bool, now: Instant) {
        let known = self.known.entry(subject.clone()).or_default();
        if known.in_flight {
            known.woken = true; // the look under way may have seen the row as it was before
        } else {
            self.schedule(subject.clone(), now);
        }
        self.mark_parked(&subject, is_parked);
    }

    fn mark_parked(&mut self, subject: &Subject, is_parked: bool) {
        let Some(known) = self.known.get_mut(subject) else { return };
        let was_parked = std::mem::replace(&mut known.is_parked, is_parked);
        self.parked = self.parked + usize::from(is_parked) - usize::from(was_parked);
    }

    fn forget(&mut self, subject: &Subject) {
        self.mark_parked(subject, false);
        self.known.remove(subject);
    }

    /// What is parked waits in the table from now on: a round that has passed it by leaves it out as well.
    fn leave_out(&mut self, subject: &Subject) {
        self.rest.others_wait = true;
        self.rest.leaves_out = true;
        self.forget(subject);
    }

    fn schedule(&mut self, subject: Subject, at: Instant) {
        let Some(known) = self.known.get_mut(&subject) else { return };
        self.turn += 1;
        known.turn = self.turn;
        self.due.push(Reverse((at, self.turn, subject)));
    }
}

#[cfg(test)]
mod tests;
