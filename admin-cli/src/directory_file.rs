//! The directory in a file, YAML, TOML or JSON: records as they shall be, and changes one by one.
//!
//! ```yaml
//! expected_version: 4          # as it was read; without it the version that the file is compared with
//! routes:
//! - route_id: visa-4
//!   range_low: "4"
//!   range_high: "4"
//!   network_id: visa
//!   enabled: true
//! changes:
//! - remove_link: visa-old
//! ```

use std::{collections::BTreeMap, fs, io::Read as _, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use switch_proto::operator::v1::{self as pb, directory_change::Change as Wire};

use crate::{
    exit::Exit,
    failure::Failure,
    records::{Gateway, Link, Network, Route},
};

/// What a file asks for.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DirectoryFile {
    #[serde(default)]
    pub(crate) expected_version: Option<u64>,
    /// Key of the call; a random one without it.
    #[serde(default)]
    pub(crate) request_id: Option<String>,
    #[serde(default)]
    changes: Vec<Change>,
    #[serde(default)]
    gateways: Option<Vec<Gateway>>,
    #[serde(default)]
    networks: Option<Vec<Network>>,
    #[serde(default)]
    links: Option<Vec<Link>>,
    #[serde(default)]
    routes: Option<Vec<Route>>,
}

impl DirectoryFile {
    /// What has to change so that the directory is as the file says: what others need comes first and goes last. With
    /// `prune`, records that the file does not name are removed, of the kinds that it names at all.
    pub(crate) fn changes(self, known: &Known, prune: bool) -> Vec<Change> {
        let Self { changes, gateways, networks, links, routes, .. } = self;
        let (mut put, mut remove) = (changes, Vec::new());
        known.compare("network", networks, Change::PutNetwork, Change::RemoveNetwork, &mut put, &mut remove);
        known.compare("gateway", gateways, Change::PutGateway, Change::RemoveGateway, &mut put, &mut remove);
        known.compare("link", links, Change::PutLink, Change::RemoveLink, &mut put, &mut remove);
        known.compare("route", routes, Change::PutRoute, Change::RemoveRoute, &mut put, &mut remove);
        if prune {
            remove.reverse();
            put.extend(remove);
        }
        put
    }
}

/// Records as the directory has them now, by kind and id.
pub(crate) struct Known {
    records: BTreeMap<(&'static str, String), Value>,
    retention: Value,
}

impl Known {
    /// Of a directory.
    pub(crate) fn of(directory: pb::Directory) -> Self {
        let pb::Directory { version: _, gateways, networks, links, routes, retention_days } = directory;
        let mut known = Self { records: BTreeMap::new(), retention: retention_of(retention_days) };
        known.add("gateway", gateways.into_iter().map(Gateway::from));
        known.add("network", networks.into_iter().map(Network::from));
        known.add("link", links.into_iter().map(Link::from));
        known.add("route", routes.into_iter().map(Route::from));
        known
    }

    /// What a change replaces; nothing where there is none.
    pub(crate) fn before(&self, change: &Change) -> Option<&Value> {
        let (_, kind, id) = change.names();
        match change {
            Change::SetRetentionDays(_) => Some(&self.retention),
            Change::PutGateway(_)
            | Change::PutNetwork(_)
            | Change::PutLink(_)
            | Change::PutRoute(_)
            | Change::RemoveGateway(_)
            | Change::RemoveNetwork(_)
            | Change::RemoveLink(_)
            | Change::RemoveRoute(_) => self.record(kind, &id),
        }
    }

    fn record(&self, kind: &'static str, id: &str) -> Option<&Value> {
        self.records.get(&(kind, id.to_owned()))
    }

    fn add<T: Serialize + Switch>(&mut self, kind: &'static str, records: impl Iterator<Item = T>) {
        self.records.extend(records.map(|record| ((kind, record.id().to_owned()), as_value(&record))));
    }

    fn compare<T: Serialize + Switch>(
        &self,
        kind: &'static str,
        wanted: Option<Vec<T>>,
        to_put: fn(T) -> Change,
        to_remove: fn(String) -> Change,
        put: &mut Vec<Change>,
        remove: &mut Vec<Change>,
    ) {
        let Some(wanted) = wanted else { return };
        let named: Vec<String> = wanted.iter().map(|record| record.id().to_owned()).collect();
        let of_kind = self.records.keys().filter(|(known, _)| *known == kind);
        remove.extend(of_kind.filter(|(_, id)| !named.contains(id)).map(|(_, id)| to_remove(id.clone())));
        let differs = |record: &T| self.record(kind, record.id()) != Some(&as_value(record));
        put.extend(wanted.into_iter().filter(differs).map(to_put));
    }
}

/// As it is shown: it belongs to the whole directory, and to no record.
fn retention_of(days: u32) -> Value {
    json!({ "retention_days": days })
}

fn as_value(record: &impl Serialize) -> Value {
    serde_json::to_value(record).unwrap_or_default()
}

/// A record with an id that can be switched on and off.
pub(crate) trait Switch {
    /// Its id.
    fn id(&self) -> &str;

    /// The same, on or off.
    fn switched(self, on: bool) -> Self;
}

macro_rules! switches {
    ($($name:ident $id:ident)*) => {$(
        impl Switch for $name {
            fn id(&self) -> &str {
                &self.$id
            }

            fn switched(self, on: bool) -> Self {
                Self { enabled: on, ..self }
            }
        }
    )*};
}

switches! { Gateway gateway_id Network network_id Link link_id Route route_id }

/// One change.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Change {
    PutGateway(Gateway),
    PutNetwork(Network),
    PutLink(Link),
    PutRoute(Route),
    RemoveGateway(String),
    RemoveNetwork(String),
    RemoveLink(String),
    RemoveRoute(String),
    SetRetentionDays(u32),
}

impl Change {
    /// What it does, to what kind of record, and to which.
    pub(crate) fn names(&self) -> (&'static str, &'static str, String) {
        match self {
            Self::PutGateway(gateway) => ("put", "gateway", gateway.gateway_id.clone()),
            Self::PutNetwork(network) => ("put", "network", network.network_id.clone()),
            Self::PutLink(link) => ("put", "link", link.link_id.clone()),
            Self::PutRoute(route) => ("put", "route", route.route_id.clone()),
            Self::RemoveGateway(id) => ("remove", "gateway", id.clone()),
            Self::RemoveNetwork(id) => ("remove", "network", id.clone()),
            Self::RemoveLink(id) => ("remove", "link", id.clone()),
            Self::RemoveRoute(id) => ("remove", "route", id.clone()),
            Self::SetRetentionDays(days) => ("set", "retention_days", days.to_string()),
        }
    }

    /// The record as it shall be; nothing where it goes.
    pub(crate) fn record(&self) -> Option<Value> {
        match self {
            Self::PutGateway(gateway) => Some(as_value(gateway)),
            Self::PutNetwork(network) => Some(as_value(network)),
            Self::PutLink(link) => Some(as_value(link)),
            Self::PutRoute(route) => Some(as_value(route)),
            Self::SetRetentionDays(days) => Some(retention_of(*days)),
            Self::RemoveGateway(_) | Self::RemoveNetwork(_) | Self::RemoveLink(_) | Self::RemoveRoute(_) => None,
        }
    }

    /// True where something goes.
    pub(crate) fn removes(&self) -> bool {
        self.names().0 == "remove"
    }
}

impl From<Change> for pb::DirectoryChange {
    fn from(change: Change) -> Self {
        let change = match change {
            Change::PutGateway(gateway) => Wire::PutGateway(gateway.into()),
            Change::PutNetwork(network) => Wire::PutNetwork(network.into()),
            Change::PutLink(link) => Wire::PutLink(link.into()),
            Change::PutRoute(route) => Wire::PutRoute(route.into()),
            Change::RemoveGateway(id) => Wire::RemoveGateway(id),
            Change::RemoveNetwork(id) => Wire::RemoveNetwork(id),
            Change::RemoveLink(id) => Wire::RemoveLink(id),
            Change::RemoveRoute(id) => Wire::RemoveRoute(id),
            Change::SetRetentionDays(days) => Wire::SetRetentionDays(days),
        };
        Self { change: Some(change) }
    }
}

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// YAML; JSON is YAML too.
    Yaml,
    /// TOML.
    Toml,
}

/// Reads a file; `-` is standard input. TOML where its name ends so, YAML or JSON else.
pub(crate) fn read(path: &Path) -> Result<DirectoryFile, Failure> {
    let unreadable = |error: std::io::Error| file_failure(path, &error.to_string());
    let text = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
        text
    } else {
        fs::read_to_string(path).map_err(unreadable)?
    };
    let is_toml = path.extension().is_some_and(|extension| extension == "toml");
    parse(&text, if is_toml { Form::Toml } else { Form::Yaml }).map_err(|words| file_failure(path, &words))
}

/// Reads a text.
pub(crate) fn parse(text: &str, form: Form) -> Result<DirectoryFile, String> {
    match form {
        Form::Toml => toml::from_str(text).map_err(|error| error.to_string()),
        Form::Yaml => serde_saphyr::from_str(text).map_err(|error| error.to_string()),
    }
}

/// Bytes of a whole directory, with room.
const FILE_BYTES_MAX: u64 = 64 << 20;

fn file_failure(path: &Path, words: &str) -> Failure {
    Failure::local(Exit::Usage, "FILE", format!("{}: {words}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOML: &str = r#"
        expected_version = 4

        [[changes]]
        [changes.put_route]
        route_id = "visa-4"
        range_low = "4"
        range_high = "4"
        network_id = "visa"
        enabled = true
        luhn = true

        [[changes]]
        remove_link = "visa-old"

        [[changes]]
        set_retention_days = 500
    "#;

    const JSON: &str = r#"{
        "expected_version": 4,
        "changes": [
            { "put_route": { "route_id": "visa-4", "range_low": "4", "range_high": "4", "network_id": "visa",
                             "enabled": true, "luhn": true } },
            { "remove_link": "visa-old" },
            { "set_retention_days": 500 }
        ]
    }"#;

    const YAML: &str = "
expected_version: 4
changes:
- put_route: { route_id: visa-4, range_low: '4', range_high: '4', network_id: visa, enabled: true, luhn: true }
- remove_link: visa-old
- set_retention_days: 500
";

    #[test]
    fn toml_json_and_yaml_say_the_same() {
        let file = parse(TOML, Form::Toml).expect("TOML");
        assert_eq!(file, parse(JSON, Form::Yaml).expect("JSON"));
        assert_eq!(file, parse(YAML, Form::Yaml).expect("YAML"));
        let names: Vec<_> =
            file.changes.iter().map(Change::names).map(|(verb, kind, id)| format!("{verb} {kind} {id}")).collect();
        assert_eq!(names, ["put route visa-4", "remove link visa-old", "set retention_days 500"]);
        assert_eq!(
            pb::DirectoryChange::from(file.changes[1].clone()).change,
            Some(Wire::RemoveLink("visa-old".to_owned()))
        );
    }

    #[test]
    fn a_name_that_is_not_in_the_contract_is_refused() {
        for text in [
            JSON.replace("\"luhn\"", "\"lunh\""),
            JSON.replace("remove_link", "delete_link"),
            JSON.replace("\"changes\"", "\"change\""),
            JSON.replace("\"enabled\": true,", ""),
        ] {
            parse(&text, Form::Yaml).expect_err(&text);
        }
    }

    #[test]
    fn only_what_differs_changes_and_only_pruning_removes() {
        let gateway = |id: &str, enabled| pb::Gateway { gateway_id: id.into(), enabled, ..pb::Gateway::default() };
        let link = pb::Link { link_id: "visa-1".into(), ..pb::Link::default() };
        let gateways = vec![gateway("shop", true), gateway("market", true), gateway("kiosk", true)];
        let known = Known::of(pb::Directory { gateways, links: vec![link], ..pb::Directory::default() });
        let text = "gateways: [{ gateway_id: shop, enabled: true }, { gateway_id: market, enabled: false }]";
        let file = parse(text, Form::Yaml).expect("a file");
        let names = |prune| {
            let changes = file.clone().changes(&known, prune);
            changes
                .iter()
                .map(|change| {
                    let (verb, _, id) = change.names();
                    format!("{verb} {id}")
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(names(false), ["put market"]);
        // The link stays: the file says nothing of links.
        assert_eq!(names(true), ["put market", "remove kiosk"]);
    }
}
