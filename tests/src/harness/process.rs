//! One child process of a cluster: started, killed, stopped and continued, and never left behind.

use std::{
    ffi::OsStr,
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

use crate::multicall;

/// A running child. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Held open: its end tells the child that this process is gone.
    _pipe: Option<ChildStdin>,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts the multi-call program with `args`; what it says is appended to the file `log`.
    pub fn start<I, A>(name: &str, args: I, log: &Path, environment: &[(String, String)]) -> anyhow::Result<Self>
    where
        I: IntoIterator<Item = A>,
        A: AsRef<OsStr>,
    {
        let program = multicall::program()?;
        let said = open(log)?;
        let mut child = Command::new(&program)
            .args(args)
            .env(multicall::PARENT_PIPE, "1")
            .envs(environment.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::piped())
            .stdout(said.try_clone()?)
            .stderr(said)
            // Ctrl-C in a terminal is for this process, which ends its children in its own order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("{name}: {} does not start", program.display()))?;
        let pipe = child.stdin.take();
        Ok(Self { child, _pipe: pipe, name: name.to_owned(), log: log.to_owned() })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The file it writes to.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Ends it at once and waits until it is gone.
    pub fn kill(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end; see [`Process::ended`].
    pub fn terminate(&self) -> anyhow::Result<()> {
        self.signal(Signal::TERM)
    }

    /// Takes it off the processor until [`Process::cont`].
    pub fn stop(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    pub fn cont(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("a process id")?;
        kill_process(id, signal).with_context(|| format!("{} takes no signal", self.name))
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// The last lines it said, for the message of a test that failed. Where a program says why it ends, that line comes first:
    /// its other threads may go on to log for as long as the end takes.
    pub fn last_words(&self) -> String {
        let said = end_of(&self.log).unwrap_or_default();
        let tail = String::from_utf8_lossy(&said[said.len().saturating_sub(LAST_WORDS_BYTES)..]).into_owned();
        let said = String::from_utf8_lossy(&said);
        let why = said.lines().rfind(|line| line.starts_with(WHY)).unwrap_or_default();
        format!("{} ({}) said last:\n{why}\n{tail}", self.name, self.log.display())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn open(log: &Path) -> anyhow::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("{} cannot be written", log.display()))
}

fn end_of(log: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(END_BYTES)))?;
    let mut end = Vec::new();
    file.take(END_BYTES).read_to_end(&mut end)?;
    Ok(end)
}

/// How the line begins in which a node says why it ends.
const WHY: &str = "switch-node: ";

/// More than a node logs at TRACE between that line and its end.
const END_BYTES: u64 = 4 << 20;

/// Enough for a panic with its backtrace.
const LAST_WORDS_BYTES: usize = 4096;
