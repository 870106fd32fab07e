//! Authorize and VerifyCard: the path in a straight line.

use std::sync::Arc;

use switch_domain::{
    authorization::{Asked, Authorization, FollowUp},
    book::{Reply, Settled},
    card::{Card, CardReference},
    entry::{Command, NewTransaction, Open, Subject},
    id::Position,
    money::Amount,
    outcome::DeclineReason,
    refusal::Refusal,
    table::RequestRow,
    transaction::{Fingerprint, Method, Transaction},
};
use tokio::time::{Duration, Instant};

use super::{Flow, FlowError, Patience, converse::Conversation};
use crate::{
    link::Links,
    outcome::Opening,
    router::{self, Itinerary, Nowhere, Stop, Unserved},
    security::vault::{FingerprintParts, VaultFault},
};

impl Flow {
    /// Asks a network whether a card may pay, or whether it is good.
    ///
    /// # Errors
    /// [`FlowError`].
    pub async fn authorize(
        self: &Arc<Self>,
        authorization: Authorization,
        card: Card,
        patience: Patience,
        mut entered: Option<Opening>,
    ) -> Result<Settled, FlowError> {
        let deadline = patience.until;
        let fingerprint =
            |version| self.vault.fingerprint(version, &FingerprintParts::payment(&authorization, &card.pan));
        let gateway = &authorization.gateway;
        let key = &authorization.request_id;
        if let Some(stored) = self.replay(gateway, None, key, deadline, &fingerprint, &mut entered).await? {
            return Ok(stored);
        }
        let fingerprint = fingerprint(None).map_err(FlowError::from)?;
        if authorization.cardholder_initiated && card.expiry.is_some_and(|e| e.has_passed(self.journal.log_time())) {
            return Err(declined(DeclineReason::ExpiredCard));
        }

        self.can_seal(deadline).await?;

        // ② which card network, and which next
        let standing = self.journal.standing();
        let mut itinerary = router::plan(&standing, &card.pan, &authorization).map_err(declined)?;
        let stop = first_stop(&mut itinerary, &self.links)?;
        self.check_deadline(patience, stop.terms.attempt_timeout_ms)?;

        let id = self.transaction_id(gateway, &authorization.request_id);
        let sealed = Some(self.vault.seal(&card, gateway, id)?);
        let token = self.vault.token(&card.pan)?;
        let open = Open {
            gateway: gateway.clone(),
            request_id: authorization.request_id.clone(),
            fingerprint,
            amount: authorization.amount,
            currency: authorization.currency,
            directory_version: standing.directory.version,
            first_sent: authorization.first_sent,
            plan: self.plan(&stop)?,
            day_limit: standing.day_limit(gateway, authorization.currency),
            retention_days: standing.directory.retention_days,
            subject: Subject::New(Box::new(NewTransaction {
                id,
                verification: authorization.verification,
                capture_mode: authorization.capture_mode,
                entry_mode: authorization.entry_mode,
                merchant: authorization.merchant.clone(),
                card: CardReference { bin: card.pan.bin(), last4: card.pan.last4(), token, sealed },
                credentials: authorization.credentials.clone(),
                merchant_reference: authorization.merchant_reference.clone(),
                partial_supported: authorization.partial_supported,
            })),
        };
        self.run(open, asked(authorization), card, itinerary, deadline, entered).await
    }

    /// Increments and refunds: the same path, with the card from the vault and the network of the original.
    ///
    /// # Errors
    /// [`FlowError`].
    pub async fn follow_up(
        self: &Arc<Self>,
        method: Method,
        asked_for: FollowUp,
        patience: Patience,
        mut entered: Option<Opening>,
    ) -> Result<Settled, FlowError> {
        let deadline = patience.until;
        let FollowUp { gateway, request_id, transaction, amount, currency } = asked_for;
        let parts = FingerprintParts::follow_up(method, amount, currency, transaction);
        let fingerprint = |version| self.vault.fingerprint(version, &parts);
        let (original, key) = (Some(transaction), &request_id);
        if let Some(stored) = self.replay(&gateway, original, key, deadline, &fingerprint, &mut entered).await? {
            return Ok(stored);
        }
        let fingerprint = fingerprint(None).map_err(FlowError::from)?;
        let original = match self.journal.transaction(&gateway, transaction)? {
            Some(original) => original,
            None => {
                // Not here yet is not nowhere: a deposed leader may lack what the next one has.
                self.journal.read_barrier(deadline).await?;
                self.journal.transaction(&gateway, transaction)?.ok_or(Refusal::NotFound)?
            }
        };
        let sealed = original.card.sealed.as_ref().ok_or(Refusal::CardGone)?;
        let card = self.vault.unseal(sealed, &gateway, transaction)?;

        let standing = self.journal.standing();
        let mut itinerary = router::return_to(&standing, &original).ok_or_else(|| declined(DeclineReason::NoRoute))?;
        let stop = first_stop(&mut itinerary, &self.links)?;
        self.check_deadline(patience, stop.terms.attempt_timeout_ms)?;
        let open = Open {
            gateway: gateway.clone(),
            request_id,
            fingerprint,
            amount,
            currency,
            directory_version: standing.directory.version,
            first_sent: None,
            plan: self.plan(&stop)?,
            day_limit: if method == Method::Increment { standing.day_limit(&gateway, currency) } else { Amount::ZERO },
            retention_days: standing.directory.retention_days,
            subject: if method == Method::Increment {
                Subject::Increment(transaction)
            } else {
                Subject::Refund(transaction)
            },
        };
        self.run(open, asked_again(method, amount, &original), card, itinerary, deadline, entered).await
    }

    /// ③ journal, ④ link, ⑤ outcome: in a task of the node.
    async fn run(
        self: &Arc<Self>,
        open: Open,
        asked: Asked,
        card: Card,
        itinerary: Itinerary,
        deadline: Instant,
        entered: Option<Opening>,
    ) -> Result<Settled, FlowError> {
        if self.disk_low.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(FlowError::DiskReserve);
        }
        let flow = self.clone();
        let gateway = open.gateway.clone();
        let opening = match entered {
            Some(entered) => entered,
            // Counted first, then the intake is looked at: a hand-over that closes it waits for whatever was counted (R4).
            None => {
                let opening = self.conversations.open();
                if !*self.intake.borrow() {
                    return Err(FlowError::NotLeader);
                }
                opening
            }
        };
        self.owned(deadline, async move {
            match flow.propose(Command::Open(Box::new(open))).await? {
                Reply::Dispatch(dispatch) => {
                    Conversation { flow, asked, itinerary, until: deadline }.hold(*dispatch, card, opening).await
                }
                Reply::Settled(settled) => Ok(*settled),
                Reply::InFlight { transaction, operation } => {
                    drop((card, opening, itinerary));
                    flow.wait(&gateway, transaction, operation, deadline).await
                }
                Reply::Refused(refusal) => Err(refusal.into()),
                Reply::Recorded | Reply::Ignored | Reply::Resolution(_) => Err(FlowError::OutcomeUnknown),
            }
        })
        .await
    }

    /// The stored answer to a key that is known: needs no route, no link and no quorum, for what was told never changes. `None`
    /// where the key is new.
    pub(super) async fn replay(
        &self,
        gateway: &switch_domain::id::GatewayId,
        original: Option<switch_domain::id::TransactionId>,
        request_id: &switch_domain::id::RequestId,
        deadline: Instant,
        fingerprint: &(dyn Fn(Option<u32>) -> Result<Fingerprint, VaultFault> + Sync),
        entered: &mut Option<Opening>,
    ) -> Result<Option<Settled>, FlowError> {
        let Some(RequestRow::Operation { transaction, operation }) =
            self.journal.request(gateway, original, request_id)?
        else {
            return Ok(None);
        };
        let Some(found) = self.journal.transaction(gateway, transaction)? else { return Ok(None) };
        let Some(stored) = found.operations.get(usize::from(operation)) else { return Ok(None) };
        if fingerprint(Some(stored.fingerprint.key_version))? != stored.fingerprint {
            return Err(Refusal::KeyReused.into());
        }
        // It opens nothing: no hand-over need wait for it.
        drop(entered.take());
        self.wait(gateway, transaction, operation, deadline).await.map(Some)
    }

    /// Waits for an operation that somebody else opened (R16).
    pub(super) async fn wait(
        &self,
        gateway: &switch_domain::id::GatewayId,
        transaction: switch_domain::id::TransactionId,
        operation: u16,
        deadline: Instant,
    ) -> Result<Settled, FlowError> {
        self.journal.decided(gateway, transaction, operation, true, deadline).await?.ok_or(FlowError::InProgress)
    }

    /// A leader that has just begun may still be waiting for its number and its first key. One that no longer leads gets neither.
    async fn can_seal(&self, deadline: Instant) -> Result<(), FlowError> {
        if self.vault.can_seal() {
            return Ok(());
        }
        let mut reign = self.journal.watch_reign();
        tokio::select! {
            biased;
            () = self.vault.ready() => Ok(()),
            // The sender lives as long as the node.
            _ = reign.wait_for(Option::is_none) => Err(FlowError::NotLeader),
            () = tokio::time::sleep_until(deadline) => Err(FlowError::Vault(VaultFault::NotReady)),
        }
    }

    /// A call that cannot see its attempt's end is refused before the journal (R3). The caller is judged by what it gave, the
    /// switch by what is left.
    fn check_deadline(&self, patience: Patience, attempt_timeout_ms: u32) -> Result<(), FlowError> {
        let needed_ms = u64::from(attempt_timeout_ms) + switch_domain::limits::DEADLINE_MARGIN_MS;
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        // The deadline lost a little on its way here: a tenth of the margin is forgiven.
        let forgiven_ms = switch_domain::limits::DEADLINE_MARGIN_MS / 10;
        let given_ms = ms(patience.given);
        if given_ms + forgiven_ms < needed_ms {
            return Err(FlowError::DeadlineTooShort { left_ms: given_ms, needed_ms });
        }
        // Half of the margin may have gone on waiting for a leader.
        let left = patience.until.saturating_duration_since(Instant::now());
        if ms(left) < u64::from(attempt_timeout_ms) + switch_domain::limits::DEADLINE_MARGIN_MS / 2 {
            return Err(FlowError::TimeUsedUp);
        }
        Ok(())
    }
}

/// Told as a decline of the switch, stored nowhere: the key may be used again (R17).
pub(super) fn declined(reason: impl Into<Unserved>) -> FlowError {
    let Unserved(reason) = reason.into();
    FlowError::Refused(Refusal::Declined(reason, Position::default()))
}

/// Where a payment goes first. A network whose links are full is passed over like one that is out of service, but where that is
/// all there is, it is no reason for a decline: there will be room in a moment.
fn first_stop(itinerary: &mut Itinerary, links: &Links) -> Result<Stop, FlowError> {
    itinerary.next(links).map_err(|nowhere| match nowhere {
        Nowhere::OutOfService => declined(DeclineReason::IssuerUnavailable),
        Nowhere::Full => FlowError::NoRoom,
    })
}

fn asked(authorization: Authorization) -> Asked {
    Asked {
        method: if authorization.verification { Method::Verify } else { Method::Authorize },
        capture_mode: authorization.capture_mode,
        amount: authorization.amount,
        currency: authorization.currency,
        entry_mode: authorization.entry_mode,
        credentials: authorization.credentials,
        merchant: authorization.merchant,
        partial_supported: authorization.partial_supported,
        electronic_commerce_indicator: authorization.electronic_commerce_indicator,
        street: authorization.street,
        postal_code: authorization.postal_code,
        original_network_transaction_id: authorization.original_network_transaction_id,
    }
}

fn asked_again(method: Method, amount: Amount, original: &Transaction) -> Asked {
    Asked {
        method,
        capture_mode: original.capture_mode,
        amount,
        currency: original.currency,
        entry_mode: original.entry_mode,
        credentials: Default::default(), // they vouched for the original, which the message names
        merchant: original.merchant.clone(),
        partial_supported: false,
        electronic_commerce_indicator: Default::default(),
        street: Default::default(),
        postal_code: Default::default(),
        original_network_transaction_id: original.network_transaction_id.clone(),
    }
}
