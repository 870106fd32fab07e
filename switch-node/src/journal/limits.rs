//! Every bound of the journal, with its reason.

use std::time::Duration;

/// Commands in one pack: at 30,000 commands a second a pack then waits for no more than it would take to fsync it.
pub const PACK_COMMANDS_MAX: usize = 512;

/// Packs in flight: while one is on its way to the disks the next one fills.
pub const PACKS_IN_FLIGHT: usize = 2;

/// Commands that wait to be packed. Each belongs to a flow, and flows are bounded more tightly; this only keeps a bug from
/// eating the memory.
pub const QUEUE_MAX: usize = 65_536;

/// Wake-ups of the store-and-forward that are kept; beyond this the table is scanned instead.
pub const WAKES_MAX: usize = 65_536;

/// How far a new leader may move log time beyond the last entry (R8).
pub const TIME_STEP_MS: u64 = 3_600_000;

/// How long a linearizable read may wait for its barrier where the caller's own deadline is longer.
pub const READ_BARRIER_MAX: Duration = Duration::from_secs(5);
