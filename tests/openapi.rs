//! The description of the API says what the API does.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};

use crate::support::{Administrator, Gateway};

const BASE: &str = "/api/v1/gateway";

async fn description(gateway: &Gateway) -> Value {
    let answer = gateway.admin("/api/v1/openapi.json").await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, Some("application/json")));
    answer.json()
}

/// All references of a document.
fn references<'d>(value: &'d Value, found: &mut BTreeSet<&'d str>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str));
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

/// The operations: method, path, description.
fn operations(description: &Value) -> Vec<(Method, String, &Value)> {
    let paths = description["paths"].as_object().unwrap().iter();
    let of_path = |(path, item): (&String, &'_ Value)| -> Vec<_> {
        let item = item.as_object().unwrap().keys();
        item.map(|method| (method.to_uppercase().parse().unwrap(), path.clone(), method.clone())).collect()
    };
    let listed: Vec<(Method, String, String)> = paths.flat_map(of_path).collect();
    listed.into_iter().map(|(method, path, key)| (method, path.clone(), &description["paths"][path][key])).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_is_described_and_exists() {
    let gateway = Gateway::start("routes: []\n").await;
    let description = description(&gateway).await;
    let mut found = BTreeSet::new();
    references(&description, &mut found);
    assert!(found.len() > 20);
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(description.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    let (mut ids, administrator) = (BTreeSet::new(), Administrator::of(&gateway));
    for (method, path, operation) in operations(&description) {
        let id = operation["operationId"].as_str().unwrap();
        assert!(ids.insert(id), "{id} is there twice");
        assert!(operation["responses"].as_object().unwrap().keys().any(|status| status.starts_with('2')), "{id}");
        // A stream does not end, an upgrade would begin.
        if ["watchRevisions", "upgrade"].contains(&id) {
            continue;
        }
        let path = path
            .strip_prefix(BASE)
            .unwrap()
            .replace(['{', '}'], "x")
            .replace("xnumberx", "9")
            .replace("xfromx", "9")
            .replace("xtox", "9");
        let answer = administrator.ask(method.clone(), &path, &[], "").await;
        let is_there =
            !answer.text().contains("there is no such resource") && !answer.text().contains("\"method_not_allowed\"");
        assert!(is_there, "{id}: {method} {path}: {answer:?}");
        let status = answer.status.as_str();
        assert!(operation["responses"].get(status).is_some(), "{id} does not describe {status}: {answer:?}");
    }
    // What the router has, the description has, too.
    let router = include_str!("../src/admin/lib.rs");
    let routed: BTreeSet<&str> = router
        .split('"')
        .filter(|text| {
            text.starts_with('/') && !text.contains(char::is_whitespace) && *text != "/metrics" && *text != "/ready"
        })
        .collect();
    let described: BTreeSet<String> =
        operations(&description).iter().map(|(_, path, _)| path.strip_prefix(BASE).unwrap().to_owned()).collect();
    let missing: Vec<_> =
        routed.iter().filter(|path| !described.contains(**path) && !path.ends_with("openapi.json")).collect();
    assert!(missing.is_empty(), "not described: {missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_what_the_description_says() {
    let config = "services: { filed: { targets: [\"http://127.0.0.1:1\"], health_check: { path: /h } } }\nroutes: [{ name: filed, path_pattern: /filed, target_service: filed, retry: { on: [reset] } }]\nrate_limits: [{ rule_name: filed, limit_type: per_ip, max_requests: 9, window_seconds: 60 }]\ncors: { allow_origins: [\"https://a.test\"] }\n";
    let gateway = Gateway::start(config).await;
    let description = description(&gateway).await;
    let administrator = Administrator::of(&gateway);
    let full = json!({
        "name": "made", "path_pattern": "/made/{id}", "hosts": ["a.test"], "methods": ["GET"], "headers": {"x": {"present": true}}, "query": {"q": "1"},
        "split": {"services": [{"service": "filed", "weight": 2}], "sticky_by": "ip"}, "timeout": "3s", "timeouts": {"connect": "1s"},
        "shields": {"max_body": "1MiB"}, "cors": {"allow_origins": ["https://b.test"]}, "rate_limits": ["filed"], "websocket": {"idle": "1h"},
    });
    assert_eq!(administrator.post("/routes", full).await.status, 201);
    administrator.post("/tokens", json!({"name": "t", "role": "viewer", "expires_in": "1h"})).await;
    administrator.put("/services/made", json!({"targets": ["http://127.0.0.1:2"], "registered": true})).await;
    administrator
        .post("/services", json!({"service_name": "made", "service_url": "http://127.0.0.1:3", "ttl_seconds": 60}))
        .await;
    let mut looked = 0;
    for (method, path, operation) in operations(&description) {
        let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
        // What is YAML unless JSON is asked for.
        if method != Method::GET || schema.is_null() || path.ends_with("/export") {
            continue;
        }
        let number = path.contains("{number}") || path.contains("{from}");
        let mut target = path.strip_prefix(BASE).unwrap().replace("{id}", "made").replace("{name}", "made");
        target = target.replace("{number}", "2").replace("{from}", "1").replace("{to}", "2");
        for key in ["made", "filed"] {
            let target = target.replace("made", key)
                + if path.ends_with("/status") && path.contains("rate") { "?subject=1.2.3.4" } else { "" };
            let answer = administrator.get(&target).await;
            if answer.status != 200 {
                assert!(!number && (path.contains("{id}") || path.contains("{request_id}")), "{target}: {answer:?}");
                continue;
            }
            let root = json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "components": description["components"], "allOf": [schema]});
            let validator = jsonschema::validator_for(&root).unwrap();
            let answer = answer.json();
            let faults: Vec<String> =
                validator.iter_errors(&answer).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
            assert!(faults.is_empty(), "{target}: {faults:#?}\n{answer:#}");
            looked += 1;
        }
    }
    assert!(looked > 30, "{looked}");
}
