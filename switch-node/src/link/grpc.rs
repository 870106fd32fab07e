//! One link: its task connects, signs on, asks for echoes, reads, reconnects and signs off; calls go through the stack to
//! the conversation of now. Nothing is polled: a call finds the link in service or is told at once that it is not.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use futures::StreamExt;
use switch_domain::{
    authorization::Asked,
    book::Dispatch,
    card::Card,
    directory,
    id::LinkId,
    outcome::{Answer, NotSent},
};
use switch_proto::network::v1::{ExchangeResponse, ManagementKind, NetworkManagement, exchange_response::Body};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{
    Delivery, LaneMessage, LaneWait, LinkEvents, LinkState, NetworkLink, Reserved, SendGate,
    breaker::{Circuit, CircuitState},
    connect::{ConnectFault, Inbound, LinkConnector, Received},
    health::{Act, Health, Silence},
    limits, message,
    session::{Heard, Session},
    settings::Settings,
    stack::{Call, Current, Handed, Place, Stack, Window, stack},
    unconnected::Unconnected,
};

/// What all links of a node share.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub(super) connector: Arc<dyn LinkConnector>,
    pub(super) events: Arc<dyn LinkEvents>,
    pub(super) gate: Arc<dyn SendGate>,
    pub(super) settings: Settings,
}

/// A link and its task.
pub(super) struct GrpcLink {
    record: directory::Link,
    around: Surroundings,
    state: AtomicU8,
    current: Current,
    circuit: Arc<Circuit>,
    requests: Arc<Window>,
    lanes: Arc<Window>,
    stack: Stack,
    unconnected: Unconnected,
    /// Set once to the time until which requests may end: the link stops then.
    stop: watch::Sender<Option<Instant>>,
    stopped: CancellationToken,
}

impl GrpcLink {
    pub(super) fn new(record: directory::Link, around: Surroundings) -> Arc<Self> {
        let current = Current::new(ArcSwapOption::empty());
        let circuit = Arc::new(Circuit::new(around.settings.circuit.clone()));
        let requests = Arc::new(Window::new(record.in_flight_max));
        let lanes = Arc::new(Window::new(around.settings.lanes_in_flight_max));
        let stack = stack(Arc::clone(&requests), Arc::clone(&circuit), Arc::clone(&current));
        Arc::new(Self {
            record,
            around,
            state: AtomicU8::new(LinkState::Down as u8),
            current,
            circuit,
            requests,
            lanes,
            stack,
            unconnected: Unconnected::default(),
            stop: watch::Sender::new(None),
            stopped: CancellationToken::new(),
        })
    }

    pub(super) fn record(&self) -> &directory::Link {
        &self.record
    }

    pub(super) fn resize(&self, in_flight_max: u32) {
        self.requests.resize(in_flight_max);
    }

    pub(super) fn is_full(&self) -> bool {
        self.requests.is_full()
    }

    /// Most requests in flight, as the directory has it now.
    pub(super) fn in_flight_max(&self) -> u32 {
        self.requests.max()
    }

    /// Room for one request, taken from now on.
    pub(super) fn reserve(&self) -> Option<Place> {
        self.requests.enter()
    }

    pub(super) fn circuit_state(&self) -> CircuitState {
        self.circuit.state()
    }

    pub(super) fn lanes_in_flight(&self) -> u32 {
        self.lanes.taken()
    }

    /// Cancelled once the link's task has ended and its connection is closed.
    pub(super) fn stopped(&self) -> &CancellationToken {
        &self.stopped
    }

    /// Begins to sign off; an earlier time than one that was set wins.
    pub(super) fn stop(&self, until: Instant) {
        self.stop.send_modify(|stop| *stop = Some(stop.map_or(until, |earlier| earlier.min(until))));
    }

    /// The link's task: ends once the link was told to stop. `after` is what must have ended before it may connect.
    pub(super) async fn run(self: Arc<Self>, after: Vec<CancellationToken>) {
        let _stopped = self.stopped.clone().drop_guard();
        let mut stop = self.stop.subscribe();
        for earlier in after {
            tokio::select! {
                biased;
                _ = stop.wait_for(Option::is_some) => return,
                () = earlier.cancelled() => {}
            }
        }
        let mut failures = 0;
        loop {
            if stop.borrow().is_some() {
                return;
            }
            let lasted = self.converse(&mut stop).await;
            failures = if lasted >= limits::STEADY_AFTER { 0 } else { failures };
            let pause = self.pause(failures);
            failures = failures.saturating_add(1);
            tokio::select! {
                biased;
                _ = stop.wait_for(Option::is_some) => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Doubles with every failure, and is shortened by up to half, differently for each node, link and failure: nodes that
    /// lost a network together do not come back together.
    fn pause(&self, failures: u32) -> Duration {
        let Settings { reconnect_first, reconnect_max, jitter_seed, .. } = self.around.settings;
        let pause = reconnect_first.saturating_mul(2_u32.saturating_pow(failures.min(20))).min(reconnect_max);
        let mut mixed = jitter_seed ^ u64::from(failures);
        for byte in self.record.id.as_str().bytes() {
            mixed = (mixed ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb);
        pause - pause.mul_f64(((mixed >> 40) as f64) / f64::from(1_u32 << 24) / 2.0)
    }

    /// One conversation from connecting to its end. Gives how long it was signed on.
    async fn converse(&self, stop: &mut watch::Receiver<Option<Instant>>) -> Duration {
        let Surroundings { connector, events, gate, settings } = &self.around;
        let session = Session::new(self.record.id.clone(), Arc::clone(events));
        let closing = Closing { link: self, session: &session };
        session.control(ManagementKind::SignOn, message::management(ManagementKind::SignOn, &self.record.institution));
        let opening = connector.open(&self.record, session.outbound(Arc::clone(gate)));
        let opened = tokio::select! {
            biased;
            _ = stop.wait_for(Option::is_some) => return Duration::ZERO,
            opened = timeout(settings.connect_timeout, opening) => opened,
        };
        let inbound = match opened {
            Ok(Ok(inbound)) => inbound,
            Ok(Err(fault)) => {
                self.unconnected.failed(&self.record.id, fault.to_string());
                return Duration::ZERO;
            }
            Err(_) => {
                let reason = format!("none within {:?}", settings.connect_timeout);
                self.unconnected.failed(&self.record.id, reason);
                return Duration::ZERO;
            }
        };
        self.unconnected.connected();
        let mut health = Health::new(settings.clone(), Instant::now());
        health.opened(Instant::now());
        self.current.store(Some(Arc::clone(&session)));
        let mut conversation =
            Conversation { link: self, session: &session, health, signed_on: None, signing_off: false };
        let end = conversation.go_on(inbound, stop).await;
        let lasted = conversation.signed_on.map(|since| since.elapsed()).unwrap_or_default();
        match end {
            End::SignedOff => tracing::info!(link = %self.record.id, "signed off"),
            End::Cut(cut) => tracing::warn!(link = %self.record.id, %cut, ?lasted, "conversation ended"),
        }
        drop(closing);
        lasted
    }

    fn publish(&self, session: &Session, state: LinkState) {
        session.set_in_service(state == LinkState::InService);
        if self.state.swap(state as u8, Ordering::AcqRel) != state as u8 {
            self.around.events.state_changed(&self.record.id, state);
        }
    }
}

/// Ends a session whichever way its conversation ends.
struct Closing<'a> {
    link: &'a GrpcLink,
    session: &'a Session,
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.link.current.store(None);
        self.link.publish(self.session, LinkState::Down);
        self.session.close();
    }
}

/// How a conversation ended.
enum End {
    /// By our own will.
    SignedOff,
    /// Otherwise.
    Cut(Cut),
}

#[derive(Debug, thiserror::Error)]
enum Cut {
    #[error("the network closed it")]
    Closed,
    #[error("the connection broke: {0}")]
    Broken(ConnectFault),
    #[error("{0}")]
    Silent(Silence),
}

/// A conversation that stands.
struct Conversation<'a> {
    link: &'a GrpcLink,
    session: &'a Arc<Session>,
    health: Health,
    signed_on: Option<Instant>,
    /// Our sign-off is on its way.
    signing_off: bool,
}

impl Conversation<'_> {
    async fn go_on(&mut self, mut inbound: Inbound, stop: &mut watch::Receiver<Option<Instant>>) -> End {
        loop {
            let now = Instant::now();
            let until = *stop.borrow_and_update();
            if let Some(until) = until {
                self.health.drain();
                if now >= until {
                    return End::SignedOff;
                }
            }
            if let Some(end) = self.do_what_is_due(now) {
                return end;
            }
            self.link.publish(self.session, self.health.state());
            if until.is_some() && !self.signing_off && self.session.is_quiet() {
                if self.health.state() != LinkState::SignedOn {
                    return End::SignedOff; // the network has nobody to sign off
                }
                self.signing_off = true;
                self.control(ManagementKind::SignOff);
            }
            let circuit_due = self.link.circuit.due().filter(|_| self.may_probe());
            let due = [self.health.due(), circuit_due, until].into_iter().flatten().min();
            tokio::select! {
                biased;
                _ = stop.changed() => {}
                received = inbound.next() => match received {
                    Some(Ok(received)) => {
                        if self.receive(received) {
                            return End::SignedOff;
                        }
                    }
                    Some(Err(fault)) => return End::Cut(Cut::Broken(fault)),
                    None => return End::Cut(Cut::Closed),
                },
                () = self.session.broken.notified() => return End::Cut(Cut::Closed),
                () = self.session.quiet.notified(), if until.is_some() && !self.signing_off => {}
                () = self.link.circuit.opened.notified() => {}
                () = sleep_until(due.unwrap_or(now)), if due.is_some() => {}
            }
        }
    }

    fn do_what_is_due(&mut self, now: Instant) -> Option<End> {
        match self.health.tick(now, self.session.is_owed()) {
            Some(Act::Drop(silence)) => return Some(End::Cut(Cut::Silent(silence))),
            Some(act) => self.act(act),
            None => {}
        }
        if self.may_probe() && self.link.circuit.tick(now) {
            self.health.echo_sent(now);
            self.control(ManagementKind::Echo);
        }
        None
    }

    /// Only a network that counts us as signed on can show by an echo that it takes payments again.
    fn may_probe(&self) -> bool {
        self.health.state() >= LinkState::SignedOn
    }

    fn act(&self, act: Act) {
        match act {
            Act::SignOn => self.control(ManagementKind::SignOn),
            Act::Echo => self.control(ManagementKind::Echo),
            Act::Drop(_) => {} // only a tick asks for it, and that is seen to
        }
    }

    fn control(&self, kind: ManagementKind) {
        self.session.control(kind, message::management(kind, &self.link.record.institution));
    }

    /// Takes one message; true where it is the answer to our sign-off.
    fn receive(&mut self, received: Received) -> bool {
        let now = Instant::now();
        self.health.heard(now);
        let heard = match received {
            Received::Undecodable { correlation_id } => self.session.undecodable(correlation_id),
            Received::Message(message) => match *message {
                ExchangeResponse { correlation_id, body: Some(Body::Management(asked)) }
                    if asked.response_code.is_empty() =>
                {
                    self.asked(correlation_id, &asked, now);
                    return false;
                }
                ExchangeResponse { correlation_id, body } => self.session.receive(correlation_id, body),
            },
        };
        match heard {
            Heard::Expected => {}
            Heard::Control(ManagementKind::SignOn, agreed) => {
                self.health.sign_on_answered(agreed, now);
                if self.health.state() >= LinkState::SignedOn {
                    self.signed_on.get_or_insert(now);
                    self.link.circuit.answered(true, now);
                } else {
                    tracing::warn!(link = %self.link.record.id, "the network refused the sign-on");
                }
            }
            Heard::Control(ManagementKind::SignOff, _) => return self.signing_off,
            Heard::Control(ManagementKind::Echo, _) => self.link.circuit.answered(false, now),
            Heard::Control(ManagementKind::Unspecified, _) => {}
            Heard::TurnedAway(ManagementKind::SignOn) => {
                if let Some(act) = self.health.sign_on_missing(now) {
                    self.act(act);
                }
            }
            Heard::TurnedAway(ManagementKind::SignOff) => self.health.network_signed_off(now),
            Heard::TurnedAway(ManagementKind::Echo | ManagementKind::Unspecified) => {}
            Heard::Stray(attempt, answer) => {
                self.link.around.events.stray_answer(&self.link.record.id, attempt, answer);
            }
            Heard::Unmatched => self.link.around.events.unmatched(&self.link.record.id),
        }
        false
    }

    /// Link control that the network starts. It is answered always, signed on or not.
    fn asked(&mut self, correlation_id: u64, asked: &NetworkManagement, now: Instant) {
        let answer = message::management_answer(asked, &self.link.record.institution);
        match asked.kind() {
            ManagementKind::Unspecified => {
                self.link.around.events.unmatched(&self.link.record.id);
                return;
            }
            ManagementKind::SignOff => self.health.network_signed_off(now),
            ManagementKind::SignOn | ManagementKind::Echo => {}
        }
        // Out of service before it is confirmed: nothing is written behind the confirmation.
        self.link.publish(self.session, self.health.state());
        self.session.control_answer(correlation_id, answer);
        if asked.kind() == ManagementKind::SignOn
            && let Some(act) = self.health.network_signed_on(now)
        {
            self.act(act);
        }
    }
}

#[async_trait]
impl NetworkLink for GrpcLink {
    fn id(&self) -> &LinkId {
        &self.record.id
    }

    async fn send(
        &self,
        dispatch: Dispatch,
        asked: &Asked,
        card: &Card,
        room: Option<Reserved>,
        deadline: Instant,
    ) -> Answer {
        let Ok(message) = message::request(&dispatch, asked, card) else {
            return Answer::NotSent(NotSent::NotEncodable);
        };
        let room = room.map(|Reserved(place)| place);
        let call = Call { dispatch, message, room, deadline, handed: Handed::default() };
        match self.stack.clone().oneshot(call).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        }
    }

    async fn deliver(&self, message: LaneMessage, wait: LaneWait) -> Delivery {
        let Some(place) = self.lanes.enter() else { return Delivery::NotSent };
        let Some(session) = self.current.load_full() else { return Delivery::NotSent };
        let handed = Handed::default();
        let Some(ticket) = session.tell(&message, handed.clone()) else { return Delivery::NotSent };
        drop(message); // the card is in the queue, once
        let answer = ticket.answer();
        tokio::pin!(answer);
        let mut ended = timeout_at(wait.silent_at, &mut answer).await;
        drop(place);
        if ended.is_err() {
            ended = timeout_at(wait.until, answer).await;
        }
        match ended {
            Ok(delivery) => delivery,
            Err(_) if handed.is_set() => Delivery::Unanswered,
            Err(_) => Delivery::NotSent,
        }
    }

    fn state(&self) -> LinkState {
        match self.state.load(Ordering::Acquire) {
            0 => LinkState::Down,
            1 => LinkState::Connected,
            2 => LinkState::SignedOn,
            _ => LinkState::InService,
        }
    }

    fn is_circuit_closed(&self) -> bool {
        self.circuit.state() == CircuitState::Closed
    }

    fn in_flight(&self) -> u32 {
        self.requests.taken()
    }

    async fn sign_off(&self, deadline: Instant) {
        self.stop(deadline);
        self.stopped.cancelled().await;
    }
}
