//! Card data, and where it must never stand (R7): what is looked for, in every form that bytes take, and the search.
//!
//! Looked for are the number of every sandbox card, and what may not be kept at all: the end of every track 2, verification
//! values, PIN blocks, cryptograms. Cards and values are those of [`cards`] and [`plastic`]; a suite that pays with others
//! hides them from this search. [`NEEDLES`] is all of it.

mod forms;
mod search;
#[cfg(test)]
mod tests;

use std::{collections::HashSet, sync::LazyLock};

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use bytes::Bytes;

use self::forms::{base64, escaped, hex, utf16};
pub use self::search::Searched;
use crate::{
    sandbox::cards,
    workload::plastic::{self, packed},
};

/// Everything that is looked for.
pub static NEEDLES: LazyLock<Needles> = LazyLock::new(Needles::new);

/// What is looked for, all of it at once.
pub struct Needles {
    automaton: AhoCorasick,
    /// In the order of the automaton's patterns.
    known: Vec<Needle>,
    /// No finding reaches further than so many bytes.
    span_max: usize,
}

/// Reads a whole number from the bytes that begin with its form; none where they end too early or are no digits.
type Read = fn(&[u8]) -> Option<String>;

/// One thing in one form.
struct Needle {
    /// What it is: never its digits.
    name: String,
    /// For numbers of which only the beginning is known: reads all of it from the bytes that begin with the needle.
    read: Option<Read>,
}

impl Needles {
    fn new() -> Self {
        let mut gathered = Gathered::default();
        for card in cards::ALL {
            gathered.card(card.number, card.name);
        }
        gathered.numbered_cards();
        // Service code and discretionary data: what stands before it may be separated in any way, or have been cut off.
        gathered.text(plastic::TRACK_END, "track");
        gathered.packed(plastic::TRACK_END, "track");
        gathered.bytes(&plastic::PIN_BLOCK, "PIN block");
        gathered.bytes(&plastic::CRYPTOGRAM, "cryptogram");
        gathered.bytes(&plastic::AUTHENTICATION_VALUE, "3-D Secure authentication value");
        for value in plastic::VERIFICATION_VALUES {
            gathered.verification_value(value);
        }
        gathered.build()
    }

    /// The places in `text` before `end` where something begins, each with what it is.
    fn find(&self, text: &[u8], end: usize, mut found: impl FnMut(usize, &str)) {
        for place in self.automaton.find_overlapping_iter(text).filter(|place| place.start() < end) {
            let needle = &self.known[place.pattern()];
            let is_one = |read: Read| read(&text[place.start()..]).is_some_and(|number| cards::is_numbered(&number));
            if needle.read.is_none_or(is_one) {
                found(place.start(), &needle.name);
            }
        }
    }
}

/// Needles that are not an automaton yet.
#[derive(Default)]
struct Gathered {
    patterns: Vec<Vec<u8>>,
    known: Vec<Needle>,
    /// Patterns that stand there already: many forms are alike.
    seen: HashSet<Vec<u8>>,
}

impl Gathered {
    fn build(self) -> Needles {
        let span_max = self.patterns.iter().map(Vec::len).max().unwrap_or(0).max(forms::NUMBER_BYTES_MAX);
        let automaton = AhoCorasick::builder().kind(Some(AhoCorasickKind::DFA)).build(&self.patterns);
        let automaton = automaton.expect("a few thousand short needles make a small automaton");
        Needles { automaton, known: self.known, span_max }
    }

    /// The number of a card in every form that a number takes.
    fn card(&mut self, number: &str, name: &str) {
        self.text(number, name);
        for between in [" ", "-"] {
            self.add(groups(number).join(between).into_bytes(), &format!("{name} in groups"));
        }
        self.packed(number, name);
        // Packed alone, numbers that are mostly zeros stand in every binary file by chance; as a chip tells them they do not.
        let value = packed(number);
        self.bytes(&[&[0x5A, value.len() as u8], &value[..]].concat(), &format!("{name} in chip data"));
        let track = packed(&plastic::track2(number, 'D'));
        self.bytes(&[&[0x57, track.len() as u8], &track[..]].concat(), &format!("{name} in chip data"));
        // With the separator and what is whole of the expiry.
        self.add(track[..number.len() / 2 + 2].to_vec(), &format!("{name} in a packed track"));
    }

    /// Numbers of which only the beginning is known, in each of the forms of a number but base64 of packed digits.
    fn numbered_cards(&mut self) {
        for form in forms::OF_NUMBERS {
            for begins in (form.begins)(cards::NUMBERED) {
                self.add_needle(
                    begins,
                    Needle { name: format!("numbered card, {}", form.name), read: Some(form.read) },
                );
            }
        }
    }

    /// Three or four digits alone stand everywhere: looked for only where they stand for a verification value.
    fn verification_value(&mut self, value: &str) {
        let name = "verification value";
        // Field 3 of both contracts' messages.
        self.bytes(&[&[0x1A, value.len() as u8], value.as_bytes()].concat(), name);
        for field in ["verification_value", "cvv"] {
            for between in [": ", "=", ": \"", "=\"", "\":\"", "\": \"", ": Some(\""] {
                self.text(&format!("{field}{between}{value}"), name);
            }
        }
        self.add(format!("{:?}", value.as_bytes()).into_bytes(), &format!("{name} as a list"));
    }

    /// Text as it stands, in UTF-16, in hex, and in base64.
    fn text(&mut self, text: &str, name: &str) {
        self.add(text.as_bytes().to_vec(), name);
        self.add(utf16(text, u16::to_le_bytes), &format!("{name} in UTF-16"));
        self.add(utf16(text, u16::to_be_bytes), &format!("{name} in UTF-16"));
        self.hex(text.as_bytes(), name);
        self.base64(text.as_bytes(), name);
    }

    /// Bytes as they stand, in hex, in base64, and as Rust's `Debug` prints them.
    fn bytes(&mut self, bytes: &[u8], name: &str) {
        self.add(bytes.to_vec(), name);
        self.hex(bytes, name);
        self.base64(bytes, name);
        let list = format!("{bytes:?}");
        self.add(list.trim_matches(['[', ']']).as_bytes().to_vec(), &format!("{name} as a list"));
        let literal = format!("{:?}", Bytes::copy_from_slice(bytes));
        let literal = literal.trim_start_matches('b').trim_matches('"');
        self.add(literal.as_bytes().to_vec(), &format!("{name} as a literal"));
        self.add(escaped(bytes), &format!("{name} escaped"));
    }

    /// Digits two a byte, beginning with a byte and in the middle of one, where that tells something; and that in base64.
    fn packed(&mut self, digits: &str, name: &str) {
        let name = format!("{name} packed");
        if !tells(&packed(digits)) {
            return;
        }
        self.add(packed(&digits[..digits.len() / 2 * 2]), &name);
        // Before the first digit stands half a byte of something else.
        for before in 0..16 {
            let shifted = format!("{before:x}{digits}");
            self.add(packed(&shifted[..shifted.len() / 2 * 2]), &name);
        }
        self.base64(&packed(digits), &name);
    }

    fn hex(&mut self, bytes: &[u8], name: &str) {
        let digits = hex(bytes);
        self.add(digits.to_uppercase().into_bytes(), &format!("{name} in hex"));
        self.add(digits.into_bytes(), &format!("{name} in hex"));
    }

    /// In both alphabets, the groups of three that lie whole inside, for each of the places where a group may begin.
    fn base64(&mut self, bytes: &[u8], name: &str) {
        for from in 0..3.min(bytes.len()) {
            let inside = &bytes[from..];
            let letters = base64(&inside[..inside.len() / 3 * 3]);
            // Four letters alone stand in every long text.
            if letters.len() >= 8 {
                let for_urls = |letter: &u8| match letter {
                    b'+' => b'-',
                    b'/' => b'_',
                    letter => *letter,
                };
                self.add(letters.iter().map(for_urls).collect(), &format!("{name} in base64"));
                self.add(letters, &format!("{name} in base64"));
            }
        }
    }

    fn add(&mut self, pattern: Vec<u8>, name: &str) {
        self.add_needle(pattern, Needle { name: name.to_owned(), read: None });
    }

    fn add_needle(&mut self, pattern: Vec<u8>, needle: Needle) {
        if self.seen.insert(pattern.clone()) {
            self.patterns.push(pattern);
            self.known.push(needle);
        }
    }
}

/// A number in the groups that stand on the card.
fn groups(number: &str) -> Vec<&str> {
    let cuts: &[usize] = if number.len() == 15 { &[0, 4, 10, 15] } else { &[0, 4, 8, 12, 16] };
    cuts.windows(2).map(|cut| &number[cut[0]..cut[1]]).collect()
}

/// False for bytes that binary files hold by chance: few different ones.
fn tells(bytes: &[u8]) -> bool {
    bytes.iter().collect::<HashSet<_>>().len() >= 5
}
