//! The configuration file of a node, as the harness writes it.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;
use toml::{Table, Value};

use crate::channel::TlsFiles;

#[derive(Debug, Clone, Serialize)]
pub(super) struct NodeConfig {
    pub(super) cluster: String,
    pub(super) trust_domain: String,
    pub(super) data_dir: PathBuf,
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
    /// Writes the file, with the options of `extra` in the place of its own.
    pub(super) fn write(&self, path: &Path, extra: &[String]) -> anyhow::Result<()> {
        let mut config = Table::try_from(self)?;
        for options in extra {
            overlay(&mut config, options.parse().with_context(|| format!("not TOML: {options}"))?);
        }
        Ok(std::fs::write(path, toml::to_string(&config)?)?)
    }
}

/// Puts every option over that of the same name, table by table.
fn overlay(config: &mut Table, options: Table) {
    for (name, option) in options {
        match (config.get_mut(&name), option) {
            (Some(Value::Table(under)), Value::Table(over)) => overlay(under, over),
            (_, option) => drop(config.insert(name, option)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_go_into_their_table_beside_those_that_stand_there() {
        let mut config: Table = "a = 1\n[consensus]\nheartbeat_ms = 100\nkeep = 2".parse().expect("TOML");
        overlay(&mut config, "b = 3\n[consensus]\nheartbeat_ms = 50\n[log]\nlevel = 'warn'".parse().expect("TOML"));
        let all = "a = 1\nb = 3\n[consensus]\nheartbeat_ms = 50\nkeep = 2\n[log]\nlevel = 'warn'";
        assert_eq!(config, all.parse().expect("TOML"));
    }
}
