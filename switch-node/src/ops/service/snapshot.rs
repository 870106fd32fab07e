//! A node's whole state for an operator who keeps it outside of the cluster: a head, frames, and an end with their SHA-256.
//!
//! What leaves is what the disk holds: card data sealed, data keys wrapped. It is an act of an operator's and stands in the
//! audit trail like any other.

use std::{sync::Arc, time::Duration};

use ring::digest;
use switch_consensus::{SnapshotView, snapshot::Saved};
use switch_domain::audit::Act;
use switch_proto::operator::v1::{self as pb, save_snapshot_response::Part};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::{Operators, audit::Caller, outlet::Outlet, refusals};
use crate::door::refusal::refused;

impl Operators {
    /// Begins to send the state as it is now.
    pub(super) async fn save_state(
        &self,
        caller: Caller,
        until: Instant,
    ) -> Result<ReceiverStream<Result<pb::SaveSnapshotResponse, Status>>, Status> {
        let operators = self.clone();
        let identity = self.shared.journal.group().status().identity;
        let prepare = async move {
            let turn = operators.shared.saving.clone().try_acquire_owned().map_err(|_| {
                refused(Code::ResourceExhausted, "SNAPSHOT_BEING_SAVED", "another operator reads this node's state")
                    .retry_after(LATER)
                    .status()
            })?;
            let journal = &operators.shared.journal;
            let log_time_unix_ms = i64::try_from(journal.log_time().0).unwrap_or(i64::MAX);
            let Saved { applied, term, view } =
                journal.group().view().await.map_err(|error| refusals::of_snapshot(&error))?;
            let head = pb::SnapshotDescription {
                cluster_id: identity.cluster_id,
                node_id: identity.node_id,
                applied_index: applied,
                applied_term: term,
                state_hash: view.fingerprint(),
                log_time_unix_ms,
            };
            Ok(Source { head, view, _turn: turn })
        };
        self.audited_stream(caller, Act::SaveSnapshot(identity.node_id), until, prepare, send).await
    }
}

/// The state of one moment.
struct Source {
    head: pb::SnapshotDescription,
    view: Arc<dyn SnapshotView>,
    _turn: OwnedSemaphorePermit,
}

fn send(source: Source, outlet: &Outlet<pb::SaveSnapshotResponse>) -> Result<(), Status> {
    let hand = |part| outlet.hand(pb::SaveSnapshotResponse { part: Some(part) });
    let Source { head, view, _turn } = source;
    let mut sum = digest::Context::new(&digest::SHA256);
    let (mut frames, mut size_bytes) = (0, 0);
    hand(Part::Head(head))?;
    for frame in view.frames() {
        let frame = frame.map_err(|fault| {
            tracing::error!(%fault, "a node's state could not be read to its end");
            refused(Code::Internal, "TABLE_FAULT", "the node's table cannot be read").status()
        })?;
        sum.update(&frame);
        frames += 1;
        size_bytes += frame.len() as u64;
        hand(Part::Frame(frame))?;
    }
    let sha256 = sum.finish().as_ref().to_vec().into();
    hand(Part::End(pb::SnapshotSum { frames, size_bytes, sha256 }))
}

/// When to ask again while another operator reads.
const LATER: Duration = Duration::from_secs(5);
