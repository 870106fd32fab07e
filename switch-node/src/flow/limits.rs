//! Every bound of the path, with its reason.

use std::time::Duration;

/// Flows under way on one node. Past it nothing new is opened; what is under way ends by its own timers.
pub const FLOWS_MAX: usize = 16_384;

/// How long a committed decision may take to be applied here after the leader took the evidence for it.
pub const APPLY_MAX: Duration = Duration::from_secs(10);
