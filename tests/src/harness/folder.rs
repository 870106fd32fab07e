//! Where a cluster keeps its data, and whether it stays.

use std::path::{Path, PathBuf};

use anyhow::Context;

/// Set to 1, the folders of clusters that ended well stay too.
const KEEP: &str = "PAYSWITCH_KEEP";

/// A folder that is removed only after a good end.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// False for a folder that somebody named: it is never removed.
    own: bool,
    ended_well: bool,
}

impl Folder {
    pub(super) fn temporary() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("payswitch-").tempdir().context("no temporary folder")?;
        Ok(Self { path: folder.keep(), own: true, ended_well: false })
    }

    pub(super) fn named(path: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(path).with_context(|| format!("{} cannot be made", path.display()))?;
        Ok(Self { path: path.canonicalize()?, own: false, ended_well: false })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn ended_well(&mut self) {
        self.ended_well = true;
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let keep = std::env::var_os(KEEP).is_some_and(|keep| keep == "1");
        if self.own && self.ended_well && !keep {
            let _ = std::fs::remove_dir_all(&self.path);
        } else if self.own {
            eprintln!("data and logs stay in {}", self.path.display());
        }
    }
}
