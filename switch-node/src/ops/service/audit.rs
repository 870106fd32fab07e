//! The audit trail: an act stands in it before it is done, with what came of it after; and its records, listed.

use std::{
    ops::Bound,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use switch_domain::{
    audit::{Act, AuditEntry, AuditHead, MemberView, OperatorCall, Remark, Stage, View},
    entry::Command,
    id::RequestId,
    table::{Key, Row, TableFault},
};
use switch_proto::operator::v1::{self as pb, audit_service_server::AuditService};
use tokio::time::Instant;
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt as _;

use super::{Operators, author, page_size_of, refusals, until, within};
use crate::{codec, door::refusal::refused, journal::Journal, outcome::offer};

/// Who asks for an act, in which call, and under which key.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    author: String,
    request_id: RequestId,
    call: OperatorCall,
}

impl Caller {
    /// The same caller, under the key that its message carries.
    pub(super) fn under(self, request_id: RequestId) -> Self {
        Self { request_id, ..self }
    }
}

/// An act that was asked for; what came of it is still to be said.
pub(super) struct Asked(AuditEntry);

impl Asked {
    /// What is written before it is done.
    pub(super) fn of(caller: Caller, act: Act, before: Option<View>) -> Self {
        tracing::info!(target: "audit", ?caller, ?act, "an operator acts");
        let Caller { author, request_id, call } = caller;
        let (stage, reason) = (Stage::Asked, Remark::default());
        Self(AuditEntry { request_id, author, act, stage, reason, before, after: None, call })
    }

    /// What is written after it.
    pub(super) fn ended(self, result: Result<Option<View>, &Status>) -> AuditEntry {
        let (stage, reason, after) = match result {
            Ok(after) => (Stage::Done, Remark::default(), after),
            Err(status) => (stage_of(status), remark_of(status), None),
        };
        AuditEntry { stage, reason, after, ..self.0 }
    }
}

impl Operators {
    /// Who calls, and the key of the call: `x-request-id`, or one that this node makes.
    pub(super) fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let author = author(request)?;
        let boot = self.shared.journal.shared().boot;
        let call = OperatorCall { boot, number: CALLS.fetch_add(1, Ordering::Relaxed) };
        let request_id = match request.metadata().get(REQUEST_ID) {
            Some(given) => request_id(given.to_str().unwrap_or_default(), REQUEST_ID)?,
            None => own_key(call),
        };
        Ok(Caller { author, request_id, call })
    }

    /// Does an act of several steps between its two records. Nothing is done unless the first is committed; the second is
    /// written by a task of the node's, so that a caller who goes away leaves no act without its end.
    pub(super) async fn audited<T: Send + 'static>(
        &self,
        caller: Caller,
        act: Act,
        before: Option<View>,
        until: Instant,
        work: impl Future<Output = Result<(T, Option<View>), Status>> + Send + 'static,
    ) -> Result<T, Status> {
        let operators = self.clone();
        let done = self.shared.tasks.spawn(async move {
            let asked = operators.begin(Asked::of(caller, act, before), until).await?;
            let result = within(until, work).await;
            operators.end(asked, result.as_ref().map(|(_, after)| after.clone())).await;
            result.map(|(answer, _)| answer)
        });
        done.await.unwrap_or_else(|_| Err(refusals::late()))
    }

    /// Writes that an act was asked for. Nothing is done unless this is committed.
    pub(super) async fn begin(&self, asked: Asked, until: Instant) -> Result<Asked, Status> {
        if self.write(asked.0.clone(), until).await {
            return Ok(asked);
        }
        let words = "the audit trail cannot be written, so nothing was done";
        Err(refused(Code::Unavailable, "AUDIT_NOT_WRITTEN", words).retry_after(LATER).status())
    }

    /// Writes what came of it.
    pub(super) async fn end(&self, asked: Asked, result: Result<Option<View>, &Status>) {
        if !self.write(asked.ended(result), Instant::now() + END_WITHIN).await {
            tracing::error!(target: "audit", "what came of an operator's act could not be written");
        }
    }

    /// Writes one record, here or through the leader; true once it is committed. A leader of an older version, which cannot read
    /// it, is not waited for.
    pub(super) async fn write(&self, entry: AuditEntry, until: Instant) -> bool {
        let command = Command::Audit(Box::new(entry));
        // A leader that has lost its followers would wait for them for ever.
        let offered = offer(&self.shared.journal, self.shared.courier.as_ref(), &command);
        matches!(tokio::time::timeout_at(until, offered).await, Ok(true))
    }

    /// Who belongs to the cluster, as this node knows it.
    pub(super) fn members_view(&self) -> View {
        let status = self.shared.journal.group().status();
        let view = |member: &switch_consensus::MemberStatus| MemberView { node: member.node_id, voter: member.voter };
        let mut members: Vec<MemberView> = status.members.iter().map(view).collect();
        members.sort_by_key(|member| member.node);
        View::Members(members)
    }
}

#[tonic::async_trait]
impl AuditService for Operators {
    async fn list_audit_records(
        &self,
        request: Request<pb::ListAuditRecordsRequest>,
    ) -> Result<Response<pb::ListAuditRecordsResponse>, Status> {
        let until = until(&request)?;
        let pb::ListAuditRecordsRequest { page_size, page_token, newest_first } = request.into_inner();
        let size = page_size_of(page_size)?;
        let after = match page_token.as_str() {
            "" => None,
            token => Some(token.parse::<u64>().map_err(|_| refusals::page_token_malformed())?),
        };
        within(until, self.current(until)).await?;
        let journal = self.shared.journal.clone();
        let listed = tokio::task::spawn_blocking(move || page(&journal, after, size, newest_first)).await;
        listed.map_err(|_| refusals::late())?.map(Response::new).map_err(refusals::of_table)
    }
}

/// Records after a number, in either direction. Read a few at a time: one may be a change of a thousand records of the directory.
fn page(
    journal: &Journal,
    after: Option<u64>,
    size: usize,
    newest_first: bool,
) -> Result<pb::ListAuditRecordsResponse, TableFault> {
    let head = match journal.reader().get(&Key::AuditHead)? {
        Some(Row::AuditHead(head)) => head,
        _ => AuditHead::default(),
    };
    let (mut records, mut bytes, mut last, mut ended) = (Vec::new(), 0, after, false);
    while !ended && records.len() < size && bytes < PAGE_BYTES {
        let chunk = CHUNK_RECORDS.min(size - records.len());
        let rows = rows_after(journal, last, chunk, newest_first)?;
        ended = rows.len() < chunk;
        for (key, row) in rows {
            let (Key::AuditRecord(number), Row::AuditRecord(record)) = (key, row) else { continue };
            let encoded = codec::encode_audit_record(&record);
            bytes += encoded.len();
            let hash = codec::audit_digest(&record).0.to_vec().into();
            records.push(pb::AuditRecord { record: encoded.into(), hash });
            last = Some(number);
            if bytes >= PAGE_BYTES {
                ended = false;
                break;
            }
        }
    }
    let next_page_token = last.filter(|_| !ended).map(|number| number.to_string()).unwrap_or_default();
    let AuditHead { number: last_number, hash, recent: _ } = head;
    Ok(pb::ListAuditRecordsResponse { records, next_page_token, last_number, last_hash: hash.0.to_vec().into() })
}

fn rows_after(
    journal: &Journal,
    after: Option<u64>,
    limit: usize,
    newest_first: bool,
) -> Result<Vec<(Key, Row)>, TableFault> {
    if newest_first {
        let (first, to) = (Key::AuditRecord(0), Key::AuditRecord(after.unwrap_or(u64::MAX)));
        journal.reader().range_back(Bound::Included(&first), Bound::Excluded(&to), limit)
    } else {
        let (from, last) = (Key::AuditRecord(after.unwrap_or(0)), Key::AuditRecord(u64::MAX));
        journal.reader().range(Bound::Excluded(&from), Bound::Included(&last), limit)
    }
}

/// What a refusal says of the act: only some of them are sure that nothing was done.
fn stage_of(status: &Status) -> Stage {
    match status.code() {
        Code::Unknown | Code::DeadlineExceeded | Code::Cancelled | Code::Internal => Stage::Unknown,
        // Consensus stopped under it, and may have begun.
        Code::Unavailable if reason_of(status) == "STOPPING" => Stage::Unknown,
        _ => Stage::Refused,
    }
}

fn remark_of(status: &Status) -> Remark {
    Remark::of(&format!("{}: {}", reason_of(status), status.message()))
}

fn reason_of(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// The key that an operator gave to a call, in `field`. It stands in the trail for ever, so that it must not look like a card
/// number (R7).
pub(super) fn request_id(text: &str, field: &'static str) -> Result<RequestId, Status> {
    let malformed = |words: String| {
        refused(Code::InvalidArgument, "FIELD_MALFORMED", format!("{field}: {words}"))
            .with("field", field)
            .field(field, words)
            .status()
    };
    let request_id = RequestId::parse(text).map_err(|fault| malformed(fault.to_string()))?;
    if is_like_a_card_number(text) {
        return Err(malformed("looks like a card number".to_owned()));
    }
    Ok(request_id)
}

/// True where more digits stand in a row than [`Remark::DIGITS_MAX`], with nothing but signs between them. Digits in one word
/// with a letter are no such row; and neither is the last group of a UUID, which may have no letter.
fn is_like_a_card_number(text: &str) -> bool {
    let words = || text.split(|c: char| !c.is_ascii_alphanumeric());
    if words().map(str::len).eq([8, 4, 4, 4, 12]) && text.contains(|c: char| c.is_ascii_alphabetic()) {
        return false;
    }
    let mut row = 0;
    words().any(|word| {
        row = if word.contains(|c: char| c.is_ascii_alphabetic()) { 0 } else { row + word.len() };
        row > Remark::DIGITS_MAX
    })
}

/// The key of a call that brings none, in letters: it is nobody's number.
fn own_key(call: OperatorCall) -> RequestId {
    let letters = |number: u64| -> String {
        let letter = |digit: char| if digit.is_ascii_digit() { char::from(digit as u8 - b'0' + b'g') } else { digit };
        format!("{number:x}").chars().map(letter).collect()
    };
    let text = format!("node-{}-{}", letters(call.boot), letters(call.number));
    RequestId::parse(&text).unwrap_or_else(|_| unreachable!("the text is a key"))
}

/// Calls of this process, numbered above every ticket: a change of the directory stands in the trail under the ticket of its pack,
/// and what has the number of another call is taken for a repetition of it.
static CALLS: AtomicU64 = AtomicU64::new(1 << 63);

/// Where the key of an operator's call stands.
const REQUEST_ID: &str = "x-request-id";
/// The end of an act is carried to whoever leads for longer than any election takes.
pub(super) const END_WITHIN: Duration = Duration::from_secs(30);
/// An election, with room.
const LATER: Duration = Duration::from_millis(500);
/// Records that are read at once.
const CHUNK_RECORDS: usize = 16;
/// Bytes after which a page ends. One record may be larger: `admin-cli` takes pages of any size.
const PAGE_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_no_is_written_as_one() {
        let of = |code| stage_of(&Status::new(code, "because"));
        assert_eq!((of(Code::FailedPrecondition), of(Code::NotFound)), (Stage::Refused, Stage::Refused));
        assert_eq!((of(Code::Unknown), of(Code::DeadlineExceeded)), (Stage::Unknown, Stage::Unknown));
        let unavailable = |reason| stage_of(&refused(Code::Unavailable, reason, "because").status());
        assert_eq!((unavailable("NO_LEADER"), unavailable("STOPPING")), (Stage::Refused, Stage::Unknown));
    }

    #[test]
    fn a_key_may_be_a_uuid_and_must_not_look_like_a_card_number_r7() {
        let digits = "9".repeat(16);
        for key in [digits.clone(), format!("card-{digits}"), "9999-9999:9999.9999".into(), "123_456_789_012".into()] {
            let refusal = request_id(&key, REQUEST_ID).expect_err(&key);
            assert_eq!((refusal.code(), refusal.message().contains(&key)), (Code::InvalidArgument, false));
        }
        for key in [
            "f81d4fae-7dec-11d0-a765-001122334455",
            "99999999-9999-9999-9999-99999999999a",
            "change-17",
            "2026-11-22.17",
            "1700000000000a",
        ] {
            assert_eq!(request_id(key, REQUEST_ID).expect(key).as_str(), key);
        }
    }

    #[test]
    fn a_key_that_a_node_makes_has_no_digit() {
        let key = own_key(OperatorCall { boot: 0x0123_4567_89ab_cdef, number: u64::MAX });
        assert_eq!(key.as_str(), "node-hijklmnopabcdef-ffffffffffffffff");
        assert_ne!(own_key(OperatorCall { boot: 1, number: 2 }), own_key(OperatorCall { boot: 2, number: 1 }));
    }

    #[test]
    fn a_refusal_is_written_with_its_reason() {
        let status = refused(Code::FailedPrecondition, "MEMBER_BEHIND", "too far behind").status();
        assert_eq!(remark_of(&status).as_str(), "MEMBER_BEHIND: too far behind");
    }
}
