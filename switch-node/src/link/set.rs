//! All links of a node, kept in step with the directory. A link that changes is replaced: the new one signs on while the old
//! one still waits for its answers, unless the network allows one connection only.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use parking_lot::{Mutex, RwLock};
use switch_domain::{
    directory::{self, Directory},
    id::{LinkId, NetworkId},
};
use tokio::{runtime::Handle, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    CircuitState, LinkConnector, LinkEvents, LinkState, NetworkLink, SendGate, Settings,
    grpc::{GrpcLink, Surroundings},
    stack::Place,
};

/// How one link stands, for operators and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkStatus {
    /// The link.
    pub link: LinkId,
    /// Its network.
    pub network: NetworkId,
    /// Where it stands.
    pub state: LinkState,
    /// Where its circuit stands.
    pub circuit: CircuitState,
    /// Requests that wait for an answer.
    pub in_flight: u32,
    /// Reversals and advices that wait for an answer.
    pub lanes_in_flight: u32,
}

/// Room for one request on a link: until it is dropped, or until the request it was handed along with has ended.
#[derive(Debug)]
pub struct Reserved(pub(super) Place);

/// The links of a node.
pub struct Links {
    around: Surroundings,
    runtime: Handle,
    tasks: TaskTracker,
    /// What runs; read by every payment.
    running: RwLock<BTreeMap<LinkId, Arc<GrpcLink>>>,
    /// What should run; held while it is brought about.
    wanted: Mutex<Wanted>,
}

#[derive(Default)]
struct Wanted {
    records: BTreeMap<LinkId, directory::Link>,
    leading: bool,
    ended: bool,
    /// Links that are signing off, until they have.
    retiring: Vec<Arc<GrpcLink>>,
}

impl Links {
    /// No link yet.
    ///
    /// # Panics
    /// Outside a tokio runtime: links run on the one that this is called in.
    #[must_use]
    pub fn new(
        connector: Arc<dyn LinkConnector>,
        events: Arc<dyn LinkEvents>,
        gate: Arc<dyn SendGate>,
        settings: Settings,
    ) -> Self {
        Self {
            around: Surroundings { connector, events, gate, settings },
            runtime: Handle::current(),
            tasks: TaskTracker::new(),
            running: RwLock::default(),
            wanted: Mutex::default(),
        }
    }

    /// Starts, replaces and signs off links, so that they are those of the directory. Requests in flight are not lost. Does
    /// not wait; may be called from any thread.
    pub fn follow(&self, directory: &Directory) {
        let mut wanted = self.wanted.lock();
        wanted.records = directory
            .links
            .iter()
            .filter(|(_, link)| link.enabled)
            .map(|(id, link)| (id.clone(), link.clone()))
            .collect();
        self.reconcile(&mut wanted);
    }

    /// Exclusive links are connected while this node leads, and only then.
    pub fn set_leading(&self, leading: bool) {
        let mut wanted = self.wanted.lock();
        if wanted.leading != leading {
            wanted.leading = leading;
            self.reconcile(&mut wanted);
        }
    }

    /// The link that a new request to this network should take: in service, circuit closed, with room, fewest in flight;
    /// `None` where there is none in service. Where none has room, the request is told so when it is sent.
    #[must_use]
    pub fn of_network(&self, network: &NetworkId) -> Option<Arc<dyn NetworkLink>> {
        let running = self.running.read();
        let link = running
            .values()
            .filter(|link| link.record().network == *network)
            .filter(|link| link.state() == LinkState::InService && link.is_circuit_closed())
            .min_by_key(|link| (link.is_full(), link.in_flight()))?;
        Some(Arc::clone(link) as Arc<dyn NetworkLink>)
    }

    /// Room on a link for a request that is journalled first: it is handed along with it. `None` where the link is full.
    #[must_use]
    pub fn reserve(&self, link: &LinkId) -> Option<Reserved> {
        self.running.read().get(link)?.reserve().map(Reserved)
    }

    /// Requests that the links that take new ones can have in flight together.
    #[must_use]
    pub fn room(&self) -> u32 {
        let running = self.running.read();
        let taking = running.values().filter(|link| link.state() == LinkState::InService && link.is_circuit_closed());
        taking.map(|link| link.in_flight_max()).fold(0, u32::saturating_add)
    }

    /// A link by its id, whatever its state.
    #[must_use]
    pub fn get(&self, link: &LinkId) -> Option<Arc<dyn NetworkLink>> {
        self.running.read().get(link).map(|link| Arc::clone(link) as Arc<dyn NetworkLink>)
    }

    /// Every link, in the order of their ids.
    #[must_use]
    pub fn statuses(&self) -> Vec<LinkStatus> {
        let status = |link: &Arc<GrpcLink>| LinkStatus {
            link: link.record().id.clone(),
            network: link.record().network.clone(),
            state: link.state(),
            circuit: link.circuit_state(),
            in_flight: link.in_flight(),
            lanes_in_flight: link.lanes_in_flight(),
        };
        self.running.read().values().map(status).collect()
    }

    /// Links that this node should have in service now. What it has beside them is being signed off.
    #[must_use]
    pub fn wanted(&self) -> BTreeSet<LinkId> {
        let wanted = self.wanted.lock();
        wanted.records.values().filter(|record| runs(record, wanted.leading)).map(|record| record.id.clone()).collect()
    }

    /// Signs every link off and waits until all are closed. None is started again.
    pub async fn sign_off(&self, deadline: Instant) {
        {
            let mut wanted = self.wanted.lock();
            wanted.ended = true;
            wanted.records.clear();
            let running = std::mem::take(&mut *self.running.write()).into_values();
            for link in running.chain(std::mem::take(&mut wanted.retiring)) {
                link.stop(deadline);
            }
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn reconcile(&self, wanted: &mut Wanted) {
        if wanted.ended {
            return;
        }
        let settings = &self.around.settings;
        wanted.retiring.retain(|link| !link.stopped().is_cancelled());
        let mut running = self.running.write();
        let runs = |record: &directory::Link| runs(record, wanted.leading);
        running.retain(|id, link| {
            let record = wanted.records.get(id).filter(|record| runs(record));
            if let Some(record) = record.filter(|record| is_same_conversation(record, link.record())) {
                link.resize(record.in_flight_max);
                return true;
            }
            let wait = if link.record().exclusive { settings.hand_over_wait } else { settings.retire_wait };
            link.stop(Instant::now() + wait);
            wanted.retiring.push(Arc::clone(link));
            false
        });
        for (id, record) in wanted.records.iter().filter(|(_, record)| runs(record)) {
            if running.contains_key(id) {
                continue;
            }
            let after = wanted.retiring.iter().filter(|old| record.exclusive && old.record().id == *id);
            let after: Vec<CancellationToken> = after.map(|old| old.stopped().clone()).collect();
            let link = GrpcLink::new(record.clone(), self.around.clone());
            self.tasks.spawn_on(Arc::clone(&link).run(after), &self.runtime);
            running.insert(id.clone(), link);
        }
    }
}

/// True where a node has this link open; `leading` says whether it leads.
fn runs(record: &directory::Link, leading: bool) -> bool {
    leading || !record.exclusive
}

/// True where a change needs no new connection.
fn is_same_conversation(new: &directory::Link, old: &directory::Link) -> bool {
    let directory::Link { id, network, address, server_name, enabled, in_flight_max: _, exclusive, institution } = new;
    *id == old.id
        && *network == old.network
        && *address == old.address
        && *server_name == old.server_name
        && *enabled == old.enabled
        && *exclusive == old.exclusive
        && *institution == old.institution
}
