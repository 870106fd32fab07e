//! One invariant a file; each adds what it finds and stops at nothing.

pub(super) mod complaints;
pub(super) mod intent;
pub(super) mod invented;
pub(super) mod money;
pub(super) mod order;
pub(super) mod reads;
pub(super) mod replicas;
pub(super) mod reversals;
pub(super) mod same_answer;
pub(super) mod single_charge;
pub(super) mod told;
