//! The configuration file of a node, as the harness writes it.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::channel::TlsFiles;

#[derive(Debug, Clone, Serialize)]
pub(super) struct NodeConfig {
    pub(super) cluster: String,
    pub(super) trust_domain: String,
    pub(super) data_dir: PathBuf,
    pub(super) environment: String,
    pub(super) bootstrap: bool,
    pub(super) initial_voters: usize,
    pub(super) peers: Vec<String>,
    pub(super) listen: Listen,
    pub(super) tls: Tls,
    pub(super) keys: Keys,
    pub(super) consensus: Consensus,
    pub(super) log: Log,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Listen {
    pub(super) gateway: String,
    pub(super) peer: String,
    pub(super) operator: String,
    pub(super) plain: String,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Tls {
    pub(super) gateway: TlsFiles,
    pub(super) peer: TlsFiles,
    pub(super) operator: TlsFiles,
    pub(super) link: TlsFiles,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Keys {
    pub(super) directory: PathBuf,
}

/// How fast a cluster notices that its leader is gone.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Consensus {
    pub(super) heartbeat_ms: u64,
    pub(super) election_min_ms: u64,
    pub(super) election_max_ms: u64,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Log {
    pub(super) level: String,
    pub(super) format: String,
}

impl NodeConfig {
    /// Writes the file with `extra` lines behind it: whole tables, since they follow the last one.
    pub(super) fn write(&self, path: &Path, extra: &str) -> anyhow::Result<()> {
        Ok(std::fs::write(path, format!("{}\n{extra}\n", toml::to_string(self)?))?)
    }
}
