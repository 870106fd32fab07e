//! One AuthorizeStream: many authorizations on it, answered in any order.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use prost::Message;
use switch_proto::gateway::v1::{self as pb, authorize_stream_response::Answer};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::Shared;

/// Items that may wait to be written; the switch bounds what is in flight by not reading.
const QUEUE_MAX: usize = 1024;

type Told = Result<pb::OperationResult, Status>;
type Item = (pb::AuthorizeStreamRequest, oneshot::Sender<Told>);
/// Who waits for the answers to a request_id, in the order of asking.
type Waiting = Mutex<HashMap<String, VecDeque<oneshot::Sender<Told>>>>;

/// A stream that opens itself again after it was cut. Dropping it ends it.
pub(super) struct Lane {
    items: mpsc::Sender<Item>,
    task: JoinHandle<()>,
}

impl Lane {
    pub(super) fn open(shared: Arc<Shared>, number: usize) -> Self {
        let (items, queue) = mpsc::channel(QUEUE_MAX);
        Self { items, task: tokio::spawn(run(shared, number, queue)) }
    }

    pub(super) async fn authorize(&self, request: &pb::AuthorizeRequest, within: Duration) -> Told {
        let (told, answer) = oneshot::channel();
        let timeout_ms = u32::try_from(within.as_millis()).unwrap_or(u32::MAX);
        let item =
            pb::AuthorizeStreamRequest { request: Some(request.clone()), timeout_ms, traceparent: String::new() };
        let wait = async {
            self.items.send((item, told)).await.map_err(|_| Status::unavailable("the stream has ended"))?;
            answer.await.unwrap_or_else(|_| Err(Status::unavailable("the stream was cut")))
        };
        match tokio::time::timeout(within + Duration::from_millis(500), wait).await {
            Ok(told) => told,
            Err(_) => Err(Status::deadline_exceeded("no answer from the switch")),
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(shared: Arc<Shared>, number: usize, mut queue: mpsc::Receiver<Item>) {
    // A stream is opened for the first item that needs it, and again for the first one after it was cut.
    while let Some(first) = queue.recv().await {
        let waiting = Waiting::default();
        let node = shared.leader.load(Ordering::Relaxed);
        let ended = exchange(&shared, node, number, first, &mut queue, &waiting).await;
        let status = ended.err().unwrap_or_else(|| Status::unavailable("the switch ended the stream"));
        if !shared.follow_error(&status) && status.code() == Code::Unavailable {
            shared.look_elsewhere(node);
        }
        for waiter in waiting.into_inner().into_values().flatten() {
            // Whatever ended the stream, nobody knows about what was on it.
            let _ = waiter.send(Err(Status::unavailable(status.message())));
        }
    }
}

/// One stream from its opening to its end.
async fn exchange(
    shared: &Shared,
    node: usize,
    number: usize,
    first: Item,
    queue: &mut mpsc::Receiver<Item>,
    waiting: &Waiting,
) -> Result<(), Status> {
    let channels = &shared.nodes[node].channels;
    let channel = channels[number % channels.len()].clone();
    let mut client = pb::authorization_service_client::AuthorizationServiceClient::new(channel);
    let (out, outgoing) = mpsc::channel(QUEUE_MAX);
    let put = async |(item, told): Item| {
        let key = item.request.as_ref().map(|request| request.request_id.clone()).unwrap_or_default();
        waiting.lock().entry(key).or_default().push_back(told);
        out.send(item).await.map_err(|_| Status::unavailable("the stream was cut"))
    };
    put(first).await?;
    let answers = client.authorize_stream(ReceiverStream::new(outgoing)).await?;
    shared.follow(answers.metadata());
    let mut answers = answers.into_inner();
    let write = async {
        while let Some(item) = queue.recv().await {
            put(item).await?;
        }
        Err(Status::cancelled("nobody sends any more"))
    };
    let read = async {
        while let Some(answer) = answers.message().await? {
            tell(waiting, answer);
        }
        Ok(())
    };
    tokio::select! {
        biased;
        ended = read => ended,
        ended = write => ended,
    }
}

/// Hands an answer to the first caller that still waits for it.
fn tell(waiting: &Waiting, answer: pb::AuthorizeStreamResponse) {
    let mut told = match answer.answer {
        Some(Answer::Response(response)) => response.result.ok_or_else(|| Status::internal("an answer without one")),
        Some(Answer::Status(bytes)) => Err(status(bytes)),
        None => Err(Status::internal("an answer without one")),
    };
    let mut waiting = waiting.lock();
    let Some(queue) = waiting.get_mut(&answer.request_id) else { return };
    while let Some(waiter) = queue.pop_front() {
        // A caller that gave up hands the answer back.
        match waiter.send(told) {
            Ok(()) => break,
            Err(back) => told = back,
        }
    }
    if queue.is_empty() {
        waiting.remove(&answer.request_id);
    }
}

/// A status that travelled as bytes, with its details.
fn status(bytes: bytes::Bytes) -> Status {
    match tonic_types::pb::Status::decode(bytes.clone()) {
        Ok(status) => Status::with_details(Code::from(status.code), status.message, bytes),
        Err(error) => Status::internal(format!("a status that is none: {error}")),
    }
}
