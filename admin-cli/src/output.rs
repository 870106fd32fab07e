//! Data on stdout: tables for people, one JSON document for programs.

use comfy_table::{Table, presets::NOTHING};
use serde::Serialize;
use serde_json::{Value, json};

/// What the JSON documents promise; a change that breaks readers makes another version.
const API_VERSION: &str = "admin.payswitch.io/v1";

/// What a command found.
#[derive(Clone, Debug)]
pub(crate) struct Sheet {
    kind: &'static str,
    items: Vec<Value>,
    parts: Vec<Part>,
}

/// One table of a sheet.
#[derive(Clone, Debug)]
struct Part {
    columns: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

impl Sheet {
    /// With the items of its JSON form. Their names are those of the contract.
    pub(crate) fn of<T: Serialize>(kind: &'static str, items: impl IntoIterator<Item = T>) -> Self {
        let value = |item: T| serde_json::to_value(item).unwrap_or(Value::Null);
        Self { kind, items: items.into_iter().map(value).collect(), parts: Vec::new() }
    }

    /// And a table of its other form.
    pub(crate) fn with(mut self, columns: &'static [&'static str], rows: Vec<Vec<String>>) -> Self {
        self.parts.push(Part { columns, rows });
        self
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let parts = self.parts.iter().map(|part| {
            let mut table = Table::new();
            table.load_style(NOTHING).set_header(part.columns.to_vec());
            for row in &part.rows {
                table.add_row(row.clone());
            }
            // Cells have a blank on either side.
            table
                .lines()
                .map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(&line).trim_end()))
                .collect::<String>()
        });
        parts.collect::<Vec<_>>().join("\n")
    }

    /// For programs.
    pub(crate) fn json(&self) -> String {
        let document = json!({ "apiVersion": API_VERSION, "kind": self.kind, "items": self.items });
        format!("{document:#}\n")
    }
}

/// An id as it is written everywhere; nothing for none.
pub(crate) fn hex(id: u64) -> String {
    if id == 0 { "-".to_owned() } else { format!("{id:016x}") }
}

/// A list in one cell.
pub(crate) fn listed(items: &[String]) -> String {
    if items.is_empty() { "-".to_owned() } else { items.join(",") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet() -> Sheet {
        Sheet::of("MemberList", [json!({ "node_id": hex(0xff), "voter": true })])
            .with(&["NODE", "ROLE"], vec![vec![hex(0xff), "voter".to_owned()], vec![hex(0), "learner".to_owned()]])
    }

    #[test]
    fn a_table_has_a_head_and_aligned_columns() {
        let expected = "NODE              ROLE\n00000000000000ff  voter\n-                 learner\n";
        assert_eq!(sheet().table(), expected);
    }

    #[test]
    fn two_tables_are_apart() {
        let two = sheet().with(&["LINK"], vec![vec!["visa-1".to_owned()]]);
        assert!(two.table().ends_with("learner\n\nLINK\nvisa-1\n"), "{}", two.table());
    }

    #[test]
    fn a_document_names_its_version_and_kind() {
        let read: Value = serde_json::from_str(&sheet().json()).expect("JSON");
        let expected = json!({
            "apiVersion": "admin.payswitch.io/v1",
            "kind": "MemberList",
            "items": [{ "node_id": "00000000000000ff", "voter": true }],
        });
        assert_eq!(read, expected);
    }
}
