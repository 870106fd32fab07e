//! `bench`: the switch under closed loops, beside an echo and etcd in the same run; its memory over a million transactions; and
//! what it does when ten times more is asked than it can do.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use serde_json::{Map, Value, json};
use switch_proto::operator::v1::{DirectoryChange, Link, directory_change::Change};
use switch_tests::{
    auditor::{Scope, audit, collect, evidence::Evidence, report::Report},
    bench::{
        drive::{self, Latencies, Span},
        echo,
        etcd::Etcd,
        flood::{self, Heard, Noticed, Offer},
        machine::{self, Memory, Parts, Usage, Used},
        report::{Round, Rounds, Subject, table},
        till::{Kind, Till},
    },
    gateway_client::GatewayClient,
    harness::{Cluster, OperatorClient, Process, Timing, directory::merchants_of},
    history::{History, Invocation},
    multicall,
    sandbox::proto::Conduct,
    workload::{Mix, Workload},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures three node processes with two card networks on this machine, fsync and mTLS on.
///
/// What stands on stderr is for people; with --json one object stands on stdout. Ratios are ours divided by theirs in
/// the same round: `etcd_ratio` and `echo_ratio` of answers a second (more is better), `etcd_p99_ratio` of latency (less
/// is better). The auditor judges everything that was paid: anything but `valid` exits 1.
#[derive(Debug, Parser)]
#[command(name = "bench", args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    part: Option<Part>,

    /// Callers, or payments in flight on streams.
    #[arg(long, value_delimiter = ',', default_value = "32,128,512")]
    callers: Vec<usize>,

    /// Seconds that count in each round.
    #[arg(long, default_value_t = 8)]
    seconds: u64,

    /// Seconds before them.
    #[arg(long, default_value_t = 2)]
    warm_up: u64,

    /// Rounds; medians are told.
    #[arg(long, default_value_t = 3)]
    rounds: usize,

    /// One short round at 128 callers.
    #[arg(long, conflicts_with_all = ["callers", "seconds", "rounds"])]
    quick: bool,

    /// AuthorizeStreams that share what is in flight.
    #[arg(long, default_value_t = CONNECTIONS)]
    streams: usize,

    /// Neither echo nor etcd: for profiles.
    #[arg(long)]
    alone: bool,

    /// Measures only unary calls or only streams.
    #[arg(long, value_parser = ["unary", "stream"])]
    only: Option<String>,

    /// The etcd program; without one those figures are left out.
    #[arg(long, value_name = "PATH", default_value = "etcd")]
    etcd: PathBuf,

    /// Keeps everything in this folder; a temporary one if not given.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Prints one JSON object on stdout.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Stores closed transactions at full speed and prints the memory of every node.
    ///
    /// Exits 1 where the auditor does not say `valid`, where the largest node ends with 400 MiB resident or more, and where
    /// it grew by more than half since the first look, which is after 100,000 transactions.
    Memory {
        /// How many.
        #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
        transactions: u64,

        /// Payments in flight.
        #[arg(long, default_value_t = 256)]
        in_flight: usize,

        /// Keeps everything in this folder; a temporary one if not given.
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,

        /// Prints one JSON object on stdout.
        #[arg(long)]
        json: bool,
    },
    /// Asks ten times more than the cluster has capacity for, and then of one gateway ten times its rate.
    ///
    /// Capacity is held by the networks' latency and the windows of their links, so that it is the same on every machine.
    /// Beside the flood a modest gateway pays; what it notices of the flood is the figure. In both cases its 99th percentile
    /// must rise by less than 20 %, goodput stay at 90 % of its peak or more, answers be quick again within 5 s of the flood's
    /// end, and no void be refused: otherwise the exit code is 1.
    Overload {
        /// Capacity of the networks, payments a second.
        #[arg(long, default_value_t = 500)]
        capacity: u32,

        /// Seconds of each phase, the first of them warming up. At least 7: a recovery of more than 5 must be seen.
        #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u64).range(7..))]
        seconds: u64,

        /// Keeps everything in this folder; a temporary one if not given.
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,

        /// Prints one JSON object on stdout.
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    let mut given: Vec<_> = std::env::args_os().collect();
    if let Some(code) = multicall::part(given.clone()) {
        return code;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("threads can be started");
    let ended = if given.get(1).is_some_and(|part| part == "echo") {
        given.remove(0);
        runtime.block_on(echo::serve(echo::Args::parse_from(given))).map(|()| true)
    } else {
        let args = Args::parse();
        match args.part {
            Some(Part::Memory { transactions, in_flight, data, json }) => {
                runtime.block_on(memory(transactions, in_flight, data, json))
            }
            Some(Part::Overload { capacity, seconds, data, json }) => {
                runtime.block_on(overload(capacity, seconds, data, json))
            }
            None => runtime.block_on(speed(args)),
        }
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn start(data: Option<&Path>) -> anyhow::Result<Cluster> {
    eprintln!("starting three nodes and two card networks …");
    let mut builder = Cluster::three().with_sandbox().connections(CONNECTIONS).log_level("warn").timing(PATIENT);
    if let Some(folder) = data {
        builder = builder.folder(folder);
    }
    let cluster = builder.start().await?;
    eprintln!(
        "everything is in {}; gateway shop pays for {}",
        cluster.folder().display(),
        merchants_of("shop").join(" ")
    );
    Ok(cluster)
}

fn till(cluster: &Cluster, kind: Kind, recorded_every: u64) -> Arc<Till> {
    let addresses = cluster.nodes().iter().map(|node| node.gateway_address().to_owned()).collect();
    Till::new(cluster.gateway("shop"), addresses, kind, recorded_every)
}

// ---------------------------------------------------------------------------------------------------------- speed

/// Everything that is measured in turns.
struct Bench {
    cluster: Cluster,
    till: Arc<Till>,
    echo: Option<(Process, Arc<Till>)>,
    etcd: Option<Etcd>,
    streams: usize,
    warm_up: Duration,
    counted: Duration,
}

async fn speed(mut args: Args) -> anyhow::Result<bool> {
    if args.quick {
        (args.callers, args.seconds, args.rounds) = (vec![128], 6, 1);
    }
    let cluster = start(args.data.as_deref()).await?;
    let (mut echo, mut etcd) = (None, None);
    if !args.alone {
        echo = Some(echo_till(&cluster)?);
        etcd = Etcd::start(&args.etcd, cluster.folder(), CONNECTIONS)
            .await
            .inspect_err(|error| eprintln!("no figures of etcd: {error:#}"))
            .ok();
    }
    let bench = Bench {
        till: till(&cluster, Kind::Approved, 1),
        echo,
        etcd,
        streams: args.streams,
        warm_up: Duration::from_secs(args.warm_up),
        counted: Duration::from_secs(args.seconds.max(1)),
        cluster,
    };
    let before = bench.memory();
    let mut rounds = Rounds::default();
    for number in 1..=args.rounds.max(1) {
        eprintln!("round {number}");
        for callers in &args.callers {
            for subject in [Subject::Echo, Subject::Etcd, Subject::Unary, Subject::Stream] {
                let wanted = args.only.as_deref().is_none_or(|only| only == subject.name());
                let beside = matches!(subject, Subject::Echo | Subject::Etcd);
                if (wanted || beside)
                    && let Some(round) = bench.round(subject, *callers).await?
                {
                    eprintln!("{}", round.line());
                    rounds.0.push(round);
                }
            }
        }
    }
    let after = bench.memory();
    let Bench { cluster, till, etcd, echo, .. } = bench;
    drop((etcd, echo));
    let (report, took) = judge(&cluster, &till).await?;
    let mut object = rounds.object();
    eprintln!("{}", table(&object));
    object.insert("memory_bytes".to_owned(), json!({ "start": before, "end": after }));
    told(&mut object, &report, &till, took);
    finish(cluster, &report, object, args.json).await
}

fn echo_till(cluster: &Cluster) -> anyhow::Result<(Process, Arc<Till>)> {
    let (process, address) = echo::start(cluster.folder(), cluster.pki())?;
    let tls = cluster.gateway_tls("shop").context("the harness issued its certificate")?;
    let addresses = vec![address];
    let gateway = GatewayClient::new("shop", &addresses, tls, CONNECTIONS, History::default())?;
    // Nobody audits an echo: one in a billion is kept.
    Ok((process, Till::new(gateway, addresses, Kind::Approved, 1_000_000_000)))
}

impl Bench {
    async fn round(&self, subject: Subject, callers: usize) -> anyhow::Result<Option<Round>> {
        let span = Span::after(self.warm_up, self.counted);
        let parts = self.parts(subject).await?;
        let using = usage(&parts, span);
        let (latencies, used) = match subject {
            Subject::Echo => {
                let Some((_, till)) = &self.echo else { return Ok(None) };
                both(drive::closed(till.payers(callers), span), using).await?
            }
            Subject::Etcd => {
                let Some(etcd) = &self.etcd else { return Ok(None) };
                both(drive::closed(etcd.putters(callers), span), using).await?
            }
            Subject::Unary => both(drive::closed(self.till.payers(callers), span), using).await?,
            Subject::Stream => both(drive::together(self.till.lanes(self.streams, callers, span), span), using).await?,
        };
        let seconds = span.counted().as_secs_f64();
        Ok(Some(Round::new(subject, callers, &latencies, seconds, used, machine::load_average())))
    }

    /// The processes that take part in a round.
    async fn parts(&self, subject: Subject) -> anyhow::Result<Parts> {
        let mut parts = vec![("client", std::process::id())];
        match subject {
            Subject::Echo => parts.extend(self.echo.as_ref().map(|(process, _)| ("server", process.id()))),
            Subject::Etcd => {
                let members = self.etcd.iter().flat_map(Etcd::processes);
                parts.extend(members.map(|member| ("members", member)));
            }
            Subject::Unary | Subject::Stream => {
                let leader = self.cluster.leader().await.context("nobody leads")?;
                for node in self.cluster.nodes() {
                    let part = if node.number() == leader.node { "leader" } else { "followers" };
                    parts.extend(node.process_id().map(|process| (part, process)));
                }
                parts.extend(machine::children("sandbox").into_iter().map(|process| ("networks", process)));
            }
        }
        Ok(parts)
    }

    fn memory(&self) -> BTreeMap<String, Memory> {
        memory_of(&self.cluster)
    }
}

async fn both(
    driven: impl Future<Output = anyhow::Result<Latencies>>,
    using: impl Future<Output = Used>,
) -> anyhow::Result<(Latencies, Used)> {
    let (latencies, used) = tokio::join!(driven, using);
    Ok((latencies?, used))
}

/// What the parts use while a span counts.
async fn usage(parts: &Parts, span: Span) -> Used {
    tokio::time::sleep_until(span.counted_from.into()).await;
    let before = Usage::now(parts);
    tokio::time::sleep_until(span.until.into()).await;
    Usage::now(parts).since(&before)
}

// --------------------------------------------------------------------------------------------------------- memory

async fn memory(transactions: u64, in_flight: usize, data: Option<PathBuf>, json: bool) -> anyhow::Result<bool> {
    let cluster = start(data.as_deref()).await?;
    let till = till(&cluster, Kind::Closed, transactions.div_ceil(RECORDED_MAX));
    let mut looks = Map::new();
    let mut look = |name: String, rate: f64, p99_us: u64| -> u64 {
        let memory = memory_of(&cluster);
        let mib: Vec<String> =
            memory.iter().map(|(node, own)| format!("{node} {}", own.resident / (1024 * 1024))).collect();
        eprintln!(
            "{name:>9} transactions  {rate:>7.0}/s  p99 {:>6.1} ms  MiB: {}",
            p99_us as f64 / 1e3,
            mib.join("  ")
        );
        looks.insert(name, json!(memory));
        memory.values().map(|own| own.resident).max().unwrap_or_default()
    };
    look("start".to_owned(), 0.0, 0);
    let mut steps = Vec::new();
    let mut largest = Vec::new();
    let mut stored = 0;
    while stored < transactions {
        let step = LOOK_EVERY.min(transactions - stored);
        till.end_before(stored + step + 1);
        let (began, span) = (Instant::now(), Span::after(Duration::ZERO, STEP_MAX));
        let latencies = drive::together(till.lanes(CONNECTIONS, in_flight, span), span).await?;
        // Loops that met the end have counted beyond it.
        till.continue_at(stored + step + 1);
        stored += step;
        let (rate, p99_us) = (step as f64 / began.elapsed().as_secs_f64(), latencies.value_at_quantile(0.99));
        largest.push((stored, look(stored.to_string(), rate, p99_us)));
        steps.push(json!({ "transactions": stored, "authorizations_per_second": rate.round(), "p99_us": p99_us }));
    }
    let ((from, least), (to, most)) = (largest[0], largest[largest.len() - 1]);
    let within = most < MEMORY_TARGET;
    let growth = most as f64 / least as f64;
    let steady = growth <= GROWTH_MAX;
    eprintln!(
        "the largest node has {} MiB resident, {} 400 MiB: {growth:.2} times what it had at {from}, {} {GROWTH_MAX}",
        most / (1024 * 1024),
        if within { "under" } else { "NOT under" },
        if steady { "not above" } else { "ABOVE" },
    );
    let (report, took) = judge(&cluster, &till).await?;
    let mut object = Map::from_iter([
        ("memory_bytes".to_owned(), Value::Object(looks)),
        ("under_400_mib".to_owned(), json!(within)),
        ("growth".to_owned(), json!({ "from_transactions": from, "to_transactions": to, "ratio": growth })),
        ("steps".to_owned(), json!(steps)),
    ]);
    told(&mut object, &report, &till, took);
    let valid = finish(cluster, &report, object, json).await?;
    Ok(valid && within && steady)
}

// ------------------------------------------------------------------------------------------------------- overload

async fn overload(capacity: u32, seconds: u64, data: Option<PathBuf>, json: bool) -> anyhow::Result<bool> {
    let cluster = start(data.as_deref()).await?;
    let mut floods = Floods { lasts: Duration::from_secs(seconds), cluster, phase: 0 };

    eprintln!("the cluster at ten times its capacity of {capacity} a second");
    floods.networks(LATENCY_MS, capacity * LATENCY_MS / 1_000).await?;
    let (of_cluster, cluster_holds) =
        floods.compare(capacity.saturating_sub(MODEST_RATE).max(2), capacity * 10).await?;

    eprintln!("one gateway at ten times its rate of {GATEWAY_RATE} a second");
    floods.networks(0, 8_192).await?;
    floods.limit(GATEWAY_RATE).await?;
    let (of_gateway, gateway_holds) = floods.compare(GATEWAY_RATE, GATEWAY_RATE * 10).await?;

    let cluster = floods.cluster;
    let began = Instant::now();
    let report = judged(&cluster, cluster.history().calls()).await?;
    let object = Map::from_iter([
        ("capacity_per_second".to_owned(), json!(capacity)),
        ("cluster_at_ten_times_its_capacity".to_owned(), of_cluster),
        ("gateway_at_ten_times_its_rate".to_owned(), of_gateway),
        ("auditor".to_owned(), json!(report.verdict)),
        ("audited_calls".to_owned(), json!(report.calls)),
        ("audit_seconds".to_owned(), json!(began.elapsed().as_secs_f64().round())),
        ("holds".to_owned(), json!(cluster_holds && gateway_holds)),
    ]);
    Ok(finish(cluster, &report, object, json).await? && cluster_holds && gateway_holds)
}

/// The loud gateway, the modest one, and what stands between them.
struct Floods {
    cluster: Cluster,
    lasts: Duration,
    phase: u64,
}

impl Floods {
    /// Networks that answer after so long, over links that hold so much together.
    async fn networks(&mut self, latency_ms: u32, window: u32) -> anyhow::Result<()> {
        self.cluster.networks().conduct(None, Conduct { latency_ms, ..Conduct::default() }).await?;
        let links = &self.cluster.directory().links;
        let share = window / u32::try_from(links.len())?;
        let change = |link: &Link| Change::PutLink(Link { in_flight_max: share, ..link.clone() });
        let changes = links.iter().map(|link| DirectoryChange { change: Some(change(link)) }).collect();
        self.change(changes).await
    }

    /// New payments a second of the loud gateway.
    async fn limit(&mut self, requests_per_second: u32) -> anyhow::Result<()> {
        let mut gateway = self.cluster.directory().gateways[0].clone();
        gateway.requests_per_second = requests_per_second;
        self.change(vec![DirectoryChange { change: Some(Change::PutGateway(gateway)) }]).await
    }

    async fn change(&mut self, changes: Vec<DirectoryChange>) -> anyhow::Result<()> {
        self.phase += 1;
        self.cluster.change_directory(&format!("bench-{}", self.phase), changes).await.map(drop)
    }

    /// Half of what there is room for, all of it, a flood, and half again; and whether every bound held.
    async fn compare(&mut self, room: u32, flood: u32) -> anyhow::Result<(Value, bool)> {
        let (half, calm) = self.phase("half", room / 2).await?;
        let (full, _) = self.phase("full", room).await?;
        let (flood, beside) = self.phase("ten times", flood).await?;
        let (after, calm_again) = self.phase("half again", room / 2).await?;
        let noticed = Noticed {
            p99_rise: beside.p99().as_secs_f64() / calm.p99_with(&calm_again)?.as_secs_f64() - 1.0,
            goodput_kept: flood.goodput() / full.goodput(),
            recovery: after.recovered_after((half.p99() * 2).max(SLOW_MIN)),
            voids_refused: flood.voids_refused() + beside.voids_refused(),
        };
        let bounds = noticed.bounds();
        for bound in &bounds {
            eprintln!("{} {}", if bound.holds { "   holds" } else { "DOES NOT" }, bound.words);
        }
        let holds = bounds.iter().all(|bound| bound.holds);
        let object = json!({
            "other_gateway_p99_rise": (noticed.p99_rise * 1_000.0).round() / 1_000.0,
            "goodput_of_peak": (noticed.goodput_kept * 1_000.0).round() / 1_000.0,
            "recovery_seconds": (noticed.recovery.as_secs_f64() * 100.0).round() / 100.0,
            "voids_refused": noticed.voids_refused,
            "bounds": bounds.iter().map(|bound| (bound.name, json!(bound.holds))).collect::<BTreeMap<_, _>>(),
            "half": { "loud": half.object(), "modest": calm.object() },
            "half_again": { "loud": after.object(), "modest": calm_again.object() },
            "full": full.object(),
            "ten_times": { "loud": flood.object(), "modest": beside.object() },
        });
        Ok((object, holds))
    }

    async fn phase(&mut self, name: &str, loud: u32) -> anyhow::Result<(Heard, Heard)> {
        self.phase += 1;
        let offer = |per_second| Offer {
            per_second,
            lasts: self.lasts,
            // Recovery is looked for from the first moment on, and counts nothing else.
            warm_up: Duration::from_secs(1),
            void_every: 10,
        };
        let workload = |gateway: &GatewayClient| {
            Workload::new(
                self.phase,
                &format!("{}-{}", std::process::id(), self.phase),
                gateway.name(),
                Mix::approvals(),
            )
        };
        let shop = self.cluster.gateway("shop").streaming(CONNECTIONS);
        let market = self.cluster.gateway("market");
        let (heard, beside) = tokio::try_join!(
            flood::offer(&shop, workload(&shop), offer(loud)),
            flood::offer(&market, workload(&market), offer(MODEST_RATE)),
        )?;
        eprintln!("{}\n{}", heard.line(name), beside.line("  the other gateway"));
        Ok((heard, beside))
    }
}

fn memory_of(cluster: &Cluster) -> BTreeMap<String, Memory> {
    let of = |process: Option<u32>| process.map(machine::memory).unwrap_or_default();
    cluster.nodes().iter().map(|node| (format!("node-{}", node.number()), of(node.process_id()))).collect()
}

// ------------------------------------------------------------------------------------------------------ judgement

/// N and R of everything, H as far as it was recorded.
async fn judge(cluster: &Cluster, till: &Till) -> anyhow::Result<(Report, Duration)> {
    let began = Instant::now();
    let report = judged(cluster, till.history()).await?;
    Ok((report, began.elapsed()))
}

async fn judged(cluster: &Cluster, calls: Vec<Invocation>) -> anyhow::Result<Report> {
    eprintln!("judging …");
    cluster.ready().await?;
    if let Err(error) = cluster.rest().await {
        eprintln!("{error:#}");
    }
    let operators: Vec<OperatorClient> = cluster.nodes().iter().map(|node| node.operator().clone()).collect();
    let networks = cluster.networks();
    let collected = collect::evidence(&History::default(), &operators, Some(&networks)).await?;
    let report = audit(&Evidence { calls, ..collected }, Scope::Everything);
    eprintln!("{}", report.in_words());
    Ok(report)
}

fn told(object: &mut Map<String, Value>, report: &Report, till: &Till, judged_in: Duration) {
    object.insert("auditor".to_owned(), json!(report.verdict));
    object.insert("audited_calls".to_owned(), json!(report.calls));
    object.insert("audited_transactions".to_owned(), json!(report.transactions));
    object.insert("audit_seconds".to_owned(), json!(judged_in.as_secs_f64().round()));
    object.insert("errors".to_owned(), json!(till.errors()));
}

async fn finish(cluster: Cluster, report: &Report, object: Map<String, Value>, json: bool) -> anyhow::Result<bool> {
    use std::io::Write;
    if json {
        writeln!(std::io::stdout().lock(), "{}", Value::Object(object))?;
    }
    if report.is_valid() {
        cluster.close().await?;
    }
    Ok(report.is_valid())
}

/// Connections of the client to each server, and streams.
const CONNECTIONS: usize = 4;

/// Networks get time: with all of it on two cores, a second is soon over.
const PATIENT: Timing = Timing {
    attempt_timeout: Duration::from_secs(5),
    in_flight_max: Duration::from_secs(1),
    repeat_after: Duration::from_millis(200),
};

/// How long the networks take to answer while they hold the capacity: as long as real ones do.
const LATENCY_MS: u32 = 200;
/// No payment that is faster counts as slow: on shared processors a few of any thousand take so long.
const SLOW_MIN: Duration = Duration::from_millis(100);
/// What the modest gateway pays a second: enough for a 99th percentile in ten seconds.
const MODEST_RATE: u32 = 50;
/// What the loud gateway may pay a second where it is its own limit that holds it.
const GATEWAY_RATE: u32 = 200;

/// Transactions between two looks at memory.
const LOOK_EVERY: u64 = 100_000;
/// Longest for that many.
const STEP_MAX: Duration = Duration::from_secs(600);
/// Calls kept for the audit of a long run; the networks' books and the journal are judged whole.
const RECORDED_MAX: u64 = 200_000;
/// Resident bytes of the largest node that `memory` must end below.
const MEMORY_TARGET: u64 = 400 * 1024 * 1024;
/// How many times what it had at the first look the largest node may have at the last.
const GROWTH_MAX: f64 = 1.5;
