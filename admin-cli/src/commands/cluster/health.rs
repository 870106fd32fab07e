//! `cluster health`: what every node says, put together.

use serde_json::json;
use switch_proto::operator::v1::{GetStatusResponse, LinkStatus};

use crate::{
    cli::Global,
    commands::retry,
    exit::Exit,
    failure::Failure,
    output::{Sheet, hex},
    session::Session,
};

/// What every node says.
pub(in crate::commands) struct Health {
    nodes: Vec<(String, Result<GetStatusResponse, Failure>)>,
}

impl Health {
    /// Asks them all.
    pub(in crate::commands) async fn ask(session: &Session) -> Self {
        Self { nodes: session.statuses().await }
    }

    /// Of answers that were given.
    #[cfg(test)]
    pub(in crate::commands) fn of(nodes: Vec<(String, Result<GetStatusResponse, Failure>)>) -> Self {
        Self { nodes }
    }

    /// Those who answered.
    pub(in crate::commands) fn answered(&self) -> impl Iterator<Item = &GetStatusResponse> {
        self.nodes.iter().filter_map(|(_, answer)| answer.as_ref().ok())
    }

    /// The leader's own word, of those who think they lead in the latest term.
    pub(in crate::commands) fn leader(&self) -> Option<&GetStatusResponse> {
        let leads = |status: &&GetStatusResponse| status.leader_id != 0 && status.leader_id == status.node_id;
        self.answered().filter(leads).max_by_key(|status| status.term)
    }

    /// Nodes that did not answer.
    pub(in crate::commands) fn away(&self) -> usize {
        self.nodes.iter().filter(|(_, answer)| answer.is_err()).count()
    }

    /// What keeps payments from being taken safely, in words; nothing where all is well.
    pub(in crate::commands) fn faults(&self) -> Vec<String> {
        let mut faults: Vec<String> = Vec::new();
        for (address, answer) in &self.nodes {
            match answer {
                Err(failure) => faults.push(format!("{address} is away: {failure}")),
                Ok(status) if status.draining => faults.push(format!("{} is draining", hex(status.node_id))),
                Ok(_) => {}
            }
        }
        let Some(leader) = self.leader() else {
            faults.push("nobody leads".to_owned());
            return faults;
        };
        for member in &leader.members {
            let told = self.answered().find(|status| status.node_id == member.node_id);
            let behind = told.map(|status| leader.applied_index.saturating_sub(status.applied_index));
            if let Some(behind) = behind.filter(|behind| *behind > BEHIND_MAX) {
                faults.push(format!("{} is {behind} entries behind", hex(member.node_id)));
            }
            if told.is_none() && member.operator_address.is_empty() {
                faults.push(format!("{} has told nobody where it can be asked", hex(member.node_id)));
            }
        }
        for link in wanted(leader).filter(|link| link.state != "IN_SERVICE") {
            faults.push(format!("link {} is {} on the leader", link.link_id, link.state));
        }
        faults
    }

    pub(super) fn sheet(&self) -> Sheet {
        let faults = self.faults();
        let item = json!({
            "healthy": faults.is_empty(),
            "faults": faults,
            "nodes": self.nodes.iter().map(|(address, answer)| json!({
                "endpoint": address,
                "node_id": answer.as_ref().map(|status| hex(status.node_id)).ok(),
                "term": answer.as_ref().map(|status| status.term).ok(),
                "applied_index": answer.as_ref().map(|status| status.applied_index).ok(),
                "draining": answer.as_ref().map(|status| status.draining).ok(),
                "error": answer.as_ref().err().map(ToString::to_string),
            })).collect::<Vec<_>>(),
        });
        let rows = self.nodes.iter().map(|(address, answer)| row(address, answer.as_ref().ok())).collect();
        let sheet = Sheet::of("ClusterHealth", [item])
            .with(&["NODE", "ENDPOINT", "STATE", "TERM", "APPLIED", "LINKS IN SERVICE"], rows)
            .named("node", self.answered().map(|status| hex(status.node_id)));
        if faults.is_empty() {
            return sheet;
        }
        let lines = faults.into_iter().map(|fault| vec![fault]).collect();
        sheet.with(&["NOT WELL"], lines).ending(Exit::Unhealthy)
    }
}

pub(super) async fn health(global: &Global, wait: bool) -> Result<Sheet, Failure> {
    let session = Session::new(global)?;
    if !wait {
        return Ok(Health::ask(&session).await.sheet());
    }
    let unwell = |failure: &Failure| failure.exit == Exit::Unhealthy;
    retry(&session, unwell, async || {
        // One node that is silent must not use up the time for all rounds.
        let health = Health::ask(&session.for_a_round()).await;
        match health.faults().first() {
            None => Ok(health.sheet()),
            Some(fault) => Err(Failure::local(Exit::Unhealthy, "UNHEALTHY", fault.clone())),
        }
    })
    .await
}

fn row(address: &str, status: Option<&GetStatusResponse>) -> Vec<String> {
    let dash = || "-".to_owned();
    let Some(status) = status else {
        return vec![dash(), address.to_owned(), "away".to_owned(), dash(), dash(), dash()];
    };
    let is_voter = status.members.iter().any(|member| member.node_id == status.node_id && member.voter);
    let state = match (status.draining, status.leader_id == status.node_id, is_voter) {
        (true, _, _) => "draining",
        (false, true, _) => "leader",
        (false, false, true) => "voter",
        (false, false, false) => "learner",
    };
    let in_service = wanted(status).filter(|link| link.state == "IN_SERVICE").count();
    vec![
        hex(status.node_id),
        address.to_owned(),
        state.to_owned(),
        status.term.to_string(),
        status.applied_index.to_string(),
        format!("{in_service} of {}", wanted(status).count()),
    ]
}

/// Links that are to be in service: nobody waits for one that is switched off.
pub(in crate::commands) fn wanted(status: &GetStatusResponse) -> impl Iterator<Item = &LinkStatus> {
    status.links.iter().filter(|link| !link.disabled)
}

/// Entries: a second of a busy cluster.
const BEHIND_MAX: u64 = 1_000;

#[cfg(test)]
mod tests {
    use switch_proto::operator::v1::Member;

    use super::*;

    fn node(id: u64) -> GetStatusResponse {
        let member = |node_id| Member {
            node_id,
            voter: true,
            leader: node_id == 1,
            operator_address: format!("node-{node_id}:7003"),
            ..Member::default()
        };
        let link = LinkStatus { link_id: "visa-1".into(), state: "IN_SERVICE".into(), ..LinkStatus::default() };
        GetStatusResponse {
            node_id: id,
            leader_id: 1,
            term: 4,
            applied_index: 100,
            members: vec![member(1), member(2)],
            links: vec![link],
            ..GetStatusResponse::default()
        }
    }

    fn health(nodes: Vec<Result<GetStatusResponse, Failure>>) -> Health {
        Health::of(nodes.into_iter().zip(1..).map(|(node, at)| (format!("node-{at}:7003"), node)).collect())
    }

    #[test]
    fn a_cluster_is_well_where_every_node_is_there_and_level() {
        let sheet = health(vec![Ok(node(1)), Ok(node(2))]).sheet();
        let expected = "NODE              ENDPOINT     STATE   TERM  APPLIED  LINKS IN SERVICE\n\
                        0000000000000001  node-1:7003  leader  4     100      1 of 1\n\
                        0000000000000002  node-2:7003  voter   4     100      1 of 1\n";
        assert_eq!((sheet.table().as_str(), sheet.exit()), (expected, Exit::Ok));
    }

    #[test]
    fn what_could_not_be_learned_is_said_and_ends_unhealthy() {
        let away = Failure::local(Exit::Connect, "NOT_REACHED", "connection refused");
        let down = GetStatusResponse { leader_id: 0, ..node(2) };
        let sheet = health(vec![Err(away), Ok(down)]).sheet();
        assert_eq!(sheet.exit(), Exit::Unhealthy);
        for words in
            ["-                 node-1:7003  away", "node-1:7003 is away: error: connection refused", "nobody leads"]
        {
            assert!(sheet.table().contains(words), "{words} in\n{}", sheet.table());
        }
    }

    #[test]
    fn a_node_that_lags_or_leaves_and_a_link_that_is_down_are_not_well() {
        let mut leader = GetStatusResponse { applied_index: 5_000, ..node(1) };
        leader.links[0].state = "DOWN".into();
        let leaving = GetStatusResponse { draining: true, ..node(2) };
        let faults = health(vec![Ok(leader), Ok(leaving)]).faults();
        let expected = [
            "0000000000000002 is draining",
            "0000000000000002 is 4900 entries behind",
            "link visa-1 is DOWN on the leader",
        ];
        assert_eq!(faults, expected);
    }

    #[test]
    fn a_link_that_is_switched_off_is_nobodys_fault() {
        let mut leader = node(1);
        leader.links.push(LinkStatus {
            link_id: "visa-2".into(),
            state: "DOWN".into(),
            disabled: true,
            ..LinkStatus::default()
        });
        let sheet = health(vec![Ok(leader), Ok(node(2))]).sheet();
        assert_eq!(sheet.exit(), Exit::Ok);
        assert!(sheet.table().contains("leader  4     100      1 of 1"), "{}", sheet.table());
    }
}
