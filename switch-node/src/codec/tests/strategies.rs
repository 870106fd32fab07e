//! Any value of any domain type that can be stored.

use proptest::{collection::vec, option::of, prelude::*, sample::select};
use switch_domain::{
    audit::{
        Act, AuditEntry, AuditHead, AuditRecord, ClockAct, ClockView, Digest, DirectoryAct, MemberView, OperatorCall,
        ProposalAct, ProposeAct, RefusedChanges, Remark, Stage, View, Written,
    },
    authorization::{
        AuthenticationStatus, CredentialInitiator, CredentialReason, Credentials, StoredCredential, ThreeDSecure,
    },
    card::{CardReference, CardToken, Pan, Sealed},
    directory::{Change, Directory, DirectoryCommand, Gateway, GatewayLimit, Link, MerchantGrant, Network, Route},
    entry::{
        AnswerEvidence, Capture, ClockAcceptance, ClockReading, Command, Expire, Failover, FailoverCause, Forget,
        ForgetEvents, ForgetTombstone, Keep, LaneAnswer, LaneKind, LaneRef, NewTransaction, NotSentEvidence, Open,
        Plan, ProposeResolution, ResolutionWord, Subject, TimedOut, Void, VoidTarget,
    },
    id::{
        AttemptId, AttemptRef, GatewayId, LeaderId, LinkId, MerchantId, NetworkId, Owner, Position, RequestId, RouteId,
        Rrn, Stan, TerminalId, TransactionId,
    },
    keyring::{AddDataKey, DataKey, KeyPurpose, Keyring, KeyringCommand, Wrapped},
    money::{AMOUNT_MAX, Amount, Currency},
    outcome::{
        AnswerText, Decision, DeclineAdvice, DeclineReason, Doubt, LaneVerdict, NetworkAnswer, NotSent, ResponseCode,
        Sent, Source, Told, ToldReason,
    },
    table::{
        AcceptedClock, ClockRow, Disagreement, DoubtRow, EventRow, Key, Made, MadeKey, OwedKind, OwedRow, RequestRow,
        Row, TombstoneVoid,
    },
    time::{LogTime, TransmissionTime},
    transaction::{
        Advice, Attempt, AttemptState, CaptureMode, Confirmation, EntryMode, Fingerprint, Lane, LaneState, Merchant,
        Method, Operation, PassedOver, ProposedResolution, Resolution, Reversal, ReversalPolicy, ReversalReason,
        SeenApproval, Status, Terms, Transaction, WireIdentity,
    },
};

use crate::codec::{Mark, Pack, PackBody};

macro_rules! parsed {
    ($($name:ident: $type:ty = $regex:literal;)+) => {$(
        fn $name() -> impl Strategy<Value = $type> + Clone {
            $regex.prop_map(|text| <$type>::parse(&text).expect("of its form"))
        }
    )+};
}

parsed! {
    gateway: GatewayId = "[a-z0-9_.-]{1,12}";
    network: NetworkId = "[a-z0-9_.-]{1,8}";
    link: LinkId = "[a-z0-9_.-]{1,8}";
    route: RouteId = "[a-z0-9_.-]{1,8}";
    request: RequestId = "[A-Za-z0-9_.:-]{1,64}";
    merchant_id: MerchantId = "[A-Za-z0-9_.-]{1,15}";
    terminal: TerminalId = "[A-Za-z0-9_.-]{1,8}";
    currency: Currency = "EUR|USD|JPY|BHD|AED|ZWG";
}

/// A number of any size, with the small ones and the ends more often.
fn number() -> impl Strategy<Value = u64> + Clone {
    prop_oneof![Just(0), Just(u64::MAX), 0..300_u64, any::<u64>()]
}

fn number32() -> impl Strategy<Value = u32> + Clone {
    prop_oneof![Just(0), Just(u32::MAX), 0..300_u32, any::<u32>()]
}

fn number16() -> impl Strategy<Value = u16> + Clone {
    prop_oneof![Just(0), Just(u16::MAX), 0..300_u16]
}

fn amount() -> impl Strategy<Value = Amount> + Clone {
    prop_oneof![Just(0), Just(AMOUNT_MAX), 0..=AMOUNT_MAX]
        .prop_map(|minor_units| Amount::parse(minor_units as i64).expect("in range"))
}

fn time() -> impl Strategy<Value = LogTime> + Clone {
    number().prop_map(LogTime)
}

fn transaction_id() -> impl Strategy<Value = TransactionId> + Clone {
    prop_oneof![Just(0), Just(u128::MAX), any::<u128>()].prop_map(TransactionId::from_number)
}

fn stan() -> impl Strategy<Value = Stan> + Clone {
    (1..=Stan::MAX).prop_map(|number| Stan::parse(number).expect("in range"))
}

fn text() -> impl Strategy<Value = AnswerText> + Clone {
    "[ -~]{0,64}".prop_map(|text| AnswerText::of(&text, 64))
}

fn response_code() -> impl Strategy<Value = ResponseCode> + Clone {
    "[0-9A-Za-z]{2}".prop_map(|text| ResponseCode::parse(&text).expect("two characters"))
}

fn attempt_ref() -> impl Strategy<Value = AttemptRef> + Clone {
    (gateway(), transaction_id(), number16(), number16()).prop_map(|(gateway, transaction, operation, number)| {
        AttemptRef { gateway, id: AttemptId { transaction, operation, number } }
    })
}

fn position() -> impl Strategy<Value = Position> + Clone {
    (number(), number32()).prop_map(|(index, place)| Position { index, place })
}

fn owner() -> impl Strategy<Value = Owner> + Clone {
    (number(), number(), number()).prop_map(|(node, boot, term)| Owner { node, boot, term })
}

fn fingerprint() -> impl Strategy<Value = Fingerprint> + Clone {
    (number32(), any::<[u8; 16]>()).prop_map(|(key_version, digest)| Fingerprint { key_version, digest })
}

fn method() -> impl Strategy<Value = Method> + Clone {
    use Method::{Authorize, Capture, Increment, Refund, Verify, Void};
    select(vec![Authorize, Increment, Capture, Void, Refund, Verify])
}

fn decision() -> impl Strategy<Value = Decision> + Clone {
    use Decision::{Approved, Declined, PartiallyApproved, TimedOut, Unresolved, Voided};
    select(vec![Approved, PartiallyApproved, Declined, TimedOut, Voided, Unresolved])
}

fn not_sent() -> impl Strategy<Value = NotSent> + Clone {
    use NotSent::{
        CircuitOpen, Disabled, HandOver, InFlightFull, NoRoute, NotEncodable, OutOfService, TooLate, Voided,
    };
    select(vec![OutOfService, InFlightFull, CircuitOpen, NotEncodable, HandOver, TooLate, Disabled, NoRoute, Voided])
}

fn capture_mode() -> impl Strategy<Value = CaptureMode> + Clone {
    select(vec![CaptureMode::Manual, CaptureMode::Automatic])
}

fn entry_mode() -> impl Strategy<Value = EntryMode> + Clone {
    use EntryMode::{
        Chip, ContactlessChip, ContactlessStripe, CredentialOnFile, Ecommerce, Fallback, MagneticStripe,
        MailOrTelephone, Manual,
    };
    select(vec![
        Manual,
        MagneticStripe,
        Chip,
        ContactlessChip,
        ContactlessStripe,
        Fallback,
        Ecommerce,
        CredentialOnFile,
        MailOrTelephone,
    ])
}

fn resolution() -> impl Strategy<Value = Resolution> + Clone {
    select(vec![Resolution::Reversed, Resolution::Stands])
}

fn lane_state() -> impl Strategy<Value = LaneState> + Clone {
    prop_oneof![
        Just(LaneState::Pending),
        Just(LaneState::Acknowledged),
        Just(LaneState::NotFound),
        any::<bool>().prop_map(|refused| LaneState::Parked { refused }),
        resolution().prop_map(LaneState::Resolved),
    ]
}

fn reversal_policy() -> impl Strategy<Value = ReversalPolicy> + Clone {
    select(vec![ReversalPolicy::Always, ReversalPolicy::Never])
}

fn terms() -> impl Strategy<Value = Terms> + Clone {
    let times = (number32(), number32(), number32(), number());
    let rules = (reversal_policy(), any::<bool>(), any::<bool>(), number32(), number32(), amount());
    (times, rules).prop_map(|(times, rules)| Terms {
        attempt_timeout_ms: times.0,
        in_flight_max_ms: times.1,
        repeat_budget_ms: times.2,
        valid_ms: times.3,
        reversal_policy: rules.0,
        acknowledgement_proves_match: rules.1,
        reversal_has_own_stan: rules.2,
        capture_tolerance_basis_points: rules.3,
        doubt_count_max: rules.4,
        doubt_amount_max: rules.5,
    })
}

fn merchant() -> impl Strategy<Value = Merchant> + Clone {
    (merchant_id(), terminal(), text(), text(), text(), text(), text()).prop_map(
        |(id, terminal, category, name, city, country, acquirer)| Merchant {
            id,
            terminal,
            category,
            name,
            city,
            country,
            acquirer,
        },
    )
}

fn card() -> impl Strategy<Value = CardReference> + Clone {
    let sealed = (number32(), vec(any::<u8>(), 0..200))
        .prop_map(|(key_version, bytes)| Sealed { key_version, bytes: bytes.into() });
    ("[0-9]{12,19}", any::<[u8; 16]>(), of(sealed)).prop_map(|(digits, token, sealed)| {
        let pan = Pan::parse(&digits).expect("digits");
        CardReference { bin: pan.bin(), last4: pan.last4(), token: CardToken(token), sealed }
    })
}

fn identity() -> impl Strategy<Value = WireIdentity> + Clone {
    let transmission = "[0-9]{10}".prop_map(|digits| TransmissionTime(digits.as_bytes().try_into().expect("ten")));
    let rrn = "[0-9A-Z]{12}".prop_map(|text| Rrn::parse(&text).expect("of its form"));
    (stan(), rrn, transmission).prop_map(|(stan, rrn, transmission)| WireIdentity { stan, rrn, transmission })
}

fn network_answer() -> impl Strategy<Value = NetworkAnswer> + Clone {
    let texts = (text(), text(), text(), text(), text());
    (response_code(), of(amount()), of(currency()), texts, any::<bool>()).prop_map(
        |(response_code, approved, currency, texts, decided_by_network)| NetworkAnswer {
            response_code,
            approval_code: texts.0,
            approved,
            currency,
            network_transaction_id: texts.1,
            address_result: texts.2,
            verification_result: texts.3,
            advice_code: texts.4,
            decided_by_network,
        },
    )
}

fn decline_reason() -> impl Strategy<Value = DeclineReason> + Clone {
    use DeclineReason as R;
    select(vec![
        R::DoNotHonor,
        R::ReferToIssuer,
        R::InvalidMerchant,
        R::PickUpCard,
        R::InvalidTransaction,
        R::InvalidAmount,
        R::InvalidCardNumber,
        R::NoSuchIssuer,
        R::LostCard,
        R::StolenCard,
        R::InsufficientFunds,
        R::ExpiredCard,
        R::IncorrectPin,
        R::NotPermittedToCardholder,
        R::NotPermittedToTerminal,
        R::SuspectedFraud,
        R::AmountLimitExceeded,
        R::RestrictedCard,
        R::CountLimitExceeded,
        R::PinTriesExceeded,
        R::CardVerificationFailed,
        R::IssuerUnavailable,
        R::NoRoute,
        R::Duplicate,
        R::SystemMalfunction,
        R::AuthenticationRequired,
        R::StopPayment,
        R::Voided,
        R::SwitchLimit,
        R::PartialNotSupported,
        R::NetworkInDoubt,
        R::Disabled,
        R::Other,
    ])
}

fn told() -> impl Strategy<Value = Told> + Clone {
    use DeclineAdvice as Advice;
    let advice = select(vec![
        Advice::None,
        Advice::DoNotTryAgain,
        Advice::TryAgainLater,
        Advice::ConfirmCardData,
        Advice::Authenticate,
    ]);
    let sent = select(vec![Sent::Sent, Sent::NotSent, Sent::Unknown]);
    let source = select(vec![Source::Issuer, Source::Network, Source::Switch]);
    let reason = select(vec![
        ToldReason::InvalidNetworkAnswer,
        ToldReason::NoAnswer,
        ToldReason::ConnectionLost,
        ToldReason::OwnerGone,
    ]);
    let texts = (text(), text(), text(), text());
    let decline = of((decline_reason(), advice));
    (decision(), sent, source, amount(), texts, of(response_code()), decline, of(reason), position()).prop_map(
        |(decision, sent, source, approved, texts, response_code, decline, reason, position)| Told {
            decision,
            sent,
            source,
            approved,
            approval_code: texts.0,
            response_code,
            decline,
            address_result: texts.1,
            verification_result: texts.2,
            advice_code: texts.3,
            reason,
            position,
        },
    )
}

fn lane() -> impl Strategy<Value = Lane> + Clone {
    let maker = (number(), number()).prop_map(|(term, node)| LeaderId { term, node });
    (identity(), number16(), lane_state(), time(), maker, any::<bool>(), amount(), of(proposed())).prop_map(
        |(identity, generation, state, since, maker, doubted_once, amount, resolution)| Lane {
            identity,
            generation,
            state,
            since,
            maker,
            doubted_once,
            amount,
            resolution,
        },
    )
}

fn proposed() -> impl Strategy<Value = Box<ProposedResolution>> + Clone {
    let confirmed = of((any::<String>(), time()).prop_map(|(author, time)| Confirmation { author, time }));
    (position(), time(), resolution(), any::<String>(), any::<String>(), confirmed).prop_map(
        |(position, since, resolution, author, evidence, confirmed)| {
            Box::new(ProposedResolution { position, since, resolution, author, evidence, confirmed })
        },
    )
}

fn reversal() -> impl Strategy<Value = Reversal> + Clone {
    use ReversalReason::{Cancelled, InvalidResponse, Remainder, Timeout, UnsupportedPartial};
    let reason = select(vec![Timeout, Cancelled, InvalidResponse, Remainder, UnsupportedPartial]);
    let passed_over = vec(of(amount()).prop_map(|approved| PassedOver { approved }), 0..3);
    (reason, of(amount()), lane(), number16(), vec(stan(), 0..3), passed_over).prop_map(
        |(reason, approved, lane, approvals_reversed, superseded, passed_over)| Reversal {
            reason,
            approved,
            lane,
            approvals_reversed,
            superseded,
            passed_over,
        },
    )
}

fn credentials() -> impl Strategy<Value = Credentials> + Clone {
    let status = select(AuthenticationStatus::ALL.to_vec());
    let secured = (text(), text(), status).prop_map(|(version, directory_server_transaction_id, status)| {
        ThreeDSecure { version, directory_server_transaction_id, status }
    });
    let initiator = select(vec![CredentialInitiator::Cardholder, CredentialInitiator::Merchant]);
    let reason = select(vec![
        CredentialReason::Recurring,
        CredentialReason::Installment,
        CredentialReason::Unscheduled,
        CredentialReason::CardOnFile,
    ]);
    let stored = (initiator, reason).prop_map(|(initiator, reason)| StoredCredential { initiator, reason });
    (of(secured), text(), of(stored)).prop_map(|(three_d_secure, wallet, stored)| Credentials {
        three_d_secure,
        wallet,
        stored,
    })
}

fn attempt() -> impl Strategy<Value = Attempt> + Clone {
    let state = prop_oneof![
        Just(AttemptState::Open),
        amount().prop_map(AttemptState::Approved),
        Just(AttemptState::Declined),
        not_sent().prop_map(AttemptState::NotSent),
        Just(AttemptState::TimedOut),
        Just(AttemptState::Invalid),
    ];
    let seen = (text(), text(), of(amount())).prop_map(|(approval_code, network_transaction_id, amount)| {
        SeenApproval { approval_code, network_transaction_id, amount }
    });
    let asked = (network(), link(), of(route()), identity(), terms(), time(), owner());
    let came = (state, of(response_code()), vec(seen, 0..3), any::<bool>(), any::<bool>(), of(reversal()), position());
    (asked, came).prop_map(|(asked, came)| Attempt {
        network: asked.0,
        link: asked.1,
        route: asked.2,
        identity: asked.3,
        terms: asked.4,
        deadline: asked.5,
        owner: asked.6,
        state: came.0,
        response_code: came.1,
        approvals: came.2,
        late_approval: came.3,
        conflicting_answer: came.4,
        reversal: came.5,
        opened: came.6,
    })
}

fn operation() -> impl Strategy<Value = Operation> + Clone {
    let advice = (link(), network(), lane()).prop_map(|(link, network, lane)| Advice { link, network, lane });
    let asked = (request(), method(), amount(), fingerprint(), time(), any::<bool>(), any::<bool>());
    let came = (any::<bool>(), amount(), vec(attempt(), 0..3), of(advice), of(told()), any::<bool>());
    (asked, came).prop_map(|(asked, came)| Operation {
        request_id: asked.0,
        method: asked.1,
        amount: asked.2,
        fingerprint: asked.3,
        accepted: asked.4,
        final_capture: asked.5,
        partial_supported: asked.6,
        void_requested: came.0,
        day_reserved: came.1,
        attempts: came.2,
        advice: came.3,
        told: came.4,
        day_limited: came.5,
    })
}

fn transaction() -> impl Strategy<Value = Transaction> + Clone {
    let head = (transaction_id(), gateway(), number32(), time(), time(), currency(), capture_mode(), entry_mode());
    let body =
        (merchant(), card(), text(), text(), number(), time(), any::<bool>(), vec(operation(), 0..4), credentials());
    (head, body).prop_map(|(head, body)| Transaction {
        id: head.0,
        gateway: head.1,
        revision: head.2,
        created: head.3,
        changed: head.4,
        currency: head.5,
        capture_mode: head.6,
        entry_mode: head.7,
        merchant: body.0,
        card: body.1,
        merchant_reference: body.2,
        network_transaction_id: body.3,
        directory_version: body.4,
        valid_until: body.5,
        expired: body.6,
        operations: body.7,
        credentials: body.8,
    })
}

fn plan() -> impl Strategy<Value = Plan> + Clone {
    (of(route()), network(), link(), terms(), owner()).prop_map(|(route, network, link, terms, owner)| Plan {
        route,
        network,
        link,
        terms,
        owner,
    })
}

fn open() -> impl Strategy<Value = Open> {
    let head = (transaction_id(), any::<bool>(), capture_mode(), entry_mode(), merchant());
    let new = (head, card(), credentials(), text(), any::<bool>()).prop_map(
        |(head, card, credentials, merchant_reference, partial_supported)| NewTransaction {
            id: head.0,
            verification: head.1,
            capture_mode: head.2,
            entry_mode: head.3,
            merchant: head.4,
            card,
            credentials,
            merchant_reference,
            partial_supported,
        },
    );
    let subject = prop_oneof![
        new.prop_map(|new| Subject::New(Box::new(new))),
        transaction_id().prop_map(Subject::Increment),
        transaction_id().prop_map(Subject::Refund),
    ];
    let asked = (gateway(), request(), fingerprint(), amount(), currency(), number());
    (asked, of(time()), plan(), subject, amount(), number32()).prop_map(
        |(asked, first_sent, plan, subject, day_limit, retention_days)| Open {
            gateway: asked.0,
            request_id: asked.1,
            fingerprint: asked.2,
            amount: asked.3,
            currency: asked.4,
            directory_version: asked.5,
            first_sent,
            plan,
            subject,
            day_limit,
            retention_days,
        },
    )
}

fn lane_ref() -> impl Strategy<Value = LaneRef> {
    (attempt_ref(), select(vec![LaneKind::Reversal, LaneKind::Advice]), number16())
        .prop_map(|(attempt, kind, generation)| LaneRef { attempt, kind, generation })
}

/// Any command.
pub(crate) fn command() -> impl Strategy<Value = Command> {
    let because = prop_oneof![
        not_sent().prop_map(FailoverCause::NotSent),
        network_answer().prop_map(|answer| FailoverCause::PermittedNo(Box::new(answer))),
    ];
    let doubt = select(vec![Doubt::NoAnswer, Doubt::ConnectionLost, Doubt::Garbled, Doubt::OwnerGone]);
    let capture = (gateway(), request(), transaction_id(), fingerprint(), amount(), currency(), any::<bool>())
        .prop_map(|(gateway, request_id, transaction, fingerprint, amount, currency, is_final)| Capture {
            gateway,
            request_id,
            transaction,
            fingerprint,
            amount,
            currency,
            is_final,
        });
    let target =
        prop_oneof![transaction_id().prop_map(VoidTarget::Transaction), request().prop_map(VoidTarget::Request)];
    let void = (gateway(), request(), target, fingerprint())
        .prop_map(|(gateway, request_id, target, fingerprint)| Void { gateway, request_id, target, fingerprint });
    let verdict = select(vec![
        LaneVerdict::Acknowledged,
        LaneVerdict::Duplicate,
        LaneVerdict::NotFound,
        LaneVerdict::Refused,
        LaneVerdict::TryAgain,
    ]);
    let resolve = (attempt_ref(), resolution(), any::<String>(), any::<String>()).prop_map(
        |(attempt, resolution, author, evidence)| ProposeResolution { attempt, resolution, author, evidence },
    );
    let word = (attempt_ref(), position(), any::<String>())
        .prop_map(|(attempt, proposal, author)| Box::new(ResolutionWord { attempt, proposal, author }));
    prop_oneof![
        open().prop_map(|open| Command::Open(Box::new(open))),
        (attempt_ref(), because, plan()).prop_map(|(attempt, because, plan)| Command::Failover(Box::new(Failover {
            attempt,
            because,
            plan
        }))),
        (attempt_ref(), network_answer())
            .prop_map(|(attempt, answer)| Command::Answer(Box::new(AnswerEvidence { attempt, answer }))),
        (attempt_ref(), not_sent()).prop_map(|(attempt, why)| Command::NotSent(NotSentEvidence { attempt, why })),
        (attempt_ref(), doubt).prop_map(|(attempt, doubt)| Command::TimedOut(TimedOut { attempt, doubt })),
        attempt_ref().prop_map(Command::LateSend),
        capture.prop_map(|capture| Command::Capture(Box::new(capture))),
        void.prop_map(|void| Command::Void(Box::new(void))),
        (lane_ref(), verdict, time()).prop_map(|(lane, verdict, sent)| Command::LaneAnswer(LaneAnswer {
            lane,
            verdict,
            sent
        })),
        lane_ref().prop_map(Command::Park),
        resolve.prop_map(|resolve| Command::ProposeResolution(Box::new(resolve))),
        word.clone().prop_map(Command::ConfirmResolution),
        word.prop_map(Command::WithdrawResolution),
        (gateway(), transaction_id(), any::<bool>())
            .prop_map(|(gateway, transaction, release)| { Command::Expire(Expire { gateway, transaction, release }) }),
        (gateway(), transaction_id(), number32(), number32()).prop_map(
            |(gateway, transaction, retention_days, refund_days)| {
                Command::Forget(Forget { gateway, transaction, keep: Keep { retention_days, refund_days } })
            }
        ),
        (gateway(), position(), number32()).prop_map(|(gateway, position, retention_days)| {
            Command::ForgetTombstone(ForgetTombstone { gateway, position, retention_days })
        }),
        (gateway(), vec(position(), 0..4))
            .prop_map(|(gateway, positions)| Command::ForgetEvents(ForgetEvents { gateway, positions })),
        (number(), time()).prop_map(|(node, wall)| Command::ReadClock(ClockReading { node, wall })),
        (time(), any::<String>(), any::<String>()).prop_map(|(wall, author, reason)| {
            Command::AcceptClock(Box::new(ClockAcceptance { wall, author, reason }))
        }),
        audit_entry().prop_map(|entry| Command::Audit(Box::new(entry))),
    ]
}

fn gateway_record() -> impl Strategy<Value = Gateway> + Clone {
    let grant = (vec(terminal(), 0..3), text(), any::<bool>())
        .prop_map(|(terminals, acquirer, enabled)| MerchantGrant { terminals, acquirer, enabled });
    let merchants = vec((merchant_id(), grant), 0..3);
    let limit = (amount(), amount()).prop_map(|(per_operation, per_day)| GatewayLimit { per_operation, per_day });
    let limits = vec((currency(), limit), 0..3);
    let calls = (number32(), number32(), number32(), any::<bool>());
    (gateway(), vec(any::<String>(), 0..3), any::<bool>(), merchants, limits, calls).prop_map(
        |(id, principals, enabled, merchants, limits, (requests_per_second, burst, concurrent, require_sealed))| {
            Gateway {
                id,
                principals,
                enabled,
                merchants: merchants.into_iter().collect(),
                limits: limits.into_iter().collect(),
                requests_per_second,
                burst,
                concurrent,
                require_sealed,
            }
        },
    )
}

fn network_record() -> impl Strategy<Value = Network> + Clone {
    let times = (number32(), number32(), number32(), number32(), number32(), number32());
    let rules = (reversal_policy(), number32(), amount(), vec(response_code(), 0..3));
    let tolerance = vec((any::<String>(), number32()), 0..3);
    (network(), times, rules, tolerance, any::<[bool; 4]>()).prop_map(|(id, times, rules, tolerance, flags)| Network {
        id,
        enabled: flags[0],
        attempt_timeout_ms: times.0,
        in_flight_max_ms: times.1,
        reversal_policy: rules.0,
        repeat_after_ms: times.2,
        repeat_budget_ms: times.3,
        doubt_count_max: rules.1,
        doubt_amount_max: rules.2,
        acknowledgement_proves_match: flags[1],
        failover_codes: rules.3,
        valid_days: times.4,
        refund_days: times.5,
        capture_tolerance: tolerance.into_iter().collect(),
        release_expired: flags[2],
        reversal_has_own_stan: flags[3],
    })
}

fn link_record() -> impl Strategy<Value = Link> + Clone {
    let place = (any::<String>(), any::<String>());
    (link(), network(), place, any::<bool>(), number32(), any::<bool>(), text()).prop_map(
        |(id, network, place, enabled, in_flight_max, exclusive, institution)| Link {
            id,
            network,
            address: place.0,
            server_name: place.1,
            enabled,
            in_flight_max,
            exclusive,
            institution,
        },
    )
}

fn route_record() -> impl Strategy<Value = Route> + Clone {
    let range = (number(), number());
    let money = (vec(currency(), 0..3), amount(), of(amount()));
    (route(), range, money, number32(), network(), any::<bool>(), any::<bool>()).prop_map(
        |(id, range, money, priority, network, enabled, luhn)| Route {
            id,
            low: range.0,
            high: range.1,
            currencies: money.0,
            amount_min: money.1,
            amount_max: money.2,
            priority,
            network,
            enabled,
            luhn,
        },
    )
}

fn directory() -> impl Strategy<Value = Directory> + Clone {
    let records =
        (vec(gateway_record(), 0..3), vec(network_record(), 0..3), vec(link_record(), 0..3), vec(route_record(), 0..3));
    (number(), records, number32()).prop_map(|(version, (gateways, networks, links, routes), retention_days)| {
        Directory {
            version,
            gateways: gateways.into_iter().map(|record| (record.id.clone(), record)).collect(),
            networks: networks.into_iter().map(|record| (record.id.clone(), record)).collect(),
            links: links.into_iter().map(|record| (record.id.clone(), record)).collect(),
            routes: routes.into_iter().map(|record| (record.id.clone(), record)).collect(),
            retention_days,
        }
    })
}

fn change() -> impl Strategy<Value = Change> + Clone {
    prop_oneof![
        gateway_record().prop_map(Change::PutGateway),
        network_record().prop_map(Change::PutNetwork),
        link_record().prop_map(Change::PutLink),
        route_record().prop_map(Change::PutRoute),
        gateway().prop_map(Change::RemoveGateway),
        network().prop_map(Change::RemoveNetwork),
        link().prop_map(Change::RemoveLink),
        route().prop_map(Change::RemoveRoute),
        number32().prop_map(Change::SetRetentionDays),
    ]
}

fn digest() -> impl Strategy<Value = Digest> + Clone {
    any::<[u8; 32]>().prop_map(Digest)
}

fn remark() -> impl Strategy<Value = Remark> + Clone {
    any::<String>().prop_map(|text| Remark::of(&text))
}

fn view() -> impl Strategy<Value = View> + Clone {
    let member = (number(), any::<bool>()).prop_map(|(node, voter)| MemberView { node, voter });
    prop_oneof![
        number().prop_map(View::Leader),
        vec(member, 0..4).prop_map(View::Members),
        number().prop_map(View::Version),
        lane_state().prop_map(View::Lane),
        number32().prop_map(View::KeyVersion),
        position().prop_map(View::Proposal),
        (time(), time()).prop_map(|(wall, log)| View::Clock(ClockView { wall, log })),
    ]
}

fn act() -> impl Strategy<Value = Act> + Clone {
    let refused = (number(), digest()).prop_map(|(count, digest)| RefusedChanges { count, digest });
    let directory = (number(), vec(change(), 0..3), vec(of(change()), 0..3), of(refused)).prop_map(
        |(expected_version, changes, replaced, refused)| DirectoryAct { expected_version, changes, replaced, refused },
    );
    let propose = (attempt_ref(), resolution(), remark()).prop_map(|(attempt, resolution, evidence)| {
        Act::ProposeResolution(Box::new(ProposeAct { attempt, resolution, evidence }))
    });
    let of_proposal =
        (attempt_ref(), position()).prop_map(|(attempt, proposal)| Box::new(ProposalAct { attempt, proposal }));
    let clock = (time(), remark()).prop_map(|(wall, reason)| Act::AcceptClock(Box::new(ClockAct { wall, reason })));
    prop_oneof![
        directory.prop_map(|act| Act::ChangeDirectory(Box::new(act))),
        number().prop_map(Act::Bootstrap),
        remark().prop_map(Act::AddMember),
        number().prop_map(Act::PromoteMember),
        number().prop_map(Act::RemoveMember),
        number().prop_map(Act::TransferLeader),
        number().prop_map(Act::DrainNode),
        number().prop_map(Act::TakeSnapshot),
        number().prop_map(Act::SaveSnapshot),
        number().prop_map(Act::ExportTransactions),
        attempt_ref().prop_map(Act::ResendReversal),
        propose,
        of_proposal.clone().prop_map(Act::ConfirmResolution),
        of_proposal.prop_map(Act::WithdrawResolution),
        clock,
        select(KeyPurpose::ALL.to_vec()).prop_map(Act::RotateKey),
    ]
}

fn written() -> impl Strategy<Value = Written> + Clone {
    let stage = select(vec![Stage::Asked, Stage::Done, Stage::Refused, Stage::Unknown]);
    (number(), number(), stage).prop_map(|(boot, number, stage)| Written { call: OperatorCall { boot, number }, stage })
}

fn audit_entry() -> impl Strategy<Value = AuditEntry> + Clone {
    (request(), any::<String>(), act(), remark(), of(view()), of(view()), written()).prop_map(
        |(request_id, author, act, reason, before, after, Written { call, stage })| AuditEntry {
            request_id,
            author,
            act,
            stage,
            reason,
            before,
            after,
            call,
        },
    )
}

fn directory_command() -> impl Strategy<Value = DirectoryCommand> + Clone {
    (request(), any::<String>(), number(), vec(change(), 0..3)).prop_map(
        |(request_id, author, expected_version, changes)| DirectoryCommand {
            request_id,
            author,
            expected_version,
            changes,
        },
    )
}

fn data_key() -> impl Strategy<Value = DataKey> + Clone {
    let head = (select(KeyPurpose::ALL.to_vec()), number32(), number32());
    let bytes = (vec(any::<u8>(), 1..80), of(any::<[u8; 32]>()));
    (head, bytes, time(), of(time()), any::<String>()).prop_map(|(head, bytes, since, until, author)| DataKey {
        purpose: head.0,
        version: head.1,
        wrapping_version: head.2,
        wrapped: Wrapped(bytes.0.into()),
        public: bytes.1,
        since,
        until,
        author,
    })
}

fn keyring_command() -> impl Strategy<Value = KeyringCommand> + Clone {
    prop_oneof![
        Just(KeyringCommand::Incarnate),
        (of(request()), data_key(), number()).prop_map(|(request_id, key, overlap_ms)| {
            KeyringCommand::Add(Box::new(AddDataKey { request_id, key, overlap_ms }))
        }),
    ]
}

/// Any pack.
pub(crate) fn pack() -> impl Strategy<Value = Pack> {
    let body = prop_oneof![
        vec(command(), 0..5).prop_map(PackBody::Book),
        directory_command().prop_map(|command| PackBody::Directory(Box::new(command))),
        keyring_command().prop_map(|command| PackBody::Keyring(Box::new(command))),
    ];
    let applied = of((number(), any::<[u8; 32]>()).prop_map(|(applied, hash)| Mark { applied, hash }));
    (number(), number(), time(), body, applied).prop_map(|(incarnation, first_ticket, log_time, body, applied)| Pack {
        incarnation,
        first_ticket,
        log_time,
        body,
        applied,
    })
}

/// Any key.
pub(crate) fn key() -> impl Strategy<Value = Key> + Clone {
    // Texts that are prefixes of each other and numbers that are close test the order best.
    let near = prop_oneof!["[ab-]{1,3}", "[a-z0-9_.-]{1,64}"];
    let gateway = near.prop_map(|text| GatewayId::parse(&text).expect("of its form"));
    let request = prop_oneof!["[aB:-]{1,3}", "[A-Za-z0-9_.:-]{1,64}"]
        .prop_map(|text| RequestId::parse(&text).expect("of its form"));
    prop_oneof![
        (gateway.clone(), transaction_id()).prop_map(|(gateway, id)| Key::Transaction(gateway, id)),
        (gateway.clone(), of(transaction_id()), request.clone())
            .prop_map(|(gateway, original, request)| Key::Request(gateway, original, request)),
        (gateway.clone(), position()).prop_map(|(gateway, position)| Key::Tombstone(gateway, position)),
        (link(), stan()).prop_map(|(link, stan)| Key::Owed(link, stan)),
        (gateway.clone(), position()).prop_map(|(gateway, position)| Key::Event(gateway, position)),
        gateway.clone().prop_map(Key::EventsForgotten),
        link().prop_map(Key::NextStan),
        Just(Key::NextRrn),
        network().prop_map(Key::Doubt),
        (gateway, currency(), number32()).prop_map(|(gateway, currency, day)| Key::DayUse(gateway, currency, day)),
        Just(Key::Clock),
        Just(Key::ClockAgreement),
        Just(Key::Forgotten),
        Just(Key::Directory),
        request.prop_map(Key::OperatorRequest),
        Just(Key::Keyring),
        number().prop_map(Key::AuditRecord),
        Just(Key::AuditHead),
    ]
}

fn status() -> impl Strategy<Value = Status> + Clone {
    use Status::{
        Authorized, Captured, Declined, Expired, Open, PartiallyCaptured, Refunded, TimedOut, Unresolved, Verified,
        Voided,
    };
    select(vec![
        Open,
        Authorized,
        PartiallyCaptured,
        Captured,
        Refunded,
        Declined,
        TimedOut,
        Voided,
        Expired,
        Verified,
        Unresolved,
    ])
}

/// A row that may stand under this key.
pub(crate) fn row_of(key: &Key) -> BoxedStrategy<Row> {
    match key {
        Key::Transaction(gateway, id) => {
            let (gateway, id) = (gateway.clone(), *id);
            transaction()
                .prop_map(move |found| {
                    Row::Transaction(Box::new(Transaction { id, gateway: gateway.clone(), ..found }))
                })
                .boxed()
        }
        Key::Request(..) => {
            let void = (request(), fingerprint(), position(), time()).prop_map(
                |(request_id, fingerprint, position, accepted)| TombstoneVoid {
                    request_id,
                    fingerprint,
                    position,
                    accepted,
                },
            );
            prop_oneof![
                (transaction_id(), number16())
                    .prop_map(|(transaction, operation)| RequestRow::Operation { transaction, operation }),
                vec(void, 0..4).prop_map(|voids| RequestRow::Tombstone { voids }),
            ]
            .prop_map(Row::Request)
            .boxed()
        }
        Key::Owed(..) => {
            let kind = select(vec![OwedKind::Attempt, OwedKind::Reversal, OwedKind::Advice, OwedKind::Held]);
            (attempt_ref(), kind, any::<bool>(), time())
                .prop_map(|(attempt, kind, parked, time)| Row::Owed(OwedRow { attempt, kind, parked, time }))
                .boxed()
        }
        Key::Event(..) => {
            let lanes = (of(lane_state()), of(lane_state()));
            let head = (transaction_id(), number32(), status(), request(), method(), of(decision()));
            (head, lanes, time())
                .prop_map(|(head, lanes, time)| {
                    Row::Event(EventRow {
                        transaction: head.0,
                        revision: head.1,
                        status: head.2,
                        request_id: head.3,
                        method: head.4,
                        decision: head.5,
                        reversal: lanes.0,
                        advice: lanes.1,
                        time,
                    })
                })
                .boxed()
        }
        Key::NextStan(_) | Key::NextRrn => number().prop_map(Row::Counter).boxed(),
        Key::Doubt(_) => (number32(), number32(), vec((currency(), number()), 0..4))
            .prop_map(|(count, parked, amounts)| {
                Row::Doubt(DoubtRow { count, parked, amounts: amounts.into_iter().collect() })
            })
            .boxed(),
        Key::DayUse(..) => amount().prop_map(Row::Sum).boxed(),
        Key::Tombstone(..) => request().prop_map(Row::RequestId).boxed(),
        Key::EventsForgotten(_) => position().prop_map(Row::Position).boxed(),
        Key::Clock | Key::Forgotten => time().prop_map(Row::Time).boxed(),
        Key::ClockAgreement => {
            let disagreement =
                (number(), time(), time()).prop_map(|(node, wall, log)| Disagreement { node, wall, log });
            let accepted = (time(), time(), any::<String>(), any::<String>())
                .prop_map(|(wall, log, author, reason)| AcceptedClock { wall, log, author, reason });
            (of(disagreement), of(accepted))
                .prop_map(|(disagreement, accepted)| Row::Clock(ClockRow { disagreement, accepted }))
                .boxed()
        }
        Key::Directory => directory().prop_map(|directory| Row::Directory(Box::new(directory))).boxed(),
        Key::OperatorRequest(_) => {
            let key = (select(KeyPurpose::ALL.to_vec()), number32())
                .prop_map(|(purpose, version)| Made::Key(MadeKey { purpose, version }));
            prop_oneof![number().prop_map(Made::Directory), key].prop_map(Row::Made).boxed()
        }
        Key::Keyring => (number(), vec(data_key(), 0..4))
            .prop_map(|(incarnations, keys)| {
                let keys = keys.into_iter().map(|key| ((key.purpose, key.version), key)).collect();
                Row::Keyring(Box::new(Keyring { incarnations, keys }))
            })
            .boxed(),
        Key::AuditRecord(number) => {
            let number = *number;
            (digest(), time(), audit_entry())
                .prop_map(move |(previous, time, entry)| {
                    Row::AuditRecord(Box::new(AuditRecord { number, previous, time, entry }))
                })
                .boxed()
        }
        Key::AuditHead => (number(), digest(), vec(written(), 0..4))
            .prop_map(|(number, hash, recent)| Row::AuditHead(AuditHead { number, hash, recent }))
            .boxed(),
    }
}

/// Any key with a row that may stand under it.
pub(crate) fn entry() -> impl Strategy<Value = (Key, Row)> {
    key().prop_flat_map(|key| {
        let row = row_of(&key);
        (Just(key), row)
    })
}
