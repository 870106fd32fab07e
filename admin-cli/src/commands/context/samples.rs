//! Answers of `context`.

use std::collections::BTreeMap;

use super::{sheet, tested};
use crate::{
    commands::{cluster, samples::Sample},
    context::{Context, Contexts},
};

fn contexts(current: Option<&str>) -> Contexts {
    let context = |endpoints: &[&str]| Context {
        endpoints: endpoints.iter().map(|&endpoint| endpoint.to_owned()).collect(),
        certificate: "/etc/payswitch/ann.pem".into(),
        key: "/etc/payswitch/ann-key.pem".into(),
        roots: "/etc/payswitch/operator-roots.pem".into(),
        server_name: None,
    };
    let contexts = BTreeMap::from([
        ("production".to_owned(), context(&["10.0.0.1:7003"])),
        ("staging".to_owned(), context(&["node-1.switch:7003", "node-2.switch:7003"])),
    ]);
    Contexts { current: current.map(str::to_owned), contexts }
}

pub(in crate::commands) fn all() -> Vec<Sample> {
    let staging = Some("staging");
    let mut rest = contexts(None);
    rest.contexts.remove("staging");
    vec![
        Sample::of("context list", sheet(&contexts(staging), None)),
        Sample::of("context show", sheet(&contexts(staging), staging)),
        Sample::of("context test", tested(&cluster::samples::answers())),
        Sample::of("context use", sheet(&contexts(staging), None)),
        Sample::of("context set", sheet(&contexts(None), None)),
        Sample::of("context remove", sheet(&rest, None)),
    ]
}
