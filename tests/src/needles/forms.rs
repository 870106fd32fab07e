//! The forms that text and bytes take, and how a number is read back from them.

use super::Read;
use crate::{sandbox::cards::NUMBERED, workload::plastic::packed};

/// A form in which a number of sixteen digits may stand.
pub(super) struct Form {
    /// What it is called.
    pub(super) name: &'static str,
    /// How a number that begins with these eight digits begins in this form.
    pub(super) begins: fn(&str) -> Vec<Vec<u8>>,
    /// Reads the number from bytes that begin so; `None` where they are no number in this form.
    pub(super) read: Read,
}

/// Every form. Hex of packed digits reads as plain text.
pub(super) const OF_NUMBERS: &[Form] = &[
    Form {
        name: "plain",
        begins: |digits| vec![digits.as_bytes().to_vec()],
        read: |bytes| text(bytes.get(..16)?.iter().copied()),
    },
    Form {
        name: "in groups",
        begins: |digits| vec![format!("{} {}", &digits[..4], &digits[4..]).into_bytes()],
        read: |bytes| text(bytes.get(..19)?.iter().copied().filter(|byte| *byte != b' ')),
    },
    Form {
        name: "in groups",
        begins: |digits| vec![format!("{}-{}", &digits[..4], &digits[4..]).into_bytes()],
        read: |bytes| text(bytes.get(..19)?.iter().copied().filter(|byte| *byte != b'-')),
    },
    Form {
        name: "in UTF-16",
        begins: |digits| vec![utf16(digits, u16::to_le_bytes)],
        read: |bytes| text(bytes.get(..32)?.iter().copied().step_by(2)),
    },
    Form {
        name: "in UTF-16",
        begins: |digits| vec![utf16(digits, u16::to_be_bytes)],
        read: |bytes| text(bytes.get(1..32)?.iter().copied().step_by(2)),
    },
    Form {
        name: "in hex",
        begins: |digits| vec![hex(digits.as_bytes()).into_bytes()],
        read: |bytes| {
            let pairs = bytes.get(..32)?.chunks_exact(2);
            text(pairs.map(|pair| if pair[0] == b'3' { pair[1] } else { b'?' }))
        },
    },
    Form { name: "packed", begins: |digits| vec![packed(digits)], read: |bytes| text(nibbles(bytes.get(..8)?)) },
    Form {
        name: "packed",
        // The nibbles around it belong to something else.
        begins: |digits| {
            let around = |before: u8, after: u8| packed(&format!("{before:x}{digits}{after:x}"));
            (0..16).flat_map(|before| (0..10).map(move |after| around(before, after))).collect()
        },
        read: |bytes| text(nibbles(bytes.get(..9)?).skip(1).take(16)),
    },
    Form { name: "in base64", begins: |digits| in_base64(digits, 0), read: |letters| from_base64(letters, 0) },
    Form { name: "in base64", begins: |digits| in_base64(digits, 1), read: |letters| from_base64(letters, 1) },
    Form { name: "in base64", begins: |digits| in_base64(digits, 2), read: |letters| from_base64(letters, 2) },
];

/// The longest form takes so many bytes.
pub(super) const NUMBER_BYTES_MAX: usize = 32;

/// What these digits have in common in base64, where a group of three begins with digit `from`.
fn in_base64(digits: &str, from: usize) -> Vec<Vec<u8>> {
    vec![base64(&digits.as_bytes()[from..from + 6])]
}

/// A number whose digit `from` is the first of `letters`; those before are taken as known.
fn from_base64(letters: &[u8], from: usize) -> Option<String> {
    let wanted = 16 - from;
    let mut digits = NUMBERED.as_bytes()[..from].to_vec();
    let (mut bits, mut count) = (0_u32, 0);
    for letter in letters.get(..(wanted * 8).div_ceil(6))? {
        let value = LETTERS.iter().position(|known| known == letter)?;
        (bits, count) = (bits << 6 | value as u32, count + 6);
        if count >= 8 {
            count -= 8;
            digits.push((bits >> count) as u8);
        }
    }
    text(digits.into_iter().take(16))
}

fn text(digits: impl Iterator<Item = u8>) -> Option<String> {
    digits.map(|digit| digit.is_ascii_digit().then_some(char::from(digit))).collect()
}

/// Each half of each byte, as the letter that stands for it.
fn nibbles(bytes: &[u8]) -> impl Iterator<Item = u8> {
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xF]).map(|nibble| b"0123456789ABCDEF"[usize::from(nibble)])
}

pub(super) fn utf16(text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(unit).collect()
}

/// Two small letters a byte.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// As byte strings stand in source.
pub(super) fn escaped(bytes: &[u8]) -> Vec<u8> {
    bytes.escape_ascii().to_string().into_bytes()
}

/// Base64 in the common alphabet, filled up.
pub(super) fn base64(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    for group in bytes.chunks(3) {
        let word = group.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= group.len() { letter } else { b'=' });
        }
    }
    text
}

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
