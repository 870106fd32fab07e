//! The wall clock of whoever leads, said in entries (R8): when a reign begins, and every few minutes, so that log time stands in
//! the table also while nobody pays. Whether it disagrees with log time the book decides; a disagreement waits for an operator.

use std::sync::Arc;

use switch_domain::{
    book::Reply,
    entry::{ClockReading, Command},
    table::{ClockRow, Key, Row, TableFault},
};

use super::{Journal, WallClock, limits, reign::Reign};

/// Reads the clock for as long as the node runs; says it only while it reigns.
pub async fn watch(journal: Journal, wall: Arc<dyn WallClock>) {
    let mut reigns = journal.watch_reign();
    loop {
        let reign = *reigns.borrow_and_update();
        let said = async {
            match reign {
                Some(reign) => say(&journal, reign, wall.as_ref()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            changed = reigns.changed() => if changed.is_err() { return },
            () = said => {}
        }
    }
}

async fn say(journal: &Journal, reign: Reign, wall: &dyn WallClock) {
    loop {
        let reading = ClockReading { node: reign.leader.node, wall: wall.now() };
        // What is lost is said again.
        if matches!(journal.propose(Command::ReadClock(reading)).await, Ok(Reply::Recorded))
            && let Ok(ClockRow { disagreement: Some(found), .. }) = journal.clock()
        {
            tracing::error!(
                wall_unix_ms = found.wall.0,
                log_unix_ms = found.log.0,
                "wall clock and log time disagree: nothing old is deleted until an operator has looked"
            );
        }
        tokio::time::sleep(limits::CLOCK_LOOK).await;
    }
}

impl Journal {
    /// How log time and wall clocks stand to each other, as applied here.
    ///
    /// # Errors
    /// [`TableFault`].
    pub fn clock(&self) -> Result<ClockRow, TableFault> {
        match self.stop_on_fault(self.inner.reader.get(&Key::ClockAgreement))? {
            Some(Row::Clock(row)) => Ok(row),
            _ => Ok(ClockRow::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use switch_consensus::{Committed, LeaderId as Leader, Machine as _, Progress};
    use switch_domain::{
        entry::{ClockAcceptance, ForgetTombstone, Void, VoidTarget},
        id::{GatewayId, Position, RequestId},
        time::{DAY_MS, LogTime},
        transaction::Fingerprint,
    };

    use super::*;
    use crate::{
        codec::{self, Pack, PackBody},
        journal::{BookMachine, shared::Shared},
        storage::{MemoryStore, Reader, Store as _},
    };

    const NODE: u64 = 7;
    const LEADER: Leader = Leader { term: 3, node: NODE };
    const LOG: LogTime = LogTime(1_772_352_000_000);
    const WALL: LogTime = LogTime(LOG.0 + 2 * DAY_MS);

    struct TwoDaysAhead;

    impl WallClock for TwoDaysAhead {
        fn now(&self) -> LogTime {
            WALL
        }
    }

    fn apply(machine: &mut BookMachine, entry: Committed) {
        let progress = Progress(entry.index().to_be_bytes().to_vec().into());
        machine.apply(vec![entry], progress).expect("applied");
    }

    fn pack(index: u64, log_time: LogTime, commands: Vec<Command>) -> Committed {
        let pack = Pack { incarnation: 9, first_ticket: 1, log_time, body: PackBody::Book(commands), applied: None };
        Committed::Pack { index, leader: LEADER, payload: codec::encode_pack(&pack) }
    }

    fn machine() -> (MemoryStore, Arc<Shared>, BookMachine) {
        let (store, shared) = (MemoryStore::new(), Shared::new(NODE, 1));
        let opened = BookMachine::open(Box::new(store.clone()), shared.clone(), Arc::new(TwoDaysAhead), None);
        (store, shared, opened.expect("a new store"))
    }

    fn crowned_at(shared: &Shared) -> LogTime {
        shared.crowned.borrow().expect("a reign").now()
    }

    #[tokio::test(start_paused = true)]
    async fn r8_only_an_operators_entry_lets_log_time_step_by_more_than_an_hour() {
        let (_, shared, mut machine) = machine();
        let reading = Command::ReadClock(ClockReading { node: NODE, wall: WALL });
        apply(&mut machine, pack(1, LOG, vec![reading]));
        apply(&mut machine, Committed::Blank { index: 2, leader: LEADER });
        assert_eq!(crowned_at(&shared), LOG.after_ms(3_600_000));
        let (author, reason) = ("spiffe://example/operator/anna".to_owned(), "the hall was dark".to_owned());
        let accepted = Command::AcceptClock(Box::new(ClockAcceptance { wall: WALL, author, reason }));
        apply(&mut machine, pack(3, LOG, vec![accepted]));
        assert_eq!(crowned_at(&shared), LOG.after_ms(3_600_000), "within a term no clock moves it");
        apply(&mut machine, Committed::Blank { index: 4, leader: Leader { term: 4, node: NODE } });
        assert_eq!(crowned_at(&shared), WALL);
    }

    #[tokio::test]
    async fn r9_what_an_entry_forgets_is_gone_from_the_disk() {
        let (store, _, mut machine) = machine();
        let reader: Reader = store.reader();
        let (gateway, original) =
            (GatewayId::parse("shop").expect("an id"), RequestId::parse("order-1").expect("a key"));
        let void = Void {
            gateway: gateway.clone(),
            request_id: RequestId::parse("void-1").expect("a key"),
            target: VoidTarget::Request(original.clone()),
            fingerprint: Fingerprint { key_version: 1, digest: [1; 16] },
        };
        let position = Position { index: 1, place: 0 };
        let rows = [Key::Request(gateway.clone(), None, original), Key::Tombstone(gateway.clone(), position)];
        let held = || rows.iter().filter(|key| matches!(reader.get(key), Ok(Some(_)))).count();
        apply(&mut machine, pack(1, LOG, vec![Command::Void(Box::new(void))]));
        let forget = || {
            vec![Command::ForgetTombstone(ForgetTombstone { gateway: gateway.clone(), position, retention_days: 180 })]
        };
        apply(&mut machine, pack(2, LOG.after_ms(180 * DAY_MS), forget()));
        assert_eq!(held(), 2);
        apply(&mut machine, pack(3, LOG.after_ms(180 * DAY_MS + 1), forget()));
        assert_eq!(held(), 0);
    }
}
