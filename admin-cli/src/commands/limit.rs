//! `limit …`: limits on the money of gateways, one for each currency.

use clap::Subcommand;
use serde_json::json;

use super::{directory, plan};
use crate::{
    cli::Global,
    confirmation::confirm,
    directory_file::Change,
    exit::Exit,
    failure::Failure,
    output::Sheet,
    records::{Gateway, Limit},
    session::Session,
};

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Lists all of them
    #[command(
        after_help = "Example:\n  $ admin-cli limit list\n  GATEWAY  CURRENCY  PER OPERATION  PER DAY\n  shop     EUR       500000         100000000\n  shop     SEK       0              500000000"
    )]
    List {
        /// Only those of this gateway
        #[arg(long, value_name = "ID")]
        gateway: Option<String>,
    },
    /// Shows one
    #[command(
        after_help = "Example:\n  $ admin-cli limit get shop EUR\n  GATEWAY  CURRENCY  PER OPERATION  PER DAY\n  shop     EUR       500000         100000000"
    )]
    Get(Which),
    /// Adds or changes one, in minor units; 0 is no limit
    #[command(
        after_help = "Calls are limited by `gateway set shop requests_per_second=200`, and burst and concurrent beside it.\n\nExample:\n  $ admin-cli limit set shop EUR --per-day 100000000\n  VERSION  REQUEST ID\n  12       3f0c…"
    )]
    Set {
        #[command(flatten)]
        which: Which,
        /// Greatest amount of one operation; without it as it was
        #[arg(long, value_name = "MINOR UNITS", required_unless_present = "per_day")]
        per_operation: Option<i64>,
        /// Greatest sum of one UTC day; without it as it was
        #[arg(long, value_name = "MINOR UNITS")]
        per_day: Option<i64>,
    },
    /// Takes one out of force and keeps its record, both amounts 0; `set` puts it in force again
    #[command(
        after_help = "Example:\n  $ admin-cli limit disable shop EUR --yes\n  VERSION  REQUEST ID\n  13       3f0c…"
    )]
    Disable(Which),
    /// Removes one: the currency is not limited any more
    #[command(
        after_help = "Example:\n  $ admin-cli limit remove shop EUR --yes\n  VERSION  REQUEST ID\n  13       3f0c…"
    )]
    Remove(Which),
}

/// Names a limit.
#[derive(Debug, clap::Args)]
pub(crate) struct Which {
    /// The gateway
    #[arg(value_name = "GATEWAY")]
    gateway: String,
    /// ISO 4217 code
    #[arg(value_name = "CURRENCY")]
    currency: String,
}

pub(super) async fn carry_out(global: &Global, verb: &Verb) -> Result<Sheet, Failure> {
    let read = directory::read(&Session::new(global)?).await?;
    let version = read.version;
    let gateways: Vec<Gateway> = read.gateways.into_iter().map(Gateway::from).collect();
    let (gateway, words, lifts) = match verb {
        Verb::List { gateway } => {
            let of = |one: &&Gateway| gateway.as_ref().is_none_or(|id| one.gateway_id == *id);
            return Ok(sheet(
                gateways.iter().filter(of).flat_map(|one| one.limits.iter().map(move |limit| (one, limit))),
            ));
        }
        Verb::Get(which) => {
            let gateway = of(&gateways, which)?;
            return Ok(sheet([(&gateway, one(&gateway, which)?)]));
        }
        Verb::Set { which, per_operation, per_day } => {
            let mut gateway = of(&gateways, which)?;
            let before = one(&gateway, which).cloned().unwrap_or_default();
            let limit = Limit {
                currency_code: which.currency.clone(),
                per_operation_minor_units: per_operation.unwrap_or(before.per_operation_minor_units),
                per_day_minor_units: per_day.unwrap_or(before.per_day_minor_units),
            };
            let Limit { per_operation_minor_units, per_day_minor_units, .. } = limit;
            let words = format!(
                "gateway {} is limited to {per_operation_minor_units} an operation and {per_day_minor_units} a day in {}",
                which.gateway, which.currency
            );
            gateway.limits.retain(|known| known.currency_code != which.currency);
            gateway.limits.push(limit);
            let lifts = lifted(before.per_operation_minor_units, per_operation_minor_units)
                || lifted(before.per_day_minor_units, per_day_minor_units);
            (gateway, words, lifts.then_some(which))
        }
        Verb::Disable(which) => {
            let mut gateway = of(&gateways, which)?;
            one(&gateway, which)?;
            for limit in gateway.limits.iter_mut().filter(|limit| limit.currency_code == which.currency) {
                *limit = Limit { currency_code: which.currency.clone(), ..Limit::default() };
            }
            (
                gateway,
                format!("gateway {} is not limited in {} until its limit is set again", which.gateway, which.currency),
                Some(which),
            )
        }
        Verb::Remove(which) => {
            let mut gateway = of(&gateways, which)?;
            one(&gateway, which)?;
            gateway.limits.retain(|known| known.currency_code != which.currency);
            let words = format!("gateway {} is not limited in {} any more", which.gateway, which.currency);
            (gateway, words, Some(which))
        }
    };
    if let Some(plan) = plan(global, &words) {
        return Ok(plan);
    }
    // Money is no longer held back: that is asked for twice.
    if let Some(which) = lifts {
        confirm(global, &words, &format!("{}/{}", which.gateway, which.currency)).await?;
    }
    directory::write(&Session::new(global)?, version, vec![Change::PutGateway(gateway)]).await
}

/// True where an amount that was limited no longer is.
fn lifted(before: i64, now: i64) -> bool {
    before > 0 && now == 0
}

fn of(gateways: &[Gateway], which: &Which) -> Result<Gateway, Failure> {
    let found = gateways.iter().find(|gateway| gateway.gateway_id == which.gateway).cloned();
    found.ok_or_else(|| missing(format!("there is no gateway {}", which.gateway)))
}

fn one<'a>(gateway: &'a Gateway, which: &Which) -> Result<&'a Limit, Failure> {
    let found = gateway.limits.iter().find(|limit| limit.currency_code == which.currency);
    found.ok_or_else(|| missing(format!("gateway {} has no limit in {}", which.gateway, which.currency)))
}

fn missing(words: String) -> Failure {
    Failure::local(Exit::NotFound, "RECORD_NOT_FOUND", words)
}

fn sheet<'a>(limits: impl IntoIterator<Item = (&'a Gateway, &'a Limit)>) -> Sheet {
    let limits: Vec<_> = limits.into_iter().collect();
    let items = limits.iter().map(|(gateway, limit)| json!({ "gateway_id": gateway.gateway_id, "limit": limit }));
    let row = |(gateway, limit): &(&Gateway, &Limit)| {
        vec![
            gateway.gateway_id.clone(),
            limit.currency_code.clone(),
            limit.per_operation_minor_units.to_string(),
            limit.per_day_minor_units.to_string(),
        ]
    };
    Sheet::of("LimitList", items)
        .with(&["GATEWAY", "CURRENCY", "PER OPERATION", "PER DAY"], limits.iter().map(row).collect())
        .named("limit", limits.iter().map(|(gateway, limit)| format!("{}/{}", gateway.gateway_id, limit.currency_code)))
}

#[cfg(test)]
pub(super) mod samples;
