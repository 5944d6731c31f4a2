//! The run: sends each request when it is due, and attends to the connections.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::prctl::set_timerslack;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};
use nix::sys::time::TimeSpec;

use crate::answer::Reader;
use crate::figures::Figures;
use crate::request::Request;
use crate::{Options, Result};

/// For what is outstanding when the time is over.
const GRACE: Duration = Duration::from_secs(3);
/// For all connections together, before the start.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// After an attempt to connect that failed, or a connection that closed with nothing outstanding.
const RETRY_AFTER: Duration = Duration::from_millis(10);
/// Few, so that what becomes due while answers are read does not wait long.
const EVENTS_AT_ONCE: usize = 16;

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

struct Connection {
    stream: TcpStream,
    is_open: bool,
    /// Whether it is watched for room to write, which it is while it opens, too.
    is_full: bool,
    task: Option<Task>,
    reader: Reader,
}

/// A request that was sent and is not answered.
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
pub(crate) struct Generator {
    address: SocketAddr,
    requests: Vec<Request>,
    schedule: Schedule,
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
    pub(crate) fn new(options: Options) -> Result<Self> {
        // Without this the kernel wakes it up to 50 us late.
        set_timerslack(1)?;
        let now = Instant::now();
        let count = (options.rate * options.seconds).ceil() as usize;
        Ok(Self {
            address: options.address,
            requests: options.requests,
            schedule: Schedule { start: now, rate: options.rate, count },
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

    pub(crate) fn run(mut self) -> Result<Figures> {
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
            let request = self.next % self.requests.len();
            self.next += 1;
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

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    use super::*;
    use crate::answer::tests::PLAIN;
    use crate::figures::quantile;

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
