//! `audit verify`.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

use serde_json::json;

use crate::{
    exit::Exit,
    failure::Failure,
    output::Sheet,
    trail::{self, Checked},
};

pub(super) fn verify(file: &Path, last_hash: Option<&str>) -> Result<Sheet, Failure> {
    let unreadable = |error: io::Error| Failure::local(Exit::Usage, "FILE", format!("{}: {error}", file.display()));
    let lines: Box<dyn BufRead> = if file == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(BufReader::new(File::open(file).map_err(unreadable)?))
    };
    Ok(sheet(&trail::verify(lines, last_hash)?))
}

pub(super) fn sheet(checked: &Checked) -> Sheet {
    let Checked { records, last_hash } = checked;
    let item = json!({ "records": records, "last_hash": last_hash });
    Sheet::of("AuditVerified", [item])
        .with(&["RECORDS", "LAST HASH"], vec![vec![records.to_string(), last_hash.clone()]])
        .named("audit", [last_hash])
}
