//! The equation of rule R21, in exact integers.

use crate::sandbox::proto;

/// Money of one transaction, or of all transactions in one currency.
///
/// 64 bits hold nine million amounts of 10^12 − 1, the largest that a message can carry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// Approved by authorizations, increments and sales.
    pub approved: i64,
    /// Of it, undone by reversals.
    pub reversed: i64,
    /// Of it, released as a remainder.
    pub released: i64,
    /// Of it, captured by advices and by sales that stand.
    pub captured: i64,
    /// Refunds that stand.
    pub refunded: i64,
}

impl Sums {
    /// What is left of the approvals. Negative where more was captured or released than stood.
    pub fn held(&self) -> i64 {
        self.approved - self.reversed - self.released - self.captured
    }

    /// Adds a change, each part of which may be negative.
    ///
    /// # Panics
    /// Where a sum leaves 64 bits: wrong books are worse than none.
    pub fn add(&mut self, change: &Self) {
        let sum = |a: i64, b: i64| a.checked_add(b).expect("sum within 64 bits");
        self.approved = sum(self.approved, change.approved);
        self.reversed = sum(self.reversed, change.reversed);
        self.released = sum(self.released, change.released);
        self.captured = sum(self.captured, change.captured);
        self.refunded = sum(self.refunded, change.refunded);
    }
}

impl From<&Sums> for proto::Sums {
    fn from(sums: &Sums) -> Self {
        Self {
            approved_minor_units: sums.approved,
            reversed_minor_units: sums.reversed,
            released_minor_units: sums.released,
            captured_minor_units: sums.captured,
            held_minor_units: sums.held(),
            refunded_minor_units: sums.refunded,
        }
    }
}
