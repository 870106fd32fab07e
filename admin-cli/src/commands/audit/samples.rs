//! Answers of `audit`.

use prost::Message as _;
use serde_json::Value;
use switch_proto::journal::v1::{Act, AuditEntry, AuditRecord, Stage, act};

use super::{list, verify};
use crate::{
    commands::samples::{HASH, NODES, REQUEST_ID, Sample, TIME_UNIX_MS, hash},
    output::line,
    trail::{Checked, KIND, Reader},
};

fn record(number: u64, act: act::Act, stage: Stage, reason: &str) -> Value {
    let entry = AuditEntry {
        request_id: REQUEST_ID.into(),
        author: "spiffe://switch.example/operator/ann".into(),
        act: Some(Act { act: Some(act) }),
        stage: stage.into(),
        reason: reason.into(),
        ..AuditEntry::default()
    };
    let record =
        AuditRecord { number, previous: hash().into(), time_ms: TIME_UNIX_MS.unsigned_abs(), entry: Some(entry) };
    Reader::new().expect("a contract").item(&record.encode_to_vec()).expect("a record")
}

pub(in crate::commands) fn all() -> Vec<Sample> {
    let records = vec![
        record(17, act::Act::PromoteMember(NODES[1]), Stage::Done, ""),
        record(16, act::Act::AddMember("node-2.switch:7002".into()), Stage::Done, ""),
    ];
    let exported: String = records.iter().rev().map(|item| format!("{}\n", line(KIND, item))).collect();
    vec![
        Sample::of("audit list", list::sheet(records)),
        // `audit verify` reads it: there is one format.
        Sample::text("audit export", vec![(String::new(), exported)]),
        Sample::of("audit verify", verify::sheet(&Checked { records: 17, last_hash: HASH.into() })),
    ]
}
