//! The real connector against a real gRPC server on the loopback interface, in real time.

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use prost::Message;
use switch_domain::outcome::{Answer, Doubt};
use switch_proto::network::v1::{
    ExchangeRequest, ExchangeResponse,
    card_network_service_server::{CardNetworkService, CardNetworkServiceServer},
    exchange_request::Body as Asks,
    exchange_response::Body as Tells,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tonic::{Request, Response, Status, Streaming, transport::Endpoint};

use super::fixture::{Events, Gate, approval, approved, directory, record, send};
use crate::{
    link::{GrpcConnector, LinkState, Links, Received, Settings, connect::read},
    telemetry::seldom::tests::Lines,
};

/// Agrees to everything; breaks off at the second request.
struct Agreeable;

#[tonic::async_trait]
impl CardNetworkService for Agreeable {
    type ExchangeStream = Pin<Box<dyn Stream<Item = Result<ExchangeResponse, Status>> + Send>>;

    async fn exchange(
        &self,
        request: Request<Streaming<ExchangeRequest>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let answers = request.into_inner().scan(0, |requests, message| {
            let answer = message.and_then(|message| {
                let body = match message.body {
                    Some(Asks::Management(asked)) => {
                        let response_code = "00".into();
                        Tells::Management(switch_proto::network::v1::NetworkManagement { response_code, ..asked })
                    }
                    Some(Asks::Authorization(asked)) => {
                        *requests += 1;
                        if *requests > 1 {
                            return Err(Status::unavailable("99 to be kept out of logs"));
                        }
                        Tells::Response(approval(&asked.request.expect("fields")))
                    }
                    Some(Asks::Financial(_) | Asks::Advice(_) | Asks::Reversal(_)) | None => panic!("not asked here"),
                };
                Ok(ExchangeResponse { correlation_id: message.correlation_id, body: Some(body) })
            });
            std::future::ready(Some(answer))
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

#[tokio::test]
async fn a_payment_goes_over_a_real_stream_and_a_cut_leaves_doubt() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let incoming = stream::unfold(listener, |listener| async move {
        let accepted = listener.accept().await.map(|(tcp, _)| tcp);
        Some((accepted, listener))
    });
    let server = tonic::transport::Server::builder().add_service(CardNetworkServiceServer::new(Agreeable));
    let serving = tokio::spawn(server.serve_with_incoming(incoming));

    let connector = GrpcConnector::new(Arc::new(move |link| {
        Ok(Endpoint::from_shared(format!("http://{}", link.address))?.connect_lazy())
    }));
    let (events, gate) = (Arc::new(Events::default()), Arc::new(Gate::default()));
    let links = Links::new(Arc::new(connector), Arc::clone(&events) as _, Arc::clone(&gate) as _, Settings::default());
    let here = switch_domain::directory::Link { address: address.to_string(), ..record("visa-1") };
    let id = here.id.clone();
    links.follow(&directory(&[here]));
    let link = links.get(&id).expect("a link");
    in_service(&link).await;
    assert_eq!(send(&link, 1).await.expect("ends"), approved());
    assert_eq!(send(&link, 2).await.expect("ends"), Answer::Unknown(Doubt::ConnectionLost));
    in_service(&link).await;
    assert_eq!(send(&link, 3).await.expect("ends"), approved());
    assert_eq!(*gate.late.lock(), []);
    links.sign_off(tokio::time::Instant::now() + Duration::from_secs(10)).await;
    assert_eq!(link.state(), LinkState::Down);
    serving.abort();
}

async fn in_service(link: &Arc<dyn crate::link::NetworkLink>) {
    let waiting = async {
        while link.state() != LinkState::InService {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(10), waiting).await.expect("in service in time");
}

/// Why there is no connection stands in the log, and a network could write a card number into it.
#[tokio::test]
async fn what_a_network_writes_into_its_last_frame_stays_out_of_the_log() {
    let lines = Lines::default();
    let _logged = lines.of_this_thread();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let network = tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            go_away(&mut tcp).await.expect("it is heard");
        }
    });
    let connector = GrpcConnector::new(Arc::new(move |link| {
        Ok(Endpoint::from_shared(format!("http://{}", link.address))?.connect_lazy())
    }));
    let links =
        Links::new(Arc::new(connector), Arc::new(Events::default()), Arc::new(Gate::default()), Settings::default());
    links.follow(&directory(&[switch_domain::directory::Link { address: address.to_string(), ..record("visa-1") }]));
    let told = async {
        let mut told = String::new();
        while !told.contains("no connection") {
            tokio::time::sleep(Duration::from_millis(1)).await;
            told += &lines.take();
        }
        told
    };
    let told = timeout(Duration::from_secs(10), told).await.expect("it is told in time");
    assert!(told.contains("WARN") && told.contains("excessive load") && !told.contains("99 to be kept"), "{told}");
    links.sign_off(tokio::time::Instant::now() + Duration::from_secs(10)).await;
    network.abort();
}

/// Answers the first request of an HTTP/2 connection with GOAWAY, ENHANCE_YOUR_CALM and words.
async fn go_away(tcp: &mut TcpStream) -> std::io::Result<()> {
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    tcp.write_all(&settings).await?;
    let mut preface = [0; 24];
    tcp.read_exact(&mut preface).await?;
    let mut head = [0; 9];
    // Until HEADERS.
    while head[3] != 1 {
        tcp.read_exact(&mut head).await?;
        let length = u64::from(u32::from_be_bytes([0, head[0], head[1], head[2]]));
        tokio::io::copy(&mut (&mut *tcp).take(length), &mut tokio::io::sink()).await?;
    }
    let words = b"99 to be kept out of logs";
    let body = [&[0, 0, 0, 0, 0, 0, 0, 11], &words[..]].concat();
    let length = u8::try_from(body.len()).expect("a short frame");
    tcp.write_all(&[&[0, 0, length, 7, 0, 0, 0, 0, 0], &body[..]].concat()).await?;
    tokio::io::copy(tcp, &mut tokio::io::sink()).await.map(drop)
}

#[test]
fn what_cannot_be_read_still_tells_its_number_where_it_begins_with_it() {
    let whole = ExchangeResponse { correlation_id: 300, body: None };
    let bytes = Bytes::from(whole.encode_to_vec());
    assert_eq!(read(&bytes), Received::Message(Box::new(whole)));
    let broken = Bytes::from([&bytes[..], &[0xff; 4]].concat());
    assert_eq!(read(&broken), Received::Undecodable { correlation_id: Some(300) });
    assert_eq!(read(&Bytes::from_static(&[0xff; 8])), Received::Undecodable { correlation_id: None });
}
