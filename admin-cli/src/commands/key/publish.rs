//! `key publish`: the public halves, for gateways that cannot or will not ask a node for them.

use serde_json::json;
use switch_proto::operator::v1::{DataKey, KeyPurpose};

use super::{end, known};
use crate::{
    cli::Global,
    failure::Failure,
    output::{Sheet, hex_bytes, time},
    session::Session,
};

pub(super) async fn publish(global: &Global) -> Result<Sheet, Failure> {
    let session = Session::new(global)?;
    // The cluster's clock says which keys may still be used, not the operator's.
    let now_unix_ms = session.status().await?.log_time_unix_ms;
    Ok(sheet(&known(&session).await?.keys, now_unix_ms))
}

pub(super) fn sheet(keys: &[DataKey], now_unix_ms: i64) -> Sheet {
    let may_be_used = |key: &&DataKey| {
        key.purpose() == KeyPurpose::Sealing && (key.until_unix_ms == 0 || key.until_unix_ms > now_unix_ms)
    };
    let mut published: Vec<&DataKey> = keys.iter().filter(may_be_used).collect();
    published.sort_by_key(|key| std::cmp::Reverse(key.version));
    let items = published.iter().map(|key| {
        json!({
            "key_id": key.key_id,
            "algorithm": ALGORITHM,
            "public_key": hex_bytes(&key.public_key),
            "not_before_unix_ms": key.since_unix_ms,
            "not_after_unix_ms": key.until_unix_ms,
        })
    });
    let row = |key: &&DataKey| {
        let public_key = hex_bytes(&key.public_key);
        vec![key.key_id.clone(), ALGORITHM.to_owned(), public_key, time(key.since_unix_ms), end(key.until_unix_ms)]
    };
    Sheet::of("SealingKeyList", items)
        .with(&["KEY ID", "ALGORITHM", "PUBLIC KEY", "NOT BEFORE", "NOT AFTER"], published.iter().map(row).collect())
        .named("sealing-key", published.iter().map(|key| &key.key_id))
}

/// As `payswitch.gateway.v1.SealingAlgorithm` names it.
const ALGORITHM: &str = "HPKE_X25519_HKDF_SHA256_AES_256_GCM";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Output;

    #[test]
    fn only_sealing_keys_that_may_still_be_used_are_published_the_current_one_first() {
        let key = |purpose: KeyPurpose, version, until_unix_ms| DataKey {
            purpose: purpose.into(),
            version,
            key_id: format!("sealing-{version}"),
            public_key: vec![0x0c; 32].into(),
            until_unix_ms,
            ..DataKey::default()
        };
        let sealing = KeyPurpose::Sealing;
        let keys = [key(KeyPurpose::Card, 9, 0), key(sealing, 1, 1_000), key(sealing, 2, 1_001), key(sealing, 3, 0)];
        let names = sheet(&keys, 1_000).show(Output::Name);
        assert_eq!(names, Ok("sealing-key/sealing-3\nsealing-key/sealing-2\n".to_owned()));
    }
}
