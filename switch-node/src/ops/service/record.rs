//! Records for auditors: every transaction of this node's own table, without card data.

use std::ops::Bound;

use prost::Message as _;
use switch_domain::{
    audit::Act,
    id::{GatewayId, TransactionId},
    table::{Key, Row},
};
use switch_proto::operator::v1::{self as pb, record_service_server::RecordService};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{Operators, outlet::Outlet, refusals, until};
use crate::{codec::Mark, journal::Journal, ops::convert};

#[tonic::async_trait]
impl RecordService for Operators {
    type ExportTransactionsStream = ReceiverStream<Result<pb::ExportTransactionsResponse, Status>>;

    async fn export_transactions(
        &self,
        request: Request<pb::ExportTransactionsRequest>,
    ) -> Result<Response<Self::ExportTransactionsStream>, Status> {
        let (caller, until) = (self.caller(&request)?, until(&request)?);
        let journal = self.shared.journal.clone();
        let act = Act::ExportTransactions(journal.group().status().identity.node_id);
        self.audited_stream(caller, act, until, async move { Ok(journal) }, send).await.map(Response::new)
    }
}

/// Sends everything in chunks, at least one.
fn send(journal: Journal, outlet: &Outlet<pb::ExportTransactionsResponse>) -> Result<(), Status> {
    let Mark { applied: applied_index, hash: state_hash } = journal.shared().mark();
    let hand = |transactions| {
        let state_hash = state_hash.to_vec().into();
        outlet.hand(pb::ExportTransactionsResponse { transactions, applied_index, state_hash })
    };
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
                hand(std::mem::take(&mut records))?;
            }
            after = Some(key);
        }
        if ended {
            return hand(records);
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
