//! Accepting connections, on all listeners, in one runtime.
//!
//! Accepting pauses while there are as many connections as there may be, and for a moment when the process is out of
//! descriptors: what waits stays with the kernel. Listeners that wait at the same time may each take one beyond the cap. When the gateway stops, what the kernel has already taken in is still
//! accepted and served; then the listener is closed.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use nix::sys::socket::Backlog;
use pingora::apps::ServerApp;
use pingora::server::{ListenFds, ShutdownWatch};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::door::{Door, Ends};
use super::entrance::Entrance;
use super::socket;
use super::transport::Socket;

/// How long accepting pauses when it can't go on.
const PAUSE: Duration = Duration::from_millis(20);

/// The service that accepts connections.
pub struct Listeners {
    door: Arc<Door>,
    listeners: Vec<(socket::Socket, Arc<ArcSwap<Entrance>>)>,
    probes: mpsc::Receiver<UnixStream>,
    shutdown: ShutdownWatch,
}

/// A listening socket.
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listeners {
    /// A service on bound sockets, with a shutdown of its own: the framework's would cut the requests in flight.
    pub fn new(
        door: Door,
        listeners: Vec<(socket::Socket, Arc<ArcSwap<Entrance>>)>,
        probes: mpsc::Receiver<UnixStream>,
        shutdown: ShutdownWatch,
    ) -> Self {
        Listeners { door: Arc::new(door), listeners, probes, shutdown }
    }
}

#[async_trait]
impl pingora::services::Service for Listeners {
    async fn start_service(&mut self, _: Option<ListenFds>, _: ShutdownWatch, _: usize) {
        let mut accepting = JoinSet::new();
        for (socket, entrance) in self.listeners.drain(..) {
            match Listener::new(socket.fd, socket.asked.starts_with("unix:")) {
                Ok(listener) => {
                    accepting.spawn(accept(listener, self.door.clone(), entrance, self.shutdown.clone()));
                }
                Err(error) => log::error!("can't accept on {}: {error}", socket.address),
            }
        }
        let accepting = accepting.join_all();
        let probed = probed(&mut self.probes, &self.door, &self.shutdown);
        tokio::select! {
            _ = accepting => {}
            () = probed => {}
        }
        self.door.proxy.cleanup().await;
    }

    fn name(&self) -> &str {
        "listeners"
    }
}

/// Serves the gateway's own probes, as long as connections are accepted.
async fn probed(probes: &mut mpsc::Receiver<UnixStream>, door: &Arc<Door>, shutdown: &ShutdownWatch) {
    let entrance = Arc::new(Entrance::for_probes());
    let ends = Ends { source: None, destination: None };
    while let Some(stream) = probes.recv().await {
        tokio::spawn(door.clone().serve(Socket::Unix(stream), ends, entrance.clone(), shutdown.clone()));
    }
    std::future::pending().await
}

async fn accept(listener: Listener, door: Arc<Door>, entrance: Arc<ArcSwap<Entrance>>, shutdown: ShutdownWatch) {
    let enter = |(socket, ends)| {
        tokio::spawn(door.clone().serve(socket, ends, entrance.load_full(), shutdown.clone()));
    };
    let mut stopping = shutdown.clone();
    loop {
        tokio::select! {
            accepted = next(&listener, &door) => enter(accepted),
            _ = stopping.wait_for(|stop| *stop) => break,
        }
    }
    // What the kernel took in before we stopped is not let down.
    while let Some(Ok(accepted)) = now_or_never(listener.accept()).await {
        enter(accepted);
    }
}

/// The next connection, when there is room for it.
async fn next(listener: &Listener, door: &Door) -> (Socket, Ends) {
    let mut told = false;
    loop {
        while !door.caps.has_room(door.shared.live.plan().edge.limits.connections) {
            tokio::time::sleep(PAUSE).await;
        }
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // The client went before we came.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                // What keeps us from accepting may last; it is told once.
                if !std::mem::replace(&mut told, true) {
                    door.shared.metrics.turned_away("accept_failed");
                    log::warn!("connections can't be accepted for now: {error}");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn now_or_never<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(Duration::ZERO, future).await.ok()
}

impl Listener {
    fn new(fd: OwnedFd, is_unix: bool) -> io::Result<Self> {
        // The standard library's backlog is 128: too few for a burst, or while another process takes over.
        nix::sys::socket::listen(&fd, Backlog::MAXCONN)?;
        match is_unix {
            true => UnixListener::from_std(fd.into()).map(Listener::Unix),
            false => TcpListener::from_std(fd.into()).map(Listener::Tcp),
        }
    }

    async fn accept(&self) -> io::Result<(Socket, Ends)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // A client that is gone already shows when it is read from.
                let _ = stream.set_nodelay(true);
                let destination = stream.local_addr().ok();
                Ok((Socket::Tcp(stream), Ends { source: Some(canonical(peer)), destination }))
            }
            Listener::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Socket::Unix(stream), Ends { source: None, destination: None }))
            }
        }
    }
}

/// An IPv4 client of a listener for both families is an IPv4 client.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
