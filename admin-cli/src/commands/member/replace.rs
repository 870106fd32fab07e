//! `member replace`: a new node in the place of one whose disk is gone.
//!
//! The old one goes before the new one votes: it does not answer, and among four voters of which one is silent every change
//! would wait for all of the others. Where it breaks off in between, it is done again with `--with`.

use serde_json::json;
use switch_proto::operator::v1::{GetStatusResponse, Member};

use super::{promote::vote, remove::leave};
use crate::{
    cli::Global,
    commands::{plan, retry},
    confirmation::confirm,
    exit::Exit,
    failure::Failure,
    output::{Sheet, hex},
    progress::Progress,
    session::Session,
};

pub(super) async fn replace(global: &Global, old: u64, with: Option<u64>) -> Result<Sheet, Failure> {
    let members = Session::new(global)?.status().await?.members;
    let Some(goes) = members.iter().find(|member| member.node_id == old) else {
        return finish(global, &members, old, with).await;
    };
    let comes = with.map_or_else(|| format!("the new node at {}", goes.peer_address), hex);
    let words = format!("{comes} catches up, member {} is removed for good, {comes} votes", hex(old));
    if let Some(plan) = plan(global, &words) {
        return Ok(plan);
    }
    confirm(global, &words, &hex(old)).await?;
    let session = Session::new(global)?;
    let progress = Progress::of("replacing", global.talk());
    progress.phase(&format!("waiting until {comes} has caught up"));
    let not_yet = |failure: &Failure| failure.is_any_of(&["NOT_THERE_YET"]) || failure.exit == Exit::Connect;
    let new = retry(&session, not_yet, async || {
        let status = of_the_leader(&session).await?;
        if let Some(new) = status.members.iter().find(|member| comes_for(member, goes, with)) {
            progress.at(new.matched_index.unwrap_or(0), status.last_index);
        }
        successor(&status, goes, with)
    })
    .await?;
    progress.phase(&format!("removing {}", hex(old)));
    leave(&session, old).await?;
    progress.phase(&format!("promoting {}", hex(new)));
    promote(&session, new).await.map_err(|failure| {
        let rest = format!(
            "{} is removed and {new} has no vote yet: member replace {} --with {new}",
            hex(old),
            hex(old),
            new = hex(new)
        );
        failure.and(&rest)
    })?;
    Ok(sheet(old, new, session.request_id()))
}

/// The rest of a replacement that broke off once the old member was removed: the new one, which must be named, gets its vote.
async fn finish(global: &Global, members: &[Member], old: u64, with: Option<u64>) -> Result<Sheet, Failure> {
    let new = left_behind(members, old, with)?;
    if let Some(plan) = plan(global, &format!("{} votes; {} is removed already", hex(new.node_id), hex(old))) {
        return Ok(plan);
    }
    let session = Session::new(global)?;
    if !new.voter {
        promote(&session, new.node_id).await?;
    }
    Ok(sheet(old, new.node_id, session.request_id()))
}

async fn promote(session: &Session, new: u64) -> Result<(), Failure> {
    let passes = |failure: &Failure| failure.is_any_of(&["MEMBER_BEHIND", "MEMBERSHIP_CHANGE_IN_PROGRESS"]);
    retry(session, passes, async || vote(session, new).await).await
}

/// Who was to take the place of a member that is gone.
fn left_behind(members: &[Member], old: u64, with: Option<u64>) -> Result<&Member, Failure> {
    let nobody = |words: String| Failure::local(Exit::NotFound, "NOT_A_MEMBER", words);
    let Some(new) = with else {
        let learners: Vec<_> =
            members.iter().filter(|member| !member.voter).map(|member| hex(member.node_id)).collect();
        let go_on = match learners.as_slice() {
            [] => String::new(),
            _ => {
                format!("; where its replacement broke off, go on --with one of the learners: {}", learners.join(", "))
            }
        };
        return Err(nobody(format!("{} is no member{go_on}", hex(old))));
    };
    let found = members.iter().find(|member| member.node_id == new);
    found.ok_or_else(|| nobody(format!("neither {} nor {} is a member", hex(old), hex(new))))
}

pub(super) fn sheet(old: u64, new: u64, request_id: &str) -> Sheet {
    let item = json!({ "removed": hex(old), "promoted": hex(new), "request_id": request_id });
    Sheet::of("MemberReplaced", [item])
        .with(&["REMOVED", "PROMOTED", "REQUEST ID"], vec![vec![hex(old), hex(new), request_id.to_owned()]])
        .named("member", [hex(new)])
}

/// Only the leader knows how far each member is.
async fn of_the_leader(session: &Session) -> Result<GetStatusResponse, Failure> {
    let status = session.status().await?;
    let leader = status.members.iter().find(|member| member.node_id == status.leader_id);
    match leader {
        Some(leader) if status.leader_id != status.node_id => session.at(&leader.operator_address).status().await,
        Some(_) => Ok(status),
        None => Err(not_yet("nobody leads".to_owned())),
    }
}

/// The learner that takes the place, once it has nearly caught up.
fn successor(status: &GetStatusResponse, old: &Member, with: Option<u64>) -> Result<u64, Failure> {
    let new = status.members.iter().find(|member| comes_for(member, old, with));
    let new = new.ok_or_else(|| not_yet(format!("no node has joined for {} yet", old.peer_address)))?;
    let behind = status.last_index.saturating_sub(new.matched_index.unwrap_or(0));
    if behind > BEHIND_MAX {
        return Err(not_yet(format!("{} is {behind} entries behind", hex(new.node_id))));
    }
    Ok(new.node_id)
}

fn comes_for(member: &Member, old: &Member, with: Option<u64>) -> bool {
    match with {
        Some(node) => member.node_id == node,
        None => member.node_id != old.node_id && member.peer_address == old.peer_address,
    }
}

fn not_yet(words: String) -> Failure {
    Failure::local(Exit::Precondition, "NOT_THERE_YET", words)
}

/// Entries: what a learner catches up with while the old member is removed.
const BEHIND_MAX: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn member(node_id: u64, peer: &str, matched: u64) -> Member {
        Member { node_id, peer_address: peer.into(), matched_index: Some(matched), ..Member::default() }
    }

    #[test]
    fn the_successor_is_who_has_the_address_of_the_old_one_and_has_caught_up() {
        let old = member(2, "b:1", 0);
        let status = |members| GetStatusResponse { last_index: 5_000, members, ..GetStatusResponse::default() };
        let found = successor(&status(vec![member(1, "a:1", 5_000), old.clone(), member(9, "b:1", 4_900)]), &old, None);
        assert_eq!(found, Ok(9));
        for members in [vec![old.clone()], vec![old.clone(), member(9, "b:1", 10)]] {
            let failure = successor(&status(members), &old, None).expect_err("not yet");
            assert!(failure.is_any_of(&["NOT_THERE_YET"]), "{failure}");
        }
        assert_eq!(successor(&status(vec![old.clone(), member(7, "d:1", 5_000)]), &old, Some(7)), Ok(7));
    }

    #[test]
    fn a_replacement_that_broke_off_goes_on_with_the_learner_that_is_named() {
        let learner = member(9, "b:1", 5_000);
        let members = [Member { voter: true, ..member(1, "a:1", 5_000) }, learner.clone()];
        assert_eq!(left_behind(&members, 2, Some(9)), Ok(&learner));
        for (with, words) in [(None, hex(9)), (Some(7), hex(7))] {
            let failure = left_behind(&members, 2, with).expect_err("nobody to go on with");
            assert!(failure.exit == Exit::NotFound && failure.to_string().contains(&words), "{failure}");
        }
    }
}
