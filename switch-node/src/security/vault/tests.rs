use std::{collections::BTreeSet, path::Path};

use super::{
    super::keys::{self, FileKeys},
    *,
};

/// Numbers are made at run time: no card-number-like digits stand in the source.
fn pan(last: u8) -> Pan {
    Pan::parse(&format!("99{}{last}", "0".repeat(13))).expect("a number")
}

fn card() -> Card {
    let text = |bytes: &[u8]| Sensitive::new(bytes.to_vec());
    Card {
        verification_value: text(b"123"),
        track2: text(b"a track"),
        pin_block: text(&[7; 8]),
        cryptogram: text(&[8; 20]),
        // Track 2 equivalent, then the transaction counter.
        icc_data: text(&[0x57, 2, 0x11, 0x11, 0x9f, 0x36, 2, 0, 42]),
        ..Card::of_number(pan(1), Expiry::parse(2031, 7).ok(), 3)
    }
}

fn shop() -> GatewayId {
    GatewayId::parse("shop").expect("an id")
}

fn transaction(number: u128) -> TransactionId {
    TransactionId::from_number(number)
}

fn vault() -> (tempfile::TempDir, Vault) {
    let directory = tempfile::tempdir().expect("a directory");
    keys::generate(directory.path()).expect("keys");
    let vault = open(directory.path());
    (directory, vault)
}

/// A vault with the keys of a directory, as in a process of its own.
fn open(directory: &Path) -> Vault {
    Vault::new(Arc::new(FileKeys::open(directory).expect("keys")), rand::random())
}

/// Why it does not open. Cards cannot be printed.
fn fault(vault: &Vault, sealed: &Sealed, gateway: &GatewayId, transaction: TransactionId) -> VaultFault {
    vault.unseal(sealed, gateway, transaction).err().expect("a fault")
}

#[test]
fn r7_what_is_needed_comes_back_and_sensitive_data_does_not() {
    let (_directory, vault) = vault();
    let sealed = vault.seal(&card(), &shop(), transaction(1)).expect("sealed");
    let opened = vault.unseal(&sealed, &shop(), transaction(1)).expect("opened");
    assert_eq!(opened.pan.expose(), card().pan.expose());
    assert!(opened.expiry == card().expiry);
    assert_eq!(opened.sequence_number, 3);
    assert_eq!(opened.icc_data.expose(), [0x9f, 0x36, 2, 0, 42]);
    for sensitive in [&opened.verification_value, &opened.track2, &opened.pin_block, &opened.cryptogram] {
        assert!(sensitive.is_empty());
    }
    let digits = card().pan.expose().as_bytes().to_vec();
    assert!(sealed.bytes.windows(digits.len()).all(|window| window != digits));
}

#[test]
fn r7_a_card_without_expiry_and_chip_comes_back() {
    let (_directory, vault) = vault();
    let plain = Card::of_number(pan(2), None, 999);
    let sealed = vault.seal(&plain, &shop(), transaction(1)).expect("sealed");
    let opened = vault.unseal(&sealed, &shop(), transaction(1)).expect("opened");
    assert_eq!((opened.pan.expose(), opened.sequence_number), (plain.pan.expose(), 999));
    assert!(opened.expiry.is_none() && opened.icc_data.is_empty());
}

#[test]
fn r10_sealed_data_opens_in_its_own_place_only() {
    let (_directory, vault) = vault();
    let sealed = vault.seal(&card(), &shop(), transaction(1)).expect("sealed");
    let market = GatewayId::parse("market").expect("an id");
    let forged = VaultFault::Key(KeyFault::Forged);
    assert_eq!(fault(&vault, &sealed, &market, transaction(1)), forged);
    assert_eq!(fault(&vault, &sealed, &shop(), transaction(2)), forged);
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let (_directory, vault) = vault();
    let sealed = vault.seal(&card(), &shop(), transaction(1)).expect("sealed");
    for place in 0..sealed.bytes.len() {
        for bit in 0..8 {
            let mut tampered = sealed.clone();
            tampered.bytes[place] ^= 1 << bit;
            let found = fault(&vault, &tampered, &shop(), transaction(1));
            assert_eq!(found, VaultFault::Key(KeyFault::Forged), "byte {place}");
        }
    }
    for length in 0..sealed.bytes.len() {
        let cut = Sealed { bytes: sealed.bytes[..length].into(), ..sealed.clone() };
        let expected = if length < NONCE_LEN { VaultFault::Layout } else { VaultFault::Key(KeyFault::Forged) };
        assert_eq!(fault(&vault, &cut, &shop(), transaction(1)), expected, "{length} bytes");
    }
}

#[test]
fn older_versions_open_and_the_newest_seals() {
    let (directory, before) = vault();
    let old = before.seal(&card(), &shop(), transaction(1)).expect("sealed");
    keys::generate_version(directory.path(), Purpose::Pan, 2).expect("a key");
    let after = open(directory.path());
    assert_eq!(after.unseal(&old, &shop(), transaction(1)).map(|card| card.sequence_number).ok(), Some(3));
    let new = after.seal(&card(), &shop(), transaction(1)).expect("sealed");
    assert_eq!((old.key_version, new.key_version), (1, 2));
    let unknown = VaultFault::Key(KeyFault::UnknownVersion(Purpose::Pan, 2));
    assert_eq!(fault(&before, &new, &shop(), transaction(1)), unknown);
    // The version is bound, too: another one's bytes under this one's name are a forgery.
    let renamed = Sealed { key_version: 1, ..new };
    assert_eq!(fault(&after, &renamed, &shop(), transaction(1)), VaultFault::Key(KeyFault::Forged));
}

#[test]
fn another_layout_is_no_card() {
    let text = layout(&card()).expect("a layout");
    assert!(read_layout(&text).is_some());
    for length in 0..text.len() {
        assert!(read_layout(&text[..length]).is_none(), "{length} bytes");
    }
    assert!(read_layout(&[&text[..], &[0]].concat()).is_none());
    assert!(read_layout(&[&[2], &text[1..]].concat()).is_none());
}

#[test]
fn no_nonce_is_used_twice() {
    let (_directory, vault) = vault();
    let sealed = |_| vault.seal(&card(), &shop(), transaction(1)).expect("sealed").bytes[..NONCE_LEN].to_vec();
    assert_eq!((0..1000).map(sealed).collect::<BTreeSet<_>>().len(), 1000);

    // Across the end of the low half, across that of the high half, and at the very end.
    let nonces = Nonces { start: u64::MAX, used: AtomicU64::new(u64::from(u32::MAX)) };
    let (last, first) = (nonces.next().expect("one"), nonces.next().expect("one"));
    assert_eq!(last, [0xff; NONCE_LEN]);
    assert_eq!(first, [0; NONCE_LEN]);
    let used_up = Nonces { start: 0, used: AtomicU64::new(u64::MAX) };
    assert_eq!(used_up.next(), Err(VaultFault::NoncesExhausted));
    assert_eq!(used_up.next(), Err(VaultFault::NoncesExhausted));
}

#[test]
fn a_token_is_stable_and_hides_the_number() {
    let (directory, vault) = vault();
    let again = open(directory.path());
    assert_eq!(vault.token(&pan(1)), again.token(&pan(1)));
    assert_ne!(vault.token(&pan(1)), vault.token(&pan(2)));
    let (_other_directory, other) = self::vault();
    assert_ne!(vault.token(&pan(1)), other.token(&pan(1)));
}

#[test]
fn r16_a_fingerprint_covers_every_part() {
    let (_directory, vault) = vault();
    let (one, two) = (pan(1), pan(2));
    let merchants = ["SHOP-1", "SHOP-2"].map(|id| MerchantId::parse(id).expect("an id"));
    let terminals = ["T1", "T2"].map(|id| TerminalId::parse(id).expect("an id"));
    let key = RequestId::parse("order-1").expect("a key");
    let base = FingerprintParts {
        method: Method::Authorize,
        amount: Amount::parse(100).expect("an amount"),
        currency: Currency::parse("EUR").ok(),
        pan: Some(&one),
        merchant: Some(&merchants[0]),
        terminal: Some(&terminals[0]),
        original: None,
        original_request: None,
        capture_mode: Some(CaptureMode::Manual),
        is_final: false,
    };
    let all = [
        base,
        FingerprintParts { method: Method::Verify, ..base },
        FingerprintParts { amount: Amount::parse(101).expect("an amount"), ..base },
        FingerprintParts { currency: Currency::parse("USD").ok(), ..base },
        FingerprintParts { currency: None, ..base },
        FingerprintParts { pan: Some(&two), ..base },
        FingerprintParts { pan: None, ..base },
        FingerprintParts { merchant: Some(&merchants[1]), ..base },
        FingerprintParts { terminal: Some(&terminals[1]), ..base },
        FingerprintParts { original: Some(transaction(1)), ..base },
        FingerprintParts { original: Some(transaction(2)), ..base },
        FingerprintParts { original_request: Some(&key), ..base },
        FingerprintParts { capture_mode: Some(CaptureMode::Automatic), ..base },
        FingerprintParts { capture_mode: None, ..base },
        FingerprintParts { is_final: true, ..base },
    ];
    let digests: BTreeSet<_> = all.iter().map(|parts| vault.fingerprint(None, parts).expect("one").digest).collect();
    assert_eq!(digests.len(), all.len());
    assert_eq!(vault.fingerprint(None, &base), vault.fingerprint(Some(1), &base));
    assert_eq!(
        vault.fingerprint(Some(2), &base),
        Err(VaultFault::Key(KeyFault::UnknownVersion(Purpose::Fingerprint, 2)))
    );
}

#[test]
fn r16_a_stored_fingerprint_outlives_a_new_version_of_every_key() {
    let (directory, before) = vault();
    let number = pan(1);
    let parts = FingerprintParts {
        amount: Amount::parse(100).expect("an amount"),
        currency: Currency::parse("EUR").ok(),
        pan: Some(&number),
        ..FingerprintParts::of(Method::Authorize)
    };
    let stored = before.fingerprint(None, &parts).expect("one");
    for purpose in Purpose::ALL {
        keys::generate_version(directory.path(), purpose, 2).expect("a key");
    }
    let after = open(directory.path());
    assert_eq!(after.fingerprint(Some(stored.key_version), &parts), Ok(stored));
    assert_eq!(after.fingerprint(None, &parts).map(|fingerprint| fingerprint.key_version), Ok(2));
}

#[test]
fn r16_the_layout_of_a_fingerprint_is_pinned() {
    // One that changed between versions would refuse honest repetitions.
    let key = RequestId::parse("order-1").expect("a key");
    let parts = FingerprintParts {
        capture_mode: Some(CaptureMode::Manual),
        is_final: true,
        ..FingerprintParts::void(Some(transaction(1)), Some(&key))
    };
    let mut expected = Vec::new();
    let original = transaction(1).to_string();
    for part in [&b"payswitch fingerprint 1"[..], b"void", &[0; 8], b"", b"", b"", b"", original.as_bytes()] {
        expected.extend_from_slice(&[0, 0, 0, part.len() as u8]);
        expected.extend_from_slice(part);
    }
    expected.extend_from_slice(b"\0\0\0\x07order-1\0\0\0\x06manual\0\0\0\x05final");
    assert_eq!(parts.message().0[..], expected[..]);
}
