//! `snapshot …`.

#[cfg(test)]
pub(super) mod samples;
mod save;
mod trigger;
mod verify;

use std::{num::NonZeroU16, path::PathBuf};

use clap::Subcommand;

use crate::{cli::Global, failure::Failure, output::Sheet, snapshot_file::Manifest};

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Makes the called node take a snapshot now, so that it can shorten its log
    #[command(
        after_help = "Example:\n  $ admin-cli snapshot trigger --endpoint node-2.switch:7003\n  SNAPSHOT  REQUEST ID\n  started   3f0c…"
    )]
    Trigger,
    /// Saves the whole state of the called node, consistent and with card data sealed, into a file with a manifest beside it
    #[command(
        after_help = "FILE and FILE.manifest.json must not exist. Each piece on the way has --timeout, not all of them together. Who notes the\nchecksum elsewhere can tell later that it is still this snapshot. No node starts from one: a node whose disk is gone is\nreplaced, and takes its state from the others. With --keep, what attempts that were killed left beside FILE goes after a\nday; what stays in doubt is left alone, and NOT_PRUNED says that FILE is saved and older ones were not removed.\n\nExample:\n  $ admin-cli snapshot save node-2.snapshot --endpoint node-2.switch:7003\n  NODE              INDEX  ROWS  BYTES   CHECKSUM  REQUEST ID\n  00000000000000fe  1207   4021  918230  9c1e…     3f0c…"
    )]
    Save {
        /// Where to
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Snapshots that stay in FILE's folder, with this one: the oldest beyond them are removed, of this cluster and with the
        /// same end of the name
        #[arg(long, value_name = "NUMBER")]
        keep: Option<NonZeroU16>,
    },
    /// Reads a saved snapshot from its first byte to its last, without a cluster, and compares it with its manifest
    #[command(
        after_help = "Example:\n  $ admin-cli snapshot verify node-2.snapshot\n  NODE              INDEX  ROWS  BYTES   CHECKSUM\n  00000000000000fe  1207   4021  918230  9c1e…"
    )]
    Verify {
        /// The snapshot; its manifest is beside it
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Checksum that `snapshot save` showed
        #[arg(long, value_name = "HASH")]
        checksum: Option<String>,
    },
}

pub(super) async fn carry_out(global: &Global, verb: &Verb) -> Result<Sheet, Failure> {
    match verb {
        Verb::Trigger => trigger::trigger(global).await,
        Verb::Save { file, keep } => save::save(global, file, *keep).await,
        Verb::Verify { file, checksum } => verify::verify(global, file, checksum.as_deref()),
    }
}

/// What a manifest says, for people.
fn row(manifest: &Manifest) -> Vec<String> {
    vec![
        manifest.node_id.clone(),
        manifest.applied_index.to_string(),
        manifest.rows.to_string(),
        manifest.size_bytes.to_string(),
        manifest.checksum.clone(),
    ]
}
