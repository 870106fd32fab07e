//! The operator's command line of the payment switch: a client like any other, which knows the contract and nothing else.
//!
//! Noun, then verb; the folder tree of `commands` is the tree of commands. Data goes to stdout, talk to stderr, and the exit
//! code says who must act.

mod cli;
mod commands;
mod confirmation;
mod context;
mod directory_file;
mod exit;
mod failure;
mod output;
mod pki;
mod progress;
mod records;
mod session;
mod snapshot_file;
mod snapshot_shelf;
mod talk;
mod tls;
mod trail;

use std::{
    ffi::OsString,
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
};

use clap::{ColorChoice, FromArgMatches as _};

use cli::{Cli, Output};
use exit::Exit;
use failure::Failure;
use output::Sheet;

pub use cli::command;

/// Runs one command. `args` begin with the program's name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    // Asked for before anything is parsed: help and usage errors heed it too.
    let no_color = args.iter().any(|word| word == "--no-color");
    let command = if no_color { command().color(ColorChoice::Never) } else { command() };
    let parsed = command.try_get_matches_from(&args).and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(told) => {
            let _ = told.print();
            // Help and version are no errors and go to stdout.
            return match told.use_stderr() {
                true if is_check(args) => end(&commands::check::misused()),
                true => Exit::Usage.into(),
                false => Exit::Ok.into(),
            };
        }
    };
    if let cli::Noun::Check(args) = cli.noun {
        if cli.global.watch.is_some() {
            let _ = writeln!(io::stderr(), "error: --watch is not for check: a monitor asks again by itself");
            return end(&commands::check::misused());
        }
        return check(cli.global, &args);
    }
    let (output, is_coloured) = (cli.global.output, talk::is_coloured(no_color, &io::stderr()));
    match in_runtime(rounds(cli)) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            let _ = writeln!(io::stderr(), "{}", failure.shown(output, is_coloured));
            failure.exit.into()
        }
    }
}

/// A monitor knows four codes and reads one line, whatever happens.
fn check(global: cli::Global, args: &commands::check::Args) -> ExitCode {
    let verdict = in_runtime(async { Ok(commands::check::carry_out(global, args).await) });
    end(&verdict.unwrap_or_else(|failure: Failure| commands::check::unknown(args, &failure)))
}

fn end(verdict: &commands::check::Verdict) -> ExitCode {
    let _ = print(&verdict.text);
    ExitCode::from(verdict.level as u8)
}

/// True where a command line that cannot be read is that of a check: to a monitor the code of a wrong one is CRITICAL.
fn is_check(args: Vec<OsString>) -> bool {
    let matches = command().ignore_errors(true).try_get_matches_from(args);
    matches.is_ok_and(|matches| matches.subcommand_name() == Some("check"))
}

fn in_runtime<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::local(Exit::Failure, "NO_RUNTIME", error.to_string()))?;
    let done = runtime.block_on(async {
        tokio::select! {
            biased;
            done = work => done,
            _ = tokio::signal::ctrl_c() => {
                let words = "interrupted: what was asked for may have been done";
                Err(Failure::local(Exit::Interrupted, "INTERRUPTED", words))
            }
        }
    });
    // A question that nobody answered any more is not waited for.
    runtime.shutdown_background();
    done
}

/// Once, or with `--watch` until somebody has seen enough.
async fn rounds(cli: Cli) -> Result<Exit, Failure> {
    let Cli { mut global, noun } = cli;
    if noun.asks_a_cluster() {
        context::fill(&mut global)?;
    }
    let Some(pause) = global.watch else {
        return show(&commands::carry_out(&global, &noun).await?, global.output);
    };
    if !noun.only_reads() {
        return Err(Failure::usage("--watch is for commands that change nothing"));
    }
    let mut round = 0;
    loop {
        let exit = match commands::carry_out(&global, &noun).await {
            Ok(sheet) => {
                if matches!(global.output, Output::Table | Output::Wide) && io::stdout().is_terminal() {
                    print(CLEAR)?;
                }
                show(&sheet, global.output)?
            }
            // What passes by itself is what somebody watches for.
            Err(failure) if matches!(failure.exit, Exit::Connect | Exit::Timeout) => {
                let is_coloured = talk::is_coloured(global.no_color, &io::stderr());
                let _ = writeln!(io::stderr(), "{}", failure.shown(global.output, is_coloured));
                failure.exit
            }
            Err(failure) => return Err(failure),
        };
        round += 1;
        if global.rounds.is_some_and(|rounds| round >= rounds) {
            return Ok(exit);
        }
        tokio::time::sleep(pause).await;
    }
}

fn show(sheet: &Sheet, output: Output) -> Result<Exit, Failure> {
    print(&sheet.show(output)?)?;
    Ok(sheet.exit())
}

/// Writes data.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever read has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| Failure::local(Exit::Failure, "STDOUT", error.to_string())),
    }
}

/// Puts the cursor into the upper left corner of an empty terminal.
const CLEAR: &str = "\u{1b}[2J\u{1b}[H";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_cannot_be_read_is_told_from_other_commands() {
        let is_check = |line: &str| is_check(line.split(' ').map(OsString::from).collect());
        for line in
            ["admin-cli check --format xml", "admin-cli --context staging check now", "admin-cli check --colour"]
        {
            assert!(is_check(line), "{line}");
        }
        for line in ["admin-cli context use check --colour", "admin-cli cluster destroy", "admin-cli --endpoint check"]
        {
            assert!(!is_check(line), "{line}");
        }
    }
}
