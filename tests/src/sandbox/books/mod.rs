//! The books of one card network: what it was asked, what it said, and what that came to.
//!
//! Takes parsed messages one at a time under the lock of its network, and never looks at a clock: time comes with the
//! message. Money moves in `move_money` only. A request that comes twice is booked twice: a real network does not know
//! that the switch stumbled, and the auditor must see the second charge.

mod entry;
mod message;
mod record;
mod sums;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use switch_proto::network::v1 as wire;

use self::{
    entry::{AdviceEntry, AttemptEntry, Index, NONE, Names, ReversalEntry, Stamp, hash_of},
    record::Violation,
};
pub use self::{
    entry::{Code, Currency, Kind},
    message::{AdviceNote, Booked, Fact, Handling, Noted, Request, ReversalNote, Verdict},
    record::{Cursor, Whose},
    sums::Sums,
};
use super::{
    cards::Behaviour,
    limits::{ENTRIES_MAX, VIOLATIONS_MAX},
    proto::{Counters, Delivery, ViolationKind},
};

/// Which policy of rule R21 a network has, and what else is fixed about its books.
#[derive(Debug, Clone, Copy, Default)]
pub struct Policy {
    /// True where a reversal that comes before its original is acknowledged with 00 and makes the original void. False
    /// where it is answered with 25, and the original may still be approved.
    pub reversal_first_kills_original: bool,
    /// How much more than approved may be captured, in basis points rounded down.
    pub capture_tolerance_basis_points: u32,
}

/// The books of one network.
#[derive(Debug)]
pub struct Books {
    policy: Policy,
    entries_max: usize,
    /// Entries that earlier resets forgot, so that no transaction id comes twice.
    forgotten: u64,
    names: Names,
    attempts: Vec<AttemptEntry>,
    /// Hash of the attempt id → newest entry.
    by_attempt: HashMap<u64, Index>,
    /// Hash of the stamp → newest entry.
    by_stamp: HashMap<u64, Index>,
    reversals: Vec<ReversalEntry>,
    reversal_by_stamp: HashMap<u64, Index>,
    reversal_by_id: HashMap<u64, Index>,
    /// Hash of an attempt id that was reversed before it came → its reversal.
    came_first: HashMap<u64, Index>,
    advices: Vec<AdviceEntry>,
    advice_by_stamp: HashMap<u64, Index>,
    advice_by_id: HashMap<u64, Index>,
    totals: BTreeMap<Currency, Sums>,
    violations: Vec<Violation>,
    violations_dropped: u64,
    /// What is counted beside the entries.
    pub counters: Counters,
}

impl Books {
    /// Empty books.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            entries_max: ENTRIES_MAX,
            forgotten: 0,
            names: Names::default(),
            attempts: Vec::new(),
            by_attempt: HashMap::new(),
            by_stamp: HashMap::new(),
            reversals: Vec::new(),
            reversal_by_stamp: HashMap::new(),
            reversal_by_id: HashMap::new(),
            came_first: HashMap::new(),
            advices: Vec::new(),
            advice_by_stamp: HashMap::new(),
            advice_by_id: HashMap::new(),
            totals: BTreeMap::new(),
            violations: Vec::new(),
            violations_dropped: 0,
            counters: Counters::default(),
        }
    }

    /// Forgets every entry.
    pub fn reset(&mut self) {
        *self = Self { forgotten: self.forgotten + self.attempts.len() as u64, ..Self::new(self.policy) };
    }

    /// Books a request, as often as it comes.
    pub fn request(&mut self, request: &Request<'_>, verdict: Verdict, delivery: Delivery) -> Booked {
        let id = request.identity.attempt_id.as_str();
        if self.attempts.len() >= self.entries_max {
            self.violation(ViolationKind::BooksFull, id, request.now_us, || "attempt".into());
            return Booked { code: Code::MALFUNCTION, approved: 0, yes: false, approval_code: *b"      ", sequence: 0 };
        }
        let place = self.attempts.len() as Index;
        let hash = hash_of(&id);
        let stamp = Stamp::of(request.identity, &mut self.names);

        let twin = self.newest(id);
        if let Some(twin) = twin {
            let first_us = self.attempts[twin as usize].received_us;
            self.violation(ViolationKind::RequestTwice, id, request.now_us, || {
                format!("received before at {first_us}")
            });
        }
        if let Some(&holder) = self.by_stamp.get(&hash_of(&stamp)) {
            let holder = &self.attempts[holder as usize];
            if holder.stamp == stamp && *holder.attempt_id != *id {
                let detail = format!("{stamp} was carried by {}", holder.attempt_id);
                self.violation(ViolationKind::IdentityReused, id, request.now_us, || detail);
            }
        }

        let killed = self.policy.reversal_first_kills_original
            && self.came_first.get(&hash).is_some_and(|&first| *self.reversals[first as usize].fact.original_id == *id);
        let (verdict, root) = match self.root_of_request(request, place) {
            _ if killed => (Verdict::Decline(Code::INVALID_TRANSACTION), place),
            Ok(root) => (verdict, root),
            Err(code) => (Verdict::Decline(code), place),
        };
        let (code, approved) = judge(verdict, request);
        let yes = !matches!(verdict, Verdict::Decline(_));
        let sequence = self.forgotten + u64::from(place);
        let approval_code = if yes { approval_code(sequence ^ request.card.token) } else { *b"      " };

        self.attempts.push(AttemptEntry {
            attempt_id: id.into(),
            stamp,
            kind: request.kind,
            single_message: request.single_message,
            amount: request.amount,
            currency: request.currency,
            card: request.card,
            credentials: request.credentials.clone(),
            merchant: self.names.symbol(request.merchant),
            code,
            approval_code,
            approved,
            reversed: 0,
            received_us: request.now_us,
            copy: twin.map_or(1, |twin| self.attempts[twin as usize].copy.saturating_add(1)),
            delivery,
            killed,
            older: self.by_attempt.insert(hash, place).unwrap_or(NONE),
            root,
            increment: NONE,
            sums: Sums::default(),
        });
        self.by_stamp.insert(hash_of(&stamp), place);
        if request.kind == Kind::Increment && root != place {
            let newest = std::mem::replace(&mut self.attempts[root as usize].increment, place);
            self.attempts[place as usize].increment = newest;
        }
        match request.kind {
            Kind::Hold | Kind::Increment => self.move_money(place, &Sums { approved, ..Sums::default() }),
            Kind::Sale => self.move_money(place, &Sums { approved, captured: approved, ..Sums::default() }),
            Kind::Refund => self.move_money(place, &Sums { refunded: approved, ..Sums::default() }),
            Kind::Verification => {}
        }
        Booked { code, approved, yes, approval_code, sequence }
    }

    /// Books a reversal. Copies of one identity are one reversal; each copy is judged until it has found its original.
    pub fn reversal(&mut self, note: &ReversalNote<'_>, handling: Handling) -> Noted {
        let fact = &note.fact;
        self.check_kept(fact);
        let stamp = Stamp::of(fact.identity, &mut self.names);
        let known = self.reversal_of(&stamp, &fact.identity.attempt_id);
        let place = match known {
            Some(place) => place,
            None if self.reversals.len() >= self.entries_max => return self.full("reversal", fact),
            None => {
                let place = self.reversals.len() as Index;
                let holder = self.reversal_by_stamp.insert(hash_of(&stamp), place);
                let namesake = self.reversal_by_id.insert(hash_of(&fact.identity.attempt_id.as_str()), place);
                let facts = |at: Index| &self.reversals[at as usize].fact;
                let broken = reused(fact, &stamp, holder.map(facts), namesake.map(facts));
                self.violations(fact, broken);
                self.reversals.push(ReversalEntry {
                    fact: entry::Fact::new(fact, stamp, holder),
                    requested: note.requested,
                    approved: note.approved,
                    reversed: note.reversed,
                    reason: note.reason,
                    undone: 0,
                    came_first: false,
                });
                place
            }
        };
        let broken = self.reversals[place as usize].fact.count(fact, known.is_some());
        self.violations(fact, broken);

        let entry = &self.reversals[place as usize];
        let code = match handling {
            _ if entry.fact.settled => Code::DUPLICATE,
            Handling::Refuse(code) => code,
            Handling::Take => self.undo(place, note),
        };
        let entry = &mut self.reversals[place as usize];
        entry.fact.code = code;
        Noted { code, copies: entry.fact.copies, entry: Some(place) }
    }

    /// Books an advice, as [`Books::reversal`] does.
    pub fn advice(&mut self, note: &AdviceNote<'_>, handling: Handling) -> Noted {
        let fact = &note.fact;
        self.check_kept(fact);
        let stamp = Stamp::of(fact.identity, &mut self.names);
        let known = self.advice_of(&stamp, &fact.identity.attempt_id);
        let place = match known {
            Some(place) => place,
            None if self.advices.len() >= self.entries_max => return self.full("advice", fact),
            None => {
                let place = self.advices.len() as Index;
                let holder = self.advice_by_stamp.insert(hash_of(&stamp), place);
                let namesake = self.advice_by_id.insert(hash_of(&fact.identity.attempt_id.as_str()), place);
                let facts = |at: Index| &self.advices[at as usize].fact;
                let broken = reused(fact, &stamp, holder.map(facts), namesake.map(facts));
                self.violations(fact, broken);
                let fact = entry::Fact::new(fact, stamp, holder);
                self.advices.push(AdviceEntry { fact, amount: note.amount, last: note.last });
                place
            }
        };
        let broken = self.advices[place as usize].fact.count(fact, known.is_some());
        self.violations(fact, broken);

        let entry = &self.advices[place as usize];
        let code = match handling {
            _ if entry.fact.settled => Code::DUPLICATE,
            Handling::Refuse(code) => code,
            Handling::Take => self.capture(place, note),
        };
        let entry = &mut self.advices[place as usize];
        entry.fact.code = code;
        Noted { code, copies: entry.fact.copies, entry: Some(place) }
    }

    /// Counts an answer to a reversal.
    pub fn reversal_answered(&mut self, noted: &Noted) {
        if let Some(place) = noted.entry {
            self.reversals[place as usize].fact.answered += 1;
        }
    }

    /// Counts an answer to an advice.
    pub fn advice_answered(&mut self, noted: &Noted) {
        if let Some(place) = noted.entry {
            self.advices[place as usize].fact.answered += 1;
        }
    }

    /// What the card of an attempt makes the network do with what follows it.
    pub fn behaviour_of(&self, attempt_id: &str) -> Behaviour {
        self.newest(attempt_id).map_or(Behaviour::Approve, |place| self.attempts[place as usize].card.behaviour())
    }

    /// Number of the first copy of an attempt, for the network's transaction id.
    pub fn sequence_of(&self, attempt_id: &str) -> Option<u64> {
        self.copies(attempt_id).last().map(|place| self.forgotten + u64::from(place))
    }

    /// Money in one currency.
    pub fn total(&self, currency: Currency) -> Sums {
        self.totals.get(&currency).copied().unwrap_or_default()
    }

    /// Notes what a switch must never do.
    pub fn violation(&mut self, kind: ViolationKind, about: &str, now_us: i64, detail: impl FnOnce() -> String) {
        if self.violations.len() >= VIOLATIONS_MAX {
            self.violations_dropped += 1;
            return;
        }
        // A hostile id must not make the books long.
        let about = about.chars().take(64).collect();
        self.violations.push(Violation { kind, about, detail: detail(), time_us: now_us });
    }

    /// The first authorization of what is asked; the entry itself where it is one.
    fn root_of_request(&mut self, request: &Request<'_>, place: Index) -> Result<Index, Code> {
        if request.original_id.is_empty() {
            return Ok(place);
        }
        let id = &request.identity.attempt_id;
        let Some(original) = self.standing(request.original_id) else {
            let kind = request.kind;
            let detail = || format!("{kind:?} of {}", request.original_id);
            self.violation(ViolationKind::FollowUpForUnknown, id, request.now_us, detail);
            return Err(Code::INVALID_TRANSACTION);
        };
        let root = self.attempts[original as usize].root;
        let entry = &self.attempts[root as usize];
        if entry.currency != request.currency {
            let (was, is) = (entry.currency, request.currency);
            let detail = || format!("{} after {}", entry::text(&is), entry::text(&was));
            self.violation(ViolationKind::CurrencyChanged, id, request.now_us, detail);
            return Err(Code::INVALID_TRANSACTION);
        }
        let fits = match request.kind {
            Kind::Increment => entry.kind == Kind::Hold && entry.outstanding() > 0,
            _ => matches!(entry.kind, Kind::Hold | Kind::Sale),
        };
        if fits { Ok(root) } else { Err(Code::INVALID_TRANSACTION) }
    }

    /// ## NotFound => (NotFound | Settled)
    fn undo(&mut self, place: Index, note: &ReversalNote<'_>) -> Code {
        let fact = &note.fact;
        let Some(target) = self.standing(fact.original_id) else {
            self.reversals[place as usize].came_first = true;
            self.came_first.insert(hash_of(&fact.original_id), place);
            if !self.policy.reversal_first_kills_original {
                return Code::NOT_FOUND;
            }
            self.reversals[place as usize].fact.settled = true;
            return Code::APPROVED;
        };
        if self.attempts[target as usize].currency != fact.currency {
            let (was, is) = (self.attempts[target as usize].currency, fact.currency);
            let detail = || format!("{} after {}", entry::text(&is), entry::text(&was));
            self.violation(ViolationKind::CurrencyChanged, &fact.identity.attempt_id, fact.now_us, detail);
            return Code::FORMAT_ERROR;
        }
        self.check_original(target, note);

        let root = self.attempts[target as usize].root;
        let had = self.attempts[target as usize].approved;
        let (undone, beyond) =
            if note.reason == wire::ReversalReason::Remainder && self.attempts[root as usize].kind == Kind::Hold {
                // A remainder belongs to the transaction, not to one of its approvals. Its capture may be under way, so
                // whether it was too much is judged when the books are read.
                self.move_money(root, &Sums { released: note.reversed, ..Sums::default() });
                (note.reversed, 0)
            } else {
                self.reverse(target, note.reversed)
            };
        if beyond > 0 {
            let detail = || format!("{} of {had} reversed, {beyond} too much", note.reversed);
            self.violation(ViolationKind::ReversalBeyondOriginal, &fact.identity.attempt_id, fact.now_us, detail);
        }
        let entry = &mut self.reversals[place as usize];
        entry.undone += undone;
        entry.fact.settled = true;
        // An original that was declined is undone by nothing; one that another reversal undid was undone before.
        if undone > 0 || had == 0 { Code::APPROVED } else { Code::DUPLICATE }
    }

    /// Undoes an approval, and says how much of what was stated it undid and how much was too much. Whoever states at
    /// least what was asked or approved means the whole, and what goes beyond it is taken from the increments.
    fn reverse(&mut self, target: Index, stated: i64) -> (i64, i64) {
        let entry = &self.attempts[target as usize];
        let (asked, approved, outstanding) = (entry.amount, entry.approved, entry.outstanding());
        if outstanding == 0 && approved > 0 && stated <= asked.max(approved) {
            return (0, 0);
        }
        let whole = stated >= asked || stated >= approved || stated == 0;
        if !whole {
            let taken = stated.min(outstanding);
            self.take_back(target, taken);
            return (taken, stated - taken);
        }
        self.take_back(target, outstanding);
        let (mut undone, mut surplus) = (outstanding, stated - stated.min(asked.max(approved)));
        let AttemptEntry { root, increment, .. } = self.attempts[target as usize];
        let mut increment = if root == target { increment } else { NONE };
        while increment != NONE && surplus > 0 {
            let taken = surplus.min(self.attempts[increment as usize].outstanding());
            self.take_back(increment, taken);
            undone += taken;
            surplus -= taken;
            increment = self.attempts[increment as usize].increment;
        }
        (undone, surplus)
    }

    fn take_back(&mut self, place: Index, amount: i64) {
        let entry = &mut self.attempts[place as usize];
        entry.reversed += amount;
        let change = match entry.kind {
            Kind::Hold | Kind::Increment => Sums { reversed: amount, ..Sums::default() },
            Kind::Sale => Sums { reversed: amount, captured: -amount, ..Sums::default() },
            Kind::Refund => Sums { refunded: -amount, ..Sums::default() },
            Kind::Verification => return,
        };
        self.move_money(place, &change);
    }

    /// ## NotFound => (NotFound | Settled)
    fn capture(&mut self, place: Index, note: &AdviceNote<'_>) -> Code {
        let fact = &note.fact;
        let id = &fact.identity.attempt_id;
        let Some(target) = self.standing(fact.original_id) else {
            self.violation(ViolationKind::AdviceForUnknown, id, fact.now_us, || fact.original_id.into());
            return Code::NOT_FOUND;
        };
        let root = &self.attempts[self.attempts[target as usize].root as usize];
        let (kind, was, root) = (root.kind, root.currency, self.attempts[target as usize].root);
        if was != fact.currency {
            let detail = || format!("{} after {}", entry::text(&fact.currency), entry::text(&was));
            self.violation(ViolationKind::CurrencyChanged, id, fact.now_us, detail);
            return Code::FORMAT_ERROR;
        }
        if !matches!(kind, Kind::Hold | Kind::Sale) {
            self.violation(ViolationKind::AdviceForUnknown, id, fact.now_us, || format!("capture of a {kind:?}"));
            return Code::INVALID_TRANSACTION;
        }
        self.move_money(root, &Sums { captured: note.amount, ..Sums::default() });
        self.advices[place as usize].fact.settled = true;
        Code::APPROVED
    }

    /// The only place where sums change: those of the transaction and those of its currency, by the same amounts.
    fn move_money(&mut self, place: Index, change: &Sums) {
        let root = self.attempts[place as usize].root;
        let currency = self.attempts[root as usize].currency;
        self.attempts[root as usize].sums.add(change);
        self.totals.entry(currency).or_default().add(change);
    }

    /// A reversal that tells its original wrongly matches it all the same, by the attempt id.
    fn check_original(&mut self, target: Index, note: &ReversalNote<'_>) {
        let fact = &note.fact;
        let entry = &self.attempts[target as usize];
        if entry.kind == Kind::Verification {
            let detail = || "a verification holds nothing".into();
            return self.violation(ViolationKind::VerificationReversed, &fact.identity.attempt_id, fact.now_us, detail);
        }
        let mut wrong = Vec::new();
        if let Some(original) = note.original {
            let told = Stamp::of(original, &mut self.names);
            if told != entry.stamp || *original.attempt_id != *entry.attempt_id {
                wrong.push(format!(
                    "original {} {told}, booked {} {}",
                    original.attempt_id, entry.attempt_id, entry.stamp
                ));
            }
        }
        // With increments, the amounts may be those of the attempt or of the whole.
        if note.reason != wire::ReversalReason::Remainder && entry.increment == NONE {
            if note.requested != entry.amount {
                wrong.push(format!("requested {}, booked {}", note.requested, entry.amount));
            }
            if note.approved != 0 && note.approved != entry.approved {
                wrong.push(format!("approved {}, booked {}", note.approved, entry.approved));
            }
        }
        if note.reversed == 0 {
            wrong.push("reversed 0".into());
        }
        for detail in wrong {
            self.violation(ViolationKind::ReversalMismatch, &fact.identity.attempt_id, fact.now_us, || detail);
        }
    }

    fn check_kept(&mut self, fact: &Fact<'_>) {
        if let Some(kept) = fact.keeps {
            let detail = || kept.into();
            self.violation(ViolationKind::SensitiveDataKept, &fact.identity.attempt_id, fact.now_us, detail);
        }
    }

    fn violations(&mut self, fact: &Fact<'_>, broken: Vec<(ViolationKind, String)>) {
        for (kind, detail) in broken {
            self.violation(kind, &fact.identity.attempt_id, fact.now_us, || detail);
        }
    }

    fn full(&mut self, what: &str, fact: &Fact<'_>) -> Noted {
        self.violation(ViolationKind::BooksFull, &fact.identity.attempt_id, fact.now_us, || what.into());
        Noted { code: Code::MALFUNCTION, copies: 1, entry: None }
    }

    /// Entries of an attempt id, newest first; more than one only where a switch broke rule R1.
    fn copies<'a>(&'a self, attempt_id: &'a str) -> impl Iterator<Item = Index> + 'a {
        let newest = self.by_attempt.get(&hash_of(&attempt_id)).copied();
        std::iter::successors(newest, |place| Some(self.attempts[*place as usize].older).filter(|older| *older != NONE))
            .filter(move |place| *self.attempts[*place as usize].attempt_id == *attempt_id)
    }

    fn newest(&self, attempt_id: &str) -> Option<Index> {
        self.copies(attempt_id).next()
    }

    /// The oldest copy of which something stands, else the newest: each reversal undoes one charge.
    fn standing(&self, attempt_id: &str) -> Option<Index> {
        let standing = |place: &Index| self.attempts[*place as usize].outstanding() > 0;
        self.copies(attempt_id).filter(standing).last().or_else(|| self.newest(attempt_id))
    }

    fn reversal_of(&self, stamp: &Stamp, message_id: &str) -> Option<Index> {
        let mut at = self.reversal_by_stamp.get(&hash_of(stamp)).copied().unwrap_or(NONE);
        while at != NONE {
            let fact = &self.reversals[at as usize].fact;
            if fact.stamp == *stamp && *fact.message_id == *message_id {
                return Some(at);
            }
            at = fact.older;
        }
        None
    }

    fn advice_of(&self, stamp: &Stamp, message_id: &str) -> Option<Index> {
        let mut at = self.advice_by_stamp.get(&hash_of(stamp)).copied().unwrap_or(NONE);
        while at != NONE {
            let fact = &self.advices[at as usize].fact;
            if fact.stamp == *stamp && *fact.message_id == *message_id {
                return Some(at);
            }
            at = fact.older;
        }
        None
    }
}

impl entry::Fact {
    fn new(fact: &Fact<'_>, stamp: Stamp, older: Option<Index>) -> Self {
        Self {
            message_id: fact.identity.attempt_id.as_str().into(),
            original_id: fact.original_id.into(),
            stamp,
            digest: fact.digest,
            currency: fact.currency,
            code: Code::NOT_FOUND,
            settled: false,
            copies: 0,
            repeats: 0,
            unequal: 0,
            answered: 0,
            first_us: fact.now_us,
            last_us: fact.now_us,
            older: older.unwrap_or(NONE),
        }
    }

    /// Counts a copy, and says what is wrong with it. A first copy may well be marked as a repeat: an earlier one may
    /// have been lost, and a new leader cannot know (rule R14).
    fn count(&mut self, copy: &Fact<'_>, known: bool) -> Vec<(ViolationKind, String)> {
        self.copies += 1;
        self.repeats += u32::from(copy.repeat);
        self.last_us = copy.now_us;
        let mut broken = Vec::new();
        if known && !copy.repeat {
            broken.push((ViolationKind::RepeatNotMarked, format!("copy {} of {}", self.copies, self.stamp)));
        }
        if copy.digest != self.digest {
            self.unequal += 1;
            broken.push((ViolationKind::RepeatDiffers, format!("copy {} of {}", self.copies, self.stamp)));
        }
        broken
    }
}

/// A digest of all bytes of a message.
pub fn digest_of(message: &impl prost::Message) -> u64 {
    hash_of(&message.encode_to_vec())
}

/// What is wrong with a new reversal or advice, seen beside the last one with its stamp and the last one with its id.
/// An id that is the original's own tells nothing apart, and may come again.
fn reused(
    fact: &Fact<'_>,
    stamp: &Stamp,
    holder: Option<&entry::Fact>,
    namesake: Option<&entry::Fact>,
) -> Vec<(ViolationKind, String)> {
    let mut broken = Vec::new();
    let id = fact.identity.attempt_id.as_str();
    if let Some(holder) = holder.filter(|holder| holder.stamp == *stamp && *holder.message_id != *id) {
        broken.push((ViolationKind::IdentityReused, format!("{stamp} was carried by {}", holder.message_id)));
    }
    if let Some(namesake) = namesake.filter(|namesake| *namesake.message_id == *id && id != fact.original_id) {
        broken.push((ViolationKind::MessageIdReused, format!("{stamp}, before {}", namesake.stamp)));
    }
    broken
}

/// Code and approved amount.
fn judge(verdict: Verdict, request: &Request<'_>) -> (Code, i64) {
    match verdict {
        Verdict::Decline(code) => (code, 0),
        Verdict::Partial if request.amount >= 2 => (Code::PARTIAL, request.amount / 2),
        Verdict::Greater => (Code::APPROVED, request.amount + 1),
        Verdict::Unmapped => (Code::UNMAPPED, request.amount),
        Verdict::Approve | Verdict::Partial => (Code::APPROVED, request.amount),
    }
}

/// Six characters out of a number, as an issuer would roll them.
fn approval_code(seed: u64) -> [u8; 6] {
    const ALPHABET: &[u8; 36] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let mut rest = hash_of(&seed);
    std::array::from_fn(|_| {
        let place = (rest % 36) as usize;
        rest /= 36;
        ALPHABET[place]
    })
}
