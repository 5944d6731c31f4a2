//! The access log tells what happened, and no secrets.

use std::fs;

use serde_json::Value;
use tokio::net::TcpListener;

use crate::support::gateway::everything_to;
use crate::support::{Gateway, Origin, Request, eventually, full};

#[tokio::test(flavor = "multi_thread")]
async fn a_record_says_who_asked_what_and_what_came_of_it() {
    let origin = Origin::start().await;
    let gateway = Gateway::to(&origin).await;
    let answer = gateway.ask(Request::post("/echo").body(full("hello")).unwrap()).await;
    let record = gateway.log_of("/echo").await;
    assert_eq!(record["request_id"].as_str(), answer.header("x-request-id"));
    for (field, value) in [("method", "POST"), ("route", "all"), ("client_ip", "127.0.0.1"), ("protocol", "HTTP/1.1")] {
        assert_eq!(record[field], value, "{record}");
    }
    for (field, value) in [("status_code", 200), ("bytes_in", 5), ("bytes_out", 5), ("attempts", 1)] {
        assert_eq!(record[field], value, "{field} {record}");
    }
    assert_eq!(record["upstream"], origin.address().to_string());
    assert_eq!(record["truncated"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_recorded_with_their_code() {
    let gateway = Gateway::start("").await;
    gateway.get("/nowhere").await;
    let record = gateway.log_of("/nowhere").await;
    assert_eq!((&record["status_code"], &record["error_code"]), (&404.into(), &"no_route".into()));
    assert_eq!(record["upstream"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_never_written() {
    let origin = Origin::start().await;
    let gateway = Gateway::to(&origin).await;
    let request = Request::get("/x?token=SECRET1&page=2")
        .header("authorization", "Bearer SECRET2")
        .header("cookie", "sid=SECRET3")
        .header("answer-set-cookie", "sid=SECRET4")
        .header("referer", "https://a.test/?token=SECRET5");
    gateway.ask(request).await;
    let record = gateway.log_of("/x").await.to_string();
    assert!(!record.contains("SECRET"), "{record}");
    assert!(record.contains("token="), "the parameter's name may be seen: {record}");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_not_written_to_standard_error_either() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let gateway = Gateway::to_url(&format!("http://{nobody}")).await;
    assert_eq!(gateway.get("/x?token=SECRET").await.status, 502);
    assert_eq!(gateway.log_of("/x").await["upstream"], nobody.to_string());
    assert!(!gateway.said().contains("SECRET"), "{}", gateway.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_names_the_unix_socket_that_was_tried() {
    let gateway = Gateway::to_url("unix:/nobody/listens.sock").await;
    assert_eq!(gateway.get("/x").await.status, 502);
    let record = gateway.log_of("/x").await;
    assert_eq!(record["upstream"], "unix:/nobody/listens.sock", "{record}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_configuration_lists_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("own.log");
    let origin = Origin::start().await;
    let gateway = Gateway::start(&format!(
        "access_log: {{ to: {}, request_headers: [X-Tenant], query_parameters: [page] }}\n{}",
        log.display(),
        everything_to(origin.url())
    ))
    .await;
    gateway.ask(Request::get("/x?page=2&q=hidden").header("x-tenant", "acme").header("x-other", "unlisted")).await;
    let line = eventually("a record", async || fs::read_to_string(&log).ok().filter(|text| !text.is_empty())).await;
    assert!(line.contains("page=2") && line.contains("acme"), "{line}");
    assert!(!line.contains("hidden") && !line.contains("unlisted"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_forges_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("combined.log");
    let origin = Origin::start().await;
    let config = format!("access_log: {{ to: {}, format: combined }}\n{}", log.display(), everything_to(origin.url()));
    let gateway = Gateway::start(&config).await;
    gateway.ask(Request::get("/x").header("user-agent", "a\" 200 5 \"b\tc\\")).await;
    let text = eventually("a record", async || fs::read_to_string(&log).ok().filter(|text| !text.is_empty())).await;
    assert_eq!(text.lines().count(), 1);
    assert!(text.starts_with("127.0.0.1 - - [") && text.contains("\"GET /x HTTP/1.1\" 200 "), "{text}");
    assert_eq!(text.matches('"').count(), 6, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn usr1_reopens_the_file_after_it_was_moved_away() {
    let gateway = Gateway::start("").await;
    gateway.get("/before").await;
    gateway.log_of("/before").await;
    fs::rename(gateway.file("access.log"), gateway.file("access.log.1")).unwrap();
    gateway.signal("USR1");
    eventually("a new file", async || gateway.file("access.log").exists().then_some(())).await;
    gateway.get("/after").await;
    gateway.log_of("/after").await;
    let old = fs::read_to_string(gateway.file("access.log.1")).unwrap();
    assert!(old.contains("/before") && !old.contains("/after"), "{old}");
    let line = format!("the access log {} was reopened\n", gateway.file("access.log").display());
    assert!(gateway.said().contains(&line), "{line}{}", gateway.said());
    // Now there is a folder in the place of the file.
    fs::rename(gateway.file("access.log"), gateway.file("access.log.2")).unwrap();
    fs::create_dir(gateway.file("access.log")).unwrap();
    gateway.signal("USR1");
    let failed = async || gateway.said().contains("the access log cannot be reopened: ").then_some(());
    eventually("the failure is told", failed).await;
    fs::remove_dir(gateway.file("access.log")).unwrap();
    eventually("the end of it is told", async || gateway.said().contains("reopened again").then_some(())).await;
}
