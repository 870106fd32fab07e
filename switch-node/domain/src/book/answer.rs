//! Evidence about a request: answers, silence, late answers, late sends.

use super::{Located, Reply, Work, lane::Renewal, told_of};
use crate::{
    id::AttemptRef,
    limits,
    money::{Amount, Currency},
    outcome::{
        CodeMeaning, Decision, DeclineAdvice, DeclineReason, Doubt, NetworkAnswer, Sent, Source, Told, ToldReason,
    },
    table::TableFault,
    transaction::{AttemptState, LaneState, Method, Reversal, ReversalPolicy, ReversalReason, SeenApproval},
};

/// What an answer to an open attempt comes to.
enum Judgement {
    /// A yes, for this much.
    Approved(Amount),
    /// A yes for less, which the gateway cannot use.
    UnwantedPartial(Amount),
    /// A no.
    Declined(DeclineReason, DeclineAdvice),
    /// A yes that cannot be told as one: for more, in another currency, or for an amount that it does not name.
    InvalidApproval(Option<Amount>),
    /// Neither a yes nor a no.
    Invalid,
}

impl Work<'_> {
    pub(super) fn answer(&mut self, reference: &AttemptRef, answer: &NetworkAnswer) -> Result<Reply, TableFault> {
        let Some(located) = self.located(reference)? else { return Ok(Reply::Ignored) };
        let attempt = &located.transaction.operations[located.operation].attempts[located.attempt];
        if attempt.state == AttemptState::Open {
            self.decide(reference, located, answer)
        } else {
            self.late_answer(located, answer)
        }
    }

    // ## Open => (Approved | Declined | Invalid)
    fn decide(
        &mut self,
        reference: &AttemptRef,
        mut located: Located,
        answer: &NetworkAnswer,
    ) -> Result<Reply, TableFault> {
        let (operation, number) = (located.operation, located.attempt);
        let judgement = judge(&located, answer);
        let mark = self.mark;
        let transaction = &mut located.transaction;
        let gateway = transaction.gateway.clone();
        let currency = transaction.currency;
        let void_requested = transaction.operations[operation].void_requested;
        let attempt = &mut transaction.operations[operation].attempts[number];
        attempt.response_code = Some(answer.response_code);
        let judgement = match judgement {
            // Any approval after a void is told VOIDED (R12).
            Judgement::UnwantedPartial(amount) if void_requested => Judgement::Approved(amount),
            // What cannot be given back cannot be told as a no (R22).
            Judgement::UnwantedPartial(amount) if attempt.terms.reversal_policy == ReversalPolicy::Never => {
                Judgement::InvalidApproval(Some(amount))
            }
            other => other,
        };
        let mut owes = None;
        let told = match judgement {
            Judgement::Approved(amount) => {
                attempt.state = AttemptState::Approved(amount);
                attempt.approvals.push(seen(answer, Some(amount)));
                if void_requested {
                    owes = Some((ReversalReason::Cancelled, Some(amount), amount));
                    told_of(answer, Decision::Voided, Amount::ZERO, &mark)
                } else {
                    let full = amount == transaction.operations[operation].amount;
                    let decision = if full { Decision::Approved } else { Decision::PartiallyApproved };
                    told_of(answer, decision, amount, &mark)
                }
            }
            Judgement::UnwantedPartial(amount) => {
                attempt.state = AttemptState::Approved(amount);
                attempt.approvals.push(seen(answer, Some(amount)));
                owes = Some((ReversalReason::UnsupportedPartial, Some(amount), amount));
                Told {
                    source: Source::Switch,
                    decline: Some((DeclineReason::PartialNotSupported, DeclineAdvice::None)),
                    ..told_of(answer, Decision::Declined, Amount::ZERO, &mark)
                }
            }
            Judgement::Declined(reason, advice) => {
                attempt.state = AttemptState::Declined;
                Told { decline: Some((reason, advice)), ..told_of(answer, Decision::Declined, Amount::ZERO, &mark) }
            }
            Judgement::InvalidApproval(approved) => {
                attempt.state = AttemptState::Invalid;
                attempt.approvals.push(seen(answer, approved));
                return self.doubted(reference, located, ToldReason::InvalidNetworkAnswer, approved);
            }
            Judgement::Invalid => {
                attempt.state = AttemptState::Invalid;
                return self.doubted(reference, located, ToldReason::InvalidNetworkAnswer, None);
            }
        };
        if matches!(told.decision, Decision::Approved | Decision::PartiallyApproved)
            && matches!(transaction.operations[operation].method, Method::Authorize | Method::Verify)
        {
            let valid_ms = transaction.operations[operation].attempts[number].terms.valid_ms;
            transaction.valid_until = mark.now.after_ms(valid_ms);
        }
        if operation == 0 && !answer.network_transaction_id.is_empty() {
            transaction.network_transaction_id = answer.network_transaction_id.clone();
        }
        let kept = told.approved;
        let is_settled_for_good = owes.is_none();
        transaction.operations[operation].told = Some(told);
        if let Some((reason, approved, amount)) = owes {
            self.reverse(transaction, operation, number, reason, approved, amount)?;
        }
        let attempt = &transaction.operations[operation].attempts[number];
        if attempt.reversal.is_none() {
            let (link, stan) = (attempt.link.clone(), attempt.identity.stan);
            self.free_stan(&link, stan, reference)?;
        }
        if is_settled_for_good {
            self.release_day(&gateway, currency, &mut transaction.operations[operation], kept)?;
        }
        let reply = self.told(transaction, operation);
        self.save(located.transaction, &[operation]);
        Ok(reply)
    }

    // ## Open => TimedOut
    pub(super) fn timed_out(&mut self, reference: &AttemptRef, doubt: Doubt) -> Result<Reply, TableFault> {
        let Some(mut located) = self.located(reference)? else { return Ok(Reply::Ignored) };
        let attempt = &mut located.transaction.operations[located.operation].attempts[located.attempt];
        if attempt.state != AttemptState::Open {
            return Ok(self.told(&located.transaction, located.operation));
        }
        let reason = match doubt {
            Doubt::NoAnswer => ToldReason::NoAnswer,
            Doubt::ConnectionLost => ToldReason::ConnectionLost,
            Doubt::Garbled => ToldReason::InvalidNetworkAnswer,
            Doubt::OwnerGone => ToldReason::OwnerGone,
        };
        attempt.state = if doubt == Doubt::Garbled { AttemptState::Invalid } else { AttemptState::TimedOut };
        self.doubted(reference, located, reason, None)
    }

    /// The attempt is closed without a yes or a no: one entry tells so and makes the reversal (R3).
    fn doubted(
        &mut self,
        reference: &AttemptRef,
        mut located: Located,
        reason: ToldReason,
        approved: Option<Amount>,
    ) -> Result<Reply, TableFault> {
        let (operation, number) = (located.operation, located.attempt);
        let transaction = &mut located.transaction;
        let asked = transaction.operations[operation].amount;
        let method = transaction.operations[operation].method;
        let attempt = &transaction.operations[operation].attempts[number];
        let reversible = method != Method::Verify && attempt.terms.reversal_policy == ReversalPolicy::Always;
        let (link, stan) = (attempt.link.clone(), attempt.identity.stan);
        let decision = if reversible { Decision::TimedOut } else { Decision::Unresolved };
        let told = Told { reason: Some(reason), ..Told::by_switch(decision, Sent::Unknown, self.mark.position) };
        transaction.operations[operation].told = Some(told);
        if reversible {
            let why = match reason {
                ToldReason::InvalidNetworkAnswer => ReversalReason::InvalidResponse,
                ToldReason::NoAnswer | ToldReason::ConnectionLost | ToldReason::OwnerGone => ReversalReason::Timeout,
            };
            // What is undone is the whole of what was asked, or of what was approved where that is more (R18).
            let amount = approved.map_or(asked, |approved| approved.max(asked));
            self.reverse(transaction, operation, number, why, approved, amount)?;
        } else {
            self.free_stan(&link, stan, reference)?;
        }
        let reply = self.told(transaction, operation);
        self.save(located.transaction, &[operation]);
        Ok(reply)
    }

    /// An answer to an attempt that is closed. What was told never changes; what the network may hold is undone (R13, S7).
    fn late_answer(&mut self, mut located: Located, answer: &NetworkAnswer) -> Result<Reply, TableFault> {
        let (operation, number) = (located.operation, located.attempt);
        let (asked, currency) = (located.transaction.operations[operation].amount, located.transaction.currency);
        let method = located.transaction.operations[operation].method;
        let attempt = &mut located.transaction.operations[operation].attempts[number];
        if !matches!(answer.response_code.meaning(), CodeMeaning::Approved | CodeMeaning::ApprovedInPart) {
            if matches!(attempt.state, AttemptState::Approved(_)) {
                attempt.conflicting_answer = true;
                self.save(located.transaction, &[]);
            }
            return Ok(Reply::Recorded);
        }
        let approved = stated_amount(answer, asked, currency);
        let seen = seen(answer, approved);
        if attempt.approvals.contains(&seen) {
            return Ok(Reply::Recorded); // a second copy of one answer
        }
        let is_remembered = attempt.approvals.len() < limits::APPROVALS_MAX;
        if is_remembered {
            attempt.approvals.push(seen);
        }
        // Two persons found that the money stands, and it may have been given back since: it is theirs to look into (R25).
        let by_word = attempt.reversal.as_ref().is_some_and(Reversal::stands);
        match attempt.state {
            _ if by_word => attempt.conflicting_answer = true,
            AttemptState::Approved(_) | AttemptState::Declined => attempt.conflicting_answer = true,
            AttemptState::TimedOut | AttemptState::Invalid | AttemptState::NotSent(_) | AttemptState::Open => {
                attempt.late_approval = true;
            }
        }
        // An approval that was told and stands is not undone by a second one: one reversal would undo the first as well.
        // One whose remainder was released stands with the rest.
        let stands = matches!(attempt.state, AttemptState::Approved(_))
            && attempt.reversal.as_ref().is_none_or(|reversal| reversal.reason == ReversalReason::Remainder);
        let reversible = attempt.terms.reversal_policy == ReversalPolicy::Always && method != Method::Verify;
        let renewal = match &attempt.reversal {
            _ if stands || by_word || !reversible => None,
            // The network has yet to acknowledge the reversal of an earlier approval: this one's turn comes after it.
            Some(reversal)
                if is_remembered && reversal.lane.state == LaneState::Pending && reversal.approvals_reversed > 0 =>
            {
                None
            }
            // Parked, and about another approval still: that one is asked for again first, as the network is awake.
            Some(reversal) if !reversal.lane.state.is_final() && reversal.approvals_reversed > 0 => Some(Renewal::Same),
            Some(_) if !is_remembered => Some(Renewal::Same),
            Some(_) | None => Some(Renewal::NextApproval),
        };
        self.record(located, renewal, approved)
    }

    /// Bytes of a request left after its deadline or lease: whatever acknowledged a reversal before that proves nothing
    /// (R13).
    pub(super) fn late_send(&mut self, reference: &AttemptRef) -> Result<Reply, TableFault> {
        let Some(located) = self.located(reference)? else { return Ok(Reply::Ignored) };
        let (operation, number) = (located.operation, located.attempt);
        let attempt = &located.transaction.operations[operation].attempts[number];
        let reversible = attempt.terms.reversal_policy == ReversalPolicy::Always
            && located.transaction.operations[operation].method != Method::Verify;
        let closed_without_answer =
            matches!(attempt.state, AttemptState::TimedOut | AttemptState::Invalid | AttemptState::NotSent(_));
        let by_word = attempt.reversal.as_ref().is_some_and(Reversal::stands);
        if !reversible || !closed_without_answer || by_word {
            return Ok(Reply::Recorded);
        }
        self.record(located, Some(Renewal::Same), None)
    }

    /// Stores what is known now about a closed attempt, with one more reversal where one is due: a new generation where there
    /// is a lane, a first one where there is none. What may be at the network after all is reserved of the day again (R24).
    fn record(
        &mut self,
        mut located: Located,
        renewal: Option<Renewal>,
        approved: Option<Amount>,
    ) -> Result<Reply, TableFault> {
        let (operation, number) = (located.operation, located.attempt);
        let transaction = &mut located.transaction;
        let before = transaction.operations[operation].reversal_state();
        let asked = transaction.operations[operation].amount;
        match renewal {
            None => {}
            Some(subject) if transaction.operations[operation].attempts[number].reversal.is_some() => {
                self.renew_reversal(transaction, operation, number, subject)?;
            }
            Some(_) => {
                let amount = approved.map_or(asked, |approved| approved.max(asked));
                let reason = ReversalReason::InvalidResponse;
                self.reverse(transaction, operation, number, reason, approved, amount)?;
            }
        }
        let (gateway, currency) = (transaction.gateway.clone(), transaction.currency);
        self.reserve_day_again(&gateway, currency, &mut transaction.operations[operation])?;
        let is_told = transaction.operations[operation].reversal_state() != before;
        let changed = [operation];
        self.save(located.transaction, &changed[..usize::from(is_told)]);
        Ok(Reply::Recorded)
    }
}

fn judge(located: &Located, answer: &NetworkAnswer) -> Judgement {
    let operation = &located.transaction.operations[located.operation];
    let asked = operation.amount;
    match answer.response_code.meaning() {
        CodeMeaning::Unmapped => Judgement::Invalid,
        CodeMeaning::Declined(reason, advice) => {
            // The scheme knows this card and this payment, the code only the kind of refusal.
            Judgement::Declined(reason, DeclineAdvice::of_scheme(answer.advice_code.as_str()).unwrap_or(advice))
        }
        CodeMeaning::Approved | CodeMeaning::ApprovedInPart => {
            match stated_amount(answer, asked, located.transaction.currency) {
                Some(approved) if approved == asked => Judgement::Approved(approved),
                Some(approved) if approved < asked && operation.partial_supported => Judgement::Approved(approved),
                Some(approved) if approved < asked => Judgement::UnwantedPartial(approved),
                unusable => Judgement::InvalidApproval(unusable),
            }
        }
    }
}

/// How much an approval is for, `None` where it does not say (R18): an amount in another currency, a code for a part without
/// an amount, or nothing where something was asked. Without an amount every other code means the amount that was asked.
fn stated_amount(answer: &NetworkAnswer, asked: Amount, currency: Currency) -> Option<Amount> {
    let stated = match (answer.approved, answer.response_code.meaning()) {
        (Some(amount), _) => amount,
        (None, CodeMeaning::ApprovedInPart) => return None,
        (None, CodeMeaning::Approved | CodeMeaning::Declined(..) | CodeMeaning::Unmapped) => asked,
    };
    let is_foreign = answer.currency.is_some_and(|answered| answered != currency);
    (!is_foreign && (asked.is_zero() || !stated.is_zero())).then_some(stated)
}

fn seen(answer: &NetworkAnswer, amount: Option<Amount>) -> SeenApproval {
    SeenApproval {
        approval_code: answer.approval_code.clone(),
        network_transaction_id: answer.network_transaction_id.clone(),
        amount,
    }
}
