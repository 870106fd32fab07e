//! The card networks of a cluster: one process of the simulator, and its control service.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use parking_lot::Mutex;
use tonic::transport::{Channel, Endpoint};

use super::{directory::Timing, process::Process};
use crate::{
    auditor::evidence::Books,
    eventually::eventually,
    pki::{Pki, Plane},
    sandbox::proto::{self as pb, Mode, sandbox_control_service_client::SandboxControlServiceClient},
};

/// Names of the networks. In the first a reversal that comes first kills its original, in the second it does not (R21).
pub const NETWORKS: [&str; 2] = ["aurora", "borealis"];

const CONTROL_PORT: u16 = 9100;
const START_WITHIN: Duration = Duration::from_secs(20);

/// The simulator as a process. Its books live in its memory: it is never killed while a cluster is judged.
#[derive(Debug)]
pub struct Sandbox {
    control: String,
    args: Vec<String>,
    log: PathBuf,
    process: Mutex<Option<Process>>,
}

impl Sandbox {
    pub(super) async fn start(folder: &Path, host: Ipv4Addr, pki: &Pki, timing: Timing) -> anyhow::Result<Self> {
        let control = format!("{host}:{CONTROL_PORT}");
        let path = |path: &Path| path.to_string_lossy().into_owned();
        let mut args = vec![
            "sandbox".to_owned(),
            "--authorities".to_owned(),
            path(pki.root(Plane::Networks)),
            "--control".to_owned(),
            control.clone(),
            "--books".to_owned(),
            path(&folder.join("books.jsonl")),
            "--reversal-first-kills".to_owned(),
            NETWORKS[0].to_owned(),
            "--late-ms".to_owned(),
            timing.late().as_millis().to_string(),
        ];
        for (name, address, host) in addresses(host) {
            let issued = pki.network_server(&name, &[&host])?;
            args.extend(["--network".to_owned(), format!("{name}={address}")]);
            args.extend(["--certificate".to_owned(), format!("{name}={}", path(&issued.certificate))]);
            args.extend(["--key".to_owned(), format!("{name}={}", path(&issued.key))]);
        }
        let log = folder.join("sandbox.log");
        let process = Mutex::new(Some(Process::start("sandbox", &args, &log, &[])?));
        let own = Self { control, args, log, process };
        own.answers().await?;
        Ok(own)
    }

    /// Where its control service listens.
    pub fn control_address(&self) -> &str {
        &self.control
    }

    /// Its control service.
    pub fn control(&self) -> SandboxControl {
        SandboxControl::new(&self.control)
    }

    /// kill -9. Its books are gone with it.
    pub fn kill9(&self) {
        if let Some(mut process) = self.process.lock().take() {
            process.kill();
        }
    }

    /// Starts it again, with empty books.
    pub async fn restart(&self) -> anyhow::Result<()> {
        self.kill9();
        *self.process.lock() = Some(Process::start("sandbox", &self.args, &self.log, &[])?);
        self.answers().await
    }

    async fn answers(&self) -> anyhow::Result<()> {
        let asked = eventually(START_WITHIN, "the sandbox answers", || async {
            if let Some(process) = self.process.lock().as_mut()
                && let Some(status) = process.ended()
            {
                return Err(format!("it ended with {status}; {}", process.last_words()));
            }
            self.control().status().await.map_err(|error| format!("{error:#}"))
        });
        asked.await.map(drop)
    }
}

/// Names, addresses and TLS names of the networks on `host`.
pub(super) fn addresses(host: Ipv4Addr) -> Vec<(String, String, String)> {
    let ports = CONTROL_PORT + 1..;
    NETWORKS
        .iter()
        .zip(ports)
        .map(|(name, port)| ((*name).to_owned(), format!("{host}:{port}"), host.to_string()))
        .collect()
}

/// A connection to the control service.
#[derive(Debug, Clone)]
pub struct SandboxControl {
    client: SandboxControlServiceClient<Channel>,
}

impl SandboxControl {
    /// Connects to `address` when it is first used.
    pub fn new(address: &str) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address makes a URI");
        let channel = endpoint.connect_timeout(Duration::from_secs(2)).connect_lazy();
        // A page of books is large.
        let client = SandboxControlServiceClient::new(channel).max_decoding_message_size(64 * 1024 * 1024);
        Self { client }
    }

    /// What each network is doing.
    pub async fn status(&self) -> anyhow::Result<Vec<pb::NetworkStatus>> {
        let asked = self.client.clone().get_status(pb::GetStatusRequest {}).await?;
        Ok(asked.into_inner().networks)
    }

    /// Changes how `network` (all for none) treats its peers.
    pub async fn mode(&self, network: Option<&str>, mode: Mode) -> anyhow::Result<()> {
        self.set(network, mode, None).await
    }

    /// Changes how often `network` (all for none) misbehaves by itself.
    pub async fn conduct(&self, network: Option<&str>, conduct: pb::Conduct) -> anyhow::Result<()> {
        self.set(network, Mode::Unspecified, Some(conduct)).await
    }

    async fn set(&self, network: Option<&str>, mode: Mode, conduct: Option<pb::Conduct>) -> anyhow::Result<()> {
        let network = network.unwrap_or_default().to_owned();
        self.client.clone().set_mode(pb::SetModeRequest { network, mode: mode.into(), conduct }).await?;
        Ok(())
    }

    /// Writes the books into the folder of the cluster, as JSON lines.
    pub async fn dump(&self) -> anyhow::Result<String> {
        Ok(self.client.clone().dump_books(pb::DumpBooksRequest {}).await?.into_inner().path)
    }

    /// N: the books of every network.
    pub async fn books(&self) -> anyhow::Result<Vec<Books>> {
        let names = self.status().await?.into_iter().map(|status| status.network);
        let mut all: Vec<Books> = names.map(|network| Books { network: network.into(), ..Books::default() }).collect();
        let request = pb::GetBooksRequest { network: String::new(), summary: false };
        let mut pages = self.client.clone().get_books(request).await?.into_inner();
        while let Some(page) = pages.message().await? {
            for record in page.records {
                let books = all.iter_mut().find(|books| *books.network == *record.network);
                if let (Some(books), Some(entry)) = (books, record.entry) {
                    books.add(entry);
                }
            }
        }
        Ok(all)
    }
}
