//! H: every call of the gateways, when it began, when it ended and what was told.
//!
//! One record is one call on the wire, not one payment: a payment that was answered at the third try leaves two records
//! that say [`Outcome::Info`] and one that says [`Outcome::Ok`]. A call that may have had an effect is never recorded as
//! [`Outcome::Fail`]; mistaking one for the other is the commonest fault of test harnesses.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io::Write,
    path::Path,
    sync::Arc,
    time::Instant,
};

use parking_lot::Mutex;
use serde::{Serialize, Serializer};
use switch_proto::gateway::v1::{
    self as pb, Decision, DecisionSource, DeclineAdvice, DeclineReason, NetworkState, ReversalState, Sent,
    card::Source, void_request::Original as VoidOriginal,
};
use tonic::Status;
use tonic_types::{ErrorInfo, StatusExt};

use crate::needles::Searched;

/// ISO 4217 alphabetic code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Currency([u8; 3]);

impl Currency {
    /// Takes the first three characters; a shorter code is filled up with spaces.
    pub fn new(code: &str) -> Self {
        let mut own = [b' '; 3];
        for (to, from) in own.iter_mut().zip(code.bytes()) {
            *to = from;
        }
        Self(own)
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("???")
    }
}

impl std::fmt::Display for Currency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What a gateway may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)] // the names of the contract
pub enum Method {
    Authorize,
    Increment,
    Capture,
    Void,
    Refund,
    Verify,
}

impl Method {
    /// From the name that records use.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "AUTHORIZE" => Self::Authorize,
            "INCREMENT" => Self::Increment,
            "CAPTURE" => Self::Capture,
            "VOID" => Self::Void,
            "REFUND" => Self::Refund,
            "VERIFY" => Self::Verify,
            _ => return None,
        })
    }

    fn from_wire(method: pb::Method) -> Option<Self> {
        Some(match method {
            pb::Method::Unspecified => return None,
            pb::Method::Authorize => Self::Authorize,
            pb::Method::Increment => Self::Increment,
            pb::Method::Capture => Self::Capture,
            pb::Method::Void => Self::Void,
            pb::Method::Refund => Self::Refund,
            pb::Method::Verify => Self::Verify,
        })
    }
}

/// One thing to ask, as it goes over the wire.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // the names of the contract
pub enum Ask {
    Authorize(pb::AuthorizeRequest),
    Increment(pb::IncrementAuthorizationRequest),
    Capture(pb::CaptureRequest),
    Void(pb::VoidRequest),
    Refund(pb::RefundRequest),
    Verify(pb::VerifyCardRequest),
}

impl Ask {
    /// What kind of thing it is.
    pub fn method(&self) -> Method {
        match self {
            Self::Authorize(_) => Method::Authorize,
            Self::Increment(_) => Method::Increment,
            Self::Capture(_) => Method::Capture,
            Self::Void(_) => Method::Void,
            Self::Refund(_) => Method::Refund,
            Self::Verify(_) => Method::Verify,
        }
    }

    /// The gateway's key.
    pub fn request_id(&self) -> &str {
        match self {
            Self::Authorize(r) => &r.request_id,
            Self::Increment(r) => &r.request_id,
            Self::Capture(r) => &r.request_id,
            Self::Void(r) => &r.request_id,
            Self::Refund(r) => &r.request_id,
            Self::Verify(r) => &r.request_id,
        }
    }

    /// The original of a follow-up: its id, or `key:` and its request_id; empty for what stands alone.
    pub fn original(&self) -> String {
        match self {
            Self::Authorize(_) | Self::Verify(_) => String::new(),
            Self::Increment(r) => r.transaction_id.clone(),
            Self::Capture(r) => r.transaction_id.clone(),
            Self::Refund(r) => r.transaction_id.clone(),
            Self::Void(r) => match &r.original {
                Some(VoidOriginal::TransactionId(id)) => id.clone(),
                Some(VoidOriginal::OriginalRequestId(key)) => format!("key:{key}"),
                None => String::new(),
            },
        }
    }

    /// True where an authorization captures at once, and where a capture is the last.
    pub fn settling(&self) -> bool {
        match self {
            Self::Authorize(r) => r.capture_mode() == pb::CaptureMode::Automatic,
            Self::Capture(r) => r.r#final,
            Self::Increment(_) | Self::Void(_) | Self::Refund(_) | Self::Verify(_) => false,
        }
    }

    /// The amount that is asked for.
    pub fn amount(&self) -> Option<&pb::Money> {
        match self {
            Self::Authorize(r) => r.amount.as_ref(),
            Self::Increment(r) => r.amount.as_ref(),
            Self::Capture(r) => r.amount.as_ref(),
            Self::Refund(r) => r.amount.as_ref(),
            Self::Void(_) | Self::Verify(_) => None,
        }
    }

    /// Tells two requests under one key apart (R16): a hash over the fields that make the payment, never over sensitive
    /// authentication data.
    pub fn digest(&self) -> u64 {
        let mut hash = DefaultHasher::new();
        self.method().hash(&mut hash);
        self.original().hash(&mut hash);
        if let Some(amount) = self.amount() {
            (amount.minor_units, &amount.currency_code).hash(&mut hash);
        }
        match self {
            Self::Authorize(r) => {
                hash_card(r.card.as_ref(), &mut hash);
                hash_merchant(r.merchant.as_ref(), &mut hash);
                // Unspecified is taken as manual.
                (r.capture_mode() == pb::CaptureMode::Automatic).hash(&mut hash);
            }
            Self::Verify(r) => {
                hash_card(r.card.as_ref(), &mut hash);
                hash_merchant(r.merchant.as_ref(), &mut hash);
            }
            Self::Capture(r) => r.r#final.hash(&mut hash),
            Self::Increment(_) | Self::Void(_) | Self::Refund(_) => {}
        }
        hash.finish()
    }
}

fn hash_card(card: Option<&pb::Card>, hash: &mut DefaultHasher) {
    let number = match card.and_then(|card| card.source.as_ref()) {
        Some(Source::Keyed(card)) => card.primary_account_number.as_str(),
        Some(Source::MagneticStripe(card)) => card.track2.split(['=', 'D']).next().unwrap_or_default(),
        Some(Source::Chip(card)) => card.primary_account_number.as_str(),
        Some(Source::NetworkToken(card)) => card.token.as_str(),
        Some(Source::StoredCredential(card)) => card.primary_account_number.as_str(),
        Some(Source::Sealed(_)) | None => "",
    };
    number.hash(hash);
}

fn hash_merchant(merchant: Option<&pb::Merchant>, hash: &mut DefaultHasher) {
    if let Some(merchant) = merchant {
        (&merchant.merchant_id, &merchant.terminal_id).hash(hash);
    }
}

/// What was told, without what may move on afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Told {
    /// The switch's id.
    pub transaction_id: Box<str>,
    /// What was decided.
    #[serde(serialize_with = "by_name::decision")]
    pub decision: Decision,
    /// Whether it left the switch.
    #[serde(serialize_with = "by_name::sent")]
    pub sent: Sent,
    /// Who decided.
    #[serde(serialize_with = "by_name::source")]
    pub source: DecisionSource,
    /// Approved amount, 0 without one.
    pub approved_minor_units: i64,
    /// Its currency, empty without one.
    pub approved_currency: Currency,
    /// Issuer's code.
    pub approval_code: Box<str>,
    /// The network's code.
    pub response_code: Box<str>,
    /// Why it was declined.
    #[serde(serialize_with = "by_name::decline_reason")]
    pub decline: DeclineReason,
    /// What to do about it.
    #[serde(serialize_with = "by_name::decline_advice")]
    pub advice: DeclineAdvice,
    /// UPPER_SNAKE reason.
    pub reason: Box<str>,
    /// Street, postal code and verification value, as numbers of the contract's enum.
    pub verification: [u8; 3],
    /// Who was asked.
    pub network: Box<str>,
    /// Reference number.
    pub retrieval_reference_number: Box<str>,
    /// Trace number.
    pub system_trace_audit_number: u32,
    /// The network's id.
    pub network_transaction_id: Box<str>,
    /// Entry that decided.
    pub journal_index: u64,
    /// Position inside it.
    pub journal_position: u32,
}

impl Told {
    /// From an answer.
    pub fn new(result: &pb::OperationResult) -> Self {
        let empty = pb::Outcome::default();
        let outcome = result.outcome.as_ref().unwrap_or(&empty);
        let decline = outcome.decline.unwrap_or_default();
        let checked = outcome.verification.clone().unwrap_or_default();
        let approved = outcome.approved_amount.as_ref();
        let small = |result: i32| u8::try_from(result).unwrap_or(u8::MAX);
        Self {
            transaction_id: result.transaction_id.as_str().into(),
            decision: outcome.decision(),
            sent: outcome.sent(),
            source: outcome.source(),
            approved_minor_units: approved.map_or(0, |amount| amount.minor_units),
            approved_currency: approved.map_or_else(Currency::default, |amount| Currency::new(&amount.currency_code)),
            approval_code: outcome.approval_code.as_str().into(),
            response_code: outcome.response_code.as_str().into(),
            decline: decline.reason(),
            advice: decline.advice(),
            reason: outcome.reason.as_str().into(),
            verification: [small(checked.street), small(checked.postal_code), small(checked.card_verification_value)],
            network: result.network.as_str().into(),
            retrieval_reference_number: result.retrieval_reference_number.as_str().into(),
            system_trace_audit_number: result.system_trace_audit_number,
            network_transaction_id: result.network_transaction_id.as_str().into(),
            journal_index: result.journal_index,
            journal_position: result.journal_position,
        }
    }

    /// True where both tell the same. A void that overtook its authorization had no transaction to name, and has one
    /// when it is read later.
    pub fn agrees(&self, other: &Self) -> bool {
        let unnamed = self.transaction_id.is_empty() || other.transaction_id.is_empty();
        if unnamed {
            let named = |told: &Self| Self { transaction_id: Box::default(), ..told.clone() };
            return named(self) == named(other);
        }
        self == other
    }

    /// True for a decline by which the switch keeps its hands off: a refusal that need not be stored, so that the key may
    /// be used again (R17).
    pub fn is_refusal(&self) -> bool {
        (self.decision, self.source, self.sent) == (Decision::Declined, DecisionSource::Switch, Sent::NotSent)
    }

    /// True where money was granted.
    pub fn approved(&self) -> bool {
        matches!(self.decision, Decision::Approved | Decision::PartiallyApproved)
    }

    /// Where the decision stands in the journal.
    pub fn witness(&self) -> (u64, u32) {
        (self.journal_index, self.journal_position)
    }
}

/// How one call ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// A decision was told.
    Ok {
        /// The decision.
        told: Told,
        /// Where its reversal stood.
        #[serde(serialize_with = "by_name::reversal_state")]
        reversal_state: ReversalState,
        /// Where its advice stood.
        #[serde(serialize_with = "by_name::network_state")]
        network_state: NetworkState,
        /// Stored before this call.
        replayed: bool,
    },
    /// This call had definitely no effect.
    Fail {
        /// gRPC code.
        code: i32,
        /// ErrorInfo reason.
        reason: Box<str>,
    },
    /// Nobody knows: it may have had one.
    Info {
        /// gRPC code.
        code: i32,
        /// ErrorInfo reason, empty without one.
        reason: Box<str>,
    },
}

impl Outcome {
    /// From an error. Only what the switch itself explains is a failure: its contract promises that nothing was proposed
    /// then, with two exceptions. Everything else, a cut connection first of all, is unknown.
    pub fn of_error(status: &Status) -> Self {
        let reason = reason(status);
        let code = i32::from(status.code());
        match &*reason {
            "" | "OUTCOME_UNKNOWN" | "REQUEST_IN_PROGRESS" => Self::Info { code, reason },
            _ => Self::Fail { code, reason },
        }
    }

    /// What was told.
    pub fn told(&self) -> Option<&Told> {
        match self {
            Self::Ok { told, .. } => Some(told),
            Self::Fail { .. } | Self::Info { .. } => None,
        }
    }
}

/// The reason in an error's ErrorInfo, where the switch wrote one.
pub fn reason(status: &Status) -> Box<str> {
    explanation(status).map(|info| info.reason.into_boxed_str()).unwrap_or_default()
}

/// What the switch itself says about an error.
pub fn explanation(status: &Status) -> Option<ErrorInfo> {
    status.get_details_error_info().filter(|info| info.domain == "payswitch")
}

/// One call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Invocation {
    /// When it began, in microseconds of this history.
    pub invoked_us: u64,
    /// When it ended.
    pub returned_us: u64,
    /// Who called.
    pub gateway: Box<str>,
    /// Its key.
    pub request_id: Box<str>,
    /// What was asked.
    pub method: Method,
    /// Of what; see [`Ask::original`].
    pub original: Box<str>,
    /// See [`Ask::digest`].
    pub digest: u64,
    /// Amount asked.
    pub amount_minor_units: i64,
    /// Its currency.
    pub currency: Currency,
    /// See [`Ask::settling`].
    pub settling: bool,
    /// Node called, from 0.
    pub node: u8,
    /// How it ended.
    pub outcome: Outcome,
}

/// One read of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Read {
    /// When it began.
    pub invoked_us: u64,
    /// When it ended.
    pub returned_us: u64,
    /// Who read.
    pub gateway: Box<str>,
    /// Transaction that was found.
    pub transaction_id: Box<str>,
    /// Node called.
    pub node: u8,
    /// Decided operations that it showed, by request_id.
    pub operations: Vec<(Box<str>, Method, Told)>,
}

/// Everything gateways did, in memory. Clones share it.
#[derive(Debug, Clone)]
pub struct History {
    began: Instant,
    calls: Arc<Mutex<Vec<Invocation>>>,
    reads: Arc<Mutex<Vec<Read>>>,
    /// What card data the errors told. They are searched as they come, so that none need be kept.
    errors: Arc<Mutex<Searched>>,
}

impl Default for History {
    fn default() -> Self {
        Self { began: Instant::now(), calls: Arc::default(), reads: Arc::default(), errors: Arc::default() }
    }
}

impl History {
    /// Microseconds since this history began.
    pub fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Records a call that began at `invoked_us` and has just ended.
    pub fn record(
        &self,
        gateway: &str,
        ask: &Ask,
        node: usize,
        invoked_us: u64,
        result: Result<&pb::OperationResult, &Status>,
    ) {
        let outcome = match result {
            Ok(result) => Outcome::Ok {
                told: Told::new(result),
                reversal_state: result.reversal_state(),
                network_state: result.network_state(),
                replayed: result.replayed,
            },
            Err(status) => {
                self.hear(status);
                Outcome::of_error(status)
            }
        };
        let amount = ask.amount();
        let call = Invocation {
            invoked_us,
            returned_us: self.now_us(),
            gateway: gateway.into(),
            request_id: ask.request_id().into(),
            method: ask.method(),
            original: ask.original().into(),
            digest: ask.digest(),
            amount_minor_units: amount.map_or(0, |amount| amount.minor_units),
            currency: amount.map_or_else(Currency::default, |amount| Currency::new(&amount.currency_code)),
            settling: ask.settling(),
            node: u8::try_from(node).unwrap_or(u8::MAX),
            outcome,
        };
        self.calls.lock().push(call);
    }

    /// Records a read that began at `invoked_us` and has just shown `transaction`.
    pub fn record_read(&self, gateway: &str, node: usize, invoked_us: u64, transaction: &pb::Transaction) {
        let operations = transaction.operations.iter().filter_map(|operation| {
            let method = Method::from_wire(operation.method())?;
            let told = Told::new(operation.result.as_ref()?);
            let decided = told.decision != Decision::Unspecified;
            decided.then(|| (operation.result.as_ref().map_or("", |result| &result.request_id).into(), method, told))
        });
        let read = Read {
            invoked_us,
            returned_us: self.now_us(),
            gateway: gateway.into(),
            transaction_id: transaction.transaction_id.as_str().into(),
            node: u8::try_from(node).unwrap_or(u8::MAX),
            operations: operations.collect(),
        };
        self.reads.lock().push(read);
    }

    /// Searches what an error told for card data. Errors of recorded calls are searched with them.
    pub fn hear(&self, status: &Status) {
        self.errors.lock().status("errors that gateways were told", status);
    }

    /// What the search of errors came to so far.
    pub fn errors(&self) -> Searched {
        self.errors.lock().clone()
    }

    /// A call that was never finished: its caller went away. It may have had an effect.
    pub fn record_abandoned(&self, gateway: &str, ask: &Ask, node: usize, invoked_us: u64) {
        self.record(gateway, ask, node, invoked_us, Err(&Status::cancelled("the caller went away")));
    }

    /// A copy of every call, in the order in which they ended.
    pub fn calls(&self) -> Vec<Invocation> {
        self.calls.lock().clone()
    }

    /// A copy of every read.
    pub fn reads(&self) -> Vec<Read> {
        self.reads.lock().clone()
    }

    /// Takes everything out, so that an audit of millions of calls needs no second copy.
    pub fn take(&self) -> (Vec<Invocation>, Vec<Read>) {
        (std::mem::take(&mut *self.calls.lock()), std::mem::take(&mut *self.reads.lock()))
    }

    /// Ids of at most `count` transactions that were told of, spread evenly over the history.
    pub fn told_transactions(&self, count: usize) -> Vec<Box<str>> {
        let calls = self.calls.lock();
        let step = calls.len().div_ceil(count.max(1)).max(1);
        let told = calls.iter().step_by(step).filter_map(|call| call.outcome.told());
        told.map(|told| told.transaction_id.clone()).filter(|id| !id.is_empty()).collect()
    }

    /// How many calls there are.
    pub fn len(&self) -> usize {
        self.calls.lock().len()
    }

    /// True before the first call ended.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes calls and reads as JSON, one a line.
    pub fn write_jsonl(&self, path: &Path) -> anyhow::Result<()> {
        let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
        for call in self.calls.lock().iter() {
            serde_json::to_writer(&mut file, call)?;
            file.write_all(b"\n")?;
        }
        for read in self.reads.lock().iter() {
            serde_json::to_writer(&mut file, read)?;
            file.write_all(b"\n")?;
        }
        Ok(file.flush()?)
    }
}

/// Enums of the contract by their names. In a module, because the fields have the same names.
mod by_name {
    use serde::Serializer;
    use switch_proto::gateway::v1 as pb;

    macro_rules! by_name {
        ($($function:ident: $of:ident),*) => {
            $(
                pub(super) fn $function<S: Serializer>(value: &pb::$of, serializer: S) -> Result<S::Ok, S::Error> {
                    serializer.serialize_str(value.as_str_name())
                }
            )*
        };
    }

    by_name! {
        decision: Decision, sent: Sent, source: DecisionSource, decline_reason: DeclineReason,
        decline_advice: DeclineAdvice, reversal_state: ReversalState, network_state: NetworkState
    }
}
