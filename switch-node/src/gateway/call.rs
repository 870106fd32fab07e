//! One call of a gateway, apart from how it came: unary, an item of a stream, or forwarded by another node. It is what the
//! message stack works on.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use switch_proto::gateway::v1 as pb;
use tokio::time::{Duration, Instant};

/// What is asked.
#[allow(missing_docs)] // one for each method of the contract
#[derive(Clone)]
pub enum Ask {
    Authorize(Box<pb::AuthorizeRequest>),
    Increment(pb::IncrementAuthorizationRequest),
    Capture(pb::CaptureRequest),
    Void(pb::VoidRequest),
    Refund(pb::RefundRequest),
    Verify(Box<pb::VerifyCardRequest>),
}

/// The answer to it.
#[allow(missing_docs)]
#[derive(Clone, Debug)]
pub enum Told {
    Authorize(pb::AuthorizeResponse),
    Increment(pb::IncrementAuthorizationResponse),
    Capture(pb::CaptureResponse),
    Void(pb::VoidResponse),
    Refund(pb::RefundResponse),
    Verify(pb::VerifyCardResponse),
}

/// A call on its way through the stack.
#[derive(Clone)]
pub struct GatewayCall {
    /// SPIFFE id of the caller.
    pub principal: Arc<str>,
    /// What is asked.
    pub ask: Ask,
    /// When the caller stops waiting; `None` where it did not say.
    pub deadline: Option<Instant>,
    /// How long it was ready to wait when the call came in: what its deadline is judged by, whatever the switch has used up since.
    pub given: Duration,
    /// W3C trace context, or empty.
    pub traceparent: String,
}

macro_rules! methods {
    ($($variant:ident => $path:literal, $request:ty, $response:ident;)*) => {
        impl Ask {
            /// Full path of the method.
            pub fn path(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => concat!("/payswitch.gateway.v1.AuthorizationService/", $path),)*
                }
            }

            /// The caller's key.
            pub fn request_id(&self) -> &str {
                match self {
                    $(Self::$variant(request) => &request.request_id,)*
                }
            }

            /// The message as it goes to another node.
            pub fn encode(&self) -> Bytes {
                match self {
                    $(Self::$variant(request) => request.encode_to_vec().into(),)*
                }
            }

            /// Reads a forwarded message; `None` where the method is not one of these, or the message is damaged.
            pub fn decode(path: &str, message: Bytes) -> Option<Self> {
                let method = path.strip_prefix("/payswitch.gateway.v1.AuthorizationService/")?;
                match method {
                    $($path => <$request>::decode(message).ok().map(|request| Self::$variant(request.into())),)*
                    _ => None,
                }
            }

            /// Puts a result into this method's response.
            pub fn told(&self, result: pb::OperationResult) -> Told {
                match self {
                    $(Self::$variant(_) => Told::$variant(pb::$response { result: Some(result) }),)*
                }
            }

            /// Reads this method's response.
            pub fn decode_told(&self, message: Bytes) -> Option<Told> {
                match self {
                    $(Self::$variant(_) => pb::$response::decode(message).ok().map(Told::$variant),)*
                }
            }
        }

        impl Told {
            /// The response as it goes to another node.
            pub fn encode(&self) -> Bytes {
                match self {
                    $(Self::$variant(response) => response.encode_to_vec().into(),)*
                }
            }

            /// The result in it.
            pub fn result(self) -> Option<pb::OperationResult> {
                match self {
                    $(Self::$variant(response) => response.result,)*
                }
            }
        }
    };
}

methods! {
    Authorize => "Authorize", pb::AuthorizeRequest, AuthorizeResponse;
    Increment => "IncrementAuthorization", pb::IncrementAuthorizationRequest, IncrementAuthorizationResponse;
    Capture => "Capture", pb::CaptureRequest, CaptureResponse;
    Void => "Void", pb::VoidRequest, VoidResponse;
    Refund => "Refund", pb::RefundRequest, RefundResponse;
    Verify => "VerifyCard", pb::VerifyCardRequest, VerifyCardResponse;
}

impl Ask {
    /// Amount and currency, where the method has them.
    pub fn money(&self) -> (i64, &str) {
        let money = match self {
            Self::Authorize(request) => request.amount.as_ref(),
            Self::Increment(request) => request.amount.as_ref(),
            Self::Capture(request) => request.amount.as_ref(),
            Self::Refund(request) => request.amount.as_ref(),
            Self::Verify(request) => return (0, &request.currency_code),
            Self::Void(_) => None,
        };
        money.map_or((0, ""), |money| (money.minor_units, money.currency_code.as_str()))
    }

    /// The method in the book's words.
    pub fn method(&self) -> switch_domain::transaction::Method {
        use switch_domain::transaction::Method;
        match self {
            Self::Authorize(_) => Method::Authorize,
            Self::Increment(_) => Method::Increment,
            Self::Capture(_) => Method::Capture,
            Self::Void(_) => Method::Void,
            Self::Refund(_) => Method::Refund,
            Self::Verify(_) => Method::Verify,
        }
    }

    /// True where the key can be asked after: a void by key may have no transaction yet.
    pub fn can_be_inquired(&self) -> bool {
        !matches!(self, Self::Void(_)) || !self.original().is_empty()
    }

    /// The original that a follow-up names, or empty.
    pub fn original(&self) -> &str {
        match self {
            Self::Authorize(_) | Self::Verify(_) => "",
            Self::Increment(request) => &request.transaction_id,
            Self::Capture(request) => &request.transaction_id,
            Self::Refund(request) => &request.transaction_id,
            Self::Void(request) => match &request.original {
                Some(pb::void_request::Original::TransactionId(id)) => id,
                Some(pb::void_request::Original::OriginalRequestId(_)) | None => "",
            },
        }
    }
}
