//! Answers of `version`.

use super::sheet;
use crate::commands::samples::Sample;

pub(in crate::commands) fn all() -> Vec<Sample> {
    vec![Sample::of("version", sheet("0.1.0"))]
}
