//! Answers of `man`.

use super::manual;
use crate::commands::samples::Sample;

pub(in crate::commands) fn all() -> Vec<Sample> {
    vec![Sample::of("man", manual(91, "/usr/local/share/man/man1"))]
}
