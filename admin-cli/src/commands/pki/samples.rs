//! Answers of `pki`.

use super::sheet;
use crate::{commands::samples::Sample, pki::Written};

pub(in crate::commands) fn all() -> Vec<Sample> {
    let root = |plane: &'static str| Written {
        plane,
        uri: String::new(),
        certificate: format!("pki/{plane}-ca.crt").into(),
        key: format!("pki/{plane}-ca.key").into(),
        roots: format!("pki/{plane}-ca.crt").into(),
    };
    let ann = Written {
        plane: "operator",
        uri: "spiffe://switch.example/operator/ann".into(),
        certificate: "pki/ann-operator.crt".into(),
        key: "pki/ann-operator.key".into(),
        roots: "pki/operator-ca.crt".into(),
    };
    vec![
        Sample::of("pki init", sheet("RootList", &["gateway", "peer", "operator", "network"].map(root))),
        Sample::of("pki issue", sheet("CertificateList", &[ann])),
    ]
}
