//! The accounts that are joined: small rows, so that a million transactions fit into memory.

use prost::Message;
use switch_proto::{
    gateway::v1::{Decision, NetworkState, ReversalState},
    operator::v1 as operator,
};

use crate::{
    history::{Currency, Invocation, Method, Read},
    sandbox::proto as sandbox,
};

/// All there is to judge.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// H: every call.
    pub calls: Vec<Invocation>,
    /// H: every read.
    pub reads: Vec<Read>,
    /// R: every transaction, as one node has it.
    pub records: Vec<Record>,
    /// R: what every node has, for comparison.
    pub exports: Vec<Export>,
    /// N: the books of every network.
    pub networks: Vec<Books>,
    /// Networks whose profile wants no reversals (R22).
    pub never_reversed: Vec<Box<str>>,
}

/// What one node's table holds, as far as comparison needs it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Export {
    /// The node, for people.
    pub node: String,
    /// Applied index when the export began.
    pub applied_index: u64,
    /// Rolling hash at that index.
    pub state_hash: Vec<u8>,
    /// A hash of each transaction, in the order of their ids.
    pub rows: Vec<u64>,
}

impl Export {
    /// Takes note of one record.
    pub fn add(&mut self, record: &operator::TransactionRecord) {
        use std::hash::{DefaultHasher, Hasher};
        let mut hash = DefaultHasher::new();
        hash.write(&record.encode_to_vec());
        self.rows.push(hash.finish());
    }
}

/// R: one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Tenant.
    pub gateway: Box<str>,
    /// Id.
    pub id: Box<str>,
    /// Of every amount.
    pub currency: Currency,
    /// Captured, minor units.
    pub captured: i64,
    /// Refunded.
    pub refunded: i64,
    /// Held.
    pub held: i64,
    /// What was asked.
    pub operations: Box<[Operation]>,
}

/// R: one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Its key.
    pub request_id: Box<str>,
    /// What was asked.
    pub method: Method,
    /// Amount asked.
    pub amount: i64,
    /// As told; unspecified while open.
    pub decision: Decision,
    /// Amount approved.
    pub approved: i64,
    /// Issuer's code.
    pub approval_code: Box<str>,
    /// Entry and position that decided.
    pub witness: (u64, u32),
    /// Where its advice stands.
    pub advice: NetworkState,
    /// Conversations with networks.
    pub attempts: Box<[Attempt]>,
}

/// How far a conversation came, as the table has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the names of the contract
pub enum AttemptState {
    Open,
    Approved,
    Declined,
    NotSent,
    TimedOut,
    Invalid,
}

/// R: one conversation with a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Id on the wire.
    pub id: Box<str>,
    /// Network asked.
    pub network: Box<str>,
    /// How far it came.
    pub state: AttemptState,
    /// Response code.
    pub response_code: Box<str>,
    /// Approved amount.
    pub approved: i64,
    /// Where its reversal stands.
    pub reversal: ReversalState,
    /// Trace number.
    pub system_trace_audit_number: u32,
    /// True where an approval came after the decision.
    pub late_approval: bool,
    /// Entry that opened it.
    pub opened_index: u64,
}

/// A word in a record that the contract does not know.
#[derive(Debug, thiserror::Error)]
#[error("record {id}: {field} says {value:?}")]
pub struct Unreadable {
    id: String,
    field: &'static str,
    value: String,
}

impl Record {
    /// From the wire.
    pub fn new(record: operator::TransactionRecord) -> Result<Self, Unreadable> {
        let id = record.transaction_id;
        let operations = record.operations.into_iter().map(|operation| Operation::new(&id, operation));
        Ok(Self {
            operations: operations.collect::<Result<_, _>>()?,
            gateway: record.gateway_id.into(),
            currency: Currency::new(&record.currency_code),
            captured: record.captured_minor_units,
            refunded: record.refunded_minor_units,
            held: record.held_minor_units,
            id: id.into(),
        })
    }

    /// The operation that began it.
    pub fn first(&self) -> Option<&Operation> {
        self.operations.first()
    }
}

impl Operation {
    fn new(id: &str, operation: operator::OperationRecord) -> Result<Self, Unreadable> {
        let unreadable = |field, value: &str| Unreadable { id: id.to_owned(), field, value: value.to_owned() };
        let method = Method::parse(&operation.method).ok_or_else(|| unreadable("method", &operation.method))?;
        let decision = by_name("DECISION", &operation.decision, Decision::from_str_name)
            .ok_or_else(|| unreadable("decision", &operation.decision))?;
        let advice = by_name("NETWORK_STATE", &operation.network_state, NetworkState::from_str_name)
            .ok_or_else(|| unreadable("network_state", &operation.network_state))?;
        let attempts = operation.attempts.into_iter().map(|attempt| Attempt::new(id, attempt));
        Ok(Self {
            attempts: attempts.collect::<Result<_, _>>()?,
            request_id: operation.request_id.into(),
            method,
            amount: operation.amount_minor_units,
            decision,
            approved: operation.approved_minor_units,
            approval_code: operation.approval_code.into(),
            witness: (operation.journal_index, operation.journal_position),
            advice,
        })
    }

    /// True where money was granted.
    pub fn granted(&self) -> bool {
        matches!(self.decision, Decision::Approved | Decision::PartiallyApproved)
    }
}

impl Attempt {
    fn new(id: &str, attempt: operator::AttemptRecord) -> Result<Self, Unreadable> {
        let unreadable = |field, value: &str| Unreadable { id: id.to_owned(), field, value: value.to_owned() };
        let state = match attempt.state.as_str() {
            "OPEN" => AttemptState::Open,
            "APPROVED" => AttemptState::Approved,
            "DECLINED" => AttemptState::Declined,
            "NOT_SENT" => AttemptState::NotSent,
            "TIMED_OUT" => AttemptState::TimedOut,
            "INVALID" => AttemptState::Invalid,
            other => return Err(unreadable("attempt state", other)),
        };
        let reversal = by_name("REVERSAL_STATE", &attempt.reversal_state, ReversalState::from_str_name)
            .ok_or_else(|| unreadable("reversal_state", &attempt.reversal_state))?;
        Ok(Self {
            id: attempt.attempt_id.into(),
            network: attempt.network_id.into(),
            state,
            response_code: attempt.response_code.into(),
            approved: attempt.approved_minor_units,
            reversal,
            system_trace_audit_number: attempt.system_trace_audit_number,
            late_approval: attempt.late_approval,
            opened_index: attempt.opened_index,
        })
    }
}

/// Records spell the values of enums without their prefix, and an unset one as nothing at all.
fn by_name<T>(prefix: &str, name: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
    match name {
        // Told as an error that promises nothing (R22): no decision for the contract.
        "" | "UNRESOLVED" => parse(&format!("{prefix}_UNSPECIFIED")),
        name if name.starts_with(prefix) => parse(name),
        name => parse(&format!("{prefix}_{name}")),
    }
}

/// N: the books of one network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Books {
    /// Its name.
    pub network: Box<str>,
    /// Requests as received, one for each copy.
    pub attempts: Vec<Booked>,
    /// Reversals, repeats folded.
    pub reversals: Vec<Undone>,
    /// Advices, repeats folded.
    pub advices: Vec<Advised>,
    /// What a switch must never do: kind, subject, words.
    pub complaints: Vec<(Box<str>, Box<str>, Box<str>)>,
}

/// What a request was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the names of the contract
pub enum Purpose {
    Purchase,
    Increment,
    Refund,
    Verification,
}

/// N: one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booked {
    /// Attempt id of the switch.
    pub id: Box<str>,
    /// What was asked.
    pub purpose: Purpose,
    /// Posted at once.
    pub financial: bool,
    /// Amount asked.
    pub amount: i64,
    /// Its currency.
    pub currency: Currency,
    /// Trace number.
    pub system_trace_audit_number: u32,
    /// Answer.
    pub response_code: Box<str>,
    /// Issuer's code.
    pub approval_code: Box<str>,
    /// Amount approved.
    pub approved: i64,
    /// Of it, undone.
    pub reversed: i64,
    /// 1 for the first copy.
    pub copy: u32,
    /// Money of all that belongs to a first authorization.
    pub sums: Option<Sums>,
}

impl Booked {
    /// Approved and not undone.
    pub fn standing(&self) -> i64 {
        self.approved - self.reversed
    }
}

/// Money by rule R21.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sums {
    /// Still held.
    pub held: i64,
    /// Captured.
    pub captured: i64,
    /// Refunded.
    pub refunded: i64,
}

/// N: one reversal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undone {
    /// What it undoes.
    pub original: Box<str>,
    /// True where an answer that agrees was sent.
    pub acknowledged: bool,
    /// True where the answer said that there is no such original.
    pub not_found: bool,
}

/// N: one advice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advised {
    /// What it belongs to.
    pub original: Box<str>,
    /// Amount captured.
    pub amount: i64,
    /// True where its amount is in the sums.
    pub booked: bool,
}

impl Books {
    /// Takes one line of the books.
    pub fn add(&mut self, entry: sandbox::record::Entry) {
        use sandbox::record::Entry;
        match entry {
            Entry::Attempt(attempt) => self.attempts.push(Booked::new(&attempt)),
            Entry::Reversal(reversal) => self.reversals.push(Undone {
                acknowledged: reversal.answered > 0 && matches!(reversal.response_code.as_str(), "00" | "94"),
                not_found: reversal.answered > 0 && reversal.response_code == "25",
                original: reversal.original_attempt_id.into(),
            }),
            Entry::Advice(advice) => self.advices.push(Advised {
                original: advice.original_attempt_id.into(),
                amount: advice.amount_minor_units,
                booked: advice.booked,
            }),
            Entry::Violation(violation) => {
                let kind = violation.kind().as_str_name().trim_start_matches("VIOLATION_KIND_").into();
                self.complaints.push((kind, violation.attempt_id.into(), violation.detail.into()));
            }
            // What the network sums up is summed up again from what it lists.
            Entry::Total(_) => {}
        }
    }
}

impl Booked {
    fn new(attempt: &sandbox::Attempt) -> Self {
        let identity = attempt.identity.clone().unwrap_or_default();
        let purpose = match attempt.purpose() {
            sandbox::Purpose::Unspecified | sandbox::Purpose::Purchase => Purpose::Purchase,
            sandbox::Purpose::Increment => Purpose::Increment,
            sandbox::Purpose::Refund => Purpose::Refund,
            sandbox::Purpose::Verification => Purpose::Verification,
        };
        Self {
            id: identity.attempt_id.into(),
            purpose,
            financial: attempt.message_class() == sandbox::MessageClass::Financial,
            amount: attempt.amount_minor_units,
            currency: Currency::new(&attempt.currency_code),
            system_trace_audit_number: identity.system_trace_audit_number,
            response_code: attempt.response_code.as_str().into(),
            approval_code: attempt.approval_code.as_str().into(),
            approved: attempt.approved_minor_units,
            reversed: attempt.reversed_minor_units,
            copy: attempt.copy,
            sums: attempt.sums.map(|sums| Sums {
                held: sums.held_minor_units,
                captured: sums.captured_minor_units,
                refunded: sums.refunded_minor_units,
            }),
        }
    }
}
