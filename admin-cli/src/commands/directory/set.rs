//! `… set`: fields of a record from the command line.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::failure::Failure;

/// The record with these fields set; a new one where there is none yet.
pub(super) fn set<T: Serialize + DeserializeOwned>(
    before: Option<&T>,
    id_field: &str,
    id: &str,
    fields: &[String],
) -> Result<T, Failure> {
    let before = before.map(serde_json::to_value).transpose().map_err(|error| Failure::usage(error.to_string()))?;
    let mut record = match before {
        Some(Value::Object(record)) => record,
        _ => Map::from_iter([(id_field.to_owned(), id.into())]),
    };
    for field in fields {
        let (name, text) = field.split_once('=').ok_or_else(|| Failure::usage(format!("{field} is no FIELD=VALUE")))?;
        if name == id_field {
            return Err(Failure::usage(format!("{id_field} cannot be set: remove the record and add another")));
        }
        record.insert(name.to_owned(), serde_json::from_str(text).unwrap_or_else(|_| text.into()));
    }
    serde_json::from_value(record.into()).map_err(|error| Failure::usage(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{exit::Exit, records::Route};

    fn route(fields: &[&str]) -> Result<Route, Failure> {
        let fields: Vec<String> = fields.iter().map(|field| (*field).to_owned()).collect();
        set(None, "route_id", "visa-4", &fields)
    }

    #[test]
    fn a_value_is_json_and_else_a_text() {
        let made = route(&["range_low=\"4\"", "range_high=\"4\"", "network_id=visa", "enabled=true", "priority=2"]);
        let made = made.expect("a route");
        assert_eq!((made.route_id.as_str(), made.network_id.as_str(), made.priority), ("visa-4", "visa", 2));
        let changed: Route = set(Some(&made), "route_id", "visa-4", &["enabled=false".into()]).expect("a route");
        assert_eq!(changed, Route { enabled: false, ..made });
    }

    #[test]
    fn a_field_that_is_none_or_missing_is_a_usage_error() {
        for fields in [&["enabled"][..], &["lunh=true"], &["route_id=x"], &["enabled=maybe"], &["enabled=true"]] {
            assert_eq!(route(fields).expect_err("refused").exit, Exit::Usage, "{fields:?}");
        }
    }
}
