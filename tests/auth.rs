//! Who may pass: tokens, keys, certificates, and services that are asked (SEMANTICS 4).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::peer::bearing;
use crate::support::tls::{Authority, Files};
use crate::support::{Answer, Client, Gateway, Origin, RawOrigin, Request, eventually, full};

const SECRET: &str = "a secret of more than thirty-two bytes";

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A token of these claims, which holds for a minute unless they say otherwise.
fn token(claims: Value) -> String {
    gatekeeper_core::signature::install();
    let mut all = json!({ "sub": "alice", "exp": now() + 60 });
    claims.as_object().unwrap().iter().for_each(|(name, value)| all[name] = value.clone());
    encode(&Header::new(Algorithm::HS256), &all, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

/// A gateway with this `auth`, and these routes beside one for everything.
async fn gateway(origin: &Origin, auth: &str, routes: &str) -> Gateway {
    let config = format!(
        "auth: {auth}\nroutes:\n  - {{ name: all, path_pattern: /*, target_url: \"{}\" }}\n{}",
        origin.url(),
        routes.replace("{origin}", origin.url())
    );
    Gateway::start(&config).await
}

fn by_secret(more: &str) -> String {
    format!("{{ jwt: [{{ secret: \"{SECRET}\" }}], {more} }}")
}

fn assert_refused(answer: &Answer, status: u16, code: &str, challenge: &str) {
    assert_eq!(
        (answer.status.as_u16(), answer.header("x-gatekeeper-error")),
        (status, Some(code)),
        "{}",
        answer.text()
    );
    answer.problem();
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("www-authenticate").unwrap_or_default(), challenge);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_lets_in_and_its_user_is_told() {
    let origin = Origin::start().await;
    let public = "  - { name: public, path_pattern: /public/*, target_url: \"{origin}\", is_public: true }\n";
    let gateway =
        gateway(&origin, &by_secret("headers: { X-User-Id: sub, X-User-Roles: roles, X-Mail: email }"), public).await;
    let alice = token(json!({ "roles": ["editor", "a,b"], "email": "alice@example.org" }));
    for mut client in [gateway.h1().await, gateway.h2c().await] {
        let spoofed = |request: http::request::Builder| {
            let request = request.header("x-user-id", "mallory").header("X-User-Anything", "x").header("x-mail", "m@x");
            request.header("x_user_id", "mallory")
        };
        let seen = client.ask(spoofed(bearing(&alice, "/x"))).await.seen();
        assert_eq!((seen.header("x-user-id"), seen.header("x-user-roles")), (Some("alice"), Some("editor")));
        assert_eq!((seen.header("x-mail"), seen.header("x-user-anything")), (Some("alice@example.org"), None));
        assert_eq!(seen.header("authorization"), Some(&*format!("Bearer {alice}")));
        let seen = client.ask(spoofed(bearing(&alice, "/public/x"))).await.seen();
        for name in ["x-user-id", "x_user_id", "x-mail", "x-user-anything"] {
            assert_eq!(seen.header(name), None, "{name}");
        }
        let answer = client.ask(Request::get("/x")).await;
        assert_refused(&answer, 401, "credentials_missing", "Bearer realm=\"gatekeeper\"");
    }
    let record = gateway.log_of("/x").await;
    assert_eq!(record["user_id"], "alice");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_tokens_let_nobody_in() {
    let origin = Origin::start().await;
    let auth = format!("{{ jwt: [{{ issuer: me, audience: api, secret: \"{SECRET}\" }}], failures: {{ max: 1000 }} }}");
    let gateway = gateway(&origin, &auth, "").await;
    let good = |claims: Value| {
        let mut all = json!({ "iss": "me", "aud": ["x", "api"] });
        claims.as_object().unwrap().iter().for_each(|(name, value)| all[name] = value.clone());
        token(all)
    };
    let parts: Vec<String> = good(json!({})).split('.').map(String::from).collect();
    let with_header =
        |header: Value| format!("{}.{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), parts[1], parts[2]);
    let duplicated = URL_SAFE_NO_PAD
        .encode(format!("{{\"sub\":\"a\",\"sub\":\"b\",\"iss\":\"me\",\"aud\":\"api\",\"exp\":{}}}", now() + 60));
    let cases = [
        ("expired", good(json!({ "exp": now() - 31 }))),
        ("no end", good(json!({ "exp": null }))),
        ("a text as its end", good(json!({ "exp": "9999999999" }))),
        ("not yet valid", good(json!({ "nbf": now() + 60 }))),
        ("of the future", good(json!({ "iat": now() + 60 }))),
        ("another audience", good(json!({ "aud": "other" }))),
        ("no audience", good(json!({ "aud": null }))),
        ("another issuer", good(json!({ "iss": "you" }))),
        ("no issuer", token(json!({ "aud": "api" }))),
        ("no subject", good(json!({ "sub": "" }))),
        ("none", with_header(json!({ "alg": "none" }))),
        (
            "none without a signature",
            with_header(json!({ "alg": "none" })).rsplit_once('.').unwrap().0.to_owned() + ".",
        ),
        ("another algorithm", with_header(json!({ "alg": "HS512" }))),
        ("an unknown extension", with_header(json!({ "alg": "HS256", "crit": ["x"], "x": 1 }))),
        ("no algorithm", with_header(json!({}))),
        ("truncated", good(json!({}))[..60].to_owned()),
        ("a changed signature", format!("{}.{}.{}A", parts[0], parts[1], &parts[2][1..])),
        ("claims of another token", format!("{}.{}.{}", parts[0], duplicated, parts[2])),
        ("too long", good(json!({ "x": "x".repeat(9000) }))),
        ("words", "one two".into()),
        ("nothing", String::new()),
        ("dots", "..".into()),
    ];
    for (what, token) in &cases {
        let answer = gateway.ask(bearing(token, "/x")).await;
        assert_eq!(answer.header("x-gatekeeper-error"), Some("credentials_invalid"), "{what}: {}", answer.text());
        let challenge = answer.header("www-authenticate").unwrap();
        let told = "Bearer realm=\"gatekeeper\", error=\"invalid_token\", error_description=\"";
        assert!(answer.status == 401 && challenge.starts_with(told), "{what}: {challenge}");
    }
    for (what, token) in [
        ("within the leeway", good(json!({ "exp": now() - 10 }))),
        ("fractional", good(json!({ "exp": now() as f64 + 9.5 }))),
    ] {
        assert_eq!(gateway.ask(bearing(&token, "/x")).await.status, 200, "{what}");
    }
    let not_text = Request::get("/x").header("authorization", &b"Bearer \xff\xfe"[..]);
    assert_eq!(gateway.ask(not_text).await.status, 401);
    let twice = bearing(&good(json!({})), "/x").header("authorization", "Bearer x");
    assert_eq!(gateway.ask(twice).await.status, 400);
    let in_query = gateway.get(&format!("/x?access_token={}", good(json!({})))).await;
    assert_refused(&in_query, 401, "credentials_missing", "Bearer realm=\"gatekeeper\"");
    assert_eq!(origin.requests(), 2, "nothing else came through");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_key_is_no_secret() {
    let origin = Origin::start().await;
    gatekeeper_core::signature::install();
    let key = rcgen::KeyPair::generate().unwrap();
    let public = key.public_key_pem();
    let config = json!({ "jwt": [{ "algorithms": ["ES256"], "public_key": public }] });
    let gateway = gateway(&origin, &config.to_string(), "").await;
    let claims = json!({ "sub": "alice", "exp": now() + 60 });
    let signed = |algorithm, key| encode(&Header::new(algorithm), &claims, &key).unwrap();
    let good = signed(Algorithm::ES256, EncodingKey::from_ec_pem(key.serialize_pem().as_bytes()).unwrap());
    assert_eq!(gateway.ask(bearing(&good, "/x")).await.seen().header("x-user-id"), Some("alice"));
    for secret in [public.as_bytes(), public.trim().as_bytes(), key.public_key_raw()] {
        let forged = signed(Algorithm::HS256, EncodingKey::from_secret(secret));
        assert_eq!(gateway.ask(bearing(&forged, "/x")).await.status, 401);
    }
}

const ACCESS: &str = r#"
  - { name: orders, path_pattern: /orders/*, target_url: "{origin}", access: { scopes: [orders:read, orders:write] } }
  - { name: admin, path_pattern: /admin/*, target_url: "{origin}", access: { roles: [admin, root] } }
  - name: own
    path_pattern: /users/{id}
    target_url: "{origin}"
    access: { any: [{ roles: [admin] }, { claims: { sub: { captured: id }, tenant: { one_of: [a, b] }, groups: { contains: staff } } }] }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_user_must_be_what_a_route_asks_for() {
    let origin = Origin::start().await;
    let gateway = gateway(&origin, &by_secret(""), ACCESS).await;
    let ask = async |claims: Value, target: &str| gateway.ask(bearing(&token(claims), target)).await;
    assert_eq!(ask(json!({ "scope": "orders:read orders:write x" }), "/orders/1").await.status, 200);
    let answer = ask(json!({ "scope": "orders:read" }), "/orders/1").await;
    let challenge = "Bearer realm=\"gatekeeper\", error=\"insufficient_scope\", scope=\"orders:read orders:write\"";
    assert_refused(&answer, 403, "access_denied", challenge);
    assert_eq!(answer.problem()["detail"], "the required scope orders:write is missing");
    assert_eq!(ask(json!({ "roles": ["root"] }), "/admin/x").await.status, 200);
    assert_eq!(ask(json!({ "roles": "adminx" }), "/admin/x").await.status, 403);
    let own = json!({ "sub": "a@b", "tenant": "b", "groups": ["x", "staff"] });
    assert_eq!(ask(own.clone(), "/users/a%40b").await.status, 200);
    assert_eq!(ask(own.clone(), "/users/a@b").await.status, 200);
    assert_eq!(ask(own, "/users/c").await.status, 403);
    assert_eq!(ask(json!({ "sub": "c", "tenant": "c", "groups": ["staff"] }), "/users/c").await.status, 403);
    assert_eq!(ask(json!({ "sub": "x", "roles": ["admin"] }), "/users/c").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_known_by_their_hash() {
    let origin = Origin::start().await;
    let made = Gateway::start("").await.command("key", &["--json"]);
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    let (key, hash) = (made["key"].as_str().unwrap(), made["hash"].as_str().unwrap());
    let ended = "sha256:2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683";
    let auth = format!(
        "{{ jwt: [{{ secret: \"{SECRET}\" }}], hide_credentials: true, api_keys: {{ keys: [\
         {{ owner: partner, hash: \"{hash}\", roles: [partner], rate_limits: [few] }}, \
         {{ owner: gone, hash: \"{ended}\", expires: 2020-01-01 }}] }} }}\n\
         rate_limits: [{{ rule_name: few, limit_type: per_user, max_requests: 3, window_seconds: 60 }}]"
    );
    let routes = "  - { name: keys, path_pattern: /keys/*, target_url: \"{origin}\", auth: [api_key] }\n";
    let gateway = gateway(&origin, &auth, routes).await;
    let with = |key: &str| Request::get("/keys/x").header("x-api-key", key);
    let seen = gateway.ask(with(key)).await.seen();
    assert_eq!((seen.header("x-user-id"), seen.header("x-user-roles")), (Some("partner"), Some("partner")));
    assert_eq!(seen.header("x-api-key"), None);
    for wrong in ["wrong", "key", ""] {
        assert_refused(&gateway.ask(with(wrong)).await, 401, "credentials_invalid", "ApiKey realm=\"gatekeeper\"");
    }
    assert_refused(&gateway.get("/keys/x").await, 401, "credentials_missing", "ApiKey realm=\"gatekeeper\"");
    // A token is none of the credentials this route takes.
    assert_eq!(gateway.ask(bearing(&token(json!({})), "/keys/x")).await.status, 401);
    // Elsewhere the token is asked for first, and a wrong one is not made good by a key.
    let both = |token: &str| bearing(token, "/x").header("x-api-key", key);
    let seen = gateway.ask(both(&token(json!({})))).await.seen();
    assert_eq!((seen.header("x-user-id"), seen.header("authorization")), (Some("alice"), None));
    assert_eq!(gateway.ask(both("wrong")).await.status, 401);
    // Its own limit holds wherever the key is used.
    assert_eq!(
        gateway.ask(Request::get("/x").header("x-api-key", key)).await.header("x-ratelimit-remaining"),
        Some("1")
    );
    assert_eq!(gateway.ask(with(key)).await.header("x-ratelimit-remaining"), Some("0"));
    let refused = gateway.ask(with(key)).await;
    assert_eq!((refused.status.as_u16(), refused.problem()["violated_policies"].clone()), (429, json!(["few"])));
    assert_eq!(gateway.ask(bearing(&token(json!({})), "/x")).await.header("x-ratelimit-limit"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_says_who_one_is() {
    let (files, clients, servers) = (Files::new(), Authority::new(), Authority::new());
    let pair = files.pair("server", &servers.issue("gateway.test"));
    let ca = files.write("clients.pem", &clients.pem());
    let origin = Origin::start().await;
    let gateway = Gateway::start(&format!(
        "listen:\n  - {{ address: 127.0.0.1:0, tls: {{ certificates: [{pair}], client_auth: {{ ca: {ca}, required: false }} }} }}\n\
         auth: {{ certificates: {{ subjects: [{{ subject: CN=known, roles: [service] }}] }} }}\nroutes:\n\
         \x20 - {{ name: all, path_pattern: /*, target_url: \"{}\", access: {{ roles: [service] }} }}\n",
        origin.url()
    ))
    .await;
    let ask = async |name: Option<&str>| {
        let identity = name.map(|name| {
            clients.issue_with(&[name], |params| {
                params.distinguished_name = rcgen::DistinguishedName::new();
                params.distinguished_name.push(rcgen::DnType::CommonName, name);
            })
        });
        let connector = servers.connector(&["http/1.1"], identity.as_ref());
        Client::tls(gateway.address, &connector, "gateway.test").await.unwrap().ask(Request::get("/x")).await
    };
    assert_eq!(ask(Some("known")).await.seen().header("x-user-id"), Some("CN=known"));
    assert_refused(&ask(Some("stranger")).await, 401, "credentials_invalid", "Certificate realm=\"gatekeeper\"");
    assert_refused(&ask(None).await, 401, "credentials_missing", "Certificate realm=\"gatekeeper\"");
}

/// An authority on tokens of its own, which counts how often it is asked.
async fn decider(answers: impl Fn(&str) -> String + Send + Sync + Clone + 'static) -> RawOrigin {
    RawOrigin::playing(move |mut raw| {
        let answers = answers.clone();
        async move {
            while let Some(request) = raw.request().await {
                raw.send(answers(&request.to_text())).await;
            }
        }
    })
    .await
}

fn http(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn others_are_asked_about_tokens_that_cannot_be_judged_here() {
    let origin = Origin::start().await;
    let asked = decider(|request| match request {
        _ if !request.starts_with("POST /introspect ") => http("404 Not Found", "", ""),
        _ if !request.to_ascii_lowercase().contains("authorization: basic z2f0zwtlzxblcjpzzwnyzxq=") => {
            http("401 Unauthorized", "", "")
        }
        _ if request.contains("token=good-1") => {
            http("200 OK", "", r#"{"active":true,"sub":"opal","scope":"read","roles":["reader"]}"#)
        }
        _ if request.contains("token=nobody") => http("200 OK", "", r#"{"active":true}"#),
        _ if request.contains("token=unclear") => http("200 OK", "", r#"{"sub":"x"}"#),
        _ if request.contains("token=broken") => http("500 Oops", "", ""),
        _ if request.contains("token=gone") => {
            http("200 OK", "", &format!(r#"{{"active":true,"sub":"x","exp":{}}}"#, 1))
        }
        _ => http("200 OK", "", r#"{"active":false}"#),
    })
    .await;
    let auth = format!(
        "{{ jwt: [{{ issuer: me, secret: \"{SECRET}\" }}], introspection: {{ url: \"{}/introspect\", client_id: gatekeeper, client_secret: secret }} }}",
        asked.url()
    );
    let local = "  - { name: local, path_pattern: /local/*, target_url: \"{origin}\", auth: [jwt] }\n";
    let gateway = gateway(&origin, &auth, local).await;
    let ask = async |token: &str| gateway.ask(bearing(token, "/x")).await;
    for _ in 0..5 {
        let seen = ask("good-1").await.seen();
        assert_eq!((seen.header("x-user-id"), seen.header("x-user-roles")), (Some("opal"), Some("reader")));
    }
    assert_eq!(asked.requests().len(), 1, "the answer holds for a while");
    let invalid =
        "Bearer realm=\"gatekeeper\", error=\"invalid_token\", error_description=\"the token is invalid or expired\"";
    for _ in 0..3 {
        assert_refused(&ask("bad").await, 401, "credentials_invalid", invalid);
        assert_refused(&ask("gone").await, 401, "credentials_invalid", invalid);
    }
    assert_eq!(asked.requests().len(), 3 + 2, "a no holds, too, but for a token that is over");
    for unclear in ["nobody", "unclear", "broken"] {
        let answer = ask(unclear).await;
        assert_refused(&answer, 503, "auth_unavailable", "");
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    // A token of ours is judged here.
    assert_eq!(ask(&token(json!({ "iss": "me" }))).await.status, 200);
    let before = asked.requests().len();
    assert_eq!(gateway.ask(bearing("good-1", "/local/x")).await.status, 401);
    assert_eq!(asked.requests().len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_asked_lets_nobody_in() {
    let origin = Origin::start().await;
    let silent = RawOrigin::playing(|mut raw| async move {
        raw.request().await;
        std::future::pending::<()>().await;
    })
    .await;
    for style in ["rfc7662", "bearer"] {
        let auth = format!("{{ introspection: {{ url: \"{}/\", style: {style}, timeout: 200ms }} }}", silent.url());
        let gateway = gateway(&origin, &auth, "").await;
        for number in 0..8 {
            assert_eq!(gateway.ask(bearing(&format!("t{number}"), "/x")).await.status, 503);
        }
        assert!(silent.requests().len() <= 6 * 2, "it is left alone after some failures");
        let told = gateway
            .metric("gatekeeper_policy_decisions_total{outcome=\"unavailable\",policy=\"auth\",rule=\"introspection\"}")
            .await;
        assert_eq!(told, 8.0);
    }
    assert_eq!(origin.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_decides_on_whole_requests() {
    let origin = Origin::start().await;
    let asked = decider(|request| {
        let has = |text: &str| request.to_ascii_lowercase().contains(text);
        let told =
            has("x-forwarded-method: post") && has("x-forwarded-uri: /a/c?q=1") && has("x-forwarded-proto: http\r");
        match request {
            _ if has("cookie: s=1") && told => {
                http("204 No Content", "x-user-id: fred\r\nx-plan: gold\r\nx-other: 1\r\n", "")
            }
            _ if has("cookie: s=2") => http("403 Forbidden", "content-type: text/plain\r\n", "not you"),
            _ if has("cookie: s=3") => http("502 Bad Gateway", "", ""),
            _ => {
                http("302 Found", "location: https://login.example.org/\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n", "")
            }
        }
    })
    .await;
    let auth = format!("{{ forward: {{ url: \"{}/check\", response_headers: [X-User-Id, X-Plan] }} }}", asked.url());
    let gateway = gateway(&origin, &auth, "").await;
    let post = |cookie: &str| {
        let request = Request::post("/a/b/../c?q=1").header("cookie", cookie).header("x-plan", "forged");
        request.header("x-forwarded-uri", "/public").body(full("body")).unwrap()
    };
    let seen = gateway.ask(post("s=1")).await.seen();
    assert_eq!(
        (seen.header("x-user-id"), seen.header("x-plan"), seen.header("x-other")),
        (Some("fred"), Some("gold"), None)
    );
    let answer = gateway.ask(post("s=2")).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (403, "not you"));
    let answer = gateway.ask(post("s=4")).await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (302, Some("https://login.example.org/")));
    assert_eq!(answer.headers.get_all("set-cookie").iter().count(), 2);
    assert_eq!(gateway.ask(post("s=3")).await.status, 503);
    assert_eq!(origin.requests(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_service_answers_reaches_the_client_without_what_is_its_connection_s() {
    let origin = Origin::start().await;
    let asked = decider(|request| match request.contains("s=1") {
        true => http("101 Switching Protocols", "connection: upgrade\r\nupgrade: x\r\n", ""),
        false => http(
            "403 Forbidden",
            "connection: x-inner, keep-alive\r\nx-inner: 1\r\nkeep-alive: timeout=5\r\nupgrade: h2c\r\ntrailer: x-sum\r\n\
             te: trailers\r\nproxy-connection: x\r\nx-gatekeeper-error: forged\r\nx-kept: 1\r\n",
            "not you",
        ),
    })
    .await;
    let gateway = gateway(&origin, &format!("{{ forward: {{ url: \"{}/check\" }} }}", asked.url()), "").await;
    for mut client in [gateway.h1().await, gateway.h2c().await] {
        let answer = client.ask(Request::get("/x")).await;
        assert_eq!((answer.status.as_u16(), answer.text(), answer.header("x-kept")), (403, "not you", Some("1")));
        for name in ["x-inner", "keep-alive", "upgrade", "trailer", "te", "proxy-connection", "x-gatekeeper-error"] {
            assert_eq!(answer.header(name), None, "{name}");
        }
    }
    let answer = gateway.ask(Request::get("/x").header("cookie", "s=1")).await;
    assert_eq!((answer.status.as_u16(), answer.header("x-gatekeeper-error")), (503, Some("auth_unavailable")));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_come_in_cookies_and_protocols_too() {
    let origin = Origin::start().await;
    let routes = "  - { name: cookie, path_pattern: /ws, target_url: \"{origin}\", token_from: cookie:session, cors: { allow_origins: [https://app.test], allow_credentials: true } }\n\
                  \x20 - { name: protocol, path_pattern: /echo, target_url: \"{origin}\", token_from: subprotocol }\n";
    let gateway = gateway(&origin, &by_secret("hide_credentials: true"), routes).await;
    let alice = token(json!({}));
    let with_cookie = |method: Method, origin: Option<&str>| {
        let request =
            Request::builder().method(method).uri("/ws").header("cookie", format!("a=1; session={alice}; b=2"));
        origin.into_iter().fold(request, |request, origin| request.header("origin", origin))
    };
    let seen = gateway.ask(with_cookie(Method::PUT, None)).await;
    assert_eq!(seen.status, 400, "the websocket's upstream wants a handshake, but it was reached");
    for (origin, status) in
        [("https://app.test", 400), ("http://gateway.test", 400), ("https://evil.test", 403), ("null", 403)]
    {
        assert_eq!(gateway.ask(with_cookie(Method::PUT, Some(origin))).await.status, status, "{origin}");
    }
    assert_eq!(
        gateway.ask(with_cookie(Method::GET, Some("https://evil.test"))).await.status,
        400,
        "it can't be read there"
    );
    let upgrade = |origin: &str| {
        let request =
            with_cookie(Method::GET, Some(origin)).header("connection", "upgrade").header("upgrade", "websocket");
        request.header("sec-websocket-version", "13").header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
    };
    let answer = gateway.ask(upgrade("https://evil.test")).await;
    assert_refused(&answer, 403, "origin_denied", "");
    assert_eq!(gateway.h1().await.send(upgrade("https://app.test")).await.unwrap().status(), 101);
    let seen = gateway
        .ask(
            Request::get("/echo?x")
                .header("sec-websocket-protocol", format!("chat, bearer, {alice}"))
                .header("answer-x", "1"),
        )
        .await;
    assert_eq!(seen.status, 200);
    assert_eq!(gateway.ask(Request::get("/echo").header("sec-websocket-protocol", "chat, bearer")).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_guesses_has_to_wait() {
    let origin = Origin::start().await;
    let gateway = gateway(&origin, &by_secret("failures: { max: 3, window: 2s }"), "").await;
    let good = token(json!({}));
    assert_eq!(gateway.ask(bearing(&good, "/x")).await.status, 200);
    for number in 0..3 {
        assert_eq!(gateway.ask(bearing(&format!("guess-{number}"), "/x")).await.status, 401);
    }
    for _ in 0..3 {
        let answer = gateway.ask(bearing("another", "/x")).await;
        assert_refused(&answer, 429, "auth_failures", "");
        assert!(["1", "2"].contains(&answer.header("retry-after").unwrap()));
    }
    // Who was known before is so still; who is not known at all is told what to bring.
    assert_eq!(gateway.ask(bearing(&good, "/x")).await.status, 200);
    assert_eq!(gateway.get("/x").await.status, 401);
    let later = token(json!({ "sub": "bob" }));
    assert_eq!(gateway.ask(bearing(&later, "/x")).await.status, 429);
    eventually("the wait is over", async || (gateway.ask(bearing(&later, "/x")).await.status == 200).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_token() {
    let origin = Origin::start().await;
    let routes = "  - { name: events, path_pattern: /sse/*, target_url: \"{origin}\", close_at_expiry: true }\n";
    let auth = format!("{{ jwt: [{{ secret: \"{SECRET}\", leeway: 1s }}] }}");
    let gateway = gateway(&origin, &auth, routes).await;
    let began = std::time::Instant::now();
    let short = token(json!({ "exp": now() + 2 }));
    let cut = gateway.h1().await.send(bearing(&short, "/sse/40")).await.unwrap();
    assert!(Answer::collect(cut).await.is_err(), "it was cut off");
    assert!(began.elapsed() < Duration::from_secs(6), "40 events take 12 s");
    let record = gateway.log_of("/sse/40").await;
    assert_eq!(record["error_code"], "credentials_invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_on_trial_refuses_nobody() {
    let origin = Origin::start().await;
    let routes = "  - { name: trial, path_pattern: /trial/*, target_url: \"{origin}\", shadow: [auth, access, shields], access: { roles: [admin] }, shields: { content_types: [image/*] } }\n";
    let gateway = gateway(&origin, &by_secret(""), routes).await;
    let unknown = gateway.ask(Request::post("/trial/a").header("x-user-id", "forged").body(full("x")).unwrap()).await;
    assert_eq!(unknown.seen().header("x-user-id"), None);
    let record = gateway.log_of("/trial/a").await;
    assert_eq!(record["would_refuse"], "media_type credentials_missing");
    assert_eq!(gateway.ask(bearing(&token(json!({})), "/trial/b")).await.seen().header("x-user-id"), Some("alice"));
    let record = gateway.log_of("/trial/b").await;
    assert_eq!((&record["would_refuse"], &record["status_code"]), (&json!("access_denied"), &json!(200)));
    let id = record["request_id"].as_str().unwrap();
    let why = String::from_utf8(gateway.command("why", &[id]).stdout).unwrap();
    assert!(why.contains("shadow      access_denied") && !why.contains("refused "), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_found_again_by_its_id() {
    let origin = Origin::start().await;
    let gateway = gateway(&origin, &by_secret(""), ACCESS).await;
    let answer = gateway.ask(bearing(&token(json!({ "iss": "https://id.test" })), "/admin/x?secret=1")).await;
    let id = answer.header("x-request-id").unwrap().to_owned();
    let why = eventually("the refusal is kept", async || {
        let output = gateway.command("why", &[&id]);
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    })
    .await;
    for line in ["403 access_denied", "a required role is missing", "alice (https://id.test)", "admin", "127.0.0.1"] {
        assert!(why.contains(line), "{line}: {why}");
    }
    assert!(!why.contains("secret"), "{why}");
    let unknown = gateway.command("why", &["0190a1b2-0000-7000-8000-000000000001"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert_eq!(gateway.command("why", &["../status"]).status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_work_is_a_fault() {
    let told = |auth: &str, route: &str| {
        Gateway::refuses(
            &format!(
                "auth: {auth}\nroutes:\n  - {{ name: a, path_pattern: \"/u/{{id}}\", target_url: \"http://127.0.0.1:9\", {route} }}\n"
            ),
            Vec::new(),
        )
    };
    let cases = [
        ("{}", "", "no way to show who one is"),
        ("{ jwt: [{ secret: short }] }", "", "auth.jwt[0].secret"),
        ("{ jwt: [{ algorithms: [HS256] }] }", "", "auth.jwt[0]"),
        ("{ jwt: [{ issuer: x, jwks_url: \"http://id.example.org/keys\" }] }", "", "auth.jwt[0].jwks_url"),
        ("{ introspection: { url: \"http://10.0.0.1/\" } }", "", "auth.introspection.url"),
        ("{ api_keys: { keys: [{ owner: x, hash: plain }] } }", "", "auth.api_keys.keys[0].hash"),
        ("{ api_keys: { keys: [] } }", "auth: [jwt]", "\"jwt\" is not set up under auth"),
        ("{ api_keys: { keys: [] } }", "auth: [apikey]", "did you mean \"api_key\"?"),
        ("{ api_keys: { keys: [] } }", "is_public: true, access: { roles: [a] }", "the route is public"),
        (
            "{ api_keys: { keys: [] } }",
            "access: { claims: { sub: { captured: name } } }",
            "path_pattern does not capture",
        ),
        ("{ api_keys: { keys: [] } }", "access: { any: [{}] }", "(routes[0]).access.any[0]"),
        ("{ api_keys: { keys: [] } }", "token_from: query:t", "(routes[0]).token_from"),
        ("{ api_keys: { header: \"a b\", keys: [] } }", "", "auth.api_keys.header"),
        ("null", "access: { roles: [a] }", "has no effect: there is no auth section"),
    ];
    for (auth, route, wanted) in cases {
        let said = told(auth, route);
        assert!(said.contains(wanted), "{auth} {route}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_shown_to_nobody() {
    let origin = Origin::start().await;
    let auth = format!(
        "{{ jwt: [{{ secret: \"{SECRET}\" }}], introspection: {{ url: \"http://127.0.0.1:9/\", client_id: x, client_secret: hush-hush }} }}"
    );
    let gateway = gateway(&origin, &auth, "").await;
    let shown = String::from_utf8(gateway.command("config", &["show"]).stdout).unwrap();
    assert!(
        shown.contains("secret: \"***\"") || shown.contains("secret: '***'") || shown.contains("secret: ***"),
        "{shown}"
    );
    assert!(!shown.contains("thirty-two") && !shown.contains("hush-hush"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_development_is_minted() {
    let origin = Origin::start().await;
    let routes = "  - { name: admin, path_pattern: /admin/*, target_url: \"{origin}\", access: { roles: [admin], scopes: [w], claims: { org: o } } }\n";
    let gateway = gateway(
        &origin,
        &format!("{{ jwt: [{{ issuer: me, audience: api, secret: \"{SECRET}\", roles_claim: realm.roles }}] }}"),
        routes,
    )
    .await;
    let args = ["--sub", "dev", "--role", "admin", "--scope", "w", "--claims", r#"{"org":"o"}"#];
    let minted = gateway.command("jwt", &args);
    let minted = String::from_utf8(minted.stdout).unwrap();
    let seen = gateway.ask(bearing(minted.trim(), "/admin/x")).await.seen();
    assert_eq!((seen.header("x-user-id"), seen.header("x-user-roles")), (Some("dev"), Some("admin")));
    assert_eq!(gateway.command("jwt", &["--issuer", "you"]).status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_brings_its_token_as_a_protocol() {
    let origin = Origin::start().await;
    let routes = "  - { name: ws, path_pattern: /ws, target_url: \"{origin}\", is_public: true }\n\
                  \x20 - { name: live, path_pattern: /live, rewrite: /ws, target_url: \"{origin}\", token_from: subprotocol }\n";
    let gateway = gateway(&origin, &by_secret(""), routes).await;
    let mut socket = crate::support::websocket::Socket::open(gateway.address, "/ws").await.unwrap();
    socket.send(Message::text("hello")).await;
    assert_eq!(socket.next().await, Some(Message::text("hello")));
    let open = async |protocols: &str| {
        let request = Request::get("/live").header("connection", "upgrade").header("upgrade", "websocket");
        let request = request.header("sec-websocket-version", "13").header("sec-websocket-protocol", protocols);
        let request = request.header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        let answer = gateway.h1().await.send(request).await.unwrap();
        let protocol = answer.headers().get("sec-websocket-protocol").map(|value| value.to_str().unwrap().to_owned());
        (answer.status().as_u16(), protocol)
    };
    // The upstream chooses none, and a browser wants one of those it asked for.
    assert_eq!(open(&format!("bearer, {}", token(json!({})))).await, (101, Some("bearer".into())));
    assert_eq!(open("bearer, wrong").await, (401, None));
    assert_eq!(open("chat").await, (401, None));
}

/// What a browser sends by itself is used by pages of the same origin alone: scheme, host and port.
#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_serves_pages_of_its_own_origin_only() {
    let origin = Origin::start().await;
    let routes = "  - { name: cookie, path_pattern: /c/*, target_url: \"{origin}\", token_from: cookie:session }\ntrusted_proxies: [127.0.0.1]\n";
    let gateway = gateway(&origin, &by_secret(""), routes).await;
    let alice = token(json!({}));
    let put = |fields: &[(&str, &str)]| {
        let request = Request::put("/c/x").header("cookie", format!("session={alice}"));
        fields.iter().fold(request, |request, (name, value)| request.header(*name, *value))
    };
    let https = ("x-forwarded-proto", "https");
    for mut client in [gateway.h1().await, gateway.h2c().await] {
        for (fields, status) in [
            (vec![("origin", "http://gateway.test")], 200),
            (vec![("origin", "https://gateway.test")], 403),
            (vec![("origin", "http://gateway.test:80")], 200),
            (vec![("origin", "http://gateway.test:81")], 403),
            (vec![("origin", "ftp://gateway.test")], 403),
            (vec![("origin", "https://gateway.test"), https], 200),
            (vec![("origin", "http://gateway.test"), https], 403),
            (vec![("origin", "http://gateway.test"), ("origin", "https://evil.test")], 400),
        ] {
            let answer = client.ask(put(&fields)).await;
            assert_eq!(answer.status, status, "{fields:?} over {:?}: {}", answer.version, answer.text());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_serves_pages_of_its_own_origin_only() {
    let (files, clients, servers) = (Files::new(), Authority::new(), Authority::new());
    let pair = files.pair("server", &servers.issue("gateway.test"));
    let ca = files.write("clients.pem", &clients.pem());
    let origin = Origin::start().await;
    let gateway = Gateway::start(&format!(
        "listen:\n  - {{ address: 127.0.0.1:0, tls: {{ certificates: [{pair}], client_auth: {{ ca: {ca} }} }} }}\n\
         auth: {{ certificates: {{ subjects: [{{ subject: \"*\" }}] }} }}\nroutes:\n\
         \x20 - {{ name: all, path_pattern: /*, target_url: \"{}\" }}\n",
        origin.url()
    ))
    .await;
    for protocol in ["http/1.1", "h2"] {
        let connector = servers.connector(&[protocol], Some(&clients.issue("known")));
        let mut client = Client::tls(gateway.address, &connector, "gateway.test").await.unwrap();
        for (method, page, status) in [
            (Method::POST, None, 200),
            (Method::POST, Some("https://gateway.test"), 200),
            (Method::POST, Some("https://evil.test"), 403),
            (Method::POST, Some("http://gateway.test"), 403),
            (Method::GET, Some("https://evil.test"), 200),
        ] {
            let request = Request::builder().method(method.clone()).uri("/x");
            let request = page.into_iter().fold(request, |request, page| request.header("origin", page));
            assert_eq!(client.ask(request).await.status, status, "{method} from {page:?} over {protocol}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_decides_is_told_the_origin_and_not_asked_for_other_pages() {
    let origin = Origin::start().await;
    let asked = decider(|_| http("200 OK", "", "")).await;
    let auth = format!("{{ forward: {{ url: \"{}/check\" }} }}", asked.url());
    let gateway = gateway(&origin, &auth, "").await;
    let (own, other) = ("http://gateway.test", "http://evil.test");
    let (cookie, bearer, basic) = (("cookie", "s=1"), ("authorization", "Bearer x"), ("authorization", "Basic eDp5"));
    for (page, shown, status) in [
        (own, vec![cookie], 200),
        (other, vec![cookie], 403),
        (other, vec![basic], 403),
        (other, vec![bearer, cookie], 403),
        (other, vec![bearer], 200),
        (other, vec![], 200),
    ] {
        let request = Request::post("/x").header("origin", page);
        let request = shown.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let before = asked.requests().len();
        assert_eq!(gateway.ask(request).await.status, status, "{shown:?} from {page}");
        let told: Vec<_> =
            asked.requests().drain(before..).map(|told| told.header("origin").map(String::from)).collect();
        assert_eq!(told, if status == 200 { vec![Some(page.to_owned())] } else { vec![] }, "{shown:?} from {page}");
    }
}

/// A question that comes back to the gateway is one more request there, which asks again.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_asks_itself_comes_to_an_end() {
    let origin = Origin::start().await;
    let gateway = Gateway::to(&origin).await;
    let auth = format!("auth: {{ forward: {{ url: \"http://{}/check\", timeout: 5s }} }}\n", gateway.address);
    gateway.reload(&format!("{auth}{}", crate::support::gateway::everything_to(origin.url()))).unwrap();
    let answer = gateway.get("/x").await;
    assert_eq!((answer.status.as_u16(), answer.header("x-gatekeeper-error")), (503, Some("auth_unavailable")));
    gateway.log_of("/x").await;
    let asked = gateway.log_lines().iter().filter(|line| line.contains("/check")).count();
    assert!((1..=6).contains(&asked), "it asked itself {asked} times");
    assert_eq!(origin.requests(), 0);
}
