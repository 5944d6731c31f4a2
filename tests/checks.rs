//! A health check and its target: what counts as good, in which words the rest is bad, and that it ends in time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gatekeeper_model::raw::HealthCheck;
use gatekeeper_model::{Faults, Place};
use gatekeeper_plane::upstream::check::{Check, Dialler};
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pingora::tls::CertificateDer;
use pingora::upstreams::peer::{ALPN, HttpPeer};
use pingora::utils::tls::{WrappedX509, parse_x509};
use rustls::pki_types::pem::PemObject;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tonic::Status;

use crate::support::tls::{Authority, Files};
use crate::support::{Body, Origin, Raw, RawOrigin, soon};

fn check(json: &str) -> Check {
    let raw: HealthCheck = serde_json::from_str(json).unwrap();
    let mut faults = Faults::default();
    let check = Check::compile(&raw, &Place::new("health_check"), &mut faults);
    assert!(faults.is_empty(), "{json}: {faults}");
    check.unwrap()
}

fn http(address: SocketAddr) -> HttpPeer {
    HttpPeer::new(address, false, String::new())
}

fn h2c(address: SocketAddr) -> HttpPeer {
    let mut peer = http(address);
    peer.options.alpn = ALPN::H2;
    peer.options.max_h2_streams = 100;
    peer
}

fn https(address: SocketAddr, name: &str, authority: &Authority, alpn: ALPN) -> HttpPeer {
    let mut peer = HttpPeer::new(address, true, name.into());
    let certificate = CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap();
    peer.options.ca = Some([WrappedX509::new(certificate.to_vec(), parse_x509)].into());
    peer.options.alpn = alpn;
    peer.options.max_h2_streams = 100;
    peer
}

/// Whatever the target does, the answer is there when the check's timeout is over.
async fn ask(json: &str, peer: &HttpPeer) -> Result<(), String> {
    let (check, dialler) = (check(json), Dialler::new());
    let raw: HealthCheck = serde_json::from_str(json).unwrap();
    let started = Instant::now();
    let answer = soon(json, check.ask(&dialler, peer, &HeaderValue::from_static("target.test:81"))).await;
    let took = started.elapsed();
    assert!(took < raw.timeout.0 + Duration::from_millis(300), "{json} took {took:?}: {answer:?}");
    if let Err(sentence) = &answer {
        assert!(sentence.len() < 300 && !sentence.contains(char::is_control), "{sentence:?}");
    }
    answer.map(|time| assert!(time <= took))
}

/// Empty: good; otherwise bad, in words that hold these.
fn assert_answer(case: &str, answer: &Result<(), String>, words: &str) {
    match answer {
        Ok(()) => assert_eq!(words, "", "{case}"),
        Err(sentence) => assert!(!words.is_empty() && sentence.contains(words), "{case}: {sentence}"),
    }
}

fn answer(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_answer_is_judged_by_its_status_and_body() {
    let (far, across) = (format!("{}well", "x".repeat(65_536)), format!("{}well", "x".repeat(65_534)));
    let near = format!("{}well", "x".repeat(65_532));
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n";
    let well = r#"{"body_contains": "well"}"#;
    let cases = [
        ("{}", answer(200, ""), ""),
        ("{}", answer(204, ""), ""),
        ("{}", "HTTP/1.0 200 OK\r\n\r\n".into(), ""),
        ("{}", answer(500, ""), "status 500"),
        ("{}", answer(302, ""), "status 302"),
        (r#"{"statuses": [302, "401-403"]}"#, answer(302, ""), ""),
        (r#"{"statuses": [302, "401-403"]}"#, answer(402, ""), ""),
        (r#"{"statuses": [302, "401-403"]}"#, answer(200, ""), "status 200"),
        ("{}", format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: x\r\n\r\n{}", answer(200, "")), ""),
        ("{}", format!("HTTP/1.1 103 Early\r\n\r\n{}", answer(503, "")), "status 503"),
        ("{}", "HTTP/1.1 101 Switching Protocols\r\n\r\n".into(), "status 101"),
        (r#"{"method": "HEAD"}"#, "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n".into(), ""),
        ("{}", head.into(), ""),
        (well, answer(200, "all is well."), ""),
        (well, answer(200, "all is lost"), "the first 11 bytes of the body do not contain"),
        (well, answer(500, "all is well"), "status 500"),
        (well, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nwe\r\n2\r\nll\r\n0\r\n\r\n".into(), ""),
        (well, answer(200, &near), ""),
        (well, answer(200, &across), "do not contain"),
        (well, answer(200, &far), "first 65536 bytes"),
        (well, format!("{head}all is w"), "the connection was closed"),
        (well, format!("{head}all is well"), ""),
        ("{}", String::new(), "the connection was closed"),
        ("{}", "HTTP/1.1 200 OK\r\ncontent-le".into(), "the connection was closed"),
        ("{}", "\u{0}\u{7}SSH-2.0-OpenSSH\r\n\r\n".into(), "invalid response"),
        ("{}", format!("HTTP/1.1 200 OK\r\nx: {}", "x".repeat(4_000_000)), "invalid response"),
        ("{}", format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(10_000)), "invalid response"),
    ];
    for (json, bytes, words) in cases {
        let origin = RawOrigin::answering_once(bytes.clone()).await;
        let case = format!("{json} {}", bytes.chars().take(90).collect::<String>());
        assert_answer(&case, &ask(json, &http(origin.address)).await, words);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_says_who_asks_and_for_whom() {
    let origin = RawOrigin::answering_once(answer(200, "")).await;
    ask(r#"{"path": "/health?deep=1", "headers": {"X-Key": "k"}}"#, &http(origin.address)).await.unwrap();
    ask(r#"{"method": "HEAD", "host": "own.test", "headers": {"User-Agent": "other"}}"#, &http(origin.address))
        .await
        .unwrap();
    let [first, second] = &origin.requests()[..] else { panic!("two requests") };
    assert_eq!(first.first_line, "GET /health?deep=1 HTTP/1.1");
    let named = ["host", "user-agent", "x-key"].map(|name| first.header(name).unwrap());
    assert_eq!((named, first.headers.len()), (["target.test:81", "gatekeeper", "k"], 3));
    assert_eq!(second.first_line, "HEAD / HTTP/1.1");
    assert_eq!(["host", "user-agent"].map(|name| second.header(name).unwrap()), ["own.test", "other"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_not_there_is_bad_at_once() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for kind in ["http", "tcp", "grpc"] {
        let answer = ask(&format!(r#"{{"kind": "{kind}"}}"#), &http(address)).await;
        assert_answer(kind, &answer, "connection refused");
    }
    let peer = HttpPeer::new_uds("/nowhere/at/all.sock", false, String::new()).unwrap();
    assert_answer("unix", &ask("{}", &peer).await, "cannot connect");
}

/// An empty frame of HTTP/2 settings.
const SETTINGS: &str = "\0\0\0\x04\0\0\0\0\0";

/// Sends the drop again and again, for ever.
async fn trickling(beginning: &'static str, drop: &'static str) -> RawOrigin {
    RawOrigin::playing(move |mut peer| async move {
        peer.send(beginning).await;
        loop {
            peer.send(drop).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_ends_with_its_timeout() {
    let authority = Authority::new();
    let silent = RawOrigin::playing(|mut peer| async move { drop(peer.rest().await) }).await;
    let head = trickling("HTTP/1.1 200 OK\r\nx: ", "x").await;
    let body = trickling("HTTP/1.1 200 OK\r\n\r\n", "x").await;
    let early = trickling("", "HTTP/1.1 103 Early\r\n\r\n").await;
    let settings = trickling(SETTINGS, SETTINGS).await;
    let well = r#""body_contains": "well""#;
    let secure = https(silent.address, "localhost", &authority, ALPN::H2H1);
    let cases = [
        (http(silent.address), r#""kind": "http""#),
        (http(silent.address), r#""kind": "grpc""#),
        (h2c(silent.address), r#""kind": "http""#),
        (secure.clone(), r#""kind": "http""#),
        (secure.clone(), r#""kind": "tcp""#),
        (secure, r#""kind": "grpc""#),
        (http(head.address), well),
        (http(body.address), well),
        (http(early.address), well),
        (h2c(settings.address), well),
        (http(settings.address), r#""kind": "grpc""#),
    ];
    for (peer, json) in cases {
        let answer = ask(&format!(r#"{{"timeout": "200ms", {json}}}"#), &peer).await;
        assert_answer(&format!("{json} {peer:?}"), &answer, "no answer within 200ms");
    }
    assert_eq!(ask(r#"{"timeout": "200ms"}"#, &http(body.address)).await, Ok(()), "a body that nobody needs");
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_wants_a_connection_and_tls_where_it_is_spoken() {
    let authority = Authority::new();
    let origin = Origin::tls(authority.issue("upstream.test").acceptor(&["h2"], None)).await;
    let peer = |name, authority| https(origin.address(), name, authority, ALPN::H2H1);
    let tcp = r#"{"kind": "tcp"}"#;
    assert_eq!(ask(tcp, &http(origin.address())).await, Ok(()));
    assert_eq!(ask(tcp, &peer("upstream.test", &authority)).await, Ok(()));
    assert_answer("name", &ask(tcp, &peer("elsewhere.test", &authority)).await, "TLS failed");
    assert_answer("issuer", &ask(tcp, &peer("upstream.test", &Authority::new())).await, "TLS failed");
    let plain = Origin::start().await;
    let peer = https(plain.address(), "upstream.test", &authority, ALPN::H1);
    assert_answer("no TLS", &ask(tcp, &peer).await, "TLS failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_goes_the_way_of_requests_on_a_connection_of_its_own() {
    let (authority, files) = (Authority::new(), Files::new());
    let plain = Origin::start().await;
    let secure = Origin::tls(authority.issue("upstream.test").acceptor(&["h2", "http/1.1"], None)).await;
    let unix = Origin::unix(&files.path("app.sock"));
    let tls = |alpn| https(secure.address(), "upstream.test", &authority, alpn);
    let cases = [
        (&plain, http(plain.address()), "HTTP/1.1"),
        (&plain, h2c(plain.address()), "HTTP/2.0"),
        (&secure, tls(ALPN::H1), "HTTP/1.1"),
        (&secure, tls(ALPN::H2H1), "HTTP/2.0"),
        (&secure, tls(ALPN::H2), "HTTP/2.0"),
        (&unix, HttpPeer::new_uds(&files.path("app.sock"), false, String::new()).unwrap(), "HTTP/1.1"),
    ];
    let dialler = Dialler::new();
    for (origin, peer, version) in cases {
        let check = check(&format!(r#"{{"body_contains": "\"version\":\"{version}\""}}"#));
        let before = (origin.connections(), origin.requests());
        for _ in 0..3 {
            soon("a check", check.ask(&dialler, &peer, &HeaderValue::from_static("h"))).await.unwrap();
        }
        assert_eq!((origin.connections(), origin.requests()), (before.0 + 3, before.1 + 3), "{peer:?}");
    }
    assert_answer("wrong", &ask("{}", &https(secure.address(), "x.test", &authority, ALPN::H2H1)).await, "TLS failed");
    assert_answer("status", &ask(r#"{"path": "/status/503"}"#, &h2c(plain.address())).await, "status 503");
}

/// A target that never answers, and what tells when it sees a connection's end.
async fn watching(beginning: &'static [u8]) -> (SocketAddr, mpsc::Receiver<&'static str>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = mpsc::channel(8);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(watch(stream, beginning, tell.clone()));
        }
    });
    (address, told)
}

async fn watch(stream: TcpStream, beginning: &'static [u8], tell: mpsc::Sender<&'static str>) {
    let mut peer = Raw::new(stream);
    peer.send(beginning).await;
    let mut bytes = [0; 1024];
    assert!(peer.stream.read(&mut bytes).await.unwrap() > 0);
    tell.send("asked").await.unwrap();
    while peer.stream.read(&mut bytes).await.is_ok_and(|length| length > 0) {}
    tell.send("closed").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_a_check_closes_its_connection() {
    let dialler = Dialler::new();
    for (json, beginning) in [
        ("{}", &b""[..]),
        (r#"{"body_contains": "x"}"#, b"HTTP/1.1 200 OK\r\n\r\n"),
        (r#"{"kind": "grpc"}"#, SETTINGS.as_bytes()),
    ] {
        let (address, mut told) = watching(beginning).await;
        let (check, peer, authority) = (check(json), http(address), HeaderValue::from_static("h"));
        let asking = check.ask(&dialler, &peer, &authority);
        tokio::select! {
            answer = asking => panic!("{json}: {answer:?}"),
            asked = soon("a request", told.recv()) => assert_eq!(asked, Some("asked")),
        }
        assert_eq!(soon("the connection's end", told.recv()).await, Some("closed"), "{json}");
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct Asked {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Answered {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// A server of the health protocol that says of a service what its name says.
async fn health(request: Request<Incoming>) -> Result<Response<Body>, std::convert::Infallible> {
    let sane = request.uri().path() == "/grpc.health.v1.Health/Check" && request.headers()["te"] == "trailers";
    let named =
        request.headers()["user-agent"] == "gatekeeper" && request.uri().authority().unwrap() == "target.test:81";
    assert!(sane && named, "{request:?}");
    let mut server = tonic::server::Grpc::new(tonic_prost::ProstCodec::<Answered, Asked>::default());
    let judge = tower::service_fn(|request: tonic::Request<Asked>| async move {
        let status = match request.into_inner().service.as_str() {
            "" | "serving" => 1,
            "unknown" => 0,
            "not serving" => 2,
            "service unknown" => 3,
            "strange" => 300,
            "unimplemented" => return Err(Status::unimplemented("no\u{1b}health")),
            "internal" => return Err(Status::internal("out\nof order")),
            _ => return Err(Status::not_found("never heard of it")),
        };
        Ok(tonic::Response::new(Answered { status }))
    });
    Ok(server.unary(judge, request).await.map(|body| body.map_err(Into::into).boxed_unsync()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_server_says_which_service_serves() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), service_fn(health)));
        }
    });
    for (service, words) in [
        ("", ""),
        ("serving", ""),
        ("unknown", "the target answered UNKNOWN"),
        ("not serving", "the target answered NOT_SERVING"),
        ("service unknown", "the target answered SERVICE_UNKNOWN"),
        ("strange", "the unknown state 300"),
        ("unimplemented", "the target has no health service"),
        ("internal", "gRPC status \"13\", \"out%0Aof%20order\""),
        ("other", "the target does not know the service"),
    ] {
        let answer = ask(&format!(r#"{{"kind": "grpc", "grpc_service": "{service}"}}"#), &http(address)).await;
        assert_answer(service, &answer, words);
    }
}

/// What a gRPC server may do to a call, without a library that would rather not.
async fn grpc_playing<F: Future<Output = ()> + Send + 'static>(
    play: impl Fn(h2::server::SendResponse<Bytes>) -> F + Send + Sync + Clone + 'static,
) -> SocketAddr {
    let origin = RawOrigin::playing(move |peer| {
        let play = play.clone();
        async move {
            let Ok(mut connection) = h2::server::handshake(peer.stream).await else { return };
            while let Some(Ok((_, respond))) = connection.accept().await {
                tokio::spawn(play(respond));
            }
        }
    })
    .await;
    origin.address
}

fn head(status: u16, fields: &[(&'static str, &'static str)]) -> Response<()> {
    let builder = Response::builder().status(status);
    fields.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value)).body(()).unwrap()
}

const GRPC: (&str, &str) = ("content-type", "application/grpc+proto");
const SERVING: &[u8] = &[0, 0, 0, 0, 2, 8, 1];

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_answer_is_judged_to_its_end() {
    type Fields = &'static [(&'static str, &'static str)];
    type Case = (u16, Fields, &'static [u8], Option<Fields>, &'static str);
    let cases: [Case; 14] = [
        (200, &[GRPC], SERVING, Some(&[("grpc-status", "0")]), ""),
        (200, &[("content-type", "application/grpc")], SERVING, Some(&[("grpc-status", "0")]), ""),
        (200, &[GRPC], SERVING, Some(&[("grpc-status", "2"), ("grpc-message", "no")]), "gRPC status \"2\", \"no\""),
        (200, &[GRPC], SERVING, Some(&[("grpc-status", "00")]), "gRPC status \"00\""),
        (200, &[GRPC], SERVING, Some(&[]), "without a gRPC status"),
        (200, &[GRPC], SERVING, None, "without a gRPC status"),
        (200, &[GRPC], &[], Some(&[("grpc-status", "12")]), "no health service"),
        (200, &[GRPC], &[], Some(&[("grpc-status", "0")]), "invalid response"),
        (200, &[GRPC], b"garbage and more", Some(&[("grpc-status", "0")]), "invalid response"),
        (200, &[GRPC], &[0; 2000], Some(&[("grpc-status", "0")]), "too long"),
        (200, &[GRPC, ("grpc-status", "12")], &[], None, "no health service"),
        (200, &[GRPC, ("grpc-status", "0")], &[], None, "no message"),
        (404, &[("content-type", "text/html")], b"<html>", None, "status 404"),
        (200, &[("content-type", "text/html")], SERVING, None, "does not speak gRPC"),
    ];
    for (status, fields, body, trailers, words) in cases {
        let address = grpc_playing(move |mut respond| async move {
            let Ok(mut stream) = respond.send_response(head(status, fields), body.is_empty() && trailers.is_none())
            else {
                return;
            };
            if !body.is_empty() {
                let _ = stream.send_data(Bytes::from_static(body), trailers.is_none());
            }
            if let Some(trailers) = trailers {
                let _ = stream.send_trailers(head(200, trailers).into_parts().0.headers);
            }
        })
        .await;
        let answer = ask(r#"{"kind": "grpc"}"#, &http(address)).await;
        assert_answer(&format!("{status} {fields:?} {body:?} {trailers:?}"), &answer, words);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_server_that_goes_wrong_is_bad() {
    let endless = grpc_playing(|mut respond| async move {
        let mut stream = respond.send_response(head(200, &[GRPC]), false).unwrap();
        while stream.send_data(Bytes::from_static(SERVING), false).is_ok() {
            tokio::time::sleep(Duration::from_micros(10)).await;
        }
    })
    .await;
    let empty = grpc_playing(|mut respond| async move {
        let mut stream = respond.send_response(head(200, &[GRPC]), false).unwrap();
        while stream.send_data(Bytes::new(), false).is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let reset = grpc_playing(|mut respond| async move { respond.send_reset(h2::Reason::REFUSED_STREAM) }).await;
    let garbage = RawOrigin::answering_once("garbage, and far more of it than a frame's head is long\r\n\r\n").await;
    let http1 = Origin::start().await;
    let cases = [
        (endless, "too long"),
        (empty, "no answer within 1s"),
        (reset, "incomplete response"),
        // Whether its bytes or the end of its connection are seen first is open.
        (garbage.address, "incomplete response"),
    ];
    for (index, (address, words)) in cases.into_iter().enumerate() {
        let answer = ask(r#"{"kind": "grpc", "timeout": "1s"}"#, &http(address)).await;
        assert_answer(&index.to_string(), &answer, words);
    }
    assert_answer("hyper", &ask(r#"{"kind": "grpc"}"#, &http(http1.address())).await, "does not speak gRPC");
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_over_tls_needs_http2() {
    let authority = Authority::new();
    let old = Origin::tls(authority.issue("upstream.test").acceptor(&["http/1.1"], None)).await;
    let silent = Origin::tls(authority.issue("upstream.test").acceptor(&[], None)).await;
    let able = Origin::tls(authority.issue("upstream.test").acceptor(&["http/1.1", "h2"], None)).await;
    for (origin, words) in [(&old, "TLS failed"), (&silent, "does not speak HTTP/2"), (&able, "does not speak gRPC")] {
        let peer = https(origin.address(), "upstream.test", &authority, ALPN::H1);
        assert_answer(words, &ask(r#"{"kind": "grpc"}"#, &peer).await, words);
    }
}
