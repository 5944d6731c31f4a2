//! What `why` and `explain` say beside a refusal: what was expected, and what was there instead. Clients do not read it.

use std::process::Output;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::support::{Answer, Gateway, Origin, Request, eventually};

const SECRET: &str = "a secret of more than thirty-two bytes";
const LATER: u64 = 4_102_444_800;

fn bearer(claims: Value) -> String {
    gatekeeper_core::signature::install();
    let mut all = json!({ "sub": "alice", "exp": LATER, "aud": "api", "roles": ["user"], "scope": "read" });
    let Value::Object(claims) = claims else { unreachable!() };
    all.as_object_mut().unwrap().extend(claims);
    all.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    format!("Bearer {}", encode(&Header::new(Algorithm::HS256), &all, &key).unwrap())
}

fn printed(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The cause that `why` tells of an answer, which the answer itself keeps to itself.
async fn cause(gateway: &Gateway, answer: &Answer) -> String {
    let id = answer.header("x-request-id").unwrap().to_owned();
    let why = eventually("the refusal is kept", async || {
        Some(gateway.command("why", &[&id])).filter(|output| output.status.success()).map(printed)
    })
    .await;
    let cause = why.lines().find_map(|line| line.strip_prefix("cause")).unwrap_or_else(|| panic!("no cause: {why}"));
    assert!(!answer.text().contains(cause.trim()), "the client reads the cause: {}", answer.text());
    cause.trim().to_owned()
}

fn routes(origin: &Origin) -> String {
    let url = origin.url();
    format!(
        "auth: {{ jwt: [{{ secret: \"{SECRET}\", audience: api, required_claims: [tenant] }}] }}\n\
         routes:\n\
         - {{ name: admin, path_pattern: /admin, target_url: \"{url}\", access: {{ roles: [admin, owner] }} }}\n\
         - {{ name: write, path_pattern: /write, target_url: \"{url}\", access: {{ scopes: [write] }} }}\n\
         - {{ name: acme, path_pattern: /acme, target_url: \"{url}\", access: {{ claims: {{ tenant: acme }} }} }}\n\
         - {{ name: own, path_pattern: \"/users/{{id}}\", target_url: \"{url}\", access: {{ claims: {{ sub: {{ captured: id }} }} }} }}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_user_is_compared_with_what_the_route_needs() {
    let origin = Origin::start().await;
    let gateway = Gateway::start(&routes(&origin)).await;
    let token = bearer(json!({ "tenant": "other" }));
    for (path, detail, expected) in [
        ("/admin", "a required role is missing", "needs one of the roles [admin, owner], the credential has [user]"),
        ("/write", "the required scope write is missing", "needs the scope write, the credential has [read]"),
        (
            "/acme",
            "the claim tenant does not have the required value",
            "the claim tenant must be one of [acme], it is \"other\"",
        ),
        (
            "/users/bob",
            "the claim sub does not have the required value",
            "the claim sub must equal {id} of the path, which is \"bob\", it is \"alice\"",
        ),
    ] {
        let answer = gateway.ask(Request::get(path).header("authorization", &token)).await;
        assert_eq!((answer.status.as_u16(), answer.json()["detail"].as_str()), (403, Some(detail)), "{path}");
        assert_eq!(cause(&gateway, &answer).await, expected);
        let header = format!("authorization: {token}");
        let explained = printed(gateway.command("explain", &["GET", path, "-H", &header]));
        assert!(explained.contains(&format!("cause       {expected}\n")), "{explained}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_compared_with_what_its_issuer_must_say() {
    let origin = Origin::start().await;
    let gateway = Gateway::start(&routes(&origin)).await;
    for (claims, detail, expected) in [
        (json!({}), "claim `tenant` is missing", "the claim tenant is missing"),
        (json!({ "exp": null }), "claim `exp` is missing", "the claim exp is missing"),
        (
            json!({ "exp": "soon" }),
            "claim `exp` is malformed",
            "the claim exp must be a number of seconds since 1970, it is \"soon\"",
        ),
        (
            json!({ "tenant": "acme", "aud": ["web", "app"] }),
            "the audience of the token does not match",
            "expected the audience \"api\", `aud` is [\"web\",\"app\"]",
        ),
        (
            json!({ "tenant": "acme", "aud": null }),
            "the audience of the token does not match",
            "expected the audience \"api\", `aud` is missing",
        ),
    ] {
        let answer = gateway.ask(Request::get("/acme").header("authorization", bearer(claims))).await;
        assert_eq!((answer.status.as_u16(), answer.json()["detail"].as_str()), (401, Some(detail)));
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(challenge.contains(&format!("error_description=\"{detail}\"")), "{challenge}");
        assert_eq!(cause(&gateway, &answer).await, expected);
    }
    let answer =
        gateway.ask(Request::get("/acme").header("authorization", bearer(json!({ "tenant": "acme", "exp": 1 })))).await;
    let told = cause(&gateway, &answer).await;
    assert!(told.starts_with("`exp` was ") && told.ends_with(" ago, the leeway is 30 s"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_takes_nothing_says_how_it_stands() {
    let origin = Origin::start().await;
    let config = format!(
        "services:\n  broken: {{ targets: [\"{url}\"], circuit_breaker: {{ failure_threshold: 2, timeout: 30s }} }}\n  \
         away: {{ targets: [\"{url}\"] }}\n\
         routes:\n- {{ name: broken, path_pattern: /status/*, target_service: broken, retry_count: 0 }}\n\
         - {{ name: away, path_pattern: /away, target_service: away }}\n",
        url = origin.url()
    );
    let gateway = Gateway::start(&config).await;
    for _ in 0..2 {
        gateway.get("/status/503").await;
    }
    let refused = eventually("the breaker opens", async || {
        Some(gateway.get("/status/200").await).filter(|answer| answer.header("x-gatekeeper-error").is_some())
    })
    .await;
    assert_eq!(refused.json()["detail"], "circuit breaker open, retry in 30 s");
    let explained = printed(gateway.command("explain", &["--running", "GET", "/status/200"]));
    assert!(explained.contains("answers     503 circuit_open: circuit breaker open, retry in "), "{explained}");
    let alone = printed(gateway.command("explain", &["GET", "/status/200"]));
    assert!(!alone.contains("circuit_open"), "a file alone knows nothing of a breaker: {alone}");

    assert!(gateway.command("services", &["drain", "away", "--target", origin.url()]).status.success());
    let refused = gateway.get("/away").await;
    assert_eq!((refused.status.as_u16(), refused.json()["detail"].as_str()), (503, Some("no healthy target")));
    let expected = format!("{} is drained", origin.address());
    assert_eq!(cause(&gateway, &refused).await, expected);
    let explained = printed(gateway.command("explain", &["--running", "GET", "/away"]));
    assert!(explained.contains(&format!("cause       {expected}\n")), "{explained}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_told_by_their_origin_and_preflights_as_preflights() {
    let origin = Origin::start().await;
    let config = format!(
        "cors: {{ allow_origins: [\"https://app.test\", \"https://*.shop.test\"], allow_credentials: true, allow_methods: [GET, PUT], \
         allow_headers: [X-Own] }}\n\
         routes:\n- {{ name: read, path_pattern: /x, methods: [GET], target_url: \"{url}\" }}\n\
         - {{ name: write, path_pattern: /x, methods: [PUT, DELETE], target_url: \"{url}\" }}\n",
        url = origin.url()
    );
    let gateway = Gateway::start(&config).await;
    let explain = |args: &[&str]| printed(gateway.command("explain", args));
    let told = explain(&["GET", "/x", "-H", "origin: https://app.test"]);
    assert!(told.contains("cors        the origin https://app.test is allowed, with credentials\n"), "{told}");
    let told = explain(&["GET", "/x", "-H", "origin: https://evil.test"]);
    let denied = "the origin https://evil.test is not allowed; allowed: https://app.test, https://*.shop.test";
    assert!(told.contains(&format!("cors        {denied}\n")), "{told}");

    let preflight = |origin: &str, method: &str, headers: &str| {
        let asked = format!("access-control-request-method: {method}");
        let origin = format!("origin: {origin}");
        let headers = format!("access-control-request-headers: {headers}");
        explain(&["OPTIONS", "/x", "-H", &origin, "-H", &asked, "-H", &headers])
    };
    let told = preflight("https://a.shop.test", "PUT", "x-own");
    assert!(told.contains("write                    chosen"), "the route of the announced request: {told}");
    assert!(told.contains("204: a preflight, answered by the gateway: the browser sends the request\n"), "{told}");
    for (told, why) in [
        (preflight("https://a.shop.test", "DELETE", "x-own"), "the method DELETE is not allowed"),
        (preflight("https://a.shop.test", "PUT", "x-own, x-other"), "the header x-other is not allowed"),
        (preflight("https://evil.test", "PUT", "x-own"), denied),
    ] {
        assert!(told.contains(&format!("the browser does not send the request, {why}\n")), "{why}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_on_a_foreign_page_and_a_redirect_say_whose_rule_it_is() {
    let origin = Origin::start().await;
    let config = format!(
        "auth: {{ jwt: [{{ secret: \"{SECRET}\" }}] }}\n\
         listen: [{{ address: \"127.0.0.1:0\" }}, {{ name: plain, address: \"127.0.0.1:0\", redirect_https: 8443 }}]\n\
         routes: [{{ name: all, path_pattern: /*, target_url: \"{}\", token_from: \"cookie:session\" }}]\n",
        origin.url()
    );
    let gateway = Gateway::start(&config).await;
    let token = bearer(json!({}));
    let cookie = format!("session={}", token.strip_prefix("Bearer ").unwrap());
    let answer = gateway.ask(Request::post("/x").header("origin", "https://evil.test").header("cookie", cookie)).await;
    assert_eq!(answer.header("x-gatekeeper-error"), Some("origin_denied"));
    let told = cause(&gateway, &answer).await;
    assert!(
        told.starts_with("the origin is \"https://evil.test\", the request is for \"gateway.test\" by http, "),
        "{told}"
    );

    let told = printed(gateway.command("explain", &["GET", "http://gateway.test/x", "--listener", "plain"]));
    let expected =
        "answers     308: the listener redirects to https (redirect_https), Location: https://gateway.test:8443/x\n";
    assert!(told.contains(expected), "{told}");
}
