//! Talk: what stderr says beside failures. Data never goes there.

use std::{
    env,
    ffi::OsString,
    fmt::Display,
    io::{self, IsTerminal, Write as _},
};

/// How much a command talks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Talk {
    /// Only of failures, and what must be asked.
    Quiet,
    /// Of what somebody would miss: another node that is asked, a list that was cut, how far something long is.
    Normal,
    /// Of every call too.
    Verbose,
}

impl Talk {
    /// Says a line.
    pub(crate) fn say(self, words: impl Display) {
        self.at(Self::Normal, &words);
    }

    /// Says a line that only who looks for something wants to read.
    pub(crate) fn detail(self, words: impl Display) {
        self.at(Self::Verbose, &words);
    }

    fn at(self, least: Self, words: &dyn Display) {
        if self >= least {
            // Where stderr is gone nobody listens.
            let _ = writeln!(io::stderr(), "{words}");
        }
    }
}

/// True where this stream may be written to in colour: a terminal that can show it, and nobody who wants none.
pub(crate) fn is_coloured(no_color: bool, stream: &impl IsTerminal) -> bool {
    !no_color && stream.is_terminal() && shows_colour(env::var_os("NO_COLOR"), env::var_os("TERM"))
}

/// `NO_COLOR` forbids colour with any value but an empty one: <https://no-color.org>.
fn shows_colour(no_color: Option<OsString>, terminal: Option<OsString>) -> bool {
    no_color.is_none_or(|value| value.is_empty()) && terminal.is_some_and(|kind| kind != "dumb")
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn no_color_and_terminals_without_colours_are_heeded() {
        let shows = |no_color: Option<&str>, terminal: Option<&str>| {
            shows_colour(no_color.map(OsString::from), terminal.map(OsString::from))
        };
        assert!(shows(None, Some("xterm")) && shows(Some(""), Some("xterm")));
        assert!(!shows(Some("1"), Some("xterm")) && !shows(Some("0"), Some("xterm")));
        assert!(!shows(None, Some("dumb")) && !shows(None, None));
    }

    #[test]
    fn what_is_no_terminal_is_plain() {
        let file = File::open("/dev/null").expect("a file");
        assert!(!is_coloured(false, &file));
    }
}
