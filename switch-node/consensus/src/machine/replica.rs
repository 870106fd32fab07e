//! The machine as openraft wants it.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::{Stream, StreamExt};
use openraft::{
    EntryPayload, OptionalSend,
    entry::RaftEntry as _,
    storage::{ApplyResponder, EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot},
};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{Committed, MachineFault, Progress, SnapshotSink, SnapshotView, host::Host};
use crate::{NodeId, membership::MemberRecord};
use crate::{
    limits,
    raft::{Config, Pack, Position, RaftLeaderId, RaftLogId, SnapshotMeta, StoredMembership, encode_membership},
};

pub(crate) type RaftSnapshot = Snapshot<RaftLeaderId, NodeId, MemberRecord, SnapshotData>;

/// The state that moves between machines: a view on its way out, or a sink that took all frames on its way in.
pub(crate) enum SnapshotData {
    Empty,
    View(Arc<dyn SnapshotView>),
    Received { sink: Mutex<Box<dyn SnapshotSink>>, progress: Progress },
}

/// What others may see of a replica.
#[derive(Clone)]
pub(crate) struct Applied {
    /// What was applied last.
    pub(crate) position: watch::Sender<Position>,
    /// Bytes of packs applied since this process started.
    pub(crate) bytes: Arc<AtomicU64>,
}

/// Collects committed entries into batches for the machine.
pub(crate) struct Replica {
    host: Host,
    position: Position,
    applied: Applied,
}

impl Replica {
    /// Reads where the machine stands.
    pub(crate) async fn open(host: Host) -> Result<Self, MachineFault> {
        let position = match host.call(|machine| machine.progress()).await? {
            Some(progress) => Position::decode(progress).map_err(MachineFault::new)?,
            None => Position::default(),
        };
        let applied = Applied { position: watch::Sender::new(position.clone()), bytes: Arc::new(AtomicU64::new(0)) };
        Ok(Self { host, position, applied })
    }

    pub(crate) fn applied(&self) -> Applied {
        self.applied.clone()
    }

    async fn apply_batch(&mut self, batch: Batch) -> io::Result<()> {
        if batch.entries.is_empty() {
            return Ok(());
        }
        let progress = self.position.encode();
        let entries = batch.entries;
        self.host.call(move |machine| machine.apply(entries, progress)).await.map_err(io::Error::other)?;
        self.applied.bytes.fetch_add(batch.bytes as u64, Ordering::Relaxed);
        self.applied.position.send_replace(self.position.clone());
        for responder in batch.responders {
            responder.send(());
        }
        Ok(())
    }

    async fn view(&self) -> Result<RaftSnapshot, MachineFault> {
        if self.position.applied.is_none() {
            return Ok(RaftSnapshot { meta: SnapshotMeta::default(), snapshot: SnapshotData::Empty });
        }
        let view: Arc<dyn SnapshotView> = self.host.call(|machine| machine.snapshot()).await?.into();
        let position = Position::decode(view.progress()).map_err(MachineFault::new)?;
        Ok(RaftSnapshot { meta: position.meta(), snapshot: SnapshotData::View(view) })
    }
}

#[derive(Default)]
struct Batch {
    entries: Vec<Committed>,
    responders: Vec<ApplyResponder<Config>>,
    bytes: usize,
}

impl RaftStateMachine<Config> for Replica {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Taken;

    async fn applied_state(&mut self) -> io::Result<(Option<RaftLogId>, StoredMembership)> {
        Ok((self.position.applied, (*self.position.membership).clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = Result<EntryResponder<Config>, io::Error>> + Unpin + OptionalSend,
    {
        let mut batch = Batch::default();
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let id = entry.log_id();
            let (index, leader) = (id.index, id.leader_id.into());
            self.position.applied = Some(id);
            batch.entries.push(match entry.payload {
                EntryPayload::Blank => Committed::Blank { index, leader },
                EntryPayload::Normal(Pack(payload)) => {
                    batch.bytes += payload.len();
                    Committed::Pack { index, leader, payload }
                }
                EntryPayload::Membership(membership) => {
                    let members = encode_membership(&membership);
                    if let [voters] = membership.get_joint_config().as_slice() {
                        self.position.voters_most = self.position.voters_most.max(voters.len() as u32);
                    }
                    self.position.membership = Arc::new(StoredMembership::new(Some(id), membership));
                    Committed::Membership { index, leader, members }
                }
            });
            batch.responders.extend(responder);
            if batch.entries.len() >= limits::APPLY_ENTRIES_MAX || batch.bytes >= limits::APPLY_BYTES_MAX {
                self.apply_batch(std::mem::take(&mut batch)).await?;
            }
        }
        self.apply_batch(batch).await
    }

    async fn get_snapshot_builder(&mut self) -> Taken {
        Taken(Some(self.view().await))
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotData) -> io::Result<()> {
        let (sink, progress) = match snapshot {
            SnapshotData::Received { sink, progress } => (sink.into_inner(), progress),
            SnapshotData::View(view) => (self.copy(view.clone()).await.map_err(io::Error::other)?, view.progress()),
            SnapshotData::Empty => return Ok(()),
        };
        let position = Position {
            applied: meta.last_log_id,
            membership: Arc::new(meta.last_membership.clone()),
            voters_most: Position::decode(progress)?.voters_most,
        };
        let progress = position.encode();
        self.host.call(move |machine| machine.adopt(sink, progress)).await.map_err(io::Error::other)?;
        self.position = position.clone();
        self.applied.position.send_replace(position);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<RaftSnapshot>> {
        if self.position.applied.is_none() {
            return Ok(None);
        }
        self.view().await.map(Some).map_err(io::Error::other)
    }
}

impl Replica {
    /// A machine's own view, as a snapshot to install.
    async fn copy(&self, view: Arc<dyn SnapshotView>) -> Result<Box<dyn SnapshotSink>, MachineFault> {
        self.host
            .call(move |machine| {
                let mut sink = machine.install()?;
                for frame in view.frames() {
                    sink.frame(frame?)?;
                }
                Ok(sink)
            })
            .await
    }
}

/// A snapshot that is taken already: taking one is a handle, there is nothing to build.
pub(crate) struct Taken(Option<Result<RaftSnapshot, MachineFault>>);

impl RaftSnapshotBuilder<Config> for Taken {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<RaftSnapshot> {
        let taken = self.0.take().unwrap_or_else(|| Err(MachineFault::new("a snapshot was built twice")));
        taken.map_err(io::Error::other)
    }
}
