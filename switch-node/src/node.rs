//! Wires everything and is used by nobody. [`Node::start`] takes a [`World`], real or simulated, and gives the message stacks;
//! [`serve`] puts real disks under it and real doors in front of it.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::Parser;
use switch_consensus::{
    DiskLog, Formation, Group, GroupOptions, GrpcWire, Identity, MemberRecord, Parts, StartError, form_or_join,
};
use switch_proto::{
    gateway::v1::{
        authorization_service_server::AuthorizationServiceServer,
        key_service_server::KeyServiceServer as SealingKeyServiceServer,
    },
    operator::v1::{
        audit_service_server::AuditServiceServer, cluster_service_server::ClusterServiceServer,
        directory_service_server::DirectoryServiceServer, key_service_server::KeyServiceServer,
        record_service_server::RecordServiceServer, reversal_service_server::ReversalServiceServer,
        transaction_service_server::TransactionServiceServer,
    },
    peer::v1::forward_service_server::ForwardServiceServer,
};
use tokio::{net::TcpListener, sync::watch, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::transport::Channel;
use tracing_subscriber::{EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{
    config::{Config, LogFormat},
    door::{
        self,
        acceptor::{self, Door},
        access::AccessLayer,
        count::CountLayer,
        peer::Role,
        trace::TraceLayer,
    },
    flow::{Flow, Gate},
    gateway::{
        keys::SealingKeys,
        layers::forward::LeaderWay,
        peers::{ForwardedCalls, GrpcForwardWire, Peers},
        service::{Gateways, MESSAGE_BYTES_MAX, in_words_of_the_table},
        stack::{self, Guards, Stack},
    },
    journal::{BookMachine, Journal, clock, shared::Shared},
    keyring::{Keeper, KeyPolicy},
    link::{GrpcConnector, Links, Settings},
    ops,
    outcome::{Conversations, Courier, expiry, in_doubt, retention, reversal, stray},
    security::{
        data_keys::DataKeys,
        keys::{FileKeys, KeyStore},
        tls::{
            self, TlsMaterial,
            connector::{ChannelOptions, TlsConnector, channel},
        },
        vault::Vault,
    },
    storage::FjallStore,
    telemetry::{self, ObservedWire, TimedLog, Traces},
    world::{Randomness as _, SystemClock, SystemRandom, World},
};

/// How long a node that is asked to stop may take: hand-over, conversations, calls.
const DRAIN_MAX: Duration = Duration::from_secs(75);

/// How long peers' calls may take to end once everything else has: their streams end only with the connection.
const PARTING_MAX: Duration = Duration::from_millis(500);

/// What a node is told beside its world.
pub struct NodeOptions {
    /// Who it is.
    pub identity: Identity,
    /// Timing and snapshots of the consensus group.
    pub group: GroupOptions,
    /// Random id of this start.
    pub boot: u64,
    /// Cluster keys.
    pub keys: Arc<dyn KeyStore>,
    /// How long data keys are used.
    pub key_policy: KeyPolicy,
    /// Settings of links; the seed of their pauses comes from the world.
    pub links: Settings,
    /// Term whose leader an operator found to be wrong where this replica differed from it (S11).
    pub distrusted_term: Option<u64>,
}

/// A running node, without doors.
pub struct Node {
    /// The journal.
    pub journal: Journal,
    /// The path.
    pub flow: Arc<Flow>,
    /// Links to card networks.
    pub links: Arc<Links>,
    /// The gate before every write.
    pub gate: Arc<Gate>,
    /// Conversations under way.
    pub conversations: Arc<Conversations>,
    /// The way to the leader, for what must be committed wherever it comes up.
    pub courier: Arc<dyn Courier>,
    /// Keeps the data keys.
    pub keeper: Arc<Keeper>,
    /// What the stacks count.
    pub guards: Guards,
    /// Stack for calls at this node's own door.
    pub own: Stack,
    /// Stack for calls that other nodes forward.
    pub forwarded: Stack,
    /// What lets calls enter while this node leads.
    pub way: Arc<dyn LeaderWay>,
    /// Whether new calls are served here.
    pub intake: Arc<watch::Sender<bool>>,
    /// Tasks of the node.
    pub tasks: TaskTracker,
}

impl Node {
    /// Starts a node in a world.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(world: World, options: NodeOptions) -> Result<Self, StartError> {
        let World { log, store, wire, forward, connector, wall, random, keep_identity, exit } = world;
        let tasks = TaskTracker::new();
        let shared = Shared::new(options.identity.node_id, options.boot);
        let reader = store.reader();
        let machine = BookMachine::open(store, shared.clone(), wall.clone(), options.distrusted_term)?;
        let parts = Parts { log, machine: Box::new(machine), wire, keep_identity, exit: exit.clone() };
        let group = Group::start(options.group, parts).await?;
        let journal = Journal::start(group, shared, reader, exit, &tasks);

        let conversations = Arc::new(Conversations::default());
        let (intake, takes) = watch::channel(true);
        let keys = Arc::new(DataKeys::new(options.keys, journal.shared().keyring.subscribe()));
        // Before anybody can ask: a cluster is formed of nodes that have the same wrapping keys.
        journal.group().declare(keys.held());
        let vault = Arc::new(Vault::new(keys.clone()));
        let peers = Peers::new(&journal, forward, vault.clone(), conversations.clone(), takes.clone());
        let courier: Arc<dyn Courier> = peers.clone();
        let gate = Arc::new(Gate::default());
        let (strays, stray_evidence) = stray::Strays::new();
        gate.attach(journal.clone(), strays.clone(), conversations.clone());
        let settings = Settings { jitter_seed: random.number(), ..options.links };
        let links = Arc::new(Links::new(connector, strays, gate.clone(), settings));

        tasks.spawn(stray::record(journal.clone(), courier.clone(), conversations.clone(), stray_evidence));
        tasks.spawn(in_doubt::watch(journal.clone(), courier.clone(), conversations.clone()));
        let keeper = Keeper::new(journal.clone(), keys.clone(), vault.clone(), options.key_policy);
        tasks.spawn(keeper.clone().run());
        tasks.spawn(reversal::run(journal.clone(), links.clone(), vault.clone()));
        tasks.spawn(expiry::run(journal.clone()));
        tasks.spawn(retention::run(journal.clone()));
        tasks.spawn(clock::watch(journal.clone(), wall));
        tasks.spawn(keep_links(journal.clone(), links.clone(), gate.clone()));

        let flow = Flow::new(
            journal.clone(),
            links.clone(),
            vault,
            courier.clone(),
            conversations.clone(),
            tasks.clone(),
            takes,
        );
        let guards = Guards::new(&flow, keys);
        Ok(Self {
            own: stack::own(flow.clone(), peers.clone(), &guards),
            way: peers,
            forwarded: stack::forwarded(flow.clone(), &guards),
            guards,
            keeper,
            journal,
            flow,
            links,
            gate,
            conversations,
            courier,
            intake: Arc::new(intake),
            tasks,
        })
    }
}

/// Keeps the links in step with the directory and with leadership, and lets a new reign dispatch.
async fn keep_links(journal: Journal, links: Arc<Links>, gate: Arc<Gate>) {
    let mut versions = journal.shared().directory_version.subscribe();
    let mut reigns = journal.watch_reign();
    let mut reigned = None;
    loop {
        versions.borrow_and_update();
        links.follow(&journal.standing().directory);
        let reign = *reigns.borrow_and_update();
        links.set_leading(reign.is_some());
        if reign != reigned {
            if reign.is_some() {
                gate.stop(false); // whatever was stopped belonged to an earlier term
            }
            reigned = reign;
        }
        tokio::select! {
            biased;
            changed = versions.changed() => if changed.is_err() { return },
            changed = reigns.changed() => if changed.is_err() { return },
        }
    }
}

/// A node of the payment switch.
#[derive(Debug, Parser)]
#[command(name = "switch-node", version, about)]
struct Args {
    /// Configuration file; every option stands in node.example.toml.
    #[arg(long, env = "PAYSWITCH_CONFIG")]
    config: PathBuf,

    /// Starts a node that stopped because it differed from the leader of this term. Only once the state hashes of the others
    /// have shown that it was that leader which was wrong; see "When replicas differ" in ARCHITECTURE.md.
    #[arg(long, value_name = "TERM")]
    distrust_term: Option<u64>,
}

/// Runs a node until it is asked to stop (SIGTERM, SIGINT). Exit codes: 0 stopped, 1 could not start, 2 usage.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    abort_on_panic();
    // A core dump would hold card data.
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Else every proposal would wake the consensus core at once, and nothing would be packed.
        .disable_lifo_slot()
        .build();
    let served = runtime.context("no runtime").and_then(|runtime| {
        runtime.block_on(async {
            let config = Config::load(&args.config)?;
            let traces = start_log(&config)?;
            let served = serve(config, args.distrust_term).await;
            if let Some(traces) = traces {
                let _ = tokio::task::spawn_blocking(move || traces.end()).await;
            }
            served
        })
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("switch-node: {error:#}\n").as_bytes());
            ExitCode::FAILURE
        }
    }
}

/// A panic is a bug, and a node that goes on after one is a guess: it ends, and another one leads. The message may name a place
/// in the code, never a value of a request.
fn abort_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, ToString::to_string);
        tracing::error!(place, "panic");
        let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("panic at {place}\n").as_bytes());
        std::process::abort();
    }));
}

/// The log on standard error, and the traces beside it, if there are any.
fn start_log(config: &Config) -> anyhow::Result<Option<Traces>> {
    let filter = EnvFilter::try_new(&config.log.level).context("log.level")?;
    let traces = Traces::start(&config.traces, &config.cluster, &config.peer_address()).context("traces.endpoint")?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let lines = match config.log.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let registry = tracing_subscriber::registry().with(lines.with_filter(filter));
    let set = match &traces {
        // Without traces no span is looked at twice.
        None => registry.try_init(),
        Some(traces) => registry.with(traces.layer()).try_init(),
    };
    set.map_err(|error| anyhow::anyhow!("log: {error}"))?;
    Ok(traces)
}

/// Material of every plane, kept fresh.
struct Planes {
    gateway: Arc<TlsMaterial>,
    peer: Arc<TlsMaterial>,
    operator: Arc<TlsMaterial>,
    link: Arc<TlsMaterial>,
}

impl Planes {
    fn load(config: &Config, stop: &CancellationToken, tasks: &TaskTracker) -> anyhow::Result<Self> {
        let load = |name: &'static str, plane: &crate::config::Plane| -> anyhow::Result<Arc<TlsMaterial>> {
            let material = TlsMaterial::load_observed(name, plane.files(), tls::counted(name))?;
            tasks.spawn(material.clone().watch(config.tls.poll(), stop.clone()));
            Ok(material)
        };
        let planes = &config.tls;
        Ok(Self {
            gateway: load("gateway", &planes.gateway)?,
            peer: load("peer", &planes.peer)?,
            operator: load("operator", &planes.operator)?,
            link: load("link", &planes.link)?,
        })
    }

    fn all(&self) -> Vec<Arc<TlsMaterial>> {
        [&self.gateway, &self.peer, &self.operator, &self.link].map(Arc::clone).to_vec()
    }
}

/// The host of `host:port`: what the other side's certificate must name.
fn host(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']'])
}

/// A channel that nothing answers, for an address that cannot be one.
fn nowhere() -> Channel {
    tonic::transport::Endpoint::from_static("http://127.0.0.1:1").connect_lazy()
}

/// Runs a node on real disks, behind real doors.
async fn serve(config: Config, distrusted_term: Option<u64>) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    // Bound first, so that a taken port is known before anything heavy.
    let bind = async |what: &str, address: SocketAddr| {
        TcpListener::bind(address).await.with_context(|| format!("listen.{what} = {address}"))
    };
    let gateway_door = bind("gateway", config.listen.gateway).await?;
    let peer_door = bind("peer", config.listen.peer).await?;
    let operator_door = bind("operator", config.listen.operator).await?;
    let plain_door = bind("plain", config.listen.plain).await?;

    // Before anything that counts.
    let metrics = ops::recorder();
    let planes = Planes::load(&config, &stop, &tasks)?;
    let keys = Arc::new(FileKeys::open(&config.keys.directory)?);
    std::fs::create_dir_all(&config.data_dir).with_context(|| format!("data_dir {}", config.data_dir.display()))?;
    let random = Arc::new(SystemRandom);
    let identity = Identity::load_or_create(&config.data_dir, || random.number())?;
    let (log, store) = {
        let (log_dir, table_dir) = (config.data_dir.join("log"), config.data_dir.join("table"));
        tokio::task::spawn_blocking(move || anyhow::Ok((DiskLog::open(&log_dir)?, FjallStore::open(&table_dir)?)))
            .await??
    };

    let realm = config.realm();
    let peer_connector = TlsConnector::new(planes.peer.clone()).expecting(&realm.node());
    let open_peer: Arc<dyn Fn(&str) -> Channel + Send + Sync> = Arc::new(move |address: &str| {
        channel(address, host(address), peer_connector.clone(), &ChannelOptions::default()).unwrap_or_else(|error| {
            tracing::error!(%error, "a peer's address cannot be used");
            nowhere()
        })
    });
    let link_material = planes.link.clone();
    let open_link = Arc::new(move |link: &switch_domain::directory::Link| {
        let connector = TlsConnector::new(link_material.clone());
        Ok(channel(&link.address, &link.server_name, connector, &ChannelOptions::default())?)
    });
    let wire = Arc::new(GrpcWire::new(open_peer.clone()));
    let data_dir = config.data_dir.clone();
    let world = World {
        log: Arc::new(TimedLog::new(Arc::new(log))),
        store: Box::new(store),
        wire: Arc::new(ObservedWire::new(wire.clone())),
        forward: Arc::new(GrpcForwardWire::new(open_peer)),
        connector: Arc::new(GrpcConnector::new(open_link)),
        wall: Arc::new(SystemClock),
        random: random.clone(),
        keep_identity: Arc::new(move |identity| identity.save(&data_dir)),
        exit: Arc::new(|reason| {
            tracing::error!(reason, "the node ends");
            let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("switch-node: {reason}\n").as_bytes());
            std::process::exit(70);
        }),
    };
    // One id names the process to its peers and as the owner of what it sends (R4).
    let boot = random.number();
    let group = GroupOptions {
        timing: config.timing(),
        snapshots: config.snapshots(),
        ..GroupOptions::new(identity, boot, random.number())
    };
    let options = NodeOptions {
        identity,
        group,
        boot,
        keys,
        key_policy: config.key_policy(),
        links: Settings::default(),
        distrusted_term,
    };
    let node = Node::start(world, options).await?;
    // As good as no keys at all: it could lead, and would then refuse every payment (R7).
    node.keeper.keys().open_all().with_context(|| {
        format!("keys.directory = {}: a data key of this cluster does not open", config.keys.directory.display())
    })?;

    let formation = Formation {
        bootstrap: config.bootstrap,
        peers: config.peers.clone(),
        initial_voters: config.initial_voters,
        record: MemberRecord {
            peer_address: config.peer_address(),
            gateway_address: config.gateway_address(),
            operator_address: config.operator_address(),
            store_id: identity.store_id,
        },
        cluster_id: random.number(),
    };
    tasks.spawn({
        let (group, formation) = (node.journal.group().clone(), formation.clone());
        async move {
            if let Err(error) = form_or_join(group.clone(), formation).await {
                tracing::error!(%error, "this node finds no cluster");
                group.refuse(&error.to_string());
            }
        }
    });

    // Doors open when there is something behind them. `closing` closes those to the outside after the drain, `parting` the one to
    // the peers after that: calls in flight end through it.
    let closing = CancellationToken::new();
    let drain = CancellationToken::new();
    let parting = CancellationToken::new();
    let peers_served = tasks.spawn(serve_peers(peer_door, &planes, &config, &node, parting.clone()));
    let gateways_served =
        tasks.spawn(serve_gateways(gateway_door, &planes, &config, &node, drain.clone(), closing.clone()));
    let operators = ops::Operators::new(ops::Parts {
        journal: node.journal.clone(),
        links: node.links.clone(),
        gate: node.gate.clone(),
        conversations: node.conversations.clone(),
        courier: node.courier.clone(),
        keeper: node.keeper.clone(),
        intake: node.intake.clone(),
        wire,
        formation: formation.clone(),
        tasks: node.tasks.clone(),
        wall: Arc::new(SystemClock),
    });
    tasks.spawn(serve_operators(operator_door, &planes, &config, operators.clone(), closing.clone()));
    tasks.spawn(watch_disk(config.data_dir.clone(), config.disk_reserve_bytes, node.flow.clone()));
    tasks.spawn(ops::observe(ops::Observed {
        journal: node.journal.clone(),
        links: node.links.clone(),
        conversations: node.conversations.clone(),
        planes: planes.all(),
        wall: Arc::new(SystemClock),
    }));
    tasks.spawn(ops::watch_doubt(node.journal.clone()));
    let health = ops::Health::new(
        node.journal.clone(),
        node.keeper.watch_fault(),
        config.initial_voters,
        drain.clone(),
        operators.intake(),
    );
    tasks.spawn(operators.clone().lead_with_keys_only(drain.clone()));
    tasks.spawn(ops::serve_plain(plain_door, health, metrics, closing.clone()));
    tracing::info!(
        node = format_args!("{:016x}", identity.node_id),
        gateway = %config.listen.gateway,
        peer = %config.listen.peer,
        operator = %config.listen.operator,
        plain = %config.listen.plain,
        "the node serves"
    );

    asked_to_stop().await?;
    tracing::info!("draining");
    drain.cancel();
    let until = Instant::now() + DRAIN_MAX;
    operators.drain(until).await;
    // Calls in flight end with their answers: also those that this node has forwarded, or waits for.
    closing.cancel();
    let _ = tokio::time::timeout_at(until, gateways_served).await;
    node.links.sign_off(until.min(Instant::now() + Duration::from_secs(5))).await;
    parting.cancel();
    let _ = tokio::time::timeout_at(until.min(Instant::now() + PARTING_MAX), peers_served).await;
    node.journal.group().shutdown().await;
    stop.cancel();
    tracing::info!("stopped");
    Ok(())
}

/// Looks at the free space of the data folder's disk, once a second.
async fn watch_disk(folder: PathBuf, reserve_bytes: u64, flow: Arc<Flow>) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tick.tick().await;
        match rustix::fs::statvfs(&folder) {
            Ok(disk) => {
                let free_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
                telemetry::disk_free(free_bytes);
                flow.set_disk_low(free_bytes < reserve_bytes);
            }
            Err(error) => tracing::warn!(%error, "the free space of the disk is not known"),
        }
    }
}

async fn asked_to_stop() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// The door for `role`, counted.
fn counted_door(role: Role, config: &Config) -> Door {
    Door::new(role, config.realm()).observed_by(acceptor::counted(role))
}

fn serve_gateways(
    listener: TcpListener,
    planes: &Planes,
    config: &Config,
    node: &Node,
    drain: CancellationToken,
    closing: CancellationToken,
) -> impl Future<Output = ()> + use<> {
    let incoming =
        acceptor::incoming(listener, planes.gateway.clone(), counted_door(Role::Gateway, config), closing.clone());
    let admission = &node.guards.admission;
    let gateways = Gateways::new(node.flow.clone(), node.own.clone(), admission.clone(), drain);
    let sealing_keys = SealingKeys::new(node.flow.clone(), admission.clone(), node.keeper.keys().clone());
    let service = AuthorizationServiceServer::new(gateways).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let server = door::server_builder(Role::Gateway)
        // Outermost: what the others refuse is a call too, and its caller may be somebody who tries doors.
        .layer(CountLayer::new(Role::Gateway))
        // Before all others: what a role may not call is looked at no further, and needs nothing but the certificate.
        .layer(AccessLayer)
        // Around everything that follows, so that one span covers the whole call, with its forward to the leader.
        .layer(TraceLayer)
        // Next to the services: only what tonic's decoder says without them needs other words.
        .layer(tower::util::MapResponseLayer::new(in_words_of_the_table))
        .add_service(service)
        .add_service(SealingKeyServiceServer::new(sealing_keys).max_decoding_message_size(MESSAGE_BYTES_MAX));
    async move { ended("gateway", server.serve_with_incoming_shutdown(incoming, closing.cancelled_owned()).await) }
}

fn serve_peers(
    listener: TcpListener,
    planes: &Planes,
    config: &Config,
    node: &Node,
    closing: CancellationToken,
) -> impl Future<Output = ()> + use<> {
    let incoming = acceptor::incoming(listener, planes.peer.clone(), counted_door(Role::Peer, config), closing.clone());
    let forwarded = ForwardedCalls::new(node.flow.clone(), node.forwarded.clone(), node.way.clone());
    let server = door::server_builder(Role::Peer)
        .layer(CountLayer::new(Role::Peer))
        // Without a trace: heartbeats are no calls to follow, and what is forwarded brings its own.
        .layer(AccessLayer)
        .add_service(switch_consensus::service(node.journal.group()))
        .add_service(ForwardServiceServer::new(forwarded).max_decoding_message_size(4 * MESSAGE_BYTES_MAX));
    async move { ended("peer", server.serve_with_incoming_shutdown(incoming, closing.cancelled_owned()).await) }
}

fn serve_operators(
    listener: TcpListener,
    planes: &Planes,
    config: &Config,
    operators: ops::Operators,
    closing: CancellationToken,
) -> impl Future<Output = ()> + use<> {
    let incoming =
        acceptor::incoming(listener, planes.operator.clone(), counted_door(Role::Operator, config), closing.clone());
    let server = door::server_builder(Role::Operator)
        // In the order of the gateways' door, for the same reasons.
        .layer(CountLayer::new(Role::Operator))
        .layer(AccessLayer)
        .layer(TraceLayer)
        .add_service(ClusterServiceServer::new(operators.clone()).max_decoding_message_size(NAMES_BYTES_MAX))
        .add_service(
            DirectoryServiceServer::new(operators.clone()).max_decoding_message_size(DIRECTORY_CHANGES_BYTES_MAX),
        )
        .add_service(KeyServiceServer::new(operators.clone()).max_decoding_message_size(NAMES_BYTES_MAX))
        .add_service(ReversalServiceServer::new(operators.clone()).max_decoding_message_size(NAMES_BYTES_MAX))
        .add_service(RecordServiceServer::new(operators.clone()).max_decoding_message_size(NAMES_BYTES_MAX))
        .add_service(TransactionServiceServer::new(operators.clone()).max_decoding_message_size(NAMES_BYTES_MAX))
        .add_service(AuditServiceServer::new(operators).max_decoding_message_size(NAMES_BYTES_MAX));
    async move { ended("operator", server.serve_with_incoming_shutdown(incoming, closing.cancelled_owned()).await) }
}

fn ended(door: &str, result: Result<(), tonic::transport::Error>) {
    if let Err(error) = result {
        tracing::error!(door, %error, "a door failed");
    }
}

/// Largest request of an operator's service: names, numbers and a few sentences of evidence.
const NAMES_BYTES_MAX: usize = 16 << 10;
/// Largest change of the directory that is read: a first import is one call. Twice what an entry of the journal holds, so that who
/// sends more than that is told by how much, and what to do.
const DIRECTORY_CHANGES_BYTES_MAX: usize = 2 * switch_consensus::limits::PACK_BYTES_MAX;
