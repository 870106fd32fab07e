//! The bytes of `payswitch.journal.v1`, written from domain types and read into them without a copy in between.
//!
//! This is protobuf, in its canonical form and no other: fields in the order of their numbers, defaults left out, varints as
//! short as they can be. A reader that meets anything else stops (S17): it never skips what it does not know. So whatever
//! is read is written again to the same bytes, and replicas may compare hashes of them.

use std::collections::BTreeMap;

use super::CodecFault;

/// How a field's value is delimited. The numbers are protobuf's wire types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Varint.
    Number = 0,
    /// Eight bytes, least significant first.
    Fixed = 1,
    /// A length, then so many bytes.
    Bytes = 2,
}

/// Collects bytes.
#[derive(Default)]
pub(super) struct Writer {
    out: Vec<u8>,
}

impl Writer {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { out: Vec::with_capacity(bytes) }
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    fn tag(&mut self, field: u32, kind: Kind) {
        self.varint(u64::from(field) << 3 | kind as u64);
    }

    pub(super) fn number(&mut self, field: u32, value: u64) {
        self.tag(field, Kind::Number);
        self.varint(value);
    }

    /// A number as eight bytes: random ids are longer as varints.
    pub(super) fn fixed(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.tag(field, Kind::Fixed);
            self.out.extend_from_slice(&value.to_le_bytes());
        }
    }

    pub(super) fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.tag(field, Kind::Bytes);
        self.varint(bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }

    /// A message inside this one. Most are shorter than 128 bytes: their length fits the byte that is kept free, a longer one
    /// is moved to make room.
    pub(super) fn nested(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        self.tag(field, Kind::Bytes);
        let start = self.out.len();
        self.out.push(0);
        write(self);
        let end = self.out.len();
        let length = end - start - 1;
        if length < 0x80 {
            self.out[start] = length as u8;
            return;
        }
        self.varint(length as u64); // behind the message, to be turned around
        let size = self.out.len() - end;
        let mut prefix = [0; 10];
        prefix[..size].copy_from_slice(&self.out[end..]);
        self.out.truncate(end + size - 1);
        self.out.copy_within(start + 1..end, start + size);
        self.out[start..start + size].copy_from_slice(&prefix[..size]);
    }
}

/// Takes bytes apart.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    message: &'static str,
}

impl<'a> Reader<'a> {
    pub(super) fn new(message: &'static str, bytes: &'a [u8]) -> Self {
        Self { rest: bytes, message }
    }

    /// Fails where bytes are left: a field that is not known, or not in its place.
    pub(super) fn finish(mut self) -> Result<(), CodecFault> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.unexpected()) }
    }

    /// What to say of bytes where none of the known fields begins.
    pub(super) fn unexpected(&mut self) -> CodecFault {
        let message = self.message;
        if self.rest.is_empty() {
            return CodecFault::Missing { message, field: 0 };
        }
        match self.varint() {
            Ok(tag) => CodecFault::Unexpected { message, field: tag >> 3 },
            Err(fault) => fault,
        }
    }

    /// Moves past the tag of a field, if that is what comes next.
    pub(super) fn next_is(&mut self, field: u32, kind: Kind) -> bool {
        let tag = field << 3 | kind as u32;
        let bytes = [tag as u8 & 0x7f | if tag >= 0x80 { 0x80 } else { 0 }, (tag >> 7) as u8];
        let found = self.rest.strip_prefix(&bytes[..if tag >= 0x80 { 2 } else { 1 }]);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    pub(super) fn varint(&mut self) -> Result<u64, CodecFault> {
        let mut value = 0;
        for (place, byte) in self.rest.iter().take(10).enumerate() {
            let part = u64::from(byte & 0x7f);
            if place == 9 && *byte > 1 || place > 0 && *byte == 0 {
                return Err(self.not_canonical()); // more than 64 bits, or a zero that need not be there
            }
            value |= part << (7 * place);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[place + 1..];
                return Ok(value);
            }
        }
        Err(self.truncated())
    }

    /// A varint that fits a narrower number.
    pub(super) fn narrow<T: TryFrom<u64>>(&mut self, kind: &'static str) -> Result<T, CodecFault> {
        let value = self.varint()?;
        T::try_from(value).map_err(|_| self.invalid(kind))
    }

    /// A fixed number, zero where the field is left out.
    pub(super) fn fixed(&mut self, field: u32) -> Result<u64, CodecFault> {
        if !self.next_is(field, Kind::Fixed) {
            return Ok(0);
        }
        let (bytes, rest) = self.rest.split_first_chunk().ok_or_else(|| self.truncated())?;
        self.rest = rest;
        match u64::from_le_bytes(*bytes) {
            0 => Err(self.not_canonical()),
            value => Ok(value),
        }
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], CodecFault> {
        let length = self.narrow::<usize>("length")?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or_else(|| self.truncated())?;
        self.rest = rest;
        Ok(bytes)
    }

    /// So many bytes, no more and no less.
    pub(super) fn array<const N: usize>(&mut self, kind: &'static str) -> Result<[u8; N], CodecFault> {
        self.bytes()?.try_into().map_err(|_| self.invalid(kind))
    }

    pub(super) fn text(&mut self, kind: &'static str) -> Result<&'a str, CodecFault> {
        std::str::from_utf8(self.bytes()?).map_err(|_| self.invalid(kind))
    }

    pub(super) fn nested<T>(
        &mut self,
        message: &'static str,
        read: impl FnOnce(&mut Reader<'a>) -> Result<T, CodecFault>,
    ) -> Result<T, CodecFault> {
        let mut inner = Reader::new(message, self.bytes()?);
        let value = read(&mut inner)?;
        inner.finish()?;
        Ok(value)
    }

    /// The value of a field, `None` where it is left out.
    pub(super) fn optional<T: Value>(&mut self, field: u32) -> Result<Option<T>, CodecFault> {
        if self.next_is(field, T::KIND) { T::take(self).map(Some) } else { Ok(None) }
    }

    pub(super) fn invalid(&self, kind: &'static str) -> CodecFault {
        CodecFault::Invalid { message: self.message, kind }
    }

    fn truncated(&self) -> CodecFault {
        CodecFault::Truncated { message: self.message }
    }

    pub(super) fn not_canonical(&self) -> CodecFault {
        CodecFault::NotCanonical { message: self.message }
    }
}

/// What can stand under a field number.
pub(super) trait Value: Sized {
    /// How it is delimited.
    const KIND: Kind;

    /// What leaving it out means; `None` where it may not be left out.
    fn absent() -> Option<Self> {
        None
    }

    /// True for what [`Self::absent`] gives.
    fn is_absent(&self) -> bool {
        false
    }

    /// Writes tag and value.
    fn put(&self, field: u32, to: &mut Writer);

    /// Reads the value behind its tag.
    fn take(from: &mut Reader<'_>) -> Result<Self, CodecFault>;
}

/// What a message consists of: a value, an optional value, a list, a map.
pub(super) trait Field: Sized {
    fn write(&self, field: u32, to: &mut Writer);
    fn read(field: u32, from: &mut Reader<'_>) -> Result<Self, CodecFault>;
}

impl<T: Value> Field for T {
    fn write(&self, field: u32, to: &mut Writer) {
        if !self.is_absent() {
            self.put(field, to);
        }
    }

    fn read(field: u32, from: &mut Reader<'_>) -> Result<Self, CodecFault> {
        match from.optional::<T>(field)? {
            Some(value) if value.is_absent() => Err(from.not_canonical()),
            Some(value) => Ok(value),
            None => T::absent().ok_or(CodecFault::Missing { message: from.message, field }),
        }
    }
}

impl<T: Value> Field for Option<T> {
    fn write(&self, field: u32, to: &mut Writer) {
        if let Some(value) = self {
            value.put(field, to);
        }
    }

    fn read(field: u32, from: &mut Reader<'_>) -> Result<Self, CodecFault> {
        from.optional(field)
    }
}

impl<T: Value> Field for Vec<T> {
    fn write(&self, field: u32, to: &mut Writer) {
        for value in self {
            value.put(field, to);
        }
    }

    fn read(field: u32, from: &mut Reader<'_>) -> Result<Self, CodecFault> {
        let mut values = Self::new();
        while let Some(value) = from.optional(field)? {
            values.push(value);
        }
        Ok(values)
    }
}

/// Messages of key and value, in the order of the keys.
impl<K: Value + Ord, V: Field> Field for BTreeMap<K, V> {
    fn write(&self, field: u32, to: &mut Writer) {
        for (key, value) in self {
            to.nested(field, |to| {
                key.write(1, to);
                value.write(2, to);
            });
        }
    }

    fn read(field: u32, from: &mut Reader<'_>) -> Result<Self, CodecFault> {
        let message = from.message;
        read_sorted(field, from, |from| from.nested(message, |from| Ok((K::read(1, from)?, V::read(2, from)?))))
    }
}

/// Records that carry their own key, in the order of the keys.
pub(super) fn write_records<K, V: Value>(records: &BTreeMap<K, V>, field: u32, to: &mut Writer) {
    for record in records.values() {
        record.put(field, to);
    }
}

/// Reads what [`write_records`] wrote.
pub(super) fn read_records<K: Ord, V: Value>(
    field: u32,
    from: &mut Reader<'_>,
    key: impl Fn(&V) -> K,
) -> Result<BTreeMap<K, V>, CodecFault> {
    read_sorted(field, from, |from| V::take(from).map(|value| (key(&value), value)))
}

fn read_sorted<'a, K: Ord, V>(
    field: u32,
    from: &mut Reader<'a>,
    mut take: impl FnMut(&mut Reader<'a>) -> Result<(K, V), CodecFault>,
) -> Result<BTreeMap<K, V>, CodecFault> {
    let mut map = BTreeMap::new();
    while from.next_is(field, Kind::Bytes) {
        let (key, value) = take(from)?;
        if map.last_key_value().is_some_and(|(last, _)| *last >= key) {
            return Err(from.not_canonical());
        }
        map.insert(key, value);
    }
    Ok(map)
}

impl<T: Value> Value for Box<T> {
    const KIND: Kind = T::KIND;

    fn absent() -> Option<Self> {
        T::absent().map(Self::new)
    }

    fn is_absent(&self) -> bool {
        T::is_absent(self)
    }

    fn put(&self, field: u32, to: &mut Writer) {
        T::put(self, field, to);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, CodecFault> {
        T::take(from).map(Self::new)
    }
}

/// The message `Nothing`.
impl Value for () {
    const KIND: Kind = Kind::Bytes;

    fn put(&self, field: u32, to: &mut Writer) {
        to.bytes(field, &[]);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, CodecFault> {
        from.nested("Nothing", |_| Ok(()))
    }
}

impl Value for bool {
    const KIND: Kind = Kind::Number;

    fn absent() -> Option<Self> {
        Some(false)
    }

    fn is_absent(&self) -> bool {
        !self
    }

    fn put(&self, field: u32, to: &mut Writer) {
        to.number(field, u64::from(*self));
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, CodecFault> {
        match from.varint()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(from.invalid("bool")),
        }
    }
}

impl Value for String {
    const KIND: Kind = Kind::Bytes;

    fn absent() -> Option<Self> {
        Some(Self::new())
    }

    fn is_absent(&self) -> bool {
        self.is_empty()
    }

    fn put(&self, field: u32, to: &mut Writer) {
        to.bytes(field, self.as_bytes());
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, CodecFault> {
        from.text("string").map(Self::from)
    }
}

/// Numbers: how each becomes a `u64` and, behind `from`, comes back from one. Zero is left out where it `may_be_absent`.
macro_rules! numbers {
    ($($type:ty { to: $to:expr, from: $from:expr, absent: $absent:expr })+) => {$(
        impl Value for $type {
            const KIND: Kind = Kind::Number;

            fn absent() -> Option<Self> {
                $absent
            }

            fn is_absent(&self) -> bool {
                <Self as Value>::absent().as_ref() == Some(self)
            }

            fn put(&self, field: u32, to: &mut Writer) {
                let number: fn(&Self) -> u64 = $to;
                to.number(field, number(self));
            }

            fn take(from: &mut Reader<'_>) -> Result<Self, CodecFault> {
                let parse: fn(u64) -> Option<Self> = $from;
                let number = from.varint()?;
                parse(number).ok_or_else(|| from.invalid(stringify!($type)))
            }
        }
    )+};
}

/// Texts: their characters, and how they are parsed.
macro_rules! texts {
    ($($type:ty { from: $from:expr, absent: $absent:expr })+) => {$(
        impl Value for $type {
            const KIND: Kind = Kind::Bytes;

            fn absent() -> Option<Self> {
                $absent
            }

            fn is_absent(&self) -> bool {
                <Self as Value>::absent().as_ref() == Some(self)
            }

            fn put(&self, field: u32, to: &mut Writer) {
                to.bytes(field, self.as_str().as_bytes());
            }

            fn take(from: &mut Reader<'_>) -> Result<Self, CodecFault> {
                let parse: fn(&str) -> Option<Self> = $from;
                let text = from.text(stringify!($type))?;
                parse(text).ok_or_else(|| from.invalid(stringify!($type)))
            }
        }
    )+};
}

/// Enums without content. A value that is not listed stops the reader; a variant that is not listed does not compile.
macro_rules! enumerations {
    ($($name:ident { $($number:literal = $variant:ident $({ $($fields:tt)* })? $(($($inner:tt)*))?),+ $(,)? })+) => {$(
        impl Value for $name {
            const KIND: Kind = Kind::Number;

            fn put(&self, field: u32, to: &mut Writer) {
                to.number(field, match self {
                    $(Self::$variant $({ $($fields)* })? $(($($inner)*))? => $number,)+
                });
            }

            fn take(from: &mut Reader<'_>) -> Result<Self, CodecFault> {
                match from.varint()? {
                    $($number => Ok(Self::$variant $({ $($fields)* })? $(($($inner)*))?),)+
                    value => Err(CodecFault::UnknownValue { enumeration: stringify!($name), value }),
                }
            }
        }
    )+};
}

/// Messages, field by field in the order of their numbers. A field of the type that is not listed does not compile.
macro_rules! messages {
    ($($name:ident { $($number:literal $field:ident),* $(,)? })+) => {$(
        message_value!($name {
            |value, to| {
                let $name { $($field),* } = value;
                $(Field::write($field, $number, to);)*
            }
            |from| Ok($name { $($field: Field::read($number, from)?),* })
        });
    )+};
}

/// A message that is written and read by hand.
macro_rules! message_value {
    ($type:ident { |$value:ident, $to:ident| $write:block |$from:ident| $read:expr }) => {
        impl Value for $type {
            const KIND: Kind = Kind::Bytes;

            fn put(&self, field: u32, to: &mut Writer) {
                to.nested(field, |to| self.write_fields(to));
            }

            fn take(from: &mut Reader<'_>) -> Result<Self, CodecFault> {
                from.nested(<Self as Message>::NAME, Message::read_fields)
            }
        }

        impl Message for $type {
            const NAME: &'static str = stringify!($type);

            fn write_fields(&self, $to: &mut Writer) {
                let $value = self;
                $write
            }

            fn read_fields($from: &mut Reader<'_>) -> Result<Self, CodecFault> {
                $read
            }
        }
    };
}

/// Messages that hold exactly one field: variants without content, then variants with a value.
macro_rules! choices {
    ($($name:ident { $($empty:literal $unit:ident,)* ; $($number:literal $variant:ident),* $(,)? })+) => {$(
        message_value!($name {
            |value, to| {
                match value {
                    $($name::$unit => ().put($empty, to),)*
                    $($name::$variant(content) => content.put($number, to),)*
                }
            }
            |from| {
                $(if from.optional::<()>($empty)?.is_some() {
                    return Ok($name::$unit);
                })*
                $(if let Some(content) = from.optional($number)? {
                    return Ok($name::$variant(content));
                })*
                Err(from.unexpected())
            }
        });
    )+};
}

pub(super) use {choices, enumerations, message_value, messages, numbers, texts};

/// A message: its fields without the length that stands before them inside another.
pub(super) trait Message: Value {
    /// Its name in the contract.
    const NAME: &'static str;

    fn write_fields(&self, to: &mut Writer);
    fn read_fields(from: &mut Reader<'_>) -> Result<Self, CodecFault>;
}

/// Writes a message that stands alone.
pub(super) fn encode(message: &impl Message, capacity: usize) -> Vec<u8> {
    let mut to = Writer::with_capacity(capacity);
    message.write_fields(&mut to);
    to.into_bytes()
}

/// Reads a message that stands alone.
pub(super) fn decode<T: Message>(bytes: &[u8]) -> Result<T, CodecFault> {
    let mut from = Reader::new(T::NAME, bytes);
    let message = T::read_fields(&mut from)?;
    from.finish()?;
    Ok(message)
}

numbers! {
    u64 { to: |n| *n, from: Some, absent: Some(0) }
    u32 { to: |n| u64::from(*n), from: |n| n.try_into().ok(), absent: Some(0) }
    u16 { to: |n| u64::from(*n), from: |n| n.try_into().ok(), absent: Some(0) }
}
