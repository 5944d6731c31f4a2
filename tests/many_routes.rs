//! Twenty thousand routes: what they take once they serve, and that all are found.

use crate::support::{Gateway, Origin, Request, eventually};

const ROUTES: u64 = 20_000;

/// A third each of exact paths, captures and prefixes, as the load harness has them.
fn routes(count: u64, origin: &Origin) -> String {
    let path = |n: u64| ["status", "{id}/items", "*"][n as usize % 3];
    let route = |n: u64| {
        format!("  - {{ name: route{n}, path_pattern: '/api/v1/service{n}/{}', target_service: origin }}\n", path(n))
    };
    let routes: String = (0..count).map(route).collect();
    format!("services: {{ origin: {{ targets: [\"{}\"] }} }}\nroutes:\n{routes}", origin.url())
}

/// The bytes that the gateway takes for each route beyond what it takes without them.
fn each(gateway: &Gateway, before: u64) -> u64 {
    gateway.own_memory().saturating_sub(before) / ROUTES
}

/// The goal is a hundred thousand routes in 120 MB with all the rest, which is about 1000 bytes for each.
#[tokio::test(flavor = "multi_thread")]
async fn a_route_takes_less_than_a_thousand_bytes() {
    let origin = Origin::start().await;
    let before = Gateway::start(&routes(1, &origin)).await.own_memory();
    let gateway = Gateway::start(&routes(ROUTES, &origin)).await;
    let started = each(&gateway, before);
    assert!(started < 1000, "{started} bytes a route after the start");
    // Where a plan is replaced, what it and its making took is given back.
    for _ in 0..2 {
        gateway.reload(&routes(ROUTES, &origin)).unwrap();
        let reloaded = || Some(each(&gateway, before)).filter(|each| *each < 1000);
        eventually("the memory of the plan before is given back", async || reloaded()).await;
    }
    let mut client = gateway.h1().await;
    for n in [0, 1, 2, 9_999, 19_997, 19_998, 19_999] {
        let path = ["status", "42/items", "some/deep/path"][n % 3];
        client.ask(Request::get(format!("/api/v1/service{n}/{path}"))).await.seen();
    }
}
