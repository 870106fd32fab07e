//! What stands where: the top level, and the lists that clippy reads.

use std::collections::BTreeSet;

use crate::tree::{files, read};

/// The house.
const TOP: &[&str] = &["Cargo.toml", "README.md", "admin-cli", "charts", "proto", "switch-node", "tests"];

/// Files of tools.
const TOOLS: &[&str] = &[
    ".cargo",
    ".ci",
    ".dockerignore",
    ".gitattributes",
    ".gitignore",
    "Cargo.lock",
    "clippy.toml",
    "deny.toml",
    "rustfmt.toml",
];

#[test]
fn the_top_level_holds_the_house_and_plain_tool_files() {
    let files = files();
    let top: BTreeSet<&str> = files.iter().map(|file| file.split('/').next().unwrap_or(file)).collect();
    let strange: Vec<_> = top.iter().filter(|name| !TOP.contains(name) && !TOOLS.contains(name)).collect();
    let missing: Vec<_> = TOP.iter().filter(|name| !top.contains(*name)).collect();
    assert!(strange.is_empty() && missing.is_empty(), "strange: {strange:?}, missing: {missing:?}");
}

#[test]
fn each_part_says_what_it_is_in_a_page_of_its_own() {
    for page in ["README.md", "switch-node/ARCHITECTURE.md", "charts/payment-switch/README.md", "tests/README.md"] {
        assert!(read(page).starts_with("# "), "{page} has no title");
    }
}

#[test]
fn clippy_forbids_what_blocks_a_runtime_and_in_the_core_what_differs_between_nodes() {
    let listed = |file: &str, list: &str| -> BTreeSet<String> {
        let table: toml::Table = read(file).parse().unwrap_or_else(|error| panic!("{file}: {error}"));
        let entries = table.get(list).and_then(toml::Value::as_array).cloned().unwrap_or_default();
        entries
            .iter()
            .map(|entry| {
                let reason = entry.get("reason").and_then(toml::Value::as_str).unwrap_or_default();
                let path = entry.get("path").and_then(toml::Value::as_str).expect("an entry has a path");
                assert!(!reason.is_empty(), "{file}: {path} has no reason");
                path.to_owned()
            })
            .collect()
    };
    let has = |file: &str, list: &str, paths: &[&str]| {
        let listed = listed(file, list);
        for path in paths {
            assert!(listed.contains(*path), "{file}: {path} is not in {list}");
        }
    };
    has("clippy.toml", "disallowed-methods", &["std::thread::sleep", "tokio::task::block_in_place"]);
    let in_the_core =
        ["std::collections::HashMap", "std::collections::HashSet", "std::time::Instant", "std::time::SystemTime"];
    has("switch-node/domain/clippy.toml", "disallowed-types", &in_the_core);
}
