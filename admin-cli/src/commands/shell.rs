//! `completion` and `man`: what a shell and a reader of manuals need.

use std::{fs, path::PathBuf};

use clap_complete::Shell;
use serde_json::json;

use crate::{cli, exit::Exit, failure::Failure, output::Sheet};

/// For which shell.
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionArgs {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

/// Where manual pages go.
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// Write a page for each command into this folder, instead of the first one to standard output
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

/// A sample of `completion`.
pub(crate) const COMPLETION_HELP: &str = "\
Example:
  $ admin-cli completion bash > /etc/bash_completion.d/admin-cli";

/// A sample of `man`.
pub(crate) const MAN_HELP: &str = "\
Example:
  $ admin-cli man --folder /usr/local/share/man/man1
  PAGES  FOLDER
  91     /usr/local/share/man/man1";

pub(super) fn completion(args: &CompletionArgs) -> Sheet {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut cli::command(), "admin-cli", &mut script);
    Sheet::text(String::from_utf8_lossy(&script).into_owned())
}

pub(super) fn man(args: &ManArgs) -> Result<Sheet, Failure> {
    let failed = |error: std::io::Error| Failure::local(Exit::Failure, "MAN", error.to_string());
    let Some(folder) = &args.folder else {
        let mut page = Vec::new();
        clap_mangen::Man::new(cli::command()).render(&mut page).map_err(failed)?;
        return Ok(Sheet::text(String::from_utf8_lossy(&page).into_owned()));
    };
    fs::create_dir_all(folder).map_err(failed)?;
    clap_mangen::generate_to(cli::command(), folder).map_err(failed)?;
    // Others keep their pages there too.
    let is_own = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with("admin-cli");
    let pages = fs::read_dir(folder).map_err(failed)?.filter_map(Result::ok).filter(is_own).count();
    Ok(manual(pages, &folder.display().to_string()))
}

/// Pages that were written into a folder.
fn manual(pages: usize, folder: &str) -> Sheet {
    let item = json!({ "pages": pages, "folder": folder });
    Sheet::of("Manual", [item])
        .with(&["PAGES", "FOLDER"], vec![vec![pages.to_string(), folder.to_owned()]])
        .named("folder", [folder])
}

#[cfg(test)]
pub(super) mod samples;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Output;

    #[test]
    fn every_shell_is_told_every_noun() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::PowerShell, Shell::Elvish] {
            let script = completion(&CompletionArgs { shell }).show(Output::Table).expect("a script");
            for noun in ["member", "transaction", "audit"] {
                assert!(script.contains(noun), "{shell} is not told of {noun}");
            }
        }
    }

    #[test]
    fn the_manual_lists_exit_codes() {
        let page = man(&ManArgs { folder: None }).and_then(|sheet| sheet.show(Output::Table)).expect("a page");
        assert!(page.contains(".TH admin\\-cli") || page.contains(".TH admin-cli"), "{}", &page[..200]);
        assert!(page.contains("refused in the present state"));
    }

    #[test]
    fn only_its_own_pages_are_counted() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("ls.1"), "").expect("written");
        let sheet = man(&ManArgs { folder: Some(folder.path().to_owned()) }).expect("pages");
        let pages = fs::read_dir(folder.path()).expect("a folder").count() - 1;
        let table = sheet.table();
        assert!(pages > 80 && table.lines().nth(1).is_some_and(|row| row.starts_with(&format!("{pages} "))), "{table}");
    }
}
