//! The node's configuration: one TOML file, parsed once, unknown keys refused. `node.example.toml` lists every option.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use switch_consensus::{Timing, snapshot::SnapshotPolicy};
use thiserror::Error;

use crate::{
    door::peer::Realm,
    keyring::KeyPolicy,
    security::tls::{self, TlsFiles},
    telemetry::TraceOptions,
};

/// Everything a node is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of the cluster, part of every node's SPIFFE id.
    pub cluster: String,
    /// SPIFFE trust domain.
    pub trust_domain: String,
    /// Folder of the log, the table and the identity. Must survive a restart; a lost one makes this a new node.
    pub data_dir: PathBuf,
    /// Free bytes of the data folder's disk below which no new payment is opened here; answers, time-outs and acknowledgements
    /// still commit (R23).
    #[serde(default = "one_gibibyte")]
    pub disk_reserve_bytes: u64,
    /// True lets a node with an empty disk form a cluster with its peers, once every one of them says that it is empty too.
    #[serde(default)]
    pub bootstrap: bool,
    /// Voters up to which the leader promotes learners by itself, until that number was reached once.
    #[serde(default = "three")]
    pub initial_voters: u32,
    /// Peer listeners of the nodes this one starts with, its own among them.
    pub peers: Vec<String>,
    /// Where to listen.
    pub listen: Listen,
    /// Where others reach this node, where that differs from `listen`.
    #[serde(default)]
    pub advertise: Advertise,
    /// Certificates.
    pub tls: Tls,
    /// Keys of the cluster.
    pub keys: Keys,
    /// Timing of elections and snapshots.
    #[serde(default)]
    pub consensus: Consensus,
    /// Logging.
    #[serde(default)]
    pub log: Log,
    /// Traces.
    #[serde(default)]
    pub traces: TraceOptions,
}

/// Listeners, one a plane.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// For gateways.
    pub gateway: SocketAddr,
    /// For the other nodes.
    pub peer: SocketAddr,
    /// For operators.
    pub operator: SocketAddr,
    /// Plain HTTP: `/livez`, `/readyz`, `/startupz`, `/metrics`, and nothing else.
    pub plain: SocketAddr,
}

/// Advertised addresses, `host:port`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Advertise {
    /// For gateways.
    pub gateway: Option<String>,
    /// For the other nodes.
    pub peer: Option<String>,
    /// For operators.
    pub operator: Option<String>,
}

/// Certificates, one set a plane.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The door for gateways.
    pub gateway: Plane,
    /// Between nodes.
    pub peer: Plane,
    /// The door for operators.
    pub operator: Plane,
    /// Towards card networks.
    pub link: Plane,
    /// Milliseconds between two looks at the files, whatever the system says of their folders.
    #[serde(default = "tls_poll_ms")]
    pub poll_ms: u64,
}

/// The files are looked at this often at least: open connections of a revoked certificate are cut within a minute.
const TLS_POLL_MAX: Duration = Duration::from_secs(30);

/// Certificate, key and roots of one plane; PEM files, read again when they change.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plane {
    /// Certificate chain, leaf first.
    pub certificate: PathBuf,
    /// Private key of the leaf.
    pub key: PathBuf,
    /// Roots of the other side.
    pub roots: PathBuf,
    /// Revocation lists; with one, everything in a chain must be covered.
    #[serde(default)]
    pub revocation_lists: Vec<PathBuf>,
}

/// Keys of the cluster.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// Folder with `wrapping-<version>.key`, `token-<version>.key` and `fingerprint-<version>.key`, the same on every node.
    pub directory: PathBuf,
    /// Days after which the leader makes a new key for card data that is kept.
    #[serde(default = "thirty")]
    pub card_key_days: u32,
    /// Days after which the leader makes a new key for gateways to seal to.
    #[serde(default = "ninety")]
    pub sealing_key_days: u32,
    /// Days for which gateways may go on using the sealing key before the newest one.
    #[serde(default = "seven")]
    pub sealing_overlap_days: u32,
}

/// Timing of elections and snapshots.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Consensus {
    /// Between two heartbeats, milliseconds.
    pub heartbeat_ms: u64,
    /// Shortest silence before an election, milliseconds.
    pub election_min_ms: u64,
    /// Longest, milliseconds.
    pub election_max_ms: u64,
    /// A snapshot is taken after this much log, bytes.
    pub snapshot_log_bytes: u64,
    /// Or after this much time with changes, seconds.
    pub snapshot_age_s: u64,
    /// Entries of the log that are kept behind a snapshot.
    pub keep_entries: u64,
    /// Bytes of the log that are kept behind a snapshot.
    pub keep_bytes: u64,
}

impl Default for Consensus {
    fn default() -> Self {
        let (timing, snapshots) = (Timing::default(), SnapshotPolicy::default());
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            heartbeat_ms: ms(timing.heartbeat),
            election_min_ms: ms(timing.election_min),
            election_max_ms: ms(timing.election_max),
            snapshot_log_bytes: snapshots.bytes,
            snapshot_age_s: snapshots.age.as_secs(),
            keep_entries: snapshots.keep_entries,
            keep_bytes: snapshots.keep_bytes,
        }
    }
}

/// Logging.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,switch_node=debug`.
    pub level: String,
    /// `text` or `json`.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Text }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

const fn tls_poll_ms() -> u64 {
    tls::POLL.as_millis() as u64
}

const fn three() -> u32 {
    3
}

const fn thirty() -> u32 {
    30
}

const fn ninety() -> u32 {
    90
}

const fn seven() -> u32 {
    7
}

const fn one_gibibyte() -> u64 {
    1 << 30
}

/// Why a configuration cannot be used. Whoever wrote the file must act.
#[derive(Debug, Error)]
pub enum ConfigFault {
    /// The file cannot be read.
    #[error("configuration {path}: {error}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It is no TOML, lacks an option, or has one that does not exist.
    #[error("configuration {path}: {error}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What and where.
        error: toml::de::Error,
    },
    /// Two options do not go together.
    #[error("configuration {path}: {reason}")]
    Conflict {
        /// The file.
        path: PathBuf,
        /// Both options with their values.
        reason: String,
    },
}

impl Config {
    /// Reads and checks a file. Relative paths in it are relative to its folder.
    ///
    /// # Errors
    /// [`ConfigFault`].
    pub fn load(path: &Path) -> Result<Self, ConfigFault> {
        let text =
            fs::read_to_string(path).map_err(|error| ConfigFault::Unreadable { path: path.to_owned(), error })?;
        let mut config: Self =
            toml::from_str(&text).map_err(|error| ConfigFault::Malformed { path: path.to_owned(), error })?;
        config.resolve(path.parent().unwrap_or(Path::new(".")));
        config.check().map_err(|reason| ConfigFault::Conflict { path: path.to_owned(), reason })?;
        Ok(config)
    }

    fn resolve(&mut self, folder: &Path) {
        let tls = &mut self.tls;
        let planes = [&mut tls.gateway, &mut tls.peer, &mut tls.operator, &mut tls.link];
        let files = planes.into_iter().flat_map(|plane| {
            [&mut plane.certificate, &mut plane.key, &mut plane.roots].into_iter().chain(&mut plane.revocation_lists)
        });
        for file in files.chain([&mut self.data_dir, &mut self.keys.directory]) {
            *file = folder.join(&*file);
        }
    }

    fn check(&self) -> Result<(), String> {
        let own = self.peer_address();
        if !self.peers.is_empty() && !self.peers.contains(&own) {
            return Err(format!("peers = {:?} does not hold this node's own peer address {own:?}", self.peers));
        }
        if self.bootstrap && self.peers.is_empty() {
            return Err("bootstrap = true needs peers".into());
        }
        let keys = &self.keys;
        if keys.card_key_days == 0 || keys.sealing_key_days == 0 || keys.sealing_overlap_days == 0 {
            return Err(format!(
                "card_key_days = {}, sealing_key_days = {}, sealing_overlap_days = {}: none may be 0",
                keys.card_key_days, keys.sealing_key_days, keys.sealing_overlap_days
            ));
        }
        if self.tls.poll_ms == 0 || self.tls.poll() > TLS_POLL_MAX {
            return Err(format!("tls.poll_ms = {}: must be 1 to {}", self.tls.poll_ms, TLS_POLL_MAX.as_millis()));
        }
        if !(0.0..=1.0).contains(&self.traces.ratio) {
            return Err(format!("traces.ratio = {}: a share is 0 to 1", self.traces.ratio));
        }
        let consensus = &self.consensus;
        if consensus.election_min_ms <= 2 * consensus.heartbeat_ms
            || consensus.election_max_ms <= consensus.election_min_ms
        {
            return Err(format!(
                "heartbeat_ms = {}, election_min_ms = {}, election_max_ms = {}: the silence must be longer than two \
                 heartbeats and its bounds apart",
                consensus.heartbeat_ms, consensus.election_min_ms, consensus.election_max_ms
            ));
        }
        Ok(())
    }

    /// Where the other nodes reach this one.
    pub fn peer_address(&self) -> String {
        self.advertise.peer.clone().unwrap_or_else(|| self.listen.peer.to_string())
    }

    /// Where gateways reach this node.
    pub fn gateway_address(&self) -> String {
        self.advertise.gateway.clone().unwrap_or_else(|| self.listen.gateway.to_string())
    }

    /// Where operators reach this node.
    pub fn operator_address(&self) -> String {
        self.advertise.operator.clone().unwrap_or_else(|| self.listen.operator.to_string())
    }

    /// Whose identities this node understands.
    pub fn realm(&self) -> Realm {
        Realm { trust_domain: self.trust_domain.clone(), cluster: self.cluster.clone() }
    }

    /// How long data keys are used.
    pub fn key_policy(&self) -> KeyPolicy {
        let days = |days: u32| Duration::from_secs(u64::from(days) * 24 * 3_600);
        KeyPolicy {
            card_period: days(self.keys.card_key_days),
            sealing_period: days(self.keys.sealing_key_days),
            sealing_overlap: days(self.keys.sealing_overlap_days),
        }
    }

    /// Timing for the consensus group.
    pub fn timing(&self) -> Timing {
        let ms = Duration::from_millis;
        Timing {
            heartbeat: ms(self.consensus.heartbeat_ms),
            election_min: ms(self.consensus.election_min_ms),
            election_max: ms(self.consensus.election_max_ms),
            ..Timing::default()
        }
    }

    /// Snapshots for the consensus group.
    pub fn snapshots(&self) -> SnapshotPolicy {
        SnapshotPolicy {
            bytes: self.consensus.snapshot_log_bytes,
            age: Duration::from_secs(self.consensus.snapshot_age_s),
            keep_entries: self.consensus.keep_entries,
            keep_bytes: self.consensus.keep_bytes,
        }
    }
}

impl Tls {
    /// Between two looks at the files.
    pub fn poll(&self) -> Duration {
        Duration::from_millis(self.poll_ms)
    }
}

impl Plane {
    /// As the TLS material wants it.
    pub fn files(&self) -> TlsFiles {
        TlsFiles {
            certificates: self.certificate.clone(),
            key: self.key.clone(),
            roots: self.roots.clone(),
            revocation_lists: self.revocation_lists.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_a_configuration() {
        let config = Config::load(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/node.example.toml"))).expect("loads");
        assert_eq!(config.initial_voters, 3);
        assert_eq!(config.consensus.heartbeat_ms, 100);
    }

    #[test]
    fn unknown_options_and_conflicts_name_themselves() {
        let example =
            fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/node.example.toml")).expect("the example");
        let folder = tempfile::tempdir().expect("a folder");
        let load = |text: String| {
            let path = folder.path().join("node.toml");
            fs::write(&path, text).expect("written");
            Config::load(&path).expect_err("refused").to_string()
        };
        assert!(load(format!("colour = 1\n{example}")).contains("colour"));
        let tight = example.replace("election_min_ms = 500", "election_min_ms = 150");
        assert!(load(tight).contains("election_min_ms = 150"));
        let seldom = example.replace("poll_ms = 5000", "poll_ms = 30001");
        assert!(load(seldom).contains("tls.poll_ms = 30001"));
        let often = example.replace("ratio = 0.01", "ratio = 1.5");
        assert!(load(often).contains("traces.ratio = 1.5"));
        let never = example.replace("card_key_days = 30", "card_key_days = 0");
        assert!(load(never).contains("card_key_days = 0"));
    }
}
