//! How often clients may come (SEMANTICS 5).

use std::time::{Duration, Instant};

use futures::future::join_all;
use http::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::tls::{Authority, Files};
use crate::support::{Answer, Client, Gateway, Origin, Request, eventually, full};

/// A gateway with these rules and routes; everything else passes to the origin.
async fn gateway(origin: &Origin, rules: &str, routes: &str) -> Gateway {
    Gateway::start(&config(origin, rules, routes)).await
}

fn config(origin: &Origin, rules: &str, routes: &str) -> String {
    format!(
        "trusted_proxies: [127.0.0.1]\nrate_limits:\n{rules}\nroutes:\n\
         \x20 - {{ name: all, path_pattern: /*, target_url: \"{}\" }}\n{}",
        origin.url(),
        routes.replace("{origin}", origin.url())
    )
}

fn from(address: &str, target: &str) -> http::request::Builder {
    Request::get(target).header("x-forwarded-for", address)
}

fn number(answer: &Answer, name: &str) -> u64 {
    answer.header(name).unwrap_or_else(|| panic!("no {name}: {:?}", answer.headers)).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_kept_and_told() {
    let origin = Origin::start().await;
    let rules = "  - { rule_name: ip, limit_type: per_ip, max_requests: 3, window_seconds: 60 }\n\
                 \x20 - { rule_name: all, limit_type: global, max_requests: 1000, window_seconds: 10 }\n";
    let gateway = gateway(&origin, rules, "").await;
    for mut client in [gateway.h1().await, gateway.h2c().await] {
        let address = if matches!(client, Client::H1(_)) { "192.0.2.1" } else { "192.0.2.2" };
        for left in [2, 1, 0] {
            let answer = client.ask(from(address, "/x")).await;
            assert_eq!(answer.status, 200);
            assert_eq!((number(&answer, "x-ratelimit-limit"), number(&answer, "x-ratelimit-remaining")), (3, left));
            assert!((59..=60).contains(&number(&answer, "x-ratelimit-reset")));
            assert_eq!(answer.header("ratelimit-policy"), Some("\"ip\";q=3;w=60, \"all\";q=1000;w=10"));
            let told = answer.header("ratelimit").unwrap();
            assert!(told.starts_with(&format!("\"ip\";r={left};t=")) && told.contains(", \"all\";r=9"), "{told}");
        }
        let answer = client.ask(from(address, "/x")).await;
        let problem = answer.problem();
        assert_eq!((answer.status.as_u16(), &problem["code"]), (429, &json!("rate_limited")));
        assert_eq!(problem["violated_policies"], json!(["ip"]));
        assert_eq!(number(&answer, "x-ratelimit-remaining"), 0);
        assert_eq!(answer.header("retry-after"), answer.header("x-ratelimit-reset"));
        assert_eq!(problem["retry_after"], json!(number(&answer, "retry-after")));
        assert!((58..=60).contains(&number(&answer, "retry-after")));
    }
    assert_eq!(gateway.ask(from("192.0.2.3", "/x")).await.status, 200);
    assert_eq!(origin.requests(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_true() {
    let origin = Origin::start().await;
    let rules = "  - { rule_name: short, limit_type: per_ip, max_requests: 2, window_seconds: 1 }\n\
                 \x20 - { rule_name: long, limit_type: per_ip, max_requests: 5, window_seconds: 3 }\n";
    let gateway = gateway(&origin, rules, "").await;
    let (began, mut accepted) = (Instant::now(), Vec::new());
    while began.elapsed() < Duration::from_secs(7) {
        let answer = gateway.get("/x").await;
        if answer.status == 200 {
            accepted.push(began.elapsed());
            continue;
        }
        let asked = Instant::now();
        let after = Duration::from_secs(number(&answer, "retry-after"));
        // Clearly before, it is refused; after, accepted, for an only client.
        sleep(after.saturating_sub(Duration::from_millis(1100))).await;
        if asked.elapsed() < after.saturating_sub(Duration::from_millis(1050)) {
            assert_eq!(gateway.get("/x").await.status, 429, "{after:?}");
        }
        sleep(after.saturating_sub(asked.elapsed())).await;
        let answer = gateway.get("/x").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        accepted.push(began.elapsed());
    }
    for (window, most) in [(Duration::from_secs(1), 2), (Duration::from_secs(3), 5)] {
        let slack = Duration::from_millis(20);
        let worst = accepted
            .iter()
            .map(|from| accepted.iter().filter(|at| *at >= from && **at + slack < *from + window).count())
            .max();
        assert!(worst <= Some(most), "{worst:?} in {window:?}: {accepted:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn subjects_are_told_apart() {
    let origin = Origin::start().await;
    let secret = "a secret of more than thirty-two bytes";
    let rules = "  - { rule_name: user, limit_type: per_user, max_requests: 2, window_seconds: 60, path_pattern: /user/* }\n\
                 \x20 - { rule_name: endpoint, limit_type: per_endpoint, max_requests: 2, window_seconds: 60 }\n\
                 \x20 - { rule_name: org, limit_type: \"claim:org\", max_requests: 2, window_seconds: 60 }\n\
                 \x20 - { rule_name: plan, limit_type: \"header:X-Plan\", max_requests: 2, window_seconds: 60 }\n\
                 \x20 - { rule_name: off, limit_type: global, max_requests: 1, window_seconds: 60, is_active: false }\n\
                 \x20 - { rule_name: burst, limit_type: per_ip, max_requests: 60, window_seconds: 60, algorithm: gcra, burst: 3 }\n";
    let routes = "  - { name: a, path_pattern: /a/*, target_url: \"{origin}\", rate_limits: [endpoint], is_public: true }\n\
                  \x20 - { name: b, path_pattern: /b/*, target_url: \"{origin}\", rate_limits: [endpoint], is_public: true }\n\
                  \x20 - { name: org, path_pattern: /org/*, target_url: \"{origin}\", rate_limits: [org] }\n\
                  \x20 - { name: plan, path_pattern: /plan/*, target_url: \"{origin}\", rate_limits: [plan], is_public: true }\n\
                  \x20 - { name: burst, path_pattern: /burst/*, target_url: \"{origin}\", rate_limits: [burst], is_public: true }\n\
                  \x20 - { name: public, path_pattern: /user/public, target_url: \"{origin}\", is_public: true }\n";
    let config = config(&origin, rules, routes) + &format!("auth: {{ jwt: [{{ secret: \"{secret}\" }}] }}\n");
    let gateway = Gateway::start(&config).await;
    let token = |sub: &str, org: &str| {
        let minted = gateway.command("jwt", &["--sub", sub, "--claims", &json!({ "org": org }).to_string()]);
        format!("Bearer {}", String::from_utf8(minted.stdout).unwrap().trim())
    };
    let count = async |requests: &dyn Fn() -> http::request::Builder| {
        let mut passed = 0;
        while passed < 10 && gateway.ask(requests()).await.status == 200 {
            passed += 1;
        }
        passed
    };
    let (alice, bob) = (token("alice", "o1"), token("bob", "o1"));
    // A user is one wherever the requests come from, and another where nobody is known.
    assert_eq!(count(&|| from("192.0.2.1", "/user/x").header("authorization", &alice)).await, 2);
    assert_eq!(count(&|| from("192.0.2.2", "/user/y").header("authorization", &alice)).await, 0);
    assert_eq!(count(&|| from("192.0.2.1", "/user/x").header("authorization", &bob)).await, 2);
    assert_eq!(count(&|| from("192.0.2.1", "/user/public")).await, 2);
    assert_eq!(count(&|| from("192.0.2.2", "/user/public")).await, 2);
    assert_eq!(count(&|| from("192.0.2.1", "/other").header("authorization", &alice)).await, 10, "not its path");
    // A route is one endpoint, whoever comes.
    assert_eq!((count(&|| Request::get("/a/1")).await, count(&|| from("192.0.2.9", "/a/2")).await), (2, 0));
    assert_eq!(count(&|| Request::get("/b/1")).await, 2);
    // Who has the same claim counts together, and so do those with the same header, or with none.
    assert_eq!(count(&|| Request::get("/org/x").header("authorization", &alice)).await, 2);
    assert_eq!(count(&|| Request::get("/org/x").header("authorization", &bob)).await, 0);
    assert_eq!(count(&|| Request::get("/org/x").header("authorization", token("carl", "o2"))).await, 2);
    assert_eq!(
        (count(&|| Request::get("/plan/x").header("x-plan", "a")).await, count(&|| Request::get("/plan/x")).await),
        (2, 2)
    );
    assert_eq!(count(&|| Request::get("/burst/x")).await, 3);
    // Networks of IPv6.
    assert_eq!(
        (count(&|| from("2001:db8::1", "/user/public")).await, count(&|| from("2001:db8::2", "/user/public")).await),
        (2, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_spends_nothing() {
    let origin = Origin::start().await;
    let rules = "  - { rule_name: few, limit_type: global, max_requests: 2, window_seconds: 60 }\n\
                 \x20 - { rule_name: many, limit_type: global, max_requests: 10, window_seconds: 60 }\n";
    let routes = "  - { name: few, path_pattern: /few, target_url: \"{origin}\", rate_limits: [few, many] }\n\
                  \x20 - { name: many, path_pattern: /many, respond: { status: 200 }, rate_limits: [many] }\n\
                  \x20 - { name: dead, path_pattern: /dead, target_service: dead, rate_limits: [many], retry_count: 0 }\n";
    let config = config(&origin, rules, routes)
        + "services: { dead: { targets: [\"http://127.0.0.1:9\"], circuit_breaker: { failure_threshold: 1 } } }\n";
    let gateway = Gateway::start(&config).await;
    let statuses = join_all((0..20).map(|_| gateway.get("/few"))).await;
    assert_eq!(statuses.iter().filter(|answer| answer.status == 200).count(), 2);
    let answer = gateway.get("/many").await;
    assert_eq!(number(&answer, "x-ratelimit-remaining"), 7, "two and this one");
    // What the breaker refuses has not been charged.
    gateway.get("/dead").await;
    eventually("the breaker opens", async || {
        (gateway.get("/dead").await.problem()["code"] == "circuit_open").then_some(())
    })
    .await;
    let before = number(&gateway.get("/many").await, "x-ratelimit-remaining");
    for _ in 0..5 {
        assert_eq!(gateway.get("/dead").await.status, 503);
    }
    assert_eq!(number(&gateway.get("/many").await, "x-ratelimit-remaining"), before - 1);
    // Nor have preflights and the gateway's own health.
    for _ in 0..3 {
        assert_eq!(gateway.get("/health").await.header("ratelimit"), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_survive_a_reload() {
    let origin = Origin::start().await;
    let rule = |max: u32, window: u32| {
        format!("  - {{ rule_name: all, limit_type: global, max_requests: {max}, window_seconds: {window} }}\n")
    };
    let gateway = gateway(&origin, &rule(5, 60), "").await;
    for _ in 0..3 {
        gateway.get("/x").await;
    }
    let left = async || number(&gateway.get("/x").await, "x-ratelimit-remaining");
    gateway.reload(&config(&origin, &rule(5, 60), "")).unwrap();
    assert_eq!(left().await, 1);
    gateway.reload(&config(&origin, &rule(8, 60), "")).unwrap();
    assert_eq!(left().await, 3, "with another number they are the same counts");
    gateway.reload(&config(&origin, &rule(5, 60), "")).unwrap();
    assert_eq!(gateway.get("/x").await.status, 429);
    gateway.reload(&config(&origin, &rule(5, 61), "")).unwrap();
    assert_eq!(left().await, 4, "another window is another limit");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_on_trial_refuses_nobody() {
    let origin = Origin::start().await;
    let rules = "  - { rule_name: trial, limit_type: global, max_requests: 1, window_seconds: 60, mode: shadow }\n";
    let routes = "  - { name: route, path_pattern: /route/*, target_url: \"{origin}\", rate_limits: [route], shadow: [limits] }\n";
    let rules =
        rules.to_owned() + "  - { rule_name: route, limit_type: global, max_requests: 1, window_seconds: 60 }\n";
    let gateway = gateway(&origin, &rules, routes).await;
    for number in 0..3 {
        let answer = gateway.get(&format!("/x{number}")).await;
        assert_eq!((answer.status.as_u16(), answer.header("ratelimit")), (200, None));
    }
    assert_eq!(gateway.log_of("/x0").await["would_refuse"], Value::Null);
    assert_eq!(gateway.log_of("/x2").await["would_refuse"], "rate_limited:trial");
    assert_eq!(gateway.get("/route/1").await.status, 200);
    assert_eq!(gateway.get("/route/2").await.status, 200);
    assert_eq!(gateway.log_of("/route/2").await["would_refuse"], "rate_limited:route,trial");
    let decided = |rule: &str, outcome: &str| {
        format!("gatekeeper_policy_decisions_total{{outcome=\"{outcome}\",policy=\"rate_limit\",rule=\"{rule}\"}}")
    };
    assert_eq!(gateway.metric(&decided("trial", "would_refuse")).await, 4.0);
    assert_eq!(gateway.metric(&decided("trial", "accepted")).await, 1.0);
    assert_eq!(gateway.metric(&decided("route", "refused")).await, 0.0);
    for (route, count) in [("all", 2.0), ("route", 2.0)] {
        assert_eq!(gateway.metric(&format!("gatekeeper_would_refuse_total{{route=\"{route}\"}}")).await, count);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_limit_refuses_no_other_has_accepted() {
    let origin = Origin::start().await;
    let rules = "  - { rule_name: few, limit_type: global, max_requests: 2, window_seconds: 60 }\n\
                 \x20 - { rule_name: many, limit_type: per_ip, max_requests: 100, window_seconds: 60 }\n\
                 \x20 - { rule_name: trial, limit_type: global, max_requests: 1, window_seconds: 60, mode: shadow }\n";
    let gateway = gateway(&origin, rules, "").await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(gateway.get("/x").await.status.as_u16());
    }
    assert_eq!(statuses, [200, 200, 429, 429, 429]);
    let listed = String::from_utf8(gateway.command("limits", &["list"]).stdout).unwrap();
    let counts = |line: &str| line.split_whitespace().rev().take(4).map(String::from).collect::<Vec<_>>();
    let lines: Vec<_> = listed.lines().collect();
    assert!(lines[0].ends_with("SUBJECTS  ACCEPTED  REFUSED  WOULD REFUSE"), "{listed}");
    assert_eq!(counts(lines[1]), ["0", "3", "2", "1"].map(String::from), "few, from the right: {listed}");
    assert_eq!(counts(lines[2]), ["0", "0", "2", "1"].map(String::from), "many: {listed}");
    assert_eq!(counts(lines[3]), ["4", "0", "1", "1"].map(String::from), "trial: {listed}");
    let many = "gatekeeper_policy_decisions_total{outcome=\"accepted\",policy=\"rate_limit\",rule=\"many\"}";
    assert_eq!(gateway.metric(many).await, 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_shown_under_everybody_who_may_vouch_for_one() {
    let origin = Origin::start().await;
    let secrets = ["a", "b"].map(|letter| letter.repeat(40));
    let auth = format!(
        "auth:\n  jwt:\n    - {{ issuer: \"https://a.test\", algorithms: [HS256], secret: {} }}\n\
         \x20   - {{ issuer: \"https://b.test\", algorithms: [HS256], secret: {} }}\n\
         \x20 api_keys: {{ keys: [{{ owner: alice, hash: \"sha256:{}\" }}] }}\n",
        secrets[0],
        secrets[1],
        "0".repeat(64)
    );
    let rules = "  - { rule_name: users, limit_type: per_user, max_requests: 5, window_seconds: 60 }\n\
                 \x20 - { rule_name: ips, limit_type: per_ip, max_requests: 5, window_seconds: 60 }\n";
    let gateway = Gateway::start(&(auth + &config(&origin, rules, ""))).await;
    let minted = gateway.command("jwt", &["--sub", "alice", "--issuer", "https://b.test"]);
    let token = String::from_utf8(minted.stdout).unwrap();
    let request = Request::get("/x").header("authorization", format!("Bearer {}", token.trim()));
    assert_eq!(gateway.ask(request).await.status, 200);
    let status = |args: &[&str]| {
        let args: Vec<_> = ["status"].iter().chain(args).copied().collect();
        String::from_utf8(gateway.command("limits", &args).stdout).unwrap()
    };
    let all = status(&["alice"]);
    let lines: Vec<_> = all.lines().collect();
    assert_eq!(lines[0], "users: alice (https://a.test) used 0, 5 left");
    assert!(lines[1].starts_with("users: alice (https://b.test) used 1, 4 left, one more in "), "{all}");
    assert_eq!((lines[2], lines.len()), ("users: alice (api_key) used 0, 5 left", 3), "{all}");
    assert!(status(&["alice", "--issuer", "https://b.test"]).starts_with("users: alice (https://b.test) used 1"));
    let address = status(&["192.0.2.1"]);
    assert_eq!(address, "users: 192.0.2.1 used 0, 5 left\nips: 192.0.2.1 used 0, 5 left\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_explained_and_listed_without_counting() {
    let origin = Origin::start().await;
    let rules = "  - { rule_name: ip, limit_type: per_ip, max_requests: 3, window_seconds: 60 }\n";
    let gateway = gateway(&origin, rules, "").await;
    gateway.ask(from("192.0.2.1", "/x")).await;
    let explain = || {
        let output = gateway.command("explain", &["GET", "/x", "--from", "192.0.2.1", "--running", "--json"]);
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let mut admin = Client::unix(gateway.file("admin.sock").to_str().unwrap()).await;
    let token = std::fs::read_to_string(gateway.file("state/admin.token")).unwrap();
    for _ in 0..1000 {
        let inquiry = json!({ "request": "GET /x", "from": "192.0.2.1" }).to_string();
        let request =
            Request::post("/api/v1/gateway/explain").header("authorization", format!("Bearer {}", token.trim()));
        let request = request.header("content-type", "application/json").body(full(inquiry)).unwrap();
        assert_eq!(admin.ask(request).await.json()["limits"][0]["used"], 1);
    }
    for _ in 0..2 {
        let told = explain();
        assert_eq!((&told["auth"], &told["route"]), (&json!("public"), &json!("all")));
        let limit = &told["limits"][0];
        assert_eq!((&limit["rule"], &limit["subject"]), (&json!("ip"), &json!("192.0.2.1")));
        assert_eq!((&limit["used"], &limit["left"]), (&json!(1), &json!(2)));
    }
    assert_eq!(number(&gateway.ask(from("192.0.2.1", "/x")).await, "x-ratelimit-remaining"), 1);
    gateway.ask(from("192.0.2.1", "/x")).await;
    let told = explain();
    assert_eq!((&told["answer"]["status"], &told["answer"]["code"]), (&json!(429), &json!("rate_limited")));
    let listed = String::from_utf8(gateway.command("limits", &["list"]).stdout).unwrap();
    assert!(
        listed.lines().nth(1).is_some_and(|line| line.starts_with("ip    per_ip     3 in 60 s  enforce  1")),
        "{listed}"
    );
    let status = String::from_utf8(gateway.command("limits", &["status", "192.0.2.1"]).stdout).unwrap();
    assert!(status.starts_with("ip: 192.0.2.1 used 3, 0 left, one more in "), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_the_gateway_itself_are_limited_too() {
    let origin = Origin::start().await;
    let rules = "  - { rule_name: all, limit_type: global, max_requests: 2, window_seconds: 60 }\n";
    let routes = "  - { name: fixed, path_pattern: /fixed, respond: { status: 200, body: x } }\n\
                  \x20 - { name: moved, path_pattern: /moved, redirect: { to: /x } }\n";
    let gateway = gateway(&origin, rules, routes).await;
    assert_eq!(number(&gateway.get("/fixed").await, "x-ratelimit-remaining"), 1);
    assert_eq!(number(&gateway.get("/moved").await, "x-ratelimit-remaining"), 0);
    assert_eq!(gateway.get("/fixed").await.status, 429);
    let post = Request::builder().method(Method::POST).uri("/x").body(full("body")).unwrap();
    assert_eq!(gateway.ask(post).await.status, 429);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_holds_under_many_connections() {
    let origin = Origin::start().await;
    let rules = "  - { rule_name: all, limit_type: global, max_requests: 100, window_seconds: 60 }\n";
    let gateway = gateway(&origin, rules, "").await;
    let clients = (0..16).map(async |_| {
        let mut client = gateway.h1().await;
        let mut passed = 0;
        for _ in 0..20 {
            passed += usize::from(client.ask(Request::get("/x")).await.status == 200);
        }
        passed
    });
    assert_eq!(join_all(clients).await.iter().sum::<usize>(), 100);
    assert_eq!(origin.requests(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_may_be_left_out_or_count_from_1970() {
    let origin = Origin::start().await;
    let rules = "  - { rule_name: all, limit_type: global, max_requests: 1, window_seconds: 60 }\n";
    let silent = Gateway::start(&(config(&origin, rules, "") + "rate_limit_headers: { enabled: false }\n")).await;
    assert_eq!(silent.get("/x").await.header("ratelimit"), None);
    let refused = silent.get("/x").await;
    assert_eq!((refused.status.as_u16(), refused.header("x-ratelimit-limit")), (429, None));
    assert!(number(&refused, "retry-after") > 50);
    let epoch = Gateway::start(&(config(&origin, rules, "") + "rate_limit_headers: { reset: epoch }\n")).await;
    let reset = number(&epoch.get("/x").await, "x-ratelimit-reset");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!((now + 50..=now + 62).contains(&reset), "{reset}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_rules_are_faults() {
    let told = |rule: &str, route: &str| {
        Gateway::refuses(
            &format!(
                "rate_limits: [{rule}]\nroutes:\n  - {{ name: a, path_pattern: /*, respond: {{ status: 200 }}, {route} }}\n"
            ),
            Vec::new(),
        )
    };
    let good = "rule_name: a, limit_type: global, max_requests: 1, window_seconds: 1";
    let cases = [
        (format!("{{ {good}, burst: 3 }}"), "", "a window has no burst"),
        (
            "{ rule_name: a, limit_type: per_moon, max_requests: 1, window_seconds: 1 }".into(),
            "",
            "(rate_limits[0]).limit_type",
        ),
        (
            "{ rule_name: a, limit_type: global, max_requests: 0, window_seconds: 1 }".into(),
            "",
            "(rate_limits[0]).max_requests",
        ),
        (
            "{ rule_name: a, limit_type: global, max_requests: 1, window_seconds: 0 }".into(),
            "",
            "(rate_limits[0]).window_seconds",
        ),
        (format!("{{ {good} }}, {{ {good} }}"), "", "there are two rules \"a\""),
        (format!("{{ {good}, path_pattern: x }}"), "", "(rate_limits[0]).path_pattern"),
        (format!("{{ {good} }}"), "rate_limits: [b]", "there is no rate limit \"b\""),
        (format!("{{ {good}, max_subjects: 3 }}"), "", "(rate_limits[0]).max_subjects"),
    ];
    for (rule, route, wanted) in cases {
        let said = told(&rule, route);
        assert!(said.contains(wanted), "{rule} {route}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_that_could_never_be_spent_is_a_fault() {
    let origin = Origin::start().await;
    let gateway = gateway(&origin, "  []", "").await;
    let check = |max: u32, burst: u32| {
        let rule = format!(
            "  - {{ rule_name: r, limit_type: global, max_requests: {max}, window_seconds: 31536000, algorithm: gcra, burst: {burst} }}"
        );
        gateway.write(&config(&origin, &rule, ""));
        let output = gateway.command("check", &[]);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (max, burst) in [(1, 1_000_000_000), (1, 101), (9_999_999, 1_000_000_000)] {
        let (code, said) = check(max, burst);
        assert_eq!(code, Some(1), "{max} {burst}: {said}");
        assert!(said.contains("(rate_limits[0]).burst") && said.contains("100 years"), "{said}");
    }
    for (max, burst) in [(1, 100), (10_000_001, 1_000_000_000)] {
        assert_eq!(check(max, burst).0, Some(0), "{max} {burst}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_table_is_seen_and_refuses_hardly_anybody() {
    let origin = Origin::start().await;
    let rule = "  - { rule_name: ip, limit_type: per_ip, max_requests: 2, window_seconds: 60, max_subjects: 1000 }";
    let gateway = gateway(&origin, rule, "").await;
    let mut client = gateway.h1().await;
    let mut passed = 0;
    for number in 0..1500 {
        let address = format!("10.0.{}.{}", number / 250, number % 250);
        passed += usize::from(client.ask(from(&address, "/x")).await.status == 200);
    }
    assert!(passed >= 1490, "{passed} of 1500 newcomers");
    let overflowed = gateway.metric("gatekeeper_rate_limit_overflowed_total{rule=\"ip\"}").await;
    assert!((490.0..=500.0).contains(&overflowed), "{overflowed}");
    // Whoever is counted exactly is so still, and whoever is not gets no more than its limit.
    for address in ["10.0.0.1", "10.0.5.200"] {
        let mut more = 0;
        while client.ask(from(address, "/x")).await.status == 200 {
            more += 1;
        }
        assert!(more <= 1, "{more} more for {address}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_are_about_metrics_that_there_are() {
    let origin = Origin::start().await;
    let auth = "auth: { jwt: [{ jwks_url: \"http://127.0.0.1:9/\" }] }\n";
    let rule = "  - { rule_name: ip, limit_type: per_ip, max_requests: 2, window_seconds: 60 }";
    let (files, pair) = (Files::new(), Authority::new().issue("a.test"));
    let tls = format!(
        "listen: [{{ address: \"127.0.0.1:0\" }}, {{ address: \"127.0.0.1:0\", tls: {{ certificates: [{}] }} }}]\n\
         services: {{ app: {{ targets: [\"https://127.0.0.1:9\"], tls: {{ client_certificate: {}, client_key: {} }} }} }}\n",
        files.pair("a", &pair),
        files.write("client.pem", &pair.certificate_pem()),
        files.write("client.key", &pair.key_pem())
    );
    let route = "  - { name: app, path_pattern: /app, target_service: app }\n";
    let gateway = Gateway::start(&(tls + &config(&origin, rule, route) + auth)).await;
    let metrics = gateway.metrics().await;
    let alerts: Value = serde_yaml::from_str(include_str!("../conf/alerts.yaml")).unwrap();
    let rules = alerts["groups"][0]["rules"].as_array().unwrap();
    assert!(!rules.is_empty());
    for rule in rules {
        let expr = rule["expr"].as_str().unwrap();
        let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
        let names: Vec<_> = expr.split(|c| !is_name(c)).filter(|word| word.starts_with("gatekeeper_")).collect();
        assert!(!names.is_empty(), "{expr}");
        for name in names {
            assert!(metrics.contains(&format!("\n# TYPE {name} ")), "{name}");
        }
        for text in ["summary", "description"] {
            assert!(rule["annotations"][text].is_string(), "{expr}");
        }
    }
}
