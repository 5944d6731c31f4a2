//! What connections may take: caps, deadlines for heads and silence, descriptors, memory; and where one can listen.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::gateway::everything_to;
use crate::support::tls::{Authority, Files};
use crate::support::{Answer, Client, Gateway, Origin, Raw, RawOrigin, Request, eventually, soon};

/// So many connections a test opens where it takes many.
const MANY: usize = 2000;

/// Room for as many descriptors as the system lets us have, here and in what is started from here.
fn take_descriptors() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(most > 2 * MANY as u64, "this test needs more descriptors than {most}");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
}

/// Plain HTTP/1.1 and limits.
fn limited(limits: &str, url: &str) -> String {
    format!("listen: [{{ address: \"127.0.0.1:0\" }}]\nlimits: {{ {limits} }}\n{}", everything_to(url))
}

const HEAD: &str =
    "GET /slow HTTP/1.1\r\nhost: a.test\r\nx-padding: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n";

/// The time that 99 of 100 requests stay below, and the longest, over two seconds: each on a new connection, then again.
async fn latencies(gateway: &Gateway) -> (Duration, Duration) {
    let (began, mut times) = (Instant::now(), Vec::new());
    while began.elapsed() < Duration::from_secs(2) {
        let asked = Instant::now();
        let mut client = gateway.h1().await;
        assert_eq!(client.ask(Request::get("/x")).await.status, 200);
        times.push(asked.elapsed());
        let asked = Instant::now();
        assert_eq!(client.ask(Request::get("/x")).await.status, 200);
        times.push(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    times.sort();
    (times[times.len() * 99 / 100], times[times.len() - 1])
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_slow_connections_slow_nobody_down_and_end_in_time() {
    const LIMIT: Duration = Duration::from_secs(9);
    take_descriptors();
    let origin = Origin::start().await;
    let gateway = Gateway::start(&limited("head_timeout: 9s", origin.url())).await;
    let mut slow = Vec::new();
    for _ in 0..MANY {
        slow.push(Raw::connect(gateway.address).await);
    }
    let trickling = tokio::spawn(async move {
        let began = Instant::now();
        for byte in HEAD.bytes().take(LIMIT.as_secs() as usize) {
            for client in &mut slow {
                client.stream.try_write(&[byte]).expect("a connection within its time is open");
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let mut answered = 0;
        for mut client in slow {
            answered += usize::from(client.next_response().await.is_some_and(|answer| answer.status() == 408));
        }
        (answered, began.elapsed())
    });
    // What other tests do to this machine at the same time is not measured: the best of the windows counts.
    let mut best = (Duration::MAX, Duration::MAX);
    for _ in 0..4 {
        best = best.min(latencies(&gateway).await);
        println!("with {MANY} slow connections: p99 {:?}, longest {:?}", best.0, best.1);
        if best.0 < Duration::from_millis(50) {
            break;
        }
    }
    assert!(!trickling.is_finished() && best.0 < Duration::from_millis(50), "p99 {:?}, longest {:?}", best.0, best.1);
    let (answered, time) = trickling.await.unwrap();
    assert_eq!(answered, MANY);
    assert!(time < LIMIT + Duration::from_secs(3), "{time:?}");
    assert!(gateway.metrics().await.contains(&format!("code=\"head_timeout\"}} {MANY}\n")));
}

/// Sends a head byte by byte, one each 50 ms, until there is an answer; the answer and when it came.
async fn trickle(mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin) -> (String, Duration) {
    let began = Instant::now();
    let mut answer = Vec::new();
    for byte in HEAD.bytes() {
        let _ = stream.write_all(&[byte]).await;
        let _ = stream.flush().await;
        match tokio::time::timeout(Duration::from_millis(50), stream.read_buf(&mut answer)).await {
            Err(_) => {}
            Ok(_) => break,
        }
    }
    let time = began.elapsed();
    let _ = soon("the end of the connection", stream.read_to_end(&mut answer)).await;
    (String::from_utf8_lossy(&answer).into_owned(), time)
}

fn assert_timed_out((answer, time): (String, Duration)) {
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"code\":\"head_timeout\""), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("connection: close\r\n"), "{answer}");
    assert!((1000..1500).contains(&time.as_millis()), "{time:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_head_is_answered_in_time() {
    let (authority, files, origin) = (Authority::new(), Files::new(), Origin::start().await);
    let config = format!(
        "limits: {{ head_timeout: 1s }}\nlisten:\n  - {{ address: \"127.0.0.1:0\" }}\n  - {{ address: \"127.0.0.1:0\", h2c: true }}\n\
         \x20 - {{ address: \"127.0.0.1:0\", tls: {{ certificates: [{}] }} }}\n{}",
        files.pair("a", &authority.issue("a.test")),
        everything_to(origin.url())
    );
    let gateway = Gateway::start(&config).await;
    let connect = async |listener: usize| TcpStream::connect(gateway.listener(listener)).await.unwrap();
    let connector = authority.connector(&["http/1.1"], None);
    let encrypted = async || connector.connect("a.test".try_into().unwrap(), connect(2).await).await.unwrap();
    let ask = b"GET /first HTTP/1.1\r\nhost: a.test\r\n\r\n";
    tokio::join!(
        async { assert_timed_out(trickle(connect(0).await).await) },
        async { assert_timed_out(trickle(connect(1).await).await) },
        async { assert_timed_out(trickle(encrypted().await).await) },
        // The second request has a time of its own.
        async {
            let mut raw = Raw::connect(gateway.listener(0)).await;
            assert_eq!(raw.send(ask).await.response().await.status(), 200);
            tokio::time::sleep(Duration::from_millis(700)).await;
            assert_timed_out(trickle(raw.stream).await);
        },
        async {
            let mut stream = encrypted().await;
            stream.write_all(ask).await.unwrap();
            let mut answer = vec![0; 4096];
            assert!(stream.read(&mut answer).await.unwrap() > 0 && answer.starts_with(b"HTTP/1.1 200 "));
            assert_timed_out(trickle(stream).await);
        },
    );
    assert_eq!(origin.requests(), 2);
}

/// How long the other side keeps a silent connection.
async fn silence(raw: &mut Raw) -> Duration {
    let began = Instant::now();
    assert_eq!(String::from_utf8_lossy(&raw.rest().await), "", "it ends without a word");
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_end() {
    let origin = Origin::start().await;
    let gateway = Gateway::start(&limited("head_timeout: 500ms, keep_alive: 1500ms", origin.url())).await;
    let in_time = |time: Duration, limit: u128| assert!((limit..limit + 500).contains(&time.as_millis()), "{time:?}");
    tokio::join!(
        async { in_time(silence(&mut gateway.raw().await).await, 500) },
        async {
            let mut raw = gateway.raw().await;
            for _ in 0..2 {
                raw.send("GET /x HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
                assert_eq!(raw.response().await.status(), 200);
                // A pause within what is allowed ends nothing.
                tokio::time::sleep(Duration::from_millis(700)).await;
            }
            raw.send("GET /x HTTP/1.1\r\nhost: a.test\r\n\r\n").await.response().await;
            in_time(silence(&mut raw).await, 1500);
        },
        // A slow answer is no silence of the client's.
        async {
            let mut raw = gateway.raw().await;
            raw.send("GET /slow/2000 HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
            assert_eq!(raw.response().await.status(), 200);
        },
    );
    eventually("no connection is left", async || {
        gateway.metrics().await.contains("gatekeeper_connections 0\n").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_request_of_a_connection_is_told_that_it_is() {
    let origin = Origin::start().await;
    let gateway = Gateway::start(&limited("keep_alive_requests: 3", origin.url())).await;
    let mut raw = gateway.raw().await;
    // Pipelined, and one more than are served.
    raw.send("GET /x HTTP/1.1\r\nhost: a.test\r\n\r\n".repeat(4)).await;
    for nth in 1..=3 {
        let response = raw.response().await;
        let said = response.header("connection").map(str::to_ascii_lowercase);
        assert_eq!((response.status(), said.as_deref() == Some("close")), (200, nth == 3), "{nth}");
    }
    assert!(raw.next_response().await.is_none());
    assert_eq!(origin.requests(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_cap_the_next_connection_waits() {
    let origin = Origin::start().await;
    let gateway = Gateway::start(&limited("connections: 3", origin.url())).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut client = gateway.h1().await;
        assert_eq!(client.ask(Request::get("/x")).await.status, 200);
        held.push(client);
    }
    // All at once, so that none is accepted while another is only about to be counted.
    let mut waiting: Vec<_> = (0..20)
        .map(|_| {
            let address = gateway.address;
            tokio::spawn(async move { Client::h1(address).await.ask(Request::get("/waited")).await.status })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(waiting.iter().all(|waiting| !waiting.is_finished()) && origin.requests() == 3);
    assert!(gateway.metrics().await.contains("gatekeeper_connections 3\n"));
    drop(held);
    for waiting in waiting.drain(..) {
        assert_eq!(soon("a connection that waited", waiting).await.unwrap(), 200);
    }
    // The cap is another after a reload.
    gateway.reload(&limited("connections: 1", origin.url())).unwrap();
    let mut only = gateway.h1().await;
    assert_eq!(only.ask(Request::get("/x")).await.status, 200);
    let address = gateway.address;
    let next = tokio::spawn(async move { Client::h1(address).await.ask(Request::get("/waited")).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!next.is_finished());
    drop(only);
    assert_eq!(next.await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_has_so_many_connections_and_more_are_closed_at_once() {
    let origin = Origin::start().await;
    let gateway = Gateway::start(&limited("connections_per_address: 2", origin.url())).await;
    let mut held = [gateway.raw().await, gateway.raw().await];
    for raw in &mut held {
        raw.send("GET /x HTTP/1.1\r\nhost: a.test\r\n\r\n").await.response().await;
    }
    for turned in 1..=5 {
        let began = Instant::now();
        let mut third = gateway.raw().await;
        assert!(third.rest().await.is_empty() && began.elapsed() < Duration::from_secs(3));
        gateway.has_turned_away("connections_per_address", turned).await;
    }
    let other = tokio::net::TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.3:0".parse().unwrap()).unwrap();
    let mut other = Client::h1_over(other.connect(gateway.address).await.unwrap()).await;
    assert_eq!(other.ask(Request::get("/x")).await.status, 200);
    let [first, _second] = held;
    drop(first);
    eventually("the place is free again", async || {
        let mut raw = gateway.raw().await;
        raw.send("GET /x HTTP/1.1\r\nhost: a.test\r\n\r\n").await.next_response().await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_has_as_many_connections_as_it_likes() {
    let origin = Origin::start().await;
    let config = limited("connections_per_address: 2", origin.url());
    let gateway = Gateway::start(&format!("trusted_proxies: [127.0.0.0/8]\n{config}")).await;
    let mut held = Vec::new();
    for _ in 0..5 {
        let mut client = gateway.h1().await;
        assert_eq!(client.ask(Request::get("/x")).await.status, 200);
        held.push(client);
    }
    assert_eq!(gateway.turned_away("connections_per_address").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_descriptors_it_neither_spins_nor_dies() {
    let origin = Origin::start().await;
    let config = limited("head_timeout: 60s", origin.url());
    // The store has some of them.
    let gateway = Gateway::with_descriptors(80, &config).await;
    let mut client = gateway.h1().await;
    assert_eq!(client.ask(Request::get("/before")).await.status, 200);
    let mut held = Vec::new();
    for _ in 0..150 {
        held.push(TcpStream::connect(gateway.address).await.unwrap());
    }
    let last = gateway.address;
    let waiting = tokio::spawn(async move { Client::h1(last).await.ask(Request::get("/after")).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = gateway.cpu_ticks();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let used = gateway.cpu_ticks() - before;
    println!("out of descriptors: {used} of 200 ticks used");
    assert!(used < 20, "{used} ticks in two seconds");
    assert!(!waiting.is_finished(), "no descriptor was left for it");
    // Who is connected is served.
    assert_eq!(client.ask(Request::get("/health")).await.status, 200);
    drop(held);
    assert_eq!(soon("the connection that waited", waiting).await.unwrap().status, 200);
    let failed = gateway.turned_away("accept_failed").await;
    assert!((1..=20).contains(&failed), "{failed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_takes_little_memory() {
    take_descriptors();
    let origin = Origin::start().await;
    let gateway = Gateway::start(&limited("keep_alive: 60s", origin.url())).await;
    let open = async |count: usize| {
        let mut clients = Vec::new();
        for _ in 0..count {
            let mut raw = gateway.raw().await;
            raw.send("GET /x HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
            assert_eq!(raw.response().await.status(), 200);
            clients.push(raw);
        }
        clients
    };
    let _warm = open(100).await;
    let before = gateway.memory();
    let _idle = open(MANY).await;
    let each = (gateway.memory() - before) / MANY as u64;
    println!("an idle connection (HTTP/1.1, kept alive) takes {each} bytes");
    assert!(each < 64 * 1024, "{each} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_websocket_and_an_idle_event_stream_take_little_memory() {
    const SOME: usize = 500;
    take_descriptors();
    let origin = RawOrigin::playing(move |mut peer: Raw| async move {
        while let Some(request) = peer.request_head().await {
            let answer = match request.first_line.contains("/ws") {
                true => "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
                false => {
                    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n\
                     d\r\ndata: hello\n\n\r\n"
                }
            };
            peer.send(answer).await;
        }
    })
    .await;
    let gateway = Gateway::start(&limited("keep_alive: 60s", &origin.url())).await;
    let open = async |count: usize, request: &str, status: u16| {
        let mut clients = Vec::new();
        for _ in 0..count {
            let mut raw = gateway.raw().await;
            raw.send(request).await;
            assert_eq!(raw.response_head().await.status(), status);
            clients.push(raw);
        }
        clients
    };
    let websocket = "GET /ws HTTP/1.1\r\nhost: a.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                     sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let events = "GET /events HTTP/1.1\r\nhost: a.test\r\n\r\n";
    for (name, request, status) in [("a websocket", websocket, 101), ("a stream of events", events, 200)] {
        let _warm = open(50, request, status).await;
        let before = gateway.memory();
        let _idle = open(SOME, request, status).await;
        let each = gateway.memory().saturating_sub(before) / SOME as u64;
        println!("{name} that is idle takes {each} bytes");
        assert!(each < 72 * 1024, "{name}: {each} bytes");
    }
}

/// A port that is free at all addresses now.
fn free_port() -> u16 {
    TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_listens_on_several_addresses_of_all_kinds_at_once() {
    if TcpListener::bind("[::1]:0").is_err() {
        println!("this machine has no IPv6: nothing was tested");
        return;
    }
    let (origin, folder, port) = (Origin::start().await, tempfile::tempdir().unwrap(), free_port());
    let socket = folder.path().join("http.sock").display().to_string();
    let config = format!(
        "listen:\n  - address: 127.0.0.1:0\n  - address: \"[::1]:0\"\n  - address: unix:{socket}\n\
         \x20 - address: 0.0.0.0:{port}\n  - address: \"[::]:{port}\"\n{}",
        everything_to(origin.url())
    );
    let gateway = Gateway::start(&config).await;
    let on = |address: &str| SocketAddr::new(address.parse().unwrap(), port);
    let clients = [
        (Client::h1(gateway.address).await, Some("127.0.0.1")),
        (Client::h1(gateway.listener(1)).await, Some("::1")),
        (Client::unix(&socket).await, None),
        (Client::h1(on("127.0.0.1")).await, Some("127.0.0.1")),
        (Client::h1(on("::1")).await, Some("::1")),
    ];
    for (mut client, address) in clients {
        let seen = client.ask(Request::get("/x")).await.seen();
        assert_eq!(seen.header("x-forwarded-for"), address);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_and_listeners_are_others_after_a_reload_for_connections_that_come_then() {
    let origin = Origin::start().await;
    let config = |listener: &str| {
        format!(
            "listen: [{{ address: \"127.0.0.1:0\" }}, {{ address: \"127.0.0.1:0\"{listener} }}]\n{}",
            everything_to(origin.url())
        )
    };
    let gateway = Gateway::start(&config("")).await;
    let second = gateway.listener(1);
    let mut before = Client::h1(second).await;
    let ask = || Request::get("/x");
    assert_eq!(before.ask(ask()).await.status, 200);
    gateway.reload(&config(", redirect_https: 443")).unwrap();
    let status = async |address: SocketAddr| -> Answer { Client::h1(address).await.ask(ask()).await };
    assert_eq!(status(second).await.status, 308);
    assert_eq!(status(gateway.address).await.status, 200, "two listeners whose port the system chose are not mixed up");
    assert_eq!(before.ask(ask()).await.status, 200, "a connection keeps what it came by");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_is_missed_although_it_has_sent_more_than_its_request() {
    let (authority, files, origin) = (Authority::new(), Files::new(), Origin::start().await);
    let pair = files.pair("site", &authority.issue("localhost"));
    let gateway = Gateway::start(&format!(
        "listen: [{{ address: \"127.0.0.1:0\" }}, {{ address: \"127.0.0.1:0\", tls: {{ certificates: [{pair}] }} }}]\n\
         services:\n  app: {{ targets: [\"{}\"], max_in_flight: 1, queue: {{ length: 0 }} }}\n\
         routes:\n  - {{ name: all, path_pattern: /*, target_service: app }}\n",
        origin.url()
    ))
    .await;
    let next = b"GET /next HTTP/1.1\r\nhost: a\r\n\r\n";
    // An end that waits behind what the kernels hold can't be seen, but a reset can.
    for (more, ends_by_reset) in
        [(b"G".to_vec(), true), (b"G".to_vec(), false), (next.repeat(100), false), (next.repeat(10_000), true)]
    {
        let mut raw = gateway.raw().await;
        raw.send("GET /slow/60000 HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let inside = async |count: f64| {
            let now = async || gateway.metric("gatekeeper_service_requests{service=\"app\"}").await;
            eventually("so many are in the service", async || (now().await == count).then_some(())).await;
        };
        inside(1.0).await;
        // What the gateway does not take stays with the kernel.
        let _ = tokio::time::timeout(Duration::from_millis(100), raw.stream.write_all(&more)).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(gateway.get("/refused").await.status, 503, "the place is taken");
        if ends_by_reset {
            raw.stream.set_zero_linger().unwrap();
        }
        drop(raw);
        inside(0.0).await;
    }
    let connector = authority.connector(&["http/1.1"], None);
    let stream = TcpStream::connect(gateway.listener(1)).await.unwrap();
    let mut stream = connector.connect("localhost".to_owned().try_into().unwrap(), stream).await.unwrap();
    stream.write_all(b"GET /slow/60000 HTTP/1.1\r\nhost: a\r\n\r\nG").await.unwrap();
    let now = async || gateway.metric("gatekeeper_service_requests{service=\"app\"}").await;
    eventually("it is in the service", async || (now().await == 1.0).then_some(())).await;
    drop(stream);
    eventually("it is given up", async || (now().await == 0.0).then_some(())).await;
    // A client that stays is served, the one request after the other.
    let mut raw = gateway.raw().await;
    raw.send("GET /slow/900 HTTP/1.1\r\nhost: a\r\n\r\nGET /slow/1 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!((raw.response().await.text(), raw.response().await.text()), ("at last", "at last"));
}
