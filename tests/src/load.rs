//! Load and its figures: stories played one after another by a number of callers, or begun at a rate whatever happens.
//!
//! In an open loop the latency of a payment is counted from the moment at which it should have begun: a switch that
//! stalls for a second cannot hide that second by slowing its callers down.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use serde::Serialize;
use switch_proto::gateway::v1::Decision;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};

use crate::{
    gateway_client::GatewayClient,
    history::{Ask, Method},
    workload::{Played, Story, Workload, play},
};

/// How payments begin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// So many callers, each as soon as it is answered.
    Closed {
        /// Number of callers.
        callers: usize,
    },
    /// So many a second.
    Open {
        /// Payments begun in a second.
        per_second: f64,
        /// Most under way; at the bound beginnings wait, and their waiting counts.
        in_flight_max: usize,
    },
}

/// Where payments come from.
pub enum Payments {
    /// Made up, without an end.
    Generated(Box<Workload>),
    /// A list, once.
    Listed(std::vec::IntoIter<Story>),
}

impl Payments {
    fn next(&mut self) -> Option<Story> {
        match self {
            Self::Generated(workload) => Some(workload.story()),
            Self::Listed(list) => list.next(),
        }
    }
}

/// Tells a load to begin nothing more. Clones tell the same load.
#[derive(Debug, Clone)]
pub struct Stop(watch::Sender<bool>);

impl Default for Stop {
    fn default() -> Self {
        Self(watch::channel(false).0)
    }
}

impl Stop {
    /// No further payment begins; those under way end.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    /// Waits until somebody says so.
    pub async fn stopped(&self) {
        let mut receiver = self.0.subscribe();
        // This sender lives as long as the call: there is no other end of waiting.
        let _ = receiver.wait_for(|stopped| *stopped).await;
    }

    fn is_stopped(&self) -> bool {
        *self.0.borrow()
    }
}

/// Plays payments until `stop`, or until there are none, and waits for those under way.
pub async fn run(payments: Payments, gateway: &GatewayClient, pace: Pace, figures: &Arc<Figures>, stop: &Stop) {
    match pace {
        Pace::Closed { callers } => closed(payments, gateway, callers.max(1), figures, stop).await,
        Pace::Open { per_second, in_flight_max } => {
            open(payments, gateway, per_second, in_flight_max.max(1), figures, stop).await;
        }
    }
}

async fn closed(payments: Payments, gateway: &GatewayClient, callers: usize, figures: &Arc<Figures>, stop: &Stop) {
    let payments = Arc::new(Mutex::new(payments));
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let (payments, gateway, figures, stop) = (payments.clone(), gateway.clone(), figures.clone(), stop.clone());
        tasks.spawn(async move {
            while !stop.is_stopped() {
                let Some(story) = payments.lock().next() else { break };
                one(&story, &gateway, &figures, Instant::now()).await;
            }
        });
    }
    joined(tasks).await;
}

async fn open(
    mut payments: Payments,
    gateway: &GatewayClient,
    per_second: f64,
    in_flight_max: usize,
    figures: &Arc<Figures>,
    stop: &Stop,
) {
    let room = Arc::new(Semaphore::new(in_flight_max));
    let mut tasks = JoinSet::new();
    let began = Instant::now();
    for number in 0u32.. {
        let intended = began + Duration::from_secs_f64(f64::from(number) / per_second);
        tokio::select! {
            biased;
            () = stop.stopped() => break,
            () = tokio::time::sleep_until(intended.into()) => {}
        }
        let permit = tokio::select! {
            biased;
            () = stop.stopped() => break,
            permit = room.clone().acquire_owned() => permit.expect("the semaphore is never closed"),
        };
        let Some(story) = payments.next() else { break };
        let (gateway, figures) = (gateway.clone(), figures.clone());
        tasks.spawn(async move {
            one(&story, &gateway, &figures, intended).await;
            drop(permit);
        });
        while tasks.try_join_next().is_some() {}
    }
    joined(tasks).await;
}

async fn joined(mut tasks: JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

async fn one(story: &Story, gateway: &GatewayClient, figures: &Figures, intended: Instant) {
    let began = Instant::now();
    figures.begun.fetch_add(1, Ordering::Relaxed);
    let heard = |played: &Played| figures.heard(story, played, began, intended.elapsed());
    let played = Box::pin(play(story, gateway, heard)).await;
    figures.followed.fetch_add(u64::from(played.followed), Ordering::Relaxed);
    figures.followed_unknown.fetch_add(u64::from(played.followed_unknown), Ordering::Relaxed);
}

/// What came of a load, while it runs and afterwards.
#[derive(Debug)]
pub struct Figures {
    began: Instant,
    begun: AtomicU64,
    approved: AtomicU64,
    declined: AtomicU64,
    timed_out: AtomicU64,
    voided: AtomicU64,
    verified: AtomicU64,
    refused: AtomicU64,
    outcome_unknown: AtomicU64,
    followed: AtomicU64,
    followed_unknown: AtomicU64,
    /// Beginning of the latest payment that was approved, in microseconds since `began`.
    last_approved_us: AtomicU64,
    latencies: Mutex<Latencies>,
    networks: Mutex<BTreeMap<String, ByNetwork>>,
}

#[derive(Debug)]
struct Latencies {
    all: Histogram<u64>,
    /// Since the last look.
    recent: Histogram<u64>,
    looked: Instant,
}

/// Decisions of one network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ByNetwork {
    /// Approved, in full or in part.
    pub approved: u64,
    /// Declined.
    pub declined: u64,
    /// Not answered in time.
    pub timed_out: u64,
}

/// Counts, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Payments begun.
    pub begun: u64,
    /// Approved, in full or in part.
    pub approved: u64,
    /// Declined.
    pub declined: u64,
    /// Not answered by the network in time.
    pub timed_out: u64,
    /// Voided before their answer was told.
    pub voided: u64,
    /// Zero-amount checks that were answered.
    pub verified: u64,
    /// Definitely refused by the switch, with no effect.
    pub refused: u64,
    /// Not told to the gateway, however often it asked.
    pub outcome_unknown: u64,
    /// Captures, voids, refunds, increments and repeats that were answered.
    pub followed: u64,
    /// Those that were not, and checks that were not.
    pub followed_unknown: u64,
}

impl Counts {
    /// Authorizations with a decision.
    pub fn decided(&self) -> u64 {
        self.approved + self.declined + self.timed_out + self.voided
    }
}

/// Latencies of payments, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Quantiles {
    /// How many.
    pub count: u64,
    /// Half were faster.
    pub p50_us: u64,
    /// 99 of 100 were faster.
    pub p99_us: u64,
    /// 999 of 1000 were faster.
    pub p999_us: u64,
    /// The slowest.
    pub max_us: u64,
}

impl Default for Figures {
    fn default() -> Self {
        let histogram = || Histogram::new_with_bounds(1, 300_000_000, 3).expect("one microsecond to five minutes");
        Self {
            began: Instant::now(),
            begun: AtomicU64::default(),
            approved: AtomicU64::default(),
            declined: AtomicU64::default(),
            timed_out: AtomicU64::default(),
            voided: AtomicU64::default(),
            verified: AtomicU64::default(),
            refused: AtomicU64::default(),
            outcome_unknown: AtomicU64::default(),
            followed: AtomicU64::default(),
            followed_unknown: AtomicU64::default(),
            last_approved_us: AtomicU64::default(),
            latencies: Mutex::new(Latencies { all: histogram(), recent: histogram(), looked: Instant::now() }),
            networks: Mutex::default(),
        }
    }
}

impl Figures {
    /// Takes note of the answer to a story's payment.
    fn heard(&self, story: &Story, played: &Played, began: Instant, took: Duration) {
        let (counter, network) = match (&played.first, played.decision()) {
            (Err(error), _) if error.definite => (&self.refused, None),
            // No money hangs on a check.
            (Err(_), _) if story.first.method() == Method::Verify => (&self.followed_unknown, None),
            (Err(_), _) | (Ok(_), None | Some(Decision::Unspecified)) => (&self.outcome_unknown, None),
            (Ok(told), Some(decision)) => {
                let network = Some(told.network.as_str()).filter(|name| !name.is_empty());
                let counter = match decision {
                    _ if story.first.method() == Method::Verify => &self.verified,
                    Decision::Approved | Decision::PartiallyApproved => &self.approved,
                    Decision::TimedOut => &self.timed_out,
                    Decision::Voided => &self.voided,
                    Decision::Declined | Decision::Unspecified => &self.declined,
                };
                (counter, network)
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if std::ptr::eq(counter, &raw const self.approved) {
            let began_us = u64::try_from((began - self.began).as_micros()).unwrap_or(u64::MAX);
            self.last_approved_us.fetch_max(began_us, Ordering::Relaxed);
        }
        if let Some(network) = network {
            let mut networks = self.networks.lock();
            let own = networks.entry(network.to_owned()).or_default();
            match played.decision() {
                Some(Decision::Approved | Decision::PartiallyApproved) => own.approved += 1,
                Some(Decision::TimedOut) => own.timed_out += 1,
                _ => own.declined += 1,
            }
        }
        if matches!(story.first, Ask::Authorize(_)) {
            let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            let mut latencies = self.latencies.lock();
            latencies.all.saturating_record(took_us);
            latencies.recent.saturating_record(took_us);
        }
    }

    /// Counts now.
    pub fn counts(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            begun: of(&self.begun),
            approved: of(&self.approved),
            declined: of(&self.declined),
            timed_out: of(&self.timed_out),
            voided: of(&self.voided),
            verified: of(&self.verified),
            refused: of(&self.refused),
            outcome_unknown: of(&self.outcome_unknown),
            followed: of(&self.followed),
            followed_unknown: of(&self.followed_unknown),
        }
    }

    /// Latencies of every authorization so far.
    pub fn latencies(&self) -> Quantiles {
        quantiles(&self.latencies.lock().all)
    }

    /// Latencies since the last look, and their number a second.
    pub fn recent(&self) -> (Quantiles, f64) {
        let mut latencies = self.latencies.lock();
        let seen = quantiles(&latencies.recent);
        let rate = latencies.recent.len() as f64 / latencies.looked.elapsed().as_secs_f64().max(1e-3);
        latencies.recent.reset();
        latencies.looked = Instant::now();
        (seen, rate)
    }

    /// Decisions by network.
    pub fn networks(&self) -> BTreeMap<String, ByNetwork> {
        self.networks.lock().clone()
    }

    /// True once a payment that began after `since` was approved.
    pub fn approved_since(&self, since: Instant) -> bool {
        let since_us = u64::try_from((since - self.began).as_micros()).unwrap_or(u64::MAX);
        self.last_approved_us.load(Ordering::Relaxed) > since_us
    }
}

fn quantiles(histogram: &Histogram<u64>) -> Quantiles {
    let at = |quantile| histogram.value_at_quantile(quantile);
    let max_us = histogram.max();
    Quantiles { count: histogram.len(), p50_us: at(0.5), p99_us: at(0.99), p999_us: at(0.999), max_us }
}
