//! `version`.

use serde_json::json;

use crate::output::Sheet;

pub(super) fn version() -> Sheet {
    let version = env!("CARGO_PKG_VERSION");
    let item = json!({ "program": "admin-cli", "version": version, "contract": "payswitch.operator.v1" });
    Sheet::of("Version", [item]).with(
        &["PROGRAM", "VERSION", "CONTRACT"],
        vec![vec!["admin-cli".to_owned(), version.to_owned(), "payswitch.operator.v1".to_owned()]],
    )
}
