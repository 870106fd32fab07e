//! Generates the Rust of the sandbox's control contract with protox, so that nobody needs protoc.

use std::error::Error;

const CONTRACT: &str = "proto/payswitch/sandbox/v1/sandbox_service.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile([CONTRACT], ["proto"])?;
    let mut builder = tonic_prost_build::configure()
        .message_attribute(".", "#[derive(serde::Serialize)]")
        .type_attribute("Record.entry", "#[derive(serde::Serialize)] #[serde(rename_all = \"snake_case\")]")
        .field_attribute("Record.entry", "#[serde(flatten)]");
    // The JSON lines of a dump name what the wire numbers.
    for (field, writer) in [
        ("Attempt.message_class", "message_class"),
        ("Attempt.purpose", "purpose"),
        ("Attempt.delivery", "delivery"),
        ("Reversal.reason", "reversal_reason"),
        ("Violation.kind", "violation_kind"),
    ] {
        builder =
            builder.field_attribute(field, format!("#[serde(serialize_with = \"crate::sandbox::dump::{writer}\")]"));
    }
    builder.compile_fds(descriptors)?;
    Ok(())
}
