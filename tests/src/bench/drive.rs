//! A closed loop: callers that call again as soon as they are answered, and how long each answer took.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use tokio::task::JoinSet;

/// How long a round is, and from when on it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Calls that begin earlier warm up.
    pub counted_from: Instant,
    /// No call begins later.
    pub until: Instant,
}

impl Span {
    /// `counted`, after `warm_up` from now on.
    pub fn after(warm_up: Duration, counted: Duration) -> Self {
        let counted_from = Instant::now() + warm_up;
        Self { counted_from, until: counted_from + counted }
    }

    /// What counts.
    pub fn counted(&self) -> Duration {
        self.until - self.counted_from
    }
}

/// One that calls.
pub trait Caller: Send + 'static {
    /// One call, repeated until it is answered. `false`: there is nothing left to ask.
    fn call(&mut self) -> impl Future<Output = anyhow::Result<bool>> + Send;
}

/// Latencies of calls that counted, in microseconds.
pub type Latencies = Histogram<u64>;

/// An empty histogram of everything between a microsecond and five minutes.
pub fn latencies() -> Latencies {
    Histogram::new_with_bounds(1, 300_000_000, 3).expect("one microsecond to five minutes")
}

/// Lets every caller call in turns of its own until the span ends.
pub async fn closed<C: Caller>(callers: Vec<C>, span: Span) -> anyhow::Result<Latencies> {
    let each = callers.into_iter().map(|mut caller| async move {
        let mut own = latencies();
        loop {
            let began = Instant::now();
            if began > span.until || !caller.call().await? {
                return Ok(own);
            }
            if began >= span.counted_from {
                own.saturating_record(micros(began.elapsed()));
            }
        }
    });
    together(each, span).await
}

/// Runs tasks to their ends and adds up what they measured.
pub async fn together<F>(tasks: impl Iterator<Item = F>, span: Span) -> anyhow::Result<Latencies>
where
    F: Future<Output = anyhow::Result<Latencies>> + Send + 'static,
{
    let mut running: JoinSet<_> = tasks.collect();
    let mut all = latencies();
    let overdue = tokio::time::Instant::from_std(span.until) + OVERDUE_AFTER;
    while let Some(ended) = tokio::time::timeout_at(overdue, running.join_next()).await.context("calls hang")? {
        let own = ended.context("a caller panicked")??;
        all.add(&own).context("every histogram has the same bounds")?;
    }
    Ok(all)
}

/// A duration in whole microseconds.
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Longest that the last calls may take: longer than any deadline with its repetitions.
const OVERDUE_AFTER: Duration = Duration::from_secs(60);
