//! What is owed to networks: listed, sent again, closed with evidence by two persons (R25).

use std::ops::Bound;

use switch_domain::{
    audit::{Act, ProposalAct, ProposeAct, Remark, View},
    book::Reply,
    entry::{Command, ResolutionWord},
    id::{AttemptRef, LinkId, Position, Stan},
    table::{Key, OwedKind, OwedRow, Row},
    transaction::LaneState,
};
use switch_proto::operator::v1::{self as pb, reversal_service_server::ReversalService};
use tonic::{Code, Request, Response, Status};

use super::{Operators, author, page_size_of, refusals, until, within};
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
        let (caller, until) = (self.caller(&request)?, until(&request)?);
        let pb::ResendReversalRequest { gateway_id, attempt_id } = request.into_inner();
        let attempt = convert::attempt(&gateway_id, &attempt_id)?;
        let owed = owed(&self.shared.journal, &attempt);
        let before = owed.as_ref().ok().map(|lane| View::Lane(lane.state));
        let (act, operators) = (Act::ResendReversal(attempt.clone()), self.clone());
        self.audited(caller, act, before, until, async move {
            let (journal, link) = (&operators.shared.journal, owed?.link);
            journal.shared().wakes.push(Wake { link: link.clone(), attempt: attempt.clone(), forced: true });
            // What the network says to it comes later, and stands in the transaction.
            let after = lanes(journal, &attempt)?.into_iter().find(|lane| lane.link == link);
            Ok((Response::new(pb::ResendReversalResponse {}), after.map(|lane| View::Lane(lane.state))))
        })
        .await
    }

    async fn resolve_reversal(
        &self,
        request: Request<pb::ResolveReversalRequest>,
    ) -> Result<Response<pb::ResolveReversalResponse>, Status> {
        self.reign()?;
        let (caller, author, until) = (self.caller(&request)?, author(&request)?, until(&request)?);
        let proposed = convert::resolve(&author, request.into_inner())?;
        let act = Act::ProposeResolution(Box::new(ProposeAct {
            attempt: proposed.attempt.clone(),
            resolution: proposed.resolution,
            evidence: Remark::of(&proposed.evidence),
        }));
        let (parked, operators) = (parked(&self.shared.journal, &proposed.attempt), self.clone());
        self.audited(caller, act, view(&parked), until, async move {
            parked?;
            let proposal = operators.say(Command::ProposeResolution(Box::new(proposed))).await?;
            let told = pb::ResolveReversalResponse { proposal_id: convert::proposal_id(proposal) };
            Ok((Response::new(told), Some(View::Proposal(proposal))))
        })
        .await
    }

    async fn confirm_resolution(
        &self,
        request: Request<pb::ConfirmResolutionRequest>,
    ) -> Result<Response<pb::ConfirmResolutionResponse>, Status> {
        self.reign()?;
        let (caller, author, until) = (self.caller(&request)?, author(&request)?, until(&request)?);
        let pb::ConfirmResolutionRequest { gateway_id, attempt_id, proposal_id } = request.into_inner();
        let word = convert::word(&author, &gateway_id, &attempt_id, &proposal_id)?;
        let attempt = word.attempt.clone();
        let act = Act::ConfirmResolution(proposal_act(&word));
        let (parked, operators) = (parked(&self.shared.journal, &attempt), self.clone());
        self.audited(caller, act, view(&parked), until, async move {
            parked?;
            operators.say(Command::ConfirmResolution(Box::new(word))).await?;
            let mut states = lanes(&operators.shared.journal, &attempt)?.into_iter().map(|lane| lane.state);
            let after = states.find(|state| matches!(state, LaneState::Resolved(_)));
            Ok((Response::new(pb::ConfirmResolutionResponse {}), after.map(View::Lane)))
        })
        .await
    }

    async fn withdraw_resolution(
        &self,
        request: Request<pb::WithdrawResolutionRequest>,
    ) -> Result<Response<pb::WithdrawResolutionResponse>, Status> {
        self.reign()?;
        let (caller, author, until) = (self.caller(&request)?, author(&request)?, until(&request)?);
        let pb::WithdrawResolutionRequest { gateway_id, attempt_id, proposal_id } = request.into_inner();
        let word = convert::word(&author, &gateway_id, &attempt_id, &proposal_id)?;
        let act = Act::WithdrawResolution(proposal_act(&word));
        let (parked, operators) = (parked(&self.shared.journal, &word.attempt), self.clone());
        self.audited(caller, act, view(&parked), until, async move {
            let parked = parked?;
            operators.say(Command::WithdrawResolution(Box::new(word))).await?;
            Ok((Response::new(pb::WithdrawResolutionResponse {}), parked.map(View::Lane)))
        })
        .await
    }
}

impl Operators {
    /// Commits an operator's word about a parked item; gives the proposal that it is about.
    async fn say(&self, command: Command) -> Result<Position, Status> {
        let reply = self.shared.journal.propose(command).await;
        match reply.map_err(|lost| refusals::of_lost(lost).unwrap_or_else(|| self.not_leader()))? {
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

/// The one of them that is still owed.
fn owed(journal: &Journal, attempt: &AttemptRef) -> Result<FoundLane, Status> {
    lanes(journal, attempt)?.into_iter().find(|lane| !lane.state.is_final()).ok_or_else(|| {
        refused(Code::FailedPrecondition, "NOTHING_OWED", "nothing is owed for this attempt any more").status()
    })
}

/// Where the parked one of them stands.
fn parked(journal: &Journal, attempt: &AttemptRef) -> Result<Option<LaneState>, Status> {
    let mut states = lanes(journal, attempt)?.into_iter().map(|lane| lane.state);
    Ok(states.find(|state| matches!(state, LaneState::Parked { .. })))
}

/// The same as the trail shows it: an attempt that is not found is refused there, as everything else is.
fn view(parked: &Result<Option<LaneState>, Status>) -> Option<View> {
    parked.as_ref().ok().copied().flatten().map(View::Lane)
}

fn proposal_act(word: &ResolutionWord) -> Box<ProposalAct> {
    Box::new(ProposalAct { attempt: word.attempt.clone(), proposal: word.proposal })
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
    parts.ok_or_else(refusals::page_token_malformed)
}

/// The first key that something owed may have: link ids begin with `-` at the earliest.
pub(in crate::ops) fn owed_start() -> Key {
    Key::Owed(edge("-"), Stan::FIRST)
}

/// A key after everything owed: no link id sorts after 32 times `z`.
pub(in crate::ops) fn owed_end() -> Key {
    Key::Owed(edge(&"z".repeat(32)), Stan::LAST)
}

fn edge(text: &str) -> LinkId {
    LinkId::parse(text).unwrap_or_else(|_| unreachable!("the text is a link id"))
}

/// Rows read at once.
pub(in crate::ops) const SCAN_PAGE: usize = 500;
/// Rows that one call looks at: a page of parked ones may stand behind many that are not.
const LOOKED_MAX: usize = 50_000;

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
}
