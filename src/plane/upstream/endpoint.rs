//! One address of a target: how it is reached, how it has stood so far, and whether it may get a request now.
//!
//! What is known of an endpoint (its health, conduct, requests in flight) outlives the settings it was known under: a
//! reload or another look-up of names that comes to the same URL and address keeps its `Standing`.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::HeaderValue;
use pingora::upstreams::peer::{ALPN, HttpPeer};

use super::health::Health;
use super::lane::{Lanes, Stream, Upload};
use super::line::Line;
use gatekeeper_core::outlier::Conduct;

/// An address of a target.
pub struct Endpoint {
    /// The target's URL, as written.
    pub url: Arc<str>,
    /// The target's name in `Host`.
    pub authority: HeaderValue,
    /// How it is connected to.
    pub peer: HttpPeer,
    /// Its share beside the others'.
    pub weight: u32,
    /// What is known of it.
    pub standing: Arc<Standing>,
    pub(super) manner: Manner,
}

/// What an endpoint's service and target ask of it.
#[derive(Clone)]
pub(super) struct Manner {
    /// Its health decides.
    pub checked: bool,
    /// The time in which it comes back to its full share.
    pub slow_start: Option<Duration>,
    /// The most requests in flight.
    pub most: Option<u32>,
    /// Who waits for room at an endpoint.
    pub line: Arc<Line>,
}

/// What is known of an endpoint.
pub struct Standing {
    /// Tells it from all others of its service.
    pub id: u32,
    /// What its attempts came to.
    pub conduct: Arc<Conduct>,
    /// What its checks came to.
    pub health: Health,
    /// Which requests share a connection to it.
    pub lanes: Lanes,
    start: Instant,
    drained: AtomicBool,
    in_flight: AtomicU32,
    /// When it last came back, in milliseconds since its start; 0 if it has always been there.
    back: AtomicU64,
    /// When it last lost requests and that was told, in microseconds since its start; 0 if it never did.
    lost: AtomicU64,
}

/// What an endpoint loses in such a time, of what it had when it began, is one loss: its own death, or a connection's.
const LOSS: Duration = Duration::from_secs(1);

/// The smallest part of its share that an endpoint has which just came back.
const LEAST_SHARE: f32 = 0.1;

impl Standing {
    pub(super) fn new(id: u32, now: Instant) -> Self {
        Standing {
            id,
            conduct: Arc::new(Conduct::new(now)),
            health: Health::default(),
            lanes: Lanes::new(now),
            start: now,
            drained: AtomicBool::new(false),
            in_flight: AtomicU32::new(0),
            back: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        }
    }

    /// Requests in flight to it.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// It gets no new requests, by hand.
    pub fn is_drained(&self) -> bool {
        self.drained.load(Ordering::Relaxed)
    }

    pub(super) fn drain(&self, drained: bool, now: Instant) {
        if self.drained.swap(drained, Ordering::Relaxed) && !drained {
            self.came_back(now);
        }
    }

    /// It gets requests again, or for the first time while others already do.
    pub(super) fn came_back(&self, now: Instant) {
        let millis = now.saturating_duration_since(self.start).as_millis() as u64;
        self.back.store(millis.max(1), Ordering::Relaxed);
    }

    /// An attempt that began then was lost. Whether that is news, or part of a loss that was told already.
    pub fn lose(&self, began: Instant, now: Instant) -> bool {
        let micros = |time: Instant| time.saturating_duration_since(self.start).as_micros() as u64 + 1;
        let last = self.lost.load(Ordering::Relaxed);
        let is_told = last != 0 && micros(began) <= last && micros(now).saturating_sub(last) < LOSS.as_micros() as u64;
        // Who is overtaken here belongs to the same loss.
        !is_told && self.lost.compare_exchange(last, micros(now), Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// How long it has been back; `None` if it never was away.
    fn back_for(&self, now: Instant) -> Option<Duration> {
        let by_hand = match self.back.load(Ordering::Relaxed) {
            0 => None,
            millis => Some(now.saturating_duration_since(self.start + Duration::from_millis(millis))),
        };
        by_hand.into_iter().chain(self.conduct.back_for(now)).min()
    }
}

impl Endpoint {
    /// Whether it may get a request now: the one question that decides, but for whether there is room.
    pub fn available(&self, now: Instant) -> bool {
        self.is_in_service() && !self.standing.conduct.is_ejected(now)
    }

    /// Whether it may get a request at all, however its attempts went.
    pub fn is_in_service(&self) -> bool {
        !self.standing.is_drained() && self.is_well()
    }

    /// Whether it would take a request now.
    pub(super) fn has_room(&self, now: Instant) -> bool {
        self.available(now) && self.manner.most.is_none_or(|most| self.standing.in_flight() < most)
    }

    /// Whether it takes so many requests at once and no more.
    pub fn is_capped(&self) -> bool {
        self.manner.most.is_some()
    }

    /// Whether its checks, if there are any, find it well.
    pub fn is_well(&self) -> bool {
        !self.manner.checked || self.standing.health.is_available()
    }

    /// It is asked whether it is well.
    pub fn is_checked(&self) -> bool {
        self.manner.checked
    }

    /// Which part of its share it gets: less than all of it for a while after it came back.
    pub fn ramp(&self, now: Instant) -> f32 {
        let Some(slow_start) = self.manner.slow_start else { return 1.0 };
        let back_for = self.standing.back_for(now).unwrap_or(slow_start);
        (back_for.as_secs_f32() / slow_start.as_secs_f32()).clamp(LEAST_SHARE, 1.0)
    }

    /// How much it has to do, by its share.
    pub(super) fn load(&self, now: Instant) -> f32 {
        (self.standing.in_flight() + 1) as f32 / (self.weight as f32 * self.ramp(now))
    }

    /// Room for a request, if there is any.
    pub(super) fn take(self: &Arc<Self>) -> Option<Slot> {
        let in_flight = &self.standing.in_flight;
        match self.manner.most {
            None => _ = in_flight.fetch_add(1, Ordering::Relaxed),
            Some(most) => {
                let more = |requests: u32| (requests < most).then(|| requests + 1);
                in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
            }
        }
        Some(Slot { endpoint: Arc::clone(self), stream: None })
    }
}

/// Room for a request at an endpoint, given back when it is dropped.
#[must_use]
pub struct Slot {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// The place on a connection that is shared.
    pub stream: Option<Stream>,
}

impl Slot {
    /// The way to the endpoint, for a request that sends this; nothing is told of one that needs a connection of HTTP/1.
    pub fn peer(&mut self, upload: impl FnOnce() -> Option<Upload>) -> Box<HttpPeer> {
        let mut peer = Box::new(self.endpoint.peer.clone());
        if peer.options.alpn.get_max_http_version() > 1 {
            match upload() {
                Some(upload) => self.stream = self.endpoint.standing.lanes.enter(upload),
                None => peer.options.alpn = ALPN::H1,
            }
            peer.group_key ^= self.stream.as_ref().map_or(0, Stream::key);
        }
        peer
    }

    /// Notes that a connection was made for it.
    pub fn opened(&mut self, connection: RawFd) {
        if let Some(stream) = &mut self.stream {
            stream.opened(connection);
        }
    }

    /// Notes that the request is sent, perhaps on a connection that is shared.
    pub fn asked(&mut self, shared: bool) {
        if shared != self.stream.is_some() {
            self.endpoint.standing.lanes.note(shared);
        }
        match &mut self.stream {
            Some(stream) if shared => stream.asked(),
            _ => self.stream = None,
        }
    }

    /// The exchange came to its end on both sides.
    pub fn ended(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.ended();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.endpoint.standing.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.endpoint.manner.most.is_some() {
            self.endpoint.manner.line.call_next();
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use futures::FutureExt;

    /// An endpoint of this weight that takes so many requests.
    pub fn endpoint(
        id: u32,
        weight: u32,
        most: Option<u32>,
        slow_start: Option<Duration>,
        now: Instant,
    ) -> Arc<Endpoint> {
        let port = u16::try_from(id).unwrap();
        Arc::new(Endpoint {
            url: format!("http://127.0.0.1:{port}").into(),
            authority: HeaderValue::from_static("localhost"),
            peer: HttpPeer::new(("127.0.0.1", port), false, String::new()),
            weight,
            standing: Arc::new(Standing::new(id, now)),
            manner: Manner { checked: false, slow_start, most, line: Arc::default() },
        })
    }

    #[test]
    fn room_is_given_back_and_only_then_is_it_told() {
        let endpoint = endpoint(1, 1, Some(2), None, Instant::now());
        let told = || endpoint.manner.line.called.notified().now_or_never().is_some();
        let (first, _second) = (endpoint.take().unwrap(), endpoint.take().unwrap());
        for _ in 0..3 {
            assert!(endpoint.take().is_none());
        }
        assert_eq!(endpoint.standing.in_flight(), 2);
        assert!(!told());
        drop(first);
        assert!(told() && !told());
        assert!(endpoint.take().is_some());
    }

    #[test]
    fn what_is_lost_at_one_moment_is_one_loss() {
        let start = Instant::now();
        let at = |millis: u64| start + Duration::from_millis(millis);
        let standing = Standing::new(1, start);
        assert!(standing.lose(at(10), at(100)));
        assert!(![10, 50, 100].into_iter().any(|began| standing.lose(at(began), at(150))));
        assert!(standing.lose(at(101), at(102)), "it began after the loss");
        assert!(!standing.lose(at(20), at(1101)));
        assert!(standing.lose(at(20), at(1102)), "that is another moment");
        assert!(!standing.lose(at(20), at(1103)));
    }

    #[test]
    fn who_comes_back_gets_ever_more_of_its_share() {
        let (start, slow) = (Instant::now(), Duration::from_secs(10));
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let endpoint = endpoint(1, 2, None, Some(slow), start);
        assert_eq!((endpoint.ramp(at(0)), endpoint.load(at(0))), (1.0, 0.5));
        endpoint.standing.drain(true, at(1));
        assert!(!endpoint.available(at(1)));
        endpoint.standing.drain(false, at(20));
        assert!(endpoint.available(at(20)));
        let ramps = [20, 21, 25, 30, 99].map(|seconds| endpoint.ramp(at(seconds)));
        assert_eq!(ramps, [0.1, 0.1, 0.5, 1.0, 1.0]);
        // With a fifth of its share it is as busy with one as with five.
        assert_eq!(endpoint.load(at(22)), 2.5);
        // That it is told again that it is there changes nothing.
        endpoint.standing.drain(false, at(50));
        assert_eq!(endpoint.ramp(at(50)), 1.0);
    }
}
