//! Every bound of the pure core, with its reason.

/// Operations of one transaction: a row is read and written whole, so its size must end somewhere.
pub const OPERATIONS_MAX: usize = 100;

/// Attempts of one operation: the failover chain is as long as a gateway's patience, which is shorter than this.
pub const ATTEMPTS_MAX: usize = 8;

/// Distinct approvals remembered of one attempt, each with a reversal of its own. What comes after them cannot be told from a
/// copy any more: each answer renews the reversal that is there.
pub const APPROVALS_MAX: usize = 8;

/// Trace numbers of unacknowledged generations that one reversal holds. Every generation beyond them keeps the number of the
/// one before it, so that no reversal can use up a link's numbers.
pub const SUPERSEDED_MAX: usize = 16;

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

/// Days that transactions and their keys are kept after their last event, where the directory does not say (R9).
pub const RETENTION_DAYS_DEFAULT: u32 = 400;

/// Days that they are kept at least, whatever the directory says: disputes come as late as this (R9).
pub const RETENTION_DAYS_MIN: u32 = 180;

/// Days that they may be kept at most: ten years is what auditors ask for.
pub const RETENTION_DAYS_MAX: u32 = 3_650;

/// Days after the last capture in which a refund must find its original, where the network's profile does not say (R9).
pub const REFUND_DAYS_DEFAULT: u32 = 180;

/// How long events are kept, in milliseconds: 30 days (R20).
pub const EVENTS_KEPT_MS: u64 = 30 * crate::time::DAY_MS;

/// Events that one command forgets: it must not hold up the payments of its pack.
pub const EVENTS_FORGOTTEN_MAX: usize = 256;

/// How far log time may step between two terms, and how far a wall clock may be from it before an operator must look, in
/// milliseconds: one hour (R8).
pub const CLOCK_STEP_MS: u64 = 3_600_000;

/// Attempt timer of a network, in milliseconds.
pub const ATTEMPT_TIMEOUT_MS: std::ops::RangeInclusive<u32> = 100..=60_000;

/// What a gateway's deadline must leave above the attempt timer, in milliseconds (R3).
pub const DEADLINE_MARGIN_MS: u64 = 2_000;

/// How long a proposed resolution waits for its confirmation, milliseconds of log time: a day, so that the next shift can
/// confirm it and nobody confirms what was true last week (R25).
pub const RESOLUTION_OPEN_MS: u64 = crate::time::DAY_MS;

/// Changes of the directory in one entry.
pub const DIRECTORY_CHANGES_MAX: usize = 1_000;

/// Records of one kind in the directory: it is kept in memory whole.
pub const DIRECTORY_RECORDS_MAX: usize = 20_000;

/// Merchants of one gateway.
pub const MERCHANTS_MAX: usize = 20_000;

/// New payments a second that a gateway may be given: more than a leader serves all gateways together.
pub const REQUESTS_PER_SECOND_MAX: u32 = 100_000;

/// New payments at once that a gateway may be given: ten seconds of the greatest rate.
pub const BURST_MAX: u32 = 1_000_000;

/// Payments under way that a gateway may be given: as many as a node has under way at most.
pub const CONCURRENT_MAX: u32 = 16_384;

/// Data keys of one purpose: they are kept in memory whole, and at one a month this is eight decades.
pub const DATA_KEYS_MAX: usize = 1_000;

/// Incarnations: a nonce has 48 bits for them.
pub const INCARNATION_MAX: u64 = (1 << 48) - 1;

const _: () = assert!(OPERATIONS_MAX < u16::MAX as usize, "an operation's index is a u16");
