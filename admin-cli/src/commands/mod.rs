//! The commands: a folder is a noun, a file a verb.

pub(crate) mod apply;
pub(crate) mod audit;
pub(crate) mod check;
pub(crate) mod clock;
pub(crate) mod cluster;
pub(crate) mod context;
pub(crate) mod directory;
pub(crate) mod key;
pub(crate) mod leader;
pub(crate) mod limit;
pub(crate) mod member;
pub(crate) mod node;
pub(crate) mod pki;
pub(crate) mod reversal;
pub(crate) mod route;
#[cfg(test)]
mod samples;
pub(crate) mod shell;
pub(crate) mod snapshot;
pub(crate) mod transaction;
mod version;

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::{
    cli::{Global, Noun},
    exit::Exit,
    failure::Failure,
    output::Sheet,
    session::Session,
};

/// Carries one command out.
pub(crate) async fn carry_out(global: &Global, noun: &Noun) -> Result<Sheet, Failure> {
    match noun {
        Noun::Context(verb) => context::carry_out(global, verb).await,
        Noun::Cluster(verb) => cluster::carry_out(global, verb).await,
        Noun::Clock(verb) => clock::carry_out(global, verb).await,
        Noun::Member(verb) => member::carry_out(global, verb).await,
        Noun::Leader(verb) => leader::carry_out(global, verb).await,
        Noun::Node(verb) => node::carry_out(global, verb).await,
        Noun::Gateway(verb) => directory::carry_out(&directory::GATEWAY, global, verb).await,
        Noun::Network(verb) => directory::carry_out(&directory::NETWORK, global, verb).await,
        Noun::Link(verb) => directory::carry_out(&directory::LINK, global, verb).await,
        Noun::Route(verb) => route::carry_out(global, verb).await,
        Noun::Limit(verb) => limit::carry_out(global, verb).await,
        Noun::Apply(args) => apply::apply(global, args).await,
        Noun::Diff(args) => apply::diff(global, args).await,
        Noun::Transaction(verb) => transaction::carry_out(global, verb).await,
        Noun::Reversal(verb) => reversal::carry_out(global, verb).await,
        Noun::Key(verb) => key::carry_out(global, verb).await,
        Noun::Pki(verb) => pki::carry_out(global, verb),
        Noun::Snapshot(verb) => snapshot::carry_out(global, verb).await,
        Noun::Audit(verb) => audit::carry_out(global, verb).await,
        Noun::Completion(args) => Ok(shell::completion(args)),
        Noun::Man(args) => shell::man(args),
        Noun::Version => Ok(version::version()),
        Noun::Check(_) => Err(Failure::usage("a check has an end of its own")),
    }
}

/// What a mutation would do: shown for `--dry-run`, and then nothing is done.
fn plan(global: &Global, words: &str) -> Option<Sheet> {
    global.dry_run.then(|| planned(words))
}

fn planned(words: &str) -> Sheet {
    Sheet::of("Plan", [json!({ "plan": words })])
        .with(&["WOULD BE DONE"], vec![vec![words.to_owned()]])
        .named("plan", [words])
}

/// A list of which a node gives only so much at once: asks for page after page until there are `limit` items or no more.
/// `ask` takes the size of a page and the token of the page before, which is empty for the first one. Gives the items, and
/// whether the node has more of them.
async fn pages<T>(
    limit: usize,
    mut ask: impl AsyncFnMut(i32, String) -> Result<(Vec<T>, String), Failure>,
) -> Result<(Vec<T>, bool), Failure> {
    let (mut found, mut page_token) = (Vec::new(), String::new());
    while found.len() < limit {
        let page_size = i32::try_from((limit - found.len()).min(PAGE_MAX)).unwrap_or(i32::MAX);
        let (page, next) = ask(page_size, page_token).await?;
        found.extend(page);
        page_token = next;
        if page_token.is_empty() {
            break;
        }
    }
    Ok((found, !page_token.is_empty()))
}

/// Items that the contract gives at once.
const PAGE_MAX: usize = 1_000;

/// Tries until it works, for as long as the refusal may pass by itself and the command's time lasts.
async fn retry<T>(
    session: &Session,
    passes: impl Fn(&Failure) -> bool,
    mut work: impl AsyncFnMut() -> Result<T, Failure>,
) -> Result<T, Failure> {
    loop {
        match work().await {
            Err(failure) if passes(&failure) => {
                if Instant::now() + LOOK >= session.until() {
                    let words = format!("the time is over; the last word was: {failure}");
                    return Err(Failure::local(Exit::Timeout, "NOT_IN_TIME", words));
                }
                tokio::time::sleep(LOOK).await;
            }
            done => return done,
        }
    }
}

/// Between two looks at something that is waited for.
const LOOK: Duration = Duration::from_millis(300);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Output;

    /// A node that has the numbers from 0 on, up to `last`, and gives at most `most` of them at once. Notes every size of page that
    /// it was asked for.
    async fn listed(limit: usize, last: usize, most: usize) -> (Result<(Vec<usize>, bool), Failure>, Vec<i32>) {
        let mut asked = Vec::new();
        let found = pages(limit, async |page_size, page_token: String| {
            asked.push(page_size);
            let from =
                if page_token.is_empty() { 0 } else { page_token.parse().expect("the token of the page before") };
            let to = last.min(from + most.min(usize::try_from(page_size).expect("a size")));
            Ok(((from..to).collect(), if to == last { String::new() } else { to.to_string() }))
        })
        .await;
        (found, asked)
    }

    #[tokio::test]
    async fn a_list_that_fits_into_one_page_is_one_call() {
        assert_eq!(listed(50, 3, 1_000).await, (Ok((vec![0, 1, 2], false)), vec![50]));
        assert_eq!(listed(50, 0, 1_000).await, (Ok((vec![], false)), vec![50]));
    }

    #[tokio::test]
    async fn a_long_list_comes_page_after_page_in_order_and_none_is_left_out_or_twice() {
        let (found, asked) = listed(10_000, 2_500, 1_000).await;
        assert_eq!((found, asked), (Ok(((0..2_500).collect(), false)), vec![1_000, 1_000, 1_000]));
    }

    #[tokio::test]
    async fn the_last_page_is_as_short_as_the_limit_wants_and_more_is_said() {
        let (found, asked) = listed(2_500, 9_000, 1_000).await;
        assert_eq!((found, asked), (Ok(((0..2_500).collect(), true)), vec![1_000, 1_000, 500]));
        // Exactly as many as there are: nothing was cut.
        let (found, asked) = listed(2_000, 2_000, 1_000).await;
        assert_eq!((found, asked), (Ok(((0..2_000).collect(), false)), vec![1_000, 1_000]));
        assert_eq!(listed(0, 5, 1_000).await, (Ok((vec![], false)), vec![]));
    }

    #[tokio::test]
    async fn a_node_that_gives_less_than_was_asked_for_is_asked_on() {
        let (found, asked) = listed(25, 100, 10).await;
        assert_eq!((found, asked), (Ok(((0..25).collect(), true)), vec![25, 15, 5]));
        // A page may be empty where the node looked at much that nobody asked about: its token says that it goes on.
        let mut answers = vec![(vec![7], ""), (vec![], "b"), (vec![], "a")];
        let found = pages(9, async |_, _| {
            let (page, next) = answers.pop().expect("no more than it has");
            Ok((page, next.to_owned()))
        });
        assert_eq!(found.await, Ok((vec![7], false)));
    }

    #[tokio::test]
    async fn a_list_that_breaks_off_is_a_failure_and_no_short_list() {
        let mut calls = 0;
        let found = pages(5_000, async |_, _| {
            calls += 1;
            if calls == 1 { Ok((vec![1], "next".to_owned())) } else { Err(Failure::usage("gone")) }
        });
        assert_eq!(found.await, Err(Failure::usage("gone")));
    }

    #[test]
    fn a_plan_is_shown_only_where_it_is_asked_for() {
        use clap::Parser as _;
        let global = |line: &str| crate::cli::Cli::try_parse_from(line.split(' ')).expect("a command line").global;
        assert!(plan(&global("admin-cli leader transfer"), "leadership is handed over").is_none());
        let plan = plan(&global("admin-cli leader transfer --dry-run"), "leadership is handed over").expect("a plan");
        assert_eq!(plan.show(Output::Table), Ok("WOULD BE DONE\nleadership is handed over\n".to_owned()));
    }
}
