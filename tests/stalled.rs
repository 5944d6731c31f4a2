//! Clients that are slow to send, or to take their answer, never speak against a service, however it is reached; a service
//! that is slow to answer does.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, future, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use crate::support::client::BoxError;
use crate::support::tls::Authority;
use crate::support::{Act, Answer, Body, Client, Fleet, Gateway, Origin, Request, eventually, full, soon};

/// Targets that take requests in every way.
struct Targets {
    fleet: Fleet,
    unix: [Origin; 2],
    tls: [Origin; 2],
    _dir: TempDir,
}

impl Targets {
    async fn start() -> Targets {
        let dir = tempfile::tempdir().unwrap();
        let unix = ["one", "other"].map(|name| Origin::unix(dir.path().join(name).to_str().unwrap()));
        let acceptor = || Authority::new().issue("127.0.0.1").acceptor(&[], None);
        let tls = [Origin::tls(acceptor()).await, Origin::tls(acceptor()).await];
        Targets { fleet: Fleet::of(2).await, unix, tls, _dir: dir }
    }
}

fn urls(origins: &[Origin; 2]) -> String {
    origins.each_ref().map(|origin| format!("\"{}\"", origin.url())).join(", ")
}

/// Every way to reach a service, two targets each, and routes `/NAME/*` with these settings. A few failures are enough.
async fn gateway(targets: &Targets, route: &str) -> Gateway {
    let services = [
        ("tcp", targets.fleet.urls(), "protocol: http1", "/"),
        ("h2", targets.fleet.urls(), "protocol: h2", "/"),
        ("unix", urls(&targets.unix), "", "/sink"),
        ("tls", urls(&targets.tls), "tls: { verify: false }", "/sink"),
        // It answers before it has the request whole.
        ("early", urls(&targets.unix), "", "/echo"),
    ];
    let mut config = (String::from("services:\n"), String::from("routes:\n"));
    for (name, urls, settings, path) in services {
        config.0 += &format!(
            "  {name}: {{ targets: [{urls}], circuit_breaker: {{ failure_threshold: 3 }}, ejection: {{ failures: 2 }}, \
             {settings} }}\n"
        );
        config.1 += &format!(
            "  - {{ name: {name}, path_pattern: /{name}/*, target_service: {name}, retry_count: 0, \
             rewrite: {path}, {route} }}\n"
        );
    }
    Gateway::start(&(config.0 + &config.1)).await
}

const NAMES: [&str; 5] = ["tcp", "h2", "unix", "tls", "early"];

/// The services that were found failing, or have a target that was.
async fn blamed(gateway: &Gateway) -> Vec<String> {
    let mut blamed = Vec::new();
    for name in NAMES {
        for metric in ["breaker_state", "ejections_total"] {
            let series = format!("gatekeeper_{metric}{{service=\"{name}\"}}");
            if gateway.metric(&series).await > 0.0 {
                blamed.push(format!("{name}: {metric}"));
            }
        }
    }
    blamed
}

/// A body that begins, and after these times goes on byte by byte; whether it ever ends.
fn slow(steps: Vec<Duration>, ends: bool) -> Body {
    let first = stream::once(future::ready(Duration::ZERO)).chain(stream::iter(steps));
    let bytes = first.then(|step| async move {
        tokio::time::sleep(step).await;
        Ok::<_, BoxError>(Frame::data(Bytes::from("x")))
    });
    if ends {
        StreamBody::new(bytes).boxed_unsync()
    } else {
        StreamBody::new(bytes.chain(stream::pending())).boxed_unsync()
    }
}

/// Uploads by HTTP/1 (with and without a length) and HTTP/2 to all services at once; the status of each, if it has one.
async fn upload(gateway: &Gateway, body: impl Fn() -> Body, length: Option<usize>) -> Vec<Option<u16>> {
    let ways = NAMES.into_iter().flat_map(|name| [(name, false, false), (name, false, true), (name, true, false)]);
    let uploads = ways.map(|(name, is_h2, sized)| {
        let mut request = Request::post(format!("/{name}/"));
        if let Some(length) = length.filter(|_| sized) {
            request = request.header("content-length", length);
        }
        let request = request.body(body()).unwrap();
        async move {
            let mut client: Client = if is_h2 { gateway.h2c().await } else { gateway.h1().await };
            let exchange = async { Answer::collect(client.send(request).await?).await };
            soon("an end", exchange).await.ok().map(|answer| answer.status.as_u16())
        }
    });
    future::join_all(uploads).await
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_uploads_speak_against_nobody() {
    let targets = Targets::start().await;
    for route in [
        "timeouts: { idle: 300ms, first_byte: 20s }",
        "timeout: 300ms",
        "timeouts: { first_byte: 100ms }, timeout: 400ms",
    ] {
        let gateway = gateway(&targets, route).await;
        for _ in 0..4 {
            let statuses = upload(&gateway, || slow(Vec::new(), false), Some(100)).await;
            // Some streams of HTTP/2 end without an answer.
            assert!(statuses.iter().flatten().all(|status| *status == 408), "{route}: {statuses:?}");
        }
        assert_eq!(blamed(&gateway).await, [""; 0], "{route}");
        let well = upload(&gateway, || full("well"), None).await;
        assert_eq!(well, vec![Some(200); well.len()], "{route}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_byte_just_before_the_end_turns_no_blame() {
    let targets = Targets::start().await;
    targets.fleet.play(&[Act::Slow(Duration::from_secs(5))]);
    let gateway = gateway(&targets, "timeout: 800ms").await;
    for _ in 0..4 {
        upload(&gateway, || slow(vec![Duration::from_millis(650)], true), Some(2)).await;
    }
    assert_eq!(blamed(&gateway).await, [""; 0]);
    // Who has the request for more than half of the time is late.
    for _ in 0..4 {
        upload(&gateway, || slow(vec![Duration::from_millis(100)], true), Some(2)).await;
    }
    let late = blamed(&gateway).await;
    assert_eq!(late, ["tcp: breaker_state", "tcp: ejections_total", "h2: breaker_state", "h2: ejections_total"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_upload_holds_no_probe() {
    let fleet = Fleet::of(1).await;
    let gateway = Gateway::start(&format!(
        "services:\n  app: {{ targets: [{}], circuit_breaker: {{ failure_threshold: 2, timeout: 300ms, success_threshold: 1 }} }}\n\
         routes:\n  - {{ name: app, path_pattern: /*, target_service: app, retry_count: 0 }}\n",
        fleet.urls()
    ))
    .await;
    let state = async || gateway.metric("gatekeeper_breaker_state{service=\"app\"}").await;
    for late_answer in [Request::get("/").body(full("")).unwrap(), Request::post("/").body(full("whole")).unwrap()] {
        fleet.play(&[Act::Status(503)]);
        for _ in 0..2 {
            gateway.get("/").await;
        }
        eventually("half-open", async || (state().await == 1.0).then_some(())).await;
        fleet.play(&[]);
        let mut stalled = Vec::new();
        for number in 0..3 {
            let mut client = gateway.raw().await;
            client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nx").await;
            stalled.push(client);
            let reached = async || (fleet.taken().len() > number).then_some(());
            if number == 0 {
                eventually("it is passed on", reached).await;
            }
        }
        // Uploads are let pass one by one.
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert_eq!(gateway.ask(late_answer).await.status, 200);
        assert_eq!(state().await, 0.0);
    }
}

/// Asks for an answer and takes nothing of it for a while, then all there is; over HTTP/1 or HTTP/2.
async fn take_late(gateway: &Gateway, path: String, is_h2: bool, late: Duration) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(32 * 1024).unwrap();
    let mut stream = socket.connect(gateway.address).await.unwrap();
    if !is_h2 {
        let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        tokio::time::sleep(late).await;
        let _ = soon("its end", stream.read_to_end(&mut Vec::new())).await;
        return;
    }
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(65_535).initial_connection_window_size(65_535);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get(format!("http://a{path}")).body(full("")).unwrap();
    let answer = sender.send_request(request).await;
    tokio::time::sleep(late).await;
    if let Ok(answer) = answer {
        let _ = soon("its end", answer.into_body().collect()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_taken_late_speak_against_nobody() {
    let (targets, plain) = (Targets::start().await, [Origin::start().await, Origin::start().await]);
    let services = [
        ("tcp", urls(&plain), "protocol: http1"),
        ("h2", urls(&plain), "protocol: h2"),
        ("unix", urls(&targets.unix), ""),
        ("tls", urls(&targets.tls), "tls: { verify: false }"),
    ];
    // The smaller one is all in the gateway's hands while its client takes nothing.
    let sizes = [600_000, 6_000_000];
    let limits = [("idle", "timeouts: { idle: 400ms, first_byte: 20s }"), ("total", "timeout: 400ms")];
    let mut config = (String::from("services:\n"), String::from("routes:\n"));
    for (name, urls, settings) in &services {
        config.0 += &format!(
            "  {name}: {{ targets: [{urls}], circuit_breaker: {{ failure_threshold: 3 }}, ejection: {{ failures: 2 }}, \
             {settings} }}\n"
        );
        for (size, (limit, settings)) in sizes.iter().flat_map(|size| limits.map(|limit| (size, limit))) {
            let route = format!("{name}-{limit}-{size}");
            config.1 += &format!(
                "  - {{ name: {route}, path_pattern: /{route}, target_service: {name}, retry_count: 0, \
                 rewrite: /bytes/{size}, {settings} }}\n"
            );
        }
    }
    let gateway = Gateway::start(&(config.0 + &config.1)).await;
    // Some take on while the gateway gives them up.
    for late in [550, 470, 1500].map(Duration::from_millis) {
        let routes = services.iter().flat_map(|(name, ..)| {
            let limits = limits.into_iter().flat_map(|(limit, _)| sizes.map(|size| (limit, size)));
            limits.map(move |(limit, size)| format!("/{name}-{limit}-{size}"))
        });
        let clients = routes.flat_map(|path| [(path.clone(), false), (path, true)]);
        future::join_all(clients.map(|(path, is_h2)| take_late(&gateway, path, is_h2, late))).await;
        assert_eq!(blamed(&gateway).await, [""; 0], "{late:?}");
    }
}
