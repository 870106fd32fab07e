//! Capture and Void: decided by their own entry (R6).

use std::sync::Arc;

use switch_domain::{
    book::{Reply, Settled},
    entry::{Capture, Command, Void, VoidTarget},
    id::{GatewayId, RequestId, TransactionId},
    money::{Amount, Currency},
    refusal::Refusal,
    transaction::Method,
};
use tokio::time::Instant;

use super::{Flow, FlowError};
use crate::security::vault::FingerprintParts;

/// A capture that a gateway asks for.
pub struct CaptureAsked {
    /// Tenant.
    pub gateway: GatewayId,
    /// Its key.
    pub request_id: RequestId,
    /// The authorization.
    pub transaction: TransactionId,
    /// How much.
    pub amount: Amount,
    /// Currency.
    pub currency: Currency,
    /// True for the last.
    pub is_final: bool,
}

impl Flow {
    /// Takes authorized money.
    ///
    /// # Errors
    /// [`FlowError`].
    pub async fn capture(self: &Arc<Self>, asked: CaptureAsked, deadline: Instant) -> Result<Settled, FlowError> {
        let CaptureAsked { gateway, request_id, transaction, amount, currency, is_final } = asked;
        let parts = FingerprintParts {
            is_final,
            ..FingerprintParts::follow_up(Method::Capture, amount, currency, transaction)
        };
        let fingerprint = |version| self.vault.fingerprint(version, &parts);
        if let Some(stored) =
            self.replay(&gateway, Some(transaction), &request_id, deadline, &fingerprint, &mut None).await?
        {
            return Ok(stored);
        }
        self.must_exist(&gateway, transaction, deadline).await?;
        let fingerprint = fingerprint(None)?;
        let capture = Capture { gateway, request_id, transaction, fingerprint, amount, currency, is_final };
        self.decide(Command::Capture(Box::new(capture)), deadline).await
    }

    /// Cancels an authorization, also one that has not arrived yet (R12).
    ///
    /// # Errors
    /// [`FlowError`].
    pub async fn void(
        self: &Arc<Self>,
        gateway: GatewayId,
        request_id: RequestId,
        target: VoidTarget,
        deadline: Instant,
    ) -> Result<Settled, FlowError> {
        // The digest is over what the void undoes, however it names it: a void of nothing yet is over the key alone, so that
        // it stays the same once the key has a transaction.
        let parts = match &target {
            VoidTarget::Transaction(id) => FingerprintParts::void(Some(*id), None),
            VoidTarget::Request(request_id) => FingerprintParts::void(None, Some(request_id)),
        };
        if let VoidTarget::Transaction(id) = &target {
            self.must_exist(&gateway, *id, deadline).await?;
        }
        let fingerprint = self.vault.fingerprint(None, &parts)?;
        let void = Void { gateway, request_id, target: target.clone(), fingerprint };
        let first = self.decide(Command::Void(Box::new(void.clone())), deadline).await;
        match first {
            Err(FlowError::Refused(Refusal::FingerprintVersion(version))) => {
                let fingerprint = self.vault.fingerprint(Some(version), &parts)?;
                self.decide(Command::Void(Box::new(Void { fingerprint, ..void })), deadline).await
            }
            other => other,
        }
    }

    /// A transaction that is nowhere costs the journal nothing; one that is not here yet is waited for.
    async fn must_exist(
        &self,
        gateway: &GatewayId,
        transaction: TransactionId,
        deadline: Instant,
    ) -> Result<(), FlowError> {
        if self.journal.transaction(gateway, transaction)?.is_none() {
            self.journal.read_barrier(deadline).await?;
            self.journal.transaction(gateway, transaction)?.ok_or(Refusal::NotFound)?;
        }
        Ok(())
    }

    async fn decide(self: &Arc<Self>, command: Command, deadline: Instant) -> Result<Settled, FlowError> {
        let flow = self.clone();
        self.owned(deadline, async move {
            match flow.propose(command).await? {
                Reply::Settled(settled) => Ok(*settled),
                Reply::Refused(refusal) => Err(refusal.into()),
                Reply::InFlight { .. }
                | Reply::Dispatch(_)
                | Reply::Recorded
                | Reply::Ignored
                | Reply::Resolution(_) => Err(FlowError::OutcomeUnknown),
            }
        })
        .await
    }
}
