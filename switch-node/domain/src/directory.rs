//! What operators decide: gateways, networks, links, routes. Every change makes a new version;
//! with its author and what it replaced it stands in the [audit trail](crate::audit). Directory and book never share an entry
//! (R24).

use std::collections::BTreeMap;

use thiserror::Error;

use crate::{
    id::{GatewayId, LinkId, MerchantId, NetworkId, RequestId, RouteId, TerminalId},
    limits,
    money::{Amount, Currency},
    outcome::{AnswerText, ResponseCode},
    table::{Key, Made, Row, Table, TableFault},
    transaction::{ReversalPolicy, Terms},
};

/// A tenant (R10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Id.
    pub id: GatewayId,
    /// SPIFFE ids that may act for it.
    pub principals: Vec<String>,
    /// False refuses new payments.
    pub enabled: bool,
    /// Merchants assigned to it.
    pub merchants: BTreeMap<MerchantId, MerchantGrant>,
    /// Limits by currency.
    pub limits: BTreeMap<Currency, GatewayLimit>,
    /// New payments a second, up to [`limits::REQUESTS_PER_SECOND_MAX`]; zero is no limit. Captures, voids and repeats of
    /// known keys have four times as much for themselves (R12).
    pub requests_per_second: u32,
    /// New payments that may come at once after a pause, up to [`limits::BURST_MAX`]; zero is one second's worth.
    pub burst: u32,
    /// Payments under way at once, up to [`limits::CONCURRENT_MAX`]; zero is no limit.
    pub concurrent: u32,
    /// True refuses card data that is not sealed to the switch's key.
    pub require_sealed: bool,
}

impl Gateway {
    /// What its limits on calls must hold to.
    fn check_calls(&self) -> Result<(), DirectoryRefusal> {
        // A burst is a part of a rate: without one it would say nothing, and its author believes that it does.
        let burst_max = if self.requests_per_second == 0 { 0 } else { limits::BURST_MAX };
        for (field, value, max, allowed) in [
            ("requests_per_second", self.requests_per_second, limits::REQUESTS_PER_SECOND_MAX, "0 to 100000"),
            ("burst", self.burst, burst_max, "0 to 1000000, and 0 without requests_per_second"),
            ("concurrent", self.concurrent, limits::CONCURRENT_MAX, "0 to 16384"),
        ] {
            if value > max {
                let (name, value) = (self.id.to_string(), u64::from(value));
                return Err(DirectoryRefusal::OutOfRange { field, name, value, allowed });
            }
        }
        Ok(())
    }
}

/// A merchant that a gateway may act for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MerchantGrant {
    /// Terminals; empty allows every one.
    pub terminals: Vec<TerminalId>,
    /// Acquiring institution id.
    pub acquirer: AnswerText,
    /// False refuses its new payments.
    pub enabled: bool,
}

/// A limit on a gateway's money in one currency; zero is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GatewayLimit {
    /// Greatest amount of one operation.
    pub per_operation: Amount,
    /// Greatest sum of one UTC day of log time.
    pub per_day: Amount,
}

/// A card network and its profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Id.
    pub id: NetworkId,
    /// False takes no new payments.
    pub enabled: bool,
    /// Attempt timer, milliseconds.
    pub attempt_timeout_ms: u32,
    /// Longest travel after the deadline, milliseconds.
    pub in_flight_max_ms: u32,
    /// Whether unanswered requests are reversed.
    pub reversal_policy: ReversalPolicy,
    /// Pause before a repeat, milliseconds; grows to 16 times that.
    pub repeat_after_ms: u32,
    /// Time at full rate before parking, milliseconds.
    pub repeat_budget_ms: u32,
    /// Bound of unresolved items.
    pub doubt_count_max: u32,
    /// Bound of unresolved money by currency, zero for none.
    pub doubt_amount_max: Amount,
    /// True where 00 proves a match.
    pub acknowledgement_proves_match: bool,
    /// Codes after which another network may be asked.
    pub failover_codes: Vec<ResponseCode>,
    /// Days an approval stays valid.
    pub valid_days: u32,
    /// Basis points by merchant category; `*` is every other.
    pub capture_tolerance: BTreeMap<String, u32>,
    /// Days after the last capture in which a refund must find its original, zero for the default (R9).
    pub refund_days: u32,
    /// True where expired authorizations are released.
    pub release_expired: bool,
    /// True where a reversal carries a trace number of its own.
    pub reversal_has_own_stan: bool,
}

impl Network {
    /// What an attempt of this network is decided under.
    #[must_use]
    pub fn terms(&self, merchant_category: &str) -> Terms {
        let tolerance = self
            .capture_tolerance
            .get(merchant_category)
            .or_else(|| self.capture_tolerance.get("*"))
            .copied()
            .unwrap_or(0);
        Terms {
            attempt_timeout_ms: self.attempt_timeout_ms,
            in_flight_max_ms: self.in_flight_max_ms,
            repeat_budget_ms: self.repeat_budget_ms,
            reversal_policy: self.reversal_policy,
            acknowledgement_proves_match: self.acknowledgement_proves_match,
            reversal_has_own_stan: self.reversal_has_own_stan,
            valid_ms: u64::from(self.valid_days) * crate::time::DAY_MS,
            capture_tolerance_basis_points: tolerance,
            doubt_count_max: self.doubt_count_max,
            doubt_amount_max: self.doubt_amount_max,
        }
    }
}

/// A connection to a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Id.
    pub id: LinkId,
    /// Network behind it.
    pub network: NetworkId,
    /// `host:port`.
    pub address: String,
    /// Name its certificate must carry.
    pub server_name: String,
    /// False signs off.
    pub enabled: bool,
    /// Most requests in flight per node.
    pub in_flight_max: u32,
    /// True where only the leader may connect.
    pub exclusive: bool,
    /// Acquiring institution id for sign-on.
    pub institution: AnswerText,
}

/// A range of card numbers with a network for it. Bounds are numbers of 19 digits, see [`crate::card::Pan::range_key`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Id.
    pub id: RouteId,
    /// First number.
    pub low: u64,
    /// Last number.
    pub high: u64,
    /// Currencies; empty for all.
    pub currencies: Vec<Currency>,
    /// Least amount.
    pub amount_min: Amount,
    /// Greatest amount, `None` for no bound.
    pub amount_max: Option<Amount>,
    /// The smaller goes first within one range.
    pub priority: u32,
    /// The network.
    pub network: NetworkId,
    /// False skips it.
    pub enabled: bool,
    /// True where numbers carry a Luhn check digit (R22).
    pub luhn: bool,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    /// Grows by one with every change.
    pub version: u64,
    /// Tenants.
    pub gateways: BTreeMap<GatewayId, Gateway>,
    /// Networks.
    pub networks: BTreeMap<NetworkId, Network>,
    /// Links.
    pub links: BTreeMap<LinkId, Link>,
    /// Routes.
    pub routes: BTreeMap<RouteId, Route>,
    /// Days that transactions and their keys are kept after their last event, in the whole cluster; zero for the default (R9).
    pub retention_days: u32,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Adds or replaces a gateway.
    PutGateway(Gateway),
    /// Adds or replaces a network.
    PutNetwork(Network),
    /// Adds or replaces a link.
    PutLink(Link),
    /// Adds or replaces a route.
    PutRoute(Route),
    /// Removes a gateway.
    RemoveGateway(GatewayId),
    /// Removes a network.
    RemoveNetwork(NetworkId),
    /// Removes a link.
    RemoveLink(LinkId),
    /// Removes a route.
    RemoveRoute(RouteId),
    /// Days that transactions and their keys are kept, zero for the default (R9).
    SetRetentionDays(u32),
}

/// Changes that are made together, by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryCommand {
    /// The operator's key.
    pub request_id: RequestId,
    /// SPIFFE id of the operator.
    pub author: String,
    /// Version that was read; zero for any.
    pub expected_version: u64,
    /// The changes.
    pub changes: Vec<Change>,
}

/// What a command came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The directory was changed.
    Changed {
        /// Version that holds the changes.
        version: u64,
        /// What each change replaced, in the order of the changes: a change that would bring it back, `None` where nothing
        /// was (audit).
        replaced: Vec<Option<Change>>,
    },
    /// The request_id was there before: this version holds its changes already.
    Repeated(u64),
}

impl Applied {
    /// Version that holds the changes.
    #[must_use]
    pub fn version(&self) -> u64 {
        match self {
            Self::Changed { version, .. } | Self::Repeated(version) => *version,
        }
    }
}

/// Why a change was refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DirectoryRefusal {
    /// The directory is not at the version that was read.
    #[error("the directory is at version {is}, not {expected}: read it again")]
    VersionMismatch {
        /// Version it is at.
        is: u64,
        /// Version that was expected.
        expected: u64,
    },
    /// No change, or more than [`limits::DIRECTORY_CHANGES_MAX`].
    #[error("{0} changes; there must be 1 to {max}", max = limits::DIRECTORY_CHANGES_MAX)]
    ChangeCount(usize),
    /// A record of one kind too many.
    #[error("more than {max} {0}", max = limits::DIRECTORY_RECORDS_MAX)]
    TooMany(&'static str),
    /// Something is named that does not exist.
    #[error("{kind} {name} does not exist")]
    Missing {
        /// Kind of record.
        kind: &'static str,
        /// Its id.
        name: String,
    },
    /// Something is still named by another record.
    #[error("{kind} {name} is still used by {user}")]
    InUse {
        /// Kind of record.
        kind: &'static str,
        /// Its id.
        name: String,
        /// Who names it.
        user: String,
    },
    /// A principal may act for one gateway only.
    #[error("principal {principal} belongs to gateway {gateway}")]
    PrincipalTaken {
        /// SPIFFE id.
        principal: String,
        /// The gateway it acts for.
        gateway: GatewayId,
    },
    /// A merchant may belong to one gateway only (R10).
    #[error("merchant {merchant} belongs to gateway {gateway}")]
    MerchantTaken {
        /// Card acceptor id.
        merchant: MerchantId,
        /// The gateway it belongs to.
        gateway: GatewayId,
    },
    /// A range ends before it begins.
    #[error("the range of route {0} ends before it begins")]
    RangeBackwards(RouteId),
    /// A value out of its range.
    #[error("{field} of {name} is {value}, allowed is {allowed}")]
    OutOfRange {
        /// Field.
        field: &'static str,
        /// Record.
        name: String,
        /// Value.
        value: u64,
        /// What is allowed.
        allowed: &'static str,
    },
    /// The key of the call made something else before.
    #[error("the request_id was used for a data key: each call has one of its own")]
    RequestIdReused,
}

impl DirectoryRefusal {
    /// A name that never changes: it stands in the audit trail, whose hash replicas of different releases compare (S17).
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::VersionMismatch { .. } => "VERSION_MISMATCH",
            Self::ChangeCount(_) => "CHANGE_COUNT",
            Self::TooMany(_) => "TOO_MANY_RECORDS",
            Self::Missing { .. } => "RECORD_NOT_FOUND",
            Self::InUse { .. } => "RECORD_IN_USE",
            Self::PrincipalTaken { .. } => "PRINCIPAL_TAKEN",
            Self::MerchantTaken { .. } => "MERCHANT_TAKEN",
            Self::RangeBackwards(_) => "RANGE_BACKWARDS",
            Self::OutOfRange { .. } => "OUT_OF_RANGE",
            Self::RequestIdReused => "REQUEST_ID_REUSED",
        }
    }
}

impl Directory {
    /// Reads the directory from the table; an empty one where there is none yet.
    ///
    /// # Errors
    /// [`TableFault`].
    pub fn load(table: &dyn Table) -> Result<Self, TableFault> {
        match table.get(&Key::Directory)? {
            Some(Row::Directory(directory)) => Ok(*directory),
            Some(_) => Err(TableFault("another row stands in the directory's place".into())),
            None => Ok(Self::default()),
        }
    }

    /// Applies one command: all of its changes or none. Repeating a request_id changes nothing more.
    ///
    /// # Errors
    /// Outer: [`TableFault`]. Inner: [`DirectoryRefusal`].
    pub fn apply(
        table: &mut dyn Table,
        command: DirectoryCommand,
    ) -> Result<Result<Applied, DirectoryRefusal>, TableFault> {
        match table.get(&Key::OperatorRequest(command.request_id.clone()))? {
            Some(Row::Made(Made::Directory(version))) => return Ok(Ok(Applied::Repeated(version))),
            Some(_) => return Ok(Err(DirectoryRefusal::RequestIdReused)),
            None => {}
        }
        let mut directory = Self::load(table)?;
        if command.expected_version != 0 && command.expected_version != directory.version {
            let (is, expected) = (directory.version, command.expected_version);
            return Ok(Err(DirectoryRefusal::VersionMismatch { is, expected }));
        }
        if command.changes.is_empty() || command.changes.len() > limits::DIRECTORY_CHANGES_MAX {
            return Ok(Err(DirectoryRefusal::ChangeCount(command.changes.len())));
        }
        let mut replaced = Vec::with_capacity(command.changes.len());
        for change in &command.changes {
            match directory.change(change.clone()) {
                Ok(before) => replaced.push(before),
                Err(refusal) => return Ok(Err(refusal)),
            }
        }
        if let Err(refusal) = directory.check() {
            return Ok(Err(refusal));
        }
        directory.version += 1;
        let version = directory.version;
        table.put(Key::OperatorRequest(command.request_id), Row::Made(Made::Directory(version)));
        table.put(Key::Directory, Row::Directory(Box::new(directory)));
        Ok(Ok(Applied::Changed { version, replaced }))
    }

    fn change(&mut self, change: Change) -> Result<Option<Change>, DirectoryRefusal> {
        let missing = |kind, name: &dyn ToString| DirectoryRefusal::Missing { kind, name: name.to_string() };
        Ok(match change {
            Change::PutGateway(gateway) => self.gateways.insert(gateway.id.clone(), gateway).map(Change::PutGateway),
            Change::PutNetwork(network) => self.networks.insert(network.id.clone(), network).map(Change::PutNetwork),
            Change::PutLink(link) => self.links.insert(link.id.clone(), link).map(Change::PutLink),
            Change::PutRoute(route) => self.routes.insert(route.id.clone(), route).map(Change::PutRoute),
            Change::RemoveGateway(id) => {
                Some(Change::PutGateway(self.gateways.remove(&id).ok_or_else(|| missing("gateway", &id))?))
            }
            Change::RemoveNetwork(id) => {
                Some(Change::PutNetwork(self.networks.remove(&id).ok_or_else(|| missing("network", &id))?))
            }
            Change::RemoveLink(id) => {
                Some(Change::PutLink(self.links.remove(&id).ok_or_else(|| missing("link", &id))?))
            }
            Change::RemoveRoute(id) => {
                Some(Change::PutRoute(self.routes.remove(&id).ok_or_else(|| missing("route", &id))?))
            }
            Change::SetRetentionDays(days) => {
                Some(Change::SetRetentionDays(std::mem::replace(&mut self.retention_days, days)))
            }
        })
    }

    /// What must hold in the whole once every change is made.
    fn check(&self) -> Result<(), DirectoryRefusal> {
        for (kind, count) in [
            ("gateways", self.gateways.len()),
            ("networks", self.networks.len()),
            ("links", self.links.len()),
            ("routes", self.routes.len()),
        ] {
            if count > limits::DIRECTORY_RECORDS_MAX {
                return Err(DirectoryRefusal::TooMany(kind));
            }
        }
        let kept = limits::RETENTION_DAYS_MIN..=limits::RETENTION_DAYS_MAX;
        if self.retention_days != 0 && !kept.contains(&self.retention_days) {
            return Err(DirectoryRefusal::OutOfRange {
                field: "retention_days",
                name: "the cluster".to_owned(),
                value: u64::from(self.retention_days),
                allowed: "180 to 3650",
            });
        }
        let mut principals: BTreeMap<&str, &GatewayId> = BTreeMap::new();
        let mut merchants: BTreeMap<&MerchantId, &GatewayId> = BTreeMap::new();
        for gateway in self.gateways.values() {
            if gateway.merchants.len() > limits::MERCHANTS_MAX {
                return Err(DirectoryRefusal::TooMany("merchants of one gateway"));
            }
            gateway.check_calls()?;
            for principal in &gateway.principals {
                if let Some(other) = principals.insert(principal, &gateway.id).filter(|other| *other != &gateway.id) {
                    return Err(DirectoryRefusal::PrincipalTaken {
                        principal: principal.clone(),
                        gateway: other.clone(),
                    });
                }
            }
            for merchant in gateway.merchants.keys() {
                if let Some(other) = merchants.insert(merchant, &gateway.id) {
                    return Err(DirectoryRefusal::MerchantTaken { merchant: merchant.clone(), gateway: other.clone() });
                }
            }
        }
        for network in self.networks.values() {
            if !limits::ATTEMPT_TIMEOUT_MS.contains(&network.attempt_timeout_ms) {
                return Err(DirectoryRefusal::OutOfRange {
                    field: "attempt_timeout_ms",
                    name: network.id.to_string(),
                    value: u64::from(network.attempt_timeout_ms),
                    allowed: "100 to 60000",
                });
            }
        }
        for network in self.networks.values() {
            if !(1..=limits::VALID_DAYS_MAX).contains(&network.valid_days) {
                return Err(DirectoryRefusal::OutOfRange {
                    field: "valid_days",
                    name: network.id.to_string(),
                    value: u64::from(network.valid_days),
                    allowed: "1 to 90",
                });
            }
            if network.refund_days > limits::RETENTION_DAYS_MAX {
                return Err(DirectoryRefusal::OutOfRange {
                    field: "refund_days",
                    name: network.id.to_string(),
                    value: u64::from(network.refund_days),
                    allowed: "0 to 3650",
                });
            }
        }
        for link in self.links.values() {
            if !self.networks.contains_key(&link.network) {
                let user = format!("link {}", link.id);
                return Err(DirectoryRefusal::InUse { kind: "network", name: link.network.to_string(), user });
            }
            if !(1..=10_000).contains(&link.in_flight_max) {
                return Err(DirectoryRefusal::OutOfRange {
                    field: "in_flight_max",
                    name: link.id.to_string(),
                    value: u64::from(link.in_flight_max),
                    allowed: "1 to 10000",
                });
            }
        }
        for route in self.routes.values() {
            if route.low > route.high {
                return Err(DirectoryRefusal::RangeBackwards(route.id.clone()));
            }
            if !self.networks.contains_key(&route.network) {
                let user = format!("route {}", route.id);
                return Err(DirectoryRefusal::InUse { kind: "network", name: route.network.to_string(), user });
            }
        }
        Ok(())
    }

    /// The gateway that a principal may act for.
    #[must_use]
    pub fn gateway_of(&self, principal: &str) -> Option<&Gateway> {
        self.gateways.values().find(|gateway| gateway.principals.iter().any(|known| known == principal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(requests_per_second: u32, burst: u32, concurrent: u32) -> Result<(), DirectoryRefusal> {
        let id = GatewayId::parse("shop").expect("an id");
        let shop = Gateway {
            id: id.clone(),
            principals: Vec::new(),
            enabled: true,
            merchants: BTreeMap::new(),
            limits: BTreeMap::new(),
            requests_per_second,
            burst,
            concurrent,
            require_sealed: false,
        };
        Directory { gateways: BTreeMap::from([(id, shop)]), ..Directory::default() }.check()
    }

    #[test]
    fn a_directory_with_limits_on_calls_is_taken_as_far_as_they_make_sense() {
        for (requests_per_second, burst, concurrent) in
            [(0, 0, 0), (1, 0, 0), (1, 1, 1), (100_000, 1_000_000, 16_384), (0, 0, 5)]
        {
            assert_eq!(checked(requests_per_second, burst, concurrent), Ok(()));
        }
        let out =
            |field, value, allowed| Err(DirectoryRefusal::OutOfRange { field, name: "shop".into(), value, allowed });
        assert_eq!(checked(100_001, 0, 0), out("requests_per_second", 100_001, "0 to 100000"));
        let of_burst = "0 to 1000000, and 0 without requests_per_second";
        assert_eq!(checked(1, 1_000_001, 0), out("burst", 1_000_001, of_burst));
        assert_eq!(checked(0, 1, 0), out("burst", 1, of_burst), "a burst of nothing");
        assert_eq!(checked(0, 0, 16_385), out("concurrent", 16_385, "0 to 16384"));
    }
}
