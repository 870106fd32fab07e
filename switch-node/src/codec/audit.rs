//! The audit trail. A record's canonical bytes are what its hash is over: they may be read by others, and never change.

use ring::digest;
use switch_domain::{
    audit::{
        Act, AuditEntry, AuditHead, AuditRecord, ClockAct, ClockView, Digest, DirectoryAct, MemberView, OperatorCall,
        ProposalAct, ProposeAct, RefusedChanges, Remark, Stage, View, Written,
    },
    directory::Change,
};

use super::{
    CodecFault,
    wire::{self, Field, Kind, Message, Reader, Value, Writer, choices, enumerations, message_value, messages, texts},
};

/// Writes a record as it is hashed and exported.
#[must_use]
pub fn encode_audit_record(record: &AuditRecord) -> Vec<u8> {
    wire::encode(record, 512)
}

/// SHA-256 over a record's canonical bytes.
#[must_use]
pub fn audit_digest(record: &AuditRecord) -> Digest {
    sha256(&encode_audit_record(record))
}

/// What the trail keeps of changes that were refused.
#[must_use]
pub fn refused_changes(changes: Vec<Change>) -> RefusedChanges {
    let count = changes.len() as u64;
    let act = DirectoryAct { expected_version: 0, changes, replaced: Vec::new(), refused: None };
    RefusedChanges { count, digest: sha256(&wire::encode(&act, 512)) }
}

fn sha256(bytes: &[u8]) -> Digest {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    Digest(hash)
}

texts! {
    // What is not as `Remark::of` makes it was not written by it.
    Remark { from: |text| Some(Remark::of(text)).filter(|kept| kept.as_str() == text), absent: Some(Remark::default()) }
}

enumerations! {
    Stage { 1 = Asked, 2 = Done, 3 = Refused, 4 = Unknown }
}

choices! {
    Act {
        ;
        1 ChangeDirectory, 2 Bootstrap, 3 AddMember, 4 PromoteMember, 5 RemoveMember, 6 TransferLeader, 7 DrainNode,
        8 TakeSnapshot, 9 ResendReversal, 10 ProposeResolution, 11 RotateKey, 12 ConfirmResolution,
        13 WithdrawResolution, 14 AcceptClock, 15 SaveSnapshot, 16 ExportTransactions,
    }
}

messages! {
    ProposeAct { 1 attempt, 2 resolution, 3 evidence }
    ProposalAct { 1 attempt, 2 proposal }
    ClockAct { 1 wall, 2 reason }
    ClockView { 1 wall, 2 log }
    MemberView { 1 node, 2 voter }
    AuditEntry { 1 request_id, 2 author, 3 act, 4 stage, 5 reason, 6 before, 7 after, 8 call }
    OperatorCall { 1 boot, 2 number }
    RefusedChanges { 1 count, 2 digest }
    AuditRecord { 1 number, 2 previous, 3 time, 4 entry }
    Written { 1 call, 2 stage }
    AuditHead { 1 number, 2 hash, 3 recent }
}

message_value!(DirectoryAct {
    |value, to| {
        let DirectoryAct { expected_version, changes, replaced, refused } = value;
        expected_version.write(1, to);
        changes.write(2, to);
        for one in replaced {
            to.nested(3, |to| one.write(1, to));
        }
        refused.write(4, to);
    }
    |from| {
        let (expected_version, changes) = (Field::read(1, from)?, Field::read(2, from)?);
        let mut replaced = Vec::new();
        while from.next_is(3, Kind::Bytes) {
            replaced.push(from.nested("Replaced", |from| from.optional(1))?);
        }
        Ok(DirectoryAct { expected_version, changes, replaced, refused: Field::read(4, from)? })
    }
});

message_value!(View {
    |value, to| {
        match value {
            View::Leader(node) => node.put(1, to),
            View::Members(members) => to.nested(2, |to| members.write(1, to)),
            View::Version(version) => version.put(3, to),
            View::Lane(state) => state.put(4, to),
            View::KeyVersion(version) => version.put(5, to),
            View::Proposal(position) => position.put(6, to),
            View::Clock(clock) => clock.put(7, to),
        }
    }
    |from| {
        if let Some(node) = from.optional(1)? {
            return Ok(View::Leader(node));
        }
        if from.next_is(2, Kind::Bytes) {
            return from.nested("Members", |from| Ok(View::Members(Field::read(1, from)?)));
        }
        if let Some(version) = from.optional(3)? {
            return Ok(View::Version(version));
        }
        if let Some(state) = from.optional(4)? {
            return Ok(View::Lane(state));
        }
        if let Some(version) = from.optional(5)? {
            return Ok(View::KeyVersion(version));
        }
        if let Some(position) = from.optional(6)? {
            return Ok(View::Proposal(position));
        }
        match from.optional(7)? {
            Some(clock) => Ok(View::Clock(clock)),
            None => Err(from.unexpected()),
        }
    }
});

impl Value for Digest {
    const KIND: Kind = Kind::Bytes;

    fn put(&self, field: u32, to: &mut Writer) {
        to.bytes(field, &self.0);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, CodecFault> {
        from.array("Digest").map(Self)
    }
}
