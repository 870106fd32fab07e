//! Which lane of a transaction is sent next.
//!
//! A network sees the lanes of one transaction in the order in which the journal made them. Lanes of different transactions
//! never wait for each other. What stands behind an earlier lane of its own transaction goes or waits by where that stands:
//!
//! | the earlier lane | what follows it |
//! |---|---|
//! | never answered, or answered "try again" | waits: no copy may have arrived. Acknowledged until then, else parked (R6) |
//! | answered, and the answer ends nothing (R13) | goes: the network has seen the earlier one first, and order asks no more |
//! | parked (R25) | goes: only the slow rate or an operator ends the earlier one |
//! | final (R13, R25) | goes |
//!
//! So a "not found" that can never be final, because an approval is known, holds up no capture. It is itself repeated until it
//! is acknowledged, and its budget parks it.

use std::collections::BTreeMap;

use switch_domain::{
    entry::{LaneKind, LaneRef},
    id::{AttemptRef, LinkId, NetworkId},
    transaction::{Lane, LaneState, ReversalReason, Transaction},
};
use tokio::time::{Duration, Instant};

use crate::{link, outcome::limits};

/// Copies of a transaction's lanes that this process has sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Tries {
    lanes: BTreeMap<LaneRef, Copies>,
}

/// Copies of one lane.
#[derive(Clone, Copy, Debug)]
struct Copies {
    count: u32,
    /// How long they have gone unacknowledged while the link was in service: what the budget is spent on (R25).
    spent: Duration,
    /// When the next one is due.
    due: Instant,
}

/// How the pause after a copy is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// This, doubled with every copy, and spent from the budget.
    Backoff(Duration),
    /// This, each time: the lane is parked.
    Slow(Duration),
}

impl Tries {
    pub(super) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Notes a copy; `scatter` is any number that differs from copy to copy.
    pub(super) fn note(&mut self, lane: LaneRef, pace: Pace, now: Instant, scatter: u64) -> Instant {
        // An earlier generation is never sent again.
        let is_older = |other: &LaneRef| (&other.attempt, other.kind) == (&lane.attempt, lane.kind) && *other != lane;
        self.lanes.retain(|other, _| !is_older(other));
        let copies = self.lanes.entry(lane).or_insert(Copies { count: 0, spent: Duration::ZERO, due: now });
        copies.count = copies.count.saturating_add(1);
        let pause = match pace {
            Pace::Backoff(repeat_after) => {
                let factor = 1_u32.checked_shl(copies.count - 1).unwrap_or(u32::MAX).min(limits::BACKOFF_FACTOR_MAX);
                let pause = jittered(repeat_after * factor, scatter);
                copies.spent = copies.spent.saturating_add(pause);
                pause
            }
            Pace::Slow(pause) => jittered(pause, scatter),
        };
        copies.due = now + pause;
        copies.due
    }

    /// True where this process has sent a copy of the lane.
    pub(super) fn has_sent(&self, lane: &LaneRef) -> bool {
        self.lanes.contains_key(lane)
    }

    /// What copies of the lane have spent of its budget.
    pub(super) fn spent(&self, lane: &LaneRef) -> Duration {
        self.lanes.get(lane).map_or(Duration::ZERO, |copies| copies.spent)
    }
}

/// A quarter more or less, so that what timed out together does not come back together.
fn jittered(pause: Duration, scatter: u64) -> Duration {
    let scatter = scatter.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48; // 0 to 65535, evenly enough
    pause.mul_f64(0.75 + scatter as f64 / 131_072.0)
}

/// A lane of a transaction with what its message needs.
pub(super) struct Turn<'a> {
    pub(super) reference: LaneRef,
    pub(super) lane: &'a Lane,
    pub(super) network: &'a NetworkId,
    pub(super) what: link::LaneKind,
    pub(super) repeat_budget_ms: u64,
}

/// What is to be done about a transaction on one link.
pub(super) enum Next<'a> {
    /// Send a copy of this lane; true where no other one could be sent.
    Send(Turn<'a>, bool),
    /// Nothing before then.
    Wait(Instant),
    /// Nothing is owed that could be sent.
    Nothing,
}

/// The lane whose turn it is: of those that may be sent, pending before parked, the first that is due. What an operator forces
/// goes at once, also one that the network refused (R25).
pub(super) fn next<'a>(
    transaction: &'a Transaction,
    link: &LinkId,
    tries: &Tries,
    forced: Option<&AttemptRef>,
    now: Instant,
) -> Next<'a> {
    let mut owed = owed(transaction, link);
    if let Some(place) = owed.iter().position(|turn| Some(&turn.reference.attempt) == forced) {
        let only = owed.len() == 1;
        return Next::Send(owed.swap_remove(place), only);
    }
    let mut ready = sendable(owed);
    let due = |turn: &Turn<'_>| tries.lanes.get(&turn.reference).map_or(now, |copies| copies.due);
    match ready.iter().position(|turn| due(turn) <= now) {
        Some(place) => {
            let only = ready.len() == 1;
            Next::Send(ready.swap_remove(place), only)
        }
        None => ready.iter().map(due).min().map_or(Next::Nothing, Next::Wait),
    }
}

/// The lanes that may be sent, in their order; see the table above.
pub(super) fn sendable(owed: Vec<Turn<'_>>) -> Vec<Turn<'_>> {
    let (mut ready, mut parked, mut waits) = (Vec::new(), Vec::new(), false);
    for turn in owed {
        match turn.lane.state {
            LaneState::Pending if !waits => {
                waits = !turn.lane.doubted_once;
                ready.push(turn);
            }
            LaneState::Parked { refused: false } => parked.push(turn),
            LaneState::Pending
            | LaneState::Parked { refused: true }
            | LaneState::Acknowledged
            | LaneState::NotFound
            | LaneState::Resolved(_) => {}
        }
    }
    ready.append(&mut parked);
    ready
}

/// True where all that is owed is parked.
pub(super) fn is_parked(owed: &[Turn<'_>]) -> bool {
    owed.iter().all(|turn| matches!(turn.lane.state, LaneState::Parked { .. }))
}

/// Everything that a transaction owes on a link, in the order in which the journal made it.
pub(super) fn owed<'a>(transaction: &'a Transaction, link: &LinkId) -> Vec<Turn<'a>> {
    let mut turns: Vec<Turn<'a>> = Vec::new();
    let gateway = &transaction.gateway;
    let first_attempt = transaction.attempt_id(0, transaction.first().last_number());
    for (index, operation) in transaction.operations.iter().enumerate() {
        for (number, attempt) in operation.attempts.iter().enumerate() {
            let Some(reversal) = attempt.reversal.as_ref().filter(|_| attempt.link == *link) else { continue };
            let number = u16::try_from(number + 1).unwrap_or(u16::MAX);
            let id = transaction.attempt_id(index, number);
            turns.push(Turn {
                reference: LaneRef {
                    attempt: AttemptRef { gateway: gateway.clone(), id },
                    kind: LaneKind::Reversal,
                    generation: reversal.lane.generation,
                },
                lane: &reversal.lane,
                network: &attempt.network,
                what: link::LaneKind::Reversal {
                    original: attempt.identity,
                    requested: operation.amount,
                    approved: reversal.approved,
                    reversed: reversal.lane.amount,
                    reason: reversal.reason,
                },
                repeat_budget_ms: u64::from(attempt.terms.repeat_budget_ms),
            });
        }
        let Some(advice) = operation.advice.as_ref().filter(|advice| advice.link == *link) else { continue };
        let budget = transaction.first().last_attempt().map_or(0, |attempt| attempt.terms.repeat_budget_ms);
        turns.push(Turn {
            reference: LaneRef {
                attempt: AttemptRef { gateway: gateway.clone(), id: transaction.attempt_id(index, 1) },
                kind: LaneKind::Advice,
                generation: advice.lane.generation,
            },
            lane: &advice.lane,
            network: &advice.network,
            what: link::LaneKind::Advice {
                original: AttemptRef { gateway: gateway.clone(), id: first_attempt },
                amount: operation.amount,
                is_final: operation.final_capture,
            },
            repeat_budget_ms: u64::from(budget),
        });
    }
    turns.retain(|turn| !turn.lane.state.is_final());
    // A final capture and the release of what it leaves are made by one entry: the money first, then the rest.
    let is_release =
        |turn: &Turn<'_>| matches!(turn.what, link::LaneKind::Reversal { reason: ReversalReason::Remainder, .. });
    turns.sort_by_key(|turn| (turn.lane.since, is_release(turn)));
    turns
}

#[cfg(test)]
mod tests;
