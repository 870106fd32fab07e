//! Attempts that an earlier leader opened. A new leader times them out at their deadline; earlier only when the owner's
//! process is gone or says that it does not hold the conversation (R4). It never sends them (R1).

use std::{ops::Bound, sync::Arc};

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
        let mut inherited = JoinSet::new();
        let mut cursor = Cursor::default();
        loop {
            let page = match cursor.page(journal) {
                Ok(page) if page.is_empty() => break,
                Ok(page) => page,
                Err(fault) => {
                    tracing::error!(%fault, "what is open could not be read");
                    tokio::time::sleep(limits::OVERDUE_LOOK).await;
                    return;
                }
            };
            for (attempt, deadline) in page {
                if conversations.holds(&attempt) || overdue_before.is_some_and(|before| deadline >= before) {
                    continue;
                }
                while inherited.len() >= limits::INHERITED_AT_ONCE {
                    inherited.join_next().await;
                }
                inherited.spawn(take_up(
                    journal.clone(),
                    courier.clone(),
                    conversations.clone(),
                    attempt,
                    reign,
                    overdue_before.is_none(),
                ));
            }
        }
        while inherited.join_next().await.is_some() {}
        tokio::time::sleep(limits::OVERDUE_LOOK).await;
        overdue_before = Some(LogTime(reign.now().0.saturating_sub(limits::OVERDUE_GRACE_MS)));
    }
}

/// Sees one attempt to its end.
async fn take_up(
    journal: Journal,
    courier: Arc<dyn Courier>,
    conversations: Arc<Conversations>,
    attempt: AttemptRef,
    reign: Reign,
    inherited_only: bool,
) {
    let Ok(Some((owner, deadline, timer))) = open_attempt(&journal, &attempt) else { return };
    // Opened in this very reign: its flow is about to hold it, or does. Only a later look may find that nobody does.
    let of_this_reign = owner.term == reign.leader.term && owner.node == reign.leader.node;
    if of_this_reign && (inherited_only || conversations.holds(&attempt)) {
        return;
    }
    let gone = match courier.holds(owner, &attempt).await {
        Some(holds) => !holds,
        None => false,
    };
    let doubt = if gone {
        Doubt::OwnerGone
    } else {
        // The smaller of what is left in log time and the whole timer, from taking over (R8).
        let left = Duration::from_millis(deadline.ms_since(reign.now())).min(timer);
        tokio::time::sleep_until(Instant::now() + left).await;
        Doubt::NoAnswer
    };
    let command = Command::TimedOut(TimedOut { attempt, doubt });
    // A lost proposal means a lost reign, or another look soon.
    let _ = journal.propose(command).await;
}

fn open_attempt(journal: &Journal, attempt: &AttemptRef) -> Result<Option<(Owner, LogTime, Duration)>, TableFault> {
    let Some(transaction) = journal.transaction(&attempt.gateway, attempt.id.transaction)? else { return Ok(None) };
    let found = transaction
        .operations
        .get(usize::from(attempt.id.operation))
        .and_then(|operation| operation.attempts.get(usize::from(attempt.id.number).checked_sub(1)?));
    Ok(found
        .filter(|found| found.state == AttemptState::Open)
        .map(|found| (found.owner, found.deadline, Duration::from_millis(u64::from(found.terms.attempt_timeout_ms)))))
}

/// Walks what is owed, link by link, a page at a time.
#[derive(Default)]
struct Cursor {
    last: Option<Key>,
    ended: bool,
}

impl Cursor {
    fn page(&mut self, journal: &Journal) -> Result<Vec<(AttemptRef, LogTime)>, TableFault> {
        loop {
            if self.ended {
                return Ok(Vec::new());
            }
            let first = owed_start();
            let from = self.last.as_ref().map_or(Bound::Included(&first), Bound::Excluded);
            let end = owed_end();
            let rows = journal.reader().range(from, Bound::Excluded(&end), limits::SCAN_PAGE)?;
            self.ended = rows.len() < limits::SCAN_PAGE;
            if let Some((key, _)) = rows.last() {
                self.last = Some(key.clone());
            }
            let open: Vec<_> = rows
                .into_iter()
                .filter_map(|(_, row)| match row {
                    Row::Owed(owed) if owed.kind == OwedKind::Attempt => Some((owed.attempt, owed.time)),
                    _ => None,
                })
                .collect();
            if !open.is_empty() {
                return Ok(open);
            }
        }
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
