//! Packs and the commands in them.

use bytes::Bytes;
use switch_domain::{
    directory::DirectoryCommand,
    entry::{
        AnswerEvidence, Capture, ClockAcceptance, ClockReading, Command, Expire, Failover, FailoverCause, Forget,
        ForgetEvents, ForgetTombstone, Keep, LaneAnswer, NewTransaction, NotSentEvidence, Open, Plan,
        ProposeResolution, ResolutionWord, Subject, TimedOut, Void, VoidTarget,
    },
    keyring::KeyringCommand,
    time::LogTime,
};

use super::{
    CodecFault,
    parts::take_array,
    wire::{self, Field, Kind, Message, Reader, Value, Writer, choices, message_value, messages},
};

/// One entry of the log: what one proposal carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pack {
    /// Random id of the process that proposed it: its tickets are its own.
    pub incarnation: u64,
    /// Ticket of the first command; the others follow in order.
    pub first_ticket: u64,
    /// Log time of every command.
    pub log_time: LogTime,
    /// What it holds.
    pub body: PackBody,
    /// Where the table of its proposer stood: a node that applies the pack compares (S11).
    pub applied: Option<Mark>,
}

/// Where a table stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Log index up to which it goes.
    pub applied: u64,
    /// Rolling hash of entries and outcomes up to there: equal on every node at the same index.
    pub hash: [u8; 32],
}

/// What a pack holds: book, directory and keyring never share an entry (R24).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PackBody {
    /// Commands of the book.
    Book(Vec<Command>),
    /// A command of the directory.
    Directory(Box<DirectoryCommand>),
    /// A command of the keyring.
    Keyring(Box<KeyringCommand>),
}

/// Writes a pack.
#[must_use]
pub fn encode_pack(pack: &Pack) -> Bytes {
    let commands = if let PackBody::Book(commands) = &pack.body { commands.len() } else { 0 };
    wire::encode(pack, 64 + commands * COMMAND_BYTES).into()
}

/// Reads a pack.
///
/// # Errors
/// [`CodecFault`]: the entry is damaged, or was written by a newer version. The node must stop (S17).
pub fn decode_pack(bytes: &[u8]) -> Result<Pack, CodecFault> {
    wire::decode(bytes)
}

/// Writes a command that travels alone: evidence that a node hands to the leader.
#[must_use]
pub fn encode_command(command: &Command) -> Bytes {
    wire::encode(command, COMMAND_BYTES).into()
}

/// Reads a command that travelled alone.
///
/// # Errors
/// [`CodecFault`].
pub fn decode_command(bytes: &[u8]) -> Result<Command, CodecFault> {
    wire::decode(bytes)
}

message_value!(Pack {
    |value, to| {
        to.fixed(1, value.incarnation);
        value.first_ticket.write(2, to);
        value.log_time.write(3, to);
        match &value.body {
            PackBody::Book(commands) => commands.write(4, to),
            PackBody::Directory(command) => command.write(5, to),
            PackBody::Keyring(_) => {}
        }
        value.applied.write(6, to);
        if let PackBody::Keyring(command) = &value.body {
            command.write(7, to);
        }
    }
    |from| {
        let incarnation = from.fixed(1)?;
        let (first_ticket, log_time) = (Field::read(2, from)?, Field::read(3, from)?);
        let commands = Vec::read(4, from)?;
        let (directory, applied) = (from.optional(5)?, Field::read(6, from)?);
        let keyring = from.optional(7)?;
        let body = match (directory, keyring) {
            (None, None) => PackBody::Book(commands),
            (Some(command), None) if commands.is_empty() => PackBody::Directory(command),
            (None, Some(command)) if commands.is_empty() => PackBody::Keyring(command),
            (Some(_), None) => return Err(from.invalid("pack of book and directory")),
            (_, Some(_)) => return Err(from.invalid("pack of the keyring and something else")),
        };
        Ok(Pack { incarnation, first_ticket, log_time, body, applied })
    }
});

message_value!(Mark {
    |value, to| {
        value.applied.write(1, to);
        to.bytes(2, &value.hash);
    }
    |from| {
        let applied = Field::read(1, from)?;
        Ok(Mark { applied, hash: take_array(2, from, "hash")? })
    }
});

choices! {
    Command {
        ;
        1 Open, 2 Failover, 3 Answer, 4 NotSent, 5 TimedOut, 6 LateSend, 7 Capture, 8 Void, 9 LaneAnswer, 10 Park,
        11 ProposeResolution, 12 Expire, 13 ConfirmResolution, 14 WithdrawResolution,
        15 Forget, 16 ForgetTombstone, 17 ForgetEvents, 18 ReadClock, 19 AcceptClock, 20 Audit,
    }
    Subject { ; 1 New, 2 Increment, 3 Refund }
    FailoverCause { ; 1 NotSent, 2 PermittedNo }
    VoidTarget { ; 1 Transaction, 2 Request }
}

messages! {
    Plan { 1 route, 2 network, 3 link, 4 terms, 5 owner }
    NewTransaction {
        1 id, 2 verification, 3 capture_mode, 4 entry_mode, 5 merchant, 6 card, 7 merchant_reference,
        8 partial_supported, 9 credentials,
    }
    Open {
        1 gateway, 2 request_id, 3 fingerprint, 4 amount, 5 currency, 6 directory_version, 7 first_sent, 8 plan,
        9 subject, 10 day_limit, 11 retention_days,
    }
    Failover { 1 attempt, 2 because, 3 plan }
    AnswerEvidence { 1 attempt, 2 answer }
    NotSentEvidence { 1 attempt, 2 why }
    TimedOut { 1 attempt, 2 doubt }
    Capture { 1 gateway, 2 request_id, 3 transaction, 4 fingerprint, 5 amount, 6 currency, 7 is_final }
    Void { 1 gateway, 2 request_id, 3 target, 4 fingerprint }
    LaneAnswer { 1 lane, 2 verdict, 3 sent }
    ProposeResolution { 1 attempt, 2 resolution, 3 author, 4 evidence }
    ResolutionWord { 1 attempt, 2 proposal, 3 author }
    Expire { 1 gateway, 2 transaction, 3 release }
    Keep { 1 retention_days, 2 refund_days }
    Forget { 1 gateway, 2 transaction, 3 keep }
    ForgetTombstone { 1 gateway, 2 position, 3 retention_days }
    ForgetEvents { 1 gateway, 2 positions }
    ClockReading { 1 node, 2 wall }
    ClockAcceptance { 1 wall, 2 author, 3 reason }
}

/// Bytes of a usual command; only a first guess at a buffer's size.
const COMMAND_BYTES: usize = 448;
