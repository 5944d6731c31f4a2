//! Sinks that are none of the data plane's own: they are told of every request, nobody waits for them, and they hear nothing
//! that is not known. The data plane runs in this process, as whoever builds a gateway runs it.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use gatekeeper_core::event::Event;
use gatekeeper_core::sink::{DropReason, Drops, Queue, Sink};
use gatekeeper_plane::Plane;
use gatekeeper_plane::listen::accept::Stages;
use gatekeeper_plane::listen::socket;
use gatekeeper_plane::observe::{AccessLog, Metrics};
use gatekeeper_plane::plan::candidate::Candidate;
use gatekeeper_plane::plan::live::Live;
use gatekeeper_plane::proxy::ctx::Ctx;
use gatekeeper_plane::server::{Server, Size};
use parking_lot::Mutex;
use pingora::ErrorType;
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};

use crate::support::gateway::everything_to;
use crate::support::{Client, Origin, Raw, RawOrigin, Request, eventually};

/// A data plane that serves until it is dropped.
struct Served {
    plane: Arc<Plane>,
    address: SocketAddr,
    end: Option<oneshot::Sender<()>>,
    server: Option<JoinHandle<()>>,
    _folder: TempDir,
}

impl Served {
    async fn start(routes: &str, sinks: Vec<Arc<dyn Sink>>) -> Served {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gatekeeper.yaml");
        let head = "version: 1\nlisten: [{ address: \"127.0.0.1:0\" }]\naccess_log: { to: \"off\" }\n";
        std::fs::write(&file, format!("{head}{routes}")).unwrap();
        let plane = Arc::new(tokio::task::spawn_blocking(move || plane(&file, sinks)).await.unwrap());
        plane.open();
        let socket = socket::bind("127.0.0.1:0").unwrap();
        let address = socket.address.parse().unwrap();
        let (end, ended) = oneshot::channel::<()>();
        let serving = plane.clone();
        let server = std::thread::spawn(move || {
            let ((_probe, probes), stages) = (mpsc::channel(1), Stages::default());
            let size = Size { threads: Some(1), pool: 4 };
            let server = Server::new(&serving, vec![socket], size, &stages, probes);
            server.run(async {
                let _ = ended.await;
            });
        });
        Served { plane, address, end: Some(end), server: Some(server), _folder: folder }
    }

    /// Ends it at once, whatever is under way.
    fn end(&mut self) {
        drop(self.end.take());
        self.server.take().map(JoinHandle::join);
    }

    fn dropped(&self, sink: &str, reason: DropReason) -> u64 {
        let metrics = self.plane.observers.metrics.render(self.plane.observers.dropped_records().into()).unwrap();
        let series = format!("gatekeeper_records_dropped_total{{sink=\"{sink}\",reason=\"{}\"}} ", reason.name());
        let line = metrics.lines().find_map(|line| line.strip_prefix(&series));
        line.unwrap_or_else(|| panic!("{metrics}")).parse().unwrap()
    }
}

/// Blocks: names are looked up.
fn plane(file: &Path, sinks: Vec<Arc<dyn Sink>>) -> Plane {
    let metrics = Arc::new(Metrics::new("test").unwrap());
    let (live, config, _) = Live::start(Candidate::read(file).unwrap(), metrics.clone()).unwrap();
    let log = AccessLog::start(&config.access_log).unwrap();
    Plane::new(live, metrics, log, sinks)
}

impl Drop for Served {
    fn drop(&mut self) {
        self.end();
    }
}

/// A sink whose writer is stuck: what its queue has no room for is dropped.
struct Stuck(Queue<()>);

impl Sink for Stuck {
    fn take(&self, _: &Event<'_>) {
        self.0.offer(|| ());
    }

    fn drops(&self) -> Option<&Drops> {
        Some(self.0.drops())
    }
}

/// A sink that is broken.
struct Broken(Drops);

impl Sink for Broken {
    fn take(&self, _: &Event<'_>) {
        panic!("it is broken");
    }

    fn drops(&self) -> Option<&Drops> {
        Some(&self.0)
    }
}

/// What is known of a request, as text.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    request: Option<String>,
    host: Option<String>,
    status: Option<u16>,
    bytes: (Option<u64>, Option<u64>),
    has_headers: bool,
    has_id: bool,
    error_code: Option<&'static str>,
}

#[derive(Default)]
struct Seer(Mutex<Vec<Seen>>);

impl Seer {
    async fn only(&self) -> Seen {
        eventually("the sink is told", async || self.0.lock().first().cloned()).await
    }
}

impl Sink for Seer {
    fn take(&self, event: &Event<'_>) {
        let line = event.method.zip(event.path).zip(event.facts.version);
        self.0.lock().push(Seen {
            request: line.map(|((method, path), version)| format!("{method} {path} {version:?}")),
            host: event.host.map(String::from),
            status: event.facts.status.map(|status| status.as_u16()),
            bytes: (event.facts.bytes_in, event.facts.bytes_out),
            has_headers: event.headers.is_some(),
            has_id: event.request_id.is_some(),
            error_code: event.facts.error_code,
        });
    }
}

const UNKNOWN: Seen = Seen {
    request: None,
    host: None,
    status: None,
    bytes: (None, None),
    has_headers: false,
    has_id: false,
    error_code: None,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_sink_and_a_broken_one_keep_nobody_waiting_and_are_counted() {
    let origin = Origin::start().await;
    let (stuck, broken) = (Arc::new(Stuck(Queue::new("stuck", 4))), Arc::new(Broken(Drops::of("broken"))));
    let seer = Arc::new(Seer::default());
    let served = Served::start(&everything_to(origin.url()), vec![stuck, broken, seer.clone()]).await;
    let mut client = Client::h1(served.address).await;
    for _ in 0..50 {
        assert_eq!(client.ask(Request::get("/x")).await.status, 200);
    }
    eventually("all are told", async || (seer.0.lock().len() == 50).then_some(())).await;
    assert_eq!(served.dropped("stuck", DropReason::QueueFull), 46);
    assert_eq!(served.dropped("stuck", DropReason::Panicked), 0);
    assert_eq!(served.dropped("broken", DropReason::Panicked), 50);
    assert_eq!(served.dropped("access_log", DropReason::QueueFull), 0, "it is off");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_request_that_was_served_all_is_known() {
    let origin = Origin::start().await;
    let seer = Arc::new(Seer::default());
    let served = Served::start(&everything_to(origin.url()), vec![seer.clone()]).await;
    Client::h1(served.address).await.ask(Request::get("/text/5").header("host", "a.test")).await;
    let known = Seen {
        request: Some("GET /text/5 HTTP/1.1".into()),
        host: Some("a.test".into()),
        status: Some(200),
        bytes: (Some(0), Some(5)),
        has_headers: true,
        has_id: true,
        error_code: None,
    };
    assert_eq!(seer.only().await, known);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_head_that_was_refused_nothing_is_invented() {
    let seer = Arc::new(Seer::default());
    let served = Served::start(&everything_to("http://127.0.0.1:1"), vec![seer.clone()]).await;
    let mut client = Raw::connect(served.address).await;
    assert_eq!(client.send("GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n").await.response().await.status(), 400);
    let seen = seer.only().await;
    assert!(seen.error_code.is_some());
    assert_eq!(seen, Seen { status: Some(400), has_id: true, error_code: seen.error_code, ..UNKNOWN });
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_request_whose_task_was_dropped_only_what_was_known_is_told() {
    let silent = RawOrigin::playing(|mut peer| async move {
        peer.request().await;
        std::future::pending::<()>().await;
    })
    .await;
    let seer = Arc::new(Seer::default());
    let mut served = Served::start(&everything_to(&silent.url()), vec![seer.clone()]).await;
    let mut client = Raw::connect(served.address).await;
    client.send("POST /lost HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc").await;
    eventually("the service is asked", async || (!silent.requests().is_empty()).then_some(())).await;
    tokio::task::block_in_place(|| served.end());
    let request = Some("POST /lost HTTP/1.1".into());
    assert_eq!(seer.only().await, Seen { request, has_id: true, error_code: Some("lost"), ..UNKNOWN });
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_request_whose_task_panicked_before_its_head_was_looked_at_nothing_is_invented() {
    let (seer, broken) = (Arc::new(Seer::default()), Arc::new(Broken(Drops::of("broken"))));
    let served = Served::start(&everything_to("http://127.0.0.1:1"), vec![broken.clone(), seer.clone()]).await;
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _ctx = Ctx::new(served.plane.clone());
        panic!("in the midst of it");
    }));
    assert!(panicked.is_err());
    assert_eq!(seer.only().await, Seen { error_code: Some("lost"), ..UNKNOWN });
    assert_eq!(broken.0.count(DropReason::Panicked), 1, "even then a broken sink ends nothing but its record");
    assert_eq!(served.plane.observers.metrics.requests_in_flight(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_state_is_lost_is_an_error_that_shows() {
    let served = Served::start(&everything_to("http://127.0.0.1:1"), Vec::new()).await;
    let mut ctx = Ctx::new(served.plane.clone());
    let Err(error) = ctx.forwarded() else { panic!("nobody sent it on") };
    assert_eq!(*error.etype(), ErrorType::HTTPStatus(500));
    let failure = ctx.course.failure.as_ref().unwrap();
    assert_eq!((failure.refusal.kind.code, failure.cause.is_some()), ("internal_error", true));
}
