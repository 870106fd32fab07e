//! The operator's command line of the payment switch: a client like any other, which knows the contract and nothing else.
//!
//! Noun, then verb; the folder tree of `commands` is the tree of commands. Data goes to stdout, talk to stderr, and the exit
//! code says who must act.

mod cli;
mod commands;
mod directory_file;
mod exit;
mod failure;
mod output;
mod records;
mod session;
mod tls;

use std::{
    ffi::OsString,
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser as _;

use cli::{Cli, Output};
use exit::Exit;
use failure::Failure;
use output::Sheet;

/// Runs one command. `args` begin with the program's name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(told) => {
            // Help and version are no errors and go to stdout.
            let exit = if told.use_stderr() { Exit::Usage } else { Exit::Ok };
            let _ = told.print();
            return exit.into();
        }
    };
    let output = cli.global.output;
    match carry_out(cli).and_then(|sheet| show(&sheet, output)) {
        Ok(()) => Exit::Ok.into(),
        Err(failure) => {
            let words = match output {
                Output::Table => failure.to_string(),
                Output::Json => failure.json().to_string(),
            };
            let _ = writeln!(io::stderr(), "{words}");
            failure.exit.into()
        }
    }
}

fn carry_out(cli: Cli) -> Result<Sheet, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::local(Exit::Failure, "NO_RUNTIME", error.to_string()))?;
    runtime.block_on(commands::carry_out(cli))
}

fn show(sheet: &Sheet, output: Output) -> Result<(), Failure> {
    let text = match output {
        Output::Table => sheet.table(),
        Output::Json => sheet.json(),
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        // Whoever read has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| Failure::local(Exit::Failure, "STDOUT", error.to_string())),
    }
}
