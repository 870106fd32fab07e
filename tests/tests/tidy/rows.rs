//! Who uses whom inside the node: a row uses the rows below it, never its own row's neighbours, never upwards.

use crate::tree::{line_of, shipped};

const SOURCES: &str = "switch-node/src";

/// Top row first. What a row holds may be used by every row above it. A module inside a station has a row of its own where
/// it is named here.
///
/// `config` and `world` stand above the stations: they gather the stations' own settings and seams, for `node`.
/// `codec` stands at the bottom: it knows the domain and the contracts only, and the storage keeps what it writes.
const ROWS: &[&[&str]] = &[
    &["main", "lib"],
    &["node"],
    &["config", "world"],
    &["gateway", "ops"],
    &["flow"],
    &["router", "outcome", "keyring"],
    &["journal", "link", "door"],
    &["storage", "security"],
    &["telemetry", "codec"],
];

/// Arrows that go sideways or upwards all the same: from, to, why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Arrow {
    from: &'static str,
    to: &'static str,
    place: String,
}

#[test]
fn a_row_uses_only_the_rows_below_it() {
    let wrong: Vec<String> = arrows()
        .into_iter()
        .filter(|arrow| row(arrow.from) >= row(arrow.to) && !is_exception(arrow))
        .map(|arrow| format!("{}: {} uses {}", arrow.place, arrow.from, arrow.to))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_exception_to_the_rows_is_needed() {
    for (from, to, reason) in EXCEPTIONS {
        assert!(row(from) >= row(to), "{from} may use {to}: {reason}");
        assert!(arrows().iter().any(|arrow| arrow.from == *from && arrow.to == *to), "{from} uses {to} no more");
    }
}

fn is_exception(arrow: &Arrow) -> bool {
    EXCEPTIONS.iter().any(|(from, to, _)| arrow.from == *from && arrow.to == *to)
}

fn row(station: &str) -> usize {
    ROWS.iter().position(|row| row.contains(&station)).expect("a station is found in ROWS")
}

/// The name in [`ROWS`] of what a path from the crate's root leads to.
fn station(path: &[&str]) -> &'static str {
    let inner = path.iter().take(2).copied().collect::<Vec<_>>().join("::");
    // `crate::run` and types at the root are the crate's own face, which stands in the top row.
    let outer = path.first().filter(|name| name.starts_with(char::is_lowercase) && **name != "run").unwrap_or(&"lib");
    let named = |wanted: &str| ROWS.iter().flat_map(|row| row.iter()).find(|name| **name == wanted);
    named(&inner).or_else(|| named(outer)).unwrap_or_else(|| panic!("{outer} stands in no row: give it one in ROWS"))
}

fn arrows() -> Vec<Arrow> {
    let mut arrows = Vec::new();
    for (file, code) in shipped(SOURCES) {
        let path = file.strip_prefix(SOURCES).and_then(|rest| rest.strip_prefix('/')).expect("a source of the node");
        let own = module(path);
        let from = if own.is_empty() { "lib" } else { station(&own) };
        for (used, place) in uses(&own, &code) {
            let to = station(&used);
            if to != from {
                arrows.push(Arrow { from, to, place: format!("{file}:{}", line_of(&code, place)) });
            }
        }
    }
    arrows.sort();
    arrows
}

/// The module that a file holds, as a path from the crate's root.
fn module(file: &str) -> Vec<&str> {
    let stem = file.strip_suffix("/mod.rs").or(file.strip_suffix(".rs")).expect("a Rust file");
    if stem == "lib" { Vec::new() } else { stem.split('/').collect() }
}

/// The paths from the crate's root that the code of the module `own` names with `crate::` or `super::`, and where.
fn uses<'a>(own: &[&'a str], code: &'a str) -> Vec<(Vec<&'a str>, usize)> {
    let mut used = Vec::new();
    for prefix in ["crate::", "super::"] {
        for (place, _) in code.match_indices(prefix) {
            let before = &code[..place];
            if before.ends_with("::") || before.ends_with(|last: char| last.is_alphanumeric() || last == '_') {
                continue;
            }
            let mut rest = &code[place..];
            let mut base = own.to_vec();
            if prefix == "crate::" {
                (rest, base) = (&rest[prefix.len()..], Vec::new());
            }
            while let Some(up) = rest.strip_prefix("super::") {
                base.pop();
                rest = up;
            }
            used.extend(paths(rest).into_iter().map(|path| ([base.as_slice(), path.as_slice()].concat(), place)));
        }
    }
    used
}

/// Every path of the tree of paths that begins here, `a::{b, c::d}` for example, down to the second name.
fn paths(text: &str) -> Vec<Vec<&str>> {
    if let Some(group) = text.strip_prefix('{') {
        return members(group).into_iter().flat_map(|member| paths(member.trim_start())).collect();
    }
    let name = text.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next().unwrap_or_default();
    if name.is_empty() || name == "self" {
        return Vec::new();
    }
    let below = text[name.len()..].strip_prefix("::").map(paths).filter(|below| !below.is_empty());
    below.map_or_else(|| vec![vec![name]], |below| below.iter().map(|path| vec![name, path[0]]).collect())
}

/// What stands between the commas of a group that has been opened, up to its end.
fn members(group: &str) -> Vec<&str> {
    let (mut members, mut depth, mut from) = (Vec::new(), 0u32, 0);
    for (place, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                members.push(&group[from..place]);
                from = place + 1;
                if letter == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    members
}

#[test]
fn paths_and_groups_of_paths_are_understood() {
    let code =
        "use crate::{a::{self, b}, c::D, e};\nfn f(x: &crate::g::H) {}\nuse super::super::i::J;\nuse super::k;\n";
    let named = |file| {
        let names: Vec<_> = uses(&module(file), code).into_iter().map(|(path, _)| path.join("::")).collect();
        names.join(" ")
    };
    assert_eq!(named("flow/authorize.rs"), "a::b c::D e g::H i::J flow::k");
    assert_eq!(named("x/y/z.rs"), "a::b c::D e g::H x::i::J x::y::k");
    assert_eq!(line_of(code, uses(&module("flow/authorize.rs"), code)[3].1), 2);
}
