//! What the rules say about age: which payments may be forgotten (R9), and by whose clock (R8).

use super::{
    act::Expected,
    payment::{Payment, What},
    reference::Reference,
};

const DAY_MS: u64 = 86_400_000;
const HOUR_MS: u64 = 3_600_000;

/// Clocks as far as somebody has looked at them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Clocks {
    /// Nobody has complained.
    #[default]
    Agree,
    /// Somebody has: all that goes by age waits.
    Disputed,
    /// An operator has said that a wall clock is right which is so many milliseconds ahead.
    Accepted(i128),
}

fn ahead(wall: u64, now: u64) -> i128 {
    i128::from(wall) - i128::from(now)
}

impl Reference {
    pub(super) fn reads_clock(&mut self, wall: u64) -> Expected {
        let ahead = ahead(wall, self.now);
        let close = |to: i128| (ahead - to).unsigned_abs() <= u128::from(HOUR_MS);
        let next = match self.clocks {
            Clocks::Disputed => return Expected::Ignored,
            Clocks::Agree if close(0) => return Expected::Ignored,
            Clocks::Accepted(_) if close(0) => Clocks::Agree,
            Clocks::Accepted(accepted) if close(accepted) => return Expected::Ignored,
            Clocks::Agree | Clocks::Accepted(_) => Clocks::Disputed,
        };
        self.clocks = next;
        Expected::Noted
    }

    pub(super) fn accepts_clock(&mut self, wall: u64) -> Expected {
        if !matches!(self.clocks, Clocks::Disputed) {
            return Expected::Ignored;
        }
        self.clocks = Clocks::Accepted(ahead(wall, self.now));
        Expected::Noted
    }

    /// True where a key of that age may be one of those that were forgotten.
    pub(super) fn is_too_old(&self, age_ms: u64) -> bool {
        age_ms > 400 * DAY_MS || (age_ms > 0 && self.forgotten.is_some_and(|last| self.now - age_ms <= last))
    }

    pub(super) fn forget(&mut self, gateway: u8, id: u128, last_event: u64, days: u32, window_days: u32) -> Expected {
        let Some(place) = self.find(gateway, id) else { return Expected::Ignored };
        let days = if days == 0 { 400 } else { u64::from(days).max(180) };
        let window_days = if window_days == 0 { 180 } else { u64::from(window_days) };
        let payment = &self.payments[place];
        let needed = self.now - last_event <= days * DAY_MS
            || is_unsettled(payment)
            || self.now <= payment.valid_until
            || may_be_returned(payment, self.now, window_days * DAY_MS);
        if needed || matches!(self.clocks, Clocks::Disputed) {
            return Expected::Ignored;
        }
        self.payments.remove(place);
        self.forgotten = self.forgotten.max(Some(last_event));
        Expected::Noted
    }
}

fn is_unsettled(payment: &Payment) -> bool {
    payment.asks.iter().any(|ask| {
        let debts =
            ask.tries.iter().filter_map(|one| one.debt.as_ref()).chain(ask.advice.as_ref().map(|(_, debt)| debt));
        ask.told.is_none()
            || debts.into_iter().any(|debt| !debt.state.is_over())
            || (ask.what != What::Check && ask.tries.iter().any(|one| one.is_doubtful()))
    })
}

fn may_be_returned(payment: &Payment, now: u64, window_ms: u64) -> bool {
    let sums = payment.sums();
    let takes = |what: What| match what {
        What::Take => true,
        What::Pay | What::Raise => payment.sale,
        What::Check | What::Cancel | What::Return => false,
    };
    let last = payment.asks.iter().filter(|ask| takes(ask.what)).map(|ask| ask.at).max();
    sums.captured > sums.refunded && last.is_some_and(|last| now - last <= window_ms)
}
