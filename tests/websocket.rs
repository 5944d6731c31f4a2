//! Websockets go through whole; nothing else is upgraded.

use std::time::Duration;

use tokio_tungstenite::tungstenite::{Error, Message};

use crate::support::gateway::everything_to;
use crate::support::websocket::Socket;
use crate::support::{Gateway, Origin, RawOrigin, Request};

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_any_size_are_echoed() {
    let origin = Origin::start().await;
    let gateway = Gateway::to(&origin).await;
    let mut socket = Socket::open(gateway.address, "/ws").await.unwrap();
    let large: Vec<u8> = (0..1_000_000u32).map(|index| (index % 251) as u8).collect();
    for message in [Message::text("hello"), Message::text(""), Message::binary(large.clone()), Message::binary(large)] {
        socket.send(message.clone()).await;
        assert!(socket.next().await == Some(message));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ping_is_answered_by_the_upstream() {
    let origin = Origin::start().await;
    let gateway = Gateway::to(&origin).await;
    let mut socket = Socket::open(gateway.address, "/ws").await.unwrap();
    socket.send(Message::Ping("are you there".into())).await;
    assert_eq!(socket.next().await, Some(Message::Pong("are you there".into())));
}

#[tokio::test(flavor = "multi_thread")]
async fn either_side_may_close() {
    let origin = Origin::start().await;
    let gateway = Gateway::to(&origin).await;
    let mut ours = Socket::open(gateway.address, "/ws").await.unwrap();
    ours.close(4002).await;
    let Some(Message::Close(Some(frame))) = ours.next().await else { panic!("no close frame came back") };
    assert_eq!(u16::from(frame.code), 4002);
    assert_eq!(ours.next().await, None);

    let mut theirs = Socket::open(gateway.address, "/ws").await.unwrap();
    theirs.send(Message::text("close 4001")).await;
    let Some(Message::Close(Some(frame))) = theirs.next().await else { panic!("no close frame came") };
    assert_eq!((u16::from(frame.code), frame.reason.as_str()), (4001, "as asked"));
    assert_eq!(theirs.next().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_an_upgrade_and_a_refused_upgrade_are_ordinary() {
    let origin = Origin::start().await;
    let gateway = Gateway::to(&origin).await;
    assert_eq!(gateway.get("/plain").await.seen().target, "/plain");
    let Err(Error::Http(refused)) = Socket::open(gateway.address, "/status/403").await else { panic!("no refusal") };
    assert_eq!(refused.status(), 403);
    let Err(Error::Http(unexpected)) = Socket::open(gateway.address, "/reflect").await else { panic!("no refusal") };
    assert_eq!(unexpected.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_to_anything_else_is_not_forwarded_as_one() {
    let origin = Origin::start().await;
    let gateway = Gateway::to(&origin).await;
    for protocol in ["h2c", "TLS/1.0", "websocket2", "h2c, websocket"] {
        let request = Request::get("/x").header("connection", "Upgrade").header("upgrade", protocol);
        let seen = gateway.ask(request).await.seen();
        assert_eq!(seen.header("upgrade"), None, "{protocol}");
        assert!(seen.header("connection").is_none_or(|value| !value.to_ascii_lowercase().contains("upgrade")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_outlives_its_routes_timeout_and_a_reload_that_removes_its_route() {
    let origin = Origin::start().await;
    let url = origin.url();
    let gateway = Gateway::start(&format!(
        "routes:\n  - {{ name: ws, path_pattern: /ws, target_url: \"{url}\", timeout: 300ms }}\n"
    ))
    .await;
    let mut socket = Socket::open(gateway.address, "/ws").await.unwrap();
    gateway.reload(&everything_to("http://127.0.0.1:1")).unwrap();
    assert_eq!(gateway.get("/ws").await.status, 502);
    tokio::time::sleep(Duration::from_millis(500)).await;
    socket.send(Message::text("still here")).await;
    assert_eq!(socket.next().await, Some(Message::text("still here")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_brings_nothing_of_the_connection_to_the_upstream() {
    let said = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade, X-Internal\r\nUpgrade: websocket\r\n\
                X-Internal: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nContent-Length: 0\r\n\
                TE: gzip\r\nTrailer: x\r\nX-Gatekeeper-Error: forged\r\nX-Gatekeeper-Attempt: 9\r\n\
                Sec-WebSocket-Accept: abc\r\nSet-Cookie: a=1\r\n\r\n";
    let gateway = Gateway::to_url(&RawOrigin::answering(said).await.url()).await;
    let mut raw = gateway.raw().await;
    raw.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    let heard = raw.response_head().await;
    let mut names: Vec<_> = heard.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    names.sort_unstable();
    assert_eq!(names, ["connection", "sec-websocket-accept", "set-cookie", "upgrade", "x-request-id"]);
    assert_eq!((heard.header("connection"), heard.header("upgrade")), (Some("Upgrade"), Some("websocket")));
}
