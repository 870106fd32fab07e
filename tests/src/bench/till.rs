//! A gateway that is as cheap as a client can be: it shares the processors with what it measures.
//!
//! Answers are kept as they were decoded, each caller for itself, and become a history only when the audit asks. The
//! requests are not kept at all: a number makes the same request again.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use parking_lot::Mutex;
use prost::Message;
use switch_proto::gateway::v1::{
    self as pb, authorization_service_client::AuthorizationServiceClient, authorize_stream_response::Answer,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, metadata::MetadataMap, transport::Channel};

use super::drive::{Caller, Latencies, Span, latencies, micros};
use crate::{
    gateway_client::GatewayClient,
    harness::directory::merchants_of,
    history::{Ask, Currency, Invocation, Outcome, Told},
    sandbox::cards,
    workload::plastic,
};

/// Which payments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Approved, and nothing follows.
    Approved,
    /// Nothing can follow: nine of ten are captured at once, one is declined.
    Closed,
}

/// What all callers share.
pub struct Till {
    gateway: GatewayClient,
    addresses: Vec<String>,
    merchants: Vec<String>,
    run: String,
    kind: Kind,
    call_timeout: Duration,
    began: Instant,
    /// Node that led when anybody last heard of it, from 0.
    leader: AtomicUsize,
    /// Number of the next payment.
    next: AtomicU64,
    /// No payment has this number or a greater one.
    end: AtomicU64,
    /// One payment in so many is recorded.
    recorded_every: u64,
    errors: AtomicU64,
    heard: Mutex<Vec<Vec<Heard>>>,
}

/// One answer.
struct Heard {
    number: u64,
    node: usize,
    invoked_us: u64,
    returned_us: u64,
    answer: Result<pb::OperationResult, Outcome>,
}

impl Till {
    /// Pays as `gateway` at the nodes behind `addresses`.
    pub fn new(gateway: GatewayClient, addresses: Vec<String>, kind: Kind, recorded_every: u64) -> Arc<Self> {
        Arc::new(Self {
            addresses,
            merchants: merchants_of(gateway.name()),
            run: format!("bench-{}", std::process::id()),
            kind,
            call_timeout: gateway.patience().call,
            began: Instant::now(),
            leader: AtomicUsize::new(0),
            next: AtomicU64::new(1),
            end: AtomicU64::new(u64::MAX),
            recorded_every: recorded_every.max(1),
            errors: AtomicU64::new(0),
            heard: Mutex::default(),
            gateway,
        })
    }

    /// `callers` that make unary calls.
    pub fn payers(self: &Arc<Self>, callers: usize) -> Vec<Payer> {
        let payer = |_| Payer { clients: self.clients(), heard: Vec::new(), till: self.clone() };
        (0..callers).map(payer).collect()
    }

    /// Streams that keep `in_flight` payments under way in all, until the span ends.
    pub fn lanes(
        self: &Arc<Self>,
        streams: usize,
        in_flight: usize,
        span: Span,
    ) -> impl Iterator<Item = impl Future<Output = anyhow::Result<Latencies>> + Send + use<>> + use<> {
        let streams = streams.clamp(1, in_flight.max(1));
        let lane = |number| Lane {
            clients: self.clients(),
            in_flight_max: in_flight / streams + usize::from(number < in_flight % streams),
            span,
            pending: HashMap::with_capacity(in_flight),
            latencies: latencies(),
            heard: Vec::new(),
            till: self.clone(),
        };
        (0..streams).map(lane).map(Lane::run).collect::<Vec<_>>().into_iter()
    }

    /// Ends every loop before payment number `end`, counted from 1.
    pub fn end_before(&self, end: u64) {
        self.end.store(end, Ordering::Relaxed);
    }

    /// The next payment has this number; every loop has ended.
    pub fn continue_at(&self, number: u64) {
        self.next.store(number, Ordering::Relaxed);
    }

    /// Answers that were errors and led to a repetition.
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// H: what was recorded. Callers must have ended.
    pub fn history(&self) -> Vec<Invocation> {
        let heard = std::mem::take(&mut *self.heard.lock());
        heard.into_iter().flatten().map(|heard| self.invocation(heard)).collect()
    }

    fn invocation(&self, heard: Heard) -> Invocation {
        let ask = Ask::Authorize(self.payment(heard.number));
        let outcome = match heard.answer {
            Ok(result) => Outcome::Ok {
                told: Told::new(&result),
                reversal_state: result.reversal_state(),
                network_state: result.network_state(),
                replayed: result.replayed,
            },
            Err(outcome) => outcome,
        };
        let amount = ask.amount();
        Invocation {
            invoked_us: heard.invoked_us,
            returned_us: heard.returned_us,
            gateway: self.gateway.name().into(),
            request_id: ask.request_id().into(),
            method: ask.method(),
            original: ask.original().into(),
            digest: ask.digest(),
            amount_minor_units: amount.map_or(0, |amount| amount.minor_units),
            currency: amount.map_or_else(Currency::default, |amount| Currency::new(&amount.currency_code)),
            settling: ask.settling(),
            node: u8::try_from(heard.node).unwrap_or(u8::MAX),
            outcome,
        }
    }

    /// The payment with this number, always the same.
    pub fn payment(&self, number: u64) -> pb::AuthorizeRequest {
        let small = u32::try_from(number % 1_000_000).expect("below a million");
        let declined = self.kind == Kind::Closed && number.is_multiple_of(10);
        let card = if declined { cards::DECLINED.to_owned() } else { cards::numbered(small) };
        // The two currencies take different networks.
        let currency_code = if number.is_multiple_of(2) { "EUR" } else { "USD" };
        pb::AuthorizeRequest {
            request_id: format!("{}-{number}", self.run),
            amount: Some(pb::Money {
                minor_units: i64::from(small % 100_000) + 100,
                currency_code: currency_code.into(),
            }),
            card: Some(plastic::keyed(&card)),
            merchant: Some(pb::Merchant {
                merchant_id: self.merchants[small as usize % self.merchants.len()].clone(),
                terminal_id: format!("T{:07}", small % 1000),
                category_code: "5411".into(),
                name: "Corner grocery".into(),
                city: "Riga".into(),
                country_code: "LV".into(),
            }),
            capture_mode: match self.kind {
                Kind::Approved => pb::CaptureMode::Manual.into(),
                Kind::Closed => pb::CaptureMode::Automatic.into(),
            },
            entry_mode: pb::EntryMode::Ecommerce.into(),
            ..pb::AuthorizeRequest::default()
        }
    }

    /// A client of every node. One after another they use all connections in turn.
    fn clients(&self) -> Vec<AuthorizationServiceClient<Channel>> {
        (1..=self.addresses.len()).map(|number| self.gateway.raw(number)).collect()
    }

    fn next(&self) -> Option<u64> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number < self.end.load(Ordering::Relaxed)).then_some(number)
    }

    fn now_us(&self) -> u64 {
        micros(self.began.elapsed())
    }

    fn follow(&self, metadata: &MetadataMap) -> bool {
        let hint = metadata.get(LEADER_HINT).and_then(|hint| hint.to_str().ok());
        let node = hint.and_then(|hint| self.addresses.iter().position(|address| address == hint));
        if let Some(node) = node.filter(|node| *node != self.leader.load(Ordering::Relaxed)) {
            self.leader.store(node, Ordering::Relaxed);
        }
        node.is_some()
    }

    /// Takes note of an error; an error of the whole where repeating cannot help.
    fn failed(&self, node: usize, status: &Status) -> anyhow::Result<()> {
        self.errors.fetch_add(1, Ordering::Relaxed);
        self.gateway.history().hear(status);
        if !self.follow(status.metadata()) && status.code() == Code::Unavailable {
            let next = (node + 1) % self.addresses.len();
            let _ = self.leader.compare_exchange(node, next, Ordering::Relaxed, Ordering::Relaxed);
        }
        let repeatable = matches!(
            status.code(),
            Code::Unavailable
                | Code::Aborted
                | Code::Cancelled
                | Code::DeadlineExceeded
                | Code::Internal
                | Code::ResourceExhausted
                | Code::Unknown
        );
        anyhow::ensure!(repeatable, "node {}: {:?} {}", node + 1, status.code(), status.message());
        let errors = self.errors();
        anyhow::ensure!(errors < ERRORS_MAX, "{errors} errors, the last: {:?} {}", status.code(), status.message());
        Ok(())
    }

    fn heard(
        &self,
        own: &mut Vec<Heard>,
        number: u64,
        node: usize,
        invoked_us: u64,
        answer: Result<pb::OperationResult, &Status>,
    ) {
        if number.is_multiple_of(self.recorded_every) {
            let answer = answer.map_err(Outcome::of_error);
            own.push(Heard { number, node, invoked_us, returned_us: self.now_us(), answer });
        }
    }
}

/// Makes unary calls, one after another.
pub struct Payer {
    clients: Vec<AuthorizationServiceClient<Channel>>,
    heard: Vec<Heard>,
    till: Arc<Till>,
}

impl Caller for Payer {
    async fn call(&mut self) -> anyhow::Result<bool> {
        let Some(number) = self.till.next() else { return Ok(false) };
        loop {
            let node = self.till.leader.load(Ordering::Relaxed);
            let invoked_us = self.till.now_us();
            let mut request = Request::new(self.till.payment(number));
            request.set_timeout(self.till.call_timeout);
            let status = match self.clients[node].authorize(request).await {
                Ok(answer) => {
                    self.till.follow(answer.metadata());
                    let result = answer.into_inner().result.context("an answer without a result")?;
                    self.till.heard(&mut self.heard, number, node, invoked_us, Ok(result));
                    return Ok(true);
                }
                Err(status) => status,
            };
            self.till.heard(&mut self.heard, number, node, invoked_us, Err(&status));
            self.till.failed(node, &status)?;
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Drop for Payer {
    fn drop(&mut self) {
        self.till.heard.lock().push(std::mem::take(&mut self.heard));
    }
}

/// Keeps a number of payments under way on one stream, and opens it again where it is cut.
struct Lane {
    clients: Vec<AuthorizationServiceClient<Channel>>,
    in_flight_max: usize,
    span: Span,
    /// When each payment began that has no answer yet.
    pending: HashMap<u64, Instant>,
    latencies: Latencies,
    heard: Vec<Heard>,
    till: Arc<Till>,
}

impl Lane {
    async fn run(mut self) -> anyhow::Result<Latencies> {
        loop {
            let node = self.till.leader.load(Ordering::Relaxed);
            let Err(status) = self.exchange(node).await? else { break };
            let unanswered: Vec<(u64, Instant)> =
                self.pending.iter().map(|(number, began)| (*number, *began)).collect();
            for (number, began) in unanswered {
                let cut = Status::unavailable("the stream was cut");
                let invoked_us = micros(began.saturating_duration_since(self.till.began));
                self.till.heard(&mut self.heard, number, node, invoked_us, Err(&cut));
            }
            self.till.failed(node, &status)?;
            tokio::time::sleep(PAUSE).await;
        }
        self.till.heard.lock().push(std::mem::take(&mut self.heard));
        Ok(self.latencies)
    }

    /// One stream, until it is cut (the inner error) or everything is answered and nothing more begins.
    async fn exchange(&mut self, node: usize) -> anyhow::Result<Result<(), Status>> {
        // There is room for all that is ever under way.
        let (out, outgoing) = mpsc::channel(self.in_flight_max.max(1));
        for number in self.pending.keys() {
            out.try_send(self.item(*number)).context("room for what is under way")?;
        }
        while self.pending.len() < self.in_flight_max && self.begin(&out)? {}
        if self.pending.is_empty() {
            return Ok(Ok(()));
        }
        let mut answers = match self.clients[node].authorize_stream(ReceiverStream::new(outgoing)).await {
            Ok(answers) => {
                self.till.follow(answers.metadata());
                answers.into_inner()
            }
            Err(status) => return Ok(Err(status)),
        };
        loop {
            let answer = match answers.message().await {
                Ok(Some(answer)) => answer,
                Ok(None) => return Ok(Err(Status::unavailable("the switch ended the stream"))),
                Err(status) => return Ok(Err(status)),
            };
            let number: u64 = answer
                .request_id
                .rsplit_once('-')
                .and_then(|(_, number)| number.parse().ok())
                .with_context(|| format!("an answer to {:?}, which nobody asked", answer.request_id))?;
            let began = *self.pending.get(&number).context("an answer twice, or to nobody")?;
            let invoked_us = micros(began.saturating_duration_since(self.till.began));
            match answer.answer {
                Some(Answer::Response(response)) => {
                    let result = response.result.context("an answer without a result")?;
                    self.till.heard(&mut self.heard, number, node, invoked_us, Ok(result));
                    self.pending.remove(&number);
                    if began >= self.span.counted_from && began <= self.span.until {
                        self.latencies.saturating_record(micros(began.elapsed()));
                    }
                    let _ = self.begin(&out)?;
                }
                Some(Answer::Status(bytes)) => {
                    let said = tonic_types::pb::Status::decode(bytes.clone()).context("a status that is none")?;
                    let status = Status::with_details(Code::from(said.code), said.message, bytes);
                    self.till.heard(&mut self.heard, number, node, invoked_us, Err(&status));
                    self.till.failed(node, &status)?;
                    tokio::time::sleep(PAUSE).await;
                    out.try_send(self.item(number)).context("room for what is under way")?;
                }
                None => anyhow::bail!("an answer that is none"),
            }
            if self.pending.is_empty() {
                return Ok(Ok(()));
            }
        }
    }

    /// Begins one more payment; `false` at the end of the span.
    fn begin(&mut self, out: &mpsc::Sender<pb::AuthorizeStreamRequest>) -> anyhow::Result<bool> {
        let began = Instant::now();
        if began > self.span.until {
            return Ok(false);
        }
        let Some(number) = self.till.next() else { return Ok(false) };
        self.pending.insert(number, began);
        match out.try_send(self.item(number)) {
            // A closed channel is a stream that was cut: it shows when the next answer is read.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(true),
            Err(mpsc::error::TrySendError::Full(_)) => anyhow::bail!("more under way than there is room for"),
        }
    }

    fn item(&self, number: u64) -> pb::AuthorizeStreamRequest {
        pb::AuthorizeStreamRequest {
            request: Some(self.till.payment(number)),
            timeout_ms: u32::try_from(self.till.call_timeout.as_millis()).unwrap_or(u32::MAX),
            traceparent: String::new(),
        }
    }
}

/// Response metadata that names the gateway address of the leader.
const LEADER_HINT: &str = "payswitch-leader";
/// Before a payment is repeated.
const PAUSE: Duration = Duration::from_millis(15);
/// A benchmark with more errors measures errors.
const ERRORS_MAX: u64 = 20_000;
