//! Lanes: reversals and advices that are repeated until the network acknowledges them, and when that is final (R13, R14,
//! R25).

use super::{Located, Reply, Work};
use crate::{
    effect::Effect,
    entry::{LaneAnswer, LaneKind, LaneRef, Resolve},
    id::{AttemptRef, LinkId, NetworkId, Stan},
    money::{Amount, Currency},
    outcome::LaneVerdict,
    table::{DoubtRow, Key, OwedKind, Row, TableFault},
    transaction::{
        Attempt, AttemptState, Lane, LaneState, Resolution, Reversal, ReversalReason, Transaction, WireIdentity,
    },
};

impl Work<'_> {
    // ## none => Pending
    /// Makes the reversal of an attempt. The caller has seen to it that there is none and that the network takes one.
    pub(super) fn reverse(
        &mut self,
        transaction: &mut Transaction,
        operation: usize,
        number: usize,
        reason: ReversalReason,
        approved: Option<Amount>,
        amount: Amount,
    ) -> Result<(), TableFault> {
        let reference = self.reference(transaction, operation, number);
        let attempt = &transaction.operations[operation].attempts[number];
        let (link, network, identity) = (attempt.link.clone(), attempt.network.clone(), attempt.identity);
        // The original's own trace number may be used again only while it is still held for this attempt (R14).
        let holds = self.holds_stan(&link, identity.stan, &reference)?;
        let stan = if holds && !attempt.terms.reversal_has_own_stan {
            identity.stan
        } else {
            // With every number of the link taken the original's own is the least wrong one: a reversal must go out.
            self.allocate_stan(&link)?.unwrap_or(identity.stan)
        };
        if holds && stan != identity.stan {
            self.owe(&link, identity.stan, &reference, OwedKind::Held, self.now());
        }
        self.owe(&link, stan, &reference, OwedKind::Reversal, self.now());
        let lane = self.lane(stan, identity.rrn, 0, amount);
        transaction.operations[operation].attempts[number].reversal = Some(Reversal { reason, approved, lane });
        self.change_doubt(&network, |doubt| count(doubt, transaction.currency, amount))?;
        self.effects.push(Effect::LaneDue { link, attempt: reference });
        Ok(())
    }

    // ## (Pending | Acknowledged | NotFound | Parked | Resolved) => Pending, a generation later
    /// What acknowledged the reversal so far proves nothing any more: one more, with an identity of its own (R13).
    pub(super) fn renew_reversal(
        &mut self,
        transaction: &mut Transaction,
        operation: usize,
        number: usize,
        approved: Option<Amount>,
    ) -> Result<(), TableFault> {
        let reference = self.reference(transaction, operation, number);
        let attempt = &transaction.operations[operation].attempts[number];
        let (link, network, rrn) = (attempt.link.clone(), attempt.network.clone(), attempt.identity.rrn);
        let Some(reversal) = &attempt.reversal else { return Ok(()) };
        let (old, mut renewed) = (reversal.lane.clone(), reversal.clone());
        if old.identity.stan == attempt.identity.stan && !old.state.is_final() {
            // Nobody acknowledged what went out under the original's number: it stays taken until the lane ends (R14).
            self.owe(&link, old.identity.stan, &reference, OwedKind::Held, self.now());
        } else {
            self.free_stan(&link, old.identity.stan, &reference)?;
        }
        let stan = self.allocate_stan(&link)?.unwrap_or(old.identity.stan);
        let amount = approved.map_or(old.amount, |approved| approved.max(old.amount));
        renewed.lane = self.lane(stan, rrn, old.generation.saturating_add(1), amount);
        renewed.approved = approved.or(renewed.approved);
        self.owe(&link, stan, &reference, OwedKind::Reversal, self.now());
        let currency = transaction.currency;
        self.change_doubt(&network, |doubt| {
            if !old.state.is_final() {
                uncount(doubt, currency, old.amount, matches!(old.state, LaneState::Parked { .. }));
            }
            count(doubt, currency, amount);
        })?;
        transaction.operations[operation].attempts[number].reversal = Some(renewed);
        self.effects.push(Effect::LaneDue { link, attempt: reference });
        Ok(())
    }

    /// Makes the advice of a capture; `None` where no trace number is free.
    pub(super) fn advise(
        &mut self,
        link: &LinkId,
        network: &NetworkId,
        reference: &AttemptRef,
        currency: Currency,
        amount: Amount,
    ) -> Result<Option<Lane>, TableFault> {
        let Some(stan) = self.allocate_stan(link)? else { return Ok(None) };
        let rrn = self.allocate_rrn()?;
        self.owe(link, stan, reference, OwedKind::Advice, self.now());
        self.change_doubt(network, |doubt| count(doubt, currency, amount))?;
        self.effects.push(Effect::LaneDue { link: link.clone(), attempt: reference.clone() });
        Ok(Some(self.lane(stan, rrn, 0, amount)))
    }

    fn lane(&self, stan: Stan, rrn: crate::id::Rrn, generation: u16, amount: Amount) -> Lane {
        Lane {
            identity: WireIdentity { stan, rrn, transmission: self.now().transmission() },
            generation,
            state: LaneState::Pending,
            since: self.now(),
            maker: self.mark.leader,
            doubted_once: false,
            amount,
        }
    }

    fn reference(&self, transaction: &Transaction, operation: usize, number: usize) -> AttemptRef {
        let number = u16::try_from(number + 1).unwrap_or(u16::MAX);
        AttemptRef { gateway: transaction.gateway.clone(), id: transaction.attempt_id(operation, number) }
    }

    pub(super) fn lane_answer(&mut self, answer: &LaneAnswer) -> Result<Reply, TableFault> {
        let Some(mut found) = self.find_lane(&answer.lane)? else { return Ok(Reply::Ignored) };
        if found.lane.generation != answer.lane.generation || found.lane.state.is_final() {
            return Ok(Reply::Ignored);
        }
        let next = match (answer.lane.kind, answer.verdict) {
            (_, LaneVerdict::TryAgain) => return Ok(Reply::Recorded),
            (_, LaneVerdict::Refused) | (LaneKind::Advice, LaneVerdict::NotFound) => {
                LaneState::Parked { refused: true }
            }
            (LaneKind::Advice, LaneVerdict::Acknowledged | LaneVerdict::Duplicate) => LaneState::Acknowledged,
            // A duplicate was accepted before, which proves as little or as much as the acknowledgement of its first copy.
            (LaneKind::Reversal, LaneVerdict::Acknowledged | LaneVerdict::Duplicate) => {
                match found.finality(answer, true) {
                    Some(state) => state,
                    None => return Ok(self.doubt_lane(found)),
                }
            }
            (LaneKind::Reversal, LaneVerdict::NotFound) => match found.finality(answer, false) {
                Some(state) => state,
                None => return Ok(self.doubt_lane(found)),
            },
        };
        if found.lane.state == next {
            return Ok(Reply::Recorded);
        }
        found.lane.state = next;
        self.move_lane(found)
    }

    // ## Pending => Parked
    pub(super) fn park(&mut self, lane: &LaneRef) -> Result<Reply, TableFault> {
        let Some(mut found) = self.find_lane(lane)? else { return Ok(Reply::Ignored) };
        if found.lane.generation != lane.generation || found.lane.state != LaneState::Pending {
            return Ok(Reply::Ignored);
        }
        found.lane.state = LaneState::Parked { refused: false };
        self.move_lane(found)
    }

    // ## Parked => Resolved
    pub(super) fn resolve(&mut self, resolve: &Resolve) -> Result<Reply, TableFault> {
        for kind in [LaneKind::Reversal, LaneKind::Advice] {
            let lane = LaneRef { attempt: resolve.attempt.clone(), kind, generation: 0 };
            let Some(mut found) = self.find_lane(&lane)? else { continue };
            if matches!(found.lane.state, LaneState::Parked { .. }) {
                found.lane.state = LaneState::Resolved(resolve.resolution);
                return self.move_lane(found);
            }
        }
        Ok(Reply::Ignored)
    }

    fn find_lane(&self, lane: &LaneRef) -> Result<Option<Found>, TableFault> {
        match lane.kind {
            LaneKind::Reversal => {
                let Some(Located { transaction, operation, attempt }) = self.located(&lane.attempt)? else {
                    return Ok(None);
                };
                let found = &transaction.operations[operation].attempts[attempt];
                let Some(reversal) = &found.reversal else { return Ok(None) };
                let (link, network) = (found.link.clone(), found.network.clone());
                let (reference, old) = (lane.attempt.clone(), reversal.lane.state);
                let lane = reversal.lane.clone();
                Ok(Some(Found { transaction, operation, attempt: Some(attempt), link, network, lane, old, reference }))
            }
            LaneKind::Advice => {
                let Some(transaction) = self.transaction(&lane.attempt.gateway, lane.attempt.id.transaction)? else {
                    return Ok(None);
                };
                let operation = usize::from(lane.attempt.id.operation);
                let Some(advice) = transaction.operations.get(operation).and_then(|found| found.advice.clone()) else {
                    return Ok(None);
                };
                let (reference, old) = (lane.attempt.clone(), advice.lane.state);
                let (link, network, lane) = (advice.link, advice.network, advice.lane);
                Ok(Some(Found { transaction, operation, attempt: None, link, network, lane, old, reference }))
            }
        }
    }

    /// An acknowledgement that proves nothing yet: the next one after the in-flight time may.
    fn doubt_lane(&mut self, mut found: Found) -> Reply {
        if !found.lane.doubted_once {
            found.lane.doubted_once = true;
            found.store();
            self.save(found.transaction, &[]);
        }
        Reply::Recorded
    }

    /// Stores a lane's new state with all that depends on it: trace numbers, doubt, the day's sum, the event.
    fn move_lane(&mut self, mut found: Found) -> Result<Reply, TableFault> {
        found.store();
        let (new, old, amount) = (found.lane.state, found.old, found.lane.amount);
        let currency = found.transaction.currency;
        self.change_doubt(&found.network, |doubt| {
            uncount(doubt, currency, amount, matches!(old, LaneState::Parked { .. }));
            if !new.is_final() {
                count(doubt, currency, amount);
                doubt.parked += u32::from(matches!(new, LaneState::Parked { .. }));
            }
        })?;
        if new.is_final() {
            self.free_stan(&found.link, found.lane.identity.stan, &found.reference)?;
            if let Some(attempt) = found.attempt {
                let original = found.transaction.operations[found.operation].attempts[attempt].identity.stan;
                self.free_stan(&found.link, original, &found.reference)?;
                self.release_after(&mut found, new)?;
            }
        } else {
            let key = Key::Owed(found.link.clone(), found.lane.identity.stan);
            if let Some(Row::Owed(mut row)) = self.table.get(&key)? {
                row.parked = matches!(new, LaneState::Parked { .. });
                self.table.put(key, Row::Owed(row));
            }
        }
        let operation = found.operation;
        self.save(found.transaction, &[operation]);
        Ok(Reply::Recorded)
    }

    /// A reversal that is final gives back what its operation reserved (R11).
    fn release_after(&mut self, found: &mut Found, state: LaneState) -> Result<(), TableFault> {
        if state == LaneState::Resolved(Resolution::Stands) {
            return Ok(());
        }
        let (gateway, currency) = (found.transaction.gateway.clone(), found.transaction.currency);
        let operation = &mut found.transaction.operations[found.operation];
        let reason =
            found.attempt.and_then(|number| operation.attempts[number].reversal.as_ref()).map(|found| found.reason);
        if reason != Some(ReversalReason::Remainder) {
            // Another attempt of the same operation may stand, or be in doubt itself.
            if operation.attempts.iter().any(Attempt::in_doubt) {
                return Ok(());
            }
            let stands = |sum: Amount, attempt: &Attempt| sum.plus(attempt.standing()).unwrap_or(sum);
            let keep = operation.attempts.iter().fold(Amount::ZERO, stands);
            return self.release_day(&gateway, currency, operation, keep);
        }
        // What is released may be more than the first authorization: increments give back the rest.
        let mut left = found.lane.amount;
        for operation in &mut found.transaction.operations {
            let part = operation.day_reserved.min(left);
            left = left.saturating_minus(part);
            let keep = operation.day_reserved.saturating_minus(part);
            self.release_day(&gateway, currency, operation, keep)?;
        }
        Ok(())
    }
}

/// A lane with what surrounds it.
struct Found {
    transaction: Transaction,
    operation: usize,
    /// Index of the attempt; `None` for an advice.
    attempt: Option<usize>,
    link: LinkId,
    network: NetworkId,
    lane: Lane,
    old: LaneState,
    reference: AttemptRef,
}

impl Found {
    /// Whether an acknowledgement (`found`) or a not-found ends the lane (R13).
    ///
    /// An acknowledgement proves a match where the profile says so, or where the network has shown that it knows the
    /// original. Everything else ends the lane only when the network was asked again after the original can no longer be on
    /// its way, and said the same; and never while an approval is known that the network now claims not to know.
    fn finality(&self, answer: &LaneAnswer, found: bool) -> Option<LaneState> {
        let attempt = &self.transaction.operations[self.operation].attempts[self.attempt?];
        let known = !attempt.approvals.is_empty() || matches!(attempt.state, AttemptState::Approved(_));
        if found && (attempt.terms.acknowledgement_proves_match || known) {
            return Some(LaneState::Acknowledged);
        }
        // A late send may have left after the deadline, and at the latest when this generation was made.
        let last_sent = attempt.deadline.max(self.lane.since);
        let settled_after = last_sent.after_ms(u64::from(attempt.terms.in_flight_max_ms));
        let repeated = self.lane.doubted_once && answer.sent >= settled_after;
        if !repeated || known {
            return None;
        }
        Some(if found { LaneState::Acknowledged } else { LaneState::NotFound })
    }

    fn store(&mut self) {
        let operation = &mut self.transaction.operations[self.operation];
        let place = match self.attempt {
            Some(number) => operation.attempts[number].reversal.as_mut().map(|reversal| &mut reversal.lane),
            None => operation.advice.as_mut().map(|advice| &mut advice.lane),
        };
        if let Some(place) = place {
            *place = self.lane.clone();
        }
    }
}

fn count(doubt: &mut DoubtRow, currency: Currency, amount: Amount) {
    doubt.count += 1;
    if !amount.is_zero() {
        *doubt.amounts.entry(currency).or_default() += amount.minor_units();
    }
}

fn uncount(doubt: &mut DoubtRow, currency: Currency, amount: Amount, parked: bool) {
    doubt.count = doubt.count.saturating_sub(1);
    doubt.parked = doubt.parked.saturating_sub(u32::from(parked));
    let left = doubt.amounts.get(&currency).copied().unwrap_or(0).saturating_sub(amount.minor_units());
    if left == 0 {
        doubt.amounts.remove(&currency);
    } else {
        doubt.amounts.insert(currency, left);
    }
}
