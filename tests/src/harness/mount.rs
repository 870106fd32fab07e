//! A folder as Kubernetes mounts a secret: each name in it is a link through `..data`, and `..data` is exchanged for a folder with
//! other content in one step. The files themselves are never written to.

use std::{fs, io::ErrorKind, os::unix::fs::symlink, path::Path};

use anyhow::Context as _;

use crate::channel::TlsFiles;

/// Puts copies of `issued` in the place of whatever `folder` shows, and gives the names under which it shows them.
pub(super) fn swap(folder: &Path, issued: &TlsFiles) -> anyhow::Result<TlsFiles> {
    let data = folder.join("..data");
    let before = match fs::read_link(&data) {
        Ok(before) => Some(before),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| data.display().to_string()),
    };
    let names = [("tls.crt", &issued.certificate), ("tls.key", &issued.key), ("ca.crt", &issued.roots)];
    let fresh = match &before {
        Some(before) if before.as_os_str() == "..one" => "..other",
        Some(_) | None => "..one",
    };
    fs::create_dir_all(folder.join(fresh))?;
    for (name, file) in names {
        fs::copy(file, folder.join(fresh).join(name)).with_context(|| file.display().to_string())?;
    }
    symlink(fresh, folder.join("..data_tmp"))?;
    fs::rename(folder.join("..data_tmp"), &data)?;
    match before {
        Some(before) => fs::remove_dir_all(folder.join(before))?,
        None => names.iter().try_for_each(|(name, _)| symlink(format!("..data/{name}"), folder.join(name)))?,
    }
    let [certificate, key, roots] = names.map(|(name, _)| folder.join(name));
    Ok(TlsFiles { certificate, key, roots })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_shows_the_new_content_at_once_and_nothing_of_the_old_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let (issued, mounted) = (folder.path().join("issued"), folder.path().join("mounted"));
        fs::create_dir(&issued).expect("a folder");
        let files = TlsFiles { certificate: issued.join("a"), key: issued.join("b"), roots: issued.join("c") };
        for content in ["first", "second", "third"] {
            for file in [&files.certificate, &files.key, &files.roots] {
                fs::write(file, content).expect("written");
            }
            let shown = swap(&mounted, &files).expect("swapped");
            for file in [&shown.certificate, &shown.key, &shown.roots] {
                assert!(file.is_symlink(), "{}", file.display());
                assert_eq!(fs::read_to_string(file).expect("read"), content);
            }
            // Three links, `..data`, and the folder that it leads to.
            assert_eq!(fs::read_dir(&mounted).expect("a folder").count(), 5);
        }
    }
}
