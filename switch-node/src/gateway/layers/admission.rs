//! Lets in what this leader can serve, what hurts most to lose first, and sheds the rest before it costs the journal anything.
//!
//! There are two kinds of places. A *moment* is held for a commit or a read: reversals, captures, reads and repeats. A
//! *payment* is held for a whole conversation with a network, which may take seconds, so new payments have places of their
//! own: however many of them wait for a network that is silent, a void finds a place.
//!
//! ```text
//!             ┌ reversals ─┐
//!             │ captures   ├─ first of the first line ──► moments    ≤ limit(commits)
//!  call ──────┤ reads      │                              reads      ≤ a quarter of those, one gateway's half of that
//!             │ repeats  ──┘                              repeats    ≤ half of those
//!             └ payments ──── while no reversal and ────► payments   ≤ min(limit(commits, answers), windows of the links)
//!                             no capture waits
//! ```
//!
//! Reads and repeats have shares, so that a quarter of the moments is never theirs. One that waits for its share holds nothing
//! back; of those that wait for a moment, the first of the first line gets the next.
//!
//! The last sixteenth of the places for payments is for gateways that have no more under way than the others on average.
//!
//! A call that finds a place does not wait. Otherwise it stands in the line of its priority, where gateways take turns, until
//! a place is free, its waiting time is over or its deadline could no longer be met; then it is shed with the time after which
//! it may come back. A place is held until the leader is done with the call, also where the caller has gone (R2): who calls
//! and hangs up takes no more than who waits.

mod limit;
mod limits;
mod line;
#[cfg(test)]
pub(super) mod tests;

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use parking_lot::Mutex;
use switch_domain::{id::GatewayId, outcome::Sent};
use tokio::{
    sync::oneshot,
    time::{Duration, Instant},
};
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;
use tower_layer::Layer;
use tower_service::Service;
use tracing::Instrument as _;

use self::{
    limit::{Limits, Peak},
    line::{Line, Queued},
};
use crate::{
    gateway::{
        call::{Ask, GatewayCall, Told},
        outlook::{Caller, Outlook},
        status::GatewayError,
    },
    telemetry::{self, Shed},
};

/// What a call is worth keeping, the most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// A void: money is held until it is through.
    Reversal,
    /// Money that was promised.
    Capture,
    /// A look.
    Read,
    /// A key that the table has: its answer is stored, or on its way.
    Replay,
    /// New money. Who is refused may pay elsewhere.
    Payment,
}

impl Priority {
    /// Every priority, in order.
    pub const ALL: [Self; 5] = [Self::Reversal, Self::Capture, Self::Read, Self::Replay, Self::Payment];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reversal => "reversal",
            Self::Capture => "capture",
            Self::Read => "read",
            Self::Replay => "replay",
            Self::Payment => "payment",
        }
    }

    /// Whether anything may have left the switch under the key of a call that is refused before the handler sees it: that of
    /// a repeat has an operation, and what became of it is not told.
    pub(super) fn sent(self) -> Sent {
        match self {
            Self::Replay => Sent::Unknown,
            Self::Reversal | Self::Capture | Self::Read | Self::Payment => Sent::NotSent,
        }
    }

    fn of(outlook: &dyn Outlook, gateway: &GatewayId, ask: &Ask) -> Self {
        match ask {
            Ask::Void(_) => Self::Reversal,
            Ask::Capture(_) => Self::Capture,
            Ask::Authorize(_) | Ask::Increment(_) | Ask::Refund(_) | Ask::Verify(_) => {
                if outlook.is_known(gateway, ask) { Self::Replay } else { Self::Payment }
            }
        }
    }
}

/// A call that has a place. Only admission makes one, so the layers behind it cannot stand before it.
pub struct Admitted {
    /// The call.
    pub call: GatewayCall,
    /// Whose.
    pub caller: Caller,
    /// What it counts as.
    pub priority: Priority,
}

/// The places of a node.
pub struct Admission {
    outlook: Arc<dyn Outlook>,
    state: Mutex<State>,
}

impl Admission {
    /// Of a node that has just started.
    pub fn new(outlook: Arc<dyn Outlook>) -> Arc<Self> {
        for priority in Priority::ALL {
            telemetry::priority_known(priority.name());
        }
        let state = State {
            limits: Limits::default(),
            room: outlook.room(),
            under_way: Default::default(),
            peak: Peak::default(),
            lines: Priority::ALL.map(|priority| Line::new(priority.waiting_max())),
            looked: Instant::now(),
        };
        Arc::new(Self { outlook, state: Mutex::new(state) })
    }

    /// Waits for a place.
    ///
    /// # Errors
    /// [`GatewayError::Overloaded`]: nothing was begun.
    pub async fn enter(
        self: &Arc<Self>,
        priority: Priority,
        gateway: &GatewayId,
        deadline: Instant,
    ) -> Result<Place, GatewayError> {
        let now = Instant::now();
        let (mut waiting, until) = {
            let mut state = self.state.lock();
            self.look(&mut state, now);
            if !state.overtakes(priority, gateway) && state.has_place(priority, gateway) {
                state.take(priority, gateway);
                telemetry::admitted(priority.name());
                return Ok(Place { admission: self.clone(), priority, gateway: gateway.clone() });
            }
            let latest = deadline.checked_sub(self.needs(priority)).unwrap_or(now);
            let until = now.checked_add(priority.wait_max()).map_or(latest, |until| until.min(latest));
            if until <= now {
                return Err(shed(priority, Shed::Late));
            }
            let (granted, waiting) = oneshot::channel();
            let ticket = match state.line(priority).push(gateway, granted) {
                Queued::Waits(ticket) | Queued::InPlaceOf(_, ticket) => ticket, // dropped, the other one hears of it
                Queued::Full => return Err(shed(priority, Shed::Full)),
            };
            telemetry::queued(priority.name(), state.line(priority).len());
            let gateway = gateway.clone();
            (Waiting { admission: self, priority, gateway, ticket, granted: waiting, is_over: false }, until)
        };
        match tokio::time::timeout_at(until, &mut waiting.granted).await {
            Ok(Ok(())) => {
                waiting.is_over = true;
                telemetry::admitted(priority.name());
                Ok(Place { admission: self.clone(), priority, gateway: gateway.clone() })
            }
            Ok(Err(_)) => Err(shed(priority, Shed::Full)),
            Err(_) => Err(shed(priority, Shed::Late)),
        }
    }

    /// What a call must have left of its time when it is let in.
    fn needs(&self, priority: Priority) -> Duration {
        match priority {
            Priority::Payment => self.outlook.payment_needs(),
            // A commit or a read, as slow as a good one may be.
            Priority::Reversal | Priority::Capture | Priority::Read | Priority::Replay => limits::COMMIT_GOOD,
        }
    }

    /// Adapts the limits when it is time to, and lets in whom they have room for.
    fn look(&self, state: &mut State, now: Instant) {
        if now.saturating_duration_since(state.looked) < limits::LOOK_EVERY {
            return;
        }
        state.looked = now;
        let now = state.now();
        let peak = std::mem::replace(&mut state.peak, now);
        state.limits.adapt(&self.outlook.pace(), peak);
        state.room = self.outlook.room();
        telemetry::admission_limits(state.payments_max(), state.limits.moments());
        state.let_in();
    }
}

struct State {
    limits: Limits,
    /// Windows of the links in service, together.
    room: u32,
    /// Places taken, by priority.
    under_way: [Taken; 5],
    peak: Peak,
    lines: [Line<oneshot::Sender<()>>; 5],
    looked: Instant,
}

impl State {
    fn line(&mut self, priority: Priority) -> &mut Line<oneshot::Sender<()>> {
        &mut self.lines[priority as usize]
    }

    fn taken(&self, priority: Priority) -> &Taken {
        &self.under_way[priority as usize]
    }

    fn now(&self) -> Peak {
        let payments = self.taken(Priority::Payment).places;
        Peak { payments, moments: self.under_way.iter().map(|taken| taken.places).sum::<u32>() - payments }
    }

    fn payments_max(&self) -> u32 {
        // Without a link in service payments are declined at once: they need no room there.
        if self.room == 0 { limits::PAYMENTS_UNSERVED } else { self.limits.payments().min(self.room) }
    }

    /// True where somebody of the same priority waits who could go first.
    fn overtakes(&self, priority: Priority, gateway: &GatewayId) -> bool {
        let line = &self.lines[priority as usize];
        match priority {
            // Of other gateways nobody waits who may go: they would have gone.
            Priority::Read | Priority::Payment => line.waits(gateway),
            Priority::Reversal | Priority::Capture | Priority::Replay => !line.is_empty(),
        }
    }

    /// True where one more of this priority may be under way, and no reversal or capture waits that is worth more.
    fn has_place(&self, priority: Priority, gateway: &GatewayId) -> bool {
        let (now, moments_max) = (self.now(), self.limits.moments());
        // Reads and repeats are no reason to hold anybody back: who waits for its share does so while moments are free, and who
        // waits for a moment is asked first when there is one.
        let overtaken = Priority::ALL.iter().filter(|other| **other < priority.min(Priority::Read));
        if overtaken.map(|other| self.lines[*other as usize].len()).sum::<usize>() > 0 {
            return false;
        }
        let own = self.taken(priority).of(gateway);
        match priority {
            Priority::Reversal | Priority::Capture => now.moments < moments_max,
            Priority::Read => {
                let reads_max = moments_max / limits::READS_SHARE;
                now.moments < moments_max
                    && self.taken(Priority::Read).places < reads_max
                    && own < reads_max / limits::READS_SHARE_OF_ONE
            }
            Priority::Replay => {
                now.moments < moments_max && self.taken(Priority::Replay).places < moments_max / limits::REPEATS_SHARE
            }
            Priority::Payment => {
                let payments_max = self.payments_max();
                let payers = self.taken(Priority::Payment).by_gateway.len() + usize::from(own == 0);
                let is_modest = own as usize * payers <= now.payments as usize;
                now.payments < payments_max
                    && (is_modest || now.payments < payments_max - payments_max / limits::MODEST_SHARE)
            }
        }
    }

    fn take(&mut self, priority: Priority, gateway: &GatewayId) {
        self.under_way[priority as usize].add(gateway);
        let now = self.now();
        self.peak.payments = self.peak.payments.max(now.payments);
        self.peak.moments = self.peak.moments.max(now.moments);
    }

    /// Gives free places to whoever waits, in order.
    fn let_in(&mut self) {
        for priority in Priority::ALL {
            while let Some((gateway, waiter)) = self.next(priority) {
                // One who has gone leaves the line first, so this is heard.
                if waiter.send(()).is_ok() {
                    self.take(priority, &gateway);
                }
                telemetry::queued(priority.name(), self.line(priority).len());
            }
        }
    }

    /// The next of a line who may go now.
    fn next(&mut self, priority: Priority) -> Option<(GatewayId, oneshot::Sender<()>)> {
        if self.line(priority).is_empty() {
            return None;
        }
        // Taken out for the look at the rest: a line is three pointers and numbers.
        let mut line = std::mem::replace(self.line(priority), Line::new(0));
        let next = line.pop(|gateway| self.has_place(priority, gateway));
        *self.line(priority) = line;
        next
    }

    fn free(&mut self, priority: Priority, gateway: &GatewayId) {
        self.under_way[priority as usize].remove(gateway);
    }
}

/// Places of one priority that are taken.
#[derive(Default)]
struct Taken {
    places: u32,
    /// Never a gateway with none.
    by_gateway: HashMap<GatewayId, u32>,
}

impl Taken {
    fn of(&self, gateway: &GatewayId) -> u32 {
        self.by_gateway.get(gateway).copied().unwrap_or_default()
    }

    fn add(&mut self, gateway: &GatewayId) {
        self.places += 1;
        *self.by_gateway.entry(gateway.clone()).or_default() += 1;
    }

    fn remove(&mut self, gateway: &GatewayId) {
        self.places -= 1;
        if let Some(own) = self.by_gateway.get_mut(gateway) {
            *own -= 1;
            if *own == 0 {
                self.by_gateway.remove(gateway);
            }
        }
    }
}

/// One who waits in a line. Dropped, it leaves.
struct Waiting<'a> {
    admission: &'a Arc<Admission>,
    priority: Priority,
    gateway: GatewayId,
    ticket: u64,
    granted: oneshot::Receiver<()>,
    is_over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut state = self.admission.state.lock();
        if state.line(self.priority).leave(&self.gateway, self.ticket) {
            telemetry::queued(self.priority.name(), state.line(self.priority).len());
        } else if self.granted.try_recv().is_ok() {
            // Given a place in the very moment of leaving: it goes to the next.
            state.free(self.priority, &self.gateway);
            state.let_in();
        }
    }
}

/// A place, free again when dropped.
pub struct Place {
    admission: Arc<Admission>,
    priority: Priority,
    gateway: GatewayId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.admission.state.lock();
        state.free(self.priority, &self.gateway);
        self.admission.look(&mut state, Instant::now());
        state.let_in();
    }
}

fn shed(priority: Priority, why: Shed) -> GatewayError {
    telemetry::shed(priority.name(), why);
    GatewayError::Overloaded { retry_after: priority.retry_after(), sent: priority.sent() }
}

/// Puts [`Admit`] around a service.
#[derive(Clone)]
pub struct AdmissionLayer {
    admission: Arc<Admission>,
    tasks: TaskTracker,
}

impl AdmissionLayer {
    /// With a node's places; calls that have one run in `tasks`.
    pub fn new(admission: Arc<Admission>, tasks: TaskTracker) -> Self {
        Self { admission, tasks }
    }
}

impl<S> Layer<S> for AdmissionLayer {
    type Service = Admit<S>;

    fn layer(&self, inner: S) -> Admit<S> {
        Admit { inner, admission: self.admission.clone(), tasks: self.tasks.clone() }
    }
}

/// Serves calls that find a place.
#[derive(Clone)]
pub struct Admit<S> {
    inner: S,
    admission: Arc<Admission>,
    tasks: TaskTracker,
}

impl<S> Service<GatewayCall> for Admit<S>
where
    S: Service<Admitted, Response = Told, Error = GatewayError> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Told;
    type Error = GatewayError;
    type Future = Pin<Box<dyn Future<Output = Result<Told, GatewayError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), GatewayError>> {
        Poll::Ready(Ok(())) // what is behind is asked once there is a place
    }

    fn call(&mut self, call: GatewayCall) -> Self::Future {
        let (inner, admission, tasks) = (self.inner.clone(), self.admission.clone(), self.tasks.clone());
        Box::pin(async move {
            let deadline = call.deadline.ok_or(GatewayError::DeadlineMissing)?;
            let outlook = admission.outlook.as_ref();
            let caller = outlook.caller(&call.principal).ok_or(GatewayError::UnknownPrincipal)?;
            let priority = Priority::of(outlook, &caller.gateway, &call.ask);
            let place = admission.enter(priority, &caller.gateway, deadline).await?;
            // In a task of its own, so that a caller who hangs up gives no place back that is still used.
            let serving = async move {
                let told = inner.oneshot(Admitted { call, caller, priority }).await;
                drop(place);
                told
            };
            tasks.spawn(serving.in_current_span()).await.unwrap_or(Err(GatewayError::OutcomeUnknown))
        })
    }
}
