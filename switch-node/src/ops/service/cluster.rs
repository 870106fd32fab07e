//! The cluster: its members, its leader, its start.

use std::{collections::BTreeSet, ops::Bound, time::Duration};

use futures::future::join_all;
use switch_consensus::{GroupStatus, Member, MemberRecord, NodeId};
use switch_domain::{
    audit::{Act, ClockAct, ClockView, Remark, View},
    table::{OwedKind, Row, TableFault},
};
use switch_proto::{
    operator::v1::{self as pb, cluster_service_server::ClusterService},
    peer::v1 as wire,
};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};

use super::{
    Operators,
    audit::{Asked, Caller, END_WITHIN},
    author, refusals, reversal, until, within,
};
use crate::{
    door::refusal::refused,
    journal::Journal,
    link::LinkState,
    ops::{convert, observe::doubt},
};

#[tonic::async_trait]
impl ClusterService for Operators {
    async fn get_status(&self, _: Request<pb::GetStatusRequest>) -> Result<Response<pb::GetStatusResponse>, Status> {
        let journal = self.shared.journal.clone();
        let counted = tokio::task::spawn_blocking(move || open_attempts(&journal)).await;
        let open_attempts = counted.map_err(|_| refusals::late())?.map_err(refusals::of_table)?;
        Ok(Response::new(pb::GetStatusResponse { open_attempts, ..self.status()? }))
    }

    async fn bootstrap(
        &self,
        request: Request<pb::BootstrapRequest>,
    ) -> Result<Response<pb::BootstrapResponse>, Status> {
        let (caller, until) = (self.caller(&request)?, until(&request)?);
        let operators = self.clone();
        // A task of the node's, as every act: a caller who goes away leaves no cluster without its record.
        let formed = self.shared.tasks.spawn(async move { operators.start_cluster(caller, until).await });
        let cluster_id = formed.await.unwrap_or_else(|_| Err(refusals::late()))?;
        Ok(Response::new(pb::BootstrapResponse { cluster_id }))
    }

    async fn add_member(
        &self,
        request: Request<pb::AddMemberRequest>,
    ) -> Result<Response<pb::AddMemberResponse>, Status> {
        self.reign()?;
        let (caller, until) = (self.caller(&request)?, until(&request)?);
        let address = request.into_inner().peer_address;
        let (act, before, operators) = (Act::AddMember(Remark::of(&address)), Some(self.members_view()), self.clone());
        self.audited(caller, act, before, until, async move {
            let node_id = operators.take_in(address).await?;
            Ok((Response::new(pb::AddMemberResponse { node_id }), Some(operators.members_view())))
        })
        .await
    }

    async fn promote_member(
        &self,
        request: Request<pb::PromoteMemberRequest>,
    ) -> Result<Response<pb::PromoteMemberResponse>, Status> {
        self.reign()?;
        let (caller, until) = (self.caller(&request)?, until(&request)?);
        let node = request.into_inner().node_id;
        let (act, before, operators) = (Act::PromoteMember(node), Some(self.members_view()), self.clone());
        self.audited(caller, act, before, until, async move {
            let group = operators.shared.journal.group();
            keeps_quorum(&group.status(), &Change::Promote(node))?;
            operators.opens_every_data_key(node).await?;
            group.promote(node).await.map_err(|error| operators.of_membership(&error))?;
            Ok((Response::new(pb::PromoteMemberResponse {}), Some(operators.members_view())))
        })
        .await
    }

    async fn remove_member(
        &self,
        request: Request<pb::RemoveMemberRequest>,
    ) -> Result<Response<pb::RemoveMemberResponse>, Status> {
        self.reign()?;
        let (caller, until) = (self.caller(&request)?, until(&request)?);
        let node = request.into_inner().node_id;
        let (act, before, operators) = (Act::RemoveMember(node), Some(self.members_view()), self.clone());
        self.audited(caller, act, before, until, async move {
            let group = operators.shared.journal.group();
            keeps_quorum(&group.status(), &Change::Remove(node))?;
            group.remove(node).await.map_err(|error| operators.of_membership(&error))?;
            Ok((Response::new(pb::RemoveMemberResponse {}), Some(operators.members_view())))
        })
        .await
    }

    async fn transfer_leader(
        &self,
        request: Request<pb::TransferLeaderRequest>,
    ) -> Result<Response<pb::TransferLeaderResponse>, Status> {
        let reign = self.reign()?;
        let (caller, until) = (self.caller(&request)?, until(&request)?);
        let to = Some(request.into_inner().node_id).filter(|node| *node != 0);
        let own = reign.leader.node;
        let (act, before, operators) = (Act::TransferLeader(to.unwrap_or(0)), Some(View::Leader(own)), self.clone());
        self.audited(caller, act, before, until, async move {
            if to == Some(own) {
                return Ok((Response::new(pb::TransferLeaderResponse { leader_id: own }), Some(View::Leader(own))));
            }
            let handed = operators.shared.hand_over.hand_over(to, until).await;
            let leader =
                handed.map_err(|fault| refusals::of_transfer(&fault).unwrap_or_else(|| operators.not_leader()))?;
            let told = Response::new(pb::TransferLeaderResponse { leader_id: leader.node });
            Ok((told, Some(View::Leader(leader.node))))
        })
        .await
    }

    async fn drain_node(
        &self,
        request: Request<pb::DrainNodeRequest>,
    ) -> Result<Response<pb::DrainNodeResponse>, Status> {
        let (caller, until) = (self.caller(&request)?, until(&request)?);
        let status = self.shared.journal.group().status();
        let (node_id, leader) = (status.identity.node_id, status.leader.map_or(0, |leader| leader.node));
        let (before, operators) = (Some(View::Leader(leader)), self.clone());
        let drained_until = until.checked_sub(TELLING).unwrap_or(until);
        self.audited(caller, Act::DrainNode(node_id), before, until, async move {
            let left = operators.shared.hand_over.leave(drained_until).await;
            let left = left.map_err(|fault| refusals::of_transfer(&fault).unwrap_or_else(|| operators.not_leader()))?;
            let leader = operators.shared.journal.group().status().leader.map_or(0, |leader| leader.node);
            let conversations_left = u64::try_from(left).unwrap_or(u64::MAX);
            let told = Response::new(pb::DrainNodeResponse { node_id, conversations_left });
            Ok((told, Some(View::Leader(leader))))
        })
        .await
    }

    async fn trigger_snapshot(
        &self,
        request: Request<pb::TriggerSnapshotRequest>,
    ) -> Result<Response<pb::TriggerSnapshotResponse>, Status> {
        let (caller, until) = (self.caller(&request)?, until(&request)?);
        let act = Act::TakeSnapshot(self.shared.journal.group().status().identity.node_id);
        let operators = self.clone();
        self.audited(caller, act, None, until, async move {
            let group = operators.shared.journal.group().clone();
            let taken = operators.shared.tasks.spawn(async move { group.trigger_snapshot().await });
            // It goes on without the caller; only what fails at once is told.
            match tokio::time::timeout(SNAPSHOT_REFUSED_WITHIN, taken).await {
                Ok(Ok(Err(error))) => Err(refusals::of_snapshot(&error)),
                Ok(Ok(Ok(_)) | Err(_)) | Err(_) => Ok((Response::new(pb::TriggerSnapshotResponse {}), None)),
            }
        })
        .await
    }

    type SaveSnapshotStream = ReceiverStream<Result<pb::SaveSnapshotResponse, Status>>;

    async fn save_snapshot(
        &self,
        request: Request<pb::SaveSnapshotRequest>,
    ) -> Result<Response<Self::SaveSnapshotStream>, Status> {
        let (caller, until) = (self.caller(&request)?, until(&request)?);
        self.save_state(caller, until).await.map(Response::new)
    }

    async fn get_clock(&self, request: Request<pb::GetClockRequest>) -> Result<Response<pb::GetClockResponse>, Status> {
        let reign = self.reign()?;
        let until = until(&request)?;
        within(until, self.current(until)).await?;
        self.clock(reign).map(Response::new)
    }

    async fn accept_clock(
        &self,
        request: Request<pb::AcceptClockRequest>,
    ) -> Result<Response<pb::AcceptClockResponse>, Status> {
        self.reign()?;
        let (caller, author, until) = (self.caller(&request)?, author(&request)?, until(&request)?);
        let acceptance = convert::clock_acceptance(author, request.into_inner(), self.shared.wall.now())?;
        let act =
            Act::AcceptClock(Box::new(ClockAct { wall: acceptance.wall, reason: Remark::of(&acceptance.reason) }));
        let clock = self.shared.journal.clock().map_err(refusals::of_table)?;
        let before = clock.disagreement.map(|found| View::Clock(ClockView { wall: found.wall, log: found.log }));
        let operators = self.clone();
        self.audited(caller, act, before, until, async move {
            operators.accept(acceptance).await?;
            let clock = operators.shared.journal.clock().map_err(refusals::of_table)?;
            let after = clock.accepted.map(|found| View::Clock(ClockView { wall: found.wall, log: found.log }));
            Ok((Response::new(pb::AcceptClockResponse {}), after))
        })
        .await
    }
}

impl Operators {
    fn of_membership(&self, error: &switch_consensus::MembershipError) -> Status {
        refusals::of_membership(error).unwrap_or_else(|| self.not_leader())
    }

    fn status(&self) -> Result<pb::GetStatusResponse, Status> {
        let journal = &self.shared.journal;
        let status = journal.group().status();
        let leader = status.leader.map_or(0, |leader| leader.node);
        let mark = journal.shared().mark();
        Ok(pb::GetStatusResponse {
            cluster_id: status.identity.cluster_id,
            node_id: status.identity.node_id,
            leader_id: leader,
            term: status.term,
            last_index: status.last.unwrap_or(0),
            committed_index: status.committed.unwrap_or(0),
            applied_index: mark.applied,
            first_index: status.first,
            snapshot_index: status.snapshot.unwrap_or(0),
            state_hash: mark.hash.to_vec().into(),
            members: members(&status, leader),
            links: self.links()?,
            log_time_unix_ms: i64::try_from(journal.log_time().0).unwrap_or(i64::MAX),
            directory_version: journal.standing().directory.version,
            draining: self.shared.hand_over.intake().is_draining(),
            open_attempts: 0,
        })
    }

    /// Links of the directory, with what runs here.
    fn links(&self) -> Result<Vec<pb::LinkStatus>, Status> {
        let journal = &self.shared.journal;
        let running = self.shared.links.statuses();
        let standing = journal.standing();
        let of_link = |link: &switch_domain::directory::Link| {
            let doubt = doubt(journal, &link.network).map_err(refusals::of_table)?;
            let running = running.iter().find(|running| running.link == link.id);
            Ok(pb::LinkStatus {
                link_id: link.id.to_string(),
                network_id: link.network.to_string(),
                state: state_name(running.map_or(LinkState::Down, |running| running.state)).to_owned(),
                in_flight: running.map_or(0, |running| running.in_flight),
                owed_count: u64::from(doubt.count),
                parked_count: u64::from(doubt.parked),
                disabled: !link.enabled,
            })
        };
        standing.directory.links.values().map(of_link).collect()
    }

    /// Forms a cluster, and writes it down where there is a trail: only after it was formed, or where one was there before.
    async fn start_cluster(&self, caller: Caller, until: Instant) -> Result<u64, Status> {
        let group = self.shared.journal.group();
        let own = group.status().identity;
        let before = (own.cluster_id != 0).then(|| self.members_view());
        let asked = Asked::of(caller, Act::Bootstrap(own.node_id), before);
        let formed = within(until, self.form()).await;
        if group.status().identity.cluster_id == 0 {
            return formed;
        }
        let entry = asked.ended(formed.as_ref().map(|_| Some(self.members_view())));
        // Not in what is left of the caller's time: the cluster is there, whoever still waits to hear of it.
        if !self.write(entry, Instant::now() + END_WITHIN).await {
            tracing::error!(target: "audit", "what came of an operator's act could not be written");
            return formed.and_then(|_| Err(refusals::late()));
        }
        formed
    }

    /// Makes a new cluster of this node, if every configured peer says that it belongs to none; the others join by themselves.
    async fn form(&self) -> Result<u64, Status> {
        let formation = &self.shared.formation;
        let group = self.shared.journal.group();
        let own = group.status().identity;
        if own.cluster_id != 0 {
            let words = format!("this node belongs to cluster {:016x} already", own.cluster_id);
            let refused = refused(Code::FailedPrecondition, "ALREADY_IN_A_CLUSTER", words);
            return Err(refused.with("cluster_id", own.cluster_id).status());
        }
        let others = formation.peers.iter().filter(|address| **address != formation.record.peer_address);
        let answers = join_all(others.map(async |address| (address, self.probe(address).await))).await;
        for (address, answer) in answers {
            let answer = answer.map_err(|words| {
                let words = format!("{address} does not answer, it may belong to a cluster: {words}");
                refused(Code::FailedPrecondition, "PEER_AWAY", words).with("peer_address", address).status()
            })?;
            let is_this = (answer.node_id, answer.store_id) == (own.node_id, own.store_id);
            if answer.cluster_id != 0 && !is_this {
                let words = format!("{address} belongs to cluster {:016x}", answer.cluster_id);
                return Err(refused(Code::FailedPrecondition, "PEER_IN_A_CLUSTER", words)
                    .with("peer_address", address)
                    .with("cluster_id", answer.cluster_id)
                    .status());
            }
            self.begins_with_the_same_keys(address, &answer)?;
        }
        let record = MemberRecord { store_id: own.store_id, ..formation.record.clone() };
        let member = Member { node_id: own.node_id, record };
        let formed = group.bootstrap(formation.cluster_id, vec![member]).await;
        formed.map_err(|error| self.of_membership(&error))?;
        Ok(group.status().identity.cluster_id)
    }

    /// Asks the node who it is, and makes it a learner.
    async fn take_in(&self, address: String) -> Result<NodeId, Status> {
        let group = self.shared.journal.group();
        let status = group.status();
        let answer = self.probe(&address).await.map_err(|words| {
            let words = format!("{address} does not answer: {words}");
            refused(Code::FailedPrecondition, "PEER_AWAY", words).with("peer_address", &address).status()
        })?;
        if answer.cluster_id != status.identity.cluster_id {
            // It must know the cluster before the cluster knows it; it joins by itself once its peers name a member.
            let (reason, words) = match answer.cluster_id {
                0 => ("PEER_IN_NO_CLUSTER", format!("{address} has not joined: give it a member among its peers")),
                other => ("PEER_IN_A_CLUSTER", format!("{address} belongs to cluster {other:016x}")),
            };
            return Err(refused(Code::FailedPrecondition, reason, words).with("peer_address", &address).status());
        }
        // A member keeps its own record up to date; what it has told is not overwritten.
        if status.members.iter().any(|member| member.node_id == answer.node_id) {
            return Ok(answer.node_id);
        }
        let record = MemberRecord { peer_address: address, store_id: answer.store_id, ..MemberRecord::default() };
        let added = group.add_learner(Member { node_id: answer.node_id, record }).await;
        added.map_err(|error| self.of_membership(&error))?;
        Ok(answer.node_id)
    }

    /// Who answers at an address, or why nobody does.
    pub(super) async fn probe(&self, address: &str) -> Result<wire::ProbeResponse, String> {
        let envelope = self.shared.journal.group().envelope();
        let asked = self.shared.wire.probe(address, wire::ProbeRequest { envelope: Some(envelope) });
        match tokio::time::timeout(PROBE_WITHIN, asked).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(format!("not within {PROBE_WITHIN:?}")),
        }
    }
}

fn members(status: &GroupStatus, leader: NodeId) -> Vec<pb::Member> {
    let member = |member: &switch_consensus::MemberStatus| pb::Member {
        node_id: member.node_id,
        peer_address: member.record.peer_address.clone(),
        gateway_address: member.record.gateway_address.clone(),
        operator_address: member.record.operator_address.clone(),
        voter: member.voter,
        leader: leader != 0 && member.node_id == leader,
        matched_index: member.matched,
    };
    status.members.iter().map(member).collect()
}

enum Change {
    Promote(NodeId),
    Remove(NodeId),
}

/// Refuses a change after which fewer than a majority of the voters would be there.
fn keeps_quorum(status: &GroupStatus, change: &Change) -> Result<(), Status> {
    let mut voters: BTreeSet<NodeId> =
        status.members.iter().filter(|member| member.voter).map(|member| member.node_id).collect();
    let changes = match change {
        Change::Promote(node) => voters.insert(*node),
        Change::Remove(node) => voters.remove(node),
    };
    if !changes || voters.is_empty() {
        return Ok(()); // whether that may be, consensus says
    }
    let is_there = |node: &NodeId| {
        *node == status.identity.node_id
            || status.members.iter().any(|member| {
                member.node_id == *node && member.answered.is_some_and(|answered| answered < ANSWERED_WITHIN)
            })
    };
    let there = voters.iter().filter(|node| is_there(node)).count();
    let needed = voters.len() / 2 + 1;
    if there >= needed {
        return Ok(());
    }
    let words = format!("of the {} voters that there would be, {there} answer; {needed} are needed", voters.len());
    Err(refused(Code::FailedPrecondition, "QUORUM_WOULD_BE_LOST", words)
        .with("voters", voters.len())
        .with("there", there)
        .with("needed", needed)
        .status())
}

fn state_name(state: LinkState) -> &'static str {
    match state {
        LinkState::Down => "DOWN",
        LinkState::Connected => "CONNECTED",
        LinkState::SignedOn => "SIGNED_ON",
        LinkState::InService => "IN_SERVICE",
    }
}

/// Counts attempts without an answer; past the bound only that there are so many.
fn open_attempts(journal: &Journal) -> Result<u64, TableFault> {
    let (mut open, mut looked) = (0, 0);
    let mut last = None;
    let end = reversal::owed_end();
    loop {
        let start = reversal::owed_start();
        let from = last.as_ref().map_or(Bound::Included(&start), Bound::Excluded);
        let rows = journal.reader().range(from, Bound::Excluded(&end), reversal::SCAN_PAGE)?;
        looked += rows.len();
        open += rows.iter().filter(|(_, row)| matches!(row, Row::Owed(owed) if owed.kind == OwedKind::Attempt)).count();
        if rows.len() < reversal::SCAN_PAGE || looked >= LOOKED_MAX {
            return Ok(open as u64);
        }
        last = rows.into_iter().next_back().map(|(key, _)| key);
    }
}

/// Rows that one status looks at: what one network may owe at most by default (R23), and room.
const LOOKED_MAX: usize = 200_000;
/// A node that has answered a heartbeat since is there.
const ANSWERED_WITHIN: Duration = Duration::from_secs(3);
/// Connecting and one answer.
const PROBE_WITHIN: Duration = Duration::from_secs(3);
/// What is left of the caller's time to write the record and tell it.
const TELLING: Duration = Duration::from_millis(500);
/// A snapshot that cannot be taken is refused at once.
const SNAPSHOT_REFUSED_WITHIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use switch_consensus::{Identity, MemberStatus};
    use tonic_types::StatusExt as _;

    use super::*;

    /// Node 1 leads; `away` have not answered for a minute.
    fn status(voters: &[NodeId], learners: &[NodeId], away: &[NodeId]) -> GroupStatus {
        let member = |node: &NodeId, voter| MemberStatus {
            node_id: *node,
            record: MemberRecord::default(),
            voter,
            matched: None,
            answered: (*node != 1).then(|| Duration::from_secs(if away.contains(node) { 60 } else { 0 })),
            reverted: false,
        };
        let members =
            voters.iter().map(|node| member(node, true)).chain(learners.iter().map(|node| member(node, false)));
        GroupStatus {
            identity: Identity { cluster_id: 9, node_id: 1, store_id: 1 },
            term: 1,
            leader: None,
            is_leader: true,
            last: None,
            committed: None,
            applied: None,
            first: 0,
            snapshot: None,
            log_bytes: 0,
            members: members.collect(),
            voters_most: 3,
            confirmed: Some(Duration::ZERO),
            refused: None,
        }
    }

    fn reason(result: Result<(), Status>) -> Option<String> {
        result.err().and_then(|status| status.get_details_error_info()).map(|info| info.reason)
    }

    #[test]
    fn a_member_is_removed_only_while_the_remainder_has_a_quorum() {
        let refused = Some("QUORUM_WOULD_BE_LOST".to_owned());
        assert_eq!(reason(keeps_quorum(&status(&[1, 2, 3], &[], &[]), &Change::Remove(3))), None);
        // The one that is away may go; one that is there may not.
        assert_eq!(reason(keeps_quorum(&status(&[1, 2, 3], &[], &[3]), &Change::Remove(3))), None);
        assert_eq!(reason(keeps_quorum(&status(&[1, 2, 3], &[], &[3]), &Change::Remove(2))), refused);
        // A learner never counts.
        assert_eq!(reason(keeps_quorum(&status(&[1, 2], &[4], &[2]), &Change::Remove(4))), None);
    }

    #[test]
    fn a_learner_is_promoted_only_where_the_new_voters_have_a_quorum() {
        let refused = Some("QUORUM_WOULD_BE_LOST".to_owned());
        assert_eq!(reason(keeps_quorum(&status(&[1], &[2], &[]), &Change::Promote(2))), None);
        assert_eq!(reason(keeps_quorum(&status(&[1], &[2], &[2]), &Change::Promote(2))), refused);
        assert_eq!(reason(keeps_quorum(&status(&[1, 2, 3], &[4], &[3, 4]), &Change::Promote(4))), refused);
    }
}
