//! Every act of an operator's leaves its kind in the audit trail, and no read does: tried with each method that the contracts of
//! the operators have, so that a new one without its record is found here.

use std::collections::BTreeSet;

use anyhow::{Context as _, bail, ensure};
use prost::Message as _;
use switch_proto::{
    journal::v1::{AuditRecord, Stage, act::Act},
    operator::v1::{
        self as pb, audit_service_client::AuditServiceClient, transaction_service_client::TransactionServiceClient,
    },
};
use switch_tests::{
    channel,
    eventually::eventually,
    harness::{Cluster, OperatorClient},
    sandbox::cards,
    stage::{self, SOON, timed},
};
use tonic::{Status, Streaming, transport::Channel};

use super::contracts;

/// Every method of the operators' contracts in an order in which each finds what it needs, with the kind of record that it leaves.
const METHODS: [(&str, Option<&str>); 26] = [
    ("ClusterService/Bootstrap", Some("bootstrap")),
    ("DirectoryService/ApplyDirectory", Some("change_directory")),
    ("ReversalService/ResendReversal", Some("resend_reversal")),
    ("ReversalService/ResolveReversal", Some("propose_resolution")),
    ("ReversalService/WithdrawResolution", Some("withdraw_resolution")),
    ("ReversalService/ConfirmResolution", Some("confirm_resolution")),
    ("ReversalService/ListReversals", None),
    ("KeyService/RotateKey", Some("rotate_key")),
    ("KeyService/ListKeys", None),
    ("ClusterService/AddMember", Some("add_member")),
    ("ClusterService/PromoteMember", Some("promote_member")),
    ("ClusterService/RemoveMember", Some("remove_member")),
    ("ClusterService/TriggerSnapshot", Some("take_snapshot")),
    ("ClusterService/SaveSnapshot", Some("save_snapshot")),
    ("ClusterService/AcceptClock", Some("accept_clock")),
    ("ClusterService/GetClock", None),
    ("ClusterService/GetStatus", None),
    ("DirectoryService/GetDirectory", None),
    ("DirectoryService/ExplainRoute", None),
    ("RecordService/ExportTransactions", Some("export_transactions")),
    ("TransactionService/GetTransaction", None),
    ("TransactionService/ListTransactions", None),
    ("TransactionService/ListTransactionEvents", None),
    ("AuditService/ListAuditRecords", None),
    ("ClusterService/TransferLeader", Some("transfer_leader")),
    ("ClusterService/DrainNode", Some("drain_node")),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_method_of_the_operators_leaves_its_act_in_the_trail_or_is_a_read() -> anyhow::Result<()> {
    let named: BTreeSet<String> = METHODS.iter().map(|(method, _)| (*method).to_owned()).collect();
    assert_eq!(named, methods()?, "each method has its place in METHODS, with the kind of record that it leaves");
    let kinds: BTreeSet<String> = METHODS.iter().filter_map(|(_, kind)| kind.map(str::to_owned)).collect();
    assert_eq!(kinds, kinds_of_acts()?, "each kind of record is that of a method");

    let _turn = stage::turn().await;
    // Nobody forms a cluster before an operator says so.
    let cluster = stage::three().election_ms(250, 3000, 5000).config("bootstrap = false").start_nodes().await?;
    for node in cluster.nodes() {
        eventually(SOON, "every node serves operators", || node.operator().status()).await?;
    }
    let mut stand = Stand { cluster: &cluster, leader: 1, attempt: None, proposal_id: String::new() };
    let mut wrong = Vec::new();
    let mut before = 0;
    for (method, kind) in METHODS {
        let said = stand.call(method).await.with_context(|| method.to_owned())?;
        let records = stand.records_after(before).await.with_context(|| format!("the trail after {method}"))?;
        let left: BTreeSet<&str> = records.iter().map(|record| kind_of(record).unwrap_or("no act")).collect();
        if left != kind.into_iter().collect() {
            wrong.push(format!("{method} leaves {left:?} instead of {kind:?}, and says {said:?}"));
        }
        for record in &records {
            let entry = record.entry.as_ref().context("a record without an entry")?;
            if entry.author != cluster.pki().operator_uri("ops") && entry.author != cluster.pki().operator_uri("bruno")
            {
                wrong.push(format!("{method} is said to be an act of {:?}", entry.author));
            }
        }
        let ends = [Stage::Done, Stage::Refused];
        let end = records.last().and_then(|record| record.entry.as_ref()).map(|entry| entry.stage());
        if end.is_some_and(|end| !ends.contains(&end)) {
            wrong.push(format!("{method} has no end in the trail: {end:?}"));
        }
        before += records.len() as u64;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // A fault there was: what was refused at once, or was nothing to do, left no record.
    for (name, kind, end, reason) in AT_ONCE {
        let _ = stand.call_at_once(name).await?;
        let records = stand.records_after(before).await?;
        let entries: Vec<_> = records.iter().filter_map(|record| record.entry.as_ref()).collect();
        let last = entries.last().with_context(|| format!("{name} left no record"))?;
        assert_eq!((kind_of(records.last().context("a record")?), last.stage()), (Some(kind), end), "{name}");
        assert!(last.reason.starts_with(reason), "{name} was refused for {:?}", last.reason);
        before += records.len() as u64;
    }
    cluster.close().await
}

/// Calls that are answered before anything is begun, and what they leave.
const AT_ONCE: [(&str, &str, Stage, &str); 3] = [
    ("form a cluster that is there", "bootstrap", Stage::Refused, "ALREADY_IN_A_CLUSTER"),
    ("send an unknown reversal", "resend_reversal", Stage::Refused, "ATTEMPT_NOT_FOUND"),
    ("hand leadership to whoever has it", "transfer_leader", Stage::Done, ""),
];

/// Every method of the operators' contracts.
fn methods() -> anyhow::Result<BTreeSet<String>> {
    let methods = contracts::methods()?.into_iter().filter(|method| method.package == "payswitch.operator.v1");
    Ok(methods.map(|method| method.name).collect())
}

/// Every kind of record that the audit trail knows.
fn kinds_of_acts() -> anyhow::Result<BTreeSet<String>> {
    let files = contracts::files()?;
    let mut messages = files.file.iter().flat_map(|file| &file.message_type);
    let act = messages.find(|message| message.name() == "Act").context("the trail has acts")?;
    Ok(act.field.iter().map(|field| field.name().to_owned()).collect())
}

/// The kind of a record, as its field is named.
fn kind_of(record: &AuditRecord) -> Option<&'static str> {
    let act = record.entry.as_ref()?.act.as_ref()?.act.as_ref()?;
    Some(match act {
        Act::ChangeDirectory(_) => "change_directory",
        Act::Bootstrap(_) => "bootstrap",
        Act::AddMember(_) => "add_member",
        Act::PromoteMember(_) => "promote_member",
        Act::RemoveMember(_) => "remove_member",
        Act::TransferLeader(_) => "transfer_leader",
        Act::DrainNode(_) => "drain_node",
        Act::TakeSnapshot(_) => "take_snapshot",
        Act::ResendReversal(_) => "resend_reversal",
        Act::ProposeResolution(_) => "propose_resolution",
        Act::RotateKey(_) => "rotate_key",
        Act::ConfirmResolution(_) => "confirm_resolution",
        Act::WithdrawResolution(_) => "withdraw_resolution",
        Act::AcceptClock(_) => "accept_clock",
        Act::SaveSnapshot(_) => "save_snapshot",
        Act::ExportTransactions(_) => "export_transactions",
    })
}

/// What methods need to be called.
struct Stand<'a> {
    cluster: &'a Cluster,
    /// The node that leads.
    leader: usize,
    /// A reversal that is parked.
    attempt: Option<pb::OwedMessage>,
    /// The proposal that stands for it.
    proposal_id: String,
}

impl Stand<'_> {
    fn operator(&self) -> &OperatorClient {
        self.cluster.node(self.leader).operator()
    }

    fn channel(&self) -> anyhow::Result<Channel> {
        channel::lazy(self.operator().address(), self.cluster.operator_tls().client()?)
    }

    /// Calls a method as an operator would who means it. An act may be refused: the trail has it all the same.
    async fn call(&mut self, method: &str) -> anyhow::Result<Result<(), Status>> {
        let operator = self.operator().clone();
        let (mut members, mut directory) = (operator.cluster(), operator.directory());
        let (mut keys, mut reversals) = (operator.keys(), operator.reversals());
        let other = self.leader % 3 + 1;
        let said = match method {
            "ClusterService/Bootstrap" => {
                let formed = members.bootstrap(timed(pb::BootstrapRequest {})).await.map(drop);
                self.cluster.ready().await?;
                self.leader = self.cluster.wait_leader(SOON).await?.node;
                formed
            }
            "ClusterService/AddMember" => {
                let peer_address = self.cluster.node(other).peer_address().to_owned();
                members.add_member(timed(pb::AddMemberRequest { peer_address })).await.map(drop)
            }
            "ClusterService/PromoteMember" => {
                let node_id = self.cluster.node(other).operator().status().await?.node_id;
                members.promote_member(timed(pb::PromoteMemberRequest { node_id })).await.map(drop)
            }
            "ClusterService/RemoveMember" => {
                members.remove_member(timed(pb::RemoveMemberRequest { node_id: NOBODY })).await.map(drop)
            }
            "ClusterService/TransferLeader" => {
                let node_id = self.cluster.node(other).operator().status().await?.node_id;
                let said = members.transfer_leader(timed(pb::TransferLeaderRequest { node_id })).await.map(drop);
                self.leader = self.cluster.wait_other_leader(self.leader, SOON).await?.node;
                said
            }
            "ClusterService/DrainNode" => {
                // One that follows: the trail is read from the leader.
                let mut members = self.cluster.node(other).operator().cluster();
                members.drain_node(timed(pb::DrainNodeRequest {})).await.map(drop)
            }
            "ClusterService/TriggerSnapshot" => {
                members.trigger_snapshot(timed(pb::TriggerSnapshotRequest {})).await.map(drop)
            }
            "ClusterService/SaveSnapshot" => {
                to_the_end(members.save_snapshot(timed(pb::SaveSnapshotRequest {})).await).await
            }
            "ClusterService/AcceptClock" => {
                let seen = members.get_clock(timed(pb::GetClockRequest {})).await?.into_inner().wall_unix_ms;
                let accept = pb::AcceptClockRequest { seen_wall_unix_ms: seen, reason: "looked at it".to_owned() };
                members.accept_clock(timed(accept)).await.map(drop)
            }
            "ClusterService/GetClock" => members.get_clock(timed(pb::GetClockRequest {})).await.map(drop),
            "ClusterService/GetStatus" => members.get_status(timed(pb::GetStatusRequest {})).await.map(drop),
            "DirectoryService/ApplyDirectory" => {
                self.cluster.apply_directory().await?;
                self.cluster.ready().await?;
                self.attempt = Some(self.parked().await?);
                Ok(())
            }
            "DirectoryService/GetDirectory" => {
                directory.get_directory(timed(pb::GetDirectoryRequest {})).await.map(drop)
            }
            "DirectoryService/ExplainRoute" => {
                let (card_digits, currency_code) = ("4".to_owned(), "EUR".to_owned());
                let explain = pb::ExplainRouteRequest { card_digits, currency_code, amount_minor_units: 100 };
                directory.explain_route(timed(explain)).await.map(drop)
            }
            "KeyService/ListKeys" => keys.list_keys(timed(pb::ListKeysRequest {})).await.map(drop),
            "KeyService/RotateKey" => operator.rotate_key("rotate", pb::KeyPurpose::Card).await.map(drop),
            "ReversalService/ListReversals" => {
                reversals.list_reversals(timed(pb::ListReversalsRequest::default())).await.map(drop)
            }
            "ReversalService/ResendReversal" => {
                let pb::OwedMessage { gateway_id, attempt_id, .. } = self.owed()?;
                reversals.resend_reversal(timed(pb::ResendReversalRequest { gateway_id, attempt_id })).await.map(drop)
            }
            "ReversalService/ResolveReversal" => self.propose(&operator).await,
            "ReversalService/WithdrawResolution" => {
                let (pb::OwedMessage { gateway_id, attempt_id, .. }, proposal_id) =
                    (self.owed()?, self.proposal_id.clone());
                let withdraw = pb::WithdrawResolutionRequest { gateway_id, attempt_id, proposal_id };
                reversals.withdraw_resolution(timed(withdraw)).await.map(drop)
            }
            "ReversalService/ConfirmResolution" => self.confirm(&operator).await?,
            "RecordService/ExportTransactions" => {
                let export = timed(pb::ExportTransactionsRequest::default());
                to_the_end(operator.records().export_transactions(export).await).await
            }
            "TransactionService/GetTransaction" => {
                let owed = self.owed()?;
                let (gateway_id, by) = (owed.gateway_id, pb::get_transaction_request::By::TransactionId);
                let get = pb::GetTransactionRequest { gateway_id, by: Some(by(owed.transaction_id)) };
                TransactionServiceClient::new(self.channel()?).get_transaction(timed(get)).await.map(drop)
            }
            "TransactionService/ListTransactions" => {
                let list = pb::ListTransactionsRequest { gateway_id: "shop".to_owned(), ..Default::default() };
                TransactionServiceClient::new(self.channel()?).list_transactions(timed(list)).await.map(drop)
            }
            "TransactionService/ListTransactionEvents" => {
                let list = pb::ListTransactionEventsRequest { gateway_id: "shop".to_owned(), ..Default::default() };
                TransactionServiceClient::new(self.channel()?).list_transaction_events(timed(list)).await.map(drop)
            }
            "AuditService/ListAuditRecords" => {
                let list = timed(pb::ListAuditRecordsRequest::default());
                AuditServiceClient::new(self.channel()?).list_audit_records(list).await.map(drop)
            }
            other => bail!("nobody here knows how {other} is called"),
        };
        Ok(said)
    }

    /// One of [`AT_ONCE`].
    async fn call_at_once(&self, name: &str) -> anyhow::Result<Result<(), Status>> {
        let operator = self.operator();
        Ok(match name {
            "form a cluster that is there" => {
                operator.cluster().bootstrap(timed(pb::BootstrapRequest {})).await.map(drop)
            }
            "send an unknown reversal" => {
                let pb::OwedMessage { gateway_id, attempt_id, .. } = self.owed()?;
                let transaction = attempt_id.split('-').next().context("an attempt has a transaction")?;
                let attempt_id = format!("{transaction}-99-1");
                let resend = pb::ResendReversalRequest { gateway_id, attempt_id };
                operator.reversals().resend_reversal(timed(resend)).await.map(drop)
            }
            "hand leadership to whoever has it" => {
                let node_id = operator.status().await?.node_id;
                operator.cluster().transfer_leader(timed(pb::TransferLeaderRequest { node_id })).await.map(drop)
            }
            other => bail!("nobody here knows how to {other}"),
        })
    }

    /// A payment whose reversal its network refuses: parked, until two operators close it (R25).
    async fn parked(&self) -> anyhow::Result<pb::OwedMessage> {
        let gateway = self.cluster.gateway("shop");
        let paid = gateway.authorize(stage::payment("parked", cards::REVERSAL_REFUSED, 1_000)).await?;
        gateway.void(stage::void("parked-void", &paid.transaction_id)).await?;
        eventually(SOON, "the reversal is parked", || async {
            let parked = pb::ListReversalsRequest { parked_only: true, ..Default::default() };
            let parked = self.operator().reversals().list_reversals(timed(parked)).await?.into_inner();
            parked.owed.into_iter().next().context("nothing is parked")
        })
        .await
    }

    fn owed(&self) -> anyhow::Result<pb::OwedMessage> {
        self.attempt.clone().context("nothing was parked")
    }

    async fn propose(&mut self, operator: &OperatorClient) -> Result<(), Status> {
        let Ok(owed) = self.owed() else { return Err(Status::internal("nothing was parked")) };
        let proposed = stage::propose(operator, &owed, pb::Resolution::Stands, "settlement file, line 17").await;
        proposed.map(|proposal_id| self.proposal_id = proposal_id)
    }

    /// Another person's word, which comes too late here: the proposal was withdrawn.
    async fn confirm(&mut self, operator: &OperatorClient) -> anyhow::Result<Result<(), Status>> {
        let another = self.cluster.another_operator("bruno")?;
        let another = OperatorClient::new(operator.address(), &another)?;
        let (pb::OwedMessage { gateway_id, attempt_id, .. }, proposal_id) = (self.owed()?, self.proposal_id.clone());
        let confirm = pb::ConfirmResolutionRequest { gateway_id, attempt_id, proposal_id };
        Ok(another.reversals().confirm_resolution(timed(confirm)).await.map(drop))
    }

    /// The records behind this number, in order.
    async fn records_after(&self, number: u64) -> anyhow::Result<Vec<AuditRecord>> {
        let mut client = AuditServiceClient::new(self.channel()?);
        let page_token = if number == 0 { String::new() } else { number.to_string() };
        let list = pb::ListAuditRecordsRequest { page_size: 1_000, page_token, newest_first: false };
        let listed = client.list_audit_records(timed(list)).await?.into_inner();
        ensure!(listed.next_page_token.is_empty(), "more records than fit on a page");
        listed.records.into_iter().map(|record| Ok(AuditRecord::decode(record.record)?)).collect()
    }
}

/// A node id that no node has.
const NOBODY: u64 = 17;

/// Reads a stream of answers to its end.
async fn to_the_end<T>(begun: Result<tonic::Response<Streaming<T>>, Status>) -> Result<(), Status> {
    let mut answers = begun?.into_inner();
    while answers.message().await?.is_some() {}
    Ok(())
}
