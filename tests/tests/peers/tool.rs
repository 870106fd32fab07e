//! Programs that do not come with the tree. Each is asked for by name, and a missing one says what to install.

use std::{
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use anyhow::Context as _;
use tokio::{process::Command, time::timeout};

/// Longest for one run of a tool, on a machine that does other things too.
const TOOL_WITHIN: Duration = Duration::from_secs(60);

pub(crate) const PYTHON: Tool = Tool { program: "python3", install: "apt-get install python3" };

/// A program that does not come with the tree.
pub(crate) struct Tool {
    pub(crate) program: &'static str,
    /// What somebody without it should do.
    pub(crate) install: &'static str,
}

impl Tool {
    /// The program, to be run in the workspace's folder.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command.current_dir(root()).kill_on_drop(true);
        command
    }

    /// Runs it to its end, however it ends.
    pub(crate) async fn run(&self, mut command: Command) -> anyhow::Result<Output> {
        let output = timeout(TOOL_WITHIN, command.output());
        let output = output.await.with_context(|| format!("{} runs for {TOOL_WITHIN:?} already", self.program))?;
        output.with_context(|| format!("{} cannot be started; install it: {}", self.program, self.install))
    }
}

/// Everything that a program wrote.
pub(crate) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
