//! One payment with what follows it, and how a gateway plays it.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use futures::future::join_all;
use switch_proto::gateway::v1::{self as pb, Decision, void_request::Original};

use crate::{
    gateway_client::{Aim, GatewayClient, NotTold},
    history::Ask,
};

/// One thing that follows a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Take a share of what was approved.
    Capture {
        /// Share of the first approval.
        percent: i64,
        /// No further one follows.
        last: bool,
    },
    /// Give a share back.
    Refund {
        /// Share of the first approval.
        percent: i64,
    },
    /// Raise it by a share.
    Increment {
        /// Share of the first approval.
        percent: i64,
    },
    /// Cancel it.
    Void {
        /// By the authorization's request_id, not by the switch's id.
        by_key: bool,
    },
    /// Ask the same again, of any node: the same answer.
    Repeat,
    /// The same key with another amount: refused.
    OtherAmount,
}

/// A payment and its sequel.
#[derive(Debug, Clone, PartialEq)]
pub struct Story {
    /// Key of the payment; keys of what follows begin with it.
    pub key: String,
    /// The payment.
    pub first: Ask,
    /// Callers that ask for it at once.
    pub copies: u32,
    /// A void by key that goes before it (true) or beside it (false).
    pub overtaken: Option<bool>,
    /// What follows an approval; [`Step::Repeat`] and [`Step::OtherAmount`] follow any answer.
    pub steps: Vec<Step>,
}

/// What came of a story's payment.
#[derive(Debug)]
pub struct Played {
    /// Its answer.
    pub first: Result<pb::OperationResult, NotTold>,
    /// From the first call to the answer, repetitions included.
    pub took: Duration,
    /// Answers and definite refusals to what followed.
    pub followed: u32,
    /// What followed and was never told.
    pub followed_unknown: u32,
}

impl Played {
    /// The decision, where there is one.
    pub fn decision(&self) -> Option<Decision> {
        Some(self.first.as_ref().ok()?.outcome.as_ref()?.decision())
    }
}

/// Plays a story from its first call to its last answer. `heard` is called as soon as the payment itself is answered.
pub async fn play(story: &Story, gateway: &GatewayClient, heard: impl FnOnce(&Played)) -> Played {
    if story.overtaken == Some(true) {
        // Whatever comes of it, the payment goes out next.
        let _ = gateway.void(void_by_key(story)).await;
    }
    let began = Instant::now();
    let copies = join_all((0..story.copies).map(|copy| copy_of(story, gateway, copy)));
    let beside = async {
        if story.overtaken == Some(false) {
            let _ = gateway.void(void_by_key(story)).await;
        }
    };
    let (mut answers, ()) = boxed(async { tokio::join!(copies, beside) }).await;
    let first = answers.swap_remove(0);
    let mut played = Played { first, took: began.elapsed(), followed: 0, followed_unknown: 0 };
    heard(&played);
    for (number, step) in story.steps.iter().enumerate() {
        let Some(ask) = next(story, &played, number, *step) else { break };
        let elsewhere = matches!(step, Step::Repeat | Step::OtherAmount);
        let asked = if elsewhere { gateway.with_aim(Aim::Everywhere) } else { gateway.clone() };
        match boxed(asked.ask(&ask)).await {
            Err(error) if !error.definite => played.followed_unknown += 1,
            Ok(_) | Err(_) => played.followed += 1,
        }
    }
    played
}

/// The first caller asks the leader, the others whoever comes.
async fn copy_of(story: &Story, gateway: &GatewayClient, copy: u32) -> Result<pb::OperationResult, NotTold> {
    if copy == 0 { gateway.ask(&story.first).await } else { gateway.with_aim(Aim::Everywhere).ask(&story.first).await }
}

/// Futures of generated clients are large; a task of its own size each would move them by copying.
fn boxed<F: Future>(future: F) -> std::pin::Pin<Box<F>> {
    Box::pin(future)
}

fn void_by_key(story: &Story) -> pb::VoidRequest {
    pb::VoidRequest {
        request_id: format!("{}-before", story.key),
        original: Some(Original::OriginalRequestId(story.key.clone())),
    }
}

/// The request of a step; nothing where the payment's answer leaves nothing to follow.
fn next(story: &Story, played: &Played, number: usize, step: Step) -> Option<Ask> {
    let request_id = format!("{}-{}", story.key, number + 1);
    match step {
        Step::Repeat => return Some(story.first.clone()),
        Step::OtherAmount => {
            let Ask::Authorize(mut request) = story.first.clone() else { return None };
            request.amount.as_mut()?.minor_units += 1;
            return Some(Ask::Authorize(request));
        }
        Step::Void { by_key: true } => {
            let original = Some(Original::OriginalRequestId(story.key.clone()));
            return Some(Ask::Void(pb::VoidRequest { request_id, original }));
        }
        Step::Void { by_key: false } | Step::Capture { .. } | Step::Refund { .. } | Step::Increment { .. } => {}
    }
    let told = played.first.as_ref().ok()?;
    let approved = told.outcome.as_ref()?.approved_amount.clone()?;
    let share = |percent: i64| {
        let minor_units = (approved.minor_units * percent / 100).max(1);
        Some(pb::Money { minor_units, currency_code: approved.currency_code.clone() })
    };
    let transaction_id = told.transaction_id.clone();
    Some(match step {
        Step::Capture { percent, last } => {
            Ask::Capture(pb::CaptureRequest { request_id, transaction_id, amount: share(percent), r#final: last })
        }
        Step::Refund { percent } => {
            Ask::Refund(pb::RefundRequest { request_id, transaction_id, amount: share(percent) })
        }
        Step::Increment { percent } => {
            Ask::Increment(pb::IncrementAuthorizationRequest { request_id, transaction_id, amount: share(percent) })
        }
        Step::Void { .. } | Step::Repeat | Step::OtherAmount => {
            Ask::Void(pb::VoidRequest { request_id, original: Some(Original::TransactionId(transaction_id)) })
        }
    })
}
