//! Store-and-forward: reversals and advices are repeated, with backoff and jitter, until their network acknowledges them.
//!
//! Each link has a task of its own, so that a silent network delays no other. Within a link up to
//! [`limits::LANES_IN_FLIGHT`] copies are in flight; only the lanes of one transaction wait for each other, as [`turn`] says. A
//! copy that the network is silent about is still waited for, and no longer takes anybody's place. What is owed is in the
//! table; memory holds a window of it.

mod turn;
mod window;

use std::{
    collections::HashMap,
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use switch_domain::{
    entry::{Command, LaneAnswer, LaneKind, LaneRef},
    id::{AttemptRef, GatewayId, LinkId, NetworkId, Stan, TransactionId},
    table::{Key, TableFault},
    time::LogTime,
    transaction::LaneState,
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Duration, Instant},
};

use self::{
    turn::{Next, Pace, Tries},
    window::{Begun, Place, Window},
};
use super::limits;
use crate::{
    journal::{Journal, reign::Reign, shared::Wake},
    link::{Delivery, LaneMessage, LaneWait, LinkState, Links, NetworkLink},
    security::vault::Vault,
    telemetry::{self, RequestKind, RequestResult},
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
            running.spawn(LinkTask::new(forward.clone(), link.clone(), overflowed.clone()).run(taken));
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
    window: Window,
}

/// What became of looking at one transaction.
enum Looked {
    /// Nothing is owed any more.
    Done,
    /// Look again at once: the next lane's turn has come, or something changed.
    Again,
    /// Nothing is due before then.
    Wait(Instant),
    /// Look again later.
    Later(Duration),
    /// A copy of this lane went out and did not end it; `only` where no other lane can be sent meanwhile, `is_parked` where all
    /// that is owed is parked.
    Copied { lane: LaneRef, pace: Pace, only: bool, is_parked: bool },
}

impl LinkTask {
    fn new(forward: Forward, link: LinkId, overflowed: Arc<AtomicBool>) -> Self {
        Self { forward, link, overflowed, window: Window::new(Instant::now()) }
    }

    async fn run(mut self, mut wakes: mpsc::Receiver<(AttemptRef, bool)>) {
        // One for each known transaction at most, and those are bounded.
        let mut looks: JoinSet<(Subject, Looked)> = JoinSet::new();
        loop {
            let now = Instant::now();
            if self.overflowed.load(Ordering::Acquire) || self.window.wants_page(now) {
                self.scan(now);
            }
            let in_service = self.in_service();
            let has_room = !in_service || self.begin(&mut looks, now);
            let next = match self.window.next(now) {
                Some(_) if !in_service => now + limits::OUT_OF_SERVICE_LOOK,
                Some(at) => at.max(now),
                None => now + Duration::from_secs(1),
            };
            let room = self.window.room();
            tokio::select! {
                biased;
                Some(looked) = looks.join_next(), if !looks.is_empty() => {
                    if let Ok((subject, looked)) = looked {
                        self.window.looked(subject, looked, Instant::now());
                    }
                }
                wake = wakes.recv() => match wake {
                    Some((attempt, forced)) => self.wake(attempt, forced),
                    None => return,
                },
                _ = room.acquire(), if !has_room => {}
                () = tokio::time::sleep_until(next), if has_room => {}
            }
        }
    }

    /// Begins to look at what is due, as far as there is room; false where there is none left.
    fn begin(&mut self, looks: &mut JoinSet<(Subject, Looked)>, now: Instant) -> bool {
        while let Some(Begun { subject, tries, forced, place }) = self.window.begin(now) {
            let look = Look { forward: self.forward.clone(), link: self.link.clone(), subject: subject.clone() };
            looks.spawn(async move { (subject, look.carry_out(&tries, forced, place).await) });
        }
        !self.window.is_due(now)
    }

    fn in_service(&self) -> bool {
        // A link that is no longer served is not waited for: each transaction finds another one to its network, or none.
        self.forward.links.get(&self.link).is_none_or(|link| link.state() == LinkState::InService)
    }

    fn wake(&mut self, attempt: AttemptRef, forced: bool) {
        if !self.window.wake(attempt, forced, Instant::now()) {
            self.overflowed.store(true, Ordering::Release);
        }
    }

    /// Reads the next page of what the table owes on this link, where there is room for more.
    fn scan(&mut self, now: Instant) {
        if self.window.is_full() {
            return; // the wish for a scan stays
        }
        let cursor = self.window.cursor();
        if cursor.is_none() {
            self.overflowed.store(false, Ordering::Release);
        }
        let low = Key::Owed(self.link.clone(), cursor.unwrap_or(Stan::FIRST));
        let high = Key::Owed(self.link.clone(), Stan::LAST);
        let from = if cursor.is_some() { Bound::Excluded(&low) } else { Bound::Included(&low) };
        match self.forward.journal.reader().range(from, Bound::Included(&high), limits::SCAN_PAGE) {
            Ok(rows) => {
                let ended = rows.len() < limits::SCAN_PAGE;
                self.window.take_page(rows, ended, now);
            }
            Err(fault) => {
                tracing::error!(%fault, link = %self.link, "what is owed could not be read");
                self.window.break_off(now);
                self.overflowed.store(true, Ordering::Release);
            }
        }
    }
}

/// One look at one transaction: sends a copy of the lane whose turn it is and commits what came back.
struct Look {
    forward: Forward,
    link: LinkId,
    subject: Subject,
}

/// What a look has decided, so that nothing of the transaction is kept while the network is waited for.
enum Decided {
    /// Nothing to send now.
    Not(Looked),
    /// The lane's budget is used up.
    Park(LaneRef, Duration),
    /// Send this.
    Send(Box<Copied>),
}

/// A copy on its way.
struct Copied {
    over: Arc<dyn NetworkLink>,
    network: NetworkId,
    message: LaneMessage,
    lane: LaneRef,
    /// When it is sent, in log time.
    sent: LogTime,
    repeat_after: Duration,
    patience: Duration,
    /// The lane is parked.
    is_slow: bool,
    only: bool,
    /// All that is owed is.
    is_parked: bool,
}

impl Look {
    async fn carry_out(&self, tries: &Tries, forced: Option<AttemptRef>, place: Place) -> Looked {
        let copied = match self.decide(tries, forced.as_ref()) {
            Decided::Not(looked) => return looked,
            Decided::Park(lane, repeat_after) => {
                return match self.forward.journal.propose(Command::Park(lane.clone())).await {
                    Ok(_) => self.after(lane, repeat_after),
                    Err(_) => Looked::Later(limits::COMMIT_RETRY),
                };
            }
            Decided::Send(copied) => *copied,
        };
        let Copied { over, network, message, lane, sent, repeat_after, patience, is_slow, only, is_parked } = copied;
        // As patient as with a request: a network that takes longer to acknowledge than until the next copy is heard all the same.
        let wait = LaneWait::until(Instant::now() + repeat_after.max(patience).max(limits::ACKNOWLEDGEMENT_MIN));
        let (kind, began) = (kind_of(&lane), Instant::now());
        let delivering = over.deliver(message, wait);
        tokio::pin!(delivering);
        let delivery = tokio::select! {
            biased; // the link first: it must have given back its own place before another copy asks for one
            delivery = &mut delivering => delivery,
            () = tokio::time::sleep_until(wait.silent_at) => {
                drop(place);
                delivering.await // its answer counts all the same, whenever it comes
            }
        };
        telemetry::network_request(&network, kind, result_of(delivery), began.elapsed());
        match delivery {
            Delivery::Answered(verdict) => {
                let answer = LaneAnswer { lane: lane.clone(), verdict, sent };
                match self.forward.journal.propose(Command::LaneAnswer(answer)).await {
                    // Either it is final and the next lane's turn has come, or it must be asked again, after a pause.
                    Ok(_) => self.after(lane, repeat_after),
                    // It went out all the same: the next copy is a repeat (R14).
                    Err(_) => Looked::Copied { lane, pace: Pace::Backoff(limits::COMMIT_RETRY), only, is_parked },
                }
            }
            Delivery::NotSent => Looked::Later(limits::OUT_OF_SERVICE_LOOK * 4),
            Delivery::Unanswered => Looked::Copied { lane, pace: pace(repeat_after, is_slow), only, is_parked },
        }
    }

    fn decide(&self, tries: &Tries, forced: Option<&AttemptRef>) -> Decided {
        let Self { forward, link, subject: (gateway, id) } = self;
        let transaction = match forward.journal.transaction(gateway, *id) {
            Ok(Some(transaction)) => transaction,
            Ok(None) | Err(_) => return Decided::Not(Looked::Done),
        };
        let (turn, only) = match turn::next(&transaction, link, tries, forced, Instant::now()) {
            Next::Send(turn, only) => (turn, only),
            Next::Wait(at) => return Decided::Not(Looked::Wait(at)),
            Next::Nothing => return Decided::Not(Looked::Done),
        };
        let standing = forward.journal.standing();
        let profile = standing.network(turn.network);
        let repeat_after = Duration::from_millis(u64::from(profile.map_or(10_000, |network| network.repeat_after_ms)));
        let patience = Duration::from_millis(u64::from(profile.map_or(10_000, |network| network.attempt_timeout_ms)));
        let is_slow = turn.lane.state != LaneState::Pending;
        // Only copies that went unacknowledged spend the budget: an outage in which nothing could be sent does not park (R25).
        let budget = Duration::from_millis(turn.repeat_budget_ms);
        if !is_slow && !budget.is_zero() && tries.spent(&turn.reference) > budget {
            return Decided::Park(turn.reference, repeat_after);
        }
        let slow = || Decided::Not(Looked::Later(repeat_after * limits::PARKED_FACTOR));
        let Some(sealed) = transaction.card.sealed.as_ref() else {
            tracing::error!(transaction = %id, "something is owed, but the card data is gone");
            return slow();
        };
        let card = match forward.vault.unseal(sealed, gateway, *id) {
            Ok(card) => card,
            Err(error) => {
                tracing::error!(transaction = %id, %error, "something is owed, but the vault cannot open its card data");
                return slow();
            }
        };
        // Its own link, or another one to the same network where that is no longer served.
        let over = forward.links.get(link).or_else(|| forward.links.of_network(turn.network));
        let Some(over) = over else { return Decided::Not(Looked::Later(repeat_after)) };
        // What was answered before, by whatever process, was sent before (R14).
        let repeat = tries.has_sent(&turn.reference)
            || turn.lane.doubted_once
            || turn.lane.maker != forward.reign.leader
            || is_slow;
        let message = LaneMessage {
            attempt: turn.reference.attempt.clone(),
            identity: turn.lane.identity,
            repeat,
            kind: turn.what,
            currency: transaction.currency,
            merchant: transaction.merchant.id.clone(),
            terminal: transaction.merchant.terminal.clone(),
            acquirer: transaction.merchant.acquirer.clone(),
            card,
        };
        let (lane, sent) = (turn.reference, forward.reign.travelled(turn.lane.since));
        let is_parked = turn::is_parked(&turn::owed(&transaction, link));
        let network = turn.network.clone();
        let copied = Copied { over, network, message, lane, sent, repeat_after, patience, is_slow, only, is_parked };
        Decided::Send(Box::new(copied))
    }

    /// What is next after something was committed about a lane.
    fn after(&self, lane: LaneRef, repeat_after: Duration) -> Looked {
        let Ok(Some(transaction)) = self.forward.journal.transaction(&self.subject.0, self.subject.1) else {
            return Looked::Done;
        };
        let owed = turn::owed(&transaction, &self.link);
        // A copy that an operator asked for counts for a lane whose turn has not come (R14).
        let goes_on = |turn: &&turn::Turn<'_>| turn.lane.state != LaneState::Parked { refused: true };
        let own = owed.iter().filter(|turn| turn.reference == lane).find(goes_on);
        let own = own.map(|turn| pace(repeat_after, turn.lane.state != LaneState::Pending));
        let is_parked = turn::is_parked(&owed);
        let ready = turn::sendable(owed);
        let only = ready.len() == 1 && ready[0].reference == lane;
        match own {
            Some(pace) => Looked::Copied { lane, pace, only, is_parked },
            None if ready.is_empty() => Looked::Done,
            None => Looked::Again,
        }
    }
}

fn kind_of(lane: &LaneRef) -> RequestKind {
    match lane.kind {
        LaneKind::Reversal => RequestKind::Reversal,
        LaneKind::Advice => RequestKind::Advice,
    }
}

fn result_of(delivery: Delivery) -> RequestResult {
    match delivery {
        Delivery::Answered(_) => RequestResult::Answered,
        Delivery::NotSent => RequestResult::NotSent,
        Delivery::Unanswered => RequestResult::Unknown,
    }
}

fn pace(repeat_after: Duration, is_slow: bool) -> Pace {
    if is_slow { Pace::Slow(repeat_after * limits::PARKED_FACTOR) } else { Pace::Backoff(repeat_after) }
}
