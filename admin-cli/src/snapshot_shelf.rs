//! A folder of saved snapshots, of which the newest stay.

use std::{
    ffi::OsStr,
    fs, io,
    num::NonZeroU16,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    exit::Exit,
    failure::Failure,
    snapshot_file::{self, Manifest, folder_of, manifest_of},
};

/// Removes the oldest snapshots beside the one that was just saved, until `keep` are there with it, and what attempts that were
/// killed left there long ago. Gives what was removed.
///
/// Only what this program made counts, of the same cluster, under a name with the same end: everything else in the folder is
/// somebody else's.
pub(crate) fn prune(saved: &Path, manifest: &Manifest, keep: NonZeroU16) -> Result<Vec<PathBuf>, Failure> {
    let folder = folder_of(saved);
    let failed = |path: &Path, error: &io::Error| {
        let words =
            format!("{} was saved, and older snapshots were not removed: {}: {error}", saved.display(), path.display());
        Failure::local(Exit::Failure, "NOT_PRUNED", words)
    };
    let (mut others, mut removed) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).map_err(|error| failed(folder, &error))? {
        let path = entry.map_err(|error| failed(folder, &error))?.path();
        if let Some(snapshot) = without_end(&path, MANIFEST_END).filter(|other| is_alike(other, saved)) {
            let kept = snapshot_file::manifest(&snapshot).ok();
            let kept = kept.filter(|kept| kept.cluster_id == manifest.cluster_id);
            others.extend(kept.map(|kept| (kept.log_time_unix_ms, snapshot)));
        } else if without_end(&path, PARTIAL_END).is_some_and(|other| is_alike(&other, saved)) && is_left_over(&path) {
            removed.push(path);
        }
    }
    others.sort_unstable();
    let surplus = (others.len() + 1).saturating_sub(usize::from(keep.get()));
    for (_, snapshot) in others.drain(..surplus) {
        // The manifest last: one that is left alone is found by the next attempt.
        removed.extend([snapshot.clone(), manifest_of(&snapshot)]);
    }
    for path in &removed {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(path, &error)),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(removed)
}

/// Another file than `saved` whose name has the same end.
fn is_alike(other: &Path, saved: &Path) -> bool {
    other.file_name() != saved.file_name() && other.extension() == saved.extension()
}

fn without_end(path: &Path, end: &str) -> Option<PathBuf> {
    let name = path.file_name().and_then(OsStr::to_str)?.strip_suffix(end)?;
    Some(path.with_file_name(name))
}

/// Nobody writes to it any more.
fn is_left_over(path: &Path) -> bool {
    let written = path.symlink_metadata().and_then(|metadata| metadata.modified()).ok();
    written.and_then(|written| written.elapsed().ok()).is_some_and(|since| since > LEFT_OVER)
}

/// End of a manifest's name, behind that of its snapshot.
pub(crate) const MANIFEST_END: &str = ".manifest.json";
/// End of the name of what is not finished, behind that of the snapshot which it is to be.
pub(crate) const PARTIAL_END: &str = ".partial";
/// A snapshot is written to without a pause: one that was not for so long is nobody's.
const LEFT_OVER: Duration = Duration::from_secs(24 * 3_600);

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::SystemTime};

    use ring::digest;
    use switch_proto::operator::v1::{SnapshotDescription, SnapshotSum};

    use super::*;
    use crate::snapshot_file::Writer;

    /// Saves an empty snapshot of a cluster, taken at a time.
    fn save(path: &Path, cluster_id: u64, log_time_unix_ms: i64) -> Manifest {
        let head = SnapshotDescription { cluster_id, log_time_unix_ms, ..SnapshotDescription::default() };
        let sha256 = digest::digest(&digest::SHA256, b"").as_ref().to_vec().into();
        let sum = SnapshotSum { frames: 0, size_bytes: 0, sha256 };
        Writer::create(path).expect("begun").finish(&head, &sum).expect("saved")
    }

    fn names(folder: &Path) -> BTreeSet<String> {
        let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").file_name());
        entries.map(|name| name.into_string().expect("text")).collect()
    }

    fn keep(number: u16) -> NonZeroU16 {
        NonZeroU16::new(number).expect("not zero")
    }

    #[test]
    fn the_newest_stay_and_what_is_not_ours_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        // Names and times in different orders.
        for (name, time) in [("c.snapshot", 1), ("b.snapshot", 2), ("a.snapshot", 3)] {
            save(&at(name), 7, time);
        }
        save(&at("elsewhere.snapshot"), 8, 0);
        save(&at("by-hand.saved"), 7, 0);
        fs::write(at("bare.snapshot"), "").expect("written");
        fs::write(at("odd.snapshot.manifest.json"), "{}").expect("written");
        let spared = ["elsewhere.snapshot", "by-hand.saved", "bare.snapshot", "odd.snapshot"];

        let last = save(&at("last.snapshot"), 7, 3);
        assert_eq!(prune(&at("last.snapshot"), &last, keep(9)), Ok(vec![]));
        let before = names(folder.path());
        let removed = prune(&at("last.snapshot"), &last, keep(3)).expect("removed");
        assert_eq!(removed, [at("c.snapshot"), at("c.snapshot.manifest.json")]);
        let gone: Vec<_> = before.difference(&names(folder.path())).cloned().collect();
        assert_eq!(gone, ["c.snapshot", "c.snapshot.manifest.json"]);

        // One that a follower took, which is not the newest: what was just saved stays all the same.
        let behind = save(&at("behind.snapshot"), 7, 0);
        prune(&at("behind.snapshot"), &behind, keep(1)).expect("removed");
        let left: BTreeSet<_> = names(folder.path()).into_iter().filter(|name| name.ends_with("snapshot")).collect();
        assert_eq!(left, ["bare.snapshot", "behind.snapshot", "elsewhere.snapshot"].map(str::to_owned).into());
        let all = names(folder.path());
        assert!(spared.iter().all(|spared| all.iter().any(|name| name.starts_with(spared))), "{all:?}");
    }

    #[test]
    fn what_was_half_removed_and_what_was_left_half_written_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        save(&at("a.snapshot"), 7, 1);
        fs::remove_file(at("a.snapshot")).expect("it was there");
        for name in ["killed.snapshot.partial", "under-way.snapshot.partial"] {
            fs::write(at(name), "").expect("written");
        }
        let file = fs::File::options().write(true).open(at("killed.snapshot.partial")).expect("it is there");
        file.set_modified(SystemTime::now() - 2 * LEFT_OVER).expect("ours");

        let last = save(&at("last.snapshot"), 7, 2);
        prune(&at("last.snapshot"), &last, keep(1)).expect("removed");
        let left = ["last.snapshot", "last.snapshot.manifest.json", "under-way.snapshot.partial"];
        assert_eq!(names(folder.path()), left.map(str::to_owned).into());
    }
}
