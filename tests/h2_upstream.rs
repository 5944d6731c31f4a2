//! HTTP/2 towards upstreams: what one request does on a shared connection is not felt by the others on it, and what the
//! upstream did not process goes again.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt, future};
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream};
use http::{Method, Response, StatusCode};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::support::tls::{Authority, Files};
use crate::support::{Answer, Body, Gateway, Origin, Raw, Request, eventually, full};

/// An upstream that speaks HTTP/2 and acts on the path; anything else is answered with the request's body.
///
/// | path | what it does |
/// |---|---|
/// | `/never` | never answers, and counts how the stream ends |
/// | `/wait` | answers when it is released |
/// | `/unread` | neither reads the body nor answers |
/// | `/refused/N` | refuses the stream at the first N attempts |
struct Upstream {
    address: SocketAddr,
    stage: Arc<Stage>,
}

#[derive(Default)]
struct Stage {
    /// Requests that came.
    begun: AtomicUsize,
    /// Streams that the gateway reset, by connection.
    resets: Mutex<Vec<usize>>,
    /// Connections that are open.
    open: AtomicUsize,
    /// So many resets on one connection end it.
    most_resets: usize,
    released: watch::Sender<bool>,
}

impl Upstream {
    async fn start(most_resets: usize) -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stage = Arc::new(Stage { most_resets, ..Stage::default() });
        let serving = stage.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, serving.clone()));
            }
        });
        Upstream { address, stage }
    }

    fn begun(&self) -> usize {
        self.stage.begun.load(Ordering::SeqCst)
    }

    fn resets(&self) -> Vec<usize> {
        self.stage.resets.lock().clone()
    }

    /// A gateway whose only service it is.
    async fn gateway(&self, service: &str, route: &str) -> Gateway {
        to(self.address, service, route).await
    }
}

async fn to(address: SocketAddr, service: &str, route: &str) -> Gateway {
    Gateway::start(&format!(
        "services:\n  app: {{ targets: [\"http://{address}\"], protocol: h2{service} }}\n\
         routes:\n  - {{ name: all, path_pattern: /*, target_service: app{route} }}\n"
    ))
    .await
}

async fn serve(stream: TcpStream, stage: Arc<Stage>) {
    stream.set_nodelay(true).unwrap();
    let Ok(mut connection) = server::Builder::new().max_concurrent_streams(1000).handshake(stream).await else {
        return;
    };
    let number = {
        let mut resets = stage.resets.lock();
        resets.push(0);
        resets.len() - 1
    };
    let fed_up = Arc::new(Notify::new());
    stage.open.fetch_add(1, Ordering::SeqCst);
    loop {
        tokio::select! {
            accepted = connection.accept() => {
                let Some(Ok((request, respond))) = accepted else {
                    stage.open.fetch_sub(1, Ordering::SeqCst);
                    return;
                };
                stage.begun.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(act(request, respond, number, stage.clone(), fed_up.clone()));
            }
            () = fed_up.notified() => connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM),
        }
    }
}

async fn act(
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    number: usize,
    stage: Arc<Stage>,
    fed_up: Arc<Notify>,
) {
    let field = |name| request.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    let (attempt, timeout) = (field("x-gatekeeper-attempt"), field("grpc-timeout"));
    let (head, body) = request.into_parts();
    let mut segments = head.uri.path().split('/').skip(1);
    match (segments.next().unwrap(), segments.next()) {
        ("never", _) => {
            if poll_fn(|context| respond.poll_reset(context)).await.is_ok() {
                let mut resets = stage.resets.lock();
                resets[number] += 1;
                if resets[number] == stage.most_resets {
                    fed_up.notify_one();
                }
            }
        }
        ("wait", _) => {
            let mut released = stage.released.subscribe();
            let _ = released.wait_for(|released| *released).await;
            answer(&mut respond, &attempt, &timeout, Bytes::from("at last"));
        }
        ("unread", _) => {
            let _ = poll_fn(|context| respond.poll_reset(context)).await;
        }
        ("refused", Some(most)) if attempt.parse::<u32>().unwrap() <= most.parse().unwrap() => {
            respond.send_reset(Reason::REFUSED_STREAM);
        }
        _ => answer(&mut respond, &attempt, &timeout, read(body).await),
    }
}

async fn read(mut body: RecvStream) -> Bytes {
    let mut whole = Vec::new();
    while let Some(Ok(piece)) = body.data().await {
        body.flow_control().release_capacity(piece.len()).unwrap();
        whole.extend_from_slice(&piece);
    }
    whole.into()
}

fn answer(respond: &mut SendResponse<Bytes>, attempt: &str, timeout: &str, body: Bytes) {
    let response = Response::builder().header("attempt", attempt).header("timeout", timeout).body(()).unwrap();
    if let Ok(mut stream) = respond.send_response(response, false) {
        let _ = stream.send_data(body, true);
    }
}

fn post(path: &str, length: usize) -> Request<Body> {
    Request::post(path).body(full(vec![b'x'; length])).unwrap()
}

/// What is answered at once where nothing holds it up.
async fn prompt(what: &str, exchange: impl Future<Output = Answer>) -> Answer {
    let answered = timeout(Duration::from_secs(4), exchange).await;
    answered.unwrap_or_else(|_| panic!("{what} was held up"))
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_takes_hold_up_nobody() {
    let (authority, files) = (Authority::new(), Files::new());
    let plain = Origin::start().await;
    let secure = Origin::tls(authority.issue("upstream.test").acceptor(&["h2", "http/1.1"], None)).await;
    let tls = format!("tls: {{ ca: {}, server_name: upstream.test }}", files.write("ca.pem", &authority.pem()));
    for (origin, how) in [(&plain, "protocol: h2"), (&secure, tls.as_str())] {
        let gateway = Gateway::start(&format!(
            "services:\n  app: {{ targets: [\"{}\"], {how} }}\nroutes:\n  - {{ name: all, path_pattern: /*, target_service: app }}\n",
            origin.url()
        ))
        .await;
        assert_eq!(gateway.get("/").await.seen().version, "HTTP/2.0");
        let mut stalled = Vec::new();
        for _ in 0..4 {
            let mut raw = gateway.raw().await;
            raw.send("GET /bytes/100000000 HTTP/1.1\r\nHost: x\r\n\r\n").await.response_head().await;
            stalled.push(raw);
        }
        let mut h2c = gateway.h2c().await;
        let _untaken = h2c.send(Request::get("/bytes/100000000")).await.unwrap();
        let mut client = gateway.h1().await;
        for _ in 0..40 {
            let answer = prompt(how, client.ask(Request::get("/bytes/1000"))).await;
            assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 1000));
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }
}

/// Uploads that the upstream does not read.
async fn unread(gateway: &Gateway, upstream: &Upstream) -> Vec<Raw> {
    let large = [vec![b'x'; 200_000]].concat();
    let chunk = [b"30d40\r\n", &large[..]].concat();
    let small = [b'x'; 8_000];
    let mut uploads = vec![("Content-Length: 1000000", &large[..]), ("Transfer-Encoding: chunked", &chunk)];
    uploads.extend([("Content-Length: 8000", &small[..]); 16]);
    let mut held = Vec::new();
    for (nth, (framing, body)) in uploads.into_iter().enumerate() {
        let mut raw = gateway.raw().await;
        raw.send(format!("POST /unread HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n")).await.send(body).await;
        eventually("an upload reaches the upstream", async || (upstream.begun() > nth).then_some(())).await;
        held.push(raw);
    }
    held
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_nobody_reads_hold_up_nobody() {
    let upstream = Upstream::start(usize::MAX).await;
    let gateway = upstream.gateway("", "").await;
    let _held = unread(&gateway, &upstream).await;
    for client in [&mut gateway.h1().await, &mut gateway.h2c().await] {
        for length in [1, 10_000, 200_000] {
            let answer = prompt(&format!("a body of {length}"), client.ask(post("/", length))).await;
            assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, length));
        }
        assert_eq!(prompt("a request without a body", client.ask(Request::get("/"))).await.status, 200);
    }
}

fn call(path: &str, body: Body) -> Request<Body> {
    Request::post(path).header("content-type", "application/grpc").body(body).unwrap()
}

/// A body whose length nobody is told.
fn streamed(length: usize) -> Body {
    use http_body_util::{BodyExt, StreamBody};
    let piece = Ok(hyper::body::Frame::data(Bytes::from(vec![b'x'; length])));
    StreamBody::new(futures::stream::iter([piece])).boxed_unsync()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_nobody_reads_soon_holds_up_no_other() {
    let upstream = Upstream::start(usize::MAX).await;
    let gateway = upstream.gateway("", "").await;
    let mut stuck = gateway.h2c().await;
    let held = tokio::spawn(async move { stuck.send(call("/unread", streamed(200_000))).await.map(|_| ()) });
    eventually("the call reaches the upstream", async || (upstream.begun() == 1).then_some(())).await;
    eventually("a call goes through", async || {
        let mut client = gateway.h2c().await;
        timeout(Duration::from_secs(1), client.ask(call("/", streamed(100)))).await.ok()
    })
    .await;
    let mut client = gateway.h2c().await;
    for _ in 0..20 {
        assert_eq!(prompt("a call", client.ask(call("/", streamed(100)))).await.body.len(), 100);
    }
    held.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_clients_give_up_end_nobody_elses() {
    let upstream = Upstream::start(50).await;
    let gateway = upstream.gateway("", ", retry_count: 0").await;
    let mut waiting = Vec::new();
    for _ in 0..4 {
        let mut client = gateway.h2c().await;
        waiting.push(tokio::spawn(async move { client.ask(Request::get("/wait")).await.status }));
    }
    eventually("the others wait", async || (upstream.begun() == 4).then_some(())).await;
    for round in 1..=20 {
        let mut given_up = Vec::new();
        for _ in 0..10 {
            let mut raw = gateway.raw().await;
            raw.send("GET /never HTTP/1.1\r\nHost: x\r\n\r\n").await;
            given_up.push(raw);
        }
        eventually("they are asked", async || (upstream.begun() == 4 + 10 * round).then_some(())).await;
        drop(given_up);
        eventually("they are given up", async || (upstream.resets().iter().sum::<usize>() == 10 * round).then_some(()))
            .await;
    }
    let resets = upstream.resets();
    assert!(resets.iter().all(|resets| *resets < 50), "resets by connection: {resets:?}");
    // As a rule 13; more where two requests look for a connection at the same moment.
    assert!(resets.len() <= 80, "{} connections for 200 requests given up", resets.len());
    upstream.stage.released.send_replace(true);
    for status in future::join_all(waiting).await {
        assert_eq!(status.unwrap(), 200);
    }
    assert_eq!(gateway.get("/").await.status, 200);
}

/// A body that begins and never ends.
fn unfinished() -> Body {
    use http_body_util::{BodyExt, StreamBody};
    let pieces = futures::stream::iter([Ok(hyper::body::Frame::data(Bytes::from("begins")))]);
    StreamBody::new(pieces.chain(futures::stream::pending())).boxed_unsync()
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_uploads_leave_no_connection_behind() {
    let upstream = Upstream::start(usize::MAX).await;
    let gateway = upstream.gateway("", ", timeouts: { idle: 500ms }, retry_count: 0").await;
    let mut open = Vec::new();
    for round in 1..=3 {
        let mut uploads = Vec::new();
        for _ in 0..10 {
            let mut client = gateway.h2c().await;
            uploads.push(tokio::spawn(async move {
                let request = Request::post("/").body(unfinished()).unwrap();
                client.send(request).await.map(|response| response.status())
            }));
        }
        eventually("they begin", async || (upstream.begun() == 10 * round).then_some(())).await;
        open.push(upstream.stage.open.load(Ordering::SeqCst));
        for ended in future::join_all(uploads).await {
            assert!(ended.unwrap().is_err(), "an upload that does not go on is ended");
        }
        eventually("their connections end", async || (upstream.stage.open.load(Ordering::SeqCst) == 0).then_some(()))
            .await;
    }
    assert_eq!(open, [10; 3], "each upload of unknown length has a connection");
    assert_eq!(gateway.get("/").await.status, 200);
}

/// An upstream that says GOAWAY to the first request of its first connection, having processed up to `last`, and ends that
/// connection; afterwards it echoes.
async fn leaving(last: u32, reason: Reason) -> (SocketAddr, Arc<Stage>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stage = Arc::new(Stage { most_resets: usize::MAX, ..Stage::default() });
    let serving = stage.clone();
    tokio::spawn(async move {
        let (mut first, _) = listener.accept().await.unwrap();
        first.read_exact(&mut [0; 24]).await.unwrap();
        first.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        let mut head = [0; 9];
        while head[3] != 1 {
            first.read_exact(&mut head).await.unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            first.read_exact(&mut vec![0; length as usize]).await.unwrap();
        }
        let payload = [last.to_be_bytes(), u32::from(reason).to_be_bytes()].concat();
        first.write_all(&[&[0, 0, 8, 7, 0, 0, 0, 0, 0], &payload[..]].concat()).await.unwrap();
        if last > 0 {
            // All that was sent is read, so that the end is no reset that overtakes the frame.
            let _ = timeout(Duration::from_millis(100), first.read_to_end(&mut Vec::new())).await;
            drop(first);
        } else {
            tokio::spawn(async move { first.read_to_end(&mut Vec::new()).await });
        }
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, serving.clone()));
        }
    });
    (address, stage)
}

/// The first failure opens the breaker.
const STRICT: &str = ", circuit_breaker: { failure_threshold: 1 }, ejection: { failures: 1 }";

#[tokio::test(flavor = "multi_thread")]
async fn what_a_leaving_upstream_did_not_process_goes_again() {
    for reason in [Reason::NO_ERROR, Reason::ENHANCE_YOUR_CALM, Reason::INTERNAL_ERROR] {
        for h2 in [false, true] {
            let (address, stage) = leaving(0, reason).await;
            let gateway = to(address, STRICT, "").await;
            let mut client = if h2 { gateway.h2c().await } else { gateway.h1().await };
            let answer = client.ask(post("/", 1000)).await;
            assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 1000), "{reason:?}, {h2}");
            assert_eq!(answer.header("attempt"), Some("2"));
            assert_eq!(stage.begun.load(Ordering::SeqCst), 1);
            assert_eq!(gateway.metric("gatekeeper_ejections_total{service=\"app\"}").await, 0.0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_leaving_upstream_may_have_processed_does_not_go_again() {
    let (address, stage) = leaving(1, Reason::NO_ERROR).await;
    let gateway = to(address, "", "").await;
    assert_eq!(gateway.ask(post("/", 1000)).await.status, 502);
    assert_eq!(stage.begun.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_stream_goes_again_and_nobody_is_blamed() {
    let upstream = Upstream::start(usize::MAX).await;
    let gateway = upstream.gateway(STRICT, "").await;
    for method in [Method::GET, Method::POST, Method::PATCH] {
        let body = full(vec![b'x'; 100]);
        let request = Request::builder().method(&method).uri("/refused/2").body(body).unwrap();
        let answer = gateway.ask(request).await;
        assert_eq!((answer.status, answer.header("attempt")), (StatusCode::OK, Some("3")), "{method}");
    }
    // Whoever is refused each time is told so, and the breaker stays closed.
    for _ in 0..3 {
        let refused = gateway.ask(post("/refused/9", 100)).await;
        assert_eq!(
            (refused.status, refused.header("x-gatekeeper-error")),
            (StatusCode::BAD_GATEWAY, Some("upstream_failed"))
        );
    }
    assert_eq!(gateway.ask(post("/", 100)).await.status, 200);
    assert_eq!(gateway.metric("gatekeeper_ejections_total{service=\"app\"}").await, 0.0);
    assert!(gateway.metric("gatekeeper_retries_total{service=\"app\",reason=\"refused\"}").await >= 6.0);
}

fn call_within(path: &str, timeout: &str) -> Request<Body> {
    let mut call = call(path, streamed(10));
    call.headers_mut().insert("grpc-timeout", timeout.parse().unwrap());
    call
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_ends_at_the_deadline_of_its_client_or_of_its_route() {
    let upstream = Upstream::start(usize::MAX).await;
    for (route, timeout) in [("", "400m"), (", timeout: 30s", "400000u"), (", timeout: 400ms", "9H")] {
        let gateway = upstream.gateway("", &format!("{route}, retry_count: 0")).await;
        let started = Instant::now();
        let answer = prompt("a call", gateway.h2c().await.ask(call_within("/never", timeout))).await;
        let took = started.elapsed();
        let told = (answer.status.as_u16(), answer.header("grpc-status"), answer.header("x-gatekeeper-error"));
        assert_eq!(told, (200, Some("4"), Some("upstream_timeout")), "{route} {timeout}");
        assert!(took >= Duration::from_millis(400) && took < Duration::from_secs(2), "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_told_what_is_left_of_a_calls_time() {
    let upstream = Upstream::start(usize::MAX).await;
    let gateway = upstream.gateway("", ", timeout: 20s").await;
    let mut client = gateway.h2c().await;
    for (timeout, least, most) in [("5S", 4_000_000, 5_000_000), ("1H", 19_000_000, 20_000_000)] {
        let answer = prompt("a call", client.ask(call_within("/", timeout))).await;
        let told = answer.header("timeout").unwrap();
        let micros: u64 = told.strip_suffix('u').unwrap_or_else(|| panic!("{told}")).parse().unwrap();
        assert!((least..=most).contains(&micros), "{timeout}: {told}");
    }
    // Without the client's, nothing is told.
    assert_eq!(client.ask(call("/", streamed(10))).await.header("timeout"), Some(""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_deadline_is_malformed_is_refused_and_others_have_none() {
    let upstream = Upstream::start(usize::MAX).await;
    let gateway = upstream.gateway("", "").await;
    let mut client = gateway.h2c().await;
    for malformed in ["", "5", "S", "5s", "-5S", "123456789S", "1.5S"] {
        let answer = client.ask(call_within("/", malformed)).await;
        let told = (answer.status.as_u16(), answer.header("grpc-status"), answer.header("x-gatekeeper-error"));
        assert_eq!(told, (200, Some("3"), Some("grpc_timeout")), "{malformed:?}");
    }
    assert_eq!(upstream.begun(), 0);
    let answer = client.ask(Request::get("/").header("grpc-timeout", "soon")).await;
    assert_eq!((answer.status, answer.header("timeout")), (StatusCode::OK, Some("soon")));
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlines_that_clients_set_open_no_breaker() {
    let upstream = Upstream::start(usize::MAX).await;
    let gateway = upstream.gateway(STRICT, ", retry_count: 0").await;
    let mut client = gateway.h2c().await;
    for timeout in ["0n", "1n", "1m", "50m"] {
        let answer = prompt("a call", client.ask(call_within("/never", timeout))).await;
        assert_eq!(answer.header("grpc-status"), Some("4"), "{timeout}");
    }
    assert_eq!(client.ask(Request::get("/")).await.status, 200);
    assert_eq!(gateway.metric("gatekeeper_ejections_total{service=\"app\"}").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_handshake_does_not_cost_the_answer_at_the_deadline() {
    let (authority, files) = (Authority::new(), Files::new());
    let acceptor = authority.issue("127.0.0.1").acceptor(&["h2"], None);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::time::sleep(Duration::from_millis(600)).await;
            let mut stream = acceptor.accept(stream).await.unwrap();
            tokio::spawn(async move { stream.read_to_end(&mut Vec::new()).await });
        }
    });
    let gateway = Gateway::start(&format!(
        "services:\n  app: {{ targets: [\"https://{address}\"], tls: {{ ca: {} }} }}\n\
         routes:\n  - {{ name: all, path_pattern: /*, target_service: app, timeout: 1s, retry_count: 0 }}\n",
        files.write("ca.pem", &authority.pem())
    ))
    .await;
    let answer = prompt("a request", gateway.h2c().await.ask(Request::get("/"))).await;
    assert_eq!(answer.status, 504);
}
