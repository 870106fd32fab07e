//! `pki init`.

use std::{path::Path, time::Duration};

use super::sheet;
use crate::{cli::Global, commands::plan, failure::Failure, output::Sheet, pki::Authority};

pub(super) fn init(
    global: &Global,
    folder: &Path,
    trust_domain: &str,
    cluster: &str,
    valid: Duration,
) -> Result<Sheet, Failure> {
    if let Some(plan) = plan(global, &format!("four roots for cluster {cluster} are made in {}", folder.display())) {
        return Ok(plan);
    }
    Ok(sheet("RootList", &Authority::init(folder, trust_domain, cluster, valid)?))
}
