//! The thread a machine lives on.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::{Machine, MachineFault};
use crate::limits;

/// Runs jobs on the machine, one at a time and in order.
#[derive(Clone)]
pub(crate) enum Host {
    Thread(mpsc::Sender<Job>),
    Inline(Arc<Mutex<Box<dyn Machine>>>),
}

type Job = Box<dyn FnOnce(&mut dyn Machine) + Send>;

impl Host {
    /// Moves the machine to a thread of its own, which ends when the last handle is dropped.
    pub(crate) fn thread(mut machine: Box<dyn Machine>) -> std::io::Result<Self> {
        let (jobs, mut queue) = mpsc::channel::<Job>(limits::MACHINE_JOBS_MAX);
        std::thread::Builder::new().name("apply".into()).spawn(move || {
            while let Some(job) = queue.blocking_recv() {
                job(&mut *machine);
            }
        })?;
        Ok(Self::Thread(jobs))
    }

    /// Keeps the machine on the caller's task: for simulations, where a second thread would break the seed.
    pub(crate) fn inline(machine: Box<dyn Machine>) -> Self {
        Self::Inline(Arc::new(Mutex::new(machine)))
    }

    /// True if blocking work belongs on the caller's task.
    pub(crate) fn is_inline(&self) -> bool {
        matches!(self, Self::Inline(_))
    }

    /// Runs `job` and waits for it. A machine that panicked is a fault.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut dyn Machine) -> Result<T, MachineFault> + Send + 'static,
    ) -> Result<T, MachineFault> {
        match self {
            Self::Inline(machine) => job(&mut **machine.lock()),
            Self::Thread(jobs) => {
                let (done, result) = oneshot::channel();
                let job: Job = Box::new(move |machine| drop(done.send(job(machine))));
                jobs.send(job).await.map_err(|_| MachineFault::new("its thread is gone"))?;
                result.await.map_err(|_| MachineFault::new("it panicked"))?
            }
        }
    }
}
