//! Card data is nowhere but where it is sent and sealed: data folders, logs at TRACE, metrics and error texts are searched
//! for the digits of every card that was used, and for what may never be kept at all, in every form that bytes take.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use switch_proto::gateway::v1::{self as pb, card::Source};
use switch_tests::{
    gateway_client::NotTold,
    load::Pace,
    sandbox::cards,
    stage::{self, Load, SOON},
    workload::{Mix, plastic},
};

/// Verification value with four digits, as of American Express, that no other text of these suites holds.
const VALUE: &str = "7391";
/// Discretionary data of a track.
const DISCRETIONARY: &str = "20182736455463";
const PIN_BLOCK: [u8; 8] = [0xE1, 0x3C, 0x97, 0x5A, 0xD2, 0x4B, 0x86, 0xF7];
/// Of a wallet, of 3-D Secure, of a chip.
const CRYPTOGRAM: [u8; 20] = *b"\xB7\x1D\x93\x5E\xC2\x08\x6F\xA4\x39\xE8\x52\xCD\x11\x76\x9B\xF0\x24\x8A\x3D\xE6";
const AUTHENTICATION: [u8; 20] = *b"\x9E\x47\xD8\x02\x6B\xF5\x31\xAC\x70\x1F\xC9\x54\x8D\x26\xEB\x93\x0A\x65\xBE\x3F";

#[tokio::test(flavor = "multi_thread")]
async fn no_card_data_stands_in_data_logs_metrics_or_error_texts() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().log_level("trace").start().await?;
    let gateway = cluster.gateway("shop");
    let mut texts = Vec::new();
    for (n, card) in cards::ALL.iter().enumerate() {
        let disturbs = [cards::SIGN_OFF, cards::CUT, cards::UNDECODABLE].contains(&card.number);
        // Parked for ever, or denied: the other scenarios judge those.
        let owes =
            [cards::REVERSAL_REFUSED, cards::REVERSAL_NOT_FOUND, cards::REVERSAL_NEVER_ANSWERED, cards::ADVICE_REFUSED];
        let request = stage::payment(&format!("card-{n}"), card.number, 1000);
        let request = pb::AuthorizeRequest { card: Some(sensitive(card.number, n)), ..request };
        let request = with_authentication(request, n);
        let told = stage::shop_at(&cluster, n % 3 + 1).authorize(request.clone()).await;
        let approved = told.as_ref().ok().filter(|told| stage::outcome(told).approved_amount.is_some());
        if let Some(told) = approved.filter(|_| !owes.contains(&card.number)) {
            let taken =
                gateway.capture(stage::capture(&format!("card-{n}-take"), &told.transaction_id, 300, true)).await;
            let back = gateway.refund(stage::refund(&format!("card-{n}-back"), &told.transaction_id, 100)).await;
            texts.extend([taken, back].into_iter().filter_map(Result::err).map(|error| words(&error)));
        }
        texts.push(told.map_or_else(|error| words(&error), |told| format!("{told:?}")));
        texts.extend(refused_with(&gateway, request, n).await);
        if disturbs {
            cluster.ready().await?;
        }
    }
    let load = Load::of(&gateway, 11, Mix::mixed(), Pace::Open { per_second: 40.0, in_flight_max: 1000 });
    load.approves(80).await?;
    // A new leader takes reversals over; its log must be as clean.
    let leader = cluster.wait_leader(SOON).await?;
    let killed = std::time::Instant::now();
    cluster.kill9(leader.node);
    load.flows(killed).await?;
    cluster.restart(leader.node)?;
    cluster.ready().await?;
    load.end().await?;
    for node in cluster.nodes() {
        let mut request = tonic::Request::new(switch_proto::operator::v1::TriggerSnapshotRequest {});
        request.set_timeout(SOON);
        node.operator().cluster().trigger_snapshot(request).await?;
        for page in ["/metrics", "/readyz", "/livez", "/startupz"] {
            texts.push(node.page(page).await?.1);
        }
    }
    let report = cluster.audit().await?;
    assert!(report.is_valid(), "{}", report.in_words());
    fs::write(cluster.folder().join("told.txt"), texts.join("\n"))?;

    let searched = search(cluster.folder(), &Needles::new())?;
    println!("searched {} files, {} MiB", searched.files, searched.bytes >> 20);
    let logs: u64 = cluster.nodes().iter().map(|node| fs::metadata(node.log()).map_or(0, |known| known.len())).sum();
    assert!(logs > 1 << 20, "logs at TRACE are longer than {logs} bytes");
    assert!(searched.found.is_empty(), "card data was found:\n{}", searched.in_words());
    cluster.close();
    Ok(())
}

#[test]
fn what_is_planted_in_any_form_is_found() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let needles = Needles::new();
    let clean = search(folder.path(), &needles)?;
    assert!(clean.found.is_empty());
    let deep = folder.path().join("node-1").join("log");
    fs::create_dir_all(&deep)?;
    let mut expected = BTreeSet::new();
    for (n, (form, planted)) in planted().into_iter().enumerate() {
        // Anywhere: also across the border of two reads.
        let place = [0, 7, CHUNK - 3, CHUNK + 11][n % 4];
        let path = deep.join(format!("{n}-{form}"));
        let mut bytes: Vec<u8> = (0..place).map(|at| (at % 251) as u8 | 0x80).collect();
        bytes.extend(planted);
        bytes.extend([0xFF; 9]);
        fs::write(&path, bytes)?;
        expected.insert(path);
    }
    let found = search(folder.path(), &needles)?;
    let paths: BTreeSet<PathBuf> = found.found.keys().cloned().collect();
    let missed: Vec<_> = expected.difference(&paths).collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
    Ok(())
}

/// One secret in every form, made by other means than the needles where that is possible.
fn planted() -> Vec<(&'static str, Vec<u8>)> {
    let number = cards::NO_ANSWER;
    let amex = cards::APPROVED_AMEX;
    let utf16 =
        |big: bool| number.encode_utf16().flat_map(move |c| if big { c.to_be_bytes() } else { c.to_le_bytes() });
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02X}")).collect::<String>().into_bytes();
    let track = format!("{number}D3911{DISCRETIONARY}");
    vec![
        ("ascii", number.as_bytes().to_vec()),
        ("ascii-15", format!("pan={amex};").into_bytes()),
        ("spaced", format!("{} {} {} {}", &number[..4], &number[4..8], &number[8..12], &number[12..]).into_bytes()),
        ("packed", packed(number)),
        ("packed-odd-left", packed(&format!("0{amex}"))),
        ("packed-odd-right", [packed(&amex[..14]), vec![0x5F]].concat()),
        ("hex-of-ascii", hex(number.as_bytes())),
        ("base64-0", base64(number.as_bytes())),
        ("base64-1", base64(format!("x{number}").as_bytes())),
        ("base64-2", base64(format!("xy{number}yx").as_bytes())),
        ("base64-of-packed", base64(&packed(number))),
        ("utf16-little", utf16(false).collect()),
        ("utf16-big", utf16(true).collect()),
        ("track", track.into_bytes()),
        ("discretionary", DISCRETIONARY.as_bytes().to_vec()),
        ("pin-block", PIN_BLOCK.to_vec()),
        ("pin-block-hex", hex(&PIN_BLOCK)),
        ("pin-block-list", format!("{PIN_BLOCK:?}").into_bytes()),
        ("pin-block-bytes", format!("{:?}", Bytes::from_static(&PIN_BLOCK)).into_bytes()),
        ("cryptogram", CRYPTOGRAM.to_vec()),
        ("cryptogram-base64", base64(&[b"12", &CRYPTOGRAM[..]].concat())),
        ("authentication-hex", AUTHENTICATION.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect()),
        ("value-in-a-message", [b"\x1a\x04", VALUE.as_bytes()].concat()),
        ("value-in-words", format!("card_verification_value: \"{VALUE}\"").into_bytes()),
    ]
}

/// The card in one of the forms that carry what must never be kept.
fn sensitive(number: &str, n: usize) -> pb::Card {
    let track = format!("{number}=3911{DISCRETIONARY}");
    let mut card = match n % 5 {
        0 => plastic::keyed(number),
        1 => plastic::swiped(number),
        2 => plastic::chip(number, false),
        3 => plastic::wallet(number),
        _ => plastic::keyed(number),
    };
    match card.source.as_mut() {
        Some(Source::Keyed(keyed)) => keyed.card_verification_value = VALUE.to_owned(),
        Some(Source::MagneticStripe(stripe)) => {
            stripe.track2 = track;
            stripe.pin_block = Bytes::from_static(&PIN_BLOCK);
        }
        Some(Source::Chip(chip)) => {
            chip.track2_equivalent = track;
            chip.pin_block = Bytes::from_static(&PIN_BLOCK);
        }
        Some(Source::NetworkToken(token)) => token.cryptogram = Bytes::from_static(&CRYPTOGRAM),
        Some(Source::StoredCredential(_) | Source::Sealed(_)) | None => {}
    }
    card
}

/// Every fifth payment was authenticated on a page.
fn with_authentication(request: pb::AuthorizeRequest, n: usize) -> pb::AuthorizeRequest {
    if n % 5 != 4 {
        return request;
    }
    let three_d_secure = Some(pb::ThreeDSecure {
        electronic_commerce_indicator: "05".to_owned(),
        authentication_value: Bytes::from_static(&AUTHENTICATION),
        directory_server_transaction_id: "8a880dc0-d2d2-4067-bcb1-b08d1690b26e".to_owned(),
        version: "2.2.0".to_owned(),
        transaction_status: "Y".to_owned(),
    });
    pb::AuthorizeRequest { three_d_secure, entry_mode: pb::EntryMode::Ecommerce.into(), ..request }
}

/// The same card in requests that are refused: with its number in a text, with a wrong digit, under a known key.
async fn refused_with(
    gateway: &switch_tests::gateway_client::GatewayClient,
    request: pb::AuthorizeRequest,
    n: usize,
) -> Vec<String> {
    let number = cards::ALL[n].number;
    let spoilt = [
        pb::AuthorizeRequest {
            request_id: format!("text-{n}"),
            merchant_reference: number.to_owned(),
            ..request.clone()
        },
        pb::AuthorizeRequest { request_id: format!("{number}-{n}"), ..request.clone() },
        pb::AuthorizeRequest {
            request_id: format!("long-{n}"),
            card: Some(plastic::keyed(&format!("{number}00000000"))),
            ..request.clone()
        },
        pb::AuthorizeRequest { amount: Some(stage::euros(7)), ..request },
    ];
    let mut texts = Vec::new();
    for request in spoilt {
        // Not recorded: the history is written where the search looks, and holds what gateways know.
        let mut timed = tonic::Request::new(request);
        timed.set_timeout(gateway.patience().call);
        match gateway.raw(n % 3 + 1).authorize(timed).await {
            Ok(answer) => texts.push(format!("{:?}", answer.into_inner())),
            Err(status) => texts.push(format!("{status:?} {}", String::from_utf8_lossy(status.details()))),
        }
    }
    texts
}

fn words(error: &NotTold) -> String {
    format!("{error} {:?} {}", error.status, String::from_utf8_lossy(error.status.details()))
}

/// What is searched for, by its first bytes.
struct Needles {
    /// Whether anything begins with these two bytes.
    begins: Vec<bool>,
    /// By their first four bytes: the rest, and what it is.
    by_head: HashMap<[u8; 4], Vec<(Vec<u8>, String)>>,
    length_max: usize,
}

impl Needles {
    fn new() -> Self {
        let mut own = Self { begins: vec![false; 1 << 16], by_head: HashMap::new(), length_max: 0 };
        for card in cards::ALL {
            own.number(card.number, card.name);
        }
        own.text(DISCRETIONARY, "track");
        for (bytes, name) in
            [(&PIN_BLOCK[..], "PIN block"), (&CRYPTOGRAM[..], "cryptogram"), (&AUTHENTICATION[..], "3-D Secure")]
        {
            own.bytes(bytes, name);
        }
        // Four digits alone stand everywhere: only where they stand for a verification value.
        for around in
            [format!("\u{1a}\u{4}{VALUE}"), format!("\"{VALUE}\""), format!("value: {VALUE}"), format!("cvv={VALUE}")]
        {
            own.add(around.into_bytes(), "verification value");
        }
        own
    }

    fn number(&mut self, number: &str, name: &str) {
        self.text(number, name);
        let groups: Vec<&str> = match number.len() {
            15 => vec![&number[..4], &number[4..10], &number[10..]],
            _ => number.as_bytes().chunks(4).map(|group| std::str::from_utf8(group).unwrap_or_default()).collect(),
        };
        for between in [" ", "-"] {
            self.add(groups.join(between).into_bytes(), &format!("{name} in groups"));
        }
        let form = format!("{name} packed");
        if number.len().is_multiple_of(2) {
            self.telling(packed(number), &form);
            self.telling(packed(&number[1..number.len() - 1]), &form);
        } else {
            self.telling(packed(&number[1..]), &form);
            self.telling(packed(&number[..number.len() - 1]), &form);
        }
        let whole = packed(&format!("{number}{}", if number.len().is_multiple_of(2) { "" } else { "0" }));
        if distinct(&whole) {
            self.base64(&whole, &form);
        }
    }

    /// Digits of text in every form that text takes.
    fn text(&mut self, text: &str, name: &str) {
        self.add(text.as_bytes().to_vec(), name);
        self.add(text.encode_utf16().flat_map(u16::to_le_bytes).collect(), &format!("{name} in UTF-16"));
        self.add(text.encode_utf16().flat_map(u16::to_be_bytes).collect(), &format!("{name} in UTF-16"));
        self.add(text.bytes().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect(), &format!("{name} in hex"));
        self.base64(text.as_bytes(), name);
    }

    /// Bytes in every form that bytes take in files and in logs.
    fn bytes(&mut self, bytes: &[u8], name: &str) {
        self.add(bytes.to_vec(), name);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.add(hex.to_uppercase().into_bytes(), &format!("{name} in hex"));
        self.add(hex.into_bytes(), &format!("{name} in hex"));
        let list = format!("{bytes:?}");
        self.add(list.trim_matches(['[', ']']).as_bytes().to_vec(), &format!("{name} as a list"));
        let shown = format!("{:?}", Bytes::copy_from_slice(bytes));
        self.add(shown.trim_start_matches('b').trim_matches('"').as_bytes().to_vec(), &format!("{name} as a literal"));
        self.add(bytes.escape_ascii().to_string().into_bytes(), &format!("{name} escaped"));
        self.base64(bytes, name);
    }

    /// What every alignment has in common: the groups of three that lie whole inside.
    fn base64(&mut self, bytes: &[u8], name: &str) {
        for shift in 0..3 {
            let inside = &bytes[shift..];
            let whole = &inside[..inside.len() / 3 * 3];
            let text = base64(whole);
            self.add(
                text.iter()
                    .map(|c| match c {
                        b'+' => b'-',
                        b'/' => b'_',
                        c => *c,
                    })
                    .collect(),
                &format!("{name} in base64"),
            );
            self.add(text, &format!("{name} in base64"));
        }
    }

    /// Packed digits that are mostly zeros stand in every binary file by chance: only those that tell something.
    fn telling(&mut self, bytes: Vec<u8>, name: &str) {
        if distinct(&bytes) {
            self.add(bytes, name);
        }
    }

    fn add(&mut self, needle: Vec<u8>, name: &str) {
        let head = *needle.first_chunk::<4>().expect("needles are longer than four bytes");
        self.begins[usize::from(head[0]) << 8 | usize::from(head[1])] = true;
        self.length_max = self.length_max.max(needle.len());
        let known = self.by_head.entry(head).or_default();
        if !known.iter().any(|(other, _)| *other == needle) {
            known.push((needle, name.to_owned()));
        }
    }

    fn at<'a>(&'a self, rest: &'a [u8]) -> impl Iterator<Item = &'a str> {
        let begins = rest.len() >= 4 && self.begins[usize::from(rest[0]) << 8 | usize::from(rest[1])];
        let known = if begins { rest.first_chunk::<4>().and_then(|head| self.by_head.get(head)) } else { None };
        known.into_iter().flatten().filter(|(needle, _)| rest.starts_with(needle)).map(|(_, name)| name.as_str())
    }
}

/// What a search came to.
#[derive(Default)]
struct Searched {
    files: usize,
    bytes: u64,
    /// What stands where, with the place of the first.
    found: BTreeMap<PathBuf, BTreeMap<String, (u64, usize)>>,
}

impl Searched {
    /// Names and places, never digits.
    fn in_words(&self) -> String {
        let lines = self.found.iter().flat_map(|(path, found)| {
            found.iter().map(|(name, (place, count))| {
                format!("{}: {name}, {count} times, first at byte {place}", path.display())
            })
        });
        lines.take(60).collect::<Vec<_>>().join("\n")
    }
}

fn search(folder: &Path, needles: &Needles) -> anyhow::Result<Searched> {
    let mut searched = Searched::default();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                // A running node may have removed it meanwhile.
                let Ok(file) = File::open(entry.path()) else { continue };
                searched.files += 1;
                search_file(&entry.path(), file, needles, &mut searched)?;
            }
        }
    }
    Ok(searched)
}

fn search_file(path: &Path, mut file: File, needles: &Needles, searched: &mut Searched) -> anyhow::Result<()> {
    let mut window: Vec<u8> = Vec::with_capacity(CHUNK + needles.length_max);
    let mut begins_at = 0;
    loop {
        let read = file.by_ref().take(CHUNK as u64).read_to_end(&mut window)?;
        searched.bytes += read as u64;
        // What could still be the beginning of something is looked at again with what follows.
        let keep = if read == 0 { 0 } else { needles.length_max.min(window.len()) };
        for place in 0..window.len() - keep {
            for name in needles.at(&window[place..]) {
                let found = searched.found.entry(path.to_owned()).or_default();
                found.entry(name.to_owned()).or_insert((begins_at + place as u64, 0)).1 += 1;
            }
        }
        if read == 0 {
            return Ok(());
        }
        begins_at += (window.len() - keep) as u64;
        window.drain(..window.len() - keep);
    }
}

/// Two digits a byte.
fn packed(digits: &str) -> Vec<u8> {
    digits.as_bytes().chunks_exact(2).map(|pair| (pair[0] - b'0') << 4 | (pair[1] - b'0')).collect()
}

fn distinct(bytes: &[u8]) -> bool {
    bytes.iter().collect::<BTreeSet<_>>().len() >= 5
}

fn base64(bytes: &[u8]) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
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

const CHUNK: usize = 1 << 20;
