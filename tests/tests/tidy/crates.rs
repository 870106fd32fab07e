//! Which crates come in, under which licences, and which of ours knows which: `deny.toml`, read over `cargo metadata`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use serde_json::Value;

use crate::tree::{output, read};

/// The contents of this machine's build: features on, other platforms left out.
static METADATA: LazyLock<Value> = LazyLock::new(|| {
    let version = output("rustc", &["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let arguments = ["metadata", "--offline", "--locked", "--format-version", "1", "--filter-platform", host];
    serde_json::from_str(&output(&cargo, &arguments)).expect("cargo metadata prints JSON")
});

/// Crates that would bring a runtime, a wire, a disk, a clock or chance into the core.
const NOT_IN_THE_CORE: &[&str] = &[
    "chrono",
    "fjall",
    "getrandom",
    "hyper",
    "jiff",
    "openraft",
    "parking_lot",
    "prost",
    "rand",
    "raft-log",
    "ring",
    "rustls",
    "time",
    "tokio",
    "tonic",
    "tracing",
];

/// Crates of which two versions would be two wires, or two sets of keys.
const ONCE: &[&str] =
    &["fjall", "h2", "hyper", "openraft", "prost", "ring", "rustls", "rustls-webpki", "tokio", "tonic"];

#[test]
fn the_core_knows_no_runtime_no_wire_no_disk_and_no_chance() {
    let below = below("switch-domain");
    let strange: Vec<_> = NOT_IN_THE_CORE.iter().filter(|name| below.contains(**name)).collect();
    assert!(strange.is_empty(), "switch-domain depends on {strange:?}");
}

#[test]
fn core_and_consensus_do_not_know_each_other() {
    assert!(!below("switch-consensus").contains("switch-domain"));
    let of_the_core = below("switch-domain");
    assert!(!of_the_core.contains("switch-consensus") && !of_the_core.contains("switch-proto"));
}

#[test]
fn only_consensus_knows_openraft_and_its_log() {
    for (name, package) in workspace() {
        for dependency in normal_dependencies(package) {
            let inside = dependency.starts_with("openraft") || dependency == "raft-log" || dependency == "codeq";
            assert!(!inside || name == "switch-consensus", "{name} depends on {dependency}");
        }
    }
}

#[test]
fn the_operators_client_knows_only_the_contracts() {
    let ours: Vec<_> = below("admin-cli").into_iter().filter(|name| workspace().contains_key(name)).collect();
    assert_eq!(ours, ["switch-proto"]);
}

#[test]
fn nothing_that_is_shipped_knows_the_tests() {
    for name in ["switch-node", "admin-cli"] {
        assert!(!below(name).contains("switch-tests"), "{name} depends on switch-tests");
    }
}

#[test]
fn no_denied_crate_is_locked() {
    let denied = deny_list("bans", "deny");
    assert!(denied.len() > 40, "deny.toml names {} crates", denied.len());
    let mut found = Vec::new();
    for entry in denied {
        let rule = entry.get("crate").and_then(toml::Value::as_str).expect("an entry names a crate");
        assert!(entry.get("reason").is_some(), "{rule} is denied without a reason");
        let (name, range) = rule.split_once(':').unwrap_or((rule, ""));
        for version in locked().get(name).into_iter().flatten() {
            if within(version, range) {
                found.push(format!("{name} {version}: {}", entry["reason"]));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_licence_is_allowed() {
    let allowed: BTreeSet<String> =
        deny_list("licenses", "allow").iter().filter_map(|licence| Some(licence.as_str()?.to_owned())).collect();
    let packages = METADATA["packages"].as_array().expect("packages");
    let refused: Vec<String> = packages
        .iter()
        .filter(|package| !package["license"].as_str().is_some_and(|licence| permits(licence, &allowed)))
        .map(|package| format!("{}: {}", package["name"], package["license"]))
        .collect();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

#[test]
fn everything_comes_from_the_registry_or_from_here() {
    for package in METADATA["packages"].as_array().expect("packages") {
        let (name, source) = (&package["name"], package["source"].as_str());
        let from_here = source.is_none() && workspace().contains_key(name.as_str().unwrap_or_default());
        assert!(
            from_here || source.is_some_and(|source| source.starts_with("registry+")),
            "{name} comes from {source:?}"
        );
    }
}

#[test]
fn wire_keys_and_consensus_are_locked_in_one_version_each() {
    for name in ONCE {
        let versions = locked().get(*name).cloned().unwrap_or_default();
        assert_eq!(versions.len(), 1, "{name}: {versions:?}");
    }
}

#[test]
fn alphas_and_the_log_are_pinned_to_the_letter() {
    let manifest: toml::Table = read("Cargo.toml").parse().expect("Cargo.toml");
    let pinned = manifest["workspace"]["dependencies"].as_table().expect("dependencies of the workspace");
    let mut seen = 0;
    for (name, dependency) in pinned {
        if name.starts_with("openraft") || name == "raft-log" {
            let version = dependency.as_str().or(dependency.get("version").and_then(toml::Value::as_str));
            assert!(version.is_some_and(|version| version.starts_with('=')), "{name} = {version:?}");
            seen += 1;
        }
    }
    assert!(seen >= 3, "openraft, openraft-rt-tokio and raft-log are expected");
}

#[test]
fn every_version_is_named_once_in_the_workspace() {
    for package in workspace().values() {
        let manifest = package["manifest_path"].as_str().expect("a manifest");
        let text = std::fs::read_to_string(manifest).expect("a manifest can be read");
        let table: toml::Table = text.parse().expect("a manifest is TOML");
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for (name, dependency) in table.get(kind).and_then(toml::Value::as_table).into_iter().flatten() {
                let workspace = dependency.get("workspace").and_then(toml::Value::as_bool);
                assert_eq!(workspace, Some(true), "{manifest}: {name} has a version of its own");
            }
        }
    }
}

fn deny_list(section: &str, list: &str) -> Vec<toml::Value> {
    let table: toml::Table = read("deny.toml").parse().expect("deny.toml is TOML");
    table[section][list].as_array().cloned().expect("a list of deny.toml")
}

fn workspace() -> BTreeMap<String, &'static Value> {
    let members: BTreeSet<&str> =
        METADATA["workspace_members"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let packages = METADATA["packages"].as_array().expect("packages");
    packages
        .iter()
        .filter(|package| package["id"].as_str().is_some_and(|id| members.contains(id)))
        .map(|package| (package["name"].as_str().expect("a name").to_owned(), package))
        .collect()
}

fn normal_dependencies(package: &Value) -> Vec<&str> {
    let dependencies = package["dependencies"].as_array().into_iter().flatten();
    dependencies
        .filter(|dependency| dependency["kind"].is_null())
        .filter_map(|dependency| dependency["name"].as_str())
        .collect()
}

/// Every crate that is linked with the member `name`, whatever is between them.
fn below(name: &str) -> BTreeSet<String> {
    let names: BTreeMap<&str, &str> = METADATA["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|package| Some((package["id"].as_str()?, package["name"].as_str()?)))
        .collect();
    let nodes: BTreeMap<&str, &Value> = METADATA["resolve"]["nodes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|node| Some((node["id"].as_str()?, node)))
        .collect();
    let mut open = vec![workspace()[name]["id"].as_str().expect("an id")];
    let mut seen = BTreeSet::new();
    while let Some(id) = open.pop() {
        for dependency in nodes[id]["deps"].as_array().into_iter().flatten() {
            let linked = dependency["dep_kinds"].as_array().into_iter().flatten().any(|kind| kind["kind"].is_null());
            let id = dependency["pkg"].as_str().expect("an id");
            if linked && seen.insert(id) {
                open.push(id);
            }
        }
    }
    seen.into_iter().map(|id| names[id].to_owned()).collect()
}

/// Every version of every crate in the lock file, other platforms' too.
fn locked() -> &'static BTreeMap<String, Vec<String>> {
    static LOCKED: LazyLock<BTreeMap<String, Vec<String>>> = LazyLock::new(|| {
        let lock: toml::Table = read("Cargo.lock").parse().expect("Cargo.lock is TOML");
        let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for package in lock["package"].as_array().expect("packages") {
            let text = |key| package.get(key).and_then(toml::Value::as_str).expect("name and version").to_owned();
            versions.entry(text("name")).or_default().push(text("version"));
        }
        versions
    });
    &LOCKED
}

/// True where `version` is in `range`: bounds `<`, `>=` between commas, all of which must hold; an empty range is any.
fn within(version: &str, range: &str) -> bool {
    range.split(',').map(str::trim).filter(|bound| !bound.is_empty()).all(|bound| {
        if let Some(bound) = bound.strip_prefix(">=") {
            numbers(version) >= numbers(bound)
        } else if let Some(bound) = bound.strip_prefix('<') {
            numbers(version) < numbers(bound)
        } else {
            panic!("{bound} is not a bound that is understood here")
        }
    })
}

fn numbers(version: &str) -> Vec<u64> {
    let release = version.split(['-', '+']).next().unwrap_or(version);
    release.split('.').map(|part| part.trim().parse().unwrap_or_else(|_| panic!("{version} is no version"))).collect()
}

/// True where the SPDX expression can be fulfilled with `allowed` licences. A slash is the old way to write OR.
fn permits(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let permitted = either(&mut words, allowed);
    assert_eq!(words.next(), None, "{expression}");
    permitted
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn either(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> bool {
    let mut permitted = both(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        permitted |= both(words, allowed);
    }
    permitted
}

fn both(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> bool {
    let mut permitted = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        permitted &= one(words, allowed);
    }
    permitted
}

fn one(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> bool {
    let word = words.next().expect("a licence");
    if word == "(" {
        let permitted = either(words, allowed);
        assert_eq!(words.next(), Some(")"));
        return permitted;
    }
    match words.next_if_eq(&"WITH") {
        Some(_) => allowed.contains(&format!("{word} WITH {}", words.next().expect("an exception"))),
        None => allowed.contains(word),
    }
}

#[test]
fn licences_and_versions_are_read_as_they_are_meant() {
    let allowed = ["MIT", "ISC"].map(str::to_owned).into();
    for good in ["MIT", "MIT/Apache-2.0", "GPL-3.0 OR (ISC AND MIT)", "Apache-2.0 WITH LLVM-exception OR MIT"] {
        assert!(permits(good, &allowed), "{good}");
    }
    for bad in ["GPL-3.0", "MIT AND Apache-2.0", "(MIT OR ISC) AND GPL-3.0", "MIT WITH Classpath-exception"] {
        assert!(!permits(bad, &allowed), "{bad}");
    }
    assert!(within("0.4.9", "<0.4.16") && !within("0.4.16", "<0.4.16") && within("1.0.0", ""));
    assert!(within("0.9.2", ">=0.9.0, <0.9.3") && !within("0.8.8", ">=0.9.0, <0.9.3"));
}
