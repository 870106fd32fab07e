use std::{collections::HashMap, sync::Mutex};

use switch_proto::operator::v1::{
    self as pb,
    directory_service_client::DirectoryServiceClient,
    directory_service_server::{DirectoryService, DirectoryServiceServer},
};
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic_types::{ErrorDetails, StatusExt as _};

use super::*;

/// A node that says what it is told to say, and notes the keys it saw.
#[derive(Clone, Default)]
struct Node {
    answers: Arc<Mutex<VecDeque<Result<u64, Status>>>>,
    keys: Arc<Mutex<Vec<String>>>,
}

#[tonic::async_trait]
impl DirectoryService for Node {
    async fn get_directory(
        &self,
        _: Request<pb::GetDirectoryRequest>,
    ) -> Result<Response<pb::GetDirectoryResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn explain_route(
        &self,
        _: Request<pb::ExplainRouteRequest>,
    ) -> Result<Response<pb::ExplainRouteResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn apply_directory(
        &self,
        request: Request<pb::ApplyDirectoryRequest>,
    ) -> Result<Response<pb::ApplyDirectoryResponse>, Status> {
        assert!(request.metadata().contains_key("grpc-timeout"));
        self.keys.lock().expect("no panic").push(request.into_inner().request_id);
        let answer = self.answers.lock().expect("no panic").pop_front();
        let version = answer.unwrap_or_else(|| Err(Status::internal("asked too often")))?;
        Ok(Response::new(pb::ApplyDirectoryResponse { version }))
    }
}

impl Node {
    async fn start(answers: Vec<Result<u64, Status>>) -> (Self, String) {
        let node = Self { answers: Arc::new(Mutex::new(answers.into())), ..Self::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let server = tonic::transport::Server::builder().add_service(DirectoryServiceServer::new(node.clone()));
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        (node, address)
    }

    fn asked(&self) -> usize {
        self.keys.lock().expect("no panic").len()
    }
}

fn status(code: Code, reason: &str, values: &[(&str, &str)]) -> Status {
    let values: HashMap<String, String> = values.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Status::with_error_details(code, "because", ErrorDetails::with_error_info(reason, "payswitch", values))
}

/// Without TLS: that has its own tests with real nodes.
fn session(endpoints: &[&str]) -> Session {
    let dial: Dial = Arc::new(|address: String| {
        Box::pin(async move {
            let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
            let away = |_| Failure::local(Exit::Connect, "NOT_REACHED", format!("{address} is away"));
            endpoint.connect().await.map_err(away)
        })
    });
    Session::over(endpoints.iter().map(|endpoint| (*endpoint).to_owned()).collect(), dial, Duration::from_secs(5))
}

async fn apply(session: &Session) -> Result<u64, Failure> {
    let message = pb::ApplyDirectoryRequest {
        request_id: session.request_id().to_owned(),
        ..pb::ApplyDirectoryRequest::default()
    };
    let ask = async |channel, request| DirectoryServiceClient::new(channel).apply_directory(request).await;
    Ok(session.change(message, ask).await?.version)
}

/// An address that nobody listens at.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("bound").to_string()
}

#[tokio::test]
async fn the_leader_is_followed_past_a_node_that_is_away_with_one_key() {
    let (leader, at) = Node::start(vec![Ok(7)]).await;
    let elsewhere = status(Code::Unavailable, "NOT_LEADER", &[("leader_address", &at)]);
    let (follower, asked) = Node::start(vec![Err(elsewhere)]).await;
    let session = session(&[&nobody().await, &asked]);
    assert_eq!(apply(&session).await, Ok(7));
    assert_eq!((follower.asked(), leader.asked()), (1, 1));
    assert_eq!(*leader.keys.lock().expect("no panic"), [session.request_id()]);
}

#[tokio::test]
async fn an_election_is_waited_for() {
    let (node, at) = Node::start(vec![Err(status(Code::Unavailable, "NO_LEADER", &[])), Ok(8)]).await;
    assert_eq!(apply(&session(&[&at])).await, Ok(8));
    assert_eq!(node.asked(), 2);
}

#[tokio::test]
async fn a_refusal_is_final() {
    let (first, at) = Node::start(vec![Err(status(Code::FailedPrecondition, "VERSION_MISMATCH", &[]))]).await;
    let (second, other) = Node::start(vec![Ok(1)]).await;
    let failure = apply(&session(&[&at, &other])).await.expect_err("refused");
    assert_eq!(failure.exit, Exit::Precondition);
    assert_eq!((first.asked(), second.asked()), (1, 0));
}

#[tokio::test]
async fn a_change_whose_answer_was_lost_is_not_made_again() {
    let (first, at) = Node::start(vec![Err(Status::unavailable("connection reset"))]).await;
    let (second, other) = Node::start(vec![Ok(1)]).await;
    let failure = apply(&session(&[&at, &other])).await.expect_err("lost");
    assert_eq!(failure.exit, Exit::Timeout);
    assert_eq!((first.asked(), second.asked()), (1, 0));
}

#[tokio::test]
async fn nobody_there_is_an_exit_code_of_its_own() {
    let failure = apply(&session(&[&nobody().await])).await.expect_err("nobody");
    assert_eq!(failure.exit, Exit::Connect);
}

#[test]
fn a_read_goes_elsewhere_where_a_change_does_not() {
    let cut = Status::unavailable("connection reset");
    assert_eq!((next(Sort::Read, &cut), next(Sort::Change, &cut)), (Next::Elsewhere, Next::Lost));
    assert_eq!(next(Sort::Read, &Status::deadline_exceeded("late")), Next::Told);
    assert_eq!(next(Sort::Change, &status(Code::Unavailable, "NOT_LEADER", &[])), Next::Wait);
}

#[test]
fn keys_differ() {
    assert_ne!(random_id(), random_id());
    assert_eq!(random_id().len(), 32);
}
