//! What cannot be taken back is done only where somebody types the name of what it is done to, or said `--yes` before.

use std::io::{self, BufRead, IsTerminal as _, Write};

use crate::{cli::Global, exit::Exit, failure::Failure};

/// Shows the plan and asks for `name`. Without a terminal nobody can be asked, and without `--yes` nothing is done.
///
/// A person may take longer than `--timeout`: whoever asks makes the session of the change afterwards.
pub(crate) async fn confirm(global: &Global, plan: &str, name: &str) -> Result<(), Failure> {
    if global.yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(not_confirmed(Exit::Usage, &format!("{plan}: nobody can be asked without a terminal, give --yes")));
    }
    let (plan, name) = (plan.to_owned(), name.to_owned());
    // On a thread of its own: who asks for the end by Ctrl-C gets it.
    let asked = tokio::task::spawn_blocking(move || ask(&plan, &name, &mut io::stdin().lock(), &mut io::stderr()));
    asked.await.unwrap_or_else(|error| Err(Failure::local(Exit::Failure, "TASK", error.to_string())))
}

/// The cluster as its operator calls it: by its context, or else by where it is.
pub(crate) fn cluster_name(global: &Global) -> &str {
    let name = global.context.as_deref().or_else(|| global.endpoint.first().map(String::as_str));
    name.unwrap_or("cluster")
}

fn ask(plan: &str, name: &str, answers: &mut impl BufRead, talk: &mut impl Write) -> Result<(), Failure> {
    let mut answer = String::new();
    let asked = write!(talk, "{plan}.\nType {name} to go on: ").and_then(|()| talk.flush());
    match asked.and_then(|()| answers.read_line(&mut answer)) {
        Ok(_) if answer.trim() == name => Ok(()),
        Ok(_) | Err(_) => Err(not_confirmed(Exit::Precondition, &format!("{name} was not typed, nothing was done"))),
    }
}

fn not_confirmed(exit: Exit, words: &str) -> Failure {
    Failure::local(exit, "NOT_CONFIRMED", words)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    fn global(line: &str) -> Global {
        Cli::try_parse_from(line.split(' ')).expect("a command line").global
    }

    #[test]
    fn only_the_name_itself_confirms() {
        for (answer, confirms) in [
            ("00000000000000ff\n", true),
            ("  00000000000000ff \n", true),
            ("yes\n", false),
            ("00000000000000fe\n", false),
            ("\n", false),
            ("", false),
        ] {
            let mut talk = Vec::new();
            let asked = ask("the member is removed", "00000000000000ff", &mut answer.as_bytes(), &mut talk);
            assert_eq!(
                asked.as_ref().map_err(|failure| failure.exit),
                if confirms { Ok(&()) } else { Err(Exit::Precondition) }
            );
            assert_eq!(talk, b"the member is removed.\nType 00000000000000ff to go on: ", "{answer:?}");
        }
    }

    #[test]
    fn a_cluster_is_called_by_its_context_and_else_by_where_it_is() {
        assert_eq!(cluster_name(&global("admin-cli --context staging --endpoint a:1 cluster bootstrap")), "staging");
        assert_eq!(cluster_name(&global("admin-cli --endpoint a:1,b:2 cluster bootstrap")), "a:1");
    }

    #[tokio::test]
    async fn yes_asks_nobody() {
        assert_eq!(confirm(&global("admin-cli --yes cluster bootstrap"), "a plan", "staging").await, Ok(()));
    }
}
