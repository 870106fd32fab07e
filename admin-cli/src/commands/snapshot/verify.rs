//! `snapshot verify`.

use std::path::Path;

use super::row;
use crate::{
    cli::Global,
    failure::Failure,
    output::Sheet,
    progress::Progress,
    snapshot_file::{self, Manifest},
};

pub(super) fn verify(global: &Global, file: &Path, checksum: Option<&str>) -> Result<Sheet, Failure> {
    let progress = Progress::of("verifying", global.talk());
    let manifest = snapshot_file::verify(file, checksum, |done, of| progress.at(done, of))?;
    drop(progress);
    Ok(sheet(&manifest, file))
}

pub(super) fn sheet(manifest: &Manifest, file: &Path) -> Sheet {
    Sheet::of("SnapshotVerified", [manifest])
        .with(&["NODE", "INDEX", "ROWS", "BYTES", "CHECKSUM"], vec![row(manifest)])
        .named("snapshot", [file.display().to_string()])
}
