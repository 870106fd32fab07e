//! What nodes must have in common before they become a cluster.

use std::sync::atomic::Ordering;

use super::cluster::{Net, Node, THREE, complete, until};
use crate::membership::Told;

#[test]
fn what_holds_a_formation_up_is_told_when_it_changes() {
    let mut told = Told::default();
    let mut news = |step: Result<&'static str, &str>| told.is_news(&step.map_err(str::to_owned));
    assert!(news(Ok("waiting")));
    assert!(!news(Ok("waiting")));
    assert!(news(Err("a key is missing")));
    assert!(!news(Err("a key is missing")));
    assert!(news(Err("two keys are missing")));
    assert!(news(Ok("waiting")), "nothing holds it up any more");
    assert!(news(Err("two keys are missing")), "it does again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_cluster_is_made_of_nodes_that_have_not_the_same() {
    let net = Net::default();
    let mut nodes: Vec<Node> = THREE.iter().map(|address| Node::new(&net, address)).collect();
    let unborn = |node: &Node| node.group().status().identity.cluster_id == 0;
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    // The first one, which would make the cluster, has one thing more than the others, and then one less.
    for (first, others) in [(&["one", "two"][..], &["one"][..]), (&["one"], &["one", "two"])] {
        nodes[0].start(&THREE, true).await;
        nodes[1].start(&THREE, true).await;
        nodes[0].group().declare(names(first));
        nodes[1].group().declare(names(others));
        nodes[2].start(&THREE, true).await;
        nodes[2].group().declare(names(others));
        // Each asks both others at every look.
        let (looks, before) = (3 * 3 * 2, net.probed.load(Ordering::Relaxed));
        until("three looks of each", || net.probed.load(Ordering::Relaxed) >= before + looks).await;
        assert!(nodes.iter().all(unborn), "{first:?} and {others:?}");
        for node in &mut nodes {
            node.kill().await;
        }
    }
    for node in &mut nodes {
        node.start(&THREE, true).await;
        // In whatever order they are named.
        let order: &[&str] = if node.address == THREE[0] { &["one", "two"] } else { &["two", "one"] };
        node.group().declare(names(order));
    }
    until("three voters", || nodes.iter().all(|node| complete(node.group()))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_voters_have_what_their_leader_has() {
    let net = Net::default();
    let mut nodes: Vec<Node> = THREE.iter().map(|address| Node::new(&net, address)).collect();
    let declare =
        |node: &Node, names: &[&str]| node.group().declare(names.iter().map(|&name| name.to_owned()).collect());
    nodes[0].start(&THREE[..1], true).await;
    declare(&nodes[0], &["one"]);
    until("it leads alone", || nodes[0].group().status().is_leader).await;
    // The one that lacks it comes first, and keeps the other from nothing.
    nodes[1].start(&THREE, false).await;
    until("a learner", || nodes[0].group().status().members.len() == 2).await;
    nodes[2].start(&THREE, false).await;
    declare(&nodes[2], &["two", "one"]);
    let is_voter = |node: &Node| {
        let id = node.id();
        nodes[0].group().status().members.iter().any(|member| member.node_id == id && member.voter)
    };
    until("the other is a voter", || is_voter(&nodes[2])).await;
    assert!(!is_voter(&nodes[1]));
    declare(&nodes[1], &["one"]);
    until("three voters", || nodes.iter().all(|node| complete(node.group()))).await;
}
