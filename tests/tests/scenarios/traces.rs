//! Logs for machines, and traces for a collector: off unless they are asked for, each call under its caller's trace, nothing of a
//! card in either.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value,
    trace::v1::Span,
};
use parking_lot::Mutex;
use switch_tests::{
    eventually::eventually,
    sandbox::cards,
    stage::{self, SOON},
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};

/// A collector that keeps everything.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// Listens; gives its address.
    async fn start(&self) -> anyhow::Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let server = Server::builder().add_service(TraceServiceServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Ok(format!("http://{address}"))
    }

    fn spans(&self) -> Vec<Span> {
        let requests = self.0.lock();
        let scopes = requests.iter().flat_map(|request| &request.resource_spans).flat_map(|of| &of.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_traced_from_its_caller_over_the_leader_to_the_network() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let collector = Collector::default();
    let traces = format!("[traces]\nendpoint = {:?}\nratio = 0.0", collector.start().await?);
    let cluster = stage::three().config(&traces).start().await?;
    let leader = cluster.wait_leader(SOON).await?.node;

    // Asked of a follower, so that it is handed on.
    let mut client = cluster.gateway("shop").raw(leader % 3 + 1);
    let mut request = Request::new(stage::payment("traced", cards::APPROVED_VISA, 1_000));
    request.set_timeout(cluster.timing().call());
    request.metadata_mut().insert("traceparent", format!("00-{TRACE}-{CALLER}-01").parse()?);
    client.authorize(request).await?;
    // Not to be recorded: nobody asked for it, and the share of what begins here is nothing.
    let mut request = Request::new(stage::payment("untraced", cards::APPROVED_VISA, 1_000));
    request.set_timeout(cluster.timing().call());
    client.authorize(request).await?;

    let spans = eventually(SOON, "three spans are collected", || async {
        let spans = collector.spans();
        ensure!(spans.len() >= 3, "{:?}", spans.iter().map(|span| &span.name).collect::<Vec<_>>());
        Ok(spans)
    })
    .await?;
    let named = |name: &str| spans.iter().find(|span| span.name == name).with_context(|| format!("no span {name}"));
    let (call, forwarded, network) = (named("call")?, named("forwarded")?, named("network")?);
    assert_eq!(spans.len(), 3, "{spans:?}");
    for span in &spans {
        assert_eq!(hex(&span.trace_id), TRACE, "{}", span.name);
    }
    assert_eq!(hex(&call.parent_span_id), CALLER);
    assert_eq!((&forwarded.parent_span_id, &network.parent_span_id), (&call.span_id, &forwarded.span_id));
    assert_eq!(text(call, "method"), Some("/payswitch.gateway.v1.AuthorizationService/Authorize"));
    let shown = format!("{:?}", collector.0.lock());
    for card in cards::ALL {
        assert!(!shown.contains(card.number), "{}", card.name);
    }
    cluster.judge().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_traced_and_the_log_is_text_unless_asked_for() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    // Whatever the environment says: only the configuration makes a node talk to somebody.
    let collector = Collector::default();
    let cluster = stage::three().environment("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.start().await?).start().await?;
    let gateway = cluster.gateway("shop");
    gateway.authorize(stage::payment("paid", cards::APPROVED_VISA, 1_000)).await?;
    let log = std::fs::read_to_string(cluster.node(1).log())?;
    assert!(log.lines().any(|line| line.contains(" INFO ")), "{log}");
    cluster.judge().await?;
    assert_eq!(collector.spans().len(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_of_a_json_log_is_an_object_with_time_level_and_words() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().config("[log]\nformat = 'json'\nlevel = 'debug'").start().await?;
    let gateway = cluster.gateway("shop");
    for (n, card) in [cards::APPROVED_VISA, cards::NO_ANSWER].into_iter().enumerate() {
        gateway.authorize(stage::payment(&format!("paid-{n}"), card, 1_000)).await?;
    }
    cluster.rest().await?;
    for node in cluster.nodes() {
        let log = std::fs::read_to_string(node.log())?;
        let lines: Vec<&str> = log.lines().collect();
        ensure!(lines.len() > 10, "node {} said {} lines", node.number(), lines.len());
        for line in lines {
            let line: serde_json::Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
            let words = |key: &str| line[key].as_str().is_some_and(|text| !text.is_empty());
            ensure!(words("timestamp") && words("level") && words("target"), "{line}");
            ensure!(line["fields"]["message"].is_string(), "{line}");
        }
        for card in cards::ALL {
            assert!(!log.contains(card.number), "{}", card.name);
        }
    }
    cluster.judge().await.map(drop)
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An attribute of a span, where it is text.
fn text<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    let attribute = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}
