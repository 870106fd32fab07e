//! Answers of `snapshot`.

use std::path::Path;

use serde_json::json;

use super::{save, trigger, verify};
use crate::{
    commands::samples::{CLUSTER, HASH, NODES, REQUEST_ID, Sample, TIME_UNIX_MS},
    output::{API_VERSION, hex},
    snapshot_file::Manifest,
};

pub(in crate::commands) fn all() -> Vec<Sample> {
    let manifest = json!({
        "apiVersion": API_VERSION,
        "kind": "Snapshot",
        "cluster_id": hex(CLUSTER),
        "node_id": hex(NODES[1]),
        "applied_index": 1_207,
        "applied_term": 4,
        "state_hash": HASH,
        "log_time_unix_ms": TIME_UNIX_MS,
        "rows": 4_021,
        "size_bytes": 918_230,
        "sha256": HASH,
        "checksum": HASH,
    });
    let manifest: Manifest = serde_json::from_value(manifest).expect("a manifest");
    let file = Path::new("node-2.snapshot");
    vec![
        Sample::of("snapshot trigger", trigger::sheet(REQUEST_ID)),
        Sample::of("snapshot save", save::sheet(&manifest, file, REQUEST_ID)),
        Sample::of("snapshot verify", verify::sheet(&manifest, file)),
    ]
}
