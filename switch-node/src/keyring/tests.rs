use std::collections::BTreeMap;

use switch_consensus::{Group, GroupOptions, GrpcWire, Identity, Member, MemberRecord, Parts, log::memory::MemoryLog};
use switch_domain::time::LogTime;
use tokio_util::task::TaskTracker;

use super::*;
use crate::{
    journal::{BookMachine, WallClock, shared::Shared},
    security::keys::{self, FileKeys, Purpose},
    storage::{MemoryStore, Store as _},
};

const POLICY: KeyPolicy = KeyPolicy {
    card_period: Duration::from_secs(600),
    sealing_period: Duration::from_secs(1_800),
    sealing_overlap: Duration::from_secs(100),
};

/// A cluster of one node, in memory, and a directory with its key files.
struct Alone {
    files: tempfile::TempDir,
    journal: Journal,
    group: Group,
    identity: Identity,
}

impl Alone {
    /// The node, which leads nothing yet.
    async fn start() -> Self {
        let files = tempfile::tempdir().expect("a directory");
        keys::generate(files.path()).expect("keys");
        let mut numbers = 1_u64..;
        let identity = Identity::new(|| numbers.next().expect("endless"));
        let exit: Arc<dyn Fn(&str) + Send + Sync> = Arc::new(|reason| panic!("{reason}"));
        let shared = Shared::new(identity.node_id, 7);
        let store = MemoryStore::new();
        let reader = store.reader();
        let machine = BookMachine::open(Box::new(store), shared.clone(), Arc::new(Clock), None).expect("a new store");
        let parts = Parts {
            log: Arc::new(MemoryLog::new(Arc::new(|| Duration::from_millis(1)))),
            machine: Box::new(machine),
            wire: Arc::new(GrpcWire::new(Arc::new(|_| unreachable!("nobody else is there")))),
            keep_identity: Arc::new(|_| Ok(())),
            exit: exit.clone(),
        };
        let options = GroupOptions { apply_inline: true, ..GroupOptions::new(identity, 7, 1) };
        let group = Group::start(options, parts).await.expect("started");
        let journal = Journal::start(group.clone(), shared, reader, exit, &TaskTracker::new());
        Self { files, journal, group, identity }
    }

    /// The node, which leads.
    async fn leading() -> Self {
        let alone = Self::start().await;
        let record = MemberRecord {
            peer_address: "alone:1".into(),
            store_id: alone.identity.store_id,
            ..MemberRecord::default()
        };
        let member = Member { node_id: alone.identity.node_id, record };
        alone.group.bootstrap(9, vec![member]).await.expect("an empty disk");
        let mut reign = alone.journal.watch_reign();
        let reigns = reign.wait_for(Option::is_some);
        tokio::time::timeout(Duration::from_secs(10), reigns).await.expect("an election ends").expect("the node runs");
        alone
    }

    /// The keys of a process that starts now, and who keeps them.
    fn keeper(&self) -> Arc<Keeper> {
        let store = FileKeys::open(self.files.path()).expect("keys");
        let keys = Arc::new(DataKeys::new(Arc::new(store), self.journal.shared().keyring.subscribe()));
        Keeper::new(self.journal.clone(), keys.clone(), Arc::new(Vault::new(keys)), POLICY)
    }

    /// How many keys of each purpose were ever made.
    fn made(&self) -> BTreeMap<KeyPurpose, u32> {
        let keyring = self.journal.shared().keyring.borrow().clone();
        KeyPurpose::ALL.into_iter().map(|purpose| (purpose, keyring.next_version(purpose) - 1)).collect()
    }

    fn incarnations(&self) -> u64 {
        self.journal.shared().keyring.borrow().incarnations
    }
}

/// A wall clock that stands still: periods are of log time, which goes on by itself (R8).
struct Clock;

impl WallClock for Clock {
    fn now(&self) -> LogTime {
        LogTime(1_790_000_000_000)
    }
}

fn made(card: u32, sealing: u32) -> BTreeMap<KeyPurpose, u32> {
    BTreeMap::from([(KeyPurpose::Card, card), (KeyPurpose::Sealing, sealing)])
}

#[tokio::test(start_paused = true)]
async fn r7_a_node_that_does_not_lead_owes_the_keyring_nothing() {
    let alone = Alone::start().await;
    let keeper = alone.keeper();
    assert_eq!(keeper.tend().await, LOOK_EVERY);
    assert_eq!((alone.made(), alone.incarnations()), (made(0, 0), 0));
    assert!(!keeper.vault.is_incarnated());
}

#[tokio::test(start_paused = true)]
async fn r7_a_new_leader_may_seal_and_makes_the_first_key_of_each_purpose_once() {
    let alone = Alone::leading().await;
    let keeper = alone.keeper();
    for _ in 0..2 {
        assert_eq!(keeper.tend().await, LOOK_EVERY);
        assert_eq!((alone.made(), alone.incarnations()), (made(1, 1), 1));
    }
    assert!(keeper.vault.is_incarnated());
    assert_eq!(keeper.keys.open_all(), Ok(()));

    // Another process gets another number, and finds the keys made.
    let next = alone.keeper();
    assert_eq!(next.tend().await, LOOK_EVERY);
    assert_eq!((alone.made(), alone.incarnations()), (made(1, 1), 2));
}

#[tokio::test(start_paused = true)]
async fn r7_a_key_is_replaced_when_its_period_is_over_and_not_before() {
    let alone = Alone::leading().await;
    let keeper = alone.keeper();
    keeper.tend().await;
    tokio::time::sleep(POLICY.card_period - Duration::from_secs(1)).await;
    keeper.tend().await;
    assert_eq!(alone.made(), made(1, 1));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(keeper.tend().await, LOOK_EVERY);
    assert_eq!(alone.made(), made(2, 1), "each purpose has a period of its own");
    assert!(keeper.keys.card(1).is_ok() && keeper.keys.card(2).is_ok(), "the one before it still opens");

    tokio::time::sleep(POLICY.sealing_period).await;
    keeper.tend().await;
    assert_eq!(alone.made(), made(3, 2), "one that is late is not made up for");
    let published = || {
        let keyring = keeper.keys.keyring();
        keyring.published(alone.journal.log_time()).map(|key| key.version).collect::<Vec<_>>()
    };
    assert_eq!(published(), [2, 1], "gateways may use both");
    tokio::time::sleep(POLICY.sealing_overlap).await;
    assert_eq!(published(), [2], "until the overlap is over");
}

#[tokio::test(start_paused = true)]
async fn r7_what_cannot_be_made_holds_nothing_else_up() {
    let alone = Alone::leading().await;
    let behind = alone.keeper();
    keys::generate_version(alone.files.path(), Purpose::Wrapping, 2).expect("a key");
    let asked = Asked { wrapping_version: 2, author: "spiffe://test/operator/ann".into(), ..Asked::default() };
    assert_eq!(alone.keeper().rotate(KeyPurpose::Card, asked).await, Ok(1));
    tokio::time::sleep(POLICY.card_period).await;

    // The next card key would be wrapped under a key that this node lacks.
    let lacks = KeyFault::UnknownVersion(Purpose::Wrapping, 2);
    assert_eq!(behind.renew(KeyPurpose::Card).await, Err(RotateFault::Key(lacks)));
    assert_eq!(behind.tend().await, LOOK_EVERY, "trying again at once would not help");
    assert_eq!((alone.made(), alone.incarnations()), (made(1, 1), 1));
    assert!(behind.vault.is_incarnated());
}

#[tokio::test(start_paused = true)]
async fn r7_a_node_says_that_every_key_opens_once_there_are_some_and_they_do() {
    let alone = Alone::leading().await;
    let (keeper, behind) = (alone.keeper(), alone.keeper());
    let wrapping = keeper.keys.held();
    assert_eq!(keeper.open(), wrapping, "no key came here yet");
    assert_eq!(*keeper.watch_fault().borrow(), None, "and none is missed");
    keeper.tend().await;
    assert_eq!(keeper.open(), [wrapping.clone(), vec![WHOLE.to_owned()]].concat());

    keys::generate_version(alone.files.path(), Purpose::Wrapping, 2).expect("a key");
    let asked = Asked { wrapping_version: 2, ..Asked::default() };
    assert_eq!(alone.keeper().rotate(KeyPurpose::Card, asked).await, Ok(2));
    assert_eq!(behind.open(), [wrapping, vec![SHUT.to_owned()]].concat(), "one key does not open");
    assert_eq!(*behind.watch_fault().borrow(), Some(KeyFault::UnknownVersion(Purpose::Wrapping, 2)));
}

#[tokio::test(start_paused = true)]
async fn r7_two_that_tend_at_once_make_one_key() {
    let alone = Alone::leading().await;
    let (one, other) = (alone.keeper(), alone.keeper());
    let pauses = <[Duration; 2]>::from(tokio::join!(one.tend(), other.tend()));
    assert!(pauses.contains(&RETRY_AFTER), "whoever was second looks again soon: {pauses:?}");
    assert_eq!((alone.made(), alone.incarnations()), (made(1, 1), 2));
    assert_eq!((one.tend().await, other.tend().await), (LOOK_EVERY, LOOK_EVERY));
    assert_eq!(alone.made(), made(1, 1));
}

#[tokio::test(start_paused = true)]
async fn r7_what_was_lost_is_looked_at_again_soon() {
    let alone = Alone::leading().await;
    let keeper = alone.keeper();
    alone.group.shutdown().await;
    assert_eq!(keeper.tend().await, RETRY_AFTER);
    assert_eq!(alone.made(), made(0, 0));
    assert!(!keeper.vault.is_incarnated(), "a number that was not committed is nobody's");
}

#[tokio::test(start_paused = true)]
async fn r7_keys_are_replaced_without_anybody_asking() {
    let alone = Alone::leading().await;
    let keeper = alone.keeper();
    let mut keyring = keeper.keys.watch();
    let kept = tokio::spawn(keeper.run());
    let replaced = keyring.wait_for(|keyring| keyring.next_version(KeyPurpose::Card) == 4);
    tokio::time::timeout(2 * POLICY.card_period + 3 * LOOK_EVERY, replaced).await.expect("in time").expect("it runs");
    kept.abort();
    assert_eq!(alone.made(), made(3, 1));
}
