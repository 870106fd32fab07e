use std::{future, time::Duration};

use bytes::Bytes;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use switch_proto::peer::v1::{Accepted, Entry, LogId, SnapshotEnd, SnapshotFrame, SnapshotHead};

use super::*;
use crate::telemetry;

/// A member, and what it does with calls.
#[derive(Clone, Copy)]
enum Member {
    /// Answers each append and each snapshot after a time.
    Answers(Duration),
    /// Lacks an entry, and says so at once.
    Lacks,
    /// Takes everything and says nothing.
    Silent,
    /// Follows a later leader.
    Follows(Ballot),
    /// Cannot be reached.
    Away,
}

impl Member {
    async fn installs(self, parts: BoxStream<'static, InstallSnapshotRequest>) -> Result<Option<Ballot>, PeerError> {
        let parts: Vec<_> = parts.collect().await;
        match self {
            Self::Answers(after) => {
                tokio::time::sleep(after).await;
                Ok(ballot(parts[0].part.as_ref()))
            }
            Self::Follows(other) => Ok(Some(other)),
            Self::Silent => future::pending().await,
            Self::Lacks | Self::Away => away(),
        }
    }
}

fn away<T>() -> Result<T, PeerError> {
    Err(PeerError::Unreachable("away".into()))
}

#[async_trait]
impl PeerWire for Member {
    async fn stream_append(
        &self,
        _: &str,
        requests: BoxStream<'static, StreamAppendRequest>,
    ) -> Result<Appended, PeerError> {
        let answer = |outcome| Ok(StreamAppendResponse { outcome: Some(outcome) });
        match *self {
            Self::Answers(after) => Ok(requests
                .then(move |_| async move {
                    tokio::time::sleep(after).await;
                    answer(Outcome::Accepted(Accepted { matched: None }))
                })
                .boxed()),
            Self::Lacks => {
                let refused = requests.ready_chunks(8).map(move |_| answer(Outcome::Conflict(LogId::default())));
                Ok(refused.take(1).boxed())
            }
            Self::Silent => Ok(requests.then(|_| future::pending()).boxed()),
            Self::Follows(_) | Self::Away => away(),
        }
    }

    async fn install_snapshot(
        &self,
        _: &str,
        parts: BoxStream<'static, InstallSnapshotRequest>,
    ) -> Result<InstallSnapshotResponse, PeerError> {
        Ok(InstallSnapshotResponse { ballot: self.installs(parts).await? })
    }

    async fn vote(&self, _: &str, _: VoteRequest) -> Result<VoteResponse, PeerError> {
        away()
    }

    async fn pre_vote(&self, _: &str, _: PreVoteRequest) -> Result<PreVoteResponse, PeerError> {
        away()
    }

    async fn transfer_leader(&self, _: &str, _: TransferLeaderRequest) -> Result<TransferLeaderResponse, PeerError> {
        away()
    }

    async fn probe(&self, _: &str, _: ProbeRequest) -> Result<ProbeResponse, PeerError> {
        away()
    }

    async fn join(&self, _: &str, _: JoinRequest) -> Result<JoinResponse, PeerError> {
        away()
    }

    async fn read_index(&self, _: &str, _: ReadIndexRequest) -> Result<ReadIndexResponse, PeerError> {
        away()
    }

    async fn snapshot_turn(&self, _: &str, _: SnapshotTurnRequest) -> Result<SnapshotTurnResponse, PeerError> {
        away()
    }
}

/// Where a test counts, apart from every other.
fn recorder() -> (PrometheusRecorder, PrometheusHandle) {
    let recorder = PrometheusBuilder::new().build_recorder();
    let page = recorder.handle();
    (recorder, page)
}

/// The values of these series on the page.
fn shown<const N: usize>(page: &PrometheusHandle, series: [&str; N]) -> [f64; N] {
    let page = page.render();
    series.map(|series| {
        let value = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {series} on\n{page}")).parse().expect("a number")
    })
}

const MEMBER: u64 = 0xab;
const FAILED_HEARTBEATS: &str = "payswitch_raft_peer_failures_total{member=\"00000000000000ab\",kind=\"heartbeat\"}";
const FAILED_ENTRIES: &str = "payswitch_raft_peer_failures_total{member=\"00000000000000ab\",kind=\"entries\"}";
const HEARTBEATS: &str = "payswitch_raft_peer_round_trip_seconds_count{member=\"00000000000000ab\",kind=\"heartbeat\"}";
const HEARTBEATS_TOOK: &str =
    "payswitch_raft_peer_round_trip_seconds_sum{member=\"00000000000000ab\",kind=\"heartbeat\"}";
const ENTRIES: &str = "payswitch_raft_peer_round_trip_seconds_count{member=\"00000000000000ab\",kind=\"entries\"}";

fn heartbeat() -> StreamAppendRequest {
    StreamAppendRequest {
        envelope: Some(Envelope { to_node: MEMBER, ..Envelope::default() }),
        ..StreamAppendRequest::default()
    }
}

fn entries() -> StreamAppendRequest {
    StreamAppendRequest { entries: vec![Entry::default()], ..heartbeat() }
}

/// Sends all of it and takes every answer there is, for as long as a heartbeat may take.
async fn append(member: Member, requests: Vec<StreamAppendRequest>) -> usize {
    let wire = ObservedWire::new(Arc::new(member));
    let answers = async {
        match wire.stream_append("peer:1", stream::iter(requests).boxed()).await {
            Ok(answers) => answers.count().await,
            Err(_) => 0,
        }
    };
    tokio::time::timeout(Duration::from_millis(100), answers).await.unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn an_append_that_is_answered_is_timed_by_its_kind() {
    let (recorder, page) = recorder();
    let _recorded = metrics::set_default_local_recorder(&recorder);
    telemetry::peer_known(MEMBER);
    let quick = Member::Answers(Duration::from_millis(4));
    assert_eq!(append(quick, vec![heartbeat()]).await, 1);
    assert_eq!(append(quick, vec![entries(), entries(), entries()]).await, 3);
    assert_eq!(shown(&page, [HEARTBEATS, HEARTBEATS_TOOK, ENTRIES]), [1.0, 0.004, 3.0]);
    assert_eq!(shown(&page, [FAILED_HEARTBEATS, FAILED_ENTRIES]), [0.0, 0.0]);
}

#[tokio::test(start_paused = true)]
async fn what_a_member_leaves_unanswered_is_one_failure_a_call() {
    let (recorder, page) = recorder();
    let _recorded = metrics::set_default_local_recorder(&recorder);
    telemetry::peer_known(MEMBER);
    append(Member::Silent, vec![heartbeat()]).await;
    assert_eq!(shown(&page, [FAILED_HEARTBEATS, FAILED_ENTRIES]), [1.0, 0.0]);
    append(Member::Away, vec![heartbeat()]).await;
    append(Member::Away, vec![entries()]).await;
    append(Member::Silent, vec![entries(), entries()]).await;
    assert_eq!(shown(&page, [FAILED_HEARTBEATS, FAILED_ENTRIES]), [2.0, 2.0]);
    assert_eq!(shown(&page, [HEARTBEATS, ENTRIES]), [0.0, 0.0]);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_lacks_an_entry_has_answered() {
    let (recorder, page) = recorder();
    let _recorded = metrics::set_default_local_recorder(&recorder);
    telemetry::peer_known(MEMBER);
    assert_eq!(append(Member::Lacks, vec![entries(), entries()]).await, 1);
    assert_eq!(shown(&page, [ENTRIES, FAILED_ENTRIES]), [1.0, 0.0]);
}

const SENT: &str = "payswitch_snapshot_transfers_total{direction=\"sent\",result=\"installed\"}";
const FAILED: &str = "payswitch_snapshot_transfers_total{direction=\"sent\",result=\"failed\"}";
const BYTES: &str = "payswitch_snapshot_transfer_bytes_total{direction=\"sent\"}";
const TOOK: &str = "payswitch_snapshot_transfer_seconds_sum{direction=\"sent\"}";
const LEADER: Ballot = Ballot { term: 3, node: 1, committed: true };

/// Sends a snapshot of 3,000 bytes, and gives it up after a minute.
async fn send(member: Member) {
    let frame = |ordinal, bytes| Part::Frame(SnapshotFrame { ordinal, data: Bytes::from(vec![0; bytes]), crc: 0 });
    let head = SnapshotHead { ballot: Some(LEADER), ..SnapshotHead::default() };
    let parts = [Part::Head(head), frame(0, 2_000), frame(1, 1_000), Part::End(SnapshotEnd { frames: 2 })];
    let parts = parts.map(|part| InstallSnapshotRequest { part: Some(part) });
    let wire = ObservedWire::new(Arc::new(member));
    let sent = wire.install_snapshot("peer:1", stream::iter(parts).boxed());
    drop(tokio::time::timeout(Duration::from_secs(60), sent).await);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_counted_with_its_bytes_and_its_end() {
    let (recorder, page) = recorder();
    let _recorded = metrics::set_default_local_recorder(&recorder);
    telemetry::describe();
    assert_eq!(shown(&page, [SENT, FAILED, BYTES, TOOK]), [0.0; 4], "there before the first");
    send(Member::Answers(Duration::from_secs(2))).await;
    assert_eq!(shown(&page, [SENT, FAILED, BYTES, TOOK]), [1.0, 0.0, 3_000.0, 2.0]);
    send(Member::Follows(Ballot { term: 4, node: 2, committed: true })).await;
    send(Member::Away).await;
    send(Member::Silent).await;
    assert_eq!(shown(&page, [SENT, FAILED, TOOK]), [1.0, 3.0, 2.0]);
}
