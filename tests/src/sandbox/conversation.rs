//! One conversation with a switch, without a wire: messages and time go in, frames come out. The gRPC adapter drives it
//! over a connection, a simulation drives it directly.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use switch_proto::network::v1 as wire;
use tokio::time::Instant;
use wire::{exchange_request::Body as Asked, exchange_response::Body as Told};

use super::{
    books::{Booked, Code, Noted, Request},
    cards,
    conduct::{Answering, Arrival, FactTreatment, Luck, Standing, Treatment},
    limits::{DUE_MAX, SIGN_OFF_GRACE},
    network::Network,
    parse::{self, Malformed},
    proto::{Mode, ViolationKind},
};

/// What goes out.
#[allow(clippy::large_enum_variant)] // nearly all of them are messages
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// A message.
    Message(wire::ExchangeResponse),
    /// Bytes that are no message.
    Undecodable,
    /// Nothing more: the connection is cut.
    Cut,
}

/// What waits for its time.
#[allow(clippy::large_enum_variant)] // nearly all of them are frames
#[derive(Debug)]
enum Due {
    Frame(Frame),
    Arrival { correlation_id: u64, fields: Box<wire::RequestFields>, single_message: bool, treatment: Treatment },
}

/// One conversation.
#[derive(Debug)]
pub struct Conversation {
    network: Arc<Network>,
    /// The switch has signed on, and neither side has signed off since.
    signed_on: bool,
    /// The network has signed off, from then on.
    signed_off_since: Option<Instant>,
    /// The switch was signed on when the network signed off.
    signs_on_again: bool,
    out: VecDeque<Frame>,
    /// By time, then in order of origin.
    due: BTreeMap<DueTime, Due>,
    order: u64,
}

type DueTime = (Instant, u64);

impl Conversation {
    /// A new one, on which nobody has signed on.
    pub fn new(network: Arc<Network>) -> Self {
        network.conversations.fetch_add(1, Ordering::Relaxed);
        Self {
            network,
            signed_on: false,
            signed_off_since: None,
            signs_on_again: false,
            out: VecDeque::new(),
            due: BTreeMap::new(),
            order: 0,
        }
    }

    /// Takes one message of the switch.
    pub fn receive(&mut self, request: wire::ExchangeRequest, now: Instant) {
        let standing = self.network.standing.borrow().clone();
        let id = request.correlation_id;
        match request.body {
            Some(Asked::Management(management)) => self.management(id, management, &standing, now),
            Some(Asked::Authorization(asked)) => self.asked(id, asked.request, false, &standing, now),
            Some(Asked::Financial(asked)) => self.asked(id, asked.request, true, &standing, now),
            Some(Asked::Reversal(reversal)) => self.reversal(id, reversal, &standing, now),
            Some(Asked::Advice(advice)) => self.advice(id, advice, &standing, now),
            None => self.violation(ViolationKind::Malformed, "", now, || format!("message {id} has no body")),
        }
    }

    /// The next frame that may go out now.
    pub fn pop(&mut self) -> Option<Frame> {
        self.out.pop_front()
    }

    /// When [`Conversation::advance`] has something to do.
    pub fn next_due(&self) -> Option<Instant> {
        let standing = self.network.standing.borrow();
        let waits = self.signed_off_since.is_some() && standing.mode != Mode::SignedOff;
        let back = standing.signed_off_until.filter(|_| waits);
        let due = self.due.first_key_value().map(|((at, _), _)| *at);
        [back, due].into_iter().flatten().min()
    }

    /// False where reading must wait.
    pub fn has_room(&self) -> bool {
        self.due.len() < DUE_MAX
    }

    /// Does what has become due, and notices a change of standing.
    pub fn advance(&mut self, now: Instant) {
        let standing = self.network.standing.borrow().clone();
        match (standing.signs_on(now), self.signed_off_since) {
            // ## SignedOn => SignedOff, by the network
            (false, None) => {
                self.signed_off_since = Some(now);
                self.signs_on_again = self.signed_on;
                self.sign_on(false);
                self.tell(wire::ManagementKind::SignOff);
            }
            // ## SignedOff => SignedOn, by the network
            (true, Some(_)) => {
                self.signed_off_since = None;
                if self.signs_on_again {
                    self.sign_on(true);
                }
                self.tell(wire::ManagementKind::SignOn);
            }
            (true, None) | (false, Some(_)) => {}
        }
        while let Some(first) = self.due.first_entry().filter(|first| first.key().0 <= now) {
            match first.remove() {
                Due::Frame(frame) => self.out.push_back(frame),
                Due::Arrival { correlation_id, fields, single_message, treatment } => {
                    self.arrive(correlation_id, &fields, single_message, treatment, &standing, now);
                }
            }
        }
        if standing.mode == Mode::RefuseConnections {
            self.out.push_back(Frame::Cut);
        }
    }

    fn management(&mut self, id: u64, asked: wire::NetworkManagement, standing: &Standing, now: Instant) {
        // A code makes it an answer, to a sign-off or sign-on of ours.
        if !asked.response_code.is_empty() || standing.conduct.management_unanswered {
            return;
        }
        let code = match asked.kind() {
            wire::ManagementKind::SignOn if standing.signs_on(now) => {
                self.signed_off_since = None;
                self.sign_on(true);
                self.network.ledger.lock().books.counters.sign_ons += 1;
                Code::APPROVED
            }
            wire::ManagementKind::SignOn => Code::UNAVAILABLE,
            wire::ManagementKind::SignOff => {
                self.sign_on(false);
                self.signs_on_again = false;
                Code::APPROVED
            }
            wire::ManagementKind::Echo => {
                self.network.ledger.lock().books.counters.echoes += 1;
                Code::APPROVED
            }
            wire::ManagementKind::Unspecified => {
                self.violation(ViolationKind::Malformed, "", now, || format!("management kind {}", asked.kind));
                Code::FORMAT_ERROR
            }
        };
        let delay = self.network.ledger.lock().dice.latency(&standing.conduct);
        let answer = wire::NetworkManagement { response_code: code.as_str().into(), ..asked };
        self.answer(id, Told::Management(answer), delay, now);
    }

    fn asked(
        &mut self,
        id: u64,
        fields: Option<wire::RequestFields>,
        single_message: bool,
        standing: &Standing,
        now: Instant,
    ) {
        self.network.ledger.lock().books.counters.requests += 1;
        let fields = fields.unwrap_or_default();
        let about = fields.identity.as_ref().map_or("", |identity| identity.attempt_id.as_str());
        if self.swallows(standing) || self.turns_away(id, about, now) {
            return;
        }
        let parsed = parse::request(&fields, single_message, &self.network.card_key, self.network.time_us(now));
        let request = match parsed {
            Ok(request) => request,
            Err(Malformed { code, detail }) => {
                self.violation(ViolationKind::Malformed, about, now, || detail);
                let answer = wire::RequestResponse {
                    identity: fields.identity.clone(),
                    response_code: code.as_str().into(),
                    decided_by_network: true,
                    ..Default::default()
                };
                return self.answer(id, Told::Response(answer), Duration::ZERO, now);
            }
        };
        let number = fields.card.as_ref().map_or("", |card| card.primary_account_number.as_str());
        let mut treatment = Treatment::by_card(cards::behaviour(number), request.kind)
            .unwrap_or_else(|| self.network.ledger.lock().dice.request(&standing.conduct));
        if standing.mode == Mode::Silent {
            treatment.answering = Answering::Withheld;
        }
        match treatment.arrival {
            Arrival::Now => self.book(id, &fields, &request, treatment, standing, now),
            Arrival::Late => {
                let fields = Box::new(fields);
                self.later(
                    now + standing.late(),
                    Due::Arrival { correlation_id: id, fields, single_message, treatment },
                );
            }
            Arrival::Never => self.network.ledger.lock().books.counters.swallowed += 1,
        }
    }

    /// A request that was on its way reaches the books.
    fn arrive(
        &mut self,
        id: u64,
        fields: &wire::RequestFields,
        single_message: bool,
        treatment: Treatment,
        standing: &Standing,
        now: Instant,
    ) {
        let now_us = self.network.time_us(now);
        let parsed = parse::request(fields, single_message, &self.network.card_key, now_us);
        let request = parsed.expect("it was parsed when it was received");
        self.book(id, fields, &request, treatment, standing, now);
    }

    /// Books a request and sends, or does not send, its answer.
    fn book(
        &mut self,
        id: u64,
        fields: &wire::RequestFields,
        request: &Request<'_>,
        treatment: Treatment,
        standing: &Standing,
        now: Instant,
    ) {
        let network = &self.network;
        let (booked, told_id, latency) = {
            let mut ledger = network.ledger.lock();
            let booked = ledger.books.request(request, treatment.verdict, treatment.answering.delivery());
            // What follows a transaction bears its id.
            let sequence = ledger.books.sequence_of(request.original_id).unwrap_or(booked.sequence);
            (booked, network.transaction_id(sequence), ledger.dice.latency(&standing.conduct))
        };
        let answer = answer(fields, &booked, told_id, treatment);
        self.send(id, answer, treatment.answering, latency, standing, now);
    }

    fn send(
        &mut self,
        id: u64,
        mut answer: wire::RequestResponse,
        answering: Answering,
        latency: Duration,
        standing: &Standing,
        now: Instant,
    ) {
        match answering {
            Answering::Once => self.answer(id, Told::Response(answer), latency, now),
            Answering::Slow => self.answer(id, Told::Response(answer), latency + standing.slow(), now),
            Answering::Late => self.answer(id, Told::Response(answer), latency + standing.late(), now),
            Answering::Withheld => {}
            Answering::Twice => {
                self.answer(id, Told::Response(answer.clone()), latency, now);
                self.answer(id, Told::Response(answer), latency, now);
            }
            Answering::Conflicting => {
                self.answer(id, Told::Response(answer.clone()), latency, now);
                answer.response_code = Code::DO_NOT_HONOR.as_str().into();
                answer.approval_code.clear();
                self.answer(id, Told::Response(answer), latency, now);
            }
            Answering::Stray => {
                self.answer(id, Told::Response(answer.clone()), latency, now);
                // Far above any number that a stream comes to.
                self.answer(id | 1 << 36, Told::Response(answer), latency, now);
            }
            Answering::Garbled => self.frame(Frame::Message(message(id, None)), latency, now),
            Answering::Undecodable => self.frame(Frame::Undecodable, latency, now),
            Answering::OtherCurrency => {
                answer.currency_code = if answer.currency_code == "XTS" { "XXX".into() } else { "XTS".into() };
                self.answer(id, Told::Response(answer), latency, now);
            }
            Answering::Cut => self.frame(Frame::Cut, latency, now),
            Answering::SignOff => {
                self.answer(id, Told::Response(answer), latency, now);
                let until = Some(now + standing.signed_off());
                self.network.standing.send_modify(|standing| standing.signed_off_until = until);
            }
        }
    }

    fn reversal(&mut self, id: u64, mut message: wire::Reversal, standing: &Standing, now: Instant) {
        let luck = {
            let mut ledger = self.network.ledger.lock();
            ledger.books.counters.reversals += 1;
            ledger.dice.fact(&standing.conduct)
        };
        let about = message.identity.as_ref().map_or("", |identity| identity.attempt_id.as_str()).to_owned();
        if self.swallows(standing) || self.turns_away(id, &about, now) || self.loses(luck) {
            return;
        }
        let network = self.network.clone();
        let (code, unanswered, latency) = match parse::reversal(&mut message, network.time_us(now)) {
            Err(Malformed { code, detail }) => {
                self.violation(ViolationKind::Malformed, &about, now, || detail);
                (code, false, Duration::ZERO)
            }
            Ok(note) => {
                let mut ledger = network.ledger.lock();
                let treatment = FactTreatment::of_reversal(ledger.books.behaviour_of(note.fact.original_id));
                let noted = ledger.books.reversal(&note, treatment.handling);
                let unanswered = withheld(noted, treatment, luck, standing);
                if !unanswered {
                    ledger.books.reversal_answered(&noted);
                }
                (noted.code, unanswered, ledger.dice.latency(&standing.conduct))
            }
        };
        if !unanswered {
            let answer = wire::ReversalResponse { identity: message.identity, response_code: code.as_str().into() };
            self.answer(id, Told::Reversal(answer), latency, now);
        }
    }

    fn advice(&mut self, id: u64, mut message: wire::Advice, standing: &Standing, now: Instant) {
        let luck = {
            let mut ledger = self.network.ledger.lock();
            ledger.books.counters.advices += 1;
            ledger.dice.fact(&standing.conduct)
        };
        let about = message.identity.as_ref().map_or("", |identity| identity.attempt_id.as_str()).to_owned();
        if self.swallows(standing) || self.turns_away(id, &about, now) || self.loses(luck) {
            return;
        }
        let network = self.network.clone();
        let (code, unanswered, latency) = match parse::advice(&mut message, network.time_us(now)) {
            Err(Malformed { code, detail }) => {
                self.violation(ViolationKind::Malformed, &about, now, || detail);
                (code, false, Duration::ZERO)
            }
            Ok(note) => {
                let mut ledger = network.ledger.lock();
                let treatment = FactTreatment::of_advice(ledger.books.behaviour_of(note.fact.original_id));
                let noted = ledger.books.advice(&note, treatment.handling);
                let unanswered = withheld(noted, treatment, luck, standing);
                if !unanswered {
                    ledger.books.advice_answered(&noted);
                }
                (noted.code, unanswered, ledger.dice.latency(&standing.conduct))
            }
        };
        if !unanswered {
            let answer = wire::AdviceResponse { identity: message.identity, response_code: code.as_str().into() };
            self.answer(id, Told::Advice(answer), latency, now);
        }
    }

    fn swallows(&self, standing: &Standing) -> bool {
        let swallows = standing.mode == Mode::Swallow;
        if swallows {
            self.network.ledger.lock().books.counters.swallowed += 1;
        }
        swallows
    }

    fn loses(&self, luck: Luck) -> bool {
        if luck == Luck::Lost {
            self.network.ledger.lock().books.counters.swallowed += 1;
        }
        luck == Luck::Lost
    }

    /// Money without a sign-on is answered by link control, with a code, and never booked.
    fn turns_away(&mut self, id: u64, about: &str, now: Instant) -> bool {
        if self.signed_on {
            return false;
        }
        self.network.ledger.lock().books.counters.turned_away += 1;
        let (kind, code) = match self.signed_off_since {
            None => {
                self.violation(ViolationKind::BeforeSignOn, about, now, || format!("message {id}"));
                (wire::ManagementKind::SignOn, Code::NOT_SIGNED_ON)
            }
            Some(since) => {
                let after = now.saturating_duration_since(since);
                if after > SIGN_OFF_GRACE {
                    let detail = || format!("message {id}, {} ms after the sign-off", after.as_millis());
                    self.violation(ViolationKind::AfterSignOff, about, now, detail);
                }
                (wire::ManagementKind::SignOff, Code::UNAVAILABLE)
            }
        };
        let answer = wire::NetworkManagement {
            kind: kind.into(),
            response_code: code.as_str().into(),
            institution_id: String::new(),
        };
        self.answer(id, Told::Management(answer), Duration::ZERO, now);
        true
    }

    /// Link control that the network starts.
    fn tell(&mut self, kind: wire::ManagementKind) {
        let management = wire::NetworkManagement {
            kind: kind.into(),
            institution_id: self.network.name.clone(),
            ..Default::default()
        };
        self.out.push_back(Frame::Message(message(0, Some(Told::Management(management)))));
    }

    fn sign_on(&mut self, signed_on: bool) {
        match (self.signed_on, signed_on) {
            (false, true) => self.network.signed_on.fetch_add(1, Ordering::Relaxed),
            (true, false) => self.network.signed_on.fetch_sub(1, Ordering::Relaxed),
            (true, true) | (false, false) => return,
        };
        self.signed_on = signed_on;
    }

    fn answer(&mut self, id: u64, told: Told, delay: Duration, now: Instant) {
        self.frame(Frame::Message(message(id, Some(told))), delay, now);
    }

    fn frame(&mut self, frame: Frame, delay: Duration, now: Instant) {
        if delay.is_zero() { self.out.push_back(frame) } else { self.later(now + delay, Due::Frame(frame)) }
    }

    fn later(&mut self, at: Instant, due: Due) {
        self.order += 1;
        self.due.insert((at, self.order), due);
    }

    fn violation(&self, kind: ViolationKind, about: &str, now: Instant, detail: impl FnOnce() -> String) {
        let now_us = self.network.time_us(now);
        self.network.ledger.lock().books.violation(kind, about, now_us, detail);
    }
}

impl Drop for Conversation {
    /// What is on its way to the books arrives all the same, though nobody is left to be answered.
    fn drop(&mut self) {
        let standing = self.network.standing.borrow().clone();
        let now = Instant::now();
        for (_, due) in std::mem::take(&mut self.due) {
            if let Due::Arrival { correlation_id, fields, single_message, mut treatment } = due {
                treatment.answering = Answering::Withheld;
                self.arrive(correlation_id, &fields, single_message, treatment, &standing, now);
            }
        }
        self.sign_on(false);
        self.network.conversations.fetch_sub(1, Ordering::Relaxed);
    }
}

fn withheld(noted: Noted, treatment: FactTreatment, luck: Luck, standing: &Standing) -> bool {
    standing.mode == Mode::Silent || luck == Luck::NoAcknowledgement || noted.copies <= treatment.unanswered
}

fn answer(
    fields: &wire::RequestFields,
    booked: &Booked,
    network_transaction_id: String,
    treatment: Treatment,
) -> wire::RequestResponse {
    let (address, card) = treatment.checks.unwrap_or(("Y", if booked.code == Code::WRONG_CVV { "N" } else { "M" }));
    let told = |asked: bool, result: &str| if asked { result.to_owned() } else { String::new() };
    let has_address = !fields.street.is_empty() || !fields.postal_code.is_empty();
    let has_cvv = fields.card.as_ref().is_some_and(|card| !card.card_verification_value.is_empty());
    let approval_code = String::from_utf8_lossy(&booked.approval_code).trim().to_owned();
    wire::RequestResponse {
        identity: fields.identity.clone(),
        response_code: booked.code.as_str().into(),
        approval_code,
        approved_minor_units: booked.yes.then_some(booked.approved),
        currency_code: fields.currency_code.clone(),
        network_transaction_id,
        address_result: told(has_address, address),
        card_verification_result: told(has_cvv, card),
        advice_code: treatment.advice.to_owned(),
        decided_by_network: false,
    }
}

fn message(correlation_id: u64, body: Option<Told>) -> wire::ExchangeResponse {
    wire::ExchangeResponse { correlation_id, body }
}
