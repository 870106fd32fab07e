//! `context …`.

use std::path::Path;

use clap::Subcommand;
use serde_json::json;
use switch_proto::operator::v1::GetStatusResponse;

use super::plan;
use crate::{
    cli::Global,
    confirmation::confirm,
    context::{self, Context, Contexts},
    exit::Exit,
    failure::Failure,
    output::{Sheet, hex, listed},
    session::Session,
};

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Lists them
    #[command(
        after_help = "Example:\n  $ admin-cli context list\n  CURRENT  CONTEXT     ENDPOINTS\n           production  10.0.0.1:7003\n  *        staging     node-1.switch:7003,node-2.switch:7003"
    )]
    List,
    /// Shows one with its files; without a name the one that is used now
    #[command(
        after_help = "Example:\n  $ admin-cli context show -o yaml\n  apiVersion: admin.payswitch.io/v1\n  items:\n  - context:\n      certificate: /etc/payswitch/ann.pem\n  …"
    )]
    Show {
        /// Its name
        #[arg(value_name = "NAME")]
        name: Option<String>,
    },
    /// Asks every node of one for its status: exit code 3 where one is not reached
    #[command(
        after_help = "Example:\n  $ admin-cli context test staging\n  ENDPOINT            ANSWER                                                       CLUSTER\n  node-1.switch:7003  00000000000000ff                                             5d1f0c7a99b3e210\n  node-2.switch:7003  error: node-2.switch:7003: connection refused (NOT_REACHED)  -\n  node-3.switch:7003  00000000000000fd                                             5d1f0c7a99b3e210"
    )]
    Test {
        /// Its name; without one that which is used now
        #[arg(value_name = "NAME")]
        name: Option<String>,
    },
    /// Makes one the current one
    #[command(
        after_help = "Example:\n  $ admin-cli context use staging\n  CURRENT  CONTEXT     ENDPOINTS\n           production  10.0.0.1:7003\n  *        staging     node-1.switch:7003,node-2.switch:7003"
    )]
    Use {
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Writes one from --endpoint, --certificate, --key, --roots and --server-name; what is not given stays
    #[command(
        after_help = "Example:\n  $ admin-cli context set staging --endpoint node-1.switch:7003,node-2.switch:7003 --certificate ann.pem --key ann-key.pem --roots roots.pem\n  CURRENT  CONTEXT     ENDPOINTS\n           production  10.0.0.1:7003\n           staging     node-1.switch:7003,node-2.switch:7003"
    )]
    Set {
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Removes one
    #[command(
        after_help = "Example:\n  $ admin-cli context remove staging --yes\n  CURRENT  CONTEXT     ENDPOINTS\n           production  10.0.0.1:7003"
    )]
    Remove {
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
    },
}

pub(super) async fn carry_out(global: &Global, verb: &Verb) -> Result<Sheet, Failure> {
    let path = context::path(global)?;
    let mut known = context::read(&path)?;
    let words = match verb {
        Verb::List => return Ok(sheet(&known, None)),
        Verb::Show { name } => return Ok(sheet(&known, Some(&named(global, name.as_ref(), &known, &path)?))),
        Verb::Test { name } => {
            let name = named(global, name.as_ref(), &known, &path)?;
            return test(Global { context: Some(name), ..global.clone() }).await;
        }
        Verb::Use { name } => {
            if !known.contexts.contains_key(name) {
                return Err(context::missing(name, &path));
            }
            known.current = Some(name.clone());
            format!("context {name} is used from now on")
        }
        Verb::Set { name } => {
            set(global, known.contexts.entry(name.clone()).or_default())?;
            format!("context {name} is written to {}", path.display())
        }
        Verb::Remove { name } => {
            known.contexts.remove(name).ok_or_else(|| context::missing(name, &path))?;
            known.current = known.current.filter(|current| current != name);
            format!("context {name} is removed from {}", path.display())
        }
    };
    if let Some(plan) = plan(global, &words) {
        return Ok(plan);
    }
    if let Verb::Remove { name } = verb {
        confirm(global, &words, name).await?;
    }
    context::write(&path, &known)?;
    Ok(sheet(&known, None))
}

/// The context that is meant: the one that is named, or the one that commands use now.
fn named(global: &Global, name: Option<&String>, known: &Contexts, path: &Path) -> Result<String, Failure> {
    let name = name.or(global.context.as_ref()).or(known.current.as_ref());
    let name = name.ok_or_else(|| Failure::usage("no context is in use: give a name"))?;
    if known.contexts.contains_key(name) { Ok(name.clone()) } else { Err(context::missing(name, path)) }
}

async fn test(mut global: Global) -> Result<Sheet, Failure> {
    context::fill(&mut global)?;
    let session = Session::new(&global)?;
    let mut answers = Vec::new();
    for endpoint in &global.endpoint {
        answers.push((endpoint.clone(), session.at(endpoint).status().await));
    }
    Ok(tested(&answers))
}

/// What each endpoint of a context answered.
fn tested(answers: &[(String, Result<GetStatusResponse, Failure>)]) -> Sheet {
    let (mut items, mut rows) = (Vec::new(), Vec::new());
    for (endpoint, answer) in answers {
        let (node, cluster) = match answer {
            Ok(status) => (hex(status.node_id), hex(status.cluster_id)),
            Err(failure) => (failure.to_string(), "-".to_owned()),
        };
        items.push(json!({
            "endpoint": endpoint,
            "node_id": answer.as_ref().map(|status| hex(status.node_id)).ok(),
            "cluster_id": answer.as_ref().map(|status| hex(status.cluster_id)).ok(),
            "error": answer.as_ref().err().map(ToString::to_string),
        }));
        rows.push(vec![endpoint.clone(), node, cluster]);
    }
    let sheet = Sheet::of("ContextTest", items)
        .with(&["ENDPOINT", "ANSWER", "CLUSTER"], rows)
        .named("endpoint", answers.iter().map(|(endpoint, _)| endpoint));
    if answers.iter().any(|(_, answer)| answer.is_err()) { sheet.ending(Exit::Connect) } else { sheet }
}

fn set(global: &Global, context: &mut Context) -> Result<(), Failure> {
    if !global.endpoint.is_empty() {
        context.endpoints.clone_from(&global.endpoint);
    }
    for (given, kept) in [
        (&global.certificate, &mut context.certificate),
        (&global.key, &mut context.key),
        (&global.roots, &mut context.roots),
    ] {
        if let Some(path) = given {
            // A context works from every folder.
            *kept =
                std::path::absolute(path).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
        }
        if kept.as_os_str().is_empty() {
            return Err(Failure::usage("a new context needs --certificate, --key and --roots"));
        }
    }
    if context.endpoints.is_empty() {
        return Err(Failure::usage("a new context needs at least one --endpoint"));
    }
    if let Some(name) = &global.server_name {
        context.server_name = Some(name.clone());
    }
    Ok(())
}

/// All contexts, or only the one of this name.
fn sheet(known: &Contexts, only: Option<&str>) -> Sheet {
    let is_current = |name: &String| known.current.as_ref() == Some(name);
    let shown = || known.contexts.iter().filter(|(name, _)| only.is_none_or(|only| only == name.as_str()));
    let items = shown().map(|(name, context)| json!({ "name": name, "current": is_current(name), "context": context }));
    let star = |name: &String| if is_current(name) { "*" } else { "" }.to_owned();
    let row = |(name, context): (&String, &Context)| vec![star(name), name.clone(), listed(&context.endpoints)];
    let wide = |(name, context): (&String, &Context)| {
        let path = |path: &Path| path.display().to_string();
        let paths = vec![path(&context.certificate), path(&context.key), path(&context.roots)];
        [row((name, context)), paths].concat()
    };
    Sheet::of("ContextList", items)
        .with(&["CURRENT", "CONTEXT", "ENDPOINTS"], shown().map(row).collect())
        .wide(&["CURRENT", "CONTEXT", "ENDPOINTS", "CERTIFICATE", "KEY", "ROOTS"], shown().map(wide).collect())
        .named("context", shown().map(|(name, _)| name))
}

#[cfg(test)]
pub(super) mod samples;
