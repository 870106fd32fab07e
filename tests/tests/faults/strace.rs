//! A process whose system calls fail or take their time.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use switch_tests::{
    eventually::eventually,
    harness::{Cluster, Node},
    stage::SOON,
};

use crate::tool::STRACE;

/// strace on every thread of a node, from [`Tampered::sync`] until it is dropped.
pub(crate) struct Tampered {
    strace: Child,
    log: PathBuf,
}

impl Tampered {
    /// Does `what` to every fsync and fdatasync of node `number`, in strace's words: `error=EIO`, `delay_enter=200000` (us).
    pub(crate) async fn sync(cluster: &Cluster, number: usize, what: &str) -> anyhow::Result<Self> {
        let node = cluster.node(number);
        let id = node.process_id().with_context(|| format!("node {number} does not run"))?;
        let log = cluster.folder().join(format!("strace-{number}.log"));
        let mut strace = STRACE.command();
        strace.args(["-f", "-e", "trace=fdatasync,fsync", "-e", &format!("inject=fdatasync,fsync:{what}")]);
        strace.arg("-p").arg(id.to_string()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
        let tampered = Self { strace: strace.spawn().with_context(|| STRACE.missing())?, log };
        eventually(SOON, "strace is attached", || async { attached(node, id, &tampered.log) }).await?;
        Ok(tampered)
    }

    /// Leaves the node alone; gives the number of calls that were tampered with.
    pub(crate) fn end(mut self) -> anyhow::Result<usize> {
        self.detach();
        let said = std::fs::read_to_string(&self.log)?;
        Ok(said.matches("(INJECTED)").count() + said.matches("(DELAYED)").count())
    }

    fn detach(&mut self) {
        if !matches!(self.strace.try_wait(), Ok(None)) {
            return; // it ended, with the node or before
        }
        // Not SIGKILL: a thread that is just stopped would stay so.
        if let Some(id) = i32::try_from(self.strace.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(id, Signal::TERM);
        }
        let _ = self.strace.wait();
    }
}

impl Drop for Tampered {
    fn drop(&mut self) {
        self.detach();
    }
}

/// True where every thread has a tracer, or the fault has ended the process already.
fn attached(node: &Node, id: u32, log: &Path) -> anyhow::Result<()> {
    let said = || std::fs::read_to_string(log).unwrap_or_default();
    for thread in std::fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten() {
        let Ok(status) = std::fs::read_to_string(thread?.path().join("status")) else { continue };
        let traced = status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"));
        anyhow::ensure!(traced || !node.runs(), "a thread is not traced; strace says: {}", said());
    }
    Ok(())
}
