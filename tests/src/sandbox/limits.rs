//! Every bound of the sandbox, with its reason.

use std::time::Duration;

/// Entries of one kind in the books of one network. At about 250 bytes each this is 5 GiB,
/// an hour at 5,000 a second.
pub const ENTRIES_MAX: usize = 20_000_000;
/// Violations kept in words; what follows is only counted, since one broken rule tends to repeat itself.
pub const VIOLATIONS_MAX: usize = 100_000;
/// Distinct merchants and acquirers remembered by name; later ones are booked without.
pub const NAMES_MAX: usize = 65_536;
/// Answers and arrivals that one conversation holds back; at the bound it stops reading.
pub const DUE_MAX: usize = 262_144;
/// Records in one page of the books: short enough to hold the lock for well under a millisecond.
pub const PAGE_RECORDS: usize = 512;
/// Handshakes in progress on one listener; further connections wait in the backlog.
pub const HANDSHAKES_MAX: usize = 256;
/// A peer that needs longer for its handshake is dropped.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections accepted and not yet taken over by the server.
pub const ACCEPTED_MAX: usize = 64;
/// Longest request of a switch. A chip card's data is below 1 KiB; the rest is names.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// What was on the wire when the network signed off is no violation.
pub const SIGN_OFF_GRACE: Duration = Duration::from_secs(2);
/// How long a stopping sandbox waits for its connections to end before it cuts them.
pub const STOP_GRACE: Duration = Duration::from_secs(2);
/// How long a listener keeps trying to come back to its address, and how often.
pub const REBIND_EVERY: Duration = Duration::from_millis(50);
/// Default of `late_ms`: beyond any attempt timer that a test would choose.
pub const LATE: Duration = Duration::from_secs(5);
/// Default of `slow_ms`.
pub const SLOW: Duration = Duration::from_millis(300);
/// Default of `signed_off_ms`.
pub const SIGNED_OFF: Duration = Duration::from_secs(2);
/// Bounds of every delay that can be asked for, so that a slip of the hand does not hold memory for a day.
pub const DELAY_MAX: Duration = Duration::from_secs(600);
