//! How a link reaches its network: a stream of messages out, a stream of messages in. The real connector opens a gRPC stream,
//! a simulated one joins two channels.

use std::{error::Error, sync::Arc};

use async_trait::async_trait;
use bytes::{Buf, Bytes};
use futures::stream::{BoxStream, StreamExt};
use http::uri::PathAndQuery;
use prost::{
    Message,
    encoding::{WireType, decode_key, decode_varint},
};
use switch_domain::directory;
use switch_proto::network::v1::ExchangeResponse;
use thiserror::Error;
use tonic::{
    Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Channel,
};

use super::{limits, message::Outgoing, session::Outbound};

/// One message of the network, as far as it could be read.
#[derive(Clone, Debug, PartialEq)]
pub enum Received {
    /// A message.
    Message(Box<ExchangeResponse>),
    /// Bytes that are no message; its number where that much could be read.
    Undecodable {
        /// Number of the request it answers.
        correlation_id: Option<u64>,
    },
}

/// Messages of the network; its end, or an error, is the end of the connection.
pub type Inbound = BoxStream<'static, Result<Received, ConnectFault>>;

/// Why there is no connection, or no longer. Never holds a text that the network chose: it might hold a card number.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct ConnectFault(pub String);

/// Opens conversations.
#[async_trait]
pub trait LinkConnector: Send + Sync {
    /// Connects to a link's address and exchanges messages with it. `outbound` holds the sign-on already; its end means
    /// that the switch has nothing more to say, and dropping it breaks the conversation off.
    ///
    /// # Errors
    /// [`ConnectFault`] where there is no connection: nothing but the sign-on was in `outbound`.
    async fn open(&self, link: &directory::Link, outbound: Outbound) -> Result<Inbound, ConnectFault>;
}

/// Makes a channel to a link's address, with the certificates of now.
pub type ChannelFactory = Arc<dyn Fn(&directory::Link) -> Result<Channel, Box<dyn Error + Send + Sync>> + Send + Sync>;

/// The real connector: `CardNetworkService.Exchange`, one channel a conversation, so that a renewed certificate and a
/// moved address are taken up with the next one.
#[derive(Clone)]
pub struct GrpcConnector {
    channel: ChannelFactory,
}

impl GrpcConnector {
    /// A connector over the channels that `channel` makes.
    #[must_use]
    pub fn new(channel: ChannelFactory) -> Self {
        Self { channel }
    }
}

#[async_trait]
impl LinkConnector for GrpcConnector {
    async fn open(&self, link: &directory::Link, outbound: Outbound) -> Result<Inbound, ConnectFault> {
        let channel = (self.channel)(link).map_err(|fault| ConnectFault(causes(&*fault)))?;
        let mut grpc = Grpc::new(channel).max_decoding_message_size(limits::MESSAGE_BYTES_MAX);
        grpc.ready().await.map_err(|fault| ConnectFault(causes(&fault)))?;
        let path = PathAndQuery::from_static("/payswitch.network.v1.CardNetworkService/Exchange");
        let answer = grpc.streaming(Request::new(outbound), path, WireCodec).await.map_err(|status| broken(&status))?;
        Ok(answer.into_inner().map(|received| received.map_err(|status| broken(&status))).boxed())
    }
}

/// Our own transport's error says why; of what the network says, the code is enough.
fn broken(status: &Status) -> ConnectFault {
    match status.source() {
        Some(source) => ConnectFault(format!("{:?}: {}", status.code(), causes(source))),
        None => ConnectFault(format!("{:?}", status.code())),
    }
}

fn causes(fault: &(dyn Error + 'static)) -> String {
    let mut text = own_words(fault);
    let mut cause = fault.source();
    while let Some(deeper) = cause {
        text = format!("{text}: {}", own_words(deeper));
        cause = deeper.source();
    }
    text
}

/// What an error says, without what the network wrote into its last frame: h2 repeats it.
fn own_words(fault: &(dyn Error + 'static)) -> String {
    match fault.downcast_ref::<h2::Error>().and_then(h2::Error::reason) {
        Some(reason) => reason.to_string(),
        None => fault.to_string(),
    }
}

/// Protobuf both ways. Written out because the generated one drops messages unwiped, and ends the stream at the first one
/// that cannot be read: one bad answer would put every other request of the connection in doubt.
#[derive(Clone, Copy, Debug)]
struct WireCodec;

impl Codec for WireCodec {
    type Encode = Outgoing;
    type Decode = Received;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for WireCodec {
    type Item = Outgoing;
    type Error = Status;

    fn encode(&mut self, outgoing: Outgoing, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        outgoing.message().encode(buffer).map_err(|_| Status::internal("a message does not fit its buffer"))
    }
}

impl Decoder for WireCodec {
    type Item = Received;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<Received>, Status> {
        let bytes = source.copy_to_bytes(source.remaining());
        Ok(Some(read(&bytes)))
    }
}

/// Reads a message; of one that cannot be read the number, so that at least its request need not wait.
pub(super) fn read(bytes: &Bytes) -> Received {
    match ExchangeResponse::decode(bytes.clone()) {
        Ok(message) => Received::Message(Box::new(message)),
        Err(_) => Received::Undecodable { correlation_id: leading_number(bytes.clone()) },
    }
}

fn leading_number(mut bytes: Bytes) -> Option<u64> {
    match decode_key(&mut bytes) {
        Ok((1, WireType::Varint)) => decode_varint(&mut bytes).ok().filter(|number| *number != 0),
        Ok(_) | Err(_) => None,
    }
}
