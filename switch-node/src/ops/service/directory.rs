//! The directory.

use switch_domain::{
    directory::DirectoryCommand,
    money::{Amount, Currency},
    route::{PassedOver, range_low},
};
use switch_proto::operator::v1::{self as pb, directory_service_server::DirectoryService};
use tonic::{Code, Request, Response, Status};

use super::{Operators, audit, author, refusals, until, within};
use crate::{door::refusal::refused, ops::convert};

#[tonic::async_trait]
impl DirectoryService for Operators {
    async fn get_directory(
        &self,
        request: Request<pb::GetDirectoryRequest>,
    ) -> Result<Response<pb::GetDirectoryResponse>, Status> {
        let until = until(&request)?;
        within(until, self.current(until)).await?;
        let directory = convert::directory(&self.shared.journal.standing().directory);
        Ok(Response::new(pb::GetDirectoryResponse { directory: Some(directory) }))
    }

    async fn apply_directory(
        &self,
        request: Request<pb::ApplyDirectoryRequest>,
    ) -> Result<Response<pb::ApplyDirectoryResponse>, Status> {
        self.reign()?;
        let (author, until) = (author(&request)?, until(&request)?);
        let pb::ApplyDirectoryRequest { request_id, expected_version, changes } = request.into_inner();
        let request_id = audit::request_id(&request_id, "request_id")?;
        let changes = convert::changes(changes)?;
        tracing::info!(target: "audit", %author, %request_id, changes = changes.len(), "an operator changes the directory");
        // The entry that makes the change puts it into the audit trail, whatever comes of it.
        let command = DirectoryCommand { request_id, author, expected_version, changes };
        let proposed = async {
            let applied = self.shared.journal.propose_directory(command).await;
            applied.map_err(|lost| refusals::of_lost(lost).unwrap_or_else(|| self.not_leader()))
        };
        let version = within(until, proposed).await?.map_err(refusals::of_directory)?;
        Ok(Response::new(pb::ApplyDirectoryResponse { version }))
    }

    async fn explain_route(
        &self,
        request: Request<pb::ExplainRouteRequest>,
    ) -> Result<Response<pb::ExplainRouteResponse>, Status> {
        let until = until(&request)?;
        let pb::ExplainRouteRequest { card_digits, currency_code, amount_minor_units } = request.into_inner();
        let number = range_low(&card_digits).filter(|_| card_digits.len() <= DIGITS_MAX);
        let number = number.ok_or_else(|| {
            let words = format!("card_digits is not 1 to {DIGITS_MAX} digits");
            refused(Code::InvalidArgument, "FIELD_MALFORMED", words).with("field", "card_digits").status()
        })?;
        let currency = Currency::parse(&currency_code).map_err(|_| {
            let words = "currency_code is not an ISO 4217 code in use";
            refused(Code::InvalidArgument, "UNKNOWN_CURRENCY", words).with("field", "currency_code").status()
        })?;
        let amount = Amount::parse(amount_minor_units).map_err(|fault| {
            let words = format!("amount_minor_units: {fault}");
            refused(Code::InvalidArgument, "FIELD_MALFORMED", words).with("field", "amount_minor_units").status()
        })?;
        within(until, self.current(until)).await?;
        let standing = self.shared.journal.standing();
        let (mut steps, mut luhn) = (Vec::new(), false);
        for (route, passed_over) in standing.routes.explain(number, currency, amount) {
            luhn |= route.luhn;
            let is_enabled = standing.directory.networks.get(&route.network).is_some_and(|network| network.enabled);
            let link = self.shared.links.of_network(&route.network);
            let passed_over = match passed_over {
                Some(PassedOver::Disabled) => "ROUTE_DISABLED",
                Some(PassedOver::Currency) => "CURRENCY",
                Some(PassedOver::AmountBelow) => "AMOUNT_BELOW",
                Some(PassedOver::AmountAbove) => "AMOUNT_ABOVE",
                Some(PassedOver::NetworkNamedBefore) => "NETWORK_NAMED_BEFORE",
                None if !is_enabled => "NETWORK_DISABLED",
                None if link.is_none() => "NO_LINK_IN_SERVICE",
                None => "",
            };
            steps.push(pb::RouteStep {
                route_id: route.id.to_string(),
                network_id: route.network.to_string(),
                link_id: link.map(|link| link.id().to_string()).unwrap_or_default(),
                passed_over: passed_over.to_owned(),
            });
        }
        let directory_version = standing.directory.version;
        Ok(Response::new(pb::ExplainRouteResponse { steps, luhn, directory_version }))
    }
}

/// Digits of a card number that may be asked about: fewer than any whole one has.
const DIGITS_MAX: usize = 11;
