//! Shields: whom and what the gateway turns away, before and after it has chosen a route.

use std::time::Duration;

use http::StatusCode;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tonic::Code;

use crate::support::grpc::{Caller, Number};
use crate::support::{Answer, Client, Gateway, Origin, RawOrigin, Request, eventually, full, pattern, soon};

/// A route for everything to one target, with these shields of its own, behind these of the gateway.
async fn shielded(origin: &str, front: &str, route: &str) -> Gateway {
    Gateway::start(&format!(
        "trusted_proxies: [127.0.0.1]\nshields: {front}\nroutes:\n\
         \x20 - {{ name: all, path_pattern: /*, target_url: \"{origin}\", shields: {route} }}\n"
    ))
    .await
}

fn from(client: &str) -> http::request::Builder {
    Request::get("/x").header("x-forwarded-for", client)
}

fn assert_refused(answer: &Answer, status: u16, code: &str) {
    let problem = answer.problem();
    assert_eq!((answer.status.as_u16(), problem["code"].as_str()), (status, Some(code)), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_are_refused_before_and_after_routing() {
    let origin = Origin::start().await;
    let lists = "{ allow: [192.0.2.0/24, \"2001:db8::/32\"], deny: [192.0.2.66] }";
    for (front, route) in [(lists, "{}"), ("{}", lists)] {
        let gateway = shielded(origin.url(), front, route).await;
        for client in ["192.0.2.1", "2001:db8::1"] {
            gateway.ask(from(client)).await.seen();
        }
        let before = origin.requests();
        for client in ["192.0.2.66", "198.51.100.1", "127.0.0.1"] {
            for mut connection in [gateway.h1().await, gateway.h2c().await] {
                assert_refused(&connection.ask(from(client)).await, 403, "address_denied");
            }
        }
        assert_eq!(origin.requests(), before);
        let refused = "refusals_total{code=\"address_denied\"} 6";
        eventually(refused, async || gateway.metrics().await.contains(refused).then_some(())).await;
        let mut raw = gateway.raw().await;
        let answer = raw.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await.response().await;
        assert_eq!((answer.status(), answer.header("connection")), (403, Some("close")));
        assert!(raw.rest().await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_has_no_address_but_may_be_named() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start().await;
    for (shields, status) in [
        ("{ deny: [0.0.0.0/0, \"::/0\"] }", 200),
        ("{ allow: [0.0.0.0/0] }", 403),
        ("{ allow: [unix, 192.0.2.1] }", 200),
        ("{ deny: [unix] }", 403),
    ] {
        let path = folder.path().join("http.sock").display().to_string();
        let gateway = Gateway::start(&format!(
            "listen: [{{ address: \"127.0.0.1:0\" }}, {{ address: \"unix:{path}\" }}]\nshields: {shields}\nroutes:\n\
             \x20 - {{ name: all, path_pattern: /*, target_url: \"{}\" }}\n",
            origin.url()
        ))
        .await;
        let answer = Client::unix(&path).await.ask(Request::get("/x")).await;
        assert_eq!(answer.status, status, "{shields}");
        drop(gateway);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_one_client_is_stopped_and_others_are_served() {
    let origin = Origin::start().await;
    let gateway = shielded(origin.url(), "{ flood: { requests: 20, window: 60s } }", "{}").await;
    let mut client = gateway.h1().await;
    for _ in 0..20 {
        client.ask(from("192.0.2.1")).await.seen();
    }
    let refused = client.ask(from("192.0.2.1")).await;
    assert_refused(&refused, 429, "flood");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    client.ask(from("192.0.2.2")).await.seen();
    for n in 0..20 {
        client.ask(from(&format!("2001:db8::{n}"))).await.seen();
    }
    assert_refused(&client.ask(from("2001:db8::ffff:1")).await, 429, "flood");
    client.ask(from("2001:db8:0:1::1")).await.seen();
    for _ in 0..30 {
        assert_eq!(client.ask(Request::get("/health")).await.status, StatusCode::OK);
    }
    assert_eq!(origin.requests(), 42);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_over_when_its_window_is() {
    let origin = Origin::start().await;
    let config = |grace: &str| {
        format!(
            "drain: {{ grace: {grace} }}\nshields: {{ flood: {{ requests: 1, window: 2s }} }}\nroutes:\n\
             \x20 - {{ name: all, path_pattern: /*, target_url: \"{}\" }}\n",
            origin.url()
        )
    };
    let gateway = Gateway::start(&config("1s")).await;
    let began = std::time::Instant::now();
    gateway.get("/x").await.seen();
    // A reload that leaves the guard as it is does not forget.
    gateway.reload(&config("2s")).unwrap();
    let refused = gateway.get("/x").await;
    if began.elapsed() < Duration::from_secs(2) {
        assert_refused(&refused, 429, "flood");
        let wait = refused.header("retry-after").unwrap().parse().unwrap();
        tokio::time::sleep(Duration::from_secs(wait)).await;
        gateway.get("/x").await.seen();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn media_types_are_judged_where_there_is_a_body() {
    let origin = Origin::start().await;
    let gateway = shielded(origin.url(), "{}", "{ content_types: [application/json, image/*] }").await;
    for http2 in [false, true] {
        let ask = async |media_type: Option<&str>, text: &'static str| {
            let mut client = if http2 { gateway.h2c().await } else { gateway.h1().await };
            let mut request = Request::new(full(text));
            *request.uri_mut() = "/x".parse().unwrap();
            request.headers_mut().extend(media_type.map(|text| (CONTENT_TYPE, text.parse().unwrap())));
            client.ask(request).await
        };
        for media_type in [None, Some("text/html")] {
            ask(media_type, "").await.seen();
        }
        for taken in ["application/json", "Application/JSON; charset=utf-8", "image/png"] {
            assert_eq!(ask(Some(taken), "{}").await.seen().body_length, 2);
        }
        let before = origin.requests();
        for refused in [None, Some("text/html"), Some("application/jsonp"), Some("application/merge-patch+json")] {
            let answer = ask(refused, "{}").await;
            assert_refused(&answer, 415, "media_type");
            assert_eq!(answer.header("accept"), Some("application/json, image/*"));
        }
        assert_eq!(origin.requests(), before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_told_too_long_goes_nowhere() {
    let origin = Origin::start().await;
    let gateway = shielded(origin.url(), "{ max_body: 1000 }", "{}").await;
    let put = |length: usize| Request::put("/sink").body(full(vec![b'a'; length])).unwrap();
    for length in [1001, 5_000_000] {
        for mut client in [gateway.h1().await, gateway.h2c().await] {
            assert_refused(&client.ask(put(length)).await, 413, "body_too_large");
        }
    }
    assert_eq!((origin.requests(), origin.connections()), (0, 0));
    for mut client in [gateway.h1().await, gateway.h2c().await] {
        assert_eq!(client.ask(put(1000)).await.json()["bytes"], 1000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_untold_length_is_cut_before_it_is_too_long() {
    let origin = Origin::start().await;
    for protocol in ["http1", "h2"] {
        let gateway = Gateway::start(&format!(
            "shields: {{ max_body: 100KiB }}\nservices:\n  app: {{ targets: [\"{}\"], protocol: {protocol} }}\nroutes:\n\
             \x20 - {{ name: all, path_pattern: /*, target_service: app }}\n\
             \x20 - {{ name: upload, path_pattern: /sink/large, target_service: app, shields: {{ max_body: 10MiB }} }}\n",
            origin.url()
        ))
        .await;
        for http2 in [false, true] {
            let connect = async || if http2 { gateway.h2c().await } else { gateway.h1().await };
            let put = |path: &str, length: u64| Request::put(path).body(pattern::body(length)).unwrap();
            for (path, length) in [("/sink", 102_400), ("/sink/large", 10 << 20)] {
                assert_eq!(connect().await.ask(put(path, length)).await.json()["bytes"], length);
                for length in [length + 1, 3 * length] {
                    assert_refused(&connect().await.ask(put(path, length)).await, 413, "body_too_large");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_byte_beyond_the_limit_reaches_the_upstream() {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let origin = RawOrigin::playing(move |mut peer| {
        let sender = sender.clone();
        async move {
            peer.request_head().await;
            let _ = sender.send(peer.rest().await);
        }
    })
    .await;
    let gateway = shielded(&origin.url(), "{}", "{ max_body: 10 }").await;
    let mut raw = gateway.raw().await;
    raw.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n123456\r\n").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    raw.send("5\r\n7890X\r\n").await;
    let answer = raw.response().await;
    assert_eq!((answer.status(), answer.header("connection")), (413, Some("close")));
    let received = soon("the upstream's connection ends", receiver.recv()).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&received), "6\r\n123456\r\n");
    assert_eq!(gateway.log_of("/").await["error_code"], "body_too_large");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_still_sends_gets_to_read_why() {
    let origin = Origin::start().await;
    let gateway = shielded(origin.url(), "{}", "{ max_body: 1MiB, content_types: [text/plain] }").await;
    for (media_type, status) in [("text/plain", 413), ("text/html", 415)] {
        let mut raw = gateway.raw().await;
        let head =
            format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Type: {media_type}\r\nContent-Length: 50000000\r\n\r\n");
        raw.send(head).await;
        // Nothing is read meanwhile: a reset would take the answer along.
        for _ in 0..50 {
            raw.send(vec![b'a'; 1_000_000]).await;
        }
        assert_eq!(raw.response().await.status(), status);
        assert!(raw.rest().await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_first_is_told_at_once() {
    let origin = Origin::start().await;
    let gateway = shielded(origin.url(), "{ max_body: 10 }", "{}").await;
    let mut raw = gateway.raw().await;
    raw.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n").await;
    let answer = raw.response().await;
    assert_eq!((answer.status(), answer.header("connection")), (413, Some("keep-alive")));
    assert_eq!(origin.connections(), 0);
    // What was asked about comes all the same: it is short, and the connection serves on.
    raw.send("hello worldGET /next HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(raw.response().await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_has_begun_is_broken_off() {
    let origin = Origin::start().await;
    let gateway = shielded(origin.url(), "{}", "{ max_body: 10 }").await;
    for mut client in [gateway.h1().await, gateway.h2c().await] {
        let (sender, receiver) = futures::channel::mpsc::unbounded();
        let body = StreamBody::new(receiver).map_err(|never: std::convert::Infallible| match never {}).boxed_unsync();
        let piece = |text: &'static str| Ok(Frame::data(text.into()));
        sender.unbounded_send(piece("12345")).unwrap();
        let request = Request::post("/echo").body(body).unwrap();
        let mut response = soon("a response", client.send(request)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(soon("an echo", response.frame()).await.unwrap().unwrap().into_data().unwrap(), "12345");
        let _ = sender.unbounded_send(piece("67890X"));
        let rest = soon("the end", response.collect()).await;
        assert!(rest.is_err(), "it ended as if it were complete");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_carries_more_than_a_body_may() {
    use crate::support::websocket::Socket;
    use tokio_tungstenite::tungstenite::Message;
    let origin = Origin::start().await;
    let gateway = shielded(origin.url(), "{}", "{ max_body: 10, content_types: [text/plain] }").await;
    let mut socket = Socket::open(gateway.address, "/ws").await.unwrap();
    for _ in 0..10 {
        socket.send(Message::text("more than ten bytes")).await;
        assert_eq!(socket.next().await, Some(Message::text("more than ten bytes")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_clients_get_a_status() {
    let origin = Origin::start().await;
    let gateway = |shields: &str| {
        let config = format!(
            "services:\n  numbers: {{ targets: [\"{}\"], protocol: h2 }}\nroutes:\n\
             \x20 - {{ name: numbers, path_pattern: /*, target_service: numbers, shields: {shields} }}\n",
            origin.url()
        );
        async move { Gateway::start(&config).await }
    };
    for (shields, code) in [
        ("{ deny: [127.0.0.1] }", Code::PermissionDenied),
        ("{ content_types: [application/json] }", Code::InvalidArgument),
        ("{ max_body: 100 }", Code::ResourceExhausted),
    ] {
        let gateway = gateway(shields).await;
        let status = Caller::connect(gateway.address).await.sum(1..=1000).await.unwrap_err();
        assert_eq!(status.code(), code, "{status:?}");
    }
    let gateway = gateway("{ content_types: [application/grpc], max_body: 1MiB }").await;
    let mut caller = Caller::connect(gateway.address).await;
    assert_eq!(caller.double(tonic::Request::new(Number { value: 21 })).await.unwrap().into_inner().value, 42);
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_and_route_tests_know_the_shields() {
    let origin = Origin::start().await;
    let gateway =
        shielded(origin.url(), "{ deny: [192.0.2.0/24] }", "{ content_types: [text/plain], max_body: 9 }").await;
    for (args, wanted) in [
        (&["GET", "/x", "--from", "192.0.2.1"][..], Some("address_denied")),
        (&["POST", "/x", "-H", "Content-Length: 1"][..], Some("media_type")),
        (&["POST", "/x", "-H", "Content-Length: 10", "-H", "Content-Type: text/plain"][..], Some("body_too_large")),
        (&["POST", "/x", "-H", "Content-Length: 9", "-H", "Content-Type: text/plain"][..], None),
    ] {
        let told = gateway.command("explain", &[args, &["--json"]].concat()).stdout;
        let told: serde_json::Value = serde_json::from_slice(&told).unwrap();
        assert_eq!(told["answer"]["code"].as_str(), wanted, "{told}");
    }
    let config = |tests: &str| {
        format!(
            "shields: {{ deny: [192.0.2.0/24] }}\nroutes:\n\
             \x20 - {{ name: all, path_pattern: /*, target_url: \"{}\", shields: {{ max_body: 9 }} }}\ntests:\n{tests}",
            origin.url()
        )
    };
    let good = "  - { request: GET /x, from: 192.0.2.1, expect: { status: 403 } }\n  - { request: GET /x, expect: { route: all } }\n";
    gateway.reload(&config(good)).unwrap();
    let bad = [
        ("{ request: GET /x, from: 192.0.3.1, expect: { status: 403 } }", "expected status 403, found none"),
        ("{ request: POST /x, headers: { content-length: \"10\" }, expect: { status: 415 } }", "found 413"),
        (
            "{ request: GET /x, from: nowhere, expect: { route: all } }",
            "(tests[0]).from: found \"nowhere\", allowed: an IP address",
        ),
    ];
    for (test, told) in bad {
        let fault = gateway.reload(&config(&format!("  - {test}\n"))).unwrap_err();
        assert!(fault.contains(told), "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_shield_is_told_and_a_closed_one_is_warned_of() {
    let gateway = Gateway::start("").await;
    let fault = gateway
        .reload(
            "shields: { allow: [10.0.0.0/33], deny: [x], max_body: 10 MB, flood: { requests: 0, window: 2m } }\nroutes:\n\
             \x20 - { name: a, path_pattern: /, respond: { status: 200 }, shields: { deny: [y], content_types: [json] } }\n",
        )
        .unwrap_err();
    for told in [
        "shields.allow[0]: found \"10.0.0.0/33\", allowed: a network",
        "shields.deny[0]: found \"x\"",
        "shields.max_body: found \"10 MB\", allowed: a whole number of bytes, or a size such as 64KiB, 10MiB or 1GiB; did you mean 10MiB?",
        "shields.flood.requests: found 0, allowed: 1 to 1000000",
        "shields.flood.window: found 2m, allowed: 1s to 60s",
        "(routes[0]).shields.deny[0]: found \"y\"",
        "(routes[0]).shields.content_types[0]: found \"json\", allowed: a media type",
    ] {
        assert!(fault.contains(told), "{told}\n---\n{fault}");
    }
    for closed in ["{ deny: [0.0.0.0/0, \"::/0\"] }", "{ allow: [10.1.0.0/16], deny: [10.0.0.0/8] }"] {
        for config in [
            format!("shields: {closed}\n"),
            format!("routes: [{{ name: a, path_pattern: /, respond: {{ status: 200 }}, shields: {closed} }}]\n"),
        ] {
            gateway.reload(&config).unwrap();
            let told = gateway.command("check", &[]);
            let told = [told.stdout, told.stderr].concat();
            assert!(String::from_utf8_lossy(&told).contains("shields.deny: no client passes"), "{told:?}");
        }
    }
}
