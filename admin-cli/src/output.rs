//! Data on stdout: tables for people; documents, lines and names for programs.

use comfy_table::{Table, presets::NOTHING};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{cli::Output, exit::Exit, failure::Failure};

/// What the documents promise; a change that breaks readers makes another version.
pub(crate) const API_VERSION: &str = "admin.payswitch.io/v1";

/// What a command found.
#[derive(Clone, Debug)]
pub(crate) struct Sheet {
    kind: &'static str,
    items: Vec<Value>,
    names: Vec<String>,
    parts: Vec<Part>,
    wide: Vec<Part>,
    text: Option<String>,
    exit: Exit,
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
        let items = items.into_iter().map(value).collect();
        Self { kind, items, names: Vec::new(), parts: Vec::new(), wide: Vec::new(), text: None, exit: Exit::Ok }
    }

    /// Text that is the same in every format: a script, a page, a line for a monitor.
    pub(crate) fn text(text: String) -> Self {
        Self { text: Some(text), ..Self::of("Text", [(); 0]) }
    }

    /// And a table of its form for people.
    pub(crate) fn with(mut self, columns: &'static [&'static str], rows: Vec<Vec<String>>) -> Self {
        self.parts.push(Part { columns, rows });
        self
    }

    /// And a table of its wide form, instead of all the others.
    pub(crate) fn wide(mut self, columns: &'static [&'static str], rows: Vec<Vec<String>>) -> Self {
        self.wide.push(Part { columns, rows });
        self
    }

    /// And the name of each item, such as `gateway/shop`.
    pub(crate) fn named(mut self, noun: &str, ids: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.names.extend(ids.into_iter().map(|id| format!("{noun}/{}", id.as_ref())));
        self
    }

    /// And an end that is not simply good.
    pub(crate) fn ending(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// How the command ends.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// In a format.
    pub(crate) fn show(&self, output: Output) -> Result<String, Failure> {
        if let Some(text) = &self.text {
            return Ok(text.clone());
        }
        Ok(match output {
            Output::Table => tables(&self.parts),
            Output::Wide => tables(if self.wide.is_empty() { &self.parts } else { &self.wide }),
            Output::Json => format!("{:#}\n", self.document()),
            Output::Yaml => yaml(&self.document())?,
            Output::Jsonl => self.items.iter().map(|item| format!("{}\n", line(self.kind, item))).collect(),
            Output::Name => self.names.iter().map(|name| format!("{name}\n")).collect(),
        })
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        tables(&self.parts)
    }

    /// As `--help` shows it: keys and hashes cut to what fits on a line.
    #[cfg(test)]
    pub(crate) fn shortened(mut self) -> Self {
        let is_long = |cell: &str| cell.len() > 16 && cell.bytes().all(|byte| byte.is_ascii_hexdigit());
        let parts = self.parts.iter_mut().chain(&mut self.wide);
        for cell in parts.flat_map(|part| &mut part.rows).flatten().filter(|cell| is_long(cell)) {
            *cell = format!("{}…", &cell[..4]);
        }
        self
    }

    fn document(&self) -> Value {
        json!({ "apiVersion": API_VERSION, "kind": self.kind, "items": self.items })
    }
}

/// One item as a document of its own, on one line.
pub(crate) fn line(kind: &str, item: &Value) -> Value {
    json!({ "apiVersion": API_VERSION, "kind": kind.strip_suffix("List").unwrap_or(kind), "item": item })
}

/// As YAML.
pub(crate) fn yaml(value: &Value) -> Result<String, Failure> {
    let text = serde_saphyr::to_string(value);
    let text = text.map_err(|error| Failure::local(Exit::Failure, "YAML", error.to_string()))?;
    Ok(format!("{}\n", text.trim_end()))
}

fn tables(parts: &[Part]) -> String {
    let parts = parts.iter().map(|part| {
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

/// An id as it is written everywhere; nothing for none.
pub(crate) fn hex(id: u64) -> String {
    if id == 0 { "-".to_owned() } else { format!("{id:016x}") }
}

/// Bytes, two digits each.
pub(crate) fn hex_bytes(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A list in one cell.
pub(crate) fn listed(items: &[String]) -> String {
    if items.is_empty() { "-".to_owned() } else { items.join(",") }
}

/// A text in one cell; a dash where it is empty.
pub(crate) fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

/// Yes or no, in words.
pub(crate) fn yes_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

/// A time in milliseconds since 1970, as UTC.
pub(crate) fn time(unix_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(unix_ms).map_or_else(|_| unix_ms.to_string(), |time| format!("{time:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet() -> Sheet {
        let rows = vec![vec![hex(0xff), "voter".to_owned()], vec![hex(0), "learner".to_owned()]];
        let wide = rows.iter().map(|row| [row.clone(), vec!["9".to_owned()]].concat()).collect();
        Sheet::of(
            "MemberList",
            [json!({ "node_id": hex(0xff), "voter": true }), json!({ "node_id": "-", "voter": false })],
        )
        .with(&["NODE", "ROLE"], rows)
        .wide(&["NODE", "ROLE", "MATCHED"], wide)
        .named("member", [hex(0xff), hex(0)])
    }

    /// What each format looks like, letter by letter: programs read it.
    #[test]
    fn every_format_looks_as_it_always_did() {
        let formats = [
            (Output::Table, "NODE              ROLE\n00000000000000ff  voter\n-                 learner\n"),
            (
                Output::Wide,
                "NODE              ROLE     MATCHED\n00000000000000ff  voter    9\n-                 learner  9\n",
            ),
            (
                Output::Json,
                r#"{
  "apiVersion": "admin.payswitch.io/v1",
  "items": [
    {
      "node_id": "00000000000000ff",
      "voter": true
    },
    {
      "node_id": "-",
      "voter": false
    }
  ],
  "kind": "MemberList"
}
"#,
            ),
            (
                Output::Yaml,
                r#"apiVersion: admin.payswitch.io/v1
items:
- node_id: 00000000000000ff
  voter: true
- node_id: '-'
  voter: false
kind: MemberList
"#,
            ),
            (
                Output::Jsonl,
                concat!(
                    r#"{"apiVersion":"admin.payswitch.io/v1","item":{"node_id":"00000000000000ff","voter":true},"kind":"Member"}"#,
                    "\n",
                    r#"{"apiVersion":"admin.payswitch.io/v1","item":{"node_id":"-","voter":false},"kind":"Member"}"#,
                    "\n"
                ),
            ),
            (Output::Name, "member/00000000000000ff\nmember/-\n"),
        ];
        for (output, expected) in formats {
            assert_eq!(sheet().show(output).expect("it shows"), expected, "{output:?}");
        }
    }

    #[test]
    fn two_tables_are_apart() {
        let two = sheet().with(&["LINK"], vec![vec!["visa-1".to_owned()]]);
        assert!(two.table().ends_with("learner\n\nLINK\nvisa-1\n"), "{}", two.table());
    }

    #[test]
    fn yaml_reads_back_as_what_it_was() {
        let value =
            json!({ "a": ["-", "0000000000000012", "0x1f", "1e3", "yes", "", "x: y"], "b": { "c": null, "d": -5 } });
        let back: Value = serde_saphyr::from_str(&yaml(&value).expect("YAML")).expect("YAML");
        assert_eq!(back, value);
    }

    #[test]
    fn a_time_is_utc_to_the_millisecond() {
        assert_eq!(time(1_790_000_000_123), "2026-09-21T14:13:20.123Z");
    }
}
