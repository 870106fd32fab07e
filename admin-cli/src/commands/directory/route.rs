//! `route list`, `route get`.

use super::{Kind, Verb, read, yes_no};
use crate::{
    failure::Failure,
    output::{Sheet, listed},
    records::Route,
    session::Session,
};

const KIND: Kind<Route> = Kind {
    name: "RouteList",
    noun: "route",
    columns: &["ROUTE", "FROM", "TO", "CURRENCIES", "PRIORITY", "NETWORK", "ENABLED"],
    id: |route| &route.route_id,
    row: |route| {
        vec![
            route.route_id.clone(),
            route.range_low.clone(),
            route.range_high.clone(),
            listed(&route.currency_codes),
            route.priority.to_string(),
            route.network_id.clone(),
            yes_no(route.enabled),
        ]
    },
};

pub(in crate::commands) async fn carry_out(session: &Session, verb: &Verb) -> Result<Sheet, Failure> {
    let records = read(session).await?.routes.into_iter().map(Route::from).collect();
    KIND.sheet(records, verb)
}
