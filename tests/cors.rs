//! Which web pages may read the answers (SEMANTICS 3): on plain sockets, and as a browser sees it.

use http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Browser, Gateway, Origin, Request, Seen};

const APP: &str = "https://app.example.org";
const EVIL: &str = "https://evil.test";

/// `cors` of the gateway, and routes, of which `{origin}` is the upstream.
async fn gateway(origin: &Origin, cors: &str, routes: &[&str]) -> Gateway {
    gateway_with(origin, cors, "", routes).await
}

async fn gateway_with(origin: &Origin, cors: &str, more: &str, routes: &[&str]) -> Gateway {
    let routes = routes.iter().map(|route| format!("  - {}\n", route.replace("{origin}", origin.url())));
    Gateway::start(&format!("cors: {cors}\n{more}\nroutes:\n{}", routes.collect::<String>())).await
}

const ALL: &str = r#"{ name: all, path_pattern: /*, target_url: "{origin}" }"#;
const STRICT: &str = "{ allow_origins: [https://app.example.org], allow_credentials: true }";

fn from(origin: &str, target: &str) -> http::request::Builder {
    Request::get(target).header("origin", origin)
}

fn preflight(origin: &str, method: Method, target: &str) -> http::request::Builder {
    from(origin, target).method(Method::OPTIONS).header("access-control-request-method", method.as_str())
}

/// What an answer says of CORS: fields in alphabetical order, without what pages may read.
fn said(answer: &Answer) -> Vec<String> {
    let of_cors =
        |name: &str| name == "vary" || name.starts_with("access-control-") && !name.ends_with("expose-headers");
    let fields = answer.headers.iter().filter(|(name, _)| of_cors(name.as_str()));
    let mut said: Vec<_> = fields.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    said.sort();
    said
}

const ADMITTED: [&str; 3] =
    ["access-control-allow-credentials: true", "access-control-allow-origin: https://app.example.org", "vary: Origin"];
const REFUSED: [&str; 1] = ["vary: Origin"];

#[tokio::test(flavor = "multi_thread")]
async fn preflights_are_answered_by_the_gateway() {
    let origin = Origin::start().await;
    let gateway = gateway(&origin, STRICT, &[ALL]).await;
    let vary = "vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
    let told = [
        "access-control-allow-credentials: true",
        "access-control-allow-headers: Authorization, Content-Type",
        "access-control-allow-methods: GET, HEAD, POST, PUT, PATCH, DELETE",
        "access-control-allow-origin: https://app.example.org",
        "access-control-max-age: 600",
        vary,
    ];
    for mut client in [gateway.h1().await, gateway.h2c().await] {
        let answer = client.ask(preflight(APP, Method::PUT, "/x")).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (204, 0));
        assert_eq!((said(&answer), answer.header("content-length")), (told.map(String::from).to_vec(), None));
        assert!(answer.header("x-request-id").is_some());
        let refused = client.ask(preflight(EVIL, Method::PUT, "/x")).await;
        assert_eq!((refused.status.as_u16(), said(&refused)), (204, vec![vary.to_owned()]));
    }
    assert_eq!(origin.requests(), 0);
    let plain = gateway.ask(from(APP, "/x").method(Method::OPTIONS)).await;
    assert_eq!((plain.seen().method.as_str(), said(&plain)), ("OPTIONS", ADMITTED.map(String::from).to_vec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_takes_the_route_of_the_method_it_asks_for() {
    let origin = Origin::start().await;
    let routes = [
        r#"{ name: read, path_pattern: /x, methods: [GET], target_url: "{origin}" }"#,
        r#"{ name: write, path_pattern: /x, methods: [PUT], target_url: "{origin}", cors: { allow_origins: [https://evil.test], max_age: 10 } }"#,
    ];
    let gateway = gateway(&origin, STRICT, &routes).await;
    let mut client = gateway.h1().await;
    for (page, method, status, methods) in [
        (APP, Method::GET, 204, Some("GET")),
        (EVIL, Method::GET, 204, None),
        (APP, Method::PUT, 204, None),
        (EVIL, Method::PUT, 204, Some("PUT")),
        (APP, Method::DELETE, 405, None),
    ] {
        let answer = client.ask(preflight(page, method.clone(), "/x")).await;
        let found = (answer.status.as_u16(), answer.header("access-control-allow-methods"));
        assert_eq!(found, (status, methods), "{page} {method}");
    }
    assert_eq!(client.ask(preflight(APP, Method::GET, "/y")).await.status, 404);
    assert_eq!(origin.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn preflights_come_before_auth_and_limits_and_after_the_front_shields() {
    let origin = Origin::start().await;
    let more = "trusted_proxies: [127.0.0.1]\nshields: { deny: [192.0.2.66] }\n\
                auth: { jwt: [{ secret: 0123456789abcdef0123456789abcdef }] }\n\
                rate_limits: [{ rule_name: few, limit_type: global, max_requests: 1, window_seconds: 3600 }]";
    let routes = [
        r#"{ name: closed, path_pattern: /closed, target_url: "{origin}", rate_limits: [few] }"#,
        r#"{ name: open, path_pattern: /open, target_url: "{origin}", rate_limits: [few], is_public: true }"#,
    ];
    let gateway = gateway_with(&origin, STRICT, more, &routes).await;
    let mut client = gateway.h1().await;
    for _ in 0..5 {
        assert_eq!(client.ask(preflight(APP, Method::GET, "/closed")).await.status, 204);
        assert_eq!(client.ask(preflight(APP, Method::GET, "/open")).await.status, 204);
    }
    client.ask(from(APP, "/open")).await.seen();
    for (target, status) in [("/closed", 401), ("/open", 429)] {
        let answer = client.ask(from(APP, target)).await;
        assert_eq!((answer.status.as_u16(), said(&answer)), (status, ADMITTED.map(String::from).to_vec()));
        answer.problem();
    }
    let denied = client.ask(preflight(APP, Method::GET, "/open").header("x-forwarded-for", "192.0.2.66")).await;
    assert_eq!(denied.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_upstreams_say_is_replaced() {
    let origin = Origin::start().await;
    let gateway = gateway(&origin, STRICT, &[ALL]).await;
    for mut client in [gateway.h1().await, gateway.h2c().await] {
        for (page, wanted) in [(Some(APP), &ADMITTED[..]), (Some(EVIL), &REFUSED), (None, &REFUSED)] {
            let request = Request::get("/x")
                .header("answer-access-control-allow-origin", "*")
                .header("answer-access-control-allow-methods", "DELETE")
                .header("answer-access-control-expose-headers", "X-Secret");
            let request = page.into_iter().fold(request, |request, page| request.header("origin", page));
            let answer = client.ask(request).await;
            assert_eq!(said(&answer), wanted, "{page:?}");
            let exposed = answer.header("access-control-expose-headers");
            assert_eq!(exposed.map(|exposed| exposed.contains("X-Request-Id")), (page == Some(APP)).then_some(true));
            assert!(!exposed.unwrap_or_default().contains("X-Secret"));
        }
        let varied = client.ask(from(APP, "/x").header("answer-vary", "Accept, Cookie")).await;
        assert_eq!(said(&varied)[2..], ["vary: Accept, Cookie", "vary: Origin"]);
        let varied = client.ask(from(APP, "/x").header("answer-vary", "accept, origin")).await;
        assert_eq!(said(&varied)[2..], ["vary: accept, origin"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_gateway_answers_itself_can_be_read_too() {
    let origin = Origin::start().await;
    let routes = [
        r#"{ name: down, path_pattern: /down, target_url: "http://127.0.0.1:1" }"#,
        r#"{ name: there, path_pattern: /there, redirect: { to: /x } }"#,
        r#"{ name: fixed, path_pattern: /fixed, respond: { status: 200, headers: { Access-Control-Allow-Origin: "*" } } }"#,
        r#"{ name: other, path_pattern: /other, target_url: "{origin}", methods: [PUT] }"#,
    ];
    let gateway = gateway(&origin, STRICT, &routes).await;
    for (target, status) in [("/down", 502), ("/there", 308), ("/fixed", 200), ("/other", 405), ("/none", 404)] {
        for (page, wanted) in [(APP, &ADMITTED[..]), (EVIL, &REFUSED)] {
            let answer = gateway.ask(from(page, target)).await;
            assert_eq!(answer.status, status, "{target}");
            assert_eq!(said(&answer), wanted, "{target} {page}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_to_all_is_the_same_for_all() {
    let origin = Origin::start().await;
    let gateway = gateway(&origin, r#"{ allow_origins: ["*"] }"#, &[ALL]).await;
    for request in [Request::get("/x"), from(EVIL, "/x"), from("null", "/x")] {
        assert_eq!(said(&gateway.ask(request).await), ["access-control-allow-origin: *"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_may_say_otherwise() {
    let origin = Origin::start().await;
    let routes = [
        ALL,
        r#"{ name: own, path_pattern: /own/*, target_url: "{origin}", cors: { enabled: false } }"#,
        r#"{ name: open, path_pattern: /open/*, target_url: "{origin}", cors: { allow_origins: ["*"], allow_credentials: false } }"#,
    ];
    let gateway = gateway(&origin, STRICT, &routes).await;
    let mut client = gateway.h1().await;
    let own = client.ask(preflight(APP, Method::PUT, "/own/x").header("answer-access-control-allow-origin", "x")).await;
    assert_eq!(
        (own.seen().method.as_str(), said(&own)),
        ("OPTIONS", vec!["access-control-allow-origin: x".to_owned()])
    );
    assert_eq!(said(&client.ask(from(EVIL, "/open/x")).await), ["access-control-allow-origin: *"]);
    assert_eq!(said(&client.ask(from(EVIL, "/x")).await), REFUSED);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_cors_the_upstream_answers_for_itself() {
    let origin = Origin::start().await;
    let gateway = Gateway::to(&origin).await;
    let mut client = gateway.h1().await;
    let answer = client.ask(preflight(APP, Method::PUT, "/x").header("answer-access-control-allow-origin", "*")).await;
    assert_eq!(
        (answer.seen().method.as_str(), said(&answer)),
        ("OPTIONS", vec!["access-control-allow-origin: *".into()])
    );
    let refused = gateway.reload("cors: { allow_origins: [\"*\"], allow_credentials: true }\n").unwrap_err();
    assert!(refused.contains("cors.allow_origins: * in allow_origins and allow_credentials"), "{refused}");
}

/// The pages of the browser, and the gateway as they see it.
struct Web {
    browser: Browser,
    gateway: Gateway,
    origin: Origin,
}

impl Web {
    async fn start() -> Web {
        let (browser, origin) = (Browser::start().await, Origin::start().await);
        let port = browser.ports[0];
        let cors = format!(
            "{{ allow_origins: [\"http://localhost:{port}\", \"http://*.localhost:{port}\"], allow_credentials: true, \
             allow_headers: [X-Custom, Answer-Set-Cookie, Answer-X-Shown, Answer-X-Hidden], expose_headers: [X-Shown] }}"
        );
        let limit = "rate_limits: [{ rule_name: few, limit_type: global, max_requests: 1, window_seconds: 3600 }]";
        let routes = [
            r#"{ name: x, path_pattern: /x, target_url: "{origin}" }"#,
            r#"{ name: few, path_pattern: /few, target_url: "{origin}", rate_limits: [few] }"#,
            r#"{ name: write, path_pattern: /write, methods: [PUT], target_url: "{origin}" }"#,
            r#"{ name: sandboxed, path_pattern: /sandboxed, target_url: "{origin}", cors: { allow_origins: ["null"], allow_credentials: false } }"#,
        ];
        let gateway = gateway_with(&origin, &cors, limit, &routes).await;
        Web { browser, gateway, origin }
    }

    /// What a page on this host of the first port, or at this URL, sees.
    async fn fetch(&mut self, page: &str, target: &str, with: Value) -> Value {
        let page = match page.starts_with("http:") {
            true => page.to_owned(),
            false => format!("http://{page}:{}/", self.browser.ports[0]),
        };
        let url = format!("http://localhost:{}{target}", self.gateway.address.port());
        self.browser.fetch(&page, &url, with).await
    }

    /// A page sees nothing at all; the upstream has seen so many requests the while.
    async fn assert_kept_from(&mut self, page: &str, target: &str, with: Value, sent: usize) {
        let before = self.origin.requests();
        let saw = self.fetch(page, target, with).await;
        assert_eq!(saw, json!({ "error": "TypeError: Failed to fetch" }), "{page} {target}");
        assert_eq!(self.origin.requests() - before, sent, "{page} {target}");
    }
}

fn seen(saw: &Value) -> Seen {
    serde_json::from_str(saw["body"].as_str().unwrap_or_else(|| panic!("{saw}"))).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_shows_pages_what_they_may_read() {
    let mut web = Web::start().await;
    for page in ["localhost", "app.localhost"] {
        let saw = web.fetch(page, "/x", json!({})).await;
        assert_eq!((&saw["status"], seen(&saw).target.as_str()), (&json!(200), "/x"));
        assert!(saw["headers"]["x-request-id"].is_string(), "{saw}");
    }
    // What needs no preflight is sent, and kept from the page.
    let second = format!("http://localhost:{}/", web.browser.ports[1]);
    let sandboxed = format!("http://localhost:{}/sandboxed/", web.browser.ports[0]);
    for page in ["127.0.0.1", &second, &sandboxed] {
        web.assert_kept_from(page, "/x", json!({}), 1).await;
        web.assert_kept_from(page, "/write", json!({ "method": "PUT" }), 0).await;
    }
    assert_eq!(web.fetch(&sandboxed, "/sandboxed", json!({})).await["status"], 200);
    web.assert_kept_from("localhost", "/sandboxed", json!({}), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_asks_before_it_sends_what_is_unusual() {
    let mut web = Web::start().await;
    let put = json!({ "method": "PUT", "headers": { "X-Custom": "1" }, "body": "text" });
    let saw = seen(&web.fetch("localhost", "/write", put).await);
    assert_eq!((saw.method.as_str(), saw.header("x-custom"), saw.body_length), ("PUT", Some("1"), 4));
    web.assert_kept_from("localhost", "/write", json!({ "method": "DELETE" }), 0).await;
    web.assert_kept_from("localhost", "/x", json!({ "headers": { "X-Other": "1" } }), 0).await;
    let said = json!({ "headers": { "Answer-X-Shown": "1", "Answer-X-Hidden": "2" } });
    let headers = &web.fetch("localhost", "/x", said).await["headers"];
    assert_eq!((&headers["x-shown"], &headers["x-hidden"]), (&json!("1"), &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_sends_cookies_where_it_may() {
    let mut web = Web::start().await;
    let login = json!({ "credentials": "include", "headers": { "Answer-Set-Cookie": "session=1; Path=/" } });
    assert_eq!(web.fetch("localhost", "/x", login).await["status"], 200);
    let with = seen(&web.fetch("localhost", "/x", json!({ "credentials": "include" })).await);
    let without = seen(&web.fetch("localhost", "/x", json!({ "credentials": "omit" })).await);
    assert_eq!((with.header("cookie"), without.header("cookie")), (Some("session=1"), None));
    web.assert_kept_from("127.0.0.1", "/x", json!({ "credentials": "include" }), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_can_read_why_it_was_refused() {
    let mut web = Web::start().await;
    web.fetch("localhost", "/few", json!({})).await;
    for (target, method, status, code) in
        [("/few", "GET", 429, "rate_limited"), ("/write", "GET", 405, "method_not_allowed")]
    {
        let saw = web.fetch("localhost", target, json!({ "method": method })).await;
        let problem: Value = serde_json::from_str(saw["body"].as_str().unwrap_or_else(|| panic!("{saw}"))).unwrap();
        assert_eq!((&saw["status"], &problem["code"]), (&json!(status), &json!(code)));
        assert_eq!(saw["headers"]["x-request-id"], problem["request_id"]);
        assert_eq!(saw["headers"]["x-gatekeeper-error"], code);
        assert_eq!(saw["headers"]["retry-after"].is_string(), status == 429, "{saw}");
    }
}
