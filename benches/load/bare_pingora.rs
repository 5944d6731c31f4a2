//! A bare Pingora proxy: what the framework itself costs, and so what gatekeeper is measured against.
//!
//! `bare-pingora LISTEN UPSTREAM [timeouts | alone | h2c | tls CERTIFICATE KEY]`, both as `address:port`. It has gatekeeper's build
//! profile, listener buffers, attempts, upstream pool (size, idle timeout), and one thread; its allocator is mimalloc as its crate
//! gives it (gatekeeper spares itself a detour through it), its runtime the framework's usual one (with `alone` the one that
//! gatekeeper takes where it has one thread). It does what a Pingora proxy must do and nothing else.
//!
//! Gatekeeper does on top of this: an accept loop of its own, the inspection of every head, deadlines per attempt (Pingora
//! arms no timer for a peer without timeouts; with `timeouts` it has gatekeeper's, as a proxy in use would), the route, header
//! hygiene in both directions, a request id, and metrics.

#![allow(clippy::expect_used, reason = "a proxy for measurements has no one to report a fault to")]

use std::time::Duration;

use async_trait::async_trait;
use pingora::Result;
use pingora::apps::HttpServerOptions;
use pingora::listeners::ListenerConfig;
use pingora::listeners::tls::TlsSettings;
use pingora::protocols::l4::stream::L4BufferSettings;
use pingora::server::Server;
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Sends every request to one place.
struct Bare {
    upstream: HttpPeer,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(self.upstream.clone()))
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (listen, upstream) = arguments.next().zip(arguments.next()).expect("usage: bare-pingora LISTEN UPSTREAM");
    let mut upstream = HttpPeer::new(upstream, false, String::new());
    upstream.options.idle_timeout = Some(Duration::from_secs(4));
    let option = arguments.next().unwrap_or_default();
    if option == "timeouts" {
        upstream.options.total_connection_timeout = Some(Duration::from_secs(5));
        upstream.options.read_timeout = Some(Duration::from_secs(60));
    }
    let conf = ServerConf {
        threads: 1,
        max_retries: 3,
        upstream_keepalive_pool_size: 1024,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        work_stealing: option != "alone",
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    let mut service = http_proxy_service(&server.configuration, Bare { upstream });
    if option == "h2c" {
        let mut options = HttpServerOptions::default();
        options.h2c = true;
        service.app_logic_mut().expect("an app").server_options = Some(options);
    }
    let mut listener = ListenerConfig::tcp(&listen).l4_buffer(L4BufferSettings::new(0, 1460));
    if option == "tls" {
        let (certificate, key) = arguments.next().zip(arguments.next()).expect("tls CERTIFICATE KEY");
        let mut tls = TlsSettings::intermediate(&certificate, &key).expect("a certificate and its key");
        tls.enable_h2();
        listener = listener.tls(tls);
    }
    service.add_listener(listener);
    server.add_service(service);
    server.run_forever();
}
