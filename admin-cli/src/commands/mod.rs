//! The commands: a folder is a noun, a file a verb.

pub(crate) mod apply;
pub(crate) mod clock;
pub(crate) mod cluster;
pub(crate) mod directory;
pub(crate) mod leader;
pub(crate) mod member;
pub(crate) mod reversal;
pub(crate) mod snapshot;
mod version;

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use crate::{
    cli::{Cli, Global, Noun},
    failure::Failure,
    output::Sheet,
    session::Session,
};

/// Carries one command out.
pub(crate) async fn carry_out(cli: Cli) -> Result<Sheet, Failure> {
    let Cli { global, noun } = cli;
    match noun {
        Noun::Cluster(verb) => cluster::carry_out(&global, verb).await,
        Noun::Clock(verb) => clock::carry_out(&global, verb).await,
        Noun::Member(verb) => member::carry_out(&global, verb).await,
        Noun::Leader(verb) => leader::carry_out(&global, verb).await,
        Noun::Gateway(verb) => directory::gateway::carry_out(&Session::new(&global)?, &verb).await,
        Noun::Network(verb) => directory::network::carry_out(&Session::new(&global)?, &verb).await,
        Noun::Link(verb) => directory::link::carry_out(&Session::new(&global)?, &verb).await,
        Noun::Route(verb) => directory::route::carry_out(&Session::new(&global)?, &verb).await,
        Noun::Apply(args) => apply::carry_out(&global, args).await,
        Noun::Reversal(verb) => reversal::carry_out(&global, verb).await,
        Noun::Snapshot(verb) => snapshot::carry_out(&global, verb).await,
        Noun::Version => Ok(version::version()),
    }
}

/// Says what will be done and asks, unless `--yes` was given. Without a terminal nobody can be asked.
fn confirm(global: &Global, plan: &str) -> Result<(), Failure> {
    if global.yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(format!("{plan}: this needs --yes")));
    }
    let mut talk = io::stderr();
    let _ = write!(talk, "{plan}.\nType yes to go on: ");
    let _ = talk.flush();
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    match read {
        Ok(_) if answer.trim() == "yes" => Ok(()),
        Ok(_) | Err(_) => Err(Failure::usage("not confirmed, nothing was done")),
    }
}
