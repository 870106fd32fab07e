//! The end of authorizations' validity: the leader looks for approvals that nobody captured and commits their EXPIRED entries;
//! the hold is released where the network's profile asks for it (R9). Captures after the end are refused by the book with or
//! without that entry, so this need not hurry.

use std::ops::Bound;

use switch_domain::{
    entry::{Command, Expire},
    id::{GatewayId, Slot, TransactionId},
    limits::VALID_DAYS_MAX,
    table::{Key, Row, TableFault},
    time::DAY_MS,
    transaction::{Status, Transaction},
};
use tokio::time::Duration;

use super::{limits, reigning::while_reigning};
use crate::journal::{Journal, reign::Reign};

/// Looks for the expired for as long as the node runs; acts only while it reigns.
pub async fn run(journal: Journal) {
    while_reigning(&journal, |reign| during(&journal, reign)).await;
}

/// One reign: round after round over what is old enough to expire and young enough not to have.
async fn during(journal: &Journal, reign: Reign) {
    loop {
        let gateways: Vec<GatewayId> = journal.standing().directory.gateways.keys().cloned().collect();
        for gateway in gateways {
            if let Err(fault) = sweep(journal, reign, &gateway).await {
                tracing::error!(%fault, "what has expired could not be read");
                return;
            }
        }
        tokio::time::sleep(limits::EXPIRY_ROUND).await;
    }
}

async fn sweep(journal: &Journal, reign: Reign, gateway: &GatewayId) -> Result<(), TableFault> {
    if journal.clock()?.disagreement.is_some() {
        return Ok(()); // by which clock they have expired, an operator must say first (R8)
    }
    let now = reign.now();
    // An approval is at most as old as its transaction and valid for at most so long; what is older was looked at in earlier
    // rounds, but for the days in which no leader could look.
    let horizon = u64::from(VALID_DAYS_MAX + limits::EXPIRY_ABSENCE_DAYS) * DAY_MS;
    let oldest = TransactionId::new(now.0.saturating_sub(horizon), Slot::FIRST, 0);
    let newest = TransactionId::new(now.0.saturating_sub(DAY_MS / 2), Slot::FIRST, 0);
    let mut from = Key::Transaction(gateway.clone(), oldest);
    let to = Key::Transaction(gateway.clone(), newest);
    loop {
        let rows = journal.reader().range(Bound::Excluded(&from), Bound::Excluded(&to), limits::EXPIRY_PAGE)?;
        let Some((last, _)) = rows.last() else { return Ok(()) };
        from = last.clone();
        for (_, row) in rows {
            let Row::Transaction(transaction) = row else { continue };
            if has_expired(&transaction, now) {
                let command = Command::Expire(Expire {
                    gateway: gateway.clone(),
                    transaction: transaction.id,
                    release: releases(journal, &transaction),
                });
                if journal.propose(command).await.is_err() {
                    return Ok(()); // the reign is over, or will look again
                }
            }
        }
        // A page a pause: history is long, and payments come first.
        tokio::time::sleep(limits::EXPIRY_PAUSE).await;
    }
}

fn has_expired(transaction: &Transaction, now: switch_domain::time::LogTime) -> bool {
    !transaction.expired
        && now > transaction.valid_until
        && matches!(transaction.status(), Status::Authorized | Status::PartiallyCaptured)
}

fn releases(journal: &Journal, transaction: &Transaction) -> bool {
    let standing = journal.standing();
    let network = transaction.first().last_attempt().and_then(|attempt| standing.network(&attempt.network));
    network.is_some_and(|network| network.release_expired)
}

const _: () = assert!(limits::EXPIRY_PAUSE.as_millis() < Duration::from_secs(1).as_millis());
