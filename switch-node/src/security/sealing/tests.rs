//! The values of RFC 9180's test vectors for this suite: mode 0 (base), kem 0x0020, kdf 0x0001, aead 0x0002.

use hpke::Kem as _;
use proptest::prelude::*;

use super::*;

const VECTOR_INFO: &[u8] = b"Ode on a Grecian Urn";
const SEED: &str = "dac33b0e9db1b59dbbea58d59a14e7b5896e9bdf98fad6891e99d1686492b9ee";
const PRIVATE: &str = "497b4502664cfea5d5af0b39934dac72242a74f8480451e1aee7d6a53320333d";
const PUBLIC: &str = "430f4b9859665145a6b1ba274024487bd66f03a2dd577d7753c68d7d7d00c00c";
const ENCAPSULATED: &str = "6c93e09869df3402d7bf231bf540fadd35cd56be14f97178f0954db94b7fc256";
const TEXT: &[u8] = b"Beauty is truth, truth beauty";
/// Associated data and ciphertext of the first messages of one context.
const MESSAGES: &[(&str, &str)] = &[
    ("Count-0", "e5d84cd531cfb583096e7cfa9641bd3079cf3a91cda813c52deb5f512be9931980a41de125a925cdad859d5b7a"),
    ("Count-1", "2c43aff25343fdbff864506f0818b9d87df84ea01b1a2144d23b4d40c26bf655fdf197fe40297a8aebeed5cc2d"),
    ("Count-2", "e0a8f2cf92ff61215edbb8c55dc31fe9e2eb42a5685867bb6854211542099f9e940c4b41c192bc390835b1a5f7"),
];
/// Context and value of secrets that are exported.
const EXPORTS: &[(&[u8], &str)] = &[
    (b"", "ded6cffafaea6b812cbf3e241e88332adbc077aca81512914213810ee291770a"),
    (b"\x00", "04d3cb6cc116b28ffd22ad5bc276c60d31fec71ceb87ae24db811c64b7507339"),
    (b"TestContext", "7c5ded445732c14fe09727d29b4251c0fd38455fe8440571e687f0886aac94d2"),
];

fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).expect("a hex digit") as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn private() -> OpeningKey {
    let bytes = DataKeyBytes::new(unhex(PRIVATE).try_into().expect("32 bytes"));
    OpeningKey::from_bytes(&bytes).expect("a key")
}

/// What a gateway does; `info` and associated data as it likes.
fn seal(to: &OpeningKey, info: &[u8], associated: &[u8], text: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let public = <Kem as hpke::Kem>::PublicKey::from_bytes(&to.public()).expect("a key");
    let mode = hpke::OpModeS::Base;
    let sealed = hpke::single_shot_seal::<Aead, Kdf, Kem>(&mode, &public, info, text, associated);
    let (encapsulated, ciphertext) = sealed.expect("sealed");
    (encapsulated.to_bytes().to_vec(), ciphertext)
}

#[test]
fn the_suite_gives_the_values_of_rfc_9180() {
    let (private_key, public) = Kem::derive_keypair(&unhex(SEED));
    // The private half is compared by what it does: some of its bits mean nothing, and are not written out alike.
    assert_eq!((public.to_bytes().to_vec(), private().public().to_vec()), (unhex(PUBLIC), unhex(PUBLIC)));

    let encapsulated = <Kem as hpke::Kem>::EncappedKey::from_bytes(&unhex(ENCAPSULATED)).expect("a key");
    let context = hpke::setup_receiver::<Aead, Kdf, Kem>(&OpModeR::Base, &private_key, &encapsulated, VECTOR_INFO);
    let mut context = context.expect("a context");
    for (associated, ciphertext) in MESSAGES {
        assert_eq!(context.open(&unhex(ciphertext), associated.as_bytes()).expect("opened"), TEXT, "{associated}");
    }
    for (label, value) in EXPORTS {
        let mut exported = [0; 32];
        context.export(label, &mut exported).expect("exported");
        assert_eq!(exported.to_vec(), unhex(value));
    }
}

#[test]
fn what_is_bound_to_a_message_is_pinned() {
    // As the contract writes it down.
    let bytes = unhex("0000000473686f7000000009417574686f72697a65000000076f726465722d31");
    assert_eq!(associated("shop", "Authorize", "order-1"), bytes);
    assert_eq!((INFO.len(), INFO), (31, &b"payswitch.gateway.v1.SealedCard"[..]));
    assert_ne!(associated("shop", "Authorize", "order-1"), associated("shopA", "uthorize", "order-1"));
}

#[test]
fn a_message_opens_in_its_own_place_only() {
    let (key, own) = (private(), associated("shop", "Authorize", "order-1"));
    let (encapsulated, ciphertext) = seal(&key, INFO, &own, b"a card");
    assert_eq!(key.open(&encapsulated, &ciphertext, &own).map(|text| text.to_vec()), Ok(b"a card".to_vec()));
    for (gateway, method, request_id) in
        [("market", "Authorize", "order-1"), ("shop", "VerifyCard", "order-1"), ("shop", "Authorize", "order-2")]
    {
        let other = associated(gateway, method, request_id);
        assert_eq!(
            key.open(&encapsulated, &ciphertext, &other).err(),
            Some(SealingFault::Forged),
            "{gateway} {method}"
        );
    }
    let (encapsulated, ciphertext) = seal(&key, b"another protocol", &own, b"a card");
    assert_eq!(key.open(&encapsulated, &ciphertext, &own).err(), Some(SealingFault::Forged));
    let other = OpeningKey::from_bytes(&DataKeyBytes::new([9; 32])).expect("a key");
    let (encapsulated, ciphertext) = seal(&other, INFO, &own, b"a card");
    assert_eq!(key.open(&encapsulated, &ciphertext, &own).err(), Some(SealingFault::Forged));
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let (key, own) = (private(), associated("shop", "Authorize", "order-1"));
    let (encapsulated, ciphertext) = seal(&key, INFO, &own, b"a card");
    let forged = |encapsulated: &[u8], ciphertext: &[u8]| {
        assert_eq!(key.open(encapsulated, ciphertext, &own).err(), Some(SealingFault::Forged));
    };
    for place in 0..ciphertext.len() {
        let mut flipped = ciphertext.clone();
        flipped[place] ^= 1;
        forged(&encapsulated, &flipped);
        forged(&encapsulated, &ciphertext[..place]);
    }
    for place in 0..encapsulated.len() {
        let mut flipped = encapsulated.clone();
        flipped[place] ^= 1;
        forged(&flipped, &ciphertext);
        forged(&encapsulated[..place], &ciphertext);
    }
    // A point of small order would make the secret known to everybody.
    forged(&[0; 32], &ciphertext);
    forged(&encapsulated, &vec![0; CIPHERTEXT_BYTES_MAX + 1]);
}

#[test]
fn a_key_is_named_by_its_version_in_one_way() {
    assert_eq!((key_id(12), version_of("sealing-12")), ("sealing-12".to_owned(), Some(12)));
    for name in ["", "12", "sealing-", "sealing-012", "sealing-+12", "sealing-4294967296", "Sealing-12", "card-12"] {
        assert_eq!(version_of(name), None, "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn garbage_is_never_a_panic(
        encapsulated in proptest::collection::vec(any::<u8>(), 0..40),
        ciphertext in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        prop_assert_eq!(private().open(&encapsulated, &ciphertext, b"").err(), Some(SealingFault::Forged));
    }
}
