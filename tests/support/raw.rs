//! Bytes on a TCP connection, for what no decent library sends: one type for both ends, and an upstream made of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::soon;

/// One end of a connection.
pub struct Raw {
    pub stream: TcpStream,
    buffer: Vec<u8>,
    requests: Arc<Mutex<Vec<Message>>>,
}

/// A request or a response as it stood on the wire.
#[derive(Clone, Debug, Default)]
pub struct Message {
    pub first_line: String,
    /// Names as they were written, in their order.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// false: the connection ended before the message did.
    pub complete: bool,
}

enum Framing {
    Nothing,
    Length(usize),
    Chunked,
    UntilClose,
}

impl Message {
    pub fn status(&self) -> u16 {
        self.first_line.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// A header's only value; None when it is absent.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} stands more than once: {:?}", self.headers);
        value
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// All of it.
    pub fn to_text(&self) -> String {
        let headers: String = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("{}\r\n{headers}\r\n{}", self.first_line, self.text())
    }

    fn framing(&self, otherwise: Framing) -> Framing {
        if self.header("transfer-encoding").is_some() {
            return Framing::Chunked;
        }
        self.header("content-length").map_or(otherwise, |length| Framing::Length(length.parse().unwrap()))
    }

    fn response_framing(&self) -> Framing {
        match self.status() {
            100..=199 | 204 | 304 => Framing::Nothing,
            _ => self.framing(Framing::UntilClose),
        }
    }
}

impl Raw {
    pub fn new(stream: TcpStream) -> Raw {
        stream.set_nodelay(true).unwrap();
        Raw { stream, buffer: Vec::new(), requests: Arc::default() }
    }

    pub async fn connect(address: SocketAddr) -> Raw {
        Raw::new(TcpStream::connect(address).await.unwrap())
    }

    /// Sends; that the other side is gone already shows in what comes back.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Raw {
        let _ = soon("writing", self.stream.write_all(bytes.as_ref())).await;
        self
    }

    /// The next response; None when the connection ended before one began.
    pub async fn next_response(&mut self) -> Option<Message> {
        let message = self.head().await?;
        let framing = message.response_framing();
        Some(self.body(message, framing).await)
    }

    pub async fn response(&mut self) -> Message {
        self.next_response().await.expect("a response, not the connection's end")
    }

    /// A response's head alone: the answer to HEAD, or one whose body the test reads itself.
    pub async fn response_head(&mut self) -> Message {
        self.head().await.expect("a response, not the connection's end")
    }

    /// The next request with its body; for its first byte it waits as long as the connection lives.
    pub async fn request(&mut self) -> Option<Message> {
        if self.buffer.is_empty() && !self.stream.read_buf(&mut self.buffer).await.is_ok_and(|bytes| bytes > 0) {
            return None;
        }
        let message = self.head().await?;
        let framing = message.framing(Framing::Nothing);
        let message = self.body(message, framing).await;
        self.requests.lock().push(message.clone());
        Some(message)
    }

    /// A request's head alone, its body unread.
    pub async fn request_head(&mut self) -> Option<Message> {
        self.head().await
    }

    /// The next chunk of a body; empty when it was the last.
    pub async fn chunk(&mut self) -> Vec<u8> {
        let size = self.line().await.expect("a chunk");
        let mut chunk = Vec::new();
        assert!(self.take(usize::from_str_radix(&size, 16).unwrap(), &mut chunk).await, "a chunk broke off");
        self.line().await;
        chunk
    }

    /// Whether the other side has ended the connection by now.
    pub async fn is_closed(&mut self) -> bool {
        let read = self.stream.read_buf(&mut self.buffer);
        let read = tokio::time::timeout(Duration::from_millis(20), read).await;
        read.is_ok_and(|read| read.map_or(true, |bytes| bytes == 0))
    }

    /// Everything until the connection ends.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.buffer)
    }

    /// At least one more byte; false at the end, whether that is clean or a reset.
    async fn more(&mut self) -> bool {
        let read = soon("reading", self.stream.read_buf(&mut self.buffer)).await;
        read.is_ok_and(|bytes| bytes > 0)
    }

    async fn head(&mut self) -> Option<Message> {
        let first_line = self.line().await?;
        let headers = self.fields().await?;
        Some(Message { first_line, headers, ..Message::default() })
    }

    async fn body(&mut self, mut message: Message, framing: Framing) -> Message {
        message.complete = match framing {
            Framing::Nothing => true,
            Framing::Length(length) => self.take(length, &mut message.body).await,
            Framing::Chunked => self.chunks(&mut message).await.is_some(),
            Framing::UntilClose => {
                message.body = self.rest().await;
                true
            }
        };
        message
    }

    async fn chunks(&mut self, message: &mut Message) -> Option<()> {
        loop {
            let line = self.line().await?;
            let size = line.split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("a chunk's size: {line:?}"));
            if size == 0 {
                message.trailers = self.fields().await?;
                return Some(());
            }
            if !self.take(size, &mut message.body).await {
                return None;
            }
            self.line().await?;
        }
    }

    async fn fields(&mut self) -> Option<Vec<(String, String)>> {
        let mut fields = Vec::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Some(fields);
            }
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("a field: {line:?}"));
            fields.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.buffer.drain(..end + 2).take(end).map(char::from).collect();
                return Some(line);
            }
            if !self.more().await {
                return None;
            }
        }
    }

    async fn take(&mut self, length: usize, into: &mut Vec<u8>) -> bool {
        while self.buffer.len() < length {
            if !self.more().await {
                into.append(&mut self.buffer);
                return false;
            }
        }
        into.extend(self.buffer.drain(..length));
        true
    }
}

/// An upstream that does to each of its connections what the test says; it ends with the test.
pub struct RawOrigin {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<Message>>>,
}

impl RawOrigin {
    /// Runs `play` on each connection; the connection ends with it.
    pub async fn playing<F: Future<Output = ()> + Send + 'static>(
        play: impl Fn(Raw) -> F + Send + Sync + 'static,
    ) -> RawOrigin {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests: Arc<Mutex<Vec<Message>>> = Arc::default();
        let log = requests.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(play(Raw { requests: log.clone(), ..Raw::new(stream) }));
            }
        });
        RawOrigin { address, requests }
    }

    /// Answers every request with these bytes and keeps the connection.
    pub async fn answering(bytes: impl Into<Vec<u8>>) -> RawOrigin {
        RawOrigin::repeating(bytes.into(), usize::MAX).await
    }

    /// Answers one request per connection with these bytes, then ends the connection.
    pub async fn answering_once(bytes: impl Into<Vec<u8>>) -> RawOrigin {
        RawOrigin::repeating(bytes.into(), 1).await
    }

    async fn repeating(bytes: Vec<u8>, times: usize) -> RawOrigin {
        let bytes = Bytes::from(bytes);
        RawOrigin::playing(move |mut peer| {
            let bytes = bytes.clone();
            async move {
                for _ in 0..times {
                    if peer.request().await.is_none() {
                        return;
                    }
                    peer.send(&bytes).await;
                }
            }
        })
        .await
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it was asked so far, over all of its connections.
    pub fn requests(&self) -> Vec<Message> {
        self.requests.lock().clone()
    }
}
