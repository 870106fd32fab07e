//! A replica that computes something else than the leader stops itself (S11).

use std::path::Path;

use anyhow::Context as _;
use switch_domain::table::{Key, Row, Table as _};
use switch_node::storage::{FjallStore, Rows};
use switch_proto::operator::v1::{DirectoryChange, directory_change::Change};
use switch_tests::{
    eventually::eventually,
    sandbox::cards,
    stage::{self, CANNOT_GO_ON, CANNOT_START, SOON},
};

#[tokio::test(flavor = "multi_thread")]
async fn s11_a_replica_with_a_damaged_table_stops_for_good_and_the_others_go_on() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    // Who leads decides whose word counts: with the damaged one as leader, the two others would be those that differ.
    let cluster = stage::three().election_ms(250, 3000, 5000).start().await?;
    let gateway = cluster.gateway("shop");
    gateway.authorize(stage::payment("before", cards::APPROVED_VISA, 1000)).await?;
    let leader = cluster.wait_leader(SOON).await?.node;
    let damaged = leader % 3 + 1;
    cluster.kill9(damaged);
    damage(&cluster.node(damaged).data_dir().join("table"))?;
    cluster.node(damaged).start()?;
    cluster.ready().await.context("nothing shows before the damage changes an outcome")?;

    // The damaged replica finds another version to reply than the others.
    let shop = cluster.directory().gateways.iter().find(|known| known.gateway_id == "shop").cloned();
    let change = DirectoryChange { change: Some(Change::PutGateway(shop.context("the shop")?)) };
    cluster.change_directory("the-same-again", vec![change]).await?;
    // The next packs carry what the leader made of it.
    let mut payments = 0;
    while cluster.node(damaged).runs() && payments < PAYMENTS_MAX {
        payments += 1;
        gateway.authorize(stage::payment(&format!("after-{payments}"), cards::APPROVED_VISA, 1000)).await?;
    }
    stage::ends(&cluster, damaged, CANNOT_GO_ON, "this replica differs from node").await?;
    cluster.node(damaged).start()?;
    stage::ends(&cluster, damaged, CANNOT_START, "--distrust-term").await?;

    cluster.retire(damaged);
    eventually(SOON, "payments flow", || async {
        gateway.authorize(stage::payment("without-it", cards::APPROVED_VISA, 1000)).await
    })
    .await?;
    cluster.judge().await.map(drop)
}

/// Far more than the packs that lie between a state and the pack that carries its hash.
const PAYMENTS_MAX: u32 = 100;

/// Writes another version of the directory into a table, as memory or a disk may.
fn damage(table: &Path) -> anyhow::Result<()> {
    let mut rows = Rows::new(Box::new(FjallStore::open(table)?));
    let Some(Row::Directory(mut directory)) = rows.get(&Key::Directory)? else { anyhow::bail!("no directory") };
    directory.version += 7;
    rows.put(Key::Directory, Row::Directory(directory));
    rows.commit()?;
    Ok(rows.persist()?)
}
