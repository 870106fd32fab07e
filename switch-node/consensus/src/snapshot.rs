//! Moving a whole state to a node that is too far behind, and taking snapshots so that the log can be shortened.
//!
//! ```text
//!  sender:    view ─ frames (blocking thread) ─▶ 4 frames ─▶ wire: head, frames with CRC, end
//!  receiver:  wire ─ CRC, order, count ─▶ 4 frames ─▶ sink (blocking thread) ─▶ openraft ─▶ Machine::adopt
//! ```
//!
//! Neither side ever holds more than a few frames in memory. Until `adopt` the old state is untouched. One snapshot is received at a
//! time, and another is refused until the first one is *installed*, whatever became of the caller: openraft #2116.
//!
//! **When.** A snapshot is due after a number of log bytes or after a time with changes. The leader hands out a turn, to one node at
//! a time, so that never two nodes pay for one at once; a turn lapses, and a node that finds no leader for long takes one anyway.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream, stream::BoxStream};
use openraft::async_runtime::WatchReceiver;
use switch_proto::peer::v1 as wire;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::Instant,
};

use crate::{
    Group, LeaderId, NodeId, PeerError, Refusal,
    group::Inner,
    limits,
    machine::{MachineFault, SnapshotSink, SnapshotView, host::Host},
    raft::Position,
};

use wire::install_snapshot_request::Part;

/// When to take a snapshot, and how much log to keep behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotPolicy {
    /// Bytes of packs applied since the last one. Default 256 MiB: some seconds of replay after a crash.
    pub bytes: u64,
    /// Time since the last one, if anything was applied. Default 15 min: an idle cluster's log goes too.
    pub age: Duration,
    /// Entries kept behind a snapshot. Default 20 000.
    pub keep_entries: u64,
    /// Bytes kept behind a snapshot, if that is less. Default 1 GiB.
    pub keep_bytes: u64,
}

impl Default for SnapshotPolicy {
    fn default() -> Self {
        Self { bytes: 256 << 20, age: Duration::from_secs(15 * 60), keep_entries: 20_000, keep_bytes: 1 << 30 }
    }
}

// ## Sending

/// A view as the parts of a call. If it cannot be read to its end, no end is sent, and the receiver discards what it has.
pub(crate) fn parts(
    head: wire::SnapshotHead,
    view: Arc<dyn SnapshotView>,
    inline: bool,
) -> BoxStream<'static, wire::InstallSnapshotRequest> {
    let pieces = if inline { stream::iter(pieces(&*view)).boxed() } else { read_ahead(view) };
    let body = stream::unfold((pieces, 0), |(mut pieces, ordinal)| async move {
        match pieces.next().await? {
            Ok(Piece::Frame(data)) => {
                let crc = crc32fast::hash(&data);
                Some((request(Part::Frame(wire::SnapshotFrame { ordinal, data, crc })), (pieces, ordinal + 1)))
            }
            Ok(Piece::End) => Some((request(Part::End(wire::SnapshotEnd { frames: ordinal })), (pieces, ordinal))),
            Err(error) => {
                tracing::error!(%error, "a snapshot could not be read to its end");
                None
            }
        }
    });
    stream::iter([request(Part::Head(head))]).chain(body).boxed()
}

/// The end is said, not guessed from silence: a reader that panicked is silent too.
enum Piece {
    Frame(Bytes),
    End,
}

fn pieces(view: &dyn SnapshotView) -> impl Iterator<Item = Result<Piece, MachineFault>> + Send + 'static {
    let frames = view.frames().map(|frame| match frame? {
        frame if frame.len() > limits::SNAPSHOT_FRAME_BYTES_MAX => {
            Err(MachineFault::new(format!("a snapshot frame of {} bytes", frame.len())))
        }
        frame => Ok(Piece::Frame(frame)),
    });
    frames.chain([Ok(Piece::End)])
}

fn read_ahead(view: Arc<dyn SnapshotView>) -> BoxStream<'static, Result<Piece, MachineFault>> {
    let (read, pieces_read) = mpsc::channel(limits::SNAPSHOT_FRAMES_IN_FLIGHT);
    tokio::task::spawn_blocking(move || {
        for piece in pieces(&*view) {
            if read.blocking_send(piece).is_err() {
                break; // the call is over
            }
        }
    });
    tokio_stream::wrappers::ReceiverStream::new(pieces_read).boxed()
}

fn request(part: Part) -> wire::InstallSnapshotRequest {
    wire::InstallSnapshotRequest { part: Some(part) }
}

// ## Receiving

/// Takes the frames that follow a head into a sink of `host`'s machine. `one` is kept until the sink has taken its last frame.
pub(crate) async fn receive(
    host: &Host,
    parts: &mut BoxStream<'static, Result<wire::InstallSnapshotRequest, PeerError>>,
    one: Arc<OwnedSemaphorePermit>,
) -> Result<Box<dyn SnapshotSink>, PeerError> {
    let sink = host.call(|machine| machine.install()).await.map_err(failed)?;
    let mut writer = Writer::new(sink, host.is_inline(), one);
    let mut expected = 0;
    loop {
        let part = tokio::time::timeout(limits::SNAPSHOT_FRAME_IDLE, parts.next())
            .await
            .map_err(|_| PeerError::Unreachable("the next frame does not come".into()))?
            .ok_or_else(|| PeerError::Unreachable("the snapshot broke off".into()))??;
        match part.part {
            Some(Part::Frame(frame)) if frame.ordinal != expected => {
                return Err(malformed(format!("frame {} where {expected} was expected", frame.ordinal)));
            }
            Some(Part::Frame(frame)) if frame.crc != crc32fast::hash(&frame.data) => {
                return Err(malformed(format!("frame {expected} is damaged")));
            }
            Some(Part::Frame(frame)) => {
                expected += 1;
                if !writer.frame(frame.data).await.map_err(failed)? {
                    return writer.finish().await.map_err(failed); // the error of the writer
                }
            }
            Some(Part::End(end)) if end.frames == expected => return writer.finish().await.map_err(failed),
            Some(Part::End(end)) => {
                return Err(malformed(format!("{} frames were sent, {expected} came", end.frames)));
            }
            Some(Part::Head(_)) | None => return Err(malformed("a second head".into())),
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn failed(error: MachineFault) -> PeerError {
    PeerError::Failed(error.to_string())
}

fn malformed(message: String) -> PeerError {
    PeerError::refused(Refusal::Malformed, message)
}

enum Writer {
    Inline(Box<dyn SnapshotSink>),
    Thread {
        frames: mpsc::Sender<Bytes>,
        written: tokio::task::JoinHandle<Result<Box<dyn SnapshotSink>, MachineFault>>,
    },
}

impl Writer {
    fn new(mut sink: Box<dyn SnapshotSink>, inline: bool, one: Arc<OwnedSemaphorePermit>) -> Self {
        if inline {
            return Self::Inline(sink);
        }
        let (frames, mut queue) = mpsc::channel::<Bytes>(limits::SNAPSHOT_FRAMES_IN_FLIGHT);
        let written = tokio::task::spawn_blocking(move || {
            let _one = one;
            while let Some(frame) = queue.blocking_recv() {
                sink.frame(frame)?;
            }
            Ok(sink)
        });
        Self::Thread { frames, written }
    }

    /// False if the writer has ended before its time; `finish` says why.
    async fn frame(&mut self, frame: Bytes) -> Result<bool, MachineFault> {
        match self {
            Self::Inline(sink) => sink.frame(frame).map(|()| true),
            Self::Thread { frames, .. } => Ok(frames.send(frame).await.is_ok()),
        }
    }

    async fn finish(self) -> Result<Box<dyn SnapshotSink>, MachineFault> {
        match self {
            Self::Inline(sink) => Ok(sink),
            Self::Thread { frames, written } => {
                drop(frames);
                written.await.map_err(|_| MachineFault::new("the snapshot's writer panicked"))?
            }
        }
    }
}

// ## Taking

/// Why no snapshot was taken.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Nothing was applied yet: there is nothing to take.
    #[error("there is nothing to take a snapshot of")]
    Nothing,
    /// It was not taken in time; it may still be.
    #[error("the snapshot was not taken within {within:?}")]
    Late {
        /// The time it had.
        within: Duration,
    },
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopped,
    /// The machine gave no view of its state.
    #[error(transparent)]
    Machine(MachineFault),
}

/// The state of this node at one moment, for somebody who keeps it outside of the cluster.
pub struct Saved {
    /// Last entry in it.
    pub applied: u64,
    /// Term of that entry.
    pub term: u64,
    /// The state. It keeps what is replaced meanwhile on the disk until it is dropped.
    pub view: Arc<dyn SnapshotView>,
}

/// Who may take a snapshot now; kept by the leader.
#[derive(Default)]
pub(crate) struct Turn(Option<(NodeId, Instant)>);

impl Turn {
    /// Gives the turn to `node` unless another has it, or takes it back.
    pub(crate) fn ask(&mut self, node: NodeId, done: bool, now: Instant) -> bool {
        let free = self.0.is_none_or(|(holder, until)| holder == node || until <= now);
        if free {
            self.0 = (!done).then(|| (node, now + limits::SNAPSHOT_TURN));
        }
        free
    }
}

impl Group {
    /// Takes a snapshot now, whoever else takes one, and drops the log it makes superfluous. Returns the index it goes up to.
    pub async fn trigger_snapshot(&self) -> Result<u64, SnapshotError> {
        let inner = &*self.inner;
        let applied = inner.applied.position.borrow().applied.ok_or(SnapshotError::Nothing)?.index;
        inner.raft.trigger().snapshot().await.map_err(|_| SnapshotError::Stopped)?;
        let mut metrics = inner.raft.metrics();
        let within = limits::SNAPSHOT_TURN;
        let taken = async {
            loop {
                let taken = metrics.borrow_and_update().snapshot.map(|id| id.index);
                if let Some(index) = taken.filter(|index| *index >= applied) {
                    return Ok(index);
                }
                metrics.changed().await.map_err(|_| SnapshotError::Stopped)?;
            }
        };
        let index = tokio::time::timeout(within, taken).await.map_err(|_| SnapshotError::Late { within })??;
        if let Some(upto) = purge_upto(inner, index) {
            inner.raft.trigger().purge_log(upto).await.map_err(|_| SnapshotError::Stopped)?;
        }
        Ok(index)
    }
}

impl Group {
    /// A consistent view of everything this node has applied. Changes nothing: neither log nor turns know of it.
    ///
    /// # Errors
    /// [`SnapshotError::Nothing`] before the first entry, [`SnapshotError::Machine`] where the machine fails.
    pub async fn view(&self) -> Result<Saved, SnapshotError> {
        if self.inner.applied.position.borrow().applied.is_none() {
            return Err(SnapshotError::Nothing);
        }
        let view = self.inner.host.call(|machine| machine.snapshot()).await.map_err(SnapshotError::Machine)?;
        let view: Arc<dyn SnapshotView> = view.into();
        let position = Position::decode(view.progress());
        let position = position.map_err(|error| SnapshotError::Machine(MachineFault::new(error)))?;
        let last = position.applied.ok_or(SnapshotError::Nothing)?;
        Ok(Saved { applied: last.index, term: LeaderId::from(last.leader_id).term, view })
    }
}

/// Which log a snapshot at `snapshot` makes superfluous, keeping what followers may still want.
fn purge_upto(inner: &Inner, snapshot: u64) -> Option<u64> {
    let state = inner.log.state();
    let first = state.purged.map_or(0, |id| id.index + 1);
    let entries = state.last?.index.checked_sub(first)? + 1;
    let entry_bytes = (state.bytes / entries).max(1);
    let keep = inner.policy.keep_entries.min(inner.policy.keep_bytes / entry_bytes);
    snapshot.checked_sub(keep).filter(|upto| *upto >= first)
}

/// Takes snapshots when they are due, for as long as the node runs.
pub(crate) async fn schedule(group: Group) {
    let policy = group.inner.policy;
    let look = limits::SNAPSHOT_LOOK.min(policy.age);
    let mut last = Taken::now(&group.inner);
    loop {
        tokio::time::sleep(look).await;
        let since = Taken::now(&group.inner);
        let bytes = since.bytes - last.bytes;
        let age = since.at - last.at;
        let changed = since.index > last.index;
        let due =
            |times: u64| bytes >= policy.bytes.saturating_mul(times) || (changed && age >= policy.age * times as u32);
        if !due(1) || !(turn(&group, false).await || due(limits::SNAPSHOT_OVERDUE)) {
            continue;
        }
        match group.trigger_snapshot().await {
            Ok(index) => {
                tracing::info!(index, bytes, ?age, "took a snapshot");
                last = since;
            }
            Err(SnapshotError::Stopped) => return,
            Err(error) => tracing::warn!(%error, "took no snapshot"),
        }
        turn(&group, true).await;
    }
}

#[derive(Clone, Copy)]
struct Taken {
    bytes: u64,
    index: Option<u64>,
    at: Instant,
}

impl Taken {
    fn now(inner: &Inner) -> Self {
        Self {
            bytes: inner.applied.bytes.load(std::sync::atomic::Ordering::Relaxed),
            index: inner.applied.position.borrow().applied.map(|id| id.index),
            at: Instant::now(),
        }
    }
}

/// Asks the leader for the turn, or gives it back. No answer is no turn.
async fn turn(group: &Group, done: bool) -> bool {
    let inner = &*group.inner;
    let leadership = inner.leadership.borrow().clone();
    let own = inner.identity().node_id;
    if leadership.is_self {
        return inner.turn.lock().ask(own, done, Instant::now());
    }
    let (Some(leader), Some(record)) = (leadership.leader, leadership.record) else { return false };
    let request = wire::SnapshotTurnRequest { envelope: Some(inner.peers.envelope(leader.node, &record)), done };
    let asked = inner.peers.wire.snapshot_turn(&record.peer_address, request);
    matches!(tokio::time::timeout(limits::PROBE_MAX, asked).await, Ok(Ok(wire::SnapshotTurnResponse { granted: true })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_node_at_a_time_has_the_turn_and_a_dead_one_loses_it() {
        let mut turn = Turn::default();
        let now = Instant::now();
        assert!(turn.ask(1, false, now));
        assert!(!turn.ask(2, false, now));
        assert!(!turn.ask(2, true, now)); // what it has not, it cannot give back
        assert!(turn.ask(1, true, now));
        assert!(turn.ask(2, false, now));
        assert!(turn.ask(3, false, now + limits::SNAPSHOT_TURN));
    }
}
