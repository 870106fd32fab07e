//! Every bound of admission, with its reason.

use std::time::Duration;

use super::Priority;

/// How often the limits are adapted: long enough for some commits to average out, short enough that a stall of a disk is
/// answered before callers notice.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Samples within [`LOOK_EVERY`] before their mean says anything.
pub(super) const SAMPLES_MIN: u32 = 10;

/// How much slower than its best a station may be before the limit falls. Twice: half of the time is then spent in queues, and
/// more in flight would make the queues longer and nothing faster.
pub(super) const TOLERANCE: f64 = 2.0;

/// A commit that takes no longer is good, whatever its best was: while one pack is on its way to the disks the next one fills,
/// so a busy journal is slower than an idle one and commits more.
pub(super) const COMMIT_GOOD: Duration = Duration::from_millis(100);

/// A network that answers within this is good, whatever its best was.
pub(super) const ANSWER_GOOD: Duration = Duration::from_millis(250);

/// How fast the best is forgotten, by look: doubled in seven seconds. What stays slow although less is in flight has become
/// slow by itself, and no limit helps.
pub(super) const FORGET: f64 = 1.01;

/// Least that one look leaves of a limit: one bad mean must not empty the stations.
pub(super) const FALL_MIN: f64 = 0.5;

/// How a limit that is in use grows, by look, while all is well: doubled in 0.7 s, so that it is back within five seconds from
/// wherever it fell to.
pub(super) const GROWTH: f64 = 1.1;

/// Payments under way that are always admitted: as much as fills two packs on a slow disk.
pub(super) const PAYMENTS_MIN: f64 = 64.0;

/// Payments under way at most: as many as the path takes at all.
pub(super) const PAYMENTS_MAX: f64 = crate::flow::limits::FLOWS_MAX as f64;

/// One in so many of the places for payments is only for gateways that have no more under way than the others on average.
/// Places become free in bunches, as networks answer: between two of them a modest gateway finds one here at once. It costs a
/// gateway that is far louder than the others as much of what it could have.
pub(super) const MODEST_SHARE: u32 = 16;

/// Payments under way at once while no link is in service: each is declined without waiting for anything.
pub(super) const PAYMENTS_UNSERVED: u32 = 64;

/// Calls of a moment under way that are always admitted.
pub(super) const MOMENTS_MIN: f64 = 64.0;

/// Calls of a moment under way at most: eight full packs.
pub(super) const MOMENTS_MAX: f64 = 4_096.0;

/// One in so many of the places of a moment is for repeats: one that waits for a decision holds its place for seconds, and
/// reversals must not wait behind it.
pub(super) const REPEATS_SHARE: u32 = 2;

/// One in so many of the places of a moment is for reads: each is held for a quorum's word, which without a quorum takes until
/// the caller's deadline, and reads take nothing from a gateway's rate.
pub(super) const READS_SHARE: u32 = 4;

/// One in so many of the places for reads is what one gateway's may take: however many it makes, another's finds one.
pub(super) const READS_SHARE_OF_ONE: u32 = 2;

const _: () = assert!(
    REPEATS_SHARE + READS_SHARE < REPEATS_SHARE * READS_SHARE,
    "repeats and reads together leave places to reversals and captures"
);
const _: () =
    assert!((READS_SHARE * READS_SHARE_OF_ONE) as f64 <= MOMENTS_MIN, "the least limit leaves each gateway a read");

impl Priority {
    /// Calls that may wait. Two seconds of a busy cluster for what is owed to a cardholder; of the others what the waiting
    /// time below lets through.
    pub(super) fn waiting_max(self) -> usize {
        match self {
            Self::Reversal => 8_192,
            Self::Capture => 4_096,
            Self::Read | Self::Replay => 1_024,
            Self::Payment => 512,
        }
    }

    /// How long a call may wait. A reversal waits as long as its caller does; a new payment is better told at once to go
    /// elsewhere than a quarter of a second later.
    pub(super) fn wait_max(self) -> Duration {
        match self {
            Self::Reversal => Duration::MAX,
            Self::Capture => Duration::from_secs(5),
            Self::Read | Self::Replay => Duration::from_secs(1),
            Self::Payment => Duration::from_millis(250),
        }
    }

    /// When to come back. What was shed last comes back last.
    pub(super) fn retry_after(self) -> Duration {
        match self {
            Self::Reversal | Self::Capture => Duration::from_millis(100),
            Self::Read | Self::Replay => Duration::from_millis(250),
            Self::Payment => Duration::from_millis(500),
        }
    }
}
