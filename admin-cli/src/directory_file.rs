//! Changes of the directory in a file, JSON or TOML:
//!
//! ```toml
//! expected_version = 4        # as it was read; without it the changes apply to any version
//!
//! [[changes]]
//! [changes.put_route]
//! route_id = "visa-4"
//! range_low = "4"
//! range_high = "4"
//! network_id = "visa"
//! enabled = true
//! luhn = true
//!
//! [[changes]]
//! remove_link = "visa-old"
//! ```

use std::{fs, io::Read as _, path::Path};

use serde::Deserialize;
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
    pub(crate) changes: Vec<Change>,
}

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

/// Reads a file; `-` is standard input. TOML where its name ends so, JSON else.
pub(crate) fn read(path: &Path) -> Result<DirectoryFile, Failure> {
    let unreadable = |error: std::io::Error| file_failure(path, &error.to_string());
    let text = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(unreadable)?;
        text
    } else {
        fs::read_to_string(path).map_err(unreadable)?
    };
    let is_toml = path.extension().is_some_and(|extension| extension == "toml");
    parse(&text, is_toml).map_err(|words| file_failure(path, &words))
}

fn parse(text: &str, is_toml: bool) -> Result<DirectoryFile, String> {
    if is_toml {
        toml::from_str(text).map_err(|error| error.to_string())
    } else {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }
}

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

    #[test]
    fn toml_and_json_say_the_same() {
        let file = parse(TOML, true).expect("TOML");
        assert_eq!(file, parse(JSON, false).expect("JSON"));
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
            parse(&text, false).expect_err(&text);
        }
    }
}
