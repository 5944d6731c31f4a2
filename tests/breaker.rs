//! What opens a service's breaker and what does not, and who may find out whether the service is back.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::support::{Act, Body, Fleet, Gateway, Origin, Request, eventually, full};

async fn metric(gateway: &Gateway, name: &str) -> f64 {
    gateway.metric(&format!("gatekeeper_{name}{{service=\"app\"}}")).await
}

/// A target that takes requests and answers none, until it dies with all of them.
struct Mortal {
    url: String,
    taken: Arc<AtomicUsize>,
    life: JoinHandle<()>,
}

impl Mortal {
    async fn born() -> Mortal {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let taken = Arc::new(AtomicUsize::new(0));
        let count = taken.clone();
        let life = tokio::spawn(async move {
            // They end with this task.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(take(stream, count.clone()));
            }
        });
        Mortal { url, taken, life }
    }

    async fn has_taken(&self, requests: usize) {
        let taken = async || (self.taken.load(Ordering::SeqCst) >= requests).then_some(());
        eventually("it has the requests", taken).await;
    }
}

/// Takes the requests of a connection, and answers none.
async fn take(stream: TcpStream, count: Arc<AtomicUsize>) {
    let service = service_fn(move |_: Request<Incoming>| {
        count.fetch_add(1, Ordering::SeqCst);
        future::pending::<Result<http::Response<Body>, Infallible>>()
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(1000);
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

fn config(targets: &str, settings: &str, protocol: &str) -> String {
    format!(
        "services:\n  app: {{ targets: [{targets}], protocol: {protocol}, {settings} }}\n\
         routes:\n  - {{ name: app, path_pattern: /*, target_service: app }}\n"
    )
}

async fn post(gateway: &Gateway) -> u16 {
    gateway.ask(Request::post("/").body(full("x")).unwrap()).await.status.as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_dies_while_others_answer_opens_nothing() {
    for protocol in ["http1", "h2"] {
        let (fleet, mortal) = (Fleet::of(2).await, Mortal::born().await);
        let targets = format!("\"{}\", {}", mortal.url, fleet.urls());
        let gateway = Gateway::start(&config(&targets, "", protocol)).await;
        let posts = future::join_all((0..18).map(|_| post(&gateway)));
        let death = async {
            mortal.has_taken(6).await;
            mortal.life.abort();
        };
        let (statuses, ()) = tokio::join!(posts, death);
        let lost = statuses.iter().filter(|status| **status == 502).count();
        assert_eq!((lost, statuses.iter().filter(|status| **status == 200).count()), (6, 12), "{protocol}");
        assert_eq!(metric(&gateway, "breaker_state").await, 0.0, "{protocol}");
        for _ in 0..12 {
            assert_eq!(post(&gateway).await, 200, "{protocol}");
        }
        assert_eq!(metric(&gateway, "ejections_total").await, 1.0, "{protocol}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_death_is_one_failure() {
    for protocol in ["http1", "h2"] {
        let mortal = Mortal::born().await;
        let targets = format!("\"{}\"", mortal.url);
        let gateway = Gateway::start(&config(&targets, "circuit_breaker: { failure_threshold: 4 }", protocol)).await;
        let posts = future::join_all((0..8).map(|_| post(&gateway)));
        let death = async {
            mortal.has_taken(8).await;
            mortal.life.abort();
        };
        let (statuses, ()) = tokio::join!(posts, death);
        assert_eq!(statuses, [502; 8], "{protocol}");
        assert_eq!(metric(&gateway, "breaker_state").await, 0.0, "{protocol}");
        // Nobody is there, which each request finds out anew.
        for failures in 1..4 {
            assert_eq!(metric(&gateway, "breaker_state").await, 0.0, "{protocol}: {failures}");
            assert_eq!(post(&gateway).await, 502, "{protocol}");
        }
        let open = async || (metric(&gateway, "breaker_state").await == 2.0).then_some(());
        eventually("the last request has settled", open).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_application_answers_with_500_is_no_failure_unless_that_is_wanted() {
    for (settings, opens) in [("", false), ("circuit_breaker: { failure_statuses: [500, 502, 503, 504] }", true)] {
        let fleet = Fleet::of(2).await;
        fleet.play(&[Act::Status(500)]);
        let gateway = Gateway::start(&config(&fleet.urls(), settings, "auto")).await;
        let mut client = gateway.h1().await;
        for _ in 0..12 {
            client.ask(Request::get("/")).await;
        }
        let state = metric(&gateway, "breaker_state").await;
        let ejections = metric(&gateway, "ejections_total").await;
        assert_eq!((state, ejections), if opens { (2.0, 0.0) } else { (0.0, 0.0) }, "{settings}");
        assert_eq!(fleet.order().len(), if opens { 5 } else { 12 }, "{settings}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_that_did_well_are_the_first_to_probe() {
    let origin = Origin::start().await;
    let gateway = Gateway::start(&format!(
        "services:\n  app: {{ targets: [\"{}\"], circuit_breaker: {{ failure_threshold: 3, timeout: 1s, success_threshold: 1 }} }}\n\
         routes:\n  - {{ name: well, path_pattern: /well, target_service: app, rewrite: /who, retry_count: 0 }}\n\
         \x20 - {{ name: broken, path_pattern: /broken, target_service: app, rewrite: /status/503, retry_count: 0 }}\n",
        origin.url()
    ))
    .await;
    let half_open = async || {
        let state = async || (metric(&gateway, "breaker_state").await == 1.0).then_some(());
        eventually("half-open", state).await;
    };
    let broken = async || gateway.get("/broken").await.header("x-gatekeeper-error").map(str::to_owned);
    assert_eq!(gateway.get("/well").await.status, 200);
    for _ in 0..3 {
        assert_eq!(broken().await, None);
    }
    half_open().await;
    for _ in 0..3 {
        assert_eq!(broken().await.as_deref(), Some("circuit_open"));
    }
    assert_eq!(gateway.get("/well").await.status, 200);
    assert_eq!(metric(&gateway, "breaker_state").await, 0.0);
    // Where those requests do not come, others may find out after a while.
    for _ in 0..3 {
        assert_eq!(broken().await, None);
    }
    half_open().await;
    let since = std::time::Instant::now();
    eventually("another route probes", async || broken().await.is_none().then_some(())).await;
    let waited = since.elapsed();
    assert!((Duration::from_millis(700)..Duration::from_secs(3)).contains(&waited), "{waited:?}");
    assert_eq!(metric(&gateway, "breaker_state").await, 2.0);
}
