//! Responses are compressed where that is wished for, possible and worth it.

use std::io::Read;

use bytes::Bytes;

use crate::support::gateway::everything_to;
use crate::support::{Answer, Gateway, Origin, Request};

async fn compressing(origin: &Origin) -> Gateway {
    Gateway::start(&format!("compression: {{ enabled: true }}\n{}", everything_to(origin.url()))).await
}

fn text(length: usize) -> http::request::Builder {
    Request::get(format!("/text/{length}")).header("answer-content-type", "text/plain")
}

fn decoded(answer: &Answer) -> Vec<u8> {
    let mut plain = Vec::new();
    match answer.header("content-encoding") {
        Some("gzip") => flate2::read::GzDecoder::new(&answer.body[..]).read_to_end(&mut plain).unwrap(),
        Some("br") => brotli::Decompressor::new(&answer.body[..], 4096).read_to_end(&mut plain).unwrap(),
        Some("zstd") => zstd::Decoder::new(&answer.body[..]).unwrap().read_to_end(&mut plain).unwrap(),
        other => panic!("not compressed: {other:?} {:?}", answer.headers),
    };
    plain
}

fn assert_untouched(answer: &Answer, length: usize) {
    assert_eq!((answer.header("content-encoding"), answer.body.len()), (None, length), "{:?}", answer.headers);
}

fn varies_by_encoding(answer: &Answer) -> bool {
    let values = answer.headers.get_all("vary").iter().flat_map(|value| value.to_str().unwrap().split(','));
    values.map(str::trim).any(|name| name.eq_ignore_ascii_case("accept-encoding"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_is_compressed_in_what_the_client_accepts() {
    let origin = Origin::start().await;
    let gateway = compressing(&origin).await;
    for mut client in [gateway.h1().await, gateway.h2c().await] {
        let plain = client.ask(text(100_000)).await;
        assert_untouched(&plain, 100_000);
        assert!(varies_by_encoding(&plain), "a cache would give this to everybody: {:?}", plain.headers);
        for encoding in ["gzip", "br", "zstd"] {
            let answer = client.ask(text(100_000).header("accept-encoding", encoding)).await;
            assert_eq!(answer.header("content-encoding"), Some(encoding));
            assert!(answer.body.len() < 20_000, "{encoding}: {} bytes", answer.body.len());
            assert!(decoded(&answer) == plain.body, "{encoding}");
            assert!(varies_by_encoding(&answer), "{encoding}: {:?}", answer.headers);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_refuses_or_does_not_know_is_not_used() {
    let origin = Origin::start().await;
    let gateway = compressing(&origin).await;
    for accepted in ["identity", "gzip;q=0", "gzip;q=0, br;q=0.0", "compress", ""] {
        assert_untouched(&gateway.ask(text(10_000).header("accept-encoding", accepted)).await, 10_000);
    }
    let preferred = gateway.ask(text(10_000).header("accept-encoding", "gzip;q=1.0, br;q=0, zstd;q=0")).await;
    assert_eq!(preferred.header("content-encoding"), Some("gzip"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_compressed_unless_the_configuration_says_so() {
    let origin = Origin::start().await;
    let url = origin.url();
    let gateway = Gateway::to(&origin).await;
    assert_untouched(&gateway.ask(text(10_000).header("accept-encoding", "gzip")).await, 10_000);

    let by_route = Gateway::start(&format!(
        "compression: {{ enabled: true }}\nroutes:\n  - {{ name: all, path_pattern: /*, target_url: \"{url}\", compress: false }}\n"
    ))
    .await;
    assert_untouched(&by_route.ask(text(10_000).header("accept-encoding", "gzip")).await, 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_gains_nothing_is_left_alone() {
    let origin = Origin::start().await;
    let gateway = compressing(&origin).await;
    let encoded = text(10_000).header("answer-content-encoding", "br").header("accept-encoding", "gzip, br");
    let answer = gateway.ask(encoded).await;
    assert_eq!((answer.header("content-encoding"), answer.body.len()), (Some("br"), 10_000));

    assert_untouched(&gateway.ask(text(5).header("accept-encoding", "gzip")).await, 5);
    for content_type in ["image/png", "video/mp4", "application/zip"] {
        let request = Request::get("/text/10000").header("answer-content-type", content_type);
        assert_untouched(&gateway.ask(request.header("accept-encoding", "gzip")).await, 10_000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_be_changed_is_left_alone() {
    let origin = Origin::start().await;
    let gateway = compressing(&origin).await;
    let fixed = text(10_000).header("answer-cache-control", "public, no-transform").header("accept-encoding", "gzip");
    assert_untouched(&gateway.ask(fixed).await, 10_000);

    let partial = Request::get("/status/206")
        .header("answer-content-range", "bytes 0-9/1000")
        .header("answer-content-type", "text/plain")
        .header("accept-encoding", "gzip");
    assert_eq!(gateway.ask(partial).await.body, Bytes::from("status 206"));

    let head =
        Request::head("/text/10000").header("answer-content-type", "text/plain").header("accept-encoding", "gzip");
    assert!(gateway.ask(head).await.body.is_empty());
}

/// RFC 9110, 8.8.1: a strong validator names the very bytes; compressed they are others.
#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_responses_etag_is_weak() {
    let origin = Origin::start().await;
    let gateway = compressing(&origin).await;
    for (sent, compressed) in [("\"v1\"", "W/\"v1\""), ("W/\"v1\"", "W/\"v1\"")] {
        let plain = gateway.ask(text(10_000).header("answer-etag", sent)).await;
        assert_eq!(plain.header("etag"), Some(sent));
        let answer = gateway.ask(text(10_000).header("answer-etag", sent).header("accept-encoding", "gzip")).await;
        assert_eq!((answer.header("content-encoding"), answer.header("etag")), (Some("gzip"), Some(compressed)));
        assert_eq!(answer.header("accept-ranges"), None);
    }
}

/// RFC 9110, 9.3.2 and RFC 9530: what a HEAD tells is what a GET would bring, and no digest of other bytes is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_is_a_get_without_its_body() {
    let origin = Origin::start().await;
    let gateway = compressing(&origin).await;
    let digests = ["content-digest", "repr-digest", "digest", "content-md5"];
    for mut client in [gateway.h1().await, gateway.h2c().await] {
        for accepted in ["br", "gzip", "identity"] {
            let mut told = Vec::new();
            for method in ["GET", "HEAD"] {
                let request = text(10_000).method(method).header("accept-encoding", accepted);
                let request = request.header("answer-etag", "\"v1\"").header("answer-accept-ranges", "bytes");
                let request = digests
                    .iter()
                    .fold(request, |request, name| request.header(format!("answer-{name}"), "sha-256=:x:"));
                let answer = client.ask(request).await;
                assert_eq!(answer.body.is_empty(), method == "HEAD");
                let digested = digests.iter().filter(|name| answer.header(name).is_some()).count();
                assert_eq!(digested, if accepted == "identity" { 4 } else { 0 }, "{method} {accepted}");
                let mut headers = answer.headers;
                ["date", "x-request-id"].iter().for_each(|name| drop(headers.remove(*name)));
                told.push(headers);
            }
            assert_eq!(told[1], told[0], "{accepted}");
            let compressed = accepted != "identity";
            assert_eq!(told[1].get("content-length").is_none(), compressed, "{accepted}");
            assert_eq!(told[1]["etag"], if compressed { "W/\"v1\"" } else { "\"v1\"" });
        }
    }
}
