//! One program that is several: `dev node …`, `dev admin …` and `dev sandbox …` are the parts of a cluster, so that a
//! suite or a program that wants real processes starts itself again and needs nothing built before. `dev pay-twice …` asks a
//! cluster whether one key is one payment.
//!
//! A part that was started by [`crate::harness::Process`] watches its standard input and dies with its parent: a parent
//! that was killed cannot clean up, the end of a pipe can.

use std::{
    ffi::OsString,
    io::Read,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::Parser;
use rustix::process::{Signal, getpid, kill_process};

use crate::pay_twice;

/// Set for children whose standard input is a pipe from a parent they must not outlive.
pub const PARENT_PIPE: &str = "PAYSWITCH_PARENT_PIPE";

/// Names the program to start children with, where it is not this one.
pub const PROGRAM: &str = "PAYSWITCH_PROGRAM";

/// Programs that begin their `main` with [`part`].
const MULTICALL: [&str; 3] = ["dev", "load", "bench"];

/// Runs the part of a cluster that the command line names, if it names one.
pub fn part(mut args: Vec<OsString>) -> Option<ExitCode> {
    let name = args.get(1)?.to_str()?.to_owned();
    if !matches!(name.as_str(), "node" | "admin" | "sandbox" | "pay-twice") {
        return None;
    }
    if std::env::var_os(PARENT_PIPE).is_some() {
        std::thread::spawn(die_with_the_parent);
    }
    // The part sees its own name where a program's name stands.
    args.remove(0);
    Some(match name.as_str() {
        "node" => switch_node::run(args),
        "admin" => admin_cli::run(args),
        "pay-twice" => pay_twice(args),
        _ => networks(args),
    })
}

/// Card networks by themselves.
#[derive(Debug, Parser)]
#[command(name = "dev sandbox")]
struct Networks {
    #[command(flatten)]
    args: crate::sandbox::Args,
}

fn networks(args: Vec<OsString>) -> ExitCode {
    let _ = tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::WARN).try_init();
    let Networks { args } = Networks::parse_from(args);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(crate::sandbox::main(args))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sandbox: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn pay_twice(args: Vec<OsString>) -> ExitCode {
    let args = pay_twice::Args::parse_from(args);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(pay_twice::run(args))) {
        Ok(transaction) => {
            eprintln!("one payment, told twice: {transaction}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("pay-twice: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The program that children are started with: this one, or `dev` beside the test that asks.
pub fn program() -> anyhow::Result<PathBuf> {
    if let Some(named) = std::env::var_os(PROGRAM) {
        return Ok(named.into());
    }
    let own = std::env::current_exe().context("this program has no path")?;
    let stem = own.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if MULTICALL.contains(&stem) {
        return Ok(own);
    }
    // Suites are target/<profile>/deps/<suite>-<hash>; cargo builds the binaries of their package one folder up.
    let dev = own.parent().and_then(Path::parent).map(|folder| folder.join("dev"));
    dev.filter(|dev| dev.exists()).with_context(|| format!("no `dev` beside {}; set {PROGRAM}", own.display()))
}

/// Waits for the end of standard input, then ends this process as if it had been killed: no drain, no farewell.
fn die_with_the_parent() {
    let mut byte = [0];
    while matches!(std::io::stdin().read(&mut byte), Ok(1)) {}
    let _ = kill_process(getpid(), Signal::KILL);
}
