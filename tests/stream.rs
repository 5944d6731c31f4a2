//! Bodies of any size stream through with back-pressure: memory does not grow with them.
//!
//! The size in gigabytes is GATEKEEPER_STREAM_GB, 5 when it is not set.

use std::time::Duration;

use http_body_util::BodyExt;

use crate::support::pattern::{self, Checker};
use crate::support::{Client, Gateway, Origin, Request};

const MIB: u64 = 1 << 20;

fn size() -> u64 {
    let gigabytes = std::env::var("GATEKEEPER_STREAM_GB").map_or(5.0, |value| value.parse::<f64>().unwrap());
    (gigabytes * 1e9) as u64
}

/// A gateway that has already served, and its memory then.
async fn streaming(protocol: &str) -> (Gateway, u64) {
    let origin = Origin::start().await;
    let url = origin.url();
    let gateway = Gateway::start(&format!(
        "services:\n  app: {{ targets: [\"{url}\"], protocol: {protocol} }}\n\
         routes:\n  - {{ name: all, path_pattern: /*, target_service: app }}\n"
    ))
    .await;
    gateway.get("/").await.seen();
    let baseline = gateway.peak_memory();
    (gateway, baseline)
}

fn assert_flat(gateway: &Gateway, baseline: u64) {
    let grown = gateway.peak_memory().saturating_sub(baseline);
    assert!(grown <= 64 * MIB, "the gateway's memory grew by {} MiB", grown / MIB);
}

/// Downloads, checks every byte, and waits a while once, after the first of them.
async fn download(client: &mut Client, size: u64, pause: Duration) {
    let mut pause = Some(pause).filter(|pause| !pause.is_zero());
    let mut body = client.send(Request::get(format!("/bytes/{size}"))).await.unwrap().into_body();
    let mut checker = Checker::new();
    while let Some(frame) = body.frame().await {
        checker.take(frame.unwrap().data_ref().map_or(&[], |data| data));
        if let Some(pause) = pause.take() {
            tokio::time::sleep(pause).await;
        }
    }
    assert!(checker.intact && checker.bytes == size, "{} of {size} bytes, intact: {}", checker.bytes, checker.intact);
}

async fn upload(client: &mut Client, size: u64, pause: Duration) {
    let request = Request::put(format!("/sink?pause={}", pause.as_millis())).body(pattern::body(size)).unwrap();
    let verdict = client.send(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    let verdict: serde_json::Value = serde_json::from_slice(&verdict).unwrap();
    assert_eq!((verdict["bytes"].as_u64(), verdict["intact"].as_bool()), (Some(size), Some(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn gigabytes_go_down_over_http1() {
    let (gateway, baseline) = streaming("http1").await;
    download(&mut gateway.h1().await, size(), Duration::ZERO).await;
    assert_flat(&gateway, baseline);
}

#[tokio::test(flavor = "multi_thread")]
async fn gigabytes_go_up_over_http1() {
    let (gateway, baseline) = streaming("http1").await;
    upload(&mut gateway.h1().await, size(), Duration::ZERO).await;
    assert_flat(&gateway, baseline);
}

#[tokio::test(flavor = "multi_thread")]
async fn gigabytes_go_down_over_http2() {
    let (gateway, baseline) = streaming("h2").await;
    download(&mut gateway.h2c().await, size(), Duration::ZERO).await;
    assert_flat(&gateway, baseline);
}

#[tokio::test(flavor = "multi_thread")]
async fn gigabytes_go_up_over_http2() {
    let (gateway, baseline) = streaming("h2").await;
    upload(&mut gateway.h2c().await, size(), Duration::ZERO).await;
    assert_flat(&gateway, baseline);
}

/// While the reader sleeps the writer could send all of this; only back-pressure keeps it out of memory.
const WHILE_ASLEEP: u64 = 500_000_000;
const NAP: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_reading_stops_the_upstream() {
    for protocol in ["http1", "h2"] {
        let (gateway, baseline) = streaming(protocol).await;
        for mut client in [gateway.h1().await, gateway.h2c().await] {
            download(&mut client, WHILE_ASLEEP, NAP).await;
            assert_flat(&gateway, baseline);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_stops_reading_stops_the_client() {
    for protocol in ["http1", "h2"] {
        let (gateway, baseline) = streaming(protocol).await;
        for mut client in [gateway.h1().await, gateway.h2c().await] {
            upload(&mut client, WHILE_ASLEEP, NAP).await;
            assert_flat(&gateway, baseline);
        }
    }
}
