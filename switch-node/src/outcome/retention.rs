//! The end of what is kept: the leader looks for transactions, tombstones and events that are older than anybody needs, and
//! commits the entries that forget them, in small steps (R9, R20). It only looks: the book judges each again. Ids and positions are
//! ordered by time, so that the oldest are found without an index; what is deleted is not met again.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use futures::future::join_all;
use switch_domain::{
    book::{Book, Reply},
    entry::{Command, Forget, ForgetEvents, ForgetTombstone, Keep},
    id::{GatewayId, NetworkId, Position, Slot, TransactionId},
    limits::EVENTS_FORGOTTEN_MAX,
    table::{Key, RequestRow, Row, TableFault},
    time::LogTime,
    transaction::Transaction,
};

use super::{limits, reigning::while_reigning};
use crate::journal::{Journal, reign::Reign};

/// Looks for what is old for as long as the node runs; acts only while it reigns.
pub async fn run(journal: Journal) {
    while_reigning(&journal, |reign| during(&journal, reign)).await;
}

/// One reign: round after round. The first waits as well: after a fail-over payments come first.
async fn during(journal: &Journal, reign: Reign) {
    loop {
        tokio::time::sleep(limits::RETENTION_ROUND).await;
        if let Err(fault) = round(journal, reign).await {
            tracing::error!(%fault, "what is old could not be read");
            return;
        }
    }
}

async fn round(journal: &Journal, reign: Reign) -> Result<(), TableFault> {
    if journal.clock()?.disagreement.is_some() {
        return Ok(()); // by which clock it would be old, an operator must say first (R8)
    }
    let windows = Windows::of(journal);
    for gateway in tenants(journal)? {
        transactions(journal, reign.now(), &gateway, &windows).await?;
        tombstones(journal, reign.now(), &gateway, windows.retention_days).await?;
        events(journal, reign.now(), &gateway).await?;
    }
    Ok(())
}

/// How long things are kept by the directory of now.
struct Windows {
    retention_days: u32,
    refund_days: BTreeMap<NetworkId, u32>,
}

impl Windows {
    fn of(journal: &Journal) -> Self {
        let standing = journal.standing();
        let networks = standing.directory.networks.values();
        Self {
            retention_days: standing.directory.retention_days,
            refund_days: networks.map(|network| (network.id.clone(), network.refund_days)).collect(),
        }
    }

    /// A network that is gone from the directory has the default window.
    fn keep(&self, transaction: &Transaction) -> Keep {
        let network = transaction.first().last_attempt().map(|attempt| &attempt.network);
        let refund_days = network.and_then(|network| self.refund_days.get(network)).copied().unwrap_or(0);
        Keep { retention_days: self.retention_days, refund_days }
    }
}

/// Every tenant that the directory knows, or that it knew when transactions were made that are still kept.
fn tenants(journal: &Journal) -> Result<BTreeSet<GatewayId>, TableFault> {
    let mut tenants: BTreeSet<GatewayId> = journal.standing().directory.gateways.keys().cloned().collect();
    let mut after = Key::Transaction(edge("-"), TransactionId::from_number(0));
    let end = Key::Transaction(edge(&"z".repeat(64)), TransactionId::from_number(u128::MAX));
    while let Some((Key::Transaction(gateway, _), _)) =
        journal.reader().range(Bound::Included(&after), Bound::Excluded(&end), 1)?.into_iter().next()
    {
        after = Key::Transaction(gateway.clone(), TransactionId::from_number(u128::MAX));
        tenants.insert(gateway);
    }
    Ok(tenants)
}

async fn transactions(
    journal: &Journal,
    now: LogTime,
    gateway: &GatewayId,
    windows: &Windows,
) -> Result<(), TableFault> {
    let horizon = now.0.saturating_sub(Book::retention_ms(windows.retention_days));
    let mut from = Key::Transaction(gateway.clone(), TransactionId::from_number(0));
    let to = Key::Transaction(gateway.clone(), TransactionId::new(horizon, Slot::FIRST, 0));
    loop {
        let rows = journal.reader().range(Bound::Excluded(&from), Bound::Excluded(&to), limits::RETENTION_PAGE)?;
        let Some((last, _)) = rows.last() else { return Ok(()) };
        from = last.clone();
        let due = rows.into_iter().filter_map(|(_, row)| {
            let Row::Transaction(transaction) = row else { return None };
            let keep = windows.keep(&transaction);
            let forget = Forget { gateway: gateway.clone(), transaction: transaction.id, keep };
            Book::may_forget(&transaction, now, keep).then_some(Command::Forget(forget))
        });
        if !committed(journal, due.collect()).await {
            return Ok(());
        }
        tokio::time::sleep(limits::RETENTION_PAUSE).await;
    }
}

async fn tombstones(
    journal: &Journal,
    now: LogTime,
    gateway: &GatewayId,
    retention_days: u32,
) -> Result<(), TableFault> {
    let mut from = Key::Tombstone(gateway.clone(), Position::default());
    let to = Key::Tombstone(gateway.clone(), LAST);
    loop {
        let rows = journal.reader().range(Bound::Excluded(&from), Bound::Excluded(&to), limits::RETENTION_PAGE)?;
        let Some((last, _)) = rows.last() else { return Ok(()) };
        from = last.clone();
        let mut due = Vec::new();
        for (key, row) in rows {
            let (Key::Tombstone(_, position), Row::RequestId(request_id)) = (key, row) else { continue };
            let voids = match journal.request(gateway, None, &request_id)? {
                Some(RequestRow::Tombstone { voids }) => voids,
                Some(RequestRow::Operation { .. }) | None => Vec::new(), // its authorization came: only the index is left
            };
            let accepted = voids.iter().find(|void| void.position == position).map(|void| void.accepted);
            if accepted.is_some_and(|accepted| now.ms_since(accepted) <= Book::retention_ms(retention_days)) {
                committed(journal, due).await;
                return Ok(()); // those behind it are younger
            }
            let forget = ForgetTombstone { gateway: gateway.clone(), position, retention_days };
            due.push(Command::ForgetTombstone(forget));
        }
        if !committed(journal, due).await {
            return Ok(());
        }
        tokio::time::sleep(limits::RETENTION_PAUSE).await;
    }
}

async fn events(journal: &Journal, now: LogTime, gateway: &GatewayId) -> Result<(), TableFault> {
    let to = Key::Event(gateway.clone(), LAST);
    loop {
        let gone = journal.events_forgotten(gateway)?.unwrap_or_default();
        let from = Key::Event(gateway.clone(), gone);
        let rows = journal.reader().range(Bound::Excluded(&from), Bound::Excluded(&to), EVENTS_FORGOTTEN_MAX)?;
        let due = rows.into_iter().filter_map(|(key, row)| match (key, row) {
            (Key::Event(_, position), Row::Event(event)) if Book::is_old(&event, now) => Some(position),
            _ => None,
        });
        let positions: Vec<Position> = due.collect();
        if positions.is_empty() {
            return Ok(());
        }
        let forget = ForgetEvents { gateway: gateway.clone(), positions };
        // Where nothing was forgotten the clocks have come to disagree: the same page would come again for ever.
        if !matches!(journal.propose(Command::ForgetEvents(forget)).await, Ok(Reply::Recorded)) {
            return Ok(());
        }
        tokio::time::sleep(limits::RETENTION_PAUSE).await;
    }
}

/// Commits a page at once, so that it shares packs. False where the reign is over, or the journal full: a later round looks again.
async fn committed(journal: &Journal, commands: Vec<Command>) -> bool {
    let replies = join_all(commands.into_iter().map(|command| journal.propose(command))).await;
    replies.iter().all(Result::is_ok)
}

fn edge(text: &str) -> GatewayId {
    GatewayId::parse(text).unwrap_or_else(|_| unreachable!("the text is a gateway id"))
}

const LAST: Position = Position { index: u64::MAX, place: u32::MAX };
