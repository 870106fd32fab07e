//! `route explain`.

use serde_json::json;
use switch_proto::operator::v1::{
    ExplainRouteRequest, ExplainRouteResponse, RouteStep, directory_service_client::DirectoryServiceClient,
};

use crate::{
    cli::Global,
    exit::Exit,
    failure::Failure,
    output::{Sheet, or_dash},
    session::Session,
};

/// Which payment is asked about.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// First digits of the card number, 1 to 11: never a whole one
    #[arg(value_name = "DIGITS", value_parser = digits)]
    card_digits: String,
    /// ISO 4217 code
    #[arg(long, value_name = "CODE")]
    currency: String,
    /// Amount in minor units
    #[arg(long, default_value_t = 0, value_name = "MINOR UNITS")]
    amount: i64,
}

pub(super) async fn explain(global: &Global, args: &Args) -> Result<Sheet, Failure> {
    let session = Session::new(global)?;
    let request = ExplainRouteRequest {
        card_digits: args.card_digits.clone(),
        currency_code: args.currency.clone(),
        amount_minor_units: args.amount,
    };
    let ask = async |channel, request| DirectoryServiceClient::new(channel).explain_route(request).await;
    let explained = session.read(request, ask).await?;
    if explained.steps.is_empty() {
        let words = format!("no route's range holds {}", args.card_digits);
        return Err(Failure::local(Exit::NotFound, "NO_RANGE", words));
    }
    Ok(sheet(&explained))
}

pub(super) fn sheet(explained: &ExplainRouteResponse) -> Sheet {
    let items = explained.steps.iter().map(|step| {
        let RouteStep { route_id, network_id, link_id, passed_over } = step;
        json!({ "route_id": route_id, "network_id": network_id, "link_id": link_id, "passed_over": passed_over })
    });
    let mut asked = 0;
    let rows = explained.steps.iter().map(|step| {
        let answer = if step.passed_over.is_empty() {
            asked += 1;
            if asked == 1 {
                "asked first".to_owned()
            } else {
                "asked next, where the one before may be left".to_owned()
            }
        } else {
            format!("passed over: {}", step.passed_over)
        };
        vec![step.route_id.clone(), step.network_id.clone(), or_dash(&step.link_id), answer]
    });
    Sheet::of("RouteStepList", items)
        .with(&["ROUTE", "NETWORK", "LINK", "ANSWER"], rows.collect())
        .named("route", explained.steps.iter().map(|step| &step.route_id))
}

fn digits(text: &str) -> Result<String, String> {
    let is_prefix = (1..=11).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_prefix { Ok(text.to_owned()) } else { Err("give 1 to 11 digits, never a whole card number".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_asking_and_the_reasons_against_it_are_shown() {
        let step = |route: &str, link: &str, passed_over: &str| RouteStep {
            route_id: route.into(),
            network_id: "visa".into(),
            link_id: link.into(),
            passed_over: passed_over.into(),
        };
        let steps = vec![step("a", "", "ROUTE_DISABLED"), step("b", "visa-1", ""), step("c", "mc-1", "")];
        let expected = "ROUTE  NETWORK  LINK    ANSWER\n\
                        a      visa     -       passed over: ROUTE_DISABLED\n\
                        b      visa     visa-1  asked first\n\
                        c      visa     mc-1    asked next, where the one before may be left\n";
        assert_eq!(sheet(&ExplainRouteResponse { steps, ..ExplainRouteResponse::default() }).table(), expected);
    }

    #[test]
    fn a_whole_card_number_is_not_taken() {
        digits(&"9".repeat(16)).expect_err("too long");
        digits("4000 00").expect_err("no digits");
        digits("400000").expect("a prefix");
    }
}
