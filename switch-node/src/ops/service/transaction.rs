//! Transactions of a tenant, read by an operator: without card data, and nothing can be changed.

use std::ops::Bound;

use prost::Message as _;
use switch_domain::{
    id::{GatewayId, Position, RequestId, Slot, TransactionId},
    table::{EventRow, Key, RequestRow, Row},
};
use switch_proto::operator::v1::{
    self as pb, get_transaction_request::By, transaction_service_server::TransactionService,
};
use tonic::{Code, Request, Response, Status};

use super::{Operators, page_size_of, refusals, until, within};
use crate::{door::refusal::refused, journal::Journal, ops::convert};

#[tonic::async_trait]
impl TransactionService for Operators {
    async fn get_transaction(
        &self,
        request: Request<pb::GetTransactionRequest>,
    ) -> Result<Response<pb::GetTransactionResponse>, Status> {
        let until = until(&request)?;
        let pb::GetTransactionRequest { gateway_id, by } = request.into_inner();
        let gateway = convert::gateway_id(&gateway_id)?;
        let by = by.ok_or_else(|| missing_field("by"))?;
        let by = match by {
            By::TransactionId(id) => Named::Id(id.parse().map_err(|_| malformed("transaction_id"))?),
            By::RequestId(key) => Named::Key(RequestId::parse(&key).map_err(|_| malformed("request_id"))?),
        };
        within(until, self.current(until)).await?;
        let journal = self.shared.journal.clone();
        let found = tokio::task::spawn_blocking(move || find(&journal, &gateway, &by)).await;
        let transaction = Some(found.map_err(|_| refusals::late())??);
        Ok(Response::new(pb::GetTransactionResponse { transaction }))
    }

    async fn list_transactions(
        &self,
        request: Request<pb::ListTransactionsRequest>,
    ) -> Result<Response<pb::ListTransactionsResponse>, Status> {
        let until = until(&request)?;
        let pb::ListTransactionsRequest { gateway_id, since_unix_ms, page_size, page_token } = request.into_inner();
        let gateway = convert::gateway_id(&gateway_id)?;
        let since = u64::try_from(since_unix_ms).ok().filter(|since| *since < TIMES_END);
        let since = since.ok_or_else(|| malformed("since_unix_ms"))?;
        let size = page_size_of(page_size)?;
        let before = match page_token.as_str() {
            "" => TransactionId::from_number(u128::MAX),
            token => token.parse().map_err(|_| refusals::page_token_malformed())?,
        };
        within(until, self.current(until)).await?;
        let journal = self.shared.journal.clone();
        let listed = tokio::task::spawn_blocking(move || list(&journal, &gateway, since, before, size)).await;
        listed.map_err(|_| refusals::late())?.map(Response::new)
    }

    async fn list_transaction_events(
        &self,
        request: Request<pb::ListTransactionEventsRequest>,
    ) -> Result<Response<pb::ListTransactionEventsResponse>, Status> {
        let until = until(&request)?;
        let pb::ListTransactionEventsRequest { gateway_id, page_token } = request.into_inner();
        let gateway = convert::gateway_id(&gateway_id)?;
        let after = match page_token.as_str() {
            "" => None,
            token => Some(read_token(token)?),
        };
        within(until, self.current(until)).await?;
        let Some(after) = after else {
            let now = Position { index: self.shared.journal.shared().applied(), place: u32::MAX };
            return Ok(Response::new(pb::ListTransactionEventsResponse {
                events: Vec::new(),
                next_page_token: token(now),
            }));
        };
        let journal = self.shared.journal.clone();
        let listed = tokio::task::spawn_blocking(move || events(&journal, &gateway, after)).await;
        listed.map_err(|_| refusals::late())?.map(Response::new)
    }
}

enum Named {
    Id(TransactionId),
    Key(RequestId),
}

fn find(journal: &Journal, gateway: &GatewayId, by: &Named) -> Result<pb::TransactionRecord, Status> {
    let missing = || refused(Code::NotFound, "TRANSACTION_NOT_FOUND", "no such transaction of this gateway").status();
    let id = match by {
        Named::Id(id) => *id,
        Named::Key(key) => match journal.request(gateway, None, key).map_err(refusals::of_table)? {
            Some(RequestRow::Operation { transaction, .. }) => transaction,
            Some(RequestRow::Tombstone { .. }) => {
                let words = "the key was voided before it was seen: there is no transaction";
                return Err(refused(Code::NotFound, "KEY_VOIDED", words).status());
            }
            None => return Err(missing()),
        },
    };
    let found = journal.transaction(gateway, id).map_err(refusals::of_table)?.ok_or_else(missing)?;
    Ok(convert::transaction_record(&found))
}

/// Those before an id and not before a time, the newest first. Read a few at a time: one may have a hundred operations.
fn list(
    journal: &Journal,
    gateway: &GatewayId,
    since_unix_ms: u64,
    before: TransactionId,
    size: usize,
) -> Result<pb::ListTransactionsResponse, Status> {
    let from = Key::Transaction(gateway.clone(), TransactionId::new(since_unix_ms, Slot::FIRST, 0));
    let mut to = Key::Transaction(gateway.clone(), before);
    if from >= to {
        return Ok(pb::ListTransactionsResponse::default());
    }
    let (mut transactions, mut bytes, mut ended) = (Vec::new(), 0, false);
    while !ended && transactions.len() < size && bytes < PAGE_BYTES {
        let chunk = CHUNK_RECORDS.min(size - transactions.len());
        let rows = journal.reader().range_back(Bound::Included(&from), Bound::Excluded(&to), chunk);
        let rows = rows.map_err(refusals::of_table)?;
        ended = rows.len() < chunk;
        for (key, row) in rows {
            if let Row::Transaction(transaction) = row {
                let record = convert::transaction_record(&transaction);
                bytes += record.encoded_len();
                transactions.push(record);
            }
            to = key;
        }
    }
    let next_page_token = match &to {
        Key::Transaction(_, id) if !ended => id.to_string(),
        _ => String::new(),
    };
    Ok(pb::ListTransactionsResponse { transactions, next_page_token })
}

fn events(
    journal: &Journal,
    gateway: &GatewayId,
    after: Position,
) -> Result<pb::ListTransactionEventsResponse, Status> {
    let first = Key::Event(gateway.clone(), after);
    let last = Key::Event(gateway.clone(), Position { index: u64::MAX, place: u32::MAX });
    let rows = journal.reader().range(Bound::Excluded(&first), Bound::Included(&last), EVENTS_AT_ONCE);
    let (mut events, mut next) = (Vec::new(), after);
    for (key, row) in rows.map_err(refusals::of_table)? {
        if let (Key::Event(_, position), Row::Event(event)) = (key, row) {
            events.push(event_record(&event));
            next = position;
        }
    }
    Ok(pb::ListTransactionEventsResponse { events, next_page_token: token(next) })
}

fn event_record(event: &EventRow) -> pb::TransactionEvent {
    pb::TransactionEvent {
        transaction_id: event.transaction.to_string(),
        revision: event.revision,
        status: convert::status(event.status).to_owned(),
        request_id: event.request_id.to_string(),
        method: convert::method(event.method).to_owned(),
        decision: event.decision.map_or("", convert::decision).to_owned(),
        reversal_state: event.reversal.map_or("", convert::reversal_state).to_owned(),
        network_state: event.advice.map_or("", convert::advice_state).to_owned(),
        time_unix_ms: i64::try_from(event.time.0).unwrap_or(i64::MAX),
    }
}

fn token(position: Position) -> String {
    format!("{}.{}", position.index, position.place)
}

fn read_token(token: &str) -> Result<Position, Status> {
    let parts = token.split_once('.').and_then(|(index, place)| Some((index.parse().ok()?, place.parse().ok()?)));
    parts.map(|(index, place)| Position { index, place }).ok_or_else(refusals::page_token_malformed)
}

fn missing_field(field: &'static str) -> Status {
    refused(Code::InvalidArgument, "FIELD_MISSING", format!("{field} is missing")).with("field", field).status()
}

fn malformed(field: &'static str) -> Status {
    refused(Code::InvalidArgument, "FIELD_MALFORMED", format!("{field} is malformed")).with("field", field).status()
}

/// The first time that a transaction's id cannot hold, milliseconds since 1970: ids have 48 bits for it.
const TIMES_END: u64 = 1 << 48;
/// Records that are read at once.
const CHUNK_RECORDS: usize = 16;
/// Bytes after which a page ends: with what is read at once, below the 4 MiB that gRPC clients take by default.
const PAGE_BYTES: usize = 1 << 20;
/// Events of one answer.
const EVENTS_AT_ONCE: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_the_place_it_ended_at_and_nothing_else_is_one() {
        let position = Position { index: 77, place: u32::MAX };
        assert_eq!(read_token(&token(position)).expect("a token"), position);
        for nonsense in ["77", "77.", ".1", "77.-1", "77.4294967296", "x.y"] {
            assert_eq!(read_token(nonsense).expect_err(nonsense).code(), Code::InvalidArgument);
        }
    }
}
