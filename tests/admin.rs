//! The administration listener against strangers: what they hold, whose name they use, how they frame, what they guess.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::support::gateway::everything_to;
use crate::support::{Client, Gateway, Origin, Raw, Request, eventually, full};

const TCP: &str = "admin: { address: \"127.0.0.1:0\"";
const BASE: &str = "/api/v1/gateway";

fn address(gateway: &Gateway) -> SocketAddr {
    let note = fs::read(gateway.file("state/running.json")).unwrap();
    serde_json::from_slice::<serde_json::Value>(&note).unwrap()["admin"].as_str().unwrap().parse().unwrap()
}

fn token(gateway: &Gateway) -> String {
    fs::read_to_string(gateway.file("state/admin.token")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn half_heads_take_nothing_from_anybody() {
    let origin = Origin::start().await;
    let config = format!("{TCP} }}\nlimits: {{ head_timeout: 60s }}\nthreads: 2\n{}", everything_to(origin.url()));
    let gateway = Gateway::with_descriptors(256, &config).await;
    let address = address(&gateway);
    let mut held = Vec::new();
    for _ in 0..400 {
        let mut raw = Raw::connect(address).await;
        raw.send("GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n").await;
        held.push(raw);
    }
    let began = Instant::now();
    assert_eq!(gateway.get("/x").await.status, 200);
    assert_eq!(Client::h1(address).await.ask(Request::get("/health").header("host", "127.0.0.1")).await.status, 200);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let open = fs::read_dir(format!("/proc/{}/fd", gateway.pid())).unwrap().count();
    assert!(open < 128, "{open} descriptors");
    assert!(held[0].is_closed().await, "the oldest went first");
    assert!(!held[399].is_closed().await, "a new one has its time");
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_bodies_and_silence_have_their_time() {
    let gateway =
        Gateway::start(&format!("{TCP} }}\nlimits: {{ head_timeout: 1s, keep_alive: 1s }}\nroutes: []\n")).await;
    let (address, token) = (address(&gateway), token(&gateway));
    let began = Instant::now();
    let mut half = Raw::connect(address).await;
    half.send("GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n").await;
    let mut silent = Raw::connect(address).await;
    let mut kept = Raw::connect(address).await;
    kept.send("GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").await;
    assert_eq!(kept.response().await.status(), 200);
    let mut body = Raw::connect(address).await;
    let head = format!("POST {BASE}/explain HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {token}\r\n");
    body.send(format!("{head}content-type: application/json\r\ncontent-length: 100\r\n\r\n{{")).await;
    let answer = half.response().await;
    assert_eq!((answer.status(), answer.header("x-gatekeeper-error")), (408, Some("head_timeout")));
    assert!(half.rest().await.is_empty() && silent.rest().await.is_empty() && kept.rest().await.is_empty());
    body.rest().await;
    assert!((1..8).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_its_own_names_are_answered() {
    let gateway =
        Gateway::start(&format!("{TCP}, hosts: [gateway.internal, \"*.ops.internal\"] }}\nroutes: []\n")).await;
    let address = address(&gateway);
    let ask =
        async |path: &str, host: &str| Client::h1(address).await.ask(Request::get(path).header("host", host)).await;
    for host in
        ["127.0.0.1", "127.0.0.1:8001", "[::1]:1", "localhost", "LOCALHOST:9", "gateway.internal:80", "a.ops.internal"]
    {
        assert_eq!(ask("/health", host).await.status, 200, "{host}");
    }
    for host in ["evil.test", "evil.test:8001", "localhost.evil.test", "127.0.0.1.evil.test", "ops.internal"] {
        for path in ["/health", "/metrics", "/api/v1/gateway/health", "/api/v1/gateway/status"] {
            let answer = ask(path, host).await;
            assert_eq!(
                (answer.status.as_u16(), &answer.json()["code"]),
                (421, &"unknown_host".into()),
                "{host} {path}"
            );
        }
    }
    let mut old = Raw::connect(address).await;
    old.send("GET /health HTTP/1.0\r\n\r\n").await;
    assert_eq!(old.response().await.status(), 200, "no browser comes without a host");
    let mut absolute = Raw::connect(address).await;
    absolute.send("GET http://evil.test/health HTTP/1.0\r\n\r\n").await;
    assert_eq!(absolute.response().await.status(), 421);
    let unix = Gateway::start("routes: []\n").await;
    assert_eq!(unix.admin("/health").await.status, 200, "any name on a unix socket");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_framed_as_strictly_as_in_front() {
    let gateway = Gateway::start(&format!("{TCP} }}\nroutes: []\n")).await;
    let (address, token) = (address(&gateway), token(&gateway));
    let cases = [
        ("content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", "te_and_cl"),
        ("content-length: 2\r\ncontent-length: 2\r\n\r\n{}", "cl_repeated"),
        ("content-length: +2\r\n\r\n{}", "content_length"),
        ("transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "transfer_encoding"),
        ("x: a\r\n b\r\n\r\n", "obs_fold"),
        ("x : a\r\n\r\n", "space_before_colon"),
        ("x: a\nb: c\r\n\r\n", "bare_lf"),
        ("host: 127.0.0.1\r\n\r\n", "host_repeated"),
    ];
    for (rest, code) in cases {
        let mut raw = Raw::connect(address).await;
        let head = format!("POST {BASE}/explain HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {token}\r\n");
        raw.send(format!("{head}{rest}")).await;
        let answer = raw.response().await;
        assert_eq!((answer.status(), answer.header("x-gatekeeper-error")), (400, Some(code)), "{rest:?}");
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(raw.rest().await.is_empty(), "nothing is read after it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pipelined_is_answered_in_its_turn() {
    let gateway = Gateway::start(&format!("{TCP} }}\nroutes: []\n")).await;
    let mut raw = Raw::connect(address(&gateway)).await;
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
    raw.send(
        request("/health") + &request("/metrics") + &request("/nothing") + "GET /health HTTP/1.1\r\nx : y\r\n\r\n",
    )
    .await;
    assert!(raw.response().await.text().contains("ok"));
    assert!(raw.response().await.text().contains("gatekeeper_"));
    assert_eq!(raw.response().await.status(), 404);
    assert_eq!(raw.response().await.status(), 400);
    assert!(raw.rest().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_may_not_guess_for_ever() {
    let gateway = Gateway::start(&format!("{TCP} }}\nroutes: []\n")).await;
    let (address, right) = (address(&gateway), token(&gateway));
    let mut client = Client::h1(address).await;
    let mut ask = async |token: Option<&str>| {
        let request = Request::get(format!("{BASE}/status")).header("host", "localhost");
        let request =
            token.iter().fold(request, |request, token| request.header("authorization", format!("Bearer {token}")));
        client.ask(request).await
    };
    for _ in 0..30 {
        assert_eq!(ask(None).await.status, 401, "who shows none does not guess");
    }
    assert_eq!(ask(Some(&right)).await.status, 200);
    for _ in 0..20 {
        assert_eq!(ask(Some("wrong")).await.status, 401);
    }
    for token in ["wrong", &right] {
        let answer = ask(Some(token)).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (429, &"too_many_wrong_tokens".into()));
        let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&seconds), "{seconds}");
    }
    assert_eq!(ask(None).await.status, 401, "what needs no token is answered as before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_directory_that_others_write_to_is_refused() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let place = tempfile::tempdir().unwrap();
    let state = place.path().join("state");
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o777)).unwrap();
    let config = format!("state_dir: {}\nroutes: []\n", state.display());
    let said = Gateway::refuses(&config, Vec::new());
    assert!(said.contains("others can write to it"), "{said}");
    assert_eq!(fs::read_dir(&state).unwrap().count(), 0);
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
    let precious = place.path().join("precious");
    fs::write(&precious, "precious").unwrap();
    symlink(&precious, state.join("running.json")).unwrap();
    let gateway = Gateway::start(&config).await;
    assert_eq!(gateway.admin("/health").await.status, 200);
    eventually("its note is written", async || {
        fs::symlink_metadata(state.join("running.json")).unwrap().is_file().then_some(())
    })
    .await;
    assert_eq!(fs::read_to_string(&precious).unwrap(), "precious", "nothing is written through a link");
    for file in ["running.json", "admin.token"] {
        let mode = fs::symlink_metadata(state.join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_json() {
    let gateway = Gateway::start("routes:\n  - { name: all, path_pattern: /*, respond: { status: 200 } }\n").await;
    let token = token(&gateway);
    let mut client = Client::unix(gateway.file("admin.sock").to_str().unwrap()).await;
    let mut explain = async |body: &str| {
        let request = Request::post(format!("{BASE}/explain")).header("authorization", format!("Bearer {token}"));
        client.ask(request.header("content-type", "application/json").body(full(body.to_owned())).unwrap()).await
    };
    for body in [
        r#"{"request": "GET /x", "user": "\ud83d\ude00"}"#,
        r#"{"request": "GET \/x", "headers": {"x": "\u00e9"}}"#,
        "{\"request\": \"GET /x\", \"user\": \"\u{7f}\"}",
    ] {
        let answer = explain(body).await;
        assert_eq!(answer.status, 200, "{body}: {}", answer.text());
    }
    for (body, status, told) in [
        (r#"{"request": "GET /x"} {}"#, 400, "trailing characters"),
        (r#"{"request": "GET /x", "claims": "#, 400, "the body is not valid JSON"),
        (&format!(r#"{{"claims": {}"#, "[".repeat(60_000)), 400, "recursion limit"),
        (r#"{"request": "GET /x", "request": "GET /y"}"#, 422, "request: this key is written twice"),
        (r#"{"request": "GET /x", "usr": "a"}"#, 422, "did you mean \"user\"?"),
    ] {
        let answer = explain(body).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(answer.json()["detail"].as_str().unwrap().contains(told), "{}", answer.text());
    }
}
