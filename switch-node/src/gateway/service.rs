//! The gateway's contract over gRPC: takes calls apart, gives them to the stack, puts answers together.

use std::{pin::Pin, sync::Arc};

use futures::{Stream, StreamExt as _, stream::FuturesUnordered};
use switch_domain::directory::Gateway;
use switch_proto::gateway::v1::{
    self as pb, authorization_service_server::AuthorizationService, authorize_stream_response::Answer,
};
use tokio::{
    sync::mpsc,
    time::{Duration, Instant},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, Streaming};
use tower::ServiceExt as _;

use super::{
    call::{Ask, GatewayCall, Told},
    convert,
    layers::{
        admission::{Admission, Place, Priority},
        deadline::ours,
    },
    stack::{Stack, of_flow},
    status::GatewayError,
};
use crate::{
    door::{
        count::Denials,
        deadline,
        peer::{PeerIdentity, Role},
        trace::TraceContext,
    },
    flow::{Flow, Named},
    telemetry::Rpc,
};

/// Items of one stream in flight: past it the stream is not read (R19).
pub const STREAM_IN_FLIGHT_MAX: usize = 1_024;

/// Deadline of a read that names none.
pub(super) const READ_DEADLINE: Duration = Duration::from_secs(10);

/// Largest request message: an authorization with every field full is under 4 KiB.
pub const MESSAGE_BYTES_MAX: usize = 16 << 10;

/// Name of the metadata that says where the leader's gateway listener is.
pub const LEADER: &str = "payswitch-leader";

/// What tonic's decoder refuses by itself, in the words of the table; every other response as it is.
pub fn in_words_of_the_table<B: Default>(response: http::Response<B>) -> http::Response<B> {
    let headers = response.headers();
    // Without details it can only be the decoder's: the table's own always carry them.
    let by_decoder = headers.get("grpc-status").filter(|_| !headers.contains_key("grpc-status-details-bin"));
    match by_decoder.map(|code| Code::from_bytes(code.as_bytes())) {
        None | Some(Code::Ok) => response,
        Some(code) => of_decoder(code).status().into_http(),
    }
}

/// What the decoder means by a code.
fn of_decoder(code: Code) -> GatewayError {
    match code {
        Code::OutOfRange => GatewayError::TooLarge { bytes_max: MESSAGE_BYTES_MAX },
        Code::Internal => GatewayError::MessageMalformed,
        Code::Unimplemented => GatewayError::Unsupported,
        // The connection broke under the message, in whatever words: nothing can be promised by them.
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::InvalidArgument
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => GatewayError::OutcomeUnknown,
    }
}

/// The service.
#[derive(Clone)]
pub struct Gateways {
    flow: Arc<Flow>,
    stack: Stack,
    admission: Arc<Admission>,
    drain: CancellationToken,
    /// Items of streams that were denied: the door sees the stream only.
    denials: Arc<Denials>,
}

impl Gateways {
    /// Serves a stack, and reads as `admission` has places for them. `drain` ends streams and watches.
    pub fn new(flow: Arc<Flow>, stack: Stack, admission: Arc<Admission>, drain: CancellationToken) -> Self {
        Self { flow, stack, admission, drain, denials: Arc::default() }
    }

    async fn ask<T>(&self, request: Request<T>, wrap: impl FnOnce(T) -> Ask) -> Result<Told, GatewayError> {
        let principal = principal(&request)?;
        let left = time_left(&request)?;
        let deadline = left.map(|left| Instant::now() + left);
        let traceparent = request.extensions().get::<TraceContext>().map(ToString::to_string).unwrap_or_default();
        let ask = wrap(request.into_inner());
        let call =
            GatewayCall { principal, ask, deadline, given: left.unwrap_or_default(), traceparent, entered: None };
        self.stack.clone().oneshot(call).await
    }

    /// Puts the leader's address beside an answer, so that gateways can call it directly.
    fn hinted<T>(&self, mut response: Response<T>) -> Response<T> {
        if let Some(leader) = self.leader() {
            response.metadata_mut().insert(LEADER, leader);
        }
        response
    }

    fn refused(&self, error: &GatewayError) -> Status {
        let mut status = error.status();
        if let Some(leader) = self.leader() {
            status.metadata_mut().insert(LEADER, leader);
        }
        status
    }

    fn leader(&self) -> Option<tonic::metadata::AsciiMetadataValue> {
        let leadership = self.flow.journal().group().leadership();
        let leadership = leadership.borrow();
        leadership.record.as_ref()?.gateway_address.parse().ok()
    }
}

/// A read that has its place.
pub(super) struct Reader {
    pub(super) gateway: Gateway,
    /// When it is answered at the latest: before the caller's deadline, so that the caller hears why.
    pub(super) until: Instant,
    _place: Place,
}

/// Tenant, deadline and place of a read. Reads are served by the node that was called, so their places are this node's; they
/// cost a quorum's word and no commit, and do not count against the gateway's rate, which the leader keeps.
pub(super) async fn reader<T>(
    flow: &Flow,
    admission: &Arc<Admission>,
    request: &Request<T>,
) -> Result<Reader, GatewayError> {
    let principal = principal(request)?;
    let gateway = flow.tenant(&principal).ok_or(GatewayError::UnknownPrincipal)?;
    let now = Instant::now();
    let until = ours(now + time_left(request)?.unwrap_or(READ_DEADLINE), now)?;
    let place = admission.enter(Priority::Read, &gateway.id, until).await?;
    Ok(Reader { gateway, until, _place: place })
}

pub(super) fn principal<T>(request: &Request<T>) -> Result<Arc<str>, GatewayError> {
    let identity = request.extensions().get::<PeerIdentity>().ok_or(GatewayError::UnknownPrincipal)?;
    Ok(Arc::from(identity.principal().as_str()))
}

pub(super) fn time_left<T>(request: &Request<T>) -> Result<Option<Duration>, GatewayError> {
    deadline::time_left(request.metadata().as_ref()).map_err(|_| GatewayError::DeadlineMalformed)
}

/// Takes a method's response out of what the stack told. Another method's is a fault of ours, after which nothing is known.
macro_rules! response_of {
    ($gateways:expr, $told:expr, $variant:ident) => {
        match $told.await {
            Ok(Told::$variant(response)) => Ok($gateways.hinted(Response::new(response))),
            Ok(_) => Err($gateways.refused(&GatewayError::OutcomeUnknown)),
            Err(error) => Err($gateways.refused(&error)),
        }
    };
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AuthorizationService for Gateways {
    async fn authorize(
        &self,
        request: Request<pb::AuthorizeRequest>,
    ) -> Result<Response<pb::AuthorizeResponse>, Status> {
        response_of!(self, self.ask(request, |asked| Ask::Authorize(Box::new(asked))), Authorize)
    }

    async fn increment_authorization(
        &self,
        request: Request<pb::IncrementAuthorizationRequest>,
    ) -> Result<Response<pb::IncrementAuthorizationResponse>, Status> {
        response_of!(self, self.ask(request, Ask::Increment), Increment)
    }

    async fn capture(&self, request: Request<pb::CaptureRequest>) -> Result<Response<pb::CaptureResponse>, Status> {
        response_of!(self, self.ask(request, Ask::Capture), Capture)
    }

    async fn void(&self, request: Request<pb::VoidRequest>) -> Result<Response<pb::VoidResponse>, Status> {
        response_of!(self, self.ask(request, Ask::Void), Void)
    }

    async fn refund(&self, request: Request<pb::RefundRequest>) -> Result<Response<pb::RefundResponse>, Status> {
        response_of!(self, self.ask(request, Ask::Refund), Refund)
    }

    async fn verify_card(
        &self,
        request: Request<pb::VerifyCardRequest>,
    ) -> Result<Response<pb::VerifyCardResponse>, Status> {
        response_of!(self, self.ask(request, |asked| Ask::Verify(Box::new(asked))), Verify)
    }

    type AuthorizeStreamStream = Answers<pb::AuthorizeStreamResponse>;

    async fn authorize_stream(
        &self,
        request: Request<Streaming<pb::AuthorizeStreamRequest>>,
    ) -> Result<Response<Self::AuthorizeStreamStream>, Status> {
        let principal = principal(&request).map_err(|error| self.refused(&error))?;
        let (answers, stream) = mpsc::channel(STREAM_IN_FLIGHT_MAX);
        let items = request.into_inner();
        let serving = ServingStream { stack: self.stack.clone(), principal, denials: self.denials.clone() };
        tokio::spawn(serve_stream(serving, items, answers, self.drain.clone()));
        Ok(self.hinted(Response::new(Box::pin(ReceiverStream::new(stream)) as Self::AuthorizeStreamStream)))
    }

    async fn get_transaction(
        &self,
        request: Request<pb::GetTransactionRequest>,
    ) -> Result<Response<pb::GetTransactionResponse>, Status> {
        let read = async {
            let read = reader(&self.flow, &self.admission, &request).await?;
            let named = match convert::get(request.into_inner())? {
                convert::Named::Transaction(id) => Named::Transaction(id),
                convert::Named::Request(request_id) => Named::Request(request_id),
                convert::Named::FollowUp(original, request_id) => Named::FollowUp(original, request_id),
            };
            let transaction = self.flow.transaction(&read.gateway.id, named, read.until).await.map_err(of_flow)?;
            Ok(pb::GetTransactionResponse { transaction: Some(convert::transaction(&transaction)) })
        };
        read.await
            .map(|response| self.hinted(Response::new(response)))
            .map_err(|error: GatewayError| self.refused(&error))
    }

    async fn list_transactions(
        &self,
        request: Request<pb::ListTransactionsRequest>,
    ) -> Result<Response<pb::ListTransactionsResponse>, Status> {
        let read = async {
            let read = reader(&self.flow, &self.admission, &request).await?;
            let convert::Page { size, before } = convert::list(request.into_inner())?;
            let mut listed = convert::Listed::new(size);
            let found = self.flow.transactions(&read.gateway.id, before, read.until, |next| listed.take(next));
            found.await.map_err(of_flow)?;
            Ok(listed.page())
        };
        read.await
            .map(|response| self.hinted(Response::new(response)))
            .map_err(|error: GatewayError| self.refused(&error))
    }

    type WatchTransactionsStream = Answers<pb::WatchTransactionsResponse>;

    async fn watch_transactions(
        &self,
        request: Request<pb::WatchTransactionsRequest>,
    ) -> Result<Response<Self::WatchTransactionsStream>, Status> {
        let begin = async {
            let read = reader(&self.flow, &self.admission, &request).await?;
            let token = convert::watch(request.get_ref())?;
            let from = match token {
                Some(token) => {
                    self.flow.watch_resume(token, &read.gateway.id, read.until).await.map_err(of_flow)?;
                    token
                }
                None => self.flow.watch_start(read.until).await.map_err(of_flow)?,
            };
            Ok((read.gateway.id, from))
        };
        let (gateway, mut after) = begin.await.map_err(|error: GatewayError| self.refused(&error))?;
        let (events, stream) = mpsc::channel(crate::flow::EVENTS_AT_ONCE);
        let (flow, drain) = (self.flow.clone(), self.drain.clone());
        tokio::spawn(async move {
            loop {
                let next = tokio::select! {
                    biased;
                    () = drain.cancelled() => {
                        let _ = events.try_send(Err(GatewayError::Draining.status()));
                        return;
                    }
                    () = events.closed() => return,
                    next = flow.next_events(&gateway, after) => next,
                };
                let next = match next {
                    Ok(next) => next,
                    Err(error) => {
                        let _ = events.try_send(Err(of_flow(error).status()));
                        return;
                    }
                };
                for event in next {
                    after = event.seen();
                    let message = convert::event(after, &event.event);
                    // A slow reader is cut, never buffered (R20).
                    let sent = tokio::time::timeout(SLOW_READER, events.send(Ok(message))).await;
                    if !matches!(sent, Ok(Ok(()))) {
                        let _ = events.try_send(Err(GatewayError::WatcherTooSlow.status()));
                        return;
                    }
                }
            }
        });
        Ok(self.hinted(Response::new(Box::pin(ReceiverStream::new(stream)) as Self::WatchTransactionsStream)))
    }
}

/// How long a watcher may leave its buffer full.
const SLOW_READER: Duration = Duration::from_secs(5);

/// Serves one stream: as many items in flight as it may have, answers as they come. Framing errors end it; an item's own failure
/// is its answer (R19).
async fn serve_stream(
    serving: ServingStream,
    mut items: Streaming<pb::AuthorizeStreamRequest>,
    answers: mpsc::Sender<Result<pb::AuthorizeStreamResponse, Status>>,
    drain: CancellationToken,
) {
    let mut in_flight = FuturesUnordered::new();
    let mut reading = true;
    let mut broken = None;
    while reading || !in_flight.is_empty() {
        tokio::select! {
            biased;
            Some(answer) = in_flight.next(), if !in_flight.is_empty() => {
                if answers.send(Ok(answer)).await.is_err() {
                    return;
                }
            }
            () = drain.cancelled(), if reading => reading = false,
            item = items.message(), if reading && in_flight.len() < STREAM_IN_FLIGHT_MAX => match item {
                Ok(Some(item)) => in_flight.push(serve_item(serving.clone(), item)),
                Ok(None) => reading = false,
                // What came before is answered first.
                Err(status) => {
                    broken = Some(of_decoder(status.code()).status());
                    reading = false;
                }
            },
        }
    }
    if let Some(status) = broken {
        let _ = answers.send(Err(status)).await;
    } else if drain.is_cancelled() {
        let _ = answers.send(Err(GatewayError::Draining.status())).await;
    }
}

/// What every item of one stream is served with.
#[derive(Clone)]
struct ServingStream {
    stack: Stack,
    principal: Arc<str>,
    denials: Arc<Denials>,
}

async fn serve_item(serving: ServingStream, item: pb::AuthorizeStreamRequest) -> pb::AuthorizeStreamResponse {
    let ServingStream { stack, principal, denials } = serving;
    let (rpc, begun) = (Rpc::begin(Role::Gateway.name(), ITEM), Instant::now());
    let pb::AuthorizeStreamRequest { request, timeout_ms, traceparent } = item;
    let request = request.unwrap_or_default();
    let request_id = request.request_id.clone();
    let given = Duration::from_millis(u64::from(timeout_ms));
    let deadline = (timeout_ms > 0).then(|| begun + given);
    let ask = Ask::Authorize(Box::new(request));
    let call = GatewayCall { principal: principal.clone(), ask, deadline, given, traceparent, entered: None };
    // A task of its own: a thousand items of one stream use every core.
    let told = tokio::spawn(stack.oneshot(call)).await.unwrap_or(Err(GatewayError::OutcomeUnknown));
    let code = told.as_ref().err().map_or(Code::Ok, GatewayError::code);
    rpc.ended(code);
    let answer = match told {
        Ok(Told::Authorize(response)) => Answer::Response(response),
        Ok(_) => Answer::Status(GatewayError::OutcomeUnknown.to_bytes()),
        Err(error) => {
            denials.tell(&principal, ITEM, code, || error.status());
            Answer::Status(error.to_bytes())
        }
    };
    pb::AuthorizeStreamResponse { request_id, answer: Some(answer) }
}

/// An item of a stream, where calls are counted: the stream itself has the name of its method.
const ITEM: &str = "AuthorizeStream";

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt as _;

    use super::*;

    fn told(status: Status) -> Option<(Code, String)> {
        let response = in_words_of_the_table(status.into_http::<()>());
        let status = Status::from_header_map(response.headers())?;
        Some((status.code(), status.get_details_error_info().map(|info| info.reason).unwrap_or_default()))
    }

    #[test]
    fn what_the_decoder_refuses_is_told_in_words_of_the_table() {
        let by_decoder = |code| told(Status::new(code, "as the decoder says it"));
        assert_eq!(by_decoder(Code::OutOfRange), Some((Code::ResourceExhausted, "MESSAGE_TOO_LARGE".into())));
        assert_eq!(by_decoder(Code::Internal), Some((Code::InvalidArgument, "MESSAGE_MALFORMED".into())));
        assert_eq!(by_decoder(Code::Unimplemented), Some((Code::Unimplemented, "NOT_SUPPORTED".into())));
        assert_eq!(by_decoder(Code::Cancelled), Some((Code::Unknown, "OUTCOME_UNKNOWN".into())));
        assert_eq!(by_decoder(Code::Ok), Some((Code::Ok, String::new())));
        let own = GatewayError::Fault;
        let reason = own.status().get_details_error_info().map(|info| info.reason);
        assert_eq!(told(own.status()), Some((own.code(), reason.expect("every row has one"))));
    }
}
