//! What the disks of nodes that have ended hold, read as the nodes themselves read it.

use std::{collections::BTreeMap, ops::Bound, path::Path};

use switch_consensus::{Body, DiskLog, WriteAheadLog as _};
use switch_domain::table::{Key, Row};
use switch_node::{
    codec::{PackBody, decode_pack},
    storage::{FjallStore, MemoryStore, Reader, Store as _},
};
use switch_tests::harness::Node;

/// Every row of a node's table.
pub(super) fn table(node: &Node) -> anyhow::Result<BTreeMap<Key, Row>> {
    rows(&FjallStore::open(&node.data_dir().join("table"))?.reader())
}

/// Every row of a snapshot, from its frames in their order.
pub(super) fn snapshot(frames: &[bytes::Bytes]) -> anyhow::Result<BTreeMap<Key, Row>> {
    let mut store = MemoryStore::default();
    let mut taken = store.replace()?;
    for frame in frames {
        taken.frame(frame)?;
    }
    taken.adopt(Vec::new())?;
    rows(&store.reader())
}

/// Every pack in a node's log, committed or not, in order.
pub(super) fn packs(node: &Node) -> anyhow::Result<Vec<PackBody>> {
    let packs = entries(&node.data_dir().join("log"))?.into_iter().filter_map(|body| match body {
        Body::Pack(pack) => Some(pack),
        Body::Blank | Body::Membership(_) => None,
    });
    packs.map(|pack| Ok(decode_pack(&pack)?.body)).collect()
}

fn rows(reader: &Reader) -> anyhow::Result<BTreeMap<Key, Row>> {
    let mut rows = BTreeMap::new();
    loop {
        let from = rows.last_key_value().map_or(Bound::Unbounded, |(last, _): (&Key, &Row)| Bound::Excluded(last));
        let more = reader.range(from, Bound::Unbounded, 1_000)?;
        if more.is_empty() {
            return Ok(rows);
        }
        rows.extend(more);
    }
}

fn entries(log: &Path) -> anyhow::Result<Vec<Body>> {
    let log = DiskLog::open(log)?;
    let state = log.state();
    let first = state.purged.map_or(0, |purged| purged.index + 1);
    let end = state.last.map_or(0, |last| last.index + 1);
    let (mut bodies, mut next) = (Vec::new(), first);
    while next < end {
        let read = log.read(next..end, 1 << 20)?;
        anyhow::ensure!(!read.is_empty(), "the log has a gap at {next}");
        next += read.len() as u64;
        bodies.extend(read.into_iter().map(|entry| entry.body));
    }
    Ok(bodies)
}
