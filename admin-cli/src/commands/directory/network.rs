//! `network list`, `network get`.

use super::{Kind, Verb, read, yes_no};
use crate::{
    failure::Failure,
    output::{Sheet, listed},
    records::{Network, ReversalPolicy},
    session::Session,
};

const KIND: Kind<Network> = Kind {
    name: "NetworkList",
    noun: "network",
    columns: &["NETWORK", "ENABLED", "TIMER MS", "IN FLIGHT MS", "REVERSALS", "FAILOVER"],
    id: |network| &network.network_id,
    row: |network| {
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
    },
};

pub(in crate::commands) async fn carry_out(session: &Session, verb: &Verb) -> Result<Sheet, Failure> {
    let records = read(session).await?.networks.into_iter().map(Network::from).collect();
    KIND.sheet(records, verb)
}
