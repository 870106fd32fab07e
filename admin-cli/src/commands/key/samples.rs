//! Answers of `key`.

use switch_proto::operator::v1::{DataKey, KeyPurpose, ListKeysResponse};

use super::{Purpose, list, publish, rotate};
use crate::commands::samples::{REQUEST_ID, Sample, TIME_UNIX_MS, hash};

pub(in crate::commands) fn all() -> Vec<Sample> {
    let key = |purpose: KeyPurpose, version, current| DataKey {
        purpose: purpose.into(),
        version,
        wrapping_version: 1,
        since_unix_ms: TIME_UNIX_MS,
        current,
        author: "spiffe://switch.example/operator/ann".into(),
        ..DataKey::default()
    };
    let sealing = |version, current| DataKey {
        key_id: format!("sealing-{version}"),
        public_key: hash().into(),
        ..key(KeyPurpose::Sealing, version, current)
    };
    let before = DataKey { until_unix_ms: TIME_UNIX_MS + 86_400_000, ..sealing(1, false) };
    let keys = vec![key(KeyPurpose::Card, 1, false), key(KeyPurpose::Card, 2, true), before, sealing(2, true)];
    vec![
        Sample::of("key publish", publish::sheet(&keys, TIME_UNIX_MS)),
        Sample::of("key list", list::sheet(&ListKeysResponse { keys, incarnations: 3 })),
        Sample::of("key rotate", rotate::sheet(Purpose::Sealing, 2, REQUEST_ID)),
    ]
}
