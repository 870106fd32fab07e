//! Fetches the accounts from a running cluster.

use std::time::Duration;

use anyhow::Context;
use futures::future::join_all;
use switch_proto::operator::v1::{self as pb, ReversalPolicy};

use super::{
    Scope, audit,
    evidence::{Evidence, Export, Record},
};
use crate::{
    eventually::eventually,
    harness::{OperatorClient, SandboxControl},
    history::History,
};

/// Longest until every node exports at one index.
const SAME_INDEX_WITHIN: Duration = Duration::from_secs(30);

/// Longest until every node has applied what the exports themselves left in the journal.
const AT_REST_WITHIN: Duration = Duration::from_secs(5);

/// Longest until what one gateway was told has come to rest.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// Gathers H, N and R. N is read before R: what a network received by then stands in the journal already.
pub async fn evidence(
    history: &History,
    operators: &[OperatorClient],
    sandbox: Option<&SandboxControl>,
) -> anyhow::Result<Evidence> {
    let networks = match sandbox {
        Some(sandbox) => sandbox.books().await.context("books of the networks")?,
        None => Vec::new(),
    };
    let (records, exports) = exports(operators).await?;
    let never_reversed = match operators.first() {
        Some(operator) => never_reversed(operator).await?,
        None => Vec::new(),
    };
    Ok(Evidence { calls: history.calls(), reads: history.reads(), records, exports, networks, never_reversed })
}

/// The same while the cluster serves others: waits until every transaction that this history names has come to rest.
pub async fn settled(
    history: &History,
    operators: &[OperatorClient],
    sandbox: Option<&SandboxControl>,
) -> anyhow::Result<Evidence> {
    let deadline = std::time::Instant::now() + SETTLED_WITHIN;
    loop {
        let operators = leader_only(operators).await;
        let mut evidence = evidence(history, &operators, sandbox).await?;
        // Others are served meanwhile: no two nodes export at one index.
        evidence.exports.clear();
        let moving = audit(&evidence, Scope::Told).unknown_counts.values().sum::<u64>();
        if moving == 0 || std::time::Instant::now() > deadline {
            return Ok(evidence);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// The leader alone: what a network received, it has applied; a follower may be behind.
async fn leader_only(operators: &[OperatorClient]) -> Vec<OperatorClient> {
    for operator in operators {
        if operator.status().await.is_ok_and(|status| status.leader_id == status.node_id) {
            return vec![operator.clone()];
        }
    }
    operators.to_vec()
}

/// True where nothing is under way and nothing is owed but what is parked.
pub fn at_rest(statuses: &[pb::GetStatusResponse]) -> anyhow::Result<()> {
    let applied = statuses.first().map_or(0, |status| status.applied_index);
    for status in statuses {
        let node = status.node_id;
        anyhow::ensure!(status.open_attempts == 0, "{} attempts are open at node {node}", status.open_attempts);
        for link in &status.links {
            let owed = link.owed_count.saturating_sub(link.parked_count);
            anyhow::ensure!(owed == 0, "{owed} owed over {} at node {node}", link.link_id);
        }
        anyhow::ensure!(status.applied_index == applied, "node {node} applied {} not {applied}", status.applied_index);
    }
    Ok(())
}

/// Exports every node until all hold the same at one index, or the bound is reached: then the auditor will say what differs, or
/// `unknown` where they have not come to rest. An export is an act of an operator's, which the journal takes down:
/// no two nodes export at one index, so that at rest their index and hash are asked for after the last export has ended.
async fn exports(operators: &[OperatorClient]) -> anyhow::Result<(Vec<Record>, Vec<Export>)> {
    let deadline = std::time::Instant::now() + SAME_INDEX_WITHIN;
    loop {
        // Side by side: whatever still trickles into the journal moves them apart.
        let exports = join_all(operators.iter().enumerate().map(|(number, operator)| async move {
            let mut records = Vec::new();
            let keep = (number == 0).then_some(&mut records);
            let export = export(operator, keep).await.with_context(|| format!("export of {}", operator.address()))?;
            anyhow::Ok((export, records))
        }))
        .await;
        let (mut all, mut records) = (Vec::new(), Vec::new());
        for exported in exports {
            let (export, own) = exported?;
            all.push(export);
            records.extend(own);
        }
        if operators.len() > 1 {
            let statuses = eventually(AT_REST_WITHIN, "the nodes come to rest", || async {
                let statuses = join_all(operators.iter().map(OperatorClient::status)).await;
                let statuses: Vec<_> = statuses.into_iter().collect::<Result<_, _>>()?;
                at_rest(&statuses).map(|()| statuses)
            });
            for (export, status) in all.iter_mut().zip(statuses.await.unwrap_or_default()) {
                (export.applied_index, export.state_hash) = (status.applied_index, status.state_hash.to_vec());
            }
        }
        let is_same = |pair: &[Export]| pair[0].applied_index == pair[1].applied_index && pair[0].rows == pair[1].rows;
        let same = all.windows(2).all(is_same);
        if same || std::time::Instant::now() > deadline {
            return Ok((records, all));
        }
    }
}

async fn export(operator: &OperatorClient, mut keep: Option<&mut Vec<Record>>) -> anyhow::Result<Export> {
    let mut export = Export { node: operator.address().to_owned(), ..Export::default() };
    let mut client = operator.records().max_decoding_message_size(64 * 1024 * 1024);
    let mut chunks = client.export_transactions(pb::ExportTransactionsRequest {}).await?.into_inner();
    while let Some(chunk) = chunks.message().await? {
        export.applied_index = chunk.applied_index;
        export.state_hash = chunk.state_hash.to_vec();
        for transaction in chunk.transactions {
            export.add(&transaction);
            if let Some(records) = keep.as_deref_mut() {
                records.push(Record::new(transaction)?);
            }
        }
    }
    Ok(export)
}

async fn never_reversed(operator: &OperatorClient) -> anyhow::Result<Vec<Box<str>>> {
    let read = eventually(Duration::from_secs(10), "the directory is read", || async {
        operator.directory().get_directory(pb::GetDirectoryRequest {}).await.map_err(|status| status.to_string())
    });
    let directory = read.await?.into_inner().directory.unwrap_or_default();
    let never = directory.networks.into_iter().filter(|network| network.reversal_policy() == ReversalPolicy::Never);
    Ok(never.map(|network| network.network_id.into()).collect())
}
