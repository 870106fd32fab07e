//! Answers of `route explain`; those of routes as records are the directory's.

use switch_proto::operator::v1::{ExplainRouteResponse, RouteStep};

use super::explain;
use crate::commands::samples::Sample;

pub(in crate::commands) fn all() -> Vec<Sample> {
    let step = |route_id: &str, network_id: &str, link_id: &str, passed_over: &str| RouteStep {
        route_id: route_id.into(),
        network_id: network_id.into(),
        link_id: link_id.into(),
        passed_over: passed_over.into(),
    };
    let explained = ExplainRouteResponse {
        steps: vec![step("visa-4", "visa", "visa-1", ""), step("backup", "mastercard", "", "NETWORK_DISABLED")],
        luhn: true,
        directory_version: 12,
    };
    vec![Sample::of("route explain", explain::sheet(&explained))]
}
