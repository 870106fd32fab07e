//! `version`.

use serde_json::json;

use crate::output::Sheet;

pub(super) fn version() -> Sheet {
    sheet(env!("CARGO_PKG_VERSION"))
}

fn sheet(version: &str) -> Sheet {
    let item = json!({ "program": "admin-cli", "version": version, "contract": "payswitch.operator.v1" });
    Sheet::of("Version", [item])
        .with(
            &["PROGRAM", "VERSION", "CONTRACT"],
            vec![vec!["admin-cli".to_owned(), version.to_owned(), "payswitch.operator.v1".to_owned()]],
        )
        .named("version", [version])
}

#[cfg(test)]
pub(super) mod samples;
