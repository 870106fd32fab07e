//! Between the operators' contract and the domain: the directory both ways, and records for auditors.
//!
//! A change is read whole or refused with the path of its first wrong field. What must hold between records, such as a
//! link whose network is missing, the directory itself decides when the change is applied.

mod field;
mod record;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use switch_domain::{
    card::Pan,
    directory::{Change, Directory, Gateway, GatewayLimit, Link, MerchantGrant, Network, Route},
    entry::{ClockAcceptance, ProposeResolution, ResolutionWord},
    id::{AttemptRef, GatewayId, LinkId, MerchantId, NetworkId, Position, RouteId, TerminalId},
    limits,
    money::Currency,
    outcome::ResponseCode,
    route::{range_high, range_low},
    table::ClockRow,
    time::LogTime,
    transaction::{Resolution, ReversalPolicy},
};
use switch_proto::operator::v1 as pb;

use self::field::Path;
pub use self::{
    field::{Fault, FieldFault},
    record::{
        advice_state, change_record, decision, directory, method, owed_message, reversal_state, status,
        transaction_record,
    },
};

/// The changes of one call, in their order.
///
/// # Errors
/// [`FieldFault`].
pub fn changes(changes: Vec<pb::DirectoryChange>) -> Result<Vec<Change>, FieldFault> {
    let at = Path::root("changes");
    if changes.is_empty() {
        return at.wrong(Fault::Missing);
    }
    at.at_most(changes.len(), limits::DIRECTORY_CHANGES_MAX)?;
    changes.into_iter().enumerate().map(|(index, one)| change(&at.item(index), one)).collect()
}

/// A whole directory, as [`self::directory`] writes it.
///
/// # Errors
/// [`FieldFault`].
pub fn read_directory(directory: pb::Directory) -> Result<Directory, FieldFault> {
    let pb::Directory { version, gateways, networks, links, routes, retention_days } = directory;
    let root = Path::root("directory");
    Ok(Directory {
        version,
        gateways: keyed(&root.field("gateways"), gateways, gateway, |read| read.id.clone())?,
        networks: keyed(&root.field("networks"), networks, network, |read| read.id.clone())?,
        links: keyed(&root.field("links"), links, link, |read| read.id.clone())?,
        routes: keyed(&root.field("routes"), routes, route, |read| read.id.clone())?,
        retention_days,
    })
}

/// How an operator proposes to close a parked item, and who that is (R25).
///
/// # Errors
/// [`FieldFault`].
pub fn resolve(author: &str, request: pb::ResolveReversalRequest) -> Result<ProposeResolution, FieldFault> {
    let pb::ResolveReversalRequest { gateway_id, attempt_id, resolution, evidence } = request;
    let attempt = attempt(&gateway_id, &attempt_id)?;
    let at = Path::root("resolution");
    let resolution = match pb::Resolution::try_from(resolution) {
        Ok(pb::Resolution::Reversed) => Resolution::Reversed,
        Ok(pb::Resolution::Stands) => Resolution::Stands,
        Ok(pb::Resolution::Unspecified) => return at.wrong(Fault::Missing),
        Err(_) => return at.wrong(Fault::Malformed("a resolution that this switch knows")),
    };
    let evidence = words(&Path::root("evidence"), evidence)?;
    Ok(ProposeResolution { attempt, resolution, author: author.to_owned(), evidence })
}

/// Which clock an operator accepts, and who that is (R8): what the leader's clock shows must be close to what was seen.
///
/// # Errors
/// [`FieldFault`].
pub fn clock_acceptance(
    author: String,
    request: pb::AcceptClockRequest,
    wall: LogTime,
) -> Result<ClockAcceptance, FieldFault> {
    let pb::AcceptClockRequest { seen_wall_unix_ms, reason } = request;
    let at = Path::root("seen_wall_unix_ms");
    match u64::try_from(seen_wall_unix_ms) {
        Ok(0) => return at.wrong(Fault::Missing),
        Ok(seen) if ClockRow::is_close(LogTime(seen), wall) => {}
        Ok(_) | Err(_) => return at.wrong(Fault::Malformed("within an hour of the leader's wall clock: look again")),
    }
    Ok(ClockAcceptance { wall, author, reason: words(&Path::root("reason"), reason)? })
}

/// What an operator writes down for auditors.
fn words(at: &Path<'_>, words: String) -> Result<String, FieldFault> {
    if words.trim().is_empty() {
        return at.wrong(Fault::Missing);
    }
    if words.chars().count() > WORDS_LENGTH_MAX {
        return at.wrong(Fault::TooLong(WORDS_LENGTH_MAX));
    }
    // The audit record keeps it for ever: it must not keep a card number with it (R7).
    if holds_card_number(&words) {
        return at.wrong(Fault::Malformed("free of card numbers"));
    }
    Ok(words)
}

/// Which proposal an operator confirms or withdraws, and who that is (R25).
///
/// # Errors
/// [`FieldFault`].
pub fn word(author: &str, gateway_id: &str, attempt_id: &str, proposal_id: &str) -> Result<ResolutionWord, FieldFault> {
    let attempt = attempt(gateway_id, attempt_id)?;
    let at = Path::root("proposal_id");
    if proposal_id.is_empty() {
        return at.wrong(Fault::Missing);
    }
    let parts = proposal_id.split_once('.').and_then(|(index, place)| {
        let (index, place) = (index.parse().ok()?, place.parse().ok()?);
        Some(Position { index, place })
    });
    match parts {
        Some(proposal) => Ok(ResolutionWord { attempt, proposal, author: author.to_owned() }),
        None => at.wrong(Fault::Malformed("a proposal as the list shows it")),
    }
}

/// A proposal by its entry, as operators name it.
pub fn proposal_id(proposal: Position) -> String {
    format!("{}.{}", proposal.index, proposal.place)
}

/// The tenant that an operator names.
///
/// # Errors
/// [`FieldFault`].
pub fn gateway_id(text: &str) -> Result<GatewayId, FieldFault> {
    Path::root("gateway_id").id(GatewayId::parse(text))
}

/// The attempt that an operator names: its id as it stands on the wire to the network, which carries the gateway.
///
/// # Errors
/// [`FieldFault`].
pub fn attempt(gateway_id: &str, attempt_id: &str) -> Result<AttemptRef, FieldFault> {
    let gateway = self::gateway_id(gateway_id)?;
    let at = Path::root("attempt_id");
    if attempt_id.is_empty() {
        return at.wrong(Fault::Missing);
    }
    let attempt: AttemptRef = at.id(attempt_id.parse())?;
    if attempt.gateway != gateway {
        return at.wrong(Fault::Malformed("an attempt of this gateway"));
    }
    Ok(attempt)
}

fn change(at: &Path<'_>, change: pb::DirectoryChange) -> Result<Change, FieldFault> {
    use pb::directory_change::Change as Wire;
    let Some(change) = change.change else { return at.wrong(Fault::Missing) };
    Ok(match change {
        Wire::PutGateway(put) => Change::PutGateway(gateway(&at.field("put_gateway"), put)?),
        Wire::PutNetwork(put) => Change::PutNetwork(network(&at.field("put_network"), put)?),
        Wire::PutLink(put) => Change::PutLink(link(&at.field("put_link"), put)?),
        Wire::PutRoute(put) => Change::PutRoute(route(&at.field("put_route"), put)?),
        Wire::RemoveGateway(id) => Change::RemoveGateway(at.field("remove_gateway").id(GatewayId::parse(&id))?),
        Wire::RemoveNetwork(id) => Change::RemoveNetwork(at.field("remove_network").id(NetworkId::parse(&id))?),
        Wire::RemoveLink(id) => Change::RemoveLink(at.field("remove_link").id(LinkId::parse(&id))?),
        Wire::RemoveRoute(id) => Change::RemoveRoute(at.field("remove_route").id(RouteId::parse(&id))?),
        Wire::SetRetentionDays(days) => Change::SetRetentionDays(days),
    })
}

fn gateway(at: &Path<'_>, record: pb::Gateway) -> Result<Gateway, FieldFault> {
    let pb::Gateway {
        gateway_id,
        principals,
        enabled,
        merchants,
        limits,
        requests_per_second,
        burst,
        concurrent,
        require_sealed,
    } = record;
    let id = at.field("gateway_id").id(GatewayId::parse(&gateway_id))?;
    let named = at.field("principals");
    for (index, principal) in principals.iter().enumerate() {
        let here = named.item(index);
        // A whole SPIFFE id, trust domain and path: what a certificate's URI is compared with, letter by letter.
        let is_id = principal.strip_prefix("spiffe://").is_some_and(|rest| {
            rest.split_once('/').is_some_and(|(domain, path)| !domain.is_empty() && !path.is_empty())
        });
        if principal.is_empty() {
            return here.wrong(Fault::Missing);
        }
        if principal.len() > PRINCIPAL_LENGTH_MAX {
            return here.wrong(Fault::TooLong(PRINCIPAL_LENGTH_MAX));
        }
        if !is_id || !principal.bytes().all(|byte| byte.is_ascii_graphic()) {
            return here.wrong(Fault::Malformed("a SPIFFE id"));
        }
        if principals[..index].contains(principal) {
            return here.wrong(Fault::Repeated);
        }
    }
    at.field("merchants").at_most(merchants.len(), limits::MERCHANTS_MAX)?;
    let merchants = keyed(&at.field("merchants"), merchants, merchant, |(id, _)| id.clone())?;
    let limits = keyed(&at.field("limits"), limits, limit, |(currency, _)| *currency)?;
    let burst_max = if requests_per_second == 0 { 0 } else { limits::BURST_MAX };
    Ok(Gateway {
        id,
        principals,
        enabled,
        merchants: merchants.into_values().collect(),
        limits: limits.into_values().collect(),
        requests_per_second: at.field("requests_per_second").within(
            requests_per_second,
            0,
            limits::REQUESTS_PER_SECOND_MAX,
        )?,
        burst: at.field("burst").within(burst, 0, burst_max)?,
        concurrent: at.field("concurrent").within(concurrent, 0, limits::CONCURRENT_MAX)?,
        require_sealed,
    })
}

fn merchant(at: &Path<'_>, record: pb::MerchantGrant) -> Result<(MerchantId, MerchantGrant), FieldFault> {
    let pb::MerchantGrant { merchant_id, terminal_ids, acquirer_id, enabled } = record;
    let id = at.field("merchant_id").id(MerchantId::parse(&merchant_id))?;
    let named = at.field("terminal_ids");
    named.at_most(terminal_ids.len(), TERMINALS_MAX)?;
    let mut terminals: Vec<TerminalId> = Vec::with_capacity(terminal_ids.len());
    for (index, terminal) in terminal_ids.iter().enumerate() {
        terminals.push(named.item(index).id(TerminalId::parse(terminal))?);
    }
    terminals.sort();
    terminals.dedup();
    let acquirer = at.field("acquirer_id").institution(&acquirer_id)?;
    Ok((id, MerchantGrant { terminals, acquirer, enabled }))
}

fn limit(at: &Path<'_>, record: pb::Limit) -> Result<(Currency, GatewayLimit), FieldFault> {
    let pb::Limit { currency_code, per_operation_minor_units, per_day_minor_units } = record;
    let currency = at.field("currency_code").currency(&currency_code)?;
    let per_operation = at.field("per_operation_minor_units").amount(per_operation_minor_units)?;
    let per_day = at.field("per_day_minor_units").amount(per_day_minor_units)?;
    Ok((currency, GatewayLimit { per_operation, per_day }))
}

fn network(at: &Path<'_>, record: pb::Network) -> Result<Network, FieldFault> {
    let pb::Network {
        network_id,
        enabled,
        attempt_timeout_ms,
        in_flight_max_ms,
        reversal_policy,
        repeat_after_ms,
        repeat_budget_ms,
        doubt_count_max,
        doubt_minor_units_max,
        acknowledgement_proves_match,
        failover_codes,
        valid_days,
        capture_tolerance_basis_points,
        release_expired,
        reversal_has_own_trace_number,
        refund_days,
    } = record;
    let id = at.field("network_id").id(NetworkId::parse(&network_id))?;
    let policy = match pb::ReversalPolicy::try_from(reversal_policy) {
        Ok(pb::ReversalPolicy::Unspecified | pb::ReversalPolicy::Always) => ReversalPolicy::Always,
        Ok(pb::ReversalPolicy::Never) => ReversalPolicy::Never,
        Err(_) => return at.field("reversal_policy").wrong(Fault::Malformed("a policy that this switch knows")),
    };
    let attempt_timeout = limits::ATTEMPT_TIMEOUT_MS;
    let at_timeout = at.field("attempt_timeout_ms");
    let attempt_timeout_ms = at_timeout.within(attempt_timeout_ms, *attempt_timeout.start(), *attempt_timeout.end())?;
    let named = at.field("failover_codes");
    let mut codes = Vec::with_capacity(failover_codes.len());
    for (index, code) in failover_codes.iter().enumerate() {
        let here = named.item(index);
        let Some(code) = ResponseCode::parse(code) else {
            return here.wrong(Fault::Malformed("a response code of two letters or digits"));
        };
        if codes.contains(&code) {
            return here.wrong(Fault::Repeated);
        }
        codes.push(code);
    }
    let named = at.field("capture_tolerance_basis_points");
    let mut capture_tolerance = BTreeMap::new();
    for (category, basis_points) in capture_tolerance_basis_points {
        let is_category = category.len() == 4 && category.bytes().all(|byte| byte.is_ascii_digit());
        if !is_category && category != "*" {
            return named.wrong(Fault::Malformed("keyed by merchant category codes of four digits, or *"));
        }
        capture_tolerance.insert(category, named.within(basis_points, 0, BASIS_POINTS_MAX)?);
    }
    Ok(Network {
        id,
        enabled,
        attempt_timeout_ms,
        in_flight_max_ms: at.field("in_flight_max_ms").within(in_flight_max_ms, 0, DAY_MS)?,
        reversal_policy: policy,
        repeat_after_ms: at.field("repeat_after_ms").within(
            or_default(repeat_after_ms, REPEAT_AFTER_MS_DEFAULT),
            REPEAT_AFTER_MS_MIN,
            DAY_MS,
        )?,
        repeat_budget_ms: or_default(repeat_budget_ms, REPEAT_BUDGET_MS_DEFAULT),
        doubt_count_max: or_default(doubt_count_max, limits::DOUBT_COUNT_DEFAULT),
        doubt_amount_max: at.field("doubt_minor_units_max").amount(doubt_minor_units_max)?,
        acknowledgement_proves_match,
        failover_codes: codes,
        valid_days: at.field("valid_days").within(
            or_default(valid_days, limits::VALID_DAYS_DEFAULT),
            1,
            VALID_DAYS_MAX,
        )?,
        capture_tolerance,
        refund_days: at.field("refund_days").within(refund_days, 0, limits::RETENTION_DAYS_MAX)?,
        release_expired,
        reversal_has_own_stan: reversal_has_own_trace_number,
    })
}

fn link(at: &Path<'_>, record: pb::Link) -> Result<Link, FieldFault> {
    let pb::Link { link_id, network_id, address, server_name, enabled, in_flight_max, exclusive, institution_id } =
        record;
    let id = at.field("link_id").id(LinkId::parse(&link_id))?;
    let network = at.field("network_id").id(NetworkId::parse(&network_id))?;
    let here = at.field("address");
    let address = here.host_text(address)?;
    let is_address = address.rsplit_once(':').is_some_and(|(host, port)| {
        let is_port = port.parse::<u16>().is_ok_and(|port| port > 0) && port.bytes().all(|byte| byte.is_ascii_digit());
        // An IPv6 address has colons of its own and stands in brackets.
        let is_host = !host.is_empty() && (!host.contains(':') || (host.starts_with('[') && host.ends_with(']')));
        is_host && is_port
    });
    if !is_address {
        return here.wrong(Fault::Malformed("host:port"));
    }
    Ok(Link {
        id,
        network,
        address,
        server_name: at.field("server_name").host_text(server_name)?,
        enabled,
        in_flight_max: at.field("in_flight_max").within(in_flight_max, 1, IN_FLIGHT_MAX)?,
        exclusive,
        institution: at.field("institution_id").institution(&institution_id)?,
    })
}

fn route(at: &Path<'_>, record: pb::Route) -> Result<Route, FieldFault> {
    let pb::Route {
        route_id,
        range_low: low,
        range_high: high,
        currency_codes,
        amount_min_minor_units,
        amount_max_minor_units,
        priority,
        network_id,
        enabled,
        luhn,
    } = record;
    let id = at.field("route_id").id(RouteId::parse(&route_id))?;
    let (low_at, high_at) = (at.field("range_low"), at.field("range_high"));
    let low = low_at.range_bound(&low, range_low)?;
    let high = high_at.range_bound(&high, range_high)?;
    if low > high {
        return high_at.wrong(Fault::Malformed("at or above range_low"));
    }
    let named = at.field("currency_codes");
    let mut currencies = Vec::with_capacity(currency_codes.len());
    for (index, code) in currency_codes.iter().enumerate() {
        let here = named.item(index);
        let currency = here.currency(code)?;
        if currencies.contains(&currency) {
            return here.wrong(Fault::Repeated);
        }
        currencies.push(currency);
    }
    let amount_min = at.field("amount_min_minor_units").amount(amount_min_minor_units)?;
    let max_at = at.field("amount_max_minor_units");
    let amount_max = Some(max_at.amount(amount_max_minor_units)?).filter(|amount| !amount.is_zero());
    if amount_max.is_some_and(|amount_max| amount_max < amount_min) {
        return max_at.wrong(Fault::Malformed("at or above amount_min_minor_units"));
    }
    let network = at.field("network_id").id(NetworkId::parse(&network_id))?;
    Ok(Route { id, low, high, currencies, amount_min, amount_max, priority, network, enabled, luhn })
}

/// True where a number of 12 to 19 digits with a check digit stands in a text, alone or in groups of digits.
fn holds_card_number(text: &str) -> bool {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    (12..=19).any(|length| {
        (0..(digits.len() + 1).saturating_sub(length))
            .filter_map(|start| Pan::parse(&digits[start..start + length]).ok())
            .any(|pan| pan.has_check_digit())
    })
}

/// Records by their ids; an id that stands there twice is refused.
fn keyed<W, R, K: Ord>(
    at: &Path<'_>,
    records: Vec<W>,
    read: impl Fn(&Path<'_>, W) -> Result<R, FieldFault>,
    key: impl Fn(&R) -> K,
) -> Result<BTreeMap<K, R>, FieldFault> {
    let mut all = BTreeMap::new();
    for (index, record) in records.into_iter().enumerate() {
        let here = at.item(index);
        let record = read(&here, record)?;
        if all.insert(key(&record), record).is_some() {
            return here.wrong(Fault::Repeated);
        }
    }
    Ok(all)
}

/// Zero stands for what the contract names.
fn or_default(value: u32, default: u32) -> u32 {
    if value == 0 { default } else { value }
}

/// The contract's bound.
const WORDS_LENGTH_MAX: usize = 1000;
/// The greatest length of a SPIFFE id by its specification is 2048; ours are names of gateways.
const PRINCIPAL_LENGTH_MAX: usize = 255;
/// Terminals of one merchant: the directory is kept in memory whole.
const TERMINALS_MAX: usize = 10_000;
/// Requests in flight on one link of one node.
const IN_FLIGHT_MAX: u32 = 10_000;
/// Longest travel of a message, and longest pause before a repeat.
const DAY_MS: u32 = 86_400_000;
/// First pause before a repeat, where the profile names none: a network that did not answer needs a moment.
const REPEAT_AFTER_MS_DEFAULT: u32 = 5_000;
/// Shorter pauses would be a flood.
const REPEAT_AFTER_MS_MIN: u32 = 10;
/// Three days of repeats before an operator is called, where the profile names none: a long weekend.
const REPEAT_BUDGET_MS_DEFAULT: u32 = 3 * DAY_MS;
/// No scheme lets an approval stand for longer than a year.
const VALID_DAYS_MAX: u32 = 366;
/// Twice what was authorized; a tip is a fifth.
const BASIS_POINTS_MAX: u32 = 10_000;
