//! HTTP/2 under load, by a client that is not ours.

use std::process::Stdio;

use tokio::process::Command;

use crate::support::{Gateway, Origin};

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
