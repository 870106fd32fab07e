//! Test cards: what each makes a network do. The only place in the tree where digits that look like a card number
//! may stand.
//!
//! The first half are the numbers that everyone knows from Stripe. The second half, in the range 400000 99, make the
//! infrastructure misbehave. Every other number that passes the Luhn check is approved, every number that does not is
//! declined with code 14.

use std::{collections::HashMap, sync::LazyLock};

use ring::hmac;

use super::books::Code;

/// One test card.
#[derive(Debug)]
pub struct TestCard {
    /// The number.
    pub number: &'static str,
    /// Its name: that of its constant.
    pub name: &'static str,
    /// What it makes a network do.
    pub behaviour: Behaviour,
}

/// What a card makes a network do. Where nothing is said about an operation, it is approved and acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Nothing special: the shares of the network's conduct apply.
    Approve,
    /// Approves, with these address and card verification results.
    ApproveChecked {
        /// Address verification code, as Visa has it.
        address: &'static str,
        /// Card verification code.
        card: &'static str,
    },
    /// Declines everything with this code.
    Decline(Code),
    /// As `Decline`, with the scheme's advice on retrying.
    DeclineAdvised {
        /// Response code.
        code: Code,
        /// Advice code, as Mastercard has it.
        advice: &'static str,
    },
    /// Declines refunds only.
    DeclineRefund,
    /// Declines increments only.
    DeclineIncrement,
    /// Books an approval and never answers.
    NoAnswer,
    /// As `NoAnswer`, refunds only.
    RefundNoAnswer,
    /// As `NoAnswer`, increments only.
    IncrementNoAnswer,
    /// Does not even book requests; reversals find nothing.
    Swallow,
    /// Books an approval and answers after `late_ms`.
    Late,
    /// The request itself is late: it is booked and answered after `late_ms`, so that a reversal overtakes it.
    LateArrival,
    /// Answers after `slow_ms`, which should still be in time.
    Slow,
    /// Answers twice.
    DuplicateAnswer,
    /// Answers yes, and then no to the same request.
    ConflictingAnswer,
    /// Answers, and once more with a correlation id that nobody used.
    StrayAnswer,
    /// Books an approval and answers without a body.
    Garbled,
    /// Books an approval and answers with bytes that are no message, which ends the stream.
    Undecodable,
    /// Books an approval and answers with a code that no table knows.
    UnmappedCode,
    /// Approves one minor unit more than was asked.
    GreaterAmount,
    /// Approves in another currency than was asked.
    OtherCurrency,
    /// Approves half of purchases, declared or not.
    Partial,
    /// Books an approval and cuts the connection.
    Cut,
    /// Answers, signs off for `signed_off_ms`, and signs on again.
    SignOff,
    /// Refuses every reversal with code 30.
    ReversalRefused,
    /// Finds no original for any reversal, though it stands.
    ReversalNotFound,
    /// Books reversals, but leaves this many copies of each unanswered.
    ReversalUnanswered(u32),
    /// Refuses every advice with code 30.
    AdviceRefused,
    /// Books advices, but leaves this many copies of each unanswered.
    AdviceUnanswered(u32),
}

macro_rules! cards {
    ($($(#[doc = $doc:literal])+ $constant:ident = $number:literal, $behaviour:expr;)+) => {
        $($(#[doc = $doc])+ pub const $constant: &str = $number;)+

        /// Every card of the table.
        pub const ALL: &[TestCard] = &[
            $(TestCard { number: $number, name: stringify!($constant), behaviour: $behaviour },)+
        ];
    };
}

cards! {
    /// Visa, approved.
    APPROVED_VISA = "4242424242424242", Behaviour::Approve;
    /// Mastercard, approved.
    APPROVED_MASTERCARD = "5555555555554444", Behaviour::Approve;
    /// Mastercard of the 2-series, approved.
    APPROVED_MASTERCARD_2_SERIES = "2223003122003222", Behaviour::Approve;
    /// American Express, 15 digits, approved.
    APPROVED_AMEX = "378282246310005", Behaviour::Approve;
    /// Discover, approved.
    APPROVED_DISCOVER = "6011111111111117", Behaviour::Approve;
    /// Declined with 05.
    DECLINED = "4000000000000002", Behaviour::Decline(Code::DO_NOT_HONOR);
    /// Declined with 51.
    INSUFFICIENT_FUNDS = "4000000000009995", Behaviour::Decline(Code::INSUFFICIENT_FUNDS);
    /// Declined with 41.
    LOST_CARD = "4000000000009987", Behaviour::Decline(Code::LOST_CARD);
    /// Declined with 43.
    STOLEN_CARD = "4000000000009979", Behaviour::Decline(Code::STOLEN_CARD);
    /// Declined with 54.
    EXPIRED_CARD = "4000000000000069", Behaviour::Decline(Code::EXPIRED_CARD);
    /// Declined with N7, card verification result N.
    INCORRECT_CVV = "4000000000000127", Behaviour::Decline(Code::WRONG_CVV);
    /// Declined with 96.
    PROCESSING_ERROR = "4000000000000119", Behaviour::Decline(Code::MALFUNCTION);
    /// Declined with 65.
    VELOCITY_EXCEEDED = "4000000000006975", Behaviour::Decline(Code::COUNT_LIMIT);
    /// Approved, though the verification value is wrong.
    CVV_MISMATCH = "4000000000000101", Behaviour::ApproveChecked { address: "Y", card: "N" };
    /// Approved, though neither street nor postal code match.
    ADDRESS_MISMATCH = "4000000000000010", Behaviour::ApproveChecked { address: "N", card: "M" };
    /// Approved, though the street does not match.
    STREET_MISMATCH = "4000000000000028", Behaviour::ApproveChecked { address: "Z", card: "M" };
    /// Approved, though the postal code does not match.
    POSTAL_CODE_MISMATCH = "4000000000000036", Behaviour::ApproveChecked { address: "A", card: "M" };

    /// Booked, never answered.
    NO_ANSWER = "4000009900000103", Behaviour::NoAnswer;
    /// Neither booked nor answered.
    SWALLOWED = "4000009900000202", Behaviour::Swallow;
    /// Booked, answered after `late_ms`.
    LATE = "4000009900000301", Behaviour::Late;
    /// Booked and answered after `late_ms`: a reversal overtakes it.
    LATE_ARRIVAL = "4000009900000400", Behaviour::LateArrival;
    /// Answered after `slow_ms`.
    SLOW = "4000009900000509", Behaviour::Slow;
    /// Answered twice.
    DUPLICATE_ANSWER = "4000009900000608", Behaviour::DuplicateAnswer;
    /// Answered yes, then no.
    CONFLICTING_ANSWER = "4000009900000707", Behaviour::ConflictingAnswer;
    /// Answered, and an answer to nobody sent behind.
    STRAY_ANSWER = "4000009900000806", Behaviour::StrayAnswer;
    /// Booked, answered without a body.
    GARBLED = "4000009900000905", Behaviour::Garbled;
    /// Booked, answered with bytes that are no message.
    UNDECODABLE = "4000009900001002", Behaviour::Undecodable;
    /// Booked, answered with code ZZ.
    UNMAPPED_CODE = "4000009900001101", Behaviour::UnmappedCode;
    /// Approved for one minor unit more.
    GREATER_AMOUNT = "4000009900001200", Behaviour::GreaterAmount;
    /// Approved in another currency.
    OTHER_CURRENCY = "4000009900001309", Behaviour::OtherCurrency;
    /// Approved for half, code 10.
    PARTIAL = "4000009900001408", Behaviour::Partial;
    /// Booked, then the connection is cut.
    CUT = "4000009900001507", Behaviour::Cut;
    /// Answered, then the network signs off and on again.
    SIGN_OFF = "4000009900001606", Behaviour::SignOff;
    /// Declined with 91.
    ISSUER_UNAVAILABLE = "4000009900001705", Behaviour::Decline(Code::UNAVAILABLE);
    /// Declined with 01.
    REFERRAL = "4000009900001804", Behaviour::Decline(Code::REFERRAL);
    /// Approved; reversals are refused with 30.
    REVERSAL_REFUSED = "4000009900001903", Behaviour::ReversalRefused;
    /// Approved; reversals are answered 25 though the approval stands.
    REVERSAL_NOT_FOUND = "4000009900002000", Behaviour::ReversalNotFound;
    /// Approved; the first two copies of a reversal are not answered.
    REVERSAL_UNANSWERED = "4000009900002109", Behaviour::ReversalUnanswered(2);
    /// Approved; no copy of a reversal is ever answered.
    REVERSAL_NEVER_ANSWERED = "4000009900002208", Behaviour::ReversalUnanswered(u32::MAX);
    /// Approved; advices are refused with 30.
    ADVICE_REFUSED = "4000009900002307", Behaviour::AdviceRefused;
    /// Approved; the first two copies of an advice are not answered.
    ADVICE_UNANSWERED = "4000009900002406", Behaviour::AdviceUnanswered(2);
    /// Approved; refunds are declined.
    REFUND_DECLINED = "4000009900002505", Behaviour::DeclineRefund;
    /// Approved; refunds are booked and not answered.
    REFUND_NO_ANSWER = "4000009900002604", Behaviour::RefundNoAnswer;
    /// Approved; increments are declined.
    INCREMENT_DECLINED = "4000009900002703", Behaviour::DeclineIncrement;
    /// Approved; increments are booked and not answered.
    INCREMENT_NO_ANSWER = "4000009900002802", Behaviour::IncrementNoAnswer;
    /// Declined with 51, which alone would mean later, and the advice never to try again.
    NEVER_TRY_AGAIN = "4000009900002901", Behaviour::DeclineAdvised { code: Code::INSUFFICIENT_FUNDS, advice: "03" };
}

/// What the numbers of [`numbered`] begin with; as much of a number may be shown and stored. Digits that no counter shows by itself:
/// packed, those of the other cards, `40 00 00 9…`, stand in the number of every ten thousandth transaction or so.
pub const NUMBERED: &str = "41472098";

/// The n-th of ten million plain cards, 414720 98 and seven digits and the check digit: approved unless the conduct
/// says otherwise. For workloads that need many cards.
pub fn numbered(n: u32) -> String {
    let mut number = format!("{NUMBERED}{:07}", n % 10_000_000);
    number.push(char::from(b'0' + check_digit(number.as_bytes())));
    number
}

/// True for what [`numbered`] gives.
pub fn is_numbered(number: &str) -> bool {
    number.len() == 16 && number.starts_with(NUMBERED) && passes_luhn(number)
}

/// What a card makes a network do.
pub fn behaviour(number: &str) -> Behaviour {
    match place(number) {
        Some(place) => ALL[usize::from(place)].behaviour,
        None if passes_luhn(number) => Behaviour::Approve,
        None => Behaviour::Decline(Code::INVALID_CARD),
    }
}

/// True where the last digit is what the others make it.
pub fn passes_luhn(number: &str) -> bool {
    let digits = number.as_bytes();
    (12..=19).contains(&digits.len())
        && digits.iter().all(u8::is_ascii_digit)
        && check_digit(&digits[..digits.len() - 1]) == digits[digits.len() - 1] - b'0'
}

/// What the books keep of a card: never its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CardMark {
    /// Keyed hash of the number.
    pub token: u64,
    /// Its last four digits.
    pub last4: [u8; 4],
    place: u8,
}

impl CardMark {
    /// Of a number, under the key of a network.
    pub fn of(number: &str, key: &hmac::Key) -> Self {
        let tag = hmac::sign(key, number.as_bytes());
        let token = tag.as_ref()[..8].iter().fold(0, |token, byte| token << 8 | u64::from(*byte));
        let mut last4 = [b'?'; 4];
        if let Some(end) = number.as_bytes().last_chunk::<4>().filter(|end| end.iter().all(u8::is_ascii_digit)) {
            last4 = *end;
        }
        Self { token, last4, place: place(number).unwrap_or(NO_PLACE) }
    }

    /// What a card of the table makes a network do; for all others `Approve`.
    pub fn behaviour(&self) -> Behaviour {
        ALL.get(usize::from(self.place)).map_or(Behaviour::Approve, |card| card.behaviour)
    }
}

const NO_PLACE: u8 = u8::MAX;

/// Row of the table.
fn place(number: &str) -> Option<u8> {
    static PLACES: LazyLock<HashMap<&str, u8>> =
        LazyLock::new(|| ALL.iter().map(|card| card.number).zip(0..).collect());
    PLACES.get(number).copied()
}

/// The digit that makes a number pass the Luhn check.
fn check_digit(digits: &[u8]) -> u8 {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(digit - b'0');
            if place % 2 == 1 { digit } else { digit * 2 / 10 + digit * 2 % 10 }
        })
        .sum();
    ((10 - sum % 10) % 10) as u8
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_card_passes_the_luhn_check_and_stands_once() {
        let numbers: HashSet<_> = ALL.iter().map(|card| card.number).collect();
        assert_eq!(numbers.len(), ALL.len());
        assert!(ALL.len() < usize::from(NO_PLACE));
        for card in ALL {
            assert!(passes_luhn(card.number), "{}", card.name);
            assert_eq!(behaviour(card.number), card.behaviour);
        }
    }

    #[test]
    fn numbered_cards_are_plain_and_distinct() {
        for n in [0, 1, 9, 10, 9_999_999] {
            assert!(passes_luhn(&numbered(n)), "{n}");
            assert!(is_numbered(&numbered(n)), "{n}");
            assert_eq!(behaviour(&numbered(n)), Behaviour::Approve);
        }
        assert_ne!(numbered(1), numbered(2));
    }

    #[test]
    fn a_number_that_fails_the_check_is_declined() {
        let mut number = numbered(7);
        let last = number.pop().expect("numbered is never empty");
        number.push(if last == '0' { '1' } else { '0' });
        assert_eq!(behaviour(&number), Behaviour::Decline(Code::INVALID_CARD));
    }

    #[test]
    fn a_mark_knows_its_card_only_under_the_same_key() {
        let (one, other) = (hmac::Key::new(hmac::HMAC_SHA256, b"one"), hmac::Key::new(hmac::HMAC_SHA256, b"other"));
        assert_eq!(CardMark::of(LATE, &one), CardMark::of(LATE, &one));
        assert_ne!(CardMark::of(LATE, &one).token, CardMark::of(LATE, &other).token);
        assert_eq!(CardMark::of(LATE, &one).behaviour(), Behaviour::Late);
    }
}
