//! Answers of `leader`.

use super::transfer;
use crate::commands::samples::{NODES, REQUEST_ID, Sample};

pub(in crate::commands) fn all() -> Vec<Sample> {
    vec![Sample::of("leader transfer", transfer::sheet(NODES[1], REQUEST_ID))]
}
