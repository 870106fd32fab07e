//! Bytes of the first version. A test that fails here means that disks of older versions could not be read any more: mend
//! the codec, not the bytes.

use std::collections::BTreeMap;

use switch_domain::{
    authorization::{
        AuthenticationStatus, CredentialInitiator, CredentialReason, Credentials, StoredCredential, ThreeDSecure,
    },
    card::{CardReference, CardToken, Pan, Sealed},
    directory::{Change, Directory, DirectoryCommand, Gateway, GatewayLimit, MerchantGrant, Route},
    entry::{
        AnswerEvidence, ClockAcceptance, ClockReading, Command, Forget, ForgetEvents, ForgetTombstone, Keep,
        NewTransaction, Open, Plan, Subject, TimedOut,
    },
    id::{
        AttemptId, AttemptRef, GatewayId, LeaderId, LinkId, MerchantId, NetworkId, Owner, Position, RequestId, RouteId,
        Rrn, Stan, TerminalId, TransactionId,
    },
    keyring::{AddDataKey, DataKey, KeyPurpose, Keyring, KeyringCommand, Wrapped},
    money::{Amount, Currency},
    outcome::{AnswerText, Decision, DeclineAdvice, DeclineReason, Doubt, NetworkAnswer, ResponseCode, Sent, Told},
    table::{
        AcceptedClock, ClockRow, Disagreement, DoubtRow, EventRow, Key, Made, OwedKind, OwedRow, RequestRow, Row,
        TombstoneVoid,
    },
    time::LogTime,
    transaction::{
        Attempt, AttemptState, CaptureMode, EntryMode, Fingerprint, Lane, LaneState, Merchant, Method, Operation,
        Resolution, Reversal, ReversalPolicy, ReversalReason, SeenApproval, Status, Terms, Transaction, WireIdentity,
    },
};

use crate::codec::{Pack, PackBody, decode_key, decode_pack, decode_row, encode_key, encode_pack, encode_row};

const NOW: LogTime = LogTime(1_790_000_000_123);

fn gateway() -> GatewayId {
    GatewayId::parse("shop").expect("a gateway")
}

fn request(text: &str) -> RequestId {
    RequestId::parse(text).expect("a key")
}

fn network() -> NetworkId {
    NetworkId::parse("net").expect("a network")
}

fn link() -> LinkId {
    LinkId::parse("net-1").expect("a link")
}

fn euro() -> Currency {
    Currency::parse("EUR").expect("a currency")
}

fn amount(minor_units: i64) -> Amount {
    Amount::parse(minor_units).expect("an amount")
}

fn text(text: &str) -> AnswerText {
    AnswerText::of(text, 64)
}

fn id() -> TransactionId {
    TransactionId::from_number(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10)
}

fn attempt_ref() -> AttemptRef {
    AttemptRef { gateway: gateway(), id: AttemptId { transaction: id(), operation: 0, number: 1 } }
}

fn fingerprint() -> Fingerprint {
    Fingerprint { key_version: 1, digest: *b"0123456789abcdef" }
}

fn owner() -> Owner {
    Owner { node: 0x1111_2222_3333_4444, boot: 0x5555_6666_7777_8888, term: 7 }
}

fn position() -> Position {
    Position { index: 300, place: 2 }
}

fn terms() -> Terms {
    Terms {
        attempt_timeout_ms: 10_000,
        in_flight_max_ms: 60_000,
        repeat_budget_ms: 3_600_000,
        reversal_policy: ReversalPolicy::Always,
        acknowledgement_proves_match: true,
        reversal_has_own_stan: false,
        valid_ms: 604_800_000,
        capture_tolerance_basis_points: 1_500,
        doubt_count_max: 100_000,
        doubt_amount_max: Amount::ZERO,
    }
}

fn identity(number: u32) -> WireIdentity {
    WireIdentity {
        stan: Stan::parse(number).expect("a trace number"),
        rrn: Rrn::of(1_000 + u64::from(number)),
        transmission: NOW.transmission(),
    }
}

fn merchant() -> Merchant {
    Merchant {
        id: MerchantId::parse("M1").expect("a merchant"),
        terminal: TerminalId::parse("T1").expect("a terminal"),
        category: text("5411"),
        name: text("Corner Shop"),
        city: text("Linz"),
        country: text("AT"),
        acquirer: text("123456"),
    }
}

fn card() -> CardReference {
    let pan = Pan::parse(&format!("99{}7", "0".repeat(13))).expect("digits");
    let sealed = Sealed { key_version: 2, bytes: Box::from(&b"sealed"[..]) };
    CardReference { bin: pan.bin(), last4: pan.last4(), token: CardToken(*b"tokentokentoken!"), sealed: Some(sealed) }
}

fn credentials() -> Credentials {
    let three_d_secure = ThreeDSecure {
        version: text("2.2.0"),
        directory_server_transaction_id: text("c4e59ceb-a382-4d6a-bc87-385d591fa09d"),
        status: AuthenticationStatus::Attempted,
    };
    let stored = StoredCredential { initiator: CredentialInitiator::Merchant, reason: CredentialReason::Unscheduled };
    Credentials { three_d_secure: Some(three_d_secure), wallet: text("google_pay"), stored: Some(stored) }
}

fn code(text: &str) -> ResponseCode {
    ResponseCode::parse(text).expect("a code")
}

/// A declined attempt, a timed-out one with its reversal, and what was told.
pub(super) fn transaction() -> (Key, Row) {
    let attempt = |number, state, response_code, reversal| Attempt {
        network: network(),
        link: link(),
        route: RouteId::parse("all").ok(),
        identity: identity(number),
        terms: terms(),
        deadline: NOW.after_ms(10_000),
        owner: owner(),
        state,
        response_code,
        approvals: vec![],
        late_approval: false,
        conflicting_answer: false,
        reversal,
        opened: position(),
    };
    let lane = Lane {
        identity: identity(3),
        generation: 1,
        state: LaneState::Parked { refused: true },
        since: NOW,
        maker: LeaderId { term: 7, node: 0x1111_2222_3333_4444 },
        doubted_once: true,
        amount: amount(1_999),
        resolution: None,
    };
    let superseded = vec![identity(2).stan, identity(4).stan];
    let reversal = Reversal {
        reason: ReversalReason::Timeout,
        approved: Some(Amount::ZERO),
        lane,
        approvals_reversed: 1,
        superseded,
        passed_over: vec![],
    };
    let late = Attempt {
        approvals: vec![SeenApproval {
            approval_code: text("A1B2C3"),
            network_transaction_id: text("N-77"),
            amount: Some(amount(1_999)),
        }],
        late_approval: true,
        ..attempt(2, AttemptState::TimedOut, None, Some(reversal))
    };
    let told = Told {
        decline: Some((DeclineReason::IssuerUnavailable, DeclineAdvice::TryAgainLater)),
        response_code: Some(code("91")),
        ..Told::by_switch(Decision::TimedOut, Sent::Unknown, position())
    };
    let operation = Operation {
        request_id: request("order-1"),
        method: Method::Authorize,
        amount: amount(1_999),
        fingerprint: fingerprint(),
        accepted: NOW,
        final_capture: false,
        partial_supported: true,
        void_requested: false,
        day_reserved: amount(1_999),
        attempts: vec![attempt(1, AttemptState::Declined, Some(code("91")), None), late],
        advice: None,
        told: Some(told),
        day_limited: true,
    };
    let transaction = Transaction {
        id: id(),
        gateway: gateway(),
        revision: 2,
        created: NOW,
        changed: NOW.after_ms(10_001),
        currency: euro(),
        capture_mode: CaptureMode::Manual,
        entry_mode: EntryMode::Ecommerce,
        merchant: merchant(),
        card: card(),
        credentials: credentials(),
        merchant_reference: text("order 1"),
        network_transaction_id: text(""),
        directory_version: 5,
        valid_until: LogTime(0),
        expired: false,
        operations: vec![operation],
    };
    (Key::Transaction(gateway(), id()), Row::Transaction(Box::new(transaction)))
}

fn directory() -> Directory {
    let grant = MerchantGrant { terminals: vec![], acquirer: text("123456"), enabled: true };
    let limit = GatewayLimit { per_operation: amount(100_000), per_day: Amount::ZERO };
    let shop = Gateway {
        id: gateway(),
        principals: vec!["spiffe://example/gateway/shop".into()],
        enabled: true,
        merchants: BTreeMap::from([(merchant().id, grant)]),
        limits: BTreeMap::from([(euro(), limit)]),
        // Left out where they are zero: directories that were written before there were such limits read as having none.
        requests_per_second: 0,
        burst: 0,
        concurrent: 0,
        require_sealed: false,
    };
    let all = Route {
        id: RouteId::parse("all").expect("a route"),
        low: 0,
        high: 9_999_999_999_999_999_999,
        currencies: vec![euro()],
        amount_min: Amount::ZERO,
        amount_max: Some(amount(500_000)),
        priority: 10,
        network: network(),
        enabled: true,
        luhn: true,
    };
    Directory {
        version: 5,
        gateways: BTreeMap::from([(shop.id.clone(), shop)]),
        routes: BTreeMap::from([(all.id.clone(), all)]),
        ..Directory::default()
    }
}

fn rows() -> Vec<(Key, Row)> {
    let void = TombstoneVoid {
        request_id: request("void-1"),
        fingerprint: fingerprint(),
        position: position(),
        accepted: NOW,
    };
    let event = EventRow {
        transaction: id(),
        revision: 2,
        status: Status::TimedOut,
        request_id: request("order-1"),
        method: Method::Authorize,
        decision: Some(Decision::TimedOut),
        reversal: Some(LaneState::Resolved(Resolution::Stands)),
        advice: None,
        time: NOW,
    };
    let owed = OwedRow { attempt: attempt_ref(), kind: OwedKind::Reversal, parked: true, time: NOW };
    let disagreement = Disagreement { node: 7, wall: NOW, log: NOW };
    let accepted = AcceptedClock { wall: NOW, log: NOW, author: "anna".into(), reason: "ok".into() };
    let doubt = DoubtRow { count: 3, parked: 1, amounts: BTreeMap::from([(euro(), 5_997)]) };
    vec![
        transaction(),
        (
            Key::Request(gateway(), None, request("order-1")),
            Row::Request(RequestRow::Operation { transaction: id(), operation: 0 }),
        ),
        (
            Key::Request(gateway(), Some(id()), request("capture-1")),
            Row::Request(RequestRow::Tombstone { voids: vec![void] }),
        ),
        (Key::Owed(link(), Stan::parse(3).expect("a trace number")), Row::Owed(owed)),
        (Key::Event(gateway(), position()), Row::Event(event)),
        (Key::NextStan(link()), Row::Counter(4)),
        (Key::NextRrn, Row::Counter(0)),
        (Key::Doubt(network()), Row::Doubt(doubt)),
        (Key::DayUse(gateway(), euro(), NOW.day()), Row::Sum(amount(1_999))),
        (Key::Clock, Row::Time(NOW)),
        (Key::Tombstone(gateway(), position()), Row::RequestId(request("order-1"))),
        (Key::EventsForgotten(gateway()), Row::Position(position())),
        (Key::ClockAgreement, Row::Clock(ClockRow { disagreement: Some(disagreement), accepted: Some(accepted) })),
        (Key::Forgotten, Row::Time(NOW)),
        (Key::Directory, Row::Directory(Box::new(directory()))),
        (Key::OperatorRequest(request("change-1")), Row::Made(Made::Directory(5))),
        (
            Key::Keyring,
            Row::Keyring(Box::new(Keyring {
                incarnations: 7,
                keys: BTreeMap::from([((KeyPurpose::Sealing, 3), data_key())]),
            })),
        ),
    ]
}

fn data_key() -> DataKey {
    DataKey {
        purpose: KeyPurpose::Sealing,
        version: 3,
        wrapping_version: 1,
        wrapped: Wrapped(Box::from(*b"wrapped")),
        public: Some(*b"a public key of thirty-two bytes"),
        since: NOW,
        until: Some(NOW),
        author: "spiffe://example/operator/ann".into(),
    }
}

fn packs() -> Vec<Pack> {
    let new = NewTransaction {
        id: id(),
        verification: false,
        capture_mode: CaptureMode::Automatic,
        entry_mode: EntryMode::Chip,
        merchant: merchant(),
        card: card(),
        credentials: credentials(),
        merchant_reference: text("order 1"),
        partial_supported: true,
    };
    let plan =
        Plan { route: RouteId::parse("all").ok(), network: network(), link: link(), terms: terms(), owner: owner() };
    let open = Open {
        gateway: gateway(),
        request_id: request("order-1"),
        fingerprint: fingerprint(),
        amount: amount(1_999),
        currency: euro(),
        directory_version: 5,
        first_sent: Some(NOW),
        plan,
        subject: Subject::New(Box::new(new)),
        day_limit: amount(1_000_000),
        retention_days: 0,
    };
    let answer = NetworkAnswer {
        response_code: code("00"),
        approval_code: text("A1B2C3"),
        approved: Some(amount(1_000)),
        currency: None,
        network_transaction_id: text("N-77"),
        address_result: text("Y"),
        verification_result: text("M"),
        advice_code: text(""),
        decided_by_network: true,
    };
    let book = vec![
        Command::Open(Box::new(open)),
        Command::Answer(Box::new(AnswerEvidence { attempt: attempt_ref(), answer })),
        Command::TimedOut(TimedOut { attempt: attempt_ref(), doubt: Doubt::ConnectionLost }),
    ];
    let keep = Keep { retention_days: 500, refund_days: 365 };
    let aged = vec![
        Command::Forget(Forget { gateway: gateway(), transaction: id(), keep }),
        Command::ForgetTombstone(ForgetTombstone { gateway: gateway(), position: position(), retention_days: 500 }),
        Command::ForgetEvents(ForgetEvents { gateway: gateway(), positions: vec![position()] }),
        Command::ReadClock(ClockReading { node: 7, wall: NOW }),
        Command::AcceptClock(Box::new(ClockAcceptance { wall: NOW, author: "anna".into(), reason: "ok".into() })),
    ];
    let gateway = directory().gateways.remove(&gateway()).expect("the gateway");
    let command = DirectoryCommand {
        request_id: request("change-1"),
        author: "spiffe://example/operator/ann".into(),
        expected_version: 4,
        changes: vec![Change::PutGateway(gateway), Change::RemoveLink(link())],
    };
    let pack =
        |body| Pack { incarnation: 0x5555_6666_7777_8888, first_ticket: 129, log_time: NOW, body, applied: None };
    let add = AddDataKey { request_id: Some(request("rotate-1")), key: data_key(), overlap_ms: 604_800_000 };
    vec![
        pack(PackBody::Book(book)),
        pack(PackBody::Directory(Box::new(command))),
        pack(PackBody::Book(aged)),
        pack(PackBody::Keyring(Box::new(KeyringCommand::Incarnate))),
        pack(PackBody::Keyring(Box::new(KeyringCommand::Add(Box::new(add))))),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).expect("a hex digit") as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

#[test]
fn rows_and_keys_of_the_first_version_still_read() {
    for ((key, row), (key_bytes, row_bytes)) in rows().into_iter().zip(ROWS) {
        assert_eq!(hex(&encode_key(&key)), *key_bytes, "{key:?}");
        assert_eq!(hex(&encode_row(&row)), *row_bytes, "{key:?}");
        assert_eq!(decode_key(&unhex(key_bytes)), Ok(key.clone()));
        assert_eq!(decode_row(&key, &unhex(row_bytes)), Ok(row));
    }
    assert_eq!(rows().len(), ROWS.len());
}

#[test]
fn packs_of_the_first_version_still_read() {
    for (pack, bytes) in packs().into_iter().zip(PACKS) {
        assert_eq!(hex(&encode_pack(&pack)), *bytes);
        assert_eq!(decode_pack(&unhex(bytes)), Ok(pack));
    }
    assert_eq!(packs().len(), PACKS.len());
}

#[rustfmt::skip]
const ROWS: &[(&str, &str)] = &[
    (
        "1073686f70000102030405060708090a0b0c0d0e0f10",
        "0ad0040a100102030405060708090a0b0c0d0e0f10120473686f70180220fbd8c1a28c34288ca7c2a28c343203455552380140074a2d0a\
         024d31120254311a0435343131220b436f726e65722053686f702a044c696e7a320241543a06313233343536522e0a0839393030303030\
         301204303030371a10746f6b656e746f6b656e746f6b656e21220a080212067365616c65645a076f72646572203168058201eb020a076f\
         726465722d31100118cf0f2214080112103031323334353637383961626364656628fbd8c1a28c34380148cf0f52690a036e657412056e\
         65742d311a03616c6c220b080110e90718c8809eb7032a1d08904e10e0d4031880dddb0120012801388088b2a00240dc0b48a08d06308b\
         a7c2a28c343a14094444333322221111118888777766665555180742021a004a023931720508ac02100252b2010a036e657412056e6574\
         2d311a03616c6c220b080210ea0718c8809eb7032a1d08904e10e0d4031880dddb0120012801388088b2a00240dc0b48a08d06308ba7c2\
         a28c343a14094444333322221111118888777766665555180742022a0052110a0641314232433310cf0f1a044e2d373758016a36080110\
         001a2a0a0b080310eb0718c8809eb7031001180520fbd8c1a28c342a0b0807114444333322221111300138cf0f200128022804720508ac\
         0210026217080410031803320239313a04081610035a0508ac02100268018a01430a2f0a05322e322e30122463346535396365622d6133\
         38322d346436612d626338372d3338356435393166613039641804120a676f6f676c655f7061791a0408021003",
    ),
    (
        "1873686f7000006f726465722d3100",
        "12140a120a100102030405060708090a0b0c0d0e0f10",
    ),
    (
        "1873686f7000010102030405060708090a0b0c0d0e0f10636170747572652d3100",
        "1230122e0a2c0a06766f69642d31121408011210303132333435363738396162636465661a0508ac02100220fbd8c1a28c34",
    ),
    (
        "206e65742d310000000003",
        "1a270a1a0a0473686f7012100102030405060708090a0b0c0d0e0f1020011002180120fbd8c1a28c34",
    ),
    (
        "2873686f7000000000000000012c00000002",
        "222c0a100102030405060708090a0b0c0d0e0f101002180722076f726465722d3128013004380748fbd8c1a28c34",
    ),
    (
        "306e65742d3100",
        "2804",
    ),
    (
        "38",
        "2800",
    ),
    (
        "406e657400",
        "320e080310011a080a0345555210ed2e",
    ),
    (
        "4873686f7000455552000050ed",
        "38cf0f",
    ),
    (
        "50",
        "40fbd8c1a28c34",
    ),
    (
        "1c73686f7000000000000000012c00000002",
        "62076f726465722d31",
    ),
    (
        "2c73686f7000",
        "6a0508ac021002",
    ),
    (
        "52",
        "722c0a10080710fbd8c1a28c3418fbd8c1a28c34121808fbd8c1a28c3410fbd8c1a28c341a04616e6e6122026f6b",
    ),
    (
        "54",
        "40fbd8c1a28c34",
    ),
    (
        "58",
        "4a70080512460a0473686f70121d7370696666653a2f2f6578616d706c652f676174657761792f73686f70180122100a024d31120a1206\
         31323334353618012a0b0a03455552120408a08d062a240a03616c6c18ffff9fcfc8e0c8e38a01220345555230a0c21e380a42036e6574\
         48015001",
    ),
    (
        "686368616e67652d3100",
        "b201020805",
    ),
    (
        "70",
        "7a620807125e0802100318012207777261707065642a2061207075626c6963206b6579206f66207468697274792d74776f206279746573\
         30fbd8c1a28c3438fbd8c1a28c34421d7370696666653a2f2f6578616d706c652f6f70657261746f722f616e6e",
    ),
];

#[rustfmt::skip]
const PACKS: &[&str] = &[
    "09888877776666555510810118fbd8c1a28c3422d0020acd020a0473686f7012076f726465722d311a1408011210303132333435363738\
     3961626364656620cf0f2a03455552300538fbd8c1a28c3442460a03616c6c12036e65741a056e65742d31221d08904e10e0d4031880dd\
     db0120012801388088b2a00240dc0b48a08d062a1409444433332222111111888877776666555518074ac8010ac5010a10010203040506\
     0708090a0b0c0d0e0f10180220032a2d0a024d31120254311a0435343131220b436f726e65722053686f702a044c696e7a320241543a06\
     313233343536322e0a0839393030303030301204303030371a10746f6b656e746f6b656e746f6b656e21220a080212067365616c65643a\
     076f72646572203140014a430a2f0a05322e322e30122463346535396365622d613338322d346436612d626338372d3338356435393166\
     613039641804120a676f6f676c655f7061791a040802100350c0843d223d1a3b0a1a0a0473686f7012100102030405060708090a0b0c0d\
     0e0f102001121d0a023030120641314232433318e8072a044e2d37373201593a014d480122202a1e0a1a0a0473686f7012100102030405\
     060708090a0b0c0d0e0f1020011002",
    "09888877776666555510810118fbd8c1a28c342a7e0a086368616e67652d31121d7370696666653a2f2f6578616d706c652f6f70657261\
     746f722f616e6e180422480a460a0473686f70121d7370696666653a2f2f6578616d706c652f676174657761792f73686f70180122100a\
     024d31120a120631323334353618012a0b0a03455552120408a08d0622073a056e65742d31",
    "09888877776666555510810118fbd8c1a28c3422227a200a0473686f7012100102030405060708090a0b0c0d0e0f101a0608f40310ed02\
     22138201100a0473686f70120508ac02100218f40322108a010d0a0473686f70120508ac021002220c920109080710fbd8c1a28c342214\
     9a011108fbd8c1a28c341204616e6e611a026f6b",
    "09888877776666555510810118fbd8c1a28c343a020a00",
    "09888877776666555510810118fbd8c1a28c343a7212700a08726f746174652d31125e0802100318012207777261707065642a20612070\
     75626c6963206b6579206f66207468697274792d74776f20627974657330fbd8c1a28c3438fbd8c1a28c34421d7370696666653a2f2f65\
     78616d706c652f6f70657261746f722f616e6e188088b2a002",
];
