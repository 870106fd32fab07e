//! Answers before the caller's deadline, always: 20 ms before tonic would answer CANCELLED, which says nothing about money.
//! What is under way goes on; only the waiting ends (R2).

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

use crate::gateway::{
    call::{GatewayCall, Told},
    status::GatewayError,
};

/// How long before the caller's deadline the switch answers.
pub const MARGIN: Duration = Duration::from_millis(20);

/// The longest deadline that is honoured; a longer one is cut to this, so that no wait is unbounded.
pub const DEADLINE_MAX: Duration = Duration::from_secs(120);

/// When the switch answers a call at the latest whose caller waits until `deadline`.
///
/// # Errors
/// [`GatewayError::DeadlineExceeded`] where that is past already: nothing is begun.
pub fn ours(deadline: Instant, now: Instant) -> Result<Instant, GatewayError> {
    let ours = deadline.min(now + DEADLINE_MAX).checked_sub(MARGIN).filter(|ours| *ours > now);
    ours.ok_or(GatewayError::DeadlineExceeded)
}

/// Puts [`Deadline`] around a service.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeadlineLayer;

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Deadline<S> {
        Deadline { inner }
    }
}

/// Ends the waiting in time.
#[derive(Clone, Debug)]
pub struct Deadline<S> {
    inner: S,
}

impl<S> Service<GatewayCall> for Deadline<S>
where
    S: Service<GatewayCall, Response = Told, Error = GatewayError>,
    S::Future: Send + 'static,
{
    type Response = Told;
    type Error = GatewayError;
    type Future = Pin<Box<dyn Future<Output = Result<Told, GatewayError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), GatewayError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut call: GatewayCall) -> Self::Future {
        let Some(deadline) = call.deadline else {
            return Box::pin(std::future::ready(Err(GatewayError::DeadlineMissing)));
        };
        let ours = match ours(deadline, Instant::now()) {
            Ok(ours) => ours,
            Err(late) => return Box::pin(std::future::ready(Err(late))),
        };
        call.deadline = Some(ours);
        let answer = self.inner.call(call);
        Box::pin(async move {
            match tokio::time::timeout_at(ours, answer).await {
                Ok(answer) => answer,
                Err(_) => Err(GatewayError::OutcomeUnknown),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use switch_proto::gateway::v1 as pb;
    use tower::{ServiceExt as _, service_fn};

    use super::*;
    use crate::gateway::call::Ask;

    fn call(deadline: Option<Instant>) -> GatewayCall {
        let ask = Ask::Capture(pb::CaptureRequest::default());
        GatewayCall {
            principal: "spiffe://test/gateway/shop".into(),
            ask,
            deadline,
            given: Duration::ZERO,
            traceparent: String::new(),
            entered: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_answer_comes_twenty_milliseconds_before_the_deadline() {
        let silent = service_fn(|_: GatewayCall| std::future::pending::<Result<Told, GatewayError>>());
        let begun = Instant::now();
        let answer = DeadlineLayer.layer(silent).oneshot(call(Some(begun + Duration::from_millis(500)))).await;
        assert!(matches!(answer, Err(GatewayError::OutcomeUnknown)), "{answer:?}");
        assert_eq!(begun.elapsed(), Duration::from_millis(480));
    }

    #[tokio::test(start_paused = true)]
    async fn r3_a_call_without_a_deadline_or_with_a_past_one_is_refused_before_anything_is_begun() {
        let never = service_fn(|_: GatewayCall| async { panic!("must not be reached") });
        let service = DeadlineLayer.layer(never);
        let missing: Result<Told, _> = service.clone().oneshot(call(None)).await;
        assert!(matches!(missing, Err(GatewayError::DeadlineMissing)), "{missing:?}");
        let past = service.oneshot(call(Some(Instant::now()))).await;
        assert!(matches!(past, Err(GatewayError::DeadlineExceeded)), "{past:?}");
    }
}
