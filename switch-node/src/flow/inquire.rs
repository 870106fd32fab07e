//! Reading: GetTransaction, ListTransactions, and what became of a key (R15). Linearizable on any node.

use std::ops::Bound;

use switch_domain::{
    book::Settled,
    id::{GatewayId, RequestId, TransactionId},
    refusal::Refusal,
    table::{Key, RequestRow, Row},
    transaction::{Fingerprint, Transaction},
};
use tokio::time::Instant;

use super::{Flow, FlowError};

/// What a read names.
pub enum Named {
    /// The switch's id.
    Transaction(TransactionId),
    /// The key of an authorization or a verification.
    Request(RequestId),
    /// The key of a follow-up, with its original.
    FollowUp(TransactionId, RequestId),
}

/// A key whose call was lost, with what is left of the request.
pub struct Inquiry {
    /// Original of a follow-up.
    pub original: Option<TransactionId>,
    /// The key.
    pub request_id: RequestId,
    /// What was asked, its card included (R16).
    pub fingerprint: Fingerprint,
}

impl Flow {
    /// Reads one transaction.
    ///
    /// # Errors
    /// [`FlowError`]; a foreign one is a missing one (R10).
    pub async fn transaction(
        &self,
        gateway: &GatewayId,
        named: Named,
        deadline: Instant,
    ) -> Result<Transaction, FlowError> {
        self.journal.read_barrier(deadline).await?;
        let id = match named {
            Named::Transaction(id) => id,
            Named::Request(request_id) => self.find(gateway, None, &request_id)?,
            Named::FollowUp(original, request_id) => self.find(gateway, Some(original), &request_id)?,
        };
        Ok(self.journal.transaction(gateway, id)?.ok_or(Refusal::NotFound)?)
    }

    fn find(
        &self,
        gateway: &GatewayId,
        original: Option<TransactionId>,
        request_id: &RequestId,
    ) -> Result<TransactionId, FlowError> {
        match self.journal.request(gateway, original, request_id)? {
            Some(RequestRow::Operation { transaction, .. }) => Ok(transaction),
            Some(RequestRow::Tombstone { .. }) | None => Err(Refusal::NotFound.into()),
        }
    }

    /// Gives a tenant's transactions before `before` to `take`, newest first, for as long as it says that it takes more. They are
    /// read a few at a time: one may have a hundred operations.
    ///
    /// # Errors
    /// [`FlowError`].
    pub async fn transactions(
        &self,
        gateway: &GatewayId,
        before: Option<TransactionId>,
        deadline: Instant,
        mut take: impl FnMut(&Transaction) -> bool,
    ) -> Result<(), FlowError> {
        self.journal.read_barrier(deadline).await?;
        let first = Key::Transaction(gateway.clone(), TransactionId::from_number(0));
        let mut last = Key::Transaction(gateway.clone(), before.unwrap_or(TransactionId::from_number(u128::MAX)));
        loop {
            let (from, to) = (Bound::Included(&first), Bound::Excluded(&last));
            let rows = self.journal.reader().range_back(from, to, LISTED_AT_ONCE)?;
            let ended = rows.len() < LISTED_AT_ONCE;
            for (key, row) in rows {
                if let Row::Transaction(transaction) = row
                    && !take(&transaction)
                {
                    return Ok(());
                }
                last = key;
            }
            if ended {
                return Ok(());
            }
        }
    }

    /// What became of a key whose forwarded call broke: waits for the decision until the deadline. Carries no card data (R15).
    ///
    /// # Errors
    /// [`FlowError::OutcomeUnknown`] where the key is not known: it may still be on its way.
    pub async fn outcome_of(
        &self,
        gateway: &GatewayId,
        asked: &Inquiry,
        deadline: Instant,
    ) -> Result<Settled, FlowError> {
        self.journal.read_barrier(deadline).await?;
        let Some(RequestRow::Operation { transaction, operation }) =
            self.journal.request(gateway, asked.original, &asked.request_id)?
        else {
            return Err(FlowError::OutcomeUnknown);
        };
        // The key may have been used for something else before, or for another card: its answer is none to this request (R16).
        // Two digests under different keys say nothing; while a new key comes in, the gateway repeats its request.
        let found = self.journal.transaction(gateway, transaction)?.ok_or(FlowError::OutcomeUnknown)?;
        let stored = found.operations.get(usize::from(operation)).ok_or(FlowError::OutcomeUnknown)?;
        if stored.fingerprint != asked.fingerprint {
            return Err(FlowError::OutcomeUnknown);
        }
        // It may have been told before, to an earlier call with this key: nobody here can say that it was not.
        self.journal.decided(gateway, transaction, operation, true, deadline).await?.ok_or(FlowError::OutcomeUnknown)
    }
}

/// Transactions of a list that are read at once.
const LISTED_AT_ONCE: usize = 16;
