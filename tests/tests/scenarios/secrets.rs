//! Card data is nowhere but where it is sent and sealed (R7). Every run is searched for it when it ends; this one pays with
//! every card in every form and breaks what carries them.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
};

use switch_proto::gateway::v1 as pb;
use switch_tests::{
    gateway_client::GatewayClient,
    load::Pace,
    sandbox::cards,
    stage::{self, Load, SOON},
    workload::{Mix, plastic},
};

#[tokio::test(flavor = "multi_thread")]
async fn no_card_data_stands_in_data_logs_metrics_or_error_texts() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().log_level("trace").start().await?;
    let gateway = cluster.gateway("shop");
    let mut answers = Vec::new();
    for (n, card) in cards::ALL.iter().enumerate() {
        let disturbs = [cards::SIGN_OFF, cards::CUT, cards::UNDECODABLE].contains(&card.number);
        // Parked for ever, or denied: the other scenarios judge those.
        let owes =
            [cards::REVERSAL_REFUSED, cards::REVERSAL_NOT_FOUND, cards::REVERSAL_NEVER_ANSWERED, cards::ADVICE_REFUSED];
        let request = stage::payment(&format!("card-{n}"), card.number, 1000);
        let request = in_a_form(request, card.number, n);
        let told = stage::shop_at(&cluster, n % 3 + 1).authorize(request.clone()).await;
        let approved = told.as_ref().ok().filter(|told| stage::outcome(told).approved_amount.is_some());
        if let Some(told) = approved.filter(|_| !owes.contains(&card.number)) {
            let taken =
                gateway.capture(stage::capture(&format!("card-{n}-take"), &told.transaction_id, 300, true)).await;
            let back = gateway.refund(stage::refund(&format!("card-{n}-back"), &told.transaction_id, 100)).await;
            answers.extend([taken, back].map(|told| format!("{told:?}")));
        }
        answers.push(format!("{told:?}"));
        answers.extend(refused_with(&gateway, request, n).await);
        if disturbs {
            cluster.ready().await?;
        }
    }
    let load = Load::of(&gateway, 11, Mix::mixed(), Pace::Open { per_second: 40.0, in_flight_max: 1000 });
    load.approves(80).await?;
    // A new leader takes reversals over; its log must be as clean.
    let leader = cluster.wait_leader(SOON).await?;
    let killed = std::time::Instant::now();
    cluster.kill9(leader.node);
    load.flows(killed).await?;
    cluster.restart(leader.node)?;
    cluster.ready().await?;
    load.end().await?;
    for node in cluster.nodes() {
        let mut request = tonic::Request::new(switch_proto::operator::v1::TriggerSnapshotRequest {});
        request.set_timeout(SOON);
        node.operator().cluster().trigger_snapshot(request).await?;
    }
    let report = cluster.audit().await?;
    assert!(report.is_valid(), "{}", report.in_words());
    fs::write(cluster.folder().join("answers.txt"), answers.join("\n"))?;
    let logs: u64 = cluster.nodes().iter().map(|node| fs::metadata(node.log()).map_or(0, |known| known.len())).sum();
    assert!(logs > 1 << 20, "logs at TRACE are longer than {logs} bytes");
    cluster.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_in_one_line_of_one_log_fails_the_run() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let folder = tempfile::tempdir()?;
    let cluster = stage::three().folder(folder.path()).start().await?;
    cluster.gateway("shop").authorize(stage::payment("paid", cards::APPROVED_VISA, 1000)).await?;
    cluster.rest().await?;
    let log = cluster.node(2).log();
    writeln!(OpenOptions::new().append(true).open(&log)?, "card {} is declined", cards::LATE)?;
    let found = format!("{:#}", cluster.close().await.expect_err("card data stands in a log"));
    assert!(found.contains(&format!("{}: LATE, 1 times", log.display())), "{found}");
    assert!(!found.contains(cards::LATE), "what is found is shown");
    assert_eq!(found.lines().count(), 2, "{found}");
    Ok(())
}

/// The card in one of the forms that carry what must never be kept; one in five is authenticated on a page too.
fn in_a_form(request: pb::AuthorizeRequest, number: &str, n: usize) -> pb::AuthorizeRequest {
    let card = match n % 5 {
        1 => plastic::swiped(number),
        2 => plastic::chip(number, false),
        3 => plastic::wallet(number),
        _ => plastic::keyed(number),
    };
    let request = pb::AuthorizeRequest { card: Some(card), ..request };
    if n % 5 != 4 {
        return request;
    }
    let three_d_secure = Some(plastic::three_d_secure());
    pb::AuthorizeRequest { three_d_secure, entry_mode: pb::EntryMode::Ecommerce.into(), ..request }
}

/// The same card in requests that are refused: with its number in a text, with a wrong digit, under a known key.
async fn refused_with(gateway: &GatewayClient, request: pb::AuthorizeRequest, n: usize) -> Vec<String> {
    let number = cards::ALL[n].number;
    let spoilt = [
        pb::AuthorizeRequest {
            request_id: format!("text-{n}"),
            merchant_reference: number.to_owned(),
            ..request.clone()
        },
        pb::AuthorizeRequest { request_id: format!("{number}-{n}"), ..request.clone() },
        pb::AuthorizeRequest {
            request_id: format!("long-{n}"),
            card: Some(plastic::keyed(&format!("{number}00000000"))),
            ..request.clone()
        },
        pb::AuthorizeRequest { amount: Some(stage::euros(7)), ..request },
    ];
    let mut answers = Vec::new();
    for request in spoilt {
        // Not recorded: the history is written where the search looks, and holds what gateways know.
        let mut timed = tonic::Request::new(request);
        timed.set_timeout(gateway.patience().call);
        match gateway.raw(n % 3 + 1).authorize(timed).await {
            Ok(answer) => answers.push(format!("{:?}", answer.into_inner())),
            Err(status) => gateway.history().hear(&status),
        }
    }
    answers
}
