//! Log time and the wall clocks of leaders: a disagreement of more than an hour is noticed, stops whatever goes by age, and
//! waits for an operator (R8). No clock is read here: what a leader's clock said stands in its entry.

use super::{Book, Reply, Work};
use crate::{
    entry::{ClockAcceptance, ClockReading},
    table::{AcceptedClock, ClockRow, Disagreement, Key, Row, Table, TableFault},
};

impl Book {
    /// How log time and wall clocks stand to each other, as applied.
    ///
    /// # Errors
    /// [`TableFault`].
    pub fn clock(table: &dyn Table) -> Result<ClockRow, TableFault> {
        match table.get(&Key::ClockAgreement)? {
            Some(Row::Clock(row)) => Ok(row),
            Some(_) => Err(TableFault("another row stands in the clocks' place".into())),
            None => Ok(ClockRow::default()),
        }
    }
}

impl Work<'_> {
    pub(super) fn clock_row(&self) -> Result<ClockRow, TableFault> {
        Book::clock(self.table)
    }

    /// A leader says what its wall clock shows.
    pub(super) fn read_clock(&mut self, reading: ClockReading) -> Result<Reply, TableFault> {
        let mut row = self.clock_row()?;
        if row.disagreement.is_some() {
            return Ok(Reply::Ignored); // it stands until an operator has looked, whatever other clocks say meanwhile
        }
        if ClockRow::is_close(reading.wall, self.now()) {
            if row.accepted.take().is_none() {
                return Ok(Reply::Ignored);
            }
            // What was accepted has been caught up with: it must not excuse another clock that is wrong by as much.
        } else if row.accepts(reading.wall, self.now()) {
            return Ok(Reply::Ignored);
        } else {
            row.accepted = None;
            row.disagreement = Some(Disagreement { node: reading.node, wall: reading.wall, log: self.now() });
        }
        self.table.put(Key::ClockAgreement, Row::Clock(row));
        Ok(Reply::Recorded)
    }

    /// An operator has looked at the clocks: the leader's is right.
    pub(super) fn accept_clock(&mut self, acceptance: &ClockAcceptance) -> Result<Reply, TableFault> {
        if self.clock_row()?.disagreement.is_none() {
            return Ok(Reply::Ignored);
        }
        let accepted = AcceptedClock {
            wall: acceptance.wall,
            log: self.now(),
            author: acceptance.author.clone(),
            reason: acceptance.reason.clone(),
        };
        let row = ClockRow { disagreement: None, accepted: Some(accepted) };
        self.table.put(Key::ClockAgreement, Row::Clock(row));
        Ok(Reply::Recorded)
    }
}
