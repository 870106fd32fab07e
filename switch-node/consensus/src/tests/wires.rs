//! The wire: over gRPC, half open, and with a second snapshot while the first one is installed.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, channel::mpsc, stream};
use openraft::{
    RaftNetworkFactory,
    errors::RPCError,
    network::{NetStreamAppend, RPCOption},
    raft::AppendEntriesRequest,
};
use parking_lot::{Mutex, RwLock};
use switch_proto::peer::v1::{self as wire, install_snapshot_request::Part};
use tonic::transport::{Endpoint, Server, server::TcpIncoming};

use super::{
    cluster::{Net, THREE, complete, leader, pack, three, until},
    machines::{Disk, Keeper},
};
use crate::{
    DiskLog, Formation, Group, GroupOptions, GrpcWire, Identity, MemberRecord, Parts, PeerError, Refusal, form_or_join,
    raft::{RaftLeaderId, RaftVote},
    service,
    transport::{peer::Peers, tune},
};

/// Three nodes over real sockets, without TLS: that is the peer door's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_forms_over_grpc_and_sends_a_snapshot() {
    let mut listeners = Vec::new();
    for _ in 0..4 {
        listeners.push(TcpIncoming::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap());
    }
    let addresses: Vec<String> = listeners.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect();
    let dir = tempfile::tempdir().unwrap();
    let mut nodes: Vec<(Group, Disk)> = Vec::new();
    for (number, listener) in listeners.into_iter().enumerate() {
        if number == 3 {
            until("three voters", || nodes.iter().all(|(group, _)| complete(group))).await;
            until("a leader", || nodes.iter().any(|(group, _)| group.status().is_leader)).await;
            let group = nodes.iter().find(|(group, _)| group.status().is_leader).map(|(group, _)| group).unwrap();
            for number in 0..30 {
                group.propose(vec![number; 100_000].into()).await.unwrap();
            }
            for (group, _) in &nodes {
                group.read_barrier(Duration::from_secs(5)).await.unwrap();
                group.trigger_snapshot().await.unwrap();
                until("the log is shortened", || group.status().first > 25).await;
            }
        }
        let data = dir.path().join(number.to_string());
        let identity = Identity::load_or_create(&data, rand::random).unwrap();
        let disk = Disk::default();
        let connect = |address: &str| tune(Endpoint::from_shared(format!("http://{address}")).unwrap()).connect_lazy();
        let mut options = GroupOptions::new(identity, rand::random(), rand::random());
        options.snapshots.keep_entries = 2;
        let parts = Parts {
            log: Arc::new(DiskLog::open(&data.join("log")).unwrap()),
            machine: Box::new(Keeper(disk.clone())),
            wire: Arc::new(GrpcWire::new(Arc::new(connect))),
            keep_identity: Arc::new(move |identity| identity.save(&data)),
            exit: Arc::new(|reason| panic!("{reason}")),
        };
        let group = Group::start(options, parts).await.unwrap();
        let server = Server::builder().add_service(service(&group));
        tokio::spawn(server.serve_with_incoming(listener));
        let formation = Formation {
            bootstrap: true,
            peers: addresses[..3].to_vec(),
            initial_voters: 3,
            record: MemberRecord { peer_address: addresses[number].clone(), ..MemberRecord::default() },
            cluster_id: rand::random(),
        };
        tokio::spawn(form_or_join(group.clone(), formation));
        nodes.push((group, disk));
    }
    until("the snapshot came", || nodes[3].1.lock().packs.len() == 30).await;
    assert_eq!(nodes[3].1.lock().installed, 1);
    nodes[3].0.read_barrier(Duration::from_secs(5)).await.unwrap();
    for (group, _) in &nodes {
        group.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_owes_an_answer_is_given_up_and_one_that_owes_none_is_not() {
    let identity = Identity { cluster_id: 1, node_id: 2, store_id: 3 };
    let silent = Arc::new(Silent::default());
    let mut peers = Peers {
        wire: silent.clone(),
        identity: Arc::new(RwLock::new(identity)),
        boot: 1,
        standing: Arc::default(),
        records: Arc::default(),
        acknowledged: Arc::default(),
        stream_idle: Duration::from_secs(3),
        inline: true,
    };
    let mut peer = peers.new_client(9, &MemberRecord::default()).await;
    let (requests, sent) = mpsc::unbounded();
    let option = RPCOption::new(Duration::from_millis(100));
    let vote = RaftVote { leader_id: RaftLeaderId { term: 1, node_id: 2 }, committed: true };
    let request = AppendEntriesRequest { vote, prev_log_id: None, entries: Vec::new(), leader_commit: None };
    requests.unbounded_send(request.clone()).unwrap();
    let mut answers = peer.stream_append(sent, option).await.unwrap();
    assert!(matches!(answers.next().await, Some(Ok(Ok(None)))));
    let idle = tokio::time::timeout(Duration::from_secs(3_600), answers.next()).await;
    assert!(idle.is_err(), "nothing was asked, nothing is owed");

    requests.unbounded_send(request).unwrap();
    let owed = tokio::time::timeout(Duration::from_secs(10), answers.next()).await.unwrap();
    assert!(matches!(owed, Some(Err(RPCError::Timeout(_)))), "{owed:?}");
    assert_eq!(silent.taken.lock().len(), 2);
}

/// Answers the first request and then only takes them, like a connection that is half open.
#[derive(Default)]
struct Silent {
    taken: Arc<Mutex<Vec<wire::StreamAppendRequest>>>,
}

#[async_trait::async_trait]
impl crate::PeerWire for Silent {
    async fn stream_append(
        &self,
        _: &str,
        mut requests: stream::BoxStream<'static, wire::StreamAppendRequest>,
    ) -> Result<crate::transport::Appended, PeerError> {
        let taken = self.taken.clone();
        tokio::spawn(async move {
            while let Some(request) = requests.next().await {
                taken.lock().push(request);
            }
        });
        let accepted = wire::stream_append_response::Outcome::Accepted(wire::Accepted { matched: None });
        let answer = Ok(wire::StreamAppendResponse { outcome: Some(accepted) });
        Ok(stream::iter([answer]).chain(stream::pending()).boxed())
    }

    async fn vote(&self, _: &str, _: wire::VoteRequest) -> Result<wire::VoteResponse, PeerError> {
        unreachable!()
    }
    async fn pre_vote(&self, _: &str, _: wire::PreVoteRequest) -> Result<wire::PreVoteResponse, PeerError> {
        unreachable!()
    }
    async fn install_snapshot(
        &self,
        _: &str,
        _: stream::BoxStream<'static, wire::InstallSnapshotRequest>,
    ) -> Result<wire::InstallSnapshotResponse, PeerError> {
        unreachable!()
    }
    async fn transfer_leader(
        &self,
        _: &str,
        _: wire::TransferLeaderRequest,
    ) -> Result<wire::TransferLeaderResponse, PeerError> {
        unreachable!()
    }
    async fn probe(&self, _: &str, _: wire::ProbeRequest) -> Result<wire::ProbeResponse, PeerError> {
        unreachable!()
    }
    async fn join(&self, _: &str, _: wire::JoinRequest) -> Result<wire::JoinResponse, PeerError> {
        unreachable!()
    }
    async fn read_index(&self, _: &str, _: wire::ReadIndexRequest) -> Result<wire::ReadIndexResponse, PeerError> {
        unreachable!()
    }
    async fn snapshot_turn(
        &self,
        _: &str,
        _: wire::SnapshotTurnRequest,
    ) -> Result<wire::SnapshotTurnResponse, PeerError> {
        unreachable!()
    }
}

/// openraft #2116 begins with a second installation while the first one is under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_snapshot_at_a_time_and_a_damaged_one_changes_nothing() {
    let net = Net::default();
    let nodes = three(&net).await;
    let leads = leader(&nodes, &[0, 1, 2]).await;
    nodes[leads].group().propose(pack("mine")).await.unwrap();
    let follower = (leads + 1) % 3;
    until("it has it", || nodes[follower].packs() == [pack("mine")]).await;
    let handler = net.handler(THREE[follower]);
    let leader = nodes[leads].group().status().leader.unwrap();
    let head = wire::SnapshotHead {
        envelope: Some(nodes[leads].envelope_to(&nodes[follower])),
        ballot: Some(wire::Ballot { term: leader.term, node: leader.node, committed: true }),
        progress: nodes[leads].disk.lock().progress.clone().unwrap().0,
    };
    let part = |part| Ok(wire::InstallSnapshotRequest { part: Some(part) });
    let frame = |ordinal, data: &'static [u8], crc| {
        Part::Frame(wire::SnapshotFrame { ordinal, data: Bytes::from_static(data), crc })
    };
    let crc = crc32fast::hash(b"........pack");

    let (parts, first) = mpsc::unbounded();
    parts.unbounded_send(part(Part::Head(head.clone()))).unwrap();
    parts.unbounded_send(part(frame(0, b"........pack", crc))).unwrap();
    let first = tokio::spawn({
        let handler = handler.clone();
        async move { handler.install_snapshot(first.boxed()).await }
    });
    let receiving = nodes[follower].group().inner.receiving.clone();
    until("it receives", || receiving.available_permits() == 0).await;
    let second = handler.install_snapshot(stream::iter([part(Part::Head(head.clone()))]).boxed()).await;
    assert!(matches!(second, Err(PeerError::Busy(_))), "{second:?}");
    drop(parts);
    assert!(matches!(first.await.unwrap(), Err(PeerError::Unreachable(_))));
    until("it is ready for another", || receiving.available_permits() == 1).await;

    let damaged = [
        vec![frame(0, b"........pack", crc ^ 1)],
        vec![frame(1, b"........pack", crc)],
        vec![frame(0, b"........pack", crc), Part::End(wire::SnapshotEnd { frames: 2 })],
        vec![Part::Head(head.clone())],
    ];
    for parts in damaged {
        until("it is ready for another", || receiving.available_permits() == 1).await;
        let parts = [Part::Head(head.clone())].into_iter().chain(parts).map(part);
        let refused = handler.install_snapshot(stream::iter(parts.collect::<Vec<_>>()).boxed()).await;
        assert!(matches!(refused, Err(PeerError::Refused { refusal: Refusal::Malformed, .. })), "{refused:?}");
    }
    assert_eq!(nodes[follower].packs(), [pack("mine")]);
    assert_eq!(nodes[follower].disk.lock().installed, 0);
    nodes[leads].group().propose(pack("still there")).await.unwrap();
    until("it follows", || nodes[follower].packs().len() == 2).await;
}
