//! The gateway's own answers: errors as problem+json or gRPC statuses, redirects, fixed responses, its own paths.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;

use crate::support::gateway::everything_to;
use crate::support::grpc::{Caller, Number};
use crate::support::{Answer, Gateway, Origin, RawOrigin, Request, eventually, full, soon};

/// Refusals of every kind a configuration alone can cause: what is at each path follows from its name.
fn failures(origin: &Origin) -> String {
    let url = origin.url();
    format!(
        "services:\n  app: {{ targets: [\"{url}\"] }}\n  nobody: {{ targets: [\"http://127.0.0.1:1\"] }}\nroutes:\n\
         \x20 - {{ name: read, path_pattern: /read, methods: [GET, HEAD], target_service: app }}\n\
         \x20 - {{ name: change, path_pattern: /read, methods: [PUT], target_service: app }}\n\
         \x20 - {{ name: nobody, path_pattern: /nobody/*, target_service: nobody }}\n\
         \x20 - {{ name: slow, path_pattern: /slow/*, target_service: app, timeout: 300ms }}\n\
         \x20 - {{ name: silent, path_pattern: /silent/*, rewrite: \"/slow/{{*}}\", target_service: app, timeouts: {{ idle: 300ms }} }}\n\
         \x20 - {{ name: status, path_pattern: /status/*, target_service: app }}\n"
    )
}

fn assert_problem(answer: &Answer, status: u16, code: &str) {
    let problem = answer.problem();
    assert_eq!((answer.status.as_u16(), problem["code"].as_str()), (status, Some(code)), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_problems_with_a_code_and_an_id() {
    let origin = Origin::start().await;
    let gateway = Gateway::start(&failures(&origin)).await;
    for (path, status, code) in [
        ("/nowhere", 404, "no_route"),
        ("/nobody/x", 502, "upstream_unreachable"),
        ("/slow/5000", 504, "upstream_timeout"),
        ("/silent/5000", 504, "upstream_timeout"),
    ] {
        for mut client in [gateway.h1().await, gateway.h2c().await] {
            assert_problem(&client.ask(Request::get(path)).await, status, code);
        }
    }
    assert_eq!(gateway.get("/slow/1").await.text(), "at last");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_nobody_takes_is_405_and_allow_names_the_others() {
    let origin = Origin::start().await;
    let gateway = Gateway::start(&failures(&origin)).await;
    let answer = gateway.ask(Request::post("/read").body(full("unread")).unwrap()).await;
    assert_problem(&answer, 405, "method_not_allowed");
    let mut allowed: Vec<_> = answer.header("allow").unwrap().split(',').map(str::trim).collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "PUT"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_for_head_has_no_body() {
    let gateway = Gateway::to(&Origin::start().await).await;
    gateway.reload("").unwrap();
    let mut raw = gateway.raw().await;
    raw.send("HEAD /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert_eq!(raw.response_head().await.status(), 404);
    assert!(raw.rest().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_head_for_head_has_no_body_either() {
    let gateway = Gateway::to(&Origin::start().await).await;
    for head in [
        "HEAD /m HTTP/1.1\r\nHost: a b\r\n\r\n",
        "\r\nHEAD /\\ HTTP/1.1\r\nHost: a\r\n\r\n",
        "HEAD /m HTTP/1.1\r\n\r\n",
    ] {
        let mut raw = gateway.raw().await;
        let answer = raw.send(head).await.response_head().await;
        assert_eq!(answer.status(), 400);
        assert!(answer.header("content-length").is_some_and(|length| length != "0"), "what GET would get");
        assert_eq!(String::from_utf8_lossy(&raw.rest().await), "", "{head:?}");
    }
    let mut stream = tokio::net::UnixStream::connect(gateway.file("admin.sock")).await.unwrap();
    stream.write_all(b"HEAD /health HTTP/1.1\r\nHost: a b\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    soon("the answer of the administration", stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400") && answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_before_the_body_does_not_cost_the_connection() {
    let gateway =
        Gateway::start("routes:\n  - { name: here, path_pattern: /here, respond: { status: 200, body: here } }\n")
            .await;
    let post = "POST /nowhere HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 28\r\n\r\n";
    // A body that looks like a request is a body, however late it comes.
    let (body, next) = ("GET /x HTTP/1.1\r\nHost: b\r\n\r\n", "GET /here HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut raw = gateway.raw().await;
    for _ in 0..2 {
        let answer = raw.send(post).await.response().await;
        assert_eq!((answer.status(), answer.header("connection")), (404, Some("keep-alive")));
        tokio::time::sleep(Duration::from_millis(30)).await;
        let answer = raw.send(format!("{body}{next}")).await.response().await;
        assert_eq!((answer.status(), answer.text()), (200, "here"));
    }
    // One that is too long to be waited for costs it.
    let answer = raw.send(post.replace("28", "100000")).await.response().await;
    assert_eq!((answer.status(), answer.header("connection")), (404, Some("close")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_body_of_a_refused_request_is_never_taken_for_the_next_request() {
    let gateway =
        Gateway::start("routes:\n  - { name: here, path_pattern: /here, respond: { status: 200, body: here } }\n")
            .await;
    let smuggled = "GET /here HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut raw = gateway.raw().await;
    raw.send(format!("POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{smuggled}", smuggled.len()))
        .await;
    raw.send("GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert_eq!(raw.response().await.status(), 404);
    if let Some(next) = raw.next_response().await {
        assert_eq!(next.status(), 404, "{next:?}");
    }
}

/// What is wrong with the answer to a malformed head, if anything is.
async fn is_refused(gateway: &Gateway, head: &str) -> Result<(), String> {
    let mut raw = gateway.raw().await;
    raw.send(format!("{head}\r\n")).await;
    let answer = tokio::time::timeout(Duration::from_secs(2), raw.next_response()).await;
    let response = answer.map_err(|_| "no answer")?.ok_or("the connection ended without an answer")?;
    if response.status() != 400 {
        return Err(response.first_line);
    }
    if response.header("content-type") != Some("application/problem+json") || response.header("x-request-id").is_none()
    {
        return Err("400, but no problem with an id".into());
    }
    let problem: serde_json::Value = serde_json::from_slice(&response.body).map_err(|error| error.to_string())?;
    if problem["code"].as_str() != response.header("x-gatekeeper-error") {
        return Err(problem.to_string());
    }
    let rest = tokio::time::timeout(Duration::from_secs(2), raw.rest()).await.map_err(|_| "not closed")?;
    if rest.is_empty() { Ok(()) } else { Err(String::from_utf8_lossy(&rest).into_owned()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_are_400_and_the_connection_ends() {
    let origin = Origin::start().await;
    let gateway = Gateway::to(&origin).await;
    let mut faults = Vec::new();
    for head in [
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 5\r\nTransfer-Encoding: chunked\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n",
        "GET /a\"b HTTP/1.1\r\nHost: a\r\n",
        "GET /a\\b HTTP/1.1\r\nHost: a\r\n",
        "GET /%zz HTTP/1.1\r\nHost: a\r\n",
        "GET /%00 HTTP/1.1\r\nHost: a\r\n",
        "GET /../a HTTP/1.1\r\nHost: a\r\n",
        "GET /a/%2e%2e/%2e%2e/b HTTP/1.1\r\nHost: a\r\n",
    ] {
        if let Err(fault) = is_refused(&gateway, head).await {
            faults.push(format!("{head:?}: {fault}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(origin.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_is_refused() {
    let gateway = Gateway::to(&Origin::start().await).await;
    let mut raw = gateway.raw().await;
    let response = raw.send("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n").await.response().await;
    assert_eq!(response.status(), 501, "{response:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstreams_own_errors_pass_untouched() {
    let gateway = Gateway::to(&Origin::start().await).await;
    for status in [400, 404, 429, 500, 502, 503, 504] {
        let answer = gateway.get(&format!("/status/{status}")).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (status, format!("status {status}").as_str()));
        assert_eq!((answer.header("x-gatekeeper-error"), answer.header("content-type")), (None, None));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_clients_get_their_errors_as_trailers_alone() {
    let origin = Origin::start().await;
    let gateway = Gateway::start(&failures(&origin)).await;
    let mut client = gateway.h2c().await;
    for content_type in ["application/grpc", "application/grpc+proto"] {
        for (path, grpc_status) in [("/nowhere", "12"), ("/read", "12"), ("/nobody/x", "14"), ("/slow/5000", "4")] {
            let request = Request::post(path).header("content-type", content_type).header("te", "trailers");
            let answer = client.ask(request).await;
            assert_eq!((answer.status.as_u16(), answer.header("grpc-status")), (200, Some(grpc_status)), "{path}");
            assert!(answer.header("content-type").unwrap().starts_with("application/grpc"));
            assert!(answer.header("grpc-message").is_some());
            assert!(answer.body.is_empty() && answer.trailers.is_empty(), "{answer:?}");
            assert!(answer.header("x-gatekeeper-error").is_some() && answer.header("x-request-id").is_some());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_grpc_is_answered_like_grpc_and_what_it_was_refused_for_is_recorded() {
    let gateway = Gateway::to(&Origin::start().await).await;
    gateway.reload("").unwrap();
    let grpc = |request: http::request::Builder| request.header("content-type", "application/grpc");
    let (mut h1, mut h2) = (gateway.h1().await, gateway.h2c().await);
    assert_problem(&h1.ask(grpc(Request::post("/http1"))).await, 404, "no_route");
    assert_problem(&h2.ask(grpc(Request::get("/get"))).await, 404, "no_route");
    assert_eq!(h2.ask(grpc(Request::post("/call"))).await.header("grpc-status"), Some("12"));
    for path in ["/http1", "/get", "/call"] {
        let record = gateway.log_of(path).await;
        assert_eq!((record["status_code"].as_u64(), record["error_code"].as_str()), (Some(404), Some("no_route")));
    }
    let refused = "gatekeeper_requests_total{route=\"\",method=\"POST\",status=\"404\"}";
    assert_eq!(gateway.metric(refused).await, 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_client_understands_the_gateways_errors() {
    let origin = Origin::start().await;
    let url = origin.url();
    let gateway = Gateway::start(&format!(
        "services:\n  nobody: {{ targets: [\"http://127.0.0.1:1\"], protocol: h2 }}\n\
         \x20 slow: {{ targets: [\"{url}\"], protocol: h2 }}\nroutes:\n\
         \x20 - {{ name: nobody, path_pattern: /test.Numbers/Double, target_service: nobody }}\n"
    ))
    .await;
    let mut caller = Caller::connect(gateway.address).await;
    let unavailable = caller.double(tonic::Request::new(Number { value: 1 })).await.unwrap_err();
    assert_eq!(unavailable.code(), Code::Unavailable, "{unavailable:?}");
    let unknown = caller.unary("/test.Numbers/Unknown", tonic::Request::new(Number { value: 1 })).await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unimplemented, "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_fills_in_what_the_request_had() {
    let gateway = Gateway::start(
        "routes:\n\
         \x20 - { name: moved, path_pattern: /old/*, redirect: { to: \"https://{host}/new/{*}{query}\" } }\n\
         \x20 - { name: named, path_pattern: \"/users/{id}\", redirect: { status: 302, to: \"/people/{id}?from={path}\" } }\n",
    )
    .await;
    let answer = gateway.get("/old/a/b?c=d").await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (308, Some("https://gateway.test/new/a/b?c=d")));
    let answer = gateway.get("/users/7").await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (302, Some("/people/7?from=/users/7")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fixed_response_is_as_it_was_written() {
    let gateway = Gateway::start(
        "routes:\n  - name: here\n    path_pattern: /here\n    respond:\n      status: 503\n      body: back soon\n\
         \x20     headers: { Content-Type: text/plain, Retry-After: \"60\" }\n",
    )
    .await;
    for mut client in [gateway.h1().await, gateway.h2c().await] {
        let answer = client.ask(Request::get("/here")).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (503, "back soon"));
        assert_eq!((answer.header("content-type"), answer.header("retry-after")), (Some("text/plain"), Some("60")));
        assert_eq!(answer.header("x-gatekeeper-error"), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateways_own_paths_answer_on_both_listeners() {
    let gateway = Gateway::to(&Origin::start().await).await;
    for path in ["/health", "/ready"] {
        assert_eq!(gateway.get(path).await.status, 200, "{path}");
        assert_eq!(gateway.admin(path).await.status, 200, "{path}");
    }
    assert_eq!(gateway.get("/metrics").await.seen().target, "/metrics");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateways_own_paths_can_be_moved_or_kept_from_the_public() {
    let origin = Origin::start().await;
    let routes = everything_to(origin.url());
    let moved = Gateway::start(&format!("own_paths: {{ health: /-/alive, ready: /-/ready }}\n{routes}")).await;
    assert_eq!(moved.get("/-/alive").await.header("via"), None);
    assert!(moved.get("/-/alive").await.header("content-type").is_some());
    assert_eq!(moved.get("/health").await.seen().target, "/health");
    let hidden = Gateway::start(&format!("own_paths: {{ public: false }}\n{routes}")).await;
    assert_eq!(hidden.get("/ready").await.seen().target, "/ready");
    assert_eq!(hidden.admin("/ready").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_by_route_and_never_by_path() {
    let origin = Origin::start().await;
    let gateway = Gateway::start(&failures(&origin)).await;
    for _ in 0..3 {
        gateway.get("/status/418").await;
    }
    gateway.get("/nowhere/secret").await;
    let metrics = eventually("three requests are counted", async || {
        let metrics = gateway.metrics().await;
        let counted = metrics.lines().any(|line| {
            line.contains("route=\"status\"") && line.contains("418") && line.contains("GET") && line.ends_with(" 3")
        });
        counted.then_some(metrics)
    })
    .await;
    assert!(metrics.lines().any(|line| line.starts_with("# TYPE") && line.ends_with(" histogram")), "{metrics}");
    assert!(!metrics.contains("secret") && !metrics.contains("/status"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_does_not_wait_for_the_body_is_heard() {
    let answer = "HTTP/1.1 413 Payload Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig";
    let origin = RawOrigin::playing(move |mut peer| async move {
        peer.request_head().await;
        peer.send(answer).await;
        peer.rest().await;
    })
    .await;
    let gateway = Gateway::to_url(&origin.url()).await;
    let mut raw = gateway.raw().await;
    raw.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbeginning").await;
    let response = raw.response().await;
    assert_eq!((response.status(), response.text()), (413, "big"));
}
