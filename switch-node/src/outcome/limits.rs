//! Every bound of the store-and-forward, with its reason.

use std::time::Duration;

/// Copies in flight on one link, silent ones apart ([`crate::link::limits::LANE_SILENCE`]): enough to clear 60,000 reversals in a
/// minute at 200 ms each, few enough that a network which has just come back is not flooded.
pub const LANES_IN_FLIGHT: usize = 256;

/// Copies among them that repeat an earlier one: half of all, so that lanes which a network never answers leave room for the
/// first copies of others.
pub const REPEATS_IN_FLIGHT: usize = 128;

/// Transactions with something owed that one link keeps in memory; the rest stays on disk and is scanned in turn (R23). Each has
/// one copy in flight at most, so that this also bounds the silent ones.
pub const LANES_KNOWN_MAX: usize = 20_000;

/// Transactions among them that owe nothing but what is parked: half, so that new doubts have room however much an outage has
/// parked (R25). A copy each of so many in the slow pace is four a second at the usual ten seconds of `repeat_after`.
pub const PARKED_KNOWN_MAX: usize = LANES_KNOWN_MAX / 2;

/// Pause between two rounds over the table for parked transactions that found no room: their turn comes once an hour or so.
pub const PARKED_ROUND: Duration = Duration::from_secs(60);

/// Rows read at once by a scan of what is owed.
pub const SCAN_PAGE: usize = 1_000;

/// Wake-ups that wait for one link's task; beyond this the table is scanned instead.
pub const WAKES_PER_LINK_MAX: usize = 65_536;

/// How often a link that is not in service is looked at again.
pub const OUT_OF_SERVICE_LOOK: Duration = Duration::from_millis(50);

/// Longest pause between two copies, as a multiple of the profile's `repeat_after`.
pub const BACKOFF_FACTOR_MAX: u32 = 16;

/// A parked lane that was not refused is tried at this multiple of `repeat_after` (R25).
pub const PARKED_FACTOR: u32 = 240;

/// Pause before an acknowledgement that could not be committed is taken up again.
pub const COMMIT_RETRY: Duration = Duration::from_millis(200);

/// How long a copy waits for its acknowledgement at least, where the profile repeats faster.
pub const ACKNOWLEDGEMENT_MIN: Duration = Duration::from_secs(1);

/// Pages of inherited attempts, of [`SCAN_PAGE`] each, that are waited for at once: more than three leaders can leave open.
pub const INHERITED_PAGES_AT_ONCE: usize = 64;

/// Conversations that an owner is asked about in one call: 100 bytes each keep it within a peer's message, and taking over
/// 10,000 open attempts costs twenty calls.
pub const HOLDS_ASKED_MAX: usize = 500;

/// Ends of inherited attempts proposed at once by one page.
pub const INHERITED_PROPOSED_AT_ONCE: usize = 256;

/// How often a leader looks for attempts whose timer has ended without anybody noticing, and how much later than the timer.
pub const OVERDUE_LOOK: Duration = Duration::from_secs(30);

/// Grace of [`OVERDUE_LOOK`], milliseconds.
pub const OVERDUE_GRACE_MS: u64 = 15_000;

/// Evidence that nobody waits for and that is being committed at once: half a pack.
pub const STRAYS_AT_ONCE: usize = 256;

/// Pieces of it that are being committed, or kept for a leader that understands them. Late answers are rare, and those that an
/// older leader cannot read are rarer; past this many the others wait behind them, as [`STRAYS_MAX`] says.
pub const STRAYS_KEPT_MAX: usize = 16_384;

/// First pause before evidence that a leader did not understand is offered to the same one again; doubled with each try.
pub const NOT_UNDERSTOOD_PAUSE: Duration = Duration::from_secs(1);

/// Longest such pause: whoever leads next is offered it at once, so that this is only for one that was mended in its place.
pub const NOT_UNDERSTOOD_PAUSE_MAX: Duration = Duration::from_secs(60);

/// Pieces of evidence that nobody waits for and that wait to be committed. They wait as long as nobody leads, so that the count
/// is their only bound; past it they are counted and dropped: a network that sends more stray answers than payments is broken,
/// and its transactions are being reversed already.
pub const STRAYS_MAX: usize = 65_536;

/// Pause between two rounds over what may have expired: an authorization is valid for days, minutes do not matter.
pub const EXPIRY_ROUND: Duration = Duration::from_secs(60);

/// Rows read at once by such a round.
pub const EXPIRY_PAGE: usize = 500;

/// Pause between two pages: a round over a million transactions takes minutes and no core.
pub const EXPIRY_PAUSE: Duration = Duration::from_millis(100);

/// Days without a leader after which an expired authorization is still found.
pub const EXPIRY_ABSENCE_DAYS: u32 = 14;

/// Pause between two rounds over what is old: it was kept for months, minutes do not matter.
pub const RETENTION_ROUND: Duration = Duration::from_secs(600);

/// Rows read, and deletions committed, at once by such a round: they share packs with payments, and must leave them room.
pub const RETENTION_PAGE: usize = 128;

/// Pause between two pages: about 1,200 transactions a second can be forgotten, a hundred million a day.
pub const RETENTION_PAUSE: Duration = Duration::from_millis(100);
