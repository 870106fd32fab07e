//! Disks of a test's own, mounted for as long as they live.

use std::{fs, path::PathBuf};

use anyhow::Context as _;
use switch_tests::harness::Cluster;
use tempfile::TempDir;

use crate::tool::{COPY, MKFS, MOUNT, PYTHON, SYNC, UMOUNT};

/// A disk; dropping it throws it away with everything on it.
pub(crate) struct Disk {
    folder: TempDir,
    kind: Kind,
}

enum Kind {
    /// In memory, so many bytes.
    Small(u64),
    /// ext4 in a file: a power cut loses what was not synced.
    Ext4,
}

impl Disk {
    /// One of `bytes`, in memory.
    pub(crate) fn small(bytes: u64) -> anyhow::Result<Self> {
        Self::mounted(Kind::Small(bytes))
    }

    /// One of 2 GiB with a journaling file system, none of which is taken before it is written.
    pub(crate) fn ext4() -> anyhow::Result<Self> {
        Self::mounted(Kind::Ext4)
    }

    fn mounted(kind: Kind) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("payswitch-disk-").tempdir()?;
        let own = Self { folder, kind };
        fs::create_dir(own.root())?;
        if matches!(own.kind, Kind::Ext4) {
            fs::File::create(own.image())?.set_len(2 << 30)?;
            MKFS.run(&["-q", "-F", &own.image().display().to_string()])?;
        }
        own.mount()?;
        Ok(own)
    }

    fn mount(&self) -> anyhow::Result<()> {
        let (root, image) = (self.root().display().to_string(), self.image().display().to_string());
        match self.kind {
            Kind::Small(bytes) => MOUNT.run(&["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs", &root]),
            Kind::Ext4 => MOUNT.run(&["-t", "ext4", "-o", "loop", &image, &root]),
        }
        .map(drop)
    }

    /// Where it is mounted.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    /// Ends node `number`, moves its data here and leaves a link in its place.
    pub(crate) fn house(&self, cluster: &Cluster, number: usize) -> anyhow::Result<()> {
        cluster.kill9(number);
        let (from, to) = (cluster.node(number).data_dir(), self.root().join(format!("node-{number}")));
        COPY.run(&["-a", &from.display().to_string(), &to.display().to_string()])?;
        // The node has synced what it wrote; so must whoever copies it.
        SYNC.run(&["-f", &self.root().display().to_string()])?;
        fs::remove_dir_all(from)?;
        std::os::unix::fs::symlink(&to, from).with_context(|| format!("a link to {}", to.display()))
    }

    /// Cuts its power: from now on nothing reaches it, what no sync had written is gone, and every call fails.
    pub(crate) fn lose_power(&self) -> anyhow::Result<()> {
        PYTHON.run_with(&["-", &self.root().display().to_string()], SHUTDOWN).map(drop)
    }

    /// Mounts it again after [`Disk::lose_power`]; nobody may have a file of it open.
    pub(crate) fn power(&self) -> anyhow::Result<()> {
        UMOUNT.run(&[&self.root().display().to_string()])?;
        self.mount()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, since after a failure somebody may still write here. It may not be mounted at all.
        let _ = UMOUNT.run(&["-l", &self.root().display().to_string()]);
    }
}

/// FS_IOC_SHUTDOWN with NOLOGFLUSH. An ioctl is unsafe in Rust, and this tree has no unsafe code.
const SHUTDOWN: &str = "
import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))
";
