//! Which kinds of payment, and how often.

use rand::{Rng, distr::Distribution, distr::weighted::WeightedIndex, rngs::StdRng};

use super::story::Step;
use crate::sandbox::cards;

/// One kind of payment with what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Approved, and nothing follows.
    Approved,
    /// Authorized and captured in one message.
    Sale,
    /// Captured in full.
    Captured,
    /// Captured in two parts.
    CapturedInParts,
    /// Captured in part, the rest released.
    CapturedShort,
    /// Captured and refunded.
    Refunded,
    /// Raised, then captured.
    Incremented,
    /// Voided by its id.
    Voided,
    /// Voided by its key.
    VoidedByKey,
    /// Voided by its key at the same moment.
    VoidedMeanwhile,
    /// Voided by its key before it arrives.
    VoidedBefore,
    /// Declined by the issuer.
    Declined,
    /// Approved for half, welcome.
    Partial,
    /// Approved for half, not welcome.
    PartialUnwelcome,
    /// A zero-amount check.
    Verify,
    /// The same request three times at once.
    Duplicated,
    /// The same request again after its answer.
    Repeated,
    /// The same key with another amount after its answer.
    OtherAmount,
    /// Booked by the network and never answered.
    NoAnswer,
    /// Never seen by the network.
    Swallowed,
    /// Answered after the time-out.
    Late,
    /// Booked after its reversal.
    LateArrival,
    /// An answer that cannot be used: without a body, with an unknown code, for too much, in another currency.
    Unusable,
    /// Answered twice, or an answer to nobody behind it.
    AnsweredTwice,
    /// The connection is cut instead of an answer.
    Cut,
    /// Its reversal is acknowledged only at the third copy.
    ReversalUnanswered,
}

impl Kind {
    /// A card that makes the network behave so.
    pub(super) fn card(self, random: &mut StdRng) -> String {
        let numbered = cards::numbered(random.random_range(0..1_000_000));
        let of = |choice: &[&str], random: &mut StdRng| choice[random.random_range(0..choice.len())].to_owned();
        match self {
            Self::Approved
            | Self::Sale
            | Self::Captured
            | Self::CapturedInParts
            | Self::CapturedShort
            | Self::Refunded
            | Self::Incremented
            | Self::Voided
            | Self::VoidedByKey
            | Self::VoidedMeanwhile
            | Self::VoidedBefore
            | Self::Verify
            | Self::Duplicated
            | Self::Repeated
            | Self::OtherAmount => match random.random_range(0..10) {
                0 => cards::APPROVED_MASTERCARD.to_owned(),
                1 => cards::APPROVED_MASTERCARD_2_SERIES.to_owned(),
                2 => cards::APPROVED_AMEX.to_owned(),
                3 => cards::APPROVED_DISCOVER.to_owned(),
                4 => cards::APPROVED_VISA.to_owned(),
                _ => numbered,
            },
            Self::Declined => of(
                &[
                    cards::DECLINED,
                    cards::INSUFFICIENT_FUNDS,
                    cards::LOST_CARD,
                    cards::STOLEN_CARD,
                    cards::EXPIRED_CARD,
                    cards::INCORRECT_CVV,
                    cards::VELOCITY_EXCEEDED,
                ],
                random,
            ),
            Self::Partial | Self::PartialUnwelcome => cards::PARTIAL.to_owned(),
            Self::NoAnswer => cards::NO_ANSWER.to_owned(),
            Self::Swallowed => cards::SWALLOWED.to_owned(),
            Self::Late => cards::LATE.to_owned(),
            Self::LateArrival => cards::LATE_ARRIVAL.to_owned(),
            Self::Unusable => {
                of(&[cards::GARBLED, cards::UNMAPPED_CODE, cards::GREATER_AMOUNT, cards::OTHER_CURRENCY], random)
            }
            Self::AnsweredTwice => {
                of(&[cards::DUPLICATE_ANSWER, cards::CONFLICTING_ANSWER, cards::STRAY_ANSWER], random)
            }
            Self::Cut => cards::CUT.to_owned(),
            Self::ReversalUnanswered => cards::REVERSAL_UNANSWERED.to_owned(),
        }
    }

    /// How many callers ask for it at once.
    pub(super) fn copies(self) -> u32 {
        if self == Self::Duplicated { 3 } else { 1 }
    }

    /// Whether a void by key goes before it (true) or beside it (false).
    pub(super) fn overtaken(self) -> Option<bool> {
        match self {
            Self::VoidedBefore => Some(true),
            Self::VoidedMeanwhile => Some(false),
            _ => None,
        }
    }

    pub(super) fn steps(self, random: &mut StdRng) -> Vec<Step> {
        match self {
            Self::Approved
            | Self::Sale
            | Self::Declined
            | Self::PartialUnwelcome
            | Self::Verify
            | Self::Duplicated
            | Self::VoidedMeanwhile
            | Self::VoidedBefore
            | Self::Unusable
            | Self::AnsweredTwice
            | Self::Cut => Vec::new(),
            Self::Captured | Self::Partial => vec![Step::Capture { percent: 100, last: true }],
            Self::CapturedInParts => {
                vec![Step::Capture { percent: 40, last: false }, Step::Capture { percent: 60, last: true }]
            }
            Self::CapturedShort => vec![Step::Capture { percent: random.random_range(10..=90), last: true }],
            Self::Refunded => {
                let first = random.random_range(10..=50);
                vec![
                    Step::Capture { percent: 100, last: true },
                    Step::Refund { percent: first },
                    Step::Refund { percent: 50 },
                ]
            }
            Self::Incremented => {
                vec![Step::Increment { percent: 20 }, Step::Capture { percent: 110, last: true }]
            }
            Self::Voided | Self::ReversalUnanswered => vec![Step::Void { by_key: false }],
            Self::VoidedByKey => vec![Step::Void { by_key: true }],
            Self::Repeated | Self::NoAnswer | Self::Swallowed | Self::Late | Self::LateArrival => vec![Step::Repeat],
            Self::OtherAmount => vec![Step::OtherAmount, Step::Repeat],
        }
    }
}

/// Kinds with their weights.
#[derive(Debug, Clone)]
pub struct Mix {
    kinds: Vec<Kind>,
    index: WeightedIndex<u32>,
}

impl Mix {
    /// Any kinds; at least one weight must not be 0.
    pub fn new(weights: &[(Kind, u32)]) -> anyhow::Result<Self> {
        let index = WeightedIndex::new(weights.iter().map(|(_, weight)| *weight))?;
        Ok(Self { kinds: weights.iter().map(|(kind, _)| *kind).collect(), index })
    }

    /// Approvals and nothing else, for figures.
    pub fn approvals() -> Self {
        Self::constant(&[(Kind::Approved, 1)])
    }

    /// What a gateway sees on a good day: approvals, declines, everything that follows, repeated keys.
    pub fn everyday() -> Self {
        Self::constant(&EVERYDAY)
    }

    /// The same with one payment in fifty that the network handles badly.
    pub fn mixed() -> Self {
        let everyday = EVERYDAY.iter().map(|(kind, weight)| (*kind, weight * 10));
        Self::constant(&everyday.chain(MISHAPS).collect::<Vec<_>>())
    }

    /// Every second payment goes wrong.
    pub fn mishaps() -> Self {
        let mishaps = MISHAPS.iter().map(|(kind, weight)| (*kind, weight * 5));
        Self::constant(&EVERYDAY.into_iter().chain(mishaps).collect::<Vec<_>>())
    }

    fn constant(weights: &[(Kind, u32)]) -> Self {
        Self::new(weights).expect("the tables below hold weights above 0")
    }

    pub(super) fn pick(&self, random: &mut StdRng) -> Kind {
        self.kinds[self.index.sample(random)]
    }
}

/// Out of 100.
const EVERYDAY: [(Kind, u32); 18] = [
    (Kind::Approved, 36),
    (Kind::Sale, 10),
    (Kind::Captured, 12),
    (Kind::CapturedInParts, 3),
    (Kind::CapturedShort, 4),
    (Kind::Refunded, 4),
    (Kind::Incremented, 2),
    (Kind::Voided, 3),
    (Kind::VoidedByKey, 2),
    (Kind::VoidedMeanwhile, 1),
    (Kind::VoidedBefore, 1),
    (Kind::Declined, 12),
    (Kind::Partial, 1),
    (Kind::PartialUnwelcome, 1),
    (Kind::Verify, 3),
    (Kind::Duplicated, 2),
    (Kind::Repeated, 2),
    (Kind::OtherAmount, 1),
];

/// Out of 20, beside 1000 of the above.
const MISHAPS: [(Kind, u32); 8] = [
    (Kind::NoAnswer, 5),
    (Kind::Swallowed, 3),
    (Kind::Late, 4),
    (Kind::LateArrival, 2),
    (Kind::Unusable, 2),
    (Kind::AnsweredTwice, 2),
    (Kind::Cut, 1),
    (Kind::ReversalUnanswered, 1),
];
