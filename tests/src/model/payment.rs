//! A payment as the model sees it, and its sums.

use super::act::{Print, Word};

/// What a request was decided under.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Milliseconds until its timer ends.
    pub timeout_ms: u64,
    /// Longest travel, milliseconds.
    pub in_flight_ms: u64,
    /// Takes no reversals.
    pub never: bool,
    /// An acknowledgement proves a match.
    pub proves: bool,
    /// Validity of an approval, milliseconds.
    pub valid_ms: u64,
    /// Tolerance of captures in basis points.
    pub tolerance: u64,
    /// Most open doubt.
    pub doubt_count: usize,
    /// Most money in doubt, zero for any.
    pub doubt_money: u64,
}

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Authorize.
    Pay,
    /// Verify.
    Check,
    /// Increment.
    Raise,
    /// Capture.
    Take,
    /// Void.
    Cancel,
    /// Refund.
    Return,
}

/// How a conversation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Waiting for an answer.
    Waiting,
    /// Yes, for this much.
    Yes(u64),
    /// No.
    No,
    /// Nothing left.
    Unsent,
    /// Nothing came, or nothing that can be used.
    Silent,
}

/// Where a reversal or an advice stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DebtState {
    /// To be repeated.
    Due,
    /// Acknowledged.
    Done,
    /// The network never had it.
    NotFound,
    /// Parked; true where it was refused.
    Parked(bool),
    /// An operator: gone.
    Gone,
    /// An operator: the money stands.
    Stands,
}

impl DebtState {
    /// Nothing is owed any more.
    #[must_use]
    pub fn is_over(self) -> bool {
        !matches!(self, Self::Due | Self::Parked(_))
    }
}

/// A message that a network must acknowledge.
#[derive(Clone, Debug)]
pub struct Debt {
    /// A release of what was not captured, and not of the whole.
    pub is_remainder: bool,
    /// Amount.
    pub amount: u64,
    /// What the network is known to have approved.
    pub known: Option<u64>,
    /// Counts the times that it began anew.
    pub generation: u16,
    /// Approvals that have had their turn, this one's included: each is taken back by itself.
    pub turns: usize,
    /// What the network approved and only said "not found" to, while others waited: these come again at the end.
    pub put_off: Vec<Option<u64>>,
    /// Tries, by ask and index, whose money a release of the whole hold has in it.
    pub covers: Vec<(usize, usize)>,
    /// When this generation was made.
    pub since: u64,
    /// It was answered once without proof.
    pub doubted: bool,
    /// Where it stands.
    pub state: DebtState,
}

/// One conversation.
#[derive(Clone, Debug)]
pub struct Try {
    /// Network.
    pub network: u8,
    /// Its terms.
    pub terms: Terms,
    /// Who asks.
    pub owner: u64,
    /// End of its timer.
    pub deadline: u64,
    /// How it stands.
    pub outcome: Outcome,
    /// Approvals seen: code and amount, where that can be used.
    pub yeses: Vec<(u8, Option<u64>)>,
    /// Its reversal.
    pub debt: Option<Debt>,
}

impl Try {
    /// Money that the network approved and nobody takes back.
    #[must_use]
    pub fn standing(&self) -> u64 {
        match (&self.debt, self.outcome) {
            (None, Outcome::Yes(amount)) => amount,
            (Some(debt), Outcome::Yes(amount)) if debt.is_remainder || debt.state == DebtState::Stands => amount,
            (Some(debt), _) if debt.state == DebtState::Stands => debt.known.unwrap_or(debt.amount),
            (None | Some(_), _) => 0,
        }
    }

    /// Money may be at the network, or may not.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        match (&self.debt, self.outcome) {
            (Some(debt), _) => !debt.is_remainder && !debt.state.is_over(),
            (None, Outcome::Waiting | Outcome::Silent) => true,
            (None, Outcome::No | Outcome::Unsent) => !self.yeses.is_empty(),
            (None, Outcome::Yes(_)) => false,
        }
    }

    /// What of that is not released for good.
    #[must_use]
    pub fn kept(&self) -> u64 {
        let is_over = self.debt.as_ref().is_some_and(|debt| debt.state.is_over());
        self.standing().saturating_sub(if is_over { self.released() } else { 0 })
    }

    fn released(&self) -> u64 {
        match &self.debt {
            Some(debt) if debt.is_remainder && debt.state != DebtState::Stands => debt.amount,
            Some(_) | None => 0,
        }
    }
}

/// One ask.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Key.
    pub key: u32,
    /// Digest.
    pub print: Print,
    /// What.
    pub what: What,
    /// How much.
    pub amount: u64,
    /// When.
    pub at: u64,
    /// The last capture.
    pub last: bool,
    /// Less is welcome.
    pub partial: bool,
    /// A void came while it was open.
    pub unwanted: bool,
    /// What it takes of its day.
    pub reserved: u64,
    /// Its day had a limit.
    pub limited: bool,
    /// Conversations.
    pub tries: Vec<Try>,
    /// Advice of a capture, with its network.
    pub advice: Option<(u8, Debt)>,
    /// Decision and amount.
    pub told: Option<(Word, u64)>,
}

impl Ask {
    /// Where its reversal stands: that of the last try that has one.
    #[must_use]
    pub fn reversal(&self) -> Option<DebtState> {
        self.tries.iter().rev().find_map(|one| one.debt.as_ref()).map(|debt| debt.state)
    }
}

/// A payment.
#[derive(Clone, Debug)]
pub struct Payment {
    /// Id.
    pub id: u128,
    /// Tenant.
    pub gateway: u8,
    /// Captured with the approval.
    pub sale: bool,
    /// When it was made.
    pub made: u64,
    /// End of its validity.
    pub valid_until: u64,
    /// An EXPIRED entry was made.
    pub expired: bool,
    /// Asks; the first made it.
    pub asks: Vec<Ask>,
}

/// Sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Approved and not taken back.
    pub authorized: u64,
    /// Captured.
    pub captured: u64,
    /// Refunded.
    pub refunded: u64,
    /// Refunds that may have happened.
    pub refunding: u64,
    /// Still held.
    pub held: u64,
}

impl Payment {
    /// The sums, added up anew each time.
    #[must_use]
    pub fn sums(&self) -> Sums {
        let tries = |what: &[What]| -> Vec<(&Ask, &Try)> {
            let asks = self.asks.iter().filter(|ask| what.contains(&ask.what));
            asks.flat_map(|ask| ask.tries.iter().map(move |one| (ask, one))).collect()
        };
        let payments = tries(&[What::Pay, What::Raise]);
        let returns = tries(&[What::Return]);
        let authorized: u64 = payments.iter().map(|(_, one)| one.standing()).sum();
        let released: u64 = payments.iter().map(|(_, one)| one.released()).sum();
        let took = |ask: &&Ask| {
            ask.what == What::Take && ask.advice.as_ref().is_some_and(|(_, debt)| debt.state != DebtState::Gone)
        };
        let captures: u64 = self.asks.iter().filter(took).map(|ask| ask.amount).sum();
        let captured = if self.sale { authorized } else { captures };
        Sums {
            authorized,
            captured,
            refunded: returns.iter().map(|(_, one)| one.standing()).sum(),
            refunding: returns.iter().filter(|(_, one)| one.is_doubtful()).map(|(ask, _)| ask.amount).sum(),
            held: authorized.saturating_sub(captured).saturating_sub(released),
        }
    }

    /// A void was told.
    #[must_use]
    pub fn is_voided(&self) -> bool {
        self.asks.iter().any(|ask| ask.what == What::Cancel)
    }
}
