//! Whether this node lives, is ready, and has started; for whoever restarts it or sends it calls.
//!
//! | page | says yes while | a no means |
//! |---|---|---|
//! | `/livez` | the runtime's tasks get their turn | restart the process |
//! | `/readyz` | a leader is known, this node is not far behind, and it is not leaving | send calls elsewhere |
//! | `/startupz` | everything committed before the start has been applied, once | wait |

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use thiserror::Error;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::journal::Journal;

/// Why a page says no.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unwell {
    /// The once-a-second task has not run.
    #[error("no task had its turn for {0:?}")]
    Stuck(Duration),
    /// Nobody leads, as far as this node knows.
    #[error("no leader is known")]
    NoLeader,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    has_leader: bool,
    committed: u64,
    applied: u64,
    draining: bool,
}

/// The health of a node.
pub struct Health {
    look: Box<dyn Fn() -> Seen + Send + Sync>,
    /// What was committed when the node started, as far as its disk says.
    target: u64,
    started: AtomicBool,
    began: Instant,
    /// Milliseconds from `began` to the last turn of the once-a-second task.
    pulse_ms: AtomicU64,
}

impl Health {
    /// Of a node that has just started; `leaving` is cancelled when it begins to leave.
    pub fn new(journal: Journal, leaving: CancellationToken) -> Arc<Self> {
        Self::with(Box::new(move || {
            let status = journal.group().status();
            Seen {
                has_leader: status.leader.is_some(),
                committed: status.committed.unwrap_or(0),
                applied: status.applied.unwrap_or(0),
                draining: leaving.is_cancelled(),
            }
        }))
    }

    fn with(look: Box<dyn Fn() -> Seen + Send + Sync>) -> Arc<Self> {
        let target = look().committed;
        Arc::new(Self {
            look,
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
        let Seen { has_leader, committed, applied, draining } = (self.look)();
        if draining {
            return Err(Unwell::Draining);
        }
        if !has_leader {
            return Err(Unwell::NoLeader);
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
/// Longer than any pause of a machine that is only busy, shorter than a patience that hides a dead runtime.
const SILENCE_MAX: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    fn health(first: Seen) -> (Arc<Mutex<Seen>>, Arc<Health>) {
        let seen = Arc::new(Mutex::new(first));
        let look = seen.clone();
        (seen, Health::with(Box::new(move || *look.lock())))
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_has_started_once_what_was_committed_before_is_applied() {
        let (seen, health) = health(Seen { has_leader: true, committed: 100, applied: 40, draining: false });
        let replaying = Unwell::Replaying { applied: 40, target: 100 };
        assert_eq!((health.started(), health.ready()), (Err(replaying.clone()), Err(replaying)));
        *seen.lock() = Seen { has_leader: true, committed: 200, applied: 100, draining: false };
        assert_eq!((health.started(), health.ready()), (Ok(()), Ok(())));
        // A lost table never makes it start again.
        seen.lock().applied = 0;
        assert_eq!(health.started(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn calls_go_elsewhere_without_a_leader_far_behind_and_while_leaving() {
        let (seen, health) = health(Seen::default());
        assert_eq!(health.ready(), Err(Unwell::NoLeader));
        *seen.lock() = Seen { has_leader: true, committed: BEHIND_MAX + 6, applied: 5, draining: false };
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
