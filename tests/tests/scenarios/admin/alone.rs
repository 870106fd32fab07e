//! The operator's command line without a cluster: how it ends, what it asks for in a terminal, and how much it says.

use std::process::Stdio;

use anyhow::{Context, ensure};
use switch_tests::stage::SOON;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::Command,
    time::timeout,
};

use super::operator::{Operator, text};

/// Nobody listens there.
const NOBODY: &str = "127.0.0.1:1";

#[tokio::test(flavor = "multi_thread")]
async fn ways_to_end_that_need_no_node_have_their_codes() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let operator = Operator::alone(folder.path())?;
    with_a_context(&operator).await?;
    operator.ends(0, &["version"]).await?;
    let trail = operator.folder.join("trail.jsonl");
    std::fs::write(&trail, "{}\n")?;
    operator.refused(1, "CHAIN_BROKEN", &["audit", "verify", &text(&trail)]).await?;
    operator.ends(2, &["cluster", "destroy"]).await?;
    operator.refused(3, "NOT_REACHED", &["cluster", "status"]).await?;
    operator.refused(4, "CONTEXT_NOT_FOUND", &["context", "use", "nowhere"]).await?;
    let pki = text(&operator.folder.join("pki"));
    operator.ends(5, &["pki", "init", &pki, "--trust-domain", "switch.test", "--cluster", "dev"]).await?;
    operator.refused(7, "NOT_IN_TIME", &["cluster", "health", "--wait", "--timeout", "1s"]).await?;
    operator.ends(10, &["cluster", "health"]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_learns_nothing_is_unknown_and_never_critical() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let operator = Operator::alone(folder.path())?;
    // No context, then nobody there, then a command line that cannot be read.
    for line in [
        &["check"][..],
        &["check", "--context", "here"],
        &["check", "--format", "xml"],
        &["check", "now"],
        &["check", "--watch"],
    ] {
        let ran = operator.ends(3, line).await?;
        ensure!(ran.out.starts_with("PAYSWITCH UNKNOWN - ") && ran.out.lines().count() == 1, "{line:?}: {ran:?}");
    }
    with_a_context(&operator).await?;
    let ran = operator.ends(3, &["check"]).await?;
    ensure!(ran.out.starts_with("PAYSWITCH UNKNOWN - 0 of 1 nodes, nobody leads"), "{ran:?}");
    let gauges = operator.ends(3, &["check", "--format", "prometheus"]).await?.out;
    ensure!(gauges.contains("\npayswitch_check_level 3\n"), "{gauges}");
    operator.ends(0, &["check", "--help"]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_back_is_refused_without_a_terminal_and_without_yes() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let operator = Operator::alone(folder.path())?;
    with_a_context(&operator).await?;
    for line in [
        &["cluster", "bootstrap"][..],
        &["clock", "accept", "--seen", "1790000000123", "--reason", "the old leader ran a day behind"],
        &["reversal", "confirm", "shop:00000000000000000000000001-0-1", "--proposal", "812.0"],
        &["context", "remove", "staging"],
    ] {
        let ran = operator.ends(2, line).await?;
        ensure!(ran.talk.contains("NOT_CONFIRMED") && ran.talk.contains("--yes"), "{line:?}: {ran:?}");
    }
    // What was confirmed beforehand goes on, here to a node that is not there.
    operator.refused(3, "NOT_REACHED", &["cluster", "bootstrap", "--yes"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_terminal_the_name_is_typed_and_nothing_else_will_do() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let operator = Operator::alone(folder.path())?;
    with_a_context(&operator).await?;
    let line = ["context", "remove", "staging"];
    let is_there = async || operator.ends(0, &["context", "show", "staging"]).await.map(drop);

    let (exit, shown) = typed(&operator, &line, "yes\n").await?;
    ensure!(exit == 5 && shown.contains("staging was not typed, nothing was done"), "{exit}: {shown}");
    is_there().await?;
    // Ctrl-C is heeded while the question stands.
    let (exit, shown) = typed(&operator, &line, "\u{3}").await?;
    ensure!(exit == 130, "{exit}: {shown}");
    is_there().await?;
    // The cluster is asked for by the name of its context.
    let (exit, shown) = typed(&operator, &["cluster", "bootstrap"], "staging\n").await?;
    ensure!(exit == 3 && shown.contains("Type staging to go on: ") && shown.contains("NOT_REACHED"), "{exit}: {shown}");
    let (exit, shown) = typed(&operator, &line, "staging\n").await?;
    ensure!(exit == 0, "{exit}: {shown}");
    operator.refused(4, "CONTEXT_NOT_FOUND", &["context", "show", "staging"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_says_only_what_failed_and_verbose_says_every_call() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let operator = Operator::alone(folder.path())?;
    with_a_context(&operator).await?;
    let line = ["cluster", "status", "--endpoint", "127.0.0.1:1,127.0.0.1:2"];
    let lines = async |option: &[&str]| {
        let ran = operator.ends(3, &[&line[..], option].concat()).await?;
        ensure!(ran.out.is_empty(), "{ran:?}");
        Ok(ran.talk.lines().map(str::to_owned).collect::<Vec<_>>())
    };
    let (quiet, plain, wordy) = (lines(&["-q"]).await?, lines(&[]).await?, lines(&["-v"]).await?);
    ensure!(quiet.len() == 1 && quiet[0].starts_with("error: 127.0.0.1:2: "), "{quiet:?}");
    ensure!(plain.len() == 2 && plain[0].ends_with("; asking 127.0.0.1:2") && plain[1] == quiet[0], "{plain:?}");
    ensure!(wordy.first().is_some_and(|line| line == "asking 127.0.0.1:1") && wordy.len() == 4, "{wordy:?}");
    operator.ends(2, &["cluster", "status", "-q", "-v"]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn colour_is_for_terminals_and_for_who_wants_it() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let operator = Operator::alone(folder.path())?;
    for line in [&["context", "show", "nowhere"][..], &["cluster", "destroy"], &["--help"], &["context", "list"]] {
        let shown = async |command: &mut Command| {
            let ran = timeout(SOON, command.stdin(Stdio::null()).output()).await.context("it does not end")??;
            Ok::<_, anyhow::Error>(ran.stdout.contains(&ESCAPE) || ran.stderr.contains(&ESCAPE))
        };
        let is_data = line == ["context", "list"];
        ensure!(shown(&mut operator.in_terminal(line)).await? != is_data, "{line:?} in a terminal");
        ensure!(!shown(operator.in_terminal(line).env("NO_COLOR", "1")).await?, "{line:?} with NO_COLOR");
        ensure!(!shown(operator.in_terminal(line).env("TERM", "dumb")).await?, "{line:?} in a dumb terminal");
        let plain = [&["--no-color"][..], line].concat();
        ensure!(!shown(&mut operator.in_terminal(&plain)).await?, "{plain:?}");
        ensure!(!shown(operator.command(line).env("TERM", "xterm")).await?, "{line:?} where no terminal is");
    }
    Ok(())
}

/// Begins what a terminal shows and is no text.
const ESCAPE: u8 = 0x1b;

/// Gives the operator certificates and a context for a cluster that is not there.
async fn with_a_context(operator: &Operator) -> anyhow::Result<()> {
    let pki = text(&operator.folder.join("pki"));
    operator.ends(0, &["pki", "init", &pki, "--trust-domain", "switch.test", "--cluster", "dev"]).await?;
    let ann = operator.item(&["pki", "issue", "operator", "ann", "--folder", &pki]).await?;
    let path = |field: &str| ann[field].as_str().context("a path");
    let files = ["--certificate", path("certificate")?, "--key", path("key")?, "--roots", path("roots")?];
    let set = [&["context", "set", "staging", "--endpoint", NOBODY][..], &files].concat();
    operator.ends(0, &set).await?;
    operator.ends(0, &["context", "use", "staging"]).await.map(drop)
}

/// Runs a command in a terminal and types something once it asks. Gives its code and what the terminal showed.
async fn typed(operator: &Operator, line: &[&str], typed: &str) -> anyhow::Result<(i32, String)> {
    let mut running = operator.in_terminal(line).spawn().context("`script` of bsdutils is needed")?;
    let (mut keyboard, mut screen) =
        (running.stdin.take().context("a keyboard")?, running.stdout.take().context("a screen")?);
    let mut shown = Vec::new();
    let asked = async {
        while !shown.ends_with(b" to go on: ") {
            ensure!(screen.read_buf(&mut shown).await? > 0, "it does not ask: {}", String::from_utf8_lossy(&shown));
        }
        Ok(())
    };
    timeout(SOON, asked).await.context("it does not ask")??;
    keyboard.write_all(typed.as_bytes()).await?;
    // The keyboard stays: its end would be typed too.
    timeout(SOON, screen.read_to_end(&mut shown)).await.context("it does not end")??;
    let ended = timeout(SOON, running.wait()).await.context("it does not end")??;
    drop(keyboard);
    Ok((ended.code().context("a code")?, String::from_utf8_lossy(&shown).into_owned()))
}
