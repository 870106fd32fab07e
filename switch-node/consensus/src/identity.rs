//! Which cluster, node and disk this is.
//!
//! The ids are random and on the disk they belong to: an empty disk has new ids, so a node that lost its disk cannot come back as the
//! node it was. The file is small, has a CRC and is replaced atomically.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::NodeId;

/// The ids of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster, 0 until it was formed or joined. Never changes after that.
    pub cluster_id: u64,
    /// The node.
    pub node_id: NodeId,
    /// The disk.
    pub store_id: u64,
}

/// An identity that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file is damaged. The node must not guess who it is: bring it back as a new node, with an empty data directory.
    #[error("{path} is damaged ({what}): bring this node back as a new node with an empty data directory")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The file was written by a version of the switch that this one does not know.
    #[error("{path} has format {format}, this version knows {FORMAT}: run the version that wrote it, or a later one")]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
    /// There is data, but no identity with it: a wrong directory, or a file that was deleted.
    #[error("{dir} holds data but no identity: check the data directory")]
    Missing {
        /// The data directory.
        dir: PathBuf,
    },
    /// The node belongs to another cluster already.
    #[error(
        "this node belongs to cluster {has:016x} and cannot become a member of {other:016x}: use an empty data directory"
    )]
    OtherCluster {
        /// Its cluster.
        has: u64,
        /// The other one.
        other: u64,
    },
    /// The disk fails.
    #[error("{path}: {source}")]
    Disk {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Identity {
    /// A new node on an empty disk, in no cluster yet. `random` gives 64 random bits.
    pub fn new(mut random: impl FnMut() -> u64) -> Self {
        let mut id = || loop {
            let id = random();
            if id != 0 {
                return id;
            }
        };
        Self { cluster_id: 0, node_id: id(), store_id: id() }
    }

    /// Reads the identity in the data directory `dir`, or makes a new one if the directory is empty or not there.
    pub fn load_or_create(dir: &Path, random: impl FnMut() -> u64) -> Result<Self, IdentityError> {
        let path = dir.join(FILE);
        match fs::read(&path) {
            Ok(bytes) => Self::parse(&bytes, &path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let disk = |source| IdentityError::Disk { path: dir.to_owned(), source };
                fs::create_dir_all(dir).map_err(disk)?;
                // A filesystem's own lost+found, and a write of ours that a crash cut short, are not data.
                let holds_data = fs::read_dir(dir).map_err(disk)?.any(|entry| {
                    entry.is_ok_and(|entry| entry.file_name() != "lost+found" && entry.file_name() != FILE_NEW)
                });
                if holds_data {
                    return Err(IdentityError::Missing { dir: dir.to_owned() });
                }
                let identity = Self::new(random);
                identity.save(dir)?;
                Ok(identity)
            }
            Err(source) => Err(IdentityError::Disk { path, source }),
        }
    }

    /// Writes the identity to `dir`, durably: a crash leaves the old file or the new one.
    pub fn save(&self, dir: &Path) -> Result<(), IdentityError> {
        let write = || {
            let mut file = File::create(dir.join(FILE_NEW))?;
            file.write_all(&self.encode())?;
            file.sync_all()?;
            fs::rename(dir.join(FILE_NEW), dir.join(FILE))?;
            File::open(dir)?.sync_all()
        };
        write().map_err(|source| IdentityError::Disk { path: dir.join(FILE), source })
    }

    /// This identity as a member of `cluster_id`.
    pub fn in_cluster(self, cluster_id: u64) -> Result<Self, IdentityError> {
        if self.cluster_id != 0 && self.cluster_id != cluster_id {
            return Err(IdentityError::OtherCluster { has: self.cluster_id, other: cluster_id });
        }
        Ok(Self { cluster_id, ..self })
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&FORMAT.to_be_bytes());
        for id in [self.cluster_id, self.node_id, self.store_id] {
            bytes.extend_from_slice(&id.to_be_bytes());
        }
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        bytes
    }

    fn parse(bytes: &[u8], path: &Path) -> Result<Self, IdentityError> {
        let damaged = |what| IdentityError::Damaged { path: path.to_owned(), what };
        let (body, crc) = bytes.split_last_chunk::<4>().map(|(body, crc)| (body, *crc)).ok_or(damaged("too short"))?;
        if crc32fast::hash(body).to_be_bytes() != crc {
            return Err(damaged("wrong checksum"));
        }
        let body = body.strip_prefix(MAGIC).ok_or(damaged("not an identity"))?;
        let (format, ids) = body.split_first_chunk::<4>().ok_or(damaged("too short"))?;
        let format = u32::from_be_bytes(*format);
        if format != FORMAT {
            return Err(IdentityError::Format { path: path.to_owned(), format });
        }
        let ids: Vec<u64> =
            ids.chunks_exact(8).filter_map(|id| Some(u64::from_be_bytes(id.try_into().ok()?))).collect();
        let [cluster_id, node_id, store_id] = ids[..] else { return Err(damaged("wrong length")) };
        Ok(Self { cluster_id, node_id, store_id })
    }
}

const FILE: &str = "identity";
const FILE_NEW: &str = "identity.new";
const MAGIC: &[u8] = b"pswident";
const FORMAT: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn counting() -> impl FnMut() -> u64 {
        let mut next = 0;
        move || {
            next += 1;
            next
        }
    }

    #[test]
    fn an_identity_is_made_once_and_every_flipped_bit_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let made = Identity::load_or_create(&data, counting()).unwrap();
        assert_eq!(made, Identity { cluster_id: 0, node_id: 1, store_id: 2 });
        made.in_cluster(9).unwrap().save(&data).unwrap();
        let joined = Identity::load_or_create(&data, || unreachable!("not made again")).unwrap();
        assert_eq!(joined, Identity { cluster_id: 9, node_id: 1, store_id: 2 });
        assert!(matches!(joined.in_cluster(8), Err(IdentityError::OtherCluster { has: 9, other: 8 })));

        let file = data.join(FILE);
        let bytes = fs::read(&file).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            fs::write(&file, damaged).unwrap();
            let error = Identity::load_or_create(&data, || unreachable!("not made again")).unwrap_err();
            assert!(matches!(error, IdentityError::Damaged { .. }), "bit {bit}: {error}");
        }
    }

    #[test]
    fn data_without_an_identity_is_not_taken_for_an_empty_disk() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("lost+found")).unwrap();
        fs::create_dir(dir.path().join("log")).unwrap();
        let error = Identity::load_or_create(dir.path(), counting()).unwrap_err();
        assert!(matches!(error, IdentityError::Missing { .. }), "{error}");
        fs::remove_dir(dir.path().join("log")).unwrap();
        assert!(Identity::load_or_create(dir.path(), counting()).is_ok());
    }
}
