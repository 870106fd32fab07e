//! Keys as bytes. Their order is the order of the keys themselves, so that a range of the table is a range on disk: one byte
//! for the table, texts ended by a zero byte, which no identity may hold, and numbers with the most significant byte first.

use switch_domain::{
    id::{GatewayId, LinkId, NetworkId, Position, RequestId, Stan, TransactionId},
    money::Currency,
    table::Key,
};

use super::CodecFault;

/// From this first byte on stands what the journal itself keeps beside the rows: how far it has applied, its hash. Behind every
/// table.
pub const OWN: u8 = 0xf0;

// The tables, in the order of the variants of `Key`, with room between them.
const TRANSACTION: u8 = 0x10;
const REQUEST: u8 = 0x18;
const TOMBSTONE: u8 = 0x1c;
const OWED: u8 = 0x20;
const EVENT: u8 = 0x28;
const EVENTS_FORGOTTEN: u8 = 0x2c;
const NEXT_STAN: u8 = 0x30;
const NEXT_RRN: u8 = 0x38;
const DOUBT: u8 = 0x40;
const DAY_USE: u8 = 0x48;
const CLOCK: u8 = 0x50;
const CLOCK_AGREEMENT: u8 = 0x52;
const FORGOTTEN: u8 = 0x54;
const DIRECTORY: u8 = 0x58;
const OPERATOR_REQUEST: u8 = 0x68;
const KEYRING: u8 = 0x70;
const AUDIT_RECORD: u8 = 0x80;
const AUDIT_HEAD: u8 = 0x88;

/// Writes a key.
#[must_use]
pub fn encode_key(key: &Key) -> Vec<u8> {
    let mut out = Vec::with_capacity(KEY_BYTES);
    match key {
        Key::Transaction(gateway, id) => {
            out.push(TRANSACTION);
            put_text(gateway.as_str(), &mut out);
            out.extend_from_slice(&id.number().to_be_bytes());
        }
        Key::Request(gateway, original, request) => {
            out.push(REQUEST);
            put_text(gateway.as_str(), &mut out);
            match original {
                None => out.push(0),
                Some(id) => {
                    out.push(1);
                    out.extend_from_slice(&id.number().to_be_bytes());
                }
            }
            put_text(request.as_str(), &mut out);
        }
        Key::Tombstone(gateway, position) => {
            out.push(TOMBSTONE);
            put_text(gateway.as_str(), &mut out);
            put_position(*position, &mut out);
        }
        Key::Owed(link, stan) => {
            out.push(OWED);
            put_text(link.as_str(), &mut out);
            out.extend_from_slice(&stan.number().to_be_bytes());
        }
        Key::Event(gateway, position) => {
            out.push(EVENT);
            put_text(gateway.as_str(), &mut out);
            put_position(*position, &mut out);
        }
        Key::EventsForgotten(gateway) => {
            out.push(EVENTS_FORGOTTEN);
            put_text(gateway.as_str(), &mut out);
        }
        Key::NextStan(link) => {
            out.push(NEXT_STAN);
            put_text(link.as_str(), &mut out);
        }
        Key::NextRrn => out.push(NEXT_RRN),
        Key::Doubt(network) => {
            out.push(DOUBT);
            put_text(network.as_str(), &mut out);
        }
        Key::DayUse(gateway, currency, day) => {
            out.push(DAY_USE);
            put_text(gateway.as_str(), &mut out);
            // The alphabetic code, not the index in this version's list: a currency that is added must not move the others.
            out.extend_from_slice(currency.code().as_bytes());
            out.extend_from_slice(&day.to_be_bytes());
        }
        Key::Clock => out.push(CLOCK),
        Key::ClockAgreement => out.push(CLOCK_AGREEMENT),
        Key::Forgotten => out.push(FORGOTTEN),
        Key::Directory => out.push(DIRECTORY),
        Key::OperatorRequest(request) => {
            out.push(OPERATOR_REQUEST);
            put_text(request.as_str(), &mut out);
        }
        Key::Keyring => out.push(KEYRING),
        Key::AuditRecord(number) => {
            out.push(AUDIT_RECORD);
            out.extend_from_slice(&number.to_be_bytes());
        }
        Key::AuditHead => out.push(AUDIT_HEAD),
    }
    out
}

/// Reads a key.
///
/// # Errors
/// [`CodecFault`]: the key is damaged, or of a table that a newer version made.
pub fn decode_key(bytes: &[u8]) -> Result<Key, CodecFault> {
    let (table, rest) = bytes.split_first().ok_or(CodecFault::Key)?;
    let mut from = KeyReader { rest };
    let key = match *table {
        TRANSACTION => Key::Transaction(from.gateway()?, from.transaction()?),
        REQUEST => {
            let gateway = from.gateway()?;
            let original = match from.array()? {
                [0] => None,
                [1] => Some(from.transaction()?),
                _ => return Err(CodecFault::Key),
            };
            Key::Request(gateway, original, from.request()?)
        }
        TOMBSTONE => Key::Tombstone(from.gateway()?, from.position()?),
        OWED => {
            let stan = |number| Stan::parse(number).map_err(|_| CodecFault::Key);
            Key::Owed(from.link()?, stan(u32::from_be_bytes(from.array()?))?)
        }
        EVENT => Key::Event(from.gateway()?, from.position()?),
        EVENTS_FORGOTTEN => Key::EventsForgotten(from.gateway()?),
        NEXT_STAN => Key::NextStan(from.link()?),
        NEXT_RRN => Key::NextRrn,
        DOUBT => Key::Doubt(NetworkId::parse(from.text()?).map_err(|_| CodecFault::Key)?),
        DAY_USE => {
            let gateway = from.gateway()?;
            let code: [u8; 3] = from.array()?;
            let code = std::str::from_utf8(&code).map_err(|_| CodecFault::Key)?;
            let currency = Currency::parse(code).map_err(|_| CodecFault::Key)?;
            Key::DayUse(gateway, currency, u32::from_be_bytes(from.array()?))
        }
        CLOCK => Key::Clock,
        CLOCK_AGREEMENT => Key::ClockAgreement,
        FORGOTTEN => Key::Forgotten,
        DIRECTORY => Key::Directory,
        OPERATOR_REQUEST => Key::OperatorRequest(from.request()?),
        KEYRING => Key::Keyring,
        AUDIT_RECORD => Key::AuditRecord(u64::from_be_bytes(from.array()?)),
        AUDIT_HEAD => Key::AuditHead,
        unknown => return Err(CodecFault::UnknownTable(unknown)),
    };
    if from.rest.is_empty() { Ok(key) } else { Err(CodecFault::Key) }
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

fn put_position(position: Position, out: &mut Vec<u8>) {
    out.extend_from_slice(&position.index.to_be_bytes());
    out.extend_from_slice(&position.place.to_be_bytes());
}

struct KeyReader<'a> {
    rest: &'a [u8],
}

impl<'a> KeyReader<'a> {
    fn text(&mut self) -> Result<&'a str, CodecFault> {
        let end = self.rest.iter().position(|byte| *byte == 0).ok_or(CodecFault::Key)?;
        let text = std::str::from_utf8(&self.rest[..end]).map_err(|_| CodecFault::Key)?;
        self.rest = &self.rest[end + 1..];
        Ok(text)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecFault> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(CodecFault::Key)?;
        self.rest = rest;
        Ok(*bytes)
    }

    fn gateway(&mut self) -> Result<GatewayId, CodecFault> {
        GatewayId::parse(self.text()?).map_err(|_| CodecFault::Key)
    }

    fn link(&mut self) -> Result<LinkId, CodecFault> {
        LinkId::parse(self.text()?).map_err(|_| CodecFault::Key)
    }

    fn request(&mut self) -> Result<RequestId, CodecFault> {
        RequestId::parse(self.text()?).map_err(|_| CodecFault::Key)
    }

    fn position(&mut self) -> Result<Position, CodecFault> {
        Ok(Position { index: u64::from_be_bytes(self.array()?), place: u32::from_be_bytes(self.array()?) })
    }

    fn transaction(&mut self) -> Result<TransactionId, CodecFault> {
        Ok(TransactionId::from_number(u128::from_be_bytes(self.array()?)))
    }
}

/// Bytes of a usual key; only a first guess at a buffer's size.
const KEY_BYTES: usize = 64;
