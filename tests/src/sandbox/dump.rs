//! The books as JSON lines.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
    sync::Arc,
};

use serde::Serializer;

use super::{
    books::Cursor,
    network::Network,
    proto::{Delivery, MessageClass, Purpose, ReversalReason, ViolationKind},
};

/// Writes all books into one file, and says how many lines. What stood there before stays until the new file is whole.
pub(super) fn write(networks: &[Arc<Network>], path: &Path) -> io::Result<u64> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".partial");
    let mut file = BufWriter::new(File::create(&beside)?);
    let mut lines = 0;
    for network in networks {
        let mut cursor = Some(Cursor::new(false));
        while let Some(at) = cursor {
            let (records, next) = network.page(at);
            for record in &records {
                serde_json::to_writer(&mut file, record)?;
                file.write_all(b"\n")?;
                lines += 1;
            }
            cursor = next;
        }
    }
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    std::fs::rename(&beside, path)?;
    Ok(lines)
}

/// Writers for enumerations: the name, in small letters and without its prefix.
macro_rules! names {
    ($($function:ident: $enumeration:ident, $prefix:literal;)+) => {
        $(pub(super) fn $function<S: Serializer>(number: &i32, to: S) -> Result<S::Ok, S::Error> {
            let value = $enumeration::try_from(*number).unwrap_or_default();
            let name = value.as_str_name();
            to.serialize_str(&name.strip_prefix($prefix).unwrap_or(name).to_ascii_lowercase())
        })+
    };
}

names! {
    message_class: MessageClass, "MESSAGE_CLASS_";
    purpose: Purpose, "PURPOSE_";
    delivery: Delivery, "DELIVERY_";
    reversal_reason: ReversalReason, "REVERSAL_REASON_";
    violation_kind: ViolationKind, "VIOLATION_KIND_";
}
