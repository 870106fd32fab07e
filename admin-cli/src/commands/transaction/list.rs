//! `transaction list`.

use std::time::Duration;

use switch_proto::operator::v1::{
    ListTransactionsRequest, TransactionRecord, transaction_service_client::TransactionServiceClient,
};

use super::{COLUMNS, item, row};
use crate::{cli::Global, commands::pages, failure::Failure, output::Sheet, session::Session};

pub(super) async fn list(
    global: &Global,
    gateway: &str,
    since: Option<Duration>,
    limit: usize,
) -> Result<Sheet, Failure> {
    let session = Session::new(global)?;
    let since_unix_ms = since.map_or(0, |since| {
        let back = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        jiff::Timestamp::now().as_millisecond().saturating_sub(back).max(0)
    });
    let ask = async |channel, request| TransactionServiceClient::new(channel).list_transactions(request).await;
    let (found, is_cut) = pages(limit, async |page_size, page_token| {
        let gateway_id = gateway.to_owned();
        let page =
            session.read(ListTransactionsRequest { gateway_id, since_unix_ms, page_size, page_token }, ask).await?;
        Ok((page.transactions, page.next_page_token))
    })
    .await?;
    if is_cut {
        global.talk().say(format_args!("there are more: these are the last {}", found.len()));
    }
    Ok(sheet(&found))
}

pub(super) fn sheet(found: &[TransactionRecord]) -> Sheet {
    Sheet::of("TransactionList", found.iter().map(item))
        .with(COLUMNS, found.iter().map(row).collect())
        .named("transaction", found.iter().map(|transaction| &transaction.transaction_id))
}
