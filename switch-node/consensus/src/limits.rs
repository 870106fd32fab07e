//! Every bound of this crate, with its reason.

use std::time::Duration;

/// Entries in one append request. With packs of at most 256 KiB the byte bound ends a request first; this one bounds small packs.
pub const APPEND_ENTRIES_MAX: u64 = 512;

/// Bytes of entries read from the log at once, and so sent in one append request: 4 ms of a gigabit link, so heartbeats do not
/// starve behind it. One larger entry still passes alone.
pub const APPEND_BYTES_MAX: usize = 1 << 20;

/// Bytes in one peer message. A single entry may be larger than [`APPEND_BYTES_MAX`], never larger than this.
pub const PEER_MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Bytes in one pack. Four times what the journal packs, far below [`PEER_MESSAGE_BYTES_MAX`]: an entry that no message can carry
/// would stop replication for good.
pub const PACK_BYTES_MAX: usize = 1 << 20;

/// Entries handed to the machine in one call: one table commit, and one wait of every proposer in it.
pub const APPLY_ENTRIES_MAX: usize = 512;

/// Bytes handed to the machine in one call; bounds what an overlay of the table must hold.
pub const APPLY_BYTES_MAX: usize = 4 << 20;

/// Jobs that wait for the machine's thread. openraft applies one batch at a time; the rest are snapshots and installs.
pub const MACHINE_JOBS_MAX: usize = 8;

/// Bytes in one snapshot frame.
pub const SNAPSHOT_FRAME_BYTES_MAX: usize = 1 << 20;

/// Frames in flight between the disk and the wire, on either side: 4 MiB.
pub const SNAPSHOT_FRAMES_IN_FLIGHT: usize = 4;

/// Longest wait for the next frame of a snapshot, at the receiver. A sender that is silent longer is gone.
pub const SNAPSHOT_FRAME_IDLE: Duration = Duration::from_secs(30);

/// Longest transfer and installation of one snapshot. Minutes, not seconds: a snapshot that is sent again while the first one
/// installs is how openraft #2116 happens.
pub const SNAPSHOT_INSTALL_MAX: Duration = Duration::from_secs(600);

/// How long a node may keep the turn to take a snapshot. Taking one is an fsync and a handle; a node that died with the turn must
/// not keep the others from theirs.
pub const SNAPSHOT_TURN: Duration = Duration::from_secs(120);

/// A node that never gets the turn (no leader) takes its snapshot at this multiple of the log it should have waited for: a full
/// disk is worse than two snapshots at once.
pub const SNAPSHOT_OVERDUE: u64 = 2;

/// How often the scheduler looks whether a snapshot is due.
pub const SNAPSHOT_LOOK: Duration = Duration::from_secs(1);

/// Log behind which a follower gets a snapshot instead of entries. Larger than any log that is kept: entries as long as there are any.
pub const REPLICATION_LAG_MAX: u64 = 1 << 40;

/// Payload bytes the log keeps in memory for followers and for apply: some seconds of payments. As much as one file, which is never
/// evicted while it is open.
pub const LOG_CACHE_BYTES: usize = LOG_CHUNK_BYTES;

/// Entries the log keeps in memory.
pub const LOG_CACHE_ENTRIES: usize = 200_000;

/// Size of one log file. Purging frees whole files.
pub const LOG_CHUNK_BYTES: usize = 32 << 20;

/// How long the log's writer waits for more to flush together. Not zero: then it would not collect at all. Below 200 µs latency
/// at one request in flight does not suffer.
pub const LOG_FLUSH_WAIT: Duration = Duration::from_micros(80);

/// Bytes that wait to be flushed before an append blocks.
pub const LOG_FLUSH_QUEUE_BYTES: usize = 32 << 20;

/// Read buffer while a log is opened; one chunk.
pub const LOG_READ_BUFFER_BYTES: usize = LOG_CHUNK_BYTES;

/// Proposals that wait for openraft's core. The journal has two in flight; membership changes and reads share the queue.
pub const CORE_QUEUE_MAX: u64 = 4_096;

/// Connecting to a peer. Peers are in the same region; longer means the host is gone.
pub const CONNECT_MAX: Duration = Duration::from_secs(1);

/// A half-open connection is found after twice this.
pub const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// Asking a peer who it is, while forming.
pub const PROBE_MAX: Duration = Duration::from_secs(2);

/// Asking to join: the leader commits a membership entry first.
pub const JOIN_MAX: Duration = Duration::from_secs(10);

/// Pause between two attempts to form or join.
pub const FORM_PAUSE: Duration = Duration::from_millis(500);

/// One membership change: two entries on a quorum of disks, and a learner's catch-up is not part of it.
pub const MEMBERSHIP_CHANGE_MAX: Duration = Duration::from_secs(30);

/// First pause after a peer was unreachable; doubles up to [`BACKOFF_MAX`].
pub const BACKOFF_MIN: Duration = Duration::from_millis(50);

/// Longest pause after a peer was unreachable: what a returned peer waits at most before it is caught up.
pub const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Bytes of an address in a member record.
pub const ADDRESS_BYTES_MAX: usize = 300;

/// Nodes in one cluster, learners included.
pub const MEMBERS_MAX: usize = 16;

/// Waiting for openraft's core to end.
pub const SHUTDOWN_MAX: Duration = Duration::from_secs(10);
