use metrics_exporter_prometheus::PrometheusBuilder;
use switch_consensus::LeaderId as Leader;
use switch_domain::{
    directory::{Change, DirectoryCommand, Gateway},
    id::{GatewayId, RequestId},
};

use super::*;
use crate::storage::MemoryStore;

struct Clock;

impl WallClock for Clock {
    fn now(&self) -> LogTime {
        LogTime(1_790_000_000_000)
    }
}

const LEADER: Leader = Leader { term: 3, node: 42 };

fn open(store: &MemoryStore, distrusted_term: Option<u64>) -> Result<BookMachine, MachineFault> {
    BookMachine::open(Box::new(store.clone()), Shared::new(7, 1), Arc::new(Clock), distrusted_term)
}

/// A change of the directory, whose reply is the version it makes.
fn pack(index: u64, applied: Option<Mark>) -> Committed {
    let gateway = Gateway {
        id: GatewayId::parse("shop").expect("an id"),
        principals: vec![format!("spiffe://test/gateway/{index}")],
        enabled: true,
        merchants: Default::default(),
        limits: Default::default(),
        requests_per_second: 0,
        burst: 0,
        concurrent: 0,
        require_sealed: false,
    };
    changes(index, &format!("change-{index}"), vec![Change::PutGateway(gateway)], applied)
}

/// A call of an operator's, under a key.
fn changes(index: u64, key: &str, changes: Vec<Change>, applied: Option<Mark>) -> Committed {
    let request_id = RequestId::parse(key).expect("a key");
    let command = DirectoryCommand { request_id, author: "ops".into(), expected_version: 0, changes };
    let body = PackBody::Directory(Box::new(command));
    let pack = Pack { incarnation: 9, first_ticket: index, log_time: LogTime(index), body, applied };
    Committed::Pack { index, leader: LEADER, payload: codec::encode_pack(&pack) }
}

fn apply(machine: &mut BookMachine, entries: Vec<Committed>) -> Result<(), MachineFault> {
    let last = entries.last().map_or(0, Committed::index);
    machine.apply(entries, Progress(last.to_be_bytes().to_vec().into()))
}

/// A replica's table with some changes in it, and where it stands.
fn replica() -> (MemoryStore, Mark) {
    let store = MemoryStore::new();
    let mut machine = open(&store, None).expect("a new store");
    apply(&mut machine, vec![pack(1, None), pack(2, None)]).expect("applied");
    let mark = machine.shared.mark();
    (store, mark)
}

/// Takes the second change out of the table, as damage would.
fn tamper(store: &MemoryStore) {
    let mut rows = Rows::new(Box::new(store.clone()));
    let Ok(Some(Row::Directory(mut directory))) = rows.get(&Key::Directory) else { panic!("a directory") };
    directory.version -= 1;
    rows.put(Key::Directory, Row::Directory(directory));
    rows.commit().expect("committed");
}

/// Where the leader stands after the third change.
fn leader_after_the_third() -> Mark {
    let (store, _) = replica();
    let mut leader = open(&store, None).expect("its own store");
    apply(&mut leader, vec![pack(3, None)]).expect("applied");
    leader.shared.mark()
}

/// A fault there was: changes that were refused stood in the trail for ever, however many there were, and those of a second call
/// under the same key did not.
#[test]
fn of_changes_that_were_refused_the_trail_keeps_each_call_with_their_number_and_their_hash() {
    let mut machine = open(&MemoryStore::new(), None).expect("a new store");
    let refused = || vec![Change::SetRetentionDays(1), Change::SetRetentionDays(2)];
    apply(&mut machine, vec![changes(1, "again", refused(), None), changes(2, "again", refused(), None)])
        .expect("applied");
    for number in [1, 2] {
        let Ok(Some(Row::AuditRecord(record))) = machine.rows.get(&Key::AuditRecord(number)) else {
            panic!("no record")
        };
        assert_eq!((record.entry.stage, record.entry.call), (Stage::Refused, OperatorCall { boot: 9, number }));
        let Act::ChangeDirectory(act) = record.entry.act else { panic!("another act") };
        let kept = codec::refused_changes(refused());
        assert_eq!((act.changes.len(), act.replaced.len(), act.refused), (0, 0, Some(kept)));
        assert_eq!(kept.count, 2);
    }
    assert_ne!(codec::refused_changes(refused()), codec::refused_changes(vec![Change::SetRetentionDays(1); 2]));
}

#[test]
fn s11_replicas_that_agree_go_on_also_within_one_batch() {
    let (store, mark) = replica();
    let third = leader_after_the_third();
    let mut machine = open(&store, None).expect("a good store");
    apply(&mut machine, vec![pack(3, None), pack(4, Some(third)), pack(5, Some(mark))]).expect("no difference");
    assert_eq!(machine.shared.applied(), 5);
}

#[test]
fn s11_a_replica_that_differs_stops_and_stays_away() {
    let (store, _) = replica();
    tamper(&store);
    let third = leader_after_the_third();
    let mut machine = open(&store, None).expect("nothing shows yet");
    let fault = apply(&mut machine, vec![pack(3, None), pack(4, Some(third))]).expect_err("it differs").to_string();
    assert!(fault.contains("differs from node 000000000000002a, the leader of term 3, at entry 3"), "{fault}");
    assert!(fault.contains("--distrust-term 3"), "{fault}");
    assert_eq!(machine.shared.applied(), 2, "nothing of the batch is told");

    let again = open(&store, None).err().expect("it does not come back by itself").to_string();
    assert_eq!(again, fault);
    let other_term = open(&store, Some(2)).err().expect("another leader's word was not asked for").to_string();
    assert_eq!(other_term, fault);
}

#[test]
fn s11_an_operator_may_decide_that_the_leader_was_wrong() {
    let (store, _) = replica();
    let wrong = Mark { hash: [9; 32], ..leader_after_the_third() };
    let entries = || vec![pack(3, None), pack(4, Some(wrong))];
    let mut machine = open(&store, None).expect("a good store");
    apply(&mut machine, entries()).expect_err("one of the two is wrong");

    let mut machine = open(&store, Some(LEADER.term)).expect("the operator decided");
    apply(&mut machine, entries()).expect("what that leader says is not compared");
    let mut machine = open(&store, None).expect("decided for good");
    apply(&mut machine, vec![pack(5, Some(wrong))]).expect("nor later");
}

#[test]
fn s11_what_was_applied_before_this_process_cannot_be_compared() {
    let (store, mark) = replica();
    let unknown = Mark { applied: mark.applied - 1, hash: [9; 32] };
    let mut machine = open(&store, None).expect("a good store");
    apply(&mut machine, vec![pack(3, Some(unknown))]).expect("skipped");
}

/// Takes a whole state in, up to where it would be adopted.
fn receive(machine: &mut BookMachine, state: &dyn SnapshotView) -> Box<dyn SnapshotSink> {
    let mut sink = machine.install().expect("a place beside the state");
    for frame in state.frames() {
        sink.frame(frame.expect("a frame")).expect("taken");
    }
    sink
}

#[test]
fn a_snapshot_that_arrives_is_counted_as_installed_or_as_failed() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let page = recorder.handle();
    let _recorded = metrics::set_default_local_recorder(&recorder);
    let transfers = |result: &str| {
        let series = format!("payswitch_snapshot_transfers_total{{direction=\"received\",result=\"{result}\"}} ");
        let page = page.render();
        page.lines().find_map(|line| line.strip_prefix(&series).map(str::to_owned))
    };
    let (store, mark) = replica();
    let state = open(&store, None).expect("a good store").snapshot().expect("a view");
    let mut machine = open(&MemoryStore::new(), None).expect("a new store");

    drop(receive(&mut machine, &*state));
    assert_eq!((transfers("installed"), transfers("failed")), (None, Some("1".to_owned())), "its sender broke off");
    let sink = receive(&mut machine, &*state);
    machine.adopt(sink, state.progress()).expect("adopted");
    assert_eq!((transfers("installed"), transfers("failed")), (Some("1".to_owned()), Some("1".to_owned())));
    assert_eq!(machine.shared.mark(), mark);
}
