//! What the judgement of a head costs.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group};
use gatekeeper_core::wire::{Inspector, Limits, Step};

const LIMITS: Limits = Limits { head_bytes: 32 * 1024, fields: 100, uri_bytes: 8 * 1024 };

/// What a browser sends: a request line and 12 fields.
const GET: &[u8] = b"GET /api/v1/content/articles/4711?expand=author,comments&page=2 HTTP/1.1\r\n\
Host: api.example.org\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
Accept: application/json, text/plain, */*\r\n\
Accept-Language: en-US,en;q=0.5\r\n\
Accept-Encoding: gzip, deflate, br, zstd\r\n\
Authorization: Bearer eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJlc2lnbmF0dXJl\r\n\
Origin: https://www.example.org\r\n\
Connection: keep-alive\r\n\
Referer: https://www.example.org/articles\r\n\
Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\
Sec-Fetch-Mode: cors\r\n\
Priority: u=4\r\n\r\n";

fn head(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wire");
    group.throughput(Throughput::Bytes(GET.len() as u64));
    let mut inspector = Inspector::new(LIMITS);
    assert_eq!(inspector.inspect(GET), Step::Release(GET.len()));
    group.bench_function("get", |bencher| bencher.iter(|| inspector.inspect(black_box(GET))));
    group.bench_function("get, byte by byte", |bencher| {
        bencher.iter(|| (1..=GET.len()).map(|end| inspector.inspect(black_box(&GET[..end]))).last());
    });
}

fn chunks(criterion: &mut Criterion) {
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = [b"1000\r\n".as_slice(), &[b'x'; 4096], b"\r\n"].concat();
    let body = [head.as_slice(), &chunk.repeat(16), b"0\r\n\r\n"].concat();
    let mut inspector = Inspector::new(LIMITS);
    assert_eq!(inspector.inspect(&body), Step::Release(body.len()));
    let mut group = criterion.benchmark_group("wire");
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("64 KiB in chunks", |bencher| bencher.iter(|| inspector.inspect(black_box(&body))));
}

criterion_group!(benches, head, chunks);
