//! Tokens of a real OpenID provider: found by its configuration, judged by its keys, which change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::join_all;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::support::peer::bearing;
use crate::support::{Answer, Gateway, Origin, Provider, Request, eventually};

const AUDIENCE: &str = "https://api.test";

/// A gateway that takes the provider's tokens, and says so on every route.
async fn gateway(origin: &Origin, provider: &Provider, algorithm: &str) -> Gateway {
    let issuer = &provider.issuer;
    Gateway::start(&format!(
        "auth:\n  jwt: [{{ issuer: \"{issuer}\", audience: \"{AUDIENCE}\", algorithms: [{algorithm}] }}]\n\
         \x20 failures: {{ max: 100000 }}\nroutes:\n\
         \x20 - {{ name: all, path_pattern: /*, target_url: \"{}\" }}\n\
         \x20 - {{ name: admins, path_pattern: /admin/*, target_url: \"{}\", access: {{ roles: [admin], scopes: [read] }} }}\n",
        origin.url(),
        origin.url()
    ))
    .await
}

fn assert_refused(answer: &Answer, status: u16, challenge: Option<&str>) {
    assert_eq!(answer.status, status, "{}", answer.text());
    answer.problem();
    assert_eq!(answer.header("www-authenticate").is_some(), challenge.is_some());
    let said = answer.header("www-authenticate").unwrap_or_default();
    assert!(said.contains(challenge.unwrap_or_default()), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_providers_tokens_are_taken() {
    for algorithm in ["RS256", "ES256"] {
        let (origin, provider) = (Origin::start().await, Provider::signing(algorithm).await);
        let gateway = gateway(&origin, &provider, algorithm).await;
        for user in ["alice", "bob", "alice"] {
            let token = provider.token(user, Some(AUDIENCE)).await;
            let seen = gateway.ask(bearing(&token, "/x").header("x-user-id", "mallory")).await.seen();
            assert_eq!(seen.header("x-user-id"), Some(user));
            assert!(seen.header("x-user-roles").unwrap().contains("reader"));
            let admin = gateway.ask(bearing(&token, "/admin/x")).await;
            assert_eq!(admin.status, if user == "alice" { 200 } else { 403 });
        }
        assert_refused(&gateway.get("/x").await, 401, Some("Bearer realm="));
        let elsewhere = provider.token("alice", Some("https://other.test")).await;
        assert_refused(&gateway.ask(bearing(&elsewhere, "/x")).await, 401, Some("invalid_token"));
        assert_eq!(provider.fetches().await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_known_when_it_is_met() {
    let (origin, provider) = (Origin::start().await, Provider::start().await);
    let gateway = gateway(&origin, &provider, "RS256").await;
    let old = provider.token("alice", Some(AUDIENCE)).await;
    gateway.ask(bearing(&old, "/x")).await.seen();
    provider.rotate(true).await;
    let new = provider.token("alice", Some(AUDIENCE)).await;
    // All at once: each waits for the one fetch.
    for answer in join_all((0..32).map(|_| gateway.ask(bearing(&new, "/x")))).await {
        answer.seen();
    }
    gateway.ask(bearing(&old, "/x")).await.seen();
    // Who looked for the key at the very moment when the fetch was over may have asked for one more.
    let fetches = provider.fetches().await;
    assert!((2..=3).contains(&fetches), "{fetches} fetches");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_change_under_load_without_a_wrong_refusal() {
    let (origin, provider) = (Origin::start().await, Provider::start().await);
    let gateway = Arc::new(gateway(&origin, &provider, "RS256").await);
    let token = Arc::new(Mutex::new(provider.token("alice", Some(AUDIENCE)).await));
    let (passed, ends) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (gateway, token, passed, ends) = (gateway.clone(), token.clone(), passed.clone(), ends.clone());
            tokio::spawn(async move {
                let mut client = gateway.h1().await;
                while !ends.load(Ordering::Relaxed) {
                    let token = token.lock().clone();
                    client.ask(bearing(&token, "/x")).await.seen();
                    passed.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let more = async |count: usize| {
        let wanted = passed.load(Ordering::Relaxed) + count;
        let reached = async || (passed.load(Ordering::Relaxed) >= wanted).then_some(());
        eventually("more requests pass", reached).await;
    };
    more(200).await;
    provider.rotate(true).await;
    more(200).await;
    *token.lock() = provider.token("alice", Some(AUDIENCE)).await;
    more(400).await;
    ends.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(provider.fetches().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_withdrawn_opens_nothing() {
    let (origin, provider) = (Origin::start().await, Provider::start().await);
    let gateway = gateway(&origin, &provider, "RS256").await;
    let old = provider.token("alice", Some(AUDIENCE)).await;
    gateway.ask(bearing(&old, "/x")).await.seen();
    provider.rotate(false).await;
    let new = provider.token("alice", Some(AUDIENCE)).await;
    gateway.ask(bearing(&new, "/x")).await.seen();
    // It was verified before, and is so no more.
    let before = origin.requests();
    let answer = gateway.ask(bearing(&old, "/x")).await;
    assert!(is_kept_out(&answer), "{}", answer.text());
    assert_eq!(origin.requests(), before);
}

fn is_kept_out(answer: &Answer) -> bool {
    answer.status == 401 && answer.problem()["code"] == "credentials_invalid"
}

/// A token whose header says something else.
fn with_header(token: &str, change: impl Fn(&mut Value)) -> String {
    let (header, rest) = token.split_once('.').unwrap();
    let mut header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    change(&mut header);
    format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string()))
}

#[tokio::test(flavor = "multi_thread")]
async fn invented_keys_do_not_make_the_gateway_ask_and_ask() {
    let (origin, provider) = (Origin::start().await, Provider::start().await);
    let gateway = gateway(&origin, &provider, "RS256").await;
    let token = provider.token("alice", Some(AUDIENCE)).await;
    gateway.ask(bearing(&token, "/x")).await.seen();
    let invented = |number: usize| with_header(&token, |header| header["kid"] = json!(format!("invented-{number}")));
    let before = origin.requests();
    let ask = async |number| gateway.ask(bearing(&invented(number), "/x")).await;
    for answer in join_all((0..200).map(ask)).await {
        assert!(is_kept_out(&answer), "{}", answer.text());
    }
    assert_eq!(origin.requests(), before);
    let fetches = provider.fetches().await;
    assert!(fetches <= 6, "{fetches}");
    gateway.ask(bearing(&token, "/x")).await.seen();
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_headers_open_nothing() {
    let (origin, provider) = (Origin::start().await, Provider::start().await);
    let gateway = gateway(&origin, &provider, "RS256").await;
    let token = provider.token("alice", Some(AUDIENCE)).await;
    let changes: [fn(&mut Value); 5] = [
        |header| header["alg"] = json!("none"),
        |header| header["alg"] = json!("HS256"),
        |header| header["crit"] = json!(["unknown"]),
        |header| header["jku"] = json!("http://127.0.0.1:1/jwks"),
        |header| header["typ"] = json!("other"),
    ];
    for change in changes {
        assert_refused(&gateway.ask(bearing(&with_header(&token, change), "/x")).await, 401, Some("invalid_token"));
    }
    let unsigned = token.rsplit_once('.').unwrap().0;
    assert_refused(&gateway.ask(bearing(&format!("{unsigned}."), "/x")).await, 401, Some("invalid_token"));
    assert_eq!(origin.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_gone_is_missed_only_by_those_who_never_met_it() {
    let (origin, provider) = (Origin::start().await, Provider::start().await);
    let known = gateway(&origin, &provider, "RS256").await;
    let token = provider.token("alice", Some(AUDIENCE)).await;
    known.ask(bearing(&token, "/x")).await.seen();
    let second = provider.token("bob", Some(AUDIENCE)).await;
    let issuer = provider.issuer.clone();
    drop(provider);
    known.ask(bearing(&second, "/x")).await.seen();
    let late = Gateway::start(&format!(
        "auth: {{ jwt: [{{ issuer: \"{issuer}\", audience: \"{AUDIENCE}\" }}] }}\nroutes:\n\
         \x20 - {{ name: all, path_pattern: /*, target_url: \"{}\" }}\n",
        origin.url()
    ))
    .await;
    assert_refused(&late.ask(bearing(&token, "/x")).await, 503, None);
    assert_refused(&late.get("/x").await, 401, Some("Bearer realm="));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_says_nothing_is_asked_about() {
    let (origin, provider) = (Origin::start().await, Provider::start().await);
    let gateway = Gateway::start(&format!(
        "auth:\n  introspection: {{ url: \"{}/token/introspection\", client_id: gateway, client_secret: gateway-secret }}\n\
         routes:\n  - {{ name: all, path_pattern: /*, target_url: \"{}\", access: {{ scopes: [write], roles: [reader] }} }}\n",
        provider.issuer,
        origin.url()
    ))
    .await;
    let token = provider.token("bob", None).await;
    assert!(!token.contains('.'), "{token}");
    let seen = gateway.ask(bearing(&token, "/x")).await.seen();
    assert_eq!(seen.header("x-user-id"), Some("bob"));
    assert_refused(&gateway.ask(bearing("nonsense", "/x")).await, 401, Some("invalid_token"));
    assert_refused(&gateway.ask(Request::get("/x")).await, 401, Some("Bearer realm="));
}
