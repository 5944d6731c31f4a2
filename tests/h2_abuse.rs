//! HTTP/2 clients that mean harm, frame by frame on a socket, each bounded in count and time. What they do costs the
//! gateway a bounded part of memory and processor, they are cut off where that is the rule, others are served meanwhile.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::Command;

use crate::support::{Gateway, Origin, Request, eventually, soon};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const MIB: u64 = 1 << 20;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// `:method: GET`, `:scheme: http`, `:path: /`, `:authority: gateway.test`.
const GET: &[u8] = b"\x82\x86\x84\x01\x0cgateway.test";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, GET)
}

/// The same for another path, without an index.
fn get_path(stream: u32, path: &str) -> Vec<u8> {
    let path = [&[0x04, path.len() as u8], path.as_bytes()].concat();
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &[b"\x82\x86".as_slice(), &path, &GET[3..]].concat())
}

/// The number of a client's stream.
fn nth(index: u32) -> u32 {
    2 * index + 1
}

/// A client's end of a connection, and what became of it.
struct Abuser {
    stream: TcpStream,
}

impl Abuser {
    /// One that has said what it must: the preface and its settings.
    async fn connect(gateway: &Gateway) -> Abuser {
        Abuser::with_settings(gateway, &[]).await
    }

    async fn with_settings(gateway: &Gateway, settings: &[u8]) -> Abuser {
        let mut abuser = Abuser { stream: TcpStream::connect(gateway.address).await.unwrap() };
        abuser.send(PREFACE).await;
        abuser.send(&frame(SETTINGS, 0, 0, settings)).await;
        abuser.send(&frame(SETTINGS, ACK, 0, &[])).await;
        abuser
    }

    /// Whether it could be sent.
    async fn send(&mut self, bytes: &[u8]) -> bool {
        soon("writing", self.stream.write_all(bytes)).await.is_ok()
    }

    /// Sends these pieces, reading what comes, until all are sent or the gateway ends the connection; how many were sent.
    async fn flood(self, pieces: impl IntoIterator<Item = Vec<u8>>) -> Flooded {
        let (mut read, mut write) = self.stream.into_split();
        let reading = tokio::spawn(async move {
            let mut bytes = [0; 65536];
            while read.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
        });
        let mut sent = 0;
        for piece in pieces {
            if reading.is_finished() || soon("flooding", write.write_all(&piece)).await.is_err() {
                break;
            }
            sent += 1;
        }
        let ended = tokio::time::timeout(Duration::from_secs(2), reading).await.is_ok();
        Flooded { sent, cut: ended }
    }

    /// Waits for the connection's end.
    async fn end(mut self) {
        let mut bytes = [0; 65536];
        let ended = async { while self.stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {} };
        soon("the connection's end", ended).await;
    }
}

struct Flooded {
    sent: usize,
    cut: bool,
}

/// A gateway before an upstream, and what it uses before it is abused.
struct Bench {
    gateway: Gateway,
    memory: u64,
    ticks: u64,
    _origin: Origin,
}

impl Bench {
    async fn start(more: &str) -> Bench {
        let origin = Origin::start().await;
        let url = origin.url();
        let gateway = Gateway::start(&format!(
            "{more}\nroutes:\n  - {{ name: all, path_pattern: /*, target_url: \"{url}\", timeouts: {{ idle: 1s }} }}\n"
        ))
        .await;
        gateway.get("/").await.seen();
        gateway.h2c().await.ask(Request::get("/")).await.seen();
        let (memory, ticks) = (gateway.memory(), gateway.cpu_ticks());
        Bench { gateway, memory, ticks, _origin: origin }
    }

    /// Others are served while this happens, each request in at most four seconds on a busy machine.
    async fn beside<T>(&self, abuse: impl Future<Output = T>) -> T {
        tokio::pin!(abuse);
        let mut others = (self.gateway.h1().await, self.gateway.h2c().await);
        loop {
            let began = Instant::now();
            tokio::select! {
                biased;
                done = &mut abuse => return done,
                () = async {
                    others.0.ask(Request::get("/")).await.seen();
                    others.1.ask(Request::get("/")).await.seen();
                } => {}
            }
            assert!(began.elapsed() < Duration::from_secs(8), "others had to wait {:?}", began.elapsed());
            tokio::select! {
                done = &mut abuse => return done,
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
        }
    }

    /// What it used at most since it started.
    fn assert_bounded(&self, memory: u64, seconds: u64) {
        let grown = self.gateway.peak_memory().saturating_sub(self.memory);
        assert!(grown <= memory, "memory grew by {} KiB", grown / 1024);
        let used = self.gateway.cpu_ticks() - self.ticks;
        assert!(used <= seconds * 100, "{used} ticks");
    }

    async fn assert_counted(&self, reason: &str) {
        let line = format!("gatekeeper_connections_cut_total{{reason=\"{reason}\"}} 1");
        eventually("the cut is counted", async || self.gateway.metrics().await.contains(&line).then_some(())).await;
    }

    /// A flood of these is cut off, soon, and counted.
    async fn cuts(&self, reason: &str, pieces: impl IntoIterator<Item = Vec<u8>>) {
        let abuser = Abuser::connect(&self.gateway).await;
        let flooded = self.beside(abuser.flood(pieces)).await;
        assert!(flooded.cut, "{reason}: {} pieces were let pass", flooded.sent);
        self.assert_counted(reason).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_frames_are_cut_off() {
    let bench = Bench::start("").await;
    let many = |frame: Vec<u8>| (0..200).map(move |_| frame.repeat(100));
    bench.cuts("h2_pings", many(frame(PING, 0, 0, b"12345678"))).await;
    bench.cuts("h2_settings", many(frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]))).await;
    bench.cuts("h2_window_updates", many(frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]))).await;
    bench.cuts("h2_priorities", many(frame(PRIORITY, 0, 7, &[0, 0, 0, 0, 9]))).await;
    bench.cuts("h2_other_frames", many(frame(0xfa, 0, 0, b"unknown"))).await;
    bench.assert_bounded(16 * MIB, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_data_is_cut_off() {
    let bench = Bench::start("").await;
    let mut abuser = Abuser::connect(&bench.gateway).await;
    abuser.send(&frame(HEADERS, END_HEADERS, 1, GET)).await;
    let empty = frame(DATA, 0, 1, &[]);
    let flooded = bench.beside(abuser.flood((0..1000).map(|_| empty.repeat(10)))).await;
    assert!(flooded.cut);
    bench.assert_bounded(16 * MIB, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rapid_reset_is_cut_off() {
    let bench = Bench::start("").await;
    let opened_and_reset = |index: u32| [get(nth(index)), frame(RST_STREAM, 0, nth(index), &[0, 0, 0, 8])].concat();
    let batches = (0..500u32).map(|batch| (0..20).flat_map(|index| opened_and_reset(batch * 20 + index)).collect());
    // By the library where many wait to be accepted, else by the budget.
    let abuser = Abuser::connect(&bench.gateway).await;
    let batches: Vec<Vec<u8>> = batches.collect();
    assert!(bench.beside(abuser.flood(batches)).await.cut);
    bench.assert_bounded(32 * MIB, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_header_blocks_are_cut_off() {
    let bench = Bench::start("").await;
    let block = |piece: Vec<u8>| {
        let rest = (0..2000).map(move |_| frame(CONTINUATION, 0, 1, &piece));
        std::iter::once(frame(HEADERS, 0, 1, GET)).chain(rest)
    };
    bench.cuts("h2_continuations", block(Vec::new())).await;
    // A literal field `a: a`, never indexed.
    let fields = b"\x10\x01a\x01a".repeat(3000);
    let abuser = Abuser::connect(&bench.gateway).await;
    assert!(bench.beside(abuser.flood(block(fields))).await.cut);
    bench.assert_bounded(16 * MIB, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn header_bombs_do_not_grow_memory() {
    let bench = Bench::start("").await;
    let large = [b"\x40\x01a\x7f\x81\x1e".as_slice(), &[b'x'; 4000]].concat();
    // One large entry of the dynamic table, then thousands of references of one byte each.
    let references = [GET, &large, &[0xbe; 10_000]].concat();
    // A literal of a declared length of 16 MiB that never ends.
    let giant = [GET, b"\x00\x01a\x7f\x81\xff\xff\x07".as_slice(), &[b'x'; 16_000]].concat();
    let bombs = [frame(HEADERS, END_STREAM | END_HEADERS, 1, &references), frame(HEADERS, 0, 1, &giant)];
    for bomb in bombs {
        for _ in 0..10 {
            let abuser = Abuser::connect(&bench.gateway).await;
            let more = (0..200).map(|_| frame(CONTINUATION, 0, 1, &[b'x'; 16_000]));
            assert!(bench.beside(abuser.flood(std::iter::once(bomb.clone()).chain(more))).await.cut);
        }
    }
    bench.assert_bounded(16 * MIB, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_that_nobody_takes_are_given_up() {
    let bench = Bench::start("").await;
    // SETTINGS_INITIAL_WINDOW_SIZE 0.
    let settings = [0, 4, 0, 0, 0, 0];
    let mut stalled = Vec::new();
    for _ in 0..2 {
        let mut abuser = Abuser::with_settings(&bench.gateway, &settings).await;
        let requests: Vec<u8> = (0..100).flat_map(|index| get_path(nth(index), "/bytes/1000000")).collect();
        assert!(abuser.send(&requests).await);
        stalled.push(abuser);
    }
    let given_up = async {
        let metric = |text: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix("gatekeeper_requests_in_flight "));
            line.unwrap().parse::<u64>().unwrap()
        };
        eventually("they are begun", async || (metric(&bench.gateway.metrics().await) >= 50).then_some(())).await;
        eventually("they are given up", async || (metric(&bench.gateway.metrics().await) < 10).then_some(())).await;
    };
    bench.beside(given_up).await;
    // Each of 200 requests holds what the framework reads ahead of its response: at most nine pieces of 64 KiB.
    bench.assert_bounded(200 * 10 * MIB / 16, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_takes_are_bounded_on_each_connection() {
    const CONNECTIONS: u64 = 4;
    let origin = Origin::start().await;
    let gateway = Gateway::to(&origin).await;
    gateway.h2c().await.ask(Request::get("/")).await.seen();
    let memory = gateway.memory();
    let mut stalled = Vec::new();
    for _ in 0..CONNECTIONS {
        // A window for all streams, and small ones for each.
        let mut abuser = Abuser::connect(&gateway).await;
        abuser.send(&frame(WINDOW_UPDATE, 0, 0, &[0x3f, 0, 0, 0])).await;
        let requests: Vec<u8> = (0..100).flat_map(|index| get_path(nth(index), "/bytes/10000000")).collect();
        assert!(abuser.send(&requests).await);
        stalled.push(abuser);
    }
    let mut streams: Vec<_> = stalled.into_iter().map(|abuser| abuser.stream.into_split()).collect();
    let reading = streams.iter_mut().map(|(read, _)| async {
        let mut bytes = [0; 65536];
        while tokio::time::timeout(Duration::from_secs(2), read.read(&mut bytes)).await.is_ok() {}
    });
    futures::future::join_all(reading).await;
    let grown = gateway.memory().saturating_sub(memory) / CONNECTIONS;
    println!("a connection of which 100 answers are not taken takes {} KiB", grown / 1024);
    assert!(grown <= 8 * MIB, "{} KiB", grown / 1024);
    // A small answer passes them.
    for (read, write) in &mut streams {
        write.write_all(&frame(RST_STREAM, 0, nth(99), &[0, 0, 0, 8])).await.unwrap();
        write.write_all(&get_path(nth(100), "/text/5")).await.unwrap();
        let mut bytes = Vec::new();
        let arrived = async {
            while !bytes.windows(5).any(|piece: &[u8]| piece == b"all w") {
                assert!(read.read_buf(&mut bytes).await.unwrap() > 0);
            }
        };
        soon("a small answer", arrived).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn own_answers_that_nobody_takes_are_given_up() {
    let bench = Bench::start("limits: { keep_alive: 1s }").await;
    let mut stalled = Abuser::with_settings(&bench.gateway, &[0, 4, 0, 0, 0, 0]).await;
    let requests: Vec<u8> = (0..100).flat_map(|index| get_path(nth(index), "/health")).collect();
    assert!(stalled.send(&requests).await);
    // The same in HTTP/1: a client that asks on and never reads.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut deaf = socket.connect(bench.gateway.address).await.unwrap();
    let asking = tokio::spawn(async move {
        while deaf.write_all(&b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000)).await.is_ok() {}
    });
    let in_flight = async |most: i64, least: i64| {
        let text = bench.gateway.metrics().await;
        let count = text.lines().find_map(|line| line.strip_prefix("gatekeeper_requests_in_flight ")).unwrap();
        (least..=most).contains(&count.parse().unwrap()).then_some(())
    };
    eventually("they are begun", async || in_flight(i64::MAX, 100).await).await;
    eventually("they are given up", async || in_flight(0, 0).await).await;
    soon("the deaf one's end", asking).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_begun_must_be_completed() {
    let bench = Bench::start("limits: { head_timeout: 1s }").await;
    let mut preface = Abuser { stream: TcpStream::connect(bench.gateway.address).await.unwrap() };
    preface.send(PREFACE).await;
    let mut settings = Abuser { stream: TcpStream::connect(bench.gateway.address).await.unwrap() };
    settings.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])[..12]].concat()).await;
    let mut block = Abuser::connect(&bench.gateway).await;
    block.send(&frame(HEADERS, END_STREAM, 1, GET)).await;
    let mut fed = Abuser::connect(&bench.gateway).await;
    fed.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, GET)[..12]).await;
    let feeding = async {
        for byte in &GET[3..] {
            if !fed.send(&[*byte]).await {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Box::pin(fed.end()).await;
    };
    let began = Instant::now();
    Box::pin(bench.beside(async { tokio::join!(preface.end(), settings.end(), block.end(), feeding) })).await;
    assert!((900..8000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    let line = "gatekeeper_connections_cut_total{reason=\"h2_head_timeout\"} 4";
    eventually("all are counted", async || bench.gateway.metrics().await.contains(line).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn honest_clients_are_not_cut() {
    let bench = Bench::start("").await;
    for (path, arguments) in [("/text/100", ["-m", "100", "-w", "16"]), ("/text/100000", ["-m", "100", "-w", "10"])] {
        let output = Command::new("h2load")
            .args(["-n", "3000", "-c", "2"])
            .args(arguments)
            .arg(format!("http://{}{path}", bench.gateway.address))
            .stdin(Stdio::null())
            .output()
            .await
            .expect("h2load (Debian: nghttp2-client)");
        let report = String::from_utf8_lossy(&output.stdout);
        assert!(report.contains("3000 succeeded, 0 failed, 0 errored"), "{report}");
    }
    let mut pinging = Abuser::connect(&bench.gateway).await;
    for _ in 0..100 {
        assert!(pinging.send(&frame(PING, 0, 0, b"12345678")).await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let flooded = pinging.flood([get(1)]).await;
    assert!(!flooded.cut && flooded.sent == 1);
    let metrics = bench.gateway.metrics().await;
    let cut: Vec<_> = metrics.lines().filter(|line| line.starts_with("gatekeeper_connections_cut_total{")).collect();
    assert!(!cut.is_empty() && cut.iter().all(|line| line.ends_with(" 0")), "{cut:?}");
}
