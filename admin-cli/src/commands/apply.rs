//! `apply`.

use std::{io::Write as _, path::PathBuf};

use serde_json::json;
use switch_proto::operator::v1::{ApplyDirectoryRequest, directory_service_client::DirectoryServiceClient};

use super::confirm;
use crate::{
    cli::Global,
    directory_file::{self, Change, DirectoryFile},
    failure::Failure,
    output::Sheet,
    session::Session,
};

/// What is applied, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Changes: JSON, or TOML where the name ends in .toml; - reads JSON from standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Refuse unless the directory is at this version; goes before the file's own
    #[arg(long, value_name = "VERSION")]
    pub(crate) expected_version: Option<u64>,
    /// Key of the call: repeating it changes nothing more; goes before the file's own
    #[arg(long, value_name = "KEY")]
    pub(crate) request_id: Option<String>,
    /// Only read the file and show what it would change
    #[arg(long)]
    pub(crate) dry_run: bool,
}

pub(super) async fn carry_out(global: &Global, args: Args) -> Result<Sheet, Failure> {
    let DirectoryFile { expected_version, request_id, changes } = directory_file::read(&args.file)?;
    let rows = changes.iter().map(row).collect::<Vec<_>>();
    let items = changes.iter().map(|change| {
        let (verb, kind, id) = change.names();
        json!({ "change": verb, "kind": kind, "id": id })
    });
    let plan = Sheet::of("DirectoryPlan", items).with(&["CHANGE", "KIND", "ID"], rows);
    if args.dry_run {
        return Ok(plan);
    }
    let removed = changes.iter().filter(|change| change.removes()).count();
    if removed > 0 {
        confirm(global, &format!("{}{removed} of {} changes remove a record", plan.table(), changes.len()))?;
    }
    let session = Session::new(global)?;
    let request_id = args.request_id.or(request_id).unwrap_or_else(|| session.request_id().to_owned());
    let request = ApplyDirectoryRequest {
        request_id: request_id.clone(),
        expected_version: args.expected_version.or(expected_version).unwrap_or(0),
        changes: changes.into_iter().map(Into::into).collect(),
    };
    let ask = async |channel, request| DirectoryServiceClient::new(channel).apply_directory(request).await;
    let applied = session.change(request, ask).await.inspect_err(|failure| {
        if failure.exit == crate::exit::Exit::Timeout {
            let _ = writeln!(std::io::stderr(), "repeat with --request-id {request_id} to be sure");
        }
    })?;
    let item = json!({ "version": applied.version, "request_id": request_id });
    let rows = vec![vec![applied.version.to_string(), request_id]];
    Ok(Sheet::of("DirectoryApplied", [item]).with(&["VERSION", "REQUEST ID"], rows))
}

fn row(change: &Change) -> Vec<String> {
    let (verb, kind, id) = change.names();
    vec![verb.to_owned(), kind.to_owned(), id]
}
