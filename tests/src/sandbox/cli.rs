//! `dev sandbox`: the simulator as a process.

use std::{io::Write, net::SocketAddr, path::PathBuf, str::FromStr};

use anyhow::Context;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::{NetworkOptions, Policy, SandboxOptions, Tls, proto, run};

/// Simulates card networks.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// A network and where it listens; repeat for each.
    #[arg(long = "network", value_name = "NAME=ADDRESS", required = true)]
    networks: Vec<Named<SocketAddr>>,

    /// The certificate chain of a network, PEM.
    #[arg(long = "certificate", value_name = "NAME=FILE")]
    certificates: Vec<Named<PathBuf>>,

    /// The key of a network, PEM.
    #[arg(long = "key", value_name = "NAME=FILE")]
    keys: Vec<Named<PathBuf>>,

    /// The authorities that issue the switch's certificates, PEM.
    #[arg(long, value_name = "FILE", required_unless_present = "insecure")]
    authorities: Option<PathBuf>,

    /// Serve without TLS, for a sandbox that only its own tests talk to.
    #[arg(long, conflicts_with_all = ["authorities", "certificates", "keys"])]
    insecure: bool,

    /// Where the control service listens, on loopback.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8099")]
    control: SocketAddr,

    /// Where the books are written at the end and on request, JSON lines.
    #[arg(long, value_name = "FILE")]
    books: Option<PathBuf>,

    /// A network in which a reversal that comes first kills its original; repeat for each.
    #[arg(long = "reversal-first-kills", value_name = "NAME")]
    reversal_first_kills: Vec<String>,

    /// How much more than approved may be captured, in basis points.
    #[arg(long, default_value_t = 0)]
    capture_tolerance_basis_points: u32,

    /// Added to every answer, in milliseconds.
    #[arg(long, default_value_t = 0)]
    latency_ms: u32,

    /// Added on top by chance, in milliseconds at most.
    #[arg(long, default_value_t = 0)]
    jitter_ms: u32,

    /// How late the answer to a "late" test card is, in milliseconds.
    #[arg(long, default_value_t = 5_000)]
    late_ms: u32,

    /// Seed of chance; the second network takes the next number, and so on.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// `NAME=VALUE`.
#[derive(Debug, Clone)]
struct Named<T> {
    name: String,
    value: T,
}

impl<T: FromStr<Err: std::fmt::Display>> FromStr for Named<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not NAME=VALUE"))?;
        let value = value.parse().map_err(|error| format!("{value:?}: {error}"))?;
        Ok(Self { name: name.into(), value })
    }
}

impl Args {
    /// As options; fails where a network lacks its certificate or a name is no network's.
    pub fn options(self) -> anyhow::Result<SandboxOptions> {
        let known = |name: &str| self.networks.iter().any(|network| network.name == name);
        let named = self.certificates.iter().chain(&self.keys).map(|named| &named.name);
        if let Some(stranger) = named.chain(&self.reversal_first_kills).find(|name| !known(name)) {
            anyhow::bail!("no network is called {stranger:?}");
        }
        let conduct = proto::Conduct {
            latency_ms: self.latency_ms,
            jitter_ms: self.jitter_ms,
            late_ms: self.late_ms,
            ..Default::default()
        };
        let file = |files: &[Named<PathBuf>], name: &str, what: &str| {
            let file = files.iter().find(|file| file.name == name).map(|file| file.value.clone());
            file.with_context(|| format!("network {name:?} has no {what}"))
        };
        let mut networks = Vec::new();
        for (network, seed) in self.networks.iter().zip(self.seed..) {
            let name = network.name.clone();
            let tls = match &self.authorities {
                None => Tls::Insecure,
                Some(authorities) => Tls::Mutual {
                    certificate: file(&self.certificates, &name, "--certificate")?,
                    key: file(&self.keys, &name, "--key")?,
                    authorities: authorities.clone(),
                },
            };
            let policy = Policy {
                reversal_first_kills_original: self.reversal_first_kills.contains(&name),
                capture_tolerance_basis_points: self.capture_tolerance_basis_points,
            };
            networks.push(NetworkOptions { name, address: network.value, tls, policy, seed, conduct });
        }
        Ok(SandboxOptions { networks, control: Some(self.control), books: self.books })
    }
}

/// Serves until SIGINT or SIGTERM. The first line on stdout says, as JSON, where; from then on connections are taken.
pub async fn main(args: Args) -> anyhow::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let running = run(args.options()?).await?;
    let networks: serde_json::Map<_, _> =
        running.networks().map(|(name, address)| (name.into(), address.to_string().into())).collect();
    let ready = json!({ "control": running.control().map(|address| address.to_string()), "networks": networks });
    writeln!(std::io::stdout(), "{ready}")?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    let lines = running.stop().await?;
    tracing::info!(lines, "sandbox stopped");
    Ok(())
}
