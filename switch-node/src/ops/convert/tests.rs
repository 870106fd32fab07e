use switch_domain::{
    authorization::Credentials,
    card::{CardReference, CardToken, Truncated},
    id::{LeaderId, Owner, RequestId, Rrn, Stan, TransactionId},
    money::Amount,
    outcome::{AnswerText, Decision, Sent, Told},
    table::{OwedKind, OwedRow},
    time::LogTime,
    transaction::{
        Attempt, AttemptState, CaptureMode, Confirmation, EntryMode, Fingerprint, Lane, LaneState, Merchant, Method,
        Operation, ProposedResolution, Reversal, ReversalReason, SeenApproval, Transaction, WireIdentity,
    },
};
use switch_proto::operator::v1::directory_change::Change as Wire;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::*;

fn gateway_wire() -> pb::Gateway {
    pb::Gateway {
        gateway_id: "shop".into(),
        principals: vec!["spiffe://example.org/gateway/shop".into()],
        enabled: true,
        merchants: vec![pb::MerchantGrant {
            merchant_id: "SHOP-1".into(),
            terminal_ids: vec!["T1".into(), "T2".into()],
            acquirer_id: "400100".into(),
            enabled: true,
        }],
        limits: vec![pb::Limit {
            currency_code: "EUR".into(),
            per_operation_minor_units: 100_000,
            per_day_minor_units: 0,
        }],
        requests_per_second: 200,
        burst: 400,
        concurrent: 1_000,
        require_sealed: true,
    }
}

fn network_wire() -> pb::Network {
    pb::Network {
        network_id: "first".into(),
        enabled: true,
        attempt_timeout_ms: 1000,
        in_flight_max_ms: 2000,
        reversal_policy: pb::ReversalPolicy::Never.into(),
        repeat_after_ms: 200,
        repeat_budget_ms: 3_600_000,
        doubt_count_max: 5,
        doubt_minor_units_max: 7,
        acknowledgement_proves_match: true,
        failover_codes: vec!["91".into(), "96".into()],
        valid_days: 30,
        capture_tolerance_basis_points: [("5812".to_owned(), 2000), ("*".to_owned(), 0)].into(),
        release_expired: true,
        reversal_has_own_trace_number: true,
        refund_days: 365,
    }
}

fn link_wire() -> pb::Link {
    pb::Link {
        link_id: "first-1".into(),
        network_id: "first".into(),
        address: "adapter.example.org:7443".into(),
        server_name: "adapter.example.org".into(),
        enabled: true,
        in_flight_max: 4096,
        exclusive: true,
        institution_id: "400100".into(),
    }
}

fn route_wire() -> pb::Route {
    pb::Route {
        route_id: "cards-9".into(),
        range_low: "95".into(),
        range_high: "9599".into(),
        currency_codes: vec!["EUR".into(), "JPY".into()],
        amount_min_minor_units: 1,
        amount_max_minor_units: 50,
        priority: 3,
        network_id: "first".into(),
        enabled: true,
        luhn: true,
    }
}

fn read(change: Wire) -> Result<Change, FieldFault> {
    let mut read = changes(vec![pb::DirectoryChange { change: Some(change) }])?;
    Ok(read.remove(0))
}

/// Field and fault of a change that cannot be read.
fn wrong(change: Wire) -> (String, Fault) {
    let FieldFault { field, fault } = read(change).expect_err("a fault");
    (field, fault)
}

#[test]
fn a_directory_survives_the_way_there_and_back() {
    let wire = pb::Directory {
        version: 12,
        gateways: vec![gateway_wire()],
        networks: vec![network_wire()],
        links: vec![link_wire()],
        // The canonical digits: the fill of a bound is not written.
        routes: vec![pb::Route { range_high: "95".into(), ..route_wire() }],
        retention_days: 200,
    };
    let domain = read_directory(wire.clone()).expect("a directory");
    assert_eq!(directory(&domain), wire);
    assert_eq!(read_directory(directory(&domain)), Ok(domain.clone()));
    for gateway in domain.gateways.into_values() {
        let put = Change::PutGateway(gateway);
        assert_eq!(change_record(&put).change.map(read), Some(Ok(put)));
    }
}

#[test]
fn zero_stands_for_what_the_contract_names() {
    let bare = pb::Network { network_id: "first".into(), attempt_timeout_ms: 1000, ..pb::Network::default() };
    let Ok(Change::PutNetwork(network)) = read(Wire::PutNetwork(bare)) else { panic!("a network") };
    assert_eq!((network.doubt_count_max, network.valid_days), (100_000, 7));
    assert_eq!((network.reversal_policy, network.doubt_amount_max), (ReversalPolicy::Always, Amount::ZERO));
    assert_eq!(
        (network.repeat_after_ms, network.repeat_budget_ms),
        (REPEAT_AFTER_MS_DEFAULT, REPEAT_BUDGET_MS_DEFAULT)
    );
    let unbounded = pb::Route { amount_max_minor_units: 0, ..route_wire() };
    let Ok(Change::PutRoute(route)) = read(Wire::PutRoute(unbounded)) else { panic!("a route") };
    assert_eq!(route.amount_max, None);
}

#[test]
fn the_bounds_of_a_range_are_written_as_short_as_they_can_be() {
    let canonical = |low: &str, high: &str| {
        let put = pb::Route { range_low: low.into(), range_high: high.into(), ..route_wire() };
        let Ok(Change::PutRoute(route)) = read(Wire::PutRoute(put)) else { panic!("a route") };
        let written = directory(&Directory { routes: [(route.id.clone(), route)].into(), ..Directory::default() });
        (written.routes[0].range_low.clone(), written.routes[0].range_high.clone())
    };
    let pair = |low: &str, high: &str| (low.to_owned(), high.to_owned());
    assert_eq!(canonical("4", "4"), pair("4", "4"));
    assert_eq!(canonical("400", "4999"), pair("4", "4"));
    assert_eq!(canonical("0", "9"), pair("0", "9"));
    assert_eq!(canonical("000", "0"), pair("0", "0"));
    assert_eq!(canonical("5100", "5590"), pair("51", "5590"));
    let (nineteen_zeros, nineteen_nines) = ("0".repeat(19), "9".repeat(19));
    assert_eq!(canonical(&nineteen_zeros, &nineteen_nines), pair("0", "9"));
    assert_eq!(canonical(&nineteen_nines, &nineteen_nines), (nineteen_nines, "9".to_owned()));
}

#[test]
fn every_field_of_a_change_is_checked() {
    let out = |value, least, greatest| Fault::OutOfRange { value, least, greatest };
    let greatest = 10_i64.pow(12) - 1;
    let gateway = |change: fn(&mut pb::Gateway)| {
        let mut put = gateway_wire();
        change(&mut put);
        Wire::PutGateway(put)
    };
    let network = |change: fn(&mut pb::Network)| {
        let mut put = network_wire();
        change(&mut put);
        Wire::PutNetwork(put)
    };
    let link = |change: fn(&mut pb::Link)| {
        let mut put = link_wire();
        change(&mut put);
        Wire::PutLink(put)
    };
    let route = |change: fn(&mut pb::Route)| {
        let mut put = route_wire();
        change(&mut put);
        Wire::PutRoute(put)
    };
    let characters = || Fault::Malformed("free of characters that are not allowed");
    let host = || Fault::Malformed("host:port");
    let cases = [
        (gateway(|r| r.gateway_id.clear()), "put_gateway.gateway_id", Fault::Missing),
        (gateway(|r| r.gateway_id = "x".repeat(65)), "put_gateway.gateway_id", Fault::TooLong(64)),
        (gateway(|r| r.gateway_id = "Shop".into()), "put_gateway.gateway_id", characters()),
        (gateway(|r| r.principals[0].clear()), "put_gateway.principals[0]", Fault::Missing),
        (
            gateway(|r| r.principals[0] = "https://example.org/x".into()),
            "put_gateway.principals[0]",
            Fault::Malformed("a SPIFFE id"),
        ),
        (
            gateway(|r| r.principals[0] = "spiffe://example.org/".into()),
            "put_gateway.principals[0]",
            Fault::Malformed("a SPIFFE id"),
        ),
        (gateway(|r| r.principals.push(r.principals[0].clone())), "put_gateway.principals[1]", Fault::Repeated),
        (
            gateway(|r| r.merchants[0].merchant_id = "x".repeat(16)),
            "put_gateway.merchants[0].merchant_id",
            Fault::TooLong(15),
        ),
        (gateway(|r| r.merchants.push(r.merchants[0].clone())), "put_gateway.merchants[1]", Fault::Repeated),
        (
            gateway(|r| r.merchants[0].terminal_ids[1] = "a b".into()),
            "put_gateway.merchants[0].terminal_ids[1]",
            characters(),
        ),
        (
            gateway(|r| r.merchants[0].acquirer_id = "x".repeat(12)),
            "put_gateway.merchants[0].acquirer_id",
            Fault::TooLong(11),
        ),
        (
            gateway(|r| r.merchants[0].acquirer_id = "40a".into()),
            "put_gateway.merchants[0].acquirer_id",
            Fault::Malformed("digits"),
        ),
        (
            gateway(|r| r.limits[0].currency_code = "eur".into()),
            "put_gateway.limits[0].currency_code",
            Fault::UnknownCurrency,
        ),
        (
            gateway(|r| r.limits[0].per_day_minor_units = -1),
            "put_gateway.limits[0].per_day_minor_units",
            out(-1, 0, greatest),
        ),
        (gateway(|r| r.limits.push(r.limits[0].clone())), "put_gateway.limits[1]", Fault::Repeated),
        (gateway(|r| r.requests_per_second = 100_001), "put_gateway.requests_per_second", out(100_001, 0, 100_000)),
        (gateway(|r| r.burst = 1_000_001), "put_gateway.burst", out(1_000_001, 0, 1_000_000)),
        (gateway(|r| r.requests_per_second = 0), "put_gateway.burst", out(400, 0, 0)),
        (gateway(|r| r.concurrent = 16_385), "put_gateway.concurrent", out(16_385, 0, 16_384)),
        (network(|r| r.network_id = "x".repeat(33)), "put_network.network_id", Fault::TooLong(32)),
        (network(|r| r.attempt_timeout_ms = 0), "put_network.attempt_timeout_ms", out(0, 100, 60_000)),
        (network(|r| r.attempt_timeout_ms = 60_001), "put_network.attempt_timeout_ms", out(60_001, 100, 60_000)),
        (network(|r| r.in_flight_max_ms = 86_400_001), "put_network.in_flight_max_ms", out(86_400_001, 0, 86_400_000)),
        (
            network(|r| r.reversal_policy = 9),
            "put_network.reversal_policy",
            Fault::Malformed("a policy that this switch knows"),
        ),
        (network(|r| r.repeat_after_ms = 1), "put_network.repeat_after_ms", out(1, 10, 86_400_000)),
        (
            network(|r| r.doubt_minor_units_max = 10_i64.pow(12)),
            "put_network.doubt_minor_units_max",
            out(greatest + 1, 0, greatest),
        ),
        (
            network(|r| r.failover_codes[1] = "9".into()),
            "put_network.failover_codes[1]",
            Fault::Malformed("a response code of two letters or digits"),
        ),
        (network(|r| r.failover_codes[1] = "91".into()), "put_network.failover_codes[1]", Fault::Repeated),
        (network(|r| r.valid_days = 367), "put_network.valid_days", out(367, 1, 366)),
        (
            network(|r| r.capture_tolerance_basis_points = [("58".to_owned(), 1)].into()),
            "put_network.capture_tolerance_basis_points",
            Fault::Malformed("keyed by merchant category codes of four digits, or *"),
        ),
        (
            network(|r| r.capture_tolerance_basis_points = [("*".to_owned(), 10_001)].into()),
            "put_network.capture_tolerance_basis_points",
            out(10_001, 0, 10_000),
        ),
        (link(|r| r.link_id.clear()), "put_link.link_id", Fault::Missing),
        (link(|r| r.network_id.clear()), "put_link.network_id", Fault::Missing),
        (link(|r| r.address.clear()), "put_link.address", Fault::Missing),
        (link(|r| r.address = "adapter".into()), "put_link.address", host()),
        (link(|r| r.address = "adapter:0".into()), "put_link.address", host()),
        (link(|r| r.address = "adapter:65536".into()), "put_link.address", host()),
        (link(|r| r.address = "::1:7443".into()), "put_link.address", host()),
        (link(|r| r.address = "a b:1".into()), "put_link.address", Fault::Malformed("a host name or address")),
        (link(|r| r.server_name.clear()), "put_link.server_name", Fault::Missing),
        (link(|r| r.in_flight_max = 0), "put_link.in_flight_max", out(0, 1, 10_000)),
        (link(|r| r.in_flight_max = 10_001), "put_link.in_flight_max", out(10_001, 1, 10_000)),
        (link(|r| r.institution_id = "x".into()), "put_link.institution_id", Fault::Malformed("digits")),
        (route(|r| r.route_id.clear()), "put_route.route_id", Fault::Missing),
        (route(|r| r.range_low.clear()), "put_route.range_low", Fault::Missing),
        (route(|r| r.range_low = "4x".into()), "put_route.range_low", Fault::Malformed("1 to 19 digits")),
        (route(|r| r.range_high = "9".repeat(20)), "put_route.range_high", Fault::Malformed("1 to 19 digits")),
        (route(|r| r.range_high = "94".into()), "put_route.range_high", Fault::Malformed("at or above range_low")),
        (route(|r| r.currency_codes[1] = "EUR".into()), "put_route.currency_codes[1]", Fault::Repeated),
        (route(|r| r.currency_codes[1].clear()), "put_route.currency_codes[1]", Fault::Missing),
        (route(|r| r.amount_min_minor_units = -5), "put_route.amount_min_minor_units", out(-5, 0, greatest)),
        (
            route(|r| r.amount_min_minor_units = 51),
            "put_route.amount_max_minor_units",
            Fault::Malformed("at or above amount_min_minor_units"),
        ),
        (route(|r| r.network_id = "Upper".into()), "put_route.network_id", characters()),
        (Wire::RemoveGateway(String::new()), "remove_gateway", Fault::Missing),
        (Wire::RemoveNetwork("A".into()), "remove_network", characters()),
        (Wire::RemoveLink(String::new()), "remove_link", Fault::Missing),
        (Wire::RemoveRoute(String::new()), "remove_route", Fault::Missing),
    ];
    for (change, field, fault) in cases {
        assert_eq!(wrong(change), (format!("changes[0].{field}"), fault));
    }
    let none = FieldFault { field: "changes".into(), fault: Fault::Missing };
    assert_eq!(changes(vec![]), Err(none));
    let empty = FieldFault { field: "changes[0]".into(), fault: Fault::Missing };
    assert_eq!(changes(vec![pb::DirectoryChange { change: None }]), Err(empty));
    let many = vec![pb::DirectoryChange { change: None }; 1001];
    let too_many = Fault::TooMany { count: 1001, count_max: 1000 };
    assert_eq!(changes(many), Err(FieldFault { field: "changes".into(), fault: too_many }));
}

#[test]
fn ipv6_and_removals_are_read() {
    let Ok(Change::PutLink(link)) = read(Wire::PutLink(pb::Link { address: "[::1]:7443".into(), ..link_wire() }))
    else {
        panic!("a link")
    };
    assert_eq!(link.address, "[::1]:7443");
    assert_eq!(
        read(Wire::RemoveLink("a".into())),
        LinkId::parse("a").map(Change::RemoveLink).map_err(|_| unreachable!())
    );
}

#[test]
fn a_fault_is_told_with_its_field_and_its_values() {
    let fault = FieldFault {
        field: "changes[0].put_link.in_flight_max".into(),
        fault: Fault::OutOfRange { value: 0, least: 1, greatest: 10_000 },
    };
    let status = fault.refused().status();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.message(), "changes[0].put_link.in_flight_max is 0, allowed is 1 to 10000");
    let details = status.get_error_details();
    let info = details.error_info().expect("always there");
    assert_eq!(info.reason, "FIELD_OUT_OF_RANGE");
    let of = |key: &str| info.metadata.get(key).map(String::as_str);
    assert_eq!((of("value"), of("least"), of("greatest")), (Some("0"), Some("1"), Some("10000")));
    let named = details.bad_request().map(|bad| bad.field_violations[0].field.as_str());
    assert_eq!(named, Some("changes[0].put_link.in_flight_max"));
}

fn lane(state: LaneState) -> Lane {
    Lane {
        identity: identity(),
        generation: 0,
        state,
        since: LogTime(5),
        maker: LeaderId::default(),
        doubted_once: false,
        resolution: None,
        amount: amount(100),
    }
}

fn identity() -> WireIdentity {
    WireIdentity { stan: Stan::FIRST, rrn: Rrn::of(7), transmission: LogTime(0).transmission() }
}

fn amount(minor_units: i64) -> Amount {
    Amount::parse(minor_units).expect("an amount")
}

/// Timed out, approved too late for 90 of 100, and reversed.
fn late() -> Transaction {
    let text = AnswerText::of;
    let Ok(Change::PutNetwork(network)) = read(Wire::PutNetwork(network_wire())) else { panic!("a network") };
    let attempt = Attempt {
        network: network.id.clone(),
        link: LinkId::parse("first-1").expect("an id"),
        route: None,
        identity: identity(),
        terms: network.terms("5812"),
        deadline: LogTime(1),
        owner: Owner { node: 1, boot: 1, term: 1 },
        state: AttemptState::TimedOut,
        response_code: None,
        approvals: vec![SeenApproval {
            approval_code: text("A1", 6),
            network_transaction_id: text("", 64),
            amount: Some(amount(90)),
        }],
        late_approval: true,
        conflicting_answer: false,
        reversal: Some(Reversal {
            reason: ReversalReason::Timeout,
            approved: Some(amount(90)),
            lane: lane(LaneState::Pending),
            approvals_reversed: 1,
            superseded: vec![],
            passed_over: vec![],
        }),
        opened: Position { index: 8, place: 1 },
    };
    let operation = Operation {
        request_id: RequestId::parse("order-1").expect("a key"),
        method: Method::Authorize,
        amount: amount(100),
        fingerprint: Fingerprint { key_version: 1, digest: [0; 16] },
        accepted: LogTime(3),
        final_capture: false,
        partial_supported: false,
        void_requested: false,
        day_reserved: Amount::ZERO,
        attempts: vec![attempt],
        advice: None,
        told: Some(Told::by_switch(Decision::TimedOut, Sent::Unknown, Position { index: 9, place: 2 })),
        day_limited: false,
    };
    Transaction {
        id: TransactionId::from_number(77),
        gateway: GatewayId::parse("shop").expect("an id"),
        revision: 4,
        created: LogTime(1),
        changed: LogTime(2),
        currency: Currency::parse("EUR").expect("euro"),
        capture_mode: CaptureMode::Manual,
        entry_mode: EntryMode::Manual,
        merchant: Merchant {
            id: MerchantId::parse("SHOP-1").expect("an id"),
            terminal: TerminalId::parse("T1").expect("an id"),
            category: text("5812", 4),
            name: text("", 25),
            city: text("", 13),
            country: text("LV", 2),
            acquirer: text("400100", 11),
        },
        card: CardReference {
            bin: Truncated::parse("990000").expect("digits"),
            last4: Truncated::parse("4711").expect("digits"),
            token: CardToken([0xab; 16]),
            sealed: None,
        },
        credentials: Credentials::default(),
        merchant_reference: text("", 64),
        network_transaction_id: text("", 64),
        directory_version: 1,
        valid_until: LogTime(0),
        expired: false,
        operations: vec![operation],
    }
}

fn wire_id() -> AttemptRef {
    let transaction = late();
    AttemptRef { gateway: transaction.gateway.clone(), id: transaction.attempt_id(0, 1) }
}

#[test]
fn a_record_holds_what_auditors_join_and_no_card_data() {
    let record = transaction_record(&late());
    let expected = pb::TransactionRecord {
        gateway_id: "shop".into(),
        transaction_id: late().id.to_string(),
        currency_code: "EUR".into(),
        operations: vec![pb::OperationRecord {
            request_id: "order-1".into(),
            method: "AUTHORIZE".into(),
            amount_minor_units: 100,
            decision: "TIMED_OUT".into(),
            approved_minor_units: 0,
            approval_code: String::new(),
            journal_index: 9,
            journal_position: 2,
            attempts: vec![pb::AttemptRecord {
                attempt_id: wire_id().to_string(),
                network_id: "first".into(),
                state: "TIMED_OUT".into(),
                response_code: String::new(),
                approved_minor_units: 90,
                reversal_state: "PENDING".into(),
                reversed_minor_units: 90,
                system_trace_audit_number: 1,
                late_approval: true,
                opened_index: 8,
            }],
            network_state: String::new(),
        }],
        authorized_minor_units: 0,
        captured_minor_units: 0,
        refunded_minor_units: 0,
        held_minor_units: 0,
        revision: 4,
        status: "TIMED_OUT".into(),
        created_unix_ms: 1,
        merchant_id: late().merchant.id.to_string(),
    };
    assert_eq!(record, expected);
    let shown = format!("{record:?}");
    assert!(!shown.contains("990000") && !shown.contains("4711") && !shown.contains("abab"), "{shown}");
}

#[test]
fn what_is_owed_is_told_with_its_amount() {
    let row = |kind, parked| OwedRow { attempt: wire_id(), kind, parked, time: LogTime(5) };
    let link = LinkId::parse("first-1").expect("an id");
    let expected = pb::OwedMessage {
        gateway_id: "shop".into(),
        transaction_id: late().id.to_string(),
        attempt_id: wire_id().to_string(),
        link_id: "first-1".into(),
        kind: "reversal".into(),
        state: "PARKED".into(),
        amount_minor_units: 100,
        currency_code: "EUR".into(),
        since_unix_ms: 5,
        proposed: None,
    };
    assert_eq!(owed_message(&link, &row(OwedKind::Reversal, true), &late(), LogTime(9)), Some(expected));
    for kind in [OwedKind::Attempt, OwedKind::Held, OwedKind::Advice] {
        assert_eq!(owed_message(&link, &row(kind, false), &late(), LogTime(9)), None);
    }
}

#[test]
fn r25_a_proposal_is_listed_until_it_is_confirmed_or_expires() {
    let row = OwedRow { attempt: wire_id(), kind: OwedKind::Reversal, parked: true, time: LogTime(5) };
    let link = LinkId::parse("first-1").expect("an id");
    let mut transaction = late();
    let mut listed = |confirmed, now| {
        let (position, evidence) = (Position { index: 812, place: 3 }, "line 17".to_owned());
        let (author, resolution) = ("spiffe://example.org/operator/ann".to_owned(), Resolution::Stands);
        let proposed = ProposedResolution { position, since: LogTime(7), resolution, author, evidence, confirmed };
        for attempt in transaction.operations.iter_mut().flat_map(|operation| &mut operation.attempts) {
            if let Some(reversal) = &mut attempt.reversal {
                reversal.lane.resolution = Some(Box::new(proposed.clone()));
            }
        }
        owed_message(&link, &row, &transaction, LogTime(now)).expect("it is owed").proposed
    };
    let last = 7 + limits::RESOLUTION_OPEN_MS;
    let expected = pb::ProposedResolution {
        proposal_id: "812.3".into(),
        resolution: pb::Resolution::Stands.into(),
        author: "spiffe://example.org/operator/ann".into(),
        evidence: "line 17".into(),
        since_unix_ms: 7,
        expires_unix_ms: i64::try_from(last).expect("a time"),
    };
    assert_eq!(listed(None, last - 1), Some(expected));
    assert_eq!(listed(None, last), None);
    let confirmed = Confirmation { author: "spiffe://example.org/operator/bo".into(), time: LogTime(8) };
    assert_eq!(listed(Some(confirmed), 9), None);
}

#[test]
fn r25_a_proposal_is_named_by_its_entry() {
    let author = "spiffe://example.org/operator/bo";
    let named = |proposal: &str| word(author, "shop", &wire_id().to_string(), proposal);
    let read = named("812.3").expect("a proposal");
    assert_eq!((read.attempt, read.proposal, &*read.author), (wire_id(), Position { index: 812, place: 3 }, author));
    assert_eq!(named(&proposal_id(read.proposal)).expect("a proposal").proposal, read.proposal);
    let refused = |proposal| named(proposal).map_err(|fault| (fault.field, fault.fault)).expect_err("a fault");
    assert_eq!(refused(""), ("proposal_id".to_owned(), Fault::Missing));
    for nonsense in ["812", ".", "812.", ".3", "812.x", "-1.0", "812.4294967296"] {
        assert_eq!(
            refused(nonsense),
            ("proposal_id".to_owned(), Fault::Malformed("a proposal as the list shows it")),
            "{nonsense}"
        );
    }
}

#[test]
fn r25_a_parked_item_is_closed_with_evidence() {
    let request = || pb::ResolveReversalRequest {
        gateway_id: "shop".into(),
        attempt_id: wire_id().to_string(),
        resolution: pb::Resolution::Stands.into(),
        evidence: "settlement file of the first, line 17".into(),
    };
    let author = "spiffe://example.org/operator/ann";
    let resolved = resolve(author, request()).expect("a resolution");
    assert_eq!((resolved.attempt, resolved.resolution, &*resolved.author), (wire_id(), Resolution::Stands, author));
    let refused = |request| resolve(author, request).map_err(|fault| (fault.field, fault.fault)).expect_err("a fault");
    let field = |field: &str, fault| (field.to_owned(), fault);
    let wrong = |change: fn(&mut pb::ResolveReversalRequest)| {
        let mut request = request();
        change(&mut request);
        refused(request)
    };
    assert_eq!(wrong(|r| r.resolution = 0), field("resolution", Fault::Missing));
    assert_eq!(
        wrong(|r| r.resolution = 7),
        field("resolution", Fault::Malformed("a resolution that this switch knows"))
    );
    assert_eq!(wrong(|r| r.evidence = " ".into()), field("evidence", Fault::Missing));
    assert_eq!(wrong(|r| r.evidence = "x".repeat(1001)), field("evidence", Fault::TooLong(1000)));
    let with_number = |n: usize| format!("card {n}{}", "0".repeat(14));
    let luhn = (10..100).map(with_number).find(|text| holds_card_number(text)).expect("one in ten");
    let evidence = pb::ResolveReversalRequest { evidence: luhn, ..request() };
    assert_eq!(refused(evidence), field("evidence", Fault::Malformed("free of card numbers")));
    assert_eq!(wrong(|r| r.attempt_id.clear()), field("attempt_id", Fault::Missing));
    assert_eq!(wrong(|r| r.attempt_id = "x".into()), field("attempt_id", Fault::Malformed("an id of its kind")));
    assert_eq!(
        wrong(|r| r.gateway_id = "market".into()),
        field("attempt_id", Fault::Malformed("an attempt of this gateway"))
    );
}

#[test]
fn r8_an_operator_accepts_a_clock_that_was_seen_and_says_why() {
    const WALL: u64 = 1_772_352_000_000;
    let accept = |seen_wall_unix_ms, reason: &str| {
        let request = pb::AcceptClockRequest { seen_wall_unix_ms, reason: reason.into() };
        clock_acceptance("spiffe://example/operator/anna".into(), request, LogTime(WALL))
    };
    let wall = i64::try_from(WALL).expect("a time");
    let accepted = accept(wall - 3_600_000, "the hall was dark").expect("an acceptance");
    assert_eq!((accepted.wall, accepted.reason.as_str()), (LogTime(WALL), "the hall was dark"));
    for (seen, reason, field) in [
        (0, "dark", "seen_wall_unix_ms"),
        (-1, "dark", "seen_wall_unix_ms"),
        (wall - 3_600_001, "dark", "seen_wall_unix_ms"),
        (wall, " ", "reason"),
    ] {
        assert_eq!(accept(seen, reason).expect_err("refused").field, field, "{seen} {reason}");
    }
}
