//! Traces over OTLP, off unless a collector is configured. What leaves is what spans name and the log lines inside them: both
//! are held to hold nothing of a card.
//!
//! Whoever calls decides whether a trace is recorded; of those that begin here a share is. A collector that is slow or away
//! costs spans and nothing else: the queue is bounded, and what finds no place in it is dropped.

use std::time::Duration;

use opentelemetry::{
    Context, KeyValue, SpanId, TraceFlags, TraceId,
    trace::{SpanContext, TraceContextExt as _, TraceState, TracerProvider as _},
};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider},
};
use serde::Deserialize;
use tracing::{Span, Subscriber, level_filters::LevelFilter};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::{Layer, filter::Targets, registry::LookupSpan};

/// Where traces go.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TraceOptions {
    /// The collector's OTLP address for gRPC, `http://host:port`; without one no span is made.
    pub endpoint: Option<String>,
    /// Share of the traces that begin here which are recorded, 0 to 1. Callers decide about theirs.
    pub ratio: f64,
}

impl Default for TraceOptions {
    fn default() -> Self {
        Self { endpoint: None, ratio: 0.01 }
    }
}

/// Spans on their way to the collector.
pub struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// Begins to record for the node `instance` of `cluster`; `None` where nothing is configured. Must be called on the runtime
    /// that the collector is to be called from.
    ///
    /// # Errors
    /// The endpoint is no address.
    pub fn start(options: &TraceOptions, cluster: &str, instance: &str) -> Result<Option<Self>, ExporterBuildError> {
        let Some(endpoint) = &options.endpoint else { return Ok(None) };
        let exporter =
            SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(EXPORT_TIMEOUT).build()?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE_SPANS_MAX)
            .with_max_export_batch_size(BATCH_SPANS_MAX)
            .with_scheduled_delay(EXPORT_EVERY)
            .build();
        let resource = Resource::builder_empty()
            .with_service_name("payment-switch")
            .with_attributes([
                KeyValue::new("service.namespace", cluster.to_owned()),
                KeyValue::new("service.instance.id", instance.to_owned()),
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            ])
            .build();
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(options.ratio))))
            .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batches).build())
            .build();
        Ok(Some(Self { provider }))
    }

    /// What makes OTLP spans of this program's own spans, whatever the level of the log.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("switch-node"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(Targets::new().with_target(OWN, LevelFilter::INFO))
    }

    /// Sends what is left. Blocks, at most for a moment.
    pub fn end(&self) {
        if let Err(error) = self.provider.shutdown_with_timeout(END_WITHIN) {
            tracing::debug!(%error, "the last spans were not sent");
        }
    }
}

/// Where a span stands in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TracePlace {
    /// Trace id.
    pub trace_id: [u8; 16],
    /// Span id.
    pub span_id: [u8; 8],
    /// Whether the trace is recorded.
    pub is_sampled: bool,
}

impl TracePlace {
    /// Where a span stands, while traces are recorded.
    pub fn of(span: &Span) -> Option<Self> {
        let context = span.context();
        let place = context.span().span_context().clone();
        place.is_valid().then(|| Self {
            trace_id: place.trace_id().to_bytes(),
            span_id: place.span_id().to_bytes(),
            is_sampled: place.is_sampled(),
        })
    }

    /// Makes `span`, which nobody has entered yet, a child of the span that stands here, in whatever process.
    pub fn adopt(&self, span: &Span) {
        let parent = SpanContext::new(
            TraceId::from_bytes(self.trace_id),
            SpanId::from_bytes(self.span_id),
            if self.is_sampled { TraceFlags::SAMPLED } else { TraceFlags::default() },
            true,
            TraceState::NONE,
        );
        // Fails where no traces are recorded, or not this one: then there is nothing to hang anywhere.
        let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    }
}

/// The target of this program's own spans and log lines.
const OWN: &str = "switch_node";
/// A few seconds of a busy node whose every call is recorded.
const QUEUE_SPANS_MAX: usize = 8_192;
/// Well below the four megabytes that collectors take in one message.
const BATCH_SPANS_MAX: usize = 512;
/// Between two messages to the collector.
const EXPORT_EVERY: Duration = Duration::from_secs(1);
/// For one message to the collector.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);
/// For the last spans of a node that ends.
const END_WITHIN: Duration = Duration::from_secs(2);
