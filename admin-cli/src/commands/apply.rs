//! `apply` and `diff`.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::directory;
use crate::{
    cli::Global,
    confirmation::{cluster_name, confirm},
    directory_file::{self, Change, DirectoryFile, Known},
    exit::Exit,
    failure::Failure,
    output::Sheet,
    session::Session,
};

/// What is applied, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// YAML, TOML or JSON, by the end of its name; - reads YAML or JSON from standard input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Refuse unless the directory is at this version; goes before the file's own
    #[arg(long, value_name = "VERSION")]
    expected_version: Option<u64>,
    /// Remove records that are not in the file, of the kinds that are
    #[arg(long)]
    prune: bool,
}

/// A sample of `apply`.
pub(crate) const APPLY_HELP: &str = "\
A file names records as they shall be, and may list changes one by one:
  gateways:
  - gateway_id: shop
    principals: [spiffe://switch.example/gateway/shop]
    enabled: true
  changes:
  - remove_route: visa-old

Example:
  $ admin-cli apply -f directory.yaml --yes
  VERSION  REQUEST ID
  12       3f0c…";

/// A sample of `diff`.
pub(crate) const DIFF_HELP: &str = "\
Exit code 0 where nothing would change, 8 where something would.

Example:
  $ admin-cli diff -f directory.yaml
  CHANGE  KIND     ID        FIELD    IS    SHALL BE
  remove  route    visa-old  -        -     -
  put     gateway  shop      burst    400   500
  put     gateway  shop      enabled  true  false";

/// A file against the directory as it is.
struct Plan {
    expected_version: u64,
    request_id: Option<String>,
    changes: Vec<Change>,
    known: Known,
}

pub(super) async fn apply(global: &Global, args: &Args) -> Result<Sheet, Failure> {
    let plan = plan(&Session::new(global)?, args).await?;
    if global.dry_run {
        return Ok(plan.sheet());
    }
    if plan.changes.is_empty() {
        global.talk().say("the directory is as the file says: nothing to change");
        return Ok(plan.sheet());
    }
    let removed = plan.changes.iter().filter(|change| change.removes()).count();
    if removed > 0 {
        let all = plan.changes.len();
        let words = format!("{}{removed} of {all} changes remove a record", plan.sheet().table());
        confirm(global, &words, cluster_name(global)).await?;
    }
    let session = Session::new(global)?;
    let session = match (&global.request_id, plan.request_id) {
        (None, Some(request_id)) => session.under(request_id),
        (_, _) => session,
    };
    directory::write(&session, plan.expected_version, plan.changes).await.inspect_err(|failure| {
        if failure.exit == Exit::Timeout {
            global.talk().say(format_args!("repeat with --request-id {} to be sure", session.request_id()));
        }
    })
}

pub(super) async fn diff(global: &Global, args: &Args) -> Result<Sheet, Failure> {
    let plan = plan(&Session::new(global)?, args).await?;
    let exit = if plan.changes.is_empty() { Exit::Ok } else { Exit::Differs };
    Ok(plan.sheet().ending(exit))
}

async fn plan(session: &Session, args: &Args) -> Result<Plan, Failure> {
    let file = directory_file::read(&args.file)?;
    let now = directory::read(session).await?;
    // What was compared is what is changed.
    let expected_version = args.expected_version.or(file.expected_version).unwrap_or(now.version);
    let known = Known::of(now);
    let request_id = file.request_id.clone();
    let changes = DirectoryFile::changes(file, &known, args.prune);
    Ok(Plan { expected_version, request_id, changes, known })
}

impl Plan {
    fn sheet(&self) -> Sheet {
        let (mut items, mut rows) = (Vec::new(), Vec::new());
        for change in &self.changes {
            let (verb, kind, id) = change.names();
            let fields = differences(self.known.before(change), change.record());
            let row = |field: &str, is: String, shall_be: String| {
                vec![verb.to_owned(), kind.to_owned(), id.clone(), field.to_owned(), is, shall_be]
            };
            if fields.is_empty() {
                rows.push(row("-", "-".to_owned(), "-".to_owned()));
            }
            rows.extend(fields.iter().map(|(field, is, shall_be)| row(field, shown(is), shown(shall_be))));
            let fields =
                fields.iter().map(|(field, is, shall_be)| json!({ "field": field, "is": is, "shall_be": shall_be }));
            items.push(json!({ "change": verb, "kind": kind, "id": id, "fields": fields.collect::<Vec<_>>() }));
        }
        let names = self.changes.iter().map(|change| format!("{}/{}", change.names().1, change.names().2));
        Sheet::of("DirectoryPlan", items)
            .with(&["CHANGE", "KIND", "ID", "FIELD", "IS", "SHALL BE"], rows)
            .named("change", names)
    }
}

/// Fields that are not the same, in the order of their names.
fn differences(is: Option<&Value>, shall_be: Option<Value>) -> Vec<(String, Value, Value)> {
    let empty = Value::Null;
    let (is, shall_be) = (is.unwrap_or(&empty), shall_be.unwrap_or_default());
    let names = |value: &Value| value.as_object().map(|record| record.keys().cloned().collect()).unwrap_or_default();
    let mut fields: Vec<String> = names(is);
    fields.extend(names(&shall_be));
    fields.sort();
    fields.dedup();
    let pair = |field: String| {
        let (before, after) = (is[&field].clone(), shall_be[&field].clone());
        (before != after).then_some((field, before, after))
    };
    fields.into_iter().filter_map(pair).collect()
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

#[cfg(test)]
pub(super) mod samples;

#[cfg(test)]
mod tests {
    use switch_proto::operator::v1 as pb;

    use super::*;

    #[test]
    fn a_plan_shows_every_field_that_changes() {
        let gateway = pb::Gateway { gateway_id: "shop".into(), enabled: true, ..pb::Gateway::default() };
        let link = pb::Link { link_id: "visa-old".into(), ..pb::Link::default() };
        let now = pb::Directory { version: 4, gateways: vec![gateway], links: vec![link], ..pb::Directory::default() };
        let known = Known::of(now);
        let file = directory_file::parse(
            "gateways: [{ gateway_id: shop, enabled: false }]\nchanges: [{ remove_link: visa-old }]",
            directory_file::Form::Yaml,
        );
        let changes = DirectoryFile::changes(file.expect("a file"), &known, false);
        let sheet = Plan { expected_version: 4, request_id: None, changes, known }.sheet();
        let table = sheet.table();
        for line in ["put     gateway  shop      enabled", "true", "remove  link     visa-old"] {
            assert!(table.contains(line), "{line} in\n{table}");
        }
    }
}
