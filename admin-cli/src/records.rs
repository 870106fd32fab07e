//! Records of the directory as files and JSON have them: the contract's own names, nothing that is not in it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use switch_proto::operator::v1 as pb;

/// A tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gateway {
    pub(crate) gateway_id: String,
    #[serde(default)]
    pub(crate) principals: Vec<String>,
    pub(crate) enabled: bool,
    #[serde(default)]
    pub(crate) merchants: Vec<Merchant>,
    #[serde(default)]
    pub(crate) limits: Vec<Limit>,
    #[serde(default)]
    pub(crate) requests_per_second: u32,
    #[serde(default)]
    pub(crate) burst: u32,
    #[serde(default)]
    pub(crate) concurrent: u32,
    #[serde(default)]
    pub(crate) require_sealed: bool,
}

/// A merchant of a tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Merchant {
    pub(crate) merchant_id: String,
    #[serde(default)]
    pub(crate) terminal_ids: Vec<String>,
    pub(crate) acquirer_id: String,
    pub(crate) enabled: bool,
}

/// A limit on money.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limit {
    pub(crate) currency_code: String,
    #[serde(default)]
    pub(crate) per_operation_minor_units: i64,
    #[serde(default)]
    pub(crate) per_day_minor_units: i64,
}

/// Whether unanswered requests are reversed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum ReversalPolicy {
    #[default]
    Always,
    Never,
}

/// A card network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Network {
    pub(crate) network_id: String,
    pub(crate) enabled: bool,
    pub(crate) attempt_timeout_ms: u32,
    pub(crate) in_flight_max_ms: u32,
    #[serde(default)]
    pub(crate) reversal_policy: ReversalPolicy,
    pub(crate) repeat_after_ms: u32,
    pub(crate) repeat_budget_ms: u32,
    #[serde(default)]
    pub(crate) doubt_count_max: u32,
    #[serde(default)]
    pub(crate) doubt_minor_units_max: i64,
    #[serde(default)]
    pub(crate) acknowledgement_proves_match: bool,
    #[serde(default)]
    pub(crate) failover_codes: Vec<String>,
    #[serde(default)]
    pub(crate) valid_days: u32,
    #[serde(default)]
    pub(crate) capture_tolerance_basis_points: BTreeMap<String, u32>,
    #[serde(default)]
    pub(crate) release_expired: bool,
    #[serde(default)]
    pub(crate) reversal_has_own_trace_number: bool,
    #[serde(default)]
    pub(crate) refund_days: u32,
}

/// A connection to a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Link {
    pub(crate) link_id: String,
    pub(crate) network_id: String,
    pub(crate) address: String,
    pub(crate) server_name: String,
    pub(crate) enabled: bool,
    pub(crate) in_flight_max: u32,
    #[serde(default)]
    pub(crate) exclusive: bool,
    pub(crate) institution_id: String,
}

/// A range of card numbers with a network for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    pub(crate) route_id: String,
    pub(crate) range_low: String,
    pub(crate) range_high: String,
    #[serde(default)]
    pub(crate) currency_codes: Vec<String>,
    #[serde(default)]
    pub(crate) amount_min_minor_units: i64,
    #[serde(default)]
    pub(crate) amount_max_minor_units: i64,
    #[serde(default)]
    pub(crate) priority: u32,
    pub(crate) network_id: String,
    pub(crate) enabled: bool,
    #[serde(default)]
    pub(crate) luhn: bool,
}

/// Both ways between a record and its message, field by field: a field that one of them lacks does not compile.
macro_rules! same_fields {
    ($name:ident, $message:ident { $($field:ident),* } $($own:ident: $to:expr, $from:expr;)*) => {
        impl From<$name> for pb::$message {
            fn from(record: $name) -> Self {
                let $name { $($field,)* $($own,)* } = record;
                Self { $($field,)* $($own: $to($own),)* }
            }
        }

        impl From<pb::$message> for $name {
            fn from(message: pb::$message) -> Self {
                let pb::$message { $($field,)* $($own,)* } = message;
                Self { $($field,)* $($own: $from($own),)* }
            }
        }
    };
}

same_fields!(Merchant, MerchantGrant { merchant_id, terminal_ids, acquirer_id, enabled });
same_fields!(Limit, Limit { currency_code, per_operation_minor_units, per_day_minor_units });
same_fields!(Gateway, Gateway { gateway_id, principals, enabled, requests_per_second, burst, concurrent, require_sealed }
    merchants: all, all;
    limits: all, all;
);
same_fields!(Network, Network {
        network_id, enabled, attempt_timeout_ms, in_flight_max_ms, repeat_after_ms, repeat_budget_ms, doubt_count_max,
        doubt_minor_units_max, acknowledgement_proves_match, failover_codes, valid_days, release_expired,
        reversal_has_own_trace_number, refund_days
    }
    reversal_policy: policy_number, policy_of;
    capture_tolerance_basis_points: pairs, pairs;
);
same_fields!(
    Link,
    Link { link_id, network_id, address, server_name, enabled, in_flight_max, exclusive, institution_id }
);
same_fields!(
    Route,
    Route {
        route_id,
        range_low,
        range_high,
        currency_codes,
        amount_min_minor_units,
        amount_max_minor_units,
        priority,
        network_id,
        enabled,
        luhn
    }
);

fn all<A, B: From<A>>(items: Vec<A>) -> Vec<B> {
    items.into_iter().map(B::from).collect()
}

fn pairs<A: IntoIterator<Item = (String, u32)>, B: FromIterator<(String, u32)>>(items: A) -> B {
    items.into_iter().collect()
}

fn policy_number(policy: ReversalPolicy) -> i32 {
    match policy {
        ReversalPolicy::Always => pb::ReversalPolicy::Always.into(),
        ReversalPolicy::Never => pb::ReversalPolicy::Never.into(),
    }
}

fn policy_of(number: i32) -> ReversalPolicy {
    match pb::ReversalPolicy::try_from(number) {
        Ok(pb::ReversalPolicy::Never) => ReversalPolicy::Never,
        Ok(pb::ReversalPolicy::Always | pb::ReversalPolicy::Unspecified) | Err(_) => ReversalPolicy::Always,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_the_same_there_and_back() {
        let network = Network {
            network_id: "visa".to_owned(),
            enabled: true,
            attempt_timeout_ms: 7_000,
            in_flight_max_ms: 60_000,
            reversal_policy: ReversalPolicy::Never,
            repeat_after_ms: 10_000,
            repeat_budget_ms: 3_600_000,
            doubt_count_max: 5,
            doubt_minor_units_max: 6,
            acknowledgement_proves_match: true,
            failover_codes: vec!["91".to_owned()],
            valid_days: 30,
            capture_tolerance_basis_points: BTreeMap::from([("*".to_owned(), 100), ("5812".to_owned(), 2_000)]),
            release_expired: true,
            reversal_has_own_trace_number: true,
            refund_days: 365,
        };
        assert_eq!(Network::from(pb::Network::from(network.clone())), network);
        let text = serde_json::to_string(&network).expect("JSON");
        assert_eq!(serde_json::from_str::<Network>(&text).expect("the same JSON"), network);
    }
}
