//! Every bound of the journal, with its reason.

use std::time::Duration;

/// Commands in one pack: at 30,000 commands a second a pack then waits for no more than it would take to fsync it.
pub const PACK_COMMANDS_MAX: usize = 512;

/// Packs in flight: while one is on its way to the disks the next one fills.
pub const PACKS_IN_FLIGHT: usize = 2;

/// How long a pack may take from its proposal to its apply, before what became of it counts as unknown. Longer than an election
/// and a stalled disk; without an end a leader that was cut off would keep both places of [`PACKS_IN_FLIGHT`] until it is back.
pub const PACK_MAX: Duration = Duration::from_secs(10);

/// Commands that wait to be packed. Each belongs to a flow, and flows are bounded more tightly; this only keeps a bug from
/// eating the memory.
pub const QUEUE_MAX: usize = 65_536;

/// Wake-ups of the store-and-forward that are kept; beyond this the table is scanned instead.
pub const WAKES_MAX: usize = 65_536;

/// Rolling hashes that are kept to compare with (S11). A pack names one that its proposer had applied, which lies back by the packs
/// in flight and the directory's changes beside them; operators do not make two hundred of those in the meantime.
pub const HASHES_KEPT: usize = 256;

/// How often a leader says what its wall clock shows (R8): far more often than the hour by which log time may step, so that the
/// log of a cluster in which nobody pays is no older.
pub const CLOCK_LOOK: Duration = Duration::from_secs(300);

/// How long a linearizable read may wait for its barrier where the caller's own deadline is longer.
pub const READ_BARRIER_MAX: Duration = Duration::from_secs(5);
