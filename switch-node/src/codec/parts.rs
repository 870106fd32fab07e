//! What commands and rows have in common: identities, money, answers, transactions.

use switch_domain::{
    authorization::{
        AuthenticationStatus, CredentialInitiator, CredentialReason, Credentials, StoredCredential, ThreeDSecure,
    },
    card::{CardReference, CardToken, Sealed, Truncated},
    entry::{LaneKind, LaneRef},
    id::{
        AttemptId, AttemptRef, GatewayId, LeaderId, LinkId, MerchantId, NetworkId, Owner, Position, RequestId, RouteId,
        Rrn, Stan, TerminalId, TransactionId,
    },
    money::{Amount, Currency},
    outcome::{
        AnswerText, Decision, DeclineAdvice, DeclineReason, Doubt, LaneVerdict, NetworkAnswer, NotSent, ResponseCode,
        Sent, Source, Told, ToldReason,
    },
    time::{LogTime, TransmissionTime},
    transaction::{
        Advice, Attempt, AttemptState, CaptureMode, Confirmation, EntryMode, Fingerprint, Lane, LaneState, Merchant,
        Method, Operation, PassedOver, ProposedResolution, Resolution, Reversal, ReversalPolicy, ReversalReason,
        SeenApproval, Status, Terms, Transaction, WireIdentity,
    },
};

use super::{
    CodecFault,
    wire::{
        Field, Kind, Message, Reader, Value, Writer, choices, enumerations, message_value, messages, numbers, texts,
    },
};

numbers! {
    Amount {
        to: |amount| amount.minor_units(),
        from: |number| i64::try_from(number).ok().and_then(|number| Amount::parse(number).ok()),
        absent: Some(Amount::ZERO)
    }
    LogTime { to: |time| time.0, from: |number| Some(LogTime(number)), absent: Some(LogTime(0)) }
    Stan {
        to: |stan| u64::from(stan.number()),
        from: |number| u32::try_from(number).ok().and_then(|number| Stan::parse(number).ok()),
        absent: None
    }
    Rrn { to: rrn_number, from: |number| (number < RRN_END).then(|| Rrn::of(number)), absent: Some(Rrn::of(0)) }
    TransmissionTime {
        to: transmission_number,
        from: |number| (number < TRANSMISSION_END).then(|| transmission(number)),
        absent: Some(TransmissionTime(*b"0000000000"))
    }
}

texts! {
    GatewayId { from: |text| GatewayId::parse(text).ok(), absent: None }
    NetworkId { from: |text| NetworkId::parse(text).ok(), absent: None }
    LinkId { from: |text| LinkId::parse(text).ok(), absent: None }
    RouteId { from: |text| RouteId::parse(text).ok(), absent: None }
    RequestId { from: |text| RequestId::parse(text).ok(), absent: None }
    MerchantId { from: |text| MerchantId::parse(text).ok(), absent: None }
    TerminalId { from: |text| TerminalId::parse(text).ok(), absent: None }
    ResponseCode { from: ResponseCode::parse, absent: None }
    Truncated { from: |text| Truncated::parse(text).ok(), absent: Some(Truncated::default()) }
    AnswerText {
        from: |text| Some(AnswerText::of(text, text.len())).filter(|kept| kept.as_str() == text),
        absent: Some(AnswerText::default())
    }
}

enumerations! {
    LaneKind { 1 = Reversal, 2 = Advice }
    NotSent {
        1 = OutOfService, 2 = InFlightFull, 3 = CircuitOpen, 4 = NotEncodable, 5 = HandOver, 6 = TooLate, 7 = Disabled,
        8 = NoRoute, 9 = Voided,
    }
    Doubt { 1 = NoAnswer, 2 = ConnectionLost, 3 = Garbled, 4 = OwnerGone }
    LaneVerdict { 1 = Acknowledged, 2 = Duplicate, 3 = NotFound, 4 = Refused, 5 = TryAgain }
    Decision { 1 = Approved, 2 = PartiallyApproved, 3 = Declined, 4 = TimedOut, 5 = Voided, 6 = Unresolved }
    Sent { 1 = Sent, 2 = NotSent, 3 = Unknown }
    Source { 1 = Issuer, 2 = Network, 3 = Switch }
    DeclineReason {
        1 = DoNotHonor, 2 = ReferToIssuer, 3 = InvalidMerchant, 4 = PickUpCard, 5 = InvalidTransaction,
        6 = InvalidAmount, 7 = InvalidCardNumber, 8 = NoSuchIssuer, 9 = LostCard, 10 = StolenCard,
        11 = InsufficientFunds, 12 = ExpiredCard, 13 = IncorrectPin, 14 = NotPermittedToCardholder,
        15 = NotPermittedToTerminal, 16 = SuspectedFraud, 17 = AmountLimitExceeded, 18 = RestrictedCard,
        19 = CountLimitExceeded, 20 = PinTriesExceeded, 21 = CardVerificationFailed, 22 = IssuerUnavailable,
        23 = NoRoute, 24 = Duplicate, 25 = SystemMalfunction, 26 = AuthenticationRequired, 27 = StopPayment,
        28 = Voided, 29 = SwitchLimit, 30 = PartialNotSupported, 31 = NetworkInDoubt, 32 = Disabled, 33 = Other,
    }
    DeclineAdvice { 1 = None, 2 = DoNotTryAgain, 3 = TryAgainLater, 4 = ConfirmCardData, 5 = Authenticate }
    ToldReason { 1 = InvalidNetworkAnswer, 2 = NoAnswer, 3 = ConnectionLost, 4 = OwnerGone }
    Method { 1 = Authorize, 2 = Increment, 3 = Capture, 4 = Void, 5 = Refund, 6 = Verify }
    CaptureMode { 1 = Manual, 2 = Automatic }
    EntryMode {
        1 = Manual, 2 = MagneticStripe, 3 = Chip, 4 = ContactlessChip, 5 = ContactlessStripe, 6 = Fallback,
        7 = Ecommerce, 8 = CredentialOnFile, 9 = MailOrTelephone,
    }
    AuthenticationStatus {
        1 = Authenticated, 2 = NotAuthenticated, 3 = Unavailable, 4 = Attempted, 5 = Rejected, 6 = ChallengeDue,
        7 = DecoupledChallengeDue, 8 = Informational,
    }
    CredentialInitiator { 1 = Cardholder, 2 = Merchant }
    CredentialReason { 1 = Recurring, 2 = Installment, 3 = Unscheduled, 4 = CardOnFile }
    ReversalPolicy { 1 = Always, 2 = Never }
    ReversalReason { 1 = Timeout, 2 = Cancelled, 3 = InvalidResponse, 4 = Remainder, 5 = UnsupportedPartial }
    Resolution { 1 = Reversed, 2 = Stands }
    LaneState {
        1 = Pending, 2 = Acknowledged, 3 = NotFound, 4 = Parked { refused: false }, 5 = Parked { refused: true },
        6 = Resolved(Resolution::Reversed), 7 = Resolved(Resolution::Stands),
    }
    Status {
        1 = Open, 2 = Authorized, 3 = PartiallyCaptured, 4 = Captured, 5 = Refunded, 6 = Declined, 7 = TimedOut,
        8 = Voided, 9 = Expired, 10 = Verified, 11 = Unresolved,
    }
}

choices! {
    AttemptState { 1 Open, 3 Declined, 5 TimedOut, 6 Invalid,; 2 Approved, 4 NotSent }
}

messages! {
    LaneRef { 1 attempt, 2 kind, 3 generation }
    Position { 1 index, 2 place }
    WireIdentity { 1 stan, 2 rrn, 3 transmission }
    NetworkAnswer {
        1 response_code, 2 approval_code, 3 approved, 4 currency, 5 network_transaction_id, 6 address_result,
        7 verification_result, 8 advice_code, 9 decided_by_network,
    }
    Told {
        1 decision, 2 sent, 3 source, 4 approved, 5 approval_code, 6 response_code, 7 decline, 8 address_result,
        9 verification_result, 10 reason, 11 position, 12 advice_code,
    }
    Merchant { 1 id, 2 terminal, 3 category, 4 name, 5 city, 6 country, 7 acquirer }
    CardReference { 1 bin, 2 last4, 3 token, 4 sealed }
    ThreeDSecure { 1 version, 2 directory_server_transaction_id, 3 status }
    StoredCredential { 1 initiator, 2 reason }
    Credentials { 1 three_d_secure, 2 wallet, 3 stored }
    Terms {
        1 attempt_timeout_ms, 2 in_flight_max_ms, 3 repeat_budget_ms, 4 reversal_policy, 5 acknowledgement_proves_match,
        6 reversal_has_own_stan, 7 valid_ms, 8 capture_tolerance_basis_points, 9 doubt_count_max, 10 doubt_amount_max,
    }
    SeenApproval { 1 approval_code, 2 amount, 3 network_transaction_id }
    Lane { 1 identity, 2 generation, 3 state, 4 since, 5 maker, 6 doubted_once, 7 amount, 8 resolution }
    Confirmation { 1 author, 2 time }
    ProposedResolution { 1 position, 2 since, 3 resolution, 4 author, 5 evidence, 6 confirmed }
    PassedOver { 1 approved }
    Reversal { 1 reason, 2 approved, 3 lane, 4 approvals_reversed, 5 superseded, 6 passed_over }
    Attempt {
        1 network, 2 link, 3 route, 4 identity, 5 terms, 6 deadline, 7 owner, 8 state, 9 response_code, 10 approvals,
        11 late_approval, 12 conflicting_answer, 13 reversal, 14 opened,
    }
    Advice { 1 link, 2 network, 3 lane }
    Operation {
        1 request_id, 2 method, 3 amount, 4 fingerprint, 5 accepted, 6 final_capture, 7 partial_supported,
        8 void_requested, 9 day_reserved, 10 attempts, 11 advice, 12 told, 13 day_limited,
    }
    Transaction {
        1 id, 2 gateway, 3 revision, 4 created, 5 changed, 6 currency, 7 capture_mode, 8 entry_mode, 9 merchant, 10 card,
        11 merchant_reference, 12 network_transaction_id, 13 directory_version, 14 valid_until, 15 expired,
        16 operations, 17 credentials,
    }
}

message_value!(LeaderId {
    |value, to| {
        value.term.write(1, to);
        to.fixed(2, value.node);
    }
    |from| Ok(LeaderId { term: Field::read(1, from)?, node: from.fixed(2)? })
});

message_value!(Owner {
    |value, to| {
        to.fixed(1, value.node);
        to.fixed(2, value.boot);
        value.term.write(3, to);
    }
    |from| Ok(Owner { node: from.fixed(1)?, boot: from.fixed(2)?, term: Field::read(3, from)? })
});

message_value!(AttemptRef {
    |value, to| {
        value.gateway.write(1, to);
        value.id.transaction.write(2, to);
        value.id.operation.write(3, to);
        value.id.number.write(4, to);
    }
    |from| {
        let gateway = Field::read(1, from)?;
        let (transaction, operation, number) = (Field::read(2, from)?, Field::read(3, from)?, Field::read(4, from)?);
        Ok(AttemptRef { gateway, id: AttemptId { transaction, operation, number } })
    }
});

message_value!(Fingerprint {
    |value, to| {
        value.key_version.write(1, to);
        to.bytes(2, &value.digest);
    }
    |from| {
        let key_version = Field::read(1, from)?;
        Ok(Fingerprint { key_version, digest: take_array(2, from, "digest")? })
    }
});

message_value!(Sealed {
    |value, to| {
        value.key_version.write(1, to);
        if !value.bytes.is_empty() {
            to.bytes(2, &value.bytes);
        }
    }
    |from| {
        let key_version = Field::read(1, from)?;
        let bytes = match from.next_is(2, Kind::Bytes) {
            false => &[],
            true => Some(from.bytes()?).filter(|bytes| !bytes.is_empty()).ok_or_else(|| from.not_canonical())?,
        };
        Ok(Sealed { key_version, bytes: bytes.into() })
    }
});

type Decline = (DeclineReason, DeclineAdvice);

message_value!(Decline {
    |value, to| {
        value.0.write(1, to);
        value.1.write(2, to);
    }
    |from| Ok((Field::read(1, from)?, Field::read(2, from)?))
});

impl Value for TransactionId {
    const KIND: Kind = Kind::Bytes;

    fn put(&self, field: u32, to: &mut Writer) {
        to.bytes(field, &self.number().to_be_bytes());
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, CodecFault> {
        from.array("TransactionId").map(|bytes| Self::from_number(u128::from_be_bytes(bytes)))
    }
}

impl Value for CardToken {
    const KIND: Kind = Kind::Bytes;

    fn put(&self, field: u32, to: &mut Writer) {
        to.bytes(field, &self.0);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, CodecFault> {
        from.array("CardToken").map(Self)
    }
}

impl Value for Currency {
    const KIND: Kind = Kind::Bytes;

    fn put(&self, field: u32, to: &mut Writer) {
        to.bytes(field, self.code().as_bytes());
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, CodecFault> {
        let code = from.text("Currency")?;
        Self::parse(code).map_err(|_| from.invalid("Currency"))
    }
}

pub(super) fn take_array<const N: usize>(
    field: u32,
    from: &mut Reader<'_>,
    kind: &'static str,
) -> Result<[u8; N], CodecFault> {
    if from.next_is(field, Kind::Bytes) { from.array(kind) } else { Err(from.invalid(kind)) }
}

/// One past the greatest reference number: 36^12.
const RRN_END: u64 = 36_u64.pow(12);

/// Undoes [`Rrn::of`].
fn rrn_number(rrn: &Rrn) -> u64 {
    rrn.as_str().bytes().fold(0, |number, digit| {
        number * 36 + u64::from(if digit.is_ascii_digit() { digit - b'0' } else { digit - b'A' + 10 })
    })
}

/// One past the greatest number of ten digits.
const TRANSMISSION_END: u64 = 10_000_000_000;

fn transmission_number(time: &TransmissionTime) -> u64 {
    time.0.iter().fold(0, |number, digit| {
        assert!(digit.is_ascii_digit(), "a transmission time is ten digits");
        number * 10 + u64::from(digit - b'0')
    })
}

fn transmission(mut number: u64) -> TransmissionTime {
    let mut digits = [b'0'; 10];
    for digit in digits.iter_mut().rev() {
        *digit += (number % 10) as u8;
        number /= 10;
    }
    TransmissionTime(digits)
}
