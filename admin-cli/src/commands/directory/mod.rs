//! `gateway …`, `network …`, `link …`, `route …`: records of the directory.

mod kinds;
#[cfg(test)]
pub(super) mod samples;
mod set;

use clap::{Command, Subcommand};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use switch_proto::operator::v1::{
    ApplyDirectoryRequest, Directory, GetDirectoryRequest, directory_service_client::DirectoryServiceClient,
};

pub(super) use self::kinds::{GATEWAY, LINK, NETWORK, ROUTE};
use super::plan;
use crate::{
    cli::Global,
    confirmation::confirm,
    directory_file::{Change, Switch},
    exit::Exit,
    failure::Failure,
    output::Sheet,
    session::Session,
};

/// Verbs. Their samples are those of each noun: [`sampled`].
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
    /// Adds one, or changes fields of one: the others stay as they are
    Set {
        /// Its id
        #[arg(value_name = "ID")]
        id: String,
        /// A field of the record, and its value
        #[arg(value_name = "FIELD=VALUE", required = true)]
        fields: Vec<String>,
    },
    /// Removes one; refused while another record names it
    Remove {
        /// Its id
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Takes new payments no more; reversals and advices go on
    Disable {
        /// Its id
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Takes new payments again
    Enable {
        /// Its id
        #[arg(value_name = "ID")]
        id: String,
    },
}

impl Verb {
    pub(crate) fn only_reads(&self) -> bool {
        matches!(self, Self::List | Self::Get { .. })
    }
}

/// What the `--help` of a noun's verbs shows.
struct HelpSample {
    noun: &'static str,
    /// Of the record in the first row.
    id: &'static str,
    field: &'static str,
    /// The list, with the widest record first.
    list: &'static [&'static str],
}

const HELP_SAMPLES: [HelpSample; 4] = [
    HelpSample {
        noun: "gateway",
        id: "shop",
        field: "requests_per_second=200",
        list: &[
            "GATEWAY  ENABLED  MERCHANTS  LIMITS  PER SECOND  CONCURRENT  SEALED    PRINCIPALS",
            "shop     yes      2          2       200         64          required  spiffe://switch.example/gateway/shop",
        ],
    },
    HelpSample {
        noun: "network",
        id: "visa",
        field: "attempt_timeout_ms=8000 'failover_codes=[\"91\",\"92\"]'",
        list: &[
            "NETWORK  ENABLED  TIMER MS  IN FLIGHT MS  REVERSALS  FAILOVER",
            "visa     yes      8000      60000         always     91,92",
        ],
    },
    HelpSample {
        noun: "link",
        id: "visa-1",
        field: "in_flight_max=500",
        list: &[
            "LINK    NETWORK  ENABLED  ADDRESS             SERVER NAME   IN FLIGHT MAX  EXCLUSIVE",
            "visa-1  visa     yes      visa-1.example:443  visa.example  500            no",
            "visa-2  visa     yes      visa-2.example:443  visa.example  500            yes",
        ],
    },
    HelpSample {
        noun: "route",
        id: "nordic",
        field: "priority=1 'currency_codes=[\"DKK\",\"SEK\"]'",
        list: &[
            "ROUTE   FROM  TO  CURRENCIES  PRIORITY  NETWORK  ENABLED",
            "nordic  40    49  DKK,SEK     1         visa     yes",
            "visa-4  4     4   -           1         visa     yes",
        ],
    },
];

/// A noun with samples at the verbs that list, show and change its records; any other noun as it is.
pub(crate) fn sampled(noun: Command) -> Command {
    let sample = HELP_SAMPLES.iter().find(|sample| sample.noun == noun.get_name());
    let Some(HelpSample { noun: name, id, field, list }) = sample else { return noun };
    let example = |line: String, answer: &[&str]| {
        let answer: String = answer.iter().map(|line| format!("\n  {line}")).collect();
        format!("Example:\n  $ admin-cli {name} {line}{answer}")
    };
    let changed = ["VERSION  REQUEST ID", "12       3f0c…"];
    let set = example(format!("set {id} {field}"), &changed);
    [
        ("list", example("list".to_owned(), list)),
        ("get", example(format!("get {id}"), &list[..2])),
        ("set", format!("Values are JSON; what is no JSON is a text.\n\n{set}")),
        ("remove", example(format!("remove {id} --yes"), &changed)),
        ("disable", example(format!("disable {id}"), &changed)),
        ("enable", example(format!("enable {id}"), &changed)),
    ]
    .into_iter()
    .fold(noun, |noun, (verb, help)| noun.mut_subcommand(verb, |verb| verb.after_help(help)))
}

/// How one kind of record is found, shown and changed.
pub(super) struct Kind<T> {
    /// In the JSON form.
    name: &'static str,
    /// In words.
    noun: &'static str,
    /// The contract's name of its id.
    id_field: &'static str,
    columns: &'static [&'static str],
    /// Of the wide form.
    wide_columns: &'static [&'static str],
    of: fn(Directory) -> Vec<T>,
    id: fn(&T) -> &str,
    row: fn(&T) -> Vec<String>,
    /// Under those of the wide form.
    wide_row: fn(&T) -> Vec<String>,
    put: fn(T) -> Change,
    remove: fn(String) -> Change,
}

impl<T: Serialize + DeserializeOwned + Clone + Switch> Kind<T> {
    /// All records, or the one that is asked for.
    fn sheet(&self, records: Vec<T>) -> Sheet {
        let rows = records.iter().map(self.row).collect();
        let wide = records.iter().map(self.wide_row).collect();
        let ids: Vec<String> = records.iter().map(|record| (self.id)(record).to_owned()).collect();
        Sheet::of(self.name, records).with(self.columns, rows).wide(self.wide_columns, wide).named(self.noun, ids)
    }

    fn one(&self, records: &[T], id: &str) -> Result<T, Failure> {
        let found = records.iter().find(|record| (self.id)(record) == id).cloned();
        let missing = || Failure::local(Exit::NotFound, "RECORD_NOT_FOUND", format!("there is no {} {id}", self.noun));
        found.ok_or_else(missing)
    }

    /// The change that a verb asks for, and how it reads.
    fn change(&self, records: &[T], verb: &Verb) -> Result<Option<(Change, String)>, Failure> {
        let noun = self.noun;
        Ok(Some(match verb {
            Verb::List | Verb::Get { .. } => return Ok(None),
            Verb::Set { id, fields } => {
                let before = self.one(records, id).ok();
                let record: T = set::set(before.as_ref(), self.id_field, id, fields)?;
                let words = if before.is_some() { "changed" } else { "added" };
                ((self.put)(record), format!("{noun} {id} is {words}: {}", fields.join(", ")))
            }
            Verb::Remove { id } => {
                self.one(records, id)?;
                ((self.remove)(id.clone()), format!("{noun} {id} is removed"))
            }
            Verb::Disable { id } => {
                ((self.put)(self.one(records, id)?.switched(false)), format!("{noun} {id} takes no new payments"))
            }
            Verb::Enable { id } => {
                ((self.put)(self.one(records, id)?.switched(true)), format!("{noun} {id} takes new payments"))
            }
        }))
    }
}

pub(super) async fn carry_out<T>(kind: &Kind<T>, global: &Global, verb: &Verb) -> Result<Sheet, Failure>
where
    T: Serialize + DeserializeOwned + Clone + Switch,
{
    let directory = read(&Session::new(global)?).await?;
    let version = directory.version;
    let records = (kind.of)(directory);
    let Some((change, words)) = kind.change(&records, verb)? else {
        return match verb {
            Verb::Get { id } => Ok(kind.sheet(vec![kind.one(&records, id)?])),
            _ => Ok(kind.sheet(records)),
        };
    };
    if let Some(plan) = plan(global, &words) {
        return Ok(plan);
    }
    if let Verb::Remove { id } = verb {
        confirm(global, &words, id).await?;
    }
    // What was read is what is changed: somebody else's change in between is not overwritten.
    write(&Session::new(global)?, version, vec![change]).await
}

/// The directory as it is now.
pub(super) async fn read(session: &Session) -> Result<Directory, Failure> {
    let ask = async |channel, request| DirectoryServiceClient::new(channel).get_directory(request).await;
    Ok(session.read(GetDirectoryRequest {}, ask).await?.directory.unwrap_or_default())
}

/// Makes changes in one entry.
pub(super) async fn write(session: &Session, expected_version: u64, changes: Vec<Change>) -> Result<Sheet, Failure> {
    let request_id = session.request_id().to_owned();
    let changes = changes.into_iter().map(Into::into).collect();
    let request = ApplyDirectoryRequest { request_id: request_id.clone(), expected_version, changes };
    let ask = async |channel, request| DirectoryServiceClient::new(channel).apply_directory(request).await;
    Ok(applied(session.change(request, ask).await?.version, &request_id))
}

/// The directory has changed.
pub(super) fn applied(version: u64, request_id: &str) -> Sheet {
    let item = json!({ "version": version, "request_id": request_id });
    Sheet::of("DirectoryApplied", [item])
        .with(&["VERSION", "REQUEST ID"], vec![vec![version.to_string(), request_id.to_owned()]])
        .named("directory", [version.to_string()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::Output, records::Gateway};

    fn gateway(id: &str) -> Gateway {
        let principals = vec![format!("spiffe://switch.test/gateway/{id}")];
        serde_json::from_value(json!({ "gateway_id": id, "principals": principals, "enabled": true }))
            .expect("a gateway")
    }

    #[test]
    fn one_is_shown_by_its_id_and_a_missing_one_is_not_found() {
        let records = vec![gateway("shop"), gateway("market")];
        let sheet = GATEWAY.sheet(vec![GATEWAY.one(&records, "market").expect("is there")]);
        let expected = "GATEWAY  ENABLED  MERCHANTS  LIMITS  PER SECOND  CONCURRENT  SEALED    PRINCIPALS\n\
                        market   yes      0          0       -           -           optional  spiffe://switch.test/gateway/market\n";
        assert_eq!(sheet.table(), expected);
        assert_eq!(GATEWAY.one(&records, "kiosk").expect_err("is not there").exit, Exit::NotFound);
    }

    #[test]
    fn the_wide_form_of_a_gateway_shows_its_merchants_limits_and_rates() {
        let record = json!({
            "gateway_id": "shop", "principals": ["spiffe://switch.test/gateway/shop"], "enabled": true,
            "merchants": [
                { "merchant_id": "BOOKS", "acquirer_id": "17", "enabled": true },
                { "merchant_id": "GAMES", "acquirer_id": "17", "enabled": false },
            ],
            "limits": [{ "currency_code": "EUR", "per_operation_minor_units": 500, "per_day_minor_units": 0 }],
            "requests_per_second": 200, "burst": 400, "concurrent": 64, "require_sealed": true,
        });
        let sheet = GATEWAY.sheet(vec![serde_json::from_value(record).expect("a gateway")]);
        let expected = "\
GATEWAY  ENABLED  PER SECOND  BURST  CONCURRENT  SEALED    MERCHANTS          LIMITS         PRINCIPALS
shop     yes      200         400    64          required  BOOKS,GAMES (off)  EUR:500/-/day  spiffe://switch.test/gateway/shop
";
        assert_eq!(sheet.show(Output::Wide).as_deref(), Ok(expected));
    }

    #[test]
    fn a_verb_changes_what_it_says_and_nothing_else() {
        let records = vec![gateway("shop")];
        let change = |verb: Verb| GATEWAY.change(&records, &verb).map(|change| change.expect("a change").0);
        let id = || "shop".to_owned();
        let off = Gateway { enabled: false, ..gateway("shop") };
        assert_eq!(change(Verb::Disable { id: id() }), Ok(Change::PutGateway(off.clone())));
        assert_eq!(change(Verb::Set { id: id(), fields: vec!["enabled=false".into()] }), Ok(Change::PutGateway(off)));
        assert_eq!(change(Verb::Remove { id: id() }), Ok(Change::RemoveGateway(id())));
        let new = change(Verb::Set { id: "kiosk".into(), fields: vec!["enabled=true".into()] });
        assert_eq!(new, Ok(Change::PutGateway(Gateway { principals: vec![], ..gateway("kiosk") })));
        assert_eq!(change(Verb::Disable { id: "kiosk".into() }).expect_err("missing").exit, Exit::NotFound);
    }
}
