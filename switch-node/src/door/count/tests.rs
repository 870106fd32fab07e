//! What is counted of a call, in every way that one can end.

use bytes::Bytes;
use futures::FutureExt as _;
use http_body_util::{BodyExt as _, Empty, Full, combinators::UnsyncBoxBody};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tokio::time::Duration;
use tower::{ServiceBuilder, ServiceExt as _, service_fn};

use super::*;
use crate::{
    door::{access::AccessLayer, refusal::refused},
    telemetry::seldom::tests::Lines,
};

const AUTHORIZE: &str = "/payswitch.gateway.v1.AuthorizationService/Authorize";
const BOOTSTRAP: &str = "/payswitch.operator.v1.ClusterService/Bootstrap";

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

fn recorder() -> (PrometheusRecorder, PrometheusHandle) {
    let recorder = PrometheusBuilder::new().build_recorder();
    let page = recorder.handle();
    (recorder, page)
}

/// Calls that were counted: method, code, how many.
fn counted(page: &PrometheusHandle) -> Vec<(String, String, u64)> {
    let mut counted: Vec<_> = page
        .render()
        .lines()
        .filter_map(|line| {
            let rest = line.strip_prefix("payswitch_rpc_requests_total{plane=\"gateway\",method=\"")?;
            let (method, rest) = rest.split_once("\",code=\"")?;
            let (code, count) = rest.split_once("\"} ")?;
            Some((method.to_owned(), code.to_owned(), count.parse().ok()?))
        })
        .filter(|(_, _, count)| *count > 0)
        .collect();
    counted.sort();
    counted
}

fn once(method: &str, code: &str) -> Vec<(String, String, u64)> {
    vec![(method.to_owned(), code.to_owned(), 1)]
}

fn gateway(path: &str) -> Request<()> {
    let mut request = Request::builder().uri(path).body(()).expect("a path");
    request.extensions_mut().insert(PeerIdentity::invented("spiffe://switch.test/gateway/acme", Role::Gateway));
    request
}

/// An answer of one message, and how it ends.
fn answer(code: Code) -> Answer {
    let mut trailers = HeaderMap::new();
    trailers.insert(GRPC_STATUS, (code as i32).into());
    let body = Full::new(Bytes::from_static(b"message")).with_trailers(std::future::ready(Some(Ok(trailers))));
    Response::new(body.boxed_unsync())
}

fn refusal(code: Code, reason: &'static str) -> Answer {
    refused(code, reason, "no").status().into_http::<()>().map(|()| Empty::new().boxed_unsync())
}

/// A door whose service gives `answer` a second after it was asked.
fn door(
    answer: fn() -> Answer,
) -> impl Service<Request<()>, Response = Response<CountedBody<UnsyncBoxBody<Bytes, Infallible>>>, Error = Infallible> {
    ServiceBuilder::new().layer(CountLayer::new(Role::Gateway)).layer(AccessLayer).service(service_fn(
        move |_: Request<()>| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok::<_, Infallible>(answer())
        },
    ))
}

#[tokio::test(start_paused = true)]
async fn an_answer_counts_once_it_has_ended_and_took_as_long_as_until_it_began() {
    let (recorder, page) = recorder();
    let _recorded = metrics::set_default_local_recorder(&recorder);
    let response = door(|| answer(Code::Ok)).oneshot(gateway(AUTHORIZE)).await.expect("infallible");
    assert_eq!(counted(&page), []);
    tokio::time::advance(Duration::from_secs(60)).await;
    let body = response.into_body().collect().await.expect("infallible");
    assert!(body.trailers().is_some());
    assert_eq!(counted(&page), once(AUTHORIZE, "OK"));
    let took = format!("payswitch_rpc_duration_seconds_sum{{plane=\"gateway\",method=\"{AUTHORIZE}\"}} 1");
    assert!(page.render().lines().any(|line| line == took), "{}", page.render());
}

#[tokio::test(start_paused = true)]
async fn a_stream_counts_with_the_code_that_ends_it() {
    let (recorder, page) = recorder();
    let _recorded = metrics::set_default_local_recorder(&recorder);
    let response = door(|| answer(Code::Unavailable)).oneshot(gateway(AUTHORIZE)).await.expect("infallible");
    response.into_body().collect().await.expect("infallible");
    assert_eq!(counted(&page), once(AUTHORIZE, "UNAVAILABLE"));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_counts_with_its_code_although_nobody_reads_its_body() {
    let (recorder, page) = recorder();
    let _recorded = metrics::set_default_local_recorder(&recorder);
    let malformed = || refusal(Code::InvalidArgument, "DEADLINE_MALFORMED");
    drop(door(malformed).oneshot(gateway(AUTHORIZE)).await.expect("infallible"));
    assert_eq!(counted(&page), once(AUTHORIZE, "INVALID_ARGUMENT"));
}

#[tokio::test(start_paused = true)]
async fn whose_caller_hangs_up_counts_as_cancelled_before_and_within_its_answer() {
    let (recorder, page) = recorder();
    let _recorded = metrics::set_default_local_recorder(&recorder);
    let asking = door(|| answer(Code::Ok)).oneshot(gateway(AUTHORIZE));
    assert!(tokio::time::timeout(Duration::from_millis(10), asking).await.is_err());
    assert_eq!(counted(&page), once(AUTHORIZE, "CANCELLED"));
    let mut body = door(|| answer(Code::Ok)).oneshot(gateway(AUTHORIZE)).await.expect("infallible").into_body();
    assert!(body.frame().await.is_some_and(|frame| frame.is_ok_and(|frame| frame.is_data())));
    drop(body);
    assert_eq!(counted(&page), [(AUTHORIZE.to_owned(), "CANCELLED".to_owned(), 2)]);
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_what_it_may_not_is_counted_and_makes_no_series_of_its_own() {
    let (recorder, page) = recorder();
    let _recorded = metrics::set_default_local_recorder(&recorder);
    for path in [BOOTSTRAP, "/made.up/Method", "/made.up/Other"] {
        let asked = door(|| answer(Code::Ok)).oneshot(gateway(path)).now_or_never().expect("refused at once");
        drop(asked.expect("infallible"));
    }
    let nobody = Request::builder().uri(AUTHORIZE).body(()).expect("a path");
    drop(door(|| answer(Code::Ok)).oneshot(nobody).await.expect("infallible"));
    let of = |method: &str, code: &str, count| (method.to_owned(), code.to_owned(), count);
    let expected = [
        of(AUTHORIZE, "UNAUTHENTICATED", 1),
        of(BOOTSTRAP, "PERMISSION_DENIED", 1),
        of("other", "PERMISSION_DENIED", 2),
    ];
    assert_eq!(counted(&page), expected);
}

#[test]
fn counts_of_a_door_begin_at_zero() {
    let (recorder, page) = recorder();
    let _recorded = metrics::set_default_local_recorder(&recorder);
    drop(CountLayer::new(Role::Gateway));
    let page = page.render();
    let series = |method: &str, code: &str| {
        format!("payswitch_rpc_requests_total{{plane=\"gateway\",method=\"{method}\",code=\"{code}\"}} 0")
    };
    for line in [series(AUTHORIZE, "OK"), series(access::OTHER, "PERMISSION_DENIED")] {
        assert!(page.lines().any(|shown| shown == line), "{line} in\n{page}");
    }
    assert!(!page.contains("operator"), "{page}");
}

#[tokio::test(start_paused = true)]
async fn a_denial_names_who_asked_for_what_once_a_second() {
    let lines = Lines::default();
    let _logged = lines.of_this_thread();
    let denials = Denials::default();
    let assigned = || refused(Code::PermissionDenied, "MERCHANT_NOT_ASSIGNED", "not yours").status();
    denials.tell("spiffe://switch.test/gateway/acme", AUTHORIZE, Code::InvalidArgument, assigned);
    for _ in 0..100 {
        denials.tell("spiffe://switch.test/gateway/acme", AUTHORIZE, Code::PermissionDenied, assigned);
    }
    let said = lines.take();
    assert_eq!(said.lines().count(), 1, "{said}");
    for word in ["spiffe://switch.test/gateway/acme", AUTHORIZE, "MERCHANT_NOT_ASSIGNED", "not yours"] {
        assert!(said.contains(word), "{word} in {said}");
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    denials.tell("spiffe://switch.test/gateway/acme", AUTHORIZE, Code::Unauthenticated, assigned);
    assert_eq!(lines.take().lines().count(), 1);
}
