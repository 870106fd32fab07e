//! Lanes: reversals and advices that are repeated until the network acknowledges them, and when that is final (R13, R14,
//! R25).

use super::{Located, Reply, Work};
use crate::{
    effect::Effect,
    entry::{LaneAnswer, LaneKind, LaneRef, ProposeResolution, ResolutionWord},
    id::{AttemptRef, LinkId, NetworkId, Position, Stan},
    limits,
    money::{Amount, Currency},
    outcome::LaneVerdict,
    refusal::ResolutionRefusal,
    table::{DoubtRow, Key, OwedKind, Row, TableFault},
    transaction::{
        Attempt, AttemptState, Confirmation, Lane, LaneState, PassedOver, ProposedResolution, Resolution, Reversal,
        ReversalReason, Transaction, WireIdentity,
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
        let attempt = &mut transaction.operations[operation].attempts[number];
        let approvals_reversed = u16::from(!attempt.approvals.is_empty());
        let (superseded, passed_over) = (Vec::new(), Vec::new());
        attempt.reversal = Some(Reversal { reason, approved, lane, approvals_reversed, superseded, passed_over });
        self.change_doubt(&network, |doubt| count(doubt, transaction.currency, amount))?;
        self.effects.push(Effect::LaneDue { link, attempt: reference });
        Ok(())
    }

    // ## (Pending | Acknowledged | NotFound | Parked | Resolved) => Pending, a generation later
    /// One more reversal, with an identity of its own: what acknowledged it so far proves nothing any more, or it was about
    /// another approval (R13).
    pub(super) fn renew_reversal(
        &mut self,
        transaction: &mut Transaction,
        operation: usize,
        number: usize,
        subject: Renewal,
    ) -> Result<(), TableFault> {
        let reference = self.reference(transaction, operation, number);
        let asked = transaction.operations[operation].amount;
        let attempt = &transaction.operations[operation].attempts[number];
        let (link, network, rrn) = (attempt.link.clone(), attempt.network.clone(), attempt.identity.rrn);
        let Some(reversal) = &attempt.reversal else { return Ok(()) };
        let (old, mut renewed) = (reversal.lane.clone(), reversal.clone());
        match subject {
            Renewal::Same => {}
            Renewal::NextApproval => {
                let next = attempt.approvals.get(usize::from(renewed.approvals_reversed));
                renewed.approved = next.and_then(|approval| approval.amount);
                renewed.approvals_reversed += 1;
            }
            Renewal::PassedOver => {
                if !renewed.passed_over.is_empty() {
                    renewed.approved = renewed.passed_over.remove(0).approved;
                }
            }
        }
        let amount = match subject {
            Renewal::Same => old.amount,
            Renewal::NextApproval | Renewal::PassedOver => {
                renewed.approved.map_or(asked, |approved| approved.max(asked))
            }
        };
        let has_room = old.state.is_final() || renewed.superseded.len() < limits::SUPERSEDED_MAX;
        let stan = if has_room { self.allocate_stan(&link)? } else { None }.unwrap_or(old.identity.stan);
        if stan != old.identity.stan && !old.state.is_final() {
            // Nobody acknowledged what went out under the old number: it stays taken until the lane ends (R14).
            self.owe(&link, old.identity.stan, &reference, OwedKind::Held, self.now());
            renewed.superseded.push(old.identity.stan);
        }
        renewed.lane = self.lane(stan, rrn, old.generation.saturating_add(1), amount);
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
            resolution: None,
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
                None if found.makes_others_wait(answer) => return self.pass_over(found),
                None => return Ok(self.doubt_lane(found)),
            },
        };
        if found.lane.state == next {
            return Ok(Reply::Recorded);
        }
        found.lane.state = next;
        if next.is_final() {
            found.lane.resolution = None; // the network has answered what operators were to decide
        }
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

    /// Two persons close a parked lane: what one proposes changes nothing, and is told to nobody (R25).
    pub(super) fn propose_resolution(&mut self, proposed: ProposeResolution) -> Result<Reply, TableFault> {
        let ProposeResolution { attempt, resolution, author, evidence } = proposed;
        let mark = self.mark;
        for kind in [LaneKind::Reversal, LaneKind::Advice] {
            let Some(mut found) = self.find_lane(&LaneRef { attempt: attempt.clone(), kind, generation: 0 })? else {
                continue;
            };
            if !matches!(found.lane.state, LaneState::Parked { .. }) {
                continue;
            }
            if let Some(open) = found.lane.resolution.as_deref().filter(|earlier| earlier.is_open(mark.now)) {
                let repeated = (&open.author, open.resolution, &open.evidence) == (&author, resolution, &evidence);
                return Ok(Reply::Resolution(if repeated {
                    Ok(open.position)
                } else {
                    Err(ResolutionRefusal::AlreadyProposed)
                }));
            }
            let (position, since) = (mark.position, mark.now);
            let kept = ProposedResolution { position, since, resolution, author, evidence, confirmed: None };
            found.lane.resolution = Some(Box::new(kept));
            found.store();
            self.save(found.transaction, &[]);
            return Ok(Reply::Resolution(Ok(position)));
        }
        Ok(Reply::Resolution(Err(ResolutionRefusal::NotParked)))
    }

    // ## Parked => Resolved
    pub(super) fn confirm_resolution(&mut self, word: ResolutionWord) -> Result<Reply, TableFault> {
        let refused = |refusal| Ok(Reply::Resolution(Err(refusal)));
        let ResolutionWord { attempt, proposal, author } = word;
        let Some((mut found, mut proposed)) = self.find_proposal(&attempt, proposal)? else {
            return refused(ResolutionRefusal::NotProposed);
        };
        if proposed.confirmed.as_ref().is_some_and(|confirmed| confirmed.author == author) {
            return Ok(Reply::Resolution(Ok(proposal))); // a repeated call
        }
        if !proposed.is_open(self.now()) {
            return refused(ResolutionRefusal::NotProposed);
        }
        if proposed.author == author {
            return refused(ResolutionRefusal::SamePerson);
        }
        found.lane.state = LaneState::Resolved(proposed.resolution);
        proposed.confirmed = Some(Confirmation { author, time: self.now() });
        found.lane.resolution = Some(proposed);
        self.move_lane(found)?;
        Ok(Reply::Resolution(Ok(proposal)))
    }

    /// Any operator may: who proposed it has found a mistake, or who should confirm it does not believe it.
    pub(super) fn withdraw_resolution(&mut self, word: &ResolutionWord) -> Result<Reply, TableFault> {
        let open = self.find_proposal(&word.attempt, word.proposal)?;
        let now = self.now();
        let Some((mut found, _)) = open.filter(|(_, proposed)| proposed.is_open(now)) else {
            return Ok(Reply::Resolution(Err(ResolutionRefusal::NotProposed)));
        };
        found.lane.resolution = None;
        found.store();
        self.save(found.transaction, &[]);
        Ok(Reply::Resolution(Ok(word.proposal)))
    }

    /// The lane of this attempt that has this very proposal.
    fn find_proposal(
        &self,
        attempt: &AttemptRef,
        proposal: Position,
    ) -> Result<Option<(Found, Box<ProposedResolution>)>, TableFault> {
        for kind in [LaneKind::Reversal, LaneKind::Advice] {
            let lane = LaneRef { attempt: attempt.clone(), kind, generation: 0 };
            if let Some(found) = self.find_lane(&lane)?
                && let Some(proposed) = found.lane.resolution.clone().filter(|made| made.position == proposal)
            {
                return Ok(Some((found, proposed)));
            }
        }
        Ok(None)
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

    // ## (Pending | Parked) => Pending, a generation later
    /// The next approval's reversal goes before one that the network only says "not found" to: that may be so for ever, and ends
    /// nothing. What is passed over is asked for again after it, until it is acknowledged or its budget parks it (R13, R25).
    fn pass_over(&mut self, mut found: Found) -> Result<Reply, TableFault> {
        let Some(number) = found.attempt else { return Ok(Reply::Ignored) };
        let (transaction, operation) = (&mut found.transaction, found.operation);
        if let Some(reversal) = &mut transaction.operations[operation].attempts[number].reversal {
            reversal.passed_over.push(PassedOver { approved: reversal.approved });
        }
        let before = transaction.operations[operation].reversal_state();
        self.renew_reversal(transaction, operation, number, Renewal::NextApproval)?;
        let is_told = transaction.operations[operation].reversal_state() != before;
        let changed = [operation];
        self.save(found.transaction, &changed[..usize::from(is_told)]);
        Ok(Reply::Recorded)
    }

    /// Stores a lane's new state with all that depends on it: trace numbers, doubt, the day's sum, the event. An acknowledged
    /// reversal goes on with the next approval that waits for one, and then with those that were passed over; an operator's word
    /// is about all of them.
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
            if let Some(number) = found.attempt {
                let (transaction, operation) = (&mut found.transaction, found.operation);
                let attempt = &transaction.operations[operation].attempts[number];
                let is_passed_over = |reversal: &Reversal| !reversal.passed_over.is_empty();
                match new {
                    LaneState::Acknowledged if attempt.has_waiting_approval() => {
                        self.renew_reversal(transaction, operation, number, Renewal::NextApproval)?;
                    }
                    LaneState::Acknowledged if attempt.reversal.as_ref().is_some_and(is_passed_over) => {
                        self.renew_reversal(transaction, operation, number, Renewal::PassedOver)?;
                    }
                    LaneState::Pending
                    | LaneState::Acknowledged
                    | LaneState::NotFound
                    | LaneState::Parked { .. }
                    | LaneState::Resolved(_) => self.end_reversal(&mut found, number)?,
                }
            }
        } else {
            let key = Key::Owed(found.link.clone(), found.lane.identity.stan);
            if let Some(Row::Owed(mut row)) = self.table.get(&key)? {
                row.parked = matches!(new, LaneState::Parked { .. });
                self.table.put(key, Row::Owed(row));
            }
        }
        // From pending to pending for the next approval is no change of what a gateway is told (R20).
        let operation = found.operation;
        let told = match found.attempt {
            Some(number) => {
                let reversal = &found.transaction.operations[operation].attempts[number].reversal;
                reversal.as_ref().map(|reversal| reversal.lane.state)
            }
            None => Some(new),
        };
        let changed = [operation];
        self.save(found.transaction, &changed[..usize::from(told != Some(old))]);
        Ok(Reply::Recorded)
    }

    /// Nothing is owed for the attempt any more: its trace numbers are free, and what it reserved is given back (R11, R14).
    fn end_reversal(&mut self, found: &mut Found, number: usize) -> Result<(), TableFault> {
        let stands = found.lane.state == LaneState::Resolved(Resolution::Stands);
        let attempt = &mut found.transaction.operations[found.operation].attempts[number];
        let (mut numbers, approvals) = (vec![attempt.identity.stan], attempt.approvals.len());
        if let Some(reversal) = &mut attempt.reversal {
            numbers.append(&mut reversal.superseded);
            // Money that stands may be asked back by a void, for each of its approvals.
            if !stands {
                reversal.approvals_reversed = u16::try_from(approvals).unwrap_or(u16::MAX);
                reversal.passed_over.clear();
            }
        }
        for stan in numbers {
            self.free_stan(&found.link, stan, &found.reference)?;
        }
        let state = found.lane.state;
        self.release_after(found, state)
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
            // A remainder that was released beside it has given its part back already.
            let stands = |sum: Amount, attempt: &Attempt| {
                let lane = attempt.reversal.as_ref().map(|reversal| reversal.lane.state);
                let released = if lane.is_some_and(LaneState::is_final) { attempt.released() } else { Amount::ZERO };
                sum.plus(attempt.standing().saturating_minus(released)).unwrap_or(sum)
            };
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

/// What one more reversal of an attempt is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Renewal {
    /// What the one before was about: it has to be asked for again.
    Same,
    /// The first approval that has no reversal of its own yet.
    NextApproval,
    /// The first approval that was passed over.
    PassedOver,
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
        if known || !self.is_repeated(attempt, answer) {
            return None;
        }
        Some(if found { LaneState::Acknowledged } else { LaneState::NotFound })
    }

    /// True where the network was asked before, and this copy left when the original could no longer be on its way.
    fn is_repeated(&self, attempt: &Attempt, answer: &LaneAnswer) -> bool {
        // A late send may have left after the deadline, and at the latest when this generation was made.
        let last_sent = attempt.deadline.max(self.lane.since);
        let settled_after = last_sent.after_ms(u64::from(attempt.terms.in_flight_max_ms));
        self.lane.doubted_once && answer.sent >= settled_after
    }

    /// True where a "not found" says no more by being repeated, while other approvals wait behind it.
    fn makes_others_wait(&self, answer: &LaneAnswer) -> bool {
        let attempt = self.attempt.map(|number| &self.transaction.operations[self.operation].attempts[number]);
        attempt.is_some_and(|attempt| attempt.has_waiting_approval() && self.is_repeated(attempt, answer))
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
