//! What a cluster does.

use std::time::Duration;

use futures::{StreamExt, stream};
use switch_proto::peer::v1 as wire;

use super::cluster::{Net, Node, THREE, complete, leader, open, pack, propose, three, until, until_or, voters};
use crate::{
    Formation, MemberRecord, MembershipError, PeerError, ProposeError, ReadError, Refusal, StartError, TransferError,
    WriteAheadLog, form_or_join, limits,
};

const SOON: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_empty_nodes_form_one_cluster_and_agree() {
    let net = Net::default();
    let nodes = three(&net).await;
    let clusters: Vec<u64> = nodes.iter().map(|node| node.group().status().identity.cluster_id).collect();
    assert!(clusters[0] != 0 && clusters.iter().all(|cluster| *cluster == clusters[0]), "{clusters:x?}");

    let leads = leader(&nodes, &[0, 1, 2]).await;
    for number in 0..100 {
        let proposed = nodes[leads].group().propose(pack(format!("pack {number}"))).await.unwrap();
        assert_eq!(Some(proposed.leader), nodes[leads].group().status().leader);
    }
    let expected: Vec<_> = (0..100).map(|number| pack(format!("pack {number}"))).collect();
    assert_eq!(nodes[leads].packs(), expected, "applied when propose returns");
    until("all have all", || nodes.iter().all(|node| node.packs() == expected)).await;
    assert!(nodes[leads].group().holds_lease());

    let follower = (leads + 1) % 3;
    assert!(!nodes[follower].group().holds_lease());
    let error = nodes[follower].group().propose(pack("no")).await.unwrap_err();
    let address = Some(THREE[leads].to_owned());
    assert_eq!(error, ProposeError::NotLeader { leader: Some(nodes[leads].id()), address });
    let bytes = limits::PACK_BYTES_MAX + 1;
    let error = nodes[leads].group().propose(vec![0; bytes].into()).await.unwrap_err();
    assert_eq!(error, ProposeError::TooLarge { bytes });
    assert!(nodes.iter().all(|node| node.exits.lock().is_empty()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_is_followed_by_another_and_catches_up_from_its_disk() {
    let net = Net::default();
    let mut nodes = three(&net).await;
    let first = leader(&nodes, &[0, 1, 2]).await;
    let led = nodes[first].group().propose(pack("before")).await.unwrap().leader;
    nodes[first].kill().await;
    let rest: Vec<usize> = (0..3).filter(|&node| node != first).collect();
    let (second, proposed) = propose(&nodes, &rest, pack("after")).await;
    assert!(proposed.leader > led);
    let blank = nodes[second].disk.lock().blanks.last().copied().unwrap();
    assert_eq!(blank.1, proposed.leader, "the machine saw the new leader's blank entry");

    nodes[first].start(&THREE, true).await;
    until("it catches up", || nodes[first].packs() == [pack("before"), pack("after")]).await;
    assert_eq!(voters(&nodes[first]), 3);
    assert!(nodes.iter().all(|node| node.exits.lock().is_empty()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_cluster_restarts_from_its_disks() {
    let net = Net::default();
    let mut nodes = three(&net).await;
    let leads = leader(&nodes, &[0, 1, 2]).await;
    nodes[leads].group().propose(pack("kept")).await.unwrap();
    for node in &mut nodes {
        node.kill().await;
    }
    for node in &mut nodes {
        node.start(&THREE, true).await;
    }
    propose(&nodes, &[0, 1, 2], pack("new")).await;
    until("all have both", || nodes.iter().all(|node| node.packs() == [pack("kept"), pack("new")])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_node_gets_a_snapshot_when_the_log_is_gone_and_only_an_operator_promotes_it() {
    let net = Net::default();
    let mut nodes = three(&net).await;
    let leads = leader(&nodes, &[0, 1, 2]).await;
    for number in 0..50 {
        nodes[leads].group().propose(pack(format!("pack {number}"))).await.unwrap();
    }
    let snapshot = nodes[leads].group().trigger_snapshot().await.unwrap();
    assert!(snapshot >= 50, "{snapshot}");
    until("the log is shortened", || nodes[leads].group().status().first > 40).await;

    nodes.push(Node::new(&net, "d:1"));
    nodes[3].start(&THREE, true).await;
    until("the state came", || nodes[3].packs().len() == 50).await;
    assert_eq!(nodes[3].disk.lock().installed, 1);
    nodes[leads].group().propose(pack("one more")).await.unwrap();
    until("it follows", || nodes[3].packs().len() == 51).await;
    until("it is a learner", || nodes[leads].group().status().members.len() == 4).await;
    assert_eq!(voters(&nodes[leads]), 3, "the cluster was complete once");

    let id = nodes[3].id();
    nodes[leads].group().promote(id).await.unwrap();
    assert_eq!(voters(&nodes[leads]), 4);
    let own = nodes[leads].id();
    let error = nodes[leads].group().remove(own).await.unwrap_err();
    assert_eq!(error, MembershipError::Leads { node: own });
    let removed = nodes[(leads + 1) % 3].id();
    nodes[leads].group().remove(removed).await.unwrap();
    assert_eq!(voters(&nodes[leads]), 3);
    assert!(nodes[leads].group().status().members.iter().all(|member| member.node_id != removed));
    assert_eq!(nodes[leads].group().remove(removed).await, Err(MembershipError::NotMember { node: removed }));
    assert!(nodes[leads].group().status().voters_most >= 4);

    // A node that has its state from a snapshot restarts from it.
    nodes[3].kill().await;
    nodes[3].start(&THREE, true).await;
    nodes[leads].group().propose(pack("after the restart")).await.unwrap();
    until("it follows again", || nodes[3].packs().len() == 52).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_handed_over_and_the_lease_goes_first() {
    let net = Net::default();
    let nodes = three(&net).await;
    let first = leader(&nodes, &[0, 1, 2]).await;
    let second = (first + 1) % 3;
    until("the lease", || nodes[first].group().holds_lease()).await;
    let old = nodes[first].group().status().leader.unwrap();
    let new = nodes[first].group().transfer_leader(Some(nodes[second].id())).await.unwrap();
    assert_eq!(new.node, nodes[second].id());
    assert!(new > old);
    assert!(!nodes[first].group().holds_lease());
    let (leads, proposed) = propose(&nodes, &[0, 1, 2], pack("under the new one")).await;
    assert_eq!((leads, proposed.leader), (second, new));

    let error = nodes[first].group().transfer_leader(None).await.unwrap_err();
    assert!(matches!(error, TransferError::NotLeader { .. }), "{error}");
    let error = nodes[second].group().transfer_leader(Some(4711)).await.unwrap_err();
    assert!(matches!(error, TransferError::NotVoter { node: 4711 }), "{error}");
    until("the followers answer", || {
        nodes[second].group().status().members.iter().filter(|member| member.answered.is_some()).count() >= 2
    })
    .await;
    let third = nodes[second].group().transfer_leader(None).await.unwrap();
    assert_ne!(third.node, nodes[second].id());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_barrier_on_a_follower_sees_what_was_acknowledged_on_the_leader() {
    let net = Net::default();
    let nodes = three(&net).await;
    let leads = leader(&nodes, &[0, 1, 2]).await;
    for number in 0..20 {
        let proposed = nodes[leads].group().propose(pack(format!("pack {number}"))).await.unwrap();
        for node in &nodes {
            let index = node.group().read_barrier(SOON).await.unwrap();
            assert!(index >= proposed.index);
            assert_eq!(node.packs().len(), number + 1);
        }
    }
    // A leader that is cut off cannot confirm itself: no read, no lease, no proposal that says yes.
    net.cut(THREE[leads]);
    let within = Duration::from_millis(300); // less than an election
    let error = nodes[leads].group().read_barrier(within).await.unwrap_err();
    assert!(matches!(error, ReadError::Late { .. } | ReadError::NoLeader), "{error}");
    until("the lease ends", || !nodes[leads].group().holds_lease()).await;
    let rest: Vec<usize> = (0..3).filter(|&node| node != leads).collect();
    propose(&nodes, &rest, pack("elsewhere")).await;
    net.heal();
    until("all agree again", || nodes.iter().all(|node| node.packs().last() == Some(&pack("elsewhere")))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_with_wrong_ids_are_refused() {
    let net = Net::default();
    let nodes = three(&net).await;
    let [ours, theirs] = [0, 1].map(|node: usize| nodes[node].group().status().identity);
    let handler = net.handler(THREE[1]);
    let right = wire::Envelope { to_node: theirs.node_id, to_store: theirs.store_id, ..nodes[0].group().envelope() };
    let refusal = async |envelope| {
        let ballot = Some(wire::Ballot { term: 1, node: ours.node_id, committed: false });
        let request = wire::PreVoteRequest { envelope: Some(envelope), ballot, ..Default::default() };
        match handler.pre_vote(request).await {
            Ok(_) => None,
            Err(PeerError::Refused { refusal, .. }) => Some(refusal),
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(refusal(right).await, None);
    assert_eq!(refusal(wire::Envelope { cluster_id: 1, ..right }).await, Some(Refusal::OtherCluster));
    assert_eq!(refusal(wire::Envelope { to_node: 1, ..right }).await, Some(Refusal::OtherNode));
    assert_eq!(refusal(wire::Envelope { to_store: 1, ..right }).await, Some(Refusal::OtherNode));
    assert!(nodes[1].group().status().refused.is_some_and(|why| why.contains("is known with disk")));
    let another = wire::Envelope { boot_id: right.boot_id ^ 1, ..right };
    assert_eq!(refusal(another).await, Some(Refusal::OtherProcess));
    assert_eq!(refusal(wire::Envelope { store_id: 1, ..another }).await, Some(Refusal::OtherStore));

    let ballot = Some(wire::Ballot { term: 99, node: ours.node_id, committed: true });
    let wrong = wire::Envelope { store_id: 1, ..another };
    let request = wire::StreamAppendRequest { envelope: Some(wrong), ballot, ..Default::default() };
    let answers: Vec<_> = handler.stream_append(stream::iter([request]).boxed()).collect().await;
    assert!(matches!(answers[..], [Err(PeerError::Refused { refusal: Refusal::OtherStore, .. })]), "{answers:?}");
    assert!(nodes[1].group().status().term < 99);

    // A known node id with another disk may not join.
    let record = wire::MemberRecord { peer_address: "a:1".into(), store_id: 1, ..Default::default() };
    let member = Some(wire::Member { node_id: ours.node_id, record: Some(record) });
    let request = wire::JoinRequest { envelope: Some(right), member, forwarded: false, boot_id: right.boot_id };
    let refused = handler.join(request).await.unwrap_err();
    assert!(matches!(refused, PeerError::Refused { refusal: Refusal::OtherStore, .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_on_a_copy_of_a_living_nodes_disk_is_refused() {
    let net = Net::default();
    let mut nodes = three(&net).await;
    let copied = (leader(&nodes, &[0, 1, 2]).await + 1) % 3;
    nodes[copied].kill().await;
    let mut copy = Node::new(&net, "d:1");
    nodes[copied].copy_to(&mut copy);
    nodes[copied].start(&THREE, true).await;
    copy.start(&THREE, true).await;

    until("it is refused", || copy.group().status().refused.is_some_and(|why| why.contains("OTHER_PROCESS"))).await;
    propose(&nodes, &[0, 1, 2], pack("after")).await;
    until("its node goes on", || nodes[copied].packs().last() == Some(&pack("after"))).await;
    assert!(nodes[copied].group().status().refused.is_none());
    assert_eq!(copy.packs(), Vec::<bytes::Bytes>::new());

    // A disk that moves to another host is no copy: nobody is at the old address any more.
    copy.kill().await;
    nodes[copied].kill().await;
    let mut moved = Node::new(&net, "e:1");
    nodes[copied].copy_to(&mut moved);
    moved.start(&THREE, true).await;
    propose(&nodes, &[(copied + 1) % 3, (copied + 2) % 3], pack("moved")).await;
    until("it takes the node's place", || moved.packs().last() == Some(&pack("moved"))).await;
    assert!(moved.group().status().refused.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lacks_what_it_acknowledged_is_sent_nothing_more_and_harms_nobody() {
    let net = Net::default();
    let mut nodes = three(&net).await;
    let leads = leader(&nodes, &[0, 1, 2]).await;
    let (put_back, third) = ((leads + 1) % 3, (leads + 2) % 3);
    propose(&nodes, &[0, 1, 2], pack("before")).await;
    until("it has it", || nodes[put_back].packs() == [pack("before")]).await;
    nodes[put_back].kill().await;
    let mut older = Node::new(&net, THREE[put_back]);
    nodes[put_back].copy_to(&mut older);
    nodes[put_back].start(&THREE, true).await;
    propose(&nodes, &[leads], pack("acknowledged")).await;
    let id = nodes[put_back].id();
    // That its table has it does not say that the leader has heard that its disk does.
    let heard = || {
        let status = nodes[leads].group().status();
        status.members.iter().any(|member| member.node_id == id && member.matched == status.last)
    };
    until("the leader has heard that it has it", heard).await;
    nodes[put_back].kill().await;

    older.start(&THREE, true).await;
    let reverted = || {
        let members = nodes[leads].group().status().members;
        members.iter().any(|member| member.node_id == id && member.reverted)
    };
    let states = || [&nodes[leads], &older].map(|node| format!("{:#?}", node.group().status())).concat();
    until_or("the leader sees it", states, reverted).await;
    assert_eq!(leader(&nodes, &[leads, third]).await, leads, "it leads on");
    propose(&nodes, &[leads], pack("later")).await;
    until("the third follows", || nodes[third].packs().last() == Some(&pack("later"))).await;
    assert_eq!(older.packs(), [pack("before")]);
    assert!(older.group().status().confirmed.is_none());
    for node in [leads, third] {
        assert!(nodes[node].exits.lock().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_cluster_is_made_while_a_peer_does_not_answer() {
    let net = Net::default();
    let mut nodes: Vec<Node> = THREE.iter().map(|address| Node::new(&net, address)).collect();
    nodes[0].start(&THREE, true).await;
    nodes[1].start(&THREE, true).await;
    let unborn = |nodes: &[Node]| {
        nodes[..2]
            .iter()
            .all(|node| node.group().status().identity.cluster_id == 0 && node.group().status().last.is_none())
    };
    tokio::time::sleep(limits::FORM_PAUSE * 3).await; // nothing to wait for: the claim is that nothing happens
    assert!(unborn(&nodes));
    assert_eq!(nodes[0].group().read_barrier(SOON).await, Err(ReadError::NoLeader));
    nodes[2].start(&THREE, true).await;
    until("three voters", || nodes.iter().all(|node| complete(node.group()))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_cluster_does_not_come_in() {
    let net = Net::default();
    let nodes = three(&net).await;
    let mut stranger = Node::new(&net, "x:1");
    stranger.start(&["x:1"], true).await;
    until("a cluster of one", || stranger.group().status().is_leader).await;
    assert!(stranger.group().holds_lease());
    stranger.group().propose(pack("mine")).await.unwrap();
    assert_ne!(stranger.group().status().identity.cluster_id, nodes[0].group().status().identity.cluster_id);

    let record = MemberRecord { peer_address: "y:1".into(), ..MemberRecord::default() };
    let mut lost = Node::new(&net, "y:1");
    lost.start(&["x:1"], false).await;
    until("a learner of the stranger", || stranger.group().status().members.len() == 2).await;
    // The same disk, configured with the peers of the other cluster.
    until("it has the log", || lost.packs() == [pack("mine")]).await;
    let own = lost.id();
    until("it is a voter", || voters(&stranger) == 2).await;
    until("the promotion is over", || !stranger.group().changes_members()).await;
    stranger.group().remove(own).await.unwrap();
    lost.kill().await;
    let peers = vec!["a:1".to_owned()];
    lost.start(&["a:1"], false).await;
    let formation = Formation { bootstrap: false, peers, initial_voters: 3, record, cluster_id: 7 };
    let handler = net.handler("a:1");
    let refused = handler
        .join(wire::JoinRequest {
            envelope: Some(lost.group().envelope()),
            member: Some(wire::Member { node_id: own, record: Some(formation.record.clone().into()) }),
            forwarded: false,
            boot_id: 1,
        })
        .await
        .unwrap_err();
    assert!(matches!(refused, PeerError::Refused { refusal: Refusal::OtherCluster, .. }), "{refused}");
    drop(form_or_join(lost.group().clone(), formation));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_fails_ends_the_process() {
    let net = Net::default();
    let nodes = three(&net).await;
    let leads = leader(&nodes, &[0, 1, 2]).await;
    let error = nodes[leads].group().propose(pack("poison")).await.unwrap_err();
    assert!(matches!(error, ProposeError::Unknown(_)), "{error}");
    until("the exit hook is called", || nodes[leads].exits.lock().iter().any(|reason| reason.contains("poison"))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_state_does_not_start() {
    let net = Net::default();
    let mut nodes = three(&net).await;
    let leads = leader(&nodes, &[0, 1, 2]).await;
    for number in 0..20 {
        nodes[leads].group().propose(pack(format!("pack {number}"))).await.unwrap();
    }
    nodes[leads].group().trigger_snapshot().await.unwrap();
    until("the log is shortened", || nodes[leads].group().status().first > 10).await;
    nodes[leads].kill().await;
    let state = std::mem::take(&mut *nodes[leads].disk.lock());
    let error = nodes[leads].try_start(&THREE, true).await.unwrap_err();
    assert!(matches!(error, StartError::StateLost { applied: None, .. }), "{error}");

    *nodes[leads].disk.lock() = state;
    until("the log is let go", || std::fs::remove_dir_all(nodes[leads].dir.path().join("data/log")).is_ok()).await;
    let error = nodes[leads].try_start(&THREE, true).await.unwrap_err();
    assert!(matches!(error, StartError::LogLost), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_are_taken_when_due_and_shorten_the_log() {
    let net = Net::default();
    let mut nodes: Vec<Node> = THREE.iter().map(|address| Node::new(&net, address)).collect();
    for node in &mut nodes {
        node.policy.bytes = 100_000;
        node.start(&THREE, true).await;
    }
    until("three voters", || nodes.iter().all(|node| complete(node.group()))).await;
    let leads = leader(&nodes, &[0, 1, 2]).await;
    for number in 0..20 {
        nodes[leads].group().propose(vec![number; 10_000].into()).await.unwrap();
    }
    until("all have taken one", || nodes.iter().all(|node| node.group().status().first > 10)).await;
    assert!(nodes.iter().all(|node| node.group().status().snapshot >= Some(20)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_is_the_state_of_one_moment_on_any_node_and_shortens_no_log() {
    let net = Net::default();
    let nodes = three(&net).await;
    let leads = leader(&nodes, &[0, 1, 2]).await;
    for number in 0..5 {
        nodes[leads].group().propose(pack(format!("pack {number}"))).await.unwrap();
    }
    let follower = (leads + 1) % 3;
    until("it has all of them", || nodes[follower].packs().len() == 5).await;
    let before = nodes[follower].group().status();
    let saved = nodes[follower].group().view().await.unwrap();
    let after = nodes[follower].group().status();
    nodes[leads].group().propose(pack("later")).await.unwrap();
    until("it has that too", || nodes[follower].packs().len() == 6).await;
    assert!(before.applied <= Some(saved.applied) && Some(saved.applied) <= after.applied);
    assert_eq!(saved.term, before.term);
    assert_eq!(saved.view.frames().count(), 5, "what came later is not in it");
    assert_eq!(nodes[follower].group().status().snapshot, before.snapshot);
}

/// openraft #2116, in its simplest form: the follower has entries it does not know to be committed when the snapshot comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_replaces_a_tail_that_was_never_known_to_be_committed() {
    let net = Net::default();
    let mut nodes = three(&net).await;
    let (leads, _) = propose(&nodes, &[0, 1, 2], pack("first")).await;
    let follower = (leads + 1) % 3;
    until("it has it", || nodes[follower].packs().len() == 1).await;
    nodes[follower].kill().await;
    let rest = [leads, (leads + 2) % 3];
    for number in 0..30 {
        propose(&nodes, &rest, pack(format!("pack {number}"))).await;
    }
    {
        // What it would have if it had been killed after its disk had these and before it heard that they are committed.
        let log = open(&nodes[follower].dir.path().join("data/log")).await;
        let from = log.state().last.unwrap().index + 1;
        let tail = nodes[leads].group().inner.log.read(from..from + 3, usize::MAX).unwrap();
        assert_eq!(tail.len(), 3);
        let (durable, flushed) = tokio::sync::oneshot::channel();
        log.append(tail, Box::new(|result| durable.send(result).unwrap())).unwrap();
        flushed.await.unwrap().unwrap();
    }
    for node in rest {
        nodes[node].group().trigger_snapshot().await.unwrap();
        until("the log is shortened", || nodes[node].group().status().first > 20).await;
    }
    nodes[follower].start(&THREE, true).await;
    until("the state came", || nodes[follower].packs().len() == 31 || !nodes[follower].exits.lock().is_empty()).await;
    assert_eq!(*nodes[follower].exits.lock(), Vec::<String>::new());
    assert_eq!(nodes[follower].disk.lock().installed, 1);
    propose(&nodes, &rest, pack("after")).await;
    until("it follows", || nodes[follower].packs().len() == 32).await;
}
