//! What a gateway may call: a token bucket and a number of payments under way, as its record in the directory says. They live
//! on the leader, where every call comes by, so they are exact across the cluster; a new leader starts each bucket with one
//! second's worth.
//!
//! There are two buckets a gateway. New payments take from the first. Captures, voids and repeats of known keys take from the
//! second, which is filled [`FOLLOW_UPS_EACH`] times as fast: a gateway that pays too fast can still cancel, capture and learn
//! what it did, and since voids of keys that nobody has seen leave tombstones (R12), those are bounded too. Refunds and
//! increments ask a network for money and count as payments.
//!
//! Payments under way are counted until the leader is done with them, also where the caller has gone (R2). A limit that is
//! changed holds from the next call on; what is under way stays.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use parking_lot::Mutex;
use switch_domain::id::{GatewayId, LeaderId};
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

use super::admission::{Admitted, Priority};
use crate::{
    gateway::{
        call::{GatewayCall, Told},
        outlook::{Caller, Outlook},
        status::GatewayError,
    },
    telemetry::{self, CallLimit, seldom::Seldom},
};

/// Follow-ups a second for each new payment a second: a capture, a void and two repeats.
pub const FOLLOW_UPS_EACH: u32 = 4;

/// When to come back where too many payments are under way: most end within this.
const UNDER_WAY_RETRY: Duration = Duration::from_millis(250);

/// Accounts kept before those of gateways that have nothing under way are looked through. Twice what the directory holds: the
/// rest are gateways that were removed.
const ACCOUNTS_MAX: usize = 2 * switch_domain::limits::DIRECTORY_RECORDS_MAX;

/// The accounts of all gateways on a node.
pub struct Rates {
    outlook: Arc<dyn Outlook>,
    accounts: Mutex<Accounts>,
    /// Lines of the log that say whose calls are refused.
    refusals: Seldom,
}

impl Rates {
    /// Of a node that has just started.
    pub fn new(outlook: Arc<dyn Outlook>) -> Arc<Self> {
        Arc::new(Self { outlook, accounts: Mutex::default(), refusals: Seldom::default() })
    }

    /// Takes what one call costs. The guard counts a payment until it is dropped.
    ///
    /// # Errors
    /// [`GatewayError::RateExceeded`], [`GatewayError::TooManyUnderWay`]: nothing was taken.
    pub fn take(
        self: &Arc<Self>,
        caller: &Caller,
        priority: Priority,
        now: Instant,
    ) -> Result<Option<UnderWay>, GatewayError> {
        let Caller { gateway, limits } = caller;
        let mut accounts = self.accounts.lock();
        accounts.reign(self.outlook.reign());
        let account = accounts.of(gateway);
        let is_payment = match priority {
            Priority::Payment => true,
            Priority::Reversal | Priority::Capture | Priority::Read | Priority::Replay => false,
        };
        // First, for it takes nothing.
        if is_payment && limits.concurrent > 0 && account.under_way >= limits.concurrent {
            telemetry::call_refused(CallLimit::UnderWay);
            return Err(GatewayError::TooManyUnderWay {
                gateway: gateway.clone(),
                payments_max: limits.concurrent,
                retry_after: UNDER_WAY_RETRY,
            });
        }
        if limits.requests_per_second > 0 {
            let (bucket, each, limit) = match is_payment {
                true => (&mut account.payments, 1, CallLimit::Payments),
                false => (&mut account.follow_ups, FOLLOW_UPS_EACH, CallLimit::FollowUps),
            };
            let burst = if limits.burst == 0 { limits.requests_per_second } else { limits.burst };
            let flow = Inflow {
                per_second: u64::from(limits.requests_per_second) * u64::from(each),
                most: u64::from(burst) * u64::from(each),
            };
            bucket.get_or_insert_with(|| Bucket::new(flow, now)).take(flow, now).map_err(|retry_after| {
                telemetry::call_refused(limit);
                let calls_per_second_max = u32::try_from(flow.per_second).unwrap_or(u32::MAX);
                let (gateway, sent) = (gateway.clone(), priority.sent());
                GatewayError::RateExceeded { gateway, calls_per_second_max, retry_after, sent }
            })?;
        }
        if !is_payment {
            return Ok(None);
        }
        account.under_way += 1;
        Ok(Some(UnderWay { rates: self.clone(), gateway: gateway.clone() }))
    }
}

#[derive(Default)]
struct Accounts {
    reign: Option<LeaderId>,
    by_gateway: HashMap<GatewayId, Account>,
}

#[derive(Default)]
struct Account {
    /// `None` until the first call of a reign.
    payments: Option<Bucket>,
    follow_ups: Option<Bucket>,
    under_way: u32,
}

impl Accounts {
    /// In a new reign nobody knows what was called under the one before: every bucket starts anew.
    fn reign(&mut self, reign: Option<LeaderId>) {
        if self.reign == reign {
            return;
        }
        self.reign = reign;
        self.by_gateway.retain(|_, account| {
            *account = Account { under_way: account.under_way, ..Account::default() };
            account.under_way > 0
        });
    }

    fn of(&mut self, gateway: &GatewayId) -> &mut Account {
        if self.by_gateway.len() > ACCOUNTS_MAX {
            self.by_gateway.retain(|_, account| account.under_way > 0);
        }
        self.by_gateway.entry(gateway.clone()).or_default()
    }
}

/// How a bucket is filled.
#[derive(Clone, Copy)]
struct Inflow {
    /// Calls a second.
    per_second: u64,
    /// Calls it holds at most.
    most: u64,
}

/// Calls that may be made, in millionths: a microsecond at one call a second is one of them, so nothing is rounded.
struct Bucket {
    millionths: u64,
    filled: Instant,
}

const CALL: u64 = 1_000_000;

impl Bucket {
    /// One second's worth, or what it holds.
    fn new(flow: Inflow, now: Instant) -> Self {
        Self { millionths: flow.per_second.min(flow.most) * CALL, filled: now }
    }

    /// Takes one call, or says when there will be one.
    fn take(&mut self, flow: Inflow, now: Instant) -> Result<(), Duration> {
        let elapsed = now.saturating_duration_since(self.filled).as_micros();
        let elapsed = u64::try_from(elapsed).unwrap_or(u64::MAX);
        let inflow = elapsed.saturating_mul(flow.per_second);
        self.millionths = self.millionths.saturating_add(inflow).min(flow.most * CALL);
        self.filled += Duration::from_micros(elapsed); // what is less than a microsecond counts next time
        match self.millionths.checked_sub(CALL) {
            Some(left) => {
                self.millionths = left;
                Ok(())
            }
            None => Err(Duration::from_micros((CALL - self.millionths).div_ceil(flow.per_second))),
        }
    }
}

/// A payment under way.
pub struct UnderWay {
    rates: Arc<Rates>,
    gateway: GatewayId,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(account) = self.rates.accounts.lock().by_gateway.get_mut(&self.gateway) {
            account.under_way = account.under_way.saturating_sub(1);
        }
    }
}

/// Puts [`Rate`] around a service.
#[derive(Clone)]
pub struct RateLayer {
    rates: Arc<Rates>,
}

impl RateLayer {
    /// With a node's accounts.
    pub fn new(rates: Arc<Rates>) -> Self {
        Self { rates }
    }
}

impl<S> Layer<S> for RateLayer {
    type Service = Rate<S>;

    fn layer(&self, inner: S) -> Rate<S> {
        Rate { inner, rates: self.rates.clone() }
    }
}

/// Serves calls that their gateway may make.
#[derive(Clone)]
pub struct Rate<S> {
    inner: S,
    rates: Arc<Rates>,
}

impl<S> Service<Admitted> for Rate<S>
where
    S: Service<GatewayCall, Response = Told, Error = GatewayError>,
    S::Future: Send + 'static,
{
    type Response = Told;
    type Error = GatewayError;
    type Future = Pin<Box<dyn Future<Output = Result<Told, GatewayError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), GatewayError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, admitted: Admitted) -> Self::Future {
        let Admitted { call, caller, priority } = admitted;
        match self.rates.take(&caller, priority, Instant::now()) {
            Ok(under_way) => {
                let answer = self.inner.call(call);
                Box::pin(async move {
                    let told = answer.await;
                    drop(under_way);
                    told
                })
            }
            Err(over) => {
                if self.rates.refusals.is_due() {
                    let reason = over.status();
                    tracing::warn!(gateway = %caller.gateway, "call above a limit: {}", reason.message());
                }
                Box::pin(std::future::ready(Err(over)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use switch_domain::outcome::Sent;
    use tower::{ServiceBuilder, ServiceExt as _, service_fn};

    use super::*;
    use crate::{
        gateway::layers::admission::tests::{FakeOutlook, called, payment, void},
        telemetry::seldom::tests::Lines,
    };

    /// A stack of rate alone.
    struct Till {
        outlook: Arc<FakeOutlook>,
        rates: Arc<Rates>,
    }

    impl Till {
        fn new(requests_per_second: u32, burst: u32, concurrent: u32) -> Self {
            let outlook = FakeOutlook::new();
            outlook.limit(requests_per_second, burst, concurrent);
            Self { rates: Rates::new(outlook.clone()), outlook }
        }

        fn take(&self, priority: Priority) -> Result<Option<UnderWay>, GatewayError> {
            let caller = self.outlook.caller("spiffe://test/gateway/shop").expect("a gateway");
            self.rates.take(&caller, priority, Instant::now())
        }

        /// Calls that are let through before the first that is not.
        fn run(&self, priority: Priority) -> usize {
            std::iter::from_fn(|| self.take(priority).ok()).take(10_000).count()
        }
    }

    async fn pass(time: Duration) {
        tokio::time::advance(time).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_bucket_gives_its_rate_and_no_more() {
        let till = Till::new(50, 0, 0);
        assert_eq!(till.run(Priority::Payment), 50, "one second's worth at the start");
        let Err(GatewayError::RateExceeded { calls_per_second_max, retry_after, .. }) = till.take(Priority::Payment)
        else {
            panic!("the bucket is empty")
        };
        assert_eq!((calls_per_second_max, retry_after), (50, Duration::from_millis(20)));
        pass(retry_after).await;
        assert_eq!(till.run(Priority::Payment), 1, "when it was told to come back");
        let mut through = 0;
        for _ in 0..1_000 {
            pass(Duration::from_micros(10_007)).await; // 10.007 s in all
            through += till.run(Priority::Payment);
        }
        assert_eq!(through, 500);
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_saved_up_and_is_not_there_at_the_start() {
        let till = Till::new(10, 100, 0);
        assert_eq!(till.run(Priority::Payment), 10);
        pass(Duration::from_secs(3)).await;
        assert_eq!(till.run(Priority::Payment), 30);
        pass(Duration::from_secs(3_600)).await;
        assert_eq!(till.run(Priority::Payment), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_reign_starts_with_one_seconds_worth() {
        let till = Till::new(10, 100, 0);
        pass(Duration::from_secs(60)).await;
        assert_eq!(till.run(Priority::Payment), 10);
        till.outlook.reigns(2);
        assert_eq!(till.run(Priority::Payment), 10);
        assert_eq!(till.run(Priority::Payment), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_is_changed_holds_from_the_next_call_on() {
        let till = Till::new(10, 0, 0);
        assert_eq!(till.run(Priority::Payment), 10);
        till.outlook.limit(1_000, 0, 0);
        pass(Duration::from_millis(100)).await;
        assert_eq!(till.run(Priority::Payment), 100);
        pass(Duration::from_secs(10)).await;
        till.outlook.limit(5, 0, 0);
        assert_eq!(till.run(Priority::Payment), 5, "what was saved under the old limit is cut");
        till.outlook.limit(0, 0, 0);
        assert_eq!(till.run(Priority::Payment), 10_000, "no limit");
    }

    #[tokio::test(start_paused = true)]
    async fn r12_voids_and_repeats_have_a_bucket_of_their_own_which_ends_too() {
        let till = Till::new(10, 0, 0);
        assert_eq!(till.run(Priority::Payment), 10);
        assert_eq!(till.run(Priority::Reversal), 40);
        assert!(matches!(
            till.take(Priority::Replay),
            Err(GatewayError::RateExceeded { calls_per_second_max: 40, .. })
        ));
        pass(Duration::from_millis(25)).await;
        assert_eq!(till.run(Priority::Capture), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_repeat_that_is_refused_is_not_told_that_nothing_was_sent() {
        let till = Till::new(10, 0, 0);
        for (priority, calls, told) in [(Priority::Payment, 10, Sent::NotSent), (Priority::Replay, 40, Sent::Unknown)] {
            assert_eq!(till.run(priority), calls);
            let Err(GatewayError::RateExceeded { sent, .. }) = till.take(priority) else {
                panic!("the bucket is empty")
            };
            assert_eq!(sent, told, "{priority:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn payments_under_way_are_counted_until_they_end_and_cost_no_token_where_there_is_no_place() {
        let till = Till::new(10, 0, 3);
        let held: Vec<_> = (0..3).map(|_| till.take(Priority::Payment).expect("a place")).collect();
        for _ in 0..20 {
            assert!(matches!(till.take(Priority::Payment), Err(GatewayError::TooManyUnderWay { payments_max: 3, .. })));
        }
        assert_eq!(till.run(Priority::Reversal), 40, "a void is no payment");
        till.outlook.reigns(2);
        assert!(till.take(Priority::Payment).is_err(), "a new reign does not end what is under way");
        drop(held);
        assert_eq!(till.run(Priority::Payment), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn one_gateways_calls_are_not_anothers() {
        let till = Till::new(10, 0, 0);
        assert_eq!(till.run(Priority::Payment), 10);
        let market = till.outlook.caller("spiffe://test/gateway/market").expect("a gateway");
        assert!(till.rates.take(&market, Priority::Payment, Instant::now()).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_refused_does_not_reach_what_is_behind_and_the_log_names_the_gateway() {
        let till = Till::new(1, 0, 0);
        let lines = Lines::default();
        let _logged = lines.of_this_thread();
        let service = ServiceBuilder::new().layer(RateLayer::new(till.rates.clone())).service(service_fn(
            |call: GatewayCall| async move { Ok(Told::of(call.ask.method(), Default::default())) },
        ));
        assert!(service.clone().oneshot(called(&till.outlook, payment("a"))).await.is_ok());
        let over = service.clone().oneshot(called(&till.outlook, payment("b"))).await;
        assert!(matches!(over, Err(GatewayError::RateExceeded { .. })), "{over:?}");
        let said = lines.take();
        assert!(said.contains("gateway=shop") && said.lines().count() == 1, "{said}");
        assert!(service.oneshot(called(&till.outlook, void("c"))).await.is_ok());
    }
}
