//! How fast the stations are: what a commit takes, and what each network takes to answer. Sums since somebody last looked;
//! whoever admits calls looks ten times a second.

use std::{collections::BTreeMap, time::Duration};

use parking_lot::Mutex;
use switch_domain::id::NetworkId;

/// Durations of one kind since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Took {
    /// How many.
    pub count: u32,
    /// Their sum.
    pub sum: Duration,
}

impl Took {
    /// Their mean; `None` where there were none.
    pub fn mean(&self) -> Option<Duration> {
        (self.count > 0).then(|| self.sum / self.count)
    }

    fn add(&mut self, took: Duration) {
        self.count = self.count.saturating_add(1);
        self.sum = self.sum.saturating_add(took);
    }
}

/// What the stations took since the last look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// From a proposal to its apply here.
    pub commit: Took,
    /// From the queue of a link to the network's answer. Silence is no sample: it says nothing of how fast a network is, and
    /// the circuit and the bound of doubt are there for it.
    pub networks: BTreeMap<NetworkId, Took>,
}

/// Where the path notes what it waited for.
#[derive(Default)]
pub(super) struct Stopwatch(Mutex<Pace>);

impl Stopwatch {
    /// Something was committed.
    pub(super) fn committed(&self, took: Duration) {
        self.0.lock().commit.add(took);
    }

    /// A network answered.
    pub(super) fn answered(&self, network: &NetworkId, took: Duration) {
        let mut pace = self.0.lock();
        match pace.networks.get_mut(network) {
            Some(known) => known.add(took),
            None => pace.networks.entry(network.clone()).or_default().add(took),
        }
    }

    /// What was noted since the last look.
    pub(super) fn look(&self) -> Pace {
        std::mem::take(&mut *self.0.lock())
    }
}
