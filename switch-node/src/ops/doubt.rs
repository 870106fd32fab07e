//! What is unresolved with networks: how many requests, reversals and advices, how old the oldest of them is, how much money
//! they are about. Counted from what is owed, as applied here, so every node can tell.

use std::{collections::BTreeMap, ops::Bound, time::Duration};

use switch_domain::{
    id::NetworkId,
    money::Currency,
    table::{OwedKind, OwedRow, Row, TableFault},
    time::LogTime,
    transaction::Transaction,
};
use tokio::time::Instant;

use super::service::reversal::{SCAN_PAGE, owed_end, owed_start};
use crate::{
    journal::Journal,
    telemetry::{self, DoubtKind},
};

/// Counts again and again, for as long as the node runs.
pub async fn watch_doubt(journal: Journal) {
    let mut shown = Shown::default();
    loop {
        let (began, of) = (Instant::now(), journal.clone());
        match tokio::task::spawn_blocking(move || count(&of)).await {
            Ok(Ok(doubts)) => shown.show(&journal, doubts),
            // Whoever must be right about these rows stops the node; a metric only stays as it was.
            Ok(Err(fault)) => tracing::error!(%fault, "what is owed could not be counted"),
            Err(_) => return,
        }
        tokio::time::sleep(EVERY.max(began.elapsed() * SHARE)).await;
    }
}

/// What is unresolved with one network, of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Doubt {
    items: u64,
    oldest: Duration,
    money: BTreeMap<Currency, u64>,
}

impl Doubt {
    fn add(&mut self, item: &Item) {
        self.items += 1;
        self.oldest = self.oldest.max(item.age);
        let sum = self.money.entry(item.currency).or_default();
        *sum = sum.saturating_add(item.minor_units);
    }
}

type Doubts = BTreeMap<(NetworkId, DoubtKind), Doubt>;

/// Goes through everything owed, page by page: what changes meanwhile is counted as it was when its page was read.
fn count(journal: &Journal) -> Result<Doubts, TableFault> {
    let (now, end) = (journal.log_time(), owed_end());
    let mut doubts = Doubts::new();
    let mut from = Bound::Included(owed_start());
    loop {
        let rows = journal.reader().range(from.as_ref(), Bound::Excluded(&end), SCAN_PAGE)?;
        for (_, row) in &rows {
            let Row::Owed(owed) = row else { continue };
            let transaction = journal.transaction(&owed.attempt.gateway, owed.attempt.id.transaction)?;
            // Resolved since its page was read: nothing is owed any more.
            let Some(item) = transaction.and_then(|transaction| Item::of(owed, &transaction, now)) else { continue };
            doubts.entry((item.network.clone(), item.kind)).or_default().add(&item);
        }
        match rows.into_iter().last() {
            Some((last, _)) => from = Bound::Excluded(last),
            None => return Ok(doubts),
        }
    }
}

/// One thing that is owed.
struct Item {
    network: NetworkId,
    kind: DoubtKind,
    age: Duration,
    currency: Currency,
    minor_units: u64,
}

impl Item {
    /// What a row says, with the amount that its transaction knows; `None` for what is not owed by itself.
    fn of(owed: &OwedRow, transaction: &Transaction, now: LogTime) -> Option<Self> {
        let operation = transaction.operations.get(usize::from(owed.attempt.id.operation))?;
        let asked = || operation.attempts.get(usize::from(owed.attempt.id.number).checked_sub(1)?);
        let (kind, network, since, amount) = match owed.kind {
            OwedKind::Attempt => {
                let asked = asked()?;
                let since_ms = asked.deadline.0.saturating_sub(u64::from(asked.terms.attempt_timeout_ms));
                (DoubtKind::Attempt, &asked.network, LogTime(since_ms), operation.amount)
            }
            OwedKind::Reversal => {
                let asked = asked()?;
                let lane = &asked.reversal.as_ref()?.lane;
                (DoubtKind::Reversal, &asked.network, lane.since, lane.amount)
            }
            OwedKind::Advice => {
                let advice = operation.advice.as_ref()?;
                (DoubtKind::Advice, &advice.network, advice.lane.since, advice.lane.amount)
            }
            OwedKind::Held => return None,
        };
        Some(Self {
            network: network.clone(),
            kind,
            age: Duration::from_millis(now.ms_since(since)),
            currency: transaction.currency,
            minor_units: amount.minor_units(),
        })
    }
}

/// Series that were shown before: what is gone must be shown as zero, not as it was last.
#[derive(Default)]
struct Shown(BTreeMap<(NetworkId, DoubtKind), Doubt>);

impl Shown {
    fn show(&mut self, journal: &Journal, doubts: Doubts) {
        for doubt in self.0.values_mut() {
            (doubt.items, doubt.oldest) = (0, Duration::ZERO);
            doubt.money.values_mut().for_each(|sum| *sum = 0);
        }
        // A network that owes nothing yet is shown too.
        for network in journal.standing().directory.networks.keys() {
            for kind in DoubtKind::ALL {
                self.0.entry((network.clone(), kind)).or_default();
            }
        }
        for (of, doubt) in doubts {
            let shown = self.0.entry(of).or_default();
            (shown.items, shown.oldest) = (doubt.items, doubt.oldest);
            shown.money.extend(doubt.money);
        }
        for ((network, kind), doubt) in &self.0 {
            telemetry::doubt(network, *kind, doubt.items, doubt.oldest);
            for (currency, minor_units) in &doubt.money {
                telemetry::doubt_money(network, *kind, currency.code(), *minor_units);
            }
        }
    }
}

/// Between two counts, at least.
const EVERY: Duration = Duration::from_secs(2);
/// And so many times as long as the last count took: after a long outage of a network a hundred thousand rows are owed, and
/// counting them may cost a twentieth of one processor.
const SHARE: u32 = 20;
