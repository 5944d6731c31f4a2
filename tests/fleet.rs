//! Several gateways that share a store in PostgreSQL, and what becomes of them when it goes away.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::postgres::Postgres;
use crate::support::{Administrator, Gateway, Origin, eventually};

fn config(origin: &Origin, store: &str) -> String {
    let url = origin.url();
    format!(
        "store: {{ url: \"{store}\" }}\nservices: {{ filed: \"{url}\" }}\nroutes: [{{ path_pattern: /filed, target_service: filed }}]\n"
    )
}

fn route(path: &str) -> Value {
    json!({"name": "made", "path_pattern": path, "target_service": "filed"})
}

async fn serves(gateway: &Gateway, path: &str, status: u16) {
    eventually(&format!("{path} is answered with {status}"), async || {
        (gateway.get(path).await.status == status).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_gateway_changes_serves_at_the_others_at_once() {
    let (origin, postgres) = (Origin::start().await, Postgres::shared());
    let config = config(&origin, &postgres.database());
    let gateways = [Gateway::start(&config).await, Gateway::start(&config).await, Gateway::start(&config).await];
    let administrators = gateways.each_ref().map(Administrator::of);
    for (round, administrator) in administrators.iter().enumerate() {
        let path = format!("/made{round}");
        let written = match round {
            0 => administrator.post("/routes", route(&path)).await,
            _ => administrator.patch("/routes/made", json!({"path_pattern": path})).await,
        };
        assert!(written.status.is_success(), "{written:?}");
        assert_eq!(gateways[round].get(&path).await.status, 200, "it serves before the answer");
        let began = Instant::now();
        for gateway in &gateways {
            serves(gateway, &path, 200).await;
        }
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
    // A write may wait for all of them.
    let everywhere = administrators[0].patch("/routes/made?nodes=all&wait=10s", json!({"path_pattern": "/all"})).await;
    assert_eq!(
        (everywhere.status.as_u16(), everywhere.header("x-gatekeeper-nodes-behind")),
        (200, None),
        "{everywhere:?}"
    );
    for gateway in &gateways {
        assert_eq!(gateway.get("/all").await.status, 200, "all serve it before the answer");
    }
    administrators[2].patch("/routes/made?nodes=all", json!({"path_pattern": "/made2"})).await;
    assert_eq!(administrators[0].patch("/routes/made?nodes=some", json!({})).await.status, 422);
    let hashes = async || -> Vec<Value> {
        let nodes = administrators[0].get("/nodes").await.json();
        nodes.as_array().unwrap().iter().map(|node| node["hash"].clone()).collect()
    };
    eventually("all gateways say that they serve the same", async || {
        let hashes = hashes().await;
        (hashes.len() == 3 && hashes.iter().all(|hash| *hash == hashes[0])).then_some(())
    })
    .await;
    // Whoever is asked knows all revisions and tokens.
    let token = administrators[1].post("/tokens", json!({"name": "ci", "role": "viewer"})).await.json();
    let ci = administrators[2].with(token["secret"].as_str().unwrap());
    assert_eq!(ci.get("/config/revisions").await.json()[0]["summary"], "route made: path_pattern /all -> /made2");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_writers_with_one_version_one_wins_at_whatever_gateway() {
    let (origin, postgres) = (Origin::start().await, Postgres::shared());
    let config = config(&origin, &postgres.database());
    let gateways = [Gateway::start(&config).await, Gateway::start(&config).await];
    let administrators = gateways.each_ref().map(Administrator::of);
    administrators[0]
        .post("/routes", json!({"name": "counter", "path_pattern": "/c", "target_service": "filed", "priority": 0}))
        .await;
    let write = async |administrator: Administrator| {
        let mut written = 0;
        while written < 10 {
            let shown = administrator.get("/routes/counter").await;
            if shown.status == 404 {
                continue;
            }
            let (etag, shown) = (shown.header("etag").unwrap().to_owned(), shown.json());
            let change = json!({"priority": shown["priority"].as_i64().unwrap() + 1}).to_string();
            let answer = administrator.ask(Method::PATCH, "/routes/counter", &[("if-match", &etag)], &change).await;
            match answer.status {
                StatusCode::OK => written += 1,
                StatusCode::PRECONDITION_FAILED | StatusCode::SERVICE_UNAVAILABLE => {}
                _ => panic!("{answer:?}"),
            }
        }
    };
    let writers = administrators.iter().flat_map(|one| [one.clone(), one.clone()]);
    futures::future::join_all(writers.map(write)).await;
    // The last write may have been made at the other one.
    eventually("no update was lost", async || {
        (administrators[0].get("/routes/counter").await.json()["priority"] == 40).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_everything_serves_on_and_nothing_is_to_be_done_when_it_returns() {
    let (origin, mut postgres) = (Origin::start().await, Postgres::start());
    let config = config(&origin, &postgres.database());
    let mut gateways = [Gateway::start(&config).await, Gateway::start(&config).await];
    let administrators = gateways.each_ref().map(Administrator::of);
    assert_eq!(administrators[0].post("/routes", route("/made")).await.status, 201);
    serves(&gateways[1], "/made", 200).await;
    postgres.stop();
    let refused = administrators[0].patch("/routes/made", json!({"path_pattern": "/lost"})).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["code"]), (503, &json!("store_unavailable")), "{refused:?}");
    assert_eq!(administrators[0].get("/routes/made").await.json()["path_pattern"], "/made", "reading goes on");
    assert_eq!(gateways[0].get("/made").await.status, 200);
    assert_eq!(gateways[0].get("/ready").await.status, 200);
    gateways[1].restart().await;
    assert_eq!(gateways[1].get("/made").await.status, 200, "the newest revision that is known outlives a restart");
    gateways[0].reload(&config.replace("path_pattern: /filed", "path_pattern: /edited")).unwrap();
    assert_eq!(gateways[0].get("/edited").await.status, 200, "files do not wait for the database");
    postgres.start_again();
    eventually("changes are written again", async || {
        let answer = administrators[0].patch("/routes/made", json!({"path_pattern": "/again"})).await;
        answer.status.is_success().then_some(())
    })
    .await;
    for gateway in &gateways {
        serves(gateway, "/again", 200).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_register_at_one_gateway_and_serve_at_all_and_outlive_restarts() {
    let (origin, instance, postgres) = (Origin::start().await, Origin::start().await, Postgres::shared());
    let config = config(&origin, &postgres.database());
    let mut gateways = [Gateway::start(&config).await, Gateway::start(&config).await];
    let administrators = gateways.each_ref().map(Administrator::of);
    let registration =
        json!({"service_name": "new", "service_url": instance.url(), "ttl_seconds": 600, "metadata": {"zone": "a"}});
    let registered = administrators[0].post("/services", registration.clone()).await;
    assert_eq!(registered.status, 201, "{registered:?}");
    let before = administrators[0].get("/config/revisions").await.json();
    assert_eq!(administrators[0].post("/services", registration).await.status, 200);
    let beat = administrators[0].post("/services/new/heartbeat", json!({"service_url": instance.url()})).await;
    assert_eq!(beat.status, 204);
    assert_eq!(administrators[0].get("/config/revisions").await.json(), before, "a heartbeat makes no revision");
    let to_new = json!({"path_pattern": "/new", "target_service": "new"});
    assert_eq!(administrators[1].post("/routes", to_new).await.status, 201);
    for gateway in &gateways {
        serves(gateway, "/new", 200).await;
    }
    gateways[0].restart().await;
    serves(&gateways[0], "/new", 200).await;
    let gone = administrators[0].delete(&format!("/services/new?service_url={}", instance.url())).await;
    assert_eq!(gone.status, 204);
    serves(&gateways[0], "/new", 503).await;
    serves(&gateways[1], "/new", 503).await;
}

/// How many of something there are, here and in `make fleet`.
fn number(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(usual)
}

/// From the answer of the gateway that writes to the last old answer of the last of the others.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_reaches_all_gateways_soon() {
    let (nodes, routes, changes) = (number("NODES", 2), number("ROUTES", 100), number("CHANGES", 10));
    let postgres = Postgres::shared();
    let config = format!("store: {{ url: \"{}\" }}\nroutes: []\n", postgres.database());
    let gateways = futures::future::join_all((0..nodes).map(|_| Gateway::start(&config))).await;
    let administrator = Administrator::of(&gateways[0]);
    let others =
        (0..routes).map(|n| format!("  - {{ name: r{n}, path_pattern: /r{n}/*, respond: {{ status: 200 }} }}\n"));
    let probed = "  - { name: probed, path_pattern: /probed, respond: { status: 200 } }\n";
    let file = format!("routes:\n{probed}{}", others.collect::<String>());
    let header = [("content-type", "application/yaml")];
    assert_eq!(administrator.ask(Method::POST, "/config/apply", &header, &file).await.status, 200);
    let mut clients = Vec::new();
    for gateway in &gateways {
        serves(gateway, "/probed", 200).await;
        clients.push(gateway.h1().await);
    }
    let mut took = Vec::with_capacity(changes);
    for change in 0..changes {
        let body = json!({"respond": {"status": 200, "body": change.to_string()}});
        assert_eq!(administrator.patch("/routes/probed", body).await.status, 200);
        let answered = Instant::now();
        for client in &mut clients {
            while client.ask(http::Request::get("/probed")).await.text() != change.to_string() {
                assert!(answered.elapsed() < Duration::from_secs(10), "change {change} does not arrive");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        took.push(answered.elapsed());
    }
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    eprintln!("{nodes} gateways, {routes} routes, {changes} changes: p50 {:?}, p99 {:?}", at(0.5), at(0.99));
    assert!(at(0.5) < Duration::from_millis(900), "notifications are faster than looking each second: {took:?}");
    let hashes = async || -> Vec<Value> {
        let nodes = administrator.get("/nodes").await.json();
        nodes.as_array().unwrap().iter().map(|node| node["hash"].clone()).collect()
    };
    eventually("all gateways say that they serve the same", async || {
        let hashes = hashes().await;
        (hashes.len() == nodes && hashes.iter().all(|hash| *hash == hashes[0])).then_some(())
    })
    .await;
}
