use proptest::prelude::*;
use ring::hmac;
use switch_proto::network::v1::{Purpose, ReversalReason};

use super::*;
use crate::sandbox::{
    fixture::{
        KEEPS, KILLS, PLAIN, attempt_id, capture, follow_up, purchase, remainder, reversal, verification, violations,
    },
    parse,
    proto::{Credentials, Record, record::Entry},
};

const EUR: Currency = *b"EUR";

/// Books, and the shortest way to say things to them.
struct Desk(Books);

impl Desk {
    fn new(policy: Policy) -> Self {
        Self(Books::new(policy))
    }

    fn with(verdict: Verdict, fields: &wire::RequestFields, single_message: bool, books: &mut Books) -> Booked {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"key");
        let request = parse::request(fields, single_message, &key, 1).expect("fixtures are sound");
        books.request(&request, verdict, Delivery::Answered)
    }

    fn authorize(&mut self, fields: &wire::RequestFields) -> &'static str {
        told(Self::with(Verdict::Approve, fields, false, &mut self.0).code)
    }

    fn decide(&mut self, verdict: Verdict, fields: &wire::RequestFields) -> &'static str {
        told(Self::with(verdict, fields, false, &mut self.0).code)
    }

    fn post(&mut self, fields: &wire::RequestFields) -> &'static str {
        told(Self::with(Verdict::Approve, fields, true, &mut self.0).code)
    }

    fn reverse(&mut self, mut message: wire::Reversal) -> &'static str {
        let note = parse::reversal(&mut message, 2).expect("fixtures are sound");
        told(self.0.reversal(&note, Handling::Take).code)
    }

    fn advise(&mut self, mut message: wire::Advice) -> &'static str {
        let note = parse::advice(&mut message, 3).expect("fixtures are sound");
        told(self.0.advice(&note, Handling::Take).code)
    }

    fn records(&self) -> Vec<Record> {
        let whose = Whose { network: "aurora", transaction_id: &|sequence| sequence.to_string() };
        let mut records = Vec::new();
        let mut cursor = Some(Cursor::new(false));
        while let Some(at) = cursor {
            let (page, next) = self.0.page(at, whose);
            records.extend(page);
            cursor = next;
        }
        records
    }

    fn violations(&self) -> Vec<ViolationKind> {
        violations(&self.records())
    }

    /// approved, reversed, released, captured, held, refunded
    fn euros(&self) -> [i64; 6] {
        let sums = self.0.total(EUR);
        [sums.approved, sums.reversed, sums.released, sums.captured, sums.held(), sums.refunded]
    }
}

fn told(code: Code) -> &'static str {
    code.as_str().to_owned().leak()
}

#[test]
fn an_approval_holds_a_capture_takes_and_a_remainder_releases() {
    let mut desk = Desk::new(KEEPS);
    let sale = purchase(1, PLAIN, 1_000);
    assert_eq!(desk.authorize(&sale), "00");
    assert_eq!(desk.euros(), [1_000, 0, 0, 0, 1_000, 0]);
    assert_eq!(desk.advise(capture(2, &sale, 700)), "00");
    assert_eq!(desk.reverse(remainder(3, &sale, 300)), "00");
    assert_eq!(desk.euros(), [1_000, 0, 300, 700, 0, 0]);
    assert_eq!(desk.post(&follow_up(4, Purpose::Refund, &sale, 200)), "00");
    assert_eq!(desk.euros(), [1_000, 0, 300, 700, 0, 200]);
    assert_eq!(desk.violations(), []);
}

#[test]
fn the_books_keep_how_card_and_cardholder_were_vouched_for() {
    let mut desk = Desk::new(KEEPS);
    let plain = purchase(1, PLAIN, 1_000);
    let vouched = wire::RequestFields {
        three_d_secure: Some(wire::ThreeDSecure {
            version: "2.2.0".into(),
            directory_server_transaction_id: "f2b1c0de-0000-4abc-8def-a1b2c3d4e5f6".into(),
            transaction_status: "Y".into(),
        }),
        wallet: "google_pay".into(),
        stored_credential: Some(wire::StoredCredential {
            initiator: wire::CredentialInitiator::Merchant.into(),
            reason: wire::CredentialReason::Recurring.into(),
        }),
        ..purchase(2, PLAIN, 1_000)
    };
    desk.authorize(&plain);
    desk.authorize(&vouched);
    let credentials: Vec<_> = desk
        .records()
        .into_iter()
        .filter_map(|record| match record.entry {
            Some(Entry::Attempt(attempt)) => Some(attempt.credentials),
            _ => None,
        })
        .collect();
    let expected = Credentials {
        three_d_secure_version: "2.2.0".into(),
        directory_server_transaction_id: "f2b1c0de-0000-4abc-8def-a1b2c3d4e5f6".into(),
        transaction_status: "Y".into(),
        wallet: "google_pay".into(),
        credential_initiator: "CREDENTIAL_INITIATOR_MERCHANT".into(),
        credential_reason: "CREDENTIAL_REASON_RECURRING".into(),
    };
    assert_eq!(credentials, [None, Some(expected)]);
}

#[test]
fn a_release_may_overtake_its_capture_and_a_refund_too() {
    let mut desk = Desk::new(KEEPS);
    let sale = purchase(1, PLAIN, 1_000);
    desk.authorize(&sale);
    assert_eq!(desk.reverse(remainder(2, &sale, 300)), "00");
    assert_eq!(desk.post(&follow_up(3, Purpose::Refund, &sale, 700)), "00");
    assert_eq!(desk.violations(), [ViolationKind::RefundBeyondCapture]);
    assert_eq!(desk.advise(capture(4, &sale, 700)), "00");
    assert_eq!(desk.violations(), []);
    assert_eq!(desk.euros(), [1_000, 0, 300, 700, 0, 700]);
}

#[test]
fn a_full_reversal_undoes_once_and_every_copy_is_acknowledged() {
    let mut desk = Desk::new(KEEPS);
    let sale = purchase(1, PLAIN, 1_000);
    desk.authorize(&sale);
    let undo = reversal(2, &sale);
    assert_eq!(desk.reverse(undo.clone()), "00");
    assert_eq!(desk.reverse(wire::Reversal { repeat: true, ..undo.clone() }), "94");
    assert_eq!(desk.reverse(wire::Reversal { repeat: true, ..undo }), "94");
    assert_eq!(desk.reverse(reversal(3, &sale)), "94");
    assert_eq!(desk.euros(), [1_000, 1_000, 0, 0, 0, 0]);
    assert_eq!(desk.violations(), []);
}

#[test]
fn a_single_message_sale_is_captured_at_once_and_its_reversal_takes_the_capture_back() {
    let mut desk = Desk::new(KEEPS);
    let sale = purchase(1, PLAIN, 1_000);
    assert_eq!(desk.post(&sale), "00");
    assert_eq!(desk.euros(), [1_000, 0, 0, 1_000, 0, 0]);
    assert_eq!(desk.reverse(reversal(2, &sale)), "00");
    assert_eq!(desk.euros(), [1_000, 1_000, 0, 0, 0, 0]);
}

#[test]
fn a_reversal_of_a_refund_takes_back_that_refund_only() {
    let mut desk = Desk::new(KEEPS);
    let sale = purchase(1, PLAIN, 1_000);
    desk.post(&sale);
    let (first, second) = (follow_up(2, Purpose::Refund, &sale, 300), follow_up(3, Purpose::Refund, &sale, 200));
    desk.post(&first);
    desk.post(&second);
    assert_eq!(desk.euros(), [1_000, 0, 0, 1_000, 0, 500]);
    assert_eq!(desk.reverse(reversal(4, &first)), "00");
    assert_eq!(desk.euros(), [1_000, 0, 0, 1_000, 0, 200]);
    assert_eq!(desk.violations(), []);
}

#[test]
fn increments_add_up_and_are_reversed_alone_or_with_the_whole() {
    let mut desk = Desk::new(KEEPS);
    let hotel = purchase(1, PLAIN, 1_000);
    let (one, two) = (follow_up(2, Purpose::Increment, &hotel, 200), follow_up(3, Purpose::Increment, &hotel, 50));
    desk.authorize(&hotel);
    assert_eq!((desk.authorize(&one), desk.authorize(&two)), ("00", "00"));
    assert_eq!(desk.euros(), [1_250, 0, 0, 0, 1_250, 0]);
    assert_eq!(desk.reverse(reversal(4, &one)), "00");
    assert_eq!(desk.euros(), [1_250, 200, 0, 0, 1_050, 0]);
    let whole = wire::Reversal {
        requested_minor_units: 1_050,
        reversed_minor_units: 1_050,
        reason: ReversalReason::Cancelled.into(),
        ..reversal(5, &hotel)
    };
    assert_eq!(desk.reverse(whole), "00");
    assert_eq!(desk.euros(), [1_250, 1_250, 0, 0, 0, 0]);
    assert_eq!(desk.violations(), []);
    assert_eq!(desk.authorize(&follow_up(6, Purpose::Increment, &hotel, 1)), "12");
}

#[test]
fn a_reversal_that_comes_first_finds_its_original_later_where_it_does_not_kill() {
    let mut desk = Desk::new(KEEPS);
    let sale = purchase(1, PLAIN, 1_000);
    let undo = reversal(2, &sale);
    assert_eq!(desk.reverse(undo.clone()), "25");
    assert_eq!(desk.authorize(&sale), "00");
    assert_eq!(desk.euros(), [1_000, 0, 0, 0, 1_000, 0]);
    assert_eq!(desk.reverse(wire::Reversal { repeat: true, ..undo }), "00");
    assert_eq!(desk.euros(), [1_000, 1_000, 0, 0, 0, 0]);
    assert_eq!(desk.violations(), []);
}

#[test]
fn a_reversal_that_comes_first_kills_its_original_where_it_does() {
    let mut desk = Desk::new(KILLS);
    let sale = purchase(1, PLAIN, 1_000);
    let undo = reversal(2, &sale);
    assert_eq!(desk.reverse(undo.clone()), "00");
    assert_eq!(desk.authorize(&sale), "12");
    assert_eq!(desk.reverse(wire::Reversal { repeat: true, ..undo }), "94");
    assert_eq!(desk.euros(), [0; 6]);
    let records = desk.records();
    assert!(
        matches!(&records[0].entry, Some(Entry::Attempt(attempt)) if attempt.killed && attempt.response_code == "12")
    );
    assert!(
        matches!(&records[1].entry, Some(Entry::Reversal(reversal)) if reversal.came_first && reversal.copies == 2)
    );
    assert_eq!(desk.violations(), []);
}

#[test]
fn a_request_that_comes_twice_is_a_second_charge_and_each_reversal_undoes_one() {
    let mut desk = Desk::new(KEEPS);
    let sale = purchase(1, PLAIN, 1_000);
    desk.authorize(&sale);
    desk.authorize(&sale);
    assert_eq!(desk.euros(), [2_000, 0, 0, 0, 2_000, 0]);
    assert_eq!(desk.violations(), [ViolationKind::RequestTwice]);
    let copies: Vec<_> = desk
        .records()
        .into_iter()
        .filter_map(|record| match record.entry {
            Some(Entry::Attempt(attempt)) => Some(attempt.copy),
            _ => None,
        })
        .collect();
    assert_eq!(copies, [1, 2]);
    assert_eq!(desk.reverse(reversal(2, &sale)), "00");
    assert_eq!(desk.euros(), [2_000, 1_000, 0, 0, 1_000, 0]);
    assert_eq!(desk.reverse(reversal(3, &sale)), "00");
    assert_eq!(desk.euros(), [2_000, 2_000, 0, 0, 0, 0]);
}

#[test]
fn a_partial_approval_is_undone_whole_whether_the_switch_knew_it_or_not() {
    for known in [0, 500] {
        let mut desk = Desk::new(KEEPS);
        let sale = purchase(1, PLAIN, 1_001);
        assert_eq!(desk.decide(Verdict::Partial, &sale), "10");
        assert_eq!(desk.euros(), [500, 0, 0, 0, 500, 0]);
        let reversed = if known == 0 { 1_001 } else { known };
        let undo = wire::Reversal { approved_minor_units: known, reversed_minor_units: reversed, ..reversal(2, &sale) };
        assert_eq!(desk.reverse(undo), "00");
        assert_eq!(desk.euros(), [500, 500, 0, 0, 0, 0]);
        assert_eq!(desk.violations(), []);
    }
}

#[test]
fn a_partial_approval_of_one_minor_unit_is_the_whole() {
    let mut desk = Desk::new(KEEPS);
    assert_eq!(desk.decide(Verdict::Partial, &purchase(1, PLAIN, 1)), "00");
    assert_eq!(desk.euros(), [1, 0, 0, 0, 1, 0]);
}

#[test]
fn a_greater_approval_is_held_as_answered_and_undone_whole() {
    let mut desk = Desk::new(KEEPS);
    let sale = purchase(1, PLAIN, 1_000);
    assert_eq!(desk.decide(Verdict::Greater, &sale), "00");
    assert_eq!(desk.euros(), [1_001, 0, 0, 0, 1_001, 0]);
    let undo = wire::Reversal { approved_minor_units: 1_001, ..reversal(2, &sale) };
    assert_eq!(desk.reverse(undo), "00");
    assert_eq!(desk.euros(), [1_001, 1_001, 0, 0, 0, 0]);
    assert_eq!(desk.violations(), []);
}

#[test]
fn a_decline_holds_nothing_and_its_reversal_is_acknowledged() {
    let mut desk = Desk::new(KEEPS);
    let sale = purchase(1, PLAIN, 1_000);
    assert_eq!(desk.decide(Verdict::Decline(Code::INSUFFICIENT_FUNDS), &sale), "51");
    assert_eq!(desk.reverse(reversal(2, &sale)), "00");
    assert_eq!(desk.euros(), [0; 6]);
    assert_eq!(desk.violations(), []);
}

#[test]
fn a_verification_moves_nothing_and_must_not_be_reversed() {
    let mut desk = Desk::new(KEEPS);
    let check = verification(1, PLAIN);
    assert_eq!(desk.authorize(&check), "00");
    assert_eq!(desk.euros(), [0; 6]);
    assert_eq!(desk.reverse(reversal(2, &check)), "00");
    assert_eq!(desk.violations(), [ViolationKind::VerificationReversed]);
}

#[test]
fn amounts_that_a_message_may_not_have_are_refused() {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"key");
    let code = |fields: &wire::RequestFields| parse::request(fields, false, &key, 0).map(|_| ()).unwrap_err().code;
    assert_eq!(code(&purchase(1, PLAIN, 0)), Code::INVALID_AMOUNT);
    assert_eq!(code(&purchase(1, PLAIN, -1)), Code::INVALID_AMOUNT);
    assert_eq!(code(&purchase(1, PLAIN, parse::AMOUNT_MAX + 1)), Code::INVALID_AMOUNT);
    let mut check = verification(1, PLAIN);
    check.amount_minor_units = 1;
    assert_eq!(code(&check), Code::INVALID_AMOUNT);
    let mut advice = capture(2, &purchase(1, PLAIN, 1), 0);
    assert_eq!(parse::advice(&mut advice, 0).unwrap_err().code, Code::FORMAT_ERROR);
    let mut undo = reversal(2, &purchase(1, PLAIN, 1));
    undo.reversed_minor_units = -1;
    assert_eq!(parse::reversal(&mut undo, 0).unwrap_err().code, Code::FORMAT_ERROR);
}

#[test]
fn an_identity_that_another_attempt_carried_is_a_violation() {
    let mut desk = Desk::new(KEEPS);
    desk.authorize(&purchase(1, PLAIN, 100));
    let mut other = purchase(2, PLAIN, 100);
    let id = other.identity.as_mut().expect("identity");
    (id.system_trace_audit_number, id.retrieval_reference_number) = (1, format!("RRN{:0>9}", 1));
    desk.authorize(&other);
    assert_eq!(desk.violations(), [ViolationKind::IdentityReused]);
}

#[test]
fn a_reversal_may_carry_the_stamp_of_its_original_but_not_of_another_reversal() {
    let mut desk = Desk::new(KEEPS);
    let (one, two) = (purchase(1, PLAIN, 100), purchase(2, PLAIN, 100));
    desk.authorize(&one);
    desk.authorize(&two);
    assert_eq!(desk.reverse(reversal(1, &one)), "00");
    assert_eq!(desk.violations(), []);
    let mut other = reversal(2, &two);
    let id = other.identity.as_mut().expect("identity");
    (id.system_trace_audit_number, id.retrieval_reference_number) = (1, format!("RRN{:0>9}", 1));
    assert_eq!(desk.reverse(other), "00");
    assert_eq!(desk.violations(), [ViolationKind::IdentityReused]);
}

#[test]
fn repeats_are_equal_but_for_their_mark() {
    let mut desk = Desk::new(KEEPS);
    let sale = purchase(1, PLAIN, 1_000);
    desk.authorize(&sale);
    let undo = reversal(2, &sale);
    desk.reverse(wire::Reversal { repeat: true, ..undo.clone() });
    assert_eq!(desk.violations(), []);
    desk.reverse(undo.clone());
    assert_eq!(desk.violations(), [ViolationKind::RepeatNotMarked]);
    desk.reverse(wire::Reversal { repeat: true, reversed_minor_units: 999, ..undo.clone() });
    assert_eq!(desk.violations(), [ViolationKind::RepeatNotMarked, ViolationKind::RepeatDiffers]);
    let mut renumbered = wire::Reversal { repeat: true, ..undo };
    renumbered.identity.as_mut().expect("identity").system_trace_audit_number = 77;
    assert_eq!(desk.reverse(renumbered), "94");
    let kinds = desk.violations();
    assert_eq!(kinds[2..], [ViolationKind::MessageIdReused]);
    assert_eq!(desk.euros(), [1_000, 1_000, 0, 0, 0, 0]);
}

#[test]
fn an_advice_is_booked_once_and_its_copies_are_duplicates() {
    let mut desk = Desk::new(KEEPS);
    let sale = purchase(1, PLAIN, 1_000);
    let advice = capture(2, &sale, 400);
    assert_eq!(desk.advise(advice.clone()), "25");
    desk.authorize(&sale);
    assert_eq!(desk.advise(wire::Advice { repeat: true, ..advice.clone() }), "00");
    assert_eq!(desk.advise(wire::Advice { repeat: true, ..advice }), "94");
    assert_eq!(desk.euros(), [1_000, 0, 0, 400, 600, 0]);
    assert_eq!(desk.violations(), [ViolationKind::AdviceForUnknown]);
}

#[test]
fn too_much_captured_released_or_refunded_stands_as_a_violation() {
    let mut desk = Desk::new(Policy { capture_tolerance_basis_points: 1_000, ..KEEPS });
    let sale = purchase(1, PLAIN, 1_005);
    desk.authorize(&sale);
    desk.advise(capture(2, &sale, 1_105));
    assert_eq!(desk.violations(), []);
    desk.advise(capture(3, &sale, 1));
    assert_eq!(desk.violations(), [ViolationKind::CaptureBeyondApproval]);

    let mut desk = Desk::new(KEEPS);
    desk.authorize(&sale);
    desk.advise(capture(2, &sale, 1_000));
    desk.reverse(remainder(3, &sale, 6));
    assert_eq!(desk.violations(), [ViolationKind::ReleaseBeyondHold]);
    assert_eq!(desk.euros(), [1_005, 0, 6, 1_000, -1, 0]);
}

#[test]
fn a_reversal_beyond_its_original_undoes_what_there_is() {
    let mut desk = Desk::new(KEEPS);
    let sale = purchase(1, PLAIN, 1_000);
    desk.authorize(&sale);
    desk.reverse(wire::Reversal { reversed_minor_units: 1_001, ..reversal(2, &sale) });
    assert_eq!(desk.violations(), [ViolationKind::ReversalBeyondOriginal]);
    assert_eq!(desk.euros(), [1_000, 1_000, 0, 0, 0, 0]);
}

#[test]
fn a_reversal_that_tells_its_original_wrongly_is_noted() {
    let mut desk = Desk::new(KEEPS);
    let sale = purchase(1, PLAIN, 1_000);
    desk.authorize(&sale);
    let mut undo = wire::Reversal { requested_minor_units: 900, approved_minor_units: 800, ..reversal(2, &sale) };
    undo.original.as_mut().expect("original").system_trace_audit_number = 9;
    assert_eq!(desk.reverse(undo), "00");
    assert_eq!(desk.violations(), [ViolationKind::ReversalMismatch; 3]);
}

#[test]
fn what_follows_in_another_currency_or_follows_nothing_is_refused() {
    let mut desk = Desk::new(KEEPS);
    let sale = purchase(1, PLAIN, 1_000);
    let mut dollars = follow_up(2, Purpose::Refund, &sale, 10);
    dollars.currency_code = "USD".into();
    assert_eq!(desk.post(&follow_up(3, Purpose::Refund, &sale, 10)), "12");
    desk.authorize(&sale);
    assert_eq!(desk.post(&dollars), "12");
    assert_eq!(desk.reverse(wire::Reversal { currency_code: "USD".into(), ..reversal(4, &sale) }), "30");
    assert_eq!(desk.advise(wire::Advice { currency_code: "USD".into(), ..capture(5, &sale, 10) }), "30");
    assert_eq!(desk.euros(), [1_000, 0, 0, 0, 1_000, 0]);
    use ViolationKind::{CurrencyChanged, FollowUpForUnknown};
    assert_eq!(desk.violations(), [FollowUpForUnknown, CurrencyChanged, CurrencyChanged, CurrencyChanged]);
}

#[test]
fn data_that_may_not_be_kept_is_a_violation_in_a_reversal() {
    let mut desk = Desk::new(KEEPS);
    let sale = purchase(1, PLAIN, 1_000);
    desk.authorize(&sale);
    let card = wire::CardData { card_verification_value: "123".into(), ..sale.card.clone().expect("card") };
    desk.reverse(wire::Reversal { card: Some(card), ..reversal(2, &sale) });
    assert_eq!(desk.violations(), [ViolationKind::SensitiveDataKept]);
}

#[test]
fn r7_a_number_or_a_track_in_the_chip_data_of_a_reversal_is_a_violation() {
    let with = |icc_data: &[u8]| {
        let mut desk = Desk::new(KEEPS);
        let sale = purchase(1, PLAIN, 1_000);
        desk.authorize(&sale);
        let card = wire::CardData { icc_data: icc_data.to_vec().into(), ..sale.card.clone().expect("card") };
        desk.reverse(wire::Reversal { card: Some(card), ..reversal(2, &sale) });
        desk.violations()
    };
    // A cryptogram and a private tag, one of three bytes, one with its length in two.
    let kept = [&[0x9F, 0x26, 2, 0x57, 0x5A][..], &[0xDF, 0x81, 0x01, 0], &[0x82, 0x81, 1, 0x57]].concat();
    assert_eq!(with(&kept), []);
    for tag in [&[0x56][..], &[0x57], &[0x5A], &[0x9F, 0x1F], &[0x9F, 0x20], &[0x9F, 0x6B]] {
        assert_eq!(with(&[&kept[..], tag, &[1, 0]].concat()), [ViolationKind::SensitiveDataKept], "{tag:02x?}");
    }
    for unreadable in [&[0x9F][..], &[0x82], &[0x82, 2, 0], &[0x82, 0x82, 0, 1, 0]] {
        assert_eq!(with(&[&kept[..], unreadable].concat()), [ViolationKind::SensitiveDataKept], "{unreadable:02x?}");
    }
}

#[test]
fn full_books_refuse_and_say_so() {
    let mut desk = Desk::new(KEEPS);
    desk.0.entries_max = 1;
    assert_eq!(desk.authorize(&purchase(1, PLAIN, 100)), "00");
    assert_eq!(desk.authorize(&purchase(2, PLAIN, 100)), "96");
    assert_eq!(desk.violations(), [ViolationKind::BooksFull]);
    assert_eq!(desk.euros(), [100, 0, 0, 0, 100, 0]);
}

#[test]
fn reset_books_are_empty_and_never_give_an_id_twice() {
    let mut desk = Desk::new(KEEPS);
    desk.authorize(&purchase(1, PLAIN, 100));
    desk.0.reset();
    assert_eq!(desk.records(), []);
    let sequence = Desk::with(Verdict::Approve, &purchase(1, PLAIN, 100), false, &mut desk.0).sequence;
    assert_eq!(sequence, 1);
    assert_eq!(desk.violations(), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever is said in whatever order, totals are the sums of what the attempts say.
    #[test]
    fn totals_are_the_sums_of_their_transactions(
        kills: bool,
        steps in prop::collection::vec((0_u8..7, 1_u32..6, 1_i64..50), 1..60),
    ) {
        let mut desk = Desk::new(if kills { KILLS } else { KEEPS });
        for (n, (what, target, amount)) in (100..).zip(steps) {
            let of = purchase(target, PLAIN, 30);
            match what {
                0 => { desk.authorize(&of); }
                1 => { desk.post(&of); }
                2 => { desk.authorize(&follow_up(n, Purpose::Increment, &of, amount)); }
                3 => { desk.post(&follow_up(n, Purpose::Refund, &of, amount)); }
                4 => { desk.advise(capture(n, &of, amount)); }
                5 => { desk.reverse(remainder(n, &of, amount)); }
                _ => { desk.reverse(wire::Reversal { reversed_minor_units: amount, ..reversal(n, &of) }); }
            }
        }
        let mut sums = Sums::default();
        let (mut approved, mut reversed, mut refunded) = (0, 0, 0);
        for record in desk.records() {
            let Some(Entry::Attempt(attempt)) = record.entry else { continue };
            prop_assert!((0..=attempt.approved_minor_units).contains(&attempt.reversed_minor_units));
            if attempt.purpose() == crate::sandbox::proto::Purpose::Refund {
                refunded += attempt.approved_minor_units - attempt.reversed_minor_units;
            } else {
                approved += attempt.approved_minor_units;
                reversed += attempt.reversed_minor_units;
            }
            let Some(told) = attempt.sums else { continue };
            let held = told.approved_minor_units
                - told.reversed_minor_units
                - told.released_minor_units
                - told.captured_minor_units;
            prop_assert_eq!(told.held_minor_units, held);
            sums.add(&Sums {
                approved: told.approved_minor_units,
                reversed: told.reversed_minor_units,
                released: told.released_minor_units,
                captured: told.captured_minor_units,
                refunded: told.refunded_minor_units,
            });
        }
        prop_assert_eq!(sums, desk.0.total(EUR));
        prop_assert_eq!((sums.approved, sums.reversed, sums.refunded), (approved, reversed, refunded));
    }
}

#[test]
fn a_card_number_is_nowhere_in_the_books() {
    let mut desk = Desk::new(KEEPS);
    let sale = purchase(1, PLAIN, 1_000);
    desk.authorize(&sale);
    desk.reverse(reversal(2, &sale));
    assert_eq!(attempt_id(&sale), "a-1");
    assert!(!format!("{:?} {:?}", desk.0, desk.records()).contains(PLAIN));
}
