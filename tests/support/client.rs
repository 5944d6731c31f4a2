//! HTTP clients: one connection each, HTTP/1.1 or h2c, answers collected or streamed.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Uri, Version, header::HOST, request::Builder};
use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::{Seen, soon};

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// The host clients ask for unless a test says otherwise.
pub const DEFAULT_HOST: &str = "gateway.test";

/// A body that is there at once.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// What can be asked: a request, or a builder that shall have no body.
pub trait Ask {
    fn request(self) -> Request<Body>;
}

impl Ask for Request<Body> {
    fn request(self) -> Request<Body> {
        self
    }
}

impl Ask for Builder {
    fn request(self) -> Request<Body> {
        self.body(Empty::new().map_err(|never| match never {}).boxed_unsync()).unwrap()
    }
}

/// One connection.
pub enum Client {
    H1(http1::SendRequest<Body>),
    H2(http2::SendRequest<Body>),
}

impl Client {
    pub async fn h1(address: SocketAddr) -> Client {
        Client::h1_over(connect(address).await).await
    }

    pub async fn unix(path: &str) -> Client {
        Client::h1_over(UnixStream::connect(path).await.unwrap()).await
    }

    pub async fn h1_over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Client {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        Client::H1(sender)
    }

    /// HTTP/2 by prior knowledge.
    pub async fn h2c(address: SocketAddr) -> Client {
        Client::h2_over(connect(address).await).await
    }

    /// Over TLS, by the protocol that is agreed on.
    pub async fn tls(address: SocketAddr, connector: &TlsConnector, name: &str) -> io::Result<Client> {
        Client::tls_over(connect(address).await, connector, name).await
    }

    pub async fn tls_over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        connector: &TlsConnector,
        name: &str,
    ) -> io::Result<Client> {
        let stream = connector.connect(name.to_owned().try_into().unwrap(), stream).await?;
        Ok(match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Client::h2_over(stream).await,
            _ => Client::h1_over(stream).await,
        })
    }

    pub async fn h2_over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Client {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Client::H2(sender)
    }

    /// The response's head; its body streams.
    pub async fn send(&mut self, ask: impl Ask) -> hyper::Result<Response<Incoming>> {
        let mut request = ask.request();
        match self {
            Client::H1(sender) => {
                request.headers_mut().entry(HOST).or_insert(DEFAULT_HOST.parse().unwrap());
                sender.ready().await?;
                sender.send_request(request).await
            }
            Client::H2(sender) => {
                *request.version_mut() = Version::HTTP_2;
                *request.uri_mut() = with_authority(&mut request);
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }

    /// The whole response.
    pub async fn ask(&mut self, ask: impl Ask) -> Answer {
        let exchange = async { Answer::collect(self.send(ask).await.unwrap()).await.unwrap() };
        soon("a response", exchange).await
    }
}

async fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// HTTP/2 has the host in the target.
fn with_authority(request: &mut Request<Body>) -> Uri {
    let host = request.headers_mut().remove(HOST);
    let host = host.as_ref().map_or(DEFAULT_HOST, |value| value.to_str().unwrap());
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    format!("http://{host}{target}").parse().unwrap()
}

/// A response with all of its body.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub version: Version,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: HeaderMap,
}

impl Answer {
    pub async fn collect(response: Response<Incoming>) -> hyper::Result<Answer> {
        let (head, body) = response.into_parts();
        let body = body.collect().await?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        Ok(Answer {
            status: head.status,
            version: head.version,
            headers: head.headers,
            body: body.to_bytes(),
            trailers,
        })
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// A header's only value; None when it is absent.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next().map(|value| value.to_str().unwrap());
        assert!(values.next().is_none(), "{name} stands more than once: {:?}", self.headers);
        value
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{} {error}: {:?}", self.status, self.body))
    }

    /// The request as the upstream saw it.
    pub fn seen(&self) -> Seen {
        assert_eq!(self.status, 200, "{:?}", self.body);
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The gateway's own error, whose status, code and request id must agree in all places.
    pub fn problem(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status.as_u16(), "{problem}");
        assert_eq!(problem["code"].as_str(), self.header("x-gatekeeper-error"), "{problem}");
        assert_eq!(problem["request_id"].as_str(), self.header("x-request-id"), "{problem}");
        for field in ["type", "title", "detail", "instance"] {
            assert!(problem[field].is_string(), "no {field}: {problem}");
        }
        problem
    }
}
