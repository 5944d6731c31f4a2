//! Whatever a target does wrong: what the client gets, what the breaker and the ejection make of it, what the log says.

use std::time::Duration;

use futures::future;
use http::{HeaderMap, StatusCode, Version};
use tokio::io::AsyncReadExt;
use tonic::{Code, Request as Call};

use crate::support::grpc::{Caller, Number};
use crate::support::tls::{Authority, Files};
use crate::support::{Act, Answer, Fleet, Gateway, Origin, Raw, RawOrigin, Refusing, Request, eventually, full, soon};

/// A fault, as two targets have it.
struct Fault {
    name: &'static str,
    targets: Vec<String>,
    /// What stands in the service's settings beside.
    service: String,
    /// The size of a PUT's body; a GET otherwise.
    body: usize,
    /// What the client gets.
    status: u16,
    code: &'static str,
    truncated: bool,
    /// It counts against the service, and against the target.
    counts: (bool, bool),
    log: &'static str,
    _keeps: Vec<Box<dyn std::any::Any + Send>>,
}

impl Fault {
    fn new(name: &'static str, targets: impl IntoIterator<Item = String>, status: u16, code: &'static str) -> Fault {
        Fault {
            name,
            targets: targets.into_iter().collect(),
            service: String::new(),
            body: 0,
            status,
            code,
            truncated: false,
            counts: (true, true),
            log: "",
            _keeps: Vec::new(),
        }
    }

    /// Of targets that do this to each connection.
    async fn of<F: Future<Output = ()> + Send + 'static>(
        name: &'static str,
        play: impl Fn(Raw) -> F + Clone + Send + Sync + 'static,
        status: u16,
        code: &'static str,
    ) -> Fault {
        let (one, other) = (RawOrigin::playing(play.clone()).await, RawOrigin::playing(play).await);
        Fault::new(name, [one.url(), other.url()], status, code)
    }

    /// Of targets that answer every request with this.
    async fn answering(name: &'static str, answer: &'static str, status: u16, code: &'static str) -> Fault {
        let play = move |mut peer: Raw| async move {
            if peer.request().await.is_some() {
                peer.send(answer).await;
            }
        };
        Fault::of(name, play, status, code).await
    }

    fn truncated(self) -> Fault {
        Fault { truncated: true, ..self }
    }

    fn harmless(self) -> Fault {
        Fault { counts: (false, false), ..self }
    }

    fn log(self, log: &'static str) -> Fault {
        Fault { log, ..self }
    }
}

async fn faults() -> Vec<Fault> {
    let refusing = [Refusing::new(), Refusing::new()];
    let refused = refusing.each_ref().map(Refusing::url);
    let nowhere = ["http://nowhere.invalid:80", "http://elsewhere.invalid:80"].map(str::to_owned);
    let silent = |mut peer: Raw| async move { while peer.request().await.is_some() {} };
    let deaf = |peer: Raw| async move {
        future::pending::<()>().await;
        drop(peer);
    };
    let endless = |mut peer: Raw| async move {
        peer.request().await;
        peer.send("HTTP/1.1 200 OK\r\n").await;
        for _ in 0..100_000 {
            peer.send(format!("X-Filler: {}\r\n", "x".repeat(1000))).await;
        }
    };
    let stalling = |mut peer: Raw| async move {
        peer.request().await;
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegin").await;
        let _ = peer.stream.read(&mut [0]).await;
    };
    let deaf = Fault::of("deaf", deaf, 504, "upstream_timeout").await;
    let later = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 60\r\nContent-Length: 5\r\n\r\nlater";
    let (failed, timeout) = ("upstream_failed", "upstream_timeout");
    vec![
        Fault::new("nowhere", nowhere, 503, "no_target").harmless(),
        Fault {
            _keeps: vec![Box::new(refusing)],
            ..Fault::new("refused", refused, 502, "upstream_unreachable").log(": connection refused")
        },
        Fault::of("silent", silent, 504, timeout).await.log("did not begin to respond"),
        // What was never whole speaks against nobody.
        Fault { body: 16 << 20, ..deaf.log("did not read the request").harmless() },
        Fault::of("stalling", stalling, 200, timeout).await.truncated().log("paused for too long"),
        Fault::of("endless", endless, 502, failed).await,
        Fault::of("closing", |mut peer: Raw| async move { drop(peer.request().await) }, 502, failed).await,
        Fault::of("hanging-up", |_: Raw| async {}, 502, failed).await,
        Fault::answering("garbage", "SSH-2.0-OpenSSH_9.6\r\n\r\n", 502, failed).await,
        Fault::answering("binary", "\x15\x03\x01\0\x02\x02\x28\r\n\r\n", 502, failed).await,
        Fault::answering("half-a-head", "HTTP/1.1 200 OK\r\nContent-Le", 502, failed).await,
        Fault::answering("short", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", 200, failed).await.truncated(),
        Fault::answering("chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n", 200, failed)
            .await
            .truncated(),
        Fault::answering("bad-chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 200, failed)
            .await
            .truncated(),
        Fault::answering("later", later, 503, "").await,
        Fault::answering("bad-gateway", "HTTP/1.1 502 Oh\r\nContent-Length: 0\r\n\r\n", 502, "").await,
        Fault::answering("gateway-timeout", "HTTP/1.1 504 Oh\r\nContent-Length: 0\r\n\r\n", 504, "").await,
        Fault::answering("broken", "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", 500, "").await.harmless(),
        Fault {
            service: "circuit_breaker: { failure_threshold: 3, failure_statuses: [500, 503] }".into(),
            ..Fault::answering("broken-indeed", "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", 500, "").await
        },
        Fault::answering("unimplemented", "HTTP/1.1 501 Oh\r\nContent-Length: 0\r\n\r\n", 501, "").await.harmless(),
        Fault::answering("missing", "HTTP/1.1 404 Oh\r\nContent-Length: 0\r\n\r\n", 404, "").await.harmless(),
        Fault::answering("limited", "HTTP/1.1 429 Oh\r\nContent-Length: 0\r\n\r\n", 429, "").await.harmless(),
        Fault {
            service: "circuit_breaker: { failure_threshold: 3, failure_statuses: [404] }".into(),
            ..Fault::answering("teapot", "HTTP/1.1 404 Oh\r\nContent-Length: 0\r\n\r\n", 404, "").await
        },
        stranger().await,
    ]
}

/// Targets that show a certificate of an unknown authority.
async fn stranger() -> Fault {
    let acceptor = || Authority::new().issue("127.0.0.1").acceptor(&[], None);
    let origins = [Origin::tls(acceptor()).await, Origin::tls(acceptor()).await];
    let files = Files::new();
    let ca = files.write("ca.pem", &Authority::new().pem());
    let urls = origins.each_ref().map(|origin| origin.url().to_owned());
    Fault {
        service: format!("tls: {{ ca: {ca} }}, {THREE}"),
        _keeps: vec![Box::new(origins), Box::new(files)],
        ..Fault::new("stranger", urls, 502, "upstream_unreachable").log("ertificate")
    }
}

const THREE: &str = "circuit_breaker: { failure_threshold: 3 }";

fn config(faults: &[Fault]) -> String {
    let services = faults.iter().map(|fault| {
        let targets: Vec<_> = fault.targets.iter().map(|url| format!("\"{url}\"")).collect();
        let settings = if fault.service.is_empty() { THREE } else { &fault.service };
        format!("  {}: {{ targets: [{}], ejection: {{ failures: 2 }}, {settings} }}\n", fault.name, targets.join(", "))
    });
    let routes = faults.iter().map(|Fault { name, .. }| {
        format!(
            "  - {{ name: {name}, path_pattern: /{name}/*, target_service: {name}, retry_count: 0, \
             timeouts: {{ first_byte: 300ms, idle: 300ms }} }}\n"
        )
    });
    format!("services:\n{}routes:\n{}", services.collect::<String>(), routes.collect::<String>())
}

async fn ask(gateway: &Gateway, fault: &Fault, number: usize) -> (u16, Option<Answer>) {
    let path = format!("/{}/{number}", fault.name);
    if fault.body > 0 {
        return upload(gateway, &path, fault.body).await;
    }
    let exchange = async {
        let response = gateway.h1().await.send(Request::get(path)).await.unwrap();
        (response.status().as_u16(), Answer::collect(response).await.ok())
    };
    soon(fault.name, exchange).await
}

/// Decent clients do not read on when what they write is not taken.
async fn upload(gateway: &Gateway, path: &str, size: usize) -> (u16, Option<Answer>) {
    let mut client = gateway.raw().await;
    client.send(format!("PUT {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n")).await;
    let response = client.send(vec![1; size]).await.response().await;
    let headers = response.headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    let answer = Answer {
        status: StatusCode::from_u16(response.status()).unwrap(),
        version: Version::HTTP_11,
        headers: headers.collect::<HeaderMap>(),
        body: response.body.clone().into(),
        trailers: HeaderMap::new(),
    };
    (response.status(), Some(answer))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_is_told_counted_and_logged_as_what_it_is() {
    let faults = faults().await;
    let gateway = Gateway::start(&config(&faults)).await;
    future::join_all(faults.iter().map(|fault| check(&gateway, fault))).await;
    for held in ["gatekeeper_requests_in_flight", "gatekeeper_target_requests_in_flight"] {
        let all = async || {
            let metrics = gateway.metrics().await;
            let lines = metrics.lines().filter(|line| line.starts_with(held));
            lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum::<f64>()
        };
        eventually(held, async || (all().await == 0.0).then_some(())).await;
    }
}

async fn check(gateway: &Gateway, fault: &Fault) {
    let name = fault.name;
    for number in 0..3 {
        let (status, answer) = ask(gateway, fault, number).await;
        assert_eq!(status, fault.status, "{name}: {answer:?}");
        assert_eq!(answer.is_none(), fault.truncated, "{name}: {answer:?}");
        if let Some(answer) = answer {
            assert_eq!(answer.header("x-gatekeeper-error").unwrap_or_default(), fault.code, "{name}");
            assert_eq!(answer.header("retry-after"), (name == "later").then_some("60"), "{name}");
            if !fault.code.is_empty() {
                let told = answer.problem().to_string();
                assert!(!told.contains("127.0.0.1:") && !told.contains(".invalid"), "{name} tells too much: {told}");
            }
        }
        let record = gateway.log_of(&format!("/{name}/{number}")).await;
        assert_eq!(record["status_code"], fault.status, "{name}");
        assert_eq!(record["error_code"].as_str().unwrap_or_default(), fault.code, "{name}: {record}");
        assert_eq!(record["truncated"].as_bool().unwrap_or_default(), fault.truncated, "{name}: {record}");
        let message = record["error_message"].as_str().unwrap_or_default();
        assert!(message.contains(fault.log), "{name}: {record}");
        assert!(!(message.is_empty() && !fault.code.is_empty() && fault.code != "no_target"), "{name}: {record}");
    }
    let (breaks, ejects) = fault.counts;
    let metric = async |metric: &str| gateway.metric(&format!("gatekeeper_{metric}{{service=\"{name}\"}}")).await;
    assert_eq!(metric("breaker_state").await, if breaks { 2.0 } else { 0.0 }, "{name}");
    assert_eq!(metric("ejections_total").await, if ejects { 1.0 } else { 0.0 }, "{name}");
    assert_eq!(metric("targets_ejected").await, if ejects { 1.0 } else { 0.0 }, "{name}");
    let (status, answer) = ask(gateway, fault, 3).await;
    if breaks {
        let answer = answer.unwrap();
        assert_eq!((status, answer.header("x-gatekeeper-error")), (503, Some("circuit_open")), "{name}");
        let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((50..=60).contains(&seconds), "{name}: {seconds}");
    } else {
        assert_eq!(status, fault.status, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_with_a_wrong_certificate_is_passed_over() {
    let (authority, files) = (Authority::new(), Files::new());
    let wrong = Origin::tls(Authority::new().issue("127.0.0.1").acceptor(&[], None)).await;
    let right = Origin::tls(authority.issue("127.0.0.1").acceptor(&[], None)).await;
    let ca = files.write("ca.pem", &authority.pem());
    let gateway = Gateway::start(&format!(
        "services:\n  app: {{ targets: [\"{}\", \"{}\"], tls: {{ ca: {ca} }}, {THREE} }}\n\
         routes:\n  - {{ name: app, path_pattern: /*, target_service: app }}\n",
        wrong.url(),
        right.url()
    ))
    .await;
    for number in 0..20 {
        // Not one of them got the request: a POST may go on as well.
        let answer = gateway.ask(Request::post(format!("/{number}")).body(full("x")).unwrap()).await;
        assert_eq!(answer.status, 200);
    }
    assert_eq!((wrong.requests(), right.requests()), (0, 20));
    let ejected = gateway.metric("gatekeeper_targets_ejected{service=\"app\"}").await;
    assert_eq!((ejected, gateway.metric("gatekeeper_breaker_state{service=\"app\"}").await), (1.0, 0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_do_and_what_is_refused_counts_as_nothing() {
    let fleet = Fleet::of(2).await;
    let gateway = Gateway::start(&format!(
        "services:\n  app: {{ targets: [{}], ejection: {{ failures: 2 }}, max_in_flight: 2, queue: {{ length: 0 }}, \
         circuit_breaker: {{ failure_threshold: 2 }} }}\n\
         routes:\n  - {{ name: app, path_pattern: /*, target_service: app, retry_count: 0, \
         shields: {{ max_body: 1KiB }}, timeouts: {{ idle: 300ms, first_byte: 20s }} }}\n",
        fleet.urls()
    ))
    .await;
    fleet.play(&[Act::Slow(Duration::from_secs(20))]);
    let busy = async |inside: f64| {
        let inside_now = async || gateway.metric("gatekeeper_service_requests{service=\"app\"}").await;
        eventually("so many are in the service", async || (inside_now().await == inside).then_some(())).await;
    };
    // Clients that do not wait for their answers; others find no room.
    for _ in 0..2 {
        let mut clients = [gateway.raw().await, gateway.raw().await];
        for client in &mut clients {
            client.send("GET /gone HTTP/1.1\r\nHost: a\r\n\r\n").await;
        }
        busy(2.0).await;
        for _ in 0..3 {
            let answer = gateway.get("/busy").await;
            assert_eq!((answer.status.as_u16(), answer.header("x-gatekeeper-error")), (503, Some("service_busy")));
            assert_eq!(answer.header("retry-after"), Some("1"));
        }
        drop(clients);
        busy(0.0).await;
    }
    assert_eq!(gateway.log_of("/gone").await["error_code"], "client_gone");
    fleet.play(&[Act::Status(200)]);
    for path in ["/large", "/long", "/slow"] {
        for _ in 0..3 {
            let mut client = gateway.raw().await;
            let (framing, body) = match path {
                "/large" => ("Content-Length: 2000", "x".repeat(2000)),
                "/long" => ("Transfer-Encoding: chunked", format!("7d0\r\n{}\r\n0\r\n\r\n", "x".repeat(2000))),
                // A body that does not come.
                _ => ("Content-Length: 100", "x".to_owned()),
            };
            client.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{body}")).await;
            assert_eq!(client.response().await.status(), if path == "/slow" { 408 } else { 413 }, "{path}");
        }
    }
    busy(0.0).await;
    for metric in ["breaker_state", "targets_ejected"] {
        assert_eq!(gateway.metric(&format!("gatekeeper_{metric}{{service=\"app\"}}")).await, 0.0, "{metric}");
    }
    assert_eq!(gateway.get("/well").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_fails_by_its_own_status() {
    let codes = [
        (Code::NotFound, false),
        (Code::InvalidArgument, false),
        (Code::ResourceExhausted, false),
        (Code::Unknown, false),
        (Code::DeadlineExceeded, true),
        (Code::Internal, false),
        (Code::Unavailable, true),
        (Code::DataLoss, false),
    ];
    for method in ["/test.Numbers/Fail", "/test.Numbers/FailLate"] {
        for (code, counts) in codes {
            let origins = [Origin::start().await, Origin::start().await];
            let [one, other] = origins.each_ref().map(Origin::url);
            let gateway = Gateway::start(&format!(
                "services:\n  numbers: {{ targets: [\"{one}\", \"{other}\"], protocol: h2, ejection: {{ failures: 2 }}, \
                 {THREE} }}\n\
                 routes:\n  - {{ name: numbers, path_pattern: /test.Numbers/*, target_service: numbers }}\n"
            ))
            .await;
            let mut caller = Caller::connect(gateway.address).await;
            for _ in 0..3 {
                let status = caller.unary(method, Call::new(Number { value: code as i64 })).await.unwrap_err();
                assert_eq!(status.code(), code, "{method}");
            }
            let metric =
                async |metric: &str| gateway.metric(&format!("gatekeeper_{metric}{{service=\"numbers\"}}")).await;
            // The client has its answer before the exchange is settled.
            let wanted = (if counts { 2.0 } else { 0.0 }, f64::from(counts));
            eventually("the breaker and the ejection know", async || {
                let seen = (metric("breaker_state").await, metric("targets_ejected").await);
                (seen == wanted).then_some(())
            })
            .await;
            let next = caller.double(Call::new(Number { value: 2 })).await;
            let wanted = if counts { Err(Code::Unavailable) } else { Ok(4) };
            assert_eq!(next.map(|four| four.get_ref().value).map_err(|status| status.code()), wanted, "{code:?}");
        }
    }
}
