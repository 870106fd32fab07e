//! Rows: the values of the table.

use switch_domain::table::{
    AcceptedClock, ClockRow, Disagreement, DoubtRow, EventRow, Key, Made, MadeKey, OwedKind, OwedRow, RequestRow, Row,
    TombstoneVoid,
};

use super::{
    CodecFault,
    wire::{self, Field, Kind, Message, Reader, Value, Writer, choices, enumerations, message_value, messages},
};

/// Writes a row.
#[must_use]
pub fn encode_row(row: &Row) -> Vec<u8> {
    let capacity = match row {
        Row::Transaction(transaction) => 256 + 384 * transaction.operations.len(),
        Row::Directory(_) => 4096,
        Row::Keyring(keyring) => 64 + 160 * keyring.keys.len(),
        Row::AuditRecord(_) => 512,
        Row::Request(_) | Row::Owed(_) | Row::Event(_) | Row::Doubt(_) | Row::RequestId(_) | Row::Clock(_) => 128,
        Row::AuditHead(head) => 48 + 32 * head.recent.len(),
        Row::Counter(_) | Row::Sum(_) | Row::Time(_) | Row::Made(_) | Row::Position(_) => 16,
    };
    wire::encode(row, capacity)
}

/// Reads the row that stands under a key.
///
/// # Errors
/// [`CodecFault`]: the row is damaged, does not belong under this key, or was written by a newer version. The node must
/// stop (S17).
pub fn decode_row(key: &Key, bytes: &[u8]) -> Result<Row, CodecFault> {
    let row: Row = wire::decode(bytes)?;
    if belongs(key, &row) { Ok(row) } else { Err(CodecFault::Misplaced) }
}

/// True where a row of this kind stands under such a key, and a transaction under its own.
fn belongs(key: &Key, row: &Row) -> bool {
    match key {
        Key::Transaction(gateway, id) => {
            matches!(row, Row::Transaction(found) if found.gateway == *gateway && found.id == *id)
        }
        Key::Request(..) => matches!(row, Row::Request(_)),
        Key::Tombstone(..) => matches!(row, Row::RequestId(_)),
        Key::Owed(..) => matches!(row, Row::Owed(_)),
        Key::Event(..) => matches!(row, Row::Event(_)),
        Key::EventsForgotten(_) => matches!(row, Row::Position(_)),
        Key::NextStan(_) | Key::NextRrn => matches!(row, Row::Counter(_)),
        Key::Doubt(_) => matches!(row, Row::Doubt(_)),
        Key::DayUse(..) => matches!(row, Row::Sum(_)),
        Key::Clock | Key::Forgotten => matches!(row, Row::Time(_)),
        Key::ClockAgreement => matches!(row, Row::Clock(_)),
        Key::Directory => matches!(row, Row::Directory(_)),
        Key::OperatorRequest(_) => matches!(row, Row::Made(_)),
        Key::Keyring => matches!(row, Row::Keyring(_)),
        Key::AuditRecord(number) => matches!(row, Row::AuditRecord(record) if record.number == *number),
        Key::AuditHead => matches!(row, Row::AuditHead(_)),
    }
}

choices! {
    Row {
        ;
        1 Transaction, 2 Request, 3 Owed, 4 Event, 5 Counter, 6 Doubt, 7 Sum, 8 Time, 9 Directory,
        12 RequestId, 13 Position, 14 Clock, 15 Keyring,
        20 AuditRecord, 21 AuditHead, 22 Made,
    }
    Made { ; 1 Directory, 2 Key }
}

enumerations! {
    OwedKind { 1 = Attempt, 2 = Reversal, 3 = Advice, 4 = Held }
}

messages! {
    TombstoneVoid { 1 request_id, 2 fingerprint, 3 position, 4 accepted }
    OwedRow { 1 attempt, 2 kind, 3 parked, 4 time }
    EventRow {
        1 transaction, 2 revision, 3 status, 4 request_id, 5 method, 6 decision, 7 reversal, 8 advice, 9 time,
    }
    DoubtRow { 1 count, 2 parked, 3 amounts }
    MadeKey { 1 purpose, 2 version }
    ClockRow { 1 disagreement, 2 accepted }
    Disagreement { 1 node, 2 wall, 3 log }
    AcceptedClock { 1 wall, 2 log, 3 author, 4 reason }
}

message_value!(RequestRow {
    |value, to| {
        match value {
            RequestRow::Operation { transaction, operation } => to.nested(1, |to| {
                transaction.write(1, to);
                operation.write(2, to);
            }),
            RequestRow::Tombstone { voids } => to.nested(2, |to| voids.write(1, to)),
        }
    }
    |from| {
        if from.next_is(1, Kind::Bytes) {
            from.nested("OperationName", |from| {
                let (transaction, operation) = (Field::read(1, from)?, Field::read(2, from)?);
                Ok(RequestRow::Operation { transaction, operation })
            })
        } else if from.next_is(2, Kind::Bytes) {
            from.nested("Tombstone", |from| Ok(RequestRow::Tombstone { voids: Field::read(1, from)? }))
        } else {
            Err(from.unexpected())
        }
    }
});
