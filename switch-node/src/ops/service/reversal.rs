//! What is owed to networks: listed, sent again, closed with evidence by two persons (R25).

use std::ops::Bound;

use switch_domain::{
    book::Reply,
    entry::Command,
    id::{AttemptRef, LinkId, Position, Stan},
    table::{Key, OwedKind, OwedRow, Row},
    transaction::LaneState,
};
use switch_proto::operator::v1::{self as pb, reversal_service_server::ReversalService};
use tokio::time::Instant;
use tonic::{Code, Request, Response, Status};

use super::{Operators, author, refusals, until, within};
use crate::{
    door::refusal::refused,
    journal::{Journal, shared::Wake},
    ops::convert,
};

#[tonic::async_trait]
impl ReversalService for Operators {
    async fn list_reversals(
        &self,
        request: Request<pb::ListReversalsRequest>,
    ) -> Result<Response<pb::ListReversalsResponse>, Status> {
        let until = until(&request)?;
        let pb::ListReversalsRequest { page_size, page_token, parked_only } = request.into_inner();
        let size = page_size_of(page_size)?;
        let after = match page_token.as_str() {
            "" => None,
            token => Some(read_token(token)?),
        };
        within(until, self.current(until)).await?;
        let journal = self.shared.journal.clone();
        let listed = tokio::task::spawn_blocking(move || page(&journal, after, size, parked_only)).await;
        listed.map_err(|_| refusals::late())?.map(Response::new)
    }

    async fn resend_reversal(
        &self,
        request: Request<pb::ResendReversalRequest>,
    ) -> Result<Response<pb::ResendReversalResponse>, Status> {
        self.reign()?;
        let author = author(&request)?;
        let pb::ResendReversalRequest { gateway_id, attempt_id } = request.into_inner();
        let attempt = convert::attempt(&gateway_id, &attempt_id)?;
        let lanes = lanes(&self.shared.journal, &attempt)?;
        let Some(lane) = lanes.into_iter().find(|lane| !lane.state.is_final()) else {
            return Err(
                refused(Code::FailedPrecondition, "NOTHING_OWED", "nothing is owed for this attempt any more").status()
            );
        };
        tracing::info!(target: "audit", %author, %attempt, "an operator sends a reversal or advice again");
        self.shared.journal.shared().wakes.push(Wake { link: lane.link, attempt, forced: true });
        Ok(Response::new(pb::ResendReversalResponse {}))
    }

    async fn resolve_reversal(
        &self,
        request: Request<pb::ResolveReversalRequest>,
    ) -> Result<Response<pb::ResolveReversalResponse>, Status> {
        self.reign()?;
        let (author, until) = (author(&request)?, until(&request)?);
        let proposed = convert::resolve(&author, request.into_inner())?;
        lanes(&self.shared.journal, &proposed.attempt)?;
        let (attempt, resolution) = (&proposed.attempt, proposed.resolution);
        tracing::info!(target: "audit", %author, %attempt, ?resolution, "an operator proposes how a parked item ends");
        let proposal = self.say(until, Command::ProposeResolution(Box::new(proposed))).await?;
        Ok(Response::new(pb::ResolveReversalResponse { proposal_id: convert::proposal_id(proposal) }))
    }

    async fn confirm_resolution(
        &self,
        request: Request<pb::ConfirmResolutionRequest>,
    ) -> Result<Response<pb::ConfirmResolutionResponse>, Status> {
        self.reign()?;
        let (author, until) = (author(&request)?, until(&request)?);
        let pb::ConfirmResolutionRequest { gateway_id, attempt_id, proposal_id } = request.into_inner();
        let word = convert::word(&author, &gateway_id, &attempt_id, &proposal_id)?;
        lanes(&self.shared.journal, &word.attempt)?;
        tracing::info!(target: "audit", %author, attempt = %word.attempt, proposal_id, "an operator confirms how a parked item ends");
        self.say(until, Command::ConfirmResolution(Box::new(word))).await?;
        Ok(Response::new(pb::ConfirmResolutionResponse {}))
    }

    async fn withdraw_resolution(
        &self,
        request: Request<pb::WithdrawResolutionRequest>,
    ) -> Result<Response<pb::WithdrawResolutionResponse>, Status> {
        self.reign()?;
        let (author, until) = (author(&request)?, until(&request)?);
        let pb::WithdrawResolutionRequest { gateway_id, attempt_id, proposal_id } = request.into_inner();
        let word = convert::word(&author, &gateway_id, &attempt_id, &proposal_id)?;
        lanes(&self.shared.journal, &word.attempt)?;
        tracing::info!(target: "audit", %author, attempt = %word.attempt, proposal_id, "an operator withdraws a proposal");
        self.say(until, Command::WithdrawResolution(Box::new(word))).await?;
        Ok(Response::new(pb::WithdrawResolutionResponse {}))
    }
}

impl Operators {
    /// Commits an operator's word about a parked item; gives the proposal that it is about.
    async fn say(&self, until: Instant, command: Command) -> Result<Position, Status> {
        let proposed = async {
            let reply = self.shared.journal.propose(command).await;
            reply.map_err(|lost| refusals::of_lost(lost).unwrap_or_else(|| self.not_leader()))
        };
        match within(until, proposed).await? {
            Reply::Resolution(taken) => taken.map_err(refusals::of_resolution),
            Reply::Recorded
            | Reply::Ignored
            | Reply::Refused(_)
            | Reply::Dispatch(_)
            | Reply::Settled(_)
            | Reply::InFlight { .. } => {
                tracing::error!("the book answered an operator's word with something else");
                Err(refused(Code::Internal, "INTERNAL", "the switch has a fault").status())
            }
        }
    }
}

/// A reversal or an advice, as far as operators decide by it.
struct FoundLane {
    link: LinkId,
    state: LaneState,
}

/// The reversal and the advice that an attempt id may name, as applied here.
fn lanes(journal: &Journal, attempt: &AttemptRef) -> Result<Vec<FoundLane>, Status> {
    let missing = || refused(Code::NotFound, "ATTEMPT_NOT_FOUND", "no such attempt of this gateway").status();
    let found = journal.transaction(&attempt.gateway, attempt.id.transaction).map_err(refusals::of_table)?;
    let transaction = found.ok_or_else(missing)?;
    let operation = transaction.operations.get(usize::from(attempt.id.operation)).ok_or_else(missing)?;
    let asked = usize::from(attempt.id.number).checked_sub(1).and_then(|index| operation.attempts.get(index));
    let reversal = asked.and_then(|asked| {
        let lane = &asked.reversal.as_ref()?.lane;
        Some(FoundLane { link: asked.link.clone(), state: lane.state })
    });
    let advice = operation.advice.as_ref();
    let advice = advice.map(|advice| FoundLane { link: advice.link.clone(), state: advice.lane.state });
    Ok(reversal.into_iter().chain(advice).collect())
}

/// Rows from after a key on, until the page is full or enough was looked at.
fn page(
    journal: &Journal,
    mut after: Option<Key>,
    size: usize,
    parked_only: bool,
) -> Result<pb::ListReversalsResponse, Status> {
    let mut owed = Vec::new();
    let mut looked = 0;
    let end = owed_end();
    loop {
        let start = owed_start();
        let from = after.as_ref().map_or(Bound::Included(&start), Bound::Excluded);
        let rows = journal.reader().range(from, Bound::Excluded(&end), SCAN_PAGE).map_err(refusals::of_table)?;
        let ended = rows.len() < SCAN_PAGE;
        for (key, row) in rows {
            looked += 1;
            let message = match (&key, &row) {
                (Key::Owed(link, _), Row::Owed(row)) if is_lane(row) && (row.parked || !parked_only) => {
                    let id = row.attempt.id.transaction;
                    let found = journal.transaction(&row.attempt.gateway, id).map_err(refusals::of_table)?;
                    found.and_then(|transaction| convert::owed_message(link, row, &transaction, journal.log_time()))
                }
                _ => None,
            };
            owed.extend(message);
            let is_full = owed.len() >= size || looked >= LOOKED_MAX;
            if is_full {
                return Ok(pb::ListReversalsResponse { owed, next_page_token: token(&key) });
            }
            after = Some(key);
        }
        if ended {
            return Ok(pb::ListReversalsResponse { owed, next_page_token: String::new() });
        }
    }
}

fn is_lane(row: &OwedRow) -> bool {
    match row.kind {
        OwedKind::Reversal | OwedKind::Advice => true,
        OwedKind::Attempt | OwedKind::Held => false,
    }
}

fn page_size_of(asked: i32) -> Result<usize, Status> {
    match asked {
        0 => Ok(PAGE_DEFAULT),
        1..=PAGE_MAX => Ok(usize::try_from(asked).unwrap_or(PAGE_DEFAULT)),
        _ => {
            let words = format!("page_size is {asked}, allowed is 0 to {PAGE_MAX}");
            Err(refused(Code::InvalidArgument, "FIELD_OUT_OF_RANGE", words).with("field", "page_size").status())
        }
    }
}

/// Where a page ended: opaque to callers. A link id has no slash.
fn token(key: &Key) -> String {
    match key {
        Key::Owed(link, stan) => format!("{link}/{}", stan.number()),
        _ => String::new(),
    }
}

fn read_token(token: &str) -> Result<Key, Status> {
    let parts = token.split_once('/').and_then(|(link, stan)| {
        let stan = Stan::parse(stan.parse().ok()?).ok()?;
        Some(Key::Owed(LinkId::parse(link).ok()?, stan))
    });
    parts.ok_or_else(|| {
        refused(Code::InvalidArgument, "PAGE_TOKEN_MALFORMED", "the page_token is not one of this switch").status()
    })
}

/// The first key that something owed may have: link ids begin with `-` at the earliest.
pub(super) fn owed_start() -> Key {
    Key::Owed(edge("-"), Stan::FIRST)
}

/// A key after everything owed: no link id sorts after 32 times `z`.
pub(super) fn owed_end() -> Key {
    Key::Owed(edge(&"z".repeat(32)), Stan::LAST)
}

fn edge(text: &str) -> LinkId {
    LinkId::parse(text).unwrap_or_else(|_| unreachable!("the text is a link id"))
}

/// Rows read at once.
pub(super) const SCAN_PAGE: usize = 500;
/// Rows that one call looks at: a page of parked ones may stand behind many that are not.
const LOOKED_MAX: usize = 50_000;
const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: i32 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_the_row_it_ended_at_and_nothing_else_is_one() {
        let key = Key::Owed(LinkId::parse("visa-1").expect("a link"), Stan::parse(77).expect("a number"));
        assert_eq!(read_token(&token(&key)).expect("a token"), key);
        for nonsense in ["visa-1", "visa-1/", "visa-1/0", "visa-1/1000000", "VISA/1", "/1", "a/b/1"] {
            assert_eq!(read_token(nonsense).expect_err(nonsense).code(), Code::InvalidArgument);
        }
    }

    #[test]
    fn a_page_has_one_to_a_thousand_items() {
        assert_eq!((page_size_of(0).expect("default"), page_size_of(1_000).expect("most")), (100, 1_000));
        for size in [-1, 1_001, i32::MIN] {
            assert_eq!(page_size_of(size).expect_err("refused").code(), Code::InvalidArgument);
        }
    }
}
