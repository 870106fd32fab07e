//! The files of the tree, as everybody gets them: what git tracks, or would.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate stands in the workspace").to_owned()
}

/// What a program prints, started in the workspace's folder.
pub(crate) fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap_or_else(|error| panic!("{program} cannot be started: {error}"));
    assert!(output.status.success(), "{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("its output is UTF-8")
}

/// Every file that is tracked or neither tracked nor ignored, relative to the workspace, in order.
pub(crate) fn files() -> Vec<String> {
    let listed = output("git", &["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let mut files: Vec<String> = listed.split_terminator('\0').map(str::to_owned).collect();
    files.retain(|file| root().join(file).is_file());
    files.sort();
    files.dedup();
    assert!(files.iter().any(|file| file == "Cargo.toml"), "git knows no file here");
    files
}

/// A file that must be there.
pub(crate) fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file} cannot be read: {error}"))
}

/// Every file that holds text, with that text.
pub(crate) fn texts() -> Vec<(String, String)> {
    let text = |file: String| Some((file.clone(), fs::read_to_string(root().join(&file)).ok()?));
    files().into_iter().filter_map(text).collect()
}

/// Rust code without its tests and its whole-line comments, lines kept in place. Relies on rustfmt: an item ends with `;`, or
/// with a closing brace at its own indentation. Gives the modules that are declared for tests only beside it.
pub(crate) fn without_tests(code: &str) -> (String, Vec<String>) {
    let (mut kept, mut test_modules) = (String::new(), Vec::new());
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let bare = line.trim_start();
        if !bare.starts_with("//") && bare != "#[cfg(test)]" {
            kept.push_str(line);
        }
        kept.push('\n');
        if bare != "#[cfg(test)]" {
            continue;
        }
        let end = format!("{}}}", &line[..line.len() - bare.len()]);
        let mut opened = false;
        for line in lines.by_ref() {
            kept.push('\n');
            let bare = line.trim();
            if !opened && (bare.starts_with("#[") || bare.starts_with("//")) {
                continue;
            }
            if let Some(module) = bare.split_once("mod ").and_then(|(_, rest)| rest.strip_suffix(';')) {
                test_modules.push(module.to_owned());
            }
            if !opened && bare.ends_with([';', ',']) || line == end || bare.ends_with('}') && !opened {
                break;
            }
            opened |= bare.ends_with('{');
        }
    }
    (kept, test_modules)
}

/// The code that is shipped of the crate whose sources are in `folder`: its files without their tests.
pub(crate) fn shipped(folder: &str) -> Vec<(String, String)> {
    let of_tests = |file: &str| file.ends_with("/tests.rs") || file.contains("/tests/");
    let mut sources: Vec<(String, String)> = Vec::new();
    let mut tests_only: Vec<String> = Vec::new();
    for file in files() {
        if !file.starts_with(folder) || !file.ends_with(".rs") || of_tests(&file[folder.len()..]) {
            continue;
        }
        let (code, modules) = without_tests(&read(&file));
        let inside = file.strip_suffix("/mod.rs").or(file.strip_suffix("/lib.rs")).or(file.strip_suffix(".rs"));
        let inside = inside.expect("a Rust file");
        tests_only.extend(modules.into_iter().map(|module| format!("{inside}/{module}")));
        sources.push((file, code));
    }
    sources.retain(|(file, _)| {
        let stem = file.strip_suffix(".rs").expect("a Rust file");
        !tests_only.iter().any(|module| stem == module || stem.starts_with(&format!("{module}/")))
    });
    assert!(!sources.is_empty(), "no source in {folder}");
    sources
}

/// The line a place in a text is on, from 1.
pub(crate) fn line_of(text: &str, place: usize) -> usize {
    text[..place].matches('\n').count() + 1
}

#[test]
fn what_is_compiled_for_tests_only_is_left_out() {
    let code = "use a;\n#[cfg(test)]\nmod tests;\n#[cfg(test)]\n#[path = \"x\"]\nmod pki {\n    use b;\n}\n// use c;\nuse d;\n";
    let (kept, modules) = without_tests(code);
    assert_eq!(kept.lines().filter(|line| !line.is_empty()).collect::<Vec<_>>(), ["use a;", "use d;"]);
    assert_eq!(kept.lines().count(), code.lines().count());
    assert_eq!(modules, ["tests"]);
}
