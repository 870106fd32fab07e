//! `pki …`: certificates for development. No cluster is asked.

mod init;
mod issue;
#[cfg(test)]
pub(super) mod samples;

use std::{path::PathBuf, time::Duration};

use clap::Subcommand;

use crate::{
    cli::{Global, duration},
    failure::Failure,
    output::{Sheet, or_dash},
    pki::{Subject, Written},
};

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Makes a folder with a root for each plane: gateways, peers, operators, networks
    #[command(
        after_help = "For development: the roots' keys lie in the folder, and nothing can be revoked.\n\nExample:\n  $ admin-cli pki init pki --trust-domain switch.example --cluster dev\n  PLANE     CERTIFICATE          NAME\n  gateway   pki/gateway-ca.crt   -\n  peer      pki/peer-ca.crt      -\n  operator  pki/operator-ca.crt  -\n  network   pki/network-ca.crt   -"
    )]
    Init {
        /// The folder, made where it is not there
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
        /// Trust domain of every URI name
        #[arg(long, value_name = "DOMAIN")]
        trust_domain: String,
        /// The cluster that nodes belong to
        #[arg(long, value_name = "NAME")]
        cluster: String,
        /// How long the roots are valid
        #[arg(long, value_name = "TIME", default_value = "2160h", value_parser = duration)]
        valid: Duration,
    },
    /// Signs the certificates of a node, a gateway, an operator or a network
    #[command(
        after_help = "A node gets one for each of its doors, one towards peers and one towards networks. Nothing that exists is overwritten.\n\nExample:\n  $ admin-cli pki issue operator ann --folder pki\n  PLANE     CERTIFICATE           NAME\n  operator  pki/ann-operator.crt  spiffe://switch.example/operator/ann"
    )]
    Issue {
        /// What it is
        #[arg(value_name = "SUBJECT", value_enum)]
        subject: Subject,
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
        /// The folder that `pki init` made
        #[arg(long, value_name = "FOLDER")]
        folder: PathBuf,
        /// DNS name or address of a server; may be given more than once
        #[arg(long = "host", value_name = "HOST")]
        hosts: Vec<String>,
        /// How long it is valid
        #[arg(long, value_name = "TIME", default_value = "720h", value_parser = duration)]
        valid: Duration,
    },
}

pub(super) fn carry_out(global: &Global, verb: &Verb) -> Result<Sheet, Failure> {
    match verb {
        Verb::Init { folder, trust_domain, cluster, valid } => {
            init::init(global, folder, trust_domain, cluster, *valid)
        }
        Verb::Issue { subject, name, folder, hosts, valid } => {
            issue::issue(global, folder, *subject, name, hosts, *valid)
        }
    }
}

fn sheet(kind: &'static str, written: &[Written]) -> Sheet {
    let path = |path: &std::path::Path| path.display().to_string();
    let row = |one: &Written| vec![one.plane.to_owned(), path(&one.certificate), or_dash(&one.uri)];
    let wide = |one: &Written| {
        vec![one.plane.to_owned(), path(&one.certificate), path(&one.key), path(&one.roots), or_dash(&one.uri)]
    };
    Sheet::of(kind, written)
        .with(&["PLANE", "CERTIFICATE", "NAME"], written.iter().map(row).collect())
        .wide(&["PLANE", "CERTIFICATE", "KEY", "ROOTS", "NAME"], written.iter().map(wide).collect())
        .named("certificate", written.iter().map(|one| path(&one.certificate)))
}
