//! A request goes to the upstream and its answer comes back, whatever versions of HTTP the two ends speak.

use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::Version;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::net::TcpListener;

use crate::support::client::BoxError;
use crate::support::pattern::{self, checksum};
use crate::support::{Answer, Gateway, Origin, Raw, RawOrigin, Recorder, Request, full, soon};

/// A route `/NAME/*` per protocol, to a service that speaks it.
fn by_protocol(url: &str) -> String {
    let mut config = String::from("services:\n");
    for protocol in ["http1", "h2"] {
        config += &format!(
            "  {protocol}: {{ targets: [\"{url}\"], protocol: {protocol}, circuit_breaker: {{ enabled: false }} }}\n"
        );
    }
    config += "routes:\n";
    for protocol in ["http1", "h2"] {
        config += &format!(
            "  - {{ name: {protocol}, path_pattern: /{protocol}/*, target_service: {protocol}, strip_prefix: /{protocol} }}\n"
        );
    }
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn method_target_and_body_reach_the_upstream_as_they_were_sent() {
    let origin = Origin::start().await;
    let gateway = Gateway::to(&origin).await;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"] {
        let request = Request::builder().method(method).uri("/a/b?c=d&c=%20e&&f=/../%2F?").body(full("body")).unwrap();
        let seen = gateway.ask(request).await.seen();
        assert_eq!(seen.method, method);
        assert_eq!(seen.target, "/a/b?c=d&c=%20e&&f=/../%2F?");
        assert_eq!((seen.body_length, seen.body_checksum), (4, checksum(b"body")), "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_and_upstreams_of_both_versions_understand_each_other() {
    let origin = Origin::start().await;
    let gateway = Gateway::start(&by_protocol(origin.url())).await;
    for mut client in [gateway.h1().await, gateway.h2c().await] {
        for (protocol, version) in [("http1", "HTTP/1.1"), ("h2", "HTTP/2.0")] {
            let request = Request::post(format!("/{protocol}/x?y=z")).body(full("hello")).unwrap();
            let seen = client.ask(request).await.seen();
            assert_eq!((seen.version.as_str(), seen.target.as_str()), (version, "/x?y=z"));
            assert_eq!((seen.body_checksum, seen.host.as_str()), (checksum(b"hello"), "gateway.test"));

            let upload = Request::put(format!("/{protocol}/sink")).body(pattern::body(300_000)).unwrap();
            let verdict = client.ask(upload).await.json();
            assert_eq!((verdict["bytes"].as_u64(), verdict["intact"].as_bool()), (Some(300_000), Some(true)));

            let mut checker = pattern::Checker::new();
            checker.take(&client.ask(Request::get(format!("/{protocol}/bytes/300000?chunked"))).await.body);
            assert!(checker.intact && checker.bytes == 300_000, "{protocol}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_ends_once() {
    let upstream = Recorder::start().await;
    let gateway = Gateway::to_url(&upstream.url()).await;
    let mut client = gateway.h2c().await;
    for _ in 0..3 {
        // Its end is an empty piece of its own.
        let pieces = stream::unfold(0, async |number| {
            tokio::time::sleep(Duration::from_millis(20)).await;
            (number == 0).then(|| (Ok::<_, BoxError>(Frame::data(Bytes::from("hello"))), 1))
        });
        let body = StreamBody::new(Box::pin(pieces)).boxed_unsync();
        assert_eq!(client.ask(Request::post("/x").body(body).unwrap()).await.text(), "ok");
        let transcript = upstream.take_ended("the request").await.concat();
        assert!(transcript.ends_with(b"\r\n5\r\nhello\r\n0\r\n\r\n"), "{}", transcript.escape_ascii());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_gets_the_version_it_speaks() {
    let gateway = Gateway::to(&Origin::start().await).await;
    assert_eq!(gateway.h1().await.ask(Request::get("/status/200")).await.version, Version::HTTP_11);
    assert_eq!(gateway.h2c().await.ask(Request::get("/status/200")).await.version, Version::HTTP_2);
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_without_a_body_leave_the_connection_usable() {
    let origin = Origin::start().await;
    let gateway = Gateway::to(&origin).await;
    let mut raw = gateway.raw().await;
    raw.send("HEAD /bytes/1000 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let head = raw.response_head().await;
    assert_eq!((head.status(), head.header("content-length")), (200, Some("1000")));
    for status in [204, 304] {
        raw.send(format!("GET /status/{status} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        let response = raw.response().await;
        assert_eq!((response.status(), response.header("transfer-encoding")), (status, None));
    }
    raw.send("GET /text/5 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(raw.response().await.text(), "all w");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_1_0_client_gets_no_chunks() {
    let origin = Origin::start().await;
    let gateway = Gateway::to(&origin).await;
    for keep_alive in ["", "Connection: keep-alive\r\n"] {
        let mut raw = gateway.raw().await;
        raw.send(format!("GET /bytes/1000?chunked HTTP/1.0\r\nHost: a\r\n{keep_alive}\r\n")).await;
        let head = raw.response_head().await;
        assert_eq!((head.status(), head.header("transfer-encoding")), (200, None));
        let mut checker = pattern::Checker::new();
        checker.take(&raw.rest().await);
        assert!(checker.intact && checker.bytes == 1000, "{} bytes", checker.bytes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_1_0_client_keeps_its_connection_only_if_it_asks_to() {
    let gateway = Gateway::to(&Origin::start().await).await;
    let mut raw = gateway.raw().await;
    for _ in 0..2 {
        raw.send("GET /bytes/10 HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n").await;
        let response = raw.response().await;
        let connection = response.header("connection").map(str::to_ascii_lowercase);
        assert_eq!((response.body.len(), connection.as_deref()), (10, Some("keep-alive")));
    }
    raw.send("GET /bytes/10 HTTP/1.0\r\nHost: a\r\n\r\n").await;
    assert_eq!(raw.response().await.body.len(), 10);
    assert!(raw.rest().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_shorter_than_the_http2_preface_is_answered() {
    let gateway = Gateway::to(&Origin::start().await).await;
    let mut raw = gateway.raw().await;
    raw.send("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(raw.response().await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_expects_100_continue_gets_it_before_it_sends() {
    let origin = RawOrigin::playing(|mut peer| async move {
        peer.request_head().await;
        peer.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        peer.chunk().await;
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        peer.rest().await;
    })
    .await;
    let gateway = Gateway::to_url(&origin.url()).await;
    let mut raw = gateway.raw().await;
    raw.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    assert_eq!(raw.response().await.status(), 100);
    let response = raw.send("5\r\nhello\r\n0\r\n\r\n").await.response().await;
    assert_eq!((response.status(), response.text()), (200, "ok"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_may_refuse_an_expected_body_unseen() {
    let origin = RawOrigin::playing(|mut peer| async move {
        peer.request_head().await;
        peer.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
        peer.rest().await;
    })
    .await;
    let gateway = Gateway::to_url(&origin.url()).await;
    let mut raw = gateway.raw().await;
    raw.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").await;
    assert_eq!(raw.response().await.status(), 401);
}

const EARLY_HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n\
    HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test(flavor = "multi_thread")]
async fn early_hints_come_through() {
    let gateway = Gateway::to_url(&RawOrigin::answering(EARLY_HINTS).await.url()).await;
    let mut raw = gateway.raw().await;
    raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let hints = raw.response().await;
    assert_eq!((hints.status(), hints.header("link")), (103, Some("</a.css>; rel=preload")));
    let response = raw.response().await;
    assert_eq!((response.status(), response.text()), (200, "ok"));
}

/// The framework's HTTP/2 server sends no informational responses: the final one must come all the same.
#[tokio::test(flavor = "multi_thread")]
async fn early_hints_do_not_disturb_an_http2_client() {
    let gateway = Gateway::to_url(&RawOrigin::answering(EARLY_HINTS).await.url()).await;
    let answer = gateway.h2c().await.ask(Request::get("/")).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (200, "ok"));
}

const WITH_TRAILERS: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-checksum\r\n\r\n3\r\nabc\r\n0\r\nx-checksum: 42\r\n\r\n";

/// The framework knows no trailers in HTTP/1.1. RFC 9110 6.5.1 lets them be discarded; the body must stay whole.
#[tokio::test(flavor = "multi_thread")]
async fn trailers_are_discarded_where_one_side_speaks_http1() {
    let from_http1 = Gateway::to_url(&RawOrigin::answering(WITH_TRAILERS).await.url()).await;
    let from_http2 = Gateway::start(&by_protocol(Origin::start().await.url())).await;
    for (gateway, path, body) in [(&from_http1, "/", "abc"), (&from_http2, "/h2/trailers", "with trailers")] {
        let mut raw = gateway.raw().await;
        raw.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n")).await;
        let response = raw.response().await;
        assert_eq!((response.text(), response.complete), (body, true));
        assert!(response.trailers.is_empty() && response.header("trailer").is_none(), "{response:?}");
    }
    let answer = from_http1.h2c().await.ask(Request::get("/").header("te", "trailers")).await;
    assert_eq!(answer.text(), "abc");
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_of_an_http2_upstream_reach_an_http2_client() {
    let origin = Origin::start().await;
    let gateway = Gateway::start(&by_protocol(origin.url())).await;
    let answer = gateway.h2c().await.ask(Request::get("/h2/trailers").header("te", "trailers")).await;
    assert_eq!((answer.text(), answer.header("trailer")), ("with trailers", Some("x-checksum")));
    let trailers: Vec<_> = answer.trailers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    assert_eq!(trailers, [("x-checksum", &b"42"[..])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_their_order() {
    let gateway = Gateway::to(&Origin::start().await).await;
    let mut raw = gateway.raw().await;
    let mut requests = String::from("GET /slow/200 HTTP/1.1\r\nHost: a\r\n\r\n");
    for index in 1..10 {
        let body = "x".repeat(index);
        requests += &format!("POST /number/{index} HTTP/1.1\r\nHost: a\r\nContent-Length: {index}\r\n\r\n{body}");
    }
    raw.send(requests).await;
    assert_eq!(raw.response().await.text(), "at last");
    for index in 1..10 {
        let response = raw.response().await;
        let seen: crate::support::Seen = serde_json::from_slice(&response.body).unwrap();
        assert_eq!((seen.target, seen.body_length), (format!("/number/{index}"), index));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_closes_its_connection_does_not_close_the_clients() {
    let origin = Origin::start().await;
    let gateway = Gateway::to(&origin).await;
    let mut raw = gateway.raw().await;
    for _ in 0..3 {
        raw.send("GET /text/3 HTTP/1.1\r\nHost: a\r\nAnswer-Connection: close\r\n\r\n").await;
        let response = raw.response().await;
        assert_eq!((response.text(), response.complete), ("all", true));
        assert_ne!(response.header("connection"), Some("close"));
    }
    assert_eq!(origin.connections(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_ends_with_its_connection_ends_cleanly_for_the_client() {
    let gateway = Gateway::to_url(&RawOrigin::answering_once("HTTP/1.1 200 OK\r\n\r\nuntil the end").await.url()).await;
    assert_eq!(gateway.get("/").await.text(), "until the end");
    assert_eq!(gateway.h2c().await.ask(Request::get("/")).await.text(), "until the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_wish_to_close_is_honoured() {
    let gateway = Gateway::to(&Origin::start().await).await;
    let mut raw = gateway.raw().await;
    raw.send("GET /text/3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    let response = raw.response().await;
    assert_eq!((response.text(), response.header("connection")), ("all", Some("close")));
    assert!(raw.rest().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_response_headers_stay_apart_and_in_order() {
    let answer = "HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n";
    let gateway = Gateway::to_url(&RawOrigin::answering(answer).await.url()).await;
    let response = gateway.get("/").await;
    let cookies: Vec<_> = response.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1; Path=/", "b=2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_on_a_unix_socket_is_reached() {
    let dir = tempfile::tempdir().unwrap();
    let origin = Origin::unix(dir.path().join("app.sock").to_str().unwrap());
    let gateway = Gateway::start(&by_protocol(origin.url())).await;
    for (path, version) in [("/http1/a", "HTTP/1.1"), ("/h2/a", "HTTP/2.0")] {
        let seen = gateway.get(path).await.seen();
        assert_eq!((seen.connection.origin.as_str(), seen.version.as_str()), ("unix", version));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_an_upstream_are_kept_and_closed_after_their_idle_time() {
    let origin = Origin::start().await;
    let url = origin.url();
    let gateway = Gateway::start(&format!(
        "services:\n  app: {{ targets: [\"{url}\"], idle_timeout: 300ms }}\n\
         routes:\n  - {{ name: all, path_pattern: /*, target_service: app }}\n"
    ))
    .await;
    let mut client = gateway.h1().await;
    for _ in 0..10 {
        assert_eq!(client.ask(Request::get("/")).await.seen().connection.number, 1);
    }
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    assert_eq!(client.ask(Request::get("/")).await.seen().connection.number, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_get_their_share_by_weight() {
    let (light, heavy) = (Origin::named("light").await, Origin::named("heavy").await);
    let gateway = Gateway::start(&format!(
        "services:\n  app: {{ targets: [\"{}\", {{ url: \"{}\", weight: 3 }}] }}\n\
         routes:\n  - {{ name: all, path_pattern: /*, target_service: app }}\n",
        light.url(),
        heavy.url()
    ))
    .await;
    let mut client = gateway.h1().await;
    for _ in 0..400 {
        assert_eq!(client.ask(Request::get("/")).await.status, 200);
    }
    assert_eq!(light.requests() + heavy.requests(), 400);
    assert!((70..=130).contains(&light.requests()), "{} of 400 instead of 100", light.requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_breaks_off_is_truncated_for_every_client_and_in_the_log() {
    let origin = Origin::start().await;
    let gateway = Gateway::start(&by_protocol(origin.url())).await;
    for (number, path) in
        ["/http1/gone/10", "/http1/gone/11?chunked", "/h2/gone/12", "/h2/gone/13?chunked"].into_iter().enumerate()
    {
        for mut client in [gateway.h1().await, gateway.h2c().await] {
            let response = client.send(Request::get(path)).await.unwrap();
            assert_eq!(response.status(), 200);
            let end = soon("the end", Answer::collect(response)).await;
            assert!(end.is_err(), "{path} ended cleanly: {end:?}");
        }
        let mut raw = gateway.raw().await;
        raw.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        let response = raw.response().await;
        assert!(!response.complete, "{path} ended cleanly: {response:?}");
        assert_eq!(response.body.len(), number + 10);

        let logged = gateway.log_of(path.trim_end_matches("?chunked")).await;
        assert_eq!(logged["truncated"], true, "{logged}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_http_is_a_502() {
    for garbage in [
        "this is not HTTP\r\n\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "\0\0\0\0\0\0\0\0\r\n\r\n",
        "",
    ] {
        let origin = RawOrigin::answering_once(garbage).await;
        let gateway = Gateway::to_url(&origin.url()).await;
        for mut client in [gateway.h1().await, gateway.h2c().await] {
            let answer = client.ask(Request::get("/")).await;
            assert_eq!(answer.status, 502, "{garbage:?}");
            assert_eq!(answer.problem()["code"], "upstream_failed", "{garbage:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_chunks_are_a_truncated_response() {
    let broken = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nxyz\r\n";
    let gateway = Gateway::to_url(&RawOrigin::answering_once(broken).await.url()).await;
    let mut raw = gateway.raw().await;
    raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let response = raw.response().await;
    assert!(response.status() == 502 || !response.complete, "{response:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_where_nobody_listens_is_said_at_once() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let gateway = Gateway::to_url(&format!("http://{nobody}")).await;
    for mut client in [gateway.h1().await, gateway.h2c().await] {
        let answer = client.ask(Request::get("/")).await;
        assert!([502, 503].contains(&answer.status.as_u16()), "{answer:?}");
        let problem = answer.problem();
        assert!(!problem.to_string().contains(&nobody.port().to_string()), "the address is public: {problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_ends_the_exchange_with_the_upstream() {
    let (gone, mut upstream_ended) = tokio::sync::mpsc::unbounded_channel();
    let origin = RawOrigin::playing(move |mut peer| {
        let gone = gone.clone();
        async move {
            peer.request().await;
            peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
            while !peer.send("3\r\nabc\r\n").await.is_closed().await {}
            gone.send(()).unwrap();
        }
    })
    .await;
    let gateway = Gateway::to_url(&origin.url()).await;
    let mut raw = gateway.raw().await;
    raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    raw.response_head().await;
    drop(raw);
    soon("the end upstream", upstream_ended.recv()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_forwarded_while_it_still_arrives() {
    let gateway = Gateway::to(&Origin::start().await).await;
    let mut raw: Raw = gateway.raw().await;
    raw.send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
    raw.response_head().await;
    assert_eq!(raw.chunk().await, Bytes::from("first"));
    raw.send("6\r\nsecond\r\n0\r\n\r\n").await;
    assert_eq!(raw.chunk().await, Bytes::from("second"));
    assert_eq!(raw.chunk().await, Bytes::new());
}
