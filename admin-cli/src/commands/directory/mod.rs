//! `gateway …`, `network …`, `link …`, `route …`: records of the directory, listed and shown by id.

pub(super) mod gateway;
pub(super) mod link;
pub(super) mod network;
pub(super) mod route;

use clap::Subcommand;
use serde::Serialize;
use switch_proto::operator::v1::{Directory, GetDirectoryRequest, directory_service_client::DirectoryServiceClient};

use crate::{exit::Exit, failure::Failure, output::Sheet, session::Session};

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Lists all of them
    List,
    /// Shows one
    Get {
        /// Its id
        #[arg(value_name = "ID")]
        id: String,
    },
}

/// How one kind of record is shown.
struct Kind<T> {
    /// In the JSON form.
    name: &'static str,
    /// In words.
    noun: &'static str,
    columns: &'static [&'static str],
    id: fn(&T) -> &str,
    row: fn(&T) -> Vec<String>,
}

impl<T: Serialize> Kind<T> {
    /// All records, or the one that is asked for.
    fn sheet(&self, records: Vec<T>, verb: &Verb) -> Result<Sheet, Failure> {
        let records: Vec<T> = match verb {
            Verb::List => records,
            Verb::Get { id } => records.into_iter().filter(|record| (self.id)(record) == id).collect(),
        };
        match verb {
            Verb::Get { id } if records.is_empty() => {
                Err(Failure::local(Exit::NotFound, "RECORD_NOT_FOUND", format!("there is no {} {id}", self.noun)))
            }
            Verb::Get { .. } | Verb::List => {
                let rows = records.iter().map(self.row).collect();
                Ok(Sheet::of(self.name, records).with(self.columns, rows))
            }
        }
    }
}

async fn read(session: &Session) -> Result<Directory, Failure> {
    let ask = async |channel, request| DirectoryServiceClient::new(channel).get_directory(request).await;
    Ok(session.read(GetDirectoryRequest {}, ask).await?.directory.unwrap_or_default())
}

fn yes_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}
