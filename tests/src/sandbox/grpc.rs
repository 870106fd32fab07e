//! The gRPC adapter of a network: one conversation a stream, driven by the stream's own task.
//!
//! Written out instead of generated, because a generated service can only send messages that decode.

use std::{convert::Infallible, sync::Arc, task::Poll};

use bytes::BufMut;
use futures::{
    StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use prost::Message;
use switch_proto::network::v1::{ExchangeRequest, ExchangeResponse};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    codec::{Codec, EncodeBuf, Encoder},
    codegen::{Service, http},
    server::{Grpc, NamedService, StreamingService},
};
use tonic_prost::ProstCodec;

use super::{
    conduct::Standing,
    conversation::{Conversation, Frame},
    limits::MESSAGE_BYTES_MAX,
    listen::{Cutter, stopped},
    network::Network,
    proto::Mode,
};

/// `payswitch.network.v1.CardNetworkService` of one network.
#[derive(Debug, Clone)]
pub(super) struct CardNetwork {
    network: Arc<Network>,
    stopping: watch::Receiver<bool>,
}

impl CardNetwork {
    /// Serves a network until `stopping` is true.
    pub(super) fn new(network: Arc<Network>, stopping: watch::Receiver<bool>) -> Self {
        Self { network, stopping }
    }
}

impl NamedService for CardNetwork {
    const NAME: &'static str = "payswitch.network.v1.CardNetworkService";
}

impl Service<http::Request<Body>> for CardNetwork {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let exchange = Exchange(self.clone());
        Box::pin(async move {
            if request.uri().path() != "/payswitch.network.v1.CardNetworkService/Exchange" {
                return Ok(Status::unimplemented("the sandbox knows Exchange only").into_http());
            }
            let mut grpc = Grpc::new(FrameCodec).max_decoding_message_size(MESSAGE_BYTES_MAX);
            Ok(grpc.streaming(exchange, request).await)
        })
    }
}

struct Exchange(CardNetwork);

impl StreamingService<ExchangeRequest> for Exchange {
    type Response = Frame;
    type ResponseStream = BoxStream<'static, Result<Frame, Status>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<ExchangeRequest>>) -> Self::Future {
        let CardNetwork { network, stopping } = self.0.clone();
        let cutter = request.extensions().get::<Cutter>().cloned().unwrap_or_default();
        // A connection may be older than the mode that refuses it.
        if network.standing.borrow().mode == Mode::RefuseConnections {
            cutter.cut();
            return Box::pin(async { Err(Status::unavailable("cut")) });
        }
        let talk = Talk {
            standing: network.standing.subscribe(),
            conversation: Conversation::new(network),
            stopping,
            cutter,
            inbound: Some(request.into_inner()),
        };
        let frames = stream::unfold(Some(talk), |talk| async move { talk?.next().await });
        Box::pin(async move { Ok(Response::new(frames.boxed())) })
    }
}

/// A conversation and its wire.
struct Talk {
    conversation: Conversation,
    standing: watch::Receiver<Standing>,
    stopping: watch::Receiver<bool>,
    cutter: Cutter,
    /// `None` once the switch has sent its last message.
    inbound: Option<Streaming<ExchangeRequest>>,
}

impl Talk {
    /// The next frame. Reads only when asked for one, so that a switch that does not read is not read from.
    async fn next(mut self) -> Option<(Result<Frame, Status>, Option<Self>)> {
        loop {
            match self.conversation.pop() {
                Some(Frame::Cut) => {
                    self.cutter.cut();
                    return Some((Err(Status::unavailable("cut")), None));
                }
                Some(frame) => return Some((Ok(frame), Some(self))),
                None => {}
            }
            let due = self.conversation.next_due();
            if self.inbound.is_none() && due.is_none() {
                return None;
            }
            tokio::select! {
                biased;
                () = stopped(&mut self.stopping) => return None,
                changed = self.standing.changed() => {
                    changed.expect("the conversation holds the network");
                    self.conversation.advance(Instant::now());
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.conversation.advance(Instant::now());
                }
                message = receive(&mut self.inbound), if self.inbound.is_some() && self.conversation.has_room() => {
                    match message {
                        Ok(Some(message)) => self.conversation.receive(message, Instant::now()),
                        Ok(None) => self.inbound = None,
                        Err(status) => {
                            tracing::debug!(%status, "a switch broke off");
                            return None;
                        }
                    }
                }
            }
        }
    }
}

async fn receive(inbound: &mut Option<Streaming<ExchangeRequest>>) -> Result<Option<ExchangeRequest>, Status> {
    match inbound {
        Some(inbound) => inbound.message().await,
        None => Ok(None),
    }
}

/// Protobuf, and what is none.
#[derive(Debug, Clone, Copy)]
struct FrameCodec;

impl Codec for FrameCodec {
    type Encode = Frame;
    type Decode = ExchangeRequest;
    type Encoder = FrameEncoder;
    type Decoder = <ProstCodec<ExchangeResponse, ExchangeRequest> as Codec>::Decoder;

    fn encoder(&mut self) -> FrameEncoder {
        FrameEncoder
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<ExchangeResponse, ExchangeRequest>::default().decoder()
    }
}

#[derive(Debug)]
struct FrameEncoder;

impl Encoder for FrameEncoder {
    type Item = Frame;
    type Error = Status;

    fn encode(&mut self, frame: Frame, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        match frame {
            Frame::Message(message) => {
                message.encode(buffer).map_err(|error| Status::internal(format!("answer: {error}")))?;
            }
            // Wire type 7 does not exist.
            Frame::Undecodable => buffer.put_slice(&[0xff; 8]),
            Frame::Cut => return Err(Status::unavailable("cut")),
        }
        Ok(())
    }
}
