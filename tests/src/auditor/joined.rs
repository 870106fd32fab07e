//! The three accounts with the paths from one to another.

use std::collections::HashMap;

use super::{
    Scope,
    evidence::{Advised, Attempt, Booked, Books, Evidence, Operation, Record, Undone},
};
use crate::history::{Invocation, Method, Read, Told};

/// R's view of one attempt.
#[derive(Debug, Clone, Copy)]
pub(super) struct Intent<'a> {
    pub(super) record: &'a Record,
    pub(super) operation: &'a Operation,
    pub(super) attempt: &'a Attempt,
}

/// The calls under one key: one gateway, one original, one request_id.
#[derive(Debug)]
pub(super) struct Key<'a> {
    pub(super) gateway: &'a str,
    pub(super) request_id: &'a str,
    /// In the order of their beginnings.
    pub(super) calls: Vec<&'a Invocation>,
}

/// Evidence with its indexes.
pub(super) struct Joined<'a> {
    evidence: &'a Evidence,
    /// Records that are judged.
    records: Vec<&'a Record>,
    by_id: HashMap<&'a str, &'a Record>,
    /// First operations by gateway and key.
    by_key: HashMap<(&'a str, &'a str), &'a Record>,
    intents: HashMap<&'a str, Intent<'a>>,
    booked: HashMap<&'a str, Vec<(&'a Books, &'a Booked)>>,
    undone: HashMap<&'a str, Vec<&'a Undone>>,
    advised: HashMap<&'a str, Vec<&'a Advised>>,
    keys: Vec<Key<'a>>,
    scope: Scope,
}

impl<'a> Joined<'a> {
    pub(super) fn new(evidence: &'a Evidence, scope: Scope) -> Self {
        let mut by_id = HashMap::with_capacity(evidence.records.len());
        let mut by_key = HashMap::with_capacity(evidence.records.len());
        let mut intents = HashMap::with_capacity(evidence.records.len());
        for record in &evidence.records {
            by_id.insert(&*record.id, record);
            if let Some(first) = record.first() {
                by_key.insert((&*record.gateway, &*first.request_id), record);
            }
            for operation in &record.operations {
                for attempt in &operation.attempts {
                    intents.insert(&*attempt.id, Intent { record, operation, attempt });
                }
            }
        }
        let (mut booked, mut undone, mut advised) = (HashMap::new(), HashMap::new(), HashMap::new());
        for books in &evidence.networks {
            for attempt in &books.attempts {
                booked.entry(&*attempt.id).or_insert_with(Vec::new).push((books, attempt));
            }
            for reversal in &books.reversals {
                undone.entry(&*reversal.original).or_insert_with(Vec::new).push(reversal);
            }
            for advice in &books.advices {
                advised.entry(&*advice.original).or_insert_with(Vec::new).push(advice);
            }
        }
        let keys = keys(&evidence.calls);
        let records = records_judged(evidence, scope, &by_id, &by_key);
        Self { evidence, records, by_id, by_key, intents, booked, undone, advised, keys, scope }
    }

    pub(super) fn calls(&self) -> &'a [Invocation] {
        &self.evidence.calls
    }

    pub(super) fn reads(&self) -> &'a [Read] {
        &self.evidence.reads
    }

    pub(super) fn keys(&self) -> &[Key<'a>] {
        &self.keys
    }

    /// Records that are judged.
    pub(super) fn records(&self) -> &[&'a Record] {
        &self.records
    }

    pub(super) fn networks(&self) -> &'a [Books] {
        &self.evidence.networks
    }

    /// True where everything in the cluster and the networks is judged.
    pub(super) fn everything(&self) -> bool {
        self.scope == Scope::Everything
    }

    pub(super) fn attempts_len(&self) -> usize {
        self.evidence.networks.iter().map(|books| books.attempts.len()).sum()
    }

    pub(super) fn record(&self, id: &str) -> Option<&'a Record> {
        self.by_id.get(id).copied()
    }

    /// The transaction that an authorization or verification began.
    pub(super) fn record_of_key(&self, gateway: &str, request_id: &str) -> Option<&'a Record> {
        self.by_key.get(&(gateway, request_id)).copied()
    }

    /// The operation that a call asked for, where R has it.
    pub(super) fn operation_of(&self, call: &Invocation) -> Option<(&'a Record, &'a Operation)> {
        let record = match call.method {
            Method::Authorize | Method::Verify => self.record_of_key(&call.gateway, &call.request_id)?,
            Method::Increment | Method::Capture | Method::Void | Method::Refund => self.original_of(call)?,
        };
        let same = |operation: &&Operation| operation.request_id == call.request_id && operation.method == call.method;
        record.operations.iter().find(same).map(|operation| (record, operation))
    }

    /// What a call was told, unless it was a refusal that the journal did not store (R17).
    pub(super) fn stored<'c>(&self, call: &'c Invocation) -> Option<&'c Told> {
        let told = call.outcome.told()?;
        let in_journal = || self.operation_of(call).is_some_and(|(_, operation)| operation.witness == told.witness());
        (!told.is_refusal() || in_journal()).then_some(told)
    }

    /// The transaction that an answer belongs to.
    pub(super) fn transaction_of(&self, call: &Invocation, told: &'a Told) -> &'a str {
        if told.transaction_id.is_empty() {
            // A void that overtook its authorization.
            return self.original_of(call).map_or("", |record| &*record.id);
        }
        &told.transaction_id
    }

    /// The transaction that a follow-up named.
    pub(super) fn original_of(&self, call: &Invocation) -> Option<&'a Record> {
        match call.original.strip_prefix("key:") {
            Some(key) => self.record_of_key(&call.gateway, key),
            None => self.record(&call.original),
        }
    }

    pub(super) fn intent(&self, attempt_id: &str) -> Option<Intent<'a>> {
        self.intents.get(attempt_id).copied()
    }

    /// Copies of an attempt in the books of all networks.
    pub(super) fn booked(&self, attempt_id: &str) -> &[(&'a Books, &'a Booked)] {
        self.booked.get(attempt_id).map_or(&[], Vec::as_slice)
    }

    pub(super) fn undone(&self, attempt_id: &str) -> &[&'a Undone] {
        self.undone.get(attempt_id).map_or(&[], Vec::as_slice)
    }

    pub(super) fn advised(&self, attempt_id: &str) -> &[&'a Advised] {
        self.advised.get(attempt_id).map_or(&[], Vec::as_slice)
    }

    pub(super) fn is_never_reversed(&self, network: &str) -> bool {
        self.evidence.never_reversed.iter().any(|name| &**name == network)
    }
}

fn keys(calls: &[Invocation]) -> Vec<Key<'_>> {
    let mut sorted: Vec<&Invocation> = calls.iter().collect();
    sorted.sort_by(|a, b| {
        (&a.gateway, &a.original, &a.request_id, a.invoked_us).cmp(&(
            &b.gateway,
            &b.original,
            &b.request_id,
            b.invoked_us,
        ))
    });
    let same = |a: &&Invocation, b: &&Invocation| {
        (&a.gateway, &a.original, &a.request_id) == (&b.gateway, &b.original, &b.request_id)
    };
    let groups = sorted.chunk_by(same).map(|calls| Key {
        gateway: &calls[0].gateway,
        request_id: &calls[0].request_id,
        calls: calls.to_vec(),
    });
    groups.collect()
}

fn records_judged<'a>(
    evidence: &'a Evidence,
    scope: Scope,
    by_id: &HashMap<&'a str, &'a Record>,
    by_key: &HashMap<(&'a str, &'a str), &'a Record>,
) -> Vec<&'a Record> {
    if scope == Scope::Everything {
        return evidence.records.iter().collect();
    }
    let named = evidence.calls.iter().filter_map(|call| {
        let told = call.outcome.told().and_then(|told| by_id.get(&*told.transaction_id));
        told.or_else(|| by_key.get(&(&*call.gateway, &*call.request_id))).copied()
    });
    let mut records: Vec<&Record> = named.collect();
    records.sort_by(|a, b| a.id.cmp(&b.id));
    records.dedup_by(|a, b| a.id == b.id);
    records
}
