//! A candidate that is refused, wherever that is found, leaves everything as it was, also under load: what is measured, what
//! is known of services, what limits have counted, which connections are open.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::StatusCode;
use serde_json::Value;

use crate::support::{Client, Gateway, Origin, Request, eventually};

/// What serves. The rest of a candidate goes to the end of each of its lists.
fn config(origin: &Origin, log: &str, services: &str, rules: &str, routes: &str, rest: &str) -> String {
    let url = origin.url();
    format!(
        "access_log: {{ to: {log} }}\n\
         services:\n  shop: {{ targets: [\"{url}\"] }}\n{services}\
         rate_limits:\n  - {{ rule_name: few, limit_type: \"header:X-Who\", max_requests: 3, window_seconds: 3600 }}\n{rules}\
         routes:\n  - {{ name: free, path_pattern: /free/*, target_service: shop }}\n\
         \x20 - {{ name: limited, path_pattern: /limited/*, target_service: shop, rate_limits: [few] }}\n{routes}{rest}"
    )
}

/// Candidates that change much, each with a fault that is found in another place.
fn candidates(origin: &Origin, unlogged: &str) -> Vec<(&'static str, String)> {
    let services = format!(
        "  new: {{ targets: [\"{url}\"], circuit_breaker: {{ failure_threshold: 3 }} }}\n  named: {{ targets: [\"http://localhost:{port}\"] }}\n",
        url = origin.url(),
        port = origin.url().rsplit(':').next().unwrap()
    );
    let rules = "  - { rule_name: fresh, limit_type: per_ip, max_requests: 1, window_seconds: 60 }\n";
    let routes = "  - { name: new, path_pattern: /new/*, target_service: new, rate_limits: [fresh] }\n\
                  \x20 - { name: named, path_pattern: /named/*, target_service: named }\n\
                  \x20 - { name: own, path_pattern: /own/*, target_url: \"http://127.0.0.1:9\" }\n";
    let with = |routes: &str, rest: &str| config(origin, unlogged, &services, rules, routes, rest);
    let and = |more: &str| format!("{routes}{more}");
    let good_log = "/dev/null";
    let tested = "tests: [{ request: GET /new/x, expect: { route: free } }]\n";
    vec![
        ("not YAML", with(routes, "routes: [\n")),
        ("an unknown key", with(&and("  - { name: z, path_pattern: /z, target_servce: new }\n"), "")),
        ("a missing variable", with(&and("  - { name: z, path_pattern: /z, target_url: \"${NOWHERE}\" }\n"), "")),
        ("an unknown service", with(&and("  - { name: z, path_pattern: /z, target_service: nobody }\n"), "")),
        ("a clash", with(&and("  - { name: z, path_pattern: /new/*, target_service: new }\n"), "")),
        ("a wrong number", with(&and("  - { name: z, path_pattern: /z, respond: { status: 99 } }\n"), "")),
        ("an authority that is missing", with(routes, "auth: { ca: nowhere.pem, jwt: [] }\n")),
        ("a failing test", config(origin, good_log, &services, rules, routes, tested)),
        ("a log that can't be written", with(routes, "")),
    ]
}

/// The names of all series but those of the process.
async fn series(gateway: &Gateway) -> BTreeSet<String> {
    let metrics = gateway.metrics().await;
    let lines = metrics.lines().filter(|line| !line.starts_with('#') && !line.starts_with("process_"));
    lines.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
}

/// What is known of services and rules, without what a load changes from moment to moment.
async fn known(gateway: &Gateway) -> Vec<Value> {
    let token = fs::read_to_string(gateway.file("state/admin.token")).unwrap();
    let told = async |path: &str| -> Vec<Value> {
        let socket = gateway.file("admin.sock");
        let mut client = Client::unix(socket.to_str().unwrap()).await;
        let request = Request::get(format!("/api/v1/gateway{path}"));
        let answer = client.ask(request.header("authorization", format!("Bearer {}", token.trim()))).await;
        serde_json::from_slice(&answer.body).unwrap()
    };
    let service = |service: &Value| {
        let targets = service["targets"].as_array().unwrap_or_else(|| panic!("{service}"));
        let targets = targets.iter().map(|target| target["url"].clone()).collect();
        Value::Array(vec![service["service_name"].clone(), service["circuit_state"].clone(), Value::Array(targets)])
    };
    let rule = |rule: &Value| Value::Array(vec![rule["rule_name"].clone(), rule["subjects"].clone()]);
    let (services, rules) = (told("/services").await, told("/rate-limits").await);
    services.iter().map(service).chain(rules.iter().map(rule)).collect()
}

async fn limited(gateway: &Gateway) -> StatusCode {
    gateway.ask(Request::get("/limited/x").header("x-who", "somebody")).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_candidate_leaves_everything_as_it_was() {
    let origin = Origin::start().await;
    let gateway = Gateway::start(&config(&origin, "/dev/null", "", "", "", "")).await;
    for _ in 0..3 {
        assert_eq!(limited(&gateway).await, 200);
    }
    assert_eq!(limited(&gateway).await, 429);
    let (over, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut client = gateway.h1().await;
    let (stop, count) = (over.clone(), asked.clone());
    let load = tokio::spawn(async move {
        while !stop.load(Ordering::SeqCst) {
            client.ask(Request::get("/free/x")).await.seen();
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    eventually("the load runs", async || (asked.load(Ordering::SeqCst) > 20).then_some(())).await;
    assert!(gateway.reload(&config(&origin, "/dev/null", "  bad", "", "", "")).is_err());
    let (before, connections) = ((series(&gateway).await, known(&gateway).await), origin.connections());
    for (what, candidate) in candidates(&origin, "/nowhere/access.log") {
        let asked_before = asked.load(Ordering::SeqCst);
        assert!(gateway.reload(&candidate).is_err(), "{what} was taken:\n{candidate}");
        assert_eq!((series(&gateway).await, known(&gateway).await), before, "after {what}");
        eventually("requests go on", async || (asked.load(Ordering::SeqCst) > asked_before + 20).then_some(())).await;
    }
    assert_eq!(limited(&gateway).await, 429, "what was counted still counts");
    over.store(true, Ordering::SeqCst);
    load.await.unwrap();
    assert_eq!(origin.connections(), connections, "no connection was made or lost");
    assert_eq!(gateway.status().await["revision"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_plan_brings_is_shown_when_it_serves_and_no_longer() {
    let origin = Origin::start().await;
    let plain = config(&origin, "/dev/null", "", "", "", "");
    let gateway = Gateway::start(&plain).await;
    let rule = "  - { rule_name: fresh, limit_type: per_ip, max_requests: 100, window_seconds: 60 }\n";
    let route = "  - { name: new, path_pattern: /new/*, target_service: shop, rate_limits: [fresh] }\n";
    let shows = async |text: &str| series(&gateway).await.iter().any(|series| series.contains(text));
    gateway.reload(&config(&origin, "/dev/null", "", rule, route, "")).unwrap();
    assert!(
        shows("rule=\"fresh\"").await && !shows("route=\"new\"").await,
        "a route is shown from its first request on"
    );
    assert_eq!(gateway.get("/new/x").await.status, 200);
    eventually("the request is counted", async || shows("route=\"new\"").await.then_some(())).await;
    gateway.reload(&plain).unwrap();
    assert!(!shows("rule=\"fresh\"").await && !shows("route=\"new\"").await);
}
