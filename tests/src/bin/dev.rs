//! `dev`: three nodes, two card networks, a certificate for everyone, and payments. No argument is needed.
//!
//! `dev node …`, `dev admin …` and `dev sandbox …` are the parts: the server, the operators' client, the networks alone.
//! `dev pay-twice …` asks any installation with play money whether one key is one payment.

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Parser;
use parking_lot::Mutex;
use switch_proto::gateway::v1::get_transaction_request::By;
use switch_tests::{
    auditor::{Scope, audit, collect},
    duration,
    eventually::eventually,
    gateway_client::Aim,
    harness::{Cluster, Leader},
    load::{self, Figures, Pace, Payments, Stop},
    multicall,
    summary::{Summary, print, reversals},
    workload::{Mix, Workload},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Starts a cluster of three with two simulated card networks and pays with it.
///
/// What happens is told on stderr; the figures of the whole run stand on stdout at the end. The auditor then compares
/// what gateways were told, what the networks booked and what the journal holds: anything but `valid` exits 1.
#[derive(Debug, Parser)]
#[command(
    name = "dev",
    after_help = "Parts: dev node --config FILE · dev admin … · dev sandbox … · dev pay-twice …  (each with --help)"
)]
struct Args {
    /// How long to pay, for example 20s or 5m; until Ctrl-C if not given.
    #[arg(long = "for", value_parser = duration::parse, value_name = "DURATION")]
    within: Option<Duration>,

    /// Kills the leader with kill -9 that often, and starts it again.
    #[arg(long, value_parser = duration::parse, value_name = "DURATION")]
    kill_leader_every: Option<Duration>,

    /// Payments begun in a second; 0 begins the next as soon as one is answered.
    #[arg(long, default_value_t = 200.0)]
    rate: f64,

    /// Callers with --rate 0; most payments under way otherwise are 50 times that.
    #[arg(long, default_value_t = 64)]
    conc: usize,

    /// Prints the figures as one JSON object instead of words.
    #[arg(long)]
    json: bool,

    /// Keeps everything in this folder, which is made if need be; a temporary one if not given.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Payments without the mishaps of networks: approvals, declines and what follows them.
    #[arg(long)]
    calm: bool,

    /// Seed of the payments.
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Level of the nodes' logs.
    #[arg(long, default_value = "info")]
    log: String,
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
            eprintln!("dev: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> anyhow::Result<bool> {
    let mut builder = Cluster::three().with_sandbox().connections(2).log_level(&args.log);
    if let Some(folder) = &args.data {
        builder = builder.folder(folder);
    }
    eprintln!("starting three nodes and two card networks …");
    let began = Instant::now();
    let cluster = builder.start().await?;
    eprintln!("ready after {:.1} s", began.elapsed().as_secs_f64());
    cluster.context().write()?;
    tell_how_to_talk(&cluster);

    let run = Run {
        figures: Arc::new(Figures::default()),
        stop: Stop::default(),
        gaps_ms: Mutex::default(),
        leader_changes: AtomicU64::new(0),
        cluster,
    };
    let mix = if args.calm { Mix::everyday() } else { Mix::mixed() };
    let payments = Payments::Generated(Box::new(Workload::new(args.seed, &run_name(), "shop", mix)));
    let pace = if args.rate > 0.0 {
        Pace::Open { per_second: args.rate, in_flight_max: args.conc * 50 }
    } else {
        Pace::Closed { callers: args.conc }
    };
    let gateway = run.cluster.gateway("shop");
    let load_began = Instant::now();
    let paying = async {
        load::run(payments, &gateway, pace, &run.figures, &run.stop).await;
        load_began.elapsed()
    };
    let ending = async {
        tokio::select! {
            () = after(args.within) => {}
            ended = tokio::signal::ctrl_c() => { if ended.is_ok() { eprintln!("\nending: no new payments …"); } }
            () = run.stop.stopped() => {}
        }
        run.stop.stop();
    };
    let killing = async {
        let Some(every) = args.kill_leader_every else { return Ok(()) };
        let killed = run.kill_leaders(every).await;
        // A cluster that does not come back ends the run, not only the killing.
        run.stop.stop();
        killed
    };
    let watching = run.watch(!args.json || std::io::IsTerminal::is_terminal(&std::io::stderr()));
    let busy = async { tokio::join!(paying, ending, killing) };
    let (took, (), killed) = tokio::select! {
        ended = busy => ended,
        () = watching => unreachable!("the watch never ends"),
    };
    killed?;
    run.finish(took, args.json).await
}

struct Run {
    cluster: Cluster,
    figures: Arc<Figures>,
    stop: Stop,
    gaps_ms: Mutex<Vec<u64>>,
    leader_changes: AtomicU64,
}

impl Run {
    /// Kills whoever leads, waits until payments flow again, and starts it again.
    async fn kill_leaders(&self, every: Duration) -> anyhow::Result<()> {
        loop {
            let next = Instant::now() + every;
            tokio::select! {
                biased;
                () = self.stop.stopped() => return Ok(()),
                () = tokio::time::sleep_until(next.into()) => {}
            }
            let Some(Leader { node, .. }) = self.cluster.leader().await else { continue };
            let killed = Instant::now();
            self.cluster.kill9(node);
            let flows = eventually(RECOVERY_WITHIN, "payments flow again after a kill", || async {
                self.figures.approved_since(killed)
            });
            tokio::select! {
                biased;
                // What was being waited for may never come once nothing begins any more.
                () = self.stop.stopped() => {}
                flow = flows => {
                    flow?;
                    let gap_ms = u64::try_from(killed.elapsed().as_millis()).unwrap_or(u64::MAX);
                    self.gaps_ms.lock().push(gap_ms);
                    eprintln!("\nnode {node} led and was killed; payments flow again after {gap_ms} ms");
                }
            }
            self.cluster.restart(node)?;
            self.cluster.ready().await?;
        }
    }

    /// Shows what happens, twice a second in one line on a terminal, every five seconds in a line of its own elsewhere.
    async fn watch(&self, show: bool) {
        let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
        let sandbox = self.cluster.networks();
        let mut known: Option<Leader> = None;
        for turn in 0u64.. {
            tokio::time::sleep(WATCH_EVERY).await;
            let leader = self.cluster.leader().await;
            if let Some(leader) = leader
                && known.replace(leader).is_some_and(|known| known != leader)
            {
                self.leader_changes.fetch_add(1, Ordering::Relaxed);
            }
            if !show || !turn.is_multiple_of(if terminal { 2 } else { 20 }) {
                continue;
            }
            let statuses = self.cluster.statuses().await;
            // What is owed is the cluster's; whoever answers knows it, the furthest knows best.
            let knows = statuses.into_iter().flatten().max_by_key(|status| status.applied_index);
            let links = knows.map(|status| status.links).unwrap_or_default();
            let (owed, parked) =
                links.iter().fold((0, 0), |sum, link| (sum.0 + link.owed_count, sum.1 + link.parked_count));
            let reversals: u64 = sandbox.status().await.map_or(0, |networks| {
                networks.iter().filter_map(|network| network.counters.as_ref()).map(|counters| counters.reversals).sum()
            });
            let (recent, rate) = self.figures.recent();
            let counts = self.figures.counts();
            let led_by = leader.map_or("nobody".to_owned(), |leader| format!("node {}", leader.node));
            let networks = self
                .figures
                .networks()
                .into_iter()
                .map(|(name, own)| format!("{name} {}/{}/{}", own.approved, own.declined, own.timed_out));
            let line = format!(
                "{led_by} leads · {rate:.0}/s · p50 {:.1} p99 {:.1} ms · approved {} declined {} timed out {} unknown {} · \
                 reversals sent {reversals} owed {owed} parked {parked} · {}",
                recent.p50_us as f64 / 1e3,
                recent.p99_us as f64 / 1e3,
                counts.approved,
                counts.declined,
                counts.timed_out,
                counts.outcome_unknown,
                networks.collect::<Vec<_>>().join(" ")
            );
            if terminal { eprint!("\r\x1b[2K{line}") } else { eprintln!("{line}") }
        }
    }

    /// Waits until nothing is owed, judges, and prints the figures.
    async fn finish(self, took: Duration, json: bool) -> anyhow::Result<bool> {
        eprintln!("\nwaiting until everything is at rest …");
        let cluster = &self.cluster;
        cluster.start_all()?;
        cluster.ready().await?;
        if let Err(error) = cluster.rest().await {
            // The auditor says what is still open, and how much money is at stake.
            eprintln!("{error:#}");
        }
        self.read_again().await?;
        let operators: Vec<_> = cluster.nodes().iter().map(|node| node.operator().clone()).collect();
        let evidence = collect::evidence(cluster.history(), &operators, Some(&cluster.networks())).await?;
        let report = audit(&evidence, Scope::Everything);
        eprintln!("{}", report.in_words());
        cluster.keep_evidence(&report).await?;
        let figures = &self.figures;
        let mut summary = Summary::new(
            figures.counts(),
            figures.latencies(),
            took,
            figures.networks(),
            reversals(&evidence),
            &report,
        );
        summary.leader_changes = self.leader_changes.load(Ordering::Relaxed);
        summary.failover_gaps_ms.clone_from(&self.gaps_ms.lock());
        print(&summary, json)?;
        if report.is_valid() {
            self.cluster.close().await?;
        }
        Ok(report.is_valid())
    }

    /// Reads a sample of what was told once more, on every node.
    async fn read_again(&self) -> anyhow::Result<()> {
        let told = self.cluster.history().told_transactions(READ_AGAIN_MAX);
        let gateway = self.cluster.gateway("shop").with_aim(Aim::Everywhere);
        for transaction_id in told {
            gateway.read(By::TransactionId(transaction_id.to_string())).await.map_err(|status| {
                anyhow::anyhow!("reading {transaction_id}: {:?} {}", status.code(), status.message())
            })?;
        }
        Ok(())
    }
}

async fn after(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
}

/// Differs from run to run, so that a kept folder can be paid into again.
fn run_name() -> String {
    format!("dev-{}", std::process::id())
}

fn tell_how_to_talk(cluster: &Cluster) {
    let folder = cluster.folder().display();
    let program = std::env::current_exe().map_or_else(|_| "dev".to_owned(), |path| path.display().to_string());
    let load = program.strip_suffix("dev").map_or_else(|| "load".to_owned(), |stem| format!("{stem}load"));
    let node = cluster.node(1);
    let gateway = cluster.gateway_tls("shop");
    let operator = cluster.operator_tls();
    eprintln!("everything is in {folder}; logs are {folder}/*.log; the doors for gateways are");
    for node in cluster.nodes() {
        eprintln!("  node {}  {}", node.number(), node.gateway_address());
    }
    if let Some(tls) = gateway {
        eprintln!("a gateway's certificate, key and roots:");
        for path in [&tls.certificate, &tls.key, &tls.roots] {
            eprintln!("  {}", path.display());
        }
        eprintln!(
            "a call with grpcurl:\n  grpcurl -cacert {} -cert {} -key {} -import-path proto \\\n    -proto \
             payswitch/gateway/v1/authorization_service.proto -max-time 10 -d '{{\"page_size\": 3}}' \\\n    {} \
             payswitch.gateway.v1.AuthorizationService/ListTransactions",
            tls.roots.display(),
            tls.certificate.display(),
            tls.key.display(),
            node.gateway_address()
        );
    }
    eprintln!(
        "an operator:\n  {program} admin --endpoint {} --certificate {} --key {} --roots {} cluster status",
        node.operator_address(),
        operator.certificate.display(),
        operator.key.display(),
        operator.roots.display()
    );
    eprintln!("more load:\n  {load} --context-dir {folder} --conc 32 --for 10s");
    eprintln!("metrics:\n  curl http://{}/metrics\nCtrl-C ends, with the audit.\n", node.plain_address());
}

const WATCH_EVERY: Duration = Duration::from_millis(250);
const RECOVERY_WITHIN: Duration = Duration::from_secs(60);
/// Enough to meet every kind of payment on every node, and quick.
const READ_AGAIN_MAX: usize = 600;
