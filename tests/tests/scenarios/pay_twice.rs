//! What `helm test` runs, on a real cluster: the command line is the one of the chart's pod.

use std::process::Stdio;

use anyhow::Context as _;
use switch_tests::{
    harness::{Cluster, directory::merchants_of},
    multicall,
    sandbox::cards,
    stage::{self, SOON},
};

#[tokio::test(flavor = "multi_thread")]
async fn the_test_of_a_release_passes_where_one_key_is_one_payment_and_fails_in_words_where_none_is()
-> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    cluster.wait_leader(SOON).await?;
    let (code, said) = pay_twice(&cluster, &merchants_of("shop")[0]).await?;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("one payment, told twice"), "{said}");
    // Somebody else's merchant.
    let (code, said) = pay_twice(&cluster, &merchants_of("market")[0]).await?;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the first payment was not answered"), "{said}");
    assert!(!said.contains(cards::APPROVED_VISA));
    cluster.close().await
}

async fn pay_twice(cluster: &Cluster, merchant: &str) -> anyhow::Result<(Option<i32>, String)> {
    let tls = cluster.gateway_tls("shop").context("the shop")?;
    let mut command = tokio::process::Command::new(multicall::program()?);
    command
        .args(["pay-twice", "--endpoint", cluster.node(1).gateway_address()])
        .arg("--certificate")
        .arg(&tls.certificate)
        .arg("--key")
        .arg(&tls.key)
        .arg("--roots")
        .arg(&tls.roots)
        .args(["--merchant", merchant])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(SOON * 3, command.output()).await.context("the payments do not end")??;
    Ok((output.status.code(), String::from_utf8(output.stderr)?))
}
