//! Answers of `gateway`, `network`, `link` and `route`.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use switch_proto::operator::v1 as pb;

use super::{GATEWAY, Kind, LINK, NETWORK, ROUTE, applied};
use crate::{
    commands::samples::{REQUEST_ID, Sample},
    directory_file::Switch,
    records::Gateway,
};

/// A gateway with limits.
pub(in crate::commands) fn shop() -> Gateway {
    let record = json!({
        "gateway_id": "shop",
        "principals": ["spiffe://switch.example/gateway/shop"],
        "enabled": true,
        "merchants": [
            { "merchant_id": "BOOKS", "terminal_ids": ["T1", "T2"], "acquirer_id": "17", "enabled": true },
            { "merchant_id": "GAMES", "acquirer_id": "17", "enabled": false },
        ],
        "limits": [
            { "currency_code": "EUR", "per_operation_minor_units": 500_000, "per_day_minor_units": 100_000_000 },
            { "currency_code": "SEK", "per_operation_minor_units": 0, "per_day_minor_units": 500_000_000 },
        ],
        "requests_per_second": 200,
        "burst": 400,
        "concurrent": 64,
        "require_sealed": true,
    });
    serde_json::from_value(record).expect("a gateway")
}

fn directory() -> pb::Directory {
    let network = pb::Network {
        network_id: "visa".into(),
        enabled: true,
        attempt_timeout_ms: 8_000,
        in_flight_max_ms: 60_000,
        reversal_policy: pb::ReversalPolicy::Always.into(),
        repeat_after_ms: 10_000,
        repeat_budget_ms: 3_600_000,
        doubt_count_max: 5,
        doubt_minor_units_max: 5_000_000,
        acknowledgement_proves_match: true,
        failover_codes: vec!["91".into(), "92".into()],
        valid_days: 30,
        capture_tolerance_basis_points: [("5812".to_owned(), 2_000)].into(),
        release_expired: true,
        reversal_has_own_trace_number: false,
        refund_days: 365,
    };
    let link = |number: u32, exclusive| pb::Link {
        link_id: format!("visa-{number}"),
        network_id: "visa".into(),
        address: format!("visa-{number}.example:443"),
        server_name: "visa.example".into(),
        enabled: true,
        in_flight_max: 500,
        exclusive,
        institution_id: "4711".into(),
    };
    let route = |route_id: &str, low: &str, high: &str, currency_codes: Vec<String>| pb::Route {
        route_id: route_id.into(),
        range_low: low.into(),
        range_high: high.into(),
        currency_codes,
        amount_min_minor_units: 0,
        amount_max_minor_units: 1_000_000,
        priority: 1,
        network_id: "visa".into(),
        enabled: true,
        luhn: true,
    };
    pb::Directory {
        version: 11,
        gateways: vec![shop().into()],
        networks: vec![network],
        links: vec![link(1, false), link(2, true)],
        routes: vec![route("nordic", "40", "49", vec!["DKK".into(), "SEK".into()]), route("visa-4", "4", "4", vec![])],
        retention_days: 500,
    }
}

fn of<T: Serialize + DeserializeOwned + Clone + Switch>(kind: &Kind<T>) -> Vec<Sample> {
    let named = |verb: &str| format!("{} {verb}", kind.noun);
    let records = (kind.of)(directory());
    let mut samples = vec![
        Sample::of(named("list"), kind.sheet(records.clone())),
        Sample::of(named("get"), kind.sheet(records[..1].to_vec())),
    ];
    let changes = ["set", "remove", "disable", "enable"];
    samples.extend(changes.map(|verb| Sample::of(named(verb), applied(12, REQUEST_ID))));
    samples
}

pub(in crate::commands) fn all() -> Vec<Sample> {
    [of(&GATEWAY), of(&NETWORK), of(&LINK), of(&ROUTE)].into_iter().flatten().collect()
}
