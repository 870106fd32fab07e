//! The plain HTTP listener: `/livez`, `/readyz`, `/startupz`, `/metrics`, by GET, and nothing else. Nobody is asked who
//! they are here, so nothing here can change anything or show a payment.

use std::{
    convert::Infallible,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::MissedTickBehavior,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::health::{Health, Unwell};
use crate::telemetry::{self, Kind, Scale};

/// What may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    /// Whether the process works.
    Live,
    /// Whether calls should come here.
    Ready,
    /// Whether the log is replayed.
    Started,
    /// Metrics in Prometheus's text format.
    Metrics,
}

impl Page {
    fn at(path: &str) -> Option<Self> {
        match path {
            "/livez" => Some(Self::Live),
            "/readyz" => Some(Self::Ready),
            "/startupz" => Some(Self::Started),
            "/metrics" => Some(Self::Metrics),
            _ => None,
        }
    }
}

/// The recorder of every metric, installed at the first call.
pub fn recorder() -> PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    RECORDER.get_or_init(|| install().unwrap_or_else(nothing)).clone()
}

fn install() -> Result<PrometheusHandle, BuildError> {
    let mut builder = PrometheusBuilder::new();
    for metric in telemetry::METRICS {
        let buckets = match metric.kind {
            Kind::Counter | Kind::Gauge => continue,
            Kind::Histogram(Scale::Seconds) => SECONDS,
            Kind::Histogram(Scale::FineSeconds) => FINE_SECONDS,
            Kind::Histogram(Scale::TransferSeconds) => TRANSFER_SECONDS,
            Kind::Histogram(Scale::Commands) => COMMANDS,
        };
        builder = builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets)?;
    }
    let handle = builder.install_recorder()?;
    telemetry::describe();
    Ok(handle)
}

/// Payments are worth more than their metrics: a process that records elsewhere shows an empty page here.
fn nothing(error: BuildError) -> PrometheusHandle {
    tracing::error!(%error, "metrics are not recorded");
    PrometheusBuilder::new().build_recorder().handle()
}

/// Serves the pages of a node until `stop`; sees to the upkeep of the metrics and to the pulse of the health.
pub async fn serve_plain(
    listener: TcpListener,
    health: Arc<Health>,
    metrics: PrometheusHandle,
    stop: CancellationToken,
) {
    let pages = pages(health.clone(), metrics.clone());
    let upkeep = async {
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            health.beat();
            metrics.run_upkeep();
        }
    };
    tokio::select! {
        biased;
        () = serve(listener, pages, stop) => {}
        () = upkeep => {}
    }
}

/// Writes a page. Must not wait.
type Pages = Arc<dyn Fn(Page) -> (StatusCode, String) + Send + Sync>;

fn pages(health: Arc<Health>, metrics: PrometheusHandle) -> Pages {
    Arc::new(move |page| match page {
        Page::Live => word(health.live()),
        Page::Ready => word(health.ready()),
        Page::Started => word(health.started()),
        Page::Metrics => (StatusCode::OK, metrics.render()),
    })
}

fn word(health: Result<(), Unwell>) -> (StatusCode, String) {
    match health {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(unwell) => (StatusCode::SERVICE_UNAVAILABLE, format!("{unwell}\n")),
    }
}

async fn serve(listener: TcpListener, pages: Pages, stop: CancellationToken) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, or the other side is gone: the listener itself lives on.
                tracing::debug!(%error, "a plain connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // No room: closed at once, whoever it is asks again.
        let Ok(permit) = room.clone().try_acquire_owned() else { continue };
        let (pages, stop) = (pages.clone(), stop.clone());
        connections.spawn(async move {
            let ended = tokio::select! {
                biased;
                () = stop.cancelled() => Ok(()),
                ended = tokio::time::timeout(CONNECTION_AGE_MAX, converse(stream, pages)) => ended.unwrap_or(Ok(())),
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a plain connection broke");
            }
            drop(permit);
        });
    }
    connections.close();
    connections.wait().await;
}

async fn converse(stream: TcpStream, pages: Pages) -> Result<(), hyper::Error> {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = answer(&request, &pages);
        async move { Ok::<_, Infallible>(response) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_WITHIN)
        .max_buf_size(REQUEST_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

fn answer<B>(request: &Request<B>, pages: &Pages) -> Response<Full<Bytes>> {
    let Some(page) = Page::at(request.uri().path()) else {
        return text(StatusCode::NOT_FOUND, "not found\n".to_owned());
    };
    if request.method() != Method::GET {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "GET only\n".to_owned());
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
        return response;
    }
    let (status, body) = pages(page);
    let mut response = text(status, body);
    if page == Page::Metrics {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROMETHEUS_TEXT));
    }
    response
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// A few scrapers and the orchestrator's probes.
const CONNECTIONS_MAX: usize = 64;
/// From the connection, or the answer before, to the end of a request's header; also how long an idle connection stays.
const HEADER_WITHIN: Duration = Duration::from_secs(30);
/// A scraper keeps its connection, but not for ever.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(600);
/// A GET with the headers of any proxy fits; hyper's least is 8 KiB.
const REQUEST_BYTES_MAX: usize = 16 << 10;
/// Between two upkeeps of the metrics.
const EVERY: Duration = Duration::from_secs(1);
/// Before the next try when a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// From what a quorum's fsync takes to the longest attempt timer, close together where networks usually answer.
const SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
];
/// From a write to a cache, or a call to the next machine, to a disk that is about to fail.
const FINE_SECONDS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// From a small state to the longest that the transfer of one may take, which is ten minutes.
const TRANSFER_SECONDS: &[f64] = &[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];
/// Up to a full pack.
const COMMANDS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn shown(method: Method, path: &str) -> (u16, Option<String>) {
        let pages: Pages = Arc::new(|page| match page {
            Page::Ready => (StatusCode::SERVICE_UNAVAILABLE, "no leader is known\n".to_owned()),
            page => (StatusCode::OK, format!("{page:?}")),
        });
        let request = Request::builder().method(method).uri(path).body(()).expect("a request");
        let response = answer(&request, &pages);
        let allow = response.headers().get(header::ALLOW).map(|allow| allow.to_str().expect("ASCII").to_owned());
        (response.status().as_u16(), allow)
    }

    #[test]
    fn there_are_four_pages_by_get_and_nothing_else() {
        for (path, status) in [("/livez", 200), ("/readyz", 503), ("/startupz", 200), ("/metrics", 200)] {
            assert_eq!(shown(Method::GET, path), (status, None), "{path}");
            for method in [Method::POST, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS] {
                assert_eq!(shown(method.clone(), path), (405, Some("GET".to_owned())), "{method} {path}");
            }
        }
        assert_eq!(shown(Method::GET, "/metrics?name=x"), (200, None));
        for path in ["/", "/livez/", "/LIVEZ", "/metrics/x", "/debug", "//livez"] {
            assert_eq!(shown(Method::GET, path), (404, None), "{path}");
        }
    }

    #[tokio::test]
    async fn a_connection_gets_its_page_and_ends_with_the_node() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let stop = CancellationToken::new();
        let pages: Pages = Arc::new(|page| (StatusCode::OK, format!("{page:?}")));
        let served = tokio::spawn(serve(listener, pages, stop.clone()));

        let mut stream = TcpStream::connect(address).await.expect("connects");
        stream.write_all(b"GET /startupz HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("written");
        let mut answer = vec![0; 1024];
        let mut length = 0;
        while !answer[..length].ends_with(b"Started") {
            length += stream.read(&mut answer[length..]).await.expect("read");
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));

        // The connection is still open, and does not keep the node.
        stop.cancel();
        served.await.expect("ends");
        assert_eq!(stream.read(&mut answer).await.expect("closed"), 0);
    }
}
