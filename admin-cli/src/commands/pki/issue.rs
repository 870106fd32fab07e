//! `pki issue`.

use std::{path::Path, time::Duration};

use super::sheet;
use crate::{
    cli::Global,
    commands::plan,
    failure::Failure,
    output::Sheet,
    pki::{Authority, Subject},
};

pub(super) fn issue(
    global: &Global,
    folder: &Path,
    subject: Subject,
    name: &str,
    hosts: &[String],
    valid: Duration,
) -> Result<Sheet, Failure> {
    let authority = Authority::open(folder)?;
    if let Some(plan) = plan(global, &format!("the roots in {} sign for {name}", folder.display())) {
        return Ok(plan);
    }
    Ok(sheet("CertificateList", &authority.issue(subject, name, hosts, valid)?))
}
