use std::collections::BTreeMap;

use metrics_exporter_prometheus::PrometheusBuilder;
use switch_domain::id::{LeaderId, NetworkId};
use switch_proto::gateway::v1 as pb;
use tokio::task::JoinHandle;
use tower::{ServiceBuilder, service_fn};

use super::*;
use crate::{
    flow::{Pace, Took},
    gateway::outlook::CallLimits,
};

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place").field("priority", &self.priority).finish_non_exhaustive()
    }
}

/// A leader as a test wants it: gateways `shop` and `market`, room for a hundred payments, nothing measured.
pub(in crate::gateway::layers) struct FakeOutlook(Mutex<Seen>);

struct Seen {
    limits: CallLimits,
    known: Vec<String>,
    room: u32,
    pace: Pace,
    term: u64,
}

impl FakeOutlook {
    pub(in crate::gateway::layers) fn new() -> Arc<Self> {
        let seen = Seen { limits: CallLimits::default(), known: Vec::new(), room: 100, pace: Pace::default(), term: 1 };
        Arc::new(Self(Mutex::new(seen)))
    }

    pub(in crate::gateway::layers) fn limit(&self, requests_per_second: u32, burst: u32, concurrent: u32) {
        self.0.lock().limits = CallLimits { requests_per_second, burst, concurrent };
    }

    pub(in crate::gateway::layers) fn reigns(&self, term: u64) {
        self.0.lock().term = term;
    }

    fn knows(&self, request_id: &str) {
        self.0.lock().known.push(request_id.to_owned());
    }

    fn takes(&self, commit: Duration, answer: Duration) {
        let took = |mean: Duration| Took { count: 100, sum: mean * 100 };
        let network = NetworkId::parse("first").expect("an id");
        self.0.lock().pace = Pace { commit: took(commit), networks: BTreeMap::from([(network, took(answer))]) };
    }
}

impl Outlook for FakeOutlook {
    fn caller(&self, principal: &str) -> Option<Caller> {
        let gateway = GatewayId::parse(principal.strip_prefix("spiffe://test/gateway/")?).ok()?;
        Some(Caller { gateway, limits: self.0.lock().limits })
    }

    fn is_known(&self, _: &GatewayId, ask: &Ask) -> bool {
        self.0.lock().known.iter().any(|known| known == ask.request_id())
    }

    fn room(&self) -> u32 {
        self.0.lock().room
    }

    fn pace(&self) -> Pace {
        self.0.lock().pace.clone()
    }

    fn payment_needs(&self) -> Duration {
        Duration::from_secs(2)
    }

    fn reign(&self) -> Option<LeaderId> {
        Some(LeaderId { term: self.0.lock().term, node: 1 })
    }
}

pub(in crate::gateway::layers) fn payment(request_id: &str) -> Ask {
    Ask::Authorize(Box::new(pb::AuthorizeRequest { request_id: request_id.to_owned(), ..Default::default() }))
}

pub(in crate::gateway::layers) fn void(request_id: &str) -> Ask {
    Ask::Void(pb::VoidRequest { request_id: request_id.to_owned(), ..Default::default() })
}

fn capture(request_id: &str) -> Ask {
    Ask::Capture(pb::CaptureRequest { request_id: request_id.to_owned(), ..Default::default() })
}

fn call_of(gateway: &str, ask: Ask, within: Duration) -> GatewayCall {
    GatewayCall {
        principal: format!("spiffe://test/gateway/{gateway}").into(),
        ask,
        deadline: Some(Instant::now() + within),
        given: within,
        traceparent: String::new(),
        entered: None,
    }
}

/// A call of the shop that has its place.
pub(in crate::gateway::layers) fn called(outlook: &Arc<FakeOutlook>, ask: Ask) -> Admitted {
    let call = call_of("shop", ask, PATIENT);
    let caller = outlook.caller(&call.principal).expect("a gateway");
    let priority = Priority::of(outlook.as_ref(), &caller.gateway, &call.ask);
    Admitted { call, caller, priority }
}

/// Longer than anything here waits.
const PATIENT: Duration = Duration::from_secs(30);

type Answer = Result<Told, GatewayError>;

type Served = (String, oneshot::Sender<()>);

/// Admission before a service that answers when it is told to.
struct Scene {
    outlook: Arc<FakeOutlook>,
    admission: Arc<Admission>,
    tasks: TaskTracker,
    /// What is being served: keys in the order in which they came through, with the way to answer them.
    served: Arc<Mutex<Vec<Served>>>,
}

impl Scene {
    fn new() -> Self {
        let outlook = FakeOutlook::new();
        let admission = Admission::new(outlook.clone());
        Self { outlook, admission, tasks: TaskTracker::new(), served: Arc::default() }
    }

    /// Calls, and lets the call come as far as it comes.
    async fn call(&self, gateway: &str, ask: Ask, within: Duration) -> JoinHandle<Answer> {
        let served = self.served.clone();
        let stack = ServiceBuilder::new()
            .layer(AdmissionLayer::new(self.admission.clone(), self.tasks.clone()))
            .service(service_fn(move |admitted: Admitted| {
                let (answer, answered) = oneshot::channel();
                served.lock().push((admitted.call.ask.request_id().to_owned(), answer));
                async move {
                    let _ = answered.await;
                    Ok(Told::of(admitted.call.ask.method(), pb::OperationResult::default()))
                }
            }));
        let calling = tokio::spawn(stack.oneshot(call_of(gateway, ask, within)));
        settle().await;
        calling
    }

    /// Fills every place for payments; their keys are `p0`, `p1` and so on.
    async fn fill_payments(&self) -> Vec<JoinHandle<Answer>> {
        let mut calls = Vec::new();
        for number in 0..100 {
            calls.push(self.call("shop", payment(&format!("p{number}")), PATIENT).await);
        }
        assert_eq!(self.served().len(), 100);
        calls
    }

    fn served(&self) -> Vec<String> {
        self.served.lock().iter().map(|(key, _)| key.clone()).collect()
    }

    /// Answers one that is being served.
    async fn answer(&self, key: &str) {
        let place = self.served.lock().iter().position(|(served, _)| served == key).expect("it is being served");
        let (_, answer) = self.served.lock().remove(place);
        let _ = answer.send(());
        settle().await;
    }

    fn under_way(&self, priority: Priority) -> u32 {
        self.admission.state.lock().taken(priority).places
    }
}

/// Lets every task run as far as it can at this time.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

/// When a call that was shed may come back, of a key that the switch does not know.
fn retry_after(answer: Answer) -> Duration {
    match answer {
        Err(GatewayError::Overloaded { retry_after, sent: Sent::NotSent }) => retry_after,
        other => panic!("served instead of shed: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn payments_that_wait_for_networks_leave_voids_captures_and_repeats_their_places() {
    let scene = Scene::new();
    let _payments = scene.fill_payments().await;
    scene.outlook.knows("again");
    let waits = scene.call("shop", payment("new"), PATIENT).await;
    for (ask, key) in [(void("v"), "v"), (capture("c"), "c"), (payment("again"), "again")] {
        let answered = scene.call("shop", ask, PATIENT).await;
        assert_eq!(scene.served().last().map(String::as_str), Some(key), "at once");
        scene.answer(key).await;
        assert!(answered.await.expect("no panic").is_ok());
    }
    assert!(!waits.is_finished());
    scene.answer("p7").await;
    assert_eq!(scene.served().last().map(String::as_str), Some("new"));
}

#[tokio::test(start_paused = true)]
async fn whoever_is_worth_more_goes_first_where_commits_are_slow() {
    let scene = Scene::new();
    scene.admission.state.lock().limits = Limits::of(64, 64);
    for number in 0..64 {
        let _held = scene.call("shop", capture(&format!("held-{number}")), PATIENT).await;
    }
    scene.outlook.knows("repeat");
    // In the reverse order of what they are worth.
    let mut waiting = vec![
        scene.call("shop", payment("payment"), PATIENT).await,
        scene.call("shop", payment("repeat"), PATIENT).await,
        scene.call("shop", capture("capture"), PATIENT).await,
        scene.call("shop", void("void"), PATIENT).await,
    ];
    // There are places for payments, and the journal is what is short: those who wait for it come first.
    assert_eq!(scene.served()[64..], ["payment"], "it came while nobody waited");
    waiting.push(scene.call("shop", payment("payment-2"), PATIENT).await);
    let mut order = Vec::new();
    for number in 0..4 {
        scene.answer(&format!("held-{number}")).await;
        let served = scene.served();
        order.extend(served.into_iter().filter(|key| !key.starts_with("held") && key != "payment"));
        order.dedup();
    }
    let mut first_seen: Vec<String> = Vec::new();
    for key in order {
        if !first_seen.contains(&key) {
            first_seen.push(key);
        }
    }
    assert_eq!(first_seen, ["void", "capture", "payment-2", "repeat"], "the repeat waits for its share of the moments");
}

#[tokio::test(start_paused = true)]
async fn a_payment_is_shed_after_a_quarter_of_a_second_and_a_void_waits_as_long_as_its_caller() {
    let scene = Scene::new();
    scene.admission.state.lock().limits = Limits::of(64, 64);
    for number in 0..64 {
        let _held = scene.call("shop", payment(&format!("p{number}")), PATIENT).await;
        let _held = scene.call("shop", capture(&format!("c{number}")), PATIENT).await;
    }
    let begun = Instant::now();
    let new = scene.call("shop", payment("new"), PATIENT).await;
    let cancel = scene.call("shop", void("cancel"), PATIENT).await;
    assert_eq!(retry_after(new.await.expect("no panic")), Duration::from_millis(500));
    assert_eq!(begun.elapsed().as_millis(), 250);
    tokio::time::advance(Duration::from_secs(29)).await;
    assert!(!cancel.is_finished());
    scene.answer("c0").await;
    assert_eq!(scene.served().last().map(String::as_str), Some("cancel"));
    assert!(!scene.served().contains(&"new".to_owned()), "what was shed reached nothing");
}

/// A fault there was: the gauge went up with who came, and down only with who was let in.
#[tokio::test(start_paused = true)]
async fn who_leaves_a_line_is_no_longer_counted_in_it() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let page = recorder.handle();
    let _recorded = metrics::set_default_local_recorder(&recorder);
    let waiting = || {
        let page = page.render();
        page.lines()
            .find_map(|line| line.strip_prefix("payswitch_admission_queued{priority=\"payment\"} ").map(str::to_owned))
    };
    let scene = Scene::new();
    let _payments = scene.fill_payments().await;
    let late = scene.call("shop", payment("late"), PATIENT).await;
    assert_eq!(waiting().as_deref(), Some("1"));
    retry_after(late.await.expect("no panic"));
    assert_eq!(waiting().as_deref(), Some("0"));
}

#[tokio::test(start_paused = true)]
async fn one_whose_deadline_cannot_be_met_any_more_is_shed_at_once() {
    let scene = Scene::new();
    let _payments = scene.fill_payments().await;
    // Two seconds are what a payment needs.
    let begun = Instant::now();
    let late = scene.call("shop", payment("late"), Duration::from_millis(1_999)).await;
    retry_after(late.await.expect("no panic"));
    assert_eq!(begun.elapsed(), Duration::ZERO);
    let later = scene.call("shop", payment("later"), Duration::from_millis(2_100)).await;
    retry_after(later.await.expect("no panic"));
    assert_eq!(begun.elapsed().as_millis(), 100, "not a moment longer than it can be met");
}

#[tokio::test(start_paused = true)]
async fn the_line_is_bounded_and_the_modest_gateway_gets_in() {
    let scene = Scene::new();
    let _payments = scene.fill_payments().await;
    let mut waiting = Vec::new();
    for number in 0..Priority::Payment.waiting_max() {
        waiting.push(scene.call("shop", payment(&format!("w{number}")), PATIENT).await);
    }
    let over = scene.call("shop", payment("over"), PATIENT).await;
    retry_after(over.await.expect("no panic"));
    let modest = scene.call("market", payment("modest"), PATIENT).await;
    let last = waiting.pop().expect("the line is full");
    retry_after(last.await.expect("no panic"));
    scene.answer("p0").await;
    scene.answer("p1").await;
    assert!(scene.served().contains(&"modest".to_owned()), "one of shop, one of market");
    scene.answer("modest").await;
    assert!(modest.await.expect("no panic").is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_gateway_with_little_under_way_finds_a_place_where_a_loud_one_waits() {
    let scene = Scene::new();
    let _modest = scene.call("market", payment("m0"), PATIENT).await;
    for number in 0..100 {
        let _loud = scene.call("shop", payment(&format!("p{number}")), PATIENT).await;
    }
    assert_eq!(scene.under_way(Priority::Payment), 94, "the last sixteenth is for the modest");
    for number in 1..=6 {
        let _modest = scene.call("market", payment(&format!("m{number}")), PATIENT).await;
        assert_eq!(scene.served().last(), Some(&format!("m{number}")), "at once");
    }
    let _waits = scene.call("market", payment("m7"), PATIENT).await;
    assert_eq!(scene.under_way(Priority::Payment), 100, "all places are taken");
    for number in 0..7 {
        scene.answer(&format!("m{number}")).await;
    }
    assert_eq!(scene.served().last(), Some(&"m7".to_owned()));
    scene.answer("m7").await;
    assert_eq!(scene.under_way(Priority::Payment), 100, "alone, the loud one has all of them");
}

#[tokio::test(start_paused = true)]
async fn r2_a_place_is_held_until_the_leader_is_done_also_where_the_caller_has_gone() {
    let scene = Scene::new();
    let payments = scene.fill_payments().await;
    for call in &payments {
        call.abort();
    }
    settle().await;
    assert_eq!(scene.under_way(Priority::Payment), 100);
    let waits = scene.call("shop", payment("new"), PATIENT).await;
    assert!(!waits.is_finished());
    waits.abort();
    settle().await;
    assert!(scene.admission.state.lock().lines.iter().all(Line::is_empty), "who leaves the line is forgotten");
    for number in 0..100 {
        scene.answer(&format!("p{number}")).await;
    }
    assert_eq!(scene.under_way(Priority::Payment), 0);
}

#[tokio::test(start_paused = true)]
async fn slow_commits_take_places_away_and_good_ones_give_them_back_within_five_seconds() {
    let scene = Scene::new();
    scene.outlook.0.lock().room = 10_000;
    let shop = GatewayId::parse("shop").expect("an id");
    let mut held = Vec::new();
    scene.outlook.takes(Duration::from_millis(5), Duration::from_millis(50));
    tokio::time::advance(limits::LOOK_EVERY).await;
    let deadline = Instant::now() + PATIENT;
    for _ in 0..1_000 {
        held.push(scene.admission.enter(Priority::Payment, &shop, deadline).await.expect("room"));
    }
    scene.outlook.takes(Duration::from_secs(1), Duration::from_millis(50));
    for _ in 0..8 {
        tokio::time::advance(limits::LOOK_EVERY).await;
        held.pop();
    }
    assert_eq!(scene.admission.state.lock().payments_max(), 64);
    drop(held);
    scene.outlook.takes(Duration::from_millis(5), Duration::from_millis(50));
    let recovering = Instant::now();
    let mut held = Vec::new();
    while scene.admission.state.lock().payments_max() < 1_000 {
        assert!(recovering.elapsed() < Duration::from_secs(5), "{} places", held.len());
        tokio::time::advance(limits::LOOK_EVERY).await;
        while scene.admission.state.lock().has_place(Priority::Payment, &shop) {
            let place = scene.admission.enter(Priority::Payment, &shop, Instant::now() + PATIENT).await;
            held.push(place.expect("there is one"));
        }
        drop(held.pop());
    }
}

#[tokio::test(start_paused = true)]
async fn repeats_that_wait_for_a_decision_leave_half_of_the_moments_to_others() {
    let scene = Scene::new();
    scene.admission.state.lock().limits = Limits::of(64, 64);
    for number in 0..40 {
        scene.outlook.knows(&format!("r{number}"));
        let _held = scene.call("shop", payment(&format!("r{number}")), PATIENT).await;
    }
    assert_eq!(scene.under_way(Priority::Replay), 32);
    let _void = scene.call("shop", void("v"), PATIENT).await;
    assert_eq!(scene.served().last().map(String::as_str), Some("v"));
}

/// A read has no message stack: it enters where it is served.
async fn read(scene: &Scene, gateway: &str) -> JoinHandle<Result<Place, GatewayError>> {
    let (admission, gateway) = (scene.admission.clone(), GatewayId::parse(gateway).expect("an id"));
    let reading =
        tokio::spawn(async move { admission.enter(Priority::Read, &gateway, Instant::now() + PATIENT).await });
    settle().await;
    reading
}

#[tokio::test(start_paused = true)]
async fn reads_that_wait_for_a_quorum_leave_the_other_gateways_theirs_and_hold_no_call_back() {
    let scene = Scene::new();
    scene.admission.state.lock().limits = Limits::of(64, 64);
    scene.outlook.knows("repeat");
    let mut loud = Vec::new();
    for _ in 0..20 {
        loud.push(read(&scene, "shop").await);
    }
    assert_eq!(scene.under_way(Priority::Read), 8, "half of a quarter is for one gateway");
    let waits = loud.pop().expect("twelve wait");
    let mut modest = Vec::new();
    for _ in 0..8 {
        modest.push(read(&scene, "market").await);
        assert!(modest.iter().all(JoinHandle::is_finished), "at once");
    }
    let third = read(&scene, "kiosk").await;
    assert_eq!(scene.under_way(Priority::Read), 16, "a quarter is for all of them");
    for (ask, key) in
        [(payment("payment"), "payment"), (payment("repeat"), "repeat"), (capture("c"), "c"), (void("v"), "v")]
    {
        let _served = scene.call("market", ask, PATIENT).await;
        assert_eq!(scene.served().last().map(String::as_str), Some(key), "at once, while reads wait");
    }
    drop(modest.pop());
    settle().await;
    assert!(third.is_finished() && !waits.is_finished(), "the place goes to who has less than may be one's");
    let begun = Instant::now();
    let shed = waits.await.expect("no panic");
    assert!(matches!(shed, Err(GatewayError::Overloaded { .. })), "{shed:?}");
    assert_eq!(begun.elapsed().as_millis(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn of_those_who_wait_for_a_moment_a_read_goes_behind_captures_and_before_repeats() {
    let scene = Scene::new();
    scene.admission.state.lock().limits = Limits::of(64, 64);
    for number in 0..64 {
        let _held = scene.call("shop", capture(&format!("held-{number}")), PATIENT).await;
    }
    scene.outlook.knows("repeat");
    let _repeat = scene.call("shop", payment("repeat"), PATIENT).await;
    let reading = read(&scene, "shop").await;
    let _capture = scene.call("shop", capture("capture"), PATIENT).await;
    scene.answer("held-0").await;
    assert_eq!(scene.served().last().map(String::as_str), Some("capture"));
    assert!(!reading.is_finished());
    scene.answer("held-1").await;
    assert!(reading.is_finished());
    assert!(!scene.served().contains(&"repeat".to_owned()));
    scene.answer("held-2").await;
    assert_eq!(scene.served().last().map(String::as_str), Some("repeat"));
}

#[tokio::test(start_paused = true)]
async fn a_repeat_that_is_shed_is_not_told_that_nothing_was_sent() {
    let scene = Scene::new();
    scene.admission.state.lock().limits = Limits::of(64, 64);
    let mut repeats = Vec::new();
    for number in 0..33 {
        scene.outlook.knows(&format!("r{number}"));
        repeats.push(scene.call("shop", payment(&format!("r{number}")), PATIENT).await);
    }
    let shed = repeats.pop().expect("33 repeats").await.expect("no panic");
    assert!(matches!(shed, Err(GatewayError::Overloaded { sent: Sent::Unknown, .. })), "{shed:?}");
}

#[tokio::test(start_paused = true)]
async fn nobody_without_a_gateway_and_nothing_without_a_deadline_is_let_in() {
    let scene = Scene::new();
    let stack = ServiceBuilder::new()
        .layer(AdmissionLayer::new(scene.admission.clone(), scene.tasks.clone()))
        .service(service_fn(|_: Admitted| async { panic!("must not be reached") }));
    let stack: tower::util::BoxCloneSyncService<GatewayCall, Told, GatewayError> =
        tower::util::BoxCloneSyncService::new(stack);
    let stranger = GatewayCall { principal: "spiffe://test/network/x".into(), ..call_of("shop", void("a"), PATIENT) };
    let unknown = stack.clone().oneshot(stranger).await;
    assert!(matches!(unknown, Err(GatewayError::UnknownPrincipal)), "{unknown:?}");
    let timeless = GatewayCall { deadline: None, ..call_of("shop", void("a"), PATIENT) };
    let missing = stack.oneshot(timeless).await;
    assert!(matches!(missing, Err(GatewayError::DeadlineMissing)), "{missing:?}");
}
