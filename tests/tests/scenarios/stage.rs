//! What every scenario needs: its turn, payments to ask for, load, and a way to read what became of them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use switch_proto::{
    gateway::v1::{self as pb, Decision, get_transaction_request::By},
    operator::v1 as operator,
};
use switch_tests::{
    auditor::{self, Scope, collect, evidence::Booked, report::Report},
    eventually::eventually,
    gateway_client::{Aim, GatewayClient, NotTold, Patience},
    harness::{Builder, Cluster, Node, OperatorClient, SandboxControl, directory::merchants_of},
    history,
    load::{self, Figures, Pace, Payments, Stop},
    workload::{Mix, Workload, plastic},
};
use tokio::{
    sync::{Mutex, MutexGuard},
    task::JoinHandle,
};
use tonic::{Code, Status};

/// Longest until a healthy machine does what it is asked, under the load of a whole test run.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Longest until payments flow again after a fault.
pub(crate) const FLOWS_WITHIN: Duration = Duration::from_secs(30);

/// Held while a cluster runs: a scenario takes it first, so that it is dropped last.
pub(crate) async fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

/// Three nodes and two networks.
pub(crate) fn three() -> Builder {
    Cluster::three().with_sandbox()
}

/// Euros.
pub(crate) fn euros(minor_units: i64) -> pb::Money {
    pb::Money { minor_units, currency_code: "EUR".to_owned() }
}

/// A payment in euros with a typed-in card. Cards that begin with 3 and 4 go to the first network, others to the second.
pub(crate) fn payment(key: &str, card: &str, minor_units: i64) -> pb::AuthorizeRequest {
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
pub(crate) fn sale(key: &str, card: &str, minor_units: i64) -> pb::AuthorizeRequest {
    pb::AuthorizeRequest { capture_mode: pb::CaptureMode::Automatic.into(), ..payment(key, card, minor_units) }
}

/// The first merchant of a gateway.
pub(crate) fn merchant(gateway: &str) -> pb::Merchant {
    pb::Merchant {
        merchant_id: merchants_of(gateway).swap_remove(0),
        category_code: "5942".to_owned(),
        name: "Book shop".to_owned(),
        city: "Riga".to_owned(),
        country_code: "LV".to_owned(),
        terminal_id: "T0000001".to_owned(),
    }
}

pub(crate) fn increment(key: &str, transaction_id: &str, minor_units: i64) -> pb::IncrementAuthorizationRequest {
    let (request_id, transaction_id) = (key.to_owned(), transaction_id.to_owned());
    pb::IncrementAuthorizationRequest { request_id, transaction_id, amount: Some(euros(minor_units)) }
}

pub(crate) fn capture(key: &str, transaction_id: &str, minor_units: i64, last: bool) -> pb::CaptureRequest {
    let (request_id, transaction_id) = (key.to_owned(), transaction_id.to_owned());
    pb::CaptureRequest { request_id, transaction_id, amount: Some(euros(minor_units)), r#final: last }
}

pub(crate) fn refund(key: &str, transaction_id: &str, minor_units: i64) -> pb::RefundRequest {
    let (request_id, transaction_id) = (key.to_owned(), transaction_id.to_owned());
    pb::RefundRequest { request_id, transaction_id, amount: Some(euros(minor_units)) }
}

pub(crate) fn void(key: &str, transaction_id: &str) -> pb::VoidRequest {
    let original = Some(pb::void_request::Original::TransactionId(transaction_id.to_owned()));
    pb::VoidRequest { request_id: key.to_owned(), original }
}

pub(crate) fn void_by_key(key: &str, original: &str) -> pb::VoidRequest {
    let original = Some(pb::void_request::Original::OriginalRequestId(original.to_owned()));
    pb::VoidRequest { request_id: key.to_owned(), original }
}

pub(crate) fn verification(key: &str, card: &str) -> pb::VerifyCardRequest {
    pb::VerifyCardRequest {
        request_id: key.to_owned(),
        currency_code: "EUR".to_owned(),
        card: Some(plastic::keyed(card)),
        merchant: Some(merchant("shop")),
        ..pb::VerifyCardRequest::default()
    }
}

/// The shop, asking this node and no other.
pub(crate) fn shop_at(cluster: &Cluster, node: usize) -> GatewayClient {
    cluster.gateway("shop").with_aim(Aim::Node(node))
}

/// A gateway that asks once and takes no error for an answer.
pub(crate) fn impatient(gateway: &GatewayClient) -> GatewayClient {
    gateway.with_patience(Patience { calls_max: 1, ..gateway.patience() })
}

/// What was decided; panics without an outcome, which the contract forbids.
pub(crate) fn decision(result: &pb::OperationResult) -> Decision {
    outcome(result).decision()
}

/// See [`decision`].
pub(crate) fn outcome(result: &pb::OperationResult) -> &pb::Outcome {
    result.outcome.as_ref().expect("an answer has an outcome")
}

/// Code and reason of an error.
pub(crate) fn reason(status: &Status) -> (Code, String) {
    (status.code(), history::reason(status).into_string())
}

/// Code and reason of a call that must be refused.
pub(crate) fn refusal(answer: Result<pb::OperationResult, NotTold>) -> (Code, String) {
    match answer {
        Ok(result) => panic!("answered instead of refused: {result:?}"),
        Err(error) => reason(&error.status),
    }
}

/// The transaction as any node has it.
pub(crate) async fn read(gateway: &GatewayClient, transaction_id: &str) -> anyhow::Result<pb::Transaction> {
    let read = gateway.with_aim(Aim::Everywhere).read(By::TransactionId(transaction_id.to_owned())).await;
    read.with_context(|| format!("reading {transaction_id}"))
}

/// Where the reversal of each attempt of a transaction stands.
pub(crate) fn reversals(transaction: &pb::Transaction) -> Vec<pb::ReversalState> {
    let attempts = transaction.operations.iter().flat_map(|operation| &operation.attempts);
    attempts.map(pb::Attempt::reversal_state).filter(|state| *state != pb::ReversalState::None).collect()
}

/// Every request that a network has received.
pub(crate) async fn received(cluster: &Cluster) -> anyhow::Result<Vec<Booked>> {
    Ok(cluster.networks().books().await?.into_iter().flat_map(|books| books.attempts).collect())
}

/// What a node says of itself.
pub(crate) async fn status(node: &Node) -> anyhow::Result<operator::GetStatusResponse> {
    node.operator().status().await.with_context(|| format!("status of node {}", node.number()))
}

/// Reads a sample of what was told once more, on every node: the auditor compares (S3).
pub(crate) async fn read_again(cluster: &Cluster) -> anyhow::Result<()> {
    let gateway = cluster.gateway("shop");
    for transaction_id in cluster.history().told_transactions(SAMPLE) {
        read(&gateway, &transaction_id).await?;
    }
    Ok(())
}

/// Waits until these nodes are at rest, and judges with them alone: others have been removed, or owe for ever.
pub(crate) async fn audit_at(cluster: &Cluster, nodes: &[usize]) -> anyhow::Result<Report> {
    eventually(Duration::from_secs(60), "everything owed is acknowledged", || async {
        let mut statuses = Vec::new();
        for number in nodes {
            statuses.push(status(cluster.node(*number)).await?);
        }
        collect::at_rest(&statuses)
    })
    .await?;
    audit_now(cluster, nodes).await
}

/// Judges with these nodes, whatever is still owed.
pub(crate) async fn audit_now(cluster: &Cluster, nodes: &[usize]) -> anyhow::Result<Report> {
    let operators: Vec<OperatorClient> = nodes.iter().map(|node| cluster.node(*node).operator().clone()).collect();
    let sandbox: SandboxControl = cluster.networks();
    let evidence = collect::evidence(cluster.history(), &operators, Some(&sandbox)).await?;
    let report = auditor::audit(&evidence, Scope::Everything);
    cluster.keep_evidence(&report).await?;
    Ok(report)
}

/// Payments that come whatever happens. A load that is dropped stops.
pub(crate) struct Load {
    pub(crate) figures: Arc<Figures>,
    stop: Stop,
    task: JoinHandle<()>,
}

impl Load {
    /// Generated payments of `gateway`.
    pub(crate) fn of(gateway: &GatewayClient, seed: u64, mix: Mix, pace: Pace) -> Self {
        let workload = Workload::new(seed, "load", gateway.name(), mix);
        Self::begin(gateway, Payments::Generated(Box::new(workload)), pace)
    }

    /// These payments.
    pub(crate) fn begin(gateway: &GatewayClient, payments: Payments, pace: Pace) -> Self {
        let (figures, stop) = (Arc::<Figures>::default(), Stop::default());
        let task = tokio::spawn({
            let (gateway, figures, stop) = (gateway.clone(), figures.clone(), stop.clone());
            async move { load::run(payments, &gateway, pace, &figures, &stop).await }
        });
        Self { figures, stop, task }
    }

    /// Waits until a payment that began after `since` is approved; gives the time until then.
    pub(crate) async fn flows(&self, since: Instant) -> anyhow::Result<Duration> {
        eventually(FLOWS_WITHIN, "payments flow", || async { self.figures.approved_since(since) }).await?;
        Ok(since.elapsed())
    }

    /// Waits until this many payments are approved.
    pub(crate) async fn approves(&self, count: u64) -> anyhow::Result<()> {
        let what = format!("{count} payments are approved");
        eventually(FLOWS_WITHIN, &what, || async {
            let approved = self.figures.counts().approved;
            if approved >= count { Ok(()) } else { Err(format!("{approved} are")) }
        })
        .await
    }

    /// Begins nothing more and waits for what is under way.
    pub(crate) async fn end(mut self) -> anyhow::Result<Arc<Figures>> {
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
