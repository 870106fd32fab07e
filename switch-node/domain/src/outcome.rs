//! What networks answer and what gateways are told, with the total map between response codes and decisions (R18).

use std::fmt;

use crate::{
    id::Position,
    money::{Amount, Currency},
};

/// Whether a request left the switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The network has seen it.
    Sent,
    /// Nothing left the cluster.
    NotSent,
    /// It may have reached the network.
    Unknown,
}

/// Response code as in ISO 8583 field 39: two characters of `0-9 A-Z a-z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResponseCode([u8; 2]);

impl ResponseCode {
    /// Parses it; `None` where it is not two letters or digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; 2] = text.as_bytes().try_into().ok()?;
        bytes.iter().all(u8::is_ascii_alphanumeric).then_some(Self(bytes))
    }

    /// The two characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Short text of an answer, such as an approval code: up to 64 printable ASCII characters, everything else left out.
#[derive(Clone, PartialEq, Eq, Default, PartialOrd, Ord, Hash)]
pub struct AnswerText(Box<str>);

impl AnswerText {
    /// Keeps at most `length_max` (64 at most) printable characters.
    #[must_use]
    pub fn of(text: &str, length_max: usize) -> Self {
        let kept: String =
            text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(length_max.min(64)).collect();
        Self(kept.into_boxed_str())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True where there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for AnswerText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a network answered to a request: evidence, not yet truth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkAnswer {
    /// Response code.
    pub response_code: ResponseCode,
    /// Approval code, up to 6 characters.
    pub approval_code: AnswerText,
    /// Approved amount; `None` means the amount that was asked, where the code does not say that it is less (R18).
    pub approved: Option<Amount>,
    /// Currency of the approved amount; `None` means the currency that was asked.
    pub currency: Option<Currency>,
    /// The network's own id of the transaction.
    pub network_transaction_id: AnswerText,
    /// Address verification code as received, one or two characters.
    pub address_result: AnswerText,
    /// Card verification code as received.
    pub verification_result: AnswerText,
    /// Scheme's retry advice as received.
    pub advice_code: AnswerText,
    /// True where the network decided in place of the issuer.
    pub decided_by_network: bool,
}

/// How a conversation with a network about a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The network answered.
    Answered(NetworkAnswer),
    /// Nothing left the cluster: another network may be asked (R17).
    NotSent(NotSent),
    /// It may have reached the network.
    Unknown(Doubt),
}

/// Why nothing left the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NotSent {
    /// No link of the network is in service.
    OutOfService,
    /// Too many requests are in flight on the link.
    InFlightFull,
    /// The circuit breaker is open.
    CircuitOpen,
    /// The request could not be put into the network's format.
    NotEncodable,
    /// The node stopped dispatching to hand leadership over (R4).
    HandOver,
    /// The deadline had passed, or the lease was lost, before the write.
    TooLate,
    /// Gateway, merchant, route, network or link was disabled after the decision (R24).
    Disabled,
    /// No route serves this card, currency and amount.
    NoRoute,
    /// The gateway voided it before it was written.
    Voided,
}

/// Why it is not known whether a request was processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Doubt {
    /// No answer within the timer.
    NoAnswer,
    /// The connection broke after the first byte.
    ConnectionLost,
    /// The answer could not be read, or does not belong to the request.
    Garbled,
    /// The process that held the conversation is gone.
    OwnerGone,
}

/// What a network answered to a reversal or an advice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneVerdict {
    /// 00: done.
    Acknowledged,
    /// 94: the network had it already.
    Duplicate,
    /// 25 or 21: the original is not known to the network.
    NotFound,
    /// 12, 30 and the like: the network will never take it.
    Refused,
    /// 91, 96 and every other code: try again.
    TryAgain,
}

impl LaneVerdict {
    /// Reads the response code of an acknowledgement; total.
    #[must_use]
    pub fn of(code: &str) -> Self {
        match code {
            "00" => Self::Acknowledged,
            "94" => Self::Duplicate,
            "21" | "25" => Self::NotFound,
            "12" | "13" | "14" | "30" | "31" | "40" | "57" | "58" => Self::Refused,
            _ => Self::TryAgain,
        }
    }
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// In full.
    Approved,
    /// For less than was asked.
    PartiallyApproved,
    /// Declined.
    Declined,
    /// Sent and not answered: final for the key, and a reversal is owed (R3).
    TimedOut,
    /// Voided before its answer was told (R12).
    Voided,
    /// Nobody knows, and nothing is owed: told as an error OUTCOME_UNKNOWN (R22).
    Unresolved,
}

/// Who decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The issuer.
    Issuer,
    /// The network.
    Network,
    /// The switch.
    Switch,
}

/// Why a payment was declined.
#[allow(missing_docs)] // the names are the documentation; the contract explains each
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeclineReason {
    DoNotHonor,
    ReferToIssuer,
    InvalidMerchant,
    PickUpCard,
    InvalidTransaction,
    InvalidAmount,
    InvalidCardNumber,
    NoSuchIssuer,
    LostCard,
    StolenCard,
    InsufficientFunds,
    ExpiredCard,
    IncorrectPin,
    NotPermittedToCardholder,
    NotPermittedToTerminal,
    SuspectedFraud,
    AmountLimitExceeded,
    RestrictedCard,
    CountLimitExceeded,
    PinTriesExceeded,
    CardVerificationFailed,
    IssuerUnavailable,
    NoRoute,
    Duplicate,
    SystemMalfunction,
    AuthenticationRequired,
    StopPayment,
    Voided,
    SwitchLimit,
    PartialNotSupported,
    NetworkInDoubt,
    Disabled,
    Other,
}

/// What the merchant should do about a decline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeclineAdvice {
    /// Nothing is known.
    None,
    /// Never again with this card.
    DoNotTryAgain,
    /// Later.
    TryAgainLater,
    /// Check the card data.
    ConfirmCardData,
    /// Authenticate the cardholder.
    Authenticate,
}

impl DeclineAdvice {
    /// What a scheme's advice code means: Mastercard's merchant advice codes of two digits, Visa's decline categories of one.
    /// `None` for a code that is not listed, and for one that says something else than what to do (Visa's 4; Mastercard's 40 and
    /// 43 name the kind of card): the response code's own advice stands then.
    #[must_use]
    pub fn of_scheme(advice_code: &str) -> Option<Self> {
        match advice_code {
            // New account data is to be had, or the data is to be looked at again.
            "01" | "3" => Some(Self::ConfirmCardData),
            // Not now; 24 to 30 name the wait, from one hour to ten days.
            "02" | "24" | "25" | "26" | "27" | "28" | "29" | "30" | "2" => Some(Self::TryAgainLater),
            // Never; the cardholder ended these payments; a card for one use, which has been used.
            "03" | "21" | "41" | "1" => Some(Self::DoNotTryAgain),
            _ => None,
        }
    }
}

/// What a response code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeMeaning {
    /// Approved, in full unless the amount says less.
    Approved,
    /// Approved in part: the amount must say how much.
    ApprovedInPart,
    /// A no.
    Declined(DeclineReason, DeclineAdvice),
    /// Not in the map: an invalid answer, never a yes and never a no (R18).
    Unmapped,
}

impl ResponseCode {
    /// What it means. Total: what is not listed is [`CodeMeaning::Unmapped`] (R18).
    #[must_use]
    pub fn meaning(&self) -> CodeMeaning {
        use DeclineAdvice as Advice;
        use DeclineReason as Reason;
        let (reason, advice) = match self.as_str() {
            "00" | "08" | "11" | "85" => return CodeMeaning::Approved,
            "10" => return CodeMeaning::ApprovedInPart,
            "01" | "02" => (Reason::ReferToIssuer, Advice::None),
            "03" => (Reason::InvalidMerchant, Advice::None),
            "04" | "07" => (Reason::PickUpCard, Advice::DoNotTryAgain),
            "05" => (Reason::DoNotHonor, Advice::None),
            "12" => (Reason::InvalidTransaction, Advice::DoNotTryAgain),
            "13" => (Reason::InvalidAmount, Advice::None),
            "14" => (Reason::InvalidCardNumber, Advice::ConfirmCardData),
            "15" => (Reason::NoSuchIssuer, Advice::DoNotTryAgain),
            "41" => (Reason::LostCard, Advice::DoNotTryAgain),
            "43" => (Reason::StolenCard, Advice::DoNotTryAgain),
            "46" => (Reason::Other, Advice::DoNotTryAgain),
            "51" => (Reason::InsufficientFunds, Advice::TryAgainLater),
            "54" => (Reason::ExpiredCard, Advice::ConfirmCardData),
            "55" => (Reason::IncorrectPin, Advice::ConfirmCardData),
            "57" => (Reason::NotPermittedToCardholder, Advice::DoNotTryAgain),
            "58" => (Reason::NotPermittedToTerminal, Advice::None),
            "59" => (Reason::SuspectedFraud, Advice::None),
            "61" => (Reason::AmountLimitExceeded, Advice::TryAgainLater),
            "62" => (Reason::RestrictedCard, Advice::None),
            "63" => (Reason::Other, Advice::None),
            "65" => (Reason::CountLimitExceeded, Advice::TryAgainLater),
            "75" => (Reason::PinTriesExceeded, Advice::TryAgainLater),
            "78" => (Reason::Other, Advice::None),
            "82" | "N7" => (Reason::CardVerificationFailed, Advice::ConfirmCardData),
            "91" => (Reason::IssuerUnavailable, Advice::TryAgainLater),
            "92" => (Reason::NoRoute, Advice::TryAgainLater),
            "94" => (Reason::Duplicate, Advice::None),
            "96" => (Reason::SystemMalfunction, Advice::TryAgainLater),
            "1A" => (Reason::AuthenticationRequired, Advice::Authenticate),
            "R0" | "R1" | "R3" => (Reason::StopPayment, Advice::DoNotTryAgain),
            _ => return CodeMeaning::Unmapped,
        };
        CodeMeaning::Declined(reason, advice)
    }
}

/// Why a decision is what it is, where decision and decline do not say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToldReason {
    /// The network's answer was neither a yes nor a no (R18).
    InvalidNetworkAnswer,
    /// No answer came in time.
    NoAnswer,
    /// The connection broke.
    ConnectionLost,
    /// The process that held the conversation is gone.
    OwnerGone,
}

/// What the gateway is told about one operation. Stored, and replayed unchanged (R3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The decision.
    pub decision: Decision,
    /// Whether the request left the switch.
    pub sent: Sent,
    /// Who decided.
    pub source: Source,
    /// Approved amount, zero unless approved.
    pub approved: Amount,
    /// Issuer's approval code.
    pub approval_code: AnswerText,
    /// Response code as received.
    pub response_code: Option<ResponseCode>,
    /// Reason and advice of a decline.
    pub decline: Option<(DeclineReason, DeclineAdvice)>,
    /// Address verification code as received.
    pub address_result: AnswerText,
    /// Card verification code as received.
    pub verification_result: AnswerText,
    /// Scheme's retry advice as received.
    pub advice_code: AnswerText,
    /// Why, where it is not plain.
    pub reason: Option<ToldReason>,
    /// The entry that decided.
    pub position: Position,
}

impl Told {
    /// A decision of the switch itself.
    #[must_use]
    pub fn by_switch(decision: Decision, sent: Sent, position: Position) -> Self {
        Self {
            decision,
            sent,
            source: Source::Switch,
            approved: Amount::ZERO,
            approval_code: AnswerText::default(),
            response_code: None,
            decline: None,
            address_result: AnswerText::default(),
            verification_result: AnswerText::default(),
            advice_code: AnswerText::default(),
            reason: None,
            position,
        }
    }

    /// A decline of the switch: nothing left the cluster.
    #[must_use]
    pub fn declined_by_switch(reason: DeclineReason, position: Position) -> Self {
        let decline = Some((reason, DeclineAdvice::TryAgainLater));
        Self { decline, ..Self::by_switch(Decision::Declined, Sent::NotSent, position) }
    }
}

impl NotSent {
    /// The decline that a gateway is told where nothing was sent.
    #[must_use]
    pub fn decline_reason(self) -> DeclineReason {
        match self {
            Self::OutOfService | Self::InFlightFull | Self::CircuitOpen | Self::HandOver | Self::TooLate => {
                DeclineReason::IssuerUnavailable
            }
            Self::NotEncodable => DeclineReason::InvalidTransaction,
            Self::Disabled => DeclineReason::Disabled,
            Self::NoRoute => DeclineReason::NoRoute,
            Self::Voided => DeclineReason::Voided,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r18_the_response_map_is_total_and_unmapped_is_no_decision() {
        let code = |text| ResponseCode::parse(text).expect("two characters").meaning();
        assert_eq!(code("00"), CodeMeaning::Approved);
        assert_eq!(code("10"), CodeMeaning::ApprovedInPart);
        assert_eq!(code("51"), CodeMeaning::Declined(DeclineReason::InsufficientFunds, DeclineAdvice::TryAgainLater));
        assert_eq!(code("01"), CodeMeaning::Declined(DeclineReason::ReferToIssuer, DeclineAdvice::None));
        assert_eq!(code("ZZ"), CodeMeaning::Unmapped);
        for high in 0..=u8::MAX {
            for low in 0..=u8::MAX {
                if let Some(parsed) = std::str::from_utf8(&[high, low]).ok().and_then(ResponseCode::parse) {
                    let _ = parsed.meaning();
                }
            }
        }
    }

    #[test]
    fn a_scheme_advice_says_what_to_do_and_what_is_not_listed_says_nothing() {
        use DeclineAdvice as Advice;
        let listed = [
            (Some(Advice::ConfirmCardData), &["01", "3"][..]),
            (Some(Advice::TryAgainLater), &["02", "24", "25", "26", "27", "28", "29", "30", "2"]),
            (Some(Advice::DoNotTryAgain), &["03", "21", "41", "1"]),
            (None, &["", "0", "4", "00", "23", "31", "40", "43", "003", "0 3"]),
        ];
        for (advice, codes) in listed {
            for code in codes {
                assert_eq!(DeclineAdvice::of_scheme(code), advice, "{code:?}");
            }
        }
    }

    #[test]
    fn answers_keep_nothing_that_cannot_be_printed() {
        assert_eq!(AnswerText::of("12\n34\u{7f}56", 6).as_str(), "123456");
        assert_eq!(AnswerText::of(&"x".repeat(200), 200).as_str().len(), 64);
    }
}
