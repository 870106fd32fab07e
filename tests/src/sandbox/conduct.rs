//! How a network behaves: as a whole, by chance, and by test card. Takes a request, gives a [`Treatment`].

use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::time::Instant;

use super::{
    books::{Code, Handling, Kind, Verdict},
    cards::Behaviour,
    limits::{DELAY_MAX, LATE, SIGNED_OFF, SLOW},
    proto::{self, Mode},
};

/// A conduct that cannot be had.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConductError {
    /// More misbehaviour than messages.
    #[error("shares sum up to {sum} of 1000000")]
    Shares {
        /// Their sum.
        sum: u64,
    },
    /// A delay that would hold memory for too long.
    #[error("a delay of {delay_ms} ms, bound is {max_ms} ms")]
    Delay {
        /// What was asked.
        delay_ms: u32,
        /// What can be had.
        max_ms: u128,
    },
}

/// How a network behaves now. Everyone who serves it watches this.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// As a whole; never `Unspecified`.
    pub mode: Mode,
    /// By chance; checked.
    pub conduct: proto::Conduct,
    /// Until when a test card has signed it off.
    pub signed_off_until: Option<Instant>,
}

impl Standing {
    /// A network that behaves.
    pub fn normal() -> Self {
        Self { mode: Mode::Normal, conduct: proto::Conduct::default(), signed_off_until: None }
    }

    /// True where it takes part in payments.
    pub fn signs_on(&self, now: Instant) -> bool {
        self.mode != Mode::SignedOff && self.signed_off_until.is_none_or(|until| now >= until)
    }

    /// How late "late" is.
    pub fn late(&self) -> Duration {
        or(self.conduct.late_ms, LATE)
    }

    /// How slow "slow" is.
    pub fn slow(&self) -> Duration {
        or(self.conduct.slow_ms, SLOW)
    }

    /// How long a test card signs off for.
    pub fn signed_off(&self) -> Duration {
        or(self.conduct.signed_off_ms, SIGNED_OFF)
    }
}

/// Refuses what no network could do.
pub fn check(conduct: &proto::Conduct) -> Result<(), ConductError> {
    let requests = REQUEST_SHARES.iter().map(|(share, _)| u64::from(share(conduct))).sum();
    let facts = u64::from(conduct.no_acknowledgement_ppm) + u64::from(conduct.lost_ppm);
    let sum = u64::max(requests, facts);
    if sum > u64::from(WHOLE) {
        return Err(ConductError::Shares { sum });
    }
    let delays = [conduct.latency_ms, conduct.jitter_ms, conduct.late_ms, conduct.slow_ms, conduct.signed_off_ms];
    match delays.into_iter().find(|delay_ms| u128::from(*delay_ms) > DELAY_MAX.as_millis()) {
        Some(delay_ms) => Err(ConductError::Delay { delay_ms, max_ms: DELAY_MAX.as_millis() }),
        None => Ok(()),
    }
}

/// When a request reaches the books.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// At once.
    Now,
    /// After `late_ms`.
    Late,
    /// Not at all.
    Never,
}

/// What becomes of the answer to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answering {
    /// Sent once.
    Once,
    /// Sent once, `slow_ms` later.
    Slow,
    /// Sent once, `late_ms` later.
    Late,
    /// Not sent.
    Withheld,
    /// Sent twice.
    Twice,
    /// Sent, and its opposite behind it.
    Conflicting,
    /// Sent, and one that nobody asked for behind it.
    Stray,
    /// Sent without a body.
    Garbled,
    /// Sent as bytes that are no message.
    Undecodable,
    /// Sent with another currency.
    OtherCurrency,
    /// Not sent, and the connection cut.
    Cut,
    /// Sent, and a sign-off behind it.
    SignOff,
}

impl Answering {
    /// As the books record it.
    pub fn delivery(self) -> proto::Delivery {
        match self {
            Self::Once | Self::Slow | Self::SignOff => proto::Delivery::Answered,
            Self::Late => proto::Delivery::Late,
            Self::Withheld => proto::Delivery::Withheld,
            Self::Twice | Self::Conflicting | Self::Stray => proto::Delivery::Repeated,
            Self::Garbled | Self::Undecodable | Self::OtherCurrency => proto::Delivery::Unusable,
            Self::Cut => proto::Delivery::Cut,
        }
    }
}

/// What a network does with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Treatment {
    /// When it reaches the books.
    pub arrival: Arrival,
    /// Yes or no.
    pub verdict: Verdict,
    /// What becomes of the answer.
    pub answering: Answering,
    /// Address and card verification results.
    pub checks: Option<(&'static str, &'static str)>,
    /// Scheme's advice on retrying, empty for none.
    pub advice: &'static str,
}

impl Treatment {
    const PLAIN: Self =
        Self { arrival: Arrival::Now, verdict: Verdict::Approve, answering: Answering::Once, checks: None, advice: "" };

    fn verdict(verdict: Verdict) -> Self {
        Self { verdict, ..Self::PLAIN }
    }

    fn answering(answering: Answering) -> Self {
        Self { answering, ..Self::PLAIN }
    }

    fn arrival(arrival: Arrival) -> Self {
        Self { arrival, ..Self::PLAIN }
    }

    /// What a card asks for; `None` where nothing, so that chance decides.
    pub fn by_card(behaviour: Behaviour, kind: Kind) -> Option<Self> {
        let (increment, refund) = (kind == Kind::Increment, kind == Kind::Refund);
        Some(match behaviour {
            Behaviour::Decline(code) => Self::verdict(Verdict::Decline(code)),
            Behaviour::DeclineAdvised { code, advice } => Self { advice, ..Self::verdict(Verdict::Decline(code)) },
            Behaviour::ApproveChecked { address, card } => Self { checks: Some((address, card)), ..Self::PLAIN },
            Behaviour::DeclineRefund if refund => Self::verdict(Verdict::Decline(Code::DO_NOT_HONOR)),
            Behaviour::DeclineIncrement if increment => Self::verdict(Verdict::Decline(Code::DO_NOT_HONOR)),
            Behaviour::NoAnswer => Self::answering(Answering::Withheld),
            Behaviour::RefundNoAnswer if refund => Self::answering(Answering::Withheld),
            Behaviour::IncrementNoAnswer if increment => Self::answering(Answering::Withheld),
            Behaviour::Swallow => Self::arrival(Arrival::Never),
            Behaviour::Late => Self::answering(Answering::Late),
            Behaviour::LateArrival => Self::arrival(Arrival::Late),
            Behaviour::Slow => Self::answering(Answering::Slow),
            Behaviour::DuplicateAnswer => Self::answering(Answering::Twice),
            Behaviour::ConflictingAnswer => Self::answering(Answering::Conflicting),
            Behaviour::StrayAnswer => Self::answering(Answering::Stray),
            Behaviour::Garbled => Self::answering(Answering::Garbled),
            Behaviour::Undecodable => Self::answering(Answering::Undecodable),
            Behaviour::OtherCurrency => Self::answering(Answering::OtherCurrency),
            Behaviour::Cut => Self::answering(Answering::Cut),
            Behaviour::SignOff => Self::answering(Answering::SignOff),
            Behaviour::UnmappedCode => Self::verdict(Verdict::Unmapped),
            Behaviour::GreaterAmount if kind != Kind::Verification => Self::verdict(Verdict::Greater),
            Behaviour::Partial if matches!(kind, Kind::Hold | Kind::Sale) => Self::verdict(Verdict::Partial),
            Behaviour::Approve
            | Behaviour::DeclineRefund
            | Behaviour::DeclineIncrement
            | Behaviour::RefundNoAnswer
            | Behaviour::IncrementNoAnswer
            | Behaviour::GreaterAmount
            | Behaviour::Partial
            | Behaviour::ReversalRefused
            | Behaviour::ReversalNotFound
            | Behaviour::ReversalUnanswered(_)
            | Behaviour::AdviceRefused
            | Behaviour::AdviceUnanswered(_) => return None,
        })
    }
}

/// What a network does with one reversal or advice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FactTreatment {
    /// Whether it is taken.
    pub handling: Handling,
    /// How many copies stay without an answer.
    pub unanswered: u32,
}

impl FactTreatment {
    /// What a card asks for in a reversal.
    pub fn of_reversal(behaviour: Behaviour) -> Self {
        match behaviour {
            Behaviour::ReversalRefused => Self { handling: Handling::Refuse(Code::FORMAT_ERROR), unanswered: 0 },
            Behaviour::ReversalNotFound => Self { handling: Handling::Refuse(Code::NOT_FOUND), unanswered: 0 },
            Behaviour::ReversalUnanswered(copies) => Self { handling: Handling::Take, unanswered: copies },
            _ => Self { handling: Handling::Take, unanswered: 0 }, // every other card is about requests
        }
    }

    /// What a card asks for in an advice.
    pub fn of_advice(behaviour: Behaviour) -> Self {
        match behaviour {
            Behaviour::AdviceRefused => Self { handling: Handling::Refuse(Code::FORMAT_ERROR), unanswered: 0 },
            Behaviour::AdviceUnanswered(copies) => Self { handling: Handling::Take, unanswered: copies },
            _ => Self { handling: Handling::Take, unanswered: 0 }, // every other card is about requests
        }
    }
}

/// What chance does to a reversal or an advice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Luck {
    /// Nothing.
    Good,
    /// It is booked and not answered.
    NoAcknowledgement,
    /// It is not even booked.
    Lost,
}

/// Chance, from a seed: the same messages in the same order fare alike.
#[derive(Debug)]
pub struct Dice(StdRng);

impl Dice {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// What becomes of a request that no card decides.
    pub fn request(&mut self, conduct: &proto::Conduct) -> Treatment {
        if REQUEST_SHARES.iter().all(|(share, _)| share(conduct) == 0) {
            return Treatment::PLAIN;
        }
        let mut roll = self.0.random_range(0..WHOLE);
        for (share, treatment) in REQUEST_SHARES {
            match roll.checked_sub(share(conduct)) {
                Some(rest) => roll = rest,
                None => return *treatment,
            }
        }
        Treatment::PLAIN
    }

    /// What becomes of a reversal or an advice.
    pub fn fact(&mut self, conduct: &proto::Conduct) -> Luck {
        if conduct.no_acknowledgement_ppm == 0 && conduct.lost_ppm == 0 {
            return Luck::Good;
        }
        let roll = self.0.random_range(0..WHOLE);
        if roll < conduct.lost_ppm {
            Luck::Lost
        } else if roll < conduct.lost_ppm + conduct.no_acknowledgement_ppm {
            Luck::NoAcknowledgement
        } else {
            Luck::Good
        }
    }

    /// How long an answer takes.
    pub fn latency(&mut self, conduct: &proto::Conduct) -> Duration {
        let jitter_ms = if conduct.jitter_ms == 0 { 0 } else { self.0.random_range(0..=conduct.jitter_ms) };
        Duration::from_millis(u64::from(conduct.latency_ms) + u64::from(jitter_ms))
    }
}

/// One million.
const WHOLE: u32 = 1_000_000;

type Share = fn(&proto::Conduct) -> u32;

/// What may happen to a request by chance.
const REQUEST_SHARES: &[(Share, Treatment)] = &[
    (|conduct| conduct.swallow_ppm, Treatment { arrival: Arrival::Never, ..Treatment::PLAIN }),
    (|conduct| conduct.late_arrival_ppm, Treatment { arrival: Arrival::Late, ..Treatment::PLAIN }),
    (|conduct| conduct.no_answer_ppm, Treatment { answering: Answering::Withheld, ..Treatment::PLAIN }),
    (|conduct| conduct.late_ppm, Treatment { answering: Answering::Late, ..Treatment::PLAIN }),
    (|conduct| conduct.duplicate_answer_ppm, Treatment { answering: Answering::Twice, ..Treatment::PLAIN }),
    (|conduct| conduct.garbled_ppm, Treatment { answering: Answering::Garbled, ..Treatment::PLAIN }),
    (|conduct| conduct.cut_ppm, Treatment { answering: Answering::Cut, ..Treatment::PLAIN }),
    (|conduct| conduct.decline_ppm, Treatment { verdict: Verdict::Decline(Code::DO_NOT_HONOR), ..Treatment::PLAIN }),
];

fn or(ms: u32, default: Duration) -> Duration {
    if ms == 0 { default } else { Duration::from_millis(ms.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_beyond_the_whole_and_delays_beyond_the_bound_are_refused() {
        let conduct = proto::Conduct { late_ppm: 600_000, cut_ppm: 400_001, ..Default::default() };
        assert_eq!(check(&conduct), Err(ConductError::Shares { sum: 1_000_001 }));
        let conduct = proto::Conduct { late_ms: 600_001, ..Default::default() };
        assert_eq!(check(&conduct), Err(ConductError::Delay { delay_ms: 600_001, max_ms: 600_000 }));
        assert_eq!(check(&proto::Conduct { decline_ppm: 1_000_000, ..Default::default() }), Ok(()));
    }

    #[test]
    fn one_seed_gives_one_run_and_shares_come_out_as_asked() {
        let conduct = proto::Conduct { no_answer_ppm: 100_000, decline_ppm: 200_000, ..Default::default() };
        let run = |seed| {
            let mut dice = Dice::new(seed);
            (0..10_000).map(|_| dice.request(&conduct)).collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
        let silent = run(7).iter().filter(|treatment| treatment.answering == Answering::Withheld).count();
        let declined = run(7).iter().filter(|treatment| treatment.verdict != Verdict::Approve).count();
        assert!((900..1_100).contains(&silent), "{silent}");
        assert!((1_850..2_150).contains(&declined), "{declined}");
    }
}
