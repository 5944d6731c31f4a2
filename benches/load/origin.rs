//! A cheap HTTP/1.1 origin: one thread, keep-alive, each answer made once.
//!
//! `load-origin LISTEN [freeze]`. Every path is answered with 200 and 64 bytes, `/bytes/N` with N. Pipelined requests are
//! answered in order. It reads nothing but the request line, and no bodies: a request that has one would be two to it.
//!
//! With `freeze` it does nothing at all for 1 s, 4 s after its start and every 5 s from then on: what a generator must
//! show in its latencies, if it counts from when a request was due.

#![allow(clippy::expect_used, reason = "an origin for measurements has no one to report a fault to")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;
use tokio::time::{Instant, interval_at};

/// The answers made so far, by the length of their bodies.
type Answers = RefCell<HashMap<usize, Rc<[u8]>>>;

const DEFAULT_BYTES: usize = 64;
/// What `/bytes/N` may ask for.
const MAX_BYTES: usize = 1 << 30;
const MAX_HEAD: usize = 64 << 10;
const FIRST_FREEZE: Duration = Duration::from_secs(4);
const FREEZE_EVERY: Duration = Duration::from_secs(5);
const FROZEN_FOR: Duration = Duration::from_secs(1);
const USAGE: &str = "usage: load-origin LISTEN [freeze]";

fn main() {
    let mut arguments = std::env::args().skip(1);
    let listen = arguments.next().expect(USAGE);
    let freezes = arguments.next().inspect(|option| assert_eq!(option, "freeze", "{USAGE}")).is_some();
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_io();
    if freezes {
        builder.enable_time();
    }
    let runtime = builder.build().expect("a runtime");
    runtime.block_on(LocalSet::new().run_until(async {
        if freezes {
            tokio::task::spawn_local(freeze());
        }
        let listener = TcpListener::bind(listen).await.expect("a free address");
        let answers = Rc::new(Answers::default());
        loop {
            let answers = answers.clone();
            let (stream, _) = listener.accept().await.expect("a connection");
            // A connection that breaks is the client's affair.
            tokio::task::spawn_local(async move { serve(stream, &answers).await.ok() });
        }
    }));
}

/// Blocks the one thread there is, and with it all connections.
async fn freeze() {
    let mut moments = interval_at(Instant::now() + FIRST_FREEZE, FREEZE_EVERY);
    loop {
        moments.tick().await;
        std::thread::sleep(FROZEN_FOR);
    }
}

async fn serve(mut stream: TcpStream, answers: &Answers) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut received = Vec::with_capacity(4096);
    while stream.read_buf(&mut received).await? > 0 {
        let mut done = 0;
        while let Some(length) = head_length(&received[done..]) {
            let bytes = bytes_asked(&received[done..]);
            let answer = answers.borrow_mut().entry(bytes).or_insert_with(|| answer(bytes)).clone();
            stream.write_all(&answer).await?;
            done += length;
        }
        received.drain(..done);
        if received.len() > MAX_HEAD {
            return Ok(());
        }
    }
    Ok(())
}

fn head_length(received: &[u8]) -> Option<usize> {
    received.windows(4).position(|end| end == b"\r\n\r\n").map(|start| start + 4)
}

/// The N of `GET /bytes/N HTTP/1.1`.
fn bytes_asked(head: &[u8]) -> usize {
    let path = head.split(|byte| *byte == b' ').nth(1);
    let number = path.and_then(|path| path.strip_prefix(b"/bytes/"));
    let number = number.and_then(|number| str::from_utf8(number).ok()?.parse().ok());
    number.unwrap_or(DEFAULT_BYTES).min(MAX_BYTES)
}

fn answer(bytes: usize) -> Rc<[u8]> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {bytes}\r\n\r\n");
    let mut answer = head.into_bytes();
    answer.resize(answer.len() + bytes, b'x');
    answer.into()
}
