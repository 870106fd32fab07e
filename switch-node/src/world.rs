//! What a node stands on, real or simulated, all of it behind `dyn`: consensus is instantiated once, and a simulation needs no
//! other build.

use std::sync::Arc;

use ring::rand::SecureRandom as _;
use switch_consensus::{KeepIdentity, PeerWire, WriteAheadLog};
use switch_domain::time::LogTime;

use crate::{gateway::peers::ForwardWire, journal::WallClock, link::LinkConnector, storage::Store};

/// Random numbers of the world: identities, seeds, and where the nonces of sealed cards begin (R7); never a decision about
/// money. TLS and new keys draw their own, and so do the ids of traces, which are names in logs.
pub trait Randomness: Send + Sync {
    /// 64 random bits, others on every node and at every start.
    fn number(&self) -> u64;
}

/// The world of one node.
pub struct World {
    /// Write-ahead log of the consensus group.
    pub log: Arc<dyn WriteAheadLog>,
    /// Ordered table.
    pub store: Box<dyn Store>,
    /// The way to the peers for consensus.
    pub wire: Arc<dyn PeerWire>,
    /// The way to the peers for calls, keys and evidence.
    pub forward: Arc<dyn ForwardWire>,
    /// The way to card networks.
    pub connector: Arc<dyn LinkConnector>,
    /// Wall clock.
    pub wall: Arc<dyn WallClock>,
    /// Randomness.
    pub random: Arc<dyn Randomness>,
    /// Keeps the node's identity once it belongs to a cluster.
    pub keep_identity: KeepIdentity,
    /// Ends the process; called with the reason when the node cannot go on.
    pub exit: Arc<dyn Fn(&str) + Send + Sync>,
}

/// The machine's own clock.
pub struct SystemClock;

impl WallClock for SystemClock {
    #[allow(clippy::disallowed_methods)] // the one place that reads the wall clock for money
    fn now(&self) -> LogTime {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        LogTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

/// The system's randomness.
pub struct SystemRandom;

impl Randomness for SystemRandom {
    fn number(&self) -> u64 {
        let mut bytes = [0; 8];
        // Asked while a node starts: one that would share identities and nonces with another must not.
        ring::rand::SystemRandom::new().fill(&mut bytes).expect("the system has random bytes");
        u64::from_be_bytes(bytes)
    }
}
