//! How far something long has come: on one line of a terminal, and nowhere else.

use std::io::{self, IsTerminal as _, Write as _};

use crate::talk::Talk;

/// One line on stderr.
pub(crate) struct Progress {
    what: &'static str,
    talk: Talk,
    shows: bool,
}

impl Progress {
    /// Of this.
    pub(crate) fn of(what: &'static str, talk: Talk) -> Self {
        Self { what, talk, shows: talk > Talk::Quiet && io::stderr().is_terminal() }
    }

    /// So many of so many.
    pub(crate) fn at(&self, done: u64, of: u64) {
        if self.shows {
            let filled = usize::try_from((done * WIDTH).checked_div(of).unwrap_or(WIDTH).min(WIDTH)).unwrap_or(0);
            let bar = format!("{:-<width$}", "#".repeat(filled), width = WIDTH as usize);
            let _ = write!(io::stderr(), "\r{} [{bar}] {done} of {of}", self.what);
        }
    }

    /// So much of nobody knows how much.
    pub(crate) fn bytes(&self, done: u64) {
        if self.shows {
            let _ = write!(io::stderr(), "\r{}: {} KiB", self.what, done >> 10);
        }
    }

    /// In this phase.
    pub(crate) fn phase(&self, words: &str) {
        if self.shows {
            let _ = write!(io::stderr(), "\r\u{1b}[K{}: {words}", self.what);
        } else {
            self.talk.say(format_args!("{}: {words}", self.what));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shows {
            let _ = writeln!(io::stderr());
        }
    }
}

/// Characters of the bar.
const WIDTH: u64 = 30;
