//! `gateway list`, `gateway get`.

use super::{Kind, Verb, read, yes_no};
use crate::{
    failure::Failure,
    output::{Sheet, listed},
    records::Gateway,
    session::Session,
};

const KIND: Kind<Gateway> = Kind {
    name: "GatewayList",
    noun: "gateway",
    columns: &["GATEWAY", "ENABLED", "MERCHANTS", "LIMITS", "PRINCIPALS"],
    id: |gateway| &gateway.gateway_id,
    row: |gateway| {
        vec![
            gateway.gateway_id.clone(),
            yes_no(gateway.enabled),
            gateway.merchants.len().to_string(),
            gateway.limits.len().to_string(),
            listed(&gateway.principals),
        ]
    },
};

pub(in crate::commands) async fn carry_out(session: &Session, verb: &Verb) -> Result<Sheet, Failure> {
    let records = read(session).await?.gateways.into_iter().map(Gateway::from).collect();
    KIND.sheet(records, verb)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    fn gateway(id: &str) -> Gateway {
        let principals = vec![format!("spiffe://switch.test/gateway/{id}")];
        Gateway { gateway_id: id.to_owned(), principals, enabled: true, merchants: Vec::new(), limits: Vec::new() }
    }

    #[test]
    fn one_is_shown_by_its_id_and_a_missing_one_is_not_found() {
        let records = vec![gateway("shop"), gateway("market")];
        let sheet = KIND.sheet(records.clone(), &Verb::Get { id: "market".to_owned() }).expect("is there");
        let expected = "GATEWAY  ENABLED  MERCHANTS  LIMITS  PRINCIPALS\n\
                        market   yes      0          0       spiffe://switch.test/gateway/market\n";
        assert_eq!(sheet.table(), expected);
        let failure = KIND.sheet(records, &Verb::Get { id: "kiosk".to_owned() }).expect_err("is not there");
        assert_eq!(failure.exit, Exit::NotFound);
    }
}
