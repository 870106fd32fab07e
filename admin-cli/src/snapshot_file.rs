//! A saved snapshot: a file with every row of a node's table, and a manifest beside it that says what it is of.
//!
//! Rows stand in ascending order of their keys, each as the length of its key and of its value, four bytes each, the lowest
//! first, then the key, then the value. Card data in them is sealed and data keys are wrapped, as on the node's own disk: the
//! file opens nothing without the cluster's keys. The manifest holds the SHA-256 of the file and one of its own content, so
//! that `sha256sum` can check the first and `snapshot verify` both.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use ring::digest;
use serde::{Deserialize, Serialize};
use switch_proto::operator::v1::{SnapshotDescription, SnapshotSum};

use crate::{
    exit::Exit,
    failure::Failure,
    output::{API_VERSION, hex, hex_bytes},
    snapshot_shelf::{MANIFEST_END, PARTIAL_END},
};

/// What a snapshot is of, and how it can be checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    /// The cluster, 16 hexadecimal digits.
    pub(crate) cluster_id: String,
    /// The node whose state it is.
    pub(crate) node_id: String,
    /// Last index applied to it.
    pub(crate) applied_index: u64,
    /// Term of that entry.
    pub(crate) applied_term: u64,
    /// Rolling hash at that index: that of every node which has applied it.
    pub(crate) state_hash: String,
    /// Log time when it was taken, milliseconds since 1970.
    pub(crate) log_time_unix_ms: i64,
    /// Rows in the file.
    pub(crate) rows: u64,
    /// Bytes of the file.
    pub(crate) size_bytes: u64,
    /// SHA-256 of the file.
    pub(crate) sha256: String,
    /// SHA-256 of this manifest in JSON without blanks, fields in this order, and nothing in the place of this one.
    pub(crate) checksum: String,
}

impl Manifest {
    fn of(head: &SnapshotDescription, sum: &Sum) -> Result<Self, Failure> {
        let mut manifest = Self {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            cluster_id: hex(head.cluster_id),
            node_id: hex(head.node_id),
            applied_index: head.applied_index,
            applied_term: head.applied_term,
            state_hash: hex_bytes(&head.state_hash),
            log_time_unix_ms: head.log_time_unix_ms,
            rows: sum.rows,
            size_bytes: sum.size_bytes,
            sha256: sum.sha256.clone(),
            checksum: String::new(),
        };
        manifest.checksum = manifest.own_checksum()?;
        Ok(manifest)
    }

    fn own_checksum(&self) -> Result<String, Failure> {
        let bare = Self { checksum: String::new(), ..self.clone() };
        let json = serde_json::to_vec(&bare);
        let json = json.map_err(|error| Failure::local(Exit::Failure, "MANIFEST", error.to_string()))?;
        Ok(hex_bytes(digest::digest(&digest::SHA256, &json).as_ref()))
    }
}

/// Takes a snapshot to disk. Dropped before [`Self::finish`] it leaves nothing behind.
pub(crate) struct Writer {
    path: PathBuf,
    unfinished: Unfinished,
    file: fs::File,
    counted: Counted,
    frames: u64,
}

impl Writer {
    /// Beside `path`, which must not exist, nor its manifest.
    pub(crate) fn create(path: &Path) -> Result<Self, Failure> {
        for path in [path, &manifest_of(path)] {
            if path.symlink_metadata().is_ok() {
                return Err(Failure::local(
                    Exit::Precondition,
                    "FILE_EXISTS",
                    format!("{} exists and is not overwritten", path.display()),
                ));
            }
        }
        let beside = with_end(path, PARTIAL_END);
        let file = create_new(&beside).map_err(|error| unusable(&beside, &error))?;
        Ok(Self {
            path: path.to_owned(),
            unfinished: Unfinished(Some(beside)),
            file,
            counted: Counted::new(),
            frames: 0,
        })
    }

    /// Takes the next frame; gives the bytes there are.
    pub(crate) fn frame(&mut self, frame: &[u8]) -> Result<u64, Failure> {
        self.counted.take(frame).map_err(damaged)?;
        self.file.write_all(frame).map_err(|error| unusable(&self.path, &error))?;
        self.frames += 1;
        Ok(self.counted.size_bytes)
    }

    /// Puts file and manifest in place, both on the disk, once what came is what the node sent.
    pub(crate) fn finish(mut self, head: &SnapshotDescription, sent: &SnapshotSum) -> Result<Manifest, Failure> {
        let sum = self.counted.finish().map_err(damaged)?;
        let came = (self.frames, sum.size_bytes, sum.sha256.clone());
        let (frames, size_bytes, sha256) = (sent.frames, sent.size_bytes, hex_bytes(&sent.sha256));
        if came != (frames, size_bytes, sha256) {
            let words = format!("{frames} frames of {size_bytes} bytes were sent, {} of {} came", came.0, came.1);
            return Err(damaged(words));
        }
        let failed = |error: io::Error| unusable(&self.path, &error);
        let manifest = Manifest::of(head, &sum)?;
        let text = serde_json::to_string_pretty(&manifest);
        let text = text.map_err(|error| Failure::local(Exit::Failure, "MANIFEST", error.to_string()))?;
        self.file.sync_all().map_err(failed)?;
        let beside = self.unfinished.0.take().unwrap_or_default();
        fs::rename(&beside, &self.path).map_err(failed)?;
        // Last of all: what has no manifest is no snapshot.
        let mut file = create_new(&manifest_of(&self.path)).map_err(failed)?;
        file.write_all(format!("{text}\n").as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::File::open(folder_of(&self.path)).and_then(|folder| folder.sync_all()).map_err(failed)?;
        Ok(manifest)
    }
}

/// Removes what was not finished.
struct Unfinished(Option<PathBuf>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

/// Reads a snapshot from its first byte to its last and compares it with its manifest; `seen` hears how far it has come, in
/// bytes, of how many.
pub(crate) fn verify(path: &Path, checksum: Option<&str>, seen: impl Fn(u64, u64)) -> Result<Manifest, Failure> {
    let manifest = manifest(path)?;
    if checksum.is_some_and(|noted| !noted.eq_ignore_ascii_case(&manifest.checksum)) {
        let words = format!("its manifest has checksum {}: it is another snapshot", manifest.checksum);
        return Err(Failure::local(Exit::Failure, "SNAPSHOT_OTHER", words));
    }
    let mut file = fs::File::open(path).map_err(|error| unreadable(path, &error))?;
    let (mut counted, mut piece) = (Counted::new(), vec![0; PIECE_BYTES]);
    loop {
        let read = file.read(&mut piece).map_err(|error| unreadable(path, &error))?;
        if read == 0 {
            break;
        }
        counted.take(&piece[..read]).map_err(damaged)?;
        seen(counted.size_bytes, manifest.size_bytes);
    }
    let sum = counted.finish().map_err(damaged)?;
    if sum.size_bytes != manifest.size_bytes {
        return Err(damaged(format!("it has {} bytes, its manifest says {}", sum.size_bytes, manifest.size_bytes)));
    }
    if sum.sha256 != manifest.sha256 {
        return Err(damaged(format!("its SHA-256 is {}, its manifest says {}", sum.sha256, manifest.sha256)));
    }
    if sum.rows != manifest.rows {
        return Err(damaged(format!("it has {} rows, its manifest says {}", sum.rows, manifest.rows)));
    }
    Ok(manifest)
}

/// Reads the manifest of a snapshot.
pub(crate) fn manifest(path: &Path) -> Result<Manifest, Failure> {
    let path = manifest_of(path);
    let text = fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?;
    let manifest: Manifest = serde_json::from_str(&text).map_err(|error| damaged(format!("its manifest: {error}")))?;
    if (manifest.api_version.as_str(), manifest.kind.as_str()) != (API_VERSION, KIND) {
        return Err(damaged(format!("its manifest is no {KIND} of {API_VERSION}")));
    }
    if manifest.own_checksum()? != manifest.checksum {
        return Err(damaged("its manifest is not what it was".to_owned()));
    }
    Ok(manifest)
}

/// Where the manifest of a snapshot is.
pub(crate) fn manifest_of(path: &Path) -> PathBuf {
    with_end(path, MANIFEST_END)
}

/// The folder that a file is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// Only its owner reads it: it is sealed, but it is everything.
fn create_new(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn unusable(path: &Path, error: &io::Error) -> Failure {
    Failure::local(Exit::Failure, "FILE", format!("{}: {error}", path.display()))
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let exit = if error.kind() == io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Usage };
    Failure::local(exit, "FILE", format!("{}: {error}", path.display()))
}

fn damaged(words: String) -> Failure {
    Failure::local(Exit::Failure, "SNAPSHOT_DAMAGED", format!("the snapshot is damaged: {words}"))
}

/// What bytes came to.
struct Sum {
    rows: u64,
    size_bytes: u64,
    sha256: String,
}

/// Counts rows and bytes as they pass, and keeps of them no more than a key.
struct Counted {
    digest: digest::Context,
    size_bytes: u64,
    rows: u64,
    within: Within,
    lengths: Vec<u8>,
    key: Vec<u8>,
    last_key: Vec<u8>,
}

/// Where in a row the next byte stands.
#[derive(Clone, Copy)]
enum Within {
    Lengths,
    Key { left: usize, value: usize },
    Value { left: usize },
}

impl Counted {
    fn new() -> Self {
        Self {
            digest: digest::Context::new(&digest::SHA256),
            size_bytes: 0,
            rows: 0,
            within: Within::Lengths,
            lengths: Vec::with_capacity(LENGTHS_BYTES),
            key: Vec::new(),
            last_key: Vec::new(),
        }
    }

    fn take(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        self.digest.update(bytes);
        self.size_bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            let left = match self.within {
                Within::Lengths => LENGTHS_BYTES - self.lengths.len(),
                Within::Key { left, .. } | Within::Value { left } => left,
            };
            let (taken, rest) = bytes.split_at(left.min(bytes.len()));
            bytes = rest;
            match &mut self.within {
                Within::Lengths => self.lengths.extend_from_slice(taken),
                Within::Key { left, .. } => {
                    self.key.extend_from_slice(taken);
                    *left -= taken.len();
                }
                Within::Value { left } => *left -= taken.len(),
            }
            self.pass()?;
        }
        Ok(())
    }

    /// Goes on to the next part of a row, or to the next row, wherever one is complete.
    fn pass(&mut self) -> Result<(), String> {
        if let (Within::Lengths, &[a, b, c, d, e, f, g, h]) = (self.within, self.lengths.as_slice()) {
            let key = u32::from_le_bytes([a, b, c, d]) as usize;
            let value = u32::from_le_bytes([e, f, g, h]) as usize;
            if key == 0 || key > KEY_BYTES_MAX || value > ROW_BYTES_MAX {
                return Err(format!("row {} has an impossible length", self.rows + 1));
            }
            self.lengths.clear();
            self.within = Within::Key { left: key, value };
        }
        if let Within::Key { left: 0, value } = self.within {
            if self.rows > 0 && self.key <= self.last_key {
                return Err(format!("the key of row {} does not ascend", self.rows + 1));
            }
            std::mem::swap(&mut self.key, &mut self.last_key);
            self.key.clear();
            self.within = Within::Value { left: value };
        }
        if let Within::Value { left: 0 } = self.within {
            self.rows += 1;
            self.within = Within::Lengths;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Sum, String> {
        if !matches!(self.within, Within::Lengths) || !self.lengths.is_empty() {
            return Err("it ends within a row".to_owned());
        }
        let sha256 = hex_bytes(self.digest.clone().finish().as_ref());
        Ok(Sum { rows: self.rows, size_bytes: self.size_bytes, sha256 })
    }
}

/// Kind of a manifest.
const KIND: &str = "SnapshotManifest";
/// The lengths of a key and of a value.
const LENGTHS_BYTES: usize = 8;
/// What a node's table can hold as a key.
const KEY_BYTES_MAX: usize = u16::MAX as usize;
/// What a node's table can hold as a value.
const ROW_BYTES_MAX: usize = 256 << 20;
/// Read from disk at once.
const PIECE_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &[u8], value: &[u8]) -> Vec<u8> {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("short").to_le_bytes();
        [&length(key)[..], &length(value), key, value].concat()
    }

    fn rows() -> Vec<u8> {
        [row(b"a", b"first"), row(b"aa", b""), row(b"b", &[7; 300])].concat()
    }

    fn head() -> SnapshotDescription {
        SnapshotDescription {
            cluster_id: 1,
            node_id: 2,
            applied_index: 3,
            applied_term: 4,
            state_hash: vec![0xab; 32].into(),
            log_time_unix_ms: 1_790_000_000_123,
        }
    }

    fn sum_of(frames: &[&[u8]]) -> SnapshotSum {
        let all = frames.concat();
        let sha256 = digest::digest(&digest::SHA256, &all).as_ref().to_vec().into();
        SnapshotSum { frames: frames.len() as u64, size_bytes: all.len() as u64, sha256 }
    }

    fn save(path: &Path, frames: &[&[u8]], sent: &SnapshotSum) -> Result<Manifest, Failure> {
        let mut writer = Writer::create(path)?;
        for frame in frames {
            writer.frame(frame)?;
        }
        writer.finish(&head(), sent)
    }

    fn checked(path: &Path) -> Result<Manifest, Failure> {
        verify(path, None, |_, _| {})
    }

    #[test]
    fn what_was_saved_is_verified_and_never_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("node-1.snapshot");
        let all = rows();
        let frames: Vec<&[u8]> = all.chunks(7).collect();
        let saved = save(&path, &frames, &sum_of(&frames)).expect("saved");
        assert_eq!((saved.rows, saved.size_bytes, saved.applied_index), (3, all.len() as u64, 3));
        assert_eq!(checked(&path), Ok(saved.clone()));
        assert_eq!(verify(&path, Some(&saved.checksum.to_uppercase()), |_, _| {}), Ok(saved));
        let other = verify(&path, Some("00"), |_, _| {}).expect_err("another");
        assert!(other.is_any_of(&["SNAPSHOT_OTHER"]), "{other}");
        let again = save(&path, &frames, &sum_of(&frames)).expect_err("it exists");
        assert!(again.exit == Exit::Precondition && again.is_any_of(&["FILE_EXISTS"]), "{again}");
    }

    #[test]
    fn every_flipped_byte_of_file_and_manifest_is_noticed_and_every_cut() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s");
        let all = rows();
        save(&path, &[&all], &sum_of(&[&all])).expect("saved");
        for at in 0..all.len() {
            let mut flipped = all.clone();
            flipped[at] ^= 1;
            fs::write(&path, &flipped).expect("written");
            checked(&path).expect_err("a flipped byte");
            fs::write(&path, &all[..at]).expect("written");
            checked(&path).expect_err("a cut");
        }
        fs::write(&path, &all).expect("written");
        let manifest = fs::read_to_string(manifest_of(&path)).expect("it is there");
        for word in manifest.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| word.len() > 3) {
            let other = word.chars().rev().collect::<String>();
            if other != word {
                fs::write(manifest_of(&path), manifest.replacen(word, &other, 1)).expect("written");
                checked(&path).expect_err(word);
            }
        }
        fs::write(manifest_of(&path), &manifest).expect("written");
        checked(&path).expect("as it was");
    }

    #[test]
    fn what_breaks_off_or_does_not_add_up_leaves_nothing_behind() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s");
        let all = rows();
        let short = &all[..all.len() - 1];
        let backwards = [row(b"b", b""), row(b"a", b"")].concat();
        for (frames, sent) in [(short, sum_of(&[short])), (&all, sum_of(&[short])), (&backwards, sum_of(&[&backwards]))]
        {
            let failure = save(&path, &[frames], &sent).expect_err("refused");
            assert!(failure.is_any_of(&["SNAPSHOT_DAMAGED"]), "{failure}");
        }
        drop(Writer::create(&path).expect("begun"));
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }
}
