//! After an answered write, the next request sees it, on every thread; and how long a write takes.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::json;

use crate::support::{Administrator, Gateway, Request};

/// How many writes there are here, and among how many routes. `make fresh` takes ten thousand of each.
fn number(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(usual)
}

fn percentile(sorted: &[Duration], share: f64) -> Duration {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_request_sees_an_answered_write() {
    let (writes, routes) = (number("WRITES", 150), number("ROUTES", 300));
    let gateway = Gateway::start("threads: 2\nroutes: []\n").await;
    let administrator = Administrator::of(&gateway);
    let others =
        (0..routes).map(|n| format!("  - {{ name: r{n}, path_pattern: /r{n}/*, respond: {{ status: 200 }} }}\n"));
    let file = format!(
        "routes:\n  - {{ name: probed, path_pattern: /probed, respond: {{ status: 200 }} }}\n{}",
        others.collect::<String>()
    );
    let applying = Instant::now();
    let applied =
        administrator.ask(Method::POST, "/config/apply", &[("content-type", "application/yaml")], &file).await;
    assert_eq!(applied.status, 200, "{applied:?}");
    let applying = applying.elapsed();
    // Connections that are open all the time, on both threads.
    let mut clients = [gateway.h1().await, gateway.h1().await, gateway.h1().await, gateway.h1().await];
    let mut took = Vec::with_capacity(writes);
    for write in 0..writes {
        let change = json!({"respond": {"status": 200, "body": write.to_string()}});
        let began = Instant::now();
        let answer = administrator.patch("/routes/probed", change).await;
        took.push(began.elapsed());
        assert_eq!(answer.status, 200, "{answer:?}");
        for client in &mut clients {
            assert_eq!(
                client.ask(Request::get("/probed")).await.text(),
                write.to_string(),
                "write {write} is not seen"
            );
        }
    }
    took.sort_unstable();
    let (half, most) = (percentile(&took, 0.5), percentile(&took, 0.99));
    eprintln!("{writes} writes among {routes} routes, 0 stale: p50 {half:?}, p99 {most:?}; applied in {applying:?}");
}
