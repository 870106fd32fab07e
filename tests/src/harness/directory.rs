//! What the operators of a test cluster have decided: two networks, two gateways, and which card goes where.

use std::time::Duration;

use switch_proto::operator::v1::{self as pb, directory_change::Change};

use crate::pki::Pki;

/// How patient switch and networks are with each other. Short, so that suites that wait for time-outs are quick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How long the switch waits for an answer.
    pub attempt_timeout: Duration,
    /// How long after that a message may still be under way.
    pub in_flight_max: Duration,
    /// First pause before a reversal is repeated.
    pub repeat_after: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            attempt_timeout: Duration::from_millis(1000),
            in_flight_max: Duration::from_millis(1000),
            repeat_after: Duration::from_millis(200),
        }
    }
}

impl Timing {
    /// How late a late answer of the sandbox is: after the time-out, within what the network promises.
    pub fn late(&self) -> Duration {
        self.attempt_timeout + self.in_flight_max / 2
    }

    /// The deadline of a gateway's call: the timer, two seconds (R3), and room for a leader that is gone.
    pub fn call(&self) -> Duration {
        self.attempt_timeout + Duration::from_secs(4)
    }
}

/// Gateways of the default directory.
pub const GATEWAYS: [&str; 2] = ["shop", "market"];

/// Merchants assigned to a gateway.
pub fn merchants_of(gateway: &str) -> Vec<String> {
    (1..=3).map(|number| format!("{}-{number}", gateway.to_uppercase())).collect()
}

/// The directory that a cluster starts with. `networks` are names with the addresses and TLS names of their adapters.
pub(super) fn default(pki: &Pki, networks: &[(String, String, String)], timing: Timing) -> pb::Directory {
    pb::Directory {
        version: 0,
        gateways: GATEWAYS.iter().map(|name| gateway(pki, name)).collect(),
        networks: networks.iter().map(|(name, ..)| network(name, timing)).collect(),
        links: networks.iter().map(|(name, address, host)| link(name, address, host)).collect(),
        routes: routes(networks),
        retention_days: 0,
    }
}

fn gateway(pki: &Pki, name: &str) -> pb::Gateway {
    let merchants = merchants_of(name).into_iter().map(|merchant_id| pb::MerchantGrant {
        merchant_id,
        terminal_ids: Vec::new(),
        acquirer_id: "400100".to_owned(),
        enabled: true,
    });
    pb::Gateway {
        gateway_id: name.to_owned(),
        principals: vec![pki.gateway_uri(name)],
        enabled: true,
        merchants: merchants.collect(),
        ..pb::Gateway::default()
    }
}

fn network(name: &str, timing: Timing) -> pb::Network {
    let ms = |duration: Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
    pb::Network {
        network_id: name.to_owned(),
        enabled: true,
        attempt_timeout_ms: ms(timing.attempt_timeout),
        in_flight_max_ms: ms(timing.in_flight_max),
        reversal_policy: pb::ReversalPolicy::Always.into(),
        repeat_after_ms: ms(timing.repeat_after),
        // Long enough that no outage of a suite parks anything.
        repeat_budget_ms: 3_600_000,
        acknowledgement_proves_match: true,
        failover_codes: ["91", "92", "96"].map(str::to_owned).to_vec(),
        ..pb::Network::default()
    }
}

fn link(name: &str, address: &str, host: &str) -> pb::Link {
    pb::Link {
        link_id: format!("{name}-1"),
        network_id: name.to_owned(),
        address: address.to_owned(),
        server_name: host.to_owned(),
        enabled: true,
        in_flight_max: 4096,
        exclusive: false,
        institution_id: "400100".to_owned(),
    }
}

/// The first network takes cards that begin with 3 and 4, the second those with 2, 5 and 6; dollars and yen on cards with
/// 4 go to the second first. Each range falls back to the other network.
fn routes(networks: &[(String, String, String)]) -> Vec<pb::Route> {
    let Some((first, ..)) = networks.first() else { return Vec::new() };
    let second = networks.get(1).map_or(first, |(name, ..)| name);
    let mut routes = vec![pb::Route {
        currency_codes: ["USD", "JPY"].map(str::to_owned).to_vec(),
        ..route("4-dollar", "4", 0, second)
    }];
    for (range, preferred, other) in
        [("2", second, first), ("3", first, second), ("4", first, second), ("5", second, first), ("6", second, first)]
    {
        routes.push(route(range, range, 1, preferred));
        if preferred != other {
            routes.push(route(&format!("{range}-back"), range, 2, other));
        }
    }
    routes
}

fn route(id: &str, range: &str, priority: u32, network: &str) -> pb::Route {
    pb::Route {
        route_id: format!("cards-{id}"),
        range_low: range.to_owned(),
        range_high: range.to_owned(),
        priority,
        network_id: network.to_owned(),
        enabled: true,
        luhn: true,
        ..pb::Route::default()
    }
}

/// A whole directory as changes: what is named stands before what names it.
pub(super) fn changes(directory: pb::Directory) -> Vec<pb::DirectoryChange> {
    let networks = directory.networks.into_iter().map(Change::PutNetwork);
    let links = directory.links.into_iter().map(Change::PutLink);
    let gateways = directory.gateways.into_iter().map(Change::PutGateway);
    let routes = directory.routes.into_iter().map(Change::PutRoute);
    let all = networks.chain(links).chain(gateways).chain(routes);
    all.map(|change| pb::DirectoryChange { change: Some(change) }).collect()
}
