//! One call of a gateway, apart from how it came: unary, an item of a stream, or forwarded by another node. It is what the
//! message stack works on.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use switch_domain::transaction::Method;
use switch_proto::gateway::v1 as pb;
use tokio::time::{Duration, Instant};

use crate::outcome::Opening;

/// What is asked. Not `Clone`: it holds card data, which shall stand in one place at a time.
#[allow(missing_docs)] // one for each method of the contract
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
    /// Set once this node has found that it leads: a hand-over waits for whoever holds one (R4).
    pub entered: Option<Opening>,
}

macro_rules! methods {
    ($($variant:ident => $path:literal, $request:ty, $response:ident;)*) => {
        /// Full path of a method.
        pub fn path(method: Method) -> &'static str {
            match method {
                $(Method::$variant => concat!("/payswitch.gateway.v1.AuthorizationService/", $path),)*
            }
        }

        /// The method behind a full path, where it moves money or looks at a card.
        pub fn method(path: &str) -> Option<Method> {
            match path.strip_prefix("/payswitch.gateway.v1.AuthorizationService/")? {
                $($path => Some(Method::$variant),)*
                _ => None,
            }
        }

        impl Ask {
            /// The method in the book's words.
            pub fn method(&self) -> Method {
                match self {
                    $(Self::$variant(_) => Method::$variant,)*
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

            /// Reads a forwarded message; `None` where it is damaged.
            pub fn decode(method: Method, message: Bytes) -> Option<Self> {
                match method {
                    $(Method::$variant => <$request>::decode(message).ok().map(|request| Self::$variant(request.into())),)*
                }
            }
        }

        impl Told {
            /// Puts a result into the response of a method.
            pub fn of(method: Method, result: pb::OperationResult) -> Self {
                match method {
                    $(Method::$variant => Self::$variant(pb::$response { result: Some(result) }),)*
                }
            }

            /// Reads the response of a method; `None` where it is damaged.
            pub fn decode(method: Method, message: Bytes) -> Option<Self> {
                match method {
                    $(Method::$variant => pb::$response::decode(message).ok().map(Self::$variant),)*
                }
            }

            /// The response as it goes to another node.
            pub fn encode(&self) -> Bytes {
                match self {
                    $(Self::$variant(response) => response.encode_to_vec().into(),)*
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_found_by_its_path_and_its_messages_by_the_method() {
        use Method::{Authorize, Capture, Increment, Refund, Verify, Void};
        for asked in [Authorize, Increment, Capture, Void, Refund, Verify] {
            assert_eq!(method(path(asked)), Some(asked));
            assert_eq!(Ask::decode(asked, Bytes::new()).map(|ask| ask.method()), Some(asked));
            let told = Told::of(asked, pb::OperationResult { request_id: "order-1".into(), ..Default::default() });
            let read = Told::decode(asked, told.encode()).expect("as it was written");
            assert_eq!(format!("{read:?}"), format!("{told:?}"));
        }
        assert_eq!(method("/payswitch.gateway.v1.AuthorizationService/GetTransaction"), None);
        assert_eq!(method("/other/Authorize"), None);
    }
}
