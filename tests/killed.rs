//! A gateway that is killed while it changes: it starts with the state before a change or the one after it.

use std::process::Command;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::support::{Administrator, Gateway, soon};

/// How often it is killed here. `make kills` does it 200 times.
fn kills() -> u64 {
    std::env::var("KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(12)
}

const CONFIG: &str = "services: { app: http://127.0.0.1:1 }\nroutes: []\n";

/// A file of two hundred routes and as many services, all of which say which generation they are of.
fn file(generation: u64) -> String {
    let number = |n: u64| {
        let service = format!("  s{n}: {{ targets: [\"http://127.0.0.1:1\"], max_in_flight: {generation} }}\n");
        let route =
            format!("  - {{ name: r{n}, path_pattern: /r{n}, target_service: s{n}, priority: {generation} }}\n");
        (service, route)
    };
    let (services, routes): (String, String) = (0..200).map(number).unzip();
    format!("services:\n{services}routes:\n{routes}")
}

/// The generations that routes and services are of.
async fn generations(administrator: &Administrator) -> Vec<u64> {
    let mut found = Vec::new();
    for (path, field) in [
        ("/routes?limit=1000&fields=priority", "priority"),
        ("/config/services?limit=1000&fields=max_in_flight", "max_in_flight"),
    ] {
        let listed = administrator.get(path).await.json();
        found.extend(listed.as_array().unwrap().iter().filter_map(|object| object[field].as_u64()));
    }
    found.sort_unstable();
    found.dedup();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_killed_in_a_change_starts_with_all_of_it_or_nothing() {
    let mut gateway = Gateway::start(CONFIG).await;
    let mut administrator = Administrator::of(&gateway);
    let mut generation = 1;
    let apply = async |administrator: &Administrator, generation: u64| {
        administrator
            .ask(Method::POST, "/config/apply", &[("content-type", "application/yaml")], &file(generation))
            .await
    };
    assert_eq!(apply(&administrator, generation).await.status, 200);
    let mut between = 0;
    for kill in 0..kills() {
        let next = generation + 1;
        let (writer, pid) = (administrator.clone(), gateway.pid().to_string());
        let body = file(next);
        let write = tokio::spawn(async move {
            let header = [("content-type", "application/yaml")];
            writer.try_to_ask(Method::POST, "/config/apply", &header, &body).await
        });
        tokio::time::sleep(Duration::from_micros(fastrand::u64(0..50_000))).await;
        Command::new("kill").args(["-9", &pid]).status().unwrap();
        let answered = soon("the write ends", write).await.unwrap().is_ok_and(|answer| answer.status == 200);
        gateway.restart().await;
        administrator = Administrator::of(&gateway);
        let found = generations(&administrator).await;
        assert_eq!(found.len(), 1, "kill {kill}: a state in between: {found:?}");
        assert!(
            found[0] == next || found[0] == generation && !answered,
            "kill {kill}: {found:?} after {generation}, answered: {answered}"
        );
        between += u64::from(found[0] == next && !answered);
        generation = found[0];
        let status = gateway.command("db", &["status", "--json"]);
        let status: Value = serde_json::from_slice(&status.stdout).unwrap();
        assert_eq!(status["whole"], json!(true), "the hash is proved: {status}");
    }
    eprintln!("{} kills, {between} after the commit and before the answer", kills());
}
