//! The PROXY protocol on plain and TLS listeners: whom a trusted peer names is the client; nobody else may name one.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use crate::support::gateway::everything_to;
use crate::support::tls::{Authority, Files};
use crate::support::{Client, Gateway, Origin, Raw, Request};

/// A plain listener (with HTTP/2) and one with TLS, both behind a load balancer on 127.0.0.1.
struct Scene {
    gateway: Gateway,
    origin: Origin,
    connector: TlsConnector,
    _files: Files,
}

impl Scene {
    async fn new(more: &str) -> Scene {
        let (authority, files, origin) = (Authority::new(), Files::new(), Origin::start().await);
        let config = format!(
            "trusted_proxies: [127.0.0.1]\n{more}listen:\n  - {{ address: \"127.0.0.1:0\", proxy_protocol: true, h2c: true }}\n\
             \x20 - {{ address: \"127.0.0.1:0\", proxy_protocol: true, tls: {{ certificates: [{}] }} }}\n{}",
            files.pair("a", &authority.issue("a.test")),
            everything_to(origin.url())
        );
        let connector = authority.connector(&["http/1.1"], None);
        Scene { gateway: Gateway::start(&config).await, origin, connector, _files: files }
    }

    /// A client on the plain (0) or the TLS listener (1).
    async fn client(
        &self,
        listener: usize,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> io::Result<Client> {
        match listener {
            0 => Ok(Client::h1_over(stream).await),
            _ => Client::tls_over(stream, &self.connector, "a.test").await,
        }
    }

    async fn connect(&self, listener: usize) -> TcpStream {
        let stream = TcpStream::connect(self.gateway.listener(listener)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }
}

/// Sends a header together with the first bytes of what follows it.
struct Prefixed(Vec<u8>, TcpStream);

impl AsyncRead for Prefixed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.1).poll_read(cx, buf)
    }
}

impl AsyncWrite for Prefixed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let prefix = std::mem::take(&mut self.0);
        let together = [&prefix, buf].concat();
        let written = ready!(Pin::new(&mut self.1).poll_write(cx, &together))?;
        assert_eq!(written, together.len(), "one segment on loopback");
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.1).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.1).poll_shutdown(cx)
    }
}

/// A header of version 2: command, family and transport, what follows the length.
fn binary(command: u8, family: u8, block: &[&[u8]]) -> Vec<u8> {
    let block = block.concat();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[0x20 | command, family], &(block.len() as u16).to_be_bytes(), &block].concat()
}

const V4: &[u8] = &[203, 0, 113, 7, 192, 0, 2, 1, 0x30, 0x39, 0x01, 0xbb];
const V6: &[u8] = &[
    0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 1, 0x30, 0x39, 0x01, 0xbb,
];
/// ALPN "h2", and padding.
const EXTENSIONS: &[u8] = &[0x01, 0, 2, b'h', b'2', 0x04, 0, 3, 0, 0, 0];

/// A client's address, and the port it connected to, if the header tells it.
type Told = (&'static str, Option<&'static str>);

/// A client that the load balancer speaks for without saying who it is.
const UNKNOWN: Option<Told> = Some(("0.0.0.0", None));

/// Headers and the client they tell of; none where the load balancer speaks for itself.
fn headers() -> Vec<(Vec<u8>, Option<Told>)> {
    let (v4, v6) = (Some(("203.0.113.7", Some("443"))), Some(("2001:db8::7", Some("443"))));
    vec![
        (b"PROXY TCP4 203.0.113.7 192.0.2.1 12345 443\r\n".into(), v4),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 12345 443\r\n".into(), v6),
        (b"PROXY UNKNOWN\r\n".into(), UNKNOWN),
        (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".into(), UNKNOWN),
        (binary(1, 0x11, &[V4]), v4),
        (binary(1, 0x21, &[V6]), v6),
        (binary(1, 0x11, &[V4, EXTENSIONS]), v4),
        (binary(1, 0x21, &[V6, EXTENSIONS]), v6),
        (binary(0, 0, &[]), None),
        (binary(0, 0x11, &[V4]), None),
        (binary(1, 0, &[EXTENSIONS]), UNKNOWN),
        (binary(1, 0x12, &[V4]), UNKNOWN),
        (binary(1, 0x31, &[&[b'/'; 216]]), UNKNOWN),
        (binary(1, 0x32, &[&[b'/'; 216]]), UNKNOWN),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_is_whom_a_trusted_peer_names() {
    let scene = Scene::new("").await;
    for (index, (header, told)) in headers().into_iter().enumerate() {
        for listener in [0, 1] {
            for in_pieces in [false, true] {
                let mut stream = scene.connect(listener).await;
                let own_port = stream.peer_addr().unwrap().port().to_string();
                let mut prefix = header.clone();
                if in_pieces {
                    for byte in prefix.drain(..) {
                        stream.write_all(&[byte]).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                let mut client = scene.client(listener, Prefixed(prefix, stream)).await.unwrap();
                let path = format!("/{index}/{listener}/{in_pieces}");
                // What a client says of where it comes from is not believed; what the load balancer says itself is.
                let (address, port) = told.unwrap_or(("9.9.9.9", None));
                let forwarded = if told.is_some() { address } else { "9.9.9.9, 127.0.0.1" };
                // Twice: the second request is the same client's.
                for _ in 0..2 {
                    let request = Request::get(&path).header("x-forwarded-for", "9.9.9.9");
                    let seen = client.ask(request).await.seen();
                    assert_eq!(seen.header("x-forwarded-for"), Some(forwarded), "{path}");
                    assert_eq!(seen.header("x-real-ip"), Some(address), "{path}");
                    assert_eq!(seen.header("x-forwarded-port"), Some(port.unwrap_or(&own_port)), "{path}");
                    assert_eq!(seen.header("x-forwarded-proto"), Some(["http", "https"][listener]), "{path}");
                }
                assert_eq!(scene.gateway.log_of(&path).await["client_ip"], address);
            }
        }
    }
}

/// A request to the plain listener, behind a header.
async fn status_behind(scene: &Scene, header: &[u8], fields: &str) -> u16 {
    let mut raw = Raw::new(scene.connect(0).await);
    let request = format!("GET /x HTTP/1.1\r\nhost: a.test\r\n{fields}\r\n");
    raw.send([header, request.as_bytes()].concat()).await;
    raw.response().await.status()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_client_is_neither_the_load_balancer_nor_whom_it_says() {
    let scene = Scene::new("shields: { allow: [127.0.0.0/8, 198.51.100.0/24, unix] }\n").await;
    let claim = "x-forwarded-for: 198.51.100.1\r\n";
    for header in [&b"PROXY UNKNOWN\r\n"[..], &binary(1, 0, &[]), &binary(1, 0x31, &[&[b'/'; 216]])] {
        assert_eq!(status_behind(&scene, header, "").await, 403, "{header:?}");
        assert_eq!(status_behind(&scene, header, claim).await, 403, "{header:?}");
    }
    assert_eq!(status_behind(&scene, &binary(0, 0, &[]), "").await, 200, "the load balancer itself");
    assert_eq!(status_behind(&scene, &binary(0, 0, &[]), claim).await, 200, "the load balancer itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_clients_are_counted_together_and_apart_from_the_load_balancer() {
    let limit = "rate_limits: [{ rule_name: few, limit_type: per_ip, max_requests: 2, window_seconds: 3600 }]\n";
    let flood = "shields: { flood: { requests: 2, window: 60s } }\n";
    for policy in [limit, flood] {
        let scene = Scene::new(policy).await;
        let unknown = b"PROXY UNKNOWN\r\n";
        // Neither another header nor another claim makes another client.
        assert_eq!(status_behind(&scene, unknown, "").await, 200);
        assert_eq!(status_behind(&scene, &binary(1, 0, &[]), "x-forwarded-for: 198.51.100.1\r\n").await, 200);
        assert_eq!(status_behind(&scene, unknown, "x-forwarded-for: 198.51.100.2\r\n").await, 429);
        assert_eq!(status_behind(&scene, &binary(0, 0, &[]), "").await, 200, "a health check");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_without_tls_follows_a_header_too() {
    let scene = Scene::new("").await;
    let mut client = Client::h2_over(Prefixed(binary(1, 0x11, &[V4]), scene.connect(0).await)).await;
    let seen = client.ask(Request::get("/x")).await.seen();
    assert_eq!(seen.header("x-real-ip"), Some("203.0.113.7"));
    assert_eq!(seen.header("via"), Some("2.0 gatekeeper"));
}

/// A connection from an address that is not trusted.
async fn from_stranger(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    socket.connect(address).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_names_nobody() {
    let scene = Scene::new("").await;
    for (header, _) in headers() {
        let mut raw = Raw::new(from_stranger(scene.gateway.address).await);
        raw.send([&header[..], b"GET /forged HTTP/1.1\r\nhost: a.test\r\n\r\n"].concat()).await;
        assert_eq!(raw.response().await.status(), 400, "{header:?}");
        assert!(raw.rest().await.is_empty(), "one answer, then the end");
        let stream = from_stranger(scene.gateway.listener(1)).await;
        assert!(scene.client(1, Prefixed(header.clone(), stream)).await.is_err(), "{header:?}");
    }
    assert_eq!(scene.origin.requests(), 0);
    scene.gateway.has_turned_away("tls_handshake", headers().len() as u64).await;
    // Without a header a stranger is a client like any other.
    for listener in [0, 1] {
        let stream = from_stranger(scene.gateway.listener(listener)).await;
        let seen = scene.client(listener, stream).await.unwrap().ask(Request::get("/x")).await.seen();
        assert_eq!(seen.header("x-real-ip"), Some("127.0.0.2"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_peer_without_a_good_header_is_turned_away() {
    let scene = Scene::new("limits: { head_timeout: 1s }\n").await;
    let malformed: Vec<Vec<u8>> = vec![
        b"GET /x HTTP/1.1\r\nhost: a.test\r\n\r\n".into(),
        b"PROXY TCP4 203.0.113.7 192.0.2.1 12345\r\n".into(),
        b"PROXY TCP4 203.0.113.7 192.0.2.1 12345 443\n".into(),
        b"PROXY TCP4 2001:db8::7 2001:db8::1 12345 443\r\n".into(),
        b"PROXY UDP4 203.0.113.7 192.0.2.1 12345 443\r\n".into(),
        [&b"PROXY UNKNOWN "[..], &[b'x'; 107]].concat(),
        binary(2, 0x11, &[V4]),
        binary(1, 0x11, &[&V4[..8]]),
        binary(1, 0x11, &[V4, &[0x03, 0, 4, 0, 0, 0, 0]]),
        binary(1, 0x11, &[&[0; 4096]]),
    ];
    let mut turned = 0;
    for sent in malformed {
        for listener in [0, 1] {
            let mut raw = Raw::new(scene.connect(listener).await);
            raw.send([&sent[..], b"GET /x HTTP/1.1\r\nhost: a.test\r\n\r\n"].concat()).await;
            assert!(raw.rest().await.is_empty(), "{sent:?}");
            turned += 1;
            scene.gateway.has_turned_away("proxy_protocol", turned).await;
        }
    }
    let began = Instant::now();
    let mut silent = Raw::new(scene.connect(0).await);
    silent.send("PROXY TCP4 203").await;
    assert!(silent.rest().await.is_empty());
    assert!((1000..1500).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    scene.gateway.has_turned_away("handshake_timeout", 1).await;
    assert_eq!(scene.origin.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cap_per_address_counts_whom_the_header_names() {
    let scene = Scene::new("limits: { connections_per_address: 2 }\n").await;
    let open = async |last: u8, listener: usize| {
        let header = format!("PROXY TCP4 203.0.113.{last} 192.0.2.1 12345 443\r\n").into_bytes();
        let mut client = scene.client(listener, Prefixed(header, scene.connect(listener).await)).await.ok()?;
        let response = client.send(Request::get("/x")).await.ok()?;
        assert_eq!(response.status(), 200);
        Some((client, response))
    };
    let held = [open(1, 0).await, open(1, 1).await, open(2, 0).await, open(2, 1).await];
    assert!(held.iter().all(Option::is_some));
    for (turned, (last, listener)) in [(1, 0), (1, 1), (2, 1)].into_iter().enumerate() {
        assert!(open(last, listener).await.is_none());
        scene.gateway.has_turned_away("connections_per_address", turned as u64 + 1).await;
    }
    assert!(open(3, 0).await.is_some());
    // Unknown clients are counted as one.
    let unknown = async || {
        let stream = Prefixed(b"PROXY UNKNOWN\r\n".to_vec(), scene.connect(0).await);
        let mut client = scene.client(0, stream).await.ok()?;
        let response = client.send(Request::get("/x")).await.ok()?;
        Some((client, response))
    };
    let held = [unknown().await, unknown().await];
    assert!(held.iter().all(Option::is_some) && unknown().await.is_none());
}
