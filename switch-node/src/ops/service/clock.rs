//! Log time and the leader's wall clock: shown, and accepted by an operator where they disagree (R8).

use switch_domain::{
    book::Reply,
    entry::{ClockAcceptance, Command},
    table::ClockRow,
    time::LogTime,
};
use switch_proto::operator::v1 as pb;
use tonic::{Code, Status};

use super::{Operators, refusals};
use crate::{door::refusal::refused, journal::reign::Reign};

impl Operators {
    /// How the clocks stand, as the leader knows them.
    pub(super) fn clock(&self, reign: Reign) -> Result<pb::GetClockResponse, Status> {
        let ClockRow { disagreement, accepted } = self.shared.journal.clock().map_err(refusals::of_table)?;
        Ok(pb::GetClockResponse {
            node_id: reign.leader.node,
            wall_unix_ms: unix_ms(self.shared.wall.now()),
            log_unix_ms: unix_ms(reign.now()),
            disagreement: disagreement.map(|found| pb::ClockDisagreement {
                node_id: found.node,
                wall_unix_ms: unix_ms(found.wall),
                log_unix_ms: unix_ms(found.log),
            }),
            accepted: accepted.map(|accepted| pb::ClockAcceptance {
                wall_unix_ms: unix_ms(accepted.wall),
                log_unix_ms: unix_ms(accepted.log),
                author: accepted.author,
                reason: accepted.reason,
            }),
        })
    }

    /// Commits an operator's word that this leader's wall clock is right.
    pub(super) async fn accept(&self, acceptance: ClockAcceptance) -> Result<(), Status> {
        let reply = self.shared.journal.propose(Command::AcceptClock(Box::new(acceptance))).await;
        match reply.map_err(|lost| refusals::of_lost(lost).unwrap_or_else(|| self.not_leader()))? {
            Reply::Recorded => Ok(()),
            _ => {
                Err(refused(Code::FailedPrecondition, "CLOCKS_AGREE", "no disagreement waits for an operator").status())
            }
        }
    }
}

fn unix_ms(time: LogTime) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}
