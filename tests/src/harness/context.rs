//! Where a running cluster can be found, for programs that did not start it: a JSON file in its folder.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::{Timing, operator::OperatorClient};
use crate::{
    channel::TlsFiles,
    gateway_client::{GatewayClient, Patience},
    history::History,
};

/// Name of the file.
const FILE: &str = "context.json";

/// Addresses and certificates of a running cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// Doors for gateways, host:port.
    pub gateways_at: Vec<String>,
    /// Doors for operators, host:port.
    pub operators_at: Vec<String>,
    /// Control of the sandbox networks, host:port; empty without them.
    pub sandbox_at: String,
    /// Certificates of gateways, by name.
    pub gateways: BTreeMap<String, TlsFiles>,
    /// Certificate of an operator.
    pub operator: Option<TlsFiles>,
    /// How long the networks may take, in milliseconds.
    pub attempt_timeout_ms: u64,
    /// Folder of the cluster.
    pub folder: PathBuf,
}

impl Context {
    /// Reads the file that `dev` wrote into `folder`.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(FILE);
        let text = std::fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is no context", path.display()))
    }

    /// Writes the file into the cluster's folder and gives its path.
    pub fn write(&self) -> anyhow::Result<PathBuf> {
        let path = self.folder.join(FILE);
        std::fs::write(&path, serde_json::to_vec_pretty(self)?)?;
        Ok(path)
    }

    /// A client of the gateway `name`.
    pub fn gateway(&self, name: &str, connections: usize, history: History) -> anyhow::Result<GatewayClient> {
        let tls = self.gateways.get(name).with_context(|| format!("no certificate of a gateway {name:?}"))?;
        let client = GatewayClient::new(name, &self.gateways_at, tls, connections, history)?;
        let timing =
            Timing { attempt_timeout: std::time::Duration::from_millis(self.attempt_timeout_ms), ..Timing::default() };
        Ok(client.with_patience(Patience { call: timing.call(), ..Patience::default() }))
    }

    /// Operators' connections to every node; empty without a certificate.
    pub fn operators(&self) -> anyhow::Result<Vec<OperatorClient>> {
        let Some(tls) = &self.operator else { return Ok(Vec::new()) };
        self.operators_at.iter().map(|address| OperatorClient::new(address, tls)).collect()
    }
}
