//! One span for each call, under the caller's trace.
//!
//! Takes a W3C `traceparent` header if it is good to the letter, else starts a trace; puts the [`TraceContext`] into the
//! request's extensions. A span names the method, the trace and the caller, and never anything of the message.

use std::{
    fmt::{self, Write as _},
    task::{Context, Poll},
};

use http::{HeaderMap, HeaderValue, Request};
use tower_layer::Layer;
use tower_service::Service;
use tracing::{Instrument as _, Span, instrument::Instrumented};

use super::peer::PeerIdentity;
use crate::telemetry::TracePlace;

/// Where a call stands in a distributed trace.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: [u8; 16],
    /// The span of whoever called us; ours in what we send on.
    span_id: [u8; 8],
    is_sampled: bool,
}

impl TraceContext {
    /// The context that a caller sent, if it sent a good one.
    pub fn received(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok().and_then(Self::parse),
            _ => None,
        }
    }

    /// What a call goes on under: `span`, made a child of what the caller sent, where traces are recorded; else the caller's
    /// context or a new one. Nobody may have entered the span yet.
    pub fn under(span: &Span, received: Option<Self>) -> Self {
        if let Some(context) = received {
            let Self { trace_id, span_id, is_sampled } = context;
            TracePlace { trace_id, span_id, is_sampled }.adopt(span);
        }
        let recorded = TracePlace::of(span);
        recorded
            .map(|TracePlace { trace_id, span_id, is_sampled }| Self { trace_id, span_id, is_sampled })
            .or(received)
            .unwrap_or_else(Self::fresh)
    }

    /// Parses the header's value: `00-<32 hex>-<16 hex>-<2 hex>`, lower case, no id all zero. Of a later version the part
    /// that we know is taken.
    pub fn parse(value: &str) -> Option<Self> {
        let bytes = value.as_bytes();
        let version = hex::<1>(bytes.get(..2)?)?[0];
        let length_is_good = match version {
            0 => bytes.len() == LENGTH,
            0xff => false,
            _ => bytes.len() == LENGTH || bytes.get(LENGTH) == Some(&b'-'),
        };
        if !length_is_good || bytes[2] != b'-' || bytes.get(35) != Some(&b'-') || bytes.get(52) != Some(&b'-') {
            return None;
        }
        let trace_id = hex::<16>(bytes.get(3..35)?)?;
        let span_id = hex::<8>(bytes.get(36..52)?)?;
        let flags = hex::<1>(bytes.get(53..55)?)?[0];
        let is_set = trace_id != [0; 16] && span_id != [0; 8];
        is_set.then_some(Self { trace_id, span_id, is_sampled: flags & 1 == 1 })
    }

    /// A trace that begins here, unsampled.
    pub fn fresh() -> Self {
        // Ids of a trace are names, not secrets; zero is reserved and one in 2^64.
        let (trace_id, span_id) = (rand::random::<u128>().max(1), rand::random::<u64>().max(1));
        Self { trace_id: trace_id.to_be_bytes(), span_id: span_id.to_be_bytes(), is_sampled: false }
    }

    /// The same trace under a span of our own, for what we send on.
    pub fn child(&self) -> Self {
        Self { span_id: rand::random::<u64>().max(1).to_be_bytes(), ..*self }
    }

    /// The trace id.
    pub fn trace_id(&self) -> [u8; 16] {
        self.trace_id
    }

    /// Whether the caller records this trace.
    pub fn is_sampled(&self) -> bool {
        self.is_sampled
    }

    /// Writes the header of an onward call.
    pub fn inject(&self, headers: &mut HeaderMap) {
        let value = HeaderValue::from_str(&self.to_string()).expect("hexadecimal digits and dashes");
        headers.insert(TRACEPARENT, value);
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-0{}", Hex(&self.trace_id), Hex(&self.span_id), u8::from(self.is_sampled))
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceContext({self})")
    }
}

/// Puts [`Trace`] around a service. Stands behind access, so that a method in a span is one of ours.
#[derive(Debug, Clone, Copy, Default)]
pub struct TraceLayer;

impl<S> Layer<S> for TraceLayer {
    type Service = Trace<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Trace { inner }
    }
}

/// Opens a span for each call.
#[derive(Debug, Clone)]
pub struct Trace<S> {
    inner: S,
}

impl<S, B> Service<Request<B>> for Trace<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Instrumented<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let received = TraceContext::received(request.headers());
        let span = tracing::info_span!(
            "call",
            otel.kind = "server",
            method = request.uri().path(),
            trace_id = tracing::field::Empty,
            principal =
                request.extensions().get::<PeerIdentity>().map(|peer| tracing::field::display(peer.principal())),
        );
        let context = TraceContext::under(&span, received);
        span.record("trace_id", tracing::field::display(Hex(&context.trace_id)));
        request.extensions_mut().insert(context);
        let answer = span.in_scope(|| self.inner.call(request));
        answer.instrument(span)
    }
}

/// Lower-case hexadecimal, exactly `N` bytes of it.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if digits.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            f.write_char(char::from(DIGITS[usize::from(byte >> 4)]))?;
            f.write_char(char::from(DIGITS[usize::from(byte & 15)]))?;
        }
        Ok(())
    }
}

const TRACEPARENT: &str = "traceparent";
const DIGITS: &[u8; 16] = b"0123456789abcdef";
/// Bytes of a version 00 header.
const LENGTH: usize = 55;

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::FutureExt as _;

    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_good_header_is_kept() {
        let context = TraceContext::parse(GOOD).expect("good");
        assert_eq!(context.to_string(), GOOD);
        let later =
            TraceContext::parse(&format!("cc{}-what-the-future-will-be-like", &GOOD[2..])).expect("later version");
        assert_eq!(later, context);
        let mut headers = HeaderMap::new();
        context.inject(&mut headers);
        assert_eq!(TraceContext::received(&headers), Some(context));
    }

    #[test]
    fn a_child_keeps_the_trace_and_has_a_span_of_its_own() {
        let context = TraceContext::parse(GOOD).expect("good");
        let child = context.child();
        assert_eq!((child.trace_id(), child.is_sampled()), (context.trace_id(), true));
        assert_ne!(child.span_id, context.span_id);
    }

    #[test]
    fn a_header_that_is_not_good_to_the_letter_starts_a_trace() {
        for bad in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
            "00-0af7651916cd43dd8448eb211c80319cxb7ad6b7169203331-01",
            "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x",
            "0x-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert_eq!(TraceContext::received(&headers), None);
        let fresh = TraceContext::under(&Span::none(), None);
        assert_ne!(fresh.trace_id(), TraceContext::parse(GOOD).expect("good").trace_id());
        assert!(!fresh.is_sampled());
    }

    #[test]
    fn the_service_finds_the_context_of_its_call() {
        let mut trace = TraceLayer.layer(tower::service_fn(|request: Request<()>| async move {
            Ok::<_, Infallible>(request.extensions().get::<TraceContext>().copied())
        }));
        let request = Request::builder().uri("/a.B/C").header(TRACEPARENT, GOOD).body(()).expect("a request");
        let seen = trace.call(request).now_or_never().expect("never waits").expect("infallible");
        assert_eq!(seen, TraceContext::parse(GOOD));
    }
}
