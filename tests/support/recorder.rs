//! An upstream that keeps every byte it receives, and the strict reading of requests that judges them.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::eventually;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// An upstream that answers whole requests with 200 and keeps its connections; it ends with the test.
///
/// What was written to it before `take` is called is in what `take` returns, however busy the machine is: it looks at its
/// sockets then and there.
pub struct Recorder {
    pub address: SocketAddr,
    sockets: Arc<Mutex<Sockets>>,
}

struct Sockets {
    listener: TcpListener,
    connections: Vec<Connection>,
}

/// What one connection brought since the last time.
struct Connection {
    stream: TcpStream,
    transcript: Vec<u8>,
    /// What has no answer yet.
    unread: Vec<u8>,
    closed: bool,
}

/// Between two looks at the sockets.
const PAUSE: Duration = Duration::from_micros(200);

impl Recorder {
    pub async fn start() -> Recorder {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let sockets = Arc::new(Mutex::new(Sockets { listener, connections: Vec::new() }));
        let watched = Arc::downgrade(&sockets);
        std::thread::spawn(move || {
            while let Some(sockets) = Weak::upgrade(&watched) {
                sockets.lock().look();
                std::thread::sleep(PAUSE);
            }
        });
        Recorder { address, sockets }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What each connection brought since the last time; nothing of those that brought nothing.
    pub fn take(&self) -> Vec<Vec<u8>> {
        let mut sockets = self.sockets.lock();
        sockets.look();
        let transcripts = sockets.connections.iter_mut().map(|one| std::mem::take(&mut one.transcript));
        transcripts.filter(|bytes| !bytes.is_empty()).collect()
    }

    /// The same, when no connection waits for the rest of a request any more.
    pub async fn take_ended(&self, what: &str) -> Vec<Vec<u8>> {
        eventually(what, async || self.sockets.lock().look().all_ended().then_some(())).await;
        self.take()
    }
}

impl Sockets {
    fn look(&mut self) -> &Self {
        while let Ok((stream, _)) = self.listener.accept() {
            stream.set_nonblocking(true).unwrap();
            self.connections.push(Connection { stream, transcript: Vec::new(), unread: Vec::new(), closed: false });
        }
        self.connections.iter_mut().filter(|one| !one.closed).for_each(Connection::look);
        self
    }

    fn all_ended(&self) -> bool {
        self.connections
            .iter()
            .all(|one| one.closed || messages(&one.transcript).iter().all(|message| message.complete))
    }
}

impl Connection {
    fn look(&mut self) {
        let mut bytes = [0; 16384];
        while !self.closed {
            match self.stream.read(&mut bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Ok(read) if read > 0 => {
                    self.transcript.extend_from_slice(&bytes[..read]);
                    self.unread.extend_from_slice(&bytes[..read]);
                    self.answer();
                }
                _ => self.closed = true,
            }
        }
    }

    fn answer(&mut self) {
        while let Some(request) = read_request(&self.unread).filter(|request| request.complete) {
            self.unread.drain(..request.length);
            self.closed |= self.stream.write_all(ANSWER).is_err();
        }
    }
}

/// A request as a strict reader sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Received {
    pub method: String,
    pub target: String,
    /// What of its body has come before its end or the first fault in it.
    pub body: Vec<u8>,
    /// It is there to its end.
    pub complete: bool,
    /// The bytes it takes, as far as they are known to be its own.
    pub length: usize,
}

/// All that stands in a transcript, one after the other; what is incomplete is the last.
pub fn messages(mut bytes: &[u8]) -> Vec<Received> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let message = read_request(bytes).unwrap_or_default();
        bytes = if message.complete { &bytes[message.length..] } else { &[] };
        messages.push(message);
    }
    messages
}

/// The request at the beginning of `bytes`, when its head is whole.
pub fn read_request(bytes: &[u8]) -> Option<Received> {
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut request = httparse::Request::new(&mut fields);
    let head = request.parse(bytes).ok().filter(|status| status.is_complete())?.unwrap();
    let (method, target) = (request.method?.to_owned(), request.path?.to_owned());
    let field = |name: &str| request.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
    let length = field("content-length").map(|field| std::str::from_utf8(field.value).unwrap().parse().unwrap());
    let mut received = Received { method, target, length: head, ..Received::default() };
    match (field("transfer-encoding"), length) {
        (Some(_), Some(_)) => panic!("framed in two ways: {}", bytes.escape_ascii()),
        (Some(_), None) => received.complete = read_chunks(bytes, &mut received).is_some(),
        (None, length) => {
            let length = length.unwrap_or(0);
            received.body = bytes[head..].iter().take(length).copied().collect();
            received.complete = received.body.len() == length;
            received.length += received.body.len();
        }
    }
    Some(received)
}

/// `None` at the first byte that is missing or wrong.
fn read_chunks(bytes: &[u8], received: &mut Received) -> Option<()> {
    loop {
        let line = read_line(bytes.get(received.length..)?)?;
        let digits = line.split(|byte| *byte == b';').next()?;
        let well_formed = (1..=16).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
        let size = usize::from_str_radix(std::str::from_utf8(digits).ok().filter(|_| well_formed)?, 16).ok()?;
        let is_control = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
        let is_bounded = line.len() - digits.len() <= 257 && !line.iter().any(is_control);
        received.length += is_bounded.then_some(line.len() + 2)?;
        if size == 0 {
            return read_trailers(bytes, received);
        }
        let there = &bytes[received.length..];
        let data = &there[..size.min(there.len())];
        received.body.extend_from_slice(data);
        there[data.len()..].starts_with(b"\r\n").then_some(())?;
        received.length += data.len() + 2;
    }
}

fn read_trailers(bytes: &[u8], received: &mut Received) -> Option<()> {
    loop {
        let line = read_line(bytes.get(received.length..)?)?;
        received.length += line.len() + 2;
        if line.is_empty() {
            return Some(());
        }
    }
}

fn read_line(bytes: &[u8]) -> Option<&[u8]> {
    bytes.windows(2).position(|pair| pair == b"\r\n").map(|end| &bytes[..end])
}
