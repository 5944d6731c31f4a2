//! Services administered while they serve: how they stand, breakers reset, targets drained, instances that come and go.

use std::collections::BTreeSet;
use std::fs;
use std::process::Output;
use std::time::{Duration, Instant};

use hickory_resolver::proto::op::ResponseCode;
use http::Method;
use serde_json::{Value, json};

use crate::support::dns::{DnsServer, Reply};
use crate::support::{Answer, Client, Gateway, Origin, Request, eventually, full};

const BASE: &str = "/api/v1/gateway";

/// Three services, each behind a host of its name.
struct Scene {
    first: Origin,
    second: Origin,
    third: Origin,
    gateway: Gateway,
}

impl Scene {
    async fn start() -> Scene {
        let (first, second, third) =
            (Origin::named("first").await, Origin::named("second").await, Origin::named("third").await);
        let gateway = Gateway::start(&config(&first, &second)).await;
        Scene { first, second, third, gateway }
    }

    async fn get(&self, service: &str, target: &str) -> Answer {
        self.gateway.ask(Request::get(target).header("host", format!("{service}.test"))).await
    }

    /// Who answers eight requests, one after the other; "503" for those that nobody answers.
    async fn answering(&self, service: &str) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for _ in 0..8 {
            let answer = self.get(service, "/who").await;
            names.insert(match answer.status.as_u16() {
                200 => answer.seen().connection.origin,
                status => format!("{status} {}", answer.problem()["code"].as_str().unwrap()),
            });
        }
        names
    }

    /// Waits until exactly these answer.
    async fn answered_by(&self, service: &str, names: &[&str]) {
        let wanted: BTreeSet<_> = names.iter().map(|name| (*name).to_owned()).collect();
        eventually(&format!("{names:?} answer"), async || (self.answering(service).await == wanted).then_some(()))
            .await;
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.ask_with(method, path, "application/json", &body).await
    }

    async fn ask_with(&self, method: Method, path: &str, kind: &str, body: &str) -> Answer {
        let token = fs::read_to_string(self.gateway.file("state/admin.token")).unwrap();
        let request = Request::builder().method(method).uri(format!("{BASE}{path}"));
        let request = request.header("authorization", format!("Bearer {token}")).header("content-type", kind);
        let socket = self.gateway.file("admin.sock");
        Client::unix(socket.to_str().unwrap()).await.ask(request.body(full(body.to_owned())).unwrap()).await
    }

    async fn show(&self, service: &str) -> Value {
        let answer = self.ask(Method::GET, &format!("/services/{service}"), Value::Null).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    async fn post(&self, path: &str, body: Value) -> u16 {
        self.ask(Method::POST, path, body).await.status.as_u16()
    }

    async fn register(&self, ttl: Option<u64>) -> u16 {
        let mut body = json!({"service_name": "live", "service_url": self.third.url()});
        ttl.inspect(|ttl| body["ttl_seconds"] = json!(ttl));
        self.post("/services", body).await
    }

    async fn heartbeat(&self) -> u16 {
        self.post("/services/live/heartbeat", json!({"service_url": self.third.url()})).await
    }

    fn command(&self, args: &[&str]) -> Output {
        self.gateway.command("services", args)
    }
}

fn config(first: &Origin, second: &Origin) -> String {
    let route = |name: &str| {
        format!("  - {{ name: {name}, path_pattern: /*, hosts: [{name}.test], target_service: {name} }}\n")
    };
    let routes: String = ["pair", "plain", "live"].map(route).concat();
    let (first, second) = (first.url(), second.url());
    format!(
        "services:
  pair:
    targets: [\"{first}\", {{ url: \"{second}\", weight: 2 }}]
    health_check: {{ path: /text/5, interval: 50ms, rise: 1, fall: 1 }}
  plain: {{ targets: [\"{first}\"], circuit_breaker: {{ failure_threshold: 3 }} }}
  live:
    targets: []
    registered: true
    circuit_breaker: {{ enabled: false }}
    health_check: {{ kind: tcp, interval: 50ms, rise: 1, fall: 1 }}
routes:\n{routes}"
    )
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn target<'v>(service: &'v Value, url: &str) -> &'v Value {
    service["targets"].as_array().unwrap().iter().find(|target| target["url"] == url).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn services_are_listed_and_shown() {
    let scene = Scene::start().await;
    let pair = eventually("both are checked", async || {
        let shown = scene.show("pair").await;
        let checked = shown["targets"].as_array().unwrap().iter().all(|target| target["status"] == "healthy");
        checked.then_some(shown)
    })
    .await;
    assert_eq!(pair["service_name"], "pair");
    assert_eq!(pair["service_url"], scene.first.url());
    assert_eq!(
        (&pair["circuit_state"], &pair["circuit_open"], &pair["source"]),
        (&json!("closed"), &json!(false), &json!("file"))
    );
    assert!(pair["success_count"].as_u64().unwrap() >= 2 && pair["response_time"].as_f64().unwrap() > 0.0, "{pair}");
    let second = target(&pair, scene.second.url());
    assert_eq!(second["address"], scene.second.address().to_string());
    assert_eq!(
        (&second["weight"], &second["available"], &second["ejected_for"]),
        (&json!(2), &json!(true), &Value::Null)
    );
    let checked: jiff::Timestamp = pair["last_check_at"].as_str().unwrap().parse().unwrap();
    let ago = jiff::Timestamp::now().duration_since(checked).as_secs_f64();
    assert!((0.0..10.0).contains(&ago), "{ago} s ago");

    let all = scene.ask(Method::GET, "/services", Value::Null).await;
    let names: Vec<_> = all.json().as_array().unwrap().iter().map(|service| service["service_name"].clone()).collect();
    assert_eq!((names, all.header("x-total-count")), (vec![json!("live"), json!("pair"), json!("plain")], Some("3")));
    let page = scene.ask(Method::GET, "/services?limit=1&offset=1", Value::Null).await;
    assert_eq!((page.json()[0]["service_name"].clone(), page.json().as_array().unwrap().len()), (json!("pair"), 1));
    assert_eq!(page.header("x-total-count"), Some("3"));
    let health = scene.ask(Method::GET, "/services/plain/health", Value::Null).await.json();
    assert_eq!((&health["service_name"], &health["status"]), (&json!("plain"), &json!("unknown")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_wrongly_is_refused() {
    let scene = Scene::start().await;
    for (method, path) in [
        (Method::GET, "/services"),
        (Method::POST, "/services"),
        (Method::GET, "/services/pair"),
        (Method::DELETE, "/services/live?service_url=http://a"),
        (Method::GET, "/services/pair/health"),
        (Method::POST, "/services/pair/reset"),
        (Method::POST, "/services/pair/drain"),
        (Method::POST, "/services/pair/undrain"),
        (Method::POST, "/services/live/heartbeat"),
    ] {
        let socket = scene.gateway.file("admin.sock");
        let request = Request::builder().method(method.clone()).uri(format!("{BASE}{path}"));
        let answer = Client::unix(socket.to_str().unwrap()).await.ask(request).await;
        assert_eq!(answer.status, 401, "{method} {path}");
    }
    let good = r#""service_name": "live", "service_url": "http://127.0.0.1:1""#;
    let post = |path, body| (Method::POST, path, body, "application/json");
    let table = [
        (post("/services", "{".into()), 400, "not valid JSON"),
        (post("/services", "a: b".into()), 400, "not valid JSON"),
        (post("/services", String::new()), 422, "service_name"),
        (post("/services", "[]".into()), 422, "found an empty list"),
        (post("/services", r#"{"service_name": "live"}"#.into()), 422, "service_url"),
        (post("/services", r#"{"service_name": "live", "service_url": 5}"#.into()), 422, "service_url"),
        (post("/services", r#"{"service_name": "live", "service_url": "ftp://a"}"#.into()), 422, "service_url"),
        (post("/services", format!("{{{good}, \"wieght\": 2}}")), 422, "did you mean"),
        (post("/services", format!("{{{good}, \"weight\": 0}}")), 422, "1 to 1000"),
        (post("/services", format!("{{{good}, \"weight\": 1001}}")), 422, "1 to 1000"),
        (post("/services", format!("{{{good}, \"ttl_seconds\": 0}}")), 422, "1 to 2592000"),
        (post("/services", format!("{{{good}, \"ttl_seconds\": 2592001}}")), 422, "1 to 2592000"),
        (post("/services", format!("{{{good}, \"ttl_seconds\": -1}}")), 422, "ttl_seconds"),
        (post("/services", format!("{{{good}, \"weight\": 1{}}}", " ".repeat(65536))), 413, "limit"),
        (
            post("/services", good.replace("live", "pair").replace("\"service_name", "{\"service_name") + "}"),
            409,
            "registered: true",
        ),
        ((Method::POST, "/services", format!("{{{good}}}"), "text/plain"), 415, "application/json"),
        (post("/services/pari/reset", String::new()), 404, "\\\"pair\\\""),
        (post("/services/pair/reset?target=http://127.0.0.1:1", String::new()), 404, "no target"),
        (post("/services/pair/drain", r#"{"target": "http://127.0.0.1:1"}"#.into()), 404, "no target"),
        (post("/services/pair/drain?target=x", String::new()), 404, "no target"),
        (post("/services/pair/drain?traget=x", String::new()), 400, "traget"),
        (post("/services/pair/drain", r#"{"targets": []}"#.into()), 422, "unknown key"),
        (post("/services/live/heartbeat", r#"{"service_url": "http://127.0.0.1:1"}"#.into()), 404, "not registered"),
        ((Method::DELETE, "/services/live?service_url=http://a", String::new(), ""), 404, "not registered"),
        ((Method::DELETE, "/services/live", String::new(), ""), 409, "services.live: change it there"),
        ((Method::GET, "/services/nobody", String::new(), ""), 404, "known: live, pair, plain"),
        ((Method::GET, "/services?limit=0", String::new(), ""), 422, "1 to 1000"),
        ((Method::GET, "/services?limit=x", String::new(), ""), 400, "limit"),
        ((Method::POST, "/services/pair", String::new(), ""), 405, "does not support this method"),
    ];
    for ((method, path, body, kind), status, words) in table {
        let answer = scene.ask_with(method.clone(), path, kind, &body).await;
        let case = format!("{method} {path} {:.80}: {answer:?}", body);
        assert_eq!(answer.status, status, "{case}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{case}");
        assert!(answer.text().contains(words), "{words} in {case}");
        let errors = answer.json()["errors"].as_array().cloned().unwrap_or_default();
        assert_eq!(!errors.is_empty(), status == 422, "{case}");
    }
    assert_eq!(scene.show("live").await["targets"], json!([]));
    assert_eq!(scene.show("pair").await["draining"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breaker_is_shown_open_and_reset_by_hand() {
    let scene = Scene::start().await;
    for _ in 0..3 {
        assert_eq!(scene.get("plain", "/status/503").await.status, 503);
    }
    let open = eventually("the last request has settled", async || {
        Some(scene.show("plain").await).filter(|shown| shown["circuit_open"] == true)
    })
    .await;
    assert_eq!(
        (&open["circuit_open"], &open["circuit_state"], &open["status"]),
        (&json!(true), &json!("open"), &json!("unhealthy"))
    );
    assert_eq!(scene.answering("plain").await, ["503 circuit_open".to_owned()].into());
    let reset = scene.ask(Method::POST, "/services/plain/reset", Value::Null).await;
    assert_eq!((reset.status.as_u16(), &reset.json()["circuit_state"]), (200, &json!("closed")));
    scene.answered_by("plain", &["first"]).await;
    assert!(scene.gateway.said().contains("service plain: circuit breaker reset by the admin token"));
    let counted = "gatekeeper_breaker_transitions_total{service=\"plain\",to=\"reset\"} 1\n";
    assert!(scene.gateway.metrics().await.contains(counted), "{counted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ejection_is_told_and_ended_by_hand() {
    let scene = Scene::start().await;
    let failing = format!(
        "services:
  app: {{ targets: [\"{}\", \"{}\"], ejection: {{ failures: 1, base: 5m }}, circuit_breaker: {{ enabled: false }} }}
routes: [{{ name: app, path_pattern: /*, target_service: app, retry_count: 0 }}]\n",
        scene.first.url(),
        scene.second.url()
    );
    scene.gateway.reload(&failing).unwrap();
    let ejected = async || {
        let shown = scene.show("app").await;
        shown["targets"].as_array().unwrap().iter().find(|target| target["available"] == false).cloned()
    };
    let eject = async || {
        eventually("a target is ejected", async || {
            scene.gateway.get("/status/503").await;
            ejected().await
        })
        .await
    };
    let target = eject().await;
    let (url, why) = (target["url"].as_str().unwrap(), target["unavailable_because"].as_str().unwrap());
    assert!(why.starts_with("ejected until 2") && why.ends_with('Z'), "{why}");
    let shown = text(&scene.command(&["show", "app"]).stdout);
    assert!(shown.contains(&format!("no: {why}")) && shown.starts_with("app is degraded\n"), "{shown}");
    let other = if url == scene.first.url() { scene.second.url() } else { scene.first.url() };
    assert_eq!(scene.post("/services/app/reset", json!({ "target": other })).await, 200);
    assert!(ejected().await.is_some(), "another one was meant");
    assert_eq!(scene.post("/services/app/reset", json!({ "target": url })).await, 200);
    assert_eq!(ejected().await, None);
    let address = target["address"].as_str().unwrap();
    let line = format!("service app: the ejection of {address} was ended by the admin token from the unix socket\n");
    assert!(scene.gateway.said().contains(&line), "{line}{}", scene.gateway.said());
    eject().await;
    assert!(text(&scene.command(&["reset", "app"]).stdout).contains("targets     2/2 available"));
    assert_eq!(ejected().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_gets_no_requests_says_why() {
    let scene = Scene::start().await;
    let dns = DnsServer::start();
    dns.reply_to_all("gone.test.", Reply::Code(ResponseCode::NXDomain));
    let config = format!(
        "dns: {{ servers: [\"{}\"], timeout: 1s }}
services:
  app:
    targets: [\"{}\", \"http://gone.test:1\", {{ url: \"http://127.0.0.1:1\", weight: 0 }}, \"http://127.0.0.1:2\"]
    health_check: {{ kind: tcp, interval: 50ms, rise: 1, fall: 1 }}
routes: [{{ name: app, path_pattern: /*, target_service: app }}]\n",
        dns.address,
        scene.first.url()
    );
    scene.gateway.reload(&config).unwrap();
    let why = async || {
        let shown = scene.show("app").await;
        let told = |url| target(&shown, url)["unavailable_because"].as_str().map(String::from);
        let all = [scene.first.url(), "http://gone.test:1", "http://127.0.0.1:1", "http://127.0.0.1:2"].map(told);
        let wanted =
            [None, Some("does not resolve: NXDOMAIN"), Some("its weight is 0"), Some("fails its health check")];
        (all == wanted.map(|why| why.map(String::from))).then_some(())
    };
    eventually("each says why", why).await;
    let shown = text(&scene.command(&["show", "app"]).stdout);
    assert!(shown.contains("no: does not resolve: NXDOMAIN"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_target_gets_no_new_requests_and_finishes_those_it_has() {
    let scene = Scene::start().await;
    let url = scene.second.url();
    scene.answered_by("pair", &["first", "second"]).await;
    let slow = async || scene.get("pair", "/slow/800").await.status.as_u16();
    let act = async {
        let busy = async || (target(&scene.show("pair").await, url)["in_flight"] != 0).then_some(());
        eventually("the second is busy", busy).await;
        assert_eq!(scene.post("/services/pair/drain", json!({"target": url})).await, 200);
        assert_eq!(scene.answering("pair").await, ["first".to_owned()].into());
        let shown = scene.show("pair").await;
        let drained = target(&shown, url);
        assert_eq!((&drained["drained"], &drained["available"]), (&json!(true), &json!(false)));
        assert_eq!(shown["draining"], false);
        assert_ne!(drained["in_flight"], 0, "it is on its way");
    };
    let (a, b, c, ()) = tokio::join!(slow(), slow(), slow(), act);
    assert_eq!([a, b, c], [200; 3]);
    scene.gateway.reload(&config(&scene.first, &scene.second).replace("weight: 2", "weight: 3")).unwrap();
    assert_eq!(scene.answering("pair").await, ["first".to_owned()].into(), "a reload changes nothing");
    assert_eq!(scene.post(&format!("/services/pair/undrain?target={url}"), Value::Null).await, 200);
    scene.answered_by("pair", &["first", "second"]).await;
    let said = scene.gateway.said();
    assert!(said.contains(&format!("service pair: {url} drained by the admin token")), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_service_takes_no_new_requests_and_finishes_those_it_has() {
    let scene = Scene::start().await;
    let act = async {
        eventually("it is busy", async || (scene.show("plain").await["in_flight"] == 1).then_some(())).await;
        assert_eq!(scene.post("/services/plain/drain", Value::Null).await, 200);
        assert_eq!(scene.answering("plain").await, ["503 no_target".to_owned()].into());
        let shown = scene.show("plain").await;
        assert_eq!(
            (&shown["draining"], &shown["in_flight"], &shown["status"]),
            (&json!(true), &json!(1), &json!("unhealthy"))
        );
    };
    let (slow, ()) = tokio::join!(scene.get("plain", "/slow/800"), act);
    assert_eq!((slow.status.as_u16(), slow.text()), (200, "at last"));
    assert_eq!(scene.post("/services/plain/undrain", Value::Null).await, 200);
    assert_eq!(scene.answering("plain").await, ["first".to_owned()].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_registers_serves_and_deregisters() {
    let scene = Scene::start().await;
    assert_eq!(scene.answering("live").await, ["503 no_target".to_owned()].into());
    assert_eq!(scene.register(None).await, 201);
    assert_eq!(scene.register(None).await, 200, "renewed");
    scene.answered_by("live", &["third"]).await;
    let is_well = async || (target(&scene.show("live").await, scene.third.url())["status"] == "healthy").then_some(());
    eventually("it is checked", is_well).await;
    let shown = scene.show("live").await;
    assert_eq!((&shown["registered"], &shown["targets"][0]["registered"]), (&json!(true), &json!(true)));
    assert_eq!(shown["circuit_state"], Value::Null);

    let nobody = json!({"service_name": "live", "service_url": "http://127.0.0.1:1", "weight": 5});
    assert_eq!(scene.post("/services", nobody).await, 201);
    let is_ill = async || {
        let shown = scene.show("live").await;
        let found = shown["targets"].as_array().unwrap().iter().find(|target| target["url"] == "http://127.0.0.1:1");
        let ill = found.filter(|target| target["status"] == "unhealthy").map(|target| target["weight"] == 5);
        ill.map(|weighs| weighs && shown["status"] == "degraded")
    };
    assert!(eventually("nobody is found ill", is_ill).await);
    scene.answered_by("live", &["third"]).await;

    scene.gateway.reload(&config(&scene.first, &scene.second).replace("fall: 1", "fall: 2")).unwrap();
    assert_eq!(scene.answering("live").await, ["third".to_owned()].into(), "a reload keeps it");
    let gone = format!("/services/live?service_url={}", scene.third.url());
    assert_eq!(scene.ask(Method::DELETE, &gone, Value::Null).await.status, 204);
    assert_eq!(scene.ask(Method::DELETE, &gone, Value::Null).await.status, 404);
    scene.answered_by("live", &["503 no_target"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_says_who_changed_something() {
    let scene = Scene::start().await;
    let url = scene.third.url();
    assert_eq!(scene.register(None).await, 201);
    assert_eq!(scene.post("/services/live/undrain", Value::Null).await, 200);
    let gone = scene.ask(Method::DELETE, &format!("/services/live?service_url={url}"), Value::Null).await;
    assert_eq!(gone.status, 204);
    assert_eq!(scene.post("/config/reload", Value::Null).await, 200);
    let said = scene.gateway.said();
    for act in [
        &format!("service live: \"{url}\" registered"),
        "service live: undrained",
        &format!("service live: \"{url}\" deregistered"),
        "reload requested",
    ] {
        let line = format!("{act} by the admin token from the unix socket\n");
        assert!(said.contains(&line), "{line}{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_lasts_as_long_as_it_is_renewed() {
    let scene = Scene::start().await;
    assert_eq!(scene.register(Some(1)).await, 201);
    scene.answered_by("live", &["third"]).await;
    let shown = scene.show("live").await;
    assert_eq!(shown["targets"][0]["ttl_seconds"], 1);
    assert!(shown["targets"][0]["expires_in"].as_f64().unwrap() <= 1.0, "{shown}");
    let mut last = Instant::now();
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        last = Instant::now();
        assert_eq!(scene.heartbeat().await, 204);
        assert_eq!(scene.answering("live").await, ["third".to_owned()].into());
    }
    scene.answered_by("live", &["503 no_target"]).await;
    let took = last.elapsed();
    assert!((Duration::from_millis(900)..Duration::from_secs(2)).contains(&took), "it went after {took:?}");
    assert_eq!(scene.heartbeat().await, 404);
    assert_eq!(scene.register(Some(1)).await, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_services_together_are_told_to_everyone_but_their_addresses() {
    let scene = Scene::start().await;
    let known = async |query: &str| scene.ask(Method::GET, &format!("/health{query}"), Value::Null).await;
    let anybody = async |query: &str| scene.gateway.admin(&format!("{BASE}/health{query}")).await;
    let told = known("").await;
    // Nobody has registered with one of them.
    assert_eq!((told.status.as_u16(), &told.json()["status"]), (200, &json!("degraded")));
    assert_eq!((known("?strict").await.status.as_u16(), anybody("?strict=true").await.status.as_u16()), (503, 503));
    assert_eq!(known("?strict=false").await.status, 200);
    assert_eq!((&told.json()["revision"], told.json()["uptime_seconds"].is_u64()), (&json!(1), true));
    assert_eq!(told.json()["services"][1]["service_url"], scene.first.url());
    let public = anybody("").await;
    assert_eq!((public.status.as_u16(), public.json()["services"].as_array().unwrap().len()), (200, 3));
    assert!(!public.text().contains("127.0.0.1") && !public.text().contains("targets"), "{}", public.text());

    assert_eq!(scene.register(None).await, 201);
    let is_healthy = async || (known("?strict").await.json()["status"] == "healthy").then_some(());
    eventually("all are well", is_healthy).await;
    assert_eq!(anybody("?strict").await.status, 200);
    for name in ["pair", "plain", "live"] {
        assert_eq!(scene.post(&format!("/services/{name}/drain"), Value::Null).await, 200);
    }
    let down = anybody("").await;
    assert_eq!((down.status.as_u16(), &down.json()["status"]), (503, &json!("unhealthy")));

    let by_url = format!("routes: [{{ name: all, path_pattern: /*, target_url: \"{}\" }}]\n", scene.third.url());
    scene.gateway.reload(&by_url).unwrap();
    assert_eq!(known("").await.json()["services"][0]["service_name"], scene.third.url());
    assert_eq!(anybody("").await.json()["services"], json!([]), "its name is its address");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_administers_services() {
    let scene = Scene::start().await;
    scene.answered_by("pair", &["first", "second"]).await;
    let run = |args: &[&str]| {
        let output = scene.command(args);
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    };
    eventually("the checks are done", async || run(&["list"]).1.contains("pair   healthy").then_some(())).await;
    let list = "NAME   STATUS     CIRCUIT  TARGETS  IN FLIGHT  WAITING
live   unhealthy  none     0/0      0          0
pair   healthy    closed   2/2      0          0
plain  unknown    closed   1/1      0          0\n";
    assert_eq!(run(&["list"]), (0, list.into(), String::new()));
    let json: Value = serde_json::from_str(&run(&["list", "--json"]).1).unwrap();
    assert_eq!(json[1]["targets"][0]["url"], scene.first.url());

    let (code, shown, _) = run(&["show", "pair"]);
    assert_eq!(code, 0);
    assert!(shown.starts_with("pair is healthy\ncircuit     closed\ntargets     2/2 available\n"), "{shown}");
    assert!(shown.contains(scene.second.url()), "{shown}");

    let (code, drained, _) = run(&["drain", "pair", "--target", scene.second.url()]);
    assert!(code == 0 && drained.contains("no: drained"), "{drained}");
    assert!(drained.starts_with("pair is degraded\n"), "{drained}");
    assert_eq!(scene.answering("pair").await, ["first".to_owned()].into());
    assert_eq!(run(&["undrain", "pair", "--target", scene.second.url(), "--quiet"]), (0, String::new(), String::new()));
    assert!(run(&["drain", "plain"]).1.starts_with("plain is unhealthy (drained)\n"));
    assert_eq!(scene.answering("plain").await, ["503 no_target".to_owned()].into());
    assert_eq!(run(&["undrain", "plain"]).0, 0);
    for _ in 0..3 {
        scene.get("plain", "/status/503").await;
    }
    assert!(run(&["list"]).1.contains("plain  unhealthy  open "), "{}", run(&["list"]).1);
    assert!(run(&["reset", "plain"]).1.contains("circuit     closed"));

    let refused = |said: &str| (1, String::new(), format!("gatekeeper: {said}\n"));
    let unknown = "there is no service \"plian\"; did you mean \"plain\"?";
    for command in ["show", "reset", "drain", "undrain"] {
        assert_eq!(run(&[command, "plian"]), refused(unknown), "{command}");
    }
    let known = format!("there is no target \"x\"; known: {}", scene.first.url());
    assert_eq!(run(&["drain", "plain", "--target", "x"]), refused(&known));
    assert_eq!(run(&["reset", "plain", "--target", "x"]), refused(&known));
    assert_eq!(run(&["reset", "live", "--quiet"]), (0, String::new(), String::new()), "there is nothing to reset");
    assert_eq!((run(&[]).0, run(&["show"]).0), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_instance_that_registers_again_is_a_new_one() {
    let scene = Scene::start().await;
    assert_eq!(scene.register(None).await, 201);
    scene.answered_by("live", &["third"]).await;
    assert_eq!(scene.post("/services/live/drain", json!({"target": scene.third.url()})).await, 200);
    assert_eq!(scene.register(None).await, 200, "renewed, it stays drained");
    assert_eq!(scene.show("live").await["targets"][0]["drained"], true);
    let gone = format!("/services/live?service_url={}", scene.third.url());
    assert_eq!(scene.ask(Method::DELETE, &gone, Value::Null).await.status, 204);
    assert_eq!(scene.register(None).await, 201);
    assert_eq!(scene.show("live").await["targets"][0]["drained"], false);
    scene.answered_by("live", &["third"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_hands_over_who_registered_and_what_was_drained() {
    let mut scene = Scene::start().await;
    assert_eq!(scene.register(Some(600)).await, 201);
    let second = scene.second.url().to_owned();
    assert_eq!(scene.post("/services/pair/drain", json!({"target": second})).await, 200);
    // The new process takes its time, in which things go on changing.
    let real = std::fs::canonicalize(scene.gateway.file("gatekeeper")).unwrap();
    let started = scene.gateway.file("started");
    let script = format!("#!/bin/sh\ntouch {}\nsleep 2\nexec {} \"$@\"\n", started.display(), real.display());
    scene.gateway.install(&script, 0o755);
    let mut upgrade = scene.gateway.spawn_command("upgrade", &[]);
    eventually("it begins", async || started.exists().then_some(())).await;
    assert_eq!(scene.post("/services/plain/drain", json!({})).await, 200);
    let reload = scene.gateway.command("reload", &[]);
    assert_eq!(reload.status.code(), Some(1), "it would be undone by what the new process has read");
    assert!(String::from_utf8_lossy(&reload.stderr).contains("an upgrade is in progress"));
    let ended = eventually("it ends", async || upgrade.try_wait().unwrap()).await;
    assert!(ended.success(), "{}", scene.gateway.said());
    let upgraded = eventually("administration is the new process's", async || {
        let status = scene.gateway.status().await;
        (status["pid"] != scene.gateway.pid()).then_some(status)
    })
    .await;
    scene.gateway.adopt(upgraded["pid"].as_u64().unwrap().try_into().unwrap());
    for _ in 0..10 {
        assert_eq!(scene.answering("live").await, BTreeSet::from(["third".to_owned()]), "from the first request on");
    }
    let live = scene.show("live").await;
    let left = live["targets"][0]["expires_in"].as_f64().unwrap();
    assert!(left > 500.0 && left < 599.0, "{live}");
    let drained =
        |service: &Value| service["targets"].as_array().unwrap().iter().filter(|t| t["drained"] == true).count();
    assert_eq!(drained(&scene.show("pair").await), 1);
    assert_eq!(scene.show("plain").await["draining"], true);
    assert_eq!(scene.heartbeat().await, 204);
    assert_eq!(scene.gateway.command("reload", &[]).status.code(), Some(0));
}
