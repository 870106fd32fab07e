//! Power that fails under all nodes at once: an ext4 that forgets what no sync has written.

use std::time::Instant;

use switch_tests::{
    stage::{self, Load},
    workload::Mix,
};

use crate::{PACE, judge, mount::Disk};

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_under_all_three_nodes_loses_and_doubles_nothing() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let disk = Disk::ext4()?;
    let cluster = stage::three().start().await?;
    for node in cluster.nodes() {
        disk.house(&cluster, node.number())?;
    }
    cluster.start_all()?;
    cluster.ready().await?;
    let load = Load::of(&cluster.gateway("shop"), 15, Mix::mixed(), PACE);
    for round in 1..=3 {
        load.approves(round * 40).await?;
        disk.lose_power()?;
        cluster.kill_all();
        disk.power()?;
        let powered = Instant::now();
        cluster.start_all()?;
        println!("payments flow {:?} after the power is back", load.flows(powered).await?);
        cluster.ready().await?;
    }
    judge(cluster, load).await
}
