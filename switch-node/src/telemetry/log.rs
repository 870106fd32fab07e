//! The write-ahead log with a clock at its side: how long the disk keeps everybody waiting.

use std::{io, ops::Range, sync::Arc};

use metrics::histogram;
use switch_consensus::{Ballot, LogEntry, LogId, LogState, WriteAheadLog, log::Durable};
use tokio::time::Instant;

use super::LOG_SYNC;

/// A log whose writes are timed from their beginning to the end of their fsync. Consensus knows no metrics, so this stands
/// around the log that it is given.
pub struct TimedLog {
    log: Arc<dyn WriteAheadLog>,
}

impl TimedLog {
    /// Times a log.
    pub fn new(log: Arc<dyn WriteAheadLog>) -> Self {
        Self { log }
    }
}

/// Notes the time when the write is durable; a write that failed ends the node and is no sample.
fn timed(durable: Durable) -> Durable {
    let began = Instant::now();
    Box::new(move |written| {
        if written.is_ok() {
            histogram!(LOG_SYNC).record(began.elapsed().as_secs_f64());
        }
        durable(written);
    })
}

impl WriteAheadLog for TimedLog {
    fn state(&self) -> LogState {
        self.log.state()
    }

    fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<LogEntry>> {
        self.log.read(range, bytes_max)
    }

    fn append(&self, entries: Vec<LogEntry>, durable: Durable) -> io::Result<()> {
        self.log.append(entries, timed(durable))
    }

    fn save_ballot(&self, ballot: Ballot, durable: Durable) -> io::Result<()> {
        self.log.save_ballot(ballot, timed(durable))
    }

    fn save_committed(&self, committed: LogId) -> io::Result<()> {
        self.log.save_committed(committed)
    }

    fn truncate_after(&self, last: Option<LogId>) -> io::Result<()> {
        self.log.truncate_after(last)
    }

    fn purge(&self, upto: LogId) -> io::Result<()> {
        self.log.purge(upto)
    }
}
