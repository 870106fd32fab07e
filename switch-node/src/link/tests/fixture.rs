//! A network at the other end of two channels, a gate and a listener that remember, and permissions that the book made.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::StreamExt;
use parking_lot::Mutex;
use switch_domain::{
    authorization::{Asked, Credentials},
    book::{Book, Dispatch, Reply},
    card::{Card, CardReference, CardToken, Expiry, Pan, Sensitive},
    directory::{self, Directory},
    entry::{Command, EntryMark, NewTransaction, Open, Plan, Subject},
    id::{
        AttemptRef, GatewayId, LeaderId, LinkId, MerchantId, NetworkId, Owner, Position, RequestId, Slot, TerminalId,
        TransactionId,
    },
    money::{Amount, Currency},
    outcome::{Answer, AnswerText, NetworkAnswer, NotSent},
    table::MemoryTable,
    time::LogTime,
    transaction::{CaptureMode, EntryMode, Fingerprint, Merchant, Method, ReversalPolicy, Terms},
};
use switch_proto::network::v1::{
    ExchangeRequest, ExchangeResponse, ManagementKind, MessageIdentity, NetworkManagement, RequestFields,
    RequestResponse, exchange_request::Body as Asks, exchange_response::Body as Tells,
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout},
};
use tokio_stream::wrappers::ReceiverStream;

use crate::link::{
    ConnectFault, Delivery, Inbound, LaneKind, LaneMessage, LaneWait, LinkConnector, LinkEvents, LinkState, Links,
    NetworkLink, Outbound, Received, SendGate, Settings,
};

pub(super) const TIMER: Duration = Duration::from_secs(10);

/// Links, and everything around them.
pub(super) struct Story {
    pub(super) links: Links,
    pub(super) network: Arc<Network>,
    pub(super) events: Arc<Events>,
    pub(super) gate: Arc<Gate>,
    sides: mpsc::UnboundedReceiver<Side>,
}

impl Story {
    /// One link, not yet signed on.
    pub(super) fn start() -> Self {
        Self::with(&[record("visa-1")], Settings::default())
    }

    pub(super) fn with(records: &[directory::Link], settings: Settings) -> Self {
        let (conversations, sides) = mpsc::unbounded_channel();
        let network =
            Arc::new(Network { conversations, refuses: AtomicBool::new(false), stalled: watch::Sender::new(false) });
        let (events, gate) = (Arc::new(Events::default()), Arc::new(Gate::default()));
        let links = Links::new(Arc::clone(&network) as _, Arc::clone(&events) as _, Arc::clone(&gate) as _, settings);
        links.follow(&directory(records));
        Self { links, network, events, gate, sides }
    }

    /// One link in service.
    pub(super) async fn in_service() -> (Self, Arc<dyn NetworkLink>, Side) {
        let mut story = Self::start();
        let side = story.signed_on().await;
        let link = story.link("visa-1");
        assert_eq!(link.state(), LinkState::InService);
        (story, link, side)
    }

    pub(super) fn link(&self, id: &str) -> Arc<dyn NetworkLink> {
        self.links.get(&LinkId::parse(id).expect("an id")).expect("a link")
    }

    /// The next conversation that a link opens.
    pub(super) async fn side(&mut self) -> Side {
        timeout(Duration::from_secs(100), self.sides.recv()).await.expect("in time").expect("a conversation")
    }

    /// The next conversation, signed on.
    pub(super) async fn signed_on(&mut self) -> Side {
        let mut side = self.side().await;
        side.answer_control(ManagementKind::SignOn, "00").await;
        side
    }

    pub(super) fn states(&self) -> Vec<LinkState> {
        self.events.states.lock().iter().map(|(_, state)| *state).collect()
    }
}

/// The network's end of every conversation.
pub(super) struct Network {
    conversations: mpsc::UnboundedSender<Side>,
    pub(super) refuses: AtomicBool,
    /// While true the transport takes no message.
    pub(super) stalled: watch::Sender<bool>,
}

#[async_trait]
impl LinkConnector for Network {
    async fn open(&self, link: &directory::Link, mut outbound: Outbound) -> Result<Inbound, ConnectFault> {
        if self.refuses.load(Ordering::Relaxed) {
            return Err(ConnectFault("refused".into()));
        }
        let (tells, told) = mpsc::channel(1_000);
        let (asks, asked) = mpsc::unbounded_channel();
        let mut stalled = self.stalled.subscribe();
        tokio::spawn(async move {
            loop {
                if stalled.wait_for(|stalled| !stalled).await.is_err() {
                    return;
                }
                tokio::select! {
                    biased;
                    _ = stalled.changed() => {}
                    outgoing = outbound.next() => match outgoing {
                        Some(outgoing) => {
                            if asks.send(outgoing.into_message()).is_err() {
                                return;
                            }
                        }
                        None => return,
                    }
                }
            }
        });
        let _ = self.conversations.send(Side { link: link.id.clone(), asked, tells });
        Ok(ReceiverStream::new(told).boxed())
    }
}

/// One conversation, seen from the network.
pub(super) struct Side {
    pub(super) link: LinkId,
    asked: mpsc::UnboundedReceiver<ExchangeRequest>,
    tells: mpsc::Sender<Result<Received, ConnectFault>>,
}

impl Side {
    /// The next message of the switch.
    pub(super) async fn next(&mut self) -> ExchangeRequest {
        timeout(Duration::from_secs(100), self.asked.recv()).await.expect("in time").expect("a message")
    }

    /// True where the switch has written nothing more; what it is about to do, it does first.
    pub(super) async fn is_silent(&mut self) -> bool {
        settle().await;
        self.asked.is_empty()
    }

    /// True where the switch has closed the conversation.
    pub(super) async fn is_closed(&mut self) -> bool {
        timeout(Duration::from_secs(100), self.asked.recv()).await.expect("in time").is_none()
    }

    /// The next message, which is a request.
    pub(super) async fn next_request(&mut self) -> (u64, RequestFields) {
        let message = self.next().await;
        let request = match message.body {
            Some(Asks::Authorization(asked)) => asked.request,
            Some(Asks::Financial(asked)) => asked.request,
            Some(Asks::Advice(_) | Asks::Reversal(_) | Asks::Management(_)) | None => panic!("no request"),
        };
        (message.correlation_id, request.expect("fields"))
    }

    /// The next message, which is link control.
    pub(super) async fn next_control(&mut self) -> (u64, NetworkManagement) {
        let message = self.next().await;
        let Some(Asks::Management(management)) = message.body else { panic!("no link control") };
        (message.correlation_id, management)
    }

    pub(super) async fn answer_control(&mut self, kind: ManagementKind, code: &str) {
        let (number, management) = self.next_control().await;
        assert_eq!((management.kind(), management.response_code.as_str()), (kind, ""));
        self.tell(number, control(kind, code)).await;
    }

    pub(super) async fn tell(&self, number: u64, body: Tells) {
        self.tell_any(Received::Message(Box::new(ExchangeResponse { correlation_id: number, body: Some(body) }))).await;
    }

    pub(super) async fn tell_any(&self, received: Received) {
        self.tells.send(Ok(received)).await.expect("the switch listens");
        settle().await;
    }

    pub(super) async fn approve(&self, number: u64, fields: &RequestFields) {
        self.tell(number, Tells::Response(approval(fields))).await;
    }

    /// Answers the next `count` requests with a code.
    pub(super) async fn answer_requests(&mut self, count: usize, code: &str) {
        for _ in 0..count {
            let (number, fields) = self.next_request().await;
            let answer = RequestResponse { response_code: code.into(), ..approval(&fields) };
            self.tell(number, Tells::Response(answer)).await;
        }
    }
}

/// Lets every task do what it can do now.
pub(super) async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

pub(super) fn control(kind: ManagementKind, code: &str) -> Tells {
    let (response_code, institution_id) = (code.into(), String::new());
    Tells::Management(NetworkManagement { kind: kind.into(), response_code, institution_id })
}

pub(super) fn approval(fields: &RequestFields) -> RequestResponse {
    RequestResponse {
        identity: fields.identity.clone(),
        response_code: "00".into(),
        approval_code: "A1B2C3".into(),
        ..RequestResponse::default()
    }
}

pub(super) fn approved() -> Answer {
    Answer::Answered(answer_of("00"))
}

pub(super) fn answer_of(code: &str) -> NetworkAnswer {
    NetworkAnswer {
        response_code: switch_domain::outcome::ResponseCode::parse(code).expect("a code"),
        approval_code: AnswerText::of("A1B2C3", 6),
        approved: None,
        currency: None,
        network_transaction_id: AnswerText::default(),
        address_result: AnswerText::default(),
        verification_result: AnswerText::default(),
        advice_code: AnswerText::default(),
        decided_by_network: false,
    }
}

/// What links told the node.
#[derive(Default)]
pub(super) struct Events {
    pub(super) strays: Mutex<Vec<(AttemptRef, NetworkAnswer)>>,
    pub(super) unmatched: AtomicU64,
    pub(super) states: Mutex<Vec<(LinkId, LinkState)>>,
}

impl LinkEvents for Events {
    fn stray_answer(&self, _: &LinkId, attempt: AttemptRef, answer: NetworkAnswer) {
        self.strays.lock().push((attempt, answer));
    }

    fn unmatched(&self, _: &LinkId) {
        self.unmatched.fetch_add(1, Ordering::Relaxed);
    }

    fn state_changed(&self, link: &LinkId, state: LinkState) {
        self.states.lock().push((link.clone(), state));
    }
}

/// Lets everything pass for a minute, unless told otherwise. Its clock moves by `step` with every reading.
pub(super) struct Gate {
    pub(super) verdict: Mutex<Result<Duration, NotSent>>,
    pub(super) step: Mutex<Duration>,
    clock: Mutex<Duration>,
    pub(super) late: Mutex<Vec<AttemptRef>>,
}

impl Default for Gate {
    fn default() -> Self {
        let verdict = Mutex::new(Ok(Duration::from_secs(60)));
        Self { verdict, step: Mutex::default(), clock: Mutex::default(), late: Mutex::default() }
    }
}

impl SendGate for Gate {
    fn admit(&self, _: &Dispatch) -> Result<Duration, NotSent> {
        *self.verdict.lock()
    }

    fn late(&self, attempt: &AttemptRef) {
        self.late.lock().push(attempt.clone());
    }

    fn boot_time(&self) -> Duration {
        let mut clock = self.clock.lock();
        *clock += *self.step.lock();
        *clock
    }
}

pub(super) fn record(id: &str) -> directory::Link {
    directory::Link {
        id: LinkId::parse(id).expect("an id"),
        network: NetworkId::parse("visa").expect("an id"),
        address: "visa.test:443".into(),
        server_name: "visa.test".into(),
        enabled: true,
        in_flight_max: 20,
        exclusive: false,
        institution: AnswerText::of("4711", 11),
    }
}

pub(super) fn directory(records: &[directory::Link]) -> Directory {
    let links: BTreeMap<_, _> = records.iter().map(|record| (record.id.clone(), record.clone())).collect();
    Directory { links, ..Directory::default() }
}

/// What the book allows to be sent: the `number`-th transaction of gateway `shop`.
pub(super) fn dispatch(number: u64) -> Dispatch {
    let gateway = GatewayId::parse("shop").expect("an id");
    let request_id = RequestId::parse(&format!("order-{number}")).expect("a key");
    let id = TransactionId::new(1_700_000_000_000, Slot::of(&gateway, &request_id), u128::from(number));
    let owner = Owner { node: 1, boot: 1, term: 1 };
    let terms = Terms {
        attempt_timeout_ms: 10_000,
        in_flight_max_ms: 60_000,
        repeat_budget_ms: 60_000,
        reversal_policy: ReversalPolicy::Always,
        acknowledgement_proves_match: true,
        reversal_has_own_stan: false,
        valid_ms: 86_400_000,
        capture_tolerance_basis_points: 0,
        doubt_count_max: 0,
        doubt_amount_max: Amount::ZERO,
    };
    let record = record("visa-1");
    let new = NewTransaction {
        id,
        verification: false,
        capture_mode: CaptureMode::Manual,
        entry_mode: EntryMode::Ecommerce,
        merchant: asked().merchant,
        card: CardReference {
            bin: card().pan.bin(),
            last4: card().pan.last4(),
            token: CardToken([7; 16]),
            sealed: None,
        },
        credentials: asked().credentials,
        merchant_reference: AnswerText::default(),
        partial_supported: false,
    };
    let open = Open {
        gateway,
        request_id,
        fingerprint: Fingerprint { key_version: 1, digest: [1; 16] },
        amount: asked().amount,
        currency: asked().currency,
        directory_version: 1,
        first_sent: None,
        plan: Plan { route: None, network: record.network, link: record.id, terms, owner },
        subject: Subject::New(Box::new(new)),
        day_limit: Amount::ZERO,
        retention_days: 0,
    };
    let mark = EntryMark {
        position: Position { index: number, place: 0 },
        leader: LeaderId { term: 1, node: 1 },
        now: LogTime(1_700_000_000_000),
    };
    let mut table = MemoryTable::default();
    match Book::apply(&mut table, mark, Command::Open(Box::new(open)), &mut Vec::new()) {
        Ok(Reply::Dispatch(dispatch)) => *dispatch,
        other => panic!("no permission: {other:?}"),
    }
}

pub(super) fn asked() -> Asked {
    Asked {
        method: Method::Authorize,
        capture_mode: CaptureMode::Manual,
        amount: Amount::parse(1_234).expect("an amount"),
        currency: Currency::parse("EUR").expect("a currency"),
        entry_mode: EntryMode::Ecommerce,
        credentials: Credentials::default(),
        merchant: Merchant {
            id: MerchantId::parse("M-1").expect("an id"),
            terminal: TerminalId::parse("T-1").expect("an id"),
            category: AnswerText::of("5411", 4),
            name: AnswerText::of("Corner Shop", 25),
            city: AnswerText::of("Berlin", 13),
            country: AnswerText::of("DE", 2),
            acquirer: AnswerText::of("4711", 11),
        },
        partial_supported: false,
        electronic_commerce_indicator: AnswerText::default(),
        street: AnswerText::default(),
        postal_code: AnswerText::default(),
        original_network_transaction_id: AnswerText::default(),
    }
}

/// A card with all that a card can have; its number is made at run time.
pub(super) fn card() -> Card {
    let sensitive = |text: &str| Sensitive::new(text.as_bytes().to_vec());
    Card {
        pan: Pan::parse(&format!("99{}", "0".repeat(14))).expect("a number"),
        expiry: Some(Expiry::parse(2030, 12).expect("a month")),
        sequence_number: 1,
        verification_value: sensitive("123"),
        track2: sensitive("track"),
        icc_data: sensitive("chip"),
        pin_block: sensitive("12345678"),
        cryptogram: sensitive("cryptogram"),
    }
}

/// A send that runs beside the test.
pub(super) fn send(link: &Arc<dyn NetworkLink>, number: u64) -> tokio::task::JoinHandle<Answer> {
    let (link, deadline) = (Arc::clone(link), Instant::now() + TIMER);
    tokio::spawn(async move { link.send(dispatch(number), &asked(), &card(), None, deadline).await })
}

/// A delivery that runs beside the test.
pub(super) fn deliver(link: &Arc<dyn NetworkLink>, message: LaneMessage) -> tokio::task::JoinHandle<Delivery> {
    let (link, deadline) = (Arc::clone(link), Instant::now() + TIMER);
    tokio::spawn(async move { link.deliver(message, LaneWait::until(deadline)).await })
}

/// The reversal of [`dispatch`] of the same number.
pub(super) fn reversal(number: u64, repeat: bool) -> LaneMessage {
    let dispatch = dispatch(number);
    let asked = asked();
    LaneMessage {
        attempt: dispatch.attempt().clone(),
        identity: dispatch.identity(),
        repeat,
        kind: LaneKind::Reversal {
            original: dispatch.identity(),
            requested: asked.amount,
            approved: None,
            reversed: asked.amount,
            reason: switch_domain::transaction::ReversalReason::Timeout,
        },
        currency: asked.currency,
        merchant: asked.merchant.id,
        terminal: asked.merchant.terminal,
        acquirer: asked.merchant.acquirer,
        card: card(),
    }
}

pub(super) fn other_identity() -> MessageIdentity {
    MessageIdentity { attempt_id: dispatch(999).attempt().to_string(), ..MessageIdentity::default() }
}
