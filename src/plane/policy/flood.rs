//! The flood guard: a client that makes more requests in a window than it may is told to wait for the next one.
//!
//! A client is an IPv4 address, or an IPv6 network of 64 bits: who has one such address has them all. A peer on a unix
//! socket that says of no client is never a flood.
//!
//! Known inaccuracy: windows are fixed, so twice as many requests may pass around the moment where one ends. Clients are
//! counted in a sketch of a fixed size (1 MiB), where they may share counters: a client is never counted too low, but too
//! high by about the window's requests of all clients divided by 16384.

use std::net::IpAddr;
use std::time::Duration;

use http::header::RETRY_AFTER;
use pingora_limits::rate::Rate;

use gatekeeper_core::net::network;
use gatekeeper_core::refusal::{Kind, Refusal};

/// The flood guard.
pub struct Flood {
    requests: u32,
    window: Duration,
    seen: Rate,
}

/// Counters a client has, and of each how many there are.
const HASHES: usize = 4;
const COUNTERS: usize = 16_384;

impl Flood {
    /// A guard that lets so many requests of a client pass in a window.
    pub fn new(requests: u32, window: Duration) -> Self {
        Flood { requests, window, seen: Rate::new_with_estimator_config(window, HASHES, COUNTERS) }
    }

    /// Whether it lets as many pass.
    pub fn is(&self, requests: u32, window: Duration) -> bool {
        (self.requests, self.window) == (requests, window)
    }

    /// Counts a request, and refuses it if it is one too many.
    pub fn admit(&self, client: Option<IpAddr>) -> Result<(), Refusal> {
        let Some(client) = client.map(network) else { return Ok(()) };
        match self.seen.observe(&client, 1) <= self.requests as isize {
            true => Ok(()),
            false => Err(self.refusal(&client)),
        }
    }

    /// Refuses a request that would be one too many. Nothing is counted.
    pub fn look(&self, client: Option<IpAddr>) -> Result<(), Refusal> {
        let Some(client) = client.map(network) else { return Ok(()) };
        match self.seen.rate_with(&client, |seen| seen.curr_samples) < self.requests as isize {
            true => Ok(()),
            false => Err(self.refusal(&client)),
        }
    }

    fn refusal(&self, client: &IpAddr) -> Refusal {
        let left = self.seen.rate_with(client, |seen| 1.0 - seen.current_interval_fraction);
        let seconds = self.window.mul_f64(left).as_secs_f64().ceil().max(1.0);
        let refusal = Refusal::new(Kind::FLOOD, "too many requests from this address in a short time");
        refusal.with_header(RETRY_AFTER, (seconds as u64).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(flood: &Flood, client: &str, requests: usize) -> usize {
        (0..requests).filter(|_| flood.admit(client.parse().ok()).is_ok()).count()
    }

    #[test]
    fn each_client_has_its_own_count() {
        let flood = Flood::new(3, Duration::from_secs(60));
        assert_eq!(passed(&flood, "192.0.2.1", 10), 3);
        assert_eq!(passed(&flood, "192.0.2.2", 2), 2);
        assert_eq!(passed(&flood, "2001:db8::1", 2) + passed(&flood, "2001:db8::ffff:0:0:1", 2), 3);
        assert_eq!(passed(&flood, "2001:db8:0:1::1", 2), 2);
        assert_eq!(passed(&flood, "unix", 10), 10);
    }

    #[test]
    fn a_look_foretells_what_is_counted_and_counts_nothing() {
        let flood = Flood::new(2, Duration::from_secs(60));
        let client = "192.0.2.1".parse().ok();
        for admitted in [true, true, false, false] {
            assert_eq!((flood.look(client).is_ok(), flood.look(client).is_ok()), (admitted, admitted));
            assert_eq!(flood.admit(client).is_ok(), admitted);
        }
        assert!(flood.look(None).is_ok());
    }

    #[test]
    fn a_refusal_says_when_the_window_ends() {
        let flood = Flood::new(1, Duration::from_secs(60));
        passed(&flood, "192.0.2.1", 1);
        let refusal = flood.admit("192.0.2.1".parse().ok()).unwrap_err();
        assert_eq!((refusal.kind, refusal.headers.as_slice()), (Kind::FLOOD, &[(RETRY_AFTER, 60.into())][..]));
    }

    #[test]
    fn many_clients_are_hardly_mistaken_for_each_other() {
        let flood = Flood::new(10, Duration::from_secs(60));
        let refused: usize =
            (0..10_000_u32).map(|n| 5 - passed(&flood, &IpAddr::from(n.to_be_bytes()).to_string(), 5)).sum();
        assert!(refused <= 500, "{refused} of 50000");
    }
}
