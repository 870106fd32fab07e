//! Whether this node lives, is ready, and has started; for whoever restarts it or sends it calls.
//!
//! | page | says yes while | a no means |
//! |---|---|---|
//! | `/livez` | the runtime's tasks get their turn | restart the process |
//! | `/readyz` | the cluster is complete and takes this process for its node, the leader was heard of lately, every data key opens, this node is not far behind and not leaving | send calls elsewhere |
//! | `/startupz` | everything committed before the start has been applied, once | wait |

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use thiserror::Error;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::Intake;
use crate::{journal::Journal, security::keys::KeyFault};

/// Why a page says no.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unwell {
    /// The once-a-second task has not run.
    #[error("no task had its turn for {0:?}")]
    Stuck(Duration),
    /// Nobody leads, as far as this node knows.
    #[error("no leader is known")]
    NoLeader,
    /// The cluster never had as many voters as it was to begin with: what it decides could be lost with one disk.
    #[error("the cluster never had more than {most} voters and was to begin with {initial}")]
    Incomplete {
        /// The most it ever had.
        most: u32,
        /// What it was to begin with.
        initial: u32,
    },
    /// The cluster does not take this process for the node it says it is.
    #[error("the cluster refuses this node: {0}")]
    Refused(String),
    /// The leader, or a quorum if this node leads, has not been heard of for too long.
    #[error("no word from the leader for {0:?}")]
    Silent(Duration),
    /// It could not seal or open card data if it led.
    #[error("a data key of the cluster does not open here: {0}")]
    Keys(KeyFault),
    /// It is far behind.
    #[error("{behind} entries are committed and not applied, at most {max} are allowed")]
    Behind {
        /// Entries.
        behind: u64,
        /// Bound.
        max: u64,
    },
    /// It is leaving.
    #[error("the node is leaving")]
    Draining,
    /// It still applies what was committed before it started.
    #[error("applied {applied} of the {target} entries that were committed before the start")]
    Replaying {
        /// Applied so far.
        applied: u64,
        /// To be applied.
        target: u64,
    },
}

/// The state of a node as far as health depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    has_leader: bool,
    refused: Option<String>,
    keys: Option<KeyFault>,
    /// Time since the leader, or a quorum if this node leads, was heard of.
    silence: Option<Duration>,
    /// The most voters there ever were.
    voters_most: u32,
    committed: u64,
    applied: u64,
    draining: bool,
}

/// The health of a node.
pub struct Health {
    look: Box<dyn Fn() -> Seen + Send + Sync>,
    initial_voters: u32,
    /// What was committed when the node started, as far as its disk says.
    target: u64,
    started: AtomicBool,
    began: Instant,
    /// Milliseconds from `began` to the last turn of the once-a-second task.
    pulse_ms: AtomicU64,
}

impl Health {
    /// Of a node that has just started, in a cluster that is to begin with `initial_voters`; `keys` says why a data key does not
    /// open, `leaving` is cancelled when its process begins to end, and `intake` says whether an operator drains it.
    pub fn new(
        journal: Journal,
        keys: watch::Receiver<Option<KeyFault>>,
        initial_voters: u32,
        leaving: CancellationToken,
        intake: Arc<Intake>,
    ) -> Arc<Self> {
        let look = move || {
            let status = journal.group().status();
            Seen {
                has_leader: status.leader.is_some(),
                refused: status.refused,
                keys: *keys.borrow(),
                silence: status.confirmed,
                voters_most: status.voters_most,
                committed: status.committed.unwrap_or(0),
                applied: status.applied.unwrap_or(0),
                draining: leaving.is_cancelled() || intake.is_draining(),
            }
        };
        Self::with(Box::new(look), initial_voters)
    }

    fn with(look: Box<dyn Fn() -> Seen + Send + Sync>, initial_voters: u32) -> Arc<Self> {
        let target = look().committed;
        Arc::new(Self {
            look,
            initial_voters,
            target,
            started: AtomicBool::new(false),
            began: Instant::now(),
            pulse_ms: AtomicU64::new(0),
        })
    }

    /// Called once a second by a task of the runtime.
    pub fn beat(&self) {
        let ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.pulse_ms.store(ms, Ordering::Relaxed);
    }

    /// Whether the process works at all.
    ///
    /// # Errors
    /// [`Unwell::Stuck`].
    pub fn live(&self) -> Result<(), Unwell> {
        let silence = self.began.elapsed().saturating_sub(Duration::from_millis(self.pulse_ms.load(Ordering::Relaxed)));
        if silence > SILENCE_MAX { Err(Unwell::Stuck(silence)) } else { Ok(()) }
    }

    /// Whether calls should come here.
    ///
    /// # Errors
    /// [`Unwell`].
    pub fn ready(&self) -> Result<(), Unwell> {
        self.started()?;
        let Seen { has_leader, refused, keys, silence, voters_most, committed, applied, draining } = (self.look)();
        if draining {
            return Err(Unwell::Draining);
        }
        if let Some(why) = refused {
            return Err(Unwell::Refused(why));
        }
        if let Some(fault) = keys {
            return Err(Unwell::Keys(fault));
        }
        let silence = silence.filter(|_| has_leader).ok_or(Unwell::NoLeader)?;
        if silence > LEADER_SILENCE_MAX {
            return Err(Unwell::Silent(silence));
        }
        if voters_most < self.initial_voters {
            return Err(Unwell::Incomplete { most: voters_most, initial: self.initial_voters });
        }
        let behind = committed.saturating_sub(applied);
        if behind > BEHIND_MAX {
            return Err(Unwell::Behind { behind, max: BEHIND_MAX });
        }
        Ok(())
    }

    /// Whether the node has applied what was committed before it started. Once yes, always yes.
    ///
    /// # Errors
    /// [`Unwell::Replaying`].
    pub fn started(&self) -> Result<(), Unwell> {
        if self.started.load(Ordering::Acquire) {
            return Ok(());
        }
        let (applied, target) = ((self.look)().applied, self.target);
        if applied < target {
            return Err(Unwell::Replaying { applied, target });
        }
        self.started.store(true, Ordering::Release);
        Ok(())
    }
}

/// About a second of traffic: a node that lags more makes readers wait for longer than their deadlines allow.
const BEHIND_MAX: u64 = 10_000;
/// Many heartbeats, and longer than an election takes: a node that hears nothing for so long is cut off or refused, and cannot
/// answer a read.
const LEADER_SILENCE_MAX: Duration = Duration::from_secs(3);
/// Longer than any pause of a machine that is only busy, shorter than a patience that hides a dead runtime.
const SILENCE_MAX: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::security::keys::Purpose;

    fn health(first: Seen) -> (Arc<Mutex<Seen>>, Arc<Health>) {
        let seen = Arc::new(Mutex::new(first));
        let look = seen.clone();
        (seen, Health::with(Box::new(move || look.lock().clone()), 3))
    }

    /// A node of a complete cluster that follows a leader.
    fn following() -> Seen {
        Seen { has_leader: true, silence: Some(Duration::ZERO), voters_most: 3, ..Seen::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_has_started_once_what_was_committed_before_is_applied() {
        let (seen, health) = health(Seen { committed: 100, applied: 40, ..following() });
        let replaying = Unwell::Replaying { applied: 40, target: 100 };
        assert_eq!((health.started(), health.ready()), (Err(replaying.clone()), Err(replaying)));
        *seen.lock() = Seen { committed: 200, applied: 100, ..following() };
        assert_eq!((health.started(), health.ready()), (Ok(()), Ok(())));
        // A lost table never makes it start again.
        seen.lock().applied = 0;
        assert_eq!(health.started(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn calls_go_elsewhere_where_they_could_not_be_answered() {
        let (seen, health) = health(Seen::default());
        assert_eq!(health.ready(), Err(Unwell::NoLeader));
        *seen.lock() = following();
        assert_eq!(health.ready(), Ok(()));
        seen.lock().voters_most = 2;
        assert_eq!(health.ready(), Err(Unwell::Incomplete { most: 2, initial: 3 }));
        let silence = LEADER_SILENCE_MAX + Duration::from_millis(1);
        seen.lock().silence = Some(silence);
        assert_eq!(health.ready(), Err(Unwell::Silent(silence)));
        let fault = KeyFault::UnknownVersion(Purpose::Wrapping, 2);
        *seen.lock() = Seen { keys: Some(fault), ..following() };
        assert_eq!(health.ready(), Err(Unwell::Keys(fault)));
        seen.lock().refused = Some("two of them".into());
        assert_eq!(health.ready(), Err(Unwell::Refused("two of them".into())));
        *seen.lock() = Seen { committed: BEHIND_MAX + 6, applied: 5, ..following() };
        assert_eq!(health.ready(), Err(Unwell::Behind { behind: BEHIND_MAX + 1, max: BEHIND_MAX }));
        seen.lock().applied = 6;
        assert_eq!(health.ready(), Ok(()));
        seen.lock().draining = true;
        assert_eq!(health.ready(), Err(Unwell::Draining));
    }

    #[tokio::test(start_paused = true)]
    async fn a_runtime_without_a_turn_is_dead() {
        let (_, health) = health(Seen::default());
        tokio::time::advance(SILENCE_MAX).await;
        assert_eq!(health.live(), Ok(()));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(health.live(), Err(Unwell::Stuck(SILENCE_MAX + Duration::from_secs(1))));
        health.beat();
        assert_eq!(health.live(), Ok(()));
    }
}
