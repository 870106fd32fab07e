//! Records for auditors: every transaction of this node's own table, without card data.

use std::ops::Bound;

use prost::Message as _;
use switch_domain::{
    id::{GatewayId, TransactionId},
    table::{Key, Row},
};
use switch_proto::operator::v1::{self as pb, record_service_server::RecordService};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{Operators, author, refusals};
use crate::{codec::Mark, journal::Journal, ops::convert};

#[tonic::async_trait]
impl RecordService for Operators {
    type ExportTransactionsStream = ReceiverStream<Result<pb::ExportTransactionsResponse, Status>>;

    async fn export_transactions(
        &self,
        request: Request<pb::ExportTransactionsRequest>,
    ) -> Result<Response<Self::ExportTransactionsStream>, Status> {
        let author = author(&request)?;
        tracing::info!(target: "audit", %author, "an operator exports every transaction");
        let (chunks, stream) = mpsc::channel(CHUNKS_AHEAD);
        let journal = self.shared.journal.clone();
        // Reading is work for a thread; it waits for the caller, and ends with it.
        tokio::task::spawn_blocking(move || {
            if let Err(status) = export(&journal, &chunks) {
                let _ = chunks.blocking_send(Err(status));
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

type Chunks = mpsc::Sender<Result<pb::ExportTransactionsResponse, Status>>;

/// Sends everything in chunks, at least one.
fn export(journal: &Journal, chunks: &Chunks) -> Result<(), Status> {
    let Mark { applied: applied_index, hash: state_hash } = journal.shared().mark();
    let chunk = |transactions| pb::ExportTransactionsResponse {
        transactions,
        applied_index,
        state_hash: state_hash.to_vec().into(),
    };
    let send = |transactions| chunks.blocking_send(Ok(chunk(transactions))).is_ok();
    let (mut records, mut bytes) = (Vec::new(), 0);
    let mut after = None;
    let end = end();
    loop {
        let start = start();
        let from = after.as_ref().map_or(Bound::Included(&start), Bound::Excluded);
        let rows = journal.reader().range(from, Bound::Included(&end), CHUNK_RECORDS).map_err(refusals::of_table)?;
        let ended = rows.len() < CHUNK_RECORDS;
        for (key, row) in rows {
            if let Row::Transaction(transaction) = row {
                let record = convert::transaction_record(&transaction);
                bytes += record.encoded_len();
                records.push(record);
            }
            if records.len() >= CHUNK_RECORDS || bytes >= CHUNK_BYTES {
                bytes = 0;
                if !send(std::mem::take(&mut records)) {
                    return Ok(()); // nobody reads any more
                }
            }
            after = Some(key);
        }
        if ended {
            send(records);
            return Ok(());
        }
    }
}

/// The first key that a transaction may have: gateway ids begin with `-` at the earliest.
fn start() -> Key {
    Key::Transaction(edge("-"), TransactionId::from_number(0))
}

/// The last: no gateway id sorts after 64 times `z`.
fn end() -> Key {
    Key::Transaction(edge(&"z".repeat(64)), TransactionId::from_number(u128::MAX))
}

fn edge(text: &str) -> GatewayId {
    GatewayId::parse(text).unwrap_or_else(|_| unreachable!("the text is a gateway id"))
}

/// Records of one chunk.
const CHUNK_RECORDS: usize = 500;
/// Bytes after which a chunk is sent: far below the 4 MiB that gRPC clients take by default.
const CHUNK_BYTES: usize = 1 << 20;
/// Chunks read ahead of a slow caller.
const CHUNKS_AHEAD: usize = 2;
