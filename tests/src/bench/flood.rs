//! Payments that come at a rate whatever becomes of them, each called once: what a switch does when more is asked than it can
//! do shows only in an open loop.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use switch_proto::gateway::v1::{self as pb, Decision, void_request::Original};
use tokio::{sync::Semaphore, task::JoinSet};

use super::drive::{Latencies, latencies, micros};
use crate::{
    gateway_client::{GatewayClient, NotTold, Patience},
    history,
    workload::Workload,
};

/// How payments come.
#[derive(Debug, Clone, Copy)]
pub struct Offer {
    /// Begun in a second.
    pub per_second: u32,
    /// For how long.
    pub lasts: Duration,
    /// Of those that begin before it nothing is counted.
    pub warm_up: Duration,
    /// One approved payment in so many is voided at once, also by one call.
    pub void_every: u64,
}

/// What became of them.
#[derive(Debug)]
pub struct Heard {
    counted: Duration,
    offered: u64,
    /// By code and reason.
    refused: BTreeMap<String, u64>,
    /// From the moment at which each should have begun to its approval.
    approved: Latencies,
    voided: Latencies,
    voids_refused: BTreeMap<String, u64>,
    answers: Vec<Answer>,
}

#[derive(Debug)]
struct Answer {
    /// When the payment should have begun, from the beginning of the offer on.
    intended: Duration,
    took: Duration,
    refused: Option<String>,
    /// What the void came to, where there was one.
    void: Option<(Duration, Option<String>)>,
}

/// Begins payments of `workload` as `offer` says, and waits for all of them.
///
/// # Errors
/// A payment that is neither approved nor refused with no effect: then the figures say nothing.
pub async fn offer(gateway: &GatewayClient, mut workload: Workload, offer: Offer) -> anyhow::Result<Heard> {
    let gateway = gateway.with_patience(Patience { calls_max: 1, ..gateway.patience() });
    let room = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    let mut calls = JoinSet::new();
    let began = Instant::now();
    for number in 0_u32.. {
        let intended = Duration::from_secs_f64(f64::from(number) / f64::from(offer.per_second));
        if intended >= offer.lasts {
            break;
        }
        tokio::time::sleep_until((began + intended).into()).await;
        let permit = room.clone().acquire_owned().await?;
        let (gateway, ask) = (gateway.clone(), workload.story().first);
        let is_voided = u64::from(number).is_multiple_of(offer.void_every);
        calls.spawn(async move {
            let paid = gateway.ask(&ask).await;
            let took = began.elapsed().saturating_sub(intended);
            let answer = match paid {
                Ok(result) => {
                    let decision = result.outcome.as_ref().map(pb::Outcome::decision);
                    anyhow::ensure!(decision == Some(Decision::Approved), "decided {decision:?}");
                    let void = if is_voided { Some(cancel(&gateway, &result).await) } else { None };
                    Answer { intended, took, refused: None, void }
                }
                Err(error) => {
                    anyhow::ensure!(error.definite, "{error}");
                    Answer { intended, took, refused: Some(why(&error)), void: None }
                }
            };
            drop(permit);
            Ok(answer)
        });
    }
    let mut answers = Vec::with_capacity(calls.len());
    while let Some(ended) = calls.join_next().await {
        answers.push(ended??);
    }
    Ok(Heard::of(answers, offer))
}

async fn cancel(gateway: &GatewayClient, paid: &pb::OperationResult) -> (Duration, Option<String>) {
    let began = Instant::now();
    let original = Some(Original::TransactionId(paid.transaction_id.clone()));
    let request_id = format!("{}-void", paid.request_id);
    let voided = gateway.void(pb::VoidRequest { request_id, original }).await;
    (began.elapsed(), voided.err().map(|error| why(&error)))
}

fn why(error: &NotTold) -> String {
    format!("{:?} {}", error.status.code(), history::reason(&error.status))
}

impl Heard {
    fn of(answers: Vec<Answer>, offer: Offer) -> Self {
        let mut heard = Self {
            counted: offer.lasts.saturating_sub(offer.warm_up),
            offered: 0,
            refused: BTreeMap::new(),
            approved: latencies(),
            voided: latencies(),
            voids_refused: BTreeMap::new(),
            answers,
        };
        for answer in heard.answers.iter().filter(|answer| answer.intended >= offer.warm_up) {
            heard.offered += 1;
            match &answer.refused {
                None => heard.approved.saturating_record(micros(answer.took)),
                Some(why) => *heard.refused.entry(why.clone()).or_default() += 1,
            }
            match &answer.void {
                Some((took, None)) => heard.voided.saturating_record(micros(*took)),
                Some((_, Some(why))) => *heard.voids_refused.entry(why.clone()).or_default() += 1,
                None => {}
            }
        }
        heard
    }

    /// Approved payments a second.
    pub fn goodput(&self) -> f64 {
        self.approved.len() as f64 / self.counted.as_secs_f64()
    }

    /// 99 of 100 approved payments were faster.
    pub fn p99(&self) -> Duration {
        Duration::from_micros(self.approved.value_at_quantile(0.99))
    }

    /// The same over this and another run.
    ///
    /// # Errors
    /// None: every histogram has the same bounds.
    pub fn p99_with(&self, other: &Self) -> anyhow::Result<Duration> {
        let mut both = self.approved.clone();
        both.add(&other.approved)?;
        Ok(Duration::from_micros(both.value_at_quantile(0.99)))
    }

    /// Voids that were refused.
    pub fn voids_refused(&self) -> u64 {
        self.voids_refused.values().sum()
    }

    /// From the beginning to the last payment that was refused or took longer than `slow`: after it all was well again.
    pub fn recovered_after(&self, slow: Duration) -> Duration {
        let unwell = self.answers.iter().filter(|answer| answer.refused.is_some() || answer.took > slow);
        unwell.map(|answer| answer.intended).max().unwrap_or_default()
    }

    /// For programs.
    pub fn object(&self) -> Value {
        json!({
            "offered_per_second": (self.offered as f64 / self.counted.as_secs_f64()).round(),
            "approved_per_second": self.goodput().round(),
            "p50_us": self.approved.value_at_quantile(0.5),
            "p99_us": self.approved.value_at_quantile(0.99),
            "refused": self.refused,
            "voids": self.voided.len(),
            "voids_refused": self.voids_refused,
            "void_p99_us": self.voided.value_at_quantile(0.99),
        })
    }

    /// For people.
    pub fn line(&self, what: &str) -> String {
        let refused: Vec<String> = self.refused.iter().map(|(why, count)| format!("{count} {why}")).collect();
        format!(
            "{what:<22} offered {:>5.0}/s  approved {:>5.0}/s  p50 {:>7.1} ms  p99 {:>7.1} ms  voids {:>5}, refused {}  {}",
            self.offered as f64 / self.counted.as_secs_f64(),
            self.goodput(),
            self.approved.value_at_quantile(0.5) as f64 / 1e3,
            self.approved.value_at_quantile(0.99) as f64 / 1e3,
            self.voided.len(),
            self.voids_refused(),
            refused.join(", "),
        )
    }
}

/// What was noticed of a flood.
#[derive(Clone, Copy, Debug)]
pub struct Noticed {
    /// By how much another gateway's 99th percentile rose, as a share of what it is without the flood.
    pub p99_rise: f64,
    /// Approvals a second during the flood, as a share of their peak.
    pub goodput_kept: f64,
    /// From the flood's end until answers were quick again.
    pub recovery: Duration,
    /// Voids that were refused, whoever's.
    pub voids_refused: u64,
}

/// One bound on what may be noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Its name for programs.
    pub name: &'static str,
    /// The figure and the bound, for people.
    pub words: String,
    /// True where the figure is within it.
    pub holds: bool,
}

impl Noticed {
    /// Every bound, with whether it holds. What could not be measured does not.
    pub fn bounds(&self) -> [Bound; 4] {
        let percent = |share: f64| share * 100.0;
        [
            Bound {
                name: "other_gateway_p99_rise",
                words: format!(
                    "the other gateway's p99 rose by {:.0} %, allowed is less than {:.0} %",
                    percent(self.p99_rise),
                    percent(P99_RISE_BELOW)
                ),
                holds: self.p99_rise < P99_RISE_BELOW,
            },
            Bound {
                name: "goodput_of_peak",
                words: format!(
                    "goodput stayed at {:.0} % of its peak, {:.0} % is the least",
                    percent(self.goodput_kept),
                    percent(GOODPUT_KEPT_MIN)
                ),
                holds: self.goodput_kept >= GOODPUT_KEPT_MIN,
            },
            Bound {
                name: "recovery_seconds",
                words: format!(
                    "recovery took {:.2} s, {} s is the most",
                    self.recovery.as_secs_f64(),
                    RECOVERY_MAX.as_secs()
                ),
                holds: self.recovery <= RECOVERY_MAX,
            },
            Bound {
                name: "voids_refused",
                words: format!("{} voids were refused, none may be", self.voids_refused),
                holds: self.voids_refused == 0,
            },
        ]
    }
}

/// Another gateway's 99th percentile rises by less.
const P99_RISE_BELOW: f64 = 0.20;
/// Least goodput under a flood, of its peak.
const GOODPUT_KEPT_MIN: f64 = 0.90;
/// Longest recovery.
const RECOVERY_MAX: Duration = Duration::from_secs(5);
/// Payments under way at most; at the bound beginnings wait, and their waiting counts.
const IN_FLIGHT_MAX: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(intended_ms: u64, took_ms: u64, refused: Option<&str>) -> Answer {
        let ms = Duration::from_millis;
        Answer { intended: ms(intended_ms), took: ms(took_ms), refused: refused.map(str::to_owned), void: None }
    }

    #[test]
    fn a_figure_at_its_bound_or_past_it_and_one_that_is_none_are_told_apart() {
        let held = |noticed: Noticed| noticed.bounds().map(|bound| bound.holds);
        let good = Noticed { p99_rise: 0.19, goodput_kept: 0.90, recovery: Duration::from_secs(5), voids_refused: 0 };
        assert_eq!(held(good), [true; 4]);
        let bad =
            Noticed { p99_rise: 0.20, goodput_kept: 0.89, recovery: Duration::from_millis(5_001), voids_refused: 1 };
        assert_eq!(held(bad), [false; 4]);
        assert_eq!(held(Noticed { p99_rise: f64::NAN, goodput_kept: f64::NAN, ..good }), [false, false, true, true]);
    }

    #[test]
    fn what_begins_in_the_warm_up_does_not_count_and_recovery_ends_with_the_last_that_was_not_well() {
        let offer =
            Offer { per_second: 10, lasts: Duration::from_secs(3), warm_up: Duration::from_secs(1), void_every: 10 };
        let answers = vec![
            answer(0, 5, Some("Unavailable OVERLOADED")),
            answer(900, 900, None),
            answer(1_000, 10, None),
            answer(1_400, 50, None),
            answer(2_000, 20, None),
        ];
        let heard = Heard::of(answers, offer);
        assert_eq!((heard.offered, heard.goodput(), heard.refused.len()), (3, 1.5, 0));
        assert_eq!(heard.recovered_after(Duration::from_millis(40)), Duration::from_millis(1_400));
        assert_eq!(heard.recovered_after(Duration::from_secs(1)), Duration::ZERO, "refused at the very beginning");
    }
}
