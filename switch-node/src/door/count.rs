//! Every call that comes through a door, counted once: rate, errors and duration, whatever became of it.
//!
//! Stands around everything else, so that it sees what access, the decoder and a deadline refuse as it sees what is answered. A
//! method counts under the name that the table of [`access`](super::access) has for it, everything else as `other`: whoever makes
//! up paths makes no series. The code is the one that ends the call: of a refusal it stands in the headers, of an answer or a
//! stream in the trailers. A call that is dropped before them is CANCELLED, for its caller is gone.
//!
//! What is denied is said in the log as well, with who asked.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    access,
    peer::{PeerIdentity, Role},
};
use crate::telemetry::{self, Rpc, seldom::Seldom};

/// Puts [`Count`] around a service.
#[derive(Clone)]
pub struct CountLayer {
    role: Role,
    denials: Arc<Denials>,
}

impl CountLayer {
    /// Of the door for `role`. Its counts begin at zero.
    pub fn new(role: Role) -> Self {
        for (method, _) in access::TABLE.iter().filter(|(_, owner)| *owner == role) {
            telemetry::rpc_known(role.name(), method, Code::Ok);
        }
        telemetry::rpc_known(role.name(), access::OTHER, Code::PermissionDenied);
        Self { role, denials: Arc::default() }
    }
}

impl<S> Layer<S> for CountLayer {
    type Service = Count<S>;

    fn layer(&self, inner: S) -> Count<S> {
        Count { inner, role: self.role, denials: self.denials.clone() }
    }
}

/// Counts each call once it has ended.
#[derive(Clone)]
pub struct Count<S> {
    inner: S,
    role: Role,
    denials: Arc<Denials>,
}

impl<S, B, R> Service<Request<B>> for Count<S>
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<CountedBody<R>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut call = Counted {
            rpc: Rpc::begin(self.role.name(), access::method(request.uri().path())),
            caller: request.extensions().get::<PeerIdentity>().cloned(),
            uri: request.uri().clone(),
            denials: self.denials.clone(),
        };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let response = answer.await?;
            call.rpc.answered();
            let (parts, body) = response.into_parts();
            // A refusal has no body: its code stands here, and nobody asks the body for more.
            let call = if parts.headers.contains_key(GRPC_STATUS) {
                call.ended(&parts.headers);
                None
            } else {
                Some(call)
            };
            Ok(Response::from_parts(parts, CountedBody { body, call }))
        })
    }
}

/// One call until its code is known.
struct Counted {
    rpc: Rpc,
    caller: Option<PeerIdentity>,
    uri: http::Uri,
    denials: Arc<Denials>,
}

impl Counted {
    /// With what these headers or trailers say.
    fn ended(self, trailers: &HeaderMap) {
        let Self { rpc, caller, uri, denials } = self;
        let code = trailers.get(GRPC_STATUS).map_or(Code::Unknown, |code| Code::from_bytes(code.as_bytes()));
        rpc.ended(code);
        let principal = caller.as_ref().map_or("nobody", |caller| caller.principal().as_str());
        let status = || Status::from_header_map(trailers).unwrap_or_else(|| Status::new(code, ""));
        denials.tell(principal, uri.path(), code, status);
    }
}

/// The body of an answer, watched for the trailers that end it.
pub struct CountedBody<R> {
    body: R,
    /// `None` once it is counted.
    call: Option<Counted>,
}

impl<R> Body for CountedBody<R>
where
    R: Body + Unpin,
{
    type Data = R::Data;
    type Error = R::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<R::Data>, R::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(trailers) = frame.trailers_ref()
            && let Some(call) = this.call.take()
        {
            call.ended(trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Says who was denied what, in one line a second at most.
#[derive(Debug, Default)]
pub struct Denials(Seldom);

impl Denials {
    /// Tells of a call that ended with `code`, if that is a denial; `status` is asked for only where the line is written.
    pub fn tell(&self, principal: &str, method: &str, code: Code, status: impl FnOnce() -> Status) {
        if matches!(code, Code::PermissionDenied | Code::Unauthenticated) && self.0.is_due() {
            let status = status();
            let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
            // The method as it was asked for: it may be any words at all.
            tracing::warn!(principal, ?method, reason, "call denied: {}", status.message());
        }
    }
}

const GRPC_STATUS: &str = "grpc-status";

#[cfg(test)]
mod tests;
