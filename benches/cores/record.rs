//! What recording a request costs: the copy into the access log's queue (its writer runs beside it), and the metrics.

#![allow(clippy::expect_used, reason = "a bench that cannot start has nothing to say")]

use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group};
use gatekeeper_core::event::Event;
use gatekeeper_core::sink::Sink;
use gatekeeper_model::raw;
use gatekeeper_plane::observe::{AccessLog, Metrics};
use http::header::{HOST, HeaderMap, HeaderValue, USER_AGENT};

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../src/plane/observe/samples.rs"]
mod samples;

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
    let metrics = Metrics::new("bench").expect("metrics");
    let config = raw::AccessLog { to: "/dev/null".into(), ..raw::AccessLog::default() };
    let log = AccessLog::start(&config).expect("log");
    criterion.bench_function("access log: build and push", |bencher| {
        bencher.iter_custom(|count| push_in_bursts(&log, &samples::event(&headers), count));
    });
    let claims = metrics.claims();
    let (route, service) = (claims.route(&"content".into()), claims.service("content"));
    claims.show();
    criterion.bench_function("metrics: in flight and record", |bencher| {
        bencher.iter(|| {
            metrics.begin_request();
            metrics.counting(&route, Some(&service)).take(&samples::event(&headers));
            metrics.end_request();
        });
    });
}

criterion_group!(benches, record);
