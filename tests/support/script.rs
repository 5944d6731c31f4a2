//! Targets that play one script together: the nth request that reaches any of them gets the script's nth act, whichever
//! target it reaches. They speak HTTP/1.1 and h2c, and keep what they were asked.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt, future, stream};
use http::{HeaderMap, Method, Request, Response, Version, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::client::BoxError;
use super::{Body, full};

/// What a target does with a request. Its answers' bodies tell which target it was, and what it was asked as the how-manyeth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Act {
    /// Answers with this status.
    Status(u16),
    /// The same, with `Retry-After`.
    Later(u16, &'static str),
    /// The same, without having read the request's body.
    Early(u16),
    /// Answers 200 after this time.
    Slow(Duration),
    /// Takes the request, and ends the connection (or the stream) without an answer.
    Lost,
    /// Takes the request, and never answers.
    Silent,
    /// Answers with 200 and a piece of a body, then ends the connection (or the stream).
    Broken,
}

/// Targets, what they shall do, and what they were asked.
pub struct Fleet {
    pub addresses: Vec<SocketAddr>,
    stage: Arc<Mutex<Stage>>,
}

#[derive(Default)]
struct Stage {
    script: Vec<Act>,
    /// What single targets do instead.
    habits: HashMap<usize, Act>,
    taken: Vec<Taken>,
}

/// A request that reached a target.
#[derive(Clone, Debug)]
pub struct Taken {
    pub target: usize,
    pub at: Instant,
    pub method: Method,
    pub path: String,
    pub version: Version,
    pub headers: HeaderMap,
    /// Once it has come to its end.
    pub body: Option<Bytes>,
}

impl Taken {
    pub fn attempt(&self) -> Vec<&str> {
        self.headers.get_all("x-gatekeeper-attempt").iter().map(|value| value.to_str().unwrap()).collect()
    }
}

impl Fleet {
    /// So many targets, which answer 200 until there is a script.
    pub async fn of(targets: usize) -> Fleet {
        let stage: Arc<Mutex<Stage>> = Arc::default();
        let mut addresses = Vec::new();
        for target in 0..targets {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            addresses.push(listener.local_addr().unwrap());
            let stage = stage.clone();
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, target, stage.clone()));
                }
            });
        }
        Fleet { addresses, stage }
    }

    /// Begins anew with this script, whose last act is repeated.
    pub fn play(&self, script: &[Act]) {
        *self.stage.lock() = Stage { script: script.to_vec(), ..Stage::default() };
    }

    /// This target does the same with every request from now on, until the next script.
    pub fn habit(&self, target: usize, act: Act) {
        self.stage.lock().habits.insert(target, act);
    }

    /// What reached them since the script began.
    pub fn taken(&self) -> Vec<Taken> {
        self.stage.lock().taken.clone()
    }

    /// The targets that were asked, in that order.
    pub fn order(&self) -> Vec<usize> {
        self.stage.lock().taken.iter().map(|taken| taken.target).collect()
    }

    /// As they are written in a configuration.
    pub fn urls(&self) -> String {
        let urls: Vec<_> = self.addresses.iter().map(|address| format!("\"http://{address}\"")).collect();
        urls.join(", ")
    }
}

async fn serve(stream: TcpStream, target: usize, stage: Arc<Mutex<Stage>>) {
    stream.set_nodelay(true).unwrap();
    let service = service_fn(move |request| act(request, target, stage.clone()));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(1000);
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

async fn act(request: Request<Incoming>, target: usize, stage: Arc<Mutex<Stage>>) -> Result<Response<Body>, BoxError> {
    let (head, body) = request.into_parts();
    let taken = Taken {
        target,
        at: Instant::now(),
        method: head.method,
        path: head.uri.path().to_owned(),
        version: head.version,
        headers: head.headers,
        body: None,
    };
    let (act, nth) = {
        let mut stage = stage.lock();
        stage.taken.push(taken);
        let nth = stage.taken.len();
        let act = stage.habits.get(&target).or(stage.script.get(nth - 1)).or(stage.script.last());
        (act.copied().unwrap_or(Act::Status(200)), nth)
    };
    let response = |status: u16| {
        let body = full(format!("target {target}, request {nth}"));
        Response::builder().status(status).body(body).unwrap()
    };
    if let Act::Early(status) = act {
        return Ok(response(status));
    }
    let body = body.collect().await?.to_bytes();
    if let Some(taken) = stage.lock().taken.get_mut(nth - 1) {
        taken.body = Some(body);
    }
    match act {
        Act::Status(status) | Act::Early(status) => Ok(response(status)),
        Act::Later(status, when) => {
            let mut response = response(status);
            response.headers_mut().insert(header::RETRY_AFTER, when.parse().unwrap());
            Ok(response)
        }
        Act::Slow(time) => {
            tokio::time::sleep(time).await;
            Ok(response(200))
        }
        Act::Lost => Err("no answer".into()),
        Act::Silent => future::pending().await,
        Act::Broken => Ok(Response::new(broken())),
    }
}

fn broken() -> Body {
    let frames = stream::iter([0, 1]).then(|step| async move {
        if step == 0 {
            return Ok(Frame::data(Bytes::from("a piece")));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        Err::<_, BoxError>("the target dies".into())
    });
    StreamBody::new(frames).boxed_unsync()
}

/// An address that refuses connections as long as this lives.
pub struct Refusing {
    pub address: SocketAddr,
    _held: TcpSocket,
}

impl Refusing {
    pub fn new() -> Refusing {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        Refusing { address: socket.local_addr().unwrap(), _held: socket }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}
