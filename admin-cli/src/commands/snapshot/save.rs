//! `snapshot save`.

use std::{num::NonZeroU16, path::Path};

use serde_json::{Value, json};
use switch_proto::operator::v1::{
    SaveSnapshotRequest, SaveSnapshotResponse, SnapshotDescription, cluster_service_client::ClusterServiceClient,
    save_snapshot_response::Part,
};
use tonic::Streaming;

use super::row;
use crate::{
    cli::Global,
    commands::plan,
    exit::Exit,
    failure::Failure,
    output::Sheet,
    progress::Progress,
    session::Session,
    snapshot_file::{Manifest, Writer},
    snapshot_shelf,
};

pub(super) async fn save(global: &Global, file: &Path, keep: Option<NonZeroU16>) -> Result<Sheet, Failure> {
    let then = keep.map(|keep| format!(", and the newest {keep} stay in its folder")).unwrap_or_default();
    if let Some(plan) = plan(global, &format!("the state of the called node is saved to {}{then}", file.display())) {
        return Ok(plan);
    }
    let session = Session::new(global)?;
    // Before the node is asked: what cannot be kept is not read.
    let writer = Writer::create(file)?;
    let ask = async |channel, request| ClusterServiceClient::new(channel).save_snapshot(request).await;
    let parts = session.change(SaveSnapshotRequest {}, ask).await?;
    let manifest = receive(parts, writer, global).await?;
    if let Some(keep) = keep {
        for path in snapshot_shelf::prune(file, &manifest, keep)? {
            global.talk().say(format_args!("removed {}", path.display()));
        }
    }
    Ok(sheet(&manifest, file, session.request_id()))
}

pub(super) fn sheet(manifest: &Manifest, file: &Path, request_id: &str) -> Sheet {
    let mut item = serde_json::to_value(manifest).unwrap_or_default();
    if let Value::Object(item) = &mut item {
        item.extend([("file".to_owned(), json!(file)), ("request_id".to_owned(), json!(request_id))]);
    }
    let shown = [row(manifest), vec![request_id.to_owned()]].concat();
    Sheet::of("SnapshotSaved", [item])
        .with(&["NODE", "INDEX", "ROWS", "BYTES", "CHECKSUM", "REQUEST ID"], vec![shown])
        .named("snapshot", [file.display().to_string()])
}

/// Takes everything to disk; each part has the command's time, all of them together may take as long as they are many.
async fn receive(
    mut parts: Streaming<SaveSnapshotResponse>,
    mut writer: Writer,
    global: &Global,
) -> Result<Manifest, Failure> {
    let progress = Progress::of("saving", global.talk());
    let mut head: Option<SnapshotDescription> = None;
    loop {
        let part = tokio::time::timeout(global.timeout, parts.message()).await;
        let part = part.map_err(|_| broken_off("the next part does not come"))?;
        let part = part.map_err(|status| Failure::told(&status))?.and_then(|response| response.part);
        match (part, &head) {
            (Some(Part::Head(told)), None) => head = Some(told),
            (Some(Part::Frame(frame)), Some(_)) => progress.bytes(writer.frame(&frame)?),
            (Some(Part::End(sum)), Some(head)) => return writer.finish(head, &sum),
            (Some(Part::Head(_) | Part::Frame(_) | Part::End(_)), _) => {
                return Err(broken_off("its parts are in disorder"));
            }
            (None, _) => return Err(broken_off("it has no end")),
        }
    }
}

fn broken_off(words: &str) -> Failure {
    Failure::local(Exit::Timeout, "BROKEN_OFF", format!("the snapshot broke off: {words}; nothing was kept"))
}
