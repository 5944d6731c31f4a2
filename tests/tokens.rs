//! Who may do what over the API: tokens and their roles.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::support::{Administrator, Gateway, eventually};

async fn make(administrator: &Administrator, token: Value) -> Value {
    let made = administrator.post("/tokens", token).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_do_what_it_is_for_and_no_more() {
    let gateway = Gateway::start("services: { s: \"http://127.0.0.1:1\" }\nroutes: []\n").await;
    let administrator = Administrator::of(&gateway);
    // What is asked, and the least role that may.
    let table = [
        (Method::GET, "/routes", "viewer"),
        (Method::GET, "/services", "viewer"),
        (Method::GET, "/config/effective", "viewer"),
        (Method::GET, "/config/export", "viewer"),
        (Method::GET, "/config/revisions", "viewer"),
        (Method::GET, "/audit", "viewer"),
        (Method::GET, "/status", "viewer"),
        (Method::POST, "/config/validate", "viewer"),
        (Method::POST, "/services/s/drain", "operator"),
        (Method::POST, "/services/s/undrain", "operator"),
        (Method::POST, "/services/s/reset", "operator"),
        (Method::POST, "/services", "operator"),
        (Method::POST, "/services/s/heartbeat", "operator"),
        (Method::POST, "/routes", "admin"),
        (Method::PUT, "/routes/x", "admin"),
        (Method::PATCH, "/routes/x", "admin"),
        (Method::DELETE, "/routes/x", "admin"),
        (Method::POST, "/config/rate-limits", "admin"),
        (Method::PUT, "/config/cors", "admin"),
        (Method::DELETE, "/config/cors", "admin"),
        (Method::PUT, "/services/s", "admin"),
        (Method::DELETE, "/services/s", "admin"),
        (Method::POST, "/config/apply", "admin"),
        (Method::POST, "/config/revisions/0/rollback", "admin"),
        (Method::POST, "/config/reload", "admin"),
        (Method::GET, "/tokens", "admin"),
        (Method::POST, "/tokens", "admin"),
        (Method::DELETE, "/tokens/x", "admin"),
    ];
    let roles = ["viewer", "operator", "admin"];
    for (rank, role) in roles.iter().enumerate() {
        let secret = make(&administrator, json!({"name": role, "role": role})).await["secret"].clone();
        let holder = administrator.with(secret.as_str().unwrap());
        for (method, path, least) in &table {
            let answer = holder.ask(method.clone(), path, &[], "").await;
            let least = roles.iter().position(|role| role == least).unwrap();
            assert_eq!(answer.status == 403, rank < least, "{role} {method} {path}: {answer:?}");
            assert_ne!(answer.status, 401, "{role} {method} {path}");
        }
    }
    for holder in [administrator.with("gk_nobody"), administrator.with("")] {
        for (method, path, _) in &table {
            let answer = holder.ask(method.clone(), path, &[], "").await;
            assert!(answer.status == 401 || answer.status == 429, "{method} {path}: {answer:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_shown_once_ends_and_is_revoked() {
    let mut gateway = Gateway::start("routes: []\n").await;
    let administrator = Administrator::of(&gateway);
    let made = make(&administrator, json!({"name": "ci", "role": "viewer"})).await;
    let secret = made["secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("gk_") && secret.len() > 40);
    let ci = administrator.with(&secret);
    assert_eq!(ci.get("/routes").await.status, 200);
    let keyed = json!({"name": "keyed", "role": "viewer"}).to_string();
    let keyed = administrator.ask(Method::POST, "/tokens", &[("idempotency-key", "k")], &keyed).await.json();
    administrator.delete("/tokens/keyed").await;
    for file in ["state/gatekeeper.db", "state/gatekeeper.db-wal"] {
        let stored = std::fs::read(gateway.file(file)).unwrap();
        for secret in [&secret, keyed["secret"].as_str().unwrap()] {
            assert!(!stored.windows(secret.len()).any(|part| part == secret.as_bytes()), "{file} has a token");
        }
    }
    let listed = administrator.get("/tokens").await;
    assert!(!listed.text().contains(&secret));
    eventually("its last use is written down", async || {
        let listed = administrator.get("/tokens").await.json();
        listed[0]["last_used_at"].is_string().then_some(())
    })
    .await;
    let doubled = administrator.post("/tokens", json!({"name": "ci", "role": "viewer"})).await;
    assert_eq!((doubled.status.as_u16(), &doubled.json()["code"]), (409, &json!("taken")));
    gateway.restart().await;
    assert_eq!(ci.get("/routes").await.status, 200, "it outlives a restart");

    let rotated = administrator.post("/tokens/ci/rotate", json!({})).await.json()["secret"].clone();
    assert_eq!(ci.get("/routes").await.status, 401, "the old secret opens nothing");
    let ci = administrator.with(rotated.as_str().unwrap());
    assert_eq!(ci.get("/routes").await.status, 200);
    assert_eq!(administrator.delete("/tokens/ci").await.status, 204);
    assert_eq!(ci.get("/routes").await.status, 401);
    assert_eq!(administrator.delete("/tokens/ci").await.status, 404);

    let short = make(&administrator, json!({"name": "short", "role": "admin", "expires_in": "1s"})).await;
    let short = administrator.with(short["secret"].as_str().unwrap());
    assert_eq!(short.get("/routes").await.status, 200);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(short.get("/routes").await.status, 401, "it has ended");
    let audit = administrator.get("/audit").await.json();
    let acts: Vec<_> = audit.as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(acts, ["create", "revoke", "rotate", "revoke", "create", "create"]);
    assert!(!gateway.said().contains(&secret), "no log shows a token");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_token_is_refused_with_all_its_faults() {
    let gateway = Gateway::start("routes: []\n").await;
    let administrator = Administrator::of(&gateway);
    let refused = administrator.post("/tokens", json!({"name": "", "role": "root", "expires_in": "10ms"})).await;
    assert_eq!((refused.status.as_u16(), refused.json()["errors"].as_array().unwrap().len()), (422, 3), "{refused:?}");
    assert!(refused.text().contains("viewer, operator, admin"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_registers_instances_and_an_administrator_services_too() {
    let gateway = Gateway::start("services: { live: { targets: [], registered: true } }\nroutes: []\n").await;
    let administrator = Administrator::of(&gateway);
    let secret = make(&administrator, json!({"name": "o", "role": "operator"})).await["secret"].clone();
    let operator = administrator.with(secret.as_str().unwrap());
    let instance = |name: &str| json!({"service_name": name, "service_url": "http://127.0.0.1:1"});
    assert_eq!(operator.post("/services", instance("live")).await.status, 201);
    let unknown = operator.post("/services", instance("lvie")).await;
    assert_eq!((unknown.status.as_u16(), unknown.text().contains("\\\"live\\\"")), (404, true), "{unknown:?}");
    assert_eq!(operator.delete("/services/live").await.status, 403);
    assert_eq!(operator.delete("/services/live?service_url=http://127.0.0.1:1").await.status, 204);
    assert_eq!(administrator.post("/services", instance("new")).await.status, 201);
    assert_eq!(administrator.get("/config/services/new").await.json()["managed_by"], "api");
}
