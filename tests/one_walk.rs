//! One walk: what `explain` foretells, what a route test judges, what the client is told, what the log, the metrics and `why`
//! remember of it is one code, for every policy that can refuse a request.

use serde_json::{Value, json};

use crate::support::{Client, Gateway, Origin, Raw, Request, eventually, full};
use gatekeeper_core::refusal::Kind;

/// Codes of requests that the walk does not refuse: who waits for others learns them, or they tell of the connection.
const NOT_OF_THE_WALK: [Kind; 9] = [
    // Stands for all that is malformed, whose codes say what it is.
    Kind::BAD_REQUEST,
    Kind::REQUEST_TIMEOUT,
    Kind::CONNECTION_OUTDATED,
    Kind::CLIENT_GONE,
    Kind::UPSTREAM_FAILED,
    Kind::UPSTREAM_UNREACHABLE,
    Kind::AUTH_UNAVAILABLE,
    Kind::UPSTREAM_TIMEOUT,
    Kind::INTERNAL,
];

/// The SHA-256 of `partner-key-0123456789abcdef0123456789`.
const HASH: &str = "ac8f6d749315a34a06d083444c027e3b7fceb767762c8019b29cc7c1f050775a";
const KEY: (&str, &str) = ("x-api-key", "partner-key-0123456789abcdef0123456789");
const WRONG_KEY: (&str, &str) = ("x-api-key", "another-key");
const VIA: (&str, &str) = ("via", "1 gatekeeper, 1 gatekeeper, 1 gatekeeper, 1 gatekeeper, 1 gatekeeper, 1 gatekeeper");

/// What a request must go through before it is refused.
#[derive(Clone, Copy)]
enum Before {
    Nothing,
    /// The same request, so often.
    Same(usize),
    /// The same request, which is on its way and has no answer yet.
    Waiting,
}

/// What a route test can know of it.
#[derive(Clone, Copy)]
enum Tested {
    /// It is refused.
    Refused,
    /// It goes to its service, as the configuration alone would have it.
    Passes,
    /// It is answered with this.
    Answered(u16),
}

struct Case {
    code: &'static str,
    request: String,
    headers: Vec<(&'static str, &'static str)>,
    body: &'static str,
    before: Before,
    tested: Tested,
}

impl Case {
    fn new(code: &'static str, request: impl Into<String>) -> Case {
        let (before, tested) = (Before::Nothing, Tested::Refused);
        Case { code, request: request.into(), headers: Vec::new(), body: "", before, tested }
    }

    fn with(mut self, header: (&'static str, &'static str)) -> Case {
        self.headers.push(header);
        self
    }

    fn body(self, length: &'static str, body: &'static str) -> Case {
        Case { body, ..self }.with(("content-length", length))
    }

    fn after(self, before: Before) -> Case {
        Case { before, ..self }
    }

    /// A route test does not see the refusal.
    fn tested(self, tested: Tested) -> Case {
        Case { tested, ..self }
    }

    fn bytes(&self, client: &str) -> String {
        let headers: String = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let Case { request, body, .. } = self;
        format!("{request} HTTP/1.1\r\nhost: localhost\r\nx-forwarded-for: {client}\r\n{headers}\r\n{body}")
    }

    fn headers(&self) -> Value {
        self.headers.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
    }
}

fn cases() -> Vec<Case> {
    use Before::{Same, Waiting};
    let after = |code, request: &str, before| Case::new(code, request).after(before).tested(Tested::Passes);
    vec![
        Case::new("path_nul", "GET /a%00b"),
        Case::new("origin_repeated", "GET /open").with(("origin", "https://a.test")).with(("Origin", "https://b.test")),
        Case::new("method_not_allowed", "PUT /open"),
        after("flood", "GET /open", Same(6)),
        Case::new("method_not_allowed", "POST /.well-known/acme-challenge/token"),
        Case::new("no_route", "GET /.well-known/acme-challenge/token").tested(Tested::Answered(200)),
        Case::new("loop_detected", "GET /open").with(VIA),
        Case::new("method_not_allowed", "POST /health"),
        Case::new("no_route", "GET /nowhere"),
        Case::new("method_not_allowed", "POST /read"),
        Case::new("path_encoded_reserved", "GET /strict/a;b"),
        Case::new("address_denied", "GET /closed"),
        Case::new("address_denied", "OPTIONS /closed")
            .with(("origin", "https://a.test"))
            .with(("access-control-request-method", "GET")),
        Case::new("media_type", "POST /images").with(("content-type", "text/html")).body("4", "text"),
        Case::new("body_too_large", "POST /short").body("5", "12345"),
        Case::new("credentials_missing", "GET /key").tested(Tested::Passes),
        Case::new("credentials_invalid", "GET /key").with(WRONG_KEY).tested(Tested::Passes),
        after("auth_failures", "GET /key", Same(2)).with(WRONG_KEY),
        Case::new("origin_denied", "POST /page")
            .with(("origin", "https://evil.test"))
            .with(("cookie", "session=a.b.c"))
            .tested(Tested::Passes),
        Case::new("access_denied", "GET /staff").with(KEY).tested(Tested::Passes),
        after("rate_limited", "GET /limited", Same(1)),
        after("rate_limited", "GET /limited-redirect", Same(1)).tested(Tested::Answered(308)),
        after("rate_limited", "GET /limited-answer", Same(1)).tested(Tested::Answered(200)),
        after("rate_limited", "OPTIONS /limited", Same(1)).with(("max-forwards", "0")).tested(Tested::Answered(200)),
        Case::new("max_forwards", "OPTIONS /open").with(("max-forwards", "many")),
        Case::new("path_rewritten", "GET /rewritten/;x"),
        Case::new("uri_too_long", format!("GET /long/{}", "x".repeat(7500))),
        after("circuit_open", "GET /broken", Same(1)),
        after("service_busy", "GET /busy", Waiting),
        after("no_target", "GET /nobody", Before::Nothing),
    ]
}

fn config(origin: &Origin, silent: &str, webroot: &str) -> String {
    let all = origin.url();
    format!(
        "acme_webroot: {webroot}\n\
         trusted_proxies: [127.0.0.1]\n\
         shields: {{ methods: [GET, HEAD, POST, OPTIONS], flood: {{ requests: 6, window: 60s }} }}\n\
         auth:\n  jwt: [{{ secret: \"a secret of more than thirty-two bytes\" }}]\n\
         \x20 api_keys: {{ header: X-API-Key, keys: [{{ owner: partner, hash: \"sha256:{HASH}\" }}] }}\n\
         \x20 failures: {{ max: 2, window: 60s }}\n\
         cors: {{ allow_origins: [\"https://a.test\"] }}\n\
         rate_limits: [{{ rule_name: one, limit_type: per_ip, max_requests: 1, window_seconds: 60 }}]\n\
         services:\n  app: {{ targets: [\"{all}\"] }}\n\
         \x20 broken: {{ targets: [\"{all}\"], circuit_breaker: {{ failure_threshold: 1 }} }}\n\
         \x20 busy: {{ targets: [\"{silent}\"], max_in_flight: 1, queue: {{ length: 0 }} }}\n\
         \x20 nobody: {{ targets: [], registered: true }}\n\
         routes:\n\
         \x20 - {{ name: open, path_pattern: /open, target_service: app, is_public: true }}\n\
         \x20 - {{ name: read, path_pattern: /read, methods: [GET], target_service: app, is_public: true }}\n\
         \x20 - {{ name: strict, path_pattern: /strict/*, target_service: app, is_public: true, encoded_reserved: reject }}\n\
         \x20 - {{ name: closed, path_pattern: /closed, target_service: app, is_public: true, shields: {{ deny: [198.51.100.0/24] }} }}\n\
         \x20 - {{ name: images, path_pattern: /images, target_service: app, is_public: true, shields: {{ content_types: [image/*] }} }}\n\
         \x20 - {{ name: short, path_pattern: /short, target_service: app, is_public: true, shields: {{ max_body: 4 }} }}\n\
         \x20 - {{ name: key, path_pattern: /key, target_service: app, auth: [api_key] }}\n\
         \x20 - {{ name: page, path_pattern: /page, target_service: app, auth: [jwt], token_from: \"cookie:session\" }}\n\
         \x20 - {{ name: staff, path_pattern: /staff, target_service: app, access: {{ roles: [admin] }} }}\n\
         \x20 - {{ name: limited, path_pattern: /limited, target_service: app, is_public: true, rate_limits: [one] }}\n\
         \x20 - {{ name: limited-redirect, path_pattern: /limited-redirect, redirect: {{ to: /open }}, is_public: true, rate_limits: [one] }}\n\
         \x20 - {{ name: limited-answer, path_pattern: /limited-answer, respond: {{ status: 200 }}, is_public: true, rate_limits: [one] }}\n\
         \x20 - {{ name: rewritten, path_pattern: /rewritten/*, target_service: app, is_public: true, rewrite: \"/store/{{*}}/end\" }}\n\
         \x20 - {{ name: long, path_pattern: \"/long/{{x}}\", target_service: app, is_public: true, rewrite: \"{}\" }}\n\
         \x20 - {{ name: broken, path_pattern: /broken, target_service: broken, is_public: true, rewrite: /status/503, retry_count: 0 }}\n\
         \x20 - {{ name: busy, path_pattern: /busy, target_service: busy, is_public: true }}\n\
         \x20 - {{ name: nobody, path_pattern: /nobody, target_service: nobody, is_public: true }}\n",
        "/{x}".repeat(9),
    )
}

/// What `explain` says of requests.
struct Explain {
    client: Client,
    token: String,
}

impl Explain {
    async fn of(gateway: &Gateway) -> Explain {
        let client = Client::unix(gateway.file("admin.sock").to_str().unwrap()).await;
        let token = std::fs::read_to_string(gateway.file("state/admin.token")).unwrap();
        Explain { client, token: format!("Bearer {}", token.trim()) }
    }

    async fn ask(&mut self, inquiry: Value) -> Value {
        let request = Request::post("/api/v1/gateway/explain").header("authorization", &self.token);
        let request = request.header("content-type", "application/json").body(full(inquiry.to_string())).unwrap();
        let answer = self.client.ask(request).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    async fn case(&mut self, case: &Case, client: &str) -> (Option<u64>, Option<String>) {
        let inquiry = json!({ "request": case.request, "headers": case.headers(), "from": client });
        let told = self.ask(inquiry).await;
        (told["answer"]["status"].as_u64(), told["answer"]["code"].as_str().map(str::to_owned))
    }
}

/// What route tests make of the cases: each one expects a status that nobody answers, and the fault tells the right one.
fn judged_by_tests(gateway: &Gateway, config: &str, cases: &[Case]) -> Vec<String> {
    let test = |(number, case): (usize, &Case)| {
        let (headers, from) = (case.headers(), address(number));
        let request = json!(case.request);
        format!("  - {{ request: {request}, headers: {headers}, from: {from}, expect: {{ status: 299 }} }}\n")
    };
    let tests: String = cases.iter().enumerate().map(test).collect();
    gateway.write(&format!("{config}tests:\n{tests}"));
    let output = gateway.command("check", &[]);
    gateway.write(config);
    let said = String::from_utf8(output.stderr).unwrap() + std::str::from_utf8(&output.stdout).unwrap();
    let found = |number: usize| {
        let place = format!("(tests[{number}]).expect.status: ");
        let line = said.lines().find(|line| line.contains(&place)).unwrap_or_else(|| panic!("{place}: {said}"));
        line.rsplit_once("expected status 299, found ").unwrap().1.to_owned()
    };
    (0..cases.len()).map(found).collect()
}

/// Each case has a client of its own, so that none uses up what another may spend.
fn address(number: usize) -> String {
    format!("198.51.100.{}", number + 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_tells_of_a_refusal_tells_the_same() {
    let (origin, webroot) = (Origin::start().await, tempfile::tempdir().unwrap());
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_url = format!("http://{}", silent.local_addr().unwrap());
    let config = config(&origin, &silent_url, &webroot.path().display().to_string());
    let gateway = Gateway::start(&config).await;
    let (cases, mut explain) = (cases(), Explain::of(&gateway).await);
    let tested = judged_by_tests(&gateway, &config, &cases);
    for (number, case) in cases.iter().enumerate() {
        let (client, name) =
            (address(number), format!("{} ({})", case.code, &case.request[..20.min(case.request.len())]));
        let mut waiting = Vec::new();
        match case.before {
            Before::Nothing => {}
            Before::Same(times) => {
                for _ in 0..times {
                    gateway.raw().await.send(case.bytes(&client)).await.response().await;
                }
            }
            Before::Waiting => {
                let mut connection = gateway.raw().await;
                connection.send(case.bytes(&client)).await;
                waiting.push((connection, silent.accept().await.unwrap()));
            }
        }
        // What a request leads to may come a moment after its answer.
        let code = Some(case.code.to_owned());
        let foretelling = async || Some(explain.case(case, &client).await).filter(|told| told.1 == code);
        let foretold = eventually(&format!("{name}: explain foretells it"), foretelling).await;
        let metric = format!("gatekeeper_refusals_total{{code=\"{}\"}}", case.code);
        let before = gateway.metric(&metric).await;
        let answer = Raw::connect(gateway.address).await.send(case.bytes(&client)).await.response().await;
        let status = answer.status();
        assert_eq!(answer.header("x-gatekeeper-error"), Some(case.code), "{name}: {}", answer.to_text());
        let same = (Some(u64::from(status)), code);
        assert_eq!(foretold, same, "{name}: explain, before");
        assert_eq!(explain.case(case, &client).await, same, "{name}: explain, afterwards");
        let id = answer.header("x-request-id").unwrap();
        let why = eventually(&name, async || {
            let output = gateway.command("why", &[id, "--json"]);
            serde_json::from_slice::<Value>(&output.stdout).ok()
        })
        .await;
        assert_eq!((&why["status_code"], &why["error_code"]), (&json!(status), &json!(case.code)), "{name}: why");
        let record = eventually(&name, async || {
            let records = gateway.log_lines().into_iter().map(|line| serde_json::from_str::<Value>(&line).unwrap());
            records.into_iter().find(|record| record["request_id"] == id)
        })
        .await;
        assert_eq!(
            (&record["status_code"], &record["error_code"]),
            (&why["status_code"], &why["error_code"]),
            "{name}"
        );
        assert_eq!(gateway.metric(&metric).await, before + 1.0, "{name}: metrics");
        let wanted = match case.tested {
            Tested::Refused => status.to_string(),
            Tested::Passes => "none".into(),
            Tested::Answered(status) => status.to_string(),
        };
        assert_eq!(tested[number], wanted, "{name}: a route test");
    }
    for kind in Kind::ALL {
        let told = cases.iter().any(|case| case.code == kind.code) || NOT_OF_THE_WALK.contains(kind);
        assert!(told, "{}: a refusal that nobody tests here", kind.code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_that_redirect_are_explained_and_tested() {
    let (origin, webroot) = (Origin::start().await, tempfile::tempdir().unwrap());
    let challenges = webroot.path().join(".well-known/acme-challenge");
    std::fs::create_dir_all(&challenges).unwrap();
    std::fs::write(challenges.join("token"), "token.thumbprint").unwrap();
    let config = format!(
        "acme_webroot: {}\nlisten:\n  - {{ name: plain, address: \"127.0.0.1:0\", redirect_https: 8443 }}\n\
         \x20 - {{ name: inside, address: \"127.0.0.1:0\" }}\n\
         routes:\n  - {{ name: all, path_pattern: /*, target_url: \"{}\" }}\n",
        webroot.path().display(),
        origin.url()
    );
    let gateway = Gateway::start(&config).await;
    let mut explain = Explain::of(&gateway).await;
    let paths = [("/a?b=c", 308), ("/.well-known/acme-challenge/token", 200), ("/health", 200)];
    for (path, status) in paths {
        assert_eq!(gateway.get(path).await.status, status, "{path}");
        let told = explain.ask(json!({ "request": format!("GET {path}"), "listener": "plain" })).await;
        assert_eq!((&told["answer"]["status"], &told["route"]), (&json!(status), &Value::Null), "{told}");
        let inside = explain.ask(json!({ "request": format!("GET {path}"), "listener": "inside" })).await;
        assert_eq!(inside["route"] == "all", status == 308, "{inside}");
    }
    let told = explain.ask(json!({ "request": "GET http://a.test/a?b=c", "listener": "plain" })).await;
    assert_eq!(
        told["answer"]["detail"],
        "the listener redirects to https (redirect_https), Location: https://a.test:8443/a?b=c"
    );
    for (request, route) in [("GET /a", json!("all")), ("GET http://a.test/a", Value::Null)] {
        let told = explain.ask(json!({ "request": request })).await;
        assert_eq!(told["route"], route, "a path comes by what serves, a URL by what speaks its scheme: {told}");
    }
    let tests: String = paths
        .iter()
        .map(|(path, status)| {
            format!("  - {{ request: GET {path}, listener: plain, expect: {{ status: {status} }} }}\n")
        })
        .collect();
    let inside = "  - { request: GET /a, listener: inside, expect: { route: all, path: /a } }\n";
    gateway.reload(&format!("{config}tests:\n{tests}{inside}")).unwrap();
    let wrong = "  - { request: GET /a, listener: plain, expect: { route: all } }\n";
    let refused = gateway.reload(&format!("{config}tests:\n{wrong}")).unwrap_err();
    assert!(refused.contains("expected route all, found none (308)"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn explaining_takes_nobodys_turn_and_spends_nothing() {
    let origin = Origin::start().await;
    let gateway = Gateway::start(&format!(
        "trusted_proxies: [127.0.0.1]\nshields: {{ flood: {{ requests: 4, window: 60s }} }}\n\
         services:\n  a: {{ targets: [\"{0}\"] }}\n  b: {{ targets: [\"{0}\"] }}\n\
         routes:\n  - name: both\n    path_pattern: /*\n    split: {{ services: [{{ service: a, weight: 1 }}, {{ service: b, weight: 1 }}] }}\n",
        origin.url()
    ))
    .await;
    let mut explain = Explain::of(&gateway).await;
    let mut served = Vec::new();
    for number in 0..4 {
        let inquiry = json!({ "request": "GET /x", "from": "192.0.2.1" });
        let foretold = explain.ask(inquiry.clone()).await;
        assert_eq!(explain.ask(inquiry).await["sent"]["service"], foretold["sent"]["service"]);
        let path = format!("/{number}");
        gateway.ask(Request::get(&path).header("x-forwarded-for", "192.0.2.1")).await.seen();
        let service = gateway.log_of(&path).await["target_service"].clone();
        assert_eq!(foretold["sent"]["service"], service);
        served.push(service);
    }
    assert_ne!(served[0], served[1]);
    assert_eq!((&served[0], &served[1]), (&served[2], &served[3]));
}
