//! A change of the configuration while requests run: nothing fails, nothing is half applied, a bad file changes nothing.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http_body_util::BodyExt;
use serde_json::Value;

use crate::support::pattern::Checker;
use crate::support::{Client, Gateway, Origin, Request, eventually, soon};

/// The file as the gateway reads it, changed by hand and not yet applied.
fn edit(gateway: &Gateway, change: impl FnOnce(String) -> String) {
    let file = gateway.file("gatekeeper.yaml");
    fs::write(&file, change(fs::read_to_string(&file).unwrap())).unwrap();
}

fn respond(name: &str, path: &str, body: &str) -> String {
    format!("  - {{ name: {name}, path_pattern: {path}, respond: {{ status: 200, body: {body} }} }}\n")
}

fn stderr(gateway: &Gateway) -> String {
    fs::read_to_string(gateway.file("stderr")).unwrap()
}

async fn status(gateway: &Gateway) -> Value {
    let output = gateway.command("status", &["--json"]);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A reload over the administration listener itself; the problem when it is refused.
async fn reload_by_request(gateway: &Gateway) -> Value {
    let token = fs::read_to_string(gateway.file("state/admin.token")).unwrap();
    let socket = gateway.file("admin.sock");
    let request = Request::post("/api/v1/gateway/config/reload").header("authorization", format!("Bearer {token}"));
    Client::unix(socket.to_str().unwrap()).await.ask(request).await.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_upstream_keeps_its_connections() {
    let (kept, other) = (Origin::start().await, Origin::start().await);
    let config = |revision: usize| {
        format!(
            "upstream_pool: {{ idle_timeout: 60s }}\nservices: {{ kept: {{ targets: [\"{}\"] }} }}\nroutes:\n  \
             - {{ name: kept, path_pattern: /kept/*, target_service: kept, rewrite: \"/{revision}/{{*}}\" }}\n  \
             - {{ name: n{revision}, path_pattern: /other/*, target_url: \"{}\" }}\n",
            kept.url(),
            other.url()
        )
    };
    let gateway = Gateway::start(&config(0)).await;
    let mut client = gateway.h1().await;
    for _ in 0..5 {
        client.ask(Request::get("/kept/x")).await.seen();
    }
    let before = kept.connections();
    for revision in 1..=20 {
        gateway.reload(&config(revision)).unwrap();
        assert_eq!(client.ask(Request::get("/kept/x")).await.seen().target, format!("/{revision}/x"));
    }
    assert_eq!((before, kept.connections()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn hup_reloads() {
    let gateway = Gateway::start(&format!("routes:\n{}", respond("a", "/a", "one"))).await;
    edit(&gateway, |text| text.replace("one", "two"));
    assert_eq!(gateway.get("/a").await.text(), "one");
    gateway.signal("HUP");
    eventually("the new plan serves", async || (gateway.get("/a").await.text() == "two").then_some(())).await;
    assert_eq!(status(&gateway).await["revision"], 2);

    edit(&gateway, |text| text.replace("path_pattern", "path_patern"));
    gateway.signal("HUP");
    let told = eventually("the log tells why not", async || {
        Some(stderr(&gateway)).filter(|text| text.contains("did you mean \"path_pattern\"?"))
    });
    assert!(told.await.contains("reload rejected, still running revision 2"));
    assert_eq!(gateway.get("/a").await.text(), "two");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_changes_nothing_and_every_fault_is_told() {
    let gateway = Gateway::start(&format!("routes:\n{}", respond("a", "/a", "one"))).await;
    let bad = "trusted_proxies: [nowhere]\nservices: { s: { targets: [ftp://x] } }\nroutes:\n  \
               - { name: a, path_pattern: /a, respond: { status: 99 } }\n  \
               - { name: b, path_pattern: b, target_service: t, metods: [GET] }\n";
    let told = gateway.reload(bad).unwrap_err();
    let places = [
        "trusted_proxies[0]: ",
        "service \"s\".targets[0]: ",
        "route \"a\" (routes[0]).respond.status: ",
        "route \"b\" (routes[1]).path_pattern: ",
        "route \"b\" (routes[1]).target_service: ",
        "route \"b\" (routes[1]).metods: ",
    ];
    for place in places {
        assert!(told.contains(place), "{place} is missing: {told}");
    }
    assert_eq!(gateway.command("reload", &[]).status.code(), Some(1));
    assert_eq!(gateway.get("/a").await.text(), "one");
    let problem = reload_by_request(&gateway).await;
    assert_eq!((&problem["status"], &problem["code"]), (&422.into(), &"invalid_configuration".into()));
    assert_eq!(problem["errors"].as_array().unwrap().len(), places.len(), "{problem}");

    let status = status(&gateway).await;
    assert_eq!(status["revision"], 1);
    let fault = status["last_fault"].as_str().unwrap();
    assert!(places.iter().all(|place| fault.contains(place)), "{fault}");
    let metrics = gateway.metrics().await;
    assert!(metrics.contains("gatekeeper_reloads_total{outcome=\"refused\"} 3\n"), "{metrics}");
    assert!(metrics.contains("gatekeeper_plan_revision 1\n"), "{metrics}");
    assert_eq!(gateway.metric("gatekeeper_config_last_reload_successful").await, 0.0);

    gateway.reload(&format!("routes:\n{}", respond("a", "/a", "two"))).unwrap();
    assert_eq!(gateway.get("/a").await.text(), "two");
    assert_eq!(self::status(&gateway).await["last_fault"], Value::Null);
    assert_eq!(gateway.metric("gatekeeper_config_last_reload_successful").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_read_as_yaml_changes_nothing() {
    let gateway = Gateway::start(&format!("routes:\n{}", respond("a", "/a", "one"))).await;
    edit(&gateway, |text| text + "  - [\n");
    let output = gateway.command("reload", &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not valid YAML"), "{output:?}");
    let problem = reload_by_request(&gateway).await;
    assert!(problem["detail"].as_str().unwrap().contains("not valid YAML"), "{problem}");
    assert_eq!(gateway.get("/a").await.text(), "one");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_log_that_cannot_be_opened_refuses_the_change() {
    let gateway = Gateway::start(&format!("routes:\n{}", respond("a", "/a", "one"))).await;
    let changed = format!("access_log: {{ to: /nowhere/x }}\nroutes:\n{}", respond("a", "/a", "two"));
    let told = gateway.reload(&changed).unwrap_err();
    assert!(told.contains("access_log.to") && told.contains("No such file"), "{told}");
    assert_eq!(gateway.get("/a").await.text(), "one");
    gateway.log_of("/a").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_restart_is_named() {
    let routes = format!("routes:\n{}", respond("a", "/a", "one"));
    let gateway = Gateway::start(&routes).await;
    let log = gateway.file("access.log");
    let changed = format!(
        "listen: [{{ address: \"127.0.0.1:0\" }}, {{ address: \"[::1]:0\" }}]\nthreads: 1\ndrain: {{ grace: 2s }}\nupstream_pool: {{ size: 7 }}\naccess_log: {{ to: {}, queue: 99 }}\n{}",
        log.display(),
        routes.replace("one", "two")
    );
    gateway.reload(&changed).unwrap();
    assert_eq!(gateway.get("/a").await.text(), "two", "the rest is applied");
    let waiting = ["listen", "threads", "drain", "upstream_pool.size", "access_log.queue"];
    let output = gateway.command("reload", &[]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text, format!("running revision 2\ntakes effect after a restart: {}\n", waiting.join(", ")));
    let report: Value = serde_json::from_slice(&gateway.command("reload", &["--json"]).stdout).unwrap();
    assert_eq!(report["needs_restart"], serde_json::json!(waiting));

    edit(&gateway, |text| text.replace("admin.sock", "other.sock").replace("/state", "/other"));
    let report = reload_by_request(&gateway).await;
    let named = |name: &str| report["needs_restart"].as_array().unwrap().contains(&name.into());
    assert!(named("admin.address") && named("state_dir"), "{report}");
    gateway.reload(&routes).unwrap();
    let report: Value = serde_json::from_slice(&gateway.command("reload", &["--json"]).stdout).unwrap();
    assert_eq!(report["needs_restart"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_route_test_refuses_the_change() {
    let gateway = Gateway::start(&format!("routes:\n{}", respond("a", "/a", "one"))).await;
    let changed = format!(
        "routes:\n{}tests:\n  - {{ request: GET /a, expect: {{ route: a }} }}\n  - {{ request: GET /b, expect: {{ route: a }} }}\n",
        respond("a", "/a", "two")
    );
    let told = gateway.reload(&changed).unwrap_err();
    assert!(told.contains("test \"GET /b\" (tests[1]).expect.route: expected route a, found none (404)"), "{told}");
    assert!(!told.contains("tests[0]"), "{told}");
    assert_eq!(gateway.get("/a").await.text(), "one");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_go_on_when_their_route_is_removed() {
    const SIZE: u64 = 30_000_000;
    let origin = Origin::start().await;
    let gateway = Gateway::to(&origin).await;
    let mut streams = Vec::new();
    for mut client in [gateway.h1().await, gateway.h2c().await] {
        let mut events = client.send(Request::get("/sse/6")).await.unwrap().into_body();
        let first = soon("the first event", events.frame()).await.unwrap().unwrap();
        streams.push((client, events, first.into_data().unwrap().to_vec()));
    }
    let mut downloads = Vec::new();
    for mut client in [gateway.h1().await, gateway.h2c().await] {
        let mut body = client.send(Request::get(format!("/bytes/{SIZE}"))).await.unwrap().into_body();
        let mut checker = Checker::new();
        checker.take(soon("a first piece", body.frame()).await.unwrap().unwrap().data_ref().unwrap());
        downloads.push((client, body, checker));
    }
    gateway.reload("routes: []\n").unwrap();
    assert_eq!(gateway.get("/bytes/1").await.status, 404);
    for (_client, mut events, mut text) in streams {
        while let Some(frame) = soon("the next event", events.frame()).await {
            text.extend_from_slice(frame.unwrap().data_ref().unwrap());
        }
        assert_eq!(String::from_utf8(text).unwrap().matches("data: ").count(), 6);
    }
    for (_client, mut body, mut checker) in downloads {
        while let Some(frame) = soon("the next piece", body.frame()).await {
            checker.take(frame.unwrap().data_ref().unwrap());
        }
        assert!(checker.intact && checker.bytes == SIZE, "{} bytes", checker.bytes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn destination_and_format_of_the_access_log_change_without_losing_a_line() {
    let routes = format!("routes:\n{}", respond("a", "/*", "one"));
    let gateway = Arc::new(Gateway::start(&routes).await);
    let to = |name: &str, rest: &str| {
        let path = gateway.file(name);
        gateway.reload(&format!("access_log: {{ to: {}{rest} }}\n{routes}", path.display())).unwrap();
    };
    let stop = Arc::new(AtomicBool::new(false));
    let asking = tokio::spawn(ask_in_a_row(gateway.clone(), stop.clone()));
    has_lines(&gateway, "access.log").await;
    to("second.log", ", client_address: truncated");
    has_lines(&gateway, "second.log").await;
    to("third.log", ", format: combined");
    has_lines(&gateway, "third.log").await;
    stop.store(true, Ordering::SeqCst);
    let count = asking.await.unwrap();
    let files = ["access.log", "second.log", "third.log"];
    eventually("all are written", async || {
        (files.iter().map(|name| lines(&gateway, name).len()).sum::<usize>() >= count).then_some(())
    })
    .await;
    let [first, second, third] = files.map(|name| lines(&gateway, name));
    let json = |line: &String| serde_json::from_str::<Value>(line).unwrap();
    let mut paths: Vec<String> =
        first.iter().chain(&second).map(|line| json(line)["path"].as_str().unwrap().to_owned()).collect();
    assert_eq!(
        (json(&first[0])["client_ip"].as_str(), json(&second[0])["client_ip"].as_str()),
        (Some("127.0.0.1"), Some("127.0.0.0"))
    );
    paths.extend(third.iter().map(|line| line.split(' ').nth(6).unwrap().to_owned()));
    assert!(third.iter().all(|line| line.starts_with("127.0.0.1 - - [") && line.contains("\" 200 ")), "{third:?}");
    expect_each_once(paths, count);
    assert_eq!(status(&gateway).await["access_log_dropped"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn rotations_lose_no_line() {
    let gateway = Arc::new(Gateway::start(&format!("routes:\n{}", respond("a", "/*", "one"))).await);
    let stop = Arc::new(AtomicBool::new(false));
    let asking = tokio::spawn(ask_in_a_row(gateway.clone(), stop.clone()));
    let mut files = Vec::new();
    for turn in 0..10 {
        has_lines(&gateway, "access.log").await;
        files.push(format!("access.log.{turn}"));
        fs::rename(gateway.file("access.log"), gateway.file(&files[turn])).unwrap();
        gateway.signal("USR1");
        eventually("the file is there again", async || gateway.file("access.log").exists().then_some(())).await;
    }
    files.push("access.log".into());
    stop.store(true, Ordering::SeqCst);
    let count = asking.await.unwrap();
    let all = || files.iter().flat_map(|name| lines(&gateway, name)).collect::<Vec<_>>();
    eventually("all are written", async || (all().len() >= count).then_some(())).await;
    let path = |line: &String| serde_json::from_str::<Value>(line).unwrap()["path"].as_str().unwrap().to_owned();
    expect_each_once(all().iter().map(path).collect(), count);
}

/// Asks for /0, /1, … over one connection until it is told to stop; for how many.
async fn ask_in_a_row(gateway: Arc<Gateway>, stop: Arc<AtomicBool>) -> usize {
    let mut client = gateway.h1().await;
    let mut count = 0;
    while !stop.load(Ordering::SeqCst) {
        assert_eq!(client.ask(Request::get(format!("/{count}"))).await.status, 200);
        count += 1;
    }
    count
}

async fn has_lines(gateway: &Gateway, name: &str) {
    eventually("fifty lines", async || (lines(gateway, name).len() >= 50).then_some(())).await;
}

fn lines(gateway: &Gateway, name: &str) -> Vec<String> {
    let text = fs::read_to_string(gateway.file(name)).unwrap_or_default();
    text.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(str::to_owned).collect()
}

fn expect_each_once(mut paths: Vec<String>, count: usize) {
    paths.sort_unstable();
    let mut wanted: Vec<String> = (0..count).map(|index| format!("/{index}")).collect();
    wanted.sort_unstable();
    assert!(paths == wanted, "{} lines, {} requests", paths.len(), count);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_series_of_a_policy_go_with_it() {
    let routes = format!("routes:\n{}", respond("a", "/a", "one"));
    let limit = |name: &str| {
        format!(
            "rate_limits: [{{ rule_name: {name}, limit_type: global, max_requests: 5, window_seconds: 60 }}]\n{routes}"
        )
    };
    let gateway = Gateway::start(&limit("first")).await;
    let shown = async |name: &str| gateway.metrics().await.contains(&format!("policy=\"rate_limit\",rule=\"{name}\""));
    assert!(shown("first").await);
    gateway.reload(&limit("second")).unwrap();
    assert!(!shown("first").await && shown("second").await);
    gateway.reload(&(limit("third") + "nonsense: 1\n")).unwrap_err();
    assert!(!shown("third").await, "what never served is not counted");
    gateway.reload(&routes).unwrap();
    assert!(!shown("second").await);
}
