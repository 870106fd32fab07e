use std::time::SystemTime;

use switch_proto::network::v1::{ManagementKind, Purpose};

use super::*;
use crate::sandbox::{
    books::{Policy, Sums},
    fixture::{
        KEEPS, KILLS, PLAIN, authorization, capture, code, financial, follow_up, management, purchase, reversal,
        verification, violations,
    },
    proto::Conduct,
};

/// A signed-on conversation and a clock that moves when told to.
struct Line {
    network: Arc<Network>,
    conversation: Conversation,
    now: Instant,
    last: u64,
}

impl Line {
    fn new(policy: Policy) -> Self {
        let mut line = Self::unsigned(policy);
        assert_eq!(line.say(management(ManagementKind::SignOn)), ["1 SignOn 00"]);
        line
    }

    fn unsigned(policy: Policy) -> Self {
        let network = Arc::new(Network::new("aurora", policy, 7, SystemTime::UNIX_EPOCH));
        Self { conversation: Conversation::new(network.clone()), network, now: Instant::now(), last: 0 }
    }

    /// Says something, and gives what comes back at once: correlation id and code.
    fn say(&mut self, body: Asked) -> Vec<String> {
        self.last += 1;
        let request = wire::ExchangeRequest { correlation_id: self.last, body: Some(body) };
        self.conversation.receive(request, self.now);
        self.heard()
    }

    /// Lets time pass to the millisecond, and gives what has come by then.
    fn wait(&mut self, ms: u64) -> Vec<String> {
        self.now += Duration::from_millis(ms);
        self.conversation.advance(self.now);
        self.heard()
    }

    fn heard(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.conversation.pop())
            .map(|frame| match frame {
                Frame::Message(message) => {
                    let told = message.body.as_ref().map_or("nothing".into(), code);
                    format!("{} {told}", message.correlation_id)
                }
                Frame::Undecodable => "undecodable".into(),
                Frame::Cut => "cut".into(),
            })
            .collect()
    }

    fn answer(&mut self, body: Asked) -> wire::RequestResponse {
        self.last += 1;
        let request = wire::ExchangeRequest { correlation_id: self.last, body: Some(body) };
        self.conversation.receive(request, self.now);
        match self.conversation.pop() {
            Some(Frame::Message(wire::ExchangeResponse { body: Some(Told::Response(answer)), .. })) => answer,
            other => panic!("no answer but {other:?}"),
        }
    }

    fn set(&mut self, mode: Mode, conduct: Conduct) {
        self.network.standing.send_modify(|standing| (standing.mode, standing.conduct) = (mode, conduct));
    }

    fn sums(&self) -> Sums {
        self.network.read(|books| books.total(*b"EUR"))
    }

    fn held(&self) -> i64 {
        self.sums().held()
    }

    fn violations(&self) -> Vec<ViolationKind> {
        violations(&self.network.records())
    }
}

#[test]
fn an_approval_carries_what_a_network_says() {
    let mut line = Line::new(KEEPS);
    let mut asked = purchase(1, cards::STREET_MISMATCH, 1_000);
    asked.street = "1 Main Street".into();
    asked.card.as_mut().expect("card").card_verification_value = "123".into();
    let answer = line.answer(authorization(asked.clone()));
    assert_eq!((answer.response_code.as_str(), answer.approved_minor_units), ("00", Some(1_000)));
    assert_eq!((answer.address_result.as_str(), answer.card_verification_result.as_str()), ("Z", "M"));
    assert_eq!((answer.currency_code.as_str(), answer.approval_code.len()), ("EUR", 6));
    assert_eq!(answer.identity, asked.identity);
    let other = line.answer(authorization(purchase(2, PLAIN, 1_000)));
    assert_ne!(answer.network_transaction_id, other.network_transaction_id);
    assert_ne!(answer.approval_code, other.approval_code);
    assert_eq!((other.address_result.as_str(), other.card_verification_result.as_str()), ("", ""));
    let increment = line.answer(authorization(follow_up(3, Purpose::Increment, &asked, 10)));
    assert_eq!(increment.network_transaction_id, answer.network_transaction_id);
}

/// Every card that answers at once, in one table: what is heard for a purchase of 10.00, and what is held afterwards.
#[test]
fn cards_answer_as_their_names_say() {
    for (number, heard, held) in [
        (cards::APPROVED_VISA, vec!["2 00"], 1_000),
        (cards::APPROVED_MASTERCARD, vec!["2 00"], 1_000),
        (cards::APPROVED_MASTERCARD_2_SERIES, vec!["2 00"], 1_000),
        (cards::APPROVED_AMEX, vec!["2 00"], 1_000),
        (cards::APPROVED_DISCOVER, vec!["2 00"], 1_000),
        (cards::DECLINED, vec!["2 05"], 0),
        (cards::INSUFFICIENT_FUNDS, vec!["2 51"], 0),
        (cards::LOST_CARD, vec!["2 41"], 0),
        (cards::STOLEN_CARD, vec!["2 43"], 0),
        (cards::EXPIRED_CARD, vec!["2 54"], 0),
        (cards::INCORRECT_CVV, vec!["2 N7"], 0),
        (cards::PROCESSING_ERROR, vec!["2 96"], 0),
        (cards::VELOCITY_EXCEEDED, vec!["2 65"], 0),
        (cards::ISSUER_UNAVAILABLE, vec!["2 91"], 0),
        (cards::REFERRAL, vec!["2 01"], 0),
        (cards::NEVER_TRY_AGAIN, vec!["2 51"], 0),
        (cards::CVV_MISMATCH, vec!["2 00"], 1_000),
        (cards::NO_ANSWER, vec![], 1_000),
        (cards::SWALLOWED, vec![], 0),
        (cards::LATE, vec![], 1_000),
        (cards::LATE_ARRIVAL, vec![], 0),
        (cards::SLOW, vec![], 1_000),
        (cards::DUPLICATE_ANSWER, vec!["2 00", "2 00"], 1_000),
        (cards::CONFLICTING_ANSWER, vec!["2 00", "2 05"], 1_000),
        (cards::STRAY_ANSWER, vec!["2 00", "68719476738 00"], 1_000),
        (cards::GARBLED, vec!["2 nothing"], 1_000),
        (cards::UNDECODABLE, vec!["undecodable"], 1_000),
        (cards::UNMAPPED_CODE, vec!["2 ZZ"], 1_000),
        (cards::GREATER_AMOUNT, vec!["2 00"], 1_001),
        (cards::OTHER_CURRENCY, vec!["2 00"], 1_000),
        (cards::PARTIAL, vec!["2 10"], 500),
        (cards::CUT, vec!["cut"], 1_000),
        (cards::SIGN_OFF, vec!["2 00"], 1_000),
    ] {
        let mut line = Line::new(KEEPS);
        let name = cards::ALL.iter().find(|card| card.number == number).expect("a card of the table").name;
        assert_eq!(line.say(authorization(purchase(1, number, 1_000))), heard, "{name}");
        assert_eq!(line.held(), held, "{name}");
        assert_eq!(line.violations(), [], "{name}");
    }
}

#[test]
fn an_invalid_card_number_is_declined() {
    let mut line = Line::new(KEEPS);
    assert_eq!(line.say(authorization(purchase(1, "no number", 1_000))), ["2 14"]);
    assert_eq!(line.held(), 0);
}

#[test]
fn wrong_amounts_and_currencies_are_told_but_only_the_amount_is_booked() {
    let mut line = Line::new(KEEPS);
    assert_eq!(line.answer(authorization(purchase(1, cards::GREATER_AMOUNT, 1_000))).approved_minor_units(), 1_001);
    assert_eq!(line.answer(authorization(purchase(2, cards::OTHER_CURRENCY, 1_000))).currency_code, "XTS");
    assert_eq!(line.answer(authorization(purchase(3, cards::PARTIAL, 1_001))).approved_minor_units(), 500);
    assert_eq!(line.held(), 1_001 + 1_000 + 500);
}

#[test]
fn a_late_answer_comes_after_its_reversal() {
    let mut line = Line::new(KEEPS);
    let sale = purchase(1, cards::LATE, 1_000);
    assert_eq!(line.say(authorization(sale.clone())), Vec::<String>::new());
    assert_eq!(line.wait(4_999), Vec::<String>::new());
    assert_eq!(line.say(Asked::Reversal(reversal(2, &sale))), ["3 00"]);
    assert_eq!(line.held(), 0);
    assert_eq!(line.wait(1), ["2 00"]);
    assert_eq!(line.held(), 0);
}

#[test]
fn a_late_arrival_is_overtaken_by_its_reversal_under_both_policies() {
    for (policy, first, then, held) in [(KEEPS, "3 25", "2 00", 1_000), (KILLS, "3 00", "2 12", 0)] {
        let mut line = Line::new(policy);
        let sale = purchase(1, cards::LATE_ARRIVAL, 1_000);
        line.say(authorization(sale.clone()));
        let undo = reversal(2, &sale);
        assert_eq!(line.say(Asked::Reversal(undo.clone())), [first]);
        assert_eq!(line.wait(5_000), [then]);
        assert_eq!(line.held(), held);
        line.say(Asked::Reversal(wire::Reversal { repeat: true, ..undo }));
        assert_eq!(line.held(), 0);
        assert_eq!(line.violations(), []);
    }
}

#[test]
fn a_late_arrival_is_booked_though_the_conversation_is_over() {
    let mut line = Line::new(KEEPS);
    line.say(authorization(purchase(1, cards::LATE_ARRIVAL, 1_000)));
    let network = line.network.clone();
    drop(line);
    assert_eq!(network.read(|books| books.total(*b"EUR").held()), 1_000);
    let status = network.status(String::new());
    assert_eq!((status.conversations, status.signed_on), (0, 0));
}

#[test]
fn a_slow_answer_is_in_time() {
    let mut line = Line::new(KEEPS);
    line.say(authorization(purchase(1, cards::SLOW, 1_000)));
    assert_eq!(line.conversation.next_due(), Some(line.now + Duration::from_millis(300)));
    assert_eq!(line.wait(300), ["2 00"]);
}

#[test]
fn cards_misbehave_in_what_follows_as_their_names_say() {
    for (number, refund, increment) in [
        (cards::REFUND_DECLINED, "4 05", "3 00"),
        (cards::REFUND_NO_ANSWER, "", "3 00"),
        (cards::INCREMENT_DECLINED, "4 00", "3 05"),
        (cards::INCREMENT_NO_ANSWER, "4 00", ""),
    ] {
        let mut line = Line::new(KEEPS);
        let sale = purchase(1, number, 1_000);
        assert_eq!(line.say(authorization(sale.clone())), ["2 00"]);
        let told = |line: &mut Line, asked| line.say(asked).pop().unwrap_or_default();
        assert_eq!(told(&mut line, authorization(follow_up(2, Purpose::Increment, &sale, 10))), increment, "{number}");
        assert_eq!(told(&mut line, financial(follow_up(3, Purpose::Refund, &sale, 10))), refund, "{number}");
    }
}

#[test]
fn reversals_are_refused_not_found_or_left_unanswered() {
    for (number, heard, held) in [
        (cards::REVERSAL_REFUSED, ["3 30", "4 30", "5 30"], 1_000),
        (cards::REVERSAL_NOT_FOUND, ["3 25", "4 25", "5 25"], 1_000),
        (cards::REVERSAL_UNANSWERED, ["", "", "5 94"], 0),
        (cards::REVERSAL_NEVER_ANSWERED, ["", "", ""], 0),
        (PLAIN, ["3 00", "4 94", "5 94"], 0),
    ] {
        let mut line = Line::new(KEEPS);
        let sale = purchase(1, number, 1_000);
        line.say(authorization(sale.clone()));
        for (copy, heard) in heard.into_iter().enumerate() {
            let undo = wire::Reversal { repeat: copy > 0, ..reversal(2, &sale) };
            assert_eq!(line.say(Asked::Reversal(undo)).pop().unwrap_or_default(), heard);
        }
        assert_eq!(line.held(), held);
        assert_eq!(line.violations(), []);
    }
}

#[test]
fn advices_are_refused_or_left_unanswered() {
    for (number, heard, captured) in [
        (cards::ADVICE_REFUSED, ["3 30", "4 30", "5 30"], 0),
        (cards::ADVICE_UNANSWERED, ["", "", "5 94"], 1_000),
        (PLAIN, ["3 00", "4 94", "5 94"], 1_000),
    ] {
        let mut line = Line::new(KEEPS);
        let sale = purchase(1, number, 1_000);
        line.say(authorization(sale.clone()));
        for (copy, heard) in heard.into_iter().enumerate() {
            let advice = wire::Advice { repeat: copy > 0, ..capture(2, &sale, 1_000) };
            assert_eq!(line.say(Asked::Advice(advice)).pop().unwrap_or_default(), heard);
        }
        assert_eq!(line.sums().captured, captured);
        assert_eq!(line.violations(), []);
    }
}

#[test]
fn money_before_the_sign_on_is_turned_away_and_noted() {
    let mut line = Line::unsigned(KEEPS);
    let sale = purchase(1, PLAIN, 1_000);
    assert_eq!(line.say(authorization(sale.clone())), ["1 SignOn 58"]);
    assert_eq!(line.say(Asked::Reversal(reversal(2, &sale))), ["2 SignOn 58"]);
    assert_eq!(line.say(management(ManagementKind::Echo)), ["3 Echo 00"]);
    assert_eq!(line.violations(), [ViolationKind::BeforeSignOn; 2]);
    assert_eq!(line.held(), 0);
}

#[test]
fn a_switch_that_signs_off_must_sign_on_again() {
    let mut line = Line::new(KEEPS);
    assert_eq!(line.say(management(ManagementKind::SignOff)), ["2 SignOff 00"]);
    assert_eq!(line.say(authorization(purchase(1, PLAIN, 1_000))), ["3 SignOn 58"]);
    assert_eq!(line.say(management(ManagementKind::SignOn)), ["4 SignOn 00"]);
    assert_eq!(line.say(authorization(purchase(2, PLAIN, 1_000))), ["5 00"]);
}

#[test]
fn the_sign_off_card_signs_off_and_on_again() {
    let mut line = Line::new(KEEPS);
    assert_eq!(line.say(authorization(purchase(1, cards::SIGN_OFF, 1_000))), ["2 00"]);
    assert_eq!(line.wait(0), ["0 SignOff "]);
    let answered = wire::NetworkManagement {
        kind: ManagementKind::SignOff.into(),
        response_code: "00".into(),
        ..Default::default()
    };
    assert_eq!(line.say(Asked::Management(answered)), Vec::<String>::new());
    assert_eq!(line.say(authorization(purchase(2, PLAIN, 1_000))), ["4 SignOff 91"]);
    assert_eq!(line.say(management(ManagementKind::SignOn)), ["5 SignOn 91"]);
    assert_eq!(line.wait(1_999), Vec::<String>::new());
    assert_eq!(line.wait(1), ["0 SignOn "]);
    assert_eq!(line.say(authorization(purchase(3, PLAIN, 1_000))), ["6 00"]);
    assert_eq!(line.conversation.next_due(), None);
    assert_eq!(line.violations(), []);
}

#[test]
fn money_well_after_the_sign_off_is_noted() {
    let mut line = Line::new(KEEPS);
    line.set(Mode::SignedOff, Conduct::default());
    assert_eq!(line.wait(0), ["0 SignOff "]);
    line.wait(2_000);
    line.say(authorization(purchase(1, PLAIN, 1_000)));
    assert_eq!(line.violations(), []);
    line.wait(1);
    line.say(authorization(purchase(2, PLAIN, 1_000)));
    assert_eq!(line.violations(), [ViolationKind::AfterSignOff]);
    line.set(Mode::Normal, Conduct::default());
    assert_eq!(line.wait(0), ["0 SignOn "]);
}

#[test]
fn a_swallowing_network_books_nothing_and_a_silent_one_everything() {
    for (mode, held, swallowed) in [(Mode::Swallow, 0, 3), (Mode::Silent, 1_000, 0)] {
        let mut line = Line::new(KEEPS);
        line.set(mode, Conduct::default());
        let (sale, undone) = (purchase(1, PLAIN, 1_000), purchase(2, PLAIN, 500));
        assert_eq!(line.say(authorization(sale)), Vec::<String>::new());
        assert_eq!(line.say(authorization(undone.clone())), Vec::<String>::new());
        assert_eq!(line.say(Asked::Reversal(reversal(3, &undone))), Vec::<String>::new());
        assert_eq!(line.say(management(ManagementKind::Echo)), ["5 Echo 00"]);
        assert_eq!(line.held(), held);
        let counters = line.network.read(|books| books.counters);
        assert_eq!((counters.requests, counters.reversals, counters.swallowed), (2, 1, swallowed));
    }
}

#[test]
fn a_network_that_refuses_connections_cuts_those_it_has() {
    let mut line = Line::new(KEEPS);
    line.set(Mode::RefuseConnections, Conduct::default());
    assert_eq!(line.wait(0), ["cut"]);
}

#[test]
fn every_share_does_what_its_name_says() {
    const ALL: u32 = 1_000_000;
    let none = Conduct::default();
    for (conduct, heard, held) in [
        (Conduct { swallow_ppm: ALL, ..none }, vec![], 0),
        (Conduct { no_answer_ppm: ALL, ..none }, vec![], 1_000),
        (Conduct { late_ppm: ALL, ..none }, vec![], 1_000),
        (Conduct { late_arrival_ppm: ALL, ..none }, vec![], 0),
        (Conduct { duplicate_answer_ppm: ALL, ..none }, vec!["2 00", "2 00"], 1_000),
        (Conduct { garbled_ppm: ALL, ..none }, vec!["2 nothing"], 1_000),
        (Conduct { cut_ppm: ALL, ..none }, vec!["cut"], 1_000),
        (Conduct { decline_ppm: ALL, ..none }, vec!["2 05"], 0),
    ] {
        let mut line = Line::new(KEEPS);
        line.set(Mode::Normal, conduct);
        assert_eq!(line.say(authorization(purchase(1, PLAIN, 1_000))), heard, "{conduct:?}");
        assert_eq!(line.held(), held, "{conduct:?}");
    }
    for (conduct, held) in
        [(Conduct { no_acknowledgement_ppm: ALL, ..none }, 0), (Conduct { lost_ppm: ALL, ..none }, 1_000)]
    {
        let mut line = Line::new(KEEPS);
        let sale = purchase(1, PLAIN, 1_000);
        line.say(authorization(sale.clone()));
        line.set(Mode::Normal, conduct);
        assert_eq!(line.say(Asked::Reversal(reversal(2, &sale))), Vec::<String>::new());
        assert_eq!(line.held(), held, "{conduct:?}");
    }
}

#[test]
fn latency_and_jitter_delay_every_answer_and_keep_management_mute_where_asked() {
    let mut line = Line::new(KEEPS);
    line.set(Mode::Normal, Conduct { latency_ms: 20, jitter_ms: 10, ..Default::default() });
    line.say(authorization(purchase(1, PLAIN, 1_000)));
    assert_eq!(line.wait(19), Vec::<String>::new());
    assert_eq!(line.wait(11), ["2 00"]);
    line.set(Mode::Normal, Conduct { management_unanswered: true, ..Default::default() });
    assert_eq!(line.say(management(ManagementKind::Echo)), Vec::<String>::new());
}

#[test]
fn malformed_messages_are_answered_and_noted_and_hold_nothing() {
    let mut line = Line::new(KEEPS);
    assert_eq!(line.say(authorization(purchase(1, PLAIN, 0))), ["2 13"]);
    let mut check = verification(2, PLAIN);
    check.amount_minor_units = 100;
    assert_eq!(line.say(authorization(check)), ["3 13"]);
    assert_eq!(line.say(authorization(purchase(1_000_000, PLAIN, 100))), ["4 30"]);
    assert_eq!(line.say(financial(follow_up(3, Purpose::Increment, &purchase(1, PLAIN, 1), 1))), ["5 12"]);
    assert_eq!(line.say(Asked::Reversal(wire::Reversal::default())), ["6 30"]);
    assert_eq!(line.say(Asked::Advice(wire::Advice::default())), ["7 30"]);
    assert_eq!(line.violations(), [ViolationKind::Malformed; 6]);
    assert_eq!(line.sums(), Sums::default());
}

#[test]
fn two_conversations_share_one_set_of_books() {
    let mut line = Line::new(KEEPS);
    let mut other = Conversation::new(line.network.clone());
    let sale = purchase(1, PLAIN, 1_000);
    line.say(authorization(sale.clone()));
    let sign_on = wire::ExchangeRequest { correlation_id: 1, body: Some(management(ManagementKind::SignOn)) };
    other.receive(sign_on, line.now);
    assert_eq!(line.network.status(String::new()).signed_on, 2);
    let undo = wire::ExchangeRequest { correlation_id: 2, body: Some(Asked::Reversal(reversal(2, &sale))) };
    other.receive(undo, line.now);
    assert_eq!(line.held(), 0);
}
