//! Answers that clients do not take: together they take a bounded part of memory, and honest clients go on.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::TcpSocket;

use crate::support::gateway::everything_to;
use crate::support::{Client, Gateway, Origin, Raw, Request, eventually};

const MIB: u64 = 1 << 20;

/// A client with little room of its own.
async fn narrow(address: SocketAddr) -> Raw {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    Raw::new(socket.connect(address).await.unwrap())
}

async fn stalled(gateway: &Gateway, count: usize, request: &str) -> Vec<Raw> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut raw = narrow(gateway.address).await;
        raw.send(request).await;
        clients.push(raw);
    }
    clients
}

const DOWNLOAD: &str = "GET /bytes/30000000 HTTP/1.1\r\nhost: a.test\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn downloads_that_nobody_takes_stay_within_the_budget_and_honest_clients_go_on() {
    let origin = Origin::start().await;
    let config = format!("limits: {{ buffered_answers: 32MiB }}\n{}", everything_to(origin.url()));
    let gateway = Gateway::start(&config).await;
    gateway.get("/").await.seen();
    let before = gateway.memory();
    let _stalled = stalled(&gateway, 300, DOWNLOAD).await;
    let (began, mut slowest) = (Instant::now(), Duration::ZERO);
    while began.elapsed() < Duration::from_secs(4) {
        let asked = Instant::now();
        assert_eq!(gateway.get("/text/1000").await.body.len(), 1000);
        slowest = slowest.max(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let grown = gateway.memory().saturating_sub(before);
    println!("300 downloads that nobody takes: {} MiB, a small answer took {slowest:?}", grown / MIB);
    // Room is made a few times a second, so that a crowd that comes at once goes beyond the budget for a moment.
    assert!(grown < 150 * MIB, "{} MiB", grown / MIB);
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    let mut honest = Client::h1(gateway.address).await;
    assert_eq!(honest.ask(Request::get("/bytes/20000000")).await.body.len(), 20_000_000);
    eventually("the ledger's state shows", async || {
        let waited = gateway.metric("gatekeeper_answer_waits_total").await
            + gateway.metric("gatekeeper_answers_given_up_total").await;
        (waited > 0.0 && gateway.metric("gatekeeper_buffered_answer_bytes").await > 0.0).then_some(())
    })
    .await;
    drop(_stalled);
    eventually("nothing waits", async || {
        (gateway.metric("gatekeeper_buffered_answer_bytes").await == 0.0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn encoders_of_answers_that_nobody_takes_are_bounded() {
    const MANY: u64 = 60;
    let origin = Origin::start().await;
    let config = |budget: &str| {
        format!(
            "limits: {{ buffered_answers: {budget} }}\ncompression: {{ enabled: true, level: 9 }}\n{}",
            everything_to(origin.url())
        )
    };
    let text = |coding: &str| {
        format!(
            "GET /bytes/30000000 HTTP/1.1\r\nhost: a.test\r\naccept-encoding: {coding}\r\nanswer-content-type: text/plain\r\n\r\n"
        )
    };
    for coding in ["br", "zstd", "gzip"] {
        let gateway = Gateway::start(&config("1GiB")).await;
        gateway.get("/").await.seen();
        let before = gateway.memory();
        let _stalled = stalled(&gateway, MANY as usize, &text(coding)).await;
        tokio::time::sleep(Duration::from_secs(4)).await;
        let each = gateway.memory().saturating_sub(before) / MANY;
        println!("an answer in {coding} that nobody takes: {} KiB", each / 1024);
        assert!(each < 5 * MIB, "{coding}: {} KiB", each / 1024);
    }
    let gateway = Gateway::start(&config("16MiB")).await;
    let mut clients = stalled(&gateway, 4, &text("br")).await;
    let mut encoded = 0;
    for client in &mut clients {
        encoded += usize::from(client.response_head().await.header("content-encoding").is_some());
    }
    assert_eq!(encoded, 1, "a quarter of the budget has room for one");
}
