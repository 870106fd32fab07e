//! A table that is built beside the one in use and then takes its place.
//!
//! Rows come sorted and go into the new table's files directly, past memtable and journal. fjall's ingestion borrows its
//! keyspace, so it lives on a thread of its own that ends with the replacement.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use fjall::{Keyspace, PersistMode};

use super::{Place, Table, tables, write_current};
use crate::storage::{StoreFault, StoreReplacement, Stored, frames::FrameParser, limits};

/// What the thread is told. If the channel closes before the end, what was written is not registered.
enum Step {
    Rows(Vec<(Stored, Stored)>),
    End,
}

pub(in crate::storage) struct Replacement {
    place: Arc<Place>,
    parser: FrameParser,
    /// `None` once the thread was joined. Before the table: the thread must be gone when the directory is removed.
    ingestion: Option<Ingestion>,
    table: Arc<Table>,
}

struct Ingestion {
    steps: SyncSender<Step>,
    thread: JoinHandle<Result<(), StoreFault>>,
}

impl Replacement {
    pub(in crate::storage) fn begin(place: Arc<Place>) -> Result<Self, StoreFault> {
        // A number that no directory has: an earlier replacement may still be on its way out.
        let number = tables(&place.directory)?.into_iter().max().unwrap_or(0) + 1;
        let table = Arc::new(Table::open(&place.directory, number)?);
        let (steps, incoming) = sync_channel(limits::INSTALL_FRAMES_IN_FLIGHT);
        let keyspace = table.keyspace.clone();
        let thread = std::thread::Builder::new()
            .name("table-install".into())
            .spawn(move || ingest(&keyspace, &incoming))
            .map_err(super::at(&table.directory.path))?;
        let ingestion = Some(Ingestion { steps, thread });
        Ok(Self { place, parser: FrameParser::default(), ingestion, table })
    }

    fn step(&mut self, step: Step) -> Result<(), StoreFault> {
        match &self.ingestion {
            Some(ingestion) if ingestion.steps.send(step).is_ok() => Ok(()),
            // The thread is gone: it says why.
            _ => self.join().and(Err(StoreFault::Snapshot("a frame after its end"))),
        }
    }

    fn join(&mut self) -> Result<(), StoreFault> {
        let Some(Ingestion { steps, thread }) = self.ingestion.take() else { return Ok(()) };
        drop(steps);
        thread.join().unwrap_or(Err(StoreFault::Snapshot("the thread that writes the table panicked")))
    }

    /// Everything before the switch: the new table is whole and durable, and not yet in use.
    pub(in crate::storage) fn complete(&mut self, last: Vec<(Vec<u8>, Vec<u8>)>) -> Result<(), StoreFault> {
        self.parser.finish()?;
        self.step(Step::End)?;
        self.join()?;
        self.table.commit(last.into_iter().map(|(key, value)| (key, Some(value))).collect())?;
        Ok(self.table.database.persist(PersistMode::SyncAll)?)
    }

    /// The switch. The old table goes when its last reader does.
    pub(in crate::storage) fn switch(self) -> Result<(), StoreFault> {
        self.table.keep();
        write_current(&self.place.directory, self.table.directory.number)?;
        self.place.table.swap(self.table.clone()).give_up();
        Ok(())
    }
}

impl StoreReplacement for Replacement {
    fn frame(&mut self, frame: &[u8]) -> Result<(), StoreFault> {
        let rows = self.parser.push(frame)?;
        self.step(Step::Rows(rows))
    }

    fn adopt(mut self: Box<Self>, last: Vec<(Vec<u8>, Vec<u8>)>) -> Result<(), StoreFault> {
        self.complete(last)?;
        self.switch()
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if let Err(error) = self.join() {
            tracing::warn!(%error, "a table that was not taken into use had failed");
        }
    }
}

fn ingest(keyspace: &Keyspace, steps: &Receiver<Step>) -> Result<(), StoreFault> {
    let mut ingestion = keyspace.start_ingestion()?;
    while let Ok(step) = steps.recv() {
        match step {
            Step::Rows(rows) => {
                for (key, value) in rows {
                    ingestion.write(key, value)?;
                }
            }
            Step::End => return Ok(ingestion.finish()?),
        }
    }
    Ok(())
}
