//! HTTP/2 under load, by a client that is not ours, and its first bytes.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::support::{Gateway, Origin, soon};

#[tokio::test(flavor = "multi_thread")]
async fn h2load_sees_every_request_succeed() {
    let origin = Origin::start().await;
    let gateway = Gateway::to(&origin).await;
    for path in ["/text/100", "/text/100000"] {
        let output = Command::new("h2load")
            .args(["-n", "2000", "-c", "10", "-m", "20", &format!("http://{}{path}", gateway.address)])
            .stdin(Stdio::null())
            .output()
            .await
            .expect("h2load (Debian: nghttp2-client)");
        let report = String::from_utf8_lossy(&output.stdout);
        assert!(report.contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"), "{report}");
        assert!(report.contains("status codes: 2000 2xx"), "{report}");
    }
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A frame without content of the type SETTINGS.
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

#[tokio::test(flavor = "multi_thread")]
async fn the_preface_is_recognised_in_pieces() {
    let gateway = Gateway::to(&Origin::start().await).await;
    let mut stream = gateway.raw().await.stream;
    for piece in [&PREFACE[..1], &PREFACE[1..10], &PREFACE[10..], &SETTINGS] {
        stream.write_all(piece).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut frame = [0; 9];
    soon("the gateway's settings", stream.read_exact(&mut frame)).await.unwrap();
    assert_eq!(frame[3], SETTINGS[3], "{frame:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_shorter_than_the_preface_is_answered() {
    let gateway = Gateway::to(&Origin::start().await).await;
    let mut raw = gateway.raw().await;
    raw.send("P").await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(raw.send("UT / HTTP/1.0\r\n\r\n").await.response().await.status(), 200);
}
