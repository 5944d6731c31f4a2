//! A real upstream (hyper): HTTP/1.1 and h2c on TCP, over TLS, or on a unix socket.
//!
//! What it does is the path's first segment; everything else is answered with the request as it was seen, in JSON.
//! A request header `answer-NAME` becomes the response's header NAME.
//!
//! | path | answer |
//! |---|---|
//! | `/bytes/N` | N bytes of the pattern (with `?chunked` without their length) |
//! | `/text/N` | N bytes of text that compresses well |
//! | `/sink` | reads the body and says whether it was the pattern; `?pause=MS` stops reading once |
//! | `/echo` | the body, streaming |
//! | `/status/N` | that status |
//! | `/trailers` | a body and the trailer `x-checksum` |
//! | `/sse/N` | N events, 300 ms apart, each saying when it was sent |
//! | `/slow/MS` | answers after that time |
//! | `/gone/N` | dies after N bytes of a response that promised more (with `?chunked` without saying how much) |
//! | `/ws` | a websocket that echoes |
//! | `/test.Numbers/*` | a gRPC service |

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;

use super::client::BoxError;
use super::{Body, full, grpc, pattern, websocket};

/// A request as the upstream saw it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Seen {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The Host, or HTTP/2's authority.
    pub host: String,
    pub version: String,
    /// In their order, with duplicates.
    pub headers: Vec<(String, String)>,
    pub body_length: usize,
    pub body_checksum: u64,
    pub connection: Connection,
}

/// What the upstream knows of the connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Connection {
    /// The upstream's own name.
    pub origin: String,
    /// The number of the connection, from 1.
    pub number: usize,
    pub server_name: Option<String>,
    pub protocol: Option<String>,
    pub client_certificate: bool,
}

impl Seen {
    /// A header's only value; None when it is absent.
    pub fn header(&self, name: &str) -> Option<&str> {
        let values = self.all(name);
        assert!(values.len() < 2, "{name} stands more than once: {:?}", self.headers);
        values.first().copied()
    }

    /// All values of a header, in their order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
    }
}

/// A running upstream; it ends with the test.
pub struct Origin {
    pub address: Option<SocketAddr>,
    url: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    name: String,
    connections: AtomicUsize,
    requests: AtomicUsize,
}

impl Origin {
    pub async fn start() -> Origin {
        Origin::named("origin").await
    }

    /// Says this name in what it reflects.
    pub async fn named(name: &str) -> Origin {
        Origin::listen(name, None).await
    }

    pub async fn tls(acceptor: TlsAcceptor) -> Origin {
        Origin::listen("tls", Some(acceptor)).await
    }

    async fn listen(name: &str, acceptor: Option<TlsAcceptor>) -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let state = State::named(name);
        tokio::spawn(accept(listener, acceptor, state.clone()));
        Origin { address: Some(address), url: format!("{scheme}://{address}"), state }
    }

    pub fn unix(path: &str) -> Origin {
        let listener = UnixListener::bind(path).unwrap();
        let state = State::named("unix");
        let serving = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, serving.connection(), serving.clone()));
            }
        });
        Origin { address: None, url: format!("unix:{path}"), state }
    }

    /// As it is written as a target.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn address(&self) -> SocketAddr {
        self.address.expect("an upstream on TCP")
    }

    /// How many requests reached it.
    pub fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }

    /// How many connections were opened to it.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }
}

impl State {
    fn named(name: &str) -> Arc<State> {
        Arc::new(State { name: name.to_owned(), ..State::default() })
    }

    fn connection(&self) -> Connection {
        let number = self.connections.fetch_add(1, Ordering::SeqCst) + 1;
        Connection { origin: self.name.clone(), number, ..Connection::default() }
    }
}

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        let mut connection = state.connection();
        match acceptor.clone() {
            None => drop(tokio::spawn(serve(stream, connection, state.clone()))),
            Some(acceptor) => {
                let state = state.clone();
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let session = stream.get_ref().1;
                    connection.server_name = session.server_name().map(str::to_owned);
                    connection.protocol =
                        session.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
                    connection.client_certificate = session.peer_certificates().is_some();
                    serve(stream, connection, state).await;
                });
            }
        }
    }
}

async fn serve<S>(stream: S, connection: Connection, state: Arc<State>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        state.requests.fetch_add(1, Ordering::SeqCst);
        let connection = connection.clone();
        async move { Ok::<_, Infallible>(answer(request, connection).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(1000);
    let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
}

async fn answer(request: Request<Incoming>, connection: Connection) -> Response<Body> {
    if request.uri().path().starts_with("/test.Numbers/") {
        return grpc::answer(request).await;
    }
    let wanted = wanted_headers(request.headers());
    let mut response = act(request, connection).await;
    response.headers_mut().extend(wanted);
    response
}

fn wanted_headers(headers: &HeaderMap) -> HeaderMap {
    let wanted = headers.iter().filter_map(|(name, value)| {
        let name = name.as_str().strip_prefix("answer-")?;
        Some((HeaderName::from_bytes(name.as_bytes()).unwrap(), value.clone()))
    });
    wanted.collect()
}

async fn act(request: Request<Incoming>, connection: Connection) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let mut segments = path.split('/').skip(1);
    let action = segments.next().unwrap_or_default();
    let number = segments.next().and_then(|segment| segment.parse::<u64>().ok()).unwrap_or_default();
    match action {
        "bytes" => sized(pattern::body(number), number, &query),
        "text" => {
            Response::new(full("all work and no play ".repeat(number as usize / 21 + 1)[..number as usize].to_owned()))
        }
        "sink" => sink(request.into_body(), &query).await,
        "echo" => Response::new(request.into_body().map_err(Into::into).boxed_unsync()),
        "status" => status(number as u16),
        "trailers" => trailers(),
        "sse" => events(number),
        "slow" => {
            tokio::time::sleep(Duration::from_millis(number)).await;
            Response::new(full("at last"))
        }
        "gone" => sized(broken(number), number + 1000, &query),
        "ws" => {
            // The framework takes an answer that is there before it has noted the request's end for the websocket's end.
            tokio::time::sleep(Duration::from_millis(10)).await;
            websocket::answer(request)
        }
        _ => reflect(request, connection).await,
    }
}

fn sized(body: Body, length: u64, query: &str) -> Response<Body> {
    let mut response = Response::new(body);
    if query != "chunked" {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

async fn sink(mut body: Incoming, query: &str) -> Response<Body> {
    let mut pause = query.strip_prefix("pause=").map(|time| Duration::from_millis(time.parse().unwrap()));
    let mut checker = pattern::Checker::new();
    while let Some(Ok(frame)) = body.frame().await {
        checker.take(frame.data_ref().map_or(&[], |data| data));
        if let Some(time) = pause.take() {
            tokio::time::sleep(time).await;
        }
    }
    let verdict = serde_json::json!({ "bytes": checker.bytes, "intact": checker.intact });
    Response::new(full(verdict.to_string()))
}

fn status(code: u16) -> Response<Body> {
    let status = StatusCode::from_u16(code).unwrap();
    let body = if matches!(code, 204 | 304) { String::new() } else { format!("status {code}") };
    Response::builder().status(status).body(full(body)).unwrap()
}

fn trailers() -> Response<Body> {
    let trailers = [("x-checksum", "42"), ("x-gatekeeper-error", "forged")];
    let field = |(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    let trailers = HeaderMap::from_iter(trailers.map(field));
    let frames = [Frame::data(Bytes::from("with trailers")), Frame::trailers(trailers)];
    let body = StreamBody::new(stream::iter(frames.map(Ok::<_, BoxError>)));
    Response::builder().header(header::TRAILER, "x-checksum").body(body.boxed_unsync()).unwrap()
}

/// Milliseconds since 1970: both ends of a test share the clock.
pub fn now_millis() -> u128 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis()
}

fn events(count: u64) -> Response<Body> {
    let events = stream::iter(0..count).then(|index| async move {
        if index > 0 {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        Ok::<_, BoxError>(Frame::data(Bytes::from(format!("data: {}\n\n", now_millis()))))
    });
    let body = StreamBody::new(events).boxed_unsync();
    Response::builder().header(header::CONTENT_TYPE, "text/event-stream").body(body).unwrap()
}

/// The first `length` bytes, then, when they are well on their way, an error.
fn broken(length: u64) -> Body {
    let frames = stream::iter([0, 1]).then(move |step| async move {
        if step == 0 {
            return Ok(Frame::data(Bytes::from(vec![b'x'; length as usize])));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        Err::<_, BoxError>("the upstream dies".into())
    });
    StreamBody::new(frames).boxed_unsync()
}

async fn reflect(request: Request<Incoming>, connection: Connection) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let host = head.headers.get(header::HOST).map(text);
    let seen = Seen {
        method: head.method.to_string(),
        target: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        host: host.or(head.uri.authority().map(ToString::to_string)).unwrap_or_default(),
        version: format!("{:?}", head.version),
        headers: head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body_length: body.len(),
        body_checksum: pattern::checksum(&body),
        connection,
    };
    let json = serde_json::to_vec(&seen).unwrap();
    Response::builder().header(header::CONTENT_TYPE, "application/json").body(full(json)).unwrap()
}
