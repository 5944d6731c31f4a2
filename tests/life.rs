//! How a gateway ends, and how sockets that systemd holds outlive it.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use crate::support::gateway::everything_to;
use crate::support::load::Load;
use crate::support::websocket::Socket;
use crate::support::{Client, Gateway, Origin, Raw, Request, eventually};

const RESTARTS: usize = 20;

/// What `TERM` may take beside what is waited for.
const MARGIN: Duration = Duration::from_millis(700);
/// What an idle connection has for a last request.
const LAST_REQUEST: Duration = Duration::from_millis(500);

async fn draining(drain: &str) -> (Origin, Gateway) {
    draining_with(drain, 2).await
}

async fn draining_with(drain: &str, threads: usize) -> (Origin, Gateway) {
    let origin = Origin::start().await;
    let config = format!("threads: {threads}\ndrain: {{ {drain} }}\n{}", everything_to(origin.url()));
    (origin, Gateway::start(&config).await)
}

/// Tells it to stop; how long that takes.
async fn stop(gateway: &mut Gateway) -> Duration {
    let told = Instant::now();
    gateway.signal("TERM");
    assert!(gateway.ended().await.success());
    told.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_fails_no_request_and_ends_with_the_last() {
    // One thread has another kind of runtime.
    for (drain, threads) in [("grace: 5s", 2), ("grace: 5s, lame_duck: 300ms", 2), ("grace: 5s", 1)] {
        let (_origin, mut gateway) = draining_with(drain, threads).await;
        let mut load = Load::leaving(gateway.address).await;
        load.goes_on(200).await;
        let took = stop(&mut gateway).await;
        let answers = load.wait().await;
        println!("{drain}, {threads} threads: {answers} requests, 0 failed; the process ended {took:?} after TERM");
        assert!(took < Duration::from_millis(300) + LAST_REQUEST + MARGIN, "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_connections_it_ends_at_once_and_idle_ones_keep_it_a_moment() {
    let (_origin, mut gateway) = draining("grace: 20s").await;
    let took = stop(&mut gateway).await;
    assert!(took < LAST_REQUEST, "{took:?}");

    let (_origin, mut gateway) = draining("grace: 20s").await;
    let (mut h1, mut h2) = (gateway.h1().await, gateway.h2c().await);
    assert_eq!(h1.ask(Request::get("/text/5")).await.status, 200);
    assert_eq!(h2.ask(Request::get("/text/5")).await.status, 200);
    let took = stop(&mut gateway).await;
    assert!(took < LAST_REQUEST + MARGIN, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lame_duck_serves_but_is_not_ready_and_says_that_it_closes() {
    let (_origin, mut gateway) = draining("grace: 5s, lame_duck: 1s").await;
    let mut kept = gateway.raw().await;
    let ask = "GET /text/5 HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(kept.send(ask).await.response().await.header("connection"), Some("keep-alive"));
    let mut slow = gateway.raw().await;
    slow.send("GET /slow/300 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    eventually("it is on its way", async || {
        gateway.metrics().await.contains("gatekeeper_requests_in_flight 1\n").then_some(())
    })
    .await;
    let told = Instant::now();
    gateway.signal("TERM");
    eventually("it is not ready", async || (gateway.admin("/ready").await.status == 503).then_some(())).await;
    assert_eq!(gateway.get("/ready").await.status, 503, "a new connection");
    assert_eq!(kept.send(ask).await.response().await.header("connection"), Some("close"));
    assert_eq!(slow.response().await.header("connection"), Some("close"), "begun before");
    assert!(kept.is_closed().await);
    assert!(gateway.ended().await.success());
    assert!(told.elapsed() > Duration::from_secs(1), "{:?}", told.elapsed());
    assert!(told.elapsed() < Duration::from_secs(1) + MARGIN, "{:?}", told.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_grace_cuts_what_does_not_end_and_a_second_signal_cuts_at_once() {
    let (_origin, mut gateway) = draining("grace: 1s").await;
    let mut socket = Socket::open(gateway.address, "/ws").await.unwrap();
    let took = stop(&mut gateway).await;
    assert!(took > Duration::from_secs(1) && took < Duration::from_secs(1) + MARGIN, "{took:?}");
    assert!(socket.next().await.is_none_or(|message| message.is_close()));

    for second in ["TERM", "INT"] {
        let (_origin, mut gateway) = draining("grace: 20s").await;
        let _socket = Socket::open(gateway.address, "/ws").await.unwrap();
        gateway.signal("TERM");
        eventually("it is stopping", async || (gateway.admin("/ready").await.status == 503).then_some(())).await;
        let told = Instant::now();
        gateway.signal(second);
        gateway.ended().await;
        assert!(told.elapsed() < MARGIN, "{second}: {:?}", told.elapsed());
    }
}

/// Sockets as systemd holds them: one for clients, one for administration.
struct Held {
    folder: tempfile::TempDir,
    address: SocketAddr,
    sockets: Vec<OwnedFd>,
}

impl Held {
    fn new() -> Held {
        let folder = tempfile::tempdir().unwrap();
        let public = TcpListener::bind("127.0.0.1:0").unwrap();
        let admin = UnixListener::bind(folder.path().join("admin.sock")).unwrap();
        Held { address: public.local_addr().unwrap(), sockets: vec![admin.into(), public.into()], folder }
    }

    fn admin(&self) -> String {
        self.folder.path().join("admin.sock").display().to_string()
    }

    fn config(&self, origin: &Origin) -> String {
        let rest = everything_to(origin.url());
        let listen = format!("listen: [{{ address: \"{}\", h2c: true }}]", self.address);
        format!("{listen}\nadmin: {{ address: \"unix:{}\" }}\n{rest}", self.admin())
    }

    fn handed(&self) -> Vec<OwnedFd> {
        self.sockets.iter().map(|socket| socket.try_clone().unwrap()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_restarts_with_held_sockets_fail_no_request() {
    let (held, origin) = (Held::new(), Origin::start().await);
    let mut gateway = Gateway::start_on(&held.config(&origin), held.handed()).await;
    assert_eq!(gateway.address, held.address);
    let load = Load::start(gateway.address).await;
    let began = Instant::now();
    for _ in 0..RESTARTS {
        load.goes_on(50).await;
        gateway.restart().await;
    }
    let answers = load.finish().await;
    println!("{RESTARTS} restarts in {:?}: {answers} requests, 0 failed", began.elapsed());
    assert_eq!(Client::unix(&held.admin()).await.ask(Request::get("/health")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_waits_while_nobody_serves() {
    let (held, origin) = (Held::new(), Origin::start().await);
    let mut early = Raw::new(tokio::net::TcpStream::connect(held.address).await.unwrap());
    early.send("GET /text/5 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let _gateway = Gateway::start_on(&held.config(&origin), held.handed()).await;
    assert_eq!(early.response().await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_nobody_named_are_closed_and_wrong_ones_are_refused() {
    let (held, origin) = (Held::new(), Origin::start().await);
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let mut handed = held.handed();
    handed.push(other.into());
    let gateway = Gateway::start_on(&held.config(&origin), handed).await;
    let warning = format!("closing the inherited socket on {address}: it is not in the configuration");
    assert!(gateway.said().contains(&warning), "{}", gateway.said());

    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (connected, _other_end) = UnixStream::pair().unwrap();
    for (wrong, reason) in [(OwnedFd::from(udp), "cannot be used"), (connected.into(), "cannot be used")] {
        let said = Gateway::refuses(&held.config(&origin), vec![wrong]);
        let begin = "gatekeeper: inherited socket 0 of LISTEN_FDS (counted from 0) ";
        assert!(said.contains(begin) && said.contains(reason), "{said}");
    }
}
