//! Authorizations on a stream: each item on its own, whatever its neighbours do (R19).

use std::{collections::HashMap, time::Duration};

use prost::Message as _;
use switch_proto::gateway::v1::{self as pb, Decision, authorize_stream_response::Answer};
use switch_tests::{
    load::Pace,
    sandbox::cards,
    stage::{self, Load, SOON},
    workload::Mix,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

#[tokio::test(flavor = "multi_thread")]
async fn r19_an_item_fails_by_itself_and_only_a_broken_frame_ends_the_stream() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    let gateway = cluster.gateway("shop");
    let follower = cluster.wait_leader(SOON).await?.node % 3 + 1;
    let (items, queue) = mpsc::channel(16);
    let mut answers = gateway.raw(follower).authorize_stream(ReceiverStream::new(queue)).await?.into_inner();

    let item = |request: pb::AuthorizeRequest, timeout_ms| pb::AuthorizeStreamRequest {
        request: Some(request),
        timeout_ms,
        traceparent: String::new(),
    };
    let paid = |key: &str| stage::payment(key, cards::APPROVED_VISA, 700);
    items.send(item(paid("good"), 10_000)).await?;
    items.send(item(pb::AuthorizeRequest { amount: None, ..paid("bad") }, 10_000)).await?;
    items.send(item(paid("timeless"), 0)).await?;
    items.send(item(stage::payment("declined", cards::DECLINED, 700), 10_000)).await?;
    let mut told = HashMap::new();
    for _ in 0..4 {
        let answer = next(&mut answers).await?.expect("an answer for each item");
        told.insert(answer.request_id, answer.answer.expect("an answer"));
    }
    assert_eq!(refused(&told["bad"])?, (Code::InvalidArgument, "FIELD_MISSING".to_owned()));
    assert_eq!(refused(&told["timeless"])?, (Code::InvalidArgument, "DEADLINE_MISSING".to_owned()));
    let good = approved(&told["good"])?;
    assert_eq!(stage::decision(&good), Decision::Approved);
    assert_eq!(stage::decision(&approved(&told["declined"])?), Decision::Declined);

    // One key is one request, on a stream or alone.
    let again = gateway.authorize(paid("good")).await?;
    assert!(again.replayed && again.transaction_id == good.transaction_id, "{again:?}");

    // What came before a frame that is none is answered; then the stream ends, by name.
    items.send(item(paid("last"), 10_000)).await?;
    let oversize = pb::AuthorizeRequest { merchant_reference: "r".repeat(20_000), ..paid("oversize") };
    items.send(item(oversize, 10_000)).await?;
    let last = next(&mut answers).await?.expect("what was in flight is answered");
    assert_eq!(last.request_id, "last");
    let ended = next(&mut answers).await.expect_err("the stream ends");
    assert_eq!(stage::reason(&ended), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE".to_owned()));
    cluster.judge().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn r19_streams_go_on_over_transfers_and_over_a_node_that_leaves() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    let gateway = cluster.gateway("shop").streaming(2);
    let load = Load::of(&gateway, 11, Mix::everyday(), Pace::Open { per_second: 60.0, in_flight_max: 2000 });
    load.approves(30).await?;
    for _ in 0..3 {
        let leader = cluster.wait_leader(SOON).await?.node;
        cluster.transfer(leader % 3 + 1).await?;
        load.approves(load.figures.counts().approved + 30).await?;
    }
    let leader = cluster.wait_leader(SOON).await?.node;
    cluster.node(leader).terminate()?;
    load.approves(load.figures.counts().approved + 60).await?;
    let counts = load.end().await?.counts();
    assert_eq!(counts.outcome_unknown, 0, "{counts:?}");
    cluster.judge().await.map(drop)
}

async fn next(
    answers: &mut tonic::Streaming<pb::AuthorizeStreamResponse>,
) -> Result<Option<pb::AuthorizeStreamResponse>, Status> {
    let late = |_| Status::deadline_exceeded("the stream says nothing");
    tokio::time::timeout(Duration::from_secs(15), answers.message()).await.map_err(late)?
}

fn approved(answer: &Answer) -> anyhow::Result<pb::OperationResult> {
    match answer {
        Answer::Response(response) => Ok(response.result.clone().unwrap_or_default()),
        Answer::Status(_) => anyhow::bail!("an error: {:?}", refused(answer)?),
    }
}

/// The code and the reason of a `google.rpc.Status`.
fn refused(answer: &Answer) -> anyhow::Result<(Code, String)> {
    let Answer::Status(bytes) = answer else { anyhow::bail!("no error: {answer:?}") };
    let status = tonic_types::pb::Status::decode(bytes.clone())?;
    let status = Status::with_details(Code::from_i32(status.code), status.message, bytes.clone());
    Ok((status.code(), status.get_details_error_info().map(|info| info.reason).unwrap_or_default()))
}
