//! What recording a request costs: the copy into the access log's queue (its writer runs beside it), and the metrics.

#![allow(clippy::expect_used, reason = "a bench that cannot start has nothing to say")]

use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use criterion::{Criterion, criterion_group};
use gatekeeper_core::event::{Event, Facts};
use gatekeeper_model::raw;
use gatekeeper_plane::observe::{AccessLog, Metrics};
use http::header::{HeaderMap, HeaderValue, USER_AGENT};
use http::{Method, Version};

fn event(headers: &HeaderMap) -> Event<'_> {
    Event {
        facts: Facts {
            started: SystemTime::UNIX_EPOCH,
            duration: Duration::from_micros(12_345),
            client: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            version: Version::HTTP_11,
            status: 200,
            upstream_time: Some(Duration::from_micros(9_007)),
            attempts: 1,
            bytes_in: 0,
            bytes_out: 64,
            error_code: None,
            truncated: false,
        },
        request_id: "0190a1b2-0000-7000-8000-000000000001",
        method: &Method::GET,
        path: "/api/v1/content/articles/1",
        query: Some("page=2"),
        host: "api.example",
        route: Some("content"),
        service: Some("content"),
        user: None,
        error_message: None,
        would_refuse: None,
        headers,
        logged_headers: &[],
    }
}

/// Pushes with room in the queue: a burst is timed, its writing is not.
fn push_in_bursts(log: &AccessLog, event: &Event<'_>, count: u64) -> Duration {
    let mut spent = Duration::ZERO;
    let mut left = count;
    while left > 0 {
        let burst = left.min(4096);
        let due = log.written() + burst;
        let start = Instant::now();
        (0..burst).for_each(|_| log.push(std::hint::black_box(event)));
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
    headers.insert(USER_AGENT, HeaderValue::from_static("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101"));
    let metrics = Metrics::new("bench").expect("metrics");
    let config = raw::AccessLog { to: "/dev/null".into(), ..raw::AccessLog::default() };
    let log = AccessLog::start(&config, metrics.access_log_dropped.clone()).expect("log");
    criterion.bench_function("access log: build and push", |bencher| {
        bencher.iter_custom(|count| push_in_bursts(&log, &event(&headers), count));
    });
    let claims = metrics.claims();
    let (route, service) = (claims.route("content"), claims.service("content"));
    claims.show();
    criterion.bench_function("metrics: in flight and record", |bencher| {
        bencher.iter(|| {
            metrics.begin_request();
            metrics.record(&event(&headers), &route, Some(&service));
            metrics.end_request();
        });
    });
}

criterion_group!(benches, record);
