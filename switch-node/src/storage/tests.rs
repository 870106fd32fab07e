//! Goal: the typed table over a store is the table of the model, whatever the batch; a crash takes commits from the end and
//! nothing else; a replacement is there whole or not at all.
//!
//! Method: both stores go through the same steps. A crash of the disk store is an image: its directory is copied while it is
//! open, as a kill would leave it, and the copy is opened.

use std::{
    collections::BTreeMap,
    fs,
    ops::Bound::{Excluded, Included, Unbounded},
    path::Path,
};

use proptest::{collection::vec, prelude::*};
use switch_domain::{
    id::{GatewayId, NetworkId, Position},
    money::Amount,
    table::{Key, MemoryTable, Row, Table as _},
    time::LogTime,
};
use tempfile::TempDir;

use super::{
    FjallStore, MemoryStore, Rows, Store, StoreFault, StoreReplacement, StoreView, Stored, Write,
    disk::install::Replacement, frames, frames::FrameParser, limits,
};
use crate::codec::tests::{a_transaction, strategies};

fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn open(path: &Path) -> FjallStore {
    FjallStore::open(path).expect("a store")
}

fn put(key: &str, value: &str) -> Write {
    (key.into(), Some(value.into()))
}

fn remove(key: &str) -> Write {
    (key.into(), None)
}

fn text(bytes: &Stored) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

fn pairs(rows: &[(Stored, Stored)]) -> Vec<String> {
    rows.iter().map(|(key, value)| format!("{}={}", text(key), text(value))).collect()
}

fn all(store: &dyn Store) -> Vec<String> {
    pairs(&store.range(Unbounded, Unbounded, usize::MAX).expect("rows"))
}

fn viewed(view: &dyn StoreView) -> Vec<String> {
    pairs(&view.rows().collect::<Result<Vec<_>, _>>().expect("rows"))
}

/// What a kill leaves.
fn image(of: &Path) -> TempDir {
    let copy = directory();
    copy_into(of, copy.path());
    copy
}

fn copy_into(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let (kind, target) = (entry.file_type().expect("its type"), to.join(entry.file_name()));
        if kind.is_dir() {
            fs::create_dir(&target).expect("a directory");
            copy_into(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

fn table_directories(path: &Path) -> Vec<String> {
    let names = fs::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry").file_name());
    let mut tables: Vec<String> =
        names.filter_map(|name| name.into_string().ok()).filter(|name| name.starts_with("table-")).collect();
    tables.sort();
    tables
}

fn both_stores(check: impl Fn(&mut dyn Store)) {
    check(&mut MemoryStore::new());
    let directory = directory();
    check(&mut open(directory.path()));
}

#[test]
fn commits_are_read_in_order_from_both_ends() {
    both_stores(|store| {
        store.commit(vec![put("b", "1"), put("a", "1"), put("d", "1")]).expect("a commit");
        store.commit(vec![put("c", "2"), put("b", "2"), remove("d"), remove("nothing")]).expect("a commit");
        assert_eq!(all(store), ["a=1", "b=2", "c=2"]);
        assert_eq!(store.get(b"b").expect("a read").as_deref(), Some(&b"2"[..]));
        assert_eq!(store.get(b"d").expect("a read"), None);
        let range = |from, to, limit| pairs(&store.range(from, to, limit).expect("rows"));
        assert_eq!(range(Included(b"a"), Excluded(b"c"), 9), ["a=1", "b=2"]);
        assert_eq!(range(Excluded(b"a"), Unbounded, 1), ["b=2"]);
        assert_eq!(range(Included(b"c"), Included(b"a"), 9), [""; 0]);
        assert_eq!(range(Excluded(b"a"), Excluded(b"a"), 9), [""; 0]);
        let back = store.range_back(Included(b"a"), Excluded(b"c"), 1).expect("rows");
        assert_eq!(pairs(&back), ["b=2"]);
    });
}

#[test]
fn a_view_does_not_see_later_commits() {
    both_stores(|store| {
        store.commit(vec![put("a", "1"), put("b", "1")]).expect("a commit");
        let view = store.view().expect("a view");
        store.commit(vec![put("a", "2"), remove("b"), put("c", "2")]).expect("a commit");
        assert_eq!(viewed(view.as_ref()), ["a=1", "b=1"]);
        assert_eq!(viewed(view.as_ref()), ["a=1", "b=1"]); // from the start again
        assert_eq!(viewed(store.view().expect("a view").as_ref()), ["a=2", "c=2"]);
    });
}

#[test]
fn a_store_that_was_closed_holds_everything() {
    let directory = directory();
    let mut store = open(directory.path());
    store.commit(vec![put("a", "1")]).expect("a commit");
    store.persist().expect("durable");
    store.commit(vec![put("b", "2")]).expect("a commit");
    drop(store);
    assert_eq!(all(&open(directory.path())), ["a=1", "b=2"]);
}

#[test]
fn a_torn_journal_loses_whole_commits_from_the_end() {
    let directory = directory();
    let mut store = open(directory.path());
    let mut prefixes = vec![vec![]];
    for number in 0..5 {
        let (a, b) = (format!("a{number}"), format!("b{number}"));
        store.commit(vec![put(&a, "x"), put(&b, "y"), put("last", &number.to_string())]).expect("a commit");
        prefixes.push(all(&store));
    }
    let journal =
        fs::read_dir(directory.path().join("table-0")).expect("the table").map(|entry| entry.expect("it").path());
    let journal = journal.filter(|path| path.extension().is_some_and(|extension| extension == "jnl"));
    let journal = journal.max().expect("the journal");
    let used = fs::read(&journal).expect("its bytes");
    let used = used.iter().rposition(|byte| *byte != 0).expect("something in it") + 1;
    let mut seen = BTreeMap::new();
    for cut in (0..=used).step_by(7) {
        let image = image(directory.path());
        let torn = image.path().join(journal.strip_prefix(directory.path()).expect("inside"));
        fs::OpenOptions::new().write(true).open(torn).expect("the journal").set_len(cut as u64).expect("cut");
        let found = all(&open(image.path()));
        let place = prefixes.iter().position(|prefix| *prefix == found);
        seen.insert(place.unwrap_or_else(|| panic!("cut at {cut}: {found:?} is no prefix")), cut);
    }
    assert!(seen.len() >= 4, "{seen:?}");
}

#[test]
fn a_crash_of_the_memory_store_takes_commits_from_the_end() {
    for (keep, expected) in [(0, vec!["a=1"]), (1, vec!["a=2"]), (2, vec!["a=2", "b=3"]), (9, vec!["a=2", "b=3"])] {
        let mut node = MemoryStore::new();
        let mut simulation = node.clone();
        node.commit(vec![put("a", "1")]).expect("a commit");
        node.persist().expect("durable");
        node.commit(vec![put("a", "2")]).expect("a commit");
        node.commit(vec![put("b", "3")]).expect("a commit");
        drop(node);
        assert_eq!(simulation.unpersisted(), 2);
        simulation.crash(keep);
        assert_eq!(all(&simulation), expected);
        assert_eq!(simulation.unpersisted(), 0);
        simulation.crash(0);
        assert_eq!(all(&simulation), expected, "what a crash left stays");
    }
}

#[test]
fn a_table_without_a_current_file_is_refused() {
    let directory = directory();
    drop(open(directory.path()));
    let current = directory.path().join("CURRENT");
    for damage in [None, Some(""), Some("table-x\n"), Some("table-0"), Some("table-7\n")] {
        match damage {
            None => fs::remove_file(&current).expect("removed"),
            Some(text) => fs::write(&current, text).expect("damaged"),
        }
        // What follows a damaged name must not be a start with nothing; keep the table for the next round.
        let kept = image(directory.path());
        let found = FjallStore::open(kept.path()).err();
        assert!(matches!(found, Some(StoreFault::Current { .. })), "{damage:?}: {found:?}");
    }
}

/// The frames of a table of two rows, one of them longer than a frame.
fn two_rows() -> Vec<Vec<u8>> {
    let mut source = MemoryStore::new();
    let long = "z".repeat(2 * limits::FRAME_BYTES_MAX);
    source.commit(vec![put("n", "new"), put("o", &long)]).expect("a commit");
    let view = source.view().expect("a view");
    frames(view.as_ref()).map(|frame| frame.expect("a frame").to_vec()).collect()
}

fn fill(replacement: &mut dyn StoreReplacement) {
    for frame in two_rows() {
        replacement.frame(&frame).expect("a frame");
    }
}

fn names(rows: &[String]) -> Vec<&str> {
    rows.iter().map(|row| &row[..row.len().min(5)]).collect()
}

#[test]
fn frames_are_bounded_and_put_together_again() {
    let cut = two_rows();
    assert_eq!(cut.iter().map(Vec::len).max(), Some(limits::FRAME_BYTES_MAX));
    assert_eq!(cut.len(), 3);
    let mut parser = FrameParser::default();
    let mut rows = Vec::new();
    for piece in cut.concat().chunks(300_007) {
        rows.extend(parser.push(piece).expect("a frame"));
    }
    parser.finish().expect("the end");
    assert_eq!(names(&pairs(&rows)), ["n=new", "o=zzz"]);
}

#[test]
fn frames_that_are_no_table_are_refused() {
    let fault = |bytes: &[u8]| {
        let mut parser = FrameParser::default();
        let pushed = parser.push(bytes).map(|_| ());
        match pushed.and_then(|()| parser.finish()) {
            Err(StoreFault::Snapshot(why)) => why,
            other => panic!("{other:?}"),
        }
    };
    let whole = two_rows().concat();
    assert_eq!(fault(&whole[..whole.len() - 1]), "it ends within a row");
    assert_eq!(fault(&whole[..3]), "it ends within a row");
    assert_eq!(fault(&[whole.as_slice(), &whole].concat()), "its keys do not ascend");
    assert_eq!(fault(&[0; 8]), "a row has an impossible length");
    assert_eq!(fault(&[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]), "a row has an impossible length");
}

#[test]
fn a_replacement_takes_the_place_for_readers_and_for_the_next_start() {
    let directory = directory();
    let mut stores: Vec<(Box<dyn Store>, Option<&Path>)> =
        vec![(Box::new(MemoryStore::new()), None), (Box::new(open(directory.path())), Some(directory.path()))];
    for (store, path) in &mut stores {
        store.commit(vec![put("a", "old"), put("n", "old")]).expect("a commit");
        let reader = store.reader();
        let view = store.view().expect("a view");
        let mut replacement = store.replace().expect("a replacement");
        fill(replacement.as_mut());
        assert_eq!(all(store.as_ref()), ["a=old", "n=old"], "not before it is adopted");
        replacement.adopt(vec![(b"p".to_vec(), b"progress".to_vec())]).expect("adopted");
        assert_eq!(names(&all(store.as_ref())), ["n=new", "o=zzz", "p=pro"]);
        store.commit(vec![remove("o"), put("q", "later")]).expect("a commit");
        assert_eq!(all(store.as_ref()), ["n=new", "p=progress", "q=later"]);
        assert_eq!(viewed(view.as_ref()), ["a=old", "n=old"], "a view outlives the table");
        assert_eq!(reader.get(&Key::Clock).expect("a read"), None);
        if let Some(path) = path {
            assert_eq!(table_directories(path), ["table-0", "table-1"]);
            drop(view);
            assert_eq!(table_directories(path), ["table-1"], "the old one goes with its last reader");
        }
    }
    drop(stores);
    assert_eq!(all(&open(directory.path())), ["n=new", "p=progress", "q=later"]);
}

#[test]
fn a_replacement_that_is_dropped_leaves_nothing() {
    let directory = directory();
    let mut store = open(directory.path());
    store.commit(vec![put("a", "old")]).expect("a commit");
    let mut first = store.replace().expect("a replacement");
    fill(first.as_mut());
    let mut second = store.replace().expect("another, before the first is gone");
    drop(first);
    fill(second.as_mut());
    drop(second);
    assert_eq!(table_directories(directory.path()), ["table-0"]);
    assert_eq!(all(&store), ["a=old"]);
}

#[test]
fn an_incomplete_snapshot_is_not_adopted() {
    both_stores(|store| {
        store.commit(vec![put("a", "old")]).expect("a commit");
        let mut replacement = store.replace().expect("a replacement");
        replacement.frame(&two_rows()[0]).expect("a frame");
        let found = replacement.adopt(vec![]).err();
        assert!(matches!(found, Some(StoreFault::Snapshot("it ends within a row"))), "{found:?}");
        assert_eq!(all(store), ["a=old"]);
    });
}

#[test]
fn a_crash_at_any_step_of_an_install_leaves_the_old_table_or_the_new_one() {
    let directory = directory();
    let path = directory.path();
    let mut store = open(path);
    store.commit(vec![put("a", "old")]).expect("a commit");

    let mut images = vec![(image(path), false)];
    let mut replacement = Replacement::begin(store.place()).expect("a replacement");
    images.push((image(path), false));
    fill(&mut replacement);
    images.push((image(path), false));
    replacement.complete(vec![(b"p".to_vec(), b"progress".to_vec())]).expect("complete");
    images.push((image(path), false));
    fs::write(path.join("CURRENT.tmp"), "table-").expect("a torn write");
    images.push((image(path), false));
    let reader = store.view().expect("a view that keeps the old table");
    replacement.switch().expect("the switch");
    images.push((image(path), true));
    assert_eq!(table_directories(path), ["table-0", "table-1"]);
    drop(reader);
    images.push((image(path), true));

    for (step, (image, new)) in images.iter().enumerate() {
        let mut after = open(image.path());
        let expected = if *new { vec!["n=new", "o=zzz", "p=pro"] } else { vec!["a=old"] };
        assert_eq!(names(&all(&after)), expected, "crash at step {step}");
        assert_eq!(table_directories(image.path()).len(), 1, "crash at step {step}");
        // And it goes on from there.
        let mut again = after.replace().expect("a replacement");
        fill(again.as_mut());
        again.adopt(vec![]).expect("adopted");
        drop(after);
        assert_eq!(names(&all(&open(image.path()))), ["n=new", "o=zzz"], "crash at step {step}");
    }
}

/// A few keys of several tables, so that operations meet.
fn near_key() -> impl Strategy<Value = Key> {
    let gateway = |text: &str| GatewayId::parse(text).expect("a gateway");
    let network = |text: &str| NetworkId::parse(text).expect("a network");
    prop_oneof![
        Just(a_transaction().0),
        (0..4_u64).prop_map(move |index| Key::Event(gateway("a"), Position { index, place: 0 })),
        (0..2_u64).prop_map(move |index| Key::Event(gateway("a-b"), Position { index, place: 0 })),
        Just(Key::NextRrn),
        "[a-c]".prop_map(move |text| Key::Doubt(network(&text))),
        Just(Key::Clock),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Put(Key, Row),
    Delete(Key),
    Get(Key),
    Range(Option<(Key, bool)>, Option<(Key, bool)>, usize),
    Commit,
}

fn step() -> impl Strategy<Value = Step> {
    let bound = || proptest::option::of((near_key(), any::<bool>()));
    prop_oneof![
        4 => near_key().prop_flat_map(|key| { let row = strategies::row_of(&key); (Just(key), row) })
            .prop_map(|(key, row)| Step::Put(key, row)),
        2 => near_key().prop_map(Step::Delete),
        2 => near_key().prop_map(Step::Get),
        3 => (bound(), bound(), 0..6_usize).prop_map(|(from, to, limit)| Step::Range(from, to, limit)),
        1 => Just(Step::Commit),
    ]
}

fn bound(of: &Option<(Key, bool)>) -> std::ops::Bound<&Key> {
    match of {
        None => Unbounded,
        Some((key, true)) => Included(key),
        Some((key, false)) => Excluded(key),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn rows_are_the_table_of_the_model(steps in vec(step(), 1..60)) {
        let store = MemoryStore::new();
        let reader = store.reader();
        let mut rows = Rows::new(Box::new(store));
        rows.put_raw(&[0xff, 1], b"the journal's own".to_vec());
        let mut model = MemoryTable::default();
        let mut committed = MemoryTable::default();
        for step in steps {
            match step {
                Step::Put(key, row) => {
                    rows.put(key.clone(), row.clone());
                    model.put(key, row);
                }
                Step::Delete(key) => {
                    rows.delete(key.clone());
                    model.delete(key);
                }
                Step::Get(key) => {
                    prop_assert_eq!(rows.get(&key), model.get(&key));
                    prop_assert_eq!(reader.get(&key), committed.get(&key));
                }
                Step::Range(from, to, limit) => {
                    let (from, to) = (bound(&from), bound(&to));
                    if let (Included(a) | Excluded(a), Included(b) | Excluded(b)) = (from, to)
                        && (a > b || a == b && (from, to) != (Included(a), Included(b)))
                    {
                        prop_assert_eq!(rows.range(from, to, limit), Ok(vec![])); // the model panics
                        continue;
                    }
                    prop_assert_eq!(rows.range(from, to, limit), model.range(from, to, limit));
                    prop_assert_eq!(reader.range(from, to, limit), committed.range(from, to, limit));
                    let mut back = committed.range(from, to, usize::MAX).expect("the model");
                    back.reverse();
                    back.truncate(limit);
                    prop_assert_eq!(reader.range_back(from, to, limit), Ok(back));
                }
                Step::Commit => {
                    rows.commit().expect("a commit");
                    committed = model.clone();
                }
            }
        }
        rows.commit().expect("a commit");
        prop_assert_eq!(rows.range(Unbounded, Unbounded, usize::MAX), model.range(Unbounded, Unbounded, usize::MAX));
        let own = rows.raw(&[0xff, 1]).expect("a read");
        prop_assert_eq!(own.as_deref(), Some(&b"the journal's own"[..]));
    }
}

#[test]
fn what_was_kept_in_memory_is_forgotten_with_the_old_table() {
    let (key, row) = a_transaction();
    let mut rows = Rows::new(Box::new(MemoryStore::new()));
    rows.put(key.clone(), row.clone());
    rows.commit().expect("a commit");
    assert_eq!(rows.get(&key), Ok(Some(row)));
    rows.put(Key::Clock, Row::Time(LogTime(7))); // not committed
    let replacement = rows.replace().expect("a replacement");
    rows.adopt(replacement, vec![]).expect("adopted");
    assert_eq!(rows.get(&key), Ok(None));
    assert_eq!(rows.get(&Key::Clock), Ok(None));
}

#[test]
fn a_damaged_row_is_a_fault_and_not_a_missing_row() {
    let mut store = MemoryStore::new();
    let key = crate::codec::encode_key(&Key::Clock);
    store.commit(vec![(key, Some(crate::codec::encode_row(&Row::Sum(Amount::ZERO))))]).expect("a commit");
    let fault = "table: the row does not belong under its key";
    assert_eq!(store.reader().get(&Key::Clock).map_err(|fault| fault.0), Err(fault.to_owned()));
    assert_eq!(Rows::new(Box::new(store)).get(&Key::Clock).map_err(|fault| fault.0), Err(fault.to_owned()));
}
