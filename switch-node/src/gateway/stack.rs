//! Station ①: the message stack, for a unary call, for each item of a stream and for what another node forwards.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use switch_domain::{directory::Gateway, id::RequestId};
use tower::{ServiceBuilder, util::BoxCloneSyncService};
use tower_service::Service;

use super::{
    call::{Ask, GatewayCall, Told},
    convert,
    layers::{
        deadline::DeadlineLayer,
        forward::{ForwardLayer, LeaderWay},
    },
    status::{GatewayError, Unavailable, told_of_refusal},
};
use crate::{
    flow::{CaptureAsked, Flow, FlowError, Patience},
    outcome::Opening,
};

/// A message stack.
pub type Stack = BoxCloneSyncService<GatewayCall, Told, GatewayError>;

/// The stack for calls that came in at this node's own door.
pub fn own(flow: Arc<Flow>, way: Arc<dyn LeaderWay>) -> Stack {
    BoxCloneSyncService::new(
        ServiceBuilder::new()
            // First, so that everything below is inside the caller's time.
            .layer(DeadlineLayer)
            // Before anything decides on the message: sealed card data is opened on the leader only (R15).
            .layer(ForwardLayer::new(way))
            // What counts calls or opens sealed data belongs here, on the leader, where counts are exact.
            .service(Handler { flow }),
    )
}

/// The stack for calls that another node forwarded: the same without the forward, for there is only one hop.
pub fn forwarded(flow: Arc<Flow>) -> Stack {
    BoxCloneSyncService::new(ServiceBuilder::new().layer(DeadlineLayer).service(Handler { flow }))
}

/// The end of the stack: parses, and asks the flow.
#[derive(Clone)]
struct Handler {
    flow: Arc<Flow>,
}

impl Service<GatewayCall> for Handler {
    type Response = Told;
    type Error = GatewayError;
    type Future = Pin<Box<dyn Future<Output = Result<Told, GatewayError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), GatewayError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: GatewayCall) -> Self::Future {
        let flow = self.flow.clone();
        Box::pin(async move {
            let until = call.deadline.ok_or(GatewayError::DeadlineMissing)?;
            let gateway = flow.tenant(&call.principal).ok_or(GatewayError::UnknownPrincipal)?;
            let patience = Patience { until, given: call.given };
            handle(flow, gateway, call.ask, patience, call.entered).await
        })
    }
}

async fn handle(
    flow: Arc<Flow>,
    gateway: Gateway,
    ask: Ask,
    patience: Patience,
    entered: Option<Opening>,
) -> Result<Told, GatewayError> {
    let id = &gateway.id;
    let until = patience.until;
    let key = RequestId::parse(ask.request_id());
    let method = ask.method();
    let settled = match ask {
        Ask::Authorize(request) => {
            let (authorization, card) = convert::authorize(&gateway, *request)?;
            flow.authorize(authorization, card, patience, entered).await
        }
        Ask::Verify(request) => {
            let (authorization, card) = convert::verify(&gateway, *request)?;
            flow.authorize(authorization, card, patience, entered).await
        }
        Ask::Increment(request) => {
            let asked = convert::increment(id, request)?;
            flow.follow_up(method, asked, patience, entered).await
        }
        Ask::Refund(request) => {
            let asked = convert::refund(id, request)?;
            flow.follow_up(method, asked, patience, entered).await
        }
        Ask::Capture(request) => {
            let convert::Capture { asked, is_final } = convert::capture(id, request)?;
            let capture = CaptureAsked {
                gateway: asked.gateway,
                request_id: asked.request_id,
                transaction: asked.transaction,
                amount: asked.amount,
                currency: asked.currency,
                is_final,
            };
            let captured = flow.capture(capture, until).await;
            drop(entered);
            captured
        }
        Ask::Void(request) => {
            let void = convert::void(id, request)?;
            let voided = flow.void(void.gateway, void.request_id, void.target, until).await;
            drop(entered);
            voided
        }
    };
    let result = match settled {
        Ok(settled) => convert::operation_result(&settled)?,
        Err(FlowError::Refused(refusal)) => {
            let key = key.map_err(|_| GatewayError::Fault)?;
            told_of_refusal(&key, refusal)?
        }
        Err(error) => return Err(of_flow(error)),
    };
    Ok(Told::of(method, result))
}

/// What the path could not do, in the words of the gateway's table.
pub(super) fn of_flow(error: FlowError) -> GatewayError {
    match error {
        FlowError::Refused(refusal) => GatewayError::Refused(refusal),
        FlowError::NotLeader => GatewayError::NotLeader,
        FlowError::OutcomeUnknown => GatewayError::OutcomeUnknown,
        FlowError::TimeUsedUp => GatewayError::DeadlineExceeded,
        FlowError::InProgress => GatewayError::RequestInProgress,
        FlowError::DeadlineTooShort { left_ms, needed_ms } => GatewayError::DeadlineTooShort { left_ms, needed_ms },
        FlowError::Overloaded(_) => GatewayError::Overloaded { retry_after: std::time::Duration::from_millis(100) },
        FlowError::DiskReserve => GatewayError::Unavailable(Unavailable::DiskReserve),
        FlowError::Read(_) => GatewayError::Unavailable(Unavailable::Behind),
        FlowError::Vault(error) => {
            tracing::error!(%error, "the vault");
            GatewayError::Unavailable(Unavailable::KeyMissing)
        }
        FlowError::Table(error) => {
            tracing::error!(%error, "the table");
            GatewayError::OutcomeUnknown
        }
        FlowError::TokenExpired { list_from } => GatewayError::CursorExpired { list_from },
        FlowError::TokenMalformed => GatewayError::BadRequest(convert::BadRequest::Fields(vec![convert::Violation {
            field: "resume_token",
            reason: convert::Reason::FieldMalformed,
            description: "is of another cluster".into(),
        }])),
    }
}
