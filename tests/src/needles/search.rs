//! Files and texts, searched.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{ErrorKind, Read},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tonic::Status;

use super::{NEEDLES, Needles};

/// What a search came to.
#[derive(Debug, Clone, Default)]
pub struct Searched {
    files: u64,
    texts: u64,
    bytes: u64,
    /// How long the files took.
    took: Duration,
    /// By the name of a file or text, what stands in it: where it stands first, and how often. Never any digits.
    found: BTreeMap<String, BTreeMap<String, (u64, u64)>>,
}

impl Searched {
    /// Searches a text that stands in no file.
    pub fn text(&mut self, name: &str, text: &[u8]) {
        self.texts += 1;
        self.bytes += text.len() as u64;
        NEEDLES.find(text, text.len(), |place, what| self.found(name, place as u64, what));
    }

    /// Searches what an error tells: its message, its details and its metadata.
    pub fn status(&mut self, name: &str, status: &Status) {
        self.text(name, format!("{status:?}").as_bytes());
        self.text(name, status.details());
    }

    /// Searches every file in `folder` and below, also behind links. What the nodes wrote is whole once they have ended.
    ///
    /// # Errors
    /// Where something cannot be read: it may hold anything.
    pub fn folder(&mut self, folder: &Path) -> anyhow::Result<()> {
        let began = Instant::now();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).with_context(|| format!("{} cannot be searched", folder.display()))? {
                let path = entry?.path();
                let searched = if path.is_dir() {
                    folders.push(path.clone());
                    Ok(())
                } else {
                    self.file(&path)
                };
                searched.with_context(|| format!("{} cannot be searched", path.display()))?;
            }
        }
        self.took += began.elapsed();
        Ok(())
    }

    fn file(&mut self, path: &Path) -> anyhow::Result<()> {
        let (needles, name): (&Needles, _) = (&NEEDLES, path.display().to_string());
        let mut file = match File::open(path) {
            // Whoever else runs in the folder, an etcd beside the switch, may have removed it meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            opened => opened?,
        };
        let mut window: Vec<u8> = Vec::with_capacity(CHUNK + needles.span_max);
        let mut begins_at = 0;
        self.files += 1;
        loop {
            let read = file.by_ref().take(CHUNK as u64).read_to_end(&mut window)?;
            self.bytes += read as u64;
            // What could still be the beginning of something is looked at again with what follows.
            let again = if read == 0 { 0 } else { needles.span_max.min(window.len()) };
            let end = window.len() - again;
            needles.find(&window, end, |place, what| self.found(&name, begins_at + place as u64, what));
            if read == 0 {
                return Ok(());
            }
            begins_at += end as u64;
            window.drain(..end);
        }
    }

    /// An error that says what stands where, unless nothing does.
    pub fn clean(&self) -> anyhow::Result<()> {
        let lines = self.found.iter().flat_map(|(name, found)| {
            let line = move |(what, (place, times)): (&String, &(u64, u64))| {
                format!("{name}: {what}, {times} times, first at byte {place}")
            };
            found.iter().map(line)
        });
        let lines: Vec<String> = lines.take(LINES_MAX).collect();
        anyhow::ensure!(lines.is_empty(), "card data was found:\n{}", lines.join("\n"));
        Ok(())
    }

    /// How much was searched, in one line.
    pub fn in_words(&self) -> String {
        let Self { files, texts, bytes, took, .. } = self;
        format!("searched {files} files and {texts} texts for card data, {} MiB, in {took:.1?}", bytes >> 20)
    }

    fn found(&mut self, name: &str, place: u64, what: &str) {
        let found = self.found.entry(name.to_owned()).or_default();
        found.entry(what.to_owned()).or_insert((place, 0)).1 += 1;
    }

    #[cfg(test)]
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.found.keys().map(String::as_str)
    }
}

/// Bytes of a file that are read at once.
pub(super) const CHUNK: usize = 1 << 20;
/// More of a kind say nothing new.
const LINES_MAX: usize = 60;
