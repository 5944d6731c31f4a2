//! The requests that tests and benchmarks record. Making one costs little: what is measured is the recording.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use gatekeeper_core::event::{Arrival, Event, Head, Outcome, Way};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};

/// A request's headers.
pub fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
    pairs.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_bytes(v).unwrap())).collect()
}

/// A request with these headers that was served.
pub fn event(headers: &HeaderMap) -> Event<'_> {
    static TARGET: LazyLock<Uri> = LazyLock::new(|| Uri::from_static("/api/v1/content/1?page=2&token=hush"));
    let arrival = Arrival {
        request_id: Some("0190a1b2-0000-7000-8000-000000000001"),
        started: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_042),
        client: Some(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 77))),
    };
    let head = Head {
        method: &Method::GET,
        uri: &TARGET,
        version: Version::HTTP_11,
        headers: Some(headers),
        logged_headers: &[],
    };
    let way = Way {
        route: Some("content"),
        service: Some("content"),
        upstream_time: Some(Duration::from_micros(9_007)),
        attempts: 1,
        upstream: Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 5)), 8003)),
        ..Way::default()
    };
    let outcome = Outcome {
        status: Some(StatusCode::OK),
        bytes_in: Some(0),
        bytes_out: Some(64),
        ..Outcome::after(Duration::from_micros(12_345))
    };
    let mut event = Event::of(arrival, Some(head), way, outcome);
    event.host = Some("api.example");
    event
}

/// A request whose head was refused: hardly anything is known of it.
pub fn headless() -> Event<'static> {
    let arrival = Arrival { request_id: None, started: SystemTime::UNIX_EPOCH, client: None };
    Event::of(arrival, None, Way::default(), Outcome::after(Duration::from_millis(5)))
}
