//! Handing over: leadership to another voter, and this node's work before it ends (R4).
//!
//! ```text
//! intake closed ─ opens written (≤ 2 s) ─ gate stopped ─ transfer ─┬─ taken: the reign ends ─┐
//!                                                                  ├─ late: nobody knows yet ┴─► gate and intake open again
//!                                                                  └─ refused at once ─────────► gate and intake open again
//! ```
//!
//! While the intake is closed this node takes no new calls although it leads: they wait in the forward layer until another
//! node does. What was committed and could not be written any more becomes `not_sent` at the gate.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use switch_consensus::{LeaderId, NodeId, TransferError};
use thiserror::Error;
use tokio::{
    sync::{Mutex, oneshot, watch},
    time::Instant,
};
use tokio_util::task::TaskTracker;

use crate::{
    flow::Gate,
    journal::{Journal, reign::Reign},
    outcome::Conversations,
};

/// Whether this node takes new calls while it leads. What it says is followed by whoever takes calls.
pub struct Intake {
    open: Arc<watch::Sender<bool>>,
    course: watch::Sender<Course>,
}

/// Where a node is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    /// It stays.
    Stays,
    /// An operator sends it away, which can be refused.
    Leaves,
    /// Its process ends.
    Ends,
}

impl Intake {
    /// Says so through `open`, which nobody else writes to.
    pub fn new(open: Arc<watch::Sender<bool>>) -> Arc<Self> {
        Arc::new(Self { open, course: watch::Sender::new(Course::Stays) })
    }

    /// True while new calls are taken.
    pub fn is_open(&self) -> bool {
        *self.open.borrow()
    }

    /// True once this node is leaving.
    pub fn is_draining(&self) -> bool {
        *self.course.borrow() != Course::Stays
    }

    fn close(&self) {
        self.open.send_replace(false);
    }

    /// A node that is leaving stays closed.
    fn reopen(&self) {
        self.open.send_modify(|open| *open = !self.is_draining());
    }

    /// Closes until the process ends, or until [`Intake::stay`].
    fn leave(&self, course: Course) {
        self.course.send_modify(|now| {
            if *now != Course::Ends {
                *now = course;
            }
        });
        self.close();
    }

    /// The node was sent away in vain: it takes calls again, unless its process ends.
    fn stay(&self) {
        self.course.send_modify(|course| {
            if *course == Course::Leaves {
                *course = Course::Stays;
            }
        });
        self.reopen();
    }
}

/// Why leadership was not handed over.
#[derive(Debug, Error)]
pub enum TransferFault {
    /// This node does not lead.
    #[error("this node does not lead")]
    NotLeading,
    /// Another hand-over is under way: wait for it.
    #[error("another hand-over is under way")]
    UnderWay,
    /// Consensus refuses, or does not know yet.
    #[error(transparent)]
    Refused(#[from] TransferError),
}

/// Hands this node's leadership over, one hand-over at a time. The work is a task of the node's: a caller that goes away
/// leaves nothing half closed behind.
pub struct HandOver {
    helm: Arc<dyn Helm>,
    intake: Arc<Intake>,
    one: Arc<Mutex<()>>,
    /// True once somebody watches that a node that has left leads no more.
    watched: AtomicBool,
    tasks: TaskTracker,
}

impl HandOver {
    /// For a node; `tasks` are joined when it ends.
    pub fn new(
        journal: Journal,
        gate: Arc<Gate>,
        conversations: Arc<Conversations>,
        intake: Arc<Intake>,
        tasks: TaskTracker,
    ) -> Arc<Self> {
        Self::with(Arc::new(Bridge { journal, gate, conversations }), intake, tasks)
    }

    fn with(helm: Arc<dyn Helm>, intake: Arc<Intake>, tasks: TaskTracker) -> Arc<Self> {
        Arc::new(Self { helm, intake, one: Arc::default(), watched: AtomicBool::new(false), tasks })
    }

    /// What it closes.
    pub fn intake(&self) -> &Arc<Intake> {
        &self.intake
    }

    /// Hands leadership to `to`, or to the voter that is furthest, and returns the new leader. Opens under way are waited for
    /// until the earlier of two seconds and `deadline`; consensus has its own bound after that.
    ///
    /// # Errors
    /// [`TransferFault`].
    pub async fn hand_over(&self, to: Option<NodeId>, deadline: Instant) -> Result<LeaderId, TransferFault> {
        let Ok(turn) = self.one.clone().try_lock_owned() else { return Err(TransferFault::UnderWay) };
        let (helm, intake) = (self.helm.clone(), self.intake.clone());
        let (tell, told) = oneshot::channel();
        self.tasks.spawn(async move {
            let (handed, after) = transfer(helm.as_ref(), &intake, to, deadline).await;
            let _ = tell.send(handed);
            if let After::WhenItsReignIsOver(reign) = after {
                over(helm.as_ref(), reign).await;
                helm.stop_dispatch(false);
                intake.reopen();
            }
            drop(turn);
        });
        told.await.unwrap_or_else(|_| Err(TransferError::Stopped.into()))
    }

    /// For the end of the process: hands over if this node leads, or comes to lead meanwhile, and waits for its conversations
    /// with networks, all until `until`. Returns how many were left.
    pub async fn drain(&self, until: Instant) -> usize {
        self.intake.leave(Course::Ends);
        let mut refused: Option<Reign> = None;
        loop {
            let reign = *self.helm.reign().borrow();
            if reign.is_some() && reign != refused {
                if let Err(fault) = self.give_away(until).await {
                    tracing::warn!(%fault, "leadership was not handed over before leaving");
                    refused = reign;
                }
            } else if self.is_idle() {
                return 0;
            }
            if Instant::now() >= until {
                return self.helm.conversing();
            }
            tokio::time::sleep(LOOK.min(until.saturating_duration_since(Instant::now()))).await;
        }
    }

    /// At an operator's word: hands over if this node leads, and leads no more until its process ends. Waits for its
    /// conversations with networks until `until`, and returns how many were left.
    ///
    /// # Errors
    /// [`TransferFault`]: nobody is there to lead, and this node takes calls as before; or it still leads at `until`, and goes on
    /// trying to hand over.
    pub async fn leave(self: &Arc<Self>, until: Instant) -> Result<usize, TransferFault> {
        self.intake.leave(Course::Leaves);
        self.watch();
        let began = Instant::now();
        loop {
            if self.leads() {
                match self.give_away(until).await {
                    Ok(()) => {}
                    // Nobody knows yet: if this node goes on to lead, it is asked again.
                    Err(TransferFault::Refused(TransferError::Late { .. } | TransferError::Stopped)) => {}
                    Err(fault) => {
                        self.intake.stay();
                        return Err(fault);
                    }
                }
            } else if self.is_idle() {
                return Ok(0);
            }
            if Instant::now() >= until {
                return if self.leads() {
                    Err(TransferError::Late { within: began.elapsed() }.into())
                } else {
                    Ok(self.helm.conversing())
                };
            }
            tokio::time::sleep(LOOK.min(until.saturating_duration_since(Instant::now()))).await;
        }
    }

    /// One try to hand over before leaving. Whoever is late, or finds a hand-over under way, looks again.
    async fn give_away(&self, until: Instant) -> Result<(), TransferFault> {
        match tokio::time::timeout_at(until, self.hand_over(None, until)).await {
            Ok(Ok(leader)) => tracing::info!(%leader, "leadership was handed over before leaving"),
            Ok(Err(
                TransferFault::NotLeading
                | TransferFault::UnderWay
                | TransferFault::Refused(TransferError::NotLeader { .. }),
            ))
            | Err(_) => {}
            Ok(Err(fault)) => return Err(fault),
        }
        Ok(())
    }

    fn leads(&self) -> bool {
        self.helm.reign().borrow().is_some()
    }

    /// Nothing is begun here, and nothing is waited for.
    fn is_idle(&self) -> bool {
        self.helm.conversing() == 0 && self.helm.opening() == 0
    }

    /// From now on, hands over whenever a node that has left comes to lead: it would lead with a closed door.
    fn watch(self: &Arc<Self>) {
        if !self.watched.swap(true, Ordering::AcqRel) {
            let hand_over = self.clone();
            self.tasks.spawn(async move { hand_over.stay_away().await });
        }
    }

    async fn stay_away(&self) {
        let (mut reigns, mut course) = (self.helm.reign(), self.intake.course.subscribe());
        loop {
            if course.wait_for(|course| *course != Course::Stays).await.is_err() {
                return;
            }
            if reigns.wait_for(Option::is_some).await.is_err() {
                return;
            }
            if !self.intake.is_draining() {
                continue; // it was sent away in vain meanwhile
            }
            match self.hand_over(None, Instant::now() + OPENS_WITHIN).await {
                Ok(_) | Err(TransferFault::UnderWay | TransferFault::NotLeading) => {}
                Err(fault) => tracing::warn!(%fault, "a drained node leads and could not hand over"),
            }
            tokio::time::sleep(AWAY_PAUSE).await;
        }
    }
}

/// What is left to do once a transfer has come to an end.
enum After {
    /// Everything is open.
    Open,
    /// Gate and intake stay closed while this reign lasts: it dispatches nothing more (R4).
    WhenItsReignIsOver(Reign),
}

async fn transfer(
    helm: &dyn Helm,
    intake: &Intake,
    to: Option<NodeId>,
    deadline: Instant,
) -> (Result<LeaderId, TransferFault>, After) {
    let Some(reign) = *helm.reign().borrow() else { return (Err(TransferFault::NotLeading), After::Open) };
    intake.close();
    let written_until = deadline.min(Instant::now() + OPENS_WITHIN);
    while helm.opening() > 0 && Instant::now() < written_until {
        tokio::time::sleep(LOOK.min(written_until.saturating_duration_since(Instant::now()))).await;
    }
    helm.stop_dispatch(true);
    match helm.transfer(to).await {
        Ok(leader) => (Ok(leader), After::WhenItsReignIsOver(reign)),
        // Followers may elect another at any moment, and this reign has no lease any more.
        Err(fault @ (TransferError::Late { .. } | TransferError::Stopped)) => {
            (Err(fault.into()), After::WhenItsReignIsOver(reign))
        }
        // Nobody was told anything.
        Err(
            fault @ (TransferError::NotLeader { .. } | TransferError::NotVoter { .. } | TransferError::NobodyThere),
        ) => {
            helm.stop_dispatch(false);
            intake.reopen();
            (Err(fault.into()), After::Open)
        }
    }
}

/// Waits until `reign` is not this node's reign any more.
async fn over(helm: &dyn Helm, reign: Reign) {
    let _ = helm.reign().wait_for(|now| now.is_none_or(|now| now.leader != reign.leader)).await;
}

/// What a hand-over moves; faked in tests.
#[async_trait]
trait Helm: Send + Sync {
    fn reign(&self) -> watch::Receiver<Option<Reign>>;
    /// Opens between proposal and write.
    fn opening(&self) -> usize;
    /// Conversations with networks.
    fn conversing(&self) -> usize;
    fn stop_dispatch(&self, stopped: bool);
    async fn transfer(&self, to: Option<NodeId>) -> Result<LeaderId, TransferError>;
}

struct Bridge {
    journal: Journal,
    gate: Arc<Gate>,
    conversations: Arc<Conversations>,
}

#[async_trait]
impl Helm for Bridge {
    fn reign(&self) -> watch::Receiver<Option<Reign>> {
        self.journal.watch_reign()
    }

    fn opening(&self) -> usize {
        self.conversations.opening()
    }

    fn conversing(&self) -> usize {
        self.conversations.count()
    }

    fn stop_dispatch(&self, stopped: bool) {
        self.gate.stop(stopped);
    }

    async fn transfer(&self, to: Option<NodeId>) -> Result<LeaderId, TransferError> {
        self.journal.group().transfer_leader(to).await
    }
}

/// How long opens that are proposed may take to be written: a commit and a queue, not an answer.
const OPENS_WITHIN: Duration = Duration::from_secs(2);
/// Between two tries of a drained node to hand over: nobody may be there to lead.
const AWAY_PAUSE: Duration = Duration::from_millis(200);
/// Between two looks at a counter.
const LOOK: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        sync::atomic::{AtomicBool, AtomicUsize},
    };

    use parking_lot::Mutex as Lock;
    use switch_domain::{id, table::ClockRow, time::LogTime};

    use super::*;

    /// Notes what happens, in order.
    struct Ship {
        reign: watch::Sender<Option<Reign>>,
        opening: AtomicUsize,
        conversing: AtomicUsize,
        intake: Arc<Intake>,
        stopped: AtomicBool,
        log: Lock<Vec<String>>,
        answers: Lock<VecDeque<Result<LeaderId, TransferError>>>,
    }

    #[async_trait]
    impl Helm for Ship {
        fn reign(&self) -> watch::Receiver<Option<Reign>> {
            self.reign.subscribe()
        }

        fn opening(&self) -> usize {
            self.opening.load(Ordering::Acquire)
        }

        fn conversing(&self) -> usize {
            self.conversing.load(Ordering::Acquire)
        }

        fn stop_dispatch(&self, stopped: bool) {
            self.stopped.store(stopped, Ordering::Release);
            let (open, opening) = (self.intake.is_open(), self.opening());
            self.log.lock().push(format!("stop={stopped} intake={open} opening={opening}"));
        }

        async fn transfer(&self, to: Option<NodeId>) -> Result<LeaderId, TransferError> {
            self.log.lock().push(format!("transfer to {to:?} stopped={}", self.stopped.load(Ordering::Acquire)));
            self.answers.lock().pop_front().expect("an answer was prepared")
        }
    }

    const OTHER: LeaderId = LeaderId { term: 2, node: 8 };

    fn reign(term: u64) -> Reign {
        Reign::begin(id::LeaderId { term, node: 7 }, LogTime(1), LogTime(1), &ClockRow::default(), Instant::now())
    }

    fn ship(answers: Vec<Result<LeaderId, TransferError>>) -> (Arc<Ship>, Arc<HandOver>) {
        let intake = Intake::new(Arc::new(watch::Sender::new(true)));
        let ship = Arc::new(Ship {
            reign: watch::Sender::new(Some(reign(1))),
            opening: AtomicUsize::new(0),
            conversing: AtomicUsize::new(0),
            intake: intake.clone(),
            stopped: AtomicBool::new(false),
            log: Lock::default(),
            answers: Lock::new(answers.into()),
        });
        let hand_over = HandOver::with(ship.clone(), intake, TaskTracker::new());
        (ship, hand_over)
    }

    /// Waits until calls are taken again.
    async fn opens(hand_over: &HandOver) {
        let mut open = hand_over.intake.open.subscribe();
        tokio::time::timeout(Duration::from_secs(1), open.wait_for(|open| *open))
            .await
            .expect("soon")
            .expect("is there");
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[tokio::test(start_paused = true)]
    async fn r4_opens_are_written_before_the_gate_stops_and_the_gate_stops_before_the_transfer() {
        let (ship, hand_over) = ship(vec![Ok(OTHER)]);
        ship.opening.store(3, Ordering::Release);
        let writer = ship.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            writer.opening.store(0, Ordering::Release);
        });
        assert_eq!(hand_over.hand_over(Some(8), soon()).await.expect("handed over"), OTHER);
        assert_eq!(*ship.log.lock(), ["stop=true intake=false opening=0", "transfer to Some(8) stopped=true"]);

        // Still its reign: closed. Then the other leads, and calls are forwarded: open.
        tokio::task::yield_now().await;
        assert!(!hand_over.intake().is_open());
        ship.reign.send_replace(None);
        opens(&hand_over).await;
        assert!(!ship.stopped.load(Ordering::Acquire));
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_that_is_never_written_does_not_hold_a_hand_over_up() {
        let (ship, hand_over) = ship(vec![Ok(OTHER)]);
        ship.opening.store(1, Ordering::Release);
        let began = Instant::now();
        hand_over.hand_over(None, soon()).await.expect("handed over");
        assert_eq!(began.elapsed(), OPENS_WITHIN);
        assert_eq!(ship.log.lock()[0], "stop=true intake=false opening=1");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_transfer_opens_everything_again() {
        let (ship, hand_over) = ship(vec![Err(TransferError::NobodyThere)]);
        let fault = hand_over.hand_over(None, soon()).await.expect_err("refused");
        assert!(matches!(fault, TransferFault::Refused(TransferError::NobodyThere)), "{fault}");
        assert!(hand_over.intake().is_open() && !ship.stopped.load(Ordering::Acquire));
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_transfer_keeps_the_reign_silent_until_it_ends() {
        let (ship, hand_over) = ship(vec![Err(TransferError::Late { within: Duration::from_secs(1) })]);
        hand_over.hand_over(None, soon()).await.expect_err("late");
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(!hand_over.intake().is_open() && ship.stopped.load(Ordering::Acquire));
        let again = hand_over.hand_over(None, soon()).await.expect_err("the first is still under way");
        assert!(matches!(again, TransferFault::UnderWay), "{again}");
        ship.reign.send_replace(Some(reign(3)));
        opens(&hand_over).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_follower_hands_nothing_over_and_stays_open() {
        let (ship, hand_over) = ship(Vec::new());
        ship.reign.send_replace(None);
        let fault = hand_over.hand_over(None, soon()).await.expect_err("does not lead");
        assert!(matches!(fault, TransferFault::NotLeading), "{fault}");
        assert!(hand_over.intake().is_open() && ship.log.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_drained_node_that_leads_again_hands_over_again() {
        let (ship, hand_over) = ship(vec![Err(TransferError::NobodyThere), Err(TransferError::NobodyThere)]);
        ship.reign.send_replace(None);
        assert_eq!(hand_over.drain(Instant::now() + Duration::from_secs(3)).await, 0);
        let away = tokio::spawn({
            let hand_over = hand_over.clone();
            async move { hand_over.stay_away().await }
        });
        ship.reign.send_replace(Some(reign(3)));
        while !ship.answers.lock().is_empty() {
            tokio::time::sleep(LOOK).await;
        }
        assert!(!hand_over.intake().is_open());
        away.abort();
    }

    /// A fault there was: it was told that it had left, and led on with a closed door.
    #[tokio::test(start_paused = true)]
    async fn a_node_that_is_sent_away_in_vain_takes_calls_again() {
        let (ship, hand_over) = ship(vec![Err(TransferError::NobodyThere)]);
        let fault = hand_over.leave(soon()).await.expect_err("nobody is there");
        assert!(matches!(fault, TransferFault::Refused(TransferError::NobodyThere)), "{fault}");
        tokio::time::sleep(3 * AWAY_PAUSE).await;
        assert!(hand_over.intake().is_open() && !hand_over.intake().is_draining());
        assert!(!ship.stopped.load(Ordering::Acquire));
    }

    /// A fault there was: a node that was late to hand over, and was elected again, led on with a closed door.
    #[tokio::test(start_paused = true)]
    async fn a_node_that_still_leads_when_the_time_ends_hands_over_later() {
        let late = Err(TransferError::Late { within: Duration::from_secs(1) });
        let (ship, hand_over) = ship(vec![late, Ok(OTHER)]);
        let began = Instant::now();
        let fault = hand_over.leave(began + Duration::from_secs(3)).await.expect_err("it still leads");
        assert!(matches!(fault, TransferFault::Refused(TransferError::Late { .. })), "{fault}");
        assert_eq!(began.elapsed(), Duration::from_secs(3));
        assert!(hand_over.intake().is_draining() && !hand_over.intake().is_open());
        ship.reign.send_replace(Some(reign(3)));
        while !ship.answers.lock().is_empty() {
            assert!(began.elapsed() < Duration::from_secs(5), "it leads on");
            tokio::time::sleep(LOOK).await;
        }
        assert!(!hand_over.intake().is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn draining_waits_for_conversations_within_its_bound_and_stays_closed() {
        let (ship, hand_over) = ship(vec![Err(TransferError::NobodyThere)]);
        ship.conversing.store(2, Ordering::Release);
        let began = Instant::now();
        assert_eq!(hand_over.drain(began + Duration::from_secs(3)).await, 2);
        assert_eq!(began.elapsed(), Duration::from_secs(3));
        assert!(hand_over.intake().is_draining() && !hand_over.intake().is_open());
        // What it still leads it still writes.
        assert!(!ship.stopped.load(Ordering::Acquire));
        ship.conversing.store(0, Ordering::Release);
        ship.reign.send_replace(None);
        assert_eq!(hand_over.drain(Instant::now() + Duration::from_secs(3)).await, 0);
    }
}
