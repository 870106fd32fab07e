//! What no file may hold, and what every module must begin with.

use crate::tree::{line_of, read, shipped, texts};

/// The one file where digits that look like a card number may stand.
const CARDS: &str = "tests/src/sandbox/cards.rs";

/// Its checksums are hexadecimal.
const LOCK: &str = "Cargo.lock";

#[test]
fn card_numbers_stand_only_in_the_sandboxs_table() {
    let mut found = Vec::new();
    for (file, text) in texts().iter().filter(|(file, _)| file != CARDS && file != LOCK) {
        // The place, never the digits: whoever reads this output need not see them.
        found.extend(card_numbers(text).into_iter().map(|place| format!("{file}:{}", line_of(text, place))));
    }
    assert!(
        found.is_empty(),
        "digits that look like a card number, name a card of {CARDS} instead:\n{}",
        found.join("\n")
    );
}

#[test]
fn every_module_begins_by_saying_what_it_is() {
    // Tests in a file of their own are introduced by the module they belong to.
    let modules = texts().into_iter().filter(|(file, _)| file.ends_with(".rs") && !file.ends_with("/tests.rs"));
    let silent: Vec<_> = modules.filter(|(_, text)| !text.starts_with("//! ")).map(|(file, _)| file).collect();
    assert!(silent.is_empty(), "no //! line at the top of:\n{}", silent.join("\n"));
}

#[test]
fn nothing_is_left_for_later() {
    // Taken apart, so that this file does not find itself.
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("db", "g!("),
        concat!("../", "shared"),
    ];
    let mut found = Vec::new();
    for (file, text) in texts().iter().filter(|(file, _)| file != LOCK) {
        for mark in marks {
            found.extend(text.match_indices(mark).map(|(place, _)| format!("{file}:{}: {mark}", line_of(text, place))));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_page_is_named_that_is_not_here() {
    let texts = texts();
    let mut found = Vec::new();
    for (file, text) in &texts {
        for (place, _) in text.match_indices(".md") {
            let name = text[..place].rsplit(|letter: char| !letter.is_alphanumeric() && letter != '_').next();
            let page = format!("{}.md", name.unwrap_or_default());
            let is_here = |(file, _): &(String, String)| file.rsplit('/').next() == Some(&page);
            if page != ".md" && !texts.iter().any(is_here) {
                found.push(format!("{file}:{}: {page}", line_of(text, place)));
            }
        }
        // Notes from before the tree.
        for note in [concat!("FIELD", " b-"), concat!("DESIGN", ":")] {
            found.extend(text.match_indices(note).map(|(place, _)| format!("{file}:{}: {note}", line_of(text, place))));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// A test that runs only in a process of its own says so in the attribute's reason: "started by", and the test that does.
#[test]
fn no_test_is_switched_off() {
    let mark = concat!("#[ig", "nore");
    let mut found = Vec::new();
    for (file, text) in texts().iter().filter(|(file, _)| file.ends_with(".rs")) {
        for (place, _) in text.match_indices(mark) {
            let rest = &text[place + mark.len()..];
            let starter = rest.strip_prefix(" = \"started by ").and_then(|rest| rest.split('"').next());
            if !starter.is_some_and(|starter| text.contains(&format!("fn {starter}("))) {
                found.push(format!("{file}:{}", line_of(text, place)));
            }
        }
    }
    assert!(found.is_empty(), "switched off:\n{}", found.join("\n"));
}

#[test]
fn no_channel_of_the_node_is_unbounded() {
    let mut found = Vec::new();
    for (file, code) in shipped("switch-node").iter().chain(&shipped("admin-cli")) {
        for mark in ["unbounded_channel(", "unbounded_channel::<", "mpsc::unbounded(", "std::sync::mpsc::channel("] {
            found.extend(code.match_indices(mark).map(|(place, _)| format!("{file}:{}", line_of(code, place))));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Certificates end by the wall clock, and the world has the one clock that log time is made from. Nothing else may look.
#[test]
fn the_wall_clock_is_read_for_certificates_and_log_time_only() {
    let readers = ["switch-node/src/security/tls.rs", "switch-node/src/world.rs"];
    let mut found = Vec::new();
    for (file, code) in shipped("switch-node") {
        if !readers.contains(&file.as_str()) {
            let places = ["SystemTime::now(", "Zoned::now(", "Timestamp::now("].map(|mark| code.find(mark));
            found.extend(places.into_iter().flatten().map(|place| format!("{file}:{}", line_of(&code, place))));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    for reader in readers {
        assert!(read(reader).contains("SystemTime::now("), "{reader} reads no clock any more");
    }
}

/// Simulated time stands still while std's clock runs on.
#[test]
fn the_node_waits_by_tokios_clock() {
    let mut found = Vec::new();
    for (file, code) in shipped("switch-node") {
        for (place, _) in code.match_indices("std::time::").chain(code.match_indices("use std::{")) {
            let statement = code[place..].split(';').next().unwrap_or_default();
            if statement.contains("Instant") {
                found.push(format!("{file}:{}", line_of(&code, place)));
            }
        }
    }
    assert!(found.is_empty(), "use tokio::time::Instant:\n{}", found.join("\n"));
}

/// Where digits stand that may be a card number: 12 to 19 of them that pass the Luhn check and begin as cards do (2 to 6),
/// in one piece or in the groups that people write. Thousands, times and hexadecimal words are none of these.
fn card_numbers(text: &str) -> Vec<usize> {
    let bytes = text.as_bytes();
    let (mut found, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        let start = at;
        let mut groups = Vec::new();
        loop {
            let from = at;
            while at < bytes.len() && bytes[at].is_ascii_digit() {
                at += 1;
            }
            groups.push(&bytes[from..at]);
            let parted = matches!(bytes.get(at), Some(b' ' | b'-' | b'_' | b'.'));
            if !parted || !bytes.get(at + 1).is_some_and(u8::is_ascii_digit) {
                break;
            }
            at += 1;
        }
        let written = (0..groups.len()).any(|from| (from..groups.len()).any(|to| is_card(&groups[from..=to])));
        if written && !is_hexadecimal(bytes, start, at) {
            found.push(start);
        }
    }
    found
}

/// True where the digits are part of a word such as `0x2a` or a checksum. One letter alone does not make one: track 2 has a
/// `D` between number and expiry.
fn is_hexadecimal(bytes: &[u8], start: usize, end: usize) -> bool {
    let before = bytes[..start].iter().rev().take_while(|byte| byte.is_ascii_hexdigit());
    let after = bytes[end..].iter().take_while(|byte| byte.is_ascii_hexdigit());
    let mut letters: Vec<u8> = before.chain(after).filter(|byte| byte.is_ascii_alphabetic()).copied().collect();
    letters.sort_unstable();
    letters.dedup();
    letters.len() > 1 || start > 0 && matches!(bytes[start - 1], b'x' | b'X')
}

fn is_card(groups: &[&[u8]]) -> bool {
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    let as_written = match lengths.as_slice() {
        [_] => true,
        [4, 6, 5] | [4, 6, 4] => true,
        [all @ .., last] => all.iter().all(|length| *length == 4) && (1..=4).contains(last),
        [] => false,
    };
    let digits = groups.concat();
    as_written && (12..=19).contains(&digits.len()) && matches!(digits[0], b'2'..=b'6') && passes_luhn(&digits)
}

fn passes_luhn(digits: &[u8]) -> bool {
    let doubled = |digit: u32| digit * 2 / 10 + digit * 2 % 10;
    let sum: u32 = digits
        .iter()
        .rev()
        .map(|digit| u32::from(digit - b'0'))
        .enumerate()
        .map(|(place, digit)| if place % 2 == 1 { doubled(digit) } else { digit })
        .sum();
    sum.is_multiple_of(10)
}

#[test]
fn a_card_number_is_found_however_it_is_written() {
    let number = "4242".repeat(4);
    let groups = |between: &str| ["4242"; 4].join(between);
    let amex = format!("{} {} {}", 3782, 822_463, 10_005);
    for text in
        [number.clone(), groups(" "), groups("-"), groups("_"), format!("pan={number};"), format!("1 {}", groups(" "))]
    {
        assert_eq!(card_numbers(&text).len(), 1, "{}", text.len());
    }
    assert_eq!(card_numbers(&amex), [0]);
    assert_eq!(card_numbers(&format!("{number}D2812101")), [0]);
    let plain = ["4_000_000_000_002", "1_709_164_800_000", "999999999999", "000000000000", "127.0.0.1:7001"];
    let words = [format!("0x{}", groups("_")), format!("9f{number}ab")];
    for text in plain.map(str::to_owned).iter().chain(&words) {
        assert_eq!(card_numbers(text), [0usize; 0], "{text}");
    }
}
