//! Waiting for a condition within a bound, never for a time: the only way to wait in these suites.

use std::{
    fmt::Display,
    future::Future,
    time::{Duration, Instant},
};

/// How long a condition that does not hold rests before it is looked at again.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Something that holds, or says why it does not hold yet.
pub trait Condition {
    /// What is known once it holds.
    type Held;

    /// The held value, or the reason.
    fn held(self) -> Result<Self::Held, String>;
}

impl Condition for bool {
    type Held = ();

    fn held(self) -> Result<(), String> {
        if self { Ok(()) } else { Err("not so yet".to_owned()) }
    }
}

impl<T> Condition for Option<T> {
    type Held = T;

    fn held(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing yet".to_owned())
    }
}

impl<T, E: Display> Condition for Result<T, E> {
    type Held = T;

    fn held(self) -> Result<T, String> {
        self.map_err(|error| format!("{error:#}"))
    }
}

/// Looks at `condition` until it holds. After `within` it fails with `what` and the last reason.
pub async fn eventually<F, Fut, C>(within: Duration, what: &str, mut condition: F) -> anyhow::Result<C::Held>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = C>,
    C: Condition,
{
    let deadline = Instant::now() + within;
    let mut reason = "never looked".to_owned();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            anyhow::bail!("{what}: not within {within:?}; last: {reason}");
        }
        match tokio::time::timeout(left, condition()).await {
            Ok(seen) => match seen.held() {
                Ok(held) => return Ok(held),
                Err(why) => reason = why,
            },
            Err(_) if reason == "never looked" => reason = "the look itself took longer".to_owned(),
            Err(_) => {}
        }
        tokio::time::sleep(POLL_INTERVAL.min(deadline.saturating_duration_since(Instant::now()))).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_condition_that_never_holds_fails_with_its_last_reason() {
        let error = eventually(Duration::from_millis(50), "the moon", || async { Err::<(), _>("still blue") })
            .await
            .expect_err("it never holds");
        assert_eq!(error.to_string(), "the moon: not within 50ms; last: still blue");
    }

    #[tokio::test]
    async fn a_look_that_hangs_is_cut_at_the_bound() {
        let error = eventually(Duration::from_millis(50), "a hung look", std::future::pending::<bool>)
            .await
            .expect_err("it never returns");
        assert_eq!(error.to_string(), "a hung look: not within 50ms; last: the look itself took longer");
    }
}
