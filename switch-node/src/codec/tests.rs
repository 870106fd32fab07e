//! Goal: every value that may be stored is read back the same, in one encoding that the contract's own reader agrees with;
//! bytes that were written once are read for ever; and no bytes whatever make the reader panic or guess.
//!
//! Method: values are drawn for every type, and `golden` holds bytes of the first version.

mod golden;
pub(crate) mod strategies;

use proptest::prelude::*;
use prost::Message as _;
use switch_domain::{
    id::{GatewayId, RequestId},
    table::{Key, Made, Row},
};
use switch_proto::journal::v1 as proto;

use super::{
    CodecFault, decode_command, decode_key, decode_pack, decode_row, encode_command, encode_key, encode_pack,
    encode_row,
};

/// A transaction with a good deal in it.
pub(crate) fn a_transaction() -> (Key, Row) {
    golden::transaction()
}

/// What the contract's generated code makes of the bytes. Equal bytes prove field numbers, types and the canonical form.
fn by_contract<T: prost::Message + Default>(bytes: &[u8]) -> Vec<u8> {
    T::decode(bytes).expect("the contract reads it").encode_to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn a_pack_is_read_back_the_same(pack in strategies::pack()) {
        let bytes = encode_pack(&pack);
        prop_assert_eq!(decode_pack(&bytes), Ok(pack));
        prop_assert_eq!(by_contract::<proto::Pack>(&bytes), bytes);
    }

    #[test]
    fn a_command_is_read_back_the_same(command in strategies::command()) {
        let bytes = encode_command(&command);
        prop_assert_eq!(decode_command(&bytes), Ok(command));
        prop_assert_eq!(by_contract::<proto::Command>(&bytes), bytes);
    }

    #[test]
    fn a_row_is_read_back_the_same((key, row) in strategies::entry()) {
        let bytes = encode_row(&row);
        prop_assert_eq!(decode_row(&key, &bytes), Ok(row));
        prop_assert_eq!(by_contract::<proto::Row>(&bytes), bytes);
    }

    #[test]
    fn a_key_is_read_back_the_same(key in strategies::key()) {
        prop_assert_eq!(decode_key(&encode_key(&key)), Ok(key));
    }

    #[test]
    fn the_order_of_keys_is_the_order_of_their_bytes(a in strategies::key(), b in strategies::key()) {
        prop_assert_eq!(a.cmp(&b), encode_key(&a).cmp(&encode_key(&b)));
    }

    /// Half-written, flipped or foreign bytes are refused, or mean exactly what they say.
    #[test]
    fn damaged_bytes_are_refused_or_are_canonical(
        pack in strategies::pack(),
        (key, row) in strategies::entry(),
        at in any::<prop::sample::Index>(),
        flip in 1..=u8::MAX,
    ) {
        let mut bytes = encode_pack(&pack).to_vec();
        for end in [0, bytes.len() / 3, at.index(bytes.len() + 1)] {
            if let Ok(read) = decode_pack(&bytes[..end]) {
                prop_assert_eq!(encode_pack(&read), &bytes[..end]);
            }
        }
        if !bytes.is_empty() {
            let place = at.index(bytes.len());
            bytes[place] ^= flip;
            if let Ok(read) = decode_pack(&bytes) {
                prop_assert_eq!(encode_pack(&read), bytes);
            }
        }
        let mut bytes = encode_row(&row);
        for end in 0..bytes.len() {
            if let Ok(read) = decode_row(&key, &bytes[..end]) {
                prop_assert_eq!(encode_row(&read), &bytes[..end]);
            }
        }
        let place = at.index(bytes.len());
        bytes[place] ^= flip;
        if let Ok(read) = decode_row(&key, &bytes) {
            prop_assert_eq!(encode_row(&read), bytes);
        }
        let mut bytes = encode_key(&key);
        for end in 0..bytes.len() {
            prop_assert!(decode_key(&bytes[..end]).is_err());
        }
        let place = at.index(bytes.len());
        bytes[place] ^= flip;
        if let Ok(read) = decode_key(&bytes) {
            prop_assert_eq!(encode_key(&read), bytes);
        }
    }

    #[test]
    fn garbage_is_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_pack(&bytes);
        let _ = decode_command(&bytes);
        let _ = decode_row(&Key::Clock, &bytes);
        let _ = decode_key(&bytes);
    }
}

#[test]
fn s17_a_command_of_a_newer_version_stops_the_reader() {
    // Field 31, in two bytes.
    let newer = [0xfa, 0x01, 0];
    assert_eq!(decode_command(&newer), Err(CodecFault::Unexpected { message: "Command", field: 31 }));
    let pack = [4 << 3 | 2, 3, 0xfa, 0x01, 0];
    assert_eq!(decode_pack(&pack), Err(CodecFault::Unexpected { message: "Command", field: 31 }));
}

#[test]
fn s17_an_enum_value_of_a_newer_version_stops_the_reader() {
    let old = proto::Command {
        command: Some(proto::command::Command::TimedOut(proto::TimedOut {
            attempt: Some(proto::AttemptRef {
                gateway: "shop".into(),
                transaction: vec![0; 16].into(),
                operation: 0,
                number: 1,
            }),
            doubt: 4,
        })),
    };
    assert!(decode_command(&old.encode_to_vec()).is_ok());
    let mut newer = old;
    if let Some(proto::command::Command::TimedOut(timed_out)) = &mut newer.command {
        timed_out.doubt = 5;
    }
    let fault = CodecFault::UnknownValue { enumeration: "Doubt", value: 5 };
    assert_eq!(decode_command(&newer.encode_to_vec()), Err(fault));
}

#[test]
fn s17_a_field_of_a_newer_version_stops_the_reader() {
    let mut bytes = encode_row(&Row::Made(Made::Directory(7)));
    bytes.extend([15 << 3, 1]);
    let key = Key::OperatorRequest(RequestId::parse("k").expect("a key"));
    assert_eq!(decode_row(&key, &bytes), Err(CodecFault::Unexpected { message: "Row", field: 15 }));
}

#[test]
fn a_default_that_is_written_out_is_refused() {
    // first_ticket = 0, said aloud
    assert_eq!(decode_pack(&[2 << 3, 0]), Err(CodecFault::NotCanonical { message: "Pack" }));
    // log_time_ms = 1 in two bytes
    assert_eq!(decode_pack(&[3 << 3, 0x81, 0x00]), Err(CodecFault::NotCanonical { message: "Pack" }));
    // log_time_ms before first_ticket
    assert_eq!(decode_pack(&[3 << 3, 1, 2 << 3, 1]), Err(CodecFault::Unexpected { message: "Pack", field: 2 }));
}

#[test]
fn book_and_directory_never_share_a_pack() {
    let directory = proto::DirectoryCommand { request_id: "k".into(), ..Default::default() };
    let command = proto::Command {
        command: Some(proto::command::Command::Expire(proto::Expire {
            gateway: "shop".into(),
            transaction: vec![7; 16].into(),
            release: true,
        })),
    };
    let both = proto::Pack { commands: vec![command], directory: Some(directory), ..Default::default() };
    let fault = CodecFault::Invalid { message: "Pack", kind: "pack of book and directory" };
    assert_eq!(decode_pack(&both.encode_to_vec()), Err(fault));
}

#[test]
fn a_row_of_another_kind_than_its_key_is_refused() {
    assert_eq!(decode_row(&Key::Clock, &encode_row(&Row::Counter(1))), Err(CodecFault::Misplaced));
    let (key, row) = golden::transaction();
    let Key::Transaction(_, id) = key else { panic!("a transaction's key") };
    let foreign = Key::Transaction(GatewayId::parse("other").expect("a gateway"), id);
    assert_eq!(decode_row(&foreign, &encode_row(&row)), Err(CodecFault::Misplaced));
}

#[test]
fn a_table_of_a_newer_version_stops_the_reader() {
    assert_eq!(decode_key(&[0x6f]), Err(CodecFault::UnknownTable(0x6f)));
    assert_eq!(decode_key(&[]), Err(CodecFault::Key));
}
