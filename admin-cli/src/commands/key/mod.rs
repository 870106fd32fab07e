//! `key …`: data keys of the cluster. What opens never leaves it.

mod list;
mod publish;
mod rotate;
#[cfg(test)]
pub(super) mod samples;

use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use switch_proto::operator::v1::{self as pb, ListKeysRequest, ListKeysResponse, key_service_client::KeyServiceClient};

use crate::{
    cli::{Global, duration},
    failure::Failure,
    output::Sheet,
    session::Session,
};

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Lists every data key, without anything that opens
    #[command(
        after_help = "Example:\n  $ admin-cli key list\n  PURPOSE  VERSION  CURRENT  WRAPPED BY  KEY ID     SINCE                     UNTIL\n  card     1        no       1           -          2026-09-21T14:13:20.123Z  -\n  card     2        yes      1           -          2026-09-21T14:13:20.123Z  -\n  sealing  1        no       1           sealing-1  2026-09-21T14:13:20.123Z  2026-09-22T14:13:20.123Z\n  sealing  2        yes      1           sealing-2  2026-09-21T14:13:20.123Z  -"
    )]
    List,
    /// Makes a new data key the current one of its purpose; the ones before it still open
    #[command(
        after_help = "Example:\n  $ admin-cli key rotate sealing --overlap 24h\n  PURPOSE  VERSION  REQUEST ID\n  sealing  2        3f0c…"
    )]
    Rotate {
        /// What it is for
        #[arg(value_name = "PURPOSE", value_enum)]
        purpose: Purpose,
        /// Wrapping key to encrypt it under, whose file every node must have; without it that of the key before
        #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u32).range(1..))]
        wrapping: Option<u32>,
        /// How long gateways may go on using the sealing key before, in whole seconds; without it the configured overlap
        #[arg(long, value_name = "TIME", value_parser = duration)]
        overlap: Option<Duration>,
    },
    /// Shows the public keys that gateways seal card data to, the current one first, to be handed on
    #[command(
        after_help = "Gateways can ask any node for the same keys.\n\nExample:\n  $ admin-cli key publish -o json > sealing-keys.json\n  $ admin-cli key publish\n  KEY ID     ALGORITHM                            PUBLIC KEY  NOT BEFORE                NOT AFTER\n  sealing-2  HPKE_X25519_HKDF_SHA256_AES_256_GCM  9c1e…       2026-09-21T14:13:20.123Z  -\n  sealing-1  HPKE_X25519_HKDF_SHA256_AES_256_GCM  9c1e…       2026-09-21T14:13:20.123Z  2026-09-22T14:13:20.123Z"
    )]
    Publish,
}

/// What a data key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Purpose {
    /// Seals card data that is kept.
    Card,
    /// Opens card data that gateways sealed.
    Sealing,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Self::Card => "card",
            Self::Sealing => "sealing",
        }
    }
}

impl From<Purpose> for pb::KeyPurpose {
    fn from(purpose: Purpose) -> Self {
        match purpose {
            Purpose::Card => Self::Card,
            Purpose::Sealing => Self::Sealing,
        }
    }
}

pub(super) async fn carry_out(global: &Global, verb: &Verb) -> Result<Sheet, Failure> {
    match verb {
        Verb::List => list::list(global).await,
        Verb::Rotate { purpose, wrapping, overlap } => rotate::rotate(global, *purpose, *wrapping, *overlap).await,
        Verb::Publish => publish::publish(global).await,
    }
}

/// Every key the cluster has.
async fn known(session: &Session) -> Result<ListKeysResponse, Failure> {
    let ask = async |channel, request| KeyServiceClient::new(channel).list_keys(request).await;
    session.read(ListKeysRequest {}, ask).await
}

/// A time that may be none yet.
fn end(unix_ms: i64) -> String {
    if unix_ms == 0 { "-".to_owned() } else { crate::output::time(unix_ms) }
}

fn purpose_of(key: &pb::DataKey) -> &'static str {
    match key.purpose() {
        pb::KeyPurpose::Card => "card",
        pb::KeyPurpose::Sealing => "sealing",
        pb::KeyPurpose::Unspecified => "-",
    }
}
