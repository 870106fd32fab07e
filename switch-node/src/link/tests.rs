//! Links against a network of channels, in paused time.

mod fixture;
mod over_grpc;

use std::{sync::atomic::Ordering, time::Duration};

use switch_domain::{
    authorization,
    id::{AttemptRef, LinkId, NetworkId},
    money::Amount,
    outcome::{Answer, AnswerText, Doubt, LaneVerdict, NotSent},
    transaction::{CaptureMode, Method},
};
use switch_proto::network::v1::{
    AdviceResponse, CredentialInitiator, CredentialReason, ExchangeResponse, ManagementKind, MessageIdentity, Purpose,
    RequestResponse, ReversalResponse, exchange_request::Body as Asks, exchange_response::Body as Tells,
};
use tokio::time::{Instant, advance};

use self::fixture::{
    Story, TIMER, answer_of, approval, approved, asked, card, control, deliver, directory, dispatch, other_identity,
    record, reversal, send, settle,
};
use super::{CircuitState, Delivery, LaneKind, LaneWait, LinkState, Received, Settings, message};

const OUT_OF_SERVICE: Answer = Answer::NotSent(NotSent::OutOfService);

fn attempt(number: u64) -> AttemptRef {
    dispatch(number).attempt().clone()
}

// Signing on and off.

#[tokio::test(start_paused = true)]
async fn a_link_takes_money_only_once_the_network_agreed_to_its_sign_on() {
    let mut story = Story::start();
    let link = story.link("visa-1");
    assert_eq!(send(&link, 1).await.expect("ends"), OUT_OF_SERVICE);
    let mut side = story.side().await;
    let (number, sign_on) = side.next_control().await;
    assert_eq!((number, sign_on.kind(), sign_on.institution_id.as_str()), (1, ManagementKind::SignOn, "4711"));
    settle().await;
    assert_eq!(link.state(), LinkState::Connected);
    assert_eq!(send(&link, 2).await.expect("ends"), OUT_OF_SERVICE);
    side.tell(1, control(ManagementKind::SignOn, "00")).await;
    assert_eq!(story.states(), [LinkState::Connected, LinkState::InService]);
    let sending = send(&link, 3);
    let (number, fields) = side.next_request().await;
    side.approve(number, &fields).await;
    assert_eq!(sending.await.expect("ends"), approved());
}

#[tokio::test(start_paused = true)]
async fn a_refused_sign_on_is_tried_again_on_the_same_connection() {
    let mut story = Story::start();
    let mut side = story.side().await;
    side.answer_control(ManagementKind::SignOn, "91").await;
    assert_eq!(story.link("visa-1").state(), LinkState::Connected);
    side.answer_control(ManagementKind::SignOn, "00").await;
    assert_eq!(story.link("visa-1").state(), LinkState::InService);
}

#[tokio::test(start_paused = true)]
async fn without_a_connection_nothing_is_sent_and_the_first_retry_comes_within_milliseconds() {
    let mut story = Story::start();
    story.network.refuses.store(true, Ordering::Relaxed);
    settle().await;
    assert_eq!(send(&story.link("visa-1"), 1).await.expect("ends"), OUT_OF_SERVICE);
    let began = Instant::now();
    story.network.refuses.store(false, Ordering::Relaxed);
    let _side = story.signed_on().await;
    assert!(began.elapsed() <= Duration::from_millis(10), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_network_that_signs_off_gets_nothing_more_and_what_is_in_flight_goes_on() {
    let (story, link, mut side) = Story::in_service().await;
    let sending = send(&link, 1);
    let (number, fields) = side.next_request().await;
    side.tell(0, control(ManagementKind::SignOff, "")).await;
    assert_eq!(link.state(), LinkState::Connected);
    let (answered, told) = side.next_control().await;
    assert_eq!((answered, told.kind(), told.response_code.as_str()), (0, ManagementKind::SignOff, "00"));
    assert_eq!(send(&link, 2).await.expect("ends"), OUT_OF_SERVICE);
    side.approve(number, &fields).await;
    assert_eq!(sending.await.expect("ends"), approved());
    // Back: it is answered, and this side signs on anew.
    side.tell(0, control(ManagementKind::SignOn, "")).await;
    let (_, told) = side.next_control().await;
    assert_eq!((told.kind(), told.response_code.as_str()), (ManagementKind::SignOn, "00"));
    side.answer_control(ManagementKind::SignOn, "00").await;
    assert_eq!(link.state(), LinkState::InService);
    assert_eq!(story.events.unmatched.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_queued_when_the_network_signs_off_is_not_sent() {
    let (story, link, mut side) = Story::in_service().await;
    story.network.stalled.send_replace(true);
    let sending = send(&link, 1);
    settle().await;
    side.tell(0, control(ManagementKind::SignOff, "")).await;
    story.network.stalled.send_replace(false);
    assert_eq!(sending.await.expect("ends"), OUT_OF_SERVICE);
    let (_, told) = side.next_control().await;
    assert_eq!(told.kind(), ManagementKind::SignOff);
    assert!(side.is_silent().await);
}

#[tokio::test(start_paused = true)]
async fn signing_off_waits_for_answers_and_never_connects_again() {
    let (mut story, link, mut side) = Story::in_service().await;
    let sending = send(&link, 1);
    let (number, fields) = side.next_request().await;
    let signing_off = tokio::spawn({
        let link = std::sync::Arc::clone(&link);
        async move { link.sign_off(Instant::now() + TIMER).await }
    });
    settle().await;
    assert_eq!(link.state(), LinkState::SignedOn);
    assert_eq!(send(&link, 2).await.expect("ends"), OUT_OF_SERVICE);
    assert!(side.is_silent().await);
    side.approve(number, &fields).await;
    assert_eq!(sending.await.expect("ends"), approved());
    side.answer_control(ManagementKind::SignOff, "00").await;
    signing_off.await.expect("ends");
    assert_eq!(link.state(), LinkState::Down);
    assert!(side.is_closed().await);
    assert!(tokio::time::timeout(Duration::from_secs(60), story.side()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn signing_off_ends_at_its_deadline_whatever_is_in_flight() {
    let (story, link, mut side) = Story::in_service().await;
    let sending = send(&link, 1);
    side.next_request().await;
    let began = Instant::now();
    story.links.sign_off(began + Duration::from_secs(3)).await;
    assert_eq!(began.elapsed(), Duration::from_secs(3));
    assert_eq!(sending.await.expect("ends"), Answer::Unknown(Doubt::ConnectionLost));
}

// Requests.

#[tokio::test(start_paused = true)]
async fn a_request_carries_what_was_asked() {
    let (_story, link, mut side) = Story::in_service().await;
    let _sending = send(&link, 1);
    let (_, fields) = side.next_request().await;
    let dispatch = dispatch(1);
    let identity = MessageIdentity {
        attempt_id: dispatch.attempt().to_string(),
        system_trace_audit_number: dispatch.identity().stan.number(),
        retrieval_reference_number: dispatch.identity().rrn.as_str().into(),
        transmission_time: "1114221320".into(),
        acquirer_id: "4711".into(),
    };
    assert!(fields.identity == Some(identity));
    assert_eq!((fields.purpose(), fields.amount_minor_units), (Purpose::Purchase, 1_234));
    assert_eq!((fields.currency_code.as_str(), fields.entry_mode.as_str()), ("EUR", "81"));
    assert_eq!(fields.merchant_name, "Corner Shop Berlin DE");
    let data = fields.card.expect("a card");
    assert_eq!((data.expiry.as_str(), data.card_verification_value.as_str()), ("3012", "123"));
    assert_eq!((fields.three_d_secure, fields.wallet.as_str(), fields.stored_credential), (None, "", None));
}

#[test]
fn a_request_carries_how_card_and_cardholder_were_vouched_for() {
    let result = authorization::ThreeDSecure {
        version: AnswerText::of("2.2.0", 8),
        directory_server_transaction_id: AnswerText::of("f2b1c0de-0000-4abc-8def-a1b2c3d4e5f6", 36),
        status: authorization::AuthenticationStatus::Attempted,
    };
    let stored = authorization::StoredCredential {
        initiator: authorization::CredentialInitiator::Merchant,
        reason: authorization::CredentialReason::Installment,
    };
    let wallet = AnswerText::of("google_pay", 32);
    let credentials = authorization::Credentials { three_d_secure: Some(result), wallet, stored: Some(stored) };
    let asked = authorization::Asked { credentials, ..asked() };
    let message = message::request(&dispatch(1), &asked, &card()).expect("it can be encoded").into_message();
    let Some(Asks::Authorization(asked)) = message.body else { panic!("no authorization") };
    let fields = asked.request.expect("fields");
    let result = fields.three_d_secure.expect("a result");
    assert_eq!((result.version.as_str(), result.transaction_status.as_str()), ("2.2.0", "A"));
    assert_eq!(result.directory_server_transaction_id, "f2b1c0de-0000-4abc-8def-a1b2c3d4e5f6");
    assert_eq!(fields.wallet, "google_pay");
    let stored = fields.stored_credential.expect("its use");
    assert_eq!(stored.initiator(), CredentialInitiator::Merchant);
    assert_eq!(stored.reason(), CredentialReason::Installment);
}

#[test]
fn r18_an_approved_amount_that_is_left_out_is_not_nothing() {
    let approved = |units| {
        message::answer(&RequestResponse {
            response_code: "10".into(),
            approved_minor_units: units,
            ..RequestResponse::default()
        })
    };
    assert_eq!(approved(None).map(|answer| answer.approved), Ok(None));
    assert_eq!(approved(Some(0)).map(|answer| answer.approved), Ok(Some(Amount::ZERO)));
    assert_eq!(approved(Some(-1)).map(|answer| answer.approved), Err(message::Garbled));
}

#[test]
fn r6_sales_and_refunds_are_financial_and_the_rest_are_authorizations() {
    let body = |method, capture_mode| {
        let asked = authorization::Asked { method, capture_mode, ..asked() };
        message::request(&dispatch(1), &asked, &card()).map(|message| match message.into_message().body {
            Some(Asks::Authorization(asked)) => ("authorization", asked.request.expect("fields").purpose()),
            Some(Asks::Financial(asked)) => ("financial", asked.request.expect("fields").purpose()),
            Some(Asks::Advice(_) | Asks::Reversal(_) | Asks::Management(_)) | None => panic!("no request"),
        })
    };
    assert_eq!(body(Method::Authorize, CaptureMode::Manual), Ok(("authorization", Purpose::Purchase)));
    assert_eq!(body(Method::Authorize, CaptureMode::Automatic), Ok(("financial", Purpose::Purchase)));
    assert_eq!(body(Method::Increment, CaptureMode::Manual), Ok(("authorization", Purpose::Increment)));
    assert_eq!(body(Method::Refund, CaptureMode::Manual), Ok(("financial", Purpose::Refund)));
    assert_eq!(body(Method::Verify, CaptureMode::Automatic), Ok(("authorization", Purpose::Verification)));
    assert_eq!(body(Method::Void, CaptureMode::Manual), Err(message::NotEncodable));
}

#[tokio::test(start_paused = true)]
async fn what_the_format_cannot_carry_is_not_sent() {
    let (_story, link, mut side) = Story::in_service().await;
    let track2 = switch_domain::card::Sensitive::new(vec![0xff]);
    let card = switch_domain::card::Card { track2, ..card() };
    let answer = link.send(dispatch(1), &asked(), &card, None, Instant::now() + TIMER).await;
    assert_eq!(answer, Answer::NotSent(NotSent::NotEncodable));
    assert!(side.is_silent().await);
}

#[tokio::test(start_paused = true)]
async fn silence_is_unknown_and_the_late_answer_is_a_stray() {
    let (story, link, mut side) = Story::in_service().await;
    let began = Instant::now();
    let sending = send(&link, 1);
    let (number, fields) = side.next_request().await;
    assert_eq!(sending.await.expect("ends"), Answer::Unknown(Doubt::NoAnswer));
    assert_eq!((began.elapsed(), link.in_flight()), (TIMER, 0));
    side.approve(number, &fields).await;
    assert_eq!(*story.events.strays.lock(), [(attempt(1), answer_of("00"))]);
}

#[tokio::test(start_paused = true)]
async fn a_connection_cut_after_the_write_leaves_doubt_and_comes_back() {
    let (mut story, link, mut side) = Story::in_service().await;
    let sending = send(&link, 1);
    side.next_request().await;
    drop(side);
    assert_eq!(sending.await.expect("ends"), Answer::Unknown(Doubt::ConnectionLost));
    assert_eq!(link.state(), LinkState::Down);
    let _side = story.signed_on().await;
    assert_eq!(link.state(), LinkState::InService);
}

#[tokio::test(start_paused = true)]
async fn a_connection_cut_before_the_write_has_sent_nothing() {
    let (story, link, side) = Story::in_service().await;
    story.network.stalled.send_replace(true);
    let sending = send(&link, 1);
    settle().await;
    drop(side);
    assert_eq!(sending.await.expect("ends"), OUT_OF_SERVICE);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_written_at_its_deadline_never_is() {
    let (story, link, mut side) = Story::in_service().await;
    story.network.stalled.send_replace(true);
    assert_eq!(send(&link, 1).await.expect("ends"), Answer::NotSent(NotSent::TooLate));
    story.network.stalled.send_replace(false);
    assert!(side.is_silent().await);
}

#[tokio::test(start_paused = true)]
async fn answers_that_cannot_be_used_leave_doubt() {
    let (story, link, mut side) = Story::in_service().await;
    let garbles: [fn(RequestResponse) -> Option<Tells>; 9] = [
        |_| None,
        |told| Some(Tells::Response(RequestResponse { identity: None, ..told })),
        |told| Some(Tells::Response(RequestResponse { identity: Some(other_identity()), ..told })),
        |mut told| {
            told.identity.as_mut()?.system_trace_audit_number += 1;
            Some(Tells::Response(told))
        },
        |mut told| {
            told.identity.as_mut()?.retrieval_reference_number = "ZZZZZZZZZZZZ".into();
            Some(Tells::Response(told))
        },
        |told| Some(Tells::Response(RequestResponse { response_code: "0".into(), ..told })),
        |told| Some(Tells::Response(RequestResponse { approved_minor_units: Some(-1), ..told })),
        |told| Some(Tells::Response(RequestResponse { currency_code: "XTS".into(), ..told })),
        |told| Some(Tells::Advice(AdviceResponse { identity: told.identity, response_code: "00".into() })),
    ];
    for (number, garble) in (1..).zip(garbles) {
        let sending = send(&link, number);
        let (correlation_id, fields) = side.next_request().await;
        let body = garble(approval(&fields));
        side.tell_any(Received::Message(Box::new(ExchangeResponse { correlation_id, body }))).await;
        assert_eq!(sending.await.expect("ends"), Answer::Unknown(Doubt::Garbled), "garble {number}");
    }
    assert_eq!(story.events.unmatched.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn an_undecodable_answer_hurts_its_own_request_only() {
    let (story, link, mut side) = Story::in_service().await;
    let (first, second) = (send(&link, 1), send(&link, 2));
    let (number, _) = side.next_request().await;
    let (other, fields) = side.next_request().await;
    side.tell_any(Received::Undecodable { correlation_id: Some(number) }).await;
    side.tell_any(Received::Undecodable { correlation_id: None }).await;
    side.approve(other, &fields).await;
    assert_eq!(first.await.expect("ends"), Answer::Unknown(Doubt::Garbled));
    assert_eq!(second.await.expect("ends"), approved());
    assert_eq!(story.events.unmatched.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn answers_to_nobody_are_named_by_their_attempt_or_counted() {
    let (story, link, mut side) = Story::in_service().await;
    let sending = send(&link, 1);
    let (number, fields) = side.next_request().await;
    side.approve(number, &fields).await;
    assert_eq!(sending.await.expect("ends"), approved());
    // A duplicate, one under a number that was never used, one that names no attempt, and one without a body.
    side.approve(number, &fields).await;
    side.approve(1 << 62, &fields).await;
    side.tell(77, Tells::Response(RequestResponse { identity: None, ..approval(&fields) })).await;
    side.tell_any(Received::Message(Box::new(ExchangeResponse { correlation_id: 78, body: None }))).await;
    assert_eq!(*story.events.strays.lock(), [(attempt(1), answer_of("00")), (attempt(1), answer_of("00"))]);
    assert_eq!(story.events.unmatched.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_what_was_not_written_answers_nothing() {
    let (story, link, mut side) = Story::in_service().await;
    story.network.stalled.send_replace(true);
    let sending = send(&link, 1);
    settle().await;
    side.tell_any(Received::Message(Box::new(ExchangeResponse { correlation_id: 2, body: None }))).await;
    story.network.stalled.send_replace(false);
    let (number, fields) = side.next_request().await;
    side.approve(number, &fields).await;
    assert_eq!((number, sending.await.expect("ends")), (2, approved()));
    assert_eq!(story.events.unmatched.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn r2_a_send_that_nobody_waits_for_any_more_leaves_a_stray() {
    let (story, link, mut side) = Story::in_service().await;
    let sending = send(&link, 1);
    let (number, fields) = side.next_request().await;
    sending.abort();
    settle().await;
    assert_eq!(link.in_flight(), 0);
    side.approve(number, &fields).await;
    assert_eq!(*story.events.strays.lock(), [(attempt(1), answer_of("00"))]);
}

#[tokio::test(start_paused = true)]
async fn r2_an_answer_that_came_and_was_not_taken_is_a_stray() {
    let (story, link, mut side) = Story::in_service().await;
    let (asked, card) = (asked(), card());
    let mut sending = link.send(dispatch(1), &asked, &card, None, Instant::now() + TIMER);
    assert!(futures::poll!(&mut sending).is_pending());
    let (number, fields) = side.next_request().await;
    side.approve(number, &fields).await;
    assert_eq!(*story.events.strays.lock(), []);
    drop(sending);
    assert_eq!(*story.events.strays.lock(), [(attempt(1), answer_of("00"))]);
}

#[tokio::test(start_paused = true)]
async fn a_send_dropped_before_its_write_is_never_written() {
    let (story, link, mut side) = Story::in_service().await;
    story.network.stalled.send_replace(true);
    let sending = send(&link, 1);
    settle().await;
    sending.abort();
    settle().await;
    story.network.stalled.send_replace(false);
    assert!(side.is_silent().await);
}

#[tokio::test(start_paused = true)]
async fn a_payment_that_is_turned_away_is_in_doubt_and_the_link_signs_on_again() {
    let (_story, link, mut side) = Story::in_service().await;
    let sending = send(&link, 1);
    let (number, _) = side.next_request().await;
    side.tell(number, control(ManagementKind::SignOn, "58")).await;
    assert_eq!(sending.await.expect("ends"), Answer::Unknown(Doubt::Garbled));
    assert_eq!(link.state(), LinkState::Connected);
    side.answer_control(ManagementKind::SignOn, "00").await;
    assert_eq!(link.state(), LinkState::InService);
}

// The gate.

#[tokio::test(start_paused = true)]
async fn r1_what_the_gate_refuses_is_not_written() {
    let (story, link, mut side) = Story::in_service().await;
    for why in [NotSent::HandOver, NotSent::TooLate, NotSent::Disabled] {
        *story.gate.verdict.lock() = Err(why);
        assert_eq!(send(&link, 1).await.expect("ends"), Answer::NotSent(why));
    }
    *story.gate.verdict.lock() = Ok(Duration::ZERO);
    assert_eq!(send(&link, 1).await.expect("ends"), Answer::NotSent(NotSent::TooLate));
    assert!(side.is_silent().await);
}

#[tokio::test(start_paused = true)]
async fn r13_a_write_that_ends_after_its_permission_is_reported() {
    let (story, link, mut side) = Story::in_service().await;
    *story.gate.verdict.lock() = Ok(Duration::from_secs(2));
    *story.gate.step.lock() = Duration::from_secs(2);
    let _in_time = send(&link, 1);
    side.next_request().await;
    assert!(side.is_silent().await);
    assert_eq!(*story.gate.late.lock(), []);
    // The machine sleeps between the look at the gate and the end of the write.
    *story.gate.step.lock() = Duration::from_millis(2_001);
    let _late = send(&link, 2);
    side.next_request().await;
    assert!(side.is_silent().await);
    assert_eq!(*story.gate.late.lock(), [attempt(2)]);
}

#[tokio::test(start_paused = true)]
async fn r13_a_permission_ends_with_the_deadline_at_the_latest() {
    let (story, link, mut side) = Story::in_service().await;
    *story.gate.step.lock() = TIMER + Duration::from_millis(1);
    let _late = send(&link, 1);
    side.next_request().await;
    assert!(side.is_silent().await);
    assert_eq!(*story.gate.late.lock(), [attempt(1)]);
}

// Echoes.

#[tokio::test(start_paused = true)]
async fn an_idle_link_is_asked_whether_it_lives_and_given_up_after_three_silences() {
    let (mut story, link, mut side) = Story::in_service().await;
    let began = Instant::now();
    side.answer_control(ManagementKind::Echo, "00").await;
    assert_eq!(began.elapsed(), Duration::from_secs(30));
    for _ in 0..3 {
        let (_, echo) = side.next_control().await;
        assert_eq!(echo.kind(), ManagementKind::Echo);
    }
    assert_eq!((began.elapsed(), link.state()), (Duration::from_secs(70), LinkState::SignedOn));
    assert!(side.is_closed().await);
    assert_eq!(began.elapsed(), Duration::from_secs(75));
    let _side = story.signed_on().await;
    assert_eq!(link.state(), LinkState::InService);
}

#[tokio::test(start_paused = true)]
async fn one_silence_is_enough_while_a_reversal_waits() {
    let (_story, link, mut side) = Story::in_service().await;
    let deadline = Instant::now() + Duration::from_secs(60);
    let delivering = tokio::spawn(async move { link.deliver(reversal(1, false), LaneWait::until(deadline)).await });
    side.next().await;
    side.next_control().await;
    let asked = Instant::now();
    assert!(side.is_closed().await);
    assert_eq!(asked.elapsed(), Duration::from_secs(5));
    assert_eq!(delivering.await.expect("ends"), Delivery::Unanswered);
}

#[tokio::test(start_paused = true)]
async fn the_networks_echo_is_answered_signed_on_or_not() {
    let mut story = Story::start();
    let mut side = story.side().await;
    side.next_control().await;
    side.tell(0, control(ManagementKind::Echo, "")).await;
    let (number, told) = side.next_control().await;
    assert_eq!((number, told.kind(), told.response_code.as_str()), (0, ManagementKind::Echo, "00"));
}

#[tokio::test(start_paused = true)]
async fn a_sign_on_without_an_answer_is_tried_on_a_new_connection() {
    let mut story = Story::start();
    let mut side = story.side().await;
    side.next_control().await;
    assert!(side.is_closed().await);
    let _side = story.signed_on().await;
    assert_eq!(story.link("visa-1").state(), LinkState::InService);
}

// Bounds.

#[tokio::test(start_paused = true)]
async fn a_full_window_refuses_at_once_and_leaves_room_for_reversals() {
    let mut story = Story::with(&[directory_link(2)], Settings { lanes_in_flight_max: 1, ..Settings::default() });
    let mut side = story.signed_on().await;
    let link = story.link("visa-1");
    let (_first, second) = (send(&link, 1), send(&link, 2));
    side.next_request().await;
    let (number, fields) = side.next_request().await;
    assert_eq!(link.in_flight(), 2);
    assert_eq!(send(&link, 3).await.expect("ends"), Answer::NotSent(NotSent::InFlightFull));
    let _reversal = deliver(&link, reversal(1, false));
    side.next().await;
    assert_eq!(link.deliver(reversal(2, false), LaneWait::until(Instant::now() + TIMER)).await, Delivery::NotSent);
    side.approve(number, &fields).await;
    assert_eq!(second.await.expect("ends"), approved());
    let _third = send(&link, 3);
    side.next_request().await;
}

/// What was journalled because there was room keeps that room: nobody takes it between the journal and the send.
#[tokio::test(start_paused = true)]
async fn a_request_goes_out_in_the_room_that_was_reserved_for_it() {
    let mut story = Story::with(&[directory_link(1)], Settings::default());
    let mut side = story.signed_on().await;
    let link = story.link("visa-1");
    let room = story.links.reserve(link.id()).expect("room");
    assert_eq!(send(&link, 1).await.expect("ends"), Answer::NotSent(NotSent::InFlightFull));
    let (asked, card) = (asked(), card());
    let mut sending = link.send(dispatch(2), &asked, &card, Some(room), Instant::now() + TIMER);
    assert!(futures::poll!(&mut sending).is_pending());
    assert_eq!((link.in_flight(), story.links.reserve(link.id()).is_some()), (1, false));
    let (number, fields) = side.next_request().await;
    side.approve(number, &fields).await;
    assert_eq!((sending.await, link.in_flight()), (approved(), 0));
}

#[tokio::test(start_paused = true)]
async fn room_on_a_link_that_was_replaced_since_is_none_on_the_new_one() {
    let (mut story, old, mut side) = Story::in_service().await;
    let room = story.links.reserve(old.id()).expect("room");
    let moved = switch_domain::directory::Link { address: "other.test:443".into(), ..directory_link(1) };
    story.links.follow(&directory(&[moved]));
    let mut moved_side = story.signed_on().await;
    let link = story.link("visa-1");
    let first = send(&link, 1);
    let (number, fields) = moved_side.next_request().await;
    let answer = link.send(dispatch(2), &asked(), &card(), Some(room), Instant::now() + TIMER).await;
    assert_eq!((answer, old.in_flight()), (Answer::NotSent(NotSent::InFlightFull), 0));
    moved_side.approve(number, &fields).await;
    assert_eq!(first.await.expect("ends"), approved());
    side.answer_control(ManagementKind::SignOff, "00").await;
}

fn directory_link(in_flight_max: u32) -> switch_domain::directory::Link {
    switch_domain::directory::Link { in_flight_max, ..record("visa-1") }
}

#[tokio::test(start_paused = true)]
async fn requests_and_reversals_take_turns_on_the_wire() {
    let (story, link, mut side) = Story::in_service().await;
    story.network.stalled.send_replace(true);
    for number in 1..4 {
        drop(send(&link, number));
    }
    for number in 4..7 {
        drop(deliver(&link, reversal(number, false)));
    }
    settle().await;
    story.network.stalled.send_replace(false);
    let mut kinds = Vec::new();
    for _ in 0..6 {
        kinds.push(matches!(side.next().await.body, Some(Asks::Reversal(_))));
    }
    assert!(kinds.windows(2).all(|pair| pair[0] != pair[1]), "{kinds:?}");
}

// The circuit.

#[tokio::test(start_paused = true)]
async fn r23_a_failing_network_gets_no_payment_until_an_echo_is_answered() {
    let (story, link, mut side) = Story::in_service().await;
    let network = NetworkId::parse("visa").expect("an id");
    let sending: Vec<_> = (1..=10).map(|number| send(&link, number)).collect();
    side.answer_requests(10, "91").await;
    for sending in sending {
        assert!(matches!(sending.await.expect("ends"), Answer::Answered(_)));
    }
    assert_eq!(send(&link, 11).await.expect("ends"), Answer::NotSent(NotSent::CircuitOpen));
    assert!(story.links.of_network(&network).is_none());
    assert_eq!((link.state(), story.links.statuses()[0].circuit), (LinkState::InService, CircuitState::Open));
    // The first echo is not answered in time, the second is.
    let began = Instant::now();
    side.next_control().await;
    assert_eq!((began.elapsed(), story.links.statuses()[0].circuit), (Duration::from_secs(1), CircuitState::HalfOpen));
    assert_eq!(send(&link, 12).await.expect("ends"), Answer::NotSent(NotSent::CircuitOpen));
    let (number, _) = side.next_control().await; // the health asks again: an echo was missed
    assert_eq!((began.elapsed(), link.state()), (Duration::from_secs(6), LinkState::SignedOn));
    side.tell(number, control(ManagementKind::Echo, "00")).await;
    assert_eq!(story.links.statuses()[0].circuit, CircuitState::Open);
    side.answer_control(ManagementKind::Echo, "00").await;
    assert_eq!((began.elapsed(), story.links.statuses()[0].circuit), (Duration::from_secs(8), CircuitState::Closed));
    assert!(story.links.of_network(&network).is_some());
    let sending = send(&link, 13);
    side.answer_requests(1, "00").await;
    assert_eq!(sending.await.expect("ends"), approved());
}

#[tokio::test(start_paused = true)]
async fn reversals_pass_an_open_circuit() {
    let (_story, link, mut side) = Story::in_service().await;
    for number in 1..=10 {
        drop(send(&link, number));
    }
    side.answer_requests(10, "96").await;
    assert!(!link.is_circuit_closed());
    let delivering = deliver(&link, reversal(1, false));
    let message = side.next().await;
    let Some(Asks::Reversal(reversal)) = message.body else { panic!("no reversal") };
    let answer = ReversalResponse { identity: reversal.identity, response_code: "00".into() };
    side.tell(message.correlation_id, Tells::Reversal(answer)).await;
    assert_eq!(delivering.await.expect("ends"), Delivery::Answered(LaneVerdict::Acknowledged));
}

// Reversals and advices.

/// R6, R13: what a network is silent about takes nobody's place, and is acknowledged all the same when the answer comes.
#[tokio::test(start_paused = true)]
async fn a_silent_copy_gives_its_place_back_and_its_answer_still_counts() {
    let mut story = Story::with(&[directory_link(2)], Settings { lanes_in_flight_max: 1, ..Settings::default() });
    let mut side = story.signed_on().await;
    let link = story.link("visa-1");
    let silent = deliver(&link, reversal(1, false));
    let message = side.next().await;
    let soon = LaneWait::until(Instant::now() + TIMER);
    assert_eq!(link.deliver(reversal(2, false), soon).await, Delivery::NotSent);
    advance(super::limits::LANE_SILENCE).await;
    settle().await;
    let second = deliver(&link, reversal(2, false));
    side.next().await;
    let Some(Asks::Reversal(told)) = message.body else { panic!("no reversal") };
    let answer = ReversalResponse { identity: told.identity, response_code: "00".into() };
    side.tell(message.correlation_id, Tells::Reversal(answer)).await;
    assert_eq!(silent.await.expect("ends"), Delivery::Answered(LaneVerdict::Acknowledged));
    assert_eq!(second.await.expect("ends"), Delivery::Unanswered);
}

#[tokio::test(start_paused = true)]
async fn r14_copies_of_a_reversal_differ_in_the_mark_alone_and_carry_nothing_that_may_not_be_kept() {
    let (_story, link, mut side) = Story::in_service().await;
    let mut copies = Vec::new();
    for repeat in [false, true] {
        let _delivering = deliver(&link, reversal(1, repeat));
        let Some(Asks::Reversal(copy)) = side.next().await.body else { panic!("no reversal") };
        assert_eq!(copy.repeat, repeat);
        let data = copy.card.as_ref().expect("a card");
        assert_eq!((data.card_verification_value.as_str(), data.track2.as_str()), ("", ""));
        assert!(data.pin_block.is_empty() && data.cryptogram.is_empty() && !data.icc_data.is_empty());
        assert_eq!(copy.original_attempt_id, attempt(1).to_string());
        copies.push(switch_proto::network::v1::Reversal { repeat: false, ..copy });
    }
    assert!(copies[0] == copies[1]);
}

#[tokio::test(start_paused = true)]
async fn every_end_of_a_delivery_says_whether_the_network_may_have_it() {
    let (story, link, mut side) = Story::in_service().await;
    let answers = [
        ("94", None, Delivery::Answered(LaneVerdict::Duplicate)),
        ("25", None, Delivery::Answered(LaneVerdict::NotFound)),
        ("30", None, Delivery::Answered(LaneVerdict::Refused)),
        ("96", None, Delivery::Answered(LaneVerdict::TryAgain)),
        ("00", Some(other_identity()), Delivery::Unanswered),
    ];
    for (code, identity, expected) in answers {
        let delivering = deliver(&link, reversal(1, false));
        let message = side.next().await;
        let Some(Asks::Reversal(told)) = message.body else { panic!("no reversal") };
        let answer = ReversalResponse { identity: identity.or(told.identity), response_code: code.into() };
        side.tell(message.correlation_id, Tells::Reversal(answer)).await;
        assert_eq!(delivering.await.expect("ends"), expected, "{code}");
    }
    // Silence; the late acknowledgement harms nobody.
    let delivering = deliver(&link, reversal(1, true));
    let message = side.next().await;
    assert_eq!(delivering.await.expect("ends"), Delivery::Unanswered);
    let answer = ReversalResponse { identity: None, response_code: "00".into() };
    side.tell(message.correlation_id, Tells::Reversal(answer)).await;
    assert_eq!(story.events.unmatched.load(Ordering::Relaxed), 0);
    // Never written.
    story.network.stalled.send_replace(true);
    assert_eq!(deliver(&link, reversal(1, true)).await.expect("ends"), Delivery::NotSent);
    let delivering = deliver(&link, reversal(1, true));
    settle().await;
    drop(side);
    assert_eq!(delivering.await.expect("ends"), Delivery::NotSent);
    assert_eq!(deliver(&link, reversal(1, true)).await.expect("ends"), Delivery::NotSent);
}

#[tokio::test(start_paused = true)]
async fn an_advice_is_acknowledged_by_an_advice_response() {
    let (_story, link, mut side) = Story::in_service().await;
    let kind = LaneKind::Advice { original: attempt(1), amount: asked().amount, is_final: true };
    let delivering = deliver(&link, super::LaneMessage { kind, ..reversal(2, false) });
    let message = side.next().await;
    let Some(Asks::Advice(advice)) = message.body else { panic!("no advice") };
    assert_eq!((advice.original_attempt_id, advice.r#final), (attempt(1).to_string(), true));
    assert!(advice.card.is_some_and(|data| data.icc_data.is_empty()));
    let answer = AdviceResponse { identity: advice.identity, response_code: "00".into() };
    side.tell(message.correlation_id, Tells::Advice(answer)).await;
    assert_eq!(delivering.await.expect("ends"), Delivery::Answered(LaneVerdict::Acknowledged));
}

// The set.

#[tokio::test(start_paused = true)]
async fn new_requests_take_the_link_with_the_fewest_in_flight() {
    let mut story = Story::with(&[record("visa-1"), record("visa-2")], Settings::default());
    let network = NetworkId::parse("visa").expect("an id");
    assert!(story.links.of_network(&network).is_none());
    let mut first = story.signed_on().await;
    let _second = story.signed_on().await;
    let chosen = |story: &Story| story.links.of_network(&network).expect("a link");
    assert_eq!((first.link.as_str(), chosen(&story).id().as_str()), ("visa-1", "visa-1"));
    let _sending = send(&chosen(&story), 1);
    first.next_request().await;
    assert_eq!(chosen(&story).id().as_str(), "visa-2");
    // A link with fewer in flight and no room comes last.
    let _more = [send(&chosen(&story), 2), send(&chosen(&story), 3)];
    settle().await;
    assert_eq!(chosen(&story).id().as_str(), "visa-1");
    story.links.follow(&directory(&[directory_link(1), record("visa-2")]));
    assert_eq!(chosen(&story).id().as_str(), "visa-2");
    assert!(story.links.of_network(&NetworkId::parse("amex").expect("an id")).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_link_that_moves_is_replaced_while_the_old_one_waits_for_its_answers() {
    let (mut story, old, mut side) = Story::in_service().await;
    let sending = send(&old, 1);
    let (number, fields) = side.next_request().await;
    let moved = switch_domain::directory::Link { address: "other.test:443".into(), ..record("visa-1") };
    story.links.follow(&directory(&[moved]));
    let _new = story.signed_on().await;
    assert_eq!((old.state(), story.link("visa-1").state()), (LinkState::SignedOn, LinkState::InService));
    side.approve(number, &fields).await;
    assert_eq!(sending.await.expect("ends"), approved());
    side.answer_control(ManagementKind::SignOff, "00").await;
    assert!(side.is_closed().await);
}

#[tokio::test(start_paused = true)]
async fn another_bound_needs_no_new_connection() {
    let (story, link, mut side) = Story::in_service().await;
    story.links.follow(&directory(&[directory_link(1)]));
    let _first = send(&link, 1);
    side.next_request().await;
    assert_eq!(send(&link, 2).await.expect("ends"), Answer::NotSent(NotSent::InFlightFull));
    assert_eq!(link.state(), LinkState::InService);
}

#[tokio::test(start_paused = true)]
async fn a_disabled_link_signs_off() {
    let (story, link, mut side) = Story::in_service().await;
    story.links.follow(&directory(&[switch_domain::directory::Link { enabled: false, ..record("visa-1") }]));
    side.answer_control(ManagementKind::SignOff, "00").await;
    assert!(side.is_closed().await);
    assert_eq!(link.state(), LinkState::Down);
    assert!(story.links.get(&LinkId::parse("visa-1").expect("an id")).is_none());
}

#[tokio::test(start_paused = true)]
async fn an_exclusive_link_is_connected_by_the_leader_alone_and_never_twice() {
    let exclusive = switch_domain::directory::Link { exclusive: true, ..record("visa-1") };
    let mut story = Story::with(std::slice::from_ref(&exclusive), Settings::default());
    assert!(tokio::time::timeout(Duration::from_secs(60), story.side()).await.is_err());
    assert!(story.links.wanted().is_empty());
    story.links.set_leading(true);
    assert_eq!(story.links.wanted().len(), 1);
    let mut side = story.signed_on().await;
    let moved = switch_domain::directory::Link { address: "other.test:443".into(), ..exclusive };
    story.links.follow(&directory(&[moved]));
    let (number, sign_off) = side.next_control().await;
    assert_eq!(sign_off.kind(), ManagementKind::SignOff);
    advance(Duration::from_secs(1)).await;
    settle().await;
    assert_eq!(story.link("visa-1").state(), LinkState::Down);
    side.tell(number, control(ManagementKind::SignOff, "00")).await;
    let mut side = story.signed_on().await;
    assert_eq!(story.link("visa-1").state(), LinkState::InService);
    story.links.set_leading(false);
    assert!(story.links.statuses().is_empty());
    side.answer_control(ManagementKind::SignOff, "00").await;
    assert!(side.is_closed().await);
}
