use std::{collections::BTreeSet, sync::atomic::AtomicU64};

use proptest::prelude::*;
use switch_domain::keyring::KeyPurpose;

use super::{
    super::{data_keys::tests::Ring, keys},
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

/// A process of a cluster: its vault has a number of its own.
fn process(ring: &mut Ring) -> Vault {
    let vault = Vault::new(ring.process());
    vault.incarnate(ring.incarnate());
    vault
}

/// A cluster with a key, and one process.
fn vault() -> (Ring, Vault) {
    let mut ring = Ring::new();
    ring.rotate(KeyPurpose::Card);
    let vault = process(&mut ring);
    (ring, vault)
}

/// Why it does not open. Cards cannot be printed.
fn fault(vault: &Vault, sealed: &Sealed, gateway: &GatewayId, transaction: TransactionId) -> VaultFault {
    vault.unseal(sealed, gateway, transaction).err().expect("a fault")
}

#[test]
fn r7_what_is_needed_comes_back_and_sensitive_data_does_not() {
    let (_ring, vault) = vault();
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
    let (_ring, vault) = vault();
    let plain = Card::of_number(pan(2), None, 999);
    let sealed = vault.seal(&plain, &shop(), transaction(1)).expect("sealed");
    let opened = vault.unseal(&sealed, &shop(), transaction(1)).expect("opened");
    assert_eq!((opened.pan.expose(), opened.sequence_number), (plain.pan.expose(), 999));
    assert!(opened.expiry.is_none() && opened.icc_data.is_empty());
}

#[test]
fn r10_sealed_data_opens_in_its_own_place_only() {
    let (_ring, vault) = vault();
    let sealed = vault.seal(&card(), &shop(), transaction(1)).expect("sealed");
    let market = GatewayId::parse("market").expect("an id");
    let forged = VaultFault::Key(KeyFault::Forged);
    assert_eq!(fault(&vault, &sealed, &market, transaction(1)), forged);
    assert_eq!(fault(&vault, &sealed, &shop(), transaction(2)), forged);
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let (_ring, vault) = vault();
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
fn older_versions_open_and_the_current_one_seals() {
    let (mut ring, vault) = vault();
    let old = vault.seal(&card(), &shop(), transaction(1)).expect("sealed");
    ring.rotate(KeyPurpose::Card);
    let new = vault.seal(&card(), &shop(), transaction(1)).expect("sealed");
    assert_eq!((old.key_version, new.key_version), (1, 2));
    for sealed in [&old, &new] {
        let again = Vault::new(ring.process());
        assert_eq!(again.unseal(sealed, &shop(), transaction(1)).map(|card| card.sequence_number).ok(), Some(3));
    }
    let unknown = Sealed { key_version: 3, ..new.clone() };
    let fault_of = |sealed| fault(&vault, sealed, &shop(), transaction(1));
    assert_eq!(fault_of(&unknown), VaultFault::Key(KeyFault::UnknownDataKey(KeyPurpose::Card, 3)));
    // The version is bound, too: another one's bytes under this one's name are a forgery.
    assert_eq!(fault_of(&Sealed { key_version: 1, ..new }), VaultFault::Key(KeyFault::Forged));
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

#[tokio::test]
async fn a_process_without_an_incarnation_opens_and_does_not_seal() {
    let (mut ring, before) = vault();
    let sealed = before.seal(&card(), &shop(), transaction(1)).expect("sealed");
    let vault = Vault::new(ring.process());
    assert!(vault.unseal(&sealed, &shop(), transaction(1)).is_ok());
    assert_eq!(vault.seal(&card(), &shop(), transaction(1)), Err(VaultFault::NotReady));
    assert!(!vault.is_incarnated() && futures::FutureExt::now_or_never(vault.ready()).is_none());
    vault.incarnate(ring.incarnate());
    vault.ready().await;
    assert!(vault.seal(&card(), &shop(), transaction(1)).is_ok());

    let mut empty = Ring::new();
    let vault = process(&mut empty);
    assert_eq!(vault.seal(&card(), &shop(), transaction(1)), Err(VaultFault::NotReady));
    empty.rotate(KeyPurpose::Card);
    vault.ready().await;
    assert!(vault.seal(&card(), &shop(), transaction(1)).is_ok());
}

#[test]
fn the_first_incarnation_stays_and_its_nonces_end() {
    let nonces =
        |incarnation, used| Nonces { incarnation: watch::Sender::new(Some(incarnation)), used: AtomicU64::new(used) };
    let last = nonces(INCARNATION_MAX, COUNTER_MAX);
    assert_eq!(last.next(), Ok([0xff; NONCE_LEN]));
    assert_eq!([last.next(), last.next()], [Err(VaultFault::NoncesExhausted); 2]);
    assert_eq!(nonces(INCARNATION_MAX + 1, 0).next(), Err(VaultFault::NoncesExhausted));
    assert_eq!(nonces(1, 2).next(), Ok([0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 2]));
    let (mut ring, vault) = vault();
    let nonce = |vault: &Vault| vault.seal(&card(), &shop(), transaction(1)).expect("sealed").bytes[..6].to_vec();
    let own = nonce(&vault);
    vault.incarnate(ring.incarnate());
    assert_eq!(nonce(&vault), own);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    /// Processes come and go, keys are rotated, and every one seals at any time: no key sees a nonce twice.
    #[test]
    fn no_nonce_is_used_twice_under_one_key(steps in proptest::collection::vec((0..10_u8, 0..5_usize), 1..60)) {
        let (mut ring, first) = vault();
        let mut processes = vec![first];
        let mut seen = BTreeSet::new();
        for (step, which) in steps {
            match step {
                0 => ring.rotate(KeyPurpose::Card),
                1 => processes.push(process(&mut ring)),
                2 if processes.len() > 1 => drop(processes.remove(which % processes.len())),
                _ => {
                    let vault = &processes[which % processes.len()];
                    for _ in 0..4 {
                        let sealed = vault.seal(&card(), &shop(), transaction(1)).expect("sealed");
                        let nonce = sealed.bytes[..NONCE_LEN].to_vec();
                        prop_assert!(seen.insert((sealed.key_version, nonce)), "a pair of key and nonce came twice");
                    }
                }
            }
        }
    }
}

#[test]
fn threads_of_one_process_share_no_nonce() {
    let (_ring, vault) = vault();
    let sealed = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let nonce = |_| vault.seal(&card(), &shop(), transaction(1)).expect("sealed").bytes[..12].to_vec();
                    (0..500).map(nonce).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a thread")).collect::<Vec<_>>()
    });
    assert_eq!(sealed.iter().collect::<BTreeSet<_>>().len(), sealed.len());
}

#[test]
fn a_token_is_stable_and_hides_the_number() {
    let (ring, vault) = vault();
    let again = Vault::new(ring.process());
    assert_eq!(vault.token(&pan(1)), again.token(&pan(1)));
    assert_ne!(vault.token(&pan(1)), vault.token(&pan(2)));
    let (_other_ring, other) = self::vault();
    assert_ne!(vault.token(&pan(1)), other.token(&pan(1)));
}

#[test]
fn r16_a_fingerprint_covers_every_part() {
    let (_ring, vault) = vault();
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
    let (ring, before) = vault();
    let number = pan(1);
    let parts = FingerprintParts {
        amount: Amount::parse(100).expect("an amount"),
        currency: Currency::parse("EUR").ok(),
        pan: Some(&number),
        ..FingerprintParts::of(Method::Authorize)
    };
    let stored = before.fingerprint(None, &parts).expect("one");
    for purpose in Purpose::ALL {
        keys::generate_version(ring.directory.path(), purpose, 2).expect("a key");
    }
    let after = Vault::new(ring.process());
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
