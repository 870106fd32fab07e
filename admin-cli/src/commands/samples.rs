//! What every answer looks like, made from fixed values by what makes it from a node's: in every format letter by letter as the
//! files beside this one have it, and in each `--help` as the renderer writes it.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
};

use clap::{Command, ValueEnum as _};

use super::{
    apply, audit, check, clock, cluster, context, directory, key, leader, limit, member, node, pki, reversal, route,
    shell, snapshot, transaction, version,
};
use crate::{
    cli::{Output, command},
    exit::Exit,
    failure::Failure,
    output::Sheet,
};

/// A cluster of three nodes, of which the first one leads.
pub(super) const CLUSTER: u64 = 0x5d1f_0c7a_99b3_e210;
pub(super) const NODES: [u64; 3] = [0xff, 0xfe, 0xfd];
/// A key that the program made up.
pub(super) const REQUEST_ID: &str = "3f0c9a52d7e84b16a0c3f5e29b7d48e1";
/// A SHA-256.
pub(super) const HASH: &str = "9c1e4b7ad05f3ce862ab9f17d4e05c3b8a61fe92c7d30b4e5af816d2c93b7e04";
/// 2026-09-21T14:13:20.123Z.
pub(super) const TIME_UNIX_MS: i64 = 1_790_000_000_123;
pub(super) const TRANSACTION: &str = "01KPD2Z6X0Q9V3M8T5R7W1A4BC";
pub(super) const ATTEMPT: &str = "shop:01KPD2Z6X0Q9V3M8T5R7W1A4BC-0-1";

/// The bytes of [`HASH`].
pub(super) fn hash() -> Vec<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).expect("a digit");
    HASH.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// One answer of a command.
pub(super) struct Sample {
    /// The command's name, such as `member list`.
    name: String,
    /// Which of its answers, where it has several.
    case: &'static str,
    /// What stands behind the name on a command line, such as `-o wide`, and what is written then.
    shown: Vec<(String, String)>,
    /// The same, as `--help` shows it.
    helped: Vec<(String, String)>,
}

impl Sample {
    /// Of a command that shows a sheet.
    pub(super) fn of(name: impl Into<String>, sheet: Sheet) -> Self {
        let shown = |sheet: &Sheet| each_format(|output| sheet.show(output).expect("it shows"));
        Self { name: name.into(), case: "", shown: shown(&sheet), helped: shown(&sheet.shortened()) }
    }

    /// Of a command that writes something of its own.
    pub(super) fn text(name: &str, shown: Vec<(String, String)>) -> Self {
        Self { name: name.to_owned(), case: "", helped: shown.clone(), shown }
    }

    /// Another answer than the one that `--help` shows.
    pub(super) fn case(self, case: &'static str) -> Self {
        Self { case, ..self }
    }

    fn path(&self) -> PathBuf {
        folder().join(format!("{}.txt", format!("{} {}", self.name, self.case).trim().replace(' ', "-")))
    }

    /// As a terminal would have it.
    fn transcript(&self) -> String {
        let line = |options: &str| format!("$ admin-cli {} {options}", self.name).trim_end().to_owned();
        let blocks = self.shown.iter().map(|(options, text)| format!("{}\n{text}", line(options)));
        blocks.collect::<Vec<_>>().join("\n")
    }
}

/// Every format by its option, with what is written in it.
pub(super) fn each_format(text: impl Fn(Output) -> String) -> Vec<(String, String)> {
    let named = |output: &Output| {
        let name = output.to_possible_value().expect("a name").get_name().to_owned();
        (format!("-o {name}"), text(*output))
    };
    Output::value_variants().iter().map(named).collect()
}

fn samples() -> Vec<Sample> {
    let plan = super::planned("member 00000000000000fe is removed");
    let missing = Failure::local(Exit::NotFound, "RECORD_NOT_FOUND", "there is no gateway nowhere");
    let failure = each_format(|output| format!("{}\n", missing.shown(output, false)));
    [
        vec![Sample::of("member remove", plan).case("planned"), Sample::text("gateway get", failure).case("failed")],
        apply::samples::all(),
        audit::samples::all(),
        check::samples::all(),
        clock::samples::all(),
        cluster::samples::all(),
        context::samples::all(),
        directory::samples::all(),
        key::samples::all(),
        leader::samples::all(),
        limit::samples::all(),
        member::samples::all(),
        node::samples::all(),
        pki::samples::all(),
        reversal::samples::all(),
        route::samples::all(),
        shell::samples::all(),
        snapshot::samples::all(),
        transaction::samples::all(),
        version::samples::all(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Commands that have none below them, by name.
fn leaves() -> BTreeMap<String, Command> {
    fn walk(command: Command, path: &str, found: &mut BTreeMap<String, Command>) {
        let below: Vec<Command> = command.get_subcommands().filter(|one| one.get_name() != "help").cloned().collect();
        for one in &below {
            walk(one.clone(), format!("{path} {}", one.get_name()).trim(), found);
        }
        if below.is_empty() {
            found.insert(path.to_owned(), command);
        }
    }
    let mut found = BTreeMap::new();
    walk(command(), "", &mut found);
    found
}

/// A script that names every command: its own tests read it.
const NO_ANSWERS: [&str; 1] = ["completion"];

#[test]
fn every_command_has_a_sample_and_no_other_is_kept() {
    let samples = samples();
    let names: BTreeSet<&str> = samples.iter().map(|sample| sample.name.as_str()).collect();
    let leaves = leaves();
    let expected: BTreeSet<&str> =
        leaves.keys().map(String::as_str).filter(|name| !NO_ANSWERS.contains(name)).collect();
    assert_eq!(names, expected);
    let kept: BTreeSet<PathBuf> =
        fs::read_dir(folder()).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    let known: BTreeSet<PathBuf> = samples.iter().map(Sample::path).collect();
    assert_eq!(known.len(), samples.len(), "two samples are kept in one file");
    let stray: Vec<_> = kept.difference(&known).collect();
    assert!(stray.is_empty(), "no sample is kept in {stray:?}");
}

/// Programs read these: what is not as it was is either a fault, or on purpose and then written anew.
#[test]
fn every_answer_looks_as_it_always_did_in_every_format() {
    let writes = env::var_os(WRITE).is_some();
    let mut differ = Vec::new();
    for sample in samples() {
        let (path, is) = (sample.path(), sample.transcript());
        if writes {
            fs::write(&path, &is).expect("written");
        }
        let was = fs::read_to_string(&path).unwrap_or_default();
        if is != was {
            let same = is.lines().zip(was.lines()).take_while(|(is, was)| is == was).count();
            let line = |text: &str| text.lines().nth(same).unwrap_or("(the end)").to_owned();
            differ.push(format!("{}:{}\n  was {}\n  is  {}", path.display(), same + 1, line(&was), line(&is)));
        }
    }
    assert!(
        differ.is_empty(),
        "{}\nIf that is meant, write the files anew and read what changed: {WRITE}=1 cargo test -p admin-cli samples",
        differ.join("\n")
    );
}

/// The sample of a `--help` is what the command writes, but for long keys and hashes, and for what stands behind a line that
/// is no more than `…`.
#[test]
fn every_help_shows_what_comes_out() {
    let samples = samples();
    let mut wrong = Vec::new();
    for (name, command) in leaves() {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let lines: Vec<&str> = help.lines().collect();
        let asked = format!("  $ admin-cli {name}");
        let Some(at) = lines.iter().rposition(|line| line.starts_with(&asked)) else {
            wrong.push(format!("{name} has no sample"));
            continue;
        };
        let (asked, said) = (lines[at], &lines[at + 1..]);
        let said: Vec<&str> = said.iter().map(|line| line.strip_prefix("  ").unwrap_or(line)).collect();
        // What goes into a file is not seen.
        let sample = samples.iter().find(|sample| sample.name == name && sample.case.is_empty());
        let Some(sample) = sample.filter(|_| !asked.contains(" > ")) else { continue };
        let chosen = sample.helped.iter().find(|(options, _)| asked.contains(options.as_str()));
        let (_, expected) = chosen.or(sample.helped.first()).expect("a format");
        let expected: Vec<&str> = expected.lines().collect();
        let is_so = match said.as_slice() {
            [said @ .., "…"] => expected.len() > said.len() && expected.starts_with(said),
            said => said == expected,
        };
        if !is_so {
            wrong.push(format!("{name} shows\n  {}\nand comes to\n  {}", said.join("\n  "), expected.join("\n  ")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/commands/samples")
}

/// Writes the files anew where it is set.
const WRITE: &str = "PAYSWITCH_SAMPLES";
