//! A load generator that asks at a constant rate, without coordinated omission.
//!
//! `load-steady ADDRESS REQUESTS RATE SECONDS CONNECTIONS`. ADDRESS is `ip:port`. Each line of the file REQUESTS is one
//! request without a body: `METHOD PATH`, then any number of `Name: value`, with a tab before each; `Host: ADDRESS` is
//! added unless the line has a Host. Every request sent is one of them at random, the same ones in every run.
//!
//! Request k is due k/RATE after the start, whatever became of those before it. It goes out on a connection that has
//! nothing outstanding, as soon as it is due; if there is none it waits for one, in order. Its latency counts from when
//! it was due. After SECONDS no more become due, and those that did have 3 s left to be sent and answered. What is still
//! without an answer then has failed, and so has what a closing connection left unanswered; its latency is how long it
//! had waited. Connections are kept alive, and opened again when they close.
//!
//! It prints one line of JSON, times in microseconds. `wrong` are the answers with a status from 400; `rate` counts all
//! answers, over SECONDS and what they took longer; `lag_us` is the 99th percentile of how late requests went out though
//! a connection was free: if that is not small, the latencies are the generator's own, or those of what else runs on its
//! core. It never spins, as it shares that core.
//!
//! Known inaccuracy: a latency ends when the answer is read, so another answer read first adds to it. A request on a
//! connection that the server is just closing counts as failed, though a browser would repeat it. An answer with a body
//! has to have a Content-Length; any other ends the program.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt::Display;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::prctl::set_timerslack;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};
use nix::sys::time::TimeSpec;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const USAGE: &str = "usage: load-steady ADDRESS REQUESTS RATE SECONDS CONNECTIONS";
/// For what is outstanding when the time is over.
const GRACE: Duration = Duration::from_secs(3);
/// For all connections together, before the start.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// After an attempt to connect that failed, or a connection that closed with nothing outstanding.
const RETRY_AFTER: Duration = Duration::from_millis(10);
const MAX_HEAD: usize = 64 << 10;
/// Few, so that what becomes due while answers are read does not wait long.
const EVENTS_AT_ONCE: usize = 16;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let options = match Options::parse(&arguments) {
        Ok(options) => options,
        Err(fault) => {
            eprintln!("load-steady: {fault}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match Generator::new(options).and_then(Generator::run) {
        Ok(figures) => {
            println!("{}", figures.to_json());
            ExitCode::SUCCESS
        }
        Err(fault) => {
            eprintln!("load-steady: {fault}");
            ExitCode::FAILURE
        }
    }
}

struct Options {
    address: SocketAddr,
    requests: Vec<Request>,
    rate: f64,
    seconds: f64,
    connections: usize,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self> {
        let [address, requests, rate, seconds, connections] = arguments else {
            return Err(format!("{} arguments instead of 5", arguments.len()).into());
        };
        let address = address.parse().map_err(|_| format!("ADDRESS {address:?} is not ip:port"))?;
        let text = std::fs::read_to_string(requests).map_err(|fault| format!("REQUESTS {requests}: {fault}"))?;
        Ok(Self {
            address,
            requests: Request::all(&text, address).map_err(|fault| format!("REQUESTS {requests}: {fault}"))?,
            rate: number("RATE", rate, 1e5)?,
            seconds: number("SECONDS", seconds, 3600.0)?,
            connections: number("CONNECTIONS", connections, 10_000)?,
        })
    }
}

fn number<T: FromStr + PartialOrd + Default + Display>(name: &str, text: &str, most: T) -> Result<T, String> {
    let number = text.parse().ok().filter(|number| *number > T::default() && *number <= most);
    number.ok_or_else(|| format!("{name} {text:?} is not a number above 0 and up to {most}"))
}

/// One of the requests to draw from, as it is sent.
struct Request {
    bytes: Vec<u8>,
    /// The answer to a HEAD has no body, whatever its length.
    is_head: bool,
}

impl Request {
    fn all(text: &str, address: SocketAddr) -> Result<Vec<Self>, String> {
        let parse = |(at, line)| Self::parse(line, address).ok_or(format!("line {} is no request: {line:?}", at + 1));
        let requests = text.lines().enumerate().map(parse).collect::<Result<Vec<_>, _>>()?;
        if requests.is_empty() { Err("there is no request in it".to_owned()) } else { Ok(requests) }
    }

    fn parse(line: &str, address: SocketAddr) -> Option<Self> {
        let mut fields = line.split('\t');
        let (method, path) = fields.next()?.split_once(' ')?;
        if method.is_empty() || !path.starts_with(['/', '*']) || path.contains(' ') {
            return None;
        }
        let mut text = format!("{method} {path} HTTP/1.1\r\n");
        let mut has_host = false;
        for header in fields {
            has_host |= header.split_once(':')?.0.eq_ignore_ascii_case("host");
            text += header;
            text += "\r\n";
        }
        if !has_host {
            text += &format!("Host: {address}\r\n");
        }
        text += "\r\n";
        Some(Self { bytes: text.into_bytes(), is_head: method == "HEAD" })
    }

    fn first_line(&self) -> String {
        String::from_utf8_lossy(self.bytes.split(|byte| *byte == b'\r').next().unwrap_or_default()).into_owned()
    }
}

/// When requests are due, and how many are.
struct Schedule {
    start: Instant,
    rate: f64,
    count: usize,
}

impl Schedule {
    fn due(&self, number: usize) -> Instant {
        self.start + Duration::from_secs_f64(number as f64 / self.rate)
    }

    /// When one more would be due.
    fn end(&self) -> Instant {
        self.due(self.count)
    }
}

/// Draws numbers: Marsaglia's xorshift, with a fixed seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, count: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (((self.0 >> 32) * count as u64) >> 32) as usize
    }
}

/// What the head of an answer says.
struct Head {
    status: u16,
    /// What is to come of the body.
    missing: usize,
    closes: bool,
}

impl Head {
    fn parse(bytes: &[u8], to_head: bool) -> Result<Self, String> {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok());
        let status = status.ok_or("something that is not HTTP/1.1")?;
        let (mut length, mut is_encoded, mut closes) = (None, false, false);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(value.parse().map_err(|_| format!("Content-Length: {value}"))?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                is_encoded = true;
            } else if name.eq_ignore_ascii_case("connection") {
                closes |= value.split(',').any(|option| option.trim().eq_ignore_ascii_case("close"));
            }
        }
        let missing = match length {
            _ if to_head || status < 200 || matches!(status, 204 | 304) => 0,
            _ if is_encoded => return Err("Transfer-Encoding: chunked, which this generator does not read".to_owned()),
            Some(length) => length,
            None => return Err(format!("{status} and no Content-Length, without which its end is unknown")),
        };
        Ok(Self { status, missing, closes })
    }
}

/// Reads the one answer that is outstanding on a connection.
#[derive(Default)]
struct Reader {
    /// What there is of the head while that is incomplete.
    received: Vec<u8>,
    head: Option<Head>,
}

impl Reader {
    /// The head, once the answer is complete. It may come in any pieces.
    fn take(&mut self, piece: &[u8], to_head: bool) -> Result<Option<Head>, String> {
        let (mut head, body) = match self.head.take() {
            Some(head) => (head, piece.len()),
            None => match self.take_head(piece, to_head)? {
                Some(found) => found,
                None => return Ok(None),
            },
        };
        // Of what follows the end nothing is known, so nothing more is asked on this connection.
        head.closes |= body > head.missing;
        head.missing = head.missing.saturating_sub(body);
        if head.missing == 0 {
            return Ok(Some(head));
        }
        self.head = Some(head);
        Ok(None)
    }

    /// The head, and how many bytes there are behind it. An informational answer comes before the one that counts.
    fn take_head(&mut self, piece: &[u8], to_head: bool) -> Result<Option<(Head, usize)>, String> {
        let mut searched = self.received.len().saturating_sub(3);
        self.received.extend_from_slice(piece);
        while let Some(at) = self.received[searched..].windows(4).position(|end| end == b"\r\n\r\n") {
            let end = searched + at + 4;
            let head = Head::parse(&self.received[..end], to_head)?;
            if head.status >= 200 {
                let body = self.received.len() - end;
                self.received.clear();
                return Ok(Some((head, body)));
            }
            self.received.drain(..end);
            searched = 0;
        }
        if self.received.len() > MAX_HEAD { Err("a head without an end".to_owned()) } else { Ok(None) }
    }
}

struct Connection {
    stream: TcpStream,
    is_open: bool,
    /// Whether it is watched for room to write, which it is while it opens, too.
    is_full: bool,
    task: Option<Task>,
    reader: Reader,
}

/// A request that has been drawn and not answered.
struct Task {
    request: usize,
    due: Instant,
    written: usize,
}

/// Starts to connect. `None`: it failed at once.
fn open(address: SocketAddr) -> Result<Option<Connection>> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let stream = TcpStream::from(socket(family, SockType::Stream, flags, None)?);
    stream.set_nodelay(true)?;
    match connect(stream.as_raw_fd(), &SockaddrStorage::from(address)) {
        Ok(()) | Err(Errno::EINPROGRESS) => {
            Ok(Some(Connection { stream, is_open: false, is_full: true, task: None, reader: Reader::default() }))
        }
        Err(_) => Ok(None),
    }
}

fn event(slot: usize, is_full: bool) -> EpollEvent {
    let flags = if is_full { EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT } else { EpollFlags::EPOLLIN };
    EpollEvent::new(flags, slot as u64)
}

/// The run: connections, each in its slot, and the requests that go out on them.
struct Generator {
    address: SocketAddr,
    requests: Vec<Request>,
    schedule: Schedule,
    draw: Draw,
    epoll: Epoll,
    /// Without those that are to be opened later.
    connections: Vec<Option<Connection>>,
    /// When to open what is missing.
    retry_at: Option<Instant>,
    /// The slots that have nothing outstanding, the longest idle one first.
    free: VecDeque<usize>,
    /// Since when there has been one of them without interruption.
    free_since: Instant,
    /// The number of the next request to send. Those after it that are due are the queue.
    next: usize,
    buffer: Vec<u8>,
    figures: Figures,
}

impl Generator {
    fn new(options: Options) -> Result<Self> {
        // Without this the kernel wakes it up to 50 us late.
        set_timerslack(1)?;
        let now = Instant::now();
        let count = (options.rate * options.seconds).ceil() as usize;
        Ok(Self {
            address: options.address,
            requests: options.requests,
            schedule: Schedule { start: now, rate: options.rate, count },
            draw: Draw(0x9e37_79b9_7f4a_7c15),
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            connections: (0..options.connections).map(|_| None).collect(),
            retry_at: None,
            free: VecDeque::with_capacity(options.connections),
            free_since: now,
            next: 0,
            buffer: vec![0; 64 << 10],
            figures: Figures::new(count),
        })
    }

    fn run(mut self) -> Result<Figures> {
        self.connect_all()?;
        let now = Instant::now();
        (self.schedule.start, self.free_since) = (now, now);
        let give_up = self.schedule.end() + GRACE;
        loop {
            let now = self.send_due(Instant::now())?;
            if self.figures.latencies.len() == self.schedule.count || now >= give_up {
                return Ok(self.finish(now));
            }
            let next = (self.next < self.schedule.count && !self.free.is_empty()).then(|| self.schedule.due(self.next));
            self.wait(next.unwrap_or(give_up), now)?;
        }
    }

    fn connect_all(&mut self) -> Result<()> {
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        self.open_missing()?;
        while self.free.len() < self.connections.len() {
            let now = Instant::now();
            if now >= deadline {
                let (open, all) = (self.free.len(), self.connections.len());
                return Err(format!("{}: {open} of {all} connections could be opened", self.address).into());
            }
            self.wait(deadline, now)?;
        }
        Ok(())
    }

    /// Sends what is due as long as a connection is free. The time afterwards.
    fn send_due(&mut self, mut now: Instant) -> Result<Instant> {
        while self.next < self.schedule.count {
            let due = self.schedule.due(self.next);
            if due > now {
                break;
            }
            let Some(slot) = self.free.pop_front() else { break };
            self.next += 1;
            let request = self.draw.below(self.requests.len());
            if let Some(connection) = &mut self.connections[slot] {
                connection.task = Some(Task { request, due, written: 0 });
            }
            self.write(slot)?;
            now = Instant::now();
            if due >= self.free_since {
                self.figures.lags.push(now - due);
            }
        }
        Ok(now)
    }

    /// Waits until something happens on a connection, and attends to it; but not beyond the moment.
    fn wait(&mut self, until: Instant, now: Instant) -> Result<()> {
        let until = self.retry_at.map_or(until, |at| at.min(until));
        // epoll's own timeout is in milliseconds.
        let timeout = TimeSpec::from_duration(until.saturating_duration_since(now));
        let ready = match ppoll(&mut [PollFd::new(self.epoll.0.as_fd(), PollFlags::POLLIN)], Some(timeout), None) {
            Err(Errno::EINTR) => 0,
            ready => ready?,
        };
        if ready > 0 {
            let mut events = [EpollEvent::empty(); EVENTS_AT_ONCE];
            let count = self.epoll.wait(&mut events, 0u8)?;
            for event in &events[..count] {
                self.attend(event.data() as usize, event.events())?;
            }
        }
        if self.retry_at.is_some_and(|at| Instant::now() >= at) { self.open_missing() } else { Ok(()) }
    }

    fn attend(&mut self, slot: usize, flags: EpollFlags) -> Result<()> {
        match &self.connections[slot] {
            Some(connection) if !connection.is_open => self.opened(slot),
            // What else there is comes again, as long as it lasts.
            _ if flags == EpollFlags::EPOLLOUT => self.write(slot),
            _ => self.read(slot),
        }
    }

    fn open_missing(&mut self) -> Result<()> {
        self.retry_at = None;
        for slot in 0..self.connections.len() {
            if self.connections[slot].is_none() {
                self.open(slot)?;
            }
        }
        Ok(())
    }

    /// Opens a connection in place of what is in the slot.
    fn open(&mut self, slot: usize) -> Result<()> {
        match open(self.address)? {
            Some(connection) => {
                self.epoll.add(&connection.stream, event(slot, true))?;
                self.connections[slot] = Some(connection);
            }
            None => self.retry_later(slot),
        }
        Ok(())
    }

    fn opened(&mut self, slot: usize) -> Result<()> {
        let Some(connection) = &mut self.connections[slot] else { return Ok(()) };
        if connection.stream.take_error()?.is_some() {
            self.retry_later(slot);
            return Ok(());
        }
        connection.is_open = true;
        connection.is_full = false;
        self.epoll.modify(&connection.stream, &mut event(slot, false))?;
        self.release(slot, Instant::now());
        Ok(())
    }

    fn retry_later(&mut self, slot: usize) {
        self.connections[slot] = None;
        self.retry_at.get_or_insert_with(|| Instant::now() + RETRY_AFTER);
    }

    fn release(&mut self, slot: usize, now: Instant) {
        if self.free.is_empty() {
            self.free_since = now;
        }
        self.free.push_back(slot);
    }

    /// Writes what the kernel takes of the request.
    fn write(&mut self, slot: usize) -> Result<()> {
        let Some(connection) = &mut self.connections[slot] else { return Ok(()) };
        let Some(task) = &mut connection.task else { return Ok(()) };
        let bytes = &self.requests[task.request].bytes;
        match connection.stream.write(&bytes[task.written..]) {
            Ok(count) => task.written += count,
            Err(fault) if matches!(fault.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => return self.lose(slot),
        }
        let is_full = task.written < bytes.len();
        if is_full != connection.is_full {
            connection.is_full = is_full;
            self.epoll.modify(&connection.stream, &mut event(slot, is_full))?;
        }
        Ok(())
    }

    fn read(&mut self, slot: usize) -> Result<()> {
        let Some(connection) = &mut self.connections[slot] else { return Ok(()) };
        match connection.stream.read(&mut self.buffer) {
            Ok(count) if count > 0 => self.received(slot, count),
            Err(fault) if matches!(fault.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(()),
            _ => self.lose(slot),
        }
    }

    fn received(&mut self, slot: usize, count: usize) -> Result<()> {
        let Some(connection) = &mut self.connections[slot] else { return Ok(()) };
        // Nothing was asked: the server says why it is about to close.
        let Some(task) = &connection.task else { return self.lose(slot) };
        let (request, due) = (&self.requests[task.request], task.due);
        let head = connection.reader.take(&self.buffer[..count], request.is_head);
        let head = head.map_err(|fault| format!("the answer to {:?} has {fault}", request.first_line()))?;
        let Some(head) = head else { return Ok(()) };
        let now = Instant::now();
        self.figures.answered(now - due, head.status);
        let closes = head.closes || task.written < request.bytes.len();
        connection.task = None;
        if closes {
            return self.open(slot);
        }
        self.release(slot, now);
        Ok(())
    }

    /// A connection has closed, or says what was not asked for.
    fn lose(&mut self, slot: usize) -> Result<()> {
        let lost = self.connections[slot].take();
        let Some(task) = lost.and_then(|connection| connection.task) else {
            // Not at once: a server that wants fewer connections closes them as fast as they open.
            self.free.retain(|free| *free != slot);
            self.retry_later(slot);
            return Ok(());
        };
        self.figures.failed(task.due.elapsed());
        self.open(slot)
    }

    fn finish(mut self, now: Instant) -> Figures {
        let tasks = self.connections.iter().flatten().filter_map(|connection| connection.task.as_ref());
        let queue = (self.next..self.schedule.count).map(|number| self.schedule.due(number));
        for due in tasks.map(|task| task.due).chain(queue) {
            self.figures.failed(now - due);
        }
        self.figures.elapsed = now.max(self.schedule.end()) - self.schedule.start;
        self.figures.latencies.sort_unstable();
        self.figures.lags.sort_unstable();
        self.figures
    }
}

/// What was measured. Every latency is kept, so that quantiles are exact.
struct Figures {
    latencies: Vec<Duration>,
    lags: Vec<Duration>,
    failed: usize,
    wrong: usize,
    elapsed: Duration,
}

impl Figures {
    fn new(count: usize) -> Self {
        let [latencies, lags] = [(); 2].map(|()| Vec::with_capacity(count));
        Self { latencies, lags, failed: 0, wrong: 0, elapsed: Duration::ZERO }
    }

    fn answered(&mut self, latency: Duration, status: u16) {
        self.latencies.push(latency);
        self.wrong += usize::from(status >= 400);
    }

    fn failed(&mut self, latency: Duration) {
        self.latencies.push(latency);
        self.failed += 1;
    }

    fn to_json(&self) -> String {
        let (requests, seconds) = (self.latencies.len(), self.elapsed.as_secs_f64());
        let at = |millionths| micros(quantile(&self.latencies, millionths));
        let points: Vec<_> = quantiles().map(|point| format!("[{},{:.1}]", point as f64 / 1e6, at(point))).collect();
        format!(
            "{{\"requests\":{requests},\"failed\":{},\"wrong\":{},\"seconds\":{seconds:.3},\"rate\":{:.1},\"lag_us\":{:.1},\
             \"p50\":{:.1},\"p90\":{:.1},\"p99\":{:.1},\"p999\":{:.1},\"max\":{:.1},\"distribution\":[{}]}}",
            self.failed,
            self.wrong,
            (requests - self.failed) as f64 / seconds,
            micros(quantile(&self.lags, 990_000)),
            at(500_000),
            at(900_000),
            at(990_000),
            at(999_000),
            at(1_000_000),
            points.join(",")
        )
    }
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}

/// The least of the sorted times that so many of them do not exceed.
fn quantile(sorted: &[Duration], millionths: usize) -> Duration {
    let rank = (sorted.len() * millionths).div_ceil(1_000_000);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// From 0 to 0.9999 in millionths, closer and closer together.
fn quantiles() -> impl Iterator<Item = usize> {
    let decades = [10_000_usize, 1_000, 100, 10].into_iter();
    let steps = |decade| [100, 70, 50, 40, 30, 20, 15].map(move |step| 1_000_000 - step * decade);
    decades.flat_map(steps).chain([999_900])
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    use super::*;

    const PLAIN: &[u8] = b"HTTP/1.1 200 OK\r\nServer: \xff\r\ncontent-LENGTH:  5 \r\n\r\nhello";

    /// The answer taken in pieces of one size, and whether it was complete with the last of them and not before.
    fn taken(answer: &[u8], size: usize, to_head: bool) -> Head {
        let mut reader = Reader::default();
        let pieces: Vec<_> = answer.chunks(size).collect();
        let (last, before) = pieces.split_last().unwrap();
        for piece in before {
            assert!(reader.take(piece, to_head).unwrap().is_none(), "complete too early, in pieces of {size}");
        }
        reader.take(last, to_head).unwrap().expect("complete")
    }

    fn fault(answer: &[u8]) -> String {
        Reader::default().take(answer, false).err().expect("a fault")
    }

    #[test]
    fn reads_an_answer_cut_at_every_byte() {
        for cut in 1..PLAIN.len() {
            let mut reader = Reader::default();
            assert!(reader.take(&PLAIN[..cut], false).unwrap().is_none(), "complete at {cut}");
            let head = reader.take(&PLAIN[cut..], false).unwrap().expect("complete");
            assert_eq!((head.status, head.closes), (200, false), "cut at {cut}");
        }
    }

    #[test]
    fn reads_answers_in_pieces_of_every_size() {
        let informed =
            b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nabc";
        for size in 1..informed.len() {
            assert_eq!(taken(informed, size, false).status, 404);
            assert_eq!(taken(b"HTTP/1.1 204 No Content\r\n\r\n", size, false).status, 204);
            assert_eq!(taken(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", size, false).status, 304);
            assert_eq!(taken(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", size, true).status, 200);
            assert_eq!(taken(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", size, false).status, 200);
        }
    }

    #[test]
    fn reads_one_answer_after_the_other() {
        let mut reader = Reader::default();
        for _ in 0..2 {
            assert!(reader.take(&PLAIN[..50], false).unwrap().is_none());
            assert!(reader.take(&PLAIN[50..], false).unwrap().is_some());
        }
    }

    #[test]
    fn gives_a_connection_up_that_closes_or_says_too_much() {
        let closing = b"HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 1\r\n\r\na";
        assert!(taken(closing, 7, false).closes);
        assert!(taken(&[PLAIN, b"!"].concat(), usize::MAX, false).closes);
    }

    #[test]
    fn refuses_answers_whose_end_it_cannot_know() {
        assert!(fault(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").contains("chunked"));
        assert!(fault(b"HTTP/1.1 200 OK\r\n\r\n").contains("no Content-Length"));
        assert!(fault(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n").contains("Content-Length: -1"));
        assert!(fault(b"SSH-2.0-x\r\n\r\n").contains("not HTTP"));
        assert!(fault(&[b'x'; MAX_HEAD + 1]).contains("without an end"));
    }

    #[test]
    fn makes_requests_of_lines() {
        let address = "127.0.0.1:80".parse().unwrap();
        let requests = Request::all("GET /a?b\tX-A: 1\tX-B: 2\nHEAD /\thost: me\n", address).unwrap();
        let texts: Vec<_> = requests.iter().map(|request| str::from_utf8(&request.bytes).unwrap()).collect();
        let first = "GET /a?b HTTP/1.1\r\nX-A: 1\r\nX-B: 2\r\nHost: 127.0.0.1:80\r\n\r\n";
        assert_eq!(texts, [first, "HEAD / HTTP/1.1\r\nhost: me\r\n\r\n"]);
        assert!(!requests[0].is_head && requests[1].is_head);
        for text in ["", "GET\n", "GET /\n\nGET /\n", "GET /\tnonsense", "GET / HTTP/1.1", " /", "GET x"] {
            assert!(Request::all(text, address).is_err(), "{text:?}");
        }
    }

    #[test]
    fn takes_quantiles_from_the_times_themselves() {
        let times: Vec<_> = (1..=1000).map(Duration::from_micros).collect();
        let at = |millionths| quantile(&times, millionths).as_micros();
        assert_eq!([0, 500_000, 500_001, 999_000, 999_900, 1_000_000].map(at), [1, 500, 501, 999, 1000, 1000]);
        assert_eq!(quantile(&[], 500_000), Duration::ZERO);
        let points: Vec<_> = quantiles().collect();
        assert!(points.is_sorted() && points.contains(&990_000) && points.contains(&999_000));
    }

    #[test]
    fn draws_all_requests_about_equally() {
        let mut draw = Draw(1);
        let mut drawn = [0; 10];
        (0..10_000).for_each(|_| drawn[draw.below(10)] += 1);
        assert!(drawn.iter().all(|count| (800..1200).contains(count)), "{drawn:?}");
    }

    /// A server that hands each of so many connections, one after the other, to `serve`.
    fn server(count: usize, serve: fn(usize, TcpStream) -> io::Result<()>) -> (SocketAddr, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let accept = move || (0..count).for_each(|number| serve(number, listener.accept().unwrap().0).unwrap_or(()));
        (address, std::thread::spawn(accept))
    }

    fn run(address: SocketAddr, line: &str, rate: f64, seconds: f64) -> Result<Figures> {
        let requests = Request::all(line, address)?;
        Generator::new(Options { address, requests, rate, seconds, connections: 1 })?.run()
    }

    /// Answers that many requests, byte by byte.
    fn answer(mut stream: &TcpStream, count: usize) -> io::Result<()> {
        stream.set_nodelay(true)?;
        for _ in 0..count {
            let (mut head, mut piece) = (Vec::new(), [0; 64 << 10]);
            while !head.ends_with(b"\r\n\r\n") {
                let count = stream.read(&mut piece)?;
                if count == 0 {
                    return Ok(());
                }
                head.extend_from_slice(&piece[..count]);
            }
            PLAIN.iter().try_for_each(|byte| stream.write_all(&[*byte]))?;
        }
        Ok(())
    }

    #[test]
    fn sends_requests_that_the_kernel_does_not_take_at_once() {
        let (address, server) = server(1, |_, stream| answer(&stream, 5));
        let line = format!("GET /\tX-Long: {}", "x".repeat(8 << 20));
        let figures = run(address, &line, 1000.0, 0.005).unwrap();
        assert_eq!((figures.latencies.len(), figures.failed, figures.wrong), (5, 0, 0));
        server.join().unwrap();
    }

    #[test]
    fn opens_a_connection_again_and_counts_what_was_outstanding() {
        let (address, server) = server(3, |number, stream| match number {
            // Closes before anything is asked, then instead of the second answer.
            0 => Ok(()),
            1 => answer(&stream, 1).and_then(|()| (&stream).read_exact(&mut [0; 20])),
            _ => answer(&stream, 3),
        });
        let figures = run(address, "GET /", 20.0, 0.25).unwrap();
        // The first request may be quicker than the news of the first close.
        assert!((1..=2).contains(&figures.failed), "{}", figures.to_json());
        assert_eq!(figures.latencies.len(), 5);
        server.join().unwrap();
    }

    #[test]
    fn counts_from_when_a_request_was_due() {
        let (address, server) = server(1, |_, stream| {
            std::thread::sleep(Duration::from_millis(50));
            answer(&stream, 50)
        });
        let figures = run(address, "GET /", 1000.0, 0.05).unwrap();
        // The last was due just before the first was answered.
        assert_eq!((figures.latencies.len(), figures.failed), (50, 0));
        assert!(quantile(&figures.latencies, 500_000) >= Duration::from_millis(20), "{}", figures.to_json());
        server.join().unwrap();
    }

    #[test]
    fn ends_with_a_clear_message_if_an_answer_is_chunked() {
        let (address, server) = server(1, |_, mut stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            stream.read(&mut [0; 100]).map(|_| ())
        });
        let fault = run(address, "GET /x", 10.0, 0.1).err().expect("a fault").to_string();
        assert!(fault.contains("GET /x HTTP/1.1") && fault.contains("chunked"), "{fault}");
        server.join().unwrap();
    }
}
