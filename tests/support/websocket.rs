//! Websockets: the upstream's end, which echoes, and a client.

use std::net::SocketAddr;

use futures::{SinkExt, StreamExt};
use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::{client, derive_accept_key};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::{Body, full, soon};

/// Accepts the upgrade and echoes every message; the text `close N` closes with that code.
pub fn answer(mut request: Request<Incoming>) -> Response<Body> {
    let Some(key) = request.headers().get(header::SEC_WEBSOCKET_KEY) else {
        return Response::builder().status(StatusCode::BAD_REQUEST).body(full("not a websocket")).unwrap();
    };
    let accepted = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, derive_accept_key(key.as_bytes()));
    tokio::spawn(async move {
        let upgraded = hyper::upgrade::on(&mut request).await.unwrap();
        echo(WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await).await;
    });
    accepted.body(full("")).unwrap()
}

async fn echo<S: AsyncRead + AsyncWrite + Unpin>(mut socket: WebSocketStream<S>) {
    while let Some(Ok(message)) = socket.next().await {
        let code = message.to_text().ok().and_then(|text| text.strip_prefix("close ")?.parse::<u16>().ok());
        let done = match code {
            Some(code) => socket.close(Some(CloseFrame { code: code.into(), reason: "as asked".into() })).await,
            None if message.is_text() || message.is_binary() => socket.send(message).await,
            None => socket.flush().await,
        };
        if done.is_err() {
            return;
        }
    }
}

/// A client's end.
pub struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    /// Opens a websocket; the error when the upgrade is refused holds the response.
    pub async fn open(address: SocketAddr, path: &str) -> Result<Socket, Error> {
        let request = Request::get(format!("ws://{address}{path}"))
            .header("host", address.to_string())
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", client::generate_key());
        let stream = TcpStream::connect(address).await.unwrap();
        let opening = tokio_tungstenite::client_async(request.body(()).unwrap(), stream);
        soon("a websocket", opening).await.map(|(socket, _)| Socket(socket))
    }

    pub async fn send(&mut self, message: Message) {
        soon("sending a message", self.0.send(message)).await.unwrap();
    }

    /// The next message; None when the connection has ended, cleanly or not.
    pub async fn next(&mut self) -> Option<Message> {
        soon("a message", self.0.next()).await?.ok()
    }

    pub async fn close(&mut self, code: u16) {
        let frame = CloseFrame { code: code.into(), reason: "done".into() };
        soon("closing", self.0.close(Some(frame))).await.unwrap();
    }
}
