//! What operators decide.

use switch_domain::directory::{
    Change, Directory, DirectoryCommand, Gateway, GatewayLimit, Link, MerchantGrant, Network, Route,
};

use super::{
    CodecFault,
    wire::{
        Field, Kind, Message, Reader, Value, Writer, choices, message_value, messages, read_records, write_records,
    },
};

choices! {
    Change {
        ;
        1 PutGateway, 2 PutNetwork, 3 PutLink, 4 PutRoute, 5 RemoveGateway, 6 RemoveNetwork, 7 RemoveLink, 8 RemoveRoute,
        9 SetRetentionDays,
    }
}

messages! {
    Gateway {
        1 id, 2 principals, 3 enabled, 4 merchants, 5 limits, 6 requests_per_second, 7 burst, 8 concurrent,
        9 require_sealed,
    }
    MerchantGrant { 1 terminals, 2 acquirer, 3 enabled }
    GatewayLimit { 1 per_operation, 2 per_day }
    Network {
        1 id, 2 enabled, 3 attempt_timeout_ms, 4 in_flight_max_ms, 5 reversal_policy, 6 repeat_after_ms,
        7 repeat_budget_ms, 8 doubt_count_max, 9 doubt_amount_max, 10 acknowledgement_proves_match, 11 failover_codes,
        12 valid_days, 13 capture_tolerance, 14 release_expired, 15 reversal_has_own_stan,
        16 refund_days,
    }
    Link { 1 id, 2 network, 3 address, 4 server_name, 5 enabled, 6 in_flight_max, 7 exclusive, 8 institution }
    Route {
        1 id, 2 low, 3 high, 4 currencies, 5 amount_min, 6 amount_max, 7 priority, 8 network, 9 enabled, 10 luhn,
    }
    DirectoryCommand { 1 request_id, 2 author, 3 expected_version, 4 changes }
}

message_value!(Directory {
    |value, to| {
        let Directory { version, gateways, networks, links, routes, retention_days } = value;
        version.write(1, to);
        write_records(gateways, 2, to);
        write_records(networks, 3, to);
        write_records(links, 4, to);
        write_records(routes, 5, to);
        retention_days.write(6, to);
    }
    |from| {
        Ok(Directory {
            version: Field::read(1, from)?,
            gateways: read_records(2, from, |gateway: &Gateway| gateway.id.clone())?,
            networks: read_records(3, from, |network: &Network| network.id.clone())?,
            links: read_records(4, from, |link: &Link| link.id.clone())?,
            routes: read_records(5, from, |route: &Route| route.id.clone())?,
            retention_days: Field::read(6, from)?,
        })
    }
});
