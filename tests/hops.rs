//! How far a request may go and where it goes when its target says so: Max-Forwards, absolute targets; and what does not go
//! through (SEMANTICS 1.6, 1.9).

use std::time::Duration;

use futures::stream;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame};

use crate::support::client::BoxError;
use crate::support::{Gateway, Origin, RawOrigin, Request};

fn asking(method: Method, forwards: &str) -> http::request::Builder {
    Request::builder().method(method).uri("/a").header("max-forwards", forwards)
}

#[tokio::test(flavor = "multi_thread")]
async fn options_and_trace_go_as_far_as_they_say() {
    let origin = Origin::start().await;
    let gateway = Gateway::to(&origin).await;
    for mut client in [gateway.h1().await, gateway.h2c().await] {
        let before = origin.requests();
        let answer = client.ask(asking(Method::OPTIONS, "0")).await;
        assert_eq!((answer.status.as_u16(), answer.text(), answer.header("content-length")), (200, "", Some("0")));
        let secret = asking(Method::TRACE, "0").header("authorization", "Bearer secret").header("via", "1.1 first");
        let answer = client.ask(secret).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, Some("message/http")));
        assert!(answer.text().starts_with("TRACE /a HTTP/") && answer.text().contains("via: 1.1 first\r\n"));
        assert!(!answer.text().contains("secret"), "{}", answer.text());
        assert_eq!(origin.requests(), before, "none of them was forwarded");
        for (method, said, told) in [
            (Method::OPTIONS, "1", "0"),
            (Method::TRACE, "10", "9"),
            (Method::OPTIONS, "99999999999", "4294967294"),
            (Method::GET, "0", "0"),
        ] {
            let seen = client.ask(asking(method, said)).await.seen();
            assert_eq!(seen.header("max-forwards"), Some(told));
        }
        let named = asking(Method::OPTIONS, "3");
        let named =
            if let crate::support::Client::H1(_) = client { named.header("connection", "max-forwards") } else { named };
        assert_eq!(client.ask(named).await.seen().header("max-forwards"), Some("2"), "it can't be removed on the way");
        assert_eq!(client.ask(asking(Method::OPTIONS, "many")).await.problem()["code"], "max_forwards");
        client = gateway.h1().await;
        assert_eq!(client.ask(asking(Method::TRACE, "1, 2")).await.problem()["code"], "max_forwards");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_hop_is_for_those_alone_who_may_be_there() {
    let origin = Origin::start().await;
    let gateway = Gateway::start(&format!(
        "auth: {{ jwt: [{{ secret: \"a secret of more than thirty-two bytes\" }}] }}\n\
         routes:\n  - {{ name: all, path_pattern: /a, target_url: \"{}\" }}\n",
        origin.url()
    ))
    .await;
    assert_eq!(gateway.ask(asking(Method::OPTIONS, "0")).await.status, 401);
    assert_eq!(gateway.ask(Request::options("/nowhere").header("max-forwards", "0")).await.status, 404);
    let output = gateway.command("explain", &["OPTIONS", "/a", "-H", "Max-Forwards: 0", "--as", "bob", "--json"]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["answer"]["status"], 200, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authority_of_a_target_counts_where_there_is_no_host() {
    let origin = RawOrigin::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let gateway = Gateway::start(&format!(
        "routes:\n  - {{ name: b, hosts: [b.test], path_pattern: /*, respond: {{ status: 200, body: of b }} }}\n\
         \x20 - {{ name: c, hosts: [c.test], path_pattern: /*, target_url: \"{}\" }}\n\
         \x20 - {{ name: rest, path_pattern: /*, respond: {{ status: 200, body: of nobody }} }}\n",
        origin.url()
    ))
    .await;
    for (target, body) in [
        ("http://b.test/x", "of b"),
        ("http://B.test:80", "of b"),
        ("/x", "of nobody"),
        ("http://d.test/", "of nobody"),
    ] {
        let mut raw = gateway.raw().await;
        let answer = raw.send(format!("GET {target} HTTP/1.0\r\n\r\n")).await.response().await;
        assert_eq!((answer.status(), answer.text()), (200, body), "{target}");
    }
    let mut raw = gateway.raw().await;
    assert_eq!(raw.send("GET http://c.test:81/y HTTP/1.0\r\n\r\n").await.response().await.status(), 200);
    let requests = origin.requests();
    let told = &requests[0];
    assert_eq!((&*told.first_line, told.header("host")), ("GET /y HTTP/1.1", Some("c.test:81")));
    assert_eq!(told.header("x-forwarded-host"), Some("c.test:81"));
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_of_requests_are_dropped_and_nobody_can_fill_the_log_with_them() {
    let origin = Origin::start().await;
    let gateway = Gateway::start(&format!(
        "services:\n  app: {{ targets: [\"{}\"], protocol: h2 }}\n\
         routes:\n  - {{ name: all, path_pattern: /*, target_service: app }}\n",
        origin.url()
    ))
    .await;
    let mut client = gateway.h2c().await;
    for _ in 0..20 {
        let trailers = HeaderMap::from_iter([(HeaderName::from_static("x-sum"), HeaderValue::from_static("1"))]);
        let frames = [Frame::data(Bytes::from("hello")), Frame::trailers(trailers)];
        let body = StreamBody::new(stream::iter(frames.map(Ok::<_, BoxError>))).boxed_unsync();
        let seen = client.ask(Request::post("/x").body(body).unwrap()).await.seen();
        assert_eq!((seen.body_length, seen.header("x-sum")), (5, None));
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let said = gateway.said();
    assert!(!said.contains("WARN") && !said.contains("ERROR"), "{said}");
}
