use std::{collections::BTreeSet, fs};

use bytes::Bytes;
use tonic::{Code, Status};

use super::{
    Searched,
    forms::{base64, hex},
    search::CHUNK,
};
use crate::{
    sandbox::cards,
    workload::plastic::{self, packed},
};

#[test]
fn what_is_planted_in_any_form_is_found_and_nothing_else_is() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let deep = folder.path().join("node-1").join("log");
    fs::create_dir_all(&deep)?;
    let mut searched = Searched::default();
    searched.folder(folder.path())?;
    searched.clean()?;
    let mut expected = BTreeSet::new();
    for (n, (form, planted)) in planted().into_iter().enumerate() {
        // Anywhere: also across the border of two reads, and at the end.
        let place = [0, 7, CHUNK - 3, CHUNK + 11][n % 4];
        let mut bytes: Vec<u8> = (0..place).map(|at| (at % 251) as u8 | 0x80).collect();
        let clean = deep.join(format!("{n}-clean"));
        fs::write(clean, &bytes)?;
        bytes.extend(planted);
        bytes.extend(&[0xFF; 9][..n % 10]);
        let path = deep.join(format!("{n}-{form}"));
        fs::write(&path, bytes)?;
        expected.insert(path.display().to_string());
    }
    searched.folder(folder.path())?;
    let found: BTreeSet<String> = searched.names().map(str::to_owned).collect();
    let differ: Vec<&String> = expected.symmetric_difference(&found).collect();
    assert!(differ.is_empty(), "not found, or found without being there: {differ:#?}");
    assert!(searched.clean().is_err());
    Ok(())
}

#[test]
fn what_is_planted_in_a_text_or_an_error_is_found() {
    let mut searched = Searched::default();
    searched.text("/metrics", b"payswitch_raft_is_leader 1\n");
    searched.status("error", &Status::new(Code::Internal, format!("card {}", &cards::LATE[..12])));
    assert_eq!(searched.names().count(), 0);
    let in_details = Status::with_details(Code::Internal, "", Bytes::from(format!("card {}", cards::LATE)));
    let mut in_metadata = Status::internal("");
    in_metadata.metadata_mut().insert("card", cards::LATE.parse().expect("digits make a value"));
    let errors = [
        ("message", Status::internal(format!("card {}", cards::LATE))),
        ("details", in_details),
        ("metadata", in_metadata),
    ];
    for (name, status) in &errors {
        searched.status(name, status);
    }
    searched.text("text", cards::numbered(7).as_bytes());
    let found: Vec<&str> = searched.names().collect();
    assert_eq!(found, ["details", "message", "metadata", "text"]);
}

#[test]
fn what_may_be_shown_of_a_card_is_not_found() {
    let mut searched = Searched::default();
    for number in cards::ALL.iter().map(|card| card.number.to_owned()).chain([cards::numbered(4711)]) {
        let (first, last) = (&number[..8], &number[number.len() - 4..]);
        searched.text("shown", format!("bin {first} last4 {last} {first}********{last}").as_bytes());
        searched.text("stored", &[&[8], first.as_bytes(), &[4], last.as_bytes()].concat());
    }
    // A number with a wrong check digit is nobody's, however it begins.
    searched.text("another", format!("{}00000000", cards::NUMBERED).as_bytes());
    searched.clean().expect("nothing of this is card data");
}

/// Secrets in every form, made by other means than the needles where that is possible.
fn planted() -> Vec<(&'static str, Vec<u8>)> {
    let mut planted = Vec::new();
    // Of a telling number, of one that is mostly zeros, of one of ten million.
    for number in [cards::NO_ANSWER, cards::DECLINED, &cards::numbered(1_234_567)] {
        planted.extend(in_text(number));
    }
    for number in [cards::NO_ANSWER, cards::APPROVED_MASTERCARD_2_SERIES, &cards::numbered(7_654_321)] {
        planted.push(("packed", packed(number)));
        planted.push(("packed-in-the-middle", packed(&format!("7{number}3"))));
        planted.push(("packed-in-hex", hex(&packed(number)).into_bytes()));
    }
    planted.push(("packed-in-base64", base64(&packed(cards::NO_ANSWER))));
    let amex = cards::APPROVED_AMEX;
    planted.push(("packed-15-left", packed(&format!("0{amex}"))));
    planted.push(("packed-15-right", packed(amex)));
    for card in cards::ALL {
        planted.push(("chip-5A", [&[0x5A, 8], &packed(card.number)[..]].concat()));
        planted.push(("chip-57", packed(&plastic::track2(card.number, 'D'))));
        planted.push(("track-cut-off", packed(&plastic::track2(card.number, 'D')[..card.number.len() + 5])));
    }
    planted.push(("track", plastic::track2(cards::SWALLOWED, '=').into_bytes()));
    planted.push(("track-without-a-number", plastic::TRACK_END.as_bytes().to_vec()));
    planted.push(("track-in-the-middle", packed(&format!("D3911{}F", plastic::TRACK_END))));
    for (name, secret) in [
        ("pin-block", &plastic::PIN_BLOCK[..]),
        ("cryptogram", &plastic::CRYPTOGRAM),
        ("authentication", &plastic::AUTHENTICATION_VALUE),
    ] {
        planted.push((name, secret.to_vec()));
        planted.push((name, hex(secret).into_bytes()));
        planted.push((name, hex(secret).to_uppercase().into_bytes()));
        planted.push((name, format!("{secret:?}").into_bytes()));
        planted.push((name, format!("{:?}", Bytes::copy_from_slice(secret)).into_bytes()));
        for before in ["", "x", "xy"] {
            let text = base64(&[before.as_bytes(), secret, b"z"].concat());
            let for_urls = String::from_utf8_lossy(&text).replace('+', "-").replace('/', "_");
            planted.extend([(name, text), (name, for_urls.into_bytes())]);
        }
    }
    for value in plastic::VERIFICATION_VALUES {
        let length = value.len() as u8;
        planted.push(("value-in-a-message", [&[0x1A, length], value.as_bytes()].concat()));
        planted.push(("value-in-words", format!("card_verification_value: \"{value}\"").into_bytes()));
        planted.push(("value-in-json", format!("{{\"cvv\":\"{value}\"}}").into_bytes()));
        planted.push(("value-as-a-list", format!("Sensitive({:?})", value.as_bytes()).into_bytes()));
    }
    planted
}

fn in_text(number: &str) -> Vec<(&'static str, Vec<u8>)> {
    let utf16 = |unit: fn(u16) -> [u8; 2]| number.encode_utf16().flat_map(unit).collect();
    let grouped =
        |between: &str| [&number[..4], &number[4..8], &number[8..12], &number[12..]].join(between).into_bytes();
    vec![
        ("plain", number.as_bytes().to_vec()),
        ("in-words", format!("pan={number};").into_bytes()),
        ("spaced", grouped(" ")),
        ("dashed", grouped("-")),
        ("hex", hex(number.as_bytes()).into_bytes()),
        ("base64-0", base64(number.as_bytes())),
        ("base64-1", base64(format!("x{number}").as_bytes())),
        ("base64-2", base64(format!("xy{number}yx").as_bytes())),
        ("utf16-little", utf16(u16::to_le_bytes)),
        ("utf16-big", utf16(u16::to_be_bytes)),
    ]
}
