//! Programs that do not come with the tree. Each is asked for by name, and a missing one says what to install.

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, ensure};

pub(crate) const STRACE: Tool = Tool { program: "strace", install: "apt-get install strace" };
pub(crate) const NFT: Tool = Tool { program: "nft", install: "apt-get install nftables" };
pub(crate) const MOUNT: Tool = Tool { program: "mount", install: "apt-get install mount" };
pub(crate) const UMOUNT: Tool = Tool { program: "umount", install: "apt-get install mount" };
pub(crate) const MKFS: Tool = Tool { program: "mkfs.ext4", install: "apt-get install e2fsprogs" };
pub(crate) const COPY: Tool = Tool { program: "cp", install: "apt-get install coreutils" };
pub(crate) const SYNC: Tool = Tool { program: "sync", install: "apt-get install coreutils" };
pub(crate) const PYTHON: Tool = Tool { program: "python3", install: "apt-get install python3" };

/// A program and how to come by it.
pub(crate) struct Tool {
    program: &'static str,
    /// What somebody without it should do.
    install: &'static str,
}

impl Tool {
    /// The program, not started yet.
    pub(crate) fn command(&self) -> Command {
        Command::new(self.program)
    }

    /// Why it did not start.
    pub(crate) fn missing(&self) -> String {
        format!("{} cannot be started; install it: {}", self.program, self.install)
    }

    /// Runs it to its end; gives what it wrote to its standard output.
    pub(crate) fn run(&self, args: &[&str]) -> anyhow::Result<String> {
        self.run_with(args, "")
    }

    /// The same with `input` on its standard input.
    pub(crate) fn run_with(&self, args: &[&str], input: &str) -> anyhow::Result<String> {
        let mut command = self.command();
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| self.missing())?;
        child.stdin.take().context("a pipe was asked for")?.write_all(input.as_bytes())?;
        let Output { status, stdout, stderr } = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&stderr);
        ensure!(status.success(), "{} {args:?} ended with {status} (root is needed): {said}", self.program);
        Ok(String::from_utf8_lossy(&stdout).into_owned())
    }
}
