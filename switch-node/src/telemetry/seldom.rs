//! Lines of the log that a stranger can cause.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Lets one line a second into the log: a flood at the door must not become one on the disk. Counters see everything.
#[derive(Debug, Default)]
pub struct Seldom(Mutex<Option<Instant>>);

impl Seldom {
    /// True for the first of each second.
    pub fn is_due(&self) -> bool {
        let now = Instant::now();
        let mut last = self.0.lock();
        let is_due = last.is_none_or(|last| now.duration_since(last) >= LOG_EVERY);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}

const LOG_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
pub(crate) mod tests {
    use std::{io, sync::Arc};

    use super::*;

    /// A log that a test reads.
    #[derive(Clone, Default)]
    pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        /// Everything that this thread logs goes here, until the guard is dropped.
        pub(crate) fn of_this_thread(&self) -> tracing::subscriber::DefaultGuard {
            let log = tracing_subscriber::fmt().with_ansi(false).with_writer(self.clone()).finish();
            tracing::subscriber::set_default(log)
        }

        /// What was written since the last look.
        pub(crate) fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut *self.0.lock())).expect("text")
        }
    }

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl tracing_subscriber::fmt::MakeWriter<'_> for Lines {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_one_line_a_second() {
        let seldom = Seldom::default();
        let mut lines = 0;
        for _ in 0..3_000 {
            lines += u32::from(seldom.is_due());
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert_eq!(lines, 3);
    }
}
