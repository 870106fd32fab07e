//! The smallest machine: it keeps every pack it was given.

use std::{any::Any, collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::{Committed, LeaderId, Machine, MachineFault, Progress, SnapshotSink, SnapshotView};

/// What is on the machine's "disk"; survives a restart of the node.
pub(super) type Disk = Arc<Mutex<State>>;

#[derive(Clone, Default)]
pub(super) struct State {
    pub(super) packs: BTreeMap<u64, Bytes>,
    pub(super) blanks: Vec<(u64, LeaderId)>,
    pub(super) progress: Option<Progress>,
    pub(super) installed: usize,
}

pub(super) struct Keeper(pub(super) Disk);

impl Machine for Keeper {
    fn apply(&mut self, entries: Vec<Committed>, progress: Progress) -> Result<(), MachineFault> {
        let mut state = self.0.lock();
        for entry in entries {
            match entry {
                Committed::Blank { index, leader } => state.blanks.push((index, leader)),
                Committed::Pack { index, payload, .. } if payload.as_ref() == b"poison" => {
                    return Err(MachineFault::new(format!("poison at {index}")));
                }
                Committed::Pack { index, payload, .. } => {
                    assert!(state.packs.insert(index, payload).is_none(), "{index} was applied twice");
                }
                Committed::Membership { .. } => {}
            }
        }
        state.progress = Some(progress);
        Ok(())
    }

    fn progress(&self) -> Result<Option<Progress>, MachineFault> {
        Ok(self.0.lock().progress.clone())
    }

    fn snapshot(&mut self) -> Result<Box<dyn SnapshotView>, MachineFault> {
        Ok(Box::new(View(self.0.lock().clone())))
    }

    fn install(&mut self) -> Result<Box<dyn SnapshotSink>, MachineFault> {
        Ok(Box::new(Sink(BTreeMap::new())))
    }

    fn adopt(&mut self, sink: Box<dyn SnapshotSink>, progress: Progress) -> Result<(), MachineFault> {
        let sink: Box<dyn Any> = sink;
        let packs = sink.downcast::<Sink>().map_err(|_| MachineFault::new("not mine"))?.0;
        let mut state = self.0.lock();
        let installed = state.installed + 1;
        *state = State { packs, progress: Some(progress), installed, ..State::default() };
        Ok(())
    }
}

struct View(State);

impl SnapshotView for View {
    fn progress(&self) -> Progress {
        self.0.progress.clone().unwrap()
    }

    fn fingerprint(&self) -> Bytes {
        self.0.packs.len().to_be_bytes().to_vec().into()
    }

    fn frames(&self) -> Box<dyn Iterator<Item = Result<Bytes, MachineFault>> + Send> {
        let packs = self.0.packs.clone();
        Box::new(packs.into_iter().map(|(index, pack)| {
            let mut frame = index.to_be_bytes().to_vec();
            frame.extend_from_slice(&pack);
            Ok(Bytes::from(frame))
        }))
    }
}

struct Sink(BTreeMap<u64, Bytes>);

impl SnapshotSink for Sink {
    fn frame(&mut self, frame: Bytes) -> Result<(), MachineFault> {
        let index = frame.first_chunk().map(|index| u64::from_be_bytes(*index)).unwrap();
        self.0.insert(index, frame.slice(8..));
        Ok(())
    }
}
