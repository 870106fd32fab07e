//! Answers of `node`.

use switch_proto::operator::v1::DrainNodeResponse;

use super::drain;
use crate::commands::samples::{NODES, REQUEST_ID, Sample};

pub(in crate::commands) fn all() -> Vec<Sample> {
    let drained = |conversations_left| DrainNodeResponse { node_id: NODES[0], conversations_left };
    vec![
        Sample::of("node drain", drain::sheet(&drained(0), REQUEST_ID)),
        Sample::of("node drain", drain::sheet(&drained(2), REQUEST_ID)).case("late"),
    ]
}
