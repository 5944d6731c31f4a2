//! What recording a request costs: the copy into the access log's queue (its writer runs beside it), and the metrics.

#![allow(clippy::expect_used, reason = "a bench that cannot start has nothing to say")]

use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use criterion::{Criterion, criterion_group};
use gatekeeper_core::event::{Arrival, Event, Head, Outcome, Way};
use gatekeeper_core::sink::Sink;
use gatekeeper_model::raw;
use gatekeeper_plane::observe::{AccessLog, Metrics};
use http::header::{HOST, HeaderMap, HeaderValue, USER_AGENT};
use http::{Method, StatusCode, Uri, Version};

fn event<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Event<'a> {
    let arrival = Arrival {
        request_id: Some("0190a1b2-0000-7000-8000-000000000001"),
        started: SystemTime::UNIX_EPOCH,
        client: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
    };
    let version = Version::HTTP_11;
    let head = Head { method: &Method::GET, uri, version, headers: Some(headers), logged_headers: &[] };
    let way = Way {
        route: Some("content"),
        service: Some("content"),
        upstream_time: Some(Duration::from_micros(9_007)),
        attempts: 1,
        ..Way::default()
    };
    let outcome = Outcome {
        status: Some(StatusCode::OK),
        bytes_in: Some(0),
        bytes_out: Some(64),
        ..Outcome::after(Duration::from_micros(12_345))
    };
    Event::of(arrival, Some(head), way, outcome)
}

/// Pushes with room in the queue: a burst is timed, its writing is not.
fn push_in_bursts(log: &AccessLog, event: &Event<'_>, count: u64) -> Duration {
    let mut spent = Duration::ZERO;
    let mut left = count;
    while left > 0 {
        let burst = left.min(4096);
        let due = log.written() + burst;
        let start = Instant::now();
        (0..burst).for_each(|_| log.take(std::hint::black_box(event)));
        spent += start.elapsed();
        while log.written() < due {
            thread::sleep(Duration::from_millis(1));
        }
        left -= burst;
    }
    spent
}

fn record(criterion: &mut Criterion) {
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_static("api.example"));
    headers.insert(USER_AGENT, HeaderValue::from_static("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101"));
    let uri = Uri::from_static("/api/v1/content/articles/1?page=2");
    let metrics = Metrics::new("bench").expect("metrics");
    let config = raw::AccessLog { to: "/dev/null".into(), ..raw::AccessLog::default() };
    let log = AccessLog::start(&config).expect("log");
    criterion.bench_function("access log: build and push", |bencher| {
        bencher.iter_custom(|count| push_in_bursts(&log, &event(&uri, &headers), count));
    });
    let claims = metrics.claims();
    let (route, service) = (claims.route(&"content".into()), claims.service("content"));
    claims.show();
    criterion.bench_function("metrics: in flight and record", |bencher| {
        bencher.iter(|| {
            metrics.begin_request();
            metrics.counting(&route, Some(&service)).take(&event(&uri, &headers));
            metrics.end_request();
        });
    });
}

criterion_group!(benches, record);
