//! Accepting connections, on all listeners, in one runtime.
//!
//! Accepting pauses while there are as many connections as there may be, and for a moment when the process is out of
//! descriptors: what waits stays with the kernel. Listeners that wait at the same time may each take one beyond the cap. When the gateway stops, what the kernel has already taken in is still
//! accepted and served; then the listener is closed.

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
use socket2::SockRef;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::door::{Door, Ends};
use super::entrance::Entrance;
use super::reception::Reception;
use super::socket;
use super::transport::Socket;
use crate::observe::TurnedAway;

/// How long accepting pauses when it can't go on, and for how long it goes on when it is to end.
pub const PAUSE: Duration = Duration::from_millis(20);

/// How much the kernel holds of what is not sent yet. It would take megabytes of an answer at once, and then, from a slow
/// client, nothing for a long time: nobody could tell that client from one that reads nothing.
const MOST_UNSENT: u32 = 128 * 1024;

/// What those who serve are told, in this order. `true` says it.
#[derive(Default)]
pub struct Stages {
    /// Accept no more connections.
    pub accept_no_more: watch::Sender<bool>,
    /// Close what is idle.
    pub close_idle: watch::Sender<bool>,
    /// Administration is the successor's. Its receivers are gone when its requests are.
    pub administer_no_more: watch::Sender<bool>,
}

/// The service that accepts connections.
pub struct Listeners<A> {
    door: Arc<Door<A>>,
    listeners: Vec<(socket::Socket, Arc<ArcSwap<Entrance>>)>,
    probes: mpsc::Receiver<UnixStream>,
    accept_no_more: ShutdownWatch,
    close_idle: ShutdownWatch,
}

/// A listening socket.
pub enum Listener {
    /// On an address and port.
    Tcp(TcpListener),
    /// On a path.
    Unix(UnixListener),
}

impl<A> Listeners<A> {
    /// A service on bound sockets, with a shutdown of its own: the framework's would cut the requests in flight.
    pub fn new(
        door: Door<A>,
        sockets: Vec<socket::Socket>,
        probes: mpsc::Receiver<UnixStream>,
        stages: &Stages,
    ) -> Self {
        let (accept_no_more, close_idle) = (stages.accept_no_more.subscribe(), stages.close_idle.subscribe());
        let listeners = sockets.into_iter().zip(door.reception.entrances().iter().cloned()).collect();
        Listeners { door: Arc::new(door), listeners, probes, accept_no_more, close_idle }
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> pingora::services::Service for Listeners<A> {
    async fn start_service(&mut self, _: Option<ListenFds>, _: ShutdownWatch, _: usize) {
        let entrances: Vec<_> = self.listeners.iter().map(|(_, entrance)| entrance.clone()).collect();
        let mut accepting = JoinSet::new();
        for (socket, entrance) in self.listeners.drain(..) {
            match Listener::new(socket.fd, socket.asked.starts_with("unix:")) {
                Ok(listener) => {
                    let enter = entering(self.door.clone(), entrance);
                    accepting.spawn(accept(listener, self.door.reception.clone(), enter, self.accept_no_more.clone()));
                }
                Err(error) => log::error!("cannot accept connections on {}: {error}", socket.address),
            }
        }
        let accepting = accepting.join_all();
        let probed = probed(&mut self.probes, &self.door, &self.close_idle);
        tokio::select! {
            _ = accepting => {}
            () = probed => {}
        }
        // Who would say so may be gone; then it is over, too.
        let _ = self.close_idle.clone().wait_for(|close| *close).await;
        entrances.iter().for_each(|entrance| entrance.load().cohort.end());
        self.door.application.cleanup().await;
    }

    fn name(&self) -> &str {
        "listeners"
    }
}

/// Serves the gateway's own probes, as long as connections are accepted.
async fn probed<A: ServerApp + Send + Sync + 'static>(
    probes: &mut mpsc::Receiver<UnixStream>,
    door: &Arc<Door<A>>,
    shutdown: &ShutdownWatch,
) {
    let entrance = Arc::new(Entrance::for_probes());
    let ends = Ends { source: None, destination: None };
    while let Some(stream) = probes.recv().await {
        tokio::spawn(door.clone().serve(Socket::Unix(stream), ends, entrance.clone(), shutdown.clone()));
    }
    std::future::pending().await
}

/// How the connections of a listener enter.
fn entering<A: ServerApp + Send + Sync + 'static>(
    door: Arc<Door<A>>,
    entrance: Arc<ArcSwap<Entrance>>,
) -> impl Fn((Socket, Ends)) {
    move |(socket, ends)| {
        let entrance = entrance.load_full();
        let shutdown = entrance.cohort.watch();
        tokio::spawn(door.clone().serve(socket, ends, entrance, shutdown));
    }
}

async fn accept(
    listener: Listener,
    reception: Arc<Reception>,
    enter: impl Fn((Socket, Ends)),
    mut stop: ShutdownWatch,
) {
    tokio::select! {
        () = reception.opening() => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
    loop {
        tokio::select! {
            accepted = next(&listener, &reception) => enter(accepted),
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    // What the kernel took in before we stopped is not let down, and the runtime may not have heard of it yet. But where
    // the socket lives on in another process, there is always more.
    let last = async {
        while let Ok(accepted) = listener.accept().await {
            enter(accepted);
        }
    };
    let _ = timeout(PAUSE, last).await;
}

/// The next connection, when there is room for it.
async fn next(listener: &Listener, reception: &Reception) -> (Socket, Ends) {
    let mut told = false;
    loop {
        while !reception.caps.has_room(reception.rules().limits.connections) {
            tokio::time::sleep(PAUSE).await;
        }
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // The client went before we came.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                // What keeps us from accepting may last; it is told once.
                if !std::mem::replace(&mut told, true) {
                    reception.observers.metrics.turned_away(TurnedAway::AcceptFailed);
                    log::warn!("cannot accept connections: {error}; retrying");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

impl Listener {
    /// Listens on a bound socket.
    pub fn new(fd: OwnedFd, is_unix: bool) -> io::Result<Self> {
        // The standard library's backlog is 128: too few for a burst, or while another process takes over.
        nix::sys::socket::listen(&fd, Backlog::MAXCONN)?;
        match is_unix {
            true => UnixListener::from_std(fd.into()).map(Listener::Unix),
            false => {
                // Connections have what their listener has. Where it can't be set, slow clients are seen to go on less often.
                let _ = SockRef::from(&fd).set_tcp_notsent_lowat(MOST_UNSENT);
                TcpListener::from_std(fd.into()).map(Listener::Tcp)
            }
        }
    }

    /// The next connection.
    pub async fn accept(&self) -> io::Result<(Socket, Ends)> {
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
