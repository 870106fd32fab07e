//! One connection's conversation: what waits to be written, what waits for an answer, and the stream that the transport
//! takes messages from. The transport's task writes, the link's task reads, calls wait; one lock is shared, held for a few
//! map operations and never across a wait or a call of the gate.
//!
//! ```text
//!   ask ─► Queued ─► Writing ─► Written ─► answered
//!            │    gate  │          ├─────► connection lost: Unknown
//!            └──────────┴─ not sent└─────► nobody waits any more: its answer is a stray
//! ```

use std::{
    collections::{BTreeMap, VecDeque},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures::Stream;
use parking_lot::Mutex;
use switch_domain::{
    book::Dispatch,
    id::{AttemptRef, LinkId},
    outcome::{Answer, Doubt, LaneVerdict, NetworkAnswer, NotSent},
    transaction::WireIdentity,
};
use switch_proto::network::v1::{ManagementKind, exchange_response::Body};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use super::{
    Delivery, LaneKind, LaneMessage, LinkEvents, SendGate, limits,
    message::{self, Outgoing},
    stack::{Call, Handed},
};

/// One conversation.
pub(super) struct Session {
    link: LinkId,
    events: Arc<dyn LinkEvents>,
    inner: Mutex<Inner>,
    /// The transport let go of the stream: nothing more can be written.
    pub(super) broken: Notify,
    /// Nothing is in flight any more.
    pub(super) quiet: Notify,
}

struct Inner {
    /// Number of the next message.
    next: u64,
    pending: BTreeMap<u64, Pending>,
    /// How many of `pending` are about money.
    money: usize,
    control: VecDeque<Outgoing>,
    requests: VecDeque<u64>,
    lanes: VecDeque<u64>,
    /// Requests and lanes take turns, so that neither starves the other.
    lane_next: bool,
    waker: Option<Waker>,
    in_service: bool,
    closed: bool,
}

enum Pending {
    Control(ManagementKind),
    Request(Request),
    Lane(Lane),
}

struct Request {
    attempt: AttemptRef,
    identity: WireIdentity,
    stage: Stage,
    handed: Handed,
    waiter: oneshot::Sender<Answer>,
}

enum Stage {
    Queued(Box<Unsent>),
    Writing,
    Written,
}

struct Unsent {
    dispatch: Dispatch,
    message: Outgoing,
    deadline: Instant,
}

struct Lane {
    attempt: AttemptRef,
    identity: WireIdentity,
    is_reversal: bool,
    /// `None` once it was written.
    unsent: Option<Outgoing>,
    handed: Handed,
    waiter: oneshot::Sender<Delivery>,
}

impl Request {
    fn end(self, answer: Answer) -> Result<(), Answer> {
        self.waiter.send(answer)
    }

    fn is_written(&self) -> bool {
        matches!(self.stage, Stage::Written)
    }
}

/// What a message of the network was.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// The answer to something that waited, or that did until a moment ago and whose loss costs nothing.
    Expected,
    /// The answer to link control: of what kind, and whether it agreed.
    Control(ManagementKind, bool),
    /// A payment or a fact was answered by link control: the network counts nobody as signed on.
    TurnedAway(ManagementKind),
    /// An answer that nobody waits for.
    Stray(AttemptRef, NetworkAnswer),
    /// It belongs to nothing.
    Unmatched,
}

impl Session {
    pub(super) fn new(link: LinkId, events: Arc<dyn LinkEvents>) -> Arc<Self> {
        let inner = Inner {
            next: 1,
            pending: BTreeMap::new(),
            money: 0,
            control: VecDeque::new(),
            requests: VecDeque::new(),
            lanes: VecDeque::new(),
            lane_next: false,
            waker: None,
            in_service: false,
            closed: false,
        };
        Arc::new(Self { link, events, inner: Mutex::new(inner), broken: Notify::new(), quiet: Notify::new() })
    }

    /// The stream for the transport; one a session.
    pub(super) fn outbound(self: &Arc<Self>, gate: Arc<dyn SendGate>) -> Outbound {
        Outbound { session: Arc::clone(self), gate, unconfirmed: Vec::new(), flushed: false }
    }

    /// Queues a request.
    ///
    /// # Errors
    /// Why it will not be sent.
    pub(super) fn ask(self: &Arc<Self>, call: Call) -> Result<Ticket, NotSent> {
        let Call { dispatch, message, room: _, deadline, handed } = call;
        let (waiter, answer) = oneshot::channel();
        let (attempt, identity) = (dispatch.attempt().clone(), dispatch.identity());
        let mut inner = self.inner.lock();
        if inner.closed || !inner.in_service {
            return Err(NotSent::OutOfService);
        }
        if inner.requests.len() >= limits::QUEUE_MAX {
            return Err(NotSent::InFlightFull);
        }
        let stage = Stage::Queued(Box::new(Unsent { dispatch, message, deadline }));
        let request = Request { attempt: attempt.clone(), identity, stage, handed, waiter };
        let number = inner.admit(Pending::Request(request));
        inner.requests.push_back(number);
        wake(inner);
        Ok(Ticket { session: Arc::clone(self), number, attempt, answer })
    }

    /// Queues a copy of a reversal or an advice; `None` where it will not be sent.
    pub(super) fn tell(self: &Arc<Self>, message: &LaneMessage, handed: Handed) -> Option<LaneTicket> {
        let unsent = Some(message::lane(message));
        let (waiter, answer) = oneshot::channel();
        let (attempt, identity) = (message.attempt.clone(), message.identity);
        let is_reversal = matches!(message.kind, LaneKind::Reversal { .. });
        let mut inner = self.inner.lock();
        if inner.closed || !inner.in_service || inner.lanes.len() >= limits::QUEUE_MAX {
            return None;
        }
        let number = inner.admit(Pending::Lane(Lane { attempt, identity, is_reversal, unsent, handed, waiter }));
        inner.lanes.push_back(number);
        wake(inner);
        Some(LaneTicket { session: Arc::clone(self), number, answer })
    }

    /// Queues link control of our own; false where there is no room.
    pub(super) fn control(&self, kind: ManagementKind, message: Outgoing) -> bool {
        let mut inner = self.inner.lock();
        if inner.closed || inner.control.len() >= limits::CONTROL_QUEUE_MAX {
            return false;
        }
        let number = inner.admit(Pending::Control(kind));
        inner.control.push_back(message.numbered(number));
        wake(inner);
        true
    }

    /// Queues the answer to link control of the network, which carries the network's number. A flood is not answered.
    pub(super) fn control_answer(&self, correlation_id: u64, message: Outgoing) {
        let mut inner = self.inner.lock();
        if !inner.closed && inner.control.len() < limits::CONTROL_QUEUE_MAX {
            inner.control.push_back(message.numbered(correlation_id));
            wake(inner);
        }
    }

    /// Money is taken, or no longer: what is not written by then is not sent.
    pub(super) fn set_in_service(&self, in_service: bool) {
        let mut inner = self.inner.lock();
        if inner.in_service != in_service {
            inner.in_service = in_service;
            wake(inner);
        }
    }

    /// True where something about money was written and is not answered.
    pub(super) fn is_owed(&self) -> bool {
        self.inner.lock().pending.values().any(|pending| match pending {
            Pending::Request(request) => request.is_written(),
            Pending::Lane(lane) => lane.unsent.is_none(),
            Pending::Control(_) => false,
        })
    }

    /// True where nothing about money waits, neither to be written nor to be answered.
    pub(super) fn is_quiet(&self) -> bool {
        self.inner.lock().money == 0
    }

    /// Takes a message of the network.
    pub(super) fn receive(&self, number: u64, body: Option<Body>) -> Heard {
        let Some(pending) = self.take_written(number) else { return self.stray(number, body) };
        match (pending, body) {
            (Pending::Control(kind), Some(Body::Management(told))) if told.kind() == kind => {
                Heard::Control(kind, told.response_code == "00")
            }
            (Pending::Control(_), _) => Heard::Unmatched,
            (Pending::Request(request), body) => self.answer(request, body),
            (Pending::Lane(lane), body) => {
                let (told, code) = match &body {
                    Some(Body::Reversal(told)) if lane.is_reversal => (told.identity.as_ref(), &told.response_code),
                    Some(Body::Advice(told)) if !lane.is_reversal => (told.identity.as_ref(), &told.response_code),
                    Some(Body::Management(told)) => {
                        let _ = lane.waiter.send(Delivery::Unanswered);
                        return Heard::TurnedAway(told.kind());
                    }
                    Some(_) | None => {
                        let _ = lane.waiter.send(Delivery::Unanswered);
                        return Heard::Expected;
                    }
                };
                // A dropped waiter repeats its message: the loss of an acknowledgement costs one more copy.
                let _ = lane.waiter.send(if message::names(told, &lane.attempt, lane.identity) {
                    Delivery::Answered(LaneVerdict::of(code))
                } else {
                    Delivery::Unanswered
                });
                Heard::Expected
            }
        }
    }

    fn answer(&self, request: Request, body: Option<Body>) -> Heard {
        let (answer, heard) = match body {
            Some(Body::Response(told))
                if message::names(told.identity.as_ref(), &request.attempt, request.identity) =>
            {
                match message::answer(&told) {
                    Ok(answer) => (Answer::Answered(answer), Heard::Expected),
                    Err(message::Garbled) => (Answer::Unknown(Doubt::Garbled), Heard::Expected),
                }
            }
            Some(Body::Management(told)) => (Answer::Unknown(Doubt::Garbled), Heard::TurnedAway(told.kind())),
            Some(_) | None => (Answer::Unknown(Doubt::Garbled), Heard::Expected),
        };
        let attempt = request.attempt.clone();
        match request.end(answer) {
            Err(Answer::Answered(answer)) => Heard::Stray(attempt, answer),
            Ok(()) | Err(_) => heard,
        }
    }

    /// The answer to this number came and is no message.
    pub(super) fn undecodable(&self, number: Option<u64>) -> Heard {
        match number {
            Some(number) => self.receive(number, None),
            None => Heard::Unmatched,
        }
    }

    fn stray(&self, number: u64, body: Option<Body>) -> Heard {
        match body {
            Some(Body::Response(told)) => match (message::attempt_of(told.identity.as_ref()), message::answer(&told)) {
                (Some(attempt), Ok(answer)) => Heard::Stray(attempt, answer),
                (None, _) | (_, Err(message::Garbled)) => Heard::Unmatched,
            },
            // A late acknowledgement, or a late answer of link control: the next copy, or the next echo, is answered too.
            Some(Body::Reversal(_) | Body::Advice(_) | Body::Management(_)) if self.was_used(number) => Heard::Expected,
            Some(Body::Reversal(_) | Body::Advice(_) | Body::Management(_)) | None => Heard::Unmatched,
        }
    }

    fn was_used(&self, number: u64) -> bool {
        number != 0 && number < self.inner.lock().next
    }

    /// Takes what was written under a number; what was not cannot be answered.
    fn take_written(&self, number: u64) -> Option<Pending> {
        let mut inner = self.inner.lock();
        let is_written = match inner.pending.get(&number)? {
            Pending::Control(_) => true,
            Pending::Request(request) => request.is_written(),
            Pending::Lane(lane) => lane.unsent.is_none(),
        };
        if is_written { self.remove(&mut inner, number) } else { None }
    }

    fn remove(&self, inner: &mut Inner, number: u64) -> Option<Pending> {
        let pending = inner.pending.remove(&number)?;
        if !matches!(pending, Pending::Control(_)) {
            inner.money -= 1;
            if inner.money == 0 {
                self.quiet.notify_one();
            }
        }
        Some(pending)
    }

    // ## any => closed
    /// The conversation is over. What was written is in doubt, what was not is not sent.
    pub(super) fn close(&self) {
        let mut inner = self.inner.lock();
        inner.closed = true;
        inner.money = 0;
        inner.control.clear();
        let pending = std::mem::take(&mut inner.pending);
        wake(inner);
        self.quiet.notify_one();
        for pending in pending.into_values() {
            match pending {
                Pending::Control(_) => {}
                Pending::Request(request) => {
                    let lost = if request.is_written() {
                        Answer::Unknown(Doubt::ConnectionLost)
                    } else {
                        Answer::NotSent(NotSent::OutOfService)
                    };
                    let _ = request.end(lost);
                }
                Pending::Lane(lane) => {
                    let lost = if lane.unsent.is_some() { Delivery::NotSent } else { Delivery::Unanswered };
                    let _ = lane.waiter.send(lost);
                }
            }
        }
    }

    /// Nobody waits any more: what is not written never is.
    fn withdraw(&self, number: u64) {
        let withdrawn = self.remove(&mut self.inner.lock(), number);
        drop(withdrawn); // wiped outside the lock
    }

    // ## Writing => Written
    /// The gate agreed; false where the request was withdrawn or the link went out of service meanwhile.
    fn commit(&self, number: u64) -> bool {
        let mut inner = self.inner.lock();
        if !inner.in_service {
            drop(inner);
            self.refuse(number, NotSent::OutOfService);
            return false;
        }
        let Some(Pending::Request(request)) = inner.pending.get_mut(&number) else { return false };
        request.stage = Stage::Written;
        request.handed.set();
        true
    }

    // ## (Queued | Writing) => not sent
    fn refuse(&self, number: u64, why: NotSent) {
        let removed = self.remove(&mut self.inner.lock(), number);
        if let Some(Pending::Request(request)) = removed {
            let _ = request.end(Answer::NotSent(why));
        }
    }

    /// What is to be written next.
    fn pop(&self, context: &Context<'_>, may_send_lanes: bool) -> Poll<Option<Next>> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Poll::Ready(None);
        }
        if let Some(message) = inner.control.pop_front() {
            return Poll::Ready(Some(Next::Message(message)));
        }
        let in_service = inner.in_service;
        while let Some(number) = inner.take_turn() {
            // A number whose entry is gone was withdrawn.
            match inner.pending.get_mut(&number) {
                Some(Pending::Request(_)) if !in_service => return Poll::Ready(Some(Next::Refused(number))),
                Some(Pending::Request(request)) => {
                    if let Stage::Queued(unsent) = std::mem::replace(&mut request.stage, Stage::Writing) {
                        return Poll::Ready(Some(Next::Request(number, unsent)));
                    }
                }
                Some(Pending::Lane(_)) if !in_service || !may_send_lanes => {
                    if let Some(Pending::Lane(lane)) = self.remove(&mut inner, number) {
                        let _ = lane.waiter.send(Delivery::NotSent);
                    }
                }
                Some(Pending::Lane(lane)) => {
                    lane.handed.set();
                    if let Some(message) = lane.unsent.take() {
                        return Poll::Ready(Some(Next::Message(message.numbered(number))));
                    }
                }
                Some(Pending::Control(_)) | None => {}
            }
        }
        inner.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

enum Next {
    /// Link control, a reversal or an advice: needs no permission (R24).
    Message(Outgoing),
    /// A request that asks the gate first.
    Request(u64, Box<Unsent>),
    /// A request that came too late for a link that is out of service.
    Refused(u64),
}

impl Inner {
    fn admit(&mut self, pending: Pending) -> u64 {
        let number = self.next;
        self.next += 1;
        self.money += usize::from(!matches!(pending, Pending::Control(_)));
        self.pending.insert(number, pending);
        number
    }

    fn take_turn(&mut self) -> Option<u64> {
        let (first, second) = match self.lane_next {
            true => (&mut self.lanes, &mut self.requests),
            false => (&mut self.requests, &mut self.lanes),
        };
        let turn = first.pop_front().or_else(|| second.pop_front());
        self.lane_next = !self.lane_next;
        turn
    }
}

/// Wakes the transport once the lock is free.
fn wake(mut inner: parking_lot::MutexGuard<'_, Inner>) {
    let waker = inner.waker.take();
    drop(inner);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// A request that waits. Dropping it withdraws what is not written; an answer that came and was not taken is a stray.
pub(super) struct Ticket {
    session: Arc<Session>,
    number: u64,
    attempt: AttemptRef,
    answer: oneshot::Receiver<Answer>,
}

impl Ticket {
    pub(super) async fn answer(mut self) -> Answer {
        // Every way out of the session ends its requests; without one, nobody knows.
        (&mut self.answer).await.unwrap_or(Answer::Unknown(Doubt::ConnectionLost))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.session.withdraw(self.number);
        self.answer.close();
        if let Ok(Answer::Answered(answer)) = self.answer.try_recv() {
            self.session.events.stray_answer(&self.session.link, self.attempt.clone(), answer);
        }
    }
}

/// A reversal or an advice that waits.
pub(super) struct LaneTicket {
    session: Arc<Session>,
    number: u64,
    answer: oneshot::Receiver<Delivery>,
}

impl LaneTicket {
    pub(super) async fn answer(mut self) -> Delivery {
        (&mut self.answer).await.unwrap_or(Delivery::Unanswered)
    }
}

impl Drop for LaneTicket {
    fn drop(&mut self) {
        self.session.withdraw(self.number);
    }
}

/// The messages of the switch, for the transport. The only place where a request leaves: right before it does, the gate is
/// asked, and right after, the boot clock is read (R13).
pub struct Outbound {
    session: Arc<Session>,
    gate: Arc<dyn SendGate>,
    /// Requests that were given away, and not known to have reached the connection.
    unconfirmed: Vec<Write>,
    /// The stream paused after them: when it is asked again, the transport has taken them.
    flushed: bool,
}

struct Write {
    attempt: AttemptRef,
    /// Boot time at which its permission ends.
    ends: Duration,
}

impl Stream for Outbound {
    type Item = Outgoing;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Outgoing>> {
        let outbound = self.get_mut();
        if outbound.flushed {
            outbound.confirm();
        }
        let polled = if outbound.unconfirmed.len() < limits::WRITES_UNCONFIRMED_MAX {
            outbound.next(context)
        } else {
            Poll::Pending
        };
        if polled.is_pending() && !outbound.unconfirmed.is_empty() {
            // tonic gathers messages until the stream pauses, and comes back once HTTP/2 has taken them. Where there is room
            // in the windows that is at once; where there is none it is when there is.
            outbound.flushed = true;
            context.waker().wake_by_ref();
        }
        polled
    }
}

impl Outbound {
    fn next(&mut self, context: &Context<'_>) -> Poll<Option<Outgoing>> {
        loop {
            match self.session.pop(context, self.gate.admit_lane()) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Next::Message(message))) => return Poll::Ready(Some(message)),
                Poll::Ready(Some(Next::Refused(number))) => self.session.refuse(number, NotSent::OutOfService),
                Poll::Ready(Some(Next::Request(number, unsent))) => {
                    let Unsent { dispatch, message, deadline } = *unsent;
                    let began = self.gate.boot_time();
                    match self.admit(&dispatch, deadline) {
                        Ok(lasts) if self.session.commit(number) => {
                            let attempt = dispatch.attempt().clone();
                            self.unconfirmed.push(Write { attempt, ends: began + lasts });
                            return Poll::Ready(Some(message.numbered(number)));
                        }
                        Ok(_) => {}
                        Err(why) => self.session.refuse(number, why),
                    }
                }
            }
        }
    }

    /// How long the write may last.
    fn admit(&self, dispatch: &Dispatch, deadline: Instant) -> Result<Duration, NotSent> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(NotSent::TooLate);
        }
        let lasts = self.gate.admit(dispatch)?.min(left);
        if lasts.is_zero() { Err(NotSent::TooLate) } else { Ok(lasts) }
    }

    fn confirm(&mut self) {
        self.flushed = false;
        if self.unconfirmed.is_empty() {
            return;
        }
        let now = self.gate.boot_time();
        for write in self.unconfirmed.drain(..).filter(|write| now > write.ends) {
            self.gate.late(&write.attempt);
        }
    }
}

impl Drop for Outbound {
    fn drop(&mut self) {
        self.confirm();
        self.session.broken.notify_one();
    }
}
