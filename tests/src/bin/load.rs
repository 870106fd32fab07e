//! `load`: a gateway under load against a running cluster, judged at its end.

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use switch_tests::{
    auditor::{Scope, audit, collect, evidence::Evidence},
    channel::TlsFiles,
    duration,
    gateway_client::{GatewayClient, Patience},
    harness::{Cluster, Context, OperatorClient, SandboxControl},
    history::History,
    load::{self, Figures, Pace, Payments, Stop},
    multicall,
    summary::{Summary, print, reversals},
    workload::{Mix, Workload, input},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Pays as a gateway and measures it.
///
/// Figures stand on stdout, everything else on stderr. What gateways were told, what the networks booked and what the
/// journal holds is compared at the end: anything but `valid` exits 1. Without an operator's certificate and the
/// networks' books (--context-dir gives both) the auditor can only say `unknown`.
#[derive(Debug, Parser)]
#[command(name = "load")]
struct Args {
    /// Folder of a running `dev`, with addresses and certificates.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["endpoints", "own_cluster"])]
    context_dir: Option<PathBuf>,

    /// Starts a cluster of three with two sandbox networks for this run alone.
    #[arg(long)]
    own_cluster: bool,

    /// Doors for gateways, host:port, separated by commas.
    #[arg(long, value_delimiter = ',', requires_all = ["certificate", "key", "roots"], conflicts_with = "own_cluster")]
    endpoints: Vec<String>,

    /// The gateway's certificate, PEM.
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,

    /// Its key, PEM.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,

    /// Roots of the nodes' certificates, PEM.
    #[arg(long, value_name = "FILE")]
    roots: Option<PathBuf>,

    /// Which gateway pays.
    #[arg(long, default_value = "shop")]
    gateway: String,

    /// Callers in a closed loop.
    #[arg(long, default_value_t = 32)]
    conc: usize,

    /// Open loop: payments begun in a second; latency counts from the intended beginning.
    #[arg(long)]
    rate: Option<f64>,

    /// Most payments under way in an open loop.
    #[arg(long, default_value_t = 4096)]
    in_flight_max: usize,

    /// Sends authorizations over this many AuthorizeStreams instead of unary calls.
    #[arg(long, num_args = 0..=1, default_missing_value = "4", value_name = "STREAMS")]
    stream: Option<usize>,

    /// Seals the card data of one payment in so many to the switch's public key; 1 seals every one.
    #[arg(long, value_name = "N")]
    seal_one_in: Option<u64>,

    /// Connections to each node.
    #[arg(long, default_value_t = 4)]
    connections: usize,

    /// How long to pay, for example 10s.
    #[arg(long = "for", value_parser = duration::parse, default_value = "10s", value_name = "DURATION")]
    within: Duration,

    /// Pays for this long before figures count.
    #[arg(long, value_parser = duration::parse, default_value = "0s", value_name = "DURATION")]
    warm_up: Duration,

    /// Sends the payments of this file once, one JSON object a line, instead of made-up ones.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,

    /// Which made-up payments.
    #[arg(long, value_enum, default_value_t = Kinds::Approvals)]
    mix: Kinds,

    /// Seed of made-up payments.
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Deadline of each call.
    #[arg(long, value_parser = duration::parse, value_name = "DURATION")]
    deadline: Option<Duration>,

    /// Prints the figures as one JSON object instead of words.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kinds {
    /// Approvals and nothing else.
    Approvals,
    /// Approvals, declines, captures, voids, refunds, repeats.
    Everyday,
    /// The same with one mishap of a network in fifty.
    Mixed,
    /// Every second payment goes wrong.
    Mishaps,
}

fn main() -> ExitCode {
    if let Some(code) = multicall::part(std::env::args_os().collect()) {
        return code;
    }
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be started");
    match runtime.block_on(run(args)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whom to pay with, and whom to ask afterwards.
struct Target {
    gateway: GatewayClient,
    operators: Vec<OperatorClient>,
    sandbox: Option<SandboxControl>,
    cluster: Option<Cluster>,
}

impl Target {
    async fn reach(args: &Args) -> anyhow::Result<Self> {
        let history = History::default();
        if let Some(folder) = &args.context_dir {
            let context = Context::read(folder)?;
            let sandbox = Some(&context.sandbox_at).filter(|at| !at.is_empty()).map(|at| SandboxControl::new(at));
            let gateway = context.gateway(&args.gateway, args.connections, history)?;
            return Ok(Self { gateway, operators: context.operators()?, sandbox, cluster: None });
        }
        if args.own_cluster {
            eprintln!("starting three nodes and two card networks …");
            let cluster =
                Cluster::three().with_sandbox().connections(args.connections).log_level("warn").start().await?;
            return Ok(Self {
                gateway: cluster.gateway(&args.gateway),
                operators: cluster.nodes().iter().map(|node| node.operator().clone()).collect(),
                sandbox: Some(cluster.networks()),
                cluster: Some(cluster),
            });
        }
        let given = |file: &Option<PathBuf>, what: &str| {
            file.clone().with_context(|| format!("--{what} is missing; or give --context-dir or --own-cluster"))
        };
        let tls = TlsFiles {
            certificate: given(&args.certificate, "certificate")?,
            key: given(&args.key, "key")?,
            roots: given(&args.roots, "roots")?,
        };
        let gateway = GatewayClient::new(&args.gateway, &args.endpoints, &tls, args.connections, history)?;
        Ok(Self { gateway, operators: Vec::new(), sandbox: None, cluster: None })
    }

    /// Judges this run: everything in a cluster of its own, else what this gateway was told, as far as it can be compared.
    async fn judge(&self) -> anyhow::Result<(Evidence, Scope)> {
        if let Some(cluster) = &self.cluster {
            cluster.ready().await?;
            if let Err(error) = cluster.rest().await {
                eprintln!("{error:#}");
            }
            let evidence = collect::evidence(self.gateway.history(), &self.operators, self.sandbox.as_ref()).await?;
            return Ok((evidence, Scope::Everything));
        }
        if self.operators.is_empty() || self.sandbox.is_none() {
            let evidence = collect::evidence(self.gateway.history(), &[], None).await?;
            return Ok((evidence, Scope::Answers));
        }
        let evidence = collect::settled(self.gateway.history(), &self.operators, self.sandbox.as_ref()).await?;
        Ok((evidence, Scope::Told))
    }
}

async fn run(args: Args) -> anyhow::Result<bool> {
    let mut target = Target::reach(&args).await?;
    if let Some(call) = args.deadline {
        target.gateway = target.gateway.with_patience(Patience { call, ..target.gateway.patience() });
    }
    if let Some(one_in) = args.seal_one_in {
        target.gateway = target.gateway.sealing(one_in).await.context("--seal-one-in")?;
    }
    if let Some(lanes) = args.stream {
        target.gateway = target.gateway.streaming(lanes);
    }
    let name = format!("load-{}-{}", std::process::id(), args.seed);
    let pace = match args.rate {
        Some(per_second) => {
            anyhow::ensure!(per_second > 0.0, "--rate must be above 0");
            Pace::Open { per_second, in_flight_max: args.in_flight_max }
        }
        None => Pace::Closed { callers: args.conc },
    };
    let workload = |run: String| {
        let mix = match args.mix {
            Kinds::Approvals => Mix::approvals(),
            Kinds::Everyday => Mix::everyday(),
            Kinds::Mixed => Mix::mixed(),
            Kinds::Mishaps => Mix::mishaps(),
        };
        Payments::Generated(Box::new(Workload::new(args.seed, &run, &args.gateway, mix)))
    };
    if !args.warm_up.is_zero() {
        pay(workload(format!("{name}-warm")), &target.gateway, pace, args.warm_up).await;
    }
    let payments = match &args.input {
        Some(path) => Payments::Listed(input::read(path, &name, &args.gateway)?.into_iter()),
        None => workload(name.clone()),
    };
    let within = if args.input.is_some() { Duration::MAX } else { args.within };
    let (figures, took) = pay(payments, &target.gateway, pace, within).await;
    eprintln!("judging …");
    let (evidence, scope) = target.judge().await?;
    let report = audit(&evidence, scope);
    eprintln!("{}", report.in_words());
    let mut summary =
        Summary::new(figures.counts(), figures.latencies(), took, figures.networks(), reversals(&evidence), &report);
    summary.leader_changes = target.gateway.leader_changes();
    print(&summary, args.json)?;
    if let Some(cluster) = target.cluster.filter(|_| report.is_valid()) {
        cluster.close().await?;
    }
    Ok(report.is_valid())
}

/// Pays for `within`, or until Ctrl-C or the end of the list. Gives the figures and how long it took.
async fn pay(payments: Payments, gateway: &GatewayClient, pace: Pace, within: Duration) -> (Arc<Figures>, Duration) {
    let (figures, stop) = (Arc::new(Figures::default()), Stop::default());
    let began = Instant::now();
    let ending = async {
        tokio::select! {
            () = tokio::time::sleep(within) => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        stop.stop();
        // The payments under way end the whole.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = load::run(payments, gateway, pace, &figures, &stop) => {}
        () = ending => {}
    }
    (figures, began.elapsed())
}
