//! What is measured once a second, rather than where it happens.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use switch_domain::{
    id::{LinkId, NetworkId},
    money::Currency,
    table::{DoubtRow, Key, Row, TableFault},
};
use tokio::time::MissedTickBehavior;

use crate::{
    journal::{Journal, WallClock},
    link::Links,
    outcome::Conversations,
    telemetry,
};

/// Looks once a second, for as long as the node runs.
pub async fn observe(journal: Journal, links: Arc<Links>, conversations: Arc<Conversations>, wall: Arc<dyn WallClock>) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut leadership = journal.group().leadership();
    let mut leader = leadership.borrow_and_update().leader;
    let mut shown = Shown::default();
    loop {
        tokio::select! {
            biased;
            changed = leadership.changed() => {
                if changed.is_err() {
                    return;
                }
                let now = leadership.borrow_and_update().leader;
                if now.is_some() && now != leader {
                    telemetry::leader_changed();
                    leader = now;
                }
            }
            _ = tick.tick() => look(&journal, &links, &conversations, wall.as_ref(), &mut shown),
        }
    }
}

/// Series that were shown before: what is gone must be shown as zero, not as it was last.
#[derive(Default)]
struct Shown {
    links: BTreeSet<LinkId>,
    doubts: BTreeSet<NetworkId>,
    money: BTreeSet<(NetworkId, Currency)>,
}

fn look(journal: &Journal, links: &Links, conversations: &Conversations, wall: &dyn WallClock, shown: &mut Shown) {
    let reign = journal.reign();
    let has_leader = journal.group().leadership().borrow().leader.is_some();
    let skew = reign.map(|reign| (wall.now().0 as f64 - reign.now().0 as f64) / 1000.0);
    telemetry::node(journal.shared().applied(), reign.is_some(), has_leader, conversations.count(), skew);
    match journal.clock() {
        Ok(clock) => telemetry::clock(clock.disagreement.is_some()),
        Err(fault) => tracing::error!(%fault, "whether the clocks agree could not be read"),
    }

    let in_flight: BTreeMap<LinkId, u32> =
        links.statuses().into_iter().map(|status| (status.link, status.in_flight)).collect();
    shown.links.extend(in_flight.keys().cloned());
    for link in &shown.links {
        telemetry::link_in_flight(link, in_flight.get(link).copied().unwrap_or(0));
    }

    shown.doubts.extend(journal.standing().directory.networks.keys().cloned());
    for network in &shown.doubts {
        match doubt(journal, network) {
            Ok(doubt) => {
                telemetry::doubt(network, doubt.count, doubt.parked);
                shown.money.extend(doubt.amounts.keys().map(|currency| (network.clone(), *currency)));
                for (_, currency) in shown.money.iter().filter(|(of, _)| of == network) {
                    let minor_units = doubt.amounts.get(currency).copied().unwrap_or(0);
                    telemetry::doubt_money(network, currency.code(), minor_units);
                }
            }
            // Whoever must be right about this row stops the node; a metric only stays as it was.
            Err(fault) => tracing::error!(%fault, %network, "the doubt of a network could not be read"),
        }
    }
}

/// What is unresolved with a network, as applied here.
pub(super) fn doubt(journal: &Journal, network: &NetworkId) -> Result<DoubtRow, TableFault> {
    match journal.reader().get(&Key::Doubt(network.clone()))? {
        Some(Row::Doubt(doubt)) => Ok(doubt),
        _ => Ok(DoubtRow::default()),
    }
}

const EVERY: Duration = Duration::from_secs(1);
