//! The support itself: its clients against its upstreams, so that a failure elsewhere is the gateway's.

use std::time::Duration;

use futures::stream;
use tokio_tungstenite::tungstenite::Message;

use crate::support::grpc::{Caller, Number};
use crate::support::origin::now_millis;
use crate::support::pattern::{self, Checker, checksum};
use crate::support::tls::Authority;
use crate::support::websocket::Socket;
use crate::support::{Answer, Client, Origin, Raw, RawOrigin, Request, full};

#[tokio::test(flavor = "multi_thread")]
async fn the_origin_reflects_requests_of_both_versions() {
    let origin = Origin::start().await;
    for (mut client, version) in
        [(Client::h1(origin.address()).await, "HTTP/1.1"), (Client::h2c(origin.address()).await, "HTTP/2.0")]
    {
        let request = Request::post("/a%2Fb?c=d").header("x-a", "1").header("x-a", "2").body(full("hello")).unwrap();
        let seen = client.ask(request).await.seen();
        assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/a%2Fb?c=d"));
        assert_eq!((seen.version.as_str(), seen.host.as_str()), (version, "gateway.test"));
        assert_eq!(seen.all("x-a"), ["1", "2"]);
        assert_eq!((seen.body_length, seen.body_checksum), (5, checksum(b"hello")));
    }
    assert_eq!((origin.connections(), origin.requests()), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_origin_streams_in_both_directions_and_notices_damage() {
    const SIZE: u64 = 10_000_000;
    let origin = Origin::start().await;
    for mut client in [Client::h1(origin.address()).await, Client::h2c(origin.address()).await] {
        let mut checker = Checker::new();
        checker.take(&client.ask(Request::get(format!("/bytes/{SIZE}"))).await.body);
        assert!(checker.intact && checker.bytes == SIZE);

        let verdict = client.ask(Request::put("/sink").body(pattern::body(SIZE)).unwrap()).await.json();
        assert_eq!((verdict["bytes"].as_u64(), verdict["intact"].as_bool()), (Some(SIZE), Some(true)));
        let verdict = client.ask(Request::put("/sink").body(full("not the pattern")).unwrap()).await.json();
        assert_eq!(verdict["intact"], false);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_origin_answers_as_it_is_told() {
    let origin = Origin::start().await;
    let mut client = Client::h2c(origin.address()).await;
    assert_eq!(client.ask(Request::get("/status/418")).await.status, 418);
    assert_eq!(client.ask(Request::get("/trailers")).await.trailers["x-checksum"], "42");
    let tagged = client.ask(Request::get("/text/100").header("answer-etag", "\"1\"")).await;
    assert_eq!((tagged.header("etag"), tagged.body.len()), (Some("\"1\""), 100));
    let last = client.ask(Request::get("/sse/2")).await;
    let sent: u128 = last.text().trim().rsplit("data: ").next().unwrap().parse().unwrap();
    assert!(now_millis() - sent < 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_breaks_off_is_an_error_to_the_client() {
    let origin = Origin::start().await;
    for path in ["/gone/10", "/gone/10?chunked"] {
        for mut client in [Client::h1(origin.address()).await, Client::h2c(origin.address()).await] {
            let response = client.send(Request::get(path)).await.unwrap();
            assert!(Answer::collect(response).await.is_err(), "{path}");
        }
        let mut raw = Raw::connect(origin.address()).await;
        raw.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        assert!(!raw.response().await.complete, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_origins_and_clients_agree_on_a_protocol() {
    let authority = Authority::new();
    let origin = Origin::tls(authority.issue("localhost").acceptor(&["h2"], None)).await;
    let mut roots = rustls::RootCertStore::empty();
    let pem = authority.pem();
    let certificates = rustls::pki_types::pem::PemObject::pem_slice_iter(pem.as_bytes());
    roots.add_parsable_certificates(certificates.map(|certificate| certificate.unwrap()));
    let provider = rustls::crypto::ring::default_provider().into();
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = tokio::net::TcpStream::connect(origin.address()).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_ends_speak_chunks_and_trailers() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 6\r\n\r\n";
    let origin = RawOrigin::answering(answer).await;
    let mut raw = Raw::connect(origin.address).await;
    for _ in 0..2 {
        raw.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi").await;
        let response = raw.response().await;
        assert_eq!((response.text(), response.complete), ("abc", true));
        assert_eq!(response.trailers, [("X-Sum".to_owned(), "6".to_owned())]);
    }
    assert_eq!(origin.requests()[1].text(), "hi");
}

#[tokio::test(flavor = "multi_thread")]
async fn websockets_echo_and_close() {
    let origin = Origin::start().await;
    let mut socket = Socket::open(origin.address(), "/ws").await.unwrap();
    socket.send(Message::text("hello")).await;
    assert_eq!(socket.next().await, Some(Message::text("hello")));
    socket.send(Message::text("close 4001")).await;
    let Some(Message::Close(Some(frame))) = socket.next().await else { panic!("a close frame") };
    assert_eq!(u16::from(frame.code), 4001);
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_calls_of_all_four_types_work() {
    let origin = Origin::start().await;
    let mut caller = Caller::connect(origin.address()).await;
    let double = caller.double(tonic::Request::new(Number { value: 21 })).await.unwrap();
    assert_eq!(double.into_inner().value, 42);
    assert_eq!(caller.sum([1, 2, 3]).await.unwrap(), 6);
    let mut numbers = caller.count(-2).await.unwrap();
    assert_eq!(numbers.message().await.unwrap().unwrap().value, 1);
    assert_eq!(numbers.message().await.unwrap().unwrap().value, 2);
    assert_eq!(numbers.message().await.unwrap_err().code(), tonic::Code::DataLoss);
    let mut sums = caller.running_sum(stream::iter([Number { value: 1 }, Number { value: 2 }])).await.unwrap();
    assert_eq!(sums.message().await.unwrap().unwrap().value, 1);
    assert_eq!(sums.message().await.unwrap().unwrap().value, 3);
    assert!(tokio::time::timeout(Duration::from_secs(5), sums.message()).await.unwrap().unwrap().is_none());
}
