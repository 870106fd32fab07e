//! Answers of `apply` and `diff`.

use switch_proto::operator::v1 as pb;

use super::Plan;
use crate::{
    commands::{
        directory::{applied, samples::shop},
        samples::{REQUEST_ID, Sample},
    },
    directory_file::{self, DirectoryFile, Form, Known},
};

pub(in crate::commands) fn all() -> Vec<Sample> {
    let now = pb::Directory { version: 11, gateways: vec![shop().into()], ..pb::Directory::default() };
    let known = Known::of(now);
    let mut closed = serde_json::to_value(shop()).expect("a record");
    closed["enabled"] = false.into();
    closed["burst"] = 500.into();
    let file = serde_json::json!({ "gateways": [closed], "changes": [{ "remove_route": "visa-old" }] }).to_string();
    let file = directory_file::parse(&file, Form::Yaml).expect("a file");
    let changes = DirectoryFile::changes(file, &known, false);
    let plan = Plan { expected_version: 11, request_id: None, changes, known };
    vec![Sample::of("apply", applied(12, REQUEST_ID)), Sample::of("diff", plan.sheet())]
}
