//! Every bound of the table's storage, with its reason.

/// Memtable. Four of them may wait for the disk before writers are held up: a write buffer of 40 MiB at most, with the one that is
/// written.
pub const MEMTABLE_BYTES: u64 = 8 << 20;

/// One file of the table. A compaction rewrites about a dozen of them, and flushes wait for it: with files of 64 MiB the memtables
/// pile up behind each one, the more the larger the table is.
pub const TABLE_FILE_BYTES: u64 = 16 << 20;

/// Blocks of the table kept in memory: rows, and what finds them or tells that they are not there. A block that is not among them
/// is a read of 4 KiB, mostly from the kernel's own cache. It never shrinks, blocks of files that are gone included, so that it is
/// full some day whatever is read: what a node has resident grows by this much and no more.
pub const BLOCK_CACHE_BYTES: u64 = 16 << 20;

/// fjall's own journal, all files together: what is replayed at a start. 64 MiB is the least fjall allows.
pub const JOURNAL_BYTES_MAX: u64 = 128 << 20;

/// Threads that flush and compact. One: in a pool of more, fjall 3.1.13 keeps its first worker for flushes by letting it put
/// each compaction back into the queue, which spins a core for as long as another worker compacts. A flush may now wait for a
/// compaction, so compactions are kept short by [`TABLE_FILE_BYTES`], and the write buffer above holds the payments meanwhile.
pub const WORKERS: usize = 1;

/// Decoded transactions kept after they were written: half a second's worth at 30,000 a second. An answer follows its request
/// within milliseconds, so that hardly one is read back from the disk.
pub const RECENT_MAX: usize = 16_384;

/// Memory of the same, whichever bound is met first.
pub const RECENT_BYTES_MAX: usize = 24 << 20;

/// Bytes of one frame of a snapshot; what the wire between nodes takes as one message.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

/// Rows' bytes between the frames of a snapshot and the thread that writes them: so many frames.
pub const INSTALL_FRAMES_IN_FLIGHT: usize = 4;

/// Bytes of one key: what fjall can hold.
pub const KEY_BYTES_MAX: usize = u16::MAX as usize;

/// Bytes of one row. The directory is the one great row, and it is kept in memory whole.
pub const ROW_BYTES_MAX: usize = 256 << 20;

const _: () = assert!(JOURNAL_BYTES_MAX >= 64 << 20 && JOURNAL_BYTES_MAX >= 4 * MEMTABLE_BYTES);
