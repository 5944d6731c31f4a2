//! Clients that are slow to send never speak against a service, whatever the service is reached by; a service that is slow
//! to answer does.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, future, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tempfile::TempDir;

use crate::support::client::BoxError;
use crate::support::tls::Authority;
use crate::support::{Act, Answer, Body, Client, Fleet, Gateway, Origin, Request, eventually, full, soon};

/// Targets that take requests in every way.
struct Targets {
    fleet: Fleet,
    unix: [Origin; 2],
    tls: [Origin; 2],
    _dir: TempDir,
}

impl Targets {
    async fn start() -> Targets {
        let dir = tempfile::tempdir().unwrap();
        let unix = ["one", "other"].map(|name| Origin::unix(dir.path().join(name).to_str().unwrap()));
        let acceptor = || Authority::new().issue("127.0.0.1").acceptor(&[], None);
        let tls = [Origin::tls(acceptor()).await, Origin::tls(acceptor()).await];
        Targets { fleet: Fleet::of(2).await, unix, tls, _dir: dir }
    }
}

fn urls(origins: &[Origin; 2]) -> String {
    origins.each_ref().map(|origin| format!("\"{}\"", origin.url())).join(", ")
}

/// Every way to reach a service, two targets each, and routes `/NAME/*` with these settings. A few failures are enough.
async fn gateway(targets: &Targets, route: &str) -> Gateway {
    let services = [
        ("tcp", targets.fleet.urls(), "protocol: http1", "/"),
        ("h2", targets.fleet.urls(), "protocol: h2", "/"),
        ("unix", urls(&targets.unix), "", "/sink"),
        ("tls", urls(&targets.tls), "tls: { verify: false }", "/sink"),
        // It answers before it has the request whole.
        ("early", urls(&targets.unix), "", "/echo"),
    ];
    let mut config = (String::from("services:\n"), String::from("routes:\n"));
    for (name, urls, settings, path) in services {
        config.0 += &format!(
            "  {name}: {{ targets: [{urls}], circuit_breaker: {{ failure_threshold: 3 }}, ejection: {{ failures: 2 }}, \
             {settings} }}\n"
        );
        config.1 += &format!(
            "  - {{ name: {name}, path_pattern: /{name}/*, target_service: {name}, retry_count: 0, \
             rewrite: {path}, {route} }}\n"
        );
    }
    Gateway::start(&(config.0 + &config.1)).await
}

const NAMES: [&str; 5] = ["tcp", "h2", "unix", "tls", "early"];

/// The services that were found failing, or have a target that was.
async fn blamed(gateway: &Gateway) -> Vec<String> {
    let mut blamed = Vec::new();
    for name in NAMES {
        for metric in ["breaker_state", "ejections_total"] {
            let series = format!("gatekeeper_{metric}{{service=\"{name}\"}}");
            if gateway.metric(&series).await > 0.0 {
                blamed.push(format!("{name}: {metric}"));
            }
        }
    }
    blamed
}

/// A body that begins, and after these times goes on byte by byte; whether it ever ends.
fn slow(steps: Vec<Duration>, ends: bool) -> Body {
    let first = stream::once(future::ready(Duration::ZERO)).chain(stream::iter(steps));
    let bytes = first.then(|step| async move {
        tokio::time::sleep(step).await;
        Ok::<_, BoxError>(Frame::data(Bytes::from("x")))
    });
    if ends {
        StreamBody::new(bytes).boxed_unsync()
    } else {
        StreamBody::new(bytes.chain(stream::pending())).boxed_unsync()
    }
}

/// Uploads by HTTP/1 (with and without a length) and HTTP/2 to all services at once; the status of each, if it has one.
async fn upload(gateway: &Gateway, body: impl Fn() -> Body, length: Option<usize>) -> Vec<Option<u16>> {
    let ways = NAMES.into_iter().flat_map(|name| [(name, false, false), (name, false, true), (name, true, false)]);
    let uploads = ways.map(|(name, is_h2, sized)| {
        let mut request = Request::post(format!("/{name}/"));
        if let Some(length) = length.filter(|_| sized) {
            request = request.header("content-length", length);
        }
        let request = request.body(body()).unwrap();
        async move {
            let mut client: Client = if is_h2 { gateway.h2c().await } else { gateway.h1().await };
            let exchange = async { Answer::collect(client.send(request).await?).await };
            soon("an end", exchange).await.ok().map(|answer| answer.status.as_u16())
        }
    });
    future::join_all(uploads).await
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_uploads_speak_against_nobody() {
    let targets = Targets::start().await;
    for route in [
        "timeouts: { idle: 300ms, first_byte: 20s }",
        "timeout: 300ms",
        "timeouts: { first_byte: 100ms }, timeout: 400ms",
    ] {
        let gateway = gateway(&targets, route).await;
        for _ in 0..4 {
            let statuses = upload(&gateway, || slow(Vec::new(), false), Some(100)).await;
            // Some streams of HTTP/2 end without an answer.
            assert!(statuses.iter().flatten().all(|status| *status == 408), "{route}: {statuses:?}");
        }
        assert_eq!(blamed(&gateway).await, [""; 0], "{route}");
        let well = upload(&gateway, || full("well"), None).await;
        assert_eq!(well, vec![Some(200); well.len()], "{route}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_byte_just_before_the_end_turns_no_blame() {
    let targets = Targets::start().await;
    targets.fleet.play(&[Act::Slow(Duration::from_secs(5))]);
    let gateway = gateway(&targets, "timeout: 800ms").await;
    for _ in 0..4 {
        upload(&gateway, || slow(vec![Duration::from_millis(650)], true), Some(2)).await;
    }
    assert_eq!(blamed(&gateway).await, [""; 0]);
    // Who has the request for more than half of the time is late.
    for _ in 0..4 {
        upload(&gateway, || slow(vec![Duration::from_millis(100)], true), Some(2)).await;
    }
    let late = blamed(&gateway).await;
    assert_eq!(late, ["tcp: breaker_state", "tcp: ejections_total", "h2: breaker_state", "h2: ejections_total"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_upload_holds_no_probe() {
    let fleet = Fleet::of(1).await;
    let gateway = Gateway::start(&format!(
        "services:\n  app: {{ targets: [{}], circuit_breaker: {{ failure_threshold: 2, timeout: 300ms, success_threshold: 1 }} }}\n\
         routes:\n  - {{ name: app, path_pattern: /*, target_service: app, retry_count: 0 }}\n",
        fleet.urls()
    ))
    .await;
    let state = async || gateway.metric("gatekeeper_breaker_state{service=\"app\"}").await;
    for late_answer in [Request::get("/").body(full("")).unwrap(), Request::post("/").body(full("whole")).unwrap()] {
        fleet.play(&[Act::Status(503)]);
        for _ in 0..2 {
            gateway.get("/").await;
        }
        eventually("half-open", async || (state().await == 1.0).then_some(())).await;
        fleet.play(&[]);
        let mut stalled = Vec::new();
        for number in 0..3 {
            let mut client = gateway.raw().await;
            client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nx").await;
            stalled.push(client);
            let reached = async || (fleet.taken().len() > number).then_some(());
            if number == 0 {
                eventually("it is passed on", reached).await;
            }
        }
        // Uploads are let pass one by one.
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert_eq!(gateway.ask(late_answer).await.status, 200);
        assert_eq!(state().await, 0.0);
    }
}
