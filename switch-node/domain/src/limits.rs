//! Every bound of the pure core, with its reason.

/// Operations of one transaction: a row is read and written whole, so its size must end somewhere.
pub const OPERATIONS_MAX: usize = 100;

/// Attempts of one operation: the failover chain is as long as a gateway's patience, which is shorter than this.
pub const ATTEMPTS_MAX: usize = 8;

/// Distinct approvals remembered of one attempt; a network that sends more of them is answered by one more reversal each
/// time.
pub const APPROVALS_MAX: usize = 8;

/// Requests to void a key that has not been seen, kept on one tombstone.
pub const TOMBSTONE_VOIDS_MAX: usize = 8;

/// Unresolved items of one network before new payments are held off, where its profile names no bound (R23).
pub const DOUBT_COUNT_DEFAULT: u32 = 100_000;

/// Trace numbers tried at one allocation. All of them: the counter moves past a block in use once and then is free.
pub const TRACE_NUMBERS_PROBED_MAX: u32 = crate::id::Stan::MAX;

/// Days an approval stays valid where the profile does not say (R9).
pub const VALID_DAYS_DEFAULT: u32 = 7;

/// Days an approval may stay valid at most: the search for expired ones reaches back so far (R9).
pub const VALID_DAYS_MAX: u32 = 90;

/// Attempt timer of a network, in milliseconds.
pub const ATTEMPT_TIMEOUT_MS: std::ops::RangeInclusive<u32> = 100..=60_000;

/// What a gateway's deadline must leave above the attempt timer, in milliseconds (R3).
pub const DEADLINE_MARGIN_MS: u64 = 2_000;

/// Changes of the directory in one entry.
pub const DIRECTORY_CHANGES_MAX: usize = 1_000;

/// Records of one kind in the directory: it is kept in memory whole.
pub const DIRECTORY_RECORDS_MAX: usize = 20_000;

/// Merchants of one gateway.
pub const MERCHANTS_MAX: usize = 20_000;

const _: () = assert!(OPERATIONS_MAX < u16::MAX as usize, "an operation's index is a u16");
