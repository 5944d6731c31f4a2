//! Calls over real sockets, answered by a server that says what it is told to and notes what it is asked.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;

use super::*;

/// A server for one request; it returns the request's head and body.
struct Server {
    address: String,
    asked: JoinHandle<String>,
}

impl Server {
    async fn saying(status: &str, body: &str) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let answer = answer(status, body);
        let asked = tokio::spawn(async move { serve(listener.accept().await.unwrap().0, answer).await });
        Server { address, asked }
    }

    fn client(&self) -> Client {
        Client::new(&self.address, Secret::from("hidden")).unwrap()
    }
}

fn answer(status: &str, body: &str) -> String {
    let length = if status.starts_with("204") { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    format!("HTTP/1.1 {status}\r\nx-total-count: 7\r\n{length}connection: close\r\n\r\n{body}")
}

async fn serve(mut socket: impl AsyncRead + AsyncWrite + Unpin, answer: String) -> String {
    let mut asked = String::new();
    let mut piece = [0; 4096];
    while !is_whole(&asked) {
        let length = socket.read(&mut piece).await.unwrap();
        asked.push_str(std::str::from_utf8(&piece[..length]).unwrap());
    }
    socket.write_all(answer.as_bytes()).await.unwrap();
    asked
}

fn is_whole(asked: &str) -> bool {
    let Some((head, body)) = asked.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

#[tokio::test]
async fn each_method_asks_its_endpoint() {
    type Call = fn(&Client) -> std::pin::Pin<Box<dyn Future<Output = Option<Failure>> + '_>>;
    macro_rules! call {
        ($($made:tt)*) => { |client: &Client| Box::pin(async move { client.$($made)*.await.err() }) };
    }
    let table: [(Call, &str); 17] = [
        (call!(status()), "GET /status"),
        (call!(health()), "GET /health"),
        (call!(reload()), "POST /config/reload"),
        (call!(upgrade(Period::from_secs(90))), "POST /upgrade?timeout=90s"),
        (call!(explain(&Inquiry::default())), "POST /explain"),
        (call!(why("a-1_b.c")), "GET /why/a-1_b.c"),
        (call!(rate_limits()), "GET /rate-limits"),
        (
            call!(rate_limit_standings(&Subject { subject: "a&b".into(), issuer: None })),
            "GET /rate-limits/status?subject=a%26b",
        ),
        (call!(services(Page { limit: 5, offset: 2 })), "GET /services?limit=5&offset=2"),
        (call!(service("content")), "GET /services/content"),
        (call!(reset("a/b c?", None)), "POST /services/a%2Fb%20c%3F/reset"),
        (call!(reset("a", Some("http://b:1"))), "POST /services/a/reset?target=http%3A%2F%2Fb%3A1"),
        (
            call!(drain("http://a:1", Some("http://b:1&x"))),
            "POST /services/http:%2F%2Fa:1/drain?target=http%3A%2F%2Fb%3A1%26x",
        ),
        (call!(undrain("content", None)), "POST /services/content/undrain"),
        (call!(register(&Registration::new("a", "http://a:1"))), "POST /services"),
        (call!(heartbeat("a", "http://a:1")), "POST /services/a/heartbeat"),
        (call!(deregister("a", "http://a:1")), "DELETE /services/a?service_url=http%3A%2F%2Fa%3A1"),
    ];
    for (call, wanted) in table {
        let server = Server::saying("409 Conflict", r#"{"detail": "not now\n", "code": "busy", "status": 409}"#).await;
        let failure = call(&server.client()).await;
        let Some(Failure::Refused(problem)) = failure else { panic!("{wanted}: {failure:?}") };
        assert_eq!((problem.to_string().as_str(), &*problem.code, problem.status), ("not now", "busy", 409));
        let asked = server.asked.await.unwrap();
        let (method, target) = wanted.split_once(' ').unwrap();
        let line = format!("{method} {BASE}{target} HTTP/1.1");
        assert_eq!(asked.lines().next().unwrap().trim_end_matches('?'), line.replace("? ", " "));
        assert!(asked.to_ascii_lowercase().contains("\r\nauthorization: bearer hidden\r\n"), "{asked}");
    }
}

#[tokio::test]
async fn a_body_is_sent_as_the_server_reads_it() {
    let server = Server::saying("201 Created", r#"{"service_name": "a", "service_url": "http://a:1"}"#).await;
    let registration = Registration { ttl_seconds: Some(5), ..Registration::new("a", "http://a:1") };
    assert_eq!(server.client().register(&registration).await.unwrap(), Registration::new("a", "http://a:1"));
    let asked = server.asked.await.unwrap();
    let body = asked.split_once("\r\n\r\n").unwrap().1;
    assert_eq!(serde_json::from_str::<Registration>(body).unwrap(), registration);
}

#[tokio::test]
async fn answers_are_read_by_their_types() {
    let server = Server::saying("200 OK", r#"{"revision": 3, "lints": ["a"], "needs_restart": []}"#).await;
    let reloaded = server.client().reload().await.unwrap();
    assert_eq!(reloaded, Reloaded { revision: 3, lints: vec!["a".into()], needs_restart: Vec::new() });

    let server = Server::saying("200 OK", "[]").await;
    assert_eq!(server.client().services(Page::default()).await.unwrap(), Services { total: 7, page: Vec::new() });

    let unhealthy =
        r#"{"status": "unhealthy", "version": "1", "revision": 1, "uptime_seconds": 1, "services": [], "later": 1}"#;
    let server = Server::saying("503 Service Unavailable", unhealthy).await;
    assert_eq!(server.client().health().await.unwrap().status, HealthState::Unhealthy);

    let server = Server::saying("204 No Content", "").await;
    server.client().heartbeat("a", "http://a:1").await.unwrap();
}

#[tokio::test]
async fn what_is_no_gatekeeper_is_told_from_one_of_another_version() {
    for (status, body) in [("200 OK", "<html>"), ("404 Not Found", "nothing"), ("200 OK", ""), ("502 Bad Gateway", "")]
    {
        let server = Server::saying(status, body).await;
        let failure = server.client().status().await.unwrap_err();
        assert_eq!(failure.to_string(), format!("the server at {} is not a gatekeeper", server.address));
        assert!(matches!(failure, Failure::NotAGatekeeper { .. }));
    }
    let server = Server::saying("200 OK", "{}").await;
    assert!(matches!(server.client().heartbeat("a", "http://a:1").await, Err(Failure::NotAGatekeeper { .. })));
    let server = Server::saying("200 OK", "{}").await;
    let failure = server.client().status().await.unwrap_err();
    assert!(failure.to_string().starts_with("cannot understand the gateway's answer: missing field"), "{failure}");
    let server = Server::saying("400 Bad Request", "{}").await;
    assert_eq!(server.client().status().await.unwrap_err().to_string(), "the gateway refused the request");
}

#[tokio::test]
async fn a_gateway_is_reached_by_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let address = format!("unix:{}", path.display());
    let client = Client::new(&address, Secret::from("hidden")).unwrap();
    let failure = client.status().await.unwrap_err();
    assert!(failure.to_string().starts_with(&format!("no gateway answers at {address}: ")), "{failure}");
    let listener = UnixListener::bind(&path).unwrap();
    let said = answer("200 OK", r#"{"pid": 5}"#);
    let asked = tokio::spawn(async move { serve(listener.accept().await.unwrap().0, said).await });
    assert_eq!(client.upgrade(Period::from_secs(1)).await.unwrap(), Upgraded { pid: 5 });
    assert!(asked.await.unwrap().contains("\r\nhost: localhost\r\n"));
}

#[tokio::test]
async fn patience_ends_and_nobody_is_no_gateway() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let client = Client::new(&address, Secret::default()).unwrap().with_patience(Duration::from_millis(20));
    assert!(matches!(client.status().await, Err(Failure::Unreachable { .. })));
    drop(silent);
    let failure = client.status().await.unwrap_err();
    assert!(failure.to_string().starts_with(&format!("no gateway answers at {address}: ")), "{failure}");
}

#[tokio::test]
async fn what_no_url_can_name_is_not_asked() {
    let client = Client::new("127.0.0.1:1", Secret::from("hidden")).unwrap();
    for name in ["", ".", ".."] {
        let failure = client.service(name).await.unwrap_err();
        assert!(matches!(failure, Failure::Invalid(_)), "{failure}");
    }
    assert_eq!(client.why("a b").await.unwrap_err().to_string(), "\"a b\" is not a request id");
    for wrong in
        ["no address", "ftp://127.0.0.1:1", "http://user:password@127.0.0.1:1", "http://", "http://127.0.0.1:1/x"]
    {
        assert!(matches!(Client::new(wrong, Secret::default()), Err(Failure::Invalid(_))), "{wrong}");
    }
    for right in ["http://127.0.0.1:1", "http://127.0.0.1:1/", "https://gateway.internal"] {
        assert!(Client::new(right, Secret::default()).is_ok(), "{right}");
    }
    assert!(!format!("{client:?}").contains("hidden"));
}
