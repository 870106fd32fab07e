//! What suites with real clusters need: their turn, payments to ask for, load, and a way to read what became of them.
//! Helpers of tests: where something is missing that the contract promises, they panic.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use switch_proto::{
    gateway::v1::{self as pb, Decision, get_transaction_request::By},
    operator::v1 as operator,
};
use tokio::{
    sync::{Mutex, MutexGuard},
    task::JoinHandle,
};
use tonic::{Code, Request, Status};

use crate::{
    auditor::evidence::Booked,
    eventually::eventually,
    gateway_client::{Aim, GatewayClient, NotTold, Patience},
    harness::{Builder, Cluster, Node, OperatorClient, directory::merchants_of},
    history,
    load::{self, Figures, Pace, Payments, Stop},
    workload::{Mix, Workload, plastic},
};

/// Longest until a healthy machine does what it is asked, under the load of a whole test run.
pub const SOON: Duration = Duration::from_secs(20);

/// Longest until payments flow again after a fault.
pub const FLOWS_WITHIN: Duration = Duration::from_secs(30);

/// Held while a cluster runs: a scenario takes it first, so that it is dropped last.
pub async fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

/// Three nodes and two networks.
pub fn three() -> Builder {
    Cluster::three().with_sandbox()
}

/// Euros.
pub fn euros(minor_units: i64) -> pb::Money {
    pb::Money { minor_units, currency_code: "EUR".to_owned() }
}

/// A payment in euros with a typed-in card. Cards that begin with 3 and 4 go to the first network, others to the second.
pub fn payment(key: &str, card: &str, minor_units: i64) -> pb::AuthorizeRequest {
    pb::AuthorizeRequest {
        request_id: key.to_owned(),
        amount: Some(euros(minor_units)),
        card: Some(plastic::keyed(card)),
        merchant: Some(merchant("shop")),
        capture_mode: pb::CaptureMode::Manual.into(),
        ..pb::AuthorizeRequest::default()
    }
}

/// The same with money taken at once.
pub fn sale(key: &str, card: &str, minor_units: i64) -> pb::AuthorizeRequest {
    pb::AuthorizeRequest { capture_mode: pb::CaptureMode::Automatic.into(), ..payment(key, card, minor_units) }
}

/// The first merchant of a gateway.
pub fn merchant(gateway: &str) -> pb::Merchant {
    pb::Merchant {
        merchant_id: merchants_of(gateway).swap_remove(0),
        category_code: "5942".to_owned(),
        name: "Book shop".to_owned(),
        city: "Riga".to_owned(),
        country_code: "LV".to_owned(),
        terminal_id: "T0000001".to_owned(),
    }
}

/// An increment of a payment.
pub fn increment(key: &str, transaction_id: &str, minor_units: i64) -> pb::IncrementAuthorizationRequest {
    let (request_id, transaction_id) = (key.to_owned(), transaction_id.to_owned());
    pb::IncrementAuthorizationRequest { request_id, transaction_id, amount: Some(euros(minor_units)) }
}

/// A capture; `last` says that no other follows.
pub fn capture(key: &str, transaction_id: &str, minor_units: i64, last: bool) -> pb::CaptureRequest {
    let (request_id, transaction_id) = (key.to_owned(), transaction_id.to_owned());
    pb::CaptureRequest { request_id, transaction_id, amount: Some(euros(minor_units)), r#final: last }
}

/// A refund.
pub fn refund(key: &str, transaction_id: &str, minor_units: i64) -> pb::RefundRequest {
    let (request_id, transaction_id) = (key.to_owned(), transaction_id.to_owned());
    pb::RefundRequest { request_id, transaction_id, amount: Some(euros(minor_units)) }
}

/// A void of a transaction.
pub fn void(key: &str, transaction_id: &str) -> pb::VoidRequest {
    let original = Some(pb::void_request::Original::TransactionId(transaction_id.to_owned()));
    pb::VoidRequest { request_id: key.to_owned(), original }
}

/// A void of whatever the key `original` came to.
pub fn void_by_key(key: &str, original: &str) -> pb::VoidRequest {
    let original = Some(pb::void_request::Original::OriginalRequestId(original.to_owned()));
    pb::VoidRequest { request_id: key.to_owned(), original }
}

/// A verification of a card.
pub fn verification(key: &str, card: &str) -> pb::VerifyCardRequest {
    pb::VerifyCardRequest {
        request_id: key.to_owned(),
        currency_code: "EUR".to_owned(),
        card: Some(plastic::keyed(card)),
        merchant: Some(merchant("shop")),
        ..pb::VerifyCardRequest::default()
    }
}

/// The shop, asking this node and no other.
pub fn shop_at(cluster: &Cluster, node: usize) -> GatewayClient {
    cluster.gateway("shop").with_aim(Aim::Node(node))
}

/// A gateway that asks once and takes no error for an answer.
pub fn impatient(gateway: &GatewayClient) -> GatewayClient {
    gateway.with_patience(Patience { calls_max: 1, ..gateway.patience() })
}

/// What was decided; panics without an outcome, which the contract forbids.
pub fn decision(result: &pb::OperationResult) -> Decision {
    outcome(result).decision()
}

/// The outcome of an answer; panics without one, which the contract forbids.
pub fn outcome(result: &pb::OperationResult) -> &pb::Outcome {
    result.outcome.as_ref().expect("an answer has an outcome")
}

/// Code and reason of an error.
pub fn reason(status: &Status) -> (Code, String) {
    (status.code(), history::reason(status).into_string())
}

/// Code and reason of a call that must be refused.
pub fn refusal(answer: Result<pb::OperationResult, NotTold>) -> (Code, String) {
    match answer {
        Ok(result) => panic!("answered instead of refused: {result:?}"),
        Err(error) => reason(&error.status),
    }
}

/// The transaction as any node has it.
pub async fn read(gateway: &GatewayClient, transaction_id: &str) -> anyhow::Result<pb::Transaction> {
    let read = gateway.with_aim(Aim::Everywhere).read(By::TransactionId(transaction_id.to_owned())).await;
    read.with_context(|| format!("reading {transaction_id}"))
}

/// Where the reversal of each attempt of a transaction stands.
pub fn reversals(transaction: &pb::Transaction) -> Vec<pb::ReversalState> {
    let attempts = transaction.operations.iter().flat_map(|operation| &operation.attempts);
    attempts.map(pb::Attempt::reversal_state).filter(|state| *state != pb::ReversalState::None).collect()
}

/// Every request that a network has received.
pub async fn received(cluster: &Cluster) -> anyhow::Result<Vec<Booked>> {
    Ok(cluster.networks().books().await?.into_iter().flat_map(|books| books.attempts).collect())
}

/// What a node says of itself.
pub async fn status(node: &Node) -> anyhow::Result<operator::GetStatusResponse> {
    node.operator().status().await.with_context(|| format!("status of node {}", node.number()))
}

/// Everything that is owed to networks.
pub async fn owed(cluster: &Cluster) -> anyhow::Result<Vec<operator::OwedMessage>> {
    let leader = cluster.wait_leader(SOON).await?;
    let mut client = cluster.node(leader.node).operator().reversals();
    let request = operator::ListReversalsRequest { page_size: 1000, ..Default::default() };
    Ok(client.list_reversals(timed(request)).await?.into_inner().owed)
}

/// One operator proposes how a parked item ends, and another confirms it (R25). May be repeated.
pub async fn resolve(
    proposing: &OperatorClient,
    confirming: &OperatorClient,
    owed: &operator::OwedMessage,
    resolution: operator::Resolution,
    evidence: &str,
) -> Result<(), Status> {
    let proposal_id = propose(proposing, owed, resolution, evidence).await?;
    let (gateway_id, attempt_id) = (owed.gateway_id.clone(), owed.attempt_id.clone());
    let confirm = operator::ConfirmResolutionRequest { gateway_id, attempt_id, proposal_id };
    confirming.reversals().confirm_resolution(timed(confirm)).await.map(drop)
}

/// Proposes how a parked item ends; gives the proposal's id.
pub async fn propose(
    by: &OperatorClient,
    owed: &operator::OwedMessage,
    resolution: operator::Resolution,
    evidence: &str,
) -> Result<String, Status> {
    let request = operator::ResolveReversalRequest {
        gateway_id: owed.gateway_id.clone(),
        attempt_id: owed.attempt_id.clone(),
        resolution: resolution.into(),
        evidence: evidence.to_owned(),
    };
    Ok(by.reversals().resolve_reversal(timed(request)).await?.into_inner().proposal_id)
}

/// An operator's call that ends in time.
pub fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(SOON);
    request
}

/// Reads a sample of what was told once more, on every node: the auditor compares (S3).
pub async fn read_again(cluster: &Cluster) -> anyhow::Result<()> {
    let gateway = cluster.gateway("shop");
    for transaction_id in cluster.history().told_transactions(SAMPLE) {
        read(&gateway, &transaction_id).await?;
    }
    Ok(())
}

/// Exit code of a node that cannot start.
pub const CANNOT_START: u8 = 1;

/// Exit code of a node that cannot go on.
pub const CANNOT_GO_ON: u8 = 70;

/// Waits until node `number` ends by itself; an error unless it ends with `code` and says `why`.
pub async fn ends(cluster: &Cluster, number: usize, code: u8, why: &str) -> anyhow::Result<()> {
    let end = || async { cluster.node(number).assert_alive().err() };
    let end = eventually(SOON, "the node ends itself", end).await?.to_string();
    anyhow::ensure!(end.contains(&format!("exit status: {code}\n")), "the node did not end with {code}:\n{end}");
    let last = end.lines().rfind(|line| line.starts_with("switch-node: ")).unwrap_or_default();
    anyhow::ensure!(last.contains(why), "the node does not say {why:?}:\n{end}");
    Ok(())
}

/// Payments that come whatever happens. A load that is dropped stops.
pub struct Load {
    /// What came of them so far.
    pub figures: Arc<Figures>,
    stop: Stop,
    task: JoinHandle<()>,
}

impl Load {
    /// Generated payments of `gateway`.
    pub fn of(gateway: &GatewayClient, seed: u64, mix: Mix, pace: Pace) -> Self {
        let workload = Workload::new(seed, "load", gateway.name(), mix);
        Self::begin(gateway, Payments::Generated(Box::new(workload)), pace)
    }

    /// These payments.
    pub fn begin(gateway: &GatewayClient, payments: Payments, pace: Pace) -> Self {
        let (figures, stop) = (Arc::<Figures>::default(), Stop::default());
        let task = tokio::spawn({
            let (gateway, figures, stop) = (gateway.clone(), figures.clone(), stop.clone());
            async move { load::run(payments, &gateway, pace, &figures, &stop).await }
        });
        Self { figures, stop, task }
    }

    /// Waits until a payment that began after `since` is approved; gives the time until then.
    pub async fn flows(&self, since: Instant) -> anyhow::Result<Duration> {
        eventually(FLOWS_WITHIN, "payments flow", || async { self.figures.approved_since(since) }).await?;
        Ok(since.elapsed())
    }

    /// Waits until this many payments are approved.
    pub async fn approves(&self, count: u64) -> anyhow::Result<()> {
        let what = format!("{count} payments are approved");
        eventually(FLOWS_WITHIN, &what, || async {
            let approved = self.figures.counts().approved;
            if approved >= count { Ok(()) } else { Err(format!("{approved} are")) }
        })
        .await
    }

    /// Begins nothing more and waits for what is under way.
    pub async fn end(mut self) -> anyhow::Result<Arc<Figures>> {
        self.stop.stop();
        tokio::time::timeout(Duration::from_secs(90), &mut self.task).await.context("the load does not end")??;
        Ok(self.figures.clone())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Enough to meet every kind of payment on every node, and quick.
const SAMPLE: usize = 300;
