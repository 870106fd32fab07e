//! Store-and-forward: reversals and advices are repeated, with backoff and jitter, until their network acknowledges them.
//!
//! Each link has a task of its own, so that a silent network delays no other. Within a link up to
//! [`limits::LANES_IN_FLIGHT`] copies are in flight; only the lanes of one transaction wait for each other. What is owed is in
//! the table; memory holds a window of it.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use switch_domain::{
    entry::{Command, LaneAnswer, LaneKind, LaneRef},
    id::{AttemptRef, GatewayId, LinkId, NetworkId, Stan, TransactionId},
    table::{Key, OwedKind, Row, TableFault},
    transaction::{Lane, LaneState, Transaction},
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Duration, Instant},
};

use super::limits;
use crate::{
    journal::{Journal, reign::Reign, shared::Wake},
    link::{self, Delivery, LaneMessage, LinkState, Links},
    security::vault::Vault,
};

/// A transaction of a tenant: what lanes are ordered by.
type Subject = (GatewayId, TransactionId);

/// Runs the store-and-forward for as long as the node runs; it acts only while the node reigns.
pub async fn run(journal: Journal, links: Arc<Links>, vault: Arc<Vault>) {
    let mut reigns = journal.watch_reign();
    loop {
        let reign = *reigns.borrow_and_update();
        match reign {
            Some(reign) => {
                let forward = Forward { journal: journal.clone(), links: links.clone(), vault: vault.clone(), reign };
                tokio::select! {
                    biased;
                    changed = reigns.changed() => if changed.is_err() { return },
                    () = distribute(forward) => {}
                }
            }
            None => {
                if reigns.changed().await.is_err() {
                    return;
                }
            }
        }
    }
}

/// What one reign works with.
#[derive(Clone)]
struct Forward {
    journal: Journal,
    links: Arc<Links>,
    vault: Arc<Vault>,
    reign: Reign,
}

/// Gives each link its task, and each task its wake-ups. Ends by being dropped with the reign.
async fn distribute(forward: Forward) {
    struct Line {
        wakes: mpsc::Sender<(AttemptRef, bool)>,
        overflowed: Arc<AtomicBool>,
    }
    let mut lines: HashMap<LinkId, Line> = HashMap::new();
    let mut running = JoinSet::new();
    let mut start = |link: &LinkId, lines: &mut HashMap<LinkId, Line>| {
        if !lines.contains_key(link) {
            let (wakes, taken) = mpsc::channel(limits::WAKES_PER_LINK_MAX);
            let overflowed = Arc::new(AtomicBool::new(true)); // the first look is at the table
            running.spawn(
                LinkTask {
                    forward: forward.clone(),
                    link: link.clone(),
                    overflowed: overflowed.clone(),
                    due: BinaryHeap::new(),
                    known: HashMap::new(),
                    cursor: None,
                    turn: 0,
                    repeats: 0,
                }
                .run(taken),
            );
            lines.insert(link.clone(), Line { wakes, overflowed });
        }
    };
    let mut versions = forward.journal.shared().directory_version.subscribe();
    loop {
        versions.borrow_and_update();
        // A link that was taken out of the directory may still owe something: the table knows those too.
        for link in forward.journal.standing().directory.links.keys() {
            start(link, &mut lines);
        }
        for link in owing_links(&forward.journal).unwrap_or_default() {
            start(&link, &mut lines);
        }
        loop {
            let (wakes, more) = forward.journal.shared().wakes.take();
            if more {
                lines.values().for_each(|line| line.overflowed.store(true, Ordering::Release));
            }
            for Wake { link, attempt, forced } in wakes {
                start(&link, &mut lines);
                if let Some(line) = lines.get(&link)
                    && line.wakes.try_send((attempt, forced)).is_err()
                {
                    line.overflowed.store(true, Ordering::Release);
                }
            }
            tokio::select! {
                biased;
                changed = versions.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    break;
                }
                () = forward.journal.shared().wakes.wait() => {}
            }
        }
    }
}

/// The links that something is owed on, by jumping from each to the next.
fn owing_links(journal: &Journal) -> Result<Vec<LinkId>, TableFault> {
    let mut links = Vec::new();
    let mut from = super::in_doubt::owed_start();
    let end = super::in_doubt::owed_end();
    while let Some((Key::Owed(link, _), _)) =
        journal.reader().range(Bound::Excluded(&from), Bound::Excluded(&end), 1)?.into_iter().next()
    {
        links.push(link.clone());
        from = Key::Owed(link, Stan::LAST);
    }
    Ok(links)
}

/// One link's part of what is owed.
struct LinkTask {
    forward: Forward,
    link: LinkId,
    overflowed: Arc<AtomicBool>,
    /// When each known transaction is next looked at.
    due: BinaryHeap<Reverse<(Instant, u64, Subject)>>,
    known: HashMap<Subject, Tries>,
    /// Last trace number of a scan that is not finished.
    cursor: Option<Stan>,
    turn: u64,
    /// Copies in flight that are not the first of their lane.
    repeats: usize,
}

/// Copies of one lane that this process has sent.
#[derive(Clone, Debug, Default)]
struct Tries {
    lane: Option<LaneRef>,
    count: u32,
    in_flight: bool,
    /// True until the next look: an operator asked for a copy, whatever the state.
    forced: bool,
    /// True where something happened to the transaction during a look: look again.
    woken: bool,
    /// How long copies of the lane have gone unanswered while the link was in service: what the budget is spent on (R25).
    spent: Duration,
    /// The one entry of the due times that counts; earlier ones are stale.
    turn: u64,
}

/// What became of looking at one transaction.
enum Looked {
    /// Nothing is owed any more.
    Done,
    /// Look again at once: the next lane's turn has come, or something changed.
    Again,
    /// Look again later.
    Later(Duration),
    /// A copy of this lane went out, and is not acknowledged.
    Tried(LaneRef, Duration),
}

impl LinkTask {
    async fn run(mut self, mut wakes: mpsc::Receiver<(AttemptRef, bool)>) {
        let mut in_flight: JoinSet<(Subject, bool, Looked)> = JoinSet::new();
        loop {
            if self.overflowed.load(Ordering::Acquire) || self.cursor.is_some() {
                self.scan();
            }
            let in_service = self.in_service();
            while in_service && in_flight.len() < limits::LANES_IN_FLIGHT && self.is_due() {
                let Some(Reverse((_, turn, subject))) = self.due.pop() else { break };
                let Some(tries) = self.known.get_mut(&subject).filter(|tries| tries.turn == turn) else { continue };
                if tries.count > 0 && self.repeats >= limits::REPEATS_IN_FLIGHT {
                    // First copies keep room of their own: what a network never answers must not hold up the rest.
                    self.schedule(subject, Instant::now() + limits::OUT_OF_SERVICE_LOOK);
                    continue;
                }
                self.repeats += usize::from(tries.count > 0);
                tries.in_flight = true;
                let look = look(self.forward.clone(), self.link.clone(), subject.clone(), tries.clone());
                tries.forced = false;
                let repeats = tries.count > 0;
                in_flight.spawn(async move { (subject, repeats, look.await) });
            }
            let next = match self.due.peek() {
                Some(_) if !in_service => Instant::now() + limits::OUT_OF_SERVICE_LOOK,
                Some(Reverse((at, _, _))) => (*at).max(Instant::now()),
                None => Instant::now() + Duration::from_secs(1),
            };
            let has_room = in_flight.len() < limits::LANES_IN_FLIGHT;
            tokio::select! {
                biased;
                Some(looked) = in_flight.join_next(), if !in_flight.is_empty() => {
                    if let Ok((subject, repeats, looked)) = looked {
                        self.repeats -= usize::from(repeats);
                        self.looked(subject, looked);
                    }
                }
                wake = wakes.recv() => match wake {
                    Some((attempt, forced)) => {
                        let subject = (attempt.gateway, attempt.id.transaction);
                        self.learn(subject.clone());
                        if let Some(tries) = self.known.get_mut(&subject) {
                            tries.forced |= forced;
                        }
                    }
                    None => return,
                },
                () = tokio::time::sleep_until(next), if has_room => {}
            }
        }
    }

    fn in_service(&self) -> bool {
        // A link that is no longer served is not waited for: each transaction finds another one to its network, or none.
        self.forward.links.get(&self.link).is_none_or(|link| link.state() == LinkState::InService)
    }

    fn is_due(&self) -> bool {
        self.due.peek().is_some_and(|Reverse((at, _, _))| *at <= Instant::now())
    }

    fn learn(&mut self, subject: Subject) {
        if self.known.len() >= limits::LANES_KNOWN_MAX && !self.known.contains_key(&subject) {
            self.overflowed.store(true, Ordering::Release);
            return;
        }
        let tries = self.known.entry(subject.clone()).or_default();
        if tries.in_flight {
            tries.woken = true; // the look under way may have seen the row as it was before
        } else {
            self.schedule(subject, Instant::now());
        }
    }

    fn schedule(&mut self, subject: Subject, at: Instant) {
        let Some(tries) = self.known.get_mut(&subject) else { return };
        self.turn += 1;
        tries.turn = self.turn;
        self.due.push(Reverse((at, self.turn, subject)));
    }

    fn looked(&mut self, subject: Subject, looked: Looked) {
        let Some(tries) = self.known.get_mut(&subject) else { return };
        tries.in_flight = false;
        let woken = std::mem::take(&mut tries.woken);
        let now = Instant::now();
        let at = match looked {
            Looked::Done if woken => now,
            Looked::Done => {
                self.known.remove(&subject);
                return;
            }
            Looked::Again => now,
            Looked::Later(pause) => now + pause,
            Looked::Tried(lane, repeat_after) => {
                if tries.lane.as_ref() != Some(&lane) {
                    *tries = Tries { lane: Some(lane), forced: tries.forced, ..Tries::default() };
                }
                tries.count = tries.count.saturating_add(1);
                let factor = 1_u32.checked_shl(tries.count - 1).unwrap_or(u32::MAX).min(limits::BACKOFF_FACTOR_MAX);
                let pause = jittered(repeat_after * factor, self.turn);
                tries.spent = tries.spent.saturating_add(pause);
                now + pause
            }
        };
        let at = if woken { now } else { at };
        self.schedule(subject, at);
    }

    /// Takes up what the table owes on this link, as much as there is room for.
    fn scan(&mut self) {
        if self.known.len() >= limits::LANES_KNOWN_MAX {
            return; // the wish for a scan stays
        }
        if self.cursor.is_none() {
            self.overflowed.store(false, Ordering::Release);
        }
        while self.known.len() < limits::LANES_KNOWN_MAX {
            let low = Key::Owed(self.link.clone(), self.cursor.unwrap_or(Stan::FIRST));
            let high = Key::Owed(self.link.clone(), Stan::LAST);
            let from = if self.cursor.is_some() { Bound::Excluded(&low) } else { Bound::Included(&low) };
            let rows = match self.forward.journal.reader().range(from, Bound::Included(&high), limits::SCAN_PAGE) {
                Ok(rows) => rows,
                Err(fault) => {
                    tracing::error!(%fault, link = %self.link, "what is owed could not be read");
                    return;
                }
            };
            let ended = rows.len() < limits::SCAN_PAGE;
            for (key, row) in rows {
                if let Key::Owed(_, stan) = key {
                    self.cursor = Some(stan);
                }
                if let Row::Owed(owed) = row
                    && matches!(owed.kind, OwedKind::Reversal | OwedKind::Advice)
                {
                    let subject = (owed.attempt.gateway, owed.attempt.id.transaction);
                    if !self.known.contains_key(&subject) {
                        self.learn(subject);
                    }
                }
            }
            if ended {
                self.cursor = None;
                return;
            }
        }
    }
}

/// A quarter more or less, so that what timed out together does not come back together.
fn jittered(pause: Duration, turn: u64) -> Duration {
    let scatter = turn.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48; // 0 to 65535, evenly enough
    pause.mul_f64(0.75 + scatter as f64 / 131_072.0)
}

/// A lane of a transaction with what its message needs.
struct Turn<'a> {
    reference: LaneRef,
    lane: &'a Lane,
    network: &'a NetworkId,
    what: link::LaneKind,
    repeat_budget_ms: u64,
}

/// The lane whose turn it is on this link: the first pending one, else the first parked one that may still be tried; one that
/// the network refused only where an operator forces it.
fn next_turn<'a>(transaction: &'a Transaction, link: &LinkId, tries: &Tries) -> Option<Turn<'a>> {
    let mut turns: Vec<Turn<'a>> = Vec::new();
    let gateway = &transaction.gateway;
    let first_attempt = transaction.attempt_id(0, transaction.first().last_number());
    for (index, operation) in transaction.operations.iter().enumerate() {
        for (number, attempt) in operation.attempts.iter().enumerate() {
            let Some(reversal) = &attempt.reversal else { continue };
            if attempt.link == *link {
                let number = u16::try_from(number + 1).unwrap_or(u16::MAX);
                let id = transaction.attempt_id(index, number);
                turns.push(Turn {
                    reference: LaneRef {
                        attempt: AttemptRef { gateway: gateway.clone(), id },
                        kind: LaneKind::Reversal,
                        generation: reversal.lane.generation,
                    },
                    lane: &reversal.lane,
                    network: &attempt.network,
                    what: link::LaneKind::Reversal {
                        original: attempt.identity,
                        requested: operation.amount,
                        approved: reversal.approved,
                        reversed: reversal.lane.amount,
                        reason: reversal.reason,
                    },
                    repeat_budget_ms: u64::from(attempt.terms.repeat_budget_ms),
                });
            }
        }
        if let Some(advice) = &operation.advice
            && advice.link == *link
        {
            let budget = transaction.first().last_attempt().map_or(0, |attempt| attempt.terms.repeat_budget_ms);
            turns.push(Turn {
                reference: LaneRef {
                    attempt: AttemptRef { gateway: gateway.clone(), id: transaction.attempt_id(index, 1) },
                    kind: LaneKind::Advice,
                    generation: advice.lane.generation,
                },
                lane: &advice.lane,
                network: &advice.network,
                what: link::LaneKind::Advice {
                    original: AttemptRef { gateway: gateway.clone(), id: first_attempt },
                    amount: operation.amount,
                    is_final: operation.final_capture,
                },
                repeat_budget_ms: u64::from(budget),
            });
        }
    }
    turns.sort_by_key(|turn| turn.lane.since);
    let parked = |turn: &Turn<'_>| turn.lane.state == LaneState::Parked { refused: false };
    let another = |turn: &Turn<'_>| tries.lane.as_ref() != Some(&turn.reference);
    let refused = |turn: &Turn<'_>| tries.forced && turn.lane.state == LaneState::Parked { refused: true };
    let position = turns
        .iter()
        .position(|turn| turn.lane.state == LaneState::Pending)
        .or_else(|| turns.iter().position(refused))
        .or_else(|| turns.iter().position(|turn| parked(turn) && another(turn)))
        .or_else(|| turns.iter().position(parked))?;
    Some(turns.swap_remove(position))
}

/// Looks at one transaction: sends a copy of the lane whose turn it is and commits what came back.
async fn look(forward: Forward, link: LinkId, subject: Subject, tries: Tries) -> Looked {
    let (gateway, id) = &subject;
    let transaction = match forward.journal.transaction(gateway, *id) {
        Ok(Some(transaction)) => transaction,
        Ok(None) | Err(_) => return Looked::Done,
    };
    let Some(turn) = next_turn(&transaction, &link, &tries) else { return Looked::Done };
    let sent = forward.reign.now();
    let standing = forward.journal.standing();
    let profile = standing.network(turn.network);
    let repeat_after = Duration::from_millis(u64::from(profile.map_or(10_000, |network| network.repeat_after_ms)));
    let pending = turn.lane.state == LaneState::Pending;
    // Only copies that went unanswered spend the budget: an outage in which nothing could be sent does not park (R25).
    let earlier = tries.lane.as_ref() == Some(&turn.reference) && tries.count > 0;
    let budget = Duration::from_millis(turn.repeat_budget_ms);
    if pending && earlier && !budget.is_zero() && tries.spent > budget {
        return match forward.journal.propose(Command::Park(turn.reference.clone())).await {
            Ok(_) => again_or_tried(&forward, &subject, &link, turn.reference, repeat_after),
            Err(_) => Looked::Later(limits::COMMIT_RETRY),
        };
    }
    let Some(sealed) = transaction.card.sealed.as_ref() else {
        tracing::error!(transaction = %id, "something is owed, but the card data is gone");
        return Looked::Later(repeat_after * limits::PARKED_FACTOR);
    };
    let card = match forward.vault.unseal(sealed, gateway, *id) {
        Ok(card) => card,
        Err(error) => {
            tracing::error!(transaction = %id, %error, "something is owed, but the vault cannot open its card data");
            return Looked::Later(repeat_after * limits::PARKED_FACTOR);
        }
    };
    // Its own link, or another one to the same network where that is no longer served.
    let served = forward.links.get(&link).or_else(|| forward.links.of_network(turn.network));
    let Some(served) = served else { return Looked::Later(repeat_after) };
    let message = LaneMessage {
        attempt: turn.reference.attempt.clone(),
        identity: turn.lane.identity,
        repeat: earlier || turn.lane.maker != forward.reign.leader || !pending,
        kind: turn.what,
        currency: transaction.currency,
        merchant: transaction.merchant.id.clone(),
        terminal: transaction.merchant.terminal.clone(),
        acquirer: transaction.merchant.acquirer.clone(),
        card,
    };
    let patience = repeat_after.max(limits::ACKNOWLEDGEMENT_MIN);
    match served.deliver(message, Instant::now() + patience).await {
        Delivery::Answered(verdict) => {
            let answer = LaneAnswer { lane: turn.reference.clone(), verdict, sent };
            match forward.journal.propose(Command::LaneAnswer(answer)).await {
                // Either it is final and the next lane's turn has come, or it must be asked again, after a pause.
                Ok(_) => again_or_tried(&forward, &subject, &link, turn.reference, repeat_after),
                // It went out all the same: the next copy is a repeat (R14).
                Err(_) => Looked::Tried(turn.reference, limits::COMMIT_RETRY),
            }
        }
        Delivery::NotSent => Looked::Later(limits::OUT_OF_SERVICE_LOOK * 4),
        Delivery::Unanswered if pending => Looked::Tried(turn.reference, repeat_after),
        Delivery::Unanswered => Looked::Later(repeat_after * limits::PARKED_FACTOR),
    }
}

/// What is next after something was committed about a lane.
fn again_or_tried(
    forward: &Forward,
    subject: &Subject,
    link: &LinkId,
    lane: LaneRef,
    repeat_after: Duration,
) -> Looked {
    let Ok(Some(transaction)) = forward.journal.transaction(&subject.0, subject.1) else { return Looked::Done };
    match next_turn(&transaction, link, &Tries::default()) {
        None => Looked::Done,
        Some(turn) if turn.lane.state != LaneState::Pending => Looked::Later(repeat_after * limits::PARKED_FACTOR),
        Some(turn) if turn.reference == lane => Looked::Tried(lane, repeat_after),
        Some(_) => Looked::Again,
    }
}
