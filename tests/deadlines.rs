//! Deadlines hold against peers that trickle, fall silent or do not read, in either protocol on either side.

use std::time::{Duration, Instant};
use std::{io, iter};

use futures::{StreamExt, future, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::client::BoxError;
use crate::support::{Body, Client, Gateway, Origin, RawOrigin, Request, full, soon};

/// The deadline of every exchange below.
const LIMIT: Duration = Duration::from_millis(400);
/// How much later it may end.
const LATE: Duration = Duration::from_millis(500);
/// Between two bytes of a peer that trickles.
const STEP: Duration = Duration::from_millis(30);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Protocol {
    H1,
    H2,
}
use Protocol::{H1, H2};

/// What an upstream does once it has a request's head.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    /// It says nothing, and reads nothing more.
    Deaf,
    /// It says nothing.
    Silent,
    TrickledHead,
    /// Informational responses, for ever.
    Hints,
    /// A head and a piece of the body, then nothing.
    SilentBody,
    /// After that what frames a body, byte by byte.
    TrickledFraming,
    /// The body byte by byte.
    TrickledBody,
    /// The same, where the connection's end is the body's.
    UntilClose,
}
use Manner::{Deaf, Hints, Silent, SilentBody, TrickledBody, TrickledFraming, TrickledHead, UntilClose};

impl Manner {
    /// What it sends at once, and what it repeats byte by byte.
    fn http1(self) -> (&'static str, &'static str) {
        match self {
            Deaf | Silent => ("", ""),
            TrickledHead => ("HTTP/1.1 200 OK\r\nX-Filler: ", "x"),
            Hints => ("", "HTTP/1.1 103 Hi\r\n\r\n"),
            SilentBody => ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegin", ""),
            TrickledFraming => ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n5;", "x"),
            TrickledBody => ("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", "x"),
            UntilClose => ("HTTP/1.1 200 OK\r\n\r\n", "x"),
        }
    }

    /// The same in frames of HTTP/2. 0x88 is `:status: 200`, the other field is `x: xxx…`, its value as long as can be.
    fn http2(self, id: u32) -> (Vec<u8>, Vec<u8>) {
        let head = frame(HEADERS, END_HEADERS, id, &[0x88]);
        match self {
            Deaf | Silent => (Vec::new(), Vec::new()),
            TrickledHead => (
                [&[0, 0, 120, HEADERS, END_HEADERS, 0, 0, 0, id as u8][..], &[0x88, 0, 1, b'x', 114]].concat(),
                vec![b'x'],
            ),
            // 0x08 is `:status` with the value that follows.
            Hints => (Vec::new(), frame(HEADERS, END_HEADERS, id, &[0x08, 3, b'1', b'0', b'3'])),
            SilentBody => ([head, frame(DATA, 0, id, b"begin")].concat(), Vec::new()),
            TrickledFraming => ([head, vec![0, 1, 0, DATA, 0, 0, 0, 0, id as u8]].concat(), vec![b'x']),
            TrickledBody | UntilClose => (head, frame(DATA, 0, id, b"x")),
        }
    }
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32).to_be_bytes()[1..], &[kind, flags], &id.to_be_bytes(), payload].concat()
}

async fn upstream(protocol: Protocol, manner: Manner) -> RawOrigin {
    RawOrigin::playing(move |mut peer| async move {
        let (at_once, repeated) = match protocol {
            H1 => {
                peer.request_head().await;
                let (at_once, repeated) = manner.http1();
                (at_once.into(), repeated.into())
            }
            H2 => manner.http2(request_head(&mut peer.stream).await.unwrap()),
        };
        let (mut reading, mut writing) = peer.stream.split();
        let listen = async {
            let mut heard = [0; 65536];
            while manner != Deaf && reading.read(&mut heard).await.is_ok_and(|read| read > 0) {}
            if manner == Deaf {
                future::pending().await
            }
        };
        let talk = async {
            writing.write_all(&at_once).await?;
            for byte in repeated.iter().cycle() {
                tokio::time::sleep(STEP).await;
                writing.write_all(&[*byte]).await?;
            }
            future::pending::<io::Result<()>>().await
        };
        tokio::select! { () = listen => {}, _ = talk => {} }
    })
    .await
}

/// Greets an HTTP/2 client; the stream of its first request.
async fn request_head(stream: &mut TcpStream) -> io::Result<u32> {
    stream.read_exact(&mut [0; 24]).await?;
    stream.write_all(&[frame(SETTINGS, 0, 0, &[]), frame(SETTINGS, ACK, 0, &[])].concat()).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        stream.read_exact(&mut vec![0; length as usize]).await?;
        if head[3] == HEADERS {
            return Ok(u32::from_be_bytes([head[5], head[6], head[7], head[8]]));
        }
    }
}

/// What a client sees.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// A whole answer with this status.
    Answer(u16),
    /// An answer broken off.
    Broken,
    /// No answer.
    Nothing,
}
use End::{Answer, Broken, Nothing};

async fn end_of(client: &mut Client, request: Request<Body>) -> End {
    let Ok(response) = client.send(request).await else { return Nothing };
    let status = response.status().as_u16();
    response.into_body().collect().await.map_or(Broken, |_| Answer(status))
}

/// What a client sends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ask {
    Plain,
    /// More than fits into any buffer.
    Large,
    /// A piece of a body, and nothing more.
    Stalled,
    /// A body without end, byte by byte.
    Trickled,
}
use Ask::{Large, Plain, Stalled, Trickled};

impl Ask {
    fn request(self, path: &str) -> Request<Body> {
        let pieces = |count, step| {
            let pieces = stream::repeat(()).take(count).then(move |()| async move {
                tokio::time::sleep(step).await;
                Ok::<_, BoxError>(Frame::data("x".into()))
            });
            StreamBody::new(pieces.chain(stream::pending())).boxed_unsync()
        };
        match self {
            Plain => Request::get(path).body(full("")).unwrap(),
            Large => Request::post(path).body(full(vec![b'x'; 32 << 20])).unwrap(),
            Stalled => Request::post(path).body(pieces(1, Duration::ZERO)).unwrap(),
            Trickled => Request::post(path).body(pieces(1000, STEP)).unwrap(),
        }
    }
}

/// One exchange that has to end at its deadline: how the upstream behaves, the route's limits, what the client sends, and
/// how it may end for a client of HTTP/1 and of HTTP/2.
struct Case(Protocol, Manner, &'static str, Ask, &'static [End], &'static [End]);

impl Case {
    fn expected(&self, client: Protocol) -> &'static [End] {
        if client == H1 { self.4 } else { self.5 }
    }

    /// Whoever is late where the machine has other things to do may try again; a wrong end is wrong at once.
    async fn run(&self, path: &str, gateway: &Gateway, protocol: Protocol) -> Result<(), String> {
        let mut told = String::new();
        for nth in 0..3 {
            let in_time;
            (in_time, told) = self.try_once(&format!("{path}/{nth}"), gateway, protocol).await?;
            if in_time {
                return Ok(());
            }
        }
        Err(told)
    }

    /// Whether the right end came in time, and what came; an error is another end.
    async fn try_once(&self, path: &str, gateway: &Gateway, protocol: Protocol) -> Result<(bool, String), String> {
        let mut client = if protocol == H1 { gateway.h1().await } else { gateway.h2c().await };
        let started = Instant::now();
        let end = soon("an end", end_of(&mut client, self.3.request(path))).await;
        let took = started.elapsed();
        let record = gateway.log_of(path).await;
        let at = format!("{protocol:?} client, {:?} {:?} {:?} {:?}", self.0, self.1, self.2, self.3);
        let code = if end == Answer(408) { "request_timeout" } else { "upstream_timeout" };
        // Between two connections of HTTP/2 nobody can tell who is waited for.
        let slow_client = self.3 == Stalled || self.3 == Trickled || (self.1 == Deaf && [self.0, protocol] == [H2, H2]);
        let truth = record["error_code"] == code || (slow_client && record["error_code"] == "request_timeout");
        let truth = truth
            && record["truncated"] == (if matches!(end, Answer(_)) { serde_json::Value::Null } else { true.into() });
        let told = format!("{at}: {end:?} after {took:?}, and {record}");
        match took >= LIMIT && self.expected(protocol).contains(&end) && truth {
            true => Ok((took < LIMIT + LATE, told)),
            false => Err(told),
        }
    }
}

/// Runs all cases at once, each between an upstream, a route and clients of its own.
async fn run(cases: &[Case]) {
    let mut config = (String::from("services:\n"), String::from("routes:\n"));
    let mut upstreams = Vec::new();
    let mut runs = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        for client in [H1, H2] {
            let name = format!("{client:?}-{index}");
            let upstream = upstream(case.0, case.1).await;
            let protocol = if case.0 == H1 { "http1" } else { "h2" };
            let url = upstream.url();
            config.0 += &format!("  {name}: {{ targets: [\"{url}\"], protocol: {protocol} }}\n");
            config.1 += &format!(
                "  - {{ name: {name}, path_pattern: \"/{name}/*\", target_service: {name}, retry_count: 0, {} }}\n",
                case.2
            );
            upstreams.push(upstream);
            runs.push((case, format!("/{name}"), client));
        }
    }
    let gateway = Gateway::start(&(config.0 + &config.1)).await;
    let ends = runs.iter().map(|(case, path, client)| case.run(path, &gateway, *client));
    let faults: Vec<_> = future::join_all(ends).await.into_iter().filter_map(Result::err).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

const FIRST_BYTE: &str = "timeouts: { first_byte: 400ms, idle: 300ms }";
const FIRST_BYTE_BELOW_IDLE: &str = "timeouts: { first_byte: 400ms }";
const IDLE: &str = "timeouts: { first_byte: 10s, idle: 400ms }";
const TOTAL: &str = "timeout: 400ms";

#[tokio::test(flavor = "multi_thread")]
async fn a_response_has_to_begin_in_time() {
    let mut cases = Vec::new();
    for protocol in [H1, H2] {
        for manner in [Silent, TrickledHead, Hints] {
            cases.push(Case(protocol, manner, FIRST_BYTE, Plain, &[Answer(504)], &[Answer(504)]));
            cases.push(Case(protocol, manner, TOTAL, Plain, &[Answer(504)], &[Answer(504)]));
            let h2: &[End] = if protocol == H1 { &[Answer(504)] } else { &[Nothing] };
            cases.push(Case(protocol, manner, FIRST_BYTE_BELOW_IDLE, Plain, &[Answer(504)], h2));
        }
    }
    run(&cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_has_to_go_on_and_to_end_in_time() {
    let mut cases = Vec::new();
    for protocol in [H1, H2] {
        for (manner, limits) in [
            (SilentBody, IDLE),
            (SilentBody, TOTAL),
            (TrickledFraming, IDLE),
            (TrickledBody, TOTAL),
            (UntilClose, TOTAL),
        ] {
            cases.push(Case(protocol, manner, limits, Plain, &[Broken], &[Broken]));
        }
    }
    run(&cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_to_be_taken_in_time() {
    run(&[
        Case(H1, Deaf, IDLE, Large, &[Answer(504), Nothing], &[Answer(504)]),
        Case(H1, Deaf, TOTAL, Large, &[Answer(504), Nothing], &[Answer(504)]),
        Case(H2, Deaf, IDLE, Large, &[Nothing], &[Nothing]),
        Case(H2, Deaf, TOTAL, Large, &[Answer(504), Nothing], &[Answer(408), Nothing]),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_to_be_sent_in_time() {
    run(&[
        Case(H1, Silent, IDLE, Stalled, &[Answer(408)], &[Answer(408)]),
        Case(H1, Silent, TOTAL, Stalled, &[Answer(408)], &[Answer(408)]),
        Case(H1, Silent, TOTAL, Trickled, &[Answer(408)], &[Answer(408)]),
        Case(H2, Silent, IDLE, Stalled, &[Answer(408)], &[Nothing]),
        Case(H2, Silent, TOTAL, Stalled, &[Answer(408)], &[Answer(408), Nothing]),
        Case(H2, Silent, TOTAL, Trickled, &[Answer(408)], &[Answer(408), Nothing]),
    ])
    .await;
}

/// When the gateway said that a request had come to an end, and why.
async fn logged(gateway: &Gateway, path: &str, code: &str) -> Result<(), String> {
    let started = Instant::now();
    let record = gateway.log_of(path).await;
    let took = started.elapsed();
    // What the client's windows take at first is progress.
    let good = (LIMIT..LIMIT + 2 * LATE).contains(&took) && record["error_code"] == code && record["truncated"] == true;
    if good { Ok(()) } else { Err(format!("{path}: after {took:?} {record}")) }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_has_to_be_taken_in_time() {
    let origin = Origin::start().await;
    let url = origin.url();
    let mut config = format!(
        "services:\n  http1: {{ targets: [\"{url}\"] }}\n  h2: {{ targets: [\"{url}\"], protocol: h2 }}\nroutes:\n"
    );
    let mut paths = Vec::new();
    for (name, limits) in [("idle", IDLE), ("total", TOTAL)] {
        for service in ["http1", "h2"] {
            config += &format!(
                "  - {{ name: {name}-{service}, path_pattern: \"/{name}-{service}/*\", target_service: {service}, \
                 rewrite: \"/bytes/1000000000\", {limits} }}\n"
            );
            for client in [H1, H2] {
                // Between two connections of HTTP/2 nobody can tell who is waited for.
                let code = if (service, client) == ("h2", H2) { "upstream_timeout" } else { "client_gone" };
                paths.push((client, format!("/{name}-{service}/{client:?}"), code));
            }
        }
    }
    let gateway = &Gateway::start(&config).await;
    let ends = paths.iter().map(|(protocol, path, code)| async move {
        let mut client = if *protocol == H1 { gateway.h1().await } else { gateway.h2c().await };
        let (untaken, logged) = tokio::join!(client.send(Request::get(path)), logged(gateway, path, code));
        untaken.map_err(|error| error.to_string()).and(logged)
    });
    let faults: Vec<_> = future::join_all(ends).await.into_iter().filter_map(Result::err).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_has_to_be_made_in_time() {
    // A handshake message of 16 KiB, byte by byte.
    let origin = RawOrigin::playing(|mut peer| async move {
        let _ = trickle(&mut peer.stream, [0x16, 3, 3, 0x40, 0].into_iter().chain(iter::repeat(0))).await;
    })
    .await;
    let url = origin.url().replace("http:", "https:");
    let gateway = Gateway::start(&format!(
        "routes:\n  - {{ name: connect, path_pattern: /connect, target_url: \"{url}\", timeouts: {{ connect: 400ms }} }}\n\
         \x20 - {{ name: total, path_pattern: /total, target_url: \"{url}\", {TOTAL} }}\n"
    ))
    .await;
    for (path, least) in [("/connect", 3 * LIMIT), ("/total", LIMIT)] {
        let started = Instant::now();
        assert_eq!(gateway.get(path).await.problem()["code"], "upstream_timeout");
        let took = started.elapsed();
        assert!((least..least + LATE).contains(&took), "{path}: {took:?}");
    }
}

async fn trickle(stream: &mut TcpStream, bytes: impl Iterator<Item = u8>) -> io::Result<()> {
    for byte in bytes {
        tokio::time::sleep(STEP).await;
        stream.write_all(&[byte]).await?;
    }
    Ok(())
}

/// A websocket through the gateway on which the sides whose names stand in the path send for ever; how long it lived, and
/// what the log says of it, if it came to its end within twice its limit.
async fn life_of(gateway: &Gateway, path: &str) -> Option<Duration> {
    let mut client = gateway.raw().await;
    client
        .send(format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ))
        .await;
    assert_eq!(client.response_head().await.status(), 101);
    let started = Instant::now();
    let (mut reading, mut writing) = client.stream.split();
    let mut sink = tokio::io::sink();
    let talk = async {
        while path.contains("client") && writing.write_all(b"x").await.is_ok() {
            tokio::time::sleep(STEP).await;
        }
        future::pending::<()>().await
    };
    tokio::select! {
        _ = tokio::io::copy(&mut reading, &mut sink) => Some(started.elapsed()),
        () = talk => None,
        () = tokio::time::sleep(2 * LIMIT + LATE) => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_lives_as_long_as_it_may() {
    let origin = RawOrigin::playing(|mut peer| async move {
        let head = peer.request_head().await.unwrap();
        // The framework ends an upgrade that is answered before it has noted the request's end, microseconds after its head.
        tokio::time::sleep(Duration::from_millis(20)).await;
        peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
        let (mut reading, mut writing) = peer.stream.split();
        let mut sink = tokio::io::sink();
        let talk = async {
            while head.first_line.contains("upstream") && writing.write_all(b"x").await.is_ok() {
                tokio::time::sleep(STEP).await;
            }
            future::pending::<()>().await
        };
        tokio::select! { _ = tokio::io::copy(&mut reading, &mut sink) => {}, () = talk => {} }
    })
    .await;
    let url = origin.url();
    let gateway = Gateway::start(&format!(
        "routes:\n  - {{ name: idle, path_pattern: /idle/*, target_url: \"{url}\", websocket: {{ idle: 400ms }} }}\n\
         \x20 - {{ name: life, path_pattern: /life/*, target_url: \"{url}\", websocket: {{ max_life: 400ms }} }}\n\
         \x20 - {{ name: free, path_pattern: /free/*, target_url: \"{url}\", {TOTAL} }}\n"
    ))
    .await;
    let ends = [
        ("/idle/silent", true),
        ("/idle/client", false),
        ("/idle/upstream", false),
        ("/life/silent", true),
        ("/life/client", true),
        ("/life/upstream", true),
        ("/life/client-and-upstream", true),
        ("/free/silent", false),
    ];
    let lives = future::join_all(ends.map(|(path, _)| life_of(&gateway, path))).await;
    for ((path, ends), life) in ends.into_iter().zip(lives) {
        assert_eq!(life.is_some(), ends, "{path}: {life:?}");
        assert!(life.is_none_or(|life| (LIMIT..LIMIT + LATE).contains(&life)), "{path}: {life:?}");
        if ends {
            let record = gateway.log_of(path).await;
            assert_eq!((&record["error_code"], &record["truncated"]), (&"upstream_timeout".into(), &true.into()));
        }
    }
}

/// Deadlines that pass at all the moments of an exchange never touch a connection that has gone back to the pool: a request
/// that can't be tried again would fail on it.
#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_never_hits_the_next_request_on_a_connection() {
    let origin = Origin::start().await;
    let url = origin.url();
    let tight: Vec<_> = [5, 10, 15, 20, 25].map(|millis| {
        format!(
            "  - {{ name: t{millis}, path_pattern: /t{millis}/*, rewrite: \"/slow/10\", target_service: app, timeout: {millis}ms }}\n\
             \x20 - {{ name: r{millis}, path_pattern: /r{millis}/*, rewrite: \"/bytes/4300000\", target_service: app, timeout: {millis}ms }}\n"
        )
    }).into();
    let gateway = Gateway::start(&format!(
        "services:\n  app: {{ targets: [\"{url}\"] }}\nroutes:\n{}  - {{ name: all, path_pattern: /*, target_service: app }}\n",
        tight.concat()
    ))
    .await;
    let hasty = (0..8).map(|task: u64| {
        let gateway = &gateway;
        async move {
            for round in 0..40 {
                let millis = 5 * (1 + (task + round) % 5);
                let kind = ["t", "r"][(task % 2) as usize];
                let mut client = gateway.h1().await;
                let Ok(response) = client.send(Request::get(format!("/{kind}{millis}/{round}"))).await else {
                    continue;
                };
                let status = response.status().as_u16();
                if kind == "r" {
                    // Some answers wait for their client at their deadline, and are taken in the end.
                    tokio::time::sleep(Duration::from_millis(round % 30)).await;
                }
                let _ = response.into_body().collect().await;
                assert!([200, 504].contains(&status), "{status}");
            }
        }
    });
    let careful = (0..4).map(|_| async {
        let mut client = gateway.h1().await;
        for round in 0..200 {
            let answer = client.ask(Request::post("/careful").body(full(round.to_string())).unwrap()).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    });
    tokio::join!(future::join_all(hasty), future::join_all(careful));
    assert!(origin.connections() < 320 + 800, "connections are used again");
    let codes = ["upstream_timeout", "client_gone"].map(serde_json::Value::from);
    for line in gateway.log_lines() {
        let record: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(record["error_code"].is_null() || codes.contains(&record["error_code"]), "{record}");
    }
}
