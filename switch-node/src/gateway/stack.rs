//! Station ①: the message stack, for a unary call, for each item of a stream and for what another node forwards.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use switch_domain::{directory::Gateway, id::RequestId, outcome::Sent};
use tower::{ServiceBuilder, util::BoxCloneSyncService};
use tower_service::Service;

use super::{
    call::{Ask, GatewayCall, Told},
    convert,
    layers::{
        admission::{Admission, AdmissionLayer},
        deadline::DeadlineLayer,
        forward::{ForwardLayer, LeaderWay},
        rate::{RateLayer, Rates},
        sealed::{Keyholder, SealedLayer, Unseal},
    },
    status::{GatewayError, Unavailable, told_of_refusal},
};
use crate::{
    flow::{CaptureAsked, Flow, FlowError, Patience},
    outcome::Opening,
    security::{data_keys::DataKeys, vault::VaultFault},
};

/// A message stack.
pub type Stack = BoxCloneSyncService<GatewayCall, Told, GatewayError>;

/// What the guards of a node keep between calls. One for each node: its own calls and forwarded ones count together.
#[derive(Clone)]
pub struct Guards {
    /// Places.
    pub admission: Arc<Admission>,
    /// Accounts of the gateways.
    pub rates: Arc<Rates>,
    /// What opens sealed cards.
    pub unseal: Arc<dyn Unseal>,
}

impl Guards {
    /// Of a node that has just started.
    pub fn new(flow: &Arc<Flow>, keys: Arc<DataKeys>) -> Self {
        Self {
            admission: Admission::new(flow.clone()),
            rates: Rates::new(flow.clone()),
            unseal: Keyholder::new(flow.clone(), keys),
        }
    }
}

/// The stack for calls that came in at this node's own door.
pub fn own(flow: Arc<Flow>, way: Arc<dyn LeaderWay>, guards: &Guards) -> Stack {
    BoxCloneSyncService::new(
        ServiceBuilder::new()
            // First, so that everything below is inside the caller's time.
            .layer(DeadlineLayer)
            // Before anything decides on the message: sealed card data is opened on the leader only (R15).
            .layer(ForwardLayer::new(way))
            .service(on_the_leader(flow, guards)),
    )
}

/// The stack for calls that another node forwarded: the same without the forward, for there is only one hop.
pub fn forwarded(flow: Arc<Flow>, guards: &Guards) -> Stack {
    BoxCloneSyncService::new(ServiceBuilder::new().layer(DeadlineLayer).service(on_the_leader(flow, guards)))
}

/// What every call passes, wherever it came in, on the leader, where counts are exact.
fn on_the_leader(flow: Arc<Flow>, guards: &Guards) -> Stack {
    BoxCloneSyncService::new(
        ServiceBuilder::new()
            // Before the rate, so that what is shed takes nothing from its gateway. A gateway above its rate gains nothing by
            // standing in line first: the lines are fair between gateways.
            .layer(AdmissionLayer::new(guards.admission.clone(), flow.tasks().clone()))
            // Before card data is opened: a call that may not be made costs no decryption.
            .layer(RateLayer::new(guards.rates.clone()))
            // Last, so that nothing but the handler ever holds card data in the clear.
            .layer(SealedLayer::new(guards.unseal.clone()))
            .service(Handler { flow }),
    )
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
        FlowError::Overloaded(_) | FlowError::NoRoom => {
            // Nothing of this call was begun. Where it asks a network, its key was looked for before, and is new.
            GatewayError::Overloaded { retry_after: std::time::Duration::from_millis(100), sent: Sent::NotSent }
        }
        FlowError::DiskReserve => GatewayError::Unavailable(Unavailable::DiskReserve),
        FlowError::Read(_) => GatewayError::Unavailable(Unavailable::Behind),
        FlowError::Vault(VaultFault::NotReady) => GatewayError::Unavailable(Unavailable::Starting),
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
