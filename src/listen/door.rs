//! The door of a listener: what happens to a connection before its requests walk.

use std::os::fd::IntoRawFd;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora::apps::ServerApp;
use pingora::listeners::ListenerConfig;
use pingora::protocols::Stream;
use pingora::protocols::l4::stream::L4BufferSettings;
use pingora::server::{Fds, ListenFds, ShutdownWatch};
use pingora::services::listening::Service;
use pingora_proxy::HttpProxy;

use super::socket::Socket;
use super::tap::Tap;
use crate::proxy::Proxy;
use crate::record::metrics::Metrics;

/// A listening service with a shutdown of its own: the framework's would cut the requests in flight.
pub struct Listening {
    service: Service<Door>,
    fds: ListenFds,
    shutdown: ShutdownWatch,
}

impl Listening {
    /// A service on a bound socket.
    pub fn new(
        socket: Socket,
        h2c: bool,
        proxy: &Arc<HttpProxy<Proxy>>,
        metrics: &Arc<Metrics>,
        shutdown: ShutdownWatch,
    ) -> Self {
        let door = Door { proxy: proxy.clone(), h2c, metrics: metrics.clone() };
        let mut service = Service::new(format!("listener {}", socket.address), door);
        let (bind, config) = match socket.asked.strip_prefix("unix:") {
            Some(path) => (path.to_owned(), ListenerConfig::uds(path)),
            None => (socket.address.clone(), ListenerConfig::tcp(&socket.address)),
        };
        // Without a read buffer of its own a connection costs a third of the memory, at the same speed.
        service.add_listener(config.l4_buffer(L4BufferSettings::new(0, 1460)));
        let mut fds = Fds::new();
        fds.add(bind, socket.fd.into_raw_fd());
        Listening { service, fds: Arc::new(Mutex::new(fds)), shutdown }
    }
}

#[async_trait]
impl pingora::services::Service for Listening {
    async fn start_service(&mut self, _fds: Option<ListenFds>, _shutdown: ShutdownWatch, listeners_per_fd: usize) {
        self.service.start_service(Some(self.fds.clone()), self.shutdown.clone(), listeners_per_fd).await;
    }

    fn name(&self) -> &str {
        self.service.name()
    }
}

/// What every connection passes. All doors lead to one proxy, and so to one pool of upstream connections.
struct Door {
    proxy: Arc<HttpProxy<Proxy>>,
    h2c: bool,
    metrics: Arc<Metrics>,
}

#[async_trait]
impl ServerApp for Door {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let _counted = self.metrics.connection();
        self.proxy.process_new(Box::new(Tap::new(stream, self.h2c)), shutdown).await
    }

    async fn cleanup(&self) {
        self.proxy.cleanup().await;
    }
}
