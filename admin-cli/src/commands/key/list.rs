//! `key list`.

use serde_json::{Value, json};
use switch_proto::operator::v1::{DataKey, ListKeysResponse};

use super::{end, known, purpose_of};
use crate::{
    cli::Global,
    failure::Failure,
    output::{Sheet, hex_bytes, or_dash, time, yes_no},
    session::Session,
};

pub(super) async fn list(global: &Global) -> Result<Sheet, Failure> {
    Ok(sheet(&known(&Session::new(global)?).await?))
}

pub(super) fn sheet(known: &ListKeysResponse) -> Sheet {
    let keys = &known.keys;
    let wide = |key: &DataKey| [row(key), vec![or_dash(&hex_bytes(&key.public_key)), or_dash(&key.author)]].concat();
    Sheet::of("DataKeyList", keys.iter().map(item))
        .with(COLUMNS, keys.iter().map(row).collect())
        .wide(
            &["PURPOSE", "VERSION", "CURRENT", "WRAPPED BY", "KEY ID", "SINCE", "UNTIL", "PUBLIC KEY", "AUTHOR"],
            keys.iter().map(wide).collect(),
        )
        .named("key", keys.iter().map(|key| format!("{}-{}", purpose_of(key), key.version)))
}

const COLUMNS: &[&str] = &["PURPOSE", "VERSION", "CURRENT", "WRAPPED BY", "KEY ID", "SINCE", "UNTIL"];

fn row(key: &DataKey) -> Vec<String> {
    vec![
        purpose_of(key).to_owned(),
        key.version.to_string(),
        yes_no(key.current),
        key.wrapping_version.to_string(),
        or_dash(&key.key_id),
        time(key.since_unix_ms),
        end(key.until_unix_ms),
    ]
}

fn item(key: &DataKey) -> Value {
    let DataKey {
        purpose: _,
        version,
        wrapping_version,
        key_id,
        public_key,
        since_unix_ms,
        until_unix_ms,
        current,
        author,
    } = key;
    json!({
        "purpose": purpose_of(key),
        "version": version,
        "wrapping_version": wrapping_version,
        "key_id": key_id,
        "public_key": hex_bytes(public_key),
        "since_unix_ms": since_unix_ms,
        "until_unix_ms": until_unix_ms,
        "current": current,
        "author": author,
    })
}

#[cfg(test)]
mod tests {
    use switch_proto::operator::v1::KeyPurpose;

    use super::*;
    use crate::cli::Output;

    #[test]
    fn a_key_is_a_row_and_its_public_half_is_in_the_wide_one() {
        let card = DataKey {
            purpose: KeyPurpose::Card.into(),
            version: 2,
            wrapping_version: 1,
            since_unix_ms: 1_790_000_000_123,
            current: true,
            ..DataKey::default()
        };
        let sealing = DataKey {
            purpose: KeyPurpose::Sealing.into(),
            version: 1,
            key_id: "sealing-1".into(),
            public_key: vec![0xab; 2].into(),
            until_unix_ms: 1_790_000_000_124,
            author: "anna".into(),
            current: false,
            ..card
        };
        let sheet = sheet(&ListKeysResponse { keys: vec![card, sealing], incarnations: 3 });
        let expected = "\
PURPOSE  VERSION  CURRENT  WRAPPED BY  KEY ID     SINCE                     UNTIL
card     2        yes      1           -          2026-09-21T14:13:20.123Z  -
sealing  1        no       1           sealing-1  2026-09-21T14:13:20.123Z  2026-09-21T14:13:20.124Z
";
        assert_eq!(sheet.table(), expected);
        let wide = sheet.show(Output::Wide).expect("a table");
        assert!(wide.ends_with("2026-09-21T14:13:20.124Z  abab        anna\n"), "{wide}");
        assert_eq!(sheet.show(Output::Name), Ok("key/card-2\nkey/sealing-1\n".to_owned()));
    }
}
