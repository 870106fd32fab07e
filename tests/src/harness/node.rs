//! One node of a cluster: its addresses, its folder and its process, if it runs.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::Context;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{config::NodeConfig, operator::OperatorClient, process::Process};

/// Longest for one page of the plain listener.
const PLAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// A node, running or not.
#[derive(Debug)]
pub struct Node {
    number: usize,
    folder: PathBuf,
    config_path: PathBuf,
    config: NodeConfig,
    environment: Vec<(String, String)>,
    operator: OperatorClient,
    process: Mutex<Option<Process>>,
    retired: AtomicBool,
}

impl Node {
    pub(super) fn new(
        number: usize,
        folder: &Path,
        config: NodeConfig,
        environment: Vec<(String, String)>,
        operator: OperatorClient,
    ) -> Self {
        let config_path = folder.join(format!("node-{number}.toml"));
        let folder = folder.to_owned();
        Self {
            number,
            folder,
            config_path,
            config,
            environment,
            operator,
            process: Mutex::new(None),
            retired: AtomicBool::new(false),
        }
    }

    pub(super) fn write_config(&self, extra: &[String]) -> anyhow::Result<()> {
        self.config.write(&self.config_path, extra)
    }

    /// Its number in the cluster, from 1.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Address of its door for gateways.
    pub fn gateway_address(&self) -> &str {
        &self.config.listen.gateway
    }

    /// Address of its door for peers.
    pub fn peer_address(&self) -> &str {
        &self.config.listen.peer
    }

    /// Address of its door for operators.
    pub fn operator_address(&self) -> &str {
        &self.config.listen.operator
    }

    /// Address of its plain pages.
    pub fn plain_address(&self) -> &str {
        &self.config.listen.plain
    }

    /// Its data folder.
    pub fn data_dir(&self) -> &Path {
        &self.config.data_dir
    }

    /// Its configuration file.
    pub fn config_path(&self) -> &Path {
        &self.config_path
    }

    /// The file it logs to.
    pub fn log(&self) -> PathBuf {
        self.folder.join(format!("node-{}.log", self.number))
    }

    /// An operator's connection to it.
    pub fn operator(&self) -> &OperatorClient {
        &self.operator
    }

    /// Starts it; it may already run. An error where it is retired.
    pub fn start(&self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.is_retired(), "node {} is retired", self.number);
        let mut process = self.process.lock();
        if process.as_mut().is_some_and(|process| process.ended().is_none()) {
            return Ok(());
        }
        let name = format!("node-{}", self.number);
        let config = self.config_path.to_string_lossy();
        *process = Some(Process::start(&name, ["node", "--config", &config], &self.log(), &self.environment)?);
        Ok(())
    }

    /// Its process id, while it runs.
    pub fn process_id(&self) -> Option<u32> {
        self.process.lock().as_ref().map(Process::id)
    }

    /// True where its process was started and has not ended.
    pub fn runs(&self) -> bool {
        self.process.lock().as_mut().is_some_and(|process| process.ended().is_none())
    }

    /// An error with its last words, where it was started and ended by itself.
    pub fn assert_alive(&self) -> anyhow::Result<()> {
        if let Some(process) = self.process.lock().as_mut()
            && let Some(status) = process.ended()
        {
            anyhow::bail!("node {} ended by itself with {status}\n{}", self.number, process.last_words());
        }
        Ok(())
    }

    /// kill -9, and waits until it is gone.
    pub fn kill9(&self) {
        if let Some(mut process) = self.process.lock().take() {
            process.kill();
        }
    }

    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        self.kill9();
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// SIGTERM: the node drains and ends; see [`Node::runs`].
    pub fn terminate(&self) -> anyhow::Result<()> {
        self.process.lock().as_ref().context("not running")?.terminate()
    }

    /// SIGSTOP.
    pub fn stop(&self) -> anyhow::Result<()> {
        self.process.lock().as_ref().context("not running")?.stop()
    }

    /// SIGCONT.
    pub fn cont(&self) -> anyhow::Result<()> {
        self.process.lock().as_ref().context("not running")?.cont()
    }

    /// Removes everything it ever wrote to its disk; it must not run.
    pub fn wipe(&self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.runs(), "node {} runs", self.number);
        match std::fs::remove_dir_all(self.data_dir()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Fetches a page of the plain listener, for example `/readyz` or `/metrics`: status and body.
    pub async fn page(&self, path: &str) -> anyhow::Result<(u16, String)> {
        let fetch = async {
            let mut stream = TcpStream::connect(self.plain_address()).await?;
            let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.plain_address());
            stream.write_all(request.as_bytes()).await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await?;
            let answer = String::from_utf8_lossy(&answer).into_owned();
            let (head, body) = answer.split_once("\r\n\r\n").context("an answer without a body")?;
            let status = head.split(' ').nth(1).context("an answer without a status")?.parse()?;
            Ok((status, body.to_owned()))
        };
        tokio::time::timeout(PLAIN_TIMEOUT, fetch).await.with_context(|| format!("{path}: no answer"))?
    }
}
