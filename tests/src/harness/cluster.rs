//! The cluster as one thing: built, started, hurt, healed and judged.

use std::{os::unix::fs::OpenOptionsExt, path::Path, sync::LazyLock, time::Duration};

use anyhow::Context as _;
use futures::future::join_all;
use rand::Rng;
use switch_proto::operator::v1 as pb;

use super::{
    addresses::Addresses,
    config::{Consensus, Keys, Listen, Log, NodeConfig, Tls},
    context::Context,
    directory::{self, GATEWAYS, Timing},
    folder::Folder,
    mount,
    node::Node,
    operator::OperatorClient,
    sandbox::{self, Sandbox, SandboxControl},
};
use crate::{
    auditor::{self, Scope, collect, report::Report},
    channel::TlsFiles,
    eventually::eventually,
    gateway_client::{GatewayClient, Patience},
    history::History,
    needles::NEEDLES,
    pki::{Issued, Pki, Plane},
};

/// Longest until a cluster that has just been started, or healed, leads and serves.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Longest until everything that is owed is acknowledged, after the last payment and the last fault.
const REST_WITHIN: Duration = Duration::from_secs(120);

/// Level of the nodes' logs, in the words of tracing's `EnvFilter`.
const LOG: &str = "PAYSWITCH_LOG";

/// Everything that any crate says: all of it is searched for card data. Twenty kills of the leader under load make half a
/// gigabyte of it, and take no longer.
const EVERYTHING: &str = "trace";

/// What a node shows to whoever asks.
const PAGES: [&str; 4] = ["/metrics", "/readyz", "/livez", "/startupz"];

const CLUSTER: &str = "dev";
const TRUST_DOMAIN: &str = "payswitch.test";

type Edit = Box<dyn FnOnce(&mut pb::Directory) + Send>;

/// What a cluster shall be.
#[must_use = "a builder builds nothing before `start`"]
pub struct Builder {
    nodes: usize,
    with_sandbox: bool,
    timing: Timing,
    consensus: Consensus,
    log_level: String,
    extra_config: Vec<String>,
    environment: Vec<(String, String)>,
    edits: Vec<Edit>,
    folder: Option<std::path::PathBuf>,
    connections: usize,
    revocable: bool,
    mounted: bool,
}

impl Builder {
    /// Starts the sandbox networks too, and tells the directory of them.
    pub fn with_sandbox(mut self) -> Self {
        self.with_sandbox = true;
        self
    }

    /// How patient switch and networks are with each other.
    pub fn timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// Heartbeat and bounds of the election time-out, in milliseconds.
    pub fn election_ms(mut self, heartbeat: u64, min: u64, max: u64) -> Self {
        self.consensus = Consensus { heartbeat_ms: heartbeat, election_min_ms: min, election_max_ms: max };
        self
    }

    /// Level of the nodes' logs; unless said otherwise what PAYSWITCH_LOG says, else `trace`.
    pub fn log_level(mut self, level: &str) -> Self {
        level.clone_into(&mut self.log_level);
        self
    }

    /// Options for every node's configuration file, as TOML: they go into its tables, in the place of what stands there.
    pub fn config(mut self, options: &str) -> Self {
        self.extra_config.push(options.to_owned());
        self
    }

    /// A variable in the environment of every node.
    pub fn environment(mut self, key: &str, value: &str) -> Self {
        self.environment.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Changes the directory that the cluster starts with.
    pub fn directory(mut self, edit: impl FnOnce(&mut pb::Directory) + Send + 'static) -> Self {
        self.edits.push(Box::new(edit));
        self
    }

    /// Changes the profile of every network.
    pub fn networks(self, edit: impl Fn(&mut pb::Network) + Send + 'static) -> Self {
        self.directory(move |directory| directory.networks.iter_mut().for_each(edit))
    }

    /// Keeps everything in `folder` instead of a temporary one.
    pub fn folder(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_owned());
        self
    }

    /// Connections of each gateway client to each node.
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// Gives every plane of every node a revocation list, empty at first, for [`Pki::revoke`] to write anew.
    pub fn revocable(mut self) -> Self {
        self.revocable = true;
        self
    }

    /// Lets every node read its certificates from folders as Kubernetes mounts secrets; see [`Cluster::reissue`].
    pub fn mounted(mut self) -> Self {
        self.mounted = true;
        self
    }

    /// Starts everything and waits until it leads and serves.
    pub async fn start(self) -> anyhow::Result<Cluster> {
        let cluster = self.start_nodes().await?;
        cluster.ready().await?;
        cluster.apply_directory().await?;
        cluster.ready().await?;
        Ok(cluster)
    }

    /// Starts the processes and waits for nothing but the networks.
    pub async fn start_nodes(self) -> anyhow::Result<Cluster> {
        // Takes a moment, and the first error that a gateway is told may come while something is measured.
        LazyLock::force(&NEEDLES);
        let folder = match &self.folder {
            Some(path) => Folder::named(path)?,
            None => Folder::temporary()?,
        };
        let addresses = Addresses::pick()?;
        let pki = Pki::create(&folder.path().join("pki"), TRUST_DOMAIN, CLUSTER)?;
        write_keys(&folder.path().join("keys"))?;
        let mut extra_config = self.extra_config;
        if self.revocable {
            extra_config.push(revocation_lists(&pki)?);
        }
        let operator = pki.files(Plane::Operators, &pki.operator("ops")?);
        let mut gateways = Vec::new();
        for name in GATEWAYS {
            gateways.push((name.to_owned(), pki.files(Plane::Gateways, &pki.gateway(name)?)));
        }
        let mut sandbox = None;
        let mut networks = Vec::new();
        if self.with_sandbox {
            networks = sandbox::addresses(addresses.sandbox());
            sandbox = Some(Sandbox::start(folder.path(), addresses.sandbox(), &pki, self.timing).await?);
        }
        let mut directory = directory::default(&pki, &networks, self.timing);
        for edit in self.edits {
            edit(&mut directory);
        }
        let mut cluster = Cluster {
            nodes: Vec::new(),
            sandbox,
            history: History::default(),
            gateways,
            operator,
            directory,
            timing: self.timing,
            connections: self.connections,
            consensus: self.consensus,
            log_level: self.log_level,
            extra_config,
            environment: self.environment,
            initial_voters: self.nodes,
            mounted: self.mounted,
            pki,
            addresses,
            folder,
        };
        for number in 1..=self.nodes {
            let node = cluster.make_node(number, true)?;
            cluster.nodes.push(node);
        }
        for node in &cluster.nodes {
            node.start()?;
        }
        Ok(cluster)
    }
}

/// A running cluster. Dropping it kills its processes; its folder stays unless it ended well ([`Cluster::close`]).
pub struct Cluster {
    // Processes go before the folder they write to.
    nodes: Vec<Node>,
    sandbox: Option<Sandbox>,
    history: History,
    gateways: Vec<(String, TlsFiles)>,
    operator: TlsFiles,
    directory: pb::Directory,
    timing: Timing,
    connections: usize,
    consensus: Consensus,
    log_level: String,
    extra_config: Vec<String>,
    environment: Vec<(String, String)>,
    initial_voters: usize,
    mounted: bool,
    pki: Pki,
    addresses: Addresses,
    folder: Folder,
}

/// Who leads, and since which term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leader {
    /// Number of the node, from 1.
    pub node: usize,
    /// Term of its log.
    pub term: u64,
}

impl Cluster {
    /// A cluster of three.
    pub fn three() -> Builder {
        Self::of(3)
    }

    /// A cluster of `nodes`.
    pub fn of(nodes: usize) -> Builder {
        Builder {
            nodes,
            with_sandbox: false,
            timing: Timing::default(),
            consensus: Consensus { heartbeat_ms: 100, election_min_ms: 500, election_max_ms: 800 },
            log_level: std::env::var(LOG).unwrap_or_else(|_| EVERYTHING.to_owned()),
            extra_config: Vec::new(),
            environment: Vec::new(),
            edits: Vec::new(),
            folder: None,
            connections: 1,
            revocable: false,
            mounted: false,
        }
    }

    /// Its folder: data, logs, certificates.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its certificates, to issue more.
    pub fn pki(&self) -> &Pki {
        &self.pki
    }

    /// Its nodes, in order of their numbers.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Node `number`, from 1.
    pub fn node(&self, number: usize) -> &Node {
        &self.nodes[number - 1]
    }

    /// The sandbox networks' control; panics without them.
    pub fn networks(&self) -> SandboxControl {
        self.sandbox().control()
    }

    /// The sandbox process; panics without one.
    pub fn sandbox(&self) -> &Sandbox {
        self.sandbox.as_ref().expect("the cluster was built with_sandbox")
    }

    /// What every gateway of [`Cluster::gateway`] records.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// How patient switch and networks are with each other.
    pub fn timing(&self) -> Timing {
        self.timing
    }

    /// The directory that the cluster started with.
    pub fn directory(&self) -> &pb::Directory {
        &self.directory
    }

    /// Where to find it and with which certificates.
    pub fn context(&self) -> Context {
        Context {
            gateways_at: self.nodes.iter().map(|node| node.gateway_address().to_owned()).collect(),
            operators_at: self.nodes.iter().map(|node| node.operator_address().to_owned()).collect(),
            sandbox_at: self.sandbox.as_ref().map(|own| own.control_address().to_owned()).unwrap_or_default(),
            gateways: self.gateways.iter().cloned().collect(),
            operator: Some(self.operator.clone()),
            attempt_timeout_ms: u64::try_from(self.timing.attempt_timeout.as_millis()).unwrap_or(u64::MAX),
            folder: self.folder.path().to_owned(),
        }
    }

    /// A client of the gateway `name` (`shop` or `market`), recorded in [`Cluster::history`]; panics for another name.
    pub fn gateway(&self, name: &str) -> GatewayClient {
        let (_, tls) = self.gateways.iter().find(|(own, _)| own == name).expect("a gateway of the default directory");
        self.gateway_with(name, tls).expect("the harness issued its certificate")
    }

    /// A client under any certificate, recorded as `name`.
    pub fn gateway_with(&self, name: &str, tls: &TlsFiles) -> anyhow::Result<GatewayClient> {
        let addresses: Vec<String> = self.nodes.iter().map(|node| node.gateway_address().to_owned()).collect();
        let client = GatewayClient::new(name, &addresses, tls, self.connections, self.history.clone())?;
        Ok(client.with_patience(Patience { call: self.timing.call(), ..Patience::default() }))
    }

    /// The certificate of an operator.
    pub fn operator_tls(&self) -> &TlsFiles {
        &self.operator
    }

    /// The certificate of another operator: some things take two persons (R25).
    pub fn another_operator(&self, name: &str) -> anyhow::Result<TlsFiles> {
        Ok(self.pki.files(Plane::Operators, &self.pki.operator(name)?))
    }

    /// The certificate of a gateway of the default directory.
    pub fn gateway_tls(&self, name: &str) -> Option<&TlsFiles> {
        self.gateways.iter().find(|(own, _)| own == name).map(|(_, tls)| tls)
    }

    /// What each node says of the cluster; nothing for one that does not answer.
    pub async fn statuses(&self) -> Vec<Option<pb::GetStatusResponse>> {
        join_all(
            self.nodes
                .iter()
                .map(|node| async { if node.runs() { node.operator().status().await.ok() } else { None } }),
        )
        .await
    }

    /// Who leads: of those that think they do, the one in the latest term.
    pub async fn leader(&self) -> Option<Leader> {
        let claims = self.statuses().await.into_iter().zip(1..).filter_map(|(status, node)| {
            let status = status.filter(|status| status.leader_id != 0 && status.leader_id == status.node_id)?;
            Some(Leader { node, term: status.term })
        });
        claims.max_by_key(|leader| leader.term)
    }

    /// Waits until somebody leads.
    pub async fn wait_leader(&self, within: Duration) -> anyhow::Result<Leader> {
        eventually(within, "a leader", || self.leader()).await
    }

    /// Waits until a node other than `node` leads.
    pub async fn wait_other_leader(&self, node: usize, within: Duration) -> anyhow::Result<Leader> {
        let what = format!("a leader other than node {node}");
        eventually(within, &what, || async { self.leader().await.filter(|leader| leader.node != node) }).await
    }

    /// Waits until the nodes that run agree on a leader, all voters are known, and every link is in service.
    pub async fn ready(&self) -> anyhow::Result<()> {
        let ready = || async {
            if let Err(dead) = self.assert_alive() {
                return Ok(Err(dead));
            }
            self.looks_ready().await.map(Ok)
        };
        eventually(READY_WITHIN, "the cluster is ready", ready).await?
    }

    /// An error where a node ended by itself: there is nothing to wait for any more.
    fn assert_alive(&self) -> anyhow::Result<()> {
        self.nodes.iter().try_for_each(Node::assert_alive)
    }

    async fn looks_ready(&self) -> anyhow::Result<()> {
        let (statuses, running) = (self.statuses().await, self.nodes.iter().filter(|node| node.runs()).count());
        let statuses: Vec<_> = statuses.into_iter().flatten().collect();
        anyhow::ensure!(statuses.len() == running, "{} of {running} nodes answer", statuses.len());
        let leader = statuses.first().map_or(0, |status| status.leader_id);
        for status in &statuses {
            anyhow::ensure!(status.leader_id != 0, "node {} knows no leader", status.node_id);
            anyhow::ensure!(status.leader_id == leader, "leaders {} and {leader}", status.leader_id);
            let voters = status.members.iter().filter(|member| member.voter).count();
            anyhow::ensure!(voters >= self.initial_voters, "{voters} of {} voters", self.initial_voters);
            for link in &status.links {
                anyhow::ensure!(link.state == "IN_SERVICE", "link {} is {}", link.link_id, link.state);
            }
            let known = if status.directory_version == 0 { 0 } else { self.directory.links.len() };
            anyhow::ensure!(status.links.len() >= known, "{} of {known} links", status.links.len());
        }
        Ok(())
    }

    /// Puts the directory that was built. Repeating it changes nothing.
    pub async fn apply_directory(&self) -> anyhow::Result<u64> {
        let changes = directory::changes(self.directory.clone());
        self.change_directory("harness-1", changes).await
    }

    /// Changes the directory at whoever takes it, once for each `request_id`.
    pub async fn change_directory(&self, request_id: &str, changes: Vec<pb::DirectoryChange>) -> anyhow::Result<u64> {
        eventually(READY_WITHIN, "the directory is changed", || async {
            let mut said = "no node runs".to_owned();
            for node in self.nodes.iter().filter(|node| node.runs()) {
                match node.operator().apply(request_id, changes.clone()).await {
                    Ok(version) => return Ok(version),
                    Err(status) => said = format!("node {}: {:?} {}", node.number(), status.code(), status.message()),
                }
            }
            Err(said)
        })
        .await
    }

    /// Hands leadership to node `number`; gives the leader afterwards.
    pub async fn transfer(&self, number: usize) -> anyhow::Result<Leader> {
        let to = self.node(number).operator().status().await?.node_id;
        let leader = self.leader().await.context("nobody leads")?;
        self.node(leader.node).operator().transfer(to).await?;
        let what = format!("node {number} leads");
        let led = || async { self.leader().await.filter(|leader| leader.node == number) };
        eventually(READY_WITHIN, &what, led).await
    }

    /// Gives node `number` new certificates and keys of every plane, which it is to notice by itself.
    pub fn reissue(&self, number: usize) -> anyhow::Result<()> {
        self.issue(number).map(drop)
    }

    /// kill -9 of node `number`.
    pub fn kill9(&self, number: usize) {
        self.node(number).kill9();
    }

    /// SIGSTOP of node `number`.
    pub fn stop(&self, number: usize) -> anyhow::Result<()> {
        self.node(number).stop()
    }

    /// SIGCONT of node `number`.
    pub fn cont(&self, number: usize) -> anyhow::Result<()> {
        self.node(number).cont()
    }

    /// Starts node `number` again, from its disk.
    pub fn restart(&self, number: usize) -> anyhow::Result<()> {
        self.kill9(number);
        self.node(number).start()
    }

    /// kill -9 of every node, as close together as it goes.
    pub fn kill_all(&self) {
        std::thread::scope(|scope| {
            for node in &self.nodes {
                scope.spawn(|| node.kill9());
            }
        });
    }

    /// Starts every node that does not run and is not retired.
    pub fn start_all(&self) -> anyhow::Result<()> {
        self.staying().try_for_each(Node::start)
    }

    /// Kills node `number` for good: it is not started again, and neither waited for nor asked when the cluster is judged.
    pub fn retire(&self, number: usize) {
        self.node(number).retire();
    }

    /// Nodes that are not retired.
    fn staying(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| !node.is_retired())
    }

    /// Kills node `number` and removes everything it wrote to its disk.
    pub fn wipe(&self, number: usize) -> anyhow::Result<()> {
        self.kill9(number);
        self.node(number).wipe()
    }

    /// Adds a node with the next number that joins the others; it is started, not promoted.
    pub fn add_node(&mut self) -> anyhow::Result<usize> {
        let node = self.make_node(self.nodes.len() + 1, false)?;
        node.start()?;
        self.nodes.push(node);
        Ok(self.nodes.len())
    }

    /// Waits until nothing is under way and nothing is owed but what is parked, on every node alike that is not retired.
    pub async fn rest(&self) -> anyhow::Result<()> {
        let rests = || async {
            if let Err(dead) = self.assert_alive() {
                return Ok(Err(dead));
            }
            let statuses: Vec<_> = self.statuses().await.into_iter().flatten().collect();
            anyhow::ensure!(statuses.len() == self.staying().count(), "not every node answers");
            collect::at_rest(&statuses).map(Ok)
        };
        eventually(REST_WITHIN, "everything owed is acknowledged", rests).await?
    }

    /// Starts what does not run, waits for rest, and judges everything with every node that is not retired. The evidence stays in
    /// the folder.
    pub async fn audit(&self) -> anyhow::Result<Report> {
        self.start_all()?;
        self.ready().await?;
        self.rest().await?;
        let operators: Vec<OperatorClient> = self.staying().map(|node| node.operator().clone()).collect();
        let sandbox = self.sandbox.as_ref().map(Sandbox::control);
        let evidence = collect::evidence(&self.history, &operators, sandbox.as_ref()).await?;
        let report = auditor::audit(&evidence, Scope::Everything);
        self.keep_evidence(&report).await?;
        Ok(report)
    }

    /// Writes the report into the folder, and H and N too where it is not `valid`.
    pub async fn keep_evidence(&self, report: &Report) -> anyhow::Result<()> {
        std::fs::write(self.folder().join("audit.json"), serde_json::to_vec_pretty(report)?)?;
        if report.is_valid() {
            return Ok(());
        }
        self.history.write_jsonl(&self.folder().join("history.jsonl"))?;
        if let Some(sandbox) = &self.sandbox {
            sandbox.control().dump().await?;
        }
        Ok(())
    }

    /// Audits, fails with the findings unless the verdict is `valid`, and closes.
    pub async fn judge(self) -> anyhow::Result<Report> {
        let report = self.audit().await?;
        anyhow::ensure!(report.is_valid(), "{}\nevidence in {}", report.in_words(), self.folder().display());
        Box::pin(self.close()).await?;
        Ok(report)
    }

    /// Ends everything, and fails where card data is found in what is left: every file of the folder, with no exception, the
    /// pages of every node that runs, and the errors that gateways were told. The folder is removed, unless
    /// PAYSWITCH_KEEP=1.
    pub async fn close(mut self) -> anyhow::Result<()> {
        let mut searched = self.history.errors();
        for node in self.nodes.iter().filter(|node| node.runs()) {
            for page in PAGES {
                let (_, text) = Box::pin(node.page(page)).await?;
                searched.text(&format!("{page} of node {}", node.number()), text.as_bytes());
            }
        }
        self.kill_all();
        let folder = self.folder().to_owned();
        let searched = tokio::task::spawn_blocking(move || searched.folder(&folder).map(|()| searched)).await??;
        eprintln!("{}", searched.in_words());
        searched.clean()?;
        self.folder.ended_well();
        Ok(())
    }

    fn make_node(&self, number: usize, bootstrap: bool) -> anyhow::Result<Node> {
        let name = format!("node-{number}");
        let host = self.addresses.node(number).to_string();
        let at = |port: u16| format!("{host}:{port}");
        let config = NodeConfig {
            cluster: CLUSTER.to_owned(),
            trust_domain: TRUST_DOMAIN.to_owned(),
            data_dir: self.folder.path().join(&name),
            bootstrap,
            initial_voters: self.initial_voters,
            peers: (1..=self.initial_voters.max(number)).map(|n| format!("{}:7002", self.addresses.node(n))).collect(),
            listen: Listen { gateway: at(7001), peer: at(7002), operator: at(7003), plain: at(7004) },
            tls: self.issue(number)?,
            keys: Keys { directory: self.folder.path().join("keys") },
            consensus: self.consensus,
            log: Log { level: self.log_level.clone(), format: "text".to_owned() },
        };
        let operator = OperatorClient::new(&config.listen.operator, &self.operator)?;
        let node = Node::new(number, self.folder.path(), config, self.environment.clone(), operator);
        node.write_config(&self.extra_config)?;
        Ok(node)
    }

    /// New certificates and keys of every plane for node `number`, in the files that its configuration names: written over them,
    /// or, where they are mounted, swapped.
    fn issue(&self, number: usize) -> anyhow::Result<Tls> {
        let (pki, name, host) = (&self.pki, format!("node-{number}"), self.addresses.node(number).to_string());
        let placed = |plane: Plane, issued: Issued| {
            let files = pki.files(plane, &issued);
            if !self.mounted {
                return Ok(files);
            }
            let folder = format!("{name}-{plane:?}").to_lowercase();
            mount::swap(&self.folder().join("mounts").join(folder), &files)
        };
        Ok(Tls {
            gateway: placed(Plane::Gateways, pki.gateway_door(&name, &[&host])?)?,
            peer: placed(Plane::Peers, pki.peer(&name, &[&host])?)?,
            operator: placed(Plane::Operators, pki.operator_door(&name, &[&host])?)?,
            link: placed(Plane::Networks, pki.link_client(&name)?)?,
        })
    }
}

/// Writes an empty revocation list of every plane; gives the options that name them.
fn revocation_lists(pki: &Pki) -> anyhow::Result<String> {
    let planes = [
        ("gateway", Plane::Gateways),
        ("peer", Plane::Peers),
        ("operator", Plane::Operators),
        ("link", Plane::Networks),
    ];
    let mut options = String::new();
    for (name, plane) in planes {
        let list = pki.revocation_list(plane)?;
        options.push_str(&format!("[tls.{name}]\nrevocation_lists = [{:?}]\n", list.display().to_string()));
    }
    Ok(options)
}

/// The cluster-wide keys (R7): 32 random bytes each, readable by their owner only.
fn write_keys(folder: &Path) -> anyhow::Result<()> {
    use std::io::Write;
    std::fs::create_dir_all(folder)?;
    for name in ["wrapping-1.key", "token-1.key", "fingerprint-1.key"] {
        let key: [u8; 32] = rand::rng().random();
        let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(folder.join(name))?;
        writeln!(file, "{digits}")?;
    }
    Ok(())
}
