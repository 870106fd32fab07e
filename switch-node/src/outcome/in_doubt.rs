//! Attempts that an earlier leader opened. A new leader times them out at their deadline; earlier only when the owner's
//! process is gone or says that it does not hold the conversation (R4). It never sends them (R1).

use std::{
    collections::{BTreeMap, HashSet},
    ops::Bound,
    sync::Arc,
};

use futures::{StreamExt as _, future::join_all, stream};
use switch_domain::{
    entry::{Command, TimedOut},
    id::{AttemptRef, LinkId, Owner, Stan},
    outcome::Doubt,
    table::{Key, OwedKind, Row, TableFault},
    time::LogTime,
    transaction::AttemptState,
};
use tokio::{
    task::JoinSet,
    time::{Duration, Instant},
};

use super::{Conversations, Courier, limits};
use crate::journal::{Journal, reign::Reign};

/// Looks after inherited attempts for as long as the node runs.
pub async fn watch(journal: Journal, courier: Arc<dyn Courier>, conversations: Arc<Conversations>) {
    let mut reigns = journal.watch_reign();
    loop {
        let reign = *reigns.borrow_and_update();
        match reign {
            Some(reign) => tokio::select! {
                biased;
                changed = reigns.changed() => if changed.is_err() { return },
                () = during(&journal, &courier, &conversations, reign) => {}
            },
            None => {
                if reigns.changed().await.is_err() {
                    return;
                }
            }
        }
    }
}

/// One reign: first everything that is open, then, now and then, whatever is overdue and held by nobody.
async fn during(journal: &Journal, courier: &Arc<dyn Courier>, conversations: &Arc<Conversations>, reign: Reign) {
    let mut overdue_before = None;
    loop {
        let mut pages = JoinSet::new();
        let mut cursor = Cursor::default();
        loop {
            let page = match cursor.page(journal) {
                Ok(page) => page,
                Err(fault) => return unreadable(&fault).await,
            };
            let page: Vec<AttemptRef> = page
                .into_iter()
                .filter(|(_, deadline)| overdue_before.is_none_or(|before| *deadline < before))
                .filter(|(attempt, _)| !conversations.holds(attempt))
                .map(|(attempt, _)| attempt)
                .collect();
            if !page.is_empty() {
                while pages.len() >= limits::INHERITED_PAGES_AT_ONCE {
                    pages.join_next().await;
                }
                let first_look = overdue_before.is_none();
                pages.spawn(take_up(journal.clone(), courier.clone(), page, reign, first_look));
            }
            if cursor.ended {
                break;
            }
        }
        while pages.join_next().await.is_some() {}
        tokio::time::sleep(limits::OVERDUE_LOOK).await;
        overdue_before = Some(LogTime(reign.now().0.saturating_sub(limits::OVERDUE_GRACE_MS)));
    }
}

/// An open attempt that another process began, or that nobody looked after.
#[derive(Clone, Debug)]
struct Inherited {
    attempt: AttemptRef,
    owner: Owner,
    deadline: LogTime,
    timer: Duration,
}

/// The table is damaged, and the node about to stop; until then this must not spin.
async fn unreadable(fault: &TableFault) {
    tracing::error!(%fault, "what is open could not be read");
    tokio::time::sleep(limits::OVERDUE_LOOK).await;
}

/// Sees a page of attempts to their end: at once where the owner does not hold them, else at their deadlines.
async fn take_up(journal: Journal, courier: Arc<dyn Courier>, page: Vec<AttemptRef>, reign: Reign, first_look: bool) {
    let (now, since) = (reign.now(), Instant::now());
    let read = page.into_iter().map(|attempt| open_attempt(&journal, attempt)).collect::<Result<Vec<_>, _>>();
    let page: Vec<Inherited> = match read {
        // Opened in this very reign: its flow is about to hold it, or does. Only a later look may find that nobody does.
        Ok(page) => page
            .into_iter()
            .flatten()
            .filter(|one| !first_look || (one.owner.term, one.owner.node) != (reign.leader.term, reign.leader.node))
            .collect(),
        Err(fault) => return unreadable(&fault).await,
    };
    let gone = not_held(courier.as_ref(), &page).await;
    let mut ends: Vec<(Instant, AttemptRef, Doubt)> = page
        .into_iter()
        .map(|Inherited { attempt, deadline, timer, .. }| {
            if gone.contains(&attempt) {
                (since, attempt, Doubt::OwnerGone)
            } else {
                // The smaller of what is left in log time and the whole timer, from taking over (R8).
                let left = Duration::from_millis(deadline.ms_since(now)).min(timer);
                (since + left, attempt, Doubt::NoAnswer)
            }
        })
        .collect();
    ends.sort_by_key(|(at, ..)| *at);
    stream::iter(ends)
        .for_each_concurrent(limits::INHERITED_PROPOSED_AT_ONCE, |(at, attempt, doubt)| {
            let journal = &journal;
            async move {
                tokio::time::sleep_until(at).await;
                // A lost proposal means a lost reign, or another look soon.
                let _ = journal.propose(Command::TimedOut(TimedOut { attempt, doubt })).await;
            }
        })
        .await;
}

/// Those that their owners do not hold: each process is asked once for all of its attempts (R4). One that cannot be reached may
/// hold them.
async fn not_held(courier: &dyn Courier, page: &[Inherited]) -> HashSet<AttemptRef> {
    let mut by_process: BTreeMap<(u64, u64), (Owner, Vec<AttemptRef>)> = BTreeMap::new();
    for one in page {
        let process = by_process.entry((one.owner.node, one.owner.boot)).or_insert_with(|| (one.owner, Vec::new()));
        process.1.push(one.attempt.clone());
    }
    let calls = by_process.values().flat_map(|(owner, attempts)| {
        let asked = attempts.chunks(limits::HOLDS_ASKED_MAX);
        asked.map(move |asked| async move { (asked, courier.holds(*owner, asked).await) })
    });
    let mut gone = HashSet::new();
    for (asked, answer) in join_all(calls).await {
        let Some(held) = answer else { continue };
        gone.extend(asked.iter().filter(|attempt| !held.contains(*attempt)).cloned());
    }
    gone
}

fn open_attempt(journal: &Journal, attempt: AttemptRef) -> Result<Option<Inherited>, TableFault> {
    let Some(transaction) = journal.transaction(&attempt.gateway, attempt.id.transaction)? else { return Ok(None) };
    let found = transaction
        .operations
        .get(usize::from(attempt.id.operation))
        .and_then(|operation| operation.attempts.get(usize::from(attempt.id.number).checked_sub(1)?));
    Ok(found.filter(|found| found.state == AttemptState::Open).map(|found| Inherited {
        attempt,
        owner: found.owner,
        deadline: found.deadline,
        timer: Duration::from_millis(u64::from(found.terms.attempt_timeout_ms)),
    }))
}

/// Walks what is owed, link by link, a page at a time.
#[derive(Default)]
struct Cursor {
    last: Option<Key>,
    ended: bool,
}

impl Cursor {
    /// Attempts of the next page; `ended` says whether it was the last.
    fn page(&mut self, journal: &Journal) -> Result<Vec<(AttemptRef, LogTime)>, TableFault> {
        let first = owed_start();
        let from = self.last.as_ref().map_or(Bound::Included(&first), Bound::Excluded);
        let end = owed_end();
        let rows = journal.reader().range(from, Bound::Excluded(&end), limits::SCAN_PAGE)?;
        self.ended = rows.len() < limits::SCAN_PAGE;
        if let Some((key, _)) = rows.last() {
            self.last = Some(key.clone());
        }
        let open = rows.into_iter().filter_map(|(_, row)| match row {
            Row::Owed(owed) if owed.kind == OwedKind::Attempt => Some((owed.attempt, owed.time)),
            _ => None,
        });
        Ok(open.collect())
    }
}

/// The first key that something owed may have: link ids begin with `-` at the earliest.
pub(super) fn owed_start() -> Key {
    Key::Owed(edge("-"), Stan::FIRST)
}

/// A key after everything owed: no link id sorts after 32 times `z`.
pub(super) fn owed_end() -> Key {
    Key::Owed(edge(&"z".repeat(32)), Stan::LAST)
}

fn edge(text: &str) -> LinkId {
    LinkId::parse(text).unwrap_or_else(|_| unreachable!("the text is a link id"))
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use parking_lot::Mutex;
    use switch_domain::id::{AttemptId, GatewayId, TransactionId};

    use super::*;
    use crate::outcome::Carried;

    /// Holds every tenth attempt; the process with boot id 3 cannot be reached.
    #[derive(Default)]
    struct Counting(Mutex<Vec<(Owner, usize)>>);

    #[async_trait]
    impl Courier for Counting {
        async fn carry(&self, _: &Command) -> Carried {
            Carried::NotNow
        }

        async fn holds(&self, owner: Owner, attempts: &[AttemptRef]) -> Option<HashSet<AttemptRef>> {
            self.0.lock().push((owner, attempts.len()));
            (owner.boot != 3).then(|| attempts.iter().step_by(10).cloned().collect())
        }
    }

    fn attempt(number: u64) -> AttemptRef {
        let transaction = TransactionId::from_number(u128::from(number));
        let id = AttemptId { transaction, operation: 0, number: 1 };
        AttemptRef { gateway: GatewayId::parse("shop").expect("an id"), id }
    }

    #[tokio::test]
    async fn r4_each_process_is_asked_once_for_all_of_its_attempts() {
        let page: Vec<Inherited> = (0..10_000_u64)
            .map(|number| Inherited {
                attempt: attempt(number),
                // The same process in two terms.
                owner: Owner { node: 1, boot: 2 + u64::from(number >= 9_000), term: number % 2 },
                deadline: LogTime(0),
                timer: Duration::ZERO,
            })
            .collect();
        let courier = Counting::default();
        let gone = not_held(&courier, &page).await;
        let calls = courier.0.into_inner();
        assert_eq!(calls.len(), 9_000 / limits::HOLDS_ASKED_MAX + 1_000 / limits::HOLDS_ASKED_MAX);
        assert!(calls.iter().all(|(_, asked)| *asked <= limits::HOLDS_ASKED_MAX));
        assert_eq!(gone.len(), 8_100, "nine in ten of those that were answered about");
        assert!(page[9_000..].iter().all(|one| !gone.contains(&one.attempt)), "who is not reached may hold them");
    }
}
