//! Every file in conf/examples is checked and does through a running gateway what its comments say.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use crate::support::dns::{DnsServer, records};
use crate::support::grpc::{Caller, Number};
use crate::support::peer::bearing;
use crate::support::tls::{Authority, Files};
use crate::support::websocket::Socket;
use crate::support::{Answer, Client, Gateway, Origin, Provider, Raw, RawOrigin, Request, Seen, eventually, full};

/// A test for each file; a file without one fails the test of the list.
macro_rules! examples {
    ($($test:ident: $file:literal,)*) => {
        const EXERCISED: &[&str] = &[$($file),*];
        mod run {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(super::Example($file)).await;
            })*
        }
    };
}

examples! {
    access_log: "access-log.yaml",
    authentication: "authentication.yaml",
    authorisation: "authorisation.yaml",
    caps: "caps.yaml",
    circuit_breaker: "circuit-breaker.yaml",
    client_certificates: "client-certificates.yaml",
    compression: "compression.yaml",
    cors: "cors.yaml",
    discovery: "discovery.yaml",
    drain: "drain.yaml",
    engadi: "engadi.yaml",
    forward_auth: "forward-auth.yaml",
    grpc: "grpc.yaml",
    health_checks: "health-checks.yaml",
    hosts: "hosts.yaml",
    https: "https.yaml",
    limits: "limits.yaml",
    listeners: "listeners.yaml",
    load_balancing: "load-balancing.yaml",
    methods_headers_query: "methods-headers-query.yaml",
    path_patterns: "path-patterns.yaml",
    proxy_protocol: "proxy-protocol.yaml",
    rate_limits: "rate-limits.yaml",
    redirect_and_respond: "redirect-and-respond.yaml",
    retries: "retries.yaml",
    rewrite: "rewrite.yaml",
    several_files: "several-files/gatekeeper.yaml",
    shields: "shields.yaml",
    trusted_proxies: "trusted-proxies.yaml",
    unix_socket: "unix-socket.yaml",
    upstream_tls: "upstream-tls.yaml",
    variables: "variables.yaml",
    versions_and_split: "versions-and-split.yaml",
    websocket_and_sse: "websocket-and-sse.yaml",
}

/// A file in conf/examples.
struct Example(&'static str);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/examples")
}

impl Example {
    fn path(&self) -> PathBuf {
        folder().join(self.0)
    }

    /// Checks it and runs it.
    async fn run(&self, variables: &[(&str, &str)]) -> Gateway {
        let gateway = Gateway::of_file(self.path(), variables).await;
        let output = gateway.command("check", &["--json"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        // Who owns the files of this folder is the machine's business.
        let of_files = |lint: &&Value| lint.to_string().contains(" may change ");
        let lints: Vec<_> = report["lints"].as_array().unwrap().iter().filter(|lint| !of_files(lint)).collect();
        assert!(lints.is_empty(), "{lints:?}");
        assert!(report["tests"].as_u64() > Some(0), "{} has no tests of its own", self.0);
        gateway
    }
}

fn listed(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            // Parts of the file beside them.
            true if path.ends_with("conf.d") => {}
            true => listed(&path, found),
            false => found.extend(path.extension().is_some_and(|extension| extension == "yaml").then_some(path)),
        }
    }
}

#[test]
fn every_example_is_exercised_and_names_its_schema() {
    let mut files = Vec::new();
    listed(&folder(), &mut files);
    files.sort();
    let names: Vec<_> = files.iter().map(|file| file.strip_prefix(folder()).unwrap().to_str().unwrap()).collect();
    assert_eq!(names, EXERCISED);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let schema = text.lines().next().unwrap().strip_prefix("# yaml-language-server: $schema=").unwrap();
        assert!(file.parent().unwrap().join(schema).canonicalize().unwrap().ends_with("conf/gatekeeper.schema.json"));
    }
}

#[test]
fn every_example_is_good_as_it_stands() {
    // These name certificates that another machine has.
    let elsewhere = ["client-certificates.yaml", "https.yaml", "listeners.yaml", "upstream-tls.yaml"];
    for name in EXERCISED.iter().filter(|name| !elsewhere.contains(name)) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatekeeper"));
        command.env("SECRET_KEY", "the one thing that no example can bring along");
        let output = command.args(["check", "-c"]).arg(folder().join(name)).output().unwrap();
        // The names of an example's services exist elsewhere.
        let told = String::from_utf8(output.stderr).unwrap();
        let warned = told.lines().find(|line| !line.contains("does not resolve"));
        assert!(output.status.success() && warned.is_none(), "{told}");
    }
}

/// What the upstream of this name saw.
fn seen_by(answer: &Answer, origin: &str) -> Seen {
    let seen = answer.seen();
    assert_eq!(seen.connection.origin, origin, "{seen:?}");
    seen
}

async fn caps(example: Example) {
    let (small, large) = (Origin::named("small").await, Origin::named("large").await);
    let gateway = example.run(&[("SMALL_URL", small.url()), ("LARGE_URL", large.url())]).await;
    // Three at once, two that wait for half a second, one that finds the queue full.
    let asked = (0..6).map(|_| gateway.get("/slow/800"));
    let answers = futures::future::join_all(asked).await;
    let refused = answers.iter().filter(|answer| answer.status == 503).collect::<Vec<_>>();
    assert_eq!(refused.len(), 3);
    for answer in refused {
        assert_eq!(
            (answer.header("x-gatekeeper-error"), answer.header("retry-after")),
            (Some("service_busy"), Some("1"))
        );
    }
    assert_eq!((small.requests(), large.requests()), (1, 2));
}

async fn circuit_breaker(example: Example) {
    let origin = Origin::start().await;
    let variables =
        [("ORDERS_URL", origin.url()), ("SEARCH_URL", origin.url()), ("REPORTS_URL", origin.url()), ("OPEN_FOR", "1s")];
    let gateway = example.run(&variables).await;
    for _ in 0..3 {
        assert_eq!(gateway.get("/orders/status/503").await.header("x-gatekeeper-error"), None);
    }
    let refused = eventually("the last request has settled", async || {
        Some(gateway.get("/orders/status/503").await).filter(|answer| answer.header("x-gatekeeper-error").is_some())
    })
    .await;
    assert_eq!(refused.header("x-gatekeeper-error"), Some("circuit_open"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(gateway.get("/rescue/1").await.status, 200);
    eventually("a probe closes it", async || (gateway.get("/orders/1").await.status == 200).then_some(())).await;
    for _ in 0..30 {
        assert_eq!(gateway.get("/reports/1").await.status, 200);
    }
}

async fn discovery(example: Example) {
    let (dns, origin) = (DnsServer::start(), Origin::start().await);
    dns.addresses("content.service.internal.", 1, &["127.0.0.2"]);
    let (server, port) = (dns.address.to_string(), origin.address().port().to_string());
    let gateway = example.run(&[("DNS_SERVER", &server), ("CONTENT_PORT", &port)]).await;
    assert_eq!(gateway.get("/content/1").await.status, 502);
    dns.addresses("content.service.internal.", 1, &["127.0.0.1"]);
    let moved = format!("address=\"127.0.0.1:{port}\"");
    eventually("its new address", async || gateway.metrics().await.contains(&moved).then_some(())).await;
    assert_eq!(gateway.get("/content/1").await.status, 200);
    // A name that is no more keeps its last addresses.
    dns.reply_to_all("content.service.internal.", records([]));
    let asked = dns.asked_in_all();
    eventually("it is asked for again", async || (dns.asked_in_all() > asked + 2).then_some(())).await;
    assert_eq!(gateway.get("/content/1").await.status, 200);
    assert_eq!(gateway.get("/workers/1").await.header("x-gatekeeper-error"), Some("no_target"));
}

async fn health_checks(example: Example) {
    let origin = Origin::start().await;
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let spare = format!("http://{}", dead.local_addr().unwrap());
    drop(dead);
    let variables = [
        ("CONTENT_URL", origin.url()),
        ("SPARE_URL", &spare),
        ("CACHE_URL", origin.url()),
        ("NUMBERS_URL", origin.url()),
        ("HEALTH_PATH", "/status/204"),
        ("INTERVAL", "50ms"),
    ];
    let gateway = example.run(&variables).await;
    let health = async |target: &str, state: &str| {
        let line = format!("gatekeeper_target_health{{service=\"{target}\"");
        eventually("the checks have found out", async || {
            let metrics = gateway.metrics().await;
            let states =
                metrics.lines().filter(|text| text.starts_with(&line)).map(|text| text.rsplit(' ').next().unwrap());
            let mut states: Vec<_> = states.collect();
            states.sort();
            (states.join(" ") == state).then_some(())
        })
        .await;
    };
    health("content", "1 3").await;
    health("cache", "1").await;
    health("numbers", "3").await;
    for _ in 0..10 {
        let answer = gateway.get("/content/1").await;
        assert_eq!((answer.status.as_u16(), answer.seen().header("x-gatekeeper-attempt")), (200, Some("1")));
    }
    assert_eq!(gateway.get("/cache/1").await.status, 200);
    assert_eq!(gateway.ask(Request::post("/Numbers/Double")).await.header("x-gatekeeper-error"), Some("no_target"));
}

async fn load_balancing(example: Example) {
    let (first, second) = (Origin::named("first").await, Origin::named("second").await);
    let gateway = example.run(&[("FIRST_URL", first.url()), ("SECOND_URL", second.url())]).await;
    for _ in 0..40 {
        assert_eq!(gateway.get("/turns/1").await.status, 200);
    }
    assert_eq!((first.requests(), second.requests()), (10, 30));
    let at = async |tenant: &str| {
        let answer = gateway.ask(Request::get("/tenants/1").header("x-tenant", tenant)).await;
        answer.seen().connection.origin
    };
    let mut places = std::collections::BTreeSet::new();
    for tenant in (0..20).map(|tenant| tenant.to_string()) {
        let place = at(&tenant).await;
        assert_eq!(at(&tenant).await, place);
        places.insert(place);
    }
    assert_eq!(places.len(), 2);
    assert_eq!(gateway.get("/least/1").await.status, 200);
}

async fn retries(example: Example) {
    let (content, spare) = (Origin::named("content").await, Origin::named("spare").await);
    let gateway = example.run(&[("CONTENT_URL", content.url()), ("SPARE_URL", spare.url())]).await;
    let answer = gateway.get("/status/503").await;
    assert_eq!((answer.status.as_u16(), answer.header("x-gatekeeper-error")), (503, None));
    assert_eq!(content.requests() + spare.requests(), 3);
    let paid = |key: Option<&'static str>| {
        let request = Request::post("/payments/1").header("answer-x", "y");
        key.into_iter().fold(request, |request, key| request.header("idempotency-key", key))
    };
    for key in [None, Some("1")] {
        assert_eq!(gateway.ask(paid(key)).await.status, 200);
    }
}

async fn access_log(example: Example) {
    let (origin, folder) = (Origin::start().await, tempfile::tempdir().unwrap());
    let log = folder.path().join("access.log");
    let gateway = example.run(&[("APP_URL", origin.url()), ("ACCESS_LOG", log.to_str().unwrap())]).await;
    gateway.ask(Request::get("/items?page=2&token=hidden").header("x-tenant", "acme")).await.seen();
    let line = eventually("a record", async || fs::read_to_string(&log).ok().filter(|text| text.ends_with('\n'))).await;
    let record: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&record["path"], &record["client_ip"]), (&"/items".into(), &"127.0.0.0".into()), "{line}");
    assert!(line.contains("page=2") && line.contains("acme") && !line.contains("hidden"), "{line}");
}

async fn client_certificates(example: Example) {
    let (authority, clients, files) = (Authority::new(), Authority::new(), Files::new());
    let [blue, green] = [Origin::named("blue").await, Origin::named("green").await];
    files.pair("site", &authority.issue("example.org"));
    files.write("clients.pem", &clients.pem());
    let folder = files.path("");
    let variables = [("BLUE_URL", blue.url()), ("GREEN_URL", green.url()), ("CERTIFICATES", &folder)];
    let gateway = example.run(&variables).await;
    let alice = authority.connector(&["h2"], Some(&clients.issue("alice")));
    let mut services = Vec::new();
    for _ in 0..5 {
        let mut client = Client::tls(gateway.address, &alice, "example.org").await.unwrap();
        let seen = client.ask(Request::get("/x").header("x-gatekeeper-client-subject", "CN=bob")).await.seen();
        assert_eq!(seen.header("x-gatekeeper-client-subject"), Some("CN=alice"));
        services.push(seen.connection.origin);
    }
    assert!(services.iter().all(|service| *service == services[0]), "{services:?}");
    let nobody = authority.connector(&["http/1.1"], None);
    if let Ok(mut client) = Client::tls(gateway.address, &nobody, "example.org").await {
        // In TLS 1.3 a client learns only after its handshake that it was refused.
        assert!(client.send(Request::get("/x")).await.is_err());
    }
}

async fn listeners(example: Example) {
    let (authority, clients, files) = (Authority::new(), Authority::new(), Files::new());
    let [shop, orders] = [Origin::named("shop").await, Origin::named("orders").await];
    files.pair("site", &authority.issue("example.org"));
    files.write("clients.pem", &clients.pem());
    let folder = files.path("");
    let variables =
        [("SHOP_URL", shop.url()), ("ORDERS_URL", orders.url()), ("CERTIFICATES", &folder), ("PARTNERS_PORT", "0")];
    let gateway = example.run(&variables).await;
    let connector = authority.connector(&["h2"], Some(&clients.issue("partner")));
    let mut partner = Client::tls(gateway.listener(1), &connector, "example.org").await.unwrap();
    for (path, service) in [("/orders/1", "orders"), ("/shop/1", "shop")] {
        assert_eq!(partner.ask(Request::get(path)).await.seen().connection.origin, service);
    }
    assert_eq!(gateway.get("/shop/1").await.seen().connection.origin, "shop");
    assert_eq!(gateway.get("/orders/1").await.status, 404);
}

async fn compression(example: Example) {
    let origin = Origin::start().await;
    let gateway = example.run(&[("APP_URL", origin.url())]).await;
    let ask =
        |path: &str| Request::get(path).header("accept-encoding", "gzip").header("answer-content-type", "text/css");
    let packed = gateway.ask(ask("/text/50000")).await;
    assert_eq!((packed.header("content-encoding"), packed.body.len() < 5000), (Some("gzip"), true));
    let plain = gateway.ask(ask("/account/text/50000")).await;
    assert_eq!((plain.header("content-encoding"), plain.body.len()), (None, 50000));
}

async fn drain(example: Example) {
    let origin = Origin::start().await;
    let mut gateway = example.run(&[("APP_URL", origin.url()), ("LAME_DUCK", "700ms")]).await;
    gateway.signal("TERM");
    eventually("it is not ready", async || (gateway.get("/ready").await.status == 503).then_some(())).await;
    let answer = gateway.get("/text/5").await;
    assert_eq!((answer.status.as_u16(), answer.header("connection")), (200, Some("close")));
    assert!(gateway.ended().await.success());
}

/// A token of the gateway's own making.
fn minted(gateway: &Gateway, args: &[&str]) -> String {
    String::from_utf8(gateway.command("jwt", args).stdout).unwrap().trim().to_owned()
}

async fn authentication(example: Example) {
    let (origin, provider) = (Origin::start().await, Provider::start().await);
    let introspection = format!("{}/token/introspection", provider.issuer);
    let variables = [("APP_URL", origin.url()), ("ISSUER", &provider.issuer), ("INTROSPECTION_URL", &introspection)];
    let gateway = example.run(&variables).await;
    let user = async |request: http::request::Builder| {
        let answer = gateway.ask(request).await;
        if answer.status == 200 { answer.seen().header("x-user-id").map(String::from) } else { None }
    };
    let signed = provider.token("alice", Some("https://api.test")).await;
    let opaque = provider.token("bob", None).await;
    let house = minted(&gateway, &["--sub", "carl"]);
    assert_eq!(user(bearing(&signed, "/x")).await.as_deref(), Some("alice"));
    assert_eq!(user(bearing(&opaque, "/x")).await.as_deref(), Some("bob"));
    assert_eq!(user(bearing(&house, "/x")).await.as_deref(), Some("carl"));
    let key = Request::get("/import/x").header("x-api-key", "for-development-only");
    assert_eq!(user(key).await.as_deref(), Some("nightly-import"));
    assert_eq!(gateway.ask(bearing(&signed, "/import/x")).await.status, 401);
    assert_eq!(gateway.get("/x").await.status, 401);
    assert_eq!(gateway.get("/about").await.seen().header("x-user-id"), None);
    for _ in 0..20 {
        assert_eq!(gateway.ask(bearing("wrong", "/x")).await.status, 401);
    }
    assert_eq!(gateway.ask(bearing("wrong", "/x")).await.status, 429);
}

async fn authorisation(example: Example) {
    let origin = Origin::start().await;
    let gateway = example.run(&[("APP_URL", origin.url())]).await;
    let ask = async |method: http::Method, path: &str, args: &[&str]| {
        gateway.ask(bearing(&minted(&gateway, args), path).method(method)).await.status.as_u16()
    };
    use http::Method;
    assert_eq!(ask(Method::GET, "/orders/1", &["--scope", "orders:read"]).await, 200);
    assert_eq!(ask(Method::POST, "/orders/1", &["--scope", "orders:read"]).await, 403);
    assert_eq!(ask(Method::POST, "/orders/1", &["--scope", "orders:read", "--scope", "orders:write"]).await, 200);
    assert_eq!(ask(Method::GET, "/admin/x", &["--role", "operator"]).await, 200);
    assert_eq!(ask(Method::GET, "/admin/x", &[]).await, 403);
    assert_eq!(ask(Method::GET, "/users/alice", &["--sub", "alice"]).await, 200);
    assert_eq!(ask(Method::GET, "/users/alice", &["--sub", "bob"]).await, 403);
    let support = r#"{"org":{"id":"house"},"groups":["staff"]}"#;
    assert_eq!(
        ask(Method::GET, "/users/alice", &["--sub", "bob", "--role", "support", "--claims", support]).await,
        200
    );
    assert_eq!(ask(Method::GET, "/reports/x", &[]).await, 200);
    let told = "gatekeeper_policy_decisions_total{outcome=\"would_refuse\",policy=\"access\",rule=\"\"}";
    assert_eq!(gateway.metric(told).await, 1.0);
    let explained = gateway.command("explain", &["GET", "/users/alice", "--as", "bob"]);
    let explained = String::from_utf8(explained.stdout).unwrap();
    assert!(
        explained.contains("auth        bob (jwt), assumed") && explained.contains("answers     403 access_denied"),
        "{explained}"
    );
}

async fn forward_auth(example: Example) {
    let origin = Origin::start().await;
    let decider = RawOrigin::playing(|mut raw| async move {
        while let Some(request) = raw.request().await {
            let known =
                request.header("cookie") == Some("session=1") && request.header("x-forwarded-uri") == Some("/a?b=c");
            let answer = match known {
                true => "HTTP/1.1 204 No Content\r\nx-user-id: fred\r\nx-user-plan: gold\r\n\r\n",
                false => "HTTP/1.1 303 See Other\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n",
            };
            raw.send(answer).await;
        }
    })
    .await;
    let gateway = example.run(&[("APP_URL", origin.url()), ("DECIDER_URL", &decider.url())]).await;
    let seen = gateway.ask(Request::get("/a?b=c").header("cookie", "session=1")).await.seen();
    assert_eq!((seen.header("x-user-id"), seen.header("x-user-plan")), (Some("fred"), Some("gold")));
    let answer = gateway.ask(Request::get("/a").header("x-user-id", "root")).await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (303, Some("/login")));
}

async fn rate_limits(example: Example) {
    let origin = Origin::start().await;
    let gateway = example.run(&[("APP_URL", origin.url()), ("LOAD_BALANCER", "127.0.0.1")]).await;
    let passed = async |from: &str, request: &dyn Fn() -> http::request::Builder| {
        let mut passed = 0;
        while passed < 20 && gateway.ask(request().header("x-forwarded-for", from)).await.status == 200 {
            passed += 1;
        }
        passed
    };
    assert_eq!(passed("192.0.2.1", &|| Request::post("/login")).await, 5);
    assert_eq!(passed("192.0.2.2", &|| Request::post("/login")).await, 5);
    assert_eq!(passed("192.0.2.1", &|| Request::get("/export/x").header("x-tenant", "a")).await, 3);
    assert_eq!(passed("192.0.2.1", &|| Request::get("/reports/x")).await, 20);
    let answer = gateway.ask(Request::get("/search/x").header("x-forwarded-for", "192.0.2.3")).await;
    assert_eq!(answer.header("ratelimit-policy"), Some("\"addresses\";q=600;w=60, \"search\";q=50;w=1"));
}

async fn cors(example: Example) {
    let origin = Origin::start().await;
    let gateway = example.run(&[("APP_URL", origin.url())]).await;
    let from = async |page: &str, path: &str| {
        let answer = gateway.ask(Request::get(path).header("origin", page)).await;
        answer.header("access-control-allow-origin").map(String::from)
    };
    for page in ["https://app.example.org", "https://a.shops.example.org"] {
        assert_eq!(from(page, "/x").await.as_deref(), Some(page));
    }
    assert_eq!(from("https://shops.example.org", "/x").await, None);
    assert_eq!(from("https://evil.test", "/catalogue/x").await.as_deref(), Some("*"));
    assert_eq!(from("https://app.example.org", "/legacy/x").await, None);
    let answer = gateway.get("/x").await;
    assert_eq!((answer.header("vary"), answer.header("x-frame-options")), (Some("Origin"), Some("DENY")));
    assert_eq!(
        (answer.header("strict-transport-security"), answer.header("referrer-policy")),
        (None, Some("no-referrer"))
    );
    assert_eq!(gateway.get("/widgets/x").await.header("x-frame-options"), Some("SAMEORIGIN"));
}

async fn engadi(example: Example) {
    let services = [
        ("AUTH_SERVICE_URL", "auth"),
        ("CONTENT_SERVICE_URL", "content"),
        ("PARTNERS_CRM_SERVICE_URL", "partners"),
        ("PROJECTS_SERVICE_URL", "projects"),
        ("SOCIAL_MEDIA_SERVICE_URL", "social-media"),
        ("NOTIFICATION_SERVICE_URL", "notifications"),
        ("ANALYTICS_SERVICE_URL", "analytics"),
        ("AI_SERVICE_URL", "ai"),
        ("SEARCH_SERVICE_URL", "search"),
    ];
    let mut origins = Vec::new();
    for (_, name) in services {
        origins.push(Origin::named(name).await);
    }
    let mut variables: Vec<_> =
        services.iter().zip(&origins).map(|((name, _), origin)| (*name, origin.url())).collect();
    variables.push(("SECRET_KEY", "the secret of the house, which the auth service signs with"));
    variables.push(("RATE_LIMIT_PER_USER", "12"));
    let gateway = example.run(&variables).await;
    let token = minted(&gateway, &["--sub", "alice"]);
    for (_, name) in services {
        let path = format!("/api/v1/{name}/a/1?b=2");
        assert_eq!(gateway.get(&path).await.status, 401);
        let seen = seen_by(&gateway.ask(bearing(&token, &path)).await, name);
        assert_eq!((seen.target.as_str(), seen.header("x-user-id")), (path.as_str(), Some("alice")));
    }
    assert_eq!(gateway.get("/api/v1/contents").await.status, 404);
    let login = || Request::post("/api/v1/auth/login").body(full("")).unwrap();
    for _ in 0..10 {
        gateway.ask(login()).await.seen();
    }
    assert_eq!(gateway.ask(login()).await.problem()["violated_policies"], serde_json::json!(["login"]));
    for status in [200, 200, 200, 429] {
        assert_eq!(gateway.ask(bearing(&token, "/api/v1/search/x")).await.status, status);
    }
    let preflight = Request::options("/api/v1/search/x").header("origin", "http://localhost:3000");
    let preflight = gateway.ask(preflight.header("access-control-request-method", "POST")).await;
    assert_eq!((preflight.status.as_u16(), preflight.header("access-control-allow-credentials")), (204, Some("true")));
}

async fn grpc(example: Example) {
    let origin = Origin::start().await;
    let gateway = example.run(&[("NUMBERS_URL", origin.url()), ("NUMBERS_SERVICE", "test.Numbers")]).await;
    let mut caller = Caller::connect(gateway.address).await;
    assert_eq!(caller.double(tonic::Request::new(Number { value: 21 })).await.unwrap().into_inner().value, 42);
    assert_eq!(caller.sum([1, 2, 3]).await.unwrap(), 6);
    let mut numbers = caller.count(2).await.unwrap();
    assert_eq!(numbers.message().await.unwrap().unwrap().value, 1);
    let unknown = caller.unary("/other.Service/Method", tonic::Request::new(Number { value: 1 })).await.unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::Unimplemented);
    assert_eq!(gateway.get("/test.Numbers/Double").await.status, 404);
}

async fn hosts(example: Example) {
    let [shop, tenants, landing] =
        [Origin::named("shop").await, Origin::named("tenants").await, Origin::named("landing").await];
    let variables = [("SHOP_URL", shop.url()), ("TENANTS_URL", tenants.url()), ("LANDING_URL", landing.url())];
    let gateway = example.run(&variables).await;
    for (host, origin) in [
        ("shop.example.org", "shop"),
        ("WWW.Shop.example.org:8000", "shop"),
        ("acme.example.org", "tenants"),
        ("a.b.example.org", "tenants"),
        ("example.org", "landing"),
        ("elsewhere.test", "landing"),
    ] {
        let answer = gateway.ask(Request::get("/x").header("host", host)).await;
        assert_eq!(seen_by(&answer, origin).host, host);
    }
}

async fn https(example: Example) {
    let (authority, files, origin) = (Authority::new(), Files::new(), Origin::start().await);
    files.pair("site", &authority.issue("example.org"));
    files.pair("shops", &authority.issue("*.shops.example.org"));
    let webroot = tempfile::tempdir().unwrap();
    let challenges = webroot.path().join(".well-known/acme-challenge");
    fs::create_dir_all(&challenges).unwrap();
    let (folder, root) = (files.path(""), webroot.path().to_str().unwrap());
    let variables = [("APP_URL", origin.url()), ("HTTPS_PORT", "0"), ("CERTIFICATES", &folder), ("WEBROOT", root)];
    let gateway = example.run(&variables).await;
    let to_site = gateway.ask(Request::get("/x?y").header("host", "example.org")).await;
    assert_eq!((to_site.status.as_u16(), to_site.header("location")), (308, Some("https://example.org/x?y")));
    fs::write(challenges.join("token"), "token.thumbprint").unwrap();
    assert_eq!(gateway.get("/.well-known/acme-challenge/token").await.text(), "token.thumbprint");
    assert_eq!(gateway.get("/health").await.status, 200);
    let connector = authority.connector(&["h2"], None);
    // The client's own verification says whether it was shown the right one.
    for renewed in [false, true] {
        for name in ["example.org", "a.shops.example.org"] {
            let mut client = Client::tls(gateway.listener(1), &connector, name).await.unwrap();
            assert_eq!(client.ask(Request::get("/x")).await.seen().header("x-forwarded-proto"), Some("https"));
        }
        files.pair("site", &authority.issue("example.org"));
        assert!(renewed || gateway.command("reload", &[]).status.success());
    }
}

async fn limits(example: Example) {
    let origin = Origin::start().await;
    let gateway = example.run(&[("APP_URL", origin.url()), ("HEAD_TIMEOUT", "300ms")]).await;
    assert_eq!(gateway.get("/x").await.status, 200);
    assert_eq!(gateway.get(&format!("/{}", "x".repeat(2048))).await.status, 414);
    let many = (0..60).fold(Request::get("/x"), |request, index| request.header(format!("x-{index}"), "1"));
    assert_eq!(gateway.ask(many).await.status, 431);
    let mut slow = gateway.raw().await;
    assert_eq!(slow.send("GET /x HTT").await.response().await.status(), 408);
    assert_eq!(origin.requests(), 1);
}

async fn methods_headers_query(example: Example) {
    let [reader, writer] = [Origin::named("reader").await, Origin::named("writer").await];
    let gateway = example.run(&[("READER_URL", reader.url()), ("WRITER_URL", writer.url())]).await;
    assert_eq!(gateway.ask(Request::head("/items/1")).await.status, 200);
    seen_by(&gateway.get("/items/1").await, "reader");
    seen_by(&gateway.ask(Request::put("/items/1").body(full("new")).unwrap()).await, "writer");
    let refused = gateway.ask(Request::patch("/items/1")).await;
    assert_eq!((refused.status.as_u16(), refused.header("allow")), (405, Some("DELETE, GET, HEAD, POST, PUT")));
    let bulk = Request::post("/items/").header("content-type", "application/x-ndjson");
    assert_eq!(seen_by(&gateway.ask(bulk).await, "writer").target, "/bulk");
    let search = gateway.get("/items/?q=a&format=json").await;
    assert_eq!(seen_by(&search, "reader").target, "/search?q=a&format=json");
    let home = || Request::get("/home").header("user-agent", "A Mobile").header("x-app", "shop/1");
    assert_eq!(gateway.ask(home()).await.seen().target, "/mobile");
    assert_eq!(gateway.ask(home().header("x-debug", "1")).await.seen().target, "/home");
    assert_eq!(gateway.get("/home").await.seen().target, "/home");
}

async fn path_patterns(example: Example) {
    let origin = Origin::start().await;
    let gateway = example.run(&[("APP_URL", origin.url())]).await;
    for path in ["/users", "/users/7", "/users/me", "/users/7/avatar", "/users/7/orders", "/any/status", "/files/a"] {
        assert_eq!(gateway.get(path).await.seen().target, path);
    }
    assert_eq!(gateway.get("/other/..//users/./me").await.seen().target, "/users/me");
    for (path, status) in [("/users-old", 404), ("/files/a%2Fb", 400), ("/", 404)] {
        assert_eq!(gateway.get(path).await.status, status, "{path}");
    }
}

async fn proxy_protocol(example: Example) {
    let origin = Origin::start().await;
    let header = "PROXY TCP4 203.0.113.7 192.0.2.1 12345 443\r\n";
    let ask = "GET /x HTTP/1.1\r\nhost: a.test\r\n\r\n";
    let trusting = example.run(&[("APP_URL", origin.url()), ("LOAD_BALANCER", "127.0.0.1")]).await;
    let mut raw = Raw::connect(trusting.address).await;
    let answer = raw.send(format!("{header}{ask}")).await.response().await;
    let seen: Seen = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(seen.header("x-real-ip"), Some("203.0.113.7"));
    let mut without = Raw::connect(trusting.address).await;
    assert!(without.send(ask).await.next_response().await.is_none());
    let wary = example.run(&[("APP_URL", origin.url())]).await;
    let mut forged = Raw::connect(wary.address).await;
    assert_eq!(forged.send(format!("{header}{ask}")).await.response().await.status(), 400);
    assert_eq!(origin.requests(), 1);
}

async fn redirect_and_respond(example: Example) {
    let gateway = example.run(&[]).await;
    let moved = gateway.get("/blog/2024/hello?a=1").await;
    assert_eq!(
        (moved.status.as_u16(), moved.header("location")),
        (301, Some("https://blog.example.org/2024/hello?a=1"))
    );
    let form = Request::post("/form?b=2").header("host", "example.org").body(full("x")).unwrap();
    let www = gateway.ask(form).await;
    assert_eq!((www.status.as_u16(), www.header("location")), (308, Some("https://www.example.org/form?b=2")));
    let robots = gateway.get("/robots.txt").await;
    assert_eq!(
        (robots.text(), robots.header("cache-control")),
        ("User-agent: *\nDisallow: /\n", Some("max-age=86400"))
    );
    let gone = gateway.get("/api/v0/users").await;
    assert_eq!((gone.status.as_u16(), &gone.json()["error"]), (410, &"use /api/v1".into()));
}

async fn rewrite(example: Example) {
    let origin = Origin::start().await;
    let gateway = example.run(&[("USERS_URL", origin.url())]).await;
    for (path, sent) in [
        ("/api/users/7?a=b", "/users/7?a=b"),
        ("/api", "/"),
        ("/customers/7/orders/12?full=1", "/orders/12/of/7?full=1"),
        ("/old/a/b", "/new/a/b"),
    ] {
        let seen = gateway.get(path).await.seen();
        assert_eq!((seen.target.as_str(), seen.host.as_str()), (sent, "gateway.test"));
    }
    assert_eq!(gateway.get("/by-target").await.seen().host, origin.address().to_string());
    assert_eq!(gateway.get("/fixed").await.seen().host, "users.internal");
}

async fn several_files(example: Example) {
    let [shop, blog] = [Origin::named("shop").await, Origin::named("blog").await];
    let gateway = example.run(&[("SHOP_URL", shop.url()), ("BLOG_URL", blog.url())]).await;
    seen_by(&gateway.get("/shop/cart").await, "shop");
    seen_by(&gateway.get("/blog/1").await, "blog");
    assert_eq!(seen_by(&gateway.get("/blog/advert").await, "shop").target, "/shop/offer");
    let rest = gateway.get("/elsewhere").await;
    assert_eq!((rest.status.as_u16(), rest.text()), (404, "there is nothing here\n"));
}

async fn shields(example: Example) {
    let origin = Origin::start().await;
    let gateway = example.run(&[("APP_URL", origin.url()), ("LOAD_BALANCER", "127.0.0.1")]).await;
    let from = |address: &str, path: &str| Request::get(path).header("x-forwarded-for", address);
    for (address, path, status) in [
        ("198.51.100.1", "/x", 200),
        ("203.0.113.9", "/x", 403),
        ("2001:db8:bad::1", "/x", 403),
        ("198.51.100.1", "/staff/x", 403),
        ("192.0.2.7", "/staff/x", 200),
    ] {
        assert_eq!(gateway.ask(from(address, path)).await.status, status, "{address} {path}");
    }
    let photo = |media_type: &str, bytes: usize| {
        Request::post("/photos").header("content-type", media_type).body(full(vec![0; bytes])).unwrap()
    };
    assert_eq!(gateway.ask(photo("image/jpeg", 2 << 20)).await.seen().body_length, 2 << 20);
    assert_eq!(gateway.ask(photo("text/html", 10)).await.status, 415);
    assert_eq!(gateway.ask(photo("image/jpeg", (20 << 20) + 1)).await.status, 413);
    assert_eq!(gateway.ask(Request::post("/x").body(full(vec![0; (1 << 20) + 1])).unwrap()).await.status, 413);
    let mut client = gateway.h1().await;
    for n in 0..101 {
        let status = client.ask(from("198.51.100.7", "/x")).await.status;
        assert_eq!(status, if n < 100 { 200 } else { 429 }, "request {n}");
    }
}

async fn trusted_proxies(example: Example) {
    let origin = Origin::start().await;
    let ask = || {
        Request::get("/x")
            .header("x-forwarded-for", "203.0.113.9, 192.0.2.7")
            .header("x-request-id", "from-the-balancer")
            .header("x-user-id", "root")
            .header("x-staff", "yes")
    };
    let trusting = example.run(&[("APP_URL", origin.url()), ("LOAD_BALANCER", "127.0.0.1")]).await;
    let seen = trusting.ask(ask()).await.seen();
    assert_eq!(seen.header("x-real-ip"), Some("203.0.113.9"));
    assert_eq!(seen.header("x-request-id"), Some("from-the-balancer"));
    assert_eq!((seen.header("x-user-id"), seen.header("x-staff")), (None, None));

    let wary = example.run(&[("APP_URL", origin.url())]).await;
    let seen = wary.ask(ask()).await.seen();
    assert_eq!((seen.header("x-real-ip"), seen.header("x-forwarded-for")), (Some("127.0.0.1"), Some("127.0.0.1")));
    assert_ne!(seen.header("x-request-id"), Some("from-the-balancer"));
}

async fn unix_socket(example: Example) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock").display().to_string();
    let _origin = Origin::unix(&path);
    let gateway = example.run(&[("APP_SOCKET", &path), ("RUN_DIR", folder.path().to_str().unwrap())]).await;
    assert_eq!(seen_by(&gateway.get("/x").await, "unix").target, "/x");
    let mut client = Client::unix(folder.path().join("http.sock").to_str().unwrap()).await;
    let seen = client.ask(Request::get("/y").header("x-forwarded-for", "203.0.113.9")).await.seen();
    assert_eq!((seen.target.as_str(), seen.header("x-real-ip")), ("/y", Some("203.0.113.9")));
}

async fn upstream_tls(example: Example) {
    let (authority, clients, folder) = (Authority::new(), Authority::new(), tempfile::tempdir().unwrap());
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let protocols = ["h2", "http/1.1"];
    let internal = Origin::tls(authority.issue("internal.example").acceptor(&protocols, Some(&clients))).await;
    // Nobody the system believes has signed for this one.
    let public = Origin::tls(authority.issue("127.0.0.1").acceptor(&protocols, None)).await;
    let ours = clients.issue("gatekeeper");
    let (ca, certificate) = (write("ca.pem", authority.pem()), write("client.pem", ours.certificate_pem()));
    let key = write("client.key", ours.key_pem());
    let variables = [
        ("PUBLIC_URL", public.url()),
        ("INTERNAL_URL", internal.url()),
        ("CA", &ca),
        ("CLIENT_CERTIFICATE", &certificate),
        ("CLIENT_KEY", &key),
    ];
    let gateway = example.run(&variables).await;
    let seen = gateway.get("/internal/x").await.seen();
    assert_eq!(seen.connection.server_name.as_deref(), Some("internal.example"));
    assert_eq!((seen.connection.protocol.as_deref(), seen.connection.client_certificate), (Some("h2"), true));
    let refused = gateway.get("/public/x").await;
    assert_eq!((refused.status.as_u16(), public.requests()), (502, 0));
}

async fn variables(example: Example) {
    let origin = Origin::start().await;
    let SocketAddr::V4(address) = origin.address() else { panic!("an IPv4 address") };
    assert_eq!(address.ip(), &Ipv4Addr::LOCALHOST);
    let port = address.port().to_string();
    let gateway =
        example.run(&[("APP_PORT", &port), ("APP_PREFIX", "inner"), ("INTERNAL_SECRET", "open-sesame")]).await;
    let ask = |key: &str| Request::get("/inner/x").header("x-internal-key", key);
    assert_eq!(gateway.ask(ask("open-sesame")).await.seen().target, "/inner/x");
    assert_eq!(gateway.ask(ask("change-me")).await.status, 404);
    let notice = fs::read_to_string(folder().join("files/notice.txt")).unwrap();
    assert_eq!(gateway.get("/notice").await.text(), notice.trim_end());
    assert_eq!(gateway.get("/price").await.text(), "5 $");
    let shown = gateway.command("config", &["show"]).stdout;
    let shown = String::from_utf8(shown).unwrap();
    assert!(shown.contains("/inner/*") && !shown.contains("sesame") && !shown.contains(notice.trim_end()), "{shown}");
}

async fn versions_and_split(example: Example) {
    let [stable, next] = [Origin::named("stable").await, Origin::named("next").await];
    let gateway = example.run(&[("STABLE_URL", stable.url()), ("NEXT_URL", next.url())]).await;
    assert_eq!(seen_by(&gateway.get("/v1/items").await, "stable").target, "/items");
    assert_eq!(seen_by(&gateway.get("/v2/items").await, "next").target, "/items");
    let api = || Request::get("/api/items");
    seen_by(&gateway.ask(api()).await, "stable");
    seen_by(&gateway.ask(api().header("x-api-version", "2")).await, "next");
    seen_by(&gateway.ask(api().header("accept", "application/vnd.example.v2+json")).await, "next");

    let mut client = gateway.h1().await;
    let mut counts = [0, 0];
    for _ in 0..200 {
        let chosen = client.ask(Request::get("/shop/")).await.seen().connection.origin;
        counts[usize::from(chosen == "next")] += 1;
    }
    assert_eq!(counts, [180, 20]);
    let mut sessions = [0, 0];
    for session in 0..50 {
        let ask = || Request::get("/shop/").header("cookie", format!("a=b; session={session}"));
        let first = client.ask(ask()).await.seen().connection.origin;
        for _ in 0..3 {
            assert_eq!(client.ask(ask()).await.seen().connection.origin, first);
        }
        sessions[usize::from(first == "next")] += 1;
    }
    assert!(sessions[1] > 0 && sessions[0] > sessions[1], "{sessions:?}");
}

async fn websocket_and_sse(example: Example) {
    let origin = Origin::start().await;
    let gateway = example.run(&[("LIVE_URL", origin.url())]).await;
    let mut socket = Socket::open(gateway.address, "/ws").await.unwrap();
    socket.send(Message::text("hello")).await;
    assert_eq!(socket.next().await, Some(Message::text("hello")));
    assert_eq!(gateway.get("/ws").await.status, 404);
    assert_eq!(gateway.get("/sse/2").await.text().matches("data: ").count(), 2);
}
