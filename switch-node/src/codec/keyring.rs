//! The keyring: data keys, wrapped, and its commands.

use switch_domain::keyring::{AddDataKey, DataKey, KeyPurpose, Keyring, KeyringCommand, Wrapped};

use super::{
    CodecFault,
    wire::{
        Field, Kind, Message, Reader, Value, Writer, enumerations, message_value, messages, read_records, write_records,
    },
};

enumerations! {
    KeyPurpose { 1 = Card, 2 = Sealing }
}

messages! {
    DataKey {
        1 purpose, 2 version, 3 wrapping_version, 4 wrapped, 5 public, 6 since, 7 until, 8 author,
    }
    AddDataKey { 1 request_id, 2 key, 3 overlap_ms }
}

message_value!(Keyring {
    |value, to| {
        let Keyring { incarnations, keys } = value;
        incarnations.write(1, to);
        write_records(keys, 2, to);
    }
    |from| {
        Ok(Keyring {
            incarnations: Field::read(1, from)?,
            keys: read_records(2, from, |key: &DataKey| (key.purpose, key.version))?,
        })
    }
});

message_value!(KeyringCommand {
    |value, to| {
        match value {
            KeyringCommand::Incarnate => ().put(1, to),
            KeyringCommand::Add(add) => add.put(2, to),
        }
    }
    |from| {
        if from.optional::<()>(1)?.is_some() {
            return Ok(KeyringCommand::Incarnate);
        }
        match from.optional(2)? {
            Some(add) => Ok(KeyringCommand::Add(add)),
            None => Err(from.unexpected()),
        }
    }
});

impl Value for Wrapped {
    const KIND: Kind = Kind::Bytes;

    fn put(&self, field: u32, to: &mut Writer) {
        to.bytes(field, &self.0);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, CodecFault> {
        match from.bytes()? {
            [] => Err(from.invalid("wrapped key")),
            bytes => Ok(Self(bytes.into())),
        }
    }
}

/// A public key.
impl Value for [u8; 32] {
    const KIND: Kind = Kind::Bytes;

    fn put(&self, field: u32, to: &mut Writer) {
        to.bytes(field, self);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, CodecFault> {
        from.array("public key")
    }
}
