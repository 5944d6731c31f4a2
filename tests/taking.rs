//! Clients that take their answers slowly: as long as they take something they are not cut off.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::future;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{Gateway, Origin, Request, soon};

const LENGTH: usize = 6_000_000;
/// Bytes a second.
const SLOW: f64 = 65_000.0;
/// For so long; then it hurries.
const SLOWLY: Duration = Duration::from_secs(9);

/// A connection on which the kernel holds little for us.
async fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(32 * 1024).unwrap();
    socket.connect(address).await.unwrap()
}

/// Waits as long as so many bytes take.
async fn dawdle(bytes: usize, since: Instant) {
    if since.elapsed() < SLOWLY {
        tokio::time::sleep(Duration::from_secs_f64(bytes as f64 / SLOW)).await;
    }
}

/// How many bytes of an answer's body come over HTTP/1.
async fn over_http1(address: SocketAddr, path: &str) -> usize {
    let mut stream = connect(address).await;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let (since, mut piece, mut all) = (Instant::now(), vec![0; 16 * 1024], Vec::new());
    while let Ok(read) = stream.read(&mut piece).await {
        if read == 0 {
            break;
        }
        all.extend_from_slice(&piece[..read]);
        dawdle(read, since).await;
    }
    let head = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    all.len() - head - 4
}

/// The same over HTTP/2.
async fn over_http2(address: SocketAddr, path: &str) -> usize {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(65_535).initial_connection_window_size(65_535);
    let (mut sender, connection) = builder.handshake(TokioIo::new(connect(address).await)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get(format!("http://a{path}")).body(Empty::<bytes::Bytes>::new()).unwrap();
    let mut body = sender.send_request(request).await.unwrap().into_body();
    let (since, mut all) = (Instant::now(), 0);
    while let Some(Ok(frame)) = body.frame().await {
        let read = frame.into_data().map_or(0, |data| data.len());
        all += read;
        dawdle(read, since).await;
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_slowly_is_taken_whole() {
    let origin = Origin::start().await;
    let services = ["http1", "h2"];
    let mut config = (String::from("services:\n"), String::from("routes:\n"));
    for protocol in services {
        config.0 += &format!("  {protocol}: {{ targets: [\"{}\"], protocol: {protocol} }}\n", origin.url());
        config.1 += &format!(
            "  - {{ name: {protocol}, path_pattern: /{protocol}/*, target_service: {protocol}, \
             rewrite: /bytes/{LENGTH}, timeouts: {{ idle: 2500ms, first_byte: 20s }} }}\n"
        );
    }
    let gateway = Gateway::start(&(config.0 + &config.1)).await;
    let address = gateway.address;
    let taken = future::join_all(services.map(|service| async move {
        let (one, two) = (format!("/{service}/1"), format!("/{service}/2"));
        tokio::join!(over_http1(address, &one), over_http2(address, &two))
    }));
    let taken = soon("all of it", taken).await;
    let logged: Vec<_> = gateway.log_lines();
    assert_eq!(taken, [(LENGTH, LENGTH); 2], "{logged:#?}");
}
