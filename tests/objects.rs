//! Objects that are made, changed and removed over the API while the gateway serves.

use http::Method;
use serde_json::{Value, json};

use crate::support::{Administrator, Gateway, Origin};

/// A gateway whose file declares a service and a route, and its administrator.
async fn scene() -> (Origin, Gateway, Administrator) {
    let origin = Origin::start().await;
    let config = format!(
        "services: {{ filed: {{ targets: [\"{}\"] }} }}\nroutes: [{{ name: filed, path_pattern: /filed, target_service: filed }}]\n",
        origin.url()
    );
    let gateway = Gateway::start(&config).await;
    let administrator = Administrator::of(&gateway);
    (origin, gateway, administrator)
}

fn route(path: &str) -> Value {
    json!({"name": "made", "path_pattern": path, "target_service": "filed"})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_is_made_changed_and_removed_and_each_change_serves_at_once() {
    let (_origin, gateway, administrator) = scene().await;
    assert_eq!(gateway.get("/made/x").await.status, 404);
    let made = administrator.post("/routes", route("/made/*")).await;
    assert_eq!((made.status.as_u16(), made.header("x-gatekeeper-revision")), (201, Some("2")), "{made:?}");
    assert_eq!(gateway.get("/made/x").await.status, 200);
    let (location, etag) = (made.header("location").unwrap(), made.header("etag").unwrap());
    let path = location.strip_prefix("/api/v1/gateway").unwrap();
    let shown = administrator.get(path).await;
    let body = shown.json();
    assert_eq!(
        (shown.header("etag"), &body["managed_by"], &body["retry_count"]),
        (Some(etag), &json!("api"), &json!(2))
    );
    assert_eq!(administrator.get("/routes/made").await.json(), body, "it is found by its name, too");

    // What is read can be written back, and that changes nothing.
    let same = administrator.put(path, body.clone()).await;
    assert_eq!(same.status, 200, "{same:?}");
    assert_eq!(same.json()["path_pattern"], "/made/*");
    let patched = administrator.patch(path, json!({"path_pattern": "/other", "timeout": "3s"})).await;
    assert_eq!((patched.status.as_u16(), &patched.json()["timeout"]), (200, &json!("3s")), "{patched:?}");
    assert_eq!((gateway.get("/made/x").await.status.as_u16(), gateway.get("/other").await.status.as_u16()), (404, 200));
    let off = administrator.patch("/routes/made", json!({"is_active": false})).await;
    assert_eq!((off.status.as_u16(), gateway.get("/other").await.status.as_u16()), (200, 404));

    let deleted = administrator.delete(path).await;
    assert_eq!((deleted.status.as_u16(), deleted.text()), (204, ""));
    assert_eq!(administrator.get(path).await.json()["code"], "unknown_route");
    assert_eq!(gateway.get("/filed").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_outlives_a_restart_and_a_reload() {
    let (origin, mut gateway, administrator) = scene().await;
    let service = json!({"targets": [origin.url()]});
    assert_eq!(administrator.put("/services/own", service).await.status, 201);
    let own = json!({"name": "own", "path_pattern": "/own", "target_service": "own", "rate_limits": ["few"]});
    let rule = json!({"rule_name": "few", "limit_type": "global", "max_requests": 2, "window_seconds": 60});
    assert_eq!(administrator.post("/config/rate-limits", rule).await.status, 201);
    assert_eq!(administrator.post("/routes", own).await.status, 201);
    assert_eq!(administrator.put("/config/cors", json!({"allow_origins": ["https://a.test"]})).await.status, 201);
    let revision = administrator.get("/status").await.json()["revision"].clone();
    gateway.restart().await;
    assert_eq!(administrator.get("/status").await.json()["revision"], revision);
    let allowed = gateway.ask(http::Request::get("/own").header("origin", "https://a.test")).await;
    assert_eq!((allowed.status.as_u16(), allowed.header("access-control-allow-origin")), (200, Some("https://a.test")));
    gateway.reload(&format!("services: {{ filed: \"{}\" }}\nroutes: []\n", origin.url())).unwrap();
    assert_eq!(gateway.get("/own").await.status, 200);
    assert_eq!(gateway.get("/own").await.status, 429, "the rule of the store limits");
    assert_eq!(gateway.get("/filed").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_say_who_owns_and_what_is_wrong_and_change_nothing() {
    let (_origin, gateway, administrator) = scene().await;
    administrator.post("/routes", route("/made/*")).await;
    let rule = json!({"rule_name": "used", "limit_type": "per_ip", "max_requests": 9, "window_seconds": 60});
    administrator.post("/config/rate-limits", rule).await;
    administrator.put("/services/used", json!({"targets": ["http://127.0.0.1:1"]})).await;
    administrator.patch("/routes/made", json!({"target_service": "used", "rate_limits": ["used"]})).await;
    let before = administrator.get("/config/revisions").await.json();
    let table: Vec<(Method, &str, String, u16, &str, &str)> = vec![
        (Method::POST, "/routes", route("/x").to_string(), 409, "taken", "managed by api"),
        (
            Method::POST,
            "/routes",
            route("/x").to_string().replace("made", "filed"),
            409,
            "taken",
            "file:gatekeeper.yaml",
        ),
        (Method::PUT, "/routes/filed", route("/x").to_string(), 409, "owned_by_file", "gatekeeper.yaml: routes[0]"),
        (Method::PATCH, "/routes/filed", "{}".into(), 409, "owned_by_file", "change it there"),
        (Method::DELETE, "/routes/filed", String::new(), 409, "owned_by_file", "gatekeeper.yaml"),
        (Method::DELETE, "/services/filed", String::new(), 409, "owned_by_file", "services.filed"),
        (Method::DELETE, "/services/used", String::new(), 409, "in_use", "the route \\\"made\\\""),
        (Method::DELETE, "/config/rate-limits/used", String::new(), 409, "in_use", "the route \\\"made\\\""),
        (Method::DELETE, "/routes/nothing", String::new(), 404, "unknown_route", "nothing"),
        (Method::GET, "/config/cors", String::new(), 404, "unknown_cors", "there is no CORS policy"),
        (
            Method::POST,
            "/routes",
            r#"{"name": "n", "path_pattern": "/n", "target_service": "filde"}"#.into(),
            422,
            "invalid_configuration",
            "did you mean \\\"filed\\\"",
        ),
        (
            Method::POST,
            "/routes",
            r#"{"name": "n", "path_pattern": "/filed", "target_service": "filed"}"#.into(),
            422,
            "invalid_configuration",
            "matches exactly what the route",
        ),
        (
            Method::POST,
            "/routes",
            r#"{"path_pattern": "/n", "metods": [], "retry_count": "x"}"#.into(),
            422,
            "invalid_request",
            "did you mean \\\"methods\\\"",
        ),
        (
            Method::POST,
            "/routes",
            r#"{"path_pattern": "/a", "path_pattern": "/b"}"#.into(),
            422,
            "invalid_request",
            "written twice",
        ),
        (Method::POST, "/routes", r#"["path_pattern"]"#.into(), 422, "invalid_request", "allowed: a map"),
        (Method::POST, "/routes", "{".into(), 400, "bad_request", "not valid JSON"),
        (Method::POST, "/routes", r#"{"name": "\ud83d"}"#.into(), 400, "bad_request", "not valid JSON"),
        (
            Method::POST,
            "/routes",
            format!("{}1{}", "[".repeat(500), "]".repeat(500)),
            400,
            "bad_request",
            "not valid JSON",
        ),
        (Method::POST, "/routes", format!("\"{}\"", "x".repeat(70_000)), 413, "payload_too_large", ""),
        (Method::POST, "/routes?dry_run=maybe", route("/x").to_string(), 400, "bad_request", "true or false"),
        (Method::POST, "/routes?dryrun", route("/x").to_string(), 400, "bad_request", "dryrun"),
        (Method::GET, "/config/revisions/x", String::new(), 400, "bad_request", "x"),
        (Method::GET, "/config/revisions/0/diff/-1", String::new(), 400, "bad_request", "-1"),
        (Method::GET, "/routes/%ff", String::new(), 400, "bad_request", "UTF-8"),
        (Method::POST, "/config/apply?prune&take_over", String::new(), 400, "bad_request", "the file is empty"),
        (Method::GET, "/routes?lmit=1", String::new(), 400, "bad_request", "neither a parameter nor a field"),
        (Method::GET, "/routes?sort=nme", String::new(), 400, "bad_request", "did you mean \\\"name\\\""),
        (Method::GET, "/routes?limit=0", String::new(), 422, "invalid_request", "1 to 1000"),
        (Method::GET, "/routes?cursor=x", String::new(), 422, "invalid_request", "cursor"),
        (Method::GET, "/config/revisions/99", String::new(), 404, "unknown_revision", "99"),
        (Method::POST, "/config/revisions/99/rollback", String::new(), 404, "unknown_revision", "99"),
        (Method::PUT, "/services/..", r#"{"targets": []}"#.into(), 422, "invalid_request", "a name for the service"),
    ];
    for (method, path, body, status, code, words) in table {
        let answer = administrator.ask(method.clone(), path, &[], &body).await;
        let case = format!("{method} {path} {body:.100}: {answer:?}");
        assert_eq!(answer.status, status, "{case}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{case}");
        assert!(answer.text().contains(code) && answer.text().contains(words), "{case}");
    }
    assert_eq!(administrator.get("/config/revisions").await.json(), before);
    let told =
        administrator.post("/routes", json!({"path_pattern": "/n", "target_service": "x", "retry_count": 99})).await;
    let places: Vec<Value> =
        told.json()["errors"].as_array().unwrap().iter().map(|error| error["place"].clone()).collect();
    assert_eq!(places, ["retry_count", "target_service"], "faults have their places within the object: {told:?}");
    assert_eq!(gateway.get("/filed").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_looked_at_and_a_dry_run_changes_nothing() {
    let (_origin, gateway, administrator) = scene().await;
    let dry = administrator.post("/routes?dry_run=true", route("/made/*")).await;
    assert_eq!((dry.status.as_u16(), &dry.json()["changes"][0]["action"]), (200, &json!("add")), "{dry:?}");
    assert_eq!((gateway.get("/made/x").await.status.as_u16(), dry.header("x-gatekeeper-revision")), (404, None));
    assert_eq!(administrator.get("/routes/made").await.status, 404);
    let first = administrator.post("/routes", route("/made/*")).await;
    let etag = first.header("etag").unwrap();
    let change = json!({"timeout": "3s"}).to_string();
    let patch =
        async |path: &str, headers: &[(&str, &str)]| administrator.ask(Method::PATCH, path, headers, &change).await;
    let rehearsed = patch("/routes/made?dry_run=true", &[("if-match", etag)]).await.json();
    assert_eq!(rehearsed["changes"][0]["fields"], json!([{"field": "timeout", "before": null, "after": "3s"}]));
    assert_eq!(patch("/routes/made", &[("if-match", "\"other\"")]).await.json()["code"], "precondition_failed");
    let second = patch("/routes/made", &[("if-match", &format!("\"x\", {etag}"))]).await;
    assert_eq!(second.status, 200);
    assert_ne!(second.header("etag"), Some(etag));
    assert_eq!(patch("/routes/made", &[("if-match", etag)]).await.status, 412, "the version has changed");
    assert_eq!(patch("/routes/made", &[("if-match", "*")]).await.status, 200);
    let made =
        administrator.ask(Method::PUT, "/routes/made", &[("if-none-match", "*")], &route("/y").to_string()).await;
    assert_eq!(made.status, 412, "it is there already");
    let stale = administrator.ask(Method::DELETE, "/routes/made", &[("if-match", etag)], "").await;
    assert_eq!(stale.status, 412);
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_must_say_their_version_if_the_gateway_wants_it() {
    let gateway = Gateway::start("admin: { address: \"127.0.0.1:0\", require_if_match: true }\nroutes: []\n").await;
    let administrator = Administrator::of(&gateway);
    let made = administrator.put("/services/s", json!({"targets": ["http://127.0.0.1:1"]})).await;
    assert_eq!(made.status, 201, "{made:?}");
    let body = json!({"targets": ["http://127.0.0.1:2"]});
    assert_eq!(administrator.put("/services/s", body.clone()).await.json()["code"], "precondition_required");
    let etag = made.header("etag").unwrap();
    let written = administrator.ask(Method::PUT, "/services/s", &[("if-match", etag)], &body.to_string()).await;
    assert_eq!(written.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn revisions_tell_what_changed_and_lead_back() {
    let (_origin, gateway, administrator) = scene().await;
    let first = administrator.get("/config/revisions").await.json()[0]["number"].as_u64().unwrap();
    administrator.post("/routes", route("/made/*")).await;
    administrator.patch("/routes/made", json!({"timeout": "3s"})).await;
    administrator.patch("/routes/made", json!({"name": "renamed", "path_pattern": "/renamed"})).await;
    let revisions = administrator.get("/config/revisions").await.json();
    let summaries: Vec<&str> = revisions.as_array().unwrap().iter().map(|r| r["summary"].as_str().unwrap()).collect();
    assert_eq!(summaries[0], "route renamed: name made -> renamed, path_pattern /made/* -> /renamed");
    assert_eq!(summaries[1], "route made: timeout nothing -> 3s");
    assert_eq!(summaries[2], "route made added");
    let number = first + 2;
    let one = administrator.get(&format!("/config/revisions/{number}")).await.json();
    assert_eq!(one["changes"][0]["fields"][0]["after"], "3s");
    let between = administrator.get(&format!("/config/revisions/{first}/diff/{}", first + 3)).await.json();
    assert_eq!((&between[0]["action"], &between[0]["name"]), (&json!("add"), &json!("renamed")));
    let backwards = administrator.get(&format!("/config/revisions/{}/diff/{first}", first + 3)).await.json();
    assert_eq!(backwards[0]["action"], "remove");

    let rehearsed = administrator.post(&format!("/config/revisions/{number}/rollback?dry_run"), json!({})).await.json();
    assert_eq!(rehearsed["changes"][0]["name"], "made");
    assert_eq!(gateway.get("/made/x").await.status, 404);
    let back = administrator.post(&format!("/config/revisions/{number}/rollback"), json!({})).await;
    assert_eq!((back.status.as_u16(), gateway.get("/made/x").await.status.as_u16()), (200, 200), "{back:?}");
    assert_eq!(gateway.get("/renamed").await.status, 404);
    assert_eq!(administrator.get("/config/revisions").await.json()[0]["summary"], format!("back to revision {number}"));
    administrator.post(&format!("/config/revisions/{first}/rollback"), json!({})).await;
    assert_eq!(administrator.get("/routes/made").await.status, 404, "before it was made, it was not there");
    administrator.post(&format!("/config/revisions/{number}/rollback"), json!({})).await;
    assert_eq!(administrator.get("/routes/made").await.json()["timeout"], "3s", "and back again");
    let audit = administrator.get("/audit?limit=2").await;
    let entry = audit.json()[0].clone();
    assert_eq!((&entry["action"], &entry["kind"], &entry["name"]), (&json!("create"), &json!("route"), &json!("made")));
    assert_eq!(
        (&entry["actor"], &entry["role"], &entry["after"]["timeout"]),
        (&json!("admin token"), &json!("admin"), &json!("3s"))
    );
    assert!(audit.header("link").unwrap().contains("before="));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_searched_filtered_sorted_and_paged() {
    let (_origin, _gateway, administrator) = scene().await;
    let routes: Vec<String> = (0..25)
        .map(|n| {
            format!(
                "{{ name: r{n:02}, path_pattern: /r{n:02}, target_service: filed, priority: {}, retry_count: {} }}",
                n % 5,
                n % 2
            )
        })
        .collect();
    let file = format!("routes: [{}]", routes.join(", "));
    let applied =
        administrator.ask(Method::POST, "/config/apply", &[("content-type", "application/yaml")], &file).await;
    assert_eq!(applied.status, 200, "{applied:?}");
    assert_eq!(applied.json()["changes"].as_array().unwrap().len(), 25);
    let names = |answer: &crate::support::Answer| -> Vec<String> {
        answer
            .json()
            .as_array()
            .unwrap_or_else(|| panic!("{answer:?}"))
            .iter()
            .map(|route| route["name"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned())
            .collect()
    };
    let all = administrator.get("/routes").await;
    assert_eq!((all.header("x-total-count"), names(&all).len(), names(&all)[0].as_str()), (Some("26"), 26, "filed"));
    let found = administrator.get("/routes?q=R1&sort=-name&fields=name").await;
    assert_eq!((names(&found).len(), names(&found)[0].as_str()), (10, "r19"));
    assert_eq!(found.json()[0].as_object().unwrap().len(), 1);
    let filtered = administrator.get("/routes?priority=3&retry_count=0").await;
    assert_eq!(names(&filtered), ["r08", "r18"]);
    let (mut path, mut seen) = ("/routes?limit=10&sort=priority".to_owned(), Vec::new());
    loop {
        let page = administrator.get(&path).await;
        assert_eq!(page.status, 200, "{path}: {page:?}");
        seen.extend(names(&page));
        // Somebody writes meanwhile: nothing is told twice, and nothing that stays is left out.
        administrator
            .post(
                "/routes",
                json!({"path_pattern": format!("/new{}", seen.len()), "target_service": "filed", "priority": -1}),
            )
            .await;
        let Some(link) = page.header("link") else { break };
        path = link.trim_start_matches("</api/v1/gateway").split('>').next().unwrap().to_owned();
    }
    let mut unique = seen.clone();
    unique.sort();
    unique.dedup();
    assert_eq!((unique.len(), seen.len()), (26, 26), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_store_the_file_is_all_there_is() {
    let gateway =
        Gateway::start("store: { url: none }\nroutes: [{ path_pattern: /a, respond: { status: 200 } }]\n").await;
    let administrator = Administrator::of(&gateway);
    let refused = administrator.post("/routes", route("/x")).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["code"]), (409, &json!("no_store")));
    assert!(refused.text().contains("edit the file, then reload"));
    assert_eq!(administrator.get("/routes").await.json()[0]["managed_by"], "file:gatekeeper.yaml");
    assert_eq!(administrator.get("/config/revisions").await.json()["code"], "no_store");
    assert!(!gateway.file("state/gatekeeper.db").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_kept_and_never_shown() {
    let (_origin, gateway, administrator) = scene().await;
    let canary = "canary-pa55word";
    let service = json!({"targets": ["http://127.0.0.1:1"], "health_check": {"path": "/h", "headers": {"Authorization": format!("Bearer {canary}")}}});
    let made = administrator.put("/services/secretive", service).await;
    assert_eq!(made.status, 201, "{made:?}");
    let shown = administrator.get("/config/services/secretive").await.json();
    assert_eq!(shown["health_check"]["headers"]["Authorization"], "***");
    let changed = administrator.put("/services/secretive", {
        let mut changed = shown.clone();
        changed["max_in_flight"] = json!(7);
        changed
    });
    assert_eq!(changed.await.status, 200, "a masked secret that is written back stays");
    let stored = sqlite(&gateway).await;
    assert!(stored.contains(canary) && stored.contains("max_in_flight"), "{stored}");
    let other = administrator.put("/services/other", shown).await;
    assert_eq!((other.status.as_u16(), other.text().contains("is masked")), (422, true), "{other:?}");
    for path in [
        "/config/services",
        "/config/export",
        "/config/effective",
        "/config/revisions",
        "/config/revisions/2",
        "/audit",
        "/services",
        "/routes",
    ] {
        let answer = administrator.get(path).await;
        assert!(answer.status == 200 && !answer.text().contains(canary), "{path}: {answer:?}");
    }
    assert!(administrator.get("/audit").await.text().contains("sha256:"), "one sees whether a secret changed");
    assert!(!gateway.said().contains(canary));
}

/// The bodies of all objects in the store.
async fn sqlite(gateway: &Gateway) -> String {
    use gatekeeper_store::Store;
    let store = gatekeeper_store::sql::Sql::connect("sqlite:gatekeeper.db", &gateway.file("state")).await.unwrap();
    store.state().await.unwrap().objects.iter().map(|object| object.body.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_write_is_answered_as_it_was_and_done_once() {
    let (_origin, mut gateway, administrator) = scene().await;
    let body = route("/made/*").to_string();
    let send = async |key: &str, body: &str| {
        administrator.ask(Method::POST, "/routes", &[("idempotency-key", key)], body).await
    };
    let first = send("a", &body).await;
    assert_eq!(first.status, 201);
    let again = send("a", &body).await;
    assert_eq!((again.status.as_u16(), again.header("idempotency-replayed")), (201, Some("true")), "{again:?}");
    assert_eq!(again.json(), first.json());
    gateway.restart().await;
    assert_eq!(send("a", &body).await.json(), first.json(), "over restarts");
    let other = send("a", &body.replace("/made/*", "/other")).await;
    assert_eq!((other.status.as_u16(), &other.json()["code"]), (422, &json!("idempotency_key_reused")));
    assert_eq!(send("b", &body).await.json()["code"], "taken", "another key is another write");
    assert_eq!(send("b", &body).await.json()["code"], "taken", "a refusal is not remembered");
    assert_eq!(send(&"x".repeat(256), &body).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn revisions_are_watched_as_they_begin_to_serve() {
    let (_origin, gateway, administrator) = scene().await;
    administrator.post("/routes", route("/made/*")).await;
    let token = std::fs::read_to_string(gateway.file("state/admin.token")).unwrap();
    let request = http::Request::get("/api/v1/gateway/config/watch?since=1")
        .header("host", "localhost")
        .header("authorization", format!("Bearer {}", token.trim()));
    let mut client = crate::support::Client::unix(gateway.file("admin.sock").to_str().unwrap()).await;
    let mut stream = client.send(request).await.unwrap().into_body();
    let mut heard = String::new();
    let mut hear = async |what: &str| {
        use http_body_util::BodyExt;
        while !heard.contains(what) {
            let frame = crate::support::soon("an event", stream.frame()).await.unwrap().unwrap();
            heard += &String::from_utf8_lossy(frame.data_ref().unwrap());
        }
    };
    hear("id: 2\n").await;
    hear("\"summary\":\"route made added\"").await;
    administrator.patch("/routes/made", json!({"timeout": "3s"})).await;
    hear("id: 3\n").await;
    hear("\"field\":\"timeout\",\"before\":null,\"after\":\"3s\"").await;
    assert_eq!(administrator.get("/config/watch?since=99").await.json()["code"], "unknown_revision");
}

/// The commands of a page, in the order of its blocks.
fn commands(page: &str) -> String {
    let blocks = page.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap());
    blocks.collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_page_on_administration_work() {
    let page = include_str!("../docs/administration.md");
    let config = "services: { app: http://127.0.0.1:3000 }\nroutes: [{ path_pattern: /app/*, target_service: app }]\nadmin: { address: \"127.0.0.1:0\" }\nstate_dir: gatekeeper-state\n";
    let gateway = Gateway::start(config).await;
    let note: Value =
        serde_json::from_slice(&std::fs::read(gateway.file("gatekeeper-state/running.json")).unwrap()).unwrap();
    let script = commands(page).replace("127.0.0.1:8001", note["admin"].as_str().unwrap());
    let folder = gateway.file("");
    let output = std::process::Command::new("bash")
        .args(["-euxo", "pipefail", "-c", &script])
        .current_dir(&folder)
        .env("PATH", format!("{}:{}", folder.display(), std::env::var("PATH").unwrap()))
        .env("XDG_RUNTIME_DIR", gateway.file("runtime"))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    for expected in
        ["there are changes", "running revision 2", "running revision 4", "gk_", "hash proved", "\"timeout\":\"5s\""]
    {
        assert!(told.contains(expected), "{expected} is not in:\n{told}");
    }
    assert_eq!(gateway.get("/orders/1").await.status, 502, "the route serves; nothing listens behind it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_waits_for_the_store_takes_no_time_of_the_processor() {
    use sqlx::{Connection, Executor};
    let (_origin, gateway, administrator) = scene().await;
    sqlx::any::install_default_drivers();
    let url = format!("sqlite:{}", gateway.file("state/gatekeeper.db").display());
    let mut other = sqlx::AnyConnection::connect(&url).await.unwrap();
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    let writer = administrator.clone();
    let write = tokio::spawn(async move { writer.post("/routes", route("/made/*")).await });
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let before = gateway.cpu_ticks();
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let ticks = gateway.cpu_ticks() - before;
    assert!(ticks < 25, "{ticks} of a hundred ticks were taken while a write waited");
    assert!(!write.is_finished());
    assert_eq!(administrator.get("/routes").await.status, 200, "reading does not wait");
    assert_eq!(gateway.get("/filed").await.status, 200);
    other.execute("ROLLBACK").await.unwrap();
    assert_eq!(write.await.unwrap().status, 201);
}
