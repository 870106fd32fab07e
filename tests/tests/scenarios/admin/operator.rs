//! An operator at a terminal: the real program, its exit codes, and what it writes where.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Mutex,
};

use anyhow::{Context, ensure};
use serde_json::Value;
use switch_tests::{channel::TlsFiles, harness::Cluster, multicall, stage::SOON};
use tokio::process::Command;

/// What a command came to.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) exit: i32,
    pub(super) out: String,
    pub(super) talk: String,
}

impl Ran {
    pub(super) fn item(&self) -> anyhow::Result<Value> {
        let document: Value = serde_json::from_str(&self.out).with_context(|| format!("{self:?}"))?;
        ensure!(document["apiVersion"] == "admin.payswitch.io/v1", "{self:?}");
        Ok(document["items"][0].clone())
    }
}

/// An operator with a context for the cluster.
pub(super) struct Operator {
    program: PathBuf,
    contexts: PathBuf,
    pub(super) folder: PathBuf,
    /// What it ran to a good end, such as `member list`, and every code that a command ended with.
    ran: Mutex<(BTreeSet<String>, BTreeSet<i32>)>,
}

impl Operator {
    pub(super) async fn of(cluster: &Cluster) -> anyhow::Result<Self> {
        Self::with(cluster, "contexts", cluster.operator_tls()).await
    }

    /// Another person: some things take two (R25).
    pub(super) async fn another(cluster: &Cluster, name: &str) -> anyhow::Result<Self> {
        Self::with(cluster, name, &cluster.another_operator(name)?).await
    }

    /// Somebody who has no cluster and no context, and keeps both in `folder` once there are any.
    pub(super) fn alone(folder: &Path) -> anyhow::Result<Self> {
        let (folder, contexts) = (folder.to_owned(), folder.join("contexts.toml"));
        Ok(Self { program: multicall::program()?, contexts, folder, ran: Mutex::default() })
    }

    async fn with(cluster: &Cluster, file: &str, tls: &TlsFiles) -> anyhow::Result<Self> {
        let folder = cluster.folder().to_owned();
        let contexts = folder.join(file).with_extension("toml");
        let operator = Self { program: multicall::program()?, contexts, folder, ran: Mutex::default() };
        let endpoints: Vec<&str> = cluster.nodes().iter().map(|node| node.operator_address()).collect();
        let (certificate, key, roots) = (text(&tls.certificate), text(&tls.key), text(&tls.roots));
        let endpoints = endpoints.join(",");
        let set = ["context", "set", "here", "--endpoint", &endpoints, "--certificate", &certificate, "--key", &key];
        operator.ends(0, &[&set[..], &["--roots", &roots]].concat()).await?;
        operator.ends(0, &["context", "use", "here"]).await?;
        Ok(operator)
    }

    pub(super) fn command(&self, line: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("admin").args(line).env("PAYSWITCH_CONTEXTS", &self.contexts).stdin(Stdio::null());
        command
    }

    /// A command in a terminal, without one around the test: `script` makes it, writes to it what comes in, and passes on what is
    /// shown there.
    pub(super) fn in_terminal(&self, line: &[&str]) -> Command {
        let mut command = Command::new("script");
        let line = format!("exec \"$ADMIN_CLI\" admin {}", line.join(" "));
        command.args(["--quiet", "--return", "--command", &line, "/dev/null"]).env("ADMIN_CLI", &self.program);
        command.env("PAYSWITCH_CONTEXTS", &self.contexts).env("TERM", "xterm");
        // Whoever runs the tests may have said what is to be coloured; that it is a build server says it, too.
        for said in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI"] {
            command.env_remove(said);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        command
    }

    pub(super) async fn run(&self, line: &[&str]) -> anyhow::Result<Ran> {
        let output = tokio::time::timeout(SOON * 3, self.command(line).output()).await.context("it does not end")??;
        let exit = output.status.code().unwrap_or(-1);
        self.note(exit, line);
        Ok(Ran { exit, out: String::from_utf8(output.stdout)?, talk: String::from_utf8(output.stderr)? })
    }

    /// Keeps in mind how a command ended. A plan runs nothing.
    pub(super) fn note(&self, exit: i32, line: &[&str]) {
        let mut ran = self.ran.lock().expect("no panic");
        // What a check ends with is in a monitor's words, not in those of `--help`.
        if line.first() != Some(&"check") {
            ran.1.insert(exit);
        }
        if exit == 0 && !line.contains(&"--dry-run") {
            ran.0.insert(name(line));
        }
    }

    /// Commands that ended well, by name.
    pub(super) fn ran(&self) -> BTreeSet<String> {
        self.ran.lock().expect("no panic").0.clone()
    }

    /// Codes that commands ended with.
    pub(super) fn exits(&self) -> BTreeSet<i32> {
        self.ran.lock().expect("no panic").1.clone()
    }

    /// Runs a command that must end with this code.
    pub(super) async fn ends(&self, exit: i32, line: &[&str]) -> anyhow::Result<Ran> {
        let ran = self.run(line).await?;
        ensure!(ran.exit == exit, "{line:?} ends {} instead of {exit}: {ran:?}", ran.exit);
        Ok(ran)
    }

    /// Everything that a command shows.
    pub(super) async fn document(&self, line: &[&str]) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.ends(0, &[line, &["-o", "json"]].concat()).await?.out)?)
    }

    pub(super) async fn item(&self, line: &[&str]) -> anyhow::Result<Value> {
        self.ends(0, &[line, &["-o", "json"]].concat()).await?.item()
    }

    /// Runs a command that must be refused for this reason.
    pub(super) async fn refused(&self, exit: i32, reason: &str, line: &[&str]) -> anyhow::Result<()> {
        let ran = self.ends(exit, line).await?;
        ensure!(ran.talk.contains(reason), "{line:?} is not refused with {reason}: {ran:?}");
        Ok(())
    }
}

/// Every command there is, by name: the leaves of the tree.
pub(super) fn commands() -> BTreeSet<String> {
    fn walk(command: &clap::Command, path: &str, found: &mut BTreeSet<String>) {
        let mut below = command.get_subcommands().filter(|one| one.get_name() != "help").peekable();
        if below.peek().is_none() {
            found.insert(path.to_owned());
        }
        for one in below {
            walk(one, format!("{path} {}", one.get_name()).trim(), found);
        }
    }
    let mut found = BTreeSet::new();
    walk(&admin_cli::command(), "", &mut found);
    found
}

/// The command of a line that begins with one.
fn name(line: &[&str]) -> String {
    let mut words = Vec::new();
    let mut command = admin_cli::command();
    for word in line {
        let Some(below) = command.find_subcommand(word).cloned() else { break };
        words.push(*word);
        command = below;
    }
    words.join(" ")
}

/// A path as an argument.
pub(super) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
