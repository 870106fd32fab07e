//! Data keys.

use std::{collections::BTreeSet, time::Duration};

use futures::future::join_all;
use switch_consensus::NodeId;
use switch_domain::{
    audit::{Act, View},
    keyring::{DataKey, KeyPurpose, Keyring, KeyringRefusal},
    table::Key,
    time::LogTime,
};
use switch_proto::{
    operator::v1::{self as pb, key_service_server::KeyService},
    peer::v1 as wire,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};

use super::{Operators, audit, author, refusals, until, within};
use crate::{
    door::refusal::refused,
    keyring::{Asked, RotateFault, SHUT, WHOLE},
    security::{
        data_keys::{another_of, wrapping_file},
        keys::KeyFault,
        sealing,
    },
};

#[tonic::async_trait]
impl KeyService for Operators {
    async fn list_keys(&self, request: Request<pb::ListKeysRequest>) -> Result<Response<pb::ListKeysResponse>, Status> {
        let until = until(&request)?;
        within(until, self.current(until)).await?;
        let keyring = self.shared.keeper.keys().keyring();
        let keys = keyring.keys.values().map(|key| record(&keyring, key)).collect();
        Ok(Response::new(pb::ListKeysResponse { keys, incarnations: keyring.incarnations }))
    }

    async fn rotate_key(
        &self,
        request: Request<pb::RotateKeyRequest>,
    ) -> Result<Response<pb::RotateKeyResponse>, Status> {
        self.reign()?;
        let (caller, author, until) = (self.caller(&request)?, author(&request)?, until(&request)?);
        let pb::RotateKeyRequest { request_id, purpose, wrapping_version, overlap_s } = request.into_inner();
        let request_id = audit::request_id(&request_id, "request_id")?;
        let purpose = match pb::KeyPurpose::try_from(purpose) {
            Ok(pb::KeyPurpose::Card) => KeyPurpose::Card,
            Ok(pb::KeyPurpose::Sealing) => KeyPurpose::Sealing,
            Ok(pb::KeyPurpose::Unspecified) | Err(_) => {
                return Err(refused(Code::InvalidArgument, "FIELD_MISSING", "purpose: is missing or not known")
                    .with("field", "purpose")
                    .field("purpose", "is missing or not known")
                    .status());
            }
        };
        let overlap = (overlap_s > 0).then(|| Duration::from_secs(u64::from(overlap_s)));
        let caller = caller.under(request_id.clone());
        let made = Key::OperatorRequest(request_id.clone());
        let asked = Asked { request_id: Some(request_id), author, wrapping_version, overlap };
        let current = self.shared.keeper.keys().keyring().current(purpose).map(|key| View::KeyVersion(key.version));
        let operators = self.clone();
        self.audited(caller, Act::RotateKey(purpose), current, until, async move {
            // A call that is repeated asks nobody: what it made stands.
            let is_repeated = operators.shared.journal.reader().get(&made).map_err(refusals::of_table)?.is_some();
            if wrapping_version > 0 && !is_repeated {
                operators.held_by_every_voter(wrapping_version).await?;
            }
            let rotated = operators.shared.keeper.rotate(purpose, asked).await;
            let version = rotated.map_err(|fault| operators.not_rotated(fault))?;
            Ok((Response::new(pb::RotateKeyResponse { version }), Some(View::KeyVersion(version))))
        })
        .await
    }
}

impl Operators {
    /// Refuses a wrapping key that a voter lacks, or may lack, or has another of: what is wrapped under it would not open there,
    /// and that voter could not lead.
    async fn held_by_every_voter(&self, version: u32) -> Result<(), Status> {
        let own = self.shared.journal.group().status().identity.node_id;
        let keys = self.shared.keeper.keys();
        let file = wrapping_file(version);
        let lacks = |node: NodeId| format!("node {node:016x} does not have {file}: bring it to every voter first");
        let missing = |node: NodeId, words| {
            refused(Code::FailedPrecondition, "WRAPPING_KEY_MISSING", words)
                .with("node_id", format!("{node:016x}"))
                .with("wrapping_key", &file)
                .status()
        };
        let name = keys.wrapping_name(version).map_err(|_| missing(own, lacks(own)))?;
        for (node, held) in self.held_by_voters().await {
            let words = match held {
                Ok(held) if held.contains(&name) => continue,
                Ok(held) => match another_of(&name, &held) {
                    Some(other) => different(own, &name, node, other),
                    None => lacks(node),
                },
                Err(words) => format!("whether node {node:016x} has {file} is not known: {words}"),
            };
            return Err(missing(node, words));
        }
        Ok(())
    }

    /// Refuses to form a cluster with a peer that has other wrapping keys than this node: whoever leads first wraps the first data
    /// keys under its newest one, and any of them may lead.
    pub(super) fn begins_with_the_same_keys(&self, address: &str, answer: &wire::ProbeResponse) -> Result<(), Status> {
        let own = BTreeSet::from_iter(self.shared.keeper.keys().held());
        let theirs: BTreeSet<_> = answer.holdings.iter().filter(|name| *name != WHOLE).cloned().collect();
        if own == theirs {
            return Ok(());
        }
        let words = format!("{address} has {theirs:?} and this node {own:?}: bring the same keys to every node first");
        Err(refused(Code::FailedPrecondition, "WRAPPING_KEY_MISSING", words).with("peer_address", address).status())
    }

    /// Refuses to let a learner vote on which a data key does not open, or may not, or will not once a wrapping key is used of
    /// which it has another: it could not lead. Who else it is, and whether it may vote, is for consensus to say.
    pub(super) async fn opens_every_data_key(&self, node: NodeId) -> Result<(), Status> {
        let members = self.shared.journal.group().status().members;
        let Some(learner) = members.into_iter().find(|member| member.node_id == node && !member.voter) else {
            return Ok(());
        };
        let own = self.shared.journal.group().status().identity.node_id;
        let keys = self.shared.keeper.keys();
        let held = self.held_by(node, &learner.record.peer_address).await;
        let contradicted = held.as_ref().ok().and_then(|held| keys.contradicted(held));
        let says = |held: &[String], what: &str| held.iter().any(|name| name == what);
        let words = match (held, contradicted) {
            (Ok(_), Some((name, other))) => different(own, &name, node, &other),
            (Ok(held), None) if says(&held, WHOLE) || keys.keyring().keys.is_empty() => return Ok(()),
            (Ok(held), None) if !says(&held, SHUT) => {
                let words = format!("the data keys of the cluster have not reached node {node:016x} yet");
                let refused = refused(Code::FailedPrecondition, "MEMBER_BEHIND", words);
                return Err(refused.with("node_id", format!("{node:016x}")).status());
            }
            (Ok(_), None) => {
                format!("a data key of the cluster does not open on node {node:016x}: bring its wrapping key first")
            }
            (Err(words), _) => format!("whether every data key opens on node {node:016x} is not known: {words}"),
        };
        let refused = refused(Code::FailedPrecondition, "WRAPPING_KEY_MISSING", words);
        Err(refused.with("node_id", format!("{node:016x}")).status())
    }

    /// What every voter has, by name, or why that is not known. This node never says that its keyring is whole.
    async fn held_by_voters(&self) -> Vec<(NodeId, Result<Vec<String>, String>)> {
        let status = self.shared.journal.group().status();
        let own = status.identity.node_id;
        let voters = status.members.into_iter().filter(|member| member.voter);
        join_all(voters.map(async |voter| {
            let held = if voter.node_id == own {
                Ok(self.shared.keeper.keys().held())
            } else {
                self.held_by(voter.node_id, &voter.record.peer_address).await
            };
            (voter.node_id, held)
        }))
        .await
    }

    /// What another node says that it has, or why that is not known.
    async fn held_by(&self, node: NodeId, address: &str) -> Result<Vec<String>, String> {
        let answer = self.probe(address).await?;
        if answer.node_id == node { Ok(answer.holdings) } else { Err("another node answers".to_owned()) }
    }

    /// Until the node leaves: gives leadership away whenever a data key does not open here, to a voter that says that all open on
    /// it. Where there is none it stays, so that leadership does not wander for nothing; `/readyz` says why.
    pub async fn lead_with_keys_only(self, leaving: CancellationToken) {
        let mut faults = self.shared.keeper.watch_fault();
        let mut reigns = self.shared.journal.watch_reign();
        loop {
            let fault = *faults.borrow_and_update();
            let leads = reigns.borrow_and_update().is_some();
            if let Some(fault) = fault.filter(|_| leads) {
                self.hand_over_for(fault).await;
            }
            tokio::select! {
                biased;
                () = leaving.cancelled() => return,
                changed = faults.changed() => if changed.is_err() { return },
                changed = reigns.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(KEYLESS_PAUSE), if leads && fault.is_some() => {}
            }
        }
    }

    async fn hand_over_for(&self, fault: KeyFault) {
        let voters = self.held_by_voters().await.into_iter();
        let mut able = voters.filter(|(_, held)| held.as_ref().is_ok_and(|held| held.iter().any(|name| name == WHOLE)));
        let Some((able, _)) = able.next() else {
            tracing::error!(%fault, "this node leads without a data key, and all open on no other voter");
            return;
        };
        match self.shared.hand_over.hand_over(Some(able), Instant::now() + HAND_OVER_WITHIN).await {
            Ok(leader) => tracing::warn!(%fault, %leader, "leadership was given away: a data key does not open here"),
            Err(error) => tracing::error!(%fault, %error, "a node without a data key leads and could not hand over"),
        }
    }

    fn not_rotated(&self, fault: RotateFault) -> Status {
        match fault {
            RotateFault::Lost(lost) => refusals::of_lost(lost).unwrap_or_else(|| self.not_leader()),
            RotateFault::Refused(refusal @ KeyringRefusal::NotNext { .. }) => {
                refused(Code::Aborted, "KEY_RACE", refusal.to_string()).status()
            }
            RotateFault::Refused(refusal @ KeyringRefusal::RequestIdReused(_)) => {
                refused(Code::FailedPrecondition, "REQUEST_ID_REUSED", refusal.to_string()).status()
            }
            RotateFault::Refused(refusal @ (KeyringRefusal::Full(_) | KeyringRefusal::IncarnationsExhausted)) => {
                refused(Code::FailedPrecondition, "KEYRING_FULL", refusal.to_string()).status()
            }
            RotateFault::Key(fault) => {
                refused(Code::FailedPrecondition, "WRAPPING_KEY_MISSING", fault.to_string()).status()
            }
        }
    }
}

/// Two nodes have different keys under one version, and only an operator knows which is the right one.
fn different(own: NodeId, name: &str, node: NodeId, other: &str) -> String {
    format!(
        "node {own:016x}, which leads, has {name} and node {node:016x} has {other}: different keys in files of one name; bring the \
         right one to the node that has the wrong one, and restart it"
    )
}

fn record(keyring: &Keyring, key: &DataKey) -> pb::DataKey {
    let unix_ms = |time: LogTime| i64::try_from(time.0).unwrap_or(i64::MAX);
    let (purpose, key_id) = match key.purpose {
        KeyPurpose::Card => (pb::KeyPurpose::Card, String::new()),
        KeyPurpose::Sealing => (pb::KeyPurpose::Sealing, sealing::key_id(key.version)),
    };
    pb::DataKey {
        purpose: purpose.into(),
        version: key.version,
        wrapping_version: key.wrapping_version,
        key_id,
        public_key: key.public.map(|public| public.to_vec()).unwrap_or_default().into(),
        since_unix_ms: unix_ms(key.since),
        // Card keys are replaced and never leave: what they sealed stays.
        until_unix_ms: key.until.filter(|_| key.purpose == KeyPurpose::Sealing).map_or(0, unix_ms),
        current: keyring.current(key.purpose).is_some_and(|current| current.version == key.version),
        author: key.author.clone(),
    }
}

/// Before a node without a data key tries again to give leadership away: another voter may have the wrapping key by then.
const KEYLESS_PAUSE: Duration = Duration::from_secs(5);
/// How long such a hand-over may wait for opens under way.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(2);
