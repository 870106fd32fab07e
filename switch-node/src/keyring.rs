//! Keeps the keyring in order: on the leader it makes the first keys, replaces those whose period is over, and gets this process
//! its number for nonces; on every node it opens keys before they are needed.
//!
//! What is made here is nobody's until its entry is committed. A new key is used from then on, and the ones before it still
//! open: they stand beside it in the keyring.

use std::{sync::Arc, time::Duration};

use switch_domain::{
    id::RequestId,
    keyring::{AddDataKey, KeyPurpose, KeyringCommand, KeyringRefusal, KeyringReply},
};
use thiserror::Error;
use tokio::sync::watch;

use crate::{
    journal::{Journal, Lost},
    security::{data_keys::DataKeys, keys::KeyFault, vault::Vault},
};

/// How long keys are used for what is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyPolicy {
    /// Period of a card key.
    pub card_period: Duration,
    /// Period of a sealing key.
    pub sealing_period: Duration,
    /// How long gateways may go on using a sealing key after the next one was made.
    pub sealing_overlap: Duration,
}

impl Default for KeyPolicy {
    fn default() -> Self {
        let days = |days: u64| Duration::from_secs(days * 24 * 3_600);
        Self { card_period: days(30), sealing_period: days(90), sealing_overlap: days(7) }
    }
}

impl KeyPolicy {
    fn period(&self, purpose: KeyPurpose) -> Duration {
        match purpose {
            KeyPurpose::Card => self.card_period,
            KeyPurpose::Sealing => self.sealing_period,
        }
    }
}

/// A key that an operator asks for.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Key of the call.
    pub request_id: Option<RequestId>,
    /// SPIFFE id of the operator.
    pub author: String,
    /// Wrapping key; 0 for that of the key before it.
    pub wrapping_version: u32,
    /// How long gateways may go on using the key before it; `None` for the configured time.
    pub overlap: Option<Duration>,
}

/// Why there is no new key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RotateFault {
    /// It was not committed, or it is not known.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// The keyring refuses it.
    #[error(transparent)]
    Refused(#[from] KeyringRefusal),
    /// This node cannot make or wrap one.
    #[error(transparent)]
    Key(#[from] KeyFault),
}

/// Keeps the keyring of a node.
pub struct Keeper {
    journal: Journal,
    keys: Arc<DataKeys>,
    vault: Arc<Vault>,
    policy: KeyPolicy,
    fault: watch::Sender<Option<KeyFault>>,
}

impl Keeper {
    /// Of a node with these keys.
    #[must_use]
    pub fn new(journal: Journal, keys: Arc<DataKeys>, vault: Arc<Vault>, policy: KeyPolicy) -> Arc<Self> {
        Arc::new(Self { journal, keys, vault, policy, fault: watch::Sender::new(None) })
    }

    /// The keys it keeps.
    #[must_use]
    pub fn keys(&self) -> &Arc<DataKeys> {
        &self.keys
    }

    /// Why a data key of the cluster does not open on this node; `None` while all do.
    #[must_use]
    pub fn watch_fault(&self) -> watch::Receiver<Option<KeyFault>> {
        self.fault.subscribe()
    }

    /// Makes a new key the current one of its purpose; gives its version. On the leader.
    ///
    /// # Errors
    /// [`RotateFault`].
    pub async fn rotate(&self, purpose: KeyPurpose, asked: Asked) -> Result<u32, RotateFault> {
        let Asked { request_id, author, wrapping_version, overlap } = asked;
        let overlap = overlap.unwrap_or(self.policy.sealing_overlap);
        let overlap_ms = u64::try_from(overlap.as_millis()).unwrap_or(u64::MAX);
        let mut tries = TRIES;
        loop {
            tries -= 1;
            let key = self.keys.make(purpose, wrapping_version, author.clone())?;
            let add = AddDataKey { request_id: request_id.clone(), key, overlap_ms };
            match self.journal.propose_keyring(KeyringCommand::Add(Box::new(add))).await? {
                Ok(KeyringReply::Added(version)) => {
                    tracing::info!(%purpose, version, author, "a new data key");
                    return Ok(version);
                }
                Ok(KeyringReply::Incarnation(_)) => return Err(Lost::Unknown.into()),
                // Somebody was first. An operator's next try has seen that key; the cluster itself may need none any more.
                Err(KeyringRefusal::NotNext { .. }) if tries > 0 && request_id.is_some() => {}
                Err(refusal) => return Err(refusal.into()),
            }
        }
    }

    /// Runs for as long as the node.
    pub async fn run(self: Arc<Self>) {
        let mut reigns = self.journal.watch_reign();
        let mut keyring = self.keys.watch();
        loop {
            reigns.borrow_and_update();
            keyring.borrow_and_update();
            let holdings = self.open();
            self.journal.group().declare(holdings);
            let pause = self.tend().await;
            tokio::select! {
                biased;
                changed = reigns.changed() => if changed.is_err() { return },
                changed = keyring.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Opens every data key; gives what this node may say that it has, to other nodes that ask. One to which no key came yet, such
    /// as one that has only just joined, does not say that all open.
    fn open(&self) -> Vec<String> {
        // Looked at before: a key that comes meanwhile is not said to be open until the next look.
        let is_empty = self.keys.keyring().keys.is_empty();
        let fault = self.keys.open_all().err();
        if let Some(error) = fault {
            tracing::error!(%error, "a data key of the cluster does not open on this node; bring its wrapping key");
        }
        self.fault.send_if_modified(|known| std::mem::replace(known, fault) != fault);
        let keyring = match fault {
            Some(_) => Some(SHUT),
            None if is_empty => None,
            None => Some(WHOLE),
        };
        self.keys.held().into_iter().chain(keyring.map(str::to_owned)).collect()
    }

    /// Does what the leader owes the keyring; gives the time after which to look again. What fails holds nothing else up.
    async fn tend(&self) -> Duration {
        if self.journal.reign().is_none() {
            return LOOK_EVERY;
        }
        let mut pause = pause_after(self.incarnate().await);
        for purpose in KeyPurpose::ALL {
            pause = pause.min(pause_after(self.renew(purpose).await));
        }
        pause
    }

    /// Gets this process its number for nonces.
    async fn incarnate(&self) -> Result<(), RotateFault> {
        if self.vault.is_incarnated() {
            return Ok(());
        }
        // A number whose reply was lost stays unused; there are 2^48.
        match self.journal.propose_keyring(KeyringCommand::Incarnate).await?? {
            KeyringReply::Incarnation(number) => {
                tracing::info!(number, "this process may seal");
                self.vault.incarnate(number);
                Ok(())
            }
            KeyringReply::Added(_) => Err(Lost::Unknown.into()),
        }
    }

    /// Replaces the key of a purpose whose period is over.
    async fn renew(&self, purpose: KeyPurpose) -> Result<(), RotateFault> {
        let period_ms = u64::try_from(self.policy.period(purpose).as_millis()).unwrap_or(u64::MAX);
        if self.keys.keyring().is_due(purpose, self.journal.log_time(), period_ms) {
            self.rotate(purpose, Asked::default()).await?;
        }
        Ok(())
    }
}

fn pause_after(step: Result<(), RotateFault>) -> Duration {
    match step {
        Ok(()) => LOOK_EVERY,
        // Lost, or an operator was first: whether anything is still owed shows at the next look.
        Err(RotateFault::Lost(_) | RotateFault::Refused(KeyringRefusal::NotNext { .. })) => RETRY_AFTER,
        Err(error) => {
            tracing::error!(%error, "the keyring cannot be kept");
            LOOK_EVERY
        }
    }
}

/// What a node says that it has while the cluster has data keys, as far as it knows, and every one opens on it.
pub const WHOLE: &str = "keyring";
/// What a node says while a data key of the cluster does not open on it.
pub const SHUT: &str = "keyring-shut";

/// How often the leader looks whether a period is over.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Pause before what was lost, or was done by another, is looked at again: a tenth of an election.
const RETRY_AFTER: Duration = Duration::from_millis(50);
/// Tries of an operator's rotation, where others rotate at the same time.
const TRIES: u32 = 4;

#[cfg(test)]
mod tests;
