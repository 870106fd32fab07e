//! The four kinds of records.

use super::Kind;
use crate::{
    directory_file::Change,
    output::{listed, or_dash, yes_no},
    records::{Gateway, Limit, Link, Merchant, Network, ReversalPolicy, Route},
};

/// Tenants.
pub(in crate::commands) const GATEWAY: Kind<Gateway> = Kind {
    name: "GatewayList",
    noun: "gateway",
    id_field: "gateway_id",
    columns: &["GATEWAY", "ENABLED", "MERCHANTS", "LIMITS", "PER SECOND", "CONCURRENT", "SEALED", "PRINCIPALS"],
    wide_columns: &[
        "GATEWAY",
        "ENABLED",
        "PER SECOND",
        "BURST",
        "CONCURRENT",
        "SEALED",
        "MERCHANTS",
        "LIMITS",
        "PRINCIPALS",
    ],
    of: |directory| directory.gateways.into_iter().map(Gateway::from).collect(),
    id: |gateway| &gateway.gateway_id,
    row: |gateway| {
        vec![
            gateway.gateway_id.clone(),
            yes_no(gateway.enabled),
            gateway.merchants.len().to_string(),
            gateway.limits.len().to_string(),
            bound(gateway.requests_per_second),
            bound(gateway.concurrent),
            sealed(gateway),
            listed(&gateway.principals),
        ]
    },
    wide_row: |gateway| {
        let merchant = |one: &Merchant| format!("{}{}", one.merchant_id, if one.enabled { "" } else { " (off)" });
        let limit = |one: &Limit| {
            let Limit { currency_code, per_operation_minor_units, per_day_minor_units } = one;
            format!("{currency_code}:{}/{}/day", bound(*per_operation_minor_units), bound(*per_day_minor_units))
        };
        vec![
            gateway.gateway_id.clone(),
            yes_no(gateway.enabled),
            bound(gateway.requests_per_second),
            bound(gateway.burst),
            bound(gateway.concurrent),
            sealed(gateway),
            listed(&gateway.merchants.iter().map(merchant).collect::<Vec<_>>()),
            listed(&gateway.limits.iter().map(limit).collect::<Vec<_>>()),
            listed(&gateway.principals),
        ]
    },
    put: Change::PutGateway,
    remove: Change::RemoveGateway,
};

/// Card networks.
pub(in crate::commands) const NETWORK: Kind<Network> = Kind {
    name: "NetworkList",
    noun: "network",
    id_field: "network_id",
    columns: &["NETWORK", "ENABLED", "TIMER MS", "IN FLIGHT MS", "REVERSALS", "FAILOVER"],
    wide_columns: &[
        "NETWORK",
        "ENABLED",
        "TIMER MS",
        "IN FLIGHT MS",
        "REVERSALS",
        "FAILOVER",
        "REPEAT AFTER MS",
        "REPEAT BUDGET MS",
        "DOUBT MAX",
        "DOUBT MONEY MAX",
        "VALID DAYS",
        "REFUND DAYS",
        "RELEASES EXPIRED",
    ],
    of: |directory| directory.networks.into_iter().map(Network::from).collect(),
    id: |network| &network.network_id,
    row: network_row,
    wide_row: |network| {
        let more = vec![
            network.repeat_after_ms.to_string(),
            network.repeat_budget_ms.to_string(),
            bound(network.doubt_count_max),
            bound(network.doubt_minor_units_max),
            bound(network.valid_days),
            bound(network.refund_days),
            yes_no(network.release_expired),
        ];
        [network_row(network), more].concat()
    },
    put: Change::PutNetwork,
    remove: Change::RemoveNetwork,
};

/// Connections to card networks. How they stand, `cluster status` says.
pub(in crate::commands) const LINK: Kind<Link> = Kind {
    name: "LinkList",
    noun: "link",
    id_field: "link_id",
    columns: &["LINK", "NETWORK", "ENABLED", "ADDRESS", "SERVER NAME", "IN FLIGHT MAX", "EXCLUSIVE"],
    wide_columns: &[
        "LINK",
        "NETWORK",
        "ENABLED",
        "ADDRESS",
        "SERVER NAME",
        "IN FLIGHT MAX",
        "EXCLUSIVE",
        "INSTITUTION",
    ],
    of: |directory| directory.links.into_iter().map(Link::from).collect(),
    id: |link| &link.link_id,
    row: link_row,
    wide_row: |link| [link_row(link), vec![or_dash(&link.institution_id)]].concat(),
    put: Change::PutLink,
    remove: Change::RemoveLink,
};

/// Ranges of card numbers.
pub(in crate::commands) const ROUTE: Kind<Route> = Kind {
    name: "RouteList",
    noun: "route",
    id_field: "route_id",
    columns: &["ROUTE", "FROM", "TO", "CURRENCIES", "PRIORITY", "NETWORK", "ENABLED"],
    wide_columns: &["ROUTE", "FROM", "TO", "CURRENCIES", "PRIORITY", "NETWORK", "ENABLED", "LEAST", "MOST", "LUHN"],
    of: |directory| directory.routes.into_iter().map(Route::from).collect(),
    id: |route| &route.route_id,
    row: route_row,
    wide_row: |route| {
        let more = vec![bound(route.amount_min_minor_units), bound(route.amount_max_minor_units), yes_no(route.luhn)];
        [route_row(route), more].concat()
    },
    put: Change::PutRoute,
    remove: Change::RemoveRoute,
};

fn network_row(network: &Network) -> Vec<String> {
    let reversals = match network.reversal_policy {
        ReversalPolicy::Always => "always",
        ReversalPolicy::Never => "never",
    };
    vec![
        network.network_id.clone(),
        yes_no(network.enabled),
        network.attempt_timeout_ms.to_string(),
        network.in_flight_max_ms.to_string(),
        reversals.to_owned(),
        listed(&network.failover_codes),
    ]
}

fn link_row(link: &Link) -> Vec<String> {
    vec![
        link.link_id.clone(),
        link.network_id.clone(),
        yes_no(link.enabled),
        link.address.clone(),
        link.server_name.clone(),
        link.in_flight_max.to_string(),
        yes_no(link.exclusive),
    ]
}

fn route_row(route: &Route) -> Vec<String> {
    vec![
        route.route_id.clone(),
        route.range_low.clone(),
        route.range_high.clone(),
        listed(&route.currency_codes),
        route.priority.to_string(),
        route.network_id.clone(),
        yes_no(route.enabled),
    ]
}

/// Zero is no bound, or the contract's own.
fn bound(number: impl Into<i64>) -> String {
    match number.into() {
        0 => "-".to_owned(),
        number => number.to_string(),
    }
}

fn sealed(gateway: &Gateway) -> String {
    if gateway.require_sealed { "required" } else { "optional" }.to_owned()
}
