//! The stack that a request passes on its way to a network, and its smaller layers. Every layer answers with an [`Answer`];
//! none has another way to fail.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Context, Poll},
};

use arc_swap::ArcSwapOption;
use futures::future::{BoxFuture, FutureExt};
use switch_domain::{
    book::Dispatch,
    outcome::{Answer, Doubt, NotSent},
};
use tokio::time::{Instant, timeout_at};
use tower::{ServiceBuilder, util::BoxCloneSyncService};
use tower_layer::Layer;
use tower_service::Service;

use super::{
    breaker::{Circuit, CircuitLayer},
    message::Outgoing,
    session::Session,
};

/// One request on its way.
pub(super) struct Call {
    /// The permission to send it.
    pub(super) dispatch: Dispatch,
    /// What is sent.
    pub(super) message: Outgoing,
    /// Room that was taken for it before it was journalled; it finds its own where there is none.
    pub(super) room: Option<Place>,
    /// When waiting ends.
    pub(super) deadline: Instant,
    /// Set when it was given to the transport.
    pub(super) handed: Handed,
}

/// Whether a message was given to the transport, shared between who waits and who writes.
#[derive(Clone, Debug, Default)]
pub(super) struct Handed(Arc<AtomicBool>);

impl Handed {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

pub(super) type Stack = BoxCloneSyncService<Call, Answer, Infallible>;

pub(super) fn stack(window: Arc<Window>, circuit: Arc<Circuit>, current: Current) -> Stack {
    BoxCloneSyncService::new(
        ServiceBuilder::new()
            // Outermost: what finds no room costs nothing, and says nothing about the network.
            .layer(InFlightLayer(window))
            // Above the deadline, because it must hear of requests that ran out of time.
            .layer(CircuitLayer(circuit))
            // Right above the exchange: whether time ran out before or after the write is known when the exchange is dropped.
            .layer(DeadlineLayer)
            .service(Exchange(current)),
    )
}

/// How many may be in flight, and how many are.
#[derive(Debug)]
pub(super) struct Window {
    taken: AtomicU32,
    max: AtomicU32,
}

impl Window {
    pub(super) fn new(max: u32) -> Self {
        Self { taken: AtomicU32::new(0), max: AtomicU32::new(max) }
    }

    /// A place, given back when dropped; `None` where there is none.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Place> {
        let max = self.max.load(Ordering::Relaxed);
        self.taken
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |taken| (taken < max).then(|| taken + 1))
            .ok()
            .map(|_| Place(Arc::clone(self)))
    }

    pub(super) fn taken(&self) -> u32 {
        self.taken.load(Ordering::Acquire)
    }

    pub(super) fn is_full(&self) -> bool {
        self.taken() >= self.max()
    }

    pub(super) fn max(&self) -> u32 {
        self.max.load(Ordering::Relaxed)
    }

    /// Another bound from now on; what is in flight stays.
    pub(super) fn resize(&self, max: u32) {
        self.max.store(max, Ordering::Relaxed);
    }
}

/// A place in a window.
#[derive(Debug)]
pub(super) struct Place(Arc<Window>);

impl Place {
    fn is_in(&self, window: &Arc<Window>) -> bool {
        Arc::ptr_eq(&self.0, window)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Refuses at once where the window is full: another network may have room now. A request that comes with a place keeps it: what
/// was journalled on the strength of it is not refused for lack of room.
#[derive(Clone, Debug)]
struct InFlightLayer(Arc<Window>);

impl<S> Layer<S> for InFlightLayer {
    type Service = InFlight<S>;

    fn layer(&self, inner: S) -> InFlight<S> {
        InFlight { inner, window: Arc::clone(&self.0) }
    }
}

#[derive(Clone, Debug)]
struct InFlight<S> {
    inner: S,
    window: Arc<Window>,
}

impl<S> Service<Call> for InFlight<S>
where
    S: Service<Call, Response = Answer, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Answer, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut call: Call) -> Self::Future {
        // A link that was replaced since has another window, where the place counts for nothing.
        let reserved = call.room.take().filter(|place| place.is_in(&self.window));
        let Some(place) = reserved.or_else(|| self.window.enter()) else {
            return std::future::ready(Ok(Answer::NotSent(NotSent::InFlightFull))).boxed();
        };
        let answering = self.inner.call(call);
        async move {
            let _place = place;
            answering.await
        }
        .boxed()
    }
}

/// Ends the waiting at the call's deadline.
#[derive(Clone, Copy, Debug)]
struct DeadlineLayer;

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Deadline<S> {
        Deadline { inner }
    }
}

#[derive(Clone, Debug)]
struct Deadline<S> {
    inner: S,
}

impl<S> Service<Call> for Deadline<S>
where
    S: Service<Call, Response = Answer, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Answer, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let (deadline, handed) = (call.deadline, call.handed.clone());
        let answering = self.inner.call(call);
        async move {
            // By the end of this statement the exchange is dropped: what was not written by then is withdrawn, for good.
            let ended = timeout_at(deadline, answering).await;
            match ended {
                Ok(answer) => answer,
                Err(_) if handed.is_set() => Ok(Answer::Unknown(Doubt::NoAnswer)),
                Err(_) => Ok(Answer::NotSent(NotSent::TooLate)),
            }
        }
        .boxed()
    }
}

/// The session of now, `None` while there is none.
pub(super) type Current = Arc<ArcSwapOption<Session>>;

/// The innermost service: queues the request on the session and waits for what becomes of it.
#[derive(Clone)]
struct Exchange(Current);

impl Service<Call> for Exchange {
    type Response = Answer;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Answer, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let session = self.0.load_full();
        async move {
            let Some(session) = session else { return Ok(Answer::NotSent(NotSent::OutOfService)) };
            Ok(match session.ask(call) {
                Ok(ticket) => ticket.answer().await,
                Err(why) => Answer::NotSent(why),
            })
        }
        .boxed()
    }
}
