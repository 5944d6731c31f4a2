//! The framework's server: what listens, what goes on behind requests, and how all of it ends. Nothing outside of this
//! crate knows the framework.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora::apps::HttpServerOptions;
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, ShutdownSignal, ShutdownSignalWatch, ShutdownWatch};
use pingora::services::background::{BackgroundService, background_service};
use pingora_proxy::http_proxy;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use crate::keep::counts::Sweeper;
use crate::keep::keys::KeyKeeper;
use crate::keep::services::ServiceKeeper;
use crate::listen::accept::{Listeners, Stages};
use crate::listen::deadline::Guarded;
use crate::listen::door::Door;
use crate::listen::socket::Socket;
use crate::listen::trimmer::Trimmer;
use crate::observe::Metrics;
use crate::plane::Plane;
use crate::proxy::{Proxy, attempt};

/// What the runtimes have to drop the tasks of requests that were cut off.
const LAST_TASKS: Duration = Duration::from_millis(500);

/// What goes on until the server ends.
type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A server of a plane's requests.
pub struct Server {
    framework: pingora::server::Server,
    plane: Arc<Plane>,
}

/// How much a server may use; it does not change while it runs.
pub struct Size {
    /// Threads that serve requests; as many as there are cores if absent.
    pub threads: Option<usize>,
    /// Idle connections to services that are kept.
    pub pool: usize,
}

impl Server {
    /// A server on bound sockets. Its own probes come by `probes`.
    pub fn new(
        plane: &Arc<Plane>,
        sockets: Vec<Socket>,
        size: Size,
        stages: &Stages,
        probes: mpsc::Receiver<UnixStream>,
    ) -> Server {
        let framework = pingora::server::Server::new_with_opt_and_conf(None, conf(size));
        let mut proxy = http_proxy(&framework.configuration, Proxy::new(plane.clone()));
        // Whether HTTP/2 may begin without TLS is each listener's own choice, which its tap makes.
        let mut options = HttpServerOptions::default();
        options.h2c = true;
        // CONNECT is ours to refuse, like everything else that no request may be; the framework would do so unseen.
        options.allow_connect_method_proxying = true;
        proxy.server_options = Some(options);
        proxy.h2_options = Some(plane.live.plan().edge.http2.options());
        sockets.iter().for_each(|socket| log::info!("listening on {}", socket.address));
        let door = Door { reception: plane.reception.clone(), application: Arc::new(Guarded(Arc::new(proxy))) };
        let mut server = Server { framework, plane: plane.clone() };
        server.framework.add_service(Listeners::new(door, sockets, probes, stages));
        let live = || plane.live.clone();
        server.background("upstreams", ServiceKeeper::new(live()).keep());
        server.background("keys", KeyKeeper::new(live()).keep());
        server.background("limits", Sweeper::new(live()).keep());
        server.background(
            "answers",
            Trimmer::new(plane.reception.ledger.clone(), plane.observers.metrics.clone()).keep(),
        );
        server
    }

    /// Does this on a thread of its own until the server ends.
    pub fn background(&mut self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        self.framework.add_service(background_service(name, Background(Mutex::new(Some(Box::pin(work))))));
    }

    /// Runs until this is over.
    pub fn run(self, end: impl Future<Output = ()> + Send + 'static) {
        let end = End(tokio::sync::Mutex::new(Box::pin(end)));
        self.framework.run(RunArgs { shutdown_signal: Box::new(end) });
        await_settled(&self.plane.observers.metrics);
        self.plane.observers.log.finish();
    }
}

struct Background(Mutex<Option<Work>>);

#[async_trait]
impl BackgroundService for Background {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let Some(work) = self.0.lock().take() else { return };
        tokio::select! {
            () = work => {}
            _ = shutdown.changed() => {}
        }
    }
}

struct End(tokio::sync::Mutex<Work>);

#[async_trait]
impl ShutdownSignalWatch for End {
    async fn recv(&self) -> ShutdownSignal {
        self.0.lock().await.as_mut().await;
        // What is to end gently has ended by then.
        ShutdownSignal::FastShutdown
    }
}

/// Waits for requests that were cut off: they settle when their tasks are dropped, which the runtimes do after we are told
/// that they have ended.
fn await_settled(metrics: &Metrics) {
    let began = Instant::now();
    while metrics.requests_in_flight() > 0 && began.elapsed() < LAST_TASKS {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn conf(size: Size) -> ServerConf {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = size.threads.unwrap_or_else(cores);
    ServerConf {
        threads,
        // One thread has nobody to share its work with.
        work_stealing: threads > 1,
        max_retries: attempt::MAX_ATTEMPTS,
        upstream_keepalive_pool_size: size.pool,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    }
}
