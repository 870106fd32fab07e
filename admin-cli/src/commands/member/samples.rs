//! Answers of `member`.

use switch_proto::operator::v1::Member;

use super::{done, list, replace};
use crate::commands::samples::{NODES, REQUEST_ID, Sample};

/// Three voters, as the leader knows them.
pub(in crate::commands) fn members() -> Vec<Member> {
    let member = |(number, node_id): (usize, u64)| Member {
        node_id,
        peer_address: format!("node-{number}.switch:7002"),
        gateway_address: format!("node-{number}.switch:7001"),
        operator_address: format!("node-{number}.switch:7003"),
        voter: true,
        leader: number == 1,
        matched_index: Some(if number == 3 { 1_205 } else { 1_207 }),
    };
    (1..).zip(NODES).map(member).collect()
}

pub(in crate::commands) fn all() -> Vec<Sample> {
    let mut learner = members();
    learner[2] = Member { voter: false, operator_address: String::new(), matched_index: None, ..learner[2].clone() };
    vec![
        Sample::of("member list", list::sheet(&members())),
        Sample::of("member list", list::sheet(&learner)).case("learner"),
        Sample::of("member add", done("MemberAdded", REQUEST_ID, NODES[1])),
        Sample::of("member promote", done("MemberPromoted", REQUEST_ID, NODES[1])),
        Sample::of("member remove", done("MemberRemoved", REQUEST_ID, NODES[1])),
        Sample::of("member replace", replace::sheet(NODES[1], 0xfc, REQUEST_ID)),
    ]
}
