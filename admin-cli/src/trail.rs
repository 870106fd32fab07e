//! Records of the audit trail as people read them and as they are checked.
//!
//! A record travels in its canonical bytes, a `payswitch.journal.v1.AuditRecord` in protobuf with fields in the order of their
//! numbers and defaults left out. Its hash is SHA-256 over them, and stands in the record after it. A line of an export holds
//! those bytes in hexadecimal, the hash, and what they say; anybody can check it without this program:
//! `jq -r .item.record | xxd -r -p | sha256sum`.

use std::io::BufRead;

use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, ReflectMessage as _, Value as Field};
use ring::digest;
use serde_json::{Map, Value, json};
use switch_proto::operator::v1::{self as pb, audit_service_client::AuditServiceClient};
use tonic::transport::Channel;

use crate::{
    exit::Exit,
    failure::Failure,
    output::{API_VERSION, hex_bytes, time},
};

/// Kind of a line.
pub(crate) const KIND: &str = "AuditRecordList";

/// Asks for records, and takes pages of any size: one record may hold a change of the directory with all that it replaced.
pub(crate) fn client(channel: Channel) -> AuditServiceClient<Channel> {
    AuditServiceClient::new(channel).max_decoding_message_size(usize::MAX)
}

/// Reads records by the descriptors of the contract, so that nothing of them is left out.
pub(crate) struct Reader {
    record: MessageDescriptor,
}

impl Reader {
    /// Of this version's contract.
    pub(crate) fn new() -> Result<Self, Failure> {
        let fault = |words: String| Failure::local(Exit::Failure, "CONTRACT", words);
        let pool = DescriptorPool::decode(switch_proto::DESCRIPTORS).map_err(|error| fault(error.to_string()))?;
        let record = pool.get_message_by_name("payswitch.journal.v1.AuditRecord");
        Ok(Self { record: record.ok_or_else(|| fault("the contract has no audit record".to_owned()))? })
    }

    /// What a record says, with its bytes and its hash.
    pub(crate) fn item(&self, record: &[u8]) -> Result<Value, String> {
        let message = DynamicMessage::decode(self.record.clone(), record).map_err(|error| error.to_string())?;
        if message.unknown_fields().next().is_some() {
            return Err("it has fields that this version does not know".to_owned());
        }
        let Value::Object(mut item) = object(&message) else { return Err("it is empty".to_owned()) };
        if let Some(time_ms) = item.get("time_ms").and_then(Value::as_i64) {
            item.insert("time".to_owned(), time(time_ms).into());
        }
        item.insert("record".to_owned(), hex_bytes(record).into());
        item.insert("hash".to_owned(), hash(record).into());
        Ok(Value::Object(item))
    }

    /// The items of a page, in its order.
    pub(crate) fn items(&self, records: &[pb::AuditRecord]) -> Result<Vec<Value>, Failure> {
        let unreadable = |words| Failure::local(Exit::Failure, "AUDIT_RECORD", words);
        records.iter().map(|record| self.item(&record.record).map_err(unreadable)).collect()
    }
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checked {
    /// Records that hold together.
    pub(crate) records: u64,
    /// Hash of the last one.
    pub(crate) last_hash: String,
}

/// Goes over an export and recomputes the chain. Fails at the first record that is not what it was.
///
/// That nothing was cut off at its end, only `last_hash` noted elsewhere can show.
pub(crate) fn verify(lines: impl BufRead, last_hash: Option<&str>) -> Result<Checked, Failure> {
    let reader = Reader::new()?;
    let mut checked = Checked { records: 0, last_hash: "0".repeat(64) };
    for (line, number) in lines.lines().zip(1_u64..) {
        let broken = |words: String| {
            Failure::local(Exit::Failure, "CHAIN_BROKEN", format!("record {number} (line {number}): {words}"))
        };
        let line = line.map_err(|error| Failure::local(Exit::Usage, "FILE", error.to_string()))?;
        let document: Value = serde_json::from_str(&line).map_err(|error| broken(format!("no JSON: {error}")))?;
        if document["apiVersion"] != API_VERSION || document["kind"] != "AuditRecord" {
            return Err(broken(format!("not an AuditRecord of {API_VERSION}")));
        }
        let said = &document["item"];
        let record = said["record"].as_str().and_then(unhex).ok_or_else(|| broken("its bytes are no bytes".into()))?;
        let item = reader.item(&record).map_err(broken)?;
        if item["number"] != number {
            return Err(broken(format!("it has number {}: records are missing or out of order", item["number"])));
        }
        if item["previous"] != checked.last_hash.as_str() {
            return Err(broken(format!("it follows {}, but before it stands {}", item["previous"], checked.last_hash)));
        }
        if *said != item {
            return Err(broken("what is shown of it is not what its bytes say".into()));
        }
        checked = Checked { records: number, last_hash: hash(&record) };
    }
    match last_hash {
        Some(expected) if !expected.eq_ignore_ascii_case(&checked.last_hash) => {
            let words =
                format!("the last of {} records has hash {}, not {expected}", checked.records, checked.last_hash);
            Err(Failure::local(Exit::Failure, "CHAIN_CUT", words))
        }
        _ => Ok(checked),
    }
}

fn hash(record: &[u8]) -> String {
    hex_bytes(digest::digest(&digest::SHA256, record).as_ref())
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?, 16).ok())
        .collect()
}

/// Every field that is set, under the contract's names.
fn object(message: &DynamicMessage) -> Value {
    let mut fields = Map::new();
    for (descriptor, field) in message.fields() {
        let is_id = matches!(
            descriptor.name(),
            "node"
                | "leader"
                | "bootstrap"
                | "promote_member"
                | "remove_member"
                | "transfer_leader"
                | "drain_node"
                | "take_snapshot"
                | "save_snapshot"
                | "export_transactions"
                | "boot"
        );
        let shown = match field {
            Field::U64(id) if is_id => format!("{id:016x}").into(),
            Field::EnumNumber(number) => match descriptor.kind() {
                prost_reflect::Kind::Enum(names) => {
                    names.get_value(*number).map_or_else(|| json!(number), |name| json!(name.name()))
                }
                _ => json!(number),
            },
            field => value(field),
        };
        fields.insert(descriptor.name().to_owned(), shown);
    }
    if message.descriptor().name() == "Replaced" && fields.is_empty() {
        return Value::Null;
    }
    Value::Object(fields)
}

fn value(field: &Field) -> Value {
    match field {
        Field::Bool(yes) => json!(yes),
        Field::I32(number) | Field::EnumNumber(number) => json!(number),
        Field::I64(number) => json!(number),
        Field::U32(number) => json!(number),
        Field::U64(number) => json!(number),
        Field::F32(number) => json!(number),
        Field::F64(number) => json!(number),
        Field::String(text) => json!(text),
        Field::Bytes(bytes) => json!(hex_bytes(bytes)),
        Field::Message(message) => object(message),
        Field::List(items) => items.iter().map(value).collect(),
        Field::Map(pairs) => pairs.iter().map(|(key, one)| (format!("{key:?}"), value(one))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use switch_proto::journal::v1 as journal;

    use super::*;
    use crate::output::line;

    /// An export of three records.
    fn export() -> Vec<String> {
        let reader = Reader::new().expect("a contract");
        let mut previous = vec![0; 32];
        let record = |number: u64| {
            let act = journal::act::Act::PromoteMember(0xff);
            let entry = journal::AuditEntry {
                request_id: format!("key-{number}"),
                author: "spiffe://switch.test/operator/ann".into(),
                act: Some(journal::Act { act: Some(act) }),
                stage: journal::Stage::Done.into(),
                ..journal::AuditEntry::default()
            };
            let record = journal::AuditRecord {
                number,
                previous: previous.clone().into(),
                time_ms: 1_790_000_000_123,
                entry: Some(entry),
            };
            let bytes = record.encode_to_vec();
            previous = digest::digest(&digest::SHA256, &bytes).as_ref().to_vec();
            line(KIND, &reader.item(&bytes).expect("a record")).to_string()
        };
        (1..=3).map(record).collect()
    }

    fn check(lines: &[String], last_hash: Option<&str>) -> Result<Checked, String> {
        verify(lines.join("\n").as_bytes(), last_hash).map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_line_shows_everything_that_is_in_the_record() {
        let read: Value = serde_json::from_str(&export()[0]).expect("JSON");
        let item = &read["item"];
        assert_eq!((&item["number"], &item["time"]), (&json!(1), &json!("2026-09-21T14:13:20.123Z")));
        assert_eq!(item["entry"]["act"], json!({ "promote_member": "00000000000000ff" }));
        assert_eq!(item["entry"]["stage"], "STAGE_DONE");
        assert_eq!(item["entry"]["author"], "spiffe://switch.test/operator/ann");
    }

    #[test]
    fn a_whole_export_holds_together() {
        let checked = check(&export(), None).expect("whole");
        assert_eq!(checked.records, 3);
        assert_eq!(check(&export(), Some(&checked.last_hash)), Ok(checked));
        assert_eq!(check(&[], None).expect("nothing").records, 0);
    }

    #[test]
    fn the_first_record_that_is_not_what_it_was_is_named() {
        let whole = export();
        // What is shown, changed.
        let mut lines = whole.clone();
        lines[1] = lines[1].replace("operator/ann", "operator/bob");
        assert!(check(&lines, None).expect_err("changed").contains("record 2 (line 2): what is shown"));
        // The bytes, changed: the record itself still reads, the one after it does not follow.
        let mut lines = whole.clone();
        let bob = |text: &str| text.replace(&hex_bytes(b"operator/ann"), &hex_bytes(b"operator/bob"));
        let record: Value = serde_json::from_str(&lines[1]).expect("JSON");
        let bytes = unhex(&bob(record["item"]["record"].as_str().expect("hex"))).expect("hex");
        lines[1] = line(KIND, &Reader::new().expect("a contract").item(&bytes).expect("a record")).to_string();
        assert!(check(&lines, None).expect_err("changed").contains("record 3 (line 3): it follows"));
        // One is missing, two are swapped.
        let lines = vec![whole[0].clone(), whole[2].clone()];
        assert!(check(&lines, None).expect_err("missing").contains("record 2 (line 2): it has number 3"));
        let lines = vec![whole[1].clone(), whole[0].clone()];
        assert!(check(&lines, None).expect_err("swapped").contains("record 1 (line 1): it has number 2"));
        // The end is cut off.
        let last = check(&whole, None).expect("whole").last_hash;
        assert!(check(&whole[..2], Some(&last)).expect_err("cut").contains("the last of 2 records"));
        // A line that is none.
        let lines = vec![whole[0].clone(), "{}".to_owned()];
        assert!(check(&lines, None).expect_err("none").contains("record 2 (line 2): not an AuditRecord"));
    }
}
