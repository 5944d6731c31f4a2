//! How long route choice takes, and how little that depends on the number of routes.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group};
use gatekeeper_core::route::path::canonicalise;
use gatekeeper_core::route::{Conditions, Further, HostPattern, ListenerId, Lookup, PathPattern, Table};
use http::{HeaderMap, Method};

/// A third each: exact paths, captures, prefixes; every tenth route for one host only.
fn routes(count: usize) -> Vec<Conditions> {
    let pattern = |n: usize| match n % 3 {
        0 => format!("/api/v1/service{n}/status"),
        1 => format!("/api/v1/service{n}/{{id}}/items"),
        _ => format!("/api/v1/service{n}/*"),
    };
    let host = |n: usize| n.is_multiple_of(10).then(|| HostPattern::parse("api.example.org").unwrap());
    let route = |n: usize| Conditions {
        name: format!("route{n}").into(),
        path: PathPattern::parse(&pattern(n)).unwrap(),
        methods: n.is_multiple_of(2).then_some(Method::GET).into_iter().collect(),
        priority: 0,
        further: Further::new(host(n).into_iter().collect(), Vec::new(), Vec::new(), Vec::new()),
    };
    (0..count).map(route).collect()
}

fn hit(n: usize) -> String {
    match n % 3 {
        0 => format!("/api/v1/service{n}/status"),
        1 => format!("/api/v1/service{n}/42/items"),
        _ => format!("/api/v1/service{n}/some/deep/path"),
    }
}

fn find(criterion: &mut Criterion) {
    let (method, headers) = (Method::GET, HeaderMap::new());
    let mut group = criterion.benchmark_group("find");
    for count in [10, 1_000, 100_000] {
        let table = Table::build(routes(count)).unwrap();
        // A stride prime to the counts: many routes, in no order that a cache would like.
        let hits: Vec<String> = (0..4096).map(|step| hit(step * 7919 % count)).collect();
        // Known services, but of the exact third: the search goes deep before it fails.
        let misses: Vec<String> =
            (0..4096).map(|step| format!("/api/v1/service{}/other", step * 7919 % (count / 3) * 3)).collect();
        for (name, paths) in [("hit", &hits), ("miss", &misses)] {
            let mut paths = paths.iter().cycle();
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                bencher.iter(|| {
                    let (host, path) = (Some("api.example.org"), black_box(paths.next().unwrap().as_str()));
                    let listener = ListenerId::default();
                    table.find(&Lookup { host, path, listener, method: &method, headers: &headers, query: None })
                });
            });
        }
    }
}

fn build(criterion: &mut Criterion) {
    let routes = routes(10_000);
    criterion.bench_function("build/10000", |bencher| {
        bencher.iter_batched(|| routes.clone(), |routes| Table::build(routes).unwrap(), BatchSize::LargeInput);
    });
}

fn paths(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("canonicalise");
    for (name, path) in
        [("clean", "/api/v1/content/articles/4711"), ("dirty", "/api//v1/./x/../content/%7earticles/%2f")]
    {
        group.bench_function(name, |bencher| {
            bencher.iter(|| canonicalise(black_box(path.as_bytes()), true).unwrap().len())
        });
    }
}

criterion_group!(benches, find, build, paths);
