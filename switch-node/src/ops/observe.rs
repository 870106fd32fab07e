//! What is measured once a second, rather than where it happens.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use switch_domain::{
    id::{LinkId, NetworkId},
    table::{DoubtRow, Key, Row, TableFault},
};
use tokio::time::MissedTickBehavior;

use crate::{
    journal::{Journal, WallClock},
    link::{CircuitState, LinkState, LinkStatus, Links},
    outcome::Conversations,
    security::tls::TlsMaterial,
    telemetry::{self, Consensus},
};

/// What is looked at.
pub struct Observed {
    /// The journal.
    pub journal: Journal,
    /// The links of this node.
    pub links: Arc<Links>,
    /// Conversations under way.
    pub conversations: Arc<Conversations>,
    /// Certificates of every plane.
    pub planes: Vec<Arc<TlsMaterial>>,
    /// Wall clock of this node.
    pub wall: Arc<dyn WallClock>,
}

/// Looks once a second, for as long as the node runs.
pub async fn observe(observed: Observed) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut leadership = observed.journal.group().leadership();
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
            _ = tick.tick() => look(&observed, &mut shown),
        }
    }
}

/// Series that were shown before: what is gone must be shown as zero, not as it was last.
#[derive(Default)]
struct Shown {
    links: BTreeSet<LinkId>,
    networks: BTreeSet<NetworkId>,
    members: BTreeSet<u64>,
}

fn look(observed: &Observed, shown: &mut Shown) {
    let Observed { journal, links, conversations, planes, wall } = observed;
    super::resources::look();
    consensus(journal, shown);
    planes.iter().for_each(|plane| plane.show_ends());
    let reign = journal.reign();
    let has_leader = journal.group().leadership().borrow().leader.is_some();
    let skew = reign.map(|reign| (wall.now().0 as f64 - reign.now().0 as f64) / 1000.0);
    telemetry::node(journal.shared().applied(), reign.is_some(), has_leader, conversations.count(), skew);
    let (queued, packed) = journal.pending();
    telemetry::pending(queued, packed);
    match journal.clock() {
        Ok(clock) => telemetry::clock(clock.disagreement.is_some()),
        Err(fault) => tracing::error!(%fault, "whether the clocks agree could not be read"),
    }

    let statuses: BTreeMap<LinkId, LinkStatus> =
        links.statuses().into_iter().map(|status| (status.link.clone(), status)).collect();
    let wanted = links.wanted();
    for link in statuses.keys().chain(&wanted) {
        if shown.links.insert(link.clone()) {
            telemetry::link_known(link);
        }
    }
    for link in &shown.links {
        let status = statuses.get(link);
        telemetry::link_wanted(link, wanted.contains(link));
        // Also told when it changes; here so that a link that never came into service is seen to be down.
        telemetry::link_state(link, status.is_some_and(|status| status.state == LinkState::InService));
        telemetry::link_in_flight(link, status.map_or(0, |status| status.in_flight));
        telemetry::link_circuit(link, status.is_some_and(|status| status.circuit != CircuitState::Closed));
    }

    for network in journal.standing().directory.networks.keys() {
        if shown.networks.insert(network.clone()) {
            telemetry::network_known(network);
        }
    }
    for network in &shown.networks {
        match doubt(journal, network) {
            Ok(doubt) => telemetry::parked(network, doubt.parked),
            // Whoever must be right about this row stops the node; a metric only stays as it was.
            Err(fault) => tracing::error!(%fault, %network, "the doubt of a network could not be read"),
        }
    }
}

fn consensus(journal: &Journal, shown: &mut Shown) {
    let status = journal.group().status();
    let voters = status.members.iter().filter(|member| member.voter).count();
    telemetry::consensus(Consensus {
        term: status.term,
        committed: status.committed.unwrap_or(0),
        snapshot: status.snapshot.unwrap_or(0),
        log_bytes: status.log_bytes,
        voters,
        learners: status.members.len() - voters,
    });
    let silences: BTreeMap<u64, Duration> =
        status.members.iter().map(|member| (member.node_id, member.answered.unwrap_or_default())).collect();
    for member in silences.keys() {
        if shown.members.insert(*member) && *member != status.identity.node_id {
            telemetry::peer_known(*member);
        }
    }
    for member in &shown.members {
        telemetry::peer_silence(*member, silences.get(member).copied().unwrap_or_default());
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
