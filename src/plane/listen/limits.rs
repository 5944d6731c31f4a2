//! What connections may take, compiled.

use std::ops::RangeInclusive;
use std::time::Duration;

use gatekeeper_core::wire;
use gatekeeper_model::size::Size;
use gatekeeper_model::{Faults, Place, raw};

/// What connections may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections in all.
    pub connections: usize,
    /// Connections of one address, unless it is a trusted proxy's.
    pub per_address: usize,
    /// Bytes of answers that wait to be taken, in all.
    pub buffered_answers: u64,
    /// For a head to arrive.
    pub head_timeout: Duration,
    /// For the silence between requests.
    pub keep_alive: Duration,
    /// Requests on one connection.
    pub requests: Option<u64>,
    /// How old a connection may become.
    pub max_age: Option<Duration>,
    /// How much a head may hold.
    pub wire: wire::Limits,
}

impl Limits {
    /// Compiles the limits; what lies outside the framework's own is a fault.
    pub fn compile(raw: &raw::Limits, faults: &mut Faults) -> Limits {
        let numbers = [
            ("connections", raw.connections, 1..=10_000_000, "1 to 10000000"),
            ("connections_per_address", raw.connections_per_address, 1..=10_000_000, "1 to 10000000"),
            ("head_bytes", raw.head_bytes, 1024..=1024 * 1024, "1024 to 1048576"),
            ("head_fields", raw.head_fields, 8..=256, "8 to 256"),
            ("uri_bytes", raw.uri_bytes, 64..=65_000, "64 to 65000"),
        ];
        let place = Place::new("limits");
        for (key, found, range, allowed) in numbers {
            if !range.contains(&found) {
                faults.push(place.key(key), found.to_string(), allowed);
            }
        }
        if !BUFFERED_ANSWERS.contains(&raw.buffered_answers) {
            faults.push(place.key("buffered_answers"), raw.buffered_answers.to_string(), "16MiB to 1TiB");
        }
        if raw.keep_alive_requests == Some(0) {
            faults.push(place.key("keep_alive_requests"), "0", "at least 1");
        }
        if raw.head_timeout.0 > LONGEST_HEAD {
            faults.push(place.key("head_timeout"), raw.head_timeout.to_string(), "at most 60s");
        }
        if let Some(age) = raw.connection_max_age.filter(|age| !AGES.contains(&age.0)) {
            faults.push(place.key("connection_max_age"), age.to_string(), "1s to 30d");
        }
        Limits {
            connections: raw.connections,
            per_address: raw.connections_per_address,
            buffered_answers: raw.buffered_answers.0,
            head_timeout: raw.head_timeout.0,
            keep_alive: raw.keep_alive.0,
            requests: raw.keep_alive_requests,
            max_age: raw.connection_max_age.map(|age| age.0),
            wire: wire::Limits { head_bytes: raw.head_bytes, fields: raw.head_fields, uri_bytes: raw.uri_bytes },
        }
    }
}

/// Less would not do for a handful of downloads.
const BUFFERED_ANSWERS: RangeInclusive<Size> = Size(16 << 20)..=Size(1 << 40);

/// The framework's own patience with a connection's first request.
const LONGEST_HEAD: Duration = Duration::from_secs(60);

/// What `connection_max_age` may be.
const AGES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30 * 24 * 3600);
